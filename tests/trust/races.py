"""Overlapping calls under ThreadSanitizer: python tests/trust/races.py [--runs N] (Linux, GCC).

Groups of two to five threads use models at once: whoever trains a model beside whoever uses it, trainings on several threads, several
models. A race with a frame of charrnn in it fails, unless the documentation says that it is one: two threads at one `Network` or `RNN`,
whose weights are read where they lie. Those groups come last and some must be reported: then the sanitizer would notice the others too.
NumPy and Python are not compiled for the sanitizer: it sees what they copy, lock and free, but no single number that they read or write.
"""

import argparse
import copy
import functools
import itertools
import os
import pickle
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import copies

COPY = copies.ROOT / "build" / "races"
TEXT = "to be, or not to be: that is the question. " * 6
NEW = "\u2603\u00e9"  # characters that extend the vocabulary
RECORDS = [TEXT[i : i + 5 + i % 9] for i in range(60)]
LEAST, CALLS = 0.05, 4  # seconds that each thread is at it, and calls that it makes, at least
SECONDS = 300  # that a run may take
OUR_FRAME = re.compile(r"^ +#\d+ .*(charrnn|_core)", re.M)
DOCUMENTED = "network:"


def users(model, folder):
    """Return calls that use a model, by name."""
    text = RECORDS[-1] if model.vocabulary.records else TEXT
    many, path = {"seed": 1, "temperature": 0.7, "top_k": 5, "no_repeat": 9}, folder / f"{id(model)}"
    model.save(path)
    return {
        "generate": lambda: model.generate(150, seed=1),
        "generate_many": lambda: model.generate_many(8, 40, **many),
        "stream": lambda: list(model.stream(40, **many)),
        "beam_search": lambda: model.beam_search(20, n_best=3, width=8),
        "log_probs": lambda: model.log_probs(text),
        "score": lambda: model.score(text),
        "score_many": lambda: model.score_many(RECORDS),
        "next_probs": lambda: model.next_probs(text),
        "save": lambda: model.save(path),
        "load": lambda: __import__("charrnn").load(path).score(text),
        "pickle": lambda: pickle.loads(pickle.dumps(model)).score(text),
        "deepcopy": lambda: copy.deepcopy(model).score(text),
    }


def trainer(model, threads, checkpoint=None):
    """Return a call that trains a model further, every other time with a character that is new to it."""
    new = itertools.count(0x200)
    options = {"steps": 30, "batch_size": 4, "n_threads": threads, "progress": False, "checkpoint": checkpoint, "seq_length": 25}

    def train():
        more = NEW + chr(next(new) // 2)
        try:
            if model.vocabulary.records:
                model.train_records([*RECORDS, more], extend=True, **options)
            else:
                model.train_text(TEXT + more, extend=True, **options)
        except RuntimeError as error:
            if "is being trained already" not in str(error):  # by another thread
                raise

    return train


def groups(folder):
    """Yield (name, calls to make at once); those whose name begins with `DOCUMENTED` race by design."""
    import charrnn

    options = {"hidden_size": 40, "progress": False, "batch_size": 4, "steps": 4}

    def text_model():
        return charrnn.train_text(TEXT, **options)

    def records_model():
        return charrnn.train_records(RECORDS, remember=True, **options)

    for kind, make, threads in (("text", text_model, 1), ("records", records_model, 2)):
        for name in users(make(), folder):
            model = make()
            yield f"{kind}: train beside {name}", [trainer(model, threads), users(model, folder)[name]]
    model = text_model()
    used = users(model, folder)
    yield "text: all of the doors at once", [*used.values()]
    yield "text: train on 4 threads beside generate, score and save", [trainer(model, 4), *map(used.get, ("generate", "score", "save"))]
    yield "text: two train one model beside generate", [trainer(model, 1), trainer(model, 2), used["generate"]]
    yield "text: two generate", [used["generate_many"]] * 2
    yield "text: two score", [used["score_many"]] * 2
    yield "text: two save to one file, two load it", [used["save"], used["save"], used["load"], used["load"]]
    kept = folder / "checkpoint"
    trainer(model, 1, kept)()
    yield "text: train with a checkpoint beside load of it", [trainer(model, 2, kept), lambda: charrnn.load(kept)]
    yield "several: each trained on 2 threads", [trainer(make(), 2) for make in (text_model, records_model, text_model)]
    yield (
        "several: new models beside each other",
        [text_model, records_model, functools.partial(charrnn.train_text, TEXT, n_threads=2, **options)],
    )
    yield "several: one trained, another drawn from", [trainer(text_model(), 2), users(records_model(), folder)["generate_many"]]
    yield "several: one trained, a copy of it drawn from", [trainer(model, 1), users(copy.deepcopy(model), folder)["generate"]]
    yield from lessons(charrnn)


def lessons(charrnn):
    """Yield groups of the lesson and the engine."""
    import numpy as np

    ids = np.arange(4000).reshape(1000, 4) % 30

    def make():
        return charrnn.RNN(40, 30, 25, 0.1, batch_size=4, seed=0)

    def train(rnn, threads=1):
        def call():
            work = rnn.network.workspace(25, 4, training=True)
            rnn.network.train_steps(work, ids, (ids + 1) % 30, rate=0.1, clip=5.0, threads=threads)

        return call

    def draw(rnn):
        return lambda: rnn.sample(np.zeros((40, 1)), 0, 1000)

    def measure(rnn):
        return lambda: rnn.network.evaluate(rnn.network.workspace(25, 4), ids, ids)

    one, other = make(), make()
    yield "RNN: one trained, another drawn from", [train(one), draw(other)]
    yield "RNN: two trained, on 2 threads each", [train(one, 2), train(other, 2)]
    yield "RNN: one measured by two", [measure(one)] * 2
    for name, of_one in (("drawn from", draw), ("measured", measure), ("trained once more", train)):
        one = make()  # of one address the sanitizer reports once
        yield f"{DOCUMENTED} one trained and {name}", [train(one), of_one(one)]


def overlap(calls, once):
    """Make calls at once, each once or again and again until all have had their time."""
    barrier, errors, made = threading.Barrier(len(calls)), [], [0] * len(calls)

    def repeat(number):
        barrier.wait()
        until = time.perf_counter() + LEAST
        try:
            while not errors and not (once and made[number]) and (time.perf_counter() < until or min(made) < CALLS):
                calls[number]()
                made[number] += 1
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=repeat, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def work(runs):
    """Run all groups, under the sanitizer: the name of each comes before its reports."""
    with tempfile.TemporaryDirectory() as folder:
        for name, calls in groups(Path(folder)):
            print(f"\n==== {name}", file=sys.stderr, flush=True)
            races = name.startswith(DOCUMENTED)  # once: to report thousands takes the sanitizer hours
            for _ in range(1 if races else runs):
                overlap(calls, races)
    print("\n==== end", file=sys.stderr, flush=True)


def reports(output):
    """Yield (name of a group, its reports that have a frame of charrnn, the number of others)."""
    for part in re.split(r"^==== ", output, flags=re.M)[1:]:
        name, _, rest = part.partition("\n")
        found = re.split(r"^WARNING: ThreadSanitizer: ", rest, flags=re.M)[1:]
        ours = [report for report in found if OUR_FRAME.search(report)]
        yield name, ours, len(found) - len(ours)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=1, help="times that each group overlaps")
    parser.add_argument("--no-build", action="store_true", help="take the copy that was built before")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return work(arguments.runs)
    if not arguments.no_build:
        copies.build("races", CHARRNN_SANITIZE="thread")
    library = subprocess.run(["gcc", "-print-file-name=libtsan.so"], check=True, capture_output=True, text=True).stdout.strip()
    environment = {"LD_PRELOAD": library, "PYTHONPATH": str(COPY / "src"), "TSAN_OPTIONS": "halt_on_error=0,exitcode=0,history_size=5"}
    command = [sys.executable, __file__, "--worker", "--runs", str(arguments.runs)]
    started, log = time.perf_counter(), COPY / "reports"
    with open(log, "w", encoding="utf-8") as output:
        worker = subprocess.Popen(command, env=os.environ | environment, stderr=output)
        try:
            status = worker.wait(SECONDS * (1 + arguments.runs))
        except subprocess.TimeoutExpired:
            worker.kill()
            status = "no end"
    found = list(reports(log.read_text("utf-8", "replace")))
    races = [(name, report) for name, ours, _ in found for report in ours if not name.startswith(DOCUMENTED)]
    for name, report in races:
        print(f"{name}: {report}")
    documented = [(name, len(ours)) for name, ours, _ in found if name.startswith(DOCUMENTED)]
    for name, number in documented:
        print(f"{name}: {number} reports, as documented")
    others, took = sum(number for *_, number in found), time.perf_counter() - started
    print(f"{len(found) - 1} groups x {arguments.runs} in {took:.0f} s: {len(races)} races, {others} reports elsewhere")
    if status or not found or found[-1][0] != "end":
        sys.exit(f"it ended with {status}, in the midst: see {log}")
    blind = not any(number for _, number in documented)  # how a single group overlaps is chance
    sys.exit("the sanitizer saw none of the documented races: it would see nothing elsewhere" if blind else bool(races))


if __name__ == "__main__":
    main()
