import os
import signal
import subprocess
import sys
import time

import pytest

import charrnn
from charrnn import cli

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
    controls = {"temperature": 0.9, "top_k": 5, "top_p": 0.9, "min_p": 0.01, "stop": ["dog", "fox"]}
    expected = charrnn.load(model_file).generate_many(3, 60, prime="the ", seed=2, **controls)
    options = ["--temperature", 0.9, "--top-k", 5, "--top-p", 0.9, "--min-p", 0.01, "--stop", "dog", "--stop", "fox", "--seed", 2]
    ran = run("generate", model_file, "--prime", "the ", "-n", 60, "--count", 3, *options)
    assert ran.stdout == "".join(f"the {text}\n" for text in expected)


def test_score(model_file):
    model = charrnn.load(model_file)
    lines = ["the lazy dog", "god yzal eht"]
    ran = run("score", model_file, stdin="\n".join(lines) + "\n")
    assert ran.stdout.splitlines() == [f"{model.score(line):.4f}" for line in lines]


def test_info(model_file):
    out = run("info", model_file).stdout
    assert "hidden_size    20" in out
    assert "ended by epochs" in out


def test_module_and_command_are_the_same(model_file):
    assert run("--version").stdout == f"charrnn {charrnn.__version__} ({charrnn.isa} kernels)\n"
    assert cli.main(["info", str(model_file)]) == 0


@pytest.mark.parametrize("command", [[], ["train"], ["generate"], ["score"], ["info"]])
def test_help(command):
    assert "usage: charrnn" in run(*command, "--help").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "{folder}/no.txt"], "no.txt: No such file or directory"),
        (["train", "{folder}"], "Is a directory"),
        (["train", "{folder}/fox.txt", "--hidden-size", "0"], "hidden_size must be from 1"),
        (["train", "{folder}/fox.txt", "--learning-rate", "nan"], "learning_rate must be"),
        (["train", "{folder}/fox.txt", "--steps", "1", "-o", "{folder}/no/model"], "no/model: No such file"),
        (["train", "{folder}/fox.txt", "--epochs", "x"], "argument --epochs: invalid int value"),
        (["generate", "{folder}/fox.txt"], "not a safetensors file"),
        (["generate", "{folder}/fox.safetensors", "--prime", "THE"], "prime[0] = 'T' is not among"),
        (["generate", "{folder}/fox.safetensors", "-n", "-1"], "length must be"),
        (["generate", "{folder}/fox.safetensors", "--temperature", "-1"], "temperature must be"),
        (["generate", "{folder}/fox.safetensors", "--top-p", "0"], "top_p must be"),
        (["score", "{folder}/fox.safetensors"], "line 2: text[0] = 'X'"),
        ([], "required: COMMAND"),
        (["paint"], "invalid choice"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(model_file, arguments, message):
    arguments = [argument.format(folder=model_file.parent) for argument in arguments]
    ran = run(*arguments, stdin="the\nX\n", check=False)
    assert ran.returncode == 2
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr


def test_an_unwritable_output_is_found_before_training(model_file):
    started = time.perf_counter()
    ran = run("train", "--seconds", "30", "-o", model_file.parent / "no" / "model", check=False)
    assert ran.returncode == 2
    assert time.perf_counter() - started < 10


def test_divergence_is_exit_code_1(model_file):
    ran = run("train", model_file.with_name("fox.txt"), "--learning-rate", "1e38", check=False)
    assert ran.returncode == 1
    assert "is not finite" in ran.stderr
    assert "Traceback" not in ran.stderr


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


@pytest.mark.skipif(os.name != "posix", reason="pipes and signals")
def test_ctrl_c_saves_the_model_and_exits_with_130(model_file, tmp_path):
    arguments = [sys.executable, "-m", "charrnn", "train", "--seconds", "40", "-o", str(tmp_path / "m")]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(2.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "ended by interrupted" in out
    assert "Traceback" not in err
    assert charrnn.load(tmp_path / "m").history.stop_reason == "interrupted"
