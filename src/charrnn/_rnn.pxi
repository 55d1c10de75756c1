# The vanilla cell. Part of _core.pyx.
#
# h_t = tanh(z_t + h_(t-1) Whh), with z_t from the input

cdef void _rnn_forward(
    const Matrix* Whh, Py_ssize_t k, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t T, const real[::1] weights,
    real[:, :, ::1] hs,                  # (T + 1, B, width), the layer's from column k on; hs[0] is the state before
    const real[:, :, ::1] z,             # (T, B, width)
    Watch* watch,
) noexcept nogil:
    cdef Py_ssize_t width = hs.shape[2], H = Whh.rows, t, b
    for t in range(T):
        _product(
            b1 - b0, _lanes(H), H, &hs[t, b0, k], width, 1, &weights[Whh.start], Whh.ld, &z[t, b0, k], width, &hs[t + 1, b0, k], width,
            watch, t % 2,
        )
        if _stopped(watch, 10 * (b1 - b0) * H):
            return
        for b in range(b0, b1):
            _tanh_row(Whh.ld, &hs[t + 1, b, k])


cdef void _tanh_row(Py_ssize_t n, real* x) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        x[j] = tanh(x[j])


# dz_t = (1 - h_t^2) dh_t;  dh_(t-1) += dz_t Whh^T

cdef void _rnn_backward(
    const Matrix* Whh, Py_ssize_t k, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t T, const real[::1] transposed, const real[:, :, ::1] hs,
    const real[:, :, ::1] dh,            # (T, B, width) from above
    real[:, :, ::1] dz,                  # (T, B, width)
    Watch* watch,
) noexcept nogil:
    cdef Py_ssize_t width = hs.shape[2], H = Whh.rows, t, b
    for b in range(b0, b1):
        _tanh_backward(Whh.ld, &hs[T, b, k], &dh[T - 1, b, k], &dz[T - 1, b, k])
    for t in range(T - 1, 0, -1):
        if _stopped(watch, (b1 - b0) * H):
            return
        _product(
            b1 - b0, _lanes(H), H, &dz[t, b0, k], width, 1, &transposed[Whh.transposed], Whh.ldt, &dh[t - 1, b0, k], width,
            &dz[t - 1, b0, k], width, watch, t % 2,
        )
        for b in range(b0, b1):
            _tanh_backward(Whh.ld, &hs[t, b, k], &dz[t - 1, b, k], &dz[t - 1, b, k])


cdef void _tanh_backward(Py_ssize_t n, const real* h, const real* dh, real* dz) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        dz[j] = fma(-h[j], h[j], <real>1) * dh[j]
