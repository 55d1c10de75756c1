# What Python calls. Part of _core.pyx.
#
# A door takes a workspace, which knows its network and all sizes, and trusts nothing else: it checks what it is given, works on copies that
# no other thread can reach, and only then releases the GIL.


cdef enum:
    SLOW = 1_000_000_000     # floating-point operations of a training step: 10 ms and more


def initialize(AnyWorkspace work, double scale, random):
    """Fill the matrices of the network with random numbers, row by row; random (1,) of uint64 moves on. Forget gates begin open, at 1.

    They are normal with standard deviation scale; or, if that is 0, uniform up to 1 / sqrt(units) of their layer, as is usual for cells
    with gates.
    """
    _check_whole(work, False)
    cdef unsigned long long[::1] states = check_array("random", random, "uint64", (1,))
    cdef Py_ssize_t start, rows, columns, ld, i, j
    cdef double width
    for name, (start, rows, columns, ld, bias) in work.network.description.tensors.items():
        width = 1 / sqrt(rows if name == "Why" else columns)
        if bias:
            for j in range(columns):
                work.weights[start + j] = name.startswith("bf")
            continue
        with nogil:
            for i in range(rows):
                for j in range(columns):
                    if scale > 0:
                        work.weights[start + i * ld + j] = scale * normal(&states[0])
                    else:
                        work.weights[start + i * ld + j] = width * (2 * uniform(&states[0]) - 1)
    random[...] = states


def evaluate(AnyWorkspace work, inputs, targets):
    """Run windows of work's length over inputs (N, B), carrying the state; return the loss of each target, float64 (N, B)."""
    _check_whole(work, False)
    cdef const int[:, ::1] x = check_ids("inputs", inputs, 0, work.plan.V, (None, work.B))
    cdef const int[:, ::1] y = check_ids("targets", targets, IGNORED, work.plan.V, (x.shape[0], work.B))
    cdef double[:, ::1] nll = _empty((x.shape[0], work.B))
    cdef Py_ssize_t window, start, rows
    cdef double total = 0
    cdef int stopped = 0
    cdef Watch watch = _new_watch(work, &stopped)
    with nogil:
        _begin(work, x.shape[0], &watch)
        for window in range((x.shape[0] + work.T - 1) // work.T):
            start = window * work.T
            rows = min(work.T, x.shape[0] - start)
            _load(work, x, y, start, rows)
            _forward(work, 0, work.B, rows, &watch)
            if charrnn_get(&stopped):
                break
            nll[start:start + rows] = work.nll[:rows]
            total += _total(work.nll, work.targets, rows)
            _carry(work, rows)
    _raise_interruption(work)
    _check_possible(total)
    return np.asarray(nll)


def feed(AnyWorkspace work, inputs):
    """Lead the state through inputs (N, B)."""
    _check_whole(work, False)
    cdef const int[:, ::1] x = check_ids("inputs", inputs, 0, work.plan.V, (None, work.B))
    cdef Span span
    cdef Py_ssize_t start = 0, rows
    cdef int stopped = 0
    cdef Watch watch = _new_watch(work, &stopped)
    with nogil:
        _begin(work, x.shape[0], &watch)
        while start < x.shape[0] and not charrnn_get(&stopped):
            rows = min(work.T, x.shape[0] - start)
            span = Span(0, work.B, work.B, 0, rows, rows)
            _load(work, x, x, start, rows)
            _states(work, &span, &watch)
            _carry(work, rows)
            start += rows
    _raise_interruption(work)


def following(AnyWorkspace work, targets):
    """Return the probabilities (B, V) of what follows the state, which stays, and the loss of targets (B,), float64 (B,)."""
    _check_whole(work, False)
    cdef const int[::1] y = check_ids("targets", targets, IGNORED, work.plan.V, (work.B,))
    cdef double[::1] nll = _empty(work.B)
    cdef Py_ssize_t b
    cdef double total = 0
    cdef int stopped = 0
    cdef Watch watch = _new_watch(work, &stopped)
    with nogil:
        _begin(work, 1, &watch)
        _next_logits(work, &watch)
        for b in range(work.B):
            if _stopped(&watch, 10 * work.plan.V):
                break
            nll[b] = _softmax(work.plan.V, &work.p[0, b, 0], y[b])
            total += nll[b]
    _raise_interruption(work)
    _check_possible(total)
    return np.array(work.p[0, :, :work.plan.V]), np.asarray(nll)


def window(AnyWorkspace work, inputs):
    """Run inputs (at most T, B) from the state, which stays; return the states (rows + 1, B, width) and the logits (rows, B, V)."""
    _check_whole(work, False)
    cdef const int[:, ::1] x = check_ids("inputs", inputs, 0, work.plan.V, (None, work.B))
    cdef Py_ssize_t rows = min(x.shape[0], work.T)
    cdef Span span = Span(0, work.B, work.B, 0, rows, rows)
    cdef int stopped = 0
    cdef Watch watch = _new_watch(work, &stopped)
    with nogil:
        _begin(work, rows, &watch)
        _load(work, x, x, 0, rows)
        _states(work, &span, &watch)
        _logits(work, &span, 1, &watch)
    _raise_interruption(work)
    return np.array(work.hs[:rows + 1]), np.array(work.p[:rows, :, :work.plan.V])


def softmax(AnyWorkspace work, logits):
    """Return the probabilities of logits (at most T, B, V), in work's dtype."""
    _check_whole(work, False)
    cdef const double[:, :, ::1] x = check_array("logits", logits, "float64", (None, work.B, work.plan.V))
    cdef Py_ssize_t rows = min(x.shape[0], work.T), t, b, v
    cdef double wrong = 0
    for t in range(rows):
        for b in range(work.B):
            for v in range(x.shape[2]):
                work.p[t, b, v] = x[t, b, v]
            wrong += _softmax(x.shape[2], &work.p[t, b, 0], IGNORED)
    _check_possible(wrong)
    return np.array(work.p[:rows, :, :work.plan.V])


def backward(AnyWorkspace work, inputs, targets, states, probabilities):
    """Return the gradient (not clipped) of inputs and targets (at most T, B), from the states (rows + 1, B, state_size) before and after
    each character and the probabilities (rows, B, V), as `Parameters`. The network must be one vanilla layer.
    """
    _check_whole(work, True)
    cdef const int[:, ::1] x = check_ids("inputs", inputs, 0, work.plan.V, (None, work.B))
    cdef Py_ssize_t rows = check_size("the length of inputs", x.shape[0], 1, work.T), t, b, v
    cdef const int[:, ::1] y = check_ids("targets", targets, IGNORED, work.plan.V, (rows, work.B))
    cdef const double[:, :, ::1] p = check_array("probabilities", probabilities, "float64", (rows, work.B, work.plan.V))
    if work.plan.layers[0].sums != work.plan.layers[0].column or work.plan.n_layers > 1:
        raise ValueError(f"only the gradient of one vanilla layer follows from its states, not that of {work.network.description}")
    units = work.network.description.units
    np.asarray(work.hs)[:rows + 1, :, units] = check_array("states", states, "float64", (rows + 1, work.B, len(units)))
    for t in range(rows):
        for b in range(work.B):
            for v in range(work.p.shape[2]):
                work.p[t, b, v] = p[t, b, v] if v < p.shape[2] else 0
    return _gradient_of_window(work, x, y, rows, False, None)[1]


def gradient(AnyWorkspace work, inputs, targets, *, double dropout=0, unsigned long long masks=0, unsigned long long step=0):
    """Return the losses (rows, B) of inputs and targets (at most T, B), from the state, which stays, and the gradient as `Parameters`.

    The gradient is that of the sum over the rows and the mean over the streams, not clipped. dropout is the part of the outputs that is
    dropped, masks the seed of which ones, step the number of the step, from 0 on.
    """
    _check_whole(work, True)
    cdef const int[:, ::1] x = check_ids("inputs", inputs, 0, work.plan.V, (None, work.B))
    cdef Py_ssize_t rows = check_size("the length of inputs", x.shape[0], 1, work.T)
    cdef const int[:, ::1] y = check_ids("targets", targets, IGNORED, work.plan.V, (rows, work.B))
    return _gradient_of_window(work, x, y, rows, True, (_check_dropout(dropout), masks, step))


cdef _gradient_of_window(AnyWorkspace work, const int[:, ::1] x, const int[:, ::1] y, Py_ssize_t rows, bint forward, masks):
    """Return losses and gradient of a window; forward: whether states and probabilities are to be made, with dropout if there are masks."""
    cdef Part whole = Part(0, 1)
    cdef int stopped = 0
    cdef Watch watch = _new_watch(work, &stopped)
    cdef double dropout = 0
    _make_packs(work, 1)
    if masks is not None:
        dropout, work.masks, work.step = masks
        _make_dropped(work, dropout)
    with nogil:
        _load(work, x, y, 0, rows)
        _mark_used(work, rows)
        _clear(work.plan.size, &work.gradient[0])
        _begin(work, rows, &watch)
        work.dropout = dropout
        if forward:
            _forward(work, 0, work.B, rows, &watch)
        _backward(work, 0, work.B, rows, &watch)
        _gradient(work, rows, &whole, &watch)
    _raise_interruption(work)
    if forward:
        _check_possible(_total(work.nll, work.targets, rows))
    found = Parameters(work.network.description, work.network.dtype)
    found.block[...] = work.gradient
    return np.array(work.nll[:rows]), found


def update(AnyWorkspace work, Parameters gradient not None, double rate):
    """Apply one Adagrad update to the network."""
    _check_whole(work, True)
    if gradient.description != work.network.description:
        raise ValueError(f"the gradient is of another network ({gradient.description}), not of this one ({work.network.description})")
    if work.network.optimizer != "adagrad":
        raise ValueError(f"the optimizer of this network is {work.network.optimizer}, not adagrad")
    np.asarray(work.gradient)[...] = gradient.block
    cdef Update change = Update(ADAGRAD, rate, INFINITY, 1, 0, 1, 1)
    with nogil:
        _adagrad(work.plan.size, &work.weights[0], &work.memory[0], &work.gradient[0], &change, <double>1)


def train_steps(
    AnyWorkspace work, inputs, targets, length, *, rates, double clip, double clip_norm, double decay, double dropout,
    unsigned long long masks, unsigned long long first, bint reset, int threads,
):
    """Train on windows of length (at most T) characters over inputs (N, B), carrying the state; with reset, each begins with zero.

    rates has the learning rate of each; clip bounds each element of the gradient, clip_norm the norm of that of the loss of a character.
    masks is the seed of what is dropped, first the number of the first step, from 0 on.

    Return the loss of each, summed over T and B: fewer than N / length means that the next step diverged, and was not applied.
    """
    _check_whole(work, True)
    cdef const int[:, ::1] x = check_ids("inputs", inputs, 0, work.plan.V, (None, work.B))
    cdef const int[:, ::1] y = check_ids("targets", targets, IGNORED, work.plan.V, (x.shape[0], work.B))
    cdef Py_ssize_t T = check_size("length", length, 1, work.T), steps = (x.shape[0] + T - 1) // T, done
    cdef const double[::1] each = check_array("rates", rates, "float64", (steps,))
    cdef double[::1] losses = _empty(steps)
    # Three passes through the network, each as long as a forward pass.
    cdef bint slow = 3 * work.network.description.operations * min(T, x.shape[0]) * work.B > SLOW
    cdef int optimizer = ("adagrad", "sgd", "rmsprop", "adam").index(work.network.optimizer)
    cdef bint cautious = _may_overflow(work.network, np.max(rates, initial=0), min(clip, clip_norm * T))
    cdef Crew crew = Crew(
        work=<void*>work, single=AnyWorkspace is Workspace32, update=Update(optimizer, 0, clip, 1, decay, 1, 1), clip_norm=clip_norm,
        dropout=_check_dropout(dropout), first=first, reset=reset, rows=0, parts=1, doing=OVER, slow=slow, cautious=cautious, stopped=0,
        overflowed=0, members=NULL,
    )
    if cautious and (work.before is None or work.before.shape[0] == 0):
        work.before = _empty(2 * work.plan.size + work.momentum.shape[0], work.network.dtype)
    work.masks = masks
    _make_dropped(work, dropout)
    _make_packs(work, max(1, min(threads, work.B)))
    _assemble(&crew, max(1, min(threads, work.B)))
    with nogil:
        done = _train(work, &crew, x, y, T, each, losses)
    _dismiss(&crew)
    work.losses = np.asarray(losses)[:done]
    work.steps += done
    work.overflowed = ("", "loss", "gradient", "update of the weights")[crew.overflowed]
    _raise_interruption(work)
    return work.losses


cdef bint _may_overflow(network, rate, clip) except -1:
    """Whether a step may change a number to infinity: weights change by at most some times rate, by SGD rate times the clipped gradient,
    memories by at most the square of that.
    """
    largest = float(np.finfo(network.dtype).max)
    return not (rate * (clip if network.optimizer == "sgd" else 1) <= 1e-9 * largest and clip <= 1e-5 * sqrt(largest))


def sample(
    AnyWorkspace work, n, random, allowed, past, *, double temperature, double top_p, double min_p, top_k, no_repeat,
):
    """Draw n ids in each stream, each fed back, from the state, which moves on; return them, int32 (n, B).

    random (B,) of uint64 holds generator states, which move on; allowed (V,) of int8 tells what may be drawn; past (m, B) has the ids
    before, for no_repeat.
    """
    _check_whole(work, False)
    cdef Py_ssize_t V = work.plan.V, repeat = check_size("no_repeat", no_repeat, 0, LOOK_BACK), first
    cdef unsigned long long[::1] states = check_array("random", random, "uint64", (work.B,))
    cdef const signed char[::1] mask = check_array("allowed", allowed, "int8", (V,))
    cdef bint restricted = _check_allowed(mask)
    cdef signed char[::1] left = _empty(V, np.int8)
    cdef Controls controls = Controls(
        temperature, top_p, min_p, check_size("top_k", top_k, 1, INT_MAX), repeat, repeat > 0 or restricted,
    )
    if not (temperature >= 0 and 0 < top_p <= 1 and 0 <= min_p <= 1):
        raise ValueError(f"temperature={temperature}, top_p={top_p}, min_p={min_p}: expected at least 0, above 0 to 1, 0 to 1")
    cdef const int[:, ::1] before = check_ids("past", past, 0, V, (None, work.B))
    first = before.shape[0]
    cdef int[:, ::1] ids = _empty((first + check_size("n", n, 0, INT_MAX), work.B), np.int32)
    cdef bint possible
    cdef int stopped = 0
    cdef Watch watch = _new_watch(work, &stopped)
    ids[:first] = before
    with nogil:
        _begin(work, ids.shape[0] - first, &watch)
        possible = _sample(work, ids, first, states, mask, left, &controls, &watch)
    _raise_interruption(work)
    _check_possible(0.0 if possible else NAN)
    random[...] = states
    return np.asarray(ids)[first:]


def search(AnyWorkspace work, n, scores, ended, allowed, boundary):
    """Extend B texts by n ids, keeping the B most probable at each; boundary ends a text, -1 if nothing does.

    Return the ids and which text each extends, int32 (n, B), and the new scores and ended.
    """
    _check_whole(work, False)
    cdef Py_ssize_t V = work.plan.V
    cdef double[::1] old_scores = check_array("scores", scores, "float64", (work.B,)), new_scores = old_scores.copy()
    cdef signed char[::1] old_ended = check_array("ended", ended, "int8", (work.B,)), new_ended = old_ended.copy()
    cdef const signed char[::1] mask = check_array("allowed", allowed, "int8", (V,))
    cdef int end = <int>check_size("boundary", boundary, -1, V - 1)
    shape = check_size("n", n, 0, INT_MAX), work.B
    _check_allowed(mask)
    cdef int[:, ::1] ids = _empty(shape, np.int32), parents = _empty(shape, np.int32)
    cdef bint possible
    if work.T < 2:
        raise ValueError("a search needs a workspace of two time steps")
    cdef int stopped = 0
    cdef Watch watch = _new_watch(work, &stopped)
    with nogil:
        _begin(work, ids.shape[0], &watch)
        possible = _search(work, end, mask, ids, parents, old_scores, new_scores, old_ended, new_ended, &watch)
    _raise_interruption(work)
    _check_possible(0.0 if possible else NAN)
    return np.asarray(ids), np.asarray(parents), np.asarray(old_scores), np.asarray(old_ended)


cdef _make_dropped(AnyWorkspace work, double dropout):
    """Give a workspace room for outputs of which some are dropped."""
    if dropout > 0 and work.dropped.shape[0] == 0:
        work.dropped = _empty((work.T, work.B, work.plan.outputs), work.network.dtype)


cdef _make_packs(AnyWorkspace work, int threads):
    """Give a workspace room for what threads pack of its windows."""
    if work.T * work.B >= PACK_FROM and work.packs.shape[0] < threads * PACK_NUMBERS:
        work.packs = _empty(threads * PACK_NUMBERS, work.network.dtype)


# ------------------------------------------------------------------------------------------------------------------ checks

cdef double _check_dropout(double dropout) except -1:
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be at least 0 and below 1, not {dropout}")
    return dropout


cdef bint _check_allowed(const signed char[::1] mask) except -1:
    """Return whether anything is not allowed; or raise ValueError if nothing is."""
    cdef Py_ssize_t v, forbidden = 0
    for v in range(mask.shape[0]):
        forbidden += mask[v] == 0
    if forbidden == mask.shape[0]:
        raise ValueError("allowed must leave at least one symbol")
    return forbidden > 0


cdef bint _check_whole(Workspace work, bint training) except False:
    """Raise if this is no workspace that is whole, or not one to train in where that is needed."""
    if work is None or not work.whole:
        raise TypeError("work must be a workspace")
    if training and not work.training:
        raise ValueError("this workspace is not for training: make it with training=True")
    return True


cdef bint _check_possible(double nll) except False:
    """Raise if a loss is NaN."""
    if nll != nll:
        raise DivergedError(
            "the probabilities of the next character are not finite, or all that is allowed is impossible: "
            "weights of this network are infinite, NaN or too large"
        )
    return True


# ------------------------------------------------------------------------------------------------------------------ the processor

def fma_chains(Py_ssize_t n):
    """Run n times as many independent multiply-adds as fill the registers; return how many operations that was: the peak of this core."""
    check_size("n", n, 0, 1_000_000)  # some 30 ms
    cdef float acc[CHAINS]
    cdef float total = 0
    cdef Py_ssize_t _i, j
    with nogil:
        for j in range(CHAINS):
            acc[j] = <float>j
        for _i in range(n):
            for j in range(CHAINS):
                acc[j] = fma[float](acc[j], <float>0.5, <float>1)
        for j in range(CHAINS):
            total += acc[j]
    return 2 * n * CHAINS if total > 0 else 0


PARTS = "states", "logits", "softmax", "streams", "gradient", "update", "layout"


def repeat(AnyWorkspace work, part, Py_ssize_t n):
    """Do one of the PARTS of a training step n times, on what is in the workspace: for benchmarks."""
    _check_whole(work, True)
    cdef int number = PARTS.index(part)
    cdef Py_ssize_t _i, t, b
    cdef Span span = Span(0, work.B, work.B, 0, work.T, work.T)
    cdef Part whole = Part(0, 1)
    cdef Update change = Update(ADAGRAD, 0.1, 5, 1, 0, 1, 1)
    cdef int stopped = 0
    cdef Watch watch = _new_watch(work, &stopped)
    _make_packs(work, 1)
    with nogil:
        for _i in range(n):
            if _stopped(&watch, UNWATCHED // 100):
                break
            if number == 0:
                _states(work, &span, &watch)
            elif number == 1:
                _logits(work, &span, 1, &watch)
            elif number == 2:
                for t in range(work.T):
                    for b in range(work.B):
                        work.nll[t, b] = _softmax(work.plan.V, &work.p[t, b, 0], work.targets[t, b])
            elif number == 3:
                _forward(work, 0, work.B, work.T, &watch)
                _backward(work, 0, work.B, work.T, &watch)
            elif number == 4:
                _gradient(work, work.T, &whole, &watch)
            elif number == 5:
                _learn(work, &change, &whole)
            else:
                _lay_out(work, &whole, &watch)
    _raise_interruption(work)


def cpu_level():
    """The highest of "baseline", "v3" (AVX2, FMA), "v4" (AVX-512) that this processor and its operating system run."""
    return ("baseline", "v3", "v4")[charrnn_cpu_level()]
