"""Training over MPI: any number of processes gives the bits of one.

The streams of a batch are cut into shards, and the gradient of a step is the sum over shards in a
binary tree that depends on their number only. Rank 0 leads: it decides what comes next, shows,
measures and saves; the others follow. Each rank has some of the shards and owns some rows of the
weights, which it updates; then all have all weights.
"""

import sys
import traceback
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from ..data.batches import Stream, Windows
from ..history import History, Position
from ..network import Network, Real
from ..network import dispatch as _dispatch
from ..network._types import Description
from ..network.learner import Learner
from ..util.errors import RankError
from ..util.signals import DeferredSignals
from .stepper import Stepper, streams_in

_FINE, _UNBOUNDED, _STOPPED, _FAILED = range(4)  # what each rank says of its part of a step


# ------------------------------------------------------------------------------- the tree


def halfway(low: int, high: int) -> int:
    """Return where the tree over shards low to high divides: its left part is the largest full one.

    >>> halfway(0, 8), halfway(0, 6), halfway(4, 6)
    (4, 4, 5)
    """
    return low + (1 << ((high - low - 1).bit_length() - 1))


def whole_parts(first: int, stop: int, low: int, high: int) -> Iterator[tuple[int, int]]:
    """Yield the largest parts of the tree over shards low to high that lie within first to stop.

    >>> list(whole_parts(2, 5, 0, 8))
    [(2, 4), (4, 5)]
    """
    if first <= low and high <= stop:
        yield low, high
    elif low < stop and first < high:
        yield from whole_parts(first, stop, low, halfway(low, high))
        yield from whole_parts(first, stop, halfway(low, high), high)


def total(parts: dict[tuple[int, int], Real], low: int, high: int) -> Real:
    """Return the sum of the tree over shards low to high, from parts, in the first one's memory.

    >>> float(total({(0, 2): np.ones(1), (2, 3): np.ones(1)}, 0, 3)[0])
    2.0
    """
    if (low, high) in parts:
        return parts[low, high]
    left = total(parts, low, halfway(low, high))
    left += total(parts, halfway(low, high), high)
    return left


def row_starts(description: Description) -> NDArray[np.int64]:
    """Return where each row of the matrices starts in a block of parameters, and the last ends."""
    starts: list[int] = []
    end = 0
    for start, rows, _, ld, _ in sorted(description.tensors.values()):
        if start >= end:  # not another gate in the same rows
            starts.extend(range(start, start + rows * ld, ld))
            end = start + rows * ld
    return np.array([*starts, end])


# ------------------------------------------------------------------------------- steps


class Ranks(Stepper):
    """Trains on windows together with other processes. Rank 0 is called; the others `serve`.

    It is the `network.Exchange` of its steps.
    """

    def __init__(
        self, learner: Learner, stream: Stream, dropout_seed: int, n_shards: int, comm: Any
    ) -> None:
        network, B = learner.network, stream.batch_size
        bounds = [n_shards * i // comm.size for i in range(comm.size + 1)]
        shards = [range(*pair) for pair in pairwise(bounds)]  # of each rank
        super().__init__(learner, stream, dropout_seed, n_shards, shards[comm.rank])
        self.comm: Any = comm
        each = [streams_in(some, n_shards, B) for some in shards]
        self.each: list[NDArray[np.intp]] = [streams[streams < B] for streams in each]
        self.parts: list[list[tuple[int, int]]] = [
            list(whole_parts(some.start, some.stop, 0, n_shards)) for some in shards
        ]
        starts = row_starts(network.description)
        # The rows that each rank owns, and where they start in a block of parameters.
        self.rows: NDArray[np.intp] = np.searchsorted(
            starts, [starts[-1] * i // comm.size for i in range(comm.size + 1)]
        )
        self.places: NDArray[np.int64] = starts[self.rows]
        own = self.places[comm.rank + 1] - self.places[comm.rank]
        self.got: list[Real] = [np.zeros((len(parts), own), network.dtype) for parts in self.parts]
        self.epoch: int = -1  # for which the stream is ready
        self.zero: bool = False  # whether the others have to start from the zero state
        self.left: int = 0  # steps of this call that are still to be agreed on
        self.agreed: bool = False  # whether a step is
        self.signals: DeferredSignals = DeferredSignals()
        self.later: DeferredSignals = DeferredSignals()
        self.failure: BaseException | None = None  # of this rank
        # Of this rank and call, for `network.Exchange`.
        self.batch_size: int = B
        self.shards: tuple[int, int] = (shards[comm.rank].start, shards[comm.rank].stop)
        self.weight_rows: tuple[int, int] = (
            int(self.rows[comm.rank]),
            int(self.rows[comm.rank + 1]),
        )
        self.window_rows: NDArray[np.int32] = np.empty(0, np.int32)

    # What rank 0 does, and the others when it says so.

    def clear(self) -> None:
        """Start from the zero state."""
        super().clear()
        self.zero = True

    def train(
        self, at: Position, inputs: Any, targets: Any, rates: Real, length: int, reset: bool
    ) -> None:
        """Train on windows as `Stepper.train` does: a step ends everywhere, or nowhere."""
        zero, self.zero = self.zero, False
        with self.signals:
            rates = np.broadcast_to(rates, -(-len(inputs) // length))
            # Before the others wait for it.
            windows = inputs[:, self.streams], targets[:, self.streams]
            self.comm.bcast(("_follow", at.epoch, at.window, at.step, rates, length, reset, zero))
            self._train_together(at.window, at.step, windows, rates, length, reset)

    def _follow(
        self, epoch: int, window: int, step: int, rates: Real, length: int, reset: bool, zero: bool
    ) -> None:
        """Train as rank 0 does."""
        try:
            if epoch != self.epoch:
                self.stream.begin(epoch)
                self.epoch = epoch
            windows = self.stream.read(window, len(rates), self.streams)
        except Exception as error:  # a file that has changed
            self._fail(error)
        if zero:
            super().clear()
        self._train_together(window, step, windows, rates, length, reset)

    def _train_together(
        self, window: int, step: int, windows: Windows, rates: Real, length: int, reset: bool
    ) -> None:
        self.left, self.agreed = len(rates), False
        # A signal handler must not leave a step between processes.
        self.later = DeferredSignals(every=True)
        with self.later:
            try:
                self.window_rows = self.stream.used_rows(window, len(rates)).astype(np.int32)
                self._train(step, windows, rates, length, reset, exchange=self)
            except (KeyboardInterrupt, RankError):
                raise
            except Exception as error:
                if self.agreed or not self.left:
                    abort(self.comm)  # the others wait for something else
                self._fail(error)

    def _fail(self, error: Exception) -> NoReturn:
        """Tell the others, who wait for this rank's part of a step, that it has failed."""
        self.failure = error
        self._agree(_FAILED, np.zeros(len(self.streams)))
        raise error

    def get_state(self) -> Real:
        """Return the state; the network then has all that its optimizer keeps, for a checkpoint."""
        with self.signals:
            self.comm.bcast(("_gather",))
            return self._in_order(self._gather())

    def _gather(self) -> list[Real]:
        """Give rank 0 what the optimizers of all keep, and their states."""
        network, comm = self.learner.network, self.comm
        for kept in (network.memory, network.momentum):
            if kept is not None:
                mine = kept.block[self.places[comm.rank] : self.places[comm.rank + 1]]
                if comm.rank == 0:
                    comm.Gatherv(_mpi().IN_PLACE, self._by_rank(kept.block))
                else:
                    comm.Gatherv(mine, None)
        return comm.gather(super().get_state()) or []

    def _in_order(self, each: list[Real]) -> Real:
        """Return what each rank has of its streams in the order of the batch."""
        whole = np.concatenate(each)
        whole[np.concatenate(self.each)] = whole.copy()
        return whole

    def _by_rank(self, block: Real) -> list[Any]:
        """Say which part of a block of parameters each rank has."""
        return [block, np.diff(self.places), self.places[:-1], _type(block)]

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

    # The exchange of a step.

    def losses(self, losses: Real, bounded: bool) -> tuple[float, bool]:
        """Return the loss of all streams, and whether the gradient is bounded everywhere."""
        self.left -= 1
        found = self._agree(_FINE if bounded else _UNBOUNDED, losses[: len(self.streams)])
        self.agreed = True
        return found

    def _agree(self, code: int, losses: Real) -> tuple[float, bool]:
        """Exchange codes and losses; or raise, everywhere, what ends the training."""
        comm = self.comm
        code = max(code, _STOPPED if self._interrupted() else _FINE)
        counts = [1 + len(streams) for streams in self.each]
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
        in_order = self._in_order([found[1:] for found in each])
        with np.errstate(over="ignore"):  # of finite losses the sum may be infinite
            return float(np.cumsum(np.append(0.0, in_order))[-1]), _UNBOUNDED not in codes

    def _interrupted(self) -> bool:
        """Whether Ctrl-C came, before this call or within it."""
        later = self.later
        within = [number for number in later.noted if later.handlers[number] == self.signals.note]
        return bool(self.signals.take() or within)

    def sums(self, sums: Real) -> None:
        """Make the own rows of the first of sums, of parts of the tree, the sum over all shards."""
        comm, got, rank = self.comm, list(self.got), self.comm.rank
        sent = [
            np.ascontiguousarray(sums[: len(self.parts[rank]), start:stop])
            for start, stop in pairwise(self.places)
        ]
        others = [i for i in range(comm.size) if i != rank]
        requests = [comm.Irecv(got[i], i) for i in others]
        requests += [comm.Isend(sent[i], i) for i in others]
        _mpi().Request.Waitall(requests)
        got[rank] = sent[rank]
        found = {
            part: row
            for parts, rows in zip(self.parts, got, strict=True)
            for part, row in zip(parts, rows, strict=True)
        }
        start, stop = self.places[rank : rank + 2]
        sums[0, start:stop] = total(found, 0, self.n_shards)

    def squares(self, squares: NDArray[np.float64]) -> None:
        """Give all ranks the sums of squares of all rows of the gradient."""
        counts = [squares, np.diff(self.rows), self.rows[:-1], _type(squares)]
        self.comm.Allgatherv(_mpi().IN_PLACE, counts)

    def all(self, fine: bool) -> bool:
        """Return whether all ranks are fine."""
        return bool(self.comm.allreduce(fine, _mpi().LAND))

    def weights(self) -> None:
        """Give all ranks all weights."""
        block = self.learner.network.weights.block
        self.comm.Allgatherv(_mpi().IN_PLACE, self._by_rank(block))
        self.agreed = False


# ------------------------------------------------------------------------------- processes

_in_use: list[Any] = []  # communicators, by trainings of this process


class Team:
    """The processes of a training, a context: what one of them raises there ends all of them."""

    def __init__(self, comm: Any) -> None:
        MPI = _mpi()
        if isinstance(comm, MPI.Comm) and comm == MPI.COMM_NULL:
            raise ValueError(
                "comm is MPI.COMM_NULL: it was freed, or this process is not part of it "
                "and must not train with the others"
            )
        if not isinstance(comm, MPI.Intracomm):
            what = type(comm).__name__
            raise TypeError(
                f"comm must be a communicator of mpi4py, such as MPI.COMM_WORLD, not {what}"
            )
        self.given: Any = comm
        self.stage: str = "apart"  # then "together", then "over"

    @property
    def rank(self) -> int:
        """The number of this process."""
        return int(self.given.rank)

    @property
    def size(self) -> int:
        """The number of processes."""
        return int(self.given.size)

    def __enter__(self) -> Self:
        _in_use.append(self.given)
        try:
            if _in_use.count(self.given) > 1:  # MPI would mix their messages, or wait for ever
                raise ValueError(
                    "comm is in use by another training of this process: another thread needs "
                    "comm.Dup(), a callback, which rank 0 alone calls, MPI.COMM_SELF"
                )
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
                    raise RankError(f"rank {first} ended the training first") from error
        finally:
            _in_use.remove(self.given)
            self.comm.Free()  # MPICH has two thousand

    def _first_error(self, text: str | None, facts: dict[str, Any] | None) -> int:
        """Exchange an error or facts with the other ranks; return the first that has an error.

        Raise if that is another rank and this one has none, or if facts differ.
        """
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
            what = "all ranks must train with the same versions, texts and options"
            raise kind(f"{what}: {'; '.join(differences)}")
        self.stage = "together"
        return -1

    def meet(self, facts: dict[str, Any]) -> list[int]:
        """Wait for the other ranks; return the signals that came meanwhile.

        Raise ValueError if the facts of one differ, RankError if one has an error.
        """
        from .. import __version__

        with DeferredSignals() as later:  # the others would wait for a rank that leaves now
            facts = {"version": __version__, "kernels with FMA": _dispatch.has_fma(), **facts}
            self._first_error(None, facts)
            return later.take()

    def end(self, error: BaseException | None, history: History, network: Network) -> None:
        """Tell the others, from rank 0, how the training ended, and give them what it made."""
        with DeferredSignals():
            how = "" if error is None else f"rank 0: {_words(error)}"
            if isinstance(error, KeyboardInterrupt):
                how = "interrupted"
            self.comm.bcast(("end", how, vars(history)))
            self.comm.Bcast(network.weights.block)
            self.stage = "over"

    def follow(self, stepper: Ranks, history: History) -> None:
        """Do as rank 0 says to the end; then have its history and weights."""
        how, found = stepper.serve()
        vars(history).update(found)
        self.comm.Bcast(stepper.learner.network.weights.block)
        self.stage = "over"
        if stepper.failure is not None:
            raise stepper.failure
        if how == "interrupted":
            raise KeyboardInterrupt
        if how:
            raise RankError(how)


def world() -> Any:
    """Return the communicator of all processes that mpiexec has started."""
    return _mpi().COMM_WORLD


def abort(comm: Any) -> None:
    """End all processes at once: this one cannot go on, and the others would wait for it."""
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


def _mpi() -> Any:
    """Return mpi4py.MPI, which starts MPI at its first import; or say what to install."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        how = "pip install 'charrnn-cython[mpi]', and an MPI: pip install mpich"
        raise ImportError(f"training over MPI needs mpi4py and an MPI: {how} ({error})") from error
    return MPI


def _type(block: Real) -> Any:
    """Return the MPI type of the numbers of an array."""
    return _mpi().FLOAT if block.dtype == np.float32 else _mpi().DOUBLE
