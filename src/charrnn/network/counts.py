"""N-gram counts beside the network: interpolated modified Kneser-Ney over a trie of the text.

An n-gram is stored as a code: its symbols, each plus 1, packed from the most significant bits
down; 0 means no symbol. Sorted codes of one length are one level of the trie: the followers of
a context lie side by side. Level k holds the n-grams of k symbols.

Chen and Goodman (1999), "An empirical study of smoothing techniques for language modeling",
has the estimate: with c(g) the count of an n-gram (the number of distinct symbols before it,
unless it is of the longest kind or begins a record), N_j how many n-grams of a level have c = j,
Y = N_1 / (N_1 + 2 N_2) and the discounts D_j = j - (j + 1) Y N_(j+1) / N_j for j = 1, 2, 3+,

    p(s | context) = (c(context s) - D) / c(context .) + backoff(context) p(s | shorter context)
    backoff(context) = sum of the discounts D of its followers / c(context .)

and below the shortest context every symbol is equally likely.
"""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ._types import NgramTable

Codes = NDArray[np.int64]

ARRAYS = "symbols", "followers", "counts"
MAX_ORDER = 9  # symbols of the longest n-gram
_CODE_BITS = 63
_FALLBACK = (0.5, 0.75, 1.0)  # discounts where a text is too small to estimate them


def _byte_counts() -> Codes:
    """Return the counts that a byte stands for: 1 to 128, then steps of a sixteenth."""
    counts = [*range(1, 129)]
    while len(counts) < 256:
        counts.append(counts[-1] * 17 // 16)
    return np.array(counts)


_COUNTS = _byte_counts()


class Level(NamedTuple):
    """The n-grams of one length, in the order of their codes, as followers of shorter contexts.

    starts (contexts + 1,): where the followers of each context begin; symbols, weights (n,):
    each follower's symbol and its own share of the probability; backoffs (contexts,): the share
    that a context leaves to the shorter one.
    """

    starts: NDArray[np.int64]
    symbols: NDArray[np.int64]
    weights: NDArray[np.float64]
    backoffs: NDArray[np.float64]


class Mixture(NamedTuple):
    """N-gram counts and the weights with which they are mixed with a network's predictions."""

    counts: "Counts"
    network_weight: float = 0.5
    counts_weight: float = 0.5

    def table(self) -> NgramTable:
        """Return the mixture as the kernels read it."""
        return NgramTable(self.counts.vocab_size, self.counts.estimate(), *self[1:3])


class Counts:
    """How often each n-gram of up to `order` symbols occurs in a text.

    Attributes
    ----------
    vocab_size : int
        Symbols V.
    levels : tuple of (codes, counts)
        Of the n-grams of 1, 2 ... symbols, int64 arrays, codes ascending. Counts above 128 are
        rounded down, by less than a sixteenth: a file has a byte for each.
    """

    __slots__ = ("levels", "vocab_size")
    vocab_size: int
    levels: tuple[tuple[Codes, Codes], ...]

    def __init__(self, vocab_size: int, levels: Iterable[tuple[Codes, Codes]]) -> None:
        self.vocab_size = vocab_size
        self.levels = tuple((codes, _rounded(counts)) for codes, counts in levels)

    @classmethod
    def from_ids(
        cls,
        pieces: Iterable[NDArray[Any]],
        vocab_size: int,
        order: int,
        *,
        boundary: int | None = None,
        most: int = 1 << 23,
        min_count: int = 1,
    ) -> Self:
        """Count the n-grams of a text.

        Parameters
        ----------
        pieces : iterable of integer arrays
            Ids in [0, vocab_size), piece after piece; n-grams do not cross from one to the next.
        order : int
            Symbols of the longest n-grams, at least 1; fewer where a code or `most` has no room.
        boundary : int, optional
            The id before, between and after records: no n-gram goes on behind it.
        most : int
            N-grams to keep: where the text has more of the longest kind, those are dropped.
        min_count : int
            Drop n-grams of two symbols or more that occur less often.
        """
        bits = vocab_size.bit_length()
        order = min(order, _CODE_BITS // bits)
        codes, counts = np.empty(0, np.int64), np.empty(0, np.int64)
        for piece in pieces:
            found = _codes(piece, order, bits, boundary)
            codes, counts = _merge([codes, found], [counts, np.ones_like(found)])
            while len(codes) > most and order > 1:
                order -= 1
                codes, counts = _runs(codes >> bits, counts)
        levels = []
        for k in range(1, order + 1):
            shorter = codes >> bits * (order - k)
            whole = shorter & ((1 << bits) - 1) > 0
            level, number = _runs(shorter[whole], counts[whole])
            kept = number >= (min_count if k > 1 else 1)
            if not kept.any():
                break
            levels.append((level[kept], number[kept]))
        while sum(len(level) for level, _ in levels) > most and len(levels) > 1:
            levels.pop()
        return cls(vocab_size, levels)

    @classmethod
    def from_arrays(cls, vocab_size: int, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the counts that `arrays` made; or raise ValueError if it did not make these."""
        symbols, followers, numbers = (arrays[name] for name in ARRAYS)
        bits = vocab_size.bit_length()
        levels: list[tuple[Codes, Codes]] = []
        parents = np.zeros(1, np.int64)
        while len(symbols) and len(levels) < _CODE_BITS // bits:
            sizes, followers = followers[: len(parents)].astype(np.int64), followers[len(parents) :]
            n = int(sizes.sum())
            if len(sizes) < len(parents) or not 0 < n <= min(len(symbols), len(numbers)):
                break
            codes = (np.repeat(parents, sizes) << bits) + symbols[:n] + 1
            if symbols[:n].max() >= vocab_size or (np.diff(codes) <= 0).any():
                raise ValueError("the n-grams are not in order")
            levels.append((codes, _COUNTS[numbers[:n]]))
            symbols, numbers, parents = symbols[n:], numbers[n:], codes
        if len(symbols) or len(followers) or len(numbers) or not levels:
            raise ValueError("the n-grams are not those of a trie")
        return cls(vocab_size, levels)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return compact arrays by the names in `ARRAYS`, level after level.

        They are each n-gram's last symbol; the number of its followers, but for the longest and
        with the empty one first; and its count, a byte.
        """
        bits = self.vocab_size.bit_length()
        followers, contexts = [], np.zeros(1, np.int64)
        for codes, _ in self.levels:
            starts = np.searchsorted(codes, np.append(contexts, contexts[-1] + 1) << bits)
            followers.append(np.diff(starts))
            contexts = codes
        symbols = [(codes & ((1 << bits) - 1)) - 1 for codes, _ in self.levels]
        numbers = [np.searchsorted(_COUNTS, counts) for _, counts in self.levels]
        columns = dict(zip(ARRAYS, (symbols, followers, numbers), strict=True))
        dtypes = array_dtypes(self.vocab_size)
        return {name: np.concatenate(columns[name]).astype(dtypes[name]) for name in ARRAYS}

    @property
    def order(self) -> int:
        """Symbols of the longest n-grams."""
        return len(self.levels)

    def __len__(self) -> int:
        return sum(len(codes) for codes, _ in self.levels)

    def __repr__(self) -> str:
        return f"Counts({len(self):,} n-grams of up to {self.order} symbols)"

    def merged(self, other: Self) -> Self:
        """Return the counts of both texts, which have the same symbols."""
        nothing = np.empty(0, np.int64), np.empty(0, np.int64)
        levels = itertools.zip_longest(self.levels, other.levels, fillvalue=nothing)
        return type(self)(self.vocab_size, [_merge([a, c], [b, d]) for (a, b), (c, d) in levels])

    def renumbered(self, places: NDArray[np.int64], vocab_size: int) -> Self:
        """Return these counts where symbol i has become places[i] of vocab_size."""
        bits, wide = self.vocab_size.bit_length(), vocab_size.bit_length()
        levels = []
        for k, (codes, counts) in enumerate(self.levels[: _CODE_BITS // wide], 1):
            new = np.zeros_like(codes)
            for place in range(k):
                symbols = (codes >> bits * (k - 1 - place)) & ((1 << bits) - 1)
                new = (new << wide) + places[symbols - 1] + 1
            levels.append(_merge([new], [counts]))
        return type(self)(vocab_size, levels)

    def estimate(self) -> list[Level]:
        """Return the probabilities: p(s | context) = weight + backoff p(s | shorter context)."""
        bits, levels = self.vocab_size.bit_length(), []
        contexts = np.zeros(1, np.int64)
        for k, (codes, counts) in enumerate(self.levels, 1):
            longer = self.levels[k][0] if k < self.order else None
            c = counts
            if longer is not None:
                c = _continuations(codes, counts, longer & ((1 << bits * k) - 1))
            parents = np.searchsorted(contexts, codes >> bits)
            discounts = _discounts(c)[np.minimum(c, 3) - 1]
            total = np.bincount(parents, c, len(contexts))
            left = np.bincount(parents, discounts, len(contexts))
            levels.append(
                Level(
                    np.searchsorted(parents, np.arange(len(contexts) + 1)),
                    (codes & ((1 << bits) - 1)) - 1,
                    (c - discounts) / total[parents],
                    np.divide(left, total, out=np.ones(len(contexts)), where=total > 0),
                )
            )
            contexts = codes
        return levels


def array_dtypes(vocab_size: int) -> dict[str, np.dtype[Any]]:
    """Return the dtypes of `Counts.arrays`."""
    dtype = _smallest(vocab_size)
    return dict(zip(ARRAYS, (dtype, dtype, np.dtype("u1")), strict=True))


def _smallest(largest: int) -> np.dtype[Any]:
    return np.dtype("u1" if largest < 256 else "<u2" if largest < 65536 else "<u4")


def _rounded(counts: Codes) -> Codes:
    return _COUNTS[np.searchsorted(_COUNTS, counts, "right") - 1]


def _codes(ids: NDArray[Any], order: int, bits: int, boundary: int | None) -> Codes:
    """Return the code of the n-gram that begins at each id, those cut short padded with 0."""
    symbols, n = ids.astype(np.int64) + 1, len(ids)
    codes, goes_on = np.zeros(n, np.int64), np.ones(n, np.bool_)
    for k in range(min(order, n)):
        codes[: n - k] += np.where(goes_on[: n - k], symbols[k:], 0) << bits * (order - 1 - k)
        if boundary is not None and k > 0:
            goes_on[: n - k] &= symbols[k:] != boundary + 1
    return codes


def _merge(codes: list[Codes], counts: list[Codes]) -> tuple[Codes, Codes]:
    """Return the distinct codes of several arrays, ascending, and the sum of the counts of each."""
    joined = np.concatenate(codes)
    order = np.argsort(joined, kind="stable")
    return _runs(joined[order], np.concatenate(counts)[order])


def _runs(codes: Codes, counts: Codes) -> tuple[Codes, Codes]:
    """Return the distinct ones of ascending codes, and the sum of the counts of each."""
    if not len(codes):
        return codes, counts
    first = np.flatnonzero(np.append(True, codes[1:] != codes[:-1]))
    return codes[first], np.add.reduceat(counts, first)


def _continuations(codes: Codes, counts: Codes, suffixes: Codes) -> Codes:
    """Return how many distinct symbols stand before each n-gram.

    Nothing stands before one that begins a record, or the text: those keep their counts.
    """
    suffixes, numbers = _runs(np.sort(suffixes), np.ones_like(suffixes))
    places = np.searchsorted(codes, suffixes)
    found = counts.copy()
    known = codes[np.minimum(places, len(codes) - 1)] == suffixes  # min_count may have dropped it
    found[places[known]] = numbers[known]
    return found


def _discounts(counts: Codes) -> NDArray[np.float64]:
    """Return what is taken off counts of 1, 2, and 3 or more."""
    n = [int((counts == j).sum()) for j in range(1, 5)]
    y = n[0] / (n[0] + 2 * n[1]) if n[0] else 0.0
    found = [j - (j + 1) * y * n[j] / n[j - 1] if n[j - 1] else 0.0 for j in (1, 2, 3)]
    return np.array([d if 0 < d < j else _FALLBACK[j - 1] for j, d in enumerate(found, 1)])
