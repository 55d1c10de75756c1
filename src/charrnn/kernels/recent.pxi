# Counts of what a model reads while it adapts, mixed with its network and the counts that it has.
# Part of _core.pyx.
#
#     p(s | context) = (count - D) / total + D followers / total p(s | shorter context)
#
# for the contexts that have been read, down to what the counts of the training text say. A symbol
# counts in the longest context, and in a shorter one as long as it is new in the longer ones: as
# in Kneser-Ney, shorter contexts count how many longer ones they are the end of.
#
#     logits = w0 logits of the network + w1 log p by the model's counts + w2 log p by recent ones
#
# The three weights are one row of a table: for each length of the longest context, whether it had
# one follower, once, or more often. After each symbol, gradient descent improves the row in use.

cdef double DISCOUNT = 0.5, MIXING_RATE = 0.005
cdef double SMALLEST_WEIGHT = -1, LARGEST_WEIGHT = 2


cdef inline unsigned long long _context_key(const Recent* recent, int k) noexcept nogil:
    """A hash of the latest k symbols, never 0."""
    cdef unsigned long long key = <unsigned long long>k
    cdef int i
    for i in range(k):
        key ^= <unsigned long long>(recent.history[i] + 1)
        key = splitmix64(&key)
    return key | 1


cdef RecentContext* _recent_context(
    Recent* recent, unsigned long long key, bint add,
) noexcept nogil:
    """The slot of a context, NULL if there is none and none is added; some slots are free."""
    cdef unsigned long long i = (key >> 20) & (RECENT_SLOTS - 1)
    while recent.contexts[i].key != key:
        if recent.contexts[i].key == 0:
            if not add:
                return NULL
            recent.contexts[i].key = key
            recent.n_contexts += 1
            break
        i = (i + 1) & (RECENT_SLOTS - 1)
    return &recent.contexts[i]


cdef void _push(Recent* recent, int symbol) noexcept nogil:
    cdef int i
    for i in range(LONGEST_CONTEXT - 1, 0, -1):
        recent.history[i] = recent.history[i - 1]
    recent.history[0] = symbol
    recent.length = min(recent.length + 1, LONGEST_CONTEXT)


cdef int _recent_log_probabilities(
    Recent* recent, Py_ssize_t V, const double* log_p,
) noexcept nogil:
    """recent.log_p = the log-probabilities of what follows; return the row of weights to use."""
    cdef RecentContext* context
    cdef Follower* follower
    cdef double share = 1
    cdef Py_ssize_t v
    cdef int row = 0, k, next
    for v in range(V):
        recent.log_p[v] = 0
    for k in range(recent.length, -1, -1):
        context = _recent_context(recent, _context_key(recent, k), False)
        if context == NULL:
            continue
        if row == 0:
            row = 3 * (k + 1)
            if context.followers == 1:
                row += 1 if context.total <= 2 else 2
        next = context.first
        while next:
            follower = &recent.followers[next - 1]
            recent.log_p[follower.symbol] += share / context.total * (follower.count - DISCOUNT)
            next = follower.next
        share = share * DISCOUNT * context.followers / context.total
    for v in range(V):
        recent.log_p[v] = log(recent.log_p[v] + share * exp_nonpositive(log_p[v]) + 1e-30)
    return row


cdef void _count_recent(Recent* recent, int symbol) noexcept nogil:
    """Count a symbol after the latest ones; forget all counts if there is no room for it."""
    cdef RecentContext* context
    cdef int k, next
    if recent.n_contexts > RECENT_SLOTS // 4 * 3 or recent.n_followers > RECENT_SLOTS - 16:
        memset(recent.contexts, 0, RECENT_SLOTS * sizeof(RecentContext))
        recent.n_contexts = recent.n_followers = 0
    for k in range(recent.length, -1, -1):
        context = _recent_context(recent, _context_key(recent, k), True)
        context.total += 1
        next = context.first
        while next and recent.followers[next - 1].symbol != symbol:
            next = recent.followers[next - 1].next
        if next:
            recent.followers[next - 1].count += 1
            return
        recent.followers[recent.n_followers] = Follower(symbol, 1, context.first)
        recent.n_followers += 1
        context.first, context.followers = recent.n_followers, context.followers + 1


cdef double _read_one(
    Recent* recent, Py_ssize_t V, const real* logits, const double* log_p, int read, int target,
) noexcept nogil:
    """recent.p = the probabilities of what follows a symbol; return the loss of the target, and
    count it. If it is IGNORED, nothing is counted, nor read.
    """
    cdef int oldest = recent.history[LONGEST_CONTEXT - 1], length = recent.length, i
    cdef double x[3]
    cdef double mean[3]
    cdef double* w
    cdef double largest = -INFINITY, mass = 0, loss
    cdef Py_ssize_t v
    _push(recent, read)
    w = &recent.weights[_recent_log_probabilities(recent, V, log_p)][0]
    for v in range(V):
        recent.p[v] = w[0] * logits[v] + w[1] * log_p[v] + w[2] * recent.log_p[v]
        largest = max(largest, recent.p[v])
    if target == IGNORED:
        loss = 0
    else:
        loss = largest - recent.p[target]
    for i in range(3):
        mean[i] = 0
    for v in range(V):
        recent.p[v] = exp_nonpositive(recent.p[v] - largest)
        mass += recent.p[v]
        mean[0] += recent.p[v] * logits[v]
        mean[1] += recent.p[v] * log_p[v]
        mean[2] += recent.p[v] * recent.log_p[v]
    for v in range(V):
        recent.p[v] /= mass
    if mass != mass:
        return NAN
    if target == IGNORED:
        for i in range(LONGEST_CONTEXT - 1):
            recent.history[i] = recent.history[i + 1]
        recent.history[LONGEST_CONTEXT - 1], recent.length = oldest, length
        return 0
    x[0], x[1], x[2] = logits[target], log_p[target], recent.log_p[target]
    for i in range(3):
        w[i] -= MIXING_RATE * (mean[i] / mass - x[i])
        w[i] = min(max(w[i], SMALLEST_WEIGHT), LARGEST_WEIGHT)
    _count_recent(recent, target)
    return loss + log(mass)


cdef double _read_and_count(AnyWorkspace work, Py_ssize_t t) noexcept nogil:
    """The loss of the target of time step t, whose logits are there; the target is counted."""
    cdef Recent* recent = &work.recent.recent
    ngram_log_probabilities(
        work.ngrams, &work.hs[t + 1, 0, work.plan.contexts], &work.log_p[0],
    )
    return _read_one(
        recent, work.plan.V, &work.p[t, 0, 0], &work.log_p[0], work.inputs[t, 0],
        work.targets[t, 0],
    )


cdef double _read_counting(AnyWorkspace work, Call* call) noexcept nogil:
    """Run windows over the inputs of one stream, carrying the state; return the sum of losses."""
    cdef Span span
    cdef Py_ssize_t start = 0, t
    cdef double total = 0
    _lay_out(work, call)
    while start < call.n and not _is_stopped(call.check):
        _load(work, call, start, work.T)
        span = Span(0, 1, 1, 0, call.rows, call.rows)
        _states(work, call, &span)
        _network_logits(work, call, &span, 1)
        for t in range(call.rows):
            if _should_stop(call.check, 100 * work.plan.V):
                break
            call.nll[start + t] = _read_and_count(work, t)
            total += call.nll[start + t]
        _carry(work, call.rows)
        start += call.rows
    return total
