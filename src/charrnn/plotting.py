"""The losses of a training as a picture, by matplotlib: imported when `History.plot` is called."""

import io
import math
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure  # not pyplot, which would choose a backend for the whole process

if TYPE_CHECKING:
    from .history import History

_FOR_FILES = ("agg", "cairo", "pdf", "pgf", "ps", "svg", "template")  # backends, which know no screen
_LOOK: dict[str, Any] = {"figsize": (7, 4.5), "layout": "constrained"}


class LossFigure(Figure):
    """A matplotlib figure of a history: as the last value of a notebook's cell it shows itself; `show` opens it, ``savefig`` writes it.

    Parameters
    ----------
    history : History
    """

    def __init__(self, history: "History") -> None:
        super().__init__(**_LOOK)
        self.history: History = history
        draw(history, self.add_subplot())

    def show(self, warn: bool = True) -> None:
        """Show the figure in a window, or raise RuntimeError where there is no screen."""
        from matplotlib import pyplot

        figure = pyplot.figure(**_LOOK)  # which chooses the backend
        if pyplot.get_backend().lower() in _FOR_FILES:
            pyplot.close(figure)
            raise RuntimeError(
                f"there is no window to be had (matplotlib's backend is {pyplot.get_backend()}): savefig(path) writes the figure"
            )
        draw(self.history, figure.add_subplot())
        pyplot.show()
        if not pyplot.isinteractive():  # then the window was closed
            pyplot.close(figure)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=100)
        return buffer.getvalue()

    def __repr__(self) -> str:
        return f"<figure of {self.history!r}; show() opens it, savefig(path) writes it>"


def draw(history: "History", ax: Axes) -> Axes:
    """Draw the losses over the epochs."""
    measured = [report for report in history.reports if report.validation_nll is not None]
    ax.plot([report.epoch for report in history.reports], history.losses, label="training", color="#3b6ea5", linewidth=1.5)
    if measured:
        label = f"validation, at best {min(history.validation_losses):.3f}"
        epochs = [report.epoch for report in measured]
        ax.plot(epochs, history.validation_losses, label=label, color="#c44e27", marker="o", markersize=3, linewidth=1.5)
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
