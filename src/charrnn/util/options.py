"""Options described once: the entries of a TypedDict are ``Annotated[type, Option(default)]``.

Behind the `Option` a `Flag` says how the command line presents it. Type checkers read the
TypedDict, as in ``**options: Unpack[Options]``. Signatures, checks, the command line, model files
and scikit-learn's parameters come from `table`.
"""

import inspect
import math
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import check_choice, check_flags, check_integer, check_number, hint, short_repr

_F = TypeVar("_F", bound=Callable[..., Any])
_LARGEST_INTEGER = 2**31 - 1


@dataclass(frozen=True)
class Flag:
    """How the command line presents an option: an option without one is for Python only."""

    help: str
    group: str = ""  # the heading over it
    metavar: str | None = None
    name: str = ""  # by default the option's, with hyphens


@dataclass(frozen=True)
class Option:
    """One option. Its type and these bounds say which values are valid; see `check`."""

    default: Any
    minimum: float = -math.inf
    maximum: float = math.inf
    above: float = -math.inf
    below: float = math.inf
    finite: bool = True
    # The files that keep it: "model" for every model file, "checkpoint" for checkpoints only.
    # A training resumes only with the same values of both.
    saved: Literal["model", "checkpoint", ""] = ""
    optimizer: str = ""  # the only optimizer that uses it
    preset: bool = False  # whether presets choose it where it is not given
    new: bool = False  # whether earlier model files lack it: they then have its default
    # `table` fills these in.
    name: str = ""
    types: tuple[Any, ...] = ()  # of its values: int | None gives (int, NoneType)
    flag: Flag | None = None

    @property
    def choices(self) -> tuple[str, ...]:
        """The words that it can be, if not any str."""
        if str in self.types:
            return ()
        return next((get_args(one) for one in self.types if get_origin(one) is Literal), ())

    def required(self) -> "Option":
        """Return the same option, for which None is not a value."""
        return replace(self, types=tuple(one for one in self.types if one is not type(None)))

    def check(self, value: Any, largest: float = math.inf) -> Any:
        """Return value if it is valid, or raise TypeError or ValueError that names the option.

        A number that must be finite and has no upper bound is at most largest: what the dtype of
        a network can represent. Paths and types of other libraries pass unchecked.
        """
        if value is None and type(None) in self.types:
            return None
        if self.choices:
            return check_choice(self.name, value, self.choices)
        if int in self.types:
            maximum = _LARGEST_INTEGER if math.isinf(self.maximum) else int(self.maximum)
            return check_integer(self.name, value, int(self.minimum), maximum)
        if float in self.types:
            bounded = math.isfinite(self.below) or not self.finite
            most = self.maximum if bounded else min(self.maximum, largest)
            limits = {"above": self.above, "minimum": self.minimum, "below": self.below}
            return check_number(self.name, value, **limits, maximum=most, finite=self.finite)
        if bool in self.types:
            check_flags(**{self.name: value})
        if any(get_origin(one) is Callable for one in self.types) and not callable(value):
            raise TypeError(f"{self.name} must be callable, not {short_repr(value)}")
        return value


@cache
def table(options: type) -> Mapping[str, Option]:
    """Return the options of a TypedDict by name, in order."""
    hints = get_type_hints(options, include_extras=True)
    return {name: _filled(name, *get_args(annotated)) for name, annotated in hints.items()}


def _filled(name: str, kind: Any, option: Option, flag: Flag | None = None) -> Option:
    types = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if any(isinstance(one, TypeVar) for one in types):  # texts are str or bytes
        types += (str, bytes)
    if flag is not None and not flag.name:
        flag = replace(flag, name="--" + name.replace("_", "-"))
    return replace(option, name=name, types=types, flag=flag)


def defaults(options: type) -> dict[str, Any]:
    """Return the default of each option of a TypedDict."""
    return {name: option.default for name, option in table(options).items()}


def check_options(options: type, given: Mapping[str, Any]) -> Any:
    """Return the valid values of all options of a TypedDict, or raise; given may have others."""
    return {name: option.check(given[name]) for name, option in table(options).items()}


def check_names(given: Iterable[str], options: type, others: Iterable[str] = ()) -> None:
    """Raise TypeError if a name is not an option; others are further names that are valid."""
    for name in given:
        if name not in table(options):
            known = [*others, *table(options)]
            meant = hint(name, known) or f"; the options are {', '.join(known)}"
            raise TypeError(f"there is no option {name!r}{meant}")


class AsBefore:
    """The default of an option that a model keeps when it trains further."""

    def __repr__(self) -> str:
        return "<as before>"


def shows(
    options: type, instead: Mapping[str, Any] | None = None, without: Container[str] = ()
) -> Callable[[_F], _F]:
    """Have a function that takes ``**options`` list them by name in its signature.

    instead has defaults that differ from the table's; without has names to leave out.
    """

    def decorate(function: _F) -> _F:
        signature, types = inspect.signature(function), get_type_hints(options)
        parameters = [one for one in signature.parameters.values() if one.kind != one.VAR_KEYWORD]
        for name, default in {**defaults(options), **(instead or {})}.items():
            if name not in without:
                kind = inspect.Parameter.KEYWORD_ONLY
                parameters.append(
                    inspect.Parameter(name, kind, default=default, annotation=types[name])
                )
        function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return function

    return decorate
