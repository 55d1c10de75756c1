import os
from types import SimpleNamespace

import numpy as np
import pytest

import charrnn
from charrnn.data import batches, dataset
from charrnn.data.batches import IGNORED, RecordStream, TextStream
from charrnn.data.text import read_text
from charrnn.tutorial import DataReader
from charrnn.util import seeding
from charrnn.util.seeding import make_random, permutation


def test_text_is_read_as_it_is(text_file):
    content = "a\0b\r\nc\n\x0c\U0001f469\u200d\U0001f680 e\u0301"
    assert read_text(text_file(content)) == content


def test_byte_order_mark_is_dropped_once(text_file):
    assert read_text(text_file("\ufeff\ufeffab")) == "\ufeffab"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "input.txt has no character; training needs at least 2"),
        (b"a", "input.txt has 1 character; training needs at least 2"),
        (b"\xef\xbb\xbfa", "input.txt has 1 character"),
        (b"ab\xffcd", r"input.txt is not UTF-8 at byte 2 \(0xff\): invalid start byte"),
        ("héllo".encode("latin-1"), r"not UTF-8 at byte 1 \(0xe9\)"),
        ("hello".encode("utf-16"), "if it is UTF-16, convert it"),
        (b"ab\xed\xa0\x80", "not UTF-8 at byte 2"),  # a surrogate
    ],
)
def test_wrong_content_is_refused(text_file, content, message):
    with pytest.raises(ValueError, match=message):
        read_text(text_file(content))


def test_missing_file_and_directory(tmp_path):
    with pytest.raises(FileNotFoundError) as missing:
        read_text(tmp_path / "no.txt")
    assert (
        missing.value.filename == str(tmp_path / "no.txt")
        or missing.value.filename == tmp_path / "no.txt"
    )
    with pytest.raises((IsADirectoryError, PermissionError)):
        read_text(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="not a regular file"):
        read_text(tmp_path / "pipe")  # though nobody writes into it


@pytest.mark.parametrize("seq_length", [1, 3, 7])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [2, 3, 8, 22, 23, 31])
def test_every_target_is_in_the_stream_once(size, batch_size, seq_length):
    ids = np.arange(size, dtype=np.uint8)
    stream = TextStream(ids, seq_length, batch_size)
    batch_size = stream.batch_size  # no more than targets
    inputs, targets = stream.read(0, stream.windows)
    real = targets != IGNORED
    assert (targets[real] == inputs[real] + 1).all()
    assert sorted(targets[real]) == list(range(1, size))
    for b in range(batch_size):  # a stream is contiguous
        assert (np.diff(targets[real[:, b], b]) == 1).all()
    parts = [stream.read(window, 1) for window in range(stream.windows)]
    np.testing.assert_array_equal(np.concatenate([part[0] for part in parts]), inputs)
    np.testing.assert_array_equal(np.concatenate([part[1] for part in parts]), targets)


def test_reader_has_the_tutorials_attributes(text_file):
    reader = DataReader(text_file("banana"), 4)
    assert reader.char_to_ix == {"a": 0, "b": 1, "n": 2}
    assert reader.ix_to_char == {0: "a", 1: "b", 2: "n"}
    assert (reader.data_size, reader.vocab_size, reader.seq_length) == (6, 3, 4)
    assert reader.just_started()
    assert reader.next_batch() == ([1, 0, 2, 0], [0, 2, 0, 2])
    assert not reader.just_started()
    assert reader.next_batch() == ([2], [0])
    assert reader.just_started()
    reader.close()


@pytest.mark.parametrize(
    ("seq_length", "error"),
    [(0, ValueError), (-1, ValueError), (True, TypeError), (2.5, TypeError), ("8", TypeError)],
)
def test_wrong_seq_length_is_refused(text_file, seq_length, error):
    with pytest.raises(error, match="seq_length must be"):
        DataReader(text_file("banana"), seq_length)


@pytest.mark.parametrize("piece", [1, 300, 1 << 20])
def test_the_order_of_records_is_that_of_one_sort_however_many_are_sorted_at_a_time(
    monkeypatch, piece
):
    monkeypatch.setattr("charrnn.data.batches._PIECE", piece)
    monkeypatch.setattr("charrnn.util.seeding._PIECE", piece)
    n, B, seed, epoch = 1000, 3, 5, 2
    lengths = np.random.default_rng(0).integers(1, 20, n)
    stream = RecordStream(np.zeros(lengths.sum(), np.uint8), lengths, 1, B, seed)
    stream.begin(epoch)
    order = np.argsort(make_random(int(_state(seed, epoch)), n), kind="stable")
    order = order[np.lexsort((lengths[order], np.arange(n) // (16 * B)))]
    whole = n // B
    batches = order[: whole * B].reshape(whole, B)[permutation(whole, seed, epoch, 1)]
    assert stream.order.tolist() == [*batches.ravel(), *order[whole * B :]]


def _state(*seeds):
    """The state that `permutation` draws from."""
    state = np.zeros(1, np.uint64)
    for seed in seeds:
        state = seeding._mix(state + np.uint64(seed))
    return state[0]


@pytest.mark.parametrize("batch_size", [1, 3, 5])
def test_some_streams_are_those_of_all(batch_size):
    ids, lengths = np.arange(1, 60).astype(np.uint8), np.array([7, 0, 140, 3, 12, 1, 33])
    records = RecordStream(
        np.resize(ids, lengths.sum()), lengths, 60, batch_size, seed=1, seq_length=9
    )
    for stream in (TextStream(ids, 9, batch_size), records):
        for window in range(stream.windows):
            inputs, targets = stream.read(window, 1)
            numbers = np.array([4, 0, 6, 2], np.int32)
            some, some_targets = stream.read(window, 1, numbers)
            assert stream.read(window, 1, numbers[:0])[0].shape == (len(some), 0)
            there = numbers < stream.batch_size
            assert (some[:, there] == inputs[:, numbers[there]]).all()
            assert (some_targets[:, there] == targets[:, numbers[there]]).all()
            assert (some_targets[:, ~there] == IGNORED).all()
            last = np.flatnonzero((targets != IGNORED).any(axis=1))[-1]
            assert stream.used_rows(window, 1).tolist() == [last + 1]


def test_pieces_are_the_same_wherever_the_ids_are(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "_PIECE", 7)
    ids = np.arange(40, dtype=np.int32)
    (tmp_path / "ids").write_bytes(ids.tobytes())
    file = open(tmp_path / "ids", "rb", buffering=0)  # noqa: SIM115  OpenFile closes it
    file = batches.OpenFile(file, "ids")
    stored = batches.StoredIds(file, ids.dtype, 0, 40)
    for one, other in [
        (ids, stored),
        *((batches.gapped(x, 6, 2, 5),) * 2 for x in (ids, stored)),
    ]:
        assert [x.tolist() for x in batches.in_pieces(one)] == [
            x.tolist() for x in batches.in_pieces(other)
        ]
    assert [len(piece) for piece in batches.in_pieces(stored)] == [7, 7, 7, 7, 7, 5]


@pytest.mark.parametrize("batch_size", [1, 3, 9])
def test_texts_that_are_joined_stay_where_they_are(tmp_path, monkeypatch, batch_size):
    first, again = np.arange(50, dtype=np.uint8), np.arange(300, 340, dtype=np.int32)
    (tmp_path / "ids").write_bytes(first.tobytes() + again.tobytes())
    file = open(tmp_path / "ids", "rb", buffering=0)  # noqa: SIM115  OpenFile closes it
    file = batches.OpenFile(file, "ids")
    stored = (
        batches.StoredIds(file, first.dtype, 0, 50),
        batches.StoredIds(file, again.dtype, 50, 40),
    )
    sizes, read = [], batches.StoredIds.read
    monkeypatch.setattr(
        batches.StoredIds,
        "read",
        lambda ids, start, stop: sizes.append(stop - start) or read(ids, start, stop),
    )
    found = batches.TextStream(batches.joined(*stored, 3), 5, batch_size)
    expected = batches.TextStream(np.concatenate([first, *[again] * 3]), 5, batch_size)
    assert found.windows == expected.windows
    for window in range(found.windows):
        np.testing.assert_array_equal(found.read(window, 1), expected.read(window, 1))
    assert max(sizes) <= 6
    np.testing.assert_array_equal(
        *(np.concatenate(list(one.sequences())) for one in (found, expected))
    )


def test_held_out_pieces_of_a_file_are_read_alone(tmp_path, monkeypatch):
    (tmp_path / "text").write_bytes(b"ab" * 500_000)
    file = open(tmp_path / "text", "rb", buffering=0)  # noqa: SIM115  OpenFile closes it
    file = batches.OpenFile(file, "text")
    stored = batches.StoredIds(file, np.dtype(np.uint8), 0, 1_000_000)
    sizes, read = [], stored.read
    monkeypatch.setattr(
        stored, "read", lambda start, stop: sizes.append(stop - start) or read(start, stop)
    )
    text = dataset.Text(charrnn.Vocabulary("ab", of_bytes=False), stored, 0.0)
    learner = SimpleNamespace(seq_length=64, batch_size=4)
    text.streams(learner, 0.008, 0, 8)
    assert max(sizes) <= 1000
