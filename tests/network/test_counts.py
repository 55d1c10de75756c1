"""N-gram counts, and their mixture with a network, against plain dictionaries and NumPy."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.network import Network, dispatch
from charrnn.network import counts as counting
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


def oracle(ids, V, order, boundary=None, min_count=1):
    """Return p(context) -> probabilities (V,), by Chen and Goodman's formulas on dictionaries."""
    ngrams = ngrams_of(ids, order, boundary)
    before = defaultdict(set)
    for gram in ngrams:
        if len(gram) > 1:
            before[gram[1:]].add(gram[0])
    # Nothing stands before what begins a record, or the text.
    c = {g: n if len(g) == order or not before[g] else len(before[g]) for g, n in ngrams.items()}
    dropped = {g for g, n in ngrams.items() if len(g) > 1 and n < min_count}
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
        k = len(context) + 1
        kept = {g[-1]: rounded(x) for g, x in c.items() if g[:-1] == context and g not in dropped}
        missing = rounded(sum(x for g, x in c.items() if g[:-1] == context and g in dropped))
        if context in dropped or not (kept or missing):
            return lower
        total = sum(kept.values()) + missing
        found = lower * (sum(discounts[k, min(x, 3)] for x in kept.values()) + missing) / total
        for s, x in kept.items():
            found[s] += (x - discounts[k, min(x, 3)]) / total
        return found

    return p


def mixture(network, p, ids, start, weights):
    """The probabilities that follow each of ids, given those before them, in float64."""
    work = network.workspace(len(ids), 1, training=True)  # the network alone
    logits = dispatch.core.window(work, np.array(ids)[:, None])[1][:, 0].astype(float)
    log_p = np.log([p(ids[start : i + 1]) for i in range(len(ids))])
    z = weights[0] * logits + weights[1] * log_p
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def contexts_of(counts):
    """The contexts of each level, as tuples, and the level."""
    contexts = [()]
    for level in counts.levels:
        yield contexts, level
        grams = zip(level.parents.tolist(), level.symbols.tolist(), strict=True)
        contexts = [(*contexts[parent], symbol) for parent, symbol in grams]


def grams_of(counts):
    """The n-grams of counts, as tuples, and their counts."""
    found = {}
    for contexts, level in contexts_of(counts):
        grams = zip(
            level.parents.tolist(), level.symbols.tolist(), level.counts.tolist(), strict=True
        )
        found |= {(*contexts[parent], symbol): n for parent, symbol, n in grams}
    return found


def assert_same(one, other):
    for level, expected in zip(one.levels, other.levels, strict=True):
        for array, known in zip(level, expected, strict=True):
            np.testing.assert_array_equal(array, known)


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=60),
    st.integers(1, 5),
    st.booleans(),
    st.integers(1, 3),
)
def test_probabilities_are_those_of_dictionaries(ids, order, records, min_count):
    boundary = 3 if records else None
    counts = Counts.from_ids([np.array(ids)], 4, order, boundary=boundary, min_count=min_count)
    occurs = ngrams_of(ids, order, boundary)
    assert grams_of(counts).keys() == {
        g for g, n in occurs.items() if len(g) == 1 or n >= min_count
    }
    p = oracle(ids, 4, max(map(len, occurs)), boundary, min_count)
    network = random_network([("rnn", 2)], 4)
    network.mix(NgramTable(4, counts.estimate(), 0, 1))
    work = network.workspace(1, 1)
    for i, x in enumerate(ids[:12]):
        network.feed(work, [[x]])
        np.testing.assert_allclose(network.next_probs(work)[0], p(ids[: i + 1]), rtol=2e-6)


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
    merged = grams_of(Counts.from_ids([a], 6, 4).merged(Counts.from_ids([b], 6, 4)))
    both = grams_of(Counts.from_ids([a, b], 6, 4))
    assert merged.keys() == both.keys()
    for gram, n in both.items():
        assert abs(merged[gram] - n) <= (0.12 * n if n > 64 else 0)  # large ones are rounded twice


def test_what_stands_before_dropped_n_grams_is_added_up():
    parts = [Counts.from_ids([x], 6, 4, min_count=2) for x in (TEXT[:1000], TEXT[1000:])]
    merged, (a, b) = grams_of(parts[0].merged(parts[1])), map(grams_of, parts)
    assert merged.keys() == a.keys() | b.keys()
    for gram, n in merged.items():
        assert max(a.get(gram, 0), b.get(gram, 0)) * 15 / 16 <= n <= a.get(gram, 0) + b.get(gram, 0)
    assert any(
        n == a[gram] + b[gram]
        for gram, n in merged.items()
        if gram in a and gram in b and len(gram) == 3
    )


def test_what_is_merged_keeps_what_is_missing():
    a, b = (Counts.from_ids([x], 6, 4, min_count=3) for x in (TEXT[:1000], TEXT[1000:]))
    merged = a.merged(b)

    def missing(counts):
        return [
            dict(zip(contexts, level.missing.tolist(), strict=True))
            for contexts, level in contexts_of(counts)
        ]

    for found, *parts in zip(*map(missing, (merged, a, b)), strict=True):
        for code, n in found.items():
            assert n == rounded(sum(part.get(code, 0) for part in parts))


def test_weighted_counts_predict_the_same_and_weigh_more_beside_others():
    a, b = (Counts.from_ids([x], 6, 4) for x in (TEXT[:2000], TEXT[2000:2500][::-1]))
    assert b.weighted(1) is b
    for found, expected in zip(b.weighted(8).estimate(), b.estimate(), strict=True):
        np.testing.assert_allclose(found.weights, expected.weights, atol=0.06)
        np.testing.assert_allclose(found.backoffs, expected.backoffs, atol=0.06)
    together = [a.merged(b.weighted(times)).estimate()[0].weights for times in (1, 4, 64)]
    alone = b.estimate()[0].weights
    distances = [float(abs(weights - alone).max()) for weights in together]
    assert distances[0] > distances[1] > distances[2]


def test_counts_recall_their_text():
    counts, network = Counts.from_ids([TEXT], 6, 16), random_network([("rnn", 1)], 6)
    losses = []
    for one in (counts, counts.undiscounted()):
        network.mix(NgramTable(6, one.estimate(), 0, 1))
        work = network.workspace(len(TEXT) - 1, 1)
        losses.append(network.evaluate(work, TEXT[:-1, None], TEXT[1:, None])[50:].mean())
    assert losses[1] < 0.5 * losses[0]
    assert counts.whole
    assert not Counts.from_ids([TEXT], 6, 16, min_count=2).whole


SIZES = st.sampled_from([300, 255, 256, 70000])


@given(
    st.lists(st.integers(0, 299), min_size=1, max_size=80),
    st.integers(1, 5),
    SIZES,
    st.integers(1, 2),
)
def test_arrays_are_the_counts(ids, order, symbols, min_count):
    counts = Counts.from_ids([np.array(ids) % symbols], symbols, order, min_count=min_count)
    assert_same(Counts.from_arrays(symbols, counts.arrays()), counts)


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: {"counts": arrays["counts"][:-1]},
        lambda arrays: {"symbols": arrays["symbols"][:-1]},
        lambda arrays: {"followers": arrays["followers"][:-1]},
        lambda arrays: {"followers": np.append(arrays["followers"], 1)},
        lambda arrays: {"symbols": np.full_like(arrays["symbols"], 1)},
        lambda arrays: {"symbols": arrays["symbols"] + 6},
        lambda arrays: {"counts": arrays["counts"] * 0},
        lambda arrays: {"missing": arrays["missing"][:-1]},
        lambda arrays: {"missing": np.append(arrays["missing"], 1)},
        lambda arrays: {"discounts": arrays["discounts"][:-1]},
        lambda arrays: {"discounts": arrays["discounts"][:-3]},
        lambda arrays: {"discounts": np.append(arrays["discounts"], arrays["discounts"][:3])},
        lambda arrays: {"discounts": arrays["discounts"] * 0},
        lambda arrays: {"discounts": arrays["discounts"] + 1},
        lambda arrays: {"discounts": arrays["discounts"] * np.nan},
        lambda arrays: {name: array[:0] for name, array in arrays.items()},
    ],
)
def test_arrays_that_are_no_trie_are_refused(change):
    arrays = Counts.from_ids([TEXT], 6, 3, min_count=3).arrays()
    assert arrays["missing"].any()
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
    assert 99_999 * 15 / 16 < grams_of(counts)[0, 0] <= 99_999


def test_symbols_that_change_their_number_keep_their_counts():
    places = np.array([3, 0, 8, 5, 1, 2])
    renumbered = Counts.from_ids([TEXT], 6, 4, min_count=2).renumbered(places, 9)
    assert_same(renumbered, Counts.from_ids([places[TEXT]], 9, 4, min_count=2))


def test_the_rare_and_long_are_dropped_where_there_is_no_room():
    whole, most = grams_of(Counts.from_ids([TEXT], 6, 5)), 400
    assert len(whole) > most
    counts, occurs = Counts.from_ids([TEXT], 6, 5, most=most), ngrams_of(TEXT.tolist(), 5)
    kept = grams_of(counts)
    assert 0.9 * most < len(kept) <= most
    assert kept.items() <= whole.items()
    for k in range(2, 6):
        least = min([occurs[g] for g in kept if len(g) == k], default=10**9)
        assert not [g for g in whole.keys() - kept.keys() if len(g) == k and occurs[g] > least]


@pytest.mark.parametrize("V", [6, 300, 1 << 20])
def test_long_n_grams_are_counted_whatever_the_alphabet(V):
    counts, occurs = Counts.from_ids([TEXT[:500]], V, 16), ngrams_of(TEXT[:500].tolist(), 16)
    assert grams_of(counts).keys() == occurs.keys()


def test_many_n_grams_are_counted_to_a_lower_order(monkeypatch):
    monkeypatch.setattr(counting, "_COUNTED", 1600)
    pieces = [TEXT[i : i + 100] for i in range(0, 2000, 100)]
    counts = Counts.from_ids(pieces, 6, 16)
    assert 3 < counts.order < 16
    monkeypatch.undo()
    assert_same(counts, Counts.from_ids(pieces, 6, counts.order))


def test_symbols_stay_however_little_room_there_is():
    assert len(Counts.from_ids([TEXT], 6, 5, most=1)) == 6


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
        Network(([("rnn", 2)], 5), "float32").mix(
            NgramTable(6, Counts.from_ids([TEXT], 6, 2).estimate(), 1, 1)
        )
