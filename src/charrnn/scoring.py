"""How much texts surprise a network: many as a batch, each with the bits of one by one."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .network import Network
from .reader import IGNORED
from .vocabulary import AnyText, Vocabulary, check_on_unknown

_STREAMS = 64  # texts that are scored together; more is no faster
_LARGEST_BATCH = 1 << 20  # characters scored together


def bits_per_symbol(network: Network, vocabulary: Vocabulary, texts: Sequence[AnyText], name: str, on_unknown: str) -> NDArray[np.float64]:
    """Return the mean surprise of each text in bits per character, for records per symbol with the end: float64 (len(texts),).

    name is what to call text number i in an error: name.format(i). A text with nothing to score (all of it skipped) gets NaN.
    """
    ids, lengths = _encode_all(vocabulary, texts, name, on_unknown)
    ends = np.cumsum(lengths)
    sums = np.empty(len(texts))
    order = np.argsort(lengths, kind="stable")
    ascending = lengths[order]
    start = 0
    while start < len(texts):
        # Texts of like length, so that a batch ignores few targets; long texts in smaller batches.
        end = min(start + _STREAMS, int(np.searchsorted(ascending, 2 * ascending[start] + 16, "right")))
        end = start + max(1, min(end - start, _LARGEST_BATCH // max(1, int(ascending[end - 1]))))
        batch = order[start:end]
        start = end
        # Row by row: the same sum whatever the batch, which a pairwise sum would not be.
        losses = nll(network, vocabulary, ids, ends[batch] - lengths[batch], lengths[batch])
        sums[batch] = np.cumsum(losses, axis=0)[-1] if len(losses) else 0
    symbols = lengths + vocabulary.records
    bits: NDArray[np.float64] = np.divide(sums, symbols, out=np.full(len(texts), np.nan), where=symbols > 0) / math.log(2)
    return bits


def _encode_all(
    vocabulary: Vocabulary, texts: Sequence[AnyText], name: str, on_unknown: str
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the ids of all texts, one after the other, and the length of each: encoded as one, which is much faster."""
    skip = check_on_unknown(on_unknown)
    for i, text in enumerate(texts):
        if not len(vocabulary.check(name.format(i), text)) and not vocabulary.records:
            raise ValueError(f"{name.format(i)} must have at least one character")
    ids = vocabulary.lookup(vocabulary.empty.join(texts))
    lengths = np.array([len(text) for text in texts], np.int64)
    known = np.concatenate([[0], np.cumsum(ids >= 0)])
    if known[-1] == len(ids):
        return ids, lengths
    ends = np.cumsum(lengths)
    known = known[ends] - known[ends - lengths]
    if not skip:
        where = int(np.argmax(known < lengths))
        vocabulary.encode(texts[where], name=name.format(where))  # raises and says which character
    return ids[ids >= 0], known


def nll(
    network: Network, vocabulary: Vocabulary, ids: NDArray[np.int32], starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the loss of each character of the texts ids[start : start + length], in nats, a column a text; 0 after its end.

    For records, also of the end; row t is what follows t characters.
    """
    records, boundary = vocabulary.records, len(vocabulary)
    rows = int(lengths.max()) + records
    if not rows:
        return np.empty((0, len(starts)))
    t = np.arange(rows)[:, None]
    ids = np.append(ids, ids.dtype.type(0))  # a place to point at beyond the last text
    targets = np.where(t < lengths, ids[np.where(t < lengths, starts + t, 0)], IGNORED)
    read = ids[starts + np.clip(t, 0, np.maximum(lengths - 1, 0))]  # after its end its last again: no weights but its own count
    if records:
        targets[np.broadcast_to(t == lengths, targets.shape)] = boundary
        read = np.vstack([np.full(len(starts), boundary), np.where(lengths > 0, read[:-1], boundary)])
    work = network.workspace(min(64, rows), len(starts))
    if records:
        return network.evaluate(work, read, targets)
    first = network.next_nll(work, targets[0])  # of the zero state
    return np.vstack([first, network.evaluate(work, read[:-1], targets[1:])])
