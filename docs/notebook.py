"""Write docs/tutorial.ipynb from docs/tutorial.md, with outputs: python docs/notebook.py.

It needs nbclient, ipykernel and matplotlib.
"""

import doctest
import re
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

DOCS = Path(__file__).resolve().parent
BLOCK = re.compile(r"^```([a-z]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def make(page: str) -> Any:
    """Return a Markdown page as a notebook without outputs."""
    cells, start = [], 0
    for block in BLOCK.finditer(page):
        cells += prose(page[start : block.start()])
        if block[1] in ("python", "pycon"):
            cells += [
                nbformat.v4.new_code_cell(code.rstrip("\n"))
                for code in (typed(block[2]) if block[1] == "pycon" else [block[2]])
            ]
        start = block.end()
    cells += prose(page[start:])
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"  # the default is random
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def prose(text: str) -> list[Any]:
    """Return a list with one Markdown cell, empty if the text is empty."""
    text = re.sub(r"\{py:\w+\}", "", text)
    text = re.sub(r"This page is\s+also \[a notebook\]\(tutorial.ipynb\)\.", "", text)
    text = re.sub(r"!\[.*\]\(tutorial-loss.png\)", "", text).strip()  # the cell above draws it
    return [nbformat.v4.new_markdown_cell(text)] if text else []


def typed(session: str) -> list[str]:
    """Return the inputs of an interactive session, one cell per answer."""
    cells = [""]
    for example in doctest.DocTestParser().get_examples(session):
        cells[-1] += example.source
        if example.want:
            cells.append("")
    return [code for code in cells if code]


def execute(notebook: Any) -> Any:
    """Run a notebook in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(
            notebook,
            timeout=120,
            resources={"metadata": {"path": folder}},
            record_timing=False,
            coalesce_streams=True,
        ).execute()
    notebook.metadata.pop("language_info", None)  # names the Python version
    return notebook


def without_bars(notebook: Any) -> Any:
    """Remove progress bars: without a kernel, they would stay at 0 %."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if not is_bar(output)]
    return notebook


def is_bar(output: Any) -> bool:
    """Return whether an output is a progress bar: a widget, or text on stderr."""
    widget = "application/vnd.jupyter.widget-view+json" in output.get("data", {})
    return widget or output.get("name") == "stderr"


if __name__ == "__main__":
    tutorial = execute(make((DOCS / "tutorial.md").read_text(encoding="utf-8")))
    nbformat.write(without_bars(tutorial), DOCS / "tutorial.ipynb")
