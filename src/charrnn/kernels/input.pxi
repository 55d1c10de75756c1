# The input of the first layer: a character x_t, whose one-hot vector picks a row of Wxh. Part of
# _core.pyx.
#
# z_t = Wxh[x_t] + bh

cdef void input_forward(
    const Span* span, const Matrix* Wxh, const int[:, ::1] inputs, const real* weights,
    const real* bias, real* z, Py_ssize_t ldz,
) noexcept nogil:
    """z begins with the row of the first time step of a span, and of stream 0."""
    cdef Py_ssize_t n = _lanes(Wxh.columns), t, b, j
    for t in range(span.t0, span.t1):
        for b in range(span.b0, span.b1):
            row, sums = weights + inputs[t, b] * Wxh.ld, z + ((t - span.t0) * span.B + b) * ldz
            for j in range(n):
                sums[j] = row[j] + bias[j]


# dWxh[x_t] += dz_t

cdef void input_gradient(
    const Matrix* Wxh, const Part* part, Py_ssize_t rows, const int* x, Py_ssize_t every,
    const signed char* used, const real* dz, Py_ssize_t ldz, real* dWxh,
) noexcept nogil:
    """One part of the columns. The character of row r of dz is x[r * every].

    Rows of dWxh whose character is not used are 0, and not written.
    """
    cdef Py_ssize_t n = _lanes(Wxh.columns), i, r, j
    cdef Py_ssize_t j0 = _share(n, part.number, part.of), j1 = _share(n, part.number + 1, part.of)
    for i in range(Wxh.rows):
        for j in range(j0, j1 if used[i] else j0):
            dWxh[i * Wxh.ld + j] = 0
    for r in range(rows):
        row = dWxh + x[r * every] * Wxh.ld
        for j in range(j0, j1):
            row[j] += dz[r * ldz + j]
