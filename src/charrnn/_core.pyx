"""The kernels: everything that runs once per character.

Symbols, as in docs/math.md: T time steps, B streams, H hidden units, V characters; Hp and Vp are H and V rounded up to a multiple of LANES,
the leading dimension of every matrix, so that no inner loop has a ragged tail. The padding is zero (in `by`: PAD_LOGIT) and stays so.

    z_t = Wxh[x_t] + bh + h_(t-1) Whh        h_t = tanh(z_t)        logits_t = by + h_t Why        p_t = softmax(logits_t)

The rule that makes the same bits at every vector width: vectorise across outputs, never along a sum. Each output element is one chain of
fused multiply-adds in a fixed order; where a sum must run along a row (softmax), it has LANES partial sums, whatever the machine has.

Three strata: row and tile primitives on pointers; `noexcept nogil` kernels on memoryviews, which allocate nothing, raise nothing and trust
their arguments; `def` doors at the end, which release the GIL. The doors trust their caller, rnn.py, which owns and checks every array.
"""

from charrnn._elementary cimport exp_nonpositive, fma, log, magnitude, normal, real, root, tanh, uniform

cdef extern from *:
    """
    /* A register tile has ROWS_w rows of w columns: as many accumulators as fill the vector registers (benchmarks/README.md); 0 rows
       means that this width is not used. A width of 16 is for single rows only: GCC 12 unrolls so short a loop before it vectorises, and
       a tile of several rows gets ten times slower. ROW_WIDTH is the widest single row, TILE_WIDTH the widest tile; CHAINS numbers are
       as many independent sums as show the peak. */
    #if defined(__AVX512F__)
    enum { ROWS_24 = 0, ROWS_32 = 12, ROWS_48 = 8, ROWS_64 = 6, ROWS_80 = 5, ROWS_96 = 4, ROWS_112 = 4 };
    enum { TILE_WIDTH = 112, ROW_WIDTH = 128, CHAINS = 256 };
    #elif defined(__AVX2__)
    enum { ROWS_24 = 4, ROWS_32 = 0, ROWS_48 = 0, ROWS_64 = 0, ROWS_80 = 0, ROWS_96 = 0, ROWS_112 = 0 };
    enum { TILE_WIDTH = 24, ROW_WIDTH = 112, CHAINS = 96 };
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

cdef extern from "_cpu.h":
    int charrnn_cpu_level()

cdef enum:
    LANES = 16       # leading dimensions are multiples of it; partial sums along a row
    MAX_ROWS = 12    # of any tile, on any target
    MAX_WIDTH = 128
    L1_NUMBERS = 16384    # of float32, three quarters of a first-level cache of 32 KiB

cdef double PAD = -1e30    # the logit of padding characters: finite, and their probability is exactly 0

globals()["LANES"] = LANES
PAD_LOGIT = PAD


# ------------------------------------------------------------------------------------------------------------------ linear algebra

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
    real* C, Py_ssize_t ldc,
) noexcept nogil:
    """The tiles of one strip of M >= rows rows.

    The last tile is moved back inside and stores only the rows that are left. Where B is walked more than once, it is walked in blocks of
    rows that stay in L1, the sums waiting in C meanwhile.
    """
    cdef Py_ssize_t block = K if M <= rows else L1_NUMBERS // width
    cdef Py_ssize_t i, p = 0, row, depth
    while True:
        depth = min(block, K - p)
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
    real* C, Py_ssize_t ldc,
) noexcept nogil:
    """C = init + A B with C (M, N), A (M, K) of any strides, B (K, N); N a multiple of LANES; ldi = 0 repeats one row.

    C must not overlap what is read. How it is cut into strips and tiles does not change a bit.
    """
    cdef Py_ssize_t start = 0, width, j
    while start < N:
        width = 24 if ROWS_24 else _strip_width(N - start, TILE_WIDTH)
        j = min(start, N - width)
        if ROWS_24 and width == 24 and M >= ROWS_24 and N >= 24:
            _strip(ROWS_24, 24, M, K, A, a_row, a_col, B + j, ldb, init + j, ldi, C + j, ldc)
        elif ROWS_32 and width == 32 and M >= ROWS_32:
            _strip(ROWS_32, 32, M, K, A, a_row, a_col, B + j, ldb, init + j, ldi, C + j, ldc)
        elif ROWS_48 and width == 48 and M >= ROWS_48:
            _strip(ROWS_48, 48, M, K, A, a_row, a_col, B + j, ldb, init + j, ldi, C + j, ldc)
        elif ROWS_64 and width == 64 and M >= ROWS_64:
            _strip(ROWS_64, 64, M, K, A, a_row, a_col, B + j, ldb, init + j, ldi, C + j, ldc)
        elif ROWS_80 and width == 80 and M >= ROWS_80:
            _strip(ROWS_80, 80, M, K, A, a_row, a_col, B + j, ldb, init + j, ldi, C + j, ldc)
        elif ROWS_96 and width == 96 and M >= ROWS_96:
            _strip(ROWS_96, 96, M, K, A, a_row, a_col, B + j, ldb, init + j, ldi, C + j, ldc)
        elif ROWS_112 and width == 112 and M >= ROWS_112:
            _strip(ROWS_112, 112, M, K, A, a_row, a_col, B + j, ldb, init + j, ldi, C + j, ldc)
        else:
            _single_rows(M, N - start, K, A, a_row, a_col, B + start, ldb, init + start, ldi, C + start, ldc)
            return
        start = j + width


cdef void _single_rows(
    Py_ssize_t M, Py_ssize_t N, Py_ssize_t K,
    const real* A, Py_ssize_t a_row, Py_ssize_t a_col,
    const real* B, Py_ssize_t ldb,
    const real* init, Py_ssize_t ldi,
    real* C, Py_ssize_t ldc,
) noexcept nogil:
    """`_product` for fewer rows than a tile has: one row at a time, as wide as the registers allow."""
    cdef Py_ssize_t j = 0, width
    while j < N:
        width = _strip_width(N - j, ROW_WIDTH)
        if ROW_WIDTH >= 128 and width == 128:
            _strip(1, 128, M, K, A, a_row, a_col, B + j, ldb, init + j, ldi, C + j, ldc)
        elif ROW_WIDTH >= 112 and width == 112:
            _strip(1, 112, M, K, A, a_row, a_col, B + j, ldb, init + j, ldi, C + j, ldc)
        elif ROW_WIDTH >= 96 and width == 96:
            _strip(1, 96, M, K, A, a_row, a_col, B + j, ldb, init + j, ldi, C + j, ldc)
        elif ROW_WIDTH >= 80 and width == 80:
            _strip(1, 80, M, K, A, a_row, a_col, B + j, ldb, init + j, ldi, C + j, ldc)
        elif ROW_WIDTH >= 64 and width == 64:
            _strip(1, 64, M, K, A, a_row, a_col, B + j, ldb, init + j, ldi, C + j, ldc)
        elif ROW_WIDTH >= 48 and width == 48:
            _strip(1, 48, M, K, A, a_row, a_col, B + j, ldb, init + j, ldi, C + j, ldc)
        elif width == 32:
            _strip(1, 32, M, K, A, a_row, a_col, B + j, ldb, init + j, ldi, C + j, ldc)
        else:
            _strip(1, 16, M, K, A, a_row, a_col, B + j, ldb, init + j, ldi, C + j, ldc)
        j += width


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


cdef void _carry(real[:, :, ::1] hs, Py_ssize_t size) noexcept nogil:
    """hs[0] = hs[size]: the state after a window of size characters is the one before the next."""
    cdef Py_ssize_t i
    for i in range(hs.shape[1] * hs.shape[2]):
        (&hs[0, 0, 0])[i] = (&hs[size, 0, 0])[i]


cdef void _sum_rows(const real* A, Py_ssize_t rows, Py_ssize_t width, real* out) noexcept nogil:
    """out[j] = sum over i of A[i, j]."""
    cdef Py_ssize_t i, j
    for j in range(width):
        out[j] = 0
    for i in range(rows):
        for j in range(width):
            out[j] += A[i * width + j]


# ------------------------------------------------------------------------------------------------------------------ recurrent cell
# Kernels that work on streams take those from b0 to b1, kernels that work on weights the rows from j0 to j1, so that threads can
# share a step: they split outputs, never a sum.
#
# z_t = Wxh[x_t] + bh + h_(t-1) Whh;  h_t = tanh(z_t)

cdef void _cell_forward(
    Py_ssize_t b0, Py_ssize_t b1,
    const int[:, ::1] inputs,            # (T, B) in [0, V)
    const real[:, ::1] Wxh,              # (V, Hp)
    const real[:, ::1] Whh,              # (H, Hp), row j holds the weights from unit j
    const real[::1] bh,                  # (Hp,)
    real[:, :, ::1] hs,                  # (T + 1, B, Hp); hs[0] is the state before, hs[t + 1] the state after character t
    real[:, :, ::1] z,                   # (T, B, Hp) scratch
) noexcept nogil:
    cdef Py_ssize_t H = Whh.shape[0], Hp = Whh.shape[1], t, b, j
    for t in range(inputs.shape[0]):
        for b in range(b0, b1):
            for j in range(Hp):
                z[t, b, j] = Wxh[inputs[t, b], j] + bh[j]
    for t in range(inputs.shape[0]):
        _product(b1 - b0, _lanes(H), H, &hs[t, b0, 0], Hp, 1, &Whh[0, 0], Hp, &z[t, b0, 0], Hp, &hs[t + 1, b0, 0], Hp)
        _tanh_rows((b1 - b0) * Hp, &hs[t + 1, b0, 0])


cdef void _tanh_rows(Py_ssize_t n, real* x) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        x[j] = tanh(x[j])


# dz_t = (1 - h_t^2) dh_t;  dh_(t-1) += dz_t Whh^T

cdef void _cell_backward(
    Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t T,
    const real[:, ::1] WhhT,             # (H, Hp) = Whh transposed
    const real[:, :, ::1] hs,            # (T + 1, B, Hp)
    const real[:, :, ::1] dh,            # (T, B, Hp) from the output layer
    real[:, :, ::1] dz,                  # (T, B, Hp)
) noexcept nogil:
    cdef Py_ssize_t H = WhhT.shape[0], Hp = WhhT.shape[1], n = (b1 - b0) * Hp, t
    _tanh_backward(n, &hs[T, b0, 0], &dh[T - 1, b0, 0], &dz[T - 1, b0, 0])
    for t in range(T - 1, 0, -1):
        _product(b1 - b0, _lanes(H), H, &dz[t, b0, 0], Hp, 1, &WhhT[0, 0], Hp, &dh[t - 1, b0, 0], Hp, &dz[t - 1, b0, 0], Hp)
        _tanh_backward(n, &hs[t, b0, 0], &dz[t - 1, b0, 0], &dz[t - 1, b0, 0])


cdef void _tanh_backward(Py_ssize_t n, const real* h, const real* dh, real* dz) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        dz[j] = fma(-h[j], h[j], <real>1) * dh[j]


# dWhh = sum h_(t-1)^T dz_t;  dWxh[x_t] += dz_t

cdef void _recurrent_gradient(
    Py_ssize_t j0, Py_ssize_t j1, Py_ssize_t T, const real[:, :, ::1] hs, const real[:, :, ::1] dz, const real[::1] zeros,
    real[:, ::1] dWhh,
) noexcept nogil:
    cdef Py_ssize_t B = hs.shape[1], Hp = hs.shape[2]
    if j0 < j1:
        _product(j1 - j0, _lanes(dWhh.shape[0]), T * B, &hs[0, 0, j0], 1, Hp, &dz[0, 0, 0], Hp, &zeros[0], 0, &dWhh[j0, 0], Hp)


cdef void _input_gradient(
    Py_ssize_t v0, Py_ssize_t v1, const int[:, ::1] inputs, const real[:, :, ::1] dz, real[:, ::1] dWxh, char[::1] used,
) noexcept nogil:
    """The rows of dWxh from v0 to v1 whose character is in inputs, which are marked in used; the other rows are 0 and not written."""
    cdef Py_ssize_t t, b, j, x
    for t in range(inputs.shape[0]):
        for b in range(inputs.shape[1]):
            x = inputs[t, b]
            if x < v0 or x >= v1:
                continue
            if not used[x]:
                used[x] = 1
                for j in range(dWxh.shape[1]):
                    dWxh[x, j] = 0
            for j in range(dWxh.shape[1]):
                dWxh[x, j] += dz[t, b, j]


# ------------------------------------------------------------------------------------------------------------------ output layer
# logits_t = by + h_t Why

cdef void _output_forward(
    Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t V,
    const real[:, :, ::1] hs,            # (T + 1, B, Hp)
    const real[:, ::1] Why,              # (H, Vp)
    const real[::1] by,                  # (Vp,)
    Py_ssize_t first, Py_ssize_t T,      # the states hs[first] to hs[first + T - 1]
    real[:, :, ::1] logits,              # (T, B, Vp)
) noexcept nogil:
    cdef Py_ssize_t B = hs.shape[1], H = Why.shape[0], Hp = hs.shape[2], Vp = Why.shape[1], t
    if b1 - b0 == B:                     # no recurrence: all of T at once
        _product(T * B, _lanes(V), H, &hs[first, 0, 0], Hp, 1, &Why[0, 0], Vp, &by[0], 0, &logits[0, 0, 0], Vp)
        return
    for t in range(T):
        _product(b1 - b0, _lanes(V), H, &hs[first + t, b0, 0], Hp, 1, &Why[0, 0], Vp, &by[0], 0, &logits[t, b0, 0], Vp)


# dh_t = dlogits_t Why^T

cdef void _output_backward(
    Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t T,
    const real[:, ::1] WhyT,             # (V, Hp) = Why transposed
    const real[:, :, ::1] dlogits,       # (T, B, Vp)
    const real[::1] zeros,               # at least Hp
    real[:, :, ::1] dh,                  # (T, B, Hp)
) noexcept nogil:
    cdef Py_ssize_t B = dh.shape[1], V = WhyT.shape[0], Hp = WhyT.shape[1], Vp = dlogits.shape[2], t
    if b1 - b0 == B:
        _product(T * B, Hp, V, &dlogits[0, 0, 0], Vp, 1, &WhyT[0, 0], Hp, &zeros[0], 0, &dh[0, 0, 0], Hp)
        return
    for t in range(T):
        _product(b1 - b0, Hp, V, &dlogits[t, b0, 0], Vp, 1, &WhyT[0, 0], Hp, &zeros[0], 0, &dh[t, b0, 0], Hp)


# dWhy = sum h_t^T dlogits_t

cdef void _output_gradient(
    Py_ssize_t j0, Py_ssize_t j1, Py_ssize_t T, Py_ssize_t V, const real[:, :, ::1] hs, const real[:, :, ::1] dlogits,
    const real[::1] zeros, real[:, ::1] dWhy,
) noexcept nogil:
    cdef Py_ssize_t B = hs.shape[1], Hp = hs.shape[2], Vp = dWhy.shape[1]
    if j0 < j1:
        _product(j1 - j0, _lanes(V), T * B, &hs[1, 0, j0], 1, Hp, &dlogits[0, 0, 0], Vp, &zeros[0], 0, &dWhy[j0, 0], Vp)


# ------------------------------------------------------------------------------------------------------------------ softmax and loss
# p = exp(logits - max) / sum;  nll = log(sum) - (logits[target] - max), in nats; target IGNORED counts nothing

cdef enum:
    IGNORED = -1

cdef double _softmax(Py_ssize_t n, real* x, int target, real scale=1) noexcept nogil:
    """Turn one row of n logits into the probabilities of scale * logits in place; return the negative log-likelihood of target."""
    cdef real peak[LANES]
    cdef real total[LANES]
    cdef real chosen = 0, norm
    cdef Py_ssize_t i, j
    for j in range(LANES):
        peak[j] = x[j]
        total[j] = 0
    for i in range(1, n // LANES):
        for j in range(LANES):
            peak[j] = x[i * LANES + j] if x[i * LANES + j] > peak[j] else peak[j]
    for j in range(1, LANES):
        peak[0] = peak[j] if peak[j] > peak[0] else peak[0]
    if target != IGNORED:
        chosen = (x[target] - peak[0]) * scale
    for i in range(n // LANES):
        for j in range(LANES):
            x[i * LANES + j] = exp_nonpositive((x[i * LANES + j] - peak[0]) * scale)
            total[j] += x[i * LANES + j]
    for j in range(1, LANES):
        total[0] += total[j]
    norm = 1 / total[0]
    for i in range(n):
        x[i] *= norm
    return log(total[0]) - chosen if target != IGNORED else 0.0


# dlogits = (p - onehot(target)) / B

cdef void _softmax_backward(Py_ssize_t n, real* p, int target, real scale) noexcept nogil:
    """Turn one row of probabilities into the gradient of scale * nll by the logits, in place."""
    cdef Py_ssize_t i
    if target == IGNORED:
        scale = 0
    else:
        p[target] -= 1
    if scale != 1:
        for i in range(n):
            p[i] *= scale


# ------------------------------------------------------------------------------------------------------------------ optimiser
# memory += g^2;  parameter -= rate * g / sqrt(memory + 1e-8), with g the clipped gradient (Duchi, Hazan and Singer, 2011)

cdef void _adagrad(Py_ssize_t n, real* parameter, real* memory, const real* gradient, real rate, real clip) noexcept nogil:
    cdef real g
    cdef Py_ssize_t i
    for i in range(n):
        g = _clip(gradient[i], clip)
        memory[i] = fma(g, g, memory[i])
        parameter[i] -= rate * g / root(memory[i] + <real>1e-8)


cdef inline real _clip(real g, real limit) noexcept nogil:
    g = limit if g > limit else g
    return -limit if g < -limit else g


# ------------------------------------------------------------------------------------------------------------------ whole steps

cdef bint _is_bounded(Py_ssize_t n, const real* x) noexcept nogil:
    """Whether every |x| < 1e30 (NaN is not): then no gradient made from x is NaN, and an infinite one is clipped."""
    cdef Py_ssize_t i
    cdef int bad = 0
    for i in range(n):
        bad |= not (magnitude(x[i]) < <real>1e30)
    return not bad


cdef void _forward(
    Py_ssize_t b0, Py_ssize_t b1, const int[:, ::1] inputs, const int[:, ::1] targets,
    const real[:, ::1] Wxh, const real[:, ::1] Whh, const real[:, ::1] Why, const real[::1] bh, const real[::1] by,
    real[:, :, ::1] hs, real[:, :, ::1] z, real[:, :, ::1] p, double[:, ::1] nll,
) noexcept nogil:
    """Run streams of one window: states, probabilities, and the loss of each target."""
    cdef Py_ssize_t T = inputs.shape[0], V = Wxh.shape[0], t, b
    _cell_forward(b0, b1, inputs, Wxh, Whh, bh, hs, z)
    _output_forward(b0, b1, V, hs, Why, by, 1, T, p)
    for t in range(T):
        for b in range(b0, b1):
            nll[t, b] = _softmax(_lanes(V), &p[t, b, 0], targets[t, b])


cdef bint _backward(
    Py_ssize_t b0, Py_ssize_t b1, const int[:, ::1] targets, const real[:, ::1] WhhT, const real[:, ::1] WhyT,
    const real[:, :, ::1] hs, real[:, :, ::1] p, real[:, :, ::1] dh, real[:, :, ::1] dz, const real[::1] zeros,
) noexcept nogil:
    """Lead the gradient of the loss (sum over T, mean over B) back through streams of one window; return whether it is bounded.

    p becomes the gradient by the logits, dz is the one by the sums before tanh: all that the gradients by the weights are made of.
    """
    cdef Py_ssize_t T = targets.shape[0], B = targets.shape[1], t, b
    cdef bint bounded = True
    for t in range(T):
        for b in range(b0, b1):
            _softmax_backward(_lanes(WhyT.shape[0]), &p[t, b, 0], targets[t, b], <real>1 / <real>B)
    _output_backward(b0, b1, T, WhyT, p, zeros, dh)
    _cell_backward(b0, b1, T, WhhT, hs, dh, dz)
    for t in range(T):
        bounded = bounded and _is_bounded((b1 - b0) * dz.shape[2], &dz[t, b0, 0])
    return bounded


cdef double _total(const double[:, ::1] nll, Py_ssize_t T) noexcept nogil:
    """The sum of the first T rows, in their order."""
    cdef Py_ssize_t t, b
    cdef double total = 0
    for t in range(T):
        for b in range(nll.shape[1]):
            total += nll[t, b]
    return total


cdef Py_ssize_t _used_rows(const int[:, ::1] targets) noexcept nogil:
    """How many rows of a window there are up to the last that has a target, at least 1: short records need no more."""
    cdef Py_ssize_t t, b
    for t in range(targets.shape[0] - 1, 0, -1):
        for b in range(targets.shape[1]):
            if targets[t, b] != IGNORED:
                return t + 1
    return 1


cdef inline Py_ssize_t _share(Py_ssize_t n, int part, int parts) noexcept nogil:
    """Where number part of the parts of n begins: at multiples of LANES, so that the transposes of parts are whole blocks."""
    return min(n, (n + LANES * parts - 1) // (LANES * parts) * LANES * part)


cdef void _learn(
    int part, int parts, const int[:, ::1] inputs, Py_ssize_t V,
    const real[:, :, ::1] hs, const real[:, :, ::1] p, const real[:, :, ::1] dz, const real[::1] zeros, char[::1] used,
    real[:, ::1] Wxh, real[:, ::1] Whh, real[:, ::1] Why, real[::1] bh, real[::1] by,
    real[:, ::1] mWxh, real[:, ::1] mWhh, real[:, ::1] mWhy, real[::1] mbh, real[::1] mby,
    real[:, ::1] dWxh, real[:, ::1] dWhh, real[:, ::1] dWhy, real[::1] dbh, real[::1] dby,
    real[:, ::1] WhhT, real[:, ::1] WhyT, real rate, real clip,
) noexcept nogil:
    """Gradient, clip, Adagrad and transposed copies of one part of the weights: some rows of each matrix, in part 0 the biases too."""
    cdef Py_ssize_t T = inputs.shape[0], H = Whh.shape[0], Hp = Whh.shape[1], Vp = Why.shape[1], v
    cdef Py_ssize_t j0 = _share(H, part, parts), j1 = _share(H, part + 1, parts)
    cdef Py_ssize_t v0 = _share(V, part, parts), v1 = _share(V, part + 1, parts)
    _recurrent_gradient(j0, j1, T, hs, dz, zeros, dWhh)
    _output_gradient(j0, j1, T, V, hs, p, zeros, dWhy)
    _input_gradient(v0, v1, inputs, dz, dWxh, used)
    if j0 < j1:
        _adagrad((j1 - j0) * Hp, &Whh[j0, 0], &mWhh[j0, 0], &dWhh[j0, 0], rate, clip)
        _adagrad((j1 - j0) * Vp, &Why[j0, 0], &mWhy[j0, 0], &dWhy[j0, 0], rate, clip)
        _transpose(&Whh[j0, 0], Hp, j1 - j0, H, &WhhT[0, j0], Hp)
        _transpose(&Why[j0, 0], Vp, j1 - j0, V, &WhyT[0, j0], Hp)
    for v in range(v0, v1):
        if used[v]:
            used[v] = 0
            _adagrad(Hp, &Wxh[v, 0], &mWxh[v, 0], &dWxh[v, 0], rate, clip)
    if part == 0:
        _sum_rows(&dz[0, 0, 0], T * hs.shape[1], Hp, &dbh[0])
        _sum_rows(&p[0, 0, 0], T * hs.shape[1], Vp, &dby[0])
        _adagrad(Hp, &bh[0], &mbh[0], &dbh[0], rate, clip)
        _adagrad(Vp, &by[0], &mby[0], &dby[0], rate, clip)


# ------------------------------------------------------------------------------------------------------------------ sampling

cdef struct Controls:
    double temperature
    double top_p         # 1: off
    double min_p         # 0: off
    Py_ssize_t top_k     # V: off


cdef double _keep(Py_ssize_t V, real* p, Py_ssize_t most, double mass) noexcept nogil:
    """Keep the largest of V probabilities, equal ones from the first on, until they are `most` or sum to mass; return the sum of the kept.

    The smallest kept value is found by bisection, so that no order has to be made: fifty walks over p rather than a sort.
    """
    cdef real low = 0, high = 1, middle
    cdef Py_ssize_t v, kept = 0
    cdef double total = 0
    while True:                      # low: values from it on are enough; high: values from it on are too few, or just above 1
        middle = (low + high) / 2
        if middle <= low or middle >= high:
            break
        kept, total = 0, 0
        for v in range(V):
            if p[v] >= middle:
                kept += 1
                total += p[v]
        if kept >= most or total >= mass:
            low = middle
        else:
            high = middle
    kept, total = 0, 0
    for v in range(V):
        if p[v] > low:
            kept += 1
            total += p[v]
    for v in range(V):
        if p[v] == low and kept < most and total < mass:
            kept += 1
            total += p[v]
        elif p[v] <= low:
            p[v] = 0
    return total


cdef double _filter(Py_ssize_t V, real* p, const Controls* controls) noexcept nogil:
    """Clear the probabilities that top_k, then top_p of what is left, then min_p exclude; return the sum of the others."""
    cdef double mass = 1
    cdef real least = 0
    cdef Py_ssize_t v
    if controls.top_k < V:
        mass = _keep(V, p, controls.top_k, 2)
    if controls.top_p < 1:
        mass = _keep(V, p, V, controls.top_p * mass)
    if controls.min_p > 0:
        for v in range(V):
            least = p[v] if p[v] > least else least
        least *= <real>controls.min_p
        mass = 0
        for v in range(V):
            p[v] = p[v] if p[v] >= least else 0
            mass += p[v]
    return mass


cdef int _pick(Py_ssize_t V, real* logits, const char* allowed, const Controls* controls, unsigned long long* random) noexcept nogil:
    """Draw from softmax(logits / temperature) as filtered, or take the first largest at temperature 0; the logits are used up."""
    cdef Py_ssize_t v, best = 0
    cdef double rest
    for v in range(V):
        logits[v] = logits[v] if allowed[v] else <real>PAD
    if controls.temperature == 0:
        for v in range(1, V):
            best = v if logits[v] > logits[best] else best
        return <int>best
    # Within these bounds padding stays impossible and no difference of logits overflows.
    _softmax(_lanes(V), logits, IGNORED, <real>max(1e-28, min(1e30, 1 / max(controls.temperature, 1e-30))))
    rest = uniform(random) * _filter(V, logits, controls)
    for v in range(V):
        rest -= logits[v]
        if rest < 0:
            return <int>v
    for v in range(V):               # rounding has left rest at 0 or a little above: the last character that is possible
        best = v if logits[v] > 0 else best
    return <int>best


# ------------------------------------------------------------------------------------------------------------------ doors
# `params`, `memory` and `grads` are rnn.Parameters, `work` is a rnn.Workspace. hs picks the dtype; inputs and targets are (T, B).

def init_normal(real[:, ::1] out, Py_ssize_t width, double scale, unsigned long long[::1] random):
    """Fill out[:, :width] with normal numbers of standard deviation scale, row by row."""
    cdef Py_ssize_t i, j
    with nogil:
        for i in range(out.shape[0]):
            for j in range(width):
                out[i, j] = <real>(scale * normal(&random[0]))


def cell_forward(real[:, :, ::1] hs, params, work, const int[:, ::1] inputs):
    """States hs[1:] of one window from hs[0]."""
    cdef real[:, ::1] Wxh = params.Wxh, Whh = params.Whh
    cdef real[::1] bh = params.bh
    cdef real[:, :, ::1] z = work.dh
    with nogil:
        _cell_forward(0, hs.shape[1], inputs, Wxh, Whh, bh, hs, z)


def output_forward(real[:, :, ::1] hs, params, real[:, :, ::1] logits, Py_ssize_t first, Py_ssize_t vocab_size):
    """Logits of the states from hs[first] on, as many as logits has rows."""
    cdef real[:, ::1] Why = params.Why
    cdef real[::1] by = params.by
    with nogil:
        _output_forward(0, hs.shape[1], vocab_size, hs, Why, by, first, logits.shape[0], logits)


def softmax(real[:, :, ::1] logits, const int[:, ::1] targets, double[:, ::1] nll, Py_ssize_t vocab_size):
    """Turn padded rows of logits (T, B, Vp) into probabilities, in place; nll (T, B) gets the loss of each target."""
    cdef Py_ssize_t t, b
    with nogil:
        for t in range(logits.shape[0]):
            for b in range(logits.shape[1]):
                nll[t, b] = _softmax(_lanes(vocab_size), &logits[t, b, 0], targets[t, b])


def evaluate(real[:, :, ::1] hs, params, work, const int[:, ::1] inputs, const int[:, ::1] targets, double[:, ::1] nll):
    """Run windows of work's length over all of inputs, carrying the state in hs[0]; nll (N, B) gets the loss of each target."""
    cdef real[:, ::1] Wxh = params.Wxh, Whh = params.Whh, Why = params.Why
    cdef real[::1] bh = params.bh, by = params.by
    cdef real[:, :, ::1] z = work.dh, p = work.p
    cdef Py_ssize_t T = z.shape[0], N = inputs.shape[0], window, start, stop
    with nogil:
        for window in range((N + T - 1) // T):
            start, stop = window * T, min((window + 1) * T, N)
            _forward(0, hs.shape[1], inputs[start:stop], targets[start:stop], Wxh, Whh, Why, bh, by, hs, z, p, nll[start:stop])
            _carry(hs, stop - start)


def transpose(real[:, :, ::1] hs, params, work):
    """Make the transposed copies in work fit params; hs only tells the dtype."""
    cdef real[:, ::1] Whh = params.Whh, Why = params.Why, WhhT = work.WhhT, WhyT = work.WhyT
    with nogil:
        _transpose(&Whh[0, 0], Whh.shape[1], Whh.shape[0], Whh.shape[0], &WhhT[0, 0], WhhT.shape[1])
        _transpose(&Why[0, 0], Why.shape[1], Why.shape[0], WhyT.shape[0], &WhyT[0, 0], WhyT.shape[1])


def backward(real[:, :, ::1] hs, params, work, grads, const int[:, ::1] inputs, const int[:, ::1] targets):
    """Gradient of one window (not clipped) into grads, from the hs and p in work; p is used up."""
    cdef real[:, ::1] WhhT = work.WhhT, WhyT = work.WhyT, dWxh = grads.Wxh, dWhh = grads.Whh, dWhy = grads.Why
    cdef real[::1] dbh = grads.bh, dby = grads.by, zeros = work.zeros
    cdef real[:, :, ::1] dh = work.dh, dz = work.dz, p = work.p
    cdef char[::1] used = work.used
    cdef Py_ssize_t T = inputs.shape[0], B = inputs.shape[1], H = WhhT.shape[0], V = WhyT.shape[0]
    transpose(hs, params, work)
    with nogil:
        _backward(0, B, targets, WhhT, WhyT, hs, p, dh, dz, zeros)
        _recurrent_gradient(0, H, T, hs, dz, zeros, dWhh)
        _output_gradient(0, H, T, V, hs, p, zeros, dWhy)
        _input_gradient(0, V, inputs, dz, dWxh, used)
        _sum_rows(&dz[0, 0, 0], T * B, dz.shape[2], &dbh[0])
        _sum_rows(&p[0, 0, 0], T * B, p.shape[2], &dby[0])
        used[:] = 0


def adagrad(real[::1] parameter, real[::1] memory, const real[::1] gradient, *, double rate, double clip):
    """Clip the gradient and apply one Adagrad update, element by element."""
    with nogil:
        _adagrad(parameter.shape[0], &parameter[0], &memory[0], &gradient[0], <real>rate, <real>clip)


def streams_step(real[:, :, ::1] hs, params, work, const int[:, ::1] inputs, const int[:, ::1] targets, Py_ssize_t b0, Py_ssize_t b1):
    """First half of a training step, for the streams from b0 to b1 of one window; return whether its gradient is bounded."""
    cdef real[:, ::1] Wxh = params.Wxh, Whh = params.Whh, Why = params.Why, WhhT = work.WhhT, WhyT = work.WhyT
    cdef real[::1] bh = params.bh, by = params.by, zeros = work.zeros
    cdef real[:, :, ::1] dh = work.dh, dz = work.dz, p = work.p
    cdef double[:, ::1] nll = work.nll
    cdef bint bounded
    with nogil:
        _forward(b0, b1, inputs, targets, Wxh, Whh, Why, bh, by, hs, dh, p, nll)
        bounded = _backward(b0, b1, targets, WhhT, WhyT, hs, p, dh, dz, zeros)
    return bounded


def weights_step(real[:, :, ::1] hs, params, memory, work, const int[:, ::1] inputs, int part, int parts, *, double rate, double clip):
    """Second half of a training step, for one of several parts of the weights, once all streams have done the first."""
    cdef real[:, ::1] Wxh = params.Wxh, Whh = params.Whh, Why = params.Why, WhhT = work.WhhT, WhyT = work.WhyT
    cdef real[:, ::1] mWxh = memory.Wxh, mWhh = memory.Whh, mWhy = memory.Why
    cdef real[:, ::1] dWxh = work.grads.Wxh, dWhh = work.grads.Whh, dWhy = work.grads.Why
    cdef real[::1] bh = params.bh, by = params.by, mbh = memory.bh, mby = memory.by, dbh = work.grads.bh, dby = work.grads.by
    cdef real[::1] zeros = work.zeros
    cdef real[:, :, ::1] dz = work.dz, p = work.p
    cdef char[::1] used = work.used
    cdef real r = <real>rate, c = <real>clip
    with nogil:
        _learn(
            part, parts, inputs, Wxh.shape[0], hs, p, dz, zeros, used, Wxh, Whh, Why, bh, by, mWxh, mWhh, mWhy, mbh, mby,
            dWxh, dWhh, dWhy, dbh, dby, WhhT, WhyT, r, c,
        )


def used_rows(const int[:, ::1] targets):
    """How many rows of a window a training step needs."""
    return _used_rows(targets)


def total(double[:, ::1] nll, Py_ssize_t T):
    """The sum of the first T rows of nll, in their order."""
    return _total(nll, T)


def train_steps(
    real[:, :, ::1] hs, params, memory, work, const int[:, ::1] inputs, const int[:, ::1] targets, double[::1] losses,
    *, double rate, double clip, bint reset,
):
    """Train on windows of work's length over all of inputs, carrying the state in hs[0]; losses gets each window's sum over T and B.

    With reset, each window begins with the zero state.

    Return the number of steps done. Fewer than len(losses) means that the next step diverged: its update was not applied.
    """
    cdef real[:, ::1] Wxh = params.Wxh, Whh = params.Whh, Why = params.Why, WhhT = work.WhhT, WhyT = work.WhyT
    cdef real[:, ::1] mWxh = memory.Wxh, mWhh = memory.Whh, mWhy = memory.Why
    cdef real[:, ::1] dWxh = work.grads.Wxh, dWhh = work.grads.Whh, dWhy = work.grads.Why
    cdef real[::1] bh = params.bh, by = params.by, mbh = memory.bh, mby = memory.by, dbh = work.grads.bh, dby = work.grads.by
    cdef real[::1] zeros = work.zeros
    cdef real[:, :, ::1] dh = work.dh, dz = work.dz, p = work.p
    cdef double[:, ::1] nll = work.nll
    cdef char[::1] used = work.used
    cdef real r = <real>rate, c = <real>clip
    cdef Py_ssize_t T = dh.shape[0], N = inputs.shape[0], B = hs.shape[1], step, start, stop, i
    cdef const int[:, ::1] x, y
    transpose(hs, params, work)
    with nogil:
        for step in range(losses.shape[0]):
            start, stop = step * T, min((step + 1) * T, N)
            stop = start + _used_rows(targets[start:stop])
            x, y = inputs[start:stop], targets[start:stop]
            if reset:
                for i in range(B * hs.shape[2]):
                    (&hs[0, 0, 0])[i] = 0
            _forward(0, B, x, y, Wxh, Whh, Why, bh, by, hs, dh, p, nll)
            losses[step] = _total(nll, stop - start)
            if not losses[step] - losses[step] == 0 or not _backward(0, B, y, WhhT, WhyT, hs, p, dh, dz, zeros):
                break
            _learn(
                0, 1, x, Wxh.shape[0], hs, p, dz, zeros, used, Wxh, Whh, Why, bh, by, mWxh, mWhh, mWhy, mbh, mby,
                dWxh, dWhh, dWhy, dbh, dby, WhhT, WhyT, r, c,
            )
            _carry(hs, stop - start)
        else:
            step = losses.shape[0]
    return step


def sample(
    real[:, :, ::1] hs, params, work, int[:, ::1] ids, unsigned long long[::1] random,
    const char[::1] allowed, *, double temperature, Py_ssize_t top_k, double top_p, double min_p,
):
    """Draw ids (n, B) one row after the other, feeding each back, from the states hs[0], which move on; random holds one state a stream."""
    cdef real[:, ::1] Wxh = params.Wxh, Whh = params.Whh, Why = params.Why
    cdef real[::1] bh = params.bh, by = params.by
    cdef real[:, :, ::1] z = work.dh, p = work.p
    cdef Controls controls = Controls(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    cdef Py_ssize_t t, b, B = ids.shape[1]
    with nogil:
        for t in range(ids.shape[0]):
            _output_forward(0, B, Wxh.shape[0], hs, Why, by, 0, 1, p)
            for b in range(B):
                ids[t, b] = _pick(Wxh.shape[0], &p[0, b, 0], &allowed[0], &controls, &random[b])
            _cell_forward(0, B, ids[t:t + 1], Wxh, Whh, bh, hs, z)
            _carry(hs, 1)


def fma_chains(Py_ssize_t n):
    """Run n times as many independent multiply-adds as fill the registers; return how many operations that was: the peak of this core."""
    cdef float acc[CHAINS]
    cdef float total = 0
    cdef Py_ssize_t _i, j
    with nogil:
        for j in range(CHAINS):
            acc[j] = <float>j
        for _i in range(n):
            for j in range(CHAINS):
                acc[j] = fma[float](acc[j], <float>0.5, <float>1)
        for j in range(CHAINS):
            total += acc[j]
    return 2 * n * CHAINS if total > 0 else 0


def cpu_level():
    """The highest of "baseline", "v3" (AVX2, FMA), "v4" (AVX-512) that this processor and its operating system run."""
    return ("baseline", "v3", "v4")[charrnn_cpu_level()]
