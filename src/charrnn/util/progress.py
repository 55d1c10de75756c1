"""How far a training has come, shown on stderr: a bar in a terminal or notebook, else lines."""

import math
import sys
import threading
from typing import Any

from .errors import check_flags
from .signals import ignoring

_EVERY = 5.0  # seconds between two lines
_LINE = "charrnn: {percentage:.0f} %, {elapsed} gone, {remaining} left{postfix}"
_BAR = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
_TIMES = "{percentage:3.0f}% {elapsed}<{remaining}{postfix}"
_SHARE = "{percentage:3.0f}%{postfix}"
# What to show, and how many of the last words to leave out: the first of these that fits.
_SHAPES = ((_BAR, 0), (_BAR, 1), (_TIMES, 1), (_SHARE, 1), (_SHARE, 2), (_SHARE, 3))
_LOCK = threading.RLock()  # between threads that show something


def check_progress(progress: Any) -> bool:
    """Return whether to show progress (None: yes), or raise TypeError."""
    if progress is None:
        return True
    check_flags(progress=progress)
    return bool(progress)


def printable(text: str) -> str:
    """Return text as stdout can print it: what its encoding lacks becomes an escape."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def counted(n: float, noun: str) -> str:
    """Return a number and its noun, in the plural if need be."""
    return f"{n:,} {noun}{'s' * (n != 1)}"


def in_notebook() -> bool:
    """Whether this runs in a Jupyter kernel."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", bool)()
    return hasattr(shell, "kernel")


def note(line: str) -> None:
    """Print a line on stderr, if there is one that takes it."""
    if sys.stderr is None:  # print would take stdout
        return
    with ignoring(OSError, ValueError):  # full or closed: train on
        print(line, file=sys.stderr, flush=True)


class _Lines:
    """A file for tqdm that prints each state of a bar as a line on stderr."""

    def write(self, text: str) -> None:
        if line := text.strip("\r\n "):
            note(line)

    def flush(self) -> None:
        pass


def _plain(bar: Any) -> Any:
    """Return a class of tqdm's without its monitor thread and its lock between processes.

    Where processes are not forked, tqdm starts one to make that lock.
    """
    return type("Bar", (bar,), {"monitor_interval": 0, "_lock": getattr(bar, "_lock", _LOCK)})


class Display:
    """Shows which part of a budget is used up, from 0 to 1; nothing without show or stderr."""

    def __init__(self, show: bool, start: float = 0.0) -> None:
        self.bar: Any = None
        self.shapes: tuple[tuple[str, int], ...] = ((_LINE, 0),)
        if not show or sys.stderr is None or getattr(sys.stderr, "closed", False):
            return
        options: dict[str, Any] = {"total": 1.0, "initial": start, "miniters": 0}
        # tqdm is imported here: a program that trains nothing should not wait for it.
        if in_notebook() or getattr(sys.stderr, "isatty", bool)():
            from tqdm.auto import tqdm

            self.shapes = _SHAPES
            self.bar = _plain(tqdm)(bar_format=_BAR, dynamic_ncols=True, **options)
        else:
            from tqdm import tqdm as line

            options |= {"file": _Lines(), "mininterval": _EVERY, "delay": _EVERY}
            self.bar = _plain(line)(bar_format=_LINE, **options)

    def update(self, used: float, *words: str) -> None:
        """Show the part that is used up, and words; a narrow terminal lacks the last of them."""
        if self.bar is not None:
            self._choose_shape(words)
            self.bar.update(used - self.bar.n)

    def _choose_shape(self, words: tuple[str, ...]) -> None:
        """Give the bar the first shape that fits its width."""
        bar = self.bar
        for shape, dropped in self.shapes:
            shown = words[: max(1, len(words) - dropped)]
            bar.bar_format = shape
            bar.set_postfix_str(", ".join(shown), refresh=False)
            state = bar.format_dict
            width = state["ncols"] or math.inf
            if len(bar.format_meter(**{**state, "ncols": None})) <= width:
                return

    def write(self, text: str) -> None:
        """Print text on stdout without tearing the bar."""
        if self.bar is None:
            print(printable(text), flush=True)
        else:
            self.bar.write(printable(text))

    def finish(self) -> None:
        """Show that all is used up: no step fits into the last seconds of a budget."""
        if self.bar is not None:
            self.bar.update(1.0 - self.bar.n)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self.bar is not None:
            self.bar.close()
