"""Models whose weights are extremes, in files and in place: every public method with every control is right, or says that it diverged."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

import charrnn
from charrnn import RNN, CharRNN, History, Vocabulary
from charrnn.network import dispatch as _dispatch
from charrnn.util.errors import DivergedError

CASES = int(os.environ.get("CHARRNN_HOSTILE_CASES", "150"))  # model files
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
SIZES = (*range(1, 41), 15, 15, 16, 16, 17, 17)  # the lane width is 16; records have one symbol more
FINITE = (0.0, -0.0, *(sign * size for sign in (1, -1) for size in (1e30, 1e31, 3e38, 1e-40, 1e-45, 5e-324)))
WRONG = (np.inf, -np.inf, np.nan)
LARGEST = {"float32": 3.4e38, "float64": 1.7e308}


def make_model(random):
    """A model of any kind, its weights ordinary."""
    records, dtype = random.random() < 0.5, random.choice(["float32", "float32", "float64"])
    letters = LETTERS[: random.choice(SIZES)]
    vocabulary = Vocabulary.all_bytes(records) if random.random() < 0.1 else Vocabulary(letters, records)
    rnn = RNN(int(random.integers(1, 21)), vocabulary.symbols, 3, 0.1, dtype=str(dtype), seed=0)
    for name in "UWVbc":
        view = getattr(rnn, name)
        view[...] = random.standard_normal(view.shape) * random.choice([0.1, 1, 5])
    return CharRNN(rnn, vocabulary, History())


def replace(model, random, values):
    """Put some of these values into some of the weights."""
    for name in random.choice(list("UWVbc"), random.integers(1, 6), replace=False):
        view = getattr(model.rnn, name)
        kind = random.integers(4)
        if kind == 0:
            view[...] = random.choice(values)
        elif kind == 1:
            view[...] = random.choice(values, view.shape)
        elif kind == 2:  # one of the characters, or units
            view[random.integers(len(view))] = random.choice(values)
        else:
            for _ in range(random.integers(1, 4)):
                view[tuple(random.integers(view.shape))] = random.choice(values)


def may_diverge(model):
    """Whether a sum of weights (a state is at most 1) may overflow: only then may a model fail."""
    largest = float(np.max([np.abs(view).max() for view in model.network.weights.views().values()]))  # NaN if one is
    return not (model.rnn.hidden_size + 2) * largest < LARGEST[model.network.dtype.name]


def outcome(model, call):
    """What a call returns, or None where it diverged."""
    try:
        return call()
    except DivergedError:
        assert may_diverge(model), "these weights do not overflow"
        return None


def as_text(model, ids):
    text = "".join(model.vocabulary.chars[i] for i in ids)
    return text.encode("latin-1") if model.vocabulary.of_bytes else text


def some_controls(model, random):
    """Each control by itself with each of its values, and some of them together."""
    V = len(model.vocabulary)

    def few():
        return as_text(model, random.integers(V, size=random.integers(1, 4)))

    def most():
        return as_text(model, random.permutation(V)[1:])

    choices = {
        "temperature": [0, 1e-300, 0.5, 1, 1e300],
        "top_k": [1, 3, 1000],
        "top_p": [1e-9, 0.5, 1.0],
        "min_p": [0.0, 0.5, 1.0],
        "no_repeat": [1, 2],
        "allowed": [few()],
        "forbidden": [most()],
        "min_length": [9],
        "stop": [few(), [few(), few()]],
        "prime": [few() + few()],
    }
    yield {}
    for name, values in choices.items():
        for value in values:
            yield {name: value}
    for _ in range(8):
        names = random.choice(list(choices), random.integers(2, 6), replace=False)
        controls = {name: values[random.integers(len(values))] for name, values in choices.items() if name in names}
        if "allowed" in controls:  # or both might leave nothing
            controls.pop("forbidden", None)
        yield controls


def check_text(model, text, length, controls):
    """What must hold of a text that was drawn."""
    vocabulary = model.vocabulary
    allowed = set(controls.get("allowed", as_text(model, range(len(vocabulary)))))
    allowed -= set(controls.get("forbidden", vocabulary.empty))
    assert type(text) is type(vocabulary.empty)
    assert len(text) <= length
    assert set(text) <= allowed
    stop = controls.get("stop", ())
    words = [stop] if isinstance(stop, (str, bytes)) else stop
    least = controls.get("min_length", 0)
    assert all(text.find(word, least) < 0 for word in words)
    if not vocabulary.records and not words:
        assert len(text) == length
    if not words:
        assert len(text) >= min(least, length)
    if controls.get("no_repeat") == 1:
        new = allowed - set(controls.get("prime", vocabulary.empty))
        start = text[: len(new)]
        assert len(set(start)) == len(start)
        assert set(start) <= new


def check_first(model, first, controls):
    """The first character is one that next_probs holds for possible, and at temperature 0 for the most likely."""
    prime = controls.get("prime", model.vocabulary.empty)
    probs = outcome(model, lambda: model.next_probs(prime))
    if probs is None or not first or controls.keys() & {"stop", "min_length", "no_repeat", "allowed", "forbidden"}:
        return
    drawn, temperature = probs[model.vocabulary.encode(first)[0]], controls.get("temperature", 1)
    assert drawn > 0 or temperature > 1
    if temperature == 0 or (temperature <= 1 and controls.get("top_k") == 1):
        assert drawn == probs.max()


def check_drawing(model, random):
    for controls in some_controls(model, random):
        length, seed = int(random.integers(9, 14)), int(random.integers(2**32))
        text = outcome(model, lambda: model.generate(length, seed=seed, **controls))
        many = outcome(model, lambda: model.generate_many(3, length, seed=seed, **controls))
        stream = outcome(model, lambda: list(model.stream(length, seed=seed, **controls)))
        for found in [text, *(many or ())]:
            if found is not None:
                check_text(model, found, length, controls)
        if text is not None:
            check_first(model, text[:1], controls)
            assert many is None or many[0] == text
            assert stream is None or model.vocabulary.empty.join(stream) == text
        beams = {name: controls[name] for name in ("prime", "allowed", "forbidden", "min_length") if name in controls}
        if beams or not controls:
            check_beams(model, length, beams)


def check_beams(model, length, controls):
    found = outcome(model, lambda: model.beam_search(length, n_best=4, width=5, **controls))
    if found is None:
        return
    scores = np.array([score for _, score in found])
    assert not np.isnan(scores).any()
    assert (scores <= 0).all()
    assert (np.diff(scores) <= 0).all()
    assert len({text for text, _ in found}) == len(found)
    assert 0 < len(found) <= 4 or may_diverge(model)
    for text, score in found:
        if model.vocabulary.records or len(text) == length:
            check_text(model, text, length, controls)
        prime = controls.get("prime", model.vocabulary.empty)
        logs = outcome(model, lambda: model.log_probs(prime + text))
        if logs is not None:
            # A record that is cut at length has no end. Beyond 1e38 differences of float32 overflow where those of float64 do not.
            expected = logs[len(prime) : len(prime) + length].sum()
            np.testing.assert_allclose(max(score, -1e38), max(expected, -1e38), rtol=1e-5, atol=1e-4)


def check_scoring(model, random):
    vocabulary = model.vocabulary
    texts = [as_text(model, random.integers(len(vocabulary), size=n)) for n in random.integers(1, 12, 4)]
    scores = []
    for text in texts:
        probs, logs = outcome(model, lambda: model.next_probs(text)), outcome(model, lambda: model.log_probs(text))
        scores.append(outcome(model, lambda: model.score(text)))
        if probs is not None:
            assert probs.shape == (vocabulary.symbols,)
            assert ((probs >= 0) & (probs <= 1)).all()
            assert abs(probs.sum() - 1) < 1e-5
        assert (logs is None) == (scores[-1] is None)
        if logs is not None:
            assert logs.shape == (len(text) + vocabulary.records,)
            assert (logs <= 0).all()  # and so not NaN
            np.testing.assert_allclose(scores[-1], -logs.mean() / np.log(2), rtol=1e-5, atol=1e-6)
    together = outcome(model, lambda: model.score_many(texts))
    assert (together is None) == (None in scores)
    assert together is None or together.tolist() == scores
    before = outcome(model, lambda: [model.next_probs(texts[0][:i]) for i in range(len(texts[0]))])
    logs = outcome(model, lambda: model.log_probs(texts[0]))
    if before is not None and logs is not None:
        given = np.array([p[i] for p, i in zip(before, vocabulary.encode(texts[0]), strict=True)])
        np.testing.assert_allclose(np.exp(logs[: len(given)]), given, rtol=1e-4, atol=1e-7)


def check_lesson(model, random):
    """The tutorial's methods, on ids."""
    rnn = model.rnn
    ids, targets = random.integers(rnn.vocab_size, size=(2, 5))
    state = random.choice([0, 1, -1, 1e30, -3e38, 1e-45], (rnn.hidden_size, 1))
    state = np.where(random.random(state.shape) < 0.5, state, random.uniform(-1, 1, state.shape))
    found = outcome(model, lambda: rnn.forward(ids, np.clip(state, -1, 1)))
    if found is not None:
        _, hs, ps = found
        assert all(np.abs(h).max() <= 1 for h in hs.values())
        assert all(((p >= 0) & (p <= 1)).all() and abs(p.sum() - 1) < 1e-5 and p.shape == (rnn.vocab_size, 1) for p in ps.values())
        loss = rnn.loss(ps, targets)
        assert loss >= 0
        assert np.isfinite(loss) or may_diverge(model)
        assert 0 <= rnn.loss(dict(ps), targets) < np.inf
    drawn = outcome(model, lambda: rnn.sample(np.clip(state, -1, 1), int(ids[0]), 9))
    assert drawn is None or (len(drawn) == 9 and set(drawn) <= set(range(rnn.vocab_size)))
    try:  # a state that is no state: no tanh gives it
        drawn = rnn.sample(state, int(ids[0]), 9)
        assert set(drawn) <= set(range(rnn.vocab_size))
    except DivergedError:
        assert may_diverge(model) or np.abs(state).max() > 1
    logits = random.choice([*FINITE, 0.5, 1.0, 2.0], (rnn.vocab_size, 1))
    p = rnn.softmax(logits)
    assert abs(p.sum() - 1) < 1e-5
    assert ((p >= 0) & (p <= 1)).all()
    assert p[logits.argmax()] == p.max()


def check_model(model, random):
    check_drawing(model, random)
    check_scoring(model, random)
    check_lesson(model, random)


def check_case(case):
    random = np.random.default_rng(case)
    model = make_model(random)
    values = [*FINITE, *random.standard_normal(3)]
    if case % 2:  # so that half of the models cannot overflow
        values = [value for value in values if abs(value) < 1e32]
    replace(model, random, values)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        model.save(path)
        loaded = charrnn.load(path)
        for name, view in model.network.weights.views().items():
            np.testing.assert_array_equal(loaded.network.weights.views()[name], view)
        check_model(loaded, random)
        replace(model, random, WRONG)
        with pytest.raises(ValueError, match="values that are not finite"):
            model.save(path)
    if random.random() < 0.5:
        check_model(model, random)


def test_extreme_weights_give_right_results_or_diverge(kernels):
    levels = _dispatch.available()
    first = [_dispatch.load(level) is kernels for level in levels].index(True)
    for case in range(first, CASES, len(levels)):  # each variant gets its share of the cases
        try:
            check_case(case)
        except BaseException as error:
            error.add_note(f"case {case}")
            raise


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_forbidden_characters_stay_so_where_all_logits_are_far_below_zero(kernels, tmp_path, dtype):
    rnn = RNN(1, 5, 3, 0.1, dtype=dtype, seed=0)
    rnn.c[...] = -1e31
    CharRNN(rnn, Vocabulary("abcde"), History()).save(tmp_path / "model.safetensors")
    model = charrnn.load(tmp_path / "model.safetensors")
    assert model.next_probs("").sum() == pytest.approx(1, abs=1e-5)
    for seed in range(20):
        texts = model.generate_many(64, 64, seed=seed, no_repeat=1)
        assert all(len(text) == 64 and set(text) == set("abcde") == set(text[:5]) for text in texts)
        assert set("".join(model.generate_many(8, 20, seed=seed, forbidden="bd"))) == set("ace")


@pytest.mark.parametrize("size", [1e12, 1e20, 1e30])
def test_scores_of_beams_are_right_where_logits_are_large(kernels, size):
    """Two of the characters are equally likely, the others impossible."""
    model = CharRNN(RNN(1, 4, 3, 0.1, seed=0), Vocabulary("abcd"), History())
    model.rnn.V[...], model.rnn.c[:2], model.rnn.c[2:] = 0, size, 0
    found = model.beam_search(3, n_best=8)
    assert {text for text, _ in found} == {a + b + c for a in "ab" for b in "ab" for c in "ab"}
    np.testing.assert_allclose([score for _, score in found], -3 * np.log(2), rtol=1e-6)
