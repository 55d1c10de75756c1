# Seeing inside: what units are and what is predicted after each character, and what a prediction
# rests on. Part of _core.pyx.
#
# log p(target) depends on the input x_s of an earlier step through z_s = x_s Wxh + bh. If x_s, the
# one-hot vector, becomes longer, x_s (1 + e), the derivative by e at 0 is
#
#     saliency_s = (dlog p / dx_s) . x_s = (dlog p / dz_s) . Wxh[x_s]
#
# The backward kernels leave dz = dnll / dz, whatever cells and layers are above.

cdef void _input_saliency(AnyWorkspace work, Call* call) noexcept nogil:
    """nll = how the log-probability of the targets changes with each input of the window."""
    cdef Matrix* Wxh = &work.plan.matrices[work.plan.layers[0].Wxh]
    cdef Py_ssize_t t, b, j
    for t in range(call.rows):
        if _should_stop(call.check, work.B * Wxh.ld):
            return
        for b in range(work.B):
            W, dz = &work.weights[Wxh.start], &work.dz[t, b, work.plan.layers[0].sums]
            j = work.inputs[t, b] * Wxh.ld
            # dz is of the mean loss over B streams.
            call.nll[t * work.B + b] = -<double>work.B * _dot(_lanes(Wxh.columns), dz, W + j)


cdef inline real _dot(Py_ssize_t n, const real* x, const real* y) noexcept nogil:
    """The sum of the products of n numbers, a multiple of LANES."""
    cdef real total[LANES]
    cdef Py_ssize_t i, j
    for j in range(LANES):
        total[j] = 0
    for i in range(n // LANES):
        for j in range(LANES):
            total[j] = fma(x[i * LANES + j], y[i * LANES + j], total[j])
    return _sum_lanes(total)


cdef void _likeliest(
    Py_ssize_t V, real* p, Py_ssize_t k, int* ids, double* values, InterruptCheck* check,
) noexcept nogil:
    """Find the k likeliest of V symbols, the likeliest first, of equal ones the lower id first; p
    becomes -1 in their places.
    """
    cdef real peak[LANES]
    cdef real largest
    cdef Py_ssize_t v, i, m, j
    for i in range(k):
        if _should_stop(check, V):
            return
        for j in range(LANES):
            peak[j] = p[j]
        for m in range(1, _lanes(V) // LANES):       # the padding has probability 0
            for j in range(LANES):
                peak[j] = p[m * LANES + j] if p[m * LANES + j] > peak[j] else peak[j]
        largest = _largest_lane(peak)
        v = 0
        while v < V - 1 and p[v] != largest:
            v += 1
        values[i], ids[i], p[v] = largest, <int>v, -1


cdef struct Trace:               # what a call of trace gets
    Py_ssize_t k
    char* states                 # (N, B, width)
    int* ids                     # (N, B, k)
    double* p                    # (N, B, k)


cdef double _trace(AnyWorkspace work, Call* call) noexcept nogil:
    """Run windows over the inputs, and keep what is there after each of them."""
    cdef Trace* trace = <Trace*>call.arguments
    cdef Py_ssize_t size = work.B * work.plan.width * sizeof(work.hs[0, 0, 0])
    cdef Py_ssize_t start = 0, k = trace.k, t, b, i
    cdef double total = 0
    _lay_out(work, call)
    while start < call.n:
        _load(work, call, start, work.T)
        _forward(work, call)
        if _is_stopped(call.check):
            return 0
        memcpy(trace.states + start * size, &work.hs[1, 0, 0], call.rows * size)
        memcpy(call.nll + start * work.B, &work.nll[0, 0], call.rows * work.B * sizeof(double))
        for t in range(call.rows):
            for b in range(work.B):
                total += work.nll[t, b]
                i = ((start + t) * work.B + b) * k
                _likeliest(work.plan.V, &work.p[t, b, 0], k, trace.ids + i, trace.p + i, call.check)
        _carry(work, call.rows)
        start += call.rows
    return total


def trace(Workspace work, inputs, targets, count):
    """Run windows of work's length over inputs (N, B), carrying the state; return what is there
    after each of them.

    That is the state, (N, B, width); the loss of its target, float64 (N, B), 0 if it is IGNORED;
    and the count likeliest symbols, int32 (N, B, count), with their probabilities, float64.
    """
    _check_workspace(work, False)
    cdef const int[:, ::1] x, y
    x, y = _check_windows(work, inputs, targets)
    cdef Py_ssize_t k = check_size("count", count, 1, work.plan.V)
    shape = x.shape[0], work.B, k
    cdef Memory states = new_memory((x.shape[0], work.B, work.plan.width), work.network.dtype)
    cdef Memory ids = new_memory(shape, np.dtype("i4")), p = new_memory(shape, np.dtype("f8"))
    cdef double[:, ::1] nll = _empty((x.shape[0], work.B))
    cdef Trace found = Trace(k, states.start, <int*>ids.start, <double*>p.start)
    cdef Call call = _window_call(work, x, y, nll)
    call.arguments = &found
    _run(work, &call, <Kernel>_trace[Workspace32], <Kernel>_trace[Workspace64])
    return states.view(), np.asarray(nll), ids.view(), p.view()


cdef double _saliency(AnyWorkspace work, Call* call) noexcept nogil:
    """Lead the gradient of the targets back to the inputs, one window; nll gets their saliencies.
    Return the loss, NaN where there is none.
    """
    cdef Span span = Span(0, work.B, work.B, 0, call.n, call.n)
    cdef Py_ssize_t first, t, b
    cdef double total = 0
    _lay_out(work, call)
    _load(work, call, 0, work.T)
    first = _first_target(work, call)
    _states(work, call, &span)
    if first < call.n:
        span.t0 = first
        _logits(work, call, &span, first + 1)
    for t in range(first, call.n):
        for b in range(work.B):
            total += softmax_forward(work.plan.V, &work.p[t, b, 0], work.targets[t, b])
    _backward(work, call)
    _input_saliency(work, call)
    return total


def saliency(Workspace work, inputs, targets):
    """Run inputs (at most T, B) from the state, which stays; return how the log-probability of the
    targets, (rows, B), those of a stream summed, changes with the length of each input's one-hot
    vector: float64 (rows, B).
    """
    _check_workspace(work, True)
    cdef const int[:, ::1] x, y
    x, y = _check_windows(work, inputs, targets, True)
    cdef double[:, ::1] result = _empty((x.shape[0], work.B))
    cdef Call call = _window_call(work, x, y, result)
    call.backward = True
    _run(work, &call, <Kernel>_saliency[Workspace32], <Kernel>_saliency[Workspace64])
    return np.asarray(result)
