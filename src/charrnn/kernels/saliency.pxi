# Seeing inside: what the units hold and what is predicted after each character, and what a prediction rests on. Part of _core.pyx.
#
# log p(target) depends on the input x_s of an earlier step through z_s = x_s Wxh + bh. How it changes as x_s, the one-hot vector, is made
# longer, x_s (1 + e), is the derivative by e at 0:
#
#     saliency_s = (dlog p / dx_s) . x_s = (dlog p / dz_s) . Wxh[x_s]
#
# The backward kernels leave dz = dnll / dz, of whatever cells and layers are above: nothing here knows them.

cdef void _input_saliency(
    const Matrix* Wxh, Py_ssize_t B, Py_ssize_t T, const int[:, ::1] inputs, const real* weights, const real* dz, Py_ssize_t ldz,
    double[:, ::1] saliency,             # (T, B)
    Watch* watch,
) noexcept nogil:
    """How the log-probability of the targets changes with each input, from the gradient of their mean loss over B streams."""
    cdef real total[LANES]
    cdef const real* row
    cdef Py_ssize_t t, b, i, j
    for t in range(T):
        if _stopped(watch, B * Wxh.ld):
            return
        for b in range(B):
            row = weights + inputs[t, b] * Wxh.ld
            for j in range(LANES):
                total[j] = 0
            for i in range(_lanes(Wxh.columns) // LANES):
                for j in range(LANES):
                    total[j] = fma(dz[i * LANES + j], row[i * LANES + j], total[j])
            saliency[t, b] = -<double>B * _sum_lanes(total)
            dz += ldz


cdef void _likeliest(Py_ssize_t V, real* p, Py_ssize_t k, int* ids, double* values, Watch* watch) noexcept nogil:
    """The k likeliest of V symbols, the likeliest first, of those as likely the lower id first; p has -1 in their places then."""
    cdef real peak[LANES]
    cdef real largest
    cdef Py_ssize_t v, i, m, j
    for i in range(k):
        if _stopped(watch, V):
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


cdef void _trace(
    AnyWorkspace work, const int[:, ::1] x, const int[:, ::1] y, Py_ssize_t k, char* states, double[:, ::1] nll, int[:, ::1] ids,
    double[:, ::1] p, Watch* watch,
) noexcept nogil:
    """Run windows over inputs x (N, B); keep what is there after each: ids and p are (N * B, k)."""
    cdef Py_ssize_t start = 0, rows, t, b, row, size = work.B * work.plan.width * sizeof(work.hs[0, 0, 0])
    _begin(work, x.shape[0], watch)
    while start < x.shape[0]:
        rows = min(work.T, x.shape[0] - start)
        _load(work, x, y, start, rows)
        _forward(work, 0, work.B, rows, watch)
        if charrnn_get(watch.stopped):
            return
        memcpy(states + start * size, &work.hs[1, 0, 0], rows * size)
        for t in range(rows):
            for b in range(work.B):
                row = (start + t) * work.B + b
                nll[start + t, b] = work.nll[t, b]
                _likeliest(work.plan.V, &work.p[t, b, 0], k, &ids[row, 0], &p[row, 0], watch)
        _carry(work, rows)
        start += rows


def trace(Workspace work, inputs, targets, count):
    """Run windows of work's length over inputs (N, B), carrying the state; return what is there after each of them.

    That is the state, (N, B, width); the loss of its target, float64 (N, B), 0 if it is IGNORED; and the count likeliest symbols, int32
    (N, B, count), with their probabilities, float64.
    """
    _check_whole(work, False)
    cdef const int[:, ::1] x = check_ids("inputs", inputs, 0, work.plan.V, (None, work.B))
    cdef const int[:, ::1] y = check_ids("targets", targets, IGNORED, work.plan.V, (x.shape[0], work.B))
    cdef Py_ssize_t k = check_size("count", count, 1, work.plan.V), i
    cdef Memory states = new_memory((x.shape[0], work.B, work.plan.width), work.network.dtype)
    cdef double[:, ::1] nll = _empty((x.shape[0], work.B))
    cdef int[:, ::1] ids = _empty((x.shape[0] * work.B, k), np.int32)
    cdef double[:, ::1] p = _empty((x.shape[0] * work.B, k))
    cdef double total = 0
    cdef int stopped = 0
    cdef Watch watch = _new_watch(work, &stopped)
    with nogil:
        if work.single:
            _trace(<Workspace32>work, x, y, k, states.start, nll, ids, p, &watch)
        else:
            _trace(<Workspace64>work, x, y, k, states.start, nll, ids, p, &watch)
    _raise_interruption(work)
    for i in range(x.shape[0] * work.B):
        total += (&nll[0, 0])[i]
    _check_possible(total)
    shape = x.shape[0], work.B, k
    return states.view(), np.asarray(nll), np.asarray(ids).reshape(shape), np.asarray(p).reshape(shape)


cdef double _saliency(
    AnyWorkspace work, const int[:, ::1] x, const int[:, ::1] y, double[:, ::1] result, Watch* watch,
) noexcept nogil:
    """Lead the gradient of the targets y back to the inputs x, both (rows, B); return the loss, NaN where there is none."""
    cdef Py_ssize_t rows = x.shape[0], first, t, b
    cdef Span span = Span(0, work.B, work.B, 0, rows, rows)
    cdef Matrix* Wxh = &work.plan.matrices[work.plan.layers[0].Wxh]
    cdef double total = 0
    _begin(work, rows, watch)
    _load(work, x, y, 0, rows)
    first = _first_target(work.targets, rows)
    _states(work, &span, watch)
    if first < rows:
        span.t0 = first
        _logits(work, &span, first + 1, watch)
    for t in range(first, rows):
        for b in range(work.B):
            total += softmax_forward(work.plan.V, &work.p[t, b, 0], work.targets[t, b])
    _backward(work, 0, work.B, rows, watch)
    _input_saliency(
        Wxh, work.B, rows, work.inputs, &work.weights[Wxh.start], &work.dz[0, 0, work.plan.layers[0].sums], work.plan.width, result, watch,
    )
    return total


def saliency(Workspace work, inputs, targets):
    """Run inputs (at most T, B) from the state, which stays; return how the log-probability of the targets, (rows, B), those of a stream
    summed, changes with the length of each input's one-hot vector: float64 (rows, B).
    """
    _check_whole(work, True)
    cdef const int[:, ::1] x = check_ids("inputs", inputs, 0, work.plan.V, (None, work.B))
    cdef Py_ssize_t rows = check_size("the length of inputs", x.shape[0], 1, work.T)
    cdef const int[:, ::1] y = check_ids("targets", targets, IGNORED, work.plan.V, (rows, work.B))
    cdef double[:, ::1] result = _empty((rows, work.B))
    cdef double total
    cdef int stopped = 0
    cdef Watch watch = _new_watch(work, &stopped)
    with nogil:
        if work.single:
            total = _saliency(<Workspace32>work, x, y, result, &watch)
        else:
            total = _saliency(<Workspace64>work, x, y, result, &watch)
    _raise_interruption(work)
    _check_possible(total)
    return np.asarray(result)
