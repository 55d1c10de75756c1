"""SHA-256 of arrays, block by block."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Bytes of an array at a time: they stay in a core's cache, and Ctrl-C is never far.
_PIECE = 1 << 20


def sha256(arrays: Iterable[NDArray[Any]]) -> str:
    """Return the SHA-256 of the bytes of arrays as they come, one after the other."""
    import hashlib  # here: with OpenSSL it costs an import of charrnn some milliseconds

    digest = hashlib.sha256()
    for array in arrays:
        for block in blocks(array):
            digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()


def blocks(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield the rows of an array in views of about `_PIECE` bytes."""
    rows = max(1, _PIECE * len(array) // max(array.nbytes, 1))
    for start in range(0, len(array) if array.size else 0, rows):
        yield array[start : start + rows]
