"""What people see of a training: a bar on a terminal, lines elsewhere, samples, and what the
callback gets.
"""

import io
import itertools
import os
import re
import subprocess
import sys
import time

import pytest
import tqdm.std

import charrnn
from charrnn.storage import model_file as persistence
from charrnn.training.loop import Budget
from charrnn.util import progress as display
from charrnn.util.progress import Display, note

TEXT = "to be, or not to be, that is the question\n" * 40
OPTIONS = {"hidden_size": 8, "keep": "last"}


def test_the_last_line_is_of_the_end(monkeypatch, capfd):
    monkeypatch.setattr(display, "_EVERY", 0)
    charrnn.train_text(TEXT, epochs=2, progress=True, **OPTIONS, preset="tutorial")
    *_, last = capfd.readouterr().err.splitlines()
    assert last.startswith("charrnn: 100 %")
    assert "epoch 2.00 of 2" in last


def test_no_terminal_gets_lines_once_it_takes_longer(monkeypatch, capfd):
    ticks = itertools.count(100.0, 0.001)  # of the clock, and of tqdm's
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    monkeypatch.setattr(tqdm.std, "time", lambda: next(ticks))
    charrnn.train_text(TEXT, epochs=2, **OPTIONS, preset="tutorial")
    assert capfd.readouterr().err == ""
    monkeypatch.setattr(display, "_EVERY", 0.1)
    charrnn.train_text(TEXT, seconds=1.5, progress=True, **OPTIONS, preset="tutorial")
    out, err = capfd.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert 4 <= len(lines) <= 17
    for line in lines:
        assert re.fullmatch(
            r"charrnn: \d+ %, 00:0\d gone, 00:0\d left, \d\.\d{3} nats/char, (held out \d\.\d{3}, "
            r")?epoch \d+\.\d\d, [\d,]+k chars/s",
            line,
        )
    shares = [int(line.split()[1]) for line in lines]
    assert shares == sorted(shares)
    assert shares[0] < 50 < shares[-1]
    charrnn.train_text(TEXT, seconds=0.2, progress=False, **OPTIONS, preset="tutorial")
    assert capfd.readouterr() == ("", "")


def test_progress_is_true_or_false():
    with pytest.raises(TypeError, match="progress must be True or False, not 'notebook'"):
        charrnn.train_text(TEXT, steps=1, progress="notebook", preset="tutorial")


def test_no_stderr_is_no_error(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert (
        charrnn.train_text(TEXT, steps=3, progress=True, **OPTIONS, preset="tutorial").history.steps
        == 3
    )


@pytest.mark.parametrize("terminal", [False, True])
def test_what_is_shown_starts_no_thread_and_no_process(run_python, terminal):
    """The lock of tqdm's is for several processes, and where these are not forked it has one of its
    own.
    """
    program = f"""if __name__ == "__main__":
        import multiprocessing, sys, threading
        multiprocessing.set_start_method("spawn")
        import charrnn
        if {terminal}:
            sys.stderr.isatty = lambda: True
        charrnn.train_text({TEXT!r}, steps=20, progress=True, preset="tutorial")
        from multiprocessing import resource_tracker
        print(threading.active_count(), resource_tracker._resource_tracker._pid)"""
    assert run_python(program, check=True).stdout == "1 None\n"


@pytest.mark.parametrize("error", [OSError(28, "full"), ValueError("closed")])
def test_what_cannot_be_shown_ends_no_training(monkeypatch, error):
    """Nor does a stderr that is closed before, or while it trains."""

    class Full(io.StringIO):
        def write(self, text):
            raise error

    monkeypatch.setattr(display, "_EVERY", 0)
    closed = io.StringIO()
    closed.close()
    for stderr in (Full(), closed):
        monkeypatch.setattr(sys, "stderr", stderr)
        assert (
            charrnn.train_text(
                TEXT, epochs=2, progress=True, **OPTIONS, preset="tutorial"
            ).history.stop_reason
            == "epochs"
        )


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_what_stdout_cannot_encode_is_escaped(monkeypatch, text_file, encoding):
    """A sample that cannot be printed came after hours, and ended the training."""
    text, written = "\u2603\U0001f600" * 99, io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    charrnn.train_text(text, steps=2, sample_every=2, progress=False, preset="tutorial")
    reader = charrnn.DataReader(text_file(text), 25)
    charrnn.RNN(8, reader.vocab_size, 25, 0.1).train(reader, epochs=1)
    sys.stdout.flush()
    lines = [line for line in written.getvalue().splitlines() if line.startswith(b"\\")]
    assert len(lines) == 5  # one by the model, four by the tutorial's printer
    assert set(b"".join(lines)) == set(rb"\u2603\U0001f600")


@pytest.mark.skipif(os.name != "posix", reason="a pseudo-terminal")
@pytest.mark.parametrize(
    ("columns", "budget", "shown"),
    [
        (80, {"epochs": 3}, r"100%\|█+.*\| 00:0\d<00:00, LOSS, HELD, epoch 3\.00 of 3"),
        (
            120,
            {"seconds": 2},
            r"100%\|█+.*\| 00:0\d<00:00, LOSS, HELD, epoch \d+\.\d\d, [\d,]+k chars/s",
        ),
        (60, {"epochs": 3}, r"100%, LOSS, HELD, epoch 3.00 of 3"),
        (40, {"epochs": 3}, r"100%, LOSS, HELD"),
    ],
)
def test_a_terminal_gets_what_fits_it(columns, budget, shown):
    """The speed goes first, then the bar, the times, the epoch; the losses stay."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    program = (
        f"import charrnn; charrnn.train_text({TEXT!r}, "
        f"**{OPTIONS | budget | {'preset': 'tutorial'}})"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stderr=theirs)
    os.close(theirs)
    seen = b""
    try:
        while data := os.read(ours, 4096):
            seen += data
    except OSError:  # Linux's end of a terminal
        pass
    os.close(ours)
    assert process.wait(60) == 0
    last = seen.decode().replace("\r\n", "").split("\r")[-1]
    shown = shown.replace("LOSS", r"\d\.\d{3} nats/char").replace("HELD", r"held out \d\.\d{3}")
    assert re.fullmatch(shown, last.rstrip())


def test_what_is_left_is_by_the_nearest_budget():
    budget = Budget.from_options({"epochs": 10, "steps": 400, "seconds": 20})
    assert budget.used(1, 20, 1) == 0.1
    assert budget.used(1, 100, 1) == 0.25
    assert budget.used(1, 100, 10) == 0.5
    assert budget.used(11, 100, 10) == 1
    assert Budget.from_options({"steps": 0}).used(0, 0, 0) == 1


def test_samples_come_after_so_many_steps_and_change_nothing(capsys):
    options = OPTIONS | {"steps": 250, "progress": False}
    model = charrnn.train_text(TEXT, sample_every=100, **options, preset="tutorial")
    first, *_ = out = re.split("^--- ", capsys.readouterr().out, flags=re.MULTILINE)
    assert first == ""
    heads, texts = zip(*(part.split("\n", 1) for part in out[1:]), strict=True)
    assert heads == ("after 100 steps, epoch 1.64:", "after 200 steps, epoch 3.28:")
    assert [len(text) for text in texts] == [201, 201]
    same = charrnn.train_text(TEXT, **options, preset="tutorial")
    assert model.network.weights.block.tobytes() == same.network.weights.block.tobytes()
    as_then = charrnn.train_text(TEXT, **options | {"steps": 200}, preset="tutorial")
    assert texts[1] == as_then.generate(200, seed=200) + "\n"


def test_samples_of_records_and_of_bytes(capsys):
    charrnn.train_records(
        ["anna", "bob"] * 30, sample_every=50, steps=50, progress=False, preset="tutorial"
    )
    assert len(capsys.readouterr().out.splitlines()) == 6
    charrnn.train_text(
        bytes(range(256)) * 3,
        alphabet="bytes",
        sample_every=5,
        steps=5,
        progress=False,
        preset="tutorial",
    )
    assert capsys.readouterr().out.startswith("--- after 5 steps")
    for wrong in (0, 1.5, "5", True):
        with pytest.raises((TypeError, ValueError), match="sample_every must be"):
            charrnn.train_text(TEXT, sample_every=wrong, progress=False, preset="tutorial")


def test_a_sample_does_not_tear_a_bar(monkeypatch, capfd):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    charrnn.train_text(TEXT, sample_every=20, steps=40, **OPTIONS, preset="tutorial")
    out, err = capfd.readouterr()
    assert out.startswith("--- after 20 steps")
    assert "%|" in err
    assert "%|" not in out


def test_the_display_is_closed_also_if_the_last_checkpoint_cannot_be_written(tmp_path, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("a signal's handler's")

    closed, close = [], Display.close
    monkeypatch.setattr(Display, "close", lambda display: closed.append(close(display)))
    monkeypatch.setattr(persistence, "save", fail)
    with pytest.raises(RuntimeError, match="handler's"):
        charrnn.train_text(TEXT, checkpoint=tmp_path / "checkpoint", **OPTIONS, preset="tutorial")
    assert len(closed) == 1


def test_a_callback_reaches_the_model(tmp_path):
    seen = []

    def look(progress):
        model = progress.model
        assert model.history.reports[-1] == progress
        model.save(tmp_path / "now")
        seen.append(
            (
                progress.step,
                model.generate(20, seed=1),
                charrnn.load(tmp_path / "now").score("to be"),
            )
        )
        assert model.score("to be") == seen[-1][2]
        return len(seen) == 2

    model = charrnn.train_text(
        TEXT, callback=look, epochs=9, progress=False, **OPTIONS, preset="tutorial"
    )
    steps, texts, scores = zip(*seen, strict=True)
    assert model.history.steps == steps[1]
    assert (model.generate(20, seed=1), model.score("to be")) == (texts[1], scores[1])
    assert scores[0] != scores[1]
    assert all(report.model is None for report in model.history.reports)


def test_a_model_that_goes_on_is_the_callbacks_as_well():
    model = charrnn.train_text(TEXT, steps=10, progress=False, **OPTIONS, preset="tutorial")
    before, during = model.score("to be"), []
    model.train_text(
        TEXT,
        steps=40,
        callback=lambda progress: during.append(progress.model.score("to be")),
        progress=False,
    )
    assert during[-1] == model.score("to be") != before


def test_what_is_not_shown_still_writes_samples(capfd):
    display = Display(False, 0)
    display.update(0.5, "some", "words")
    display.write("text")
    display.close()
    assert capfd.readouterr() == ("text\n", "")


def test_without_stderr_a_note_is_lost_not_printed_on_stdout(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", None)
    note("charrnn: nobody reads this")
    assert capsys.readouterr().out == ""
