# What other Cython code calls: one stream, float32. Part of _core.pyx; _core.pxd describes it.
#
# Other code always imports _core, the baseline. Its functions call those of the variant in use,
# whose addresses `use` got.

from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New

from charrnn._capi cimport Functions, Network


cdef void _step(Workspace32 work, int x) noexcept nogil:
    cdef Call call = _new_call(work, 1)
    work.inputs[0, 0] = x
    _one_step(work, &call)
    _next_logits(work, &call)


cdef void _step_to_probabilities(Network* net, int x) noexcept nogil:
    _step(<Workspace32>net.work, x)
    softmax_forward(net.V, <float*>net.p, IGNORED)


cdef void _score(Network* net, const int* ids, Py_ssize_t n, double* nll) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n - 1):
        _step(<Workspace32>net.work, ids[i])
        nll[i] = softmax_forward(net.V, <float*>net.p, ids[i + 1])
    if n > 0:
        _step_to_probabilities(net, ids[n - 1])


cdef Functions _own = Functions(step=_step_to_probabilities, score=_score)
cdef Functions _in_use = _own


def addresses():
    """This variant's functions, for `use`: a capsule."""
    return PyCapsule_New(&_own, "charrnn.functions", NULL)


def use(functions):
    """Make `step` and `score` go on to the functions of this capsule."""
    global _in_use
    _in_use = (<Functions*>PyCapsule_GetPointer(functions, "charrnn.functions"))[0]


cdef Network network(net, work) except *:
    right = isinstance(work, Workspace32) and (<Workspace>work).network is net
    if not right or (<Workspace>work).B != 1:
        raise ValueError(
            "network needs a network of float32 and a workspace of its own for one stream: "
            "net.workspace(1, 1)"
        )
    return Network(V=(<Workspace>work).plan.V, p=&(<Workspace32>work).p[0, 0, 0], work=<void*>work)


cdef void step(Network* net, int x) noexcept nogil:
    _in_use.step(net, x)


cdef void score(Network* net, const int* ids, Py_ssize_t n, double* nll) noexcept nogil:
    _in_use.score(net, ids, n, nll)
