"""Scores of one text are in test_model.py and test_records.py; here: unknown characters, and
bytes.
"""

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import plain
import reference
from charrnn import RNN, CharRNN, DivergedError, History, Vocabulary, train_records, train_text
from charrnn.network import Network
from charrnn.network.learner import Learner
from charrnn.training.fit import Records
from charrnn.training.loop import validate


def make_model(vocabulary):
    rnn = RNN(6, vocabulary.symbols, 4, 0.1, dtype="float64", seed=0)
    reference.randomize(rnn, np.random.default_rng(1), 1.0)
    return CharRNN(rnn, vocabulary, History())


TEXT, RECORDS, BYTES = (
    make_model(v)
    for v in (Vocabulary("abcd"), Vocabulary("abcd", records=True), Vocabulary.all_bytes())
)


@pytest.mark.parametrize("model", [TEXT, RECORDS], ids=["text", "records"])
@given(st.lists(st.text("abcdéx🙂", min_size=1, max_size=20), max_size=80))
def test_skipped_characters_are_as_if_they_were_not_there(model, texts):
    known = ["".join(char for char in text if char in "abcd") for text in texts]
    scores = model.score_many(texts, on_unknown="skip")
    for text, rest, score in zip(texts, known, scores, strict=True):
        if rest or model.vocabulary.records:
            assert score == model.score(rest) == model.score(text, on_unknown="skip")
            np.testing.assert_array_equal(
                model.log_probs(text, on_unknown="skip"), model.log_probs(rest)
            )
        else:
            assert math.isnan(score)
    assert model.generate(9, prime="aéb", seed=1, on_unknown="skip") == model.generate(
        9, prime="ab", seed=1
    )
    np.testing.assert_array_equal(
        model.next_probs("aéb", on_unknown="skip"), model.next_probs("ab")
    )


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
    with pytest.raises(ValueError, match=r"\[2\] = 'é' \(U\+00E9\) is not among the 4 characters"):
        call()


def test_one_long_text_does_not_make_the_others_slow(monkeypatch):
    """A batch is as long as its longest text: texts of like length only."""
    sizes = []
    evaluate = Network.evaluate
    monkeypatch.setattr(
        Network,
        "evaluate",
        lambda self, work, x, y: sizes.append(x.size) or evaluate(self, work, x, y),
    )
    TEXT.score_many(["abc"] * 63 + ["abcd" * 5000])
    assert sum(sizes) < 2 * 20_000


REFUSED = [
    (lambda: TEXT.score_many("abc"), TypeError, "texts must be a sequence of"),
    (lambda: TEXT.score_many(3), TypeError, "texts must be a sequence of"),
    (lambda: TEXT.score_many([None]), TypeError, r"texts\[0\] must be a str, not NoneType"),
    (lambda: TEXT.log_probs(None), TypeError, "text must be a str, not NoneType"),
    (lambda: TEXT.score_many(["ab", b"ab"]), TypeError, r"texts\[1\] must be a str, not bytes"),
    (lambda: TEXT.score("ab", context=b"a"), TypeError, "context must be a str, not bytes"),
    (
        lambda: BYTES.score("ab"),
        TypeError,
        "text must be bytes, as in the training of this model, not str",
    ),
    (lambda: BYTES.generate(3, prime="ab"), TypeError, "prime must be bytes"),
    (lambda: BYTES.generate(3, stop="ab"), TypeError, "stop must be bytes"),
    (
        lambda: TEXT.score_many(["a", ""]),
        ValueError,
        r"texts\[1\] must have at least one character",
    ),
    (
        lambda: TEXT.score_many(["a", "", "x"], on_unknown="skip"),
        ValueError,
        r"texts\[1\] must have",
    ),
    (
        lambda: TEXT.next_probs("ab", on_unknown="surprise"),
        ValueError,
        "must be 'error' or 'skip', not 'surprise'",
    ),
    (lambda: TEXT.generate(3, on_unknown=None), ValueError, "on_unknown must be"),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED)
def test_what_is_wrong_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


SCORE = [TEXT.score, TEXT.log_probs, lambda text, **options: TEXT.score_many([text], **options)]


@pytest.mark.parametrize("call", SCORE)
def test_what_is_unknown_in_a_context_is_named_or_not_read(call):
    with pytest.raises(
        ValueError,
        match=r"on_unknown must be 'error', 'skip' or 'surprise', not 'skp'; did you mean skip\?",
    ):
        call("ab", on_unknown="skp")
    with pytest.raises(ValueError, match=r"context\[1\] = 'x' \(U\+0078\) is not among"):
        call("ab", context="axé")
    for how in ("skip", "surprise"):
        np.testing.assert_array_equal(
            call("ab", context="axb", on_unknown=how), call("ab", context="ab")
        )


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=50))
def test_bytes_are_scored_by_value(texts):
    scores = BYTES.score_many(texts)
    for text, score in zip(texts, scores, strict=True):
        _, log_p = reference.forward(
            reference.Weights.of(BYTES.rnn), list(text[:-1]) or [0], np.zeros((6, 1))
        )
        first = math.log(BYTES.next_probs(b"")[text[0]])
        rest = [log_p[t][y, 0] for t, y in enumerate(text[1:])]
        assert score == pytest.approx(-(first + sum(rest)) / len(text) / math.log(2), rel=1e-12)


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


def letters(model, ids):
    """The log-probabilities of all symbols after each of ids, and after nothing, by the reference
    in float64: a row each.
    """
    weights = reference.Weights.of(model.rnn)
    ids = [len(model.vocabulary), *ids] if model.vocabulary.records else list(ids)
    h, rows = np.zeros((6, 1)), []
    for ix in ids:
        hs, log_p = reference.forward(weights, [ix], h)
        h = hs[0]
        rows.append(log_p[0][:, 0])
    if not model.vocabulary.records:  # what follows nothing comes from the bias alone
        first = weights.c[:, 0] - np.log(np.exp(weights.c[:, 0]).sum())
        rows.insert(0, first)
    return rows


@pytest.mark.parametrize("model", [TEXT, RECORDS], ids=["text", "records"])
@given(st.text("abcdéx🙂", min_size=1, max_size=150), st.text("abcdé", max_size=9))
def test_unknown_characters_cost_as_the_least_likely_and_context_is_read_and_not_scored(
    model, text, context
):
    known = [model.vocabulary.chars.index(char) for char in context + text if char in "abcd"]
    rows = letters(model, known)
    expected, read = [], sum(char in "abcd" for char in context)
    for char in text:
        if char in "abcd":
            expected.append(rows[read][known[read]])
            read += 1
        else:
            expected.append(rows[read][:4].min())
    expected += [rows[read][4]] if model.vocabulary.records else []
    options = {"context": context, "on_unknown": "surprise"}
    log_p = model.log_probs(text, **options)
    np.testing.assert_allclose(log_p, expected, rtol=1e-10)
    unknown = sum(char not in "abcd" for char in text)
    score, counted = model.score(text, return_unknown=True, **options)
    assert counted == unknown
    assert score == pytest.approx(-np.mean(expected) / math.log(2), rel=1e-10)
    scores, counts = model.score_many(["abc", text, "éa", text], return_unknown=True, **options)
    assert scores[1] == scores[3] == score
    assert counts.tolist() == [0, unknown, 1, unknown]
    assert model.score(text, on_unknown="skip", return_unknown=True)[1] == unknown


def test_with_counts_the_least_likely_is_that_of_the_mixture():
    model = plain.train_records(["abcd", "abdc", "dab"] * 20, hidden_size=4, steps=20, ngram=3)
    log_p = model.log_probs("abéca", on_unknown="surprise")
    for prefix, found in [("ab", log_p[2]), ("", model.log_probs("é", on_unknown="surprise")[0])]:
        assert found == pytest.approx(np.log(model.next_probs(prefix)[:4].min()), rel=1e-6)


def test_a_line_of_a_text_is_scored_as_a_line():
    model = train_text(
        "The fox.\nThe dog.\n" * 60, hidden_size=20, epochs=20, progress=False, preset="tutorial"
    )
    line = "The dog."
    np.testing.assert_array_equal(
        model.log_probs(line, context="The fox.\n"), model.log_probs("The fox.\n" + line)[9:]
    )
    assert model.log_probs(line, context="\n")[0] > model.log_probs(line)[0]
    assert model.score_many([line, "The"], context="\n").tolist() == [
        model.score(text, context="\n") for text in (line, "The")
    ]


def test_all_unknown_characters_are_named_with_the_way_out():
    with pytest.raises(ValueError, match="is not among") as caught:
        TEXT.generate(5, prime="cafe\u0301 \ud800")
    assert str(caught.value) == (
        "prime[2] = 'f' (U+0066) is not among the 4 characters of this vocabulary, nor are SPACE "
        "(U+0020), 'e' (U+0065), "
        "COMBINING ACUTE ACCENT (U+0301), '\\ud800' (U+D800); on_unknown='skip' leaves out what "
        "is not"
    )
    with pytest.raises(ValueError, match=r"nor are .* and 22 more; on_unknown"):
        TEXT.score("".join(map(chr, range(0x4E00, 0x4E1F))))
    with pytest.raises(
        ValueError,
        match=r"context\[0\] = 'é' \(U\+00E9\) is not among the 4 characters of this vocabulary; "
        r"on_unknown",
    ):
        TEXT.log_probs("", context="éé")


def test_empty_texts_and_unknown_ones():
    assert len(TEXT.log_probs("")) == 0
    end = RECORDS.log_probs("", context="ab")
    assert len(end) == 1
    assert RECORDS.score("", context="ab") == pytest.approx(-end[0] / math.log(2))
    assert math.isnan(TEXT.score("é", on_unknown="skip"))
    assert TEXT.score("é", on_unknown="surprise") == pytest.approx(
        -math.log2(TEXT.next_probs("").min())
    )
    assert TEXT.score_many([], return_unknown=True)[1].shape == (0,)


def test_the_scores_of_a_series_are_a_series():
    texts = ["abc", "b", "abca"]
    expected = TEXT.score_many(texts)
    assert type(expected) is np.ndarray
    pandas = pytest.importorskip("pandas")
    column = pandas.Series(texts, index=[7, 3, 5], name="word")
    scores, counts = TEXT.score_many(column, return_unknown=True)
    assert (scores.name, scores.index.tolist(), scores.tolist()) == (
        "word",
        [7, 3, 5],
        expected.tolist(),
    )
    assert counts.equals(column.map(lambda text: 0))
    frame = pandas.DataFrame({"word": texts}, index=column.index).assign(
        bits=lambda frame: TEXT.score_many(frame["word"][::-1])
    )
    assert frame["bits"].tolist() == expected.tolist()


def test_the_scores_of_a_column_of_polars_are_one():
    polars = pytest.importorskip("polars")
    texts = ["abc", "b", "abca"]
    frame = polars.DataFrame({"word": texts})
    assert TEXT.score_many(frame["word"]).equals(polars.Series("word", TEXT.score_many(texts)))
    scored = frame.select(
        polars.col("word").map_batches(TEXT.score_many, return_dtype=polars.Float64)
    )
    assert scored["word"].to_list() == TEXT.score_many(texts).tolist()


@pytest.mark.parametrize("make", [np.array, lambda texts: np.array(texts, object), tuple, iter])
def test_arrays_of_texts_are_texts(make):
    texts = ["abc", "b", "abca"]
    assert TEXT.score_many(make(texts)).tobytes() == TEXT.score_many(texts).tobytes()
    records = train_records(make(texts), steps=3, progress=False, preset="tutorial")
    assert records.vocabulary.chars == "abc"


@pytest.mark.parametrize("on_unknown", ["error", "surprise"])
def test_what_scoring_needs_does_not_grow_with_the_vocabulary(monkeypatch, on_unknown):
    def recorded(network, T, B, **options):
        sizes.append(T * B * network.description.vocab_size)
        return workspace(network, T, B, **options)

    vocabulary, sizes, workspace = (
        Vocabulary("".join(map(chr, range(0x10000, 0x10000 + 40_000))), True),
        [],
        Network.workspace,
    )
    monkeypatch.setattr(Network, "workspace", recorded)
    settings = {
        "seq_length": 200,
        "batch_size": 1,
        "learning_rate": 1,
        "clip_value": 1,
        "initial_accumulator_value": 1,
    }
    model = CharRNN(
        Learner([("gru", 1)], vocabulary.symbols, seed=1, **settings), vocabulary, History()
    )
    texts = [vocabulary.chars[i : i + 150] + "z" * (on_unknown == "surprise") for i in range(70)]
    scores = model.score_many(texts, on_unknown=on_unknown)
    assert scores[3] == model.score(texts[3], on_unknown=on_unknown)
    _, held_out = Records.from_strings(
        [text.strip("z") for text in texts], known=vocabulary
    ).streams(model._state.learner, 0.99, 0)
    validate(model.network, held_out)  # 64 records of 150 characters at a time
    assert max(sizes) <= 1 << 25


@pytest.mark.clock
def test_unknown_characters_cost_in_proportion():
    """Each block of characters looked through all of them: a book of another script took hours."""

    def seconds(n):
        began = time.process_time()
        TEXT.score("x" + "ax" * n, on_unknown="surprise")
        return time.process_time() - began

    least = [min(seconds(n) for _ in range(3)) for n in (25_000, 400_000)]
    assert least[1] < 60 * least[0]  # 256 times as long, if each looked at all


def test_a_text_is_as_long_as_it_is():
    class Odd(str):
        __slots__ = ()

        def __len__(self):
            return 0

    assert TEXT.score_many(["a", Odd("abc")]).tolist() == TEXT.score_many(["a", "abc"]).tolist()


# --------------------------------------------------------------------------- totals, ends and words


@pytest.mark.parametrize("adapt", [False, True])
@pytest.mark.parametrize("records", [False, True])
def test_totals_and_scores_without_the_end(records, adapt):
    train = train_records if records else train_text
    model = train(
        ["anna", "hanna"] * 9 if records else "anna hanna " * 9,
        hidden_size=6,
        steps=50,
        progress=False,
        preset="tutorial",
    )
    texts = ["anna", "hannah", "na", "nnnnnnnnnnnnnnnnnnnn"]
    bits = [-model.log_probs(text, adapt=adapt) / math.log(2) for text in texts]
    for text, each in zip(texts, bits, strict=True):
        assert model.score(text, total=True, adapt=adapt) == pytest.approx(each.sum())
        assert model.score(text, end=False, adapt=adapt) == pytest.approx(each[: len(text)].mean())
        assert model.score(text, end=False, total=True, adapt=adapt) == pytest.approx(
            each[: len(text)].sum()
        )
    if not adapt:
        one_by_one = [model.score(text, end=False, total=True) for text in texts]
        assert model.score_many(texts, end=False, total=True).tolist() == one_by_one
    if records:
        assert math.isnan(model.score("", end=False))
        assert model.score("", end=False, total=True) == 0
        assert model.score("", total=True) == model.score("")


def test_words_have_the_bits_of_the_whole_text():
    text = "to be, or not to be\n" * 9
    model = train_text(text, hidden_size=6, steps=50, progress=False, preset="tutorial")
    words = model.score_words(" to be,\n\nor not ", context="to be\n")
    assert [word for word, _ in words] == ["to", "be,", "or", "not"]
    log_p = -model.log_probs(" to be,\n\nor not ", context="to be\n") / math.log(2)
    parts = [log_p[:4], log_p[4:9], log_p[9:12], log_p[12:]]
    assert [bits for _, bits in words] == pytest.approx([part.sum() for part in parts])
    skipped = model.score_words("to ☃☃ be☃", on_unknown="skip")
    assert [word for word, _ in skipped] == ["to", "☃☃", "be☃"]
    log_p = -model.log_probs("to  be") / math.log(2)
    assert [bits for _, bits in skipped] == pytest.approx(
        [log_p[:3].sum(), log_p[3], log_p[4:].sum()]
    )
    assert model.score_words("") == []
    surprised = model.score_words("☃ to", on_unknown="surprise")
    assert sum(bits for _, bits in surprised) == pytest.approx(
        model.score("☃ to", on_unknown="surprise", total=True)
    )


def test_the_end_of_a_record_is_the_last_words():
    model = train_records(
        [b"anna b", b"hanna c"] * 9,
        alphabet="bytes",
        hidden_size=6,
        steps=50,
        progress=False,
        preset="tutorial",
    )
    words = model.score_words(b"anna  b")
    assert [word for word, _ in words] == [b"anna", b"b"]
    assert sum(bits for _, bits in words) == pytest.approx(model.score(b"anna  b", total=True))
    assert model.score_words(b"") == [(b"", pytest.approx(model.score(b"")))]
