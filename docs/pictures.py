"""Draw the pictures of README.md and of these pages: python docs/pictures.py. Needs matplotlib.

loss.png is what the first lines of README.md write; speed.png shows tables of benchmarks/results.md.
"""

import contextlib
import json
import re
import tempfile
from pathlib import Path

from matplotlib.figure import Figure

DOCS = Path(__file__).resolve().parent
NAMES = {  # of the programs, in the tables and in the picture
    "charrnn v4": "charrnn",
    "JAX, whole loop under jit": "JAX (loop under jit)",
    "PyTorch eager": "PyTorch",
    "the tutorial's NumPy, float32": "the tutorial's NumPy",
}
SIZES = {"H=100 V=65 T=25 B=1": "100 units, one stream", "H=512 V=65 T=64 B=32": "512 units, 32 streams"}


def first_lines(readme: str) -> str:
    """Return the first block of Python in README.md."""
    return re.search(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)[1]


def speeds(results: str, size: str) -> dict[str, int]:
    """Return the characters a second of each program in NAMES, from the table of this size."""
    table = re.search(rf"^### Training: .*\({re.escape(size)}\)\n\n(.*?)\n\n", results + "\n\n", re.MULTILINE | re.DOTALL)[1]
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()]
    column = cells[0].index("characters/s")
    found = {row[0]: int(row[column].replace(",", "")) for row in cells[2:]}
    return {name: found[program] for program, name in NAMES.items() if program in found}


def shown(results: str) -> str:
    """Return all speeds of the picture as a line; it stands in the picture, so that a test sees whether it is up to date."""
    return json.dumps([speeds(results, size) for size in SIZES])


def draw_speeds(results: str) -> Figure:
    """Draw a bar for each program, one chart a size."""
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    tables = [speeds(results, size) for size in SIZES]
    charts = figure.subplots(len(tables), 1, gridspec_kw={"height_ratios": [len(table) for table in tables]})
    for chart, title, table in zip(charts, SIZES.values(), tables, strict=True):
        names, values = list(table), list(table.values())
        colors = ["#c44e27" if name == "charrnn" else "#9aa7b5" for name in names]
        bars = chart.barh(names, values, color=colors, height=0.7)
        chart.bar_label(bars, [f"{value:,}" for value in values], padding=4, fontsize=9)
        chart.invert_yaxis()
        chart.set_xlim(0, 1.2 * max(values))
        chart.set_title(f"Training, {title}: characters a second", loc="left", fontsize=10)
        chart.set_xticks([])
        chart.tick_params(left=False)
        for side in ("top", "right", "bottom"):
            chart.spines[side].set_visible(False)
    return figure


def main() -> None:
    """Draw all."""
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        exec(first_lines((DOCS.parent / "README.md").read_text(encoding="utf-8")), {})
        (DOCS / "loss.png").write_bytes(Path("loss.png").read_bytes())
    results = (DOCS.parent / "benchmarks" / "results.md").read_text(encoding="utf-8")
    draw_speeds(results).savefig(DOCS / "speed.png", dpi=150, metadata={"Description": shown(results)})


if __name__ == "__main__":
    main()
