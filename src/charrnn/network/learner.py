"""A network and the settings it is trained with."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..util.errors import hint
from ..util.hashing import blocks
from ..util.options import table
from ..util.seeding import make_random
from . import Network
from . import dispatch as _dispatch
from .config import SAVED_SETTINGS, Settings, default_settings

_SETTINGS = {name: option.required() for name, option in table(Settings).items()}
_VANILLA_SCALE = 0.01  # standard deviation of the tutorial's initial weights


def is_vanilla(layers: Sequence[tuple[str, int]]) -> bool:
    """Whether layers are those of the tutorial's network: a single one of the vanilla cell."""
    return len(layers) == 1 and layers[0][0] == "rnn"


class Learner:
    """A network and its `config.Settings`, which are attributes, checked whenever they are set.

    Nothing else can be set.
    """

    __slots__ = ("__weakref__", "network", "random", "settings")
    network: Network
    random: NDArray[np.uint64]
    settings: dict[str, Any]

    def __init__(
        self,
        layers: Sequence[tuple[str, int]],
        symbols: int,
        *,
        dtype: Any = "float32",
        optimizer: str = "adagrad",
        seed: int | None = None,
        **settings: Any,
    ) -> None:
        random = make_random(seed)
        self._init(Network((layers, symbols), dtype, optimizer), random, settings)
        scale = _VANILLA_SCALE if is_vanilla(self.network.description.layers) else 0.0
        _dispatch.core.initialize(self.network, scale, self.random)

    @classmethod
    def from_network(cls, network: Network, **settings: Any) -> Self:
        """Return a learner of a network with the weights that it has."""
        learner = cls.__new__(cls)
        learner._init(network, make_random(0), settings)
        return learner

    @classmethod
    def view(cls, other: "Learner") -> Self:
        """Return a learner of this class that shares network, generator and settings of another."""
        learner = cls.__new__(cls)
        learner.network, learner.random = other.network, other.random
        learner.settings = other.settings
        return learner

    def _init(self, network: Network, random: NDArray[np.uint64], settings: dict[str, Any]) -> None:
        self.network, self.random, self.settings = network, random, {}
        for name, value in {**default_settings(network.optimizer), **settings}.items():
            setattr(self, name, value)
        if network.optimizer == "adagrad":
            for block in blocks(network.memory.block):  # in pieces: Ctrl-C comes between them
                block[...] = self.initial_accumulator_value

    def options(self) -> dict[str, Any]:
        """Return the options that a model file keeps: the optimizer and the settings."""
        saved = {name: self.settings[name] for name in SAVED_SETTINGS}
        return {"optimizer": self.network.optimizer, **saved}

    def __getattr__(self, name: str) -> Any:
        if name not in _SETTINGS:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return self.settings[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _SETTINGS:
            largest = float(np.finfo(self.network.dtype).max)
            checked = _SETTINGS[name].check(value, largest)
            if checked == "bfloat16" and self.network.dtype != np.float32:
                raise ValueError(
                    f"precision='bfloat16' needs a network of float32, not {self.network.dtype}: "
                    "leave out dtype, or use precision='float32'"
                )
            self.settings[name] = checked
            return
        if name in Learner.__slots__ and hasattr(self, name):
            raise AttributeError(f"{name} is fixed; its arrays can be written in place")
        try:
            object.__setattr__(self, name, value)
        except AttributeError:
            what = f"sizes are fixed, and the settings are {', '.join(_SETTINGS)}"
            raise AttributeError(f"{name!r} cannot be set: {what}{hint(name, _SETTINGS)}") from None

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{name!r} cannot be deleted")

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *_SETTINGS})
