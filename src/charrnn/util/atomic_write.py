"""Files: only regular ones are read, and a crash during a write leaves the old file or the new."""

import contextlib
import errno
import functools
import os
import stat
from collections.abc import Iterable, Iterator
from typing import IO, Any, TypeAlias

StrPath: TypeAlias = str | os.PathLike[str]
Bytes: TypeAlias = bytes | memoryview
Paths: TypeAlias = StrPath | Iterable[StrPath]  # a file, a directory, a pattern, or several of them

_PIECE = 1 << 23  # bytes read at a time, so that Ctrl-C is never far


def check_path(name: str, value: Any, instead: str = "") -> str:
    """Return a str or path-like as a str; or raise. instead says what to do with other types."""
    if isinstance(value, (str, os.PathLike)) and isinstance(path := os.fspath(value), str):
        if "\0" in path:
            raise ValueError(f"{name} has a null character, which no file name has: {path!r:.80}")
        return path
    content = isinstance(value, (bytes, bytearray)) or hasattr(value, "read")
    hint = f": {instead}" if instead and content else ""
    raise TypeError(f"{name} must be a str or path-like, not {type(value).__name__}{hint}")


@contextlib.contextmanager
def named(path: StrPath) -> Iterator[None]:
    """Let an OSError name the file that the caller knows, not a temporary one or none."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # a signal handler raised it: a TimeoutError is an OSError too
            raise
        raise type(error)(error.errno, error.strerror, os.fspath(path)) from error


def open_regular(path: StrPath) -> IO[bytes]:
    """Open a regular file for reading. Raise OSError, or ValueError for a pipe or a device."""
    with named(path):
        mode = os.stat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # a pipe would make us wait
            raise ValueError(f"{os.fspath(path)} is not a regular file")
        return open(path, "rb")


def read_pieces(file: IO[bytes], size: int) -> bytes:
    """Return the next size bytes of a file, fewer only at its end."""
    pieces = []
    while size and (piece := file.read(min(size, _PIECE))):
        pieces.append(piece)
        size -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def write_all(file: IO[bytes], parts: Iterable[Bytes]) -> None:
    """Write parts to a file whose write may take fewer bytes than it is given."""
    for part in parts:
        data = memoryview(part)
        while data:
            written: int | None = file.write(data)
            if written is not None and not 0 < written <= len(data):  # or we would ask forever
                raise OSError(f"the file to save to has taken {written} of {len(data)} bytes")
            data = data[len(data) if written is None else written :]


def check_target(path: StrPath, name: str = "the path to write to") -> tuple[str, int | None]:
    """Return the file behind path and its links, and its permissions, None if there is none.

    Raise what would keep `write_atomically` from writing, before a long computation: OSError if
    path is a directory, or its folder is missing or read-only; ValueError if path is empty, or a
    device or a pipe, which a write would replace by a file.
    """
    path = check_path(name, path)
    if not path:
        raise ValueError("the name of the file to write is empty")
    with named(path):
        try:
            target = os.path.realpath(path, strict=True)
            mode = os.stat(target).st_mode
        except FileNotFoundError:
            target, mode = os.path.realpath(path), None
        if not os.path.basename(path) or (mode is not None and stat.S_ISDIR(mode)):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        folder = os.path.dirname(target)
        if not stat.S_ISDIR(os.stat(folder).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    if mode is not None and not stat.S_ISREG(mode):
        raise ValueError(f"{path} is not a regular file, and would be replaced by one")
    return target, None if mode is None else mode & 0o777


def write_atomically(path: StrPath, parts: Iterable[Bytes]) -> None:
    """Write a file so that path has its old content or its new one at any moment, whole.

    A link is followed, and an old file's permissions are kept. The content survives a power cut
    once this function returns. A process that is killed may leave a temporary file,
    `.charrnn-*.tmp`, in the same folder: a rename does not cross file systems.
    """
    target, mode = check_target(path)
    folder = os.path.dirname(target)
    temporary = os.path.join(folder, f".charrnn-{os.urandom(8).hex()}.tmp")
    # Both calls of os.open are made by C: no signal comes between it and the owner of its result.
    opener = functools.partial(os.open, mode=0o666 if mode is None else mode)
    with named(path):
        try:
            with open(temporary, "xb", buffering=0, opener=opener) as file:
                if mode is not None:
                    os.chmod(temporary, mode)  # what the umask has taken away
                write_all(file, parts)
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        if hasattr(os, "O_DIRECTORY"):  # Windows cannot synchronize a directory
            (descriptor,) = map(os.open, [folder], [os.O_RDONLY | os.O_DIRECTORY])
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
