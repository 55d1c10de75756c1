"""Every notebook of the documentation runs in a real kernel and gives the outputs that it has."""

import copy
import importlib.util
from pathlib import Path

import pytest

from test_documents import AWAY, HAS_FMA

DOCS = Path(__file__).parents[1] / "docs"
NOTEBOOKS = sorted(DOCS.glob("*.ipynb"))
pytestmark = pytest.mark.skipif(not NOTEBOOKS, reason=AWAY)


@pytest.fixture
def maker():
    """The module that writes the notebook."""
    for name in ("nbclient", "ipykernel", "matplotlib"):
        pytest.importorskip(name)
    spec = importlib.util.spec_from_file_location("notebook", DOCS / "notebook.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def texts(cell):
    """What a cell prints and answers, without pictures."""
    data = (output.get("data", {"text/plain": output.get("text")}) for output in cell.outputs)
    return [text for one in data if not (text := one["text/plain"]).startswith("<")]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, maker):
    kept = maker.nbformat.read(path, as_version=4)
    maker.nbformat.validate(kept)
    ran = maker.without_bars(maker.execute(copy.deepcopy(kept)))
    for before, now in zip(kept.cells, ran.cells, strict=True):
        if HAS_FMA and before.cell_type == "code":
            assert texts(now) == texts(before)


def test_the_tutorial_shows_a_bar_and_a_figure(maker):
    ran = maker.execute(maker.nbformat.read(DOCS / "tutorial.ipynb", as_version=4))
    shown = {}
    for cell in ran.cells:
        types = [set(output.get("data", {})) for output in cell.get("outputs", [])]
        shown[cell.source.split("\n")[0]] = types
    assert {"text/plain", "image/png"} in shown["history.plot()"]
    bar = shown['model = charrnn.train_file("names.txt", preset="tutorial", epochs=10)'][0]
    if importlib.util.find_spec("ipywidgets"):
        assert "application/vnd.jupyter.widget-view+json" in bar


def test_the_notebook_has_no_frozen_bar(maker):
    kept = maker.nbformat.read(DOCS / "tutorial.ipynb", as_version=4)
    outputs = [output for cell in kept.cells for output in cell.get("outputs", [])]
    assert not any(map(maker.is_bar, outputs))


def test_tutorial_is_the_page(maker):
    page = maker.make((DOCS / "tutorial.md").read_text(encoding="utf-8"))
    kept = maker.nbformat.read(DOCS / "tutorial.ipynb", as_version=4)
    assert [cell.source for cell in kept.cells] == [cell.source for cell in page.cells]
