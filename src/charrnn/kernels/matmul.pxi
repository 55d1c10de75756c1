# Products of matrices in register tiles, and the copies that they read: row-major or in panels, on pointers. Part of _core.pyx.
#
# In panels, the columns of a matrix (K, N) are cut into strips as the products cut them, and the numbers of a strip lie together, row after
# row: a strip is then read from one end to the other.

cdef extern from *:
    """
    /* GCC's -O3 would run two steps of the sum over p in one, and then leave the sums of a single row in memory: a tenth of a step. It
       would also exchange the loops of fma_chains, which then measures one chain, and copy the sums of a tile by `rep movs`. */
    #if defined(__GNUC__) && !defined(__clang__)
    #pragma GCC optimize("no-loop-unroll-and-jam", "no-loop-interchange", "no-tree-loop-distribute-patterns")
    #endif
    /* A register tile has TILE_ROWS rows of TILE_WIDTH columns: as many accumulators as fill the vector registers (benchmarks/README.md),
       of float32; of float64 half as many rows. As many strips as make the sum of all whole are 32 wide, of SPARE_ROWS; none, if that is
       0, and then the last strip overlaps the one before and nothing lies in panels. No tile of several rows is 16 wide: GCC 12 unrolls so
       short a loop before it vectorises, and is ten times slower. CHAINS numbers are as many independent sums as show the peak. */
    #if defined(__AVX512F__)
    enum { TILE_ROWS = 8, TILE_WIDTH = 48, SPARE_ROWS = 8, ROW_WIDTH = 128, CHAINS = 256 };
    #elif defined(__AVX2__)
    enum { TILE_ROWS = 4, TILE_WIDTH = 24, SPARE_ROWS = 2, ROW_WIDTH = 112, CHAINS = 96 };
    #else
    enum { TILE_ROWS = 2, TILE_WIDTH = 24, SPARE_ROWS = 0, ROW_WIDTH = 32, CHAINS = 48 };
    #endif
    #if defined(__GNUC__)
    #define CHARRNN_PREFETCH(address) __builtin_prefetch(address)
    #else
    #define CHARRNN_PREFETCH(address)
    #endif
    """
    void CHARRNN_PREFETCH(const void* address) noexcept nogil
    enum: TILE_ROWS
    enum: TILE_WIDTH
    enum: SPARE_ROWS
    enum: ROW_WIDTH
    enum: CHAINS

cdef enum:
    MAX_ROWS = 8             # of any tile, on any target
    MAX_WIDTH = 128
    AHEAD = 16               # rows of B that a tile asks for before it needs them: a page ends all that the processor foresees
    MANY_ROWS = 4096         # of a product: more are cut, to look at Ctrl-C between
    PANEL_STEPS = 8          # of a call: for fewer time steps it would take longer to lay weights in panels than panels save
    PANEL_ROWS = 32          # of a product with panels: so few that what they write comes near to lying together
    FEW_ROWS = 64            # of a matrix: by so many it is laid out, for the same reason
    BLOCK_NUMBERS = 16384    # of a strip of B: 64 KiB of float32, well inside a second-level cache; 24 KiB was 8 % slower at H = 512
    SPAN_NUMBERS = 131072    # of states: half a MiB of float32
    PACK_ROWS = 512          # rows and depth of a block of states in a gradient: half of a second-level cache of 1 MiB
    PACK_DEPTH = 192
    PACK_FROM = 64           # depth of a product from which packing is worth while
    PACK_NUMBERS = PACK_DEPTH * 48


# The widest single row: all of a row of 112 numbers at once has sums enough to hide latency on any core, but where the first-level cache
# holds no matrix of 100 such rows, two strips that alternate find half of it there.
cdef Py_ssize_t WIDEST_ROW = min(ROW_WIDTH, 128 if charrnn_first_cache() >= 48 * 1024 else 80)


cdef enum:
    NOTHING = 0
    OF_A
    OF_B


cdef inline Py_ssize_t _whole(Py_ssize_t n) noexcept nogil:
    """n, which is a multiple of LANES, as the compiler sees, too, with this: then no loop has a tail: 6 % of all code."""
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


cdef inline void _tile(
    Py_ssize_t rows, Py_ssize_t width, Py_ssize_t K,
    const real* A, Py_ssize_t a_row, Py_ssize_t a_col,
    const real* B, Py_ssize_t ldb,
    const real* bias, real* C, Py_ssize_t ldc, int ahead,
) noexcept nogil:
    """C[i, j] = bias[j], or C[i, j] without a bias, + sum over p of A[i, p] B[p, j]; rows, width and ahead are constants: the sums are in
    registers.

    ahead: what is asked for before it is needed, if it comes from far. OF_B are rows of B, OF_A columns of A that lie in one row.
    """
    cdef real acc[MAX_ROWS][MAX_WIDTH]
    cdef Py_ssize_t i, j, p
    for i in range(rows):
        begin = bias if bias != NULL else C + i * ldc
        for j in range(width):
            acc[i][j] = begin[j]
    if ahead:                                           # what is written at the end
        for i in range(rows):
            for j in range(width // LANES):
                CHARRNN_PREFETCH(C + i * ldc + j * LANES)
    for p in range(K):
        if ahead == OF_B:
            for j in range(width // LANES):
                CHARRNN_PREFETCH(B + (p + AHEAD) * ldb + j * LANES)
        if ahead == OF_A:
            CHARRNN_PREFETCH(A + (p + AHEAD) * a_col)
        for i in range(rows):
            for j in range(width):
                acc[i][j] = fma(A[i * a_row + p * a_col], B[p * ldb + j], acc[i][j])
    for i in range(rows):
        for j in range(width):
            C[i * ldc + j] = acc[i][j]


cdef inline void _strip(
    Py_ssize_t rows, Py_ssize_t width, Py_ssize_t M, Py_ssize_t K,
    const real* A, Py_ssize_t a_row, Py_ssize_t a_col,
    const real* B, Py_ssize_t ldb,                      # 0: in panels
    const real* bias, real* C, Py_ssize_t ldc, Watch* watch,
) noexcept nogil:
    """The tiles of one strip: of so many rows, of half as many, then single rows.

    Where B is walked more than once, and not in panels, it is walked in blocks of rows that stay in the cache, the sums waiting in C.
    """
    cdef bint panels = ldb == 0
    cdef int ahead = OF_B if panels else NOTHING
    cdef Py_ssize_t block = K if M <= rows or panels else BLOCK_NUMBERS // width
    cdef Py_ssize_t half = rows // 2 if rows > 3 else 1, step = width if panels else ldb, i, p = 0, depth
    cdef const real* a
    while True:
        depth = min(block, K - p)
        if _stopped(watch, max(M, 4) * depth * width):   # fewer rows wait for memory
            return
        i = 0
        while i < M:
            a = A + i * a_row + p * a_col
            if M - i >= rows:
                _tile(rows, width, depth, a, a_row, a_col, B + p * step, step, bias, C + i * ldc, ldc, ahead)
                i += rows
            elif M - i >= half > 1:
                _tile(half, width, depth, a, a_row, a_col, B + p * step, step, bias, C + i * ldc, ldc, ahead)
                i += half
            else:
                _tile(1, width, depth, a, a_row, a_col, B + p * step, step, bias, C + i * ldc, ldc, NOTHING)
                i += 1
        p += depth
        if p >= K:
            return
        bias = NULL


cdef inline Py_ssize_t _strip_width(Py_ssize_t N) noexcept nogil:
    """The width of the next strip where N columns are left."""
    return TILE_WIDTH if SPARE_ROWS == 0 or N % TILE_WIDTH == 0 else min(N, 32)


cdef void _product(
    Py_ssize_t M, Py_ssize_t N, Py_ssize_t K,
    const real* A, Py_ssize_t a_row, Py_ssize_t a_col,
    const real* B, Py_ssize_t ldb,                      # 0: in panels
    const real* bias, real* C, Py_ssize_t ldc, Watch* watch, bint backwards=False,
) noexcept nogil:
    """C = bias + A B, or C += A B without a bias (NULL), with C (M, N), A (M, K) of any strides, B (K, N); N a multiple of LANES.

    C must not overlap what is read. How it is cut into strips and tiles, and in which order they come, does not change a bit. A product of
    few rows that is made again and again with the same B is faster if every other one is made backwards: what of B was read last is then
    read first, and still in the first-level cache.
    """
    cdef Py_ssize_t rows = TILE_ROWS * 4 // sizeof(real), spare = SPARE_ROWS * 4 // sizeof(real), start = 0, width, j
    if N < 32 or (M < 4 and ldb):
        _single_rows(M, N, K, A, a_row, a_col, B, ldb, bias, C, ldc, watch, backwards)
        return
    while start < N:
        width = _strip_width(N - start)
        j = min(start, N - width)
        begin = bias + j if bias != NULL else NULL
        if SPARE_ROWS == 0 and j < start:
            _last_strip(M, N - start, K, A, a_row, a_col, B + j, ldb, begin, C + j, ldc, watch)
        elif ldb and width == TILE_WIDTH:
            _strip(rows, TILE_WIDTH, M, K, A, a_row, a_col, B + j, ldb, begin, C + j, ldc, watch)
        elif ldb:
            _strip(spare, 32, M, K, A, a_row, a_col, B + j, ldb, begin, C + j, ldc, watch)
        elif width == TILE_WIDTH:
            _strip(rows, TILE_WIDTH, M, K, A, a_row, a_col, B + j * K, 0, begin, C + j, ldc, watch)
        else:
            _strip(spare, 32, M, K, A, a_row, a_col, B + j * K, 0, begin, C + j, ldc, watch)
        start = j + width


cdef void _last_strip(
    Py_ssize_t M, Py_ssize_t new, Py_ssize_t K,
    const real* A, Py_ssize_t a_row, Py_ssize_t a_col,
    const real* B, Py_ssize_t ldb,
    const real* bias, real* C, Py_ssize_t ldc, Watch* watch,
) noexcept nogil:
    """A strip that overlaps the one before: only the last columns are new; what C began with is lost in the others."""
    cdef real some[64 * TILE_WIDTH]
    cdef Py_ssize_t rows = TILE_ROWS * 4 // sizeof(real), i, k, count
    for i in range(0, M, 64):
        count = min(64, M - i)
        if bias == NULL:
            for k in range(count):
                _copy(TILE_WIDTH, C + (i + k) * ldc, some + k * TILE_WIDTH)
        _strip(rows, TILE_WIDTH, count, K, A + i * a_row, a_row, a_col, B, ldb, bias, some, TILE_WIDTH, watch)
        for k in range(count):
            _copy(new, some + (k + 1) * TILE_WIDTH - new, C + i * ldc + (k * ldc + TILE_WIDTH - new))


cdef void _single_rows(
    Py_ssize_t M, Py_ssize_t N, Py_ssize_t K,
    const real* A, Py_ssize_t a_row, Py_ssize_t a_col,
    const real* B, Py_ssize_t ldb,
    const real* bias, real* C, Py_ssize_t ldc, Watch* watch, bint backwards,
) noexcept nogil:
    """`_product` for few rows: one at a time, in strips of nearly equal width, as a narrow one has too few sums to hide latency."""
    cdef Py_ssize_t done = 0, widest = WIDEST_ROW, strips, width, j
    cdef Py_ssize_t ld = max(1, ldb if ldb else N)      # so the compiler knows that it is not 0
    while done < N:
        strips = (N - done + widest - 1) // widest
        width = ((N - done) // LANES + strips - 1) // strips * LANES
        j = N - done - width if backwards else done
        begin = bias + j if bias != NULL else NULL
        if width == 16:
            _strip(1, 16, M, K, A, a_row, a_col, B + j, ld, begin, C + j, ldc, watch)
        elif width == 32:
            _strip(1, 32, M, K, A, a_row, a_col, B + j, ld, begin, C + j, ldc, watch)
        elif width == 48:
            _strip(1, 48, M, K, A, a_row, a_col, B + j, ld, begin, C + j, ldc, watch)
        elif width == 64:
            _strip(1, 64, M, K, A, a_row, a_col, B + j, ld, begin, C + j, ldc, watch)
        elif width == 80:
            _strip(1, 80, M, K, A, a_row, a_col, B + j, ld, begin, C + j, ldc, watch)
        elif width == 96:
            _strip(1, 96, M, K, A, a_row, a_col, B + j, ld, begin, C + j, ldc, watch)
        elif width == 112:
            _strip(1, 112, M, K, A, a_row, a_col, B + j, ld, begin, C + j, ldc, watch)
        else:
            _strip(1, 128, M, K, A, a_row, a_col, B + j, ld, begin, C + j, ldc, watch)
        done += width


cdef void _column_sums(Py_ssize_t N, Py_ssize_t K, const real* B, Py_ssize_t ldb, real* sums, Watch* watch) noexcept nogil:
    """sums (N,) = those of the columns of B (K, N)."""
    cdef Py_ssize_t p
    _clear(N, sums)
    for p in range(K):
        if not _stopped(watch, N):
            _add(N, B + p * ldb, sums)


cdef void _outer_product(
    Py_ssize_t M, Py_ssize_t N, Py_ssize_t K,
    const real* A, Py_ssize_t lda,
    const real* B, Py_ssize_t ldb,
    const real* zeros,
    real* C, Py_ssize_t ldc,
    real* sums,                                         # (N,), or NULL
    real* pack, Watch* watch,                           # PACK_NUMBERS
) noexcept nogil:
    """C = A^T B with A (K, M), B (K, N), N a multiple of LANES, and the sums of the columns of B.

    Where it is deep it is made block by block, each as much of A as stays in the second-level cache, while the strips of B are copied, one
    after the other, into the first. The sums are those of `_product`, which wait in C meanwhile.
    """
    cdef Py_ssize_t rows = TILE_ROWS * 4 // sizeof(real), whole = M // rows * rows, i = 0, p, some, depth
    cdef const real* bias
    if not SPARE_ROWS or K < PACK_FROM or N < 32:
        whole = 0
    if sums != NULL and whole == 0:
        _column_sums(N, K, B, ldb, sums, watch)
    elif sums != NULL:
        _clear(N, sums)
    while i < whole:
        some, p = min(PACK_ROWS, whole - i), 0
        bias = zeros
        while p < K:
            depth = min(PACK_DEPTH, K - p)
            if _stopped(watch, 10 * some * depth):
                return
            _packed_product(
                some, N, depth, A + p * lda + i, lda, B + p * ldb, ldb, bias, C + i * ldc, ldc, sums if i == 0 else NULL, pack, watch,
            )
            bias = NULL
            p += depth
        i += some
    if whole < M:
        _product(M - whole, N, K, A + whole, 1, lda, B, ldb, zeros, C + whole * ldc, ldc, watch)


cdef inline void _pack_strip(Py_ssize_t width, Py_ssize_t K, const real* B, Py_ssize_t ldb, real* strip, real* sums) noexcept nogil:
    """strip (K, width) = a strip of B (K, N); sums of its columns, if wanted, are added to sums."""
    cdef real acc[MAX_WIDTH]
    cdef Py_ssize_t p
    for p in range(K):
        _copy(width, B + p * ldb, strip + p * width)
    if sums != NULL:
        _copy(width, sums, acc)
        for p in range(K):
            _add(width, strip + p * width, acc)
        _copy(width, acc, sums)


cdef void _packed_product(
    Py_ssize_t M, Py_ssize_t N, Py_ssize_t K,
    const real* A, Py_ssize_t lda,
    const real* B, Py_ssize_t ldb,
    const real* bias, real* C, Py_ssize_t ldc,
    real* sums,
    real* strip, Watch* watch,                          # (K, TILE_WIDTH)
) noexcept nogil:
    """C = bias + A^T B, or C += A^T B, for one block of `_outer_product`."""
    cdef Py_ssize_t rows = TILE_ROWS * 4 // sizeof(real), spare = SPARE_ROWS * 4 // sizeof(real), start = 0, width, i, p
    cdef const real* a
    cdef real* c
    while start < N:
        width = _strip_width(N - start)
        if _stopped(watch, M * K * width):
            return
        if width == TILE_WIDTH:
            _pack_strip(TILE_WIDTH, K, B + start, ldb, strip, sums)
        else:
            _pack_strip(32, K, B + start, ldb, strip, sums)
        if sums != NULL:
            sums += width
        begin = bias + start if bias != NULL else NULL
        i = 0
        while i < M:
            a, c = A + i, C + i * ldc + start
            if width == TILE_WIDTH:
                _tile(rows, TILE_WIDTH, K, a, 1, lda, strip, TILE_WIDTH, begin, c, ldc, OF_A)
                i += rows
            else:
                _tile(spare, 32, K, a, 1, lda, strip, 32, begin, c, ldc, OF_A)
                i += spare
        start += width


cdef inline void _shuffle(const real* x, Py_ssize_t ldx, real* y) noexcept nogil:
    """y[64 r + 4 c + q] = x[4 q + r, c] of 16 x 16 numbers, for r, q < 4 and c < 16."""
    cdef Py_ssize_t r, c
    for r in range(4):
        for c in range(16):
            y[64 * r + 4 * c] = x[r * ldx + c]
            y[64 * r + 4 * c + 1] = x[(r + 4) * ldx + c]
            y[64 * r + 4 * c + 2] = x[(r + 8) * ldx + c]
            y[64 * r + 4 * c + 3] = x[(r + 12) * ldx + c]


cdef void _transpose_block(Py_ssize_t rows, const real* A, Py_ssize_t lda, real* x) noexcept nogil:
    """x (16, 16) = the transpose of A (rows, 16), at most 16 rows, and zeros beside it.

    As an index of 8 bits, row and column change places when it is rotated by two bits twice. That is four times as fast as a loop over
    elements, since each rotation is a loop that the compiler vectorises.
    """
    cdef real y[256]
    cdef Py_ssize_t i
    if rows < 16:
        for i in range(256):
            x[i] = 0
        for i in range(rows):
            _copy(16, A + i * lda, x + 16 * i)
        A, lda = x, 16
    _shuffle(A, lda, y)
    _shuffle(y, 16, x)


cdef inline real* _column(Py_ssize_t N, Py_ssize_t K, real* B, Py_ssize_t ldb, Py_ssize_t j, Py_ssize_t* ld) noexcept nogil:
    """Where column j of B (K, N) begins; ld is how far its numbers are apart."""
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


cdef void _transpose(
    Py_ssize_t N, Py_ssize_t K, Py_ssize_t first, Py_ssize_t rows, const real* A, Py_ssize_t lda, real* B, Py_ssize_t ldb,
) noexcept nogil:
    """B = A^T with A (N, K), B (K, N) row-major or in panels (ldb is 0), for so many rows of A from the first, a multiple of LANES, on.

    The padding of B, up to a multiple of LANES, becomes 0.
    """
    cdef real block[256]
    cdef real* left
    cdef real* right
    cdef Py_ssize_t i, j, k, left_ld = 0, right_ld = 0
    for i in range(first, first + rows, 16):
        left = _column(_lanes(N), K, B, ldb, i, &left_ld)    # a strip may begin in the middle of a block
        right = _column(_lanes(N), K, B, ldb, i + 8, &right_ld)
        for j in range(0, K, 16):
            _transpose_block(min(16, N - i), A + i * lda + j, lda, block)
            if right == left + 8:
                for k in range(min(16, K - j)):
                    _copy(16, block + 16 * k, left + (j + k) * left_ld)
                continue
            for k in range(min(16, K - j)):
                _copy(8, block + 16 * k, left + (j + k) * left_ld)
                _copy(8, block + 16 * k + 8, right + (j + k) * right_ld)


cdef void _lay_in_panels(
    Py_ssize_t N, Py_ssize_t K, Py_ssize_t first, Py_ssize_t rows, const real* A, Py_ssize_t lda, real* B,
) noexcept nogil:
    """B = A (K, N) in panels, for so many rows from the first on; N a multiple of LANES."""
    cdef Py_ssize_t start = 0, width, k
    while start < N:
        width = _strip_width(N - start)
        for k in range(first, first + rows):
            _copy(width, A + k * lda + start, B + start * K + k * width)
        start += width


cdef struct Span:            # what of a window a call is for
    Py_ssize_t b0, b1        # streams
    Py_ssize_t B             # of so many that there are
    Py_ssize_t t0, t1        # time steps
    Py_ssize_t T             # of so many


cdef struct Part:            # what of the weights a call is for: one number of so many parts
    int number, of


cdef void _products(
    const Span* span, Py_ssize_t N, Py_ssize_t K,
    const real* A, Py_ssize_t lda,
    const real* W, Py_ssize_t ldw,                      # 0: in panels
    const real* bias, real* C, Py_ssize_t ldc, Watch* watch,
) noexcept nogil:
    """C[t, b] = bias + A[t, b] W in a span, where no time step waits for another; A and C begin with that of its first time step."""
    cdef Py_ssize_t B = span.B, b0 = span.b0, t, i = 0, rows, all_rows = (span.t1 - span.t0) * B
    if span.b1 - b0 < B:
        for t in range(span.t1 - span.t0):
            _product(span.b1 - b0, N, K, A + (t * B + b0) * lda, lda, 1, W, ldw, bias, C + (t * B + b0) * ldc, ldc, watch)
        return
    while i < all_rows:
        rows = min(MANY_ROWS if ldw else PANEL_ROWS, all_rows - i)
        _product(rows, N, K, A + i * lda, lda, 1, W, ldw, bias, C + i * ldc, ldc, watch)
        i += rows


cdef inline Py_ssize_t _share(Py_ssize_t n, int part, int parts) noexcept nogil:
    """Where number part of the parts of n begins: at multiples of LANES, so that the transposes of parts are whole blocks."""
    return min(n, (n + LANES * parts - 1) // (LANES * parts) * LANES * part)
