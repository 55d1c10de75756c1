"""Scalar building blocks that give the same bits on every machine.

They use only integer shifts and the operations that IEEE 754 rounds correctly (+, -, *, /, sqrt,
fma). So the results do not depend on the C library, the vector width or the compiler; without FMA
(x86-64 baseline) they are right to rounding. No function has a table, a branch or a call, so that
the compiler vectorizes a loop over independent elements.
"""

from libc.math cimport INFINITY, copysign, copysignf, fabs, fabsf, sqrt, sqrtf

ctypedef fused real:
    float
    double

cdef extern from *:
    """
    #include <math.h>
    /* Without FMA (x86-64 baseline), fmaf() is a slow emulation: round twice instead. */
    #if defined(__FMA__) || defined(__AVX2__) || defined(__aarch64__) || defined(_M_ARM64)
    #define CHARRNN_FMAF(a, b, c) fmaf((a), (b), (c))
    #define CHARRNN_FMA(a, b, c) fma((a), (b), (c))
    #else
    #define CHARRNN_FMAF(a, b, c) ((a) * (b) + (c))
    #define CHARRNN_FMA(a, b, c) ((a) * (b) + (c))
    #endif
    """
    float CHARRNN_FMAF(float a, float b, float c) noexcept nogil
    double CHARRNN_FMA(double a, double b, double c) noexcept nogil

cdef union FloatBits:
    float value
    unsigned int bits

cdef union DoubleBits:
    double value
    unsigned long long bits


cdef inline real fma(real a, real b, real c) noexcept nogil:
    """a * b + c, rounded once."""
    if real is float:
        return CHARRNN_FMAF(a, b, c)
    else:
        return CHARRNN_FMA(a, b, c)


cdef inline real inverse_root(real x) noexcept nogil:
    """1 / sqrt(x) for a normal positive x or infinity, to two units in the last place.

    Faster than a root and a division. The exponent of the result is minus half that of x, so the
    bits of x, shifted and subtracted, are a first estimate y, at most 3.5 % off (Lomont, 2003).
    With e = 1 - x y^2, the result is y / sqrt(1 - e). For float a polynomial is this series up to
    e^4, with coefficients for |e| < 0.0692 that are 2.3e-8 off at most. For double, each round
    adds the terms up to e^2 and turns an error d into about 2.5 d^3; the last round stops at e
    (Newton): 1.5 d^2.
    """
    cdef FloatBits f
    cdef DoubleBits d
    cdef real y, e, q
    if real is float:
        f.value = x
        f.bits = <unsigned int>0x5F375A86 - (f.bits >> 1)
        y = f.value
        e = fma[real](-(x * y), y, 1)
        q = fma[real](e, <real>0.27409843, <real>0.3139364)
        q = fma[real](e, q, <real>0.37500027)
        q = fma[real](e, q, <real>0.49999833)
        y = fma[real](y * e, q, y)
    else:
        d.value = x
        d.bits = <unsigned long long>0x5FE6EB50C7B537A9 - (d.bits >> 1)
        y = d.value
        e = fma[real](-(x * y), y, 1)
        y = fma[real](y * e, fma[real](e, 0.375, 0.5), y)
        e = fma[real](-(x * y), y, 1)
        y = fma[real](y * e, fma[real](e, 0.375, 0.5), y)
        y = fma[real](y * fma[real](-(x * y), y, 1), 0.5, y)
    return 0 if x == INFINITY else y


cdef inline real quotient(real a, real b) noexcept nogil:
    """a / b for a positive b, rounded to one of the two nearest numbers; not near overflow.

    Faster than a division of 512-bit vectors. The first estimate of 1 / b negates the exponent, as
    in `inverse_root`, and is at most 5.1 % off. With e = 1 - b y, 1 / b = y / (1 - e); each round
    adds the terms of this series up to e^2. In a single round for float, a factor spreads what is
    missing: 3.3e-5 at most. The last line squares the error, and rounds once (Markstein, 1990).
    """
    cdef FloatBits f
    cdef DoubleBits d
    cdef real y, e
    cdef int _
    if real is float:
        f.value = b
        f.bits = <unsigned int>0x7EF311C0 - f.bits
        y = f.value
        e = fma[real](-b, y, 1)
        y = fma[real](fma[real](e, e, e), y * <real>1.0019173, y)
    else:
        d.value = b
        d.bits = <unsigned long long>0x7FDE6238DA3C2118 - d.bits
        y = d.value
        for _ in range(3):
            e = fma[real](-b, y, 1)
            y = fma[real](fma[real](e, e, e), y, y)
    e = a * y
    return fma[real](fma[real](-b, e, a), y, e)


cdef inline real magnitude(real x) noexcept nogil:
    if real is float:
        return fabsf(x)
    else:
        return fabs(x)


cdef inline real bit_midpoint(real low, real high) noexcept nogil:
    """The number halfway from low to high, both at least 0, counting all numbers of the type."""
    cdef FloatBits f, g
    cdef DoubleBits d, e
    if real is float:
        f.value, g.value = low, high
        f.bits += (g.bits - f.bits) // 2
        return f.value
    else:
        d.value, e.value = low, high
        d.bits += (e.bits - d.bits) // 2
        return d.value


cdef inline real _split_exponent(real x, real* scale) noexcept nogil:
    """Write x = n ln 2 + r with integer n and |r| <= ln(2)/2; return r and set scale to 2**n.

    Adding 1.5 * 2**(mantissa bits) rounds x / ln 2 to an integer n and leaves it in the low bits
    of the sum; a shift moves it into the exponent field. ln 2 is split into a part with trailing
    zeros and a remainder, so n ln 2 is exact (Cody and Waite, 1980).
    """
    cdef real shifted, n
    cdef FloatBits f
    cdef DoubleBits d
    if real is float:
        shifted = fma[real](x, 1.44269504088896341, 12582912.0)
        n = shifted - <real>12582912.0
        f.value = shifted
        f.bits = (f.bits << 23) + (<unsigned int>127 << 23)
        scale[0] = f.value
        return fma[real](n, <real>-1.42860677e-06, fma[real](n, <real>-0.693145752, x))
    else:
        shifted = fma[real](x, 1.44269504088896341, 6755399441055744.0)
        n = shifted - 6755399441055744.0
        d.value = shifted
        d.bits = (d.bits << 52) + (<unsigned long long>1023 << 52)
        scale[0] = d.value
        return fma[real](n, -1.9082149292705877e-10, fma[real](n, -0.6931471803691238, x))


cdef inline real _expm1_small(real r) noexcept nogil:
    """exp(r) - 1 for |r| <= ln(2)/2: the Taylor sum up to half a unit in the last place."""
    cdef real q
    if real is float:
        q = <real>(1.0 / 5040)
    else:
        q = 1.0 / 6227020800.0
        q = fma[real](q, r, 1.0 / 479001600)
        q = fma[real](q, r, 1.0 / 39916800)
        q = fma[real](q, r, 1.0 / 3628800)
        q = fma[real](q, r, 1.0 / 362880)
        q = fma[real](q, r, 1.0 / 40320)
        q = fma[real](q, r, 1.0 / 5040)
    q = fma[real](q, r, <real>(1.0 / 720))
    q = fma[real](q, r, <real>(1.0 / 120))
    q = fma[real](q, r, <real>(1.0 / 24))
    q = fma[real](q, r, <real>(1.0 / 6))
    q = fma[real](q, r, <real>0.5)
    return fma[real](q * r, r, r)


cdef inline real exp_nonpositive(real x) noexcept nogil:
    """exp(x) for x <= 0, and exactly 0 where exp(x) < 4e-18 (float) or 1e-304 (double).

    The limit is far above the subnormal range: with subnormal numbers in a softmax, a training step
    takes three times as long.
    """
    cdef real scale, r
    r = _split_exponent[real](x, &scale)
    r = fma[real](scale, _expm1_small[real](r), scale)
    if real is float:
        return <real>0 if x < <real>-40 else r
    else:
        return <real>0 if x < -700 else r


cdef inline real tanh(real x) noexcept nogil:
    """tanh(x) = m / (m + 2) with m = exp(2|x|) - 1, and the sign of x; NaN stays NaN."""
    cdef real scale, r, m, a = magnitude[real](x)
    if real is float:
        a = <real>9.25 if a > <real>9.25 else a      # tanh rounds to 1 from 9.02 on
    else:
        a = 19.5 if a > 19.5 else a                  # and from 19.1 on
    r = _split_exponent[real](2 * a, &scale)
    m = fma[real](scale, _expm1_small[real](r), scale - 1)
    m = quotient[real](m, m + 2)
    if real is float:
        return copysignf(m, x)
    else:
        return copysign(m, x)


cdef inline real sigmoid(real x) noexcept nogil:
    """1 / (1 + exp(-x)) = (1 + tanh(x / 2)) / 2, to half a unit in the last place of 1."""
    return fma[real](<real>0.5, tanh[real](<real>0.5 * x), <real>0.5)


cdef inline real root(real x) noexcept nogil:
    """The square root, correctly rounded."""
    if real is float:
        return sqrtf(x)
    else:
        return sqrt(x)


cdef inline double log(double x) noexcept nogil:
    """log(x) = exponent * ln 2 + 2 atanh((m - 1) / (m + 1)), with m in (sqrt(1/2), sqrt(2)].

    x is normal and positive. No branch and no conversion of a 64-bit integer: loops of it are
    vectorized on every target.
    """
    cdef DoubleBits d, e
    cdef double exponent, s, z, q
    cdef int n
    d.value = x
    # 2048 + exponent, beside the bits of 2^52: the unit in the last place of that number is 1.
    e.bits = (d.bits + 0x40195F619980C432ULL) >> 52
    d.bits -= (e.bits - 2048) << 52
    e.bits |= <unsigned long long>0x433 << 52
    exponent = e.value - (4503599627370496.0 + 2048)
    s = (d.value - 1) / (d.value + 1)
    z = s * s
    q = 1.0 / 23
    for n in range(21, 1, -2):
        q = CHARRNN_FMA(q, z, 1.0 / n)
    return CHARRNN_FMA(exponent, 0.6931471805599453, 2 * CHARRNN_FMA(q * z, s, s))


cdef inline unsigned long long splitmix64(unsigned long long* state) noexcept nogil:
    """Next 64 random bits of SplitMix64, whose state is a counter (Steele, Lea and Flood, 2014)."""
    cdef unsigned long long z
    state[0] += 0x9E3779B97F4A7C15ULL
    z = state[0]
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL
    return z ^ (z >> 31)


cdef inline double uniform(unsigned long long* state) noexcept nogil:
    """Next number in [0, 1): 53 random bits."""
    return <double>(splitmix64(state) >> 11) * (1.0 / 9007199254740992.0)


cdef inline double normal(unsigned long long* state) noexcept nogil:
    """Next standard normal number: one of a pair of the polar method (Marsaglia and Bray, 1964)."""
    cdef double u, v, s
    while True:
        u = 2 * uniform(state) - 1
        v = 2 * uniform(state) - 1
        s = u * u + v * v
        if 0 < s < 1:
            return u * sqrt(-2 * log(s) / s)
