"""Characters to ids and back."""

import codecs
import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ..network._types import check_ids, look_up
from ..util.errors import check_choice, check_text, to_builtin

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # with a default, as Python has from 3.13 on

    TextT = TypeVar("TextT", bound=str | bytes, default=str)
else:
    from typing import TypeVar

    TextT = TypeVar("TextT")

AnyText: TypeAlias = Any  # str, or bytes where the vocabulary is of bytes
OnUnknown: TypeAlias = Literal["error", "skip"]  # what to do about unknown characters

_PIECE = 1 << 20  # characters at a time: a large text needs little memory beside its ids
_CODE_POINTS = 0x110000
_SHOWN = 8  # characters in a message
_BYTES = "".join(map(chr, range(256)))
_ON_UNKNOWN = get_args(OnUnknown)
_RARE = "\ufffd"  # the replacement character stands for rare ones


def described(chars: Iterable[str]) -> str:
    """Return the first characters with their code points, as 'é' (U+00E9), invisible ones named."""
    import unicodedata  # imported here to keep `import charrnn` fast

    def describe(char: str) -> str:
        seen = char.isprintable() and not unicodedata.combining(char) and not char.isspace()
        shown = repr(char) if seen else unicodedata.name(char, ascii(char))
        return f"{shown} (U+{ord(char):04X})"

    chars = list(chars)
    more = f" and {len(chars) - _SHOWN} more" if len(chars) > _SHOWN else ""
    return ", ".join(map(describe, chars[:_SHOWN])) + more


def _pieces(text: str | bytes) -> Iterator[tuple[int, NDArray[np.uint32]]]:
    """Yield the place and the code points, uint32, of consecutive pieces of a text."""
    for start in range(0, len(text), _PIECE):
        piece = text[start : start + _PIECE]
        if isinstance(piece, bytes):
            yield start, np.frombuffer(piece, np.uint8).astype("<u4")
        else:
            yield start, np.frombuffer(piece.encode("utf-32-le", "surrogatepass"), "<u4")


def distinct(texts: Iterable[str], name: str = "text") -> str:
    """Return the distinct characters of texts in order of code point. Errors call a text name."""
    seen = np.zeros(_CODE_POINTS, dtype=bool)
    for text in texts:
        text = check_text(name, text)
        for start, codes in _pieces(text):
            seen[codes] = True
            if seen[0xD800:0xE000].any():
                where = start + int(np.argmax((codes >= 0xD800) & (codes <= 0xDFFF)))
                why = "a lone surrogate, which is not a character and cannot be saved"
                raise ValueError(f"{name}[{where}] = {text[where]!r} is {why}")
    return "".join(map(chr, np.flatnonzero(seen)))


class Vocabulary:
    """The characters that a model knows; the id of a character is its place. Immutable.

    Parameters
    ----------
    chars : iterable of str
        Distinct characters (Unicode code points, no surrogates), at least one, in the order of
        their ids, so no set. `from_text` puts them in order of code point.
    records : bool, default False
        Whether there is one more symbol, with the id len(self): the boundary before and after a
        record, which no text contains.
    of_bytes : bool, default False
        Whether texts are bytes instead of str. chars must then be U+0000 to U+00FF, so that the id
        of a byte is its value.
    rare : str
        More characters, which share the id of U+FFFD, the replacement character: one of chars, by
        which they are decoded, and which a model never writes.

    Raises
    ------
    ValueError
        If chars is empty, or has a surrogate, or a character twice, and so of rare.
    TypeError
        If chars is a set, or has something other than str.

    Examples
    --------
    >>> vocabulary = Vocabulary.from_text("hello")
    >>> vocabulary.chars
    'ehlo'
    >>> vocabulary.encode("hole").tolist()
    [1, 3, 2, 0]
    >>> vocabulary.decode([1, 3, 2, 0])
    'hole'
    >>> vocabulary.encode("help", on_unknown="skip").tolist()
    [1, 0, 2]
    """

    def __init__(
        self,
        chars: Iterable[str],
        records: bool = False,
        of_bytes: bool = False,
        rare: Iterable[str] = "",
    ) -> None:
        self.records: bool = bool(records)
        self.of_bytes: bool = bool(of_bytes)
        self._chars = _joined(chars)
        self._rare = _joined([self._chars, *rare])[len(self._chars) :]
        if self.of_bytes and self._chars + self._rare != _BYTES:
            raise ValueError("a vocabulary of bytes has all 256 of them, in order")
        if self._rare and _RARE not in self._chars:
            raise ValueError("chars must have U+FFFD, which stands for rare characters")
        codes = np.array([ord(char) for char in self._chars + self._rare], dtype=np.int64)
        self._codes = codes[: len(self._chars)].astype("<u4")
        # The id of each code point; the last entry is of all larger ones.
        self._table = np.full(codes.max() + 2, -1, dtype=np.int32)
        self._table[codes[len(self._chars) :]] = self._chars.find(_RARE)
        self._table[self._codes] = np.arange(len(self._chars))

    @classmethod
    def from_text(cls, text: str, records: bool = False) -> "Vocabulary":
        """Return the vocabulary of all characters in text, in order of code point."""
        return cls(distinct([text]), records)

    @classmethod
    def all_bytes(cls, records: bool = False) -> "Vocabulary":
        """Return the vocabulary of texts that are bytes: all 256 values."""
        return cls(_BYTES, records, of_bytes=True)

    def extended(self, text: str) -> "Vocabulary":
        """Return a vocabulary that also knows the characters of text; new ids follow old ones."""
        return Vocabulary(self._chars + self.missing(text), self.records, self.of_bytes, self.rare)

    def with_rare(self, rare: str) -> "Vocabulary":
        """Return a vocabulary in which these characters, too, share the id of U+FFFD."""
        moved = {*rare} - {_RARE}
        kept = "".join(char for char in self._chars if char not in moved)
        kept += _RARE if _RARE not in kept else ""
        return Vocabulary(kept, self.records, self.of_bytes, sorted({*self._rare, *moved}))

    def missing(self, text: AnyText) -> str:
        """Return the distinct characters of text that are unknown, in order of code point."""
        if self.of_bytes:
            return ""
        chars = distinct([text])
        return "".join(chars[i] for i in np.flatnonzero(self.lookup(chars) < 0))

    @property
    def chars(self) -> str:
        """All characters, as one str in the order of their ids."""
        return self._chars

    @property
    def rare(self) -> str:
        """The characters that share the id of U+FFFD, in order of code point."""
        return self._rare

    @property
    def rare_id(self) -> int:
        """The id that rare characters share, or -2 if there are none."""
        return self._chars.index(_RARE) if self._rare else -2

    def rare_nats(self, ids: NDArray[Any]) -> NDArray[np.float64]:
        """Return what each id costs beyond its symbol: rare characters are equally probable."""
        return np.where(ids == self.rare_id, math.log(len(self._rare) + 1), 0.0)

    @property
    def empty(self) -> AnyText:
        """The text without characters: "" or b""."""
        return b"" if self.of_bytes else ""

    def check(self, name: str, text: AnyText) -> AnyText:
        """Return text as a plain str or bytes, or raise TypeError if it is of the other type."""
        why = ", as in the training of this model" if self.of_bytes else ""
        return check_text(name, text, self.of_bytes, why)

    def lookup(self, text: str | bytes) -> NDArray[np.int32]:
        """Return the id of each character of text, -1 if it is unknown: int32."""
        return self.ids_and_unknown(text)[0]

    def ids_and_unknown(self, text: str | bytes) -> tuple[NDArray[np.int32], int]:
        """Return the ids of `lookup`, and how many characters are unknown."""
        text = to_builtin(text)
        if len(text) <= _PIECE:
            return look_up(text, self._table)
        ids, unknown = np.empty(len(text), np.int32), 0
        for start in range(0, len(text), _PIECE):
            piece, missing = look_up(text[start : start + _PIECE], self._table)
            ids[start : start + len(piece)] = piece
            unknown += missing
        return ids, unknown

    def of_codes(self, codes: NDArray[Any]) -> NDArray[np.int32]:
        """Return the id of each code point, -1 if it is unknown."""
        places = np.minimum(codes.astype(np.uint32, copy=False), len(self._table) - 1)
        ids: NDArray[np.int32] = self._table[places]
        return ids

    def encode(
        self,
        text: str | bytes,
        *,
        dtype: DTypeLike = np.int32,
        name: str = "text",
        on_unknown: OnUnknown = "error",
    ) -> NDArray[Any]:
        """Return the id of each character.

        Parameters
        ----------
        text : str, or bytes if the vocabulary is of bytes
        dtype : numpy dtype, default int32
            An integer type that holds every id.
        name : str
            What errors call the text.
        on_unknown : {"error", "skip"}
            What to do about a character that is not in the vocabulary.

        Returns
        -------
        ndarray (len(text),) of dtype, shorter by the characters skipped
            Ids in [0, len(self)).

        Raises
        ------
        ValueError
            If a character is unknown (the message has its place, and all such characters), or dtype
            does not hold every id.
        """
        skip = check_choice("on_unknown", on_unknown, _ON_UNKNOWN) == "skip"
        if dtype is not np.int32:
            kind, largest = np.dtype(dtype), len(self) - 1
            if kind.kind not in "iu" or np.iinfo(kind).max < largest:
                raise ValueError(f"dtype must be an integer type that holds {largest}, not {kind}")
        text = self.check(name, text)
        if dtype is np.int32 and len(text) <= _PIECE:
            return self._known(name, text, text, 0, skip)
        ids, end = np.empty(len(text), dtype=dtype), 0
        for start in range(0, len(text), _PIECE):
            piece = self._known(name, text, text[start : start + _PIECE], start, skip)
            ids[end : end + len(piece)] = piece
            end += len(piece)
        return ids[:end]

    def _known(
        self, name: str, text: AnyText, piece: AnyText, start: int, skip: bool
    ) -> NDArray[np.int32]:
        """Return the ids of the piece of a text that begins at start, without unknown characters.

        Or raise ValueError if there are any, and they are not to be skipped.
        """
        ids, unknown = look_up(piece, self._table)
        if unknown and not skip:
            raise ValueError(self._unknown(name, text, start + int(np.argmax(ids < 0))))
        return ids[ids >= 0] if unknown else ids

    def _unknown(self, name: str, text: AnyText, where: int) -> str:
        """Return the message that text[where], and perhaps others, are unknown."""
        others = sorted({*text} - {*self._chars, *self._rare, text[where]})
        nor = f", nor {'are' if len(others) > 1 else 'is'} {described(others)}" if others else ""
        what = f"{name}[{where}] = {described(text[where])}"
        known = f"the {len(self)} characters of this vocabulary"
        return f"{what} is not among {known}{nor}; on_unknown='skip' leaves out what is not"

    def decode(self, ids: ArrayLike) -> AnyText:
        """Return the text of ids, each in [0, len(self)); otherwise raise IndexError."""
        ids = np.asarray(ids)
        if ids.size == 0:
            return self.empty
        if ids.dtype.kind not in "iu" or ids.ndim != 1:
            kind = f"{ids.dtype} of shape {ids.shape}"
            raise TypeError(f"ids must be a sequence of integers, not {kind}")
        ids = check_ids("ids", ids, 0, len(self), (None,))
        if self.of_bytes:
            return ids.astype(np.uint8).tobytes()
        return codecs.utf_32_le_decode(self._codes.take(ids).tobytes())[0]

    @property
    def smallest_dtype(self) -> np.dtype[Any]:
        """The smallest unsigned integer type that holds every id."""
        return np.min_scalar_type(self.symbols - 1)

    @property
    def symbols(self) -> int:
        """Characters, and the boundary of records if there is one: the network's vocab_size."""
        return len(self) + self.records

    def __len__(self) -> int:
        return len(self._chars)

    def __contains__(self, char: str) -> bool:
        return len(char) == 1 and (char in self._chars or char in self._rare)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[str, bool, bool, str]:
        return self._chars, self.records, self.of_bytes, self._rare

    def __repr__(self) -> str:
        if self.of_bytes:
            return "Vocabulary.all_bytes()"
        shown = self._chars if len(self) <= 40 else self._chars[:37] + "..."
        rare = f", and {len(self._rare)} rare ones" if self._rare else ""
        return f"Vocabulary({shown!r}, {len(self)} characters{rare})"


def _joined(chars: Iterable[str]) -> str:
    """Return the characters of a vocabulary as one str, or raise."""
    wrong = f"chars must be a str, or characters, not {type(chars).__name__}"
    if isinstance(chars, (set, frozenset)):  # its order, and so the ids, differ between processes
        raise TypeError(f"{wrong}: sorted(...) puts them in an order")
    try:
        joined = "".join(chars)
    except TypeError as error:
        raise TypeError(f"{wrong}: {error}") from error
    if not joined:
        raise ValueError("a vocabulary needs at least one character")
    if len(set(joined)) < len(joined):
        how = "Vocabulary.from_text takes any text"
        raise ValueError(f"the characters of a vocabulary must be distinct; {how}")
    for char in joined:
        if "\ud800" <= char <= "\udfff":
            raise ValueError(f"U+{ord(char):04X} is a surrogate, which is not a character")
    return joined
