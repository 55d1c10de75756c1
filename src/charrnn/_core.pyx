"""The kernels: everything that runs once per character.

Symbols, as in docs/math.md: T time steps, B streams, H hidden units, V characters; Hp and Vp are H and V rounded up to a multiple of LANES,
the leading dimension of every matrix, so that no inner loop has a ragged tail. The padding is zero (in `by`: PAD_LOGIT) and stays so.

    z_t = Wxh[x_t] + bh + h_(t-1) Whh        h_t = tanh(z_t)        logits_t = by + h_t Why        p_t = softmax(logits_t)

The rule that makes the same bits at every vector width: vectorise across outputs, never along a sum. Each output element is one chain of
fused multiply-adds in a fixed order; where a sum must run along a row (softmax), it has LANES partial sums, whatever the machine has.

Three strata: products of matrices on pointers (_linalg.pxi), made of scalar functions (_elementary.pxd); here, `noexcept nogil` kernels
on memoryviews, which allocate nothing, raise nothing and trust their arguments; `def` doors (_doors.pxi), which release the GIL. The
doors trust their caller, rnn.py, which owns and checks every array.
"""

from charrnn._elementary cimport exp_nonpositive, fma, log, magnitude, real, root, tanh, uniform

from libc.math cimport INFINITY

cdef extern from "_cpu.h":
    int charrnn_cpu_level()

cdef enum:
    LANES = 16       # leading dimensions are multiples of it; partial sums along a row

cdef double PAD = -1e30    # the logit of padding characters: finite, and their probability is exactly 0

globals()["LANES"] = LANES
PAD_LOGIT = PAD

include "charrnn/_linalg.pxi"


# ------------------------------------------------------------------------------------------------------------------ recurrent cell
# Kernels that work on streams take those from b0 to b1, kernels that work on weights the rows from j0 to j1, so that threads can
# share a step: they split outputs, never a sum.
#
# z_t = Wxh[x_t] + bh + h_(t-1) Whh;  h_t = tanh(z_t)

cdef void _cell_forward(
    Py_ssize_t b0, Py_ssize_t b1,
    const int[:, ::1] inputs,            # (T, B) in [0, V)
    const real[:, ::1] Wxh,              # (V, Hp)
    const real[:, ::1] Whh,              # (H, Hp), row j holds the weights from unit j
    const real[::1] bh,                  # (Hp,)
    real[:, :, ::1] hs,                  # (T + 1, B, Hp); hs[0] is the state before, hs[t + 1] the state after character t
    real[:, :, ::1] z,                   # (T, B, Hp) scratch
) noexcept nogil:
    cdef Py_ssize_t H = Whh.shape[0], Hp = Whh.shape[1], t, b, j
    for t in range(inputs.shape[0]):
        for b in range(b0, b1):
            for j in range(Hp):
                z[t, b, j] = Wxh[inputs[t, b], j] + bh[j]
    for t in range(inputs.shape[0]):
        _product(b1 - b0, _lanes(H), H, &hs[t, b0, 0], Hp, 1, &Whh[0, 0], Hp, &z[t, b0, 0], Hp, &hs[t + 1, b0, 0], Hp, t % 2)
        _tanh_rows((b1 - b0) * Hp, &hs[t + 1, b0, 0])


cdef void _tanh_rows(Py_ssize_t n, real* x) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        x[j] = tanh(x[j])


# dz_t = (1 - h_t^2) dh_t;  dh_(t-1) += dz_t Whh^T

cdef void _cell_backward(
    Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t T,
    const real[:, ::1] WhhT,             # (H, Hp) = Whh transposed
    const real[:, :, ::1] hs,            # (T + 1, B, Hp)
    const real[:, :, ::1] dh,            # (T, B, Hp) from the output layer
    real[:, :, ::1] dz,                  # (T, B, Hp)
) noexcept nogil:
    cdef Py_ssize_t H = WhhT.shape[0], Hp = WhhT.shape[1], n = (b1 - b0) * Hp, t
    _tanh_backward(n, &hs[T, b0, 0], &dh[T - 1, b0, 0], &dz[T - 1, b0, 0])
    for t in range(T - 1, 0, -1):
        _product(b1 - b0, _lanes(H), H, &dz[t, b0, 0], Hp, 1, &WhhT[0, 0], Hp, &dh[t - 1, b0, 0], Hp, &dz[t - 1, b0, 0], Hp, t % 2)
        _tanh_backward(n, &hs[t, b0, 0], &dz[t - 1, b0, 0], &dz[t - 1, b0, 0])


cdef void _tanh_backward(Py_ssize_t n, const real* h, const real* dh, real* dz) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        dz[j] = fma(-h[j], h[j], <real>1) * dh[j]


# dWhh = sum h_(t-1)^T dz_t;  dWxh[x_t] += dz_t

cdef void _recurrent_gradient(
    Py_ssize_t j0, Py_ssize_t j1, Py_ssize_t T, const real[:, :, ::1] hs, const real[:, :, ::1] dz, const real[::1] zeros,
    real[:, ::1] dWhh,
) noexcept nogil:
    cdef Py_ssize_t B = hs.shape[1], Hp = hs.shape[2]
    if j0 < j1:
        _product(j1 - j0, _lanes(dWhh.shape[0]), T * B, &hs[0, 0, j0], 1, Hp, &dz[0, 0, 0], Hp, &zeros[0], 0, &dWhh[j0, 0], Hp)


cdef void _input_gradient(
    Py_ssize_t v0, Py_ssize_t v1, const int[:, ::1] inputs, const real[:, :, ::1] dz, real[:, ::1] dWxh, signed char[::1] used,
) noexcept nogil:
    """The rows of dWxh from v0 to v1 whose character is in inputs, which are marked in used; the other rows are 0 and not written."""
    cdef Py_ssize_t t, b, j, x
    for t in range(inputs.shape[0]):
        for b in range(inputs.shape[1]):
            x = inputs[t, b]
            if x < v0 or x >= v1:
                continue
            if not used[x]:
                used[x] = 1
                for j in range(dWxh.shape[1]):
                    dWxh[x, j] = 0
            for j in range(dWxh.shape[1]):
                dWxh[x, j] += dz[t, b, j]


# ------------------------------------------------------------------------------------------------------------------ output layer
# logits_t = by + h_t Why

cdef void _output_forward(
    Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t V,
    const real[:, :, ::1] hs,            # (T + 1, B, Hp)
    const real[:, ::1] Why,              # (H, Vp)
    const real[::1] by,                  # (Vp,)
    Py_ssize_t first, Py_ssize_t T,      # the states hs[first] to hs[first + T - 1]
    real[:, :, ::1] logits,              # (T, B, Vp)
) noexcept nogil:
    cdef Py_ssize_t B = hs.shape[1], H = Why.shape[0], Hp = hs.shape[2], Vp = Why.shape[1], t
    if b1 - b0 == B:                     # no recurrence: all of T at once
        _product(T * B, _lanes(V), H, &hs[first, 0, 0], Hp, 1, &Why[0, 0], Vp, &by[0], 0, &logits[0, 0, 0], Vp)
        return
    for t in range(T):
        _product(b1 - b0, _lanes(V), H, &hs[first + t, b0, 0], Hp, 1, &Why[0, 0], Vp, &by[0], 0, &logits[t, b0, 0], Vp)


# dh_t = dlogits_t Why^T

cdef void _output_backward(
    Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t T,
    const real[:, ::1] WhyT,             # (V, Hp) = Why transposed
    const real[:, :, ::1] dlogits,       # (T, B, Vp)
    const real[::1] zeros,               # at least Hp
    real[:, :, ::1] dh,                  # (T, B, Hp)
) noexcept nogil:
    cdef Py_ssize_t B = dh.shape[1], V = WhyT.shape[0], Hp = WhyT.shape[1], Vp = dlogits.shape[2], t
    if b1 - b0 == B:
        _product(T * B, Hp, V, &dlogits[0, 0, 0], Vp, 1, &WhyT[0, 0], Hp, &zeros[0], 0, &dh[0, 0, 0], Hp)
        return
    for t in range(T):
        _product(b1 - b0, Hp, V, &dlogits[t, b0, 0], Vp, 1, &WhyT[0, 0], Hp, &zeros[0], 0, &dh[t, b0, 0], Hp)


# dWhy = sum h_t^T dlogits_t

cdef void _output_gradient(
    Py_ssize_t j0, Py_ssize_t j1, Py_ssize_t T, Py_ssize_t V, const real[:, :, ::1] hs, const real[:, :, ::1] dlogits,
    const real[::1] zeros, real[:, ::1] dWhy,
) noexcept nogil:
    cdef Py_ssize_t B = hs.shape[1], Hp = hs.shape[2], Vp = dWhy.shape[1]
    if j0 < j1:
        _product(j1 - j0, _lanes(V), T * B, &hs[1, 0, j0], 1, Hp, &dlogits[0, 0, 0], Vp, &zeros[0], 0, &dWhy[j0, 0], Vp)


# ------------------------------------------------------------------------------------------------------------------ softmax and loss
# p = exp(logits - max) / sum;  nll = log(sum) - (logits[target] - max), in nats; target IGNORED counts nothing

cdef enum:
    IGNORED = -1

cdef double _softmax(Py_ssize_t n, real* x, int target, real scale=1) noexcept nogil:
    """Turn one row of n logits into the probabilities of scale * logits in place; return the negative log-likelihood of target."""
    cdef real peak[LANES]
    cdef real total[LANES]
    cdef real chosen = 0, norm
    cdef Py_ssize_t i, j
    for j in range(LANES):
        peak[j] = x[j]
        total[j] = 0
    for i in range(1, n // LANES):
        for j in range(LANES):
            peak[j] = x[i * LANES + j] if x[i * LANES + j] > peak[j] else peak[j]
    for j in range(1, LANES):
        peak[0] = peak[j] if peak[j] > peak[0] else peak[0]
    if target != IGNORED:
        chosen = (x[target] - peak[0]) * scale
    for i in range(n // LANES):
        for j in range(LANES):
            x[i * LANES + j] = exp_nonpositive((x[i * LANES + j] - peak[0]) * scale)
            total[j] += x[i * LANES + j]
    for j in range(1, LANES):
        total[0] += total[j]
    norm = 1 / total[0]
    for i in range(n):
        x[i] *= norm
    return log(total[0]) - chosen if target != IGNORED else 0.0


# dlogits = (p - onehot(target)) / B

cdef void _softmax_backward(Py_ssize_t n, real* p, int target, real scale) noexcept nogil:
    """Turn one row of probabilities into the gradient of scale * nll by the logits, in place."""
    cdef Py_ssize_t i
    if target == IGNORED:
        scale = 0
    else:
        p[target] -= 1
    if scale != 1:
        for i in range(n):
            p[i] *= scale


# ------------------------------------------------------------------------------------------------------------------ optimiser
# memory += g^2;  parameter -= rate * g / sqrt(memory + 1e-8), with g the clipped gradient (Duchi, Hazan and Singer, 2011)

cdef void _adagrad(Py_ssize_t n, real* parameter, real* memory, const real* gradient, real rate, real clip) noexcept nogil:
    cdef real g
    cdef Py_ssize_t i
    for i in range(n):
        g = _clip(gradient[i], clip)
        memory[i] = fma(g, g, memory[i])
        parameter[i] -= rate * g / root(memory[i] + <real>1e-8)


cdef inline real _clip(real g, real limit) noexcept nogil:
    g = limit if g > limit else g
    return -limit if g < -limit else g


# ------------------------------------------------------------------------------------------------------------------ whole steps

cdef bint _is_bounded(Py_ssize_t n, const real* x) noexcept nogil:
    """Whether every |x| < 1e30 (NaN is not): then no gradient made from x is NaN, and an infinite one is clipped."""
    cdef Py_ssize_t i
    cdef int bad = 0
    for i in range(n):
        bad |= not (magnitude(x[i]) < <real>1e30)
    return not bad


cdef void _forward(
    Py_ssize_t b0, Py_ssize_t b1, const int[:, ::1] inputs, const int[:, ::1] targets,
    const real[:, ::1] Wxh, const real[:, ::1] Whh, const real[:, ::1] Why, const real[::1] bh, const real[::1] by,
    real[:, :, ::1] hs, real[:, :, ::1] z, real[:, :, ::1] p, double[:, ::1] nll,
) noexcept nogil:
    """Run streams of one window: states, probabilities, and the loss of each target."""
    cdef Py_ssize_t T = inputs.shape[0], V = Wxh.shape[0], t, b
    _cell_forward(b0, b1, inputs, Wxh, Whh, bh, hs, z)
    _output_forward(b0, b1, V, hs, Why, by, 1, T, p)
    for t in range(T):
        for b in range(b0, b1):
            nll[t, b] = _softmax(_lanes(V), &p[t, b, 0], targets[t, b])


cdef bint _backward(
    Py_ssize_t b0, Py_ssize_t b1, const int[:, ::1] targets, const real[:, ::1] WhhT, const real[:, ::1] WhyT,
    const real[:, :, ::1] hs, real[:, :, ::1] p, real[:, :, ::1] dh, real[:, :, ::1] dz, const real[::1] zeros,
) noexcept nogil:
    """Lead the gradient of the loss (sum over T, mean over B) back through streams of one window; return whether it is bounded.

    p becomes the gradient by the logits, dz is the one by the sums before tanh: all that the gradients by the weights are made of.
    """
    cdef Py_ssize_t T = targets.shape[0], B = targets.shape[1], t, b
    cdef bint bounded = True
    for t in range(T):
        for b in range(b0, b1):
            _softmax_backward(_lanes(WhyT.shape[0]), &p[t, b, 0], targets[t, b], <real>1 / <real>B)
    _output_backward(b0, b1, T, WhyT, p, zeros, dh)
    _cell_backward(b0, b1, T, WhhT, hs, dh, dz)
    for t in range(T):
        bounded = bounded and _is_bounded((b1 - b0) * dz.shape[2], &dz[t, b0, 0])
    return bounded


cdef double _total(const double[:, ::1] nll, Py_ssize_t T) noexcept nogil:
    """The sum of the first T rows, in their order."""
    cdef Py_ssize_t t, b
    cdef double total = 0
    for t in range(T):
        for b in range(nll.shape[1]):
            total += nll[t, b]
    return total


cdef Py_ssize_t _used_rows(const int[:, ::1] targets) noexcept nogil:
    """How many rows of a window there are up to the last that has a target, at least 1: short records need no more."""
    cdef Py_ssize_t t, b
    for t in range(targets.shape[0] - 1, 0, -1):
        for b in range(targets.shape[1]):
            if targets[t, b] != IGNORED:
                return t + 1
    return 1


cdef inline Py_ssize_t _share(Py_ssize_t n, int part, int parts) noexcept nogil:
    """Where number part of the parts of n begins: at multiples of LANES, so that the transposes of parts are whole blocks."""
    return min(n, (n + LANES * parts - 1) // (LANES * parts) * LANES * part)


cdef void _learn(
    int part, int parts, const int[:, ::1] inputs, Py_ssize_t V,
    const real[:, :, ::1] hs, const real[:, :, ::1] p, const real[:, :, ::1] dz, const real[::1] zeros, signed char[::1] used,
    real[:, ::1] Wxh, real[:, ::1] Whh, real[:, ::1] Why, real[::1] bh, real[::1] by,
    real[:, ::1] mWxh, real[:, ::1] mWhh, real[:, ::1] mWhy, real[::1] mbh, real[::1] mby,
    real[:, ::1] dWxh, real[:, ::1] dWhh, real[:, ::1] dWhy, real[::1] dbh, real[::1] dby,
    real[:, ::1] WhhT, real[:, ::1] WhyT, real rate, real clip,
) noexcept nogil:
    """Gradient, clip, Adagrad and transposed copies of one part of the weights: some rows of each matrix, in part 0 the biases too."""
    cdef Py_ssize_t T = inputs.shape[0], H = Whh.shape[0], Hp = Whh.shape[1], Vp = Why.shape[1], v
    cdef Py_ssize_t j0 = _share(H, part, parts), j1 = _share(H, part + 1, parts)
    cdef Py_ssize_t v0 = _share(V, part, parts), v1 = _share(V, part + 1, parts)
    _recurrent_gradient(j0, j1, T, hs, dz, zeros, dWhh)
    _output_gradient(j0, j1, T, V, hs, p, zeros, dWhy)
    _input_gradient(v0, v1, inputs, dz, dWxh, used)
    if j0 < j1:
        _adagrad((j1 - j0) * Hp, &Whh[j0, 0], &mWhh[j0, 0], &dWhh[j0, 0], rate, clip)
        _adagrad((j1 - j0) * Vp, &Why[j0, 0], &mWhy[j0, 0], &dWhy[j0, 0], rate, clip)
        _transpose(&Whh[j0, 0], Hp, j1 - j0, H, &WhhT[0, j0], Hp)
        _transpose(&Why[j0, 0], Vp, j1 - j0, V, &WhyT[0, j0], Hp)
    for v in range(v0, v1):
        if used[v]:
            used[v] = 0
            _adagrad(Hp, &Wxh[v, 0], &mWxh[v, 0], &dWxh[v, 0], rate, clip)
    if part == 0:
        _sum_rows(&dz[0, 0, 0], T * hs.shape[1], Hp, &dbh[0])
        _sum_rows(&p[0, 0, 0], T * hs.shape[1], Vp, &dby[0])
        _adagrad(Hp, &bh[0], &mbh[0], &dbh[0], rate, clip)
        _adagrad(Vp, &by[0], &mby[0], &dby[0], rate, clip)


# ------------------------------------------------------------------------------------------------------------------ sampling

cdef enum:
    LOOK_BACK = 4096     # how far back a repetition is looked for

globals()["LOOK_BACK"] = LOOK_BACK

cdef struct Controls:
    double temperature
    double top_p             # 1: off
    double min_p             # 0: off
    Py_ssize_t top_k         # V: off
    Py_ssize_t no_repeat     # 0: off


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

    The smallest kept value is found by bisection, so that no order has to be made: fifty walks over p rather than a sort.
    """
    cdef real low = 0, high = 1, middle
    cdef Py_ssize_t v, kept = 0
    cdef double total = 0
    while True:                      # low: values from it on are enough; high: values from it on are too few, or just above 1
        middle = (low + high) / 2
        if middle <= low or middle >= high:
            break
        kept, total = 0, 0
        for v in range(V):
            if p[v] >= middle:
                kept += 1
                total += p[v]
        if kept >= most or total >= mass:
            low = middle
        else:
            high = middle
    kept, total = 0, 0
    for v in range(V):
        if p[v] > low:
            kept += 1
            total += p[v]
    for v in range(V):
        if p[v] == low and kept < most and total < mass:
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


cdef int _pick(Py_ssize_t V, real* logits, const Controls* controls, unsigned long long* random) noexcept nogil:
    """Draw from softmax(logits / temperature) as filtered, or take the first largest at temperature 0; the logits are used up."""
    cdef Py_ssize_t i, v, best = 0
    cdef double rest, block
    if controls.temperature == 0:
        for v in range(1, V):
            best = v if logits[v] > logits[best] else best
        return <int>best
    # Within these bounds padding stays impossible and no difference of logits overflows.
    _softmax(_lanes(V), logits, IGNORED, <real>max(1e-28, min(1e30, 1 / max(controls.temperature, 1e-30))))
    rest = uniform(random) * _filter(V, logits, controls)
    for i in range(_lanes(V) // LANES):     # first which LANES of them, then which of those: shorter chains of sums
        block = _sum_lanes(logits + i * LANES)
        if rest < block:
            for v in range(i * LANES, (i + 1) * LANES):
                rest -= logits[v]
                if rest < 0:
                    return <int>v
            break
        rest -= block
    for v in range(V):               # rounding has left rest at 0 or a little above: the last character that is possible
        best = v if logits[v] > 0 else best
    return <int>best


cdef inline real _sum_lanes(const real* x) noexcept nogil:
    cdef real total[LANES]
    cdef Py_ssize_t j
    for j in range(8):
        total[j] = x[j] + x[j + 8]
    for j in range(4):
        total[j] += total[j + 4]
    return (total[0] + total[2]) + (total[1] + total[3])


cdef void _restrict(Py_ssize_t V, const signed char* allowed, real* logits) noexcept nogil:
    """Make the characters that are not allowed as impossible as padding."""
    cdef Py_ssize_t v
    for v in range(V):
        logits[v] = logits[v] if allowed[v] else <real>PAD


cdef void _extend(
    Py_ssize_t W, Py_ssize_t V, int boundary, const signed char* allowed, real[:, :, ::1] p, const signed char* ended, const double* scores,
    int* ids, int* parents, double* new_scores,
) noexcept nogil:
    """The W best texts of one character more than W texts of these scores (the sum of the log-probabilities; -inf is no text), best first.

    p[0] (W, Vp) holds the logits of what follows each, p[1] is scratch. A text that has ended stays as it is. Of equals the first counts.
    """
    cdef Py_ssize_t w, v, place, found = 0
    cdef double base, score
    for w in range(W):
        if scores[w] - scores[w] != 0:
            continue
        for v in range(_lanes(V)):
            p[1, w, v] = p[0, w, v]
        base = scores[w] - _softmax(_lanes(V), &p[1, w, 0], 0) - p[0, w, 0]
        for v in range(V):
            if ended[w]:
                if v != boundary:
                    continue
                score = scores[w]
            elif allowed[v]:
                score = base + p[0, w, v]
            else:
                continue
            if found == W and not score > new_scores[W - 1]:
                continue
            found = min(found + 1, W)
            place = found - 1
            while place > 0 and score > new_scores[place - 1]:
                new_scores[place], ids[place], parents[place] = new_scores[place - 1], ids[place - 1], parents[place - 1]
                place -= 1
            new_scores[place], ids[place], parents[place] = score, <int>v, <int>w
    for w in range(found, W):        # fewer continuations than places
        new_scores[w], ids[w], parents[w] = -INFINITY, 0, 0


include "charrnn/_doors.pxi"
include "charrnn/_steps.pxi"
