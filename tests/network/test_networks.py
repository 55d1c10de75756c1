"""A model's whole life with each kind of network: what a vanilla model can, every network can."""

import copy
import pickle

import numpy as np
import pytest

import charrnn
import plain
from charrnn import CharRNN
from plain import weights

TEXT = "to be, or not to be, that is the question. " * 30
NAMES = ["anna", "hanna", "susanna", "joanna", "ann", "su", "jo"] * 12
NETWORKS = {
    "gru": {"cell": "gru", "optimizer": "rmsprop"},
    "lstm": {"cell": "lstm", "optimizer": "sgd", "learning_rate": 0.5},
    "deep": {
        "cell": "gru",
        "n_layers": 3,
        "optimizer": "adam",
        "dropout": 0.1,
        "schedule": "linear",
    },
    "deep lstm": {
        "cell": "lstm",
        "n_layers": 2,
        "optimizer": "adam",
        "dropout": 0.3,
        "weight_decay": 0.1,
        "schedule": "cosine",
        "warmup": 9,
    },
    "deep vanilla": {"cell": "rnn", "n_layers": 2},
    "vanilla with Adam": {"cell": "rnn", "optimizer": "adam"},
}
SMALL = {"hidden_size": 20, "batch_size": 4, "seq_length": 10, "progress": False}


@pytest.fixture(params=NETWORKS)
def options(request):
    return {**NETWORKS[request.param], **SMALL}


@pytest.fixture
def model(options):
    return plain.train_text(TEXT, steps=60, **options)


def test_it_learns(options):
    model = plain.train_text(TEXT, steps=400, **options)
    assert model.history.losses[-1] < 0.75 * model.history.losses[0]
    assert model.score("to be, or not") < model.score("tone, bor toe")


def test_it_writes_and_scores(model):
    text = model.generate(
        60,
        prime="to ",
        seed=3,
        temperature=0.8,
        top_k=8,
        top_p=0.95,
        min_p=0.01,
        no_repeat=6,
        forbidden="q",
    )
    assert len(text) == 60
    assert "".join(model.stream(60, prime="to ", seed=3)) == model.generate(60, prime="to ", seed=3)
    assert model.generate_many(3, 30, seed=3)[0] == model.generate_many(1, 30, seed=3)[0]
    (best, score), *_ = model.beam_search(8, n_best=3, prime="to ")
    assert score == pytest.approx(model.log_probs("to " + best)[3:].sum(), rel=1e-4)
    assert model.score("to be") == pytest.approx(-model.log_probs("to be").sum() / 5 / np.log(2))
    np.testing.assert_allclose(
        model.score_many(["to be", "or not"]),
        [model.score("to be"), model.score("or not")],
        rtol=1e-5,
    )
    assert np.exp(model.log_probs("to be")[4]) == pytest.approx(
        model.next_probs("to b")[model.vocabulary.encode("e")[0]], rel=1e-5
    )


def test_it_is_kept(model, tmp_path):
    model.save(tmp_path / "model")
    for same in (
        charrnn.load(tmp_path / "model"),
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
    ):
        assert repr(same) == repr(model)
        assert weights(same) == weights(model)
        assert same.generate(30, seed=1) == model.generate(30, seed=1)
    assert (tmp_path / "model").read_bytes() == model_bytes(
        charrnn.load(tmp_path / "model"), tmp_path
    )


def model_bytes(model, folder):
    model.save(folder / "again")
    return (folder / "again").read_bytes()


def test_records_bytes_and_more_training(options):
    names = plain.train_records(NAMES, steps=40, remember=True, **options)
    assert not set(names.generate_many(5, 12, seed=1, novel=True)) & set(NAMES)
    names.train_records(["éva"], extend=True, remember=True, steps=2, progress=False)
    assert "é" in names.vocabulary.chars
    assert names.network.optimizer == options.get("optimizer", "adagrad")
    binary = plain.train_text(TEXT.encode(), alphabet="bytes", steps=3, **options)
    assert isinstance(binary.generate(5), bytes)


def test_a_model_that_grows_reads_what_it_knew_as_before(model):
    before = model.log_probs("to be")
    model.train_text(
        "ü" * 30 + "to be",
        extend=True,
        steps=1,
        learning_rate=1e-12,
        weight_decay=0,
        progress=False,
        optimizer="adagrad",
    )
    after = model.log_probs("to be")
    assert (
        np.abs(np.diff(before) - np.diff(after)).max() < 0.1
    )  # a symbol more takes a little from each


def test_threads_and_checkpoints_change_no_bit(options, tmp_path):
    whole = weights(plain.train_text(TEXT, steps=100, **options))
    for more in ({"n_threads": 3}, {"checkpoint": tmp_path / "c"}):
        assert weights(plain.train_text(TEXT, steps=100, **options, **more)) == whole


@pytest.mark.parametrize("network", ["deep", "deep lstm"])
def test_a_training_resumed_at_any_of_its_steps_gives_the_same_bits(network, tmp_path):
    options = {**NETWORKS[network], **SMALL}
    expected = weights(plain.train_text(TEXT, steps=100, **options))
    for step in range(100):
        stopping = Stop(step)
        with pytest.MonkeyPatch.context() as patch:
            stopping.install(patch)
            with pytest.raises(charrnn.TrainingInterrupted):
                plain.train_text(TEXT, steps=100, checkpoint=tmp_path / "c", **options)
        assert charrnn.load(tmp_path / "c").history.steps == step
        assert (
            weights(plain.train_text(TEXT, steps=100, resume=tmp_path / "c", **options)) == expected
        ), step


class Stop:
    """Ctrl-C when so many steps are done."""

    def __init__(self, step):
        self.step = step

    def install(self, patch):
        advance = charrnn.training.loop.Trainer._advance

        def stopping(run, count):
            if run.position.step == self.step:
                raise KeyboardInterrupt
            advance(run, min(count, self.step - run.position.step))

        patch.setattr(charrnn.training.loop.Trainer, "_advance", stopping)


def test_another_network_is_not_resumed_and_named(tmp_path):
    options = {**NETWORKS["deep lstm"], **SMALL}
    plain.train_text(TEXT, steps=3, checkpoint=tmp_path / "c", **options)
    for change, message in (
        (
            {"cell": "gru"},
            "network was 'lstm of 20 units, lstm of 20 units, 15 symbols', is 'gru of 20 units",
        ),
        ({"n_layers": 1}, "network was .* is 'lstm of 20 units, 15 symbols'"),
        ({"dropout": 0.2}, "dropout was 0.3, is 0.2"),
        ({"optimizer": "rmsprop"}, "optimizer was 'adam', is 'rmsprop'"),
        ({"schedule": "linear"}, "schedule was 'cosine', is 'linear'"),
        ({"clip_norm": 2}, "clip_norm was 1.0, is 2"),
    ):
        with pytest.raises(ValueError, match=message):
            plain.train_text(TEXT, steps=5, resume=tmp_path / "c", **{**options, **change})


def test_the_lesson_is_of_the_tutorials_network_only(model):
    if model.network.description.layers == (("rnn", 20),):
        assert model.rnn.hidden_size == 20
        with pytest.raises(ValueError, match="optimizer of this network is adam"):
            model.rnn.update_model(
                *(
                    np.zeros_like(array)
                    for array in (model.rnn.U, model.rnn.W, model.rnn.V, model.rnn.b, model.rnn.c)
                )
            )
    else:
        with pytest.raises(AttributeError, match="its engine is the attribute network"):
            model.rnn  # noqa: B018


def test_weights_are_named_by_their_gates():
    model = plain.train_text(TEXT, cell="gru", n_layers=2, steps=1, **{**SMALL, "hidden_size": 5})
    views = model.network.weights.views()
    assert views["Wxr"].shape == (len(model.vocabulary), 5)
    assert {views[name].shape for name in ("Whn", "Whr2", "Wxu2")} == {(5, 5)}
    assert views["bhn2"].shape == (5,)
    for number, view in enumerate(views.values()):  # they lie side by side, and none on another
        view[...] = number
    assert all((view == number).all() for number, view in enumerate(views.values()))
    assert isinstance(model, CharRNN)
