"""What auto plans for a model that trains further."""

import copy

import numpy as np
import pytest

import charrnn
import plain
from charrnn.data.dataset import Records
from charrnn.datasets import names, python_docs
from plain import weights

SMALL = {"hidden_size": 16, "progress": False}
OLD, UNSEEN, BACKWARDS = names()[::3], names()[1::3], [name[::-1] for name in names()[2::3]]
NEW, OTHERS = BACKWARDS[:30], BACKWARDS[30:]


@pytest.fixture(scope="module")
def of_records():
    return charrnn.train_records(OLD, epochs=8, **SMALL)


@pytest.fixture(scope="module")
def of_text():
    return charrnn.train_text(python_docs()[:3000].lower(), steps=30, **SMALL)


def further(model, *arguments, **options):
    twin = copy.deepcopy(model)
    method = twin.train_records if model.vocabulary.records else twin.train_text
    return method(*arguments, **{"progress": False, "extend": True, **options})


def test_a_few_strings_help_and_the_old_ones_stay_good(of_records):
    def bits(model, strings):
        return model.score_many(strings, on_unknown="surprise").mean()

    model, fresh = further(of_records, NEW), charrnn.train_records(NEW, **SMALL)
    assert bits(model, OTHERS) < 0.97 * bits(fresh, OTHERS)
    assert bits(model, UNSEEN) < 1.05 * bits(of_records, UNSEEN)
    forgetful = further(of_records, NEW, epochs=20, batch_size=1)
    assert bits(forgetful, UNSEEN) > 1.05 * bits(of_records, UNSEEN)


def test_it_plans_only_where_nothing_else_does(of_records):
    before = of_records.recipe
    plan = further(of_records, NEW).recipe
    assert plan["learning_rate"] == 0.01 < before["learning_rate"]
    assert (plan["schedule"], plan["refit"], plan["keep"], plan["epochs"]) == (
        "cosine",
        True,
        "last",
        2,
    )
    for name, value in {
        "epochs": 2,
        "steps": 5,
        "learning_rate": 0.02,
        "schedule": "linear",
    }.items():
        found = further(of_records, NEW, **{name: value}).recipe
        assert (found[name], found["refit"]) == (value, False)
        found = further(of_records, NEW, preset="auto", **{name: value}).recipe
        assert (found[name], found["batch_size"]) == (value, plan["batch_size"])


def test_new_characters_are_learned_faster_and_for_longer(of_text):
    known, new = (
        further(of_text, "to be or not to be " * 40).recipe,
        further(of_text, "БЫТЬ ИЛИ НЕ БЫТЬ, " * 42, extend=True).recipe,
    )
    assert known["learning_rate"] == 0.01 < new["learning_rate"] == 0.02
    assert known["epochs"] == 15 < new["epochs"] <= 30
    again = plain.train_text("abc " * 99, steps=1)
    assert further(again, "cab " * 99).recipe["learning_rate"] == 0.05


def test_much_text_is_learned_as_by_a_new_model(of_text):
    few, much = (further(of_text, "to be or not to be " * n).recipe for n in (250, 270))
    assert few["learning_rate"] == 0.01 < much["learning_rate"] == of_text.recipe["learning_rate"]
    assert few["epochs"] == 15 < much["epochs"] == 30


def test_counts_recall_the_old_strings_to_rehearse(of_records):
    def written(model):
        records = Records.from_strings(NEW, known=model.vocabulary)
        found = charrnn.model._written(model._state, records, {})
        return [*map(model.vocabulary.decode, np.split(found.ids, found.lengths.cumsum()[:-1]))]

    assert np.mean([text in OLD for text in written(of_records)]) > 0.95
    dropped = charrnn.train_records(OLD, steps=100, min_count=2, **SMALL)
    assert written(dropped) == dropped.generate_many(4 * len(NEW), 99, seed=0, whole=True)


def test_new_text_of_another_kind_weighs_more_in_the_counts(of_records):
    def weight(new):  # of names that begin with z, of which there are few
        counts = further(of_records, new, rehearse=False, preset="auto", epochs=1).mixture.counts
        level = counts.levels[1]
        z = counts.levels[0].symbols.tolist().index(of_records.vocabulary.chars.index("z"))
        return level.counts[level.parents == z].sum()

    other = ["".join("zxqvj"[(i // 5**k) % 5] for k in range(6)) for i in range(0, 9000, 450)]
    assert weight(other) > 3 * sum(name.count("z") for name in other) / 2


def test_what_it_writes_is_rehearsed(of_records, of_text, monkeypatch):
    for model, new in ((of_records, NEW), (of_text, "to be or not to be " * 9)):
        assert weights(further(model, new)) == weights(further(model, new, rehearse=True))
        assert weights(further(model, new)) != weights(further(model, new, rehearse=False))
    monkeypatch.setattr(charrnn.CharRNN, "_each", lambda *_, **__: iter(["", ""]))
    assert weights(further(of_records, NEW)) == weights(further(of_records, NEW, rehearse=False))


def test_a_resumed_plan_has_the_bits_of_an_uninterrupted_one(of_records, tmp_path):
    whole, path = further(of_records, NEW), tmp_path / "checkpoint"
    further(of_records, NEW, checkpoint=path, callback=lambda progress: True)
    assert weights(further(of_records, NEW, resume=path)) == weights(whole)


def test_the_progress_says_what_was_planned(of_records, capsys):
    further(of_records, NEW, progress=True)
    assert "charrnn: rate 0.01, 9 streams, 2 epochs, " in capsys.readouterr().err
    further(of_records, NEW, epochs=1, progress=True)
    assert "charrnn:" not in capsys.readouterr().err
