"""Every block of code in the README and the documentation runs."""

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXT = "ROMEO:\nto be, or not to be, that is the question: speak, I charge thee, speak!\n\n" * 30
NAMES = "anna\nxavier\nquentin\nzack\nkirk\n" * 20

pytestmark = pytest.mark.skipif(not DOCUMENTS[0].exists(), reason="the tests were copied away from the project")


def blocks(document, *languages):
    """The language and the text of each fenced block in one of these languages."""
    return re.findall(rf"^```({'|'.join(languages)})\n(.*?)^```$", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with the files that the documents speak of."""
    monkeypatch.chdir(tmp_path)
    for name, content in {"input.txt": TEXT, "names.txt": NAMES, "lines.txt": "to be\nor not\n"}.items():
        (tmp_path / name).write_text(content, encoding="utf-8", newline="\n")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_python(document, folder):
    world = {"__name__": "document"}
    for number, (language, code) in enumerate(blocks(document, "python", "pycon")):
        name = f"{document.name}, block {number}"
        if language == "python":
            exec(compile(code, name, "exec"), world)
            continue
        test = doctest.DocTestParser().get_doctest(code, world, name, None, 0)
        assert doctest.DocTestRunner().run(test, clear_globs=False).failed == 0
        world = test.globs


@pytest.mark.skipif(os.name != "posix", reason="a POSIX shell")
def test_commands(folder):
    lines = [line for _, code in blocks(DOCUMENTS[0], "sh") for line in code.splitlines() if line.startswith("charrnn ")]
    assert len(lines) >= 4
    environment = os.environ | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    for line in lines:
        line = line.replace("COMMAND", "train")
        subprocess.run(line, shell=True, check=True, env=environment, timeout=60, capture_output=True)
