# What Python calls. Part of _core.pyx.
#
# An entry point takes a workspace, which knows its network and all sizes, and trusts nothing else:
# it checks its arguments, works on copies that no other thread can reach, and only then releases
# the GIL. It exists once for both precisions; `_run` chooses the kernel.

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer

cdef enum:
    SLOW = 1_000_000_000     # floating-point operations of a training step: 10 ms and more


cdef bint _run(Workspace work, Call* call, Kernel single, Kernel double_) except False:
    """Run a kernel; raise what ended it, or DivergedError if it returned NaN."""
    cdef InterruptCheck check = _new_check(work, NULL)
    call.check = &check
    wrong = _compute(work, call, single, double_)
    _raise_interruption(work)
    return _check_possible(wrong)


cdef double _compute(Workspace work, Call* call, Kernel single, Kernel double_) noexcept:
    with nogil:
        return single(work, call) if work.single else double_(work, call)


def initialize(OwnedNetwork network not None, double scale, random):
    """Fill the matrices of a network with random numbers, row by row, and the biases with 0.

    They are normal with standard deviation scale; or, if that is 0, uniform up to 1 / sqrt(units)
    of their layer, as is usual for cells with gates. random (1,) of uint64 moves on.
    """
    cdef unsigned long long[::1] states = check_array("random", random, "uint64", (1,))
    cdef double[::1] row
    cdef double width
    cdef Py_ssize_t j
    for name, numbers in network.weights.views().items():
        if numbers.ndim == 1:
            numbers[...] = 0
            continue
        width = 1 / sqrt(len(numbers) if name == "Why" else numbers.shape[1])
        drawn = _empty(numbers.shape[1])
        row = drawn
        for i in range(len(numbers)):
            with nogil:
                for j in range(row.shape[0]):
                    if scale > 0:
                        row[j] = scale * normal(&states[0])
                    else:
                        row[j] = width * (2 * uniform(&states[0]) - 1)
            numbers[i] = drawn
            PyErr_CheckSignals()
    random[...] = states


# ------------------------------------------------------------------------------- without training

def evaluate(Workspace work, inputs, targets):
    """Run windows of work's length over inputs (N, B), carrying the state.

    Return the loss of each target, float64 (N, B).
    """
    _check_workspace(work, False)
    cdef const int[:, ::1] x, y
    x, y = _check_windows(work, inputs, targets)
    cdef double[:, ::1] nll = _empty((x.shape[0], work.B))
    cdef Call call = _window_call(work, x, y, nll)
    _run(work, &call, <Kernel>_evaluate[Workspace32], <Kernel>_evaluate[Workspace64])
    return np.asarray(nll)


def score_texts(Workspace work, ids, lengths, int end, bint each):
    """Read B texts, whose ids lie one after the other, from the state, which moves on.

    Return the sum of the losses of each, a list; with each, the losses themselves, float64
    (rows, B), 0 where a text has ended. Behind its last symbol is end; IGNORED: nothing.
    """
    _check_workspace(work, False)
    ids = check_ids("ids", ids, 0, work.plan.V, (None,))
    cdef const int* inputs = <const int*>_numbers(ids)
    cdef tuple sizes = tuple(lengths)
    cdef Py_ssize_t n_ids = len(ids), first = 0, rows = 0, n, b
    if len(sizes) != work.B or not IGNORED <= end < work.plan.V:
        raise ValueError(f"{work.B} texts have {len(sizes)} lengths, and their end is {end}")
    cdef Scoring* texts = <Scoring*>calloc(work.B, sizeof(Scoring))
    if texts == NULL:
        raise MemoryError("no memory for texts")
    try:
        for b in range(work.B):
            n = sizes[b]
            if not 0 <= n <= n_ids - first:
                raise ValueError(f"lengths must be those of {n_ids} ids, not {sizes}")
            texts[b].length, texts[b].end = n, end
            if n > 0:
                texts[b].ids = inputs + first
            first, rows = first + n, max(rows, n)
        return _total_losses(work, texts, rows + (end != IGNORED), each)
    finally:
        free(texts)


cdef _total_losses(Workspace work, Scoring* texts, Py_ssize_t rows, bint each):
    cdef Call call = _new_call(work, rows)
    cdef double[:, ::1] losses
    cdef Py_ssize_t b
    call.arguments = texts
    if each:
        nll = _empty((rows, work.B))
        losses = nll
        call.nll = &losses[0, 0] if rows else NULL
    _run(work, &call, <Kernel>_score_texts[Workspace32], <Kernel>_score_texts[Workspace64])
    if each:
        return nll
    sums = []
    for b in range(work.B):
        sums.append(texts[b].sum)
    return sums


def feed(Workspace work, inputs):
    """Lead the state through inputs (N, B)."""
    _check_workspace(work, False)
    inputs = check_ids("inputs", inputs, 0, work.plan.V, (None, work.B))
    cdef Call call = _new_call(work, len(inputs))
    call.inputs = call.targets = <const int*>_numbers(inputs)
    _run(work, &call, <Kernel>_feed[Workspace32], <Kernel>_feed[Workspace64])


def next_probs(Workspace work):
    """Return the probabilities (B, V) of what follows the state, which stays, float64."""
    _check_workspace(work, False)
    p = _empty((work.B, work.plan.V))
    cdef Call call = _new_call(work, 1)
    call.arguments = _numbers(p)
    _run(work, &call, <Kernel>_next_probs[Workspace32], <Kernel>_next_probs[Workspace64])
    return p


def next_nll(Workspace work, targets):
    """Return the loss of targets (B,) that follow the state, which stays, float64 (B,)."""
    _check_workspace(work, False)
    cdef const int[::1] y = check_ids("targets", targets, IGNORED, work.plan.V, (work.B,))
    nll = _empty(work.B)
    cdef double[::1] losses = nll
    cdef Call call = _new_call(work, 1)
    call.targets, call.nll = &y[0], &losses[0]
    _run(work, &call, <Kernel>_next_nll[Workspace32], <Kernel>_next_nll[Workspace64])
    return nll


def read_counting(Workspace work, inputs, targets):
    """Run windows over inputs (N, 1), carrying the state, with counts of what has been read.

    Return the loss of each target, float64 (N, 1), which is then counted; and the probabilities of
    what follows the last input, (V,). An IGNORED target counts nothing, nor does its input.
    """
    _check_workspace(work, False)
    cdef const int[:, ::1] x, y
    x, y = _check_windows(work, inputs, targets)
    cdef double[:, ::1] nll = _empty((x.shape[0], work.B))
    cdef Call call = _window_call(work, x, y, nll)
    if work.recent is None:
        raise ValueError("this workspace counts nothing")
    _run(work, &call, <Kernel>_read_counting[Workspace32], <Kernel>_read_counting[Workspace64])
    p = _empty(work.plan.V)
    cdef double[::1] row = p
    cdef Py_ssize_t v
    for v in range(work.plan.V):
        row[v] = work.recent.recent.p[v]
    return np.asarray(nll), p


def next_log_probs(Workspace work):
    """Return the log-probabilities (B, V) of what follows the state, which stays, float64."""
    _check_workspace(work, False)
    cdef double[:, ::1] log_p = _empty((work.B, work.plan.V))
    cdef Call call = _new_call(work, 1)
    call.arguments = &log_p[0, 0]
    _run(work, &call, <Kernel>_next_log_probs[Workspace32], <Kernel>_next_log_probs[Workspace64])
    return np.asarray(log_p)


def mixture(Workspace work, inputs, targets):
    """Run windows over inputs (N, B), carrying the state, in a network that counts are mixed with.

    Return the loss of all targets, and its first and second derivatives by the weights of network
    and counts: 0, 1, 00, 01, 11.
    """
    _check_workspace(work, False)
    cdef const int[:, ::1] x, y
    x, y = _check_windows(work, inputs, targets)
    cdef Mixture sums
    cdef Call call = _window_call(work, x, y, None)
    if work.ngrams == NULL:
        raise ValueError("no counts are mixed with this network")
    memset(&sums, 0, sizeof(Mixture))
    call.arguments = &sums
    _run(work, &call, <Kernel>_mixture[Workspace32], <Kernel>_mixture[Workspace64])
    return sums.loss, (sums.d0, sums.d1), ((sums.d00, sums.d01), (sums.d01, sums.d11))


def window(Workspace work, inputs):
    """Run inputs (at most T, B) from the state, which stays.

    Return the states (rows + 1, B, width) and the logits (rows, B, V).
    """
    _check_workspace(work, False)
    cdef const int[:, ::1] x = check_ids("inputs", inputs, 0, work.plan.V, (None, work.B))
    cdef Call call = _window_call(work, x[:work.T], x, None)
    cdef Py_ssize_t rows = call.n
    _run(work, &call, <Kernel>_window[Workspace32], <Kernel>_window[Workspace64])
    logits = work.probabilities.view()[:rows, :, :work.plan.V]
    return work.states.view()[:rows + 1].copy(), logits.copy()


def softmax(Workspace work, logits):
    """Return the probabilities of logits (at most T, B, V), in work's dtype."""
    _check_workspace(work, False)
    shape = None, work.B, work.plan.V
    given = check_array("logits", logits, "float64", shape)[:work.T]
    cdef Call call = _new_call(work, len(given))
    p = work.probabilities.view()[:call.n, :, :work.plan.V]
    with np.errstate(over="ignore"):
        p[...] = given
    _run(work, &call, <Kernel>_softmax_rows[Workspace32], <Kernel>_softmax_rows[Workspace64])
    return p.copy()


# ------------------------------------------------------------------------------- gradients

def gradient(Workspace work, inputs, targets, settings):
    """Return the losses (rows, B) of inputs and targets (at most T, B), from the state, which
    stays, and the gradient as `Parameters`.

    It is the gradient of the sum over the rows and the mean over the streams, not clipped. Of the
    settings, fields of the struct, those of dropout count.
    """
    _check_workspace(work, True)
    cdef const int[:, ::1] x, y
    x, y = _check_windows(work, inputs, targets, 1)
    cdef Call call = _window_call(work, x, y, None)
    call.backward = True
    _set_dropout(&call, settings)
    _set_precision(work, &call, settings)
    _make_room(work, &call, 1, 1, False)
    _run(work, &call, <Kernel>_run_gradient[Workspace32], <Kernel>_run_gradient[Workspace64])
    return np.array(work.nll[:call.n]), _copy_gradient(work)


def backward(Workspace work, inputs, targets, states, probabilities):
    """Return the gradient (not clipped) of inputs and targets (at most T, B) as `Parameters`.

    states (rows + 1, B, state_size) are those before and after each character, probabilities has
    the shape (rows, B, V). The network must be one vanilla layer.
    """
    _check_workspace(work, True)
    cdef const int[:, ::1] x, y
    x, y = _check_windows(work, inputs, targets, 1)
    cdef Py_ssize_t rows = x.shape[0]
    description = work.network.description
    if work.plan.layers[0].sums != work.plan.layers[0].column or work.plan.n_layers > 1:
        raise ValueError(
            "only the gradient of one vanilla layer follows from its states, "
            f"not that of {description}"
        )
    units, p = description.units, work.probabilities.view()[:rows]
    shapes = (rows, work.B, work.plan.V), (rows + 1, work.B, len(units))
    given = check_array("probabilities", probabilities, "float64", shapes[0])
    work.states.view()[:rows + 1, :, units] = check_array("states", states, "float64", shapes[1])
    p[...] = 0
    p[:, :, :work.plan.V] = given
    cdef Call call = _window_call(work, x, y, None)
    call.backward = True
    _make_room(work, &call, 1, 1, False)
    _run(work, &call, <Kernel>_run_backward[Workspace32], <Kernel>_run_backward[Workspace64])
    return _copy_gradient(work)


cdef _copy_gradient(Workspace work):
    """Return the gradient that is in a workspace, as new `Parameters`."""
    found = Parameters(work.network.description, work.network.dtype)
    found.block[...] = work.gradients.view()[:work.plan.size]
    return found


def update(Workspace work, Parameters gradient not None, double learning_rate):
    """Apply one Adagrad update to the network."""
    _check_workspace(work, True)
    if gradient.description != work.network.description:
        raise ValueError(
            f"the gradient is of another network ({gradient.description}), "
            f"not of this one ({work.network.description})"
        )
    if work.network.optimizer != "adagrad":
        raise ValueError(f"the optimizer of this network is {work.network.optimizer}, not adagrad")
    work.gradients.view()[:work.plan.size] = gradient.block
    work.used[:] = 1
    cdef Update change = Update(ADAGRAD, learning_rate, INFINITY, 1, 1, 0, 1, 1)
    cdef Call call = _new_call(work, 1)
    call.arguments = &change
    _run(work, &call, <Kernel>_run_update[Workspace32], <Kernel>_run_update[Workspace64])


# ------------------------------------------------------------------------------- training

def train_steps(
    Workspace work, inputs, targets, length, learning_rate, settings, *,
    bint reset, n_threads, shards, exchange, anchor, bint each,
):
    """Train on windows of length (at most T) characters over inputs (N, streams).

    The state is carried, or zero at the start of each window with reset. learning_rate is one
    number, or one for each window; settings are the fields of the struct, whose pull is toward the
    `Parameters` anchor, and needs one. The streams of the batch
    are those of work; with shards there may be fewer, so that all shards have as many. exchange, if
    it is not None, says which part of a larger batch they are (`training.mpi.Ranks`).

    Return the loss of each step, summed over its characters in all streams: fewer than N / length
    mean that the next step diverged, and was not applied. With each, return the loss of each target
    instead, (N, B) or fewer rows, before it is learned; in a workspace that counts what it reads,
    mixed with these counts.
    """
    _check_workspace(work, True)
    cdef Training training
    memset(&training, 0, sizeof(Training))
    cdef int n_shards = <int>check_size("shards", shards, 1, MAX_SHARDS)
    cdef const int[:, ::1] x, y
    # A process whose shards have none of the batch's streams takes part in the exchange.
    x, y = _check_windows(work, inputs, targets, 0, n_shards > 1, exchange is None)
    cdef double[:, ::1] nll = np.zeros((x.shape[0], work.B)) if each else None
    cdef Call call = _window_call(work, x, y, nll)
    call.n_shards = call.stop_shard = n_shards
    training.T = check_size("length", length, 1, work.T)
    training.steps = (x.shape[0] + training.T - 1) // training.T
    cdef const double[::1] rates = _check_rates(learning_rate, training.steps)
    cdef double[::1] losses = _empty(training.steps + 1)
    training.learning_rates = &rates[0] if training.steps else NULL
    training.losses = &losses[0]
    training.settings, training.reset = settings, reset
    _set_anchor(work, anchor, training.settings.pull)
    cdef const int[::1] rows
    if exchange is not None:
        training.exchange = <void*>exchange
        rows = _join(work, &call, exchange, training.steps, training.T)
        training.rows = &rows[0] if training.steps else NULL
    cdef Py_ssize_t here = call.stop_shard - call.first_shard
    if work.B % here:
        raise ValueError(f"{here} shards do not divide {work.B} streams")
    # Three passes through the network, each as long as a forward pass.
    cdef double operations = 3.0 * work.network.description.operations
    training.slow = operations * min(training.T, call.n) * work.B > SLOW
    training.cautious = _may_overflow(work.network, &training, np.max(rates, initial=0))
    training.pool.work, training.pool.single = <void*>work, work.single
    training.pool.call, training.pool.n_threads = &call, 1
    training.pool.update.optimizer = work.network.rule
    call.arguments, call.backward = &training, True
    _set_dropout(&call, training.settings)
    _set_precision(work, &call, training.settings)
    cdef int threads = <int>min(check_size("n_threads", n_threads, 1, INT_MAX), MAX_THREADS, work.B)
    _sum_shards(&training, 0, n_shards, 0)
    _make_room(work, &call, threads, training.n_slots, training.cautious)
    _start_threads(&training.pool, threads)
    call.check = NULL if training.exchange != NULL else &training.pool.workers[0].check
    _compute(work, &call, <Kernel>_train[Workspace32], <Kernel>_train[Workspace64])
    _end_threads(&training.pool)
    work.losses = np.asarray(losses)[:training.done]
    work.steps += training.done
    work.overflowed = ("", "loss", "gradient", "update of the weights")[training.overflowed]
    _raise_interruption(work)
    return np.asarray(nll)[:training.done * training.T] if each else work.losses


cdef _set_anchor(Workspace work, Parameters anchor, double pull):
    """Note where a pull is to; or raise ValueError if that is not the place for these weights."""
    if not 0 <= pull <= 1 or (pull > 0 and anchor is None):
        raise ValueError(f"a pull of {pull} needs an anchor, and to be between 0 and 1")
    if anchor is None:
        return
    if anchor.description != work.network.description or anchor.dtype is not work.network.dtype:
        raise ValueError(
            f"the anchor is of another network ({anchor.description}, {anchor.dtype}), "
            f"not of this one ({work.network.description}, {work.network.dtype})"
        )
    if work.single:
        (<Workspace32>work).anchor = anchor.numbers
    else:
        (<Workspace64>work).anchor = anchor.numbers


cdef _join(Workspace work, Call* call, exchange, Py_ssize_t steps, Py_ssize_t T):
    """Note which part of a batch and of the weights is here; return the rows of each window."""
    first, stop = exchange.shards
    call.stop_shard = <int>check_size("stop", stop, 1, call.n_shards)
    call.first_shard = <int>check_size("first", first, 0, call.stop_shard - 1)
    first, stop = exchange.weight_rows
    call.row1 = check_size("stop", stop, 0, work.plan.n_rows)
    call.row0 = check_size("first", first, 0, call.row1)
    call.batch_size = check_size("batch_size", exchange.batch_size, 1, INT_MAX)
    return check_ids("window_rows", exchange.window_rows, 1, T + 1, (steps,))


cdef bint _may_overflow(OwnedNetwork network, const Training* training, double learning_rate):
    """Whether a step may change a number to infinity.

    Weights change by at most a few times the learning rate, by SGD times the clipped gradient, and
    what the optimizer keeps by at most its square; and by their decay, if that is more than they
    are.
    """
    cdef double largest = np.finfo(network.dtype).max, clip = training.settings.clip_value
    clip = min(clip, training.settings.clip_norm * training.T)
    if learning_rate * training.settings.weight_decay > 1 or not clip <= 1e-5 * sqrt(largest):
        return True
    return not learning_rate * (clip if network.rule == SGD else 1) <= 1e-9 * largest


# ------------------------------------------------------------------------------- drawing

def sample(Workspace work, n, random, allowed, past, controls):
    """Draw n ids in each stream, each fed back, from the state, which moves on: int32 (n, B).

    random (B,) of uint64 holds generator states, which move on; allowed (V,) of int8, or None, says
    which symbols may be drawn; past (m, B), or None, has the ids before, for no_repeat; controls
    are the fields of the struct.
    """
    _check_workspace(work, False)
    cdef Py_ssize_t V = work.plan.V, first = 0, rows
    if past is not None:
        past = check_ids("past", past, 0, V, (None, work.B))[-LOOK_BACK:]
        first = len(past)
    allowed = np.ones(V, np.int8) if allowed is None else allowed
    moved = check_array("random", random, "uint64", (work.B,))
    allowed = check_array("allowed", allowed, "int8", (V,))
    cdef const signed char* mask = <const signed char*>_numbers(allowed)
    rows = first + check_size("n", n, 0, INT_MAX)
    drawn = _empty((rows + 1, work.B), np.int32)
    cdef signed char[::1] left
    cdef Drawing drawing = Drawing(
        controls, _check_allowed(mask, V), first, <int*>_numbers(drawn),
        <unsigned long long*>_numbers(moved), mask, NULL,
    )
    if drawing.controls.top_k < 1 or not 0 <= drawing.controls.no_repeat <= LOOK_BACK:
        raise ValueError(f"top_k must be at least 1, no_repeat from 0 to {LOOK_BACK}")
    if drawing.controls.no_repeat:
        left = _empty(V, np.int8)
        drawing.left = &left[0]
    if first:
        drawn[:first] = past
    cdef Call call = _new_call(work, rows - first)
    call.arguments = &drawing
    _run(work, &call, <Kernel>_sample[Workspace32], <Kernel>_sample[Workspace64])
    random[...] = moved
    return drawn[first:rows]


def search(Workspace work, n, scores, ended, allowed, boundary):
    """Extend B texts by n ids, keeping the B most probable at each; boundary ends a text, -1 if
    nothing does.

    Return the ids and which text each extends, int32 (n, B), and the new scores and ended.
    """
    _check_workspace(work, False)
    cdef Py_ssize_t B = work.B, V = work.plan.V, steps = check_size("n", n, 0, INT_MAX)
    cdef double[::1] old_scores = check_array("scores", scores, "float64", (B,))
    cdef signed char[::1] old_ended = check_array("ended", ended, "int8", (B,))
    allowed = check_array("allowed", allowed, "int8", (V,))
    cdef const signed char* mask = <const signed char*>_numbers(allowed)
    cdef int[:, ::1] ids = _empty((steps + 1, B), np.int32), parents = ids.copy()
    cdef double[::1] new_scores = old_scores.copy()
    cdef signed char[::1] new_ended = old_ended.copy()
    cdef Search search = Search(
        <int>check_size("boundary", boundary, -1, V - 1), mask, &ids[0, 0], &parents[0, 0],
        &old_scores[0], &new_scores[0], &old_ended[0], &new_ended[0],
    )
    _check_allowed(mask, V)
    if work.T < 2:
        raise ValueError("a search needs a workspace of two time steps")
    cdef Call call = _new_call(work, steps)
    call.arguments = &search
    _run(work, &call, <Kernel>_search[Workspace32], <Kernel>_search[Workspace64])
    found = np.asarray(ids)[:steps], np.asarray(parents)[:steps]
    return *found, np.asarray(old_scores), np.asarray(old_ended)


# ------------------------------------------------------------------------------- room

cdef bint _make_room(
    Workspace work, const Call* call, int n_threads, int n_slots, bint cautious,
) except False:
    """Give a workspace room for what threads pack, for sums of gradients, for outputs of which some
    are dropped, for rounded weights, and to undo a step.
    """
    cdef bint packs_some = call.bfloat16 or work.T * work.B >= PACK_FROM
    cdef Py_ssize_t packs = n_threads * call.pack if packs_some else 0
    cdef Py_ssize_t kept = 2 if work.network.momentum is None else 3
    cdef Py_ssize_t before = work.plan.size * kept if cautious else 0
    if work.single:
        _enlarge(<Workspace32>work, call, packs, before, n_slots)
    else:
        _enlarge(<Workspace64>work, call, packs, before, n_slots)
    return True


cdef _enlarge(
    AnyWorkspace work, const Call* call, Py_ssize_t packs, Py_ssize_t before, int n_slots,
):
    cdef Memory larger
    dtype = work.network.dtype
    if call.in_panels and work.panels.shape[0] == 0:
        work.panels = new_memory((work.plan.size,), dtype)
    if call.dropout > 0 and work.dropped.shape[0] == 0:
        work.dropped = _empty((work.T, work.B, work.plan.outputs), dtype)
    if work.packs.shape[0] < packs:
        work.packs = new_memory((packs,), dtype)
    if work.before.shape[0] < before:
        work.before = _empty(before, dtype)
    if work.gradient.shape[0] < n_slots * work.plan.size:
        larger = new_memory((n_slots * work.plan.size,), dtype)
        work.gradient = larger
        work.gradients = larger


# ------------------------------------------------------------------------------- checks

cdef tuple _check_windows(
    Workspace work, inputs, targets, bint one=False, bint fewer=False, int least=1,
):
    """Return checked copies of inputs and targets (N, B): of one window, if one; with fewer than B
    streams, but so many at least, if that is allowed.
    """
    cdef tuple shape = (None, None if fewer else work.B)
    x = check_ids("inputs", inputs, 0, work.plan.V, shape)
    if one:
        check_size("the length of inputs", len(x), 1, work.T)
    if fewer:
        check_size("the number of streams", x.shape[1], least, work.B)
    return x, check_ids("targets", targets, IGNORED, work.plan.V, x.shape)


@cython.boundscheck(False)       # there may be no rows
cdef Call _window_call(
    Workspace work, const int[:, ::1] x, const int[:, ::1] y, double[:, ::1] nll,
) noexcept:
    """Return a call on inputs x and targets y (N, streams); nll (N, B) or None gets the losses."""
    cdef Call call = _new_call(work, x.shape[0])
    call.inputs, call.targets, call.streams = &x[0, 0], &y[0, 0], x.shape[1]
    call.batch_size = x.shape[1]
    if nll is not None:
        call.nll = &nll[0, 0]
    return call


cdef bint _set_dropout(Call* call, Settings settings) except False:
    if not 0 <= settings.dropout < 1:
        raise ValueError(f"dropout must be at least 0 and below 1, not {settings.dropout}")
    call.dropout, call.dropout_seed = settings.dropout, settings.dropout_seed
    call.step = settings.first_step
    return True


cdef bint _set_precision(Workspace work, Call* call, Settings settings) except False:
    """Have the products of a call round their operands, if the settings say so."""
    if settings.precision == FLOAT32:
        return True
    if settings.precision != BFLOAT16 or not work.single:
        raise ValueError(
            "precision must be 'float32', or 'bfloat16' with a network of float32, "
            f"which this one of {work.network.dtype} is not"
        )
    call.bfloat16 = call.in_panels = True
    call.pack = rounded_numbers(&work.plan)
    return True


cdef _check_rates(learning_rate, Py_ssize_t windows):
    """Return the learning rate of each window."""
    rates = np.array(learning_rate)      # what is checked is a copy
    shapes = (), (1,), (windows,)
    if rates.dtype.kind not in "fiu" or rates.shape not in shapes or not (rates >= 0).all():
        raise ValueError(
            f"learning_rate must be a number of at least 0, or one for each of {windows} windows, "
            f"not {short_repr(learning_rate)}"
        )
    return np.broadcast_to(rates.astype(np.float64), windows).copy()


cdef void* _numbers(array) except NULL:
    """Where a C-ordered array begins, while something refers to it: an array that only its caller
    knows is as safe as a view, which costs more.
    """
    cdef Py_buffer buffer
    PyObject_GetBuffer(array, &buffer, PyBUF_SIMPLE)
    PyBuffer_Release(&buffer)
    return buffer.buf


cdef bint _check_allowed(const signed char* mask, Py_ssize_t V) except -1:
    """Return whether anything is forbidden; or raise ValueError if everything is."""
    cdef Py_ssize_t v, forbidden = 0
    for v in range(V):
        forbidden += mask[v] == 0
    if forbidden == V:
        raise ValueError("allowed must leave at least one symbol")
    return forbidden > 0


cdef bint _check_workspace(Workspace work, bint training) except False:
    """Raise unless this is a complete workspace, and one to train in if that is needed."""
    if work is None or not work.complete:
        raise TypeError("work must be a workspace")
    if training and not work.training:
        raise ValueError("this workspace is not for training: make it with training=True")
    return True


cdef bint _check_possible(double nll) except False:
    """Raise if a loss is NaN."""
    if nll != nll:
        raise DivergedError(
            "the probabilities of the next character are not finite, or all that is allowed is "
            "impossible: weights of this network are infinite, NaN or too large"
        )
    return True


def cpu_level():
    """Return the highest of "baseline", "v3" (AVX2, FMA), "v4" (AVX-512) that this processor and
    its operating system run.
    """
    return ("baseline", "v3", "v4")[charrnn_cpu_level()]
