"""Files of arrays: models, checkpoints and cached ids, in the format of safetensors.

Such a file is the length of its header in 8 bytes, the header (JSON, padded with spaces), and the
bytes of the tensors in the header's order. The last tensor, sha256, is of all bytes before it.

The safetensors library reads such files, but does not fit here. It maps a file into memory, and
overwriting a mapped file crashes the process that reads it; or it needs all bytes at once. And it
writes metadata in a random order, but equal models should be equal files.
"""

import io
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any, NamedTuple

import numpy as np

from .atomic_write import Bytes, read_pieces

_DTYPES: dict[str, np.dtype[Any]] = {
    **{"U8": np.dtype("u1"), "U16": np.dtype("<u2"), "U32": np.dtype("<u4")},
    **{"I32": np.dtype("<i4"), "F32": np.dtype("<f4"), "F64": np.dtype("<f8")},
}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}
_LARGEST_HEADER = 1 << 23  # bytes: all characters of Unicode, and a history
# What code that expects other JSON than it gets may raise: the file is not what it should be.
MALFORMED = (AttributeError, LookupError, TypeError, ValueError, RecursionError)


class Tensor(NamedTuple):
    """What a header says of a tensor."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Its size in the file."""
        return self.dtype.itemsize * math.prod(self.shape)


_SHA256 = Tensor(_DTYPES["U8"], (32,))


def encode(
    metadata: Mapping[str, str], tensors: Mapping[str, Tensor], parts: Iterable[Bytes]
) -> Iterator[Bytes]:
    """Yield the bytes of a file. parts are the bytes of the tensors, in their order."""
    import hashlib  # here, and so elsewhere: with OpenSSL it takes some milliseconds

    digest = hashlib.sha256()
    for part in itertools.chain([_encode_header(metadata, tensors)], parts):
        digest.update(part)
        yield part
    yield digest.digest()


def _encode_header(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> bytes:
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, tensor in {**tensors, "sha256": _SHA256}.items():
        offsets = [end, end := end + tensor.nbytes]
        header[name] = {"dtype": _CODES[tensor.dtype], "shape": tensor.shape}
        header[name]["data_offsets"] = offsets
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # numbers begin on multiples of their size
    return len(text).to_bytes(8, "little") + text


class TensorFile:
    """A file that is read once, from its beginning to its end, and hashed on the way.

    Nothing in it can be trusted: where it is wrong, a method raises one of `MALFORMED`.
    """

    def __init__(self, file: IO[bytes]) -> None:
        """Read the header of a file that is open for reading in binary."""
        import hashlib

        self.file: IO[bytes] = file
        self.digest: Any = hashlib.sha256()
        length = int.from_bytes(self._read_length(), "little")
        if length > _LARGEST_HEADER:
            raise ValueError(f"a header of {length} bytes: {_LARGEST_HEADER} are the most")
        self._entries: dict[str, Any] = json.loads(self.read(length))
        self.metadata: dict[str, Any] = dict(self._entries.pop("__metadata__", {}))
        self.start: int = 8 + length  # of the first tensor, in bytes

    def _read_length(self) -> bytes:
        begin = read_pieces(self.file, 8)
        if not begin:
            raise ValueError("it is empty, or was read to its end: seek(0) goes back")
        if len(begin) < 8:
            raise ValueError("it has no header")
        if b"\0" not in begin:  # the length of a header has zeros
            text = begin.decode("utf-8", "replace").rstrip("\ufffd")  # may end inside a character
            is_text = not any(char == "\ufffd" or char < "\t" for char in text)
            hint = ", as a text may, which train_file trains on" if is_text else ""
            raise ValueError(f"it begins with {begin!r}{hint}")
        self.digest.update(begin)
        return begin

    def check_tensors(self) -> dict[str, Tensor]:
        """Return what tensors there are, if they and nothing else follow the header."""
        tensors, end = {}, 0
        for name, entry in self._entries.items():
            shape = tuple(entry["shape"])
            if len(shape) > 2 or not all(type(n) is int and 0 <= n < 2**63 for n in shape):
                raise ValueError(f"the shape of {name} is {shape!r:.60}")
            tensors[name] = tensor = Tensor(_DTYPES[entry["dtype"]], shape)
            offsets = entry["data_offsets"]
            if {*map(type, offsets)} != {int} or offsets != [end, end := end + tensor.nbytes]:
                raise ValueError(f"{name} is not where it should be")
        if tensors.pop("sha256", None) != _SHA256 or name != "sha256":
            raise ValueError("its last tensor is not its SHA-256")
        self._check_size(end)
        return tensors

    def _check_size(self, size: int) -> None:
        """Raise ValueError if not exactly size bytes follow, before memory is taken for them."""
        if not self.file.seekable():
            self.file = io.BytesIO(read_pieces(self.file, size + 1))
        here = self.file.tell()
        found = self.file.seek(0, io.SEEK_END) - here
        self.file.seek(here)
        if found != size:
            raise ValueError(f"{found} bytes follow its header, which announces {size}")

    def read(self, size: int) -> bytes:
        """Return the next size bytes, or raise ValueError if there are fewer."""
        data = read_pieces(self.file, size)
        if len(data) < size:
            raise ValueError(f"it ends {size - len(data)} bytes too early")
        self.digest.update(data)
        return data

    def check_digest(self) -> None:
        """Raise ValueError if what was read, which must be all tensors, is not what was written."""
        if read_pieces(self.file, 32) != self.digest.digest():
            raise ValueError("its content does not match its SHA-256")
