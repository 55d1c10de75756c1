"""Ranks against an exact enumeration: how far off they are, and how often their intervals are
right.
"""

import random

import numpy as np
import pytest

import charrnn
import plain
from charrnn.inference import ranking


@pytest.fixture(scope="module")
def names():
    strings = charrnn.datasets.names()
    random.Random(0).shuffle(strings)
    return plain.train_records(strings, epochs=2)


@pytest.fixture(scope="module")
def ordered(names):
    return [text for text, _ in names.likeliest(100_000)]


def test_the_most_probable_strings_get_their_numbers(names, ordered):
    ranks = names.rank(ordered[:20_000])
    places = np.arange(1, 20_001)
    assert (ranks.guesses <= places).all()  # equally probable ones get the first's number
    assert (ranks.guesses == places).mean() > 0.99
    assert ranks.low.tolist() == ranks.guesses.tolist() == ranks.high.tolist()


def test_estimates_are_close_and_their_intervals_right(names, ordered, monkeypatch):
    monkeypatch.setattr(ranking, "_EXACT", 100)  # the others are estimated
    places = np.random.default_rng(0).choice(np.arange(200, 100_000), 50, replace=False)
    strings, inside, off = [ordered[place] for place in places], [], []
    for seed in range(20):
        ranks = names.rank(strings, seed=seed)
        inside.append((ranks.low <= places + 1) & (places + 1 <= ranks.high))
        off.append(np.abs(ranks.guesses / (places + 1) - 1))
    assert np.median(off) < 0.05
    assert 0.93 < np.mean(inside) <= 1  # of 1,000 trials


def test_what_the_model_never_writes_has_no_rank(names):
    ranks = names.rank(["anna", "Anna", "", "zqxjkvwzqxjkvwzqxjkvw"])
    assert (
        ranks.guesses[1:3].tolist()
        == ranks.low[1:3].tolist()
        == ranks.high[1:3].tolist()
        == [np.inf, np.inf]
    )
    assert 0 < ranks.low[3] <= ranks.guesses[3] <= ranks.high[3]
    assert ranks.high[3] <= np.exp(-names.log_probs("zqxjkvwzqxjkvwzqxjkvw").sum())
    assert len(names.rank([]).guesses) == 0


def test_the_table_is_built_once_for_each_seed_and_training(names, monkeypatch):
    built, build = [], ranking.RankTable.build.__func__
    monkeypatch.setattr(
        ranking.RankTable, "build", classmethod(lambda *given: built.append(given) or build(*given))
    )
    monkeypatch.setattr(ranking, "_SAMPLES", 100)
    monkeypatch.setattr(ranking, "_EXACT", 10)
    model = charrnn.CharRNN._from_state(names._state)
    first = model.rank(["annabella"])
    assert model.rank(["annabella"]) == first
    assert len(built) == 1
    assert model.rank(["annabella"], seed=1) != first
    assert model.rank(["annabella"]) == first
    model.train_records(["annabella"], steps=1, progress=False)
    assert model.rank(["annabella"]) != first
    assert len(built) == 4


def test_wrong_arguments_are_named(names):
    with pytest.raises(
        TypeError, match="strings must be a sequence of str, not one: rank takes a list"
    ):
        names.rank("anna")
    with pytest.raises(TypeError, match=r"strings\[1\] must be a str, not int"):
        names.rank(["anna", 3])
    with pytest.raises(ValueError, match="seed must be from 0"):
        names.rank(["anna"], seed=-1)
    with pytest.raises(ValueError, match="a model of text: only whole records have a rank"):
        plain.train_text("to be " * 9, steps=1).rank(["to"])


def test_strings_that_take_more_guesses_than_there_are_numbers(monkeypatch):
    """Found by make differential: the square of such a number is none."""
    for name, value in {"_EXACT": 16, "_FOLLOWED": 64, "_SAMPLES": 64, "_CHARACTERS": 4000}.items():
        monkeypatch.setattr(ranking, name, value)
    long = "".join(map(chr, range(200, 600)))
    model = plain.train_records([long], hidden_size=3, steps=1, seed=0)
    found = model.rank([long[:3], long, long * 2])
    assert (np.diff(found.guesses) >= 0).all()
    assert (found.low <= found.guesses).all()
    assert (found.guesses <= found.high).all()
    assert np.isfinite(found.guesses).all()
