"""Steps of training in this process."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.batches import Stream, Windows
from ..history import Position
from ..network import STEP_SETTINGS, Real
from ..network._types import Workspace
from ..network.learner import Learner

_Ids = NDArray[np.int32]


def streams_in(shards: range, n_shards: int, batch_size: int) -> NDArray[np.intp]:
    """Return the streams of some shards: stream b of a batch is in shard b modulo n_shards.

    All shards have as many. Those that the batch lacks, batch_size and above, come last.

    >>> streams_in(range(1, 3), 4, 6).tolist()
    [1, 2, 5, 6]
    """
    each = -(-batch_size // n_shards)
    numbers = np.arange(each * n_shards).reshape(each, n_shards)
    return numbers[:, shards.start : shards.stop].ravel()


class Stepper:
    """Trains on windows of a stream: on those of some shards of a batch, or of all of them."""

    def __init__(
        self,
        learner: Learner,
        stream: Stream,
        dropout_seed: int,
        n_shards: int = 1,
        shards: range | None = None,
    ) -> None:
        self.learner: Learner = learner
        self.stream: Stream = stream
        self.dropout_seed: int = dropout_seed
        self.n_shards: int = n_shards
        here = streams_in(shards or range(n_shards), n_shards, stream.batch_size)
        self.streams: NDArray[np.intp] = here[here < stream.batch_size]
        self.work: Workspace = learner.network.workspace(
            stream.seq_length, len(here), training=True
        )

    def clear(self) -> None:
        """Start from the zero state."""
        self.work.state[...] = 0

    def set_state(self, state: Real) -> None:
        """Start from a state of the batch, (batch_size, units)."""
        padding = self.work.B - len(self.streams)
        self.work.set_state(np.pad(state[self.streams], ((0, padding), (0, 0))))

    def get_state(self) -> Real:
        """Return the state; the network then has all that its optimizer keeps, for a checkpoint."""
        return self.work.get_state()[: len(self.streams)]

    def train(
        self, at: Position, inputs: _Ids, targets: _Ids, rates: Real, length: int, reset: bool
    ) -> None:
        """Train on windows of length rows, (rows, batch_size), from a position on.

        rates are the learning rates, one or of each; with reset each starts from the zero state.
        """
        self._train(at.step, (inputs, targets), rates, length, reset)

    def _train(
        self,
        step: int,
        windows: Windows,
        rates: Real,
        length: int,
        reset: bool,
        exchange: Any = None,
    ) -> None:
        """Train on windows of the streams here."""
        learner = self.learner
        learner.network.train_steps(
            self.work,
            *windows,
            learning_rate=rates,
            length=length,
            reset=reset,
            n_threads=learner.n_threads,
            shards=self.n_shards,
            exchange=exchange,
            dropout_seed=self.dropout_seed,
            first_step=step,
            **{name: getattr(learner, name) for name in STEP_SETTINGS},
        )
