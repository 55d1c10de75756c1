"""A training that was cut and resumed gives the same bits as one that was not."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import charrnn
import plain
from charrnn import ModelFormatError, history
from charrnn.storage import model_file as persistence
from charrnn.training import loop
from ctrl_c import CtrlC
from reference import digest
from trust.model_files import put_together, take_apart

TEXT = "to be, or not to be, that is the question\n" * 8
OPTIONS = {"hidden_size": 20, "seq_length": 7, "seed": 3}


def trained(steps, **options):
    return plain.train_text(TEXT, steps=steps, **{**OPTIONS, **options})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "training.safetensors"


def bits(model):
    return digest(model.rnn), model.rnn.network.memory.block.tobytes(), model.generate(50, seed=1)


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_resume_after_any_number_of_steps(path, batch_size, dtype):
    options = {"batch_size": batch_size, "dtype": dtype}
    expected = bits(trained(120, **options))
    for k in [*range(1, 120, 9), 43, 44, 45, 119, 120]:
        trained(k, checkpoint=path, **options)
        assert bits(trained(120, resume=path, **options)) == expected, k


def test_resume_in_many_pieces(path):
    trained(10, checkpoint=path)
    for k in range(20, 121, 10):
        model = trained(k, checkpoint=path, resume=path)
    whole = trained(120)
    assert bits(model) == bits(whole)
    assert model.history.reports[-1].characters == whole.history.reports[-1].characters


def test_resume_goes_on_over_epochs_and_keeps_what_was_reported(path):
    first = plain.train_text(TEXT, epochs=2, checkpoint=path, **OPTIONS)
    second = plain.train_text(TEXT, epochs=5, resume=path, **OPTIONS)
    whole = plain.train_text(TEXT, epochs=5, **OPTIONS)
    assert bits(second) == bits(whole)
    assert second.history.validation_losses == whole.history.validation_losses
    assert second.history.losses[: len(first.history.losses)] == first.history.losses
    assert second.history.reports[-1].smooth_loss == pytest.approx(
        whole.history.reports[-1].smooth_loss, rel=1e-12
    )


RANDOM = "".join(np.random.default_rng(0).choice(list("abcdefgh"), 300))
OVERFIT = {
    "hidden_size": 30,
    "learning_rate": 0.05,
    "initial_accumulator_value": 0.1,
    "learning_rate_decay": 0.99,
    "patience": 6,
}


def test_resume_keeps_the_best_weights_and_patience(path):
    """Cut before, at and after the best epoch, and within epochs."""
    whole = plain.train_text(RANDOM, epochs=100, **OVERFIT)
    assert whole.history.stop_reason == "patience"
    assert whole.history.kept_step is not None
    for k in [1, 11, 100, 200, 220, 225, 231, 242, 250, whole.history.steps]:
        plain.train_text(RANDOM, steps=k, checkpoint=path, **OVERFIT)
        again = plain.train_text(RANDOM, epochs=100, resume=path, **OVERFIT)
        assert digest(again.rnn) == digest(whole.rnn), k
        assert again.generate(500, seed=1) == whole.generate(
            500, seed=1
        )  # the padding is as it should be, too
        assert again.generate(500, seed=1) == whole.generate(
            500, seed=1
        )  # the padding is as it should be, too
        assert again.history.stop_reason == "patience"
        assert again.history.kept_step == whole.history.kept_step


FALLING = {"schedule": "cosine", "warmup": 5, "hidden_size": 10}


def stopped(path, step, error=KeyboardInterrupt, **options):
    """Train with a checkpoint, and have the callback raise at about a step."""

    def fail(progress):
        if progress.step >= step:
            raise error

    with pytest.raises(error):
        plain.train_text(TEXT, callback=fail, checkpoint=path, **OPTIONS | options)


@pytest.mark.parametrize("budget", [{"epochs": 4}, {"steps": 170}, {"epochs": 9, "steps": 120}])
def test_a_falling_rate_resumes_to_the_same_budget(path, budget):
    whole = plain.train_text(TEXT, **OPTIONS | FALLING | budget)
    stopped(path, 30, **FALLING | budget)
    assert bits(plain.train_text(TEXT, resume=path, **OPTIONS | FALLING | budget)) == bits(whole)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_a_falling_rate_does_not_resume_to_another_budget(path, schedule):
    """The steps that are done would have been done at other rates."""
    options = OPTIONS | FALLING | {"schedule": schedule}
    plain.train_text(TEXT, epochs=2, checkpoint=path, **options)
    message = (
        f"epochs was 2, is 4; schedule='{schedule}' follows the budget: give the same one. "
        f"To go on with another, load"
    )
    with pytest.raises(ValueError, match=message):
        plain.train_text(TEXT, epochs=4, resume=path, **options)
    with pytest.raises(
        ValueError, match=r"epochs was 2, is None; steps was None, is 300; schedule"
    ):
        plain.train_text(TEXT, steps=300, resume=path, **options)
    with pytest.raises(
        ValueError,
        match=r"seed was 3, is 4; .*epochs was 2, is 4; to go on with another text or other "
        r"options, load",
    ):
        plain.train_text(TEXT, epochs=4, resume=path, **options | {"seed": 4})
    text = path.with_name("text.txt")
    text.write_text(TEXT)
    command = [
        "train",
        text,
        "--preset",
        "tutorial",
        "--schedule",
        schedule,
        "--warmup",
        5,
        "--hidden-size",
        10,
        "--seq-length",
        7,
        "--seed",
        3,
    ]
    ran = subprocess.run(
        [sys.executable, "-m", "charrnn", *map(str, [*command, "--epochs", 4, "--resume", path])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode != 0
    assert "follows the budget: give the same one" in ran.stderr


def test_going_on_can_be_cut_and_resumed(path):
    def go_on(**options):
        model = trained(30)
        return model.train_text("a new day, to be sure!\n" * 9, extend=True, **options)

    expected = bits(go_on(steps=60))
    for k in (1, 17, 40):
        go_on(steps=k, checkpoint=path)
        assert bits(go_on(steps=60, resume=path)) == expected
    with pytest.raises(ValueError, match="starting_weights was"):  # of another model
        trained(31).train_text("a new day, to be sure!\n" * 9, extend=True, steps=60, resume=path)


def test_a_checkpoint_of_records_remembers_them(path):
    plain.train_records(["anna", "bob"] * 9, steps=3, remember=True, checkpoint=path)
    assert "anna" in charrnn.load(path).index
    with pytest.raises(ValueError, match="remember was True, is False"):
        plain.train_records(["anna", "bob"] * 9, steps=5, resume=path)


def test_a_reached_budget_changes_nothing(path):
    model = trained(40, checkpoint=path)
    assert bits(trained(40, resume=path)) == bits(model)
    assert bits(trained(30, resume=path)) == bits(model)


def test_a_checkpoint_is_a_model(path):
    model = trained(40, checkpoint=path)
    again = charrnn.load(path)
    assert again.generate(50, seed=1) == model.generate(50, seed=1)
    again.save(path)
    with pytest.raises(ValueError, match="is a model, not a checkpoint"):
        trained(50, resume=path)


@pytest.mark.clock
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_resume_after_kill_9(path):
    """At random moments of a training that writes checkpoints all the time."""
    program = "import charrnn, test_checkpoint as t; "
    program += (
        f"charrnn.train_text(t.TEXT, preset='tutorial', epochs=10**6, "
        f"checkpoint={str(path)!r}, **t.OPTIONS)"
    )
    for trial in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=Path(__file__).parent,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        deadline = time.monotonic() + 600
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(random.Random(trial).uniform(0, 0.3))
        process.kill()
        process.wait()
        stands = persistence.load(path).training.position.step
        model = trained(stands + 50, resume=path)
        assert bits(model) == bits(trained(stands + 50))
        path.unlink()


@pytest.mark.clock
@pytest.mark.skipif(os.name != "posix", reason="needs os.kill with SIGINT")
@pytest.mark.parametrize("options", [{}, {"batch_size": 2, "n_threads": 2}])
def test_the_checkpoint_after_ctrl_c_is_of_the_last_step(path, options):
    for delay in (0.05, 0.1, 0.2):
        with pytest.raises(charrnn.TrainingInterrupted) as stopped:
            trained(10**9, checkpoint=path, keep="last", callback=CtrlC(delay), **options)
        steps = stopped.value.model.history.steps
        assert persistence.load(path).training.position.step == steps
        assert (
            bits(charrnn.load(path))
            == bits(stopped.value.model)
            == bits(trained(steps, keep="last", **options))
        )
        assert bits(trained(steps + 60, resume=path, keep="last", **options)) == bits(
            trained(steps + 60, keep="last", **options)
        )


@pytest.mark.parametrize("step", [11, 22])  # a pass has 44, and four reports
def test_the_checkpoint_after_an_exception_in_the_callback_is_of_the_last_step(path, step):
    stopped(path, step, ZeroDivisionError, steps=120)
    assert persistence.load(path).training.position.step == step
    assert bits(trained(120, resume=path)) == bits(trained(120))


def test_a_checkpoint_between_two_reports_holds_what_is_not_reported_yet(path):
    trained(30, checkpoint=path)  # a pass has 44
    saved = persistence.load(path)
    step = trained(31, resume=path).history.reports[-1].nll  # of 7 characters
    at = saved.training.position
    forge(path, saved, characters=at.characters + 14, unreported=14, unreported_loss=50.0)
    assert trained(31, resume=path).history.reports[-1].nll == pytest.approx((50 + 7 * step) / 21)
    for wrong in (
        {"unreported": -1},
        {"unreported": 1.5},
        {"unreported_loss": -1.0},
        {"unreported_loss": "1"},
    ):
        forge(path, saved, **wrong)
        with pytest.raises(ModelFormatError):
            charrnn.load(path)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (TEXT[1:], {}, "the text is another"),
        (TEXT.replace("q", "z"), {}, "the text is another"),
        (
            TEXT,
            {"learning_rate": 0.1, "seed": 4},
            "learning_rate was 0.15, is 0.1; seed was 3, is 4",
        ),
        (
            TEXT,
            {"hidden_size": 21},
            "network was 'rnn of 20 units, 15 symbols', is 'rnn of 21 units",
        ),
        (TEXT, {"dtype": "float64"}, "dtype was 'float32', is 'float64'"),
        (TEXT, {"validation_fraction": 0.2}, "validation_fraction was 0.1, is 0.2"),
        (TEXT, {"initial_accumulator_value": 0}, "initial_accumulator_value was 100.0, is 0.0"),
        (TEXT, {"learning_rate_decay": 0.5}, "learning_rate_decay was 1.0, is 0.5"),
        (TEXT, {"keep": "last"}, "keep was 'best', is 'last'"),
    ],
)
def test_another_text_or_option_is_named_and_nothing_starts(path, text, options, message):
    trained(40, checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=message):
        plain.train_text(text, steps=80, resume=path, checkpoint=path, **{**OPTIONS, **options})
    assert path.read_bytes() == before


def test_a_damaged_checkpoint_is_refused(path):
    trained(40, checkpoint=path)
    data = path.read_bytes()
    for size in range(0, len(data), 997):
        path.write_bytes(data[:size])
        with pytest.raises(ModelFormatError):
            trained(80, resume=path)
    path.write_bytes(data)
    saved = persistence.load(path)

    for changes in WRONG_POSITIONS:
        forge(path, saved, **changes)
        with pytest.raises(ModelFormatError, match="damaged"):
            trained(80, resume=path)
        position = history.Position(**{**vars(saved.training.position), **changes})
        if changes != {"window": 10**6}:  # only the text tells how many there are
            with pytest.raises((TypeError, ValueError)):
                persistence.save(
                    path, replace(saved, training=saved.training._replace(position=position))
                )
    persistence.save(path, saved)
    metadata, tensors = take_apart(path.read_bytes())
    dtype, shape, content = tensors["memory.Whh"]
    tensors["memory.Whh"] = dtype, shape, np.float32(-1).tobytes() + content[4:]
    path.write_bytes(put_together(metadata, tensors))
    with pytest.raises(ModelFormatError, match=r"memory\.Whh has negative values"):
        trained(80, resume=path)


WRONG_POSITIONS = [
    *[
        {"window": 10**6},
        {"window": -1},
        {"step": True},
        {"epoch": 0.5},
        {"seconds": float("nan")},
        {"smooth_loss": None},
    ],
    *[
        {"best_nll": float("nan")},
        {"best_epoch": -1},
        {"best_epoch": 2},
        {"epoch": 41},
        {"step": -3},
        {"step": 2**63},
        {"step": 1},
    ],
    *[
        {"characters": 1},
        {"unreported": 1},
        {"unreported_loss": 1.0},
        {"best_step": 41},
        {"best_nll": 1.0},
        {"smooth_loss": float("inf")},
    ],
    *[{"smooth_loss": "1"}, {"epoch": None}],
]


@pytest.mark.parametrize(
    "change",
    [
        lambda words: words["options"].update(keep={}),
        lambda words: words["options"].update(keep="best", more=[1]),
        lambda words: words["position"].update(kept_step={}),
        lambda words: words["position"].update(best_nll=1.0, best_epoch=1),  # and no best weights
        lambda words: words.update(options=[]),
        lambda words: words.update(position=3),
        lambda words: words.update(text_sha256="0" * 63),
        lambda words: words.update(text_sha256=None),
        lambda words: words.update(more=1),
        lambda words: words.pop("text_sha256"),
        lambda words: words["position"].pop("step"),
    ],
)
def test_a_checkpoint_of_wrong_words_is_refused(path, change):
    trained(40, checkpoint=path)
    rewrite(path, lambda words: change(words["training"]))
    with pytest.raises(ModelFormatError, match="damaged"):
        trained(80, resume=path)


def test_a_checkpoint_without_the_reports_of_its_steps_is_refused(path):
    trained(60, checkpoint=path)
    rewrite(path, lambda words: words["history"].update(reports={}, kept_step=None))
    with pytest.raises(ModelFormatError, match="do not go together"):
        trained(80, resume=path)


def rewrite(path, change):
    """Change the JSON of a model file, the SHA-256 put right."""
    metadata, tensors = take_apart(path.read_bytes())
    words = json.loads(metadata["model"])
    change(words)
    path.write_bytes(put_together({**metadata, "model": json.dumps(words)}, tensors))


def forge(path, saved, **changes):
    """Write a checkpoint that stands elsewhere."""
    persistence.save(path, saved)
    rewrite(path, lambda words: words["training"]["position"].update(changes))


def test_a_missing_checkpoint_is_an_os_error(path):
    with pytest.raises(FileNotFoundError):
        trained(80, resume=path)


def test_a_full_disk_keeps_the_old_checkpoint(path, monkeypatch):
    trained(40, checkpoint=path)
    before = path.read_bytes()
    monkeypatch.setattr(
        os,
        "fsync",
        lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")),
    )
    with pytest.raises(OSError, match="No space left"):
        trained(80, checkpoint=path, resume=path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("between_reports", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, TimeoutError])
def test_what_interrupts_a_checkpoint_has_it_written_again(
    path, monkeypatch, error, between_reports
):
    """Between two reports it gets a report first."""
    begun, done, save = [], [], persistence.save

    def interrupted(target, saved):
        begun.append(saved.training.position.step)
        if len(begun) == 2:
            assert bool(saved.training.position.unreported) == between_reports
            raise error("by a handler of a signal")
        save(target, saved)
        done.append(begun[-1])

    monkeypatch.setattr(persistence, "save", interrupted)
    monkeypatch.setattr(loop, "_SAVE_BETWEEN_REPORTS" if between_reports else "_SAVE_AT_REPORTS", 0)
    with pytest.raises(error) as caught:
        trained(80, checkpoint=path)
    assert begun == [done[0], done[1], done[1]]
    assert (
        done[1] == persistence.load(path).training.position.step == caught.value.model.history.steps
    )
    monkeypatch.undo()
    assert bits(trained(80, resume=path)) == bits(trained(80))


def test_numbers_of_numpy_are_options_too(path):
    options = {
        "hidden_size": np.int64(20),
        "seq_length": np.int32(7),
        "seed": np.uint8(3),
        "learning_rate": np.float32(0.15),
    }
    trained(10, checkpoint=path, **options)
    assert bits(trained(20, resume=path, **options)) == bits(trained(20, **options))


WORSE = {
    "hidden_size": 30,
    "learning_rate": 1.8,
    "clip_value": 1e9,
    "batch_size": 2,
    "seq_length": 20,
    "epochs": 7,
    "validation_fraction": 0.2,
}


WATCHED = (
    "add",
    "_report",
    "_measure",
    "_note_best",
    "_report_and_save",
    "_save_after",
    "_keep_best",
)


def test_ctrl_c_may_come_between_any_two_lines_of_a_report(path):
    """The model is that of the step that its history names, and the checkpoint goes on as if
    nothing had been.
    """
    options = WORSE | {"seq_length": 1000, "hidden_size": 10, "learning_rate": 1.2}  # a step a pass
    text = "to be or not to be that is the question " * 9
    whole = plain.train_text(text, **options)
    steps = [
        bits(plain.train_text(text, keep="last", **options | {"epochs": n}))[0] for n in range(8)
    ]
    assert whole.history.kept_step == 5

    def trained(line):
        """Train, and interrupt it before this line; return the exception, None if there are
        fewer.
        """
        lines = itertools.count()

        def look(frame, event, _):
            here = frame.f_code.co_name in WATCHED and frame.f_globals["__name__"].startswith(
                "charrnn."
            )
            if here and event == "line" and next(lines) == line:
                raise KeyboardInterrupt
            return look if here else None

        before = sys.gettrace()
        sys.settrace(look)
        try:
            plain.train_text(text, checkpoint=path, **options)
        except KeyboardInterrupt as error:
            return error
        finally:
            sys.settrace(before)

    for line in itertools.count(
        step=3
    ):  # a report has some twenty: of seven reports that is each of them
        if (error := trained(line)) is None:
            break
        history = error.model.history
        assert bits(error.model)[0] == steps[history.kept_step or history.steps], line
        again = plain.train_text(text, resume=path, **options)
        assert bits(again) == bits(whole), line
        assert again.history.validation_losses == whole.history.validation_losses, line
        assert again.history.kept_step == whole.history.kept_step, line
    assert line > 100
