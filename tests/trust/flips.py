"""Flip every bit of a model and of a checkpoint, cut and lengthen them everywhere.

    python tests/trust/flips.py [--runs N]

Each such file must be refused with a ModelFormatError: the SHA-256 at its end is of all before it.
N is how often bytes are put in, and taken out, at each place.
"""

import random
import tempfile
from pathlib import Path

import model_uses
from common import SHM, Findings, parser

import charrnn


def damaged(data, more):
    """Yield each file that differs from data in a bit or its end, and some with other lengths."""
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
    runs, findings, total = parser(__doc__, 1).parse_args().runs, Findings(), 0
    with tempfile.TemporaryDirectory(dir=SHM) as name:
        folder, path = Path(name), Path(name, "damaged")
        model_uses.make(folder)
        for kind in ("text-3", "checkpoint-records-2", "records-counted-2"):
            for file in damaged((folder / kind).read_bytes(), runs):
                total += 1
                path.write_bytes(file)
                try:
                    charrnn.load(path)
                except charrnn.ModelFormatError:
                    continue
                findings.add("accepted", f"{kind}, changed: {file[:60]!r} ...")
    findings.end(f"flips: {total} damaged files")


if __name__ == "__main__":
    main()
