"""One step after the other, in this process."""

import numpy as np
from numpy.typing import NDArray

from ..data.batches import Stream
from ..history import Position
from ..network import Real
from ..network._types import Workspace
from ..network.learner import Learner


class Stepper:
    """How windows are trained on: all streams of a batch at once, in this process."""

    def __init__(self, learner: Learner, stream: Stream, masks: int) -> None:
        self.learner: Learner = learner
        self.stream: Stream = stream
        self.masks: int = masks  # the seed of what dropout drops
        self.work: Workspace = learner.network.workspace(
            stream.seq_length, stream.batch_size, training=True
        )

    @property
    def overflowed(self) -> str | None:
        """What kept the latest windows from the next step, if anything."""
        return self.work.overflowed

    def clear(self) -> None:
        """Begin from the zero state."""
        self.work.state[...] = 0

    def set_state(self, state: Real) -> None:
        """Begin from a state, (batch_size, units)."""
        self.work.set_state(state)

    def get_state(self) -> Real:
        """Return the state; the network then has all that its optimiser keeps, for a checkpoint."""
        return self.work.get_state()

    def train(
        self,
        at: Position,
        inputs: NDArray[np.int32],
        targets: NDArray[np.int32],
        rates: Real,
        length: int,
        reset: bool,
    ) -> None:
        """Train on windows of length rows, (rows, batch_size), from a position on; with reset each begins with the zero state."""
        learner = self.learner
        learner.network.train_steps(
            self.work,
            inputs,
            targets,
            rate=rates,
            clip=learner.clip_value,
            clip_norm=learner.clip_norm,
            decay=learner.weight_decay,
            dropout=learner.dropout,
            masks=self.masks,
            first=at.step,
            length=length,
            reset=reset,
            threads=learner.n_threads,
        )
