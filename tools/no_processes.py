"""A pytest plugin for emulated processors.

It skips tests that start a process, which would not be emulated, and tests that time Ctrl-C.
"""

import subprocess

import pytest


class Popen(subprocess.Popen):
    """Skips the test that makes one."""

    def __init__(self, *_, **__):
        pytest.skip("starts a process")

    def __del__(self, **_):
        """Do nothing: no process was started."""


subprocess.Popen = Popen


def pytest_collection_modifyitems(items):
    """Skip the tests that measure how soon Ctrl-C acts."""
    for item in items:
        if "ctrl_c" in item.name:
            item.add_marker(pytest.mark.skip(reason="an emulator is late with signals"))
