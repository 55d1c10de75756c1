"""How much texts surprise a network: scored as a batch, each gets the bits that it gets alone.

A character that is not in the vocabulary is skipped or costs as much as the least likely one there;
the network reads it in neither case.
"""

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from ..data.vocabulary import AnyText, Vocabulary
from ..network._types import IGNORED
from ..util.errors import check_choice
from .sampling import PrimedState

# What to do about characters that are not in the vocabulary.
OnUnknown: TypeAlias = Literal["error", "skip", "surprise"]

_STREAMS, _UNITS = 256, 1 << 18  # most texts in a batch, and most units in all its streams
_CHARACTERS = 1 << 16  # of a batch at a time, so that memory does not grow with the texts


class Encoded(NamedTuple):
    """The ids of texts one after the other, -1 if unknown; known and unknown characters of each."""

    ids: NDArray[np.int32]
    known: NDArray[np.int64]
    unknown: NDArray[np.int64]

    @classmethod
    def from_texts(
        cls, vocabulary: Vocabulary, texts: Sequence[AnyText], name: str, on_unknown: OnUnknown
    ) -> "Encoded":
        """Encode texts all at once, which is fast; an error names text i as name.format(i)."""
        check_choice("on_unknown", on_unknown, get_args(OnUnknown))
        exact = type(vocabulary.empty)  # most are, and need no check
        texts = [
            text if type(text) is exact else vocabulary.check(name.format(i), text)
            for i, text in enumerate(texts)
        ]
        ids = vocabulary.lookup(vocabulary.empty.join(texts))
        lengths = np.array([len(text) for text in texts], np.int64)
        places, ends = np.flatnonzero(ids < 0), np.cumsum(lengths)
        if len(places) and on_unknown == "error":
            i = int(np.searchsorted(ends, places[0], "right"))
            vocabulary.encode(texts[i], name=name.format(i))  # raises, and says which characters
        unknown = np.searchsorted(places, ends) - np.searchsorted(places, ends - lengths)
        return cls(ids, lengths - unknown, unknown)


@np.errstate(over="ignore")  # finite losses may have an infinite sum
def total_nll(
    start: PrimedState, texts: Encoded, on_unknown: OnUnknown, end: bool = True
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the summed loss of each text after a start in nats, (n,), and its symbols.

    A symbol is a character or, if that counts, the end of a record.
    """
    sums = known_nll(start, texts, end)
    symbols = texts.known + (start.vocabulary.records and end)
    if on_unknown == "surprise":
        symbols = symbols + texts.unknown
        ends = np.cumsum(texts.known + texts.unknown)
        for i in np.flatnonzero(texts.unknown):
            ids = texts.ids[ends[i] - texts.known[i] - texts.unknown[i] : ends[i]]
            sums[i] = _sum(sums[i], unknown_nll(start, ids))
    return sums, symbols


def bits(sums: NDArray[np.float64], symbols: NDArray[np.int64], total: bool) -> NDArray[np.float64]:
    """Return losses of texts in bits: their sums in nats, or of each the mean, NaN of nothing."""
    if not total:
        sums = np.divide(sums, symbols, out=np.full(len(sums), np.nan), where=symbols > 0)
    with np.errstate(over="ignore"):  # nearly the largest number, in nats
        return sums / math.log(2)


def word_bits(text: AnyText, losses: NDArray[np.float64]) -> list[tuple[AnyText, float]]:
    """Return the words of a text, and the bits of each with the whitespace after it.

    losses (nats) are of all characters and of the end of a record, which counts for the last word;
    whitespace at the beginning counts for the first.
    """
    pattern: Any = rb"\s*\S+\s*" if isinstance(text, bytes) else r"\s*\S+\s*"
    words = re.findall(pattern, text) or [text]
    starts = np.cumsum([0, *map(len, words[:-1])])
    sums = np.add.reduceat(losses, starts) / math.log(2)
    return [(word.strip(), bits) for word, bits in zip(words, sums.tolist(), strict=True)]


def known_nll(start: PrimedState, texts: Encoded, end: bool = True) -> NDArray[np.float64]:
    """Return the summed loss of the known symbols of each text in nats, float64 (n,)."""
    lengths = texts.known
    ids = texts.ids[texts.ids >= 0] if texts.unknown.any() else texts.ids
    starts = np.cumsum(lengths) - lengths
    sums = np.zeros(len(lengths))
    order = np.argsort(lengths, kind="stable")
    ascending = lengths[order]
    streams = min(_STREAMS, _UNITS // len(start.network.description.units))
    streams = start.network.rows(1, max(1, streams))
    first = 0
    while first < len(lengths):
        # Texts of similar length, so that a batch has few targets to ignore.
        similar = int(np.searchsorted(ascending, 2 * ascending[first] + 16, "right"))
        batch = order[first : min(first + streams, similar)]
        first += len(batch)
        for losses in nll(start, ids, starts[batch], lengths[batch], end):
            sums[batch] = _sum(sums[batch], losses)
    return sums


def _sum(total: NDArray[np.float64], losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add losses row by row: unlike a pairwise sum, it doesn't depend on how they are batched."""
    sums: NDArray[np.float64] = np.cumsum(np.concatenate([[total], losses]), axis=0)[-1]
    return sums


def symbol_nll(
    start: PrimedState, ids: NDArray[np.int32], on_unknown: OnUnknown
) -> NDArray[np.float64]:
    """Return the loss of each symbol of a text after a start in nats, a record's end included."""
    known = ids >= 0
    pieces = nll(start, ids[known], np.array([0]), np.array([known.sum()]))
    losses = np.concatenate([np.empty(0), *(piece[:, 0] for piece in pieces)])
    if on_unknown != "surprise" or known.all():
        return losses
    known = np.concatenate([known, np.ones(int(start.vocabulary.records), np.bool_)])
    result = np.empty(len(known))
    result[known], result[~known] = losses, unknown_nll(start, ids)
    return result


def nll(
    start: PrimedState,
    ids: NDArray[np.int32],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    end: bool = True,
) -> Iterator[NDArray[np.float64]]:
    """Yield the losses of B texts after a start in nats: float64 (rows, B), some rows at a time.

    Text i is ids[starts[i] : starts[i] + lengths[i]]. Row t is what follows t characters, of
    records also their end, if that counts; after the end of a text it is 0.
    """
    network, records, boundary = start.network, start.vocabulary.records, len(start.vocabulary)
    rows = int(lengths.max(initial=0)) + (records and end)
    if not rows:
        return
    work = start.workspace(network.rows(len(starts), min(64, rows)), len(starts))
    ids = ids if len(ids) else np.zeros(1, ids.dtype)  # something to index
    step = max(1, _CHARACTERS // len(starts))
    last = np.maximum(lengths - 1, 0)
    for first in range(0, rows, step):
        t = np.arange(first, min(first + step, rows))[:, None]
        targets = np.where(t < lengths, ids[np.where(t < lengths, starts + t, 0)], IGNORED)
        # Row t is predicted after reading character t - 1. A text that has ended repeats its last
        # character, so that it is affected by no weights but its own.
        read = ids[np.minimum(starts + np.clip(t - 1, 0, last), len(ids) - 1)]
        if records:
            targets[t == lengths] = boundary if end else IGNORED
            read[:, lengths == 0] = boundary
        if not first:
            yield network.next_nll(work, targets[0])[None]  # nothing is read before row 0
            read, targets = read[1:], targets[1:]
        if len(read):
            yield network.evaluate(work, read, targets)


def unknown_nll(start: PrimedState, ids: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return the loss of each unknown character (-1) of a text after a start, in nats.

    It is that of the least likely character there.
    """
    network, known, characters = start.network, ids[ids >= 0], len(start.vocabulary)
    # Unknown characters after the same number of known ones cost the same.
    places, which = np.unique(np.cumsum(ids >= 0)[ids < 0], return_inverse=True)
    losses = np.empty(len(places))
    work = start.workspace(network.rows(1, 64), 1)
    if places[0] == 0:
        least = network.next_probs(work)[0, :characters].argmin()
        losses[0] = network.next_nll(work, [least])[0]
    for first in range(0, int(places[-1]), work.T):
        read = known[first : first + work.T, None]
        here = slice(*np.searchsorted(places, (first, first + len(read)), "right"))
        rows = places[here] - first - 1
        targets = np.full_like(read, IGNORED)
        logits = network.next_logits(work, read)[rows, 0, :characters]
        targets[rows, 0] = logits.argmin(axis=1)
        losses[here] = network.evaluate(work, read, targets)[rows, 0]
    return losses[which]
