"""Let threads use models at once under ThreadSanitizer (Linux, GCC).

    python tests/trust/races.py [--runs N] [--no-build]

Groups of threads train a model while others use it, train on several threads, and use several
models. A race with a frame of charrnn in it fails, unless the documentation names it: two threads
at one `Network` or `RNN`, whose weights are read in place. Those groups come last, and some must
be reported: then the sanitizer would notice the others, too. NumPy and Python are not compiled
for the sanitizer: it sees what they copy, lock and free, but no single number that they touch.
"""

import copy
import functools
import itertools
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from common import ROOT, Findings, build, parser

COPY = ROOT / "build" / "races"
LEAST, CALLS = 0.05, 4  # seconds and calls of each thread, at least
SECONDS = 600  # that a run may take
OUR_FRAME = re.compile(r"^ +#\d+ .*(charrnn|_core)", re.M)
DOCUMENTED = "network:"


def trainer(model, threads, checkpoint=None):
    """Return a call that trains a model further, now and then with a character new to it."""
    import calls

    new = itertools.count(0x200)
    options = {"steps": 10, "batch_size": 4, "n_threads": threads, "seq_length": 25}
    options |= {"progress": False, "checkpoint": checkpoint, "extend": True}

    def train():
        more = f"\u2603\u00e9{chr(next(new) // 2)}"
        try:
            if model.vocabulary.records:
                model.train_records([*calls.NAMES, more], **options)
            else:
                model.train_text(calls.text(300) + more, **options)
        except RuntimeError as error:
            if "is being trained already" not in str(error):  # by another thread
                raise

    return train


def groups(folder):
    """Yield (name, calls to make at once); those called `DOCUMENTED` race by design."""
    import calls
    import charrnn

    def text_model():
        return calls.text_model(hidden_size=40)

    def users(model):
        found = calls.uses(model, folder)
        known = {"load": lambda: charrnn.load(folder / "saved").next_probs("")}
        return {**found, **known}

    for kind, make, threads in (("text", text_model, 1), ("records", calls.record_model, 2)):
        for name in users(make()):
            model = make()
            yield f"{kind}: train beside {name}", [trainer(model, threads), users(model)[name]]
    model, records = text_model(), calls.record_model()
    used, kept = users(model), folder / "checkpoint"
    some = [used[f"CharRNN.{name}"] for name in ("generate", "score", "save")]
    yield "text: everything at once", [*used.values()]
    yield "text: train on 4 threads beside three", [trainer(model, 4), *some]
    two = [trainer(model, n) for n in (1, 2)]
    yield "text: two train one model beside generate", [*two, some[0]]
    yield "text: two generate", [used["CharRNN.generate_many"]] * 2
    yield "text: two score", [used["CharRNN.score_many"]] * 2
    yield "text: two save to one file, two load it", [some[2], some[2], used["load"], used["load"]]
    trainer(model, 1, kept)()
    load = functools.partial(charrnn.load, kept)
    yield "text: train with a checkpoint beside load of it", [trainer(model, 2, kept), load]
    yield "several: each trained on 2 threads", [trainer(one, 2) for one in (model, records)]
    yield "several: new models beside each other", [text_model, calls.record_model, text_model]
    other = users(calls.record_model())["CharRNN.generate_many"]
    yield "several: one trained, another drawn from", [trainer(text_model(), 2), other]
    other = users(copy.deepcopy(model))["CharRNN.generate"]
    yield "several: one trained, a copy of it drawn from", [trainer(model, 1), other]
    yield from networks()


def networks():
    """Yield groups that use networks without a model."""
    import numpy as np

    import charrnn

    ids = np.arange(1200).reshape(300, 4) % 30

    def make():
        return charrnn.RNN(40, 30, 25, 0.1, batch_size=4, seed=0)

    def train(rnn, threads=1):
        def call():
            work, targets = rnn.network.workspace(25, 4, training=True), (ids + 1) % 30
            settings = {"learning_rate": 0.1, "clip_value": 5.0, "n_threads": threads}
            rnn.network.train_steps(work, ids, targets, **settings)

        return call

    def draw(rnn):
        return lambda: rnn.sample(np.zeros((40, 1)), 0, 1000)

    def measure(rnn):
        return lambda: rnn.network.evaluate(rnn.network.workspace(25, 4), ids, ids)

    one, other = make(), make()
    yield "RNN: one trained, another drawn from", [train(one), draw(other)]
    yield "RNN: two trained, on 2 threads each", [train(one, 2), train(other, 2)]
    yield "RNN: one measured by two", [measure(one)] * 2
    for name, of_one in (("drawn from", draw), ("measured", measure), ("trained again", train)):
        one = make()  # the sanitizer reports an address once
        yield f"{DOCUMENTED} one trained and {name}", [train(one), of_one(one)]


def overlap(calls, once):
    """Make calls at once, each once or repeatedly until all have had their time."""
    barrier, errors, made = threading.Barrier(len(calls)), [], [0] * len(calls)

    def goes_on(number, until):
        unfinished = time.perf_counter() < until or min(made) < CALLS
        return not errors and unfinished and not (once and made[number])

    def repeat(number):
        barrier.wait()
        until = time.perf_counter() + LEAST
        try:
            while goes_on(number, until):
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
    """Run all groups under the sanitizer: the name of each comes before its reports."""
    with tempfile.TemporaryDirectory() as folder:
        for name, calls in groups(Path(folder)):
            print(f"\n==== {name}", file=sys.stderr, flush=True)
            races = name.startswith(DOCUMENTED)  # to report thousands takes the sanitizer hours
            for _ in range(1 if races else runs):
                overlap(calls, once=races)
    print("\n==== end", file=sys.stderr, flush=True)


def reports(output):
    """Yield (name of a group, its reports with a frame of charrnn, the number of others)."""
    for part in re.split(r"^==== ", output, flags=re.M)[1:]:
        name, _, rest = part.partition("\n")
        found = re.split(r"^WARNING: ThreadSanitizer: ", rest, flags=re.M)[1:]
        ours = [report for report in found if OUR_FRAME.search(report)]
        yield name, ours, len(found) - len(ours)


def observe(runs):
    """Run the groups in a process with the sanitizer; return its status and its reports."""
    find = ["gcc", "-print-file-name=libtsan.so"]
    library = subprocess.run(find, check=True, capture_output=True, text=True).stdout.strip()
    variables = {
        "LD_PRELOAD": library,
        "PYTHONPATH": str(COPY / "src"),
        "TSAN_OPTIONS": "halt_on_error=0,exitcode=0,history_size=5",
    }
    command = [sys.executable, __file__, "--worker", "--runs", str(runs)]
    log = COPY / "reports"
    with open(log, "w", encoding="utf-8") as output:
        worker = subprocess.Popen(command, env=os.environ | variables, stderr=output)
        try:
            status = worker.wait(SECONDS * (1 + runs))
        except subprocess.TimeoutExpired:
            worker.kill()
            status = "no end"
    found = list(reports(log.read_text("utf-8", "replace")))
    if status or not found or found[-1][0] != "end":
        sys.exit(f"it ended with {status}, too early: see {log}")
    return found


def main():
    arguments, findings = parser(__doc__, 1, worker=True), Findings()
    arguments.add_argument("--no-build", action="store_true", help="use the build of last time")
    arguments = arguments.parse_args()
    if arguments.worker:
        return work(arguments.runs)
    if not arguments.no_build:
        build("races", CHARRNN_SANITIZE="thread")
    found, seen = observe(arguments.runs), 0
    for name, ours, _ in found:
        if name.startswith(DOCUMENTED):
            print(f"{name}: {len(ours)} reports, as documented")
            seen += len(ours)
            continue
        for report in ours:
            findings.add("race", f"{name}: {report}")
    findings.expect(seen, "blind", "no documented race was seen, so none would be elsewhere")
    others = sum(number for *_, number in found)
    findings.end(f"races: {len(found) - 1} groups x {arguments.runs}, {others} reports elsewhere")


if __name__ == "__main__":
    main()
