"""Signals: those that must wait, and what their handlers raise."""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Self


@contextlib.contextmanager
def ignoring(*kinds: type[Exception]) -> Iterator[None]:
    """Ignore errors of these kinds, but not what a signal's handler raises meanwhile.

    A handler's TimeoutError is an OSError too, but has no number.
    """
    try:
        yield
    except kinds as error:
        system = not isinstance(error, OSError) or error.errno is not None
        if not system and not isinstance(error, ValueError):  # io.UnsupportedOperation is both
            raise


class DeferredSignals:
    """Within this context Ctrl-C waits: it is raised at its end, unless somebody takes it.

    With every, all signals that have a handler wait, as a handler may raise.
    """

    def __init__(self, every: bool = False) -> None:
        self.every: bool = every
        self.noted: list[int] = []
        self.handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self  # Python runs handlers in the main thread only
        try:
            for number in signal.valid_signals():
                handler = signal.getsignal(number)
                if handler is signal.default_int_handler or (self.every and callable(handler)):
                    self.handlers[number] = handler
                    signal.signal(number, self.note)
        except BaseException:
            self._restore()
            raise
        return self

    def note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal by noting it."""
        self.noted.append(number)

    def take(self) -> list[int]:
        """Return the signals since the last call; they are not raised."""
        noted, self.noted = self.noted, []
        return noted

    def _restore(self) -> None:
        """Give all signals their handlers back, except those that got another one meanwhile."""
        try:
            for number, handler in self.handlers.items():
                if signal.getsignal(number) == self.note:
                    signal.signal(number, handler)
        except BaseException:  # of a handler that is back
            self._restore()
            raise

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._restore()
        handlers, self.handlers = self.handlers, {}
        with contextlib.ExitStack() as stack:  # each handler has its turn, whatever others raise
            for number in reversed(dict.fromkeys(self.take())):
                if error is None or handlers[number] is not signal.default_int_handler:
                    stack.callback(_handle, number)


def _handle(number: int) -> None:
    """Handle a signal that was noted, without a second entry in Python's wakeup file."""
    handler = signal.getsignal(number)
    if callable(handler):
        handler(number, sys._getframe())
    else:
        signal.raise_signal(number)
