"""The owned types."""

import threading
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeVar, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

LANES: int
LOOK_BACK: int
_Self = TypeVar("_Self", bound=Workspace)

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
    units: NDArray[np.intp]
    def __init__(self, layers: Iterable[tuple[str, int]], vocab_size: int) -> None: ...

@final
class Parameters:
    description: Description
    dtype: np.dtype[Any]
    block: NDArray[Any]
    def __init__(self, description: Description, dtype: Any) -> None: ...
    def views(self) -> dict[str, NDArray[Any]]: ...
    def copy_from(self, other: Parameters) -> None: ...

class OwnedNetwork:
    description: Description
    dtype: np.dtype[Any]
    weights: Parameters
    memory: Parameters
    def __init__(self, description: Description | tuple[Iterable[tuple[str, int]], int], dtype: Any) -> None: ...

class Workspace:
    network: OwnedNetwork
    T: int
    B: int
    training: bool
    lock: threading.Lock
    state: NDArray[Any]
    def __init__(self, network: OwnedNetwork, T: int, B: int, training: bool = False) -> None: ...
    def get_state(self) -> NDArray[Any]: ...
    def set_state(self, state: ArrayLike) -> None: ...
    def __enter__(self: _Self) -> _Self: ...
    def __exit__(self, *exception: object) -> None: ...

@final
class Workspace32(Workspace): ...

@final
class Workspace64(Workspace): ...

@final
class Memory: ...

def workspace(network: OwnedNetwork, T: int, B: int, training: bool = False) -> Workspace: ...
def held(work: Workspace, network: OwnedNetwork) -> Workspace: ...
def check_array(name: str, value: Any, dtype: str, shape: tuple[int | None, ...]) -> NDArray[Any]: ...
def check_ids(name: str, value: Any, lowest: int, symbols: int, shape: tuple[int | None, ...]) -> NDArray[np.int32]: ...
