"""Raise a signal at chosen moments, and look at what it leaves.

    python tests/trust/moments.py [--runs N] [--seed N] [--lines] [--only NAME]

Each case runs once to see where in the package's code Python looks for signals. Then, N times, a
signal comes at one of those places (each is as likely, however often it is passed), at one of its
turns: Ctrl-C, or one whose handler raises RuntimeError or TimeoutError (an OSError without a
number). The exception must arrive; handlers must be given back; no thread, open file or temporary
file may be left.

A training must leave the weights, the reports and the checkpoint of one whole step, and a model
that works. Resumed from the checkpoint it must give what it gives uninterrupted, bit for bit:
weights, optimizer memory, state, best weights and reports (but for seconds). Any other call must
leave model and files as they were, or the new file whole.

Before that, each training must give the same if C does one step at a time, three, or as many as
it can.
"""

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

from common import Findings, open_files, parser, temporary_files

import calls
import charrnn
from charrnn.storage import model_file
from charrnn.training import loop

SOURCES = str(Path(charrnn.__file__).parent), contextlib.__file__
KINDS = {"Ctrl-C": KeyboardInterrupt, "RuntimeError": RuntimeError, "TimeoutError": TimeoutError}
NUMBERS = dict(zip(KINDS, (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2), strict=True))
WORDS = "of the host's handler"
NEVER = 1e9  # seconds
SIZES = {"one": (NEVER, 1), "three": (NEVER, 3), "many": (NEVER, 1 << 20)}  # seconds, windows in C


@functools.cache
def looks(code):
    """Return where Python has just looked for signals: after a call, a start, a jump back."""
    instructions = list(dis.get_instructions(code))
    pairs = itertools.pairwise(instructions)
    after = {one.offset for last, one in pairs if last.opname.startswith(("CALL", "RESUME"))}
    jumps = (one for one in instructions if one.opname.startswith("JUMP_BACKWARD"))
    return after | {one.argval for one in jumps}


class Moment:
    """Runs a call and raises a signal when it passes a place for a certain time.

    Without a place it counts those that are passed. A place is where Python looks for signals, or,
    with lines, the beginning of any line: more than can happen, today.
    """

    def __init__(self, place=None, turn=0, number=signal.SIGINT, lines=False):
        self.place, self.turn, self.number, self.lines = place, turn, number, lines
        self.passed, self.came, self.returned = Counter(), False, False

    def local(self, frame, event, _):
        # Python looks after a return from C, not after one from Python's code.
        looking = event == "opcode" and not self.returned and frame.f_lasti in looks(frame.f_code)
        if event == "line" or looking:
            code = frame.f_code
            place = code.co_filename, frame.f_lineno, frame.f_lasti, code.co_qualname
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
        return f"{os.path.basename(file)}:{line} ({name}, {offset}, turn {self.turn})"


def raises(kind):
    def handler(number, frame):
        raise kind(WORDS)

    return handler


def bits(parameters):
    return None if parameters is None else calls.digest(parameters.block)


def learned(network):
    """Return digests of all that a network has learned."""
    return bits(network.weights), bits(network.memory), bits(network.momentum)


def contents(report, nll=True):
    """Return a report but for the time, and perhaps the mean since the report before."""
    figures = {**asdict(report), "seconds": None, "model": None}
    return figures if nll else {**figures, "nll": None}


def read(path):
    return path.read_bytes() if path.exists() else None


class Training:
    """A training, judged by what it gives uninterrupted, step by step."""

    def __init__(
        self, name, train, folder, often=False, start=None, stopped=None, known=(), **options
    ):
        self.name, self.train, self.often = name, train, often
        self.start = None if start is None else learned(start.network)  # of a model that goes on
        fixed = {"hidden_size": 4, "seq_length": 7, "seed": 3, "steps": 14}
        self.options = {
            "preset": "tutorial",
            **fixed,
            "progress": False,
            "validation_fraction": 0,
            **options,
        }
        self.stopped = stopped  # the bytes of a checkpoint to resume from
        self.first = 0 if stopped is None else charrnn.load(stopped).history.steps
        self.folder, self.path, self.steps = folder, folder / "checkpoint", dict(known)
        self.begin()
        advance = loop.Trainer._advance

        def noted(run, count):
            advance(run, count)
            at, state = run.position, calls.digest(run.stepper.get_state())
            known = learned(run.network), state, at.smooth_loss, at.characters
            self.steps[at.step] = known

        loop.Trainer._advance = noted
        try:
            self.model = self.call()
        finally:
            loop.Trainer._advance = advance
        self.end = self.saved()
        self.reports = {report.step: report for report in self.model.history.reports}

    def begin(self):
        """Start with no checkpoint, or the given one; C does a step at a time, as lines repeat."""
        loop._CALL_SECONDS, loop._CALL_CHARACTERS = SIZES["one"]
        between = 0 if self.often else NEVER
        loop._SAVE_AT_REPORTS, loop._SAVE_BETWEEN_REPORTS = 0, between
        self.path.unlink(missing_ok=True)
        for kept in (self.folder / "cache").glob("*"):
            kept.unlink()
        if self.stopped is not None:
            self.path.write_bytes(self.stopped)

    def call(self, **more):
        resume = None if self.stopped is None else self.path
        return self.train(**{**self.options, "checkpoint": self.path, "resume": resume, **more})

    def saved(self):
        """Return digests of all that the checkpoint holds of the training."""
        saved = model_file.load(self.path)
        at = {name: x for name, x in asdict(saved.training.position).items() if name != "seconds"}
        state = calls.digest(saved.training.state)
        return learned(saved.learner.network), state, bits(saved.training.best), at

    def sizes(self):
        """Yield what is wrong if C does some steps at a time."""
        for name, (seconds, windows) in SIZES.items():
            self.begin()
            window = self.options["seq_length"] * self.options.get("batch_size", 1)
            loop._CALL_SECONDS, loop._CALL_CHARACTERS = seconds, max(1, windows * window)
            model = self.call()
            if learned(model.network) != learned(self.model.network) or self.saved() != self.end:
                yield f"{name} at a time: other bits"
            reports = [list(map(contents, one.history.reports)) for one in (model, self.model)]
            if reports[0] != reports[1]:
                yield f"{name} at a time: other reports"

    def problems(self, error):
        """Yield what is wrong after an interruption."""
        saved = model_file.load(self.path) if self.path.exists() else None
        step = 0
        if saved is not None:
            step = saved.history.steps
            yield from self.problems_of(saved)
        model = getattr(error, "model", None)
        untouched = model is not None and step == 0 and learned(model.network) == self.start
        if model is not None and not untouched:
            yield from self.problems_with(model, step)
        elif model is None and step not in (self.first, max(self.steps)):
            yield f"no model, though a checkpoint of step {step}"
        again = self.call(resume=None if saved is None else self.path)
        results = [
            (bits(one.network.weights), one.history.kept_step) for one in (again, self.model)
        ]
        if results[0] != results[1]:
            yield f"resumed from step {step} it gives other weights, of {again.history.kept_step}"
        if (end := self.saved()) != self.end:
            yield f"resumed from step {step} it ends elsewhere: {end[3]}, not {self.end[3]}"
        yield from self.problems_in(again.history.reports, whole=True)

    def problems_with(self, model, step):
        """Yield what is wrong with the model that an exception has, beside a checkpoint of step."""
        history = model.history
        kept = history.kept_step or history.steps
        if history.steps and bits(model.network.weights) != self.steps[kept][0][0]:
            yield f"the weights are not those of step {kept}"
        yield from self.problems_in(history.reports)
        model.generate(5, seed=1)
        pickle.loads(pickle.dumps(model))
        if step != history.steps and (step, history.steps) != (self.first, 0):
            yield f"the checkpoint is of step {step}, the history of {history.steps}"

    def problems_of(self, saved):
        """Yield what is wrong in a checkpoint."""
        at, network, best = saved.training.position, saved.learner.network, saved.training.best
        if at.step:
            state = saved.training.state  # zero, too, if the next step begins with that
            found = learned(network), calls.digest(state), at.smooth_loss, at.characters
            names = "weights or memory", "state", "loss", "number of characters"
            for what, one, other in zip(names, found, self.steps[at.step], strict=True):
                if one != other and not (what == "state" and not state.any()):
                    yield f"the checkpoint has another {what} than step {at.step}"
        if at.best_nll is not None:
            if best is not None and bits(best) != self.steps[at.best_step][0][0]:
                yield f"the best weights are not those of step {at.best_step}"
            if at.best_nll != self.reports[at.best_step].validation_nll:
                yield f"the best loss is not that of step {at.best_step}"
        yield from self.problems_in(saved.history.reports)
        if saved.history.steps != at.step and not at.unreported:
            yield f"the checkpoint is of step {at.step}, its reports end at {saved.history.steps}"

    def problems_in(self, reports, whole=False):
        """Yield what is wrong in reports; those of an interrupted training may have one more."""
        if whole and not self.reports.keys() <= {report.step for report in reports}:
            yield "reports are missing"
        for before, report in itertools.pairwise([None, *reports]):
            expected = self.reports.get(report.step)
            if expected is None:
                if (report.smooth_loss, report.characters) != self.steps[report.step][2:]:
                    yield f"the report of step {report.step} is not of that step"
                continue
            if report.validation_nll is None and not whole:  # not measured yet
                report = loop.replace(report, validation_nll=expected.validation_nll)
            usual = before is None or before.step in self.reports
            if contents(report, usual) != contents(expected, usual):
                yield f"the report of step {report.step} is {report}, not {expected}"


class Use:
    """A call that must leave a model as it was, and a file old or new."""

    def __init__(self, name, model, call, path, old=None, new=None):
        self.name, self.model, self.call, self.path = name, model, call, path
        self.old, self.new, self.before = old, new, calls.digest(model)
        self.begin()
        self.result = calls.digest(call())
        self.new = self.new or read(path)

    def begin(self):
        self.path.unlink(missing_ok=True)
        if self.old is not None:
            self.path.write_bytes(self.old)

    def sizes(self):
        return ()

    def problems(self, error):
        if calls.digest(self.model) != self.before:
            yield "the model is another"
        if read(self.path) not in (self.old, self.new):
            yield "neither the old file nor the new one"
        if calls.digest(self.call()) != self.result:
            yield "once more it gives something else"


def going_on(model):
    """Return a function that trains a copy of a model further."""
    page = calls.text(220)[::-1] + "äöü"

    def train(hidden_size, **options):  # which the model has
        changed = copy.copy(model)
        try:
            return changed.train_text(page, extend=True, **options)
        except BaseException as error:
            if getattr(error, "model", changed) is not changed:
                raise AssertionError("the exception has another model") from error
            error.model = changed
            raise

    return train


def trainings(folder):
    """Yield trainings to interrupt."""
    page = calls.text(180)
    words = page.split()[:24]
    records = [*words, " ".join(words) * 2, "", " ".join(words[:20]), "a"]
    best = {"validation_fraction": 0.2, "keep": "best"}
    passes = {"steps": None, "seq_length": 30, "epochs": 4, "patience": 2, "learning_rate": 1.0}
    deep = {"cell": "lstm", "optimizer": "adam", "n_layers": 2, "dropout": 0.3, "batch_size": 2}
    gru = {"cell": "gru", "optimizer": "rmsprop", "batch_size": 2, "learning_rate_decay": 0.5}
    moving = {"schedule": "cosine", "warmup": 3}
    two = {"batch_size": 4, "shards": 2, "n_threads": 2, "steps": 9}
    epochs = {"batch_size": 3, "steps": None, "epochs": 2}
    (folder / "book.txt").write_text(page, encoding="utf-8")
    by_text = functools.partial(charrnn.train_text, page)
    by_records = functools.partial(charrnn.train_records, records, remember=True)
    by_file = functools.partial(
        charrnn.train_file, folder / "book.txt", cache=folder / "cache", steps=9
    )
    small = charrnn.train_text(page, hidden_size=5, steps=4, progress=False, preset="tutorial")
    first = Training("train_text", by_text, folder)
    yield first
    yield Training("checkpoints all the time", by_text, folder, often=True, steps=9)
    yield Training("the best of four passes", by_text, folder, **best | passes)
    yield Training("cosine and warmup", by_text, folder, **moving, **best, seq_length=20)
    yield Training("LSTM, Adam, dropout", by_text, folder, **deep, steps=9)
    yield Training("two shards", by_text, folder, **deep, **moving, shards=2, steps=9)
    yield Training("two shards of one thread each", by_text, folder, often=True, **two)
    yield Training("two threads", by_text, folder, batch_size=2, n_threads=2, **best)
    yield Training("records", by_records, folder, often=True, **best | epochs)
    yield Training("records, GRU, RMSProp", by_records, folder, **gru)
    yield Training("train_file", by_file, folder, steps=9)
    further = {**best, **moving, "seq_length": 25}
    yield Training("a model goes on", going_on(small), folder, start=small, **further)
    stopped = folder / "stopped"
    by_text(**first.options | {"steps": 5, "checkpoint": stopped})
    known = {"stopped": stopped.read_bytes(), "known": first.steps}
    yield Training("resume", by_text, folder, **known)


def cases(folder):
    """Yield what to interrupt."""
    yield from trainings(folder)
    for model in (calls.text_model(hidden_size=5), calls.record_model()):
        path = folder / "saved"
        for name, call in calls.uses(model, folder).items():
            title = f"{name}, records" if model.vocabulary.records else name
            yield Use(title, model, call, path)
            if name == "CharRNN.save":
                yield Use(f"{title} over another", model, call, path, old=pickle.dumps(model))
                load = functools.partial(charrnn.load, path)
                yield Use(f"load {title}", model, load, path, old=calls.saved(model.save, path))


def process(folder):
    """Return what a call must give back: handlers, threads, open files, temporary files."""
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    tasks = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0
    return {
        "handlers": handlers,
        "threads": (threading.active_count(), tasks),
        "open files": open_files() if os.path.isdir("/proc/self/fd") else 0,
        "temporary files": temporary_files(folder),
    }


def forget_frames(error):
    """Let go of what an exception's frames hold: open files among it."""
    while error is not None:
        error.__traceback__, error = None, error.__context__


def attempt(case, moment, kind, folder, findings):
    """Interrupt a case at a moment; return whether that came."""
    case.begin()
    before = process(folder)
    error = moment.during(case.call)
    if not moment.came:
        return False
    where = f"{case.name}, {kind} at {moment}"
    right = isinstance(error, KINDS[kind])
    findings.expect(right, "another exception", f"{where}: {error!r:.200}")
    right = kind == "Ctrl-C" or error is None or error.args == (WORDS,)
    findings.expect(right, "other words", f"{where}: {error!r:.200}")
    forget_frames(error)
    after, until = process(folder), time.monotonic() + 2
    while after["threads"] > before["threads"] and time.monotonic() < until:
        time.sleep(0.001)  # Linux lists a thread for a moment after it was joined
        after = process(folder)
    if after["open files"] != before["open files"]:
        gc.collect()
        after["open files"] = process(folder)["open files"]
    for what, was in before.items():
        equal = after[what] == was or (what == "threads" and after[what] < was)
        findings.expect(equal, what, f"{where}: {after[what] if what != 'handlers' else 'others'}")
    for number, handler in before["handlers"].items():
        if signal.getsignal(number) != handler:
            signal.signal(number, handler)
    try:
        for problem in case.problems(error):
            findings.add(case.name, f"{where}: {problem}")
    except Exception as other:
        findings.add("cannot go on", f"{where}: {other!r:.300}")
    return True


def interrupt(case, draw, arguments, folder, findings):
    """Interrupt a case at random moments; return the places at which a signal came."""
    for wrong in case.sizes():
        findings.add(case.name, wrong)
    case.begin()
    count, places = Moment(lines=arguments.lines), []
    if (error := count.during(case.call)) is not None:
        raise error
    for run in range(arguments.runs if count.passed else 0):
        place, kind = draw.choice(sorted(count.passed)), list(KINDS)[run % len(KINDS)]
        turn = draw.randint(1, count.passed[place])
        moment = Moment(place, turn, NUMBERS[kind], arguments.lines)
        places += [place] * attempt(case, moment, kind, folder, findings)
    gc.collect()
    print(f"{case.name}: {len(count.passed)} places", flush=True)
    return places


def main():
    arguments = parser(__doc__, 12)
    arguments.add_argument("--seed", type=int, default=random.randrange(2**32))
    arguments.add_argument("--lines", action="store_true", help="at the beginning of any line")
    arguments.add_argument("--only", default="", help="cases whose name has this")
    arguments, findings, places = arguments.parse_args(), Findings(), []
    draw, began = random.Random(arguments.seed), time.perf_counter()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore Ctrl-C
    for kind in ("RuntimeError", "TimeoutError"):
        signal.signal(NUMBERS[kind], raises(KINDS[kind]))
    warnings.simplefilter("ignore", charrnn.TrainingWarning)
    gc.disable()  # Python swallows a signal in a callback of the collector
    with tempfile.TemporaryDirectory() as name:
        for case in cases(Path(name)):
            if arguments.only in case.name:
                places += interrupt(case, draw, arguments, Path(name), findings)
    took = f"{time.perf_counter() - began:.0f} s (seed {arguments.seed})"
    findings.end(f"moments: {len(places)} signals at {len({*places})} places, {took}")


if __name__ == "__main__":
    main()
