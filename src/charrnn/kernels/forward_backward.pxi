# Forward and backward passes of whole windows: they walk the layers. Part of _core.pyx.

cdef struct Call:                # what one thread does in a call, and how
    InterruptCheck* check        # NULL: nothing may interrupt it
    void* arguments              # further ones of the kernel that `Kernel` points to
    const int* inputs            # (n, streams), in [0, V)
    const int* targets           # (n, streams), in [0, V) or IGNORED
    double* nll                  # (n, B): gets the losses
    Py_ssize_t n, streams        # fewer streams than B: the others have no targets
    Py_ssize_t rows              # time steps of the window that is loaded
    Py_ssize_t b0, b1            # streams of this thread
    Part part                    # its part of the weights
    double* counted              # (rows,): gets the losses with recent counts; NULL: none counts
    bint backward                # whether it leads gradients back, by the network alone
    bint ahead                   # whether each target is predicted before its input is read
    bint in_panels               # whether products read panels
    bint bfloat16                # whether their operands are rounded
    Py_ssize_t pack              # numbers that a thread may pack
    double dropout               # fraction of the outputs to drop; which ones depends on
    unsigned long long dropout_seed, step
    Py_ssize_t batch_size        # streams of the batch: the gradient is their mean
    Py_ssize_t n_shards          # of the batch: stream b is in shard b modulo n_shards
    Py_ssize_t first_shard, stop_shard   # those here
    Py_ssize_t shard, slot       # whose gradient to make, counted from the first, and where it goes
    Py_ssize_t row0, row1        # rows of all matrices to square and update

ctypedef double (*Kernel)(Workspace, Call*) noexcept nogil   # returns NaN: no probabilities


cdef Call _new_call(Workspace work, Py_ssize_t n) noexcept nogil:
    """Return a call for n time steps of all streams and weights, without dropout or shards."""
    cdef Call call
    memset(&call, 0, sizeof(Call))
    call.n, call.streams, call.rows, call.b1 = n, work.B, n, work.B
    call.part, call.pack = Part(0, 1), PACK_NUMBERS
    call.in_panels = work.B >= MANY_STREAMS and n >= PANEL_STEPS
    call.batch_size, call.n_shards, call.stop_shard = work.B, 1, 1
    call.row1 = work.plan.n_rows
    return call


cdef inline void* _rounded_room(AnyWorkspace work, const Call* call) noexcept nogil:
    """The thread's room for rounded operands; NULL: they are not rounded."""
    return &work.packs[call.part.number * call.pack] if call.bfloat16 else NULL


# Dispatch on the cell. h is the first column of a row of states, and sums the first of its sums.

cdef inline void _cell_forward(
    const LayerPlan* layer, const real* before, real* h, real* sums,
) noexcept nogil:
    if layer.cell == RNN:
        rnn_forward(layer.lanes, h)
    elif layer.cell == GRU:
        gru_forward(layer.lanes, before, h, sums)
    else:
        lstm_forward(layer.lanes, before, h, sums)


cdef inline void _cell_backward(
    const LayerPlan* layer, const real* before, const real* h, const real* gates,
    const real* after, real* dh, real* dz,
) noexcept nogil:
    """after: what the next time step leaves of the gradient by the states."""
    if layer.cell == RNN:
        rnn_backward(layer.lanes, h, dh)
    elif layer.cell == GRU:
        gru_backward(layer.lanes, before, gates, after, dh, dz)
    else:
        lstm_backward(layer.lanes, before, h, gates, after, dh, dz)


# ------------------------------------------------------------------------------- layers

cdef void _layer_input(AnyWorkspace work, Call* call, int i, const Span* span) noexcept nogil:
    """Start the sums of layer i from its biases and inputs."""
    cdef Plan* plan = &work.plan
    cdef LayerPlan* layer = &plan.layers[i]
    cdef Matrix* Wxh = &plan.matrices[layer.Wxh]
    cdef Py_ssize_t width = plan.width
    sums, bias = &work.hs[span.t0 + 1, 0, layer.sums], &work.weights[plan.matrices[layer.bh].start]
    if i == 0:
        W = &work.weights[Wxh.start]
        input_forward(span, Wxh, work.inputs, W, bias, sums, width)
        return
    W = &work.panels[Wxh.start] if call.in_panels else &work.weights[Wxh.start]
    x, ldx = &work.hs[span.t0 + 1, 0, plan.layers[i - 1].column], width
    if call.dropout:
        x, ldx = &work.dropped[span.t0, 0, plan.layers[i - 1].output], plan.outputs
    size = forward_product(Wxh, 0, ldx, width, call.in_panels, _rounded_room(work, call))
    span_matmul(span, &size, x, W, bias, sums, call.check)


cdef void _layer_forward(
    AnyWorkspace work, Call* call, const LayerPlan* layer, const Span* span,
) noexcept nogil:
    """Lead the states of a layer through a span whose sums have been started."""
    cdef Matrix* Whh = &work.plan.matrices[layer.Whh]
    cdef Matrix* bh = &work.plan.matrices[layer.bh]
    cdef Py_ssize_t width = work.plan.width, t, b
    cdef Py_ssize_t streams = span.b1 - span.b0
    cdef void* room = _rounded_room(work, call)
    cdef Product size = forward_product(Whh, streams, width, width, call.in_panels, room)
    # Sums that only the state before adds to have had no bias yet.
    cdef Py_ssize_t inputs = work.plan.matrices[layer.Wxh].columns, others = bh.columns - inputs
    W = &work.panels[Whh.start] if call.in_panels else &work.weights[Whh.start]
    bias = &work.weights[bh.start]
    for t in range(span.t0, span.t1):
        for b in range(span.b0, span.b1 if others else span.b0):
            _copy(others, bias + inputs, &work.hs[t + 1, b, layer.sums + inputs])
        h_before = &work.hs[t, span.b0, layer.column]
        sums = &work.hs[t + 1, span.b0, layer.recurrent]
        matmul(&size, h_before, W, NULL, sums, t % 2)
        if _should_stop(call.check, size.M * size.N * (size.K + 10)):
            return
        for b in range(span.b0, span.b1):
            h_before, h = &work.hs[t, b, layer.column], &work.hs[t + 1, b, layer.column]
            _cell_forward(layer, h_before, h, &work.hs[t + 1, b, layer.sums])


cdef void _layer_backward(
    AnyWorkspace work, Call* call, const LayerPlan* layer, const Span* span,
) noexcept nogil:
    """Lead the gradient by the states of a layer back through a span, and make that by its sums."""
    cdef Matrix* Whh = &work.plan.matrices[layer.Whh]
    cdef Py_ssize_t width = work.plan.width, column = layer.column, t, b
    cdef Py_ssize_t streams = span.b1 - span.b0
    cdef void* room = _rounded_room(work, call)
    cdef Product size = backward_product(Whh, streams, width, width, call.in_panels, room)
    W_T = &work.transposed[Whh.transposed]
    for t in range(span.t1 - 1, span.t0 - 1, -1):
        if t < span.T - 1:
            dz_next, dh = &work.dz[t + 1, span.b0, layer.recurrent], &work.dz[t, span.b0, column]
            matmul(&size, dz_next, W_T, NULL, dh, t % 2)
        if _should_stop(call.check, size.M * size.K * (size.N + 10)):
            return
        for b in range(span.b0, span.b1):
            _cell_backward(
                layer, &work.hs[t, b, column], &work.hs[t + 1, b, column],
                &work.hs[t + 1, b, layer.sums],
                &work.dz[t + 1, b, column] if t < span.T - 1 else &work.zeros[0],
                &work.dz[t, b, column], &work.dz[t, b, layer.sums],
            )


cdef void _drop_outputs(
    AnyWorkspace work, Call* call, int i, const Span* span, bint backward,
) noexcept nogil:
    """Drop some outputs of layer i; or, backward, of the gradient by them."""
    cdef LayerPlan* layer = &work.plan.layers[i]
    cdef Py_ssize_t here = call.stop_shard - call.first_shard, number, t, b
    cdef unsigned long long key
    for t in range(span.t0, span.t1):
        if _should_stop(call.check, (span.b1 - span.b0) * layer.lanes):
            return
        for b in range(span.b0, span.b1):
            number = b // here * call.n_shards + call.first_shard + b % here    # in the batch
            key = dropout_key(call.dropout_seed, call.step, i, t, number)
            x, y = &work.hs[t + 1, b, layer.column], &work.dropped[t, b, layer.output]
            if backward:
                x = y = &work.dz[t, b, layer.column]
            apply_dropout(layer.lanes, x, y, key, call.dropout)


# ------------------------------------------------------------------------------- windows

cdef void _load(Workspace work, Call* call, Py_ssize_t start, Py_ssize_t T) noexcept nogil:
    """Make the time steps from start on, at most T, the window."""
    cdef Py_ssize_t t, b, i
    call.rows = min(T, call.n - start)
    for t in range(call.rows):
        for b in range(work.B):
            i = (start + t) * call.streams + b
            work.inputs[t, b] = call.inputs[i] if b < call.streams else 0
            work.targets[t, b] = call.targets[i] if b < call.streams else IGNORED


cdef void _mark_used(Workspace work, const Call* call) noexcept nogil:
    """Mark the characters among the window's inputs: the gradient of Wxh has only their rows. With
    shards it has all: another one may have others.
    """
    cdef Py_ssize_t t, b
    work.used[:] = call.n_shards > 1
    for t in range(call.rows):
        for b in range(work.B):
            work.used[work.inputs[t, b]] = 1


cdef inline Py_ssize_t _span(const Plan* plan, Py_ssize_t streams) noexcept nogil:
    """How many time steps to lead through all layers at once: their states fit the second cache."""
    return max(1, SPAN_NUMBERS // (streams * plan.width))


cdef void _states(AnyWorkspace work, Call* call, const Span* span) noexcept nogil:
    """Lead the states of all layers through the inputs of a span."""
    cdef int i
    for i in range(work.plan.n_layers):
        _layer_input(work, call, i, span)
        _layer_forward(work, call, &work.plan.layers[i], span)
        if call.dropout:
            _drop_outputs(work, call, i, span, False)
    if work.ngrams != NULL:
        _contexts(work, span)


cdef void _logits(
    AnyWorkspace work, Call* call, const Span* span, Py_ssize_t first,
) noexcept nogil:
    """p of a span's time steps = the logits of what follows the states from number first on."""
    _network_logits(work, call, span, first)
    if work.ngrams != NULL and not call.backward:
        _mix(work, call, span, first)


cdef void _network_logits(
    AnyWorkspace work, Call* call, const Span* span, Py_ssize_t first,
) noexcept nogil:
    """As `_logits`, by the network alone."""
    cdef Plan* plan = &work.plan
    cdef LayerPlan* last = &plan.layers[plan.n_layers - 1]
    cdef Matrix* Why = &plan.matrices[plan.Why]
    W = &work.panels[Why.start] if call.in_panels else &work.weights[Why.start]
    bias, y = &work.weights[plan.matrices[plan.by].start], &work.p[span.t0, 0, 0]
    x, ldx = &work.hs[first, 0, last.column], plan.width
    if call.dropout:
        x, ldx = &work.dropped[first - 1, 0, last.output], plan.outputs
    ldy, room = work.p.shape[2], _rounded_room(work, call)
    size = forward_product(Why, 0, ldx, ldy, call.in_panels, room)
    span_matmul(span, &size, x, W, bias, y, call.check)


cdef void _forward(AnyWorkspace work, Call* call) noexcept nogil:
    """Run the thread's streams of the window: states, probabilities, and the loss of each target,
    NaN where there are no probabilities.
    """
    cdef Span span = Span(call.b0, call.b1, work.B, 0, 0, call.rows)
    cdef Py_ssize_t streams = call.b1 - call.b0, V = work.plan.V, t, b
    while span.t1 < call.rows:
        span.t0, span.t1 = span.t1, min(call.rows, span.t1 + _span(&work.plan, streams))
        _states(work, call, &span)
        _logits(work, call, &span, span.t0 + (0 if call.ahead else 1))
        for t in range(span.t0, span.t1):
            if _should_stop(call.check, 10 * streams * V):
                return
            if call.counted != NULL:
                call.counted[t] = _read_and_count(work, t)
            for b in range(call.b0, call.b1):
                work.nll[t, b] = softmax_forward(V, &work.p[t, b, 0], work.targets[t, b])


cdef void _from_above(
    AnyWorkspace work, Call* call, int i, const Span* span, Py_ssize_t first,
) noexcept nogil:
    """dz of layer i = the gradient by its outputs. That of the last layer is 0 before time step
    first, which has the first target.
    """
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
    ldy = work.p.shape[2] if last else plan.width
    room = _rounded_room(work, call)
    size = backward_product(W, 0, ldy, plan.width, call.in_panels, room)
    span_matmul(&some, &size, dy, W_T, &work.zeros[0], dx, call.check)


cdef bint _backward(AnyWorkspace work, Call* call) noexcept nogil:
    """Lead the gradient of the loss (sum over time steps, mean over the batch) back through the
    thread's streams of the window; return whether it is bounded.

    p becomes the gradient by the logits; dz first the one by the states, then the one by the sums
    before the nonlinearities. The gradients by the weights are made of these.
    """
    cdef Plan* plan = &work.plan
    cdef Span span = Span(call.b0, call.b1, work.B, call.rows, call.rows, call.rows)
    cdef Py_ssize_t streams = call.b1 - call.b0, first = _first_target(work, call), t, b
    cdef int i
    cdef bint bounded = True
    while span.t0 > 0:
        span.t0, span.t1 = max(0, span.t0 - _span(plan, streams)), span.t0
        for t in range(span.t0, span.t1):
            if _should_stop(call.check, streams * (plan.V + plan.width)):
                return False
            for b in range(call.b0, call.b1):
                dlogits = &work.p[t, b, 0]
                softmax_backward(_lanes(plan.V), dlogits, work.targets[t, b], 1.0 / call.batch_size)
        for i in range(plan.n_layers - 1, -1, -1):
            _from_above(work, call, i, &span, first)
            if call.dropout:
                _drop_outputs(work, call, i, &span, True)
            _layer_backward(work, call, &plan.layers[i], &span)
        for t in range(span.t0, span.t1):
            bounded = bounded and _is_bounded(streams * plan.width, &work.dz[t, call.b0, 0], 1e30)
    return bounded


cdef void _carry(AnyWorkspace work, Py_ssize_t size) noexcept nogil:
    """hs[0] = hs[size]: the state after a window of size characters is the one before the next."""
    cdef Py_ssize_t i
    for i in range(work.B * work.plan.width):
        (&work.hs[0, 0, 0])[i] = (&work.hs[size, 0, 0])[i]


cdef double _loss(Workspace work, const Call* call) noexcept nogil:
    """The sum of the losses of the window's targets; of several shards, stream by stream."""
    cdef Py_ssize_t t, b
    cdef double total = 0
    if call.n_shards > 1:
        for b in range(work.B):
            total += _loss_of_stream(work, b, call.rows)
        return total
    for t in range(call.rows):
        for b in range(work.B):
            if work.targets[t, b] != IGNORED:
                total += work.nll[t, b]
    return total


cdef double _loss_of_stream(Workspace work, Py_ssize_t b, Py_ssize_t rows) noexcept nogil:
    cdef Py_ssize_t t
    cdef double total = 0
    for t in range(rows):
        if work.targets[t, b] != IGNORED:
            total += work.nll[t, b]
    return total


cdef Py_ssize_t _first_target(Workspace work, const Call* call) noexcept nogil:
    """The first time step of the window with a target, or its length: none before needs logits."""
    cdef Py_ssize_t t, b
    for t in range(call.rows):
        for b in range(work.B):
            if work.targets[t, b] != IGNORED:
                return t
    return call.rows


# ------------------------------------------------------------------------------- weights

cdef void _gradient(AnyWorkspace work, Call* call) noexcept nogil:
    """The thread's part of the gradient of a shard: some rows of each matrix, some columns of the
    first; biases in the first part.

    Stream b of time step t is in row t B + b. Those of a shard, at a distance of as many rows as
    there are shards here, are a matrix with larger steps.
    """
    cdef Plan* plan = &work.plan
    cdef Matrix* matrices = plan.matrices
    cdef LayerPlan* layer
    cdef LayerPlan* last = &plan.layers[plan.n_layers - 1]
    cdef Matrix* W
    cdef Part* part = &call.part
    cdef Product size
    cdef Py_ssize_t every = call.stop_shard - call.first_shard, rows = call.rows * work.B // every
    cdef Py_ssize_t b = call.shard, ldz = every * plan.width, others
    cdef Py_ssize_t ldx = every * plan.outputs if call.dropout else ldz
    cdef int i
    gradient, zeros = &work.gradient[call.slot * plan.size], &work.zeros[0]
    pack, room = NULL, _rounded_room(work, call)
    if work.packs.shape[0] > part.number * call.pack:
        pack = &work.packs[part.number * call.pack]
    for i in range(plan.n_layers):
        layer, W = &plan.layers[i], &matrices[plan.layers[i].Wxh]
        dz, dW = &work.dz[0, b, layer.sums], gradient + W.start
        db = gradient + matrices[layer.bh].start
        if i == 0:
            x0, used = &work.inputs[0, b], &work.used[0]
            input_gradient(W, part, rows, x0, every, used, dz, ldz, dW)
        else:
            x = &work.hs[1, b, plan.layers[i - 1].column]
            if call.dropout:
                x = &work.dropped[0, b, plan.layers[i - 1].output]
            size = gradient_product(W, rows, ldx, ldz, room)
            linear_gradient(part, &size, x, dz, zeros, dW, NULL, pack, call.check)
        W = &matrices[layer.Whh]
        others = layer.recurrent - layer.sums     # sums that the state before does not add to
        if others and part.number == 0:
            column_sums(others, rows, dz, ldz, db)
        size = gradient_product(W, rows, ldz, ldz, room)
        h_before, dz, dW = &work.hs[0, b, layer.column], dz + others, gradient + W.start
        linear_gradient(part, &size, h_before, dz, zeros, dW, db + others, pack, call.check)
    W, db = &matrices[plan.Why], gradient + matrices[plan.by].start
    x = &work.dropped[0, b, last.output] if call.dropout else &work.hs[1, b, last.column]
    dy, dW = &work.p[0, b, 0], gradient + W.start
    size = gradient_product(W, rows, ldx, every * work.p.shape[2], room)
    linear_gradient(part, &size, x, dy, zeros, dW, db, pack, call.check)


cdef void _square(AnyWorkspace work, const Call* call) noexcept nogil:
    """The sums of squares of the rows of the gradient, of the thread's part of them."""
    cdef Plan* plan = &work.plan
    cdef Matrix* W
    cdef Py_ssize_t row = 0, j0, j1, j
    cdef int i
    for i in range(plan.n_matrices):
        W = &plan.matrices[i]
        j0 = max(call.row0 - row, _share(W.rows, call.part.number, call.part.of))
        j1 = min(call.row1 - row, _share(W.rows, call.part.number + 1, call.part.of))
        for j in range(j0, j1):
            work.squares[row + j] = 0
            if i != plan.layers[0].Wxh or work.used[j]:
                dW = &work.gradient[W.start + j * W.ld]
                work.squares[row + j] = _sum_of_squares(_lanes(W.columns), dW)
        row += W.rows


cdef double _norm(Workspace work) noexcept nogil:
    """The norm of the gradient, from the squares of its rows."""
    cdef double total = 0
    cdef Py_ssize_t i
    for i in range(work.plan.n_rows):
        total += work.squares[i]
    return sqrt(total)


cdef void _learn(AnyWorkspace work, const Call* call, const Update* update) noexcept nogil:
    """Clip the gradient and update the thread's part of the weights."""
    cdef Matrix* W
    cdef Py_ssize_t row = 0, j0, j1, n, v
    # If only the gradient moves weights, those of characters that are not in use stay.
    cdef bint all_rows = update.optimizer >= RMSPROP or update.keep != 1
    cdef int i
    for i in range(work.plan.n_matrices):
        W = &work.plan.matrices[i]
        n = _lanes(W.columns) if i == work.plan.layers[0].Wxh else W.rows
        j0 = _share(n, call.part.number, call.part.of)
        j1 = _share(n, call.part.number + 1, call.part.of)
        if i != work.plan.layers[0].Wxh:
            j0, j1 = max(call.row0 - row, j0), min(call.row1 - row, j1)
            _update(work, update, W, j0 * W.ld, (j1 - j0) * W.ld)
            row += W.rows
            continue
        for v in range(max(0, call.row0 - row), min(W.rows, call.row1 - row)):
            if not work.used[v] and all_rows:
                _clear(j1 - j0, &work.gradient[W.start + v * W.ld + j0])
            if work.used[v] or all_rows:
                _update(work, update, W, v * W.ld + j0, j1 - j0)
            elif update.pull > 0 and j0 < j1:
                n = W.start + v * W.ld + j0
                pull_update(j1 - j0, &work.weights[n], &work.anchor[n], update)
        row += W.rows


cdef void _update(
    AnyWorkspace work, const Update* update, const Matrix* W, Py_ssize_t first, Py_ssize_t n,
) noexcept nogil:
    """Clip the gradient and update n numbers of a matrix from number first on."""
    cdef Py_ssize_t i = W.start + first
    cdef double keep = 1 if W.bias else update.keep
    if n <= 0:
        return
    w, memory, g = &work.weights[i], &work.memory[i], &work.gradient[i]
    if update.pull > 0:
        pull_update(n, w, &work.anchor[i], update)
    if update.optimizer == ADAGRAD:
        adagrad_update(n, w, memory, g, update, keep)
    elif update.optimizer == SGD:
        sgd_update(n, w, g, update, keep)
    elif update.optimizer == RMSPROP:
        rmsprop_update(n, w, memory, g, update, keep)
    else:
        adam_update(n, w, memory, &work.momentum[i], g, update, keep)


cdef void _lay_out(AnyWorkspace work, const Call* call) noexcept nogil:
    """Make the copies that products read, transposed and in panels, fit the weights: the thread's
    part of the rows.
    """
    cdef Matrix* W
    cdef Py_ssize_t j0, j1, rows, ldt
    cdef int i
    for i in range(work.plan.n_matrices):
        W = &work.plan.matrices[i]
        j0 = _share(W.rows, call.part.number, call.part.of)
        j1 = _share(W.rows, call.part.number + 1, call.part.of)
        ldt = 0 if call.in_panels else W.ldt
        while W.ldt and j0 < j1 and not _should_stop(call.check, FEW_ROWS * W.ld):
            rows, w = min(FEW_ROWS, j1 - j0), &work.weights[W.start]
            if call.backward:
                W_T = &work.transposed[W.transposed]
                transpose(W.rows, W.columns, j0, rows, w, W.ld, W_T, ldt, call.bfloat16)
            if call.in_panels:
                panels = &work.panels[W.start]
                copy_to_panels(
                    _lanes(W.columns), W.rows, j0, rows, w, W.ld, panels, call.bfloat16,
                )
            j0 += rows


# ------------------------------------------------------------------------------- kernels of calls

cdef double _evaluate(AnyWorkspace work, Call* call) noexcept nogil:
    """Run windows over the inputs, carrying the state; return the sum of the losses."""
    cdef Py_ssize_t start = 0
    cdef double total = 0
    _lay_out(work, call)
    while start < call.n:
        _load(work, call, start, work.T)
        _forward(work, call)
        if _is_stopped(call.check):
            break
        memcpy(call.nll + start * work.B, &work.nll[0, 0], call.rows * work.B * sizeof(double))
        total += _loss(work, call)
        _carry(work, call.rows)
        start += call.rows
    return total


cdef struct Scoring:             # one of B texts that a call of score_texts reads
    const int* ids
    Py_ssize_t length
    int end                      # the symbol that follows; IGNORED: none
    double sum                   # of the losses


cdef void _load_texts(
    Workspace work, Call* call, const Scoring* texts, Py_ssize_t start,
) noexcept nogil:
    """Make the symbols of texts from number start on, at most T, the window. What has ended reads
    its last one again, so that it is affected by no weights but its own.
    """
    cdef const Scoring* text
    cdef Py_ssize_t t, b
    call.rows = min(work.T, call.n - start)
    for b in range(work.B):
        text = &texts[b]
        for t in range(call.rows):
            work.inputs[t, b], work.targets[t, b] = max(0, text.end), IGNORED
            if text.length > 0:
                work.inputs[t, b] = text.ids[min(start + t, text.length - 1)]
            if start + t < text.length:
                work.targets[t, b] = work.inputs[t, b]
            elif start + t == text.length:
                work.targets[t, b] = text.end


cdef double _score_texts(AnyWorkspace work, Call* call) noexcept nogil:
    """Add up the losses of texts after the state; return the sum of all."""
    cdef Scoring* texts = <Scoring*>call.arguments
    cdef Py_ssize_t start = 0, t, b
    cdef double total = 0
    call.ahead = True
    _lay_out(work, call)
    while start < call.n:
        _load_texts(work, call, texts, start)
        _forward(work, call)
        if _is_stopped(call.check):
            break
        for t in range(call.rows):
            for b in range(work.B):
                if work.targets[t, b] != IGNORED:
                    texts[b].sum += work.nll[t, b]
        if call.nll != NULL:
            memcpy(call.nll + start * work.B, &work.nll[0, 0], call.rows * work.B * sizeof(double))
        _carry(work, call.rows)
        start += call.rows
    for b in range(work.B):
        total += texts[b].sum
    return total


cdef double _feed(AnyWorkspace work, Call* call) noexcept nogil:
    """Lead the state through the inputs."""
    cdef Span span = Span(0, work.B, work.B, 0, 0, 0)
    cdef Py_ssize_t start = 0
    _lay_out(work, call)
    while start < call.n and not _is_stopped(call.check):
        _load(work, call, start, work.T)
        span.t1 = span.T = call.rows
        _states(work, call, &span)
        _carry(work, call.rows)
        start += call.rows
    return 0


cdef void _one_step(AnyWorkspace work, Call* call) noexcept nogil:
    """Lead the states of all streams through the first row of the window."""
    cdef Span span = Span(0, work.B, work.B, 0, 1, 1)
    _states(work, call, &span)
    _carry(work, 1)


cdef void _next_logits(AnyWorkspace work, Call* call) noexcept nogil:
    """p[0] = the logits of what follows the state."""
    cdef Span span = Span(0, work.B, work.B, 0, 1, 1)
    _logits(work, call, &span, 0)


cdef double _next_probs(AnyWorkspace work, Call* call) noexcept nogil:
    """`call.arguments` (B, V) = the probabilities of what follows the state, which stays."""
    cdef double* p = <double*>call.arguments
    cdef Py_ssize_t V = work.plan.V, b, v
    cdef double wrong = 0
    _lay_out(work, call)
    _next_logits(work, call)
    for b in range(work.B):
        if _should_stop(call.check, 10 * V):
            break
        wrong += softmax_forward(V, &work.p[0, b, 0], IGNORED)
        for v in range(V):
            p[b * V + v] = work.p[0, b, v]
    return wrong


cdef double _next_nll(AnyWorkspace work, Call* call) noexcept nogil:
    """The losses of targets that follow the state, which stays; return their sum."""
    cdef Py_ssize_t b
    cdef double total = 0
    _lay_out(work, call)
    _next_logits(work, call)
    for b in range(work.B):
        if _should_stop(call.check, 10 * work.plan.V):
            break
        call.nll[b] = softmax_forward(work.plan.V, &work.p[0, b, 0], call.targets[b])
        total += call.nll[b]
    return total


cdef double _next_log_probs(AnyWorkspace work, Call* call) noexcept nogil:
    """`call.arguments` (B, V) = the log-probabilities of what follows the state."""
    cdef double* log_p = <double*>call.arguments
    cdef Py_ssize_t V = work.plan.V, b
    cdef double total = 0
    _lay_out(work, call)
    _next_logits(work, call)
    for b in range(work.B):
        if _should_stop(call.check, 10 * V):
            break
        total += log_softmax(V, &work.p[0, b, 0], log_p + b * V)
    return total


cdef double _window(AnyWorkspace work, Call* call) noexcept nogil:
    """Run one window from the state, which stays: states and logits."""
    cdef Span span = Span(0, work.B, work.B, 0, call.n, call.n)
    _lay_out(work, call)
    _load(work, call, 0, work.T)
    _states(work, call, &span)
    _network_logits(work, call, &span, 1)
    return 0


cdef double _softmax_rows(AnyWorkspace work, Call* call) noexcept nogil:
    """Turn the logits of the window into probabilities."""
    cdef Py_ssize_t t, b
    cdef double wrong = 0
    for t in range(call.rows):
        for b in range(work.B):
            wrong += softmax_forward(work.plan.V, &work.p[t, b, 0], IGNORED)
    return wrong


cdef double _run_gradient(AnyWorkspace work, Call* call) noexcept nogil:
    """The gradient of one window; return its loss."""
    _lay_out(work, call)
    _load(work, call, 0, work.T)
    _forward(work, call)
    _whole_gradient(work, call)
    return _loss(work, call)


cdef double _run_backward(AnyWorkspace work, Call* call) noexcept nogil:
    """The gradient of one window whose states and probabilities are given."""
    _lay_out(work, call)
    _load(work, call, 0, work.T)
    _whole_gradient(work, call)
    return 0


cdef void _whole_gradient(AnyWorkspace work, Call* call) noexcept nogil:
    _mark_used(work, call)
    _clear(work.plan.size, &work.gradient[0])
    _backward(work, call)
    _gradient(work, call)


cdef double _run_update(AnyWorkspace work, Call* call) noexcept nogil:
    _learn(work, call, <Update*>call.arguments)
    return 0
