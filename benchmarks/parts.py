"""Time each part of a training step alone: python benchmarks/parts.py [level ...]

It prints seconds, Gflop/s, and the share of the core's FMA peak. `states` and `backward` are the
products with the recurrent matrices, time step by time step, and the cells; `logits` is the output
layer; `gradient` the products over the whole window. On a new kind of core or cell, this shows in a
minute what is slow.
"""

import sys
import time

import numpy as np
import peers

from charrnn.network import dispatch as _dispatch
from charrnn.network.learner import Learner

SECONDS, ROUNDS = 0.03, 9
SHAPES = [  # cell, layers, H, V, T, B
    ("rnn", 1, 100, 65, 25, 1),
    ("rnn", 1, 128, 65, 50, 32),
    ("rnn", 1, 256, 5000, 25, 4),
    ("rnn", 1, 512, 65, 64, 32),
    ("rnn", 1, 1024, 65, 64, 32),
    ("gru", 1, 512, 65, 64, 32),
    ("lstm", 1, 512, 65, 64, 32),
    ("lstm", 2, 128, 65, 50, 50),
]


def fastest(run):
    """Return the seconds of one run, in the fastest round."""
    run(1)
    started = time.perf_counter()
    run(2)
    n = max(1, round(2 * SECONDS / (time.perf_counter() - started)))
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        run(n)
        times.append((time.perf_counter() - started) / n)
    return min(times)


def parts(core, cell, layers, H, V, T, B):
    """Yield (name, seconds, operations) of each part of a step."""
    network = Learner([(cell, H)] * layers, V, initial_accumulator_value=0.0, seed=0).network
    work = network.workspace(T, B, training=True)
    ids = np.random.default_rng(0).integers(0, V, (T + 1, B)).astype(np.int32)
    network.train_steps(work, ids[:-1], ids[1:], learning_rate=0.1, clip_value=5.0)
    output = 2 * T * B * H * V
    hidden = T * B * network.description.operations - output  # of all layers, and between them
    times = {part: fastest(lambda n, part=part: core.repeat(work, part, n)) for part in core.PARTS}
    forward = times["states"] + times["logits"] + times["softmax"]
    yield "states", times["states"], hidden
    yield "logits", times["logits"], output
    yield "softmax", times["softmax"], 0
    # Backward overwrites its inputs, so it is timed together with forward.
    yield "backward", times["streams"] - forward, hidden + output
    yield "gradient", times["gradient"], hidden + output
    yield "update", times["update"], 0
    yield "layout", times["layout"], 0


def main(*levels):
    for level in levels or _dispatch.available()[::-1]:
        with peers.variant(level) as core:
            peak = (
                1
                / fastest(lambda n, core=core: [core.fma_chains(10_000) for _ in range(n)])
                * core.fma_chains(10_000)
            )
            print(f"{level}: FMA peak {peak / 1e9:.0f} Gflop/s")
            for shape in SHAPES:
                found = list(parts(core, *shape))
                total, operations = (sum(numbers) for numbers in list(zip(*found, strict=True))[1:])
                print("{} x {} H={} V={} T={} B={}".format(*shape))
                for name, seconds, work in [*found, ("together", total, operations)]:
                    speed = (
                        f"{work / seconds / 1e9:6.0f} Gflop/s {100 * work / seconds / peak:4.0f} %"
                        if work
                        else ""
                    )
                    print(f"    {name:9}{1e6 * seconds:11,.1f} us {speed}".rstrip())


if __name__ == "__main__":
    main(*sys.argv[1:])
