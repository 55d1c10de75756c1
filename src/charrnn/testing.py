"""Checks that a model, with your build of the package and on your machine, does what is documented.

A check is a function whose name begins with `_check_`. It gets a copy of the model and raises
AssertionError through the helpers below: ``python -O`` would skip ``assert`` statements.
"""

import contextlib
import copy
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

from .create import load
from .data.vocabulary import AnyText
from .model import CharRNN
from .network import dispatch
from .util.errors import DivergedError, ModelFormatError, TrainingWarning

_EVEN: dict[str, Any] = {"temperature": 1e9}  # draws all characters alike, whatever was learned


class Check(NamedTuple):
    """One check of one model. Call it to run it; `name` says what it checks."""

    name: str
    function: Callable[[CharRNN], None]
    model: CharRNN

    def __call__(self) -> None:
        """Run the check on a copy; on failure raise AssertionError with its name and the cause."""
        before = _digest(self.model)
        try:
            self.function(copy.deepcopy(self.model))
            _same(_digest(self.model), before, "the model that was copied for the check")
        except Exception as error:
            kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
            message = f"{self.name}: {kind}{error}".replace("\n", " ")
            raise AssertionError(message) from error

    def __str__(self) -> str:
        return self.name


def checks(model: CharRNN) -> list[Check]:
    """Return the checks of a model. Call each one to run it; ``str`` of one is its name.

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
    >>> model = charrnn.train_text("to be or not " * 9, hidden_size=8, steps=10, progress=False)
    >>> print(charrnn.testing.checks(model)[0])
    probabilities_sum_to_one
    """
    if not isinstance(model, CharRNN):
        raise TypeError(f"model must be a CharRNN, not {type(model).__name__}")
    return [Check(name, function, model) for name, function in _CHECKS.items()]


def check_model(model: CharRNN) -> list[str]:
    """Check that a model, and this build of the package on this machine, do what is documented.

    Parameters
    ----------
    model : CharRNN
        A model of any kind, with finite weights. It stays unchanged: each check uses a copy.

    Returns
    -------
    list of str
        The names of the checks, all of which passed.

    Raises
    ------
    AssertionError
        If any failed: one line for each, with its name and the cause.

    Notes
    -----
    The checks take a few seconds, write to temporary directories, and start a Python process for
    each build of the kernels. One check compares the state of the whole process before and after
    (random numbers, signal handlers, open files ...), so run nothing else in it meanwhile.

    Examples
    --------
    >>> import charrnn.testing
    >>> model = charrnn.train_text("to be or not " * 9, hidden_size=8, steps=10, progress=False)
    >>> len(charrnn.testing.check_model(model))
    20
    """
    failures = []
    for check in checks(model):
        try:
            check()
        except AssertionError as error:
            failures.append(str(error))
    if failures:
        summary = f"{len(failures)} of {len(_CHECKS)} checks failed:\n"
        raise AssertionError(summary + "\n".join(failures))
    return list(_CHECKS)


# ---- how a check fails


def _require(holds: Any, found: str) -> None:
    if not holds:
        raise AssertionError(found)


def _same(found: Any, expected: Any, what: str) -> None:
    """Require two results to be equal; of arrays, each bit."""
    arrays = isinstance(found, np.ndarray) and isinstance(expected, np.ndarray)
    if arrays and (found.dtype, found.shape) == (expected.dtype, expected.shape):
        equal = found.tobytes() == expected.tobytes()
    else:
        equal = not arrays and found == expected
    _require(equal, f"{what} is {found!r:.200}, not {expected!r:.200}")


def _close(model: CharRNN, found: Any, expected: Any, what: str) -> None:
    """Require numbers to agree up to the rounding of the model's dtype."""
    close = np.allclose(found, expected, rtol=_rounding(model), atol=_rounding(model))
    _require(close, f"{what} is {found!r:.200}, not {expected!r:.200}")


def _raises(error: type[Exception], word: str, call: Callable[[], Any], what: str) -> None:
    """Require a call to raise an error whose message contains the word."""
    try:
        call()
    except error as caught:
        _require(
            word in str(caught), f"the error of {what} does not name {word!r}: {caught!r:.300}"
        )
    else:
        raise AssertionError(f"{what} raises no {error.__name__}")


# ---- what the checks work with


def _rounding(model: CharRNN) -> float:
    return 1e4 * float(np.finfo(model.network.dtype).eps)


def _text(model: CharRNN, length: int, seed: int = 0) -> AnyText:
    """Return random characters of the vocabulary."""
    ids = random.Random(seed).choices(range(len(model.vocabulary)), k=length)
    return model.vocabulary.decode(ids)


def _texts(model: CharRNN) -> list[AnyText]:
    return [_text(model, length, length) for length in (3, 70, 1, 17, 2, 3, 33, 8)]


def _weights(model: CharRNN) -> bytes:
    return model.network.weights.block.tobytes()


def _digest(model: CharRNN) -> list[str]:
    """Return everything that a model is, its arrays and characters as hashes."""
    known = b"" if model.index is None else model.index.fingerprints.tobytes()
    memory = model.network.memory.block.tobytes()
    parts = (_weights(model), memory, known, model.vocabulary.chars.encode())
    facts = (model.network, model.history.to_dict(), model.vocabulary.records)
    return [hashlib.sha256(part).hexdigest() for part in parts] + list(map(str, facts))


def _train(model: CharRNN, **options: Any) -> CharRNN:
    """Train a model on random characters, for three steps unless the options say otherwise."""
    options = {"steps": 3, "seq_length": 8, "batch_size": 2, "learning_rate": 0.01, **options}
    options = {"validation_fraction": 0, "progress": False, **options}
    if model.vocabulary.records:
        return model.train_records(_texts(model), **options)
    return model.train_text(_text(model, 200), **options)


def _outcome(model: CharRNN) -> list[Any]:
    """Return the result of each kind of call, to compare."""
    return [
        model.score_many(_texts(model)).tolist(),
        model.next_probs(_text(model, 5)).tolist(),
        model.generate_many(3, 30, seed=1, top_p=0.9),
        model.generate(30, temperature=0),
        model.beam_search(5, n_best=3),
    ]


@contextlib.contextmanager
def _saved(model: CharRNN) -> Iterator[Path]:
    """Save a model to a directory of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        model.save(path)
        yield path


def _process() -> dict[str, Any]:
    """Return the state that all code in this process shares."""
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
        "subnormal numbers": (bool((tiny * 3).all()), sys.float_info.min / 2 > 0),
    }


# ---- probabilities and scores


def _check_probabilities_sum_to_one(model: CharRNN) -> None:
    """After any text the probabilities of all symbols are in [0, 1] and sum to 1."""
    for text in (model.vocabulary.empty, *_texts(model)):
        p = model.next_probs(text)
        _same((p.dtype, p.shape), (np.float64, (model.vocabulary.symbols,)), "next_probs' type")
        _require(p.min() >= 0 and p.max() <= 1, f"{p.min()} to {p.max()} after {text!r:.80}")
        _close(model, p.sum(), 1.0, f"the sum after {text!r:.80}")


def _check_log_probs_are_those_of_next_probs(model: CharRNN) -> None:
    """log_probs has what next_probs says of each symbol; later text changes no bit of it."""
    text, ends = _text(model, 300), int(model.vocabulary.records)
    for length in (0, 1, 12, 63, 64, 65, 300):
        log_p = model.log_probs(text[:length])
        _same((log_p.dtype, log_p.shape), (np.float64, (length + ends,)), "log_probs' type")
        _require(np.isfinite(log_p).all() and log_p.max(initial=0) <= _rounding(model), f"{log_p}")
        _same(log_p[:length], model.log_probs(text)[:length], "log_probs before later text")
    ids = [*model.vocabulary.encode(text[:12]), -1][: 12 + ends]
    p = [model.next_probs(text[:place])[ix] for place, ix in enumerate(ids)]
    p *= np.exp(-model.vocabulary.rare_nats(np.array(ids)))
    _close(model, np.exp(model.log_probs(text[:12])), p, "exp(log_probs)")
    after = model.log_probs(text[5:12], context=text[:5])
    _close(model, after, model.log_probs(text[:12])[5:], "log_probs after a context")


def _check_scores_do_not_depend_on_the_batch(model: CharRNN) -> None:
    """score is the mean of -log_probs in bits; score_many has its bits in any order and number."""
    texts = _texts(model)
    scores = model.score_many(texts)
    means = [-model.log_probs(text).mean() / math.log(2) for text in texts]
    _require(np.allclose(scores, means, 1e-12, 1e-12), f"scores {scores}, not {means}")
    _same(scores, np.array([model.score(text) for text in texts]), "score_many")
    _same(model.score_many(texts[::-1])[::-1], scores, "score_many in the other order")
    among_many = model.score_many([*texts * 20, _text(model, 500)])
    _same(among_many[: len(texts)], scores, "score_many among many texts")


def _check_a_trace_agrees_with_log_probs_and_next_probs(model: CharRNN) -> None:
    """A trace's surprise has the bits of log_probs; its likeliest symbols are next_probs'."""
    text = _text(model, 70)
    trace = model.trace(text, top=3)
    _same(trace.surprise, -model.log_probs(text) / math.log(2), "surprise")
    for place in (0, 64, 69):
        p = model.next_probs(text[: place + 1])
        for expected in (p[trace.next_ids[place]], np.sort(p)[::-1][:3]):
            _close(model, trace.next_probs[place], expected, f"what is likeliest at {place}")


# ---- generation


def _check_a_seed_repeats_a_text(model: CharRNN) -> None:
    """Equal seeds give equal texts, of known characters; other seeds and none give others."""
    for seed in (0, 7, 2**64 - 1):
        text = model.generate(60, seed=seed)
        _same(model.generate(60, seed=seed), text, f"a second text of seed {seed}")
        _same(model.vocabulary.decode(model.vocabulary.encode(text)), text, "it decoded")
    certain = len(model.vocabulary) == 1 or model.next_probs(model.vocabulary.empty).max() == 1
    for seeds in ((1, 2), (None, None)):
        one, two = (model.generate(99, min_length=99, seed=seed, **_EVEN) for seed in seeds)
        _require(one != two or certain, f"seeds {seeds} both gave {one!r:.80}")


def _check_texts_do_not_depend_on_the_batch(model: CharRNN) -> None:
    """Text number i is the same whatever the count; generate and stream write number 0."""
    many = model.generate_many(70, 30, seed=5)  # more than one batch
    for count in (0, 1, 2, 64, 65):
        _same(model.generate_many(count, 30, seed=5), many[:count], f"the first {count} of 70")
    _same(model.generate(30, seed=5), many[0], "generate")
    for stream in (model.stream(30, seed=5), itertools.islice(model.stream(seed=5), 30)):
        _same(model.vocabulary.empty.join(stream), many[0], "stream")


def _check_streams_are_independent(model: CharRNN) -> None:
    """A stream writes the same beside another one, and while the model goes on training."""
    alone = list(model.stream(20, seed=7))
    one, two = model.stream(20, seed=7), model.stream(20, seed=7)
    turns = [*zip(itertools.islice(one, 2), two, strict=False)]
    _train(model)
    turns += zip(one, two, strict=False)
    _same(turns, [(char, char) for char in alone], "two streams in turns")


def _check_a_text_has_the_length_asked_for(model: CharRNN) -> None:
    """A text has exactly its length, a record min_length to length; after a prime it goes on."""
    for length in (0, 1, 2, 64, 65, 200):
        least = length // 2 if model.vocabulary.records else length
        text = model.generate(length, seed=3, min_length=least)
        _require(least <= len(text) <= length, f"{len(text)} characters, not {least} to {length}")
    text = model.generate(30, temperature=0)
    rest = model.generate(20, temperature=0, prime=text[:10])
    _same(rest, text[10:], f"what follows {text[:10]!r}")


def _check_controls_keep_the_most_probable(model: CharRNN) -> None:
    """temperature=0, top_k, top_p and min_p draw no character below their limits."""

    def nucleus(p: Any) -> Any:  # the least of the largest that have half of the probability
        ordered = np.sort(p)[::-1]
        return ordered[: np.searchsorted(np.cumsum(ordered), 0.5 + _rounding(model)) + 1].min()

    controls: list[tuple[dict[str, Any], Callable[[Any], Any]]] = [
        ({"temperature": 0}, np.max),
        ({"top_k": 1}, np.max),
        ({"top_k": 2}, lambda p: np.sort(p)[-2:][0]),
        ({"top_p": 0.5}, nucleus),
        ({"min_p": 0.5}, lambda p: np.max(p) / 2),
    ]
    for (control, least), seed in itertools.product(controls, range(3)):
        text = model.generate(12, seed=seed, min_length=0, **control)
        for place, ix in enumerate(model.vocabulary.encode(text)):
            p = model.next_probs(text[:place])
            if model.vocabulary.rare:  # is never drawn
                p[model.vocabulary.rare_id] = 0
                p /= p.sum()
            allowed = p[ix] >= least(p) * (1 - _rounding(model))
            _require(allowed, f"{control} drew one of p = {p[ix]}, the limit is {least(p)}")


def _check_forbidden_is_never_drawn(model: CharRNN) -> None:
    """No text and no beam search has a character that is forbidden or not allowed."""
    chars = model.vocabulary.decode(range(len(model.vocabulary)))
    some, others = chars[::2], chars[1::2]
    for controls in ({"allowed": some}, {"forbidden": others}):
        found = model.generate_many(4, 100, seed=8, **_EVEN, **controls)
        found += [text for text, _ in model.beam_search(6, n_best=4, **controls)]
        _require(set().union(*found) <= set(some), f"{controls!r:.80} gave {found!r:.200}")


def _check_beam_search_finds_the_most_probable(model: CharRNN) -> None:
    """The texts differ, come in order, have the sums of their log_probs; of one step the best."""
    found = model.beam_search(6, n_best=5)
    scores = [score for _, score in found]
    _require(0 < len({text for text, _ in found}) == len(found) <= 5, f"{found}")
    _same(scores, sorted(scores, reverse=True), "the order")
    for text, score in found:
        _close(model, score, model.log_probs(text).sum(), f"the log-probability of {text!r}")
    best = list(model.likeliest(5, max_length=1))
    for text, score in best:
        _same(score, np.cumsum(model.log_probs(text))[-1], f"the log-probability of {text!r}")
    found = model.beam_search(1, n_best=5, width=max(5, model.vocabulary.symbols))
    _same([text for text, _ in found], [text for text, _ in best], "the best of one character")


# ---- files and copies


def _check_a_saved_model_is_the_same(model: CharRNN) -> None:
    """A loaded, copied or pickled model has the same bits and results, and its file is equal."""
    result, before = _outcome(model), _digest(model)
    with _saved(model) as path:
        content, loaded = path.read_bytes(), load(path)
        for other in (loaded, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
            _same(_outcome(other), result, "what a copy gives")
            _same(other.history.to_dict(), model.history.to_dict(), "the history of a copy")
            other.save(path)
            _require(path.read_bytes() == content, "saved again it is another file")
            other.network.weights.block[...] = 0
            _same(_digest(model), before, "the model whose copy was changed")
        _same(os.listdir(path.parent), [path.name], "the files in its folder")


def _check_a_damaged_file_is_refused(model: CharRNN) -> None:
    """A file cut anywhere, with a flipped bit, a longer one, or no model is a ModelFormatError."""
    with _saved(model) as path:
        content = path.read_bytes()
        damaged = [b"", b"\0" * 100, pickle.dumps(model), content + b"\0", content * 2]
        for place in {*range(0, len(content), 1 + len(content) // 30), 7, 8, len(content) - 1}:
            damaged.append(content[:place])
            if content[place] != ord(" "):  # other white space in the header is no damage
                flipped = bytes([content[place] ^ 1 << place % 8])
                damaged.append(content[:place] + flipped + content[place + 1 :])
        for file in damaged:
            path.write_bytes(file)
            _raises(ModelFormatError, "", lambda: load(path), f"{file[:60]!r} ... ({len(file)})")


def _check_a_failed_save_leaves_the_old_file(model: CharRNN) -> None:
    """What cannot be saved or loaded is an error that says so, and leaves the folder as it was."""
    with _saved(model) as path:
        content, absent = path.read_bytes(), path.parent / "absent"
        _raises(FileNotFoundError, "absent", lambda: load(absent), "a missing file")
        _raises(FileNotFoundError, "absent", lambda: model.save(absent / "m"), "a missing folder")
        _raises(OSError, "", lambda: model.save(path.parent), "a folder for a file")
        model.network.weights.block[...] = np.nan
        _raises(ValueError, "finite", lambda: model.save(path), "saving NaN")
        _raises(DivergedError, "", lambda: model.generate(3), "drawing from NaN")
        left = path.read_bytes() == content, os.listdir(path.parent)
        _same(left, (True, [path.name]), "the folder afterwards")


# ---- training


def _check_training_repeats(model: CharRNN) -> None:
    """Equal trainings give equal weights, in one thread or two, and a history of their steps."""
    once, again, threads = (copy.deepcopy(model) for _ in range(3))
    heard: list[Any] = []
    history = _train(once, callback=heard.append).history
    _same((history.steps, history.stop_reason, history.reports), (3, "steps", heard), "history")
    _require(history.losses and np.isfinite(history.losses).all(), f"losses {history.losses}")
    _same(_weights(_train(again)), _weights(once), "a second training")
    _same(_weights(_train(threads, n_threads=2)), _weights(once), "a training in two threads")


def _check_an_exception_leaves_whole_steps(model: CharRNN) -> None:
    """A callback's exception is raised unchanged and leaves the model of the last whole step."""
    again, expected = copy.deepcopy(model), OSError("of the callback")

    def fail(_: Any) -> None:
        raise expected

    try:
        _train(model, steps=99, callback=fail)
    except OSError as error:
        _require(error is expected, f"{error!r}")
    steps = model.history.steps
    _require(0 < steps < 99, f"{steps} steps")
    _same(_weights(_train(again, steps=steps)), _weights(model), f"the model of {steps} steps")


def _check_resuming_gives_the_same_bits(model: CharRNN) -> None:
    """A training resumed from its checkpoint ends like an uninterrupted one."""
    whole, half, rest = (copy.deepcopy(model) for _ in range(3))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "checkpoint")
        _train(half, checkpoint=path)
        _same(_weights(load(path)), _weights(half), "the checkpoint as a model")
        resumed = _weights(_train(rest, steps=6, resume=path))
        _same(resumed, _weights(_train(whole, steps=6)), "the resumed training")
        _same(os.listdir(folder), [path.name], "the files in its folder")


# ---- the process


def _check_threads_may_share_a_model(model: CharRNN) -> None:
    """Threads get the bits of one; during a training each call uses the old or the new model."""
    expected = _outcome(model)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(_outcome, [model] * 8):
            _same(found, expected, "the result in a thread")
        text, twin = _text(model, 50), copy.deepcopy(model)
        training = pool.submit(_train, twin, steps=30)
        scores = {twin.score(text)}
        while not training.done():
            scores.add(twin.score(text))
    _require(scores <= {model.score(text), twin.score(text)}, f"scores {scores}")


def _check_the_process_is_left_alone(model: CharRNN) -> None:
    """Use changes neither model nor process (random states, signals, files ...), and is silent."""
    digest, printed = _digest(model), io.StringIO()
    with _saved(model) as path:
        _train(load(path))  # so that the first call's imports are done
        before = _process()
        with (
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
            warnings.catch_warnings(record=True) as caught,
        ):
            warnings.simplefilter("always")
            warnings.simplefilter("ignore", TrainingWarning)  # the trainings here are short
            _outcome(model)
            _train(load(path), n_threads=2, checkpoint=path)
        after = _process()
    for name, was in before.items():
        _same(after[name], was, name)
    _same(after["subnormal numbers"], (True, True), "arithmetic with subnormal numbers")
    _same((printed.getvalue(), caught), ("", []), "what was printed and warned of")
    _same(_digest(model), digest, "the model that was used")


def _check_every_build_gives_the_same_bits(model: CharRNN) -> None:
    """Each build of the kernels with FMA that this processor can run gives the same bits."""
    levels = dispatch.available()
    levels = levels[1:] or levels  # the first one has no FMA
    is_python = "python" in os.path.basename(sys.executable or "").lower()
    if dispatch.isa not in levels or not is_python:
        return
    program = (
        "import sys, charrnn.testing as t; model = t.load(sys.argv[1]);"
        "print(t._outcome(model), t._digest(t._train(model))[0])"
    )
    with _saved(model) as path:
        loaded = load(path)
        expected = f"{_outcome(loaded)} {_digest(_train(loaded))[0]}"
        command = [sys.executable, "-c", program, str(path)]
        for level in levels:
            variables = {"CHARRNN_ISA": level, "PYTHONPATH": os.pathsep.join(sys.path)}
            environment = os.environ | variables | {"PYTHONIOENCODING": "utf-8"}
            done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8")
            _same(done.stdout.strip() or done.stderr, expected, f"what {level} gives")


_CHECKS: dict[str, Callable[[CharRNN], None]] = {
    name.removeprefix("_check_"): value
    for name, value in globals().items()
    if name.startswith("_check_")
}
