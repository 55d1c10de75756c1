"""Use models through every door under valgrind's memcheck: python tests/trust/memcheck.py [--runs N] (Linux, valgrind).

The installed package, as its users have it, once for each instruction set that valgrind knows. An error counts if a frame of it is in one
of charrnn's extensions; Python and NumPy have some of their own, of which the number is told.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BLOCK = re.compile(r"^==\d+== (?=\S)", re.M)  # each error begins so, its frames are indented
OURS = re.compile(r"/charrnn/(?:network/)?_\w+\.abi3\.so|/charrnn/(?:network/)?_\w+\.\S*\.so")
LEVELS = ("baseline", "v3")  # valgrind has no AVX-512


def work(runs):
    """Make models, load them and use them."""
    import every_door

    import charrnn
    from charrnn.storage import model_file as persistence

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        every_door.make(folder)
        files, used = sorted(folder.iterdir()), 0
        for seed in range(runs):
            for path in files:
                for use in every_door.uses(charrnn.load(path), path, persistence.load(path).training, folder / "scratch", seed):
                    use()
                used += 1
    print(f"used {used} models on {charrnn.isa}")


def errors(log):
    """Return the errors in what valgrind wrote: those with a frame of charrnn, and the number of others."""
    blocks = [block for block in BLOCK.split(log) if "   at 0x" in block]
    ours = [block for block in blocks if OURS.search(block)]
    return ours, len(blocks) - len(ours)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=1, help="times that each model is used, each time otherwise")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return work(arguments.runs)
    if shutil.which("valgrind") is None:
        print("memcheck: not run, as valgrind is not installed")
        return
    started, bad, others = time.perf_counter(), [], 0
    with tempfile.TemporaryDirectory() as folder:
        for level in LEVELS:
            log = Path(folder) / level
            options = ["--tool=memcheck", "--leak-check=no", "--error-limit=no", "--num-callers=40", f"--log-file={log}"]
            command = ["valgrind", *options, sys.executable, __file__, "--worker", "--runs", str(arguments.runs)]
            environment = os.environ | {"PYTHONMALLOC": "malloc", "CHARRNN_ISA": level, "OPENBLAS_NUM_THREADS": "1"}
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
            text = log.read_text("utf-8", "replace")
            if done.returncode or not done.stdout.strip().endswith(level):
                sys.exit(f"{level}: ended with status {done.returncode}\n{text[-5000:]}")
            ours, rest = errors(text)
            print(f"{done.stdout.strip()}: {len(ours)} errors")
            bad, others = bad + ours, others + rest
    print(*bad, sep="\n")
    took = time.perf_counter() - started
    print(f"{len(LEVELS)} instruction sets in {took:.0f} s: {len(bad)} errors in charrnn, {others} elsewhere")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
