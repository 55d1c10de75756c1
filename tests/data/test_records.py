"""Models of records: each begins and ends by itself."""

import io
import math
import subprocess
import sys
import tracemalloc
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import charrnn
import plain
import reference
from charrnn import RNN, CharRNN, History, Vocabulary
from charrnn.data import batches as reader
from charrnn.data import dataset
from charrnn.data.batches import IGNORED, RecordStream
from charrnn.training import loop
from reference import Weights, digest, train_steps, training_workspace

NAMES = ["anna", "bob", "", "christina", "di", "edda", "fritz", "gwendolyn", "hal", "ida"] * 5


def stream_of(strings, batch_size, seed=0):
    vocabulary = Vocabulary.from_text("".join(strings), records=True)
    lengths = np.array([len(string) for string in strings])
    return RecordStream(
        vocabulary.encode("".join(strings)), lengths, len(vocabulary), batch_size, seed
    ), vocabulary


@given(
    st.lists(st.text("abcde", max_size=6), min_size=1, max_size=40).filter(any),
    st.integers(1, 7),
    st.integers(0, 3),
)
def test_every_record_is_in_an_epoch_once(strings, batch_size, epoch):
    stream, vocabulary = stream_of(strings, batch_size)
    stream.begin(epoch)
    batch_size = stream.batch_size  # no more than records
    inputs, targets = stream.read(0, stream.windows)
    inputs, targets = (
        array.reshape(stream.windows, stream.seq_length, batch_size) for array in (inputs, targets)
    )
    found = []
    for window in range(stream.windows):
        for b in range(batch_size):
            real = targets[window, :, b] != IGNORED
            if not real.any():
                continue
            size = int(real.sum())
            assert real[:size].all()
            assert targets[window, size - 1, b] == inputs[window, 0, b] == len(vocabulary)
            assert (inputs[window, 1:size, b] == targets[window, : size - 1, b]).all()
            found.append(vocabulary.decode(targets[window, : size - 1, b]))
    assert Counter(found) == Counter(strings)
    assert stream.targets == (targets != IGNORED).sum()
    for window in range(stream.windows):  # alone, a window is as short as its records
        (alone,) = (stream.read(window, 1)[1],)
        np.testing.assert_array_equal(alone, targets[window, : len(alone)])
        assert (targets[window, len(alone) :] == IGNORED).all()
        assert len(alone) == 1 or (alone[-1] != IGNORED).any()


def test_order_depends_on_seed_and_epoch_only():
    def order(seed, epoch):
        stream, _ = stream_of(NAMES, 3, seed)
        stream.begin(epoch)
        return stream.order.tolist()

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


@pytest.mark.parametrize("n_threads", [1, 2])
def test_training_equals_the_oracle(kernels, n_threads):
    """Each record from the zero state; the gradient is the mean over the records of a batch."""
    stream, vocabulary = stream_of(["anna", "bob", "di", "edda", "hal", "ida"], 2)
    stream.begin(0)
    rnn = RNN(
        5, vocabulary.symbols, 99, 0.1, batch_size=2, dtype="float64", seed=0, n_threads=n_threads
    )
    w = Weights.of(rnn)
    memory = w.map(np.zeros_like)
    work = training_workspace(rnn, stream.seq_length)
    losses = train_steps(rnn, work, *stream.read(0, stream.windows), reset=True)
    expected = []
    for batch in stream.order.reshape(-1, 2):
        gradients = []
        expected.append(0)
        for i in batch:
            ids = stream.ids[stream.starts[i] : stream.starts[i] + stream.lengths[i]]
            ids = [len(vocabulary), *ids, len(vocabulary)]
            expected[-1] += reference.loss(w, ids[:-1], ids[1:], np.zeros((5, 1)))
            gradients.append(reference.gradient(w, ids[:-1], ids[1:], np.zeros((5, 1))))
        mean = Weights(*((a + b) / 2 for a, b in zip(*gradients, strict=True)))
        reference.adagrad(w, memory, mean, 0.1)
    np.testing.assert_allclose(losses, expected, rtol=1e-11)
    for got, array in zip(Weights.of(rnn), w, strict=True):
        np.testing.assert_allclose(got, array, rtol=1e-9, atol=1e-12)


@pytest.fixture(scope="module")
def model():
    """Five characters and a boundary, large random weights."""
    rnn = RNN(7, 6, 4, 0.1, dtype="float64", seed=0)
    reference.randomize(rnn, np.random.default_rng(0))
    return CharRNN(rnn, Vocabulary("abcde", records=True), History())


@pytest.mark.parametrize("text", ["", "a", "abecad", "abc" * 50])
def test_scores_include_the_end(model, text, kernels):
    ids = [5, *model.vocabulary.encode(text), 5]
    _, log_p = reference.forward(Weights.of(model.rnn), ids[:-1], np.zeros((7, 1)))
    expected = np.array([log_p[t][y, 0] for t, y in enumerate(ids[1:])])
    np.testing.assert_allclose(model.log_probs(text), expected, rtol=1e-12)
    assert model.score(text) == pytest.approx(-expected.mean() / math.log(2), rel=1e-12)
    np.testing.assert_allclose(model.next_probs(text)[5], math.exp(expected[-1]), rtol=1e-10)


@given(st.lists(st.text("abcde", max_size=30), max_size=100))
def test_scores_of_many_equal_scores_one_by_one_to_the_bit(model, texts):
    np.testing.assert_array_equal(
        model.score_many(texts), np.array([model.score(text) for text in texts])
    )


def test_records_end_where_the_model_ends_them(model):
    texts = model.generate_many(3000, 300, seed=1)
    assert max(map(len, texts)) < 300
    assert len(set(texts)) > 100
    share = np.mean([text == "" for text in texts])
    assert share == pytest.approx(model.next_probs("")[5], abs=0.03)
    assert model.generate(300, seed=1) == texts[0] == "".join(model.stream(300, seed=1))
    assert model.generate_many(5, 2, seed=1) == [text[:2] for text in texts[:5]]


def test_train_records_learns_names_and_their_ends():
    names = ["anna", "hanna", "susanna", "bob", "rob"] * 40
    model = plain.train_records(names, hidden_size=30, epochs=40, batch_size=4)
    assert set(model.generate_many(50, 20, seed=0, temperature=0.5)) <= set(names)
    assert model.score("anna") < model.score("nana")
    assert model.history.validation_losses[-1] < 1.0
    assert repr(model).startswith("CharRNN(")


def test_validation_is_the_mean_over_held_out_symbols():
    model = plain.train_records(NAMES, hidden_size=10, epochs=2, validation_fraction=0.2)
    _, held_out = dataset.Records.from_strings(NAMES).streams(model.rnn, 0.2, 0)
    texts = [
        model.vocabulary.decode(held_out.ids[s : s + n])
        for s, n in zip(held_out.starts, held_out.lengths, strict=True)
    ]
    assert len(texts) == 10
    nll = np.concatenate([-model.log_probs(text) for text in texts])
    assert model.history.validation_losses[-1] == pytest.approx(nll.mean(), rel=1e-6)
    assert loop.validate(model.network, held_out) == pytest.approx(nll.mean(), rel=1e-6)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_resume_gives_the_same_bits(tmp_path, batch_size):
    options = {"hidden_size": 10, "batch_size": batch_size, "checkpoint": tmp_path / "c"}
    for k in [1, 2, 5, 11, 12, 13, 14, 24, 30]:
        plain.train_records(NAMES, steps=k, **options)
        model = plain.train_records(NAMES, steps=40, resume=tmp_path / "c", **options)
        assert digest(model.rnn) == digest(plain.train_records(NAMES, steps=40, **options).rnn), k
    with pytest.raises(ValueError, match="the text is another"):
        plain.train_records(NAMES[1:], steps=40, resume=tmp_path / "c", **options)


def test_save_and_load(model, tmp_path):
    model.save(tmp_path / "m")
    again = charrnn.load(tmp_path / "m")
    assert again.vocabulary == model.vocabulary != Vocabulary("abcde")
    assert again.generate_many(5, 40, seed=2) == model.generate_many(5, 40, seed=2)


def test_one_long_record_does_not_make_the_others_slow():
    """Windows are as long as the records in them, and only such as go on with a long one carry the
    state.
    """
    stream, _ = stream_of(["ab"] * 100 + ["abcde" * 1001] + ["a"] * 100 + ["abc" * 40], 1)
    stream.begin(0)
    sizes = [len(stream.read(window, 1)[0]) for window in range(stream.windows)]
    assert Counter(sizes) == {3: 100, 2: 100, 121: 1, 25: 200, 6: 1}
    assert sum(not stream.resets(window) for window in range(stream.windows)) == 200


@given(
    st.lists(st.text("abcde", max_size=20), min_size=1, max_size=20).filter(any),
    st.integers(1, 4),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_windows_of_long_records_go_on_where_the_one_before_ended(
    strings, batch_size, seq_length, most
):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "_WHOLE", 4)
        vocabulary = Vocabulary.from_text("".join(strings), records=True)
        lengths = np.array([len(string) for string in strings])
        stream = RecordStream(
            vocabulary.encode("".join(strings)), lengths, len(vocabulary), batch_size, 0, seq_length
        )
        stream.begin(1)
        batch_size = stream.batch_size
        found, now, window = [], [[] for _ in range(batch_size)], 0
        while window < stream.windows:
            count, each = stream.windows_per_call(window, min(most, stream.windows - window))
            shape = count, stream.longest(window, count), batch_size
            assert shape[1] <= min(stream.seq_length, max(4, seq_length))
            inputs, targets = (array.reshape(shape) for array in stream.read(window, count))
            for i in range(count):
                assert i == 0 or stream.resets(window + i) == each
                if stream.resets(window + i):
                    found += now
                    now = [[] for _ in range(batch_size)]
                for b in range(batch_size):
                    real = targets[i, :, b] != IGNORED
                    wanted = [*(now[b][-1:] or [len(vocabulary)]), *targets[i, real, b]][
                        : real.sum()
                    ]
                    assert inputs[i, real, b].tolist() == wanted
                    now[b] += targets[i, real, b].tolist()
            window += count
        found = [record for record in [*found, *now] if record]
        assert Counter(vocabulary.decode(record[:-1]) for record in found) == Counter(strings)
        assert {record[-1] for record in found} == {len(vocabulary)}


@pytest.mark.parametrize("batch_size", [1, 3])
def test_long_records_train_resume_and_are_validated_with_the_state_carried(tmp_path, batch_size):
    """0.1.0 led the gradient back through whole documents, and diverged."""
    strings = ["the quick brown fox " * size for size in (1, 40, 3, 90, 7)] * 3
    options = {
        "hidden_size": 20,
        "seed": 1,
        "batch_size": batch_size,
        "validation_fraction": 0.2,
        "learning_rate": 0.3,
    }
    whole = plain.train_records(strings, epochs=3, **options)
    assert whole.history.validation_losses[-1] < 0.5
    for steps in (37, 151):
        plain.train_records(strings, steps=steps, checkpoint=tmp_path / "c", keep="last", **options)
        again = plain.train_records(
            strings, epochs=3, resume=tmp_path / "c", keep="last", **options
        )
        assert digest(again.rnn) == digest(
            plain.train_records(strings, epochs=3, keep="last", **options).rnn
        )
    _, held_out = dataset.Records.from_strings(strings).streams(whole.rnn, 0.2, 1)
    texts = [
        whole.vocabulary.decode(held_out.ids[i : i + n])
        for i, n in zip(held_out.starts, held_out.lengths, strict=True)
    ]
    expected = -np.concatenate([whole.log_probs(text) for text in texts]).mean()
    assert loop.validate(whole.network, held_out) == pytest.approx(expected, rel=1e-5)


def test_a_long_record_costs_no_memory():
    stream, _ = stream_of(["ab"] * 1000 + ["abcde" * 10**5], 64)
    assert stream.seq_length == 128
    assert all(len(stream.read(window, 1)[0]) <= 128 for window in range(stream.windows))


@pytest.mark.parametrize(
    "strings",
    [["ab" * 10**7], ["\U0001f600", *["ab" * 5000] * 2000]],
    ids=["one", "a rare character in one of many"],
)
def test_records_take_little_more_memory_than_their_ids(strings):
    model = SimpleNamespace(seq_length=25, batch_size=1)
    tracemalloc.start()
    try:
        stream, _ = dataset.Records.from_strings(strings).streams(model, 0.1, 0)
        stream.begin(0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(stream.ids) <= peak < 2.5 * len(stream.ids)


@pytest.mark.parametrize(
    ("strings", "error", "message"),
    [
        ([], ValueError, "0 records and no character"),
        (["", ""], ValueError, "2 records and no character"),
        ("anna", TypeError, "sequence of str, not one"),
        (None, TypeError, "strings must be a sequence of texts, not NoneType"),
        (["anna", 3], TypeError, r"strings\[1\] must be a str, not int$"),
        (
            ["anna", None],
            TypeError,
            r"strings\[1\] must be a str, not NoneType: a missing value; leave it out",
        ),
        (
            ["anna", math.nan],
            TypeError,
            r"strings\[1\] must be a str, not float: a missing value; leave it out",
        ),
        (["a\ud800"], ValueError, "surrogate"),
        ({"anna": 1}, TypeError, "not dict: give its values"),
        ({"anna", "bert"}, TypeError, r"not set: sorted\(...\) puts them in an order"),
        (
            SimpleNamespace(columns=["name"]),
            TypeError,
            "not SimpleNamespace: give one of its columns",
        ),  # a table of pandas or polars
        (
            io.StringIO("anna\nbert\n"),
            TypeError,
            r"not StringIO: give file.read\(\).splitlines\(\)",
        ),
    ],
)
def test_wrong_records_are_refused(strings, error, message):
    with pytest.raises(error, match=message):
        plain.train_records(strings)


def test_command_line(tmp_path):
    (tmp_path / "names.txt").write_bytes(b"anna\r\nhanna\nsusanna\n\nbob\n" * 20)
    command = [
        sys.executable,
        "-m",
        "charrnn",
        "train",
        "--records",
        tmp_path / "names.txt",
        "-o",
        tmp_path / "m",
        "--epochs",
        "60",
    ]
    ran = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True)
    assert "bits per character" in ran.stdout
    model = charrnn.load(tmp_path / "m")
    assert model.vocabulary.chars == "abhnosu"
    assert model.score("anna") < 1.5


def test_a_surrogate_is_named_by_its_record():
    with pytest.raises(ValueError, match=r"strings\[2\]\[1\] = '\\ud800' is a lone surrogate"):
        plain.train_records(["anna", "bob", "c\ud800"])


@pytest.mark.parametrize("others", ["ay", "ayz"])
def test_records_that_train_the_model_are_refused(others):
    """Their training would be lost: the model is the one that the call began with."""

    def strings(model, meanwhile=()):
        yield "bax"
        for record in meanwhile:
            with pytest.raises(RuntimeError, match="is being trained already"):
                model.train_records([record], extend=True, steps=1)

    expected, model = (
        plain.train_records(["ab", "ba"] * 20, hidden_size=4, steps=5) for _ in range(2)
    )
    expected.train_records(strings(expected), extend=True, steps=3)
    model.train_records(strings(model, [others]), extend=True, steps=3)
    assert model.vocabulary.chars == "abx"
    assert model.network.weights.block.tobytes() == expected.network.weights.block.tobytes()


def test_a_record_of_a_class_of_its_own_is_remembered_as_it_is():
    class Odd(str):
        __slots__ = ()

        def encode(self, *arguments):
            return 5

    model = plain.train_records([Odd("anna"), "bob"], remember=True, steps=1)
    assert "anna" in model.index
    assert Odd("bob") in model.index


def test_an_error_of_a_generator_comes_out_as_it_is():
    with pytest.raises(TypeError, match=r"object of type 'int' has no len\(\)"):
        charrnn.train_records(len(5) for _ in "ab")


def test_a_lazy_table_is_refused_without_a_warning():
    polars = pytest.importorskip("polars")
    with pytest.raises(
        TypeError,
        match="strings must be a sequence of texts, not LazyFrame: give one of its columns",
    ):
        plain.train_records(polars.LazyFrame({"name": ["anna"]}))


def test_what_is_rehearsed_is_part_of_the_digest():
    """Also where its records begin, and where the new text ends: or resume would take another."""

    def digest(new, old):
        source = dataset.Records.from_strings(new)
        source.old = dataset.Records.from_strings(old, known=source.vocabulary)
        return source.sha256()

    assert digest(["ab", "b"], ["ab", "a"]) == digest(["ab", "b"], ["ab", "a"])
    assert digest(["ab", "b"], ["ab", "a"]) != digest(["ab", "b"], ["a", "ba"])
    texts = [dataset.Text.from_text(new) for new in ("abab", "ababab")]
    for text, old in zip(texts, ("abab", "ab"), strict=True):
        text.old = dataset.Text.from_text(old, known=text.vocabulary)
    assert texts[0].sha256() != texts[1].sha256()
