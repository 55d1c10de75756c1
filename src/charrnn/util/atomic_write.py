"""Files: only regular ones are read, and a crash while one is written leaves the old one or the new one."""

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, TypeAlias

try:
    import fcntl

    _LOCKS = True
except ModuleNotFoundError:  # Windows, where a file that is open cannot be renamed
    _LOCKS = False

StrPath: TypeAlias = str | os.PathLike[str]
Bytes: TypeAlias = bytes | memoryview
Paths: TypeAlias = StrPath | Iterable[StrPath]  # a file, a directory, a pattern, or several of them

_PIECE = 1 << 23  # bytes that are read or written at a time: Ctrl-C waits for no more
_STORED = 1 << 20  # bytes that it pays to hand to the disk at once
# What file systems say that take bytes in their order only, as some of object stores do, when they are to leave room.
IN_ORDER_ONLY = {errno.ESPIPE, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP}
_WAIT = 0.03  # seconds that a disk may take to hold what was written: Ctrl-C waits for it


def check_path(name: str, value: Any, instead: str = "") -> str:
    """Return a path, str or path-like, as a str; or raise TypeError, which says what to do instead with what is open, or bytes."""
    if isinstance(value, (str, os.PathLike)) and isinstance(path := os.fspath(value), str):
        if "\0" in path:
            raise ValueError(f"{name} has a null character, as no name of a file has: {path!r:.80}")
        return path
    other = (
        f": {instead}"
        if instead and (isinstance(value, (bytes, bytearray)) or hasattr(value, "read"))
        else ""
    )
    raise TypeError(f"{name} must be a str or path-like, not {type(value).__name__}{other}")


@contextlib.contextmanager
def named(path: StrPath) -> Iterator[None]:
    """Let an OSError name the file that the caller knows: in its own words it names another one, or none."""
    try:
        yield
    except OSError as error:
        if (
            error.errno is None
        ):  # a signal's handler's, as TimeoutError is one, too, with words of its own
            raise
        raise type(error)(error.errno, error.strerror, os.fspath(path)) from error


@contextlib.contextmanager
def _passed_over() -> Iterator[None]:
    """Pass over an error of the system, but not over what a signal's handler raises, which has no number."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise


def _open(name: str, flags: int, mode: int = 0o666) -> int:
    """Open a file and return its number, as os.open.

    map asks for it from C: where Python itself calls, it looks for signals before the number has a name, and if a handler raises then,
    nobody closes the file.
    """
    (descriptor,) = map(os.open, [name], [flags], [mode])
    return descriptor


def open_regular(path: StrPath) -> IO[bytes]:
    """Return a regular file open for reading; or raise OSError, or ValueError if it is another kind: a pipe would make us wait."""
    with named(path):
        nonblocking = getattr(os, "O_NONBLOCK", 0)
        file = open(path, "rb", opener=lambda name, flags: _open(name, flags | nonblocking))  # noqa: SIM115
        try:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        except BaseException:
            file.close()
            raise
    if not regular:
        file.close()
        raise ValueError(f"{os.fspath(path)} is not a regular file")
    return file


def read_pieces(file: IO[bytes], size: int) -> bytes:
    """Return the next size bytes of a file, fewer only at its end."""
    pieces = []
    while size and (piece := file.read(min(size, _PIECE))):
        pieces.append(piece)
        size -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def check_target(path: StrPath, name: str = "the path to write to") -> None:
    """Raise what keeps a file from being written to path: better before a training than after it.

    That is OSError if path is a directory, or its folder is missing or may not be written to; ValueError if there is no name, or
    something that is not a regular file: to replace a device or a pipe would break it.
    """
    _look_at_target(path, name)


def _look_at_target(path: StrPath, name: str = "the path to write to") -> tuple[str, int | None]:
    """Return the file that path leads to, links followed, and its permissions, None if there is none; raise as `check_target`."""
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


def write_atomically(
    path: StrPath, parts: Iterable[Bytes], room: int = 0, head: Callable[[], Bytes] = bytes
) -> None:
    """Write bytes so that path holds all of its old content or all of the new at any moment, and the new after a power cut.

    head returns the room bytes in front of the parts: it is asked last, as a checksum may be among them, while the disk is at work.
    The temporary file lies in the same directory (a rename does not cross file systems); what killed calls have left there of this file
    is removed; a link is followed; an old file's mode is kept.
    """

    def write(file: IO[bytes]) -> None:
        file.seek(room)
        _write(file, parts)
        file.seek(0)
        _write(file, [head()])

    target, mode = _look_at_target(path)
    folder, name = os.path.split(target)
    pattern = (
        f".charrnn-{_short_hash(name)}-"  # short, whatever the name is, and another for each name
    )
    with named(path):
        _remove_leftovers(folder, pattern)
        while not _replace(
            target, os.path.join(folder, f"{pattern}{os.urandom(8).hex()}.tmp"), mode, write
        ):
            pass
        _synchronise(folder)


def _replace(
    target: str, temporary: str, mode: int | None, write: Callable[[IO[bytes]], None]
) -> bool:
    """Write a temporary file and rename it to target; return False if another process has removed it, to be done again.

    While it is in use it is locked, which tells it from what a killed process has left. It is opened inside the try, for open may
    fail when the file is there already: memory lacks for the object, Ctrl-C comes. Nobody else has a file of so random a name.
    """
    try:
        with open(
            temporary,
            "xb",
            buffering=0,
            opener=lambda name, flags: _open(name, flags, 0o666 if mode is None else mode),
        ) as file:
            _lock(file.fileno(), wait=True)
            if not os.path.exists(
                temporary
            ):  # somebody took it for a leftover before it was locked
                return False
            if mode is not None:
                os.chmod(temporary, mode)  # what the umask has taken away
            write(file)
            os.fsync(file.fileno())
            if not _LOCKS:
                file.close()
            os.replace(temporary, target)
        return True
    finally:
        with _passed_over():
            os.unlink(temporary)


def _short_hash(name: str) -> str:
    import hashlib  # here: importing charrnn should cost little

    return hashlib.blake2b(os.fsencode(name), digest_size=8).hexdigest()


def _lock(descriptor: int, wait: bool) -> bool:
    """Lock a file; return False if another process has, and we do not wait for it, or locks are not to be had."""
    done = False
    with _passed_over():
        if _LOCKS:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        done = True
    return done


def _remove_leftovers(folder: str, pattern: str) -> None:
    """Remove the temporary files that killed processes have left: nobody holds them locked, or, without locks, they are an hour old."""
    with _passed_over():  # of a folder that can be written to but not listed
        for name in os.listdir(folder):
            if name.startswith(pattern) and name.endswith(".tmp"):
                leftover = os.path.join(folder, name)
                with _passed_over(), open(leftover, "r+b") as file:
                    if not (
                        _lock(file.fileno(), wait=False)
                        if _LOCKS
                        else time.time() - os.stat(leftover).st_mtime > 3600
                    ):
                        continue
                    if not _LOCKS:
                        file.close()
                    os.unlink(leftover)


def _write(file: IO[bytes], parts: Iterable[Bytes]) -> None:
    """Write all of these bytes, a write may take less than it is given; the disk begins at once.

    Now and then the disk is waited for, after as much as it takes in `_WAIT`: Ctrl-C waits until it has all that is written.
    """
    waiting, new, at_once = 0, 0, _PIECE
    for part in parts:
        data = memoryview(part)
        while data:
            written = file.write(data[:_PIECE])
            data, waiting, new = data[written:], waiting + written, new + written
            if new >= _STORED:  # of several parts: rows of an array are rarely as many bytes
                _begin_to_store(file, new)
                new = 0
            if waiting >= at_once:
                began = time.perf_counter()
                os.fsync(file.fileno())
                at_once = max(_PIECE, int(waiting * _WAIT / (time.perf_counter() - began + 1e-3)))
                waiting = 0


def _begin_to_store(file: IO[bytes], size: int) -> None:
    """Have the disk begin with the bytes of a file that were written last, and go on: Linux does when it hears that nobody needs them."""
    if hasattr(os, "posix_fadvise"):
        with _passed_over():
            os.posix_fadvise(file.fileno(), file.tell() - size, size, os.POSIX_FADV_DONTNEED)


def _synchronise(folder: str) -> None:
    """Have the disk hold a folder's names."""
    if hasattr(os, "O_DIRECTORY"):  # not on Windows, where a directory cannot be synchronised
        directory = _open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
