# Products of matrices in register tiles, on pointers, and the copies that they read. Part of
# _core.pyx.
#
# A product cuts the columns of a matrix (K, N) into strips. In panels, the numbers of a strip are
# adjacent, row after row, so that the product reads memory in order.

cdef extern from *:
    """
    /* GCC's -O3 would unroll the sum over p and jam it into the loops around it, leaving the sums
       of a single row in memory: a tenth of a step. It would also turn fma_chains into one chain
       at a time, and copy the sums of a tile by `rep movs`. A cell's loops, called in one place
       only, would become part of the loop over streams, and whether their arrays overlap would be
       checked there. */
    #if defined(__GNUC__) && !defined(__clang__)
    #pragma GCC optimize("no-loop-unroll-and-jam", "no-loop-interchange")
    #pragma GCC optimize("no-tree-loop-distribute-patterns", "no-inline-functions-called-once")
    #endif
    /* A register tile of float32 has TILE_ROWS rows of TILE_WIDTH columns, which fill the vector
       registers with accumulators (benchmarks/README.md); one of float64 has half as many rows. If
       TILE_WIDTH does not divide the columns, the first strips are 32 wide, with tiles of
       SPARE_ROWS rows; not 16, since GCC 12 unrolls so short a loop before it vectorizes, and is
       ten times slower. CHAINS independent sums show the peak. */
    #if defined(__AVX512F__)
    enum { TILE_ROWS = 8, TILE_WIDTH = 48, SPARE_ROWS = 8, ROW_WIDTH = 128, CHAINS = 256 };
    #elif defined(__AVX2__)
    enum { TILE_ROWS = 4, TILE_WIDTH = 24, SPARE_ROWS = 2, ROW_WIDTH = 112, CHAINS = 96 };
    #else
    enum { TILE_ROWS = 2, TILE_WIDTH = 24, SPARE_ROWS = 1, ROW_WIDTH = 32, CHAINS = 48 };
    #endif
    #if defined(__GNUC__)
    #define CHARRNN_PREFETCH(address) __builtin_prefetch(address)
    #else
    #define CHARRNN_PREFETCH(address)
    #endif
    """
    void CHARRNN_PREFETCH(const void* address) noexcept nogil
    enum:
        TILE_ROWS, TILE_WIDTH, SPARE_ROWS, ROW_WIDTH, CHAINS

cdef enum:
    MAX_ROWS = 8             # of any tile, on any target
    MAX_WIDTH = 128
    AHEAD = 16               # rows of B to prefetch: hardware prefetchers stop at page ends
    BLOCK_COST = 1 << 27     # multiply-adds of a product between two looks at Ctrl-C
    PANEL_STEPS = 8          # time steps of a call from which panels save more time than they take
    PANEL_ROWS = 32          # of a product with panels: few, so that what it writes is adjacent
    FEW_ROWS = 64            # of a matrix whose copies are made at once, for the same reason
    BLOCK_NUMBERS = 16384    # of a strip of B: 64 KiB of float32, well inside a second-level cache
    SPAN_NUMBERS = 131072    # of states: half a MiB of float32
    PACK_ROWS = 512          # rows and depth of a block of states in a gradient: half a MiB
    PACK_DEPTH = 192
    PACK_FROM = 64           # depth of a product from which packing saves time
    PACK_NUMBERS = PACK_DEPTH * 48


# The widest single row. All 112 sums of a row at once hide latency on any core; but where the
# first-level cache holds no matrix of 100 such rows, two strips in turn find half of it there.
cdef Py_ssize_t WIDEST_ROW = min(ROW_WIDTH, 128 if charrnn_first_cache() >= 48 * 1024 else 80)


cdef enum:                   # what a tile prefetches
    NOTHING = 0
    OF_A
    OF_B


cdef inline Py_ssize_t _lane_multiple(Py_ssize_t n) noexcept nogil:
    """n, a multiple of LANES: this tells the compiler, so that loops get no tail."""
    return n // LANES * LANES


cdef inline void _copy(Py_ssize_t n, const real* x, real* y) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = x[i]


cdef inline void _clear(Py_ssize_t n, real* x) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        x[i] = 0


cdef inline void _add(Py_ssize_t n, const real* x, real* y) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i] += x[i]


cdef struct Product:         # C (M, N) = A (M, K) B (K, N); N is a multiple of LANES
    Py_ssize_t M, N, K
    Py_ssize_t a_row, a_col  # strides of A: from one row, one column to the next
    Py_ssize_t ldb           # from one row of B to the next; 0 where B lies in panels
    Py_ssize_t ldc           # from one row of C to the next
    void* rounded            # room for operands rounded to bfloat16; NULL: they are not rounded


cdef inline void _tile(
    Py_ssize_t rows, Py_ssize_t width, const Product* size,
    const real* A, const real* B, const real* bias, real* C, int prefetch,
) noexcept nogil:
    """C[i, j] = bias[j], or C[i, j] without a bias, + sum over p of A[i, p] B[p, j].

    rows, width and prefetch are constants, so the sums are in registers. prefetch: OF_B for rows of
    B, OF_A for columns of A, whose numbers are adjacent.
    """
    cdef real acc[MAX_ROWS][MAX_WIDTH]
    cdef Py_ssize_t i, j, p
    if size.K < 1:           # never, but so the compiler knows that the loop over p runs
        return
    for i in range(rows):
        begin = bias if bias != NULL else C + i * size.ldc
        for j in range(width):
            acc[i][j] = begin[j]
    if prefetch:             # C is written at the end
        for i in range(rows):
            for j in range(width // LANES):
                CHARRNN_PREFETCH(C + i * size.ldc + j * LANES)
    for p in range(size.K):
        if prefetch == OF_B:
            for j in range(width // LANES):
                CHARRNN_PREFETCH(B + (p + AHEAD) * size.ldb + j * LANES)
        if prefetch == OF_A:
            CHARRNN_PREFETCH(A + (p + AHEAD) * size.a_col)
        for i in range(rows):
            for j in range(width):
                acc[i][j] = fma(A[i * size.a_row + p * size.a_col], B[p * size.ldb + j], acc[i][j])
    for i in range(rows):
        for j in range(width):
            C[i * size.ldc + j] = acc[i][j]


cdef inline void _strip(
    Py_ssize_t rows, Py_ssize_t width, bint panels, const Product* size,
    const real* A, const real* B, const real* bias, real* C,
) noexcept nogil:
    """Multiply by one strip of B, in tiles of `rows` rows, of half as many, and of single rows.

    If several tiles read a B that is not in panels, they read it in blocks that stay in the cache,
    while the sums wait in C.
    """
    cdef Py_ssize_t block = size.K if size.M <= rows or panels else BLOCK_NUMBERS // width
    cdef Py_ssize_t half = rows // 2 if rows > 3 else 1, i, p = 0
    cdef int prefetch = OF_B if panels else NOTHING
    cdef Product tile = size[0]
    if panels:
        tile.ldb = width
    while True:
        tile.K = min(block, size.K - p)
        b = B + p * tile.ldb
        i = 0
        while i < size.M:
            a = A + i * size.a_row + p * size.a_col
            if size.M - i >= rows:
                _tile(rows, width, &tile, a, b, bias, C + i * size.ldc, prefetch)
                i += rows
            elif size.M - i >= half > 1:
                _tile(half, width, &tile, a, b, bias, C + i * size.ldc, prefetch)
                i += half
            else:
                _tile(1, width, &tile, a, b, bias, C + i * size.ldc, NOTHING)
                i += 1
        p += tile.K
        if p >= size.K:
            return
        bias = NULL


cdef inline Py_ssize_t _strip_width(Py_ssize_t N) noexcept nogil:
    """The width of the next strip where N columns are left."""
    return TILE_WIDTH if N % TILE_WIDTH == 0 else min(N, 32)


cdef void matmul(
    const Product* size, const real* A, const real* B, const real* bias, real* C, bint backwards,
) noexcept nogil:
    """C = bias + A B, or C += A B if bias is NULL. C must not overlap A or B.

    The order of strips and tiles does not change a bit. Products of few rows with the same B are
    faster if every second one goes backwards: it begins with the part of B that is still in the
    first-level cache.
    """
    cdef Py_ssize_t rows = TILE_ROWS * 4 // sizeof(real), j = 0, width
    cdef Py_ssize_t spare = max(1, SPARE_ROWS * 4 // sizeof(real))
    if real is float:
        if size.rounded != NULL:
            rounded_matmul(size, A, B, bias, C)
            return
    if size.N < 32 or (size.M < 4 and size.ldb):
        _single_rows(size, A, B, bias, C, backwards)
        return
    while j < size.N:
        width = _strip_width(size.N - j)
        begin = bias + j if bias != NULL else NULL
        if size.ldb and width == TILE_WIDTH:
            _strip(rows, TILE_WIDTH, False, size, A, B + j, begin, C + j)
        elif size.ldb:
            _strip(spare, 32, False, size, A, B + j, begin, C + j)
        elif width == TILE_WIDTH:
            _strip(rows, TILE_WIDTH, True, size, A, B + j * size.K, begin, C + j)
        else:
            _strip(spare, 32, True, size, A, B + j * size.K, begin, C + j)
        j += width


cdef void _single_rows(
    const Product* size, const real* A, const real* B, const real* bias, real* C, bint backwards,
) noexcept nogil:
    """`matmul` of few rows: one at a time, in strips wide enough that their sums hide latency."""
    cdef Py_ssize_t widest = WIDEST_ROW, done, width, i, j, p = 0
    cdef Product row = size[0]
    row.ldb = max(1, size.ldb if size.ldb else size.N)    # so the compiler knows that it is not 0
    while p < size.K:
        # Several rows read B in blocks that stay in the cache, while their sums wait in C.
        row.K = size.K if size.M == 1 else min(size.K - p, BLOCK_NUMBERS // MAX_WIDTH)
        done = 0
        while done < size.N:
            width = min(size.N - done, widest)
            if width < size.N - done < 2 * widest:
                width = (size.N - done + LANES) // (2 * LANES) * LANES
            j = size.N - done - width if backwards else done
            begin = bias + j if bias != NULL else NULL
            for i in range(size.M):
                a = A + i * size.a_row + p * size.a_col
                _single_row(width, &row, a, B + p * row.ldb + j, begin, C + i * size.ldc + j)
            done += width
        p += row.K
        bias = NULL


cdef inline void _single_row(
    Py_ssize_t width, const Product* size, const real* A, const real* B, const real* bias, real* C,
) noexcept nogil:
    if width == 16:
        _tile(1, 16, size, A, B, bias, C, NOTHING)
    elif width == 32:
        _tile(1, 32, size, A, B, bias, C, NOTHING)
    elif width == 48:
        _tile(1, 48, size, A, B, bias, C, NOTHING)
    elif width == 64:
        _tile(1, 64, size, A, B, bias, C, NOTHING)
    elif width == 80:
        _tile(1, 80, size, A, B, bias, C, NOTHING)
    elif width == 96:
        _tile(1, 96, size, A, B, bias, C, NOTHING)
    elif width == 112:
        _tile(1, 112, size, A, B, bias, C, NOTHING)
    else:
        _tile(1, 128, size, A, B, bias, C, NOTHING)


cdef void column_sums(
    Py_ssize_t N, Py_ssize_t K, const real* B, Py_ssize_t ldb, real* sums,
) noexcept nogil:
    """sums (N,) = the sums of the columns of B (K, N)."""
    cdef Py_ssize_t p
    _clear(N, sums)
    for p in range(K):
        _add(N, B + p * ldb, sums)


cdef void outer_product(
    const Product* size, const real* A, const real* B, const real* zeros, real* C, real* sums,
    real* pack, InterruptCheck* check,
) noexcept nogil:
    """C = A^T B, with A (K, M) in rows: size.a_row is 1, size.a_col leads from one row to the next.

    sums (N,) = the column sums of B, unless it is NULL; pack has room for PACK_NUMBERS. A deep
    product is made block by block. A block has as much of A as stays in the second-level cache;
    strips of B are copied into the first, one after the other, while the sums wait in C.
    """
    cdef Py_ssize_t rows = TILE_ROWS * 4 // sizeof(real), whole = size.M // rows * rows, i = 0, p
    cdef Product block = size[0]
    if real is float:
        if size.rounded != NULL:
            rounded_outer_product(size, A, B, zeros, C, sums, check)
            return
    if size.K < PACK_FROM or size.N < 32:
        whole = 0
    if sums != NULL and whole == 0:
        column_sums(size.N, size.K, B, size.ldb, sums)
    elif sums != NULL:
        _clear(size.N, sums)
    while i < whole:
        block.M, p = min(PACK_ROWS, whole - i), 0
        while p < size.K:
            block.K = min(PACK_DEPTH, size.K - p)
            if _should_stop(check, block.M * block.K * size.N):
                return
            _packed_product(
                &block, A + p * size.a_col + i, B + p * size.ldb, zeros if p == 0 else NULL,
                C + i * size.ldc, sums if i == 0 else NULL, pack,
            )
            p += block.K
        i += block.M
    block.M, block.K = size.M - whole, size.K
    if whole < size.M and not _should_stop(check, block.M * size.K * size.N):
        matmul(&block, A + whole, B, zeros, C + whole * size.ldc, False)


cdef void _packed_product(
    const Product* size, const real* A, const real* B, const real* bias, real* C, real* sums,
    real* pack,
) noexcept nogil:
    """C = bias + A^T B, or C += A^T B, for one block of `outer_product`."""
    cdef Py_ssize_t rows = TILE_ROWS * 4 // sizeof(real), j = 0, width
    cdef Py_ssize_t spare = max(1, SPARE_ROWS * 4 // sizeof(real))
    while j < size.N:
        width = _strip_width(size.N - j)
        begin = bias + j if bias != NULL else NULL
        columns = sums + j if sums != NULL else NULL
        if width == TILE_WIDTH:
            _packed_strip(rows, TILE_WIDTH, size, A, B + j, begin, C + j, columns, pack)
        else:
            _packed_strip(spare, 32, size, A, B + j, begin, C + j, columns, pack)
        j += width


cdef inline void _packed_strip(
    Py_ssize_t rows, Py_ssize_t width, const Product* size,
    const real* A, const real* B, const real* bias, real* C, real* sums, real* pack,
) noexcept nogil:
    """One strip of `_packed_product`, copied into pack (K, width); sums grow by its column sums."""
    cdef real acc[MAX_WIDTH]
    cdef Product tile = size[0]
    cdef Py_ssize_t i = 0, p
    for p in range(size.K):
        _copy(width, B + p * size.ldb, pack + p * width)
    if sums != NULL:
        _copy(width, sums, acc)
        for p in range(size.K):
            _add(width, pack + p * width, acc)
        _copy(width, acc, sums)
    tile.a_row, tile.ldb = 1, width
    while i < size.M:
        _tile(rows, width, &tile, A + i, pack, bias, C + i * size.ldc, OF_A)
        i += rows


cdef inline void _shuffle(const real* x, Py_ssize_t ldx, real* y) noexcept nogil:
    """y[64 r + 4 c + q] = x[4 q + r, c] of 16 x 16 numbers, for r, q < 4 and c < 16."""
    cdef Py_ssize_t r, c
    for r in range(4):
        for c in range(16):
            y[64 * r + 4 * c] = x[r * ldx + c]
            y[64 * r + 4 * c + 1] = x[(r + 4) * ldx + c]
            y[64 * r + 4 * c + 2] = x[(r + 8) * ldx + c]
            y[64 * r + 4 * c + 3] = x[(r + 12) * ldx + c]


cdef void _transpose_block(
    Py_ssize_t rows, const real* A, Py_ssize_t lda, real* B, Py_ssize_t ldb,
) noexcept nogil:
    """B (16, 16) = the transpose of A (rows, 16), at most 16 rows, and zeros beside it.

    In the 8 bits of an index, two rotations by two bits exchange row and column. The compiler
    vectorizes them: that is four times as fast as a loop over elements.
    """
    cdef real x[256]
    cdef real y[256]
    cdef real z[256]
    cdef Py_ssize_t i
    if rows < 16:
        _clear(256, x)
        for i in range(rows):
            _copy(16, A + i * lda, x + 16 * i)
        A, lda = x, 16
    _shuffle(A, lda, y)
    _shuffle(y, 16, z)
    for i in range(16):
        _copy(16, z + 16 * i, B + i * ldb)


cdef inline real* _column(
    Py_ssize_t N, Py_ssize_t K, real* B, Py_ssize_t ldb, Py_ssize_t j, Py_ssize_t* ld,
) noexcept nogil:
    """The first number of column j of B (K, N); ld is the step to the next."""
    cdef Py_ssize_t start = 0, width
    if ldb:
        ld[0] = ldb
        return B + j
    while True:
        width = _strip_width(N - start)
        if j < start + width:
            ld[0] = width
            return B + start * K + j - start
        start += width


cdef void transpose(
    Py_ssize_t N, Py_ssize_t K, Py_ssize_t first, Py_ssize_t rows,
    const real* A, Py_ssize_t lda, real* B, Py_ssize_t ldb, bint bfloat16,
) noexcept nogil:
    """B (K, N) = A^T, in rows, or in panels (ldb is 0), for some rows of A (N, K).

    With bfloat16, it is in panels, and rounded. first is a multiple of LANES. The padding of B, up
    to a multiple of LANES, becomes 0. Rows have room for as many more.
    """
    cdef real block[256]
    cdef Py_ssize_t i, j, k, left_ld = 0, right_ld = 0
    if real is float:
        if bfloat16:
            round_transposed(N, K, first, rows, A, lda, B)
            return
    for i in range(first, first + rows, 16):
        left = _column(_lanes(N), K, B, ldb, i, &left_ld)
        right = _column(_lanes(N), K, B, ldb, i + 8, &right_ld)    # perhaps of the next strip
        for j in range(0, K, 16):
            if right == left + 8 and (ldb or j + 16 <= K):
                to = left + j * left_ld
                _transpose_block(min(16, N - i), A + i * lda + j, lda, to, left_ld)
                continue
            _transpose_block(min(16, N - i), A + i * lda + j, lda, block, 16)
            for k in range(min(16, K - j)):
                _copy(8, block + 16 * k, left + (j + k) * left_ld)
                _copy(8, block + 16 * k + 8, right + (j + k) * right_ld)


cdef void copy_to_panels(
    Py_ssize_t N, Py_ssize_t K, Py_ssize_t first, Py_ssize_t rows,
    const real* A, Py_ssize_t lda, real* B, bint bfloat16,
) noexcept nogil:
    """B = A (K, N) in panels, rounded with bfloat16, for some rows; N is a multiple of LANES."""
    cdef Py_ssize_t j = 0, width, k
    if real is float:
        if bfloat16:
            round_to_panels(N, K, first, rows, A, lda, B)
            return
    while j < N:
        width = _strip_width(N - j)
        for k in range(first, first + rows):
            _copy(width, A + k * lda + j, B + j * K + k * width)
        j += width


cdef struct Span:            # the part of a window that a call works on
    Py_ssize_t b0, b1        # streams, of
    Py_ssize_t B
    Py_ssize_t t0, t1        # time steps, of
    Py_ssize_t T


cdef struct Part:            # the part of the weights that a call works on: a number below `of`
    int number, of


cdef inline Py_ssize_t _share(Py_ssize_t n, int part, int parts) noexcept nogil:
    """Where a part of n begins: at a multiple of LANES, so that parts of a transpose are blocks."""
    return min(n, (n + LANES * parts - 1) // (LANES * parts) * LANES * part)
