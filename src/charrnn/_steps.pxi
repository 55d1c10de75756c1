# Whole steps of a workspace: they walk the layers of its network. Part of _core.pyx.
#
# The table of cells: what each does forward and backward.

cdef void _cell_forward(
    AnyWorkspace work, const LayerPlan* layer, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t T, Watch* watch,
) noexcept nogil:
    if layer.cell == RNN:
        _rnn_forward(&work.plan.matrices[layer.Whh], layer.column, b0, b1, T, work.weights, work.hs, work.z, watch)


cdef void _cell_backward(
    AnyWorkspace work, const LayerPlan* layer, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t T, Watch* watch,
) noexcept nogil:
    if layer.cell == RNN:
        _rnn_backward(&work.plan.matrices[layer.Whh], layer.column, b0, b1, T, work.transposed, work.hs, work.z, work.dz, watch)


# ------------------------------------------------------------------------------------------------------------------ streams

cdef void _load(Workspace work, const int[:, ::1] inputs, const int[:, ::1] targets, Py_ssize_t start, Py_ssize_t rows) noexcept nogil:
    """Make so many rows (at most T) from start on the window."""
    cdef Py_ssize_t t, b
    for t in range(rows):
        for b in range(work.B):
            work.inputs[t, b], work.targets[t, b] = inputs[start + t, b], targets[start + t, b]


cdef void _states(AnyWorkspace work, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t T, Watch* watch) noexcept nogil:
    """Lead the states of some streams through the first T characters of the window."""
    cdef Plan* plan = &work.plan
    cdef LayerPlan* layer
    cdef Matrix* Wxh
    cdef Matrix* bh
    cdef int i
    for i in range(plan.n_layers):
        layer = &plan.layers[i]
        Wxh, bh = &plan.matrices[layer.Wxh], &plan.matrices[layer.bh]
        if i == 0:
            _input_forward(Wxh, bh, b0, b1, T, work.inputs, work.weights, work.z, watch)
        else:
            _dense_forward(Wxh, bh, b0, b1, T, work.weights, work.hs, 1, plan.layers[i - 1].column, work.z, layer.column, watch)
        _cell_forward(work, layer, b0, b1, T, watch)


cdef void _logits(AnyWorkspace work, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t first, Py_ssize_t T, Watch* watch) noexcept nogil:
    """p = the logits of what follows T states, from number first on."""
    cdef Plan* plan = &work.plan
    _dense_forward(
        &plan.matrices[plan.Why], &plan.matrices[plan.by], b0, b1, T, work.weights, work.hs, first, plan.layers[plan.n_layers - 1].column,
        work.p, 0, watch,
    )


cdef void _forward(AnyWorkspace work, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t T, Watch* watch) noexcept nogil:
    """Run streams of the window: states, probabilities, and the loss of each target, NaN where there are no probabilities."""
    cdef Py_ssize_t t, b
    _states(work, b0, b1, T, watch)
    _logits(work, b0, b1, 1, T, watch)
    for t in range(T):
        if _stopped(watch, 10 * (b1 - b0) * work.plan.V):
            return
        for b in range(b0, b1):
            work.nll[t, b] = _softmax(work.plan.V, &work.p[t, b, 0], work.targets[t, b])


cdef bint _backward(AnyWorkspace work, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t T, Watch* watch) noexcept nogil:
    """Lead the gradient of the loss (sum over T, mean over B) back through streams of the window; return whether it is bounded.

    p becomes the gradient by the logits, z the one by the states, dz the one by the sums before tanh: all that the gradients by the
    weights are made of.
    """
    cdef Plan* plan = &work.plan
    cdef Py_ssize_t t, b, above = 0
    cdef int i, W = plan.Why
    cdef bint bounded = True
    for t in range(T):
        if _stopped(watch, (b1 - b0) * plan.V):
            return False
        for b in range(b0, b1):
            _softmax_backward(_lanes(plan.V), &work.p[t, b, 0], work.targets[t, b], 1.0 / work.B)
    for i in range(plan.n_layers - 1, -1, -1):
        if i == plan.n_layers - 1:
            _dense_backward(&plan.matrices[W], b0, b1, T, work.transposed, work.zeros, work.p, 0, work.z, plan.layers[i].column, watch)
        else:
            _dense_backward(&plan.matrices[W], b0, b1, T, work.transposed, work.zeros, work.dz, above, work.z, plan.layers[i].column, watch)
        _cell_backward(work, &plan.layers[i], b0, b1, T, watch)
        W, above = plan.layers[i].Wxh, plan.layers[i].column
    for t in range(T):
        if _stopped(watch, (b1 - b0) * plan.width):
            return False
        bounded = bounded and _is_bounded((b1 - b0) * plan.width, &work.dz[t, b0, 0])
    return bounded


cdef void _carry(AnyWorkspace work, Py_ssize_t size) noexcept nogil:
    """hs[0] = hs[size]: the state after a window of size characters is the one before the next."""
    cdef Py_ssize_t i
    for i in range(work.B * work.plan.width):
        (&work.hs[0, 0, 0])[i] = (&work.hs[size, 0, 0])[i]


cdef double _total(const double[:, ::1] nll, const int[:, ::1] targets, Py_ssize_t T) noexcept nogil:
    """The sum of the losses of the targets in the first T rows, in their order."""
    cdef Py_ssize_t t, b
    cdef double total = 0
    for t in range(T):
        for b in range(nll.shape[1]):
            if targets[t, b] != IGNORED:
                total += nll[t, b]
    return total


cdef Py_ssize_t _used_rows(const int[:, ::1] targets, Py_ssize_t rows) noexcept nogil:
    """How many of these rows there are up to the last that has a target, at least 1: short records need no more."""
    cdef Py_ssize_t t, b
    for t in range(rows - 1, 0, -1):
        for b in range(targets.shape[1]):
            if targets[t, b] != IGNORED:
                return t + 1
    return 1


# ------------------------------------------------------------------------------------------------------------------ weights

cdef void _gradient(AnyWorkspace work, Py_ssize_t T, int part, int parts, Watch* watch) noexcept nogil:
    """One part of the gradient: some rows of each matrix, a bias is one row."""
    cdef Plan* plan = &work.plan
    cdef Matrix* W
    cdef Py_ssize_t k = 0, below
    cdef int i
    for i in range(plan.n_layers):
        below, k = k, plan.layers[i].column
        W = &plan.matrices[plan.layers[i].Wxh]
        if i == 0:
            _input_gradient(W, part, parts, T, work.inputs, work.dz, work.gradient, work.used, watch)
        else:
            _dense_gradient(W, part, parts, T, work.hs, 1, below, work.dz, k, work.zeros, work.gradient, watch)
        _dense_gradient(&plan.matrices[plan.layers[i].Whh], part, parts, T, work.hs, 0, k, work.dz, k, work.zeros, work.gradient, watch)
        if part == 0:
            _bias_gradient(&plan.matrices[plan.layers[i].bh], T, work.dz, k, work.gradient, watch)
    _dense_gradient(&plan.matrices[plan.Why], part, parts, T, work.hs, 1, k, work.p, 0, work.zeros, work.gradient, watch)
    if part == 0:
        _bias_gradient(&plan.matrices[plan.by], T, work.p, 0, work.gradient, watch)


cdef void _learn(AnyWorkspace work, int part, int parts, double rate, double clip) noexcept nogil:
    """Clip and Adagrad for one part of the weights."""
    cdef Matrix* W
    cdef Py_ssize_t j0, j1, v
    cdef int i
    for i in range(work.plan.n_matrices):
        W = &work.plan.matrices[i]
        j0, j1 = _share(W.rows, part, parts), _share(W.rows, part + 1, parts)
        if i != work.plan.layers[0].Wxh:
            _update(work, W.start + j0 * W.ld, (j1 - j0) * W.ld, rate, clip)
            continue
        for v in range(j0, j1):          # the rows of other characters have gradient 0, and stay as they are
            if work.used[v]:
                work.used[v] = 0
                _update(work, W.start + v * W.ld, W.ld, rate, clip)


cdef void _update(AnyWorkspace work, Py_ssize_t start, Py_ssize_t n, double rate, double clip) noexcept nogil:
    """Clip and Adagrad for n numbers of the block from start on."""
    if n > 0:
        _adagrad(n, &work.weights[start], &work.memory[start], &work.gradient[start], rate, clip)


cdef void _transpose_weights(AnyWorkspace work, int part, int parts, Watch* watch) noexcept nogil:
    """Make the transposed copies fit the weights, for one part of the rows."""
    cdef Matrix* W
    cdef Py_ssize_t j0, j1, rows
    cdef int i
    for i in range(work.plan.n_matrices):
        W = &work.plan.matrices[i]
        j0, j1 = _share(W.rows, part, parts), _share(W.rows, part + 1, parts)
        if not W.ldt:
            continue
        while j0 < j1 and not _stopped(watch, FEW_ROWS * W.ld):
            rows = min(FEW_ROWS, j1 - j0)
            _transpose(&work.weights[W.start + j0 * W.ld], W.ld, rows, W.columns, &work.transposed[W.transposed + j0], W.ldt)
            j0 += rows


# ------------------------------------------------------------------------------------------------------------------ training

cdef Py_ssize_t _train(
    AnyWorkspace work, Crew* crew, const int[:, ::1] inputs, const int[:, ::1] targets, Py_ssize_t T, double[::1] losses, bint reset,
) noexcept nogil:
    """Train on windows of T characters, shared by a crew; losses gets each one's sum over T and B. Return the number of steps done: fewer
    than there are losses means that the next one was not applied, as the call was stopped or, says crew.overflowed, it diverged.
    """
    cdef Py_ssize_t step, start, i, size = work.plan.size
    work.used[:] = 0                     # a call that was stopped may have left it otherwise
    _transpose_weights(work, 0, 1, &crew.members[0].watch)
    for step in range(losses.shape[0]):
        start = step * T
        crew.rows = min(T, inputs.shape[0] - start)
        _load(work, inputs, targets, start, crew.rows)
        crew.rows = _used_rows(work.targets, crew.rows)
        if reset:
            for i in range(work.B * work.plan.width):
                (&work.hs[0, 0, 0])[i] = 0
        _together(work, crew, STREAMS)
        if charrnn_get(&crew.stopped):
            return step
        losses[step] = _total(work.nll, work.targets, crew.rows)
        if not losses[step] - losses[step] == 0:
            crew.overflowed = LOSS
        elif not _all_bounded(crew):
            crew.overflowed = A_GRADIENT
        if crew.overflowed:
            return step
        if crew.cautious:
            _copy(size, &work.weights[0], &work.before[0])
            _copy(size, &work.memory[0], &work.before[size])
        if crew.slow:                    # once weights change there is no way back: what comes before it can be left
            _together(work, crew, GRADIENT)
            if charrnn_get(&crew.stopped):
                return step
            _together(work, crew, UPDATE)
        else:
            _together(work, crew, GRADIENT | UPDATE | TRANSPOSE)
        if crew.cautious and not (_is_finite(size, &work.weights[0]) and _is_finite(size, &work.memory[0])):
            _copy(size, &work.before[0], &work.weights[0])
            _copy(size, &work.before[size], &work.memory[0])
            crew.overflowed = A_WEIGHT
            return step
        _carry(work, crew.rows)
        if crew.slow:
            _together(work, crew, TRANSPOSE)
            if charrnn_get(&crew.stopped):
                return step + 1
    return losses.shape[0]


cdef void _copy(Py_ssize_t n, const real* x, real* y) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = x[i]
