# cython: nonecheck=True
"""The owned types: a network, arrays shaped like its weights, and scratch space for its windows.

They are compiled once, own their memory, and know their sizes, which never change, so the kernels
of every variant can trust them. Python gets copies and views: arrays that keep the owner alive, to
read and to write, not to replace or resize. Layers and vocabulary describe a network; they fix
where each weight lies, and so the shapes, the names in a file, the number of parameters and the
cost of a step.

While an object is made, foreign code may run (an argument's __index__, a finalizer) and find it
incomplete through gc: its missing parts are None, and the mark that it is complete is set last.
Lists are made by loops: without memory for one more element, a list comprehension of Cython 3.3.1
frees that element twice.
"""

import itertools
import threading
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from ..util.errors import check_integer

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.limits cimport INT_MAX
from libc.stdint cimport uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

cimport cython

cdef extern from *:
    """
    /* With large pages, walking in strides misses fewer entries of the page table. */
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

cdef extern from "Python.h":
    Py_UCS4* PyUnicode_AsUCS4(object text, Py_UCS4* characters, Py_ssize_t n, bint end) except NULL

# Not names of the module, which anybody could give another value.
cdef object _integer = check_integer
cdef object _array = np.array, _asarray = np.asarray, _ndarray = np.ndarray, _empty = np.empty
cdef object _INT32 = np.dtype("i4"), _FLOAT64 = np.dtype("f8"), _INT8 = np.dtype("i1")
# Per cell: id; gates fed by the layer below; gates fed by h_(t-1), in memory order; biases; number
# of carried vectors (h, or h and c). Weights are named after their gates, as Wxi and Whi.
cdef dict _CELLS = {
    "rnn": (RNN, ("h",), ("h",), ("h",), 1),
    "gru": (GRU, ("n", "r", "u"), ("r", "u", "n"), ("n", "r", "u", "hn"), 1),
    "lstm": (LSTM, ("i", "f", "g", "o"), ("i", "f", "g", "o"), ("i", "f", "g", "o"), 2),
}
cdef dict _OPTIMIZERS = {"adagrad": ADAGRAD, "sgd": SGD, "rmsprop": RMSPROP, "adam": ADAM}
cdef dict _DTYPES = {}       # by dtype, name and type
for _dtype in (np.dtype("f4"), np.dtype("f8")):
    _DTYPES.update({_dtype: _dtype, _dtype.name: _dtype, _dtype.type: _dtype})

cdef enum:
    CACHE_LINE = 64       # bytes, and the widest vector
    LARGEST = 1 << 16     # units of a layer; its recurrent matrix then has 16 GiB
    LARGEST_TABLE = 1 << 24    # n-grams of one length: their numbers are exact in float32
    MOST_SPARE = 8        # workspaces of a network: of so many threads that use it at a time

cdef double RECENT_WEIGHT = 0.2    # of recent counts at first, out of that of the counts

CELLS, OPTIMIZERS = tuple(_CELLS), tuple(_OPTIMIZERS)
globals().update(IGNORED=IGNORED, LANES=LANES, LOOK_BACK=LOOK_BACK, MAX_LAYERS=MAX_LAYERS)


class Layer(NamedTuple):
    """A recurrent layer: the kind of its cell, and the number of its units."""

    cell: str
    units: int


cdef Py_ssize_t _padded(Py_ssize_t size):
    """The leading dimension of rows of size numbers: an odd multiple of LANES.

    A multiple, so that no loop of the kernels has a ragged tail; odd, so that the rows of a matrix
    do not compete for the same few sets of a first-level cache, as they do at powers of two.
    """
    size = _lanes(size)
    return size if size // LANES % 2 else size + LANES


@cython.final
cdef class Description:
    """What a network is: a tuple of `Layer`, and the number V of symbols it reads and predicts.

    Attributes
    ----------
    tensors : mapping
        Where each array lies in a block of parameters, by name: (start, rows, columns, ld, whether
        it is a bias). Row i of a matrix holds the weights that leave unit or character i. Names in
        layers above the first end in the layer's number.
    operations : int
        Floating-point operations to take one character in and predict the next.
    n_parameters : int
        Numbers that training changes.
    state_size : int
        Numbers carried from character to character.
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
            names, ldt = _named("Wx", inputs, suffix), _padded(below) if i else 0
            layer.Wxh = self.add(places, names, below, units, ldt)
            if i == 0:
                looked_up = set(places)      # a row for each character
            names = _named("Wh", recurrent, suffix)
            layer.Whh = self.add(places, names, units, units, _padded(units))
            layer.bh = self.add(places, _named("b", biases, suffix), 0, units, 0)
            below = units
            self.state_size += carried * units
        plan.Why = self.add(places, ["Why"], below, plan.V, _padded(below))
        plan.by = self.add(places, ["by"], 0, plan.V, 0)
        plan.width = _padded(plan.width)
        plan.largest_ld = max(plan.width, plan.matrices[plan.Why].ld)
        for name, (_, rows, columns, _, bias) in places.items():
            self.n_parameters += rows * columns
            if not bias and name not in looked_up:     # others are added only
                self.operations += 2 * rows * columns
        # Matrices first: the order in a file.
        self.tensors = MappingProxyType(dict(sorted(places.items(), key=lambda item: item[1][4])))

    cdef int add(self, dict places, names, Py_ssize_t rows, Py_ssize_t units, Py_ssize_t ldt):
        """Place a matrix (a bias, if rows is 0) of the gates of these names behind the others, and
        its transposed copy if it has an ldt; return its number.
        """
        cdef Matrix* matrix = &self.plan.matrices[self.plan.n_matrices]
        cdef Py_ssize_t lanes = _lanes(units)
        matrix.bias, matrix.rows, matrix.ldt = rows == 0, max(1, rows), ldt
        matrix.columns = units if len(names) == 1 else len(names) * lanes
        matrix.ld = _padded(matrix.columns)
        matrix.start, matrix.transposed = self.plan.size, self.plan.transposed_size
        for i, name in enumerate(names):
            places[name] = matrix.start + i * lanes, matrix.rows, units, matrix.ld, matrix.bias
        self.plan.size += matrix.rows * matrix.ld
        self.plan.transposed_size += _lanes(matrix.columns) * ldt
        self.plan.n_rows += matrix.rows
        self.plan.n_matrices += 1
        return self.plan.n_matrices - 1

    @property
    def units(self):
        """The columns of a row of states that are carried, layer by layer: an array of indices."""
        columns = []
        for i, (cell, units) in enumerate(self.layers):
            layer = self.plan.layers[i]
            for part in range(_CELLS[cell][4]):      # h, and c of an LSTM
                columns.append(np.arange(units) + layer["column"] + part * layer["lanes"])
        return np.concatenate(columns)

    @property
    def parts(self):
        """Where the columns of h, c, the gates and q begin in a row of states, by layer and name.

        An LSTM has c, a GRU q, the part of n's sum that the state before adds to.
        """
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
        if not isinstance(other, Description):
            return False
        return (self.layers, self.vocab_size) == (other.layers, other.vocab_size)

    def __hash__(self):
        return hash((self.layers, self.vocab_size))

    def __repr__(self):
        layers = ", ".join(f"{cell} of {units} units" for cell, units in self.layers)
        return f"{layers}, {self.vocab_size} symbols"

    def __reduce__(self):
        return Description, (self.layers, self.vocab_size)


cdef list _named(str kind, gates, str suffix):
    names = []
    for gate in gates:
        names.append(f"{kind}{gate}{suffix}")
    return names


cdef _check_layer(cell, units):
    return Layer(_check_word("cell", cell, _CELLS), check_size("hidden_size", units, 1, LARGEST))


cdef str _check_word(str name, word, dict known):
    if type(word) is not str or word not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, not {word!r:.60}")
    return word


cdef _check_dtype(dtype):
    """Return the dtype float32 or float64, given by name or type."""
    try:
        return _DTYPES[dtype]
    except (KeyError, TypeError):
        raise ValueError(f"dtype must be 'float32' or 'float64', not {dtype!r}") from None


@cython.final
cdef class Memory:
    """Zeroed memory for an array; `new_memory` makes it. Kernels use the buffer, Python `view`."""

    def __dealloc__(self):
        free(self.allocated)

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        if self.start == NULL:
            raise BufferError("there is no memory")
        buffer.obj, buffer.buf, buffer.readonly = self, self.start, False
        buffer.itemsize, buffer.format, buffer.ndim = self.itemsize, self.format, self.ndim
        buffer.shape, buffer.strides = self.shape, self.strides
        buffer.suboffsets, buffer.internal = NULL, NULL
        buffer.len = self.shape[0] * self.strides[0]

    cdef view(self):
        """A NumPy array whose base is this memory itself; a memoryview could release it."""
        shape = []
        for i in range(self.ndim):
            shape.append(self.shape[i])
        return _ndarray(shape, self.dtype, self)


cdef Memory new_memory(tuple shape, dtype):
    """Memory for numbers in one to three dimensions of at least 0; it starts on a cache line."""
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
    cdef uintptr_t end = <uintptr_t>memory.allocated + CACHE_LINE - 1
    memory.start = <char*>(end // CACHE_LINE * CACHE_LINE)
    charrnn_use_large_pages(memory.start, memory.shape[0] * memory.strides[0])
    return memory


@cython.final
cdef class Parameters:
    """The arrays of a description in one block, zero at first: weights, a gradient, or what an
    optimizer keeps of each weight.
    """

    def __cinit__(self, Description description not None, dtype):
        if description.tensors is None:
            raise ValueError("the description is incomplete")
        self.description, self.dtype = description, _check_dtype(dtype)
        self.numbers = new_memory((description.plan.size,), self.dtype)

    @property
    def block(self):
        """All numbers, with padding: a view (n,)."""
        return self.numbers.view()

    def views(self):
        """Return the arrays without padding, by name: views (rows, columns) and (columns,)."""
        views, size = {}, self.dtype.itemsize
        for name, (start, rows, columns, ld, bias) in self.description.tensors.items():
            shape, strides = ((columns,), (size,)) if bias else ((rows, columns), (ld * size, size))
            views[name] = _ndarray(shape, self.dtype, self.numbers, start * size, strides)
        return views

    def copy_from(self, Parameters other not None):
        """Copy the values of other, which has the same description, without the padding."""
        if other.description != self.description:
            raise ValueError(
                f"these are arrays of another network ({other.description}), "
                f"not of this one ({self.description})"
            )
        for here, there in zip(self.views().values(), other.views().values(), strict=True):
            here[...] = there

    def __reduce__(self):
        return Parameters, (self.description, self.dtype.name), self.block

    def __setstate__(self, block):
        shape = self.block.shape
        if not isinstance(block, _ndarray) or block.dtype != self.dtype or block.shape != shape:
            raise ValueError(f"the state must be an array of {self.dtype} of shape {shape}")
        self.block[...] = block


@cython.final
cdef class NgramTable:
    """N-gram counts as the kernels read them: levels of (starts, symbols, weights, backoffs), as
    `counts.Level` has them, and the weights of the network and of the counts in the mixture.
    """

    def __cinit__(self, vocab_size, levels, double network_weight, double counts_weight):
        cdef Py_ssize_t V = check_size("vocab_size", vocab_size, 1, 0x110000), contexts = 1
        levels, kept = tuple(levels), []
        check_size("order", len(levels), 1, MAX_ORDER)
        if not (-1e3 <= network_weight <= 1e3 and -1e3 <= counts_weight <= 1e3):
            raise ValueError(f"the weights of a mixture are {network_weight} and {counts_weight}")
        for k, (starts, symbols, weights, backoffs) in enumerate(levels):
            starts = _owned(check_ids("starts", starts, 0, LARGEST_TABLE, (contexts + 1,)), "i4")
            ids = check_ids("symbols", symbols, 0, V, (None,))
            symbols = _owned(ids, "i4")
            weights = _owned(check_array("weights", weights, "float64", ids.shape), "f4")
            backoffs = _owned(check_array("backoffs", backoffs, "float64", (contexts,)), "f4")
            _point(&self.ngrams.levels[k], starts, symbols, weights, backoffs)
            kept.append((starts, symbols, weights, backoffs))
            contexts = len(ids)
        self.arrays = tuple(kept)
        self.ngrams.network_weight, self.ngrams.counts_weight = network_weight, counts_weight
        self.ngrams.order, self.ngrams.V = <int>len(kept), V     # last: before, no network takes it

    def __reduce__(self):
        levels = []
        for arrays in self.arrays:
            levels.append([(<Memory>memory).view().copy() for memory in arrays])
        weights = self.ngrams.network_weight, self.ngrams.counts_weight
        return NgramTable, (self.ngrams.V, levels, *weights)


cdef Memory _owned(array, str dtype):
    """A copy of an array in memory of our own, which nothing outside can write to."""
    cdef Memory memory = new_memory(array.shape, np.dtype(dtype))
    memory.view()[...] = array
    return memory


cdef _point(
    NgramLevel* level, int[::1] starts, int[::1] symbols, float[::1] weights, float[::1] backoffs,
):
    """Point a level to its arrays; or raise ValueError if kernels could not search them."""
    cdef Py_ssize_t contexts = backoffs.shape[0], n = symbols.shape[0], i, j
    cdef bint right = starts[0] == 0 and starts[contexts] == n
    for i in range(contexts if right else 0):
        right = right and 0 <= starts[i] <= starts[i + 1] <= n and 0 < backoffs[i] <= 1
        for j in range(starts[i], starts[i + 1] if right else starts[i]):
            right = right and 0 <= weights[j] <= 1
            right = right and (j == starts[i] or symbols[j - 1] < symbols[j])
    if not right:
        raise ValueError("the n-grams are not in order, or their shares not between 0 and 1")
    level.contexts, level.starts, level.backoffs = contexts, &starts[0], &backoffs[0]
    if n:
        level.symbols, level.weights = &symbols[0], &weights[0]


@cython.final
cdef class RecentCounts:
    """Counts of the symbols that one stream has read, and what they weigh in its predictions."""

    def __cinit__(self, NgramTable table not None):
        cdef Recent* recent = &self.recent
        cdef double share = min(table.ngrams.counts_weight / 2, RECENT_WEIGHT)
        cdef Py_ssize_t i
        self.table, self.V = table, check_size("V", table.ngrams.V, 1, 0x110000)
        recent.contexts = <RecentContext*>calloc(RECENT_SLOTS, sizeof(RecentContext))
        recent.followers = <Follower*>calloc(RECENT_SLOTS, sizeof(Follower))
        recent.log_p = <double*>calloc(self.V, sizeof(double))
        recent.p = <double*>calloc(self.V, sizeof(double))
        if not (recent.contexts and recent.followers and recent.log_p and recent.p):
            raise MemoryError("no memory to count what is read")
        for i in range(3 * (LONGEST_CONTEXT + 2)):
            # Where nothing was read before, recent counts say what those of the table say.
            recent.weights[i][0] = table.ngrams.network_weight
            recent.weights[i][1] = table.ngrams.counts_weight - share
            recent.weights[i][2] = share

    def __dealloc__(self):
        free(self.recent.contexts)
        free(self.recent.followers)
        free(self.recent.log_p)
        free(self.recent.p)

    def copy(self):
        """Return a copy."""
        cdef RecentCounts other = RecentCounts(self.table)
        cdef Recent* here = &self.recent
        cdef Recent* there = &other.recent
        memcpy(there.contexts, here.contexts, RECENT_SLOTS * sizeof(RecentContext))
        memcpy(there.followers, here.followers, RECENT_SLOTS * sizeof(Follower))
        memcpy(there.weights, here.weights, sizeof(here.weights))
        memcpy(there.history, here.history, sizeof(here.history))
        there.n_contexts, there.n_followers = here.n_contexts, here.n_followers
        there.length = here.length
        return other

    def __reduce__(self):
        raise TypeError("recent counts are part of a reader: read the text again")


cdef class OwnedNetwork:
    """A network: its description, weights, and what its optimizer keeps of each; the base class of
    `network.Network`.
    """

    def __cinit__(self, description, dtype, optimizer="adagrad"):
        if not isinstance(description, Description):
            description = Description(*description)
        self.description = description
        self.dtype = _check_dtype(dtype)
        self.optimizer = _check_word("optimizer", optimizer, _OPTIMIZERS)
        self.rule, self.spare = _OPTIMIZERS[self.optimizer], []
        self.weights = Parameters(self.description, self.dtype)
        if self.rule == ADAM:
            self.momentum = Parameters(self.description, self.dtype)
        self.memory = Parameters(self.description, self.dtype)

    def mix(self, NgramTable ngrams):
        """Mix what n-gram counts predict with what the network predicts, in workspaces made from
        now on but for those to train in; None: the network alone.
        """
        if ngrams is not None and ngrams.ngrams.V != self.description.vocab_size:
            V = self.description.vocab_size
            raise ValueError(f"these counts have {ngrams.ngrams.V} symbols, the network {V}")
        self.ngrams = ngrams

    def __reduce__(self):
        made_of = self.description, self.dtype.name, self.optimizer
        return type(self), made_of, (self.weights, self.memory, self.momentum, self.ngrams)

    def __setstate__(self, state):
        weights, memory, momentum, ngrams = state
        self.mix(ngrams)
        self.weights.copy_from(weights)
        self.memory.copy_from(memory)
        if self.momentum is not None:
            self.momentum.copy_from(momentum)


cdef class Workspace:
    """Scratch space of one network for windows of T characters in B streams; with training, also
    for the backward pass.
    """

    def __cinit__(self, OwnedNetwork network not None, T, B, training=False):
        T, B = check_size("T", T, 1, INT_MAX), check_size("B", B, 1, INT_MAX)
        if network.memory is None or not isinstance(self, (Workspace32, Workspace64)):
            raise TypeError("a workspace is a Workspace32 or a Workspace64 of a complete network")
        self.training = bool(training)
        self.network, self.plan, self.T, self.B = network, network.description.plan, T, B
        self.inputs, self.targets = new_memory((T, B), _INT32), new_memory((T, B), _INT32)
        self.nll = new_memory((T, B), _FLOAT64)
        self.table = network.ngrams
        if self.table is not None:
            # A workspace to train in needs the counts only where a model adapts (set_recent).
            self.ngrams = NULL if self.training else &self.table.ngrams
            self.log_p = new_memory((self.plan.V,), _FLOAT64)
            self.plan.contexts = self.plan.width
            self.plan.width = _padded(self.plan.width + self.table.ngrams.order - 1)
            self.plan.largest_ld = max(self.plan.width, self.plan.largest_ld)
        try:
            self.lock = threading.Lock()
        except RuntimeError:                 # Python's word for a lack of memory here
            raise MemoryError("no memory for a lock") from None
        self.used = new_memory((network.description.vocab_size,), _INT8)

    @property
    def state(self):
        """The state carried from window to window: a view (B, width). `Description.units` are the
        columns that count.
        """
        return self.states.view()[0]

    def get_recent(self):
        """Return a copy of the counts of what has been read, None if it is not counted."""
        with self:
            return None if self.recent is None else self.recent.copy()

    def set_recent(self, RecentCounts recent):
        """Count what is read from now on, beside a copy of these counts; None: count nothing."""
        if recent is not None and (self.table is None or self.B > 1 or recent.V != self.plan.V):
            raise ValueError("recent counts need one stream of a network with as many symbols")
        with self:
            self.recent = None if recent is None else recent.copy()
            if self.training:
                self.ngrams = NULL if recent is None else &self.table.ngrams

    def set_history(self, ids):
        """Have the counts begin a text after some symbols."""
        cdef int[::1] latest = check_ids("ids", ids, 0, self.plan.V, (None,))[-LONGEST_CONTEXT:]
        cdef int n = <int>latest.shape[0], i
        if self.recent is None:
            raise ValueError("this workspace counts nothing")
        with self:
            for i in range(n):
                self.recent.recent.history[i] = latest[n - 1 - i]
            self.recent.recent.length = n

    def get_state(self):
        """Return a copy of the state without padding, (B, state_size)."""
        return self.state[:, self.network.description.units]

    def set_state(self, state):
        """Start from a state without padding: numbers of shape (B, state_size)."""
        description = self.network.description
        shape = self.B, description.state_size
        self.state[:, description.units] = check_array("state", state, "float64", shape)

    def __enter__(self):
        if not self.lock.acquire(False):
            raise RuntimeError(
                "this workspace is in use by another thread; each needs one of its own"
            )
        return self

    def __exit__(self, *exception):
        self.lock.release()

    def __reduce__(self):
        raise TypeError("a workspace is scratch space: make another one of its network")


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
    work.packs = work.before = work.anchor = new_memory((0,), dtype)
    work.dropped = new_memory((0, 0, 0), dtype)
    work.states = new_memory((work.T + 1, work.B, plan.width), dtype)
    work.hs = work.states
    work.probabilities = new_memory((work.T, work.B, _padded(plan.V)), dtype)
    work.p = work.probabilities
    if work.training:
        work.memory = work.network.memory.numbers
        work.momentum = new_memory((0,), dtype)
        if work.network.momentum is not None:
            work.momentum = work.network.momentum.numbers
        work.gradients = new_memory((plan.size,), dtype)
        work.gradient, work.transposed = work.gradients, new_memory((plan.transposed_size,), dtype)
        work.squares = new_memory((plan.n_rows,), _FLOAT64)
        work.dz = new_memory((work.T, work.B, plan.width), dtype)
    work.single, work.complete = AnyWorkspace is Workspace32, True


def workspace(OwnedNetwork network not None, T, B, training=False):
    """Return a new workspace of a network, in its dtype."""
    kind = Workspace32 if network.dtype is _DTYPES["float32"] else Workspace64
    return kind(network, T, B, training)


def keep_spare(Workspace work not None):
    """Keep a workspace for `take_spare`: nothing may use it any more.

    Meanwhile it does not know its network, which would keep itself alive, and its lock is held.
    """
    cdef OwnedNetwork network = work.network
    if network is None or work.training or len(network.spare) >= MOST_SPARE:
        return
    if work.lock.acquire(False):
        work.complete, work.network, work.recent = False, None, None
        network.spare.append(work)


def take_spare(OwnedNetwork network not None):
    """Return a workspace that was kept, its state zero, or None."""
    cdef Workspace work
    try:
        work = network.spare.pop()
    except IndexError:
        return None
    if work.table is not network.ngrams:
        return None
    memset(work.states.start, 0, work.states.strides[0])
    work.network, work.complete = network, True
    work.lock.release()
    return work


def checked_workspace(work, network):
    """Return work, for a `with` around one call, if it is a workspace of network; or raise."""
    if not isinstance(work, Workspace):
        raise TypeError(f"work must be a workspace of this network, not {type(work).__name__}")
    if (<Workspace>work).network is None:
        raise ValueError("this workspace was given back to its network")
    if (<Workspace>work).network is not network:
        raise ValueError(
            f"this workspace is of another network ({work.network.description}), "
            f"not of this one ({network.description})"
        )
    return work


cdef Py_ssize_t check_size(str name, value, Py_ssize_t minimum, Py_ssize_t maximum) except? -1:
    """Return value as an integer within bounds, or raise an error that names the argument."""
    return _integer(name, value, minimum, maximum)


cpdef check_array(str name, value, str dtype, tuple shape):
    """Return a C-ordered copy of an array of a dtype and shape (None: any size); or raise.

    Any numbers will do for "float64", any integers for "int32". The copy is what is checked:
    another thread may write into the original meanwhile.
    """
    # From an array: an object's own __array__ may return something that is no copy.
    copied = _array(_asarray(value), order="C")
    found, (wanted, kinds, word) = copied.dtype, _WANTED[dtype]
    fits = (found is wanted or found.kind in kinds) and copied.ndim == len(shape)
    for i in range(len(shape)):
        fits = fits and (shape[i] is None or shape[i] == copied.shape[i])
    if not fits:
        sizes = ", ".join(map(str, shape)).replace("None", "any")
        raise ValueError(
            f"{name} must be {word} of shape ({sizes}), not {found} of shape {copied.shape}"
        )
    return copied if found is wanted or dtype == "int32" else copied.astype(wanted)


# For each dtype: the kinds of numbers that will do, if any do, and what an error calls them.
cdef dict _WANTED = {
    "float64": (_FLOAT64, "fiu", "numbers"),
    "int32": (_INT32, "iu", "integers"),
    "int8": (_INT8, "", "int8"),
    "uint64": (np.dtype("u8"), "", "uint64"),
}


cpdef check_ids(str name, value, Py_ssize_t lowest, Py_ssize_t symbols, tuple shape):
    """Return a C-ordered int32 copy of ids of a shape, each in [lowest, symbols), or raise."""
    ids = check_array(name, value, "int32", shape)
    if ids.dtype is _INT32:
        right = _are_within(ids, lowest, symbols)
    else:
        right = not ids.size or (ids.min() >= lowest and ids.max() < symbols)
    if not right:
        where = np.unravel_index(np.argmax((ids < lowest) | (ids >= symbols)), ids.shape)
        place = ", ".join(map(str, where))
        raise IndexError(f"{name}[{place}] = {ids[where]} is not in [{lowest}, {symbols})")
    return ids if ids.dtype is _INT32 else ids.astype(_INT32)


cdef bint _are_within(ids, Py_ssize_t lowest, Py_ssize_t symbols) except -1:
    """Whether all ids, C-ordered int32, are in [lowest, symbols). A buffer costs less than a view.
    """
    cdef Py_buffer buffer
    cdef const int* numbers
    cdef bint right = True
    cdef Py_ssize_t i
    PyObject_GetBuffer(ids, &buffer, PyBUF_SIMPLE)
    numbers = <const int*>buffer.buf
    for i in range(buffer.len // <Py_ssize_t>sizeof(int)):
        right &= lowest <= numbers[i] < symbols
    PyBuffer_Release(&buffer)
    return right


def look_up(text, table):
    """Return the number of each character of a text in a table of int32, and how many are -1.

    The last number in the table is that of all larger code points.
    """
    cdef Py_buffer numbers, found
    cdef Py_ssize_t unknown
    if type(text) is not str and type(text) is not bytes:
        raise TypeError(f"text must be str or bytes, not {type(text).__name__}")
    ids = _empty(len(text), _INT32)
    PyObject_GetBuffer(table, &numbers, PyBUF_SIMPLE)
    try:
        PyObject_GetBuffer(ids, &found, PyBUF_SIMPLE)
        unknown = _look_up(text, &numbers, <int*>found.buf, found.len // <Py_ssize_t>sizeof(int))
        PyBuffer_Release(&found)
    finally:
        PyBuffer_Release(&numbers)
    return ids, unknown


cdef Py_ssize_t _look_up(text, const Py_buffer* table, int* ids, Py_ssize_t n) except -1:
    """Write the numbers of n characters, and return how many are negative."""
    cdef const int* numbers = <const int*>table.buf
    cdef Py_ssize_t last = table.len // <Py_ssize_t>sizeof(int) - 1, unknown = 0, i
    cdef const unsigned char* characters
    if last < 0:
        raise ValueError("the table is empty")
    if n == 0:
        return 0
    if type(text) is bytes:
        characters = text
        for i in range(n):
            ids[i] = characters[i]
    else:
        PyUnicode_AsUCS4(text, <Py_UCS4*>ids, n, False)
    for i in range(n):
        ids[i] = numbers[min(<Py_ssize_t><unsigned int>ids[i], last)]
        unknown += ids[i] < 0
    return unknown
