/* Products of bfloat16 numbers by vdpbf16ps, where the compiler knows it: C += A B with one strip of B, in pairs of numbers.
   A pair has its first number in the upper half. So the instruction adds first that one's product, then the other's, each rounded like an FMA:
   a sum has the same bits as the ascending chain of FMAs, unless a number below the normal ones occurs, which the instruction takes for 0. */
#ifndef CHARRNN_DOTS_H
#define CHARRNN_DOTS_H

#if defined(__AVX512F__) && defined(__GNUC__) && (defined(__clang__) || __GNUC__ >= 10)
#include <immintrin.h>
#define CHARRNN_HAS_DOTS 1
#define CHARRNN_BF16 __attribute__((target("avx512bf16")))

/* A (rows, K), B (K, 16 vectors) of pairs, each in the place of a float. rows and vectors are constants. Sums start from bias, or else from C; below 2^-103, from 0. */
__attribute__((always_inline)) static inline CHARRNN_BF16 void charrnn_dot_tile(
    int rows, int vectors, Py_ssize_t K, const float *A, Py_ssize_t a_row, Py_ssize_t a_col, const float *B,
    const float *bias, float *C, Py_ssize_t ldc, int goes_on) {
    const __m512 least = _mm512_set1_ps(0x1p-103f);
    __m512 sums[8][3];
    Py_ssize_t p;
    int i, j;
#pragma GCC unroll 8
    for (i = 0; i < rows; i++)
#pragma GCC unroll 3
        for (j = 0; j < vectors; j++) {
            sums[i][j] = _mm512_loadu_ps(bias ? bias + 16 * j : C + i * ldc + 16 * j);
            if (!goes_on)
                sums[i][j] = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(_mm512_abs_ps(sums[i][j]), least, _CMP_NLT_UQ), sums[i][j]);
        }
    for (p = 0; p < K; p++) {
        __m512 b[3];
#pragma GCC unroll 3
        for (j = 0; j < vectors; j++) {
            b[j] = _mm512_loadu_ps(B + (p * vectors + j) * 16);
            __builtin_prefetch(B + ((p + 16) * vectors + j) * 16);
        }
        __builtin_prefetch(A + (p + 16) * a_col);
#pragma GCC unroll 8
        for (i = 0; i < rows; i++) {
            const __m512 a = _mm512_set1_ps(A[i * a_row + p * a_col]);
#pragma GCC unroll 3
            for (j = 0; j < vectors; j++)
                sums[i][j] = _mm512_dpbf16_ps(sums[i][j], (__m512bh)a, (__m512bh)b[j]);
        }
    }
#pragma GCC unroll 8
    for (i = 0; i < rows; i++)
#pragma GCC unroll 3
        for (j = 0; j < vectors; j++)
            _mm512_storeu_ps(C + i * ldc + 16 * j, sums[i][j]);
}

#define CHARRNN_DOT_ROWS(rows, vectors) \
    for (; M - i >= rows; i += rows) \
        charrnn_dot_tile(rows, vectors, K, A + i * a_row, a_row, a_col, B, bias, C + i * ldc, ldc, goes_on)
#define CHARRNN_DOT_STRIP(name, vectors) \
    static CHARRNN_BF16 void name(Py_ssize_t M, Py_ssize_t K, const float *A, Py_ssize_t a_row, Py_ssize_t a_col, const float *B, \
                                  const float *bias, float *C, Py_ssize_t ldc, int goes_on) { \
        Py_ssize_t i = 0; \
        CHARRNN_DOT_ROWS(8, vectors); \
        CHARRNN_DOT_ROWS(4, vectors); \
        CHARRNN_DOT_ROWS(2, vectors); \
        CHARRNN_DOT_ROWS(1, vectors); \
    }
CHARRNN_DOT_STRIP(charrnn_dots_16, 1)
CHARRNN_DOT_STRIP(charrnn_dots_32, 2)
CHARRNN_DOT_STRIP(charrnn_dots_48, 3)

/* A (M, K), B (K, width) of 16, 32 or 48 columns, C (M, width). goes_on: C has sums that were started already. */
static void charrnn_dots(Py_ssize_t M, Py_ssize_t width, Py_ssize_t K, const float *A, Py_ssize_t a_row, Py_ssize_t a_col,
                         const float *B, const float *bias, float *C, Py_ssize_t ldc, int goes_on) {
    (width == 48 ? charrnn_dots_48 : width == 32 ? charrnn_dots_32 : charrnn_dots_16)(M, K, A, a_row, a_col, B, bias, C, ldc, goes_on);
}
#else
#define CHARRNN_HAS_DOTS 0
static void charrnn_dots(Py_ssize_t M, Py_ssize_t width, Py_ssize_t K, const float *A, Py_ssize_t a_row, Py_ssize_t a_col,
                         const float *B, const float *bias, float *C, Py_ssize_t ldc, int goes_on) {
    (void)M, (void)width, (void)K, (void)A, (void)a_row, (void)a_col, (void)B, (void)bias, (void)C, (void)ldc, (void)goes_on;
}
#endif
#endif
