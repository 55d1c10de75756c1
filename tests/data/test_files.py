"""Files to ids in two passes: the bits of what is in memory, whatever is done to the files
meanwhile.
"""

import bz2
import gzip
import lzma
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

import charrnn
import plain
from charrnn.data import files as corpus
from charrnn.data import sources
from charrnn.data.batches import StoredIds

PLAIN = "to be, or not to be: that is the question\n" * 40
ACCENTED = "à la recherche du temps perdu ☃\r\n🙂 longtemps je me suis couché\n" * 30
CONTENTS = {
    "ascii": PLAIN.encode(),
    "accented": ACCENTED.encode(),
    "long": ("x" + "abc" * 70 + "\n" + PLAIN).encode(),
}
SMALL = {"hidden_size": 8, "epochs": 2, "progress": False}


@pytest.fixture(params=["in memory", "in a file", "in a cache"])
def place(request, monkeypatch, tmp_path):
    """Where ids are: an option of train_file. Whole pieces are small, so that characters and lines
    lie across two.
    """
    monkeypatch.setattr(sources, "PIECE", 7)
    monkeypatch.setattr("charrnn.data.batches._PIECE", 11)
    if request.param != "in memory":
        monkeypatch.setattr(corpus, "_IN_MEMORY", 0)
    return {"cache": tmp_path / "cache"} if request.param == "in a cache" else {}


def bits(model):
    return (
        model.network.weights.block.tobytes(),
        model.vocabulary,
        model.history.reports[-1].validation_nll,
    )


def lines(content):
    return [line for line in content.replace(b"\r", b"\n").split(b"\n") if line]


# ------------------------------------------------------------------------------- the bits of memory


@pytest.mark.parametrize("batch_size", [1, 5])
@pytest.mark.parametrize("content", CONTENTS.values(), ids=list(CONTENTS))
def test_a_file_trains_as_its_text(text_file, place, content, batch_size):
    path, options = text_file(content), {**SMALL, "batch_size": batch_size, "seq_length": 9}
    expected = plain.train_text(content.decode(), **options)
    assert bits(plain.train_file(path, **options, **place)) == bits(expected)
    expected = plain.train_text(content, alphabet="bytes", **options)
    assert bits(plain.train_file(path, alphabet="bytes", **options, **place)) == bits(expected)


@pytest.mark.parametrize("batch_size", [1, 5])
@pytest.mark.parametrize("content", CONTENTS.values(), ids=list(CONTENTS))
def test_the_lines_of_a_file_train_as_records(text_file, place, content, batch_size):
    path, options = (
        text_file(content),
        {**SMALL, "batch_size": batch_size, "seq_length": 9, "remember": True},
    )
    expected = plain.train_records([line.decode() for line in lines(content)], **options)
    found = plain.train_file(path, records=True, **options, **place)
    assert bits(found) == bits(expected)
    assert found.index.fingerprints.tobytes() == expected.index.fingerprints.tobytes()
    expected = plain.train_records(lines(content), alphabet="bytes", **options)
    assert bits(plain.train_file(path, records=True, alphabet="bytes", **options, **place)) == bits(
        expected
    )


def test_many_characters_have_wide_ids(text_file, place):
    text = "".join(map(chr, range(200, 700))) * 3 + "\n"
    assert bits(plain.train_file(text_file(text), **SMALL, **place)) == bits(
        plain.train_text(text, **SMALL)
    )


def test_only_what_is_large_is_in_a_file(text_file, monkeypatch):
    path = text_file(PLAIN)
    assert isinstance(read(path).ids, np.ndarray)
    assert isinstance(read(path, "bytes").ids, np.ndarray)
    monkeypatch.setattr(corpus, "_IN_MEMORY", len(PLAIN) - 1)
    found = read(path).ids
    assert isinstance(found, StoredIds)
    assert found.file.file.name != str(path)
    assert read(path, "bytes").ids.file.name == str(path)  # as it is


def test_a_checkpoint_goes_on_with_the_text_wherever_it_is(text_file, place, tmp_path):
    path, options = text_file(PLAIN), {**SMALL, "batch_size": 2}
    for records in (False, True):
        whole = plain.train_file(path, records=records, **options, **place)
        source = lines(PLAIN.encode()) if records else PLAIN
        train = charrnn.train_records if records else charrnn.train_text
        train(
            [line.decode() for line in source] if records else source,
            **{**options, "epochs": 1},
            preset="tutorial",
            checkpoint=tmp_path / "c",
        )
        again = plain.train_file(path, records=records, **options, resume=tmp_path / "c", **place)
        assert again.network.weights.block.tobytes() == whole.network.weights.block.tobytes()
        with pytest.raises(ValueError, match="the text is another"):
            plain.train_file(
                text_file(PLAIN[:-1] + "?", "other"),
                records=records,
                **options,
                resume=tmp_path / "c",
                **place,
            )


def test_a_model_goes_on_with_files(text_file, place, tmp_path):
    model, twin = (plain.train_text("to be, or not to be " * 20, **SMALL) for _ in range(2))
    with pytest.raises(
        ValueError, match=r"characters that the model does not know: .*extend=True adds them"
    ):
        model.train_file(text_file(PLAIN), **place, epochs=1)
    model.train_file(text_file(PLAIN), extend=True, epochs=1, progress=False, **place)
    twin.train_text(PLAIN, extend=True, epochs=1, progress=False)
    assert bits(model) == bits(twin)
    assert model.vocabulary.chars.startswith(twin.vocabulary.chars[:5])
    with pytest.raises(
        ValueError, match="this is a model of text, which has no records to remember"
    ):
        model.train_file(text_file(PLAIN), remember=True)
    model, twin = (
        plain.train_records(["to be", "or not"] * 20, remember=True, **SMALL) for _ in range(2)
    )
    model.train_file(text_file(PLAIN), extend=True, epochs=1, progress=False, **place)
    twin.train_records(PLAIN.splitlines(), extend=True, epochs=1, progress=False)
    assert bits(model) == bits(twin)
    assert PLAIN.splitlines()[0] in model.index


# -------------------------------------------------------------------------------------- which files


@pytest.fixture
def library(tmp_path):
    """A directory of texts, one of them empty, one hidden."""
    folder = tmp_path / "library"
    (folder / "b").mkdir(parents=True)
    for name, text in {
        "a.txt": "aa\n",
        "b/2.txt": "two",
        "b/1.txt": "\ufeffone\n",
        "c.txt": "",
        ".hidden": "?",
        "d.md": "dd\n",
    }.items():
        (folder / name).write_bytes(text.encode())
    return folder


def read(path, alphabet="characters", **options):
    return corpus.read_files(path, corpus.ReadOptions(alphabet, **options))


def content(source):
    ids = source.ids.read(0, len(source.ids)) if isinstance(source.ids, StoredIds) else source.ids
    return source.vocabulary.decode(ids)


def test_several_files_are_one_text(library):
    assert content(read(library)) == "aa\none\ntwodd\n"
    assert content(read([library / "d.md", str(library / "b")])) == "dd\none\ntwo"
    assert content(read(path for path in [library / "b" / "2.txt"] * 2)) == "twotwo"
    assert content(read(str(library / "**" / "*.txt"))) == "aa\none\ntwo"
    assert content(read(library, "bytes")) == b"aa\n\xef\xbb\xbfone\ntwodd\n"
    found = read([library / "b" / "2.txt", library / "d.md"], records=True)
    assert (content(found), found.lengths.tolist()) == (
        "twodd",
        [3, 2],
    )  # a file's end ends its last line


def test_only_the_first_byte_order_mark_of_a_file_is_dropped(text_file, place):
    text = "\ufeff\ufeff" + "".join("ab"[: i % 3] + "\ufeff" for i in range(20))
    assert content(read(text_file(text))) == text[1:]


MISTAKES = [
    (lambda folder: folder / "no.txt", FileNotFoundError, "No such file or directory: .*no.txt"),
    (lambda folder: str(folder / "*.csv"), FileNotFoundError, r"no file matches .*\*.csv"),
    (lambda folder: folder / "empty", FileNotFoundError, "empty is a directory with no file in it"),
    (lambda folder: [], ValueError, "path names no file"),
    (
        lambda folder: b"a.txt",
        TypeError,
        "path must be a str or path-like, not bytes: train_text trains on what it holds",
    ),
    (lambda folder: 3, TypeError, "path must be a str or path-like, not int"),
    (lambda folder: [[folder / "a.txt"]], TypeError, "path must be a str or path-like, not list"),
    (
        lambda folder: [folder / "c.txt"],
        ValueError,
        "the text has no character; training needs at least 2",
    ),
    (
        lambda folder: folder / "c.txt",
        ValueError,
        "c.txt has no character; training needs at least 2",
    ),
]


@pytest.mark.parametrize(("path", "error", "message"), MISTAKES)
def test_where_there_is_no_text_the_error_says_so(library, path, error, message):
    (library / "empty").mkdir()
    with pytest.raises(error, match=message):
        plain.train_file(path(library))


def test_other_mistakes(text_file, tmp_path):
    with pytest.raises(
        ValueError, match="has no line with a character in it; training needs at least 1"
    ):
        plain.train_file(text_file("\n\r\n"), records=True)
    with pytest.raises(ValueError, match="remember=True needs records=True"):
        plain.train_file(text_file("ab"), remember=True)
    with pytest.raises(ValueError, match="alphabet must be 'characters' or 'bytes'"):
        plain.train_file(text_file("ab"), alphabet="letters")
    with pytest.raises(TypeError, match="progress must be True or False"):
        plain.train_file(text_file("ab"), progress=3)
    with pytest.raises(NotADirectoryError, match="cache must be a directory, not a file"):
        plain.train_file(text_file("ab"), cache=text_file("cd", "file"))
    with pytest.raises(TypeError, match="cache must be a str or path-like, not int"):
        plain.train_file(text_file("ab"), cache=3)
    with pytest.raises(ValueError, match="path has a null character"):
        plain.train_file("a\0b")
    with pytest.raises(FileNotFoundError) as missing:
        plain.train_file("a text,\nand not a name")
    assert missing.value.__notes__ == [
        "This looks like a text, not the name of a file: train_text trains on a text."
    ]


def _zst(data):
    return (
        pytest.importorskip("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
    ).compress(data)


@pytest.mark.parametrize(
    ("ending", "compress"),
    [(".gz", gzip.compress), (".xz", lzma.compress), (".bz2", bz2.compress), (".zst", _zst)],
)
def test_compressed_files_are_what_is_in_them(text_file, place, ending, compress):
    data = ACCENTED.encode()
    path = text_file(
        compress(data[:500]) + compress(data[500:]), f"a{ending}"
    )  # in two parts, as logs are
    assert bits(plain.train_file(path, **SMALL, **place)) == bits(
        plain.train_text(ACCENTED, **SMALL)
    )
    assert bits(plain.train_file([path], alphabet="bytes", **SMALL)) == bits(
        plain.train_text(data, alphabet="bytes", **SMALL)
    )
    second = compress(data[500:])
    torn = [
        compress(data[:500]) + part for part in (b"?" + second[1:], second[:9], b"more")
    ]  # what follows a member is one
    for damaged in (compress(data)[:-9], b"plain text", *torn):
        with pytest.raises(ValueError, match=f"damaged{ending} is not a complete {ending} file: "):
            plain.train_file(text_file(damaged, f"damaged{ending}"))


@pytest.mark.parametrize(
    ("ending", "compress"), [(".gz", gzip.compress), (".xz", lzma.compress), (".bz2", bz2.compress)]
)
def test_zeros_after_what_is_compressed_are_nothing(text_file, monkeypatch, ending, compress):
    """They fill a block up, also between two files."""
    monkeypatch.setattr(sources, "_READ", 5)
    data = ACCENTED.encode()
    path = text_file(
        compress(data[:500]) + bytes(24) + compress(data[500:]) + bytes(16), f"a{ending}"
    )
    assert bits(plain.train_file(path, **SMALL)) == bits(plain.train_text(ACCENTED, **SMALL))


@pytest.mark.parametrize(
    ("data", "byte", "reason"),
    [
        (b"abcdefghij\xff", "10 (0xff)", "invalid start byte"),
        ("abcdeé".encode()[:-1], "5 (0xc3)", "unexpected end of data"),
        ("éééé".encode() + b"\xe2\x82", "8 (0xe2)", "unexpected end of data"),
        ("ab🙂".encode()[:-1] + b"cdefghijkl", "2 (0xf0)", "invalid continuation byte"),
    ],
)
def test_what_is_not_utf8_is_named_by_its_byte(text_file, place, data, byte, reason):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        plain.train_file(text_file(data), **place)
    assert f"input.txt is not UTF-8 at byte {byte}: {reason}; " in str(error.value)


def test_a_binary_file_among_others_suggests_a_pattern(library):
    (library / "__pycache__").mkdir()
    (library / "__pycache__" / "a.pyc").write_bytes(b"\xcb\r\r\n\0\0\0\0")
    with pytest.raises(
        ValueError, match=r"a\.pyc is not UTF-8 at byte 0 .*\*\*/\*\.txt' chooses files"
    ):
        plain.train_file(library)
    with pytest.raises(
        ValueError, match=r"a\.pyc is not UTF-8 at byte 0 .*reads any bytes as they are$"
    ):
        plain.train_file(library / "__pycache__")


# ---------------------------------------------------------------------------------------- the cache


def cached(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_cache_is_of_any_number_of_files(text_file, tmp_path, monkeypatch):
    """Its header does not grow with their number."""
    paths = [text_file("abc", "\U0001f642" * 60)] * 18_000
    written = read(paths, cache=tmp_path / "cache")
    assert (tmp_path / "cache" / cached(tmp_path / "cache")[0]).stat().st_size < len(
        paths
    ) * 3 + 500
    monkeypatch.setattr(corpus, "_scan", None)  # is used again
    assert content(read(paths, cache=tmp_path / "cache")) == content(written) == "abc" * 18_000


def test_a_cache_is_used_again_for_the_same_text_only(text_file, tmp_path, monkeypatch):
    path, folder = text_file(ACCENTED), tmp_path / "deep" / "cache"
    first = plain.train_file(path, **SMALL, cache=folder)
    (name,) = cached(folder)
    passes = []
    monkeypatch.setattr(corpus, "_scan", lambda *a, real=corpus._scan: passes.append(1) or real(*a))
    assert bits(plain.train_file(path, **SMALL, cache=folder)) == bits(first)
    assert not passes
    assert cached(folder) == [name]
    stat = path.stat()
    path.write_bytes(
        ACCENTED.replace("perdu", "gagné").encode()[: stat.st_size]
    )  # as long, and as old
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert "gn" in content(read(path, cache=folder))
    assert len(passes) == 1
    assert cached(folder) == [name]
    os.utime(path, ns=(0, 1))
    read(path, cache=folder)
    read(path, records=True, cache=folder)
    read(path, "bytes", cache=folder)
    read(path, known=first.vocabulary, extend=True, cache=folder)
    with pytest.raises(ValueError, match="does not know"):
        read(path, known=charrnn.Vocabulary("à"), cache=folder)
    assert len(cached(folder)) == 5


@pytest.mark.parametrize(
    "damage",
    [b"", b"\xff" * 20, b"half", b"header", b"an id", b"the last length", b"huge", b"deep"],
)
@pytest.mark.parametrize("records", [False, True])
def test_a_damaged_cache_is_made_anew(text_file, tmp_path, damage, records):
    path = text_file(PLAIN)
    made = plain.train_file(path, records=records, **SMALL, cache=tmp_path / "cache")
    (name,) = cached(tmp_path / "cache")
    whole = (tmp_path / "cache" / name).read_bytes()
    damaged = {
        b"half": whole[: len(whole) // 2],
        b"header": whole.replace(b'"version":"1"', b'"version":"0"'),
        b"an id": whole[:-900] + bytes([whole[-900] ^ 1]) + whole[-899:],
        b"the last length": whole[:-33] + b"\x7f" + whole[-32:],
        b"huge": whole.replace(b'"shape":[', b'"shape":[9999'),
        b"deep": (1 << 20).to_bytes(8, "little") + b"[" * (1 << 20),
    }.get(damage, damage)
    (tmp_path / "cache" / name).write_bytes(damaged)
    assert bits(plain.train_file(path, records=records, **SMALL, cache=tmp_path / "cache")) == bits(
        made
    )
    assert (tmp_path / "cache" / name).read_bytes() == whole


def test_others_can_read_a_cache(text_file, tmp_path):
    source = read(text_file(PLAIN), records=True, cache=tmp_path / "cache")
    (name,) = cached(tmp_path / "cache")
    tensors = pytest.importorskip("safetensors.numpy").load_file(tmp_path / "cache" / name)
    assert tensors["ids"].tolist() == source.ids.tolist()
    assert tensors["lengths"].tolist() == source.lengths.tolist() == [41] * 40


KILLED = """if True:
    import os, signal, sys
    import charrnn
    from charrnn.data import files as corpus
    from charrnn.data import sources
    sources.PIECE, corpus._IN_MEMORY = 100, 0
    left = int(sys.argv[3])
    def killing(real):
        def wrapped(*arguments):
            global left
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments)
        return wrapped
    corpus._codes = killing(corpus._codes)
    charrnn.train_file(sys.argv[1], cache=sys.argv[2] or None, steps=1, progress=False)
"""


@pytest.mark.skipif(os.name != "posix", reason="there is no kill -9")
@pytest.mark.parametrize("moment", [3, 20, 33])
def test_a_kill_during_the_passes_leaves_nothing_wrong(
    text_file, tmp_path, python, moment, monkeypatch
):
    path, folder, temporary = text_file(PLAIN), tmp_path / "cache", tmp_path / "tmp"
    temporary.mkdir()
    for cache in (str(folder), ""):
        command = [python, "-c", KILLED, path, cache, str(moment)]
        ran = subprocess.run(command, env=os.environ | {"TMPDIR": str(temporary)}, timeout=600)
        assert ran.returncode == -signal.SIGKILL
    assert cached(temporary) == []
    assert bits(plain.train_file(path, **SMALL, cache=folder)) == bits(
        plain.train_text(PLAIN, **SMALL)
    )
    assert len([name for name in cached(folder) if not name.endswith(".tmp")]) == 1


# -------------------------------------------------------------------------------- files that change


def append(path):
    with open(path, "ab") as file:
        file.write(b"more")


def rewrite(path):
    path.write_bytes(b"?" * path.stat().st_size)


def truncate(path):
    os.truncate(path, 10)


@pytest.mark.parametrize("change", [append, rewrite, truncate])
@pytest.mark.parametrize("moment", [2, 20])
@pytest.mark.parametrize("records", [False, True])
def test_a_file_that_changes_during_the_passes_is_an_error(
    text_file, place, monkeypatch, change, moment, records
):
    path, calls = text_file(PLAIN), []

    def during(real):
        def wrapped(*arguments):
            calls.append(1)
            if len(calls) == moment:
                change(path)
            return real(*arguments)

        return wrapped

    monkeypatch.setattr(sources, "PIECE", 100)
    monkeypatch.setattr(corpus, "_codes", during(corpus._codes))
    with pytest.raises(
        ValueError,
        match=r"input.txt has changed while it was read: train again when nobody writes to it",
    ):
        plain.train_file(path, records=records, **SMALL, **place)
    if place:
        assert cached(place["cache"]) == []


@pytest.mark.parametrize("records", [False, True])
def test_a_file_that_changes_unseen_between_the_passes_is_an_error(
    text_file, place, monkeypatch, records
):
    path, stat = text_file(PLAIN), text_file(PLAIN).stat()

    def between(*arguments):
        rewrite(path)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    monkeypatch.setattr(corpus, "_check_size", between)
    with pytest.raises(ValueError, match=r"input\.txt has changed while it was read"):
        plain.train_file(path, records=records, **SMALL, **place)


@pytest.mark.parametrize("change", [append, rewrite, truncate])
def test_a_file_that_changes_during_the_training_is_an_error(text_file, monkeypatch, change):
    monkeypatch.setattr(corpus, "_IN_MEMORY", 0)
    path = text_file(PLAIN * 10)
    with pytest.raises(ValueError, match="has changed while it was read") as error:
        plain.train_file(path, alphabet="bytes", **SMALL, callback=lambda report: change(path))
    assert error.value.model.history.steps > 0


# ------------------------------------------------------------------------------------- how it looks


def test_memory_does_not_grow_with_the_text(tmp_path, run_python):
    with open(tmp_path / "large.txt", "wb") as file:
        for _ in range(130):
            file.write(PLAIN.encode() * 600)  # 130 MB in all
    program = """if True:
        import resource, sys, charrnn
        options = {"steps": 300, "batch_size": 16, "progress": False}
        charrnn.train_text("to be, or not to be " * 9, **options)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for alphabet in ("characters", "bytes"):
            charrnn.train_file(sys.argv[1], alphabet=alphabet, **options)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    if not sys.platform.startswith("linux"):
        pytest.skip("ru_maxrss has other units")
    assert (tmp_path / "large.txt").stat().st_size > 130e6
    ran = run_python(program, tmp_path / "large.txt", flags=["-W", "ignore"], check=True)
    assert int(ran.stdout) < 100_000  # kB
    os.unlink(tmp_path / "large.txt")


def test_passes_that_take_long_are_shown(text_file, monkeypatch, capfd):
    monkeypatch.setattr(corpus, "_IN_MEMORY", 0)
    monkeypatch.setattr("charrnn.util.progress._EVERY", 0.0)
    plain.train_file(text_file(PLAIN), **{**SMALL, "progress": True})
    shown = capfd.readouterr().err
    assert "charrnn: 100 %" in shown
    assert ", pass 1 of 2, " in shown
    assert ", pass 2 of 2, " in shown
    assert "MB/s" in shown


def test_the_command_takes_files_of_all_kinds(text_file, tmp_path, python):
    text_file(gzip.compress(PLAIN.encode()), "a.gz")
    command = [
        python,
        "-W",
        "error",
        "-m",
        "charrnn",
        "train",
        tmp_path / "a.gz",
        text_file(PLAIN, "b.txt"),
    ]
    options = [
        "--records",
        "--preset",
        "tutorial",
        "--cache",
        tmp_path / "cache",
        "--epochs",
        "1",
        "-q",
        "-o",
        tmp_path / "m",
    ]
    subprocess.run([*command, *options], capture_output=True, timeout=600, check=True)
    model = charrnn.load(tmp_path / "m")
    assert bits(model) == bits(plain.train_records(PLAIN.splitlines() * 2, epochs=1))
    assert len(cached(tmp_path / "cache")) == 1
    for wrong in (["-", "b.txt"], ["-", "--cache", "c"]):
        ran = subprocess.run(
            [python, "-m", "charrnn", "train", *wrong],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert ran.returncode == 2
        assert "standard input is read once" in ran.stderr


# ------------------------------------------------------------ records between separators, encodings

FORTUNES = "jo\r\nann\r\n%\r\nbob\r\n% \r\n%\r\n%\r\n\r\nzoë"


@pytest.mark.parametrize("piece", [1, 3, 1 << 18])
@pytest.mark.parametrize("alphabet", ["characters", "bytes"])
def test_records_between_separators(tmp_path, monkeypatch, alphabet, piece):
    """As `train_records` reads them; in pieces of any size, and at the end of each file."""
    monkeypatch.setattr(sources, "PIECE", piece)
    monkeypatch.setattr(corpus, "_RECORDS", 2)
    (tmp_path / "1").write_bytes(FORTUNES.encode())
    (tmp_path / "2").write_bytes(b"ann\0\n")
    for separator, expected in {
        "%": ["jo\nann", "bob\n% ", "\nzoë", "ann\0"],
        "": ["jo\nann\n%\nbob\n% \n%\n%", "zoë", "ann\0"],
    }.items():
        found = read(
            [tmp_path / "1", tmp_path / "2"],
            alphabet,
            records=True,
            separator=separator,
            cache=tmp_path / "ids",
        )
        texts = [text.encode() for text in expected] if alphabet == "bytes" else expected
        assert content(found) == texts[0][:0].join(texts)
        assert found.lengths.tolist() == list(map(len, texts))
    found = read(tmp_path / "2", alphabet, records=True, separator="\0")
    assert found.lengths.tolist() == [3, 1]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "cp1252", "utf-8-sig", "shift_jis"])
@pytest.mark.parametrize("piece", [1, 1 << 18])
def test_other_encodings(tmp_path, monkeypatch, encoding, piece):
    monkeypatch.setattr(sources, "PIECE", piece)
    text = "テスト1\nmot\r\n" if encoding == "shift_jis" else "café\nmöt\r\n"
    path = tmp_path / "t"
    path.write_bytes(("\ufeff" * (encoding == "utf-16-le") + text).encode(encoding))
    assert content(read(path, encoding=encoding)) == text
    assert read(path, encoding=encoding, records=True).lengths.tolist() == [4, 3]


def test_a_model_is_trained_on_other_encodings_and_further(tmp_path):
    (tmp_path / "t").write_bytes("é\na\n%\nb".encode("utf-16"))
    how = {"separator": "%", "encoding": "utf-16"}
    model = plain.train_file(tmp_path / "t", records=True, **how, **SMALL)
    twin = plain.train_records(["é\na", "b"], **SMALL)
    assert bits(model) == bits(twin)
    model.train_file(tmp_path / "t", rehearse=tmp_path / "t", **how, epochs=1, progress=False)
    twin.train_records(["é\na", "b"], rehearse=["é\na", "b"], epochs=1, progress=False)
    assert bits(model) == bits(twin)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"separator": "%"}, ValueError, "separator needs records"),
        ({"separator": "a\n", "records": True}, ValueError, "separator must be the text of a line"),
        ({"separator": 3, "records": True}, TypeError, "separator must be a str"),
        ({"encoding": "utf-99"}, ValueError, "encoding must be the name of an encoding"),
        ({"encoding": "base64"}, ValueError, "encoding must be the name of an encoding"),
        ({"encoding": "ascii"}, ValueError, "t is not ascii at byte 2: ordinal not in range"),
        (
            {"encoding": "ascii", "alphabet": "bytes"},
            ValueError,
            "encoding is for characters, but these are bytes",
        ),
    ],
)
def test_separators_and_encodings_are_checked(tmp_path, options, error, message):
    (tmp_path / "t").write_bytes(b"ab\xff")
    with pytest.raises(error, match=message):
        charrnn.train_file(tmp_path / "t", **options)
