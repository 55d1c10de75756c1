"""Models and checkpoints on disk: one `.safetensors` file, which other programs can read, too.

A model has these tensors, float32 or float64: Why (H, V), by (V,), and of each layer, by the names
of its gates, matrices from its input (V or H, H) and from its state (H, H), and biases (H,). They
are Wxh, Whh, bh of a vanilla layer; Wxn, Wxr, Wxu, Whn, Whr, Whu, bn, br, bu, bhn of a GRU; Wxi,
Wxf, Wxg, Wxo, Whi ... bo of an LSTM. Layers above the first have their number behind the name. A
model that remembers its records has their fingerprints: remembered (n,), uint32, ascending.

A model with n-gram counts has ngrams.symbols, ngrams.followers, ngrams.counts and ngrams.missing,
unsigned integers, and ngrams.discounts: see `Counts.arrays` in network/counts.py.

A checkpoint has also memory.Wxh ... memory.by, the optimizer's squares of gradients, but of SGD;
momentum.Wxh ... momentum.by of Adam; state (streams, carried), layer by layer h, and c of an LSTM;
and best.Wxh ... best.by, the weights with the lowest validation loss, if those are to be kept.

The last tensor, sha256, is of all bytes before it. The metadata has format, "charrnn"; version,
"1"; and model, JSON with

    kind        "text" or "records", which have one symbol more, the boundary, with the last id
    alphabet    "characters", or "bytes": 256 of them
    vocabulary  the characters in the order of their ids
    rare        more characters, which share the id of U+FFFD, if there are any
    layers      pairs of cell and units, from the input on
    settings    what the network is trained with, such as optimizer and learning_rate
    history     what training did: stop_reason, kept_step, and of all reports the steps, losses ...
    mixture     of a model with counts: the weights of network and counts
    run         of a model that was trained: the options of that training
    empty_records   true if the model was trained on an empty record, or may have been
    training    of a checkpoint only: position, options, and the SHA-256 of the text's ids

No code is stored and none is run. Metadata and sizes are checked when a file is read, before its
tensors are, and by the same function when it is written: `load` takes whatever `save` writes.
"""

import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import IO, Any, NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from ..data.record_index import RecordIndex
from ..data.vocabulary import Vocabulary
from ..history import History, Position, from_values
from ..network import Network, Real
from ..network._types import OPTIMIZERS, Description, Parameters
from ..network.config import NEW_OPTIONS, RUN_NAMES, SAVED_SETTINGS, RunOptions
from ..network.counts import ARRAYS, Counts, Mixture, array_dtypes
from ..network.learner import Learner
from ..util.atomic_write import Bytes, StrPath, named, open_regular, write_all, write_atomically
from ..util.errors import (
    ModelFormatError,
    check_choice,
    check_flags,
    check_integer,
    check_number,
    check_text,
)
from ..util.hashing import blocks
from ..util.options import table
from ..util.tensor_file import MALFORMED, Tensor, TensorFile, encode

ModelSource: TypeAlias = StrPath | bytes | IO[bytes]
_Arrays: TypeAlias = dict[str, NDArray[Any]]  # by name

_FORMAT, _VERSION = "charrnn", "1"
_HISTORY = 4096  # characters of JSON that a history may take in a file of any size
_NAMES = ("kind", "alphabet", "vocabulary", "layers", "settings", "history")
_OPTIONAL = ("rare", "training", "mixture", "run", "empty_records")
_NGRAMS = tuple(f"ngrams.{name}" for name in ARRAYS)
_OPTIMIZER_STATE = {  # of a checkpoint
    "adagrad": ("memory",),
    "sgd": (),
    "rmsprop": ("memory",),
    "adam": ("memory", "momentum"),
}


class Training(NamedTuple):
    """What makes a model a checkpoint: where training is, how it began, and the best weights."""

    position: Position
    options: dict[str, Any]
    text_sha256: str
    state: Real
    best: Parameters | None


@dataclass(frozen=True)
class ModelState:
    """All that a file holds.

    index is of the records that the model remembers; empty_records tells whether it was trained on
    an empty one, or may have been.
    """

    learner: Learner
    vocabulary: Vocabulary
    history: History
    index: RecordIndex | None = None
    training: Training | None = None
    mixture: Mixture | None = None
    run: Mapping[str, Any] = field(default_factory=dict)  # of config.RUN_NAMES
    empty_records: bool = False


# ------------------------------------------------------------------------------------------ writing


def save(target: StrPath | IO[bytes], state: ModelState) -> None:
    """Write a model file or a checkpoint: to a path, atomically, or to an open file."""
    parts, file = _encode(state), cast(Any, target)
    if isinstance(target, (str, os.PathLike)):
        write_atomically(target, parts)
    elif hasattr(file, "write") and not isinstance(file, io.TextIOBase):
        write_all(file, parts)
    else:
        what = "a model is saved to a path, or to a file open for writing bytes"
        raise TypeError(f"{what}, not {type(target).__name__}")


def to_bytes(state: ModelState) -> bytes:
    """Return a model file or a checkpoint; or raise ValueError if `load` would refuse it."""
    return b"".join(_encode(state))


def _encode(state: ModelState) -> Iterator[Bytes]:
    others: _Arrays = {}
    best = None
    if state.index is not None:
        others["remembered"] = state.index.fingerprints
    if state.mixture is not None:
        arrays = state.mixture.counts.arrays()
        others |= {f"ngrams.{name}": array for name, array in arrays.items()}
    if state.training is not None:
        others["state"], best = state.training.state, state.training.best
    arrays = _arrays(state.learner.network, best, others)
    tensors = {
        name: Tensor(array.dtype.newbyteorder("<"), array.shape) for name, array in arrays.items()
    }
    size = sum(tensor.nbytes for tensor in tensors.values())
    words = json.dumps(_describe(state, size), ensure_ascii=False)
    Metadata.parse(words, tensors)
    metadata = {"format": _FORMAT, "version": _VERSION, "model": words}
    return encode(metadata, tensors, _copies(arrays))


def _copies(arrays: _Arrays) -> Iterator[memoryview]:
    """Yield arrays in blocks: copies, for another thread may write into weights meanwhile."""
    for name, array in arrays.items():
        for block in blocks(array):
            copied = block.astype(block.dtype.newbyteorder("<"), order="C")
            _check_numbers(name, copied)
            yield copied.data.cast("B")


def _arrays(network: Network, best: Parameters | None, others: _Arrays) -> _Arrays:
    """Return the arrays of a file, in its order. What has others["state"] is a checkpoint."""
    parts = {"best": best} if best is not None else {}
    if "state" in others:
        parts |= {name: getattr(network, name) for name in _OPTIMIZER_STATE[network.optimizer]}
    arrays = {**network.weights.views(), **others}
    for part, parameters in parts.items():
        arrays |= {f"{part}.{name}": view for name, view in parameters.views().items()}
    return dict(sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0])))


def _describe(state: ModelState, size: int) -> dict[str, Any]:
    """Return the metadata of a file whose tensors have this size in bytes."""
    vocabulary, training = state.vocabulary, state.training
    words: dict[str, Any] = {
        "kind": "records" if vocabulary.records else "text",
        "alphabet": "bytes" if vocabulary.of_bytes else "characters",
        "vocabulary": vocabulary.chars,
        "layers": state.learner.network.description.layers,
        "settings": state.learner.options(),
    }
    optional = {
        "rare": vocabulary.rare,
        "training": None if training is None else _describe_training(training),
        "mixture": state.mixture and state.mixture[1:],
        "run": dict(state.run),
        "empty_records": state.empty_records and vocabulary.records,
    }
    words |= {name: value for name, value in optional.items() if value}
    size += len(json.dumps(words, ensure_ascii=False).encode())
    words["history"] = _describe_history(state.history, max(_HISTORY, size // 3))
    return words


def _describe_training(training: Training) -> dict[str, Any]:
    position, options, sha256, *_ = training
    return {"position": asdict(position), "options": options, "text_sha256": sha256}


def _describe_history(history: History, most: int) -> dict[str, Any]:
    """Return a history by columns, with fewer reports if they need more characters than that."""
    values = history.to_dict()
    reports = values["reports"]
    names = reports[0] if reports else ()
    values["reports"] = {name: [report[name] for report in reports] for name in names}
    if len(json.dumps(values)) > most and len(history.thinned().reports) < len(reports):
        return _describe_history(history.thinned(), most)
    return values


# ------------------------------------------------------------------------------------------ reading


def load(source: ModelSource) -> ModelState:
    """Read a model file or a checkpoint: from a path, from its bytes, or from an open file.

    Raise OSError, or ModelFormatError, which says what is wrong with the file.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        begin = f"{bytes(source[:20])!r}{'...' if len(source) > 20 else ''}"
        return _load(io.BytesIO(source), f"the content {begin}")
    if not isinstance(source, (str, os.PathLike)):
        is_text = isinstance(cast(Any, source), io.TextIOBase)
        if not hasattr(source, "read") or is_text:
            hint = ": read_bytes() has its content" if hasattr(source, "read_bytes") else ""
            hint = ": it must be open for reading bytes" if is_text else hint
            what = "a model is loaded from a path, its content as bytes, or a file"
            raise TypeError(f"{what}, not {type(source).__name__}{hint}")
        return _load(source, str(getattr(source, "name", "this file")))
    try:
        file = open_regular(source)
    except ValueError as error:  # a pipe, or a name with a null character
        raise ModelFormatError(f"{str(source)!r} cannot be read: {error}") from error
    with named(source), file:
        return _load(file, str(source))


def _load(file: IO[bytes], name: str) -> ModelState:
    """Read a file: its header first, as the rest of another kind of file may be large."""
    try:
        content = TensorFile(file)
    except MALFORMED as error:
        raise ModelFormatError(f"{name} is not a safetensors file ({error})") from error
    if content.metadata.get("format") != _FORMAT:
        raise ModelFormatError(f"{name} is a safetensors file, but not a charrnn model")
    if (version := content.metadata.get("version")) != _VERSION:
        known = f"this charrnn reads {_VERSION}"
        raise ModelFormatError(f"{name} has format version {version!s:.60}; {known}")
    try:
        return _read(content)
    except MALFORMED as error:
        raise ModelFormatError(f"{name} is damaged: {error}") from error


def _read(content: TensorFile) -> ModelState:
    tensors = content.check_tensors()
    about = Metadata.parse(content.metadata["model"], tensors)
    network = Network(about.description, tensors["Why"].dtype, about.optimizer)
    learner = Learner.from_network(network, **about.settings)
    best = Parameters(about.description, network.dtype) if "best.Why" in tensors else None
    others: _Arrays = {
        name: np.empty(tensors[name].shape, tensors[name].dtype)
        for name in ("state", "remembered", *_NGRAMS)
        if name in tensors
    }
    arrays = _arrays(network, best, others)
    for name, (dtype, _) in tensors.items():
        for block in blocks(arrays[name]):
            numbers = np.frombuffer(content.read(block.nbytes), dtype)
            _check_numbers(name, numbers)
            block[...] = numbers.reshape(block.shape)
    content.check_digest()
    index = RecordIndex(others["remembered"]) if "remembered" in others else None
    training = about.training
    if training is not None:
        training = training._replace(state=others["state"], best=best)
    mixture = None
    if about.mixture is not None:
        arrays = {name: others[f"ngrams.{name}"] for name in ARRAYS}
        counts = Counts.from_arrays(about.vocabulary.symbols, arrays)
        mixture = Mixture(counts, *about.mixture)
        network.mix(mixture.table())
    words = about.vocabulary, about.history
    return ModelState(learner, *words, index, training, mixture, about.run, about.empty_records)


# ------------------------------------------------------------------------------------------- checks


class Metadata(NamedTuple):
    """What the metadata of a file says, checked."""

    vocabulary: Vocabulary
    description: Description
    optimizer: str
    settings: dict[str, Any]
    history: History
    training: Training | None  # without its arrays
    mixture: tuple[float, float] | None
    run: dict[str, Any]
    empty_records: bool

    @classmethod
    def parse(cls, words: str, tensors: dict[str, Tensor]) -> "Metadata":
        """Check metadata and tensors against each other; or raise one of `MALFORMED`."""
        values = json.loads(words)
        _check_names("the metadata", values, _NAMES, optional=_OPTIONAL)
        kind = check_choice("kind", values["kind"], ("text", "records"))
        alphabet = check_choice("alphabet", values["alphabet"], ("characters", "bytes"))
        chars = check_text("vocabulary", values["vocabulary"])
        rare = check_text("rare", values.get("rare", ""))
        vocabulary = Vocabulary(chars, kind == "records", alphabet == "bytes", rare)
        settings = values["settings"]
        _check_options("settings", settings, ("optimizer", *SAVED_SETTINGS))
        optimizer = check_choice("optimizer", settings.pop("optimizer"), OPTIMIZERS)
        description = Description(map(tuple, values["layers"]), vocabulary.symbols)
        history, training = _parse_history(values["history"]), None
        if "training" in values:
            training = _parse_training(values["training"], history, "best.Why" in tensors)
        mixture = _parse_mixture(values["mixture"]) if "mixture" in values else None
        run = _parse_run(values["run"]) if "run" in values else {}
        empty = values.get("empty_records", False)
        check_flags(empty_records=empty)
        others = history, training, mixture, run, empty
        about = cls(vocabulary, description, optimizer, settings, *others)
        about.check_tensors(tensors)
        return about

    def check_tensors(self, found: dict[str, Tensor]) -> None:
        """Raise ValueError unless these are the tensors of such a model, or checkpoint."""
        dtype = found["Why"].dtype if "Why" in found else np.dtype("<f4")
        parts, wanted = [""], {}
        if self.training is not None:
            parts += [f"{name}." for name in _OPTIMIZER_STATE[self.optimizer]]
            parts += ["best."] if "best.Why" in found else []
            most = check_integer("batch_size", self.settings["batch_size"], 1)
            streams = found["state"].shape[0] if "state" in found else 1
            check_integer("the rows of state", streams, 1, most)
            wanted["state"] = Tensor(dtype, (streams, self.description.state_size))
        for name, (_, rows, columns, _, bias) in self.description.tensors.items():
            shape = (columns,) if bias else (rows, columns)
            wanted |= {part + name: Tensor(dtype, shape) for part in parts}
        if self.vocabulary.records and "remembered" in found:
            wanted["remembered"] = Tensor(np.dtype("<u4"), found["remembered"].shape[:1])
        if self.mixture is not None and found.keys() >= {*_NGRAMS}:
            dtypes = array_dtypes(self.description.vocab_size)
            for name in ARRAYS:
                size = found[f"ngrams.{name}"].shape[:1]
                wanted[f"ngrams.{name}"] = Tensor(dtypes[name], size)
        if found.keys() != wanted.keys():
            names = ", ".join(sorted(found))
            raise ValueError(f"the tensors must be {', '.join(wanted)}, not {names:.200}")
        for name, tensor in wanted.items():
            if found[name] != tensor or dtype.kind != "f":
                what = f"{name} is {found[name].dtype} {found[name].shape}"
                raise ValueError(f"{what}, {self.description} need {tensor.dtype} {tensor.shape}")


def _parse_mixture(values: Any) -> tuple[float, float]:
    network_weight, counts_weight = values
    for weight in (network_weight, counts_weight):
        check_number("a weight of the mixture", weight, minimum=0, maximum=2)
    return float(network_weight), float(counts_weight)


def _parse_run(values: Any) -> dict[str, Any]:
    """Return how a model was trained, checked as when the options were given."""
    _check_options("run", values, RUN_NAMES)
    options = table(RunOptions)
    values = {name: values.get(name, options[name].default) for name in RUN_NAMES}
    return {name: options[name].check(value) for name, value in values.items()}


def _parse_history(values: Any) -> History:
    """Return the history of these values, whose reports are columns."""
    columns = values["reports"]
    rows = zip(*columns.values(), strict=True)
    reports = [dict(zip(columns, row, strict=True)) for row in rows]
    return History.from_dict({**values, "reports": reports})


def _check_names(
    what: str, found: Iterable[str], known: Iterable[str], optional: Iterable[str] = ()
) -> None:
    """Raise ValueError if names are missing that are not optional, or not known."""
    missing, odd = {*known} - {*found}, {*found} - {*known, *optional}
    if missing or odd:
        names = ", ".join(sorted(missing | odd))
        raise ValueError(f"{what} must hold {', '.join(known)}: {names:.200}")


def _check_options(what: str, found: Iterable[str], known: Iterable[str]) -> None:
    """Raise ValueError unless these are the known options; the new ones may be missing."""
    required = [name for name in known if name not in NEW_OPTIONS]
    _check_names(what, found, required, optional=known)


def _check_numbers(name: str, numbers: NDArray[Any]) -> None:
    """Raise ValueError if a model has no such numbers."""
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name} has values that are not finite")
    if name.startswith("memory.") and (numbers < 0).any():
        raise ValueError(f"{name} has negative values")


def _parse_training(values: Any, history: History, best: bool) -> Training:
    """Return what a checkpoint says of its training, if that agrees with its history."""
    _check_names("training", values, ("position", "options", "text_sha256"))
    at = from_values(Position, values["position"])
    options, sha256 = values["options"], values["text_sha256"]
    kinds = (int, float, str, bool, type(None))
    if type(options) is not dict or not all(type(value) in kinds for value in options.values()):
        raise TypeError(f"options is {options!r:.60}")
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise ValueError(f"text_sha256 is {sha256!r:.60}")
    reported = history.reports[-1].characters if history.reports else 0
    measured = at.best_nll is not None
    agree = {
        "best_epoch, epoch and step": at.best_epoch <= at.epoch <= at.step <= at.characters,
        "best_step and step": at.best_step <= at.step,
        "smooth_loss and step": at.smooth_loss is not None,
        "best_nll and best_epoch": measured == (at.best_epoch > 0),
        "best_nll and the reports": not measured or bool(history.validation_losses),
        "best_nll and the best weights": best == (measured and options.get("keep") == "best"),
        "unreported and unreported_loss": at.unreported > 0 or at.unreported_loss == 0,
        "characters and the reports": at.characters - at.unreported == reported,
        "step and the reports": history.steps <= at.step,
    }
    for what, true in agree.items():
        if not true:
            raise ValueError(f"{what} do not go together")
    return Training(at, options, sha256, np.empty(0), None)
