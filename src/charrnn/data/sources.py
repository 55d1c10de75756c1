"""Files of text: found by name, read once from beginning to end, decompressed and decoded."""

import bz2
import codecs
import contextlib
import glob
import gzip
import hashlib
import itertools
import lzma
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..util.atomic_write import Paths, check_path, named, open_regular
from ..util.signals import ignoring
from .batches import changed
from .text import decoded, not_utf8

PIECE = 1 << 18  # bytes at a time: they stay in the second level of the cache
_READ = 1 << 16  # bytes of a compressed file at a time: each member copies those behind it


def find(path: Paths) -> list[str]:
    """Return the files that path names: one, several, those in a directory or of a pattern.

    Those of a directory and below, or of a pattern, are in order of name, and hidden ones are left
    out; others are as given. Raise OSError, ValueError or TypeError if there are none.
    """
    several = isinstance(path, Iterable) and not isinstance(path, (str, bytes, os.PathLike))
    ones: Any = path if several and not hasattr(path, "read") else [path]
    found = [name for one in ones for name in _find_one(one)]
    if not found:
        raise ValueError("path names no file")
    return found


def _find_one(path: Any) -> list[str]:
    name = check_path("path", path, "train_text trains on what it holds")
    if os.path.isdir(name):
        found, none = _find_below(name), f"{name} is a directory with no file in it"
    elif glob.has_magic(name) and not os.path.lexists(name):
        found, none = glob.iglob(name, recursive=True), f"no file matches {name}"
    else:
        return [name]
    files = sorted({*filter(os.path.isfile, found)})
    if not files:
        raise FileNotFoundError(none)
    return files


def _find_below(folder: str) -> Iterator[str]:
    """Yield what is in a directory and below, following no links, which may lead back."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (os.path.join(place, name) for name in names if not name.startswith("."))


# -------------------------------------------------------------------------------------- compression


def _zstd() -> Any:
    try:
        from compression.zstd import ZstdDecompressor  # Python 3.14
    except ModuleNotFoundError:
        try:
            from backports.zstd import ZstdDecompressor
        except ModuleNotFoundError as error:
            how = "Files of .zst need, before Python 3.14: pip install 'charrnn-cython[zstd]'"
            error.add_note(how)
            raise
    return ZstdDecompressor()


def _read_gz(file: Any) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=file) as opened:
        yield from iter(lambda: opened.read(PIECE), b"")


def _read_members(file: Any, begin: Callable[[], Any]) -> Iterator[bytes]:
    """Yield what is in compressed members, one after the other, with zeros between or behind.

    LZMAFile and BZ2File of Python take a damaged member for the end of the file.
    """
    data = file.read(_READ)
    while data:
        member = begin()
        while not member.eof:
            yield member.decompress(data, PIECE)
            data = file.read(_READ) if member.needs_input else b""
            if member.needs_input and not data:
                raise EOFError("it ends inside its compressed data")
        data = member.unused_data.lstrip(b"\0")
        while not data and (data := file.read(_READ)):
            data = data.lstrip(b"\0")


_COMPRESSED: dict[str, Callable[[Any], Iterator[bytes]]] = {
    ".gz": _read_gz,
    ".xz": lambda file: _read_members(file, lzma.LZMADecompressor),
    ".bz2": lambda file: _read_members(file, bz2.BZ2Decompressor),
    ".zst": lambda file: _read_members(file, _zstd),
}


def compression(path: str) -> str | None:
    """Return the ending of the name of a compressed file."""
    ending = os.path.splitext(path)[1].lower()
    return ending if ending in _COMPRESSED else None


# -------------------------------------------------------------------------------------------- files


class Source(NamedTuple):
    """A file as it was when it was read."""

    name: str
    size: int
    mtime_ns: int
    sha256: str


class _File:
    """A regular file that is read once, to its end, and hashed."""

    def __init__(self, path: str, report: Callable[[int], None]) -> None:
        self.path, self.report = path, report
        self.file = open_regular(path)
        self.digest, self.done = hashlib.sha256(), 0

    def stat(self) -> tuple[int, int]:
        with named(self.path):
            stat = os.fstat(self.file.fileno())
        return stat.st_size, stat.st_mtime_ns

    def read(self, size: int) -> bytes:
        with named(self.path):
            data = self.file.read(size)
        self.digest.update(data)
        self.done += len(data)
        self.report(len(data))
        return data

    def pieces(self) -> Iterator[bytes]:
        """Yield the content, decompressed; or raise ValueError if it ends early."""
        kind = compression(self.path)
        if kind is None:
            yield from iter(lambda: self.read(PIECE), b"")
            return
        try:
            yield from _COMPRESSED[kind](self)
        except (ImportError, MemoryError):
            raise
        except Exception as error:  # each library has errors of its own
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise ValueError(f"{self.path} is not a complete {kind} file: {error}") from error

    def finish(self, before: tuple[int, int]) -> Source:
        """Read what is left; return what was read, or raise ValueError if it has changed."""
        while self.read(PIECE):
            pass
        if self.stat() != before or self.done != before[0]:
            raise changed(self.path)
        return Source(os.path.basename(self.path), *before, self.digest.hexdigest())

    def close(self) -> None:
        with ignoring(OSError):  # nothing is lost, and there may be another error
            self.file.close()


@dataclass
class FileReader:
    """One pass over files: what is in them, piece by piece, and what they were like."""

    paths: list[str]
    of_bytes: bool
    report: Callable[[int], None]  # is called with each number of bytes read
    encoding: str | None = None  # by default UTF-8
    sources: list[Source] = field(default_factory=list)  # the files that were read

    def files(self) -> Iterator[Iterator[bytes | str]]:
        """Yield the pieces of each file: bytes if they are ASCII or are to be bytes, else str."""
        for path in self.paths:
            with contextlib.closing(_File(path, self.report)) as file:
                before, pieces = file.stat(), file.pieces()
                if self.encoding is not None:
                    yield decoded(pieces, self.encoding, path)
                else:
                    yield pieces if self.of_bytes else self._decoded(path, pieces)
                self.sources.append(file.finish(before))

    def hashed(self) -> list[Source]:
        """Return what the files are like, whatever is in them."""
        for _ in self.files():
            pass
        return self.sources

    def _decoded(self, path: str, pieces: Iterator[bytes]) -> Iterator[bytes | str]:
        """Yield UTF-8 pieces as str, without a byte order mark; or raise ValueError."""
        waiting, before = b"", 0  # the beginning of a character; the bytes before it
        for piece in itertools.chain(pieces, [b""]):
            data = waiting + piece
            if data.isascii():
                used = len(data)
                yield data
            else:
                text, used = self._decode(path, data, before, final=not piece)
                yield text
            waiting, before = data[used:], before + used

    def _decode(self, path: str, data: bytes, before: int, final: bool) -> tuple[str, int]:
        """Return the text of data and how many bytes it took."""
        try:
            text, used = codecs.utf_8_decode(data, "strict", final)
        except UnicodeDecodeError as error:
            wrong = not_utf8(data, path, error, before)
            if len(self.paths) > 1:
                wrong = ValueError(f"{wrong}; a pattern such as 'texts/**/*.txt' chooses files")
            raise wrong from error
        return text.removeprefix("\ufeff" if not before else ""), used
