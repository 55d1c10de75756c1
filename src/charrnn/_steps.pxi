# Whole steps of a workspace: they walk the layers of its network. Part of _core.pyx.
#
# The table of cells: what each does forward and backward.

cdef void _cell_forward(AnyWorkspace work, const LayerPlan* layer, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t T) noexcept nogil:
    if layer.cell == RNN:
        _rnn_forward(&work.plan.matrices[layer.Whh], layer.column, b0, b1, T, work.weights, work.hs, work.z)


cdef void _cell_backward(AnyWorkspace work, const LayerPlan* layer, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t T) noexcept nogil:
    if layer.cell == RNN:
        _rnn_backward(&work.plan.matrices[layer.Whh], layer.column, b0, b1, T, work.transposed, work.hs, work.z, work.dz)


# ------------------------------------------------------------------------------------------------------------------ streams

cdef void _load(Workspace work, const int[:, ::1] inputs, const int[:, ::1] targets, Py_ssize_t start, Py_ssize_t rows) noexcept nogil:
    """Make so many rows (at most T) from start on the window."""
    cdef Py_ssize_t t, b
    for t in range(rows):
        for b in range(work.B):
            work.inputs[t, b], work.targets[t, b] = inputs[start + t, b], targets[start + t, b]


cdef void _states(AnyWorkspace work, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t T) noexcept nogil:
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
            _input_forward(Wxh, bh, b0, b1, T, work.inputs, work.weights, work.z)
        else:
            _dense_forward(Wxh, bh, b0, b1, T, work.weights, work.hs, 1, plan.layers[i - 1].column, work.z, layer.column)
        _cell_forward(work, layer, b0, b1, T)


cdef void _logits(AnyWorkspace work, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t first, Py_ssize_t T) noexcept nogil:
    """p = the logits of what follows T states, from number first on."""
    cdef Plan* plan = &work.plan
    _dense_forward(
        &plan.matrices[plan.Why], &plan.matrices[plan.by], b0, b1, T, work.weights, work.hs, first, plan.layers[plan.n_layers - 1].column,
        work.p, 0,
    )


cdef void _forward(AnyWorkspace work, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t T) noexcept nogil:
    """Run streams of the window: states, probabilities, and the loss of each target, NaN where there are no probabilities."""
    cdef Py_ssize_t t, b
    _states(work, b0, b1, T)
    _logits(work, b0, b1, 1, T)
    for t in range(T):
        for b in range(b0, b1):
            work.nll[t, b] = _softmax(work.plan.V, &work.p[t, b, 0], work.targets[t, b])


cdef bint _backward(AnyWorkspace work, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t T) noexcept nogil:
    """Lead the gradient of the loss (sum over T, mean over B) back through streams of the window; return whether it is bounded.

    p becomes the gradient by the logits, z the one by the states, dz the one by the sums before tanh: all that the gradients by the
    weights are made of.
    """
    cdef Plan* plan = &work.plan
    cdef Py_ssize_t t, b, above = 0
    cdef int i, W = plan.Why
    cdef bint bounded = True
    for t in range(T):
        for b in range(b0, b1):
            _softmax_backward(_lanes(plan.V), &work.p[t, b, 0], work.targets[t, b], 1.0 / work.B)
    for i in range(plan.n_layers - 1, -1, -1):
        if i == plan.n_layers - 1:
            _dense_backward(&plan.matrices[W], b0, b1, T, work.transposed, work.zeros, work.p, 0, work.z, plan.layers[i].column)
        else:
            _dense_backward(&plan.matrices[W], b0, b1, T, work.transposed, work.zeros, work.dz, above, work.z, plan.layers[i].column)
        _cell_backward(work, &plan.layers[i], b0, b1, T)
        W, above = plan.layers[i].Wxh, plan.layers[i].column
    for t in range(T):
        bounded = bounded and _is_bounded((b1 - b0) * plan.width, &work.dz[t, b0, 0])
    return bounded


cdef void _carry(AnyWorkspace work, Py_ssize_t size) noexcept nogil:
    """hs[0] = hs[size]: the state after a window of size characters is the one before the next."""
    cdef Py_ssize_t i
    for i in range(work.B * work.plan.width):
        (&work.hs[0, 0, 0])[i] = (&work.hs[size, 0, 0])[i]


cdef double _total(const double[:, ::1] nll, Py_ssize_t T) noexcept nogil:
    """The sum of the first T rows, in their order."""
    cdef Py_ssize_t t, b
    cdef double total = 0
    for t in range(T):
        for b in range(nll.shape[1]):
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

cdef void _gradient(AnyWorkspace work, Py_ssize_t T, int part, int parts) noexcept nogil:
    """One part of the gradient: some rows of each matrix, a bias is one row."""
    cdef Plan* plan = &work.plan
    cdef Matrix* W
    cdef Py_ssize_t k = 0, below
    cdef int i
    for i in range(plan.n_layers):
        below, k = k, plan.layers[i].column
        W = &plan.matrices[plan.layers[i].Wxh]
        if i == 0:
            _input_gradient(W, part, parts, T, work.inputs, work.dz, work.gradient, work.used)
        else:
            _dense_gradient(W, part, parts, T, work.hs, 1, below, work.dz, k, work.zeros, work.gradient)
        _dense_gradient(&plan.matrices[plan.layers[i].Whh], part, parts, T, work.hs, 0, k, work.dz, k, work.zeros, work.gradient)
        if part == 0:
            _bias_gradient(&plan.matrices[plan.layers[i].bh], T, work.dz, k, work.gradient)
    _dense_gradient(&plan.matrices[plan.Why], part, parts, T, work.hs, 1, k, work.p, 0, work.zeros, work.gradient)
    if part == 0:
        _bias_gradient(&plan.matrices[plan.by], T, work.p, 0, work.gradient)


cdef void _learn(AnyWorkspace work, Py_ssize_t T, int part, int parts, double rate, double clip) noexcept nogil:
    """Gradient, clip, Adagrad and transposed copies of one part of the weights."""
    cdef Matrix* W
    cdef Py_ssize_t j0, j1, v
    cdef int i
    _gradient(work, T, part, parts)
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
    _transpose_weights(work, part, parts)


cdef void _update(AnyWorkspace work, Py_ssize_t start, Py_ssize_t n, double rate, double clip) noexcept nogil:
    """Clip and Adagrad for n numbers of the block from start on."""
    if n > 0:
        _adagrad(n, &work.weights[start], &work.memory[start], &work.gradient[start], rate, clip)


cdef void _transpose_weights(AnyWorkspace work, int part, int parts) noexcept nogil:
    """Make the transposed copies fit the weights, for one part of the rows."""
    cdef Matrix* W
    cdef Py_ssize_t j0, j1
    cdef int i
    for i in range(work.plan.n_matrices):
        W = &work.plan.matrices[i]
        j0, j1 = _share(W.rows, part, parts), _share(W.rows, part + 1, parts)
        if W.ldt and j0 < j1:
            _transpose(&work.weights[W.start + j0 * W.ld], W.ld, j1 - j0, W.columns, &work.transposed[W.transposed + j0], W.ldt)


# ------------------------------------------------------------------------------------------------------------------ training

cdef Py_ssize_t _train(
    AnyWorkspace work, Crew* crew, const int[:, ::1] inputs, const int[:, ::1] targets, Py_ssize_t T, double[::1] losses, bint reset,
) noexcept nogil:
    """Train on windows of T characters, shared by a crew; losses gets each one's sum over T and B. Return the number of steps done: fewer
    than there are losses means that the next step diverged, and was not applied.
    """
    cdef Py_ssize_t step, start, i
    _transpose_weights(work, 0, 1)
    for step in range(losses.shape[0]):
        start = step * T
        crew.rows = min(T, inputs.shape[0] - start)
        _load(work, inputs, targets, start, crew.rows)
        crew.rows = _used_rows(work.targets, crew.rows)
        if reset:
            for i in range(work.B * work.plan.width):
                (&work.hs[0, 0, 0])[i] = 0
        _together(work, crew, STREAMS)
        losses[step] = _total(work.nll, crew.rows)
        if not losses[step] - losses[step] == 0 or not _all_bounded(crew):
            return step
        _together(work, crew, WEIGHTS)
        _carry(work, crew.rows)
    return losses.shape[0]
