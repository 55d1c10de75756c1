"""Mixed precision: products of operands that are rounded to bfloat16, against an oracle that
rounds, and to the same bits everywhere.
"""

import hashlib

import numpy as np
import pytest

import charrnn
from charrnn.network import Network
from charrnn.network.learner import Learner
from reference import Stack, distance, dropout_masks, random_network


def rounded(x):
    """Numbers rounded to 8 significant bits, to even at a tie; what is below 2^-56 is 0."""
    mantissa, exponent = np.frexp(np.asarray(x, np.float64))
    x = np.ldexp(np.rint(mantissa * 256), exponent - 8)
    return np.where(np.abs(x) < 2.0**-56, 0, x)


class Rounded(np.ndarray):
    """Numbers of the oracle that products round. A one-hot vector is none of them: it picks a
    row.
    """

    def __matmul__(self, other):
        return (rounded(self) @ rounded(other)).view(Rounded)

    def __rmatmul__(self, other):
        return (np.asarray(other) @ np.asarray(self)).view(Rounded)


def expected(network, inputs, targets, state, masks=None):
    """The losses and the gradient of an oracle that rounds."""
    arrays = {
        name: view.astype(np.float64).view(Rounded)
        for name, view in network.weights.views().items()
    }
    stack, state = Stack(network.description, arrays), state.view(Rounded)
    gradient = stack.gradient(inputs, targets, state, masks)
    return np.asarray(stack.run(inputs, targets, state, masks)[0]), {
        name: np.asarray(array) for name, array in gradient.items()
    }


LAYERS = [
    [("rnn", 33)],
    [("gru", 16), ("rnn", 5)],
    [("lstm", 49), ("gru", 32)],
    [("lstm", 1)],
    [("gru", 100)],
]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize(("V", "T", "B"), [(3, 2, 1), (65, 7, 5), (130, 40, 9), (16, 12, 65)])
@pytest.mark.parametrize("layers", LAYERS, ids=str)
def test_gradient_is_that_of_rounded_operands(layers, V, T, B, dropout, kernels):
    network, rng = random_network(layers, V, V, dtype="float32"), np.random.default_rng(T)
    inputs, targets = rng.integers(0, V, (2, T, B))
    targets[rng.random((T, B)) < 0.2] = -1
    state = (
        np.tanh(rng.standard_normal((B, network.description.state_size)))
        .astype(np.float32)
        .astype(np.float64)
    )
    work = network.workspace(T + 1, B, training=True)
    work.set_state(state)
    options = {"dropout": dropout, "dropout_seed": 11, "step": 5}
    masks = dropout_masks(network.description, T, B, dropout, 11, 5) if dropout else None
    losses, gradient = network.gradient(work, inputs, targets, precision="bfloat16", **options)
    exact_losses, exact = expected(network, inputs, targets, state, masks)
    np.testing.assert_allclose(
        np.where(targets >= 0, losses, 0), exact_losses, rtol=2e-3, atol=2e-3
    )
    # Where the oracle rounds up and a kernel down, as its number is a little smaller, a product
    # differs by one part in 256.
    assert distance(gradient.views(), exact) <= 1e-3
    whole = network.gradient(work, inputs, targets, **options)[1]
    assert distance(gradient.views(), exact) < 0.4 * distance(whole.views(), exact)


def train(cell, optimizer, core, steps=300, streams=8, **options):
    """The SHA-256 of the weights of two layers after some steps with dropout."""
    network = Network(([(cell, 48), (cell, 33)], 40), "float32", optimizer)
    core.initialize(network, 0.0, np.array([7], np.uint64))
    ids = (
        np.cumsum(np.random.default_rng(2).integers(0, 3, (steps * 5 + 1, streams)), axis=0).astype(
            np.int32
        )
        % 40
    )
    settings = {
        "clip_norm": 1.0,
        "weight_decay": 0.1,
        "dropout": 0.3,
        "dropout_seed": 3,
        "precision": "bfloat16",
    } | options
    work = network.workspace(5, streams, training=True)
    rate = {"adagrad": 0.1, "sgd": 0.05, "rmsprop": 1e-3, "adam": 3e-3}[optimizer]
    network.train_steps(work, ids[:-1], ids[1:], learning_rate=rate, **settings)
    assert np.isfinite(network.weights.block).all()
    return hashlib.sha256(network.weights.block.tobytes()).hexdigest()


SHA256 = {  # what 300 steps give on every processor with FMA
    ("rnn", "adagrad"): "8a135e34436d164efddc25feea7a73e283c348e0b3296a6d2ad5f7706002e88c",
    ("rnn", "sgd"): "ed4ccab74a4659a6d75152b0be222b5547b126424c8023a3d1087bb97026a399",
    ("rnn", "rmsprop"): "f3ee8d583e9a7685aa04cd77534d4961852471a28bf0af972c3bbdb5afe18311",
    ("rnn", "adam"): "e9663c2dc49fb9b1b5bd0db0e962979bb1060ef5999e064d462bc3cf5c75e98e",
    ("gru", "adagrad"): "c2c4b69b218700f21510dfad79c676519d7e4511640fe8371e969bbb13f02452",
    ("gru", "sgd"): "95d0ae2e8d4a19919c69df816d9912d094dddb17e491f978dca078b6da506b19",
    ("gru", "rmsprop"): "c6bb455ea8510059b2aeb64aab9b199f9f00628062ec116c5966b6da42746088",
    ("gru", "adam"): "84d386c885f04f6d74c4fcbf7a0d891feb07266a9d8c473a0df1ec196dc6067a",
    ("lstm", "adagrad"): "0a58bc819318c550eeb826a788650594e63dc8ea061420ee00ae4e966ae21333",
    ("lstm", "sgd"): "1fd7ed88f86a8d46327ff843a58d61054e8424e2cc7d252ea576068cac97d93b",
    ("lstm", "rmsprop"): "26f0aceb2518c1b80ba7e63dc51cddc7c8a0989a494d6364771ff1139e4efcaf",
    ("lstm", "adam"): "f922062d7e2eaabaf744310fda6fd554be1b94e7d6d3af37a868afd26c2ddca7",
}


@pytest.mark.parametrize(("cell", "optimizer"), SHA256, ids="-".join)
def test_weights_are_the_same_bits_by_pairs_and_by_single_numbers(
    cell, optimizer, kernels, needs_fma
):
    """Processors with AVX512_BF16 multiply pairs, others of the same variant don't, nor does any
    other variant.
    """
    assert train(cell, optimizer, kernels) == SHA256[cell, optimizer]


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("streams", [1, 7, 20])
def test_threads_change_no_bit(cell, streams, kernels):
    one = train(cell, "adam", kernels, 30, streams)
    assert one != train(cell, "adam", kernels, 30, streams, precision="float32")
    for threads in (2, 3, 8):
        assert train(cell, "adam", kernels, 30, streams, n_threads=threads) == one


def test_wide_layers_are_summed_in_blocks_to_the_same_bits(needs_fma, kernels):
    """More rows than are packed at a time, more time steps, and matrices of several strips."""
    network = random_network([("rnn", 603)], 130, 1, dtype="float32")
    ids = np.random.default_rng(0).integers(0, 130, (41, 70))
    work = network.workspace(40, 70, training=True)
    losses = network.train_steps(
        work, ids[:-1], ids[1:], learning_rate=0.01, precision="bfloat16", n_threads=2
    )
    assert len(losses) == 1
    assert hashlib.sha256(network.weights.block.tobytes()).hexdigest() == WIDE


WIDE = "77dbf63da2d35bdad48ffc10f569464b28249a63195c96e298c3f86d1b6c2f8e"


def test_tiny_numbers_are_zero_and_make_the_same_bits(needs_fma, kernels):
    """Below the least normal number vdpbf16ps would compute otherwise: neither operands nor starts
    of sums may lead there.
    """
    network = random_network([("lstm", 40), ("gru", 24)], 20, 3, dtype="float32")
    rng = np.random.default_rng(5)
    for view in network.weights.views().values():
        view[...] = np.ldexp(view, rng.integers(-149, 2, view.shape))
    ids = rng.integers(0, 20, (13, 9))
    work = network.workspace(12, 9, training=True)
    losses, gradient = network.gradient(work, ids[:-1], ids[1:], precision="bfloat16")
    assert hashlib.sha256(losses.tobytes() + gradient.block.tobytes()).hexdigest() == TINY


TINY = "2d24997297cdd98d5538127884ec5324b689a4e22274587e12f46c5475e68794"


def test_predictions_are_those_of_the_weights(kernels):
    """Only training rounds."""
    network = random_network([("lstm", 30)], 9, dtype="float32")
    ids = np.random.default_rng(0).integers(0, 9, (2, 30, 8))
    work = network.workspace(10, 8, training=True)
    before = network.evaluate(work, *ids)
    work.state[...] = 0
    network.gradient(work, *ids[:, :10], precision="bfloat16")
    np.testing.assert_array_equal(network.evaluate(work, *ids), before)


def test_a_diverging_step_is_not_applied(kernels):
    network = random_network([("rnn", 20)], 9, dtype="float32")
    network.weights.views()["Whh"][2, 3] = np.nan
    before = network.weights.block.copy()
    ids = np.zeros((5, 8), np.int32)
    losses = network.train_steps(
        network.workspace(5, 8, training=True), ids, ids, learning_rate=0.1, precision="bfloat16"
    )
    assert len(losses) == 0
    np.testing.assert_array_equal(network.weights.block, before)


def test_float64_is_refused():
    with pytest.raises(
        ValueError, match="precision='bfloat16' needs a network of float32, not float64"
    ):
        charrnn.train_text(
            "to be or not to be", precision="bfloat16", dtype="float64", progress=False
        )
    learner = Learner([("rnn", 3)], 5, dtype="float64")
    with pytest.raises(ValueError, match="needs a network of float32"):
        learner.precision = "bfloat16"
    work, ids = learner.network.workspace(2, 1, training=True), np.zeros((2, 1), int)
    with pytest.raises(ValueError, match="precision must be 'float32', or 'bfloat16' with"):
        learner.network.train_steps(work, ids, ids, learning_rate=0.1, precision="bfloat16")
    with pytest.raises(ValueError, match="precision must be 'float32' or 'bfloat16', not 'half'"):
        charrnn.train_text("to be or not to be", precision="half", progress=False)


def test_a_model_keeps_its_precision(tmp_path):
    text = "to be, or not to be, that is the question\n" * 9
    options = {
        "preset": "tutorial",
        "hidden_size": 20,
        "batch_size": 3,
        "progress": False,
        "precision": "bfloat16",
    }
    path = tmp_path / "model.safetensors"
    whole = charrnn.train_text(text, steps=40, **options)
    charrnn.train_text(text, steps=13, checkpoint=path, **options)
    resumed = charrnn.train_text(text, steps=40, resume=path, **options)
    np.testing.assert_array_equal(resumed.network.weights.block, whole.network.weights.block)
    with pytest.raises(ValueError, match="precision"):
        charrnn.train_text(text, steps=40, resume=path, **(options | {"precision": "float32"}))
    whole.save(path)
    assert charrnn.load(path).rnn.precision == "bfloat16"
