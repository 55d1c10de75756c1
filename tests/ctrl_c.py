"""Ctrl-C while a training runs, however slow the machine is."""

import os
import signal
import threading
import time


class CtrlC:
    """A callback of a training: Ctrl-C comes so many seconds after the first report.

    spent() returns the seconds of the processor since then: those of the clock depend on what else
    the machine does.
    """

    def __init__(self, delay):
        self.delay, self.sent, self.timer = delay, None, None

    def __call__(self, progress=None):
        if self.timer is None:  # of several reports, the first
            self.timer = threading.Timer(self.delay, self.send)
            self.timer.start()

    def send(self):
        self.sent = time.process_time()
        os.kill(os.getpid(), signal.SIGINT)

    def during(self, call):
        """Call something; Ctrl-C comes after the delay."""
        self()
        return call()

    def spent(self):
        return time.process_time() - self.sent
