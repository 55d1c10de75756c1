"""What Python calls of the kernels; arrays of numbers are float32 or float64, all of one call the same."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .parameters import Parameters, Workspace

_Real: TypeAlias = NDArray[np.floating[Any]]
_Ids: TypeAlias = NDArray[np.int32]

LANES: int
LOOK_BACK: int
PAD_LOGIT: float

def init_normal(out: _Real, width: int, scale: float, random: NDArray[np.uint64]) -> None: ...
def cell_forward(hs: _Real, params: Parameters, work: Workspace, inputs: _Ids) -> None: ...
def output_forward(hs: _Real, params: Parameters, logits: _Real, first: int, vocab_size: int) -> None: ...
def softmax(logits: _Real, targets: _Ids, nll: NDArray[np.float64], vocab_size: int) -> None: ...
def evaluate(hs: _Real, params: Parameters, work: Workspace, inputs: _Ids, targets: _Ids, nll: NDArray[np.float64]) -> None: ...
def transpose(hs: _Real, params: Parameters, work: Workspace) -> None: ...
def backward(hs: _Real, params: Parameters, work: Workspace, grads: Parameters, inputs: _Ids, targets: _Ids) -> None: ...
def adagrad(parameter: _Real, memory: _Real, gradient: _Real, *, rate: float, clip: float) -> None: ...
def streams_step(hs: _Real, params: Parameters, work: Workspace, inputs: _Ids, targets: _Ids, b0: int, b1: int) -> bool: ...
def weights_step(
    hs: _Real,
    params: Parameters,
    memory: Parameters,
    work: Workspace,
    inputs: _Ids,
    part: int,
    parts: int,
    *,
    rate: float,
    clip: float,
) -> None: ...
def used_rows(targets: _Ids) -> int: ...
def total(nll: NDArray[np.float64], T: int) -> float: ...
def train_steps(
    hs: _Real,
    params: Parameters,
    memory: Parameters,
    work: Workspace,
    inputs: _Ids,
    targets: _Ids,
    losses: NDArray[np.float64],
    *,
    rate: float,
    clip: float,
    reset: bool,
) -> int: ...
def sample(
    hs: _Real,
    params: Parameters,
    work: Workspace,
    ids: _Ids,
    first: int,
    random: NDArray[np.uint64],
    allowed: NDArray[np.int8],
    left: NDArray[np.int8],
    *,
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float,
    no_repeat: int,
) -> None: ...
def search(
    hs: _Real,
    params: Parameters,
    work: Workspace,
    ids: _Ids,
    parents: _Ids,
    scores: NDArray[np.float64],
    ended: NDArray[np.int8],
    allowed: NDArray[np.int8],
    boundary: int,
) -> None: ...
def fma_chains(n: int) -> int: ...

__pyx_capi__: dict[str, object]  # the C-level functions of _core.pxd

def cpu_level() -> str: ...
def addresses() -> tuple[int, int]: ...
def use(functions: tuple[int, int]) -> None: ...
