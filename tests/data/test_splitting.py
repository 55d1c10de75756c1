"""Lines and records are the same in whatever pieces a text arrives."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.data.splitting import LINE, LINE_FEED, NUL, Lines, check_separator, groups, records


def pieces_of(text, cuts):
    places = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(places)]


@given(
    st.text("ab\r\n\0", max_size=30),
    st.lists(st.integers(0, 30), max_size=5),
    st.sampled_from([LINE, LINE_FEED, NUL]),
)
def test_lines_do_not_depend_on_pieces(text, cuts, end):
    expected = re.split(end, text)
    expected = expected[: len(expected) - (expected[-1] == "")]
    assert list(Lines(pieces_of(text, cuts), end)) == expected
    assert list(Lines(pieces_of(text.encode(), cuts), end)) == [line.encode() for line in expected]


def test_an_empty_piece_between_carriage_return_and_line_feed_is_nothing():
    assert list(Lines(["a\r", "", "\nb"])) == ["a", "b"]


def test_what_has_arrived_is_counted():
    lines = Lines(["a\nb", "c\nd\n", "\n\ne"])
    assert [(line, lines.left) for line in lines] == [
        ("a", 0),
        ("bc", 1),
        ("d", 0),
        ("", 1),
        ("", 0),
        ("e", 0),
    ]


@pytest.mark.parametrize(
    ("text", "separator", "expected"),
    [
        ("a\nb\n%\nc %\n%\n%\nd", "%", ["a\nb", "c %", "d"]),
        ("a\r\nb\r\n\r\nc\r\n\r\n\r\nd\r\n", "", ["a\nb", "c", "d"]),
        ("a\rb\r\rc", "", ["a\nb", "c"]),
        ("a\nb\0c\0\0d", "\0", ["a\nb", "c", "d"]),
        ("a\rb\r\nc\n\nd", None, ["a", "b", "c", "d"]),
        ("%\n", "%", []),
    ],
)
def test_records(text, separator, expected):
    assert list(records([text], separator)) == expected
    assert list(records([text.encode()], separator)) == [one.encode() for one in expected]


def test_a_record_has_the_number_of_its_first_line():
    assert list(groups(["%", "a", "b", "%", "", "%", "%", "c"], "%")) == [
        (2, "a\nb"),
        (5, ""),
        (8, "c"),
    ]


@pytest.mark.parametrize("wrong", ["a\nb", "\r", "\0\0", "a\0"])
def test_separators_are_checked(wrong):
    with pytest.raises(
        ValueError, match="separator must be the text of a line, '' for a blank line, or "
    ):
        check_separator(wrong)
