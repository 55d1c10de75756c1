"""What is trained on: a text or records as ids with their vocabulary, cut into streams."""

import itertools
import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from os import PathLike
from typing import Any, ClassVar, Literal, Self, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from ..network.learner import Learner
from ..util.errors import check_choice, check_flags, check_sequence, missing_value_hint, to_builtin
from ..util.hashing import sha256_of
from ..util.seeding import permutation
from .batches import Ids, RecordStream, StoredIds, Stream, TextStream, begins, smallest
from .record_index import RecordIndex
from .text import check_length
from .vocabulary import AnyText, Vocabulary, described, distinct

Alphabet: TypeAlias = Literal["characters", "bytes"]

_MEASURED = (
    1 << 18
)  # characters of the held-out part: what is measured after each pass should cost little beside it
# A network of so many operations a character reads its weights from beyond the second-level cache at each of them: four streams share that.
_LARGE, _AT_ONCE, _LONG = (
    1 << 18,
    4,
    1 << 12,
)  # but each stream has so many characters, as its first ones are surprising
_PIECE = 1 << 20  # characters of records that are encoded at a time
_SURROGATE = re.compile("[\ud800-\udfff]")


def choose_vocabulary(
    text: AnyText, alphabet: str, records: bool, known: Vocabulary | None, extend: bool
) -> Vocabulary:
    """Return the vocabulary of a new model of a text, or of one that goes on with it."""
    check_flags(extend=extend)
    return (
        _fresh_vocabulary(text, alphabet, records)
        if known is None
        else _grown_vocabulary(known, text, extend)
    )


def reads_bytes(alphabet: str, known: Vocabulary | None) -> bool:
    """Return whether texts are bytes, of a new model or of one with a vocabulary; or raise ValueError if there is no such alphabet."""
    return (
        check_choice("alphabet", alphabet, get_args(Alphabet)) == "bytes"
        if known is None
        else known.of_bytes
    )


def _fresh_vocabulary(text: AnyText, alphabet: str, records: bool) -> Vocabulary:
    return (
        Vocabulary.all_bytes(records)
        if alphabet == "bytes"
        else Vocabulary.from_text(text, records)
    )


def _grown_vocabulary(vocabulary: Vocabulary, text: AnyText, extend: bool) -> Vocabulary:
    """Return a vocabulary that knows text, the characters of the given one in front; or raise if that needs more than extend allows."""
    missing = vocabulary.missing(text)
    if missing and not extend:
        raise ValueError(
            f"the text has characters that the model does not know: {described(missing)}; extend=True adds them"
        )
    return vocabulary.extended(text) if missing else vocabulary


@dataclass
class Text:
    """A text as ids, and its streams; called is when training was asked for, as a budget of seconds counts the encoding."""

    vocabulary: Vocabulary
    ids: Ids
    called: float
    index: ClassVar[None] = None  # a text has no records to remember

    @classmethod
    def of(
        cls,
        text: AnyText,
        alphabet: str = "characters",
        known: Vocabulary | None = None,
        extend: bool = False,
    ) -> Self:
        """Encode a text (str or bytes); known is the vocabulary of a model that goes on with it, which extend lets grow."""
        called = time.perf_counter()
        of_bytes = reads_bytes(alphabet, known)
        text = check_length("text", _check_type("text", text, of_bytes))
        vocabulary = choose_vocabulary(text, alphabet, False, known, extend)
        return cls(vocabulary, vocabulary.encode(text, dtype=vocabulary.smallest_dtype), called)

    def sha256(self) -> str:
        """Return the SHA-256 of the ids."""
        return sha256_of(_pieces(self.ids))

    def streams(self, learner: Learner, fraction: float, seed: int) -> tuple[Stream, Stream | None]:
        """Return what to train on and what is held out: the end of the text, or None if that would leave less than two characters."""
        held_out = int(len(self.ids) * fraction)
        if held_out < 2 or len(self.ids) - held_out < 2:
            return TextStream(self.ids, learner.seq_length, learner.batch_size), None
        cut = len(self.ids) - held_out
        measured = self.ids[cut : cut + _MEASURED]
        large = (
            learner.network.description.operations >= _LARGE and len(measured) > _AT_ONCE * _LONG
        )
        rest = TextStream(measured, 256, _AT_ONCE if large else 1)
        return TextStream(self.ids[:cut], learner.seq_length, learner.batch_size), rest


@dataclass
class Records:
    """Records as ids, one after the other, and their streams; index is of the records, if they are to be remembered."""

    vocabulary: Vocabulary
    ids: Ids
    lengths: NDArray[np.signedinteger[Any]]
    index: RecordIndex | None
    called: float

    @classmethod
    def of(
        cls,
        strings: Iterable[AnyText],
        alphabet: str = "characters",
        known: Vocabulary | None = None,
        extend: bool = False,
        remember: bool = False,
    ) -> Self:
        """Encode records; the parameters are those of `Text.of`, and remember: whether to keep an index of the records."""
        called = time.perf_counter()
        if isinstance(strings, (str, PathLike)) and os.path.isfile(strings):
            how = "pathlib.Path(name).read_text(encoding='utf-8').splitlines() has its lines"
            raise TypeError(f"strings must be a sequence of str, not the name of a file: {how}")
        strings = check_sequence("strings", strings, "text.splitlines() has the lines of a text")
        of_bytes = reads_bytes(alphabet, known)
        for i, string in enumerate(strings):
            if not isinstance(string, bytes if of_bytes else str):
                _check_type(f"strings[{i}]", string, of_bytes)
        if not any(strings):
            raise ValueError(
                f"strings has {len(strings)} records and no character in them; training needs at least 1"
            )
        empty: AnyText = b"" if of_bytes else ""
        chars = empty if of_bytes else _distinct(strings)
        vocabulary = choose_vocabulary(chars, alphabet, True, known, extend)
        length = (
            bytes.__len__ if of_bytes else str.__len__
        )  # what is joined, whatever the class of a string says of it
        lengths = np.empty(len(strings), np.int64)
        for first in range(0, len(strings), _PIECE):  # Ctrl-C waits for no more
            some = strings[first : first + _PIECE]
            lengths[first : first + _PIECE] = np.fromiter(map(length, some), np.int64, len(some))
        ids = np.empty(lengths.sum(), vocabulary.smallest_dtype)
        lengths = lengths.astype(smallest(int(lengths.max())))
        start = 0
        for text in _joined(strings, empty):
            ids[start : start + len(text)] = vocabulary.encode(text, dtype=ids.dtype)
            start += len(text)
        return cls(vocabulary, ids, lengths, RecordIndex.of(strings) if remember else None, called)

    def sha256(self) -> str:
        """Return the SHA-256 of lengths and ids."""
        lengths = (
            self.lengths[start : start + _PIECE].astype("<i8")
            for start in range(0, len(self.lengths), _PIECE)
        )
        return sha256_of(itertools.chain(lengths, _pieces(self.ids)))

    def streams(self, learner: Learner, fraction: float, seed: int) -> tuple[Stream, Stream | None]:
        """Return what to train on and what is held out: the last records of a shuffled order, or None if there would be none."""
        n, starts = len(self.lengths), begins(self.lengths)
        order = permutation(n, seed)

        def stream(chosen: NDArray[np.signedinteger[Any]], batch_size: int) -> Stream:
            return RecordStream(
                self.ids,
                self.lengths[chosen],
                len(self.vocabulary),
                batch_size,
                seed,
                learner.seq_length,
                starts=starts[chosen],
            )

        held_out = int(n * fraction)
        train, rest = order[: n - held_out], order[n - held_out :]
        rest = rest[
            : max(
                1,
                np.searchsorted(
                    np.cumsum(self.lengths[rest] + 1, dtype=np.int64), _MEASURED, "right"
                ),
            )
        ]
        rest = rest[np.argsort(self.lengths[rest], kind="stable")]  # batches of like length
        return stream(train, learner.batch_size), stream(rest, 64) if held_out else None


def _joined(strings: list[AnyText], empty: AnyText) -> Iterator[AnyText]:
    """Yield all of them as one text, piece by piece: as a whole it would take four bytes a character where one has a rare one."""
    first, characters = 0, 0
    for i, string in enumerate(strings):
        characters += len(string)
        if characters >= _PIECE or i == len(strings) - 1:
            text = empty.join(strings[first : i + 1])
            yield from (text[start : start + _PIECE] for start in range(0, len(text), _PIECE))
            first, characters = i + 1, 0


def _distinct(strings: list[AnyText]) -> str:
    """Return the distinct characters of records; or raise ValueError that names the record with what is none."""
    try:
        return distinct(_joined(strings, ""))
    except ValueError:
        place, string = next(found for found in enumerate(strings) if _SURROGATE.search(found[1]))
        return distinct([string], f"strings[{place}]")  # raises


def _pieces(ids: Ids) -> Iterator[NDArray[Any]]:
    """Yield ids, those in a file some at a time."""
    return ids.pieces() if isinstance(ids, StoredIds) else iter([ids])


def _check_type(name: str, text: AnyText, of_bytes: bool) -> AnyText:
    if isinstance(text, bytes if of_bytes else str):
        return to_builtin(text)
    instead = missing_value_hint(text)
    if isinstance(text, bytes):
        instead = ": alphabet='bytes' trains on bytes"
    elif isinstance(text, PathLike):
        instead = ": train_file trains on a file"
    elif hasattr(text, "read"):
        instead = ": give what is read of it, or train_file its name"
    elif name == "text" and isinstance(text, Iterable):
        instead = ": train_records trains on records, one by one"
    raise TypeError(
        f"{name} must be {'bytes' if of_bytes else 'a str'}, not {type(text).__name__}{instead}"
    )
