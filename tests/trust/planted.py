"""Plant a fault, one after the other: make differential must find each within 500 configurations.

python tests/trust/planted.py [NAME ...]
"""

import itertools
import sys
import warnings
from dataclasses import replace
from unittest import mock

import differential
import hypothesis
import numpy as np
from common import Findings

import charrnn
from charrnn.data import sources
from charrnn.data.batches import StoredIds
from charrnn.inference.adapting import Reader
from charrnn.inference.search import Band
from charrnn.network import Network
from charrnn.storage import model_file
from charrnn.training import mpi
from charrnn.training.loop import Trainer
from charrnn.training.stepper import Stepper

RUNS = 500


def around(where, name, change):
    """Return a patch: a function gets the one that was there, and then its arguments."""
    original = getattr(where, name)
    return mock.patch.object(where, name, lambda *given, **more: change(original, *given, **more))


def flip_a_bit(set_state, self, state):
    changed = np.array(state)
    changed.view(np.uint8)[0, 0] ^= 1
    set_state(self, changed)


def in_a_row(_, parts, low, high):
    """Add up parts one by one, not as a tree."""
    return sum(parts[part] for part in sorted(parts))


def off_by_one(read, self, start, stop):
    """Read one id too early, at some places."""
    early = start % 7 == 3 and start > 0
    return read(self, start - early, stop - early)


def threads_as_seed(train_steps, self, *given, **more):
    return train_steps(
        self,
        *given,
        **more | {"dropout_seed": more.get("dropout_seed", 0) + (more.get("n_threads", 1) > 2)},
    )


def rate_of_the_first(factors, self, count):
    return np.full(count, factors(self, count)[0])


def without_the_last_byte(read, file):
    content = b"".join(read(file))
    yield content[:-1]


def keep_the_memory(go_back, self, to):
    memory = self.network.memory.block.copy()
    go_back(self, to)
    self.network.memory.block[...] = memory


FAULTS = {
    "a resumed state has another bit": around(Stepper, "set_state", flip_a_bit),
    "a resumed optimizer starts afresh": around(
        Network, "copy_from", lambda _, self, other: self.weights.copy_from(other.weights)
    ),
    "ranks add up in another order": around(mpi, "total", in_a_row),
    "a stored id is off by one": around(StoredIds, "read", off_by_one),
    "dropout depends on the threads": around(Network, "train_steps", threads_as_seed),
    "a call has one learning rate": around(Trainer, "_factors", rate_of_the_first),
    "a .gz file loses a byte": mock.patch.dict(
        sources._COMPRESSED,
        {".gz": lambda file, read=sources._COMPRESSED[".gz"]: without_the_last_byte(read, file)},
    ),
    "rolled back, a model keeps the memory": around(Reader, "go_back", keep_the_memory),
    "pickled, a model loses its counts": around(
        model_file, "to_bytes", lambda write, state: write(replace(state, mixture=None))
    ),
    "likeliest ends too early": around(Band, "leave", lambda *_: None),
}


def runs_to_find(patch):
    """Return how many configurations it takes to find a fault, or None."""
    runs = itertools.count(1)

    @hypothesis.seed(0)
    @hypothesis.settings(
        differential.SETTINGS, max_examples=RUNS, phases=[hypothesis.Phase.generate]
    )
    @hypothesis.given(differential.CONFIGURATIONS)
    def run(configuration):
        nonlocal latest
        latest = next(runs)
        differential.check(**configuration)

    latest = 0
    with patch, differential.often_saved():
        try:
            run()
        except Exception:
            return latest
    return None


def main():
    warnings.simplefilter("ignore", charrnn.TrainingWarning)
    sys.unraisablehook = lambda _: None
    findings, chosen = Findings(), sys.argv[1:] or [*FAULTS]
    for name in chosen:
        runs = runs_to_find(FAULTS[name])
        findings.expect(runs is not None, "not found", name)
        print(f"{name}: found by configuration {runs}", flush=True)
    findings.end(f"planted: {len(chosen)} faults")


if __name__ == "__main__":
    sys.exit(main())
