"""The engine, and the owned objects that it stands on."""

import contextlib
import gc
import itertools
import os
import pickle
import threading
import weakref

import numpy as np
import pytest

from charrnn import DivergedError
from charrnn.network import Network
from charrnn.network import _types as _network
from charrnn.network import dispatch as _dispatch
from charrnn.network.counts import Counts
from charrnn.util.seeding import make_random


@pytest.fixture
def network():
    network = Network(([("rnn", 6)], 5), "float64")
    for view in network.weights.views().values():
        view[...] = np.random.default_rng(0).standard_normal(view.shape)
    return network


@pytest.mark.parametrize("method", ["train_steps", "evaluate"])
@pytest.mark.parametrize(
    ("inputs", "targets", "error", "message"),
    [
        ([[0], [5]], [[0], [0]], IndexError, r"inputs\[1, 0\] = 5 is not in \[0, 5\)"),
        ([[0], [-1]], [[0], [0]], IndexError, r"inputs\[1, 0\] = -1"),
        ([[0], [0]], [[0], [-2]], IndexError, r"targets\[1, 0\] = -2 is not in \[-1, 5\)"),
        ([[0], [0]], [[0], [2**40]], IndexError, r"targets\[1, 0\]"),
        ([[0], [0]], [[0]], ValueError, r"targets must be integers of shape \(2, 1\)"),
        ([[0, 0]], [[0, 0]], ValueError, r"inputs must be integers of shape \(any, 1\)"),
        ([0, 0], [0, 0], ValueError, "inputs must be integers of shape"),
        ([[0.0]], [[0.0]], ValueError, "inputs must be integers"),
        (0, 0, ValueError, r"inputs must be integers of shape \(any, 1\), not int64 of shape \(\)"),
    ],
)
def test_wrong_windows_are_named(network, method, inputs, targets, error, message):
    before = network.weights.block.copy()
    options = {"learning_rate": 0.1, "clip_value": 5.0} if method == "train_steps" else {}
    with pytest.raises(error, match=message):
        getattr(network, method)(
            network.workspace(4, 1, training=True), np.array(inputs), np.array(targets), **options
        )
    np.testing.assert_array_equal(network.weights.block, before)


def test_one_number_is_no_array_of_ids(network):
    with pytest.raises(
        ValueError, match=r"inputs must be integers of shape \(any, 1\), not int64 of shape \(\)"
    ):
        network.feed(network.workspace(4, 1), np.int64(0))


def other_network(H=8, V=5):
    return Network(([("rnn", H)], V), "float64")


# --------------------------------------------------------------------------- a workspace of another


USES = {
    "train_steps": lambda network, work: network.train_steps(
        work, [[0]], [[1]], learning_rate=0.1, clip_value=5.0
    ),
    "evaluate": lambda network, work: network.evaluate(work, [[0]], [[1]]),
    "feed": lambda network, work: network.feed(work, np.zeros((1, 1), int)),
    "draw": lambda network, work: network.draw(work, 50, make_random(1)),
    "search": lambda network, work: network.search(
        work, 3, np.zeros(1), np.zeros(1, np.int8), np.ones(5, np.int8), -1
    ),
    "next_probs": lambda network, work: network.next_probs(work),
    "next_nll": lambda network, work: network.next_nll(work, [0]),
    "score": lambda network, work: network.score(work, [0, 1], [2]),
    "next_log_probs": lambda network, work: network.next_log_probs(work),
}


@pytest.mark.parametrize("use", USES)
def test_a_workspace_of_another_network_is_refused_with_both_sizes(network, use):
    for other in (
        other_network(),
        other_network(400),
        other_network(6),
    ):  # the last has the same sizes
        with pytest.raises(
            ValueError,
            match=rf"\({other.description}\), not of this one \(rnn of 6 units, 5 symbols\)",
        ):
            USES[use](network, other.workspace(2, 1, training=True))
    for nothing in (None, network, np.zeros((2, 1))):
        with pytest.raises(TypeError, match="work must be a workspace"):
            USES[use](network, nothing)


@pytest.mark.parametrize("use", USES)
def test_a_workspace_that_another_thread_uses_is_refused(network, use):
    work = network.workspace(2, 1, training=True)
    with work, pytest.raises(RuntimeError, match="in use by another thread"):
        USES[use](network, work)
    USES[use](network, work)


def test_a_workspace_for_reading_is_not_trained_in(network):
    with pytest.raises(ValueError, match="training=True"):
        network.train_steps(
            network.workspace(2, 1), [[0]], [[1]], learning_rate=0.1, clip_value=5.0
        )


STEPS = {
    "reset": False,
    "n_threads": 1,
    "shards": 1,
    "exchange": None,
    "anchor": None,
    "each": False,
}
DOORS = {  # how many arguments beside the workspace, and options
    "evaluate": (2, {}),
    "next_probs": (0, {}),
    "next_nll": (1, {}),
    "score_texts": (4, {}),
    "next_log_probs": (0, {}),
    "window": (1, {}),
    "softmax": (1, {}),
    "backward": (4, {}),
    "update": (2, {}),
    "gradient": (3, {}),
    "train_steps": (5, STEPS),
    "sample": (5, {}),
    "search": (5, {}),
}


@pytest.mark.parametrize("door", DOORS)
def test_a_door_takes_only_a_workspace(kernels, network, door):
    count, options = DOORS[door]
    for work in (None, 3, np.zeros(3), network, _network.OwnedNetwork):
        with pytest.raises(TypeError):
            getattr(kernels, door)(work, *[0.5] * count, **options)


@pytest.mark.parametrize(
    ("lengths", "end"),
    [([2, 1], -1), ([3, 3], -1), ([-1, 2], 0), ([2], 0), ([1, 1], 5), ([1, 1], -2), ([1, "1"], 0)],
)
def test_lengths_and_the_end_of_texts_are_checked(network, lengths, end):
    work = network.workspace(2, 2)
    if (lengths, end) == ([2, 1], -1):
        assert len(network.score(work, [0, 1, 2], lengths, end)) == 2
        return
    with pytest.raises((ValueError, TypeError)):
        network.score(work, [0, 1, 2], lengths, end)


def test_scores_are_sums_of_losses(kernels, network):
    kernels.initialize(network, 0.5, make_random(1))
    texts = [[1, 2, 3, 4, 1, 0, 2], [], [4], [0, 1] * 5]
    together = network.workspace(3, 4)
    ids = [symbol for text in texts for symbol in text]
    losses = network.score(together, ids, [len(text) for text in texts], 3, True)
    sums = network.score(network.workspace(3, 4), ids, [len(text) for text in texts], 3)
    for b, text in enumerate(texts):
        work, total = network.workspace(1, 1), 0.0
        for t, symbol in enumerate([*text, 3]):
            (loss,) = network.next_nll(work, [symbol])
            assert loss == losses[t, b]
            network.feed(work, [[symbol]])
            total += loss
        assert total == sums[b]


def test_each_loss_of_a_training_is_from_before_its_step(kernels, network):
    kernels.initialize(network, 0.5, make_random(1))
    inputs, targets = np.random.default_rng(0).integers(0, 5, (2, 8, 2))
    targets[[2, 7], [1, 0]] = -1
    copies = [pickle.loads(pickle.dumps(network)) for _ in range(2)]
    each, windows = (copy.workspace(3, 2, training=True) for copy in copies)
    losses = copies[0].train_steps(each, inputs, targets, learning_rate=0.5, each=True)
    reading = network.workspace(3, 2)
    for start in range(0, 8, 3):
        rows = slice(start, start + 3)
        np.testing.assert_array_equal(
            losses[rows], network.evaluate(reading, inputs[rows], targets[rows])
        )
        (total,) = copies[1].train_steps(windows, inputs[rows], targets[rows], learning_rate=0.5)
        assert losses[rows].sum() == pytest.approx(total, rel=1e-12)
        network.weights.copy_from(copies[1].weights)
    assert copies[0].weights.block.tobytes() == copies[1].weights.block.tobytes()


# ------------------------------------------------------------------------- workspaces that are lent


def test_a_workspace_that_was_given_back_is_lent_again(network):
    work = network.lend(1, 1)
    network.feed(work, [[1], [2]])
    network.give_back(work)
    assert not work.lock.acquire(blocking=False)
    for use in USES:
        with pytest.raises(ValueError, match="was given back"):
            USES[use](network, work)
    with pytest.raises(TypeError, match="work must be a workspace"):
        _dispatch.core.evaluate(work, [[1]], [[1]])
    assert network.lend(1, 1) is work
    assert not work.state.any()
    assert network.next_probs(work).shape == (1, 5)
    assert network.lend(1, 1) is not work


def test_a_workspace_of_other_counts_or_sizes_is_not_lent_again(network):
    work = network.lend(1, 1)
    network.give_back(work)
    network.mix(_network.NgramTable(5, Counts.from_ids([np.arange(5)], 5, 1).estimate(), 1, 1))
    assert network.lend(1, 1) is not work
    for other in (network.lend(1, 2), network.lend(100, 1)):
        network.give_back(other)
        assert network.lend(other.T, other.B) is not other


def test_what_is_given_back_does_not_keep_a_network():
    network = Network(([("rnn", 6)], 5), "float64")
    network.give_back(network.lend(1, 1))
    gone = weakref.ref(network)
    gc.disable()
    try:
        del network
        assert gone() is None
    finally:
        gc.enable()


def test_only_a_network_gets_weights(kernels, network):
    for thing in (None, 3, network.workspace(1, 1), _network.OwnedNetwork):
        with pytest.raises(TypeError):
            kernels.initialize(thing, 0.5, 0.5)


# ------------------------------------------------------------------------------------ what is owned


def test_sizes_and_arrays_cannot_be_replaced(network):
    work = network.workspace(2, 3)
    for owner, names in {
        network: ("description", "dtype", "weights", "memory", "anything"),
        network.weights: ("description", "dtype", "block", "anything"),
        network.description: ("layers", "vocab_size", "tensors", "operations"),
        work: ("network", "T", "B", "training", "state", "hs", "anything"),
    }.items():
        for name in names:
            with pytest.raises((AttributeError, TypeError)):
                setattr(owner, name, None)
            with pytest.raises((AttributeError, TypeError)):
                delattr(owner, name)
    with pytest.raises(TypeError):
        network.description.tensors["Wxh"] = (0, 10**6, 10**6, 16, False)


def arrays(network):
    """Views of all that a network and a workspace give out."""
    return [*network.weights.views().values(), network.memory.block, network.workspace(2, 3).state]


def test_views_outlive_their_owner_and_cannot_be_resized():
    for view in arrays(other_network()):
        gc.collect()
        view[...] = 3
        bases = [view]
        while getattr(bases[-1], "base", None) is not None:
            bases.append(bases[-1].base)
        for array in bases:
            if isinstance(array, np.ndarray):
                with pytest.raises(ValueError, match="resize"):
                    array.resize(10**6, refcheck=False)
            with pytest.raises(AttributeError):
                array.release()  # as a memoryview has
        del bases, array
        gc.collect()
        assert (view == 3).all()


def test_an_object_is_made_once(network):
    work, description, weights = network.workspace(2, 3), network.description, network.weights
    before = weights.block.tobytes()
    for thing, arguments in [
        (network, (([("rnn", 99)], 99), "float32")),
        (work, (network, 99, 99)),
        (description, ([("rnn", 99)], 99)),
        (weights, (_network.Description([("rnn", 99)], 99), "float32")),
    ]:
        with contextlib.suppress(TypeError):
            thing.__init__(*arguments)
        with pytest.raises(TypeError):
            type(thing).__new__(type(thing))
    assert (work.T, work.B, work.state.shape, repr(description)) == (
        2,
        3,
        (3, 16),
        "rnn of 6 units, 5 symbols",
    )
    assert weights.block.tobytes() == before


@pytest.mark.parametrize("T", [0, -1, 2**31, 2**70, 1.5, "1", None])
def test_sizes_of_a_workspace_are_checked(network, T):
    for sizes in ((T, 1), (1, T)):
        with pytest.raises((ValueError, TypeError), match=r"[TB] must be"):
            network.workspace(*sizes)


def test_what_does_not_fit_in_memory_is_a_memory_error(network):
    with pytest.raises(MemoryError, match="no memory for an array"):
        network.workspace(2**31 - 1, 2**31 - 1)
    with pytest.raises(TypeError, match="Workspace32 or a Workspace64"):
        _network.Workspace(network, 1, 1)
    with pytest.raises(BufferError):
        memoryview(_network.Memory())


@pytest.mark.parametrize(
    ("layers", "V", "error"),
    [
        ([], 5, ValueError),
        ([("tree", 5)], 5, ValueError),
        ([("rnn", 0)], 5, ValueError),
        ([("rnn", 2**17)], 5, ValueError),
        ([("rnn", 5)] * 17, 5, ValueError),
        ([("rnn", 5)], 0, ValueError),
        ([("rnn", 5)], 2**21, ValueError),
        ([("rnn", "5")], 5, TypeError),
        (itertools.repeat(("rnn", 5)), 5, ValueError),
        ([(np.str_("rnn"), 5)], 5, ValueError),
        ([5], 5, TypeError),
        (None, 5, TypeError),
    ],
)
def test_a_description_is_checked(layers, V, error):
    with pytest.raises(error):
        _network.Description(layers, V)


def test_a_workspace_is_not_pickled_and_a_network_is(network):
    with pytest.raises(TypeError, match="scratch space"):
        pickle.dumps(network.workspace(1, 1))
    twin = pickle.loads(pickle.dumps(network))
    assert twin.weights.block.tobytes() == network.weights.block.tobytes()
    for state in ((np.zeros(3), np.zeros(3)), None, (None, None)):
        with pytest.raises((ValueError, TypeError)):
            network.__setstate__(state)
    assert twin.weights.block.tobytes() == network.weights.block.tobytes()


# --------------------------------------------------------------------- what others change meanwhile


class Changing:
    """An array that is another one each time it is looked at."""

    def __init__(self, *arrays):
        self.arrays = list(arrays)

    def __array__(self, dtype=None, copy=None):
        return self.arrays.pop(0) if len(self.arrays) > 1 else self.arrays[0]


def test_what_is_checked_is_what_is_used(kernels, network):
    """The kernels work on the checked copy, whatever the argument is afterwards."""
    good, bad = np.zeros((3, 1), np.int32), np.full((3, 1), 10**8, np.int32)
    work = network.workspace(3, 1, training=True)
    expected = kernels.evaluate(work, good, good)
    work.state[...] = 0
    np.testing.assert_array_equal(
        kernels.evaluate(work, Changing(good, bad), Changing(good, bad)), expected
    )
    with pytest.raises(IndexError, match=r"inputs\[0, 0\] = 100000000"):
        kernels.train_steps(work, Changing(bad, good), good, 3, [0.1], kernels.SETTINGS, **STEPS)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_parts_of_a_step_are_done_again(kernels, dtype):
    """The update changes the weights, nothing else does."""
    network = Network(([("lstm", 3)], 5), dtype)
    kernels.initialize(network, 0.5, make_random(1))
    work, ids = network.workspace(4, 2, training=True), np.arange(8).reshape(4, 2) % 5
    kernels.gradient(work, ids, ids, kernels.SETTINGS)
    for part in kernels.PARTS:
        before = network.weights.block.copy()
        kernels.repeat(work, part, 2)
        assert np.isfinite(network.weights.block).all()
        assert (network.weights.block != before).any() == (part == "update")
    with pytest.raises(ValueError, match="not in tuple"):
        kernels.repeat(work, "whole", 1)


def test_doors_name_what_does_not_go_with_the_network(kernels, network):
    work, ids = network.workspace(3, 1, training=True), np.zeros((3, 1), np.int32)
    other = _network.Parameters(_network.Description([("gru", 2)], 5), network.dtype)
    with pytest.raises(ValueError, match="the gradient is of another network"):
        kernels.update(work, other, 0.1)
    for dropout in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="dropout must be at least 0 and below 1"):
            kernels.gradient(work, ids, ids, {**kernels.SETTINGS, "dropout": dropout})


@pytest.mark.parametrize(
    "wrong",
    [
        0,
        np.zeros((1, 3)),
        np.zeros((2, 3), complex),
        np.frombuffer(b"\xff\xff\xff\x7f" * 6, "U1").reshape(
            2, 3
        ),  # no such character: NumPy cannot even say what it is
        [["a"] * 3] * 2,
        None,
    ],
)
def test_a_state_is_numbers_of_its_shape(wrong):
    work = Network(([("gru", 3)], 5), "float32").workspace(1, 2)
    state = np.arange(6.0).reshape(2, 3)
    work.set_state(state)
    with pytest.raises(ValueError, match=r"state must be numbers of shape \(2, 3\)"):
        work.set_state(wrong)
    np.testing.assert_array_equal(work.get_state(), state)


def test_writing_into_inputs_from_another_thread_harms_nothing(network):
    ids = np.zeros((4000, 8), np.int32)
    over = threading.Event()

    def disturb():
        while not over.is_set():
            ids[...] = 2**31 - 1
            ids[...] = 0

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        work = network.workspace(50, 8, training=True)
        for _ in range(30):
            with contextlib.suppress(IndexError):
                network.train_steps(work, ids, ids, learning_rate=1e-3, clip_value=1.0)
    finally:
        over.set()
        thread.join()
    assert np.isfinite(network.weights.block).all()


# -------------------------------------------------------------------- padding and what is forbidden


EXTREMES = [
    *({"temperature": temperature} for temperature in (0.0, 1e-300, 1.0, 1e300)),
    *({"top_k": 1}, {"top_p": 1e-9}, {"min_p": 1.0}, {"no_repeat": 1}),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("value", [0, -1e30, -1e31, -3e38, 1e31, 3e38, 1e-40])
@pytest.mark.parametrize("V", [1, 5, 15, 16, 17])
def test_padding_never_wins(kernels, V, value, dtype):
    network = Network(([("rnn", 3)], V), dtype)
    network.weights.views()["by"][...] = value
    work = network.workspace(2, 6)
    p = network.next_probs(work)
    assert p.shape == (6, V)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-6)
    for controls in EXTREMES:
        ids = network.draw(work, 20, make_random(3, 6), **controls)
        assert ids.min() >= 0
        assert ids.max() < V
    ids, *_ = network.search(
        work, 3, np.r_[0, np.full(5, -np.inf)], np.zeros(6, np.int8), np.ones(V, np.int8), -1
    )
    assert ids.max() < V


@pytest.mark.parametrize("spread", [1, 5])
def test_probabilities_over_a_large_alphabet_sum_to_one(kernels, spread):
    """A sum of 60,000 numbers of single precision, one after the other, is off by 3e-6 with spread
    5.
    """
    network = Network(([("rnn", 4)], 60_000), "float32")
    network.weights.views()["by"][...] = spread * np.random.default_rng(0).standard_normal(60_000)
    (p,) = network.next_probs(network.workspace(1, 1))
    assert abs(p.sum() - 1) < 5e-7


def test_padding_counts_nothing_whatever_is_written_into_it(kernels, network):
    work = network.workspace(3, 1, training=True)
    ids = np.array([[0], [3], [1]])
    expected, drawn = network.evaluate(work, ids, ids), network.draw(work, 30, make_random(1))
    columns = np.zeros(network.weights.block.size, bool)
    for start, rows, width, ld, _ in network.description.tensors.values():
        columns[start : start + rows * ld].reshape(rows, ld)[:, :width] = True
    network.weights.block[~columns] = 1e30
    work = network.workspace(3, 1, training=True)
    np.testing.assert_array_equal(network.evaluate(work, ids, ids), expected)
    np.testing.assert_array_equal(network.draw(work, 30, make_random(1)), drawn)


def test_forbidden_is_never_drawn_even_if_all_else_is_next_to_impossible(kernels):
    network = Network(([("rnn", 3)], 5), "float32")
    network.weights.views()["by"][...] = [-3e38, -3e38, 3e38, -3e38, -3e38]
    allowed = np.array([1, 1, 0, 1, 1], np.int8)
    work = network.workspace(1, 50)
    for controls in EXTREMES:
        assert 2 not in network.draw(work, 20, make_random(1, 50), allowed=allowed, **controls)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_where_there_are_no_probabilities_the_call_raises(kernels, network, value):
    network.weights.views()["by"][2] = value
    work = network.workspace(2, 3)
    before = network.workspace(2, 3).state.tobytes()
    random = make_random(1, 3)
    for call in (
        lambda: network.next_probs(work),
        lambda: network.evaluate(work, np.zeros((2, 3), int), np.zeros((2, 3), int)),
        lambda: network.draw(work, 3, random),
        lambda: network.draw(work, 3, random, temperature=0.0),
        lambda: network.search(work, 2, np.zeros(3), np.zeros(3, np.int8), np.ones(5, np.int8), -1),
    ):
        work.state[...] = 0
        with pytest.raises(DivergedError, match="not finite"):
            call()
    assert (random == make_random(1, 3)).all()
    assert network.workspace(2, 3).state.tobytes() == before


def test_an_impossible_character_is_no_mistake(kernels, network):
    network.weights.views()["by"][2] = -np.inf
    work = network.workspace(2, 40)
    p = network.next_probs(work)
    assert (p[:, 2] == 0).all()
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert 2 not in network.draw(work, 20, make_random(1, 40))
    with pytest.raises(DivergedError, match="impossible"):
        network.draw(work, 1, make_random(1, 40), allowed=(np.arange(5) == 2).astype(np.int8))


@pytest.mark.parametrize(
    ("controls", "name"),
    [
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": np.nan}, "temperature"),
        ({"temperature": "x"}, "temperature"),
        ({"top_k": 0}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": np.nan}, "top_p"),
        ({"min_p": 1.5}, "min_p"),
        ({"no_repeat": -1}, "no_repeat"),
        ({"no_repeat": _network.LOOK_BACK + 1}, "no_repeat"),
        ({"allowed": np.zeros(5, np.int8)}, "allowed"),
        ({"allowed": np.ones(4, np.int8)}, "allowed"),
        ({"allowed": np.ones(5)}, "allowed"),
        ({"past": np.full((2, 1), 5), "no_repeat": 1}, "past"),
        ({"past": np.zeros((2, 3), int), "no_repeat": 1}, "past"),
    ],
)
def test_wrong_controls_are_named(network, controls, name):
    with pytest.raises((ValueError, IndexError, TypeError), match=name):
        network.draw(network.workspace(1, 1), 3, make_random(1), **controls)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"learning_rate": -0.1}, ValueError),
        ({"learning_rate": np.nan}, ValueError),
        ({"learning_rate": "x"}, ValueError),
        ({"learning_rate": None}, ValueError),
        ({"learning_rate": [0.1, 0.2]}, ValueError),
        ({"clip_value": 0}, ValueError),
        ({"clip_value": "x"}, TypeError),
        ({"clip_norm": -1e300}, ValueError),
        ({"weight_decay": -1}, ValueError),
        ({"weight_decay": np.inf}, ValueError),
        ({"dropout": 1}, ValueError),
        ({"dropout": "x"}, TypeError),
        ({"precision": "half"}, ValueError),
        ({"precision": 1}, ValueError),
        ({"dropout_seed": -1}, ValueError),
        ({"dropout_seed": 2**64}, ValueError),
        ({"first_step": -1}, ValueError),
        (
            {"first_step": 2**64 - 1},
            ValueError,
        ),  # the next would be number 0, of which Adam divides by 0
        ({"first_step": 1.5}, TypeError),
        ({"n_threads": 0}, ValueError),
        ({"n_threads": 2**40}, ValueError),
        ({"n_threads": 2.5}, TypeError),
    ],
)
def test_wrong_numbers_of_a_training_are_named(network, options, error):
    work, before, (name,) = (
        network.workspace(2, 1, training=True),
        network.weights.block.copy(),
        options,
    )
    with pytest.raises(error, match=f"^{name} must be"):
        network.train_steps(
            work, np.zeros((6, 1), int), np.zeros((6, 1), int), **{"learning_rate": 0.1, **options}
        )
    if name in ("dropout", "dropout_seed"):
        with pytest.raises(error, match=f"^{name} must be"):
            network.gradient(work, np.zeros((2, 1), int), np.zeros((2, 1), int), **options)
    np.testing.assert_array_equal(network.weights.block, before)


@pytest.mark.skipif("LD_PRELOAD" in os.environ, reason="a sanitizer takes address space of its own")
def test_no_number_of_threads_is_too_many(run_python):
    # What they pack had a size that an int does not hold, and was written beyond what was left of
    # it.
    code = """if True:
        import numpy as np, resource
        from charrnn.network import Network
        # so that few threads are to be had
        resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
        network, ids = Network(([("rnn", 64)], 3), "float32"), np.zeros((1, 470_000), np.int32)
        for _ in range(2):
            work = network.workspace(1, 470_000, training=True)
            network.train_steps(work, ids, ids, learning_rate=0.1, n_threads=466_034)
        print("well")
    """
    ran = run_python(code)
    assert ran.stdout == "well\n", ran.stderr
