"""The command, mostly as a process: what it prints, where, and its exit codes."""

import copy
import importlib.util
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import charrnn
import plain
from charrnn import cli
from charrnn.command.arguments import text_argument
from charrnn.inference.sampling import Controls
from charrnn.network.config import NewOptions
from charrnn.util.options import table
from plain import weights

TEXT = "the quick brown fox jumps over the lazy dog\n" * 30
LETTERS = "abcdefghijklmnopqrstuvwxyz "
PLAIN = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
posix = pytest.mark.skipif(os.name != "posix", reason="pipes, signals and a POSIX shell")


def run(*arguments, stdin="", check=True, **options):
    command = [sys.executable, "-m", "charrnn", *map(str, arguments)]
    kind = {} if isinstance(stdin, bytes) else {"text": True, "encoding": "utf-8"}
    ran = subprocess.run(
        command, input=stdin, timeout=600, capture_output=True, **{**kind, **options}
    )
    assert not check or ran.returncode == 0, ran.stderr
    return ran


def wrong(*arguments, **options):
    """What a command prints on stderr that ends with exit code 2."""
    ran = run(*arguments, check=False, **options)
    assert ran.returncode == 2
    assert b"Traceback" not in (
        ran.stderr if isinstance(ran.stderr, bytes) else ran.stderr.encode()
    )
    return ran.stderr


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    (folder / "fox.txt").write_text(TEXT, encoding="utf-8")
    options = ["--preset", "tutorial", "--epochs", 40, "--hidden-size", 20]
    run("train", folder / "fox.txt", "-o", folder / "fox.safetensors", *options)
    return folder / "fox.safetensors"


@pytest.fixture(scope="module")
def model(model_file):
    return charrnn.load(model_file)


# ------------------------------------------------------------------------------------------- train


def test_train_prints_a_sample_and_a_summary_unless_quiet(model_file, tmp_path):
    options = [
        model_file.with_name("fox.txt"),
        "--preset",
        "tutorial",
        "--steps",
        50,
        "--hidden-size",
        20,
        "--seed",
        3,
    ]
    ran = run("train", *options)
    assert ran.stderr == ""  # no bar without a terminal
    assert len(ran.stdout) > 300
    for words in ("50 steps, 1,", "stop reason: steps", "bits per character", "not saved (-o "):
        assert words in ran.stdout
    ran = run("train", *options, "-q", "-o", tmp_path / "m")
    assert ran.stdout == ran.stderr == ""
    assert charrnn.load(tmp_path / "m").history.steps == 50
    assert "--- after 2 steps" in run("train", "-q", "--steps", 4, "--sample-every", 2).stdout


def test_a_sorted_list_is_answered_with_records(tmp_path):
    names, shuffled = tmp_path / "names.txt", tmp_path / "shuffled.txt"
    names.write_text("\n".join(charrnn.datasets.names()), encoding="utf-8")
    shuffled.write_text("\n".join(charrnn.datasets.names()[::-1]), encoding="utf-8")
    few = ["--preset", "tutorial", "--steps", 2]
    advice = "if each line is a string of its own, add --records"
    assert advice in run("train", names, *few).stderr
    for arguments in ([names, "-q"], [names, "--records"], [shuffled]):
        assert advice not in run("train", *arguments, *few).stderr


@pytest.mark.skipif(sys.version_info < (3, 14), reason="argparse has no colors before 3.14")
def test_help_has_colors_unless_they_are_not_wanted():
    for variable, colored in (("FORCE_COLOR", True), ("NO_COLOR", False)):
        environment = {**os.environ, "TERM": "xterm"}
        for name in ("FORCE_COLOR", "NO_COLOR", "PYTHON_COLORS"):
            environment.pop(name, None)
        environment[variable] = "1"
        assert ("\x1b[" in run("train", "--help", env=environment).stdout) == colored


def test_results_and_errors_have_no_colors(model_file):
    environment = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm"}
    environment.pop("NO_COLOR", None)
    assert "\x1b" not in run("score", model_file, stdin="the\n", env=environment).stdout
    assert "\x1b" not in wrong("score", model_file, "--abov", env=environment)


def test_the_default_text_is_announced():
    ran = run("train", "--steps", 200)
    announced = "no file given: training on Python's documentation, [0-9]{3},[0-9]{3} characters"
    assert re.search(announced, ran.stderr)
    assert "validation" in ran.stdout


def test_train_on_standard_input_bytes_and_on_from_a_model(tmp_path):
    data = bytes(range(256)) * 4
    options = ["-q", "--preset", "tutorial", "--hidden-size", 8, "--steps", 9]
    run("train", "-", "--bytes", "-o", tmp_path / "b", *options, stdin=data)
    model = charrnn.load(tmp_path / "b")
    twin = plain.train_text(data, alphabet="bytes", hidden_size=8, steps=9)
    assert weights(model) == weights(twin)
    ran = run("generate", tmp_path / "b", "-n", 50, "--prime", "é", "--seed", 1, stdin=b"")
    assert ran.stdout == "é".encode() + model.generate(50, prime="é".encode(), seed=1) + b"\n"
    ran = run("generate", tmp_path / "b", "-n", 0, "--prime", r"\xff\x00", stdin=b"")
    assert ran.stdout == b"\xff\0\n"
    ran = run("score", tmp_path / "b", stdin=b"\xff\xfe\n")
    assert float(ran.stdout) == pytest.approx(model.score(b"\xff\xfe"), abs=1e-4)
    options = ["-q", "--steps", 5, "--start", tmp_path / "b", "-o", tmp_path / "b2"]
    run("train", "-", *options, stdin=b"more")
    assert weights(charrnn.load(tmp_path / "b2")) == weights(model.train_text(b"more", steps=5))


def test_old_text_is_rehearsed(tmp_path):
    (tmp_path / "old").write_text("anna\nbob\n" * 9)
    (tmp_path / "new").write_text("nobb\n" * 9)
    model, options = (
        charrnn.train_records(["anna", "bob"] * 9, hidden_size=9, steps=9, progress=False),
        {"steps": 9, "progress": False},
    )
    model.save(tmp_path / "m")
    command = [
        "train",
        "-q",
        "--records",
        "--steps",
        9,
        "--start",
        tmp_path / "m",
        "-o",
        tmp_path / "further",
    ]
    for flags, old in (
        (["--rehearse", tmp_path / "old"], ["anna", "bob"] * 9),
        (["--rehearse-own"], True),
    ):
        expected = weights(
            copy.deepcopy(model).train_records(["nobb"] * 9, rehearse=old, **options)
        )
        run(*command, *flags, tmp_path / "new")
        assert weights(charrnn.load(tmp_path / "further")) == expected
        run(*command, *flags, "-", stdin="nobb\n" * 9)
        assert weights(charrnn.load(tmp_path / "further")) == expected


def test_records_remembered_and_extended(tmp_path):
    options = ["-q", "--records", "--steps", 300]
    names = ["-o", tmp_path / "n", "--hidden-size", 9, "--remember"]
    run("train", "-", *names, *options, stdin="anna\nbob\n" * 20)
    more = ["train", "-", "-o", tmp_path / "m", "--start", tmp_path / "n", *options]
    unknown = "does not know: 'z' (U+007A), 'é' (U+00E9); extend=True adds them"
    assert unknown in wrong(*more, stdin="zoé\n")
    run(*more, "--extend", stdin="zoé\n" * 20)
    assert charrnn.load(tmp_path / "m").vocabulary.chars == "abnozé"
    ran = run("generate", tmp_path / "n", "--count", 5, "--novel", "--unique", "-n", 9)
    assert len(set(ran.stdout.splitlines()) - {"anna", "bob"}) == 5
    assert ran.stderr == ""
    ran = run("generate", tmp_path / "n", "--count", 500, "--unique", "-n", 3, "--allowed", "a")
    found = len(ran.stdout.splitlines())
    assert 0 < found < 500
    assert ran.stderr == f"charrnn: {found} of 500 texts: no others were found\n"


def test_best_weights_and_plot(tmp_path):
    pytest.importorskip("matplotlib")
    text = "".join(random.Random(0).choices("abcdefgh", k=300))
    (tmp_path / "t").write_text(text, encoding="utf-8")
    options = [
        "--preset",
        "tutorial",
        "--epochs",
        60,
        "--patience",
        9,
        "--learning-rate",
        0.3,
        "--keep",
        "best",
    ]
    options += ["--learning-rate-decay", 0.99, "--threads", 1, "--hidden-size", 30]
    ran = run("train", tmp_path / "t", "-o", tmp_path / "m", "--plot", tmp_path / "p.svg", *options)
    assert "stop reason: patience" in ran.stdout
    assert "the weights after" in ran.stdout
    assert "the weights after" in run("info", tmp_path / "m").stdout
    assert "<svg" in (tmp_path / "p.svg").read_text(encoding="utf-8")
    run("train", "--steps", 0, "--plot", tmp_path / "none.svg")  # a plot of no steps
    assert (tmp_path / "none.svg").exists()


def test_what_cannot_be_written_is_found_before_training(tmp_path, monkeypatch, capsys):
    hours = "--seconds", 10_000
    wrong("train", *hours, "-o", tmp_path / "no" / "model")
    if importlib.util.find_spec("matplotlib"):
        shown = wrong("train", *hours, "--plot", tmp_path / "loss.xyz")
        assert "must end in one of" in shown
    monkeypatch.delitem(sys.modules, "charrnn.plotting", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert cli.main(["train", "--plot", "loss.png"]) == 2
    assert 'pip install "charrnn-cython[plot]"' in capsys.readouterr().err


def test_divergence_is_exit_code_1(model_file):
    ran = run("train", model_file.with_name("fox.txt"), "--learning-rate", 1e38, check=False)
    assert ran.returncode == 1
    assert "is not finite" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_progress_where_there_is_no_terminal():
    """The lines come after five seconds: the test makes them come sooner."""
    program = "import sys; from charrnn import cli; from charrnn.util import progress\n"
    program += "progress._EVERY = 0; sys.exit(cli.main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "train", "--steps", "200"]
    line = re.compile(
        r"^charrnn: \d+ %, \d\d:\d\d gone, \S+ left, [0-9.]+ nats/char, epoch", re.MULTILINE
    )
    shown = {(): True, ("--progress",): True, ("--no-progress",): False, ("-q",): False}
    for more, expected in shown.items():
        ran = subprocess.run([*command, *more], capture_output=True, text=True, timeout=600)
        assert bool(line.search(ran.stderr)) is expected


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")
def test_nohup_trains_on(run_python):
    program = """if True:
        import os, signal
        from charrnn.cli import main
        from charrnn.training import fit
        train = fit.train
        fit.train = lambda *a, **o: (os.kill(os.getpid(), signal.SIGHUP), train(*a, **o))[1]
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        main(["train", "--steps", "3"])
    """
    assert "stop reason: steps" in run_python(program).stdout


@posix
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_ctrl_c_sigterm_and_sighup_save_the_model_and_exit_with_130(tmp_path, name):
    paths = ["-o", str(tmp_path / "m"), "--checkpoint", str(tmp_path / "c")]
    command = [sys.executable, "-m", "charrnn", "train", "--seconds", "10000", *paths]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, **pipes, text=True)
    while not (tmp_path / "c").exists() and process.poll() is None:  # until it trains
        time.sleep(0.05)
    process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=6000)
    assert process.returncode == 130
    assert "stop reason: interrupted" in out
    assert "Traceback" not in err
    model = charrnn.load(tmp_path / "m")
    assert model.history.stop_reason == "interrupted"
    assert charrnn.load(tmp_path / "c").history.steps == model.history.steps


@pytest.mark.skipif(shutil.which("iconv") is None, reason="iconv")
@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1252", "naïve café – “quoted”\n"),
        ("utf-16", "naïve\n"),
        ("latin-1", "\x81 naïve\n"),
    ],
)
def test_a_text_of_another_encoding_is_converted_as_the_error_says(encoding, text, tmp_path):
    path = tmp_path / "it's old.txt"
    path.write_bytes((text * 20).encode(encoding))
    advice = re.search("convert it: (iconv .*); ", wrong("train", path, "--steps", 2))[1]
    subprocess.run(advice, shell=True, check=True, cwd=tmp_path)
    assert (tmp_path / "utf8.txt").read_text(encoding="utf-8") == text * 20
    run("train", path, "--bytes", "--steps", 2, "-q")
    shown = wrong("train", "-", "--steps", 2, stdin=path.read_bytes())
    assert b"standard input is not UTF-8 at byte" in shown
    assert b" -t UTF-8; " in shown


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
        bytes(range(256)),
        b"\xff\xfb\x90\x44\0\0\1\2\3",
    ],
)
def test_a_binary_file_is_told_from_text(data, tmp_path):
    (tmp_path / "file").write_bytes(data * 3)
    assert "it looks like a binary file: " in wrong("train", tmp_path / "file")


# ---------------------------------------------------------------------------------------- generate


def test_generate_has_the_controls_of_the_library(model_file, model):
    controls = {"temperature": 0.9, "top_k": 5, "top_p": 0.9, "min_p": 0.01, "no_repeat": 9}
    controls |= {"min_length": 7, "allowed": LETTERS, "forbidden": "z", "stop": ["dog", "fox"]}
    controls |= {"on_unknown": "skip"}
    assert controls.keys() == table(Controls).keys() - {"prime", "seed"}
    options = ["--temperature", 0.9, "--top-k", 5, "--top-p", 0.9, "--min-p", 0.01, "--stop", "dog"]
    options += ["--no-repeat", 9, "--min-length", 7, "--allowed", LETTERS, "--forbidden", "z"]
    options += ["--stop", "fox", "--skip-unknown", "--seed", 2, "--unique", "-n", 60, "--count", 3]
    ran = run("generate", model_file, "--prime", "the ☃", *options)
    with pytest.warns(UserWarning, match="of 3 texts: no others were found"):
        texts = model.generate_many(3, 60, prime="the ", seed=2, unique=True, **controls)
    assert ran.stdout == "".join(f"the ☃{text}\n" for text in texts)


def test_generate_from_standard_input_and_the_most_probable(model_file, model):
    options = ["-n", 10, "--temperature", 0, "--skip-unknown"]
    ran = run("generate", model_file, "--prime", "-", *options, stdin="the QUICK\n")
    assert ran.stdout == "the QUICK" + model.generate(10, prime="the ", temperature=0) + "\n"
    best = ["generate", model_file, "--prime", "the ", "-n", 10, "--n-best", 3]
    for options, found in (
        ([], model.likeliest(3, max_length=10, prime="the ")),
        (["--width", 4], model.beam_search(10, prime="the ", n_best=3, width=4)),
    ):
        ran = run(*best, *options)
        assert ran.stdout.splitlines() == ["the " + text for text, _ in found]
    assert "--width needs --n-best" in wrong("generate", model_file, "--width", 4)
    assert "--width must be from 3" in wrong(*best, "--width", 2)
    ran = run("generate", model_file, "-n", 1, "--allowed", "ab", "--n-best", 3)
    assert ran.stdout.split() == [text for text, _ in model.likeliest(max_length=1, allowed="ab")]
    assert ran.stderr == "charrnn: 2 of 3 texts: no others were found\n"


def test_score_prints_totals_and_words(model_file, model):
    line = "the quick fox"
    for options, bits in (
        (["--total"], [model.score(line, total=True)]),
        (["--no-end"], [model.score(line)]),
        (["--by-word"], [model.score(line), *(bits for _, bits in model.score_words(line))]),
    ):
        printed = run("score", model_file, *options, stdin=f"{line}\n").stdout
        assert [float(number) for number in printed.split()] == pytest.approx(bits, abs=1e-4)
    (found,) = run(
        "score", model_file, "--json", "--total", "--by-word", stdin=f"{line}\n"
    ).stdout.splitlines()
    assert json.loads(found) == {
        "text": line,
        "bits": model.score(line, total=True),
        "unknown": 0,
        "by_word": [[*pair] for pair in model.score_words(line)],
    }
    assert "--by-word and --adapt exclude each other" in wrong(
        "score", model_file, "--adapt", "--by-word"
    )


def test_rank_prints_guesses_and_the_bounds_of_an_interval(tmp_path):
    names = "anna\nanna\nhanna\nsusanna\n" * 20
    run(
        "train",
        "-",
        "-q",
        "--records",
        "--preset",
        "tutorial",
        "--epochs",
        20,
        "-o",
        tmp_path / "m",
        stdin=names,
    )
    ran = run("rank", tmp_path / "m", stdin="anna\nnannanannan\nzoe\n")
    first, second, third = ran.stdout.splitlines()
    assert first == "1 1 1"
    ranks = charrnn.load(tmp_path / "m").rank(["nannanannan"])
    assert second == " ".join(f"{one[0]:.6g}" for one in ranks)
    assert third == "inf inf inf"
    (tmp_path / "lines").write_text("anna\nzoe", encoding="utf-8")
    ran = run("rank", tmp_path / "m", tmp_path / "lines", "--json")
    assert [json.loads(line) for line in ran.stdout.splitlines()] == [
        {"text": "anna", "guesses": 1, "low": 1, "high": 1},
        {"text": "zoe", "guesses": None, "low": None, "high": None},
    ]


def test_export_writes_pages_and_scripts(model_file, tmp_path):
    ran = run("export", model_file, tmp_path / "page.html", "--weights", "int8", "--title", "A fox")
    assert "<title>A fox</title>" in (tmp_path / "page.html").read_text(encoding="utf-8")
    size = (tmp_path / "page.html").stat().st_size
    assert re.fullmatch(
        rf"charrnn: {size:,} bytes, [\d,]+ compressed\ncharrnn: int8 costs 0\.\d{{4}} bits per "
        rf"character of generated text\n",
        ran.stderr,
    )
    run("export", model_file, tmp_path / "model.js")
    assert "module.exports = model" in (tmp_path / "model.js").read_text(encoding="utf-8")
    for arguments, message in {
        ("model.txt",): "FILE must end in .html, .js or, without options, .onnx, not",
        (
            "model.onnx",
            "--weights",
            "int8",
        ): "FILE must end in .html, .js or, without options, .onnx, not",
        (
            "page.html",
            "--page",
            "meter",
        ): "--page must be 'generator': a model of text has no guess numbers",
        ("no/page.html",): "No such file",
    }.items():
        assert message in wrong("export", model_file, tmp_path / arguments[0], *arguments[1:])
    shutil.copy(model_file, tmp_path / "fox.js")
    assert "is also the model, and would be overwritten" in wrong(
        "export", tmp_path / "fox.js", tmp_path / "fox.js"
    )


def test_escapes_in_texts(model_file, model):
    for options, expected in {
        ("--stop", r"\n"): {"stop": "\n"},
        ("--allowed", r"\x61\n"): {"allowed": "a\n"},
        ("--prime", r"\u0064og\n"): {"prime": "dog\n"},
        ("--forbidden", r"\\ \q"): {"forbidden": "\\q "},
    }.items():
        ran = run("generate", model_file, "-n", 200, "--seed", 3, *options)
        prime = expected.get("prime", "")
        assert ran.stdout == prime + model.generate(200, seed=3, **expected) + "\n"
    for given, meant in {
        r"a\tb\r\\n": "a\tb\r\\n",
        r"\xc3\xa9\u00e9": "éé",
        r"\s\x4\u12": r"\s\x4\u12",
        r"\xff": "\udcff",
    }.items():
        assert text_argument(given) == meant


def test_generate_writes_as_it_draws(model_file, model):
    """The first of two billion characters, which take half an hour, are there at once."""
    command = [
        sys.executable,
        "-m",
        "charrnn",
        "generate",
        model_file,
        "-n",
        2**31 - 1,
        "--seed",
        1,
    ]
    with subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE) as process:
        begin = process.stdout.read(100)
        process.kill()
    assert begin.decode() == model.generate(100, seed=1)
    many = run("generate", model_file, "-n", 300_000, "--seed", 1).stdout
    assert many == model.generate(300_000, seed=1) + "\n"


def test_texts_come_one_by_one(model_file, model):
    options = ["-n", "20", "--count", "10000000", "--seed", "1"]
    command = [sys.executable, "-m", "charrnn", "generate", str(model_file), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        lines = b"".join(process.stdout.readline() for _ in range(3)).decode()
        process.kill()
    texts = "".join(text + "\n" for text in model.generate_many(3, 20, seed=1))
    assert lines == texts[: len(lines)]


@posix
def test_a_closed_pipe_is_no_traceback(model_file):
    command = [sys.executable, "-m", "charrnn", "generate", model_file, "-n", "2000000"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as process:
        assert len(process.stdout.read(5)) == 5
        process.stdout.close()
        assert process.stderr.read() == b""


# ------------------------------------------------------------------------------------------- score


def test_score_prints_a_number_or_an_object_per_line(model_file, model, tmp_path):
    score = f"{model.score('dog'):.4f}"
    ran = run("score", model_file, stdin="\ufeffdog\r\n\ndog")  # as other programs write lines
    assert ran.stdout.splitlines() == [score, "nan", score]
    (tmp_path / "lines.txt").write_text("dog\nfox\n", encoding="utf-8")
    expected = [score, f"{model.score('fox'):.4f}"]
    assert run("score", model_file, tmp_path / "lines.txt").stdout.splitlines() == expected
    each = -model.log_probs("dog") / math.log(2)
    ran = run("score", model_file, "-", "--per-char", stdin="dog\n")
    assert ran.stdout == " ".join([score, *(f"{number:.4f}" for number in each)]) + "\n"
    options = ["--json", "--per-char", "--skip-unknown"]
    ran = run("score", model_file, *options, stdin="dog☃\n☃\n")
    assert list(map(json.loads, ran.stdout.splitlines())) == [
        {
            "text": "dog☃",
            "bits_per_character": model.score("dog"),
            "unknown": 1,
            "per_character": each.tolist(),
        },
        {"text": "☃", "bits_per_character": None, "unknown": 1, "per_character": []},
    ]
    assert ran.stderr == "charrnn: skipped: 2 unknown characters in 2 of 2 lines\n"


def test_score_adapt_learns_each_line_before_it_scores_the_next(model_file, model):
    lines, options = (
        ["the dog", "the dog", "fox"],
        {"context": "\n", "on_unknown": "surprise", "adapt": True},
    )
    ran = run(
        "score",
        model_file,
        "--adapt",
        "--context",
        r"\n",
        "--on-unknown",
        "surprise",
        stdin="the dog\n\nthe dog\nf☃ox\n",
    )
    bits = model.score_many(["the dog", "the dog", "f☃ox"], **options)
    assert ran.stdout.split() == [f"{bits[0]:.4f}", "nan", *(f"{one:.4f}" for one in bits[1:])]
    ran = run("score", model_file, "--adapt", "--per-char", "--json", stdin="\n".join(lines))
    found = [json.loads(line) for line in ran.stdout.splitlines()]
    np.testing.assert_allclose(
        [one["bits_per_character"] for one in found], model.score_many(lines, adapt=True)
    )
    np.testing.assert_allclose(
        found[0]["per_character"], -model.log_probs(lines[0], adapt=True) / np.log(2)
    )
    ran = run("score", model_file, "--adapt", stdin="dog\nX\n", check=False)
    assert (ran.stdout, ran.returncode) == (f"{model.score('dog', adapt=True):.4f}\n", 2)
    assert "line 2: text[0] = 'X'" in ran.stderr


def test_score_after_a_context_and_of_unknown_characters(model_file, model):
    options = ["--context", r"\n", "--json", "--on-unknown", "surprise"]
    ran = run("score", model_file, *options, stdin="the dog\nthe ☃\n\n")
    after = {"context": "\n", "on_unknown": "surprise"}
    texts, counts = ["the dog", "the ☃"], [0, 1]
    assert list(map(json.loads, ran.stdout.splitlines())) == [
        *(
            {"text": text, "bits_per_character": model.score(text, **after), "unknown": n}
            for text, n in zip(texts, counts, strict=True)
        ),
        {"text": "", "bits_per_character": None, "unknown": 0},
    ]
    expected = "charrnn: scored as the least likely: 1 unknown character in 1 of 3 lines\n"
    assert ran.stderr == expected


def test_score_prints_what_comes_before_a_mistake(model_file):
    ran = run("score", model_file, stdin="dog\nfox\nX\nthe\n", check=False)
    assert len(ran.stdout.splitlines()) == 2
    assert ran.returncode == 2
    assert "line 3: text[0] = 'X' (U+0058) is not among" in ran.stderr
    ran = run("score", model_file, stdin=b"dog\n\xff\n", check=False)
    advice = b"convert the lines, or score them by a model of bytes (train --bytes)"
    assert b"line 2: not UTF-8 at byte 0: " + advice in ran.stderr
    assert len(ran.stdout.splitlines()) == 1


def test_score_of_a_long_line_that_comes_in_pieces(model_file, model):
    line = "the quick brown fox " * 200_000
    ran = run("score", model_file, stdin=f"dog\n{line}\ndog\n")
    assert ran.stdout.splitlines() == [f"{model.score(text):.4f}" for text in ("dog", line, "dog")]


@posix
def test_score_answers_each_line_at_once(model_file):
    """As a helper process of another program, which waits for an answer before it asks again."""
    command = [sys.executable, "-m", "charrnn", "score", str(model_file)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    with subprocess.Popen(command, **pipes) as process:
        for line in ("dog", "fox", "lazy"):
            process.stdin.write(line + "\n")
            assert float(process.stdout.readline()) > 0
        process.stdin.close()


# ------------------------------------------------------------------------------------- completion

_COMPLETE = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
_shtab_charrnn
echo "${COMPREPLY[*]}"
"""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_command_is_completed(tmp_path, shell):
    script = tmp_path / "script"
    script.write_text(run("--completion", shell).stdout, encoding="utf-8")
    assert "--hidden-size" in script.read_text(encoding="utf-8")
    if program := shutil.which(shell):
        subprocess.run([program, "-n", script], check=True)
    if shell == "bash" and program:
        (tmp_path / "names.txt").touch()
        for words, completed in (
            ("tr", "train"),
            ("train --hid", "--hidden-size"),
            ("train --cell l", "lstm"),
            ("look names", "names.txt"),
            ("train -o nam", "names.txt"),
            ("generate nam", "names.txt"),
        ):
            command = [
                program,
                "--norc",
                "-c",
                _COMPLETE,
                "bash",
                script,
                "charrnn",
                *words.split(),
            ]
            shown = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
            assert shown.stdout.split() == [completed], words


def test_completion_needs_a_package(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(SystemExit) as ended:
        cli.main(["--completion", "fish"])
    assert ended.value.code == 2
    message = '--completion needs shtab: pip install "charrnn-cython[completion]"'
    assert message in capsys.readouterr().err


# ------------------------------------------------------------------------------------- look, info


def test_look_writes_a_page(model_file, tmp_path):
    options = ["--title", "A <title>", "--back", 3, "--units", 2, "--context", "the "]
    page = run("look", model_file, *options, stdin="quick").stdout
    assert page.startswith("<!DOCTYPE html>")
    assert "<title>A &lt;title&gt;</title>" in page
    assert '"back": 3' in page
    assert page.count('id="unit-') == 2
    (tmp_path / "text").write_text("the quick")
    page = tmp_path / "page.html"
    assert run("look", model_file, tmp_path / "text", "-o", page).stdout == ""
    written = page.read_text(encoding="utf-8")
    assert f"<title>{model_file.name}</title>" in written
    assert written == run("look", model_file, stdin="the quick").stdout  # it read the file


def test_look_shows_the_parts_that_are_asked_for(tmp_path):
    (tmp_path / "text").write_text("the quick brown fox\n" * 20)
    options = ["--cell", "lstm", "--hidden-size", 4, "--steps", 5, "--quiet"]
    run("train", tmp_path / "text", "-o", tmp_path / "m", *options)
    page = run("look", tmp_path / "m", "--parts", "h,f", stdin="the quick").stdout
    assert page.count('id="unit-') == 8
    assert page.count('"part": "f"') == 4
    assert run("look", tmp_path / "m", stdin="the quick").stdout.count('id="unit-') == 24
    shown = wrong("look", tmp_path / "m", "--parts", "h,x", stdin="the")
    assert "each of parts must be 'h', 'c', " in shown


def test_look_shows_records_line_by_line(tmp_path):
    options = ["--records", "-q", "--hidden-size", 4, "--steps", 9]
    run("train", "-", "-o", tmp_path / "n", *options, stdin="anna\nbob\n")
    model = charrnn.load(tmp_path / "n")
    for stdin, records in (("anna\n", "anna"), ("anna\r\n\nbob", ["anna", "bob"]), ("", "")):
        page = run("look", tmp_path / "n", "--context", "b", stdin=stdin).stdout
        assert page == model.trace(records, context="b").html(title="n")


def test_info(model_file):
    out = run("info", model_file).stdout
    assert "network        rnn of 20 units" in out
    assert "stop reason: epochs" in out


# ---------------------------------------------------------------------------- whatever the command


def test_module_and_command_are_the_same(model_file):
    version = f"charrnn {charrnn.__version__} ({charrnn.isa} kernels)\n"
    assert run("--version").stdout == version
    assert cli.main(["info", str(model_file)]) == 0


@pytest.mark.parametrize(
    "command", [[], ["train"], ["generate"], ["score"], ["look"], ["info"], ["export"]]
)
def test_help(command):
    lines = run(*command, "--help").stdout
    titles = re.findall(r"^(\w.*):$", lines, re.MULTILINE)
    assert len(set(titles)) == len(titles) > 1
    shown = " ".join(lines.split())
    assert "usage: charrnn" in shown
    assert "(default: True)" not in shown
    assert (r"Escapes in TEXT and CHARS: \n, \t, \r, \\, \xHH" in shown) == (
        command in (["generate"], ["score"], ["look"])
    )
    if command == ["train"]:  # from the table, defaults written one way
        for words in ("units in a layer (default: 100)", "(default: 0.1)", "(default: adagrad)"):
            assert words in shown


def test_train_has_every_option_of_training():
    """But those that only Python can give, and where Adagrad's memory starts."""
    found = cli._parser()._subparsers._group_actions[0].choices["train"].flags().keys()
    missing = table(NewOptions).keys() - found
    assert missing == {"callback", "comm", "dtype", "initial_accumulator_value"}


TRAIN, MODEL = ["train", "{folder}/fox.txt"], "{folder}/fox.safetensors"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "charrnn: error: the following arguments are required: COMMAND (charrnn --help)\n"),
        (["paint"], "invalid choice"),
        # A wrong option, and what it may mean.
        (
            ["train", "--hiden-size=3"],
            "charrnn train: error: unrecognized arguments: --hiden-size=3; did you mean "
            "--hidden-size? (charrnn train --help)\n",
        ),
        ([*TRAIN, "--lr", "0.1"], "arguments: --lr 0.1; did you mean --learning-rate?"),
        ([*TRAIN, "--lstm"], "did you mean --cell?"),
        ([*TRAIN, "--validaton", "0"], "did you mean --validation?"),
        (["generate", MODEL, "--tempature", "3"], "did you mean --temperature?"),
        (["generate", MODEL, "--max-length", "3"], "did you mean --length?"),
        (["score", MODEL, "a", "b"], "charrnn score: error: unrecognized arguments: b ("),
        (["info", MODEL, "more"], "unrecognized arguments: more"),
        # A wrong value.
        ([*TRAIN, "--epochs", "x"], "argument --epochs: invalid int value"),
        ([*TRAIN, "--cell", "GRU"], "argument --cell: invalid choice: 'GRU'"),
        ([*TRAIN, "--hidden-size", "0"], "charrnn: error: --hidden-size must be from 1 to"),
        ([*TRAIN, "--layers", "99"], "charrnn: error: --layers must be from 1 to 16, not 99\n"),
        ([*TRAIN, "--threads", "0"], "charrnn: error: --threads must be from 1 to 1024, not 0\n"),
        ([*TRAIN, "--validation", "1"], "charrnn: error: --validation must be a finite number"),
        ([*TRAIN, "--learning-rate", "nan"], "--learning-rate must be"),
        ([*TRAIN, "--sample-every", "0"], "--sample-every must be from 1"),
        (
            [*TRAIN, "--batch-size", "1", "--shards", "3"],
            "shards=3 needs as many streams, not batch_size=1: ",
        ),
        ([*TRAIN, "--patience", "3", "--validation", "0"], "patience=3 needs a held-out part"),
        (["generate", MODEL, "-n", "-1"], "--length must be"),
        (["generate", MODEL, "--temperature", "-1"], "--temperature must be"),
        (["generate", MODEL, "--top-p", "0"], "--top-p must be"),
        (["generate", MODEL, "--min-length", "900"], "--min-length must be at most length=400"),
        (["generate", MODEL, "--n-best", "0"], "--n-best must be"),
        (["look", MODEL, "--skip-unknown", "--back", "-1"], "--back must be from 0 to"),
        # Options that do not go together.
        ([*TRAIN, "--extend"], "--extend needs --start"),
        ([*TRAIN, "--rehearse", MODEL], "--rehearse needs --start"),
        ([*TRAIN, "--start", MODEL, "--rehearse", MODEL, "--rehearse-own"], "exclude each other"),
        ([*TRAIN, "--remember"], "--remember needs --records"),
        ([*TRAIN, "--start", MODEL, "--bytes"], "fox.safetensors is a model of characters"),
        ([*TRAIN, "--start", MODEL, "--records"], "is a model of text: leave out --records"),
        ([*TRAIN, "--start", MODEL, "--cell", "gru"], "cell is fixed"),
        ([*TRAIN, "-", "--start", MODEL], "standard input is read once: leave out other files"),
        (["generate", MODEL, "--n-best", "3", "--top-k", "2"], "--top-k does not apply to a"),
        (["generate", MODEL, "--n-best", "3", "--count", "2"], "--count does not apply to a"),
        (["generate", MODEL, "--allowed", "X"], "leave no character"),
        (["generate", MODEL, "--novel"], "needs a model that remembers its records"),
        # Characters that the model does not know.
        (["generate", MODEL, "--prime", "THE"], "prime[0] = 'T' (U+0054) is not among the"),
        (["generate", MODEL, "--prime", "the☃"], "; on_unknown='skip' leaves out what is not"),
        (["score", MODEL], "line 2: text[0] = 'X'"),
        (["look", MODEL], "on_unknown='skip'"),
        # Files.
        (["train", "{folder}/no.txt"], "no.txt: No such file or directory"),
        (["train", "{folder}/*.TXT"], "no file matches"),
        ([*TRAIN, "--steps", "1", "-o", "{folder}/no/model"], "no/model: No such file"),
        ([*TRAIN, "-o", "{folder}/new/"], "new/: Is a directory"),
        ([*TRAIN, "-o", ""], "the name of the file to write is empty"),
        ([*TRAIN, "--cache", "{folder}/fox.txt"], "must be a directory, not a file"),
        (["generate", "{folder}/fox.txt"], "not a safetensors file"),
        (["info", "{folder}/fox.txt"], "(it begins with b'the quic', as a text may, which"),
        (["info", "{folder}/no"], "charrnn: error: {folder}/no: No such file or directory\n"),
        (["score", MODEL, "{folder}/no"], "charrnn: error: {folder}/no: No such file"),
        (["look", MODEL, "-o", "{folder}/no/page.html"], "No such file"),
        # A file to write that is also another one.
        ([*TRAIN, "-o", "{folder}/fox.txt"], "fox.txt is also the text, and would be overwritten"),
        (["train", "{folder}/*.txt", "-o", "{folder}/fox.txt"], "fox.txt is also the text, and"),
        ([*TRAIN, "-o", "m", "--checkpoint", "./m"], "-o m is also --checkpoint"),
        (["look", MODEL, "-o", MODEL], "fox.safetensors is also the model, and would be"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(model_file, arguments, message):
    folder = str(model_file.parent)
    shown = wrong(*(argument.format(folder=folder) for argument in arguments), stdin="the\nX\n")
    assert message.format(folder=folder) in shown
    lines = [line for line in shown.splitlines() if "counts of up to" not in line]
    assert len(lines) == 1


def test_options_stand_between_names(model_file, tmp_path):
    fox, other = model_file.with_name("fox.txt"), tmp_path / "other"
    other.write_text("THE END\n" * 9, encoding="utf-8")
    expected = run("score", "--context", "x", model_file, fox).stdout
    assert run("score", model_file, "--context", "x", fox).stdout == expected
    assert run("score", model_file, "--context", "x", stdin=TEXT).stdout == expected
    assert "<title>" in run("look", model_file, "--back", 3, fox).stdout
    run("train", fox, "--steps", 3, other, "-o", tmp_path / "m")
    assert set("THEND") < set(charrnn.load(tmp_path / "m").vocabulary.chars)
    shutil.copy(other, tmp_path / "-x")
    wrong("score", model_file, "--on-unknown", "skip", "--", "-x", cwd=tmp_path)  # as of argparse
    ran = run("score", "--on-unknown", "skip", "--", model_file, "-x", cwd=tmp_path)
    assert len(ran.stdout.splitlines()) == 9


@posix
@pytest.mark.parametrize("redirection", [">&-", "<&-", "2>&-"])
def test_closed_streams_are_no_traceback(model_file, redirection):
    for command in ("info", "score", "generate"):
        line = f"'{sys.executable}' -m charrnn {command} '{model_file}' {redirection}"
        pipes = {"capture_output": True, "text": True, "input": "", "timeout": 60}
        ran = subprocess.run(line, shell=True, **pipes)
        assert ran.returncode == 0, ran.stderr
        assert "Traceback" not in ran.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="needs names of files that are any bytes")
def test_names_that_are_not_utf_8(model_file, tmp_path):
    name = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    ran = run("train", model_file.with_name("fox.txt"), "--steps", 3, "-o", name, stdin=b"")
    assert ran.stdout.endswith(b"saved to " + os.fsencode(name) + b"\n")
    shown = run("look", model_file, "--title", "é", stdin="the", env=PLAIN).stdout
    assert "<title>é</title>" in shown
    shutil.copy(model_file, tmp_path / "é")
    assert "<title>é</title>" in run("look", tmp_path / "é", stdin="the", env=PLAIN).stdout


def test_utf8_whatever_the_locale(tmp_path):
    (tmp_path / "snow.txt").write_text("☃é\n" * 50, encoding="utf-8")
    run("train", tmp_path / "snow.txt", "-o", tmp_path / "m", "--steps", 20, env=PLAIN)
    ran = run("generate", tmp_path / "m", "--prime", "☃", "-n", 2, env=PLAIN)
    assert ran.stdout.startswith("☃")
    assert float(run("score", tmp_path / "m", stdin="☃é\n", env=PLAIN).stdout) > 0
