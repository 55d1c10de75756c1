"""Who gives the wrong kind of thing is told what was expected, what came, and what was likely
meant.
"""

import functools
import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

import charrnn
import plain
from charrnn import RNN, DataReader, Vocabulary

TEXT = "hello hello hello\n" * 4
MODEL = plain.train_text(TEXT, hidden_size=4, steps=3)
DEEP = plain.train_text(TEXT, cell="lstm", hidden_size=4, steps=3)
LESSON = RNN(4, 5, 5, 0.1)
STATE = np.zeros((4, 1))


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input.txt").write_text(TEXT, encoding="utf-8")
    (tmp_path / "names.txt").write_text("anna\nbob\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: LESSON.train("input.txt"),
            TypeError,
            r"RNN.train needs a DataReader, not 'input.txt': DataReader\(path, seq_length\) reads",
        ),
        (
            lambda: LESSON.train(None),
            TypeError,
            r"RNN.train needs a DataReader, not NoneType: .* charrnn.train_file\(path\) trains on "
            r"one",
        ),
        (
            lambda: LESSON.predict(TEXT, "h", 5),
            TypeError,
            "RNN.predict needs a DataReader, not 'hello",
        ),
        (
            lambda: LESSON.sample(STATE, "a", 2),
            TypeError,
            "seed_ix must be an integer, not 'a': data_reader.char_to_ix has the id",
        ),
        (
            lambda: charrnn.load(b"..."),
            ValueError,
            r"the content b'...' is not a safetensors file \(it has no header\)",
        ),
        (
            lambda: charrnn.load(b"names.txt"),
            ValueError,
            "the content b'names.txt' is not a safetensors file",
        ),
        (
            lambda: charrnn.load("names.txt"),
            ValueError,
            r"names.txt is not a safetensors .*begins with b'anna\\nbob', as a text may, which "
            r"train_file",
        ),
        (
            lambda: MODEL.generate_many(2, 5, unique="no"),
            TypeError,
            "unique must be True or False, not 'no'",
        ),
        (
            lambda: MODEL.score("hello", return_unknown=None),
            TypeError,
            "return_unknown must be True or False, not None",
        ),
        (
            lambda: MODEL.train_text(TEXT, extend="x"),
            TypeError,
            "extend must be True or False, not 'x'",
        ),
        (
            lambda: plain.train_file("names.txt", records="lines"),
            TypeError,
            "records must be True or False, not 'lines'",
        ),
        (
            lambda: plain.train_records(["anna"], remember=2),
            TypeError,
            "remember must be True or False, not 2",
        ),
        (
            lambda: charrnn.load(MODEL),
            TypeError,
            "a model is loaded from a path, its content as bytes, or a file, not CharRNN",
        ),
        (
            lambda: charrnn.load(io.BytesIO()),
            ValueError,
            r"it is empty, or was read to its end: seek\(0\) goes back",
        ),
        (
            lambda: charrnn.load(io.StringIO(TEXT)),
            TypeError,
            "or a file, not StringIO: it must be open for reading bytes",
        ),
        (
            lambda: MODEL.score_many("hello"),
            TypeError,
            "texts must be a sequence of str, not one: score takes one",
        ),
        (
            lambda: MODEL.generate("hello"),
            TypeError,
            "length must be an integer, not 'hello': the text to continue is prime",
        ),
        (
            lambda: plain.train_text(Path("input.txt")),
            TypeError,
            "text must be a str, not .*Path: train_file trains on a file",
        ),
        (
            lambda: plain.train_text(["anna"]),
            TypeError,
            "text must be a str, not list: train_records trains on records",
        ),
        (
            lambda: plain.train_text(b"hello"),
            TypeError,
            "text must be a str, not bytes: alphabet='bytes' trains on bytes",
        ),
        (
            lambda: plain.train_text(io.StringIO(TEXT)),
            TypeError,
            "text must be a str, not StringIO: give what is read of it",
        ),
        (
            lambda: plain.train_file(io.StringIO(TEXT)),
            TypeError,
            "path must be a str or path-like, not StringIO: train_text trains on",
        ),
        (
            lambda: plain.train_file(b"hello"),
            TypeError,
            "path must be a str or path-like, not bytes: train_text trains on what it holds",
        ),
        (
            lambda: plain.train_file(None),
            TypeError,
            "path must be a str or path-like, not NoneType",
        ),
        (
            lambda: plain.train_records("names.txt"),
            TypeError,
            r"not the name of a file: pathlib.Path\(name\).read_text",
        ),
        (
            lambda: plain.train_records(Path("names.txt")),
            TypeError,
            r"not the name of a file: pathlib.Path\(name\).read_text",
        ),
        (
            lambda: plain.train_records("anna\nbob"),
            TypeError,
            r"strings must be a sequence of str, not one: text.splitlines\(\) has the lines",
        ),
        (
            lambda: MODEL.save(None),
            TypeError,
            "a model is saved to a path, or to a file open for writing bytes, not NoneType",
        ),
        (
            lambda: MODEL.save(io.StringIO()),
            TypeError,
            "a model is saved to a path, or to a file open for writing bytes, not StringIO",
        ),
        (
            lambda: plain.train_text(TEXT, checkpoint=True),
            TypeError,
            "checkpoint must be a str or path-like, not bool",
        ),
        (lambda: DataReader(None, 3), TypeError, "path must be a str or path-like, not NoneType"),
        (
            lambda: Vocabulary("hello"),
            ValueError,
            "must be distinct; Vocabulary.from_text takes any text",
        ),
        (lambda: Vocabulary(3), TypeError, "chars must be a str, or characters, not int"),
        (
            lambda: Vocabulary(set("abc")),
            TypeError,
            r"chars must be a str, or characters, not set: sorted\(...\) puts them in an order",
        ),
        (
            lambda: Vocabulary(frozenset("abc")),
            TypeError,
            "chars must be a str, or characters, not frozenset: sorted",
        ),
        (
            lambda: MODEL.train_file("nowhere", records=True),
            TypeError,
            "records is fixed for a model that is trained further",
        ),
        (
            lambda: MODEL.train_file("nowhere", epoch=3),
            TypeError,
            "there is no option 'epoch'; did you mean epochs",
        ),
        (
            lambda: MODEL.vocabulary.decode("hello"),
            TypeError,
            "ids must be a sequence of integers, not <U5 of shape",
        ),
        (
            lambda: MODEL.score_many(["hello", None]),
            TypeError,
            r"texts\[1\] must be a str, not NoneType: a missing value; leave it out \(pandas",
        ),
        (
            lambda: plain.train_text(np.array(["anna"])),
            TypeError,
            "text must be a str, not ndarray: train_records trains on records",
        ),
        (
            lambda: charrnn.train("names.txt"),
            AttributeError,
            "has no attribute 'train'; did you mean train_text",
        ),
        (
            lambda: charrnn.CharRNN.load("m"),
            AttributeError,
            r"CharRNN has no attribute 'load': charrnn.load\(path\) reads",
        ),
        (
            lambda: MODEL.load("m"),
            AttributeError,
            r"CharRNN has no attribute 'load': charrnn.load\(path\) reads",
        ),
        (
            lambda: MODEL.fit(TEXT),
            AttributeError,
            "'fit': train_text, .* charrnn.sklearn has estimators",
        ),
        (
            lambda: MODEL.predict("h"),
            AttributeError,
            r"'predict': generate\(length, prime=text\) continues",
        ),
        (lambda: MODEL.sample(5), AttributeError, r"'sample': generate\(length\) writes a text"),
        (
            lambda: charrnn.load(b"\x7fELF\x02\x01\x01\x03" * 9),
            charrnn.ModelFormatError,
            r"not a safetensors file \(it begins with b'\\x7fELF\\x02\\x01\\x01\\x03'\)",
        ),
        (lambda: MODEL.hidden_size, AttributeError, r"'hidden_size': recipe\['hidden_size'\]"),
        (lambda: MODEL.perplexity(TEXT), AttributeError, r"'perplexity': 2 \*\* score\(text\)"),
        (
            lambda: MODEL.generate_text(5),
            AttributeError,
            "CharRNN has no attribute 'generate_text'; did you mean generate",
        ),
        (lambda: MODEL.zzz, AttributeError, "CharRNN has no attribute 'zzz'$"),
        (lambda: DEEP.rnn, AttributeError, "this model is lstm"),
        (
            lambda: MODEL.generate(5, max_gen_length=3),
            TypeError,
            "no option 'max_gen_length'; did you mean length",
        ),
        (
            lambda: plain.train_text(TEXT, train_size=3),
            TypeError,
            "no option 'train_size'; the options are",
        ),
        (
            lambda: setattr(LESSON, "lr", 0.1),
            AttributeError,
            "'lr' cannot be set: .*; did you mean learning_rate",
        ),
    ],
)
def test_the_message_says_what_was_meant(call, error, message, files):
    with pytest.raises(error, match=message):
        call()


def test_a_text_for_a_name(files):
    with pytest.raises(FileNotFoundError) as caught:
        plain.train_file("hello\nhello")
    assert caught.value.__notes__ == [
        "This looks like a text, not the name of a file: train_text trains on a text."
    ]
    with pytest.raises(FileNotFoundError) as caught:
        plain.train_file("no.txt")
    assert not hasattr(caught.value, "__notes__")


class Slow(io.RawIOBase):
    """A raw file that takes a few bytes at a time."""

    def __init__(self):
        self.content = b""

    def writable(self):
        return True

    def write(self, data):
        taken = bytes(data[:100])
        self.content += taken
        return len(taken)


def test_files_that_are_open_are_written_and_read(tmp_path):
    MODEL.save(tmp_path / "m")
    content = (tmp_path / "m").read_bytes()
    memory, raw = io.BytesIO(), Slow()
    MODEL.save(memory)
    MODEL.save(raw)
    assert memory.getvalue() == raw.content == content
    with open(tmp_path / "o", "wb") as file:
        MODEL.save(file)
        assert not file.closed
    assert (tmp_path / "o").read_bytes() == content
    with zipfile.ZipFile(tmp_path / "z", "w") as archive, archive.open("m", "w") as member:
        MODEL.save(member)
    with zipfile.ZipFile(tmp_path / "z") as archive, archive.open("m") as member:
        assert charrnn.load(member).score("hello") == MODEL.score("hello")
    with pytest.raises(TypeError, match=r"or a file, not Path: read_bytes\(\) has its content"):
        charrnn.load(zipfile.Path(tmp_path / "z", "m"))
    assert charrnn.load(zipfile.Path(tmp_path / "z", "m").read_bytes()).score(
        "hello"
    ) == MODEL.score("hello")


RECORDS = plain.train_records(["anna", "hanna"] * 9, hidden_size=4, steps=3)
BYTES = plain.train_text(b"hello " * 9, alphabet="bytes", hidden_size=4, steps=3)
LENGTHS = [-1, 1.5, "5", True, 2**70]
SIZES = [*LENGTHS, None]
SEARCH = {
    "prime": [None, 5, ["a"], object()],
    "allowed": [5, ["a"], object()],
    "forbidden": [5, ["a"], object()],
    "min_length": [-1, 1.5],
    "on_unknown": ["?"],
}
CONTROLS = SEARCH | {
    "temperature": [-1, np.nan, np.inf, "1", None, True],
    "top_k": [0, 1.5, "1"],
    "top_p": [0, 1.1, np.nan, "1"],
    "min_p": [-0.1, 1.1, np.nan, "1"],
    "no_repeat": [0, 1.5, 2**40],
    "seed": [-1, 2**64, 1.5, "1"],
    "stop": [5, "", [""], [5]],
    "spelling": [1],
}
TRAINING = {
    "seq_length": [0, 1.5, None],
    "batch_size": [0, -1, "2"],
    "learning_rate": [0, -1, np.nan, np.inf, "1"],
    "clip_value": [0, np.nan],
    "clip_norm": [0, np.nan, "1"],
    "dropout": [-0.1, 1, np.nan, None],
    "n_threads": [0, 1.5],
    "steps": [-1, 1.5, "1"],
    "epochs": [-1, True],
    "seconds": [-1],
    "keep": ["first"],
    "patience": [0, 1.5],
    "validation_fraction": [-0.1, 1, np.nan],
    "learning_rate_decay": [0, 1.1],
    "optimizer": ["newton", None],
    "schedule": ["step"],
    "warmup": [-1, 1.5],
    "weight_decay": [-1, np.inf],
    "precision": ["half", None],
    "preset": ["huge"],
    "seed": [-1, 2**64],
    "callback": [5],
    "n_layers": [2],
    "cell": ["lstm"],
    "hidden_size": [9],
    "alphabet": ["bytes"],
    "spelling": [1],
}


@pytest.mark.parametrize("model", [MODEL, RECORDS, BYTES])
def test_each_wrong_argument_is_named_and_changes_nothing(model):
    before = pickle.dumps(model)
    texts = [None, 5, ["a"], object(), "x" if model.vocabulary.of_bytes else b"x"]
    train = model.train_records if model.vocabulary.records else model.train_text
    text = model.vocabulary.decode([0, 1, 2] * 9)
    given = ([text] if model.vocabulary.records else text,)
    first = "strings" if model.vocabulary.records else "text"
    calls = [
        (model.score, (), {"text": texts}),
        (model.log_probs, (), {"text": texts}),
        (model.next_probs, (), {"prefix": texts}),
        (model.score_many, (), {"texts": [None, 5, "abc", b"abc", *([text] for text in texts)]}),
        (model.generate, (3,), CONTROLS),
        (model.stream, (3,), CONTROLS),
        (model.generate_many, (2, 3), CONTROLS),
        (model.beam_search, (3,), {"n_best": [0, 1.5], "width": [0, 1.5], **SEARCH}),
        (model.likeliest, (), {"n": LENGTHS, "max_length": LENGTHS, "threshold": [1, "a"]}),
        (functools.partial(model.likeliest, max_length=3), (), SEARCH),
        (model.generate, (), {"length": SIZES}),
        (model.stream, (), {"length": [-1, 1.5]}),
        (model.beam_search, (), {"length": SIZES}),
        (functools.partial(model.generate_many, length=3), (), {"count": SIZES}),
        (functools.partial(model.generate_many, 2), (), {"length": SIZES}),
        (train, given, TRAINING),
        (train, (), {first: [5, [5], model.vocabulary.empty]}),
    ]
    for call, arguments, wrong in calls:
        for name, values in wrong.items():
            for value in values:
                with pytest.raises((TypeError, ValueError), match=name):
                    call(*arguments, **{name: value})
    assert pickle.dumps(model) == before
