# A layer without recurrence: the output, the input from a layer below, and each product with
# recurrent weights. Part of _core.pyx.
#
# y_t = b + x_t W

cdef inline Product forward_product(
    const Matrix* W, Py_ssize_t rows, Py_ssize_t ldx, Py_ssize_t ldy, bint panels, void* rounded,
) noexcept nogil:
    """The size of x W, with W in rows or in panels."""
    return Product(rows, _lanes(W.columns), W.rows, ldx, 1, 0 if panels else W.ld, ldy, rounded)


# dx_t = dy_t W^T

cdef inline Product backward_product(
    const Matrix* W, Py_ssize_t rows, Py_ssize_t ldy, Py_ssize_t ldx, bint panels, void* rounded,
) noexcept nogil:
    """The size of dy W^T, with the transposed copy of W."""
    return Product(rows, _lanes(W.rows), W.columns, ldy, 1, 0 if panels else W.ldt, ldx, rounded)


cdef void span_matmul(
    const Span* span, Product* size, const real* x, const real* W, const real* b, real* y,
    InterruptCheck* check,
) noexcept nogil:
    """y_t = b + x_t W in a span; x and y begin with the row of its first time step and stream 0.

    The rows of all streams are adjacent; those of some streams have a gap after each time step.
    """
    cdef Py_ssize_t end = span.B * (span.t1 - span.t0), i = span.b0, step = span.B
    cdef Py_ssize_t cost = size.N * size.K
    size.M = span.b1 - span.b0
    if size.M == span.B:
        size.M = step = end if size.ldb else PANEL_ROWS
        if size.M * cost > BLOCK_COST:
            size.M = step = max(PANEL_ROWS, BLOCK_COST // cost)
    while i < end and not _should_stop(check, size.M * cost):
        size.M = min(size.M, end - i)
        matmul(size, x + i * size.a_row, W, b, y + i * size.ldc, False)
        i += step


# dW = sum x_t^T dy_t;  db = sum dy_t

cdef inline Product gradient_product(
    const Matrix* W, Py_ssize_t rows, Py_ssize_t ldx, Py_ssize_t ldy, void* rounded,
) noexcept nogil:
    """The size of x^T dy; rows: of x and dy."""
    return Product(W.rows, _lanes(W.columns), rows, 1, ldx, ldy, W.ld, rounded)


cdef void linear_gradient(
    const Part* part, const Product* size, const real* x, const real* dy, const real* zeros,
    real* dW, real* db, real* pack, InterruptCheck* check,
) noexcept nogil:
    """One part of the rows of dW; the first part also db, unless it is NULL."""
    cdef Product rows = size[0]
    cdef Py_ssize_t j = _share(size.M, part.number, part.of)
    rows.M = _share(size.M, part.number + 1, part.of) - j
    if rows.M > 0:
        db = db if part.number == 0 else NULL
        outer_product(&rows, x + j, dy, zeros, dW + j * size.ldc, db, pack, check)
