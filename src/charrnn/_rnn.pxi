# The vanilla cell. Part of _core.pyx.
#
# h_t = tanh(z_t + h_(t-1) Whh), with z_t from the input

cdef void _rnn_forward(
    const Matrix* Whh, Py_ssize_t k, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t t0, Py_ssize_t t1,
    const real[::1] weights, const real[::1] panels, bint in_panels,
    real[:, :, ::1] hs,                  # (T + 1, B, width), the layer's from column k on: the state before is in hs[t], z_t in hs[t + 1]
    Watch* watch,
) noexcept nogil:
    cdef Py_ssize_t width = hs.shape[2], H = Whh.rows, ld = 0 if in_panels else Whh.ld, t, b
    cdef const real* W = &weights[Whh.start] if ld else &panels[Whh.start]
    cdef real* h
    for t in range(t0, t1):
        h = &hs[t + 1, b0, k]
        _product(b1 - b0, _lanes(H), H, &hs[t, b0, k], width, 1, W, ld, h, width, h, width, watch, t % 2)
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
    const Matrix* Whh, Py_ssize_t k, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t t0, Py_ssize_t t1, Py_ssize_t T,
    const real[::1] transposed, bint in_panels, const real[:, :, ::1] hs,
    real[:, :, ::1] dz,                  # (T, B, width): dh from above at first
    Watch* watch,
) noexcept nogil:
    cdef Py_ssize_t width = hs.shape[2], H = Whh.rows, t, b
    cdef real* dh
    for t in range(t1 - 1, t0 - 1, -1):
        dh = &dz[t, b0, k]
        if t < T - 1:
            _product(
                b1 - b0, _lanes(H), H, dh + dz.shape[1] * width, width, 1, &transposed[Whh.transposed], 0 if in_panels else Whh.ldt,
                dh, width, dh, width, watch, t % 2,
            )
        if _stopped(watch, (b1 - b0) * H):
            return
        for b in range(b0, b1):
            _tanh_backward(Whh.ld, &hs[t + 1, b, k], &dz[t, b, k])


cdef void _tanh_backward(Py_ssize_t n, const real* h, real* dz) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        dz[j] *= fma(-h[j], h[j], <real>1)
