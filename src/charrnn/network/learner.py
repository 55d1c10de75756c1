"""What a network is trained with: the settings of its optimizer and of its windows."""

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Self, TypedDict

import numpy as np
from numpy.typing import NDArray

from ..util.errors import check_integer, check_number, hint
from ..util.seeding import make_random
from . import Network
from . import dispatch as _dispatch


class TrainingOptions(TypedDict, total=False):
    """What a network is trained with, by name; where the default is None, it depends on the optimiser (recipes.BY_OPTIMIZER)."""

    seq_length: Annotated[int, 25]
    batch_size: Annotated[int, 1]
    dropout: Annotated[float, 0.0]
    learning_rate: Annotated[float | None, None]
    weight_decay: Annotated[float, 0.0]
    clip_value: Annotated[float | None, None]
    clip_norm: Annotated[float | None, None]
    initial_accumulator_value: Annotated[float, 100.0]
    n_threads: Annotated[int, 1]


_CHECKS: dict[
    str, Callable[[str, Any, float], float]
] = {  # of a value by its name and the largest number of the dtype
    "seq_length": lambda name, value, _: check_integer(name, value, 1),
    "batch_size": lambda name, value, _: check_integer(name, value, 1),
    "dropout": lambda name, value, _: check_number(name, value, minimum=0, below=1),
    "learning_rate": lambda name, value, largest: check_number(
        name, value, above=0, maximum=largest
    ),
    "weight_decay": lambda name, value, largest: check_number(
        name, value, minimum=0, maximum=largest
    ),
    "clip_value": lambda name, value, _: check_number(name, value, above=0, finite=False),
    "clip_norm": lambda name, value, _: check_number(name, value, above=0, finite=False),
    "initial_accumulator_value": lambda name, value, largest: check_number(
        name, value, minimum=0, maximum=largest
    ),
    "n_threads": lambda name, value, _: check_integer(name, value, 1, 1024),
}
_TUTORIALS_SCALE = 0.01  # standard deviation of its initial weights
_NO_MORE = {
    "n_threads": 1,
    "dropout": 0.0,
    "weight_decay": 0.0,
    "clip_norm": math.inf,
}  # settings beside those of the tutorial


def is_tutorials(layers: Sequence[tuple[str, int]]) -> bool:
    """Whether layers are those of the tutorial's network: a vanilla one."""
    return len(layers) == 1 and layers[0][0] == "rnn"


class Learner:
    """A network and what it is trained with: settings as in `RNN`, each checked whenever it is set; nothing else can be set."""

    __slots__ = ("network", "random", *_CHECKS, "__weakref__")
    network: Network
    random: NDArray[np.uint64]
    seq_length: int
    batch_size: int
    dropout: float
    learning_rate: float
    weight_decay: float
    clip_value: float
    clip_norm: float
    initial_accumulator_value: float
    n_threads: int

    def __init__(
        self,
        description: Any,
        *,
        dtype: Any = "float32",
        optimizer: str = "adagrad",
        seed: int | None = None,
        **settings: Any,
    ) -> None:
        random = make_random(seed)
        self._begin(Network(description, dtype, optimizer), random, settings)
        scale = _TUTORIALS_SCALE if is_tutorials(self.network.description.layers) else 0.0
        _dispatch.core.initialize(self.network, scale, self.random)

    @classmethod
    def of(cls, network: Network, **settings: Any) -> Self:
        """Return a learner of a network with the weights it has."""
        learner = cls.__new__(cls)
        learner._begin(network, make_random(0), settings)
        return learner

    def _begin(
        self, network: Network, random: NDArray[np.uint64], settings: dict[str, Any]
    ) -> None:
        self.network, self.random = network, random
        for name, value in {**_NO_MORE, **settings}.items():
            setattr(self, name, value)
        if network.optimizer == "adagrad":
            network.memory.block[...] = self.initial_accumulator_value

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _CHECKS:
            value = _CHECKS[name](name, value, float(np.finfo(self.network.dtype).max))
        elif name in ("network", "random") and hasattr(self, name):
            raise AttributeError(f"{name} is fixed; its arrays can be written in place")
        try:
            object.__setattr__(self, name, value)
        except AttributeError:
            what = f"sizes are fixed, and the settings are {', '.join(_CHECKS)}"
            raise AttributeError(f"{name!r} cannot be set: {what}{hint(name, _CHECKS)}") from None

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{name!r} cannot be deleted")
