"""The arrays of a network: parameters in one block, and the scratch space of a window."""

from copy import copy
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ._dispatch import core

NAMES = ("Wxh", "Whh", "Why", "bh", "by")
Real: TypeAlias = np.ndarray[Any, np.dtype[np.floating[Any]]]  # float32 or float64
_ALIGNMENT = 64  # bytes: a cache line, and the widest vector


def padded(size: int) -> int:
    """Return the leading dimension of rows of size numbers: an odd multiple of core.LANES.

    A multiple, so that no loop of the kernels has a ragged tail; odd, so that the rows of a matrix do not compete for the same few
    sets of a first-level cache, as they do at powers of two.
    """
    lanes = -(-size // core.LANES)
    return (lanes + (lanes + 1) % 2) * core.LANES


def zeros(shape: int | tuple[int, ...], dtype: DTypeLike) -> Real:
    """Return a C-ordered array of zeros that starts on a cache line."""
    size = int(np.prod(shape))
    spare = _ALIGNMENT // np.dtype(dtype).itemsize
    block = np.zeros(size + spare, dtype=dtype)
    start = -block.ctypes.data % _ALIGNMENT // block.itemsize
    return block[start : start + size].reshape(shape)


class Parameters:
    """Five arrays in one block: `block` is all of them, `dense` all but Wxh.

    Wxh (V, Hp), Whh (H, Hp), Why (H, Vp), bh (Hp,), by (Vp,): row i of a matrix holds the weights that leave unit or character i,
    so U = Wxh.T, W = Whh.T and V = Why.T in the tutorial's letters. Also the shape of gradients and of Adagrad's memory.
    """

    hidden_size: int
    vocab_size: int
    block: Real
    dense: Real
    Wxh: Real
    Whh: Real
    Why: Real
    bh: Real
    by: Real

    def __init__(self, hidden_size: int, vocab_size: int, dtype: DTypeLike) -> None:
        H, V, Hp, Vp = hidden_size, vocab_size, padded(hidden_size), padded(vocab_size)
        self.hidden_size, self.vocab_size = H, V
        shapes = ((V, Hp), (H, Hp), (H, Vp), (Hp,), (Vp,))
        ends = np.cumsum([np.prod(shape) for shape in shapes])
        self.block = zeros(ends[-1], dtype)
        parts = np.split(self.block, ends[:-1])
        self.Wxh, self.Whh, self.Why, self.bh, self.by = (part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))
        self.dense = self.block[ends[0] :]

    def views(self) -> dict[str, Real]:
        """Return the five arrays without their padding, by name: views (V, H), (H, H), (H, V), (H,), (V,)."""
        H, V = self.hidden_size, self.vocab_size
        return {"Wxh": self.Wxh[:, :H], "Whh": self.Whh[:, :H], "Why": self.Why[:, :V], "bh": self.bh[:H], "by": self.by[:V]}

    def copy_from(self, other: "Parameters") -> None:
        """Take over the values of other, which has the same shape, but for the padding."""
        for here, there in zip(self.views().values(), other.views().values(), strict=True):
            here[...] = there

    def grow_from(self, other: "Parameters", places: list[int]) -> None:
        """Take over the values of other, whose symbol i is number places[i] here; biases of symbols that are new start at its lowest."""
        here, there = self.views(), other.views()
        here["Wxh"][places], here["Why"][:, places] = there["Wxh"], there["Why"]
        here["Whh"][...], here["bh"][...] = there["Whh"], there["bh"]
        here["by"][...] = there["by"].min()
        here["by"][places] = there["by"]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy the block only: the five arrays are views of it, and would come back as arrays of their own."""
        return Parameters, (self.hidden_size, self.vocab_size, self.block.dtype), self.block

    def __setstate__(self, block: Real) -> None:
        self.block[...] = block


class Workspace:
    """Scratch space of one window of T characters in B streams. `hs[0]` is the state that is carried from window to window.

    hs (T + 1, B, Hp); p (T, B, Vp); dh (T, B, Hp), in the forward pass the sums before tanh. With training=True also what the
    backward pass needs.
    """

    hs: Real
    dh: Real
    p: Real
    dz: Real
    grads: Parameters
    WhhT: Real
    WhyT: Real
    zeros: Real
    used: NDArray[np.int8]
    nll: NDArray[np.float64]

    def __init__(self, T: int, B: int, hidden_size: int, vocab_size: int, dtype: DTypeLike, training: bool = False) -> None:
        H, V, Hp, Vp = hidden_size, vocab_size, padded(hidden_size), padded(vocab_size)
        self.hs = zeros((T + 1, B, Hp), dtype)
        self.dh = zeros((T, B, Hp), dtype)
        self.p = zeros((T, B, Vp), dtype)
        if training:
            self.dz = zeros((T, B, Hp), dtype)
            self.grads = Parameters(H, V, dtype)
            self.WhhT, self.WhyT = zeros((H, Hp), dtype), zeros((V, Hp), dtype)
            self.zeros = zeros(max(Hp, Vp), dtype)
            self.used = np.zeros(V, dtype=np.int8)
            self.nll = np.zeros((T, B))

    def first(self, T: int) -> "Workspace":
        """Return a workspace of T time steps that shares the memory of this one, which has at least as many."""
        if T == len(self.dh):
            return self
        part = copy(self)
        part.hs, part.dh, part.p, part.dz, part.nll = self.hs[: T + 1], self.dh[:T], self.p[:T], self.dz[:T], self.nll[:T]
        return part
