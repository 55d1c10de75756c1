"""Files of any size as ids, in two passes: first which characters there are, then their ids.

Small ids stay in memory. Large ones are in a file without a name, which is gone with the process,
or in a cache for the next time. A cache file, see tensor_file.py, has the tensor ids, of records
also lengths, and as metadata

    format      "charrnn ids"
    version     "1"
    vocabulary  the characters in the order of their ids
    files       the SHA-256 of JSON: name, size, time of change and SHA-256 of each file
"""

import contextlib
import errno
import hashlib
import itertools
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ..util.atomic_write import (
    Paths,
    StrPath,
    check_path,
    open_regular,
    write_all,
    write_atomically,
)
from ..util.errors import check_flags
from ..util.progress import Display, check_progress
from ..util.tensor_file import MALFORMED, Tensor, TensorFile, encode
from .batches import Ids, OpenFile, StoredIds, changed
from .dataset import Records, Text, choose_vocabulary, reads_bytes
from .record_index import RecordIndex
from .sources import PIECE, FileReader, Source, compression, find
from .splitting import check_separator
from .splitting import records as split_records
from .text import check_encoding, check_length
from .vocabulary import AnyText, Vocabulary

_log = logging.getLogger("charrnn")

_FORMAT, _VERSION = "charrnn ids", "1"
_CODE_POINTS = 0x110000
_IN_MEMORY = 1 << 26  # bytes of ids that need no file, and of files that need no progress bar
_LONGEST = 2**31 - 2  # characters of a record
_RECORDS = 1 << 10  # records between separators at a time

Report = Callable[[int], None]  # is called with each number of bytes that were read


@dataclass(frozen=True)
class ReadOptions:
    """What to make of files, and where to keep it; see `charrnn.train_file`.

    known is the vocabulary of a model that trains further, which extend lets grow.
    """

    alphabet: str = "characters"
    records: bool = False
    remember: bool = False
    known: Vocabulary | None = None
    extend: bool = False
    separator: str | None = None
    encoding: str | None = None
    cache: StrPath | None = None
    progress: bool | None = None

    @classmethod
    def from_options(cls, options: Mapping[str, Any], **others: Any) -> "ReadOptions":
        """Return those of the options of a training that are of its files, and others."""
        names = {field.name for field in fields(cls)} & options.keys()
        return cls(**{**{name: options[name] for name in names}, **others})

    @property
    def of_bytes(self) -> bool:
        """Whether ids are of bytes."""
        return reads_bytes(self.alphabet, self.known)

    def check(self) -> None:
        """Raise TypeError or ValueError if options are wrong or don't go together."""
        check_flags(records=self.records, remember=self.remember)
        if self.remember and not self.records:
            raise ValueError("remember=True needs records=True: a text has no records to remember")
        check_separator(self.separator)
        check_encoding(self.encoding)
        if self.separator is not None and not self.records:
            raise ValueError("separator needs records: a text has none")
        if self.encoding is not None and self.of_bytes:
            raise ValueError("encoding is for characters, but these are bytes")

    def vocabulary(self, chars: str) -> Vocabulary:
        """Return the vocabulary of a text with these characters."""
        return choose_vocabulary(chars, self.alphabet, self.records, self.known, self.extend)


class _Corpus(NamedTuple):
    """What files become; lengths are of records."""

    vocabulary: Vocabulary
    ids: Ids
    lengths: NDArray[np.int32]


# ------------------------------------------------------------------------------------------- passes


class TextStats(NamedTuple):
    """What the first pass finds."""

    chars: str  # distinct ones
    size: int  # characters
    n_records: int


def _codes(piece: bytes | str) -> NDArray[Any]:
    """Return the code points, or the bytes, of a piece."""
    if isinstance(piece, bytes):
        return np.frombuffer(piece, np.uint8)
    return np.frombuffer(piece.encode("utf-32-le"), "<u4")


def _cut(
    reader: FileReader, records: bool, separator: str | None
) -> Iterator[tuple[NDArray[Any], NDArray[np.int64]]]:
    """Yield the code points of files, piece by piece, and the lengths of records that end there.

    Records are lines that are not empty. A line feed, a carriage return or both end one, or the
    end of the file.
    """
    if separator is not None:
        yield from _cut_at(reader, separator)
        return
    none = np.empty(0, np.int64)
    for pieces in reader.files():
        waiting = 0  # characters of the line that the next piece continues
        for codes in map(_codes, pieces):
            if not records:
                yield codes, none
                continue
            breaks = (codes == 10) | (codes == 13)
            places = np.flatnonzero(breaks)
            lengths = np.diff(places, prepend=-1 - waiting) - 1
            waiting = len(codes) - 1 - int(places[-1]) if len(places) else waiting + len(codes)
            if max(waiting, lengths.max(initial=0)) > _LONGEST:
                raise ValueError(
                    f"a line has more than {_LONGEST:,} characters, the most of a record"
                )
            yield codes[~breaks], lengths[lengths > 0]
        if waiting:
            yield none, np.array([waiting])


def _cut_at(reader: FileReader, separator: str) -> Iterator[tuple[NDArray[Any], NDArray[np.int64]]]:
    """Yield the code points of records between separators, and their lengths."""
    for pieces in reader.files():
        if not reader.of_bytes:
            pieces = (
                str(piece, "ascii") if isinstance(piece, bytes) else piece for piece in pieces
            )
        found = split_records(pieces, separator)
        while some := list(itertools.islice(found, _RECORDS)):
            yield _codes(some[0][:0].join(some)), np.array([len(one) for one in some])


def _scan(reader: FileReader, options: ReadOptions) -> TextStats:
    """Make the first pass."""
    seen, size, n_records = np.zeros(_CODE_POINTS, np.bool_), 0, 0
    for codes, lengths in _cut(reader, options.records, options.separator):
        if not (options.of_bytes or seen.take(codes, mode="clip").all()):  # faster than to write
            seen[codes] = True
        size += len(codes)
        n_records += len(lengths)
    return TextStats("".join(map(chr, np.flatnonzero(seen))), size, n_records)


def _encode(
    reader: FileReader,
    before: list[Source],
    vocabulary: Vocabulary,
    lengths: NDArray[np.int32],
    separator: str | None,
) -> Iterator[bytes]:
    """Make the second pass: yield the ids as bytes, and fill in the lengths of records.

    Raise ValueError if the files are not those that were there before.
    """
    # A character that is not in the vocabulary was not there in the first pass: see the end.
    ids = np.maximum(vocabulary.of_codes(np.arange(_CODE_POINTS)), 0)
    table, done = ids.astype(vocabulary.smallest_dtype), 0
    for codes, some in _cut(reader, vocabulary.records, separator):
        room = lengths[done : done + len(some)]  # a file that has changed may have more records
        room[:] = some[: len(room)]
        done += len(some)
        yield table.take(codes, mode="clip").tobytes()
    for path, then, now in zip(reader.paths, before, reader.sources, strict=True):
        if now != then:
            raise changed(path)


# ------------------------------------------------------------------------------------ where ids are


def _in_memory(parts: Iterable[bytes], dtype: np.dtype[Any]) -> Ids:
    data = bytearray()
    for part in parts:
        data += part
    return np.frombuffer(data, dtype)


def _in_a_file(parts: Iterable[bytes], dtype: np.dtype[Any], count: int) -> Ids:
    """Write ids to a file without a name: it is gone with this process, however that ends."""
    file: Any = tempfile.TemporaryFile(prefix="charrnn-", buffering=0)  # noqa: SIM115
    try:
        write_all(file, parts)
    except BaseException as error:
        file.close()
        if isinstance(error, OSError):
            need = f"{count * dtype.itemsize / 1e6:,.0f} MB in {tempfile.gettempdir()}"
            how = "TMPDIR or cache= choose another place"
            error.add_note(f"The ids of this text need {need}; {how}.")
        raise
    return StoredIds(OpenFile(file, "the file of ids"), dtype, 0, count)


def _as_it_is(path: str, vocabulary: Vocabulary) -> _Corpus:
    """Return the bytes of a file as their own ids."""
    file = _open(path)
    ids = StoredIds(file, np.dtype(np.uint8), 0, file.before[0])
    return _Corpus(vocabulary, ids, np.empty(0, np.int32))


def _open(path: str) -> OpenFile:
    return OpenFile(cast(Any, open_regular(path)).detach(), path)


# -------------------------------------------------------------------------------------------- cache


def _cache_path(cache: StrPath, paths: list[str], options: ReadOptions) -> str:
    """Return the name of the cache file of these files, as they are, with these options."""
    folder = check_path("cache", cache)
    try:
        os.makedirs(folder, exist_ok=True)
    except FileExistsError as error:
        what = "cache must be a directory, not a file"
        raise NotADirectoryError(errno.ENOTDIR, what, folder) from error
    stats = [(path, os.stat(path)) for path in paths]
    files = [(os.path.basename(path), stat.st_size, stat.st_mtime_ns) for path, stat in stats]
    known = options.known and (options.known.chars, options.extend)
    kind = options.of_bytes, options.records, options.separator, options.encoding
    how = _VERSION, files, *kind, known
    key = hashlib.blake2b(json.dumps(how).encode(), digest_size=12)
    return os.path.join(folder, f"charrnn-{key.hexdigest()}.ids")


def _metadata(sources: list[Source]) -> dict[str, str]:
    files = hashlib.sha256(json.dumps(sources).encode()).hexdigest()
    return {"format": _FORMAT, "version": _VERSION, "files": files}


def _write_cache(
    target: str,
    sources: list[Source],
    vocabulary: Vocabulary,
    parts: Iterable[bytes],
    count: int,
    lengths: NDArray[np.int32],
) -> None:
    tensors = {"ids": Tensor(vocabulary.smallest_dtype.newbyteorder("<"), (count,))}
    if vocabulary.records:
        tensors["lengths"] = Tensor(np.dtype("<i4"), lengths.shape)

    def content() -> Iterator[bytes]:
        yield from parts
        yield lengths.astype("<i4").tobytes()  # which are there now

    metadata = {**_metadata(sources), "vocabulary": vocabulary.chars}
    write_atomically(target, encode(metadata, tensors, content()))


def _read_cache(
    target: str, sources: list[Source], options: ReadOptions, report: Report
) -> _Corpus | None:
    """Return what a cache file holds of these files, None if it is damaged or not of them."""
    try:
        file = _open(target)
        content = TensorFile(file.file)
        tensors, about = content.check_tensors(), content.metadata
        if not _metadata(sources).items() <= about.items():
            return None
        vocabulary = Vocabulary(about["vocabulary"], options.records, options.of_bytes)
        left = sum(tensor.nbytes for tensor in tensors.values())
        while left:
            piece = content.read(min(left, PIECE))
            left -= len(piece)
            report(len(piece))
        content.check_digest()
        ids = StoredIds(file, tensors["ids"].dtype, content.start, *tensors["ids"].shape)
        lengths = np.empty(tensors["lengths"].shape if options.records else 0, "<i4")
        file.fill(lengths, content.start + tensors["ids"].nbytes)
    except MALFORMED:
        return None
    small = tensors["ids"].nbytes <= _IN_MEMORY
    return _Corpus(vocabulary, ids.read(0, len(ids)) if small else ids, lengths)


# ----------------------------------------------------------------------------------------- together


@contextlib.contextmanager
def _shown(what: str, paths: list[str], show: bool) -> Iterator[Report]:
    """Show the progress of a pass over files if it takes long, by what is reported of it."""
    total = sum(os.path.getsize(path) for path in paths)
    display, done, began = Display(show and total > _IN_MEMORY, 0.0), 0, time.perf_counter()

    def report(count: int) -> None:
        nonlocal done
        done += count
        rate = done / max(time.perf_counter() - began, 1e-9) / 1e6
        display.update(min(1.0, done / max(total, 1)), f"{what}, {rate:,.0f} MB/s")

    try:
        yield report
    finally:
        display.close()
        _log.info("%s: %.0f MB in %.1f s", what, done / 1e6, time.perf_counter() - began)


def read_files(path: Paths, options: ReadOptions) -> Text | Records:
    """Return files as one text, or their lines that are not empty as records."""
    called = time.perf_counter()
    options.check()
    corpus = _read(path, options)
    if not options.records:
        return Text(corpus.vocabulary, corpus.ids, called)
    index = RecordIndex.from_records(_strings(corpus)) if options.remember else None
    return Records(*corpus, index, called)


def _strings(corpus: _Corpus) -> Iterator[AnyText]:
    start, ids = 0, corpus.ids
    for length in corpus.lengths.tolist():
        part = ids[start : start + length]
        ids_of_one = part.read(0, length) if isinstance(part, StoredIds) else part
        yield corpus.vocabulary.decode(ids_of_one)
        start += length


def _read(path: Paths, options: ReadOptions) -> _Corpus:
    paths, show = find(path), check_progress(options.progress)
    if options.of_bytes and not options.records and _is_large_and_plain(paths):
        return _as_it_is(paths[0], options.vocabulary(""))
    target = None if options.cache is None else _cache_path(options.cache, paths, options)
    if target is not None and os.path.lexists(target):
        found = _reuse(target, paths, options, show)
        if found is not None:
            return found
    with _shown("pass 1 of 2", paths, show) as report:
        first = FileReader(paths, options.of_bytes, report, options.encoding)
        stats = _scan(first, options)
    _check_size(path, stats, options)
    vocabulary = options.vocabulary(stats.chars)
    lengths, dtype = np.zeros(stats.n_records, np.int32), vocabulary.smallest_dtype
    with _shown("pass 2 of 2", paths, show) as report:
        second = FileReader(paths, options.of_bytes, report, options.encoding)
        parts = _encode(second, first.sources, vocabulary, lengths, options.separator)
        if target is not None:
            _write_cache(target, first.sources, vocabulary, parts, stats.size, lengths)
        elif stats.size * dtype.itemsize <= _IN_MEMORY:
            return _Corpus(vocabulary, _in_memory(parts, dtype), lengths)
        else:
            return _Corpus(vocabulary, _in_a_file(parts, dtype, stats.size), lengths)
    written = _read_cache(target, first.sources, options, lambda count: None)
    if written is None:
        raise changed(target)
    return written


def _is_large_and_plain(paths: list[str]) -> bool:
    plain = len(paths) == 1 and compression(paths[0]) is None
    return plain and os.path.getsize(paths[0]) > _IN_MEMORY


def _reuse(target: str, paths: list[str], options: ReadOptions, show: bool) -> _Corpus | None:
    """Return what the cache has of these files, if they still are what it was made of."""
    with _shown("comparing with the cache", [*paths, target], show) as report:
        sources = FileReader(paths, options.of_bytes, report, options.encoding).hashed()
        found = _read_cache(target, sources, options, report)
    _log.info("%s is %s", target, "of another text, or damaged" if found is None else "used again")
    return found


def _check_size(path: Paths, stats: TextStats, options: ReadOptions) -> None:
    """Raise ValueError if there is too little to train on."""
    name = os.fspath(path) if isinstance(path, (str, os.PathLike)) else "the text"
    if not options.records:
        check_length(name, (b"x" if options.of_bytes else "x") * min(stats.size, 2))
    elif not stats.size:
        raise ValueError(f"{name} has no line with a character in it; training needs at least 1")
