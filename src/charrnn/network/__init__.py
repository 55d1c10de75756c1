"""The network as an engine: windows of ids in, losses and ids out, many characters a call."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..util.errors import hint
from ..util.options import Option, table
from . import dispatch as _dispatch
from ._types import (
    IGNORED,
    OwnedNetwork,
    Parameters,
    Workspace,
    checked_workspace,
    keep_spare,
    take_spare,
    workspace,
)
from .config import DrawControls, Settings

Real: TypeAlias = np.ndarray[Any, np.dtype[np.floating[Any]]]  # float32 or float64
_IDS_AT_A_TIME = 1 << 20  # of `evaluate`, which copies them
_PROBABILITIES = 1 << 24  # that a workspace has room for
_SPARE_ROWS, _SPARE_SYMBOLS = 64, 1 << 12  # of a workspace to keep: a MiB of probabilities


class _StepOptions(TypedDict, total=False):
    pull: Annotated[float, Option(0.0, minimum=0, maximum=1)]
    dropout_seed: Annotated[int, Option(0, minimum=0, maximum=2**64 - 1)]
    first_step: Annotated[int, Option(0, minimum=0, maximum=2**63 - 1)]


# The options that are fields of the kernels' structs `Settings` and `Controls`.
_SETTINGS = {
    name: option
    for name, option in {**table(Settings), **table(_StepOptions)}.items()
    if name in _dispatch.core.SETTINGS
}
_CONTROLS = table(DrawControls)
STEP_SETTINGS = tuple(name for name in table(Settings) if name in _SETTINGS)


class Network(OwnedNetwork):
    """A recurrent network of layers, with its weights and what its optimizer keeps of each.

    Parameters
    ----------
    description : Description, or (layers, vocab_size)
        Layers are pairs of a cell ("rnn", "gru", "lstm") and its units, as in
        ``([("rnn", 100)], 65)``.
    dtype : {"float32", "float64"}
    optimizer : {"adagrad", "sgd", "rmsprop", "adam"}

    Attributes
    ----------
    description : Description
        Layers, sizes, where each array lies, the number of parameters, the operations a character.
    dtype : dtype
    optimizer : str
    weights, memory, momentum : Parameters
        ``weights.views()`` has the arrays by name: to read, and to write in place. Their sizes are
        fixed. memory is of squares of gradients; momentum, of gradients, is None except for Adam.

    Notes
    -----
    Weights are read where they lie: if you train a network in one thread and draw from it in
    another, you get the weights of each moment. Each thread needs a workspace of its own.
    """

    __slots__ = ("__weakref__",)

    def _call(self, function: Any, work: Workspace, *arguments: Any, **options: Any) -> Any:
        """Call a function of the kernels with a workspace that no other call uses meanwhile."""
        with checked_workspace(work, self):
            found = function(work, *arguments, **options)
        # Not within the block: if a signal raises as the call returns, Python 3.11 leaves out the
        # end of a block that returns, and the workspace stays taken.
        return found

    def workspace(self, T: int, B: int, *, training: bool = False) -> Workspace:
        """Return a workspace for windows of T characters in B streams, its state zero.

        You need training to use it in `train_steps` and `gradient`.
        """
        return workspace(self, T, B, training)

    def lend(self, T: int, B: int) -> Workspace:
        """Return a workspace for at least T characters in B streams, its state zero.

        Give one for a short call back: the next one then needn't make another.
        """
        if B > 1 or T > _SPARE_ROWS or self.description.vocab_size > _SPARE_SYMBOLS:
            return self.workspace(T, B)
        return take_spare(self) or self.workspace(_SPARE_ROWS, 1)

    def give_back(self, work: Workspace) -> None:
        """Take back a workspace that was lent: nothing may use it any more."""
        few = self.description.vocab_size <= _SPARE_SYMBOLS
        if few and work.B == 1 and work.T == _SPARE_ROWS and work.network is self:
            keep_spare(work)

    def train_steps(
        self,
        work: Workspace,
        inputs: ArrayLike,
        targets: ArrayLike,
        *,
        learning_rate: ArrayLike,
        length: int | None = None,
        reset: bool = False,
        n_threads: int = 1,
        shards: int = 1,
        exchange: Any = None,
        anchor: Parameters | None = None,
        each: bool = False,
        **settings: Any,
    ) -> NDArray[np.float64]:
        """Train on consecutive windows; the state is carried in work.

        Parameters
        ----------
        work : Workspace
        inputs, targets : array of int, (N, B)
            Ids in [0, V); time runs down the rows. Targets that are -1 count nothing. With shards,
            B may be less than that of work: the streams missing have no targets.
        learning_rate : float or array of float, (windows,)
            At least 0.
        length : int, optional
            Time steps of a window, at most, and by default, work.T.
        reset : bool
            Whether each window starts from the zero state.
        n_threads, shards : int
            Any number of threads gives the same bits. The gradient is the sum of those of the
            shards in a fixed binary tree: stream b is in shard b modulo shards.
        exchange : training.mpi.Ranks, optional
            Exchanges the results of each step with other processes, which have other shards.
        anchor : Parameters, optional
            Weights that pull those of the network.
        each : bool
            Whether to return the loss of each target, before it is learned.
        pull : float
            In each step, weights first move by this fraction of the distance toward the anchor.
        clip_value, clip_norm : float
            Clip the norm of the gradient of the loss per character to clip_norm, then its elements
            to [-clip_value, clip_value]. By default infinity.
        weight_decay : float
            In each step, matrices shrink by learning_rate * weight_decay.
        dropout : float
            The fraction of the outputs of each layer to drop, below 1.
        precision : {"float32", "bfloat16"}
            Whether products round their operands to bfloat16 first; sums are float32.
        dropout_seed, first_step : int
            Which outputs are dropped depends on dropout_seed and the number of the step, which
            counts from first_step; so does Adam.

        Returns
        -------
        array of float64
            The loss of each window in nats, summed over its characters in all streams. Fewer than
            ceil(N / length) mean that the next step diverged, and was not applied. With each, the
            loss of each target, (N, B) or fewer rows; in a workspace that counts what it reads
            (`read_counting`), mixed with these counts.
        """
        return self._call(
            _dispatch.core.train_steps,
            work,
            inputs,
            targets,
            getattr(work, "T", 0) if length is None else length,  # `_call` refuses what has no T
            learning_rate,
            _checked(_SETTINGS, settings, _dispatch.core.SETTINGS),
            reset=reset,
            n_threads=n_threads,
            shards=shards,
            exchange=exchange,
            anchor=anchor,
            each=each,
        )

    def gradient(
        self,
        work: Workspace,
        inputs: ArrayLike,
        targets: ArrayLike,
        *,
        dropout: float = 0.0,
        precision: str = "float32",
        dropout_seed: int = 0,
        step: int = 0,
    ) -> tuple[NDArray[np.float64], Parameters]:
        """Return the loss of each target (at most work.T, B) and the gradient, not clipped.

        It is the gradient of the sum over the rows and the mean over the streams, from the state
        of work, which stays. step is the number of the step, other arguments are as in
        `train_steps`.
        """
        settings = {"dropout": dropout, "precision": precision}
        settings |= {"dropout_seed": dropout_seed, "first_step": step}
        checked = _checked(_SETTINGS, settings, _dispatch.core.SETTINGS)
        return self._call(_dispatch.core.gradient, work, inputs, targets, checked)

    def evaluate(
        self, work: Workspace, inputs: ArrayLike, targets: ArrayLike
    ) -> NDArray[np.float64]:
        """Return the loss of each target in nats, float64 (N, B); the state is carried in work.

        inputs and targets are as in `train_steps`; any workspace will do.
        """
        x, y = np.asarray(inputs), np.asarray(targets)
        with checked_workspace(work, self):
            rows = work.T * max(1, _IDS_AT_A_TIME // (work.T * work.B))
            if not x.ndim or x.shape != y.shape or len(x) <= rows:
                found = _dispatch.core.evaluate(work, x, y)
            else:
                parts = [slice(start, start + rows) for start in range(0, len(x), rows)]
                found = np.concatenate([_dispatch.core.evaluate(work, x[i], y[i]) for i in parts])
        return found

    def score(
        self,
        work: Workspace,
        ids: ArrayLike,
        lengths: list[int],
        end: int = IGNORED,
        each: bool = False,
    ) -> Any:
        """Return the losses in nats of B texts after the state of work, which moves on.

        Parameters
        ----------
        work : Workspace
        ids : array of int, (n,)
            Those of the texts, one after the other.
        lengths : list of int
            How many each text has.
        end : int
            A symbol that follows each text, by default none.
        each : bool
            Whether to return the loss of each symbol.

        Returns
        -------
        list of float, or with each array of float64 (rows, B)
            The sum of the losses of each text, or the losses; of a text that has ended 0.
        """
        return self._call(_dispatch.core.score_texts, work, ids, lengths, end, each)

    def read_counting(
        self, work: Workspace, inputs: ArrayLike, targets: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the loss of each target in nats, and the probabilities after the last input.

        Unlike `evaluate`, it mixes in counts of what this workspace has read (`set_recent`), and
        counts each target once it is scored. A target that is -1 only asks for the probabilities.
        """
        return self._call(_dispatch.core.read_counting, work, inputs, targets)

    def feed(self, work: Workspace, ids: ArrayLike) -> None:
        """Run the network on ids (N, B), which moves the state of work on."""
        self._call(_dispatch.core.feed, work, ids)

    def draw(
        self,
        work: Workspace,
        n: int,
        random: NDArray[np.uint64],
        *,
        allowed: NDArray[np.int8] | None = None,
        past: NDArray[np.int32] | None = None,
        **controls: Any,
    ) -> NDArray[np.int32]:
        """Draw n ids in each stream, each fed back, from the state of work, which moves on.

        random (B,) holds generator states, which move on; allowed (V,) says which ids may be
        drawn; past (m, B) is what the streams had before, for no_repeat: its last LOOK_BACK ids
        count. The controls temperature, top_k, top_p, min_p and no_repeat are those of
        `charrnn.CharRNN.generate`. Returns int32 (n, B).
        """
        checked = _checked(_CONTROLS, controls, _dispatch.core.CONTROLS)
        return self._call(_dispatch.core.sample, work, n, random, allowed, past, checked)

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

        scores (W,) is the sum of the log-probabilities of each, -inf where there is none; ended
        (W,) says which are complete, allowed (V,) which ids may come, boundary the id that
        completes a text, -1 if none does.

        Returns the id at each step and the number of the text of the step before that it extends,
        int32 (n, W), and the new scores and ended.
        """
        return self._call(_dispatch.core.search, work, n, scores, ended, allowed, boundary)

    def next_probs(self, work: Workspace) -> NDArray[np.float64]:
        """Return the probabilities of the next id after the state of work, float64 (B, V)."""
        return self._call(_dispatch.core.next_probs, work)

    def next_log_probs(self, work: Workspace) -> NDArray[np.float64]:
        """Return the logarithms of `next_probs` in nats, float64 (B, V).

        They are exactly minus the losses of `next_nll`.
        """
        return self._call(_dispatch.core.next_log_probs, work)

    def next_nll(self, work: Workspace, targets: ArrayLike) -> NDArray[np.float64]:
        """Return the loss in nats of the next ids (B,) after the state of work, float64 (B,)."""
        return self._call(_dispatch.core.next_nll, work, targets)

    def copy_from(self, other: "Network") -> None:
        """Copy the weights of a network of the same description, and what its optimizer keeps."""
        for here, there in (
            (self.weights, other.weights),
            (self.memory, other.memory),
            (self.momentum, other.momentum),
        ):
            if here is not None and there is not None:
                here.copy_from(there)

    def grow_from(self, other: "Network", places: list[int]) -> None:
        """Copy the weights of a network with fewer symbols, whose symbol i is places[i] here.

        Biases of symbols that are new start at its lowest.
        """
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
        """Return how many time steps, up to most, to give a workspace that is not for training.

        Its probabilities then take at most 64 MiB of float32, or those of one time step.
        """
        return max(1, min(most, _PROBABILITIES // (streams * self.description.vocab_size)))

    def __repr__(self) -> str:
        return f"Network({self.description}, {self.dtype})"


def _checked(
    options: Mapping[str, Option], given: Mapping[str, Any], neutral: Mapping[str, float]
) -> dict[str, Any]:
    """Return all fields of a struct: neutral where a value is not given, or None.

    A word becomes its place among the choices.
    """
    if not given:
        return dict(neutral)
    for name in given:
        if name not in options:
            raise TypeError(f"there is no option {name!r}{hint(name, options)}")
    checked = {name: options[name].check(value) for name, value in given.items()}
    for name, value in checked.items():
        if options[name].choices:
            checked[name] = options[name].choices.index(value)
    return {**neutral, **{name: value for name, value in checked.items() if value is not None}}
