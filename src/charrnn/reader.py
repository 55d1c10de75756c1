"""From a file to text to windows of ids."""

import os
import stat
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from .errors import check_integer
from .seeding import permutation
from .vocabulary import Vocabulary

StrPath: TypeAlias = str | os.PathLike[str]
Windows: TypeAlias = tuple[NDArray[np.int32], NDArray[np.int32]]  # inputs and targets
_Content = TypeVar("_Content", bound=str | bytes)

IGNORED = -1  # as a target: no character, counts nothing (the kernels know the value)


def read_bytes(path: StrPath) -> bytes:
    """Return the bytes of a file; or raise OSError if it cannot be read, ValueError if it is not a regular file."""
    if not (stat.S_ISREG(os.stat(path).st_mode) or os.path.isdir(path)):  # to open a pipe would wait; to open a directory says what it is
        raise ValueError(
            f"{os.fspath(path)} is not a regular file; read it yourself and pass the text (on the command line: - reads standard input)"
        )
    with open(path, "rb") as file:
        return file.read()


def read_text(path: StrPath) -> str:
    """Return the text of a UTF-8 file with its newlines as they are and without a byte order mark.

    Or raise OSError if it cannot be read, ValueError if it is not a regular file, not UTF-8 (the message gives the byte), or has fewer
    than two characters.
    """
    return check_length(os.fspath(path), decode_text(read_bytes(path), os.fspath(path)))


def decode_text(data: bytes, name: str) -> str:
    """Return the text of UTF-8 bytes without a byte order mark; name is what to call them in an error."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError(f"{name} looks like UTF-16, not UTF-8; convert it, for example with: iconv -f UTF-16 -t UTF-8")
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        found = f"byte {error.start} (0x{data[error.start]:02x}): {error.reason}"
        raise ValueError(f"{name} is not UTF-8 at {found}; convert it, for example with: iconv -t UTF-8") from error
    return text


def check_length(name: str, text: _Content) -> _Content:
    """Return text (str or bytes) if it is long enough to train on, or raise ValueError."""
    if len(text) < 2:
        unit = "byte" if isinstance(text, bytes) else "character"
        raise ValueError(f"{name} has {('no', '1')[len(text)]} {unit}; training needs at least 2")
    return text


class TextStream:
    """A text cut into batch_size contiguous streams, each read in windows of seq_length, every target once a pass.

    A text of N characters has N - 1 targets. Stream b takes the targets [b L, (b + 1) L) with L = ceil((N - 1) / batch_size); what the last
    stream lacks is IGNORED. The last window of a pass may be shorter than seq_length. N is at least 2.
    """

    resets = False  # the state is carried from window to window

    def __init__(self, ids: NDArray[Any], seq_length: int, batch_size: int = 1) -> None:
        self.ids: NDArray[Any] = ids
        self.targets: int = len(ids) - 1
        self.batch_size: int = batch_size
        self.length: int = -(-self.targets // batch_size)
        self.seq_length: int = min(seq_length, self.length)
        self.windows: int = -(-self.length // seq_length)

    def begin(self, epoch: int) -> None:
        """Do nothing: a text has one order."""

    def longest(self, window: int, count: int) -> int:
        """Return the time steps of each of these windows, in `read`."""
        return self.seq_length

    def read(self, window: int, count: int) -> Windows:
        """Return inputs and targets of count windows from number window on: two int32 arrays (time, batch_size)."""
        start = window * self.seq_length
        stop = min(start + count * self.seq_length, self.length)
        where = np.arange(start, stop)[:, None] + self.length * np.arange(self.batch_size)
        exists = where < self.targets
        where[~exists] = 0
        targets = self.ids[where + 1].astype(np.int32)
        targets[~exists] = IGNORED
        return self.ids[where].astype(np.int32), targets


class RecordStream:
    """Records (names, domains, molecules ...), each a window of its own that begins with the zero state.

    The network reads the boundary symbol, then the record; its targets are the record, then the boundary. Batches are of batch_size
    records of similar length, in an order that depends on seed and epoch; what the last batch lacks, and what a record is shorter
    than seq_length, is IGNORED. ids has all records, one after the other, lengths (int64) the characters of each.
    """

    resets = True

    def __init__(self, ids: NDArray[Any], lengths: NDArray[np.int64], boundary: int, batch_size: int = 1, seed: int = 0) -> None:
        self.ids: NDArray[Any] = np.append(ids, ids.dtype.type(0))  # so that an empty last record has a place to point at
        self.lengths: NDArray[np.int64] = lengths
        self.boundary: int = boundary
        self.batch_size: int = batch_size
        self.seed: int = seed
        self.starts: NDArray[np.int64] = np.cumsum(lengths) - lengths
        self.targets: int = int(lengths.sum()) + len(lengths)
        self.seq_length: int = int(lengths.max()) + 1
        self.windows: int = -(-len(lengths) // batch_size)
        self.order: NDArray[np.int64] = np.arange(len(lengths))

    def begin(self, epoch: int) -> None:
        """Put the records into the order of this epoch."""
        n, B = len(self.lengths), self.batch_size
        self.order = permutation(n, self.seed, epoch)
        if B > 1:
            # Sorted by length within groups of batches, so that little is ignored; then the whole batches are shuffled.
            group = np.arange(n) // (16 * B)
            self.order = self.order[np.lexsort((self.lengths[self.order], group))]
            whole = n // B
            batches = self.order[: whole * B].reshape(whole, B)[permutation(whole, self.seed, epoch, 1)]
            self.order = np.concatenate([batches.ravel(), self.order[whole * B :]])

    def longest(self, window: int, count: int) -> int:
        """Return the time steps of each of these windows in `read`: those of the longest record among them, and its end."""
        return int(self.lengths[self.order[window * self.batch_size : (window + count) * self.batch_size]].max()) + 1

    def read(self, window: int, count: int) -> Windows:
        """Return inputs and targets of count windows from number window on: two int32 arrays (count * longest, batch_size)."""
        B = self.batch_size
        count = min(count, self.windows - window)
        chosen = self.order[window * B : (window + count) * B]
        starts, lengths = np.zeros(count * B, np.int64), np.full(count * B, -1)
        starts[: len(chosen)], lengths[: len(chosen)] = self.starts[chosen], self.lengths[chosen]
        start, length = starts.reshape(count, 1, B), lengths.reshape(count, 1, B)
        t = np.arange(self.longest(window, count))[:, None]
        targets = np.where(t < length, self.ids[np.where(t < length, start + t, 0)].astype(np.int32), IGNORED)
        targets[np.broadcast_to(t == length, targets.shape)] = self.boundary
        inputs = np.full_like(targets, self.boundary)
        inputs[:, 1:] = np.where(targets[:, :-1] == IGNORED, self.boundary, targets[:, :-1])
        return inputs.reshape(-1, B), targets.reshape(-1, B)


class DataReader:
    """The tutorial's reader: a text file as windows of ids. A context manager.

    Parameters
    ----------
    path : str or path-like
        A UTF-8 text file with at least two characters; a byte order mark is dropped, newlines are kept.
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
        self.seq_length: int = check_integer("seq_length", seq_length, 1)
        self.data: str = read_text(path)
        self.vocabulary: Vocabulary = Vocabulary.from_text(self.data)
        self.char_to_ix: dict[str, int] = {char: ix for ix, char in enumerate(self.vocabulary.chars)}
        self.ix_to_char: dict[int, str] = dict(enumerate(self.vocabulary.chars))
        self.data_size: int = len(self.data)
        self.vocab_size: int = len(self.vocabulary)
        self.ids: NDArray[Any] = self.vocabulary.encode(self.data, dtype=self.vocabulary.smallest_dtype)
        self.pointer: int = 0

    def next_batch(self) -> tuple[list[int], list[int]]:
        """Return the next window as two lists of ids, inputs and targets; the last window of a pass may be short."""
        end = min(self.pointer + self.seq_length, self.data_size - 1)
        inputs, targets = self.ids[self.pointer : end].tolist(), self.ids[self.pointer + 1 : end + 1].tolist()
        self.pointer = 0 if end == self.data_size - 1 else end
        return inputs, targets

    def just_started(self) -> bool:
        """Whether the next window is the first of a pass: time to reset the hidden state."""
        return self.pointer == 0

    def close(self) -> None:
        """Do nothing: the file was closed once read. Kept because the tutorial's reader has it."""

    def __enter__(self) -> "DataReader":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
