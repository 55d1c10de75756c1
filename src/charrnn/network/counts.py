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

While a text is counted, an n-gram is a code: its symbols, each plus 1, packed from the most
significant bits down; 0 means no symbol. In sorted codes the followers of a context lie side by
side, which makes the trie.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ._types import NgramTable

Codes = NDArray[np.int64]

ARRAYS = "symbols", "followers", "counts", "missing", "discounts"
MAX_ORDER = 9  # symbols of the longest n-gram
_CODE_BITS = 63
_COUNTED = 1 << 23  # different n-grams of the longest kind in memory
_FALLBACK = (0.5, 0.75, 1.0)  # discounts where a text is too small to estimate them


def _byte_counts() -> Codes:
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

    sizes: NDArray[np.int64]
    symbols: NDArray[np.int64]
    counts: NDArray[np.int64]
    missing: NDArray[np.int64]
    discounts: NDArray[np.float64]

    def estimate(self) -> Level:
        """Return the probabilities."""
        contexts, c = len(self.sizes), self.counts
        parents = np.repeat(np.arange(contexts), self.sizes)
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
            Symbols of the longest n-grams, at least 1; fewer where a code or `most` has no room.
        boundary : int, optional
            The id before, between and after records: no n-gram goes on behind it.
        most : int
            N-grams to keep: where the text has more, those that occur less often are dropped.
        min_count : int
            Drop n-grams of two symbols or more that occur less often.
        """
        bits = vocab_size.bit_length()
        order = min(order, _CODE_BITS // bits)
        codes, counts = np.empty(0, np.int64), np.empty(0, np.int64)
        for piece in pieces:
            found = _codes(piece, order, bits, boundary)
            codes, counts = _merge([codes, found], [counts, np.ones_like(found)])
            while len(codes) > max(most, _COUNTED) and order > 1:
                order -= 1
                codes, counts = _runs(codes >> bits, counts)
        grams = []
        for k in range(1, order + 1):
            shorter = codes >> bits * (order - k)
            whole = shorter & ((1 << bits) - 1) > 0
            if whole.any():
                grams.append(_runs(shorter[whole], counts[whole]))
        return cls(vocab_size, _levels(grams, bits, _least([n for _, n in grams], most, min_count)))

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

    def __len__(self) -> int:
        return sum(len(level.symbols) for level in self.levels)

    def __repr__(self) -> str:
        return f"Counts({len(self):,} n-grams of up to {self.order} symbols)"

    def codes(self) -> Iterator[tuple[Codes, Codes, Followers]]:
        """Yield the codes of the contexts of each level, of its n-grams, and the level."""
        bits, contexts = self.vocab_size.bit_length(), np.zeros(1, np.int64)
        for level in self.levels:
            codes = (np.repeat(contexts, level.sizes) << bits) + level.symbols + 1
            yield contexts, codes, level
            contexts = codes

    def merged(self, other: Self) -> Self:
        """Return the counts of both texts, which have the same symbols."""
        parts = [*self.codes()], [*other.codes()]
        return type(self)(self.vocab_size, _joined(parts, self.vocab_size.bit_length()))

    def renumbered(self, places: NDArray[np.int64], vocab_size: int) -> Self:
        """Return these counts where symbol i has become places[i] of vocab_size."""
        bits, wide = self.vocab_size.bit_length(), vocab_size.bit_length()

        def moved(codes: Codes, k: int) -> Codes:
            new = np.zeros_like(codes)
            for place in range(k):
                symbols = (codes >> bits * (k - 1 - place)) & ((1 << bits) - 1)
                new = (new << wide) + places[symbols - 1] + 1
            return new

        levels = itertools.islice(self.codes(), _CODE_BITS // wide)
        new = [(moved(a, k), moved(b, k + 1), level) for k, (a, b, level) in enumerate(levels)]
        return type(self)(vocab_size, _joined([new], wide))

    def estimate(self) -> list[Level]:
        """Return the probabilities: p(s | context) = weight + backoff p(s | shorter context)."""
        return [level.estimate() for level in self.levels]


def array_dtypes(vocab_size: int) -> dict[str, np.dtype[Any]]:
    """Return the dtypes of `Counts.arrays`."""
    dtype, byte = _smallest(vocab_size), np.dtype("u1")
    return dict(zip(ARRAYS, (dtype, dtype, byte, byte, np.dtype("<f4")), strict=True))


def _smallest(largest: int) -> np.dtype[Any]:
    return np.dtype("u1" if largest < 256 else "<u2" if largest < 65536 else "<u4")


def _rounded(counts: NDArray[Any]) -> Codes:
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


def _least(occurs: list[Codes], most: int, min_count: int) -> list[int]:
    """Return how often the n-grams of each level must occur, so that there are at most so many.

    The longest are dropped first; those of one symbol stay.
    """
    least = [min_count if k else 1 for k in range(len(occurs))]
    kept = [int((n >= m).sum()) for n, m in zip(occurs, least, strict=True)]
    k = len(occurs) - 1
    while sum(kept) > most and sum(kept) > kept[0]:
        least[k] += -(-least[k] // 4)
        kept[k] = int((occurs[k] >= least[k]).sum())
        k = k - 1 if k > 1 else len(occurs) - 1
    return least


def _levels(grams: list[tuple[Codes, Codes]], bits: int, least: list[int]) -> Iterator[Followers]:
    """Yield the levels of n-grams, given how often each occurs, without those that occur rarely."""
    kept_before = np.zeros(1, np.int64)
    for k, (codes, occurs) in enumerate(grams, 1):
        c = occurs
        if k < len(grams):  # nothing stands before what begins a record, or the text
            before = _before(codes, grams[k][0], bits * k)
            c = np.where(before > 0, before, occurs)
        kept = occurs >= least[k - 1]
        if not kept.any():
            return
        dropped = _under(kept_before, codes[~kept] >> bits, c[~kept])
        yield _followers(kept_before, codes[kept], c[kept], dropped, _discounts(c), bits)
        kept_before = codes[kept]


def _followers(
    contexts: Codes,
    codes: Codes,
    counts: Codes,
    missing: NDArray[Any],
    discounts: NDArray[np.float64],
    bits: int,
) -> Followers:
    """Return a level, given the codes of its contexts and of its n-grams."""
    starts = np.searchsorted(codes, np.append(contexts, contexts[-1] + 1) << bits)
    symbols = (codes & ((1 << bits) - 1)) - 1
    return Followers(np.diff(starts), symbols, _rounded(counts), _rounded(missing), discounts)


def _joined(
    parts: Sequence[list[tuple[Codes, Codes, Followers]]], bits: int
) -> Iterator[Followers]:
    """Yield the levels of several counts as one, given the codes of their contexts and n-grams."""
    contexts = np.zeros(1, np.int64)
    for k in range(max(map(len, parts))):
        here = [levels[k] for levels in parts if k < len(levels)]
        codes, counts = _merge([b for _, b, _ in here], [level.counts for *_, level in here])
        longer = [levels[k + 1][1] for levels in parts if k + 1 < len(levels)]
        if longer:  # what stands before an n-gram in several parts counts once
            counts += _before(codes, np.unique(np.concatenate(longer)), bits * (k + 1))
            counts -= sum(_before(codes, one, bits * (k + 1)) for one in longer)
        missing = np.sum([_under(contexts, a, level.missing) for a, _, level in here], axis=0)
        weights = [len(level.symbols) for *_, level in here]
        discounts = np.average([level.discounts for *_, level in here], axis=0, weights=weights)
        yield _followers(contexts, codes, np.maximum(counts, 1), missing, _single(discounts), bits)
        contexts = codes


def _under(contexts: Codes, of: Codes, counts: Codes) -> Codes:
    """Return the sums of counts that belong to each context; some belong to none of these."""
    places = np.minimum(np.searchsorted(contexts, of), len(contexts) - 1)
    known = contexts[places] == of
    return np.bincount(places[known], counts[known], len(contexts)).astype(np.int64)


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


def _before(codes: Codes, longer: Codes, bits: int) -> Codes:
    """Return how many symbols stand before each n-gram, given codes of n-grams of one more."""
    suffixes = np.sort(longer & ((1 << bits) - 1))
    return _under(codes, suffixes, np.ones_like(suffixes))


def _discounts(counts: Codes) -> NDArray[np.float64]:
    """Return what is taken off counts of 1, 2, and 3 or more."""
    n = [int((counts == j).sum()) for j in range(1, 5)]
    y = n[0] / (n[0] + 2 * n[1]) if n[0] else 0.0
    found = [j - (j + 1) * y * n[j] / n[j - 1] if n[j - 1] else 0.0 for j in (1, 2, 3)]
    return _single([d if 0 < d < j else _FALLBACK[j - 1] for j, d in enumerate(found, 1)])


def _single(discounts: Any) -> NDArray[np.float64]:
    """Return discounts as a file keeps them."""
    return np.array(discounts, np.float32).astype(np.float64)
