# A layer without recurrence: the output, the input from a layer below, and each product with
# recurrent weights. Part of _core.pyx.
#
# x and y begin with the row of the first time step of a span, and of stream 0.
#
# y_t = b + x_t W

cdef inline Product forward_product(
    const Matrix* W, Py_ssize_t rows, Py_ssize_t ldx, Py_ssize_t ldy, bint panels,
) noexcept nogil:
    """x W, with W in panels or in rows."""
    return Product(rows, _lanes(W.columns), W.rows, ldx, 1, 0 if panels else W.ld, ldy)


cdef void linear_forward(
    const Span* span, const Product* size, const real* x, const real* W, const real* b, real* y,
    Watch* watch,
) noexcept nogil:
    """The rows of all streams lie together; those of some streams have a gap after each time step."""
    cdef Product part = size[0]
    cdef Py_ssize_t end = span.B * (span.t1 - span.t0), i = span.b0, step = span.B
    part.M = span.b1 - span.b0
    if part.M == span.B:
        part.M = step = end if size.ldb else PANEL_ROWS
    while i < end:
        part.M = min(part.M, end - i)
        matmul(&part, x + i * size.a_row, W, b, y + i * size.ldc, watch, False)
        i += step


# dx_t = dy_t W^T

cdef inline Product backward_product(
    const Matrix* W, Py_ssize_t rows, Py_ssize_t ldy, Py_ssize_t ldx, bint panels,
) noexcept nogil:
    """dy W^T, with the transposed copy in panels or in rows."""
    return Product(rows, _lanes(W.rows), W.columns, ldy, 1, 0 if panels else W.ldt, ldx)


cdef inline void linear_backward(
    const Span* span, const Product* size, const real* dy, const real* W_T, const real* zeros,
    real* dx, Watch* watch,
) noexcept nogil:
    linear_forward(span, size, dy, W_T, zeros, dx, watch)


# dW = sum x_t^T dy_t;  db = sum dy_t

cdef inline Product gradient_product(
    const Matrix* W, Py_ssize_t rows, Py_ssize_t ldx, Py_ssize_t ldy,
) noexcept nogil:
    """x^T dy, x and dy having so many rows."""
    return Product(W.rows, _lanes(W.columns), rows, 1, ldx, ldy, W.ld)


cdef void linear_gradient(
    const Part* part, const Product* size, const real* x, const real* dy, const real* zeros,
    real* dW, real* db, real* pack, Watch* watch,
) noexcept nogil:
    """One part of the rows of dW; the first part, where there is a bias, also db."""
    cdef Product some = size[0]
    cdef Py_ssize_t j = _share(size.M, part.number, part.of)
    some.M = _share(size.M, part.number + 1, part.of) - j
    if some.M > 0:
        db = db if part.number == 0 else NULL
        outer_product(&some, x + j, dy, zeros, dW + j * size.ldc, db, pack, watch)
