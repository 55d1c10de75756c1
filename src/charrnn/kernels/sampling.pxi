# Drawing symbols, and searching for the most probable texts. Part of _core.pyx.

cdef struct Controls:            # of Network.draw
    double temperature
    double top_p                 # 1: off
    double min_p                 # 0: off
    Py_ssize_t top_k             # V or more: off
    Py_ssize_t no_repeat         # 0: off

CONTROLS = Controls(1, 1, 0, INT_MAX, 0)     # neutral ones, a dictionary

cdef struct Drawing:             # a call of sample
    Controls controls
    bint restricted              # whether anything is not allowed
    Py_ssize_t start             # the ids before row number start are given
    int* ids                     # (start + n, B)
    unsigned long long* random   # (B,)
    const signed char* allowed   # (V,)
    signed char* left            # (V,)


cdef const signed char* _allowed_now(
    const Drawing* drawing, Py_ssize_t t, Py_ssize_t b, Py_ssize_t B, Py_ssize_t V,
) noexcept nogil:
    """Return the symbols that stream b may draw at time t: those allowed, but for any that would
    end a repetition of no_repeat symbols of its last LOOK_BACK; if none is left, those allowed.
    """
    cdef Py_ssize_t n = drawing.controls.no_repeat, last = t - n + 1, i, j, v
    cdef const int* ids = drawing.ids + b
    if n == 0:
        return drawing.allowed
    for v in range(V):
        drawing.left[v] = drawing.allowed[v]
    for i in range(max(0, t - LOOK_BACK), last):
        for j in range(n - 1):
            if ids[(i + j) * B] != ids[(last + j) * B]:
                break
        else:
            drawing.left[ids[(i + n - 1) * B]] = 0
    for v in range(V):
        if drawing.left[v]:
            return drawing.left
    return drawing.allowed


cdef double _top_k_or_p(Py_ssize_t V, real* p, Py_ssize_t k, double mass) noexcept nogil:
    """Keep the largest of V probabilities, equal ones from the first on, until they are k or sum to
    mass; clear the others. Return the sum of the kept.

    Bisection over all numbers in their order finds the smallest kept value without sorting: in at
    most 64 walks over p, 32 of float32.
    """
    cdef real low = 0, high = 1, middle
    cdef Py_ssize_t v, kept = 0
    cdef double total = 0
    # Values from low on are enough; those from high on are too few, or high is 1.
    while True:
        middle = bit_midpoint(low, high)
        if middle <= low:
            break
        kept, total = 0, 0
        for v in range(V):
            if p[v] >= middle:
                kept += 1
                total += p[v]
        if kept >= k or (kept and total >= mass):
            low = middle
        else:
            high = middle
    kept, total = 0, 0
    for v in range(V):
        if p[v] > low:
            kept += 1
            total += p[v]
    for v in range(V):
        if p[v] == low and kept < k and (total < mass or kept == 0):
            kept += 1
            total += p[v]
        elif p[v] <= low:
            p[v] = 0
    return total


cdef double _filter(Py_ssize_t V, real* p, const Controls* controls) noexcept nogil:
    """Clear the probabilities that top_k, then top_p of those left, then min_p exclude; return the
    sum of the others.
    """
    cdef double mass = 1
    cdef real least = 0
    cdef Py_ssize_t v
    if controls.top_k < V:
        mass = _top_k_or_p(V, p, controls.top_k, 2)
    if controls.top_p < 1:
        mass = _top_k_or_p(V, p, V, controls.top_p * mass)
    if controls.min_p > 0:
        for v in range(V):
            least = p[v] if p[v] > least else least
        least *= <real>controls.min_p
        mass = 0
        for v in range(V):
            p[v] = p[v] if p[v] >= least else 0
            mass += p[v]
    return mass


cdef int _sample_symbol(
    Py_ssize_t V, real* logits, const signed char* allowed, const Drawing* drawing,
    unsigned long long* random,
) noexcept nogil:
    """Draw from softmax(logits / temperature) of what is allowed, as filtered, or take the first
    largest at temperature 0; the logits are used up.

    Return IGNORED where there are no probabilities: a logit is NaN or +inf, or all that are
    allowed are -inf.
    """
    cdef double temperature = drawing.controls.temperature, rest, block
    cdef Py_ssize_t i, v, best = IGNORED
    if drawing.restricted or allowed != drawing.allowed:
        for v in range(V):
            logits[v] = logits[v] if allowed[v] else -INFINITY
    if temperature == 0:
        for v in range(V):
            if allowed[v] and (best == IGNORED or logits[v] > logits[best]):
                best = v
        # Only to learn whether there are probabilities: the largest would be the same.
        return IGNORED if softmax_forward(V, logits, IGNORED) != 0 else <int>best
    # Within these bounds no difference of logits overflows or becomes 0 times infinity.
    temperature = max(1e-28, min(1e30, 1 / max(temperature, 1e-30)))
    if softmax_forward(V, logits, IGNORED, <real>temperature) != 0:
        return IGNORED
    rest = uniform(random) * _filter(V, logits, &drawing.controls)
    for i in range(_lanes(V) // LANES):     # first the block, then the symbol: short chains
        block = _sum_lanes(logits + i * LANES)
        if rest < block:
            for v in range(i * LANES, min(V, (i + 1) * LANES)):
                rest -= logits[v]
                if rest < 0:
                    return <int>v
            break
        rest -= block
    for v in range(V):               # rounding left a rest: the last possible symbol
        best = v if logits[v] > 0 else best
    return <int>best


cdef double _sample(AnyWorkspace work, Call* call) noexcept nogil:
    """Draw the rows of ids from the start on, one after the other, feeding each back."""
    cdef Drawing* drawing = <Drawing*>call.arguments
    cdef Controls* controls = &drawing.controls
    cdef Py_ssize_t B = work.B, V = work.plan.V, t, b
    # A draw costs, beside the network, walks over all symbols, by the filters once for each bit.
    cdef Py_ssize_t walks = 10 if controls.top_k >= V and controls.top_p == 1 else 100
    cdef Py_ssize_t cost = walks * V + 2 * LOOK_BACK * controls.no_repeat
    cdef int symbol
    _lay_out(work, call)
    for t in range(drawing.start, drawing.start + call.n):
        _next_logits(work, call)
        for b in range(B):
            if _should_stop(call.check, cost):
                return 0
            symbol = _sample_symbol(
                V, &work.p[0, b, 0], _allowed_now(drawing, t, b, B, V), drawing, &drawing.random[b]
            )
            if symbol == IGNORED:
                return NAN
            drawing.ids[t * B + b] = work.inputs[0, b] = symbol
        _one_step(work, call)
    return 0


# ------------------------------------------------------------------------------- beam search

cdef struct Search:              # a call of search, for W texts
    int boundary                 # the id that ends a text, -1: none
    const signed char* allowed   # (V,)
    int* ids                     # (n, W), and
    int* parents                 # which text each extends
    double* scores               # (W,): sums of log-probabilities; -inf is no text
    double* new_scores
    signed char* ended           # (W,)
    signed char* new_ended

cdef struct Beam:                # the best continuations so far: a heap, the worst at its root
    double* scores
    int* parents
    int* ids


cdef bint _worse(const Beam* beam, Py_ssize_t i, Py_ssize_t j) noexcept nogil:
    """Whether number i is less probable than number j; of equals, the one found later is."""
    if beam.scores[i] != beam.scores[j]:
        return beam.scores[i] < beam.scores[j]
    if beam.parents[i] != beam.parents[j]:
        return beam.parents[i] > beam.parents[j]
    return beam.ids[i] > beam.ids[j]


cdef void _swap(const Beam* beam, Py_ssize_t i, Py_ssize_t j) noexcept nogil:
    beam.scores[i], beam.scores[j] = beam.scores[j], beam.scores[i]
    beam.parents[i], beam.parents[j] = beam.parents[j], beam.parents[i]
    beam.ids[i], beam.ids[j] = beam.ids[j], beam.ids[i]


cdef void _rise(const Beam* beam, Py_ssize_t i) noexcept nogil:
    """Let number i, the last, find its place in the heap."""
    while i > 0 and _worse(beam, i, (i - 1) // 2):
        _swap(beam, i, (i - 1) // 2)
        i = (i - 1) // 2


cdef void _sink(const Beam* beam, Py_ssize_t n) noexcept nogil:
    """Let the first find its place in a heap of n."""
    cdef Py_ssize_t i = 0, child = 1
    while child < n:
        if child + 1 < n and _worse(beam, child + 1, child):
            child += 1
        if not _worse(beam, child, i):
            return
        _swap(beam, i, child)
        i, child = child, 2 * child + 1


cdef double _extend(
    AnyWorkspace work, const Search* search, Py_ssize_t t, InterruptCheck* check,
) noexcept nogil:
    """Find the W best texts of one symbol more than W texts, best first, for row t of the ids.

    p[0] (W, Vp) holds the logits of what follows each, p[1] is scratch. A text that has ended stays
    as it is. Of equals the first counts. Return NaN where there are no probabilities.
    """
    cdef Py_ssize_t V = work.plan.V, W = work.B, w, v, best, found = 0
    cdef double* scores = search.new_scores
    cdef double base, score
    cdef Beam beam = Beam(scores, search.parents + t * W, search.ids + t * W)
    for w in range(W):
        if _should_stop(check, 20 * V):
            return 0
        if search.scores[w] - search.scores[w] != 0:
            continue
        logits, scratch = &work.p[0, w, 0], &work.p[1, w, 0]
        best = 0
        for v in range(V):
            scratch[v] = logits[v]
            best = v if logits[v] > logits[best] else best
        # Of the most probable; others are as far below as their logits.
        base = search.scores[w] - softmax_forward(V, scratch, <int>best)
        if base != base:
            return NAN
        for v in range(V):
            if search.ended[w]:
                if v != search.boundary:
                    continue
                score = search.scores[w]
            elif search.allowed[v]:
                score = base + (<double>logits[v] - <double>logits[best])
            else:
                continue
            if found < W:
                scores[found], beam.ids[found], beam.parents[found] = score, <int>v, <int>w
                _rise(&beam, found)
                found += 1
            elif score > scores[0]:
                scores[0], beam.ids[0], beam.parents[0] = score, <int>v, <int>w
                _sink(&beam, found)
    for w in range(found - 1, 0, -1):    # the worst of those left goes to their end
        if _should_stop(check, 100):
            return 0
        _swap(&beam, 0, w)
        _sink(&beam, w)
    for w in range(found, W):        # fewer continuations than places
        scores[w], beam.ids[w], beam.parents[w] = -INFINITY, 0, 0
    return 0


cdef double _search(AnyWorkspace work, Call* call) noexcept nogil:
    """Extend W texts by the rows of ids, keeping the W most probable at each."""
    cdef Search* search = <Search*>call.arguments
    cdef Py_ssize_t W = work.B, t, w, parent
    _lay_out(work, call)
    for t in range(call.n):
        _next_logits(work, call)
        wrong = _extend(work, search, t, call.check)
        if wrong != 0 or _is_stopped(call.check):
            return wrong
        for w in range(W):
            parent, work.inputs[0, w] = search.parents[t * W + w], search.ids[t * W + w]
            search.new_ended[w] = search.ended[parent] or work.inputs[0, w] == search.boundary
            _copy(work.plan.width, &work.hs[0, parent, 0], &work.hs[1, w, 0])
        _carry(work, 1)
        memcpy(search.scores, search.new_scores, W * sizeof(double))
        memcpy(search.ended, search.new_ended, W)
        _one_step(work, call)
    return 0
