import functools
import hashlib
import http.server
import sys
import threading

import pytest

import charrnn
import plain
from charrnn import datasets


def test_names_are_distinct_sorted_words():
    names = datasets.names()
    assert names == sorted(set(names))
    assert all(name.isascii() and name.isalpha() and name.islower() for name in names)


def test_python_docs_train():
    text = datasets.python_docs()
    assert len(text) > 300_000
    assert plain.train_text(text[:5000], hidden_size=8, epochs=1).history.steps == 180


def test_asking_for_it_imports_it(run_python):
    program = """if True:
        import sys, charrnn
        assert "datasets" in dir(charrnn) and "charrnn.datasets" not in sys.modules
        print(charrnn.datasets.names()[0])
    """
    assert run_python(program, check=True).stdout == "aaron\n"
    with pytest.raises(AttributeError, match="has no attribute 'dataset'"):
        charrnn.dataset  # noqa: B018


@pytest.fixture
def shakespeare(tmp_path, monkeypatch):
    """A short file in the place of the real one, which is only to be had online."""
    path = tmp_path / "input.txt"
    path.write_bytes(b"First Citizen:\nBefore we proceed any further, hear me speak.\n")
    monkeypatch.setattr(datasets, "_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    return path


def test_shakespeare_from_a_file(shakespeare):
    assert datasets.tiny_shakespeare(shakespeare).startswith("First Citizen:\n")
    shakespeare.write_bytes(b"Second Citizen:\n")
    with pytest.raises(
        ValueError,
        match=r"input.txt is not Tiny Shakespeare: its SHA-256 is [0-9a-f]{64}, not .*train_file "
        r"reads any text",
    ):
        datasets.tiny_shakespeare(shakespeare)


def test_shakespeare_is_downloaded_once(shakespeare, tmp_path, monkeypatch):
    pooch = pytest.importorskip("pooch")
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        monkeypatch.setattr(
            datasets, "_SHAKESPEARE", f"http://127.0.0.1:{server.server_port}/input.txt"
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        text = datasets.tiny_shakespeare()
        server.shutdown()
    assert text.startswith("First Citizen:\n")
    assert datasets.tiny_shakespeare() == text
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "empty")
    with pytest.raises(
        OSError, match=r"cannot be downloaded: .*tiny_shakespeare\(path\) reads the file"
    ):
        datasets.tiny_shakespeare()


def test_shakespeare_without_pooch_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ModuleNotFoundError, match=r"charrnn-cython\[datasets\].*path of the file"):
        datasets.tiny_shakespeare()
