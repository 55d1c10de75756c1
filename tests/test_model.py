import math
import threading

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import Weights

import charrnn
from charrnn import RNN, CharRNN, History, Vocabulary


@pytest.fixture(scope="module")
def model():
    """Five characters, large random weights."""
    rnn = RNN(7, 5, 4, 0.1, dtype="float64", seed=0)
    for name, array in zip("UWVbc", reference.random_weights(7, 5, np.random.default_rng(0)), strict=True):
        setattr(rnn, name, array)
    return CharRNN(rnn, Vocabulary("abcd☃"), History())


def oracle_log_probs(model, text):
    """Log-probability of each character: the first by the bias alone, as the zero state gives it."""
    w, ids = Weights.of(model.rnn), model.vocabulary.encode(text)
    _, log_p = reference.forward(w, ids[:-1], np.zeros((model.rnn.hidden_size, 1)))
    first = w.c - np.log(np.exp(w.c).sum())
    return np.array([first[ids[0], 0], *(log_p[t][y, 0] for t, y in enumerate(ids[1:]))])


@pytest.mark.parametrize("text", ["a", "ab", "ab☃dcab", "abcd" * 100])
def test_log_probs_and_score_equal_the_oracle(model, text, kernels):
    expected = oracle_log_probs(model, text)
    got = model.log_probs(text)
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    assert got.dtype == np.float64
    assert model.score(text) == pytest.approx(-expected.mean() / math.log(2), rel=1e-12)


@given(st.text("abcd☃", max_size=20), st.sampled_from("abcd☃"))
@settings(max_examples=30)
def test_chain_rule(model, prefix, char):
    p = model.next_probs(prefix)
    assert p.sum() == pytest.approx(1, abs=1e-12)
    assert p.shape == (5,)
    assert math.log(p[model.vocabulary.encode(char)[0]]) == pytest.approx(model.log_probs(prefix + char)[-1], rel=1e-10)


def test_generate_has_the_length_asked_for_and_no_prime(model):
    assert model.generate(0) == ""
    assert len(model.generate(50, prime="ab", seed=0)) == 50
    assert model.generate(50, seed=1) == model.generate(50, seed=1) != model.generate(50, seed=2)
    assert model.generate(50) != model.generate(50)


def test_generate_continues_the_prime(model):
    """Temperature 0 follows the most likely character, one after the other."""
    text = "ab☃"
    for char in model.generate(20, prime=text, temperature=0):
        assert model.vocabulary.encode(char)[0] == np.argmax(model.next_probs(text))
        text += char


def test_sample_i_is_the_same_whatever_the_count(model, kernels):
    texts = model.generate_many(150, 30, prime="ab", seed=9)
    assert texts[:70] == model.generate_many(70, 30, prime="ab", seed=9)
    assert texts[0] == model.generate(30, prime="ab", seed=9)
    assert len(set(texts)) > 140
    assert model.generate_many(0, 5) == []
    assert model.generate_many(3, 0) == ["", "", ""]


@given(st.lists(st.text("abcd☃", min_size=1, max_size=90), max_size=150))
@settings(max_examples=15)
def test_scores_of_many_equal_scores_one_by_one_to_the_bit(model, texts):
    np.testing.assert_array_equal(model.score_many(texts), np.array([model.score(text) for text in texts]))


def test_long_and_short_texts_are_scored_together(model, monkeypatch, kernels):
    import charrnn.scoring

    texts = ["ab" * n for n in (1, 300, 2, 299, 40)] * 20
    expected = [model.score(text) for text in texts]
    assert model.score_many(texts).tolist() == expected
    monkeypatch.setattr(charrnn.scoring, "_LARGEST_BATCH", 700)
    assert model.score_many(texts).tolist() == expected


def test_empty_log_probs(model):
    assert model.log_probs("").shape == (0,)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m.generate(-1), ValueError, "length must be"),
        (lambda m: m.generate(2.5), TypeError, "length must be"),
        (lambda m: m.generate(True), TypeError, "length must be"),
        (lambda m: m.generate(5, temperature=-0.1), ValueError, "temperature must be"),
        (lambda m: m.generate(5, temperature=math.nan), ValueError, "temperature must be"),
        (lambda m: m.generate(5, temperature=math.inf), ValueError, "temperature must be"),
        (lambda m: m.generate(5, temperature="1"), TypeError, "temperature must be"),
        (lambda m: m.generate(5, seed=-1), ValueError, "seed must be"),
        (lambda m: m.generate(5, prime="abX"), ValueError, r"prime\[2\] = 'X' is not among the 5 characters"),
        (lambda m: m.generate(5, prime=b"ab"), TypeError, "prime must be a str"),
        (lambda m: m.score("aX"), ValueError, r"text\[1\] = 'X'"),
        (lambda m: m.score(""), ValueError, "at least one character"),
        (lambda m: m.score(None), TypeError, "text must be a str"),
        (lambda m: m.log_probs("X"), ValueError, r"text\[0\] = 'X'"),
        (lambda m: m.score_many(["ab", "aX"]), ValueError, r"texts\[1\]\[1\] = 'X'"),
        (lambda m: m.score_many(["ab", ""]), ValueError, r"texts\[1\] must have at least one character"),
        (lambda m: m.score_many(["ab", 3]), TypeError, r"texts\[1\] must be a str, not int"),
        (lambda m: m.generate_many(-1, 5), ValueError, "count must be"),
        (lambda m: m.next_probs("X"), ValueError, r"prefix\[0\] = 'X'"),
        (lambda m: CharRNN(m.rnn, Vocabulary("ab"), History()), ValueError, "vocab_size=5, the vocabulary 2"),
    ],
)
def test_wrong_input_is_named_and_changes_nothing(model, call, error, message):
    before = model.rnn.params.block.copy()
    with pytest.raises(error, match=message):
        call(model)
    np.testing.assert_array_equal(model.rnn.params.block, before)


def test_many_threads_may_use_one_model(model):
    text = "abcd☃" * 200
    expected = model.score(text), model.generate(300, seed=5)
    results = [None] * 8
    barrier = threading.Barrier(8)

    def work(i):
        barrier.wait()
        results[i] = {(model.score(text), model.generate(300, seed=5)) for _ in range(5)}

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [{expected}] * 8


def test_repr_is_short(model):
    assert repr(model) == "CharRNN(hidden_size=7, 5 characters, 0 steps)"


def test_public_names():
    assert all(getattr(charrnn, name).__doc__ for name in charrnn.__all__ if name != "isa")
