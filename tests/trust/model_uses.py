"""Small models of every kind as files, and all that can be done with a model from a file."""

import copy
import json
import pickle
import random

import common  # noqa: F401  # which makes tests/ importable

import charrnn
from model_checks import check_generation, check_scoring, outcome, some_controls

LARGEST_BATCH = 64  # a file may ask for more streams than memory has room for; these calls do not
RESUMED = "resumed"
TEXT = "ab ba, abba! " * 5
RECORDS = ["ab", "abba", "ba", "", "b", "aab"] * 4
DEEP = {"cell": "lstm", "n_layers": 2, "optimizer": "adam", "dropout": 0.2, "warmup": 3}
GRU = {"cell": "gru", "optimizer": "rmsprop", "weight_decay": 0.1}
NETWORKS = (
    {"hidden_size": 1},
    {"hidden_size": 3, "schedule": "cosine", **DEEP},
    {"hidden_size": 2, "dtype": "float64", **GRU},
)
WIDE = {"hidden_size": 1, **DEEP}  # of bytes: they make all others wide
OPTIONS = {"seq_length": 4, "batch_size": 2, "progress": False}


def material(of_bytes):
    """Return a text and records to train on: str or bytes."""
    return (TEXT.encode(), [record.encode() for record in RECORDS]) if of_bytes else (TEXT, RECORDS)


def make(folder):
    """Write small models and checkpoints of every kind to a folder."""
    number = 0
    for alphabet in ("characters", "bytes"):
        text, records = material(alphabet == "bytes")
        for network in NETWORKS if alphabet == "characters" else [WIDE]:
            for keep in ("last", "best"):
                number += 1
                named = {"alphabet": alphabet, "keep": keep, **network, **OPTIONS}
                path = folder / f"checkpoint-{number}"
                model = charrnn.train_text(
                    text, checkpoint=path, steps=11, **named, preset="tutorial"
                )
                model.save(folder / f"text-{number}")
                named |= {"remember": keep == "best", "steps": 9}
                path = folder / f"checkpoint-records-{number}"
                model = charrnn.train_records(records, checkpoint=path, **named, preset="tutorial")
                model.save(folder / f"records-{number}")
            counted = {
                "alphabet": alphabet,
                "steps": 5,
                "ngram": 4,
                "min_count": 2,
                **network,
                **OPTIONS,
            }
            charrnn.train_text(text, **counted, preset="tutorial").save(
                folder / f"text-counted-{number}"
            )
            charrnn.train_records(records, **counted, preset="tutorial").save(
                folder / f"records-counted-{number}"
            )


def check_attributes(model):
    """Read all attributes."""
    history = model.history
    assert isinstance(repr(model), str)
    assert {"cell", "optimizer", "ngram", *model._state.run} <= model.recipe.keys()
    assert isinstance(history.steps, int), "a step that is no integer"
    for report in history.reports:
        assert isinstance(report.bpc, float)
        assert isinstance(report.perplexity, float)
    assert history.kept is None or history.kept in history.reports
    assert len(history.losses) == len(history.reports) >= len(history.validation_losses)
    json.dumps(history.to_dict())


def check_copies(model, path):
    """A copy of any kind, and what is saved and loaded again, has the same bits."""
    model.save(path)
    before = path.read_bytes()
    for again in (charrnn.load(path), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        again.save(path)
        assert path.read_bytes() == before, "saved, loaded and saved again it is another file"


def save_trained(model, path):
    """Save what was trained; if the last step left no numbers, save says so."""
    try:
        model.save(path)
    except ValueError as error:
        if "not finite" not in str(error):
            raise
        return
    assert charrnn.load(path).vocabulary == model.vocabulary


def learner_of(model):
    """Return the method that trains a model further, and what to train on."""
    text, records = material(model.vocabulary.of_bytes)
    is_text = not model.vocabulary.records
    return (model.train_text, text) if is_text else (model.train_records, records)


def train_further(model, chosen, path):
    """Train a model further, with new characters."""
    train, text = learner_of(model)
    more = {"extend": True, "steps": 2, "progress": False, "seed": 1}
    more["n_threads"] = chosen.choice((1, 1, 1, 2))
    if model._state.learner.batch_size > LARGEST_BATCH:
        more["batch_size"] = 2
    before = model.network.weights.block.copy()
    try:
        train(text, **more)
    except charrnn.DivergedError:
        assert (model.network.weights.block == before).all(), "diverged, yet another model"
        return
    save_trained(model, path)
    outcome(model, lambda: model.generate(3, seed=1))


def resume(model, chosen, file, saved, path):
    """Resume from a checkpoint with its options; return `RESUMED`, or None if it cannot be."""
    learner, options = model._state.learner, saved.options
    if learner.batch_size > LARGEST_BATCH:
        return None
    names = ("dtype", "seed", "validation_fraction", "schedule", "warmup", "learning_rate_decay")
    named = {name: options[name] for name in (*names, "keep") if name in options}
    layers = model.network.description.layers
    sizes = {"cell": layers[0].cell, "hidden_size": layers[0].units, "n_layers": len(layers)}
    steps = min(saved.position.step + chosen.choice((0, 2)), 2**63 - 1)
    named |= learner.options() | sizes | {"steps": steps, "progress": False}
    named |= {"alphabet": "bytes" if model.vocabulary.of_bytes else "characters"}
    text, records = material(model.vocabulary.of_bytes)
    try:
        if model.vocabulary.records:
            named["remember"] = model.index is not None
            found = charrnn.train_records(
                records, resume=file, checkpoint=path, **named, preset="tutorial"
            )
        else:
            found = charrnn.train_text(
                text, resume=file, checkpoint=path, **named, preset="tutorial"
            )
    except (charrnn.DivergedError, TypeError, ValueError) as error:
        if isinstance(error, TypeError) and " must be " not in str(error):
            raise  # options of a file may have any type
        return None
    check_attributes(found)
    if path.exists():
        charrnn.load(path)
    if model.network.weights.block.any():
        assert found.network.weights.block.any(), "weights that no file and no step has: zeros"
    save_trained(found, path)
    return RESUMED


def uses(model, saved, file, path, seed):
    """Yield calls that use a model from a file in every way.

    saved is the training that the file holds, if it is a checkpoint; path is for scratch.
    """
    chosen = random.Random(seed)
    yield lambda: check_attributes(model)
    yield lambda: check_generation(model, chosen, some_controls(model, chosen))
    yield lambda: check_scoring(model, chosen)
    yield lambda: check_copies(model, path)
    path.unlink(missing_ok=True)
    if saved is not None:
        yield lambda: resume(model, chosen, file, saved, path)
    yield lambda: train_further(model, chosen, path)
    path.unlink(missing_ok=True)
