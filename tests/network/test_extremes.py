"""Models of extreme weights, in files and in place: every method is right, or says it diverged."""

import os
import tempfile
from pathlib import Path
from random import Random

import numpy as np
import pytest

import charrnn
from charrnn import RNN, CharRNN, History, Vocabulary
from charrnn.network import dispatch as _dispatch
from charrnn.util.errors import DivergedError
from model_checks import (
    check_generation,
    check_scoring,
    control_values,
    may_diverge,
    outcome,
    some_controls,
)

CASES = int(os.environ.get("CHARRNN_HOSTILE_CASES", "150"))  # model files
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
SIZES = (*range(1, 41), 15, 15, 16, 16, 17, 17)  # lanes are 16 wide; records add a symbol
EXTREMES = (1e30, 1e31, 3e38, 1e-40, 1e-45, 5e-324)
FINITE = (0.0, -0.0, *EXTREMES, *(-value for value in EXTREMES))
WRONG = (np.inf, -np.inf, np.nan)


def make_model(random):
    """A model of any kind, its weights ordinary."""
    records, dtype = random.random() < 0.5, random.choice(["float32", "float32", "float64"])
    letters = LETTERS[: random.choice(SIZES)]
    of_bytes = random.random() < 0.1
    vocabulary = Vocabulary.all_bytes(records) if of_bytes else Vocabulary(letters, records)
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
        for p in ps.values():
            assert p.shape == (rnn.vocab_size, 1)
            assert ((p >= 0) & (p <= 1)).all()
            assert abs(p.sum() - 1) < 1e-5
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
    chosen = Random(int(random.integers(2**32)))
    values = control_values(model, chosen)
    single = [{name: value} for name in values for value in values[name]]
    for controls in [{}, *single, *(some_controls(model, chosen) for _ in range(8))]:
        check_generation(model, chosen, controls)
    check_scoring(model, chosen)
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
