"""Let each system call of a save, a load and a training fail in turn, and look at what is said, what is on disk and what is in memory.

    python tests/trust/faults.py [--runs N]

At most N failures of each kind in each operation, spread evenly over its calls; as there are only some forty, the default is all of them.

faults.c, compiled here and loaded before libc, stands between Python and the functions of libc that make the calls. strace could do it,
too, but is not everywhere, must be allowed to trace, and counts the calls of Python's own start and end; this one is switched on and off
by the script itself, around one operation. Not in it: getrandom, to which these things do not happen, and the question whether a file is
a terminal, which an error answers with no.
"""

import argparse
import contextlib
import ctypes
import errno
import os
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from common import Findings, preloaded, small_model, text

import charrnn
from charrnn import ModelFormatError
from charrnn.storage import model_file as persistence

LIBRARY = preloaded("faults.c")
LIBRARY.shim_made.restype = LIBRARY.shim_failed.restype = ctypes.c_char_p
EVER = 2**30  # calls: from one on all fail
SHORT, END, KILL = -1, -2, -3  # as in faults.c
KINDS = {name: (getattr(errno, name), 1) for name in ("ENOSPC", "EIO", "EINTR", "EMFILE", "EDQUOT", "ENOMEM")}
KINDS |= {f"{name} from then on": (getattr(errno, name), EVER) for name in ("ENOSPC", "EIO", "EMFILE")}  # Python repeats after EINTR
KINDS |= {"short": (SHORT, 1), "always short": (SHORT, EVER), "end": (END, 1), "kill": (KILL, 1)}
IN_ORDER = "write fsync close rename open fsync close"  # what makes a save survive a power cut


class Operation:
    """What is tried, in a folder of its own that has the files of `origin`, by their relative names."""

    paths: tuple[str, ...]  # that the caller names: one of them must be in an error
    writes: str | None = None  # the file that is written
    kinds = tuple(KINDS)

    def __init__(self, origin):
        self.origin, self.model = origin, charrnn.load(origin / "new")
        self.score = self.model.score("to be")

    def prepare(self):
        shutil.rmtree("here", ignore_errors=True)
        shutil.copytree(self.origin, "here", symlinks=True)
        os.chdir("here")

    def sound(self):
        """Whether the file that is written is the old or the new one."""
        return self.writes is None or Path(self.writes).read_bytes() in (Path("old").read_bytes(), Path("new").read_bytes())

    def done(self, result):
        """Whether the operation has done what it says."""
        return True


class Save(Operation):
    paths, writes = ("link",), "model"
    kinds = tuple(kind for kind in KINDS if kind not in ("end",))

    def run(self):
        self.model.save("link")

    def done(self, result):
        kept = os.stat("model").st_mode & 0o777 == 0o600 and os.path.islink("link")
        return kept and Path("model").read_bytes() == Path("new").read_bytes()


class SaveAnew(Save):
    paths, writes = ("another",), "another"

    def run(self):
        self.model.save("another")

    def sound(self):
        return not os.path.exists("another") or super().sound()

    def done(self, result):
        return Path("another").read_bytes() == Path("new").read_bytes()


class Load(Operation):
    paths = ("link",)
    kinds = tuple(kind for kind in KINDS if kind not in ("kill",))

    def run(self):
        return charrnn.load("link")

    def done(self, result):
        result.save("again")
        return Path("again").read_bytes() == Path("old").read_bytes()


class Train(Operation):
    paths = ("text",)
    kinds = tuple(kind for kind in KINDS if kind not in ("kill", "end"))  # a text has no other end than where a read says so

    def run(self):
        return charrnn.train_file("text", hidden_size=16, steps=3, progress=False)

    def done(self, result):
        return result.score("to be") == self.score


class Resume(Train):
    paths, writes = ("text", "checkpoint"), "checkpoint"
    kinds = tuple(kind for kind in KINDS if kind not in ("end",))

    def run(self):
        return charrnn.train_file("text", hidden_size=16, steps=3, progress=False, resume="checkpoint", checkpoint="checkpoint")

    def sound(self):
        return 2 <= persistence.load("checkpoint").training.position.step <= 3


def holds(question, *arguments):
    """Return the answer to a question; no, if it raises."""
    with contextlib.suppress(Exception):
        return question(*arguments)
    return False


def attempt(operation, n, kind, findings):
    """Run an operation in which call number n fails, or all from there on; return how many calls there were, and which have failed."""
    what, calls = KINDS[kind]
    operation.prepare()
    files, descriptors = set(os.listdir()), len(os.listdir("/proc/self/fd"))
    error = result = None
    LIBRARY.shim_arm(n, n + calls - 1, what)
    try:
        result = operation.run()
    except Exception as caught:
        error = caught
    made = LIBRARY.shim_disarm()
    failed = LIBRARY.shim_failed().decode().split()

    def expect(condition, name, words=""):
        if not condition:
            where = f"{type(operation).__name__}, {failed[0] if failed else 'nothing'}"
            findings.add(f"{where}: {name}", f"{kind} at call {n}, {words or repr(error)}")

    if error is None:
        expect(holds(operation.done, result), "success that is none")
    elif isinstance(error, OSError):
        expect(error.filename in operation.paths, "another file in the error", f"{error!r} filename={error.filename!r}")
        expect(error.errno == what or failed[0] == "access", "another reason in the error")  # of access Python tells no reason
    else:
        expect(type(error) is ModelFormatError and what == END, "another exception")
    expect(holds(operation.sound), "neither the old nor the new file")
    expect(len(os.listdir("/proc/self/fd")) == descriptors, "an open file is left")
    expect(operation.model.score("to be") == operation.score, "the model is another")
    left = set(os.listdir()) - files - {operation.writes, "again"}
    expect("unlink" in failed or not left, "a temporary file is left", str(left))
    error = result = None
    afterwards(operation, files | left, expect)
    return made, failed


def afterwards(operation, files, expect):
    """Look whether the operation now goes well, and leaves nothing behind."""
    try:
        expect(holds(operation.done, operation.run()), "what follows does not work")
    except Exception as error:
        expect(False, "what follows fails", repr(error))
    left = set(os.listdir()) - files - {operation.writes, "again"}
    expect(not left, "leftovers", f"{left} after the next save")


def killed(operation, n, findings):
    """Kill an operation at call number n; return 1 if it was killed before its end."""
    operation.prepare()
    files, child = set(os.listdir()), os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            LIBRARY.shim_arm(n, n, KILL)
            operation.run()
        os._exit(0)
    _, status = os.waitpid(child, 0)

    def expect(condition, name, words=""):
        if not condition:
            findings.add(f"{type(operation).__name__}, killed: {name}", f"at call {n}, {words}")

    expect(holds(operation.sound), "neither the old nor the new file")
    temporary = {name for name in os.listdir() if name.startswith(".charrnn-")}
    expect(len(temporary) <= int(status != 0), "several temporary files", str(temporary))
    afterwards(operation, files | temporary, expect)
    return int(status != 0)


def sweep(operation, runs, findings):
    """Let each call fail in each way; return the calls that failed, by name."""
    here, counts = os.getcwd(), Counter()
    calls, _ = attempt(operation, EVER, "EIO", findings)
    made = LIBRARY.shim_made().decode().split()
    os.chdir(here)
    rest = iter(made)
    if operation.writes and not all(name in rest for name in IN_ORDER.split()):
        findings.add("order", f"{type(operation).__name__} does not {IN_ORDER}, but {' '.join(made)}")
    for kind in operation.kinds:
        n = 0
        while n < EVER:
            n += max(1, calls // runs)
            if kind == "kill":
                failed = ["kill"] * killed(operation, n, findings)
            else:
                _, failed = attempt(operation, n, kind, findings)
            os.chdir(here)
            counts.update(failed[:1])
            if not failed:
                break
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    runs, findings = parser.parse_args().runs, Findings()
    sys.unraisablehook = lambda what: findings.add("unraisable", repr(what.exc_value))
    counts = Counter()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        origin = Path(folder, "origin")
        origin.mkdir()
        (origin / "text").write_text(text(), encoding="utf-8")
        small_model(steps=2).save(origin / "old")
        small_model(checkpoint=origin / "checkpoint", steps=2)
        small_model().save(origin / "new")
        shutil.copy(origin / "old", origin / "model")
        (origin / "model").chmod(0o600)
        (origin / "link").symlink_to("model")
        for kind in (Save, SaveAnew, Load, Train, Resume):
            counted = sweep(kind(origin), runs, findings)
            print(f"{kind.__name__}:", ", ".join(f"{name} {number}" for name, number in sorted(counted.items())))
            counts += counted
    findings.end(f"faults: {counts.total()} calls of {len(counts)} kinds failed, {findings.count} findings")


if __name__ == "__main__":
    main()
