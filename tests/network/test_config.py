import math
from typing import get_args

import numpy as np
import pytest

import charrnn
import plain
from charrnn.network import config
from charrnn.network._types import CELLS, OPTIMIZERS
from charrnn.storage import model_file as persistence

TEXT = "to be, or not to be, that is the question. " * 20


def test_the_names_are_those_of_the_engine():
    assert get_args(config.Cell) == CELLS
    assert get_args(config.Optimizer) == OPTIMIZERS
    assert set(config.BY_OPTIMIZER) == set(persistence._OPTIMIZER_STATE) == set(OPTIMIZERS)
    assert set(get_args(config.Preset)) == set(config.PRESETS)


def test_defaults_follow_the_optimiser():
    for optimizer, expected in config.BY_OPTIMIZER.items():
        _, settings, _ = config.split({"optimizer": optimizer})
        assert {name: settings[name] for name in expected} == expected
    _, settings, _ = config.split(
        {"optimizer": "adam", "clip_norm": math.inf, "learning_rate": None}
    )
    assert (settings["clip_norm"], settings["learning_rate"]) == (
        math.inf,
        config.BY_OPTIMIZER["adam"]["learning_rate"],
    )


def test_what_is_given_counts_more_than_a_preset():
    layers, settings, rest = config.split(
        {"preset": "large", "hidden_size": 7, "n_layers": 3, "epochs": 2, "learning_rate": None}
    )
    assert layers == [("lstm", 7)] * 3
    assert (rest["epochs"], rest["steps"]) == (2, None)
    assert settings["learning_rate"] == config.PRESETS["large"]["learning_rate"]
    assert config.split({"preset": "tutorial"}) == config.split({})


def test_presets_round_products_unless_the_network_is_float64():
    for options, precision in [
        ({}, "bfloat16"),
        ({"precision": "float32"}, "float32"),
        ({"dtype": "float64"}, "float32"),
        ({"dtype": np.dtype("float64")}, "float32"),  # of a model that trains further
    ]:
        _, settings, _ = config.split({"preset": "small", **options})
        assert settings["precision"] == precision, options


@pytest.mark.parametrize("preset", config.PRESETS)
def test_every_preset_trains(preset):
    model = charrnn.train_text(TEXT, preset=preset, steps=2, progress=False)
    assert model.history.steps == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "tree"}, "cell must be 'rnn', 'gru' or 'lstm', not 'tree'"),
        (
            {"optimizer": "newton"},
            "optimizer must be 'adagrad', 'sgd', 'rmsprop' or 'adam', not 'newton'",
        ),
        ({"schedule": "cosin"}, "schedule must be .* did you mean cosine"),
        ({"preset": "huge"}, "preset must be"),
        ({"n_layers": 0}, "n_layers must be from 1 to 16, not 0"),
        ({"n_layers": 17}, "n_layers must be from 1 to 16, not 17"),
        ({"dropout": 1.0}, "dropout must be"),
        ({"dropout": -0.1}, "dropout must be"),
        ({"weight_decay": -1}, "weight_decay must be"),
        ({"precision": "bf16"}, "precision must be 'float32' or 'bfloat16', not 'bf16'"),
        ({"clip_norm": 0}, "clip_norm must be"),
        ({"warmup": -1}, "warmup must be"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        charrnn.train_text(TEXT, progress=False, steps=1, **{"preset": "tutorial", **options})


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
        charrnn.train_text(TEXT, progress=False, steps=1, **{"preset": "tutorial", name: value})


def test_a_choice_may_be_a_str_of_numpy():
    options = {
        name: np.array([value])[0]
        for name, value in {
            "cell": "gru",
            "optimizer": "adam",
            "schedule": "cosine",
            "keep": "last",
        }.items()
    }
    model = plain.train_text(TEXT, steps=1, **options)
    assert (model.network.description.layers[0].cell, model.network.optimizer) == ("gru", "adam")
    model.train_text(TEXT, progress=False, steps=1, optimizer=np.array(["sgd"])[0])
    assert model.network.optimizer == "sgd"
    with pytest.raises(ValueError, match="optimizer must be"):
        model.train_text(TEXT, progress=False, steps=1, optimizer=np.array(["sgd", "adam"]))


def test_too_large_a_network_says_what_it_asks_for():
    with pytest.raises(MemoryError, match=r"no memory for an array of shape .* GiB"):
        plain.train_text(TEXT, steps=1, cell="lstm", hidden_size=65536, n_layers=16)
