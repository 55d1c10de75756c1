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

import pytest

import charrnn
from charrnn import cli
from charrnn.network.config import NewOptions

TEXT = "the quick brown fox jumps over the lazy dog\n" * 30


def run(*arguments, stdin="", check=True, **options):
    options = {"capture_output": True, "text": True, "encoding": "utf-8", **options}
    ran = subprocess.run([sys.executable, "-m", "charrnn", *map(str, arguments)], input=stdin, timeout=60, **options)
    assert not check or ran.returncode == 0, ran.stderr
    return ran


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    (folder / "fox.txt").write_text(TEXT, encoding="utf-8")
    run("train", folder / "fox.txt", "-o", folder / "fox.safetensors", "--epochs", 40, "--hidden-size", 20)
    return folder / "fox.safetensors"


def test_train_prints_a_sample_and_bits_per_character(model_file, tmp_path):
    ran = run("train", model_file.with_name("fox.txt"), "--steps", 50, "--hidden-size", 20, "--seed", 3)
    assert "bits per character" in ran.stdout
    assert "ended by steps" in ran.stdout
    assert "not saved" in ran.stdout
    assert ran.stderr == ""  # no bar without a terminal
    assert len(ran.stdout) > 300


def test_train_without_a_file_takes_pythons_documentation():
    assert "validation" in run("train", "--steps", 200).stdout


def test_generate(model_file):
    ran = run("generate", model_file, "--prime", "the quick", "-n", 20, "--temperature", 0)
    assert ran.stdout == "the quick brown fox jumps ov\n" or ran.stdout.startswith("the quick brown")
    assert run("generate", model_file, "--seed", 1).stdout == run("generate", model_file, "--seed", 1).stdout
    assert len(run("generate", model_file, "-n", 33).stdout.rstrip("\n")) <= 33


def test_generate_with_all_controls(model_file):
    controls = {"temperature": 0.9, "top_k": 5, "top_p": 0.9, "min_p": 0.01, "stop": ["dog", "fox"], "no_repeat": 9, "min_length": 7}
    controls |= {"allowed": "abcdefghijklmnopqrstuvwxyz ", "forbidden": "z", "unique": True}
    expected = charrnn.load(model_file).generate_many(3, 60, prime="the ", seed=2, **controls)
    options = ["--temperature", 0.9, "--top-k", 5, "--top-p", 0.9, "--min-p", 0.01, "--stop", "dog", "--stop", "fox", "--seed", 2]
    options += ["--no-repeat", 9, "--min-length", 7, "--allowed", controls["allowed"], "--forbidden", "z", "--unique"]
    ran = run("generate", model_file, "--prime", "the ", "-n", 60, "--count", 3, *options)
    assert ran.stdout == "".join(f"the {text}\n" for text in expected)


def test_generate_from_standard_input_and_the_most_probable(model_file):
    model = charrnn.load(model_file)
    ran = run("generate", model_file, "--prime", "-", "-n", 10, "--temperature", 0, "--skip-unknown", stdin="the QUICK\n")
    assert ran.stdout == "the QUICK" + model.generate(10, prime="the ", temperature=0) + "\n"
    ran = run("generate", model_file, "--prime", "the ", "-n", 10, "--n-best", 3)
    assert ran.stdout.splitlines() == ["the " + text for text, _ in model.beam_search(10, prime="the ", n_best=3)]


def test_score(model_file):
    model = charrnn.load(model_file)
    lines = ["the lazy dog", "god yzal eht"]
    ran = run("score", model_file, stdin="\n".join(lines) + "\n")
    assert ran.stdout.splitlines() == [f"{model.score(line):.4f}" for line in lines]


def test_score_per_character_and_json(model_file):
    model = charrnn.load(model_file)
    bits = -model.log_probs("dog") / math.log(2)
    ran = run("score", model_file, "--per-char", stdin="dog\n")
    assert ran.stdout == " ".join(f"{number:.4f}" for number in [model.score("dog"), *bits]) + "\n"
    ran = run("score", model_file, "--json", "--per-char", "--skip-unknown", stdin="dog☃\n☃\n")
    first, second = map(json.loads, ran.stdout.splitlines())
    assert first == {"text": "dog☃", "bits_per_character": model.score("dog"), "unknown": 1, "per_character": bits.tolist()}
    assert second == {"text": "☃", "bits_per_character": None, "unknown": 1, "per_character": []}


def test_score_prints_what_comes_before_a_mistake(model_file):
    ran = run("score", model_file, stdin="dog\nfox\nX\nthe\n", check=False)
    assert len(ran.stdout.splitlines()) == 2
    assert ran.returncode == 2
    assert "line 3: text[0] = 'X' (U+0058) is not among" in ran.stderr
    ran = run("score", model_file, stdin=b"dog\n\xff\n", check=False, text=False, encoding=None)
    assert b"line 2: not UTF-8 at byte 0: convert the lines, or score them by a model of bytes (train --bytes)" in ran.stderr
    assert len(ran.stdout.splitlines()) == 1


def test_score_takes_lines_as_other_programs_write_them(model_file):
    score = f"{charrnn.load(model_file).score('dog'):.4f}"
    ran = run("score", model_file, stdin="\ufeffdog\r\n\ndog")
    assert ran.stdout.splitlines() == [score, "nan", score]
    assert '"bits_per_character": null' in run("score", model_file, "--json", stdin="\n").stdout


def test_score_of_a_long_line_that_comes_in_pieces(model_file):
    line = "the quick brown fox " * 200_000
    ran = run("score", model_file, stdin=f"dog\n{line}\ndog\n")
    model = charrnn.load(model_file)
    assert ran.stdout.splitlines() == [f"{model.score(text):.4f}" for text in ("dog", line, "dog")]


@pytest.mark.skipif(os.name != "posix", reason="a POSIX shell")
@pytest.mark.parametrize("redirection", [">&-", "<&-", "2>&-"])
def test_closed_streams_are_no_traceback(model_file, redirection):
    for command in ("info", "score", "generate"):
        line = f"'{sys.executable}' -m charrnn {command} '{model_file}' {redirection}"
        ran = subprocess.run(line, shell=True, input="", capture_output=True, text=True, timeout=60)
        assert ran.returncode == 0, ran.stderr
        assert "Traceback" not in ran.stderr


@pytest.mark.skipif(os.name != "posix", reason="pipes")
def test_score_answers_each_line_at_once(model_file):
    """As a helper process of another program, which waits for the answer before it asks again."""
    command = [sys.executable, "-m", "charrnn", "score", str(model_file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        for line in ("dog", "fox", "lazy"):
            process.stdin.write(line + "\n")
            assert float(process.stdout.readline()) > 0
        process.stdin.close()


def test_train_on_standard_input_bytes_and_on_from_a_model(tmp_path):
    data = bytes(range(256)) * 4
    options = ["-q", "--hidden-size", 8, "--steps", 9]
    run("train", "-", "--bytes", "-o", tmp_path / "b", *options, stdin=data, text=False, encoding=None)
    model = charrnn.load(tmp_path / "b")
    twin = charrnn.train_text(data, alphabet="bytes", hidden_size=8, steps=9)
    assert model.network.weights.block.tobytes() == twin.network.weights.block.tobytes()
    ran = run("generate", tmp_path / "b", "-n", 50, "--prime", "é", "--seed", 1, stdin=b"", text=False, encoding=None)
    assert ran.stdout == "é".encode() + model.generate(50, prime="é".encode(), seed=1) + b"\n"
    ran = run("score", tmp_path / "b", stdin=b"\xff\xfe\n", text=False, encoding=None)
    assert float(ran.stdout) == pytest.approx(model.score(b"\xff\xfe"), abs=1e-4)
    run("train", "-", "--start", tmp_path / "b", "-o", tmp_path / "b2", "-q", "--steps", 5, stdin=b"more", text=False, encoding=None)
    model.train_text(b"more", steps=5)
    assert charrnn.load(tmp_path / "b2").rnn.network.weights.block.tobytes() == model.rnn.network.weights.block.tobytes()


def test_records_remembered_and_extended(tmp_path):
    options = ["-q", "--records", "--steps", 300]
    run("train", "-", "-o", tmp_path / "n", "--hidden-size", 9, "--remember", *options, stdin="anna\nbob\n" * 20)
    ran = run("train", "-", "-o", tmp_path / "m", "--start", tmp_path / "n", *options, stdin="zoé\n", check=False)
    assert "does not know: 'z' (U+007A), 'é' (U+00E9); --extend adds them" in ran.stderr
    run("train", "-", "-o", tmp_path / "m", "--start", tmp_path / "n", "--extend", *options, stdin="zoé\n" * 20)
    assert charrnn.load(tmp_path / "m").vocabulary.chars == "abnozé"
    names = run("generate", tmp_path / "n", "--count", 5, "--novel", "--unique", "-n", 9).stdout.splitlines()
    assert len(set(names)) == 5
    assert not {"anna", "bob"} & set(names)


def test_best_weights_and_plot(tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "t").write_text("".join(random.Random(0).choices("abcdefgh", k=300)), encoding="utf-8")
    options = ["--epochs", 60, "--patience", 9, "--learning-rate", 0.3, "--learning-rate-decay", 0.99, "--keep", "best", "--threads", 1]
    ran = run("train", tmp_path / "t", "-o", tmp_path / "m", "--plot", tmp_path / "loss.svg", "--hidden-size", 30, *options)
    assert "ended by patience" in ran.stdout
    assert "the weights after" in ran.stdout
    assert "the weights after" in run("info", tmp_path / "m").stdout
    assert "<svg" in (tmp_path / "loss.svg").read_text(encoding="utf-8")


def test_look_writes_a_page(model_file, tmp_path):
    page = run("look", model_file, "--title", "A <title>", "--back", "3", "--units", "2", "--context", "the ", stdin="quick").stdout
    assert page.startswith("<!DOCTYPE html>")
    assert "<title>A &lt;title&gt;</title>" in page
    assert '"back": 3' in page
    assert page.count('id="unit-') == 2
    (tmp_path / "text").write_text("the quick")
    assert run("look", model_file, str(tmp_path / "text"), "-o", str(tmp_path / "page.html")).stdout == ""
    written = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"<title>{os.path.basename(model_file)}</title>" in written
    assert written == run("look", model_file, stdin="the quick").stdout  # the file was read, not standard input


def test_look_shows_the_parts_that_are_asked_for(tmp_path):
    (tmp_path / "text").write_text("the quick brown fox\n" * 20)
    run("train", tmp_path / "text", "-o", tmp_path / "m", "--cell", "lstm", "--hidden-size", 4, "--steps", 5, "--quiet")
    page = run("look", tmp_path / "m", "--parts", "h,f", stdin="the quick").stdout
    assert page.count('id="unit-') == 8
    assert page.count('"part": "f"') == 4
    assert run("look", tmp_path / "m", stdin="the quick").stdout.count('id="unit-') == 24
    assert "each of --parts must be 'h', 'c', " in run("look", tmp_path / "m", "--parts", "h,x", stdin="the", check=False).stderr


def test_look_shows_one_record(tmp_path):
    run("train", "-", "--records", "-o", tmp_path / "n", "-q", "--hidden-size", 4, "--steps", 9, stdin="anna\nbob\n")
    assert "</html>" in run("look", tmp_path / "n", stdin="anna\n").stdout
    ran = run("look", tmp_path / "n", stdin="anna\nbob\n", check=False)
    assert (ran.returncode, ran.stderr) == (2, "charrnn: error: this is a model of records, and the page is of one: the text has 2 lines\n")


def test_look_says_what_is_wrong(model_file, tmp_path):
    assert "--skip-unknown" in run("look", model_file, stdin="to be Ж", check=False).stderr
    assert "--back must be from 0 to" in run("look", model_file, "--back", "-1", stdin="the", check=False).stderr
    assert "No such file" in run("look", model_file, "-o", str(tmp_path / "no" / "page.html"), stdin="the", check=False).stderr


def test_info(model_file):
    out = run("info", model_file).stdout
    assert "network        rnn of 20 units" in out
    assert "ended by epochs" in out


def test_module_and_command_are_the_same(model_file):
    assert run("--version").stdout == f"charrnn {charrnn.__version__} ({charrnn.isa} kernels)\n"
    assert cli.main(["info", str(model_file)]) == 0


@pytest.mark.parametrize("command", [[], ["train"], ["generate"], ["score"], ["look"], ["info"]])
def test_help(command):
    shown = run(*command, "--help").stdout
    assert "usage: charrnn" in shown
    assert "(default: True)" not in shown


def test_train_has_every_option_of_training():
    """But those that only Python can give, and a start of Adagrad's memory."""
    options = {option.dest for option in cli._parser()._subparsers._group_actions[0].choices["train"]._actions}
    renamed = {"validation": "validation_fraction", "threads": "n_threads", "mpi": "comm"}
    missing = NewOptions.__annotations__.keys() - {renamed.get(name, name) for name in options}
    assert missing == {"callback", "dtype", "initial_accumulator_value"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "{folder}/no.txt"], "no.txt: No such file or directory"),
        (["train", "{folder}/*.TXT"], "no file matches"),
        (["train", "{folder}/fox.txt", "--hidden-size", "0"], "--hidden-size must be from 1"),
        (["train", "{folder}/fox.txt", "--learning-rate", "nan"], "--learning-rate must be"),
        (["train", "{folder}/fox.txt", "--steps", "1", "-o", "{folder}/no/model"], "no/model: No such file"),
        (["train", "{folder}/fox.txt", "--epochs", "x"], "argument --epochs: invalid int value"),
        (["generate", "{folder}/fox.txt"], "not a safetensors file"),
        (["info", "{folder}/fox.txt"], "fox.txt is not a safetensors file (it begins with"),  # a command without options
        (["train", "{folder}/fox.txt", "--threads", "9999"], "error: --threads must be from 1 to 1024, not 9999"),
        (["train", "{folder}/fox.txt", "--layers", "99"], "error: --layers must be from 1 to 16, not 99"),
        (["train", "{folder}/fox.txt", "--validation", "1"], "error: --validation must be a finite number at least 0"),
        (["generate", "{folder}/fox.safetensors", "--prime", "THE"], "prime[0] = 'T' (U+0054) is not among the"),
        (["generate", "{folder}/fox.safetensors", "-n", "-1"], "--length must be"),
        (["generate", "{folder}/fox.safetensors", "--temperature", "-1"], "--temperature must be"),
        (["generate", "{folder}/fox.safetensors", "--top-p", "0"], "--top-p must be"),
        (["score", "{folder}/fox.safetensors"], "line 2: text[0] = 'X'"),
        (["train", "{folder}/fox.txt", "--extend"], "--extend needs --start"),
        (["train", "{folder}/fox.txt", "-o", ""], "the name of the file to write is empty"),
        (["train", "{folder}/fox.txt", "-o", "{folder}/fox.txt"], "fox.txt is also the text, and would be overwritten"),
        (["train", "{folder}/*.txt", "-o", "{folder}/fox.txt"], "fox.txt is also the text, and would be overwritten"),
        (["look", "{folder}/fox.safetensors", "-o", "{folder}/fox.safetensors"], "fox.safetensors is also the model, and would be"),
        (["look", "{folder}/fox.safetensors", "{folder}/fox.txt", "-o", "{folder}/fox.txt"], "fox.txt is also the text, and would be"),
        (["train", "{folder}/fox.txt", "-o", "m", "--checkpoint", "./m"], "-o m is also --checkpoint"),
        (["train", "{folder}/fox.txt", "--start", "{folder}/fox.safetensors", "--bytes"], "fox.safetensors is a model of characters"),
        (["train", "{folder}/fox.txt", "--remember"], "--remember needs --records"),
        (
            ["train", "{folder}/fox.txt", "--patience", "3", "--validation", "0"],
            "--patience 3 needs a held-out part, and --validation 0.0 of",
        ),
        (["train", "{folder}/fox.txt", "--start", "{folder}/fox.safetensors", "--hidden-size", "9"], "--hidden-size is fixed"),
        (["train", "{folder}/fox.txt", "--start", "{folder}/fox.safetensors", "--records"], "of text: train without --records goes on"),
        (["generate", "{folder}/fox.safetensors", "--n-best", "3", "--top-k", "2"], "--top-k has no part in a search"),
        (["generate", "{folder}/fox.safetensors", "--n-best", "3", "--count", "2"], "--count has no part in a search"),
        (["generate", "{folder}/fox.safetensors", "--n-best", "0"], "--n-best must be"),
        (
            ["generate", "{folder}/fox.safetensors", "--novel"],
            "--novel needs a model that remembers its records: charrnn train --records --remember",
        ),
        (["generate", "{folder}/fox.safetensors", "--min-length", "900"], "--min-length must be at most --length 400"),
        (["generate", "{folder}/fox.safetensors", "--prime", "the☃"], "; --skip-unknown leaves out what is not"),
        (
            ["generate", "{folder}/fox.safetensors", "--tempature", "3"],
            "generate: error: unrecognized arguments: --tempature 3; did you mean --temp",
        ),
        (["train", "--hiden-size=3"], "charrnn train: error: unrecognized arguments: --hiden-size=3; did you mean --hidden-size?"),
        (["score", "{folder}/fox.safetensors", "a", "b"], "usage: charrnn score"),
        (["train", "{folder}/fox.txt", "--sample-every", "0"], "--sample-every must be from 1"),
        (["train", "{folder}/fox.txt", "--layers", "99"], "--layers must be from 1 to 16, not 99"),
        (["train", "{folder}/fox.txt", "--threads", "0"], "--threads must be from 1"),
        (["train", "{folder}/fox.txt", "--validation", "1.5"], "--validation must be a finite number"),
        (
            ["train", "{folder}/fox.txt", "--shards", "3"],
            "--shards 3 needs as many streams, not --batch-size 1: raise --batch-size, or lower --shards",
        ),
        (["train", "{folder}/fox.txt", "--start", "{folder}/fox.safetensors", "--cell", "gru"], "--cell is fixed"),
        (["train", "{folder}/fox.txt", "--start", "{folder}/fox.safetensors", "--layers", "2"], "--layers is fixed"),
        (["train", "{folder}/fox.txt", "--cell", "GRU"], "argument --cell: invalid choice: 'GRU'"),
        (["train", "{folder}/fox.txt", "-o", "{folder}/new/"], "new/: Is a directory"),
        (["train", "{folder}/fox.txt", "--cache", "{folder}/fox.txt"], "fox.txt: --cache must be a directory, not a file"),
        (["train", "{folder}/fox.txt", "--lr", "0.1"], "unrecognized arguments: --lr 0.1; did you mean --learning-rate?"),
        (["train", "{folder}/fox.txt", "--lstm"], "unrecognized arguments: --lstm; did you mean --cell?"),
        (["generate", "{folder}/fox.safetensors", "--max-length", "3"], "did you mean --length?"),
        (["generate", "{folder}/fox.safetensors", "--allowed", "X"], "--allowed and --forbidden leave no character"),
        (["info", "{folder}/no.safetensors"], "charrnn: error: {folder}/no.safetensors: No such file or directory\n"),
        (
            ["info", "{folder}/fox.txt"],
            "fox.txt is not a safetensors file (it begins with b'the quic', as a text may, which charrnn train trains on)",
        ),
        ([], "required: COMMAND"),
        (["paint"], "invalid choice"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(model_file, arguments, message):
    arguments = [argument.format(folder=model_file.parent) for argument in arguments]
    ran = run(*arguments, stdin="the\nX\n", check=False)
    assert ran.returncode == 2
    assert message.format(folder=model_file.parent) in ran.stderr
    assert "Traceback" not in ran.stderr


def test_an_unwritable_output_is_found_before_training(model_file):
    started = time.perf_counter()
    ran = run("train", "--seconds", "30", "-o", model_file.parent / "no" / "model", check=False)
    assert ran.returncode == 2
    assert time.perf_counter() - started < 10


def test_plot_without_matplotlib_is_found_before_training(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "charrnn.plotting", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert cli.main(["train", "--plot", "loss.png"]) == 2
    assert 'pip install "charrnn-cython[plot]"' in capsys.readouterr().err


def test_divergence_is_exit_code_1(model_file):
    ran = run("train", model_file.with_name("fox.txt"), "--learning-rate", "1e38", check=False)
    assert ran.returncode == 1
    assert "is not finite" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_plot_of_no_steps_is_there(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "--steps", "0", "--plot", "loss.svg"]) == 0
    assert (tmp_path / "loss.svg").exists()


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
    assert run("score", model_file, "--on-unknown", "skip", "--", "-x", cwd=tmp_path, check=False).returncode == 2  # as argparse has it
    assert len(run("score", "--on-unknown", "skip", "--", model_file, "-x", cwd=tmp_path).stdout.splitlines()) == 9
    assert "unrecognized arguments: more" in run("info", model_file, "more", check=False).stderr


@pytest.mark.skipif(sys.platform != "linux", reason="needs names of files that are any bytes")
def test_names_that_are_not_utf_8(model_file, tmp_path):
    name = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    ran = run("train", model_file.with_name("fox.txt"), "--steps", 3, "-o", name, encoding=None, text=False, stdin=b"")
    assert ran.stdout.endswith(b"saved to " + os.fsencode(name) + b"\n")
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert "<title>é</title>" in run("look", model_file, "--title", "é", stdin="the", env=plain).stdout
    shutil.copy(model_file, tmp_path / "é")
    assert "<title>é</title>" in run("look", tmp_path / "é", stdin="the", env=plain).stdout


def test_a_plot_of_no_format_is_found_before_training(tmp_path):
    pytest.importorskip("matplotlib")
    ran = run("train", "--seconds", "30", "--plot", tmp_path / "loss.xyz", check=False)
    assert ran.returncode == 2
    assert "must end in one of" in ran.stderr


def test_utf8_whatever_the_locale(tmp_path):
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    (tmp_path / "snow.txt").write_text("☃é\n" * 50, encoding="utf-8")
    run("train", tmp_path / "snow.txt", "-o", tmp_path / "m", "--steps", 20, env=environment)
    assert run("generate", tmp_path / "m", "--prime", "☃", "-n", 2, env=environment).stdout.startswith("☃")
    assert float(run("score", tmp_path / "m", stdin="☃é\n", env=environment).stdout) > 0


@pytest.mark.skipif(os.name != "posix", reason="pipes and signals")
def test_a_closed_pipe_is_no_traceback(model_file):
    command = [sys.executable, "-m", "charrnn", "generate", model_file, "-n", "2000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert len(process.stdout.read(5)) == 5
        process.stdout.close()
        assert process.stderr.read() == b""


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")
def test_nohup_trains_on(monkeypatch, tmp_path):
    program = "import os, signal; from charrnn.training import fit as training; train = training.train\n"
    program += "training.train = lambda *a, **o: (os.kill(os.getpid(), signal.SIGHUP), train(*a, **o))[1]\n"
    program += "signal.signal(signal.SIGHUP, signal.SIG_IGN); from charrnn.cli import main; main(['train', '--steps', '3'])"
    assert "ended by steps" in subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


@pytest.mark.clock
@pytest.mark.skipif(os.name != "posix", reason="pipes and signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_ctrl_c_sigterm_and_sighup_save_the_model_and_exit_with_130(tmp_path, name):
    arguments = ["train", "--seconds", "40", "-o", str(tmp_path / "m"), "--checkpoint", str(tmp_path / "c")]
    process = subprocess.Popen([sys.executable, "-m", "charrnn", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "c").exists() and process.poll() is None:  # until it trains
        time.sleep(0.05)
    process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "ended by interrupted" in out
    assert "Traceback" not in err
    model = charrnn.load(tmp_path / "m")
    assert model.history.stop_reason == "interrupted"
    assert charrnn.load(tmp_path / "c").history.steps == model.history.steps


@pytest.mark.clock
def test_generate_writes_as_it_draws(model_file):
    """The first characters of five million, which take seconds, are there as soon as the program is; beside whatever else runs here."""

    def first(*command):
        began = time.perf_counter()
        with subprocess.Popen([sys.executable, *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout.read(1)
            took = time.perf_counter() - began
            process.kill()
        return took

    load = f"import charrnn, sys; charrnn.load({str(model_file)!r}); print(1, flush=True)"
    least = min(first("-c", load) for _ in range(3))
    assert min(first("-m", "charrnn", "generate", model_file, "-n", 5_000_000) for _ in range(3)) < 1.5 * least + 0.2
    began = time.perf_counter()
    many = run("generate", model_file, "-n", 300_000, "--seed", 1).stdout
    assert time.perf_counter() - began > 2 * least
    assert many == charrnn.load(model_file).generate(300_000, seed=1) + "\n"


def test_texts_come_one_by_one(model_file):
    command = [sys.executable, "-m", "charrnn", "generate", str(model_file), "-n", "20", "--count", "10000000", "--seed", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        lines = [process.stdout.readline().decode() for _ in range(3)]
        process.kill()
    assert "".join(lines) == "".join(text + "\n" for text in charrnn.load(model_file).generate_many(3, 20, seed=1))[: len("".join(lines))]


def test_score_reads_a_file(model_file, tmp_path):
    (tmp_path / "lines.txt").write_text("dog\nfox\n", encoding="utf-8")
    model = charrnn.load(model_file)
    assert run("score", model_file, tmp_path / "lines.txt").stdout == f"{model.score('dog'):.4f}\n{model.score('fox'):.4f}\n"
    assert run("score", model_file, "-", stdin="dog\n").stdout == f"{model.score('dog'):.4f}\n"
    ran = run("score", model_file, tmp_path / "no.txt", check=False)
    assert (ran.returncode, ran.stderr) == (2, f"charrnn: error: {tmp_path / 'no.txt'}: No such file or directory\n")


def test_score_after_a_context_and_of_unknown_characters(model_file):
    model = charrnn.load(model_file)
    ran = run("score", model_file, "--context", r"\n", "--json", "--on-unknown", "surprise", stdin="the dog\nthe ☃\n\n")
    first, second, third = map(json.loads, ran.stdout.splitlines())
    assert first == {"text": "the dog", "bits_per_character": model.score("the dog", context="\n"), "unknown": 0}
    assert second["bits_per_character"] == model.score("the ☃", context="\n", on_unknown="surprise")
    assert second["unknown"] == 1
    assert third == {"text": "", "bits_per_character": None, "unknown": 0}
    assert ran.stderr == "charrnn: 1 unknown characters in 1 of 3 lines cost as the least likely\n"
    ran = run("score", model_file, "--skip-unknown", stdin="☃☃dog\n☃\n")
    assert ran.stdout == f"{model.score('dog'):.4f}\nnan\n"
    assert ran.stderr == "charrnn: 3 unknown characters in 2 of 2 lines were left out\n"


def test_escapes_in_texts(model_file, tmp_path):
    model = charrnn.load(model_file)
    for options, expected in {
        ("--stop", r"\n"): {"stop": "\n"},
        ("--stop", r"\u0064"): {"stop": "d"},
        ("--allowed", r"\x61\n"): {"allowed": "a\n"},
        ("--prime", r"dog\n"): {"prime": "dog\n"},
        ("--forbidden", r"\\ \q"): {"forbidden": "\\q "},
    }.items():
        ran = run("generate", model_file, "-n", 200, "--seed", 3, *options)
        assert ran.stdout == expected.get("prime", "") + model.generate(200, seed=3, **expected) + "\n"
    for given, meant in {r"a\tb\r\\n": "a\tb\r\\n", r"\xc3\xa9\u00e9": "éé", r"\s\x4\u12": r"\s\x4\u12", r"\xff": "\udcff"}.items():
        assert cli._text_argument(given) == meant
    run("train", "-", "--bytes", "-o", tmp_path / "b", "-q", "--steps", 9, stdin=bytes(range(256)) * 2, text=False, encoding=None)
    ran = run("generate", tmp_path / "b", "-n", 0, "--prime", r"\xff\x00", stdin=b"", text=False, encoding=None)
    assert ran.stdout == b"\xff\0\n"
    for command in ("generate", "score"):
        assert r"escapes in TEXT: \n, \t, \r, \\, \xHH for a byte" in run(command, "--help", env=os.environ | {"COLUMNS": "200"}).stdout


def test_the_default_text_is_announced():
    assert re.search(
        "no file is given: training on the documentation of Python, [0-9]{3},[0-9]{3} characters", run("train", "--steps", 9).stderr
    )
    assert run("train", "--steps", 9, "-q").stderr == ""


@pytest.mark.clock
def test_progress_where_there_is_no_terminal(tmp_path):
    """The lines come after five seconds: the test makes them come sooner."""
    program = (
        "import sys; from charrnn import cli; from charrnn.util import progress; progress._EVERY = 0.1; sys.exit(cli.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "train", "--seconds", "0.7"]
    for more, shown in {(): True, ("--progress",): True, ("--no-progress",): False, ("-q",): False}.items():
        ran = subprocess.run([*command, *more], capture_output=True, text=True, timeout=60)
        assert bool(re.search("^charrnn: [0-9]+ %, 00:00 gone, 00:0[01] left, epoch", ran.stderr, re.MULTILINE)) is shown
    ran = run("train", "-q", "--steps", 4, "--sample-every", 2)
    assert "--- after 2 steps" in ran.stdout


@pytest.mark.skipif(shutil.which("iconv") is None, reason="iconv")
@pytest.mark.parametrize(("encoding", "text"), [("cp1252", "naïve café – “quoted”\n"), ("utf-16", "naïve\n"), ("latin-1", "\x81 naïve\n")])
def test_a_text_of_another_encoding_is_converted_as_the_error_says(encoding, text, tmp_path):
    path = tmp_path / "it's old.txt"
    path.write_bytes((text * 20).encode(encoding))
    ran = run("train", path, "--steps", 2, check=False)
    assert ran.returncode == 2
    advice = re.search("convert it: (iconv .*); --bytes takes any bytes as they are", ran.stderr)[1]
    subprocess.run(advice, shell=True, check=True, cwd=tmp_path)
    assert (tmp_path / "utf8.txt").read_text(encoding="utf-8") == text * 20
    run("train", path, "--bytes", "--steps", 2, "-q", text=False, encoding=None, stdin=b"")
    ran = run("train", "-", "--steps", 2, check=False, stdin=path.read_bytes(), text=False, encoding=None)
    assert b"standard input is not UTF-8 at byte" in ran.stderr
    assert b" -t UTF-8; --bytes" in ran.stderr


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n" + bytes(range(256)), bytes(range(256)), b"\xff\xfb\x90\x44\0\0\1\2\3"])
def test_a_binary_file_is_told_from_text(data, tmp_path):
    (tmp_path / "file").write_bytes(data * 3)
    ran = run("train", tmp_path / "file", check=False)
    assert "it looks like a binary file: --bytes takes any bytes as they are" in ran.stderr
