# What Python calls. Part of _core.pyx.
#
# A door takes a workspace, which knows its network and all sizes, and trusts nothing else: it checks what it is given, works on copies that
# no other thread can reach, and only then releases the GIL. It is there once for both precisions; what it calls then, once for each.


cdef enum:
    SLOW = 1_000_000_000     # floating-point operations of a training step: 10 ms and more


def initialize(OwnedNetwork network not None, double scale, random):
    """Fill the matrices of a network with random numbers, row by row, and the biases with 0; random (1,) of uint64 moves on.

    They are normal with standard deviation scale; or, if that is 0, uniform up to 1 / sqrt(units) of their layer, as is usual for cells
    with gates.
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
                    row[j] = scale * normal(&states[0]) if scale > 0 else width * (2 * uniform(&states[0]) - 1)
            numbers[i] = drawn
            PyErr_CheckSignals()
    random[...] = states


def evaluate(Workspace work, inputs, targets):
    """Run windows of work's length over inputs (N, B), carrying the state; return the loss of each target, float64 (N, B)."""
    _check_whole(work, False)
    cdef const int[:, ::1] x = check_ids("inputs", inputs, 0, work.plan.V, (None, work.B))
    cdef const int[:, ::1] y = check_ids("targets", targets, IGNORED, work.plan.V, (x.shape[0], work.B))
    cdef double[:, ::1] nll = _empty((x.shape[0], work.B))
    cdef double total = 0
    cdef int stopped = 0
    cdef Watch watch = _new_watch(work, &stopped)
    with nogil:
        if work.single:
            total = _evaluate(<Workspace32>work, x, y, nll, &watch)
        else:
            total = _evaluate(<Workspace64>work, x, y, nll, &watch)
    _raise_interruption(work)
    _check_possible(total)
    return np.asarray(nll)


def feed(Workspace work, inputs):
    """Lead the state through inputs (N, B)."""
    _check_whole(work, False)
    cdef const int[:, ::1] x = check_ids("inputs", inputs, 0, work.plan.V, (None, work.B))
    cdef int stopped = 0
    cdef Watch watch = _new_watch(work, &stopped)
    with nogil:
        if work.single:
            _feed(<Workspace32>work, x, &watch)
        else:
            _feed(<Workspace64>work, x, &watch)
    _raise_interruption(work)


def following(Workspace work, targets):
    """Return the probabilities (B, V) of what follows the state, which stays, and the loss of targets (B,), float64 (B,)."""
    _check_whole(work, False)
    cdef const int[::1] y = check_ids("targets", targets, IGNORED, work.plan.V, (work.B,))
    cdef double[::1] nll = _empty(work.B)
    cdef double total = 0
    cdef int stopped = 0
    cdef Watch watch = _new_watch(work, &stopped)
    with nogil:
        if work.single:
            total = _following(<Workspace32>work, y, nll, &watch)
        else:
            total = _following(<Workspace64>work, y, nll, &watch)
    _raise_interruption(work)
    _check_possible(total)
    return work.probabilities.view()[0, :, :work.plan.V].copy(), np.asarray(nll)


def window(Workspace work, inputs):
    """Run inputs (at most T, B) from the state, which stays; return the states (rows + 1, B, width) and the logits (rows, B, V)."""
    _check_whole(work, False)
    cdef const int[:, ::1] x = check_ids("inputs", inputs, 0, work.plan.V, (None, work.B))
    cdef Py_ssize_t rows = min(x.shape[0], work.T)
    cdef int stopped = 0
    cdef Watch watch = _new_watch(work, &stopped)
    with nogil:
        if work.single:
            _window(<Workspace32>work, x, rows, &watch)
        else:
            _window(<Workspace64>work, x, rows, &watch)
    _raise_interruption(work)
    return work.states.view()[:rows + 1].copy(), work.probabilities.view()[:rows, :, :work.plan.V].copy()


def softmax(Workspace work, logits):
    """Return the probabilities of logits (at most T, B, V), in work's dtype."""
    _check_whole(work, False)
    given = check_array("logits", logits, "float64", (None, work.B, work.plan.V))[:work.T]
    cdef Py_ssize_t rows = len(given)
    cdef double wrong
    p = work.probabilities.view()[:rows, :, :work.plan.V]
    with np.errstate(over="ignore"):
        p[...] = given
    wrong = _softmax_rows(<Workspace32>work, rows) if work.single else _softmax_rows(<Workspace64>work, rows)
    _check_possible(wrong)
    return p.copy()


def backward(Workspace work, inputs, targets, states, probabilities):
    """Return the gradient (not clipped) of inputs and targets (at most T, B), from the states (rows + 1, B, state_size) before and after
    each character and the probabilities (rows, B, V), as `Parameters`. The network must be one vanilla layer.
    """
    _check_whole(work, True)
    cdef const int[:, ::1] x = check_ids("inputs", inputs, 0, work.plan.V, (None, work.B))
    cdef Py_ssize_t rows = check_size("the length of inputs", x.shape[0], 1, work.T)
    cdef const int[:, ::1] y = check_ids("targets", targets, IGNORED, work.plan.V, (rows, work.B))
    if work.plan.layers[0].sums != work.plan.layers[0].column or work.plan.n_layers > 1:
        raise ValueError(f"only the gradient of one vanilla layer follows from its states, not that of {work.network.description}")
    units, p = work.network.description.units, work.probabilities.view()[:rows]
    given = check_array("probabilities", probabilities, "float64", (rows, work.B, work.plan.V))
    work.states.view()[:rows + 1, :, units] = check_array("states", states, "float64", (rows + 1, work.B, len(units)))
    p[...] = 0
    p[:, :, :work.plan.V] = given
    return _gradient_of_window(work, x, y, rows, False)[1]


def gradient(Workspace work, inputs, targets, *, double dropout=0, unsigned long long masks=0, unsigned long long step=0):
    """Return the losses (rows, B) of inputs and targets (at most T, B), from the state, which stays, and the gradient as `Parameters`.

    The gradient is that of the sum over the rows and the mean over the streams, not clipped. dropout is the part of the outputs that is
    dropped, masks the seed of which ones, step the number of the step, from 0 on.
    """
    _check_whole(work, True)
    cdef const int[:, ::1] x = check_ids("inputs", inputs, 0, work.plan.V, (None, work.B))
    cdef Py_ssize_t rows = check_size("the length of inputs", x.shape[0], 1, work.T)
    cdef const int[:, ::1] y = check_ids("targets", targets, IGNORED, work.plan.V, (rows, work.B))
    work.masks, work.step = masks, step
    return _gradient_of_window(work, x, y, rows, True, _check_dropout(dropout))


cdef _gradient_of_window(
    Workspace work, const int[:, ::1] x, const int[:, ::1] y, Py_ssize_t rows, bint forward, double dropout=0,
):
    """Return losses and gradient of a window; forward: whether states and probabilities are to be made, some outputs being dropped."""
    cdef int stopped = 0
    cdef Watch watch = _new_watch(work, &stopped)
    _make_room(work, 1, dropout, False)
    with nogil:
        _load(work, x, y, 0, rows)
        if work.single:
            _window_gradient(<Workspace32>work, rows, forward, dropout, &watch)
        else:
            _window_gradient(<Workspace64>work, rows, forward, dropout, &watch)
    _raise_interruption(work)
    if forward:
        _check_possible(_total(work.nll, work.targets, rows))
    found = Parameters(work.network.description, work.network.dtype)
    found.block[...] = work.slope.view()
    return np.array(work.nll[:rows]), found


def update(Workspace work, Parameters gradient not None, double rate):
    """Apply one Adagrad update to the network."""
    _check_whole(work, True)
    if gradient.description != work.network.description:
        raise ValueError(f"the gradient is of another network ({gradient.description}), not of this one ({work.network.description})")
    if work.network.optimizer != "adagrad":
        raise ValueError(f"the optimizer of this network is {work.network.optimizer}, not adagrad")
    work.slope.view()[...] = gradient.block
    work.used[:] = 1
    cdef Update change = Update(ADAGRAD, rate, INFINITY, 1, 0, 1, 1)
    with nogil:
        if work.single:
            _learn_all(<Workspace32>work, &change)
        else:
            _learn_all(<Workspace64>work, &change)


def train_steps(
    Workspace work, inputs, targets, length, *, rates, double clip, double clip_norm, double decay, double dropout,
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
    cdef bint cautious = may_overflow(work.network, np.max(each, initial=0), min(clip, clip_norm * T), decay)
    cdef Crew crew = Crew(
        work=<void*>work, update=Update(work.network.rule, 0, clip, 1, decay, 1, 1), clip_norm=clip_norm, dropout=_check_dropout(dropout),
        first=first, reset=reset, rows=0, parts=1, doing=OVER, slow=slow, cautious=cautious, stopped=0, overflowed=0, members=NULL,
    )
    threads = _some_threads(threads, work)
    work.masks = masks
    _make_room(work, threads, dropout, cautious)
    _assemble(&crew, threads)
    with nogil:
        if work.single:
            done = _train(<Workspace32>work, &crew, x, y, T, each, losses)
        else:
            done = _train(<Workspace64>work, &crew, x, y, T, each, losses)
    _dismiss(&crew)
    work.losses = np.asarray(losses)[:done]
    work.steps += done
    work.overflowed = ("", "loss", "gradient", "update of the weights")[crew.overflowed]
    _raise_interruption(work)
    return work.losses


def may_overflow(OwnedNetwork network not None, double rate, double clip, double decay):
    """Return whether a step may change a number to infinity: weights change by at most some times rate, by SGD rate times the clipped
    gradient, memories by at most the square of that; and by their decay, where that is more than they are.
    """
    cdef double largest = np.finfo(network.dtype).max
    cdef double change = rate * (clip if network.rule == SGD else 1)
    return not (change <= 1e-9 * largest and clip <= 1e-5 * sqrt(largest) and rate * decay <= 1)


def sample(
    Workspace work, n, random, allowed, past, *, double temperature, double top_p, double min_p, top_k, no_repeat,
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
        if work.single:
            possible = _sample(<Workspace32>work, ids, first, states, mask, left, &controls, &watch)
        else:
            possible = _sample(<Workspace64>work, ids, first, states, mask, left, &controls, &watch)
    _raise_interruption(work)
    _check_possible(0.0 if possible else NAN)
    random[...] = states
    return np.asarray(ids)[first:]


def search(Workspace work, n, scores, ended, allowed, boundary):
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
        if work.single:
            possible = _search(<Workspace32>work, end, mask, ids, parents, old_scores, new_scores, old_ended, new_ended, &watch)
        else:
            possible = _search(<Workspace64>work, end, mask, ids, parents, old_scores, new_scores, old_ended, new_ended, &watch)
    _raise_interruption(work)
    _check_possible(0.0 if possible else NAN)
    return np.asarray(ids), np.asarray(parents), np.asarray(old_scores), np.asarray(old_ended)


cdef bint _make_room(Workspace work, int threads, double dropout, bint cautious) except False:
    """Give a workspace room for what threads pack of its windows, for outputs of which some are dropped, and to go back a step."""
    cdef Py_ssize_t packs = threads * PACK_NUMBERS if work.T * work.B >= PACK_FROM else 0
    cdef Py_ssize_t before = work.plan.size * (2 if work.network.momentum is None else 3) if cautious else 0
    if work.single:
        _enlarge(<Workspace32>work, dropout > 0, packs, before)
    else:
        _enlarge(<Workspace64>work, dropout > 0, packs, before)
    return True


cdef _enlarge(AnyWorkspace work, bint dropped, Py_ssize_t packs, Py_ssize_t before):
    dtype = work.network.dtype
    if dropped and work.dropped.shape[0] == 0:
        work.dropped = _empty((work.T, work.B, work.plan.outputs), dtype)
    if work.packs.shape[0] < packs:
        work.packs = _empty(packs, dtype)
    if work.before.shape[0] < before:
        work.before = _empty(before, dtype)


# ------------------------------------------------------------------------------------------------------------------ checks

cdef int _some_threads(int threads, Workspace work) noexcept:
    """How many threads share a step: no more than there are streams."""
    return <int>max(1, min(min(threads, MAX_THREADS), work.B))


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


def repeat(Workspace work, part, Py_ssize_t n):
    """Do one of the PARTS of a training step n times, on what is in the workspace: for benchmarks."""
    _check_whole(work, True)
    cdef int number = PARTS.index(part)
    cdef Py_ssize_t _i
    cdef int stopped = 0
    cdef Watch watch = _new_watch(work, &stopped)
    _make_room(work, 1, 0, False)
    with nogil:
        if work.single:      # a step in shards may have been the last
            _reset(<Workspace32>work, work.T)
        else:
            _reset(<Workspace64>work, work.T)
        for _i in range(n):
            if _stopped(&watch, UNWATCHED // 100):
                break
            if work.single:
                _one_part(<Workspace32>work, number, &watch)
            else:
                _one_part(<Workspace64>work, number, &watch)
    _raise_interruption(work)


cdef void _one_part(AnyWorkspace work, int number, Watch* watch) noexcept nogil:
    cdef Span span = Span(0, work.B, work.B, 0, work.T, work.T)
    cdef Part whole = Part(0, 1)
    cdef Update change = Update(ADAGRAD, 0.1, 5, 1, 0, 1, 1)
    if number == 0:
        _states(work, &span, watch)
    elif number == 1:
        _logits(work, &span, 1, watch)
    elif number == 2:
        _softmax_rows(work, work.T)
    elif number == 3:
        _forward(work, 0, work.B, work.T, watch)
        _backward(work, 0, work.B, work.T, watch)
    elif number == 4:
        _gradient(work, work.T, &whole, watch)
    elif number == 5:
        _learn(work, &change, &whole)
    else:
        _lay_out(work, &whole, watch)


def cpu_level():
    """The highest of "baseline", "v3" (AVX2, FMA), "v4" (AVX-512) that this processor and its operating system run."""
    return ("baseline", "v3", "v4")[charrnn_cpu_level()]
