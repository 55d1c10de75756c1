"""A whole training: what is held out, kept and resumed, in one process or over MPI."""

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ..data.batches import Stream
from ..data.dataset import Records, Text
from ..history import Position
from ..network._types import Parameters
from ..network.config import SAVED_RUN_OPTIONS, Keep
from ..network.learner import Learner
from ..storage import model_file
from ..storage.model_file import ModelState
from ..util.atomic_write import check_path, check_target
from ..util.progress import check_progress
from ..util.seeding import random_seed
from .advice import warn_if_poor
from .checkpoint import Checkpoint, weights_digest
from .loop import Budget, Trainer, train_alone
from .schedule import Schedule
from .stepper import Stepper

if TYPE_CHECKING:
    from .mpi import Team

_F = TypeVar("_F", bound=Callable[..., Any])

_SHARDS = 8  # of a batch, with several processes


def over_mpi(train: _F) -> _F:
    """Have a function train over MPI if it is given comm: an error in one process ends all."""

    @functools.wraps(train)
    def meet(*arguments: Any, comm: Any = None, **options: Any) -> Any:
        if comm is None:
            return train(*arguments, **options)
        from .mpi import Team  # imported here: few need it

        if isinstance(comm, Team):  # an outer call has made it
            return train(*arguments, comm=comm, **options)
        with Team(comm) as team:
            if team.rank:
                options["progress"] = False
            return train(*arguments, comm=team, **options)

    return meet  # type: ignore[return-value]


def train(
    state: ModelState, source: Text | Records, model: Any, options: Mapping[str, Any]
) -> None:
    """Train a state on a text or records; options are those that `resolve` returns.

    model is the `CharRNN` of this state, for callback and samples. If an exception ends the
    training, the network has the weights of its last step, or after Ctrl-C those that keep says.
    """
    learner = state.learner
    stream, validation = source.streams(learner, *held_out_options(options))
    stream = source.with_old(stream, learner, options["seed"])
    chosen = {**options, "keep": _weights_to_keep(options, validation)}
    stepper, position = _stepper(learner, stream, chosen), Position()
    checkpoint = _checkpoint(state, source, chosen)
    if chosen["resume"] is not None:
        position, carried = checkpoint.resume(chosen["resume"], stream)
        stepper.set_state(carried)
    path, comm = chosen["checkpoint"], chosen["comm"]
    trainer = Trainer(
        stepper,
        Budget.from_options(chosen),
        state.history,
        position,
        Schedule.from_options(chosen),
        validation=validation,
        best=checkpoint.best,
        callback=chosen["callback"],
        save=None if path is None else functools.partial(checkpoint.write, path),
        model=model,
        sample_every=chosen["sample_every"],
        progress=check_progress(chosen["progress"]),
        called=source.called,
    )
    if comm is None:
        train_alone(model, trainer.run)
    else:
        train_alone(model, functools.partial(_train_over_mpi, comm, trainer, checkpoint))
    if comm is None or comm.rank == 0:
        warn_if_poor(state)
    if validation is not None and (kept := state.history.kept) is not None:
        state.history.estimate = kept.validation_nll


def resolve(options: Mapping[str, Any], learner: Learner) -> dict[str, Any]:
    """Return checked `RunOptions` with values for seed and shards, if they go together."""
    chosen, comm, streams = dict(options), options["comm"], learner.batch_size
    ranks = 1 if comm is None else comm.size
    if comm is not None and chosen["shards"] is None:
        chosen["shards"] = min(_SHARDS, streams)
    shards = chosen["shards"]
    if shards is not None and shards > streams:
        how = "raise batch_size, or lower shards"
        raise ValueError(f"shards={shards} needs as many streams, not batch_size={streams}: {how}")
    if shards is not None and ranks > shards:
        how = "start fewer, or raise shards"
        raise ValueError(f"{ranks} ranks need as many shards, not shards={shards}: {how}")
    if chosen["seed"] is None and ranks > 1:
        raise ValueError("seed=None gives each rank another seed: give all of them the same number")
    if chosen["seed"] is None:
        chosen["seed"] = random_seed()
    if chosen["refit"] and (chosen["keep"] == "best" or chosen["patience"] is not None):
        wanted = "patience" if chosen["keep"] != "best" else "keep='best'"
        raise ValueError(f"refit=True trains on the whole text in the end: leave out {wanted}")
    if chosen["checkpoint"] is not None and (comm is None or comm.rank == 0):
        check_target(chosen["checkpoint"], "checkpoint")
    return chosen


def refit_options(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options of the two trainings of refit=True: one holds out a part, one nothing.

    Both write checkpoints. One of the second is resumed after the first, which runs once more.
    """
    first = {**options, "callback": None, "sample_every": None}
    second = {**options, "validation_fraction": 0}
    if options["resume"] is not None:
        saved = model_file.load(check_path("resume", options["resume"])).training
        if saved is not None and saved.options.get("validation_fraction") == 0:
            first |= {"checkpoint": None, "resume": None}
        else:
            second["resume"] = None
    return first, second


def held_out_options(options: Mapping[str, Any]) -> tuple[float, int, int]:
    """Return the options that say what is held out."""
    return options["validation_fraction"], options["seed"], options["validation_pieces"]


def _weights_to_keep(options: Mapping[str, Any], validation: Stream | None) -> Keep:
    """Return whether to keep the best weights or the last; or raise ValueError."""
    keep, patience = options["keep"], options["patience"]
    if validation is None and (keep == "best" or patience is not None):
        wanted = "keep='best'" if keep == "best" else f"patience={patience}"
        raise ValueError(
            f"{wanted} needs a held-out part, and "
            f"validation_fraction={options['validation_fraction']!r} of this text holds out none"
        )
    return "last" if validation is None or keep == "last" else "best"


def _stepper(learner: Learner, stream: Stream, options: Mapping[str, Any]) -> Any:
    """Return what trains on windows of a stream."""
    seed, shards, comm = options["seed"], options["shards"] or 1, options["comm"]
    if comm is None:
        return Stepper(learner, stream, seed, shards)
    from .mpi import Ranks  # imported here: few need it

    return Ranks(learner, stream, seed, shards, comm.comm)


def _checkpoint(
    state: ModelState, source: Text | Records, options: Mapping[str, Any]
) -> Checkpoint:
    """Return all that a checkpoint holds but where the training is."""
    network, schedule = state.learner.network, Schedule.from_options(options)
    best = Parameters(network.description, network.dtype) if options["keep"] == "best" else None
    started = {
        **state.learner.options(),
        "network": str(network.description),
        "dtype": network.dtype.name,
        **{name: options[name] for name in SAVED_RUN_OPTIONS},
        "remember": state.index is not None,
        "starting_weights": weights_digest(network.weights),
    }
    if schedule.follows_budget:
        started |= Budget.from_options(options).limits()
    needs_sha256 = any(options[name] is not None for name in ("checkpoint", "resume", "comm"))
    return Checkpoint(state, best, started, source.sha256() if needs_sha256 else "")


def _train_over_mpi(comm: "Team", trainer: Trainer, checkpoint: Checkpoint) -> None:
    """Train with the other processes, if they train the same: rank 0 leads, they follow."""
    facts = {
        **checkpoint.started,
        **trainer.budget._asdict(),
        "characters": checkpoint.state.vocabulary.chars,
        "a text of SHA-256": checkpoint.text_sha256,
        "a checkpoint of step": trainer.position.step,
        "best weights": "" if trainer.best is None else weights_digest(trainer.best),
        "weights": weights_digest(trainer.network.weights),
    }
    stepper: Any = trainer.stepper
    stepper.signals.noted += comm.meet(facts)
    if comm.rank:
        comm.follow(stepper, trainer.history)
        return
    ended: BaseException | None = None
    try:
        trainer.run()
    except BaseException as error:
        ended = error
        raise
    finally:
        comm.end(ended, trainer.history, trainer.network)
