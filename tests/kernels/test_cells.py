"""Cells with gates, layers and dropout: the kernels against the oracle, and the oracle against
derivatives that need no derivation.
"""

import hashlib

import numpy as np
import pytest

import reference
from charrnn.network import Network
from reference import distance, oracle, random_network

DROPOUT = {"dropout": 0.3, "dropout_seed": 11, "step": 5}


def random_case(number):
    """Layers, V, T, B, inputs, targets (some ignored), and a carried state, for a case of the
    number.
    """
    rng = np.random.default_rng(number)
    layers = [
        (("rnn", "gru", "lstm")[rng.integers(3)], int(rng.integers(1, 20)))
        for _ in range(rng.integers(1, 4))
    ]
    if number < 9:  # each cell with each number of layers
        layers = [
            (("rnn", "gru", "lstm")[number % 3], units)
            for _, units in (layers * 3)[: 1 + number // 3]
        ]
    V, T, B = (int(size) for size in rng.integers(1, [20, 7, 5]))
    network = random_network(layers, V, number)
    inputs, targets = rng.integers(0, V, (2, T, B))
    targets[rng.random((T, B)) < 0.2] = -1
    state = np.tanh(rng.standard_normal((B, network.description.state_size)))
    return network, inputs, targets, state


def masks_of(network, inputs):
    return reference.dropout_masks(
        network.description,
        *inputs.shape,
        DROPOUT["dropout"],
        DROPOUT["dropout_seed"],
        DROPOUT["step"],
    )


@pytest.mark.parametrize("number", range(66))
def test_gradient_equals_the_oracle_and_numerical_derivatives(number, kernels):
    network, inputs, targets, state = random_case(number)
    options, masks = ({}, None) if number % 2 else (DROPOUT, masks_of(network, inputs))
    work = network.workspace(
        len(inputs) + 2, inputs.shape[1], training=True
    )  # the window is a short one
    work.set_state(state)
    losses, gradient = network.gradient(work, inputs, targets, **options)
    stack = oracle(network)
    expected_losses, _, _ = stack.run(inputs, targets, state, masks)
    np.testing.assert_allclose(
        np.where(targets >= 0, losses, 0), expected_losses, rtol=1e-11, atol=1e-12
    )
    expected = stack.gradient(inputs, targets, state, masks)
    assert distance(gradient.views(), expected) <= 1e-11

    complex_stack = oracle(network, complex)
    rng = np.random.default_rng(number)
    for (
        name,
        array,
    ) in (
        complex_stack.arrays.items()
    ):  # along a few directions, each of which has all elements of the array
        for _ in range(2):
            direction = rng.standard_normal(array.shape)
            array += 1e-30j * direction
            exact = (
                complex_stack.run(inputs, targets, state.astype(complex), masks)[0].sum().imag
                / 1e-30
                / inputs.shape[1]
            )
            array.imag[...] = 0
            assert exact == pytest.approx(
                (expected[name] * direction).sum(), rel=1e-11, abs=1e-12
            ), name
            central = 0.0
            for steps, weight in ((-2, 1), (-1, -8), (1, 8), (2, -1)):
                stack.arrays[name] = array.real + steps * 1e-3 * direction
                central += (
                    weight
                    * stack.run(inputs, targets, state, masks)[0].sum()
                    / 12e-3
                    / inputs.shape[1]
                )
            stack.arrays[name] = array.real.copy()
            assert (gradient.views()[name] * direction).sum() == pytest.approx(
                central, rel=1e-7, abs=1e-9
            ), name


@pytest.mark.parametrize("number", range(12))
def test_states_and_losses_equal_the_oracle(number, kernels):
    network, inputs, targets, state = random_case(number)
    work = network.workspace(2, inputs.shape[1])  # several windows, the last a short one
    work.set_state(state)
    losses = network.evaluate(work, inputs, targets)
    expected, after, _ = oracle(network).run(inputs, targets, state)
    np.testing.assert_allclose(np.where(targets >= 0, losses, 0), expected, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(work.get_state(), after, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_float32_is_close_to_float64(cell, kernels):
    double = random_network([(cell, 33), (cell, 50)], 30)
    single = Network(double.description, "float32")
    single.weights.block[...] = double.weights.block
    inputs, targets = np.random.default_rng(1).integers(0, 30, (2, 20, 9))
    gradients = [
        n.gradient(n.workspace(20, 9, training=True), inputs, targets, **DROPOUT)[1].views()
        for n in (single, double)
    ]
    assert distance(*gradients) < 2e-6


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_saturated_gates_stay_finite(cell, kernels):
    network = random_network([(cell, 5)], 4, dtype="float32")
    network.weights.block[...] *= 1e6
    work = network.workspace(30, 2, training=True)
    losses, gradient = network.gradient(work, *np.random.default_rng(0).integers(0, 4, (2, 30, 2)))
    assert np.isfinite(losses).all()
    assert np.isfinite(gradient.block).all()


def test_masks_depend_on_seed_step_layer_stream_time_and_unit(kernels):
    description = random_network([("gru", 64), ("gru", 64)], 3).description
    same = reference.dropout_masks(description, 3, 4, 0.5, 1, 2)
    masks = {
        (layer, t, b): same[t][layer][b].tobytes()
        for layer in range(2)
        for t in range(3)
        for b in range(4)
    }
    assert len(set(masks.values())) == len(masks)
    for seed, step in ((0, 2), (1, 3), (2, 1)):
        other = reference.dropout_masks(description, 3, 4, 0.5, seed, step)
        assert not set(masks.values()) & {
            other[t][layer][b].tobytes() for layer in range(2) for t in range(3) for b in range(4)
        }


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9])
def test_as_many_are_dropped_as_asked(p, kernels):
    """The gradient by Why sums what is not dropped: with one input, one step and states that are
    all 1 each shows a mask.
    """
    network = Network(([("rnn", 1000)], 2), "float64")
    network.weights.views()["bh"][...] = 1e3
    work = network.workspace(1, 1, training=True)
    kept = []
    for step in range(20):
        gradient = network.gradient(work, [[0]], [[1]], dropout=p, dropout_seed=3, step=step)[
            1
        ].views()["Why"][:, 0]
        assert set(np.round(gradient * 2 * (1 - p), 9)) <= {0, 1}
        kept.append(gradient != 0)
    kept = np.array(kept)
    deviation = np.sqrt(p * (1 - p))
    assert abs(kept.mean() - (1 - p)) <= 5 * deviation / np.sqrt(kept.size)
    if p:  # neither a unit nor a step is favoured, and neighbours do not follow each other
        assert np.ptp(kept.mean(0)) < 1
        together = (kept[:, 1:] & kept[:, :-1]).mean(), (kept[1:] & kept[:-1]).mean()
        assert np.allclose(together, (1 - p) ** 2, atol=5 * deviation / np.sqrt(kept.size))


def test_nothing_is_dropped_after_training(kernels):
    network = random_network([("gru", 20), ("gru", 20)], 9)
    ids = np.random.default_rng(0).integers(0, 9, (2, 30, 2))
    fresh, used = network.workspace(5, 2), network.workspace(5, 2, training=True)
    expected = network.evaluate(fresh, *ids)
    network.train_steps(used, *ids, learning_rate=0.0, dropout=0.5)
    used.state[...] = 0
    np.testing.assert_array_equal(network.evaluate(used, *ids), expected)


def train(cell, core, threads=1, steps=500, crossings=1):
    """500 steps of two layers with dropout and Adam, the SHA-256 of the weights."""
    network = Network(([(cell, 48), (cell, 33)], 40), "float32", "adam")
    core.initialize(network, 0.0, np.array([7], np.uint64))
    ids = (
        np.cumsum(np.random.default_rng(2).integers(0, 3, (steps * 5 + 1, 8)), axis=0).astype(
            np.int32
        )
        % 40
    )
    work = network.workspace(5, 8, training=True)
    for part in range(crossings):
        first = steps * part // crossings
        rows = slice(5 * first, 5 * (steps * (part + 1) // crossings))
        options = {
            "clip_norm": 1.0,
            "weight_decay": 0.1,
            "dropout": 0.3,
            "dropout_seed": 3,
            "n_threads": threads,
        }
        network.train_steps(
            work, ids[:-1][rows], ids[1:][rows], learning_rate=3e-3, first_step=first, **options
        )
    assert np.isfinite(network.weights.block).all()
    return hashlib.sha256(network.weights.block.tobytes()).hexdigest()


SHA256 = {  # what 500 steps give on every processor with FMA
    "gru": "48e9181da37d2bb50d0b90be61be5c110def6b57bae36f7fe0584698f047fbb4",
    "lstm": "427e2a404d2ca9ccc3d2c256c5d3d228bd63aa5199ab74ebec81bd5e28091b6c",
}


@pytest.mark.parametrize("cell", SHA256)
def test_weights_are_the_same_bits_everywhere(cell, kernels, needs_fma):
    assert train(cell, kernels) == SHA256[cell]


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_threads_and_crossings_change_no_bit(cell, kernels):
    expected = train(cell, kernels, steps=40)
    for threads, crossings in ((2, 1), (3, 7), (8, 40)):
        assert train(cell, kernels, threads, 40, crossings) == expected


def test_each_stream_of_a_batch_is_as_if_alone(kernels):
    network = random_network([("lstm", 20), ("gru", 30)], 9, dtype="float32")
    inputs, targets = np.random.default_rng(1).integers(0, 9, (2, 12, 17))
    together = network.evaluate(network.workspace(5, 17), inputs, targets)
    for b in range(17):
        alone = network.evaluate(
            network.workspace(5, 1), inputs[:, b : b + 1], targets[:, b : b + 1]
        )
        np.testing.assert_array_equal(together[:, b : b + 1], alone)


def test_padding_stays_zero(kernels):
    for cell in ("rnn", "gru", "lstm"):
        network = random_network([(cell, 17), (cell, 3)], 5, dtype="float32", optimizer="adam")
        inputs, targets = np.random.default_rng(1).integers(0, 5, (2, 40, 3))
        work = network.workspace(4, 3, training=True)
        network.train_steps(
            work, inputs, targets, learning_rate=0.01, weight_decay=0.1, dropout=0.2, clip_norm=1.0
        )
        clean = Network(network.description, "float32")
        clean.weights.copy_from(network.weights)  # not the padding
        np.testing.assert_array_equal(network.weights.block, clean.weights.block)


def test_biases_begin_at_zero_and_matrices_uniform(kernels):
    network = Network(([("lstm", 300), ("lstm", 200)], 50), "float64")
    network.weights.block[...] = 3
    kernels.initialize(network, 0.0, np.array([7], np.uint64))
    views = network.weights.views()
    for name, view in views.items():
        if name.startswith("b"):
            assert not view.any()
        else:
            bound = 1 / np.sqrt(200 if name in ("Why",) or name.endswith("2") else 300)
            assert 0.98 * bound < np.abs(view).max() <= bound
            assert abs(view.mean()) < 5 * bound / np.sqrt(3 * view.size)
