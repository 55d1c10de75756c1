"""What is trained on: a text or records as ids with their vocabulary, cut into streams."""

import itertools
import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any, ClassVar, Literal, Self, TypeAlias, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from ..network.learner import Learner
from ..util.errors import check_choice, check_flags, check_sequence, check_text
from ..util.hashing import sha256
from ..util.seeding import permutation
from .batches import (
    Ids,
    RecordStream,
    Stream,
    TextStream,
    begins,
    gapped,
    in_pieces,
    joined,
    mapped,
    smallest,
)
from .record_index import RecordIndex
from .text import check_length
from .vocabulary import AnyText, Vocabulary, described, distinct

_Source = TypeVar("_Source", bound="Text | Records")
Alphabet: TypeAlias = Literal["characters", "bytes"]

# Characters that are measured after each pass: that should cost little beside the pass.
_MEASURED = 1 << 18
# A network with so many operations per character reads its weights from beyond the second-level
# cache each time: four streams share that. The first characters of a stream are surprising, so
# each should have this many.
_LARGE, _AT_ONCE, _LONG = 1 << 18, 4, 1 << 12
_MOST_TIMES = 8  # of a few strings beside many old ones: more would be learned by heart
_PIECE = 1 << 20  # characters of records that are encoded at a time
_SURROGATE = re.compile("[\ud800-\udfff]")


def reads_bytes(alphabet: str, known: Vocabulary | None) -> bool:
    """Return whether a model with this vocabulary, or a new one, is of bytes; or raise."""
    if known is not None:
        return known.of_bytes
    return check_choice("alphabet", alphabet, get_args(Alphabet)) == "bytes"


def choose_vocabulary(
    text: AnyText, alphabet: str, records: bool, known: Vocabulary | None, extend: bool
) -> Vocabulary:
    """Return the vocabulary of a new model of a text, or of one that trains further on it."""
    check_flags(extend=extend)
    if known is None:
        bytes_ = alphabet == "bytes"
        return Vocabulary.all_bytes(records) if bytes_ else Vocabulary.from_text(text, records)
    missing = known.missing(text)
    if missing and not extend:
        what = f"the text has characters that the model does not know: {described(missing)}"
        raise ValueError(f"{what}; extend=True adds them")
    return known.extended(missing) if missing else known


@dataclass
class Text:
    """A text as ids, and its streams. called is when training began: encoding counts as such."""

    vocabulary: Vocabulary
    ids: Ids
    called: float
    old: "Text | None" = None  # to rehearse: trained on, too, but not held out or counted
    index: ClassVar[None] = None  # a text has no records to remember
    records: ClassVar[int] = 0
    empty_records: ClassVar[bool] = False

    @property
    def characters(self) -> int:
        """How many characters the text has."""
        return len(self.ids)

    @classmethod
    def from_text(
        cls,
        text: AnyText,
        alphabet: str = "characters",
        known: Vocabulary | None = None,
        extend: bool = False,
    ) -> Self:
        """Encode a str, or bytes. known is the vocabulary of a model that trains further."""
        called = time.perf_counter()
        of_bytes = reads_bytes(alphabet, known)
        text = check_length("text", _check_type("text", text, of_bytes))
        vocabulary = choose_vocabulary(text, alphabet, False, known, extend)
        return cls(vocabulary, vocabulary.encode(text, dtype=vocabulary.smallest_dtype), called)

    def sha256(self) -> str:
        """Return the SHA-256 of the ids, and of those to rehearse."""
        return _with_digest(sha256(in_pieces(self.ids)), self.old)

    def with_old(self, stream: Stream, learner: Learner, seed: int) -> Stream:
        """Return a stream of what is to be rehearsed, and after it this text, perhaps repeated."""
        if self.old is None:
            return stream
        assert isinstance(stream, TextStream)
        ids = joined(self.old.ids, stream.ids, times(self))
        return TextStream(ids, learner.seq_length, learner.batch_size)

    def streams(
        self, learner: Learner, fraction: float, seed: int, pieces: int = 1
    ) -> tuple[Stream, Stream | None]:
        """Return what to train on and what is held out, or None.

        That is the end of the text, or pieces, each at the end of as many equal parts. Nothing is
        held out where one of the two would have fewer than two characters for each piece.
        """
        held_out = int(len(self.ids) * fraction) // pieces
        keep = len(self.ids) // pieces - held_out
        if held_out < 2 or keep < 2:
            return TextStream(self.ids, learner.seq_length, learner.batch_size), None
        kept = gapped(self.ids, keep, held_out, pieces) if pieces > 1 else self.ids[:-held_out]
        train = TextStream(kept, learner.seq_length, learner.batch_size)
        return train, self._held_out(learner, keep, held_out, pieces)

    def _held_out(self, learner: Learner, keep: int, length: int, pieces: int) -> TextStream:
        """Return the first characters of what is held out: each piece is a stream."""
        measured = min(length, _MEASURED // pieces)
        if pieces > 1:
            starts = (keep + length) * np.arange(pieces) + keep
            held_out = self.ids[starts + np.arange(measured)[:, None]]  # a column is a piece
            return TextStream(held_out.T.reshape(-1), 256, pieces)
        large = learner.network.description.operations >= _LARGE
        streams = _AT_ONCE if large and measured > _AT_ONCE * _LONG else 1
        start = len(self.ids) - length
        return TextStream(self.ids[start : start + measured], 256, streams)


@dataclass
class Records:
    """Records as ids, one after the other, and their streams. index is None or of all records."""

    vocabulary: Vocabulary
    ids: Ids
    lengths: NDArray[np.signedinteger[Any]]
    index: RecordIndex | None
    called: float
    old: "Records | None" = None  # to rehearse: trained on, too, but not held out or counted

    @property
    def records(self) -> int:
        """How many records there are."""
        return len(self.lengths)

    @property
    def characters(self) -> int:
        """How many characters the records have, with the end of each."""
        return len(self.ids) + len(self.lengths)

    @classmethod
    def from_strings(
        cls,
        strings: Iterable[AnyText],
        alphabet: str = "characters",
        known: Vocabulary | None = None,
        extend: bool = False,
        remember: bool = False,
    ) -> Self:
        """Encode records; see `Text.from_text`. remember: whether to make an index of them."""
        called = time.perf_counter()
        of_bytes = reads_bytes(alphabet, known)
        strings = _check_records(strings, of_bytes)
        empty: AnyText = b"" if of_bytes else ""
        chars = empty if of_bytes else _distinct(strings)
        vocabulary = choose_vocabulary(chars, alphabet, True, known, extend)
        lengths = _lengths(strings, of_bytes)
        ids, start = np.empty(lengths.sum(), vocabulary.smallest_dtype), 0
        lengths = lengths.astype(smallest(int(lengths.max())))
        for text in _joined(strings, empty):
            ids[start : start + len(text)] = vocabulary.encode(text, dtype=ids.dtype)
            start += len(text)
        index = RecordIndex.from_records(strings) if remember else None
        return cls(vocabulary, ids, lengths, index, called)

    @property
    def empty_records(self) -> bool:
        """Whether any of them is empty."""
        return bool((self.lengths == 0).any())

    def sha256(self) -> str:
        """Return the SHA-256 of lengths and ids, and of those to rehearse."""
        starts = range(0, len(self.lengths), _PIECE)
        lengths = (self.lengths[start : start + _PIECE].astype("<i8") for start in starts)
        return _with_digest(sha256(itertools.chain(lengths, in_pieces(self.ids))), self.old)

    def with_old(self, stream: Stream, learner: Learner, seed: int) -> Stream:
        """Return a stream of these records, perhaps repeated, and those to be rehearsed."""
        if self.old is None:
            return stream
        assert isinstance(stream, RecordStream)
        ids = np.concatenate([*in_pieces(self.ids), *in_pieces(self.old.ids)])
        often = times(self)
        lengths = np.concatenate([*[stream.lengths] * often, self.old.lengths])
        old_starts = begins(self.old.lengths).astype(np.int64) + len(self.ids)
        starts = np.concatenate([*[stream.starts] * often, old_starts])
        V, B, T = len(self.vocabulary), learner.batch_size, learner.seq_length
        return RecordStream(ids, lengths, V, B, seed, T, starts=starts)

    def streams(
        self, learner: Learner, fraction: float, seed: int, pieces: int = 1
    ) -> tuple[Stream, Stream | None]:
        """Return what to train on and what is held out: the last of a shuffled order, or None.

        pieces are of a text, and make no difference here.
        """
        n, starts = len(self.lengths), begins(self.lengths)
        order, V, T = permutation(n, seed), len(self.vocabulary), learner.seq_length

        def stream(chosen: NDArray[np.signedinteger[Any]], batch_size: int) -> Stream:
            lengths, first = self.lengths[chosen], starts[chosen]
            return RecordStream(self.ids, lengths, V, batch_size, seed, T, starts=first)

        held_out = int(n * fraction)
        train = stream(order[: n - held_out], learner.batch_size)
        if not held_out:
            return train, None
        rest = order[n - held_out :]
        sizes = np.cumsum(self.lengths[rest] + 1, dtype=np.int64)
        rest = rest[: max(1, np.searchsorted(sizes, _MEASURED, "right"))]
        rest = rest[np.argsort(self.lengths[rest], kind="stable")]  # batches of like length
        return train, stream(rest, 64)


def character_counts(source: Text | Records) -> NDArray[np.int64]:
    """Return how often each character of the vocabulary occurs."""
    counts = np.zeros(len(source.vocabulary), np.int64)
    for ids in in_pieces(source.ids):
        counts += np.bincount(ids, minlength=len(counts))
    return counts


def with_rare(source: _Source, least: int, known: int = 0) -> _Source:
    """Return a source in which characters that occur less often share one symbol.

    The first known characters stay as they are: a model that trains further has learned them.
    """
    if least == 1:
        return source
    if source.vocabulary.of_bytes:
        raise ValueError("min_char_count is of characters, and these are bytes")
    counts, chars = character_counts(source), source.vocabulary.chars
    rare = "".join(chars[i] for i in np.flatnonzero(counts < least) if i >= known)
    if not rare:
        return source
    vocabulary = source.vocabulary.with_rare(rare)
    if len(vocabulary) == 1:
        raise ValueError(f"no character occurs min_char_count={least} times: lower it")
    table = vocabulary.lookup(chars).astype(vocabulary.smallest_dtype)
    old: Any = source.old and _mapped(source.old, vocabulary, table)
    return replace(_mapped(source, vocabulary, table), old=old)


def _mapped(source: _Source, vocabulary: Vocabulary, table: NDArray[Any]) -> _Source:
    return replace(source, vocabulary=vocabulary, ids=mapped(source.ids, table))


def _with_digest(own: str, old: Text | Records | None) -> str:
    """Return the digest of a text and, if there is one, of what it is rehearsed with."""
    if old is None:
        return own
    return sha256([np.frombuffer((own + old.sha256()).encode(), np.uint8)])


def times(new: Text | Records) -> int:
    """Return how often to read what is new in a pass, so that it is about as long as the old."""
    old = 0 if new.old is None else new.old.characters
    return min(max(1, old // new.characters), _MOST_TIMES)


def _check_records(strings: Any, of_bytes: bool) -> list[AnyText]:
    """Return strings as a list, or raise TypeError or ValueError that names the wrong one."""
    if isinstance(strings, (str, PathLike)) and os.path.isfile(strings):
        how = "pathlib.Path(name).read_text(encoding='utf-8').splitlines() has its lines"
        raise TypeError(f"strings must be a sequence of str, not the name of a file: {how}")
    known = check_sequence("strings", strings, "text.splitlines() has the lines of a text")
    for i, string in enumerate(known):
        if not isinstance(string, bytes if of_bytes else str):
            _check_type(f"strings[{i}]", string, of_bytes)
    if not any(known):
        what = f"strings has {len(known)} records and no character in them"
        raise ValueError(f"{what}; training needs at least 1")
    return known


def _lengths(strings: list[AnyText], of_bytes: bool) -> NDArray[np.signedinteger[Any]]:
    # What is joined, whatever the class of a string says of its length.
    length = bytes.__len__ if of_bytes else str.__len__
    lengths = np.empty(len(strings), np.int64)
    for first in range(0, len(strings), _PIECE):  # Ctrl-C waits for no more
        some = strings[first : first + _PIECE]
        lengths[first : first + _PIECE] = np.fromiter(map(length, some), np.int64, len(some))
    return lengths


def _joined(strings: list[AnyText], empty: AnyText) -> Iterator[AnyText]:
    """Yield strings as one text in pieces: one rare character makes a str four times as large."""
    first, characters = 0, 0
    for i, string in enumerate(strings):
        characters += len(string)
        if characters >= _PIECE or i == len(strings) - 1:
            text = empty.join(strings[first : i + 1])
            yield from (text[start : start + _PIECE] for start in range(0, len(text), _PIECE))
            first, characters = i + 1, 0


def _distinct(strings: list[AnyText]) -> str:
    """Return the distinct characters of records; or raise ValueError that names a wrong record."""
    try:
        return distinct(_joined(strings, ""))
    except ValueError:
        place, string = next(found for found in enumerate(strings) if _SURROGATE.search(found[1]))
        return distinct([string], f"strings[{place}]")  # raises


def _check_type(name: str, text: AnyText, of_bytes: bool) -> AnyText:
    """Return a plain str, or bytes, or raise TypeError that says what to do."""
    instead = ""
    if isinstance(text, bytes):
        instead = ": alphabet='bytes' trains on bytes"
    elif isinstance(text, PathLike):
        instead = ": train_file trains on a file"
    elif hasattr(text, "read"):
        instead = ": give what is read of it, or train_file its name"
    elif name == "text" and isinstance(text, Iterable):
        instead = ": train_records trains on records, one by one"
    return check_text(name, text, of_bytes, instead=instead)
