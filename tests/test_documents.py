"""Every code block in the README and the documentation runs and prints what the page shows.

A text block after a Python block is its output; in a console block, the lines after a line with a
dollar are. An ellipsis matches anything. CHARRNN_REWRITE=1 writes the outputs into the pages
instead of comparing them.
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
    "charrnn_models",
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
}  # packages that pages use and a tester may lack

REDRAW = "python docs/pictures.py redraws the picture"
AWAY = "the tests were copied away from the project"
pytestmark = pytest.mark.skipif(not DOCUMENTS[0].exists(), reason=AWAY)
# Without FMA, generated texts differ from those shown.
HAS_FMA = charrnn.isa != "baseline" or platform.machine().lower() in ("aarch64", "arm64")


class Document:
    """A document, and the outputs that differ from those it shows."""

    def __init__(self, path):
        self.path = path
        self.text = path.read_text(encoding="utf-8")
        self.blocks = list(BLOCK.finditer(self.text))
        self.printed = []

    def shown(self, number):
        """The block that shows the output of a block, or None."""
        for after in self.blocks[number + 1 : number + 2]:
            between = self.text[self.blocks[number].end() : after.start()]
            if after[1] == "text" and not between.strip():
                return after
        return None

    def compare(self, block, printed):
        """Raise if the block shows another output."""
        if HAS_FMA:
            same = doctest.OutputChecker().check_output(block[2], printed, doctest.ELLIPSIS)
            if "CHARRNN_REWRITE" in os.environ:
                self.printed += [] if same else [(block.span(2), printed)]
            else:
                assert same, f"{self.path.name} shows\n{block[2]}\nbut the output is\n{printed}"

    def rewrite(self):
        """Write the outputs that differ into the document."""
        for (start, end), printed in reversed(self.printed):
            self.text = self.text[:start] + printed + self.text[end:]
        if self.printed:
            self.path.write_text(self.text, encoding="utf-8")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with the files that the documents use, where charrnn is a command."""
    monkeypatch.chdir(tmp_path)
    path = [str(Path(sys.executable).parent), os.environ["PATH"]]
    monkeypatch.setenv("PATH", os.pathsep.join(path))
    names = "\n".join(charrnn.datasets.names()) + "\n"
    files = {"input.txt": TEXT, "names.txt": names, "lines.txt": "to be\nor not\n"}
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8", newline="\n")


@pytest.fixture(params=DOCUMENTS, ids=lambda path: path.stem)
def document(request, folder):
    if request.param.stem == "compress" and not HAS_FMA:
        pytest.skip("models compress with FMA only")
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
    """Run code in a namespace; return what it prints."""
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
    """Run an interactive session and compare its answers with those shown."""
    test = doctest.DocTestParser().get_doctest(code, world, name, None, 0)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    assert runner.run(test, clear_globs=False).failed == 0
    world.update(test.globs)


def run_console(code):
    """Run the commands (a dollar, a line, more after backslashes); return them with outputs."""
    commands = re.findall(r"^\$ (?:.*\\\n)*.*\n", code, re.MULTILINE)
    return "".join(f"{command}{run_command(command[2:])}" for command in commands)


def run_commands(code):
    """Run the lines that call charrnn."""
    for line in code.splitlines():
        if line.startswith("charrnn "):
            run_command(line)


def run_command(line):
    """Run a line in the shell; return its output."""
    captured = {"capture_output": True, "text": True, "encoding": "utf-8"}
    ran = subprocess.run(line, shell=True, timeout=600, **captured)
    assert ran.returncode == 0, f"{line}\n{ran.stderr}"
    return ran.stdout


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_lines_are_short(path):
    text = path.read_text(encoding="utf-8")
    code = [line for block in BLOCK.finditer(text) for line in block[2].splitlines()]
    assert [line for line in code if len(line) > 75] == []
    lines = BLOCK.sub("", text).splitlines()
    prose = [line for line in lines if not line.startswith(("|", "![", "[!["))]
    assert [line for line in prose if len(line) > 100] == []
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
    address = "https://example.org/owner/name"
    subprocess.run([sys.executable, tmp_path / "tools/address.py", address], check=True)
    readme = (tmp_path / "README.md").read_text(encoding="utf-8")
    links = map("".join, re.findall(r"""\]\(([^)]*)\)|<img src="([^"]*)""", readme))
    files = [link.removeprefix(f"{address}/").split("/", 2)[2] for link in links]
    assert len(files) > 15
    assert all((ROOT / file.partition("#")[0]).exists() for file in files)
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["urls"]["Changelog"] == f"{address}/blob/HEAD/CHANGELOG.md"


def test_chart_shows_the_benchmarks(monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(ROOT / "docs")
    import pictures

    results = (ROOT / "benchmarks" / "results.md").read_text(encoding="utf-8")
    for size in pictures.SIZES:
        assert {"charrnn", "PyTorch"} < pictures.speeds(results, size).keys()
    up_to_date = pictures.shown(results).encode() in (ROOT / "docs" / "speed.png").read_bytes()
    assert up_to_date, REDRAW


def test_the_picture_of_gradients_shows_what_the_oracle_says(monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(ROOT / "docs")
    import pictures

    ids, networks, history = pictures.networks()
    assert history.stop_reason == "epochs"
    for rnn in networks.values():
        window = ids[:25], ids[25], np.zeros((100, 1))
        oracle = reference.gradient_norms(reference.Weights.of(rnn), *window)
        found = rnn.gradient_norms(*window)
        assert found == pytest.approx(oracle, rel=1e-3)
    if HAS_FMA:
        kept = re.search(rb'{"new".*?}', (ROOT / "docs" / "gradients.png").read_bytes())[0]
        for name, lengths in pictures.gradients(ids, networks).items():
            assert json.loads(kept)[name] == pytest.approx(lengths, rel=0.02), REDRAW
