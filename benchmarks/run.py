"""All speed figures side by side, in one run on this machine: python benchmarks/run.py TEXT_FILE

Writes results.md and results.png beside this file. Peers that are not installed are left out; README.md here has their install
line. Every program does the same work on the same data; rounds are interleaved and medians are given. One core, but for the rows
that say otherwise.
"""

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
from charrnn import _dispatch
from charrnn.seeding import make_random

HERE = Path(__file__).parent
ROUNDS = 5
TARGET_SECONDS = 0.25  # one measurement takes about this long
LEVELS = _dispatch.available()[::-1]


def timed(run, amount):
    started = time.perf_counter()
    run(amount)
    return (time.perf_counter() - started) / amount


def measure(programs):
    """Median seconds a unit of work of each program, name -> run(amount), rounds interleaved."""
    amounts, times = {}, {name: [] for name in programs}
    for name, run in programs.items():
        run(1)  # compiles, warms caches
        amounts[name] = max(1, round(TARGET_SECONDS / timed(run, max(1, round(0.02 / max(timed(run, 1), 1e-6))))))
    for _ in range(ROUNDS):
        for name, run in programs.items():
            times[name].append(timed(run, amounts[name]))
    return {name: statistics.median(values) for name, values in times.items()}


def peak(level):
    """Floating-point operations a second of one core at this level, from registers."""
    with peers.variant(level) as core:
        core.fma_chains(1000)
        rates = []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            operations = core.fma_chains(300_000)
            rates.append(operations / (time.perf_counter() - started))
    return max(rates)


def training_table(title, p, peaks, *, numpy_too=False):
    programs = {f"charrnn {level}": peers.train_charrnn(p, level) for level in LEVELS}
    if numpy_too:
        programs["the tutorial's NumPy, float64"] = peers.train_numpy(p)
        programs["the tutorial's NumPy, float32"] = peers.train_numpy(p, np.float32)
    if peers.installed("torch"):
        programs["PyTorch eager"] = peers.train_torch(p)
    if peers.installed("jax"):
        programs["JAX, whole loop under jit"] = peers.train_jax(p)
    times = measure(programs)
    best = times[f"charrnn {LEVELS[0]}"]
    lines = [
        f"### {title}",
        "",
        "| program | a step | characters/s | charrnn is faster by | share of the core's FMA peak |",
        "|---|---|---|---|---|",
    ]
    for name, seconds in times.items():
        level = name.removeprefix("charrnn ")
        share = f"{100 * p.flops / seconds / peaks[level]:.0f} %" if level in peaks else ""
        lines.append(f"| {name} | {show(seconds)} | {p.T * p.B / seconds:,.0f} | {seconds / best:.2f} | {share} |")
    return lines, {name: seconds / best for name, seconds in times.items()}


def show(seconds):
    return f"{1e6 * seconds:,.1f} µs" if seconds < 1e-3 else f"{1e3 * seconds:,.2f} ms"


def threads_table(p):
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    times = measure({n: peers.train_charrnn(p, LEVELS[0], n) for n in range(1, cores + 1)})
    lines = [f"### Threads: H={p.H} T={p.T} B={p.B}", "", "| threads | a step | speed-up |", "|---|---|---|"]
    return lines + [f"| {n} | {show(seconds)} | {times[1] / seconds:.2f} |" for n, seconds in times.items()]


def text_table(text):
    model = charrnn.train_text(text, steps=20_000, progress=False)
    network = model.network
    names = text.split()[:10_000]
    letters = sum(map(len, names))

    def draw(streams, count):
        network.draw(network.workspace(1, streams), count, make_random(1, streams))

    times = measure(
        {
            "sampling, one stream": functools.partial(draw, 1),
            "sampling, 64 streams": lambda n: draw(64, n),
            "sampling, the tutorial's NumPy": peers.sample_numpy(peers.problem(model.rnn.hidden_size, model.rnn.vocab_size, 25, 1)),
            "scoring 10,000 words": lambda n: [model.score_many(names) for _ in range(n)],
        }
    )
    characters = {"sampling, 64 streams": 64, "scoring 10,000 words": letters}
    base = 1 / times["sampling, the tutorial's NumPy"]
    lines = ["### Sampling and scoring, H=100", "", "| what | characters/s | of the tutorial's NumPy |", "|---|---|---|"]
    for name, seconds in times.items():
        rate = characters.get(name, 1) / seconds
        lines.append(f"| {name} | {rate:,.0f} | {rate / base:.1f} x |")
    return lines


def growth_table():
    """Time a step against each size, the others as in the tutorial's workload; the arithmetic grows as the last column says."""
    base = {"H": 128, "V": 64, "T": 32, "B": 8}
    grown = {"H": [64, 128, 256, 512, 1024, 2048], "V": [64, 256, 1024, 4096], "T": [8, 32, 128, 512], "B": [1, 2, 4, 8, 16, 32, 64]}
    lines = ["### Growth: H=128 V=64 T=32 B=8, one size changed", "", "| size | a step | Gflop/s |", "|---|---|---|"]
    curve = {}
    for name, values in grown.items():
        for value in values:
            p = peers.problem(**base | {name: value}, windows=8)
            seconds = measure({"": peers.train_charrnn(p, LEVELS[0])})[""]
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
charrnn.train_text("ab" * 50, steps=1)
base = peak()
charrnn.train_file(sys.argv[1], steps=50)
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
        ran = subprocess.run([sys.executable, "-c", MEMORY_PROGRAM, str(path)], capture_output=True, text=True, check=True)
    finally:
        path.unlink()
    per_character, seconds = map(float, ran.stdout.split())
    return [
        "### A text of 100 MB",
        "",
        f"Training's peak memory beyond the interpreter: {per_character:.2f} bytes a character. Building the vocabulary: {seconds:.2f} s.",
    ]


def picture(ratios, curve, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5), layout="constrained")
    names = list(dict.fromkeys(name for times in ratios.values() for name in times))
    width = 0.8 / len(names)
    for i, name in enumerate(names):
        values = [times.get(name, np.nan) for times in ratios.values()]
        left.bar(np.arange(len(ratios)) + i * width, values, width, label=name)
    left.set_yscale("log")
    left.set_xticks(np.arange(len(ratios)) + 0.4, [name.replace(" ", "\n") for name in ratios], fontsize=8)
    left.set_ylabel(f"time a step, charrnn {LEVELS[0]} = 1")
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


def main(path):
    text = charrnn.reader.read_text(path)
    ids = charrnn.Vocabulary.from_text(text).encode(text)
    V = int(ids.max()) + 1
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})  # before JAX and PyTorch are imported: their thread pools take what they see then
    peaks = {level: peak(level) for level in LEVELS}
    lines = [
        f"{processor()}, {len(cores)} cores, {platform.system()}, Python {platform.python_version()}, NumPy {np.__version__}, "
        f"charrnn {charrnn.__version__}. FMA peak of one core, measured: "
        + ", ".join(f"{level} {rate / 1e9:.0f} Gflop/s" for level, rate in peaks.items()),
        "",
    ]
    ratios = {}
    workloads = {
        "the tutorial's": (peers.problem(100, V, 25, 1, windows=2000, text=ids), True),
        "H=128 T=50 B=32": (peers.problem(128, V, 50, 32, text=ids), False),
        "H=512 T=64 B=32": (peers.problem(512, V, 64, 32, windows=10, text=ids), False),
        "H=1024 T=64 B=32": (peers.problem(1024, V, 64, 32, windows=4, text=ids), False),
        "H=256 V=5000": (peers.problem(256, 5000, 25, 4, windows=10), False),
    }
    for name, (p, numpy_too) in workloads.items():
        title = f"Training: {name} (H={p.H} V={p.V} T={p.T} B={p.B})"
        table, ratios[name] = training_table(title, p, peaks, numpy_too=numpy_too)
        lines += [*table, ""]
        print("\n".join(table), flush=True)
    table, curve = growth_table()
    lines += [*text_table(text), "", *table, "", *memory_table(text), ""]
    os.sched_setaffinity(0, cores)
    lines += [*threads_table(workloads["H=512 T=64 B=32"][0]), ""]
    (HERE / "results.md").write_text("\n".join(lines), encoding="utf-8")
    picture(ratios, curve, HERE / "results.png")
    print("\n".join(lines))


def processor():
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        return next(line.split(":", 1)[1].strip() for line in words.splitlines() if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


if __name__ == "__main__":
    main(*sys.argv[1:])
