"""The network on numbers: parameters and the tutorial's five steps, ids in, arrays out."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import loop
from ._dispatch import core
from .errors import check_integer, check_number, check_text
from .history import History, Progress
from .parameters import Parameters, Real, Workspace
from .reader import IGNORED, DataReader, TextStream
from .seeding import make_random

LOOK_BACK = core.LOOK_BACK  # characters before the next among which `draw` looks for a repetition
_LARGEST = 2**16  # hidden_size; the recurrent matrix then has 16 GiB
_OPERATIONS_AT_A_TIME = 500_000_000  # floating-point operations between two looks at Ctrl-C


def _letter(owner: str, name: str, doc: str) -> Any:
    """Make a property for one of the tutorial's letters: a writable view, transposed and without padding, of the stored array."""

    def get(self: "RNN") -> Real:
        view: Real = getattr(self, owner).views()[name]
        return view.T if view.ndim == 2 else view[:, None]

    def put(self: "RNN", value: ArrayLike) -> None:
        get(self)[...] = value

    return property(get, put, doc=doc)


class NetworkOptions(TypedDict, total=False):
    """The options of an `RNN`, by name, but vocab_size."""

    hidden_size: int
    seq_length: int
    batch_size: int
    learning_rate: float
    clip_value: float
    initial_accumulator_value: float
    dtype: str
    n_threads: int
    seed: int | None


class Predictions(dict[int, Real]):
    """Probabilities by time step, each (V, 1), as `RNN.forward` returns them; `logs` (T, V) has their logarithms, finite where p is 0."""

    logs: NDArray[np.float64]


class RNN:
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
        Parallel streams B of the text. The loss is a mean over them, so the learning rate means the same at every B.
    clip_value : float, default 5.0
        Each element of a gradient is clipped to [-clip_value, clip_value]; inf switches it off.
    initial_accumulator_value : float, default 0.0
        Where Adagrad's memory starts. At 0, as in the tutorial, the first steps change every weight by about learning_rate,
        however small its gradient; a large value makes them small.
    dtype : {"float32", "float64"}
        float32 trains fast; float64 is for proofs.
    seed : int, optional
        Of the initial weights and of sampling, 0 to 2**64 - 1. None takes one from the operating system.
    n_threads : int, default 1
        Threads that share a training step where batch_size is above 1. Any number gives the same bits.

    Attributes
    ----------
    U, W, V, b, c : ndarray (H, V), (H, H), (V, H), (H, 1), (V, 1)
        The weights: views, to read and to write in place or by assignment.
    mU, mW, mV, mb, mc : ndarray
        Adagrad's memory, shaped like the weights.

    Examples
    --------
    >>> rnn = RNN(hidden_size=8, vocab_size=4, seq_length=3, learning_rate=0.1, seed=0)
    >>> xs, hs, ps = rnn.forward([1, 0, 2], np.zeros((8, 1)))
    >>> round(rnn.loss(ps, [0, 2, 2]) / 3, 2)  # log(4): nothing is learned yet
    1.39
    """

    U: Real = _letter("params", "Wxh", "Input to hidden, (H, V).")
    W: Real = _letter("params", "Whh", "Hidden to hidden, (H, H).")
    V: Real = _letter("params", "Why", "Hidden to output, (V, H).")
    b: Real = _letter("params", "bh", "Hidden bias, (H, 1).")
    c: Real = _letter("params", "by", "Output bias, (V, 1).")
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
        self.hidden_size: int = check_integer("hidden_size", hidden_size, 1, _LARGEST)
        self.vocab_size: int = check_integer("vocab_size", vocab_size, 1, 0x110000)
        self.seq_length: int = check_integer("seq_length", seq_length, 1)
        self.batch_size: int = check_integer("batch_size", batch_size, 1)
        if dtype not in ("float32", "float64", np.float32, np.float64):
            raise ValueError(f"dtype must be 'float32' or 'float64', not {dtype!r}")
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        largest = float(np.finfo(self.dtype).max)
        self.learning_rate: float = check_number("learning_rate", learning_rate, above=0, maximum=largest)
        self.clip_value: float = check_number("clip_value", clip_value, above=0, finite=False)
        self.initial_accumulator_value: float = check_number(
            "initial_accumulator_value", initial_accumulator_value, minimum=0, maximum=largest
        )
        self.n_threads: int = check_integer("n_threads", n_threads, 1, 1024)
        self.random: NDArray[np.uint64] = make_random(seed)
        self.params: Parameters = Parameters(self.hidden_size, self.vocab_size, self.dtype)
        self.memory: Parameters = Parameters(self.hidden_size, self.vocab_size, self.dtype)
        self.memory.block[...] = self.initial_accumulator_value
        self.params.by[self.vocab_size :] = core.PAD_LOGIT
        for name, width in (("Wxh", self.hidden_size), ("Whh", self.hidden_size), ("Why", self.vocab_size)):
            core.init_normal(getattr(self.params, name), width, 0.01, self.random)

    def workspace(self, T: int | None = None, B: int | None = None, *, training: bool = False) -> Workspace:
        """Return a `parameters.Workspace` for windows of T characters in B streams (the network's own sizes if not given), zero state."""
        return Workspace(T or self.seq_length, B or self.batch_size, self.hidden_size, self.vocab_size, self.dtype, training)

    # ---------------------------------------------------------------------------------------------- the tutorial's steps

    def forward(self, inputs: ArrayLike, hprev: ArrayLike) -> tuple[dict[int, Real], dict[int, Real], Predictions]:
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
            By time step 0 to T - 1: one-hot input (V, 1), state (H, 1), probabilities of the next symbol (V, 1). ``hs[-1]`` is hprev.
        """
        ids = self._check_ids("inputs", inputs)
        work = self.workspace(len(ids), 1)
        work.hs[0, 0, : self.hidden_size] = self._check_state("hprev", hprev)
        core.cell_forward(work.hs, self.params, work, ids)
        core.output_forward(work.hs, self.params, work.p, 1, self.vocab_size)
        logits = work.p[:, 0, : self.vocab_size].astype(np.float64)
        peaks = logits.max(axis=1, keepdims=True)
        core.softmax(work.p, np.full(ids.shape, IGNORED, np.int32), np.empty(ids.shape), self.vocab_size)
        ps = Predictions(enumerate(work.p[:, 0, : self.vocab_size, None]))
        ps.logs = logits - peaks - np.log(np.exp(logits - peaks).sum(axis=1, keepdims=True))
        hs = {t - 1: work.hs[t, 0, : self.hidden_size, None] for t in range(len(ids) + 1)}
        xs = dict(enumerate(np.eye(self.vocab_size, dtype=self.dtype)[ids[:, 0], :, None]))
        return xs, hs, ps

    def softmax(self, o: ArrayLike) -> Real:
        """Return the softmax of a column of logits (V, 1), however large they are."""
        row = np.full((1, 1, self.params.by.size), core.PAD_LOGIT, self.dtype)
        row[0, 0, : self.vocab_size] = np.reshape(o, self.vocab_size)
        core.softmax(row, np.full((1, 1), IGNORED, np.int32), np.empty((1, 1)), self.vocab_size)
        return row[0, 0, : self.vocab_size, None]

    def loss(self, ps: Mapping[int, Real], targets: ArrayLike) -> float:
        """Return the cross-entropy of a window in nats, summed over its characters; finite even where a probability is 0."""
        ids = self._check_ids("targets", targets, len(ps))[:, 0]
        if isinstance(ps, Predictions):
            return float(-ps.logs[np.arange(len(ids)), ids].sum())
        return float(-sum(np.log(max(ps[t][ix, 0], np.finfo(self.dtype).tiny)) for t, ix in enumerate(ids)))

    def backward(
        self, xs: Mapping[int, Real], hs: Mapping[int, Real], ps: Mapping[int, Real], targets: ArrayLike
    ) -> tuple[Real, Real, Real, Real, Real]:
        """Return dU, dW, dV, db, dc: the gradient of `loss` by the weights, clipped element by element.

        Parameters
        ----------
        xs, hs, ps : dict
            As returned by `forward`.
        targets : sequence of int
            The next id at each time step, as many as xs has steps.
        """
        T = len(xs)
        ids = np.array([[np.argmax(xs[t])] for t in range(T)], np.int32)
        grads = self._backward(ids, self._check_ids("targets", targets, T), hs, ps)
        np.clip(grads.block, -self.clip_value, self.clip_value, out=grads.block)
        g = grads.views()
        return g["Wxh"].T, g["Whh"].T, g["Why"].T, g["bh"][:, None], g["by"][:, None]

    def _backward(
        self, inputs: NDArray[np.int32], targets: NDArray[np.int32], hs: Mapping[int, Real], ps: Mapping[int, Real]
    ) -> Parameters:
        work = self.workspace(len(inputs), 1, training=True)
        for t in range(-1, len(inputs)):
            work.hs[t + 1, 0, : self.hidden_size] = hs[t][:, 0]
        for t in range(len(inputs)):
            work.p[t, 0, : self.vocab_size] = ps[t][:, 0]
        core.backward(work.hs, self.params, work, work.grads, inputs, targets)
        return work.grads

    def update_model(self, dU: ArrayLike, dW: ArrayLike, dV: ArrayLike, db: ArrayLike, dc: ArrayLike) -> None:
        """Apply one Adagrad update: memory += g * g; weight -= learning_rate * g / sqrt(memory + 1e-8)."""
        grads = Parameters(self.hidden_size, self.vocab_size, self.dtype)
        views = grads.views()
        for name, gradient in zip(views, (dU, dW, dV, db, dc), strict=True):
            views[name].T[...] = np.asarray(gradient).reshape(views[name].T.shape)
        core.adagrad(self.params.block, self.memory.block, grads.block, rate=self.learning_rate, clip=np.inf)

    def sample(self, h: ArrayLike, seed_ix: int, n: int) -> list[int]:
        """Return a list of n ids drawn one after the other, from the state h (H, 1) and the symbol seed_ix."""
        n = check_integer("n", n, 0)
        work = self.workspace(1, 1)
        work.hs[0, 0, : self.hidden_size] = self._check_state("h", h)
        self._feed(work, self._check_ids("seed_ix", [seed_ix]))
        ids: list[int] = self.draw(work, n, self.random)[:, 0].tolist()
        return ids

    def predict(self, data_reader: DataReader, start: str, n: int) -> str:
        """Return the text start and n characters that follow it, the state having been led through start from zero.

        Parameters
        ----------
        data_reader : DataReader
            Its dictionaries translate between characters and ids.
        start : str
            At least one character, all of them known to data_reader.
        n : int
            Characters to add, 0 or more.
        """
        n = check_integer("n", n, 0)
        for place, char in enumerate(check_text("start", start)):
            if char not in data_reader.char_to_ix:
                raise ValueError(f"start[{place}] = {char!r} is not among the {data_reader.vocab_size} characters of the text")
        if not start:
            raise ValueError("start must have at least one character")
        work = self.workspace(1, 1)
        self._feed(work, self._check_ids("start", [data_reader.char_to_ix[char] for char in start]))
        # A network may have more symbols than this reader has characters.
        allowed = (np.arange(self.vocab_size) < data_reader.vocab_size).astype(np.int8)
        ids = self.draw(work, n, self.random, allowed=allowed)[:, 0]
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
        """Train on the reader's text until a budget is used up or the smoothed loss of a window falls to the threshold.

        Parameters
        ----------
        data_reader : DataReader
        epochs, steps, seconds : optional
            Budgets; the first one reached ends the training. None given: 10 epochs. A step is one window.
        threshold : float, default 0.01
            In nats per window of seq_length characters, smoothed over about 1,000 steps (the tutorial's condition).
        callback : callable or None
            Called with a `Progress` a few times a pass; returns True to stop. By default it prints, as the tutorial does.

        Returns
        -------
        History

        Raises
        ------
        DivergedError
            If a loss is not finite; the weights are those of the last good step.
        """
        if callback == "print":
            callback = self._printer(data_reader)
        if data_reader.vocab_size > self.vocab_size:
            raise ValueError(f"the text has {data_reader.vocab_size} distinct characters, this network vocab_size={self.vocab_size}")
        stream = TextStream(data_reader.ids, self.seq_length, self.batch_size)
        return loop.fit(self, stream, epochs=epochs, steps=steps, seconds=seconds, threshold=threshold, callback=callback)

    def _printer(self, data_reader: DataReader) -> Callable[[Progress], None]:
        def show(progress: Progress) -> None:
            first = data_reader.char_to_ix[data_reader.data[0]]
            print(self.predict(data_reader, data_reader.ix_to_char[first], 200)[1:])
            print(f"\n\niter :{progress.step}, loss:{progress.smooth_loss:f}", flush=True)

        return show

    # ---------------------------------------------------------------------------------------------- the fast paths

    def train_steps(
        self,
        work: Workspace,
        inputs: NDArray[np.integer],
        targets: NDArray[np.integer],
        *,
        rate: float | None = None,
        reset: bool = False,
    ) -> NDArray[np.float64]:
        """Train on consecutive windows, the state carried in work.hs[0], or zero at the start of each if reset is true.

        Parameters
        ----------
        work : Workspace
            Made by ``workspace(training=True)``; its T is the length of a window.
        inputs, targets : ndarray (N, B) of int
            Time runs down the rows; each T rows are a step, the last may be short. Inputs in [0, V), targets too or -1 to count nothing.
        rate : float, optional
            Instead of the network's learning_rate.

        Returns
        -------
        ndarray of float64
            The loss of each step, summed over its characters in all streams, in nats. Fewer than ceil(N / T): the next step diverged and
            was not applied.
        """
        inputs, targets = self._check_windows(work, inputs, targets)
        losses = np.empty(-(-len(inputs) // len(work.dh)))
        train = core.train_steps if self.n_threads == 1 or self.batch_size == 1 else self._train_steps_threaded
        rate = self.learning_rate if rate is None else rate
        done = train(work.hs, self.params, self.memory, work, inputs, targets, losses, rate=rate, clip=self.clip_value, reset=reset)
        return losses[:done]

    def _train_steps_threaded(
        self,
        hs: Real,
        params: Parameters,
        memory: Parameters,
        work: Workspace,
        inputs: NDArray[np.int32],
        targets: NDArray[np.int32],
        losses: NDArray[np.float64],
        *,
        rate: float,
        clip: float,
        reset: bool,
    ) -> int:
        """`core.train_steps` with each step shared by threads: first its streams, then its weights. The same bits.

        The threads live for this call only, so that there is nothing to lose in a fork.
        """
        from concurrent.futures import ThreadPoolExecutor  # here: it costs an import 5 ms that most need not pay

        T, B = work.dh.shape[:2]
        n = min(self.n_threads, B)
        cuts = [B * i // n for i in range(n + 1)]
        core.transpose(hs, params, work)
        with ThreadPoolExecutor(n) as pool:
            for step in range(len(losses)):
                stop = step * T + core.used_rows(targets[step * T : (step + 1) * T])
                x, y = inputs[step * T : stop], targets[step * T : stop]
                if reset:
                    hs[0] = 0
                bounded = list(pool.map(partial(core.streams_step, hs, params, work, x, y), cuts[:-1], cuts[1:]))
                losses[step] = core.total(work.nll, len(x))
                if not (math.isfinite(losses[step]) and all(bounded)):
                    return step
                learn = partial(core.weights_step, hs, params, memory, work, x, rate=rate, clip=clip)
                list(pool.map(learn, range(n), [n] * n))
                hs[0] = hs[len(x)]
        return len(losses)

    def evaluate(self, work: Workspace, inputs: NDArray[np.integer], targets: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return the loss of each target in nats, float64 (N, B), weights frozen; arguments as in `train_steps`, for any workspace."""
        inputs, targets = self._check_windows(work, inputs, targets)
        nll = np.empty(inputs.shape)
        T = len(work.dh)
        rows = T * max(1, self._affordable(inputs.shape[1]) // T)
        for start in range(0, len(inputs), rows):
            part = slice(start, start + rows)
            core.evaluate(work.hs, self.params, work, inputs[part], targets[part], nll[part])
        return nll

    def draw(
        self,
        work: Workspace,
        n: int,
        random: NDArray[np.uint64],
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        min_p: float = 0.0,
        no_repeat: int = 0,
        allowed: NDArray[np.int8] | None = None,
        past: NDArray[np.int32] | None = None,
    ) -> NDArray[np.int32]:
        """Draw n ids in each stream, each fed back, from the states work.hs[0], which move on.

        Parameters
        ----------
        work : Workspace
            Its number of streams B counts.
        n : int
        random : ndarray (B,) of uint64
            Generator states, which move on.
        temperature, top_k, top_p, min_p, no_repeat, allowed
            As in `sampling.Sampling`, which checks them.
        past : ndarray (m, B) of int32, optional
            What the streams had before, for no_repeat; the kernel looks at the last core.LOOK_BACK.

        Returns
        -------
        ndarray (n, B) of int32
        """
        B = work.hs.shape[1]
        first = 0 if past is None else len(past)
        ids = np.empty((first + n, B), np.int32)
        if first:
            ids[:first] = past
        allowed = np.ones(self.vocab_size, np.int8) if allowed is None else allowed
        controls: dict[str, Any] = {"temperature": temperature, "top_p": top_p, "min_p": min_p, "no_repeat": no_repeat}
        controls["top_k"] = self.vocab_size if top_k is None else top_k
        rows = self._affordable(B, looked_at=LOOK_BACK if no_repeat else 0)
        for start in range(first, first + n, rows):
            core.sample(work.hs, self.params, work, ids[: start + rows], start, random, allowed, np.empty_like(allowed), **controls)
        return ids[first:]

    def search(
        self, work: Workspace, n: int, scores: NDArray[np.float64], ended: NDArray[np.int8], allowed: NDArray[np.int8], boundary: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Extend the W texts of a beam search by n ids.

        Parameters
        ----------
        work : Workspace
            Of two time steps and W streams; the states work.hs[0] are those of the texts.
        n : int
        scores : ndarray (W,) of float64
            The sum of the log-probabilities of each text, -inf where there is none.
        ended : ndarray (W,) of int8
            Which texts are complete.
        allowed : ndarray (V,) of int8
            Which ids may come.
        boundary : int
            The id that completes a text; -1 if there is none.

        Returns
        -------
        ids, parents : ndarray (n, W) of int32
            The id at each step, and the number of the text of the step before that it extends. States, scores and ended move on.
        """
        ids, parents = np.empty((2, n, len(scores)), np.int32)
        rows = self._affordable(len(scores))
        for start in range(0, n, rows):
            part = slice(start, start + rows)
            core.search(work.hs, self.params, work, ids[part], parents[part], scores, ended, allowed, boundary)
        return ids, parents

    def next_probs(self, work: Workspace) -> NDArray[np.float64]:
        """Return the probabilities of the next symbol after the states work.hs[0], float64 (B, V)."""
        p, _ = self._next(work, np.full(work.hs.shape[1], IGNORED, np.int32))
        return p.astype(np.float64)

    def next_nll(self, work: Workspace, targets: ArrayLike) -> NDArray[np.float64]:
        """Return the loss in nats of the next symbols, ids (B,), after the states work.hs[0], float64 (B,)."""
        row = self._check_block("targets", np.asarray(targets)[None], IGNORED, (1, work.hs.shape[1]))
        return self._next(work, row[0])[1]

    def _next(self, work: Workspace, targets: NDArray[np.int32]) -> tuple[Real, NDArray[np.float64]]:
        nll = np.empty((1, len(targets)))
        core.output_forward(work.hs, self.params, work.p[:1], 0, self.vocab_size)
        core.softmax(work.p[:1], targets[None, :], nll, self.vocab_size)
        return work.p[0, :, : self.vocab_size], nll[0]

    def _affordable(self, streams: int, looked_at: int = 0) -> int:
        """Return how many characters in each of so many streams C may run before Python looks at Ctrl-C again: about 30 ms.

        looked_at is how many ids it looks at before each, as dear as ten operations.
        """
        operations = streams * (2 * self.hidden_size * (self.hidden_size + self.vocab_size) + 10 * looked_at)
        return max(1, _OPERATIONS_AT_A_TIME // operations)

    def _feed(self, work: Workspace, ids: NDArray[np.int32]) -> None:
        """Lead the states work.hs[0] through ids (N, B)."""
        self.evaluate(work, ids, np.full_like(ids, IGNORED))

    # ---------------------------------------------------------------------------------------------- doors

    def _check_ids(self, name: str, ids: ArrayLike, length: int | None = None) -> NDArray[np.int32]:
        """Return ids as an int32 column (T, 1) if they are integers in [0, V), at least one and as many as length says."""
        array = np.asarray(ids)
        if array.ndim != 1 or not len(array) or array.dtype.kind not in "iu":
            raise TypeError(f"{name} must be a sequence of at least one integer, not {ids!r:.60}")
        if length is not None and len(array) != length:
            raise ValueError(f"{name} must have {length} ids, not {len(array)}")
        wrong = (array < 0) | (array >= self.vocab_size)
        if wrong.any():
            where = int(np.argmax(wrong))
            raise IndexError(f"{name}[{where}] = {array[where]} is not in [0, {self.vocab_size})")
        return array.astype(np.int32)[:, None]

    def _check_windows(
        self, work: Workspace, inputs: NDArray[np.integer], targets: NDArray[np.integer]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return inputs and targets as int32 (N, B) that the kernels may index with, B being that of work."""
        shape = len(inputs), work.hs.shape[1]
        return self._check_block("inputs", inputs, 0, shape), self._check_block("targets", targets, IGNORED, shape)

    def _check_block(self, name: str, ids: ArrayLike, lowest: int, shape: tuple[int, int]) -> NDArray[np.int32]:
        """Return ids as int32 of a shape if they are integers in [lowest, V)."""
        ids = np.asarray(ids)
        if ids.dtype.kind not in "iu" or ids.shape != shape:
            raise ValueError(f"{name} must be integers of shape {shape}, not {ids.dtype} of shape {ids.shape}")
        if ids.size and (ids.min() < lowest or ids.max() >= self.vocab_size):
            where = np.unravel_index(np.argmax((ids < lowest) | (ids >= self.vocab_size)), ids.shape)
            raise IndexError(f"{name}[{where[0]}, {where[1]}] = {ids[where]} is not in [{lowest}, {self.vocab_size})")
        return np.ascontiguousarray(ids, dtype=np.int32)

    def _check_state(self, name: str, h: ArrayLike) -> Real:
        """Return h as a row (H,) of the network's dtype if it has the shape (H, 1) and is finite."""
        array = np.asarray(h)
        if array.shape != (self.hidden_size, 1) or array.dtype.kind not in "fiu":
            raise ValueError(f"{name} must be numbers of shape ({self.hidden_size}, 1), not {array.dtype} of shape {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} must be finite")
        return array[:, 0].astype(self.dtype)
