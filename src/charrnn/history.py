"""What a training did: reports as it goes, all of them at its end."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeAlias, overload

from .util.errors import check_integer, check_number, short_repr

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

    from .model import CharRNN
    from .plotting import LossFigure

LARGEST_LOSS = (
    1e280  # of a step of training, in nats: sums and means over any number of steps are finite then
)


@dataclass(frozen=True)
class Progress:
    """One report.

    Attributes
    ----------
    step : int
        Updates done.
    epoch : float
        Passes over the training text done.
    characters : int
        Targets trained on.
    seconds : float
        Since the start.
    nll : float
        Training loss since the last report, nats per character.
    smooth_loss : float
        The tutorial's figure: nats per window of seq_length characters, smoothed over about 1,000 steps.
    validation_nll : float or None
        Loss on the held-out text with frozen weights, nats per character; at the end of an epoch and of training, if there is such a
        text (what an exception ends has none).
    model : CharRNN
        In a callback of a train function the model as it is now, to write a sample, score or save it; elsewhere None.
    """

    step: int
    epoch: float
    characters: int
    seconds: float
    nll: float
    smooth_loss: float
    validation_nll: float | None = None
    model: "CharRNN[Any]" = field(default=None, repr=False, compare=False)  # type: ignore[arg-type]  # so that a callback need not ask

    @property
    def bpc(self) -> float:
        """Training loss in bits per character."""
        return self.nll / math.log(2)

    @property
    def perplexity(self) -> float:
        """exp(nll)."""
        return math.exp(min(self.nll, 700))  # where exp would overflow, a number as good


@dataclass
class Position:
    """Where training stands between two steps; all that it needs to go on, with the weights, Adagrad's memory and the hidden state."""

    epoch: int = 0
    window: int = 0  # of this epoch
    step: int = 0
    characters: int = 0
    seconds: float = 0.0
    smooth_loss: float | None = None
    best_nll: float | None = None  # the lowest validation loss at the end of an epoch
    best_epoch: int = 0  # epochs done there
    best_step: int = 0  # steps done there
    unreported: int = 0  # characters since the last report
    unreported_loss: float = 0.0  # their sum, in nats


_NUMBERS = tuple(item.name for item in fields(Progress) if item.name != "model")
_MOST_REPORTS = (
    2048  # a history's: then they are merged two by two, so that it and its file stay small
)
_REASONS = (
    "epochs",
    "steps",
    "seconds",
    "patience",
    "threshold",
    "callback",
    "interrupted",
    "diverged",
)

Callback: TypeAlias = Callable[[Progress], object]  # may return True to stop


@dataclass(repr=False)
class History:
    """What training did: the reports, and why it stopped.

    There are at most 2,048 reports: beyond that each two that follow one another become one, again and again. stop_reason is "epochs",
    "steps", "seconds", "patience", "threshold", "callback", "interrupted" or "diverged"; kept_step the step whose weights were kept,
    where those were not the last.
    """

    reports: list[Progress] = field(default_factory=list)
    stop_reason: str | None = None
    kept_step: int | None = None

    @property
    def steps(self) -> int:
        """Updates done."""
        return self.reports[-1].step if self.reports else 0

    @property
    def kept(self) -> Progress | None:
        """The report of the weights that the model has, or None if there is no report."""
        chosen = [
            report
            for report in self.reports
            if self.kept_step is not None and report.step >= self.kept_step
        ]
        return chosen[0] if chosen else self.reports[-1] if self.reports else None

    @property
    def losses(self) -> list[float]:
        """Training losses of the reports, nats per character."""
        return [report.nll for report in self.reports]

    @property
    def validation_losses(self) -> list[float]:
        """Losses on the held-out text, nats per character, one an epoch."""
        return [
            report.validation_nll for report in self.reports if report.validation_nll is not None
        ]

    def add(self, report: Progress) -> None:
        """Take a report in."""
        self.reports.append(report)
        if len(self.reports) > _MOST_REPORTS:
            first = [None, *self.reports[1:-1:2]]  # what came before each pair
            pairs = zip(first, self.reports[::2], self.reports[1::2], strict=False)
            self.reports[:] = [
                *(_merged(*pair) for pair in pairs),
                *self.reports[len(self.reports) // 2 * 2 :],
            ]

    @overload
    def plot(self, ax: None = ...) -> "LossFigure": ...

    @overload
    def plot(self, ax: "Axes") -> "Axes": ...

    def plot(self, ax: "Axes | None" = None) -> "LossFigure | Axes":
        """Draw the losses over the epochs; needs matplotlib (``pip install "charrnn-cython[plot]"``).

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; by default in a new figure.

        Returns
        -------
        matplotlib Figure, or ax if it is given
            As the last value of a notebook's cell the figure shows itself; elsewhere ``history.plot().show()`` opens a window with it and
            ``history.plot().savefig("loss.png")`` writes a file.

        Raises
        ------
        ModuleNotFoundError
            If matplotlib is not installed.
        """
        try:
            from .plotting import LossFigure, draw
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                'history.plot needs matplotlib: pip install "charrnn-cython[plot]"', name=error.name
            ) from error
        if ax is None:
            return LossFigure(self)
        if not hasattr(ax, "secondary_yaxis"):
            hint = (
                f": history.plot().savefig({ax!r}) writes a picture"
                if isinstance(ax, (str, PathLike))
                else ""
            )
            raise TypeError(f"ax must be Axes of matplotlib, not {short_repr(ax)}{hint}")
        return draw(self, ax)

    def to_frame(self) -> "DataFrame":
        """Return the reports as a pandas DataFrame, a row each; needs pandas.

        Raises
        ------
        ModuleNotFoundError
            If pandas is not installed.
        """
        try:
            from pandas import DataFrame
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "history.to_frame needs pandas: pip install pandas", name=error.name
            ) from error
        frame = DataFrame(
            {name: [getattr(report, name) for report in self.reports] for name in _NUMBERS}
        )
        return frame.astype({"validation_nll": float})

    def __repr__(self) -> str:
        last, measured = self.kept, self.validation_losses
        if last is None:
            return "History(no steps)"
        best = f", validation {min(measured):.3f}" if measured else ""
        done = f"{self.steps:,} steps, {self.reports[-1].epoch:.3g} epochs"
        return f"History({done}, training {last.nll:.3f}{best}, ended by {self.stop_reason})"

    def to_dict(self) -> dict[str, Any]:
        """Return the history as plain Python values."""
        reports = [{name: getattr(report, name) for name in _NUMBERS} for report in self.reports]
        return {"stop_reason": self.stop_reason, "kept_step": self.kept_step, "reports": reports}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "History":
        """Return the history that `to_dict` made values of; or raise TypeError or ValueError if it made none such."""
        if (
            values.keys() != {"reports", "stop_reason", "kept_step"}
            or type(values["reports"]) is not list
        ):
            raise ValueError("history must hold reports, stop_reason and kept_step")
        stop_reason, kept_step = values["stop_reason"], values["kept_step"]
        if stop_reason not in (None, *_REASONS):
            raise ValueError(f"stop_reason is {stop_reason!r:.60}")
        reports = [_checked(report) for report in values["reports"]]
        for before, after in itertools.pairwise(reports):
            if not (
                before.step < after.step
                and before.characters <= after.characters
                and before.epoch <= after.epoch
            ):
                raise ValueError(
                    f"the reports of steps {before.step} and {after.step} do not follow one another"
                )
        if kept_step is not None:
            check_integer("kept_step", kept_step, 1, reports[-1].step if reports else 0)
        return cls(reports, stop_reason, kept_step)


def _checked(values: dict[str, Any]) -> Progress:
    """Return the report of these values; or raise."""
    if type(values) is not dict or values.keys() != set(_NUMBERS):
        raise ValueError(f"a report is {values!r:.60}")
    report = Progress(**values)
    check_integer("step", report.step, 1, 2**63 - 1)
    check_integer("characters", report.characters, 1, 2**63 - 1)
    for name in ("epoch", "seconds"):
        check_number(name, values[name], minimum=0)
    for name in ("nll", "smooth_loss"):
        check_number(name, values[name], minimum=0, maximum=LARGEST_LOSS)
    if report.validation_nll is not None:
        check_number("validation_nll", report.validation_nll, minimum=0, finite=False)
    return report


def _merged(before: Progress | None, first: Progress, second: Progress) -> Progress:
    """Return one report of what two did, which came after another."""
    start = 0 if before is None else before.characters
    whole = second.characters - start
    nll = (
        (
            first.nll * (first.characters - start)
            + second.nll * (second.characters - first.characters)
        )
        / whole
        if whole
        else second.nll
    )
    measured = first.validation_nll if second.validation_nll is None else second.validation_nll
    return replace(second, nll=nll, validation_nll=measured)
