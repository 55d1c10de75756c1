"""Models whose network is mixed with n-gram counts: a whole life."""

import copy
import io
import pickle
from types import SimpleNamespace

import numpy as np
import pytest

import charrnn
import plain
from charrnn import ModelFormatError
from charrnn.datasets import names, python_docs
from charrnn.network.counts import Counts, Mixture
from charrnn.training import mixture

TEXT = python_docs()[:60_000]
OPTIONS = {"hidden_size": 24, "batch_size": 4, "epochs": 2, "progress": False, "ngram": 6}


@pytest.fixture(scope="module")
def model():
    return plain.train_text(TEXT, **OPTIONS)


@pytest.fixture(scope="module")
def of_records():
    return plain.train_records(names(), **OPTIONS)


def test_the_mixture_is_better_than_either(model):
    alone = plain.train_text(TEXT, **{**OPTIONS, "ngram": 0})
    held_out = python_docs()[60_000:70_000]
    assert model.score(held_out) < 0.9 * alone.score(held_out)
    np.testing.assert_array_equal(model.network.weights.block, alone.network.weights.block)
    assert model.history.estimate < model.history.validation_losses[-1]
    assert alone.mixture is None


def test_the_held_out_part_is_counted_too(model):
    ids = model.vocabulary.encode(TEXT)
    counts, symbols = model.mixture.counts, model.vocabulary.symbols
    expected = Counts.from_ids([ids], symbols, counts.order)
    for level, known in zip(counts.levels, expected.levels, strict=True):
        assert 0.98 * len(known.symbols) < len(level.symbols) <= len(known.symbols)
        assert abs(level.counts.sum() / known.counts.sum() - 1) < 0.1


def test_the_best_weights_are_found_where_newtons_steps_are_too_long(monkeypatch):
    seen = []  # sqrt(1 + x^2): from |x| > 1, Newton's method goes farther away with each step
    network = SimpleNamespace(mix=seen.append)
    counts = SimpleNamespace(vocab_size=2, estimate=list)

    def statistics(network, stream):
        x = 20 * (np.array(seen[-1]) - (1.2, 0.3))
        root = np.sqrt(1 + x**2)
        return 1e4 * root.sum(), 100, 2e5 * x / root, np.diag(4e6 / root**3)

    monkeypatch.setattr(mixture, "NgramTable", lambda vocab_size, levels, *weights: weights)
    monkeypatch.setattr(mixture, "_statistics", statistics)
    found, nll = mixture.fit_mixture(network, counts, None)
    np.testing.assert_allclose(found[1:], (1.2, 0.3), atol=0.002)
    assert nll == pytest.approx(200, rel=1e-4)
    assert len(seen) <= 18
    assert seen[-1] is None


def test_a_text_that_repeats_itself_does_not_spoil_the_mixture():
    model = plain.train_text(TEXT[:20_000] + TEXT[:2_200], **OPTIONS)
    found, new = model.mixture, python_docs()[60_000:64_000]
    assert found.counts_weight == 0.85
    losses = {}
    for weights in [found[1:], (0.0, 2.0), (0.25, 1.2)]:
        model.network.mix(Mixture(found.counts, *weights).table())
        losses[weights] = model.score(new, on_unknown="skip")
    assert min(losses, key=losses.get) == found[1:]


@pytest.mark.parametrize("kind", ["text", "records"])
def test_everything_that_predicts_uses_it_alike(kind, request):
    model = request.getfixturevalue("model" if kind == "text" else "of_records")
    text = TEXT[500:560] if kind == "text" else "anastasia"
    one_by_one = [
        model.next_probs(text[:i])[model.vocabulary.chars.index(text[i])] for i in range(len(text))
    ]
    np.testing.assert_allclose(
        model.log_probs(text)[: len(text)], np.log(one_by_one), rtol=1e-4, atol=1e-5
    )
    assert abs(model.next_probs(text[:5]).sum() - 1) < 1e-6
    np.testing.assert_allclose(
        model.score_many([text, text[:7]]), [model.score(text), model.score(text[:7])], rtol=1e-5
    )
    many = model.generate_many(5, 40, seed=3)
    assert many[0] == model.generate(40, seed=3)
    assert "".join(model.stream(40, seed=3)) == many[0]
    (best, log_p), *_ = model.beam_search(8, width=200)
    assert log_p <= 0
    assert isinstance(best, str)
    expected, p = model.trace(text).likeliest(4)[0]
    np.testing.assert_allclose(model.next_probs(text[:5]).max(), p, rtol=1e-4)
    assert isinstance(expected, str)


@pytest.mark.parametrize(
    "again", [lambda m: pickle.loads(pickle.dumps(m)), copy.copy, copy.deepcopy]
)
def test_copies_predict_the_same_bits(model, of_records, again):
    for one in (model, of_records):
        assert (again(one).log_probs("susanna") == one.log_probs("susanna")).all()
        assert again(one).generate(80, seed=1) == one.generate(80, seed=1)


def test_a_file_keeps_it(model, tmp_path):
    model.save(tmp_path / "model")
    loaded = charrnn.load(tmp_path / "model")
    assert loaded.score(TEXT[:2000]) == model.score(TEXT[:2000])
    assert loaded.mixture[1:] == model.mixture[1:]
    entries = len(model.mixture.counts)
    alone = plain.train_text(TEXT, **{**OPTIONS, "ngram": 0})
    alone.save(tmp_path / "alone")
    assert (tmp_path / "model").stat().st_size - (
        tmp_path / "alone"
    ).stat().st_size < 5 * entries + 2000
    assert (tmp_path / "model").read_bytes() == pickle_bytes(loaded)


def pickle_bytes(model):
    file = io.BytesIO()
    model.save(file)
    return file.getvalue()


def test_a_damaged_file_is_refused(model):
    content = bytearray(pickle_bytes(model))
    for place in np.linspace(len(content) // 3, len(content) - 1, 40).astype(int):
        damaged = bytearray(content)
        damaged[place] ^= 1
        with pytest.raises(ModelFormatError):
            charrnn.load(bytes(damaged))


def test_threads_and_resuming_change_no_bit(tmp_path):
    one = plain.train_text(TEXT, **OPTIONS)
    two = plain.train_text(TEXT, **OPTIONS, n_threads=2)
    plain.train_text(TEXT, **{**OPTIONS, "epochs": 1}, checkpoint=tmp_path / "c")
    three = plain.train_text(TEXT, **OPTIONS, resume=tmp_path / "c")
    for other in (two, three):
        assert other.mixture[1:] == one.mixture[1:]
        assert (other.log_probs(TEXT[:500]) == one.log_probs(TEXT[:500])).all()


def test_further_training_adds_counts(model):
    more = copy.deepcopy(model).train_text(
        "zyzzyva \u2603 " * 300, extend=True, epochs=1, progress=False
    )
    assert "\u2603" in more.vocabulary.chars
    assert len(more.mixture.counts) > len(model.mixture.counts)
    assert more.mixture.counts.vocab_size == more.vocabulary.symbols
    none = copy.deepcopy(model).train_text(TEXT[:1000], ngram=0, steps=2, progress=False)
    assert none.mixture is None


def test_ctrl_c_keeps_counts():
    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(charrnn.TrainingInterrupted) as caught:
        plain.train_text(TEXT, **OPTIONS, callback=stop)
    assert caught.value.model.mixture.counts.order > 3


def test_files_records_and_bytes_are_counted_as_what_is_in_memory(tmp_path, of_records):
    path = tmp_path / "names.txt"
    path.write_text("\n".join(names()), encoding="utf-8")
    assert plain.train_file(path, records=True, **OPTIONS).score("anna") == of_records.score("anna")
    model = plain.train_text(TEXT[:5000].encode(), alphabet="bytes", **OPTIONS)
    assert abs(model.next_probs(b"the ").sum() - 1) < 1e-6
    assert model.mixture.counts.vocab_size == 256


def test_no_count_crosses_from_one_record_to_the_next(of_records):
    boundary = len(of_records.vocabulary)
    counts = of_records.mixture.counts
    inside = [False]  # whether a context has a boundary behind its first symbol
    for k, level in enumerate(counts.levels):
        inside = np.array(inside)[level.parents]
        assert not inside.any()
        inside = (level.symbols == boundary) & (k > 0)


def test_a_random_seed_holds_out_the_same_records_for_the_counts(monkeypatch):
    """What the weights of the mixture are fitted on is what the network did not see."""
    from charrnn.data.dataset import Records

    seeds = []
    streams = Records.streams
    monkeypatch.setattr(
        Records,
        "streams",
        lambda self, learner, fraction, seed, pieces: (
            seeds.append(seed) or streams(self, learner, fraction, seed)
        ),
    )
    plain.train_records(names()[:200], **OPTIONS, seed=None)
    assert len(seeds) == 2
    assert seeds[0] == seeds[1] is not None
