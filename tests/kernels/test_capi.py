"""The C-level functions, called as C calls them: through the addresses that `cimport` finds."""

import ctypes

import numpy as np
import pytest

from charrnn import RNN, _core
from charrnn.network import dispatch as _dispatch

POINTER = ctypes.pythonapi.PyCapsule_GetPointer
POINTER.argtypes, POINTER.restype = [ctypes.py_object, ctypes.c_char_p], ctypes.c_void_p
NAME = ctypes.pythonapi.PyCapsule_GetName
NAME.argtypes, NAME.restype = [ctypes.py_object], ctypes.c_char_p


class Network(ctypes.Structure):
    """As in _capi.pxd."""

    _fields_ = (
        ("V", ctypes.c_ssize_t),
        ("p", ctypes.POINTER(ctypes.c_float)),
        ("work", ctypes.c_void_p),
    )


def exported(name, kind, result, *arguments):
    capsule = _core.__pyx_capi__[name]
    return kind(result, *arguments)(POINTER(capsule, NAME(capsule)))


network = exported("network", ctypes.PYFUNCTYPE, Network, ctypes.py_object, ctypes.py_object)
step = exported("step", ctypes.CFUNCTYPE, None, ctypes.POINTER(Network), ctypes.c_int)
INTS, DOUBLES = ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_double)
score = exported(
    "score", ctypes.CFUNCTYPE, None, ctypes.POINTER(Network), INTS, ctypes.c_ssize_t, DOUBLES
)


@pytest.fixture
def engine(kernels):
    _core.use(kernels.addresses())
    yield RNN(20, 17, 4, 0.1, dtype="float32", seed=3).network
    _core.use(_dispatch.core.addresses())


def test_steps_give_the_probabilities_that_python_gets(engine):
    work, other = engine.workspace(1, 1), engine.workspace(1, 1)
    net = network(engine, work)
    assert net.V == 17
    for x in (0, 16, 3, 3):
        step(net, x)
        engine.feed(other, np.array([[x]]))
        np.testing.assert_array_equal(net.p[:17], engine.next_probs(other)[0])


def test_a_score_is_that_of_python(engine):
    net, ids = (
        network(engine, work := engine.workspace(1, 1)),
        np.array([4, 0, 16, 16, 2, 9], np.int32),
    )
    nll = np.full(6, -1.0)
    score(net, ids.ctypes.data_as(INTS), 6, nll.ctypes.data_as(DOUBLES))
    np.testing.assert_array_equal(
        nll[:5], engine.evaluate(engine.workspace(5, 1), ids[:5, None], ids[1:, None])[:, 0]
    )
    assert nll[5] == -1
    state = engine.workspace(1, 1)
    engine.feed(state, ids[:, None])
    np.testing.assert_array_equal(work.state, state.state)
    np.testing.assert_array_equal(net.p[:17], engine.next_probs(state)[0])


def test_a_workspace_that_does_not_fit_is_refused(engine):
    double = RNN(20, 17, 4, 0.1, dtype="float64", seed=3).network
    for net, work in (
        (engine, engine.workspace(1, 2)),
        (engine, double.workspace(1, 1)),
        (double, double.workspace(1, 1)),
        (engine, None),
    ):
        with pytest.raises(ValueError, match=r"its own for one stream: net\.workspace\(1, 1\)"):
            network(net, work)
