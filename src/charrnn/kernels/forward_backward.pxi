# Whole steps of a workspace: they walk the layers of its network. Part of _core.pyx.
#
# The table of cells: what each does with a stream, forward and backward. A row of states begins with h, one of sums with the first of them.

cdef inline void _cell_forward(const LayerPlan* layer, const real* before, real* h, real* sums) noexcept nogil:
    if layer.cell == RNN:
        rnn_forward(layer.lanes, h)
    elif layer.cell == GRU:
        gru_forward(layer.lanes, before, h, sums)
    else:
        lstm_forward(layer.lanes, before, h, sums)


cdef inline void _cell_backward(
    const LayerPlan* layer, const real* before, const real* h, const real* gates, const real* after, real* dh, real* dz,
) noexcept nogil:
    """after: what the time step after this one has left of the gradient by the states."""
    if layer.cell == RNN:
        rnn_backward(layer.lanes, h, dh)
    elif layer.cell == GRU:
        gru_backward(layer.lanes, before, gates, after, dh, dz)
    else:
        lstm_backward(layer.lanes, before, h, gates, after, dh, dz)


# ------------------------------------------------------------------------------------------------------------------ layers

cdef void _layer_input(AnyWorkspace work, int i, const Span* span, Watch* watch) noexcept nogil:
    """The sums of layer i, as far as they come from biases and what is below."""
    cdef Plan* plan = &work.plan
    cdef LayerPlan* layer = &plan.layers[i]
    cdef Matrix* Wxh = &plan.matrices[layer.Wxh]
    sums, bias = &work.hs[span.t0 + 1, 0, layer.sums], &work.weights[plan.matrices[layer.bh].start]
    if i == 0:
        input_forward(span, Wxh, work.inputs, &work.weights[Wxh.start], bias, sums, plan.width)
        return
    weights = &work.panels[Wxh.start] if work.in_panels else &work.weights[Wxh.start]
    below = &work.dropped[span.t0, 0, plan.layers[i - 1].output] if work.dropout else &work.hs[span.t0 + 1, 0, plan.layers[i - 1].column]
    size = forward_product(
        Wxh, 0, plan.outputs if work.dropout else plan.width, plan.width, work.in_panels,
    )
    span_matmul(span, &size, below, weights, bias, sums, watch)


cdef void _layer_forward(AnyWorkspace work, const LayerPlan* layer, const Span* span, Watch* watch) noexcept nogil:
    """Lead the states of a layer through a span, its sums so far being there."""
    cdef Matrix* Whh = &work.plan.matrices[layer.Whh]
    cdef Py_ssize_t width = work.plan.width, t, b
    cdef Product size = forward_product(Whh, span.b1 - span.b0, width, width, work.in_panels)
    # Sums that only the state before adds to have had no bias yet.
    cdef Py_ssize_t inputs = work.plan.matrices[layer.Wxh].columns, others = work.plan.matrices[layer.bh].columns - inputs
    W, bias = &work.panels[Whh.start] if work.in_panels else &work.weights[Whh.start], &work.weights[work.plan.matrices[layer.bh].start]
    for t in range(span.t0, span.t1):
        sums = &work.hs[t + 1, span.b0, layer.recurrent]
        for b in range(span.b0, span.b1 if others else span.b0):
            _copy(others, bias + inputs, &work.hs[t + 1, b, layer.sums + inputs])
        matmul(&size, &work.hs[t, span.b0, layer.column], W, NULL, sums, t % 2)
        if _stopped(watch, size.M * size.N * (size.K + 10)):
            return
        for b in range(span.b0, span.b1):
            _cell_forward(layer, &work.hs[t, b, layer.column], &work.hs[t + 1, b, layer.column], &work.hs[t + 1, b, layer.sums])


cdef void _layer_backward(AnyWorkspace work, const LayerPlan* layer, const Span* span, Watch* watch) noexcept nogil:
    """Lead the gradient by the states of a layer, so far from what is above, back through a span; and make the one by its sums."""
    cdef Matrix* Whh = &work.plan.matrices[layer.Whh]
    cdef Py_ssize_t width = work.plan.width, column = layer.column, t, b
    cdef Product size = backward_product(Whh, span.b1 - span.b0, width, width, work.in_panels)
    W_T = &work.transposed[Whh.transposed]
    for t in range(span.t1 - 1, span.t0 - 1, -1):
        if t < span.T - 1:
            dz_next, dh = &work.dz[t + 1, span.b0, layer.recurrent], &work.dz[t, span.b0, column]
            matmul(&size, dz_next, W_T, NULL, dh, t % 2)
        if _stopped(watch, size.M * size.K * (size.N + 10)):
            return
        for b in range(span.b0, span.b1):
            _cell_backward(
                layer, &work.hs[t, b, column], &work.hs[t + 1, b, column], &work.hs[t + 1, b, layer.sums],
                &work.dz[t + 1, b, column] if t < span.T - 1 else &work.zeros[0], &work.dz[t, b, column], &work.dz[t, b, layer.sums],
            )


cdef void _drop_outputs(AnyWorkspace work, int i, const Span* span, bint backward, Watch* watch) noexcept nogil:
    """Drop some outputs of layer i; or, backward, of the gradient by them."""
    cdef LayerPlan* layer = &work.plan.layers[i]
    cdef unsigned long long key
    cdef Py_ssize_t t, b
    for t in range(span.t0, span.t1):
        if _stopped(watch, (span.b1 - span.b0) * layer.lanes):
            return
        for b in range(span.b0, span.b1):
            key = dropout_key(work.masks, work.step, i, t, work.numbers[b])
            if backward:
                apply_dropout(layer.lanes, &work.dz[t, b, layer.column], &work.dz[t, b, layer.column], key, work.dropout)
            else:
                apply_dropout(layer.lanes, &work.hs[t + 1, b, layer.column], &work.dropped[t, b, layer.output], key, work.dropout)


# ------------------------------------------------------------------------------------------------------------------ streams

cdef void _load(Workspace work, const int[:, ::1] inputs, const int[:, ::1] targets, Py_ssize_t start, Py_ssize_t rows) noexcept nogil:
    """Make so many rows (at most T) from start on the window."""
    cdef Py_ssize_t t, b
    for t in range(rows):
        for b in range(work.B):
            work.inputs[t, b], work.targets[t, b] = inputs[start + t, b], targets[start + t, b]


cdef void _mark_used(Workspace work, Py_ssize_t rows) noexcept nogil:
    """Mark which characters are among the inputs of the window."""
    cdef Py_ssize_t t, b
    work.used[:] = 0
    for t in range(rows):
        for b in range(work.B):
            work.used[work.inputs[t, b]] = 1


cdef inline Py_ssize_t _span(const Plan* plan, Py_ssize_t streams) noexcept nogil:
    """How many time steps are led through all layers at once: as many as keep their states in the second-level cache."""
    return max(1, SPAN_NUMBERS // (streams * plan.width))


cdef void _states(AnyWorkspace work, const Span* span, Watch* watch) noexcept nogil:
    """Lead the states of all layers through the characters of a span."""
    cdef int i
    for i in range(work.plan.n_layers):
        _layer_input(work, i, span, watch)
        _layer_forward(work, &work.plan.layers[i], span, watch)
        if work.dropout:
            _drop_outputs(work, i, span, False, watch)


cdef void _logits(AnyWorkspace work, const Span* span, Py_ssize_t first, Watch* watch) noexcept nogil:
    """p of the time steps of a span = the logits of what follows the states from number first on."""
    cdef Plan* plan = &work.plan
    cdef LayerPlan* last = &plan.layers[plan.n_layers - 1]
    cdef Matrix* Why = &plan.matrices[plan.Why]
    weights, bias = &work.panels[Why.start] if work.in_panels else &work.weights[Why.start], &work.weights[plan.matrices[plan.by].start]
    outputs = &work.dropped[first - 1, 0, last.output] if work.dropout else &work.hs[first, 0, last.column]
    size = forward_product(
        Why, 0, plan.outputs if work.dropout else plan.width, work.p.shape[2], work.in_panels,
    )
    span_matmul(span, &size, outputs, weights, bias, &work.p[span.t0, 0, 0], watch)


cdef void _one_step(AnyWorkspace work, Watch* watch) noexcept nogil:
    """Lead the states of all streams through the first row of the window."""
    cdef Span span = Span(0, work.B, work.B, 0, 1, 1)
    _states(work, &span, watch)
    _carry(work, 1)


cdef void _next_logits(AnyWorkspace work, Watch* watch) noexcept nogil:
    """p[0] = the logits of what follows the states that are carried."""
    cdef Span span = Span(0, work.B, work.B, 0, 1, 1)
    _logits(work, &span, 0, watch)


cdef void _forward(AnyWorkspace work, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t T, Watch* watch) noexcept nogil:
    """Run streams of the window: states, probabilities, and the loss of each target, NaN where there are no probabilities."""
    cdef Span span = Span(b0, b1, work.B, 0, 0, T)
    cdef Py_ssize_t t, b
    while span.t1 < T:
        span.t0, span.t1 = span.t1, min(T, span.t1 + _span(&work.plan, b1 - b0))
        _states(work, &span, watch)
        _logits(work, &span, span.t0 + 1, watch)
        for t in range(span.t0, span.t1):
            if _stopped(watch, 10 * (b1 - b0) * work.plan.V):
                return
            for b in range(b0, b1):
                work.nll[t, b] = softmax_forward(work.plan.V, &work.p[t, b, 0], work.targets[t, b])


cdef void _from_above(AnyWorkspace work, int i, const Span* span, Py_ssize_t first, Watch* watch) noexcept nogil:
    """dz of layer i = the gradient by its outputs; of the last, the first time step that has a target is the first to get any."""
    cdef Plan* plan = &work.plan
    cdef Span some = span[0]
    cdef bint last = i == plan.n_layers - 1
    cdef Matrix* W = &plan.matrices[plan.Why if last else plan.layers[i + 1].Wxh]
    cdef Py_ssize_t t, b
    for t in range(span.t0, min(span.t1, first) if last else span.t0):
        for b in range(span.b0, span.b1):
            _clear(plan.layers[i].lanes, &work.dz[t, b, plan.layers[i].column])
    some.t0 = max(span.t0, first) if last else span.t0
    if some.t0 >= some.t1:
        return
    dy = &work.p[some.t0, 0, 0] if last else &work.dz[some.t0, 0, plan.layers[i + 1].sums]
    dx, W_T = &work.dz[some.t0, 0, plan.layers[i].column], &work.transposed[W.transposed]
    size = backward_product(
        W, 0, work.p.shape[2] if last else plan.width, plan.width, work.in_panels,
    )
    span_matmul(&some, &size, dy, W_T, &work.zeros[0], dx, watch)


cdef bint _backward(AnyWorkspace work, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t T, Watch* watch) noexcept nogil:
    """Lead the gradient of the loss (sum over T, mean over the batch) back through streams of the window; return whether it is bounded.

    p becomes the gradient by the logits, dz first the one by the states, then the one by the sums before the nonlinearities: all that
    the gradients by the weights are made of.
    """
    cdef Plan* plan = &work.plan
    cdef Span span = Span(b0, b1, work.B, T, T, T)
    cdef Py_ssize_t t, b, first = _first_target(work.targets, T)
    cdef int i
    cdef bint bounded = True
    while span.t0 > 0:
        span.t0, span.t1 = max(0, span.t0 - _span(plan, b1 - b0)), span.t0
        for t in range(span.t0, span.t1):
            if _stopped(watch, (b1 - b0) * (plan.V + plan.width)):
                return False
            for b in range(b0, b1):
                softmax_backward(_lanes(plan.V), &work.p[t, b, 0], work.targets[t, b], 1.0 / work.streams)
        for i in range(plan.n_layers - 1, -1, -1):
            _from_above(work, i, &span, first, watch)
            if work.dropout:
                _drop_outputs(work, i, &span, True, watch)
            _layer_backward(work, &plan.layers[i], &span, watch)
        for t in range(span.t0, span.t1):
            bounded = bounded and _is_bounded((b1 - b0) * plan.width, &work.dz[t, b0, 0], 1e30)
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

cdef void _gradient(AnyWorkspace work, Py_ssize_t T, const Part* part, Watch* watch) noexcept nogil:
    """One part of the gradient of a shard of the streams: some rows of each matrix, some columns of the first; biases in the first part.

    Stream b of time step t is in row t B + b: those of a shard, each so many rows after the one before, are a matrix with larger steps.
    """
    cdef Plan* plan = &work.plan
    cdef Matrix* matrices = plan.matrices
    cdef LayerPlan* layer
    cdef LayerPlan* last = &plan.layers[plan.n_layers - 1]
    cdef Matrix* W
    cdef Product size
    cdef Py_ssize_t rows = T * work.B // work.shards, b = work.shard, ldz = work.shards * plan.width
    cdef Py_ssize_t ldx = work.shards * plan.outputs if work.dropout else ldz, others
    cdef int i
    gradient = &work.gradient[0] if work.slot == 0 else &work.sums[(work.slot - 1) * plan.size]
    zeros, pack = &work.zeros[0], &work.packs[part.number * PACK_NUMBERS] if work.packs.shape[0] else NULL
    for i in range(plan.n_layers):
        layer, W = &plan.layers[i], &matrices[plan.layers[i].Wxh]
        dz, db, dW = &work.dz[0, b, layer.sums], gradient + matrices[layer.bh].start, gradient + W.start
        if i == 0:
            input_gradient(W, part, rows, &work.inputs[0, b], work.shards, &work.used[0], dz, ldz, dW)
        else:
            x = &work.dropped[0, b, plan.layers[i - 1].output] if work.dropout else &work.hs[1, b, plan.layers[i - 1].column]
            size = gradient_product(W, rows, ldx, ldz)
            linear_gradient(part, &size, x, dz, zeros, dW, NULL, pack, watch)
        W = &matrices[layer.Whh]
        others = layer.recurrent - layer.sums     # sums that the state before does not add to
        if others and part.number == 0:
            column_sums(others, rows, dz, ldz, db)
        size = gradient_product(W, rows, ldz, ldz)
        h_before, dz, dW = &work.hs[0, b, layer.column], dz + others, gradient + W.start
        linear_gradient(part, &size, h_before, dz, zeros, dW, db + others, pack, watch)
    W, db = &matrices[plan.Why], gradient + matrices[plan.by].start
    x = &work.dropped[0, b, last.output] if work.dropout else &work.hs[1, b, last.column]
    size = gradient_product(W, rows, ldx, work.shards * work.p.shape[2])
    linear_gradient(part, &size, x, &work.p[0, b, 0], zeros, gradient + W.start, db, pack, watch)


cdef void _square(AnyWorkspace work, const Part* part) noexcept nogil:
    """The sums of squares of one part of the rows of the gradient, as far as they are wanted."""
    cdef Plan* plan = &work.plan
    cdef Matrix* W
    cdef Py_ssize_t row = 0, j0, j
    cdef int i
    for i in range(plan.n_matrices):
        W = &plan.matrices[i]
        j0 = max(work.row0 - row, _share(W.rows, part.number, part.of))
        for j in range(j0, min(work.row1 - row, _share(W.rows, part.number + 1, part.of))):
            if i == plan.layers[0].Wxh and not work.used[j]:
                work.squares[row + j] = 0
            else:
                work.squares[row + j] = _sum_of_squares(_lanes(W.columns), &work.gradient[W.start + j * W.ld])
        row += W.rows


cdef double _norm(Workspace work) noexcept nogil:
    """The norm of the gradient, from the squares of its rows."""
    cdef double total = 0
    cdef Py_ssize_t i
    for i in range(work.plan.n_rows):
        total += work.squares[i]
    return sqrt(total)


cdef void _learn(AnyWorkspace work, const Update* update, const Part* part) noexcept nogil:
    """Clip and update one part of the weights, as far as their rows are wanted."""
    cdef Matrix* W
    cdef Py_ssize_t row = 0, j0, j1, v
    # Where nothing but the gradient moves a weight, the rows of characters that are not in use stay as they are.
    cdef bint all_rows = update.optimizer >= RMSPROP or update.weight_decay > 0
    cdef int i
    for i in range(work.plan.n_matrices):
        W = &work.plan.matrices[i]
        if i != work.plan.layers[0].Wxh:
            j0 = max(work.row0 - row, _share(W.rows, part.number, part.of))
            j1 = min(work.row1 - row, _share(W.rows, part.number + 1, part.of))
            row += W.rows
            _update(work, update, W, j0 * W.ld, (j1 - j0) * W.ld)
            continue
        j0, j1 = _share(_lanes(W.columns), part.number, part.of), _share(_lanes(W.columns), part.number + 1, part.of)
        for v in range(max(0, work.row0 - row), min(W.rows, work.row1 - row)):
            if not work.used[v] and all_rows:
                _clear(j1 - j0, &work.gradient[W.start + v * W.ld + j0])
            if work.used[v] or all_rows:
                _update(work, update, W, v * W.ld + j0, j1 - j0)
        row += W.rows


cdef void _update(AnyWorkspace work, const Update* update, const Matrix* W, Py_ssize_t first, Py_ssize_t n) noexcept nogil:
    """Clip and update n numbers of a matrix from number first on."""
    cdef Py_ssize_t i = W.start + first
    cdef double keep = 1 if W.bias else 1 - update.rate * update.weight_decay
    if n <= 0:
        return
    if update.optimizer == ADAGRAD:
        adagrad_update(n, &work.weights[i], &work.memory[i], &work.gradient[i], update, keep)
    elif update.optimizer == SGD:
        sgd_update(n, &work.weights[i], &work.gradient[i], update, keep)
    elif update.optimizer == RMSPROP:
        rmsprop_update(n, &work.weights[i], &work.memory[i], &work.gradient[i], update, keep)
    else:
        adam_update(n, &work.weights[i], &work.memory[i], &work.momentum[i], &work.gradient[i], update, keep)


cdef void _begin(AnyWorkspace work, Py_ssize_t steps, Watch* watch) noexcept nogil:
    """Get a workspace ready for a call of so many time steps."""
    cdef Part whole = Part(0, 1)
    _reset(work, steps)
    _lay_out(work, &whole, watch)


cdef void _reset(AnyWorkspace work, Py_ssize_t steps) noexcept nogil:
    """Nothing is dropped, the streams are a whole batch and one shard, all weights learn; how weights are read is chosen."""
    cdef Py_ssize_t b
    work.dropout = 0
    work.streams, work.shard, work.shards, work.slot = work.B, 0, 1, 0
    work.row0, work.row1 = 0, work.plan.n_rows
    for b in range(work.B):
        work.numbers[b] = <int>b
    work.in_panels = work.panels.shape[0] > 0 and steps >= PANEL_STEPS


cdef void _lay_out(AnyWorkspace work, const Part* part, Watch* watch) noexcept nogil:
    """Make the copies that products read fit the weights, for one part of the rows: transposed, and in panels."""
    cdef Matrix* W
    cdef Py_ssize_t j0, j1, rows
    cdef int i
    for i in range(work.plan.n_matrices):
        W = &work.plan.matrices[i]
        j0, j1 = _share(W.rows, part.number, part.of), _share(W.rows, part.number + 1, part.of)
        while W.ldt and j0 < j1 and not _stopped(watch, FEW_ROWS * W.ld):
            rows = min(FEW_ROWS, j1 - j0)
            if work.training:
                transpose(
                    W.rows, W.columns, j0, rows, &work.weights[W.start], W.ld, &work.transposed[W.transposed],
                    0 if work.in_panels else W.ldt,
                )
            if work.in_panels:
                copy_to_panels(_lanes(W.columns), W.rows, j0, rows, &work.weights[W.start], W.ld, &work.panels[W.start])
            j0 += rows


# ------------------------------------------------------------------------------------------------------------------ without training

cdef double _evaluate(
    AnyWorkspace work, const int[:, ::1] inputs, const int[:, ::1] targets, double[:, ::1] nll, Watch* watch,
) noexcept nogil:
    """Run windows over the inputs, the state being carried; return the sum of the losses, each of which nll gets."""
    cdef Py_ssize_t start = 0, rows
    cdef double total = 0
    _begin(work, inputs.shape[0], watch)
    while start < inputs.shape[0]:
        rows = min(work.T, inputs.shape[0] - start)
        _load(work, inputs, targets, start, rows)
        _forward(work, 0, work.B, rows, watch)
        if charrnn_get(watch.stopped):
            break
        nll[start:start + rows] = work.nll[:rows]
        total += _total(work.nll, work.targets, rows)
        _carry(work, rows)
        start += rows
    return total


cdef void _feed(AnyWorkspace work, const int[:, ::1] inputs, Watch* watch) noexcept nogil:
    """Lead the state through the inputs."""
    cdef Span span
    cdef Py_ssize_t start = 0, rows
    _begin(work, inputs.shape[0], watch)
    while start < inputs.shape[0] and not charrnn_get(watch.stopped):
        rows = min(work.T, inputs.shape[0] - start)
        span = Span(0, work.B, work.B, 0, rows, rows)
        _load(work, inputs, inputs, start, rows)
        _states(work, &span, watch)
        _carry(work, rows)
        start += rows


cdef double _following(AnyWorkspace work, const int[::1] targets, double[::1] nll, Watch* watch) noexcept nogil:
    """p[0] = the probabilities of what follows the state; return the sum of the losses of targets, each of which nll gets."""
    cdef Py_ssize_t b
    cdef double total = 0
    _begin(work, 1, watch)
    _next_logits(work, watch)
    for b in range(work.B):
        if _stopped(watch, 10 * work.plan.V):
            break
        nll[b] = softmax_forward(work.plan.V, &work.p[0, b, 0], targets[b])
        total += nll[b]
    return total


cdef void _window(AnyWorkspace work, const int[:, ::1] inputs, Py_ssize_t rows, Watch* watch) noexcept nogil:
    """Run one window from the state, which stays: states and logits."""
    cdef Span span = Span(0, work.B, work.B, 0, rows, rows)
    _begin(work, rows, watch)
    _load(work, inputs, inputs, 0, rows)
    _states(work, &span, watch)
    _logits(work, &span, 1, watch)


cdef double _softmax_rows(AnyWorkspace work, Py_ssize_t rows) noexcept nogil:
    """Turn logits into probabilities; return a number that is NaN where there are none."""
    cdef Py_ssize_t t, b
    cdef double wrong = 0
    for t in range(rows):
        for b in range(work.B):
            wrong += softmax_forward(work.plan.V, &work.p[t, b, 0], IGNORED)
    return wrong


cdef void _window_gradient(AnyWorkspace work, Py_ssize_t rows, bint forward, double dropout, Watch* watch) noexcept nogil:
    """The gradient of the window; forward: whether states and probabilities are to be made."""
    cdef Part whole = Part(0, 1)
    _mark_used(work, rows)
    _clear(work.plan.size, &work.gradient[0])
    _begin(work, rows, watch)
    work.dropout = dropout
    if forward:
        _forward(work, 0, work.B, rows, watch)
    _backward(work, 0, work.B, rows, watch)
    _gradient(work, rows, &whole, watch)


cdef void _learn_all(AnyWorkspace work, const Update* update) noexcept nogil:
    """Clip and update all weights."""
    cdef Part whole = Part(0, 1)
    _reset(work, 1)
    _learn(work, update, &whole)


# ------------------------------------------------------------------------------------------------------------------ training

cdef Py_ssize_t _train(
    AnyWorkspace work, Crew* crew, const int[:, ::1] inputs, const int[:, ::1] targets, Py_ssize_t T, const double[::1] rates,
    double[::1] losses,
) noexcept nogil:
    """Train on windows of T characters, shared by a crew; losses gets each one's sum over T and B. Return the number of steps done: fewer
    than there are losses means that the next one was not applied, as the call was stopped or, says crew.overflowed, it diverged.
    """
    cdef Py_ssize_t step, start
    _begin(work, inputs.shape[0], &crew.members[0].watch)
    work.dropout = crew.dropout
    for step in range(losses.shape[0]):
        start = step * T
        work.step = crew.first + step
        crew.rows = min(T, inputs.shape[0] - start)
        _load(work, inputs, targets, start, crew.rows)
        crew.rows = _used_rows(work.targets, crew.rows)
        _mark_used(work, crew.rows)
        if crew.reset:
            _clear(work.B * work.plan.width, &work.hs[0, 0, 0])
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
        _set_update(&crew.update, rates[step], work.step + 1)
        if not _change(work, crew):
            return step
        _carry(work, crew.rows)
        if crew.slow:
            _together(work, crew, LAY_OUT)
            if charrnn_get(&crew.stopped):
                return step + 1
    return losses.shape[0]


cdef bint _change(AnyWorkspace work, Crew* crew) noexcept nogil:
    """Make the gradient and change the weights by it; return whether that was done."""
    cdef Py_ssize_t size = work.plan.size
    cdef double norm
    if crew.cautious:
        _copy(size, &work.weights[0], &work.before[0])
        _copy(size, &work.memory[0], &work.before[size])
        _copy(work.momentum.shape[0], &work.momentum[0], &work.before[2 * size])
    if crew.slow or crew.clip_norm < INFINITY:     # once weights change there is no way back: what comes before it can be left
        _together(work, crew, GRADIENT)
        if charrnn_get(&crew.stopped):
            return False
    if crew.clip_norm < INFINITY:
        _together(work, crew, SQUARES)
        norm = _norm(work) / crew.rows             # of the gradient of the loss of a character
        if not norm < INFINITY:
            crew.overflowed = A_GRADIENT
            return False
        crew.update.scale = crew.clip_norm / norm if norm > crew.clip_norm else 1
    if crew.slow:
        _together(work, crew, UPDATE)
    elif crew.clip_norm < INFINITY:
        _together(work, crew, UPDATE | LAY_OUT)
    else:
        _together(work, crew, GRADIENT | UPDATE | LAY_OUT)
    if crew.cautious and not (
        _is_bounded(size, &work.weights[0], INFINITY) and _is_bounded(size, &work.memory[0], INFINITY)
    ):
        _copy(size, &work.before[0], &work.weights[0])
        _copy(size, &work.before[size], &work.memory[0])
        _copy(work.momentum.shape[0], &work.before[2 * size], &work.momentum[0])
        crew.overflowed = A_WEIGHT
        return False
    return True
