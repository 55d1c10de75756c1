"""A trace as one page of HTML that needs nothing else. Only `Trace.html` and notebooks import this.

The page has its own script and style, page.js and page.css, and data. Two things in it are the
user's text: the title, which is escaped, and the symbols, which are JSON without "<". A policy in
its head allows only that script, by its hash, and forbids all requests.

Data are arrays in base64, little-endian. What a unit holds (its state, cell or gate) is a byte from
0 to 254 on a scale: -1 to 1 for states, 0 to 1 for gates, the unit's own where values may lie
beyond. A saliency is a byte from -127 to 127, a share of the largest one of its position. A
probability has 16 bits.
"""

import html
import itertools
import json
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..data.vocabulary import Vocabulary
from ..util import page
from ..util.errors import check_choice, check_integer, check_sequence, check_text
from .properties import PARTS, finite, scale, shown

if TYPE_CHECKING:
    from . import Trace, Unit

_STATE_BYTES, _SALIENCY_BYTES = 12_000_000, 4_800_000  # at most, unless the caller chooses
_BACK = 32
_NOTEBOOK_BACK, _NOTEBOOK_BYTES = 16, 160_000
_FRAME = (
    '<iframe sandbox="allow-scripts" title="Trace" srcdoc="{}" style="width:100%;height:34rem;'
    'border:1px solid #8884;border-radius:8px"></iframe>'
)


def make(
    trace: "Trace[Any]",
    *,
    title: str | None = None,
    units: int | None = None,
    back: int | None = None,
    parts: Iterable[str] | None = None,
    room: int = _STATE_BYTES,
) -> str:
    """Return the page of a trace: see `Trace.save_html`.

    room is for how many bytes of units, if `units` is not given.
    """
    title = "Inside the network" if title is None else check_text("title", title)
    names = _names(trace, parts)
    chosen = _chosen(trace, names, _most_units(trace, names, units, room))
    texts, symbols = _texts(trace)
    states, scales = _states(trace, chosen)
    back = _checked_back(trace, back)
    saliency = _saliency(trace, back) if back else {}
    meta = {
        "n": len(trace),
        "top": trace.next_ids.shape[1],
        "back": back,
        "id_bytes": texts["ids"].itemsize,
        "symbols": symbols,
        "layers": _layers(trace, names),
        "parts": [[name, *PARTS[name]] for name in names],
        "units": [
            unit._asdict() | {"least": least, "most": most}
            for unit, (least, most) in zip(chosen, scales, strict=True)
        ],
    }
    return _filled(title, _summary(trace), meta, texts | states | saliency)


def frame(trace: "Trace[Any]", whole: int) -> str:
    """Return a page in a frame, for a notebook. whole is the length of the text before the cut."""
    cut = f": the first {len(trace):,} of {whole:,} characters" if len(trace) < whole else ""
    made = make(trace, title=f"Trace{cut}", back=_NOTEBOOK_BACK, room=_NOTEBOOK_BYTES)
    return _FRAME.format(html.escape(made))


def _names(trace: "Trace[Any]", parts: Iterable[str] | None) -> list[str]:
    """Return the names of parts, all if there are none given, in the trace's order."""
    if parts is None:
        return list(trace.part_names)
    given = [
        check_choice("each of parts", name, trace.part_names)
        for name in check_sequence("parts", parts, "parts=['h']", ordered=False)
    ]
    return [name for name in trace.part_names if name in given]


def _most_units(trace: "Trace[Any]", parts: list[str], units: int | None, room: int) -> int:
    """Return how many units of each layer to write: so many, or as many as there is room for."""
    if units is not None:
        return check_integer("units", units, 0)
    values = len(trace) * sum(name in layer for layer in trace.parts for name in parts)
    return room // max(1, values)


def _checked_back(trace: "Trace[Any]", back: int | None) -> int:
    """Return how far to look back from each character."""
    fits = _SALIENCY_BYTES // max(1, len(trace))
    back = min(_BACK, fits) if back is None else check_integer("back", back, 0)
    return min(back, len(trace.surprise))


def _chosen(trace: "Trace[Any]", parts: list[str], most: int) -> "list[Unit]":
    """Return the units to write, part by part, those that follow something best first.

    Of each layer they are the units that do so best in any of the parts.
    """
    if not len(trace):
        return []
    ranked = [unit for part in parts for unit in trace.units(part=part)]
    layers: list[set[int]] = [set() for _ in trace.states]
    for unit in sorted(ranked, key=lambda unit: -abs(unit.correlation)):
        if len(layers[unit.layer]) < most:
            layers[unit.layer].add(unit.number)
    return [unit for unit in ranked if unit.number in layers[unit.layer]]


def _layers(trace: "Trace[Any]", parts: list[str]) -> list[dict[str, Any]]:
    """Return what the page knows of each layer."""
    layers = zip(trace.network.description.layers, trace.parts, strict=True)
    return [
        {"cell": layer.cell, "units": layer.units, "parts": [name for name in parts if name in own]}
        for layer, own in layers
    ]


def _summary(trace: "Trace[Any]") -> str:
    bits = f" · {trace.surprise.mean():.2f} bits per character" if len(trace.surprise) else ""
    description = trace.network.description
    alike = [(layer, len(list(same))) for layer, same in itertools.groupby(description.layers)]
    layers = ", ".join(
        f"{f'{count} layers: ' if count > 1 else ''}{layer.cell} of {layer.units} units"
        for layer, count in alike
    )
    return f"{trace.size}{bits} · {layers} · {description.vocab_size} symbols"


def _texts(
    trace: "Trace[Any]",
) -> tuple[dict[str, NDArray[np.generic]], list[tuple[str, str, str]]]:
    """Return the arrays of text, surprise and expectation, and the symbols that occur in them.

    Ids are places in this list of symbols.
    """
    ends = [len(trace.vocabulary)] * (len(trace.surprise) - len(trace))
    ids = np.append(trace._ids, ends).astype(np.int64)
    used, places = np.unique(np.concatenate([ids, trace.next_ids.ravel()]), return_inverse=True)
    kind = np.dtype("<u1" if len(used) <= 1 << 8 else "<u2" if len(used) <= 1 << 16 else "<u4")
    arrays: dict[str, NDArray[np.generic]] = {
        "ids": places[: len(ids)].astype(kind),
        "next": places[len(ids) :].astype(kind),
        "probs": np.round(trace.next_probs * 65535).astype("<u2"),
        "surprise": np.minimum(trace.surprise, 1e30).astype("<f4"),
    }
    return arrays, [_symbol(trace.vocabulary, int(symbol)) for symbol in used]


def _symbol(vocabulary: Vocabulary, symbol: int) -> tuple[str, str, str]:
    if symbol == len(vocabulary):
        return "∎", "the end of the record", "feed"
    return shown(vocabulary.chars[symbol], vocabulary.of_bytes)


def _states(
    trace: "Trace[Any]", units: "list[Unit]"
) -> tuple[dict[str, NDArray[np.generic]], list[tuple[float, float]]]:
    """Return what units hold as bytes, and the ends of each one's scale."""
    arrays: dict[str, NDArray[np.generic]] = {}
    scales, layers = [], trace.parts
    for i, unit in enumerate(units):
        values = finite(layers[unit.layer][unit.part][:, unit.number].astype(np.float64))
        scales.append(scale(unit.part, values))
        arrays[f"unit-{i}"] = quantised(values, *scales[-1])
    return arrays, scales


def quantised(values: NDArray[np.float64], least: float, most: float) -> NDArray[np.uint8]:
    """Return values in [least, most] as bytes of 0 to 254."""
    return np.floor(254 * (values - least) / (most - least) + 0.5).astype(np.uint8)


def _saliency(trace: "Trace[Any]", back: int) -> dict[str, NDArray[np.generic]]:
    """Return the saliencies of each position as shares of its largest one, and that, in bits."""
    values = trace.saliencies(0, len(trace.surprise), back) / math.log(2)
    peaks = np.abs(values).max(axis=1)
    shares = np.divide(values, peaks[:, None], out=np.zeros_like(values), where=peaks[:, None] > 0)
    return {
        "saliency": np.round(127 * shares).astype(np.int8),
        "peaks": np.minimum(peaks, 1e30).astype("<f4"),
    }


def _filled(
    title: str, summary: str, meta: dict[str, Any], arrays: dict[str, NDArray[np.generic]]
) -> str:
    """Return the page with its parts in place."""
    parts = {
        "title": html.escape(
            "".join(char if char.isprintable() else shown(char)[0] for char in title)
        ),
        "summary": html.escape(summary),
        "meta": json.dumps(meta).replace("<", "\\u003c"),
        "arrays": "\n".join(
            f'<script type="text/plain" id="{name}">{page.base64_of(array)}</script>'
            for name, array in arrays.items()
        ),
    }
    template, style, script = (
        page.read(__package__, name) for name in ("page.html", "page.css", "page.js")
    )
    return page.fill(template, style, script, parts)
