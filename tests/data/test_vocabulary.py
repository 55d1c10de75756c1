import contextlib
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn import Vocabulary
from charrnn.data import vocabulary


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_round_trip(text):
    v = Vocabulary.from_text(text)
    assert v.decode(v.encode(text)) == text
    assert v.chars == "".join(sorted(set(text)))
    assert all(char in v for char in text)


def test_text_longer_than_a_piece(monkeypatch):
    monkeypatch.setattr(vocabulary, "_PIECE", 7)
    text = "hello, piecewise world"
    v = Vocabulary.from_text(text)
    assert v.decode(v.encode(text)) == text
    with pytest.raises(ValueError, match=r"text\[15\] = '!'"):
        v.encode("hello, piecewis!")


def test_unknown_character_is_named_with_its_place():
    v = Vocabulary("abc")
    with pytest.raises(
        ValueError, match=r"prime\[2\] = '☃' \(U\+2603\) is not among the 3 characters"
    ):
        v.encode("ab☃", name="prime")
    with pytest.raises(ValueError, match=r"text\[0\] = 'A'"):
        v.encode("A")


def test_lone_surrogate_is_named_with_its_place():
    with pytest.raises(ValueError, match=r"text\[2\] = '\\ud800' is a lone surrogate"):
        Vocabulary.from_text("ab\ud800")
    with pytest.raises(ValueError, match=r"U\+D800 is a surrogate"):
        Vocabulary("\ud800")


@pytest.mark.parametrize("chars", ["", "aa", "aba"])
def test_wrong_characters_are_refused(chars):
    with pytest.raises(ValueError, match="vocabulary"):
        Vocabulary(chars)


def test_ids_are_checked():
    v = Vocabulary("abc")
    assert v.decode([]) == ""
    with pytest.raises(IndexError, match=r"ids\[1\] = 3 is not in \[0, 3\)"):
        v.decode([0, 3])
    with pytest.raises(IndexError, match=r"ids\[0\] = -1"):
        v.decode([-1])
    with pytest.raises(TypeError, match="integers"):
        v.decode([0.5])
    with pytest.raises(TypeError, match="text must be a str, not bytes"):
        v.encode(b"abc")


def test_encoding_has_the_dtype_asked_for():
    v = Vocabulary.from_text("".join(map(chr, range(300))))
    assert v.smallest_dtype == np.uint16
    assert Vocabulary("ab").smallest_dtype == np.uint8
    assert v.encode("ab").dtype == np.int32
    assert v.encode("ab", dtype=np.uint16).dtype == np.uint16
    for known, dtype in (
        (v, np.uint8),
        (v, np.int8),
        (v, float),
        (Vocabulary.all_bytes(), np.int8),
    ):
        with pytest.raises(
            ValueError, match=f"dtype must be an integer type that holds {len(known) - 1}, not "
        ):
            known.encode(known.empty, dtype=dtype)


def test_equality_and_repr():
    assert Vocabulary("ab") == Vocabulary("ab") != Vocabulary("abc")
    assert len({Vocabulary("ab"), Vocabulary("ab")}) == 1
    assert repr(Vocabulary("ab")) == "Vocabulary('ab', 2 characters)"
    assert len(repr(Vocabulary(map(chr, range(32, 126))))) < 80
    assert "ab" not in Vocabulary("ab")


@pytest.mark.clock
@pytest.mark.parametrize("call", [Vocabulary.missing, lambda v, text: v.encode(text + "a")])
def test_many_characters_cost_in_proportion(call):
    """Each was looked for among all others."""

    text = "".join(map(chr, range(0x10000, 0x10000 + 200_000)))
    began = time.process_time()
    v = Vocabulary(text)
    made = time.process_time()
    with contextlib.suppress(ValueError):  # that of encode
        call(v, text)
    assert time.process_time() - made < 100 * (made - began)


def test_missing_characters_are_in_order():
    assert Vocabulary("cab").missing("zaby\U0001f600zc") == "yz\U0001f600"
    assert Vocabulary.all_bytes().missing(b"a") == ""
