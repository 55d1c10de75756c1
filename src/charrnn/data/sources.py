"""Files as sources of text: found by their names, read once from beginning to end, decompressed, decoded, in pieces."""

import bz2
import codecs
import contextlib
import glob
import gzip
import hashlib
import io
import itertools
import lzma
import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, NamedTuple

from ..util.atomic_write import Paths, check_path, named, open_regular
from .batches import changed
from .text import not_utf8

PIECE = 1 << 18  # bytes of a file at a time: they stay in the second level of the cache
_READ = 1 << 16  # of a compressed one: what follows a member in it is copied for each
_STARS = re.compile(r"(^|[/\\])\*\*(?:[/\\]|$)")  # as a whole name in a path


def find(path: Paths) -> list[str]:
    """Return the files that path names: one, several, all in a directory and below (hidden ones left out), or those of a pattern.

    Those of a directory or a pattern are in order of name, others as given. Raise OSError, ValueError or TypeError where there are none.
    """
    several = (
        isinstance(path, Iterable)
        and not isinstance(path, (str, bytes, os.PathLike))
        and not hasattr(path, "read")
    )
    ones: Any = path if several else [path]
    found = [name for one in ones for name in _find_one(one)]
    if not found:
        raise ValueError("path names no file")
    return found


def _find_one(path: Any) -> list[str]:
    name = check_path("path", path, "train_text trains on what it holds")
    if os.path.isdir(name):
        found, none = _below(name), f"{name} is a directory with no file in it"
    elif glob.has_magic(name) and not os.path.lexists(name):
        found, none = (
            {match for match in _matches(name) if os.path.isfile(match)},
            f"no file matches {name}",
        )
    else:
        return [name]
    if not found:
        raise FileNotFoundError(none)
    return sorted(found)


def _below(folder: str) -> set[str]:
    """Return the files in a directory and below."""
    files = (
        os.path.join(place, name)
        for place, names in _walk(folder)
        for name in names
        if not name.startswith(".")
    )
    return set(filter(os.path.isfile, files))


def _walk(folder: str) -> Iterator[tuple[str, list[str]]]:
    """Yield a directory and those below, no links to one, which may lead back, with the names in each; hidden ones are left out."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield place, names


def _matches(pattern: str) -> Iterator[str]:
    """Yield what has names like a pattern, in which ** is a directory and those below (that of glob follows links)."""
    stars = _STARS.search(pattern)
    if stars is None:
        yield from glob.iglob(pattern)
        return
    for top in glob.iglob(pattern[: stars.start()] + stars[1] or os.curdir):
        for place, _ in _walk(top):
            yield from _matches(os.path.join(glob.escape(place), pattern[stars.end() :] or "*"))


# -------------------------------------------------------------------------------------------------------------------- one file


def _open_gz(file: IO[bytes]) -> IO[bytes]:
    return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]


def _open_zst(file: IO[bytes]) -> IO[bytes]:
    try:
        from compression.zstd import ZstdFile  # Python 3.14
    except ModuleNotFoundError:
        try:
            from backports.zstd import ZstdFile
        except ModuleNotFoundError as error:
            error.add_note(
                "Files of .zst need, before Python 3.14: pip install 'charrnn-cython[zstd]'"
            )
            raise
    opened: IO[bytes] = ZstdFile(file)
    return opened


class _Members(io.RawIOBase):
    """What is in a file of several that are compressed, one after the other, perhaps with zeros behind.

    Python's own LZMAFile and BZ2File take a damaged one for something else that follows, and so for the end of the file.
    """

    def __init__(self, file: IO[bytes], begin: Callable[[], Any]) -> None:
        self.file, self.begin = file, begin
        self.member = begin()

    def read(self, size: int = -1) -> bytes:
        while True:
            data = b""
            if self.member.eof:
                data = self.member.unused_data.lstrip(b"\0")
                while not data:
                    if not (data := self.file.read(_READ)):
                        return b""
                    data = data.lstrip(b"\0")
                self.member = self.begin()
            elif self.member.needs_input and not (data := self.file.read(_READ)):
                raise EOFError("it ends within what is compressed")
            if found := self.member.decompress(data, size):
                return bytes(found)


_COMPRESSED: dict[str, Callable[[Any], Any]] = {
    ".gz": _open_gz,
    ".xz": lambda file: _Members(file, lzma.LZMADecompressor),
    ".bz2": lambda file: _Members(file, bz2.BZ2Decompressor),
    ".zst": _open_zst,
}


class _Raw(io.RawIOBase):
    """A regular file that is read once from its beginning to its end, and what it was like: size, time of change, SHA-256."""

    def __init__(self, path: str, report: Callable[[int], None]) -> None:
        self.path, self.report = path, report
        self.file = open_regular(path)
        try:
            self.before = self._stat()
        except BaseException:
            self.close()
            raise
        self.digest = hashlib.sha256()
        self.done = 0

    def _stat(self) -> tuple[int, int]:
        with named(self.path):
            stat = os.fstat(self.file.fileno())
        return stat.st_size, stat.st_mtime_ns

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with named(self.path):
            count: int = self.file.readinto(buffer)  # type: ignore[attr-defined]
        self.digest.update(memoryview(buffer)[:count])
        self.done += count
        self.report(count)
        return count

    def finish(self) -> "Source":
        """Read what is left and close; return what was read, or raise ValueError if it has changed meanwhile."""
        piece = bytearray(PIECE)
        while self.readinto(piece):
            pass
        if self._stat() != self.before or self.done != self.before[0]:
            raise changed(self.path)
        return Source(os.path.basename(self.path), *self.before, self.digest.hexdigest())

    def close(self) -> None:
        if hasattr(self, "file"):
            with contextlib.suppress(
                OSError
            ):  # what was only read has lost nothing, and another error may be on its way
                self.file.close()
        super().close()


class Source(NamedTuple):
    """A file as it was read."""

    name: str
    size: int
    mtime_ns: int
    sha256: str


class Pass:
    """One pass over files: what is in them in pieces, and what they were like."""

    def __init__(self, paths: list[str], tell: Callable[[int], None]) -> None:
        self.paths: list[str] = paths
        self.tell: Callable[[int], None] = tell  # is told how many bytes were read
        self.sources: list[Source] = []

    def files(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        """Yield the name of each file and the pieces of what is in it, not compressed."""
        for path in self.paths:
            with _Raw(path, self.tell) as raw:
                yield path, _pieces(raw)
                self.sources.append(raw.finish())

    def hashed(self) -> list[Source]:
        """Return what the files are like, and nothing of what is in them."""
        for path in self.paths:
            with _Raw(path, self.tell) as raw:
                self.sources.append(raw.finish())
        return self.sources


def compression(path: str) -> str | None:
    """Return the ending of a file that is compressed."""
    kind = os.path.splitext(path)[1].lower()
    return kind if kind in _COMPRESSED else None


def _pieces(raw: _Raw) -> Iterator[bytes]:
    kind = compression(raw.path)
    with contextlib.ExitStack() as stack:
        file: Any = raw if kind is None else stack.enter_context(_COMPRESSED[kind](raw))
        while piece := _whole_piece(file, raw.path, kind):
            yield piece


def _whole_piece(file: IO[bytes], path: str, kind: str | None) -> bytes:
    try:
        return file.read(PIECE)
    except Exception as error:
        if (
            kind is None
            or isinstance(error, MemoryError)
            or (isinstance(error, OSError) and error.errno is not None)
        ):
            raise
        raise ValueError(f"{path} is no whole {kind} file: {error}") from error


def texts(name: str, pieces: Iterable[bytes]) -> Iterator[bytes | str]:
    """Yield UTF-8 pieces as str without the byte order mark, or as they are where they are ASCII; or raise ValueError."""
    waiting, before, first = (
        b"",
        0,
        True,
    )  # the beginning of a character, and how many bytes came before it
    for piece in itertools.chain(pieces, [b""]):
        data = waiting + piece
        if data.isascii():
            text: bytes | str = data
            used = len(data)
        else:
            try:
                text, used = codecs.utf_8_decode(data, "strict", not piece)
            except UnicodeDecodeError as error:
                raise not_utf8(data, name, error, before) from error
            text = text.removeprefix("\ufeff" if first else "")
        if used:
            yield text
            first = False
        waiting, before = data[used:], before + used
