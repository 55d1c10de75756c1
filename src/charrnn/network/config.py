"""Options by name: each written once, in a TypedDict, as Annotated[type, default], and shown by every function that takes them.

Type checkers read the TypedDict, as in ``**options: Unpack[Options]``; `inspect.signature`, `help` and completion see what `shows` makes
of it.
"""

import inspect
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any, TypeVar, get_args, get_type_hints

from ..util.errors import hint

_F = TypeVar("_F", bound=Callable[..., Any])


class AsBefore:
    """The default of an option of a model that goes on: what the model has."""

    def __repr__(self) -> str:
        return "<as before>"


def defaults(options: type) -> dict[str, Any]:
    """Return the default of each option of a TypedDict."""
    return {
        name: get_args(annotated)[1]
        for name, annotated in get_type_hints(options, include_extras=True).items()
    }


def shows(
    options: type, instead: Mapping[str, Any] | None = None, without: Container[str] = ()
) -> Callable[[_F], _F]:
    """Have a function that takes ``**options`` show them by name in its signature; instead has other defaults, without what not to show."""

    def decorate(function: _F) -> _F:
        signature = inspect.signature(function)
        own = [
            parameter
            for parameter in signature.parameters.values()
            if parameter.kind is not parameter.VAR_KEYWORD
        ]
        kinds = get_type_hints(options)
        shown = {
            name: default
            for name, default in {**defaults(options), **(instead or {})}.items()
            if name not in without
        }
        more = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=shown[name], annotation=kinds[name]
            )
            for name in shown
        ]
        function.__signature__ = signature.replace(parameters=own + more)  # type: ignore[attr-defined]
        return function

    return decorate


def check_names(given: Iterable[str], options: type, others: Iterable[str] = ()) -> None:
    """Raise TypeError if a name is given that is no option; others are names that go with them."""
    known = [*others, *options.__annotations__]
    for name in given:
        if name not in options.__annotations__:
            raise TypeError(
                f"there is no option {name!r}"
                + (hint(name, known) or f"; the options are {', '.join(known)}")
            )
