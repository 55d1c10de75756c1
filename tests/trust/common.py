"""What the scripts of this folder share: a small model, C compiled at run time, findings that are counted and shown."""

import ctypes
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import charrnn

_SHIM = "CHARRNN_SHIM"  # the environment variable that says: this process runs with the shim of this path


def text(length=3000):
    """Return real text that every Python ships."""
    from pydoc_data.topics import topics

    return "\n\n".join(topics.values())[:length]


def small_model(**options):
    """Return a model that few steps have trained."""
    return charrnn.train_text(text(), **{"hidden_size": 16, "steps": 3, "progress": False, **options})


def preloaded(source):
    """Return a C file of this folder as a library whose functions stand before those of libc; to that end the process begins once more."""
    if _SHIM not in os.environ:
        with tempfile.TemporaryDirectory() as folder:
            code, library = Path(__file__).with_name(source), Path(folder, "shim.so")
            subprocess.run([*os.environ.get("CC", "cc").split(), "-shared", "-fPIC", "-O1", "-Wall", "-o", library, code], check=True)
            # Before AddressSanitizer's library, where there is one: its own functions are then what the shim calls.
            asan = ":".join(filter(None, [os.environ.get("ASAN_OPTIONS"), "verify_asan_link_order=0"]))
            preload = " ".join(filter(None, [str(library), os.environ.get("LD_PRELOAD")]))
            environment = {**os.environ, _SHIM: str(library), "LD_PRELOAD": preload, "ASAN_OPTIONS": asan}
            sys.exit(subprocess.run([sys.executable, *sys.argv], env=environment).returncode)
    return ctypes.CDLL(os.environ[_SHIM])


class Findings:
    """What went wrong: each is shown at once, up to three of each kind."""

    def __init__(self):
        self.count, self.kinds, self.to = 0, {}, sys.stderr

    def add(self, kind, words):
        self.count += 1
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        if self.kinds[kind] <= 3:
            print(f"FINDING {kind}: {words}", file=self.to, flush=True)

    def end(self, figures):
        """Print the figures as the last line and exit; with 1 if anything was found."""
        if self.count:
            print("findings:", ", ".join(f"{number} {kind}" for kind, number in self.kinds.items()))
        print(figures, flush=True)
        sys.exit(self.count > 0)
