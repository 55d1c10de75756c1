# Clipping and Adagrad. Part of _core.pyx.
#
# memory += g^2;  parameter -= rate * g / sqrt(memory + 1e-8), with g the clipped gradient (Duchi, Hazan and Singer, 2011)

cdef void _adagrad(Py_ssize_t n, real* parameter, real* memory, const real* gradient, real rate, real clip) noexcept nogil:
    cdef real g
    cdef Py_ssize_t i
    for i in range(n):
        g = _clip(gradient[i], clip)
        memory[i] = fma(g, g, memory[i])
        parameter[i] = fma(-rate * g, inverse_root(memory[i] + <real>1e-8), parameter[i])


cdef inline real _clip(real g, real limit) noexcept nogil:
    g = limit if g > limit else g
    return -limit if g < -limit else g


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
