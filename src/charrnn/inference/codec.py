"""Lossless compression of bytes: `charrnn.compress` and `charrnn.decompress`.

A network predicts each bit from what came before, and learns it; an arithmetic coder makes a bit
that it expects cheap (`_codec.pyx`). A model's predictions are one more of its inputs.

A stream is a magic number, a byte for its version, the first 8 bytes of the model's hash (zeros
without a model), and blocks: how many bytes a block has, how many its code has, the code, and the
first 8 bytes of the SHA-256 of the model's hash and all data so far. After the last block come a
zero and that SHA-256, whole. Numbers are in groups of 7 bits, the lowest first, marked if more
follow. A string of at most 1,024 bytes has a shorter form: one byte as magic number and version,
the number of bytes, the code, and the first 4 bytes of the SHA-256.
"""

import io
from collections.abc import Iterable, Iterator
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..network import Real, dispatch
from ..storage.model_file import ModelState
from ..util.atomic_write import read_pieces
from ..util.errors import CodecError, short_repr
from ..util.hashing import sha256
from .sampling import PrimedState

if TYPE_CHECKING:
    from ..model import CharRNN
    from ._codec import Codec

_STREAM, _VERSION = b"\xf5crn", b"\x01"  # no UTF-8 has the bytes F5 and F6
_STRING = b"\xf6"
_LONGEST_STRING = 1024  # bytes
_BLOCK = 1 << 18  # bytes: seconds of work, after which a reader of a pipe gets something
_PIECE = 1 << 11  # bytes between two chances for Ctrl-C
_BITS = 18  # of the number of buckets: 84 MB
_MASS = 1 << 24  # of all counts of a model together, about
_DAMAGED = "the compressed data is damaged, or of another model"


def compress(data: Any, model: "CharRNN[Any] | None" = None) -> bytes:
    """Compress bytes without loss.

    Parameters
    ----------
    data : bytes-like
        Anything; text as ``text.encode()``.
    model : CharRNN, optional
        A model of similar data, for short strings. `decompress` then needs it, too.

    Returns
    -------
    bytes
        The same on every machine.

    Raises
    ------
    TypeError
        If data is not bytes.
    CodecError
        With a model, on a processor without FMA: its predictions would differ.

    Examples
    --------
    >>> import charrnn
    >>> packed = charrnn.compress(b"to be or not to be, " * 20)
    >>> len(packed) < 50, charrnn.decompress(packed)[:20]
    (True, b'to be or not to be, ')
    """
    content = _as_bytes(data)
    if len(content) > _LONGEST_STRING:
        return b"".join(compress_file(io.BytesIO(content), model))
    guide, key = _guide(model)
    codec = _codec(_bits(len(content)))
    code = b"".join(_encode(codec, guide, content))
    return _STRING + _number(len(content)) + code + _digest(key, content)[:4]


def decompress(data: Any, model: "CharRNN[Any] | None" = None) -> bytes:
    """Return what `compress` was given: the same bytes or an error, never other bytes.

    Parameters
    ----------
    data : bytes-like
        What `compress` or the command returned.
    model : CharRNN, optional
        The model that it was compressed with, if any.

    Raises
    ------
    TypeError
        If data is not bytes.
    CodecError
        If data is damaged, unreadable for this version, or needs another model. Of damaged results
        for at most 1,024 bytes, one in four billion goes unnoticed.
    """
    return b"".join(decompress_file(io.BytesIO(_as_bytes(data)), model))


def compress_file(file: IO[bytes], model: "CharRNN[Any] | None" = None) -> Iterator[bytes]:
    """Yield the stream of a file's content, piece after piece, as it is read."""
    guide, key = _guide(model)
    codec, digest = _codec(_BITS), _sha256(key)
    yield _STREAM + _VERSION + key[:8]
    while data := read_pieces(file, _BLOCK):
        code = b"".join(_encode(codec, guide, data))
        digest.update(data)
        yield _number(len(data)) + _number(len(code)) + code + digest.digest()[:8]
    yield _number(0) + digest.digest()


def decompress_file(file: IO[bytes], model: "CharRNN[Any] | None" = None) -> Iterator[bytes]:
    """Yield the content of a stream, block after block, each after its check."""
    start = file.read(1)
    if start == _STRING:
        yield _decompress_string(file, model)
        return
    if start + read_pieces(file, 3) != _STREAM:
        raise CodecError("charrnn has not compressed this data")
    if (version := _exactly(file, 1)) != _VERSION:
        raise CodecError(f"version {version[0]} of compressed data; this charrnn reads version 1")
    guide, key = _guide(model)
    if (wanted := _exactly(file, 8)) != key[:8]:
        raise CodecError(_which_model(wanted, key))
    codec, digest = _codec(_BITS), _sha256(key)
    while n := _read_number(file, _BLOCK):
        # A bit costs at most 12 bits.
        code = _exactly(file, _read_number(file, 12 * _BLOCK + 8))
        data = b"".join(_decode(codec, guide, code, n))
        digest.update(data)
        if _exactly(file, 8) != digest.digest()[:8]:
            raise CodecError(_DAMAGED)
        yield data
    if _exactly(file, 32) != digest.digest() or file.read(1):
        raise CodecError(_DAMAGED)


def _decompress_string(file: IO[bytes], model: "CharRNN[Any] | None") -> bytes:
    guide, key = _guide(model)
    n = _read_number(file, _LONGEST_STRING)
    rest = read_pieces(file, 12 * _LONGEST_STRING + 13)
    data = b"".join(_decode(_codec(_bits(n)), guide, rest[:-4], n))
    if rest[-4:] != _digest(key, data)[:4]:
        raise CodecError(_DAMAGED)
    return data


def _as_bytes(data: Any) -> bytes:
    try:
        return bytes(memoryview(data))
    except TypeError:
        instead = ": give text.encode()" if isinstance(data, str) else ""
        message = f"data must be bytes, not {type(data).__name__}{instead}"
        raise TypeError(message) from None


def _which_model(wanted: bytes, key: bytes) -> str:
    """Return what is wrong about a model."""
    if not any(wanted):
        return "model must be None: this was compressed without one"
    name = f"the model whose hash begins with {wanted.hex()}"
    return f"model must be {name}, not {f'that of {key[:8].hex()}' if any(key) else 'None'}"


def _codec(bits: int) -> "Codec":
    """Return a predictor and coder that know nothing yet."""
    from ._codec import Codec  # here: its tables take some milliseconds

    return Codec(bits)


def _bits(n: int) -> int:
    """Return the bits of the number of buckets for a string: at least one for each half byte."""
    return n.bit_length() + 2


def _sha256(start: bytes) -> Any:
    import hashlib  # here: see util.hashing

    return hashlib.sha256(start)


def _digest(key: bytes, data: bytes) -> bytes:
    found: bytes = _sha256(key + data).digest()
    return found


def _number(n: int) -> bytes:
    """Return a number in groups of 7 bits."""
    groups = []
    while n > 127:
        groups.append(n & 127 | 128)
        n >>= 7
    return bytes([*groups, n])


def _read_number(file: IO[bytes], most: int) -> int:
    n = shift = 0
    while shift < 28:
        (group,) = _exactly(file, 1)
        n |= (group & 127) << shift
        shift += 7
        if group < 128:
            break
    if n > most:
        raise CodecError(_DAMAGED)
    return n


def _exactly(file: IO[bytes], n: int) -> bytes:
    data = read_pieces(file, n)
    if len(data) < n:
        raise CodecError("the compressed data ends early: some of it is missing")
    return data


def _encode(codec: "Codec", guide: "_Guide | None", data: bytes) -> Iterator[bytes]:
    if guide is None:
        for start in range(0, len(data), _PIECE):
            yield codec.encode(data[start : start + _PIECE])
    else:
        for byte in data:
            codec.guide(guide.counts())
            yield codec.encode(bytes([byte]))
            guide.read(byte)
    yield codec.finish()


def _decode(codec: "Codec", guide: "_Guide | None", code: bytes, n: int) -> Iterator[bytes]:
    codec.start(code)
    if guide is None:
        for start in range(0, n, _PIECE):
            yield codec.decode(min(_PIECE, n - start))
    else:
        for _ in range(n):
            codec.guide(guide.counts())
            byte: bytes = codec.decode(1)
            yield byte
            guide.read(byte[0])


def _guide(model: "CharRNN[Any] | None") -> "tuple[_Guide | None, bytes]":
    """Return what a model expects, and its hash; zeros without one."""
    if model is None:
        return None, bytes(32)
    state = getattr(model, "_state", None)
    if not isinstance(state, ModelState):
        raise TypeError(f"model must be a CharRNN or None, not {short_repr(model)}")
    if not dispatch.has_fma():
        raise CodecError(
            f"a model predicts the same everywhere only with FMA, and {dispatch.isa} kernels have "
            "none: compress and decompress without a model"
        )
    return _Guide(state), _key(state)


def _key(state: ModelState) -> bytes:
    """Return the SHA-256 of all that a model's predictions depend on."""
    network, vocabulary = state.learner.network, state.vocabulary
    words = f"{network.description} {network.dtype} {vocabulary.chars!r} {vocabulary.records} "
    words += f"{vocabulary.of_bytes} {state.mixture and state.mixture[1:]!r}{vocabulary.rare}"
    arrays: Iterable[NDArray[Any]] = state.mixture.counts.arrays().values() if state.mixture else ()
    named = np.frombuffer(words.encode(), np.uint8)
    return bytes.fromhex(sha256([named, network.weights.block, *arrays]))


class _Guide:
    """What a model expects of the next byte, given the bytes before.

    A character has several bytes: of those that begin with the bytes read since the last one, the
    probabilities of the next byte add up. What the model does not know is not read by it.
    """

    def __init__(self, state: ModelState) -> None:
        network, vocabulary = state.learner.network, state.vocabulary
        codec = "latin-1" if vocabulary.of_bytes else "utf-8"
        chars = vocabulary.chars + vocabulary.rare
        spelled = [char.encode(codec) for char in chars]
        self.ids: NDArray[np.int32] = vocabulary.of_codes(np.array([*map(ord, chars)]))
        # What each has of the probability of its symbol, which rare characters share.
        self.parts: NDArray[np.float64] = np.ones(len(chars))
        self.parts[self.ids == vocabulary.rare_id] /= 1 + len(vocabulary.rare)
        if vocabulary.records:
            spelled.append(b"\n")
            self.ids = np.append(self.ids, np.int32(len(vocabulary)))
            self.parts = np.append(self.parts, 1.0)
        self.lengths: NDArray[np.intp] = np.array([len(one) for one in spelled])
        self.spelled: NDArray[np.uint8] = np.zeros((len(spelled), 4), np.uint8)
        for i, one in enumerate(spelled):
            self.spelled[i, : len(one)] = list(one)
        start = PrimedState.from_text(network, vocabulary, "")
        self.network, self.work = network, start.workspace(1, 1)
        self.first: Real = self.work.state.copy()
        self.boundary: int = len(vocabulary)
        self._begin()

    def _begin(self) -> None:
        """Begin a character."""
        p = self.network.next_probs(self.work)[0][self.ids] * self.parts
        self.shares: NDArray[np.int64] = 1 + (p * _MASS).astype(np.int64)
        self.possible: NDArray[np.intp] = np.arange(len(self.lengths))
        self.place = 0

    def counts(self) -> list[int]:
        """Return a count of at least 1 for each byte."""
        following = self.spelled[self.possible, self.place]
        sums = np.bincount(following, self.shares[self.possible], 256)  # whole numbers below 2**53
        counts: list[int] = (1 + sums.astype(np.int64)).tolist()
        return counts

    def read(self, byte: int) -> None:
        """Go on after a byte."""
        self.possible = self.possible[self.spelled[self.possible, self.place] == byte]
        self.place += 1
        if not len(self.possible):
            self._begin()
        elif self.lengths[self.possible[0]] == self.place:
            self._feed(int(self.ids[self.possible[0]]))
            self._begin()

    def _feed(self, id: int) -> None:
        if id == self.boundary:
            self.work.state[...] = self.first
        else:
            self.network.feed(self.work, [[id]])
