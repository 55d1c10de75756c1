# Drawing characters, and searching the most probable. Part of _core.pyx.

cdef struct Controls:
    double temperature
    double top_p             # 1: off
    double min_p             # 0: off
    Py_ssize_t top_k         # V: off
    Py_ssize_t no_repeat     # 0: off
    bint restricted          # whether anything is not allowed


cdef bint _exclude_repeats(
    const int[:, ::1] ids, Py_ssize_t t, Py_ssize_t b, Py_ssize_t n, Py_ssize_t V, const signed char* allowed, signed char* left,
) noexcept nogil:
    """Make left what is allowed but for each character that would be the last of n that stream b has had before, in this order, within
    its LOOK_BACK ids before t; return whether there is any.
    """
    cdef Py_ssize_t i, j, v, last = t - n + 1
    for v in range(V):
        left[v] = allowed[v]
    for i in range(max(0, t - LOOK_BACK), last):
        for j in range(n - 1):
            if ids[i + j, b] != ids[last + j, b]:
                break
        else:
            left[ids[i + n - 1, b]] = 0
    for v in range(V):
        if left[v]:
            return True
    return False


cdef double _keep(Py_ssize_t V, real* p, Py_ssize_t most, double mass) noexcept nogil:
    """Keep the largest of V probabilities, equal ones from the first on, until they are `most` or sum to mass; return the sum of the kept.

    The smallest kept value is found by bisection over all numbers in their order, so that no order has to be made: at most 64 walks over
    p (32 of float32) rather than a sort.
    """
    cdef real low = 0, high = 1, middle
    cdef Py_ssize_t v, kept = 0
    cdef double total = 0
    while True:                      # low: values from it on are enough; high: values from it on are too few, or just above 1
        middle = bit_midpoint(low, high)
        if middle <= low:
            break
        kept, total = 0, 0
        for v in range(V):
            if p[v] >= middle:
                kept += 1
                total += p[v]
        if kept >= most or (kept and total >= mass):
            low = middle
        else:
            high = middle
    kept, total = 0, 0
    for v in range(V):
        if p[v] > low:
            kept += 1
            total += p[v]
    for v in range(V):
        if p[v] == low and kept < most and (total < mass or kept == 0):
            kept += 1
            total += p[v]
        elif p[v] <= low:
            p[v] = 0
    return total


cdef double _filter(Py_ssize_t V, real* p, const Controls* controls) noexcept nogil:
    """Clear the probabilities that top_k, then top_p of what is left, then min_p exclude; return the sum of the others."""
    cdef double mass = 1
    cdef real least = 0
    cdef Py_ssize_t v
    if controls.top_k < V:
        mass = _keep(V, p, controls.top_k, 2)
    if controls.top_p < 1:
        mass = _keep(V, p, V, controls.top_p * mass)
    if controls.min_p > 0:
        for v in range(V):
            least = p[v] if p[v] > least else least
        least *= <real>controls.min_p
        mass = 0
        for v in range(V):
            p[v] = p[v] if p[v] >= least else 0
            mass += p[v]
    return mass


cdef int _pick(Py_ssize_t V, real* logits, const signed char* allowed, const Controls* controls, unsigned long long* random) noexcept nogil:
    """Draw from softmax(logits / temperature) of what is allowed, as filtered, or take the first largest at temperature 0; the logits are
    used up. Return IGNORED where there are no probabilities: a logit is NaN or +inf, or all that are allowed are -inf.
    """
    cdef Py_ssize_t i, v, best = IGNORED
    cdef double rest, block
    if controls.restricted:
        for v in range(V):
            logits[v] = logits[v] if allowed[v] else -INFINITY
    if controls.temperature == 0:
        for v in range(V):
            if allowed[v] and (best == IGNORED or logits[v] > logits[best]):
                best = v
        # Only to know whether there are probabilities: the largest of them would be the same.
        return IGNORED if softmax_forward(V, logits, IGNORED) != 0 else <int>best
    # Within these bounds no difference of logits overflows or becomes 0 times infinity.
    if softmax_forward(V, logits, IGNORED, <real>max(1e-28, min(1e30, 1 / max(controls.temperature, 1e-30)))) != 0:
        return IGNORED
    rest = uniform(random) * _filter(V, logits, controls)
    for i in range(_lanes(V) // LANES):     # first which LANES of them, then which of those: shorter chains of sums
        block = _sum_lanes(logits + i * LANES)
        if rest < block:
            for v in range(i * LANES, min(V, (i + 1) * LANES)):
                rest -= logits[v]
                if rest < 0:
                    return <int>v
            break
        rest -= block
    for v in range(V):               # rounding has left rest at 0 or a little above: the last character that is possible
        best = v if logits[v] > 0 else best
    return <int>best


cdef struct Beam:            # the best continuations so far: a heap, the worst at its root
    double* scores
    int* parents
    int* ids


cdef bint _worse(const Beam* beam, Py_ssize_t i, Py_ssize_t j) noexcept nogil:
    """Whether number i is less probable than number j; of equals the one that was found later is."""
    if beam.scores[i] != beam.scores[j]:
        return beam.scores[i] < beam.scores[j]
    if beam.parents[i] != beam.parents[j]:
        return beam.parents[i] > beam.parents[j]
    return beam.ids[i] > beam.ids[j]


cdef void _exchange(const Beam* beam, Py_ssize_t i, Py_ssize_t j) noexcept nogil:
    beam.scores[i], beam.scores[j] = beam.scores[j], beam.scores[i]
    beam.parents[i], beam.parents[j] = beam.parents[j], beam.parents[i]
    beam.ids[i], beam.ids[j] = beam.ids[j], beam.ids[i]


cdef void _rise(const Beam* beam, Py_ssize_t i) noexcept nogil:
    """Let number i, the last, find its place in the heap."""
    while i > 0 and _worse(beam, i, (i - 1) // 2):
        _exchange(beam, i, (i - 1) // 2)
        i = (i - 1) // 2


cdef void _sink(const Beam* beam, Py_ssize_t n) noexcept nogil:
    """Let the first find its place in a heap of n."""
    cdef Py_ssize_t i = 0, child = 1
    while child < n:
        if child + 1 < n and _worse(beam, child + 1, child):
            child += 1
        if not _worse(beam, child, i):
            return
        _exchange(beam, i, child)
        i, child = child, 2 * child + 1


cdef bint _extend(
    Py_ssize_t V, int boundary, const signed char* allowed, real[:, :, ::1] p, const signed char* ended, const double* scores,
    int* ids, int* parents, double* new_scores, Watch* watch,
) noexcept nogil:
    """The W best texts of one character more than W texts of these scores (the sum of the log-probabilities; -inf is no text), best first.

    p[0] (W, Vp) holds the logits of what follows each, p[1] is scratch. A text that has ended stays as it is. Of equals the first counts.
    Return False where there are no probabilities.
    """
    cdef Py_ssize_t W = p.shape[1], w, v, best, found = 0
    cdef double base, score
    cdef Beam beam = Beam(new_scores, parents, ids)
    for w in range(W):
        if _stopped(watch, 20 * V):
            return False
        if scores[w] - scores[w] != 0:
            continue
        best = 0
        for v in range(V):
            p[1, w, v] = p[0, w, v]
            best = v if p[0, w, v] > p[0, w, best] else best
        base = scores[w] - softmax_forward(V, &p[1, w, 0], <int>best)     # of the most probable; others are as far below as their logits
        if base != base:
            return False
        for v in range(V):
            if ended[w]:
                if v != boundary:
                    continue
                score = scores[w]
            elif allowed[v]:
                score = base + (<double>p[0, w, v] - <double>p[0, w, best])
            else:
                continue
            if found < W:
                new_scores[found], ids[found], parents[found] = score, <int>v, <int>w
                _rise(&beam, found)
                found += 1
            elif score > new_scores[0]:
                new_scores[0], ids[0], parents[0] = score, <int>v, <int>w
                _sink(&beam, found)
    for w in range(found - 1, 0, -1):    # the worst of those left goes to their end
        if _stopped(watch, 100):
            return False
        _exchange(&beam, 0, w)
        _sink(&beam, w)
    for w in range(found, W):        # fewer continuations than places
        new_scores[w], ids[w], parents[w] = -INFINITY, 0, 0
    return True


# ------------------------------------------------------------------------------------------------------------------ whole texts

cdef bint _sample(
    AnyWorkspace work, int[:, ::1] ids, Py_ssize_t first, unsigned long long[::1] random, const signed char[::1] allowed,
    signed char[::1] left, const Controls* controls, Watch* watch,
) noexcept nogil:
    """Draw the rows of ids (n, B) from number first on, one after the other, feeding each back; False where there are no probabilities."""
    cdef Py_ssize_t t, b, V = work.plan.V
    # What a draw costs beside the network: the filters walk over all symbols, as often as numbers have bits.
    cdef Py_ssize_t cost = (10 if controls.top_k == V and controls.top_p == 1 else 100) * V + 2 * LOOK_BACK * controls.no_repeat
    cdef const signed char* mask
    _begin(work, ids.shape[0] - first, watch)
    for t in range(first, ids.shape[0]):
        _next_logits(work, watch)
        for b in range(work.B):
            if _stopped(watch, cost):
                return False
            mask = &allowed[0]
            if controls.no_repeat and _exclude_repeats(ids, t, b, controls.no_repeat, V, mask, &left[0]):
                mask = &left[0]
            ids[t, b] = _pick(V, &work.p[0, b, 0], mask, controls, &random[b])
            if ids[t, b] == IGNORED:
                return False
            work.inputs[0, b] = ids[t, b]
        _one_step(work, watch)
    return True


cdef bint _search(
    AnyWorkspace work, int boundary, const signed char[::1] allowed, int[:, ::1] ids, int[:, ::1] parents,
    double[::1] scores, double[::1] new_scores, signed char[::1] ended, signed char[::1] new_ended, Watch* watch,
) noexcept nogil:
    """Extend B texts by the rows of ids, keeping the B most probable at each; False where there are no probabilities."""
    cdef Py_ssize_t t, w, j, V = work.plan.V
    _begin(work, ids.shape[0], watch)
    for t in range(ids.shape[0]):
        _next_logits(work, watch)
        if not _extend(V, boundary, &allowed[0], work.p, &ended[0], &scores[0], &ids[t, 0], &parents[t, 0], &new_scores[0], watch):
            return False
        for w in range(work.B):
            new_ended[w] = ended[parents[t, w]] or ids[t, w] == boundary
            for j in range(work.plan.width):
                work.hs[1, w, j] = work.hs[0, parents[t, w], j]
            work.inputs[0, w] = ids[t, w]
        _carry(work, 1)
        scores[:], ended[:] = new_scores, new_ended
        _one_step(work, watch)
    return True
