"""How the learning rate changes over a training."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..network.config import ScheduleName

_LOWEST = 0.02  # of the learning rate, where a schedule ends


@dataclass(frozen=True)
class Schedule:
    """What the learning rate is multiplied by in each step; the fields are options of training.

    It rises from near 0 over the first warmup steps. Over the budget "cosine" falls along half a
    cosine and "linear" straight, to 2 %; "constant" stays. Each epoch multiplies it by
    learning_rate_decay.
    """

    schedule: ScheduleName = "constant"
    warmup: int = 0
    learning_rate_decay: float = 1.0

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> "Schedule":
        """Return the Schedule of checked options."""
        return cls(*(options[field.name] for field in fields(cls)))

    @property
    def follows_budget(self) -> bool:
        """Whether the factor depends on the budget."""
        return self.schedule != "constant"

    @property
    def varies(self) -> bool:
        """Whether the factor may change within an epoch."""
        return self.follows_budget or self.warmup > 0

    def factors(self, epoch: int, steps: ArrayLike, used: ArrayLike) -> NDArray[np.float64]:
        """Return the factor of each step of an epoch.

        steps has the steps done before each, used the fraction of the budget used up by then.
        """
        factors = np.full(np.shape(steps), power(self.learning_rate_decay, epoch))
        if self.schedule == "cosine":
            factors *= _LOWEST + (1 - _LOWEST) * (0.5 + 0.5 * _cosine(np.asarray(used, np.float64)))
        elif self.schedule == "linear":
            factors *= 1 - (1 - _LOWEST) * np.asarray(used, np.float64)
        return factors * np.minimum(1.0, (np.asarray(steps) + 1) / max(1, self.warmup))


CONSTANT = Schedule()


def power(x: float, n: int) -> float:
    """Return x ** n by products only: libraries' powers differ in the last bit between machines."""
    result = 1.0
    while n and x != 1:
        if n % 2:
            result *= x
        x *= x
        n //= 2
    return result


def _cosine(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return cos(pi x) for x in [0, 1] as -sin(pi (x - 1/2)), by its Taylor series.

    The bits are the same on every machine.
    """
    y = math.pi * (x - 0.5)
    total = np.zeros_like(y)
    for n in range(21, 1, -2):  # the next term is below 1e-18
        total = (1 - y * y * total) / (n * (n - 1))
    return -y * (1 - y * y * total)
