"""A trace as one page of HTML that needs nothing else. Imported when `Trace.save_html` is called, or a notebook shows a trace.

The page has a script and a style of its own, page.js and page.css, and data: nothing in it is text of the user's but the title, escaped,
and the symbols, in JSON without a "<". A policy in its head lets only that script run, told by its hash, and forbids every request.

Data are arrays in base64, little-endian. What a unit holds, its state, cell or gate, is a byte of 0 to 254 from the least to the largest
value of a scale: -1 to 1 for states, 0 to 1 for gates, a unit's own where values may lie beyond. A saliency is a byte of -127 to 127 for
a share of the largest of its position; a probability is 16 bits.
"""

import base64
import hashlib
import html
import itertools
import json
import re
from collections.abc import Iterable
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..data.vocabulary import Vocabulary
from ..util.errors import check_choice, check_integer, check_sequence, check_text
from .properties import PARTS, finite, scale, shown

if TYPE_CHECKING:
    from . import Trace, Unit

_STATE_BYTES, _SALIENCY_BYTES = 12_000_000, 4_800_000  # at most, where the caller has not chosen
_BACK = 32
_NOTEBOOK_BACK, _NOTEBOOK_BYTES = 16, 160_000
_FRAME = '<iframe sandbox="allow-scripts" style="width:100%;height:34rem;border:1px solid #8884;border-radius:8px" srcdoc="{}"></iframe>'


def make(
    trace: "Trace[Any]",
    *,
    title: str | None = None,
    units: int | None = None,
    back: int | None = None,
    parts: Iterable[str] | None = None,
    room: int = _STATE_BYTES,
) -> str:
    """Return the page of a trace; arguments as in `Trace.save_html`, and the bytes that units have room for where `units` is not given."""
    title = "Inside the network" if title is None else check_text("title", title)
    n = len(trace)
    names = _names(trace, parts)
    most = room // max(1, n * sum(name in layer for layer in trace.parts for name in names))
    chosen = (
        _chosen(trace, names, most if units is None else check_integer("units", units, 0))
        if n
        else []
    )
    back = (
        min(_BACK, _SALIENCY_BYTES // max(1, n)) if back is None else check_integer("back", back, 0)
    )
    back = min(back, len(trace.surprise))
    arrays, symbols = _texts(trace)
    kept, scales = _states(trace, chosen)
    arrays |= kept
    if back:
        arrays["saliency"], arrays["peaks"] = _saliency(trace, back)
    meta = {
        "n": n,
        "top": trace.next_ids.shape[1],
        "back": back,
        "id_bytes": arrays["ids"].itemsize,
        "symbols": symbols,
        "layers": [
            {
                "cell": layer.cell,
                "units": layer.units,
                "parts": [name for name in names if name in own],
            }
            for layer, own in zip(trace.network.description.layers, trace.parts, strict=True)
        ],
        "parts": [[name, *PARTS[name]] for name in names],
        "units": [
            unit._asdict() | {"least": least, "most": most}
            for unit, (least, most) in zip(chosen, scales, strict=True)
        ],
    }
    return _filled(title, _summary(trace), meta, arrays)


def frame(trace: "Trace[Any]", whole: int) -> str:
    """Return a page in a frame, for a notebook; whole is how many characters there were before they were cut."""
    title = (
        "Trace"
        if len(trace) == whole
        else f"Trace: the first {len(trace):,} of {whole:,} characters"
    )
    return _FRAME.format(
        html.escape(make(trace, title=title, back=_NOTEBOOK_BACK, room=_NOTEBOOK_BYTES))
    )


def _names(trace: "Trace[Any]", parts: Iterable[str] | None) -> list[str]:
    """Return the names of parts, all if there are none given, in the trace's order."""
    if parts is None:
        return list(trace.part_names)
    given = [
        check_choice("each of parts", name, trace.part_names)
        for name in check_sequence("parts", parts, "parts=['h']", ordered=False)
    ]
    return [name for name in trace.part_names if name in given]


def _chosen(trace: "Trace[Any]", parts: list[str], most: int) -> "list[Unit]":
    """Return units part by part, those first that follow something best: of each layer those most that do so in any of the parts."""
    ranked = [unit for part in parts for unit in trace.units(part=part)]
    layers: list[set[int]] = [set() for _ in trace.states]
    for unit in sorted(ranked, key=lambda unit: -abs(unit.correlation)):
        if len(layers[unit.layer]) < most:
            layers[unit.layer].add(unit.number)
    return [unit for unit in ranked if unit.number in layers[unit.layer]]


def _summary(trace: "Trace[Any]") -> str:
    bits = f" · {trace.surprise.mean():.2f} bits per character" if len(trace.surprise) else ""
    description = trace.network.description
    alike = [(layer, len(list(same))) for layer, same in itertools.groupby(description.layers)]
    layers = [
        f"{f'{count} layers: ' if count > 1 else ''}{layer.cell} of {layer.units} units"
        for layer, count in alike
    ]
    return (
        f"{len(trace):,} characters{bits} · {', '.join(layers)} · {description.vocab_size} symbols"
    )


def _texts(
    trace: "Trace[Any]",
) -> tuple[dict[str, NDArray[np.generic]], list[tuple[str, str, str]]]:
    """Return the arrays of text, surprise and expectation, ids being those of a list of symbols: it has only what occurs."""
    vocabulary = trace.vocabulary
    ids = np.append(
        vocabulary.encode(trace.text), [len(vocabulary)] * (len(trace.surprise) - len(trace))
    ).astype(np.int64)
    used, places = np.unique(np.concatenate([ids, trace.next_ids.ravel()]), return_inverse=True)
    kind = np.dtype("<u1" if len(used) <= 1 << 8 else "<u2" if len(used) <= 1 << 16 else "<u4")
    arrays: dict[str, NDArray[np.generic]] = {
        "ids": places[: len(ids)].astype(kind),
        "next": places[len(ids) :].astype(kind),
        "probs": np.round(trace.next_probs * 65535).astype("<u2"),
        "surprise": np.minimum(trace.surprise, 1e30).astype("<f4"),
    }
    return arrays, [_symbol(vocabulary, int(symbol)) for symbol in used]


def _symbol(vocabulary: Vocabulary, symbol: int) -> tuple[str, str, str]:
    if symbol == len(vocabulary):
        return "∎", "the end of the record", "special"
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


def _saliency(trace: "Trace[Any]", back: int) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    """Return the saliency of all positions as shares of the largest of each, and that, in nats."""
    values = trace.saliencies(0, len(trace.surprise), back)
    peaks = np.abs(values).max(axis=1)
    shares = np.divide(values, peaks[:, None], out=np.zeros_like(values), where=peaks[:, None] > 0)
    return np.round(127 * shares).astype(np.int8), np.minimum(peaks, 1e30).astype("<f4")


def _filled(
    title: str, summary: str, meta: dict[str, Any], arrays: dict[str, NDArray[np.generic]]
) -> str:
    """Return the page with its parts in place: all at once, so that nothing in one is taken for the place of another."""
    from .. import __version__

    template, style, script = (
        (resources.files(__package__) / name).read_text("utf-8")
        for name in ("page.html", "page.css", "page.js")
    )
    parts = {
        "title": html.escape(
            "".join(char if char.isprintable() else shown(char)[0] for char in title)
        ),
        "summary": html.escape(summary),
        "version": __version__,
        "style": style,
        "style_hash": _hash(style),
        "script": script,
        "script_hash": _hash(script),
        "meta": json.dumps(meta).replace("<", "\\u003c"),
        "arrays": "\n".join(
            f'<script type="text/plain" id="{name}">{_encoded(array)}</script>'
            for name, array in arrays.items()
        ),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], template)


def _hash(source: str) -> str:
    """Return what a content security policy calls the one script, or style, that may run."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


def _encoded(array: NDArray[np.generic]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
