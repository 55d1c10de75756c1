"""The package's own errors, and the checks of arguments that raise the built-in ones."""

import contextlib
import math
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from io import IOBase
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ..model import CharRNN


class CharRNNError(Exception):
    """Base of the errors that only this package raises."""


class ModelFormatError(CharRNNError, ValueError):
    """The file is not a model that this version can read."""


class DivergedError(CharRNNError, ArithmeticError):
    """A loss, a gradient or a probability is not finite.

    If a training function raises it, its attribute `model` has the last good weights.
    """

    model: "CharRNN[Any] | None" = None


class RankError(CharRNNError, RuntimeError):
    """Another process has ended a training over MPI; the message has its rank and its error.

    Its attribute `model` has the weights of the last whole step, if there was any.
    """

    model: "CharRNN[Any] | None" = None


class CodecError(CharRNNError, ValueError):
    """What should be decompressed is damaged or foreign, or the model is not the one it needs."""


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C during training; scripts that do not expect it end as with any KeyboardInterrupt.

    Its attribute `model` has the weights that the option keep says.
    """

    model: "CharRNN[Any] | None" = None


class TrainingWarning(UserWarning):
    """A training ended but has taught the network next to nothing."""


@contextlib.contextmanager
def needing(what: str) -> Iterator[None]:
    """Let the error of a library that is not installed say what needs it, and how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(what, name=error.name) from error


def short_repr(value: Any) -> str:
    """Return the beginning of a value's repr, for an error's message."""
    if isinstance(value, int) and value.bit_length() > 256:
        return f"an int of {value.bit_length():,} bits"  # Python writes no very large int
    try:
        return f"{value!r:.80}"
    except ValueError:  # of a list of such ints, say
        return f"a value of {type(value).__name__} that cannot be written"


def check_integer(name: str, value: Any, minimum: int, maximum: int = 2**31 - 1) -> int:
    """Return value as an int, or raise TypeError or ValueError that names the argument."""
    number: int | None
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, not {short_repr(value)}")
    if not minimum <= number <= maximum:
        raise ValueError(f"{name} must be from {minimum} to {maximum}, not {short_repr(number)}")
    return number


def check_flags(**flags: Any) -> None:
    """Raise TypeError for what is neither True nor False: "no" would count as true."""
    for name, value in flags.items():
        if type(value) is not bool and not isinstance(value, np.bool_):
            raise TypeError(f"{name} must be True or False, not {short_repr(value)}")


def check_number(
    name: str,
    value: Any,
    *,
    above: float = -math.inf,
    minimum: float = -math.inf,
    below: float = math.inf,
    maximum: float = math.inf,
    finite: bool = True,
) -> float:
    """Return value as a float within bounds, or raise an error that names the argument."""
    number = _to_float(value)
    if number is None:
        raise TypeError(f"{name} must be a number, not {short_repr(value)}")
    inside = minimum <= number <= maximum and (above < number < below or math.isinf(number))
    if inside and not (finite and math.isinf(number)):
        return number
    bounds = {"above": above, "at least": minimum, "below": below, "at most": maximum}
    words = [f"{word} {bound:g}" for word, bound in bounds.items() if math.isfinite(bound)]
    kind = " ".join(["finite"] * finite + ["number"] + [" and ".join(words)] * bool(words))
    raise ValueError(f"{name} must be a {kind}, not {short_repr(value)}")


def _to_float(value: Any) -> float | None:
    """Return a number as a float, None for what is not one although float() would read it."""
    if isinstance(value, (np.ndarray, np.generic)):
        numeric = value.dtype.kind in "iuf"  # float() drops an imaginary part
    else:
        number = hasattr(type(value), "__float__") or hasattr(type(value), "__index__")
        numeric = number and not isinstance(value, (bool, str))
    try:
        return float(value) if numeric else None
    except (TypeError, ValueError):
        return None
    except OverflowError:  # an int beyond all floats
        return math.inf


def check_choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return the one of choices that value is, as a builtin str, or raise ValueError."""
    if isinstance(value, str) and (chosen := to_builtin(value)) in choices:
        return str(chosen)
    words = " or ".join(filter(None, [", ".join(map(repr, choices[:-1])), repr(choices[-1])]))
    meant = hint(value, choices) if isinstance(value, str) else ""
    raise ValueError(f"{name} must be {words}, not {short_repr(value)}{meant}")


# Names that other programs use.
_ELSEWHERE = {
    "hidden_size": ("rnn_size", "units", "dim", "width", "hidden_dim"),
    "cell": ("lstm", "gru", "model", "architecture"),
    "seq_length": ("block_size", "context_length", "bptt", "window"),
    "clip_norm": ("grad_clip", "gradient_clip", "max_norm", "max_grad_norm"),
    "steps": ("iterations", "max_iters", "max_iter", "n_iter"),
    "seconds": ("max_time", "time_limit", "timeout"),
    "validation_fraction": ("validation", "val_split", "validation_split", "test_size"),
    "patience": ("early_stopping", "n_iter_no_change"),
    "progress": ("verbose", "quiet", "disable"),
    "seed": ("random_state",),
    "n_threads": ("n_jobs", "workers", "num_workers"),
    "prime": ("prompt", "start", "seed_text", "primetext", "prefix"),
    "length": ("max_length", "max_new_tokens", "max_tokens"),
    "count": ("num_samples", "n_samples"),
    "width": ("beam_size", "num_beams"),
}
_METHODS_ELSEWHERE = {
    "load": "charrnn.load(path) reads a model",
    "fit": "train_text, train_records and train_file train; charrnn.sklearn has estimators",
    "predict": "generate(length, prime=text) continues a text, next_probs(text) has probabilities",
    "sample": "generate(length) writes a text",
    "hidden_size": "recipe['hidden_size'] is the number of units in a layer",
    "cell": "recipe['cell'] is the type of its cells",
    "perplexity": "2 ** score(text) is the perplexity per character",
}


def hint(word: str, known: Iterable[str]) -> str:
    """Return a question for the end of an error's message: whether a known name was meant."""
    return f"; did you mean {meant}?" if (meant := likely(word, known)) else ""


def likely(word: str, known: Iterable[str]) -> str | None:
    """Return the known name that was likely meant, None rather than one that misleads.

    That is one which is called so elsewhere, or the most alike of those that are spelled nearly so,
    begin with the word, have its letters as initials, or have no part that it lacks.
    """
    from difflib import SequenceMatcher  # here: importing charrnn should cost little

    known, word = list(known), word.lower()
    if elsewhere := [name for name in known if word in _ELSEWHERE.get(name, ())]:
        return elsewhere[0]
    alike = {name: SequenceMatcher(None, word, name).ratio() for name in known}
    close = [
        name
        for name in known
        if alike[name] > 0.76
        or sorted(name) == sorted(word)
        or (len(word) >= 3 and name.startswith(word))
        or word == "".join(part[:1] for part in name.split("_"))
        or {*name.split("_")} <= {*word.split("_")}
    ]
    return max(close, key=lambda name: (alike[name], name), default=None)


def _missing_attribute(thing: Any, name: str) -> Any:
    """Raise AttributeError with a hint at what exists; or a property's own error once more."""
    owner = thing if isinstance(thing, type) else type(thing)
    if name in dir(owner):
        return object.__getattribute__(thing, name)
    public = [known for known in dir(owner) if not known.startswith("_")]
    instead = f": {_METHODS_ELSEWHERE[name]}" if name in _METHODS_ELSEWHERE else hint(name, public)
    raise AttributeError(f"{owner.__name__} has no attribute {name!r}{instead}")


class _HintingType(type):
    if not TYPE_CHECKING:  # or type checkers would accept every attribute
        __getattr__ = _missing_attribute


class Hinting(metaclass=_HintingType):
    """A base class: what its classes and their instances lack raises an error with a hint."""

    __slots__ = ()
    if not TYPE_CHECKING:
        __getattr__ = _missing_attribute


def is_missing(value: Any) -> bool:
    """Return whether a value stands for a missing one in a data frame: None, NaN, pandas.NA."""
    nothing = type(value).__name__ in ("NoneType", "NAType", "NaTType", "MaskedConstant")
    return nothing or (isinstance(value, float) and math.isnan(value))


def missing_value_hint(value: Any) -> str:
    """Return advice for the end of an error's message if a text is missing, as in a data frame."""
    if not is_missing(value):
        return ""
    return (
        ": a missing value; leave it out (pandas: column.dropna(), Polars: column.drop_nulls()) "
        "or replace it (fillna, fill_null)"
    )


def check_text(
    name: str, value: Any, of_bytes: bool = False, why: str = "", instead: str = ""
) -> Any:
    """Return value as a builtin str, or bytes, or raise TypeError; instead says what to do."""
    if isinstance(value, bytes if of_bytes else str):
        return to_builtin(value)
    kind, given = "bytes" if of_bytes else "a str", type(value).__name__
    raise TypeError(
        f"{name} must be {kind}{why}, not {given}{missing_value_hint(value) or instead}"
    )


def to_builtin(text: Any) -> Any:
    """Return a str or bytes of any class as a builtin one: the length that it claims is right."""
    if type(text) in (str, bytes):
        return text
    return (b"" if isinstance(text, bytes) else "").join([text])


def check_sequence(name: str, value: Any, instead: str = "", ordered: bool = True) -> list[Any]:
    """Return the elements of an iterable of texts, or raise TypeError.

    A table, a mapping and a file yield something else and, if ordered, a set has no order: they
    are errors. instead says what to do with a single text.
    """
    kind = type(value).__name__
    if isinstance(value, (str, bytes)):
        advice = f": {instead}" if instead else ""
        raise TypeError(f"{name} must be a sequence of {kind}, not one{advice}")
    # A lazy table of Polars warns if it is asked for its columns.
    if hasattr(type(value), "columns") or "columns" in getattr(value, "__dict__", ()):
        advice = ": give one of its columns"
    elif isinstance(value, Mapping):
        advice = ": give its values"
    elif ordered and isinstance(value, Set):
        advice = ": sorted(...) puts them in an order"
    elif isinstance(value, IOBase):
        advice = ": give file.read().splitlines()"
    else:
        try:
            elements = iter(value)
        except TypeError:
            advice = ""
        else:
            return list(elements)  # a generator may raise a TypeError of its own
    raise TypeError(f"{name} must be a sequence of texts, not {kind}{advice}")
