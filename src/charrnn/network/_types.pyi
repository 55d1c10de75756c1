"""The owned types."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self, final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from typing_extensions import disjoint_base

IGNORED: int
LANES: int
LOOK_BACK: int
MAX_LAYERS: int
CELLS: tuple[str, ...]
OPTIMIZERS: tuple[str, ...]

__pyx_capi__: dict[str, object]  # what the variants of _core use in C

class Layer(NamedTuple):
    cell: str
    units: int

@final
class Description:
    layers: tuple[Layer, ...]
    vocab_size: int
    tensors: Mapping[str, tuple[int, int, int, int, bool]]
    operations: int
    n_parameters: int
    state_size: int
    units: NDArray[np.intp]
    parts: tuple[dict[str, int], ...]
    def __new__(cls, layers: Iterable[tuple[str, int]], vocab_size: int) -> Self: ...

@final
class Parameters:
    description: Description
    dtype: np.dtype[Any]
    block: NDArray[Any]
    def __new__(cls, description: Description, dtype: Any) -> Self: ...
    def views(self) -> dict[str, NDArray[Any]]: ...
    def copy_from(self, other: Parameters) -> None: ...

@final
class NgramTable:
    def __new__(
        cls,
        vocab_size: int,
        levels: Sequence[tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike]],
        network_weight: float,
        counts_weight: float,
    ) -> Self: ...

@final
class RecentCounts:
    def __new__(cls, table: NgramTable) -> Self: ...
    def copy(self) -> RecentCounts: ...

@disjoint_base
class OwnedNetwork:
    description: Description
    dtype: np.dtype[Any]
    optimizer: str
    weights: Parameters
    memory: Parameters
    momentum: Parameters | None
    ngrams: NgramTable | None
    def __new__(
        cls,
        description: Description | tuple[Iterable[tuple[str, int]], int],
        dtype: Any,
        optimizer: str = "adagrad",
    ) -> Self: ...
    def mix(self, ngrams: NgramTable | None) -> None: ...

@disjoint_base
class Workspace:
    network: OwnedNetwork
    T: int
    B: int
    training: bool
    lock: threading.Lock
    losses: NDArray[np.float64] | None
    steps: int
    overflowed: str | None
    state: NDArray[Any]
    def __new__(cls, network: OwnedNetwork, T: int, B: int, training: bool = False) -> Self: ...
    def get_recent(self) -> RecentCounts | None: ...
    def set_recent(self, recent: RecentCounts | None) -> None: ...
    def set_history(self, ids: ArrayLike) -> None: ...
    def get_state(self) -> NDArray[Any]: ...
    def set_state(self, state: ArrayLike) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exception: object) -> None: ...

@final
class Workspace32(Workspace): ...

@final
class Workspace64(Workspace): ...

@final
class Memory: ...

def workspace(network: OwnedNetwork, T: int, B: int, training: bool = False) -> Workspace: ...
def keep_spare(work: Workspace) -> None: ...
def take_spare(network: OwnedNetwork) -> Workspace | None: ...
def checked_workspace(work: Workspace, network: OwnedNetwork) -> Workspace: ...
def check_array(
    name: str, value: Any, dtype: str, shape: tuple[int | None, ...]
) -> NDArray[Any]: ...
def check_ids(
    name: str, value: Any, lowest: int, symbols: int, shape: tuple[int | None, ...]
) -> NDArray[np.int32]: ...
def look_up(text: str | bytes, table: NDArray[np.int32]) -> tuple[NDArray[np.int32], int]: ...
