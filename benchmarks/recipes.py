"""Measure the default options: python benchmarks/recipes.py [--records] [--seconds S] FILE ...

Each file is a text, or with --records a list of strings, one a line. Trains on the first nine
tenths (of records: on a random nine tenths of those that differ) with default options, and scores
the rest: in bits per character, the model, its network alone, its counts alone, and counts of the
best order from 4 to 9 (modified Kneser-Ney; the best on the test itself). Prints a row of a
Markdown table for each file.
"""

import argparse
import random
from pathlib import Path

import numpy as np

import charrnn
from charrnn.network.counts import Mixture

HEAD = ("text", "characters", "network", "passes", "expected", "network alone")
HEAD += ("counts alone", "best counts", "model", "better than counts")


def split(text, records):
    """Return what to train on, and what to score."""
    if not records:
        cut = len(text) * 9 // 10
        return text[:cut], text[cut:]
    lines = list(dict.fromkeys(line for line in text.splitlines() if line))
    random.Random(0).shuffle(lines)
    cut = len(lines) // 10
    return lines[cut:], lines[:cut]


def score(model, test, mixture):
    """Return the bits per character of a test by a model with other counts, or without."""
    model.network.mix(None if mixture is None else mixture.table())
    if isinstance(test, str):
        return model.score(test, on_unknown="skip")
    sizes = [len(string) + 1 for string in test]
    return float(np.average(model.score_many(test, on_unknown="skip"), weights=sizes))


def best_counts(train_function, train, test):
    """Return the bits per character of counts of the best order."""
    found = []
    for order in range(4, 10):
        model = train_function(
            train, preset="tutorial", hidden_size=1, steps=1, ngram=order, progress=False
        )
        found.append(score(model, test, Mixture(model.mixture.counts, 0.0, 1.0)))
    return min(found)


def row(path, records, options):
    train, test = split(path.read_text(encoding="utf-8"), records)
    train_function = charrnn.train_records if records else charrnn.train_text
    model = train_function(train, progress=False, **options)
    characters = len(train) if not records else sum(map(len, train)) + len(train)
    mixed = score(model, test, model.mixture)
    alone = score(model, test, None)
    counts = score(model, test, Mixture(model.mixture.counts, 0.0, 1.0))
    best = best_counts(train_function, train, test)
    recipe, last = model.recipe, model.history.reports[-1]
    return (
        f"{path.stem}{', records' if records else ''}",
        f"{characters:,}",
        f"{recipe['cell'].upper()} {recipe['hidden_size']}",
        f"{last.epoch:.1f}",
        f"{model.history.estimate / np.log(2):.3f}",
        *(f"{bits:.3f}" for bits in (alone, counts, best, mixed)),
        f"{100 * (1 - mixed / best):.1f} %",
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--records", action="store_true", help="each line is a string")
    parser.add_argument("--seconds", type=float, help="the budget, instead of the default")
    parser.add_argument("file", nargs="+", type=Path)
    arguments = parser.parse_args()
    options = {} if arguments.seconds is None else {"seconds": arguments.seconds}
    print("| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|", sep="\n")
    for path in arguments.file:
        print("| " + " | ".join(row(path, arguments.records, options)) + " |", flush=True)


if __name__ == "__main__":
    main()
