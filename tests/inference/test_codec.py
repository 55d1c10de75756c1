"""The codec: what comes out is what went in, or an error."""

import contextlib
import hashlib
import io
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import charrnn
import plain
from charrnn.inference import codec as codecs
from charrnn.network import dispatch

TEXT = ("to be or not to be, that is the question\n" * 40).encode()
REPEATED = st.builds(lambda word, n: word * n, st.binary(max_size=9), st.integers(0, 60))
ANY = st.binary(max_size=300) | REPEATED | st.text(max_size=99).map(str.encode)


needs_fma = pytest.mark.skipif(not dispatch.has_fma(), reason="the kernels have no FMA")


@pytest.fixture(scope="module")
def model():
    return plain.train_text(
        "to be or not to be, that is the question ñ\n" * 9, steps=60, hidden_size=12
    )


@pytest.fixture(scope="module")
def records():
    return plain.train_records(["to be", "or not to be"] * 9, steps=30, hidden_size=8, ngram=3)


@pytest.fixture(scope="module")
def of_bytes():
    options = {"preset": "tutorial", "steps": 9, "hidden_size": 8, "progress": False}
    return charrnn.train_text(TEXT, alphabet="bytes", **options)


def stream(data, model=None):
    return b"".join(codecs.compress_file(io.BytesIO(data), model))


def random_bytes(n):
    return np.random.default_rng(0).integers(256, size=n, dtype=np.uint8).tobytes()


@settings(max_examples=25, deadline=None)
@given(ANY)
@example(b"")
@example(b"a")
@example(bytes(range(256)))
@example(bytes(5000))
@example(random_bytes(1100))
def test_round_trip(data):
    assert charrnn.decompress(charrnn.compress(data)) == data
    assert charrnn.decompress(stream(data)) == data


@needs_fma
@settings(max_examples=15, deadline=None)
@given(data=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
@example("to be ññ\r\n\nor é \U0001f600 €".encode())
@example(b"to be \xc3\xff \xf0\x9f or not")
@example(TEXT[:1100])
def test_round_trip_with_a_model(model, records, of_bytes, data):
    for one in (model, records, of_bytes):
        assert charrnn.decompress(charrnn.compress(data, one), one) == data
        assert charrnn.decompress(stream(data[:40], one), one) == data[:40]


def test_several_blocks(monkeypatch):
    whole = stream(TEXT)
    monkeypatch.setattr(codecs, "_BLOCK", 1 << 8)
    data = random_bytes(300) + TEXT
    packed = stream(data)
    assert charrnn.decompress(packed) == data
    assert len(whole) < len(stream(TEXT)) < len(whole) + 12 * 8
    parts = codecs.decompress_file(io.BytesIO(packed[:-1]))
    got = b"".join(next(parts) for _ in range(len(data) // 256 + 1))
    assert got == data
    with pytest.raises(charrnn.CodecError, match="ends early"):
        next(parts)


def test_the_bytes_never_change():
    """Files of this version are read by all later ones, on all machines."""
    digest = hashlib.sha256(stream(TEXT + bytes(range(256))) + charrnn.compress(TEXT[:500]))
    assert digest.hexdigest() == "a42c82efba8bf028fa917f3e675954caf594a1952f4a7b182fe2737113fc89f6"


def test_all_kernels_with_fma_read_what_one_of_them_has_written(model, monkeypatch):
    packed = []
    for level in dispatch.available():
        monkeypatch.setattr(dispatch, "core", dispatch.load(level))
        monkeypatch.setattr(dispatch, "isa", level)
        if dispatch.has_fma():
            packed.append(charrnn.compress(TEXT[:300], model))
            assert charrnn.decompress(packed[0], model) == TEXT[:300]
    assert len(set(packed)) <= 1


@needs_fma
def test_a_model_helps_with_short_strings(model):
    line = b"that is not the question, or to be"
    assert len(charrnn.compress(line, model)) < 0.7 * len(charrnn.compress(line))


@needs_fma
def test_every_bit_flip_gives_an_error_or_the_same(model):
    for data, one in ((TEXT[:24], None), (TEXT[:24], model)):
        check_flips(charrnn.compress(data, one), data, one)
    check_flips(stream(TEXT[:3]), TEXT[:3], None)


def check_flips(packed, data, model):
    for i in range(8 * len(packed)):
        damaged = bytearray(packed)
        damaged[i // 8] ^= 1 << i % 8
        with contextlib.suppress(charrnn.CodecError):
            assert charrnn.decompress(damaged, model) == data


def test_what_is_cut_off_or_added_is_an_error():
    for packed in (charrnn.compress(b"to be or not"), stream(b"to be or not")):
        for end in range(len(packed)):
            with pytest.raises(charrnn.CodecError):
                charrnn.decompress(packed[:end])
        with pytest.raises(charrnn.CodecError):
            charrnn.decompress(packed + b"\0")


@settings(max_examples=20, deadline=None)
@given(st.binary(max_size=99))
def test_foreign_bytes_are_an_error(data):
    for start in (b"", b"\xf5crn\x01" + bytes(8), b"\xf6"):
        with pytest.raises(charrnn.CodecError):
            charrnn.decompress(start + data)


@needs_fma
def test_errors_say_what_is_wrong(model, records):
    with pytest.raises(TypeError, match=r"data must be bytes, not str: give text.encode\(\)"):
        charrnn.compress("text")
    with pytest.raises(TypeError, match="model must be a CharRNN or None, not 5"):
        charrnn.compress(b"", 5)
    with pytest.raises(charrnn.CodecError, match="charrnn has not compressed this data"):
        charrnn.decompress(b"PK\3\4 and so on")
    with pytest.raises(charrnn.CodecError, match="version 9 of compressed data"):
        charrnn.decompress(b"\xf5crn\x09")
    with pytest.raises(charrnn.CodecError, match="model must be None"):
        charrnn.decompress(stream(TEXT), model)
    with pytest.raises(charrnn.CodecError, match=r"model must be the model whose .*, not None"):
        charrnn.decompress(stream(b"to be", model))
    with pytest.raises(charrnn.CodecError, match=r"model must be the model whose .*, not that of"):
        charrnn.decompress(stream(b"to be", model), records)
    with pytest.raises(charrnn.CodecError, match="damaged, or of another model"):
        charrnn.decompress(charrnn.compress(b"to be", model), records)
    assert issubclass(charrnn.CodecError, (charrnn.CharRNNError, ValueError))


def test_a_model_needs_fma(model, monkeypatch):
    monkeypatch.setattr(dispatch, "has_fma", lambda: False)
    with pytest.raises(charrnn.CodecError, match="without a model"):
        charrnn.compress(b"to be", model)
    assert charrnn.compress(b"to be")


@needs_fma
def test_a_reloaded_model_reads_what_was_compressed(model, records, tmp_path):
    for one in (model, records):
        one.save(tmp_path / "model")
        packed = charrnn.compress(TEXT[:90], one)
        assert charrnn.decompress(packed, charrnn.load(tmp_path / "model")) == TEXT[:90]


def test_any_bytes_like_object():
    packed = charrnn.compress(b"to be")
    assert charrnn.compress(bytearray(b"to be")) == packed
    assert charrnn.decompress(memoryview(packed)) == b"to be"


def command(*words, stdin=b""):
    line = [sys.executable, "-m", "charrnn", *map(str, words)]
    return subprocess.run(line, input=stdin, capture_output=True, timeout=6000, check=False)


@needs_fma
def test_the_command(tmp_path, model):
    file, packed, again = (tmp_path / name for name in ("text", "text.crn", "again"))
    file.write_bytes(TEXT)
    assert command("compress", file).returncode == 0
    assert packed.read_bytes() == stream(TEXT)
    assert command("decompress", packed, "-o", again).returncode == 0
    assert again.read_bytes() == TEXT
    model.save(tmp_path / "model")
    with_model = "--model", tmp_path / "model"
    piped = command("compress", "-", *with_model, stdin=TEXT[:99]).stdout
    assert command("decompress", "-", *with_model, stdin=piped).stdout == TEXT[:99]


def test_the_command_writes_nothing_if_anything_is_wrong(tmp_path):
    damaged = tmp_path / "text.crn"
    damaged.write_bytes(stream(TEXT)[:-1])
    result = command("decompress", damaged)
    assert result.returncode == 2
    assert b"charrnn: error: the compressed data ends early" in result.stderr
    (tmp_path / "text").write_bytes(b"")
    for words, error in (
        (("decompress", tmp_path / "text"), b"--output must be given"),
        (("compress", tmp_path / "text", "-o", tmp_path / "text"), b"is also the file to read"),
    ):
        result = command(*words)
        assert (result.returncode, error in result.stderr) == (2, True), result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"text", "text.crn"}
    assert (tmp_path / "text").read_bytes() == b""


@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGINT to send")
def test_ctrl_c_leaves_nothing_half_written(tmp_path):
    (tmp_path / "large").write_bytes(random_bytes(1 << 23))
    words = [sys.executable, "-m", "charrnn", "compress", tmp_path / "large"]
    with subprocess.Popen(words, stderr=subprocess.PIPE) as process:
        while len(list(tmp_path.iterdir())) < 2 and process.poll() is None:
            time.sleep(0.02)
        for _ in range(20):  # again, if Python's import system swallowed one
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=30)
                break
        assert process.returncode == 130, process.stderr.read()
    assert [path.name for path in tmp_path.iterdir()] == ["large"]
