import copy
import math
import pickle
import threading
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import charrnn
import plain
import reference
from charrnn import RNN, CharRNN, History, Vocabulary
from charrnn.data.batches import TextStream
from charrnn.training.loop import Budget, Trainer
from charrnn.training.stepper import Stepper
from reference import Weights


@pytest.fixture(scope="module")
def model():
    """Five characters, large random weights."""
    rnn = RNN(7, 5, 4, 0.1, dtype="float64", seed=0)
    reference.randomize(rnn, np.random.default_rng(0))
    return CharRNN(rnn, Vocabulary("abcd☃"), History())


def oracle_log_probs(model, text):
    """Log-probability of each character: the first by the bias alone, as the zero state gives
    it.
    """
    w, ids = Weights.of(model.rnn), model.vocabulary.encode(text)
    _, log_p = reference.forward(w, ids[:-1], np.zeros((model.rnn.hidden_size, 1)))
    first = w.c - np.log(np.exp(w.c).sum())
    return np.array([first[ids[0], 0], *(log_p[t][y, 0] for t, y in enumerate(ids[1:]))])


@pytest.mark.parametrize("text", ["a", "ab", "ab☃dcab", "abcd" * 100])
def test_log_probs_and_score_equal_the_oracle(model, text, kernels):
    expected = oracle_log_probs(model, text)
    got = model.log_probs(text)
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    assert got.dtype == np.float64
    assert model.score(text) == pytest.approx(-expected.mean() / math.log(2), rel=1e-12)


@given(st.text("abcd☃", max_size=20), st.sampled_from("abcd☃"))
@settings(max_examples=30)
def test_chain_rule(model, prefix, char):
    p = model.next_probs(prefix)
    assert p.sum() == pytest.approx(1, abs=1e-12)
    assert p.shape == (5,)
    assert math.log(p[model.vocabulary.encode(char)[0]]) == pytest.approx(
        model.log_probs(prefix + char)[-1], rel=1e-10
    )


def test_generate_has_the_length_asked_for_and_no_prime(model):
    assert model.generate(0) == ""
    assert len(model.generate(50, prime="ab", seed=0)) == 50
    assert model.generate(50, seed=1) == model.generate(50, seed=1) != model.generate(50, seed=2)
    assert model.generate(50) != model.generate(50)


def test_generate_continues_the_prime(model):
    """Temperature 0 follows the most likely character, one after the other."""
    text = "ab☃"
    for char in model.generate(20, prime=text, temperature=0):
        assert model.vocabulary.encode(char)[0] == np.argmax(model.next_probs(text))
        text += char


def test_sample_i_is_the_same_whatever_the_count(model, kernels):
    texts = model.generate_many(150, 30, prime="ab", seed=9)
    assert texts[:70] == model.generate_many(70, 30, prime="ab", seed=9)
    assert texts[0] == model.generate(30, prime="ab", seed=9)
    assert len(set(texts)) > 140
    assert model.generate_many(0, 5) == []
    assert model.generate_many(3, 0) == ["", "", ""]


@given(st.lists(st.text("abcd☃", min_size=1, max_size=90), max_size=150))
@settings(max_examples=15)
def test_scores_of_many_equal_scores_one_by_one_to_the_bit(model, texts):
    np.testing.assert_array_equal(
        model.score_many(texts), np.array([model.score(text) for text in texts])
    )


def test_long_and_short_texts_are_scored_together(model, monkeypatch, kernels):
    import charrnn.inference.scoring

    texts = ["ab" * n for n in (1, 300, 2, 299, 40)] * 20
    expected = [model.score(text) for text in texts]
    assert model.score_many(texts).tolist() == expected
    monkeypatch.setattr(charrnn.inference.scoring, "_ROWS", 7)
    assert model.score_many(texts).tolist() == expected


def test_empty_log_probs(model):
    assert model.log_probs("").shape == (0,)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m.generate(-1), ValueError, "length must be"),
        (lambda m: m.generate(2.5), TypeError, "length must be"),
        (lambda m: m.generate(True), TypeError, "length must be"),
        (lambda m: m.generate(5, temperature=-0.1), ValueError, "temperature must be"),
        (lambda m: m.generate(5, temperature=math.nan), ValueError, "temperature must be"),
        (lambda m: m.generate(5, temperature=math.inf), ValueError, "temperature must be"),
        (lambda m: m.generate(5, temperature="1"), TypeError, "temperature must be"),
        (lambda m: m.generate(5, seed=-1), ValueError, "seed must be"),
        (
            lambda m: m.generate(5, prime="abX"),
            ValueError,
            r"prime\[2\] = 'X' \(U\+0058\) is not among the 5 characters",
        ),
        (lambda m: m.generate(5, prime=b"ab"), TypeError, "prime must be a str"),
        (lambda m: m.score("aX"), ValueError, r"text\[1\] = 'X'"),
        (lambda m: m.score(""), ValueError, "at least one character"),
        (lambda m: m.score(None), TypeError, "text must be a str"),
        (lambda m: m.log_probs("X"), ValueError, r"text\[0\] = 'X'"),
        (lambda m: m.score_many(["ab", "aX"]), ValueError, r"texts\[1\]\[1\] = 'X'"),
        (
            lambda m: m.score_many(["ab", ""]),
            ValueError,
            r"texts\[1\] must have at least one character",
        ),
        (lambda m: m.score_many(["ab", 3]), TypeError, r"texts\[1\] must be a str, not int"),
        (lambda m: m.generate_many(-1, 5), ValueError, "count must be"),
        (lambda m: m.next_probs("X"), ValueError, r"prefix\[0\] = 'X'"),
        (
            lambda m: CharRNN(m.rnn, Vocabulary("ab"), History()),
            ValueError,
            "vocab_size=5, the vocabulary 2",
        ),
    ],
)
def test_wrong_input_is_named_and_changes_nothing(model, call, error, message):
    before = model.rnn.network.weights.block.copy()
    with pytest.raises(error, match=message):
        call(model)
    np.testing.assert_array_equal(model.rnn.network.weights.block, before)


def test_many_threads_may_use_one_model(model):
    text = "abcd☃" * 200

    def use():
        controls = {"seed": 5, "top_k": 3, "no_repeat": 9}
        texts = (
            model.generate(300, seed=5),
            "".join(model.stream(90, **controls)),
            *model.generate_many(3, 90, **controls),
        )
        best = tuple(model.beam_search(9, n_best=2, prime="ab"))
        best += tuple(model.likeliest(5, max_length=3))
        return (
            texts,
            best,
            model.score(text),
            model.score_many([text, "a"]).tobytes(),
            model.next_probs("abc").tobytes(),
        )

    expected = use()
    results = [None] * 8
    barrier = threading.Barrier(8)

    def work(i):
        barrier.wait()
        results[i] = {use() for _ in range(5)}

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [{expected}] * 8


def test_one_is_singular(capsys):
    model = charrnn.train_text("aa", cell="rnn", hidden_size=3, batch_size=1, steps=1)
    assert repr(model) == "CharRNN(hidden_size=3, 1 character, 1 step)"
    assert "1 stream, 1 step, counts" in capsys.readouterr().err


def test_repr_is_short(model):
    assert repr(model) == "CharRNN(hidden_size=7, 5 characters, 0 steps)"


def test_public_names():
    assert all(getattr(charrnn, name).__doc__ for name in charrnn.__all__ if name != "isa")


# ----------------------------------------------------------------------------------------- going on

FOX = "the quick brown fox " * 20


def fox(**options):
    return plain.train_text(
        FOX, **{"hidden_size": 12, "epochs": 3, "seq_length": 9, "batch_size": 2, **options}
    )


def test_going_on_equals_the_oracle_that_starts_at_these_weights():
    model = fox(dtype="float64")
    twin = copy.deepcopy(model)
    assert model.train_text(FOX[:101], epochs=2, validation_fraction=0) is model
    twin.rnn.network.memory.block.fill(100.0)  # afresh
    stream = TextStream(twin.vocabulary.encode(FOX[:101]), 9, 2)
    Trainer(Stepper(twin.rnn, stream, 0), Budget(epochs=2)).run()
    np.testing.assert_array_equal(model.rnn.network.weights.block, twin.rnn.network.weights.block)
    assert model.history.steps == 2 * 6
    assert (model.rnn.seq_length, model.rnn.batch_size, model.rnn.learning_rate) == (9, 2, 0.15)
    assert model.rnn.dtype == np.float64


@pytest.mark.parametrize("records", [False, True])
def test_a_vocabulary_grows_without_moving_what_was_there(records):
    if records:
        model = plain.train_records(["fox", "dog", "ox"] * 9, hidden_size=12, epochs=3)
        before = copy.deepcopy(model)
        model.train_records(["zé"] * 9, extend=True, steps=0)
    else:
        model = fox()
        before = copy.deepcopy(model)
        model.train_text("Zé!" * 9, extend=True, steps=0)
    old, new = before.vocabulary, model.vocabulary
    assert new.chars == old.chars + "".join(sorted(set("zé" if records else "Zé!")))
    assert new.records == records
    n = len(old)
    np.testing.assert_array_equal(model.rnn.U[:, :n], before.rnn.U[:, :n])
    np.testing.assert_array_equal(model.rnn.W, before.rnn.W)
    np.testing.assert_array_equal(model.rnn.V[:n], before.rnn.V[:n])
    np.testing.assert_array_equal(model.rnn.c[:n], before.rnn.c[:n])
    if records:
        np.testing.assert_array_equal(model.rnn.U[:, -1], before.rnn.U[:, -1])
        np.testing.assert_array_equal(model.rnn.V[-1], before.rnn.V[-1])
    # What was known is nearly as likely as before: the new characters take little.
    ratio = model.next_probs("fox")[:n] / before.next_probs("fox")[:n]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)
    assert 0.7 < ratio[0] < 1


def test_new_text_is_learned(tmp_path):
    model = fox(epochs=10)
    (tmp_path / "dog.txt").write_text("the lazy dog! " * 40, encoding="utf-8")
    with pytest.raises(
        ValueError,
        match=r"characters that the model does not know: '!' \(U\+0021\), 'a' \(U\+0061\), .*; "
        r"extend=True adds them",
    ):
        model.train_file(tmp_path / "dog.txt", epochs=10)
    model.train_file(tmp_path / "dog.txt", extend=True, epochs=10)
    assert model.score("the lazy dog!") < 2
    assert model.generate(9, prime="the lazy", temperature=0).startswith(" dog!")
    model.save(tmp_path / "m")
    assert charrnn.load(tmp_path / "m").score("the lazy dog!") == model.score("the lazy dog!")


def test_a_mistake_leaves_the_model_as_it_was():
    model = fox()
    before = pickle.dumps(model)
    for options, error in [
        ({"epochs": -1}, ValueError),
        ({"hidden_size": 3}, TypeError),
        ({"alphabet": "bytes"}, TypeError),
    ]:
        with pytest.raises(error):
            model.train_text("the fox", **options)
    for call in (model.train_text, model.train_file):
        with pytest.raises((ValueError, OSError)):
            call("missing, and unknown: ?")
    with pytest.raises(ValueError, match="model of text: train_text trains it further"):
        model.train_records(["fox"])
    with pytest.raises(ValueError, match="model of records: train_records trains it further"):
        plain.train_records(["fox"], steps=1).train_text("fox")
    with pytest.raises(TypeError, match="must be a str, not bytes"):
        model.train_text(b"the fox")
    assert pickle.dumps(model) == before


def test_a_mistake_beside_resume_leaves_the_model_as_it_was(tmp_path):
    model = fox()
    copy.deepcopy(model).train_text(FOX, steps=9, checkpoint=tmp_path / "c")
    before = pickle.dumps(model)
    for options in ({"epochs": -1}, {"callback": 3}, {"patience": 0}, {"keep": "first"}):
        with pytest.raises((ValueError, TypeError)):
            model.train_text(FOX, resume=tmp_path / "c", **options)
    assert pickle.dumps(model) == before


def test_a_callback_that_raises_leaves_the_model_as_of_the_last_whole_step():
    def fail(report):
        raise ZeroDivisionError

    model, twin = fox(), fox()
    with pytest.raises(ZeroDivisionError):
        model.train_text(FOX, epochs=10, callback=fail)
    twin.train_text(FOX, steps=model.history.steps)
    np.testing.assert_array_equal(model.rnn.network.weights.block, twin.rnn.network.weights.block)


def test_going_on_that_diverges_leaves_the_model_as_it_was():
    model = fox()
    before = pickle.dumps(model)
    with pytest.raises(charrnn.DivergedError) as diverged:
        model.train_text(FOX, learning_rate=1e38)
    assert diverged.value.model is model
    assert pickle.dumps(model) == before


def test_records_remembered_add_up():
    model = plain.train_records(["fox", "dog"] * 9, steps=1, remember=True)
    model.train_records(["ox", "god"] * 9, steps=1, remember=True)
    model.train_records(["fog"] * 9, steps=1)
    assert all(record in model.index for record in ("fox", "dog", "ox", "god", "fog"))
    with pytest.raises(
        ValueError, match="does not remember the records that it was trained on before"
    ):
        plain.train_records(["fox"] * 9, steps=1).train_records(["ox"] * 9, remember=True)


@pytest.mark.parametrize(
    "epoch", [30, 21.5]
)  # long after the best pass, and in the middle of the next one
def test_an_interrupted_model_has_its_best_weights(epoch):
    text = "".join(np.random.default_rng(0).choice(list("abcdefgh"), 300))
    options = {"hidden_size": 30, "learning_rate": 0.05, "initial_accumulator_value": 0.1}

    def interrupt(report):
        if report.epoch >= epoch:
            raise KeyboardInterrupt

    whole = plain.train_text(text, epochs=30, **options)
    assert whole.history.kept.epoch == 21
    with pytest.raises(charrnn.TrainingInterrupted) as stopped:
        plain.train_text(text, epochs=99, callback=interrupt, **options)
    history = stopped.value.model.history
    assert history.kept_step == whole.history.kept_step
    assert history.kept.validation_nll == min(history.validation_losses)
    np.testing.assert_array_equal(
        stopped.value.model.network.weights.block, whole.network.weights.block
    )


REFUSED = pytest.raises(
    RuntimeError, match="this model is being trained already: wait until that ends, or train a copy"
)


def test_a_second_training_at_the_same_time_is_refused(text_file):
    """One of them would be lost."""
    model, seen, reader = fox(), [], charrnn.DataReader(text_file("fox"), 2)

    def callback(progress):
        for one in (model, progress.model):
            with REFUSED:
                one.train_text(FOX, steps=3)
        with REFUSED:
            progress.model.rnn.train(reader)
        seen.append(copy.deepcopy(model).train_text(FOX, steps=3).history.steps)
        return True

    model.train_text(FOX, epochs=9, callback=callback)
    assert seen == [3]
    assert model.history.stop_reason == "callback"
    assert model.train_text(FOX, steps=3).history.steps == 3


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_a_training_that_ends_by_an_exception_is_over(error):
    def fail(progress):
        raise error

    model = fox()
    with pytest.raises(error):
        model.train_text(FOX, callback=fail)
    assert model.train_text(FOX, steps=2).history.steps == 2


def test_of_many_threads_that_train_one_model_one_does():
    model, ended, barrier = fox(), [], threading.Barrier(4)
    others = threading.Event()

    def train():
        barrier.wait()
        try:
            wait = lambda report: others.wait(60) and None  # noqa: E731  until they are refused
            ended.append(model.train_text(FOX * 20, steps=400, callback=wait).history.steps)
        except RuntimeError as error:
            ended.append(str(error)[:10])
            if len(ended) == 3:
                others.set()

    threads = [threading.Thread(target=train) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ended, key=str) == [400, *["this model"] * 3]


def test_an_exception_has_the_model():
    def fail(report):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as failed:
        plain.train_text(FOX, callback=fail)
    assert failed.value.model.history.steps > 0
    assert len(failed.value.model.generate(5, seed=1)) == 5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_copies_and_pickles_are_whole_and_apart(dtype):
    model = fox(dtype=dtype)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert again.generate(30, seed=1) == model.generate(30, seed=1)
        assert again.rnn.network.weights.block.ctypes.data % 64 == 0
        again.rnn.W[0, 0] += 1
        assert (
            again.rnn.network.weights.block.tobytes() != model.rnn.network.weights.block.tobytes()
        )
        again.train_text(FOX, epochs=1)
        assert again.generate(30, seed=1) != model.generate(30, seed=1)


class Mine(charrnn.CharRNN):
    pass


def test_a_pickle_is_as_small_as_the_file(tmp_path):
    model = fox()
    model.save(tmp_path / "m")
    assert len(pickle.dumps(model)) < (tmp_path / "m").stat().st_size + 200
    mine = Mine(model.rnn, model.vocabulary, model.history)
    assert (
        type(copy.copy(mine))
        is type(copy.deepcopy(mine))
        is type(pickle.loads(pickle.dumps(mine)))
        is Mine
    )
    assert copy.copy(mine).network is model.network is not copy.deepcopy(mine).network
    model.rnn.W[0, 0] = np.nan
    with pytest.raises(ValueError, match="Whh has values that are not finite"):
        pickle.dumps(model)
    assert np.isnan(copy.deepcopy(model).rnn.W[0, 0])


# ---------------------------------------------------------- several threads, and what cannot be set


@pytest.mark.parametrize("name", ["rnn", "network", "vocabulary", "history", "index", "anything"])
def test_parts_of_a_model_cannot_be_replaced(model, name):
    with pytest.raises(AttributeError):
        setattr(model, name, None)
    assert model.generate(3, seed=1)


def test_a_call_sees_one_whole_model_while_another_thread_extends_it():
    """Characters and network always fit together, in the middle of a call too."""
    model = plain.train_text("ab" * 50, hidden_size=5, epochs=1)
    texts = ["ab" * 20 + "".join(map(chr, range(0x100, 0x100 + 20 * i))) for i in range(1, 12)]
    errors, over = [], threading.Event()

    def use():
        while not over.is_set():
            text = model.generate(20, seed=1, no_repeat=2)
            p = model.next_probs("ab")
            try:
                assert len(text) == 20
                assert p.sum() == pytest.approx(1, abs=1e-5)
                assert model.score("ab") > 0
            except AssertionError as error:
                errors.append(error)

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for text in texts:
        model.train_text(text, extend=True, steps=2, progress=False, validation_fraction=0)
    over.set()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(model.vocabulary) == 2 + 220


def test_an_argument_that_trains_the_model_does_not_mix_two_models():
    model = plain.train_text("ab" * 50, hidden_size=5, epochs=1)

    class Temperature:
        def __float__(self):
            model.train_text(
                "ab" + "".join(map(chr, range(0x100, 0x200))), extend=True, steps=1, progress=False
            )
            return 1.0

    twin = copy.deepcopy(model)
    assert model.generate(30, seed=1, temperature=Temperature()) == twin.generate(30, seed=1)
    assert len(model.vocabulary) == 258


@pytest.mark.parametrize("option", ["length", "seed", "temperature", "no_repeat"])
@pytest.mark.parametrize("sign", [1, -1])
def test_an_int_too_long_to_be_written_is_refused_by_its_name(option, sign):
    model = plain.train_text("abc" * 9, hidden_size=2, steps=1)
    with pytest.raises(ValueError, match=f"{option} must be .* not an int of 16,610 bits"):
        model.generate(**{"length": 3, option: sign * 10**5000})


@pytest.mark.parametrize("option", ["cell", "preset", "alphabet", "progress"])
def test_an_int_too_long_to_be_written_is_no_choice_and_no_flag(option):
    with pytest.raises(
        (ValueError, TypeError), match=f"{option} must be .* not an int of 16,610 bits"
    ):
        charrnn.train_text("abc" * 9, **{"preset": "tutorial", option: 10**5000})


def test_a_list_with_an_int_too_long_to_be_written_is_refused_by_its_name():
    model = plain.train_text("abc" * 9, hidden_size=2, steps=1)
    with pytest.raises(
        TypeError, match="temperature must be a number, not a value of list that cannot be written"
    ):
        model.generate(3, temperature=[10**5000])


@pytest.mark.parametrize(
    "value",
    [
        np.True_,
        np.array(True),
        np.complex128(0.1 + 5j),
        np.array("0.1"),
        np.array(b"0.1"),
        bytearray(b"0.1"),
        memoryview(b"0.1"),
    ],
    ids=lambda value: f"{type(value).__name__} {getattr(value, 'dtype', '')}",
)
def test_what_float_takes_and_is_no_number_is_refused(value):
    model = plain.train_text("abc" * 9, hidden_size=2, steps=1)
    with pytest.raises(TypeError, match="temperature must be a number, not "):
        model.generate(3, temperature=value)
    with pytest.raises(TypeError, match="learning_rate must be a number, not "):
        model.train_text("abc" * 9, learning_rate=value)


@pytest.mark.parametrize(
    "value",
    [Fraction(1, 2), Decimal("0.5"), np.float16(0.5), np.longdouble(0.5), np.array(0.5)],
    ids=lambda value: type(value).__name__,
)
def test_numbers_of_all_kinds_are_numbers(value):
    model = plain.train_text("abc" * 9, hidden_size=2, steps=1)
    assert model.generate(9, temperature=value, seed=1) == model.generate(
        9, temperature=0.5, seed=1
    )


def test_a_masked_text_is_called_missing():
    model = plain.train_text("abc" * 9, hidden_size=2, steps=1)
    with pytest.raises(
        TypeError, match=r"texts\[1\] must be a str, not MaskedConstant: a missing value"
    ):
        model.score_many(np.ma.array(["ab", "ca"], mask=[False, True]))
