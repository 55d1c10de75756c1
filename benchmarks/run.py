"""Measure all speeds side by side on this machine: python benchmarks/run.py TEXT_FILE

It writes results.md and results.png beside this file; with --only it prints the tables of some
workloads and writes nothing. Programs that are not installed are left out; README.md here has the
install line. Every program does the same work on the same data, in its own process pinned to one
core unless its row says otherwise. Rounds are interleaved; the tables show medians.
"""

import argparse
import functools
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import peers

import charrnn
from charrnn.data.text import read_text
from charrnn.network import dispatch as _dispatch
from charrnn.util.seeding import make_random

HERE = Path(__file__).parent
ROUNDS = 7  # without --rounds
TARGET_SECONDS = 0.25  # one measurement takes about this long
LEVELS = _dispatch.available()[::-1]
NUMPY, NUMPY32 = "the tutorial's NumPy, float64", "the tutorial's NumPy, float32"
BFLOAT16 = ", bfloat16"
PROGRAMS = {
    **{f"charrnn {level}": functools.partial(peers.train_charrnn, level=level) for level in LEVELS},
    **{
        f"charrnn {level}{BFLOAT16}": functools.partial(
            peers.train_charrnn, level=level, precision="bfloat16"
        )
        for level in LEVELS[:2]
    },
    NUMPY: peers.train_numpy,
    NUMPY32: functools.partial(peers.train_numpy, dtype=np.float32),
    "PyTorch eager": peers.train_torch,
    "PyTorch eager, bfloat16": functools.partial(peers.train_torch, autocast=True),
    "PyTorch eager, without oneDNN": functools.partial(peers.train_torch, mkldnn=False),
    "JAX, whole loop under jit": peers.train_jax,
    "JAX, whole loop under jit, scan unrolled by 8": functools.partial(peers.train_jax, unroll=8),
}
# Programs with default settings, and the package that each needs.
PEERS = {"PyTorch eager": "torch", "JAX, whole loop under jit": "jax"}
# Of large products only.
ROUNDED = {f"charrnn {level}{BFLOAT16}": "charrnn" for level in LEVELS[:2]}
ROUNDED["PyTorch eager, bfloat16"] = "torch"
# Other settings, for cells with gates.
SETTINGS = {
    "PyTorch eager, without oneDNN": "torch",
    "JAX, whole loop under jit, scan unrolled by 8": "jax",
}
WORKLOADS = {  # cell, layers, H, V (None: the text's), T, B, windows
    "the tutorial's": ("rnn", 1, 100, None, 25, 1, 2000),
    "H=128 T=50 B=32": ("rnn", 1, 128, None, 50, 32, 40),
    "H=512 T=64 B=32": ("rnn", 1, 512, None, 64, 32, 10),
    "H=1024 T=64 B=32": ("rnn", 1, 1024, None, 64, 32, 4),
    "H=256 V=5000": ("rnn", 1, 256, 5000, 25, 4, 10),
    "GRU, H=512 T=64 B=32": ("gru", 1, 512, None, 64, 32, 10),
    "LSTM, H=512 T=64 B=32": ("lstm", 1, 512, None, 64, 32, 10),
    "LSTM, H=256 T=64 B=32": ("lstm", 1, 256, None, 64, 32, 20),
    "LSTM 2 x 128, T=50 B=50": ("lstm", 2, 128, None, 50, 50, 20),
    "GRU 3 x 256, T=64 B=32": ("gru", 3, 256, None, 64, 32, 10),
}


def workload(path, name):
    cell, layers, H, V, T, B, windows = WORKLOADS[name]
    text = read_text(path)
    ids = charrnn.Vocabulary.from_text(text).encode(text)
    return peers.problem(
        H,
        V or int(ids.max()) + 1,
        T,
        B,
        cell=cell,
        layers=layers,
        windows=windows,
        text=None if V else ids,
    )


def timed(run, amount):
    started = time.perf_counter()
    run(amount)
    return (time.perf_counter() - started) / amount


class Process:
    """A program in its own process, pinned to some cores: in one process they slow each other."""

    def __init__(self, cores, *arguments):
        one = (
            {}
            if len(cores) > 1
            else dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        )
        command = [sys.executable, __file__, "--serve", *map(str, arguments)]
        self.child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | one
        )
        # Before the child imports JAX or PyTorch: their thread pools keep what they see then.
        os.sched_setaffinity(self.child.pid, cores)

    def __call__(self, amount):
        """Run this amount; return the seconds per unit."""
        print(amount, file=self.child.stdin, flush=True)
        return float(self.child.stdout.readline())

    def end(self):
        self.child.communicate()


def serve(path, name, program, threads):
    """The other end of a `Process`."""
    factory = PROGRAMS[program]
    run = factory(
        workload(path, name),
        **({"n_threads": int(threads)} if program.startswith("charrnn") else {}),
    )
    run(1)  # compiles, warms caches
    for line in sys.stdin:
        print(timed(run, int(line)), flush=True)


def measure(programs, rounds=ROUNDS):
    """Return the median seconds per unit of work of each program, with rounds interleaved.

    programs maps a name to a function from an amount of work to its seconds per unit.
    """
    amounts, times = {}, {name: [] for name in programs}
    for name, run in programs.items():
        amounts[name] = max(1, round(TARGET_SECONDS / run(max(1, round(0.02 / max(run(1), 1e-6))))))
    for _ in range(rounds):
        for name, run in programs.items():
            times[name].append(run(amounts[name]))
    return {name: statistics.median(values) for name, values in times.items()}


def side_by_side(path, name, programs, cores, rounds=ROUNDS):
    """`measure` of programs, key -> (program, threads), at one workload."""
    processes = {key: Process(cores, path, name, *program) for key, program in programs.items()}
    try:
        return measure(processes, rounds)
    finally:
        for process in processes.values():
            process.end()


def peak(level):
    """Return the floating-point operations per second of one core, from registers."""
    with peers.variant(level) as core:
        core.fma_chains(1000)
        rates = []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            operations = core.fma_chains(300_000)
            rates.append(operations / (time.perf_counter() - started))
    return max(rates)


def training_table(path, name, peaks, core, rounds=ROUNDS):
    p = workload(path, name)
    programs = [f"charrnn {level}" for level in LEVELS]
    if name == "the tutorial's":
        programs += [NUMPY, NUMPY32]
    others = PEERS if p.cell == "rnn" else PEERS | SETTINGS
    if p.B >= 32:
        others = others | ROUNDED
    programs += [program for program, package in others.items() if peers.installed(package)]
    times = side_by_side(
        path, name, {program: (program, 1) for program in programs}, {core}, rounds
    )
    ratios = {program: seconds / times[ours(program)] for program, seconds in times.items()}
    lines = [
        f"### Training: {name} ({p})",
        "",
        "| program | a step | characters/s | charrnn is faster by | share of the core's FMA peak |",
        "|---|---|---|---|---|",
    ]
    for program, seconds in times.items():
        level = program.removeprefix("charrnn ")
        share = f"{100 * p.flops / seconds / peaks[level]:.0f} %" if level in peaks else ""
        rate = f"{p.T * p.B / seconds:,.0f}"
        lines.append(f"| {program} | {show(seconds)} | {rate} | {ratios[program]:.2f} | {share} |")
    return lines, ratios


def ours(program):
    """Return the program of charrnn with the same precision as another."""
    return f"charrnn {LEVELS[0]}{BFLOAT16 * program.endswith(BFLOAT16)}"


def show(seconds):
    return f"{1e6 * seconds:,.1f} µs" if seconds < 1e-3 else f"{1e3 * seconds:,.2f} ms"


def threads_table(path, name, cores):
    program = f"charrnn {LEVELS[0]}"
    times = side_by_side(path, name, {n: (program, n) for n in range(1, len(cores) + 1)}, cores)
    lines = [f"### Threads: {name}", "", "| threads | a step | speed-up |", "|---|---|---|"]
    return lines + [
        f"| {n} | {show(seconds)} | {times[1] / seconds:.2f} |" for n, seconds in times.items()
    ]


def text_table(text):
    model = charrnn.train_text(text, steps=20_000, progress=False, preset="tutorial")
    network = model.network
    names = text.split()[:10_000]
    letters = sum(map(len, names))

    def draw(streams, count):
        network.draw(network.workspace(1, streams), count, make_random(1, streams))

    programs = {
        "sampling, one stream": functools.partial(draw, 1),
        "sampling, 64 streams": lambda n: draw(64, n),
        "sampling, the tutorial's NumPy": peers.sample_numpy(
            peers.problem(model.rnn.hidden_size, model.rnn.vocab_size, 25, 1)
        ),
        "scoring 10,000 words": lambda n: [model.score_many(names) for _ in range(n)],
    }
    times = measure({name: functools.partial(timed, run) for name, run in programs.items()})
    characters = {"sampling, 64 streams": 64, "scoring 10,000 words": letters}
    base = 1 / times["sampling, the tutorial's NumPy"]
    lines = [
        "### Sampling and scoring, H=100",
        "",
        "| what | characters/s | of the tutorial's NumPy |",
        "|---|---|---|",
    ]
    for name, seconds in times.items():
        rate = characters.get(name, 1) / seconds
        lines.append(f"| {name} | {rate:,.0f} | {rate / base:.1f} x |")
    return lines


def growth_table():
    """Return a table of the time per step as one size grows, and the curve over hidden_size."""
    base = {"H": 128, "V": 64, "T": 32, "B": 8}
    grown = {
        "H": [64, 128, 256, 512, 1024, 2048],
        "V": [64, 256, 1024, 4096],
        "T": [8, 32, 128, 512],
        "B": [1, 2, 4, 8, 16, 32, 64],
    }
    lines = [
        "### Growth: H=128 V=64 T=32 B=8, one size changed",
        "",
        "| size | a step | Gflop/s |",
        "|---|---|---|",
    ]
    curve = {}
    for name, values in grown.items():
        for value in values:
            p = peers.problem(**base | {name: value}, windows=8)
            seconds = measure({"": functools.partial(timed, peers.train_charrnn(p, LEVELS[0]))})[""]
            lines.append(f"| {name}={value} | {show(seconds)} | {p.flops / seconds / 1e9:.1f} |")
            if name == "H":
                curve[value] = (seconds, p.flops)
    return lines, curve


MEMORY_PROGRAM = """
import sys, time
import charrnn
from pathlib import Path
def peak():  # in kB; not ru_maxrss, which begins with what the parent process had
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
charrnn.train_text("ab" * 50, preset="tutorial", steps=1)
base = peak()
charrnn.train_file(sys.argv[1], preset="tutorial", steps=50)
used = peak() - base
text = Path(sys.argv[1]).read_text(encoding="utf-8")
started = time.perf_counter()
charrnn.Vocabulary.from_text(text)
print(used * 1024 / len(text), time.perf_counter() - started)
"""


def memory_table(text):
    path = HERE / "large.tmp"
    path.write_text(text * (100_000_000 // len(text)), encoding="utf-8")
    try:
        ran = subprocess.run(
            [sys.executable, "-c", MEMORY_PROGRAM, str(path)],
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        path.unlink()
    per_character, seconds = map(float, ran.stdout.split())
    memory = (
        f"Training's peak memory beyond the interpreter: {per_character:.2f} bytes a character."
    )
    return ["### A text of 100 MB", "", f"{memory} Building the vocabulary: {seconds:.2f} s."]


def picture(ratios, curve, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(
        1, 2, figsize=(15, 5), layout="constrained", width_ratios=(5, 3)
    )
    names = list(dict.fromkeys(name for times in ratios.values() for name in times))
    width = 0.8 / len(names)
    for i, name in enumerate(names):
        values = [times.get(name, np.nan) for times in ratios.values()]
        place = np.arange(len(ratios)) + i * width
        left.bar(place, values, width, label=name, color=plt.colormaps["tab20"](i))
    left.set_yscale("log")
    left.set_xticks(
        np.arange(len(ratios)) + 0.4, [name.replace(" ", "\n") for name in ratios], fontsize=8
    )
    left.set_ylabel(f"time a step over that of charrnn {LEVELS[0]}, same precision")
    left.legend(fontsize=7)
    H = np.array(list(curve))
    seconds, flops = np.array(list(curve.values())).T
    right.loglog(H, 1e3 * seconds, "o-", label="charrnn, V=64 T=32 B=8")
    right.loglog(H, 1e3 * seconds[1] * flops / flops[1], "--", label="as the arithmetic grows")
    right.set_xticks(H, H)
    right.minorticks_off()
    right.set_xlabel("hidden_size")
    right.set_ylabel("ms a step")
    right.legend()
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("path", metavar="TEXT_FILE")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=WORKLOADS,
        metavar="WORKLOAD",
        help=f"of: {', '.join(WORKLOADS)}",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=ROUNDS,
        help="measurements of each program at a workload (default: %(default)s)",
    )
    given = parser.parse_args()
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    peaks = {level: peak(level) for level in LEVELS}
    lines, ratios = [machine(cores, peaks), ""], {}
    print(lines[0])
    for name in given.only or WORKLOADS:
        table, ratios[name] = training_table(given.path, name, peaks, max(cores), given.rounds)
        lines += [*table, ""]
        print("\n".join(["", *table]), flush=True)
    if not given.only:
        write_rest(given.path, lines, ratios, cores)


def machine(cores, peaks):
    return (
        f"{processor()}, {len(cores)} cores, {platform.system()}, "
        f"Python {platform.python_version()}, NumPy {np.__version__}, "
        f"charrnn {charrnn.__version__}. FMA peak of one core, measured: "
        + ", ".join(f"{level} {rate / 1e9:.0f} Gflop/s" for level, rate in peaks.items())
    )


def write_rest(path, lines, ratios, cores):
    """Measure everything but training on one core; write results.md and results.png."""
    text = read_text(path)
    table, curve = growth_table()
    lines += [*text_table(text), "", *table, "", *memory_table(text), ""]
    os.sched_setaffinity(0, cores)
    for name in ("H=128 T=50 B=32", "H=512 T=64 B=32"):
        lines += [*threads_table(path, name, cores), ""]
    (HERE / "results.md").write_text("\n".join(lines), encoding="utf-8")
    picture(ratios, curve, HERE / "results.png")
    print("\n".join(lines))


def processor():
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        return next(
            line.split(":", 1)[1].strip()
            for line in words.splitlines()
            if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor()


if __name__ == "__main__":
    serve(*sys.argv[2:]) if sys.argv[1:2] == ["--serve"] else main()
