"""Properties are what their names say, and correlations are NumPy's."""

import unicodedata

import numpy as np
import pytest

from charrnn.trace.properties import correlations, properties, shown

TEXT = 'ROMEO:\nHe said "no (never)".\n  indented\n\n"open\n\nEnd.'
MARKED = {
    "capital": "XXXXX..X........................................X...",
    "letter": "XXXXX..XX.XXXX..XX..XXXXX......XXXXXXXX...XXXX..XXX.",
    "vowel": ".X.XX...X..XX....X...X.X.......X..X..X....X.X...X...",
    "line feed": "......X.....................X..........XX.....XX....",
    "punctuation": ".....X.........X...X.....XXX.............X.........X",
    "end of a sentence": "...........................X.......................X",
    "beginning of a word": "X......X..X.....X...X..........X..........X.....X...",
    "end of a word": "....X...X....X...X......X.............X......X....X.",
    "word in capitals": "XXXXX...............................................",
    "beginning of a line": "XXX....XXX...................XXX........XXXX...XXXX.",
    "end of the line": ".....X.....................X..........X......X.....X",
    "in the indentation": ".............................XX.....................",
    "empty line": "........................................X......X....",
    "inside parentheses": "...................XXXXXX...........................",
    # the one that is never closed ends with the paragraph
    "inside quotes": "...............XXXXXXXXXXX...............XXXXXX.....",
    "digit": None,
}


@pytest.mark.parametrize("name", MARKED)
def test_a_property_is_where_it_should_be(name):
    marked = MARKED[name]
    if marked is None:
        assert name not in properties(TEXT)  # nothing can follow what never changes
    else:
        assert properties(TEXT)[name].tolist() == [float(mark == "X") for mark in marked]


def test_positions_count_from_1():
    found = properties("to be\nor not")
    assert found["position in the word"].tolist() == [1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 3]
    assert found["position in the line"].tolist() == [1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "text",
    ["", "a", "aaaa", "\n", ")))", "\ud800\udfff", "".join(map(chr, range(0, 0x110000, 97)))],
)
def test_any_text_has_finite_properties(text):
    for values in properties(text).values():
        assert values.shape == (len(text),)
        assert np.isfinite(values).all()


def test_correlations_are_those_of_numpy():
    rng = np.random.default_rng(0)
    states = rng.standard_normal((40_000, 7)).astype(np.float32)
    states[:, 3] = 0.25  # does not change
    values = {
        "ramp": np.arange(40_000.0),
        "mixed": states[:, 1] - 0.5 * states[:, 2] + 1,
        "constant": np.ones(40_000),
    }
    found = correlations(states, values)
    for j, name in enumerate(["ramp", "mixed"]):
        for i in (0, 1, 2, 4, 5, 6):
            assert found[i, j] == pytest.approx(
                np.corrcoef(states[:, i], values[name])[0, 1], abs=1e-9
            )
    assert not found[3].any()
    assert not found[:, 2].any()
    assert correlations(states[:0], {}).shape == (7, 0)


@pytest.mark.parametrize(
    ("char", "sign"),
    [
        ("a", "a"),
        ("\x00", "[00]"),
        ("\x7f", "[7F]"),
        ("\u2028", "[2028]"),
        ("\u202e", "[202E]"),
        ("\u0301", "◌\u0301"),
        ("\xa0", "[00A0]"),
    ],
)
def test_what_cannot_be_seen_alone_is_shown_by_a_sign(char, sign):
    label, called, kind = shown(char)
    assert label == sign
    assert called == char or f"U+{ord(char):04X}" in called
    assert kind == ("" if char == "a" else "special")


def test_no_sign_changes_how_others_look():
    for code in [*range(0xD800), *range(0xE000, 0x110000, 13)]:
        label, _, kind = shown(chr(code))
        unseen = [char for char in label if unicodedata.category(char)[0] in "CZ" and char != " "]
        assert not unseen, f"U+{code:04X}"
        assert kind in ("", "feed", "special")


def test_bytes_beyond_ascii_are_shown_as_numbers():
    assert shown("\xe9", of_bytes=True) == ("[E9]", "byte E9", "special")
    assert shown("e", of_bytes=True) == ("e", "e", "")


def test_characters_that_change_others_are_named_by_a_sign():
    assert "the character ◌̀" in properties("a\u0300b" * 3)
