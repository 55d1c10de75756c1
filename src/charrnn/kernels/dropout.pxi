# Dropout of a layer's outputs (Srivastava and others, 2014), scaled in training: between layers and before the output, not from character
# to character (Zaremba and others, 2014). Part of _core.pyx.
#
# y_t = m_t h_t / (1 - p), where each element of m_t is 0 with probability p, and else 1;  dh_t = m_t dy_t / (1 - p)
#
# Which are dropped depends on the seed, the number of the step, the layer, the stream, the time step and the unit, and on nothing else:
# threads, batches and a training that is resumed find the same ones.

cdef inline unsigned long long _mask_key(
    unsigned long long seed, unsigned long long step, int layer, Py_ssize_t t, Py_ssize_t b,
) noexcept nogil:
    cdef unsigned long long state = seed
    state = splitmix64(&state) + step
    state = splitmix64(&state) + (<unsigned long long>layer << 56)
    state = splitmix64(&state) + (<unsigned long long>t << 28) + <unsigned long long>b
    return splitmix64(&state)


cdef void _drop(Py_ssize_t n, const real* x, real* y, unsigned long long key, double p) noexcept nogil:
    """y (n,) = x, of which some elements are dropped and the others scaled; y may be x.

    Whether element j is depends on 32 bits: its number, stirred into the key by multiplications and shifts (as in MurmurHash3, Appleby,
    2011).
    """
    cdef unsigned int low = <unsigned int>key, high = <unsigned int>(key >> 32), bits
    cdef unsigned int limit = <unsigned int>(p * 4294967296.0)
    cdef real scale = <real>(1 / (1 - p))
    cdef Py_ssize_t j
    for j in range(n):
        bits = (<unsigned int>j * <unsigned int>0x9E3779B9) ^ low
        bits = (bits ^ (bits >> 16)) * <unsigned int>0x85EBCA6B
        bits = ((bits ^ (bits >> 13)) + high) * <unsigned int>0xC2B2AE35
        bits ^= bits >> 16
        y[j] = x[j] * scale if bits >= limit else 0
