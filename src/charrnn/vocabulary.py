"""Characters to ids and back."""

import numpy as np

from .errors import check_text

_PIECE = 1 << 20  # characters handled at a time, so that encoding a large text needs little memory beside the result
_CODE_POINTS = 0x110000


def _pieces(text):
    """Yield (position, code points as uint32) of consecutive pieces of text."""
    for start in range(0, len(text), _PIECE):
        yield start, np.frombuffer(text[start : start + _PIECE].encode("utf-32-le", "surrogatepass"), "<u4")


class Vocabulary:
    """The characters a model knows, in order of code point; the id of a character is its place. Immutable.

    Parameters
    ----------
    chars : iterable of str
        Distinct characters (Unicode code points, no surrogates) in ascending order, at least one.
    records : bool, default False
        Whether there is one symbol more, with the id len(self): the boundary before and after a record, which no text can contain.

    Raises
    ------
    ValueError
        If there is no character, or one is a surrogate, or they are not distinct and ascending.

    Examples
    --------
    >>> vocabulary = Vocabulary.from_text("hello")
    >>> vocabulary.chars
    'ehlo'
    >>> vocabulary.encode("hole").tolist()
    [1, 3, 2, 0]
    >>> vocabulary.decode([1, 3, 2, 0])
    'hole'
    """

    def __init__(self, chars, records=False):
        self.records = bool(records)
        self._chars = "".join(chars)
        codes = np.array([ord(char) for char in self._chars], dtype=np.int64)
        if not len(codes):
            raise ValueError("a vocabulary needs at least one character")
        if (np.diff(codes) <= 0).any():
            raise ValueError("the characters of a vocabulary must be distinct and in ascending order")
        surrogates = (codes >= 0xD800) & (codes <= 0xDFFF)
        if surrogates.any():
            raise ValueError(f"U+{codes[surrogates][0]:04X} is a surrogate, which is not a character")
        self._codes = codes.astype("<u4")
        self._table = np.full(codes[-1] + 2, -1, dtype=np.int32)  # id of each code point; the last entry stands for all larger ones
        self._table[codes] = np.arange(len(codes))

    @classmethod
    def from_text(cls, text, records=False):
        """Return the vocabulary of all characters in text, for records with a boundary."""
        seen = np.zeros(_CODE_POINTS, dtype=bool)
        for start, codes in _pieces(check_text("text", text)):
            seen[codes] = True
            if seen[0xD800:0xE000].any():
                where = start + int(np.argmax((codes >= 0xD800) & (codes <= 0xDFFF)))
                raise ValueError(f"text[{where}] = {text[where]!r} is a lone surrogate, which is not a character and cannot be saved")
        return cls(map(chr, np.flatnonzero(seen)), records)

    @property
    def chars(self):
        """All characters, as one str in the order of their ids."""
        return self._chars

    def encode(self, text, *, dtype=np.int32, name="text"):
        """Return the id of each character.

        Parameters
        ----------
        text : str
        dtype : numpy dtype, default int32
            An integer type that holds every id.
        name : str
            What to call the text in an error.

        Returns
        -------
        ndarray (len(text),) of dtype
            Ids in [0, len(self)).

        Raises
        ------
        ValueError
            If a character is not in the vocabulary; the message gives the character and its place.
        """
        ids = np.empty(len(check_text(name, text)), dtype=dtype)
        for start, codes in _pieces(text):
            piece = self._table[np.minimum(codes, len(self._table) - 1)]
            if (piece < 0).any():
                where = start + int(np.argmax(piece < 0))
                raise ValueError(f"{name}[{where}] = {text[where]!r} is not among the {len(self)} characters of this vocabulary")
            ids[start : start + len(piece)] = piece
        return ids

    def decode(self, ids):
        """Return the text of a sequence of ids, each in [0, len(self)); otherwise raise IndexError."""
        ids = np.asarray(ids)
        if ids.size == 0:
            return ""
        if ids.dtype.kind not in "iu" or ids.ndim != 1:
            raise TypeError("ids must be a sequence of integers")
        if ids.min() < 0 or ids.max() >= len(self):
            where = int(np.argmax((ids < 0) | (ids >= len(self))))
            raise IndexError(f"ids[{where}] = {ids[where]} is not in [0, {len(self)})")
        return self._codes[ids].tobytes().decode("utf-32-le")

    @property
    def smallest_dtype(self):
        """The smallest unsigned integer type that holds every id."""
        return np.min_scalar_type(self.symbols - 1)

    @property
    def symbols(self):
        """Characters, and the boundary of records if there is one: the network's vocab_size."""
        return len(self) + self.records

    def __len__(self):
        return len(self._chars)

    def __contains__(self, char):
        return len(char) == 1 and char in self._chars

    def __eq__(self, other):
        return isinstance(other, Vocabulary) and (self._chars, self.records) == (other._chars, other.records)

    def __hash__(self):
        return hash((self._chars, self.records))

    def __repr__(self):
        shown = self._chars if len(self) <= 40 else self._chars[:37] + "..."
        return f"Vocabulary({shown!r}, {len(self)} characters)"
