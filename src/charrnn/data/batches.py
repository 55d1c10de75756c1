"""Streams of windows of ids, over a text or over records."""

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..network._types import IGNORED
from ..util.atomic_write import named
from ..util.seeding import permutation

Windows: TypeAlias = tuple[NDArray[np.int32], NDArray[np.int32]]  # inputs and targets
Ids: TypeAlias = "NDArray[Any] | StoredIds | DerivedIds"  # of a text or of records

_PIECE = 1 << 20  # ids at a time
_SORTED = 1 << 18  # records at a time: Ctrl-C waits for no more
_WHOLE = 128  # time steps: shorter records are read as a whole


class StoredIds:
    """Ids in a file, of which only what is read is in memory; first is their place there, in bytes.

    The file is read, not mapped: where somebody cuts a mapped file short, the system ends the
    process, and mapped pages count as memory until others need it.
    """

    def __init__(self, file: "OpenFile", dtype: np.dtype[Any], first: int, count: int) -> None:
        self.file: OpenFile = file
        self.dtype: np.dtype[Any] = dtype
        self.first: int = first
        self.count: int = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, where: Any) -> Any:
        """Return the part in a slice, or the ids at places (..., time, streams).

        Each stream of places is read at once, from the lowest to the highest.
        """
        if isinstance(where, slice):
            start, stop, _ = where.indices(self.count)
            first = self.first + start * self.dtype.itemsize
            return StoredIds(self.file, self.dtype, first, max(0, stop - start))
        found = np.empty(where.shape, self.dtype)
        low, high = where.min(axis=-2), where.max(axis=-2)
        for place in np.ndindex(*low.shape):
            here = (*place[:-1], slice(None), place[-1])
            found[here] = self.read(int(low[place]), int(high[place]) + 1)[where[here] - low[place]]
        return found

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return the ids from start to stop."""
        found = np.empty(stop - start, self.dtype)
        self.file.fill(found, self.first + start * self.dtype.itemsize)
        return found


class DerivedIds:
    """Ids that are made of others, which stay where they are stored, whenever they are read."""

    def __init__(self, count: int, dtype: np.dtype[Any], at: Callable[[Any], Any]) -> None:
        self.count: int = count
        self.dtype: np.dtype[Any] = dtype
        self.at: Callable[[Any], Any] = at  # returns those at places (..., time, streams)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, where: Any) -> Any:
        return self.at(where)


def mapped(ids: Ids, table: NDArray[Any]) -> Ids:
    """Return ids, or the part of them in a slice, each replaced by its entry in a table."""
    if isinstance(ids, np.ndarray):
        return table[ids]
    return DerivedIds(len(ids), table.dtype, lambda where: mapped(ids[where], table))


def gapped(ids: Ids, keep: int, gap: int, pieces: int) -> DerivedIds:
    """Return a text without pieces that lie spread over it: gap ids after each of keep."""

    def read(where: NDArray[np.integer[Any]]) -> Any:
        return ids[where + gap * np.minimum(where // keep, pieces)]

    return DerivedIds(len(ids) - gap * pieces, ids.dtype, read)


def joined(first: Ids, again: Ids, times: int) -> DerivedIds:
    """Return a text, and after it another one so many times."""
    before, length = len(first), len(again)
    dtype = np.promote_types(first.dtype, again.dtype)

    def read(where: NDArray[np.integer[Any]]) -> Any:  # (time, streams)
        found = np.empty(where.shape, dtype)
        parts = np.maximum(where - before, -1) // length  # -1: of the first text
        for b in range(where.shape[1]):
            for part in np.unique(parts[:, b]).tolist():
                ids, start = (first, 0) if part < 0 else (again, before + part * length)
                rows = parts[:, b] == part
                found[rows, b : b + 1] = ids[where[rows, b : b + 1] - start]
        return found

    return DerivedIds(before + times * length, dtype, read)


def in_pieces(ids: Ids) -> Iterator[NDArray[Any]]:
    """Yield all ids, some at a time: the same pieces wherever they are stored."""
    for start in range(0, len(ids), _PIECE):
        places = np.arange(start, min(start + _PIECE, len(ids)))
        yield ids[places[:, None]][:, 0]


class OpenFile:
    """A file open for reading in binary, unbuffered, that must not change. Errors call it name."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self.file: IO[bytes] = file
        self.name: str = name
        self.lock: threading.Lock = threading.Lock()  # from seek to read
        self.before: tuple[int, int] = self.stat()
        weakref.finalize(self, file.close)  # also where it is in a cycle of an exception

    def stat(self) -> tuple[int, int]:
        """Return its size and its time of change."""
        stat = os.fstat(self.file.fileno())
        return stat.st_size, stat.st_mtime_ns

    def fill(self, array: NDArray[Any], place: int) -> None:
        """Fill an array with the bytes from place on; raise ValueError if the file has changed."""
        with self.lock, named(self.name):
            self.file.seek(place)
            rest = array.view(np.uint8).data
            while rest and (count := self.file.readinto(rest)):  # type: ignore[attr-defined]
                rest = rest[count:]
        if rest or self.stat() != self.before:
            raise changed(self.name)


def changed(name: str) -> ValueError:
    """Return the error of a file that somebody wrote to."""
    return ValueError(f"{name} has changed while it was read: train again when nobody writes to it")


class TextStream:
    """A text cut into batch_size streams, read in windows of seq_length: each target once a pass.

    A text of N characters, at least 2, has N - 1 targets. Stream b has the targets
    [b L, (b + 1) L) with L = ceil((N - 1) / batch_size); what the last stream lacks is IGNORED. The
    last window of a pass may be shorter than seq_length.
    """

    def __init__(self, ids: Ids, seq_length: int, batch_size: int = 1) -> None:
        self.ids: Ids = ids
        self.targets: int = len(ids) - 1
        first = self.ids[np.zeros((1, 1), np.intp)].astype(np.int32)
        self.filler: np.int32 = first[0, 0]  # the input where there is none
        self.batch_size: int = min(batch_size, self.targets)  # more would only cost
        self.length: int = -(-self.targets // self.batch_size)
        self.seq_length: int = min(seq_length, self.length)
        self.windows: int = -(-self.length // seq_length)

    def sequences(self) -> Iterator[NDArray[Any]]:
        """Yield all ids, some at a time."""
        return in_pieces(self.ids)

    def begin(self, epoch: int) -> None:
        """Do nothing: a text has one order."""

    def resets(self, window: int) -> bool:
        """Whether this window begins with the zero state."""
        return window == 0

    def windows_per_call(self, window: int, most: int) -> tuple[int, bool]:
        """Return how many windows, at most so many, can be one call from this one on.

        And whether each of them begins with the zero state.
        """
        return most, False

    def longest(self, window: int, count: int) -> int:
        """Return the time steps of each of these windows in `read`."""
        return self.seq_length

    def used_rows(self, window: int, count: int) -> NDArray[np.int64]:
        """Return the time steps of each of these windows up to the last with a target."""
        starts = self.seq_length * np.arange(window, window + count)
        return np.minimum(self.length - starts, self.seq_length)

    def read(
        self, window: int, count: int, streams: NDArray[np.integer[Any]] | None = None
    ) -> Windows:
        """Return inputs and targets of count windows from number window on: int32 (time, streams).

        Of all streams, or of those with these numbers; one that does not exist has no targets.
        """
        start = window * self.seq_length
        stop = min(start + count * self.seq_length, self.length)
        numbers = np.arange(self.batch_size) if streams is None else streams.astype(np.int64)
        where = np.arange(start, stop + 1)[:, None] + self.length * numbers
        # Each id is a target, then an input.
        ids = self.ids[np.minimum(where, self.targets)].astype(np.int32)
        exists = where[:-1] < self.targets
        return np.where(exists, ids[:-1], self.filler), np.where(exists, ids[1:], np.int32(IGNORED))


def smallest(most: int) -> type[np.signedinteger[Any]]:
    """Return a type of numbers up to most: int64 would take as much memory as short records."""
    return np.int32 if most < 2**31 - 1 else np.int64


def begins(lengths: NDArray[np.signedinteger[Any]]) -> NDArray[np.signedinteger[Any]]:
    """Return where records of these lengths begin, stored one after the other."""
    starts = np.cumsum(lengths, dtype=smallest(int(lengths.sum(dtype=np.int64))))
    starts -= lengths
    return starts


class RecordStream:
    """Records (names, domains, molecules ...), each read from the zero state on.

    The network reads the boundary, then the record; its targets are the record, then the boundary.
    A batch has batch_size records of similar length, in an order that depends on seed and epoch.
    Records of up to 127 characters make one window. Longer ones make several of seq_length, with
    the state carried between them (truncated backpropagation, whose gradient cannot explode over
    thousands of steps, nor its memory). What the last batch lacks, and what a record is shorter
    than its batch, is IGNORED. lengths has the characters of each record, starts where it begins in
    ids: by default one after the other.
    """

    def __init__(
        self,
        ids: Ids,
        lengths: NDArray[np.signedinteger[Any]],
        boundary: int,
        batch_size: int = 1,
        seed: int = 0,
        seq_length: int = 25,
        *,
        starts: NDArray[np.signedinteger[Any]] | None = None,
    ) -> None:
        self.ids: Ids = ids if len(ids) else np.zeros(1, ids.dtype)  # empty records point there
        self.lengths: NDArray[Any] = lengths.astype(smallest(len(ids)), copy=False)
        starts = begins(lengths) if starts is None else starts
        self.starts: NDArray[Any] = starts.astype(self.lengths.dtype, copy=False)
        self.boundary: int = boundary
        self.batch_size: int = min(batch_size, len(lengths))  # more would only cost
        self.seed: int = seed
        self.targets: int = int(lengths.sum(dtype=np.int64)) + len(lengths)
        # The most time steps that a window has.
        self.seq_length: int = min(max(seq_length, _WHOLE), int(lengths.max()) + 1)
        self.piece: int = min(seq_length, self.seq_length)
        self._cut(np.arange(len(lengths)))

    def sequences(self) -> Iterator[NDArray[Any]]:
        """Yield the ids of all records, some at a time, a boundary before and behind each."""
        for first in range(0, len(self.lengths), _SORTED):
            lengths = self.lengths[first : first + _SORTED].astype(np.int64)
            ends = np.cumsum(lengths + 1)
            found = np.full(int(ends[-1]) + 1, self.boundary, np.int64)
            begins = ends - lengths  # each record's place in found
            shift = np.repeat(self.starts[first : first + _SORTED] - begins, lengths)
            places = np.repeat(begins - np.cumsum(lengths) + lengths, lengths) + np.arange(
                len(shift)
            )
            if len(places):
                found[places] = self.ids[(places + shift)[:, None]][:, 0]
            yield found

    def begin(self, epoch: int) -> None:
        """Put the records into the order of this epoch."""
        n, B = len(self.lengths), self.batch_size
        order = permutation(n, self.seed, epoch)
        if B > 1:
            # Sort by length within groups of 16 batches, so that little is ignored; then shuffle
            # the whole batches.
            at_a_time = -(-_SORTED // (16 * B)) * 16 * B
            for first in range(0, n, at_a_time):
                part = order[first : first + at_a_time]
                groups = np.arange(len(part)) // (16 * B)
                part[:] = part[np.lexsort((self.lengths[part], groups))]
            whole = n // B
            batches = order[: whole * B].reshape(whole, B)
            batches[...] = batches[permutation(whole, self.seed, epoch, 1)]
        self._cut(order)

    def _cut(self, order: NDArray[np.signedinteger[Any]]) -> None:
        """Put the records into this order; find the rows of each batch and where windows end."""
        self.order: NDArray[Any] = order.astype(self.lengths.dtype, copy=False)
        lengths, whole = self.lengths[self.order], len(order) // self.batch_size * self.batch_size
        rows = lengths[:whole].reshape(-1, self.batch_size).max(axis=1)
        rest = [lengths[whole:].max()] if whole < len(order) else lengths[:0]
        self.rows: NDArray[Any] = np.append(rows, rest) + 1
        windows = -(-self.rows // self._sizes(self.rows))
        self.ends: NDArray[Any] = np.cumsum(windows, dtype=smallest(self.targets))
        self.windows: int = int(self.ends[-1])

    def _sizes(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the most rows of a window of batches with so many."""
        return np.where(rows <= max(self.piece, _WHOLE), rows, self.piece)

    def _find(
        self, window: int, count: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return the batch of each of count windows from window on, its first row, its rows."""
        # Of another type, NumPy would convert all ends.
        windows = np.arange(window, window + count, dtype=self.ends.dtype)
        batch = np.searchsorted(self.ends, windows, "right")
        rows = self.rows[batch].astype(np.int64)
        sizes = self._sizes(rows)
        # The windows before it in its batch are whole.
        first = (windows - self.ends[batch]) * sizes + -(-rows // sizes) * sizes
        return batch, first, np.minimum(rows - first, sizes)

    def resets(self, window: int) -> bool:
        """Whether this window begins with the zero state, not in the middle of its records."""
        return bool(self._find(window, 1)[1][0] == 0)

    def windows_per_call(self, window: int, most: int) -> tuple[int, bool]:
        """Return how many windows, at most so many, can be one call from this one on.

        They are whole batches, or all of the same one. And whether each begins with the zero state.
        """
        batch, _, rows = self._find(window, min(most, self.windows - window))
        whole = rows == self.rows[batch]
        alike = whole if whole[0] else batch == batch[0]
        return len(alike) if alike.all() else int(np.argmin(alike)), bool(whole[0])

    def longest(self, window: int, count: int) -> int:
        """Return the time steps of each of these windows in `read`: those of the longest."""
        return int(self._find(window, count)[2].max())

    def used_rows(self, window: int, count: int) -> NDArray[np.int64]:
        """Return the time steps of each of these windows up to the last with a target."""
        return self._find(window, count)[2]

    def read(
        self, window: int, count: int, streams: NDArray[np.integer[Any]] | None = None
    ) -> Windows:
        """Return inputs and targets of count windows from number window on.

        Both are int32 (count * longest, streams): of all streams, or of those with these numbers;
        one that does not exist has no targets.
        """
        B, (batch, first, rows) = self.batch_size, self._find(window, count)
        numbers = np.arange(B) if streams is None else streams.astype(np.int64)
        n = len(self.order)
        places = np.where(numbers < B, batch[:, None, None] * B + numbers, n)  # (count, 1, streams)
        chosen = self.order[np.minimum(places, n - 1)]
        start = self.starts[chosen].astype(np.int64)
        length = np.where(places < n, self.lengths[chosen], -1)
        t = first[:, None, None] + np.arange(-1, rows.max())[:, None]  # (count, longest + 1, 1)
        where = start + np.clip(t, 0, np.maximum(length - 1, 0))
        # Each id is a target, then an input.
        ids = self.ids[np.minimum(where, len(self.ids) - 1)].astype(np.int32)
        inputs, targets, at = ids[:, :-1], ids[:, 1:], t[:, 1:]
        ends = np.where(at == length, self.boundary, IGNORED)
        targets = np.where(at < length, targets, ends).astype(np.int32)
        inputs = np.where((0 < at) & (at <= length), inputs, self.boundary).astype(np.int32)
        shape = inputs.shape[0] * inputs.shape[1], len(numbers)
        return inputs.reshape(shape), targets.reshape(shape)


Stream: TypeAlias = TextStream | RecordStream
