"""Press Ctrl-C at random moments: how long does it take, and what does it leave?

    python tests/trust/interrupts.py [--runs N] [--only NAME] [--strict]

Each signal must raise within 250 ms, 99 of 100 within 100 ms. After an interrupted training the
weights must be those of the step that the history names, bit for bit, and the checkpoint must go
on to what an uninterrupted training gives; after anything else the model must be as before. The
alarm clock of the process sends the signals (with the handler of Ctrl-C), as it is on time even
where no other thread would get its turn.
"""

import gc
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
from common import Findings, parser

import calls
import charrnn
from charrnn import RNN, CharRNN, History, Vocabulary

TEXT = "\n\n".join(topics.values())
P99, WORST = 0.1, 0.25  # seconds
STALLED = 2.0  # what a busy machine may add: only --strict judges by the others


def latency(call, delay):
    """Repeat a call until a signal after delay seconds; return its latency and the error."""
    due = time.perf_counter() + delay
    signal.setitimer(signal.ITIMER_REAL, delay)
    try:
        while True:
            call()
    except KeyboardInterrupt as interruption:
        return time.perf_counter() - due, interruption
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def send_again(unraisable):
    """Send another signal where Python swallowed one: in a callback of its import system."""
    if unraisable.exc_type is KeyboardInterrupt and "_get_module_lock" in repr(unraisable.object):
        signal.setitimer(signal.ITIMER_REAL, 0.001)
    else:
        sys.__unraisablehook__(unraisable)


def untrained(hidden_size, symbols, dtype="float32"):
    """Return a model that has learned nothing: its calls take as long."""
    chars = "".join(map(chr, range(0x4E00, 0x4E00 + symbols)))
    rnn = RNN(hidden_size, symbols, 25, 0.1, dtype=dtype, seed=0)
    return CharRNN(rnn, Vocabulary(chars), History())


class Use:
    """A call that must leave a model as it was."""

    longest = 1.0  # seconds before the signal

    def __init__(self, name, model, call):
        self.name, self.model, self.call = name, model, call
        self.expected = calls.digest(model)

    def problems(self, interruption):
        if calls.digest(self.model) != self.expected:
            yield "the model is another"


class SmallUse(Use):
    """A call that takes a moment, and so is repeated."""

    longest = 0.1


class Training:
    """A training with a checkpoint, judged by what the same steps give uninterrupted."""

    longest = 1.0

    def __init__(self, folder, hidden_size, batch_size, n_threads, **options):
        sizes = {"seq_length": 25, "hidden_size": hidden_size, "batch_size": batch_size}
        options = {**sizes, **options}
        self.name = f"train, {n_threads} threads, {options}"
        self.text = TEXT[: max(60_000, options["seq_length"] + 1)]
        self.options = {**options, "keep": "last", "validation_fraction": 0, "progress": False}
        self.n_threads, self.path = n_threads, Path(folder, "checkpoint")

    def train(self, steps, **more):
        return charrnn.train_text(self.text, steps=steps, **more, **self.options, preset="tutorial")

    def call(self):
        self.train(10**9, n_threads=self.n_threads, checkpoint=self.path)

    def problems(self, interruption):
        if not isinstance(interruption, charrnn.TrainingInterrupted):
            return  # it came before the first step
        model = interruption.model
        step = model.history.steps
        saved = charrnn.load(self.path).history.steps if self.path.exists() else 0
        if saved != step:
            yield f"the checkpoint is of step {saved}, the history of {step}"
        elif step:
            expected = self.train(step)
            if (expected.network.weights.block != model.network.weights.block).any():
                yield f"the weights are not those of step {step}"
            more = self.train(step + 1, resume=self.path)
            if calls.digest(more) != calls.digest(self.train(step + 1)):
                yield f"the checkpoint of step {step} goes on to other weights"
        self.path.unlink(missing_ok=True)


def trainings(folder):
    """Yield trainings of small and large networks."""
    deep = {"cell": "lstm", "optimizer": "adam", "n_layers": 2, "dropout": 0.3}
    for hidden_size, batch_size in ((64, 8), (512, 32), (2048, 32)):
        for threads in (1, 2):
            yield Training(folder, hidden_size, batch_size, threads)
            if hidden_size == 512:
                yield Training(folder, hidden_size, batch_size, threads, **deep)
    yield Training(folder, 512, 1, 1, seq_length=60_000)


def large_uses(folder):
    """Yield calls that take long."""
    words, large = TEXT.split(), TEXT * (40_000_000 // len(TEXT))
    names, records = words * (2_000_000 // len(words)), TEXT.splitlines()
    some = {"batch_size": 32, "epochs": 9, "progress": False}
    model = charrnn.train_text(TEXT, steps=5, progress=False, preset="tutorial")
    wide, big = untrained(64, 20_000, "float64"), untrained(4000, 100)
    path = Path(folder, "big")
    big.save(path)
    found = {
        "records, H=256": lambda: charrnn.train_records(
            records, hidden_size=256, **some, preset="tutorial"
        ),
        "two million records": lambda: charrnn.train_records(names, **some, preset="tutorial"),
        "generate_many": lambda: model.generate_many(64, 10**6, seed=1),
        "generate_many, V=20,000": lambda: wide.generate_many(64, 100, seed=1, top_k=5),
        "score of 40 MB": lambda: model.score(large),
        "prime of 40 MB": lambda: model.generate(1, prime=large),
        "a network, H=4096": lambda: RNN(4096, 100, 25, 0.1),
        "beam of 100,000": lambda: model.beam_search(20, width=100_000),
        "save, H=4000": lambda: big.save(path),
        "load, H=4000": lambda: charrnn.load(path),
    }
    for name, call in found.items():
        yield Use(name, model, call)


def cases(folder):
    """Yield what to interrupt."""
    yield from trainings(folder)
    for model in (calls.text_model(hidden_size=200), calls.record_model()):
        kind = "records" if model.vocabulary.records else "text"
        for name, call in calls.uses(model, folder).items():
            yield SmallUse(f"{name}, {kind}", model, call)
    yield from large_uses(folder)


def main():
    arguments = parser(__doc__, 3)
    arguments.add_argument("--strict", action="store_true", help="judge by 100 and 250 ms")
    arguments.add_argument("--only", default="", help="cases whose name has this")
    arguments, findings = arguments.parse_args(), Findings()
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    gc.disable()  # Python swallows a signal in a callback of the collector
    sys.unraisablehook = send_again
    moments, everything = random.Random(1), []
    with tempfile.TemporaryDirectory() as folder:
        for case in cases(folder):
            if arguments.only not in case.name:
                continue
            times = []
            for _ in range(arguments.runs):
                seconds, interruption = latency(case.call, moments.uniform(0.002, case.longest))
                times.append(seconds)
                for problem in case.problems(interruption):
                    findings.add(case.name, problem)
                interruption.__traceback__ = None
            everything += times
            median, worst = np.median(times) * 1e3, max(times) * 1e3
            print(f"{case.name}: median {median:.0f} ms, worst {worst:.0f} ms", flush=True)
    p99, worst = float(np.quantile(everything, 0.99)), max(everything)
    slow = p99 > P99 or worst > WORST if arguments.strict else worst > STALLED
    findings.expect(not slow, "slow")
    times = f"p99 {p99 * 1e3:.0f} ms, worst {worst * 1e3:.0f} ms"
    findings.end(f"interrupts: {len(everything)} signals, {times}")


if __name__ == "__main__":
    main()
