"""Training as a whole: what is trained on, what is held out, which weights are kept, checkpoints and how to go on from them."""

import functools
import logging
import math
import warnings
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import numpy as np

from ..data.batches import Stream
from ..data.dataset import Records, Text
from ..data.record_index import RecordIndex
from ..data.vocabulary import Vocabulary
from ..history import Callback, History, Position
from ..network import Network, Real
from ..network._types import Parameters
from ..network.config import Keep, ScheduleName
from ..network.learner import Learner
from ..storage import model_file as persistence
from ..util.atomic_write import StrPath, check_path, check_target
from ..util.errors import (
    ModelFormatError,
    TrainingWarning,
    check_choice,
    check_integer,
    check_number,
)
from ..util.hashing import sha256
from ..util.progress import check_progress
from ..util.seeding import random_seed
from .loop import Budget, check_callback, fit
from .schedule import Schedule

if TYPE_CHECKING:
    from .mpi import Team

_log = logging.getLogger("charrnn")
_F = TypeVar("_F", bound=Callable[..., Any])

_FARTHEST = 1 << 53  # steps and characters that a checkpoint may stand at: there is room to go on
_SHARDS = 8  # of a batch, where several processes train


def over_mpi(train: _F) -> _F:
    """Have a function that trains do so over MPI where it is given comm: what one of the processes raises ends all of them."""

    @functools.wraps(train)
    def meet(*arguments: Any, comm: Any = None, **options: Any) -> Any:
        if comm is None:
            return train(*arguments, **options)
        from .mpi import Team  # here: few need it

        if isinstance(comm, Team):  # who made it listens
            return train(*arguments, comm=comm, **options)
        with Team(comm) as team:
            if team.rank:
                options["progress"] = False
            return train(*arguments, comm=team, **options)

    return meet  # type: ignore[return-value]


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
    moves = Schedule(schedule, warmup, learning_rate_decay)
    chosen = None if keep is None else check_choice("keep", keep, get_args(Keep))
    if sample_every is not None:
        sample_every = check_integer("sample_every", sample_every, 1)
    check_progress(progress)
    budget = Budget.check(
        **budgets
    )  # here, too: nothing may change before all options are known to be right
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
        raise ValueError(
            f"{wanted} needs a held-out part, and validation_fraction={validation_fraction!r} of this text holds out none"
        )
    network = learner.network
    best = (
        Parameters(network.description, network.dtype)
        if validation is not None and chosen != "last"
        else None
    )
    position, state = Position(), None
    options = learner.options() | {
        "network": str(network.description),
        "dtype": network.dtype.name,
        "seed": seed,
        "validation_fraction": fraction,
        **asdict(moves),
        "keep": "last" if best is None else "best",
        "remember": index is not None,
        "shards": shards,
    }
    text_sha256 = ""
    if checkpoint is not None or resume is not None or comm is not None:
        text_sha256 = source.sha256()
        options["starting_weights"] = _starting_weights(network)
    if resume is not None:
        saved, stood = _read_checkpoint(resume, source.vocabulary, options, text_sha256, stream)
        network.copy_from(saved.learner.network)
        position, state = stood.position, stood.state
        history.reports, history.stop_reason = saved.history.reports, saved.history.stop_reason
        if best is not None and stood.best is not None:
            best.copy_from(stood.best)
        _log.info("resumed from %s at step %d", resume, position.step)

    hands = _hands(learner, stream, seed, shards, comm)
    if comm is not None:
        resumed = {
            "a checkpoint of step": position.step,
            "best weights": sha256(best.block) if best is not None else "",
        }
        same = {
            **options,
            **budget._asdict(),
            "characters": source.vocabulary.chars,
            "a text of SHA-256": text_sha256,
            **resumed,
        }
        hands.signals.noted += comm.meet(same | {"weights": _starting_weights(network)})
        if comm.rank:
            comm.follow(hands, history)
            return

    def save(position: Position, state: Real) -> None:
        known = best if position.best_nll is not None else None
        stands = persistence.Training(position, options, text_sha256, state, known)
        assert checkpoint is not None
        persistence.save(
            checkpoint, persistence.ModelState(learner, source.vocabulary, history, index, stands)
        )
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
    number, ranks = (
        check_integer("shards", _SHARDS if shards is None else shards, 1, 4096),
        1 if comm is None else comm.size,
    )
    if number > batch_size:
        raise ValueError(
            f"shards={number} needs as many streams, not batch_size={batch_size}: raise batch_size, or lower shards"
        )
    if ranks > number:
        raise ValueError(
            f"{ranks} ranks need as many shards, not shards={number}: start fewer, or raise shards"
        )
    return number


def _hands(
    learner: Learner, stream: Stream, seed: int, shards: int | None, comm: "Team | None"
) -> Any:
    """Return what trains on windows, None for the loop's own."""
    if shards is None:
        return None
    from .mpi import Ranks, Shards  # here: few need it

    return (
        Shards(learner, stream, seed, shards)
        if comm is None
        else Ranks(learner, stream, seed, shards, comm.comm)
    )


def _warn_of_nothing_learned(history: History, symbols: int) -> None:
    """Warn where the model is no better than one for which all symbols are equally likely."""
    uniform, last = math.log(symbols), history.reports[-1] if history.reports else None
    if last is None or last.step == 1 or symbols == 1:
        return
    what = f"after {last.step} steps the loss is {last.nll:.3g} nats per character, where equal chances for all give {uniform:.3g}: "
    if last.nll > 1.1 * uniform:
        warnings.warn(
            what + "the training does not converge; lower learning_rate",
            TrainingWarning,
            stacklevel=7,
        )
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
    return sha256(*padded)[:16]


def _keep_best(
    network: Network, history: History, position: Position, best: Parameters | None
) -> None:
    """Give the network the best weights, if there are any and the latest measurement was worse."""
    if (
        best is None
        or position.best_nll is None
        or not position.best_nll < history.validation_losses[-1]
    ):
        return
    network.weights.copy_from(best)
    # Checkpoints of version 0.1.0 did not know the step.
    history.kept_step = position.best_step or next(
        (report.step for report in history.reports if report.epoch == position.best_epoch), None
    )


def _read_checkpoint(
    path: StrPath, vocabulary: Vocabulary, options: dict[str, Any], sha256: str, stream: Stream
) -> tuple[persistence.ModelState, persistence.Training]:
    """Return what a checkpoint holds if a training with these options on this text can go on from it; otherwise raise."""
    saved = persistence.load(check_path("resume", path))
    training = saved.training
    if training is None:
        raise ValueError(
            f"{path} is a model, not a checkpoint: it does not say where training stood"
        )
    differences = [
        f"{name} was {training.options.get(name)!r}, is {value!r}"
        for name, value in options.items()
        if training.options.get(name) != value
    ]
    if (training.text_sha256, saved.vocabulary) != (sha256, vocabulary):
        differences.insert(0, "the text is another")
    if differences:
        hint = "to go on with other options or another text, load it and train the model further (the command's --start)"
        raise ValueError(f"{path} cannot be resumed: {'; '.join(differences)}; {hint}")
    at, streams = training.position, training.state.shape[0]
    if streams != stream.batch_size or max(at.step, at.characters) > _FARTHEST:
        raise ModelFormatError(
            f"{path} is damaged: it has {streams} streams and stands at step {at.step}, character {at.characters}"
        )
    stream.begin(training.position.epoch)  # of records each epoch has its own windows
    if training.position.window >= stream.windows:
        raise ModelFormatError(
            f"{path} is damaged: it stands at window {training.position.window} of {stream.windows}"
        )
    return saved, training
