# A layer without recurrence: the output, the input from a layer below, and the part of each recurrent weight in the gradient. Part of
# _core.pyx.
#
# y_t = b + x_t W

cdef void _dense_forward(
    const Matrix* W, const Matrix* b, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t T, const real[::1] weights, const real[::1] panels,
    bint in_panels,
    const real[:, :, ::1] x, Py_ssize_t x_first, Py_ssize_t x_column,    # x_t is in row x_first + t, from x_column on, y_t likewise
    real[:, :, ::1] y, Py_ssize_t y_first, Py_ssize_t y_column, Watch* watch,
) noexcept nogil:
    cdef Py_ssize_t ld = 0 if in_panels else W.ld
    _products(
        b0, b1, x.shape[1], T, _lanes(W.columns), W.rows, &x[x_first, 0, x_column], x.shape[2],
        &weights[W.start] if ld else &panels[W.start], ld, &weights[b.start], &y[y_first, 0, y_column], y.shape[2], watch,
    )


# dx_t = dy_t W^T

cdef void _dense_backward(
    const Matrix* W, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t t0, Py_ssize_t t1, const real[::1] transposed, bint in_panels,
    const real[::1] zeros, const real[:, :, ::1] dy, Py_ssize_t y_column, real[:, :, ::1] dx, Py_ssize_t x_column, Watch* watch,
) noexcept nogil:
    _products(
        b0, b1, dx.shape[1], t1 - t0, _lanes(W.rows), W.columns, &dy[t0, 0, y_column], dy.shape[2], &transposed[W.transposed],
        0 if in_panels else W.ldt, &zeros[0], &dx[t0, 0, x_column], dx.shape[2], watch,
    )


# dW = sum x_t^T dy_t;  db = sum dy_t

cdef void _dense_gradient(
    const Matrix* W, const Matrix* b, int part, int parts, Py_ssize_t T, const real[:, :, ::1] x, Py_ssize_t first, Py_ssize_t x_column,
    const real[:, :, ::1] dy, Py_ssize_t y_column, const real[::1] zeros, real[::1] gradient, real[::1] packs, Watch* watch,
) noexcept nogil:
    """One part of the rows of dW; the first part, where there is a bias, also db."""
    cdef Py_ssize_t j0 = _share(W.rows, part, parts), j1 = _share(W.rows, part + 1, parts)
    cdef real* pack = &packs[part * PACK_NUMBERS] if packs.shape[0] else NULL
    cdef real* db = &gradient[b.start] if part == 0 and b != NULL else NULL
    if j0 < j1:
        _outer_product(
            j1 - j0, _lanes(W.columns), T * x.shape[1], &x[first, 0, x_column + j0], x.shape[2], &dy[0, 0, y_column], dy.shape[2],
            &zeros[0], &gradient[W.start + j0 * W.ld], W.ld, db, pack, watch,
        )
