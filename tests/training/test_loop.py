import hashlib
import itertools
import math
import os
import time
from dataclasses import replace

import numpy as np
import pytest

import reference
from charrnn import RNN, DivergedError
from charrnn.data.batches import TextStream
from charrnn.history import History
from charrnn.network import Network
from charrnn.network._types import Parameters
from charrnn.training import loop
from charrnn.training.schedule import Schedule
from charrnn.training.stepper import Stepper
from ctrl_c import CtrlC
from reference import Weights, train_steps, training_workspace

IDS = (np.arange(400) ** 2 % 11).astype(np.uint8)


def network(**options):
    options = {"batch_size": 1, "dtype": "float32", "seed": 0, **options}
    return RNN(8, 11, 5, 0.1, **options)


def fit(rnn, stream=None, **options):
    """Train on a stream, by default of IDS."""
    stream = TextStream(IDS, rnn.seq_length, rnn.batch_size) if stream is None else stream
    budget = loop.Budget.from_options(
        {name: options.pop(name, None) for name in loop.Budget._fields}
    )
    return loop.Trainer(Stepper(rnn, stream, 0), budget, **options).run()


def test_training_equals_the_oracle_over_epochs():
    """The state is carried within a pass and zero at the start of each; the last window is
    short.
    """
    rnn = network(dtype="float64")
    ids = IDS[:43]
    w = Weights.of(rnn)
    memory = w.map(np.zeros_like)
    fit(rnn, TextStream(ids, 5), epochs=3)
    for _ in range(3):
        windows = [(ids[k : min(k + 5, 42)], ids[k + 1 : k + 6]) for k in range(0, 42, 5)]
        reference.train(w, memory, windows, np.zeros((8, 1)), 0.1, 5.0)
    for got, expected in zip(Weights.of(rnn), w, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_how_many_steps_a_call_of_c_has_changes_nothing(monkeypatch, batch_size, schedule):
    """It depends on the clock; and a rate's last bit is one of the weights'."""
    found = []
    for seconds, characters in ((10.0, 1 << 20), (0.0, 1 << 20), (10.0, 5), (10.0, 35)):
        monkeypatch.setattr(loop, "_CALL_SECONDS", seconds)
        monkeypatch.setattr(loop, "_CALL_CHARACTERS", characters)
        rnn = network(batch_size=batch_size, dtype="float64")
        history = fit(rnn, epochs=13, schedule=Schedule(schedule))
        found.append(
            (
                rnn.network.weights.block.tobytes(),
                [replace(report, seconds=0) for report in history.reports],
            )
        )
    assert all(one == found[0] for one in found)


@pytest.mark.parametrize(
    ("options", "reason", "steps"),
    [
        ({}, "epochs", 800),
        ({"epochs": 2}, "epochs", 160),
        ({"steps": 17}, "steps", 17),
        ({"steps": 17, "epochs": 1}, "steps", 17),
        ({"steps": 1000, "epochs": 1}, "epochs", 80),
        ({"seconds": 0}, "seconds", 0),
        ({"epochs": 0}, "epochs", 0),
        ({"steps": 0}, "steps", 0),
        ({"epochs": 5, "callback": lambda progress: progress.step >= 40}, "callback", 40),
        ({"epochs": 500, "threshold": 9.0}, "threshold", None),
    ],
)
def test_training_stops_for_the_reason_it_gives(options, reason, steps):
    history = fit(network(), **options)
    assert history.stop_reason == reason
    assert steps is None or history.steps == steps


@pytest.mark.clock
def test_seconds_are_kept():
    started, spent = time.perf_counter(), time.process_time()
    history = fit(network(), seconds=0.3)
    assert history.stop_reason == "seconds"
    assert time.perf_counter() - started >= 0.3
    assert time.process_time() - spent < 0.6  # of one thread


def test_reports_are_a_few_an_epoch_and_add_up():
    seen = []
    history = fit(network(), epochs=2, callback=seen.append, validation=TextStream(IDS, 256))
    assert seen == history.reports
    assert [r.step for r in seen] == [20, 40, 60, 80, 100, 120, 140, 160]
    assert [r.epoch for r in seen] == [0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2]
    assert [r.characters for r in seen] == [100, 200, 300, 399, 499, 599, 699, 798]
    assert [r.validation_nll is not None for r in seen] == [False, False, False, True] * 2
    assert history.losses[-1] < history.losses[0] < math.log(11) * 1.1
    assert seen[0].bpc == pytest.approx(seen[0].nll / math.log(2))
    assert seen[0].perplexity == pytest.approx(math.exp(seen[0].nll))
    assert History.from_dict(history.to_dict()) == history


def test_reported_loss_is_the_mean_of_the_steps():
    slow, fast = network(dtype="float64"), network(dtype="float64")
    history = fit(fast, epochs=1)
    losses = train_steps(slow, training_workspace(slow), *TextStream(IDS, 5).read(0, 80))
    assert history.losses[0] == pytest.approx(losses[:20].sum() / 100, rel=1e-12)
    assert history.losses[3] == pytest.approx(losses[60:].sum() / 99, rel=1e-12)
    smooth = math.log(11) * 5
    for step, loss in enumerate(losses):
        smooth = smooth * 0.999 + 0.001 * loss * (5 / 4 if step == 79 else 1)
    assert history.reports[-1].smooth_loss == pytest.approx(smooth, rel=1e-12)


def test_validation_carries_the_state_and_changes_nothing():
    rnn = network(dtype="float64")
    fit(rnn, steps=50)
    before = rnn.network.weights.block.copy()
    _, log_p = reference.forward(Weights.of(rnn), IDS[:-1], np.zeros((8, 1)))
    expected = -np.mean([log_p[t][y, 0] for t, y in enumerate(IDS[1:])])
    assert loop.validate(rnn.network, TextStream(IDS, 256)) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_array_equal(rnn.network.weights.block, before)


def test_divergence_keeps_the_last_good_weights():
    rnn = network()
    history = History()

    def poison(progress):
        rnn.U[:] = np.nan
        poison.before = rnn.network.weights.block.copy()

    with pytest.raises(DivergedError, match=r"step 21 is not finite.*Lower learning_rate \(0.1\)"):
        fit(rnn, callback=poison, history=history)
    np.testing.assert_array_equal(rnn.network.weights.block, poison.before)
    assert history.stop_reason == "diverged"
    assert history.steps == 20


def test_a_callback_that_raises_reaches_the_caller():
    rnn = network()
    twin = network()
    history = History()

    def fail(progress):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        fit(rnn, callback=fail, history=history)
    fit(twin, steps=20)
    np.testing.assert_array_equal(rnn.network.weights.block, twin.network.weights.block)


def weights_after_each_step(ids, steps, batch_size):
    """SHA-256 of the weights after 0, 1, 2 ... steps of an uninterrupted run."""
    rnn = RNN(100, 11, 25, 0.1, batch_size=batch_size, seed=0)
    stream = TextStream(ids, 25, batch_size)
    work = training_workspace(rnn)
    yield hashlib.sha256(rnn.network.weights.block.tobytes()).hexdigest()
    for step in range(steps):
        window = step % stream.windows
        work.set_state(work.get_state() * (window > 0))
        train_steps(rnn, work, *stream.read(window, 1))
        yield hashlib.sha256(rnn.network.weights.block.tobytes()).hexdigest()


@pytest.mark.clock
@pytest.mark.skipif(os.name != "posix", reason="needs os.kill with SIGINT")
@pytest.mark.parametrize(("batch_size", "n_threads", "steps"), [(1, 1, 12_000), (8, 2, 4_000)])
def test_ctrl_c_returns_within_a_tenth_of_a_second_after_a_whole_step(batch_size, n_threads, steps):
    ids = np.tile(IDS, 20)
    ends, spent = [], []
    for delay in (0.02, 0.05, 0.11, 0.23):
        rnn = RNN(100, 11, 25, 0.1, batch_size=batch_size, n_threads=n_threads, seed=0)
        history, ctrl_c = History(), CtrlC(delay)
        with pytest.raises(KeyboardInterrupt):
            fit(
                rnn,
                TextStream(ids, 25, batch_size),
                seconds=10_000,
                history=history,
                callback=ctrl_c,
            )
        spent.append(ctrl_c.spent() / n_threads)
        assert history.stop_reason == "interrupted"
        ends.append(
            (history.steps, hashlib.sha256(rnn.network.weights.block.tobytes()).hexdigest())
        )
    assert min(spent) < 0.1
    assert set(ends) <= set(enumerate(weights_after_each_step(ids, steps, batch_size)))


def test_checkpoints_are_written_by_the_clock_and_at_the_end():
    written = []
    fit(network(), epochs=50, save=lambda position, state: written.append(position.step))
    assert len(written) == len(set(written)) < 10  # 200 reports, a fraction of a second
    assert written[-1] == 50 * 80
    fit(network(), steps=0, save=lambda position, state: written.append(position.step))
    assert written[-1] == 0


def test_what_an_exception_ends_is_reported_to_its_last_step(monkeypatch):
    rnn, history = network(), History()
    steps = Network.train_steps

    def interrupted(*arguments, **options):
        if history.steps == 20 and interrupted.calls > 5:
            raise KeyboardInterrupt
        interrupted.calls += 1
        return steps(*arguments, **options)

    interrupted.calls = -20
    monkeypatch.setattr(Network, "train_steps", interrupted)
    monkeypatch.setattr(loop, "_CALL_CHARACTERS", 5)  # one window at a time
    with pytest.raises(KeyboardInterrupt):
        fit(rnn, history=history)
    assert history.stop_reason == "interrupted"
    assert history.steps == 26
    assert history.reports[-1].characters == 130


def test_a_stop_by_callback_is_measured():
    history = fit(
        network(),
        epochs=9,
        validation=TextStream(IDS, 256),
        callback=lambda progress: np.bool_(progress.epoch > 1.4),
    )
    assert history.stop_reason == "callback"
    assert [report.validation_nll is not None for report in history.reports] == [
        False,
        False,
        False,
        True,
        False,
        True,
    ]


def overfitting():
    """A network, a stream, and a held-out stream whose loss rises again soon."""
    ids = np.random.default_rng(0).integers(0, 11, 120).astype(np.uint8)
    return (
        RNN(30, 11, 5, 0.3, initial_accumulator_value=1.0, seed=0),
        TextStream(ids[:60], 5),
        TextStream(ids[60:], 256),
    )


def test_patience_ends_after_epochs_without_a_better_validation():
    rnn, stream, held_out = overfitting()
    best = Parameters(rnn.network.description, np.float32)
    history = fit(rnn, stream, epochs=200, patience=3, validation=held_out, best=best)
    losses = history.validation_losses
    assert history.stop_reason == "patience"
    assert len(losses) == int(np.argmin(losses)) + 1 + 3
    rnn.network.weights.copy_from(best)
    assert loop.validate(rnn.network, held_out) == min(losses)


def test_a_better_loss_renews_patience():
    """A single worse epoch among better ones does not end a training of patience 2."""
    rnn, stream, held_out = overfitting()
    measured = iter([3.0, 3.1, 2.9, 3.2, 2.8, 3.0, 2.9])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "validate", lambda *arguments: next(measured))
        history = fit(rnn, stream, epochs=200, patience=2, validation=held_out)
    assert history.validation_losses == [3.0, 3.1, 2.9, 3.2, 2.8, 3.0, 2.9]


def test_decay_multiplies_the_learning_rate_after_each_epoch():
    decayed, by_hand = network(), network()
    fit(decayed, epochs=3, schedule=Schedule(learning_rate_decay=0.5))
    for epoch in range(3):
        by_hand.learning_rate = 0.1 * 0.5**epoch
        fit(by_hand, epochs=1)
    np.testing.assert_array_equal(decayed.network.weights.block, by_hand.network.weights.block)


def test_reports_are_logged_and_nothing_is_printed(caplog, capfd):
    with caplog.at_level("INFO", logger="charrnn"):
        fit(network(), epochs=1, validation=TextStream(IDS, 256))
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 5
    assert messages[3].startswith("step 80, epoch 1.00, ")
    assert "validation" in messages[3]
    assert messages[4].startswith("stop reason: epochs, after step 80")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("pace", [0.0, -1.0])
def test_a_clock_that_stands_or_runs_backwards_does_no_harm(monkeypatch, pace):
    """As those do that tests put in the place of Python's."""
    ticks = itertools.count(100.0, pace) if pace else itertools.repeat(100.0)
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    history = fit(network(), epochs=3, validation=TextStream(IDS, 256), seconds=9, progress=True)
    assert history.stop_reason == "epochs"
    assert {report.seconds for report in history.reports} == {0.0}


def test_what_is_slow_beside_training_is_not_taken_for_slow_training():
    """The time that the last measurement will take is judged by the speed of training alone, not by
    that of a disk.
    """
    saves = []

    def save(position, state):
        saves.append(position.step)
        time.sleep(0.3)

    history = fit(
        network(), seconds=20, steps=30, validation=TextStream(np.tile(IDS, 200), 256), save=save
    )
    assert (history.stop_reason, history.steps) == ("steps", 30)
    assert saves[0] == 1
