"""Which records a model was trained on, kept small: for `CharRNN.generate_many(novel=True)`."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def _fingerprint(record: str | bytes) -> int:
    import hashlib  # imported here, and elsewhere, to keep `import charrnn` fast: it loads OpenSSL

    # str.encode: of what the record is, whatever its class makes of encode.
    data = record if isinstance(record, bytes) else str.encode(record, "utf-8")
    return int.from_bytes(hashlib.blake2b(data, digest_size=4).digest(), "little")


class RecordIndex:
    """A set of records in four bytes each.

    It knows every record put in, and mistakes one in 4 billion / len(self) others for one of them.
    """

    def __init__(self, fingerprints: NDArray[np.uint32]) -> None:
        if (fingerprints[1:] <= fingerprints[:-1]).any():
            raise ValueError("the fingerprints of records must be ascending")
        self.fingerprints: NDArray[np.uint32] = fingerprints

    @classmethod
    def from_records(cls, records: Iterable[str | bytes]) -> "RecordIndex":
        """Return the index of str or bytes."""
        return cls(np.unique(np.fromiter(map(_fingerprint, records), np.uint32)))

    def union(self, other: "RecordIndex | None") -> "RecordIndex":
        """Return an index of what is in this one or in other, which may be None."""
        if other is None:
            return self
        return RecordIndex(np.union1d(self.fingerprints, other.fingerprints))

    def __contains__(self, record: str | bytes) -> bool:
        value = np.uint32(_fingerprint(record))
        place = np.searchsorted(self.fingerprints, value)
        return bool(place < len(self.fingerprints) and self.fingerprints[place] == value)

    def __len__(self) -> int:
        return len(self.fingerprints)
