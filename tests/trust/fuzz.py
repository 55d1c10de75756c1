"""Fuzz the loader of models, and use what it accepts.

    python tests/trust/fuzz.py [--runs N] [--jobs N] [FILE ...]

Files that are wrong in one to three places, with all else right (offsets, SHA-256), are loaded.
What is refused must be a ModelFormatError, soon, without memory for more than the file. What is
accepted must be what the file says, and is used in one way of all. Where Atheris is installed, it
chooses which files to change further, by the lines of charrnn that they reached; elsewhere chance
does. Findings are written to --findings; FILE ... runs such files again.
"""

import argparse
import collections
import contextlib
import gc
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
    if "random" in sys.argv:  # to count lines for nothing would take a third of the time
        raise ImportError
    import atheris

    with contextlib.redirect_stderr(io.StringIO()), atheris.instrument_imports(include=["charrnn"]):
        import charrnn
        import charrnn.cli
except ImportError:
    atheris = None
    import charrnn

import model_uses
import numpy as np
from common import SHM, parser

from charrnn.storage import model_file

warnings.simplefilter("ignore", charrnn.TrainingWarning)  # trainings are short here
LOAD_SECONDS = 1  # of processor time
USE_SECONDS = {signal.ITIMER_PROF: 5, signal.ITIMER_REAL: 120}  # of the processor, of the clock
SPARE = 8 << 20  # bytes that loading may take beside the size of the file
ADDRESS_SPACE = 3 << 30  # more than these models need: what asks for more gets a MemoryError
SANITIZED = "LD_PRELOAD" in os.environ  # a sanitizer takes memory and address space of its own
LONGEST = 1 << 16  # bytes of a file


def check_loading(data, path):
    """Load a file; return its model and what it holds of a training, or None if it was refused."""
    traced = zlib.crc32(data) % 16 == 0
    if traced:
        tracemalloc.start()
    before, started = peak_memory(), time.process_time()
    try:
        model = charrnn.load(path)
    except charrnn.ModelFormatError:
        model = None
    peak = tracemalloc.get_traced_memory()[1] if traced else 0
    tracemalloc.stop()
    seconds = time.process_time() - started
    peak = max(peak, 0 if SANITIZED else peak_memory() - before)
    assert seconds <= LOAD_SECONDS, f"loading took {seconds:.1f} s"
    assert peak <= len(data) + SPARE, f"loading took {peak} bytes, for a file of {len(data)}"
    return None if model is None else (model, model_file.load(path).training)


def peak_memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def check_claims(data, model, training):
    """What was accepted is what the file says, and nothing wrong is in it."""
    metadata, tensors = model_files.take_apart(data)
    words = json.loads(metadata["model"])
    assert data[-32:] == hashlib.sha256(data[:-32]).digest(), "a wrong SHA-256"
    assert words["vocabulary"] == model.vocabulary.chars
    kinds = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8"), "U32": np.dtype("<u4")}
    kinds |= {"U16": np.dtype("<u2"), "U8": np.dtype("u1")}
    arrays = {}
    for name, (dtype, shape, content) in tensors.items():
        arrays[name] = np.frombuffer(content, kinds[dtype]).reshape(shape)
    for name, view in model.network.weights.views().items():
        assert view.tobytes() == arrays[name].tobytes(), f"{name} is not what the file holds"
    for name, array in arrays.items():
        assert np.isfinite(array).all(), "numbers that are not finite"
        assert not name.startswith("memory.") or (array >= 0).all(), "negative memory"
    assert (training is None) == ("training" not in words)


def complain(written):
    raise AssertionError(f"written to stderr: {os.pread(2, 500, written)}")


class Target:
    """What is done with each file: findings are kept, one for each place in the code."""

    def __init__(self, folder, findings):
        self.path, self.scratch, self.findings = folder / "input", folder / "scratch", findings
        self.counts = collections.Counter()
        self.seen = set()

    def __call__(self, data):
        """Try a file; it lies in the folder meanwhile, to be found after a crash."""
        self.counts["executions"] += 1
        self.path.write_bytes(data)
        for timer, seconds in USE_SECONDS.items():
            signal.setitimer(timer, seconds)  # its signal ends the process, wherever that is
        written = os.fstat(2).st_size
        found = self.attempt(data, lambda: check_loading(data, self.path))
        if found is not None:
            self.counts["accepted"] += 1
            self.attempt(data, lambda: check_claims(data, *found))
            number = zlib.crc32(data)
            look, *uses = model_uses.uses(*found, self.path, self.scratch, number)
            self.attempt(data, look)
            use = uses[number % len(uses)]  # one of them: there are many files
            self.counts["resumed"] += self.attempt(data, use) is model_uses.RESUMED
            self.scratch.unlink(missing_ok=True)
        for timer in USE_SECONDS:
            signal.setitimer(timer, 0)
        if self.findings is not None and os.fstat(2).st_size != written:
            self.attempt(data, lambda: complain(written))

    def attempt(self, data, call):
        """Return the result of a call; None if it raises, and keep the error, if any are kept."""
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
        message = re.sub(r"\S*[\d/]\S*", "", str(error))  # without numbers and paths
        key = type(error), *places[-2:], message
        self.counts["findings"] += 1
        if key in self.seen:
            return
        self.seen.add(key)
        place, number = places[-1].replace(":", "-"), zlib.crc32(data)
        name = self.findings / f"{type(error).__name__}-{place}-{number:08x}"
        name.write_bytes(data)
        report = "".join(traceback.format_exception(error))
        name.with_name(name.name + ".txt").write_text(report, "utf-8")


def work(arguments, folder):
    """Be one of the jobs: so many executions, whose figures go to the folder."""
    if not SANITIZED:
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    seeds = folder / "seeds"
    seeds.mkdir()
    model_uses.make(seeds)
    target = Target(folder, arguments.findings)

    def one(data):
        target(data)
        if target.counts["executions"] >= arguments.runs:
            (folder / "figures").write_text(json.dumps(target.counts), "utf-8")
            os._exit(0)

    contents = [path.read_bytes() for path in sorted(seeds.iterdir())]
    gc.freeze()  # or each collection goes through all modules
    if arguments.driver == "atheris":
        # Often of a seed: most files that reach a new line are refused, as is what they become.
        def mutate(data, size, seed):
            try:
                change = mutator.Mutator(seed)
                further = change.random.random() < 0.4
                return change(bytes(data) if further else change.random.choice(contents))[:size]
            except BaseException:  # Atheris would wait for ever
                traceback.print_exc()
                os._exit(1)

        flags = [f"-seed={arguments.seed + 1}", f"-max_len={LONGEST}", "-verbosity=0"]
        flags += ["-timeout=0", "-rss_limit_mb=0", str(seeds)]
        atheris.Setup([sys.argv[0], *flags], one, custom_mutator=mutate)
        atheris.Fuzz()
    for data in mutator.mutants(contents, arguments.seed << 32):
        one(data)


def start(arguments, job, place):
    """Start a job in a folder of its own."""
    place.mkdir()
    share = -(-arguments.runs // arguments.jobs)
    options = ["--runs", share, "--findings", arguments.findings, "--driver", arguments.driver]
    options += ["--seed", arguments.seed + job, "--worker", place]
    command = [sys.executable, __file__, *map(str, options)]
    with open(place / "log", "a+b") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def direct(arguments, folder):
    """Start the jobs, wait for them, and print what they found; return the exit status."""
    started, total = time.perf_counter(), collections.Counter()
    places = [folder / str(job) for job in range(arguments.jobs)]
    jobs = [start(arguments, job, place) for job, place in enumerate(places)]
    for place, job in zip(places, jobs, strict=True):
        status = job.wait()
        if (place / "figures").exists():
            total.update(json.loads((place / "figures").read_text("utf-8")))
            continue
        total["ended"] += 1
        cause = "hang" if status in (-signal.SIGALRM, -signal.SIGPROF) else "crash"
        kept, log = arguments.findings / f"{cause}-{place.name}", place / "log"
        print(f"a job ended with status {status}: see {kept}")
        print(log.read_text("utf-8", "replace")[-3000:])
        if (place / "input").exists():
            shutil.copy(place / "input", kept)
    for report in sorted(arguments.findings.glob("*.txt")):
        print(f"{report}: {report.read_text('utf-8').strip().splitlines()[-1]}")
    n, seconds = total["executions"], time.perf_counter() - started
    print(
        f"fuzz: {n} files ({arguments.driver}), {n / seconds:.0f} a second, "
        f"{total['accepted']} accepted and used, {total['resumed']} trainings resumed, "
        f"{total['memory']} times no memory, {total['ended']} jobs ended too early, "
        f"{total['findings']} findings"
    )
    return bool(total["findings"] or total["ended"])


def main():
    drivers = ("atheris", "random")
    arguments = parser(__doc__, 100_000)
    add = arguments.add_argument
    add("--jobs", type=int, default=os.cpu_count(), help="processes")
    add("--seed", type=int, default=0, help="of the changes")
    add("--driver", choices=drivers, default=drivers[atheris is None], help="chooses the files")
    add("--findings", type=Path, default=Path("build/findings"), help="where to keep findings")
    add("--worker", type=Path, help=argparse.SUPPRESS)
    add("files", type=Path, nargs="*", metavar="FILE", help="run these only")
    arguments = arguments.parse_args()
    if arguments.worker:
        work(arguments, arguments.worker)
    with tempfile.TemporaryDirectory(dir=SHM) as folder:
        if not arguments.files:
            arguments.findings.mkdir(parents=True, exist_ok=True)
            sys.exit(direct(arguments, Path(folder)))
        for path in arguments.files:
            Target(Path(folder), None)(path.read_bytes())
            print(f"{path}: nothing found")


if __name__ == "__main__":
    main()
