"""A model used through every public method, briefly: what comes out is right, or one of the documented exceptions says why nothing does."""

import copy
import json
import math
import pickle
import random

import charrnn

LARGEST_BATCH = 64  # a file may ask for more streams than the memory has room for; the harness does not
RESUMED = "resumed"
TEXT = "ab ba, abba! " * 5
RECORDS = ["ab", "abba", "ba", "", "b", "aab"] * 4
NETWORKS = (
    {"cell": "lstm", "n_layers": 2, "optimizer": "adam", "dropout": 0.2, "schedule": "cosine", "warmup": 3},
    {"cell": "gru", "optimizer": "rmsprop", "weight_decay": 0.1},
)
OPTIONS = {"seq_length": 4, "batch_size": 2, "progress": False}


def material(vocabulary):
    """Return a text and records to train on with this vocabulary: str or bytes."""
    return (TEXT.encode(), [record.encode() for record in RECORDS]) if vocabulary.of_bytes else (TEXT, RECORDS)


def make(folder):
    """Write small models and checkpoints of every kind into a folder."""
    number = 0
    for alphabet in ("characters", "bytes"):
        for dtype, H, network in (("float32", 1, {}), ("float32", 3, NETWORKS[0]), ("float64", 2, NETWORKS[1])):
            named = {"alphabet": alphabet, "hidden_size": H, "dtype": dtype, **network, **OPTIONS}
            vocabulary = charrnn.Vocabulary.all_bytes() if alphabet == "bytes" else charrnn.Vocabulary("ab")
            text, records = material(vocabulary)
            for keep in ("last", "best"):
                number += 1
                checkpoint = folder / f"checkpoint-{number}"
                charrnn.train_text(text, checkpoint=checkpoint, keep=keep, steps=11, **named).save(folder / f"text-{number}")
                checkpoint = folder / f"checkpoint-records-{number}"
                model = charrnn.train_records(records, checkpoint=checkpoint, keep=keep, steps=9, remember=keep == "best", **named)
                model.save(folder / f"records-{number}")


def diverged(call):
    """Return what a call returns, or None if it diverged."""
    try:
        return call()
    except charrnn.DivergedError:
        return None


def some_text(model, chosen, n):
    """Return n characters that a model knows."""
    known = model.vocabulary.chars
    text = "".join(chosen.choice(known) for _ in range(n))
    return text.encode("latin-1") if model.vocabulary.of_bytes else text


def some_controls(model, chosen):
    """Return a few of the controls of a text, each at one of its edges."""
    few = some_text(model, chosen, 2)
    values = {
        "temperature": (0, 1e-300, 0.5, 1, 1e300),
        "top_k": (1, 2, 10**6),
        "top_p": (1e-9, 0.5, 1.0),
        "min_p": (0.0, 0.5, 1.0),
        "no_repeat": (1, 2, 4096),
        "min_length": (1, 4),
        "allowed": (few,),
        "forbidden": (few[:1],) if len(model.vocabulary) > 1 else (few[:0],),
        "stop": (few, [few, few[:1]]),
        "prime": (few,),
    }
    named = {name: chosen.choice(values[name]) for name in chosen.sample(list(values), chosen.randint(1, 5))}
    if "allowed" in named:
        named.pop("forbidden", None)  # or both might leave nothing
    return named


def draw(model, chosen):
    """Draw texts in all ways: they are of characters that may come, and the same from every door."""
    controls, seed = some_controls(model, chosen), chosen.randrange(2**64)
    texts = diverged(lambda: model.generate_many(2, 5, seed=seed, **controls))
    text = diverged(lambda: model.generate(5, seed=seed, **controls))
    if texts is not None and text is not None:
        assert texts[0] == text, "generate_many begins with another text than generate"
        letters = "".join(texts) if isinstance(text, str) else b"".join(texts).decode("latin-1")
        assert set(letters) <= set(model.vocabulary.chars), "a character that is not the model's"
        assert all(len(found) <= 5 for found in texts), "too long"
    if chosen.random() < 0.3:
        streamed = diverged(lambda: model.vocabulary.empty.join(model.stream(5, seed=seed, **controls)))
        assert None in (streamed, text) or streamed == text, "stream gives another text than generate"
    if chosen.random() < 0.2:
        diverged(lambda: model.generate_many(2, 3, seed=seed, unique=True, temperature=0, novel=model.index is not None))


def measure(model, chosen):
    """Score texts in all ways: probabilities add up, and the doors agree."""
    text = some_text(model, chosen, chosen.randint(1, 5))
    probs = diverged(lambda: model.next_probs(text[:2]))
    if probs is not None:
        assert probs.shape == (model.vocabulary.symbols,)
        assert ((probs >= 0) & (probs <= 1)).all(), "not probabilities"
        assert abs(probs.sum() - 1) <= 1e-5, "probabilities do not add up"
    logs, score = diverged(lambda: model.log_probs(text)), diverged(lambda: model.score(text))
    assert (logs is None) == (score is None), "only one of log_probs and score diverged"
    if logs is not None:
        assert (logs <= 0).all(), "a probability above one, or NaN"
        assert math.isclose(score, -sum(logs.tolist()) / len(logs) / math.log(2), rel_tol=1e-5, abs_tol=1e-6), "score and log_probs differ"
        scores = diverged(lambda: model.score_many([text, text]))
        assert scores is not None, "score_many diverged, score did not"
        assert scores.tolist() == [score, score], "score_many differs from score"
    found = diverged(lambda: model.beam_search(3, n_best=2, width=3))
    for _, log_p in found or ():
        assert log_p <= 0, "a text more probable than one"


def look(model):
    """Read what a model tells of itself."""
    history = model.history
    assert isinstance(repr(model), str)
    assert isinstance(history.steps, int), "a step that is no integer"
    for report in history.reports:
        assert isinstance(report.bpc, float)
        assert isinstance(report.perplexity, float)
    assert history.kept is None or history.kept in history.reports
    assert len(history.losses) == len(history.reports) >= len(history.validation_losses)
    json.dumps(history.to_dict())


def copies(model, path):
    """A copy of any kind, and what is saved and loaded again, is the same model to the bit."""
    model.save(path)
    before = path.read_bytes()
    for again in (charrnn.load(path), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        again.save(path)
        assert path.read_bytes() == before, "saved, loaded and saved again is another file"


def save_trained(model, path):
    """Save what was trained; where a last step left no numbers, save says so."""
    try:
        model.save(path)
    except ValueError as error:
        if "not finite" not in str(error):
            raise
        return
    assert charrnn.load(path).vocabulary == model.vocabulary


def go_on(model, chosen, path):
    """Train a model further, with new characters."""
    text, records = material(model.vocabulary)
    more = {"extend": True, "steps": 2, "progress": False, "seed": 1, "n_threads": chosen.choice((1, 1, 1, 2))}
    if model._state.learner.batch_size > LARGEST_BATCH:
        more["batch_size"] = 2
    before = model.network.weights.block.copy()
    try:
        _ = model.train_records(records, **more) if model.vocabulary.records else model.train_text(text, **more)
    except charrnn.DivergedError:
        assert (model.network.weights.block == before).all(), "diverged, and yet another model"
        return
    save_trained(model, path)
    diverged(lambda: model.generate(3, seed=1))


def resume(model, chosen, file, stands, path):
    """Resume from a checkpoint, with the options that it tells of; return `RESUMED`, or None if a ValueError says what is amiss."""
    options = stands.options
    names = ("dtype", "seed", "validation_fraction", "schedule", "warmup", "learning_rate_decay", "keep")
    named = {name: options[name] for name in names if name in options}
    layers = model.network.description.layers
    named |= model._state.learner.options()
    named |= {
        "cell": layers[0].cell,
        "hidden_size": layers[0].units,
        "n_layers": len(layers),
        "steps": min(stands.position.step + chosen.choice((0, 2)), 2**63 - 1),
        "progress": False,
    }
    text, records = material(model.vocabulary)
    if model._state.learner.batch_size > LARGEST_BATCH:
        return
    try:
        if model.vocabulary.records:
            remember = {"remember": model.index is not None}
            found = charrnn.train_records(records, alphabet=alphabet(model), resume=file, checkpoint=path, **remember, **named)
        else:
            found = charrnn.train_text(text, alphabet=alphabet(model), resume=file, checkpoint=path, **named)
    except (charrnn.DivergedError, TypeError, ValueError) as error:
        if isinstance(error, TypeError) and " must be " not in str(error):  # the harness hands over options of any type
            raise
        return
    look(found)
    if path.exists():
        charrnn.load(path)
    if any(view.any() for view in model.network.weights.views().values()):
        assert any(view.any() for view in found.network.weights.views().values()), "weights that no file and no step has: zeros"
    save_trained(found, path)
    return RESUMED


def alphabet(model):
    """Return the name of what texts are made of."""
    return "bytes" if model.vocabulary.of_bytes else "characters"


def uses(model, file, stands, path, seed):
    """Yield calls that use a model through every door: it is of a file, with stands what makes it a checkpoint; path is scratch space."""
    chosen = random.Random(seed)
    yield lambda: look(model)
    yield lambda: draw(model, chosen)
    yield lambda: measure(model, chosen)
    yield lambda: copies(model, path)
    path.unlink(missing_ok=True)
    if stands is not None:
        yield lambda: resume(model, chosen, file, stands, path)
    yield lambda: go_on(model, chosen, path)
    path.unlink(missing_ok=True)
