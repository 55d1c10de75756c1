# cython: nonecheck=True
"""The owned types: a network, arrays shaped like its weights, and the scratch space of its windows.

They are compiled once, own their memory, and know their sizes, which are fixed at birth: the kernels of every variant work on them and
need trust nothing else. What Python gets are views (arrays that keep the owner alive: to read and to write, not to replace or resize) and
copies. A network is described by its layers and its vocabulary; where each weight lies, and so the shapes, the names in a file, the
number of parameters and the cost of a step, follows from that, here.

An object whose making runs foreign code (an argument's __index__, a finalizer) can be found half made, by gc: what it lacks is None, and
what tells that it is whole is set last. Lists are made by loops: where memory lacks for one more element, a list comprehension of Cython
3.3.1 gives that element back twice.
"""

import itertools
import threading
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from ..util.errors import check_integer

from libc.limits cimport INT_MAX
from libc.stdint cimport uintptr_t
from libc.stdlib cimport calloc, free

cimport cython

cdef extern from *:
    """
    /* Where the system offers large pages, what is walked in strides misses fewer entries of the page table. */
    #if defined(__linux__)
    #include <sys/mman.h>
    #endif
    static void charrnn_use_large_pages(char *start, Py_ssize_t size) {
    #if defined(__linux__) && defined(MADV_HUGEPAGE)
        char *page = (char *)(((uintptr_t)start + 4095) / 4096 * 4096);
        if (size >= 4 << 20)
            madvise(page, (size_t)(start + size - page) / 4096 * 4096, MADV_HUGEPAGE);
    #else
        (void)start, (void)size;
    #endif
    }
    """
    void charrnn_use_large_pages(char* start, Py_ssize_t size)

# Not names of the module, which anybody could give another value.
cdef object _integer = check_integer, _array = np.array, _asarray = np.asarray, _ndarray = np.ndarray
cdef object _INT32 = np.dtype("i4"), _FLOAT64 = np.dtype("f8"), _INT8 = np.dtype("i1")
# Of each cell: its number; the gates that what is below adds to, and those that the state before does, in the order in which their sums lie
# side by side; the biases of all sums; what is carried. Weights are named by their gates, as in Wxi and Whi.
cdef dict _CELLS = {
    "rnn": (RNN, ("h",), ("h",), ("h",), 1),
    "gru": (GRU, ("n", "r", "u"), ("r", "u", "n"), ("n", "r", "u", "hn"), 1),
    "lstm": (LSTM, ("i", "f", "g", "o"), ("i", "f", "g", "o"), ("i", "f", "g", "o"), 2),
}
cdef dict _OPTIMIZERS = {"adagrad": ADAGRAD, "sgd": SGD, "rmsprop": RMSPROP, "adam": ADAM}
cdef dict _DTYPES = {known: np.dtype(kind) for kind in ("f4", "f8") for known in (np.dtype(kind), np.dtype(kind).name, np.dtype(kind).type)}

cdef enum:
    CACHE_LINE = 64       # bytes, and the widest vector
    LARGEST = 1 << 16     # units of a layer; its recurrent matrix then has 16 GiB
    LARGEST_TABLE = 1 << 24    # n-grams of one length: their numbers are exact in float32

globals().update(IGNORED=IGNORED, LANES=LANES, LOOK_BACK=LOOK_BACK, MAX_LAYERS=MAX_LAYERS, CELLS=tuple(_CELLS), OPTIMIZERS=tuple(_OPTIMIZERS))


class Layer(NamedTuple):
    """A recurrent layer: the kind of its cell, and its units."""

    cell: str
    units: int


cdef Py_ssize_t _padded(Py_ssize_t size):
    """The leading dimension of rows of size numbers: an odd multiple of LANES.

    A multiple, so that no loop of the kernels has a ragged tail; odd, so that the rows of a matrix do not compete for the same few
    sets of a first-level cache, as they do at powers of two.
    """
    size = _lanes(size)
    return size if size // LANES % 2 else size + LANES


@cython.final
cdef class Description:
    """What a network is: a tuple of `Layer`, and the symbols V that it reads and predicts.

    Attributes
    ----------
    tensors : mapping
        Where each array lies in a block of parameters, by name: (start, rows, columns, ld, whether it is a bias). Row i of a matrix
        holds the weights that leave unit or character i. The names of layers above the first have its number.
    operations : int
        Floating-point operations to take one character in and predict the next.
    n_parameters : int
        How many numbers a training changes.
    state_size : int
        How many numbers are carried from character to character.
    """

    def __cinit__(self, layers, vocab_size):
        cdef Plan* plan = &self.plan
        cdef LayerPlan* layer
        given = []
        for cell, units in itertools.islice(layers, MAX_LAYERS + 1):
            given.append(_check_layer(cell, units))
        checked = tuple(given)
        plan.n_layers = <int>check_size("n_layers", len(checked), 1, MAX_LAYERS)
        self.layers, self.vocab_size = checked, check_size("vocab_size", vocab_size, 1, 0x110000)
        plan.V = self.vocab_size
        places, looked_up, below = {}, set(), plan.V
        self.operations = self.n_parameters = self.state_size = 0
        for i, (cell, units) in enumerate(self.layers):
            number, inputs, recurrent, biases, carried = _CELLS[cell]
            layer = &plan.layers[i]
            layer.cell, layer.units, layer.lanes = number, units, _lanes(units)
            layer.column, layer.output = plan.width, plan.outputs
            plan.outputs += layer.lanes
            plan.width += carried * layer.lanes
            layer.sums = layer.recurrent = layer.column
            if len(biases) > 1:              # one sum becomes the state where it is
                layer.sums = plan.width
                layer.recurrent = layer.sums + biases.index(recurrent[0]) * layer.lanes
                plan.width += len(biases) * layer.lanes
            suffix = str(i + 1) if i else ""
            layer.Wxh = self.add(places, _named("Wx", inputs, suffix), below, units, _padded(below) if i else 0)
            if i == 0:
                looked_up = set(places)      # a row for each character
            layer.Whh = self.add(places, _named("Wh", recurrent, suffix), units, units, _padded(units))
            layer.bh = self.add(places, _named("b", biases, suffix), 0, units, 0)
            below = units
            self.state_size += carried * units
        plan.Why, plan.by = self.add(places, ["Why"], below, plan.V, _padded(below)), self.add(places, ["by"], 0, plan.V, 0)
        plan.width = _padded(plan.width)
        plan.largest_ld = max(plan.width, plan.matrices[plan.Why].ld)
        for name, (_, rows, columns, _, bias) in places.items():
            self.n_parameters += rows * columns
            if not bias and name not in looked_up:     # what is looked up, or a bias, is added; others are multiplied and added
                self.operations += 2 * rows * columns
        self.tensors = MappingProxyType(dict(sorted(places.items(), key=lambda item: item[1][4])))  # matrices first, as since version 1

    cdef int add(self, dict places, names, Py_ssize_t rows, Py_ssize_t units, Py_ssize_t ldt):
        """Give a matrix (a bias, if rows is 0) of the gates of these names the next places, and its transposed copy if it has an ldt.

        Return its number.
        """
        cdef Matrix* matrix = &self.plan.matrices[self.plan.n_matrices]
        cdef Py_ssize_t lanes = _lanes(units)
        matrix.bias = rows == 0
        matrix.rows, matrix.columns, matrix.ldt = max(1, rows), units if len(names) == 1 else len(names) * lanes, ldt
        matrix.ld = _padded(matrix.columns)
        matrix.start, matrix.transposed = self.plan.size, self.plan.transposed_size
        for i, name in enumerate(names):
            places[name] = matrix.start + i * lanes, matrix.rows, units, matrix.ld, matrix.bias
        self.plan.size += matrix.rows * matrix.ld
        self.plan.transposed_size += matrix.columns * ldt
        self.plan.n_rows += matrix.rows
        self.plan.n_matrices += 1
        return self.plan.n_matrices - 1

    @property
    def units(self):
        """The columns of a row of states that are carried, not padding or gates, layer by layer: an array of indices."""
        columns = []
        for i, (cell, units) in enumerate(self.layers):
            for part in range(_CELLS[cell][4]):      # h, and c of an LSTM
                columns.append(np.arange(units) + self.plan.layers[i].column + part * self.plan.layers[i].lanes)
        return np.concatenate(columns)

    @property
    def parts(self):
        """Where what there is of each unit begins in a row of states, by layer and name: h, of an LSTM c, and gates, of a GRU q, too."""
        found = []
        for i, (cell, units) in enumerate(self.layers):
            layer = self.plan.layers[i]
            names = {"h": layer["column"]}
            if cell == "lstm":
                names["c"] = layer["column"] + layer["lanes"]
            if layer["sums"] != layer["column"]:     # else the one sum has become h
                for place, gate in enumerate(_CELLS[cell][3]):
                    names["q" if gate == "hn" else gate] = layer["sums"] + place * layer["lanes"]
            found.append(names)
        return tuple(found)

    def __eq__(self, other):
        return isinstance(other, Description) and (self.layers, self.vocab_size) == (other.layers, other.vocab_size)

    def __hash__(self):
        return hash((self.layers, self.vocab_size))

    def __repr__(self):
        return f"{', '.join(f'{cell} of {units} units' for cell, units in self.layers)}, {self.vocab_size} symbols"

    def __reduce__(self):
        return Description, (self.layers, self.vocab_size)


cdef list _named(str kind, gates, str suffix):
    names = []
    for gate in gates:
        names.append(f"{kind}{gate}{suffix}")
    return names


cdef _check_layer(cell, units):
    if type(cell) is not str or cell not in _CELLS:
        raise ValueError(f"cell must be one of {', '.join(_CELLS)}, not {cell!r:.60}")
    return Layer(cell, check_size("hidden_size", units, 1, LARGEST))


cdef str _check_optimizer(optimizer):
    if type(optimizer) is not str or optimizer not in _OPTIMIZERS:
        raise ValueError(f"optimizer must be one of {', '.join(_OPTIMIZERS)}, not {optimizer!r:.60}")
    return optimizer


cdef _check_dtype(dtype):
    """Return the dtype float32 or float64, given by name or type."""
    try:
        return _DTYPES[dtype]
    except (KeyError, TypeError):
        raise ValueError(f"dtype must be 'float32' or 'float64', not {dtype!r}") from None


@cython.final
cdef class Memory:
    """Zeroed memory for an array, made by `new_memory` only. The kernels look at it as a buffer, Python through `view`."""

    def __dealloc__(self):
        free(self.allocated)

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        if self.start == NULL:
            raise BufferError("there is no memory")
        buffer.obj, buffer.buf, buffer.readonly = self, self.start, False
        buffer.itemsize, buffer.format, buffer.ndim = self.itemsize, self.format, self.ndim
        buffer.shape, buffer.strides, buffer.suboffsets, buffer.internal = self.shape, self.strides, NULL, NULL
        buffer.len = self.shape[0] * self.strides[0]

    cdef view(self):
        """An array of NumPy whose base is this memory itself: it cannot be made to let it go, as a memoryview can."""
        shape = []
        for i in range(self.ndim):
            shape.append(self.shape[i])
        return _ndarray(shape, self.dtype, self)


cdef Memory new_memory(tuple shape, dtype):
    """Memory for one to three dimensions of at least 0, of numbers, that starts on a cache line."""
    cdef Memory memory = Memory.__new__(Memory)
    cdef double size = dtype.itemsize        # sizes from outside may be huge
    cdef int i
    memory.ndim, memory.dtype, memory.format = <int>len(shape), dtype, dtype.char.encode()
    memory.itemsize = dtype.itemsize
    for i in range(memory.ndim):
        memory.shape[i] = shape[i]
        size *= memory.shape[i]
    memory.strides[memory.ndim - 1] = memory.itemsize
    for i in range(memory.ndim - 1, 0, -1):
        memory.strides[i - 1] = memory.strides[i] * memory.shape[i]
    if size < <double>(1LL << 62):
        memory.allocated = calloc(max(1, memory.shape[0] * memory.strides[0]) + CACHE_LINE, 1)
    if memory.allocated == NULL:
        raise MemoryError(f"no memory for an array of shape {shape}: {size / (1 << 30):,.1f} GiB")
    memory.start = <char*>((<uintptr_t>memory.allocated + CACHE_LINE - 1) // CACHE_LINE * CACHE_LINE)
    charrnn_use_large_pages(memory.start, memory.shape[0] * memory.strides[0])
    return memory


@cython.final
cdef class Parameters:
    """The arrays of a description in one block: weights, or a gradient, or Adagrad's memory. Zero at first."""

    def __cinit__(self, Description description not None, dtype):
        if description.tensors is None:
            raise ValueError("the description is not whole")
        self.description, self.dtype = description, _check_dtype(dtype)
        self.numbers = new_memory((description.plan.size,), self.dtype)

    @property
    def block(self):
        """All numbers with the padding between them: a view (n,)."""
        return self.numbers.view()

    def views(self):
        """Return the arrays without their padding, by name: views (rows, columns) and (columns,)."""
        views, size = {}, self.dtype.itemsize
        for name, (start, rows, columns, ld, bias) in self.description.tensors.items():
            shape, strides = ((columns,), (size,)) if bias else ((rows, columns), (ld * size, size))
            views[name] = _ndarray(shape, self.dtype, self.numbers, start * size, strides)
        return views

    def copy_from(self, Parameters other not None):
        """Take over the values of other, which is of the same description, but for the padding."""
        if other.description != self.description:
            raise ValueError(f"these are arrays of another network ({other.description}), not of this one ({self.description})")
        for here, there in zip(self.views().values(), other.views().values(), strict=True):
            here[...] = there

    def __reduce__(self):
        return Parameters, (self.description, self.dtype.name), self.block

    def __setstate__(self, block):
        if not isinstance(block, _ndarray) or block.dtype != self.dtype or block.shape != self.block.shape:
            raise ValueError(f"the state must be an array of {self.dtype} of shape {self.block.shape}")
        self.block[...] = block


@cython.final
cdef class NgramTable:
    """N-gram counts as the kernels read them: levels of (starts, symbols, weights, backoffs), as
    `counts.Level` has them, and the weights of the network and of the counts in the mixture.
    """

    def __cinit__(self, vocab_size, levels, double network_weight, double counts_weight):
        cdef Ngrams* ngrams = &self.ngrams
        cdef Py_ssize_t contexts = 1
        kept = []
        ngrams.V = check_size("vocab_size", vocab_size, 1, 0x110000)
        ngrams.order = <int>check_size("order", len(levels), 1, MAX_ORDER)
        ngrams.network_weight, ngrams.counts_weight = network_weight, counts_weight
        if not (-1e3 <= network_weight <= 1e3 and -1e3 <= counts_weight <= 1e3):
            raise ValueError(f"the weights of a mixture are {network_weight} and {counts_weight}")
        for k, (starts, symbols, weights, backoffs) in enumerate(levels):
            arrays = (
                check_ids("starts", starts, 0, LARGEST_TABLE, (contexts + 1,)),
                check_ids("symbols", symbols, 0, ngrams.V, (None,)),
                check_array("weights", weights, "float64", (len(symbols),)).astype("f4"),
                check_array("backoffs", backoffs, "float64", (contexts,)).astype("f4"),
            )
            starts, symbols, weights, backoffs = arrays
            _point(&ngrams.levels[k], starts, symbols, weights, backoffs)
            kept.append(arrays)
            contexts = len(symbols)
        self.arrays = tuple(kept)

    def __reduce__(self):
        weights = self.ngrams.network_weight, self.ngrams.counts_weight
        return NgramTable, (self.ngrams.V, self.arrays, *weights)


cdef _point(
    NgramLevel* level, int[::1] starts, int[::1] symbols, float[::1] weights, float[::1] backoffs,
):
    """Point a level to its arrays; or raise ValueError if kernels could not search them."""
    cdef Py_ssize_t contexts = backoffs.shape[0], n = symbols.shape[0], i, j
    cdef bint right = starts[0] == 0 and starts[contexts] == n
    for i in range(contexts if right else 0):
        right = right and 0 <= starts[i] <= starts[i + 1] <= n and 0 < backoffs[i] <= 1
        for j in range(starts[i], starts[i + 1] if right else starts[i]):
            right = right and 0 <= weights[j] <= 1 and (j == starts[i] or symbols[j - 1] < symbols[j])
    if not right:
        raise ValueError("the n-grams are not in order, or their shares not between 0 and 1")
    level.contexts, level.starts, level.backoffs = contexts, &starts[0], &backoffs[0]
    if n:
        level.symbols, level.weights = &symbols[0], &weights[0]


cdef class OwnedNetwork:
    """A network: its description, its weights, and what its optimiser keeps of each. `network.Network` is its face."""

    def __cinit__(self, description, dtype, optimizer="adagrad"):
        self.description = description if isinstance(description, Description) else Description(*description)
        self.dtype, self.optimizer = _check_dtype(dtype), _check_optimizer(optimizer)
        self.rule = _OPTIMIZERS[self.optimizer]
        self.weights = Parameters(self.description, self.dtype)
        self.momentum = Parameters(self.description, self.dtype) if self.optimizer == "adam" else None
        self.memory = Parameters(self.description, self.dtype)

    def mix(self, NgramTable ngrams):
        """Mix what n-gram counts predict with what the network predicts, in workspaces made from
        now on but for those to train in; None: the network alone.
        """
        if ngrams is not None and ngrams.ngrams.V != self.description.vocab_size:
            raise ValueError(f"these counts have {ngrams.ngrams.V} symbols, the network {self.description.vocab_size}")
        self.ngrams = ngrams

    def __reduce__(self):
        state = self.weights, self.memory, self.momentum, self.ngrams
        return type(self), (self.description, self.dtype.name, self.optimizer), state

    def __setstate__(self, state):
        weights, memory, momentum, ngrams = state
        self.mix(ngrams)
        self.weights.copy_from(weights)
        self.memory.copy_from(memory)
        if self.momentum is not None:
            self.momentum.copy_from(momentum)


cdef class Workspace:
    """Scratch space of one network for windows of T characters in B streams; with training, also for the backward pass."""

    def __cinit__(self, OwnedNetwork network not None, T, B, training=False):
        T, B, training = check_size("T", T, 1, INT_MAX), check_size("B", B, 1, INT_MAX), bool(training)
        if network.memory is None or not isinstance(self, (Workspace32, Workspace64)):
            raise TypeError("a workspace is a Workspace32 or a Workspace64, of a network that is whole")
        self.network, self.plan, self.T, self.B, self.training = network, network.description.plan, T, B, training
        self.inputs, self.targets, self.nll = (new_memory((self.T, self.B), kind) for kind in (_INT32, _INT32, _FLOAT64))
        if network.ngrams is not None and not self.training:
            self.table, self.ngrams = network.ngrams, &network.ngrams.ngrams
            self.log_p = new_memory((self.plan.V,), _FLOAT64)
            self.plan.contexts = self.plan.width
            self.plan.width = _padded(self.plan.width + self.ngrams.order - 1)
            self.plan.largest_ld = max(self.plan.width, self.plan.largest_ld)
        try:
            self.lock = threading.Lock()
        except RuntimeError:                 # what Python calls a lack of memory here
            raise MemoryError("no memory for a lock") from None
        self.used = new_memory((network.description.vocab_size,), _INT8)

    @property
    def state(self):
        """The state that is carried from window to window: a view (B, width), in which `Description.units` are what is carried."""
        return self.states.view()[0]

    def get_state(self):
        """Return a copy of the state without padding, (B, state_size)."""
        return self.state[:, self.network.description.units]

    def set_state(self, state):
        """Begin from a state without padding: numbers of shape (B, state_size)."""
        description = self.network.description
        self.state[:, description.units] = check_array("state", state, "float64", (self.B, description.state_size))

    def __enter__(self):
        if not self.lock.acquire(blocking=False):
            raise RuntimeError("this workspace is in use by another thread; each needs one of its own")
        return self

    def __exit__(self, *exception):
        self.lock.release()

    def __reduce__(self):
        raise TypeError("a workspace is scratch space: make another one of the network that it is for")


@cython.final
cdef class Workspace32(Workspace):
    """A workspace of float32."""

    def __cinit__(self, OwnedNetwork network not None, T, B, training=False):
        _fill[Workspace32](self, _DTYPES["float32"])


@cython.final
cdef class Workspace64(Workspace):
    """A workspace of float64."""

    def __cinit__(self, OwnedNetwork network not None, T, B, training=False):
        _fill[Workspace64](self, _DTYPES["float64"])


cdef _fill(AnyWorkspace work, dtype):
    """Give a workspace its views of the network's arrays, and arrays of its own."""
    cdef Plan* plan = &work.plan
    if work.network.dtype is not dtype:
        raise ValueError(f"this workspace is of {dtype}, the network of {work.network.dtype}")
    work.weights = work.network.weights.numbers
    work.zeros = new_memory((plan.largest_ld,), dtype)
    work.panels = new_memory((plan.size if work.B >= MANY_STREAMS else 0,), dtype)
    work.packs = work.before = new_memory((0,), dtype)
    work.dropped = new_memory((0, 0, 0), dtype)
    work.states = new_memory((work.T + 1, work.B, plan.width), dtype)
    work.hs = work.states
    work.probabilities = new_memory((work.T, work.B, _padded(plan.V)), dtype)
    work.p = work.probabilities
    if work.training:
        work.memory = work.network.memory.numbers
        work.momentum = new_memory((0,), dtype) if work.network.momentum is None else work.network.momentum.numbers
        work.gradients = new_memory((plan.size,), dtype)
        work.gradient, work.transposed = work.gradients, new_memory((plan.transposed_size,), dtype)
        work.squares = new_memory((plan.n_rows,), _FLOAT64)
        work.dz = new_memory((work.T, work.B, plan.width), dtype)
    work.single, work.whole = AnyWorkspace is Workspace32, True


def workspace(OwnedNetwork network not None, T, B, training=False):
    """Return a new workspace of a network, in its dtype."""
    return (Workspace32 if network.dtype is _DTYPES["float32"] else Workspace64)(network, T, B, training)


def held(work, network):
    """Return a workspace if it is one of network, to be held in a `with` for one call; or raise TypeError or ValueError."""
    if not isinstance(work, Workspace):
        raise TypeError(f"work must be a workspace of this network, not {type(work).__name__}")
    if (<Workspace>work).network is not network:
        raise ValueError(f"this workspace is of another network ({work.network.description}), not of this one ({network.description})")
    return work


cdef Py_ssize_t check_size(str name, value, Py_ssize_t minimum, Py_ssize_t maximum) except? -1:
    """Return value as an integer within bounds, or raise TypeError or ValueError that names the argument."""
    cdef Py_ssize_t number = _integer(name, value, minimum, maximum)
    return number


cpdef check_array(str name, value, str dtype, tuple shape):
    """Return a C-ordered copy of an array of a dtype and shape (None is any size), or raise ValueError.

    For "float64" numbers of any kind will do, for "int32" any integers. It is the copy that is checked: another thread may write into the
    original meanwhile.
    """
    copied = _array(_asarray(value), order="C")  # of an array: an object's own __array__ may give what it says is a copy
    found, (wanted, kinds, word) = copied.dtype, _WANTED[dtype]
    fits = (found is wanted or found.kind in kinds) and copied.ndim == len(shape)
    for i in range(len(shape)):
        fits = fits and (shape[i] is None or shape[i] == copied.shape[i])
    if not fits:
        sizes = ", ".join(map(str, shape)).replace("None", "any")
        raise ValueError(f"{name} must be {word} of shape ({sizes}), not {found} of shape {copied.shape}")
    return copied if found is wanted or dtype == "int32" else copied.astype(wanted)


# For each dtype what kinds of numbers it is made of, if any of its own size will not do, and what an error calls it.
cdef dict _WANTED = {
    name: (np.dtype(name), kinds, word)
    for name, kinds, word in [("float64", "fiu", "numbers"), ("int32", "iu", "integers"), ("int8", "", "int8"), ("uint64", "", "uint64")]
}


cpdef check_ids(str name, value, Py_ssize_t lowest, Py_ssize_t symbols, tuple shape):
    """Return a C-ordered int32 copy of ids of a shape, each in [lowest, symbols); or raise ValueError or IndexError."""
    ids = check_array(name, value, "int32", shape)
    if ids.size and (ids.min() < lowest or ids.max() >= symbols):
        where = np.unravel_index(np.argmax((ids < lowest) | (ids >= symbols)), ids.shape)
        raise IndexError(f"{name}[{', '.join(map(str, where))}] = {ids[where]} is not in [{lowest}, {symbols})")
    return ids if ids.dtype is _INT32 else ids.astype(_INT32)
