"""Checkpoints: what a training writes to be resumed, and what must be the same then."""

import logging
from dataclasses import dataclass, replace
from typing import Any

from ..data.batches import Stream
from ..history import Position
from ..network import Real
from ..network._types import Parameters
from ..storage import model_file
from ..storage.model_file import ModelState, Training
from ..util.atomic_write import StrPath, check_path
from ..util.errors import ModelFormatError
from ..util.hashing import sha256
from .loop import Budget

_log = logging.getLogger("charrnn")

_MOST_STEPS = 1 << 53  # of a checkpoint, and characters: more can still be counted


@dataclass
class Checkpoint:
    """All that a checkpoint holds but where the training is."""

    state: ModelState  # is being trained
    best: Parameters | None  # the weights with the lowest validation loss, if they are to be kept
    started: dict[str, Any]  # what the training began with: a resumed one must begin with the same
    text_sha256: str

    def write(self, path: StrPath, position: Position, carried: Real) -> None:
        """Write a checkpoint: the training is at a position and carries this state there."""
        best = None if position.best_nll is None else self.best
        training = Training(position, self.started, self.text_sha256, carried, best)
        model_file.save(path, replace(self.state, training=training))
        _log.debug("wrote %s at step %d", path, position.step)

    def resume(self, path: StrPath, stream: Stream) -> tuple[Position, Real]:
        """Take over weights and history of a file; return its position and carried state.

        Raises ValueError if it is of another training, and changes nothing then.
        """
        saved = model_file.load(check_path("resume", path))
        if saved.training is None:
            raise ValueError(f"{path} is a model, not a checkpoint: there is nothing to resume")
        self._check_same(path, saved, saved.training)
        _check_place(path, saved.training, stream)
        self.state.learner.network.copy_from(saved.learner.network)
        self.state.history.reports = saved.history.reports
        if self.best is not None and saved.training.best is not None:
            self.best.copy_from(saved.training.best)
        position = saved.training.position
        _log.info("resumed from %s at step %d", path, position.step)
        return position, saved.training.state

    def _check_same(self, path: StrPath, saved: ModelState, training: Training) -> None:
        """Raise ValueError that names what differs between this training and that of a file."""
        before = training.options
        other = {name: now for name, now in self.started.items() if before.get(name) != now}
        differences = [
            f"{name} was {before.get(name)!r}, is {now!r}" for name, now in other.items()
        ]
        if (training.text_sha256, saved.vocabulary) != (self.text_sha256, self.state.vocabulary):
            differences.insert(0, "the text is another")
        if not differences:
            return
        how = "to go on with another text or other options"
        if len(differences) == len(other.keys() & {*Budget._fields}):
            name = self.started["schedule"]
            how = f"schedule={name!r} follows the budget: give the same one. To go on with another"
        raise ValueError(
            f"{path} cannot be resumed: {'; '.join(differences)}; {how}, load the checkpoint and "
            "train the model further (the command's --start)"
        )


def _check_place(path: StrPath, training: Training, stream: Stream) -> None:
    """Raise ModelFormatError if a training on this stream cannot be where a checkpoint says."""
    at, streams = training.position, training.state.shape[0]
    if streams != stream.batch_size or max(at.step, at.characters) > _MOST_STEPS:
        place = f"step {at.step}, character {at.characters} of {streams} streams"
        raise ModelFormatError(f"{path} is damaged: it is at {place}")
    stream.begin(at.epoch)  # each epoch of records has its own windows
    if at.window >= stream.windows:
        raise ModelFormatError(
            f"{path} is damaged: it is at window {at.window} of {stream.windows}"
        )


def weights_digest(weights: Parameters) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of weights."""
    return sha256(weights.views().values())[:16]
