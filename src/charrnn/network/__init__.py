"""The network as an engine: windows of ids in, losses and ids out, many characters a call."""

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..util.errors import check_integer, check_number, short_repr
from . import dispatch as _dispatch
from ._types import IGNORED, LOOK_BACK, OwnedNetwork, Parameters, Workspace, held, workspace

Real: TypeAlias = np.ndarray[Any, np.dtype[np.floating[Any]]]  # float32 or float64
_OPERATIONS_AT_A_TIME = 500_000_000  # floating-point operations between two looks at Ctrl-C
_PROBABILITIES = 1 << 24  # that a workspace has room for


class Network(OwnedNetwork):
    """A recurrent network of layers, with its weights and what its optimiser keeps of each.

    Parameters
    ----------
    description : Description, or (layers, vocab_size)
        Layers are pairs of a cell ("rnn", "gru", "lstm") and its units, as in ``([("rnn", 100)], 65)``.
    dtype : {"float32", "float64"}
    optimizer : {"adagrad", "sgd", "rmsprop", "adam"}

    Attributes
    ----------
    description : Description
        Layers, sizes, where each array lies, the number of parameters, the operations a character.
    dtype : dtype
    optimizer : str
    weights, memory, momentum : Parameters
        ``weights.views()`` has the arrays by name: to read, and to write in place. Their sizes are fixed. memory is of squares of
        gradients; momentum, of gradients, is None but of Adam.

    Notes
    -----
    Weights are read where they lie: whoever trains a network in one thread and draws from it in another gets what was there at each
    moment. Each thread needs a workspace of its own.
    """

    __slots__ = ("__weakref__",)

    def workspace(self, T: int, B: int, *, training: bool = False) -> Workspace:
        """Return a workspace of this network for windows of T characters in B streams, its state zero; with training, to train in."""
        return workspace(self, T, B, training)

    def train_steps(
        self,
        work: Workspace,
        inputs: ArrayLike,
        targets: ArrayLike,
        *,
        rate: ArrayLike,
        clip: float = math.inf,
        clip_norm: float = math.inf,
        decay: float = 0.0,
        dropout: float = 0.0,
        masks: int = 0,
        first: int = 0,
        length: int | None = None,
        reset: bool = False,
        threads: int = 1,
        shards: int = 1,
        exchange: Any = None,
    ) -> NDArray[np.float64]:
        """Train on consecutive windows of length rows (work.T if not given), the state carried in work, or zero at the start of each.

        inputs and targets are integers (N, B), time running down the rows, in [0, V), targets too or -1 to count nothing. rate is the
        learning rate, at least 0, one or of each window. The norm of the gradient of the loss of a character is clipped to clip_norm, then
        its elements to [-clip, clip]; matrices decay by rate * decay. dropout is the part of the outputs of each layer that is dropped;
        which ones depends on masks, a seed, and the number of the step, which begins at first. Any number of threads gives the same bits.

        Returns the loss of each window, summed over its characters in all streams, in nats: float64. Fewer than ceil(N / length) mean
        that the next step diverged, and was not applied.
        """
        with held(work, self):
            length = check_integer("length", work.T if length is None else length, 1)
            inputs = np.asarray(inputs)
            settings = {
                "clip_value": check_number("clip", clip, above=0, finite=False),
                "clip_norm": check_number("clip_norm", clip_norm, above=0, finite=False),
                "weight_decay": check_number("decay", decay, minimum=0),
                "first_step": check_integer("first", first, 0, 2**63 - 1),
                **_check_dropout(dropout, masks),
            }
            return _dispatch.core.train_steps(
                work,
                inputs,
                targets,
                length,
                _check_rates(rate, -(-len(inputs) // length) if inputs.ndim else 0),
                settings,
                reset=reset,
                n_threads=check_integer("threads", threads, 1),
                shards=shards,
                exchange=exchange,
            )

    def gradient(
        self,
        work: Workspace,
        inputs: ArrayLike,
        targets: ArrayLike,
        *,
        dropout: float = 0.0,
        masks: int = 0,
        step: int = 0,
    ) -> tuple[NDArray[np.float64], Parameters]:
        """Return the loss of each target (at most work.T, B), from the state of work, which stays, and the gradient.

        That is the gradient of the sum over the rows and the mean over the streams, not clipped. Arguments as in `train_steps`, step
        being the number of the step.
        """
        with held(work, self):
            step = check_integer("step", step, 0, 2**63 - 1)
            return _dispatch.core.gradient(
                work, inputs, targets, step=step, **_check_dropout(dropout, masks)
            )

    def evaluate(
        self, work: Workspace, inputs: ArrayLike, targets: ArrayLike
    ) -> NDArray[np.float64]:
        """Return the loss of each target in nats, float64 (N, B), weights frozen; arguments as in `train_steps`, for any workspace."""
        inputs, targets = np.asarray(inputs), np.asarray(targets)
        with held(work, self):
            if not inputs.ndim:  # it has no rows to be cut into parts: the kernel refuses it
                return _dispatch.core.evaluate(work, inputs, targets)
            if inputs.shape != targets.shape:
                raise ValueError(
                    f"targets must be integers of shape {inputs.shape}, not {targets.dtype} of shape {targets.shape}"
                )
            rows = work.T * max(1, self._affordable(work.B) // work.T)
            parts = range(0, max(1, len(inputs)), rows)
            pieces = [
                _dispatch.core.evaluate(work, inputs[i : i + rows], targets[i : i + rows])
                for i in parts
            ]
            return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def feed(self, work: Workspace, ids: ArrayLike) -> None:
        """Lead the state of work through ids (N, B)."""
        ids = np.asarray(ids)
        with held(work, self):
            if not ids.ndim:
                _dispatch.core.feed(work, ids)  # refuses it
            rows = self._affordable(work.B)
            for start in range(0, max(1, len(ids)), rows):
                _dispatch.core.feed(work, ids[start : start + rows])

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
        """Draw n ids in each stream, each fed back, from the state of work, which moves on: int32 (n, B).

        random (B,) holds generator states, which move on. The controls are those of ``sampling.Sampling``; past (m, B) is what the streams
        had before, for no_repeat: its last LOOK_BACK ids count.
        """
        V, n, no_repeat = (
            self.description.vocab_size,
            check_integer("n", n, 0),
            check_integer("no_repeat", no_repeat, 0, LOOK_BACK),
        )
        options: dict[str, Any] = {
            "temperature": check_number("temperature", temperature, minimum=0),
            "top_p": check_number("top_p", top_p, above=0, maximum=1),
            "min_p": check_number("min_p", min_p, minimum=0, maximum=1),
            "no_repeat": no_repeat,
        }
        options["top_k"] = V if top_k is None else top_k
        allowed = np.ones(V, np.int8) if allowed is None else allowed
        with held(work, self):
            past = (
                np.empty((0, work.B), np.int32)
                if past is None or not no_repeat
                else np.asarray(past)[-LOOK_BACK:]
            )
            # What the controls look at: a repetition at each place back, all symbols by top_k and top_p as often as there are bits.
            extra = 2 * LOOK_BACK * no_repeat + (200 * V if top_k is not None or top_p < 1 else 0)
            rows = self._affordable(work.B, extra)
            pieces = [np.empty((0, work.B), np.int32)]
            for start in range(0, n, rows):
                pieces.append(
                    _dispatch.core.sample(
                        work, min(rows, n - start), random, allowed, past, options
                    )
                )
                past = np.concatenate([past, pieces[-1]])[-LOOK_BACK:] if no_repeat else past
        return pieces[-1] if len(pieces) == 2 else np.concatenate(pieces)

    def search(
        self,
        work: Workspace,
        n: int,
        scores: NDArray[np.float64],
        ended: NDArray[np.int8],
        allowed: NDArray[np.int8],
        boundary: int,
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64], NDArray[np.int8]]:
        """Extend the W texts of a beam search, whose states are in work (2, W), by n ids.

        scores (W,) is the sum of the log-probabilities of each, -inf where there is none; ended (W,) tells which are complete, allowed
        (V,) which ids may come, boundary the id that completes a text, -1 if none does.

        Returns the id at each step and the number of the text of the step before that it extends, int32 (n, W), and the new scores and
        ended.
        """
        n = check_integer("n", n, 0)
        with held(work, self):
            rows = self._affordable(work.B)
            ids, parents = [np.empty((0, work.B), np.int32)], [np.empty((0, work.B), np.int32)]
            for start in range(0, n, rows):
                *found, scores, ended = _dispatch.core.search(
                    work, min(rows, n - start), scores, ended, allowed, boundary
                )
                ids.append(found[0])
                parents.append(found[1])
        return np.concatenate(ids), np.concatenate(parents), scores, ended

    def next_probs(self, work: Workspace) -> NDArray[np.float64]:
        """Return the probabilities of the next symbol after the state of work, float64 (B, V)."""
        with held(work, self):
            return _dispatch.core.next_probs(work, np.full(work.B, IGNORED, np.int32))[0].astype(
                np.float64
            )

    def next_nll(self, work: Workspace, targets: ArrayLike) -> NDArray[np.float64]:
        """Return the loss in nats of the next symbols, ids (B,), after the state of work, float64 (B,)."""
        with held(work, self):
            return _dispatch.core.next_probs(work, targets)[1]

    def next_logits(self, work: Workspace, ids: ArrayLike) -> Real:
        """Return the logits of what follows each of ids (at most work.T, B), read from the state of work, which stays: (rows, B, V)."""
        with held(work, self):
            logits: Real = _dispatch.core.window(work, ids)[1]
            return logits

    def copy_from(self, other: "Network") -> None:
        """Take over the weights of other, which is of the same description, and what its optimiser, the same, keeps of them."""
        for here, there in (
            (self.weights, other.weights),
            (self.memory, other.memory),
            (self.momentum, other.momentum),
        ):
            if here is not None and there is not None:
                here.copy_from(there)

    def grow_from(self, other: "Network", places: list[int]) -> None:
        """Take over the weights of other, whose symbol i is number places[i] here; biases of symbols that are new start at its lowest."""
        here, there = self.weights.views(), other.weights.views()
        first = {name for name in here if name.startswith("Wx") and not name[-1].isdigit()}
        for name in here.keys() - {*first, "Why", "by"}:
            here[name][...] = there[name]
        for name in first:
            here[name][places] = there[name]
        here["Why"][:, places] = there["Why"]
        here["by"][...] = there["by"].min()
        here["by"][places] = there["by"]

    def rows(self, streams: int, most: int) -> int:
        """Return how many time steps, at most so many, a workspace should have that is not for training.

        Its probabilities then take no more than 64 MiB of float32, or a time step, whatever the vocabulary is.
        """
        return max(1, min(most, _PROBABILITIES // (streams * self.description.vocab_size)))

    def _affordable(self, streams: int, extra: int = 0) -> int:
        """Return how many characters in each stream C may run before Python looks at Ctrl-C again: about 30 ms.

        extra is how many operations a character costs beside the network's.
        """
        return max(1, _OPERATIONS_AT_A_TIME // (streams * (self.description.operations + extra)))

    def __repr__(self) -> str:
        return f"Network({self.description}, {self.dtype})"


def _check_rates(rate: ArrayLike, windows: int) -> NDArray[np.float64]:
    """Return the learning rate of each window; or raise ValueError."""
    rates = np.array(rate)  # what is checked is a copy
    if (
        rates.dtype.kind not in "fiu"
        or rates.shape not in ((), (1,), (windows,))
        or not (rates >= 0).all()
    ):
        raise ValueError(
            f"rate must be a number of at least 0, or one of each of {windows} windows, not {short_repr(rate)}"
        )
    return np.broadcast_to(rates.astype(np.float64), windows)


def _check_dropout(dropout: float, masks: int) -> dict[str, Any]:
    """Return what is dropped, and the seed of which outputs are."""
    return {
        "dropout": check_number("dropout", dropout, minimum=0, below=1),
        "dropout_seed": check_integer("masks", masks, 0, 2**64 - 1),
    }
