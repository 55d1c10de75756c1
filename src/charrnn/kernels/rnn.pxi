# The vanilla cell. Part of _core.pyx.
#
# z_t = x_t Wxh + bh + h_(t-1) Whh        h_t = tanh(z_t)

cdef void rnn_forward(Py_ssize_t n, real* h) noexcept nogil:
    """Turn z_t of one stream into h_t, in place."""
    cdef Py_ssize_t j
    for j in range(_lane_multiple(n)):
        h[j] = tanh(h[j])


# dz_t = (1 - h_t^2) dh_t

cdef void rnn_backward(Py_ssize_t n, const real* h, real* dz) noexcept nogil:
    """Turn dh_t into dz_t, in place."""
    cdef Py_ssize_t j
    for j in range(_lane_multiple(n)):
        dz[j] *= fma(-h[j], h[j], <real>1)
