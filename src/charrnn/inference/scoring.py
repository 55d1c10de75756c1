"""How much texts surprise a network: many as a batch, each with the bits of one by one.

What is not in the vocabulary is left out, or costs as the least likely character there; the network reads it in neither case.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from ..data.vocabulary import AnyText, Vocabulary
from ..network import Network, Real
from ..network._types import IGNORED
from ..util.errors import check_choice

OnUnknown: TypeAlias = Literal[
    "error", "skip", "surprise"
]  # what to do about characters that are not in the vocabulary

_STREAMS, _UNITS = 256, 1 << 18  # texts that are scored together, at most, and their units
_PIECE = (
    1 << 16
)  # characters of them at a time: what is needed beside the ids does not grow with the texts


class Encoded(NamedTuple):
    """Texts as ids, one after the other, -1 for what is not in the vocabulary; and the characters of each that are, and are not."""

    ids: NDArray[np.int32]
    known: NDArray[np.int64]
    unknown: NDArray[np.int64]

    @classmethod
    def of(
        cls, vocabulary: Vocabulary, texts: Sequence[AnyText], name: str, on_unknown: OnUnknown
    ) -> "Encoded":
        """Encode texts as one, which is much faster; or raise what is wrong with text number i, called name.format(i)."""
        check_choice("on_unknown", on_unknown, get_args(OnUnknown))
        exact = type(vocabulary.empty)  # most are, and need neither a look nor a name
        texts = [
            text if type(text) is exact else vocabulary.check(name.format(i), text)
            for i, text in enumerate(texts)
        ]
        ids = vocabulary.lookup(vocabulary.empty.join(texts))
        lengths = np.array([len(text) for text in texts], np.int64)
        places, ends = np.flatnonzero(ids < 0), np.cumsum(lengths)
        if len(places) and on_unknown == "error":
            where = int(np.searchsorted(ends, places[0], "right"))
            vocabulary.encode(
                texts[where], name=name.format(where)
            )  # raises and says which characters
        unknown = np.searchsorted(places, ends) - np.searchsorted(places, ends - lengths)
        return cls(ids, lengths - unknown, unknown)


@np.errstate(
    over="ignore"
)  # of finite losses the sum may be infinite, and so may be bits of finite nats
def bits_per_symbol(
    network: Network, vocabulary: Vocabulary, texts: Encoded, state: Real, on_unknown: OnUnknown
) -> NDArray[np.float64]:
    """Return the mean surprise of each text after a state (width,) in bits per character, for records per symbol with the end: float64.

    A text with nothing to score (all of it skipped) gets NaN.
    """
    n, lengths = len(texts.known), texts.known
    ids = texts.ids[texts.ids >= 0] if texts.unknown.any() else texts.ids
    starts = np.cumsum(lengths) - lengths
    sums = np.zeros(n)
    order = np.argsort(lengths, kind="stable")
    ascending = lengths[order]
    start, streams = (
        0,
        network.rows(1, max(1, min(_STREAMS, _UNITS // len(network.description.units)))),
    )
    while start < n:
        # Texts of like length, so that a batch ignores few targets.
        end = min(
            start + streams, int(np.searchsorted(ascending, 2 * ascending[start] + 16, "right"))
        )
        batch = order[start:end]
        start = end
        for losses in nll(network, vocabulary, ids, starts[batch], lengths[batch], state):
            # Row by row: the same sum whatever the batch, which a pairwise sum would not be.
            sums[batch] = np.cumsum(np.vstack([sums[batch], losses]), axis=0)[-1]
    symbols = lengths + vocabulary.records
    if on_unknown == "surprise":
        symbols = symbols + texts.unknown
        ends = np.cumsum(texts.known + texts.unknown)
        for i in np.flatnonzero(texts.unknown):
            text = texts.ids[ends[i] - texts.known[i] - texts.unknown[i] : ends[i]]
            sums[i] = np.cumsum(np.append(sums[i], unknown_nll(network, vocabulary, text, state)))[
                -1
            ]
    bits: NDArray[np.float64] = np.divide(
        sums, symbols, out=np.full(n, np.nan), where=symbols > 0
    ) / math.log(2)
    return bits


def symbol_nll(
    network: Network,
    vocabulary: Vocabulary,
    ids: NDArray[np.int32],
    state: Real,
    on_unknown: OnUnknown,
) -> NDArray[np.float64]:
    """Return the loss of each symbol of a text (ids, or -1) after a state in nats, of records with the end."""
    known = ids >= 0
    pieces = nll(network, vocabulary, ids[known], np.array([0]), np.array([known.sum()]), state)
    losses = np.concatenate([np.empty(0), *(piece[:, 0] for piece in pieces)])
    if on_unknown != "surprise" or known.all():
        return losses
    whole = np.concatenate([known, np.ones(int(vocabulary.records), np.bool_)])
    result = np.empty(len(whole))
    result[whole], result[~whole] = losses, unknown_nll(network, vocabulary, ids, state)
    return result


def nll(
    network: Network,
    vocabulary: Vocabulary,
    ids: NDArray[np.int32],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    state: Real,
) -> Iterator[NDArray[np.float64]]:
    """Yield the loss of each character of the texts ids[start : start + length], in nats, a column a text, some rows at a time.

    Each is read after state (width,). For records, also of the end; row t is what follows t characters. After the end of a text it is 0.
    """
    records, boundary = vocabulary.records, len(vocabulary)
    rows = int(lengths.max(initial=0)) + records
    if not rows:
        return
    work = network.workspace(network.rows(len(starts), min(64, rows)), len(starts))
    work.state[...] = state
    ids = np.append(ids, ids.dtype.type(0)) if not len(ids) else ids  # a place to point at
    step = max(1, _PIECE // len(starts))
    last = np.maximum(lengths - 1, 0)
    for first in range(0, rows, step):
        t = np.arange(first, min(first + step, rows))[:, None]
        targets = np.where(t < lengths, ids[np.where(t < lengths, starts + t, 0)], IGNORED)
        # What is read before it; after the end of a text its last again: no weights but its own count.
        read = ids[np.minimum(starts + np.clip(t - 1, 0, last), len(ids) - 1)]
        if records:
            targets[t == lengths] = boundary
            read[:, lengths == 0] = boundary
        if not first:
            yield network.next_nll(work, targets[0])[None]  # of the state
        read, targets = (read, targets) if first else (read[1:], targets[1:])
        if len(read):
            yield network.evaluate(work, read, targets)


def unknown_nll(
    network: Network, vocabulary: Vocabulary, ids: NDArray[np.int32], state: Real
) -> NDArray[np.float64]:
    """Return the loss of each unknown character (-1) among ids, read after a state, as of the least likely character there, in nats."""
    known = ids[ids >= 0]
    # Before which of the known characters they are: those before the same one cost the same.
    places, which = np.unique(np.cumsum(ids >= 0)[ids < 0], return_inverse=True)
    losses = np.empty(len(places))
    work = network.workspace(network.rows(1, 64), 1)
    work.state[...] = state
    if places[0] == 0:
        least = network.next_probs(work)[0, : len(vocabulary)].argmin()
        losses[0] = network.next_nll(work, [least])[0]
    for first in range(0, int(places[-1]), work.T):
        read = known[first : first + work.T, None]
        here = slice(*np.searchsorted(places, (first, first + len(read)), "right"))
        rows = places[here] - first - 1
        targets = np.full_like(read, IGNORED)
        targets[rows, 0] = network.next_logits(work, read)[rows, 0, : len(vocabulary)].argmin(
            axis=1
        )
        losses[here] = network.evaluate(work, read, targets)[rows, 0]
    return losses[which]
