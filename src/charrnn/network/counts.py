"""N-gram counts beside the network: interpolated modified Kneser-Ney over a trie of the text.

Chen and Goodman (1999), "An empirical study of smoothing techniques for language modeling", has
the estimate: with c(g) the count of an n-gram (the number of distinct symbols before it, unless it
is of the longest kind or begins a record), N_j how many n-grams of a level have c = j,
Y = N_1 / (N_1 + 2 N_2) and the discounts D_j = j - (j + 1) Y N_(j+1) / N_j for j = 1, 2, 3+,

    p(s | context) = (c(context s) - D) / c(context .) + backoff(context) p(s | shorter context)
    backoff(context) = 1 - sum of (c - D) / c(context .) over its followers

and below the shortest context every symbol is equally likely. Where the text has more n-grams than
there is room for, the rare ones are dropped after all is counted: the discounts, c(context .), and
the counts of other n-grams stay those of the whole text, and a context leaves the share of what
is dropped to the shorter one.

While a text is counted, an n-gram is a column of keys: its symbols, each plus 1, packed into whole
numbers from the most significant bits down; 0 means no symbol. In sorted columns the followers of
a context lie side by side, which makes the trie.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ._types import NgramTable

Numbers = NDArray[np.int64]

ARRAYS = "symbols", "followers", "counts", "missing", "discounts"
MAX_ORDER = 16  # symbols of the longest n-gram
_KEY_BITS = 63
_COUNTED = 1 << 23  # different n-grams of the longest kind in memory, a quarter if of several keys
_LONG = 8  # symbols of a long n-gram
_FALLBACK = (0.5, 0.75, 1.0)  # discounts where a text is too small to estimate them
_LITTLE = 1e-3  # of these discounts, for counts that recall their text


def _byte_counts() -> Numbers:
    """Return the counts that a byte stands for: 0 to 128, then steps of a sixteenth."""
    counts = [*range(129)]
    while len(counts) < 256:
        counts.append(counts[-1] * 17 // 16)
    return np.array(counts)


_COUNTS = _byte_counts()


class Level(NamedTuple):
    """The n-grams of one length, as followers of shorter contexts: what the kernels read.

    starts (contexts + 1,): where the followers of each context begin; symbols, weights (n,):
    each follower's symbol and its own share of the probability; backoffs (contexts,): the share
    that a context leaves to the shorter one.
    """

    starts: NDArray[np.int64]
    symbols: NDArray[np.int64]
    weights: NDArray[np.float64]
    backoffs: NDArray[np.float64]


class Followers(NamedTuple):
    """The n-grams of one length, as followers of shorter contexts: what is counted.

    sizes (contexts,): how many followers each context has; symbols, counts (n,): each follower's
    symbol and count c; missing (contexts,): the counts of followers that were dropped; discounts
    (3,). Counts above 128 are rounded down, by less than a sixteenth: a file has a byte for each.
    """

    sizes: Numbers
    symbols: Numbers
    counts: Numbers
    missing: Numbers
    discounts: NDArray[np.float64]

    @property
    def parents(self) -> Numbers:
        """The context of each n-gram, by its number."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    def weighted(self, times: int) -> Self:
        """Return counts that weigh more, and leave the same share to shorter contexts.

        What is more than a count and its discount can show becomes missing.
        """
        contexts, parents = len(self.sizes), self.parents
        shares = np.maximum.accumulate(_COUNTS[1:] - self.discounts[np.minimum(_COUNTS[1:], 3) - 1])
        wanted = times * (self.counts - self.discounts[np.minimum(self.counts, 3) - 1])
        counts = _COUNTS[1:][np.searchsorted((shares[1:] + shares[:-1]) / 2, wanted)]
        total = times * (np.bincount(parents, self.counts, contexts) + self.missing)
        missing = np.maximum(total - np.bincount(parents, counts, contexts), 0)
        return self._replace(counts=counts, missing=_rounded(missing))

    def estimate(self) -> Level:
        """Return the probabilities."""
        contexts, c, parents = len(self.sizes), self.counts, self.parents
        discounts = self.discounts[np.minimum(c, 3) - 1]
        total = np.bincount(parents, c, contexts) + self.missing
        left = np.bincount(parents, discounts, contexts) + self.missing
        return Level(
            np.append(0, np.cumsum(self.sizes)),
            self.symbols,
            (c - discounts) / total[parents],
            np.divide(left, total, out=np.ones(contexts), where=total > 0),
        )


class Mixture(NamedTuple):
    """N-gram counts and the weights with which they are mixed with a network's predictions."""

    counts: "Counts"
    network_weight: float = 0.5
    counts_weight: float = 0.5

    def table(self) -> NgramTable:
        """Return the mixture as the kernels read it."""
        return NgramTable(self.counts.vocab_size, self.counts.estimate(), *self[1:3])


class Counts:
    """The n-grams of up to `order` symbols of a text.

    Attributes
    ----------
    vocab_size : int
        Symbols V.
    levels : tuple of Followers
        Of the n-grams of 1, 2 ... symbols.
    """

    __slots__ = ("levels", "vocab_size")
    vocab_size: int
    levels: tuple[Followers, ...]

    def __init__(self, vocab_size: int, levels: Iterable[Followers]) -> None:
        self.vocab_size = vocab_size
        self.levels = tuple(levels)

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
            Symbols of the longest n-grams, at least 1; fewer where a text has too many of them to
            count in memory.
        boundary : int, optional
            The id before, between and after records: no n-gram goes on behind it.
        most : int
            N-grams to keep: where the text has more, those that occur less often are dropped.
        min_count : int
            Drop n-grams of two symbols or more that occur less often.
        """
        bits, counts = vocab_size.bit_length(), np.empty(0, np.int64)
        keys: Numbers = _keys(counts, order, bits, boundary)
        for piece in pieces:
            found = _keys(piece, order, bits, boundary)
            ones = np.ones(found.shape[1], np.int64)
            keys, counts = _sorted(np.hstack([keys, found]), np.append(counts, ones))
            while len(counts) > (_COUNTED if len(keys) == 1 else _COUNTED // 4) and order > 1:
                order -= 1
                keys, counts = _runs(_shortened(keys, order, bits), counts)
        grams = [*_grams(keys, counts, order, bits)]
        least = _least([gram.occurs for gram in grams], most, min_count)
        return cls(vocab_size, _levels(grams, least, vocab_size))

    @classmethod
    def from_arrays(cls, vocab_size: int, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the counts that `arrays` made; or raise ValueError if it did not make these."""
        symbols, followers, numbers, missing, shares = (arrays[name] for name in ARRAYS)
        whole, levels, contexts = len(missing) == len(followers), list[Followers](), 1
        discounts = shares[: len(shares) // 3 * 3].reshape(-1, 3).astype(np.float64)
        while len(symbols) and len(levels) < len(discounts):
            sizes, followers = followers[:contexts].astype(np.int64), followers[contexts:]
            n = int(sizes.sum())
            if len(sizes) < contexts or not 0 < n <= min(len(symbols), len(numbers)):
                break
            dropped = missing[:contexts] if whole else np.zeros(contexts, np.uint8)
            level = Followers(
                sizes,
                symbols[:n].astype(np.int64),
                _COUNTS[numbers[:n]],
                _COUNTS[dropped],
                discounts[len(levels)],
            )
            _check(level, vocab_size)
            levels.append(level)
            symbols, numbers, contexts = symbols[n:], numbers[n:], n
            missing = missing[len(dropped) :] if whole else missing
        left = len(symbols) or len(followers) or len(numbers) or len(missing)
        if left or not levels or 3 * len(levels) != len(shares):
            raise ValueError("the n-grams are not those of a trie")
        return cls(vocab_size, levels)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return compact arrays by the names in `ARRAYS`, level after level.

        They are each n-gram's last symbol; the number of each context's followers; each n-gram's
        count, a byte; of each context the counts that are missing, a byte, or nothing at all if
        none are; and the discounts, three for each level.
        """
        sizes, symbols, counts, missing, discounts = zip(*self.levels, strict=True)
        dropped = np.concatenate(missing)
        columns = {
            "symbols": np.concatenate(symbols),
            "followers": np.concatenate(sizes),
            "counts": np.searchsorted(_COUNTS, np.concatenate(counts)),
            "missing": np.searchsorted(_COUNTS, dropped if dropped.any() else dropped[:0]),
            "discounts": np.concatenate(discounts),
        }
        dtypes = array_dtypes(self.vocab_size)
        return {name: columns[name].astype(dtypes[name]) for name in ARRAYS}

    @property
    def order(self) -> int:
        """Symbols of the longest n-grams."""
        return len(self.levels)

    @property
    def whole(self) -> bool:
        """Whether no n-gram was dropped."""
        return not any(level.missing.any() for level in self.levels)

    def __len__(self) -> int:
        return sum(len(level.symbols) for level in self.levels)

    def __repr__(self) -> str:
        return f"Counts({len(self):,} n-grams of up to {self.order} symbols)"

    def weighted(self, times: int) -> Self:
        """Return counts that weigh so many times as much where they are merged with others."""
        if times == 1:
            return self
        return type(self)(self.vocab_size, [level.weighted(times) for level in self.levels])

    def undiscounted(self) -> Self:
        """Return counts that write nearly their own text: they hardly expect anything else."""
        levels = [level._replace(discounts=_LITTLE * level.discounts) for level in self.levels]
        return type(self)(self.vocab_size, levels)

    def merged(self, other: Self) -> Self:
        """Return the counts of both texts, which have the same symbols."""
        parts = [_Part.of(counts.levels, self.vocab_size) for counts in (self, other)]
        return type(self)(self.vocab_size, _joined(parts, self.vocab_size))

    def renumbered(self, places: Numbers, vocab_size: int) -> Self:
        """Return these counts where symbol i has become places[i] of vocab_size."""
        contexts, levels = np.zeros(1, np.int64), []  # where the old ones are now
        for level in self.levels:
            order = np.argsort(contexts[level.parents] * vocab_size + places[level.symbols])
            sizes, missing = np.empty_like(level.sizes), np.empty_like(level.missing)
            sizes[contexts], missing[contexts] = level.sizes, level.missing
            symbols, counts = places[level.symbols][order], level.counts[order]
            levels.append(Followers(sizes, symbols, counts, missing, level.discounts))
            contexts = np.argsort(order)
        return type(self)(vocab_size, levels)

    def estimate(self) -> list[Level]:
        """Return the probabilities: p(s | context) = weight + backoff p(s | shorter context)."""
        return [level.estimate() for level in self.levels]


def array_dtypes(vocab_size: int) -> dict[str, np.dtype[Any]]:
    """Return the dtypes of `Counts.arrays`."""
    dtype = np.dtype("u1" if vocab_size < 256 else "<u2" if vocab_size < 65536 else "<u4")
    byte = np.dtype("u1")
    return dict(zip(ARRAYS, (dtype, dtype, byte, byte, np.dtype("<f4")), strict=True))


def _rounded(counts: NDArray[Any]) -> Numbers:
    return _COUNTS[np.searchsorted(_COUNTS, counts, "right") - 1]


def _check(level: Followers, vocab_size: int) -> None:
    """Raise ValueError if kernels could not search a level."""
    inside = np.ones(len(level.symbols), np.bool_)
    inside[np.cumsum(level.sizes)[:-1][level.sizes[1:] > 0]] = False  # where another context begins
    inside[0] = False
    ascending = (np.diff(level.symbols, prepend=-1) > 0) | ~inside
    if not ascending.all() or level.symbols.max() >= vocab_size or level.counts.min() < 1:
        raise ValueError("the n-grams are not in order")
    if not ((level.discounts > 0) & (level.discounts <= (1, 2, 3))).all():
        raise ValueError(f"the n-grams are not discounted by {level.discounts.tolist()}")


# Keys (keys, n): a column is an n-gram of up to `order` symbols.


def _keys(ids: NDArray[Any], order: int, bits: int, boundary: int | None) -> Numbers:
    """Return the n-gram that begins at each id; at the end, and at a boundary, it is cut short."""
    symbols, n, each = ids.astype(np.int64) + 1, len(ids), _KEY_BITS // bits
    keys, goes_on = np.zeros((-(-order // each), n), np.int64), np.ones(n, np.bool_)
    for k in range(min(order, n)):
        shift = bits * (each - 1 - k % each)
        keys[k // each, : n - k] += np.where(goes_on[: n - k], symbols[k:], 0) << shift
        if boundary is not None and k > 0:
            goes_on[: n - k] &= symbols[k:] != boundary + 1
    return keys


def _symbols(keys: Numbers, k: int, bits: int) -> Numbers:
    """Return symbol k of each n-gram, plus 1, or 0."""
    each = _KEY_BITS // bits
    found: Numbers = keys[k // each] >> bits * (each - 1 - k % each) & ((1 << bits) - 1)
    return found


def _shortened(keys: Numbers, order: int, bits: int) -> Numbers:
    """Return n-grams without what goes beyond so many symbols."""
    each = _KEY_BITS // bits
    keys = keys[: -(-order // each)].copy()
    unused = bits * (-order % each)
    keys[-1] = keys[-1] >> unused << unused
    return keys


def _sorted(keys: Numbers, counts: Numbers) -> tuple[Numbers, Numbers]:
    """Return the distinct n-grams, ascending, and the sum of the counts of each."""
    order = np.argsort(keys[0], kind="stable") if len(keys) == 1 else np.lexsort(keys[::-1])
    return _runs(keys[:, order], counts[order])


def _runs(keys: Numbers, counts: Numbers) -> tuple[Numbers, Numbers]:
    """Return the distinct ones of ascending n-grams, and the sum of the counts of each."""
    if not len(counts):
        return keys, counts
    first = np.flatnonzero(np.append(True, (keys[:, 1:] != keys[:, :-1]).any(axis=0)))
    return keys[:, first], np.add.reduceat(counts, first)


class _Grams(NamedTuple):
    """The n-grams of one length: the context of each, a number; its symbol; how often it occurs."""

    parents: Numbers
    symbols: Numbers
    occurs: Numbers


def _grams(keys: Numbers, counts: Numbers, order: int, bits: int) -> Iterator[_Grams]:
    """Yield the n-grams of 1, 2 ... symbols, given the distinct longest ones, ascending."""
    n = len(counts)
    parents, differs = np.zeros(n, np.int64), np.arange(n) == 0
    for k in range(order):
        symbols = _symbols(keys, k, bits)
        differs[1:] |= symbols[1:] != symbols[:-1]
        whole = symbols > 0
        first = np.flatnonzero(differs & whole)
        if not len(first):
            return
        occurs = np.add.reduceat(np.where(whole, counts, 0), first)
        yield _Grams(parents[first], symbols[first] - 1, occurs)
        parents = np.cumsum(differs & whole) - 1


def _before(levels: Sequence[tuple[Numbers, Numbers]], vocab_size: int) -> Iterator[Numbers]:
    """Yield how many symbols stand before each n-gram of a level, for all but the longest.

    A level is the parents and the symbols of its n-grams. An n-gram without its first symbol is
    the follower, by its last symbol, of its parent without its first symbol.
    """
    suffixes = np.zeros(len(levels[0][0]) if levels else 0, np.int64)  # -1: not among the shorter
    for (parents, symbols), (longer, last) in itertools.pairwise(levels):
        known, wanted = parents * vocab_size + symbols, suffixes[longer] * vocab_size + last
        places = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        suffixes = np.where((known[places] == wanted) & (suffixes[longer] >= 0), places, -1)
        yield np.bincount(suffixes[suffixes >= 0], minlength=len(known))


def _least(occurs: list[Numbers], most: int, min_count: int) -> list[int]:
    """Return how often the n-grams of each level must occur, so that there are at most so many.

    The rarest are dropped first, of these the longest; those of one symbol stay. A short n-gram
    is worth as much as a long one that occurs twice as often.
    """
    least = [min_count if k else 1 for k in range(len(occurs))]
    kept = [int((n >= m).sum()) for n, m in zip(occurs, least, strict=True)]
    while sum(kept) > most and sum(kept) > kept[0]:
        worth = [n if k >= _LONG else 2 * n for k, n in enumerate(least[1:], 2)]
        k = max(i for i, n in enumerate(worth, 1) if n == min(worth))
        least[k] += -(-least[k] // 4)
        kept[k] = int((occurs[k] >= least[k]).sum())
    return least


def _levels(grams: list[_Grams], least: list[int], vocab_size: int) -> Iterator[Followers]:
    """Yield the levels of n-grams without those that occur less often."""
    before = [*_before([gram[:2] for gram in grams], vocab_size), *[None][: len(grams)]]
    kept_before = np.ones(1, np.bool_)
    for (parents, symbols, occurs), known, at_least in zip(grams, before, least, strict=True):
        # Nothing stands before what begins a record, or the text.
        c = occurs if known is None else np.where(known > 0, known, occurs)
        kept, dropped = occurs >= at_least, (occurs < at_least) & kept_before[parents]
        if not kept.any():
            return
        contexts, numbers = int(kept_before.sum()), np.cumsum(kept_before) - 1
        sizes = np.bincount(numbers[parents[kept]], minlength=contexts)
        missing = np.bincount(numbers[parents[dropped]], c[dropped], contexts)
        yield Followers(sizes, symbols[kept], _rounded(c[kept]), _rounded(missing), _discounts(c))
        kept_before = kept


class _Part(NamedTuple):
    """One of several tries: its levels, what stands before their n-grams, and where they are.

    contexts has the number that each of its contexts has in the trie of all, level by level.
    """

    levels: tuple[Followers, ...]
    before: list[Numbers]
    contexts: list[Numbers]

    @classmethod
    def of(cls, levels: tuple[Followers, ...], vocab_size: int) -> "_Part":
        grams = [(level.parents, level.symbols) for level in levels]
        return cls(levels, [*_before(grams, vocab_size)], [np.zeros(1, np.int64)])


def _union(parts: Sequence[_Part], vocab_size: int) -> Iterator[tuple[Numbers, Numbers]]:
    """Yield the parents and symbols of the n-grams that are in any part; note their numbers."""
    for k in range(max(len(part.levels) for part in parts)):
        here = [part for part in parts if k < len(part.levels)]
        codes = []
        for part in here:
            level = part.levels[k]
            codes.append(part.contexts[k][level.parents] * vocab_size + level.symbols)
        distinct = np.unique(np.concatenate(codes))
        for part, one in zip(here, codes, strict=True):
            part.contexts.append(np.searchsorted(distinct, one))
        yield np.divmod(distinct, vocab_size)


def _joined(parts: Sequence[_Part], vocab_size: int) -> Iterator[Followers]:
    """Yield the levels of all parts as one."""
    union, contexts = [*_union(parts, vocab_size)], 1
    before = [*_before(union, vocab_size)]
    for k, (parents, symbols) in enumerate(union):
        n, here = len(symbols), [part for part in parts if k < len(part.levels)]
        counts, missing = np.zeros(n, np.int64), np.zeros(contexts, np.int64)
        if k < len(before):  # what stands before an n-gram in several parts counts once
            counts += before[k]
        for levels, known, numbers in here:
            counts[numbers[k + 1]] += levels[k].counts
            counts[numbers[k + 1]] -= known[k] if k < len(known) else 0
            missing[numbers[k]] += levels[k].missing
        sizes = np.bincount(parents, minlength=contexts)
        weights = [len(part.levels[k].symbols) for part in here]
        shares = np.average([part.levels[k].discounts for part in here], axis=0, weights=weights)
        counts = _rounded(np.maximum(counts, 1))
        yield Followers(sizes, symbols, counts, _rounded(missing), _single(shares))
        contexts = n


def _discounts(counts: Numbers) -> NDArray[np.float64]:
    """Return what is taken off counts of 1, 2, and 3 or more."""
    n = [int((counts == j).sum()) for j in range(1, 5)]
    y = n[0] / (n[0] + 2 * n[1]) if n[0] else 0.0
    found = [j - (j + 1) * y * n[j] / n[j - 1] if n[j - 1] else 0.0 for j in (1, 2, 3)]
    return _single([d if 0 < d < j else _FALLBACK[j - 1] for j, d in enumerate(found, 1)])


def _single(discounts: Any) -> NDArray[np.float64]:
    """Return discounts as a file keeps them."""
    return np.array(discounts, np.float32).astype(np.float64)
