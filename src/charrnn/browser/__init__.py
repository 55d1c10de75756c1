"""A model as one file for a browser or Node: a script, or a page that contains it.

runtime.js computes; generator.html and meter.html are pages around it. This module writes what it
reads: JSON with the vocabulary, the layers, counts, a table of guess numbers, and kernels. Matrices
are float32 or float16 in base64, or whole numbers with a scale for each gate. Nearly each of these
numbers is one printable character, which a server's compression makes smaller than base64.
"""

import gzip
import html
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..data.vocabulary import AnyText
from ..inference import scoring
from ..inference.ranking import RankTable
from ..inference.sampling import PrimedState, Sampling, texts
from ..network import Network, Real
from ..storage.model_file import ModelState
from ..util import page
from ..util.atomic_write import StrPath, write_atomically
from ..util.errors import check_choice, check_text
from . import kernels

Weights: TypeAlias = Literal["float32", "float16", "int8"]
Page: TypeAlias = Literal["generator", "meter"]

ENDINGS = ".html", ".js"  # of a page, and of a script
_DIGITS = "".join(char for char in map(chr, range(32, 126)) if char not in '"\\<')
_STEPS = 14  # of a weight in int8, in the root mean square of its matrix
_TOP = 256  # strings whose log-probabilities are in the table of guess numbers
_STEP = 0.1  # of log-probability between two numbers of the others, in nats
_FARTHEST = 350.0  # nats from the first of these to the last
_PARTS = 500  # of a nat, in which the logarithms of guess numbers are given
_COMMENTS = re.compile(r"^ *(//[^\n]*|/\*\*.*?\*/)\n|^ +", re.MULTILINE | re.DOTALL)
_CHARACTERS, _LENGTH = 20_000, 100  # of the texts that show what rounding costs


class Exported(NamedTuple):
    """What `charrnn.CharRNN.save_js` wrote.

    Attributes
    ----------
    size, compressed : int
        Bytes of the file, and of the file compressed by gzip, as servers send it.
    cost : float
        Bits per character by which rounding the weights makes the model worse, estimated on text
        that the model wrote. Nearly 0 may be negative.
    """

    size: int
    compressed: int
    cost: float


def save(
    state: ModelState, path: StrPath, weights: Weights, kind: Page, title: str | None
) -> Exported:
    """Write a page if path ends in .html, or a script: see `CharRNN.save_js`."""
    check_choice("weights", weights, get_args(Weights))
    check_choice("page", kind, get_args(Page))
    ending = os.path.splitext(os.fsdecode(path))[1]
    if ending not in ENDINGS:
        raise ValueError(f"path must end in {' or '.join(ENDINGS)}, not {path!r}")
    if kind == "meter" and not state.vocabulary.records:
        raise ValueError("page must be 'generator': a model of text has no guess numbers")
    network = exported_network(state, weights)
    data = json.dumps(_data(state, network, weights)).replace("<", "\\u003c")
    content = (_page(data, kind, title) if ending == ".html" else _script(data)).encode()
    write_atomically(path, [content])
    return Exported(len(content), len(gzip.compress(content, mtime=0)), _cost(state, network))


def exported_network(state: ModelState, weights: Weights) -> Network:
    """Return the network that the browser has: of float32, with rounded weights."""
    source = state.learner.network
    network = Network((source.description.layers, source.description.vocab_size), "float32")
    for name, view in network.weights.views().items():
        with np.errstate(over="ignore", invalid="ignore"):
            view[...] = source.weights.views()[name]
            if weights == "float16":
                view[...] = view.astype(np.float16)
            if weights == "int8":
                numbers, scale = _quantized(view)
                view[...] = numbers * scale
        if not np.isfinite(view).all():
            what = "the weights have values that are not finite, or too large"
            raise ValueError(f"{what} for {weights}: no file is written")
    if state.mixture is not None:
        network.mix(state.mixture.table())
    return network


def _quantized(matrix: Real) -> tuple[NDArray[np.float32], np.float32]:
    """Return a matrix or bias as whole numbers, and their scale."""
    mean = math.sqrt(np.square(matrix, dtype=np.float64).mean())
    scale = np.float32(mean / _STEPS) or np.float32(1)
    return np.rint(matrix / scale), scale


# ------------------------------------------------------------------------------------ what it says


def _data(state: ModelState, network: Network, weights: Weights) -> dict[str, Any]:
    """Return all that the runtime reads; network is the one that it will have."""
    vocabulary, views = state.vocabulary, exported_network(state, "float32").weights.views()
    shortest = int(vocabulary.records and not state.empty_records)
    data: dict[str, Any] = {
        "chars": vocabulary.chars,
        "records": vocabulary.records,
        "bytes": vocabulary.of_bytes,
        "shortest": shortest,
        "layers": [
            {"cell": cell, "units": units, **_layer(views, str(i) if i > 1 else "", weights)}
            for i, (cell, units) in enumerate(network.description.layers, 1)
        ],
        "kernels": [kernels.module(fused).hex() for fused in (True, False)],
        "output": _encoded([views["Why"]], weights),
        "outputBias": _encoded([views["by"]], weights),
    }
    if vocabulary.rare:
        data |= {"rare": vocabulary.rare, "rareNats": math.log(1 + len(vocabulary.rare))}
    if state.mixture is not None:
        arrays = state.mixture.counts.arrays()
        discounts = arrays.pop("discounts").tolist()
        data["counts"] = {name: digits(array) for name, array in arrays.items()}
        data["counts"] |= {"discounts": discounts, "weights": state.mixture[1:]}
    if vocabulary.records:
        start = PrimedState.from_text(network, vocabulary, "")
        sampling = Sampling.from_options(vocabulary, min_length=shortest)
        data["ranks"] = rank_table(RankTable.build(start, sampling, seed=0))
    return data


def _layer(views: Mapping[str, Real], suffix: str, weights: Weights) -> dict[str, Any]:
    """Return the arrays of a layer, each with the columns of all gates, in the kernels' order."""

    def joined(kind: str) -> dict[str, Any]:
        names = re.compile(rf"{kind}h?[a-z]{suffix}")
        return _encoded([view for name, view in views.items() if names.fullmatch(name)], weights)

    return {"inputs": joined("Wx"), "recurrent": joined("Wh(?!y)"), "bias": joined("b(?!y)")}


def _encoded(gates: Sequence[Real], weights: Weights) -> dict[str, Any]:
    """Return the matrices or biases of some gates in the format of weights."""
    if weights != "int8":
        joined = np.concatenate(gates, axis=-1).astype(np.dtype(weights))
        return {"kind": weights, "values": page.base64_of(joined)}
    numbers, scales = zip(*map(_quantized, gates), strict=True)
    q = np.concatenate(numbers, axis=-1).astype(np.int64)
    return {
        "kind": weights,
        "columns": gates[0].shape[-1],
        "values": digits(np.where(q < 0, -2 * q - 1, 2 * q)),
        "scales": [float(scale) for scale in scales],
    }


def digits(numbers: ArrayLike) -> str:
    """Return whole numbers as text: a digit each, or ~ and four digits."""
    base = len(_DIGITS)

    def written(number: int) -> str:
        if number < base:
            return _DIGITS[number]
        return "~" + "".join(_DIGITS[number // base**place % base] for place in (3, 2, 1, 0))

    return "".join(map(written, np.asarray(numbers).ravel().tolist()))


def rank_table(table: RankTable) -> dict[str, Any]:
    """Return guess numbers by log-probability, in far less room than the table's own.

    top: log-probabilities of the most probable strings. Then at equal distances the logarithms of
    the numbers, as differences, and the half width of the interval as a part of the number.
    """
    top = table.exact[1 : 1 + _TOP]
    start, end = (ends[-1] if len(ends) else 0.0 for ends in (top, table.beyond))
    end = max(min(end, table.exact[-1], start), start - _FARTHEST)
    log_p = start - _STEP * np.arange(2 + math.ceil((start - end) / _STEP))
    before, more, spreads = table.estimates(log_p)
    guesses = before + more
    logs = np.rint(_PARTS * np.log(guesses)).astype(np.int64)
    return {
        "top": page.base64_of(top.astype("<f4")),
        "start": float(start),
        "step": _STEP,
        "logs": digits(np.diff(logs, prepend=0)),
        "spreads": digits(np.rint(_PARTS * spreads / guesses).astype(np.int64)),
        "enumerated": len(table.exact) - 1,
        "exact": float(min(table.exact[-1], 0.0 if len(top) else 1e300)),
        "samples": table.samples,
    }


# --------------------------------------------------------------------------------- the file itself


def _script(data: str) -> str:
    return (
        f"// A model and its runtime, by charrnn.\n(() => {{\n{_source('runtime.js')}"
        f"const model = new CharRNN({data});\n"
        'if (typeof module === "object") module.exports = model;\n'
        "else globalThis.charrnn = model;\n})();\n"
    )


def _page(data: str, kind: Page, title: str | None) -> str:
    title = {"generator": "Generator", "meter": "Guess meter"}[kind] if title is None else title
    script = "".join(_source(f"{name}.js") for name in ("runtime", "page", kind))
    style = page.read(__package__, "page.css")
    parts = {"title": html.escape(check_text("title", title)), "data": data}
    return page.fill(page.read(__package__, f"{kind}.html"), style, script, parts, compiles=True)


def _source(name: str) -> str:
    """Return a file without indentation and without lines that are comments."""
    return _COMMENTS.sub("", page.read(__package__, name))


def _cost(state: ModelState, network: Network) -> float:
    """Return the bits per symbol that rounding costs, on texts that the model writes."""
    vocabulary = state.vocabulary
    start = PrimedState.from_text(state.learner.network, vocabulary, "")
    sampling = Sampling.from_options(vocabulary)
    written: list[AnyText] = []
    for text, _ in texts(start, sampling, _LENGTH, 0, _CHARACTERS // 10, at_once=64):
        written.append(text)
        if sum(map(len, written)) > _CHARACTERS:
            break
    encoded = scoring.Encoded.from_texts(vocabulary, written, "texts[{}]", "error")
    of_both = [
        scoring.total_nll(PrimedState.from_text(one, vocabulary, ""), encoded, "error")
        for one in (state.learner.network, network)
    ]
    (before, symbols), (after, _) = of_both
    return float((np.sum(after) - np.sum(before)) / sum(symbols) / math.log(2))
