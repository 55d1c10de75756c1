# N-gram counts mixed with the network. Part of _core.pyx.
#
#     p(s | context) = weight(context, s) + backoff(context) p(s | shorter context)
#     logits' = network_weight logits + counts_weight log p
#
# network/counts.py has the estimate. A row of states has, from `plan.contexts` on, the number of
# the n-gram that the last 1, 2 ... order - 1 symbols are, plus 1; 0: the text has no such n-gram.
# These whole numbers are exact in float32 up to 2^24.

cdef inline Py_ssize_t _context(const NgramLevel* level, real number) noexcept nogil:
    """The context that a row of states names, -1 if none: Python may write anything there."""
    if 1 <= number <= level.contexts:
        return <Py_ssize_t>number - 1
    return -1


cdef inline Py_ssize_t _follower(
    const NgramLevel* level, Py_ssize_t context, int symbol,
) noexcept nogil:
    """The number of the n-gram of a context and a symbol, -1 if there is none: a binary search."""
    cdef Py_ssize_t low = level.starts[context], high = level.starts[context + 1], middle
    while low < high:
        middle = (low + high) // 2
        if level.symbols[middle] < symbol:
            low = middle + 1
        else:
            high = middle
    if low < level.starts[context + 1] and level.symbols[low] == symbol:
        return low
    return -1


cdef void ngram_advance(
    const Ngrams* ngrams, const real* before, real* after, int symbol,
) noexcept nogil:
    """after = the contexts that end with a symbol, from those before it."""
    cdef Py_ssize_t k, found
    for k in range(ngrams.order - 1, 0, -1):
        found = 0 if k == 1 else _context(&ngrams.levels[k - 1], before[k - 2])
        if found >= 0:
            found = _follower(&ngrams.levels[k - 1], found, symbol)
        after[k - 1] = <real>(found + 1)
        if found >= 0:
            CHARRNN_PREFETCH(&ngrams.levels[k].starts[found])
            CHARRNN_PREFETCH(&ngrams.levels[k].backoffs[found])


cdef void ngram_log_probabilities(
    const Ngrams* ngrams, const real* contexts, double* log_p,
) noexcept nogil:
    """log_p (V,) = the log-probabilities of what follows, by the counts alone."""
    cdef const NgramLevel* level
    cdef Py_ssize_t V = ngrams.V, k = 0, context, i, v
    cdef double share = 1
    for v in range(V):
        log_p[v] = 0
    while k < ngrams.order - 1 and _context(&ngrams.levels[k + 1], contexts[k]) >= 0:
        k += 1
    while k >= 0:        # from the longest context down: what it leaves, the shorter ones share
        level = &ngrams.levels[k]
        context = _context(level, contexts[k - 1]) if k else 0
        for i in range(level.starts[context], level.starts[context + 1]):
            log_p[level.symbols[i]] += share * level.weights[i]
        share *= level.backoffs[context]
        k -= 1
    for v in range(V):
        log_p[v] = log(log_p[v] + share / V)


cdef void mix_logits(
    const Ngrams* ngrams, Py_ssize_t V, const double* log_p, real* logits,
) noexcept nogil:
    cdef real network_weight = <real>ngrams.network_weight
    cdef real counts_weight = <real>ngrams.counts_weight
    cdef Py_ssize_t v
    for v in range(V):
        logits[v] = fma(counts_weight, <real>log_p[v], network_weight * logits[v])


# ------------------------------------------------------------------------------- windows

cdef void _contexts(AnyWorkspace work, const Span* span) noexcept nogil:
    """Lead the contexts of all streams through the inputs of a span."""
    cdef Py_ssize_t at = work.plan.contexts, t, b
    for t in range(span.t0, span.t1):
        for b in range(span.b0, span.b1):
            ngram_advance(
                work.ngrams, &work.hs[t, b, at], &work.hs[t + 1, b, at], work.inputs[t, b],
            )


cdef void _mix(AnyWorkspace work, Call* call, const Span* span, Py_ssize_t first) noexcept nogil:
    """Mix what the counts predict into the logits of a span, after states from number first on."""
    cdef Py_ssize_t V = work.plan.V, t, b
    for t in range(span.t0, span.t1):
        if _should_stop(call.check, 20 * V * (span.b1 - span.b0)):
            return
        for b in range(span.b0, span.b1):
            contexts = &work.hs[first + t - span.t0, b, work.plan.contexts]
            ngram_log_probabilities(work.ngrams, contexts, &work.log_p[0])
            mix_logits(work.ngrams, V, &work.log_p[0], &work.p[t, b, 0])


# How good a mixture is, and how it changes with its weights w = (of the network, of the counts):
# with x = (logits, log p), z = w x and p = softmax(z), the loss of a target y is
# log sum exp z - z[y], its gradient E[x] - x[y], and its Hessian the covariance of x under p.

cdef struct Mixture:
    double loss, d0, d1, d00, d01, d11


cdef void _add_statistics(
    const Ngrams* ngrams, Mixture* sums, const real* logits, const double* log_p, int target,
) noexcept nogil:
    cdef double a = ngrams.network_weight, c = ngrams.counts_weight
    cdef double largest = a * logits[0] + c * log_p[0], mass = 0, e, p, x0, x1
    cdef double m0 = 0, m1 = 0, m00 = 0, m01 = 0, m11 = 0
    cdef Py_ssize_t v
    for v in range(ngrams.V):
        largest = max(largest, a * logits[v] + c * log_p[v])
    for v in range(ngrams.V):
        x0, x1 = logits[v] - logits[target], log_p[v]
        e = exp_nonpositive(a * logits[v] + c * log_p[v] - largest)
        mass += e
        m0, m1 = m0 + e * x0, m1 + e * x1
        m00, m01, m11 = m00 + e * x0 * x0, m01 + e * x0 * x1, m11 + e * x1 * x1
    p = 1 / mass
    m0, m1 = m0 * p, m1 * p
    sums.loss += log(mass) - (a * logits[target] + c * log_p[target] - largest)
    sums.d0 += m0
    sums.d1 += m1 - log_p[target]
    sums.d00 += m00 * p - m0 * m0
    sums.d01 += m01 * p - m0 * m1
    sums.d11 += m11 * p - m1 * m1


cdef double _mixture(AnyWorkspace work, Call* call) noexcept nogil:
    """Add to `call.arguments` the statistics of all targets; the state moves on."""
    cdef Mixture* sums = <Mixture*>call.arguments
    cdef Span span
    cdef Py_ssize_t n = call.n, start = 0, t, b
    _lay_out(work, call)
    while start < n and not _is_stopped(call.check):
        _load(work, call, start, work.T)
        span = Span(0, work.B, work.B, 0, call.rows, call.rows)
        _states(work, call, &span)
        _network_logits(work, call, &span, 1)
        for t in range(call.rows):
            if _should_stop(call.check, 40 * work.B * work.plan.V):
                break
            for b in range(work.B):
                if work.targets[t, b] != IGNORED:
                    contexts = &work.hs[t + 1, b, work.plan.contexts]
                    ngram_log_probabilities(work.ngrams, contexts, &work.log_p[0])
                    logits, target = &work.p[t, b, 0], work.targets[t, b]
                    _add_statistics(work.ngrams, sums, logits, &work.log_p[0], target)
        _carry(work, call.rows)
        start += call.rows
    return sums.loss
