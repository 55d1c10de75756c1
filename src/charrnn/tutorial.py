"""The tutorial's `RNN` and `DataReader`: one layer, its five steps, ids in, arrays out."""

import os
from collections.abc import Callable, Mapping
from os import PathLike
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .data.batches import TextStream
from .data.text import read_text
from .data.vocabulary import Vocabulary, described
from .history import History, Progress
from .network import Real
from .network import dispatch as _dispatch
from .network._types import Parameters, check_ids
from .network.config import RunOptions
from .network.learner import Learner
from .training.loop import Budget, Trainer
from .training.stepper import Stepper
from .util.atomic_write import StrPath
from .util.errors import check_integer, check_number, check_text
from .util.options import table
from .util.progress import printable


class DataReader:
    """The tutorial's reader, a context manager: a text file as windows of ids.

    Parameters
    ----------
    path : str or path-like
        A UTF-8 text file of at least two characters. A byte order mark is dropped, newlines stay.
    seq_length : int
        Characters in a window, at least 1.

    Attributes
    ----------
    char_to_ix, ix_to_char : dict
        Character to id and back; ids follow the order of code points.
    data_size, vocab_size : int
        Characters in the text, and distinct ones.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp(), "input.txt")
    >>> _ = path.write_text("hello", encoding="utf-8")
    >>> with DataReader(path, seq_length=3) as reader:
    ...     reader.next_batch(), reader.next_batch(), reader.just_started()
    (([1, 0, 2], [0, 2, 2]), ([2], [3]), True)
    """

    def __init__(self, path: StrPath, seq_length: int) -> None:
        self.path: StrPath = path
        self.seq_length: int = check_integer("seq_length", seq_length, 1)
        self.data: str = read_text(path)
        self.vocabulary: Vocabulary = Vocabulary.from_text(self.data)
        self.ix_to_char: dict[int, str] = dict(enumerate(self.vocabulary.chars))
        self.char_to_ix: dict[str, int] = {char: ix for ix, char in self.ix_to_char.items()}
        self.data_size: int = len(self.data)
        self.vocab_size: int = len(self.vocabulary)
        dtype = self.vocabulary.smallest_dtype
        self.ids: NDArray[Any] = self.vocabulary.encode(self.data, dtype=dtype)
        self.pointer: int = 0

    def next_batch(self) -> tuple[list[int], list[int]]:
        """Return the next window as lists of ids, inputs and targets; the last may be short."""
        start, end = self.pointer, min(self.pointer + self.seq_length, self.data_size - 1)
        self.pointer = 0 if end == self.data_size - 1 else end
        return self.ids[start:end].tolist(), self.ids[start + 1 : end + 1].tolist()

    def just_started(self) -> bool:
        """Whether the next window is the first of a pass: time to reset the hidden state."""
        return self.pointer == 0

    def close(self) -> None:
        """Do nothing, as the file was closed once read; the tutorial's reader has this method."""

    def __repr__(self) -> str:
        text = f"{self.data_size:,} characters, {self.vocab_size} different ones"
        return f"DataReader({os.fspath(self.path)!r}, {text}, seq_length={self.seq_length})"

    def __enter__(self) -> "DataReader":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _letter(owner: str, name: str, doc: str) -> Any:
    """Make a property for a letter of the tutorial: a writable view of the stored transpose."""

    def get(self: "RNN") -> Real:
        view: Real = getattr(self.network, owner).views()[name]
        return view.T if view.ndim == 2 else view[:, None]

    def put(self: "RNN", value: ArrayLike) -> None:
        get(self)[...] = value

    return property(get, put, doc=doc)


class Predictions(dict[int, Real]):
    """Probabilities by time step, each (V, 1), as `RNN.forward` returns them."""

    logs: NDArray[np.float64]  # their logarithms (T, V), finite even where a probability is 0


class RNN(Learner):
    r"""A vanilla recurrent network that predicts the next of V symbols, as in the tutorial.

    .. math:: h_t = \tanh(U x_t + W h_{t-1} + b), \quad y_t = \mathrm{softmax}(V h_t + c)

    Parameters
    ----------
    hidden_size : int
        Units H in the hidden layer, 1 to 65,536.
    vocab_size : int
        Symbols V, at least 1.
    seq_length : int
        Characters T in a training window (truncated backpropagation), at least 1.
    learning_rate : float
        Step of Adagrad, above 0.
    batch_size : int, default 1
        Parallel streams B of the text. The loss is a mean over them, so that a learning rate means
        the same at every B.
    clip_value : float, default 5.0
        Each element of a gradient is clipped to [-clip_value, clip_value]; inf switches this off.
    initial_accumulator_value : float, default 0.0
        Initial value of Adagrad's memory. At 0, as in the tutorial, the first steps change every
        weight by about learning_rate, however small its gradient. A large value makes these steps
        small.
    dtype : {"float32", "float64"}
        float32 is fast; float64 is for checks.
    seed : int, optional
        Random seed of the initial weights and of sampling, 0 to 2**64 - 1. None draws one from the
        operating system.
    n_threads : int, default 1
        Threads that share a step if batch_size is above 1. Any number gives the same bits.

    Attributes
    ----------
    U, W, V, b, c : ndarray (H, V), (H, H), (V, H), (H, 1), (V, 1)
        The weights: views, to read and to write in place or by assignment.
    mU, mW, mV, mb, mc : ndarray
        Adagrad's memory, shaped like the weights.
    hidden_size, vocab_size, dtype
        Fixed. The other parameters can be set later, within the same bounds.
    network : network.Network
        The engine: it takes windows of many streams, many characters per call.

    Examples
    --------
    >>> rnn = RNN(hidden_size=8, vocab_size=4, seq_length=3, learning_rate=0.1, seed=0)
    >>> xs, hs, ps = rnn.forward([1, 0, 2], np.zeros((8, 1)))
    >>> round(rnn.loss(ps, [0, 2, 2]) / 3, 2)  # log(4): nothing is learned yet
    1.39
    """

    __slots__ = ()

    U: Real = _letter("weights", "Wxh", "Input to hidden, (H, V).")
    W: Real = _letter("weights", "Whh", "Hidden to hidden, (H, H).")
    V: Real = _letter("weights", "Why", "Hidden to output, (V, H).")
    b: Real = _letter("weights", "bh", "Hidden bias, (H, 1).")
    c: Real = _letter("weights", "by", "Output bias, (V, 1).")
    mU: Real = _letter("memory", "Wxh", "Adagrad's memory of U.")
    mW: Real = _letter("memory", "Whh", "Adagrad's memory of W.")
    mV: Real = _letter("memory", "Why", "Adagrad's memory of V.")
    mb: Real = _letter("memory", "bh", "Adagrad's memory of b.")
    mc: Real = _letter("memory", "by", "Adagrad's memory of c.")

    def __init__(
        self,
        hidden_size: int,
        vocab_size: int,
        seq_length: int,
        learning_rate: float,
        *,
        batch_size: int = 1,
        clip_value: float = 5.0,
        initial_accumulator_value: float = 0.0,
        dtype: Any = "float32",
        seed: int | None = None,
        n_threads: int = 1,
    ) -> None:
        super().__init__(
            [("rnn", hidden_size)],
            vocab_size,
            dtype=dtype,
            seed=seed,
            seq_length=seq_length,
            batch_size=batch_size,
            learning_rate=learning_rate,
            clip_value=clip_value,
            initial_accumulator_value=initial_accumulator_value,
            n_threads=n_threads,
        )

    @property
    def hidden_size(self) -> int:
        """Units in the hidden layer."""
        return self.network.description.layers[0].units

    @property
    def vocab_size(self) -> int:
        """Symbols."""
        return self.network.description.vocab_size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the weights and of all computation."""
        return self.network.dtype

    def __repr__(self) -> str:
        names = ("hidden_size", "vocab_size", "seq_length", "batch_size", "learning_rate")
        numbers = ", ".join(f"{name}={getattr(self, name):g}" for name in names)
        return f"RNN({numbers}, dtype={str(self.dtype)!r})"

    def forward(
        self, inputs: ArrayLike, hprev: ArrayLike
    ) -> tuple[dict[int, Real], dict[int, Real], Predictions]:
        """Run one window.

        Parameters
        ----------
        inputs : sequence of int
            T ids in [0, V), any T of at least 1.
        hprev : array_like (H, 1)
            The state before the first input.

        Returns
        -------
        xs, hs, ps : dict
            By time step 0 to T - 1: one-hot input (V, 1), state (H, 1), probabilities of the next
            symbol (V, 1). ``hs[-1]`` is hprev.
        """
        ids = self._check_ids("inputs", inputs)
        work = self.network.workspace(len(ids), 1)
        work.set_state(self._check_state("hprev", hprev))
        states, logits = _dispatch.core.window(work, ids)
        ps = Predictions(enumerate(_dispatch.core.softmax(work, logits)[:, 0, :, None]))
        shifted = logits[:, 0].astype(np.float64) - logits[:, 0].max(axis=1, keepdims=True)
        ps.logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        hs = {t - 1: states[t, 0, : self.hidden_size, None] for t in range(len(ids) + 1)}
        xs = np.zeros((len(ids), self.vocab_size, 1), self.dtype)
        xs[np.arange(len(ids)), ids[:, 0]] = 1
        return dict(enumerate(xs)), hs, ps

    def softmax(self, o: ArrayLike) -> Real:
        """Return the softmax of a column of logits (V, 1), however large they are."""
        array = np.asarray(o)
        if array.size != self.vocab_size or array.dtype.kind not in "fiu":
            shape = f"({self.vocab_size}, 1), not {array.dtype} of shape {array.shape}"
            raise ValueError(f"o must be numbers of shape {shape}")
        logits = array.reshape(1, 1, -1).astype(np.float64)
        logits -= logits.max()  # before they become float32, where they might be infinite
        return _dispatch.core.softmax(self.network.workspace(1, 1), logits)[0, 0, :, None]

    def loss(self, ps: Mapping[int, Real], targets: ArrayLike) -> float:
        """Return the cross-entropy of a window in nats, summed over its characters.

        It is finite even where a probability is 0.
        """
        ids = self._check_ids("targets", targets, len(ps))[:, 0]
        if isinstance(ps, Predictions):
            return float(-ps.logs[np.arange(len(ids)), ids].sum())
        tiny = np.finfo(self.dtype).tiny
        return float(-sum(np.log(max(ps[t][ix, 0], tiny)) for t, ix in enumerate(ids)))

    def backward(
        self,
        xs: Mapping[int, Real],
        hs: Mapping[int, Real],
        ps: Mapping[int, Real],
        targets: ArrayLike,
    ) -> tuple[Real, Real, Real, Real, Real]:
        """Return dU, dW, dV, db, dc: the gradient of `loss`, each element clipped.

        Parameters
        ----------
        xs, hs, ps : dict
            What `forward` returns.
        targets : sequence of int
            The next id at each time step of xs.
        """
        T = len(xs)
        inputs = [[np.argmax(xs[t])] for t in range(T)]
        states = [[np.ravel(hs[t])] for t in range(-1, T)]
        p = [[np.ravel(ps[t])] for t in range(T)]
        work = self.network.workspace(max(1, T), 1, training=True)
        ids = self._check_ids("targets", targets, T)
        gradient = _dispatch.core.backward(work, inputs, ids, states, p)
        np.clip(gradient.block, -self.clip_value, self.clip_value, out=gradient.block)
        g = gradient.views()
        return g["Wxh"].T, g["Whh"].T, g["Why"].T, g["bh"][:, None], g["by"][:, None]

    def gradient_norms(
        self, inputs: ArrayLike, target: int, hprev: ArrayLike
    ) -> NDArray[np.float64]:
        r"""Return how the gradient of the last prediction shrinks, or grows, back through time.

        Parameters
        ----------
        inputs : sequence of int
            T ids in [0, V).
        target : int
            The id that follows them.
        hprev : array_like (H, 1)
            The state before the first input.

        Returns
        -------
        ndarray (T,) of float64
            The length of :math:`\partial L_T / \partial h_{T-k}` for k = 0 to T - 1 steps back,
            where :math:`L_T` is the loss of target alone: how much each state mattered to it.

        Notes
        -----
        Each step back multiplies the gradient by :math:`W^T` and by the slopes of tanh,
        :math:`\partial L / \partial h_{t-1} = W^T (1 - h_t^2) \partial L / \partial h_t`. Over many
        steps it vanishes or explodes exponentially. The network learns nothing from states further
        back than the gradient reaches.

        Examples
        --------
        >>> rnn = RNN(8, 4, seq_length=3, learning_rate=0.1, dtype="float64", seed=0)
        >>> norms = rnn.gradient_norms([1, 0, 2, 1], 2, np.zeros((8, 1)))
        >>> bool(norms[3] < norms[2] < norms[1] < norms[0])
        True
        """
        y = self._check_ids("target", [target])[0, 0]
        _, hs, ps = self.forward(inputs, hprev)
        dy = ps[len(hs) - 2].astype(np.float64)  # it may become too small for float32
        dy[y] -= 1
        dh = self.V.T @ dy
        norms = [np.linalg.norm(dh)]
        for t in range(len(hs) - 2, 0, -1):
            dh = self.W.T @ ((1 - hs[t] ** 2) * dh)
            norms.append(np.linalg.norm(dh))
        return np.array(norms)

    def update_model(
        self, dU: ArrayLike, dW: ArrayLike, dV: ArrayLike, db: ArrayLike, dc: ArrayLike
    ) -> None:
        """Update the weights by Adagrad.

        memory += g * g; weight -= learning_rate * g / sqrt(memory + 1e-8)
        """
        gradient = Parameters(self.network.description, self.dtype)
        for (name, view), given in zip(gradient.views().items(), (dU, dW, dV, db, dc), strict=True):
            wanted, shape = view.T if view.ndim == 2 else view[:, None], np.shape(given)
            if shape != wanted.shape:
                raise ValueError(
                    f"the gradient of {name} must have shape {wanted.shape}, not {shape}"
                )
            wanted[...] = given
        work = self.network.workspace(1, 1, training=True)
        _dispatch.core.update(work, gradient, self.learning_rate)

    def sample(self, h: ArrayLike, seed_ix: int, n: int) -> list[int]:
        """Draw n ids one after the other, starting from the state h (H, 1) and the id seed_ix."""
        n = check_integer("n", n, 0)
        if isinstance(cast(Any, seed_ix), str):
            how = "data_reader.char_to_ix has the id of each character"
            raise TypeError(f"seed_ix must be an integer, not {seed_ix!r}: {how}")
        work = self.network.workspace(1, 1)
        work.set_state(self._check_state("h", h))
        self.network.feed(work, self._check_ids("seed_ix", [seed_ix]))
        ids: list[int] = self.network.draw(work, n, self.random)[:, 0].tolist()
        return ids

    def predict(self, data_reader: DataReader, start: str, n: int) -> str:
        """Return the text start and n characters that follow it; the state is zero before start.

        Parameters
        ----------
        data_reader : DataReader
            Its dictionaries translate between characters and ids.
        start : str
            At least one character, all of them known to data_reader.
        n : int
            Characters to add, 0 or more.
        """
        _check_reader(data_reader, "RNN.predict")
        n = check_integer("n", n, 0)
        for place, char in enumerate(check_text("start", start)):
            if char not in data_reader.char_to_ix:
                known = f"the {data_reader.vocab_size} characters of the text"
                raise ValueError(f"start[{place}] = {described(char)} is not among {known}")
        if not start:
            raise ValueError("start must have at least one character")
        work, prime = self.network.workspace(1, 1), [data_reader.char_to_ix[char] for char in start]
        self.network.feed(work, self._check_ids("start", prime))
        # The network may have more symbols than this reader has characters.
        allowed = (np.arange(self.vocab_size) < data_reader.vocab_size).astype(np.int8)
        ids = self.network.draw(work, n, self.random, allowed=allowed)[:, 0]
        return start + "".join(data_reader.ix_to_char[ix] for ix in ids.tolist())

    def train(
        self,
        data_reader: DataReader,
        *,
        epochs: int | None = None,
        steps: int | None = None,
        seconds: float | None = None,
        threshold: float | None = 0.01,
        callback: "Callable[[Progress], bool | None] | Literal['print'] | None" = "print",
    ) -> History:
        """Train until a budget is used up or the smoothed loss falls to the threshold.

        Parameters
        ----------
        data_reader : DataReader
            Its text.
        epochs, steps, seconds : optional
            Budgets: the first one used up ends the training; without any, 10 epochs. A step is one
            window.
        threshold : float, default 0.01
            In nats per window of seq_length characters, smoothed over about 1,000 steps (the
            tutorial's condition).
        callback : callable or None
            Called a few times per epoch with a `Progress`; return True to stop. By default, print
            a sample and the loss, as the tutorial does.

        Returns
        -------
        History

        Raises
        ------
        DivergedError
            If a loss is not finite. The weights are those after the last finite step.
        RuntimeError
            If this network is being trained already.
        """
        _check_reader(data_reader, "RNN.train")
        if callback == "print":
            callback = self._printer(data_reader)
        if data_reader.vocab_size > self.vocab_size:
            sizes = f"{data_reader.vocab_size} distinct characters, this network vocab_size"
            raise ValueError(f"the text has {sizes}={self.vocab_size}")
        stream = TextStream(data_reader.ids, self.seq_length, self.batch_size)
        if threshold is not None:
            check_number("threshold", threshold)
        given = {"epochs": epochs, "steps": steps, "seconds": seconds, "callback": callback}
        options = {name: table(RunOptions)[name].check(value) for name, value in given.items()}
        trainer = Trainer(
            Stepper(self, stream, 0),
            Budget.from_options(options),
            threshold=threshold,
            callback=options["callback"],
        )
        return trainer.run()

    def _printer(self, data_reader: DataReader) -> Callable[[Progress], None]:
        def show(progress: Progress) -> None:
            print(printable(self.predict(data_reader, data_reader.data[0], 200)[1:]))
            print(f"\n\niter :{progress.step}, loss:{progress.smooth_loss:f}", flush=True)

        return show

    def _check_ids(self, name: str, ids: ArrayLike, length: int | None = None) -> NDArray[np.int32]:
        """Return ids in [0, V), at least one or as many as length says, as int32 (T, 1)."""
        array = np.asarray(ids)
        if array.ndim != 1 or not len(array) or array.dtype.kind not in "iu":
            raise TypeError(f"{name} must be a sequence of at least one integer, not {ids!r:.60}")
        if length is not None and len(array) != length:
            raise ValueError(f"{name} must have {length} ids, not {len(array)}")
        return check_ids(name, array, 0, self.vocab_size, (None,))[:, None]

    def _check_state(self, name: str, h: ArrayLike) -> Real:
        """Return a finite state (H, 1) as a row (1, H)."""
        array = np.asarray(h)
        if array.shape != (self.hidden_size, 1) or array.dtype.kind not in "fiu":
            shape = f"({self.hidden_size}, 1), not {array.dtype} of shape {array.shape}"
            raise ValueError(f"{name} must be numbers of shape {shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} must be finite")
        return array.T


def _check_reader(reader: Any, name: str) -> None:
    """Raise TypeError if this is not a reader; name is the method that needs it."""
    if not isinstance(reader, DataReader):
        given = f"{reader!r:.80}" if isinstance(reader, (str, PathLike)) else type(reader).__name__
        how = "reads a file, and charrnn.train_file(path) trains on one at once"
        raise TypeError(
            f"{name} needs a DataReader, not {given}: DataReader(path, seq_length) {how}"
        )
