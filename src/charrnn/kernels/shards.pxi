# Steps of a batch in shards. Part of _core.pyx.
#
# The gradient of a step is the sum of those of its shards, each of every so many streams, in a binary tree that is the same whoever adds
# up which part of it: in one process, or in several that each have some of the streams and own some of the weights. A step is four calls,
# in this order, between which those processes send each other what they lack:
#
#     shard_gradients    streams forward and backward, and the sums of the parts of the tree that are whole here
#     shard_squares      takes the sum over all shards of some rows of the gradient in; what its norm is made of
#     shard_update       clips these rows and updates their weights
#     shard_carry        the step is done: the states move on, and its loss counts
#
# Rows are those of all matrices, one after the other, of which each bias is one.

cdef enum:
    MAX_SHARDS = 4096

cdef void _add_next_slot(AnyWorkspace work, const Part* part) noexcept nogil:
    """Add one part of what is in the slot above to a slot."""
    cdef Py_ssize_t size = work.plan.size, j = _share(size, part.number, part.of), n = _share(size, part.number + 1, part.of) - j
    if n > 0:
        _add(n, &work.sums[work.slot * size + j], &work.gradient[j] if work.slot == 0 else &work.sums[(work.slot - 1) * size + j])


cdef void _sum_shards(
    AnyWorkspace work, Crew* crew, const int[::1] numbers, Py_ssize_t streams, Py_ssize_t shards, const int[:, ::1] program,
) noexcept nogil:
    """Run the window that is loaded, then do what a program says: pairs (shard, slot), or (-1, slot) to add the slot above."""
    cdef Py_ssize_t i
    _reset(work, crew.rows)
    work.numbers[:] = numbers
    work.streams, work.shards = streams, shards
    work.used[:] = 1           # so that rows of characters that are not in use are 0: another shard may have them
    _together(work, crew, LAY_OUT)
    work.dropout = crew.dropout
    _together(work, crew, STREAMS)
    for i in range(program.shape[0]):
        if charrnn_get(&crew.stopped):
            return
        work.shard, work.slot = program[i, 0], program[i, 1]
        _together(work, crew, ADD if work.shard < 0 else GRADIENT)


cdef _have_sums(AnyWorkspace work):
    work.sums = work.slots


def shard_gradients(
    Workspace work, inputs, targets, numbers, streams, shards, program, kept, *, double dropout, unsigned long long masks,
    unsigned long long step, int threads,
):
    """Run a window, (rows, B), from the state, which stays, and sum the gradients of its shards.

    numbers (B,) are those of the streams of work in a batch of so many streams, over which the gradient is the mean. Shard j is every
    shards-th stream of work from number j on. program, int32 (n, 2), is what to do one after the other: (j, slot) makes the gradient of
    shard j, (-1, slot) adds slot + 1 to a slot. The other arguments are those of `train_steps`, step being the number of the step.

    kept, if it is not None, is an array (any, size) that gets a copy of the first slots: where there are large ones in each step, new
    memory would cost more than the copy.

    Return the loss of each stream, summed over its targets, float64 (B,), and whether the gradient is bounded.
    """
    _check_whole(work, True)
    cdef const int[:, ::1] x = check_ids("inputs", inputs, 0, work.plan.V, (None, work.B))
    cdef Py_ssize_t rows = check_size("the length of inputs", x.shape[0], 1, work.T), t, b
    cdef const int[:, ::1] y = check_ids("targets", targets, IGNORED, work.plan.V, (rows, work.B))
    cdef const int[::1] places = check_ids("numbers", numbers, 0, INT_MAX, (work.B,))
    cdef Py_ssize_t batch = check_size("streams", streams, 1, INT_MAX), every = check_size("shards", shards, 1, min(work.B, MAX_SHARDS))
    cdef const int[:, ::1] todo = check_ids("program", program, -1, every, (None, 2))
    cdef Py_ssize_t slots = 1
    cdef double[::1] losses = np.zeros(work.B)
    cdef Crew crew = Crew(
        work=<void*>work, update=Update(ADAGRAD, 0, 0, 1, 0, 1, 1), clip_norm=INFINITY,
        dropout=_check_dropout(dropout), first=step, reset=False, rows=rows, parts=1, doing=OVER, slow=True, cautious=False, stopped=0,
        overflowed=0, members=NULL,
    )
    if work.B % every:
        raise ValueError(f"{every} shards do not divide {work.B} streams")
    for t in range(todo.shape[0]):
        if todo[t, 1] < 0:
            raise ValueError(f"program[{t}, 1] must be a slot, not {todo[t, 1]}")
        slots = max(slots, todo[t, 1] + 1 + (todo[t, 0] < 0))
    if kept is not None:
        kept = np.asarray(kept)
        if kept.ndim != 2 or kept.shape[1] != work.plan.size or not 1 <= kept.shape[0] <= slots:
            raise ValueError(f"kept must be of shape (1 to {slots}, {work.plan.size}), not {kept.shape}")
    threads = _some_threads(threads, work)
    _make_room(work, threads, dropout, False)
    if work.slots.shape[0] < (slots - 1) * work.plan.size:      # the first is the gradient
        work.slots = new_memory(((slots - 1) * work.plan.size,), work.network.dtype)
        if work.single:
            _have_sums(<Workspace32>work)
        else:
            _have_sums(<Workspace64>work)
    work.masks, work.step = masks, step
    _load(work, x, y, 0, rows)
    _assemble(&crew, threads)
    with nogil:
        if work.single:
            _sum_shards(<Workspace32>work, &crew, places, batch, every, todo)
        else:
            _sum_shards(<Workspace64>work, &crew, places, batch, every, todo)
    bounded = _all_bounded(&crew)
    _dismiss(&crew)
    if kept is not None:
        kept[0] = work.slope.view()
        kept[1:] = work.slots.view()[:(len(kept) - 1) * work.plan.size].reshape(-1, work.plan.size)
    _raise_interruption(work)
    for t in range(rows):
        for b in range(work.B):
            losses[b] += work.nll[t, b] if y[t, b] != IGNORED else 0
    return np.asarray(losses), bounded


# ------------------------------------------------------------------------------------------------------------------ rows of the weights

cdef Py_ssize_t _row_start(const Plan* plan, Py_ssize_t row) noexcept nogil:
    """Where a row of the matrices begins in a block of parameters."""
    cdef int i
    for i in range(plan.n_matrices):
        if row < plan.matrices[i].rows:
            return plan.matrices[i].start + row * plan.matrices[i].ld
        row -= plan.matrices[i].rows
    return plan.size


def shard_squares(Workspace work, sums, first, stop):
    """Take in the sum over all shards of rows first to stop of the gradient, or None if it is in work already.

    Return the sum of squares of each row, float64 (stop - first,).
    """
    _check_whole(work, True)
    cdef Py_ssize_t b = check_size("stop", stop, 0, work.plan.n_rows), a = check_size("first", first, 0, b)
    cdef Part whole = Part(0, 1)
    work.row0, work.row1 = a, b
    if sums is not None:
        work.slope.view()[_row_start(&work.plan, a):_row_start(&work.plan, b)] = sums
    with nogil:
        if work.single:
            _square(<Workspace32>work, &whole)
        else:
            _square(<Workspace64>work, &whole)
    return np.array(work.squares[a:b])


def shard_update(Workspace work, first, stop, *, double rate, double clip, double scale, double decay, unsigned long long step):
    """Update rows first to stop of the weights by the gradient that was taken in, from its norm multiplied by scale."""
    _check_whole(work, True)
    cdef Py_ssize_t b = check_size("stop", stop, 0, work.plan.n_rows), a = check_size("first", first, 0, b)
    cdef Update change = Update(work.network.rule, 0, clip, 1, decay, 1, 1)
    _set_update(&change, rate, step + 1)
    cdef Part whole = Part(0, 1)
    change.scale, work.row0, work.row1 = scale, a, b
    with nogil:
        if work.single:
            _learn(<Workspace32>work, &change, &whole)
        else:
            _learn(<Workspace64>work, &change, &whole)


def shard_carry(Workspace work, rows, losses):
    """Count a step of so many rows as done: losses are those of the steps of a call so far, this one among them."""
    _check_whole(work, True)
    cdef Py_ssize_t size = check_size("rows", rows, 1, work.T)
    checked = check_array("losses", losses, "float64", (None,))
    if work.single:
        _carry(<Workspace32>work, size)
    else:
        _carry(<Workspace64>work, size)
    work.losses = checked
    work.steps += 1
