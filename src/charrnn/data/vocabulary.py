"""Characters to ids and back."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ..util.errors import check_choice, check_text, missing_value_hint, to_builtin

if TYPE_CHECKING:
    from typing_extensions import (
        TypeVar,  # a type checker knows it; a default of a type variable is Python 3.13's
    )

    TextT = TypeVar("TextT", bound=str | bytes, default=str)
else:
    from typing import TypeVar

    TextT = TypeVar("TextT")

AnyText: TypeAlias = Any  # str, or bytes where the vocabulary is of bytes
OnUnknown: TypeAlias = Literal[
    "error", "skip"
]  # what to do about characters that are not in the vocabulary

_PIECE = (
    1 << 20
)  # characters handled at a time, so that encoding a large text needs little memory beside the result
_CODE_POINTS = 0x110000
_SHOWN = 8  # characters in a message


_BYTES = "".join(map(chr, range(256)))


def described(chars: Iterable[str]) -> str:
    """Return characters with their code points, some of them if they are many: 'é' (U+00E9); what cannot be seen alone by its name."""
    import unicodedata  # here: importing charrnn should cost little

    def one(char: str) -> str:
        seen = char.isprintable() and not unicodedata.combining(char) and not char.isspace()
        shown = repr(char) if seen else unicodedata.name(char, ascii(char))
        return f"{shown} (U+{ord(char):04X})"

    chars = list(chars)
    return ", ".join(map(one, chars[:_SHOWN])) + (
        f" and {len(chars) - _SHOWN} more" if len(chars) > _SHOWN else ""
    )


def _pieces(text: str | bytes) -> Iterator[tuple[int, NDArray[np.uint32]]]:
    """Yield (position, code points as uint32) of consecutive pieces of a str, or of bytes."""
    for start in range(0, len(text), _PIECE):
        piece = text[start : start + _PIECE]
        if isinstance(piece, bytes):
            yield start, np.frombuffer(piece, np.uint8).astype("<u4")
        else:
            yield start, np.frombuffer(piece.encode("utf-32-le", "surrogatepass"), "<u4")


def distinct(texts: Iterable[str], name: str = "text") -> str:
    """Return the distinct characters of texts in order of code point; name is what to call one in an error."""
    seen = np.zeros(_CODE_POINTS, dtype=bool)
    for text in texts:
        text = check_text(name, text)
        for start, codes in _pieces(text):
            seen[codes] = True
            if seen[0xD800:0xE000].any():
                where = start + int(np.argmax((codes >= 0xD800) & (codes <= 0xDFFF)))
                raise ValueError(
                    f"{name}[{where}] = {text[where]!r} is a lone surrogate, which is not a character and cannot be saved"
                )
    return "".join(map(chr, np.flatnonzero(seen)))


class Vocabulary:
    """The characters a model knows; the id of a character is its place. Immutable.

    Parameters
    ----------
    chars : iterable of str
        Distinct characters (Unicode code points, no surrogates), at least one, in an order, as ids are places: no set. `from_text` puts
        them in order of code point.
    records : bool, default False
        Whether there is one symbol more, with the id len(self): the boundary before and after a record, which no text can contain.
    of_bytes : bool, default False
        Whether texts are bytes instead of str; chars then are U+0000 to U+00FF, so that an id is the value of a byte.

    Raises
    ------
    ValueError
        If there is no character, or one is a surrogate, or two are the same.
    TypeError
        If chars is a set, or holds something else than str.

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

    def __init__(self, chars: Iterable[str], records: bool = False, of_bytes: bool = False) -> None:
        self.records: bool = bool(records)
        self.of_bytes: bool = bool(of_bytes)
        if isinstance(
            chars, (set, frozenset)
        ):  # whose order differs between processes, and with it the ids
            raise TypeError(
                f"chars must be a str, or characters, not {type(chars).__name__}: sorted(...) puts them in an order"
            )
        try:
            self._chars = "".join(chars)
        except TypeError as error:
            raise TypeError(
                f"chars must be a str, or characters, not {type(chars).__name__}: {error}"
            ) from error
        codes = np.array([ord(char) for char in self._chars], dtype=np.int64)
        if not len(codes):
            raise ValueError("a vocabulary needs at least one character")
        if len(set(self._chars)) < len(codes):  # np.unique would import numpy.ma: 20 ms
            raise ValueError(
                "the characters of a vocabulary must be distinct; Vocabulary.from_text takes any text"
            )
        surrogates = (codes >= 0xD800) & (codes <= 0xDFFF)
        if surrogates.any():
            raise ValueError(
                f"U+{codes[surrogates][0]:04X} is a surrogate, which is not a character"
            )
        if self.of_bytes and self._chars != _BYTES:
            raise ValueError("a vocabulary of bytes has all 256 of them, in order")
        self._codes = codes.astype("<u4")
        self._table = np.full(
            codes.max() + 2, -1, dtype=np.int32
        )  # id of each code point; the last entry stands for all larger ones
        self._table[codes] = np.arange(len(codes))

    @classmethod
    def from_text(cls, text: str, records: bool = False) -> "Vocabulary":
        """Return the vocabulary of all characters in text, in order of code point; for records with a boundary."""
        return cls(distinct([text]), records)

    @classmethod
    def all_bytes(cls, records: bool = False) -> "Vocabulary":
        """Return the vocabulary of texts that are bytes: all 256 values, whether a text has them or not."""
        return cls(_BYTES, records, of_bytes=True)

    def extended(self, text: str) -> "Vocabulary":
        """Return a vocabulary that knows the characters of text, too: old ones keep their ids, new ones follow."""
        return Vocabulary(self._chars + self.missing(text), self.records, self.of_bytes)

    def missing(self, text: AnyText) -> str:
        """Return the distinct characters of text that are not in the vocabulary, as one str in order of code point."""
        if self.of_bytes:
            return ""
        chars = distinct([text])
        return "".join(chars[i] for i in np.flatnonzero(self.lookup(chars) < 0))

    @property
    def chars(self) -> str:
        """All characters, as one str in the order of their ids."""
        return self._chars

    @property
    def empty(self) -> AnyText:
        """The text without characters: "" or b""."""
        return b"" if self.of_bytes else ""

    def check(self, name: str, text: AnyText) -> AnyText:
        """Return text, as a plain str or bytes, if it is of the type that this vocabulary encodes; or raise TypeError."""
        if self.of_bytes and not isinstance(text, bytes):
            raise TypeError(
                f"{name} must be bytes, as in the training of this model, not {type(text).__name__}{missing_value_hint(text)}"
            )
        return to_builtin(text) if self.of_bytes else check_text(name, text)

    def lookup(self, text: str | bytes) -> NDArray[np.int32]:
        """Return the id of each character of text, -1 where it is not in the vocabulary: an int32 array."""
        text = to_builtin(text)
        ids = np.empty(len(text), np.int32)
        for start, codes in _pieces(text):
            ids[start : start + len(codes)] = self.of_codes(codes)
        return ids

    def of_codes(self, codes: NDArray[Any]) -> NDArray[np.int32]:
        """Return the id of each code point, -1 where it is not in the vocabulary."""
        ids: NDArray[np.int32] = self._table[
            np.minimum(codes.astype(np.uint32, copy=False), len(self._table) - 1)
        ]
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
            What to call the text in an error.
        on_unknown : {"error", "skip"}
            What to do about a character that is not in the vocabulary.

        Returns
        -------
        ndarray (len(text),) of dtype; shorter by the characters skipped
            Ids in [0, len(self)).

        Raises
        ------
        ValueError
            If a character is not in the vocabulary (the message gives its place, and all such characters), or dtype does not hold
            every id.
        """
        skip = check_choice("on_unknown", on_unknown, get_args(OnUnknown)) == "skip"
        if np.dtype(dtype).kind not in "iu" or np.iinfo(dtype).max < len(self) - 1:
            raise ValueError(
                f"dtype must be an integer type that holds {len(self) - 1}, not {np.dtype(dtype)}"
            )
        text = self.check(name, text)
        if text and isinstance(text, bytes):  # an empty text is no buffer
            return np.frombuffer(text, np.uint8).astype(dtype, copy=False)
        ids, end = np.empty(len(text), dtype=dtype), 0
        for start in range(0, len(text), _PIECE):
            piece = self.lookup(text[start : start + _PIECE])
            if (piece < 0).any():
                if not skip:
                    raise ValueError(self._unknown(name, text, start + int(np.argmax(piece < 0))))
                piece = piece[piece >= 0]
            ids[end : end + len(piece)] = piece
            end += len(piece)
        return ids[:end]

    def _unknown(self, name: str, text: AnyText, where: int) -> str:
        """Return a message: the character text[where] is not known, nor perhaps others."""
        found: set[str] = set()
        for _, codes in _pieces(text):
            codes = np.unique(codes)
            found.update(map(chr, codes[self.of_codes(codes) < 0]))
        others = sorted(found - {text[where]})
        nor = f", nor {'are' if len(others) > 1 else 'is'} {described(others)}" if others else ""
        what = f"{name}[{where}] = {described(text[where])} is not among the {len(self)} characters of this vocabulary{nor}"
        return f"{what}; on_unknown='skip' leaves out what is not"

    def decode(self, ids: ArrayLike) -> AnyText:
        """Return the text (str or bytes) of a sequence of ids, each in [0, len(self)); otherwise raise IndexError."""
        ids = np.asarray(ids)
        if ids.size == 0:
            return self.empty
        if ids.dtype.kind not in "iu" or ids.ndim != 1:
            raise TypeError(
                f"ids must be a sequence of integers, not {ids.dtype} of shape {ids.shape}"
            )
        if ids.min() < 0 or ids.max() >= len(self):
            where = int(np.argmax((ids < 0) | (ids >= len(self))))
            raise IndexError(f"ids[{where}] = {ids[where]} is not in [0, {len(self)})")
        return (
            ids.astype(np.uint8).tobytes()
            if self.of_bytes
            else self._codes[ids].tobytes().decode("utf-32-le")
        )

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
        return len(char) == 1 and char in self._chars

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[str, bool, bool]:
        return self._chars, self.records, self.of_bytes

    def __repr__(self) -> str:
        if self.of_bytes:
            return "Vocabulary.all_bytes()"
        shown = self._chars if len(self) <= 40 else self._chars[:37] + "..."
        return f"Vocabulary({shown!r}, {len(self)} characters)"
