"""Dynamic evaluation: models that learn what they read, after they have scored it."""

import copy
import hashlib
import io
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import charrnn
import plain
import reference
from charrnn import CharRNN, DivergedError, History, Vocabulary
from charrnn.datasets import names, python_docs
from charrnn.inference import adapting
from charrnn.network import Network
from charrnn.network._types import NgramTable, RecentCounts
from charrnn.network.counts import Counts
from charrnn.network.learner import Learner
from plain import weights

PULL, WINDOW, ACCUMULATOR = adapting._PULL, adapting._WINDOW, adapting._ACCUMULATOR
TEXT = "abcd" * 9 + "dcab" * 12 + "aabbccdd" * 5


def make_model(vocabulary, cell="lstm", seed=0):
    learner = Learner(
        [(cell, 6)],
        vocabulary.symbols,
        dtype="float64",
        optimizer="adam",
        seed=seed,
        learning_rate=0.01,
    )
    return CharRNN(learner, vocabulary, History())


def models():
    return make_model(Vocabulary("abcd")), make_model(Vocabulary("abcd", records=True), "gru")


class Oracle:
    """A network in NumPy that scores windows, then learns them."""

    def __init__(self, model):
        self.stack = reference.oracle(model.network)
        self.anchor = {name: array.copy() for name, array in self.stack.arrays.items()}
        self.memory = {
            name: np.full_like(array, ACCUMULATOR) for name, array in self.stack.arrays.items()
        }
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
            reference.change(
                "adagrad", self.stack.arrays, self.memory, self.memory, gradient, 1, **rule
            )
        return np.concatenate(losses)


def test_each_window_is_scored_then_learned_and_pulled_back(kernels):
    text, records = models()
    found = -text.log_probs(TEXT, adapt=True)
    np.testing.assert_allclose(
        found[1:], Oracle(text).read(text.vocabulary.encode(TEXT)), rtol=1e-9
    )
    oracle, some = Oracle(records), ["abba", "", "dddd" * 12, "abba", "abba"]
    expected = [
        oracle.read(np.array([4, *records.vocabulary.encode(one), 4])).mean() / math.log(2)
        for one in some
    ]
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
        np.testing.assert_array_equal(
            np.concatenate([np.empty(0), *read]), model.log_probs("".join(pieces), adapt=True)
        )
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
    before, twin, some = (
        model.score_many(["abcd" * 5], adapt=False)[0],
        copy.copy(model),
        TEXT if place == 0 else ["abcd" * 5] * 9,
    )
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
    train, whole = Network.train_steps, 3 * WINDOW

    def interrupted(network, work, inputs, targets, **options):
        train(network, work, inputs[:whole], targets[:whole], **options)
        raise KeyboardInterrupt

    twin.adapt(TEXT[: whole + 1])
    monkeypatch.setattr(Network, "train_steps", interrupted)
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
    model = plain.train_records(["anna", "hanna"], remember=True, hidden_size=4, steps=2)
    model.adapt(["nan", "han"])
    assert len(model.index) == 4
    assert "nan" in model.index


def test_a_mixture_with_counts_adapts_its_network():
    model = plain.train_text(python_docs()[:30_000], hidden_size=24, epochs=2, ngram=5)
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
    model = plain.train_records(names()[::2])
    others = ["x" + name for name in names()[1::2] if set(name) <= set(model.vocabulary.chars)]
    assert model.score_many(others, adapt=True).mean() < 0.9 * model.score_many(others).mean()


# ------------------------------------------------------------------------------------------- counts


class RecentOracle:
    """Counts of what is read, backed off to the model's counts, and the mixture of three, by
    dictionaries.
    """

    LONGEST, DISCOUNT, RATE = 8, 0.5, 0.005

    def __init__(self, mixture):
        self.followers, self.weights, share = {}, {}, min(mixture.counts_weight / 2, 0.2)
        self.first = mixture.network_weight, mixture.counts_weight - share, share

    def score(self, history, target, logits, log_p):
        """The loss of a target after a history, which is then counted."""
        contexts = [
            tuple(history[len(history) - k :])
            for k in range(min(self.LONGEST, len(history)), -1, -1)
        ]
        recent, share, row = np.zeros(len(log_p)), 1.0, None
        for context in contexts:
            if (known := self.followers.get(context)) is None:
                continue
            total = known["total"]
            if row is None:
                row = len(context), (0 if len(known) > 2 else 1 if total <= 2 else 2)
            for symbol, count in known.items():
                if symbol != "total":
                    recent[symbol] += share * (count - self.DISCOUNT) / total
            share *= self.DISCOUNT * (len(known) - 1) / total
        x = np.array([logits, log_p, np.log(recent + share * np.exp(log_p))])
        w = self.weights.setdefault(row, np.array(self.first))
        p = np.exp(w @ x - np.logaddexp.reduce(w @ x))
        loss = -np.log(p[target])
        w -= self.RATE * (x @ p - x[:, target])
        np.clip(w, -1, 2, out=w)
        for context in contexts:
            known = self.followers.setdefault(context, {"total": 0})
            known["total"] += 1
            known[target] = known.get(target, 0) + 1
            if known[target] > 1:
                break
        return loss


@pytest.fixture(scope="module")
def counting():
    return plain.train_text(TEXT * 3, cell="gru", hidden_size=6, dtype="float64", ngram=4, epochs=2)


def log_p_by_counts(model, text):
    """The log-probabilities after each character but the last, by the counts alone."""
    network = Network(([("rnn", 1)], 4), "float64")
    network.mix(NgramTable(4, model.mixture.counts.estimate(), 0.0, 1.0))
    rows, work = [], network.workspace(1, 1)
    for i in model.vocabulary.encode(text)[:-1]:
        network.feed(work, [[i]])
        rows.append(np.log(network.next_probs(work)[0]))
    return np.array(rows)


def test_recent_counts_are_mixed_in_as_the_oracle_says(counting, kernels):
    text = "abcddcba" * 12 + "aabbddcc" * 12
    ids, log_p = counting.vocabulary.encode(text), log_p_by_counts(counting, text)
    oracle, network, state, expected = RecentOracle(counting.mixture), Oracle(counting), None, []
    state = network.zero
    for start in range(0, len(ids) - 1, WINDOW):
        x, y = ids[:-1][start : start + WINDOW, None], ids[1:][start : start + WINDOW, None]
        _, _, trace = network.stack.run(x, y, state)
        for t, step in enumerate(trace):
            at = start + t
            expected.append(
                oracle.score(
                    ids[max(0, at - 7) : at + 1].tolist(),
                    ids[at + 1],
                    np.log(step[-1][0]),
                    log_p[at],
                )
            )
        gradient = network.stack.gradient(x, y, state)
        _, state, _ = network.stack.run(x, y, state)
        rule = {"learning_rate": 0.03, "pull": PULL, "anchor": network.anchor}
        reference.change(
            "adagrad", network.stack.arrays, network.memory, network.memory, gradient, 1, **rule
        )
    np.testing.assert_allclose(
        -counting.log_probs(text, adapt=True)[1:], expected, rtol=1e-5, atol=1e-7
    )
    assert counting.score(text, adapt=True) < 0.7 * counting.score(text)


def test_adaptive_scores_are_the_same_bits_in_every_variant(kernels, needs_fma):
    options = {"cell": "lstm", "hidden_size": 40, "steps": 60, "ngram": 5, "progress": False}
    model = plain.train_text("to be, or not to be: that is the question. " * 30, **options)
    text = "what is to be, is not to be questioned: it is " * 10
    found = model.log_probs(text, on_unknown="skip", adapt=True)
    assert hashlib.sha256(found.tobytes()).hexdigest() == SHA256


SHA256 = "360e67271a942bc109fb13fe06cdc0a753b053b64f9effa2d345051020c9fa94"


def test_next_probs_and_rollback_know_the_recent_counts(counting):
    live = counting.adapting()
    for place, char in enumerate(TEXT[:90]):
        p = live.next_probs()
        assert abs(p.sum() - 1) < 1e-9
        assert live.read(char)[0] == pytest.approx(np.log(p["abcd".index(char)]), rel=1e-6), place
    live.rollback()
    np.testing.assert_array_equal(live.read(TEXT[:60]), counting.log_probs(TEXT[:60], adapt=True))


def test_counts_of_what_was_read_are_kept(counting):
    model = copy.deepcopy(counting)
    assert (
        model.adapting().model.mixture.counts.arrays().keys()
        == model.mixture.counts.arrays().keys()
    )
    model.adapt("dbdb" * 8)
    ids = model.vocabulary.encode("dbdb" * 8)
    expected = counting.mixture.counts.merged(Counts.from_ids([ids], 4, 4))
    np.testing.assert_equal(model.mixture.counts.arrays(), expected.arrays())
    file = io.BytesIO()
    model.save(file)
    assert (
        charrnn.load(file.getvalue()).score("dbdb") == model.score("dbdb") < counting.score("dbdb")
    )


def test_counts_of_records_end_where_the_records_do():
    options = {
        "hidden_size": 6,
        "ngram": 4,
        "steps": 9,
        "progress": False,
        "validation_fraction": 0,
    }
    model = plain.train_records(["ab", "ba"], **options)
    model.adapt(["ab", "ba"])
    both = plain.train_records(["ab", "ba", "ab", "ba"], **options)
    for mine, other in zip(model.mixture.counts.levels, both.mixture.counts.levels, strict=True):
        np.testing.assert_array_equal(mine.symbols, other.symbols)
        assert (abs(mine.counts - other.counts) <= 1).all()  # the boundary before the first record


def test_recent_counts_stay_within_their_memory(counting):
    ids = np.random.default_rng(0).integers(0, 200, 160_000)
    network = Network(([("rnn", 1)], 200), "float32")
    network.mix(NgramTable(200, Counts.from_ids([ids[:300]], 200, 2).estimate(), 0.5, 0.5))
    work = network.workspace(64, 1)
    work.set_recent(RecentCounts(network.ngrams))
    nll, p = network.read_counting(work, ids[:-1, None], ids[1:, None])
    assert np.isfinite(nll).all()
    assert abs(p.sum() - 1) < 1e-9


def test_recent_counts_need_a_workspace_of_their_kind(counting):
    other = NgramTable(5, Counts.from_ids([np.arange(5)], 5, 2).estimate(), 0.5, 0.5)
    for work in (
        Network(([("rnn", 2)], 4), "float64").workspace(1, 1),
        counting.network.workspace(1, 2, training=True),
    ):
        with pytest.raises(ValueError, match="recent counts need"):
            work.set_recent(RecentCounts(counting.network.ngrams))
    work = counting.network.workspace(1, 1)
    assert work.get_recent() is None
    for call in (
        lambda: work.set_history([0]),
        lambda: counting.network.read_counting(work, [[0]], [[0]]),
    ):
        with pytest.raises(ValueError, match="counts nothing"):
            call()
    with pytest.raises(ValueError, match="recent counts need"):
        work.set_recent(RecentCounts(other))
    with pytest.raises(TypeError, match="recent counts"):
        pickle.dumps(RecentCounts(other))
    work.set_recent(RecentCounts(counting.network.ngrams))
    for wrong in ([4], [-1]):
        with pytest.raises(IndexError, match="ids"):
            work.set_history(wrong)
