"""A signal at chosen moments: what holds after each.

Each case is done once, to see where in the package's code Python looks for signals; then, so many times, at a place drawn among those (each
is as likely, however often it is passed) and at one of its turns, comes Ctrl-C, or a host's signal, whose handler raises RuntimeError or
TimeoutError, which is an OSError without a number. The exception must arrive, handlers be given back, and no thread, open file or
temporary file be left.

A training must leave the weights, the reports and the checkpoint of one whole step, and a model that writes and can be saved; resumed from
the checkpoint it must give what it gives uninterrupted: weights, the optimiser's memory, the state and the best weights, to the bit, and
the reports but for seconds. Whatever else was interrupted must leave model and files as they were, or the new file whole.

Before that, each training must give the same when C does one step at a time, three, or as many as it can.
"""

import argparse
import contextlib
import copy
import dis
import functools
import gc
import itertools
import os
import pickle
import random
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from common import Findings, text

import charrnn
from charrnn.storage import model_file as persistence
from charrnn.training import loop
from charrnn.util.hashing import sha256

SOURCES = (str(Path(charrnn.__file__).parent), contextlib.__file__)
KINDS = {"Ctrl-C": KeyboardInterrupt, "RuntimeError": RuntimeError, "TimeoutError": TimeoutError}
WORDS = "a host's handler says so"
NEVER = 1e9  # seconds
SIZES = {"one": (NEVER, 1), "three": (NEVER, 3), "many": (NEVER, 1 << 20)}  # how long C may be away, and for how many windows


@functools.cache
def looks(code):
    """Return where in a code Python has just looked for signals: after a call, at the beginning, after a jump back."""
    instructions = list(dis.get_instructions(code))
    after = {one.offset for before, one in itertools.pairwise(instructions) if before.opname.startswith(("CALL", "RESUME"))}
    return after | {one.argval for one in instructions if one.opname.startswith("JUMP_BACKWARD")}


class Moment:
    """Runs a call and raises a signal at a place, when it is passed for a certain time; without one it counts what places are passed.

    A place is where Python looks for signals, or, with lines, the beginning of any line: more than can happen, today.
    """

    def __init__(self, place=None, turn=0, number=signal.SIGINT, lines=False):
        self.place, self.turn, self.number, self.lines = place, turn, number, lines
        self.passed, self.came, self.returned = Counter(), False, False

    def local(self, frame, event, _):
        # What has come back from Python's code has not looked, only what has come back from C.
        if event == "line" or (event == "opcode" and not self.returned and frame.f_lasti in looks(frame.f_code)):
            place = frame.f_code.co_filename, frame.f_lineno, frame.f_lasti, frame.f_code.co_qualname
            self.passed[place] += 1
            if place == self.place and self.passed[place] == self.turn:
                self.came = True
                sys.settrace(None)
                signal.raise_signal(self.number)
        self.returned = event == "return"
        return self.local

    def enter(self, frame, _, __):
        ours = frame.f_code.co_filename.startswith(SOURCES)
        frame.f_trace_lines, frame.f_trace_opcodes = ours and self.lines, ours and not self.lines
        self.returned = False
        return self.local

    def during(self, call):
        """Return what a call raises, or None."""
        try:
            try:
                sys.settrace(self.enter)
                call()
            finally:
                sys.settrace(None)
        except BaseException as error:
            return error
        return None

    def __str__(self):
        file, line, offset, name = self.place
        return f"{os.path.basename(file)}:{line} ({name}, instruction {offset}, turn {self.turn})"


def raises(kind):
    def handler(number, frame):
        raise kind(WORDS)

    return handler


def arrays(parameters):
    return None if parameters is None else sha256(*parameters.views().values())


def learned(network):
    """Return digests of all that a network has learned."""
    return arrays(network.weights), arrays(network.memory), arrays(network.momentum)


def told(report, nll=True):
    """Return what a report tells but for the time, and perhaps the mean over what came since the report before."""
    figures = {**asdict(report), "seconds": None, "model": None}
    return figures if nll else {**figures, "nll": None}


class Training:
    """A training, judged by what the same gives uninterrupted, step by step."""

    def __init__(self, name, train, folder, often=False, start=None, stopped=None, known=(), cache=None, **options):
        self.name, self.train, self.often = name, train, often
        self.start = None if start is None else learned(start.network)  # of a model that goes on: it may be as it was
        self.options = {"hidden_size": 4, "seq_length": 7, "seed": 3, "progress": False, "steps": 14, "validation_fraction": 0, **options}
        self.cache = cache  # a folder
        self.stopped = stopped  # the bytes of a checkpoint to go on from
        self.first = 0 if stopped is None else persistence.load(stopped).history.steps
        self.path, self.steps = folder / "checkpoint", dict(known)  # after each step
        self.begin()
        advance = loop.Trainer._advance

        def noted(run, count):
            advance(run, count)
            at = run.position
            self.steps[at.step] = learned(run.network), sha256(run.stepper.get_state()), at.smooth_loss, at.characters

        loop.Trainer._advance = noted
        try:
            self.model = self.call()
        finally:
            loop.Trainer._advance = advance
        self.end = self.what_stands()
        self.reports = {report.step: report for report in self.model.history.reports}

    def begin(self):
        """Have no checkpoint, or that to go on from; and C do a step at a time: lines are passed as often then, whatever the clock says."""
        loop._CALL_SECONDS, loop._CALL_CHARACTERS = SIZES["one"]
        loop._SAVE_AT_REPORTS, loop._SAVE_BETWEEN_REPORTS = 0, 0 if self.often else NEVER
        self.path.unlink(missing_ok=True)
        for kept in () if self.cache is None else self.cache.glob("*"):
            kept.unlink()
        if self.stopped is not None:
            self.path.write_bytes(self.stopped)

    def call(self, **more):
        resume = None if self.stopped is None else self.path
        return self.train(**{**self.options, "checkpoint": self.path, "resume": resume, **more})

    def what_stands(self):
        """Return digests of all that a checkpoint holds of the training, and the position."""
        saved = persistence.load(self.path)
        at = {name: value for name, value in asdict(saved.training.position).items() if name != "seconds"}
        return learned(saved.learner.network), sha256(saved.training.state), arrays(saved.training.best), at

    def sizes(self):
        """Yield what is wrong when C does some steps at a time."""
        for name, (seconds, windows) in SIZES.items():
            self.begin()
            largest = max(1, windows * self.options["seq_length"] * self.options.get("batch_size", 1))
            loop._CALL_SECONDS, loop._CALL_CHARACTERS = seconds, largest
            model = self.call()
            if learned(model.network) != learned(self.model.network) or self.what_stands() != self.end:
                yield f"{name} at a time: other bits"
            if list(map(told, model.history.reports)) != list(map(told, self.model.history.reports)):
                yield f"{name} at a time: other reports"

    def wrong(self, error):
        """Yield what is wrong after an interruption."""
        saved = None
        if self.path.exists():
            saved = persistence.load(self.path)
            yield from self.wrong_in(saved)
        model = getattr(error, "model", None)
        stands = saved.history.steps if saved is not None else 0
        if model is not None and not (stands == 0 and learned(model.network) == self.start):
            history = model.history
            if history.steps and arrays(model.network.weights) != self.steps[history.kept_step or history.steps][0][0]:
                yield f"the weights are not those of step {history.kept_step or history.steps}"
            yield from self.wrong_reports(history.reports)
            model.generate(5, seed=1)
            pickle.loads(pickle.dumps(model))
            if stands != history.steps and (stands, history.steps) != (self.first, 0):
                yield f"the checkpoint is of step {stands}, the history of {history.steps}"
        elif stands not in (self.first, max(self.steps)):
            yield f"no model, though a checkpoint of step {stands}"
        again = self.call(resume=None if saved is None else self.path)
        if arrays(again.network.weights) != arrays(self.model.network.weights) or again.history.kept_step != self.model.history.kept_step:
            yield f"resumed from step {stands} it gives other weights, of {again.history.kept_step}"
        if (end := self.what_stands()) != self.end:
            yield f"resumed from step {stands} it ends elsewhere: {end[3]}, not {self.end[3]}"
        yield from self.wrong_reports(again.history.reports, whole=True)

    def wrong_in(self, saved):
        """Yield what is wrong in a checkpoint."""
        at, network = saved.training.position, saved.learner.network
        if at.step:
            state = saved.training.state  # zero, too, if the next step begins with that
            stands = learned(network), sha256(state), at.smooth_loss, at.characters
            for what, found, expected in zip(("weights or memory", "state", "loss", "count"), stands, self.steps[at.step], strict=True):
                if found != expected and not (what == "state" and not state.any()):
                    yield f"the checkpoint has another {what} than step {at.step}"
        if at.best_nll is not None:
            if saved.training.best is not None and arrays(saved.training.best) != self.steps[at.best_step][0][0]:
                yield f"the best weights are not those of step {at.best_step}"
            if at.best_nll != self.reports[at.best_step].validation_nll:
                yield f"the best loss is not that of step {at.best_step}"
        yield from self.wrong_reports(saved.history.reports)
        if saved.history.steps != at.step and not at.unreported:
            yield f"the checkpoint is of step {at.step}, its reports end at {saved.history.steps}"

    def wrong_reports(self, reports, whole=False):
        """Yield what is wrong in the reports of an interrupted training: at its end there may be one more, of what was not reported yet."""
        if whole and not self.reports.keys() <= {report.step for report in reports}:
            yield "reports are missing"
        for before, report in itertools.pairwise([None, *reports]):
            expected = self.reports.get(report.step)
            if expected is None:
                smooth, characters = self.steps[report.step][2:]
                if (report.smooth_loss, report.characters) != (smooth, characters):
                    yield f"the report of step {report.step} is not of that step"
                continue
            if report.validation_nll is None and not whole:
                report = loop.replace(report, validation_nll=expected.validation_nll)  # it may not have been measured yet
            usual = before is None or before.step in self.reports
            if told(report, usual) != told(expected, usual):
                yield f"the report of step {report.step} is {report}, not {expected}"


class Using:
    """Something done with a model, and perhaps a file, which it must leave as they were, or the file new and whole."""

    def __init__(self, name, model, call, path=None, old=None, new=None):
        self.name, self.model, self.do, self.path, self.old, self.new = name, model, call, path, old, new
        self.is_like = learned(model.network)
        self.begin()
        self.result = call()

    def begin(self):
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            if self.old is not None:
                self.path.write_bytes(self.old)

    def call(self):
        self.do()

    def sizes(self):
        return ()

    def wrong(self, error):
        if learned(self.model.network) != self.is_like:
            yield "the model is another"
        if self.path is not None and (self.path.read_bytes() if self.path.exists() else None) not in (self.old, self.new):
            yield "neither the old file nor the new one"
        if self.do() != self.result:
            yield "once more it gives something else"


def going_on(model):
    """Return what goes on training a copy of a model."""

    def train(hidden_size, **options):  # which the model has
        changed = copy.copy(model)
        try:
            return changed.train_text(text(220)[::-1] + "äöü", extend=True, **options)
        except BaseException as error:
            if getattr(error, "model", changed) is not changed:
                raise AssertionError("the exception has another model") from error
            error.model = changed
            raise

    return train


def cases(folder):
    """Yield what to interrupt."""
    page = text(180)
    words = page.split()[:24]
    records = [*words, " ".join(words) * 2, "", " ".join(words[:20]), "a"]
    held_out = {"validation_fraction": 0.2, "keep": "best"}
    deep = {"cell": "lstm", "optimizer": "adam", "n_layers": 2, "dropout": 0.3, "batch_size": 2}
    moving = {"schedule": "cosine", "warmup": 3}

    def by_text(**options):
        return charrnn.train_text(page, **options)

    def by_records(**options):
        return charrnn.train_records(records, remember=True, **options)

    first = Training("train_text", by_text, folder)
    yield first
    yield Training("checkpoints all the time", by_text, folder, often=True, steps=9)
    yield Training(
        "the best of four passes", by_text, folder, **held_out, seq_length=30, steps=None, epochs=4, patience=2, learning_rate=1.0
    )
    yield Training("cosine and warmup", by_text, folder, **moving, **held_out, seq_length=20)
    yield Training("LSTM, Adam, dropout", by_text, folder, **deep, steps=9)
    yield Training("two shards", by_text, folder, **deep, **moving, shards=2, steps=9)
    yield Training("two shards of one thread each", by_text, folder, batch_size=4, shards=2, n_threads=2, steps=9, often=True)
    yield Training("two threads", by_text, folder, batch_size=2, n_threads=2, **held_out)
    yield Training("records", by_records, folder, batch_size=3, **held_out, steps=None, epochs=2, often=True)
    yield Training("records, GRU, RMSProp", by_records, folder, batch_size=2, cell="gru", optimizer="rmsprop", learning_rate_decay=0.5)

    book, cache = folder / "book.txt", folder / "cache"
    book.write_text(page, encoding="utf-8")

    def by_file(**options):
        return charrnn.train_file(book, cache=cache, **options)

    yield Training("train_file", by_file, folder, cache=cache, steps=9)
    small = charrnn.train_text(page, hidden_size=5, steps=4, progress=False)

    yield Training("a model goes on", going_on(small), folder, start=small, **held_out, **moving, seq_length=25)

    stopped = folder / "stopped"
    by_text(**first.options | {"steps": 5, "checkpoint": stopped})
    yield Training("resume", by_text, folder, stopped=stopped.read_bytes(), known=first.steps)

    path = folder / "model"
    small.save(path)
    new = path.read_bytes()
    old = pickle.dumps(small)
    yield Using("save", small, lambda: small.save(path), path, None, new)
    yield Using("save over another", small, lambda: small.save(path), path, old, new)
    yield Using("load", small, lambda: learned(charrnn.load(path).network), path, new, new)
    yield Using("pickle", small, lambda: pickle.loads(pickle.dumps(small)).generate(5, seed=1))
    yield Using("generate", small, lambda: (small.generate(20, seed=1), small.generate_many(3, 9, seed=3)))
    yield Using("stream", small, lambda: "".join(small.stream(20, seed=2)))
    yield Using("beam search", small, lambda: small.beam_search(5, width=3))
    yield Using("score", small, lambda: (small.score(page), list(small.score_many(words))))


def process(folder):
    """Return what a call must give back: handlers, threads, open files, and no temporary files."""
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    temporary = [path.name for path in folder.rglob("*") if path.suffix == ".tmp" or path.name.startswith(".")]
    tasks = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0
    files = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    return {"handlers": handlers, "threads": (threading.active_count(), tasks), "open files": files, "temporary files": temporary}


def attempt(case, moment, kind, folder, findings):
    """Interrupt a case at a moment; return whether that came."""
    case.begin()
    before = process(folder)
    error = moment.during(case.call)
    if not moment.came:
        return False
    where = f"{case.name}, {kind} at {moment}"
    if not isinstance(error, KINDS[kind]):
        findings.add("another exception", f"{where}: {error!r:.200}")
    elif kind != "Ctrl-C" and error.args != (WORDS,):
        findings.add("other words", f"{where}: {error!r:.200}")
    if error is not None:
        error.with_traceback(None)
    link = error
    while link is not None:  # a frame holds what was open in it
        link.__traceback__, link = None, link.__context__
    after, until = process(folder), time.monotonic() + 2
    while after["threads"] > before["threads"] and time.monotonic() < until:  # Linux lists one for a moment after it was joined
        time.sleep(0.001)
        after = process(folder)
    if after["open files"] != before["open files"]:
        gc.collect()
        after["open files"] = process(folder)["open files"]
    for what, was in before.items():
        if after[what] != was and not (what == "threads" and after[what] < was):
            findings.add(what, f"{where}: {after[what] if what != 'handlers' else 'others'}")
    for number, handler in before["handlers"].items():
        if signal.getsignal(number) != handler:
            signal.signal(number, handler)
    try:
        for wrong in case.wrong(error):
            findings.add(case.name, f"{where}: {wrong}")
    except Exception as other:
        findings.add("cannot go on", f"{where}: {other!r:.300}")
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=12, help="moments of each case")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--lines", action="store_true", help="at the beginning of any line, not only where Python looks for signals")
    parser.add_argument("--only", default="", help="cases whose name has this")
    arguments = parser.parse_args()
    seed = random.randrange(2**32) if arguments.seed is None else arguments.seed
    draw, findings, came, places, began = random.Random(seed), Findings(), 0, set(), time.perf_counter()
    numbers = {"Ctrl-C": signal.SIGINT, "RuntimeError": signal.SIGUSR1, "TimeoutError": signal.SIGUSR2}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts its background jobs deaf to Ctrl-C
    for kind in ("RuntimeError", "TimeoutError"):
        signal.signal(numbers[kind], raises(KINDS[kind]))
    warnings.simplefilter("ignore", charrnn.TrainingWarning)
    gc.disable()  # a signal in a callback of the collector is swallowed by Python
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for case in cases(folder):
            if arguments.only not in case.name:
                continue
            for wrong in case.sizes():
                findings.add(case.name, wrong)
            case.begin()
            count = Moment(lines=arguments.lines)
            if (error := count.during(case.call)) is not None:
                raise error
            choice = sorted(count.passed)
            for run in range(arguments.runs):
                place, kind = draw.choice(choice), list(KINDS)[run % len(KINDS)]
                moment = Moment(place, draw.randint(1, count.passed[place]), numbers[kind], arguments.lines)
                if attempt(case, moment, kind, folder, findings):
                    came += 1
                    places.add(place)
            gc.collect()
            print(f"{case.name}: {len(choice)} places, {time.perf_counter() - began:.1f} s", flush=True)
    took = time.perf_counter() - began
    findings.end(f"moments: {came} signals at {len(places)} places, {findings.count} findings, {took:.0f} s (seed {seed})")


if __name__ == "__main__":
    main()
