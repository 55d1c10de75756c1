"""Call each public function over and over: memory, open files and threads stay what they were, and nothing is printed.

    python tests/trust/soak.py [--runs N] [name ...]

N calls of each, of what trains or saves a hundredth of it, but at least 100; with names, of those only. What is looked at after a warm-up,
and again after the calls: the blocks of Python's allocator, the bytes that malloc has given out, the pages in memory, the files in
/proc/self/fd, the threads in /proc/self/task. Memory may grow for other reasons than a leak (a cache, an arena): what grows is called
again, up to five times, and is a leak if it grows each time.
"""

import argparse
import contextlib
import copy
import ctypes
import gc
import os
import pickle
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import Findings, small_model, text

import charrnn
from charrnn.network import Network
from charrnn.network._types import Description, Parameters

ROUNDS = 5
BLOCKS, BYTES, PAGES = 40, 64 << 10, 1 << 20  # what may be more after all calls: of blocks, of malloc's bytes, of bytes in memory
SOME = text(300)


class Mallinfo(ctypes.Structure):
    """As in malloc.h."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    )


LIBC = ctypes.CDLL(None)
if hasattr(LIBC, "mallinfo2"):  # glibc 2.33
    LIBC.mallinfo2.restype = Mallinfo


def memory():
    """Return blocks of Python's allocator, bytes of malloc, bytes in memory."""
    gc.collect()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    given = LIBC.mallinfo2() if hasattr(LIBC, "mallinfo2") else Mallinfo()
    return np.array([sys.getallocatedblocks(), given.uordblks + given.hblkhd, resident])


def held(at_most=(0, 0)):
    """Return the numbers of open files and of threads; if there are more, after a moment, for threads take one to end."""
    for _ in range(50):
        now = len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
        if now[0] <= at_most[0] and now[1] <= at_most[1]:
            break
        time.sleep(0.001)
    return now


def refused(error, function):
    """Return a call that is to raise an error."""

    def call():
        with contextlib.suppress(error):
            function()
            raise AssertionError("nothing was raised")

    return call


def files(model, records):
    """Write the files that the calls read: good ones and bad ones."""
    Path("text").write_text(SOME, encoding="utf-8")
    Path("not utf-8").write_bytes(b"abc\xff")
    model.save("model")
    records.save("records")
    good = Path("model").read_bytes()
    for name, data in {"short": good[:-1], "header": good[:40], "empty": b"", "flipped": good[:-1] + bytes([good[-1] ^ 1])}.items():
        Path(name).write_bytes(data)
    charrnn.train_text(SOME, steps=2, checkpoint="checkpoint", **TINY)


TINY = {"hidden_size": 4, "progress": False}
MORE = {"steps": 2, "progress": False}


def calls(model, records):
    """Return the calls by name, the fast ones and the slow ones."""
    rnn = charrnn.RNN(4, 5, 3, 0.1, seed=0)
    reader = charrnn.DataReader("text", 10)
    tutorial = charrnn.RNN(4, reader.vocab_size, 10, 0.1, seed=0)
    h, ids, targets = np.zeros((4, 1)), [0, 1, 2], [1, 2, 3]
    xs, hs, ps = rnn.forward(ids, h)
    gradient = rnn.backward(xs, hs, ps, targets)
    vocabulary = model.vocabulary
    network = Network(([("rnn", 4)], 5), "float32")
    work, training, pair = network.workspace(3, 1), network.workspace(3, 2, training=True), network.workspace(2, 2)
    column, columns = np.array([[0], [1], [2]], np.int32), np.zeros((3, 2), np.int32)
    random, allowed = np.zeros(1, np.uint64), np.ones(5, np.int8)
    fast = {
        "generate": lambda: model.generate(5, prime="to ", seed=0, top_k=3, top_p=0.9, min_p=0.01, no_repeat=3, stop="z"),
        "generate_many": lambda: records.generate_many(3, 5, seed=0, unique=True, novel=True),
        "stream": lambda: list(model.stream(3, prime="t", seed=0)),
        "stream, left": lambda: next(model.stream()),
        "beam_search": lambda: records.beam_search(4, n_best=2, width=3),
        "log_probs": lambda: model.log_probs("to be"),
        "score": lambda: model.score("to be"),
        "score_many": lambda: model.score_many(["to be", "or", "not"]),
        "next_probs": lambda: model.next_probs("to"),
        "attributes": lambda: (model.rnn, model.network, model.vocabulary, model.history, model.index, repr(model), records.index),
        "history": lambda: (model.history.to_dict(), charrnn.History.from_dict(model.history.to_dict())),
        "copy": lambda: copy.deepcopy(model),
        "pickle": lambda: pickle.loads(pickle.dumps(model)),
        "load": lambda: charrnn.load("model"),
        "load, records": lambda: charrnn.load("records"),
        "load, checkpoint": lambda: charrnn.load("checkpoint"),
        **{f"load, {name}": refused(charrnn.ModelFormatError, lambda name=name: charrnn.load(name)) for name in BAD},
        "load, none": refused(OSError, lambda: charrnn.load("none")),
        "generate, wrong": refused(TypeError, lambda: model.generate("5")),
        "generate, unknown": refused(ValueError, lambda: model.generate(5, prime="\u20ac")),
        "score, wrong": refused(ValueError, lambda: model.score("")),
        "beam_search, wrong": refused(ValueError, lambda: model.beam_search(3, n_best=5, width=2)),
        "train_text, wrong": refused(TypeError, lambda: charrnn.train_text(5)),
        "train_text, no option": refused(TypeError, lambda: charrnn.train_text(SOME, steppes=1)),
        "train_file, not UTF-8": refused(ValueError, lambda: charrnn.train_file("not utf-8")),
        "train_records, wrong": refused(ValueError, lambda: charrnn.train_records([""])),
        "save, wrong": refused(OSError, lambda: model.save("no folder/model")),
        "RNN": lambda: charrnn.RNN(4, 5, 3, 0.1, seed=0),
        "RNN, wrong": refused(ValueError, lambda: charrnn.RNN(0, 5, 3, 0.1)),
        "RNN.forward": lambda: rnn.forward(ids, h),
        "RNN.softmax": lambda: rnn.softmax(np.zeros(5)),
        "RNN.loss": lambda: rnn.loss(ps, targets),
        "RNN.backward": lambda: rnn.backward(xs, hs, ps, targets),
        "RNN.update_model": lambda: rnn.update_model(*gradient),
        "RNN.sample": lambda: rnn.sample(h, 0, 3),
        "RNN.predict": lambda: tutorial.predict(reader, SOME[0], 3),
        "RNN.U": lambda: (rnn.U, rnn.mc, setattr(rnn, "b", 0), setattr(rnn, "learning_rate", 0.1)),
        "Vocabulary": lambda: charrnn.Vocabulary.from_text("hello").extended("world").missing("!"),
        "Vocabulary.encode": lambda: vocabulary.decode(vocabulary.encode("to be", on_unknown="skip")),
        "Vocabulary, wrong": refused(ValueError, lambda: charrnn.Vocabulary("aa")),
        "DataReader": lambda: charrnn.DataReader("text", 10).next_batch(),
        "DataReader, none": refused(OSError, lambda: charrnn.DataReader("none", 10)),
        "DataReader.next_batch": lambda: (reader.next_batch(), reader.just_started()),
        "Network": lambda: Network(([("rnn", 4)], 5), "float64").workspace(2, 2, training=True),
        "Network.train_steps": lambda: network.train_steps(training, columns, columns, rate=0.1, clip=5.0, threads=2),
        "Network.evaluate": lambda: network.evaluate(work, column, column),
        "Network.draw": lambda: network.draw(work, 3, random),
        "Network.search": lambda: network.search(pair, 2, np.zeros(2), np.zeros(2, np.int8), allowed, -1),
        "Network.next_nll": lambda: (network.next_nll(work, [1]), network.next_probs(work)),
        "Network.evaluate, wrong": refused(IndexError, lambda: network.evaluate(work, column + 9, column)),
        "Description": lambda: (Description([("rnn", 4)], 5).tensors, Parameters(network.description, "float32").views()),
        "Parameters, pickled": lambda: pickle.loads(pickle.dumps(network.weights)),
    }
    slow = {
        "save": lambda: model.save("saved"),
        "train_text": lambda: charrnn.train_text(SOME, steps=2, **TINY),
        "train_text, checkpoint": lambda: charrnn.train_text(SOME, steps=2, checkpoint="again", **TINY),
        "train_text, resumed": lambda: charrnn.train_text(SOME, steps=3, resume="checkpoint", **TINY),
        "train_text, diverged": refused(charrnn.DivergedError, lambda: charrnn.train_text(SOME, learning_rate=3e38, epochs=9, **TINY)),
        "train_text, stopped": refused(ZeroDivisionError, lambda: charrnn.train_text(SOME, epochs=1, callback=lambda _: 1 / 0, **TINY)),
        "train_file": lambda: charrnn.train_file("text", steps=2, batch_size=4, n_threads=2, **TINY),
        "train_records": lambda: charrnn.train_records(NAMES, steps=2, remember=True, **TINY),
        "model.train_text": lambda: model.train_text(SOME, **MORE),
        "model.train_file": lambda: model.train_file("text", **MORE),
        "model.train_records": lambda: records.train_records(NAMES, **MORE),
        "RNN.train": lambda: tutorial.train(reader, steps=2, callback=None),
    }
    return fast, slow


BAD = ("short", "header", "empty", "flipped", "text")
NAMES = ["anna", "hanna", "susanna"]


def soak(name, call, runs, findings):
    """Make so many calls, and again while they leave more memory in use; return by how many bytes what is in memory has grown."""
    for _ in range(max(10, runs // 10)):
        call()
    before = held()
    for _ in range(ROUNDS):
        start = memory()
        for _ in range(runs):
            call()
        grown = memory() - start
        if (grown <= (BLOCKS, BYTES, PAGES)).all():
            break
    else:
        findings.add(
            "leak", f"{name}: {grown[0]} blocks, {grown[1]} bytes of malloc, {grown[2]} bytes in memory in {runs} calls, {ROUNDS} times"
        )
    after = held(before)
    if after[0] > before[0] or after[1] > before[1]:
        findings.add("open files or threads", f"{name}: {before}, now {after}")
    return int(grown[2])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("names", nargs="*")
    arguments, findings = parser.parse_args(), Findings()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        model = small_model()
        records = charrnn.train_records(NAMES, steps=2, remember=True, **TINY)
        files(model, records)
        fast, slow = calls(model, records)
        screen, told = os.dup(1), os.dup(2)
        findings.to = os.fdopen(told, "w")
        with open("printed", "wb") as printed:
            os.dup2(printed.fileno(), 1)
            os.dup2(printed.fileno(), 2)
        total, drift = 0, {}
        for name, call in (fast | slow).items():
            if arguments.names and name not in arguments.names:
                continue
            runs = arguments.runs if name in fast else max(100, arguments.runs // 100)
            drift[name] = soak(name, call, runs, findings)
            total += runs
        sys.stdout.flush()
        os.dup2(screen, 1)
        os.dup2(told, 2)
        if said := Path("printed").read_bytes():
            findings.add("printed", f"{said[:300]!r}")
    worst = max(drift, key=drift.get)
    grown = f"at most {drift[worst] / 1024:.0f} KiB more in memory ({worst})"
    findings.end(f"soak: {total} calls of {len(drift)} kinds, {grown}, {findings.count} findings")


if __name__ == "__main__":
    main()
