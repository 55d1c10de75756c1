"""Scores of one text are in test_model.py and test_records.py; here: unknown characters, and bytes."""

import math

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

from charrnn import RNN, CharRNN, DivergedError, History, Vocabulary
from charrnn.network import Network


def make_model(vocabulary):
    rnn = RNN(6, vocabulary.symbols, 4, 0.1, dtype="float64", seed=0)
    weights = reference.random_weights(6, vocabulary.symbols, np.random.default_rng(1), 1.0)
    for name, array in zip("UWVbc", weights, strict=True):
        setattr(rnn, name, array)
    return CharRNN(rnn, vocabulary, History())


TEXT, RECORDS, BYTES = (make_model(v) for v in (Vocabulary("abcd"), Vocabulary("abcd", records=True), Vocabulary.all_bytes()))


@pytest.mark.parametrize("model", [TEXT, RECORDS], ids=["text", "records"])
@given(st.lists(st.text("abcdéx🙂", min_size=1, max_size=20), max_size=80))
def test_skipped_characters_are_as_if_they_were_not_there(model, texts):
    known = ["".join(char for char in text if char in "abcd") for text in texts]
    scores = model.score_many(texts, on_unknown="skip")
    for text, rest, score in zip(texts, known, scores, strict=True):
        if rest or model.vocabulary.records:
            assert score == model.score(rest) == model.score(text, on_unknown="skip")
            np.testing.assert_array_equal(model.log_probs(text, on_unknown="skip"), model.log_probs(rest))
        else:
            assert math.isnan(score)
    assert model.generate(9, prime="aéb", seed=1, on_unknown="skip") == model.generate(9, prime="ab", seed=1)
    np.testing.assert_array_equal(model.next_probs("aéb", on_unknown="skip"), model.next_probs("ab"))


@pytest.mark.parametrize(
    "call",
    [
        lambda: TEXT.score("abé"),
        lambda: TEXT.log_probs("abé"),
        lambda: TEXT.score_many(["ab", "abé"]),
        lambda: TEXT.next_probs("abé"),
        lambda: TEXT.generate(3, prime="abé"),
        lambda: TEXT.stream(3, prime="abé"),
        lambda: TEXT.beam_search(3, prime="abé"),
    ],
)
def test_an_unknown_character_is_named_by_default(call):
    with pytest.raises(ValueError, match=r"\[2\] = 'é' is not among the 4 characters"):
        call()


def test_one_long_text_does_not_make_the_others_slow(monkeypatch):
    """A batch is as long as its longest text: texts of like length only."""
    sizes = []
    evaluate = Network.evaluate
    monkeypatch.setattr(Network, "evaluate", lambda self, work, x, y: sizes.append(x.size) or evaluate(self, work, x, y))
    TEXT.score_many(["abc"] * 63 + ["abcd" * 5000])
    assert sum(sizes) < 2 * 20_000


def test_a_single_text_is_not_a_list_of_characters():
    for texts in ("abc", None, 3):
        with pytest.raises(TypeError, match="texts must be a sequence of"):
            TEXT.score_many(texts)


def test_wrong_on_unknown_is_named():
    for call in (TEXT.score, TEXT.log_probs, TEXT.next_probs, lambda text, **o: TEXT.score_many([text], **o)):
        with pytest.raises(ValueError, match="on_unknown must be 'error' or 'skip', not 'ignore'"):
            call("ab", on_unknown="ignore")
    with pytest.raises(ValueError, match="on_unknown must be"):
        TEXT.generate(3, on_unknown=None)


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=50))
def test_bytes_are_scored_by_value(texts):
    scores = BYTES.score_many(texts)
    for text, score in zip(texts, scores, strict=True):
        _, log_p = reference.forward(reference.Weights.of(BYTES.rnn), list(text[:-1]) or [0], np.zeros((6, 1)))
        first = math.log(BYTES.next_probs(b"")[text[0]])
        rest = [log_p[t][y, 0] for t, y in enumerate(text[1:])]
        assert score == pytest.approx(-(first + sum(rest)) / len(text) / math.log(2), rel=1e-12)


def test_the_wrong_kind_of_text_is_refused():
    with pytest.raises(TypeError, match="text must be bytes, as in the training of this model, not str"):
        BYTES.score("ab")
    with pytest.raises(TypeError, match=r"texts\[1\] must be a str, not bytes"):
        TEXT.score_many(["ab", b"ab"])
    with pytest.raises(TypeError, match="prime must be bytes"):
        BYTES.generate(3, prime="ab")
    with pytest.raises(TypeError, match="stop must be bytes"):
        BYTES.generate(3, stop="ab")


@pytest.mark.parametrize("records", [False, True])
def test_a_text_does_not_depend_on_the_weights_of_characters_that_others_have(records):
    vocabulary = Vocabulary("abc", records)
    rnn = RNN(5, vocabulary.symbols, 3, 0.1, seed=0)
    rnn.U[:, 0] = np.nan  # what reads an "a" has no probabilities
    model = CharRNN(rnn, vocabulary, History())
    texts = ["bcb", "b", "cbcbcbcb", *([""] if records else [])]
    assert model.score_many(texts).tolist() == [model.score(text) for text in texts]
    with pytest.raises(DivergedError):
        model.score_many([*texts, "ab"])
