# Clipping, and the optimisers. Part of _core.pyx.
#
# g is the gradient of a step, its norm clipped, then its elements. Weights w of matrices decay by themselves (Loshchilov and Hutter, 2019):
# w <- keep w, keep = 1 - rate * decay, before each update; keep is 1 of biases.

cdef enum:
    # Adam's memory of the mean gradient and of its square, RMSProp's of the latter; all in thousandths.
    BETA_1 = 900
    BETA_2 = 990
    RHO = 950

cdef struct Update:              # what a step does to each weight
    int optimizer
    double rate
    double clip                  # of elements of the gradient
    double scale                 # of the gradient, from its norm
    double decay
    double first, second         # what Adam divides its means by, which began at 0: 1 - beta^step


cdef double _power(double x, unsigned long long n) noexcept nogil:
    """x^n, made of products only: the C library's may differ in its last bit between machines."""
    cdef double result = 1
    while n and result > 0:
        if n % 2:
            result *= x
        x *= x
        n //= 2
    return result


cdef void _set_update(Update* update, double rate, unsigned long long step) noexcept nogil:
    """Get an update ready for step number step, the first being 1."""
    update.rate, update.scale = rate, 1
    update.first, update.second = 1 - _power(BETA_1 / 1000.0, step), 1 - _power(BETA_2 / 1000.0, step)


cdef inline real _clip(real g, real limit) noexcept nogil:
    g = limit if g > limit else g
    return -limit if g < -limit else g


# memory += g^2;  w -= rate * g / sqrt(memory + 1e-8)                    (Duchi, Hazan and Singer, 2011)

cdef void _adagrad(Py_ssize_t n, real* w, real* memory, const real* gradient, const Update* update, real keep) noexcept nogil:
    cdef real rate = update.rate, clip = update.clip, scale = update.scale, g
    cdef Py_ssize_t i
    n = _whole(n)
    for i in range(n):
        g = _clip(gradient[i] * scale, clip)
        memory[i] = fma(g, g, memory[i])
        w[i] = fma(-rate * g, inverse_root(memory[i] + <real>1e-8), w[i] * keep)


# w -= rate * g

cdef void _sgd(Py_ssize_t n, real* w, const real* gradient, const Update* update, real keep) noexcept nogil:
    cdef real rate = update.rate, clip = update.clip, scale = update.scale
    cdef Py_ssize_t i
    n = _whole(n)
    for i in range(n):
        w[i] = fma(-rate, _clip(gradient[i] * scale, clip), w[i] * keep)


cdef inline real _or_nothing(real x) noexcept nogil:
    """x, or 0 where it is so small that it moves nothing: what decays would become subnormal, and a hundred times slower, for ever."""
    return 0 if magnitude(x) < <real>1e-30 else x


# memory = rho memory + (1 - rho) g^2;  w -= rate * g / (sqrt(memory) + 1e-8)            (Tieleman and Hinton, 2012)

cdef void _rmsprop(Py_ssize_t n, real* w, real* memory, const real* gradient, const Update* update, real keep) noexcept nogil:
    cdef real rate = update.rate, clip = update.clip, scale = update.scale, rho = RHO / 1000.0, new = 1 - RHO / 1000.0, g
    cdef Py_ssize_t i
    n = _whole(n)
    for i in range(n):
        g = _clip(gradient[i] * scale, clip)
        memory[i] = _or_nothing(fma(new * g, g, rho * memory[i]))
        w[i] = w[i] * keep - rate * g / (root(memory[i]) + <real>1e-8)


# momentum = beta1 momentum + (1 - beta1) g;  memory = beta2 memory + (1 - beta2) g^2    (Kingma and Ba, 2015)
# w -= rate / (1 - beta1^step) * momentum / (sqrt(memory / (1 - beta2^step)) + 1e-8)

cdef void _adam(
    Py_ssize_t n, real* w, real* memory, real* momentum, const real* gradient, const Update* update, real keep,
) noexcept nogil:
    cdef real rate = update.rate / update.first, over = 1 / sqrt(update.second), clip = update.clip, scale = update.scale
    cdef real beta_1 = BETA_1 / 1000.0, new_1 = 1 - BETA_1 / 1000.0, beta_2 = BETA_2 / 1000.0, new_2 = 1 - BETA_2 / 1000.0, g
    cdef Py_ssize_t i
    n = _whole(n)
    for i in range(n):
        g = _clip(gradient[i] * scale, clip)
        momentum[i] = _or_nothing(fma(new_1, g, beta_1 * momentum[i]))
        memory[i] = _or_nothing(fma(new_2 * g, g, beta_2 * memory[i]))
        w[i] = w[i] * keep - rate * momentum[i] / fma(over, root(memory[i]), <real>1e-8)


cdef double _sum_of_squares(Py_ssize_t n, const real* x) noexcept nogil:
    """The sum of the squares of n numbers, a multiple of LANES."""
    cdef real total[LANES]
    cdef Py_ssize_t i, j
    for j in range(LANES):
        total[j] = 0
    for i in range(n // LANES):
        for j in range(LANES):
            total[j] = fma(x[i * LANES + j], x[i * LANES + j], total[j])
    return _sum_lanes(total)


cdef bint _is_finite(Py_ssize_t n, const real* x) noexcept nogil:
    cdef Py_ssize_t i
    cdef int bad = 0
    for i in range(n):
        bad |= not (x[i] - x[i] == 0)
    return not bad


cdef bint _is_bounded(Py_ssize_t n, const real* x) noexcept nogil:
    """Whether every |x| < 1e30 (NaN is not): then no gradient made from x is NaN, and an infinite one is clipped."""
    cdef Py_ssize_t i
    cdef int bad = 0
    for i in range(n):
        bad |= not (magnitude(x[i]) < <real>1e30)
    return not bad
