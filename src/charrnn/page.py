"""A trace as one page of HTML that needs nothing else. Imported when `Trace.save_html` is called, or a notebook shows a trace.

The page has a script and a style of its own, page.js and page.css, and data: nothing in it is text of the user's but the title, escaped,
and the symbols, in JSON without a "<". A policy in its head lets only that script run, told by its hash, and forbids every request.

Data are arrays in base64, little-endian. A state is a byte q of 0 to 254 for (q - 127) / 127 of the unit's scale, which is 1 where states
lie in [-1, 1]; a saliency is a byte of -127 to 127 for a share of the largest of its position; a probability is 16 bits.
"""

import base64
import hashlib
import html
import json
import re
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import check_integer, check_text
from .nameable import shown
from .vocabulary import Vocabulary

if TYPE_CHECKING:
    from .trace import Trace, Unit

_STATE_BYTES, _SALIENCY_BYTES = 12_000_000, 4_800_000  # at most, where the caller has not chosen
_BACK = 32
_IN_NOTEBOOK = {"back": 16, "units": 40}
_FRAME = '<iframe sandbox="allow-scripts" style="width:100%;height:34rem;border:1px solid #8884;border-radius:8px" srcdoc="{}"></iframe>'


def make(trace: "Trace[Any]", *, title: str | None = None, units: int | None = None, back: int | None = None) -> str:
    """Return the page of a trace; arguments as in `Trace.save_html`."""
    title = "Inside the network" if title is None else check_text("title", title)
    n = len(trace)
    ranked = trace.units()
    units = _STATE_BYTES // max(1, n) if units is None else check_integer("units", units, 0)
    chosen = ranked[: units if n else 0]
    back = min(_BACK, _SALIENCY_BYTES // max(1, n)) if back is None else check_integer("back", back, 0)
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
        "layers": len(trace.states),
        "all_units": len(ranked),
        "units": [
            {"layer": unit.layer, "number": unit.number, "follows": unit.follows, "r": unit.correlation, "scale": scale}
            for unit, scale in zip(chosen, scales, strict=True)
        ],
    }
    return _filled(title, _summary(trace), meta, arrays)


def frame(trace: "Trace[Any]", whole: int) -> str:
    """Return a page in a frame, for a notebook; whole is how many characters there were before they were cut."""
    title = "Trace" if len(trace) == whole else f"Trace: the first {len(trace):,} of {whole:,} characters"
    units, back = (0, 0) if not len(trace) else (_IN_NOTEBOOK["units"], _IN_NOTEBOOK["back"])
    return _FRAME.format(html.escape(make(trace, title=title, units=units, back=back)))


def _summary(trace: "Trace[Any]") -> str:
    bits = f" · {trace.surprise.mean():.2f} bits per character" if len(trace.surprise) else ""
    return f"{len(trace):,} characters{bits} · {trace.network.description}"


def _texts(trace: "Trace[Any]") -> tuple[dict[str, NDArray[np.generic]], list[tuple[str, str, str]]]:
    """Return the arrays of text, surprise and expectation, ids being those of a list of symbols: it has only what occurs."""
    vocabulary = trace.vocabulary
    ids = np.append(vocabulary.encode(trace.text), [len(vocabulary)] * (len(trace.surprise) - len(trace))).astype(np.int64)
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


def _states(trace: "Trace[Any]", units: "list[Unit]") -> tuple[dict[str, NDArray[np.generic]], list[float]]:
    """Return the states of units as bytes, and the scale of each."""
    arrays: dict[str, NDArray[np.generic]] = {}
    scales = []
    for i, unit in enumerate(units):
        values = trace.states[unit.layer][:, unit.number].astype(np.float64)
        scales.append(max(1.0, float(np.abs(values).max())))
        arrays[f"unit-{i}"] = quantised(values, scales[-1])
    return arrays, scales


def quantised(values: NDArray[np.float64], scale: float) -> NDArray[np.uint8]:
    """Return values in [-scale, scale] as bytes of 0 to 254."""
    return (np.floor(127 * (values / scale) + 0.5) + 127).astype(np.uint8)


def _saliency(trace: "Trace[Any]", back: int) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    """Return the saliency of all positions as shares of the largest of each, and that, in nats."""
    values = trace.saliencies(0, len(trace.surprise), back)
    peaks = np.abs(values).max(axis=1)
    shares = np.divide(values, peaks[:, None], out=np.zeros_like(values), where=peaks[:, None] > 0)
    return np.round(127 * shares).astype(np.int8), np.minimum(peaks, 1e30).astype("<f4")


def _filled(title: str, summary: str, meta: dict[str, Any], arrays: dict[str, NDArray[np.generic]]) -> str:
    """Return the page with its parts in place: all at once, so that nothing in one is taken for the place of another."""
    from . import __version__

    template, style, script = ((resources.files(__package__) / name).read_text("utf-8") for name in ("page.html", "page.css", "page.js"))
    parts = {
        "title": html.escape("".join(char if char.isprintable() else shown(char)[0] for char in title)),
        "summary": html.escape(summary),
        "version": __version__,
        "style": style,
        "style_hash": _hash(style),
        "script": script,
        "script_hash": _hash(script),
        "meta": json.dumps(meta).replace("<", "\\u003c"),
        "arrays": "\n".join(f'<script type="text/plain" id="{name}">{_encoded(array)}</script>' for name, array in arrays.items()),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], template)


def _hash(source: str) -> str:
    """Return what a content security policy calls the one script, or style, that may run."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


def _encoded(array: NDArray[np.generic]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
