"""Models on disk: one `.safetensors` file, readable with the safetensors library by anyone.

Tensors: Wxh (V, H), Whh (H, H), Why (H, V), bh (H,), by (V,), of float32 or float64, without padding. The file's metadata holds

    format      "charrnn"
    version     "1"
    kind        "text" or "records"; a model of records has one symbol more, the boundary, with the last id
    alphabet    "characters", or "bytes": 256 of them
    vocabulary  the characters in the order of their ids
    config      JSON: hidden_size, seq_length, batch_size, learning_rate, clip_value, initial_accumulator_value
    history     JSON: what training did
    sha256      of the tensors' bytes, in the order of their names, and of the rest of the metadata

A model of records may have the tensor remembered (n,) of uint32: the records it was trained on, see novelty.py.

A checkpoint is a model file that has more: the tensors memory.Wxh ... memory.by (Adagrad's memory) and state (batch_size, H), the
hidden state; best.Wxh ... best.by, the weights with the lowest validation loss so far, if they are to be kept; and

    training    JSON: position, options, and the SHA-256 of the text's ids

No code is stored and none is run. Whatever later indexes memory is checked when a file is read.
"""

import contextlib
import errno
import os
import stat
from dataclasses import asdict, dataclass
from operator import index
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ._network import Description, Parameters
from .errors import ModelFormatError, check_integer, check_number
from .history import History
from .loop import Position
from .network import Learner, Real
from .novelty import RecordIndex
from .reader import StrPath
from .rnn import RNN
from .vocabulary import Vocabulary

_Tensors: TypeAlias = dict[str, NDArray[Any]]

_FORMAT, _VERSION = "charrnn", "1"
_LARGEST_HEADER = 100_000_000  # bytes, of which safetensors takes no more
_CONFIG = ("hidden_size", "seq_length", "batch_size", "learning_rate", "clip_value", "initial_accumulator_value")


class Training(NamedTuple):
    """What a checkpoint holds beside the model: where training stands, what it was started with, and the best weights so far."""

    position: Position
    options: dict[str, Any]
    text_sha256: str
    state: Real
    best: Parameters | None


@dataclass(frozen=True)
class Saved:
    """What a file holds: index is what a model of records remembers of them, training what makes it a checkpoint; both may be None."""

    learner: Learner
    vocabulary: Vocabulary
    history: History
    index: RecordIndex | None = None
    training: Training | None = None


def config(learner: Learner) -> dict[str, Any]:
    """Return the options of a learner that a file keeps."""
    return {name: getattr(learner, name) for name in _CONFIG}


def save(path: StrPath, saved: Saved) -> None:
    """Write a model file, or a checkpoint, from a `Saved`; a crash at any moment, or an error, leaves the old file or the new one."""
    import json  # here: importing charrnn should cost little

    from safetensors.numpy import save as to_bytes

    learner, vocabulary, training = saved.learner, saved.vocabulary, saved.training
    tensors: _Tensors = learner.network.weights.views()
    for name, view in tensors.items():
        if not np.isfinite(view).all():
            raise ValueError(f"{name} of this model has values that are not finite: no file can hold them")
    metadata = {
        "format": _FORMAT,
        "version": _VERSION,
        "kind": "records" if vocabulary.records else "text",
        "alphabet": "bytes" if vocabulary.of_bytes else "characters",
        "vocabulary": vocabulary.chars,
        "config": json.dumps(config(learner)),
        "history": json.dumps(saved.history.to_dict()),
    }
    if saved.index is not None:
        tensors["remembered"] = saved.index.fingerprints
    if training is not None:
        tensors |= _prefixed("memory", learner.network.memory) | {"state": training.state}
        if training.best is not None:
            tensors |= _prefixed("best", training.best)
        words = {"position": asdict(training.position), "options": training.options, "text_sha256": training.text_sha256}
        metadata["training"] = json.dumps(words)
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    metadata["sha256"] = _digest(tensors, metadata)
    data = memoryview(to_bytes(tensors, metadata))
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(bytes(data[8:start]))
    header["__metadata__"] = metadata  # in this order: safetensors has another each time, and equal models should be equal files
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # numbers begin on multiples of their size
    write_atomically(path, b"".join([len(text).to_bytes(8, "little"), text, data[start:]]))


def _prefixed(part: str, parameters: Parameters) -> _Tensors:
    return {f"{part}.{name}": view for name, view in parameters.views().items()}


def load(path: StrPath) -> Saved:
    """Return the `Saved` of a model file or checkpoint; or raise OSError, or ModelFormatError that says what is wrong with the file."""
    path = os.fspath(path)
    metadata, tensors = _read(path)
    try:
        return _build(metadata, tensors)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ModelFormatError(f"{path} is damaged: {error}") from error


def _read(path: str) -> tuple[dict[str, str], _Tensors]:
    """Return the metadata and the tensors of a charrnn model file.

    Its bytes are read, not mapped into memory as safetensors' own functions for files do: whoever overwrites a mapped file (a plain cp)
    ends the process that reads it. Its header comes first: the rest of a file of another kind may be large.
    """
    import json

    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    if not (stat.S_ISREG(os.stat(path).st_mode) or os.path.isdir(path)):  # to open a pipe would wait; to open a directory says what it is
        raise ModelFormatError(f"{path} is not a regular file")
    with open(path, "rb") as file:
        size = file.read(8)
        header = file.read(min(int.from_bytes(size, "little"), _LARGEST_HEADER))
        try:
            words = json.loads(header)
            metadata = dict(words.pop("__metadata__", {}))
            end = 8 + len(header) + max([index(tensor["data_offsets"][1]) for tensor in words.values()], default=0)
        except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
            raise ModelFormatError(f"{path} is not a safetensors file (header: {error})") from error
        if metadata.get("format") != _FORMAT:
            raise ModelFormatError(f"{path} is a safetensors file, but not a charrnn model")
        if metadata.get("version") != _VERSION:
            raise ModelFormatError(f"{path} has format version {metadata.get('version')}; this charrnn reads {_VERSION}")
        if os.fstat(file.fileno()).st_size != end:  # before so much is read
            raise ModelFormatError(f"{path} is damaged: it has {os.fstat(file.fileno()).st_size} bytes, and its header tells of {end}")
        data = size + header + file.read(end - 8 - len(header))
    try:
        return metadata, from_bytes(data)
    except (SafetensorError, KeyError) as error:
        raise ModelFormatError(f"{path} is not a safetensors file ({error})") from error


def _build(metadata: dict[str, str], tensors: _Tensors) -> Saved:
    import json

    index = _index(tensors.pop("remembered", None))
    vocabulary = _vocabulary(metadata)
    options = json.loads(metadata["config"])
    if sorted(options) != sorted(_CONFIG):
        raise ValueError(f"config must hold {', '.join(_CONFIG)}")
    description = Description([("rnn", options["hidden_size"])], vocabulary.symbols)
    _check_tensors(tensors, "training" in metadata, description, options["batch_size"])
    if metadata["sha256"] != _digest(tensors if index is None else tensors | {"remembered": index.fingerprints}, metadata):
        raise ValueError("weights and metadata do not match their SHA-256")
    learner = RNN(vocab_size=vocabulary.symbols, dtype=tensors["Whh"].dtype.name, seed=0, **options)
    network = learner.network
    _fill(network.weights, tensors, "")
    training = None
    if "training" in metadata:
        _fill(network.memory, tensors, "memory.")
        words, best = json.loads(metadata["training"]), None
        if "best.Whh" in tensors:
            best = Parameters(description, network.dtype)
            _fill(best, tensors, "best.")
        training = Training(_position(words["position"]), dict(words["options"]), words["text_sha256"], tensors["state"], best)
    return Saved(learner, vocabulary, History.from_dict(json.loads(metadata["history"])), index, training)


def _vocabulary(metadata: dict[str, str]) -> Vocabulary:
    kind, alphabet = metadata["kind"], metadata["alphabet"]
    if kind not in ("text", "records"):
        raise ValueError(f"kind is {kind!r}")
    if alphabet not in ("characters", "bytes"):
        raise ValueError(f"alphabet is {alphabet!r}")
    return Vocabulary(metadata["vocabulary"], records=kind == "records", of_bytes=alphabet == "bytes")


def _index(fingerprints: NDArray[Any] | None) -> RecordIndex | None:
    if fingerprints is None:
        return None
    if fingerprints.dtype != np.uint32 or fingerprints.ndim != 1 or (fingerprints[1:] <= fingerprints[:-1]).any():
        raise ValueError("remembered must be ascending numbers of type uint32")
    return RecordIndex(fingerprints)


def _check_tensors(tensors: _Tensors, checkpoint: bool, description: Description, batch_size: int) -> None:
    """Raise ValueError if these are not the tensors of a model, or of a checkpoint, of this description."""
    shapes = {name: (columns,) if bias else (rows, columns) for name, (_, rows, columns, _, bias) in description.tensors.items()}
    parts = ["", *(["memory."] if checkpoint else []), *(["best."] if checkpoint and "best.Whh" in tensors else [])]
    wanted = {part + name: shape for part in parts for name, shape in shapes.items()}
    if checkpoint:
        wanted["state"] = batch_size, sum(layer.units for layer in description.layers)
    if tensors.keys() != wanted.keys():
        raise ValueError(f"the tensors must be {', '.join(wanted)}, not {', '.join(sorted(tensors))}")
    dtype = tensors["Whh"].dtype
    for name, shape in wanted.items():
        tensor = tensors[name]
        if tensor.shape != shape or tensor.dtype != dtype:
            raise ValueError(f"{name} is {tensor.dtype} {tensor.shape}, {description} need {dtype} {shape}")
        if not np.isfinite(tensor).all():
            raise ValueError(f"{name} has values that are not finite")
        if name.startswith("memory.") and (tensor < 0).any():
            raise ValueError(f"{name} has negative values")


def _fill(parameters: Parameters, tensors: _Tensors, prefix: str) -> None:
    for name, view in parameters.views().items():
        view[...] = tensors[prefix + name]


def _position(values: dict[str, Any]) -> Position:
    position = Position(**values)
    for name in ("epoch", "window", "step", "characters", "best_epoch", "unreported"):
        check_integer(name, getattr(position, name), 0, 2**63 - 1)
    for name in ("seconds", "smooth_loss", "unreported_loss"):
        check_number(name, getattr(position, name), minimum=0)
    if position.best_nll is not None:
        check_number("best_nll", position.best_nll, minimum=0)
    if not position.best_epoch <= position.epoch <= position.step:
        raise ValueError(f"best_epoch {position.best_epoch}, epoch {position.epoch} and step {position.step} do not go together")
    return position


def _digest(tensors: _Tensors, metadata: dict[str, str]) -> str:
    import json

    words = {name: word for name, word in metadata.items() if name != "sha256"}
    return sha256(*(tensors[name] for name in sorted(tensors)), np.frombuffer(json.dumps(words, sort_keys=True).encode(), np.uint8))


def sha256(*arrays: NDArray[Any]) -> str:
    """Return the SHA-256 of the bytes of arrays, one after the other."""
    import hashlib

    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def check_target(path: StrPath) -> None:
    """Raise what keeps a file from being written to path: better before a training than after it.

    That is OSError if path is a directory, or its folder is missing or may not be written to; ValueError if there is no name, or
    something that is not a regular file: to replace a device or a pipe would break it.
    """
    path = os.fspath(path)
    if not path:
        raise ValueError("the name of the file to write is empty")
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    if os.path.isdir(target):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    if not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    if os.path.exists(target) and not os.path.isfile(target):
        raise ValueError(f"{path} is not a regular file, and would be replaced by one")


def write_atomically(path: StrPath, data: bytes) -> None:
    """Write bytes so that path holds all of its old content or all of the new at any moment, and the new after a power cut.

    The temporary file lies in the same directory (a rename does not cross file systems); a link is followed; an old file's mode is kept.
    """
    check_target(path)
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f".{name}.{os.urandom(8).hex()}.tmp")
    mode = os.stat(target).st_mode & 0o777 if os.path.exists(target) else None
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            os.chmod(temporary, mode)
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):  # in its own words it names the temporary file
            raise type(error)(error.errno, error.strerror, os.fspath(path)) from error
        raise
    if hasattr(os, "O_DIRECTORY"):  # not on Windows, where a directory cannot be synchronised
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
