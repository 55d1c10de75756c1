r"""Text that arrives in pieces, cut into lines or records.

A line ends in \n, \r\n or \r. Records of several lines have separators between them, each a line
of its own, which may be blank; or \0, wherever it is. They have \n between their lines.
"""

import re
from collections.abc import Iterable, Iterator

from ..util.errors import check_text
from .vocabulary import AnyText

LINE, LINE_FEED, NUL = r"\r\n?|\n", r"\n", r"\0"  # patterns of what ends a line


class Lines:
    """The lines of a text that arrives in pieces; left is how many more have arrived already."""

    def __init__(self, pieces: Iterable[AnyText], end: str = LINE) -> None:
        self.pieces: Iterable[AnyText] = pieces
        self.end: str = end
        self.left: int = 0

    def __iter__(self) -> Iterator[AnyText]:
        for lines in _cut(self.pieces, self.end):
            for self.left, line in zip(range(len(lines) - 1, -1, -1), lines, strict=True):
                yield line


def _cut(pieces: Iterable[AnyText], end: str) -> Iterator[list[AnyText]]:
    """Yield the lines that end in each piece, and at last what is left, if anything."""
    waiting: list[AnyText] = []  # the beginning of a line
    after_cr = False
    for piece in filter(None, pieces):  # a decoder yields nothing of half a character
        cr, lf, pattern = (
            ("\r", "\n", end) if isinstance(piece, str) else (b"\r", b"\n", end.encode())
        )
        if after_cr and piece[:1] == lf:
            piece = piece[1:]
        after_cr = end == LINE and piece[-1:] == cr
        first, *others = re.split(pattern, piece)
        waiting.append(first)
        if others:
            yield [first[:0].join(waiting), *others[:-1]]
            waiting = [others[-1]]
    if any(waiting):
        yield [waiting[0][:0].join(waiting)]


def check_separator(separator: str | None) -> str | None:
    r"""Return a separator of records, or raise ValueError if it is neither \0 nor one line."""
    if separator is not None and re.search(r"[\r\n]|.\0|\0.", check_text("separator", separator)):
        how = r"the text of a line, '' for a blank line, or '\0'"
        raise ValueError(f"separator must be {how}, not {separator!r}")
    return separator


def records(pieces: Iterable[AnyText], separator: str | None = None) -> Iterator[AnyText]:
    """Yield the records of a text, by default its lines; no empty ones."""
    separator = check_separator(separator)
    lines = Lines(pieces, NUL if separator == "\0" else LINE)
    if separator is None or separator == "\0":
        return filter(None, lines)
    return filter(None, (text for _, text in groups(lines, separator)))


def groups(lines: Iterable[AnyText], separator: str) -> Iterator[tuple[int, AnyText]]:
    """Yield what is between lines that are the separator, and the number of its first line."""
    some: list[AnyText] = []
    number = first = 1
    for number, line in enumerate(lines, 1):
        if line == (separator if isinstance(line, str) else separator.encode()):
            if some:
                yield first, _joined(some)
            some = []
        else:
            first = first if some else number
            some.append(line)
    if some:
        yield first, _joined(some)


def _joined(lines: list[AnyText]) -> AnyText:
    return ("\n" if isinstance(lines[0], str) else b"\n").join(lines)
