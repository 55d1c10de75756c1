"""check_model passes on models of every kind, and each of its checks fails where what it says does not hold."""

import functools
import itertools
import os
import pickle
import signal
import subprocess
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

import charrnn
from charrnn import CharRNN, History, ModelFormatError, Vocabulary, testing
from charrnn.network import Network

NAMES = ["anna", "bob", "susanna", "zoë", "nina", "otto"]


@functools.cache
def trained(kind):
    """A model of a kind as bytes, so that no test has another's."""
    options = {"progress": False, "hidden_size": 12, "epochs": 4}
    make = {
        "text": lambda: charrnn.train_text("to be, or not to be, that is the question\n" * 8, **options),
        "float64": lambda: charrnn.train_text("to be, or not to be\n" * 8, dtype="float64", **options),
        "one character": lambda: charrnn.train_text("aaaa", **options),
        "sure of itself": lambda: charrnn.train_text("abc" * 100, **options | {"epochs": 40}),
        "records": lambda: charrnn.train_records(NAMES * 4, remember=True, **options | {"epochs": 100}),
        "bytes": lambda: charrnn.train_text(bytes(range(256)) * 2, alphabet="bytes", **options),
        "records of bytes": lambda: charrnn.train_records([b"ab", b"", b"\xff\0"] * 4, alphabet="bytes", **options),
    }
    return pickle.dumps(make[kind]())


def model_of(kind):
    return pickle.loads(trained(kind))


@pytest.mark.parametrize("kind", ["text", "float64", "one character", "sure of itself", "records", "bytes", "records of bytes"])
def test_a_model_passes_and_stays_as_it_was(kind):
    model = model_of(kind)
    before = pickle.dumps(model)
    names = testing.check_model(model)
    assert len(set(names)) == len(names) >= 40
    assert pickle.dumps(model) == before


def test_a_model_that_is_as_sure_as_can_be_passes():
    """Its least likely character has a probability of 0 in float32; what a training that diverges leaves has weights of 1e37."""
    sure = model_of("records")
    sure.network.weights.views()["by"][-1] = 1e4
    testing.check_model(sure)
    with pytest.raises(charrnn.DivergedError) as diverged:
        charrnn.train_text("hello world " * 500, learning_rate=1e38, epochs=3)
    testing.check_model(diverged.value.model)


@pytest.mark.parametrize("check", testing.checks(model_of("text")), ids=str)
def test_checks_are_tests(check):
    check()
    assert check.function.__doc__.count("\n") == 0


def test_only_a_model_is_checked():
    with pytest.raises(TypeError, match="model must be a CharRNN, not RNN"):
        testing.check_model(model_of("text").rnn)


def after(change):
    """Spoil what a method returns."""
    return lambda real: lambda self, *args, **named: change(real(self, *args, **named))


def given(change):
    """Spoil the arguments that a method gets by name."""
    return lambda real: lambda self, *args, **named: real(self, *args, **change(named))


def without(name):
    """Leave an argument out."""
    return given(lambda named: {key: value for key, value in named.items() if key != name})


def doing(action):
    """Do something beside."""
    return lambda real: lambda self, *args, **named: (action(self), real(self, *args, **named))[1]


def forget_history(real):
    return lambda self, path: real(CharRNN(self.rnn, self.vocabulary, History()), path)


def leave_something(real):
    return lambda self, path: (os.path.isdir(path) and Path(path, "left").touch(), real(self, path))


def truncate_first(real):
    return lambda self, path: (os.path.exists(path) and Path(path).write_bytes(b""), real(self, path))


def forgive(real):
    def load(path):
        try:
            return real(path)
        except ModelFormatError:
            return None

    return load


def roll_back(real):
    def train_text(self, *args, **named):
        before = self._now
        try:
            return real(self, *args, **named)
        except OSError:
            self._now = before
            raise

    return train_text


def insist_on_int(real):
    return lambda self, length, **named: real(self, length, **named) if type(length) is int else int("no")


def nudge(x):
    return x + 1e-9


def scaled(name):
    def change(trace):
        setattr(trace, name, getattr(trace, name) * 1.01)
        return trace

    return change


def shift_a_weight(model):
    model.network.weights.views()["by"][0] += 1


numbers = itertools.count(1)
leaked = []
SABOTAGE = {
    "probabilities_sum_to_one": [(CharRNN, "next_probs", after(lambda p: p * 1.01))],
    "log_probs_have_one_number_a_symbol": [(CharRNN, "log_probs", after(lambda x: x[1:])), (CharRNN, "log_probs", after(np.float32))],
    "log_probs_are_those_of_next_probs": [(CharRNN, "next_probs", after(lambda p: p[::-1]))],
    "log_probs_do_not_look_ahead": [(CharRNN, "log_probs", after(lambda x: x + 1e-9 * len(x)))],
    "score_is_the_mean_of_log_probs": [(CharRNN, "score", after(nudge))],
    "score_many_equals_score": [(CharRNN, "score_many", after(lambda x: np.nextafter(x, 9)))],
    "score_many_depends_on_no_neighbour": [(CharRNN, "score_many", after(lambda x: x + 1e-12 * len(x)))],
    "an_empty_text_scores_only_as_a_record": [(CharRNN, "score", lambda real: lambda self, text: real(self, text or "to"))],
    "a_trace_tells_what_log_probs_and_next_probs_say": [
        (CharRNN, "trace", after(scaled("surprise"))),
        (CharRNN, "trace", after(scaled("next_probs"))),
    ],
    "a_seed_repeats_a_text": [(CharRNN, "generate", without("seed"))],
    "other_seeds_and_none_give_other_texts": [
        (CharRNN, "generate", given(lambda named: named | {"seed": 1})),
        (CharRNN, "generate", given(lambda named: named | {"seed": named["seed"] or 1})),
    ],
    "a_text_has_the_length_asked_for": [(CharRNN, "generate", after(lambda text: text[:50]))],
    "a_text_is_of_the_vocabulary": [(CharRNN, "generate_many", after(lambda texts: [text + "☃" for text in texts]))],
    "generate_many_does_not_depend_on_count": [
        (CharRNN, "generate_many", lambda real: lambda self, count, length, seed: real(self, count, length, seed=seed + count)),
        (CharRNN, "generate", given(lambda named: named | {"seed": named["seed"] + 1})),
    ],
    "stream_equals_generate": [(CharRNN, "stream", after(lambda chars: (char.upper() for char in chars)))],
    "streams_side_by_side_are_apart": [(CharRNN, "stream", given(lambda named: {"seed": next(numbers)}))],
    "temperature_0_takes_the_most_probable": [(CharRNN, "generate", without("temperature"))],
    "top_k_keeps_the_most_probable": [(CharRNN, "generate", without("top_k"))],
    "top_p_keeps_the_nucleus": [(CharRNN, "generate", without("top_p"))],
    "min_p_cuts_the_tail": [(CharRNN, "generate", without("min_p"))],
    "forbidden_is_never_drawn": [
        (CharRNN, "generate_many", without("allowed")),
        (CharRNN, "generate_many", without("forbidden")),
        (CharRNN, "beam_search", without("forbidden")),
    ],
    "a_text_ends_before_a_stop_text": [(CharRNN, "generate_many", without("stop"))],
    "min_length_holds": [(CharRNN, "generate_many", without("min_length"))],
    "no_repeat_repeats_nothing": [(CharRNN, "generate", without("no_repeat"))],
    "a_prime_is_continued": [(CharRNN, "generate", without("prime"))],
    "unique_texts_are_the_first_different_ones": [(CharRNN, "generate_many", without("unique"))],
    "novel_records_are_new": [(CharRNN, "generate_many", without("novel"))],
    "beam_search_tells_true_probabilities": [
        (CharRNN, "beam_search", after(lambda found: [(text, score * 1.01) for text, score in found])),
        (CharRNN, "beam_search", after(lambda found: found[::-1])),
    ],
    "beam_search_of_one_character_is_next_probs": [(CharRNN, "beam_search", after(lambda found: found[1:]))],
    "unknown_characters_are_named": [(CharRNN, "score", given(lambda named: {"on_unknown": "skip"}))],
    "unknown_characters_can_be_skipped": [
        (CharRNN, "score", without("on_unknown")),
        (CharRNN, "score", lambda real: lambda self, text, **named: real(self, text, **named) + 1e-9 * len(named)),
    ],
    "unknown_characters_can_cost": [
        (CharRNN, "log_probs", after(lambda x: x * 1.01)),
        (CharRNN, "score", after(lambda pair: (pair[0], 0))),
        (CharRNN, "score", after(lambda pair: (pair[0] * 1.01, pair[1]))),
    ],
    "a_context_is_read_and_not_scored": [(CharRNN, "log_probs", without("context")), (CharRNN, "score", without("context"))],
    "wrong_texts_are_refused": [(CharRNN, "score", given(lambda named: {"text": "to"}))],
    "wrong_controls_are_refused": [(CharRNN, "generate", without("spelling")), (CharRNN, "stream", without("top_k"))],
    "wrong_training_changes_nothing": [(CharRNN, "train_text", without("keep")), (CharRNN, "train_text", doing(shift_a_weight))],
    "numbers_of_numpy_are_numbers": [(CharRNN, "generate", lambda real: lambda self, length, **named: real(self, length[0], **named))],
    "a_saved_model_is_the_same": [(CharRNN, "save", forget_history)],
    "a_damaged_file_is_refused": [(testing, "load", forgive)],
    "files_that_cannot_be_are_os_errors": [(CharRNN, "save", leave_something)],
    "a_failed_save_leaves_the_old_file": [(CharRNN, "save", truncate_first)],
    "copies_are_whole_and_apart": [(CharRNN, "__deepcopy__", lambda real: lambda self, memo: self)],
    "training_repeats": [
        (CharRNN, "train_text", given(lambda named: named | {"learning_rate": 0.01 * next(numbers)})),
        (CharRNN, "train_text", given(lambda named: named | {"learning_rate": 0.01 * named.get("n_threads", 1)})),
        (CharRNN, "train_text", lambda real: lambda self, text, **named: self),
    ],
    "history_tells_the_training": [(CharRNN, "train_text", given(lambda named: named | {"steps": named["steps"] + 1}))],
    "extend_adds_characters": [(CharRNN, "train_text", without("extend"))],
    "an_exception_leaves_whole_steps": [(CharRNN, "train_text", roll_back)],
    "resuming_gives_the_same_bits": [
        (CharRNN, "train_text", given(lambda named: named | {"steps": named["steps"] - ("resume" in named)})),
    ],
    "threads_may_share_a_model": [
        (CharRNN, "score_many", after(lambda x: x if threading.current_thread() is threading.main_thread() else nudge(x))),
    ],
    "using_a_model_does_not_change_it": [(CharRNN, "score_many", doing(shift_a_weight))],
    "the_host_is_left_alone": [
        (CharRNN, "score_many", doing(action))
        for action in (
            lambda _: np.random.rand(),
            lambda _: os.environ.update(CHARRNN_TEST=str(next(numbers))),
            lambda _: leaked.append(os.open(os.devnull, os.O_RDONLY)),
            lambda _: warnings.warn("look", stacklevel=1),
            lambda _: print("look"),
            lambda _: np.seterr(all="ignore"),
            lambda _: signal.signal(signal.SIGTERM, lambda *_: None),
        )
    ],
    "every_build_gives_the_same_bits": [(CharRNN, "next_probs", after(nudge))],
    "parts_cannot_be_replaced": [(CharRNN, "__setattr__", lambda real: lambda self, name, value: None)],
    "sizes_are_fixed": [(Network, "__setattr__", lambda real: lambda self, name, value: None)],
    "a_vocabulary_is_one_to_one": [
        (Vocabulary, "decode", lambda real: lambda self, ids: real(self, np.clip(ids, 0, len(self) - 1))),
        (Vocabulary, "encode", after(lambda ids: ids // 2)),
    ],
    "repr_is_short": [(CharRNN, "__repr__", lambda real: lambda self: "x" * 1000)],
    "errors_are_the_documented_classes": [(testing, "ModelFormatError", lambda real: ValueError)],
}


@pytest.fixture
def host_as_before(monkeypatch):
    """What the sabotage of the host changes."""
    monkeypatch.delenv("CHARRNN_TEST", raising=False)
    handler, handling = signal.getsignal(signal.SIGTERM), np.geterr()
    yield
    signal.signal(signal.SIGTERM, handler)
    np.seterr(**handling)
    while leaked:
        os.close(leaked.pop())


def test_every_check_is_seen_to_fail():
    assert [check.name for check in testing.checks(model_of("text"))] == list(SABOTAGE)


@pytest.mark.parametrize(("name", "case"), [(name, case) for name, cases in SABOTAGE.items() for case in cases])
def test_a_check_fails_where_it_should(name, case, monkeypatch, host_as_before):
    model = model_of({"novel_records_are_new": "records", "a_prime_is_continued": "sure of itself"}.get(name, "text"))
    (check,) = (check for check in testing.checks(model) if check.name == name)
    check()
    owner, attribute, spoil = case
    monkeypatch.setattr(owner, attribute, spoil(getattr(owner, attribute, None)), raising=False)
    with pytest.raises(AssertionError, match=f"^{name}: ."):
        check()


def test_all_failures_are_told(monkeypatch):
    monkeypatch.setattr(CharRNN, "score", after(nudge)(CharRNN.score))
    with pytest.raises(AssertionError) as raised:
        testing.check_model(model_of("text"))
    first, *lines = str(raised.value).splitlines()
    assert first == f"{len(lines)} of {len(SABOTAGE)} checks failed:"
    assert {"score_is_the_mean_of_log_probs", "score_many_equals_score"} <= {line.split(":")[0] for line in lines}


def test_checks_check_without_assert(python):
    program = """if True:
        import charrnn, charrnn.testing
        model = charrnn.train_text("to be " * 9, steps=2, hidden_size=3, progress=False)
        charrnn.CharRNN.score = lambda self, text, on_unknown="error": 3.0
        try:
            charrnn.testing.check_model(model)
        except AssertionError:
            raise SystemExit(7)
    """
    assert subprocess.run([python, "-O", "-c", program], timeout=60).returncode == 7
