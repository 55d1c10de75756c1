"""Mixed precision: products of operands that are rounded to bfloat16, against an oracle that rounds, and to the same bits everywhere."""

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
    """Numbers of the oracle that products round. A one-hot vector is none of them: it picks a row."""

    def __matmul__(self, other):
        return (rounded(self) @ rounded(other)).view(Rounded)

    def __rmatmul__(self, other):
        return (np.asarray(other) @ np.asarray(self)).view(Rounded)


def expected(network, inputs, targets, state, masks=None):
    """The losses and the gradient of an oracle that rounds."""
    arrays = {name: view.astype(np.float64).view(Rounded) for name, view in network.weights.views().items()}
    stack, state = Stack(network.description, arrays), state.view(Rounded)
    gradient = stack.gradient(inputs, targets, state, masks)
    return np.asarray(stack.run(inputs, targets, state, masks)[0]), {name: np.asarray(array) for name, array in gradient.items()}


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
    state = np.tanh(rng.standard_normal((B, network.description.state_size))).astype(np.float32).astype(np.float64)
    work = network.workspace(T + 1, B, training=True)
    work.set_state(state)
    options = {"dropout": dropout, "dropout_seed": 11, "step": 5}
    masks = dropout_masks(network.description, T, B, dropout, 11, 5) if dropout else None
    losses, gradient = network.gradient(work, inputs, targets, precision="bfloat16", **options)
    exact_losses, exact = expected(network, inputs, targets, state, masks)
    np.testing.assert_allclose(np.where(targets >= 0, losses, 0), exact_losses, rtol=2e-3, atol=2e-3)
    # Where the oracle rounds up and a kernel down, as its number is a little smaller, a product differs by one part in 256.
    assert distance(gradient.views(), exact) <= 1e-3
    whole = network.gradient(work, inputs, targets, **options)[1]
    assert distance(gradient.views(), exact) < 0.4 * distance(whole.views(), exact)


def train(cell, optimizer, core, steps=300, streams=8, **options):
    """The SHA-256 of the weights of two layers after some steps with dropout."""
    network = Network(([(cell, 48), (cell, 33)], 40), "float32", optimizer)
    core.initialize(network, 0.0, np.array([7], np.uint64))
    ids = np.cumsum(np.random.default_rng(2).integers(0, 3, (steps * 5 + 1, streams)), axis=0).astype(np.int32) % 40
    settings = {"clip_norm": 1.0, "weight_decay": 0.1, "dropout": 0.3, "dropout_seed": 3, "precision": "bfloat16"} | options
    work = network.workspace(5, streams, training=True)
    rate = {"adagrad": 0.1, "sgd": 0.05, "rmsprop": 1e-3, "adam": 3e-3}[optimizer]
    network.train_steps(work, ids[:-1], ids[1:], learning_rate=rate, **settings)
    assert np.isfinite(network.weights.block).all()
    return hashlib.sha256(network.weights.block.tobytes()).hexdigest()


SHA256 = {  # what 300 steps give on every processor with FMA
    ("rnn", "adagrad"): "53dd14e4d2e1a22950afd1b3d4c70e58e85ecf1694135a0234e90a6e768f5947",
    ("rnn", "sgd"): "ed4ccab74a4659a6d75152b0be222b5547b126424c8023a3d1087bb97026a399",
    ("rnn", "rmsprop"): "204ce564061616e5137479d6a044dabe198ce384c13f46528a16d93d48b734a0",
    ("rnn", "adam"): "1bcd8a66b45a2a7e40e6a16b72767b8e149ba066147255ef2a3810b319885190",
    ("gru", "adagrad"): "c70d63dc3bc5da696e48482a923e4eb985090677c430c8ceff3763df3b1386da",
    ("gru", "sgd"): "75120899c8f5269596ebcc4be0c5bb661633a2cb753b7ca45fc4f9ef2e39feaa",
    ("gru", "rmsprop"): "fba8b06663f1796adb948ae75b0d0cf40359823a622132dc19d193760a800388",
    ("gru", "adam"): "f4090fc7a49b9c3a9adc5461866641404f82a0bcc7b777900963ca266eaf558f",
    ("lstm", "adagrad"): "b3dd5eac4cc2c3cb79e84627bd378b9dfaa15929f68ca429acaeefa8d62ff34e",
    ("lstm", "sgd"): "c8252d788778c0a6f6d2c2db50d351729632b0228b3a80cf10c8584ab324e440",
    ("lstm", "rmsprop"): "320b0ae1be1c60b2eb5199c6cb5d1ef10719abcef043588ce3087b0147ac813a",
    ("lstm", "adam"): "9fad4179b51938e15dcdf142b7e84bdafe83e8c6e2937bd403994470c21a840c",
}


@pytest.mark.parametrize(("cell", "optimizer"), SHA256, ids="-".join)
def test_weights_are_the_same_bits_by_pairs_and_by_single_numbers(cell, optimizer, kernels, has_fma):
    """Processors with AVX512_BF16 multiply pairs, others of the same variant don't, nor does any other variant."""
    if not has_fma:
        pytest.skip("without FMA the results are right to rounding, not to the bit")
    assert train(cell, optimizer, kernels) == SHA256[cell, optimizer]


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("streams", [1, 7, 20])
def test_threads_change_no_bit(cell, streams, kernels):
    one = train(cell, "adam", kernels, 30, streams)
    assert one != train(cell, "adam", kernels, 30, streams, precision="float32")
    for threads in (2, 3, 8):
        assert train(cell, "adam", kernels, 30, streams, n_threads=threads) == one


def test_wide_layers_are_summed_in_blocks_to_the_same_bits(has_fma, kernels):
    """More rows than are packed at a time, more time steps, and matrices of several strips."""
    if not has_fma:
        pytest.skip("without FMA the results are right to rounding, not to the bit")
    network = random_network([("rnn", 603)], 130, 1, dtype="float32")
    ids = np.random.default_rng(0).integers(0, 130, (41, 70))
    work = network.workspace(40, 70, training=True)
    losses = network.train_steps(work, ids[:-1], ids[1:], learning_rate=0.01, precision="bfloat16", n_threads=2)
    assert len(losses) == 1
    assert hashlib.sha256(network.weights.block.tobytes()).hexdigest() == WIDE


WIDE = "02aebf6bfa55b084af04eaf5efe5421e916c3c8069b661cb20b0e92163793d3c"


def test_tiny_numbers_are_zero_and_make_the_same_bits(has_fma, kernels):
    """Below the least normal number vdpbf16ps would compute otherwise: neither operands nor starts of sums may lead there."""
    if not has_fma:
        pytest.skip("without FMA the results are right to rounding, not to the bit")
    network = random_network([("lstm", 40), ("gru", 24)], 20, 3, dtype="float32")
    rng = np.random.default_rng(5)
    for view in network.weights.views().values():
        view[...] = np.ldexp(view, rng.integers(-149, 2, view.shape))
    ids = rng.integers(0, 20, (13, 9))
    work = network.workspace(12, 9, training=True)
    losses, gradient = network.gradient(work, ids[:-1], ids[1:], precision="bfloat16")
    assert hashlib.sha256(losses.tobytes() + gradient.block.tobytes()).hexdigest() == TINY


TINY = "6f0bfd4be6af7ef47a117523270304befb29bbf4cae3b92b5e40ce991e87aa01"


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
    losses = network.train_steps(network.workspace(5, 8, training=True), ids, ids, learning_rate=0.1, precision="bfloat16")
    assert len(losses) == 0
    np.testing.assert_array_equal(network.weights.block, before)


def test_float64_is_refused():
    with pytest.raises(ValueError, match="precision='bfloat16' needs a network of float32, not float64"):
        charrnn.train_text("to be or not to be", precision="bfloat16", dtype="float64", progress=False)
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
    options = {"preset": "tutorial", "hidden_size": 20, "batch_size": 3, "progress": False, "precision": "bfloat16"}
    path = tmp_path / "model.safetensors"
    whole = charrnn.train_text(text, steps=40, **options)
    charrnn.train_text(text, steps=13, checkpoint=path, **options)
    resumed = charrnn.train_text(text, steps=40, resume=path, **options)
    np.testing.assert_array_equal(resumed.network.weights.block, whole.network.weights.block)
    with pytest.raises(ValueError, match="precision"):
        charrnn.train_text(text, steps=40, resume=path, **(options | {"precision": "float32"}))
    whole.save(path)
    assert charrnn.load(path).rnn.precision == "bfloat16"
