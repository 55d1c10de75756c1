# The C-level functions that other Cython code may use; they stay the same from release to release.
# They run the compiled variant that Python uses, so the results are the same bits.
#
#     from charrnn._core cimport Network, network, score, step
#
# Each Network belongs to one thread at a time.

from charrnn._capi cimport Network

# Return the C-level Network of a model's `network` (float32), with the state and the probabilities
# of work = model.network.workspace(1, 1). Keep work alive.
cdef Network network(net, work) except *

# Read character x, in [0, V): the state moves on, and p gets the probabilities of the next one.
cdef void step(Network* net, int x) noexcept nogil

# Read n characters, one after the other; nll gets n - 1 numbers: the loss in nats of each but the
# first, given those before it.
cdef void score(Network* net, const int* ids, Py_ssize_t n, double* nll) noexcept nogil
