"""Call each public function over and over: memory, open files and threads must not grow.

    python tests/trust/soak.py [--runs N] [name ...]

N calls of each, fewer of slow ones but at least 100; with names, of those only. After a warm-up
and after the calls this compares the blocks of Python's allocator, the bytes that malloc has given
out, the pages in memory, the open files and the threads. Memory may grow for other reasons than a
leak (a cache, an arena): a call whose memory grew is repeated up to five times, and leaks if it
grows each time. Nothing may be printed.
"""

import contextlib
import ctypes
import gc
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from common import Findings, open_files, parser

import calls
import charrnn

ROUNDS = 5
SECONDS = 4.0  # per round of a call at 2,000 runs: slow ones get fewer
LIMITS = 40, 64 << 10, 1 << 20  # growth that is no leak: blocks, malloc's bytes, bytes in memory


FIELDS = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"


class Mallinfo(ctypes.Structure):
    """As in malloc.h."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in FIELDS.split())


LIBC = ctypes.CDLL(None)
if hasattr(LIBC, "mallinfo2"):  # glibc 2.33
    LIBC.mallinfo2.restype = Mallinfo


def memory():
    """Return blocks of Python's allocator, bytes of malloc, bytes in memory."""
    gc.collect()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    given = LIBC.mallinfo2() if hasattr(LIBC, "mallinfo2") else Mallinfo()
    return np.array([sys.getallocatedblocks(), given.uordblks + given.hblkhd, resident])


def handles(most=(0, 0)):
    """Return the numbers of open files and threads; wait a moment for more than most to end."""
    for _ in range(50):
        found = open_files(), len(os.listdir("/proc/self/task"))
        if found <= most:
            break
        time.sleep(0.001)
    return found


def soak(name, call, runs, findings):
    """Repeat a call; return the number of calls, and the growth of the bytes in memory."""
    started = time.perf_counter()
    for _ in range(10):
        call()
    each = (time.perf_counter() - started) / 10
    runs = min(runs, max(100, int(runs / 2000 * SECONDS / each)))
    for _ in range(runs // 10):
        call()
    before = handles()
    for _ in range(ROUNDS):
        start = memory()
        for _ in range(runs):
            call()
        grown = memory() - start
        if (grown <= LIMITS).all():
            break
    else:
        words = f"{grown[0]} blocks, {grown[1]} bytes of malloc, {grown[2]} bytes in memory"
        findings.add("leak", f"{name}: {words} in {runs} calls, {ROUNDS} times")
    after = handles(before)
    words = f"{name}: {before}, now {after}"
    findings.expect(max(np.subtract(after, before)) <= 0, "open files or threads", words)
    return runs, int(grown[2])


@contextlib.contextmanager
def silent(findings):
    """Send what is printed to a file: there must be nothing in it."""
    streams = os.dup(1), os.dup(2)
    warnings.simplefilter("ignore", charrnn.TrainingWarning)  # trainings are short here
    with tempfile.TemporaryFile() as printed, os.fdopen(os.dup(2), "w") as findings.output:
        os.dup2(printed.fileno(), 1)
        os.dup2(printed.fileno(), 2)
        yield
        sys.stdout.flush()
        os.dup2(streams[0], 1)
        os.dup2(streams[1], 2)
        printed.seek(0)
        said = printed.read()
        findings.expect(not said, "printed", f"{said[:300]!r}")
    findings.output = sys.stderr


def main():
    arguments = parser(__doc__, 2000)
    arguments.add_argument("names", nargs="*")
    arguments, findings, results = arguments.parse_args(), Findings(), {}
    with tempfile.TemporaryDirectory() as folder:
        known = calls.everything(calls.text_model(), calls.record_model(), folder)
        with silent(findings):
            for name, call in known.items():
                if not arguments.names or name in arguments.names:
                    results[name] = soak(name, call, arguments.runs, findings)
    worst = max(results, key=lambda name: results[name][1])
    grown = f"at most {results[worst][1] / 1024:.0f} KiB more in memory ({worst})"
    total = sum(runs for runs, _ in results.values())
    findings.end(f"soak: {total} calls of {len(results)} kinds, {grown}")


if __name__ == "__main__":
    main()
