"""Let each allocation of memory fail in turn.

    python tests/trust/memory.py [--runs N] [--only NAME]

The call must raise MemoryError or succeed, the model must be as it was, the next call must work.
At most N allocations of each call fail, spread evenly; --runs 100000 is every one. They are those
of Python, by its own _testcapi (without it they are left out), and those of charrnn's compiled
modules. Each fails once, and then together with all that follow; of Python's with the next
hundred, as it may raise MemoryError in a circle while it gets none.

Allocations of NumPy do not fail, as NumPy 2.4 crashes then. So it does if an allocation of Python's
fails inside it, or it returns no result and no error (a SystemError). These errors are counted by
their owner; the model and the next call must be right after them, too.

Each failure has a process of its own, so that a crash is seen. It works with AddressSanitizer,
too, in the environment that `make sanitize` sets up.
"""

import contextlib
import ctypes
import itertools
import json
import os
import tempfile
from collections import Counter
from pathlib import Path

from common import Findings, parser, preloaded

import calls
import charrnn

try:
    import _testcapi
except ImportError:
    _testcapi = None

LIBRARY = preloaded("allocations.c")
EVER = 2**40
BEYOND = 10  # runs after the last allocation that was counted: their number varies a little


class Python:
    """Python's own allocations."""

    name = "Python"

    def arm(self, n, once):
        _testcapi.set_nomemory(n, n + 1 if once else n + 100)

    def disarm(self):
        _testcapi.remove_mem_hooks()


class Compiled:
    """Allocations by the machine code of charrnn."""

    name = "charrnn"

    def __init__(self):
        self.places = []
        for line in Path("/proc/self/maps").read_text().splitlines():
            addresses, permissions, *_, path = line.split()
            if "x" in permissions and "/charrnn/" in path:
                ends = addresses.split("-")
                self.places.append([ctypes.c_void_p(int(address, 16)) for address in ends])

    def arm(self, n, once):
        LIBRARY.shim_forget()
        for place in self.places:
            LIBRARY.shim_add(*place)
        LIBRARY.shim_arm(ctypes.c_long(n), ctypes.c_long(n if once else EVER))

    def disarm(self):
        LIBRARY.shim_disarm()


def loaded(name):
    """Return a model of a call's kind, as it is in its file."""
    return charrnn.load("records" if "records" in name else "model")


def call_of(name, model):
    """Return the call with this name."""
    found = {**calls.uses(model, "."), **calls.trainings(model, ".")}
    return found.get(name, lambda: charrnn.load("model"))


def leftovers():
    """Return the files that no call should leave."""
    return {name for name in os.listdir() if name.startswith(".")}


class Block:
    """A call, and the allocations that fail in it."""

    def __init__(self, name, maker, once):
        self.name, self.maker, self.once = name, maker, once
        self.title = f"{name}, {maker.name}, {'once' if once else 'from then on'}"
        for _ in range(3):  # what is imported, compiled and kept at first
            model = loaded(name)
            before = calls.digest(model)
            self.wanted = calls.digest(call_of(name, model)())
            self.allowed = before, calls.digest(model)

    def attempt(self, model, n, once):
        """Return the result and the error of the call in which allocation n fails."""
        call = call_of(self.name, model)
        result = error = None
        try:
            self.maker.arm(n, once)
            result = call()
            self.maker.disarm()
        except BaseException as caught:
            self.maker.disarm()
            error = caught
        return result, error

    def allocations(self):
        """Return how many the call makes: for a smaller n one is missing."""
        n, step = 0, 2**16
        while step:
            failed, status = in_child(lambda n=n + step: self.fails(n))
            n += step if failed or status else 0
            step //= 2
        return n

    def fails(self, n):
        return self.attempt(loaded(self.name), n, once=False)[1] is not None

    def problems(self, n):
        """Let allocation n fail; return whether one did, the owner of an error not ours, faults."""
        model = loaded(self.name)
        result, error = self.attempt(model, n, self.once)
        wrong = []
        if error is None and calls.digest(result) != self.wanted:
            wrong.append("success with another result")
        owner = owner_of(error)
        if not isinstance(error, MemoryError | None) and not owner:
            wrong.append(f"{type(error).__name__}: {error}")
        if not self.is_whole(model):
            wrong.append("the model is another")
        if self.once and leftovers():  # there is enough memory to remove it
            wrong.append("a temporary file is left")
        clean_up()
        try:
            again = calls.digest(call_of(self.name, loaded(self.name))())
            wrong += ["the next call has another result"] * (again != self.wanted)
        except BaseException as caught:
            wrong.append(f"the next call fails: {caught!r}")
        if leftovers():
            wrong.append("a temporary file is left after the next call")
        return error is not None, owner, wrong

    def is_whole(self, model):
        """Whether a model is as it was, or that of a whole step of the training."""
        found, steps = calls.digest(model), model.history.steps
        if found in self.allowed or "train" not in self.name:
            return found in self.allowed
        before = loaded(self.name)
        calls.trainings(before, ".", steps=steps)[self.name]()
        return found == calls.digest(before)

    def run(self, runs, findings):
        """Let allocations fail; return how many did, and the owners of errors that are not ours."""
        last = self.allocations()
        clean_up()
        failures, others = 0, []
        for n in [*range(0, last, max(1, last // runs)), *range(last, last + BEYOND)]:
            answer, status = in_child(lambda n=n: self.problems(n))
            if status:
                owner = crashed_in()
                trace = Path("stderr").read_text(errors="replace")[:3000]
                crash = [] if owner else [f"crash, status {status}\n{trace}"]
                answer = True, owner, crash
            failed, owner, wrong = answer
            failures += failed
            others += [owner] if owner else []
            for words in wrong:
                kind, *more = words.splitlines()
                place = "\n".join([f"at allocation {n}", *more])
                findings.add(f"{self.title}: {kind[:150]}", place)
            clean_up()
        return failures, others


def clean_up():
    for name in leftovers():
        os.unlink(name)


def owner_of(error):
    """Return whose an error is that charrnn neither raises nor can avoid, or None."""
    ours = ("charrnn", "cyfunction", "cython")
    if isinstance(error, SystemError) and not any(word in str(error) for word in ours):
        return "NumPy gave no error"
    if isinstance(error, RuntimeError) and str(error) == "can't allocate read lock":
        return "Python opened no file"
    return None


def crashed_in():
    """Return where the process before crashed if not in charrnn: the first module of its trace."""
    trace = Path("stderr").read_text(errors="replace")
    if "Cannot recover from MemoryErrors" in trace:
        return "Python gave up"  # after too many in a row
    owners = {"/charrnn/": None, "/numpy/": "NumPy crashed"}
    for line in trace.splitlines():
        if "(PyContextVar_Set+" in line:
            return "Python crashed"  # ContextVar.set, of np.errstate, frees a token it never got
        for word, owner in owners.items():
            if word in line and ".so" in line:
                return owner
    return None


def in_child(function):
    """Run a function in a process of its own; return its result, as JSON has it, and the status."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        with (
            contextlib.suppress(BaseException),
            os.fdopen(write, "w") as file,
            open("stderr", "wb") as errors,
        ):
            os.dup2(errors.fileno(), 2)  # Rust writes of a panic there
            LIBRARY.shim_tell()
            json.dump(function(), file)
            status = 0
        os._exit(status)
    os.close(write)
    with os.fdopen(read) as file:
        words = file.read()
    status = os.waitpid(child, 0)[1]
    return None if status else json.loads(words), status


def main():
    arguments = parser(__doc__, 12)
    arguments.add_argument("--only", default="", help="calls whose name has this")
    arguments, findings = arguments.parse_args(), Findings()
    makers = [Python(), Compiled()]
    if _testcapi is None:
        print("this Python has no _testcapi: its own allocations are left out")
        del makers[0]
    failed, others = Counter(), Counter()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        model, records = calls.text_model(), calls.record_model()
        calls.write_files(".", model)
        records.save("records")
        names = [*calls.uses(model, "."), *calls.trainings(model, "."), "load"]
        names += calls.trainings(records, ".")
        for name, maker, once in itertools.product(names, makers, (True, False)):
            if arguments.only in name:
                failures, more = Block(name, maker, once).run(arguments.runs, findings)
                failed[maker.name] += failures
                others.update(more)
    counts = [f"{words} {count} times" for words, count in others.items()]
    print("not ours:", ", ".join(counts) or "nothing")
    words = ", ".join(f"{count} of {name}" for name, count in failed.items())
    findings.end(f"memory: {failed.total()} allocations failed ({words})")


if __name__ == "__main__":
    main()
