# Whole steps of a workspace: they walk the layers of its network. Part of _core.pyx.
#
# The table of cells: what each does forward, backward, and for the gradient by its recurrent weights.

cdef void _cell_forward(AnyWorkspace work, const LayerPlan* layer, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t T) noexcept nogil:
    if layer.cell == RNN:
        _rnn_forward(layer, b0, b1, T, work.weights, work.hs, work.z)


cdef void _cell_backward(AnyWorkspace work, const LayerPlan* layer, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t T) noexcept nogil:
    if layer.cell == RNN:
        _rnn_backward(layer, b0, b1, T, work.transposed, work.hs, work.z, work.dz)


cdef void _cell_gradient(AnyWorkspace work, const LayerPlan* layer, Py_ssize_t j0, Py_ssize_t j1, Py_ssize_t T) noexcept nogil:
    if layer.cell == RNN:
        _rnn_gradient(layer, j0, j1, T, work.hs, work.dz, work.zeros, work.gradient)


# ------------------------------------------------------------------------------------------------------------------ streams

cdef void _load(Workspace work, const int[:, ::1] inputs, const int[:, ::1] targets, Py_ssize_t start, Py_ssize_t stop) noexcept nogil:
    """Make the rows from start to stop (at most T of them) the window."""
    cdef Py_ssize_t t, b
    for t in range(stop - start):
        for b in range(work.B):
            work.inputs[t, b], work.targets[t, b] = inputs[start + t, b], targets[start + t, b]
    work.rows = stop - start


cdef void _states(AnyWorkspace work, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t T) noexcept nogil:
    """Lead the states of some streams through the first T characters of the window."""
    cdef const LayerPlan* layer
    cdef int i
    for i in range(work.plan.n_layers):
        layer = &work.plan.layers[i]
        _input_forward(layer, b0, b1, T, work.inputs, work.weights, work.hs, work.z)
        _cell_forward(work, layer, b0, b1, T)


cdef void _forward(AnyWorkspace work, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t T) noexcept nogil:
    """Run streams of the window: states, probabilities, and the loss of each target, NaN where there are no probabilities."""
    cdef Py_ssize_t t, b
    _states(work, b0, b1, T)
    _output_forward(&work.plan.output, b0, b1, 1, T, work.weights, work.hs, work.p)
    for t in range(T):
        for b in range(b0, b1):
            work.nll[t, b] = _softmax(work.plan.output.V, &work.p[t, b, 0], work.targets[t, b])


cdef bint _backward(AnyWorkspace work, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t T) noexcept nogil:
    """Lead the gradient of the loss (sum over T, mean over B) back through streams of the window; return whether it is bounded.

    p becomes the gradient by the logits, z the one by the states, dz the one by the sums before tanh: all that the gradients by the
    weights are made of.
    """
    cdef const LayerPlan* layer
    cdef Py_ssize_t t, b
    cdef int i, last = work.plan.n_layers - 1
    cdef bint bounded = True
    for t in range(T):
        for b in range(b0, b1):
            _softmax_backward(_lanes(work.plan.output.V), &work.p[t, b, 0], work.targets[t, b], 1.0 / work.B)
    _output_backward(&work.plan.output, b0, b1, T, work.plan.layers[last].ld, work.transposed, work.p, work.zeros, work.z)
    for i in range(last, -1, -1):
        layer = &work.plan.layers[i]
        _cell_backward(work, layer, b0, b1, T)
        _input_backward(layer, b0, b1, T, work.plan.layers[max(0, i - 1)].ld, work.transposed, work.dz, work.zeros, work.z)
    for t in range(T):
        bounded = bounded and _is_bounded((b1 - b0) * work.plan.width, &work.dz[t, b0, 0])
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

cdef inline Py_ssize_t _share(Py_ssize_t n, int part, int parts) noexcept nogil:
    """Where number part of the parts of n begins: at multiples of LANES, so that the transposes of parts are whole blocks."""
    return min(n, (n + LANES * parts - 1) // (LANES * parts) * LANES * part)


cdef void _gradient(AnyWorkspace work, Py_ssize_t T, int part, int parts) noexcept nogil:
    """One part of the gradient: some rows of each matrix, in part 0 the biases too."""
    cdef const LayerPlan* layer
    cdef const OutputPlan* output = &work.plan.output
    cdef Py_ssize_t width = work.plan.width, n
    cdef int i
    for i in range(work.plan.n_layers):
        layer = &work.plan.layers[i]
        n = layer.inputs
        _input_gradient(
            layer, _share(n, part, parts), _share(n, part + 1, parts), T, work.inputs, work.hs, work.dz, work.zeros, work.gradient, work.used,
        )
        n = layer.units
        _cell_gradient(work, layer, _share(n, part, parts), _share(n, part + 1, parts), T)
        if part == 0:
            _sum_rows(&work.dz[0, 0, layer.column], width, T * work.B, layer.ld, &work.gradient[layer.bh])
    n = output.units
    _output_gradient(output, _share(n, part, parts), _share(n, part + 1, parts), T, work.hs, work.p, work.zeros, work.gradient)
    if part == 0:
        _sum_rows(&work.p[0, 0, 0], output.ld, T * work.B, output.ld, &work.gradient[output.by])


cdef void _update(AnyWorkspace work, Py_ssize_t start, Py_ssize_t n, double rate, double clip) noexcept nogil:
    """Clip and Adagrad for n numbers of the block from start on."""
    if n > 0:
        _adagrad(n, &work.weights[start], &work.memory[start], &work.gradient[start], rate, clip)


cdef void _learn(AnyWorkspace work, Py_ssize_t T, int part, int parts, double rate, double clip) noexcept nogil:
    """Gradient, update and transposed copies of one part of the weights."""
    cdef const LayerPlan* layer
    cdef const OutputPlan* output = &work.plan.output
    cdef Py_ssize_t j0, j1, v
    cdef int i
    _gradient(work, T, part, parts)
    for i in range(work.plan.n_layers):
        layer = &work.plan.layers[i]
        j0, j1 = _share(layer.units, part, parts), _share(layer.units, part + 1, parts)
        _update(work, layer.Whh + j0 * layer.ld, (j1 - j0) * layer.ld, rate, clip)
        j0, j1 = _share(layer.inputs, part, parts), _share(layer.inputs, part + 1, parts)
        if layer.below >= 0:
            _update(work, layer.Wxh + j0 * layer.ld, (j1 - j0) * layer.ld, rate, clip)
        else:                            # rows of other characters have gradient 0, and stay as they are
            for v in range(j0, j1):
                if work.used[v]:
                    work.used[v] = 0
                    _update(work, layer.Wxh + v * layer.ld, layer.ld, rate, clip)
        if part == 0:
            _update(work, layer.bh, layer.ld, rate, clip)
    j0, j1 = _share(output.units, part, parts), _share(output.units, part + 1, parts)
    _update(work, output.Why + j0 * output.ld, (j1 - j0) * output.ld, rate, clip)
    if part == 0:
        _update(work, output.by, output.ld, rate, clip)
    _transpose_weights(work, part, parts)


cdef void _transpose_weights(AnyWorkspace work, int part, int parts) noexcept nogil:
    """Make the transposed copies fit the weights, for one part of the rows."""
    cdef const LayerPlan* layer
    cdef const OutputPlan* output = &work.plan.output
    cdef Py_ssize_t below_ld = 0
    cdef int i
    for i in range(work.plan.n_layers):
        layer = &work.plan.layers[i]
        if layer.below >= 0:
            _transpose_part(work, layer.Wxh, layer.ld, layer.inputs, layer.units, layer.WxhT, below_ld, part, parts)
        _transpose_part(work, layer.Whh, layer.ld, layer.units, layer.units, layer.WhhT, layer.ld, part, parts)
        below_ld = layer.ld
    _transpose_part(work, output.Why, output.ld, output.units, output.V, output.WhyT, below_ld, part, parts)


cdef inline void _transpose_part(
    AnyWorkspace work, Py_ssize_t start, Py_ssize_t ld, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t to, Py_ssize_t ldt,
    int part, int parts,
) noexcept nogil:
    cdef Py_ssize_t j0 = _share(rows, part, parts), j1 = _share(rows, part + 1, parts)
    if j0 < j1:
        _transpose(&work.weights[start + j0 * ld], ld, j1 - j0, columns, &work.transposed[to + j0], ldt)


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
        _load(work, inputs, targets, start, min(start + T, inputs.shape[0]))
        work.rows = _used_rows(work.targets, work.rows)
        if reset:
            for i in range(work.B * work.plan.width):
                (&work.hs[0, 0, 0])[i] = 0
        _together(work, crew, STREAMS)
        losses[step] = _total(work.nll, work.rows)
        if not losses[step] - losses[step] == 0 or not _all_bounded(crew):
            return step
        _together(work, crew, WEIGHTS)
        _carry(work, work.rows)
    return losses.shape[0]
