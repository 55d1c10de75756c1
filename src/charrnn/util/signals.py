"""Signals that have to wait until something is done whole."""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self


class Later:
    """Ctrl-C, and what ends a service, within this context: noted; raised when it ends, unless somebody has taken it.

    With every, also what other signals call: a timeout's handler may raise, too.
    """

    def __init__(self, every: bool = False) -> None:
        self.every: bool = every
        self.numbers: list[int] = [
            number for number in signal.valid_signals() if callable(signal.getsignal(number))
        ]
        self.noted: list[int] = []
        self.handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}

    def __enter__(self) -> Self:
        if (
            threading.current_thread() is threading.main_thread()
        ):  # where alone Python runs handlers
            try:
                for number in self.numbers:
                    handler = signal.getsignal(number)
                    if handler is signal.default_int_handler or (self.every and callable(handler)):
                        self.handlers[number] = handler
                        signal.signal(number, self.note)
            except BaseException:
                self.restore()
                raise
        return self

    def note(self, number: int, frame: FrameType | None) -> None:
        """Be the handler meanwhile."""
        self.noted.append(number)

    def take(self) -> list[int]:
        """Return which there were since the last time."""
        noted, self.noted = self.noted, []
        return noted

    def restore(self) -> None:
        """Give all signals their handlers back, also if one of them raises meanwhile; but one that somebody has set meanwhile stays."""
        try:
            for number, handler in self.handlers.items():
                if signal.getsignal(number) == self.note:
                    signal.signal(number, handler)
        except BaseException:
            self.restore()
            raise

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self.restore()
        handlers, self.handlers = self.handlers, {}
        with contextlib.ExitStack() as stack:  # whatever the handlers raise, each has its turn
            for number in reversed(dict.fromkeys(self.take())):
                if error is None or handlers[number] is not signal.default_int_handler:
                    stack.callback(_handle, number)


def _handle(number: int) -> None:
    """Have a signal handled that was noted: not raised once more where that is Python's, as its wakeup file has heard of it."""
    handler = signal.getsignal(number)
    if callable(handler):
        handler(number, sys._getframe())
    else:
        signal.raise_signal(number)
