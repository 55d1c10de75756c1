"""Dynamic evaluation: a model that learns what it reads, after it has scored it.

Krause et al. (2018), "Dynamic evaluation of neural sequence models": a window is scored with the
weights before it, then one step of gradient descent learns it, and all weights are pulled back a
little toward the trained ones.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any, Generic, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ..data.record_index import RecordIndex
from ..data.vocabulary import OnUnknown, TextT, Vocabulary
from ..network import Network, Real
from ..network._types import IGNORED, Parameters, RecentCounts, Workspace
from ..network.counts import Counts
from ..network.learner import Learner
from ..storage.model_file import ModelState
from ..training.loop import train_alone
from ..util.atomic_write import StrPath
from ..util.errors import DivergedError, Hinting
from . import scoring
from .sampling import PrimedState
from .scoring import Encoded

if TYPE_CHECKING:
    from ..model import CharRNN

# Chosen on an English novel, Turkish verses and Python's source, all of 60,000 characters. Cells
# without gates bear less: at three times their rate, the novel scores worse than by fixed weights.
_RATE, _RATE_WITHOUT_GATES = 0.03, 0.01
_WINDOW = 20  # symbols between two steps
_PULL = 0.001  # toward the trained weights, in each step
_ACCUMULATOR = 1.0  # of Adagrad, at first
_CLIP = 1e10  # of elements of the gradient: a step can't overflow, so none need be undone
_LEAST = 2.0**-126  # of the probabilities that a character can have; 0 has been rounded


class _Moment(NamedTuple):
    """Where a `Reader` is."""

    weights: Real
    memory: Real
    state: Real
    start: Real
    recent: RecentCounts | None
    window: list[tuple[int, int]]
    last: NDArray[np.int32]


class Reader:
    """A copy of a network that reads symbols, scores each, and learns window after window.

    If the network is mixed with counts, it counts what it reads, too. The state of the workspace is
    that before the last symbol read, which is the next input.
    """

    def __init__(self, network: Network) -> None:
        self.anchor: Parameters = network.weights
        self.network: Network = Network(network.description, network.dtype, "adagrad")
        self.network.weights.copy_from(network.weights)
        self.network.memory.block[...] = _ACCUMULATOR
        self.network.mix(network.ngrams)
        gated = all(layer.cell != "rnn" for layer in network.description.layers)
        self.rate: float = _RATE if gated else _RATE_WITHOUT_GATES
        self.work: Workspace = self.network.workspace(_WINDOW, 1, training=True)
        self.counts: bool = network.ngrams is not None
        if network.ngrams is not None:
            self.work.set_recent(RecentCounts(network.ngrams))
        self.window: list[tuple[int, int]] = []  # inputs and targets to learn
        self.start: Real = self.work.state.copy()  # the state before them
        self.last: NDArray[np.int32] = np.empty(0, np.int32)  # the symbol read last, if any

    def begin(self, ids: NDArray[np.int32]) -> None:
        """Learn what is left of the text before, and start another one after ids."""
        self.learn()
        self.work.state[...] = 0
        self.network.feed(self.work, ids[:-1, None])
        self.last = ids[-1:]
        if self.counts:
            self.work.set_history(ids[:-1])

    def read(self, ids: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return the loss of each id in nats."""
        losses = [np.empty(0)]
        if len(self.last) < len(ids[:1]):  # nothing comes before the first: it is not learned
            losses.append(self.network.next_nll(self.work, ids[:1]))
            self.last, ids = ids[:1], ids[1:]
        while len(ids):
            whole = 0 if self.window else len(ids) // _WINDOW * _WINDOW
            targets = ids[: whole or _WINDOW - len(self.window)]
            inputs = np.concatenate([self.last, targets[:-1]])
            read = self._learn if whole else self._score
            losses.append(read(inputs[:, None], targets[:, None])[:, 0])
            self.last, ids = targets[-1:], ids[len(targets) :]
            if len(self.window) == _WINDOW:
                self.learn()
        return np.concatenate(losses)

    def _score(self, inputs: NDArray[np.int32], targets: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return the losses of a piece of a window, which is learned when it is whole."""
        if not self.window:
            self.start = self.work.state.copy()
        self.window += zip(inputs[:, 0].tolist(), targets[:, 0].tolist(), strict=True)
        if self.counts:
            return self.network.read_counting(self.work, inputs, targets)[0]
        return self.network.evaluate(self.work, inputs, targets)

    def _learn(
        self, inputs: NDArray[np.int32], targets: NDArray[np.int32], each: bool = True
    ) -> NDArray[np.float64]:
        """Learn windows one by one; with each, return the losses of all targets before that."""
        how: Any = {"learning_rate": self.rate, "pull": _PULL, "clip_value": _CLIP}
        losses = self.network.train_steps(
            self.work, inputs, targets, anchor=self.anchor, each=each, **how
        )
        if self.work.overflowed:
            raise DivergedError(
                f"the {self.work.overflowed} of a step that adapts the model is not finite: "
                "its weights are too large"
            )
        return losses

    def learn(self) -> None:
        """Learn the piece of a window that has been read."""
        if not self.window:
            return
        inputs, targets = np.array(self.window, np.int32).T[:, :, None]
        self.window = []
        self.work.state[...] = self.start
        self._learn(inputs, targets, each=False)

    def next_probs(self) -> NDArray[np.float64]:
        """Return the probability of each symbol to follow, float64 (V,)."""
        work = self.work
        if not self.counts or not len(self.last):
            work = self.network.workspace(1, 1)
            work.state[...] = self.work.state
            self.network.feed(work, self.last[:, None])
            (p,) = self.network.next_probs(work)
            return np.asarray(p)
        before = work.state.copy()
        try:
            return self.network.read_counting(work, self.last[:, None], [[IGNORED]])[1]
        finally:
            work.state[...] = before

    def moment(self) -> _Moment:
        """Return all that changes, copied."""
        network = self.network
        parts = network.weights.block.copy(), network.memory.block.copy()
        state, recent = self.work.state.copy(), self.work.get_recent()
        return _Moment(*parts, state, self.start, recent, self.window.copy(), self.last)

    def go_back(self, to: _Moment) -> None:
        """Go back to a moment."""
        self.network.weights.block[...] = to.weights
        self.network.memory.block[...] = to.memory
        self.work.state[...], self.start = to.state, to.start
        self.work.set_recent(to.recent)
        self.window, self.last = to.window.copy(), to.last


def read_text(
    reader: Reader, vocabulary: Vocabulary, ids: NDArray[np.int32], on_unknown: scoring.OnUnknown
) -> NDArray[np.float64]:
    """Return the loss in nats of each symbol of ids, of a record also of its end.

    Unknown characters (-1) are never read. They are skipped, or cost as much as the least likely.
    """
    pieces = np.split(ids, np.flatnonzero(np.diff(ids < 0, prepend=False)))
    losses = [np.empty(0)]
    for piece in pieces:
        if not len(piece) or piece[0] >= 0:
            losses.append(reader.read(piece) + vocabulary.rare_nats(piece))
        elif on_unknown == "surprise":
            p = reader.next_probs()[: len(vocabulary)]
            least = max((p * np.exp(-vocabulary.rare_nats(np.arange(len(p))))).min(), _LEAST)
            losses.append(np.full(len(piece), -math.log(least)))
    if vocabulary.records:
        losses.append(reader.read(np.array([len(vocabulary)], np.int32)))
    return np.concatenate(losses)


def total_nll(
    start: PrimedState, texts: Encoded, on_unknown: scoring.OnUnknown, end: bool = True
) -> tuple[list[float], list[int]]:
    """As `scoring.total_nll`; each text is learned after it is scored."""
    reader, sums, symbols = Reader(start.network), [], []
    for ids in _split(texts):
        reader.begin(_first_inputs(start))
        losses = read_text(reader, start.vocabulary, ids, on_unknown)
        counted = losses[: len(losses) - (start.vocabulary.records and not end)]
        sums.append(scoring.total(counted))
        symbols.append(len(counted))
    return sums, symbols


def symbol_nll(
    start: PrimedState, ids: NDArray[np.int32], on_unknown: scoring.OnUnknown
) -> NDArray[np.float64]:
    """Return the loss of each symbol of a text after a start in nats, a record's end included."""
    reader = Reader(start.network)
    reader.begin(_first_inputs(start))
    return read_text(reader, start.vocabulary, ids, on_unknown)


def _split(texts: Encoded) -> Iterator[NDArray[np.int32]]:
    """Yield the ids of each text."""
    ends = (np.cumsum(texts.known) + np.cumsum(texts.unknown)).tolist()
    for start, end in zip([0, *ends], ends, strict=False):
        yield texts.ids[start:end]


def _first_inputs(start: PrimedState) -> NDArray[np.int32]:
    """Return what is read before the first symbol to score."""
    vocabulary = start.vocabulary
    boundary = np.full(int(vocabulary.records), len(vocabulary), np.int32)
    return np.concatenate([boundary, start.ids[:, 0]])


class LiveModel(Hinting, Generic[TextT]):
    """A model that learns what it reads: `charrnn.CharRNN.adapting` returns one.

    If the model is mixed with counts, it also counts what it reads, and learns how much weight the
    network, the model's counts and the new ones get. It is a copy, so the model stays as it is
    until `keep`. Leaving its ``with`` block forgets what was learned and not kept. One thread at a
    time may use it. After an interruption, start again from `rollback`.
    """

    __slots__ = ("__weakref__", "_kept", "_model", "_reader", "_state", "_texts")

    def __init__(self, model: "CharRNN[TextT]") -> None:
        self._model, self._state = model, model._state
        self._reader = Reader(self._state.learner.network)
        self._texts: list[list[NDArray[np.int32]]] = []  # ids that were read and are not kept
        self.begin()
        self._kept = self._reader.moment()

    def begin(
        self, context: TextT | Literal[""] = "", *, on_unknown: scoring.OnUnknown = "error"
    ) -> None:
        """Start another text, or record, after a context that is read, but not scored or learned.

        The rest of the text before is learned first. An unknown character of the context is
        skipped, or an error.
        """
        network, vocabulary = self._reader.network, self._state.vocabulary
        skip: OnUnknown = "error" if on_unknown == "error" else "skip"
        start = PrimedState.from_text(network, vocabulary, context, "context", skip)
        self._reader.begin(_first_inputs(start))
        self._texts.append([])

    def read(self, text: TextT, *, on_unknown: scoring.OnUnknown = "error") -> NDArray[np.float64]:
        """Read on, and return the log-probability of each character.

        See `charrnn.CharRNN.log_probs`.

        Characters are scored, then learned, 20 at a time. How a text is cut into pieces makes no
        difference. A model of records reads a record to its end, then begins another one.
        """
        vocabulary = self._state.vocabulary
        encoded = Encoded.from_texts(vocabulary, [text], "text", on_unknown)
        losses = read_text(self._reader, vocabulary, encoded.ids, on_unknown)
        self._texts[-1].append(encoded.ids[encoded.ids >= 0])
        if vocabulary.records:
            self.begin()
        return -losses

    def score(self, text: TextT, *, on_unknown: scoring.OnUnknown = "error") -> float:
        """Read on, and return the mean surprise in bits per character; NaN of an empty text."""
        losses = -self.read(text, on_unknown=on_unknown)
        return scoring.bits([scoring.total(losses)], [len(losses)], total=False)[0]

    def next_probs(self) -> NDArray[np.float64]:
        """Return the probability of each symbol to follow, float64 (V,).

        See `charrnn.CharRNN.next_probs`.

        It is that of the first symbol of a text if nothing has been read.
        """
        return self._reader.next_probs()

    @property
    def model(self) -> "CharRNN[TextT]":
        """A model with everything learned so far."""
        return type(self._model)._from_state(self._adapted())

    def save(self, target: StrPath | IO[bytes]) -> None:
        """Save the `model`; see `charrnn.CharRNN.save`."""
        self.model.save(target)

    def keep(self) -> None:
        """Give the original model everything learned so far.

        Raises
        ------
        RuntimeError
            If it has been trained or has adapted meanwhile: one of the two would be lost.
        """
        train_alone(self._model, self._keep)

    def _keep(self) -> None:
        if self._model._state is not self._state:
            how = "model.adapting() starts again from what it is now"
            raise RuntimeError(f"the model has changed since it began to adapt: {how}")
        kept, adapted = self._reader.moment(), self._adapted()
        self._kept, self._texts = kept, [[]]
        self._state = self._model._state = adapted

    def rollback(self) -> None:
        """Forget what was read and learned since the beginning, or the last `keep`."""
        self._texts = [[]]
        self._reader.go_back(self._kept)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.rollback()

    def _adapted(self) -> ModelState:
        """Return the model's state with the weights of now, and what was read in its counts."""
        state = self._state
        before, options = state.learner.network, state.learner.settings
        network = Network(before.description, before.dtype, before.optimizer)
        network.weights.copy_from(self._reader.network.weights)
        texts = [np.concatenate(pieces) for pieces in self._texts if pieces]
        index, mixture = state.index, state.mixture
        if index is not None and texts:
            index = RecordIndex.from_records(map(state.vocabulary.decode, texts)).union(index)
        if mixture is not None:
            mixture = mixture._replace(counts=_with_counts_of(mixture.counts, texts, state))
            network.mix(mixture.table())
        learner = Learner.from_network(network, **options)
        return replace(state, learner=learner, index=index, mixture=mixture)

    def __repr__(self) -> str:
        return f"LiveModel({self._model!r})"


def _with_counts_of(counts: Counts, texts: list[NDArray[np.int32]], state: ModelState) -> Counts:
    """Return counts to which those of texts, or records, are added."""
    vocabulary, boundary = state.vocabulary, None
    if vocabulary.records:
        boundary = len(vocabulary)
        end = np.array([boundary], np.int32)
        texts = [np.concatenate([end, *(part for text in texts for part in (text, end))])]
    found = Counts.from_ids(texts, counts.vocab_size, counts.order, boundary=boundary)
    return counts.merged(found)
