import itertools
import time

import numpy as np
import pytest

import charrnn
import plain
from charrnn.training import schedule
from charrnn.training.schedule import Schedule

TEXT = "to be, or not to be, that is the question. " * 20


def test_powers_are_products():
    assert [schedule.power(0.5, n) for n in range(4)] == [1, 0.5, 0.25, 0.125]
    assert schedule.power(0.97, 1000) == pytest.approx(0.97**1000, rel=1e-12)
    assert schedule.power(1.0, 2**62) == 1


def test_the_cosine_is_right_to_rounding():
    x = np.linspace(0, 1, 1001)
    np.testing.assert_allclose(schedule._cosine(x), np.cos(np.pi * x), rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("constant", [1, 1, 1]), ("linear", [1, 0.51, 0.02]), ("cosine", [1, 0.51, 0.02])],
)
def test_a_schedule_falls_over_the_budget(name, expected):
    np.testing.assert_allclose(Schedule(name).factors(0, [0, 50, 100], [0, 0.5, 1]), expected)


def test_a_schedule_rises_first_and_decays_by_passes():
    np.testing.assert_allclose(
        Schedule(warmup=4).factors(0, range(6), np.zeros(6)), [0.25, 0.5, 0.75, 1, 1, 1]
    )
    np.testing.assert_allclose(
        Schedule("linear", 4, 0.5).factors(3, [1], [0.5]), [0.5**3 * 0.5 * 0.51]
    )


def rates_of(monkeypatch, **options):
    """The learning rates of the steps of a training, in order."""
    found = []
    train_steps = charrnn.network.Network.train_steps

    def watched(self, *arguments, learning_rate, **others):
        losses = train_steps(self, *arguments, learning_rate=learning_rate, **others)
        found.extend(np.broadcast_to(learning_rate, len(losses)).tolist())
        return losses

    monkeypatch.setattr(charrnn.network.Network, "train_steps", watched)
    plain.train_text(TEXT, hidden_size=4, learning_rate=0.1, validation_fraction=0, **options)
    return np.array(found)


def test_the_rate_follows_whichever_budget_is_nearest(monkeypatch):
    windows = -(-(len(TEXT) - 1) // 25)
    by_steps = rates_of(monkeypatch, steps=40, schedule="linear")
    np.testing.assert_allclose(by_steps, 0.1 * (1 - 0.98 * np.arange(40) / 40))
    by_epochs = rates_of(monkeypatch, epochs=2, schedule="cosine", warmup=5)
    assert len(by_epochs) == 2 * windows
    expected = 0.1 * (
        0.02 + 0.98 * (0.5 + 0.5 * np.cos(np.pi * np.arange(2 * windows) / (2 * windows)))
    )
    np.testing.assert_allclose(by_epochs[5:], expected[5:])
    np.testing.assert_allclose(by_epochs[:5], expected[:5] * np.arange(1, 6) / 5)


def test_the_rate_follows_a_budget_of_seconds(monkeypatch):
    ticks = itertools.count(100.0, 0.001)
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    by_time = rates_of(monkeypatch, seconds=0.2, schedule="linear")
    assert (np.diff(by_time) <= 0).all()
    assert by_time[-1] < 0.05
