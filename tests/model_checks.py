"""Use a model in every way: each result is right, or the call says that the model diverged.

For models of which nothing is known: of extreme weights (test_extremes.py), and of whatever files
are accepted (trust/fuzz.py, trust/memcheck.py).
"""

import math

import numpy as np

from charrnn.util.errors import DivergedError

LARGEST = {"float32": 3.4e38, "float64": 1.7e308}


def may_diverge(model, length=1):
    """Whether a sum of weights, and so of products with states of at most 1, may overflow.

    Or that of the log-probabilities of so many characters.
    """
    largest = float(np.abs(model.network.weights.block).max())  # NaN if one is
    description = model.network.description
    terms = 2 + sum(layer.units for layer in description.layers)
    return not length * terms * largest < LARGEST[model.network.dtype.name]


def outcome(model, call):
    """Return what a call returns, or None where it diverged."""
    try:
        return call()
    except DivergedError:
        assert may_diverge(model), "these weights do not overflow"
        return None


def text_of(model, ids):
    text = "".join(model.vocabulary.chars[i] for i in ids)
    return text.encode("latin-1") if model.vocabulary.of_bytes else text


def some_text(model, chosen, length):
    return text_of(model, [chosen.randrange(len(model.vocabulary)) for _ in range(length)])


def control_values(model, chosen):
    """Return values of each control of generation, at its edges."""
    few = some_text(model, chosen, chosen.randint(1, 3))
    size = len(model.vocabulary)
    most = text_of(model, chosen.sample(range(size), size - 1))
    return {
        "temperature": [0, 1e-300, 0.5, 1, 1e300],
        "top_k": [1, 3, 10**6],
        "top_p": [1e-9, 0.5, 1.0],
        "min_p": [0.0, 0.5, 1.0],
        "no_repeat": [1, 2, 4096],
        "allowed": [few],
        "forbidden": [most],
        "min_length": [1, 9],
        "stop": [few, [few, few[:1]]],
        "prime": [few * 2],
    }


def some_controls(model, chosen):
    """Return some of the controls, each with one of its values."""
    values = control_values(model, chosen)
    names = chosen.sample(list(values), chosen.randint(1, 5))
    controls = {name: chosen.choice(values[name]) for name in names}
    if "allowed" in controls:  # or both might leave nothing
        controls.pop("forbidden", None)
    return controls


def check_generation(model, chosen, controls):
    """Draw texts in all ways: each is right, and they are the same."""
    length, seed = chosen.randint(9, 13), chosen.randrange(2**64)
    given = {"seed": seed, **controls}
    text = outcome(model, lambda: model.generate(length, **given))
    many = outcome(model, lambda: model.generate_many(3, length, **given))
    stream = outcome(model, lambda: list(model.stream(length, **given)))
    for found in [text, *(many or ())]:
        if found is not None:
            check_text(model, found, length, controls)
    if text is not None:
        check_first(model, text[:1], controls)
        assert many is None or many[0] == text, "generate_many begins with another text"
        assert stream is None or model.vocabulary.empty.join(stream) == text, "another stream"
    known = ("prime", "allowed", "forbidden", "min_length")
    beams = {name: controls[name] for name in known if name in controls}
    if beams or not controls:
        check_beams(model, length, beams)


def check_text(model, text, length, controls):
    """What must hold of a text that was drawn."""
    vocabulary = model.vocabulary
    allowed = set(controls.get("allowed", text_of(model, range(len(vocabulary)))))
    allowed -= set(controls.get("forbidden", vocabulary.empty))
    primed = {*controls.get("prime", vocabulary.empty)} & {*text_of(model, range(len(vocabulary)))}
    empty = not vocabulary.records or model._state.empty_records or primed
    stop, least = controls.get("stop", ()), controls.get("min_length", 0 if empty else 1)
    words = [stop] if isinstance(stop, (str, bytes)) else stop
    assert type(text) is type(vocabulary.empty)
    assert len(text) <= length, "too long"
    assert set(text) <= allowed, "a character that is not allowed"
    assert all(text.find(word, least) < 0 for word in words), "a stop text"
    if not words:
        shortest = min(least, length) if vocabulary.records else length
        assert len(text) >= shortest, "too short"
    if controls.get("no_repeat") == 1:
        new = allowed - set(controls.get("prime", vocabulary.empty))
        start = text[: len(new)]
        assert len(set(start)) == len(start), "a character comes twice"
        assert set(start) <= new, "a character of the prime"


def check_first(model, first, controls):
    """The first character is possible and, at temperature 0, the most likely one."""
    prime = controls.get("prime", model.vocabulary.empty)
    probs = outcome(model, lambda: model.next_probs(prime))
    restricted = {"stop", "min_length", "no_repeat", "allowed", "forbidden"} & controls.keys()
    restricted |= {"an empty record"} if model.vocabulary.records and not prime else set()
    if probs is None or not first or restricted:
        return
    drawn, temperature = probs[model.vocabulary.encode(first)[0]], controls.get("temperature", 1)
    assert drawn > 0 or temperature > 1, "an impossible character"
    if temperature == 0 or (temperature <= 1 and controls.get("top_k") == 1):
        assert drawn == probs.max(), "not the most likely character"


def check_beams(model, length, controls):
    """The texts that a search finds differ, come in order, and have the scores of log_probs."""
    found = outcome(model, lambda: model.beam_search(length, n_best=4, width=5, **controls))
    if found is None:
        return
    scores = np.array([score for _, score in found])
    assert not np.isnan(scores).any()
    assert (scores <= 0).all(), "a text more probable than 1"
    assert (np.diff(scores) <= 0).all(), "not in order"
    assert len({text for text, _ in found}) == len(found), "a text comes twice"
    assert 0 < len(found) <= 4 or may_diverge(model, length)
    for text, score in found:
        if model.vocabulary.records or len(text) == length:
            check_text(model, text, length, controls)
        prime = controls.get("prime", model.vocabulary.empty)
        logs = outcome(model, lambda: model.log_probs(prime + text))
        if logs is not None:
            # Beyond 1e38 differences overflow in float32 only.
            expected = max(logs[len(prime) :].sum(), -1e38)
            np.testing.assert_allclose(max(score, -1e38), expected, rtol=1e-5, atol=1e-4)


def check_scoring(model, chosen):
    """Score texts in all ways: probabilities sum to 1, and all methods agree."""
    texts = [some_text(model, chosen, chosen.randint(1, 11)) for _ in range(4)]
    scores = [check_score(model, text) for text in texts]
    together = outcome(model, lambda: model.score_many(texts))
    assert (together is None) == (None in scores), "only one of score and score_many diverged"
    assert together is None or together.tolist() == scores, "score_many differs from score"
    text = texts[0]
    before = outcome(model, lambda: [model.next_probs(text[:i]) for i in range(len(text))])
    logs = outcome(model, lambda: model.log_probs(text))
    if before is not None and logs is not None:
        ids = model.vocabulary.encode(text)
        given = np.array([p[i] for p, i in zip(before, ids, strict=True)])
        np.testing.assert_allclose(np.exp(logs[: len(given)]), given, rtol=1e-4, atol=1e-7)


def check_score(model, text):
    """Check next_probs, log_probs and score of a text; return the score, None if it diverged."""
    probs = outcome(model, lambda: model.next_probs(text))
    if probs is not None:
        assert probs.shape == (model.vocabulary.symbols,)
        assert ((probs >= 0) & (probs <= 1)).all(), "not probabilities"
        assert abs(probs.sum() - 1) < 1e-5, "probabilities do not sum to 1"
    logs = outcome(model, lambda: model.log_probs(text))
    score = outcome(model, lambda: model.score(text))
    assert (logs is None) == (score is None), "only one of log_probs and score diverged"
    if logs is not None:
        assert logs.shape == (len(text) + model.vocabulary.records,)
        assert (logs <= 0).all(), "a probability above 1, or NaN"
        mean = -sum(logs.tolist()) / len(logs) / math.log(2)
        np.testing.assert_allclose(score, mean, rtol=1e-5, atol=1e-6)
    return score
