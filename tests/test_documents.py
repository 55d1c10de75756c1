"""Every block of code in the README and the documentation runs, and prints what is shown below it.

A block of text that follows one of Python is what that prints; in a block of console, what follows a line with a dollar. An
ellipsis stands for anything. CHARRNN_REWRITE=1 writes what is printed into the documents instead of comparing.
"""

import contextlib
import doctest
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import charrnn
import reference

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```([a-z]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TEXT = "ROMEO:\nto be, or not to be, that is the question: speak, I charge thee, speak!\n\n" * 30
OPTIONAL = {
    "dask",
    "distributed",
    "fastapi",
    "joblib",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "pandas",
    "polars",
    "sklearn",
    "torch",
}  # what documents speak of and a tester may lack

pytestmark = pytest.mark.skipif(not DOCUMENTS[0].exists(), reason="the tests were copied away from the project")
HAS_FMA = charrnn.isa != "baseline" or platform.machine().lower() in ("aarch64", "arm64")  # without, texts differ from those shown


class Document:
    """A document, and what has been printed so far of that which it shows."""

    def __init__(self, path):
        self.path = path
        self.text = path.read_text(encoding="utf-8")
        self.blocks = list(BLOCK.finditer(self.text))
        self.printed = []

    def shown(self, number):
        """The block that shows what block number prints, or None."""
        after = self.blocks[number + 1 : number + 2]
        if after and after[0][1] == "text" and not self.text[self.blocks[number].end() : after[0].start()].strip():
            return after[0]
        return None

    def compare(self, block, printed):
        """Raise if the block shows something else than this."""
        if HAS_FMA:
            same = doctest.OutputChecker().check_output(block[2], printed, doctest.ELLIPSIS)
            if "CHARRNN_REWRITE" in os.environ:
                self.printed += [] if same else [(block.span(2), printed)]
            else:
                assert same, f"{self.path.name} shows\n{block[2]}\nand what was printed is\n{printed}"

    def rewrite(self):
        """Write what was printed where it differs from what is shown."""
        for (start, end), printed in reversed(self.printed):
            self.text = self.text[:start] + printed + self.text[end:]
        if self.printed:
            self.path.write_text(self.text, encoding="utf-8")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with the files that the documents speak of, where charrnn is a command."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    names = "\n".join(charrnn.datasets.names()) + "\n"
    for name, content in {"input.txt": TEXT, "names.txt": names, "lines.txt": "to be\nor not\n"}.items():
        (tmp_path / name).write_text(content, encoding="utf-8", newline="\n")


@pytest.fixture(params=DOCUMENTS, ids=lambda path: path.stem)
def document(request, folder):
    document = Document(request.param)
    yield document
    document.rewrite()


def test_blocks(document):
    world = {"__name__": "document", "__file__": os.path.abspath("document.py")}
    for number, block in enumerate(document.blocks):
        language, code = block.groups()
        if language == "python":
            printed = run_python(code, f"{document.path.name}, block {number}", world)
            if shown := document.shown(number):
                document.compare(shown, printed)
        elif language == "pycon":
            run_session(code, f"{document.path.name}, block {number}", world)
        elif language == "console" and os.name == "posix":
            document.compare(block, run_console(code))
        elif language == "sh" and os.name == "posix":
            run_commands(code)


def run_python(code, name, world):
    """Run code in a world; return what it prints."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(code, name, "exec"), world)
    except ModuleNotFoundError as error:
        if error.name not in OPTIONAL:
            raise
        pytest.skip(str(error))
    return printed.getvalue()


def run_session(code, name, world):
    """Run what was typed at Python's prompt, and compare what it answers with what is shown."""
    test = doctest.DocTestParser().get_doctest(code, world, name, None, 0)
    assert doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, clear_globs=False).failed == 0
    world.update(test.globs)


def run_console(code):
    """Run the commands, which begin with a dollar and may go on after a backslash; return them, each with what it prints."""
    commands = re.findall(r"^\$ (?:.*\\\n)*.*\n", code, re.MULTILINE)
    return "".join(f"{command}{run_command(command[2:])}" for command in commands)


def run_commands(code):
    """Run the lines that call charrnn."""
    for line in code.splitlines():
        if line.startswith("charrnn "):
            run_command(line)


def run_command(line):
    """Run a line of the shell; return what it prints."""
    ran = subprocess.run(line, shell=True, timeout=60, capture_output=True, text=True, encoding="utf-8")
    assert ran.returncode == 0, f"{line}\n{ran.stderr}"
    return ran.stdout


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_lines_are_short(path):
    text = path.read_text(encoding="utf-8")
    code = [line for block in BLOCK.finditer(text) for line in block[2].splitlines()]
    assert [line for line in code if len(line) > 75] == []
    prose = [line for line in BLOCK.sub("", text).splitlines() if not line.startswith(("|", "!["))]
    assert [line for line in prose if len(line) >= 100] == []
    assert [line for line in prose if re.match(r"[+*] ", line)] == []  # that would be a list


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_links_lead_somewhere(path):
    prose = BLOCK.sub("", path.read_text(encoding="utf-8"))
    targets = map("".join, re.findall(r"""\]\(([^)#:]+)(?:#[^)]*)?\)|<img src="([^"]*)""", prose))
    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_links_of_a_release_are_absolute(tmp_path):
    for name in ("README.md", "pyproject.toml", "tools/address.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    subprocess.run([sys.executable, tmp_path / "tools/address.py", "https://example.org/owner/name"], check=True)
    readme = (tmp_path / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"""\]\(([^)]*)\)|<img src="([^"]*)""", readme)
    files = [link.removeprefix("https://example.org/owner/name/").split("/", 2)[2] for link in map("".join, links)]
    assert len(files) > 15
    assert all((ROOT / file).exists() for file in files)
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["urls"]["Changelog"] == "https://example.org/owner/name/blob/HEAD/CHANGELOG.md"


def test_chart_shows_the_benchmarks(monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(ROOT / "docs")
    import pictures

    results = (ROOT / "benchmarks" / "results.md").read_text(encoding="utf-8")
    for size in pictures.SIZES:
        assert {"charrnn", "PyTorch"} < pictures.speeds(results, size).keys()
    up_to_date = pictures.shown(results).encode() in (ROOT / "docs" / "speed.png").read_bytes()
    assert up_to_date, "python docs/pictures.py draws the picture anew"


def test_the_picture_of_gradients_shows_what_the_oracle_says(monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(ROOT / "docs")
    import pictures

    ids, networks, history = pictures.networks()
    assert history.stop_reason == "epochs"
    for rnn in networks.values():
        oracle = reference.gradient_norms(reference.Weights.of(rnn), ids[:25], ids[25], np.zeros((100, 1)))
        found = rnn.gradient_norms(ids[:25], ids[25], np.zeros((100, 1)))
        assert found == pytest.approx(oracle, rel=1e-3)
    if HAS_FMA:
        kept = re.search(rb'{"new".*?}', (ROOT / "docs" / "gradients.png").read_bytes())[0]
        for name, lengths in pictures.gradients(ids, networks).items():
            assert json.loads(kept)[name] == pytest.approx(lengths, rel=0.02), "python docs/pictures.py draws the picture anew"
