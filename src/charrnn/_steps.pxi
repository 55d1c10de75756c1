# What other Cython code calls, one stream and float32. Part of _core.pyx; _core.pxd describes it.
#
# Others always import _core, the baseline. Its functions go on to those of the variant in use, whose addresses `use` got.

from charrnn._network cimport Network, Score, Step


cdef void _step(Network* net, int x) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(net.Hp):
        net.z[j] = net.Wxh[x * net.Hp + j] + net.bh[j]
    _product(1, _lanes(net.H), net.H, net.h, net.Hp, 1, net.Whh, net.Hp, net.z, net.Hp, &net.h[net.Hp], net.Hp)
    _tanh_rows(net.Hp, &net.h[net.Hp])
    for j in range(net.Hp):
        net.h[j] = net.h[net.Hp + j]
    _product(1, _lanes(net.V), net.H, net.h, net.Hp, 1, net.Why, net.Vp, net.by, 0, net.p, net.Vp)


cdef void _step_to_probabilities(Network* net, int x) noexcept nogil:
    _step(net, x)
    _softmax(_lanes(net.V), net.p, IGNORED)


cdef void _score(Network* net, const int* ids, Py_ssize_t n, double* nll) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n - 1):
        _step(net, ids[i])
        nll[i] = _softmax(_lanes(net.V), net.p, ids[i + 1])
    if n > 0:
        _step_to_probabilities(net, ids[n - 1])


cdef Step _step_in_use = _step_to_probabilities
cdef Score _score_in_use = _score


def addresses():
    """The addresses of this variant's functions, for `use`."""
    return <size_t>&_step_to_probabilities, <size_t>&_score


def use(functions):
    """Make `step` and `score` go on to the functions at these addresses."""
    global _step_in_use, _score_in_use
    _step_in_use = <Step><size_t>functions[0]
    _score_in_use = <Score><size_t>functions[1]


cdef Network network(params, work) except *:
    cdef float[:, ::1] Wxh = params.Wxh, Whh = params.Whh, Why = params.Why
    cdef float[::1] bh = params.bh, by = params.by
    cdef float[:, :, ::1] hs = work.hs, z = work.dh, p = work.p
    if hs.shape[0] < 2 or hs.shape[1] != 1:
        raise ValueError("network needs a workspace of one stream: rnn.workspace(1, 1)")
    return Network(
        Whh.shape[0], Whh.shape[1], Wxh.shape[0], Why.shape[1], &Wxh[0, 0], &Whh[0, 0], &Why[0, 0], &bh[0], &by[0],
        &hs[0, 0, 0], &z[0, 0, 0], &p[0, 0, 0],
    )


cdef void step(Network* net, int x) noexcept nogil:
    _step_in_use(net, x)


cdef void score(Network* net, const int* ids, Py_ssize_t n, double* nll) noexcept nogil:
    _score_in_use(net, ids, n, nll)
