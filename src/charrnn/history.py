"""What a training did: reports as it goes, all of them at its end."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, overload

from .util.errors import check_integer, check_number, needing, short_repr

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

    from .model import CharRNN
    from .plotting import LossFigure

# Of a training step, in nats: with it sums and means over any number of steps are finite.
LARGEST_LOSS = 1e280
_LARGEST = {
    **{"nll": LARGEST_LOSS, "smooth_loss": LARGEST_LOSS},
    "unreported_loss": 2.0**63 * LARGEST_LOSS,
}


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
        The loss as the tutorial prints it: nats per window of seq_length characters, smoothed over
        about 1,000 steps.
    validation_nll : float or None
        Loss on the held-out text with frozen weights, in nats per character. It is measured at the
        end of each epoch and of the training, unless an exception ends that. Otherwise None.
    model : CharRNN
        In a callback of a train function, the current model: use it to generate, score or save.
        Elsewhere None.
    """

    step: int
    epoch: float
    characters: int
    seconds: float
    nll: float
    smooth_loss: float
    validation_nll: float | None = None
    # Typed as if never None, so that callbacks need no check.
    model: "CharRNN[Any]" = field(default=None, repr=False, compare=False)  # type: ignore[arg-type]

    @property
    def bpc(self) -> float:
        """Training loss in bits per character."""
        return self.nll / math.log(2)

    @property
    def perplexity(self) -> float:
        """exp(nll)."""
        return math.exp(min(self.nll, 700))  # beyond that exp would overflow


@dataclass
class Position:
    """Where a training is between two steps: with weights, optimizer and states, all of it."""

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
_FACTS = "stop_reason", "kept_step", "estimate"  # of a history, besides its reports
_MOST_REPORTS = 2048  # a history and its file stay small
_STOP_REASONS = (
    *("epochs", "steps", "seconds", "patience", "threshold", "callback"),
    *("interrupted", "diverged"),
)

_Numbers = TypeVar("_Numbers", Progress, Position)
Callback: TypeAlias = Callable[[Progress], object]  # may return True to stop


@dataclass(repr=False)
class History:
    """What training did: the reports, and why it stopped.

    When there are more than 2,048 reports, neighbours are merged in pairs; the report with the
    lowest validation loss stays as it is. stop_reason is "epochs", "steps", "seconds", "patience",
    "threshold", "callback", "interrupted" or "diverged"; kept_step is the step whose weights the
    model has, if that is not the last. estimate is the loss to expect on new text of the same kind,
    in nats per character, measured on held-out text, with counts if the model has them.
    """

    reports: list[Progress] = field(default_factory=list)
    stop_reason: str | None = None
    kept_step: int | None = None
    estimate: float | None = None

    @property
    def steps(self) -> int:
        """Updates done."""
        return self.reports[-1].step if self.reports else 0

    @property
    def kept(self) -> Progress | None:
        """The report of the weights that the model has, or None if there is no report."""
        for report in self.reports:
            if self.kept_step is not None and report.step >= self.kept_step:
                return report
        return self.reports[-1] if self.reports else None

    @property
    def losses(self) -> list[float]:
        """Training losses of the reports, nats per character."""
        return [report.nll for report in self.reports]

    @property
    def validation_losses(self) -> list[float]:
        """Losses on the held-out text, nats per character, one an epoch."""
        return [loss for report in self.reports if (loss := report.validation_nll) is not None]

    def add(self, report: Progress) -> None:
        """Add a report."""
        self.reports.append(report)
        if len(self.reports) > _MOST_REPORTS:
            self.reports[:] = self.thinned().reports

    def thinned(self) -> "History":
        """Return this history with about half as many reports, for a small file."""
        return replace(self, reports=list(_thinned(self.reports)))

    @overload
    def plot(self, ax: None = ...) -> "LossFigure": ...

    @overload
    def plot(self, ax: "Axes") -> "Axes": ...

    def plot(self, ax: "Axes | None" = None) -> "LossFigure | Axes":
        """Draw the losses over the epochs; needs ``pip install "charrnn-cython[plot]"``.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; by default in a new figure.

        Returns
        -------
        matplotlib Figure, or ax if it is given
            As the last value of a notebook's cell the figure shows itself; elsewhere
            ``history.plot().show()`` opens a window with it, and
            ``history.plot().savefig("loss.png")`` writes a file.

        Raises
        ------
        ModuleNotFoundError
            If matplotlib is not installed.
        """
        with needing('history.plot needs matplotlib: pip install "charrnn-cython[plot]"'):
            from .plotting import LossFigure, draw
        if ax is None:
            return LossFigure(self)
        if not hasattr(ax, "secondary_yaxis"):
            is_path = isinstance(ax, (str, PathLike))
            hint = f": history.plot().savefig({ax!r}) writes a picture" if is_path else ""
            raise TypeError(f"ax must be Axes of matplotlib, not {short_repr(ax)}{hint}")
        return draw(self, ax)

    def to_frame(self) -> "DataFrame":
        """Return the reports as a pandas DataFrame, a row each; needs pandas.

        Raises
        ------
        ModuleNotFoundError
            If pandas is not installed.
        """
        with needing("history.to_frame needs pandas: pip install pandas"):
            from pandas import DataFrame
        columns = {name: [getattr(report, name) for report in self.reports] for name in _NUMBERS}
        return DataFrame(columns).astype({"validation_nll": float})

    def __repr__(self) -> str:
        kept = self.kept
        if kept is None:
            return "History(no steps)"
        done = f"{self.steps:,} steps, {self.reports[-1].epoch:.3g} epochs"
        loss = f"training {kept.nll:.3f}"
        if kept.validation_nll is not None:
            loss += f", validation {kept.validation_nll:.3f}"
        return f"History({done}, {loss}, stop_reason={self.stop_reason!r})"

    def to_dict(self) -> dict[str, Any]:
        """Return the history as plain Python values."""
        reports = [{name: getattr(report, name) for name in _NUMBERS} for report in self.reports]
        facts = {name: getattr(self, name) for name in _FACTS}
        return {**facts, "reports": reports}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "History":
        """Return the history with these values of `to_dict`; else raise TypeError or ValueError."""
        if values.keys() != {*_FACTS, "reports"} or type(values["reports"]) is not list:
            raise ValueError(f"history must hold reports, {', '.join(_FACTS)}")
        stop_reason, kept_step = values["stop_reason"], values["kept_step"]
        if stop_reason not in (None, *_STOP_REASONS):
            raise ValueError(f"stop_reason is {stop_reason!r:.60}")
        reports = [from_values(Progress, report) for report in values["reports"]]
        for one, two in itertools.pairwise(reports):
            counts = one.characters <= two.characters and one.epoch <= two.epoch
            if not (one.step < two.step and counts):
                raise ValueError(
                    f"the reports of steps {one.step} and {two.step} do not follow one another"
                )
        if kept_step is not None:
            check_integer("kept_step", kept_step, 1, reports[-1].step if reports else 0)
        if values["estimate"] is not None:
            check_number("estimate", values["estimate"], minimum=0, finite=False)
        return cls(reports, stop_reason, kept_step, values["estimate"])


def from_values(kind: type[_Numbers], values: Any) -> _Numbers:
    """Return a Progress or a Position with these values of its fields, from a file; or raise."""
    types = {item.name: item.type for item in fields(kind) if item.name != "model"}
    if type(values) is not dict or values.keys() != types.keys():
        raise ValueError(f"a {kind.__name__} is {values!r:.60}")
    for name, value in values.items():
        if types[name] is int:  # a report comes after a step
            check_integer(name, value, int(kind is Progress), 2**63 - 1)
        elif value is not None or types[name] is float:
            # A validation loss may be infinite.
            finite = name not in ("validation_nll", "best_nll")
            most = _LARGEST.get(name, math.inf)
            check_number(name, value, minimum=0, maximum=most, finite=finite)
    return kind(**values)


def _thinned(reports: Sequence[Progress]) -> Iterator[Progress]:
    """Yield about half as many reports: some are merged into the next one.

    The last one and the one with the lowest validation loss stay as they are; and none with such a
    loss is merged into one without.
    """
    best = min(reports, key=lambda one: (one.validation_nll is None, one.validation_nll or 0.0))
    last = reports[-1]
    start, waiting = 0, None  # start: characters before the report that waits
    for report in reports:
        if waiting is None:
            waiting = report
            continue
        measured = waiting.validation_nll is not None
        apart = report is best or report is last
        if apart or (measured and (waiting is best or report.validation_nll is None)):
            yield waiting
            start, waiting = waiting.characters, report
        else:
            yield _merged(start, waiting, report)
            start, waiting = report.characters, None
    if waiting is not None:
        yield waiting


def _merged(start: int, first: Progress, second: Progress) -> Progress:
    """Return the second report with the mean loss since start, in characters, of both."""
    whole = second.characters - start
    if not whole:
        return second
    new = second.characters - first.characters
    nll = (first.nll * (first.characters - start) + second.nll * new) / whole
    return replace(second, nll=nll)
