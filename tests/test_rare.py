"""Rare characters: they share one symbol, which is read and scored, but never written."""

import copy
import math
import random

import numpy as np
import pytest

import charrnn
import charrnn.testing
from charrnn import Vocabulary, cli
from charrnn.data import files
from charrnn.data.dataset import Records, Text
from charrnn.inference import ranking
from charrnn.inference.codec import _Guide
from charrnn.training import recipe

ODD = "".join(map(chr, range(0x4E00, 0x4E14)))  # each occurs a few times
_RNG = random.Random(0)
TEXT = "".join("a han or a hanna "[: _RNG.randint(3, 17)] + _RNG.choice(ODD) for _ in range(80))
NAMES = ["ana", "anna", "hanna"] * 4 + [f"an{char}" for char in ODD]
OPTIONS = {"preset": "tutorial", "hidden_size": 12, "steps": 40, "seq_length": 8, "progress": False}


def text_model(ngram=2, **options):
    return charrnn.train_text(TEXT, min_char_count=15, ngram=ngram, **OPTIONS, **options)


def record_model(**options):
    return charrnn.train_records(NAMES, min_char_count=3, **OPTIONS, **options)


MODELS = {"text": text_model(), "records": record_model(remember=True)}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]


def test_a_vocabulary_has_one_id_for_rare_characters():
    v = Vocabulary("ab\ufffdc", rare="é☃")
    assert v.encode("aé☃\ufffdc").tolist() == [0, 2, 2, 2, 3]
    assert v.decode([0, 2, 3]) == "a\ufffdc"
    assert (v.chars, v.rare, v.rare_id, len(v), v.symbols) == ("ab\ufffdc", "é☃", 2, 4, 4)
    assert "☃" in v
    assert "x" not in v
    assert v != Vocabulary("ab\ufffdc")
    assert v.extended("☃x") == Vocabulary("ab\ufffdcx", rare="é☃")
    assert Vocabulary("abcd").with_rare("bd") == Vocabulary("ac\ufffd", rare="bd")
    assert Vocabulary("a\ufffdbc").with_rare("c") == Vocabulary("a\ufffdb", rare="c")
    with pytest.raises(ValueError, match=r"nor is 'y'") as error:
        v.encode("xé☃y")
    assert "☃" not in str(error.value)


@pytest.mark.parametrize(
    ("chars", "rare"), [("ab", "c"), ("ab\ufffd", "b"), ("ab\ufffd", "cc"), ("ab\ufffd", "\ud800")]
)
def test_a_wrong_vocabulary_is_refused(chars, rare):
    with pytest.raises(ValueError, match=r"U\+FFFD|distinct|surrogate"):
        Vocabulary(chars, rare=rare)


def test_probabilities_of_all_characters_sum_to_1(model):
    v = model.vocabulary
    assert set(v.rare) == set(ODD)
    characters = sorted({*v.chars, *v.rare})
    for prefix in ("", "an", f"a{ODD[3]}n"):
        texts = [prefix + char for char in characters]
        for one in (
            lambda text: model.log_probs(text),
            lambda text: -model.trace(text).surprise * math.log(2),
        ):
            total = sum(math.exp(one(text)[len(prefix)]) for text in texts)
            end = model.next_probs(prefix)[-1] if v.records else 0.0
            assert total + end == pytest.approx(1, abs=1e-5)
        totals = model.score_many(texts, total=True, end=False)
        bits = [-model.log_probs(text)[: len(text)].sum() / math.log(2) for text in texts]
        np.testing.assert_allclose(totals, bits, rtol=1e-12)
        np.testing.assert_array_equal(
            totals, [model.score(text, total=True, end=False) for text in texts]
        )


def test_a_model_that_learns_charges_the_same(model):
    text = f"an{ODD[0]}n"
    read = model.log_probs(text)
    np.testing.assert_allclose(model.log_probs(text, adapt=True)[:3], read[:3], rtol=0.2)
    assert read[2] < math.log(model.next_probs("an")[model.vocabulary.rare_id]) - 3


@pytest.mark.parametrize("case", MODELS)
def test_an_unknown_character_costs_as_much_as_the_least_likely(case):
    model = text_model(ngram=0) if case == "text" else MODELS[case]
    v = model.vocabulary
    for prefix in ("", "an", "anna"):
        for adapt in (False, True):
            each = [
                model.log_probs(prefix + char, adapt=adapt)[len(prefix)]
                for char in v.chars + v.rare
            ]
            least = min(each)
            found = model.log_probs(f"{prefix}☃", on_unknown="surprise", adapt=adapt)[len(prefix)]
            assert found == pytest.approx(least, rel=1e-5)


def test_rare_characters_are_never_written(model):
    hot = {"temperature": 3.0, "prime": f"a{ODD[1]}"}
    found = [*model.generate_many(20, 100, seed=1, **hot), "".join(model.stream(50, seed=1, **hot))]
    found += model.generate_many(5, 30, seed=1, allowed=f"an{ODD}\ufffd")
    found += [text for text, _ in model.beam_search(4, n_best=9)]
    found += [text for text, _ in model.likeliest(500, max_length=4)]
    assert not {*"".join(found)} & {"\ufffd", *ODD}
    with pytest.raises(ValueError, match="leave no character"):
        model.generate(3, allowed=ODD)


@pytest.mark.parametrize("case", MODELS)
def test_the_model_passes_every_check(case):
    charrnn.testing.check_model(MODELS[case])


def test_a_guess_number_counts_what_the_model_writes(monkeypatch):
    for name, value in {"_EXACT": 10, "_FOLLOWED": 100, "_SAMPLES": 4000}.items():
        monkeypatch.setattr(ranking, name, value)
    model = record_model()
    likeliest = [text for text, _ in model.likeliest(3000, max_length=30)]
    places = np.array([100, 300, 1000])
    ranks = model.rank([*(likeliest[i] for i in places), "an" + ODD[0]])
    np.testing.assert_allclose(ranks.guesses[:3], places + 1, rtol=0.3)
    assert ranks.guesses[3] == ranks.low[3] == ranks.high[3] == math.inf


def test_novel_finds_records_with_rare_primes():
    model = record_model(remember=True)
    how = {"count": 9, "length": 9, "prime": f"an{ODD[0]}", "whole": True, "seed": 0}
    assert "" in model.generate_many(**how)
    assert "" not in model.generate_many(**how, novel=True)  # the record ends there, as in training


def test_a_file_of_any_size_gives_the_same_model(tmp_path, monkeypatch):
    (tmp_path / "text").write_text(TEXT, encoding="utf-8")
    options = {"min_char_count": 15, "ngram": 2, **OPTIONS}
    expected = MODELS["text"].network.weights.block
    for most in (files._IN_MEMORY, 0):
        monkeypatch.setattr(files, "_IN_MEMORY", most)
        for cache in (None, tmp_path / "cache", tmp_path / "cache"):
            found = charrnn.train_file(tmp_path / "text", cache=cache, **options)
            np.testing.assert_array_equal(found.network.weights.block, expected)
            assert found.vocabulary == MODELS["text"].vocabulary


def test_files_and_checkpoints_keep_it(model, tmp_path):
    model.save(tmp_path / "model")
    found = charrnn.load(tmp_path / "model")
    assert found.vocabulary == model.vocabulary
    assert found.recipe == model.recipe
    assert found.score(f"an{ODD[0]}") == model.score(f"an{ODD[0]}")
    train = record_model if model.vocabulary.records else text_model
    path = tmp_path / "checkpoint"
    train(checkpoint=path, epochs=1)
    np.testing.assert_array_equal(
        train(resume=path).network.weights.block, model.network.weights.block
    )
    with pytest.raises(ValueError, match="min_char_count was"):
        charrnn.train_text(TEXT, min_char_count=2, ngram=2, resume=path, **OPTIONS)


def test_further_training_adds_new_ones():
    model = text_model()
    before = model.vocabulary
    assert "z" not in before
    model.train_text(
        "zoo " * 9 + ODD[0] + "☃", extend=True, min_char_count=2, steps=3, progress=False
    )
    assert model.vocabulary == Vocabulary(before.chars + "z", rare=sorted(before.rare + "☃"))
    plain = charrnn.train_text("abc\ufffd" * 20, **OPTIONS)
    plain.train_text("abd" * 9 + "☃", extend=True, min_char_count=2, steps=3, progress=False)
    assert plain.vocabulary == Vocabulary("abc\ufffdd", rare="☃")


def test_rehearsing_reads_the_same_symbols():
    model = charrnn.train_text("abc" * 20, **OPTIONS)
    same = copy.deepcopy(model)
    options = {"extend": True, "steps": 9, "seq_length": 8, "progress": False}
    model.train_text("abd" * 9 + "☃é", rehearse="ab☃☃dé" * 9, min_char_count=2, **options)
    same.train_text("abd" * 9 + "\ufffd\ufffd", rehearse="ab\ufffd\ufffdd\ufffd" * 9, **options)
    np.testing.assert_array_equal(model.network.weights.block, same.network.weights.block)


def test_compression_knows_rare_characters(model):
    data = TEXT[:200].replace("e", "n").encode() + ODD.encode()
    assert charrnn.decompress(charrnn.compress(data, model), model) == data
    guide = _Guide(model._state)
    p = model.next_probs("")[model.vocabulary.rare_id]
    assert sum(guide.shares[guide.ids == model.vocabulary.rare_id]) == pytest.approx(
        p * 2**24, rel=0.01
    )
    for byte in ODD[0].encode():
        guide.read(byte)
    np.testing.assert_allclose(guide.network.next_probs(guide.work)[0], model.next_probs(ODD[0]))


def test_wrong_thresholds_are_refused():
    with pytest.raises(ValueError, match="no character occurs min_char_count=9999 times"):
        charrnn.train_text(TEXT, min_char_count=9999, **OPTIONS)
    with pytest.raises(ValueError, match="min_char_count is of characters"):
        charrnn.train_text(TEXT.encode(), alphabet="bytes", min_char_count=2, **OPTIONS)
    with pytest.raises(ValueError, match="min_char_count must be"):
        charrnn.train_text(TEXT, min_char_count=0, **OPTIONS)
    assert charrnn.train_text(
        TEXT * 2, min_char_count=2, **OPTIONS
    ).vocabulary == Vocabulary.from_text(TEXT)


def test_auto_chooses_it_where_many_characters_are_rare():
    many = "".join(map(chr, range(0x4E00, 0x4E00 + 2100)))
    text = "to be " * 300_000
    assert recipe.least_count(Text.from_text(text + many * 3)) == 4
    assert recipe.least_count(Text.from_text(text + many[:600] * 3)) == 1  # few characters
    assert (
        recipe.least_count(Text.from_text(text[:99_999] + many * 3)) == 1
    )  # they are a part of the text
    assert recipe.least_count(Records.from_strings([text, *many])) == 2
    options = {"hidden_size": 4, "steps": 1, "progress": False}
    text = text[:900_000] + many
    model = charrnn.train_text(text, ngram=0, **options)
    assert (len(model.vocabulary), model.recipe["min_char_count"]) == (6, 2)
    for given in ({"preset": "tutorial"}, {"min_char_count": 1, "ngram": 0}):
        assert len(charrnn.train_text(text, **given, **options).vocabulary) == 2105


def test_the_command_trains_and_describes_it(tmp_path, capsys):
    (tmp_path / "text").write_text(TEXT, encoding="utf-8")
    names = [str(tmp_path / name) for name in ("text", "model")]
    how = ["--preset", "tutorial", "--hidden-size", "4", "--steps", "2", "-q"]
    assert cli.main(["train", names[0], "-o", names[1], "--min-char-count", "15", *how]) == 0
    assert cli.main(["info", names[1]]) == 0
    assert "20 more characters share a symbol" in capsys.readouterr().out
