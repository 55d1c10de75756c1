import copy
import itertools
import math
import pickle
import time

import numpy as np
import pytest

import plain
import reference
from charrnn import RNN, CharRNN, History, Vocabulary
from charrnn.data.record_index import RecordIndex
from charrnn.inference.sampling import PrimedState, Sampling, Writer
from charrnn.network._types import LOOK_BACK
from charrnn.util.seeding import make_random

DRAWS = 40_000
SEVEN_EIGHT = np.array([0, 0, 0, 0, 0, 0, 0, 1, 1], np.int8)


@pytest.fixture(scope="module")
def model():
    """Nine characters, three of them equally likely after the zero state."""
    rnn = RNN(6, 9, 4, 0.1, dtype="float32", seed=0)
    reference.randomize(rnn, np.random.default_rng(2), 1.0)
    rnn.c[...] = np.array([0.5, 1.0, -1.0, 1.0, 2.0, 0.0, 1.0, -3.0, 0.3])[:, None]
    return CharRNN(rnn, Vocabulary("abcdefghi"), History())


def plain_filter(
    p, temperature=1.0, top_k=None, top_p=None, min_p=None, allowed=None, forbidden=None
):
    """The same choice by sorting, in float64."""
    chars = "abcdefghi"
    p = p ** (1 / temperature)
    p = p * [
        (allowed is None or char in allowed) and char not in (forbidden or "") for char in chars
    ]
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
    sampling = Sampling.from_options(model.vocabulary, **controls)
    start = PrimedState.from_text(model.network, model.vocabulary, "")
    ids = Writer(start, sampling, make_random(3, DRAWS)).draw(1)[0]
    counts = np.bincount(ids, minlength=9)
    assert not counts[expected == 0].any()
    kept = expected > 0
    chi2 = ((counts - DRAWS * expected)[kept] ** 2 / (DRAWS * expected)[kept]).sum()
    assert chi2 < 26.1  # at most 8 degrees of freedom, p = 0.001


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_a_million_draws_follow_next_probs(model, temperature):
    sampling = Sampling.from_options(model.vocabulary, temperature=temperature)
    start = PrimedState.from_text(model.network, model.vocabulary, "ab")
    writer = Writer(start, sampling, make_random(8, 1_000_000))
    counts = np.bincount(writer.draw(1)[0], minlength=9)
    p = model.next_probs("ab") ** (1 / temperature)
    expected = counts.sum() * p / p.sum()
    assert counts.sum() == 1_000_000
    assert ((counts - expected) ** 2 / expected).sum() < 26.1  # 8 degrees of freedom, p = 0.001


NARROWEST = [
    {"top_p": 5e-324},
    {"top_p": 5e-324, "top_k": 3},
    {"top_k": 1, "temperature": 1e300},
    {"top_k": 8, "temperature": 1e-9},
]


@pytest.mark.parametrize("controls", NARROWEST)
def test_the_narrowest_filter_keeps_the_most_likely(model, kernels, controls):
    assert len({model.generate(1, seed=seed, **controls) for seed in range(20)}) == 1


def test_temperature_zero_takes_the_most_likely_allowed(model):
    assert model.generate(1, temperature=0) == "e"
    assert model.generate(1, temperature=0, forbidden="e") == "b"
    assert model.generate(1, temperature=0, allowed="hi") == "i"


def test_stop_ends_before_the_first_stop_text(model):
    text = model.generate(5000, seed=4)
    across = text[62:66]  # crosses the end of a piece
    late = text[4321:4340]
    for stop in (text[200:203], text[0], [text[300:304], text[100:104]], across, late, "zzz"):
        words = [stop] if isinstance(stop, str) else stop
        expected = text[: min(text.find(word) % 5001 for word in words)]
        assert model.generate(5000, seed=4, stop=stop) == expected
        assert "".join(model.stream(5000, seed=4, stop=stop)) == expected
    overlapping = ["eedeif", "de"]
    assert model.generate(500, seed=4, stop={*overlapping}) == model.generate(
        500, seed=4, stop=overlapping
    )
    second = text[: text.find(text[0], 100)]
    options = {"seed": 4, "stop": text[0], "min_length": 100}
    assert model.generate(500, **options) == "".join(model.stream(500, **options)) == second
    texts = model.generate_many(80, 200, seed=5)
    assert model.generate_many(80, 200, seed=5, stop="ea") == [
        text.split("ea")[0] for text in texts
    ]


@pytest.mark.parametrize(
    ("stop", "end"), [(["de", "eedeif"], 0), (["deif", "eedeif"], -2), (["deif", "eedei"], -2)]
)
def test_of_stop_texts_that_overlap_the_one_that_is_complete_first_counts(model, stop, end):
    text = model.generate(500, seed=4)
    expected = text[: text.index("de") + end]
    assert model.generate(500, seed=4, stop=stop) == expected
    assert "".join(model.stream(500, seed=4, stop=stop)) == expected


@pytest.mark.parametrize(
    ("controls", "error", "message"),
    [
        ({"top_k": 0}, ValueError, "top_k must be"),
        ({"top_k": 2.0}, TypeError, "top_k must be"),
        ({"top_p": 0}, ValueError, "top_p must be"),
        (
            {"top_p": 1.1},
            ValueError,
            "top_p must be a finite number above 0 and at most 1, not 1.1",
        ),
        ({"min_p": -0.1}, ValueError, "min_p must be"),
        (
            {"min_p": 1.5},
            ValueError,
            "min_p must be a finite number at least 0 and at most 1, not 1.5",
        ),
        ({"allowed": "xyz"}, ValueError, "leave no character of the model"),
        ({"forbidden": "abcdefghi"}, ValueError, "leave no character of the model"),
        ({"allowed": "ab", "forbidden": "ab"}, ValueError, "leave no character of the model"),
        ({"allowed": 3}, TypeError, "allowed must be a str"),
        ({"stop": ""}, ValueError, "stop must not have an empty text"),
        ({"stop": ["a", 3]}, TypeError, "stop must be a str"),
        ({"no_repeat": 0}, ValueError, "no_repeat must be from 1 to 4096"),
        ({"min_length": -1}, ValueError, "min_length must be"),
        ({"min_length": 6}, ValueError, "min_length must be at most length=5, not 6"),
        ({"temperature": math.nan}, ValueError, "temperature must be"),
        ({"temperature": 10**400}, ValueError, "temperature must be"),
        ({"stop": 5}, TypeError, "stop must be a sequence of texts, not int"),
        (
            {"temprature": 1},
            TypeError,
            r"there is no option 'temprature'; did you mean temperature\?",
        ),
        (
            {"colour": 1},
            TypeError,
            "there is no option 'colour'; the options are length, .*temperature",
        ),
    ],
)
def test_wrong_control_is_named(model, controls, error, message):
    for call in (
        model.generate,
        lambda length, **c: model.generate_many(2, length, **c),
        model.stream,
    ):
        with pytest.raises(error, match=message):
            call(5, **controls)


class Number:
    """An integer by its __index__ alone, another one each time."""

    def __init__(self, *values):
        self.values = list(values)

    def __index__(self):
        return self.values.pop(0) if len(self.values) > 1 else self.values[0]


@pytest.mark.parametrize(
    "length", [Number(5), Number(5, 10**6), np.uint8(5), np.uint8(0), np.array(5)]
)
def test_a_length_is_asked_once(model, length):
    again = copy.deepcopy(length)
    n = len(model.generate(length, seed=1))
    assert n in (0, 5)
    assert len("".join(model.stream(copy.deepcopy(again), seed=1))) == n
    assert model.generate_many(1, copy.deepcopy(again), seed=1)[0] == model.generate(n, seed=1)
    assert model.beam_search(copy.deepcopy(again)) == model.beam_search(n)


def test_a_prime_that_claims_to_be_empty_is_read(model):
    class Alike(str):
        __slots__ = ()

        def __eq__(self, other):
            return True

        __hash__ = str.__hash__

    assert model.generate(9, prime=Alike("ab"), seed=1) == model.generate(9, prime="ab", seed=1)
    with pytest.raises(TypeError, match="prime must be a str, not ndarray"):
        model.generate(9, prime=np.array(["a", "b"]))


@pytest.mark.parametrize("name", ["unique", "novel"])
def test_what_leaves_texts_out_is_an_option_of_many(records, name):
    for call in (records.generate, records.stream):
        with pytest.raises(TypeError, match=f"there is no option '{name}'"):
            call(5, **{name: True})


def repeats(text, n):
    """Whether n characters in a row occur twice in text."""
    runs = [text[i : i + n] for i in range(len(text) - n + 1)]
    return len(set(runs)) < len(runs)


@pytest.mark.parametrize(("n", "length"), [(1, 9), (2, 20), (3, 90), (9, 1000)])
@pytest.mark.parametrize("temperature", [0, 0.5])
def test_no_repeat_writes_no_run_twice(model, kernels, n, length, temperature):
    options = {"temperature": temperature, "no_repeat": n, "seed": 3}
    texts = model.generate_many(3, length, **options)
    assert not any(repeats(text, n) for text in texts)
    assert repeats(model.generate(length, temperature=temperature, seed=3), n)
    assert texts[0] == model.generate(length, **options) == "".join(model.stream(length, **options))


def test_no_repeat_knows_the_prime_and_what_came_pieces_ago(model):
    prime = "".join(chr(ord("a") + i % 9) for i in range(9))
    text = model.generate(
        400, prime=prime, temperature=0.3, no_repeat=4, stop="zzz", seed=1
    )  # a stop text: drawn in pieces
    assert not repeats(prime + text, 4)
    assert text == model.generate(400, prime=prime, temperature=0.3, no_repeat=4, seed=1)


def test_no_repeat_gives_way_where_every_character_would_repeat(model):
    text = model.generate(30, no_repeat=1, seed=1)
    assert sorted(text[:9]) == list("abcdefghi")
    assert len(text) == 30
    assert set(model.generate(30, no_repeat=1, allowed="ab", seed=1)) == {"a", "b"}
    wild = model.generate(9, no_repeat=1, temperature=1e25, seed=1)
    assert sorted(wild) == list("abcdefghi")


def test_no_repeat_looks_back_a_bounded_way(model, kernels):
    """A run that was longer than LOOK_BACK characters ago may come again."""
    ids = np.zeros((LOOK_BACK + 20, 1), np.int32)
    ids[:, 0] = np.random.default_rng(0).integers(1, 9, len(ids))
    for ago, drawn in ((LOOK_BACK, 0), (LOOK_BACK + 1, 1)):
        past = ids[:, 0].copy()
        past[-ago:][:5], past[-4:] = [0, 0, 0, 0, 7], [0, 0, 0, 0]
        counts = np.bincount(
            [
                model.network.draw(
                    model.network.workspace(1, 1),
                    1,
                    make_random(i),
                    no_repeat=5,
                    past=past[:, None],
                    allowed=SEVEN_EIGHT,
                )[0, 0]
                for i in range(50)
            ],
            minlength=9,
        )
        assert (counts[7] > 0) == drawn, ago


# ------------------------------------------------------------------------------------------ records


@pytest.fixture(scope="module")
def records():
    rnn = RNN(6, 10, 4, 0.1, seed=0)
    reference.randomize(rnn, np.random.default_rng(2), 1.0)
    index = RecordIndex.from_records(["a", "b", "ab", "i"])
    return CharRNN(rnn, Vocabulary("abcdefghi", records=True), History(), index)


def test_min_length_of_records(records):
    lengths = [len(text) for text in records.generate_many(500, 40, min_length=7, seed=1)]
    assert min(lengths) == 7
    assert max(lengths) > 7
    assert "".join(records.stream(40, min_length=30, seed=3)) == records.generate(
        40, min_length=30, seed=3
    )


def test_unique_texts_are_the_first_different_ones(records):
    plain = records.generate_many(400, 40, seed=1)
    different = list(dict.fromkeys(text for text in plain if len(text) < 40))
    assert len(different) < 400
    assert records.generate_many(100, 40, seed=1, unique=True) == different[:100]
    assert records.generate_many(30, 40, seed=1, unique=True) == different[:30]


def test_novel_texts_are_not_among_the_records(records):
    plain = records.generate_many(400, 40, seed=1)
    new = [text for text in plain if text not in ("a", "b", "ab", "i") and len(text) < 40]
    assert len(new) < 400
    assert records.generate_many(100, 40, seed=1, novel=True) == new[:100]
    plain = records.generate_many(900, 20, prime="a", seed=1)
    primed = [text for text in plain if text not in ("", "b") and len(text) <= 2]  # not a, ab
    assert "i" in primed  # known, but ai is not
    assert records.generate_many(9, 2, prime="a", seed=1, novel=True) == primed[:9]
    assert (
        records.generate_many(9, 2, prime="aé", seed=1, novel=True, on_unknown="skip") == primed[:9]
    )
    assert (
        records.generate_many(100, 40, seed=1, novel=True, unique=True)
        == list(dict.fromkeys(new))[:100]
    )


def test_whole_texts_have_ended_by_themselves(records, model):
    """Those of exactly the length, too: their end is looked for."""
    plain = records.generate_many(200, 20, seed=2)
    assert (
        records.generate_many(20, 5, seed=2, whole=True)
        == [text for text in plain if len(text) <= 5][:20]
    )
    stopped = model.generate_many(200, 20, seed=2, stop="b")
    assert (
        model.generate_many(9, 5, seed=2, stop="b", whole=True)
        == [text for text in stopped if len(text) <= 5][:9]
    )
    longer = model.generate_many(200, 90, seed=2, stop="ea")
    assert (
        model.generate_many(9, 9, seed=2, stop="ea", whole=True)
        == [text for text in longer if len(text) <= 9][:9]
    )
    with pytest.warns(UserWarning, match="0 of 2 texts: no others were found"):
        assert model.generate_many(2, 5, seed=2, whole=True) == []  # of a text there is no end


def test_whole_records_of_exactly_the_length_are_found():
    letters = np.random.default_rng(0).choice(list("abcd"), (1500, 8))
    words = ["".join(word) for word in letters]
    model = plain.train_records(words, hidden_size=20, epochs=6)
    for length in (8, 9):
        texts = model.generate_many(20, length, whole=True, unique=True, seed=1)
        assert sum(len(text) == 8 for text in texts) > 15
        assert len({*texts}) == 20


@pytest.mark.parametrize("empty", [False, True])
def test_empty_records_come_only_if_the_training_had_some(empty):
    """A model of C, N, O, CC and CN wrote 1,934 empty ones of 5,000."""
    strings = ["C", "N", "O", "CC", "CN"] * 20
    model = plain.train_records(strings + [""] * 9 * empty, hidden_size=8, steps=2)
    for one in (model, pickle.loads(pickle.dumps(model))):
        assert ("" in one.generate_many(200, 9, seed=1)) is empty
        assert ("" in dict(one.beam_search(9, n_best=5))) is empty
        assert "" in one.generate_many(200, 9, seed=1, min_length=0)
        assert "" in one.generate_many(200, 9, seed=1, prime="C")
    further = copy.copy(model).train_records(["", "C"], steps=1, progress=False)
    assert "" in further.generate_many(200, 9, seed=1)


def test_too_few_different_texts_end_the_search(records):
    with pytest.warns(UserWarning, match="6 of 50 texts: no others were found"):
        found = records.generate_many(50, 2, unique=True, seed=0, allowed="ab")
    assert {"", "a", "b"} < {*found} < {"", "a", "b", "aa", "ab", "ba", "bb"}
    with pytest.warns(UserWarning, match="[01] of 50 texts"):
        records.generate_many(50, 30, unique=True, temperature=0)
    assert records.generate_many(0, 5, unique=True) == []


def test_novel_needs_an_index(model):
    with pytest.raises(ValueError, match="novel=True needs a model that remembers"):
        model.generate_many(3, 5, novel=True)


# -------------------------------------------------------------------------------------- beam search


def exhaustive(model, length, prime=""):
    """Every text of a length, or whole record up to it, with its log-probability, by
    enumeration.
    """
    live, found = [("", 0.0)], []
    for n in range(length + 1):
        grown = []
        for text, score in live:
            logs = np.log(model.next_probs(prime + text))
            grown += [
                (text + char, score + log) for char, log in zip("abcdefghi", logs, strict=False)
            ]
            if model.vocabulary.records:
                found.append((text, score + logs[9]))
            elif n == length:
                found.append((text, score))
        live = grown
    return sorted(found, key=lambda pair: -pair[1])


@pytest.mark.parametrize("prime", ["", "ab"])
@pytest.mark.parametrize("which", ["model", "records"])
def test_a_wide_beam_finds_the_most_probable_texts(request, kernels, which, prime):
    model = request.getfixturevalue(which)
    expected = exhaustive(model, 3, prime)
    found = model.beam_search(3, n_best=5, width=1000, prime=prime)
    assert [text for text, _ in found] == [text for text, _ in expected[:5]]
    np.testing.assert_allclose(
        [score for _, score in found], [score for _, score in expected[:5]], rtol=1e-5
    )
    everything = model.beam_search(3, n_best=1000, prime=prime)
    assert {text for text, _ in everything} == {text for text, _ in expected}
    np.testing.assert_allclose(
        [score for _, score in everything], [score for _, score in expected], rtol=1e-5
    )


def test_scores_of_beams_are_those_of_log_probs(model, records):
    for one in (model, records):
        for text, score in one.beam_search(20, n_best=4):
            assert score == pytest.approx(one.log_probs(text).sum(), rel=1e-5)
    assert model.beam_search(30, width=1)[0][0] == model.generate(30, temperature=0)  # greedy


def test_beams_obey_the_controls(model, records):
    assert set(
        "".join(text for text, _ in model.beam_search(6, n_best=3, allowed="adg", forbidden="g"))
    ) <= set("ad")
    assert all(len(text) >= 4 for text, _ in records.beam_search(9, n_best=9, min_length=4))
    assert model.beam_search(0) == [("", 0.0)]
    for options, message in [
        ({"n_best": 0}, "n_best must be"),
        ({"n_best": 5, "width": 4}, "width must be from 5"),
        ({"min_length": 7}, "min_length must be at most"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.beam_search(6, **options)


def test_a_model_of_bytes_writes_bytes():
    rnn = RNN(6, 256, 4, 0.1, seed=0)
    model = CharRNN(rnn, Vocabulary.all_bytes(), History())
    text = model.generate(60, seed=1)
    assert isinstance(text, bytes)
    assert len(text) == 60
    assert b"".join(model.stream(60, seed=1, stop=[b"\xff\xff\xff"])) == text
    assert model.generate(60, seed=1, stop=text[20:22]) == text[:20]
    assert set(model.generate(60, allowed=b"\x00\x01", seed=1)) == {0, 1}
    assert isinstance(model.beam_search(4, prime=b"x")[0][0], bytes)


QUESTION = "to be, or not to be, that is the question\n" * 9


@pytest.mark.clock
def test_a_stream_costs_at_most_three_times_as_much_a_character():
    model = plain.train_text(QUESTION, steps=1)
    calls = [lambda: model.generate(50_000, seed=1), lambda: "".join(model.stream(50_000, seed=1))]
    times, texts = ([], []), set()
    for _ in range(5):
        for call, took in zip(calls, times, strict=True):
            began = time.process_time()
            texts.add(call())
            took.append(time.process_time() - began)
    assert len(texts) == 1
    assert min(times[1]) < 3 * min(times[0])


@pytest.mark.parametrize(
    "controls",
    [
        {},
        {"stop": "e "},
        {"stop": ["t t", "q"], "min_length": 300},
        {"no_repeat": 6},
        {"top_p": 0.5},
    ],
    ids=str,
)
@pytest.mark.parametrize("length", [0, 1, 999, 3000])
def test_a_stream_has_the_characters_of_generate(controls, length):
    model = plain.train_text(QUESTION, hidden_size=4, epochs=3)
    if controls.get("min_length", 0) <= length:
        characters = list(model.stream(length, seed=3, **controls))
        assert set(map(len, characters)) <= {1}
        assert "".join(characters) == model.generate(length, seed=3, **controls)


@pytest.mark.clock
def test_an_endless_stream_draws_little_ahead():
    model = plain.train_text("to be, or not to be\n" * 9, hidden_size=500, steps=1)
    characters = model.stream(seed=1)
    began = time.process_time()
    first = next(characters)
    assert time.process_time() - began < 0.1
    assert first + "".join(itertools.islice(characters, 50)) == model.generate(51, seed=1)
