"""Training as a whole: what is trained on, what is held out, which weights are kept, checkpoints and how to go on from them."""

import functools
import itertools
import logging
import math
import os
import re
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeAlias, TypedDict, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from . import persistence
from ._network import MAX_LAYERS, Parameters
from .display import check_progress
from .errors import ModelFormatError, TrainingWarning, check_choice, check_flags, check_integer, check_number, check_sequence, gap, plain
from .files import StrPath, check_path, check_target
from .history import Callback, History
from .loop import Budget, Position, Stream, check_callback, fit
from .network import Learner, Network, Real, TrainingOptions
from .novelty import RecordIndex
from .options import defaults
from .reader import Ids, RecordStream, StoredIds, TextStream, begins, check_length, smallest
from .recipes import BY_OPTIMIZER, Cell, Optimizer, Preset, Schedule, ScheduleName, recipe
from .seeding import permutation, random_seed
from .vocabulary import AnyText, Vocabulary, described, distinct

if TYPE_CHECKING:
    from .parallel import Team

_log = logging.getLogger("charrnn")
_F = TypeVar("_F", bound=Callable[..., Any])

_FARTHEST = 1 << 53  # steps and characters that a checkpoint may stand at: there is room to go on
_MEASURED = 1 << 18  # characters of the held-out part: what is measured after each pass should cost little beside it
# A network of so many operations a character reads its weights from beyond the second-level cache at each of them: four streams share that.
_LARGE, _AT_ONCE, _LONG = 1 << 18, 4, 1 << 12  # but each stream has so many characters, as its first ones are surprising
_PIECE = 1 << 20  # characters of records that are encoded at a time
_SURROGATE = re.compile("[\ud800-\udfff]")
_SHARDS = 8  # of a batch, where several processes train


Keep: TypeAlias = Literal["best", "last"]
Alphabet: TypeAlias = Literal["characters", "bytes"]


class Options(TrainingOptions, total=False):
    """The options of training, by name."""

    preset: Annotated[Preset | None, None]
    optimizer: Annotated[Optimizer, "adagrad"]
    seed: Annotated[int | None, 0]
    epochs: Annotated[int | None, None]
    steps: Annotated[int | None, None]
    seconds: Annotated[float | None, None]
    validation_fraction: Annotated[float, 0.1]
    keep: Annotated[Keep | None, None]
    patience: Annotated[int | None, None]
    schedule: Annotated[ScheduleName, "constant"]
    warmup: Annotated[int, 0]
    learning_rate_decay: Annotated[float, 1.0]
    callback: Annotated[Callback | None, None]
    sample_every: Annotated[int | None, None]
    shards: Annotated[int | None, None]
    comm: Annotated[Any, None]
    progress: Annotated[bool | None, None]
    checkpoint: Annotated[StrPath | None, None]
    resume: Annotated[StrPath | None, None]


class LayerOptions(TypedDict, total=False):
    """What a new network is made of."""

    cell: Annotated[Cell, "rnn"]
    hidden_size: Annotated[int, 100]
    n_layers: Annotated[int, 1]
    dtype: Annotated[Literal["float32", "float64"], "float32"]


class NewOptions(LayerOptions, Options, total=False):
    """The options of training a new model, by name, but alphabet."""


def together(train: _F) -> _F:
    """Have a function that trains do so over MPI where it is given comm: what one of the processes raises ends all of them."""

    @functools.wraps(train)
    def meet(*arguments: Any, comm: Any = None, **options: Any) -> Any:
        if comm is None:
            return train(*arguments, **options)
        from .parallel import Team  # here: few need it

        if isinstance(comm, Team):  # who made it listens
            return train(*arguments, comm=comm, **options)
        with Team(comm) as team:
            if team.rank:
                options["progress"] = False
            return train(*arguments, comm=team, **options)

    return meet  # type: ignore[return-value]


_OF_LAYERS, _OF_LEARNER = ("cell", "hidden_size", "n_layers"), ("dtype", "optimizer", *TrainingOptions.__annotations__)


def split(options: Mapping[str, Any]) -> tuple[list[tuple[str, int]], dict[str, Any], dict[str, Any]]:
    """Return the layers of a network, the options of its learner and those of the training, with the defaults of what is not given.

    The seed is for both; what is None has the default of the optimiser.
    """
    chosen = {**defaults(NewOptions), **recipe(options.get("preset"), dict(options))}
    optimizer = check_choice("optimizer", chosen["optimizer"], get_args(Optimizer))
    chosen |= {name: value for name, value in BY_OPTIMIZER[optimizer].items() if chosen[name] is None}
    cell = check_choice("cell", chosen["cell"], get_args(Cell))
    layers = [(cell, chosen["hidden_size"])] * check_integer("n_layers", chosen["n_layers"], 1, MAX_LAYERS)
    learner = {name: chosen[name] for name in (*_OF_LEARNER, "seed")} | {"optimizer": optimizer}
    others = ("preset", *_OF_LAYERS, *_OF_LEARNER)
    return layers, learner, {name: value for name, value in chosen.items() if name not in others}


def check_used(given: Mapping[str, Any], optimizer: str) -> None:
    """Raise ValueError if an option is given that an optimiser has no use for."""
    name = "initial_accumulator_value"
    if optimizer != "adagrad" and given.get(name, default := defaults(NewOptions)[name]) != default:
        raise ValueError(f"{name}={given[name]!r} is Adagrad's, and optimizer={optimizer!r} has no use for it: leave it out")


def choose_vocabulary(text: AnyText, alphabet: str, records: bool, known: Vocabulary | None, extend: bool) -> Vocabulary:
    """Return the vocabulary of a new model of a text, or of one that goes on with it."""
    check_flags(extend=extend)
    return _fresh_vocabulary(text, alphabet, records) if known is None else _grown_vocabulary(known, text, extend)


def reads_bytes(alphabet: str, known: Vocabulary | None) -> bool:
    """Return whether texts are bytes, of a new model or of one with a vocabulary; or raise ValueError if there is no such alphabet."""
    return check_choice("alphabet", alphabet, get_args(Alphabet)) == "bytes" if known is None else known.of_bytes


def _fresh_vocabulary(text: AnyText, alphabet: str, records: bool) -> Vocabulary:
    return Vocabulary.all_bytes(records) if alphabet == "bytes" else Vocabulary.from_text(text, records)


def _grown_vocabulary(vocabulary: Vocabulary, text: AnyText, extend: bool) -> Vocabulary:
    """Return a vocabulary that knows text, the characters of the given one in front; or raise if that needs more than extend allows."""
    missing = vocabulary.missing(text)
    if missing and not extend:
        raise ValueError(f"the text has characters that the model does not know: {described(missing)}; extend=True adds them")
    return vocabulary.extended(text) if missing else vocabulary


@dataclass
class Text:
    """A text as ids, and its streams; called is when training was asked for, as a budget of seconds counts the encoding."""

    vocabulary: Vocabulary
    ids: Ids
    called: float
    index: ClassVar[None] = None  # a text has no records to remember

    @classmethod
    def of(cls, text: AnyText, alphabet: str = "characters", known: Vocabulary | None = None, extend: bool = False) -> Self:
        """Encode a text (str or bytes); known is the vocabulary of a model that goes on with it, which extend lets grow."""
        called = time.perf_counter()
        of_bytes = reads_bytes(alphabet, known)
        text = check_length("text", _check_type("text", text, of_bytes))
        vocabulary = choose_vocabulary(text, alphabet, False, known, extend)
        return cls(vocabulary, vocabulary.encode(text, dtype=vocabulary.smallest_dtype), called)

    def sha256(self) -> str:
        """Return the SHA-256 of the ids."""
        return persistence.sha256_of(_pieces(self.ids))

    def streams(self, learner: Learner, fraction: float, seed: int) -> tuple[Stream, Stream | None]:
        """Return what to train on and what is held out: the end of the text, or None if that would leave less than two characters."""
        held_out = int(len(self.ids) * fraction)
        if held_out < 2 or len(self.ids) - held_out < 2:
            return TextStream(self.ids, learner.seq_length, learner.batch_size), None
        cut = len(self.ids) - held_out
        measured = self.ids[cut : cut + _MEASURED]
        large = learner.network.description.operations >= _LARGE and len(measured) > _AT_ONCE * _LONG
        rest = TextStream(measured, 256, _AT_ONCE if large else 1)
        return TextStream(self.ids[:cut], learner.seq_length, learner.batch_size), rest


@dataclass
class Records:
    """Records as ids, one after the other, and their streams; index is of the records, if they are to be remembered."""

    vocabulary: Vocabulary
    ids: Ids
    lengths: NDArray[np.signedinteger[Any]]
    index: RecordIndex | None
    called: float

    @classmethod
    def of(
        cls,
        strings: Iterable[AnyText],
        alphabet: str = "characters",
        known: Vocabulary | None = None,
        extend: bool = False,
        remember: bool = False,
    ) -> Self:
        """Encode records; the parameters are those of `Text.of`, and remember: whether to keep an index of the records."""
        called = time.perf_counter()
        if isinstance(strings, (str, PathLike)) and os.path.isfile(strings):
            how = "pathlib.Path(name).read_text(encoding='utf-8').splitlines() has its lines"
            raise TypeError(f"strings must be a sequence of str, not the name of a file: {how}")
        strings = check_sequence("strings", strings, "text.splitlines() has the lines of a text")
        of_bytes = reads_bytes(alphabet, known)
        for i, string in enumerate(strings):
            if not isinstance(string, bytes if of_bytes else str):
                _check_type(f"strings[{i}]", string, of_bytes)
        if not any(strings):
            raise ValueError(f"strings has {len(strings)} records and no character in them; training needs at least 1")
        empty: AnyText = b"" if of_bytes else ""
        chars = empty if of_bytes else _distinct(strings)
        vocabulary = choose_vocabulary(chars, alphabet, True, known, extend)
        length = bytes.__len__ if of_bytes else str.__len__  # what is joined, whatever the class of a string says of it
        lengths = np.empty(len(strings), np.int64)
        for first in range(0, len(strings), _PIECE):  # Ctrl-C waits for no more
            some = strings[first : first + _PIECE]
            lengths[first : first + _PIECE] = np.fromiter(map(length, some), np.int64, len(some))
        ids = np.empty(lengths.sum(), vocabulary.smallest_dtype)
        lengths = lengths.astype(smallest(int(lengths.max())))
        start = 0
        for text in _joined(strings, empty):
            ids[start : start + len(text)] = vocabulary.encode(text, dtype=ids.dtype)
            start += len(text)
        return cls(vocabulary, ids, lengths, RecordIndex.of(strings) if remember else None, called)

    def sha256(self) -> str:
        """Return the SHA-256 of lengths and ids."""
        lengths = (self.lengths[start : start + _PIECE].astype("<i8") for start in range(0, len(self.lengths), _PIECE))
        return persistence.sha256_of(itertools.chain(lengths, _pieces(self.ids)))

    def streams(self, learner: Learner, fraction: float, seed: int) -> tuple[Stream, Stream | None]:
        """Return what to train on and what is held out: the last records of a shuffled order, or None if there would be none."""
        n, starts = len(self.lengths), begins(self.lengths)
        order = permutation(n, seed)

        def stream(chosen: NDArray[np.signedinteger[Any]], batch_size: int) -> Stream:
            return RecordStream(
                self.ids, self.lengths[chosen], len(self.vocabulary), batch_size, seed, learner.seq_length, starts=starts[chosen]
            )

        held_out = int(n * fraction)
        train, rest = order[: n - held_out], order[n - held_out :]
        rest = rest[: max(1, np.searchsorted(np.cumsum(self.lengths[rest] + 1, dtype=np.int64), _MEASURED, "right"))]
        rest = rest[np.argsort(self.lengths[rest], kind="stable")]  # batches of like length
        return stream(train, learner.batch_size), stream(rest, 64) if held_out else None


def _joined(strings: list[AnyText], empty: AnyText) -> Iterator[AnyText]:
    """Yield all of them as one text, piece by piece: as a whole it would take four bytes a character where one has a rare one."""
    first, characters = 0, 0
    for i, string in enumerate(strings):
        characters += len(string)
        if characters >= _PIECE or i == len(strings) - 1:
            text = empty.join(strings[first : i + 1])
            yield from (text[start : start + _PIECE] for start in range(0, len(text), _PIECE))
            first, characters = i + 1, 0


def _distinct(strings: list[AnyText]) -> str:
    """Return the distinct characters of records; or raise ValueError that names the record with what is none."""
    try:
        return distinct(_joined(strings, ""))
    except ValueError:
        place, string = next(found for found in enumerate(strings) if _SURROGATE.search(found[1]))
        return distinct([string], f"strings[{place}]")  # raises


def _pieces(ids: Ids) -> Iterator[NDArray[Any]]:
    """Yield ids, those in a file some at a time."""
    return ids.pieces() if isinstance(ids, StoredIds) else iter([ids])


def _check_type(name: str, text: AnyText, of_bytes: bool) -> AnyText:
    if isinstance(text, bytes if of_bytes else str):
        return plain(text)
    instead = gap(text)
    if isinstance(text, bytes):
        instead = ": alphabet='bytes' trains on bytes"
    elif isinstance(text, PathLike):
        instead = ": train_file trains on a file"
    elif hasattr(text, "read"):
        instead = ": give what is read of it, or train_file its name"
    elif name == "text" and isinstance(text, Iterable):
        instead = ": train_records trains on records, one by one"
    raise TypeError(f"{name} must be {'bytes' if of_bytes else 'a str'}, not {type(text).__name__}{instead}")


def train(
    learner: Learner,
    source: Text | Records,
    history: History,
    model: Any,
    *,
    index: RecordIndex | None = None,
    seed: int | None,
    validation_fraction: float,
    keep: Keep | None,
    schedule: ScheduleName,
    warmup: int,
    learning_rate_decay: float,
    callback: Callback | None,
    sample_every: int | None,
    shards: int | None,
    comm: "Team | None",
    progress: bool | None,
    checkpoint: StrPath | None,
    resume: StrPath | None,
    **budgets: Any,
) -> None:
    """Train a learner on a `Text` or `Records`, filling history; the options are those of `charrnn.train_text`.

    model is the `CharRNN` of all that, for the callback; index what of the records is remembered, for the checkpoint. Where an exception
    ends the training, the network has the weights of the last whole step.
    """
    fraction = check_number("validation_fraction", validation_fraction, minimum=0, below=1)
    moves = Schedule.check(schedule, warmup, learning_rate_decay)
    chosen = None if keep is None else check_choice("keep", keep, get_args(Keep))
    if sample_every is not None:
        sample_every = check_integer("sample_every", sample_every, 1)
    check_progress(progress)
    budget = Budget.check(**budgets)  # here, too: nothing may change before all options are known to be right
    check_callback(callback)
    shards = _check_shards(shards, learner.batch_size, comm)
    if checkpoint is not None and (comm is None or comm.rank == 0):
        check_target(checkpoint, "checkpoint")
    if seed is None and comm is not None and comm.size > 1:
        raise ValueError("seed=None gives each rank another seed: give all of them the same number")
    seed = random_seed() if seed is None else int(seed)
    stream, validation = source.streams(learner, fraction, seed)
    if validation is None and (chosen == "best" or not math.isinf(budget.patience)):
        wanted = "keep='best'" if chosen == "best" else f"patience={budget.patience}"
        raise ValueError(f"{wanted} needs a held-out part, and validation_fraction={validation_fraction!r} of this text holds out none")
    network = learner.network
    best = Parameters(network.description, network.dtype) if validation is not None and chosen != "last" else None
    position, state = Position(), None
    options = persistence.settings(learner) | {
        "network": str(network.description),
        "dtype": network.dtype.name,
        "seed": seed,
        "validation_fraction": fraction,
        "schedule": moves.name,
        "warmup": moves.warmup,
        "learning_rate_decay": moves.decay,
        "keep": "last" if best is None else "best",
        "remember": index is not None,
        "shards": shards,
    }
    sha256 = ""
    if checkpoint is not None or resume is not None or comm is not None:
        sha256 = source.sha256()
        options["starting_weights"] = _starting_weights(network)
    if resume is not None:
        saved, stood = _read_checkpoint(resume, source.vocabulary, options, sha256, stream)
        network.copy_from(saved.learner.network)
        position, state = stood.position, stood.state
        history.reports, history.stop_reason = saved.history.reports, saved.history.stop_reason
        if best is not None and stood.best is not None:
            best.copy_from(stood.best)
        _log.info("resumed from %s at step %d", resume, position.step)

    hands = _hands(learner, stream, seed, shards, comm)
    if comm is not None:
        resumed = {"a checkpoint of step": position.step, "best weights": persistence.sha256(best.block) if best is not None else ""}
        same = {**options, **budget._asdict(), "characters": source.vocabulary.chars, "a text of SHA-256": sha256, **resumed}
        hands.signals.noted += comm.meet(same | {"weights": _starting_weights(network)})
        if comm.rank:
            comm.follow(hands, history)
            return

    def save(position: Position, state: Real) -> None:
        known = best if position.best_nll is not None else None
        stands = persistence.Training(position, options, sha256, state, known)
        assert checkpoint is not None
        persistence.save(checkpoint, persistence.Saved(learner, source.vocabulary, history, index, stands))
        _log.debug("wrote %s at step %d", checkpoint, position.step)

    ended: BaseException | None = None
    try:
        fit(
            learner,
            stream,
            schedule=moves,
            masks=seed,
            stepper=hands,
            validation=validation,
            best=best,
            callback=callback,
            model=model,
            sample_every=sample_every,
            progress=progress,
            history=history,
            position=position,
            state=state,
            save=save if checkpoint is not None else None,
            called=source.called,
            **budgets,
        )
        _keep_best(network, history, position, best)
    except KeyboardInterrupt as error:  # the usual end of a training that has begun to overfit
        ended = error
        _keep_best(network, history, position, best)
        raise
    except BaseException as error:
        ended = error
        raise
    finally:
        if comm is not None:
            comm.end(ended, history, network)
    _warn_of_nothing_learned(history, network.description.vocab_size)


def _check_shards(shards: Any, batch_size: int, comm: "Team | None") -> int | None:
    """Return the number of shards, None for the batch as one; or raise ValueError or TypeError. Several processes need some."""
    if shards is None and comm is None:
        return None
    number, ranks = check_integer("shards", _SHARDS if shards is None else shards, 1, 4096), 1 if comm is None else comm.size
    if number > batch_size:
        raise ValueError(f"shards={number} needs as many streams, not batch_size={batch_size}: raise batch_size, or lower shards")
    if ranks > number:
        raise ValueError(f"{ranks} ranks need as many shards, not shards={number}: start fewer, or raise shards")
    return number


def _hands(learner: Learner, stream: Stream, seed: int, shards: int | None, comm: "Team | None") -> Any:
    """Return what trains on windows, None for the loop's own."""
    if shards is None:
        return None
    from .parallel import Ranks, Shards  # here: few need it

    return Shards(learner, stream, seed, shards) if comm is None else Ranks(learner, stream, seed, shards, comm.comm)


def _warn_of_nothing_learned(history: History, symbols: int) -> None:
    """Warn where the model is no better than one for which all symbols are equally likely."""
    uniform, last = math.log(symbols), history.reports[-1] if history.reports else None
    if last is None or last.step == 1 or symbols == 1:
        return
    what = f"after {last.step} steps the loss is {last.nll:.3g} nats per character, where equal chances for all give {uniform:.3g}: "
    if last.nll > 1.1 * uniform:
        warnings.warn(what + "the training does not converge; lower learning_rate", TrainingWarning, stacklevel=7)
    elif last.nll > 0.85 * uniform and history.stop_reason == "epochs":
        advice = "so few characters or steps teach nothing; more text, more epochs, a smaller batch_size or seq_length do"
        warnings.warn(what + advice, TrainingWarning, stacklevel=7)


def _starting_weights(network: Network) -> str:
    """Return 16 digits that tell whether a training began with the same weights: of the arrays padded as version 0.1.0 had them."""
    padded = []
    for name, (_, rows, columns, ld, _) in network.description.tensors.items():
        array = np.full((rows, ld), -1e30 if name == "by" else 0, network.dtype)
        array[:, :columns] = network.weights.views()[name]
        padded.append(array)
    return persistence.sha256(*padded)[:16]


def _keep_best(network: Network, history: History, position: Position, best: Parameters | None) -> None:
    """Give the network the best weights, if there are any and the latest measurement was worse."""
    if best is None or position.best_nll is None or not position.best_nll < history.validation_losses[-1]:
        return
    network.weights.copy_from(best)
    # Checkpoints of version 0.1.0 did not know the step.
    history.kept_step = position.best_step or next((report.step for report in history.reports if report.epoch == position.best_epoch), None)


def _read_checkpoint(
    path: StrPath, vocabulary: Vocabulary, options: dict[str, Any], sha256: str, stream: Stream
) -> tuple[persistence.Saved, persistence.Training]:
    """Return what a checkpoint holds if a training with these options on this text can go on from it; otherwise raise."""
    saved = persistence.load(check_path("resume", path))
    training = saved.training
    if training is None:
        raise ValueError(f"{path} is a model, not a checkpoint: it does not say where training stood")
    differences = [
        f"{name} was {training.options.get(name)!r}, is {value!r}" for name, value in options.items() if training.options.get(name) != value
    ]
    if (training.text_sha256, saved.vocabulary) != (sha256, vocabulary):
        differences.insert(0, "the text is another")
    if differences:
        hint = "to go on with other options or another text, load it and train the model further (the command's --start)"
        raise ValueError(f"{path} cannot be resumed: {'; '.join(differences)}; {hint}")
    at, streams = training.position, training.state.shape[0]
    if streams != stream.batch_size or max(at.step, at.characters) > _FARTHEST:
        raise ModelFormatError(f"{path} is damaged: it has {streams} streams and stands at step {at.step}, character {at.characters}")
    stream.begin(training.position.epoch)  # of records each epoch has its own windows
    if training.position.window >= stream.windows:
        raise ModelFormatError(f"{path} is damaged: it stands at window {training.position.window} of {stream.windows}")
    return saved, training
