"""One UTF-8 file as text, other encodings, and the errors of bytes that are not text."""

import codecs
import io
import itertools
import os
import re
import shlex
from collections.abc import Iterable, Iterator
from typing import TypeVar

from ..util.atomic_write import StrPath, check_path, named, open_regular, read_pieces
from ..util.errors import check_text

_Content = TypeVar("_Content", bound=str | bytes)

_CONTROL = re.compile("[\0-\x08\x0e-\x1a\x1c-\x1f]")  # characters that no text has
_BYTES = "alphabet='bytes' (--bytes) reads any bytes as they are"


def read_bytes(path: StrPath) -> bytes:
    """Return the content of a regular file, or raise OSError or ValueError."""
    path = check_path("path", path, "train_text trains on what it holds")
    try:
        file = open_regular(path)
    except ValueError as error:
        how = "read it yourself and pass the text (on the command line: - reads standard input)"
        raise ValueError(f"{error}; {how}") from error
    with named(path), file:
        return read_pieces(file, os.fstat(file.fileno()).st_size)


def read_text(path: StrPath) -> str:
    """Return the text of a UTF-8 file, its newlines as they are, without a byte order mark.

    Raise OSError if it cannot be read; ValueError if it is no regular file, is not UTF-8 (the
    message has the byte), or has fewer than two characters.
    """
    data, name = read_bytes(path), os.fspath(path)
    return check_length(name, decode_text(data, name))


def decode_text(data: bytes, name: str) -> str:
    """Return the text of UTF-8 bytes without a byte order mark. Errors call the bytes name."""
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise not_utf8(data, name, error) from error


def not_utf8(data: bytes, name: str, error: UnicodeDecodeError, first: int = 0) -> ValueError:
    """Return the error of data, from byte number first of what has that name, if not UTF-8."""
    found = f"byte {first + error.start} (0x{data[error.start]:02x}): {error.reason}"
    return ValueError(f"{name} is not UTF-8 at {found}; {_advice(data, name)}")


def _advice(data: bytes, name: str) -> str:
    """Return what to do with bytes that are not UTF-8: convert them, if they may be text."""
    marked = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    for encoding in ("UTF-16",) if marked else ("CP1252", "ISO-8859-1"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if not _CONTROL.search(text):
            place = f" {shlex.quote(name)} > utf8.txt" if os.path.isfile(name) else ""  # or a pipe
            return f"if it is {encoding}, convert it: iconv -f {encoding} -t UTF-8{place}; {_BYTES}"
    return f"it looks like a binary file: {_BYTES}"


def check_encoding(encoding: str | None) -> str | None:
    """Return Python's name of an encoding, or raise ValueError if it has none of that name."""
    if encoding is None:
        return None
    encoding = check_text("encoding", encoding)
    try:
        io.TextIOWrapper(io.BytesIO(), encoding)  # raises for "hex", which is not of text
        return codecs.lookup(encoding).name
    except (LookupError, ValueError) as error:
        what = "the name of an encoding, such as 'utf-16' or 'cp1252'"
        raise ValueError(f"encoding must be {what}, not {encoding!r}") from error


def decoded(pieces: Iterable[bytes], encoding: str, name: str) -> Iterator[str]:
    """Yield the text of pieces in an encoding, without a byte order mark. Errors call it name."""
    decoder, before, begun = codecs.getincrementaldecoder(encoding)(), 0, False
    for piece in itertools.chain(pieces, [b""]):
        waiting = len(decoder.getstate()[0])
        try:
            text = decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            place = f"byte {before - waiting + error.start}: {error.reason}"
            raise ValueError(f"{name} is not {encoding} at {place}") from error
        before += len(piece)
        yield text if begun else text.removeprefix("\ufeff")
        begun = begun or bool(text)


def check_length(name: str, text: _Content) -> _Content:
    """Return a str or bytes that is long enough to train on, or raise ValueError."""
    if len(text) < 2:
        unit = "byte" if isinstance(text, bytes) else "character"
        raise ValueError(f"{name} has {('no', '1')[len(text)]} {unit}; training needs at least 2")
    return text
