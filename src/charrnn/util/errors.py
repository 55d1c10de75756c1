"""The package's own errors, and the checks of arguments that raise the built-in ones."""

import math
import operator
from collections.abc import Iterable, Mapping, Sequence, Set
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
    """A loss, a gradient or a probability is not finite; where training met it, the weights are those of the last good step.

    Attributes
    ----------
    model : CharRNN or None
        The model with the last good weights, where a function that makes a model raised the error.
    """

    model: "CharRNN[Any] | None" = None


class RankError(CharRNNError, RuntimeError):
    """Another process of a training over MPI has ended it; the message names its rank and its error.

    Attributes
    ----------
    model : CharRNN or None
        The model as of the last whole step, if there was any.
    """

    model: "CharRNN[Any] | None" = None


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C during training. A KeyboardInterrupt, so that a script that does not expect it ends as usual.

    Attributes
    ----------
    model : CharRNN
        The model, with the weights that ``keep`` says.
    """

    model: "CharRNN[Any] | None" = None


class TrainingWarning(UserWarning):
    """A training ended, but has taught the network next to nothing."""


def short_repr(value: Any) -> str:
    """Return how a value is written, or its beginning, for an error's message; Python writes no int of thousands of digits."""
    if isinstance(value, int) and value.bit_length() > 256:
        return f"an int of {value.bit_length():,} bits"
    try:
        return f"{value!r:.80}"
    except ValueError:  # a list, say, of such ints
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
        if not isinstance(value, (bool, np.bool_)):
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
    """Return value as a float that is a number within bounds; or raise TypeError or ValueError that names the argument."""
    # float() also reads what bytearrays and arrays of strings spell, takes True for 1, and drops the imaginary part of NumPy's complex.
    if isinstance(value, (np.ndarray, np.generic)):
        numeric = value.dtype.kind in "iuf"
    else:
        numeric = not isinstance(value, (bool, str)) and any(
            hasattr(type(value), name) for name in ("__float__", "__index__")
        )
    try:
        number = float(value) if numeric else None
    except (TypeError, ValueError):
        number = None
    except OverflowError:  # an int beyond all floats
        number = math.inf
    if number is None:
        raise TypeError(f"{name} must be a number, not {short_repr(value)}")
    if (
        not (minimum <= number <= maximum)
        or (math.isfinite(above) and number <= above)
        or (math.isfinite(below) and number >= below)
        or (finite and math.isinf(number))
    ):
        bounds = {"above": above, "at least": minimum, "below": below, "at most": maximum}
        words = [f"{word} {bound:g}" for word, bound in bounds.items() if math.isfinite(bound)]
        raise ValueError(
            f"{name} must be a {'finite ' * finite}number{' ' * bool(words)}{' and '.join(words)}, not {short_repr(value)}"
        )
    return number


def check_choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return the one of choices that value is, as a plain str, or raise ValueError."""
    if (
        isinstance(value, str) and (chosen := to_builtin(value)) in choices
    ):  # only of a str: an array would be compared element by element
        return str(chosen)
    words = " or ".join(filter(None, [", ".join(map(repr, choices[:-1])), repr(choices[-1])]))
    raise ValueError(
        f"{name} must be {words}, not {short_repr(value)}{hint(value, choices) if isinstance(value, str) else ''}"
    )


# What other programs call it.
_ELSEWHERE = {
    "hidden_size": ("rnn_size", "units", "dim", "width"),
    "cell": ("lstm", "gru", "model", "architecture"),
    "seq_length": ("block_size", "context_length", "bptt", "window"),
    "clip_norm": ("grad_clip", "gradient_clip", "max_norm", "max_grad_norm"),
    "steps": ("iterations", "max_iters", "max_iter", "n_iter"),
    "seconds": ("max_time", "time_limit", "timeout"),
    "validation_fraction": ("val_split", "validation_split", "test_size"),
    "patience": ("early_stopping", "n_iter_no_change"),
    "progress": ("verbose", "quiet", "disable"),
    "seed": ("random_state",),
    "n_threads": ("n_jobs", "workers", "num_workers"),
    "prime": ("prompt", "start", "seed_text", "primetext", "prefix"),
    "length": ("max_length", "max_new_tokens", "max_tokens"),
    "count": ("num_samples", "n_samples"),
}


def hint(word: str, known: Iterable[str]) -> str:
    """Return what who wrote word may have meant, for the end of an error's message."""
    return f"; did you mean {meant}?" if (meant := likely(word, known)) else ""


def likely(word: str, known: Iterable[str]) -> str | None:
    """Return the known name that is called so elsewhere, is the most alike, or of which word is the beginning or the initials."""
    import difflib  # here: importing charrnn should cost little

    known, word = list(known), word.lower()
    alike = (
        [name for name in known if word in _ELSEWHERE.get(name, ())]
        or difflib.get_close_matches(word, known, n=1)
        or [
            name
            for name in known
            if word in ("".join(part[:1] for part in name.split("_")), name[: max(3, len(word))])
        ]
    )
    return alike[0] if alike else None


def missing_value_hint(value: Any) -> str:
    """Return a hint for the end of an error's message where a text is missing: None, or what a data frame or a masked array has there."""
    nothing = type(value).__name__ in ("NoneType", "NAType", "NaTType", "MaskedConstant")
    missing = nothing or (isinstance(value, float) and math.isnan(value))
    return ": a missing value; leave it out, or give another text for it" if missing else ""


def check_text(name: str, value: Any) -> str:
    """Return value as a plain str if it is a str, or raise TypeError."""
    if not isinstance(value, str):
        raise TypeError(
            f"{name} must be a str, not {type(value).__name__}{missing_value_hint(value)}"
        )
    text: str = to_builtin(value)
    return text


def to_builtin(text: Any) -> Any:
    """Return a str or bytes, of whatever class, as one that is as long as it says: arrays are made by its length."""
    return (
        text
        if type(text) in (str, bytes)
        else (b"" if isinstance(text, bytes) else "").join([text])
    )


def check_sequence(name: str, value: Any, instead: str = "", ordered: bool = True) -> list[Any]:
    """Return the elements of an iterable of texts, or raise TypeError: also for what yields something else or, if ordered, in no order.

    instead is what to do with a single text.
    """
    if isinstance(value, (str, bytes)):
        raise TypeError(
            f"{name} must be a sequence of {type(value).__name__}, not one"
            + (f": {instead}" if instead else "")
        )
    if hasattr(type(value), "columns") or "columns" in getattr(
        value, "__dict__", ()
    ):  # not asked for: a lazy table of Polars warns
        what = "give one of its columns"
    elif isinstance(value, Mapping):
        what = "give its values"
    elif ordered and isinstance(value, Set):
        what = "sorted(...) puts them in an order"
    elif isinstance(value, IOBase):
        what = "give file.read().splitlines()"
    else:
        what = ""
    if what:
        raise TypeError(f"{name} must be a sequence of texts, not {type(value).__name__}: {what}")
    try:
        elements = iter(value)
    except TypeError as error:
        raise TypeError(
            f"{name} must be a sequence of texts, not {type(value).__name__}"
        ) from error
    return list(elements)  # a generator may raise a TypeError of its own
