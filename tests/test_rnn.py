import os

import numpy as np
import pytest

import charrnn
import reference
from charrnn import RNN, DataReader
from charrnn.network.learner import Learner
from charrnn.util.seeding import make_random
from ctrl_c import CtrlC
from reference import Weights, train_steps, training_workspace


@pytest.fixture
def rnn():
    return RNN(6, 5, 4, 0.1, dtype="float64", seed=0)


H0 = np.zeros((6, 1))


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        *(
            (name, value, error)
            for name in ("hidden_size", "vocab_size", "seq_length", "batch_size")
            for value, error in [
                (0, ValueError),
                (-1, ValueError),
                (2**40, ValueError),
                (True, TypeError),
                (2.5, TypeError),
                ("8", TypeError),
            ]
        ),
        *(
            (name, value, ValueError)
            for name in ("learning_rate", "clip_value")
            for value in (float("nan"), 0, -1)
        ),
        ("learning_rate", float("inf"), ValueError),
        ("learning_rate", "0.1", TypeError),
        ("learning_rate", None, TypeError),
        ("learning_rate", True, TypeError),
        ("dtype", "float16", ValueError),
        ("seed", -1, ValueError),
        ("seed", 2**64, ValueError),
        ("seed", 1.5, TypeError),
    ],
)
def test_wrong_argument_is_named(name, value, error):
    arguments = {
        "hidden_size": 4,
        "vocab_size": 3,
        "seq_length": 2,
        "learning_rate": 0.1,
        name: value,
    }
    with pytest.raises(error, match=f"{name} must be"):
        RNN(**arguments)


@pytest.mark.parametrize(
    "name",
    ["hidden_size", "vocab_size", "dtype", "network", "random", "typo_rate", "params", "__dict__"],
)
def test_sizes_are_fixed_and_unknown_names_refused(rnn, name):
    before = rnn.forward([1, 2], H0)[2][1]
    for value in (50, None, RNN(9, 5, 4, 0.1).network):
        with pytest.raises(AttributeError, match=r"fixed|cannot be set"):
            setattr(rnn, name, value)
    with pytest.raises(AttributeError, match="cannot be deleted"):
        delattr(rnn, name)
    with pytest.raises(AttributeError, match="fixed"):
        rnn.__init__(9, 9, 9, 0.1)
    assert (rnn.hidden_size, rnn.vocab_size, rnn.dtype) == (6, 5, "float64")
    np.testing.assert_array_equal(rnn.forward([1, 2], H0)[2][1], before)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        *(
            (name, value, ValueError)
            for name in ("seq_length", "batch_size", "n_threads")
            for value in (0, -1, 2**40)
        ),
        *(
            (name, value, TypeError)
            for name in ("seq_length", "batch_size", "n_threads")
            for value in (None, "3", 2.5, True)
        ),
        *(
            (name, value, ValueError)
            for name in ("learning_rate", "clip_value")
            for value in (0, -1, float("nan"))
        ),
        *(
            (name, value, TypeError)
            for name in ("learning_rate", "clip_value")
            for value in (None, "x", b"1", [1])
        ),
        ("learning_rate", float("inf"), ValueError),
        ("initial_accumulator_value", -1, ValueError),
    ],
)
def test_a_setting_is_checked_when_it_is_set(rnn, name, value, error):
    before = getattr(rnn, name)
    with pytest.raises(error, match=f"{name} must be"):
        setattr(rnn, name, value)
    assert getattr(rnn, name) == before


def test_settings_can_be_set_and_are_used(rnn, text_file):
    reader = DataReader(text_file("abcde" * 30), 4)
    rnn.batch_size, rnn.seq_length, rnn.n_threads, rnn.learning_rate = 3, 7, 2, 0.05
    assert rnn.train(reader, epochs=1, callback=None).steps == 8  # 149 targets in 3 streams of 50


@pytest.mark.parametrize("place", range(5))
def test_a_gradient_of_another_shape_is_refused(rnn, place):
    gradient = [np.ones_like(getattr(rnn, name)) for name in "UWVbc"]
    before = rnn.network.weights.block.copy()
    for wrong in (gradient[place].T if place != 1 else np.ones((6, 5)), np.ones(3), 1.0, None):
        given = [*gradient[:place], wrong, *gradient[place + 1 :]]
        with pytest.raises(
            ValueError, match=r"the gradient of \w+ must have shape \(\d, \d\), not \("
        ):
            rnn.update_model(*given)
    np.testing.assert_array_equal(rnn.network.weights.block, before)


def test_integer_like_arguments_are_taken():
    assert RNN(np.int64(4), np.uint8(3), 2, np.float32(0.1)).hidden_size == 4


def test_weights_have_the_tutorials_shapes_and_are_written_through(rnn):
    for name, shape in {"U": (6, 5), "W": (6, 6), "V": (5, 6), "b": (6, 1), "c": (5, 1)}.items():
        value = np.random.default_rng(0).standard_normal(shape)
        setattr(rnn, name, value)
        np.testing.assert_array_equal(getattr(rnn, name), value)
        getattr(rnn, name)[0, 0] = 7
        assert getattr(rnn, name)[0, 0] == 7
        assert getattr(rnn, "m" + name).shape == shape
    with pytest.raises(ValueError, match="broadcast"):
        rnn.U = np.zeros((5, 6))


def test_same_seed_same_network():
    assert (RNN(6, 5, 4, 0.1, seed=3).W == RNN(6, 5, 4, 0.1, seed=3).W).all()
    assert (RNN(6, 5, 4, 0.1, seed=3).W != RNN(6, 5, 4, 0.1, seed=4).W).any()
    assert (RNN(6, 5, 4, 0.1).W != RNN(6, 5, 4, 0.1).W).any()


def test_the_five_steps_equal_the_oracle(rnn, kernels):
    w = reference.randomize(rnn, np.random.default_rng(0))
    memory = w.map(np.zeros_like)
    inputs, targets, h0 = [1, 0, 4], [0, 4, 2], np.full((6, 1), 0.3)
    xs, hs, ps = rnn.forward(inputs, h0)
    h, log_p = reference.forward(w, inputs, h0)
    assert sorted(hs) == [-1, 0, 1, 2]
    for t in range(3):
        np.testing.assert_array_equal(xs[t], np.eye(5)[:, [inputs[t]]])
        np.testing.assert_allclose(hs[t], h[t], rtol=1e-12)
        np.testing.assert_allclose(ps[t], np.exp(log_p[t]), rtol=1e-12)
    np.testing.assert_array_equal(hs[-1], h0)
    assert rnn.loss(ps, targets) == pytest.approx(reference.loss(w, inputs, targets, h0), rel=1e-12)
    assert rnn.loss(dict(ps), targets) == pytest.approx(rnn.loss(ps, targets), rel=1e-12)
    rnn.clip_value = 0.5
    gradients = rnn.backward(xs, hs, ps, targets)
    expected = reference.gradient(w, inputs, targets, h0).map(lambda g: np.clip(g, -0.5, 0.5))
    for got, g in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(got, g, rtol=1e-11, atol=1e-14)
    rnn.update_model(*gradients)
    reference.adagrad(w, memory, expected, 0.1)
    for got, g in zip(Weights.of(rnn), w, strict=True):
        np.testing.assert_allclose(got, g, rtol=1e-9, atol=1e-12)


def test_the_step_by_step_path_equals_the_fast_path():
    """forward, backward, update_model called one by one train exactly as train_steps does."""
    slow, fast = (RNN(9, 7, 5, 0.1, seed=1) for _ in range(2))
    ids = np.arange(41, dtype=np.int32)[:, None] ** 2 % 7
    h = np.zeros((9, 1))
    losses = []
    for k in range(0, 40, 5):
        xs, hs, ps = slow.forward(ids[k : k + 5, 0], h)
        slow.update_model(*slow.backward(xs, hs, ps, ids[k + 1 : k + 6, 0]))
        losses.append(slow.loss(ps, ids[k + 1 : k + 6, 0]))
        h = hs[4]
    fast_losses = train_steps(fast, training_workspace(fast), ids[:-1].copy(), ids[1:].copy())
    np.testing.assert_allclose(losses, fast_losses, rtol=1e-5)
    np.testing.assert_array_equal(slow.network.weights.block, fast.network.weights.block)


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ([0, 5], IndexError, r"inputs\[1\] = 5 is not in \[0, 5\)"),
        ([-1], IndexError, r"inputs\[0\] = -1"),
        ([], TypeError, "at least one integer"),
        ([0.5], TypeError, "integer"),
        ([[0]], TypeError, "sequence"),
        (np.array([2**63 + 5], np.uint64), IndexError, r"inputs\[0\] = 9223372036854775813"),
        (None, TypeError, "inputs must be"),
    ],
)
def test_wrong_ids_are_named(rnn, inputs, error, message):
    with pytest.raises(error, match=message):
        rnn.forward(inputs, H0)


@pytest.mark.parametrize(
    ("h", "message"),
    [
        (np.zeros(6), r"shape \(6, 1\)"),
        (np.zeros((5, 1)), r"shape \(6, 1\)"),
        (np.full((6, 1), np.nan), "finite"),
        ([["a"]] * 6, "numbers"),
    ],
)
def test_wrong_state_is_named(rnn, h, message):
    with pytest.raises(ValueError, match=f"hprev.*{message}"):
        rnn.forward([0], h)


def test_arrays_of_any_layout_are_taken(rnn):
    expected = rnn.forward([1, 2], H0 + 0.25)[2][1]
    big_endian = np.full((6, 1), 0.25, ">f4")[::-1]
    big_endian.flags.writeable = False
    np.testing.assert_array_equal(
        rnn.forward(np.array([2, 9, 1], ">i8")[::-2], big_endian)[2][1], expected
    )


@pytest.mark.parametrize("logits", [[0.0, 1.0], ["a"] * 5, None])
def test_wrong_logits_are_named(rnn, logits):
    with pytest.raises(ValueError, match=r"o must be numbers of shape \(5, 1\), not "):
        rnn.softmax(logits)


def test_wrong_number_of_targets_is_named(rnn):
    xs, hs, ps = rnn.forward([0, 1], H0)
    with pytest.raises(ValueError, match="targets must have 2 ids, not 1"):
        rnn.backward(xs, hs, ps, [1])
    with pytest.raises(ValueError, match="targets must have 2 ids, not 3"):
        rnn.loss(ps, [1, 1, 1])


def test_sample_and_predict_check_their_arguments(rnn, text_file):
    reader = DataReader(text_file("abcde"), 4)
    with pytest.raises(ValueError, match="n must be"):
        rnn.sample(H0, 0, -1)
    with pytest.raises(IndexError, match="seed_ix"):
        rnn.sample(H0, 5, 1)
    with pytest.raises(
        ValueError, match=r"start\[1\] = 'z' \(U\+007A\) is not among the 5 characters"
    ):
        rnn.predict(reader, "az", 3)
    with pytest.raises(ValueError, match="at least one character"):
        rnn.predict(reader, "", 3)
    with pytest.raises(TypeError, match="start must be a str"):
        rnn.predict(reader, None, 3)
    assert rnn.sample(H0, 0, 0) == []
    assert rnn.predict(reader, "ab", 0) == "ab"


def test_text_with_more_characters_than_the_network_is_refused(rnn, text_file):
    with pytest.raises(ValueError, match="6 distinct characters, this network vocab_size=5"):
        rnn.train(DataReader(text_file("abcdef"), 4))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        *(({name: -1}, ValueError) for name in ("epochs", "steps", "seconds")),
        *(
            ({name: "1"}, TypeError)
            for name in ("epochs", "steps", "seconds", "threshold", "callback")
        ),
        ({"epochs": 1.5}, TypeError),
        ({"steps": True}, TypeError),
        ({"seconds": float("nan")}, ValueError),
        ({"threshold": float("nan")}, ValueError),
    ],
)
def test_a_wrong_option_of_training_is_named(rnn, text_file, options, error):
    before = rnn.network.weights.block.copy()
    (name,) = options
    with pytest.raises(error, match=f"{name} must be"):
        rnn.train(DataReader(text_file("abcde" * 9), 4), **options)
    np.testing.assert_array_equal(rnn.network.weights.block, before)


def test_generator_states_depend_on_seed_and_number_only():
    assert (make_random(1, 5)[:3] == make_random(1, 3)).all()
    assert len(np.unique([make_random(seed, 100) for seed in range(100)])) == 10000


@pytest.mark.parametrize("T", [1, 2, 12])
def test_gradient_norms_equal_the_oracle(T, kernels):
    rnn = RNN(9, 6, 25, 0.1, dtype="float64", seed=0)
    rng = np.random.default_rng(1)
    w = reference.randomize(rnn, rng)
    inputs, h0 = rng.integers(0, 6, T), rng.uniform(-1, 1, (9, 1))
    assert rnn.gradient_norms(inputs, 4, h0) == pytest.approx(
        reference.gradient_norms(w, inputs, 4, h0), rel=1e-9
    )


def test_gradient_norms_name_a_wrong_argument(rnn):
    h = np.zeros((rnn.hidden_size, 1))
    with pytest.raises(TypeError, match="inputs must be a sequence of at least one integer"):
        rnn.gradient_norms([], 0, h)
    with pytest.raises(IndexError, match=r"target\[0\] = 99 is not in"):
        rnn.gradient_norms([0], 99, h)
    with pytest.raises(ValueError, match="hprev must be numbers of shape"):
        rnn.gradient_norms([0], 0, h.T)


@pytest.mark.clock
@pytest.mark.skipif(os.name != "posix", reason="needs os.kill with SIGINT")
def test_drawing_many_weights_ends_soon_after_ctrl_c(kernels):
    network, random = charrnn.network.Network(([("rnn", 8192)], 8), "float32"), make_random(0)
    ctrl_c = CtrlC(0.05)
    with pytest.raises(KeyboardInterrupt):
        ctrl_c.during(lambda: kernels.initialize(network, 0.01, random))
    assert ctrl_c.spent() < 0.2  # all would take a second


@pytest.mark.clock
@pytest.mark.skipif(os.name != "posix", reason="needs os.kill with SIGINT")
def test_filling_an_optimizers_memory_ends_soon_after_ctrl_c():
    ctrl_c = CtrlC(0.02)
    with pytest.raises(KeyboardInterrupt):
        ctrl_c.during(lambda: Learner([("rnn", 8192)], 8, seed=0))
    assert ctrl_c.spent() < 0.1  # all would take a third of a second
