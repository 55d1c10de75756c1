"""N-gram counts, and their mixture with a network, against plain dictionaries and NumPy."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.network import Network
from charrnn.network._types import NgramTable
from charrnn.network.counts import Counts
from reference import random_network

TEXT = np.random.default_rng(1).integers(0, 6, 3000) * np.random.default_rng(2).integers(0, 2, 3000)


def ngrams_of(ids, order, boundary=None):
    """How often each n-gram occurs, as tuples: none goes on behind a boundary."""
    found = Counter()
    for start in range(len(ids)):
        for stop in range(start + 1, min(start + order, len(ids)) + 1):
            found[tuple(ids[start:stop])] += 1
            if stop > start + 1 and ids[stop - 1] == boundary:
                break
    return found


def rounded(count):
    """A large count as a byte keeps it: 128, 136, 144, 153 ..."""
    kept = 128
    while count > 128 and kept * 17 // 16 <= count:
        kept = kept * 17 // 16
    return kept if count > 128 else count


def oracle(ids, V, order, boundary=None):
    """Return p(context) -> probabilities (V,), by Chen and Goodman's formulas on dictionaries."""
    ngrams = ngrams_of(ids, order, boundary)
    before = defaultdict(set)
    for gram in ngrams:
        if len(gram) > 1:
            before[gram[1:]].add(gram[0])
    # Nothing stands before what begins a record, or the text.
    c = {g: rounded(n) if len(g) == order or not before[g] else len(before[g]) for g, n in ngrams.items()}
    discounts = {}
    for k in range(1, order + 1):
        n = [sum(1 for g, x in c.items() if len(g) == k and x == j) for j in range(5)]
        y = n[1] / (n[1] + 2 * n[2]) if n[1] else 0
        for j in (1, 2, 3):
            d = j - (j + 1) * y * n[j + 1] / n[j] if n[j] else 0
            discounts[k, j] = d if 0 < d < j else (0.5, 0.75, 1.0)[j - 1]

    def p(context):
        context = tuple(context[max(0, len(context) - order + 1) :])
        lower = p(context[1:]) if context else np.full(V, 1 / V)
        followers = {g[-1]: x for g, x in c.items() if g[:-1] == context}
        if not followers:
            return lower
        total, k = sum(followers.values()), len(context) + 1
        found = lower * sum(discounts[k, min(x, 3)] for x in followers.values()) / total
        for s, x in followers.items():
            found[s] += (x - discounts[k, min(x, 3)]) / total
        return found

    return p


def mixture(network, p, ids, start, weights):
    """The probabilities that follow each of ids, given those before them, in float64."""
    work = network.workspace(len(ids), 1, training=True)  # the network alone
    logits = network.next_logits(work, np.array(ids)[:, None])[:, 0].astype(float)
    log_p = np.log([p(ids[start : i + 1]) for i in range(len(ids))])
    z = weights[0] * logits + weights[1] * log_p
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 5), st.booleans())
def test_counts_are_those_of_a_dictionary(ids, order, records):
    counts = Counts.from_ids([np.array(ids)], 4, order, boundary=3 if records else None)
    expected, bits = ngrams_of(ids, order, 3 if records else None), 3
    assert counts.order == max(map(len, expected))
    for k, (codes, numbers) in enumerate(counts.levels, 1):
        grams = [tuple((code >> bits * (k - 1 - i) & 7) - 1 for i in range(k)) for code in codes.tolist()]
        assert dict(zip(grams, numbers.tolist(), strict=True)) == {g: n for g, n in expected.items() if len(g) == k}


@pytest.mark.parametrize("boundary", [None, 0])
@pytest.mark.parametrize("layers", [[("rnn", 7)], [("lstm", 5), ("gru", 9)]])
def test_the_mixture_is_the_oracles(kernels, layers, boundary):
    network = random_network(layers, 6)
    counts = Counts.from_ids([TEXT], 6, 4, boundary=boundary)
    weights = 0.4, 0.6
    ids = TEXT[100:160].tolist()
    expected = mixture(network, oracle(TEXT.tolist(), 6, 4, boundary), ids, 0, weights)
    network.mix(NgramTable(6, counts.estimate(), *weights))
    work = network.workspace(1, 1)
    for i, x in enumerate(ids):
        network.feed(work, [[x]])
        np.testing.assert_allclose(network.next_probs(work)[0], expected[i], rtol=2e-6)
    assert abs(network.next_probs(work).sum() - 1) < 1e-12
    targets = np.array(ids[1:])[:, None]
    nll = network.evaluate(network.workspace(9, 1), np.array(ids[:-1])[:, None], targets)[:, 0]
    np.testing.assert_allclose(nll, -np.log(expected[np.arange(59), ids[1:]]), rtol=1e-5)


def test_weights_of_one_and_zero_are_the_network_and_the_counts_alone():
    network = random_network([("gru", 8)], 6)
    alone = network.evaluate(network.workspace(9, 1), TEXT[:-1, None][:50], TEXT[1:, None][:50])
    counts = Counts.from_ids([TEXT], 6, 3)
    network.mix(NgramTable(6, counts.estimate(), 1, 0))
    same = network.evaluate(network.workspace(9, 1), TEXT[:-1, None][:50], TEXT[1:, None][:50])
    np.testing.assert_allclose(same, alone, rtol=1e-12)
    network.mix(NgramTable(6, counts.estimate(), 0, 1))
    nll = network.evaluate(network.workspace(9, 1), TEXT[:-1, None][:50], TEXT[1:, None][:50])
    p = oracle(TEXT.tolist(), 6, 3)
    expected = [-math.log(p(TEXT[: i + 1].tolist())[TEXT[i + 1]]) for i in range(50)]
    np.testing.assert_allclose(nll[:, 0], expected, rtol=1e-6)


def test_two_texts_counted_apart_and_merged_are_one():
    a, b = TEXT[:1000], TEXT[1000:]
    both = Counts.from_ids([a, b], 6, 4)
    merged = Counts.from_ids([a], 6, 4).merged(Counts.from_ids([b], 6, 4))
    for (codes, numbers), (expected, known) in zip(merged.levels, both.levels, strict=True):
        assert (codes == expected).all()
        np.testing.assert_allclose(numbers, known, rtol=0.12)  # large ones are rounded twice
        assert (numbers == known)[known <= 64].all()


@given(st.lists(st.integers(0, 299), min_size=1, max_size=80), st.integers(1, 5), st.sampled_from([300, 255, 256, 70000]))
def test_arrays_are_the_counts(ids, order, symbols):
    counts = Counts.from_ids([np.array(ids) % symbols], symbols, order)
    again = Counts.from_arrays(symbols, counts.arrays())
    for (codes, numbers), (expected, known) in zip(again.levels, counts.levels, strict=True):
        assert (codes == expected).all()
        assert (numbers == known).all()


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: {"counts": arrays["counts"][:-1]},
        lambda arrays: {"symbols": arrays["symbols"][:-1]},
        lambda arrays: {"followers": arrays["followers"][:-1]},
        lambda arrays: {"followers": np.append(arrays["followers"], 1)},
        lambda arrays: {"symbols": np.full_like(arrays["symbols"], 1)},
        lambda arrays: {"symbols": arrays["symbols"] + 6},
        lambda arrays: {name: array[:0] for name, array in arrays.items()},
    ],
)
def test_arrays_that_are_no_trie_are_refused(change):
    arrays = Counts.from_ids([TEXT], 6, 3).arrays()
    with pytest.raises(ValueError, match="the n-grams are not"):
        Counts.from_arrays(6, arrays | change(arrays))


def test_nothing_outside_can_write_to_a_table():
    table = NgramTable(6, Counts.from_ids([TEXT], 6, 3).estimate(), 0, 1)
    network = random_network([("gru", 8)], 6)
    network.mix(table)
    before = network.next_probs(network.workspace(1, 1))
    _, (_, levels, *_) = table.__reduce__()
    for arrays in levels:
        for array in arrays:
            array[...] = 0
    np.testing.assert_array_equal(network.next_probs(network.workspace(1, 1)), before)


def test_large_counts_are_a_byte():
    counts = Counts.from_ids([np.zeros(100_000, int)], 2, 2)
    (_, (ones,)), (_, (twos,)) = counts.levels
    assert 100_000 * 15 / 16 < ones <= 100_000
    assert 99_999 * 15 / 16 < twos <= 99_999


def test_symbols_that_change_their_number_keep_their_counts():
    places = np.array([3, 0, 8, 5, 1, 2])
    renumbered = Counts.from_ids([TEXT], 6, 4).renumbered(places, 9)
    expected = Counts.from_ids([places[TEXT]], 9, 4)
    for (codes, numbers), (wanted, known) in zip(renumbered.levels, expected.levels, strict=True):
        assert (codes == wanted).all()
        assert (numbers == known).all()


def test_the_longest_are_dropped_where_there_is_no_room():
    assert Counts.from_ids([TEXT], 6, 5, most=400).order < 5
    assert len(Counts.from_ids([TEXT], 6, 5, most=400)) <= 400
    assert Counts.from_ids([TEXT], 1 << 20, 9).order == 3  # 21 bits a symbol


def test_what_occurs_once_can_be_dropped():
    counts = Counts.from_ids([TEXT], 6, 4, min_count=2)
    assert all((numbers >= 2).all() for _, numbers in counts.levels[1:])
    NgramTable(6, counts.estimate(), 1, 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda levels: levels[1][1].__setitem__(1, 99),
        lambda levels: levels[1][0].__setitem__(1, 10**6),
        lambda levels: levels[1][0].__setitem__(1, -1),
        lambda levels: levels[1][1].__setitem__(slice(None), 2),
        lambda levels: levels[0][2].__setitem__(0, math.nan),
        lambda levels: levels[0][3].__setitem__(0, 0),
    ],
)
def test_a_table_that_cannot_be_searched_is_refused(change):
    levels = Counts.from_ids([TEXT], 6, 3).estimate()
    change(levels)
    with pytest.raises((ValueError, IndexError)):
        NgramTable(6, levels, 1, 1)


def test_a_table_of_other_symbols_is_refused():
    with pytest.raises(ValueError, match="these counts have 6 symbols, the network 5"):
        Network(([("rnn", 2)], 5), "float32").mix(NgramTable(6, Counts.from_ids([TEXT], 6, 2).estimate(), 1, 1))
