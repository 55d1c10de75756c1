"""Kill saves at random moments: the file must be the old or the new one, to the byte.

    python tests/trust/kills.py [--runs N] [--seed S]

A killed save may leave a temporary file; the next one must work and leave none. Of N kills most are
of small models and checkpoints;
each tenth is of a model of 5 MB.
"""

import os
import random
import signal
import statistics
import tempfile
import time
from pathlib import Path

from common import Findings, parser

import calls
from charrnn.storage import model_file


class Target:
    """A file that is saved over and over, in a folder of its own, with two contents in turn."""

    def __init__(self, name, pair):
        self.name, self.pair, self.folder = name, pair, tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name, "model.safetensors")
        self.bytes = []
        for state in pair:
            model_file.save(self.path, state)
            self.bytes.append(self.path.read_bytes())
        self.current = 1  # which of the two the file has
        self.seconds = statistics.median(self.killed_after(None) for _ in range(5))

    def killed_after(self, seconds):
        """Kill a save of the other content after so many seconds, or when it is done if None.

        Return the seconds that it had.
        """
        ready, tell = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(tell, b"b")
                model_file.save(self.path, self.pair[1 - self.current])
                os.write(tell, b"e")
                time.sleep(600)  # the kill comes in any case
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
            self.current = 1 - self.current
        return took

    def others(self):
        return set(os.listdir(self.folder.name)) - {self.path.name}


def attempt(target, moment, findings):
    """Kill a save after a part of its time; return whether it wrote, and whether it left a file."""
    old, name = target.current, target.name
    target.killed_after(moment * target.seconds)
    content, left = target.path.read_bytes(), target.others()
    if content not in target.bytes:
        findings.add("torn", f"{name}: {len(content)} bytes, neither the old nor the new file")
        return False, False
    target.current = target.bytes.index(content)
    same = model_file.load(target.path).vocabulary == target.pair[0].vocabulary
    findings.expect(same, "another model", name)
    model_file.save(target.path, target.pair[target.current])
    findings.expect(target.path.read_bytes() == content, "next save", f"{name}: other bytes")
    found = target.others()
    findings.expect(found == left, "leftovers", f"{name}: {found} after the next save")
    right = all(file.startswith(".charrnn-") and file.endswith(".tmp") for file in left)
    findings.expect(right, "another name", f"{name}: {left}")
    for file in found:
        (target.path.parent / file).unlink()
    return target.current != old, bool(left)


def models(**options):
    return [calls.text_model(steps=steps, **options)._state for steps in (2, 3)]


def checkpoints():
    with tempfile.TemporaryDirectory() as folder:
        path, states = Path(folder, "checkpoint"), []
        for steps in (2, 3):
            calls.text_model(steps=steps, checkpoint=path)
            states.append(model_file.load(path))
        return states


def main():
    arguments = parser(__doc__, 200)
    arguments.add_argument("--seed", type=int, default=random.randrange(2**32))
    arguments, findings = arguments.parse_args(), Findings()
    draw = random.Random(arguments.seed)
    small, checkpoint = Target("small", models()), Target("checkpoint", checkpoints())
    large = Target("5 MB", models(hidden_size=1050))
    for target in (small, checkpoint, large):
        size, seconds = len(target.bytes[0]), 1000 * target.seconds
        print(f"{target.name}: {size} bytes, saved in {seconds:.2f} ms")
    results = []
    for run in range(arguments.runs):
        target = large if run % 10 == 9 else (small, checkpoint)[run % 2]
        results.append(attempt(target, draw.uniform(0, 1.2), findings))
    new, left = (sum(column) for column in zip(*results, strict=True))
    counts = f"{len(results)} saves, {new} finished, {left} left a temporary file"
    findings.end(f"kills: {counts} (seed {arguments.seed})")


if __name__ == "__main__":
    main()
