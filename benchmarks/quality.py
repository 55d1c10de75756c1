"""Measure held-out losses: python benchmarks/quality.py TEXT_FILE [--over seeds | --over seconds]

Over seeds: `train_file` with its defaults. For each seed, the loss on the held-out tenth with
frozen weights and carried state, and the loss of its worst stretch of 5,000 characters when each
stretch starts from the zero state; in nats per character.

Over seconds: the loss on the held-out tenth after each pass, for the presets and for PyTorch with
the recipe of "large", one after the other, each in its own process on two cores. Writes
quality.csv and quality.svg. charrnn's clock includes the measurements; PyTorch's does not (charrnn
measures its weights).
"""

import argparse
import csv
import functools
import multiprocessing
import os
import statistics
import time
from pathlib import Path

import numpy as np
import peers

import charrnn
from charrnn.data.batches import TextStream
from charrnn.data.text import read_text
from charrnn.network.config import PRESETS
from charrnn.storage import export as interop
from charrnn.training.schedule import Schedule

STRETCH = 5000
CORES = 2
FIELDS = ("program", "step", "seconds", "nll")
NANOGPT = (180, 1.4697)  # seconds on an A100 and nats, from its README


# --- over seeds ---


def over_seeds(path, seeds):
    losses = []
    for seed in range(seeds):
        model = charrnn.train_file(path, seed=seed, preset="tutorial")
        text = read_text(path)
        last = text[len(text) - len(text) // 10 :]
        stretches = [last[i : i + STRETCH] for i in range(0, len(last) - STRETCH + 1, STRETCH)]
        worst = max(-model.log_probs(stretch).mean() for stretch in stretches)
        losses.append(model.history.validation_losses[-1])
        print(f"seed {seed}: held-out loss {losses[-1]:.4f}, worst stretch {worst:.4f}", flush=True)
    print(f"median {statistics.median(losses):.4f}, worst {max(losses):.4f}")


# --- over seconds ---


def train_charrnn(path, preset, seconds=None):
    """Yield (step, seconds, held-out loss) after each pass of a preset, and at its end."""
    model = charrnn.train_file(
        path, preset=preset, seconds=seconds, n_threads=CORES, keep="last", progress=False
    )
    for report in model.history.reports:
        if report.validation_nll is not None:
            yield report.step, report.seconds, report.validation_nll


def train_torch(path, cell, seconds=None):
    """Yield the same for PyTorch: charrnn's initial weights, the recipe of "large", this cell."""
    import torch

    torch.set_num_threads(CORES)
    torch.manual_seed(0)
    options = PRESETS["large"] | {"cell": cell}
    text = read_text(path)
    vocabulary = charrnn.Vocabulary.from_text(text)
    ids = vocabulary.encode(text)
    cut = len(ids) - len(ids) // 10
    stream = TextStream(ids[:cut], options["seq_length"], options["batch_size"])
    module, optimiser = begin_torch(torch, vocabulary, options)
    schedule = Schedule(options["schedule"], options["warmup"])
    steps, spent, state = options["steps"], 0.0, None
    for step in range(10**9 if seconds else steps):
        started, window = time.perf_counter(), step % stream.windows
        used = spent / seconds if seconds else step / steps
        factor = schedule.factors(0, [step], [used])[0]
        rate, state = factor * options["learning_rate"], state if window else None
        state = step_torch(
            torch, module, optimiser, stream.read(window, 1), state, rate, options["clip_norm"]
        )
        spent += time.perf_counter() - started
        ends = spent >= seconds if seconds else step + 1 == steps
        if ends or window + 1 == stream.windows:
            yield step + 1, spent, held_out(charrnn.from_torch(module, vocabulary), ids[cut:])
        if ends:
            return


def begin_torch(torch, vocabulary, options):
    """Return a module with charrnn's initial weights, and Adam that decays matrices only."""
    learner = charrnn.network.learner.Learner(
        [(options["cell"], options["hidden_size"])], vocabulary.symbols, optimizer="adam", seed=0
    )
    learner.dropout = options["dropout"]
    module = interop.to_torch(learner).train()
    groups = [
        {
            "params": [
                parameter for parameter in module.parameters() if (parameter.ndim == 2) == decays
            ],
            "weight_decay": decay,
        }
        for decays, decay in ((True, options["weight_decay"]), (False, 0.0))
    ]
    return module, torch.optim.AdamW(groups, betas=(0.9, 0.99), eps=1e-8, foreach=True)


def step_torch(torch, module, optimiser, window, state, rate, clip_norm):
    """One step on a window; return the state after it, without its gradient."""
    inputs, targets = (torch.from_numpy(ids.astype(np.int64)) for ids in window)
    for group in optimiser.param_groups:
        group["lr"] = float(rate)
    logits, state = module(inputs, state)
    optimiser.zero_grad()
    torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=-1
    ).backward()
    torch.nn.utils.clip_grad_norm_(module.parameters(), clip_norm)
    optimiser.step()
    return tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach()


def held_out(model, ids, rows=2048):
    """The loss of a character, weights frozen, the state carried from zero."""
    return model.network.evaluate(
        model.network.workspace(rows, 1), ids[:-1, None], ids[1:, None]
    ).mean()


PROGRAMS = {
    "charrnn, the tutorial's vanilla network": functools.partial(train_charrnn, preset="tutorial"),
    "charrnn, small": functools.partial(train_charrnn, preset="small"),
    "charrnn, medium": functools.partial(train_charrnn, preset="medium"),
    "charrnn, large": functools.partial(train_charrnn, preset="large"),
    "PyTorch, GRU of 512": functools.partial(train_torch, cell="gru"),
    "PyTorch, LSTM of 512": functools.partial(train_torch, cell="lstm"),
}


def curve(name, path, seconds):
    """The rows of a program."""
    rows = []
    for step, spent, nll in PROGRAMS[name](path, seconds=seconds):
        rows.append(dict(zip(FIELDS, (name, step, round(spent, 2), round(nll, 4)), strict=True)))
        print(f"{name}: step {step}, {spent:.1f} s, {nll:.4f}", flush=True)
    return rows


def over_seconds(path, names, seconds, folder):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-CORES:])  # children inherit it
    names = [name for name in names if name.startswith("charrnn") or peers.installed("torch")]
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        curves = pool.starmap(curve, [(name, path, seconds) for name in names], chunksize=1)
    with open(folder / "quality.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for rows in curves for row in rows)
    draw(curves, folder / "quality.svg")


def draw(curves, path):
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams["svg.hashsalt"] = "charrnn"  # equal curves, equal files
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    chart = figure.add_subplot()
    for rows in curves:
        (program,) = {row["program"] for row in rows}
        style = "o-" if program.startswith("charrnn") else "s--"
        chart.plot(
            [row["seconds"] for row in rows],
            [row["nll"] for row in rows],
            style,
            markersize=3,
            linewidth=1.5,
            label=program,
        )
    chart.plot(*NANOGPT, "k*", label="nanoGPT on an A100, from its README")
    chart.set_xscale("log")
    ticks = [5, 10, 20, 50, 100, 200]
    chart.set_xticks(ticks, ticks)
    chart.set_xlabel(f"seconds, {CORES} cores")
    chart.set_ylabel("held-out loss, nats per character")
    chart.grid(alpha=0.25)
    chart.legend(fontsize=8)
    figure.savefig(path, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("path", metavar="TEXT_FILE")
    parser.add_argument("--over", choices=("seeds", "seconds"), default="seeds")
    parser.add_argument("--seeds", type=int, default=10, help="how many (default: %(default)s)")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=PROGRAMS,
        metavar="PROGRAM",
        default=list(PROGRAMS),
        help=f"of: {'; '.join(PROGRAMS)}",
    )
    parser.add_argument(
        "--seconds", type=float, help="budget of each program, instead of its recipe's"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(__file__).parent,
        help="folder for what is written (default: this one)",
    )
    given = parser.parse_args()
    if given.over == "seeds":
        over_seeds(given.path, given.seeds)
    else:
        over_seconds(given.path, given.only, given.seconds, given.output)


if __name__ == "__main__":
    main()
