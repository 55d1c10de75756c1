/* Which x86-64 level (psABI: v3 = AVX2, BMI, F16C, FMA, LZCNT, MOVBE; v4 = AVX-512 F, BW, CD, DQ,
   VL) this processor runs: 0 below v3, 1 = v3, 2 = v4. By cpuid rather than
   __builtin_cpu_supports, which answers 0 under some linkers and does not exist in MSVC. */
#ifndef CHARRNN_CPU_H
#define CHARRNN_CPU_H

#if defined(__x86_64__) || defined(_M_X64)
#if defined(_MSC_VER)
#include <intrin.h>
#include <immintrin.h>
static void charrnn_cpuid(unsigned leaf, unsigned subleaf, unsigned r[4]) {
    __cpuidex((int *)r, (int)leaf, (int)subleaf);
}
static unsigned charrnn_xcr0(void) { return (unsigned)_xgetbv(0); }
#else
#include <cpuid.h>
static void charrnn_cpuid(unsigned leaf, unsigned subleaf, unsigned r[4]) {
    r[0] = r[1] = r[2] = r[3] = 0;
    __get_cpuid_count(leaf, subleaf, &r[0], &r[1], &r[2], &r[3]);
}
static unsigned charrnn_xcr0(void) {
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}
#endif

static int charrnn_cpu_level(void) {
    /* Leaf 1, ecx; leaf 7, ebx; leaf 0x80000001, ecx. */
    const unsigned fma_movbe_osxsave_f16c = 1u << 12 | 1u << 22 | 1u << 27 | 1u << 29;
    const unsigned bmi1_avx2_bmi2 = 1u << 3 | 1u << 5 | 1u << 8;
    const unsigned avx512_f_dq_cd_bw_vl = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31;
    const unsigned lzcnt = 1u << 5;
    unsigned one[4], seven[4], extended[4], xcr0;
    charrnn_cpuid(1, 0, one);
    charrnn_cpuid(7, 0, seven);
    charrnn_cpuid(0x80000001u, 0, extended);
    if ((one[2] & fma_movbe_osxsave_f16c) != fma_movbe_osxsave_f16c ||
        (seven[1] & bmi1_avx2_bmi2) != bmi1_avx2_bmi2 || !(extended[2] & lzcnt))
        return 0;
    /* Which registers the operating system saves: 6 = SSE and AVX, 0xe0 = the parts of AVX-512. */
    xcr0 = charrnn_xcr0();
    if ((xcr0 & 6) != 6)
        return 0;
    if ((seven[1] & avx512_f_dq_cd_bw_vl) != avx512_f_dq_cd_bw_vl)
        return 1;
    return (xcr0 & 0xe6) == 0xe6 ? 2 : 1;
}

/* Whether a processor of level 2 has AVX512_BF16, whose vdpbf16ps adds two products of bfloat16
   numbers: leaf 7, subleaf 1, eax. */
static int charrnn_cpu_dots(void) {
    unsigned seven[4];
    charrnn_cpuid(7, 1, seven);
    return charrnn_cpu_level() == 2 && (seven[0] >> 5 & 1);
}

/* Bytes of the first-level data cache, 0 where the processor does not tell: leaf 4 of Intel's,
   0x8000001D of AMD's. */
static int charrnn_first_cache(void) {
    unsigned zero[4], r[4];
    charrnn_cpuid(0, 0, zero);
    charrnn_cpuid(zero[2] == 0x444d4163u /* "cAMD" */ ? 0x8000001Du : 4, 0, r);
    if (zero[0] < 4 || (r[0] & 0x1f) != 1)
        return 0;
    /* Ways, partitions, bytes of a line, sets. */
    return (int)(((r[1] >> 22) + 1) * (((r[1] >> 12) & 0x3ff) + 1) *
                 ((r[1] & 0xfff) + 1) * (r[2] + 1));
}
#else
static int charrnn_cpu_level(void) { return 0; }
static int charrnn_cpu_dots(void) { return 0; }
static int charrnn_first_cache(void) { return 0; }
#endif
#endif
