"""Measure what a pretrained model gains: python benchmarks/pretrained.py NAME FILE ...

For a model of records, each line of a file is a string: 300 random ones are to learn, 1,500 others
to score. Otherwise the first 10,000 characters are to learn, and the next 40,000 to score. Prints
the nats per character of the model as it is, of a new model trained with default options, and of
the pretrained model after further training, as rows of a Markdown table.
"""

import argparse
import random
from pathlib import Path

import numpy as np

import charrnn

RECIPE = {"learning_rate": 0.005, "schedule": "cosine", "refit": True, "ngram": 16}


def split(text, records):
    """Return what to train on, and what to score."""
    if not records:
        return text[:10_000], text[10_000:50_000]
    lines = sorted({line for line in text.splitlines() if line})
    random.Random(0).shuffle(lines)
    return lines[:300], lines[300:1800]


def nats(model, test):
    """Return the nats per character of a test."""
    if isinstance(test, str):
        return model.score(test, on_unknown="skip") * np.log(2)
    sizes = [len(string) + 1 for string in test]
    bits = model.score_many(test, on_unknown="skip")
    return float(np.average(bits, weights=sizes)) * np.log(2)


def row(name, path):
    model = charrnn.pretrained(name)
    records = model.vocabulary.records
    train, test = split(path.read_text(encoding="utf-8"), records)
    kind = "train_records" if records else "train_text"
    before = nats(model, test)
    new = nats(getattr(charrnn, kind)(train, progress=False), test)
    batch_size = 8 if records else 4
    getattr(model, kind)(train, extend=True, batch_size=batch_size, progress=False, **RECIPE)
    after = nats(model, test)
    return path.stem, name, *(f"{one:.3f}" for one in (before, new, after, new - after))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name", help="the pretrained model")
    parser.add_argument("file", nargs="+", type=Path)
    arguments = parser.parse_args()
    for path in arguments.file:
        print("|", " | ".join(row(arguments.name, path)), "|", flush=True)


if __name__ == "__main__":
    main()
