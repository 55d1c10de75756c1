# Dropout of a layer's outputs (Srivastava and others, 2014), scaled in training: between layers and
# before the output, not from character to character (Zaremba and others, 2014). Part of _core.pyx.
#
# y_t = m_t h_t / (1 - p), each element of m_t being 0 with probability p, else 1
# dh_t = m_t dy_t / (1 - p)
#
# m_t depends on the seed and on the numbers of the step, layer, stream, time step and unit only:
# it is the same for any threads and batches, and in a resumed training.

cdef inline unsigned long long dropout_key(
    unsigned long long seed, unsigned long long step, int layer, Py_ssize_t t, Py_ssize_t b,
) noexcept nogil:
    cdef unsigned long long state = seed
    state = splitmix64(&state) + step
    state = splitmix64(&state) + (<unsigned long long>layer << 56)
    state = splitmix64(&state) + (<unsigned long long>t << 28) + <unsigned long long>b
    return splitmix64(&state)


cdef void apply_dropout(
    Py_ssize_t n, const real* x, real* y, unsigned long long key, double p,
) noexcept nogil:
    """y (n,) = x, with some elements dropped and the others scaled; y may be x.

    Element j is dropped depending on 32 bits: a hash of j and the key (MurmurHash3, Appleby, 2011).
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
