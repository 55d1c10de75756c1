"""Training in shards: the same bits in one process, with any number of threads, and in several over MPI.

The streams of a batch are cut into shards, and the gradient of a step is the sum over shards in a binary tree that depends on their number
only. Rank 0 of several processes leads: it decides what comes next, shows, measures and saves; the others do as they are told. Each has
some of the shards and owns some rows of the weights, which it updates; then all have all weights.
"""

import math
import platform
import sys
import traceback
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..data.batches import Stream
from ..history import LARGEST_LOSS, History, Position
from ..network import Network, Real
from ..network import dispatch as _dispatch
from ..network._types import IGNORED, Description, Workspace, held
from ..network.learner import Learner
from ..util.errors import RankError
from ..util.signals import Later
from .stepper import Stepper

_FINE, _UNBOUNDED, _STOPPED, _FAILED = range(4)  # what each rank says of its part of a step


# -------------------------------------------------------------------------------------------------------------------- the tree


def halfway(low: int, high: int) -> int:
    """Return where the part of the tree over shards low to high divides: its left part is the largest that is full.

    >>> halfway(0, 8), halfway(0, 6), halfway(4, 6)
    (4, 4, 5)
    """
    return low + (1 << ((high - low - 1).bit_length() - 1))


def whole_parts(first: int, stop: int, low: int, high: int) -> Iterator[tuple[int, int]]:
    """Yield the largest parts of the tree over shards low to high of which all lies from first to stop.

    >>> list(whole_parts(2, 5, 0, 8))
    [(2, 4), (4, 5)]
    """
    if first <= low and high <= stop:
        yield low, high
    elif low < stop and first < high:
        yield from whole_parts(first, stop, low, halfway(low, high))
        yield from whole_parts(first, stop, halfway(low, high), high)


def program(low: int, high: int, slot: int) -> Iterator[tuple[int, int]]:
    """Yield what puts the sum of a part of the tree into a slot: (shard, slot), or (-1, slot) to add the slot above.

    >>> list(program(0, 4, 0))
    [(0, 0), (1, 1), (-1, 0), (2, 1), (3, 2), (-1, 1), (-1, 0)]
    """
    if high - low == 1:
        yield low, slot
    else:
        yield from program(low, halfway(low, high), slot)
        yield from program(halfway(low, high), high, slot + 1)
        yield -1, slot


def total(parts: dict[tuple[int, int], Real], low: int, high: int) -> Real:
    """Return the sum of the tree over shards low to high, some parts of it being there: in the memory of the first of them.

    >>> float(total({(0, 2): np.ones(1), (2, 3): np.ones(1)}, 0, 3)[0])
    2.0
    """
    if (low, high) in parts:
        return parts[low, high]
    left = total(parts, low, halfway(low, high))
    left += total(parts, halfway(low, high), high)
    return left


def row_starts(description: Description) -> NDArray[np.int64]:
    """Return where each row of the matrices begins in a block of parameters, and where the last ends."""
    starts: list[int] = []
    end = 0
    for start, rows, _, ld, _ in sorted(description.tensors.values()):
        if start >= end:  # not another gate in the same rows
            starts.extend(range(start, start + rows * ld, ld))
            end = start + rows * ld
    return np.array([*starts, end])


# -------------------------------------------------------------------------------------------------------------------- steps


class Shards(Stepper):
    """How windows are trained on in shards: stream b of a batch is in shard b modulo their number.

    rank of so many ranks has some of the shards: the only one has all.
    """

    def __init__(
        self,
        learner: Learner,
        stream: Stream,
        masks: int,
        shards: int,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.learner: Learner = learner
        self.stream: Stream = stream
        self.masks: int = masks
        self.shards: int = shards
        bounds = [shards * i // ranks for i in range(ranks + 1)]
        self.bounds: list[int] = bounds
        self.parts: list[list[tuple[int, int]]] = [
            list(whole_parts(*pair, 0, shards)) for pair in pairwise(bounds)
        ]
        first, stop = bounds[rank : rank + 2]
        self.streams: int = stream.batch_size
        self.each: int = -(
            -self.streams // shards
        )  # of a shard: what some lack to be as many is as streams without a target
        self.here: int = stop - first  # shards
        self.numbers: NDArray[np.int32] = (
            (np.arange(self.each)[:, None] * shards + np.arange(first, stop))
            .ravel()
            .astype(np.int32)
        )
        self.there: NDArray[np.bool_] = self.numbers < self.streams
        self.columns: NDArray[np.int32] = np.minimum(self.numbers, self.streams - 1)
        self.work: Workspace = learner.network.workspace(
            stream.seq_length, len(self.numbers), training=True
        )
        todo = [
            (shard - first if shard >= 0 else -1, slot)
            for i, part in enumerate(self.parts[rank])
            for shard, slot in program(*part, i)
        ]
        self.program: NDArray[np.int32] = np.array(todo, np.int32)
        starts = row_starts(learner.network.description)
        self.rows: NDArray[np.intp] = np.searchsorted(
            starts, [starts[-1] * i // ranks for i in range(ranks + 1)]
        )
        self.places: NDArray[np.int64] = starts[self.rows]
        self.own: tuple[int, int] = (int(self.rows[rank]), int(self.rows[rank + 1]))
        self.hindrance: str = ""
        self.later: Later = Later()

    @property
    def overflowed(self) -> str | None:
        """What kept the latest windows from the next step, if anything."""
        return self.hindrance

    def set_state(self, state: Real) -> None:
        """Begin from a state, (batch_size, units)."""
        self.work.set_state(state[self.columns])

    def get_state(self) -> Real:
        """Return the state; the network then has all that its optimiser keeps, for a checkpoint."""
        return self._in_order([self.work.get_state()])

    def _in_order(self, each: list[Real]) -> Real:
        """Return what there is of the streams of each rank as that of the whole batch."""
        by_shard = [part.reshape(self.each, -1, *part.shape[1:]) for part in each]
        return np.concatenate(by_shard, axis=1).reshape(-1, *each[0].shape[1:])[: self.streams]

    def train(
        self,
        at: Position,
        inputs: NDArray[np.int32],
        targets: NDArray[np.int32],
        rates: Real,
        length: int,
        reset: bool,
    ) -> None:
        """Train on windows of length rows, (rows, batch_size), from a position on; with reset each begins with the zero state."""
        rates = np.broadcast_to(rates, -(-len(inputs) // length))
        self._train(
            at.step, *self._here(at.window, len(rates), inputs, targets), rates, length, reset
        )

    def _here(
        self, window: int, count: int, inputs: NDArray[np.int32], targets: NDArray[np.int32]
    ) -> tuple[Any, Any, NDArray[np.int64]]:
        """Return what of windows of all streams is here, and how many rows each has."""
        mine = np.where(self.there, targets[:, self.columns], np.int32(IGNORED))
        return inputs[:, self.columns], mine, self.stream.used_rows(window, count)

    def _train(
        self,
        step: int,
        inputs: Any,
        targets: Any,
        rows: NDArray[np.int64],
        rates: Real,
        length: int,
        reset: bool,
    ) -> None:
        """Train on windows of the streams that are here, of each so many rows."""
        self.hindrance, self.later = "", Later(every=True)
        losses: list[float] = []
        with held(self.work, self.learner.network):
            for i, rate in enumerate(rates.tolist()):
                if reset:
                    Shards.clear(self)
                window = slice(i * length, i * length + int(rows[i]))
                loss = self._step(inputs[window], targets[window], rate, step + i, losses)
                if loss is None:
                    return
                losses.append(loss)

    def _step(
        self, inputs: Any, targets: Any, rate: float, number: int, losses: list[float]
    ) -> float | None:
        """Do a step; return its loss, or None if something hinders it. losses are those of the steps of the call before it."""
        learner, core, rows = self.learner, _dispatch.core, len(inputs)
        loss, bounded, sums = self._sum(inputs, targets, number)
        norm = 0.0
        if bounded:
            norm = (
                math.sqrt(
                    _summed(self._all_squares(core.shard_squares(self.work, sums, *self.own)))
                )
                / rows
            )  # of a character's loss
        if not loss < LARGEST_LOSS:  # NaN is not, either
            self.hindrance = "loss"
        elif not bounded or not (norm < math.inf or learner.clip_norm == math.inf):
            self.hindrance = "gradient"
        if self.hindrance:
            return None
        scale = learner.clip_norm / norm if norm > learner.clip_norm else 1.0
        change = {
            "rate": rate,
            "clip": learner.clip_value,
            "scale": scale,
            "decay": learner.weight_decay,
            "step": number,
        }
        with self.later:  # between a change of the weights and its account
            if not self._update(rows, change):
                self.hindrance = "update of the weights"
                return None
            core.shard_carry(self.work, rows, [*losses, loss])
        return loss

    def _update(self, rows: int, change: dict[str, Any]) -> bool:
        """Update the weights; return whether they are finite, or leave them as they were."""
        network, before = self.learner.network, None
        clip = min(change["clip"], self.learner.clip_norm * rows)
        if _dispatch.core.may_overflow(network, change["rate"], clip, change["decay"]):
            before = [
                None if kept is None else kept.block.copy()
                for kept in (network.weights, network.memory, network.momentum)
            ]
        _dispatch.core.shard_update(self.work, *self.own, **change)
        fine = before is None or (
            bool(np.isfinite(network.weights.block).all())
            and bool(np.isfinite(network.memory.block).all())
        )
        if before is not None and not self._all_are(fine):
            for kept, values in zip(
                (network.weights, network.memory, network.momentum), before, strict=True
            ):
                if kept is not None:
                    kept.block[...] = values
            return False
        self._all_weights()
        return True

    def _gradients(
        self, inputs: Any, targets: Any, number: int, kept: Real | None
    ) -> tuple[NDArray[np.float64], bool]:
        """Return the losses of the streams here and whether their gradient is bounded; kept gets the sums of the parts of the tree."""
        found: tuple[NDArray[np.float64], bool] = _dispatch.core.shard_gradients(
            self.work,
            inputs,
            targets,
            self.numbers,
            self.streams,
            self.here,
            self.program,
            kept,
            dropout=self.learner.dropout,
            masks=self.masks,
            step=number,
            threads=self.learner.n_threads,
        )
        return found

    # What differs where there are several.

    def _sum(self, inputs: Any, targets: Any, number: int) -> tuple[float, bool, Real | None]:
        """Return the loss of a step, whether its gradient is bounded, and the sum over all shards of the rows of it that are owned.

        None as the sum says that it is in work.
        """
        losses, bounded = self._gradients(inputs, targets, number, None)
        return _summed(self._in_order([losses])), bounded, None

    def _all_squares(self, squares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the squares of all rows."""
        return squares

    def _all_are(self, fine: bool) -> bool:
        """Return whether all are fine."""
        return fine

    def _all_weights(self) -> None:
        """Have all weights everywhere."""


def _summed(numbers: Real) -> float:
    """Return the sum of numbers in their order, whatever NumPy makes of `sum`."""
    with np.errstate(over="ignore"):  # of finite numbers the sum may be infinite
        return float(np.cumsum(np.append(0.0, numbers))[-1])


# -------------------------------------------------------------------------------------------------------------------- processes


class Ranks(Shards):
    """How windows are trained on in shards by several processes. Rank 0 is called; the others `serve`."""

    def __init__(
        self, learner: Learner, stream: Stream, masks: int, shards: int, comm: Any
    ) -> None:
        super().__init__(learner, stream, masks, shards, comm.rank, comm.size)
        self.comm: Any = comm
        self.epoch: int = -1  # for which the stream stands ready
        self.zero: bool = False  # whether the others have to begin from the zero state
        self.signals: Later = Later()
        self.failure: BaseException | None = None  # of this rank
        self.counts: NDArray[np.int64] = np.diff(self.places)
        network = learner.network
        self.sums: Real = np.zeros(
            (len(self.parts[comm.rank]), self.places[-1]), network.dtype
        )  # of the parts of the tree here
        self.got: list[Real] = [
            np.zeros((len(parts), self.counts[comm.rank]), network.dtype) for parts in self.parts
        ]  # of what is owned

    # What rank 0 does, and the others do when it says so.

    def clear(self) -> None:
        """Begin from the zero state."""
        super().clear()
        self.zero = True

    def train(
        self,
        at: Position,
        inputs: NDArray[np.int32],
        targets: NDArray[np.int32],
        rates: Real,
        length: int,
        reset: bool,
    ) -> None:
        """Train on windows of length rows, (rows, batch_size), from a position on; with reset each begins with the zero state."""
        zero, self.zero = self.zero, False
        with self.signals:  # a step ends everywhere, or nowhere
            rates = np.broadcast_to(rates, -(-len(inputs) // length))
            here = self._here(
                at.window, len(rates), inputs, targets
            )  # before the others wait for it
            self.comm.bcast(("_follow", at.epoch, at.window, at.step, rates, length, reset, zero))
            self._train(at.step, *here, rates, length, reset)

    def _follow(
        self, epoch: int, window: int, step: int, rates: Real, length: int, reset: bool, zero: bool
    ) -> None:
        """Train as rank 0 does."""
        try:
            if epoch != self.epoch:
                self.stream.begin(epoch)
                self.epoch = epoch
            here = (
                *self.stream.read(window, len(rates), self.numbers),
                self.stream.used_rows(window, len(rates)),
            )
        except Exception as error:  # a file that has changed
            self.failure = error
            self._agree(_FAILED, np.zeros(len(self.numbers)))
            return
        if zero:
            super().clear()
        self._train(step, *here, rates, length, reset)

    def get_state(self) -> Real:
        """Return the state; the network then has all that its optimiser keeps, for a checkpoint."""
        with self.signals:
            self.comm.bcast(("_gather",))
            return self._in_order(self._gather())

    def _gather(self) -> list[Real]:
        """Give rank 0 what the optimisers of all keep, and their states."""
        network, comm = self.learner.network, self.comm
        for kept in (network.memory, network.momentum):
            if kept is not None:
                mine = kept.block[self.places[comm.rank] : self.places[comm.rank + 1]]
                if comm.rank == 0:
                    comm.Gatherv(
                        _mpi().IN_PLACE,
                        [kept.block, self.counts, self.places[:-1], _type(kept.block)],
                    )
                else:
                    comm.Gatherv(mine, None)
        return comm.gather(self.work.get_state()) or []

    def serve(self) -> Any:
        """Do what rank 0 says until it says how it ended; return that."""
        with self.signals:
            while True:
                action, *rest = self.comm.bcast(None)
                if action == "end":
                    self.signals.take()
                    return rest
                try:
                    getattr(self, action)(*rest)
                except (KeyboardInterrupt, RankError):
                    pass  # rank 0 has it, too, and says what follows
                except Exception as error:
                    if error is not self.failure:
                        abort(self.comm)

    # A step.

    def _step(
        self, inputs: Any, targets: Any, rate: float, number: int, losses: list[float]
    ) -> float | None:
        try:
            return super()._step(inputs, targets, rate, number, losses)
        except (KeyboardInterrupt, RankError):
            raise
        except Exception as error:
            if error is not self.failure:
                abort(self.comm)  # the others wait
            raise

    def _sum(self, inputs: Any, targets: Any, number: int) -> tuple[float, bool, Real | None]:
        code, losses = _FINE, np.zeros(len(self.numbers))
        try:
            losses, bounded = self._gradients(inputs, targets, number, self.sums)
            code = _FINE if bounded else _UNBOUNDED
        except Exception as error:
            code, self.failure = _FAILED, error
        loss, bounded = self._agree(code, losses)
        return loss, bounded, self._exchange() if bounded else None

    def _agree(self, code: int, losses: NDArray[np.float64]) -> tuple[float, bool]:
        """Return the loss of all streams, and whether the gradient is bounded everywhere; or raise, everywhere, what ends the training."""
        comm = self.comm
        code = max(code, _STOPPED if self.signals.take() else _FINE)
        counts = [1 + self.each * (self.bounds[i + 1] - self.bounds[i]) for i in range(comm.size)]
        all_found = np.empty(sum(counts))
        comm.Allgatherv(np.append(float(code), losses), [all_found, counts])
        each = np.split(all_found, np.cumsum(counts)[:-1])
        codes = [int(found[0]) for found in each]
        if _FAILED in codes:
            failed = codes.index(_FAILED)
            text = comm.bcast(_words(self.failure), failed)
            raise self.failure if self.failure is not None else RankError(f"rank {failed}: {text}")
        if _STOPPED in codes:
            raise KeyboardInterrupt
        return _summed(self._in_order([found[1:] for found in each])), _UNBOUNDED not in codes

    def _exchange(self) -> Real:
        """Send each rank its rows of the sums that are whole here; return the sum over all shards of those that are owned."""
        comm, got = self.comm, list(self.got)
        sent = [
            np.ascontiguousarray(self.sums[:, start:stop]) for start, stop in pairwise(self.places)
        ]
        others = [i for i in range(comm.size) if i != comm.rank]
        requests = [comm.Irecv(got[i], i) for i in others] + [
            comm.Isend(sent[i], i) for i in others
        ]
        _mpi().Request.Waitall(requests)
        got[comm.rank] = sent[comm.rank]
        found = {
            part: row
            for parts, rows in zip(self.parts, got, strict=True)
            for part, row in zip(parts, rows, strict=True)
        }
        return total(found, 0, self.shards)

    def _all_squares(self, squares: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.learner.clip_norm == math.inf:  # nobody asks
            return squares
        found = np.empty(self.rows[-1])
        self.comm.Allgatherv(squares, [found, np.diff(self.rows)])
        return found

    def _all_are(self, fine: bool) -> bool:
        return bool(self.comm.allreduce(fine, _mpi().LAND))

    def _all_weights(self) -> None:
        block = self.learner.network.weights.block
        self.comm.Allgatherv(_mpi().IN_PLACE, [block, self.counts, self.places[:-1], _type(block)])


_in_use: list[Any] = []  # communicators, by trainings of this process


class Team:
    """The processes of a training, within a context: what one of them raises there ends all of them."""

    def __init__(self, comm: Any) -> None:
        MPI = _mpi()
        if isinstance(comm, MPI.Comm) and comm == MPI.COMM_NULL:
            raise ValueError(
                "comm is MPI.COMM_NULL: it was freed, or this process has no part in it and must not train with the others"
            )
        if not isinstance(comm, MPI.Intracomm):
            raise TypeError(
                f"comm must be a communicator of mpi4py, as MPI.COMM_WORLD, not {type(comm).__name__}"
            )
        self.given: Any = comm
        self.stage: str = "apart"  # then "together", then "over"

    @property
    def rank(self) -> int:
        """The number of this process."""
        return int(self.given.rank)

    @property
    def size(self) -> int:
        """How many there are."""
        return int(self.given.size)

    def __enter__(self) -> Self:
        _in_use.append(self.given)
        try:
            if (
                _in_use.count(self.given) > 1
            ):  # MPI would mix what both have to say, or wait for ever
                how = "another thread needs comm.Dup(), a callback, which rank 0 alone calls, MPI.COMM_SELF"
                raise ValueError(f"comm is in use by another training of this process: {how}")
            self.comm: Any = self.given.Dup()
        except BaseException:
            _in_use.remove(self.given)
            raise
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            if self.stage == "together":  # nobody has told the others
                abort(self.comm)
            if self.stage == "apart" and error is not None:
                first = self._first_error(_words(error), None)
                if first != self.rank and not isinstance(error, KeyboardInterrupt):
                    raise RankError(f"rank {first} has ended the training first") from error
        finally:
            _in_use.remove(self.given)
            self.comm.Free()  # there are some two thousand

    def _first_error(self, text: str | None, facts: dict[str, Any] | None) -> int:
        """Meet the others, this one with an error or facts; return the first that has an error, or raise if facts differ."""
        self.stage = "over"
        found = self.comm.allgather((text, facts))
        for rank, (error, _) in enumerate(found):
            if error is not None:
                if text is None:
                    raise RankError(f"rank {rank}: {error}")
                return rank
        differences = [
            f"rank {rank} has {name} {other.get(name)!r:.80}, rank 0 {value!r:.80}"
            for rank, (_, other) in enumerate(found)
            for name, value in found[0][1].items()
            if other.get(name) != value
        ]
        if differences:
            kind = ValueError if self.rank == 0 else RankError
            raise kind(
                f"all ranks must train with the same versions, texts and options: {'; '.join(differences)}"
            )
        self.stage = "together"
        return -1

    def meet(self, facts: dict[str, Any]) -> list[int]:
        """Wait for the others; raise ValueError if the facts of one differ, RankError if it has an error. Return signals that came."""
        with Later() as later:  # who leaves now would be waited for
            self._first_error(
                None, {"version": _version(), "kernels with FMA": _has_fma(), **facts}
            )
            return later.take()

    def end(self, error: BaseException | None, history: History, network: Network) -> None:
        """Tell the others, from rank 0, how the training ended, and give them what it made."""
        with Later():
            how = (
                ""
                if error is None
                else "interrupted"
                if isinstance(error, KeyboardInterrupt)
                else f"rank 0: {_words(error)}"
            )
            self.comm.bcast(("end", how, vars(history)))
            self.comm.Bcast(network.weights.block)
            self.stage = "over"

    def follow(self, hands: Ranks, history: History) -> None:
        """Do as rank 0 says to the end; then have what it has."""
        how, found = hands.serve()
        vars(history).update(found)
        self.comm.Bcast(hands.learner.network.weights.block)
        self.stage = "over"
        if hands.failure is not None:
            raise hands.failure
        if how == "interrupted":
            raise KeyboardInterrupt
        if how:
            raise RankError(how)


def world() -> Any:
    """Return the communicator of all processes that mpiexec has started."""
    return _mpi().COMM_WORLD


def abort(comm: Any) -> None:
    """End all processes at once, as this one cannot go on and the others would wait for it."""
    traceback.print_exc()
    sys.stderr.flush()
    comm.Abort(1)


def _words(error: BaseException | None) -> str:
    """Say what an error is; of one that cannot say it, whatever its class does, the name."""
    if error is None:
        return ""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__


def _version() -> str:
    from .. import __version__

    return __version__


def _has_fma() -> bool:
    """Whether the kernels have the bits that all with FMA have."""
    return _dispatch.isa != "baseline" or platform.machine().lower() in ("aarch64", "arm64")


def _mpi() -> Any:
    """Return mpi4py.MPI, which starts MPI when it is first imported; or raise ImportError that says what to install."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        how = "pip install 'charrnn-cython[mpi]', and an MPI: pip install mpich"
        raise ImportError(f"training over MPI needs mpi4py and an MPI: {how} ({error})") from error
    return MPI


def _type(block: Real) -> Any:
    """Return the type of MPI of the numbers of an array."""
    return _mpi().FLOAT if block.dtype == np.float32 else _mpi().DOUBLE
