"""Let each allocation of memory fail in turn: a call then raises MemoryError or succeeds, the model is as it was, the next call works.

    python tests/trust/memory.py [--runs N]

At most N allocations in each operation, spread evenly over all; --runs 100000 is every one. The allocations are those of Python, by its own
_testcapi (where a Python lacks that, this part is left out, and said to be) and those of the compiled modules of charrnn.
Each fails once, and then with all that follow; of Python's the next hundred, for it may raise MemoryError in a circle while there is none.
Those of NumPy and safetensors are left out: Rust ends the process where it gets no memory, and NumPy 2.4 crashes. So they do where it is
an allocation of Python's that fails inside them, or NumPy returns no result and no error (a SystemError), or safetensors raises a
PanicException: that is counted, by whose it is, and shown, and what was promised of the model and of the next call holds there, too.

Each runs in a process of its own, so that a crash is seen. It works with AddressSanitizer, too, in the environment that
`make sanitize` sets up.
"""

import argparse
import contextlib
import ctypes
import itertools
import json
import os
import tempfile
from collections import Counter
from pathlib import Path

from common import Findings, preloaded, small_model, text

import charrnn
from charrnn.util.hashing import sha256

try:
    import _testcapi
except ImportError:
    _testcapi = None

LIBRARY = preloaded("allocations.c")
EVER = 2**40
BEYOND = 30  # runs beyond the last allocation that was counted: how many there are varies a little
TRAINING = {"validation_fraction": 0, "progress": False}


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
            if "x" in permissions and "/charrnn/_" in path:
                self.places.append([ctypes.c_void_p(int(address, 16)) for address in addresses.split("-")])

    def arm(self, n, once):
        LIBRARY.shim_forget()
        for place in self.places:
            LIBRARY.shim_add(*place)
        LIBRARY.shim_arm(ctypes.c_long(n), ctypes.c_long(n if once else EVER))

    def disarm(self):
        LIBRARY.shim_disarm()


OPERATIONS = {
    "load": lambda model: charrnn.load("model"),
    "train": lambda model, steps=3: model.train_text(text(), steps=steps, **TRAINING),
    "train in two threads": lambda model, steps=3: model.train_text(text(), steps=steps, batch_size=2, n_threads=2, **TRAINING),
    "generate": lambda model: model.generate(20, prime="to ", seed=0, top_k=10, no_repeat=4),
    "score": lambda model: model.score("to be"),
    "save": lambda model: model.save("new"),
}


def leftovers():
    return set(os.listdir()) - {"model", "new", "stderr"}


def value(result):
    """Return what can be compared: of a model its weights, of a save the file."""
    if result is None:
        return Path("new").read_bytes()
    return sha256(result.network.weights.block) if isinstance(result, charrnn.CharRNN) else result


class Block:
    """An operation, and the allocations that fail in it."""

    def __init__(self, name, maker, once):
        self.name = f"{name}, {maker.name}, {'once' if once else 'from then on'}"
        self.operation, self.maker, self.once = OPERATIONS[name], maker, once
        for _ in range(3):  # what is imported, compiled and kept at first
            self.wanted = value(self.operation(charrnn.load("model")))
        self.allowed = {value(charrnn.load("model"))}  # weights of the model afterwards
        if name.startswith("train"):
            self.allowed |= {value(self.operation(charrnn.load("model"), steps)) for steps in (1, 2, 3)}

    def attempt(self, model, n, once):
        """Return the result and the error of the operation in which allocation number n fails."""
        result = error = None
        try:
            self.maker.arm(n, once)
            result = self.operation(model)
            self.maker.disarm()
        except BaseException as caught:
            self.maker.disarm()
            error = caught
        return result, error

    def allocations(self):
        """Return how many the operation makes: so long as n is smaller, one is missing."""
        n, step = 0, 2**16
        while step:
            failed, status = in_child(lambda n=n + step: self.attempt(charrnn.load("model"), n, once=False)[1] is not None)
            if failed or status:
                n += step
            step //= 2
        for name in leftovers():
            os.unlink(name)
        return n

    def problems(self, n):
        """Let allocation number n fail; return whether one did, of whom the error was if not ours, and what is wrong."""
        model = charrnn.load("model")
        result, error = self.attempt(model, n, self.once)
        wrong = []
        if error is None and value(result) != self.wanted:
            wrong.append("success with another result")
        foreign = foreign_error(error)
        if not isinstance(error, MemoryError | None) and not foreign:
            wrong.append(f"{type(error).__name__}: {error}")
        if value(model) not in self.allowed:
            wrong.append("the model is another")
        for name in leftovers():
            if self.once:  # where memory lacks once, there is enough to remove it
                wrong.append("a temporary file is left")
            os.unlink(name)
        try:
            model.score("to be")
            if value(self.operation(charrnn.load("model"))) != self.wanted:
                wrong.append("the next call has another result")
        except BaseException as caught:
            wrong.append(f"the next call fails: {caught!r}")
        for name in leftovers():
            wrong.append("a temporary file is left after the next call")
            os.unlink(name)
        return error is not None, foreign, wrong

    def run(self, runs, findings):
        """Let up to so many allocations fail; return how many did, and of whom the errors were that are not ours."""
        last = self.allocations()
        numbers = [*range(0, last, max(1, last // runs)), *range(last, last + BEYOND)]
        failures, others = 0, []
        for n in numbers:
            answer, status = in_child(lambda n=n: self.problems(n))
            if status:
                owner = crashed()
                trace = Path("stderr").read_text(errors="replace")[:3000]
                failed, foreign, wrong = True, owner, [] if owner else [f"crash, status {status}\n{trace}"]
            else:
                failed, foreign, wrong = answer
            failures += failed
            others += [foreign] if foreign else []
            for words in wrong:
                kind, *more = words.splitlines()
                findings.add(f"{self.name}: {kind[:150]}", "\n".join([f"at allocation {n}", *more]))
        return failures, others


def foreign_error(error):
    """Return whose an error is that is not for charrnn to raise or to avoid, or None."""
    if type(error).__name__ == "PanicException":
        return "safetensors panicked"
    if isinstance(error, SystemError) and not any(word in str(error) for word in ("charrnn", "cyfunction", "cython")):
        return "NumPy gave no error"
    if isinstance(error, RuntimeError) and str(error) == "can't allocate read lock":
        return "Python opened no file"
    return None


def crashed():
    """Return in whose code the process before crashed, if not in ours: that of the first compiled module in the trace."""
    trace = Path("stderr").read_text(errors="replace")
    if "Cannot recover from MemoryErrors" in trace:
        return "Python gave up"  # after too many in a row
    for line in trace.splitlines():
        if "(PyContextVar_Set+" in line:
            return "Python crashed"  # ContextVar.set, of np.errstate, lets go of a token that it did not get
        for word, owner in (("/charrnn/", None), ("/numpy/", "NumPy crashed"), ("safetensors", "safetensors crashed")):
            if word in line and ".so" in line:
                return owner
    return None


def in_child(function):
    """Run a function in a process of its own; return what it returned, by JSON, and the exit status."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException), os.fdopen(write, "w") as file, open("stderr", "wb") as errors:
            os.dup2(errors.fileno(), 2)  # Rust tells of a panic there
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50)
    runs, findings = parser.parse_args().runs, Findings()
    makers = [Python(), Compiled()]
    if _testcapi is None:
        print("this Python has no _testcapi: its own allocations are left out")
        del makers[0]
    failed, others = dict.fromkeys([maker.name for maker in makers], 0), Counter()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        small_model().save("model")
        for maker, once, name in itertools.product(makers, (True, False), OPERATIONS):
            failures, more = Block(name, maker, once).run(runs, findings)
            failed[maker.name] += failures
            others.update(more)
    print("not ours:", ", ".join(f"{words} {count} times" for words, count in others.items()) or "nothing")
    words = ", ".join(f"{count} of {name}" for name, count in failed.items())
    findings.end(f"memory: {sum(failed.values())} allocations failed ({words}), {findings.count} findings")


if __name__ == "__main__":
    main()
