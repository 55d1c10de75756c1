# Clipping, and the optimizers. Part of _core.pyx.
#
# g is the gradient of a step, its norm clipped, then its elements. The weights w of matrices, not
# biases, decay apart from the gradient (Loshchilov and Hutter, 2019): before each update,
# w *= keep, with keep = 1 - rate * weight_decay. All weights are pulled back to those of an anchor,
# if there is one.

cdef double BETA_1 = 0.9, BETA_2 = 0.99      # Adam: decay of the mean gradient, of the mean square
cdef double RHO = 0.95                       # RMSProp: decay of the mean square

cdef enum:                       # of products, in the order of network.config.Precision
    FLOAT32 = 0
    BFLOAT16

cdef struct Settings:            # of a training: keyword arguments of Network.train_steps
    double clip_value            # of elements of the gradient
    double clip_norm             # of the gradient of the loss per character
    double weight_decay
    double pull                  # toward the anchor, as a fraction of the distance
    double dropout
    int precision                # FLOAT32 or BFLOAT16
    unsigned long long dropout_seed
    unsigned long long first_step    # the number of the first step, from 0

SETTINGS = Settings(INFINITY, INFINITY, 0, 0, 0, FLOAT32, 0, 0)     # neutral ones, a dictionary

cdef struct Update:              # what a step does to each weight
    int optimizer
    double rate
    double clip                  # of elements of the gradient
    double scale                 # of the gradient, from its norm
    double keep                  # of the weights of matrices
    double pull                  # of all weights, toward the anchor
    double bias_1, bias_2        # Adam: 1 - beta^step, since its means begin at 0


cdef double _power(double x, unsigned long long n) noexcept nogil:
    """x^n, from products only: pow of the C library may differ in the last bit between machines."""
    cdef double result = 1
    while n and result > 0:
        if n % 2:
            result *= x
        x *= x
        n //= 2
    return result


cdef void _set_update(
    Update* update, const Settings* settings, double rate, unsigned long long step,
) noexcept nogil:
    """Prepare the update of a step, counted from 1."""
    update.rate, update.clip, update.scale = rate, settings.clip_value, 1
    update.keep, update.pull = 1 - rate * settings.weight_decay, settings.pull
    update.bias_1, update.bias_2 = 1 - _power(BETA_1, step), 1 - _power(BETA_2, step)


cdef inline real _clip(real g, real limit) noexcept nogil:
    g = limit if g > limit else g
    return -limit if g < -limit else g


# w += pull (anchor - w)
# (Krause et al., 2018, "Dynamic evaluation of neural sequence models")

cdef void pull_update(
    Py_ssize_t n, real* w, const real* anchor, const Update* update,
) noexcept nogil:
    cdef real pull = update.pull
    cdef Py_ssize_t i
    for i in range(_lane_multiple(n)):
        w[i] = fma(pull, anchor[i] - w[i], w[i])


# accumulator += g^2        w -= rate * g / sqrt(accumulator + 1e-8)
# (Duchi, Hazan and Singer, 2011)

cdef inline void _adagrad(
    Py_ssize_t n, real* w, real* accumulator, const real* gradient,
    real rate, real clip, real scale, real keep,
) noexcept nogil:
    cdef Py_ssize_t i
    cdef real g
    for i in range(_lane_multiple(n)):
        g = _clip(gradient[i] * scale, clip)
        accumulator[i] = fma(g, g, accumulator[i])
        w[i] = fma(-rate * g, inverse_root(accumulator[i] + <real>1e-8), w[i] * keep)


cdef void adagrad_update(
    Py_ssize_t n, real* w, real* accumulator, const real* gradient, const Update* update, real keep,
) noexcept nogil:
    if update.scale == 1 and keep == 1:    # as constants, they take no multiplications
        _adagrad(n, w, accumulator, gradient, update.rate, update.clip, 1, 1)
    else:
        _adagrad(n, w, accumulator, gradient, update.rate, update.clip, update.scale, keep)


# w -= rate * g

cdef void sgd_update(
    Py_ssize_t n, real* w, const real* gradient, const Update* update, real keep,
) noexcept nogil:
    cdef real rate = update.rate, clip = update.clip, scale = update.scale
    cdef Py_ssize_t i
    for i in range(_lane_multiple(n)):
        w[i] = fma(-rate, _clip(gradient[i] * scale, clip), w[i] * keep)


cdef inline real _flush_tiny(real x) noexcept nogil:
    """x, or 0 if |x| < 1e-30: a decaying mean would become subnormal, and its arithmetic slow."""
    return 0 if magnitude(x) < <real>1e-30 else x


# accumulator = rho accumulator + (1 - rho) g^2        w -= rate * g / (sqrt(accumulator) + 1e-8)
# (Tieleman and Hinton, 2012)

cdef void rmsprop_update(
    Py_ssize_t n, real* w, real* accumulator, const real* gradient, const Update* update, real keep,
) noexcept nogil:
    cdef real rate = update.rate, clip = update.clip, scale = update.scale, g
    cdef real rho = RHO, new = 1 - RHO
    cdef Py_ssize_t i
    for i in range(_lane_multiple(n)):
        g = _clip(gradient[i] * scale, clip)
        accumulator[i] = _flush_tiny(fma(new * g, g, rho * accumulator[i]))
        w[i] = w[i] * keep - rate * g / (root(accumulator[i]) + <real>1e-8)


# momentum = beta1 momentum + (1 - beta1) g        accumulator = beta2 accumulator + (1 - beta2) g^2
# w -= rate / (1 - beta1^step) * momentum / (sqrt(accumulator / (1 - beta2^step)) + 1e-8)
# (Kingma and Ba, 2015)

cdef void adam_update(
    Py_ssize_t n, real* w, real* accumulator, real* momentum, const real* gradient,
    const Update* update, real keep,
) noexcept nogil:
    cdef real rate = update.rate / update.bias_1, root_scale = 1 / sqrt(update.bias_2)
    cdef real clip = update.clip, scale = update.scale, g
    cdef real beta_1 = BETA_1, new_1 = 1 - BETA_1, beta_2 = BETA_2, new_2 = 1 - BETA_2
    cdef Py_ssize_t i
    for i in range(_lane_multiple(n)):
        g = _clip(gradient[i] * scale, clip)
        momentum[i] = _flush_tiny(fma(new_1, g, beta_1 * momentum[i]))
        accumulator[i] = _flush_tiny(fma(new_2 * g, g, beta_2 * accumulator[i]))
        w[i] = w[i] * keep - rate * momentum[i] / fma(root_scale, root(accumulator[i]), <real>1e-8)


cdef double _sum_of_squares(Py_ssize_t n, const real* x) noexcept nogil:
    """The sum of the squares of n numbers; n is a multiple of LANES."""
    cdef real total[LANES]
    cdef Py_ssize_t i, j
    for j in range(LANES):
        total[j] = 0
    for i in range(n // LANES):
        for j in range(LANES):
            total[j] = fma(x[i * LANES + j], x[i * LANES + j], total[j])
    return _sum_lanes(total)


cdef bint _is_bounded(Py_ssize_t n, const real* x, real limit) noexcept nogil:
    """Whether every |x| < limit; NaN is not."""
    cdef Py_ssize_t i
    cdef int bad = 0
    for i in range(n):
        bad |= not (magnitude(x[i]) < limit)
    return not bad
