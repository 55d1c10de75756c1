# Mixed precision: products of operands that are rounded to bfloat16, summed in float32. Part of
# _core.pyx.
#
# A number is rounded when a product copies it: weights once in a step, into panels. What is below
# 2^-56 becomes 0, and so does what a sum starts from below 2^-103. Then no sum ever has bits below
# 2^-126, and vdpbf16ps gives those of the ascending chain of multiply-adds: a product has the same
# bits by pairs of numbers, where the processor has that instruction, and by `matmul` elsewhere.

cdef extern from "_dots.h":
    enum:
        CHARRNN_HAS_DOTS
    void charrnn_dots(
        Py_ssize_t M, Py_ssize_t width, Py_ssize_t K, const float* A, Py_ssize_t a_row,
        Py_ssize_t a_col, const float* B, const float* bias, float* C, Py_ssize_t ldc,
        int goes_on,
    ) noexcept nogil

cdef enum:
    ROUNDED_ROWS = 64        # of A that are rounded at a time
    ROUNDED_WIDTH = 48       # columns of B that are packed at a time, for a gradient

cdef float LEAST_START = 2.0**-103
cdef bint IN_PAIRS = CHARRNN_HAS_DOTS and charrnn_cpu_dots()


cdef Py_ssize_t rounded_numbers(const Plan* plan) noexcept nogil:
    """How many numbers a thread needs room for."""
    cdef Py_ssize_t longest = 0
    cdef int i
    for i in range(plan.n_matrices):
        longest = max(longest, plan.matrices[i].rows, plan.matrices[i].columns)
    return max(ROUNDED_ROWS * longest, PACK_DEPTH * (PACK_ROWS + LANES + ROUNDED_WIDTH))


cdef inline unsigned int _rounded(float x) noexcept nogil:
    """The bits of x rounded to bfloat16, to even at a tie: in the upper half."""
    cdef FloatBits f
    f.value = x
    f.bits = (f.bits + 0x7FFF + ((f.bits >> 16) & 1)) & <unsigned int>0xFFFF0000
    return f.bits if (f.bits & 0x7FFFFFFF) >= (127 - 56) << 23 else 0


cdef inline float _pair(float first, float second) noexcept nogil:
    """Two rounded numbers, in the place of one."""
    cdef FloatBits f
    f.bits = _rounded(first) | _rounded(second) >> 16
    return f.value


cdef void _round_row(Py_ssize_t n, const float* x, float* y) noexcept nogil:
    """Round a row, whose neighbors make pairs."""
    cdef Py_ssize_t i
    for i in range(n // 2 if IN_PAIRS else 0):
        y[i] = _pair(x[2 * i], x[2 * i + 1])
    if IN_PAIRS and n % 2:
        y[n // 2] = _pair(x[n - 1], 0)
    for i in range(0 if IN_PAIRS else n):
        y[i] = _pair(x[i], 0)


cdef inline void _round_rows(
    Py_ssize_t n, const float* x, const float* below, float* y, Py_ssize_t ld,
) noexcept nogil:
    """Round two rows, whose columns make pairs; below is NULL after the last."""
    cdef Py_ssize_t j
    if IN_PAIRS and below != NULL:
        for j in range(n):
            y[j] = _pair(x[j], below[j])
        return
    for j in range(n):
        y[j] = _pair(x[j], 0)
    for j in range(n if below != NULL else 0):
        y[ld + j] = _pair(below[j], 0)


cdef inline Py_ssize_t _pairs(Py_ssize_t n) noexcept nogil:
    """The place of number n, a multiple of 2, or how many places n numbers take."""
    return (n + 1) // 2 if IN_PAIRS else n


cdef void round_to_panels(
    Py_ssize_t N, Py_ssize_t K, Py_ssize_t first, Py_ssize_t rows,
    const float* A, Py_ssize_t lda, float* B,
) noexcept nogil:
    """B = A (K, N), rounded, in panels, for some rows, the first an even one."""
    cdef Py_ssize_t j = 0, width, k
    while j < N:
        width = _strip_width(N - j)
        for k in range(first, first + rows, 2):
            row, to = A + k * lda + j, B + j * K + _pairs(k) * width
            _round_rows(width, row, row + lda if k + 1 < K else NULL, to, width)
        j += width


cdef void round_transposed(
    Py_ssize_t N, Py_ssize_t K, Py_ssize_t first, Py_ssize_t rows,
    const float* A, Py_ssize_t lda, float* B,
) noexcept nogil:
    """B (K, N) = A^T, rounded, in panels: as `transpose`."""
    cdef float block[256]
    cdef Py_ssize_t i, j, k, half, width = 0
    for i in range(first, first + rows, 16):
        for j in range(0, K, 16):
            _transpose_block(min(16, N - i), A + i * lda + j, lda, block, 16)
            for half in range(0, 16, 8):     # perhaps of two strips
                to = _column(_lanes(N), K, B, 0, i + half, &width)
                for k in range(0, min(16, K - j), 2):
                    row = block + 16 * k + half
                    below = row + 16 if j + k + 1 < K else NULL
                    _round_rows(8, row, below, to + _pairs(j + k) * width, width)


cdef void rounded_matmul(
    const Product* size, const float* A, const float* B, const float* bias, float* C,
) noexcept nogil:
    """`matmul` of rounded A and B, which is in panels of one of the functions above."""
    cdef Product block = size[0]
    cdef float* rows = <float*>size.rounded
    cdef Py_ssize_t i = 0, j, width
    block.a_row, block.a_col, block.rounded = _pairs(size.K), 1, NULL
    while i < size.M:
        block.M, c = min(ROUNDED_ROWS, size.M - i), C + i * size.ldc
        for j in range(block.M):
            _round_row(size.K, A + (i + j) * size.a_row, rows + j * block.a_row)
        if not IN_PAIRS:
            _start_sums(&block, bias, c)
            matmul(&block, rows, B, NULL, c, False)
        j = 0
        while j < size.N and IN_PAIRS:
            width = _strip_width(size.N - j)
            charrnn_dots(
                block.M, width, block.a_row, rows, block.a_row, 1, B + j * size.K,
                bias + j if bias != NULL else NULL, c + j, size.ldc, False,
            )
            j += width
        i += block.M


cdef void _start_sums(const Product* size, const float* bias, float* C) noexcept nogil:
    """C = bias, or C without a bias, and 0 where that is below 2^-103."""
    cdef Py_ssize_t i, j
    for i in range(size.M):
        begin = bias if bias != NULL else C + i * size.ldc
        for j in range(size.N):
            C[i * size.ldc + j] = 0 if magnitude(begin[j]) < LEAST_START else begin[j]


cdef void rounded_outer_product(
    const Product* size, const float* A, const float* B, const float* zeros, float* C, float* sums,
    InterruptCheck* check,
) noexcept nogil:
    """`outer_product` of rounded A and B; sums are those of B, not rounded."""
    cdef Product block = size[0]
    cdef float* a = <float*>size.rounded
    cdef Py_ssize_t i = 0, p, k, depth = 2 * PACK_DEPTH if IN_PAIRS else PACK_DEPTH
    block.rounded = NULL
    block.a_row = 1
    if sums != NULL:
        _clear(size.N, sums)
    while i < size.M:
        block.M, p = min(PACK_ROWS, size.M - i), 0
        block.a_col = _lanes(block.M) | LANES        # an odd multiple, as all leading dimensions
        while p < size.K:
            block.K = min(depth, size.K - p)
            if _should_stop(check, block.M * block.K * size.N):
                return
            for k in range(0, block.K, 2):
                x = A + (p + k) * size.a_col + i
                below = x + size.a_col if k + 1 < block.K else NULL
                _round_rows(_lanes(block.M), x, below, a + _pairs(k) * block.a_col, block.a_col)
            _rounded_strips(
                &block, a, B + p * size.ldb, zeros if p == 0 else NULL, C + i * size.ldc,
                sums if i == 0 else NULL, a + PACK_DEPTH * (PACK_ROWS + LANES),
            )
            p += block.K
        i += block.M


cdef void _rounded_strips(
    const Product* size, const float* A, const float* B, const float* bias, float* C,
    float* sums, float* pack,
) noexcept nogil:
    """C = A^T B, or C += A^T B without a bias, for one block of A, which is rounded; sums grow."""
    cdef Product strip = size[0]
    cdef Py_ssize_t j = 0, k
    while j < size.N:
        strip.N = strip.ldb = min(ROUNDED_WIDTH, size.N - j)
        for k in range(0, size.K, 2):
            row = B + k * size.ldb + j
            below = row + size.ldb if k + 1 < size.K else NULL
            _round_rows(strip.N, row, below, pack + _pairs(k) * strip.N, strip.N)
            if sums != NULL:
                _add(strip.N, row, sums + j)
            if sums != NULL and below != NULL:
                _add(strip.N, below, sums + j)
        if IN_PAIRS:
            charrnn_dots(
                size.M, strip.N, _pairs(size.K), A, 1, size.a_col, pack, bias, C + j, size.ldc,
                bias == NULL,
            )
        else:
            matmul(&strip, A, pack, bias, C + j, False)
        j += strip.N
