# What _core.pxd and every compiled variant share.

ctypedef struct Network:
    # A float32 network of one stream with its state; it belongs to one thread at a time.
    Py_ssize_t V
    # (V,): the probabilities of the next character, after a call; NaN if weights are infinite, NaN
    # or too large
    const float* p
    void* work          # its Workspace32, which must outlive it

ctypedef void (*Step)(Network*, int) noexcept nogil
ctypedef void (*Score)(Network*, const int*, Py_ssize_t, double*) noexcept nogil

cdef struct Functions:
    Step step
    Score score
