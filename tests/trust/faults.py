"""Let each system call of a save, a load and a training fail in turn.

    python tests/trust/faults.py [--runs N]

The error must name the file and the reason, files and model must be old or new, and the next call
must work. At most N failures of each kind in each operation, spread evenly over its calls; there
are only some forty, so the default is all of them.

faults.c, compiled here and loaded before libc, replaces the functions of libc that make system
calls. strace could do that, but is not everywhere, must be allowed to trace, and counts the calls
of Python's own start and end; this is switched on around one operation. Not in it: getrandom, to
which these things do not happen, and whether a file is a terminal, which an error answers with no.
"""

import contextlib
import ctypes
import errno
import os
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from common import Findings, open_files, parser, preloaded, temporary_files

import calls
import charrnn

LIBRARY = preloaded("faults.c")
LIBRARY.shim_made.restype = LIBRARY.shim_failed.restype = ctypes.c_char_p
EVER = 2**30  # calls: from one on all fail
SHORT, END, KILL = -1, -2, -3  # as in faults.c
ONCE = ("ENOSPC", "EIO", "EINTR", "EMFILE", "EDQUOT", "ENOMEM")
LASTING = ("ENOSPC", "EIO", "EMFILE")  # not EINTR, after which Python repeats the call
KINDS = {name: (getattr(errno, name), 1) for name in ONCE}
KINDS |= {f"{name} from then on": (getattr(errno, name), EVER) for name in LASTING}
KINDS |= {"short": (SHORT, 1), "always short": (SHORT, EVER), "end": (END, 1), "kill": (KILL, 1)}
IN_ORDER = "write fsync close rename open fsync close"  # makes a save survive a power cut
TRAINING = {"hidden_size": 16, "steps": 3, "progress": False}


class Operation:
    """A call in a folder of its own, with the files of `origin`, by their relative names."""

    paths: tuple[str, ...]  # that the caller names: one of them must be in an error
    writes = None  # the file that is written
    without = ()  # kinds of failure that it cannot have

    def __init__(self, origin):
        self.origin, self.model = origin, charrnn.load(origin / "new")
        self.score = self.model.score("to be")

    def prepare(self):
        shutil.rmtree("here", ignore_errors=True)
        shutil.copytree(self.origin, "here", symlinks=True)
        os.chdir("here")

    def sound(self):
        """Whether the file that is written is the old or the new one."""
        known = [Path(name).read_bytes() for name in ("old", "new")]
        return self.writes is None or Path(self.writes).read_bytes() in known

    def done(self, result):
        """Whether the operation has done what it says."""
        return True


class Save(Operation):
    paths, writes, without = ("link",), "model", ("end",)

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
    paths, without = ("link",), ("kill",)

    def run(self):
        return charrnn.load("link")

    def done(self, result):
        result.save("again")
        return Path("again").read_bytes() == Path("old").read_bytes()


class Train(Operation):
    paths, without = ("text",), ("kill", "end")  # a text ends where a read says so

    def run(self):
        return charrnn.train_file("text", **TRAINING, preset="tutorial")

    def done(self, result):
        return result.score("to be") == self.score


class Resume(Train):
    paths, writes, without = ("text", "checkpoint"), "checkpoint", ("end",)

    def run(self):
        files = {"resume": "checkpoint", "checkpoint": "checkpoint"}
        return charrnn.train_file("text", **files, **TRAINING, preset="tutorial")

    def sound(self):
        return 2 <= charrnn.load("checkpoint").history.steps <= 3


def holds(question, *arguments):
    """Return the answer to a question; no, if it raises."""
    with contextlib.suppress(Exception):
        return question(*arguments)
    return False


def attempt(operation, n, kind, findings):
    """Run an operation in which call n fails, or all from there on; return calls and failures."""
    what, many = KINDS[kind]
    operation.prepare()
    files, descriptors = set(os.listdir()), open_files()
    error = result = None
    LIBRARY.shim_arm(n, n + many - 1, what)
    try:
        result = operation.run()
    except Exception as caught:
        error = caught
    made = LIBRARY.shim_disarm()
    failed = LIBRARY.shim_failed().decode().split()

    def expect(condition, name, words=""):
        where = f"{type(operation).__name__}, {failed[0] if failed else 'nothing'}: {name}"
        findings.expect(condition, where, f"{kind} at call {n}, {words or repr(error)}")

    if error is None:
        expect(holds(operation.done, result), "success without effect")
    elif isinstance(error, OSError):
        named = f"{error!r} filename={error.filename!r}"
        expect(error.filename in operation.paths, "another file in the error", named)
        # Of access Python tells no reason.
        expect(error.errno == what or failed[0] == "access", "another reason in the error")
    else:
        refused = type(error) is charrnn.ModelFormatError and what == END
        expect(refused, "another exception")
    expect(holds(operation.sound), "neither the old nor the new file")
    expect(open_files() == descriptors, "an open file is left")
    expect(operation.model.score("to be") == operation.score, "the model is another")
    left = leftovers(operation, files)
    expect("unlink" in failed or not left, "a temporary file is left", str(left))
    error = result = None
    afterwards(operation, files | left, expect)
    return made, failed


def leftovers(operation, files):
    return set(os.listdir()) - files - {operation.writes, "again"}


def afterwards(operation, files, expect):
    """Check that the operation now works, and leaves nothing behind."""
    try:
        expect(holds(operation.done, operation.run()), "what follows does not work")
    except Exception as error:
        expect(False, "what follows fails", repr(error))
    left = leftovers(operation, files)
    expect(not left, "leftovers", f"{left} after the next save")


def killed(operation, n, findings):
    """Kill an operation at call n; return whether it was killed before its end."""
    operation.prepare()
    files, child = set(os.listdir()), os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            LIBRARY.shim_arm(n, n, KILL)
            operation.run()
        os._exit(0)
    _, status = os.waitpid(child, 0)

    def expect(condition, name, words=""):
        where = f"{type(operation).__name__}, killed"
        findings.expect(condition, f"{where}: {name}", f"at call {n}, {words}")

    expect(holds(operation.sound), "neither the old nor the new file")
    temporary = temporary_files()
    expect(len(temporary) <= int(status != 0), "several temporary files", str(temporary))
    afterwards(operation, files | temporary, expect)
    return status != 0


def sweep(operation, runs, findings):
    """Let each call fail in each way; return the calls that failed, by name."""
    here, counts = os.getcwd(), Counter()
    total, _ = attempt(operation, EVER, "EIO", findings)
    made = LIBRARY.shim_made().decode().split()
    os.chdir(here)
    rest = iter(made)
    in_order = not operation.writes or all(name in rest for name in IN_ORDER.split())
    words = f"{type(operation).__name__}: {' '.join(made)}, without {IN_ORDER}"
    findings.expect(in_order, "order", words)
    for kind in KINDS.keys() - {*operation.without}:
        step = max(1, total // runs)
        for n in range(step, EVER, step):
            if kind == "kill":
                failed = ["kill"] * killed(operation, n, findings)
            else:
                _, failed = attempt(operation, n, kind, findings)
            os.chdir(here)
            counts.update(failed[:1])
            if not failed:
                break
    return counts


def write_files(origin):
    """Write the files that operations read."""
    (origin / "text").write_text(calls.text(), encoding="utf-8")
    calls.text_model(steps=2).save(origin / "old")
    calls.text_model(steps=2, checkpoint=origin / "checkpoint")
    calls.text_model().save(origin / "new")
    shutil.copy(origin / "old", origin / "model")
    (origin / "model").chmod(0o600)
    (origin / "link").symlink_to("model")


def main():
    runs, findings, counts = parser(__doc__, 1000).parse_args().runs, Findings(), Counter()
    sys.unraisablehook = lambda what: findings.add("unraisable", repr(what.exc_value))
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        origin = Path(folder, "origin")
        origin.mkdir()
        write_files(origin)
        for kind in (Save, SaveAnew, Load, Train, Resume):
            counted = sweep(kind(origin), runs, findings)
            words = ", ".join(f"{name} {number}" for name, number in sorted(counted.items()))
            print(f"{kind.__name__}: {words}")
            counts += counted
    findings.end(f"faults: {counts.total()} calls of {len(counts)} kinds failed")


if __name__ == "__main__":
    main()
