# Whole steps of a workspace: they walk the layers of its network. Part of _core.pyx.
#
# The table of cells: what each does forward and backward.

cdef void _cell_forward(
    AnyWorkspace work, const LayerPlan* layer, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t t0, Py_ssize_t t1, Watch* watch,
) noexcept nogil:
    if layer.cell == RNN:
        _rnn_forward(
            &work.plan.matrices[layer.Whh], layer.column, b0, b1, t0, t1, work.weights, work.panels, work.in_panels, work.hs, watch,
        )


cdef void _cell_backward(
    AnyWorkspace work, const LayerPlan* layer, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t t0, Py_ssize_t t1, Py_ssize_t T, Watch* watch,
) noexcept nogil:
    if layer.cell == RNN:
        _rnn_backward(
            &work.plan.matrices[layer.Whh], layer.column, b0, b1, t0, t1, T, work.transposed, work.in_panels, work.hs, work.dz, watch,
        )


# ------------------------------------------------------------------------------------------------------------------ streams

cdef void _load(Workspace work, const int[:, ::1] inputs, const int[:, ::1] targets, Py_ssize_t start, Py_ssize_t rows) noexcept nogil:
    """Make so many rows (at most T) from start on the window."""
    cdef Py_ssize_t t, b
    for t in range(rows):
        for b in range(work.B):
            work.inputs[t, b], work.targets[t, b] = inputs[start + t, b], targets[start + t, b]


cdef inline Py_ssize_t _span(const Plan* plan, Py_ssize_t streams) noexcept nogil:
    """How many time steps are led through all layers at once: as many as keep their states in the second-level cache."""
    return max(1, SPAN_NUMBERS // (streams * plan.width))


cdef void _states(AnyWorkspace work, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t t0, Py_ssize_t t1, Watch* watch) noexcept nogil:
    """Lead the states of some streams through the characters of the window from t0 to t1."""
    cdef Plan* plan = &work.plan
    cdef LayerPlan* layer
    cdef Matrix* Wxh
    cdef Matrix* bh
    cdef int i
    for i in range(plan.n_layers):
        layer = &plan.layers[i]
        Wxh, bh = &plan.matrices[layer.Wxh], &plan.matrices[layer.bh]
        if i == 0:
            _input_forward(Wxh, bh, b0, b1, t0, t1, work.inputs, work.weights, work.hs, watch)
        else:
            _dense_forward(
                Wxh, bh, b0, b1, t1 - t0, work.weights, work.panels, work.in_panels, work.hs, t0 + 1,
                plan.layers[i - 1].column, work.hs, t0 + 1, layer.column, watch,
            )
        _cell_forward(work, layer, b0, b1, t0, t1, watch)


cdef void _logits(
    AnyWorkspace work, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t first, Py_ssize_t t0, Py_ssize_t t1, Watch* watch,
) noexcept nogil:
    """p[t0:t1] = the logits of what follows the states from number first on."""
    cdef Plan* plan = &work.plan
    _dense_forward(
        &plan.matrices[plan.Why], &plan.matrices[plan.by], b0, b1, t1 - t0, work.weights, work.panels, work.in_panels, work.hs, first,
        plan.layers[plan.n_layers - 1].column, work.p, t0, 0, watch,
    )


cdef void _forward(AnyWorkspace work, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t T, Watch* watch) noexcept nogil:
    """Run streams of the window: states, probabilities, and the loss of each target, NaN where there are no probabilities."""
    cdef Py_ssize_t t0 = 0, t1, t, b
    while t0 < T:
        t1 = min(T, t0 + _span(&work.plan, b1 - b0))
        _states(work, b0, b1, t0, t1, watch)
        _logits(work, b0, b1, t0 + 1, t0, t1, watch)
        for t in range(t0, t1):
            if _stopped(watch, 10 * (b1 - b0) * work.plan.V):
                return
            for b in range(b0, b1):
                work.nll[t, b] = _softmax(work.plan.V, &work.p[t, b, 0], work.targets[t, b])
        t0 = t1


cdef bint _backward(AnyWorkspace work, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t T, Watch* watch) noexcept nogil:
    """Lead the gradient of the loss (sum over T, mean over B) back through streams of the window; return whether it is bounded.

    p becomes the gradient by the logits, dz first the one by the states, then the one by the sums before tanh: all that the gradients by
    the weights are made of.
    """
    cdef Plan* plan = &work.plan
    cdef Py_ssize_t t0, t1 = T, t, b, j, column, above = 0, first = _first_target(work.targets, T)
    cdef int i, W
    cdef bint bounded = True
    while t1 > 0:
        t0 = max(0, t1 - _span(plan, b1 - b0))
        for t in range(t0, t1):
            if _stopped(watch, (b1 - b0) * (plan.V + plan.width)):
                return False
            for b in range(b0, b1):
                _softmax_backward(_lanes(plan.V), &work.p[t, b, 0], work.targets[t, b], 1.0 / work.B)
        W = plan.Why
        for i in range(plan.n_layers - 1, -1, -1):
            column = plan.layers[i].column
            if i == plan.n_layers - 1:
                for t in range(t0, min(t1, first)):      # nothing comes from above
                    for b in range(b0, b1):
                        for j in range(_lanes(plan.matrices[W].rows)):
                            work.dz[t, b, column + j] = 0
                if first < t1:
                    _dense_backward(
                        &plan.matrices[W], b0, b1, max(t0, first), t1, work.transposed, work.in_panels, work.zeros, work.p, 0, work.dz,
                        column, watch,
                    )
            else:
                _dense_backward(
                    &plan.matrices[W], b0, b1, t0, t1, work.transposed, work.in_panels, work.zeros, work.dz, above, work.dz, column,
                    watch,
                )
            _cell_backward(work, &plan.layers[i], b0, b1, t0, t1, T, watch)
            W, above = plan.layers[i].Wxh, column
        for t in range(t0, t1):
            bounded = bounded and _is_bounded((b1 - b0) * plan.width, &work.dz[t, b0, 0])
        t1 = t0
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


cdef Py_ssize_t _first_target(const int[:, ::1] targets, Py_ssize_t rows) noexcept nogil:
    """The first of these rows that has a target, rows if none has: no earlier one needs probabilities."""
    cdef Py_ssize_t t, b
    for t in range(rows):
        for b in range(targets.shape[1]):
            if targets[t, b] != IGNORED:
                return t
    return rows


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
    """One part of the gradient: some rows of each matrix; the biases are in the first."""
    cdef Plan* plan = &work.plan
    cdef LayerPlan* layer
    cdef Matrix* matrices = plan.matrices
    cdef Py_ssize_t k = 0, below
    cdef int i
    for i in range(plan.n_layers):
        layer = &plan.layers[i]
        below, k = k, layer.column
        if i == 0:
            _input_gradient(&matrices[layer.Wxh], part, parts, T, work.inputs, work.dz, work.gradient, work.used, watch)
        else:
            _dense_gradient(
                &matrices[layer.Wxh], NULL, part, parts, T, work.hs, 1, below, work.dz, k, work.zeros, work.gradient, work.packs, watch,
            )
        _dense_gradient(
            &matrices[layer.Whh], &matrices[layer.bh], part, parts, T, work.hs, 0, k, work.dz, k, work.zeros, work.gradient, work.packs,
            watch,
        )
    _dense_gradient(
        &matrices[plan.Why], &matrices[plan.by], part, parts, T, work.hs, 1, k, work.p, 0, work.zeros, work.gradient, work.packs, watch,
    )


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


cdef void _begin(AnyWorkspace work, Py_ssize_t steps, Watch* watch) noexcept nogil:
    """Get a workspace ready for a call of so many time steps."""
    work.in_panels = SPARE_ROWS > 0 and work.panels.shape[0] > 0 and steps >= PANEL_STEPS
    _lay_out(work, 0, 1, watch)


cdef void _lay_out(AnyWorkspace work, int part, int parts, Watch* watch) noexcept nogil:
    """Make the copies that products read fit the weights, for one part of the rows: transposed, and in panels."""
    cdef Matrix* W
    cdef Py_ssize_t j0, j1, rows
    cdef int i
    for i in range(work.plan.n_matrices):
        W = &work.plan.matrices[i]
        j0, j1 = _share(W.rows, part, parts), _share(W.rows, part + 1, parts)
        while W.ldt and j0 < j1 and not _stopped(watch, FEW_ROWS * W.ld):
            rows = min(FEW_ROWS, j1 - j0)
            if work.training:
                _transpose(
                    W.rows, W.columns, j0, rows, &work.weights[W.start], W.ld, &work.transposed[W.transposed],
                    0 if work.in_panels else W.ldt,
                )
            if work.in_panels:
                _lay_in_panels(_lanes(W.columns), W.rows, j0, rows, &work.weights[W.start], W.ld, &work.panels[W.start])
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
    _begin(work, inputs.shape[0], &crew.members[0].watch)
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
        if not losses[step] < 1e280:     # history.LARGEST_LOSS; NaN is not, either
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
            _together(work, crew, GRADIENT | UPDATE | LAY_OUT)
        if crew.cautious and not (_is_finite(size, &work.weights[0]) and _is_finite(size, &work.memory[0])):
            _copy(size, &work.before[0], &work.weights[0])
            _copy(size, &work.before[size], &work.memory[0])
            crew.overflowed = A_WEIGHT
            return step
        _carry(work, crew.rows)
        if crew.slow:
            _together(work, crew, LAY_OUT)
            if charrnn_get(&crew.stopped):
                return step + 1
    return losses.shape[0]
