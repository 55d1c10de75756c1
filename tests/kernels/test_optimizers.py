"""Optimisers, clipping and decay: the kernels against the oracle."""

import io

import numpy as np
import pytest

import charrnn
import plain
import reference
from charrnn.network import Network
from charrnn.network._types import Parameters
from reference import oracle, random_network

OPTIMIZERS = ["adagrad", "sgd", "rmsprop", "adam"]
RATES = {"adagrad": 0.05, "sgd": 0.02, "rmsprop": 1e-3, "adam": 1e-3}
SETTINGS = [
    {},
    {"clip_value": 0.01},
    {"clip_norm": 0.05},
    {"clip_norm": 0.1, "clip_value": 0.02, "weight_decay": 0.3},
    {"pull": 0.05},
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_five_hundred_steps_equal_the_oracle(optimizer, settings, kernels):
    cell = ("rnn", "gru", "lstm", "gru", "lstm")[SETTINGS.index(settings)]
    network = random_network([(cell, 6)], 7, optimizer=optimizer)
    for view in network.weights.views().values():
        view *= 0.3  # with large weights the dynamics amplify rounding
    anchor = Parameters(network.description, network.dtype)
    anchor.copy_from(network.weights)
    toward = {name: view.copy() for name, view in anchor.views().items()}
    T, B, steps = 3, 2, 500
    # Some characters come late: their rows of the first matrix move by momentum and decay alone.
    ids = (
        np.random.default_rng(0).integers(0, 7, (steps * T + 1, B))
        % np.where(np.arange(steps * T + 1) < 400, 5, 7)[:, None]
    )
    rates = RATES[optimizer] * np.linspace(1, 0.5, steps)
    stack, state = oracle(network), np.zeros((B, network.description.state_size))
    memory, momentum = (
        {name: np.zeros_like(array) for name, array in stack.arrays.items()} for _ in range(2)
    )
    work = network.workspace(T, B, training=True)
    for first in range(0, steps, 50):
        rows = slice(first * T, (first + 50) * T)
        network.train_steps(
            work,
            ids[:-1][rows],
            ids[1:][rows],
            learning_rate=rates[first : first + 50],
            first_step=first,
            anchor=anchor,
            **settings,
        )
    for step in range(steps):
        window = ids[:-1][step * T : (step + 1) * T], ids[1:][step * T : (step + 1) * T]
        gradient = stack.gradient(*window, state)
        _, state, _ = stack.run(*window, state)
        reference.change(
            optimizer,
            stack.arrays,
            memory,
            momentum,
            gradient,
            step + 1,
            learning_rate=rates[step],
            T=T,
            anchor=toward,
            **settings,
        )
    for name, view in network.weights.views().items():
        np.testing.assert_allclose(view, stack.arrays[name], rtol=1e-9, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("threads", [2, 5])
def test_threads_clip_the_same_norm(optimizer, threads, kernels):
    def trained(threads):
        network = random_network([("lstm", 40)], 70, dtype="float32", optimizer=optimizer)
        inputs, targets = np.random.default_rng(0).integers(0, 70, (2, 60, 9))
        anchor = Parameters(network.description, network.dtype)
        options = {
            "clip_norm": 0.01,
            "weight_decay": 0.1,
            "pull": 0.01,
            "anchor": anchor,
            "n_threads": threads,
        }
        network.train_steps(
            network.workspace(6, 9, training=True), inputs, targets, learning_rate=1e-3, **options
        )
        return network.weights.block.tobytes()

    assert trained(threads) == trained(1)


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "adam"])
def test_an_update_that_overflows_is_not_applied(optimizer, kernels):
    network = random_network([("gru", 4)], 5, dtype="float32", optimizer=optimizer)
    work, ids = network.workspace(2, 1, training=True), np.ones((2, 1), int)
    network.train_steps(work, ids, ids, learning_rate=1e-3)
    before = [
        part.block.copy()
        for part in (network.weights, network.memory, network.momentum)
        if part is not None
    ]
    losses = network.train_steps(work, ids, ids, learning_rate=3e38, weight_decay=3e38)
    assert (len(losses), work.overflowed) == (0, "update of the weights")
    for part, kept in zip(
        (network.weights, network.memory, network.momentum), before, strict=False
    ):
        np.testing.assert_array_equal(part.block, kept)


@pytest.mark.parametrize("shards", [None, 2])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_weights_that_decay_to_more_than_they_are_stay_finite(optimizer, shards):
    options = {
        "optimizer": optimizer,
        "hidden_size": 8,
        "batch_size": 2,
        "steps": 50,
        "shards": shards,
        "progress": False,
    }
    with pytest.raises(
        charrnn.DivergedError, match=r"not finite; .* or weight_decay \(1e\+38\)"
    ) as caught:
        plain.train_text("to be or not to be " * 40, weight_decay=1e38, cell="gru", **options)
    model = caught.value.model
    assert np.isfinite(model.network.weights.block).all()
    model.save(io.BytesIO())


def test_a_norm_that_overflows_is_divergence(kernels):
    network = random_network([("rnn", 4)], 5, dtype="float32", optimizer="sgd")
    network.weights.views()["Why"][...] *= 1e25
    work = network.workspace(2, 1, training=True)
    before = network.weights.block.copy()
    losses = network.train_steps(
        work, np.ones((2, 1), int), np.zeros((2, 1), int), learning_rate=1e-3, clip_norm=1.0
    )
    assert (len(losses), work.overflowed) == (0, "gradient")
    np.testing.assert_array_equal(network.weights.block, before)


@pytest.mark.parametrize("optimizer", ["rmsprop", "adam"])
def test_what_decays_ends_at_zero_and_not_below_the_normal_numbers(optimizer, kernels):
    network = random_network([("rnn", 20)], 9, dtype="float32", optimizer=optimizer)
    work = network.workspace(1, 1, training=True)
    network.train_steps(work, [[8]], [[8]], learning_rate=1e-3)
    for _ in range(20):
        ids = np.zeros((1000, 1), int)
        network.train_steps(work, ids, ids, learning_rate=1e-5)
    for part in (network.memory, network.momentum):
        if part is not None:
            numbers = np.abs(part.views()["Wxh"][8])
            assert ((numbers == 0) | (numbers >= np.finfo(np.float32).tiny)).all()


def test_biases_do_not_decay(kernels):
    network = random_network([("gru", 5)], 6, optimizer="sgd")
    before = {name: view.copy() for name, view in network.weights.views().items()}
    network.train_steps(
        network.workspace(1, 1, training=True), [[0]], [[-1]], learning_rate=0.5, weight_decay=0.5
    )
    for name, view in network.weights.views().items():
        np.testing.assert_allclose(view, before[name] * (1 if name.startswith("b") else 0.75))


def test_a_pull_needs_an_anchor_of_such_a_network():
    network = random_network([("gru", 5)], 6)
    work, ids = network.workspace(2, 1, training=True), np.zeros((2, 1), int)
    before = network.weights.block.copy()
    for anchor, dtype, pull in (
        ((("gru", 4),), network.dtype, 0.1),
        ((("gru", 5),), "float32", 0.1),
        (None, None, 0.1),
        (None, None, 2.0),
    ):
        wrong = (
            None if anchor is None else Parameters(Network((anchor, 6), dtype).description, dtype)
        )
        with pytest.raises(ValueError, match=r"anchor|pull"):
            network.train_steps(work, ids, ids, learning_rate=0.1, anchor=wrong, pull=pull)
    np.testing.assert_array_equal(network.weights.block, before)


def test_a_pull_moves_all_weights_even_those_of_characters_that_do_not_occur(kernels):
    network = random_network([("gru", 5)], 6, optimizer="sgd")
    before = {name: view.copy() for name, view in network.weights.views().items()}
    zero = Parameters(network.description, network.dtype)
    network.train_steps(
        network.workspace(1, 1, training=True),
        [[0]],
        [[-1]],
        learning_rate=0.5,
        anchor=zero,
        pull=0.25,
    )
    for name, view in network.weights.views().items():
        np.testing.assert_allclose(view, before[name] * 0.75)
