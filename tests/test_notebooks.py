"""Every notebook of the documentation runs in a real kernel, and says what is kept in it."""

import copy
import importlib.util
import platform
from pathlib import Path

import pytest

import charrnn

DOCS = Path(__file__).parents[1] / "docs"
NOTEBOOKS = sorted(DOCS.glob("*.ipynb"))
HAS_FMA = charrnn.isa != "baseline" or platform.machine().lower() in ("aarch64", "arm64")  # without, texts differ from those shown

pytestmark = pytest.mark.skipif(not NOTEBOOKS, reason="the tests were copied away from the project")


@pytest.fixture
def maker():
    """The module that makes the notebook."""
    for name in ("nbclient", "ipykernel", "matplotlib"):
        pytest.importorskip(name)
    spec = importlib.util.spec_from_file_location("notebook", DOCS / "notebook.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def said(cell):
    """What a cell prints and answers, pictures left out."""
    texts = [output.get("text") or output.get("data", {}).get("text/plain") for output in cell.outputs]
    return [text for text in texts if not text.startswith("<")]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, maker):
    kept = maker.nbformat.read(path, as_version=4)
    maker.nbformat.validate(kept)
    ran = maker.execute(copy.deepcopy(kept))
    for before, now in zip(kept.cells, ran.cells, strict=True):
        if HAS_FMA and before.cell_type == "code":
            assert said(now) == said(before)


def test_the_tutorial_shows_a_bar_and_a_figure(maker):
    ran = maker.execute(maker.nbformat.read(DOCS / "tutorial.ipynb", as_version=4))
    shown = {
        cell.source.split("\n")[0]: [set(output.get("data", {})) for output in cell.outputs] for cell in ran.cells if "outputs" in cell
    }
    assert {"text/plain", "image/png"} in shown["history.plot()"]
    bar = shown['model = charrnn.train_file("names.txt", epochs=10)'][0]
    assert importlib.util.find_spec("ipywidgets") is None or "application/vnd.jupyter.widget-view+json" in bar


def test_tutorial_is_the_page(maker):
    page = maker.make((DOCS / "tutorial.md").read_text(encoding="utf-8"))
    kept = maker.nbformat.read(DOCS / "tutorial.ipynb", as_version=4)
    assert [cell.source for cell in kept.cells] == [cell.source for cell in page.cells]
