"""check_model passes on models of every kind; each check fails where its promise is broken."""

import functools
import itertools
import os
import pickle
import signal
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

import charrnn
import plain
from charrnn import CharRNN, History, ModelFormatError, testing

TEXT = "to be, or not to be, that is the question\n" * 8
NAMES = ["anna", "bob", "susanna", "zoë", "nina", "otto"] * 4
BYTES = [b"ab", b"", b"\xff\0"] * 4
OPTIONS = {"progress": False, "hidden_size": 12, "epochs": 4}
KINDS = {
    "text": lambda: plain.train_text(TEXT, **OPTIONS),
    "float64": lambda: plain.train_text(TEXT, dtype="float64", **OPTIONS),
    "one character": lambda: plain.train_text("aaaa", **OPTIONS),
    "certain": lambda: plain.train_text("abc" * 100, **OPTIONS | {"epochs": 40}),
    "records": lambda: plain.train_records(NAMES, remember=True, **OPTIONS | {"epochs": 100}),
    "bytes": lambda: plain.train_text(bytes(range(256)) * 2, alphabet="bytes", **OPTIONS),
    "records of bytes": lambda: plain.train_records(BYTES, alphabet="bytes", **OPTIONS),
}


@functools.cache
def trained(kind):
    return pickle.dumps(KINDS[kind]())


def model_of(kind="text"):
    """A model of its own for each test."""
    return pickle.loads(trained(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_passes_and_stays_as_it_was(kind):
    model = model_of(kind)
    before = pickle.dumps(model)
    assert testing.check_model(model) == list(SABOTAGE)
    assert pickle.dumps(model) == before


def test_extreme_models_pass():
    """One has a probability of 0 in float32; the other weights of 1e37."""
    certain = model_of("records")
    certain.network.weights.views()["by"][-1] = 1e4
    testing.check_model(certain)
    with pytest.raises(charrnn.DivergedError) as diverged:
        plain.train_text("hello world " * 500, learning_rate=1e38, epochs=3)
    testing.check_model(diverged.value.model)


@pytest.mark.parametrize("check", testing.checks(model_of()), ids=str)
def test_checks_are_tests(check):
    check()
    assert check.function.__doc__.count("\n") == 0


def test_only_a_model_is_checked():
    with pytest.raises(TypeError, match="model must be a CharRNN, not RNN"):
        testing.check_model(model_of().rnn)


# ---- sabotage: each returns what replaces a method, given the real one


def after(change):
    """Change what a method returns."""
    return lambda real: lambda self, *args, **named: change(real(self, *args, **named))


def given(change):
    """Change the keyword arguments."""
    return lambda real: lambda self, *args, **named: real(self, *args, **change(named))


def without(name):
    return given(lambda named: {key: value for key, value in named.items() if key != name})


def doing(action):
    """Do something else, too."""
    return lambda real: lambda self, *args, **named: (action(self), real(self, *args, **named))[1]


def forget_history(real):
    return lambda self, path: real(CharRNN(self.rnn, self.vocabulary, History()), path)


def leave_something(real):
    def save(self, path):
        if os.path.isdir(path):
            Path(path, "left").touch()
        real(self, path)

    return save


def truncate_first(real):
    def save(self, path):
        if os.path.isfile(path):
            Path(path).write_bytes(b"")
        real(self, path)

    return save


def accept_anything(real):
    def load(path):
        try:
            return real(path)
        except ModelFormatError:
            return None

    return load


def roll_back(real):
    def train_text(self, *args, **named):
        before = pickle.dumps(self)
        try:
            return real(self, *args, **named)
        except OSError:
            old = pickle.loads(before)
            self.__init__(old.rnn, old.vocabulary, old.history)
            raise

    return train_text


def scaled(name):
    def change(trace):
        setattr(trace, name, getattr(trace, name) * 1.01)
        return trace

    return change


def seed_by_count(real):
    return lambda self, count, length, seed: real(self, count, length, seed=seed + count)


def nudge(x):
    return x + 1e-9


def shift_a_weight(model):
    model.network.weights.views()["by"][0] += 1


def nudge_in_threads(x):
    return x if threading.current_thread() is threading.main_thread() else nudge(x)


numbers = itertools.count(1)
leaked = []
PROCESS = (
    lambda _: np.random.rand(),
    lambda _: os.environ.update(CHARRNN_TEST=str(next(numbers))),
    lambda _: leaked.append(os.open(os.devnull, os.O_RDONLY)),
    lambda _: warnings.warn("look", stacklevel=1),
    lambda _: print("look"),
    lambda _: np.seterr(all="ignore"),
    lambda _: signal.signal(signal.SIGTERM, lambda *_: None),
    shift_a_weight,
)
SABOTAGE = {
    "probabilities_sum_to_one": [
        ("next_probs", after(lambda p: p * 1.01)),
        ("next_probs", after(np.float32)),
    ],
    "log_probs_are_those_of_next_probs": [
        ("log_probs", after(lambda x: x[1:])),
        ("log_probs", after(np.float32)),
        ("log_probs", after(lambda x: x + 1e-9 * len(x))),
        ("log_probs", without("context")),
        ("next_probs", after(lambda p: p[::-1])),
    ],
    "scores_do_not_depend_on_the_batch": [
        ("score", after(nudge)),
        ("score_many", after(lambda x: np.nextafter(x, 9))),
        ("score_many", after(lambda x: x + 1e-12 * len(x))),
    ],
    "a_trace_agrees_with_log_probs_and_next_probs": [
        ("trace", after(scaled("surprise"))),
        ("trace", after(scaled("next_probs"))),
    ],
    "a_seed_repeats_a_text": [
        ("generate", without("seed")),
        ("generate", given(lambda named: named | {"seed": 1})),
        ("generate", given(lambda named: named | {"seed": named["seed"] or 1})),
        ("generate", after(lambda text: text + "☃")),
    ],
    "texts_do_not_depend_on_the_batch": [
        ("generate_many", seed_by_count),
        ("generate", given(lambda named: named | {"seed": named["seed"] + 1})),
        ("stream", after(lambda chars: (char.upper() for char in chars))),
    ],
    "streams_are_independent": [("stream", given(lambda named: {"seed": next(numbers)}))],
    "a_text_has_the_length_asked_for": [
        ("generate", after(lambda text: text[:50])),
        ("generate", without("min_length")),
        ("generate", without("prime")),
    ],
    "controls_keep_the_most_probable": [
        ("generate", without("temperature")),
        ("generate", without("top_k")),
        ("generate", without("top_p")),
        ("generate", without("min_p")),
    ],
    "forbidden_is_never_drawn": [
        ("generate_many", without("allowed")),
        ("generate_many", without("forbidden")),
        ("beam_search", without("forbidden")),
    ],
    "beam_search_finds_the_most_probable": [
        ("beam_search", after(lambda found: [(text, score * 1.01) for text, score in found])),
        ("beam_search", after(lambda found: found[::-1])),
        ("beam_search", after(lambda found: found[1:])),
        ("likeliest", after(lambda found: [(text, score * (1 + 1e-15)) for text, score in found])),
        ("likeliest", after(lambda found: itertools.islice(found, 1, None))),
    ],
    "a_saved_model_is_the_same": [
        ("save", forget_history),
        ("__deepcopy__", lambda real: lambda self, memo: self),
    ],
    "a_damaged_file_is_refused": [("load", accept_anything)],
    "a_failed_save_leaves_the_old_file": [
        ("save", leave_something),
        ("save", truncate_first),
    ],
    "training_repeats": [
        ("train_text", given(lambda named: named | {"learning_rate": 0.01 * next(numbers)})),
        ("train_text", given(lambda named: named | {"clip_norm": named.get("n_threads", 1e-3)})),
        ("train_text", given(lambda named: named | {"steps": named["steps"] + 1})),
        ("train_text", lambda real: lambda self, text, **named: self),
    ],
    "an_exception_leaves_whole_steps": [("train_text", roll_back)],
    "resuming_gives_the_same_bits": [
        ("train_text", given(lambda named: named | {"steps": 5} if "resume" in named else named)),
    ],
    "threads_may_share_a_model": [("score_many", after(nudge_in_threads))],
    "the_process_is_left_alone": [("score_many", doing(action)) for action in PROCESS],
    "every_build_gives_the_same_bits": [("next_probs", after(nudge))],
}

KIND_OF = {
    "a_text_has_the_length_asked_for": "records",
    "log_probs_are_those_of_next_probs": "certain",
}


@pytest.fixture
def process_restored(monkeypatch):
    """Undo what the sabotage of the process changes."""
    monkeypatch.delenv("CHARRNN_TEST", raising=False)
    handler, handling = signal.getsignal(signal.SIGTERM), np.geterr()
    yield
    signal.signal(signal.SIGTERM, handler)
    np.seterr(**handling)
    while leaked:
        os.close(leaked.pop())


@pytest.mark.parametrize(
    ("name", "attribute", "spoil"),
    [(name, *case) for name, cases in SABOTAGE.items() for case in cases],
)
def test_a_check_fails_where_it_should(name, attribute, spoil, monkeypatch, process_restored):
    model = model_of(KIND_OF.get(name, "text"))
    (check,) = (check for check in testing.checks(model) if check.name == name)
    check()
    owner = testing if attribute == "load" else CharRNN
    monkeypatch.setattr(owner, attribute, spoil(getattr(owner, attribute)))
    with pytest.raises(AssertionError, match=f"^{name}: ."):
        check()


def test_all_failures_are_told(monkeypatch):
    monkeypatch.setattr(CharRNN, "score", after(nudge)(CharRNN.score))
    with pytest.raises(AssertionError) as raised:
        testing.check_model(model_of())
    first, *lines = str(raised.value).splitlines()
    assert first == f"{len(lines)} of {len(SABOTAGE)} checks failed:"
    assert "scores_do_not_depend_on_the_batch" in {line.split(":")[0] for line in lines}


def test_checks_check_without_assert(run_python):
    program = """if True:
        import charrnn, charrnn.testing
        model = charrnn.train_text("to be " * 9, steps=2, hidden_size=3, progress=False)
        charrnn.CharRNN.score = lambda self, text, on_unknown="error": 3.0
        try:
            charrnn.testing.check_model(model)
        except AssertionError:
            raise SystemExit(7)
    """
    assert run_python(program, flags=["-O"]).returncode == 7
