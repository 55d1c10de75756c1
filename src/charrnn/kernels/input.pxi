# The input of the first layer: a character x_t, whose one-hot vector picks a row of Wxh. Part of _core.pyx.
#
# z_t = Wxh[x_t] + bh

cdef void _input_forward(
    const Span* span, const Matrix* Wxh, const int[:, ::1] inputs, const real* weights, const real* bias, real* z, Py_ssize_t ldz,
    Watch* watch,
) noexcept nogil:
    """z is where the row of the first time step and stream 0 is."""
    cdef Py_ssize_t n = _lanes(Wxh.columns), t, b, j
    cdef const real* row
    cdef real* sums
    for t in range(span.t0, span.t1):
        if _stopped(watch, (span.b1 - span.b0) * n):
            return
        for b in range(span.b0, span.b1):
            row, sums = weights + inputs[t, b] * Wxh.ld, z + ((t - span.t0) * span.B + b) * ldz
            for j in range(n):
                sums[j] = row[j] + bias[j]


# dWxh[x_t] += dz_t

cdef void _input_gradient(
    const Matrix* Wxh, const Part* part, Py_ssize_t T, const int[:, ::1] inputs, Py_ssize_t first, Py_ssize_t every,
    const signed char* used, const real* dz, Py_ssize_t ldz, real* gradient, Watch* watch,
) noexcept nogil:
    """Some columns of the rows of dWxh whose character is in use, from every so many streams; the other rows are 0 and not written."""
    cdef Py_ssize_t n = _lanes(Wxh.columns), j0 = _share(n, part.number, part.of), j1 = _share(n, part.number + 1, part.of), i, t, b, j
    cdef real* row
    if j0 >= j1:
        return
    for i in range(Wxh.rows):
        for j in range(j0, j1 if used[i] else j0):
            gradient[i * Wxh.ld + j] = 0
    for t in range(T):
        if _stopped(watch, inputs.shape[1] * (j1 - j0)):
            return
        for b in range(inputs.shape[1] // every):
            row = gradient + inputs[t, first + b * every] * Wxh.ld
            for j in range(j0, j1):
                row[j] += dz[j]
            dz += ldz
