"""What the tutorial's program gets wrong, one test a mistake: each fails on the tutorial's version
(docs/math.md lists them).
"""

import numpy as np
import pytest

import charrnn
from charrnn import RNN, DataReader

TEXT = "to be, or not to be, that is the question\n"


@pytest.fixture
def reader(text_file):
    with DataReader(text_file(TEXT), 5) as reader:
        yield reader


def network(reader, hidden_size=12, seed=0, **options):
    return RNN(hidden_size, reader.vocab_size, reader.seq_length, 0.1, seed=seed, **options)


def test_output_bias_learns(reader):
    rnn = network(reader)
    inputs, targets = reader.next_batch()
    xs, hs, ps = rnn.forward(inputs, np.zeros((12, 1)))
    *_, dc = rnn.backward(xs, hs, ps, targets)
    expected = sum(ps[t] - np.eye(reader.vocab_size)[:, [y]] for t, y in enumerate(targets))
    np.testing.assert_allclose(dc, expected, rtol=1e-5, atol=1e-6)
    rnn.train(reader, steps=3, callback=None)
    assert np.abs(rnn.c).max() > 0.01


def test_symbol_order_is_the_same_in_every_process(text_file, run_python):
    program = (
        f"from charrnn import DataReader; print(DataReader({str(text_file(TEXT))!r}, 5).char_to_ix)"
    )
    orders = {
        run_python(program, variables={"PYTHONHASHSEED": str(seed)}, check=True).stdout
        for seed in range(3)
    }
    assert orders == {f"{ {char: ix for ix, char in enumerate(sorted(set(TEXT)))} }\n"}


def test_sampling_survives_large_logits(reader):
    rnn = network(reader)
    rnn.c[...] = -2000
    rnn.c[3] = 2000
    assert rnn.sample(np.zeros((12, 1)), 0, 20) == [3] * 20


def test_loss_of_an_underflowed_probability_is_finite(reader):
    rnn = network(reader)
    rnn.c[0] = 5000
    _, _, ps = rnn.forward([1], np.zeros((12, 1)))
    assert ps[0][2] == 0
    assert rnn.loss(ps, [2]) == pytest.approx(5000, rel=1e-3)


@pytest.mark.parametrize("size", range(2, 27))
def test_every_target_is_visited_once_a_pass(text_file, size):
    text = "".join(chr(ord("a") + i) for i in range(size))
    reader = DataReader(text_file(text), 5)
    seen = []
    while True:
        inputs, targets = reader.next_batch()
        assert [i + 1 for i in inputs] == targets
        seen += targets
        if reader.just_started():
            break
    assert seen == list(range(1, size))


@pytest.mark.parametrize("size", [2, 3, 4, 5, 6, 7])
def test_a_short_text_trains(text_file, size):
    reader = DataReader(text_file(TEXT[:size]), 5)
    rnn = RNN(4, reader.vocab_size, 5, 0.1, seed=0)
    assert rnn.train(reader, epochs=2, callback=None).stop_reason == "epochs"
    inputs, targets = reader.next_batch()
    xs, hs, ps = rnn.forward(inputs, np.zeros((4, 1)))
    rnn.update_model(*rnn.backward(xs, hs, ps, targets))


def test_training_ends_by_itself_and_says_why(reader):
    rnn = network(reader)
    assert rnn.train(reader, callback=None).stop_reason == "epochs"
    assert rnn.train(reader, callback=None, epochs=10**6, threshold=1.0).stop_reason == "threshold"


def test_nan_is_an_error_not_a_success(reader):
    rnn = network(reader)
    rnn.W[0, 0] = np.nan
    with pytest.raises(charrnn.DivergedError, match="step 1 is not finite"):
        rnn.train(reader, callback=None)


def test_predict_feeds_the_prime_in_order(text_file):
    reader = DataReader(text_file("abx bay " * 20), 8)
    rnn = network(reader, 16)
    rnn.train(reader, epochs=60, callback=None)
    assert rnn.predict(reader, "ab", 1) == "abx"
    assert rnn.predict(reader, "ba", 1) == "bay"
    assert rnn.predict(reader, "abx ", 3) == "abx bay"


def test_softmax_loss_and_predict_exist(reader):
    rnn = network(reader)
    assert rnn.softmax(np.zeros((reader.vocab_size, 1))) == pytest.approx(1 / reader.vocab_size)
    assert len(rnn.predict(reader, "to", 50)) == 52


def test_file_is_utf8_whatever_the_locale_and_newlines_are_kept(text_file, run_python):
    path = text_file("é\r\nü\r☃\n")
    program = f"from charrnn import DataReader; print(ascii(DataReader({str(path)!r}, 5).data))"
    variables = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ran = run_python(program, variables=variables, check=True)
    assert ran.stdout == ascii("é\r\nü\r☃\n") + "\n"


def test_the_host_program_is_not_disturbed(reader, capfd):
    before = np.random.get_state()
    rnn = network(reader, seed=None)
    rnn.train(reader, epochs=2, callback=None)
    rnn.predict(reader, "to", 5)
    after = np.random.get_state()
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert capfd.readouterr() == ("", "")


def test_the_tutorials_script_runs(text_file, run_python):
    program = f"""
        from charrnn import DataReader, RNN
        seq_length = 25
        data_reader = DataReader({str(text_file(TEXT * 30))!r}, seq_length)
        rnn = RNN(hidden_size=100, vocab_size=data_reader.vocab_size,
                  seq_length=seq_length, learning_rate=1e-1)
        rnn.train(data_reader)
        print(rnn.predict(data_reader, 'question', 50))
    """
    ran = run_python(program, check=True)
    assert ran.stdout.count("iter :") == 40
    assert "question" in ran.stdout[-60:]
    assert (
        len(ran.stdout[ran.stdout.rindex("loss:") :].split("\n", 1)[1]) == len("question") + 50 + 1
    )
    assert ran.stderr == ""
