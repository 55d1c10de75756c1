"""How far a training is, shown to people on stderr: a bar on a terminal or in a notebook, elsewhere a line every few seconds."""

import contextlib
import sys
import threading
from typing import Any

from .errors import check_flags

_EVERY = 5.0  # seconds between two lines
_BAR = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
_LOCK = threading.RLock()  # between threads that show something
_LINE = "charrnn: {percentage:.0f} %, {elapsed} gone, {remaining} left{postfix}"


def check_progress(progress: Any) -> bool:
    """Return whether to show progress (None: yes), or raise TypeError."""
    if progress is None:
        return True
    check_flags(progress=progress)
    return bool(progress)


def in_notebook() -> bool:
    """Whether this runs in a Jupyter kernel."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", bool)()
    return hasattr(shell, "kernel")


class _Lines:
    """A file for tqdm that makes each state of a bar a line of stderr."""

    def write(self, text: str) -> None:
        if line := text.strip("\r\n "):
            with contextlib.suppress(
                OSError, ValueError
            ):  # a full disk, or who has closed it, is no reason to end a training
                print(line, file=sys.stderr, flush=True)

    def flush(self) -> None:
        pass


def _alone(bar: Any) -> Any:
    """Return a class of tqdm's without the thread that watches its bars, and the lock between processes.

    To make that lock starts a process, where the others of a program are not forked.
    """
    return type("Bar", (bar,), {"monitor_interval": 0, "_lock": getattr(bar, "_lock", _LOCK)})


class Display:
    """How much of a budget is used up, from 0 to 1; or nothing, if it is not to be shown or there is no stderr, or a closed one."""

    def __init__(self, show: bool, start: float) -> None:
        self.bar: Any = None
        if not show or sys.stderr is None or getattr(sys.stderr, "closed", False):
            return
        options: dict[str, Any] = {"total": 1.0, "initial": start, "miniters": 0}
        if in_notebook() or getattr(sys.stderr, "isatty", bool)():
            from tqdm.auto import (
                tqdm,  # here, because a host that trains nothing should not pay for its import
            )

            self.bar = _alone(tqdm)(bar_format=_BAR, dynamic_ncols=True, **options)
        else:
            from tqdm import tqdm as line

            self.bar = _alone(line)(
                bar_format=_LINE, file=_Lines(), mininterval=_EVERY, delay=_EVERY, **options
            )

    def update(self, used: float, words: str) -> None:
        """Show how much of the budget is used up, and words beside."""
        if self.bar is not None:
            self.bar.set_postfix_str(words, refresh=False)
            self.bar.update(used - self.bar.n)

    def write(self, text: str) -> None:
        """Print text on stdout, where the bar does not stand in its way; what its encoding lacks as an escape."""
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        text = text.encode(encoding, "backslashreplace").decode(encoding)
        if self.bar is None:
            print(text, flush=True)
        else:
            self.bar.write(text)

    def finish(self) -> None:
        """Show that the budget is used up: of seconds the last step leaves a few, as none fits into them."""
        if self.bar is not None:
            self.bar.update(1.0 - self.bar.n)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self.bar is not None:
            self.bar.close()
