"""Draw the pictures of README.md and the pages: python docs/pictures.py. Needs matplotlib.

loss.png comes from the first example of howto/train.md, speed.png from benchmarks/results.md,
tutorial-loss.png and gradients.png from the tutorial's networks. inside*.png are screenshots of the
trace pages of howto/inside.md in Chromium, which make page-check installs.
"""

import contextlib
import json
import os
import random
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import charrnn

DOCS = Path(__file__).resolve().parent
NAMES = {  # of the programs, in the tables and in the picture
    "charrnn v4": "charrnn",
    "JAX, whole loop under jit": "JAX (loop under jit)",
    "PyTorch eager": "PyTorch",
    "the tutorial's NumPy, float32": "the tutorial's NumPy",
}
SIZES = {
    "H=100 V=65 T=25 B=1": "100 units, one stream",
    "H=512 V=65 T=64 B=32": "512 units, 32 streams",
}


def first_blocks(page: str, count: int) -> str:
    """Return the first blocks of Python in a page."""
    return "".join(re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[:count])


def speeds(results: str, size: str) -> dict[str, int]:
    """Return the characters per second of each program in NAMES, from the table of this size."""
    table = re.search(
        rf"^### Training: .*\({re.escape(size)}\)\n\n(.*?)\n\n",
        results + "\n\n",
        re.MULTILINE | re.DOTALL,
    )[1]
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()]
    column = cells[0].index("characters/s")
    found = {row[0]: int(row[column].replace(",", "")) for row in cells[2:]}
    return {name: found[program] for program, name in NAMES.items() if program in found}


def shown(results: str) -> str:
    """Return the speeds as a line of JSON, which the picture stores and a test compares."""
    return json.dumps([speeds(results, size) for size in SIZES])


def draw_speeds(results: str) -> Figure:
    """Draw a bar for each program, one chart a size."""
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    tables = [speeds(results, size) for size in SIZES]
    charts = figure.subplots(
        len(tables), 1, gridspec_kw={"height_ratios": [len(table) for table in tables]}
    )
    for chart, title, table in zip(charts, SIZES.values(), tables, strict=True):
        names, values = list(table), list(table.values())
        colors = ["#c44e27" if name == "charrnn" else "#9aa7b5" for name in names]
        bars = chart.barh(names, values, color=colors, height=0.7)
        chart.bar_label(bars, [f"{value:,}" for value in values], padding=4, fontsize=9)
        chart.invert_yaxis()
        chart.set_xlim(0, 1.2 * max(values))
        chart.set_title(f"Training, {title}: characters per second", loc="left", fontsize=10)
        chart.set_xticks([])
        chart.tick_params(left=False)
        for side in ("top", "right", "bottom"):
            chart.spines[side].set_visible(False)
    return figure


def shuffled_names() -> str:
    """Return the names as the tutorial's text."""
    names = charrnn.datasets.names()
    random.Random(0).shuffle(names)
    return "\n".join(names)


def networks() -> tuple[Any, dict[str, charrnn.RNN], charrnn.History]:
    """Return the tutorial's ids, its three networks, and the history of the trained one."""
    names = shuffled_names()
    ids = charrnn.Vocabulary.from_text(names).encode(names)
    made = {
        name: charrnn.RNN(100, int(ids.max()) + 1, 25, 0.1, seed=0)
        for name in ("new", "trained", "large recurrent weights")
    }
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "names.txt").write_text(names, encoding="utf-8")
        with charrnn.DataReader(Path(folder) / "names.txt", 25) as reader:
            history = made["trained"].train(reader, epochs=40, callback=None)
    made["large recurrent weights"].W *= 30
    return ids, made, history


def gradients(ids: Any, made: dict[str, charrnn.RNN]) -> dict[str, list[float]]:
    """Return each network's gradient lengths by steps back, as geometric means over the text."""
    found = {}
    for name, rnn in made.items():
        lengths = [
            rnn.gradient_norms(ids[i : i + 25], ids[i + 25], np.zeros((100, 1)))
            for i in range(0, 5000, 100)
        ]
        found[name] = [float(f"{length:.2e}") for length in np.exp(np.log(lengths).mean(axis=0))]
    return found


def draw_gradients(found: dict[str, list[float]]) -> Figure:
    """Draw a line for each network."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    chart = figure.add_subplot()
    places = (
        ("#75818d", 7, "left"),
        ("#c44e27", 14, "left"),
        ("#3b6ea5", 13, "right"),
    )  # of a name beside its line
    for (name, lengths), (color, place, end) in zip(found.items(), places, strict=True):
        chart.semilogy(lengths, color=color, linewidth=1.8)
        chart.annotate(
            name,
            (place, lengths[place]),
            xytext=(0, 8),
            textcoords="offset points",
            color=color,
            ha=end,
        )
    chart.set_xlabel("steps back from the prediction")
    chart.set_ylabel("length of the gradient by the state")
    chart.set_ylim(1e-12, 1e4)
    chart.grid(alpha=0.25)
    for side in ("top", "right"):
        chart.spines[side].set_visible(False)
    return figure


def modules() -> str:
    """Return a million characters of the standard library's source."""
    paths = sorted(Path(os.__file__).parent.glob("*.py"))
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)[:1_000_000]


WATCHED = {
    "source": ["in the indentation", "vowel"],
    "names": ["position in the word"],
    "gates": ["position in the line"],
}


def draw_pages() -> None:
    """Draw the trace pages of howto/inside.md: a whole page, units of two models, and a gate."""
    from playwright.sync_api import sync_playwright

    source, names = modules(), shuffled_names()
    traces = {
        "source": charrnn.train_text(
            source, seq_length=100, epochs=5, preset="tutorial", seed=4
        ).trace(source[-100_000:]),
        "names": charrnn.train_text(names, epochs=40, preset="tutorial").trace(names),
        "gates": charrnn.train_text(names, cell="lstm", epochs=40, preset="tutorial").trace(names),
    }
    with sync_playwright() as driver, tempfile.TemporaryDirectory() as folder:
        chromium = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for name, trace in traces.items():
            path = Path(folder) / f"{name}.html"
            trace.save_html(path, title="Inside a network of 100 units", back=32)
            page = chromium.new_page(
                viewport={"width": 1180, "height": 700}, device_scale_factor=1.5
            )
            page.goto(path.as_uri())
            print(name, *trace.units()[:5], sep="\n  ")
            draw_page(page, name)
        chromium.close()


def draw_page(page: Any, name: str) -> None:
    """Draw one page; for the source code the whole page and two more units."""
    if name == "source":
        page.locator("#text div").nth(60).scroll_into_view_if_needed()
        page.wait_for_timeout(300)
        for place in (30, 31):  # pointing may scroll, which hides the tooltip: point twice
            page.locator("#text div", has_text="Reset the decoder").first.locator("span").nth(
                place
            ).hover()
            page.wait_for_timeout(300)
        page.screenshot(path=DOCS / "inside.png")
        page.mouse.move(5, 5)
    if name == "gates":
        page.locator("#part").select_option("o")
    for property in WATCHED[name]:
        page.locator("#units label", has_text=property).first.click()
        box = page.locator("main").bounding_box()
        clip = {
            "x": box["x"],
            "y": box["y"],
            "width": 640 if name == "source" else 300,
            "height": 340,
        }
        page.screenshot(path=DOCS / f"inside-{property.split()[-1]}.png", clip=clip)


def main() -> None:
    """Draw all."""
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        exec(first_blocks((DOCS / "howto" / "train.md").read_text(encoding="utf-8"), 2), {})
        (DOCS / "loss.png").write_bytes(Path("loss.png").read_bytes())
    results = (DOCS.parent / "benchmarks" / "results.md").read_text(encoding="utf-8")
    draw_speeds(results).savefig(
        DOCS / "speed.png", dpi=150, metadata={"Description": shown(results)}
    )
    ids, made, history = networks()
    history.plot().savefig(DOCS / "tutorial-loss.png", dpi=100)
    found = gradients(ids, made)
    draw_gradients(found).savefig(
        DOCS / "gradients.png", dpi=150, metadata={"Description": json.dumps(found)}
    )
    draw_pages()


if __name__ == "__main__":
    main()
