"""The engine, and the owned objects that it stands on."""

import numpy as np
import pytest

from charrnn.network import Network


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
    ],
)
def test_wrong_windows_are_named(network, method, inputs, targets, error, message):
    before = network.weights.block.copy()
    options = {"rate": 0.1, "clip": 5.0} if method == "train_steps" else {}
    with pytest.raises(error, match=message):
        getattr(network, method)(network.workspace(4, 1, training=True), np.array(inputs), np.array(targets), **options)
    np.testing.assert_array_equal(network.weights.block, before)
