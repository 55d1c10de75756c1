import io
import signal
import socket
import sys
from types import SimpleNamespace

import pytest

from charrnn.util import cores, progress
from charrnn.util.signals import DeferredSignals, ignoring


@pytest.fixture
def other():
    """Another signal, whose handler a test may set."""
    old = signal.getsignal(signal.SIGTERM)
    yield signal.SIGTERM
    signal.signal(signal.SIGTERM, old)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_handlers_are_given_back_if_one_raises_meanwhile(monkeypatch, first):
    def change(number, handler):
        found = set_handler(number, handler)
        if number == first and handler is signal.default_int_handler:
            monkeypatch.setattr(signal, "signal", set_handler)
            raise KeyboardInterrupt  # as if the signal came just now
        return found

    set_handler = signal.signal
    old = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        later = DeferredSignals()
        with pytest.raises(KeyboardInterrupt), later:
            monkeypatch.setattr(signal, "signal", change)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    finally:
        set_handler(signal.SIGTERM, old)


def test_signals_are_noted_and_raised_at_the_end():
    def signalled():
        with DeferredSignals() as later:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            noted.extend(later.noted)

    noted = []
    with pytest.raises(KeyboardInterrupt):
        signalled()
    assert noted == [signal.SIGINT] * 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_signals_that_somebody_takes_are_not_raised():
    with DeferredSignals() as later:
        signal.raise_signal(signal.SIGINT)
        assert later.take() == [signal.SIGINT]


def test_each_signal_has_its_turn_whatever_one_raises(other):
    def signalled(*numbers):
        with DeferredSignals(every=True):
            for number in numbers:
                signal.raise_signal(number)

    def time_out(number, frame):
        raise TimeoutError

    heard = []
    signal.signal(other, lambda number, frame: heard.append(number))
    with pytest.raises(KeyboardInterrupt) as caught:
        signalled(signal.SIGINT, other, signal.SIGINT)
    assert heard == [other]
    assert caught.value.__context__ is None  # several of one kind are one
    signal.signal(other, time_out)
    with pytest.raises(KeyboardInterrupt):
        signalled(other, signal.SIGINT)


def test_a_handler_that_somebody_sets_meanwhile_stays(other):
    def ignore_ctrl_c(number, frame):
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    signal.signal(other, ignore_ctrl_c)
    try:
        with DeferredSignals():
            signal.raise_signal(other)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_who_listens_at_the_wakeup_file_hears_of_a_signal_once(other):
    """As asyncio does: what was added for a signal would be called twice."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        old = signal.set_wakeup_fd(theirs.fileno())
        try:
            heard = []
            signal.signal(other, lambda number, frame: heard.append(frame))
            with DeferredSignals(every=True):
                signal.raise_signal(other)
            assert len(heard) == 1
            assert heard[0] is not None
        finally:
            signal.set_wakeup_fd(old)
        assert ours.recv(9) == bytes([other])


def broken(error):
    def fail(*_, **__):
        raise error

    return fail


@pytest.mark.parametrize(
    ("place", "call"),
    [
        ((sys, "stderr", "write"), lambda: progress.note("line")),
        ((cores, "_CGROUP", "read_text"), cores.available_cores),
    ],
    ids=["a line on stderr", "the quota of a container"],
)
def test_what_a_handler_raises_is_not_taken_for_an_error_of_the_system(monkeypatch, place, call):
    def set_error(error):
        owner, name, method = place
        monkeypatch.setattr(owner, name, SimpleNamespace(**{method: broken(error)}))

    for error in (OSError(28, "full"), ValueError("closed"), io.UnsupportedOperation("no")):
        set_error(error)
        call()
    for error in (TimeoutError("alarm"), KeyboardInterrupt()):
        set_error(error)
        with pytest.raises(type(error)):
            call()


def test_ignoring_ignores_nothing_else():
    with pytest.raises(TypeError), ignoring(OSError, ValueError):
        raise TypeError
