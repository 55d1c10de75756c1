"""Measure further training with nothing set: python benchmarks/further.py [--records] OLD NEW ...

OLD and NEW are texts, or with --records lists of strings, one a line; further pairs may follow.
Trains a model on the first --old characters of OLD (of records: on so many random ones), trains it
further on the first --new of NEW, and trains a new model on these alone. Scores text that none of
them has seen. Prints bits per character of the old text before and after, of the new text by the
new model and by the one trained further, and what changed in per cent: a row of a Markdown table
for each pair.
"""

import argparse
import copy
import random
import time
from pathlib import Path

import charrnn

HEAD = ("old", "new", "old before", "after", "", "new alone", "further", "", "seconds")


def split(path, records, amount, test):
    """Return what to train on, and what to score."""
    found = path.read_text(encoding="utf-8")
    if records:
        found = list(dict.fromkeys(line for line in found.splitlines() if line.strip()))
        random.Random(1).shuffle(found)
    return found[:amount], found[amount : amount + test]


def bits(model, test):
    texts = [test] if isinstance(test, str) else test
    return float(model.score_many(texts, on_unknown="surprise").mean())


def row(old, new, options):
    """Return the cells of a row for a pair of files."""
    train = charrnn.train_records if options.records else charrnn.train_text
    (old_text, old_test), (new_text, new_test) = (
        split(path, options.records, amount, options.test)
        for path, amount in ((old, options.old), (new, options.new))
    )
    how = {"preset": options.preset, "progress": False}
    model, alone = train(old_text, **how), train(new_text, **how)
    further, began = copy.deepcopy(model), time.process_time()
    method = further.train_records if options.records else further.train_text
    method(new_text, extend=True, progress=False)
    seconds = time.process_time() - began
    a, b = bits(model, old_test), bits(further, old_test)
    c, d = bits(alone, new_test), bits(further, new_test)
    cells = f"{len(old_text):,} of {old.stem}", f"{len(new_text):,} of {new.stem}"
    cells += f"{a:.3f}", f"{b:.3f}", f"{100 * (b / a - 1):+.1f} %"
    return (*cells, f"{c:.3f}", f"{d:.3f}", f"{100 * (d / c - 1):+.1f} %", f"{seconds:.0f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--records", action="store_true", help="each line is a string")
    parser.add_argument("--old", type=int, default=40_000, help="characters or records to begin")
    parser.add_argument("--new", type=int, default=10_000, help="characters or records to add")
    parser.add_argument("--test", type=int, default=10_000, help="characters or records to score")
    parser.add_argument("--preset", default="auto", help="of both new models")
    parser.add_argument("files", nargs="+", type=Path, metavar="OLD NEW")
    options = parser.parse_args()
    print("| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|", sep="\n")
    for old, new in zip(options.files[::2], options.files[1::2], strict=True):
        print("| " + " | ".join(row(old, new, options)) + " |", flush=True)


if __name__ == "__main__":
    main()
