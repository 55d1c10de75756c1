"""Fuzz the loader of models, and use what it accepts: python tests/trust/fuzz.py [--runs N] [--jobs N] [FILE ...].

Files that are wrong in one place to three, with all else right (the offsets, the SHA-256), are loaded. What is refused must be refused with
a ModelFormatError, soon, and without memory for more than the file; what is accepted must be what the file says, and is used through every
door. Where Atheris is installed it chooses which files to change further, by the lines of charrnn that they reached; elsewhere chance does.
What was found is written to --findings, and FILE ... runs such files again.
"""

import argparse
import collections
import contextlib
import hashlib
import io
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import tracemalloc
import warnings
import zlib
from pathlib import Path

import model_files
import mutator

try:
    if "random" in sys.argv:  # chance looks at no lines: to count them would take a third of the time
        raise ImportError
    import atheris

    with contextlib.redirect_stderr(io.StringIO()), atheris.instrument_imports(include=["charrnn"]):
        import charrnn
        import charrnn.cli
except ImportError:
    atheris = None
    import charrnn

import every_door
import numpy as np

from charrnn.storage import model_file as persistence

warnings.simplefilter("ignore", charrnn.TrainingWarning)  # trainings are short here
LOAD_SECONDS = 1  # of processor time
USE_SECONDS = {signal.ITIMER_PROF: 5, signal.ITIMER_REAL: 120}  # a hang is judged by processor time, which a busy machine takes none of
SPARE = 8 << 20  # bytes that loading may take beside the size of the file
ADDRESS_SPACE = 3 << 30  # more than any of these models needs: what asks for more gets a MemoryError, not the machine
SANITIZED = "LD_PRELOAD" in os.environ  # a sanitizer takes memory and address space of its own
LONGEST = 1 << 16  # bytes of a file


def check_loading(data, path):
    """Load a file; return the model in it and what it holds as a checkpoint, or None if it was refused as it should be."""
    traced = zlib.crc32(data) % 16 == 0
    if traced:
        tracemalloc.start()
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        model = charrnn.load(path)
    except charrnn.ModelFormatError:
        model = None
    peak = tracemalloc.get_traced_memory()[1] if traced else 0
    tracemalloc.stop()
    took, grown = time.process_time() - started, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    grown = 0 if SANITIZED else grown
    assert took <= LOAD_SECONDS, f"loading took {took:.1f} s"
    assert max(peak, grown) <= len(data) + SPARE, f"loading took {max(peak, grown)} bytes, for a file of {len(data)}"
    return None if model is None else (model, persistence.load(path).training)


def check_claims(data, model, stands):
    """What was accepted is what the file says, and nothing is in it that must not be."""
    metadata, tensors = model_files.take_apart(data)
    words = json.loads(metadata["model"])
    assert data[-32:] == hashlib.sha256(data[:-32]).digest(), "a wrong SHA-256 was accepted"
    assert words["vocabulary"] == model.vocabulary.chars
    kinds = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8"), "U32": np.dtype("<u4")}
    arrays = {name: np.frombuffer(content, kinds[dtype]).reshape(shape) for name, (dtype, shape, content) in tensors.items()}
    for name, view in model.network.weights.views().items():
        assert view.tobytes() == arrays[name].tobytes(), f"{name} is not what the file holds"
    assert all(np.isfinite(array).all() for array in arrays.values()), "numbers that are not finite were accepted"
    assert all((array >= 0).all() for name, array in arrays.items() if name.startswith("memory.")), "negative memory was accepted"
    assert (stands is None) == ("training" not in words)


def complain(written):
    raise AssertionError(f"written to stderr: {os.pread(2, 500, written)}")


class Target:
    """What is done with one file: what goes wrong is kept, once for each place in the code and message that it comes with."""

    def __init__(self, folder, findings):
        self.path, self.scratch, self.findings = folder / "input", folder / "scratch", findings
        self.counts = collections.Counter()
        self.seen = set()

    def __call__(self, data):
        """Try a file; it lies in the folder meanwhile, for whoever looks after a crash."""
        self.counts["executions"] += 1
        self.path.write_bytes(data)
        for timer, seconds in USE_SECONDS.items():
            signal.setitimer(timer, seconds)  # its signal ends the process, wherever that is
        written = os.fstat(2).st_size
        found = self.attempt(data, lambda: check_loading(data, self.path))
        if found is not None:
            self.counts["accepted"] += 1
            self.attempt(data, lambda: check_claims(data, *found))
            for use in every_door.uses(found[0], self.path, found[1], self.scratch, zlib.crc32(data)):
                self.counts["resumed"] += self.attempt(data, use) is every_door.RESUMED
        for timer in USE_SECONDS:
            signal.setitimer(timer, 0)
        if self.findings is not None and os.fstat(2).st_size != written:
            self.attempt(data, lambda: complain(written))

    def attempt(self, data, call):
        """Return what a call returns, or None if it raises; that is kept, or goes on if nothing is to be kept."""
        try:
            return call()
        except MemoryError:
            self.counts["memory"] += 1
        except Exception as error:
            if self.findings is None:
                raise
            self.keep(data, error)

    def keep(self, data, error):
        frames = traceback.extract_tb(error.__traceback__)
        places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames]
        key = type(error), *places[-2:], re.sub(r"\S*[\d/]\S*", "", str(error))  # the message without numbers and paths
        self.counts["findings"] += 1
        if key in self.seen:
            return
        self.seen.add(key)
        name = self.findings / f"{type(error).__name__}-{places[-1].replace(':', '-')}-{zlib.crc32(data):08x}"
        name.write_bytes(data)
        name.with_name(name.name + ".txt").write_text("".join(traceback.format_exception(error)), "utf-8")


def work(arguments, folder):
    """Be one of the jobs: so many executions, and their figures into the folder."""
    if not SANITIZED:
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    seeds = folder / "seeds"
    seeds.mkdir()
    every_door.make(seeds)
    target = Target(folder, arguments.findings)

    def one(data):
        target(data)
        if target.counts["executions"] >= arguments.runs:
            (folder / "figures").write_text(json.dumps(target.counts), "utf-8")
            os._exit(0)

    contents = [path.read_bytes() for path in sorted(seeds.iterdir())]
    if arguments.driver == "atheris":

        def mutate(data, size, seed):  # often of a seed: most files that reach a new line are refused, and so is what is made of them
            try:
                change = mutator.Mutator(seed)
                return change(bytes(data) if change.random.random() < 0.4 else change.random.choice(contents))[:size]
            except BaseException:  # Atheris would wait for ever
                traceback.print_exc()
                os._exit(1)

        flags = [f"-seed={arguments.seed + 1}", "-timeout=0", "-rss_limit_mb=0", f"-max_len={LONGEST}", "-verbosity=0", str(seeds)]
        atheris.Setup([sys.argv[0], *flags], one, custom_mutator=mutate)
        atheris.Fuzz()
    for data in mutator.mutants(contents, arguments.seed << 32):
        one(data)


def direct(arguments, folder):
    """Start the jobs, wait for them, and say what they found; return the exit status."""
    started, total, jobs = time.perf_counter(), collections.Counter(), []
    share = -(-arguments.runs // arguments.jobs)
    common = ["--runs", str(share), "--findings", str(arguments.findings), "--driver", arguments.driver]
    for job in range(arguments.jobs):
        place = folder / str(job)
        place.mkdir()
        command = [sys.executable, __file__, *common, "--seed", str(arguments.seed + job), "--worker", str(place)]
        with open(place / "log", "a+b") as log:
            jobs.append((place, subprocess.Popen(command, stdout=log, stderr=log)))
    for place, job in jobs:
        status = job.wait()
        if (place / "figures").exists():
            total.update(json.loads((place / "figures").read_text("utf-8")))
            continue
        total["ended"] += 1
        cause = "hang" if status in (-signal.SIGALRM, -signal.SIGPROF) else "crash"
        kept = arguments.findings / f"{cause}-{place.name}"
        print(f"a job ended with status {status}: see {kept}\n{(place / 'log').read_text('utf-8', 'replace')[-3000:]}")
        if (place / "input").exists():
            shutil.copy(place / "input", kept)
    took = time.perf_counter() - started
    for report in sorted(arguments.findings.glob("*.txt")):
        print(f"{report}: {report.read_text('utf-8').strip().splitlines()[-1]}")
    n = total["executions"]
    print(
        f"{n} executions ({arguments.driver}), {n / took:.0f} a second: {total['accepted']} files accepted and used, {total['resumed']} "
        f"trainings resumed, {total['memory']} times no memory, {total['findings']} findings, {total['ended']} jobs ended before their time"
    )
    return bool(total["findings"] or total["ended"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=100_000, help="executions, of all jobs together")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--seed", type=int, default=0, help="of the changes")
    parser.add_argument(
        "--driver", choices=("atheris", "random"), default="atheris" if atheris else "random", help="what chooses the files"
    )
    parser.add_argument("--findings", type=Path, default=Path("build/findings"), help="where what was found is kept")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("files", type=Path, nargs="*", metavar="FILE", help="run these only")
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments, arguments.worker)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        if not arguments.files:
            arguments.findings.mkdir(parents=True, exist_ok=True)
            sys.exit(direct(arguments, Path(folder)))
        for path in arguments.files:
            Target(Path(folder), None)(path.read_bytes())
            print(f"{path}: nothing found")


if __name__ == "__main__":
    main()
