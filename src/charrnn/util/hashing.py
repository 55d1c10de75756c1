"""SHA-256 of arrays, block by block."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PIECE = (
    1 << 20
)  # bytes of an array that are hashed or written at a time, between two looks at Ctrl-C: they stay in a core's cache


def sha256(*arrays: NDArray[Any]) -> str:
    """Return the SHA-256 of the bytes of arrays, one after the other."""
    return sha256_of(arrays)


def sha256_of(arrays: Iterable[NDArray[Any]]) -> str:
    """Return the SHA-256 of the bytes of arrays as they come, one after the other."""
    import hashlib

    digest = hashlib.sha256()
    for array in arrays:
        update(digest, array)
    return digest.hexdigest()


def update(digest: Any, array: NDArray[Any]) -> None:
    """Hash the bytes of an array, row by row, without its padding."""
    for block in blocks(array):
        digest.update(np.ascontiguousarray(block))


def blocks(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield some rows of an array after the other, `_PIECE` bytes: nothing needs as much memory again."""
    rows = max(1, _PIECE * len(array) // max(array.nbytes, 1))
    for start in range(0, len(array) if array.size else 0, rows):
        yield array[start : start + rows]
