# What _core.pxd and every compiled variant share.

ctypedef struct Network:
    # A float32 network of one stream, as plain pointers into its arrays, which must outlive it; _core.pyx tells the shapes.
    Py_ssize_t H, Hp, V, Vp
    const float* Wxh
    const float* Whh
    const float* Why
    const float* bh
    const float* by
    float* h            # (2, Hp): the state, and room for the next
    float* z            # (Hp,) scratch
    float* p            # (Vp,) of which the first V: the probabilities of the next character

ctypedef void (*Step)(Network*, int) noexcept nogil
ctypedef void (*Score)(Network*, const int*, Py_ssize_t, double*) noexcept nogil
