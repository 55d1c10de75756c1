# The owned types, and where everything lies in them: what every compiled variant of the kernels works on.

cdef enum:
    LANES = 16            # leading dimensions are multiples of it; partial sums along a row
    MAX_LAYERS = 16
    MAX_MATRICES = 3 * MAX_LAYERS + 2
    IGNORED = -1          # as a target: no character, counts nothing
    MANY_STREAMS = 8      # from so many on, weights are copied into panels
    LOOK_BACK = 4096      # how far back a repetition is looked for
    MAX_ORDER = 12        # symbols of the longest n-grams that are counted

cdef enum:                # the cells: a line of _network._CELLS, a room of kernels, a line in each function at the head of _steps.pxi
    RNN = 0
    GRU
    LSTM

cdef enum:                # the optimisers: a line of _network._OPTIMIZERS, a kernel in _optimizer.pxi
    ADAGRAD = 0
    SGD
    RMSPROP
    ADAM

cdef struct Matrix:
    Py_ssize_t start      # in a block of parameters
    Py_ssize_t rows       # 1 of a bias
    Py_ssize_t columns    # of several gates, each with padding up to a multiple of LANES between it and the next
    Py_ssize_t ld         # columns with padding, the leading dimension
    Py_ssize_t transposed  # where its transposed copy begins in their block
    Py_ssize_t ldt        # leading dimension of that, 0 if there is none
    bint bias

cdef struct LayerPlan:
    int cell
    Py_ssize_t units      # H, and
    Py_ssize_t lanes      # H with padding: how far what there is of each unit is apart
    Py_ssize_t column     # of a row of states: where h begins (c of an LSTM follows),
    Py_ssize_t sums       # the sums before the nonlinearities, then the gates,
    Py_ssize_t recurrent  # and those of them that get h_(t-1) Whh
    Py_ssize_t output     # of a row of outputs after dropout: where its own begin
    int Wxh, Whh, bh      # numbers of matrices: (inputs, gates), (H, gates), (gates,)

cdef struct NgramLevel:   # the followers of contexts of one length; network/counts.py
    Py_ssize_t contexts
    const int* starts     # (contexts + 1,): where those of each context begin
    const int* symbols    # ascending within a context
    const float* weights  # each follower's own share of the probability
    const float* backoffs  # (contexts,): what a context leaves to the shorter one

cdef struct Ngrams:
    Py_ssize_t V
    int order             # levels: contexts of 0 to order - 1 symbols
    double network_weight, counts_weight    # of the logits, of the counts' log-probabilities
    NgramLevel levels[MAX_ORDER]

cdef struct Plan:
    Py_ssize_t V
    int n_layers, n_matrices
    LayerPlan layers[MAX_LAYERS]
    Matrix matrices[MAX_MATRICES]
    int Why, by           # (H, V), (V,)
    Py_ssize_t width      # of a row of states: those of all layers, and their gates, each with padding
    Py_ssize_t contexts   # where the n-grams that end here begin in it, if n-grams are counted
    Py_ssize_t outputs    # of a row of outputs
    Py_ssize_t n_rows     # of all matrices
    Py_ssize_t size, transposed_size    # of blocks, in numbers
    Py_ssize_t largest_ld  # of a row of states, or of logits


cdef inline Py_ssize_t _lanes(Py_ssize_t n) noexcept nogil:
    """n rounded up to a multiple of LANES: the columns that kernels work on."""
    return (n + LANES - 1) // LANES * LANES


cdef class Description:
    cdef Plan plan
    cdef readonly tuple layers
    cdef readonly Py_ssize_t vocab_size
    cdef readonly object tensors
    cdef readonly object operations
    cdef readonly object n_parameters
    cdef readonly object state_size
    cdef int add(self, dict places, names, Py_ssize_t rows, Py_ssize_t units, Py_ssize_t ldt)

cdef class Memory:
    cdef void* allocated
    cdef char* start
    cdef object dtype
    cdef bytes format
    cdef int ndim
    cdef Py_ssize_t itemsize
    cdef Py_ssize_t shape[3]
    cdef Py_ssize_t strides[3]
    cdef view(self)

cdef class Parameters:
    cdef readonly Description description
    cdef readonly object dtype
    cdef Memory numbers

cdef class NgramTable:
    cdef Ngrams ngrams
    cdef tuple arrays     # what its pointers point to

cdef class OwnedNetwork:
    cdef readonly Description description
    cdef readonly object dtype
    cdef readonly str optimizer
    cdef int rule                      # its number: ADAGRAD ...
    cdef readonly Parameters weights
    cdef readonly Parameters memory
    cdef readonly Parameters momentum  # of Adam, None of others
    cdef readonly NgramTable ngrams    # mixed with the network's predictions, or None

cdef class Workspace:
    cdef Plan plan
    cdef readonly OwnedNetwork network
    cdef readonly Py_ssize_t T
    cdef readonly Py_ssize_t B
    cdef readonly bint training
    cdef bint whole                    # set last, when all that follows is there
    cdef NgramTable table              # keeps what ngrams points to
    cdef const Ngrams* ngrams          # NULL: the network alone
    cdef double[::1] log_p             # (V,): log-probabilities by the counts alone
    cdef readonly object lock          # held by the call that uses the workspace
    cdef readonly object losses        # (steps,) of the last training call, and
    cdef readonly str overflowed       # what kept it from the next step, "" if nothing
    cdef readonly Py_ssize_t steps     # that all calls have done: both are there at once with the weights, whatever signal comes then
    cdef object interruption           # what a signal handler has raised while C was at work
    cdef int[:, ::1] inputs            # (T, B) in [0, V), the window: a copy, checked, that nothing outside can reach
    cdef int[:, ::1] targets           # (T, B) in [0, V), or IGNORED
    cdef double[:, ::1] nll            # (T, B)
    cdef signed char[::1] used         # (V,): which rows of the gradient of Wxh are in use
    cdef double[::1] squares           # (n_rows,): sums over rows of the gradient
    cdef bint single                   # whether it is a Workspace32, and
    cdef Memory states, probabilities, gradients    # its hs, p and gradient

# hs[0] is the state that is carried from window to window, hs[t + 1] the one after character t, with the gates that led there; on the way
# there they are z, the sums before the nonlinearities. dz: the gradient by those sums and by the states, likewise. p: logits,
# probabilities, then the gradient by the logits. dropped: outputs of layers, of which some are dropped, or nothing. panels: a copy of
# what is multiplied, laid out for products of many rows, or nothing. packs: what threads pack of a window, or nothing. before: weights,
# memory and momentum before a step that may overflow, in one row. sums: of gradients of shards, slot by slot, or nothing. The kernels'
# own arrays are never given out.
cdef class Workspace32(Workspace):
    cdef float[::1] weights, memory, momentum, gradient, transposed, panels, packs, zeros, before
    cdef float[:, :, ::1] hs, dz       # (T + 1, B, width), (T, B, width)
    cdef float[:, :, ::1] p            # (T, B, Vp)
    cdef float[:, :, ::1] dropped      # (T, B, outputs)

cdef class Workspace64(Workspace):
    cdef double[::1] weights, memory, momentum, gradient, transposed, panels, packs, zeros, before
    cdef double[:, :, ::1] hs, dz, p, dropped

ctypedef fused AnyWorkspace:
    Workspace32
    Workspace64

cdef Memory new_memory(tuple shape, dtype)
cdef Py_ssize_t check_size(str name, value, Py_ssize_t minimum, Py_ssize_t maximum) except? -1
cpdef check_array(str name, value, str dtype, tuple shape)
cpdef check_ids(str name, value, Py_ssize_t lowest, Py_ssize_t symbols, tuple shape)
