"""Which records a model was trained on, kept small: for `CharRNN.generate_many(novel=True)`."""

import hashlib

import numpy as np


def _fingerprint(record):
    data = record if isinstance(record, bytes) else record.encode("utf-8")
    return int.from_bytes(hashlib.blake2b(data, digest_size=4).digest(), "little")


class RecordIndex:
    """A set of records in four bytes each. It knows every record put in, and takes one in 4 billion / len(self) others for one of them.

    Parameters
    ----------
    fingerprints : ndarray (n,) of uint32
        Ascending.
    """

    def __init__(self, fingerprints):
        self.fingerprints = fingerprints

    @classmethod
    def of(cls, records):
        """Return the index of an iterable of str or bytes."""
        return cls(np.unique(np.fromiter(map(_fingerprint, records), np.uint32)))

    def union(self, other):
        """Return an index of what is in this one or in other, which may be None."""
        return self if other is None else RecordIndex(np.union1d(self.fingerprints, other.fingerprints))

    def __contains__(self, record):
        value = np.uint32(_fingerprint(record))
        place = np.searchsorted(self.fingerprints, value)
        return place < len(self.fingerprints) and bool(self.fingerprints[place] == value)

    def __len__(self):
        return len(self.fingerprints)
