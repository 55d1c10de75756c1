# The input of the first layer: a character x_t, whose one-hot vector picks a row of Wxh. Part of _core.pyx.
#
# z_t = Wxh[x_t] + bh

cdef void _input_forward(
    const Matrix* Wxh, const Matrix* bh, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t t0, Py_ssize_t t1, const int[:, ::1] inputs,
    const real[::1] weights,
    real[:, :, ::1] hs,                  # (T + 1, B, width): z_t goes where the state after it will be
    Watch* watch,
) noexcept nogil:
    cdef Py_ssize_t t, b, j, row
    for t in range(t0, t1):
        if _stopped(watch, (b1 - b0) * Wxh.ld):
            return
        for b in range(b0, b1):
            row = Wxh.start + inputs[t, b] * Wxh.ld
            for j in range(Wxh.ld):
                hs[t + 1, b, j] = weights[row + j] + weights[bh.start + j]


# dWxh[x_t] += dz_t

cdef void _input_gradient(
    const Matrix* Wxh, int part, int parts, Py_ssize_t T, const int[:, ::1] inputs, const real[:, :, ::1] dz,
    real[::1] gradient, signed char[::1] used, Watch* watch,
) noexcept nogil:
    """The rows of one part of dWxh whose character is in inputs, which are marked in used; the other rows are 0 and not written."""
    cdef Py_ssize_t v0 = _share(Wxh.rows, part, parts), v1 = _share(Wxh.rows, part + 1, parts), t, b, j, x, row
    for t in range(T):
        if _stopped(watch, inputs.shape[1] * Wxh.ld):
            return
        for b in range(inputs.shape[1]):
            x = inputs[t, b]
            if x < v0 or x >= v1:
                continue
            row = Wxh.start + x * Wxh.ld
            if not used[x]:
                used[x] = 1
                for j in range(Wxh.ld):
                    gradient[row + j] = 0
            for j in range(Wxh.ld):
                gradient[row + j] += dz[t, b, j]
