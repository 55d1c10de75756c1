import gc
import os
import platform
import re
import signal
import subprocess
import sys
import textwrap

import hypothesis
import pytest

from charrnn.network import dispatch as _dispatch
from chromium import browser, visit  # noqa: F401  fixtures

# The same examples each time, however long one takes; --hypothesis-profile=explore draws others.
hypothesis.settings.register_profile("charrnn", deadline=None, derandomize=True, database=None)
explore = {"deadline": None, "derandomize": False, "print_blob": True, "max_examples": 1000}
hypothesis.settings.register_profile("explore", **explore)
hypothesis.settings.load_profile("charrnn")


# A shell starts its background jobs, this run perhaps, deaf to Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "clock: looks at the clock, and fails where other tests run beside it"
    )


# Where pytest-run-parallel runs each test in several threads at once, these run in one: they change
# something of the whole process, or
# share a file or a network.
ALONE = {
    f"test_{name}"
    for name in (
        "browser",
        "capi",
        "checkpoint",
        "cli",
        "calls",
        "dask",
        "datasets",
        "dispatch",
        "documents",
        "examples",
        "export",
        "files",
        "history",
        "hostile",
        "jupyter",
        "loop",
        "model_file",
        "mpi",
        "notebooks",
        "progress",
        "signals",
        "sklearn",
        "structure",
        "testing",
        "types",
    )
}
SHARED = {"path", "rnn", "text_file"}


def pytest_collection_modifyitems(config, items):
    if config.pluginmanager.hasplugin("_run-parallel"):
        for item in items:
            if (
                item.module.__name__ in ALONE
                or SHARED & set(item.fixturenames)
                or "ctrl_c" in item.name
            ):
                item.add_marker("thread_unsafe")


@pytest.fixture(autouse=True)
def no_collection(request):
    """Keep Ctrl-C and alarms out of the callbacks of the garbage collector, Hypothesis' among them,
    where Python swallows them.
    """
    if re.search("ctrl_c|timeout", request.node.name):
        gc.disable()
    yield
    gc.enable()


@pytest.fixture(params=_dispatch.available())
def kernels(request):
    """Run the test with the kernels of each compiled variant that this processor runs."""
    core = _dispatch.load(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_dispatch, "core", core)
        yield core


@pytest.fixture
def needs_fma(kernels):
    """Skip the test for a variant without FMA, which does not have the bits of the others."""
    arm = platform.machine().lower() in ("aarch64", "arm64")
    if kernels.__name__ == "charrnn._core" and not arm:
        pytest.skip("without FMA the results are right to rounding, not to the bit")


@pytest.fixture(scope="session")
def english():
    """Real text that every Python ships: 20,000 characters of its documentation."""
    from pydoc_data.topics import topics

    return "\n\n".join(topics.values())[:20000]


@pytest.fixture
def text_file(tmp_path):
    """Make a file of given text or bytes."""

    def make(content, name="input.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return make


@pytest.fixture
def run_python():
    """Run a program in a Python of its own; return how it ended."""

    def run(program, *arguments, flags=(), variables=None, **options):
        command = [sys.executable, *flags, "-c", textwrap.dedent(program), *map(str, arguments)]
        options = {"capture_output": True, "text": True, "timeout": 600, **options}
        return subprocess.run(command, env=os.environ | (variables or {}), **options)

    return run


@pytest.fixture
def python():
    """The command that runs this Python, for subprocesses."""
    return sys.executable
