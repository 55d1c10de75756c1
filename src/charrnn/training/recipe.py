"""What preset="auto" chooses: an LSTM, counts beside it, and how long to train, for each text.

For a model that trains further it chooses how much to learn without forgetting the old text.

The constants come from two studies, benchmarks/recipes.py and further.py; docs/howto/sizes.md and
train.md have their tables. A short text is read many times by a small network that drops much, and
is trained on twice: first to measure, then on all of it. The longer the text and the time, the
larger the network.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, get_args

import numpy as np

from ..data.batches import in_pieces
from ..data.dataset import Records, Text, character_counts, times
from ..network._types import Description
from ..network.config import ADAM, BUDGETS, LayerOptions, NewOptions, Preset
from ..network.counts import MAX_ORDER
from ..network.learner import Learner
from ..util.errors import check_choice
from ..util.options import defaults, table
from ..util.progress import counted

_SECONDS = 25.0  # the default budget, on two cores
_SPEED = 2.2e11  # floating-point operations a second of two cores, in training
_SIZES = 1024, 768, 512, 384, 256, 192, 128  # units
_WINDOW = 64  # time steps
_MOST_PASSES = 30.0  # over the text
_SHORT, _LONG = 30_000, 500_000  # characters
_HELD_OUT, _PIECES = 20_000, 8  # characters at most
_MANY, _RARE = 2048, 0.004  # characters of an alphabet; share of the text that is rare
_FURTHER_RATES = {"adagrad": 0.05, "adam": 0.01}  # at most, for little text of known characters
_MUCH = 5_000  # characters that are learned like those of a new model
_PLANS = {"learning_rate", "optimizer", "schedule", *BUDGETS}  # each is a plan of further training
_MEASURES = {"validation_fraction", "validation_pieces", "keep", "patience", "refit"}


def is_auto(options: Mapping[str, Any]) -> bool:
    """Return whether these options have preset="auto", the default."""
    preset = options.get("preset")
    preset = "auto" if preset is None else preset
    return check_choice("preset", preset, get_args(Preset)) == "auto"


def least_count(source: Text | Records) -> int:
    """Return how often a character must occur to have a symbol of its own."""
    if len(source.vocabulary) < _MANY:
        return 1
    counts = np.sort(character_counts(source))
    first = counts[np.searchsorted(np.cumsum(counts), _RARE * source.characters)]
    rare = counts[counts < first]  # that is the first of which there are too many
    return int(rare[-1]) + 1 if 2 * len(rare) >= len(counts) else 1


class Amount(NamedTuple):
    """How much text there is: symbols, characters with the end of each record, and records."""

    symbols: int
    characters: int
    records: int = 0

    @classmethod
    def of(cls, source: Text | Records) -> "Amount":
        """Return the amount of a text, or of records."""
        return cls(source.vocabulary.symbols, source.characters, source.records)

    @property
    def length(self) -> float:
        """Characters of a record, or of a window if that is less."""
        return min(self.characters / self.records, _WINDOW) if self.records else _WINDOW


def with_recipe(options: Mapping[str, Any], amount: Amount) -> Mapping[str, Any]:
    """Return options with what preset="auto", the default, chooses beside them."""
    if not is_auto(options):
        return options
    given = _given(options)
    chosen = recipe(amount, given)
    return {**options, **chosen, **given}


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are given, checked, but the preset."""
    known, given = table(NewOptions), {}
    for name, value in options.items():
        if value is not None and name != "preset":
            given[name] = known[name].check(value) if name in known else value
    return given


def recipe(amount: Amount, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that suit a text beside those that are given."""
    n, wanted = amount.characters, _passes(amount)
    hidden_size, affordable = _size(amount, wanted, given)
    chosen: dict[str, Any] = {
        "cell": "lstm",
        "hidden_size": hidden_size,
        "seq_length": _WINDOW,
        "ngram": MAX_ORDER,
    }
    chosen |= {"batch_size": _streams(amount), "schedule": "cosine"}
    if given.get("dtype") != "float64":
        chosen["precision"] = "bfloat16"
    steps_per_pass = n / (given.get("batch_size", chosen["batch_size"]) * amount.length)
    passes = given.get("epochs", min(affordable, wanted))
    if "steps" in given:
        passes = given["steps"] / steps_per_pass
    steps = max(1, round(passes * steps_per_pass))
    spare = affordable / wanted if "seconds" in given else math.inf
    chooses = not given.keys() & {"epochs", "steps"} and spare > 1
    if chooses:
        chosen["steps"] = steps
    chosen |= {"dropout": _dropout(amount, passes, hidden_size)} | _warmup(steps)
    if given.get("optimizer", "adam") == "adam":
        chosen |= ADAM
        chosen["learning_rate"] = 0.02 if hidden_size < 192 else 0.03
    short = chooses and spare > 2  # a given budget is for one training
    return chosen | _measured(n, short, given)


def _warmup(steps: float) -> dict[str, Any]:
    """Return how long the rate rises, in a training of so many steps."""
    return {"warmup": min(100, math.ceil(steps / 8))}


def _measured(characters: int, refits: bool, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is held out, if options don't say: more of a text that is trained on twice."""
    if given.keys() & _MEASURES:
        return {}
    refit = characters < 3 * _SHORT and refits
    fraction = 0.1 if refit else min(0.05, _HELD_OUT / characters)
    measures = {"keep": "last", "refit": refit}
    return {**measures, "validation_fraction": fraction, "validation_pieces": _PIECES}


def plans_further(options: Mapping[str, Any]) -> bool:
    """Return whether auto plans a further training: if asked to, or if nothing else does."""
    given = {name for name, value in options.items() if value is not None}
    return options.get("preset") == "auto" or not given & {"preset", *_PLANS}


def with_further_recipe(
    options: Mapping[str, Any], learner: Learner, known: int, source: Text | Records
) -> Mapping[str, Any]:
    """Return options with what auto chooses beside them for a model that trains further.

    learner is the model's, known how many characters it knows; source is the new text, perhaps
    with an old one to rehearse. Passes and rate are below those of a new model, unless there is
    much text, or its characters are new.
    """
    if not plans_further(options):
        return options
    given = _given(options)
    before, amount = learner.options(), Amount.of(source)
    old = 0 if source.old is None else source.old.characters
    n, often = amount.characters, times(source)
    much = n >= _MUCH
    new = 1.0 if much else _share_of_new(source, known)
    chosen: dict[str, Any] = {"schedule": "cosine"}
    wider = 2 if much and amount.records else 1  # a step also has old records
    chosen["batch_size"] = min(before["batch_size"], wider * _streams(amount))
    chosen["epochs"] = max(1, round(_passes(amount) * (1 + new) / (2 * often)))
    if before["dropout"]:
        reads = given.get("epochs", chosen["epochs"]) * often
        units = learner.network.description.layers[0].units
        chosen["dropout"] = max(before["dropout"], _dropout(amount, reads, units))
    if given.get("optimizer", before["optimizer"]) == before["optimizer"]:
        rate = _FURTHER_RATES.get(before["optimizer"], math.inf)
        chosen["learning_rate"] = min(before["learning_rate"], rate * (1 + 2 * new))
    if given.keys() & BUDGETS:
        del chosen["epochs"]
    epochs = given.get("epochs", chosen.get("epochs", 1))
    streams = given.get("batch_size", chosen["batch_size"])
    steps = epochs * (often * n + old) / (streams * amount.length)
    chosen |= _warmup(steps) | _measured(n, "epochs" in chosen, given)
    return {**options, "preset": None, **chosen, **given}


def described(options: Mapping[str, Any]) -> str:
    """Say in a line what was chosen."""
    cell, counts = options["cell"], ""
    if options["ngram"]:
        counts = f", counts of up to {options['ngram']} characters"
    budget = _budget(options)
    if options["min_char_count"] > 1:
        counts += f", one symbol for characters seen fewer than {options['min_char_count']} times"
    return (
        f"{cell if cell == 'rnn' else cell.upper()} of {options['hidden_size']} units, "
        f"dropout {options['dropout']:g}, {counted(options['batch_size'], 'stream')}, "
        f"{budget}{counts}"
    )


def _budget(options: Mapping[str, Any]) -> str:
    return ", ".join(
        counted(options[name], name[:-1]) for name in BUDGETS if options.get(name) is not None
    )


def _share_of_new(source: Text | Records, known: int) -> float:
    """Return the share of characters that are not among so many known ones."""
    if len(source.vocabulary) == known:
        return 0.0
    new = sum(int((piece >= known).sum()) for piece in in_pieces(source.ids))
    return new / source.characters


def described_further(options: Mapping[str, Any], source: Text | Records) -> str:
    """Say in a line what was chosen for a model that trains further."""
    budget = _budget(options)
    rehearsed = 0 if source.old is None else source.old.characters
    return (
        f"rate {options['learning_rate']:g}, {counted(options['batch_size'], 'stream')}, {budget}, "
        f"{rehearsed:,} old characters rehearsed"
    )


def _passes(amount: Amount) -> float:
    """Return how often a network should read a text, if there is time."""
    shrinks = min(1.0, _SHORT / amount.characters)
    if not amount.records:
        return float(_MOST_PASSES * shrinks**0.45)
    # The shorter a string is, the sooner a network knows it by heart.
    return float(min(max(amount.characters / amount.records, 15.0), _MOST_PASSES) * shrinks**0.3)


def _size(amount: Amount, wanted: float, given: Mapping[str, Any]) -> tuple[int, float]:
    """Return units and passes that the time allows: of the largest that has nearly enough."""
    seconds = given.get("seconds", _SECONDS)
    sizes = [size for size in _SIZES if size > _SIZES[-1] or amount.characters <= _LONG]
    if "hidden_size" in given:
        sizes = [given["hidden_size"]]
    while True:
        layers = {**defaults(LayerOptions), "cell": "lstm", **given, "hidden_size": sizes[0]}
        layer = layers["cell"], layers["hidden_size"]
        operations = Description([layer] * layers["n_layers"], amount.symbols).operations
        affordable = seconds * _SPEED / (3 * operations * amount.characters)
        least = max(1.5 * sizes[0], 600 if amount.records else 0)  # characters for each unit
        fits = affordable >= wanted / 2 and amount.characters >= least * sizes[0]
        if fits or len(sizes) == 1:
            return sizes[0], affordable
        del sizes[0]


def _streams(amount: Amount) -> int:
    """Return the streams of a batch: a short text needs many steps, a long one large products."""
    n = amount.characters
    per_step = min(max(n / 20, 64), 2048)
    if amount.records:
        per_step = min(max(n / 30, 64), max(256, n / 1000), 2048)
    return max(1, round(per_step / amount.length))


def _dropout(amount: Amount, passes: float, hidden_size: int) -> float:
    """Return what to drop in so many passes over the text."""
    limits = [(4.5, 0.1), (6.0, 0.2), (9.0, 0.3), (16.0, 0.4), (25.0, 0.5)]
    if amount.records:
        limits[:3] = [(5.0, 0.1), (12.0, 0.2)]
    dropout = next((dropout for limit, dropout in limits if passes <= limit), 0.6)
    dropout = min(0.6, dropout + 0.1 * ((hidden_size >= 384) + (hidden_size >= 512)))
    return round(dropout * min(1.0, hidden_size / 128), 3)  # a small network has none to spare
