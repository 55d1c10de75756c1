"""The training loop: one `Trainer`, its budget, and what it reports, measures, shows and saves."""

import contextlib
import functools
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from ..data.batches import Stream, TextStream
from ..history import Callback, History, Position, Progress
from ..network import Network, Real
from ..network._types import Parameters
from ..util.errors import DivergedError
from ..util.progress import Display
from .schedule import CONSTANT, Schedule
from .stepper import Stepper

_log = logging.getLogger("charrnn")
_F = TypeVar("_F", bound=Callable[..., Any])
_T = TypeVar("_T")

_CALL_SECONDS = 0.03  # of a call of C: Ctrl-C and the progress bar wait that long
_CALL_CHARACTERS = 1 << 20  # of a call of C, at most: its arrays take memory
_REPORTS_PER_EPOCH = 4
_SAMPLE_LENGTH, _SAMPLE_RECORDS = 200, 5
_SAVE_AT_REPORTS, _SAVE_BETWEEN_REPORTS = 1.0, 30.0  # least seconds between two checkpoints
_SMOOTHING = 0.999  # of the tutorial's smoothed loss, per step


class Budget(NamedTuple):
    """When training ends: at the limit that is reached first. Patience alone is no budget."""

    epochs: float = math.inf
    steps: float = math.inf
    seconds: float = math.inf
    patience: float = math.inf

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> "Budget":
        """Return the Budget of checked options: 10 epochs if they give none."""
        limits = {name: options.get(name) for name in cls._fields}
        if limits["epochs"] is limits["steps"] is limits["seconds"] is None:
            limits["epochs"] = 10
        return cls(**{name: limit for name, limit in limits.items() if limit is not None})

    def limits(self) -> dict[str, float | None]:
        """Return the limits but patience by name, None for those that are not set."""
        given = {"epochs": self.epochs, "steps": self.steps, "seconds": self.seconds}
        return {name: None if math.isinf(limit) else limit for name, limit in given.items()}

    def used(self, epoch: float, step: int, seconds: float) -> float:
        """Return how much of the nearest limit is used up, from 0 to 1."""
        done = (epoch, self.epochs), (step, self.steps), (seconds, self.seconds)
        return min(1.0, max(amount / limit if limit else 1.0 for amount, limit in done))

    def reached(self, at: Position, seconds: float) -> str | None:
        """Return the name of the limit reached at a position, or None."""
        done = {
            "epochs": at.epoch >= self.epochs,
            "steps": at.step >= self.steps,
            "seconds": seconds >= self.seconds,
            "patience": at.best_nll is not None and at.epoch - at.best_epoch >= self.patience,
        }
        return next((name for name, reached in done.items() if reached), None)


def validate(network: Network, stream: Stream) -> float:
    """Return the mean loss over a stream in nats per target, the state carried as in training."""
    work = network.workspace(network.rows(stream.batch_size, stream.seq_length), stream.batch_size)
    windows = max(1, _CALL_CHARACTERS // stream.seq_length) if isinstance(stream, TextStream) else 1
    total = 0.0
    for window in range(0, stream.windows, windows):
        if stream.resets(window):
            work.state[...] = 0
        with np.errstate(over="ignore"):  # of finite losses the sum may be infinite
            total += network.evaluate(work, *stream.read(window, windows)).sum()
    return float(total / stream.targets)


_trainings: WeakKeyDictionary[Any, dict[object, None]] = WeakKeyDictionary()


def train_alone(model: Any, train: Callable[[], _T]) -> _T:
    """Train a model, or raise if it is being trained: one training would undo the other."""
    own, tickets = object(), _trainings.setdefault(model, {})
    try:
        tickets[own] = None
        first, *_ = list(tickets)
        if first is not own:
            how = "wait until that ends, or train a copy (copy.deepcopy)"
            raise RuntimeError(f"this model is being trained already: {how}")
        return train()
    finally:
        tickets.pop(own, None)


def trains_alone(train: _F) -> _F:
    """Have a method that trains a model raise if it is being trained."""

    @functools.wraps(train)
    def guarded(model: Any, *arguments: Any, **options: Any) -> Any:
        return train_alone(model, functools.partial(train, model, *arguments, **options))

    return guarded  # type: ignore[return-value]


@dataclass
class Trainer:
    """One training: what it works on, where it is, and what ends it.

    A signal's handler may raise between any two lines. So what belongs together changes in one
    statement, and `_complete` repeats what may have been cut short: to count, report, compare and
    save twice is the same as once.
    """

    stepper: Stepper  # trains a network on the windows of a stream
    budget: Budget
    history: History = field(default_factory=History)  # is filled as training goes on
    position: Position = field(default_factory=Position)  # where it is, or begins
    schedule: Schedule = CONSTANT
    threshold: float | None = None  # of the smoothed loss of a window, which ends training
    validation: Stream | None = None  # held out: measured after each epoch
    best: Parameters | None = None  # gets the weights of the lowest validation loss, to keep them
    callback: Callback | None = None  # gets each report
    save: Callable[[Position, Real], None] | None = None  # writes a checkpoint, given the states
    model: Any = None  # the CharRNN being trained, for callback and samples
    sample_every: int | None = None  # steps between two samples of it
    progress: bool = False  # whether to show it on stderr
    called: float | None = None  # when the budget of seconds began, by time.perf_counter

    def __post_init__(self) -> None:
        at, stream, network = self.position, self.stepper.stream, self.stepper.learner.network
        if at.smooth_loss is None:
            at.smooth_loss = math.log(network.description.vocab_size) * stream.seq_length
        self.stream: Stream = stream
        self.network: Network = network
        self.display: Display = Display(False)
        began = time.perf_counter() if self.called is None else self.called
        self.started: float = began - at.seconds
        self.first_step: int = at.step
        self.first_character: int = at.characters
        self.seconds_in_steps: float = 0.0
        self.seconds_to_measure: float | None = None
        self.windows_per_call: int = 1
        self.targets: NDArray[np.int32] = np.empty((0, 1), np.int32)  # of the latest call
        self.rows: int = 1  # of each of its windows
        self.saved_at: float = -math.inf
        self.saved_step: int = -1

    def run(self) -> History:
        """Train until something ends it; return the history, with the reason.

        Raises DivergedError if the loss or a gradient of a step is not finite, without that step;
        and what the callback and handlers of signals raise.
        """
        train_alone(self.network, self._run)
        return self.history

    def _run(self) -> None:
        """Train, then keep the best weights: also after Ctrl-C."""
        try:
            self._train_and_save()
        except KeyboardInterrupt:
            self._keep_best()
            raise
        _complete(self._keep_best)

    def _train_and_save(self) -> None:
        """Train, and note what has ended it; then report and save what is left."""
        history, at = self.history, self.position
        history.stop_reason = None
        try:
            self.display = Display(self.progress, self._used())
            history.stop_reason = self._train()
            if history.stop_reason in ("epochs", "steps", "seconds"):
                self.display.finish()
        except KeyboardInterrupt:
            history.stop_reason = "interrupted"
            raise
        except DivergedError:
            history.stop_reason = "diverged"
            raise
        finally:
            with contextlib.closing(self.display):
                _complete(self._report_and_save)
            reason = history.stop_reason
            _log.info("stop reason: %s, after step %d, %.1f s", reason, at.step, at.seconds)

    def _train(self) -> str:
        """Train until something ends it; return what."""
        at = self.position
        if at.window == 0:  # an epoch whose measurement was interrupted
            self._measure_last_report()
            self._note_best()
        while (reason := self._limit()) is None:
            if at.window == 0 or at.step == self.first_step:
                self.stream.begin(at.epoch)
            self._advance(self._windows_to_do())
            if self.sample_every is not None and at.step % self.sample_every == 0:
                self._write_sample()
            if at.window % self._windows_per_report() and self._limit() is None:
                self._save_after(_SAVE_BETWEEN_REPORTS)
            elif (reason := self._stop_at_report()) is not None:
                break
        self._measure_last_report()
        return reason

    # Time and budget.

    def _seconds(self) -> float:
        """Return the seconds since the start; they never fall, whatever a program's clock does."""
        return max(self.position.seconds, time.perf_counter() - self.started)

    def _epochs(self) -> float:
        """Return how many passes are done."""
        return self.position.epoch + self.position.window / self.stream.windows

    def _used(self) -> float:
        """Return how much of the budget is used up, from 0 to 1."""
        return self.budget.used(self._epochs(), self.position.step, self._seconds())

    def _limit(self) -> str | None:
        """Return the limit that is reached, or None: seconds also pay for the last measurement."""
        seconds = self._seconds()
        if self.validation is not None:
            seconds += self._measuring()
        return self.budget.reached(self.position, seconds)

    def _measuring(self) -> float:
        """Return how many seconds it takes to measure the held-out part, about."""
        assert self.validation is not None
        if self.seconds_to_measure is not None:
            return self.seconds_to_measure
        done = self.position.characters - self.first_character
        # A forward pass takes a third of a step.
        return self.validation.targets * self.seconds_in_steps / (3 * done) if done else 0.0

    # Steps.

    def _windows_per_report(self) -> int:
        return -(-self.stream.windows // _REPORTS_PER_EPOCH)

    def _windows_to_do(self) -> int:
        """Return how many windows to train on before something else is due."""
        at, every = self.position, self._windows_per_report()
        to_sample = math.inf
        if self.sample_every is not None:
            to_sample = self.sample_every - at.step % self.sample_every
        to_report = min(every - at.window % every, self.stream.windows - at.window)
        to_budget = self.budget.steps - at.step
        return int(min(self.windows_per_call, to_report, to_sample, to_budget))

    def _advance(self, count: int) -> None:
        """Train on the next windows, at most count."""
        at, stream, stepper = self.position, self.stream, self.stepper
        if stream.resets(at.window):
            stepper.clear()
        count, reset = stream.windows_per_call(at.window, count)
        rows = stream.longest(at.window, count)
        inputs, targets = stream.read(at.window, count)
        self.targets, self.rows = targets, rows
        rates = stepper.learner.learning_rate * self._factors(count)
        before, began = replace(at), time.perf_counter()
        stepper.train(at, inputs, targets, rates, rows, reset)
        took = max(time.perf_counter() - began, 1e-9)  # a test may stop the clock
        self.seconds_in_steps += took
        self._count_steps()
        if at.step < before.step + count:
            raise DivergedError(self._divergence())
        done = at.characters - before.characters
        loss = (at.unreported_loss - before.unreported_loss) / done
        self.display.update(self._used(), *self._words(loss, done / took))
        self.windows_per_call = _next_count(count, took, stream)

    def _factors(self, count: int) -> NDArray[np.float64]:
        """Return what to multiply the learning rate by in each of the next steps."""
        at, steps = self.position, np.arange(count if self.schedule.varies else 1)
        seconds, windows = self._seconds(), self.stream.windows
        # Computed from whole numbers: the last bit doesn't depend on where a call of C begins.
        used = [
            self.budget.used(at.epoch + (at.window + i) / windows, at.step + i, seconds)
            for i in steps.tolist()
        ]
        return self.schedule.factors(at.epoch, at.step + steps, used)

    def _count_steps(self) -> None:
        """Count the steps that C has done since the last count."""
        at, losses = self.position, self.stepper.work.losses
        step = self.first_step + self.stepper.work.steps
        if step == at.step:
            return
        assert losses is not None
        rows = min(len(self.targets), len(losses) * self.rows)
        done = int((self.targets[:rows] >= 0).sum())
        epochs, window = divmod(at.window + len(losses), self.stream.windows)
        vars(at).update(
            step=step,
            epoch=at.epoch + epochs,
            window=window,
            characters=at.characters + done,
            unreported=at.unreported + done,
            unreported_loss=float(np.cumsum(np.append(at.unreported_loss, losses))[-1]),
            smooth_loss=self._smoothed(losses, rows),
        )

    def _divergence(self) -> str:
        """Say what is not finite, and what to change."""
        learner = self.stepper.learner
        value, norm = learner.clip_value, learner.clip_norm
        change = f"clip_value ({value:g})" if math.isinf(norm) else f"clip_norm ({norm:g})"
        if learner.weight_decay * learner.learning_rate > 1:
            change += f", or weight_decay ({learner.weight_decay:g})"
        return (
            f"the {self.stepper.work.overflowed} of step {self.position.step + 1} is not finite; "
            "the weights of the step before are kept. "
            f"Lower learning_rate ({learner.learning_rate:g}) or {change}"
        )

    def _smoothed(self, losses: NDArray[np.float64], rows: int) -> float:
        """Return the smoothed loss of a window after these losses, of so many rows.

        A short last window counts as if it were whole. One loss follows the other: the result
        doesn't depend on how many steps are in a call of C.
        """
        smooth = self.position.smooth_loss
        assert smooth is not None
        scale = np.full(len(losses), 1.0 / self.stream.batch_size)
        scale[-1] *= self.rows / (rows - (len(losses) - 1) * self.rows)
        for loss in (losses * scale).tolist():
            smooth = _SMOOTHING * smooth + (1 - _SMOOTHING) * loss
        return smooth

    # Reports.

    def _stop_at_report(self) -> str | None:
        """Report, at the end of an epoch with the held-out loss; save; return why to stop."""
        epoch_ended = self.validation is not None and self.position.window == 0
        report = self._report(self._measure() if epoch_ended else None)
        self._note_best()
        # Save before the callback, which may raise; and in any case if this is the end.
        self._save_after(0.0 if self._limit() else _SAVE_AT_REPORTS)
        if self.callback is not None:
            answer = self.callback(replace(report, model=self.model))
            if isinstance(answer, (bool, np.bool_)) and answer:
                return "callback"
        if self.threshold is not None and report.smooth_loss <= self.threshold:
            return "threshold"
        return None

    def _report(self, measured: float | None = None) -> Progress:
        """Add a report to the history."""
        at = self.position
        at.seconds = self._seconds()
        assert at.smooth_loss is not None
        nll = at.unreported_loss / at.unreported
        counts = at.step, self._epochs(), at.characters, at.seconds
        report = Progress(*counts, nll, at.smooth_loss, measured)
        self.history.add(report)
        vars(at).update(unreported=0, unreported_loss=0.0)
        held_out = "" if measured is None else f", validation {measured:.4f}"
        losses = f"training {nll:.4f}{held_out} nats per character"
        _log.info("step %d, epoch %.2f, %.1f s: %s", at.step, report.epoch, at.seconds, losses)
        return report

    def _last_report(self) -> Progress | None:
        """Return the report of the latest step, if there is one."""
        reports = self.history.reports
        return reports[-1] if reports and reports[-1].step == self.position.step else None

    def _words(self, nll: float, rate: float) -> Iterator[str]:
        """Say how far it is, the most important first."""
        yield f"{nll:.3f} nats/char"
        for held_out in self.history.validation_losses[-1:]:
            yield f"held out {held_out:.3f}"
        epochs = "" if math.isinf(self.budget.epochs) else f" of {self.budget.epochs:g}"
        yield f"epoch {self._epochs():.2f}{epochs}"
        yield f"{rate / 1000:,.0f}k chars/s"

    def _write_sample(self) -> None:
        """Print what the model writes now."""
        step, count = self.position.step, _SAMPLE_RECORDS if self.model.vocabulary.records else 1
        texts = self.model.generate_many(count, _SAMPLE_LENGTH, seed=step)
        if self.model.vocabulary.of_bytes:
            texts = [text.decode("utf-8", "backslashreplace") for text in texts]
        sample = "\n".join(texts)
        self.display.write(f"--- after {step:,} steps, epoch {self._epochs():.2f}:\n{sample}")

    # The held-out part.

    def _measure(self) -> float:
        """Return the loss of the held-out part."""
        assert self.validation is not None
        began = time.perf_counter()
        measured = validate(self.network, self.validation)
        self.seconds_to_measure = max(0.0, time.perf_counter() - began)
        return measured

    def _measure_last_report(self) -> None:
        """Add the held-out loss to the last report, if it lacks it."""
        last = self._last_report()
        if self.validation is not None and last is not None and last.validation_nll is None:
            self.history.reports[-1] = replace(last, validation_nll=self._measure())

    def _note_best(self) -> None:
        """Note the latest held-out loss and the weights, if it is the best end of an epoch."""
        at, last = self.position, self._last_report()
        measured = None if last is None or at.window else last.validation_nll
        if measured is not None and (at.best_nll is None or measured < at.best_nll):
            if self.best is not None:
                self.best.copy_from(self.network.weights)
            vars(at).update(best_nll=measured, best_epoch=at.epoch, best_step=at.step)

    def _keep_best(self) -> None:
        """Give the network the best weights, unless the latest were measured to be as good."""
        at, last = self.position, self._last_report()
        if self.best is None or at.best_nll is None:
            return
        latest = None if last is None else last.validation_nll
        if latest is None or latest > at.best_nll:
            self.network.weights.copy_from(self.best)
            self.history.kept_step = at.best_step

    # Checkpoints.

    def _report_and_save(self) -> None:
        """Report what is not reported, save what is not saved."""
        self._count_steps()
        if self.position.unreported and self.position.step > self.history.steps:
            self._report()
            self.saved_step = -1  # a checkpoint of this step lacks the report
        # A signal may have come after a report and before this.
        vars(self.position).update(unreported=0, unreported_loss=0.0)
        self._note_best()
        self._save_after(0.0)

    def _save_after(self, seconds: float) -> None:
        """Write a checkpoint if the last one is so old, and of another step."""
        saved = self.save is None or self.saved_step == self.position.step
        if not saved and time.perf_counter() - self.saved_at >= seconds:
            self._write_checkpoint()

    def _write_checkpoint(self) -> None:
        assert self.save is not None
        self.position.seconds = self._seconds()
        try:
            self.save(self.position, self.stepper.get_state())
        except OSError as error:
            if error.errno is not None:  # of the disk, not of a signal's handler: don't try again
                self.save = None
            raise
        self.saved_at, self.saved_step = time.perf_counter(), self.position.step


def _complete(action: Callable[[], None]) -> None:
    """Do an action that may be repeated; again, if a signal's handler raises meanwhile."""
    try:
        action()
    except BaseException:
        action()
        raise


def _next_count(count: int, took: float, stream: Stream) -> int:
    """Return how many windows to give to C next, so that it takes about `_CALL_SECONDS`."""
    affordable = int(count * _CALL_SECONDS / took)
    largest = max(1, _CALL_CHARACTERS // (stream.seq_length * stream.batch_size))
    return max(1, min(affordable, 8 * count, largest))
