"""Train on records: as well as on the same characters as one text, in little more memory.

    python tests/trust/records.py [--runs N]

Memory: 100 MB of records of each shape are trained on, in a process of its own that has at most
600 MB in memory; if Python needs more for the strings alone (ten million names in a list: 64 bytes
and a pointer each), 600 MB more than that.

Losses: with the defaults and N seeds, on the 79 documents that come with Python, of up to 62,522
characters: no training diverges, and the validation loss is at most 0.15 nats above that of
`train_text`. That gets the same documents, one after the other and each with a character at its
end, holds out the same ones, and takes as many steps.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from pydoc_data.topics import topics

from common import Findings, parser

import charrnn
from charrnn.data import dataset

TOTAL = 100_000_000  # bytes of the records of a shape, in UTF-8
PEAK = 600_000_000  # bytes in memory at most
APART = 0.15  # nats
PAGE = "".join(topics.values()).encode("ascii", "ignore").decode()
RARE = "\U0001f600"  # a str with such a character takes four bytes for each
END = "\0"


def equal(records, text=PAGE):
    """Return so many records of TOTAL bytes in all, each a str of its own."""
    size = TOTAL // len(text[0].encode()) // records
    text = text * (size // len(text) + 2)
    return [text[i % 99 : i % 99 + size] for i in range(records)]


def lines_of(records):
    """Return the name of a file of so many lines, of TOTAL bytes in all."""
    line = PAGE.replace("\n", " ")[: TOTAL // records - 1] + "\n"
    with tempfile.NamedTemporaryFile("w", delete=False) as file:
        for _ in range(100):
            file.write(line * (records // 100))
    return Path(file.name)


SHAPES = {
    "one record": lambda: equal(1),
    "one record, a rare character in it": lambda: [RARE + equal(1)[0]],
    "one long record among short ones": lambda: [*equal(1), *["ab"] * 100_000],
    "pages": lambda: equal(10_000),
    "pages, a rare character in one": lambda: [RARE, *equal(10_000)],
    "pages of Chinese": lambda: equal(10_000, "\u4e2d\u6587\u5b57" * 40),
    "lines": lambda: equal(1_000_000),
    "names": lambda: equal(10_000_000),
    "names in a file": lambda: lines_of(10_000_000),
}


def in_memory(word):
    """Return the bytes that this process has in memory (VmRSS), or had at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(dict(line.split(":") for line in lines)[word].split()[0]) * 1024


def measure(shape):
    """Print the bytes in memory before a training on records of a shape, and at its peak."""
    records = SHAPES[shape]()
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak of making them
    before = in_memory("VmRSS")
    options = {"steps": 20, "progress": False}
    if isinstance(records, Path):
        try:
            charrnn.train_file(records, records=True, **options, preset="tutorial")
        finally:
            records.unlink()
    else:
        charrnn.train_records(records, **options, preset="tutorial")
    print(before, in_memory("VmHWM"))


def check_memory(shape, findings):
    """Measure in another process; return the peak."""
    command = [sys.executable, __file__, "--shape", shape]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        findings.add("training", f"{shape}: status {ran.returncode}\n{ran.stderr[-2000:]}")
        return 0
    before, peak = map(int, ran.stdout.split())
    megabytes = f"{peak / 1e6:.0f} MB at the peak, {before / 1e6:.0f} MB before"
    print(f"{shape}: {megabytes}", flush=True)
    limit = PEAK + (before if before > PEAK else 0)
    findings.expect(peak <= limit, "memory", f"{shape}: {megabytes}")
    return peak


def compare(seed):
    """Return the validation losses of a model of records, and of the same documents as a text."""
    strings = list(topics.values())
    model = charrnn.train_records(strings, seed=seed, progress=False, preset="tutorial")
    streams = dataset.Records.from_strings(strings).streams(model.rnn, 0.1, seed)
    learned, held_out = (documents(model, stream) for stream in streams)
    text = learned + held_out
    share = (len(held_out) + 0.5) / len(text)  # in the middle, whichever way it is rounded
    options = {"seed": seed, "progress": False, "validation_fraction": share}
    one = charrnn.train_text(
        text, steps=model.history.reports[-1].step, **options, preset="tutorial"
    )
    return min(model.history.validation_losses), min(one.history.validation_losses)


def documents(model, stream):
    """Return the records of a stream as one text."""
    places = zip(stream.starts, stream.lengths, strict=True)
    parts = (stream.ids[start : start + length] for start, length in places)
    return "".join(model.vocabulary.decode(ids) + END for ids in parts)


def check_losses(seed, findings):
    """Compare; return by how much the loss of records is higher, or None if there is none."""
    try:
        records, text = compare(seed)
    except charrnn.DivergedError as error:
        findings.add("diverged", f"seed {seed}: {error}")
        return None
    losses = f"seed {seed}: {records:.3f} nats a character as records, {text:.3f} as text"
    print(losses, flush=True)
    findings.expect(records - text <= APART, "loss", losses)
    return records - text


def main():
    arguments, findings = parser(__doc__, 1), Findings()
    arguments.add_argument("--shape", choices=SHAPES, help=argparse.SUPPRESS)
    arguments = arguments.parse_args()
    if arguments.shape:
        return measure(arguments.shape)
    peaks = {shape: check_memory(shape, findings) for shape in SHAPES}
    found = [check_losses(seed, findings) for seed in range(arguments.runs)]
    apart = [more for more in found if more is not None] or [float("nan")]
    largest = max(peak for shape, peak in peaks.items() if shape != "names") / 1e6
    memory = f"at most {largest:.0f} MB ({peaks['names'] / 1e6:.0f} MB with a list of names)"
    losses = f"{statistics.median(apart):+.3f} nats, at most {max(apart):+.3f}"
    findings.end(f"records: {memory}, against text {losses}")


if __name__ == "__main__":
    main()
