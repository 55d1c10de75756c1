"""What a network is trained with where nothing else is said: by optimiser, and as whole recipes; and how the learning rate moves."""

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..util.errors import check_choice, check_integer, check_number

Cell: TypeAlias = Literal["rnn", "gru", "lstm"]
Optimizer: TypeAlias = Literal["adagrad", "sgd", "rmsprop", "adam"]
ScheduleName: TypeAlias = Literal["constant", "cosine", "linear"]
Preset: TypeAlias = Literal["tutorial", "small", "medium", "large"]

_LOWEST = 0.02  # of the learning rate, where a schedule ends

# What an optimiser is used with: Adagrad's are what served ten seeds best on Tiny Shakespeare (benchmarks/quality.py), clip_value being
# the tutorial's.
BY_OPTIMIZER: dict[str, dict[str, float]] = {
    "adagrad": {"learning_rate": 0.15, "clip_value": 5.0, "clip_norm": math.inf},
    "sgd": {"learning_rate": 0.02, "clip_value": math.inf, "clip_norm": 1.0},
    "rmsprop": {"learning_rate": 0.002, "clip_value": math.inf, "clip_norm": 1.0},
    "adam": {"learning_rate": 0.004, "clip_value": math.inf, "clip_norm": 1.0},
}

_BUDGETS = ("epochs", "steps", "seconds")
# At these rates Adam learns faster with gradients clipped to a tenth: docs/howto/networks.md has figures.
_GATED: dict[str, Any] = {
    **{
        "cell": "lstm",
        "optimizer": "adam",
        "schedule": "cosine",
        "warmup": 100,
        "seq_length": 64,
        "batch_size": 32,
    },
    **{"clip_norm": 0.1, "weight_decay": 0.1},
}
PRESETS: dict[str, dict[str, Any]] = {  # docs/howto/networks.md has the loss of each
    "tutorial": {},
    "small": {**_GATED, "hidden_size": 256, "learning_rate": 0.03, "dropout": 0.1, "steps": 800},
    "medium": {**_GATED, "hidden_size": 384, "learning_rate": 0.03, "dropout": 0.2, "steps": 1500},
    "large": {**_GATED, "hidden_size": 512, "learning_rate": 0.027, "dropout": 0.4, "steps": 2400},
}


def recipe(preset: str | None, given: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a preset and those that are given, which count more; a budget that is given replaces the preset's."""
    if preset is None:
        return given
    chosen = PRESETS[check_choice("preset", preset, get_args(Preset))]
    given = {name: value for name, value in given.items() if value is not None}
    if given.keys() & set(_BUDGETS):
        chosen = {name: value for name, value in chosen.items() if name not in _BUDGETS}
    return {**chosen, **given}


@dataclass(frozen=True)
class Schedule:
    """How the learning rate moves over a training: factors of what was given.

    Over the first warmup steps it rises from near 0. "cosine" then falls along half a cosine, "linear" straight, over the budget, to 2 % at
    its end; "constant" stays. After each pass it is multiplied by decay.
    """

    name: ScheduleName = "constant"
    warmup: int = 0
    decay: float = 1.0

    @classmethod
    def check(cls, name: Any, warmup: Any, decay: Any) -> "Schedule":
        """Return a Schedule of valid values, or raise."""
        checked: Any = check_choice("schedule", name, get_args(ScheduleName))
        return cls(
            checked,
            check_integer("warmup", warmup, 0),
            check_number("learning_rate_decay", decay, above=0, maximum=1),
        )

    @property
    def moves(self) -> bool:
        """Whether steps of one pass have different factors."""
        return self.name != "constant" or self.warmup > 0

    def factors(self, epoch: int, steps: ArrayLike, used: ArrayLike) -> NDArray[np.float64]:
        """Return the factor of each step in a pass, given the steps done before it and the part of the budget that is used up then."""
        factors = np.full(np.shape(steps), power(self.decay, epoch))
        if self.name == "cosine":
            factors *= _LOWEST + (1 - _LOWEST) * (0.5 + 0.5 * _cosine(np.asarray(used, np.float64)))
        elif self.name == "linear":
            factors *= 1 - (1 - _LOWEST) * np.asarray(used, np.float64)
        if self.warmup:
            factors *= np.minimum(1.0, (np.asarray(steps) + 1) / self.warmup)
        return factors


CONSTANT = Schedule()


def power(x: float, n: int) -> float:
    """Return x ** n, made of products only: the library's power may differ in its last bit between machines."""
    result = 1.0
    while n and x != 1:
        if n % 2:
            result *= x
        x *= x
        n //= 2
    return result


def _cosine(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return cos(pi x) for x in [0, 1], the same bits on every machine: -sin(pi (x - 1/2)), by its Taylor sum."""
    y = math.pi * (x - 0.5)
    total = np.zeros_like(y)
    for n in range(21, 1, -2):  # the next term is below 1e-18
        total = (1 - y * y * total) / (n * (n - 1))
    return -y * (1 - y * y * total)
