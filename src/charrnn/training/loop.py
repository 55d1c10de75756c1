"""The only training loop in Python: budgets, validation, reports, progress, interruption."""

import contextlib
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..data.batches import Stream, TextStream
from ..history import Callback, History, Position, Progress
from ..network import Network, Real
from ..network._types import Parameters
from ..network.learner import Learner
from ..util.errors import DivergedError, check_integer, check_number
from ..util.progress import Display, check_progress
from ..util.signals import Later
from .schedule import CONSTANT, Schedule
from .stepper import Stepper

_log = logging.getLogger("charrnn")

_CROSSING = 0.03  # seconds in C at a time: Ctrl-C and the progress bar wait that long
_LARGEST_CROSSING = 1 << 20  # characters handed to C at a time: bounds the memory of a crossing
_REPORTS_PER_EPOCH = 4
_SAMPLE, _RECORDS = 200, 5  # characters of a sample, at most; records in one
_SAVE_AT_REPORTS, _SAVE_BETWEEN_REPORTS = 1.0, 30.0  # seconds between two checkpoints, at least
_SMOOTHING = 0.999  # of the tutorial's smoothed loss, per step


class Budget(NamedTuple):
    """When training ends; the first limit reached counts. No budget given: 10 epochs. patience alone is not a budget."""

    epochs: float
    steps: float
    seconds: float
    patience: float

    @classmethod
    def check(
        cls,
        epochs: int | None = None,
        steps: int | None = None,
        seconds: float | None = None,
        patience: int | None = None,
    ) -> "Budget":
        """Return a Budget of valid limits, or raise."""
        if epochs is None and steps is None and seconds is None:
            epochs = 10
        return cls(
            math.inf if epochs is None else check_integer("epochs", epochs, 0),
            math.inf if steps is None else check_integer("steps", steps, 0, 2**63 - 1),
            math.inf if seconds is None else check_number("seconds", seconds, minimum=0),
            math.inf if patience is None else check_integer("patience", patience, 1),
        )

    def used(self, epoch: float, step: int, seconds: float) -> float:
        """Return how much of the limit that is nearest is used up, from 0 to 1."""
        done = (epoch, self.epochs), (step, self.steps), (seconds, self.seconds)
        return min(1.0, max(amount / limit if limit else 1.0 for amount, limit in done))

    def reached(self, at: Position, seconds: float) -> str | None:
        """Return the name of the limit reached at a Position, or None."""
        done = {
            "epochs": at.epoch >= self.epochs,
            "steps": at.step >= self.steps,
            "seconds": seconds >= self.seconds,
            "patience": at.best_nll is not None and at.epoch - at.best_epoch >= self.patience,
        }
        return next((name for name, reached in done.items() if reached), None)


def check_callback(callback: Any) -> None:
    """Raise TypeError if callback is neither None nor callable."""
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable, not {callback!r}")


def validate(network: Network, stream: Stream) -> float:
    """Return the mean loss over a stream in nats per target, weights frozen, the state carried as in training."""
    work = network.workspace(network.rows(stream.batch_size, stream.seq_length), stream.batch_size)
    total = 0.0
    at_a_time = (
        max(1, _LARGEST_CROSSING // stream.seq_length) if isinstance(stream, TextStream) else 1
    )
    for window in range(0, stream.windows, at_a_time):
        if stream.resets(window):
            work.state[...] = 0
        with np.errstate(over="ignore"):  # of finite losses the sum may be infinite
            total += network.evaluate(work, *stream.read(window, at_a_time)).sum()
    return float(total / stream.targets)


def fit(
    learner: Learner,
    stream: Stream,
    *,
    history: History | None = None,
    progress: bool | None = False,
    **options: Any,
) -> History:
    """Train the network of a learner on stream until a budget is used up; return a History.

    It is filled as training goes on, so that it is there when an exception ends it: DivergedError if the loss or a gradient of a step
    is not finite; that step is not applied. progress is whether to show on stderr how far it is. The options are those of
    `Budget.check` and the fields of `_Run`.
    """
    budget = Budget.check(
        **{name: options.pop(name, None) for name in ("epochs", "steps", "seconds", "patience")}
    )
    history = History() if history is None else history
    show = check_progress(progress)
    run = _Run(learner, stream, history, budget, **options)
    run.display = display = Display(show, run.used())
    try:
        history.stop_reason = run.until_stopped()
        if history.stop_reason in ("epochs", "steps", "seconds"):
            display.finish()
    except KeyboardInterrupt:
        history.stop_reason = "interrupted"
        raise
    except DivergedError:
        history.stop_reason = "diverged"
        raise
    finally:
        with contextlib.closing(display):
            run.conclude()
        _log.info(
            "ended by %s after step %d, %.1f s", history.stop_reason, run.at.step, run.at.seconds
        )
    return history


@dataclass
class _Run:
    """One training: what it works on, and what is not reported yet."""

    learner: Learner
    stream: Stream
    history: History
    budget: Budget
    schedule: Schedule = CONSTANT  # how the learning rate moves
    masks: int = 0  # the seed of what dropout drops
    stepper: Stepper | None = None  # how windows are trained on, by default as a whole
    threshold: float | None = (
        None  # stop when the smoothed loss of a window falls to it (looked at with each report)
    )
    validation: Stream | None = None  # what is held out, to be measured after each epoch
    best: Parameters | None = (
        None  # gets the weights of the epoch whose validation loss was the lowest so far
    )
    callback: Callback | None = (
        None  # called with each Progress; returns True to stop. What it raises ends the training
    )
    position: Position | None = None  # where to go on, None from the start; with it
    state: Real | None = None  # the hidden state there, (batch_size, units)
    save: Callable[[Position, Real], None] | None = (
        None  # called with a Position and the state: at the end, and now and then before
    )
    model: Any = None  # the CharRNN of the learner, for the callback and the samples
    sample_every: int | None = None  # steps after which it writes a sample, again and again
    called: float | None = (
        None  # when the clock of the budget began to run, by time.perf_counter; None: now
    )

    def __post_init__(self) -> None:
        check_callback(self.callback)
        if self.threshold is not None:
            check_number("threshold", self.threshold)
        network, stream = self.learner.network, self.stream
        self.at = at = Position() if self.position is None else self.position
        self.hands = (
            Stepper(self.learner, stream, self.masks) if self.stepper is None else self.stepper
        )
        self.work = self.hands.work
        if self.state is not None:
            self.hands.set_state(self.state)
        self.first = at.step
        self.crossing = 1  # windows to hand to C next
        self.crossed: tuple[NDArray[np.int32], int] | None = (
            None  # the targets handed to C last, and the rows of a window
        )
        self.started = (time.perf_counter() if self.called is None else self.called) - at.seconds
        # Where it began, and the seconds in C since: what is shown and saved meanwhile tells nothing of the speed.
        self.began, self.learning = at.characters, 0.0
        self.measuring: float | None = None  # seconds that it took to measure the held-out part
        self.saved, self.saved_step = -math.inf, -1  # when the last checkpoint was written
        if at.smooth_loss is None:
            at.smooth_loss = math.log(network.description.vocab_size) * stream.seq_length
        self.display: Display = Display(False, 0)
        self.later: Later = Later()  # signals while a checkpoint is written

    def seconds(self) -> float:
        """Return the seconds since the start; they go on, whatever clock a program has put in the place of Python's."""
        return max(self.at.seconds, time.perf_counter() - self.started)

    def epoch(self) -> float:
        """Return how many passes are done."""
        return self.at.epoch + self.at.window / self.stream.windows

    def used(self) -> float:
        """How much of the budget is used up."""
        return self.budget.used(self.epoch(), self.at.step, self.seconds())

    def committed(self) -> float:
        """Seconds since the start, and those that measuring the held-out part will still take: a budget is for both."""
        now, rate = self.seconds(), 0.0
        if self.validation is None:
            return now
        if self.measuring is None:  # a pass forward is a third of a step
            rate = 3 * (self.at.characters - self.began) / max(self.learning, 1e-9)
            return now + (self.validation.targets / rate if rate else 0)
        return now + self.measuring

    def measure(self) -> float:
        """Return the loss of the held-out part."""
        assert self.validation is not None
        began = time.perf_counter()
        measured = validate(self.learner.network, self.validation)
        self.measuring = max(0.0, time.perf_counter() - began)
        return measured

    def measure_late(self) -> None:
        """Measure the pass that a training before has done, if its end came before that: who goes on was never interrupted."""
        at, reports = self.at, self.history.reports
        ended = at.window == 0 and bool(reports) and reports[-1].step == at.step
        if self.validation is not None and ended and reports[-1].validation_nll is None:
            reports[-1] = replace(reports[-1], validation_nll=self.measure())
            self.compare()

    def until_stopped(self) -> str:
        """Train until something ends it; return what."""
        at, stream, budget = self.at, self.stream, self.budget
        self.measure_late()
        while (reason := budget.reached(at, self.committed())) is None:
            if at.window == 0 or at.step == self.first:
                stream.begin(at.epoch)
            report_every = -(-stream.windows // _REPORTS_PER_EPOCH)
            to_report = report_every - at.window % report_every
            to_sample = (
                math.inf
                if self.sample_every is None
                else self.sample_every - at.step % self.sample_every
            )
            self.advance(
                int(
                    min(
                        self.crossing,
                        stream.windows - at.window,
                        to_report,
                        to_sample,
                        budget.steps - at.step,
                    )
                )
            )
            if self.sample_every is not None and at.step % self.sample_every == 0:
                self.write_sample()
            epoch_ended = at.window == 0
            if not (
                epoch_ended or at.window % report_every == 0 or budget.reached(at, self.committed())
            ):
                self.save_after(_SAVE_BETWEEN_REPORTS)
                continue
            measured = None
            if self.validation is not None and (
                epoch_ended or budget.reached(at, self.committed())
            ):
                measured = self.measure()
            report = self.report(measured)
            self.compare()
            # Before the callback, which may raise; and whenever this is the end.
            self.save_after(0 if budget.reached(at, self.committed()) else _SAVE_AT_REPORTS)
            if self.answer(report):
                reason = "callback"
                break
            if self.threshold is not None and report.smooth_loss <= self.threshold:
                reason = "threshold"
                break
        reports = self.history.reports
        if self.validation is not None and reports and reports[-1].validation_nll is None:
            reports[-1] = replace(reports[-1], validation_nll=self.measure())
        return reason

    def answer(self, report: Progress) -> bool:
        """Return whether the callback asks to stop."""
        if self.callback is None:
            return False
        answer = self.callback(replace(report, model=self.model))
        return isinstance(answer, (bool, np.bool_)) and bool(answer)

    def write_sample(self) -> None:
        """Print what the model writes, and the step."""
        step, records = self.at.step, self.model.vocabulary.records
        texts = self.model.generate_many(_RECORDS if records else 1, _SAMPLE, seed=step)
        shown = "\n".join(
            text.decode("utf-8", "backslashreplace") if isinstance(text, bytes) else text
            for text in texts
        )
        self.display.write(f"--- after {step:,} steps, epoch {self.epoch():.2f}:\n{shown}")

    def advance(self, count: int) -> None:
        """Train on the next windows, at most count."""
        at, stream, learner = self.at, self.stream, self.learner
        if stream.resets(at.window):
            self.hands.clear()
        count, reset = stream.together(at.window, count)
        T = stream.longest(at.window, count)
        inputs, targets = stream.read(at.window, count)
        self.crossed = targets, T
        rates = learner.learning_rate * self.factors(count)
        step, characters, loss, before = (
            at.step,
            at.characters,
            at.unreported_loss,
            time.perf_counter(),
        )
        self.hands.train(at, inputs, targets, rates, T, reset)
        took = max(time.perf_counter() - before, 1e-9)  # a test may stop the clock
        self.learning += took
        self.settle()
        if at.step < step + count:
            raise DivergedError(
                f"the {self.hands.overflowed} of step {at.step + 1} is not finite; the weights of the step before are kept. "
                f"Lower learning_rate ({learner.learning_rate:g}) or clip_{self.clipped()}"
            )
        done = at.characters - characters
        self.display.update(
            self.used(), *self.words((at.unreported_loss - loss) / done, done / took)
        )
        self.crossing = _next_crossing(count, took, stream)

    def factors(self, count: int) -> NDArray[np.float64]:
        """Return what the learning rate of each of the next steps is multiplied by."""
        at, steps = self.at, np.arange(count if self.schedule.varies else 1)
        seconds, windows = self.seconds(), self.stream.windows
        # Of whole numbers: a rate does not depend, in its last bit, on the step with which C was begun.
        used = [
            self.budget.used(at.epoch + (at.window + i) / windows, at.step + i, seconds)
            for i in steps.tolist()
        ]
        return self.schedule.factors(at.epoch, at.step + steps, used)

    def clipped(self) -> str:
        """Say to what gradients are clipped; and how weights decay, if that is more than they are."""
        learner = self.learner
        clipped = (
            f"value ({learner.clip_value:g})"
            if math.isinf(learner.clip_norm)
            else f"norm ({learner.clip_norm:g})"
        )
        shrinks = learner.weight_decay * learner.learning_rate <= 1
        return clipped if shrinks else f"{clipped}, or weight_decay ({learner.weight_decay:g})"

    def words(self, nll: float, rate: float) -> list[str]:
        """Say where it stands, the most important first."""
        held_out = self.history.validation_losses[-1:]
        epochs = "" if math.isinf(self.budget.epochs) else f" of {self.budget.epochs:g}"
        return [
            f"{nll:.3f} nats/char",
            *(f"held out {loss:.3f}" for loss in held_out),
            f"epoch {self.epoch():.2f}{epochs}",
            f"{rate / 1000:,.0f}k chars/s",
        ]

    def settle(self) -> None:
        """Take account of the steps that C has done since: of all at once, or not yet, as Ctrl-C may come between any two lines."""
        at, losses = self.at, self.work.losses
        steps = self.first + self.work.steps
        if steps == at.step:
            return
        assert self.crossed is not None
        assert losses is not None
        assert at.smooth_loss is not None
        targets, T = self.crossed
        rows = min(len(targets), len(losses) * T)
        done = int((targets[:rows] >= 0).sum())
        epochs, window = divmod(at.window + len(losses), self.stream.windows)
        vars(at).update(
            step=steps,
            epoch=at.epoch + epochs,
            window=window,
            characters=at.characters + done,
            unreported=at.unreported + done,
            unreported_loss=float(np.cumsum(np.append(at.unreported_loss, losses))[-1]),
            smooth_loss=_smoothed(at.smooth_loss, losses, rows, T, self.stream.batch_size),
        )

    def conclude(self) -> None:
        """Report what is not reported and save what is not saved, whatever has ended the training."""
        self.later.restore()  # a handler of the host's may have raised before it was done
        self.settle()
        if self.at.unreported and self.at.step > self.history.steps:
            self.report()
            self.saved_step = -1  # a checkpoint of this step has not had the report
        # What ended it may have come after a report, and before this.
        vars(self.at).update(unreported=0, unreported_loss=0.0)
        self.compare()
        if self.unsaved():
            self.write_checkpoint()

    def compare(self) -> None:
        """Take note of the validation loss in the latest report, and of the weights, if it is the best at the end of an epoch.

        Doing so twice is doing so once; the weights come first, as Ctrl-C may come between any two lines.
        """
        at, reports = self.at, self.history.reports
        measured = (
            reports[-1].validation_nll
            if reports and reports[-1].step == at.step and at.window == 0
            else None
        )
        if measured is not None and (at.best_nll is None or measured < at.best_nll):
            if self.best is not None:
                self.best.copy_from(self.learner.network.weights)
            vars(at).update(best_nll=measured, best_epoch=at.epoch, best_step=at.step)

    def report(self, measured: float | None = None) -> Progress:
        """Add a report to the history."""
        at = self.at
        at.seconds = self.seconds()
        assert at.smooth_loss is not None
        passed = self.epoch()
        report = Progress(
            at.step,
            passed,
            at.characters,
            at.seconds,
            at.unreported_loss / at.unreported,
            at.smooth_loss,
            measured,
        )
        self.history.add(report)
        vars(at).update(unreported=0, unreported_loss=0.0)
        _log.info("step %d, epoch %.2f, %.1f s: %s", at.step, passed, at.seconds, _figures(report))
        return report

    def save_after(self, seconds: float) -> None:
        """Write a checkpoint if the last one is so old, and of another step."""
        if self.unsaved() and time.perf_counter() - self.saved >= seconds:
            # An end would begin it anew, which takes longer than to finish it; but between two reports it has to, for the last one.
            self.later = Later()
            with contextlib.nullcontext() if self.at.unreported else self.later:
                self.write_checkpoint()

    def unsaved(self) -> bool:
        """Whether there is a checkpoint to write."""
        return self.save is not None and self.saved_step != self.at.step

    def write_checkpoint(self) -> None:
        """Hand what a checkpoint is of to who writes it."""
        assert self.save is not None
        self.at.seconds = self.seconds()
        try:
            self.save(self.at, self.hands.get_state())
        except OSError as error:
            if error.errno is not None:  # the disk's, and no signal handler's: nor at the end
                self.save = None
            raise
        self.saved, self.saved_step = time.perf_counter(), self.at.step


def _figures(report: Progress) -> str:
    measured = "" if report.validation_nll is None else f", validation {report.validation_nll:.4f}"
    return f"training {report.nll:.4f}{measured} nats per character"


def _smoothed(
    smooth: float, losses: NDArray[np.float64], rows: int, T: int, batch_size: int
) -> float:
    """Return the exponentially smoothed loss per window of T rows after these losses, a short last window counted as if it were whole.

    One after the other, as the sum of the reported loss is taken: the figures do not depend on how many steps C was handed at a time.
    """
    scale = np.full(len(losses), 1.0 / batch_size)
    scale[-1] *= T / (rows - (len(losses) - 1) * T)
    for loss in (losses * scale).tolist():
        smooth = _SMOOTHING * smooth + (1 - _SMOOTHING) * loss
    return smooth


def _next_crossing(count: int, took: float, stream: Stream) -> int:
    """Return how many windows to hand to C next, so that it is away for about _CROSSING seconds."""
    affordable = int(count * _CROSSING / took)
    largest = max(1, _LARGEST_CROSSING // (stream.seq_length * stream.batch_size))
    return max(1, min(affordable, 8 * count, largest))
