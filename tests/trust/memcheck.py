"""Use models in every way under valgrind's memcheck (Linux, valgrind).

    python tests/trust/memcheck.py [--runs N]

N times each, each time otherwise, with the package as it is installed, once for each instruction
set that valgrind knows. An error counts if one of its frames is in an extension of charrnn;
Python and NumPy have some of their own, which are only counted.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import model_uses
from common import Findings, parser

import charrnn
from charrnn.storage import model_file

BLOCK = re.compile(r"^==\d+== (?=\S)", re.M)  # each error begins so, its frames are indented
OURS = re.compile(r"/charrnn/(?:network/)?_\w+\.\S*so")
LEVELS = ("baseline", "v3")  # valgrind has no AVX-512
OPTIONS = "--tool=memcheck --leak-check=no --error-limit=no --num-callers=40".split()


def work(runs):
    """Make models, load them and use them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model_uses.make(folder)
        files, used = sorted(folder.iterdir()), 0
        for seed in range(runs):
            for path in files:
                model, saved = charrnn.load(path), model_file.load(path).training
                for use in model_uses.uses(model, saved, path, folder / "scratch", seed):
                    use()
                used += 1
    print(f"used {used} models on {charrnn.isa}")


def errors(log):
    """Return valgrind's errors that have a frame of charrnn, and the number of others."""
    blocks = [block for block in BLOCK.split(log) if "   at 0x" in block]
    ours = [block for block in blocks if OURS.search(block)]
    return ours, len(blocks) - len(ours)


def check(level, runs):
    """Use models on an instruction set under valgrind; return what `errors` does."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        program = [sys.executable, __file__, "--worker", "--runs", str(runs)]
        variables = {"PYTHONMALLOC": "malloc", "CHARRNN_ISA": level, "OPENBLAS_NUM_THREADS": "1"}
        command = ["valgrind", *OPTIONS, f"--log-file={log}", *program]
        environment = os.environ | variables
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
        text = log.read_text("utf-8", "replace")
    if done.returncode or not done.stdout.strip().endswith(level):
        sys.exit(f"{level}: ended with status {done.returncode}\n{text[-5000:]}")
    print(done.stdout.strip())
    return errors(text)


def main():
    arguments, findings, others = parser(__doc__, 1, worker=True).parse_args(), Findings(), 0
    if arguments.worker:
        return work(arguments.runs)
    if shutil.which("valgrind") is None:
        print("memcheck: not run, as valgrind is not installed")
        return None
    for level in LEVELS:
        ours, rest = check(level, arguments.runs)
        others += rest
        for error in ours:
            findings.add(f"error, {level}", error)
    findings.end(f"memcheck: {len(LEVELS)} instruction sets, {others} errors elsewhere")


if __name__ == "__main__":
    main()
