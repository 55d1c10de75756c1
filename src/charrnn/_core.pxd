# The C-level functions that other Cython code may use; they stay as they are from release to release. They run
# the compiled variant that Python uses, so the results are the same bits.
#
#     from charrnn._core cimport Network, network, score, step
#
# Each Network belongs to one thread at a time.

from charrnn._network cimport Network, Score, Step

# The network of an RNN's params (float32), with the state, scratch and probabilities of work = rnn.workspace(1, 1). Keep both alive.
cdef Network network(params, work) except *

# Take character x, in [0, V), in: the state moves on, and p has the probabilities of the next character.
cdef void step(Network* net, int x) noexcept nogil

# Take n characters in, one after the other; nll gets n - 1 numbers: the loss in nats of each but the first, given those before it.
cdef void score(Network* net, const int* ids, Py_ssize_t n, double* nll) noexcept nogil
