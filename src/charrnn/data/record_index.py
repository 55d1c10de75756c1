"""Which records a model was trained on, kept small: for `CharRNN.generate_many(novel=True)`."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def _fingerprint(record: str | bytes) -> int:
    import hashlib  # here, and so elsewhere: with OpenSSL it costs an import of charrnn some milliseconds

    data = (
        record if isinstance(record, bytes) else str.encode(record, "utf-8")
    )  # whatever the class of a record makes of it
    return int.from_bytes(hashlib.blake2b(data, digest_size=4).digest(), "little")


class RecordIndex:
    """A set of records in four bytes each, ascending. It knows every one put in, and takes one in 4 billion / len(self) others for one."""

    def __init__(self, fingerprints: NDArray[np.uint32]) -> None:
        if (fingerprints[1:] <= fingerprints[:-1]).any():
            raise ValueError("the fingerprints of records must be ascending")
        self.fingerprints: NDArray[np.uint32] = fingerprints

    @classmethod
    def of(cls, records: Iterable[str | bytes]) -> "RecordIndex":
        """Return the index of an iterable of str or bytes."""
        return cls(np.unique(np.fromiter(map(_fingerprint, records), np.uint32)))

    def union(self, other: "RecordIndex | None") -> "RecordIndex":
        """Return an index of what is in this one or in other, which may be None."""
        return (
            self
            if other is None
            else RecordIndex(np.union1d(self.fingerprints, other.fingerprints))
        )

    def __contains__(self, record: str | bytes) -> bool:
        value = np.uint32(_fingerprint(record))
        place = np.searchsorted(self.fingerprints, value)
        return bool(place < len(self.fingerprints) and self.fingerprints[place] == value)

    def __len__(self) -> int:
        return len(self.fingerprints)
