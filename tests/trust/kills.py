"""Kill saves at random moments: the file is the old or the new one to the byte.

A killed save may leave a temporary file; the next one works, and leaves none of its own.

    python tests/trust/kills.py [--runs N] [--seed S]

Of N kills most are of small models and of checkpoints; each tenth is of a model of 5 MB.
"""

import argparse
import os
import random
import signal
import statistics
import tempfile
import time
from pathlib import Path

from common import Findings, small_model, text

import charrnn
from charrnn.storage import model_file as persistence


class Target:
    """A file that is saved over and over, in a folder of its own, with two contents in turn."""

    def __init__(self, name, pair):
        self.name, self.pair, self.folder = name, pair, tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name, "model.safetensors")
        self.bytes = []
        for saved in pair:
            persistence.save(self.path, saved)
            self.bytes.append(self.path.read_bytes())
        self.holds = 1  # which of the two the file has
        self.seconds = statistics.median(self.killed_after(None) for _ in range(5))

    def killed_after(self, seconds):
        """Kill a save of the other content after so many seconds, None: when it is done; return the seconds that it had."""
        ready, tell = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(tell, b"b")
                persistence.save(self.path, self.pair[1 - self.holds])
                os.write(tell, b"e")
                time.sleep(600)  # so that the kill meets somebody in any case
            finally:
                os._exit(1)
        os.close(tell)
        os.read(ready, 1)
        started = time.perf_counter()
        if seconds is None:
            os.read(ready, 1)
        else:
            time.sleep(seconds)
        took = time.perf_counter() - started
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ready)
        if seconds is None:
            self.holds = 1 - self.holds
        return took

    def others(self):
        return set(os.listdir(self.folder.name)) - {self.path.name}


def attempt(target, moment, findings):
    """Kill one save at a part of its time; return whether it wrote, and whether it left a file."""
    old = target.holds
    target.killed_after(moment * target.seconds)
    content, left = target.path.read_bytes(), target.others()
    if content not in target.bytes:
        what = f"{target.name}: {len(content)} bytes that are neither the old nor the new file"
        findings.add("torn", what)
        return False, False
    target.holds = target.bytes.index(content)
    if persistence.load(target.path).vocabulary != target.pair[0].vocabulary:
        findings.add("another model", target.name)
    persistence.save(target.path, target.pair[target.holds])
    if target.path.read_bytes() != content:
        findings.add("next save", f"{target.name}: has other bytes")
    if target.others() != left:
        findings.add("leftovers", f"{target.name}: {sorted(target.others())} after the next save")
    if not all(name.startswith(".charrnn-") and name.endswith(".tmp") for name in left):
        findings.add("another name", f"{target.name}: {sorted(left)}")
    for name in target.others():
        (target.path.parent / name).unlink()
    return target.holds != old, bool(left)


def models(**options):
    return [small_model(steps=steps, **options)._state for steps in (2, 3)]


def checkpoints():
    with tempfile.TemporaryDirectory() as folder:
        path, saved = Path(folder, "checkpoint"), []
        for steps in (2, 3):
            charrnn.train_text(text(), hidden_size=16, steps=steps, progress=False, checkpoint=path)
            saved.append(persistence.load(path))
        return saved


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int)
    arguments = parser.parse_args()
    seed = random.randrange(2**32) if arguments.seed is None else arguments.seed
    draw, findings = random.Random(seed), Findings()
    targets = [Target("small", models()), Target("checkpoint", checkpoints()), Target("5 MB", models(hidden_size=1050))]
    for target in targets:
        print(f"{target.name}: {len(target.bytes[0])} bytes, saved in {1000 * target.seconds:.2f} ms")
    turns = [targets[2] if i % 10 == 9 else targets[i % 2] for i in range(arguments.runs)]
    results = [attempt(target, draw.uniform(0, 1.2), findings) for target in turns]
    new, left = (sum(column) for column in zip(*results, strict=True))
    sound = len(results) - findings.kinds.get("torn", 0)
    findings.end(f"kills: {sound} of {len(results)} old or new ({sound - new} old, {new} new), {left} left a temporary file (seed {seed})")


if __name__ == "__main__":
    main()
