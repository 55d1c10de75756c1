"""What this package promises of every model, as checks that run where the package is used: `check_model`.

A check is a function below whose name begins with `_check_`; it gets a copy of the model, and raises if what it says does not hold. It says
so itself, not by `assert`, which ``python -O`` leaves out.
"""

import contextlib
import copy
import gc
import hashlib
import io
import itertools
import locale
import math
import os
import pickle
import random
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .create import load
from .data.vocabulary import AnyText, Vocabulary
from .model import CharRNN
from .network import dispatch as _dispatch
from .util.errors import (
    CharRNNError,
    DivergedError,
    ModelFormatError,
    TrainingInterrupted,
    TrainingWarning,
)

_FLAT: dict[str, Any] = {
    "temperature": 1e9
}  # each character as likely as another, whatever the model has learned
_WRONG = (TypeError, ValueError)


class Check(NamedTuple):
    """One check of one model, to be called; `name` says what it checks, as a test's would."""

    name: str
    function: Callable[[CharRNN], None]
    model: CharRNN

    def __call__(self) -> None:
        """Run it on a copy of the model; raise AssertionError with its name and what was found if it fails."""
        before = _bits(self.model)
        try:
            self.function(copy.deepcopy(self.model))
            _same(_bits(self.model), before, "the model given, of which the check had a copy,")
        except Exception as error:
            found = (
                str(error)
                if isinstance(error, AssertionError)
                else f"{type(error).__name__}: {error}"
            )
            raise AssertionError(f"{self.name}: {found}".replace("\n", " ")) from error

    def __str__(self) -> str:
        return self.name


def checks(model: CharRNN) -> list[Check]:
    """Return the checks of a model, each to be called by itself; ``str`` of one is its name.

    Parameters
    ----------
    model : CharRNN

    Returns
    -------
    list of Check

    Examples
    --------
    As tests of your own::

        @pytest.mark.parametrize("check", charrnn.testing.checks(model), ids=str)
        def test_model(check):
            check()

    >>> import charrnn.testing
    >>> model = charrnn.train_text("to be, or not to be " * 5, hidden_size=8, steps=10, progress=False)
    >>> print(charrnn.testing.checks(model)[0])
    probabilities_sum_to_one
    """
    if not isinstance(model, CharRNN):
        raise TypeError(f"model must be a CharRNN, not {type(model).__name__}")
    start = "_check_"
    return [
        Check(name.removeprefix(start), function, model)
        for name, function in globals().items()
        if name.startswith(start)
    ]


def check_model(model: CharRNN) -> list[str]:
    """Check that a model, and this build of the package on this machine, do what the documentation says.

    Parameters
    ----------
    model : CharRNN
        Of any kind; it is not changed, as each check works on a copy. Its weights must be finite.

    Returns
    -------
    list of str
        The names of the checks, all of which held.

    Raises
    ------
    AssertionError
        If some failed: each on a line of its own, with its name and what was found.

    Notes
    -----
    It takes a few seconds, writes to temporary directories, and starts a Python for each build of the kernels. One check looks at what the
    whole process shares (random numbers, signal handlers, open files ...), so nothing else should run in it meanwhile.

    Examples
    --------
    >>> import charrnn.testing
    >>> model = charrnn.train_text("to be, or not to be " * 5, hidden_size=8, steps=10, progress=False)
    >>> len(charrnn.testing.check_model(model)) > 40
    True
    """
    names, failures = [], []
    for check in checks(model):
        names.append(check.name)
        try:
            check()
        except AssertionError as error:
            failures.append(str(error))
    if failures:
        raise AssertionError(
            f"{len(failures)} of {len(names)} checks failed:\n" + "\n".join(failures)
        )
    return names


# ------------------------------------------------------------ how a check says that it failed


def _require(holds: Any, found: str) -> None:
    if not holds:
        raise AssertionError(found)


def _same(found: Any, expected: Any, what: str) -> None:
    """Require two results to be equal, arrays to the bit."""
    arrays = isinstance(found, np.ndarray) and isinstance(expected, np.ndarray)
    _require(
        _all_of(found) == _all_of(expected) if arrays else found == expected,
        f"{what} is {found!r:.200}, not {expected!r:.200}",
    )


def _all_of(array: NDArray[Any]) -> tuple[Any, ...]:
    return array.dtype, array.shape, array.tobytes()


def _close(model: CharRNN, found: Any, expected: Any, what: str) -> None:
    """Require numbers to be equal but for the rounding of the model's dtype."""
    tolerance = _rounding(model)
    _require(
        np.allclose(found, expected, rtol=tolerance, atol=tolerance),
        f"{what} is {found!r:.200}, not {expected!r:.200}",
    )


def _raises(
    errors: Any, word: str, function: Callable[..., Any], *arguments: Any, **named: Any
) -> None:
    """Require a call to raise one of these errors, with a message that has the word."""
    try:
        result = function(*arguments, **named)
    except errors as error:
        _require(word in str(error), f"an error that should name {word!r} says {error!r:.300}")
    else:
        raise AssertionError(
            f"{named or arguments!r:.200} is taken, and gives {result!r:.200}, where an error should name {word!r}"
        )


def _refuses(
    method: Callable[..., Any], right: dict[str, Any], wrong: dict[str, list[Any]]
) -> None:
    """Require a method to refuse each of these values of an argument by its name."""
    for name, values in wrong.items():
        for value in values:
            _raises(_WRONG, name, method, **{**right, name: value})


# ------------------------------------------------------------ what the checks work with


def _rounding(model: CharRNN) -> float:
    return 1e4 * float(np.finfo(model.network.dtype).eps)


def _text(model: CharRNN, length: int, seed: int = 0) -> AnyText:
    """Return a text of the model's characters, drawn evenly."""
    return model.vocabulary.decode(
        random.Random(seed).choices(range(len(model.vocabulary)), k=length)
    )


def _fixed(model: CharRNN) -> bool:
    """Whether weights are so large, as where a training has diverged, that no further step moves them, nor a temperature evens them out."""
    largest = max(float(np.abs(view).max()) for view in model.network.weights.views().values())
    return largest > 1 / float(np.finfo(model.network.dtype).eps)


def _texts(model: CharRNN) -> list[AnyText]:
    return [_text(model, length, length) for length in (3, 70, 1, 17, 2, 3, 33, 8)]


def _unknown(model: CharRNN) -> str:
    """Return a character that the model does not know, or "" if it knows all."""
    known = set(model.vocabulary.chars)
    others = (
        char
        for char in map(
            chr, itertools.chain(range(0x2603, 0xD800), range(0xE000, 0x110000), range(0x2603))
        )
        if char not in known
    )
    return "" if model.vocabulary.of_bytes else next(others, "")


def _weights(model: CharRNN, part: str = "weights") -> bytes:
    return b"".join(view.tobytes() for view in getattr(model.network, part).views().values())


def _bits(model: CharRNN) -> tuple[str, ...]:
    """Return all that a model is, numbers and characters as hashes."""
    index, vocabulary = model.index, model.vocabulary
    known = b"" if index is None else index.fingerprints.tobytes()
    hashes = [
        hashlib.sha256(data).hexdigest()
        for data in (_weights(model), _weights(model, "memory"), known, vocabulary.chars.encode())
    ]
    return (
        *hashes,
        repr(model.network),
        str(model.history.to_dict()),
        f"{vocabulary.records} {vocabulary.of_bytes}",
    )


def _train(model: CharRNN, text: AnyText = None, **options: Any) -> CharRNN:
    """Train a model for three steps, or what options say, on a text, by default one of its characters."""
    options = {
        "steps": 3,
        "seq_length": 8,
        "batch_size": 2,
        "learning_rate": 0.01,
        "validation_fraction": 0,
        "progress": False,
        **options,
    }
    if model.vocabulary.records:
        return model.train_records(_texts(model) if text is None else [text], **options)
    return model.train_text(_text(model, 200) if text is None else text, **options)


def _outcome(model: CharRNN) -> list[Any]:
    """Return what a model gives for one of each kind of call, to compare."""
    return [
        model.score_many(_texts(model)).tolist(),
        model.next_probs(_text(model, 5)).tolist(),
        model.generate_many(3, 30, seed=1, top_p=0.9),
        model.generate(30, temperature=0),
        model.beam_search(5, n_best=3),
    ]


def _drawn(model: CharRNN, **controls: Any) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Write some texts and yield each of their ids, with the probabilities of all symbols there."""
    for seed in range(3):
        text = model.generate(12, seed=seed, **controls)
        for place, ix in enumerate(model.vocabulary.encode(text)):
            yield int(ix), model.next_probs(text[:place])


@contextlib.contextmanager
def _saved(model: CharRNN) -> Iterator[Path]:
    """Save a model in a directory of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        model.save(path)
        yield path


def _refused(path: Path, damaged: bytes, what: str) -> None:
    path.write_bytes(damaged)
    try:
        load(path)
    except ModelFormatError:
        return
    raise AssertionError(f"{what} is loaded")


def _host() -> dict[str, Any]:
    """Return what a process shares between all that runs in it."""
    tiny = np.full(4, np.finfo(np.float32).smallest_subnormal)
    return {
        "random": random.getstate(),
        "numpy.random": pickle.dumps(np.random.get_state()),
        "numpy's error handling": np.geterr(),
        "warnings": list(warnings.filters),
        "signal handlers": [signal.getsignal(number) for number in signal.valid_signals()],
        "environment": dict(os.environ),
        "working directory": os.getcwd(),
        "locale": locale.setlocale(locale.LC_ALL),
        "import path": list(sys.path),
        "threads": threading.active_count(),
        "open files": len(os.listdir("/dev/fd")) if os.path.isdir("/dev/fd") else 0,
        "hooks": (
            sys.excepthook,
            sys.displayhook,
            threading.excepthook,
            sys.gettrace(),
            sys.getprofile(),
            gc.isenabled(),
        ),
        "subnormal numbers": [(tiny * 3).tolist(), sys.float_info.min / 2],
    }


# ------------------------------------------------------------ probabilities and scores


def _check_probabilities_sum_to_one(model: CharRNN) -> None:
    """After any text the probabilities of all symbols are in [0, 1] and sum to 1."""
    for prefix in (model.vocabulary.empty, *_texts(model)):
        p = model.next_probs(prefix)
        _same(
            (p.dtype, p.shape),
            (np.dtype("float64"), (model.vocabulary.symbols,)),
            "what next_probs returns",
        )
        _require(
            (p >= 0).all() and (p <= 1).all(), f"from {p.min()} to {p.max()} after {prefix!r:.80}"
        )
        _close(model, p.sum(), 1.0, f"the sum after {prefix!r:.80}")


def _check_log_probs_have_one_number_a_symbol(model: CharRNN) -> None:
    """log_probs is float64, finite, never positive: one a character, and one for the end of a record."""
    for text in (model.vocabulary.empty, *_texts(model)):
        log_p = model.log_probs(text)
        _same(
            (log_p.dtype, log_p.shape),
            (np.dtype("float64"), (len(text) + model.vocabulary.records,)),
            "what log_probs returns",
        )
        _require(
            np.isfinite(log_p).all() and (log_p <= _rounding(model)).all(),
            f"{log_p.tolist()!r:.200}",
        )


def _check_log_probs_are_those_of_next_probs(model: CharRNN) -> None:
    """What log_probs says of a text is what next_probs says after each of its beginnings."""
    text = _text(model, 12)
    p = [
        model.next_probs(text[:place])[ix] for place, ix in enumerate(model.vocabulary.encode(text))
    ]
    _close(model, np.exp(model.log_probs(text)[: len(text)]), p, "exp(log_probs)")


def _check_log_probs_do_not_look_ahead(model: CharRNN) -> None:
    """What comes later changes no bit of what was said before, also far into a text."""
    text = _text(model, 300)
    whole = model.log_probs(text)
    for length in (1, 63, 64, 65, 200):
        _same(
            model.log_probs(text[:length])[:length],
            whole[:length],
            f"log_probs of the first {length} characters",
        )


def _check_score_is_the_mean_of_log_probs(model: CharRNN) -> None:
    """score is the mean of -log_probs, in bits."""
    for text in _texts(model):
        expected = -model.log_probs(text).mean() / math.log(2)
        _require(
            math.isclose(model.score(text), expected, rel_tol=1e-12, abs_tol=1e-12),
            f"{model.score(text)}, not {expected}",
        )


def _check_score_many_equals_score(model: CharRNN) -> None:
    """score_many has the bits of score."""
    texts = _texts(model)
    _same(model.score_many(texts), np.array([model.score(text) for text in texts]), "score_many")


def _check_score_many_depends_on_no_neighbour(model: CharRNN) -> None:
    """A text's score is the same in any order, number and company."""
    texts = _texts(model)
    scores = model.score_many(texts)
    _same(model.score_many(texts[::-1])[::-1], scores, "score_many of the texts in the other order")
    _same(
        model.score_many([*texts * 20, _text(model, 500)])[: len(texts)],
        scores,
        "score_many among many",
    )
    _same(model.score_many(iter(texts[2:5])), scores[2:5], "score_many of an iterator")
    _same(model.score_many([]), np.empty(0), "score_many of nothing")


def _check_an_empty_text_scores_only_as_a_record(model: CharRNN) -> None:
    """A record may be empty, and then its end is what surprises; a text may not."""
    if not model.vocabulary.records:
        _raises(ValueError, "text", model.score, model.vocabulary.empty)
    else:
        _close(
            model,
            2.0 ** -model.score(model.vocabulary.empty),
            model.next_probs(model.vocabulary.empty)[-1],
            "p of an end at once",
        )


# ------------------------------------------------------------ drawing


def _check_a_trace_tells_what_log_probs_and_next_probs_say(model: CharRNN) -> None:
    """A trace's surprise has the bits of log_probs, and what it finds likeliest is so by next_probs."""
    text = _text(model, 70)
    trace = model.trace(text, top=3)
    _same(trace.surprise, -model.log_probs(text) / math.log(2), "surprise")
    for place in (0, 64, 69):
        p = model.next_probs(text[: place + 1])
        _close(
            model,
            trace.next_probs[place],
            p[trace.next_ids[place]],
            f"what is likeliest after {place + 1} characters",
        )
        _close(
            model,
            trace.next_probs[place],
            np.sort(p)[::-1][:3],
            f"the likeliest after {place + 1} characters",
        )


def _check_a_seed_repeats_a_text(model: CharRNN) -> None:
    """The same seed gives the same text."""
    for seed in (0, 7, 2**64 - 1):
        _same(
            model.generate(60, seed=seed),
            model.generate(60, seed=seed),
            f"a second text of seed {seed}",
        )


def _check_other_seeds_and_none_give_other_texts(model: CharRNN) -> None:
    """Two seeds give two texts, and so do two calls without a seed."""
    if len(model.vocabulary) > 1 and not _fixed(model):
        for seeds in ((1, 2), (None, None)):
            one, two = (model.generate(99, min_length=99, seed=seed, **_FLAT) for seed in seeds)
            _require(one != two, f"seeds {seeds} both gave {one!r:.80}")


def _check_a_text_has_the_length_asked_for(model: CharRNN) -> None:
    """A text has exactly its length, a record at most; 0 is a length."""
    for length in (0, 1, 2, 64, 65, 200):
        text = model.generate(length, seed=3)
        _require(
            len(text) <= length if model.vocabulary.records else len(text) == length,
            f"{len(text)} characters of {length}",
        )
    _same(
        (model.generate_many(0, 5), model.generate_many(2, 0)),
        ([], [model.vocabulary.empty] * 2),
        "what no texts or characters are",
    )


def _check_a_text_is_of_the_vocabulary(model: CharRNN) -> None:
    """What is drawn is str, or bytes, of known characters; it encodes and decodes to itself, and has no boundary of records."""
    for text in model.generate_many(20, 40, seed=4, **_FLAT):
        _require(type(text) is type(model.vocabulary.empty), f"a {type(text).__name__}")
        ids = model.vocabulary.encode(text)
        _require(
            ids.size == len(text) and (ids < len(model.vocabulary)).all(),
            f"{text!r:.80} as ids is {ids.tolist()!r:.80}",
        )
        _same(model.vocabulary.decode(ids), text, "decoded")


def _check_generate_many_does_not_depend_on_count(model: CharRNN) -> None:
    """Text number i is the same whatever the count, and number 0 is what generate writes."""
    many = model.generate_many(70, 30, seed=5)  # more than are written side by side
    for count in (1, 2, 64, 65):
        _same(model.generate_many(count, 30, seed=5), many[:count], f"the first {count} of 70")
    _same(model.generate(30, seed=5), many[0], "generate")


def _check_stream_equals_generate(model: CharRNN) -> None:
    """stream gives the characters of generate one by one, with or without an end."""
    text = model.generate(70, seed=6)
    for pieces in (
        list(model.stream(70, seed=6)),
        list(itertools.islice(model.stream(seed=6), 70)),
    ):
        _require(all(len(piece) == 1 for piece in pieces), f"pieces {pieces!r:.80}")
        _same(model.vocabulary.empty.join(pieces), text, "the stream")


def _check_streams_side_by_side_are_apart(model: CharRNN) -> None:
    """Streams that advance in turns write what each would alone, also while the model is trained further."""
    alone = list(model.stream(20, seed=7))
    one, two = model.stream(20, seed=7), model.stream(20, seed=7)
    turns = list(zip(one, two, strict=False))
    _same(turns, [(char, char) for char in alone], "two streams in turns")
    stream = model.stream(20, seed=7)
    begun = list(itertools.islice(stream, 2))
    _train(model)
    _same(begun + list(stream), alone, "a stream whose model was trained meanwhile")


def _check_temperature_0_takes_the_most_probable(model: CharRNN) -> None:
    """At temperature 0 each character is the most probable one, whatever the seed."""
    for ix, p in _drawn(model, temperature=0):
        _require(
            p[ix] >= p.max() * (1 - _rounding(model)),
            f"one of p = {p[ix]} where another has {p.max()}",
        )
    _same(
        model.generate(30, temperature=0, seed=1),
        model.generate(30, temperature=0, seed=2),
        "the text of another seed",
    )


def _check_top_k_keeps_the_most_probable(model: CharRNN) -> None:
    """With top_k=2 a character is one of the two most probable; with 1 there is no chance left."""
    for ix, p in _drawn(model, top_k=2):
        _require(
            p[ix] >= np.sort(p)[-2:][0] * (1 - _rounding(model)),
            f"one of p = {p[ix]}, the largest are {np.sort(p)[-3:]}",
        )
    _same(
        model.generate(30, top_k=1, seed=1),
        model.generate(30, top_k=1, seed=2),
        "the text of another seed",
    )


def _check_top_p_keeps_the_nucleus(model: CharRNN) -> None:
    """With top_p a character has less than so much probability above it."""
    for ix, p in _drawn(model, top_p=0.5):
        above = p[p > p[ix] * (1 + _rounding(model))].sum()
        _require(
            above < 0.5 + _rounding(model), f"one of p = {p[ix]}, where those above have {above}"
        )


def _check_min_p_cuts_the_tail(model: CharRNN) -> None:
    """With min_p a character has at least this share of the largest probability."""
    for ix, p in _drawn(model, min_p=0.5):
        _require(
            p[ix] >= p.max() * (0.5 - _rounding(model)),
            f"one of p = {p[ix]} where another has {p.max()}",
        )


def _check_forbidden_is_never_drawn(model: CharRNN) -> None:
    """What is forbidden, or not allowed, is not drawn, nor found by a search; characters that the model does not know do no harm there."""
    chars = model.vocabulary.decode(range(len(model.vocabulary)))
    some, rest = chars[::2], chars[1::2]
    others = rest if model.vocabulary.of_bytes else rest + _unknown(model)
    for controls in (
        {"allowed": some},
        {"forbidden": others},
        {"allowed": chars, "forbidden": others},
    ):
        found = model.generate_many(4, 100, seed=8, **_FLAT, **controls) + [
            text for text, _ in model.beam_search(6, n_best=4, **controls)
        ]
        _require(set().union(*found) <= set(some), f"{controls!r:.80} gave {found!r:.200}")
    _raises(ValueError, "forbidden", model.generate, 5, forbidden=chars)


def _check_a_text_ends_before_a_stop_text(model: CharRNN) -> None:
    """A text ends before that of the stop texts which is complete first."""
    texts = model.generate_many(20, 60, seed=9, **_FLAT)
    longest = max(texts, key=len)
    for words in ([longest[4:6]], [longest[7:8], longest[4:6]], [longest[:1]]):
        if all(words):  # but where every record is very short
            ends = [
                min(
                    [
                        (text.find(word) + len(word), text.find(word))
                        for word in words
                        if word in text
                    ],
                    default=None,
                )
                for text in texts
            ]
            expected = [
                text[: end[1]] if end else text for text, end in zip(texts, ends, strict=True)
            ]
            _same(
                model.generate_many(20, 60, seed=9, stop=words, **_FLAT),
                expected,
                f"what ends before {words!r}",
            )


def _check_min_length_holds(model: CharRNN) -> None:
    """Before min_length no record ends and no stop text counts."""
    for text in model.generate_many(20, 30, seed=10, min_length=20, stop=_text(model, 1)):
        _require(20 <= len(text) <= 30, f"{len(text)} characters")
    _raises(ValueError, "min_length", model.generate, 5, min_length=6)


def _check_no_repeat_repeats_nothing(model: CharRNN) -> None:
    """With no_repeat=1 a character comes twice only when all have come."""
    text = model.generate(min(20, len(model.vocabulary)), temperature=0, no_repeat=1)
    _same(len(set(text)), len(text), f"the number of characters in {text!r}")


def _check_a_prime_is_continued(model: CharRNN) -> None:
    """A text goes on from its prime, which is not repeated, as it went on without."""
    text = model.generate(30, temperature=0)
    for length in (1, 10, len(text)):
        _same(
            model.generate(30 - length, temperature=0, prime=text[:length]),
            text[length:],
            f"what follows {text[:length]!r}",
        )


def _check_unique_texts_are_the_first_different_ones(model: CharRNN) -> None:
    """unique leaves out what was written before, and nothing else."""
    length = 20 if model.vocabulary.records else 1  # of records only whole ones count
    texts = model.generate_many(40, length, seed=11)
    plain = list(
        dict.fromkeys(text for text in texts if len(text) < length or not model.vocabulary.records)
    )[:5]
    _same(
        model.generate_many(5, length, seed=11, unique=True)[: len(plain)],
        plain,
        "the unique texts",
    )


def _check_novel_records_are_new(model: CharRNN) -> None:
    """novel leaves out what the model remembers; a model that remembers nothing says so."""
    if model.index is None:
        _raises(ValueError, "novel", model.generate_many, 1, 5, novel=True)
    else:
        known = [
            text for text in model.generate_many(9, 9, seed=12, novel=True) if text in model.index
        ]
        _require(not known, f"{known} are remembered")


def _check_beam_search_tells_true_probabilities(model: CharRNN) -> None:
    """The texts found differ, the best comes first, and each has the sum of its log_probs."""
    found = model.beam_search(6, n_best=5)
    _require(0 < len(found) <= 5 and len({text for text, _ in found}) == len(found), f"{found}")
    _same(
        [score for _, score in found],
        sorted((score for _, score in found), reverse=True),
        "the order",
    )
    for text, score in found:
        _close(model, score, model.log_probs(text)[:6].sum(), f"the log-probability of {text!r}")


def _check_beam_search_of_one_character_is_next_probs(model: CharRNN) -> None:
    """The best texts of one character are those that next_probs has first."""
    found = model.beam_search(1, n_best=5)
    _close(
        model,
        np.exp([score for _, score in found]),
        np.sort(model.next_probs(model.vocabulary.empty))[::-1][:5],
        "exp of the scores",
    )


# ------------------------------------------------------------ arguments


def _check_unknown_characters_are_named(model: CharRNN) -> None:
    """A character that the model does not know is a ValueError that names it, wherever it comes."""
    if char := _unknown(model):
        text = _text(model, 3) + char
        named = f"(U+{ord(char):04X}) is not among"
        _raises(ValueError, named, model.generate, 5, prime=text)
        _raises(ValueError, named, model.score, text[:3], context=text)
        _raises(ValueError, "texts[1][3] = ", model.score_many, [text[:3], text])
        methods: list[Callable[..., Any]] = [model.score, model.log_probs, model.next_probs]
        for method in methods:
            _raises(ValueError, named, method, text)


def _check_unknown_characters_can_be_skipped(model: CharRNN) -> None:
    """With on_unknown="skip" a text counts as if they were not there; of nothing left the score is NaN."""
    if char := _unknown(model):
        text = _text(model, 4)
        torn = char + text[:2] + char + text[2:]
        methods: list[Callable[..., Any]] = [model.score, model.log_probs, model.next_probs]
        for method in methods:
            _same(
                np.asarray(method(torn, on_unknown="skip")),
                np.asarray(method(text)),
                method.__name__,
            )
        _same(
            model.generate(9, seed=1, prime=torn, on_unknown="skip"),
            model.generate(9, seed=1, prime=text),
            "generate",
        )
        _require(
            model.vocabulary.records or math.isnan(model.score(char, on_unknown="skip")),
            "a score of nothing",
        )


def _check_unknown_characters_can_cost(model: CharRNN) -> None:
    """With on_unknown="surprise" each costs as the least likely character there, and is not read; they are counted."""
    if char := _unknown(model):
        text = _text(model, 4)
        torn = char + text[:2] + char + text[2:]
        log_p = model.log_probs(torn, on_unknown="surprise")
        least = np.array(
            [model.next_probs(text[:n])[: len(model.vocabulary)].min() for n in (0, 2)]
        )
        least = np.log(
            np.maximum(least, 1e-30)
        )  # of a model sure of itself it may be 0, and then costs what its logits say
        _close(
            model, np.maximum(log_p[[0, 3]], math.log(1e-30)), least, "what unknown characters cost"
        )
        _same(np.delete(log_p, [0, 3]), model.log_probs(text), "the others")
        score, unknown = model.score(torn, on_unknown="surprise", return_unknown=True)
        _require(unknown == 2, f"of 2 unknown characters {unknown} are counted")
        _require(
            math.isclose(score, -log_p.mean() / math.log(2), rel_tol=1e-12, abs_tol=1e-12),
            "the score is not the mean",
        )


def _check_a_context_is_read_and_not_scored(model: CharRNN) -> None:
    """A text after a context is scored as where it follows it."""
    context, text = _text(model, 5), _text(model, 7, 1)
    expected = model.log_probs(context + text)[5:]
    _close(model, model.log_probs(text, context=context), expected, "log_probs after a context")
    _same(
        model.score_many([text], context=context),
        np.array([model.score(text, context=context)]),
        "score_many",
    )


_Values = dict[str, list[Any]]  # wrong ones, by the name of an argument
_SIZES: list[Any] = [-1, 1.5, "5", None, True, 2**70]
_OTHER = [5, ["a"], object()]  # no text of any model
_CONTROLS: _Values = {
    "temperature": [-1, math.nan, math.inf, "1", None, True],
    "top_k": [0, 1.5, "1"],
    "top_p": [0, 1.1, math.nan, "1"],
}
_CONTROLS |= {
    "min_p": [-0.1, 1.1, math.nan, "1"],
    "no_repeat": [0, 1.5, 2**40],
    "seed": [-1, 2**64, 1.5, "1"],
    "spelling": [1],
}
_SHARED: _Values = {
    "prime": [None, *_OTHER],
    "allowed": _OTHER,
    "forbidden": _OTHER,
    "min_length": [-1, 1.5, None],
    "on_unknown": ["?"],
}
_SETTINGS: _Values = {
    "seq_length": [0, 1.5, None],
    "batch_size": [0, -1, "2"],
    "learning_rate": [0, -1, math.nan, math.inf, "1"],
}
_SETTINGS |= {
    "clip_value": [0, math.nan],
    "clip_norm": [0, math.nan, "1"],
    "dropout": [-0.1, 1, math.nan, None],
    "n_layers": [2],
}
_SETTINGS |= {"n_threads": [0, 1.5], "steps": [-1, 1.5, "1"], "epochs": [-1, True], "seconds": [-1]}
_SETTINGS |= {
    "keep": ["first"],
    "patience": [0, 1.5],
    "validation_fraction": [-0.1, 1, math.nan],
    "learning_rate_decay": [0, 1.1],
}
_SETTINGS |= {
    "optimizer": ["newton", None],
    "schedule": ["step"],
    "warmup": [-1, 1.5],
    "weight_decay": [-1, math.inf],
    "cell": ["lstm"],
}
_SETTINGS |= {
    "preset": ["huge"],
    "seed": [-1, 2**64],
    "callback": [5],
    "hidden_size": [9],
    "alphabet": ["bytes"],
    "spelling": [1],
}


def _check_wrong_texts_are_refused(model: CharRNN) -> None:
    """What is no text of this model is refused, by the argument's name."""
    wrong = [None, *_OTHER, "x" if model.vocabulary.of_bytes else b"x"]
    for method in (model.score, model.log_probs):
        _refuses(method, {}, {"text": wrong})
    _refuses(model.next_probs, {}, {"prefix": wrong})
    _refuses(
        model.score_many,
        {},
        {"texts": [None, 5, "abc", b"abc", [5], [None], *([text] for text in wrong)]},
    )


def _check_wrong_controls_are_refused(model: CharRNN) -> None:
    """A control of generation out of its range, of another type, or misspelt, is refused by its name."""
    controls = {**_CONTROLS, **_SHARED, "stop": [5, "", [""], [5]]}
    _refuses(model.generate, {"length": 3}, {"length": _SIZES, **controls})
    _refuses(model.stream, {"length": 3}, {"length": [-1, 1.5], **controls})
    _refuses(
        model.generate_many,
        {"count": 2, "length": 3},
        {"count": _SIZES, "length": _SIZES, **controls},
    )
    _refuses(
        model.beam_search,
        {"length": 3},
        {"length": _SIZES, "n_best": [0, 1.5], "width": [0, 1.5], **_SHARED},
    )


def _check_wrong_training_changes_nothing(model: CharRNN) -> None:
    """A wrong option of training is refused by its name, and unknown characters by theirs, before anything is changed."""
    before = _bits(model)
    _refuses(_train, {"model": model}, _SETTINGS)
    for wrong in (5, [5], model.vocabulary.empty):
        _raises(_WRONG, "strings" if model.vocabulary.records else "text", _train, model, wrong)
    if char := _unknown(model):
        _raises(ValueError, repr(char), _train, model, char * 9)
    _same(_bits(model), before, "the model")


def _check_numbers_of_numpy_are_numbers(model: CharRNN) -> None:
    """Integers and floats of NumPy count as those of Python."""
    numbers: dict[str, Any] = {
        "length": np.int64(20),
        "seed": np.uint64(3),
        "temperature": np.float32(0.5),
        "top_k": np.int8(2),
    }
    _same(
        model.generate(**numbers), model.generate(20, seed=3, temperature=0.5, top_k=2), "the text"
    )


# ------------------------------------------------------------ files and copies


def _check_a_saved_model_is_the_same(model: CharRNN) -> None:
    """save and load keep all bits, and equal models are equal files."""
    with _saved(model) as path:
        content, loaded = path.read_bytes(), load(path)
        _same(
            (_weights(loaded), loaded.vocabulary),
            (_weights(model), model.vocabulary),
            "what was loaded",
        )
        _same(
            (str(loaded.history.to_dict()), loaded.index is None),
            (str(model.history.to_dict()), model.index is None),
            "its history and index",
        )
        _same(_outcome(loaded), _outcome(model), "what it gives")
        loaded.save(path)
        _require(path.read_bytes() == content, "saved again it is another file")
        _same(os.listdir(path.parent), [path.name], "what lies in its folder")


def _check_a_damaged_file_is_refused(model: CharRNN) -> None:
    """A file cut anywhere, with a bit flipped, with more at its end, or of another kind is a ModelFormatError."""
    with _saved(model) as path:
        content = path.read_bytes()
        for other in (b"", b"\0" * 100, pickle.dumps(model), content + b"\0", content * 2):
            _refused(path, other, f"a file that begins with {other[:9]!r}")
        for place in {*range(0, len(content), 1 + len(content) // 30), 7, 8, len(content) - 1}:
            _refused(path, content[:place], f"a file cut at {place}")
            flipped = (
                content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :]
            )
            if content[place] != ord(
                " "
            ):  # spaces fill the header up, where another blank would do no harm
                _refused(path, flipped, f"a file with a bit of byte {place} flipped")


def _check_files_that_cannot_be_are_os_errors(model: CharRNN) -> None:
    """No file to load, a directory to load or to save to, no folder: an OSError that names it, and nothing left behind."""
    with tempfile.TemporaryDirectory() as folder:
        _raises(FileNotFoundError, "absent", load, Path(folder, "absent"))
        _raises(FileNotFoundError, "absent", model.save, Path(folder, "absent", "model"))
        _raises(OSError, folder if os.name == "posix" else "", load, folder)
        _raises(OSError, folder if os.name == "posix" else "", model.save, folder)
        _same(os.listdir(folder), [], "what is left in the folder")


def _check_a_failed_save_leaves_the_old_file(model: CharRNN) -> None:
    """Weights that are not finite are not saved over a file, nor do they give numbers."""
    with _saved(model) as path:
        content = path.read_bytes()
        model.network.weights.views()["by"][...] = np.nan
        _raises(ValueError, "finite", model.save, path)
        _require(
            path.read_bytes() == content and os.listdir(path.parent) == [path.name],
            "the folder has changed",
        )
    for call in (
        lambda: model.score(_text(model, 3)),
        lambda: model.generate(3),
        lambda: model.next_probs(model.vocabulary.empty),
    ):
        _raises(DivergedError, "", call)


def _check_copies_are_whole_and_apart(model: CharRNN) -> None:
    """Deeply copied a model is the same, pickled as its file is, and what happens to the copy does not happen to it."""
    before = _bits(model)
    with _saved(model) as path:
        loaded = _bits(load(path))  # has no memory of the optimiser
    for other, expected in (
        (pickle.loads(pickle.dumps(model)), loaded),
        (copy.deepcopy(model), before),
    ):
        _same(_bits(other), expected, "a copy")
        for view in other.network.weights.views().values():
            view[...] = 0
        _same(_bits(model), before, "the model whose copy was changed")


# ------------------------------------------------------------ training further


def _check_training_repeats(model: CharRNN) -> None:
    """Two equal trainings give equal weights, which are new; threads share the work without changing a bit."""
    before, (one, two, three) = _weights(model), (copy.deepcopy(model) for _ in range(3))
    _same(_weights(_train(one)), _weights(_train(two)), "a second training")
    _same(_weights(_train(three, n_threads=2)), _weights(one), "a training in two threads")
    _require(
        _weights(one) != before or model.vocabulary.symbols == 1 or _fixed(model),
        "nothing was learned",
    )


def _check_history_tells_the_training(model: CharRNN) -> None:
    """history has the steps asked for, the reason of the end, and finite losses; a callback hears of it and can end it."""
    heard: list[Any] = []
    history = _train(model, callback=heard.append).history
    _same((history.steps, history.stop_reason, history.reports), (3, "steps", heard), "history")
    _require(history.losses and np.isfinite(history.losses).all(), f"losses {history.losses}")
    _same(
        _train(model, steps=99, callback=lambda _: True).history.stop_reason,
        "callback",
        "the reason",
    )


def _check_extend_adds_characters(model: CharRNN) -> None:
    """With extend=True new characters join the vocabulary, and those that were there keep their ids."""
    if char := _unknown(model):
        chars = model.vocabulary.chars
        _train(model, chars[:1] + char, extend=True)
        _same(model.vocabulary.chars, chars + char, "the vocabulary")
        _require(math.isfinite(model.score(char)), "a new character has no score")


def _check_an_exception_leaves_whole_steps(model: CharRNN) -> None:
    """A callback's exception comes out as it is, and leaves the model of the last whole step."""
    again, wanted = copy.deepcopy(model), OSError("as it is")

    def fail(_: Any) -> None:
        raise wanted

    try:
        _train(model, steps=99, callback=fail)
    except OSError as error:
        _require(error is wanted, f"{error!r}")
    _require(0 < model.history.steps < 99, f"{model.history.steps} steps")
    _same(
        _weights(_train(again, steps=model.history.steps)),
        _weights(model),
        "the model of so many steps",
    )


def _check_resuming_gives_the_same_bits(model: CharRNN) -> None:
    """A training that goes on from its checkpoint ends like one that was never interrupted; the checkpoint is a model, too."""
    with tempfile.TemporaryDirectory() as folder:
        path, (whole, half, rest) = (
            Path(folder, "checkpoint"),
            (copy.deepcopy(model) for _ in range(3)),
        )
        _train(half, checkpoint=path)
        _same(_weights(load(path)), _weights(half), "the checkpoint as a model")
        _same(
            _weights(_train(rest, steps=6, resume=path)),
            _weights(_train(whole, steps=6)),
            "the resumed training",
        )
        _same(os.listdir(folder), [path.name], "what lies in its folder")


# ------------------------------------------------------------ the process around


def _check_threads_may_share_a_model(model: CharRNN) -> None:
    """Four threads get the bits of one; while another trains the model, each call sees it as before or as after."""
    expected = _outcome(model)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(_outcome, [model] * 8):
            _same(found, expected, "what a thread got")
        text, training = (
            _text(model, 50),
            pool.submit(_train, twin := copy.deepcopy(model), steps=30),
        )
        scores = {twin.score(text)}
        while not training.done():
            scores.add(twin.score(text))
    _require(scores <= {model.score(text), twin.score(text)}, f"scores {scores}")


def _check_using_a_model_does_not_change_it(model: CharRNN) -> None:
    """Scoring, writing, searching, saving and copying change no bit of a model."""
    before = _bits(model)
    _outcome(model)
    list(model.stream(5))
    with _saved(model):
        pickle.dumps(model)
    _same(_bits(model), before, "the model")


def _check_the_host_is_left_alone(model: CharRNN) -> None:
    """Random states, warnings, signals, environment, files, threads and floating point are as before; nothing is printed or warned of."""
    with _saved(model) as path:  # what is imported at the first call has been imported then
        _train(load(path))
        before = _host()
        printed = io.StringIO()
        with (
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
            warnings.catch_warnings(record=True) as caught,
        ):
            warnings.simplefilter("always")
            warnings.simplefilter("ignore", TrainingWarning)  # the trainings here are short
            _outcome(load(path))
            _train(model, n_threads=2, checkpoint=path)
        after = _host()
    for name, was in before.items():
        _same(after[name], was, name)
    _require(
        after["subnormal numbers"][1] > 0 and min(after["subnormal numbers"][0]) > 0,
        "subnormal numbers are flushed",
    )
    _same((printed.getvalue(), caught), ("", []), "what was printed and warned of")


def _check_every_build_gives_the_same_bits(model: CharRNN) -> None:
    """Each build of the kernels with FMA that this processor runs gives the same bits, in a process of its own."""
    levels = _dispatch.available()
    levels = levels[1:] or levels
    if (
        _dispatch.isa not in levels
        or "python" not in os.path.basename(sys.executable or "").lower()
    ):
        return  # the host has chosen the one that differs; or is no Python that could be started
    program = "import sys, charrnn.testing as t; m = t.load(sys.argv[1]); print(t._outcome(m), t._bits(t._train(m))[0])"
    with _saved(model) as path:
        loaded = load(path)
        expected = f"{_outcome(loaded)} {_bits(_train(loaded))[0]}"
        for level in levels:
            environment = {
                **os.environ,
                "CHARRNN_ISA": level,
                "PYTHONPATH": os.pathsep.join(sys.path),
                "PYTHONIOENCODING": "utf-8",
            }
            command = [sys.executable, "-c", program, str(path)]
            done = subprocess.run(
                command, env=environment, capture_output=True, encoding="utf-8", timeout=300
            )
            _same(done.stdout.strip() or done.stderr, expected, f"what {level} gives")


# ------------------------------------------------------------ the objects


def _check_parts_cannot_be_replaced(model: CharRNN) -> None:
    """What a model consists of can be read, not replaced nor deleted; nothing else can be set."""
    for name in ("rnn", "network", "vocabulary", "history", "index", "anything"):
        _raises(AttributeError, "", setattr, model, name, None)
        _raises(AttributeError, "", delattr, model, name)


def _check_sizes_are_fixed(model: CharRNN) -> None:
    """No description, dtype or array of a network can get another size, and sizes agree with each other."""
    network = model.network
    for thing, name in (
        (network, "description"),
        (network, "dtype"),
        (network, "weights"),
        (network.description, "vocab_size"),
    ):
        _raises(AttributeError, "", setattr, thing, name, getattr(thing, name))
    for view in network.weights.views().values():
        _raises(ValueError, "", view.resize, view.size + 1, refcheck=False)
    _same(network.description.vocab_size, model.vocabulary.symbols, "the network's vocab_size")
    _same(
        sum(view.size for view in network.weights.views().values()),
        network.description.n_parameters,
        "the number of weights",
    )


def _check_a_vocabulary_is_one_to_one(model: CharRNN) -> None:
    """Characters and ids translate to each other, without surrogates, and other ids are refused."""
    vocabulary = model.vocabulary
    ids = np.arange(len(vocabulary))
    _require(
        (vocabulary.encode(vocabulary.decode(ids)) == ids).all(),
        "ids change on the way to characters and back",
    )
    _require(
        len(set(vocabulary.chars)) == len(ids) and vocabulary.chars.encode(),
        "a character comes twice",
    )
    for wrong in (-1, len(vocabulary), 2**40):
        _raises(IndexError, str(wrong), vocabulary.decode, [wrong])
    _same(
        Vocabulary(vocabulary.chars, vocabulary.records, vocabulary.of_bytes),
        vocabulary,
        "a vocabulary of the same characters",
    )


def _check_repr_is_short(model: CharRNN) -> None:
    """repr takes a line, whatever the size."""
    for thing in (model, model.vocabulary, model.network):
        _require(
            len(repr(thing)) < 300,
            f"that of {type(thing).__name__} has {len(repr(thing))} characters",
        )


def _check_errors_are_the_documented_classes(model: CharRNN) -> None:
    """The package's own errors are CharRNNError, and the built-in ones that hosts catch."""
    _require(
        issubclass(ModelFormatError, CharRNNError) and issubclass(ModelFormatError, ValueError),
        "ModelFormatError is not",
    )
    _require(
        issubclass(DivergedError, CharRNNError) and issubclass(DivergedError, ArithmeticError),
        "DivergedError is not",
    )
    _require(issubclass(TrainingInterrupted, KeyboardInterrupt), "TrainingInterrupted is not")
