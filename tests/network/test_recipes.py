import math
from typing import get_args

import numpy as np
import pytest

import charrnn
from charrnn.network import recipes
from charrnn.network._types import CELLS, OPTIMIZERS
from charrnn.network.recipes import Schedule
from charrnn.storage import model_file as persistence
from charrnn.training import fit as training

TEXT = "to be, or not to be, that is the question. " * 20


def test_the_names_are_those_of_the_engine():
    assert get_args(recipes.Cell) == CELLS
    assert get_args(recipes.Optimizer) == OPTIMIZERS
    assert set(recipes.BY_OPTIMIZER) == set(persistence._MEMORIES) == set(OPTIMIZERS)
    assert set(get_args(recipes.Preset)) == set(recipes.PRESETS)


def test_powers_are_products():
    assert [recipes.power(0.5, n) for n in range(4)] == [1, 0.5, 0.25, 0.125]
    assert recipes.power(0.97, 1000) == pytest.approx(0.97**1000, rel=1e-12)
    assert recipes.power(1.0, 2**62) == 1


def test_the_cosine_is_right_to_rounding():
    x = np.linspace(0, 1, 1001)
    np.testing.assert_allclose(recipes._cosine(x), np.cos(np.pi * x), rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("constant", [1, 1, 1]), ("linear", [1, 0.51, 0.02]), ("cosine", [1, 0.51, 0.02])],
)
def test_a_schedule_falls_over_the_budget(name, expected):
    np.testing.assert_allclose(Schedule(name).factors(0, [0, 50, 100], [0, 0.5, 1]), expected)


def test_a_schedule_rises_first_and_decays_by_passes():
    np.testing.assert_allclose(Schedule(warmup=4).factors(0, range(6), np.zeros(6)), [0.25, 0.5, 0.75, 1, 1, 1])
    np.testing.assert_allclose(Schedule("linear", 4, 0.5).factors(3, [1], [0.5]), [0.5**3 * 0.5 * 0.51])


def rates_of(monkeypatch, **options):
    """The learning rates of the steps of a training, in order."""
    found = []
    train_steps = charrnn.network.Network.train_steps

    def watched(self, *arguments, rate, **others):
        losses = train_steps(self, *arguments, rate=rate, **others)
        found.extend(np.broadcast_to(rate, len(losses)).tolist())
        return losses

    monkeypatch.setattr(charrnn.network.Network, "train_steps", watched)
    charrnn.train_text(TEXT, hidden_size=4, learning_rate=0.1, progress=False, validation_fraction=0, **options)
    return np.array(found)


def test_the_rate_follows_whichever_budget_is_nearest(monkeypatch):
    windows = -(-(len(TEXT) - 1) // 25)
    by_steps = rates_of(monkeypatch, steps=40, schedule="linear")
    np.testing.assert_allclose(by_steps, 0.1 * (1 - 0.98 * np.arange(40) / 40))
    by_epochs = rates_of(monkeypatch, epochs=2, schedule="cosine", warmup=5)
    assert len(by_epochs) == 2 * windows
    expected = 0.1 * (0.02 + 0.98 * (0.5 + 0.5 * np.cos(np.pi * np.arange(2 * windows) / (2 * windows))))
    np.testing.assert_allclose(by_epochs[5:], expected[5:])
    np.testing.assert_allclose(by_epochs[:5], expected[:5] * np.arange(1, 6) / 5)


@pytest.mark.clock
def test_the_rate_follows_a_budget_of_seconds(monkeypatch):
    by_time = rates_of(monkeypatch, seconds=0.2, schedule="linear")
    assert (np.diff(by_time) <= 0).all()
    assert by_time[-1] < 0.05


def test_defaults_follow_the_optimiser():
    for optimizer, expected in recipes.BY_OPTIMIZER.items():
        _, settings, _ = training.split({"optimizer": optimizer})
        assert {name: settings[name] for name in expected} == expected
    _, settings, _ = training.split({"optimizer": "adam", "clip_norm": math.inf, "learning_rate": None})
    assert (settings["clip_norm"], settings["learning_rate"]) == (math.inf, recipes.BY_OPTIMIZER["adam"]["learning_rate"])


def test_what_is_given_counts_more_than_a_preset():
    layers, settings, rest = training.split({"preset": "large", "hidden_size": 7, "n_layers": 3, "epochs": 2, "learning_rate": None})
    assert layers == [("lstm", 7)] * 3
    assert (rest["epochs"], rest["steps"]) == (2, None)
    assert settings["learning_rate"] == recipes.PRESETS["large"]["learning_rate"]
    assert training.split({"preset": "tutorial"}) == training.split({})


@pytest.mark.parametrize("preset", recipes.PRESETS)
def test_every_preset_trains(preset):
    model = charrnn.train_text(TEXT, preset=preset, steps=2, progress=False)
    assert model.history.steps == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "tree"}, "cell must be 'rnn', 'gru' or 'lstm', not 'tree'"),
        ({"optimizer": "newton"}, "optimizer must be 'adagrad', 'sgd', 'rmsprop' or 'adam', not 'newton'"),
        ({"schedule": "cosin"}, "schedule must be .* did you mean cosine"),
        ({"preset": "huge"}, "preset must be"),
        ({"n_layers": 0}, "n_layers must be from 1 to 16, not 0"),
        ({"n_layers": 17}, "n_layers must be from 1 to 16, not 17"),
        ({"dropout": 1.0}, "dropout must be"),
        ({"dropout": -0.1}, "dropout must be"),
        ({"weight_decay": -1}, "weight_decay must be"),
        ({"clip_norm": 0}, "clip_norm must be"),
        ({"warmup": -1}, "warmup must be"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        charrnn.train_text(TEXT, progress=False, steps=1, **options)


class Alike(str):
    """A str that claims to be equal to every other."""

    __slots__ = ()

    def __eq__(self, other):
        return True

    __hash__ = str.__hash__


@pytest.mark.parametrize("name", ["alphabet", "cell", "keep", "optimizer", "preset", "schedule"])
@pytest.mark.parametrize("value", [np.array(["a", "b"]), Alike("tree"), 3, b"gru", ["gru"]])
def test_a_choice_is_named_whatever_comes(name, value):
    with pytest.raises(ValueError, match=f"{name} must be '.* or '.*', not "):
        charrnn.train_text(TEXT, progress=False, steps=1, **{name: value})


def test_a_choice_may_be_a_str_of_numpy():
    options = {
        name: np.array([value])[0] for name, value in {"cell": "gru", "optimizer": "adam", "schedule": "cosine", "keep": "last"}.items()
    }
    model = charrnn.train_text(TEXT, progress=False, steps=1, **options)
    assert (model.network.description.layers[0].cell, model.network.optimizer) == ("gru", "adam")
    model.train_text(TEXT, progress=False, steps=1, optimizer=np.array(["sgd"])[0])
    assert model.network.optimizer == "sgd"
    with pytest.raises(ValueError, match="optimizer must be"):
        model.train_text(TEXT, progress=False, steps=1, optimizer=np.array(["sgd", "adam"]))


def test_too_large_a_network_says_what_it_asks_for():
    with pytest.raises(MemoryError, match=r"no memory for an array of shape .* GiB"):
        charrnn.train_text(TEXT, progress=False, steps=1, cell="lstm", hidden_size=65536, n_layers=16)
