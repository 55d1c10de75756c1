"""Pictures of a training and of a trace, by matplotlib.

`History.plot` and `Trace.plot` import it when they are called.
"""

import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # pyplot would choose a backend for the whole process

from .trace.properties import PARTS, finite, scale, shown

if TYPE_CHECKING:
    from .history import History
    from .trace import Trace, Unit

# Backends, which know no screen.
_FOR_FILES = "agg", "cairo", "pdf", "pgf", "ps", "svg", "template"


class _SelfShowing(Figure):
    """A matplotlib figure that shows itself as the last value of a notebook's cell.

    `show` opens it, ``savefig`` writes it.
    """

    def __init__(self, width: float, height: float) -> None:
        super().__init__(figsize=(width, height), layout="constrained")
        self.fill(self)

    def fill(self, figure: Figure) -> None:
        """Draw what this figure shows on a figure, itself or another one."""
        raise NotImplementedError

    def show(self, warn: bool = True) -> None:
        """Show the figure in a window, or raise RuntimeError where there is no screen."""
        from matplotlib import pyplot

        # This chooses the backend.
        figure = pyplot.figure(figsize=tuple(self.get_size_inches()), layout="constrained")
        if pyplot.get_backend().lower() in _FOR_FILES:
            pyplot.close(figure)
            raise RuntimeError(
                f"no window is available (matplotlib's backend is {pyplot.get_backend()}): "
                "savefig(path) writes the figure"
            )
        self.fill(figure)
        pyplot.show()
        if not pyplot.isinteractive():  # then the window was closed
            pyplot.close(figure)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=100)
        return buffer.getvalue()


class LossFigure(_SelfShowing):
    """A matplotlib figure of a history: as the last value of a notebook's cell it shows itself.

    `show` opens it, ``savefig`` writes it.

    Parameters
    ----------
    history : History
    """

    def __init__(self, history: "History") -> None:
        self.history: History = history
        super().__init__(7, 4.5)

    def fill(self, figure: Figure) -> None:
        """Draw the losses on a figure."""
        draw(self.history, figure.add_subplot())

    def __repr__(self) -> str:
        return f"<figure of {self.history!r}; show() opens it, savefig(path) writes it>"


class TraceFigure(_SelfShowing):
    """A matplotlib figure of a stretch of a trace, made by `Trace.plot`.

    Parameters
    ----------
    trace : trace.Trace
    start, stop : int
        Which characters.
    units : int
        How many units to show.
    part : str
        What of them.
    """

    def __init__(self, trace: "Trace[Any]", start: int, stop: int, units: int, part: str) -> None:
        self.trace: Trace[Any] = trace
        self.stretch: tuple[int, int] = start, stop
        self.units: list[Unit] = trace.units(part=part)[:units]
        width, height = 2.5 + 0.13 * max(30, stop - start), 1.6 + 0.22 * len(self.units)
        super().__init__(min(width, 60), min(height, 60))

    def fill(self, figure: Figure) -> None:
        """Draw the surprise of each character, and below the units."""
        start, stop = self.stretch
        rows = 2 if self.units else 1
        ratios = {"height_ratios": [5, len(self.units)][:rows]}
        charts = figure.subplots(rows, 1, sharex=True, squeeze=False, gridspec_kw=ratios)[:, 0]
        draw_surprise(self.trace, start, stop, charts[0])
        if self.units:
            draw_units(self.trace, self.units, start, stop, charts[1])
        text = self.trace.text[start:stop]
        chars = text.decode("latin-1") if isinstance(text, bytes) else text
        charts[-1].set_xticks(
            range(start, stop), [shown(char, isinstance(text, bytes))[0] for char in chars]
        )
        charts[-1].tick_params(axis="x", length=0, labelsize=8, labelfontfamily="monospace")

    def __repr__(self) -> str:
        first, last = self.stretch
        how = "show() opens it, savefig(path) writes it"
        return f"<figure of {self.trace!r}, characters {first} to {last}; {how}>"


def draw_surprise(trace: "Trace[Any]", start: int, stop: int, ax: Axes) -> Axes:
    """Draw a bar for each character, as high as it surprises."""
    ax.bar(range(start, stop), trace.surprise[start:stop], width=0.85, color="#c44e27")
    ax.set_ylabel("surprise (bits)")
    ax.set_xlim(start - 0.5, max(stop, start + 1) - 0.5)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    return ax


def draw_units(trace: "Trace[Any]", units: "list[Unit]", start: int, stop: int, ax: Axes) -> Axes:
    """Draw a row for each unit: blue where it is low, red where it is high."""
    rows = finite(
        np.array([trace.parts[unit.layer][unit.part][start:stop, unit.number] for unit in units])
    )
    least, most = scale(units[0].part, rows)
    extent = (start - 0.5, max(stop, start + 1) - 0.5, len(units) - 0.5, -0.5)
    if start < stop:
        how: Any = {"aspect": "auto", "cmap": "RdBu_r", "interpolation": "nearest"}
        ax.imshow(rows, vmin=least, vmax=most, extent=extent, **how)
    if units[0].part != "h":
        ax.set_title(PARTS[units[0].part][0], loc="left", fontsize=9)
    layer = "layer {0}, " if len(trace.states) > 1 else ""
    places = [f"{layer.format(unit.layer)}{unit.number}" for unit in units]
    labels = [
        f"{unit.follows or 'unit'} ({unit.correlation:+.2f}; {place})"
        for unit, place in zip(units, places, strict=True)
    ]
    ax.set_yticks(range(len(units)), labels, fontsize=8)
    ax.tick_params(axis="y", length=0)
    return ax


def draw(history: "History", ax: Axes) -> Axes:
    """Draw the losses over the epochs."""
    measured = [report for report in history.reports if report.validation_nll is not None]
    epochs = [report.epoch for report in history.reports]
    ax.plot(epochs, history.losses, label="training", color="#3b6ea5", linewidth=1.5)
    if measured:
        label = f"validation, at best {min(history.validation_losses):.3f}"
        epochs = [report.epoch for report in measured]
        marks: Any = {"color": "#c44e27", "marker": "o", "markersize": 3, "linewidth": 1.5}
        ax.plot(epochs, history.validation_losses, label=label, **marks)
    ax.set_xlabel("epoch")
    ax.set_ylabel("loss (nats per character)")
    bits = ax.secondary_yaxis("right", functions=(_bits, _nats))
    bits.set_ylabel("bits per character")
    ax.grid(alpha=0.25)
    ax.legend(frameon=False)
    return ax


def _bits(nats: Any) -> Any:
    return nats / math.log(2)


def _nats(bits: Any) -> Any:
    return bits * math.log(2)
