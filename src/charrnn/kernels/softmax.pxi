# Softmax and the loss. Part of _core.pyx.
#
# p = exp(logits - max) / sum        nll = log(sum) - (logits[target] - max), in nats

cdef enum:
    VECTORS = 32     # a sum in double of sums of so many: one of 200,000 floats is wrong by 1e-5


cdef inline real _sum_lanes(const real* x) noexcept nogil:
    cdef real total[LANES]
    cdef Py_ssize_t j
    for j in range(8):
        total[j] = x[j] + x[j + 8]
    for j in range(4):
        total[j] += total[j + 4]
    return (total[0] + total[2]) + (total[1] + total[3])


cdef inline real _largest_lane(const real* x) noexcept nogil:
    cdef real largest[LANES]
    cdef Py_ssize_t j
    for j in range(8):
        largest[j] = max(x[j + 8], x[j])
    for j in range(4):
        largest[j] = max(largest[j + 4], largest[j])
    for j in range(2):
        largest[j] = max(largest[j + 2], largest[j])
    return max(largest[1], largest[0])


cdef double softmax_forward(Py_ssize_t V, real* x, int target, real scale=1) noexcept nogil:
    """Turn a row of V logits into probabilities of scale * logits, in place; return target's nll.

    It is 0 for the target IGNORED. The padding up to a multiple of LANES gets the probability 0,
    whatever it held. If a logit is NaN or +inf, or all are -inf, there are no probabilities: they
    and the result are NaN.
    """
    cdef real peak[LANES]
    cdef real total[LANES]
    cdef real chosen = 0, largest, mass, norm
    cdef double blocks = 0
    cdef Py_ssize_t n = _lanes(V), vectors = n // LANES - 1, first = 0, i
    cdef real* tail = x + n - LANES
    cdef int in_tail = <int>(V - (n - LANES)), j     # of LANES
    for j in range(LANES):
        peak[j] = x[0]
        total[j] = 0
    for i in range(vectors):
        for j in range(LANES):
            peak[j] = max(peak[j], x[i * LANES + j])
    for j in range(LANES):
        peak[j] = max(peak[j], tail[j]) if j < in_tail else peak[j]
    largest = _largest_lane(peak)
    if target != IGNORED:
        chosen = (x[target] - largest) * scale
    while first < vectors:
        if first > 0:
            blocks += _sum_lanes(total)
            for j in range(LANES):
                total[j] = 0
        for i in range(first, min(first + VECTORS, vectors)):
            for j in range(LANES):
                x[i * LANES + j] = exp_nonpositive((x[i * LANES + j] - largest) * scale)
                total[j] += x[i * LANES + j]
        first += VECTORS
    for j in range(LANES):
        tail[j] = exp_nonpositive((tail[j] - largest) * scale)
        tail[j] = tail[j] if j < in_tail else 0
        total[j] += tail[j]
    mass = <real>(blocks + _sum_lanes(total))
    norm = 1 / mass
    for i in range(n):
        x[i] *= norm
    if mass != mass:
        return NAN
    return log(mass) - chosen if target != IGNORED else 0.0


cdef double log_softmax(Py_ssize_t V, real* x, double* log_p) noexcept nogil:
    """log_p (V,) = the log-probabilities of a row of V logits, which is used up.

    Each has the bits of the loss of `softmax_forward`. Return NaN if there are no probabilities.
    """
    cdef Py_ssize_t v, best = 0
    cdef double log_mass
    for v in range(1, V):
        best = v if x[v] > x[best] else best
    for v in range(V):
        log_p[v] = <real>(x[v] - x[best])
    log_mass = softmax_forward(V, x, <int>best)
    for v in range(V):
        log_p[v] = log_p[v] - log_mass
    return log_mass


# dlogits = scale (p - onehot(target)), the scale of a mean over B streams being 1 / B

cdef void softmax_backward(Py_ssize_t n, real* p, int target, real scale) noexcept nogil:
    """Turn a row of probabilities into the gradient of scale * nll by the logits, in place."""
    cdef Py_ssize_t i
    if target == IGNORED:    # p may be NaN
        for i in range(n):
            p[i] = 0
        return
    p[target] -= 1
    if scale != 1:
        for i in range(n):
            p[i] *= scale
