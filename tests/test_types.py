"""Type checkers accept what is right of the public interface and refuse what is wrong, and who only
runs Python sees each option.
"""

import importlib.util
import inspect
import json
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import charrnn
import typed
from charrnn import CharRNN
from charrnn.data import dataset
from charrnn.inference.sampling import Controls
from charrnn.network.config import BY_PRESET, FurtherOptions, NewOptions
from charrnn.util.options import defaults

RIGHT = Path(typed.__file__)
REFERENCE = Path(__file__).parents[1] / "docs" / "api.md"
WRONG = """
from typing import Any
import charrnn
model = charrnn.train_text("to be")
bytes_model = charrnn.train_text(b"to be", alphabet="bytes")
charrnn.train_text("to be", keep="bset")  # refused
charrnn.train_file("to be", keep="bset")  # refused
charrnn.train_records(["to be"], keep="bset")  # refused
model.train_text("to be", keep="bset")  # refused
charrnn.train_text("to be", alphabet="byte")  # refused
charrnn.train_text("to be", dtype="float16")  # refused
charrnn.train_text("to be", hidden_size="10")  # refused
charrnn.train_text("to be", lr=0.1)  # refused
charrnn.train_text("to be", cell="ltsm")  # refused
charrnn.train_text("to be", optimizer="adamw")  # refused
charrnn.train_text("to be", schedule="cos")  # refused
charrnn.train_text("to be", preset="big")  # refused
charrnn.train_text("to be", n_layers="2")  # refused
model.train_text("to be", cell="lstm")  # refused
model.trace("to be", on_unknown="surprise")  # refused
u: list[int] = model.trace("to be").units()  # refused
w: str = bytes_model.trace(b"to be").text  # refused
charrnn.train_text("to be", callback=3)  # refused
charrnn.train_text(b"to be")  # refused
model.train_text("to be", hidden_size=10)  # refused
model.train_text(b"to be")  # refused
model.score("to be", on_unknown="skp")  # refused
model.score_many(["to be"], on_unknown="skp")  # refused
model.log_probs("to be", on_unknown="skp")  # refused
model.next_probs("to be", on_unknown="surprise")  # refused
model.generate(10, on_unknown="skp")  # refused
model.generate(10, temprature=0.5)  # refused
model.generate(10, temperature="0.5")  # refused
model.beam_search(10, on_unknown="skp")  # refused
model.score(b"to be")  # refused
model.score(3)  # refused
x: int = model.generate(10)  # refused
y: int = charrnn.load("model").generate(10)  # refused
z: bytes = model.generate(10)  # refused
s: str = bytes_model.generate(10)  # refused
t: list[bytes] = model.generate_many(2, 10)  # refused
c: str = next(bytes_model.stream(10))  # refused
p: float = model.score("to be", return_unknown=True)  # refused
def f(model: charrnn.CharRNN) -> int:
    return model.generate(10)  # refused
n: int = model.history.losses  # refused
"""


def mypy(path, folder):
    """The lines of a file that mypy --strict finds wrong."""
    pytest.importorskip("mypy")
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file=",
        f"--cache-dir={folder}",
        "--no-error-summary",
        str(path),
    ]
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=600, cwd=folder, env=environment()
    )
    return [
        int(line)
        for line in re.findall(
            rf"^{re.escape(path.name)}:(\d+): error",
            ran.stdout.replace(f"{path.parent}/", ""),
            re.MULTILINE,
        )
    ]


def pyright(path, folder):
    """The lines of a file that Pyright, in the edition that brings its own Node, finds wrong in its
    strict mode.
    """
    if importlib.util.find_spec("basedpyright") is None:
        pytest.skip("basedpyright is not installed")
    config = {
        "typeCheckingMode": "strict",
        "include": [str(path)],
        "extraPaths": [str(Path(charrnn.__file__).parents[1])],
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(config), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "basedpyright",
        "-p",
        str(folder),
        "--outputjson",
        "--pythonpath",
        sys.executable,
    ]
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=600, cwd=folder, env=environment()
    )
    found = json.loads(ran.stdout)["generalDiagnostics"]
    return [one["range"]["start"]["line"] + 1 for one in found if one["severity"] == "error"]


def environment():
    return (
        os.environ | {"MYPYPATH": str(Path(charrnn.__file__).parents[1])}
        if (Path(charrnn.__file__).parents[2] / "setup.py").exists()
        else None
    )


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_the_whole_public_interface_is_accepted(checker, tmp_path):
    path = tmp_path / RIGHT.name
    path.write_bytes(RIGHT.read_bytes())
    assert checker(path, tmp_path) == []


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_mistakes_are_refused_and_nothing_else(checker, tmp_path):
    path = tmp_path / "wrong.py"
    path.write_text(WRONG, encoding="utf-8")
    lines = [number for number, line in enumerate(WRONG.splitlines(), 1) if "# refused" in line]
    assert len(lines) > 25
    found = set(checker(path, tmp_path))
    assert [number for number in lines if number not in found] == []
    # Pyright in its strict mode does not know the type of what is refused.
    assert checker is pyright or sorted(found) == lines


def test_the_code_that_they_accept_runs(tmp_path, capsys):
    typed.main(tmp_path)
    assert capsys.readouterr() == ("", "")


def test_all_public_names_are_used_there():
    words = set(re.findall(r"\w+", RIGHT.read_text(encoding="utf-8")))
    assert set(charrnn.__all__) <= words
    options = (
        inspect.signature(charrnn.train_text).parameters.keys()
        | inspect.signature(CharRNN.generate_many).parameters.keys()
    )
    assert options - {"self", "path", "text", "count", "length"} <= words


@pytest.mark.skipif(not REFERENCE.exists(), reason="the tests were copied away from the project")
def test_all_that_the_reference_shows_is_used_there():
    """Functions by their name, and of classes each method and property."""
    pytest.importorskip("sklearn")
    words = set(re.findall(r"\w+", RIGHT.read_text(encoding="utf-8")))
    entries = re.findall(
        r"^\.\. auto\w+:: ([\w.]+)\n(?:   :members:((?: .*)?(?:\n      .*)*))?",
        REFERENCE.read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert len(entries) > 25
    for name, members in entries:
        thing = pkgutil.resolve_name(name if name.startswith("charrnn.") else f"charrnn.{name}")
        assert thing.__name__ in words
        if inspect.isclass(thing) and not issubclass(thing, BaseException):
            own = {
                name
                for name, value in vars(thing).items()
                if isinstance(value, (property, classmethod)) or inspect.isfunction(value)
            }
            listed = set(re.findall(r"\w+", members)) or {
                name for name in own if not name.startswith("_")
            }
            assert listed <= words, (thing, listed - words)


TRAIN = [charrnn.train_text, charrnn.train_file, charrnn.train_records]
GO_ON = [CharRNN.train_text, CharRNN.train_file, CharRNN.train_records]
WRITE = [CharRNN.generate, CharRNN.generate_many, CharRNN.stream]


@pytest.mark.parametrize(
    ("functions", "options"),
    [(TRAIN, NewOptions), (GO_ON, FurtherOptions), (WRITE, Controls)],
    ids=["train", "go on", "write"],
)
def test_signature_and_help_show_every_option(functions, options):
    import pydoc

    for function in functions:
        parameters = inspect.signature(function).parameters
        assert not [
            one for one in parameters.values() if one.kind in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
        ]
        shown = defaults(options)
        assert shown.keys() <= parameters.keys()
        for name, default in shown.items():
            shown_default = parameters[name].default
            by_preset = functions is TRAIN and name in BY_PRESET and shown_default is None
            assert by_preset or shown_default == default or repr(shown_default) == "<as before>"
        text = pydoc.plain(pydoc.render_doc(function))
        for name in shown:
            assert f"{name}: " in text
            documented = inspect.getdoc(TRAIN[0]) if functions is GO_ON else ""
            assert re.search(rf"\b{name}\b", documented + inspect.getdoc(functions[0]))
    if options is not Controls:
        assert (
            "keep: Optional[Literal['best', 'last']]" in text
            or "keep: Literal['best', 'last'] | None" in text
        )


@pytest.mark.parametrize(
    "function",
    [
        CharRNN.beam_search,
        CharRNN.likeliest,
        CharRNN.score,
        CharRNN.score_many,
        CharRNN.log_probs,
        charrnn.load,
        charrnn.RNN.train,
    ],
)
def test_other_functions_have_no_hidden_options_either(function):
    assert not [
        one
        for one in inspect.signature(function).parameters.values()
        if one.kind is one.VAR_KEYWORD
    ]


def test_defaults_that_are_shown_are_those_in_use():
    text = "to be, or not to be " * 20
    plain = charrnn.train_text(text, steps=50, progress=False, preset="tutorial")
    spelt = charrnn.train_text(
        text, **{**defaults(NewOptions), "preset": "tutorial", "steps": 50, "progress": False}
    )
    assert plain.network.weights.block.tobytes() == spelt.network.weights.block.tobytes()
    assert plain.generate(50, seed=1) == plain.generate(50, **{**defaults(Controls), "seed": 1})
    assert plain.rnn.hidden_size == 100
    assert plain.rnn.learning_rate == 0.15


MISTAKES = {
    "hiden_size": "hidden_size",
    "lr": "learning_rate",
    "learning_rates": "learning_rate",
    "bs": "batch_size",
    "n_epochs": "epochs",
    "max_steps": "steps",
    "hidden": "hidden_size",
    "alphabt": "alphabet",
    "threads": "n_threads",
    "validation": "validation_fraction",
    "remembers": "remember",
    "num_layers": "n_layers",
    "optimiser": "optimizer",
    "lr_schedule": "schedule",
    "wd": "weight_decay",
    # what other programs say
    "rnn_size": "hidden_size",
    "grad_clip": "clip_norm",
    "iterations": "steps",
    "validation_split": "validation_fraction",
    "early_stopping": "patience",
    "random_state": "seed",
}


@pytest.mark.parametrize(("given", "meant"), MISTAKES.items())
def test_a_misspelt_option_is_answered_with_the_likely_one(given, meant):
    for train, source in (
        (charrnn.train_text, "to be"),
        (charrnn.train_file, RIGHT),
        (charrnn.train_records, ["to be"]),
    ):
        if meant != "remember" or train is charrnn.train_records:
            with pytest.raises(
                TypeError, match=rf"there is no option '{given}'; did you mean {meant}\?"
            ):
                train(source, **{given: 1})


def test_a_misspelt_value_is_answered_with_the_likely_one():
    for option, given, meant in (
        ("keep", "bset", "best"),
        ("alphabet", "byte", "bytes"),
        ("cell", "LSTM", "lstm"),
        ("optimizer", "adamw", "adam"),
        ("schedule", "cos", "cosine"),
        ("preset", "Large", "large"),
    ):
        with pytest.raises(
            ValueError, match=f"{option} must be .*, not '{given}'; did you mean {meant}"
        ):
            charrnn.train_text("to be " * 9, **{"preset": "tutorial", option: given})
    model = charrnn.train_text("to be " * 9, steps=2, progress=False, preset="tutorial")
    for given, meant in {
        "temp": "temperature",
        "topk": "top_k",
        "stops": "stop",
        "prompt": "prime",
        "max_length": "length",
    }.items():
        with pytest.raises(
            TypeError, match=rf"there is no option '{given}'; did you mean {meant}\?"
        ):
            model.generate(5, **{given: 1})
    with pytest.raises(TypeError, match="there is no option 'zzz'; the options are"):
        model.train_text("to be", zzz=1)


def test_a_model_of_the_other_alphabet_is_refused(tmp_path):
    charrnn.train_text("to be", steps=2, progress=False, preset="tutorial").save(tmp_path / "m")
    with pytest.raises(
        charrnn.ModelFormatError, match="this is a model of characters, not of bytes"
    ):
        charrnn.load(tmp_path / "m", alphabet="bytes")
    with pytest.raises(ValueError, match="alphabet must be 'characters' or 'bytes', not 'text'"):
        charrnn.load(tmp_path / "m", alphabet="text")
    assert get_args(dataset.Alphabet) == ("characters", "bytes")
