"""Dynamic evaluation: models that learn what they read, after they have scored it."""

import copy
import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import charrnn
import reference
from charrnn import CharRNN, DivergedError, History, Vocabulary
from charrnn.datasets import names, python_docs
from charrnn.inference import adapting
from charrnn.network.learner import Learner

PULL, WINDOW, ACCUMULATOR = adapting._PULL, adapting._WINDOW, adapting._ACCUMULATOR
TEXT = "abcd" * 9 + "dcab" * 12 + "aabbccdd" * 5


def make_model(vocabulary, cell="lstm", seed=0):
    learner = Learner([(cell, 6)], vocabulary.symbols, dtype="float64", optimizer="adam", seed=seed, learning_rate=0.01)
    return CharRNN(learner, vocabulary, History())


def models():
    return make_model(Vocabulary("abcd")), make_model(Vocabulary("abcd", records=True), "gru")


def weights(model):
    return model.network.weights.block.tobytes()


class Oracle:
    """A network in NumPy that scores windows, then learns them."""

    def __init__(self, model):
        self.stack = reference.oracle(model.network)
        self.anchor = {name: array.copy() for name, array in self.stack.arrays.items()}
        self.memory = {name: np.full_like(array, ACCUMULATOR) for name, array in self.stack.arrays.items()}
        self.zero = np.zeros((1, model.network.description.state_size))

    def read(self, ids):
        """The losses of all ids but the first."""
        state, losses = self.zero, []
        for start in range(0, len(ids) - 1, WINDOW):
            x, y = ids[:-1][start : start + WINDOW, None], ids[1:][start : start + WINDOW, None]
            gradient = self.stack.gradient(x, y, state)
            nll, state, _ = self.stack.run(x, y, state)
            losses.append(nll[:, 0])
            rule = {"learning_rate": 0.03, "pull": PULL, "anchor": self.anchor}
            reference.change("adagrad", self.stack.arrays, self.memory, self.memory, gradient, 1, **rule)
        return np.concatenate(losses)


def test_each_window_is_scored_then_learned_and_pulled_back(kernels):
    text, records = models()
    found = -text.log_probs(TEXT, adapt=True)
    np.testing.assert_allclose(found[1:], Oracle(text).read(text.vocabulary.encode(TEXT)), rtol=1e-9)
    oracle, some = Oracle(records), ["abba", "", "dddd" * 12, "abba", "abba"]
    expected = [oracle.read(np.array([4, *records.vocabulary.encode(one), 4])).mean() / math.log(2) for one in some]
    np.testing.assert_allclose(records.score_many(some, adapt=True), expected, rtol=1e-9)


def test_the_first_window_has_the_static_scores_and_later_ones_are_better():
    model = models()[0]
    static, live = model.log_probs(TEXT), model.log_probs(TEXT, adapt=True)
    np.testing.assert_array_equal(static[: WINDOW + 1], live[: WINDOW + 1])
    assert live[WINDOW + 1 :].sum() > static[WINDOW + 1 :].sum()
    assert model.score(TEXT, adapt=True) == pytest.approx(-live.mean() / math.log(2), rel=1e-12)
    assert model.score_many([TEXT], adapt=True)[0] == model.score(TEXT, adapt=True)


@pytest.mark.parametrize("place", [0, 1], ids=["text", "records"])
@given(st.lists(st.text("abcd", max_size=30), max_size=9))
def test_it_makes_no_difference_how_a_text_is_cut(place, pieces):
    model = models()[place]
    before = weights(model)
    with model.adapting() as live:
        read = [live.read(piece) for piece in pieces]
    if place == 0:
        np.testing.assert_array_equal(np.concatenate([np.empty(0), *read]), model.log_probs("".join(pieces), adapt=True))
    else:
        bits = [-one.mean() / math.log(2) for one in read]
        np.testing.assert_allclose(bits, model.score_many(pieces, adapt=True), rtol=1e-12)
    assert weights(model) == before


@given(st.text("abcdéx", max_size=60), st.sampled_from(["skip", "surprise"]))
def test_unknown_characters_are_skipped_or_cost_as_much_as_the_least_likely(text, on_unknown):
    model = models()[0]
    known = "".join(char for char in text if char in "abcd")
    found = model.log_probs(text, on_unknown=on_unknown, adapt=True)
    if on_unknown == "skip":
        np.testing.assert_array_equal(found, model.log_probs(known, adapt=True))
        return
    live, n = model.adapting(), 0
    for char, log_p in zip(text, found, strict=True):
        if char in "abcd":
            assert live.read(char)[0] == log_p
            n += 1
        else:
            assert log_p == pytest.approx(np.log(live.next_probs()[:4].min()), rel=1e-6)


def test_a_context_is_read_but_not_scored_or_learned():
    text, records = models()
    for model in (text, records):
        short = model.log_probs("abc", context="dd" * 20)
        np.testing.assert_array_equal(model.log_probs("abc", context="dd" * 20, adapt=True), short)
        with model.adapting() as live:
            live.begin("dd" * 20)
            np.testing.assert_array_equal(live.read("abc"), short)
    assert math.isnan(text.adapting().score(""))
    assert records.adapting().score("") == records.score("")


def test_next_probs_are_those_of_what_comes_next():
    for model in models():
        np.testing.assert_array_equal(model.adapting().next_probs(), model.next_probs(""))
    model = models()[0]
    live = model.adapting()
    for place, char in enumerate(TEXT[:70]):
        p = live.next_probs()["abcd".index(char)]
        assert live.read(char)[0] == pytest.approx(np.log(p), rel=1e-6), place


@pytest.mark.parametrize("place", [0, 1], ids=["text", "records"])
def test_adapt_keeps_what_is_learned(place):
    model = models()[place]
    before, twin, some = model.score_many(["abcd" * 5], adapt=False)[0], copy.copy(model), TEXT if place == 0 else ["abcd" * 5] * 9
    assert model.adapt(some) is model
    assert model.score("abcd" * 5) < before == twin.score("abcd" * 5)
    assert model.network.optimizer == "adam"
    assert model._state.learner.options() == twin._state.learner.options()
    with twin.adapting() as live:
        for piece in [some] if place == 0 else some:
            live.read(piece)
        live.begin()
        assert weights(live.model) == weights(model)
        file = io.BytesIO()
        live.save(file)
    assert weights(charrnn.load(file.getvalue())) == weights(model)


def test_what_is_not_kept_is_forgotten():
    model = models()[0]
    first = weights(model)
    with model.adapting() as live:
        bits = live.score(TEXT)
        assert live.score(TEXT) < bits
        live.rollback()
        assert live.score(TEXT) == bits
        live.keep()
        kept = weights(model)
        live.read(TEXT)
        assert weights(live.model) != kept
    assert first != weights(model) == kept == weights(live.model)


def test_a_model_that_has_changed_meanwhile_keeps_its_change():
    model = models()[0]
    with model.adapting() as live, model.adapting() as other:
        live.read(TEXT)
        other.read(TEXT[::-1])
        other.keep()
        now = weights(model)
        with pytest.raises(RuntimeError, match="has changed since"):
            live.keep()
    assert weights(model) == now


def test_an_interruption_leaves_the_last_whole_window(monkeypatch):
    model, twin = models()[0], models()[0]
    learn, done = adapting.Reader.learn, []

    def interrupted(reader):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(reader.window)
        learn(reader)

    twin.adapt(TEXT[: 3 * WINDOW + 1])  # the first call, at the beginning, has nothing to learn
    monkeypatch.setattr(adapting.Reader, "learn", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.adapt(TEXT)
    assert weights(model) == weights(twin)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda text, records: text.adapt("abcé"), r"text\[3\] = 'é'"),
        (lambda text, records: records.adapt(["abba" * 20, "é"]), r"'é'"),
        (lambda text, records: records.adapt("abba"), "sequence of str, not one"),
        (lambda text, records: text.adapt(["abba"]), "must be a str"),
        (lambda text, records: text.score("", adapt=True), "at least one character"),
        (lambda text, records: text.score("ab", adapt=2), "adapt must be True or False"),
        (lambda text, records: text.adapting().begin("é"), r"context\[0\] = 'é'"),
    ],
)
def test_mistakes_change_nothing(call, message):
    text, records = models()
    before = weights(text), weights(records)
    with pytest.raises((ValueError, TypeError), match=message):
        call(text, records)
    assert (weights(text), weights(records)) == before


def test_records_that_were_learned_are_remembered():
    model = charrnn.train_records(["anna", "hanna"], remember=True, hidden_size=4, steps=2, progress=False)
    model.adapt(["nan", "han"])
    assert len(model.index) == 4
    assert "nan" in model.index


def test_a_mixture_with_counts_adapts_its_network():
    model = charrnn.train_text(python_docs()[:30_000], hidden_size=24, epochs=2, ngram=5, progress=False)
    new = "".join(char for char in python_docs()[30_000:36_000] if char in model.vocabulary.chars)
    assert model.score(new, adapt=True) < model.score(new)
    assert model.adapt(new).mixture is not None


def test_weights_that_are_too_large_are_an_error():
    model = models()[0]
    model.network.weights.views()["Why"][...] *= 1e40
    assert model.score(TEXT[:20], adapt=True) > 1e30
    with pytest.raises(DivergedError, match="gradient of a step"):
        model.score(TEXT, adapt=True)


def test_drifting_text_and_records_score_lower():
    model = charrnn.train_records(names()[::2], progress=False)
    others = ["x" + name for name in names()[1::2] if set(name) <= set(model.vocabulary.chars)]
    assert model.score_many(others, adapt=True).mean() < 0.9 * model.score_many(others).mean()
