"""How much texts surprise a network: scored as a batch, each gets the bits that it gets alone.

A character that is not in the vocabulary is skipped or costs as much as the least likely one there;
the network reads it in neither case.
"""

import itertools
import math
import re
from collections.abc import Sequence
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
_ROWS = 64  # characters of each at a time, so that memory does not grow with the texts
_ON_UNKNOWN, _LOG_2 = get_args(OnUnknown), math.log(2)


class Encoded(NamedTuple):
    """The ids of texts one after the other, -1 if unknown; known and unknown characters of each."""

    ids: NDArray[np.int32]
    known: list[int]
    unknown: list[int]

    @classmethod
    def from_texts(
        cls, vocabulary: Vocabulary, texts: Sequence[AnyText], name: str, on_unknown: OnUnknown
    ) -> "Encoded":
        """Encode texts all at once, which is fast; an error names text i as name.format(i)."""
        check_choice("on_unknown", on_unknown, _ON_UNKNOWN)
        exact = type(vocabulary.empty)  # most are, and need no check
        texts = [
            text if type(text) is exact else vocabulary.check(name.format(i), text)
            for i, text in enumerate(texts)
        ]
        ids, missing = vocabulary.ids_and_unknown(vocabulary.empty.join(texts))
        lengths = [*map(len, texts)]
        if not missing:
            return cls(ids, lengths, [0] * len(texts))
        places, ends = np.flatnonzero(ids < 0), np.cumsum(lengths)
        if on_unknown == "error":
            i = int(np.searchsorted(ends, places[0], "right"))
            vocabulary.encode(texts[i], name=name.format(i))  # raises, and says which characters
        unknown = np.searchsorted(places, ends) - np.searchsorted(places, ends - lengths)
        return cls(ids, (lengths - unknown).tolist(), unknown.tolist())


def total_nll(
    start: PrimedState, texts: Encoded, on_unknown: OnUnknown, end: bool = True
) -> tuple[list[float], list[int]]:
    """Return the summed loss of each text after a start in nats, and its symbols.

    A symbol is a character or, if that counts, the end of a record.
    """
    sums = known_nll(start, texts, end)
    more = int(start.vocabulary.records and end)
    symbols = [known + more for known in texts.known] if more else texts.known
    if on_unknown == "surprise" and any(texts.unknown):
        symbols = [sum(counts) for counts in zip(symbols, texts.unknown, strict=True)]
        ends = np.cumsum(texts.known) + np.cumsum(texts.unknown)
        for i in np.flatnonzero(texts.unknown):
            ids = texts.ids[ends[i] - texts.known[i] - texts.unknown[i] : ends[i]]
            sums[i] = total(unknown_nll(start, ids), sums[i])
    return sums, symbols


def bits(sums: Sequence[float], symbols: Sequence[int], total: bool) -> list[float]:
    """Return losses of texts in bits: their sums in nats, or of each the mean, NaN of nothing."""
    if total:
        return [nats / _LOG_2 for nats in sums]
    pairs = zip(sums, symbols, strict=True)
    return [nats / n / _LOG_2 if n else math.nan for nats, n in pairs]


def total(losses: NDArray[np.float64], begin: float = 0.0) -> float:
    """Return the sum of losses, added one by one: unlike a pairwise sum, as they would be alone."""
    with np.errstate(over="ignore"):  # finite losses may have an infinite sum
        return float(np.cumsum(np.append(begin, losses))[-1])


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


def known_nll(start: PrimedState, texts: Encoded, end: bool = True) -> list[float]:
    """Return the summed loss of the known symbols of each text in nats."""
    lengths = texts.known
    ids = texts.ids[texts.ids >= 0] if any(texts.unknown) else texts.ids
    sums = _symbols_nll(start, ids, lengths, end)
    if not start.vocabulary.rare:
        return sums
    more = np.cumsum(np.append(0.0, ids == start.vocabulary.rare_id))[np.cumsum([0, *lengths])]
    nats = start.vocabulary.rare_nats(np.array([start.vocabulary.rare_id]))
    found: list[float] = (np.array(sums) + np.diff(more) * nats).tolist()
    return found


def _symbols_nll(
    start: PrimedState, ids: NDArray[np.int32], lengths: list[int], end: bool
) -> list[float]:
    """Return the summed loss of the symbols of each text, which rare characters share."""
    if len(lengths) == 1:
        found: list[float] = nll(start, ids, lengths, end)
        return found
    sizes = np.array(lengths, np.int64)
    order = np.argsort(sizes, kind="stable")  # texts of similar length: few targets to ignore
    ends, sizes, sums = np.cumsum(sizes)[order], sizes[order], np.empty(len(sizes))
    begins = ends - sizes
    streams = min(_STREAMS, _UNITS // len(start.network.description.units))
    streams = start.network.rows(1, max(1, streams))
    first = 0
    while first < len(sizes):
        similar = int(np.searchsorted(sizes, 2 * sizes[first] + 16, "right"))
        batch = slice(first, min(first + streams, similar))
        spans = zip(begins[batch].tolist(), ends[batch].tolist(), strict=True)
        pieces = [ids[begin:stop] for begin, stop in spans]
        sums[order[batch]] = nll(start, np.concatenate(pieces), sizes[batch].tolist(), end)
        first = batch.stop
    summed: list[float] = sums.tolist()
    return summed


def symbol_nll(
    start: PrimedState, ids: NDArray[np.int32], on_unknown: OnUnknown
) -> NDArray[np.float64]:
    """Return the loss of each symbol of a text after a start in nats, a record's end included."""
    known = ids >= 0
    read = ids[known]
    losses: NDArray[np.float64] = nll(start, read, [len(read)], each=True)[:, 0]
    losses[: len(read)] += start.vocabulary.rare_nats(read)
    if on_unknown != "surprise" or known.all():
        return losses
    known = np.concatenate([known, np.ones(int(start.vocabulary.records), np.bool_)])
    result = np.empty(len(known))
    result[known], result[~known] = losses, unknown_nll(start, ids)
    return result


def nll(
    start: PrimedState,
    ids: NDArray[np.int32],
    lengths: list[int],
    end: bool = True,
    each: bool = False,
) -> Any:
    """Return the loss of texts after a start in nats, whose ids lie one after the other.

    With each, that of each symbol; see `Network.score`.
    """
    network, vocabulary = start.network, start.vocabulary
    rows = max(lengths) + 1
    work = start.workspace(network.rows(len(lengths), min(_ROWS, rows)), len(lengths))
    boundary = len(vocabulary) if vocabulary.records and end else IGNORED
    losses = network.score(work, ids, lengths, boundary, each)
    network.give_back(work)
    return losses


def unknown_nll(start: PrimedState, ids: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return the loss of each unknown character (-1) of a text after a start, in nats.

    It is that of the least likely character there.
    """
    network, known, characters = start.network, ids[ids >= 0], len(start.vocabulary)
    more = start.vocabulary.rare_nats(np.arange(characters))
    # Unknown characters after the same number of known ones cost the same.
    places, which = np.unique(np.cumsum(ids >= 0)[ids < 0], return_inverse=True)
    losses = np.empty(len(places))
    work = start.workspace(network.rows(1, 64), 1)
    for i, (first, place) in enumerate(itertools.pairwise([0, *places.tolist()])):
        if first < place:
            network.feed(work, known[first:place, None])
        losses[i] = (more - network.next_log_probs(work)[0, :characters]).max()
    network.give_back(work)
    return losses[which]
