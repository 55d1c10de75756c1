"""What is scored: lines, records between separators, or a column of a table, as they arrive."""

import argparse
import csv
import io
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from ..data.splitting import LINE, LINE_FEED, NUL, Lines, check_separator, groups
from ..data.text import check_encoding, decoded
from ..data.vocabulary import AnyText, Vocabulary
from ..util.errors import check_integer, hint, short_repr
from ..util.progress import counted
from .arguments import Arguments, check_needs, text_argument

_FORMATS = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_PIECE, _LONGEST = 1 << 20, (1 << 31) - 1  # bytes at a time; characters of a field


class Row(NamedTuple):
    """A text and the number of its first line; None where a table has nothing."""

    number: int
    text: AnyText


def add_rows(add: Callable[..., argparse.Action]) -> None:
    """Add the arguments that say what is scored."""
    add("file", nargs="?", default="-", help="the lines (default: -, standard input)")
    help = "read a column of a table: its name in the first row or, if the table has no names, "
    help += "its number, from 1 on"
    add("--column", metavar="NAME", help=help)
    help = "with --column: format of the table (default: by the ending of the file's name)"
    add("--format", choices=sorted({*_FORMATS.values()}), help=help)
    help = r"read records that end at a line equal to TEXT ('': a blank line), or at \x00"
    add("--separator", type=text_argument, metavar="TEXT", help=help)
    add("--encoding", metavar="NAME", help="encoding of the file (default: utf-8)")


def read_rows(
    file: io.BufferedReader, vocabulary: Vocabulary, arguments: Arguments
) -> Iterator[list[Row]]:
    """Yield lists of rows as they arrive: many from a file, one at a time from a person.

    The rows before a mistake come first.
    """
    some: list[Row] = []
    try:
        _check_rows(arguments, vocabulary.of_bytes)
        lines = Lines(_pieces(file, arguments), _line_end(vocabulary, arguments))
        for row in _rows(lines, vocabulary.of_bytes, arguments):
            some.append(row)
            if not lines.left:
                yield some
                some = []
    except ValueError:
        if some:
            yield some
        raise
    if some:
        yield some


def _check_rows(arguments: Arguments, of_bytes: bool) -> None:
    check_separator(arguments.separator)
    check_encoding(arguments.encoding)
    if arguments.encoding is not None and of_bytes:
        raise ValueError("--encoding is for text, but this is a model of bytes")
    check_needs(arguments, {"format": "column"})
    if arguments.column is not None and arguments.separator is not None:
        raise ValueError("--column and --separator exclude each other")


def _pieces(file: io.BufferedReader, arguments: Arguments) -> Iterator[AnyText]:
    pieces = iter(lambda: file.read1(_PIECE), b"")
    name = "standard input" if arguments.file == "-" else arguments.file
    return decoded(pieces, arguments.encoding, name) if arguments.encoding else pieces


def _line_end(vocabulary: Vocabulary, arguments: Arguments) -> str:
    r"""Return what ends a line: what did in the training, where \r may have been a character."""
    if arguments.separator == "\0":
        return NUL
    if arguments.separator is not None or arguments.column is not None:
        return LINE
    if vocabulary.records:
        known = "\r" in vocabulary and not vocabulary.of_bytes
    else:
        known = "\r" in vocabulary and "\n" in vocabulary
    return LINE_FEED if known else LINE


def _rows(lines: Lines, of_bytes: bool, arguments: Arguments) -> Iterator[Row]:
    if arguments.column is not None:
        rows = _column(_decoded(lines, "surrogateescape" if of_bytes else "strict"), arguments)
        return map(_in_bytes, rows) if of_bytes else rows
    texts = lines if of_bytes else _decoded(lines)
    if arguments.separator in (None, "\0"):
        return itertools.starmap(Row, enumerate(texts, 1))
    return itertools.starmap(Row, groups(texts, arguments.separator))


def _decoded(lines: Iterable[AnyText], errors: str = "strict") -> Iterator[str]:
    """Yield lines as str, without the byte order mark that some programs begin a file with."""
    for number, line in enumerate(lines, 1):
        try:
            text = line if isinstance(line, str) else line.decode("utf-8", errors)
        except UnicodeDecodeError as error:
            advice = "convert the lines, or score them by a model of bytes (train --bytes)"
            what = f"line {number}: not UTF-8 at byte {error.start}"
            raise ValueError(f"{what}: {advice}, or name their --encoding") from error
        yield text.removeprefix("\ufeff") if number == 1 else text


def _in_bytes(row: Row) -> Row:
    if row.text is None:
        return row
    return Row(row.number, row.text.encode("utf-8", "surrogateescape"))


# ------------------------------------------------------------------------------------------- tables


def _column(lines: Iterator[str], arguments: Arguments) -> Iterator[Row]:
    column = arguments.column
    ending = os.path.splitext(arguments.file)[1].lower()
    format = arguments.format or _FORMATS.get(ending)
    if format is None:
        raise ValueError("--column needs --format csv, tsv or jsonl: the file's name does not say")
    place = check_integer("--column", int(column), 1) - 1 if column.isdecimal() else None
    if format == "jsonl":
        return _json_rows(lines, column, place)
    csv.field_size_limit(_LONGEST)
    # In tsv a quotation mark is a character like others, and no field has a tab or a newline.
    how: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
    reader = csv.reader(
        (f"{line}\n" for line in lines), **(how if format == "tsv" else {"strict": True})
    )
    return _table_rows(reader, column, place)


def _table_rows(reader: Any, column: str, place: int | None) -> Iterator[Row]:
    number, read = 1, 0
    try:
        for cells in reader:
            number, read = read + 1, reader.line_num
            if not cells:
                continue
            if place is None:
                place = _place(cells, column)
            elif place < len(cells):
                yield Row(number, cells[place])
            else:
                columns = counted(len(cells), "column")
                raise ValueError(f"line {number} has {columns}: --column {column} is not there")
    except csv.Error as error:
        raise ValueError(f"line {read + 1}: {error}") from error


def _place(names: list[str], column: str) -> int:
    if column not in names:
        known = hint(column, names) or f"; there are {', '.join(map(short_repr, names))}"
        raise ValueError(f"the first row has no column {column!r}{known}")
    return names.index(column)


def _json_rows(lines: Iterator[str], column: str, place: int | None) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"line {number} is not JSON: {error}") from error
        cells: Any = value if isinstance(value, dict) else {}
        if isinstance(value, list) and place is not None:
            cells = {column: value[place]} if place < len(value) else {}
        if column not in cells:
            raise ValueError(f"line {number} has no {column!r}{hint(column, cells)}")
        text = cells[column]
        if not (text is None or isinstance(text, str)):
            raise ValueError(f"line {number}: {column!r} is {short_repr(text)}, and not a string")
        yield Row(number, text)
