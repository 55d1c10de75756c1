"""A pytest plugin for an emulated processor: it skips tests that start a process, which would not be emulated, or that hurry a signal."""

import subprocess

import pytest


class Popen(subprocess.Popen):
    """Skips the test that makes one."""

    def __init__(self, *_, **__):
        pytest.skip("starts a process")

    def __del__(self, **_):
        """There is nothing to wait for."""


subprocess.Popen = Popen


def pytest_collection_modifyitems(items):
    """Skip the tests of Ctrl-C, which ask how soon it is heard."""
    for item in items:
        if "ctrl_c" in item.name:
            item.add_marker(pytest.mark.skip(reason="an emulator is late with signals"))
