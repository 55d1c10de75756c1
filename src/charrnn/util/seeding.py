"""Seeds to generator states: the same numbers in every version of NumPy and on every machine."""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import check_integer

_PIECE = 1 << 16  # random numbers made at a time, where they are many
_LARGEST = 2**64 - 1
_STEP = 0xD1B54A32D192ED03  # from one generator state to the next
_SORTED = 1 << 20  # that are sorted at a time, the smallest first: Ctrl-C waits for no more


def random_seed() -> int:
    """Return a seed from the operating system."""
    return int.from_bytes(os.urandom(8), "little")


def make_random(seed: int | None, streams: int = 1, first: int = 0) -> NDArray[np.uint64]:
    """Return the generator states number first and following, uint64 (streams,).

    Number i depends on seed and i only. seed None takes one from the operating system.
    """
    if seed is None:
        seed = random_seed()
    start = _mix(check_integer("seed", seed, 0, _LARGEST))
    if streams == 1:  # integers of Python are faster than an array of one number
        return np.array([_mix((start + first * _STEP) & _LARGEST)], np.uint64)
    numbers = np.arange(first, first + streams, dtype=np.uint64)
    states: NDArray[np.uint64] = _mix(numbers * np.uint64(_STEP) + np.uint64(start))
    return states


def _mix(z: Any) -> Any:
    """Scramble an integer of 64 bits, or an array of uint64, one to one.

    It is the output function of SplitMix64: neighbouring seeds start far apart.
    """
    kind: Any = int if isinstance(z, int) else np.uint64
    z = ((z ^ (z >> kind(30))) * kind(0xBF58476D1CE4E5B9)) & kind(_LARGEST)
    z = ((z ^ (z >> kind(27))) * kind(0x94D049BB133111EB)) & kind(_LARGEST)
    return z ^ (z >> kind(31))


def permutation(n: int, *seeds: int) -> NDArray[np.signedinteger[Any]]:
    """Return the numbers 0 to n - 1 in an order that depends on the seeds (integers) only."""
    state = np.zeros(1, np.uint64)
    for seed in seeds:
        state = _mix(state + np.uint64(seed))
    keys = np.empty(n, np.uint64)
    for first in range(0, n, _PIECE):
        keys[first : first + _PIECE] = make_random(int(state[0]), min(_PIECE, n - first), first)
    dtype: Any = np.int32 if n < 2**31 else np.int64  # of very many records half the memory
    order: NDArray[np.signedinteger[Any]] = np.empty(n, dtype)
    done, parts = 0, -(-n // _SORTED)
    for part in range(parts):
        some = np.flatnonzero(
            (keys >= 2**64 * part // parts) & (keys <= 2**64 * (part + 1) // parts - 1)
        )
        order[done : done + len(some)] = some[np.argsort(keys[some])]  # no two are equal
        done += len(some)
    return order
