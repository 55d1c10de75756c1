"""The options of training, each described once; presets; and what each optimizer defaults to.

To add an option, add an entry here, a sentence in the docstring of `charrnn.train_text`, and the
code that uses it.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeAlias, TypedDict, get_args

from ..history import Callback
from ..util.atomic_write import StrPath
from ..util.cores import available_cores
from ..util.errors import check_choice
from ..util.options import Flag, Option, check_options, defaults, table
from ._types import LOOK_BACK, MAX_LAYERS
from .counts import MAX_ORDER

Cell: TypeAlias = Literal["rnn", "gru", "lstm"]
Optimizer: TypeAlias = Literal["adagrad", "sgd", "rmsprop", "adam"]
Preset: TypeAlias = Literal["auto", "tutorial", "small", "medium", "large"]
Precision: TypeAlias = Literal["float32", "bfloat16"]
ScheduleName: TypeAlias = Literal["constant", "cosine", "linear"]
Keep: TypeAlias = Literal["best", "last"]

# Defaults by optimizer. Adagrad's rate served ten seeds best on Tiny Shakespeare
# (benchmarks/quality.py); its clip_value is the tutorial's.
BY_OPTIMIZER: dict[str, dict[str, float]] = {
    "adagrad": {"learning_rate": 0.15, "clip_value": 5.0, "clip_norm": math.inf},
    "sgd": {"learning_rate": 0.02, "clip_value": math.inf, "clip_norm": 1.0},
    "rmsprop": {"learning_rate": 0.002, "clip_value": math.inf, "clip_norm": 1.0},
    "adam": {"learning_rate": 0.004, "clip_value": math.inf, "clip_norm": 1.0},
}
_RATES = ", ".join(f"{name} {values['learning_rate']:g}" for name, values in BY_OPTIMIZER.items())

# At the rates of presets Adam learns faster with gradients clipped to a tenth:
# docs/howto/networks.md.
ADAM: dict[str, Any] = {"optimizer": "adam", "clip_norm": 0.1, "weight_decay": 0.1}
_GATED = {**ADAM, "cell": "lstm", "schedule": "cosine", "warmup": 100}
_GATED |= {"seq_length": 64, "batch_size": 32, "precision": "bfloat16"}
# docs/howto/networks.md has the loss of each. What "auto" chooses is in training/recipe.py.
PRESETS: dict[str, dict[str, Any]] = {
    "auto": {},
    "tutorial": {},
    "small": {**_GATED, "hidden_size": 256, "learning_rate": 0.03, "dropout": 0.1, "steps": 800},
    "medium": {**_GATED, "hidden_size": 384, "learning_rate": 0.03, "dropout": 0.2, "steps": 1500},
    "large": {**_GATED, "hidden_size": 512, "learning_rate": 0.027, "dropout": 0.4, "steps": 2400},
}
_SIZES = ", ".join(f"{name} {PRESETS[name]['hidden_size']}" for name in get_args(Preset)[2:])


class LayerOptions(TypedDict, total=False):
    """The layers of a new network."""

    cell: Annotated[Cell, Option("rnn", preset=True), Flag("type of recurrent cell", "network")]
    hidden_size: Annotated[
        int,
        Option(100, minimum=1, maximum=65536, preset=True),
        Flag("units in a layer", "network", "H"),
    ]
    n_layers: Annotated[
        int,
        Option(1, minimum=1, maximum=MAX_LAYERS),
        Flag("stacked layers", "network", "N", "--layers"),
    ]


class Settings(TypedDict, total=False):
    """What a `Learner` trains its network with. A default of None depends on the optimizer."""

    seq_length: Annotated[
        int,
        Option(25, minimum=1, saved="model", preset=True),
        Flag("characters in a training window", "training", "T"),
    ]
    batch_size: Annotated[
        int,
        Option(1, minimum=1, saved="model", preset=True),
        Flag("parallel streams of the text, or records per step", "training", "B"),
    ]
    dropout: Annotated[
        float,
        Option(0.0, minimum=0, below=1, saved="model", preset=True),
        Flag("fraction of each layer's outputs to drop in training", "network", "P"),
    ]
    learning_rate: Annotated[
        float | None,
        Option(None, above=0, saved="model", preset=True),
        Flag(f"step size (default: {_RATES})", "training", "R"),
    ]
    weight_decay: Annotated[
        float,
        Option(0.0, minimum=0, saved="model", preset=True),
        Flag("shrink weights by R times X in each step", "training", "X"),
    ]
    clip_value: Annotated[
        float | None,
        Option(None, above=0, finite=False, saved="model"),
        Flag("clip each element of the gradient to X (default: adagrad 5)", "training", "X"),
    ]
    clip_norm: Annotated[
        float | None,
        Option(None, above=0, finite=False, saved="model", preset=True),
        Flag(
            "clip the norm of the gradient of the loss per character to X "
            "(default: 1, adagrad none)",
            "training",
            "X",
        ),
    ]
    initial_accumulator_value: Annotated[
        float, Option(100.0, minimum=0, saved="model", optimizer="adagrad")
    ]
    precision: Annotated[
        Precision,
        Option("float32", saved="model", preset=True),
        Flag("type to which training rounds the operands of products", "training"),
    ]
    n_threads: Annotated[
        int | None,
        Option(None, minimum=1, maximum=1024),
        Flag("threads that share a step (default: all cores)", "training", "N", "--threads"),
    ]


class DrawControls(TypedDict, total=False):
    """How `Network.draw` filters probabilities."""

    temperature: Annotated[
        float,
        Option(1.0, minimum=0),
        Flag("below 1 is safer, above 1 wilder; 0 takes the most likely character", metavar="X"),
    ]
    top_k: Annotated[
        int | None,
        Option(None, minimum=1),
        Flag("draw among the K most likely characters", metavar="K"),
    ]
    top_p: Annotated[
        float | None,
        Option(None, above=0, maximum=1),
        Flag("draw among the most likely characters that together have probability P", metavar="P"),
    ]
    min_p: Annotated[
        float | None,
        Option(None, minimum=0, maximum=1),
        Flag("draw among characters at least P times as likely as the likeliest", metavar="P"),
    ]
    no_repeat: Annotated[
        int | None,
        Option(None, minimum=1, maximum=LOOK_BACK),
        Flag("write no run of N characters twice", metavar="N"),
    ]


class RunOptions(TypedDict, total=False):
    """How one training runs: how long, on what part of the text, and what it writes."""

    seed: Annotated[
        int | None,
        Option(0, minimum=0, maximum=2**64 - 1, saved="checkpoint"),
        Flag("random seed", "training", "N"),
    ]
    schedule: Annotated[
        ScheduleName,
        Option("constant", saved="checkpoint", preset=True),
        Flag("how the learning rate falls over the budget", "training"),
    ]
    warmup: Annotated[
        int,
        Option(0, minimum=0, saved="checkpoint", preset=True),
        Flag("steps over which the learning rate first rises", "training", "N"),
    ]
    learning_rate_decay: Annotated[
        float,
        Option(1.0, above=0, maximum=1, saved="checkpoint"),
        Flag("multiply the learning rate by F after each epoch", "training", "F"),
    ]
    epochs: Annotated[
        int | None,
        Option(None, minimum=0),
        Flag("stop after N epochs (default: 10 if no budget is given)", "budget", "N"),
    ]
    steps: Annotated[
        int | None,
        Option(None, minimum=0, maximum=2**63 - 1),
        Flag("stop after N steps", "budget", "N"),
    ]
    seconds: Annotated[
        float | None, Option(None, minimum=0), Flag("stop after S seconds", "budget", "S")
    ]
    patience: Annotated[
        int | None,
        Option(None, minimum=1),
        Flag("stop after N epochs without a better validation loss", "budget", "N"),
    ]
    validation_fraction: Annotated[
        float,
        Option(0.1, minimum=0, below=1, saved="checkpoint", preset=True),
        Flag(
            "fraction of the text, from its end, held out for validation",
            "budget",
            "F",
            "--validation",
        ),
    ]
    validation_pieces: Annotated[
        int,
        Option(1, minimum=1, saved="checkpoint", preset=True),
        Flag("hold out N pieces spread over the text, not its end", "budget", "N"),
    ]
    refit: Annotated[
        bool,
        Option(False, saved="checkpoint", preset=True),
        Flag("train twice: to measure, then on the whole text", "budget"),
    ]
    keep: Annotated[
        Keep | None,
        Option(None, saved="checkpoint", preset=True),
        Flag(
            "keep the weights with the best validation loss, or the last "
            "(default: best, if anything is held out)",
            "budget",
        ),
    ]
    ngram: Annotated[
        int | None,
        Option(None, minimum=0, maximum=MAX_ORDER, saved="checkpoint", preset=True),
        Flag("mix in counts of up to N characters (default: none)", "network", "N"),
    ]
    min_count: Annotated[
        int,
        Option(1, minimum=1, saved="checkpoint"),
        Flag("with --ngram: drop runs that occur fewer than N times", "network", "N"),
    ]
    min_char_count: Annotated[
        int,
        Option(1, minimum=1, saved="checkpoint", preset=True, new=True),
        Flag("characters that occur fewer than N times share one symbol", "text", "N"),
    ]
    shards: Annotated[
        int | None,
        Option(None, minimum=1, maximum=4096, saved="checkpoint"),
        Flag(
            "split a batch into N shards for processes to share (default: 8 with --mpi)",
            "training",
            "N",
        ),
    ]
    comm: Annotated[Any, Option(None)]
    callback: Annotated[Callback | None, Option(None)]
    sample_every: Annotated[
        int | None, Option(None, minimum=1), Flag("print a sample every N steps", "output", "N")
    ]
    progress: Annotated[bool | None, Option(None), Flag("show progress", "output")]
    checkpoint: Annotated[
        StrPath | None,
        Option(None),
        Flag("write checkpoints to FILE during training and at its end", "resume", "FILE"),
    ]
    resume: Annotated[
        StrPath | None,
        Option(None),
        Flag("resume from this checkpoint, with the same text and options", "resume", "FILE"),
    ]


_PRESET = Flag(
    "sets the options that you don't give; auto fits them to text and time, the others are fixed: "
    f"the tutorial's, and LSTMs ({_SIZES} units); the other defaults shown here are tutorial's "
    "(default: auto)",
    "network",
)


class Options(Settings, RunOptions, total=False):
    """The options of training any model."""

    optimizer: Annotated[
        Optimizer,
        Option("adagrad", saved="model", preset=True),
        Flag("update rule of the weights", "training"),
    ]


class NewOptions(LayerOptions, Options, total=False):
    """The options of training a new model, but alphabet."""

    preset: Annotated[Preset, Option("auto"), _PRESET]
    dtype: Annotated[Literal["float32", "float64"], Option("float32")]


class _OfRecords(TypedDict, total=False):
    remember: Annotated[
        bool,
        Option(False),
        Flag("keep an index of the records in the model, for generate --novel", "text"),
    ]


class _OfFiles(_OfRecords, total=False):
    separator: Annotated[
        str | None,
        Option(None),
        Flag(
            r"with --records: a line equal to TEXT ends a record ('': a blank line), or \x00 does",
            "text",
            "TEXT",
        ),
    ]
    encoding: Annotated[
        str | None, Option(None), Flag("encoding of the text (default: utf-8)", "text", "NAME")
    ]
    cache: Annotated[
        StrPath | None,
        Option(None),
        Flag("keep the ids of the text in DIR, to start faster next time", "text", "DIR"),
    ]


class RecordOptions(NewOptions, _OfRecords, total=False):
    """The options of training a new model on records, but alphabet."""


class FileOptions(NewOptions, _OfFiles, total=False):
    """The options of training a new model on files, but alphabet."""

    records: Annotated[
        bool,
        Option(False),
        Flag("each line is a record of its own (a name, a domain, a molecule ...)", "text"),
    ]


class FurtherOptions(Options, total=False):
    """The options of training a model further on a text."""

    preset: Annotated[Preset | None, Option(None), _PRESET]
    extend: Annotated[
        bool,
        Option(False),
        Flag("with --start: add the characters that the model lacks", "resume"),
    ]


class FurtherRecordOptions(FurtherOptions, _OfRecords, total=False):
    """The options of training a model further on records."""


class FurtherFileOptions(FurtherOptions, _OfFiles, total=False):
    """The options of training a model further on files."""


# The options that a preset chooses where they are not given: signatures show None.
BY_PRESET: dict[str, Any] = {name: None for name, one in table(NewOptions).items() if one.preset}
# The settings that a model file keeps, with the optimizer.
SAVED_SETTINGS = tuple(name for name, one in table(Settings).items() if one.saved == "model")
# The options that a checkpoint keeps besides those, and that resume compares.
SAVED_RUN_OPTIONS = tuple(name for name, one in table(RunOptions).items() if one.saved)
# Those that earlier model files lack.
NEW_OPTIONS = tuple(name for name, one in table(NewOptions).items() if one.new)
BUDGETS = ("epochs", "steps", "seconds")
# The options of a training that a model file keeps, for `CharRNN.recipe`.
RUN_NAMES = (*SAVED_RUN_OPTIONS, *BUDGETS, "patience")


def default_settings(optimizer: str) -> dict[str, Any]:
    """Return the default settings of a `Learner`."""
    return {**defaults(Settings), **BY_OPTIMIZER[optimizer], "n_threads": available_cores()}


def split(
    options: Mapping[str, Any], before: Mapping[str, Any] = MappingProxyType({})
) -> tuple[list[tuple[str, int]], dict[str, Any], RunOptions]:
    """Return layers, what `Learner` takes, and how the training runs.

    What options and their preset leave open is as before (`Learner.options` of a model that
    trains further), or the default. All is checked, the settings of a learner by `Learner`.
    """
    chosen = _chosen(_with_preset(options), {} if options.get("preset") else before)
    _check_used(options, chosen["optimizer"])
    layers = check_options(LayerOptions, chosen)
    run: RunOptions = check_options(RunOptions, chosen)
    learner = {name: chosen[name] for name in (*table(Settings), "dtype", "optimizer", "seed")}
    return [(layers["cell"], layers["hidden_size"])] * layers["n_layers"], learner, run


def _chosen(given: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Return given options over those before over the defaults; rates depend on the optimizer."""
    chosen = {**defaults(NewOptions), **before, **given}
    optimizer = check_choice("optimizer", chosen["optimizer"], get_args(Optimizer))
    for name, value in BY_OPTIMIZER[optimizer].items():
        inherited = name not in given and optimizer != before.get("optimizer")
        if inherited or chosen[name] is None:
            chosen[name] = value
    if chosen["n_threads"] is None:
        chosen["n_threads"] = available_cores()
    return {**chosen, "optimizer": optimizer}


def _with_preset(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return options over those of their preset; a given budget replaces the preset's.

    float64 leaves out its precision.
    """
    if options.get("preset") is None:
        return options
    preset = PRESETS[check_choice("preset", options["preset"], get_args(Preset))]
    given = {
        name: value for name, value in options.items() if value is not None or name not in BY_PRESET
    }
    left_out = {*BUDGETS} if any(given.get(name) is not None for name in BUDGETS) else set[str]()
    if given.get("dtype") == "float64":
        left_out.add("precision")
    return {name: value for name, value in preset.items() if name not in left_out} | given


def _check_used(given: Mapping[str, Any], optimizer: str) -> None:
    """Raise ValueError if an option is given that this optimizer has no use for."""
    for name, option in table(NewOptions).items():
        value = given.get(name, option.default)
        if option.optimizer not in ("", optimizer) and value != option.default:
            raise ValueError(
                f"{name}={value!r} is {option.optimizer.capitalize()}'s, and "
                f"optimizer={optimizer!r} has no use for it: leave it out"
            )
