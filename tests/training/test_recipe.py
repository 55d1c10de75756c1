"""What preset="auto" chooses, what it holds out, and the second training on everything."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import charrnn
import plain
from charrnn.data.batches import gapped, in_pieces
from charrnn.data.dataset import Text
from charrnn.network.config import BY_PRESET
from charrnn.network.learner import Learner
from charrnn.training import loop
from charrnn.training.recipe import Amount, recipe, with_recipe
from plain import weights

TEXT = "to be, or not to be, that is the question. " * 20
NAMES = charrnn.datasets.names()[::9]


@given(
    st.integers(1, 10**10),
    st.integers(2, 70_000),
    st.integers(0, 10**6),
    st.sampled_from([{}, {"seconds": 0.5}, {"seconds": 3600.0}, {"epochs": 3}, {"steps": 70}]),
)
def test_every_amount_has_a_recipe(characters, symbols, records, given):
    amount = Amount(symbols, characters, min(records, characters))
    chosen = recipe(amount, given)
    assert chosen.keys() <= {*BY_PRESET, "steps"}
    assert not chosen.keys() & given.keys()
    assert 128 <= chosen["hidden_size"] <= 1024
    assert 0 <= chosen["dropout"] <= 0.6
    assert chosen["batch_size"] >= 1
    assert chosen.get("steps", 1) >= 1
    assert 0 < chosen["validation_fraction"] <= 0.1


def test_more_text_and_more_time_make_larger_networks():
    assert [recipe(Amount(65, n), {})["hidden_size"] for n in (3_000, 100_000)] == [128, 256]
    megabyte = Amount(65, 1_000_000)
    sizes = [recipe(megabyte, {"seconds": s})["hidden_size"] for s in (5.0, 30.0, 180.0, 1800.0)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_what_is_given_wins_and_the_rest_fits_it():
    amount = Amount(65, 1_000_000)
    small = recipe(amount, {"hidden_size": 64})
    assert small["dropout"] < 0.2  # it has no units to spare
    assert recipe(amount, {"optimizer": "sgd"}).keys() & {"learning_rate", "weight_decay"} == set()
    assert recipe(amount, {"validation_fraction": 0.3}).keys() & {"refit", "keep"} == set()
    model = charrnn.train_records(NAMES, hidden_size=9, epochs=2, seed=None, progress=False)
    assert model.recipe["hidden_size"] == 9
    assert model.recipe["epochs"] == 2
    assert model.recipe["seed"] != 0  # None is not what a preset replaces


@pytest.mark.parametrize("preset", ["tutorial", "small", None])
def test_only_auto_looks_at_the_text(preset):
    options = {"preset": preset, "hidden_size": 4}
    same = with_recipe(options, Amount(9, 99))
    assert (same is options) == (preset is not None)


@pytest.mark.parametrize(
    "options", [{}, {"preset": "tutorial", "epochs": 3}, {"epochs": 2, "ngram": 0}]
)
@pytest.mark.parametrize("records", [False, True])
def test_a_recipe_trains_the_same_model_again(options, records, tmp_path):
    train, source = (charrnn.train_records, NAMES) if records else (charrnn.train_text, TEXT)
    model = train(source, hidden_size=8, progress=False, **options)
    model.save(tmp_path / "m")
    loaded = charrnn.load(tmp_path / "m")
    assert loaded.recipe == model.recipe == copy.deepcopy(model).recipe
    assert loaded.history.estimate == model.history.estimate
    again = train(source, progress=False, **loaded.recipe)
    assert weights(again) == weights(model)
    assert again.score("to be" if not records else "ada") == model.score(
        "to be" if not records else "ada"
    )


@pytest.mark.parametrize("records", [False, True])
def test_a_refit_has_all_of_the_text_and_the_figures_of_the_first(records):
    train, source = (charrnn.train_records, NAMES) if records else (charrnn.train_text, TEXT)
    options = {
        "preset": "tutorial",
        "hidden_size": 8,
        "steps": 60,
        "ngram": 3,
        "keep": "last",
        "progress": False,
    }
    refit = train(source, refit=True, **options)
    first = train(source, **options)
    whole = train(source, validation_fraction=0, **options)
    assert weights(refit) == weights(whole) != weights(first)
    assert refit.history.estimate == first.history.estimate
    assert refit.mixture[1:] == first.mixture[1:] != whole.mixture[1:]
    assert refit.history.validation_losses == []
    np.testing.assert_equal(refit.mixture.counts.arrays(), whole.mixture.counts.arrays())


REFIT = {
    "preset": "tutorial",
    "hidden_size": 8,
    "epochs": 3,
    "ngram": 3,
    "keep": "last",
    "refit": True,
    "progress": False,
}


def interrupt(place, monkeypatch):
    """Have the next refit end with Ctrl-C in its first or its second training; return options."""
    if place == "second":
        return {"callback": refuse}
    measured, validate = iter("12"), loop.validate
    monkeypatch.setattr(
        loop, "validate", lambda *some: validate(*some) if next(measured, None) else refuse()
    )
    return {}


def refuse(_=None):
    raise KeyboardInterrupt


@pytest.mark.parametrize("place", ["first", "second"])
def test_an_interrupted_refit_leaves_a_trained_model_and_can_be_resumed(
    place, monkeypatch, tmp_path
):
    whole = charrnn.train_text(TEXT, **REFIT)
    with monkeypatch.context() as patch, pytest.raises(charrnn.TrainingInterrupted) as ended:
        charrnn.train_text(TEXT, checkpoint=tmp_path / "c", **REFIT, **interrupt(place, patch))
    model = ended.value.model
    assert model.history.stop_reason == {"first": "interrupted", "second": "epochs"}[place]
    assert model.history.steps > 20
    assert model.mixture.counts.order == 3
    assert model.history.estimate < np.log(len(model.vocabulary))
    resumed = charrnn.train_text(TEXT, resume=tmp_path / "c", checkpoint=tmp_path / "c", **REFIT)
    assert weights(resumed) == weights(whole)
    assert resumed.history.estimate == whole.history.estimate


@pytest.mark.parametrize("error", [charrnn.DivergedError, RuntimeError])
def test_after_an_error_in_the_second_training_the_model_is_as_before(error):
    model = plain.train_text(TEXT, hidden_size=8, steps=3)
    before = weights(model)

    def fail(_):
        raise error

    options = {"refit": True, "epochs": 3, "progress": False, "callback": fail}
    with pytest.raises(error) as raised:
        model.train_text(TEXT, **options)
    assert raised.value.model is model
    assert (weights(model) == before) == (error is charrnn.DivergedError)


def test_a_refit_is_chosen_if_the_budget_is():
    amount = Amount(65, 10_000)
    assert recipe(amount, {})["refit"]
    assert [recipe(amount, {"seconds": s})["refit"] for s in (0.1, 1e4)] == [False, True]
    assert not any(recipe(amount, {name: 1})["refit"] for name in ("epochs", "steps"))


@pytest.mark.parametrize("options", [{"keep": "best"}, {"patience": 3}])
def test_a_refit_has_nothing_to_choose_the_best_by(options):
    with pytest.raises(
        ValueError, match="refit=True trains on the whole text in the end: leave out"
    ):
        plain.train_text(TEXT, refit=True, steps=3, **options)


def test_the_estimate_is_of_the_weights_that_are_kept():
    model = plain.train_text(TEXT, epochs=3)
    assert model.history.estimate == model.history.kept.validation_nll
    assert plain.train_text(TEXT, steps=3, validation_fraction=0).history.estimate is None


@given(st.integers(9, 400), st.floats(0.01, 0.5), st.integers(1, 9), st.integers(1, 5))
def test_each_character_is_trained_on_or_held_out(n, fraction, pieces, batch_size):
    text = Text.from_text("".join(chr(200 + i) for i in range(n)))
    learner = Learner([("rnn", 2)], n, seq_length=7, batch_size=batch_size)
    train, held_out = text.streams(learner, fraction, 0, pieces)
    seen = np.concatenate(list(train.sequences()))
    expected = np.arange(n)
    if held_out is not None:
        kept_back = np.concatenate(list(held_out.sequences())).reshape(pieces, -1)
        assert (np.diff(kept_back, axis=1) == 1).all()
        assert kept_back.size == int(n * fraction) // pieces * pieces
        expected = np.setdiff1d(expected, kept_back)
    np.testing.assert_array_equal(text.ids[np.sort(seen)], expected)
    _, targets = train.read(0, train.windows)
    found = np.sort(targets[targets >= 0])
    np.testing.assert_array_equal(found, seen[1:])


def test_ids_without_pieces_are_read_some_at_a_time():
    ids = np.arange(60)
    found = gapped(ids, keep=8, gap=2, pieces=5)
    expected = np.array([i for i in range(60) if i % 10 < 8 or i >= 50])
    assert len(found) == len(expected)
    np.testing.assert_array_equal(np.concatenate(list(in_pieces(found))), expected)
