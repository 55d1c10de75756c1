# The owned types, and where everything lies in them. Every compiled variant of the kernels works on
# them.

cdef enum:
    LANES = 16            # leading dimensions are multiples of it; partial sums along a row
    MAX_LAYERS = 16
    MAX_MATRICES = 3 * MAX_LAYERS + 2
    IGNORED = -1          # as a target: no character, counts nothing
    MANY_STREAMS = 8      # from so many on, weights are copied into panels
    LOOK_BACK = 4096      # how far back no_repeat looks
    MAX_ORDER = 16        # symbols of the longest n-grams that are counted
    LONGEST_CONTEXT = 8   # symbols, of those that are counted while a model adapts
    RECENT_SLOTS = 1 << 19    # for contexts, and for what followed them

# A cell also needs a line of _CELLS in _types.pyx, a file of kernels, and a line in each of
# _cell_forward and _cell_backward.
cdef enum:
    RNN = 0
    GRU
    LSTM

# An optimizer also needs an entry of _OPTIMIZERS in _types.pyx, a kernel in optimizers.pxi, and a
# line in _update. From RMSPROP on, a gradient of 0 moves a weight.
cdef enum:
    ADAGRAD = 0
    SGD
    RMSPROP
    ADAM

cdef struct Matrix:
    Py_ssize_t start      # in a block of parameters
    Py_ssize_t rows       # 1 of a bias
    Py_ssize_t columns    # of several gates, each but the last padded to a multiple of LANES
    Py_ssize_t ld         # columns with padding, the leading dimension
    Py_ssize_t transposed  # where its transposed copy begins in their block
    Py_ssize_t ldt        # the leading dimension of that, 0 if there is none
    bint bias

cdef struct LayerPlan:
    int cell
    Py_ssize_t units      # H
    Py_ssize_t lanes      # H with padding: the distance between h, c and the gates
    Py_ssize_t column     # in a row of states: where h begins (c of an LSTM follows),
    Py_ssize_t sums       # the sums before the nonlinearities, then the gates,
    Py_ssize_t recurrent  # and those of them to which h_(t-1) Whh adds
    Py_ssize_t output     # in a row of outputs after dropout: where the layer's begin
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

cdef struct RecentContext:
    unsigned long long key    # 0: a free slot of a hash table
    double total          # how often anything was counted after it
    int followers         # distinct symbols
    int first             # of their list: the number of a Follower, plus 1; 0: none

cdef struct Follower:
    int symbol
    double count
    int next              # as RecentContext.first

cdef struct Recent:       # kernels/recent.pxi
    RecentContext* contexts   # (RECENT_SLOTS,)
    Follower* followers   # (RECENT_SLOTS,)
    int n_contexts, n_followers, length
    int history[LONGEST_CONTEXT]    # the latest symbols, of which there are length; latest first
    double weights[3 * (LONGEST_CONTEXT + 2)][3]
    double* log_p         # (V,): by the recent counts
    double* p             # (V,): mixed

cdef struct Plan:
    Py_ssize_t V
    int n_layers, n_matrices
    LayerPlan layers[MAX_LAYERS]
    Matrix matrices[MAX_MATRICES]
    int Why, by           # numbers of matrices: (H, V), (V,)
    Py_ssize_t width      # of a row of states: those of all layers and their gates, with padding
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
    cdef tuple arrays     # of Memory: what its pointers point to

cdef class RecentCounts:
    cdef Recent recent
    cdef NgramTable table              # beside which it counts
    cdef Py_ssize_t V

cdef class OwnedNetwork:
    cdef readonly Description description
    cdef readonly object dtype
    cdef readonly str optimizer
    cdef int rule                      # its number: ADAGRAD ...
    cdef readonly Parameters weights
    cdef readonly Parameters memory
    cdef readonly Parameters momentum  # None except for Adam
    cdef readonly NgramTable ngrams    # mixed with the network's predictions, or None
    cdef list spare                    # workspaces without training that nothing uses

cdef class Workspace:
    cdef Plan plan
    cdef readonly OwnedNetwork network
    cdef readonly Py_ssize_t T
    cdef readonly Py_ssize_t B
    cdef readonly bint training
    cdef NgramTable table              # keeps what ngrams points to
    cdef const Ngrams* ngrams          # NULL: the network alone
    cdef RecentCounts recent           # None, unless what is read is counted
    cdef double[::1] log_p             # (V,): log-probabilities by the counts alone
    cdef bint single                   # whether it is a Workspace32
    cdef bint complete                 # set last; not while it is spare
    cdef readonly object lock          # held by the call that uses the workspace
    cdef readonly object losses        # (steps,) of the last training call
    cdef readonly str overflowed       # what kept it from the next step, "" if nothing
    cdef readonly Py_ssize_t steps     # of all calls; set together with losses, no signal between
    cdef object interruption           # what ended a call while C was at work
    cdef int[:, ::1] inputs            # (T, B) in [0, V), the window: a copy that was checked
    cdef int[:, ::1] targets           # (T, B) in [0, V), or IGNORED
    cdef double[:, ::1] nll            # (T, B)
    cdef signed char[::1] used         # (V,): which rows of the gradient of Wxh are in use
    cdef double[::1] squares           # (n_rows,): sums over rows of the gradient
    cdef Memory states, probabilities, gradients    # hs, p and gradient, for Python

# hs[0] is the state carried from window to window, hs[t + 1] the one after character t with the
# gates that led there; before that, the gates are z, the sums before the nonlinearities. dz is the
# gradient by these sums and by the states. p holds logits, probabilities, then the gradient by the
# logits. gradient is that by the weights; behind it, slot by slot, come sums over shards. The
# others are empty until they are needed: dropped holds outputs after dropout, panels and
# transposed copies of the weights, packs what threads pack of a window, before the parameters from
# before a step. Python never gets the kernels' own arrays.
cdef class Workspace32(Workspace):
    cdef float[::1] weights, memory, momentum, gradient, transposed, panels, packs, zeros, before
    cdef float[::1] anchor             # (size,): where weights are pulled to
    cdef float[:, :, ::1] hs, dz       # (T + 1, B, width), (T, B, width)
    cdef float[:, :, ::1] p            # (T, B, Vp)
    cdef float[:, :, ::1] dropped      # (T, B, outputs)

cdef class Workspace64(Workspace):
    cdef double[::1] weights, memory, momentum, gradient, transposed, panels, packs, zeros, before
    cdef double[::1] anchor
    cdef double[:, :, ::1] hs, dz, p, dropped

ctypedef fused AnyWorkspace:
    Workspace32
    Workspace64

cdef Memory new_memory(tuple shape, dtype)
cdef Py_ssize_t check_size(str name, value, Py_ssize_t minimum, Py_ssize_t maximum) except? -1
cpdef check_array(str name, value, str dtype, tuple shape)
cpdef check_ids(str name, value, Py_ssize_t lowest, Py_ssize_t symbols, tuple shape)
