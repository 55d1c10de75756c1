import contextlib
import hashlib
import io
import itertools
import json
import os
import pickle
import stat
import subprocess
import sys
import textwrap
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import charrnn
import plain
from charrnn import RNN, CharRNN, History, ModelFormatError, Progress, Vocabulary
from charrnn.network.config import RUN_NAMES, RunOptions
from charrnn.util import atomic_write as files
from charrnn.util.options import table
from trust.model_files import of_array, put_together, take_apart


def make_model(chars="abc", hidden_size=5, dtype="float32", history=None):
    return CharRNN(
        RNN(hidden_size, len(chars), 4, 0.1, dtype=dtype, seed=0),
        Vocabulary(chars),
        history or History(),
    )


@pytest.fixture
def saved(tmp_path):
    model = make_model(history=History([Progress(3, 0.5, 30, 0.1, 1.5, 2.5, 1.25)], "steps"))
    model.save(tmp_path / "model.safetensors")
    return model, tmp_path / "model.safetensors"


chars = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).map(
    lambda text: "".join(sorted(set(text)))
)


def test_a_file_takes_no_memory_for_its_weights(tmp_path):
    model = CharRNN(
        RNN(900, 3, 4, 0.1, seed=0), Vocabulary("abc"), History()
    )  # rows of 900 numbers and a padding
    tracemalloc.start()
    try:
        model.save(tmp_path / "model")
        assert tracemalloc.get_traced_memory()[1] < 2_500_000 < model.network.weights.block.nbytes
    finally:
        tracemalloc.stop()
    assert (
        charrnn.load(tmp_path / "model").network.weights.block == model.network.weights.block
    ).all()


@given(chars, st.integers(1, 20), st.sampled_from(["float32", "float64"]))
@settings(max_examples=40)
def test_round_trip(tmp_path_factory, chars, hidden_size, dtype):
    model = make_model(chars, hidden_size, dtype)
    path = tmp_path_factory.mktemp("models") / "m.safetensors"
    model.save(path)
    again = charrnn.load(path)
    np.testing.assert_array_equal(again.rnn.network.weights.block, model.rnn.network.weights.block)
    assert again.rnn.network.weights.block.dtype == dtype
    assert again.vocabulary == model.vocabulary
    assert again.generate(20, seed=1) == model.generate(20, seed=1)


def test_options_and_history_survive(saved):
    model, path = saved
    again = charrnn.load(path)
    assert again.history == model.history
    for name in (
        "hidden_size",
        "seq_length",
        "batch_size",
        "learning_rate",
        "clip_value",
        "initial_accumulator_value",
    ):
        assert getattr(again.rnn, name) == getattr(model.rnn, name)
    again.save(path)
    assert charrnn.load(str(path)).history == model.history


def test_equal_models_are_equal_files(saved):
    model, path = saved
    files = {path.read_bytes()}
    for again in (model, charrnn.load(path)):
        for _ in range(5):  # safetensors has the metadata in another order each time
            again.save(path)
            files.add(path.read_bytes())
    assert len(files) == 1


def test_an_option_that_is_new_may_be_missing(saved, monkeypatch):
    model, path = saved
    change(path, words=settings_with(weight_decay=None))
    monkeypatch.setattr("charrnn.storage.model_file.NEW_OPTIONS", ("weight_decay",))
    loaded = charrnn.load(path)
    assert loaded.recipe["weight_decay"] == 0
    assert loaded.score("abc") == model.score("abc")


def test_anyone_can_read_the_weights(saved):
    model, path = saved
    tensors = pytest.importorskip("safetensors.numpy").load_file(path)
    shapes = {"Wxh": (3, 5), "Whh": (5, 5), "Why": (5, 3), "bh": (5,), "by": (3,), "sha256": (32,)}
    assert {name: array.shape for name, array in tensors.items()} == shapes
    np.testing.assert_array_equal(tensors["Whh"].T, model.rnn.W)
    digest = hashlib.sha256(path.read_bytes()[:-32]).digest()
    assert tensors["sha256"].tobytes() == path.read_bytes()[-32:] == digest


def change(path, arrays=None, words=None, **metadata):
    """Write a file again with other arrays, words of its JSON and metadata; None removes one."""
    known, tensors = take_apart(path.read_bytes())
    model = json.loads(known["model"])
    for tree, changes in ((tensors, arrays), (model, words)):
        for name, value in (changes or {}).items():
            tree[name] = of_array(value) if isinstance(value, np.ndarray) else value
            if value is None:
                del tree[name]
    metadata = {"model": json.dumps(model), **metadata}
    known = {name: word for name, word in {**known, **metadata}.items() if word is not None}
    path.write_bytes(put_together(known, tensors))


def settings_with(**changes):
    values = {"optimizer": "adagrad", "seq_length": 4, "batch_size": 1, "learning_rate": 0.1}
    values |= {"clip_value": 5.0, "dropout": 0.0, "weight_decay": 0.0, "clip_norm": 1.0}
    values |= {"initial_accumulator_value": 0.0, "precision": "float32", **changes}
    return {"settings": {name: value for name, value in values.items() if value is not None}}


def history(*reports, **changes):
    first = {"step": 3, "epoch": 0.5, "characters": 30, "seconds": 0.1, "nll": 1.5}
    first |= {"smooth_loss": 2.5, "validation_nll": None}
    rows = [{**first, **report} for report in reports]
    columns = {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
    return {
        "history": {
            "reports": columns,
            "stop_reason": None,
            "kept_step": None,
            "estimate": None,
            **changes,
        }
    }


RUN = {name: table(RunOptions)[name].default for name in RUN_NAMES}


def run(values):
    return {"run": values}


ZEROS = {"Wxh": (3, 5), "Whh": (5, 5), "Why": (5, 3), "bh": 5, "by": 3}
WRONG_ARRAYS = [
    ({"by": None}, "the tensors must be"),
    ({"extra": np.zeros(3)}, "the tensors must be"),
    ({"best.Wxh": np.zeros((3, 5), np.float32)}, "the tensors must be"),
    ({"remembered": np.array([1, 2], np.uint32)}, "the tensors must be"),
    ({"Whh": np.zeros((5, 4), np.float32)}, "Whh is float32"),
    ({"Wxh": np.zeros((3, 5), np.float64)}, "Wxh is float64"),
    ({"Wxh": np.zeros((3, 5, 1), np.float32)}, "the shape of Wxh is"),
    ({name: np.zeros(shape, np.int32) for name, shape in ZEROS.items()}, "Wxh is int32"),
    ({"bh": np.full(5, np.nan, np.float32)}, "bh has values that are not finite"),
    ({"by": np.full(3, np.inf, np.float32)}, "by has values that are not finite"),
]
WRONG_WORDS = [
    ({"vocabulary": None}, "vocabulary"),
    ({"vocabulary": "ab"}, "Wxh is float32"),
    ({"vocabulary": "aab"}, "distinct"),
    ({"vocabulary": ["a", "b", "c"]}, "vocabulary must be a str"),
    ({"kind": "poem"}, "kind must be 'text' or 'records', not 'poem'"),
    ({"kind": "records"}, "Wxh is float32"),
    ({"kind": None}, "the metadata must hold .*: kind"),
    ({"alphabet": "runes"}, "alphabet must be 'characters' or 'bytes', not 'runes'"),
    ({"alphabet": "bytes"}, "all 256"),
    ({"more": "1"}, "the metadata must hold .*: more"),
    ({"layers": [["rnn", 6]]}, "6 units"),
    ({"layers": [["lstm", 5]]}, "the tensors must be Wxi"),
    ({"layers": [["rnn", 5], ["rnn", 5]]}, "the tensors must be Wxh"),
    ({"layers": [["rnn", 5]] * 17}, "n_layers must be"),
    ({"layers": [["rnn", 2**40]]}, "hidden_size must be"),
    ({"layers": [["rnn", True]]}, "hidden_size must be"),
    ({"layers": [["tree", 5]]}, "cell must be one of rnn, gru, lstm"),
    ({"layers": []}, "n_layers must be"),
    ({"layers": ["rn"]}, "cell must be"),
    ({"layers": {"rnn": 5}}, "damaged"),
    ({"layers": 3}, "damaged"),
    ({"settings": 3}, "damaged"),
    (settings_with(optimizer="newton"), "optimizer must be"),
    (settings_with(optimizer=["adam"]), "optimizer must be"),
    (settings_with(dropout=1), "dropout must be"),
    (settings_with(weight_decay=-0.1), "weight_decay must be"),
    (settings_with(clip_norm=0), "clip_norm must be"),
    (settings_with(seq_length=None), "settings must hold .*: seq_length"),
    (settings_with(more=1), "settings must hold .*: more"),
    (settings_with(seq_length=0), "seq_length must be"),
    (settings_with(seq_length=True), "seq_length must be"),
    (settings_with(learning_rate=float("nan")), "learning_rate must be"),
    (settings_with(learning_rate=float("inf")), "learning_rate must be"),
    (settings_with(batch_size="1"), "batch_size must be"),
    ({"history": {}}, "damaged"),
    ({"history": None}, "history"),
    (
        {
            "history": {
                "reports": {"step": [3]},
                "stop_reason": None,
                "kept_step": None,
                "estimate": None,
            }
        },
        "a Progress",
    ),
    (history({"step": "3"}), "step must be"),
    (history({"step": True}), "step must be"),
    (history({"step": 0}), "step must be"),
    (history({"nll": float("inf")}), "nll must be"),
    (history({"nll": -1}), "nll must be"),
    (history({"nll": None}), "nll must be"),
    (history({"more": 1}), "a Progress is"),
    (history({}, {}), "do not follow one another"),
    (history(kept_step=1), "kept_step must be"),
    (history(stop_reason="tired"), "stop_reason is 'tired'"),
    (history(reports=[]), "damaged"),
    *(
        (run(value), "run must hold")
        for value in ([], "", {}, {"steps": 3}, {**RUN, "more": 1}, [*RUN, "more"])
    ),
    *((run(value), "damaged") for value in (3, True, [*RUN])),
    (run({**RUN, "epochs": "3"}), "epochs must be"),
    (run({**RUN, "epochs": -1}), "epochs must be"),
    (run({**RUN, "seconds": float("nan")}), "seconds must be"),
    (run({**RUN, "steps": 2**70}), "steps must be"),
    (run({**RUN, "schedule": ["cosine"]}), "schedule must be"),
    (run({**RUN, "schedule": "sudden"}), "schedule must be"),
    (run({**RUN, "keep": {}}), "keep must be"),
    (run({**RUN, "refit": 1}), "refit must be"),
    (run({**RUN, "ngram": 99}), "ngram must be"),
    (run({**RUN, "validation_fraction": 1}), "validation_fraction must be"),
    (history(reports={"step": [1], "nll": []}), "damaged"),
]


@pytest.mark.parametrize(
    ("arrays", "words", "message"),
    [(arrays, {}, message) for arrays, message in WRONG_ARRAYS]
    + [({}, words, message) for words, message in WRONG_WORDS],
)
def test_a_wrong_file_is_refused(saved, arrays, words, message):
    _, path = saved
    change(path, arrays, words)
    with pytest.raises(ModelFormatError, match=message) as error:
        charrnn.load(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"format": "other"}, "not a charrnn model"),
        ({"format": "charrnn ids"}, "not a charrnn model"),
        ({"format": None}, "not a charrnn model"),
        ({"version": "2"}, "format version 2; this charrnn reads 1$"),
        ({"version": None}, "format version None; this charrnn reads 1$"),
        *(({"model": words}, "damaged") for words in (None, "", "{", "[" * 100_000, "3", "[]")),
    ],
)
def test_wrong_metadata_are_refused(saved, metadata, message):
    _, path = saved
    change(path, **metadata)
    with pytest.raises(ModelFormatError, match=message):
        charrnn.load(path)


@pytest.mark.parametrize(
    ("fingerprints", "message"),
    [
        (np.array([2, 1], np.uint32), "ascending"),
        (np.array([1, 1], np.uint32), "ascending"),
        (np.zeros(3, np.float32), "remembered is float32"),
        (np.zeros((1, 3), np.uint32), "remembered is uint32"),
    ],
)
def test_wrong_remembered_records_are_refused(tmp_path, fingerprints, message):
    model = plain.train_records(["anna", "bob"], steps=1, remember=True)
    model.save(path := tmp_path / "model")
    change(path, {"remembered": fingerprints})
    with pytest.raises(ModelFormatError, match=message):
        charrnn.load(path)


def header(content):
    return len(content).to_bytes(8, "little") + content


OURS = b'"__metadata__": {"format": "charrnn", "version": "1"}'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        b"\x80\x04pickle",
        b"PK\x03\x04" + b"\0" * 100,
        b"\x89PNG" + b"\0" * 100,
        b"\xff" * 200,
        header(b"[1, 2]"),
        header(b"[" * 100_000),
        header(b'{"__metadata__": 3}'),
        (2**63).to_bytes(8, "little"),
        (200).to_bytes(8, "little") + b"{}",
    ],
)
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFormatError, match="not a safetensors file"):
        charrnn.load(path)


@pytest.mark.parametrize(
    "entries",
    [
        b"",
        b', "by": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4.5]}',
        b', "by": {"dtype": "F32", "shape": [1], "data_offsets": [0]}',
        b', "by": {"dtype": "F32", "shape": [1], "data_offsets": [0, -4]}',
        b', "by": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}',
        b', "by": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}',  # and no SHA-256
        b', "by": {"dtype": "F32", "shape": [true], "data_offsets": [0, 4]}',
        b', "by": {"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]}',
        b', "by": {"dtype": "F32", "shape": ["1"], "data_offsets": [0, 4]}',
        b', "by": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}',
        b', "by": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}',
        b', "by": {"data_offsets": [0, 4]}',
        b', "by": 3',
        b', "a": [' + b"[]," * 40_000 + b"0]",
    ],
)
def test_a_wrong_header_is_refused(tmp_path, entries):
    path = tmp_path / "model.safetensors"
    ours = b'{"__metadata__": {"format": "charrnn", "version": "1"}'
    path.write_bytes(header(ours + entries + b"}") + b"four")
    with pytest.raises(ModelFormatError, match="damaged"):
        charrnn.load(path)


def test_every_truncation_and_every_flipped_bit_is_refused(saved):
    _, path = saved
    data = path.read_bytes()
    for size in range(0, len(data), 7):
        path.write_bytes(data[:size])
        with pytest.raises(ModelFormatError):
            charrnn.load(path)
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :])
        with pytest.raises(ModelFormatError):
            charrnn.load(path)


@pytest.mark.skipif(os.name != "posix", reason="SIGBUS")
def test_a_file_that_is_overwritten_while_it_is_read_ends_no_process(tmp_path, python):
    path = tmp_path / "model.safetensors"
    plain.train_text("abc" * 99, hidden_size=512, steps=1).save(path)
    program = """
        import sys, charrnn
        for _ in range(1500):
            try:
                charrnn.load(sys.argv[1])
            except charrnn.ModelFormatError:
                pass
    """
    data = path.read_bytes()
    reader = subprocess.Popen([python, "-c", textwrap.dedent(program), str(path)])
    while reader.poll() is None:
        path.write_bytes(data)  # as cp does it
    assert reader.returncode == 0


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="needs a device")
def test_a_device_is_not_read():
    with pytest.raises(ModelFormatError, match="/dev/zero is not a regular file"):
        charrnn.load("/dev/zero")


@pytest.mark.skipif(os.name != "posix", reason="files with holes")
def test_a_large_file_of_another_kind_is_refused_by_its_header(tmp_path):
    path = tmp_path / "other.safetensors"
    content = header(
        b'{"a": {"dtype": "U8", "shape": [1099511627776], "data_offsets": [0, 1099511627776]}}'
    )
    path.write_bytes(content)
    os.truncate(path, len(content) + 2**40)  # a hole: it takes no room
    with pytest.raises(ModelFormatError, match="not a charrnn model"):
        charrnn.load(path)


@pytest.mark.skipif(os.name != "posix", reason="files with holes")
def test_a_large_file_with_a_small_header_of_ours_is_refused_by_its_size(saved):
    model, path = saved
    size = path.stat().st_size
    rest = size - 8 - int.from_bytes(path.read_bytes()[:8], "little")
    for more in (-1, 1, 2**40):
        os.truncate(path, size + more)  # a hole: it takes no room
        with pytest.raises(
            ModelFormatError,
            match=rf"{more + rest} bytes follow its header, which announces {rest}",
        ):
            charrnn.load(path)
        model.save(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_load_would_refuse_is_not_saved(saved, value):
    model, path = saved
    before = path.read_bytes()
    model.rnn.b[2] = value
    with pytest.raises(ValueError, match="bh has values that are not finite"):
        model.save(path)
    assert path.read_bytes() == before


def test_missing_file_directory_and_missing_folder(saved, tmp_path):
    model, _ = saved
    with pytest.raises(FileNotFoundError):
        charrnn.load(tmp_path / "no.safetensors")
    with pytest.raises((IsADirectoryError, PermissionError)):
        charrnn.load(tmp_path)
    with pytest.raises(FileNotFoundError) as error:
        model.save(tmp_path / "no" / "model.safetensors")
    assert error.value.filename == str(tmp_path / "no" / "model.safetensors")
    with pytest.raises(OSError, match=r"directory|denied"):
        model.save(tmp_path)


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failed_save_leaves_the_old_file_and_nothing_else(saved, monkeypatch, failing):
    _, path = saved
    before = path.read_bytes()

    def fail(*arguments):
        raise OSError(28, "No space left on device", "temporary name")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="No space left") as error:
        make_model("xyz").save(path)
    assert error.value.filename == str(path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.skipif(os.name != "posix", reason="file modes and links")
def test_what_is_not_a_file_is_not_replaced_by_one(saved):
    model, path = saved
    pipe = path.with_name("pipe")
    os.mkfifo(pipe)
    for call in (
        model.save,
        lambda path: plain.train_text("ab" * 9, checkpoint=path, epochs=1),
    ):
        with pytest.raises(
            ValueError, match="pipe is not a regular file, and would be replaced by one"
        ):
            call(pipe)
        with pytest.raises(ValueError, match="the name of the file to write is empty"):
            call("")
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_an_error_of_the_disk_names_the_file_only(saved, monkeypatch):
    model, path = saved
    monkeypatch.setattr(
        os,
        "fsync",
        lambda descriptor: (_ for _ in ()).throw(
            OSError(28, "No space left on device", "x", None, "y")
        ),
    )
    with pytest.raises(OSError, match=r"No space left on device: '.*model.safetensors'$"):
        model.save(path)


@pytest.mark.skipif(os.name != "posix", reason="file modes and links")
def test_links_are_followed_and_modes_kept(saved):
    model, path = saved
    path.chmod(0o640)
    link = path.with_name("link")
    link.symlink_to(path)
    model.save(link)
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert charrnn.load(link).vocabulary == model.vocabulary


def test_the_file_says_nothing_about_the_machine(saved):
    _, path = saved
    metadata, _ = take_apart(path.read_bytes())
    assert sorted(metadata) == ["format", "model", "version"]
    words = json.loads(metadata["model"])
    names = ["alphabet", "history", "kind", "layers", "settings", "vocabulary"]
    assert sorted(words) == names


class Slow(io.RawIOBase):
    """A file that gives a few bytes at a time, and cannot tell how many there are."""

    def __init__(self, data):
        self.data = io.BytesIO(data)

    def read(self, size=-1):
        return self.data.read(min(size, 100))

    def seekable(self):
        return False


def test_bytes_and_file_objects_load_under_the_same_checks(saved):
    model, path = saved
    data, expected = path.read_bytes(), model.generate(9, seed=1)
    for make in (bytes, bytearray, memoryview, io.BytesIO, Slow):
        assert charrnn.load(make(data)).generate(9, seed=1) == expected
        for wrong in (data[:-1], data + b"x", data[:100], b"", data[:-1] + b"x"):
            with pytest.raises(ModelFormatError):
                charrnn.load(make(wrong))
    with path.open("rb") as file:
        assert charrnn.load(file).generate(9, seed=1) == expected
    with (
        path.open(encoding="latin-1") as file,
        pytest.raises((TypeError, ModelFormatError), match="bytes"),
    ):
        charrnn.load(file)
    with pytest.raises(TypeError, match="from a path, its content as bytes, or a file, not int"):
        charrnn.load(3)
    with pytest.raises(ModelFormatError, match="null"):
        charrnn.load("a\0b")


@pytest.mark.parametrize("taken", [0, -5, 10**9])
def test_a_file_that_does_not_take_what_it_is_given(saved, taken):
    class Odd(io.RawIOBase):
        calls = 0

        def write(self, data):
            self.calls += 1
            assert self.calls < 100  # or it would be asked for ever
            return taken

    with pytest.raises(OSError, match=rf"the file to save to has taken {taken} of \d+ bytes"):
        saved[0].save(Odd())


def total_loss(history):
    starts = [0, *(report.characters for report in history.reports)]
    parts = zip(history.reports, starts, strict=False)
    return sum(report.nll * (report.characters - start) for report, start in parts)


def test_a_long_history_stays_small():
    history = History()
    for step in range(1, 20_000):
        measured = 1.25 if step % 4 == 0 else None
        history.add(Progress(step, step / 4, 10 * step, step / 100, 1 + step / 1e5, 2.5, measured))
    assert 1024 <= len(history.reports) <= 2048
    assert history.steps == 19_999
    steps = [report.step for report in history.reports]
    assert steps == sorted(set(steps))
    assert total_loss(history) == pytest.approx(
        sum(10 * (1 + step / 1e5) for step in range(1, 20_000))
    )


@pytest.mark.parametrize("hidden_size", [4, 200])
@pytest.mark.parametrize("measures", [True, False])
def test_a_history_takes_a_quarter_of_a_file_or_4_kb(tmp_path, hidden_size, measures):
    history = History([], "epochs", 700 if measures else None)
    for epoch in range(1, 2001):
        loss = 1 + abs(epoch - 700) / 1000 + 1 / 3e5
        measured = loss + 0.01 if measures else None
        history.add(
            Progress(epoch, float(epoch), 100 * epoch, epoch / 70, loss, 9 * loss, measured)
        )
    model = make_model(hidden_size=hidden_size, history=history)
    model.save(path := tmp_path / "model")
    size = path.stat().st_size
    metadata, _ = take_apart(path.read_bytes())
    taken = len(json.dumps(json.loads(metadata["model"])["history"]))
    assert 1500 < taken <= max(4096, size / 4)
    again = charrnn.load(path)
    assert again.history.kept == history.kept
    assert again.history.reports[-1].step == 2000
    assert total_loss(again.history) == pytest.approx(total_loss(history))
    widths = np.diff([report.step for report in again.history.reports])
    assert widths.max() <= 2.5 * np.median(widths)  # the shape of the curve is kept everywhere
    again.save(again_path := tmp_path / "again")
    assert again_path.read_bytes() == path.read_bytes()


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_a_killed_save_leaves_the_old_file_and_a_temporary_one(saved, run_python):
    _, path = saved
    before = path.read_bytes()
    program = """
        import os, sys, charrnn
        model = charrnn.load(sys.argv[1])
        os.replace = lambda *names: os.kill(os.getpid(), 9)
        model.save(sys.argv[1])
    """
    run_python(program, path)
    (left,) = set(os.listdir(path.parent)) - {path.name}
    assert left.startswith(".charrnn-")
    assert left.endswith(".tmp")
    assert path.read_bytes() == before


def test_a_file_that_was_made_but_could_not_be_opened_is_removed(saved, monkeypatch):
    model, path = saved
    make = os.open

    def make_only(*arguments, **options):
        os.close(make(*arguments, **options))
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", make_only)
        with pytest.raises(MemoryError):
            model.save(path)
    assert os.listdir(path.parent) == [path.name]


def test_a_file_system_may_take_bytes_in_their_order_only(saved, monkeypatch):
    """As folders of object stores do."""

    class InOrder(io.FileIO):
        def write(self, data):
            assert self.tell() == os.fstat(self.fileno()).st_size
            return super().write(data)

        def seek(self, *arguments):
            raise OSError

    def opened(name, mode, **options):
        if mode != "xb":
            return open(name, mode, **options)
        return InOrder(name, "x", opener=options["opener"])

    model, path = saved
    expected = path.read_bytes()
    path.unlink()
    monkeypatch.setattr(files, "open", opened, raising=False)
    model.save(path)
    assert path.read_bytes() == expected
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("call", ["fsync", "replace", "unlink"])
def test_a_timeout_while_a_file_is_written_is_heard(tmp_path, monkeypatch, call):
    """What a signal's handler raises may be an OSError, too: it is no error of the file's, and
    keeps its words.
    """

    def timed_out(*arguments, **options):
        monkeypatch.setattr(os, call, system)
        system(*arguments, **options)
        raise TimeoutError("the time is over")

    system = getattr(os, call, None)
    if system is None:
        pytest.skip(f"this system has no {call}")
    if call == "unlink":
        monkeypatch.setattr(os, "fsync", lambda descriptor: 1 / 0)  # or it removes nothing
    monkeypatch.setattr(os, call, timed_out)
    with pytest.raises(TimeoutError, match="the time is over"):
        files.write_atomically(tmp_path / "file", [bytes(1 << 20)])
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]


@pytest.mark.skipif(os.name != "posix", reason="file modes")
def test_the_temporary_file_has_the_mode_of_the_old_one_from_the_start(saved, monkeypatch):
    model, path = saved
    path.chmod(0o600)
    modes, write = [], files.write_all

    def watch(file, parts):
        modes.append(stat.S_IMODE(os.fstat(file.fileno()).st_mode))
        write(file, parts)

    monkeypatch.setattr(files, "write_all", watch)
    model.save(path)
    assert set(modes) == {0o600}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("way", ["path", "pickle"])
def test_what_is_saved_while_another_thread_writes_into_weights_loads(tmp_path, dtype, way):
    """What was hashed was not what was written."""
    index = plain.train_records(["anna", "bob"], steps=1, remember=True).index
    model = CharRNN(
        RNN(600, 4, 4, 0.1, dtype=dtype, seed=0), Vocabulary("abc", records=True), History(), index
    )
    block, over = model.network.weights.block, threading.Event()

    def disturb():
        while not over.is_set():
            np.multiply(block, -1, out=block)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(disturb)
        try:
            for _ in range(8):
                if way == "path":
                    model.save(tmp_path / "model")
                    assert charrnn.load(tmp_path / "model").index is not None
                else:
                    assert pickle.loads(pickle.dumps(model)).index is not None
        finally:
            over.set()


def test_a_name_as_long_as_names_may_be(saved):
    model, path = saved
    long = path.with_name("x" * 255)
    model.save(long)
    assert charrnn.load(long).vocabulary == model.vocabulary


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(charrnn.ModelFormatError, match="not a regular file"):
        charrnn.load(tmp_path / "pipe")
    with pytest.raises(ValueError, match="not a regular file"):
        plain.train_file(tmp_path / "pipe")


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
@pytest.mark.parametrize(("use", "turn"), [("save", 1), ("save", 2), ("load", 1)])
def test_a_signal_while_a_file_is_opened_leaves_none_open(saved, use, turn):
    """What os.open returns is a number, which nobody closes if a handler raises before it has a
    name.
    """
    model, path = saved
    opened = itertools.count(1)

    def interrupt(frame, event, called):
        if (
            event == "c_return" and called is os.open and next(opened) == turn
        ):  # where Python looks for signals
            raise KeyboardInterrupt

    before = len(os.listdir("/proc/self/fd"))
    sys.setprofile(interrupt)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            model.save(path) if use == "save" else charrnn.load(path)
    finally:
        sys.setprofile(None)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("zero", [0.0, False])
def test_an_offset_that_is_no_integer_is_refused(saved, zero):
    """Found by make fuzz: 0.0 and False equal 0. All else in the file is right, its SHA-256 too."""
    _, path = saved
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    entries = json.loads(data[8:start])
    next(entry for entry in entries.values() if "data_offsets" in entry)["data_offsets"][0] = zero
    changed = header(json.dumps(entries, separators=(",", ":")).encode()) + data[start:-32]
    path.write_bytes(changed + hashlib.sha256(changed).digest())
    with pytest.raises(ModelFormatError, match="is not where it should be"):
        charrnn.load(path)
