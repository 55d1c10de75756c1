"""Models on disk: one `.safetensors` file, readable with the safetensors library by anyone.

Tensors: Wxh (V, H), Whh (H, H), Why (H, V), bh (H,), by (V,), of float32 or float64, without padding. The file's metadata holds

    format      "charrnn"
    version     "1"
    kind        "text" or "records"; a model of records has one symbol more, the boundary, with the last id
    vocabulary  the characters in the order of their ids
    config      JSON: hidden_size, seq_length, batch_size, learning_rate, clip_value, initial_accumulator_value
    history     JSON: what training did
    sha256      of the tensors' bytes, in the order of their names

A checkpoint is a model file that has more: the tensors memory.Wxh ... memory.by (Adagrad's memory) and state (batch_size, H), the
hidden state, and

    training    JSON: position, options, and the SHA-256 of the text's ids

No code is stored and none is run. Whatever later indexes memory is checked when a file is read.
"""

import contextlib
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from .errors import ModelFormatError, check_integer, check_number
from .loop import History, Position
from .parameters import NAMES
from .rnn import RNN
from .vocabulary import Vocabulary

_FORMAT, _VERSION = "charrnn", "1"
_CHECKPOINT_NAMES = (*(f"memory.{name}" for name in NAMES), "state")
_CONFIG = ("hidden_size", "seq_length", "batch_size", "learning_rate", "clip_value", "initial_accumulator_value")


@dataclass(frozen=True)
class Training:
    """What a checkpoint holds beside the model: where training stands, and what it was started with."""

    position: Position
    options: dict
    text_sha256: str
    state: np.ndarray


def config(rnn):
    """Return the options of rnn that a file keeps."""
    return {name: getattr(rnn, name) for name in _CONFIG}


def save(path, rnn, vocabulary, history, training=None):
    """Write a model file, with training a checkpoint; a crash at any moment leaves the old file or the new one.

    Raises
    ------
    OSError
        If the file cannot be written; an old one is as it was.
    """
    from safetensors.numpy import save as to_bytes  # here: importing charrnn should cost little

    tensors = {name: np.ascontiguousarray(view) for name, view in rnn.params.views().items()}
    metadata = {
        "format": _FORMAT,
        "version": _VERSION,
        "kind": "records" if vocabulary.records else "text",
        "vocabulary": vocabulary.chars,
        "config": json.dumps(config(rnn)),
        "history": json.dumps(history.to_dict()),
    }
    if training is not None:
        tensors |= {f"memory.{name}": np.ascontiguousarray(view) for name, view in rnn.memory.views().items()}
        tensors["state"] = np.ascontiguousarray(training.state)
        words = {"position": asdict(training.position), "options": training.options, "text_sha256": training.text_sha256}
        metadata["training"] = json.dumps(words)
    metadata["sha256"] = _digest(tensors)
    write_atomically(path, to_bytes(tensors, metadata))


def load(path):
    """Return the RNN, Vocabulary, History, and for a checkpoint the Training (else None) of a model file.

    Raises
    ------
    OSError
        If the file cannot be opened or read.
    ModelFormatError
        If it is not a charrnn model that this version reads; the message says what is wrong with it.
    """
    from safetensors import SafetensorError, safe_open

    path = os.fspath(path)
    with open(path, "rb"):  # the library reports a missing file, a directory or a lack of rights in its own words
        pass
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise ModelFormatError(f"{path} is a safetensors file, but not a charrnn model")
            if metadata.get("version") != _VERSION:
                raise ModelFormatError(f"{path} has format version {metadata.get('version')}; this charrnn reads {_VERSION}")
            names = [*NAMES, *_CHECKPOINT_NAMES] if "training" in metadata else NAMES
            if sorted(file.keys()) != sorted(names):
                raise ModelFormatError(f"{path}: the tensors must be {', '.join(names)}, not {', '.join(sorted(file.keys()))}")
            tensors = {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise ModelFormatError(f"{path} is not a safetensors file ({error})") from error
    try:
        return _build(metadata, tensors)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ModelFormatError(f"{path} is damaged: {error}") from error


def _build(metadata, tensors):
    if metadata["sha256"] != _digest(tensors):
        raise ValueError("the weights do not match their SHA-256")
    if metadata["kind"] not in ("text", "records"):
        raise ValueError(f"kind is {metadata['kind']!r}")
    vocabulary = Vocabulary(metadata["vocabulary"], records=metadata["kind"] == "records")
    options = json.loads(metadata["config"])
    if sorted(options) != sorted(_CONFIG):
        raise ValueError(f"config must hold {', '.join(_CONFIG)}")
    dtype = tensors["Whh"].dtype
    H, V = tensors["bh"].size, vocabulary.symbols
    shapes = {"Wxh": (V, H), "Whh": (H, H), "Why": (H, V), "bh": (H,), "by": (V,)}
    shapes |= {f"memory.{name}": shape for name, shape in shapes.items()} | {"state": (options["batch_size"], H)}
    for name, tensor in tensors.items():
        if tensor.shape != shapes[name] or tensor.dtype != dtype or options["hidden_size"] != H:
            raise ValueError(
                f"{name} is {tensor.dtype} {tensor.shape}; {V} characters and {options['hidden_size']} units need {shapes[name]}"
            )
        if not np.isfinite(tensor).all():
            raise ValueError(f"{name} has values that are not finite")
        if name.startswith("memory.") and (tensor < 0).any():
            raise ValueError(f"{name} has negative values")
    rnn = RNN(vocab_size=V, dtype=dtype.name, seed=0, **options)
    for name, view in rnn.params.views().items():
        view[...] = tensors[name]
    training = None
    if "training" in metadata:
        for name, view in rnn.memory.views().items():
            view[...] = tensors[f"memory.{name}"]
        words = json.loads(metadata["training"])
        training = Training(_position(words["position"]), dict(words["options"]), words["text_sha256"], tensors["state"])
    return rnn, vocabulary, History.from_dict(json.loads(metadata["history"])), training


def _position(values):
    position = Position(**values)
    for name in ("epoch", "window", "step", "characters"):
        check_integer(name, getattr(position, name), 0, 2**63 - 1)
    for name in ("seconds", "smooth_loss"):
        check_number(name, getattr(position, name), minimum=0)
    return position


def _digest(tensors):
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()


def write_atomically(path, data):
    """Write bytes so that path holds all of its old content or all of the new at any moment, and the new after a power cut.

    The temporary file lies in the same directory (a rename does not cross file systems); a link is followed; an old file's mode is kept.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{os.urandom(8).hex()}.tmp")
    mode = target.stat().st_mode & 0o777 if target.exists() else None
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            temporary.chmod(mode)
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            error.filename, error.filename2 = os.fspath(path), None
        raise
    if hasattr(os, "O_DIRECTORY"):  # not on Windows, where a directory cannot be synchronised
        directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
