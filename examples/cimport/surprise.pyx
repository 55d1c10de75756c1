# cython: language_level=3
"""Score a text and continue it in C, without a Python call per character."""

import numpy as np

from charrnn._core cimport Network, network, score, step


def surprises(model, str text):
    """Return the loss in nats of each character but the first, given those before it."""
    work = model.network.workspace(1, 1)
    cdef Network net = network(model.network, work)
    cdef const int[::1] ids = model.vocabulary.encode(text)
    cdef double[::1] nll = np.empty(ids.shape[0])  # the last one is not written
    with nogil:
        score(&net, &ids[0], ids.shape[0], &nll[0])
    return np.asarray(nll)[:-1]


def most_likely(model, str prime, Py_ssize_t n):
    """Return the n characters that follow prime when each is the most likely one."""
    work = model.network.workspace(1, 1)
    cdef Network net = network(model.network, work)
    cdef const int[::1] ids = model.vocabulary.encode(prime)
    cdef int[::1] out = np.empty(n, np.int32)
    cdef Py_ssize_t i, j, best
    with nogil:
        for i in range(ids.shape[0]):
            step(&net, ids[i])
        for i in range(n):
            best = 0
            for j in range(net.V):
                if net.p[j] > net.p[best]:
                    best = j
            out[i] = <int>best
            step(&net, <int>best)
    return model.vocabulary.decode(np.asarray(out))
