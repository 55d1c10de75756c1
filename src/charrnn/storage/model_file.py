"""Models on disk: one `.safetensors` file, readable with the safetensors library by anyone.

Tensors, of float32 or float64, without padding: Why (H, V), by (V,), and of each layer, by the names of its gates, those from what is
below (V or H, H), those from its state before (H, H) and biases (H,). A vanilla layer has Wxh, Whh, bh; a GRU Wxn, Wxr, Wxu, Whn, Whr,
Whu, bn, br, bu, bhn; an LSTM Wxi, Wxf, Wxg, Wxo, Whi ... bo. Layers above the first have their number behind the name. The file's
metadata holds

    format      "charrnn"
    version     "2"; files of version 1, which knew the vanilla layer and Adagrad only, are read
    kind        "text" or "records"; a model of records has one symbol more, the boundary, with the last id
    alphabet    "characters", or "bytes": 256 of them
    vocabulary  the characters in the order of their ids
    config      JSON: layers, pairs of cell and units from the input on; optimizer, seq_length, batch_size, dropout, learning_rate,
                weight_decay, clip_value, clip_norm, initial_accumulator_value. Of version 1: hidden_size instead of layers, and less
    history     JSON: what training did
    sha256      of the tensors' bytes, in the order of their names, and of the rest of the metadata

A model of records may have the tensor remembered (n,) of uint32: the records it was trained on, see novelty.py.

A checkpoint is a model file that has more: the tensors memory.Wxh ... memory.by, of squares of gradients, but of SGD, momentum.Wxh ...
momentum.by of Adam, and state (streams, H), what is carried in its streams, layer by layer, of an LSTM h and then c; best.Wxh ... best.by,
the weights with the lowest validation loss so far, if they are to be kept; and

    training    JSON: position, options, and the SHA-256 of the text's ids

No code is stored and none is run. Every word and every size is checked when a file is read, before its tensors are, and by the same
functions when it is written: what `save` writes, `load` takes.
"""

import io
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import IO, Any, NamedTuple, Self, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from ..data.record_index import RecordIndex
from ..data.vocabulary import Vocabulary
from ..history import LARGEST_LOSS, History, Position
from ..network import Network, Real
from ..network._types import OPTIMIZERS, Description, Parameters
from ..network.config import SAVED_SETTINGS
from ..network.learner import Learner
from ..util.atomic_write import (
    IN_ORDER_ONLY,
    Bytes,
    StrPath,
    named,
    open_regular,
    read_pieces,
    write_atomically,
)
from ..util.errors import ModelFormatError, check_choice, check_integer, check_number
from ..util.hashing import blocks, sha256, update

ModelSource: TypeAlias = StrPath | bytes | IO[bytes]
_Tensors: TypeAlias = dict[str, NDArray[Any]]
_Forms: TypeAlias = dict[
    str, tuple[np.dtype[Any], tuple[int, ...]]
]  # dtype and shape of tensors by name

_FORMAT, _VERSION, _VERSIONS = "charrnn", "2", ("1", "2")
_LARGEST_HEADER = 1 << 23  # bytes: all characters of Unicode, and a history
_LARGEST_SKELETON = 1 << 16  # bytes of a header that are not in a string: some hundred tensors
_LARGEST_WORD = {"config": 1 << 12, "training": 1 << 14, "history": 1 << 21}  # characters of JSON
_DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "U32": np.dtype("<u4"),
}
_CONFIG = ("layers", "optimizer", *SAVED_SETTINGS)
_MEMORIES = {
    "adagrad": ("memory",),
    "sgd": (),
    "rmsprop": ("memory",),
    "adam": ("memory", "momentum"),
}  # of a checkpoint
# What version 1 does not say, as it was the only way.
_OF_VERSION_1: dict[str, Any] = {
    "optimizer": "adagrad",
    "dropout": 0.0,
    "weight_decay": 0.0,
    "clip_norm": math.inf,
}
_WORDS = {"format", "version", "kind", "alphabet", "vocabulary", "config", "history", "sha256"}


class Training(NamedTuple):
    """What a checkpoint holds beside the model: where training stands, what it was started with, and the best weights so far."""

    position: Position
    options: dict[str, Any]
    text_sha256: str
    state: Real
    best: Parameters | None


@dataclass(frozen=True)
class ModelState:
    """What a file holds: index is what a model of records remembers of them, training what makes it a checkpoint; both may be None."""

    learner: Learner
    vocabulary: Vocabulary
    history: History
    index: RecordIndex | None = None
    training: Training | None = None


# -------------------------------------------------------------------------------------------------------------------- writing


def save(target: StrPath | IO[bytes], saved: ModelState) -> None:
    """Write a model file, or a checkpoint, from a `ModelState`; a crash at any moment, or an error, leaves the old file or the new one.

    What is no path but open is written to.
    """
    content, file = _Content.of(saved), cast(Any, target)
    if isinstance(target, (str, os.PathLike)):
        try:
            write_atomically(target, content.body(), len(content.head()), content.head)
        except OSError as error:
            if error.errno not in IN_ORDER_ONLY:
                raise
            write_atomically(target, content)  # which takes longer: the disk waits for the head
    elif not hasattr(file, "write") or isinstance(file, io.TextIOBase):
        raise TypeError(
            f"a model is saved to a path, or to a file open for writing bytes, not {type(target).__name__}"
        )
    else:
        for part in content:
            _write(file, part)


def _write(file: IO[bytes], part: bytes | memoryview) -> None:
    """Write all of part: a raw file may take less than it is given."""
    data = memoryview(part)
    while data:
        written: int | None = file.write(data)
        if written is not None and not 0 < written <= len(data):  # it would be asked for ever
            raise OSError(f"the file to save to has taken {written} of {len(data)} bytes")
        data = data[len(data) if written is None else written :]


def to_bytes(saved: ModelState) -> bytes:
    """Return a model file, or a checkpoint; or raise ValueError if `load` would refuse it."""
    content = _Content.of(saved)
    body = list(content.body())
    return b"".join([content.head(), *body])


@dataclass
class _Content:
    """What a file is to hold: a head, in which the SHA-256 of all else is, and the tensors.

    Another thread may write into weights meanwhile: what is checked and hashed is what was copied to be written.
    """

    tensors: _Tensors
    metadata: dict[str, str]
    digest: str = "0" * 64

    @classmethod
    def of(cls, saved: ModelState) -> Self:
        """Describe a `ModelState`; or raise ValueError if `load` would refuse it."""
        tensors, metadata = _describe(saved)
        _Words.check(
            metadata, {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()}
        )
        return cls(tensors, metadata)

    def body(self) -> Iterator[memoryview]:
        """Yield the bytes of the tensors, of which then the digest is; or raise ValueError if `load` would refuse their numbers."""
        import hashlib

        digest, names = hashlib.sha256(), sorted(self.tensors)
        for name, tensor in self.tensors.items():
            while (
                names and names[0] < name
            ):  # in the file after this one, though not by name: of other numbers, which nobody changes
                update(digest, self.tensors[names.pop(0)])
            new = names[:1] == [name]
            for block in blocks(tensor):
                copied = block.copy(order="C")
                _check_numbers(name, copied)
                if new:
                    digest.update(copied.data)
                yield copied.data.cast("B")
            names = names[new:]
        digest.update(_to_hash(self.metadata))
        self.digest = digest.hexdigest()

    def head(self) -> bytes:
        """Return what stands in front of the tensors."""
        # Not by safetensors, which has the metadata in another order each time: equal models should be equal files.
        header: dict[str, Any] = {"__metadata__": self.metadata | {"sha256": self.digest}}
        codes, end = {dtype: code for code, dtype in _DTYPES.items()}, 0
        for name, tensor in self.tensors.items():
            start, end = end, end + tensor.nbytes
            header[name] = {
                "dtype": codes[tensor.dtype],
                "shape": tensor.shape,
                "data_offsets": [start, end],
            }
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)  # numbers begin on multiples of their size
        return len(text).to_bytes(8, "little") + text

    def __iter__(self) -> Iterator[Bytes]:
        """Yield all in its order, which takes a pass more."""
        for _ in self.body():
            pass
        yield self.head()
        yield from self.body()


def _describe(saved: ModelState) -> tuple[_Tensors, dict[str, str]]:
    """Return the tensors of a file and its metadata but for the SHA-256."""
    learner, vocabulary, training = saved.learner, saved.vocabulary, saved.training
    tensors: _Tensors = learner.network.weights.views()
    metadata = {
        "format": _FORMAT,
        "version": _VERSION,
        "kind": "records" if vocabulary.records else "text",
        "alphabet": "bytes" if vocabulary.of_bytes else "characters",
        "vocabulary": vocabulary.chars,
        "config": json.dumps({"layers": learner.network.description.layers, **learner.options()}),
        "history": json.dumps(saved.history.to_dict()),
    }
    if saved.index is not None:
        tensors["remembered"] = saved.index.fingerprints
    if training is not None:
        for memory in _MEMORIES[learner.network.optimizer]:
            tensors |= _prefixed(memory, getattr(learner.network, memory))
        tensors["state"] = training.state
        if training.best is not None:
            tensors |= _prefixed("best", training.best)
        words = {
            "position": asdict(training.position),
            "options": training.options,
            "text_sha256": training.text_sha256,
        }
        metadata["training"] = json.dumps(words)
    # In the order of safetensors: the largest numbers first, and by name.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].itemsize, item[0]))
    return {
        name: tensor.astype(tensor.dtype.newbyteorder("<"), copy=False) for name, tensor in ordered
    }, metadata


def _prefixed(part: str, parameters: Parameters) -> _Tensors:
    return {f"{part}.{name}": view for name, view in parameters.views().items()}


# -------------------------------------------------------------------------------------------------------------------- reading


def load(source: ModelSource) -> ModelState:
    """Return the `ModelState` of a model file or checkpoint, given its path, its bytes, or the file open for reading in binary.

    Or raise OSError, or ModelFormatError that says what is wrong with the file.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _load(
            io.BytesIO(source),
            f"the content {bytes(source[:20])!r}{'...' if len(source) > 20 else ''}",
        )
    if not isinstance(source, (str, os.PathLike)):
        if not hasattr(source, "read"):
            how = (
                ": read_bytes() has its content" if hasattr(source, "read_bytes") else ""
            )  # a path in an archive
            raise TypeError(
                f"a model is loaded from a path, its content as bytes, or a file, not {type(source).__name__}{how}"
            )
        return _load(source, str(getattr(source, "name", "this file")))
    name = str(source)
    try:
        file = open_regular(source)
    except ValueError as error:  # a pipe, or a name with a null character
        raise ModelFormatError(f"{name!r} cannot be read: {error}") from error
    with named(source), file:
        return _load(file, name)


def _load(file: IO[bytes], name: str) -> ModelState:
    """Read a file: its header, which tells its size, before the rest, which in a file of another kind may be large.

    It is read, not mapped into memory as safetensors' own functions for files do: whoever overwrites a mapped file (a plain cp) ends the
    process that reads it.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    size = read_pieces(file, 8)
    if not isinstance(size, bytes):
        raise TypeError(f"{name} must be open for reading bytes, not {type(size).__name__}")
    try:
        header = _read_header(file, size)
        words, forms, end = _parse_header(header)
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise ModelFormatError(
            f"{name} is not a safetensors file ({_what(size, error)})"
        ) from error
    if words.get("format") != _FORMAT:
        raise ModelFormatError(f"{name} is a safetensors file, but not a charrnn model")
    if words.get("version") not in _VERSIONS:
        raise ModelFormatError(
            f"{name} has format version {words.get('version')!s:.60}; this charrnn reads {' and '.join(_VERSIONS)}"
        )
    try:
        checked = _Words.check(words, forms)
        data = _read_rest(file, end - 8 - len(header))
        tensors = from_bytes(b"".join([size, header, data]))
        del data
        if words.get("sha256") != _digest(tensors, words):
            raise ValueError("weights and metadata do not match their SHA-256")
        for tensor, numbers in tensors.items():
            _check_numbers(tensor, numbers)
        return _build(checked, tensors)
    except (
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
        RecursionError,
        SafetensorError,
    ) as error:
        raise ModelFormatError(f"{name} is damaged: {error}") from error


def _what(begin: bytes, error: Exception) -> str:
    """Say what is found where a header should be, given the first bytes of a file."""
    if not begin:
        return "it is empty, or was read to its end: seek(0) goes back"
    if len(begin) == 8 and b"\0" not in begin:  # the size of a header has zeros
        return f"it begins with {begin!r}, as a text may, which train_file trains on"
    return f"header: {error}"


def _read_header(file: IO[bytes], size: bytes) -> bytes:
    """Return the header of a file that begins with these eight bytes."""
    length = int.from_bytes(size, "little")
    if len(size) < 8 or length > _LARGEST_HEADER:
        raise ValueError(
            f"it has {length} bytes, {_LARGEST_HEADER} are the most"
            if len(size) == 8
            else "there is none"
        )
    header = read_pieces(file, length)
    if len(header) < length:
        raise ValueError(f"it ends after {len(header)} of {length} bytes")
    return header


def _parse_header(header: bytes) -> tuple[dict[str, str], _Forms, int]:
    """Return the metadata, the forms of the tensors and the length of the file that a header tells of."""
    skeleton = re.sub(rb'"(?:[^"\\]|\\.)*"', b"", header, flags=re.DOTALL)
    if len(skeleton.rstrip(b" ")) > _LARGEST_SKELETON:  # to parse it would take many times its size
        raise ValueError("it is not one of a few tensors and words")
    tensors = _parse(header, len(header))
    metadata = dict(tensors.pop("__metadata__", {}))
    for name, word in metadata.items():
        if type(word) is not str:
            raise TypeError(f"{name} must be a string, not {word!r:.60}")
    forms: _Forms = {}
    end = 0
    for name, tensor in tensors.items():
        first, last = tensor["data_offsets"]
        for number in (first, last, *tensor["shape"]):
            check_integer(f"a size of {name}", number, 0, 2**63 - 1)
        forms[name] = _DTYPES.get(tensor["dtype"], np.dtype("V")), tuple(tensor["shape"])
        end = max(end, last)
    return metadata, forms, 8 + len(header) + end


def _parse(text: str | bytes, most: int) -> Any:
    """Return what JSON says; or raise ValueError if it is longer than most, or says a thing twice, or NaN."""
    if len(text) > most:
        raise ValueError(f"it has {len(text)} characters, {most} are the most")
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_constant)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("it has the same name twice")
    return values


def _constant(word: str) -> float:
    if word != "Infinity":
        raise ValueError(f"{word} is no number")
    return float("inf")


def _read_rest(file: IO[bytes], size: int) -> bytes:
    """Return the rest of a file, which must have so many bytes: looked at before so much is read, if the file can tell."""
    found = size
    if file.seekable():
        here = file.tell()
        found = file.seek(0, io.SEEK_END) - here
        file.seek(here)
    data = read_pieces(file, size) if found == size else b""
    if found == size and len(data) == size and not file.read(1):
        return data
    have = found if found != size else len(data) if len(data) < size else f"more than {size}"
    raise ValueError(f"after its header it has {have} bytes, and the header tells of {size}")


# -------------------------------------------------------------------------------------------------------------------- checks


class _Words(NamedTuple):
    """What the metadata of a file says, checked."""

    vocabulary: Vocabulary
    description: Description
    optimizer: str
    config: dict[str, Any]
    history: History
    position: Position | None  # of a checkpoint, with
    options: dict[str, Any]
    text_sha256: str

    @classmethod
    def check(cls, metadata: dict[str, str], forms: _Forms) -> "_Words":
        """Return what metadata and the forms of the tensors say; or raise TypeError, ValueError or KeyError if no model has them."""
        checkpoint = "training" in metadata
        _check_names(
            "the metadata", metadata, _WORDS | {"training"}, optional={"training", "sha256"}
        )
        vocabulary = _vocabulary(metadata)
        options, old = _named("config", metadata, dict), metadata["version"] == "1"
        if old:
            options = {"layers": [["rnn", options.pop("hidden_size")]], **_OF_VERSION_1, **options}
        _check_names("config", options, _CONFIG)
        description = Description(_layers(options.pop("layers")), vocabulary.symbols)
        optimizer = check_choice("optimizer", options.pop("optimizer"), OPTIMIZERS)
        streams = check_integer("batch_size", options["batch_size"], 1)
        _check_forms(forms, checkpoint, description, optimizer, streams, vocabulary.records)
        history = History.from_dict(_named("history", metadata, dict))
        position, started, sha256 = None, {}, ""
        if checkpoint:
            words = _named("training", metadata, dict)
            _check_names("training", words, ("position", "options", "text_sha256"))
            position, started, sha256 = (
                _position(words["position"], history),
                words["options"],
                words["text_sha256"],
            )
            if old and type(started) is dict:
                network = str(
                    Description([("rnn", started.pop("hidden_size"))], vocabulary.symbols)
                )
                started = {
                    "network": network,
                    "schedule": "constant",
                    "warmup": 0,
                    **_OF_VERSION_1,
                    **started,
                }
            _check_started(started, sha256)
            if ("best.Why" in forms) != (
                position.best_nll is not None and started.get("keep") == "best"
            ):
                raise ValueError("the best weights and their loss do not go together")
        return cls(vocabulary, description, optimizer, options, history, position, started, sha256)


def _named(name: str, metadata: dict[str, str], kind: Callable[..., Any]) -> Any:
    """Return what a word of JSON in the metadata says."""
    try:
        value = _parse(metadata[name], _LARGEST_WORD[name])
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}: {error}") from error
    if type(value) is not kind:
        raise TypeError(f"{name} is {value!r:.60}")
    return value


def _check_names(
    what: str, found: Iterable[str], known: Iterable[str], optional: Iterable[str] = ()
) -> None:
    """Raise ValueError if names are missing that are not optional, or not known."""
    missing, odd = set(known) - set(optional) - set(found), set(found) - set(known)
    if missing or odd:
        raise ValueError(
            f"{what} must hold {', '.join(sorted(known))}: {', '.join(sorted(missing | odd)):.200}"
        )


def _vocabulary(metadata: dict[str, str]) -> Vocabulary:
    kind, alphabet = metadata["kind"], metadata["alphabet"]
    if kind not in ("text", "records"):
        raise ValueError(f"kind is {kind!r:.60}")
    if alphabet not in ("characters", "bytes"):
        raise ValueError(f"alphabet is {alphabet!r:.60}")
    return Vocabulary(
        metadata["vocabulary"], records=kind == "records", of_bytes=alphabet == "bytes"
    )


def _layers(words: Any) -> list[tuple[str, int]]:
    """Return the layers of a configuration, whose cells and units `Description` checks."""
    if type(words) is not list or not all(
        type(layer) is list and len(layer) == 2 for layer in words
    ):
        raise TypeError(f"layers is {words!r:.60}")
    return [(cell, units) for cell, units in words]


def _check_forms(
    forms: _Forms,
    checkpoint: bool,
    description: Description,
    optimizer: str,
    streams: int,
    records: bool,
) -> None:
    """Raise ValueError if these are not the tensors of a model, or of a checkpoint, of this description and optimiser."""
    shapes = {
        name: (columns,) if bias else (rows, columns)
        for name, (_, rows, columns, _, bias) in description.tensors.items()
    }
    parts = (
        [*_MEMORIES[optimizer], *(["best"] if "best.Why" in forms else [])] if checkpoint else []
    )
    wanted = {
        prefix + name: shape
        for prefix in ("", *(f"{part}." for part in parts))
        for name, shape in shapes.items()
    }
    forms = dict(forms)
    dtype, shape = forms.pop("remembered", (_DTYPES["U32"], (0,)))
    if dtype != np.uint32 or len(shape) != 1 or ("remembered" in forms and not records):
        raise ValueError(
            "remembered must be ascending numbers of type uint32, of a model of records"
        )
    if checkpoint and "state" in forms:  # has as many streams as the text had work for
        _, (rows, *_) = forms["state"]
        wanted["state"] = (
            check_integer("the rows of state", rows, 1, streams),
            description.state_size,
        )
    if forms.keys() != wanted.keys() or (checkpoint and "state" not in wanted):
        raise ValueError(
            f"the tensors must be {', '.join(wanted)}, not {', '.join(sorted(forms)):.200}"
        )
    dtype = forms["Why"][0]
    for name, shape in wanted.items():
        if dtype.kind != "f" or forms[name] != (dtype, shape):
            raise ValueError(
                f"{name} is {forms[name][0]} {forms[name][1]}, {description} need {dtype} {shape}"
            )


def _check_numbers(name: str, numbers: NDArray[Any]) -> None:
    """Raise ValueError if the numbers of a tensor, or a part of it, are not such as a model has."""
    if name == "remembered":
        if (numbers[1:] <= numbers[:-1]).any():
            raise ValueError("remembered must be ascending numbers of type uint32")
        return
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name} has values that are not finite")
    if name.startswith("memory.") and (numbers < 0).any():
        raise ValueError(f"{name} has negative values")


def _position(values: Any, history: History) -> Position:
    """Return the position of a checkpoint, if it goes with its history; those of version 0.1.0 had less."""
    added = {"unreported", "unreported_loss", "best_step"}
    _check_names("position", values, [field.name for field in fields(Position)], optional=added)
    at = Position(**values)
    for name in ("epoch", "window", "step", "characters", "best_epoch", "best_step", "unreported"):
        check_integer(name, getattr(at, name), 0, 2**63 - 1)
    for name, largest in (
        ("seconds", math.inf),
        ("smooth_loss", LARGEST_LOSS),
        ("unreported_loss", 2.0**63 * LARGEST_LOSS),
    ):
        check_number(name, getattr(at, name), minimum=0, maximum=largest)
    if at.best_nll is not None:
        check_number("best_nll", at.best_nll, minimum=0, finite=False)
    last = history.reports[-1] if history.reports else None
    reported = (
        at.characters - at.unreported if "unreported" in values or last is None else last.characters
    )
    together = {
        "best_epoch, epoch and step": at.best_epoch <= at.epoch <= at.step <= at.characters
        and at.best_step <= at.step,
        "best_nll and best_epoch": (at.best_nll is None) == (at.best_epoch == 0),
        "best_nll and the reports": at.best_nll is None or bool(history.validation_losses),
        "unreported and unreported_loss": at.unreported > 0 or at.unreported_loss == 0,
        "characters and the reports": reported == (0 if last is None else last.characters)
        and history.steps <= at.step,
    }
    for what, agree in together.items():
        if not agree:
            raise ValueError(f"{what} do not go together")
    return at


def _check_started(options: Any, sha256: Any) -> None:
    """Raise TypeError or ValueError if these are not the options and the text that a training was started with."""
    if type(options) is not dict or not all(
        type(value) in (int, float, str, bool, type(None)) for value in options.values()
    ):
        raise TypeError(f"options is {options!r:.60}")
    if type(sha256) is not str or not re.fullmatch("[0-9a-f]{64}", sha256):
        raise ValueError(f"text_sha256 is {sha256!r:.60}")


# -------------------------------------------------------------------------------------------------------------------- both


def _build(words: _Words, tensors: _Tensors) -> ModelState:
    """Return what a file holds, whose words and tensors are known to be right."""
    network = Network(words.description, tensors["Why"].dtype, words.optimizer)
    _fill(network.weights, tensors, "")
    learner = Learner.from_network(network, **words.config)
    training = None
    if words.position is not None:
        for memory in _MEMORIES[words.optimizer]:
            _fill(getattr(network, memory), tensors, f"{memory}.")
        best = None
        if "best.Why" in tensors:
            best = Parameters(words.description, network.dtype)
            _fill(best, tensors, "best.")
        training = Training(
            words.position, words.options, words.text_sha256, tensors["state"], best
        )
    index = RecordIndex(tensors["remembered"]) if "remembered" in tensors else None
    return ModelState(learner, words.vocabulary, words.history, index, training)


def _fill(parameters: Parameters, tensors: _Tensors, prefix: str) -> None:
    for name, view in parameters.views().items():
        view[...] = tensors.pop(prefix + name)


def _digest(tensors: _Tensors, metadata: dict[str, str]) -> str:
    return sha256(
        *(tensors[name] for name in sorted(tensors)), np.frombuffer(_to_hash(metadata), np.uint8)
    )


def _to_hash(metadata: dict[str, str]) -> bytes:
    """Return the bytes of metadata that are hashed."""
    words = {name: word for name, word in metadata.items() if name != "sha256"}
    return json.dumps(words, sort_keys=True).encode()
