"""What these scripts share: arguments, findings, C code loaded before libc, other builds."""

import argparse
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHM = "/dev/shm" if os.path.isdir("/dev/shm") else None  # a file system in memory
_SHIM = "CHARRNN_SHIM"  # environment variable: this process runs with the library of that path

sys.path.insert(0, str(ROOT / "tests"))  # for calls and model_checks


def parser(doc, runs, worker=False):
    """Return a parser of the arguments; a worker is the process that a script starts."""
    kind = argparse.RawDescriptionHelpFormatter
    found = argparse.ArgumentParser(description=doc, formatter_class=kind)
    found.add_argument("--runs", type=int, default=runs, help=f"how much to do ({runs})")
    if worker:
        found.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return found


class Findings:
    """What went wrong. Each finding is printed at once, up to three of a kind."""

    def __init__(self):
        self.count, self.kinds, self.output = 0, {}, sys.stderr

    def add(self, kind, message):
        self.count += 1
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        if self.kinds[kind] <= 3:
            print(f"FINDING {kind}: {message}", file=self.output, flush=True)

    def expect(self, condition, kind, message=""):
        if not condition:
            self.add(kind, message)

    def end(self, summary):
        """Print the summary as the last line and exit, with 1 if there are findings."""
        if self.count:
            print("findings:", ", ".join(f"{n} {kind}" for kind, n in self.kinds.items()))
        print(f"{summary}, {self.count} findings", flush=True)
        sys.exit(self.count > 0)


def preloaded(source):
    """Compile a C file of this folder, restart with its functions before libc's; return it."""
    if _SHIM not in os.environ:
        with tempfile.TemporaryDirectory() as folder:
            code, library = Path(__file__).with_name(source), Path(folder, "shim.so")
            compiler = os.environ.get("CC", "cc").split()
            flags = ["-shared", "-fPIC", "-O1", "-Wall", "-o", library, code]
            subprocess.run([*compiler, *flags], check=True)
            # Before the library of AddressSanitizer, if any: the shim then calls its functions.
            others = [os.environ.get("ASAN_OPTIONS"), "verify_asan_link_order=0"]
            variables = {
                _SHIM: str(library),
                "LD_PRELOAD": f"{library} {os.environ.get('LD_PRELOAD', '')}",
                "ASAN_OPTIONS": ":".join(filter(None, others)),
            }
            command = [sys.executable, *sys.argv]
            sys.exit(subprocess.run(command, env=os.environ | variables).returncode)
    return ctypes.CDLL(os.environ[_SHIM])


def build(name, **variables):
    """Compile a copy of the package under build/; return the folder to import it from."""
    folder = ROOT / "build" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    compiled = shutil.ignore_patterns("*.so", "*.pyd")
    shutil.copytree(ROOT / "src", folder / "src", ignore=compiled)
    for file in [*ROOT.glob("*.py"), *ROOT.glob("*.toml"), *ROOT.glob("*.md")]:
        shutil.copy(file, folder)
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    environment = os.environ | variables
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{name} does not compile:\n{done.stderr[-3000:]}")
    return folder / "src"


def open_files():
    """Return the number of open files."""
    return len(os.listdir("/proc/self/fd"))


def temporary_files(folder="."):
    """Return the names of temporary files that a save has left."""
    return {path.name for path in Path(folder).rglob("*") if path.name.startswith(".")}
