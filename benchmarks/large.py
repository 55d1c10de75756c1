"""Train on a text larger than memory: time, memory, and the same bits as training in memory.

    python benchmarks/large.py FOLDER [--gigabytes 4] [--seconds 60]

It writes a text (Python's documentation and shuffled names) to FOLDER, which needs twice the space,
and deletes it again.
"""

import argparse
import hashlib
import logging
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import charrnn

SMALL = 50_000_000  # bytes of the text that also trains in memory


def make(path, size):
    """Write a text of at least `size` bytes."""
    rng, docs = random.Random(0), charrnn.datasets.python_docs()
    parts, names = [part for part in docs.split("\n\n") if part], charrnn.datasets.names()
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        while file.tell() < size:
            rng.shuffle(parts)
            rng.shuffle(names)
            file.write("\n\n".join(parts) + "\n\n" + "\n".join(names) + "\n\n")


def digest(model):
    """The SHA-256 of the weights."""
    return hashlib.sha256(model.network.weights.block.tobytes()).hexdigest()


def train(path, cache, **options):
    """Train on a file in this process; print time, memory and a digest of the weights."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("charrnn").addFilter(
        lambda record: "pass" in record.msg % record.args or "comparing" in record.msg % record.args
    )
    began = time.perf_counter()
    model = charrnn.train_file(
        path,
        hidden_size=128,
        batch_size=16,
        validation_fraction=0.01,
        progress=False,
        cache=cache,
        **options,
        preset="tutorial",
    )
    took = time.perf_counter() - began
    report = model.history.reports[-1]
    characters = f"{report.characters / 1e6:.1f} M characters"
    print(f"{took:.1f} s in all, {characters}, {report.nll:.2f} nats")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak resident memory {memory:.0f} MiB")
    print(f"sha256 {digest(model)}")


def run(*arguments, environment=None, kill_when=None):
    """Train in a new process and return its output; once kill_when() is true, kill it instead."""
    process = subprocess.Popen(
        [sys.executable, __file__, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    if kill_when is not None:
        while process.poll() is None and not kill_when():
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return None
    printed, _ = process.communicate()
    assert process.returncode == 0, printed
    return printed


def show(printed):
    """Print the output of a process, and how fast each pass was."""
    for line in printed.splitlines():
        speed = re.search(r"(\d+) MB in ([\d.]+) s", line)
        print("   ", line, f"({float(speed[1]) / float(speed[2]):,.0f} MB/s)" if speed else "")


def main():
    """Make the texts, train, compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gigabytes", type=float, default=4)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--child", nargs=2)
    arguments = parser.parse_args()
    if arguments.child:
        cache, budget = arguments.child
        name, value = budget.split("=")
        return train(
            arguments.folder,
            cache or None,
            **{name: float(value) if name == "seconds" else int(value)},
        )
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        (folder / "tmp").mkdir()
        environment = os.environ | {"TMPDIR": str(folder / "tmp")}
        large, small, cache = folder / "large.txt", folder / "small.txt", folder / "cache"

        make(small, SMALL)
        expected = digest(
            charrnn.train_text(
                small.read_text("utf-8"),
                hidden_size=128,
                batch_size=16,
                steps=2000,
                validation_fraction=0.01,
                preset="tutorial",
            )
        )
        for where in ("", cache):
            printed = run(small, "--child", where, "steps=2000", environment=environment)
            print(f"{small.stat().st_size / 1e6:.0f} MB, the bits of memory: {expected in printed}")
        for path in cache.iterdir():
            path.unlink()

        make(large, arguments.gigabytes * 1e9)
        size = large.stat().st_size
        print(f"{size / 1e9:.2f} GB, no cache")
        budget = f"seconds={arguments.seconds + size / 5e7}"
        show(run(large, "--child", "", budget, environment=environment))
        print("killed in the first and the second pass of a training with a cache; left behind:")
        began = time.perf_counter()
        for when in (
            lambda: time.perf_counter() > began + 2,
            lambda: any(path.stat().st_size > size / 3 for path in cache.glob(".*")),
        ):
            run(large, "--child", cache, "steps=100", environment=environment, kill_when=when)
            left = [*cache.iterdir(), *(folder / "tmp").iterdir()]
            print(
                "   ",
                ", ".join(f"{path.name} {path.stat().st_size / 1e6:.0f} MB" for path in left)
                or "nothing",
            )
        print("then again, and once more")
        show(run(large, "--child", cache, "steps=100", environment=environment))
        print("   ", ", ".join(path.name for path in cache.iterdir()))
        show(run(large, "--child", cache, "steps=100", environment=environment))
    return None


if __name__ == "__main__":
    main()
