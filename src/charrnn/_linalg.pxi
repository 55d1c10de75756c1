# Products of matrices in register tiles, and transposes: row-major, on pointers, leading dimensions given. Part of _core.pyx.

cdef extern from *:
    """
    /* GCC's -O3 would run two steps of the sum over p in one, and then leave the sums of a single row in memory: a tenth of a step. It
       would also exchange the loops of fma_chains, which then measures one chain. */
    #if defined(__GNUC__) && !defined(__clang__)
    #pragma GCC optimize("no-loop-unroll-and-jam", "no-loop-interchange")
    #endif
    /* A register tile has ROWS_w rows of w columns: as many accumulators as fill the vector registers (benchmarks/README.md); 0 rows
       means that this width is not used. A width of 16 is for single rows only: GCC 12 unrolls so short a loop before it vectorises, and
       a tile of several rows gets ten times slower. With AVX2 strips are 24 wide, but for as many of 32 as make the sum of both whole.
       TILE_WIDTH is the widest tile, ROW_WIDTH the widest single row, which has sums enough to hide latency; CHAINS numbers are as many
       independent sums as show the peak. */
    #if defined(__AVX512F__)
    enum { ROWS_24 = 0, ROWS_32 = 12, ROWS_48 = 8, ROWS_64 = 6, ROWS_80 = 5, ROWS_96 = 4, ROWS_112 = 4 };
    enum { TILE_WIDTH = 112, ROW_WIDTH = 80, CHAINS = 256 };
    #elif defined(__AVX2__)
    enum { ROWS_24 = 4, ROWS_32 = 3, ROWS_48 = 0, ROWS_64 = 0, ROWS_80 = 0, ROWS_96 = 0, ROWS_112 = 0 };
    enum { TILE_WIDTH = 32, ROW_WIDTH = 80, CHAINS = 96 };
    #else
    enum { ROWS_24 = 2, ROWS_32 = 0, ROWS_48 = 0, ROWS_64 = 0, ROWS_80 = 0, ROWS_96 = 0, ROWS_112 = 0 };
    enum { TILE_WIDTH = 24, ROW_WIDTH = 32, CHAINS = 48 };
    #endif
    """
    enum: ROWS_24
    enum: ROWS_32
    enum: ROWS_48
    enum: ROWS_64
    enum: ROWS_80
    enum: ROWS_96
    enum: ROWS_112
    enum: TILE_WIDTH
    enum: ROW_WIDTH
    enum: CHAINS

cdef enum:
    MAX_ROWS = 12            # of any tile, on any target
    MAX_WIDTH = 128
    MANY_ROWS = 4096         # of a product: more are cut, to look at Ctrl-C between
    FEW_ROWS = 64            # of a matrix: by so many it is transposed, for the same reason
    BLOCK_NUMBERS = 16384    # of a strip of B: 64 KiB of float32, well inside a second-level cache; 24 KiB was 8 % slower at H = 512


cdef inline void _tile(
    Py_ssize_t rows, Py_ssize_t width, Py_ssize_t K,
    const real* A, Py_ssize_t a_row, Py_ssize_t a_col,
    const real* B, Py_ssize_t ldb,
    const real* init, Py_ssize_t ldi,
    real* C, Py_ssize_t ldc, Py_ssize_t first,
) noexcept nogil:
    """C[i, j] = init[i, j] + sum over p of A[i, p] B[p, j], from row first on; rows and width are constants: sums in registers."""
    cdef real acc[MAX_ROWS][MAX_WIDTH]
    cdef Py_ssize_t i, j, p
    for i in range(rows):
        for j in range(width):
            acc[i][j] = init[i * ldi + j]
    for p in range(K):
        for i in range(rows):
            for j in range(width):
                acc[i][j] = fma(A[i * a_row + p * a_col], B[p * ldb + j], acc[i][j])
    for i in range(rows):
        if i >= first:
            for j in range(width):
                C[i * ldc + j] = acc[i][j]


cdef inline void _strip(
    Py_ssize_t rows, Py_ssize_t width, Py_ssize_t M, Py_ssize_t K,
    const real* A, Py_ssize_t a_row, Py_ssize_t a_col,
    const real* B, Py_ssize_t ldb,
    const real* init, Py_ssize_t ldi,
    real* C, Py_ssize_t ldc, Watch* watch,
) noexcept nogil:
    """The tiles of one strip of M >= rows rows.

    The last tile is moved back inside and stores only the rows that are left. Where B is walked more than once, it is walked in blocks of
    rows that stay in the cache, the sums waiting in C meanwhile.
    """
    cdef Py_ssize_t block = K if M <= rows else BLOCK_NUMBERS // width
    cdef Py_ssize_t i, p = 0, row, depth
    while True:
        depth = min(block, K - p)
        if _stopped(watch, max(M, 4) * depth * width):   # fewer rows wait for memory
            return
        for i in range((M + rows - 1) // rows):
            row = min(i * rows, M - rows)
            _tile(
                rows, width, depth, A + row * a_row + p * a_col, a_row, a_col, B + p * ldb, ldb, init + row * ldi, ldi,
                C + row * ldc, ldc, i * rows - row,
            )
        p += depth
        if p >= K:
            return
        init, ldi = C, ldc


cdef inline Py_ssize_t _strip_width(Py_ssize_t N, Py_ssize_t widest) noexcept nogil:
    """The width of the next strip where N columns are left: all nearly the same, as a narrow one has too few sums to hide latency."""
    cdef Py_ssize_t strips = (N + widest - 1) // widest
    return (N // LANES + strips - 1) // strips * LANES


cdef void _product(
    Py_ssize_t M, Py_ssize_t N, Py_ssize_t K,
    const real* A, Py_ssize_t a_row, Py_ssize_t a_col,
    const real* B, Py_ssize_t ldb,
    const real* init, Py_ssize_t ldi,
    real* C, Py_ssize_t ldc, Watch* watch, bint backwards=False,
) noexcept nogil:
    """C = init + A B with C (M, N), A (M, K) of any strides, B (K, N); N a multiple of LANES; ldi = 0 repeats one row.

    C must not overlap what is read. How it is cut into strips and tiles, and in which order they come, does not change a bit. A product of
    few rows that is made again and again with the same B is faster if every other one is made backwards: what of B was read last is then
    read first, and still in the first-level cache.
    """
    cdef Py_ssize_t start = 0, width, j
    while start < N:
        width = _strip_width(N - start, TILE_WIDTH) if not ROWS_24 else TILE_WIDTH if (N - start) % 24 else 24
        j = min(start, N - width)
        if ROWS_24 and width == 24 and M >= ROWS_24 and N >= 24:
            _strip(ROWS_24, 24, M, K, A, a_row, a_col, B + j, ldb, init + j, ldi, C + j, ldc, watch)
        elif ROWS_32 and width == 32 and M >= ROWS_32 and N >= 32:
            _strip(ROWS_32, 32, M, K, A, a_row, a_col, B + j, ldb, init + j, ldi, C + j, ldc, watch)
        elif ROWS_48 and width == 48 and M >= ROWS_48:
            _strip(ROWS_48, 48, M, K, A, a_row, a_col, B + j, ldb, init + j, ldi, C + j, ldc, watch)
        elif ROWS_64 and width == 64 and M >= ROWS_64:
            _strip(ROWS_64, 64, M, K, A, a_row, a_col, B + j, ldb, init + j, ldi, C + j, ldc, watch)
        elif ROWS_80 and width == 80 and M >= ROWS_80:
            _strip(ROWS_80, 80, M, K, A, a_row, a_col, B + j, ldb, init + j, ldi, C + j, ldc, watch)
        elif ROWS_96 and width == 96 and M >= ROWS_96:
            _strip(ROWS_96, 96, M, K, A, a_row, a_col, B + j, ldb, init + j, ldi, C + j, ldc, watch)
        elif ROWS_112 and width == 112 and M >= ROWS_112:
            _strip(ROWS_112, 112, M, K, A, a_row, a_col, B + j, ldb, init + j, ldi, C + j, ldc, watch)
        else:
            _single_rows(M, N - start, K, A, a_row, a_col, B + start, ldb, init + start, ldi, C + start, ldc, watch, backwards)
            return
        start = j + width


cdef void _single_rows(
    Py_ssize_t M, Py_ssize_t N, Py_ssize_t K,
    const real* A, Py_ssize_t a_row, Py_ssize_t a_col,
    const real* B, Py_ssize_t ldb,
    const real* init, Py_ssize_t ldi,
    real* C, Py_ssize_t ldc, Watch* watch, bint backwards,
) noexcept nogil:
    """`_product` for fewer rows than a tile has: one row at a time."""
    cdef Py_ssize_t done = 0, width, j
    while done < N:
        width = _strip_width(N - done, ROW_WIDTH)
        j = N - done - width if backwards else done
        if ROW_WIDTH >= 80 and width == 80:
            _strip(1, 80, M, K, A, a_row, a_col, B + j, ldb, init + j, ldi, C + j, ldc, watch)
        elif ROW_WIDTH >= 64 and width == 64:
            _strip(1, 64, M, K, A, a_row, a_col, B + j, ldb, init + j, ldi, C + j, ldc, watch)
        elif ROW_WIDTH >= 48 and width == 48:
            _strip(1, 48, M, K, A, a_row, a_col, B + j, ldb, init + j, ldi, C + j, ldc, watch)
        elif width == 32:
            _strip(1, 32, M, K, A, a_row, a_col, B + j, ldb, init + j, ldi, C + j, ldc, watch)
        else:
            _strip(1, 16, M, K, A, a_row, a_col, B + j, ldb, init + j, ldi, C + j, ldc, watch)
        done += width


cdef inline Py_ssize_t _lanes(Py_ssize_t n) noexcept nogil:
    """n rounded up to a multiple of LANES: the columns that kernels work on."""
    return (n + LANES - 1) // LANES * LANES


cdef void _shuffle(const real* x, real* y) noexcept nogil:
    """y[4 k + q] = x[64 q + k] for k < 64, q < 4."""
    cdef Py_ssize_t k
    for k in range(64):
        y[4 * k] = x[k]
        y[4 * k + 1] = x[64 + k]
        y[4 * k + 2] = x[128 + k]
        y[4 * k + 3] = x[192 + k]


cdef void _transpose_block(const real* A, Py_ssize_t lda, real* AT, Py_ssize_t ldt) noexcept nogil:
    """Transpose 16 x 16 numbers: as an index of 8 bits, row and column change places when it is rotated by two bits twice.

    Four times as fast as a loop over elements, since each rotation is a loop that the compiler vectorises.
    """
    cdef real x[256]
    cdef real y[256]
    cdef Py_ssize_t i, j
    for i in range(16):
        for j in range(16):
            x[16 * i + j] = A[i * lda + j]
    _shuffle(x, y)
    _shuffle(y, x)
    for i in range(16):
        for j in range(16):
            AT[i * ldt + j] = x[16 * i + j]


cdef void _transpose(const real* A, Py_ssize_t lda, Py_ssize_t rows, Py_ssize_t cols, real* AT, Py_ssize_t ldt) noexcept nogil:
    """AT[j, i] = A[i, j] for i < rows, j < cols."""
    cdef Py_ssize_t i, j, whole_rows = rows // 16 * 16, whole_cols = cols // 16 * 16
    for i in range(0, whole_rows, 16):
        for j in range(0, whole_cols, 16):
            _transpose_block(A + i * lda + j, lda, AT + j * ldt + i, ldt)
    for j in range(cols):
        for i in range(whole_rows if j < whole_cols else 0, rows):
            AT[j * ldt + i] = A[i * lda + j]


cdef void _products(
    Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t B, Py_ssize_t T, Py_ssize_t N, Py_ssize_t K,
    const real* A, Py_ssize_t lda,
    const real* W, Py_ssize_t ldw,
    const real* init,
    real* C, Py_ssize_t ldc, Watch* watch,
) noexcept nogil:
    """C[t, b] = init + A[t, b] W for T time steps and the streams from b0 to b1 of B, where no step waits for another."""
    cdef Py_ssize_t t, i = 0, rows
    if b1 - b0 < B:
        for t in range(T):
            _product(b1 - b0, N, K, A + (t * B + b0) * lda, lda, 1, W, ldw, init, 0, C + (t * B + b0) * ldc, ldc, watch)
        return
    while i < T * B:
        rows = min(MANY_ROWS, T * B - i)
        _product(rows, N, K, A + i * lda, lda, 1, W, ldw, init, 0, C + i * ldc, ldc, watch)
        i += rows


cdef inline Py_ssize_t _share(Py_ssize_t n, int part, int parts) noexcept nogil:
    """Where number part of the parts of n begins: at multiples of LANES, so that the transposes of parts are whole blocks."""
    return min(n, (n + LANES * parts - 1) // (LANES * parts) * LANES * part)
