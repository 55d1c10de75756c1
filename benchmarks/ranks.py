"""Time the parts of a training step over several processes.

    pip install mpi4py mpich
    mpiexec -n 2 python benchmarks/ranks.py [--cell rnn] [--hidden-size 512] [--batch-size 64]
        [--seq-length 25] [--shards 8]

It runs the training's own step on random text and prints, for each part, the least wall-clock time
(other programs on the machine add to it) and the least CPU time (busy waiting for other processes
adds to it). --shards 1, in one process, takes the batch as a whole. The last line, a digest of the
weights, is the same for any number of processes.
"""

import argparse
import hashlib
import time
from collections import defaultdict

import numpy as np
from mpi4py import MPI

from charrnn.data.batches import TextStream
from charrnn.history import Position
from charrnn.network.learner import Learner
from charrnn.training.mpi import Ranks
from charrnn.training.stepper import Stepper

PARTS = {  # methods, and what they are called here
    "losses": "losses of all, waiting for the slowest",
    "sums": "sums from all",
    "squares": "squares from all",
    "weights": "weights to all",
    "train": "a step: that, its products and its update",
}


def timed(stepper):
    """Have what trains tell the seconds of its parts, the latest last."""
    seconds = defaultdict(list)

    def wrapped(name, method):
        def call(*arguments):
            began = time.perf_counter(), time.thread_time()
            result = method(*arguments)
            seconds[name].append((time.perf_counter() - began[0], time.thread_time() - began[1]))
            return result

        return call

    for name in PARTS:
        if hasattr(stepper, name):
            setattr(stepper, name, wrapped(name, getattr(stepper, name)))
    return seconds


def main():
    """Print what was measured, on rank 0."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cell", default="rnn")
    for name, value in {
        "hidden-size": 512,
        "batch-size": 64,
        "seq-length": 25,
        "shards": 8,
        "steps": 30,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    given, comm = parser.parse_args(), MPI.COMM_WORLD
    T, B = given.seq_length, given.batch_size
    ids = np.random.default_rng(0).integers(0, 65, 65 * T * B).astype(np.uint8)
    settings = {
        "seq_length": T,
        "batch_size": B,
        "learning_rate": 0.01,
        "clip_value": 5.0,
        "initial_accumulator_value": 1.0,
    }
    learner = Learner([(given.cell, given.hidden_size)], 65, seed=1, **settings)
    stream = TextStream(ids, T, B)
    if comm.size > 1:
        stepper = Ranks(learner, stream, 0, given.shards, comm)
    else:
        stepper = Stepper(learner, stream, 0, given.shards)
    seconds = timed(stepper)
    if comm.rank:
        stepper.serve()
        return
    for step in range(given.steps):
        stepper.train(
            Position(window=step % 64, step=step),
            *stream.read(step % 64, 1),
            np.array([0.01]),
            T,
            False,
        )
    if comm.size > 1:
        comm.bcast(("end",))
    sizes = f"{given.cell}, H={given.hidden_size}, B={B}, T={T}"
    parameters = f"{learner.network.description.n_parameters:,} parameters"
    print(f"{comm.size} processes, {given.shards} shards, {sizes}, {parameters}")
    for name, words in PARTS.items():
        if name in seconds:
            clock, core = (min(column) * 1e6 for column in zip(*seconds[name], strict=True))
            print(f"{words:42}{clock:10,.0f} us by the clock {core:10,.0f} us of the core")
    print("sha256", hashlib.sha256(learner.network.weights.block.tobytes()).hexdigest())


if __name__ == "__main__":
    main()
