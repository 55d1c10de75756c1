"""Which files a path names; how they are read is seen in what they train (test_files.py)."""

import glob
import os

import pytest

from charrnn.data import sources

FILES = [
    "1.txt",
    "a/2.txt",
    "a/b/3.txt",
    "a/b/[x].txt",
    "c/a/4.md",
    ".h/5.txt",
    "a/.6.txt",
    "a/b/.7/8.txt",
]
PATTERNS = [
    "*.txt",
    "**",
    "**/*.txt",
    "a/**",
    "a/**/*.txt",
    "**/a/**/*.txt",
    "**/b/*",
    "./**/a/*",
    "*/*.txt",
    "a**/*.txt",
    "**/**/[[]x].*",
]


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A directory of these files, in which one works."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(path, folder="."):
    return [os.path.relpath(name, folder) for name in sources.find(path)]


def test_a_file_a_directory_and_several_of_them(tree):
    assert found("a/2.txt") == [os.path.join("a", "2.txt")]
    assert found(tree / "a", tree) == [
        os.path.normpath(name) for name in ("a/2.txt", "a/b/3.txt", "a/b/[x].txt")
    ]
    assert found(["c", "1.txt", "c"]) == [
        os.path.normpath(name) for name in ("c/a/4.md", "1.txt", "c/a/4.md")
    ]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_are_those_of_glob(tree, pattern):
    expected = {
        os.path.normpath(name)
        for name in glob.glob(pattern, recursive=True)
        if os.path.isfile(name)
    }
    assert found(pattern) == sorted(expected)
    assert found(str(tree / pattern), tree) == sorted(expected)


def test_linked_files_are_found_but_no_directory_leads_to_linked_ones(tree):
    (tree / "a" / "back").symlink_to(tree, target_is_directory=True)
    (tree / "c" / "link.md").symlink_to(tree / "c" / "a" / "4.md")
    expected = ("1.txt", "a/2.txt", "a/b/3.txt", "a/b/[x].txt", "c/a/4.md", "c/link.md")
    assert found(".") == [os.path.normpath(name) for name in expected]


def test_a_name_that_looks_like_a_pattern_is_a_name(tree):
    (tree / "a" / "b" / "x.txt").touch()
    assert found("a/b/[x].txt") == [os.path.join("a", "b", "[x].txt")]
    with pytest.raises(FileNotFoundError, match=r"no file matches a/b/\[y\].txt"):
        sources.find("a/b/[y].txt")
