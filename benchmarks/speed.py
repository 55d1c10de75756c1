"""charrnn against the tutorial's NumPy program on the tutorial's workload, side by side: python benchmarks/speed.py TEXT_FILE"""

import statistics
import sys
import time

import numpy as np
import peers

import charrnn


def timed(run, steps):
    started = time.perf_counter()
    run(steps)
    return (time.perf_counter() - started) / steps


def main(path, rounds=7):
    text = charrnn.reader.read_text(path)
    ids = charrnn.Vocabulary.from_text(text).encode(text)
    p = peers.problem(100, int(ids.max()) + 1, 25, 1, windows=2000, text=ids)
    programs = {
        "the tutorial's NumPy, float64": (peers.train_numpy(p), 100),
        "the tutorial's NumPy, float32": (peers.train_numpy(p, np.float32), 100),
        f"charrnn, {charrnn.isa}": (peers.train_charrnn(p), 4000),
    }
    times = {name: [] for name in programs}
    for _ in range(int(rounds)):
        for name, (run, steps) in programs.items():
            times[name].append(timed(run, steps))
    first = statistics.median(next(iter(times.values())))
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:32} {1e6 * median:8.1f} us a step  {p.T / median:10,.0f} characters/s  {first / median:6.1f} x")


if __name__ == "__main__":
    main(*sys.argv[1:])
