"""What Python calls of the kernels; a workspace tells their dtype."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._network import Parameters, Workspace

_Real: TypeAlias = NDArray[np.floating[Any]]  # of the workspace's dtype

def init_normal(work: Workspace, scale: float, random: NDArray[np.uint64]) -> None: ...
def evaluate(work: Workspace, inputs: ArrayLike, targets: ArrayLike) -> NDArray[np.float64]: ...
def following(work: Workspace, targets: ArrayLike) -> tuple[_Real, NDArray[np.float64]]: ...
def window(work: Workspace, inputs: ArrayLike) -> tuple[_Real, _Real]: ...
def softmax(work: Workspace, logits: ArrayLike) -> _Real: ...
def backward(work: Workspace, inputs: ArrayLike, targets: ArrayLike, states: ArrayLike, probabilities: ArrayLike) -> Parameters: ...
def update(work: Workspace, gradient: Parameters, rate: float) -> None: ...
def train_steps(
    work: Workspace,
    inputs: ArrayLike,
    targets: ArrayLike,
    length: int,
    *,
    rate: float,
    clip: float,
    reset: bool,
    threads: int,
) -> NDArray[np.float64]: ...
def sample(
    work: Workspace,
    n: int,
    random: NDArray[np.uint64],
    allowed: NDArray[np.int8],
    past: ArrayLike,
    *,
    temperature: float,
    top_p: float,
    min_p: float,
    top_k: int,
    no_repeat: int,
) -> NDArray[np.int32]: ...
def search(
    work: Workspace,
    n: int,
    scores: NDArray[np.float64],
    ended: NDArray[np.int8],
    allowed: NDArray[np.int8],
    boundary: int,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64], NDArray[np.int8]]: ...
def fma_chains(n: int) -> int: ...

__pyx_capi__: dict[str, object]  # the C-level functions of _core.pxd

def cpu_level() -> str: ...
def addresses() -> object: ...
def use(functions: object) -> None: ...
