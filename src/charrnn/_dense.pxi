# A layer without recurrence: the output, the input from a layer below, and the part of each recurrent weight in the gradient. Part of
# _core.pyx.
#
# y_t = b + x_t W

cdef void _dense_forward(
    const Matrix* W, const Matrix* b, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t T, const real[::1] weights,
    const real[:, :, ::1] x, Py_ssize_t first, Py_ssize_t x_column,      # x_t is in row first + t, from its column on
    real[:, :, ::1] y, Py_ssize_t y_column, Watch* watch,
) noexcept nogil:
    _products(
        b0, b1, x.shape[1], T, _lanes(W.columns), W.rows, &x[first, 0, x_column], x.shape[2], &weights[W.start], W.ld, &weights[b.start],
        &y[0, 0, y_column], y.shape[2], watch,
    )


# dx_t = dy_t W^T

cdef void _dense_backward(
    const Matrix* W, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t T, const real[::1] transposed, const real[::1] zeros,
    const real[:, :, ::1] dy, Py_ssize_t y_column, real[:, :, ::1] dx, Py_ssize_t x_column,
    Watch* watch,
) noexcept nogil:
    _products(
        b0, b1, dx.shape[1], T, W.ldt, W.columns, &dy[0, 0, y_column], dy.shape[2], &transposed[W.transposed], W.ldt, &zeros[0],
        &dx[0, 0, x_column], dx.shape[2], watch,
    )


# dW = sum x_t^T dy_t

cdef void _dense_gradient(
    const Matrix* W, int part, int parts, Py_ssize_t T, const real[:, :, ::1] x, Py_ssize_t first, Py_ssize_t x_column,
    const real[:, :, ::1] dy, Py_ssize_t y_column, const real[::1] zeros, real[::1] gradient, Watch* watch,
) noexcept nogil:
    """One part of the rows of dW."""
    cdef Py_ssize_t j0 = _share(W.rows, part, parts), j1 = _share(W.rows, part + 1, parts)
    if j0 < j1:
        _product(
            j1 - j0, _lanes(W.columns), T * x.shape[1], &x[first, 0, x_column + j0], 1, x.shape[2], &dy[0, 0, y_column], dy.shape[2],
            &zeros[0], 0, &gradient[W.start + j0 * W.ld], W.ld, watch,
        )


# db = sum dy_t

cdef void _bias_gradient(
    const Matrix* b, Py_ssize_t T, const real[:, :, ::1] dy, Py_ssize_t y_column, real[::1] gradient, Watch* watch,
) noexcept nogil:
    cdef Py_ssize_t t, i, j
    for j in range(b.ld):
        gradient[b.start + j] = 0
    for t in range(T):
        if _stopped(watch, dy.shape[1] * b.ld):
            return
        for i in range(dy.shape[1]):
            for j in range(b.ld):
                gradient[b.start + j] += dy[t, i, y_column + j]
