"""Every kernel against the NumPy oracle, on every compiled variant."""

import functools

import numpy as np
import pytest

import reference
from charrnn.data.batches import IGNORED, TextStream
from charrnn.data.vocabulary import Vocabulary
from charrnn.network._types import Parameters
from charrnn.tutorial import RNN
from charrnn.util.errors import DivergedError
from charrnn.util.seeding import make_random
from reference import Weights, digest, train_steps, training_workspace

SIZES = [
    (1, 1, 1),
    (1, 2, 3),
    (2, 1, 2),
    (7, 5, 4),
    (8, 16, 8),
    (9, 17, 5),
    (16, 33, 3),
    (33, 9, 9),
    (50, 97, 11),
    (100, 65, 25),
    (130, 40, 6),
]  # H, V, T
SHAPES = [  # H, V, T, B: 40 random ones, and the corners
    *((int(rng.integers(1, 18)), int(rng.integers(1, 24)), int(rng.integers(1, 14)), 1)
      for rng in map(np.random.default_rng, range(40))),
    (1, 1, 1, 1), (17, 2, 1, 1), (1, 19, 3, 1), (33, 49, 4, 1), (5, 3, 1, 3), (16, 17, 3, 4),
    (9, 20, 4, 9),
]  # fmt: skip


def problem(H, V, T, B=1, *, seed=0, dtype="float64", scale=0.5):
    """An RNN with large random weights, ids and states for one window."""
    rng = np.random.default_rng(seed)
    rnn = RNN(H, V, T, 0.1, batch_size=B, dtype=dtype, seed=seed)
    reference.randomize(rnn, rng, scale)
    inputs = rng.integers(0, V, (T, B)).astype(np.int32)
    inputs[T // 2 :] = inputs[0]  # repeated characters
    targets = rng.integers(0, V, (T, B)).astype(np.int32)
    h0 = np.tanh(rng.standard_normal((H, B)))
    return rnn, inputs, targets, h0


def forward(rnn, inputs, targets, h0):
    """Losses (T, B) and the workspace after one window."""
    work = training_workspace(rnn, *inputs.shape)
    work.set_state(h0.T)
    nll = rnn.network.evaluate(work, inputs, targets)
    return nll, work


def probabilities(core, rnn, inputs, h0):
    """States (T + 1, B, H) and probabilities (T, B, V) of one window, by the kernels."""
    work = rnn.network.workspace(*inputs.shape)
    work.set_state(h0.T)
    states, logits = core.window(work, inputs)
    return states[..., : rnn.hidden_size], core.softmax(work, logits)


def gradient(core, rnn, inputs, targets, h0):
    """Gradient of the window as Weights, by the kernels."""
    states, p = probabilities(core, rnn, inputs, h0)
    g = core.backward(training_workspace(rnn, *inputs.shape), inputs, targets, states, p).views()
    return Weights(g["Wxh"].T, g["Whh"].T, g["Why"].T, g["bh"][:, None], g["by"][:, None]).map(
        np.array
    )


@functools.cache
def numerical_gradients(H, V, T, B):
    """Central differences and complex step of the oracle for `problem(H, V, T, B)`: means over the
    streams.
    """
    rnn, inputs, targets, h0 = problem(H, V, T, B)

    def mean(method):
        each = [method(Weights.of(rnn), inputs[:, b], targets[:, b], h0[:, [b]]) for b in range(B)]
        return Weights(*(sum(arrays) / B for arrays in zip(*each, strict=True)))

    return mean(reference.central_differences), mean(reference.complex_step)


def norm_error(got, expected):
    flat = [np.concatenate([array.ravel() for array in weights]) for weights in (got, expected)]
    return np.linalg.norm(flat[0] - flat[1]) / max(np.linalg.norm(flat[1]), 1e-30)


# ------------------------------------------------------------------------------------------ forward


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize(("H", "V", "T"), SIZES)
def test_forward_equals_oracle(kernels, H, V, T, dtype, rtol):
    rnn, inputs, targets, h0 = problem(H, V, T, dtype=dtype)
    nll, work = forward(rnn, inputs, targets, h0)
    h, log_p = reference.forward(Weights.of(rnn), inputs[:, 0], h0.astype(dtype).astype(float))
    expected = [-log_p[t][targets[t, 0], 0] for t in range(T)]
    np.testing.assert_allclose(nll[:, 0], expected, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(work.get_state()[0], h[T - 1][:, 0], rtol=rtol, atol=rtol)
    _, p = probabilities(kernels, rnn, inputs, h0)
    np.testing.assert_allclose(
        p[:, 0], [np.exp(log_p[t][:, 0]) for t in range(T)], rtol=10 * rtol, atol=rtol
    )


WIDE = [
    (20, 30),
    (16, 70),
    (33, 16),
    (100, 65),
    (112, 144),
    (530, 50),
]  # H, V: panels and strips of every width, and blocks of each kind


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("H", "V"), WIDE)
@pytest.mark.parametrize("B", [2, 3, 8, 13])
def test_streams_of_a_batch_are_independent_to_the_bit(kernels, H, V, B, dtype):
    rnn, inputs, targets, h0 = problem(
        H, V, 9, B, dtype=dtype
    )  # a call of so many time steps lays weights in panels
    together, _ = forward(rnn, inputs, targets, h0)
    for b in range(B):
        alone, _ = forward(rnn, inputs[:, [b]], targets[:, [b]], h0[:, [b]])
        np.testing.assert_array_equal(alone[:, 0], together[:, b])


def test_state_is_carried_from_window_to_window(kernels):
    rnn, inputs, targets, h0 = problem(10, 7, 12)
    whole, _ = forward(rnn, inputs, targets, h0)
    work = rnn.network.workspace(5, 1)
    work.set_state(h0.T)
    np.testing.assert_array_equal(rnn.network.evaluate(work, inputs, targets), whole)
    assert np.abs(whole[5:] - forward(rnn, inputs[5:], targets[5:], 0 * h0)[0]).max() > 1e-3


def test_padding_stays_zero(kernels):
    rnn, inputs, targets, _ = problem(10, 7, 12, dtype="float32")
    train_steps(rnn, training_workspace(rnn), np.tile(inputs, (20, 1)), np.tile(targets, (20, 1)))
    weights = rnn.network.weights
    padding = np.ones(weights.block.size, bool)
    for start, rows, columns, ld, _ in rnn.network.description.tensors.values():
        padding[start : start + rows * ld].reshape(-1, ld)[:, :columns] = False
    assert padding.sum() == weights.block.size - rnn.network.description.n_parameters > 0
    assert not weights.block[padding].any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_softmax_of_huge_logits(kernels, dtype):
    rnn = RNN(2, 3, 1, 0.1, dtype=dtype)
    np.testing.assert_allclose(rnn.softmax([1e4, 1e4, -1e4])[:, 0], [0.5, 0.5, 0], atol=1e-7)
    np.testing.assert_allclose(
        rnn.softmax([-1e4, -1e4 + 1, -1e4])[:, 0],
        np.exp([0, 1, 0]) / np.exp([0, 1, 0]).sum(),
        rtol=1e-6,
    )


def test_softmax_finds_a_maximum_anywhere_in_the_row(kernels):
    for place in (0, 15, 16, 40, 69):
        logits = np.full(70, -1e4)
        logits[place] = 1e4
        p = RNN(2, 70, 1, 0.1, dtype="float32").softmax(logits)[:, 0]
        np.testing.assert_array_equal(p, np.arange(70) == place)


def test_small_probabilities_are_exactly_zero_never_subnormal(kernels):
    rnn = RNN(2, 200, 1, 0.1, dtype="float32")
    p = rnn.softmax(-np.arange(200.0))[:, 0]
    assert p[-1] == 0
    assert p[p > 0].min() > 1e-18


@pytest.mark.parametrize(("dtype", "ulps"), [("float32", 3), ("float64", 3)])
def test_tanh_is_accurate_everywhere(kernels, dtype, ulps):
    z = np.concatenate([np.linspace(-25, 25, 1001), np.geomspace(1e-30, 1, 200), [0.0]]).astype(
        dtype
    )
    rnn = RNN(len(z), 1, 1, 0.1, dtype=dtype)
    rnn.U, rnn.W, rnn.b = 0, 0, z[:, None]
    _, work = forward(
        rnn, np.zeros((1, 1), np.int32), np.zeros((1, 1), np.int32), np.zeros((len(z), 1))
    )
    expected = np.tanh(z.astype(np.longdouble)).astype(dtype)
    assert (np.abs(work.get_state()[0] - expected) <= ulps * np.spacing(np.abs(expected))).all()


# ---------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize(("H", "V", "T", "B"), SHAPES)
def test_gradient_equals_numerical_derivatives(kernels, H, V, T, B):
    rnn, inputs, targets, h0 = problem(H, V, T, B)
    got = gradient(kernels, rnn, inputs, targets, h0)
    central, exact = numerical_gradients(H, V, T, B)
    assert norm_error(got, central) <= 1e-9
    assert norm_error(got, exact) <= 1e-11
    rounding = (
        0 if np.finfo(np.longdouble).eps < 1e-17 else 2e-11
    )  # of the differences, where long double is double
    for name, g, c, x in zip("UWVbc", got, central, exact, strict=True):
        large = np.abs(x) > 1e-6
        np.testing.assert_allclose(g[large], c[large], rtol=1e-6, atol=rounding, err_msg=f"d{name}")
        np.testing.assert_allclose(g, x, rtol=1e-11, atol=1e-14, err_msg=f"d{name}")
    unseen = np.setdiff1d(np.arange(V), inputs)
    assert not got.U[:, unseen].any()


@pytest.mark.parametrize(("H", "V", "T"), SIZES)
def test_float32_gradient_is_close_to_float64(kernels, H, V, T):
    rnn, inputs, targets, h0 = problem(H, V, T, dtype="float32", scale=0.2)
    h0 = h0.astype(np.float32).astype(float)
    got = gradient(kernels, rnn, inputs, targets, h0)
    assert (
        norm_error(got, reference.gradient(Weights.of(rnn), inputs[:, 0], targets[:, 0], h0))
        <= 2e-6
    )


@pytest.mark.parametrize(("H", "V"), WIDE)
@pytest.mark.parametrize(("T", "B"), [(70, 1), (40, 4), (45, 9)])
def test_gradient_of_a_batch_is_the_mean_over_its_streams(kernels, H, V, T, B):
    rnn, inputs, targets, h0 = problem(H, V, T, B, scale=0.7 / np.sqrt(H))
    each = [
        reference.gradient(Weights.of(rnn), inputs[:, b], targets[:, b], h0[:, [b]])
        for b in range(B)
    ]
    expected = Weights(*(sum(arrays) / B for arrays in zip(*each, strict=True)))
    for name, got, wanted in zip(
        "UWVbc", gradient(kernels, rnn, inputs, targets, h0), expected, strict=True
    ):
        np.testing.assert_allclose(
            got, wanted, rtol=1e-9, atol=1e-9 * np.abs(wanted).max(), err_msg=name
        )


def test_ignored_targets_count_nothing(kernels):
    rnn, inputs, targets, h0 = problem(6, 5, 8, 2)
    targets[5:, 1] = IGNORED  # the second stream ends early
    nll, _ = forward(rnn, inputs, targets, h0)
    assert not nll[5:, 1].any()
    got = gradient(kernels, rnn, inputs, targets, h0)
    w = Weights.of(rnn)
    whole = reference.gradient(w, inputs[:, 0], targets[:, 0], h0[:, [0]])
    short = reference.gradient(w, inputs[:5, 1], targets[:5, 1], h0[:, [1]])
    assert (
        norm_error(got, Weights(*((a + b) / 2 for a, b in zip(whole, short, strict=True)))) <= 1e-12
    )


# ----------------------------------------------------------------------------------------- training


def windows(inputs, targets, T):
    return [(inputs[k : k + T, 0], targets[k : k + T, 0]) for k in range(0, len(inputs), T)]


def test_thousand_adagrad_steps_equal_oracle(kernels):
    rng = np.random.default_rng(1)
    H, V, T = 9, 11, 6
    rnn = RNN(H, V, T, 0.1, clip_value=0.7, dtype="float64", seed=3)
    w, memory = Weights.of(rnn), Weights.of(rnn).map(np.zeros_like)
    ids = rng.integers(0, V, 1000 * T + 1).astype(np.int32)
    ids[::2] = 3  # something to learn
    inputs, targets = ids[:-1, None].copy(), ids[1:, None].copy()
    work = training_workspace(rnn)
    losses = train_steps(rnn, work, inputs, targets)
    expected, h = reference.train(
        w, memory, windows(inputs, targets, T), np.zeros((H, 1)), 0.1, 0.7
    )
    np.testing.assert_allclose(losses, expected, rtol=1e-9)
    np.testing.assert_allclose(work.get_state()[0], h[:, 0], rtol=1e-9, atol=1e-12)
    for name, array, mem in zip("UWVbc", w, memory, strict=True):
        np.testing.assert_allclose(getattr(rnn, name), array, rtol=1e-9, atol=1e-12, err_msg=name)
        np.testing.assert_allclose(
            getattr(rnn, "m" + name), mem, rtol=1e-9, atol=1e-20, err_msg="m" + name
        )


def test_gradients_are_clipped_on_both_sides(kernels):
    rnn, inputs, targets, h0 = problem(5, 4, 6, scale=2.0)
    raw = gradient(kernels, rnn, inputs, targets, h0)
    assert min(g.min() for g in raw) < -0.3
    assert max(g.max() for g in raw) > 0.3
    rnn.clip_value, rnn.learning_rate = 0.3, 1e-30
    work = training_workspace(rnn)
    work.set_state(h0.T)
    train_steps(rnn, work, inputs, targets)
    for name, g in zip("UWVbc", raw, strict=True):
        np.testing.assert_allclose(getattr(rnn, "m" + name), np.clip(g, -0.3, 0.3) ** 2, rtol=1e-10)


def test_eps_is_inside_the_root(kernels):
    rnn = RNN(3, 4, 1, 1.0, dtype="float64")
    rnn.network.weights.block[...] = 0
    gradient = Parameters(rnn.network.description, "float64")
    gradient.views()["bh"][...] = [1e-4, -1e-4, 3e-4]
    kernels.update(training_workspace(rnn), gradient, 1.0)
    np.testing.assert_allclose(
        rnn.b[:, 0],
        [-1e-4 / np.sqrt(2e-8), 1e-4 / np.sqrt(2e-8), -3e-4 / np.sqrt(1e-7)],
        rtol=1e-12,
    )


def numbers(parameters):
    """Return all numbers of parameters but for the padding, in one row."""
    return np.concatenate([array.ravel() for array in parameters.views().values()])


@pytest.mark.parametrize(
    ("dtype", "ulps", "exponents"),
    [("float32", 2, range(-20, 127)), ("float64", 2, range(-20, 1023))],
)
def test_the_root_of_adagrad_is_accurate_over_all_exponents(kernels, dtype, ulps, exponents):
    """With a memory of x and a gradient so small that it does not count beside it, the weight moves
    by the gradient over the root of x.
    """
    for exponent in exponents:
        rnn = RNN(30, 50, 1, 1.0, dtype=dtype)
        x = np.exp2(exponent) * np.random.default_rng(exponent + 20).uniform(
            1, 2, rnn.network.weights.block.shape
        )
        x[:2] = np.exp2(exponent), np.nextafter(np.exp2(exponent + 1.0), 0)
        rnn.network.weights.block[...] = 0
        rnn.network.memory.block[...] = x.astype(dtype)
        x = numbers(rnn.network.memory) + np.array(1e-8, dtype)
        gradient = Parameters(rnn.network.description, dtype)
        gradient.block[...] = -np.exp2(exponent // 2 - 30)
        kernels.update(training_workspace(rnn), gradient, 1.0)
        exact = np.exp2(exponent // 2 - 30) / np.sqrt(x.astype(np.longdouble))
        np.testing.assert_array_less(
            np.abs(numbers(rnn.network.weights) - exact),
            ulps * np.spacing(exact.astype(dtype)),
            err_msg=f"{exponent}",
        )


def test_an_infinite_memory_moves_no_weight(kernels):
    rnn = RNN(3, 4, 1, 1.0, dtype="float32")
    rnn.network.memory.block[...] = np.inf
    before = rnn.network.weights.block.copy()
    gradient = Parameters(rnn.network.description, "float32")
    gradient.block[...] = 1
    kernels.update(training_workspace(rnn), gradient, 1.0)
    np.testing.assert_array_equal(rnn.network.weights.block, before)


def test_steps_in_one_call_or_many_give_the_same_bits(kernels):
    def train(calls):
        rnn, inputs, targets, _ = problem(17, 23, 5, 2, dtype="float32", scale=0.05)
        inputs, targets = np.tile(inputs, (12, 1)), np.tile(targets, (12, 1))
        work = training_workspace(rnn)
        for part in np.split(np.arange(len(inputs)), calls):
            train_steps(rnn, work, inputs[part], targets[part])
        return (
            rnn.network.weights.block.tobytes(),
            rnn.network.memory.block.tobytes(),
            work.get_state().tobytes(),
        )

    assert train(1) == train(3) == train(12)


def test_a_step_that_diverges_is_not_applied(kernels):
    rnn, inputs, targets, _ = problem(5, 4, 6, dtype="float32")
    inputs, targets = np.tile(inputs, (3, 1)), np.tile(targets, (3, 1))
    rnn.W[2, 3] = np.nan
    before = rnn.network.weights.block.copy()
    work = training_workspace(rnn)
    assert len(train_steps(rnn, work, inputs, targets)) == 0
    np.testing.assert_array_equal(rnn.network.weights.block, before)
    assert not rnn.network.memory.block.any()
    assert not work.state.any()


def test_an_infinite_loss_is_not_applied_though_its_gradient_is_finite(kernels):
    rnn = RNN(4, 3, 2, 0.1, dtype="float32")
    rnn.c[1] = -np.inf
    before = rnn.network.weights.block.copy()
    assert (
        len(train_steps(rnn, training_workspace(rnn), np.zeros((2, 1), int), np.ones((2, 1), int)))
        == 0
    )
    np.testing.assert_array_equal(rnn.network.weights.block, before)


def test_a_loss_whose_sums_would_be_infinite_is_not_applied(kernels):
    rnn = RNN(4, 3, 2, 0.1, dtype="float64")
    rnn.c[1] = -1e290
    before = rnn.network.weights.block.copy()
    assert (
        len(train_steps(rnn, training_workspace(rnn), np.zeros((2, 1), int), np.ones((2, 1), int)))
        == 0
    )
    np.testing.assert_array_equal(rnn.network.weights.block, before)


def test_an_overflowing_gradient_is_not_applied(kernels):
    rnn = RNN(4, 3, 4, 0.1, dtype="float32")
    rnn.W[...], rnn.V[...] = (
        3e37,
        np.eye(3, 4) * 1e3,
    )  # the states are tiny but exact zero at the start: tanh' is 1 there
    rnn.U[...] = 0
    before = rnn.network.weights.block.copy()
    ids = np.zeros((8, 1), np.int32)
    assert len(train_steps(rnn, training_workspace(rnn), ids, ids)) == 0
    np.testing.assert_array_equal(rnn.network.weights.block, before)


def test_first_ten_losses(kernels):
    """The golden run: nats per window of the first ten steps, as reference.py computed them."""
    text = "to be, or not to be"
    vocabulary = Vocabulary.from_text(text)
    rnn = RNN(8, len(vocabulary), 5, 0.1, dtype="float64", seed=0)
    ids = vocabulary.encode(text * 3)
    inputs, targets = TextStream(ids, 5).read(0, 10)
    losses = train_steps(rnn, training_workspace(rnn), inputs, targets)
    np.testing.assert_allclose(losses, GOLDEN, rtol=1e-12)


GOLDEN = [
    10.396513725548697, 10.424310352111505, 10.069126032780456, 10.275706574937983,
    9.750810068838815,
    10.22533398174917, 8.942526299779548, 8.51984695362929, 8.560451553198483, 9.349904855933694,
]  # fmt: skip


def weights_after(steps, *, batch_size=1, n_threads=1):
    """SHA-256 of all weights after training on a fixed sequence of ids."""
    rng = np.random.default_rng(5)
    ids = np.cumsum(rng.integers(0, 3, 4001)) % 61
    rnn = RNN(100, 61, 25, 0.05, batch_size=batch_size, n_threads=n_threads, seed=1)
    stream = TextStream(ids, 25, batch_size)
    work = training_workspace(rnn)
    for _ in range(steps // stream.windows):
        train_steps(rnn, work, *stream.read(0, stream.windows))
    return digest(rnn)


@pytest.mark.parametrize(("batch_size", "steps"), [(1, 320), (7, 320), (32, 320), (1, 5120)])
def test_weights_are_the_same_bits_in_every_variant(kernels, needs_fma, batch_size, steps):
    assert weights_after(steps, batch_size=batch_size) == SHA256[batch_size, steps]


@pytest.mark.parametrize("n_threads", [2, 3, 4, 8])
@pytest.mark.parametrize("batch_size", [7, 32])
def test_any_number_of_threads_gives_the_same_bits(kernels, batch_size, n_threads):
    assert weights_after(100, batch_size=batch_size, n_threads=n_threads) == weights_after(
        100, batch_size=batch_size
    )


@pytest.mark.parametrize("n_threads", [1, 3])
def test_a_diverging_step_is_not_applied_by_threads_either(kernels, n_threads):
    rnn, inputs, targets, _ = problem(20, 4, 6, 5, dtype="float32")
    rnn.n_threads = n_threads
    rnn.W[2, 3] = np.nan
    before = rnn.network.weights.block.copy()
    assert len(train_steps(rnn, training_workspace(rnn), inputs, targets)) == 0
    np.testing.assert_array_equal(rnn.network.weights.block, before)


SHA256 = {
    (1, 320): "c1f932d5daa4d41ae33c39e507eb397bd147a5947c0a3f4f85060c6816cf8095",
    (7, 320): "7d7701c66a63e95c509fc43d1ef2fe4d2e3aee93db11262520d2e8b18aae18d9",
    (32, 320): "35100e9aad409f3adfac6805fa37210bc33baaebfa67540a82678a4fc70fc042",
    (1, 5120): "806bb5fd15e0ded965d30b489f9bac1d325b9be23f097f1e26c3683c3865770c",
}


# ----------------------------------------------------------------------------------------- sampling


def drawn(rnn, h0, temperature, count):
    """How often each symbol is the first one drawn after the state h0."""
    work = rnn.network.workspace(1, count)
    work.set_state(h0.T.repeat(count, axis=0))
    ids = rnn.network.draw(work, 1, make_random(7, count), temperature=temperature)
    return np.bincount(ids[0], minlength=rnn.vocab_size)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_probabilities(kernels, temperature):
    rnn, _, _, h0 = problem(6, 9, 1, dtype="float32", scale=1.0)
    count = 200_000
    logits = (rnn.V.astype(float) @ h0.astype(np.float32) + rnn.c)[:, 0] / temperature
    expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum() * count
    chi2 = ((drawn(rnn, h0, temperature, count) - expected) ** 2 / expected).sum()
    assert chi2 < 26.1  # 8 degrees of freedom, p = 0.001


def test_temperature_zero_takes_the_first_of_the_most_likely(kernels):
    rnn, _, _, h0 = problem(6, 20, 1, dtype="float32")
    rnn.V, rnn.c = 0, 0
    rnn.c[[4, 9]] = 1
    assert drawn(rnn, h0, 0.0, 50)[4] == 50


@pytest.mark.parametrize("temperature", [1e-300, 1e-30, 1e30, 1e300])
def test_extreme_temperatures_draw_possible_symbols(kernels, temperature):
    rnn, _, _, h0 = problem(6, 20, 1, dtype="float32")
    counts = drawn(rnn, h0, temperature, 4000)
    if temperature < 1:
        assert counts.max() == 4000
    else:
        assert (np.abs(counts - 200) < 80).all()


def test_drawn_symbols_are_fed_back(kernels):
    rnn, _, _, _ = problem(8, 6, 1)
    work = rnn.network.workspace(1, 1)
    ids = rnn.network.draw(work, 30, make_random(1), temperature=1.0)
    again = rnn.network.workspace(30, 1)
    rnn.network.evaluate(again, ids, np.full_like(ids, IGNORED))
    np.testing.assert_array_equal(work.state, again.state)


def test_a_stream_draws_the_same_whatever_the_batch(kernels):
    rnn, _, _, _ = problem(40, 30, 1, dtype="float32")
    together = rnn.network.draw(
        rnn.network.workspace(1, 12), 50, make_random(3, 12), temperature=1.0
    )
    for b in (0, 5, 11):
        alone = rnn.network.draw(
            rnn.network.workspace(1, 1), 50, make_random(3, 12)[b : b + 1], temperature=1.0
        )
        np.testing.assert_array_equal(alone[:, 0], together[:, b])


def test_initial_weights_are_normal(kernels):
    rnn = RNN(100, 65, 25, 0.1, seed=0)
    w = rnn.W.ravel() / 0.01
    assert abs(w.mean()) < 0.03
    assert abs(w.std() - 1) < 0.03
    assert abs((np.abs(w) < 1).mean() - 0.6827) < 0.02
    assert len(np.unique(w)) == w.size


def test_diverged_error_is_an_arithmetic_error():
    assert issubclass(DivergedError, ArithmeticError)
