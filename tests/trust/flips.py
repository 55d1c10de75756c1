"""Flip every bit of a model and of a checkpoint, cut and lengthen them everywhere: python tests/trust/flips.py [--runs N].

Each such file must be refused with a ModelFormatError: the SHA-256 at its end is of all before.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

import every_door

import charrnn


def damaged(data, more):
    """Yield every file that differs from data in one bit, in its end, or in bytes put in; so many of these at each place."""
    chosen = random.Random(0)
    for place in range(len(data)):
        for bit in range(8):
            yield data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
        yield data[:place]
    for n in (1, 2, 7, 8, 64, 4096):
        yield data + bytes(n)
        yield data + chosen.randbytes(n)
        yield data + data[-n:]
    for place in range(len(data)):
        for _ in range(more):
            yield data[:place] + chosen.randbytes(chosen.randint(1, 8)) + data[place:]
            yield data[:place] + data[place + chosen.randint(1, 8) :]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=1, help="times that bytes are put in, and taken out, at each place")
    arguments = parser.parse_args()
    started, total, accepted = time.perf_counter(), 0, 0
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as name:
        folder, path = Path(name), Path(name) / "damaged"
        every_door.make(folder)
        for kind in ("text-3", "checkpoint-records-2"):
            for file in damaged((folder / kind).read_bytes(), arguments.runs):
                total += 1
                path.write_bytes(file)
                try:
                    charrnn.load(path)
                except charrnn.ModelFormatError:
                    continue
                accepted += 1
                print(f"{kind}, changed: accepted ({file[:60]!r} ...)")
    print(f"{total} damaged files in {time.perf_counter() - started:.0f} s: {accepted} accepted")
    sys.exit(bool(accepted))


if __name__ == "__main__":
    main()
