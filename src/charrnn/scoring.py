"""How much texts surprise a network: many as a batch, each with the bits of one by one."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .network import Network
from .reader import IGNORED
from .vocabulary import AnyText, Vocabulary, check_on_unknown

_STREAMS = 64  # texts that are scored together; more is no faster
_PIECE = 1 << 16  # characters of them at a time: what is needed beside the ids does not grow with the texts


@np.errstate(over="ignore")  # of finite losses the sum may be infinite, and so may be bits of finite nats
def bits_per_symbol(network: Network, vocabulary: Vocabulary, texts: Sequence[AnyText], name: str, on_unknown: str) -> NDArray[np.float64]:
    """Return the mean surprise of each text in bits per character, for records per symbol with the end: float64 (len(texts),).

    name is what to call text number i in an error: name.format(i). A text with nothing to score (all of it skipped) gets NaN.
    """
    ids, lengths = _encode_all(vocabulary, texts, name, on_unknown)
    starts = np.cumsum(lengths) - lengths
    sums = np.zeros(len(texts))
    order = np.argsort(lengths, kind="stable")
    ascending = lengths[order]
    start = 0
    while start < len(texts):
        # Texts of like length, so that a batch ignores few targets.
        end = min(start + _STREAMS, int(np.searchsorted(ascending, 2 * ascending[start] + 16, "right")))
        batch = order[start:end]
        start = end
        for losses in nll(network, vocabulary, ids, starts[batch], lengths[batch]):
            # Row by row: the same sum whatever the batch, which a pairwise sum would not be.
            sums[batch] = np.cumsum(np.vstack([sums[batch], losses]), axis=0)[-1]
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
    unknown = np.flatnonzero(ids < 0)
    if not len(unknown):
        return ids, lengths
    ends = np.cumsum(lengths)
    if not skip:
        where = int(np.searchsorted(ends, unknown[0], "right"))
        vocabulary.encode(texts[where], name=name.format(where))  # raises and says which character
    return ids[ids >= 0], lengths - (np.searchsorted(unknown, ends) - np.searchsorted(unknown, ends - lengths))


def nll(
    network: Network, vocabulary: Vocabulary, ids: NDArray[np.int32], starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> Iterator[NDArray[np.float64]]:
    """Yield the loss of each character of the texts ids[start : start + length], in nats, a column a text, some rows at a time.

    For records, also of the end; row t is what follows t characters. After the end of a text it is 0.
    """
    records, boundary = vocabulary.records, len(vocabulary)
    rows = int(lengths.max()) + records
    if not rows:
        return
    work = network.workspace(min(64, rows), len(starts))
    ids = np.append(ids, ids.dtype.type(0)) if not len(ids) else ids  # a place to point at
    step = max(1, _PIECE // len(starts))
    for first in range(0, rows, step):
        t = np.arange(first, min(first + step, rows))[:, None]
        targets = np.where(t < lengths, ids[np.where(t < lengths, starts + t, 0)], IGNORED)
        # What is read before it; after the end of a text its last again: no weights but its own count.
        last = np.maximum(lengths - 1, 0)
        read = ids[np.minimum(starts + np.clip(t - 1, 0, last), len(ids) - 1)]
        if records:
            targets[t == lengths] = boundary
            read[(t == 0) | (lengths == 0)] = boundary
        if records or first:
            yield network.evaluate(work, read, targets)
            continue
        yield network.next_nll(work, targets[0])[None]  # of the zero state
        if len(t) > 1:
            yield network.evaluate(work, read[1:], targets[1:])
