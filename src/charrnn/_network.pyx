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

from .errors import check_integer

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
cdef dict _CELLS = {"rnn": RNN}
cdef dict _DTYPES = {known: np.dtype(kind) for kind in ("f4", "f8") for known in (np.dtype(kind), np.dtype(kind).name, np.dtype(kind).type)}

cdef enum:
    CACHE_LINE = 64       # bytes, and the widest vector
    LARGEST = 1 << 16     # units of a layer; its recurrent matrix then has 16 GiB

globals().update(LANES=LANES, LOOK_BACK=LOOK_BACK)


class Layer(NamedTuple):
    """A recurrent layer: the kind of its cell, and its units."""

    cell: str
    units: int


cdef Py_ssize_t _padded(Py_ssize_t size):
    """The leading dimension of rows of size numbers: an odd multiple of LANES.

    A multiple, so that no loop of the kernels has a ragged tail; odd, so that the rows of a matrix do not compete for the same few
    sets of a first-level cache, as they do at powers of two.
    """
    cdef Py_ssize_t lanes = (size + LANES - 1) // LANES
    return (lanes + (lanes + 1) % 2) * LANES


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
    """

    def __cinit__(self, layers, vocab_size):
        cdef Plan* plan = &self.plan
        cdef LayerPlan* layer
        given = []
        for cell, units in itertools.islice(layers, MAX_LAYERS + 1):
            given.append(_check_layer(cell, units))
        checked = tuple(given)
        plan.n_layers = <int>check_size("the number of layers", len(checked), 1, MAX_LAYERS)
        self.layers, self.vocab_size = checked, check_size("vocab_size", vocab_size, 1, 0x110000)
        plan.V = self.vocab_size
        names, below = [], 0
        for i, (cell, units) in enumerate(self.layers):
            layer = &plan.layers[i]
            layer.cell, layer.column = _CELLS[cell], plan.width
            number = str(i + 1) if i else ""
            layer.Wxh = self.add(self.layers[i - 1].units if i else plan.V, units, below)
            layer.Whh = self.add(units, units, _padded(units))
            layer.bh = self.add(0, units, 0)
            names += ["Wxh" + number, "Whh" + number, "bh" + number]
            below = _padded(units)
            plan.width += below
        plan.Why, plan.by = self.add(units, plan.V, below), self.add(0, plan.V, 0)
        plan.largest_ld = max(plan.width, _padded(plan.V))
        places, self.operations, self.n_parameters = {}, 0, 0
        for i, name in enumerate([*names, "Why", "by"]):
            m = plan.matrices[i]
            places[name] = m["start"], m["rows"], m["columns"], m["ld"], m["bias"]
            self.n_parameters += m["rows"] * m["columns"]
            if i > 0 and not m["bias"]:      # a row of the first Wxh is looked up, biases are added; others are multiplied and added
                self.operations += 2 * m["rows"] * m["columns"]
        self.tensors = MappingProxyType(dict(sorted(places.items(), key=lambda item: item[1][4])))  # matrices first, as since version 1

    cdef int add(self, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t ldt):
        """Give a matrix (a bias, if rows is 0) the next places, and its transposed copy if it has an ldt; return its number."""
        cdef Matrix* matrix = &self.plan.matrices[self.plan.n_matrices]
        matrix.bias = rows == 0
        matrix.rows, matrix.columns, matrix.ld, matrix.ldt = max(1, rows), columns, _padded(columns), ldt
        matrix.start, matrix.transposed = self.plan.size, self.plan.transposed_size
        self.plan.size += matrix.rows * matrix.ld
        self.plan.transposed_size += columns * ldt
        self.plan.n_matrices += 1
        return self.plan.n_matrices - 1

    @property
    def units(self):
        """The columns of a row of states that are units of a layer, not padding: an array of indices."""
        columns = []
        for i, (_, units) in enumerate(self.layers):
            columns.append(np.arange(units) + self.plan.layers[i].column)
        return np.concatenate(columns)

    def __eq__(self, other):
        return isinstance(other, Description) and (self.layers, self.vocab_size) == (other.layers, other.vocab_size)

    def __hash__(self):
        return hash((self.layers, self.vocab_size))

    def __repr__(self):
        return f"{', '.join(f'{cell} of {units} units' for cell, units in self.layers)}, {self.vocab_size} symbols"

    def __reduce__(self):
        return Description, (self.layers, self.vocab_size)


cdef _check_layer(cell, units):
    if type(cell) is not str or cell not in _CELLS:
        raise ValueError(f"cell must be one of {', '.join(_CELLS)}, not {cell!r}")
    return Layer(cell, check_size("hidden_size", units, 1, LARGEST))


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
        raise MemoryError(f"no memory for an array of shape {shape}")
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
        views = {}
        for name, (start, rows, columns, ld, bias) in self.description.tensors.items():
            view = self.block[start:start + rows * ld].reshape(rows, ld)[:, :columns]
            views[name] = view[0] if bias else view
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


cdef class OwnedNetwork:
    """A network: its description, its weights, and Adagrad's memory of them. `network.Network` is its face."""

    def __cinit__(self, description, dtype):
        self.description = description if isinstance(description, Description) else Description(*description)
        self.dtype = _check_dtype(dtype)
        self.weights = Parameters(self.description, self.dtype)
        self.memory = Parameters(self.description, self.dtype)

    def __reduce__(self):
        return type(self), (self.description, self.dtype.name), (self.weights, self.memory)

    def __setstate__(self, state):
        weights, memory = state
        self.weights.copy_from(weights)
        self.memory.copy_from(memory)


cdef class Workspace:
    """Scratch space of one network for windows of T characters in B streams; with training, also for the backward pass."""

    def __cinit__(self, OwnedNetwork network not None, T, B, training=False):
        T, B, training = check_size("T", T, 1, INT_MAX), check_size("B", B, 1, INT_MAX), bool(training)
        if network.memory is None or not isinstance(self, (Workspace32, Workspace64)):
            raise TypeError("a workspace is a Workspace32 or a Workspace64, of a network that is whole")
        self.network, self.plan, self.T, self.B, self.training = network, network.description.plan, T, B, training
        self.inputs, self.targets, self.nll = (new_memory((self.T, self.B), kind) for kind in (_INT32, _INT32, _FLOAT64))
        try:
            self.lock = threading.Lock()
        except RuntimeError:                 # what Python calls a lack of memory here
            raise MemoryError("no memory for a lock") from None
        self.used = new_memory((network.description.vocab_size,), _INT8)

    @property
    def state(self):
        """The state that is carried from window to window: a view (B, width), in which the units of all layers lie side by side."""
        return self.states.view()[0]

    def get_state(self):
        """Return a copy of the state without padding, (B, units of all layers)."""
        return self.state[:, self.network.description.units]

    def set_state(self, state):
        """Begin from a state without padding: 0, or (B, units of all layers)."""
        self.state[:, self.network.description.units] = state

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
    work.packs = new_memory((0,), dtype)
    work.states = new_memory((work.T + 1, work.B, plan.width), dtype)
    work.hs = work.states
    work.p = new_memory((work.T, work.B, _padded(plan.V)), dtype)
    if work.training:
        work.memory = work.network.memory.numbers
        work.gradient, work.transposed = new_memory((plan.size,), dtype), new_memory((plan.transposed_size,), dtype)
        work.dz = new_memory((work.T, work.B, plan.width), dtype)
    work.whole = True


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
