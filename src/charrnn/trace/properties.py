"""Properties of a character that have a name: a capital, inside quotes, the end of a word.

And the names of the parts of a unit.
"""

import sys
import unicodedata
from collections.abc import Callable, Mapping
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Numbers: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]
_Real = TypeVar("_Real", bound=np.floating)

_LETTERS = 24  # characters that have a property of their own: the most frequent ones
_PAIRS = {
    "parentheses": ("(", ")"),
    "brackets": ("[", "]"),
    "braces": ("{", "}"),
    "tags": ("<", ">"),
    "quotes": ("“", "”"),
}
_TOGGLES = {"quotes": '"', "backticks": "`"}


def properties(text: str) -> dict[str, Numbers]:
    """Return for each property its value at every character of a text, float64 (n,).

    A value is 0 or 1, or a count. What is inside begins with the opening mark, after which a reader
    knows, and ends before the closing one. Properties that are the same at all characters are left
    out: nothing follows them.

    Examples
    --------
    >>> found = properties('He said "no".')
    >>> found["inside quotes"].astype(int).tolist()
    [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0]
    >>> found["position in the word"].astype(int).tolist()
    [1, 2, 0, 1, 2, 3, 4, 0, 0, 1, 2, 0, 0]
    """
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    found = _kinds(codes) | _words(codes) | _lines(codes) | _enclosures(codes) | _letters(codes)
    return {
        name: values.astype(np.float64)
        for name, values in found.items()
        if len(values) and (values != values[0]).any()
    }


def shown(char: str, of_bytes: bool = False) -> tuple[str, str, str]:
    r"""Return the look of a character, its name, and its kind: "", "feed" or "special".

    A sign stands for what has no look of its own, or would change the look of others: controls,
    directions, combining marks.

    Examples
    --------
    >>> shown("a"), shown("\x00")
    (('a', 'a', ''), ('[00]', 'U+0000', 'special'))
    >>> shown("\u202e")
    ('[202E]', 'right-to-left override (U+202E)', 'special')
    """
    code = ord(char)
    called = unicodedata.name(char, "").lower()
    if of_bytes and code >= 127:
        return f"[{code:02X}]", f"byte {code:02X}", "special"
    if char in _NAMED:
        return _NAMED[char]
    called = f"{called} (U+{code:04X})" if called else f"U+{code:04X}"
    category = unicodedata.category(char)
    if category[0] == "M":
        return f"◌{char}", called, "special"
    if category[0] == "C" or category[0] == "Z":
        return f"[{code:02X}]" if code < 160 else f"[{code:04X}]", called, "special"
    return char, char if char.isalnum() else f"{char}, {called}", ""


_NAMED = {
    " ": (" ", "space", ""),
    "\n": ("↵", "line feed", "feed"),
    "\t": ("⇥   ", "tab", "special"),
}


PARTS = {
    "h": ("state h", "What a unit passes on."),
    "c": ("cell state c", "What a unit remembers."),
    "i": ("input gate i", "How much of the candidate the cell takes in."),
    "f": ("forget gate f", "How much of the cell before stays: 0 forgets."),
    "g": ("candidate g", "What the cell could take in."),
    "o": ("output gate o", "How much of the cell is passed on."),
    "n": ("candidate n", "What the state could become."),
    "r": ("reset gate r", "How much the state before counts in the candidate."),
    "u": ("update gate u", "How much of the state before stays: 0 takes the candidate."),
    "q": ("recurrent sum q", "What the state before could add to the candidate."),
}
_GATES = ("i", "f", "o", "r", "u")


def finite(values: NDArray[_Real]) -> NDArray[_Real]:
    """Return values clipped so that their squares can be summed.

    Only the GRU's q has no bounds: it may be infinite where weights are huge.
    """
    bounded: NDArray[_Real] = np.clip(values, -1e30, 1e30)
    return bounded


def scale(part: str, values: NDArray[np.floating]) -> tuple[float, float]:
    """Return the least and the largest value of a scale for a part of units.

    They are 0 and 1 for gates, otherwise -1 and 1, or as far as values go.

    Examples
    --------
    >>> scale("f", np.array([0.2, 0.3])), scale("h", np.array([0.2, 0.3]))
    ((0.0, 1.0), (-1.0, 1.0))
    >>> scale("c", np.array([-2.5, 0.3]))
    (-2.5, 2.5)
    """
    if part in _GATES:
        return 0.0, 1.0
    largest = max(1.0, float(np.abs(values).max(initial=0.0)))
    return -largest, largest


def _each(codes: NDArray[np.uint32], test: Callable[[str], bool]) -> Flags:
    """Return the characters that pass a test, which is asked once for each distinct one."""
    passed = np.zeros(sys.maxunicode + 1, np.bool_)  # by code point
    for code in np.flatnonzero(np.bincount(codes)).tolist():
        passed[code] = test(chr(code))
    return passed[codes]


def _is(codes: NDArray[np.uint32], chars: str) -> Flags:
    return np.isin(codes, [ord(char) for char in chars])


def _kinds(codes: NDArray[np.uint32]) -> dict[str, NDArray[np.generic]]:
    return {
        "capital": _each(codes, str.isupper),
        "letter": _each(codes, str.isalpha),
        "vowel": _each(codes, lambda char: unicodedata.normalize("NFD", char)[0] in "aeiouyAEIOUY"),
        "digit": _each(codes, str.isdigit),
        "space": _is(codes, " "),
        "line feed": _is(codes, "\n"),
        "punctuation": _each(codes, lambda char: unicodedata.category(char)[0] == "P"),
        "end of a sentence": _is(codes, ".!?…") & _following(_each(codes, str.isspace)),
    }


def _words(codes: NDArray[np.uint32]) -> dict[str, NDArray[np.generic]]:
    inside = _each(codes, lambda char: char.isalnum() or char in "_'’")
    starts = inside & ~_before(inside)
    number = np.cumsum(starts) * inside  # of the word; 0 between words
    letters, capitals = _each(codes, str.isalpha), _each(codes, str.isupper)
    n_letters, n_capitals = np.bincount(number, letters), np.bincount(number, capitals)
    shouted = (n_capitals == n_letters) & (n_letters > 1)
    shouted[:1] = False
    return {
        "beginning of a word": starts,
        "end of a word": inside & _following(~inside),
        "position in the word": _since(starts) * inside,
        "word in capitals": shouted[number],
    }


def _lines(codes: NDArray[np.uint32]) -> dict[str, NDArray[np.generic]]:
    feeds = codes == ord("\n")
    starts = _before(feeds)
    starts[:1] = True
    position = _since(starts)
    indent = _is(codes, " \t")
    # The first character of each line that is neither space nor tab ends its indentation.
    ended = np.cumsum(~indent)
    return {
        "position in the line": position,
        "beginning of a line": position <= 3,
        "end of the line": _following(feeds) & ~feeds,
        "in the indentation": indent & (ended == _carried(starts, ended - ~indent)),
        "empty line": feeds & starts,
    }


def _enclosures(codes: NDArray[np.uint32]) -> dict[str, NDArray[np.generic]]:
    # An empty line closes all. So a forgotten mark turns at most a paragraph inside out.
    feeds = codes == ord("\n")
    fresh = feeds & _before(feeds)
    fresh[:1] = True
    found: dict[str, NDArray[np.generic]] = {}
    for name, (opening, closing) in _PAIRS.items():
        opened, closed = codes == ord(opening), codes == ord(closing)
        depth = np.cumsum(opened.astype(np.int64) - closed)
        found[f"inside {name}"] = depth - _carried(fresh, depth) > 0
    for name, mark in _TOGGLES.items():
        marks = codes == ord(mark)
        count = np.cumsum(marks)
        inside = (count - _carried(fresh, count - marks)) % 2 == 1
        found[f"inside {name}"] = inside | np.asarray(found.get(f"inside {name}", False), np.bool_)
    return found


def _letters(codes: NDArray[np.uint32]) -> dict[str, NDArray[np.generic]]:
    distinct, counts = np.unique(codes, return_counts=True)
    frequent = distinct[np.argsort(-counts, kind="stable")]
    seen = [char for char in map(chr, frequent) if not char.isspace() and char.isprintable()]
    return {f"the character {shown(char)[0]}": codes == ord(char) for char in seen[:_LETTERS]}


def _before(flags: Flags) -> Flags:
    """Return at each character what is at the one before, False at the first."""
    return np.concatenate([np.zeros(min(1, len(flags)), np.bool_), flags[:-1]])


def _following(flags: Flags) -> Flags:
    """Return at each character what is at the next one, True at the last."""
    return np.concatenate([flags[1:], np.ones(min(1, len(flags)), np.bool_)])


def _carried(starts: Flags, values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return at each character the value at the latest start so far; 0 before the first."""
    places = np.maximum.accumulate(np.where(starts, np.arange(len(starts)), -1))
    return np.where(places >= 0, values[places], 0)


def _since(starts: Flags) -> NDArray[np.int64]:
    """Return the number of characters from the latest start to each one, both included."""
    counted = np.arange(1, len(starts) + 1)
    return counted - _carried(starts, counted - 1)


def correlations(states: NDArray[np.floating], values: Mapping[str, Numbers]) -> Numbers:
    """Return Pearson's correlation of each unit with each property, float64 (units, properties).

    states is (n, units). It is 0 where a unit or a property does not change.
    """
    names, n = list(values), len(states)
    sums, squares = np.zeros((states.shape[1], len(names))), np.zeros(states.shape[1])
    means, spread = np.zeros(states.shape[1]), np.zeros(len(names))
    if n:
        means = states.mean(axis=0, dtype=np.float64)
        centres = np.array([values[name].mean() for name in names])
        for start in range(0, n, 1 << 14):  # so that it needs little memory beside the states
            part = slice(start, start + (1 << 14))
            x = states[part] - means
            columns = [values[name][part] for name in names]
            y = np.stack(columns, axis=1) - centres if names else np.zeros((len(x), 0))
            sums += x.T @ y
            squares += (x * x).sum(axis=0)
            spread += (y * y).sum(axis=0)
    scale = np.sqrt(np.outer(squares, spread))
    return np.divide(sums, scale, out=np.zeros_like(sums), where=scale > 1e-12 * max(1, n))
