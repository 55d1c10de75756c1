# A layer without recurrence: the output, the input from a layer below, and the part of each recurrent weight in the gradient. Part of
# _core.pyx. x is where the row of the first time step of a span, and of stream 0, is; ldx is how far rows are apart.
#
# y_t = b + x_t W

cdef inline void _dense_forward(
    const Span* span, const Matrix* W, const real* weights, Py_ssize_t ldw, const real* bias, const real* x, Py_ssize_t ldx,
    real* y, Py_ssize_t ldy, Watch* watch,
) noexcept nogil:
    """weights is where W lies, in panels if ldw is 0."""
    _products(span, _lanes(W.columns), W.rows, x, ldx, weights, ldw, bias, y, ldy, watch)


# dx_t = dy_t W^T

cdef inline void _dense_backward(
    const Span* span, const Matrix* W, const real* transposed, Py_ssize_t ldw, const real* zeros, const real* dy, Py_ssize_t ldy,
    real* dx, Py_ssize_t ldx, Watch* watch,
) noexcept nogil:
    """transposed is where the transposed copy of W lies."""
    _products(span, _lanes(W.rows), W.columns, dy, ldy, transposed, ldw, zeros, dx, ldx, watch)


# dW = sum x_t^T dy_t;  db = sum dy_t

cdef void _dense_gradient(
    const Matrix* W, const Part* part, Py_ssize_t rows, const real* x, Py_ssize_t ldx, const real* dy, Py_ssize_t ldy,
    const real* zeros, real* dW, real* db, real* packs, Watch* watch,
) noexcept nogil:
    """One part of the rows of dW, from so many rows of x and dy; the first part, where there is a bias, also db."""
    cdef Py_ssize_t j0 = _share(W.rows, part.number, part.of), j1 = _share(W.rows, part.number + 1, part.of)
    if j0 < j1:
        _outer_product(
            j1 - j0, _lanes(W.columns), rows, x + j0, ldx, dy, ldy, zeros, dW + j0 * W.ld, W.ld, db if part.number == 0 else NULL,
            packs, watch,
        )
