"""`likeliest` against an enumeration of all texts, in order and bits; what a beam search comes
across.
"""

import itertools
import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import charrnn
import plain
from charrnn import CharRNN, History, Vocabulary
from charrnn.inference import search
from charrnn.inference.sampling import PrimedState
from charrnn.network import Network
from charrnn.network.counts import Counts, Mixture
from charrnn.network.learner import Learner

CELLS = [[("rnn", 3)], [("gru", 2), ("rnn", 3)], [("lstm", 3)]]


def small_model(chars, records, layers=CELLS[0], dtype="float32", scale=1.0, seed=0, ngram=False):
    """A model with random weights, perhaps mixed with counts of a random text."""
    vocabulary = Vocabulary("abcdef"[:chars], records)
    network = Network((layers, vocabulary.symbols), dtype)
    random = np.random.default_rng(seed)
    for array in network.weights.views().values():
        array[...] = scale * random.standard_normal(array.shape)
    if ngram:
        text = random.integers(0, vocabulary.symbols, 60)
        boundary = chars if records else None
        counts = Counts.from_ids([text], vocabulary.symbols, 3, boundary=boundary)
        network.mix(Mixture(counts).table())
    return CharRNN(Learner.from_network(network), vocabulary, History())


def log_prob(model, text, prime=""):
    """The sum of the log-probabilities of a text after a prime, symbol after symbol."""
    context = {"context": prime} if prime else {}
    total = 0.0
    for log_p in model.log_probs(text, **context).tolist():
        total += log_p
    return total


def every_text(model, chars, lengths, prime=""):
    """All texts of some lengths, in the order of `likeliest`."""
    texts = ["".join(text) for n in lengths for text in itertools.product(chars, repeat=n)]
    found = [(text, log_prob(model, text, prime)) for text in texts]
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))


MODELS = {
    "chars": st.integers(1, 4),
    "layers": st.sampled_from(CELLS),
    "dtype": st.sampled_from(["float32", "float64"]),
    "scale": st.sampled_from([0.0, 0.3, 2.0]),  # at 0 all texts of a length are equally probable
    "seed": st.integers(0, 10**6),
    "ngram": st.booleans(),
}


@given(
    records=st.booleans(),
    length=st.integers(0, 4),
    prime=st.sampled_from(["", "a", "aa"]),
    options=st.fixed_dictionaries(MODELS),
)
def test_the_likeliest_are_those_of_an_enumeration_in_order_and_bits(
    records, length, prime, options
):
    model = small_model(records=records, **options)
    lengths = range(length + 1) if records else [length]
    expected = every_text(model, model.vocabulary.chars, lengths, prime)
    assert list(model.likeliest(max_length=length, prime=prime)) == expected
    assert list(model.likeliest(3, max_length=length, prime=prime)) == expected[:3]


@given(data=st.data(), options=st.fixed_dictionaries(MODELS))
def test_the_likeliest_obey_the_controls(data, options):
    model = small_model(records=True, **options)
    known = model.vocabulary.chars
    allowed = "".join(char for char in known if data.draw(st.booleans())) or known
    shortest = data.draw(st.integers(0, 3))
    expected = every_text(model, allowed, range(shortest, 4))
    controls = {"max_length": 3, "min_length": shortest, "allowed": allowed}
    assert list(model.likeliest(**controls)) == expected
    forbidden = "".join({*known} - {*allowed})
    assert list(model.likeliest(max_length=3, min_length=shortest, forbidden=forbidden)) == expected
    threshold = data.draw(st.sampled_from([log_p for _, log_p in expected]))
    assert list(model.likeliest(threshold=threshold, **controls)) == [
        pair for pair in expected if pair[1] >= threshold
    ]


@pytest.mark.parametrize(
    "limits",
    [
        {"_TEXTS": 5},
        {"_FEW": 2, "_GROWTH": 1.1},
        {"_ROWS": 1, "_NUMBERS": 1},
        {"_FIRST": 500.0},
        {"_FIRST": 1e-3},
    ],
)
@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_bands_and_batches_change_nothing(monkeypatch, kernels, limits, scale):
    model = small_model(3, records=True, scale=scale, ngram=scale > 0)
    for name, value in limits.items():
        monkeypatch.setattr(search, name, value)
    expected = every_text(model, "abc", range(5))
    assert list(model.likeliest(max_length=4)) == expected
    assert list(model.likeliest(17, max_length=4)) == expected[:17]


def test_a_search_goes_on_where_it_stopped():
    model = small_model(3, records=True)
    found = model.likeliest()
    first = list(itertools.islice(found, 10))
    more = list(itertools.islice(found, 500))
    assert first + more == list(model.likeliest(510))
    assert all(a[1] >= b[1] for a, b in itertools.pairwise(first + more))


@pytest.fixture(scope="module")
def names():
    strings = charrnn.datasets.names()
    random.Random(0).shuffle(strings)
    return plain.train_records(strings, epochs=2)


def test_the_first_10_000_names_are_those_of_a_plain_enumeration(names):
    """It reads all beginnings above a log-probability, length after length, from the zero state."""
    found = dict(names.likeliest(10_000))
    scores = list(found.values())
    assert len(found) == 10_000
    assert scores == sorted(scores, reverse=True)
    for text in [*found][::500]:
        assert found[text] == log_prob(names, text)
    least, characters = scores[-1], len(names.vocabulary)
    ids, log_p, above = np.full((1, 1), characters), np.zeros(1), set()
    while ids.shape[1]:
        work = names.network.workspace(1, ids.shape[1])
        names.network.feed(work, ids)
        after = log_p[:, None] + np.log(names.network.next_probs(work))
        above |= {
            names.vocabulary.decode(ids[1:, i])
            for i in np.flatnonzero(after[:, -1] >= least + 1e-4)
        }
        beginnings, chars = np.nonzero(after[:, :characters] >= least)
        ids, log_p = np.vstack([ids[:, beginnings], chars]), after[beginnings, chars]
    assert above - {""} <= found.keys()
    assert {text for text, score in found.items() if score >= least + 2e-4} <= above


def test_no_name_is_empty_unless_one_of_the_training_was(names):
    assert "" not in dict(names.likeliest(3000))
    assert "" in dict(names.likeliest(3000, min_length=0))
    assert "" in dict(names.likeliest(3000, prime="anna"))


@pytest.mark.parametrize("rows", [1, 512])
def test_a_model_of_bytes_has_texts_of_bytes(monkeypatch, rows):
    monkeypatch.setattr(search, "_ROWS", rows)
    network = Network(([("rnn", 3)], 257), "float32")
    bias = np.full(257, -9.0)
    bias[[0, 1, 2, 254, 255, 256]] = np.random.default_rng(0).standard_normal(6)
    network.weights.views()["by"][...] = bias
    model = CharRNN(Learner.from_network(network), Vocabulary.all_bytes(records=True), History())
    texts = [
        bytes(text) for n in range(4) for text in itertools.product([0, 1, 2, 254, 255], repeat=n)
    ]
    expected = sorted(
        [(text, log_prob(model, text)) for text in texts], key=lambda pair: (-pair[1], pair[0])
    )
    assert list(model.likeliest(max_length=3, allowed=bytes([0, 1, 2, 254, 255]))) == expected
    assert list(model.likeliest(100)) == list(model.likeliest(100, max_length=50))
    assert list(model.likeliest(max_length=1, threshold=-0.001)) == []


def test_endless_texts_are_an_error_rather_than_a_wrong_order():
    model = plain.train_records(["a"], hidden_size=2, steps=1)
    for name, array in model.network.weights.views().items():
        array[...] = [200.0, -200.0] if name == "by" else 0  # hardly ever the end
    with pytest.raises(
        ValueError,
        match=r"texts of more than 4,096 characters are among the most probable: give max_length",
    ):
        next(model.likeliest())
    assert list(model.likeliest(max_length=3)) == [("a", -400.0), ("aa", -400.0), ("aaa", -400.0)]


def test_a_model_of_text_has_texts_of_one_length():
    model = small_model(3, records=False)
    assert {len(text) for text, _ in model.likeliest(40, max_length=5)} == {5}
    assert list(model.likeliest(max_length=0)) == [("", 0.0)]
    with pytest.raises(ValueError, match="a model of text needs max_length"):
        model.likeliest(3)


def test_wrong_arguments_are_named_before_the_search():
    model = small_model(3, records=True)
    for arguments, error, message in [
        ({"n": -1}, ValueError, "n must be from 0"),
        ({"n": 1.5}, TypeError, "n must be an integer"),
        ({"max_length": -1}, ValueError, "max_length must be from 0"),
        (
            {"max_length": 2, "min_length": 3},
            ValueError,
            "min_length must be at most max_length=2, not 3",
        ),
        ({"threshold": 1}, ValueError, "threshold must be a number at most 0, not 1"),
        ({"threshold": math.nan}, ValueError, "threshold must be a number"),
        ({"length": 3}, TypeError, "there is no option 'length'; the options are max_length"),
        ({"allowed": "xyz"}, ValueError, "leave no character"),
    ]:
        with pytest.raises(error, match=message):
            model.likeliest(**arguments)


def test_log_probabilities_have_the_bits_of_the_losses(kernels):
    for dtype in ("float32", "float64"):
        model = small_model(5, records=True, dtype=dtype, scale=3.0, ngram=True)
        work = PrimedState.from_text(model.network, model.vocabulary, "ab").workspace(1, 3)
        log_p = model.network.next_log_probs(work)
        losses = [model.network.next_nll(work, [v] * 3) for v in range(6)]
        assert (-np.transpose(losses)).tobytes() == log_p.tobytes()


# -------------------------------------------------------------------------------------- beam search


def test_a_beam_search_gives_the_best_of_what_it_came_across(names):
    exact = list(names.likeliest(3, max_length=12))
    wide = names.beam_search(12, n_best=3, width=500)
    assert [text for text, _ in wide] == [text for text, _ in exact]
    np.testing.assert_allclose(
        [score for _, score in wide], [score for _, score in exact], rtol=1e-6
    )
    few = names.beam_search(12, n_best=3)
    assert len(few) == 3
    assert few[0][1] >= exact[0][1] - 1  # 113 names were more probable than its third


def test_records_of_a_beam_search_are_whole():
    model = plain.train_records(["abc", "abd", "acb", "cab"] * 20, hidden_size=12, epochs=40)
    for length in (3, 4, 9):
        found = dict(model.beam_search(length, n_best=4))
        assert found.keys() == {"abc", "abd", "acb", "cab"}
        for text, score in found.items():
            assert score == pytest.approx(log_prob(model, text), rel=1e-5)
    assert not {"abc", "abd", "acb", "cab"} & dict(model.beam_search(2, n_best=4)).keys()


def test_the_search_of_a_network_keeps_texts_that_have_ended(kernels):
    model = small_model(3, records=True, seed=4)
    texts = {text: score for text, score in every_text(model, "abc", range(3)) if len(text) < 2}
    for first in "abc":
        for second in "abc":
            texts[first + second] = model.log_probs(first + second)[:2].sum()  # has not ended
    work = PrimedState.from_text(model.network, model.vocabulary, "").workspace(2, 20)
    scores = np.r_[0, np.full(19, -np.inf)]
    ids, parents, scores, ended = model.network.search(
        work, 2, scores, np.zeros(20, np.int8), np.ones(4, np.int8), 3
    )
    found = {}
    for i in np.flatnonzero(scores > -np.inf):
        path = [ids[0, parents[1, i]], ids[1, i]]
        text = model.vocabulary.decode([symbol for symbol in path if symbol < 3])
        found[text] = scores[i]
        assert ended[i] == (3 in path)
    assert found == pytest.approx(texts, rel=1e-5)
    assert scores[: len(found)].tolist() == sorted(found.values(), reverse=True)
