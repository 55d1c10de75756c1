"""Texts that need not fit memory: files to ids in two streaming passes, first the characters there are, then the ids, kept in a file.

What is small stays in memory. Larger ids lie in a file without a name, which is gone with the process, or in a cache for the next time.

A cache file has the form of a .safetensors file, so that others can read it: the tensor ids, of records also lengths, at its end sha256
of all before, and as metadata

    format      "charrnn ids"
    version     "2"
    vocabulary  the characters in the order of their ids
    files       JSON: of each file the name, the size, the time of change in nanoseconds, and the SHA-256 of what is in it
"""

import contextlib
import errno
import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..util.atomic_write import Paths, StrPath, check_path, open_regular, write_atomically
from ..util.progress import Display, check_progress
from .batches import Ids, OpenFile, StoredIds, changed
from .dataset import Records, Text, choose_vocabulary, reads_bytes
from .record_index import RecordIndex
from .sources import PIECE, Pass, Source, compression, find, texts
from .text import check_length
from .vocabulary import AnyText, Vocabulary

_log = logging.getLogger("charrnn")

_CODE_POINTS = 0x110000
_IN_MEMORY = (
    1 << 26
)  # bytes of ids that need no file, and of files whose passes are too short to show
_LONGEST = 2**31 - 2  # characters of a record


_BREAKS = (10, 13)  # a line feed, a carriage return, or both end a record


def _codes(piece: bytes | str) -> NDArray[Any]:
    """Return the code points, or bytes, of a piece."""
    if isinstance(piece, bytes):
        return np.frombuffer(piece, np.uint8)
    return np.frombuffer(piece.encode("utf-32-le"), "<u4")


@dataclass
class _Survey:
    """What the first pass finds."""

    known: bytearray = field(
        default_factory=bytearray
    )  # distinct bytes of the pieces that are bytes
    seen: NDArray[np.bool_] = field(
        default_factory=lambda: np.zeros(_CODE_POINTS, np.bool_)
    )  # code points of the others
    count: int = 0  # characters, those that end lines included
    lines: int = 0  # that are not empty
    inside: int = 0  # characters of lines

    def add(self, piece: bytes | str, lines: "_Lines | None") -> None:
        """Take note of the characters of a piece, and of its lines if there are to be some."""
        self.count += len(piece)
        if lines is not None:
            self.take(lines.cut(_codes(piece))[1])
        if isinstance(piece, str):
            codes = _codes(piece)
            if not self.seen.take(
                codes, mode="clip"
            ).all():  # four times as fast as to write again what is there
                self.seen[codes] = True
            return
        while rest := piece.translate(None, bytes(self.known)):
            self.known += bytes(set(rest[:4096]))

    def take(self, lengths: NDArray[np.int64]) -> None:
        """Take note of lines."""
        if lengths.max(initial=0) > _LONGEST:
            raise ValueError(
                f"a line has {lengths.max():,} characters, more than a record can have: {_LONGEST:,}"
            )
        self.lines += len(lengths)
        self.inside += int(lengths.sum())

    def chars(self, records: bool) -> str:
        """Return the distinct characters, for records without those that end them."""
        self.seen[list(self.known)] = True
        self.seen[list(_BREAKS)] &= not records
        return "".join(map(chr, np.flatnonzero(self.seen)))


def _look(run: Pass, of_bytes: bool, records: bool) -> _Survey:
    """Return what is in files: the first pass."""
    survey = _Survey()
    for name, pieces in run.files():
        lines = _Lines() if records else None
        for piece in pieces if of_bytes else texts(name, pieces):
            survey.add(piece, lines)
        if lines is not None:
            survey.take(lines.last())
    return survey


class _Lines:
    """Pieces of one file cut into lines that are not empty: lengths, and their ids one after the other."""

    def __init__(self) -> None:
        self.open = 0  # characters of the line that the next piece goes on with

    def cut(self, codes: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Return which characters are part of lines, and the lengths of the lines that end here."""
        ends = (codes == _BREAKS[0]) | (codes == _BREAKS[1])
        places = np.flatnonzero(ends)
        lengths = np.diff(places, prepend=-1) - 1
        if len(lengths):
            lengths[0] += self.open
            self.open = len(codes) - 1 - int(places[-1])
        else:
            self.open += len(codes)
        return ~ends, lengths[lengths > 0]

    def last(self) -> NDArray[np.int64]:
        """Return the length of the line that the end of the file ends."""
        left, self.open = self.open, 0
        return np.array([left] * (left > 0), np.int64)


class _Encoding:
    """The second pass: the ids of all files as bytes, piece by piece, and the lengths of records."""

    def __init__(self, vocabulary: Vocabulary, survey: _Survey, first: Pass, run: Pass) -> None:
        self.vocabulary, self.first, self.run = vocabulary, first, run
        self.dtype, self.count = (
            vocabulary.smallest_dtype,
            survey.inside if vocabulary.records else survey.count,
        )
        self.lengths, self.lines = np.zeros(survey.lines, np.int32), 0
        # Of the id of each code point. What is not in the vocabulary was not there in the first pass: the end will tell.
        self.table = np.maximum(vocabulary.of_codes(np.arange(_CODE_POINTS)), 0).astype(self.dtype)

    def parts(self) -> Iterator[bytes]:
        """Yield ids as bytes; or raise ValueError if the files are not those of the first pass."""
        for name, pieces in self.run.files():
            lines = _Lines()
            for piece in pieces if self.vocabulary.of_bytes else texts(name, pieces):
                yield self._encoded(piece, lines)
            self._keep(lines.last())
        for path, before, now in zip(
            self.run.paths, self.first.sources, self.run.sources, strict=True
        ):
            if now != before:
                raise changed(path)

    def _encoded(self, piece: bytes | str, lines: _Lines) -> bytes:
        if isinstance(piece, bytes) and self.dtype == np.uint8 and not self.vocabulary.records:
            return piece.translate(self.table[:256].tobytes())
        codes = _codes(piece)
        if self.vocabulary.records:
            inside, lengths = lines.cut(codes)
            self._keep(lengths)
            codes = codes[inside]
        return self.table.take(codes, mode="clip").tobytes()

    def _keep(self, lengths: NDArray[np.int64]) -> None:
        if self.vocabulary.records:
            lengths = lengths[
                : len(self.lengths) - self.lines
            ]  # a file that has changed may have more
            self.lengths[self.lines : self.lines + len(lengths)] = lengths
            self.lines += len(lengths)


# ---------------------------------------------------------------------------------------------------------------- where ids are


class _Corpus(NamedTuple):
    """What both passes make of files; lengths are those of records."""

    vocabulary: Vocabulary
    ids: Ids
    lengths: NDArray[np.int32]


def _in_memory(made: _Encoding) -> _Corpus:
    data = bytearray()
    for part in made.parts():
        data += part
    return _Corpus(made.vocabulary, np.frombuffer(data, made.dtype), made.lengths)


def _in_a_file(made: _Encoding) -> _Corpus:
    """Write ids to a file that has no name, and so is gone when this process is, however it ends."""
    file = tempfile.TemporaryFile(prefix="charrnn-", buffering=0)  # noqa: SIM115
    try:
        for part in made.parts():
            view = memoryview(part)
            while view:
                view = view[file.write(view) :]
    except BaseException as error:
        file.close()
        if isinstance(error, OSError):
            where, size = tempfile.gettempdir(), made.count * made.dtype.itemsize / 1e6
            error.add_note(
                f"The ids of this text need {size:,.0f} MB in {where}; TMPDIR or cache= choose another place."
            )
        raise
    return _Corpus(
        made.vocabulary,
        StoredIds(OpenFile(file, "the file of ids"), made.dtype, 0, made.count),
        made.lengths,
    )


def _as_it_is(path: str, vocabulary: Vocabulary) -> _Corpus:
    """Return the bytes of a file as their own ids."""
    file = OpenFile(open_regular(path).detach(), path)  # type: ignore[attr-defined]
    return _Corpus(
        vocabulary, StoredIds(file, np.dtype(np.uint8), 0, file.before[0]), np.empty(0, np.int32)
    )


_FORMAT, _VERSION, _DIGEST = "charrnn ids", "2", 32
_DTYPES: dict[str, np.dtype[Any]] = {
    "U8": np.dtype(np.uint8),
    "U16": np.dtype("<u2"),
    "U32": np.dtype("<u4"),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def _to_cache(target: str, made: _Encoding) -> None:
    """Write a cache file: a crash leaves none, and what a killed process has left is removed."""
    size, end = (
        made.count * made.dtype.itemsize,
        made.count * made.dtype.itemsize + made.lengths.nbytes,
    )
    header: dict[str, Any] = {
        "__metadata__": {
            "format": _FORMAT,
            "version": _VERSION,
            "vocabulary": made.vocabulary.chars,
            "files": json.dumps(made.first.sources),
        },
        "ids": {"dtype": _NAMES[made.dtype], "shape": [made.count], "data_offsets": [0, size]},
    }
    if made.vocabulary.records:
        header["lengths"] = {
            "dtype": "I32",
            "shape": [len(made.lengths)],
            "data_offsets": [size, end],
        }
    header["sha256"] = {"dtype": "U8", "shape": [_DIGEST], "data_offsets": [end, end + _DIGEST]}
    words = json.dumps(header, ensure_ascii=False).encode()
    words += b" " * (-len(words) % 8)

    def content() -> Iterator[bytes]:
        yield len(words).to_bytes(8, "little") + words
        yield from made.parts()
        yield made.lengths.astype("<i4").tobytes()  # which are there now

    def parts() -> Iterator[bytes]:
        digest = hashlib.sha256()
        for part in content():
            digest.update(part)
            yield part
        yield digest.digest()

    write_atomically(target, parts())


def _from_cache(target: str, of_bytes: bool, records: bool) -> tuple[_Corpus, list[Source]] | None:
    """Return what a cache file holds, and of which files; None if there is none, or what is there is none that this version wrote."""
    try:
        file = OpenFile(open_regular(target).detach(), target)  # type: ignore[attr-defined]
    except FileNotFoundError:
        return None
    try:
        words = np.empty(8, np.uint8)
        file.fill(words, 0)
        length = int(words.view("<u8")[0])
        words = np.empty(min(length, file.before[0]), np.uint8)
        file.fill(words, 8)
        header = json.loads(words.tobytes())
        about = header["__metadata__"]
        if (about["format"], about["version"]) != (_FORMAT, _VERSION):
            return None
        vocabulary = Vocabulary(about["vocabulary"], records, of_bytes)
        (count,), (lines,) = header["ids"]["shape"], header["lengths"]["shape"] if records else [0]
        dtype = _DTYPES[header["ids"]["dtype"]]
        first = 8 + length
        if file.before[0] != first + count * dtype.itemsize + lines * 4 + _DIGEST:
            return None
        lengths = np.empty(lines, "<i4")
        file.fill(lengths, first + count * dtype.itemsize)
        sources = [Source(*one) for one in json.loads(about["files"])]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return _Corpus(vocabulary, StoredIds(file, dtype, first, count), lengths), sources


def _is_whole(target: str, tell: Callable[[int], None]) -> bool:
    """Return whether a cache file ends with the SHA-256 of all before."""
    digest = hashlib.sha256()
    with open_regular(target) as file:
        left = os.fstat(file.fileno()).st_size - _DIGEST
        while left > 0 and (piece := file.read(min(left, PIECE))):
            digest.update(piece)
            left -= len(piece)
            tell(len(piece))
        return left == 0 and file.read() == digest.digest()


def _cache_path(folder: StrPath, paths: list[str], *how: Any) -> str:
    """Return the name of the cache file of files as they are, read in some way."""
    folder = check_path("cache", folder)
    try:
        os.makedirs(folder, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(
            errno.ENOTDIR, "cache must be a directory, not a file", os.fspath(folder)
        ) from error
    stats = [
        (os.path.basename(path), stat.st_size, stat.st_mtime_ns)
        for path, stat in zip(paths, map(os.stat, paths), strict=True)
    ]
    key = hashlib.blake2b(json.dumps([_VERSION, stats, how]).encode(), digest_size=12).hexdigest()
    return os.path.join(folder, f"charrnn-{key}.ids")


# ---------------------------------------------------------------------------------------------------------------- all together


@contextlib.contextmanager
def _shown(what: str, paths: list[str], show: bool) -> Iterator[Callable[[int], None]]:
    """Show how far a pass over files is, if it takes long; what it yields is to be told of bytes read."""
    total = sum(os.path.getsize(path) for path in paths)
    display, done, began = Display(show and total > _IN_MEMORY, 0.0), 0, time.perf_counter()

    def tell(count: int) -> None:
        nonlocal done
        done += count
        rate = done / max(time.perf_counter() - began, 1e-9) / 1e6
        display.update(min(1.0, done / max(total, 1)), f"{what}, {rate:,.0f} MB/s")

    try:
        yield tell
    finally:
        display.close()
        _log.info("%s: %.0f MB in %.1f s", what, done / 1e6, time.perf_counter() - began)


@dataclass(frozen=True)
class _Way:
    """How to read files."""

    alphabet: str
    records: bool
    known: Vocabulary | None
    extend: bool

    @property
    def of_bytes(self) -> bool:
        return reads_bytes(self.alphabet, self.known)

    def vocabulary(self, chars: str) -> Vocabulary:
        return choose_vocabulary(chars, self.alphabet, self.records, self.known, self.extend)


def read(path: Paths, way: _Way, cache: StrPath | None, progress: bool | None) -> _Corpus:
    """Return the vocabulary, the ids and the lengths of records of the files that path names."""
    paths, show = find(path), check_progress(progress)
    if (
        way.of_bytes
        and not way.records
        and len(paths) == 1
        and compression(paths[0]) is None
        and os.path.getsize(paths[0]) > _IN_MEMORY
    ):
        return _as_it_is(paths[0], way.vocabulary(""))
    target = None
    if cache is not None:
        known = None if way.known is None else (way.known.chars, way.extend)
        target = _cache_path(cache, paths, way.of_bytes, way.records, known)
        if (found := _again(target, paths, way, show)) is not None:
            return found
    with _shown("pass 1 of 2", paths, show) as tell:
        first = Pass(paths, tell)
        survey = _look(first, way.of_bytes, way.records)
    _check_size(
        os.fspath(path) if isinstance(path, (str, os.PathLike)) else "the text", survey, way
    )
    vocabulary = way.vocabulary("" if way.of_bytes else survey.chars(way.records))
    with _shown("pass 2 of 2", paths, show) as tell:
        made = _Encoding(vocabulary, survey, first, Pass(paths, tell))
        if target is None:
            return (
                _in_memory(made)
                if made.count * made.dtype.itemsize <= _IN_MEMORY
                else _in_a_file(made)
            )
        _to_cache(target, made)
    written = _from_cache(target, way.of_bytes, way.records)
    if written is None:
        raise changed(target)
    return _small_in_memory(written[0])


def _again(target: str, paths: list[str], way: _Way, show: bool) -> _Corpus | None:
    """Return what the cache has of these files, if they still are what it was made of."""
    found = _from_cache(target, way.of_bytes, way.records)
    if found is None:
        return None
    with _shown("comparing with the cache", [*paths, target], show) as tell:
        same = Pass(paths, tell).hashed() == found[1] and _is_whole(target, tell)
    _log.info("%s is %s", target, "used again" if same else "of another text, or damaged")
    return _small_in_memory(found[0]) if same else None


def _small_in_memory(corpus: _Corpus) -> _Corpus:
    ids = corpus.ids
    small = isinstance(ids, StoredIds) and len(ids) * ids.dtype.itemsize <= _IN_MEMORY
    return (
        corpus._replace(ids=ids.read(0, len(ids)))
        if isinstance(ids, StoredIds) and small
        else corpus
    )


def _check_size(name: str, survey: _Survey, way: _Way) -> None:
    """Raise ValueError if there is too little to train on."""
    if not way.records:
        check_length(name, (b"x" if way.of_bytes else "x") * min(survey.count, 2))
    elif not survey.inside:
        raise ValueError(f"{name} has no line with a character in it; training needs at least 1")


def text_files(
    path: Paths,
    alphabet: str = "characters",
    known: Vocabulary | None = None,
    extend: bool = False,
    cache: StrPath | None = None,
    progress: bool | None = None,
) -> Text:
    """Return the text of files, one after the other."""
    called = time.perf_counter()
    vocabulary, ids, _ = read(path, _Way(alphabet, False, known, extend), cache, progress)
    return Text(vocabulary, ids, called)


def record_files(
    path: Paths,
    alphabet: str = "characters",
    known: Vocabulary | None = None,
    extend: bool = False,
    remember: bool = False,
    cache: StrPath | None = None,
    progress: bool | None = None,
) -> Records:
    """Return the lines of files that are not empty; they end with a line feed, a carriage return, or both, and where a file ends."""
    called = time.perf_counter()
    corpus = read(path, _Way(alphabet, True, known, extend), cache, progress)
    return Records(*corpus, RecordIndex.of(_strings(corpus)) if remember else None, called)


def _strings(corpus: _Corpus) -> Iterator[AnyText]:
    start, ids = 0, corpus.ids
    for length in corpus.lengths.tolist():
        yield corpus.vocabulary.decode(
            ids.read(start, start + length)
            if isinstance(ids, StoredIds)
            else ids[start : start + length]
        )
        start += length
