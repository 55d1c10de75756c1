"""Histories: what they keep of many reports, as a picture, as a table, on one line."""

import sys

import numpy as np
import pytest

import plain
from charrnn import RNN, DataReader, History
from charrnn.history import _MOST_REPORTS, Progress

TEXT = "to be, or not to be, that is the question\n" * 10


def trained(**options):
    return plain.train_text(TEXT, hidden_size=8, epochs=3, **options).history


def measured(losses):
    """A history of reports of these validation losses, None for those that have none."""
    history = History()
    for step, loss in enumerate(losses, 1):
        history.add(Progress(step, step / 4, 10 * step, step, 2.0 + 1 / step, 5.0, loss))
    return history


@pytest.mark.parametrize("every", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("best", [0, 1, 500, 2900, 9999])
def test_of_many_reports_the_best_stays_and_the_means_add_up(every, best):
    losses = [
        1 + abs(step // every - best // every) if step % every == best % every else None
        for step in range(10_000)
    ]
    history = measured(losses)
    assert _MOST_REPORTS / 4 < len(history.reports) <= _MOST_REPORTS
    assert [report.step for report in history.reports if report.validation_nll == 1] == [best + 1]
    assert all(report.validation_nll == losses[report.step - 1] for report in history.reports)
    assert history.reports[-1].step == 10_000
    history.kept_step = best + 1
    assert history.kept.validation_nll == min(history.validation_losses)
    characters = np.diff([0, *(report.characters for report in history.reports)])
    assert (characters * history.losses).sum() == pytest.approx(
        sum(10 * (2 + 1 / step) for step in range(1, 10_001))
    )
    assert History.from_dict(history.to_dict()) == history


def test_plot(tmp_path):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    history = trained()
    figure = history.plot()
    training, validation = (line.get_xydata() for line in figure.axes[0].lines)
    np.testing.assert_array_equal(training[:, 1], history.losses)
    np.testing.assert_array_equal(
        validation, np.column_stack([[1, 2, 3], history.validation_losses])
    )
    figure.savefig(tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    ax = Figure().add_subplot()
    assert history.plot(ax) is ax
    assert len(ax.lines) == 2
    History().plot()


def test_a_figure_shows_itself_in_a_notebook_and_in_a_window(monkeypatch):
    pytest.importorskip("matplotlib")
    from matplotlib import pyplot

    history = trained()
    figure = history.plot()
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert repr(figure) == f"<figure of {history!r}; show() opens it, savefig(path) writes it>"
    shown = []
    monkeypatch.setattr(pyplot, "show", lambda: shown.extend(pyplot.get_fignums()))
    assert not pyplot.get_fignums()  # pyplot has nothing to do with it before it is shown
    monkeypatch.setattr(pyplot, "get_backend", lambda: "agg")
    with pytest.raises(
        RuntimeError,
        match=r"no window is available \(matplotlib's backend is agg\): savefig\(path\) writes "
        r"the figure",
    ):
        figure.show()
    monkeypatch.setattr(pyplot, "get_backend", lambda: "QtAgg")
    figure.show()
    assert len(shown) == 1
    assert not pyplot.get_fignums()


def test_a_path_is_no_axes(tmp_path):
    pytest.importorskip("matplotlib")
    history = trained()
    with pytest.raises(
        TypeError,
        match=r"ax must be Axes of matplotlib, not 'loss.png': "
        r"history.plot\(\).savefig\('loss.png'\) writes",
    ):
        history.plot("loss.png")
    with pytest.raises(TypeError, match="ax must be Axes of matplotlib, not 3"):
        history.plot(3)


def test_reports_as_a_table(monkeypatch):
    pandas = pytest.importorskip("pandas")
    history = trained()
    frame = history.to_frame()
    assert list(frame.columns) == [
        "step",
        "epoch",
        "characters",
        "seconds",
        "nll",
        "smooth_loss",
        "validation_nll",
    ]
    assert frame["nll"].tolist() == history.losses
    assert frame["validation_nll"].dropna().tolist() == history.validation_losses
    assert frame.dtypes["step"] == "int64"
    assert isinstance(History().to_frame(), pandas.DataFrame)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"history\.to_frame needs pandas: pip install pandas"
    ):
        history.to_frame()


def test_reprs_take_one_line(tmp_path):
    history = trained()
    kept = history.kept
    assert (
        repr(history)
        == f"History({history.steps} steps, 3 epochs, training {kept.nll:.3f}, validation "
        f"{kept.validation_nll:.3f}, stop_reason='epochs')"
    )
    assert repr(History()) == "History(no steps)"
    assert "\n" not in repr(history.reports)[:100]
    wanted = (
        "RNN(hidden_size=8, vocab_size=11, seq_length=5, batch_size=1, learning_rate=0.1, "
        "dtype='float32')"
    )
    assert repr(RNN(8, 11, 5, 0.1)) == wanted
    path = tmp_path / "input.txt"
    path.write_text("hello\n", encoding="utf-8", newline="")
    assert (
        repr(DataReader(path, 3))
        == f"DataReader({str(path)!r}, 6 characters, 5 different ones, seq_length=3)"
    )


def test_plot_without_matplotlib_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "charrnn.plotting", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install \"charrnn-cython\[plot\]\""):
        History().plot()
