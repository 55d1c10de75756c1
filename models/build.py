"""Train the models of charrnn-models: make models, or python models/build.py [NAME ...].

Their texts are names that charrnn has, and the sources and documentation of the Python that runs
this, so that anyone can build them without a download. The same Python gives the same bits. It
takes a minute or two. Each model gets a card, and SHA256SUMS has the hashes.
"""

import ast
import hashlib
import io
import keyword
import math
import platform
import re
import string
import sys
import sysconfig
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import charrnn

FOLDER = Path(__file__).parent / "charrnn_models"
LARGEST = 350_000  # bytes of a model file
# Folders of the standard library whose modules are written by hand.
PACKAGES = ("", "asyncio", "collections", "concurrent/futures", "ctypes", "email", "html", "http")
PACKAGES += ("importlib", "json", "logging", "multiprocessing", "sqlite3", "tomllib", "unittest")
PACKAGES += ("urllib", "wsgiref", "xml/dom", "xml/etree", "xmlrpc", "zoneinfo")
PYTHON = f"Python {platform.python_version()}"
PSF = "PSF-2.0"


def sources() -> Iterator[str]:
    """Yield the ASCII modules of Python's standard library, in the order of their paths."""
    library = Path(sysconfig.get_path("stdlib"))
    for package in PACKAGES:
        for path in sorted((library / package).glob("[!_]*.py")):
            text = path.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n")
            if text.isascii():
                yield text


def names() -> list[str]:
    """Return the first names of charrnn.datasets."""
    return charrnn.datasets.names()


def documentation() -> Iterator[str]:
    """Yield the topics of help(), and the docstrings of the standard library."""
    from pydoc_data.topics import topics

    yield from topics.values()
    for source in sources():
        for node in ast.walk(ast.parse(source)):
            kinds = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef
            if isinstance(node, kinds) and (text := ast.get_docstring(node)):
                yield text


def english() -> str:
    """Return the paragraphs of the documentation that are prose, each on one line."""
    paragraphs = []
    for text in documentation():
        for paragraph in re.split(r"\n\s*\n", text):
            line = " ".join(paragraph.split())
            if len(line) > 60 and line.isascii() and line[0].isupper() and line[-1] in ".:":
                plain = sum(char.isalpha() or char in " ,." for char in line)
                if plain > 0.93 * len(line) and ">>>" not in line:
                    paragraphs.append(line)
    return "\n\n".join([*dict.fromkeys(paragraphs), string.printable[:95]])


def python() -> str:
    """Return every fifth module of the standard library."""
    return "\n".join([*sources()][::5])


def words() -> list[str]:
    """Return the words of the documentation that are there three times, in lower case."""
    found: Counter[str] = Counter()
    for text in documentation():
        found.update(re.findall(r"(?<![\w.`'])[a-z]{3,}(?![\w(`'=])", text))
    return sorted(word for word, count in found.items() if count > 2)


def identifiers() -> list[str]:
    """Return the names in the sources of the standard library."""
    found = set()
    for source in sources():
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.NAME and len(token.string) > 2:
                found.add(token.string)
    return sorted(found - {*keyword.kwlist})


class Recipe(NamedTuple):
    """A model: where its text is from, and what `charrnn` trains it with."""

    text: Any  # the function that returns it
    data: str
    license: str
    limits: str
    options: dict[str, Any]


RECIPES = {
    "names": Recipe(
        names,
        "1,356 first names from Europe and the Americas, collected by the developers of charrnn",
        "BSD-3-Clause",
        "Lower case, a to z. Other parts of the world are missing.",
        {"hidden_size": 112, "ngram": 5},
    ),
    "words": Recipe(
        words,
        f"the English words that occur three times in the documentation of {PYTHON}",
        PSF,
        "Lower case, a to z; technical words are too frequent, and each word counts once.",
        {"hidden_size": 96, "ngram": 5},
    ),
    "identifiers": Recipe(
        identifiers,
        f"the names in the source of the standard library of {PYTHON}",
        PSF,
        "ASCII; each name counts once, and there are no keywords.",
        {"hidden_size": 88, "ngram": 4, "min_count": 2},
    ),
    "english": Recipe(
        english,
        f"the paragraphs of prose in help() and in the docstrings of {PYTHON}",
        PSF,
        "Printable ASCII and newlines; it writes about programming, without meaning.",
        {"hidden_size": 80, "ngram": 4, "min_count": 3},
    ),
    "python": Recipe(
        python,
        f"every fifth module of the standard library of {PYTHON}",
        PSF,
        "ASCII; lines look like Python and rarely run.",
        {"hidden_size": 72, "ngram": 4, "min_count": 5},
    ),
}
CARD = """\
---
license: {license}
library_name: charrnn
pipeline_tag: text-generation
---
# {name}

A character-level model for [charrnn](https://pypi.org/project/charrnn-cython/), to start from:
`charrnn.pretrained("{name}")`.

- **Data**: {data}; {characters:,} characters.
- **License of the data**: {license}.
- **Loss** on held-out data: {nats:.2f} nats ({bits:.2f} bits) per character.
- **Network**: {network}; {size:,} bytes.
- **Limits**: {limits} Like every model, it can repeat what it has read.
- **SHA-256**: {sha256}
- **Built by** `python models/build.py {name}`.

It writes, at temperature 0.7:

{sample}
"""


def build(name: str, folder: Path = FOLDER, **options: Any) -> str:
    """Train a model, write it and its card into a folder, and return its SHA-256."""
    recipe = RECIPES[name]
    text = recipe.text()
    train: Any = charrnn.train_text if isinstance(text, str) else charrnn.train_records
    model = train(text, **{**recipe.options, **options})
    reports = model.history.reports  # without the clock, the file is the same every time
    reports[:] = [replace(report, seconds=0.0) for report in reports]
    path = folder / f"{name}.safetensors"
    model.save(path)
    content = path.read_bytes()
    if len(content) > LARGEST:
        raise SystemExit(f"{path} has {len(content):,} bytes, above {LARGEST:,}")
    sha256 = hashlib.sha256(content).hexdigest()
    card = CARD.format(
        name=name,
        data=recipe.data,
        license=recipe.license,
        limits=recipe.limits,
        characters=len(text) if isinstance(text, str) else sum(map(len, text)),
        nats=model.history.estimate,
        bits=model.history.estimate / math.log(2),
        network=model.network.description,
        size=len(content),
        sha256=sha256,
        sample=sample(model),
    )
    path.with_suffix(".md").write_text(card, encoding="utf-8")
    return sha256


def sample(model: Any) -> str:
    """Return what a model writes, as an indented block."""
    if model.vocabulary.records:
        lines = model.generate_many(8, 40, seed=1, temperature=0.7)
    else:
        lines = model.generate(300, seed=1, temperature=0.7, prime="\n").splitlines()
    return "\n".join(f"    {line}".rstrip() for line in lines)


def main(chosen: list[str]) -> None:
    """Build the chosen models, or all, and write their hashes."""
    for name in chosen or RECIPES:
        print(f"{build(name)}  {name}.safetensors", flush=True)
    hashes = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(FOLDER.glob("*.safetensors"))
    ]
    (FOLDER / "SHA256SUMS").write_text("".join(hashes), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
