"""The most probable texts: `likeliest` finds all of them in order, `beam_search` some, fast.

A text is at most as probable as its beginnings: the texts above a probability are found by
following the beginnings above it. `likeliest` does this in bands: it sorts the texts above a first
probability, then those between that and a lower one, and so on. Each band follows the beginnings
from the top once more, which costs little beside its own, so that memory holds one band of texts
and some thousand states, however far a search goes.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..data.vocabulary import AnyText, Vocabulary
from ..network import Real
from ..network._types import Workspace
from .sampling import PrimedState, Sampling

_LONGEST = 1 << 12  # characters of a text, where nothing else limits them
_ROWS, _NUMBERS = 512, 1 << 18  # beginnings that are read at once; most numbers in their states
_TEXTS = 1 << 20  # of a band
_FIRST, _FEW = 4.0, 1 << 12  # nats of the first band, and most beginnings that it follows
_GROWTH = 8  # times the beginnings of the band before, of a band at most

Symbols = NDArray[np.unsignedinteger]  # ids plus 1, big-endian: rows of bytes, ordered as texts


class Beginnings(NamedTuple):
    """Beginnings of texts, all of one length."""

    states: Real  # (n, width), before the last symbol
    symbols: Symbols  # (n, length)
    scores: NDArray[np.float64]  # (n,), log-probabilities

    def part(self, rows: slice | NDArray[np.bool_]) -> "Beginnings":
        """Return some of them."""
        return Beginnings(self.states[rows], self.symbols[rows], self.scores[rows])


class Band:
    """The most probable texts after `last`, at most `most` with log-probabilities from floor on.

    last is the log-probability and the code of a text: texts are in the order of falling
    probability, and equal ones in that of their symbols. known is a log-probability above which
    there are no more. The floor rises where a search follows too many beginnings.
    """

    def __init__(
        self, floor: float, known: float, last: tuple[float, bytes], most: int, limit: int
    ) -> None:
        self.floor: float = floor
        self.known: float = known
        self.last: tuple[float, bytes] = last
        self.most: int = most
        self.limit: int = limit
        self.followed: int = 0
        self.complete: bool = True  # whether there is nothing below it
        self.codes: list[NDArray[np.bytes_]] = [np.empty(0, "S1")]
        self.scores: list[NDArray[np.float64]] = [np.empty(0)]
        self.count: int = 0

    def follow(self, some: Beginnings) -> Beginnings:
        """Return those beginnings that may lead to texts of this band."""
        some = some.part(some.scores >= self.floor)
        self.followed += len(some.scores)
        if self.followed > self.limit:
            self.limit *= 2
            self._raise_floor((self.floor + self.known) / 2)
        return some

    def leave(self, scores: NDArray[np.float64]) -> None:
        """Note whether texts and beginnings with these log-probabilities are below the floor."""
        self.complete &= not ((scores < self.floor) & (scores > -math.inf)).any()

    def _raise_floor(self, floor: float) -> None:
        if floor > self.floor:
            self.floor, self.complete = floor, False

    def add(self, codes: NDArray[np.bytes_], scores: NDArray[np.float64]) -> None:
        """Add texts, of which it keeps those that it needs."""
        self.leave(scores)
        score, code = self.last
        after = (scores < score) | ((scores == score) & (codes > code))
        after &= scores >= self.floor
        self.codes.append(codes[after])
        self.scores.append(scores[after])
        self.count += int(after.sum())
        if self.count > 2 * self.most:
            self.sort()

    def sort(self) -> None:
        """Put the texts into their order, and drop those that are too many."""
        codes, scores = np.concatenate(self.codes), np.concatenate(self.scores)
        order = np.lexsort((codes, -scores))
        order = order[: min(self.most, np.count_nonzero(scores >= self.floor))]
        dropped = len(order) < len(scores)
        self.codes, self.scores, self.count = [codes[order]], [scores[order]], len(order)
        self.complete &= not dropped
        if self.count == self.most:
            self._raise_floor(float(self.scores[0][-1]))


class Search:
    """A search among all texts after a start, of at most max_length characters; None: any number.

    Texts of a model of text have exactly max_length characters.
    """

    def __init__(self, start: PrimedState, sampling: Sampling, max_length: int | None) -> None:
        self.start: PrimedState = start
        self.sampling: Sampling = sampling
        self.max_length: int | None = max_length
        V, work = start.vocabulary.symbols, start.workspace(1, 1)
        self.rows: int = max(16, min(_ROWS, _NUMBERS // max(V, work.state.shape[1])))
        self.works: dict[int, Workspace] = {1: work}
        kind = np.dtype(">u1" if V < 256 else ">u2" if V < 65536 else ">u4")
        first = np.zeros((1, 0), kind)
        self.root: Beginnings = Beginnings(work.state.copy(), first, np.zeros(1))
        # What is added to the log-probabilities of symbols that may not come.
        self.penalties: NDArray[np.float64] = np.where(sampling.allowed, 0.0, -math.inf)

    def texts(self, most: float, threshold: float) -> Iterator[tuple[AnyText, float]]:
        """Yield texts in their order, at most so many, and their log-probabilities."""
        kind = self.root.symbols.dtype
        for band in self.bands(most, threshold):
            (codes,), (scores,) = band.codes, band.scores
            found = _texts(self.start.vocabulary, codes, kind)
            yield from zip(found, scores.tolist(), strict=True)

    def bands(self, most: float, threshold: float) -> Iterator[Band]:
        """Yield bands with the texts, sorted."""
        floor, known, last, limit = -_FIRST, 0.0, (math.inf, b""), _FEW
        while most > 0:
            room = int(min(most, _TEXTS))
            band = Band(max(floor, threshold), known, last, room, limit)
            self.fill(band)
            if band.count:
                yield band
                last = float(band.scores[0][-1]), bytes(band.codes[0][-1])
            most -= band.count
            if band.complete or (band.floor <= threshold and band.count < room):
                return
            floor = band.floor - max(2 * (known - band.floor), 1e-6)
            known, limit = band.floor, max(_FEW, _GROWTH * band.followed)

    def fill(self, band: Band) -> None:
        """Put all texts of a band into it."""
        waiting, shortest = [[self.root]], 0  # by length
        while shortest < len(waiting):
            if not waiting[shortest]:
                shortest += 1
                continue
            # The longest of which there are enough for a call, or else the shortest: few wait.
            lengths = range(len(waiting) - 1, shortest, -1)
            length = next((n for n in lengths if _count(waiting[n]) >= self.rows), shortest)
            some = band.follow(_take(waiting[length], self.rows))
            if len(some.scores):
                if length + 1 == len(waiting):
                    waiting.append([])
                waiting[length + 1] += self.read(some, band)
        band.sort()

    def read(self, some: Beginnings, band: Band) -> list[Beginnings]:
        """Add to a band the texts that beginnings are; return those of one symbol more, if any."""
        length, vocabulary = some.symbols.shape[1], self.start.vocabulary
        ends = length == self.max_length
        if ends and not vocabulary.records:
            band.add(_codes(some.symbols), some.scores)
            return []
        states, log_p = self._next(some)
        log_p += some.scores[:, None] + self.penalties
        if vocabulary.records and length >= self.sampling.min_length:
            band.add(_codes(some.symbols), log_p[:, -1])
        longer = log_p[:, : 0 if ends else len(vocabulary)]
        band.leave(longer)
        rows, ids = np.nonzero(longer >= band.floor)
        if self.max_length is None and length == _LONGEST and len(rows):
            what = f"texts of more than {_LONGEST:,} characters are among the most probable"
            raise ValueError(f"{what}: give max_length")
        symbols = np.empty((len(rows), length + 1), some.symbols.dtype)
        symbols[:, :-1], symbols[:, -1] = some.symbols[rows], ids + 1
        return [Beginnings(states[rows], symbols, longer[rows, ids])] if len(rows) else []

    def _next(self, some: Beginnings) -> tuple[Real, NDArray[np.float64]]:
        """Return the states after beginnings and the log-probabilities (n, V) of what follows."""
        n, length = some.symbols.shape
        size, network = 1 << (n - 1).bit_length(), self.start.network
        if size not in self.works:
            self.works[size] = self.start.workspace(1, size)
        work = self.works[size]
        work.state[:n] = some.states
        if length:
            ids = np.zeros((1, size), np.int32)
            ids[0, :n] = some.symbols[:, -1] - 1
            network.feed(work, ids)
        return work.state, network.next_log_probs(work)[:n]


def _count(waiting: list[Beginnings]) -> int:
    return sum(len(some.scores) for some in waiting)


def _take(waiting: list[Beginnings], most: int) -> Beginnings:
    """Remove and return at most so many beginnings of one length."""
    taken: list[Beginnings] = []
    while waiting and most > 0:
        some = waiting.pop()
        if len(some.scores) > most:
            waiting.append(some.part(slice(most, None)))
            some = some.part(slice(most))
        taken.append(some)
        most -= len(some.scores)
    if len(taken) == 1:
        return taken[0]
    states, symbols, scores = zip(*taken, strict=True)
    kind = symbols[0].dtype  # whose order of bytes NumPy would not keep
    return Beginnings(
        np.concatenate(states), np.concatenate(symbols, dtype=kind), np.concatenate(scores)
    )


def _codes(symbols: Symbols) -> NDArray[np.bytes_]:
    """Return each row of symbols as bytes."""
    n, length = symbols.shape
    if not length:
        return np.zeros(n, f"S{symbols.itemsize}")
    return symbols.view(f"S{length * symbols.itemsize}")[:, 0]


def _texts(vocabulary: Vocabulary, codes: NDArray[np.bytes_], kind: np.dtype) -> Iterator[AnyText]:
    """Yield the text of each code."""
    symbols = codes[:, None].view(kind)
    ends = np.cumsum(np.count_nonzero(symbols, axis=1)).tolist()
    joined, start = vocabulary.decode(symbols[symbols > 0] - 1), 0
    for end in ends:
        yield joined[start:end]
        start = end


# ------------------------------------------------------------------------------------- beam search


@np.errstate(over="ignore", invalid="ignore")  # losses may be infinite
def beam_search(
    start: PrimedState, sampling: Sampling, length: int, width: int, n_best: int
) -> list[tuple[AnyText, float]]:
    """Return the n_best most probable of the texts that a beam of so many beginnings comes across.

    They come with their log-probabilities in nats, the most probable first. Texts have length
    characters, records at most. Records that have ended leave their beginnings their places.
    """
    network, vocabulary = start.network, start.vocabulary
    work, going_on = start.workspace(2, width), np.zeros(width, np.int8)
    scores = np.full(width, -math.inf)
    scores[0] = 0
    path: list[tuple[NDArray[np.int32], NDArray[np.int32]]] = []  # ids, and which beams they extend
    found: list[tuple[float, int, int]] = []  # minus log-probability, characters, beam
    for n in range(length + 1):
        ends = np.full(width, -math.inf)
        if vocabulary.records and n >= sampling.min_length:
            ends = scores - network.next_nll(work, np.full(width, len(vocabulary)))
        elif n == length and not vocabulary.records:
            ends = scores
        best = np.argsort(-ends, kind="stable")[:n_best]
        found += [(-float(ends[i]), n, int(i)) for i in best if ends[i] > -math.inf]
        found = sorted(found)[:n_best]
        if n == length or (len(found) == n_best and -scores[0] >= found[-1][0]):
            break
        *step, scores, _ = network.search(work, 1, scores, going_on, sampling.endless, -1)
        path.append((step[0][0], step[1][0]))
    return [(vocabulary.decode(_ids(path[:n], beam)), -score) for score, n, beam in found]


def _ids(path: list[tuple[NDArray[np.int32], NDArray[np.int32]]], beam: int) -> list[int]:
    """Return the ids that lead to a beam, by the ids and parents of all beams before it."""
    found = []
    for ids, parents in reversed(path):
        found.append(int(ids[beam]))
        beam = int(parents[beam])
    return found[::-1]
