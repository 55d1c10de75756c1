import math

import numpy as np
import pytest
import reference

from charrnn import RNN, CharRNN, History, Vocabulary
from charrnn.sampling import Prime, Sampling, Writer
from charrnn.seeding import make_random

DRAWS = 40_000


@pytest.fixture(scope="module")
def model():
    """Nine characters, three of them equally likely after the zero state."""
    rnn = RNN(6, 9, 4, 0.1, dtype="float32", seed=0)
    for name, array in zip("UWVbc", reference.random_weights(6, 9, np.random.default_rng(2), 1.0), strict=True):
        setattr(rnn, name, array)
    rnn.c[...] = np.array([0.5, 1.0, -1.0, 1.0, 2.0, 0.0, 1.0, -3.0, 0.3])[:, None]
    return CharRNN(rnn, Vocabulary("abcdefghi"), History())


def plain_filter(p, temperature=1.0, top_k=None, top_p=None, min_p=None, allowed=None, forbidden=None):
    """The same choice by sorting, in float64."""
    chars = "abcdefghi"
    p = p ** (1 / temperature)
    p = p * [(allowed is None or char in allowed) and char not in (forbidden or "") for char in chars]
    p /= p.sum()
    order = np.argsort(-p, kind="stable")
    if top_k is not None:
        p[order[top_k:]] = 0
    if top_p is not None:
        before = np.cumsum(p[order]) - p[order]
        p[order[before >= top_p * p.sum() - 1e-9]] = 0
    if min_p is not None:
        p[p < min_p * p.max() * (1 - 1e-6)] = 0
    return p / p.sum()


@pytest.mark.parametrize(
    "controls",
    [
        {"temperature": 0.5},
        {"temperature": 2.0},
        {"top_k": 1},
        {"top_k": 3},  # among three equally likely the first two come in
        {"top_k": 8},
        {"top_k": 100},
        {"top_p": 1e-6},
        {"top_p": 0.5},
        {"top_p": 0.75},
        {"top_p": 0.999},
        {"top_p": 1.0},
        {"min_p": 0.2},
        {"min_p": 1.0},
        {"min_p": 0.0},
        {"top_k": 5, "top_p": 0.8, "min_p": 0.3, "temperature": 1.5},
        {"allowed": "adi"},
        {"forbidden": "ae"},
        {"allowed": "abcd?", "forbidden": "bx", "top_k": 2},
    ],
    ids=str,
)
def test_draws_follow_the_filtered_probabilities(model, kernels, controls):
    expected = plain_filter(model.next_probs(""), **controls)
    sampling = Sampling.check(model.vocabulary, **controls)
    prime = Prime(model.rnn, model.vocabulary, "")
    ids = Writer(model.rnn, model.vocabulary, sampling, prime, make_random(3, DRAWS))._draw(1)[0]
    counts = np.bincount(ids, minlength=9)
    assert not counts[expected == 0].any()
    kept = expected > 0
    chi2 = ((counts - DRAWS * expected)[kept] ** 2 / (DRAWS * expected)[kept]).sum()
    assert chi2 < 26.1  # at most 8 degrees of freedom, p = 0.001


def test_temperature_zero_takes_the_most_likely_allowed(model):
    assert model.generate(1, temperature=0) == "e"
    assert model.generate(1, temperature=0, forbidden="e") == "b"
    assert model.generate(1, temperature=0, allowed="hi") == "i"


def test_stop_ends_before_the_first_stop_text(model):
    text = model.generate(500, seed=4)
    for stop in (text[200:203], text[0], [text[300:304], text[100:104]], text[62:66]):  # the last crosses the end of a piece
        words = [stop] if isinstance(stop, str) else stop
        expected = text[: min(text.find(word) for word in words)]
        assert model.generate(500, seed=4, stop=stop) == expected
        assert "".join(model.stream(500, seed=4, stop=stop)) == expected
    assert model.generate(100, seed=4, stop="zzz") == text[:100]


def test_each_text_of_many_stops_by_itself(model):
    texts = model.generate_many(80, 200, seed=5)
    assert model.generate_many(80, 200, seed=5, stop="ea") == [text.split("ea")[0] for text in texts]


def test_stream_yields_what_generate_writes(model):
    assert "".join(model.stream(90, prime="abc", seed=6)) == model.generate(90, prime="abc", seed=6)
    endless = model.stream(seed=6)
    assert "".join(next(endless) for _ in range(20)) == model.generate(20, seed=6)


@pytest.mark.parametrize(
    ("controls", "error", "message"),
    [
        ({"top_k": 0}, ValueError, "top_k must be"),
        ({"top_k": -1}, ValueError, "top_k must be"),
        ({"top_k": 2.0}, TypeError, "top_k must be"),
        ({"top_p": 0}, ValueError, "top_p must be"),
        ({"top_p": 1.1}, ValueError, "top_p must be at most 1"),
        ({"top_p": math.nan}, ValueError, "top_p must be"),
        ({"min_p": -0.1}, ValueError, "min_p must be"),
        ({"min_p": 1.5}, ValueError, "min_p must be at most 1"),
        ({"allowed": "xyz"}, ValueError, "leave no character of the model"),
        ({"forbidden": "abcdefghi"}, ValueError, "leave no character of the model"),
        ({"allowed": "ab", "forbidden": "ab"}, ValueError, "leave no character of the model"),
        ({"allowed": 3}, TypeError, "allowed must be a str"),
        ({"stop": ""}, ValueError, "stop must not have an empty text"),
        ({"stop": ["a", 3]}, TypeError, "stop must be a str"),
        ({"temprature": 1}, TypeError, "temprature"),
    ],
)
def test_wrong_control_is_named(model, controls, error, message):
    for call in (model.generate, lambda length, **c: model.generate_many(2, length, **c), model.stream):
        with pytest.raises(error, match=message):
            call(5, **controls)
