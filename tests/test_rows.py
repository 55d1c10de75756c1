"""What `charrnn score` and `charrnn rank` read, in one process: tables, separators, encodings, and
which lines they print.
"""

import io
import json
import sys
from types import SimpleNamespace

import pytest

import charrnn
import plain
from charrnn import cli

NAMES = ["anna", "bob", "hanna", "jo\nann", "zoë"]


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    model = plain.train_records(NAMES * 10, hidden_size=8, epochs=8)
    path = tmp_path_factory.mktemp("rows") / "m.safetensors"
    model.save(path)
    return path


@pytest.fixture(scope="module")
def model(model_file):
    return charrnn.load(model_file)


@pytest.fixture
def run(capsysbinary, monkeypatch, model_file):
    """Run a command on standard input or a file; return its exit code, lines of stdout, and
    stderr.
    """

    def run(command, *arguments, stdin=b"", of=None):
        monkeypatch.setattr(
            sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(stdin)))
        )
        code = cli.main([command, str(of or model_file), *map(str, arguments)])
        printed = capsysbinary.readouterr()
        return (
            code,
            printed.out.decode("utf-8", "surrogateescape").split("\n")[:-1],
            printed.err.decode(),
        )

    return run


def shown(model, *texts):
    return [f"{model.score(text, on_unknown='surprise'):.4f}" for text in texts]


TABLES = {
    "csv": (
        'id,name\n1,anna\n\n2,"jo\nann"\n3,bob\n',
        "name",
        [(2, "anna"), (4, "jo\nann"), (6, "bob")],
    ),
    "tsv": ('id\tname\n1\tanna\n2\t"bob\n', "name", [(2, "anna"), (3, '"bob')]),
    "jsonl": (
        '{"name": "anna"}\n\n{"id": 2, "name": null}\n{"name": "jo\\nann"}\n',
        "name",
        [(1, "anna"), (3, None), (4, "jo\nann")],
    ),
}


@pytest.mark.parametrize("format", TABLES)
def test_a_column_by_name(run, model, tmp_path, format):
    text, column, rows = TABLES[format]
    path = tmp_path / f"table.{format.upper()}"
    path.write_text("\ufeff" + text, encoding="utf-8", newline="")
    options = ["--column", column, "--on-unknown", "surprise"]
    expected = ["nan" if name is None else shown(model, name)[0] for _, name in rows]
    assert run("score", path, *options)[:2] == (0, expected)
    found = run(
        "score", "--format", format, *options, "--json", "--line-number", stdin=text.encode()
    )[1]
    assert [(one["line"], one["text"]) for one in map(json.loads, found)] == rows
    if format == "jsonl":
        ranks = run("rank", path, "--column", column, "--json")[1]
        assert [json.loads(line)["text"] for line in ranks] == [name for _, name in rows]


@pytest.mark.parametrize(
    ("format", "text"),
    [
        ("csv", "1,anna\n2,bob\n"),
        ("tsv", "1\tanna\n2\tbob\n"),
        ("jsonl", '[1, "anna"]\n[2, "bob"]\n'),
    ],
)
def test_a_column_by_number(run, model, format, text):
    assert run("score", "--format", format, "--column", 2, stdin=text.encode())[:2] == (
        0,
        shown(model, "anna", "bob"),
    )


WRONG = [
    (["--column", "name"], b"name\n", "--column needs --format csv, tsv or jsonl"),
    (["--format", "csv"], b"", "--format needs --column"),
    (["--column", "0", "--format", "csv"], b"", "--column must be from 1 to"),
    (
        ["--column", "nam", "--format", "csv"],
        b"id,name\n1,anna\n",
        "the first row has no column 'nam'; did you mean name?",
    ),
    (
        ["--column", "x", "--format", "tsv"],
        b"id\tname\n",
        "the first row has no column 'x'; there are 'id', 'name'",
    ),
    (
        ["--column", "2", "--format", "csv"],
        b"1,anna\n2\n",
        "line 2 has 1 column: --column 2 is not there",
    ),
    (["--column", "2", "--format", "csv"], b'1,anna\n2,"bob\n', "line 2: unexpected end of data"),
    (
        ["--column", "name", "--format", "jsonl"],
        b'{"name": "anna"}\n{"nam": 1}\n',
        "line 2 has no 'name'",
    ),
    (
        ["--column", "name", "--format", "jsonl"],
        b'{"name": "anna"}\n{"name": 1}\n',
        "line 2: 'name' is 1, and not a string",
    ),
    (
        ["--column", "name", "--format", "jsonl"],
        b'{"name": "anna"}\n[[' * 5000,
        "line 2 is not JSON",
    ),
    (["--column", "name", "--separator", "%"], b"", "--column and --separator exclude each other"),
    (["--separator", r"a\nb"], b"", "--separator must be the text of a line"),
    (
        ["--encoding", "utf-99"],
        b"",
        "--encoding must be the name of an encoding, such as 'utf-16' or 'cp1252', not 'utf-99'",
    ),
    (["--encoding", "hex"], b"", "--encoding must be the name of an encoding"),
    (["--encoding", "ascii"], b"anna\xe9", "standard input is not ascii at byte 4"),
    (["--above", "nan"], b"", "--above must be a finite number"),
    (["--top", "0"], b"", "--top must be from 1"),
]


@pytest.mark.parametrize(("arguments", "stdin", "message"), WRONG)
def test_a_mistake_is_exit_code_2_after_what_comes_before_it(run, model, arguments, stdin, message):
    code, lines, error = run("score", *arguments, stdin=stdin)
    assert code == 2
    assert message in error
    assert error.count("\n") == 1
    assert lines == shown(model, "anna") * (
        "anna" in stdin.decode("latin-1") and message.startswith("line 2")
    )


def test_records_between_separators(run, model):
    for text, separator in (
        ("%\njo\nann\n%\nbob\n", "%"),
        ("\njo\r\nann\r\n\r\nbob", ""),
        ("jo\nann\0bob", r"\x00"),
    ):
        code, lines, _ = run("score", "--separator", separator, stdin=text.encode())
        assert (code, lines) == (0, shown(model, "jo\nann", "bob"))


def test_other_encodings(run, model):
    for encoding in ("utf-16", "latin-1", "utf-8"):
        assert run("score", "--encoding", encoding, stdin="anna\nzoë\n".encode(encoding))[
            1
        ] == shown(model, "anna", "zoë")


def test_selected_lines_have_numbers_and_texts(run, model, tmp_path):
    texts = ["anna", "xq%", "bob", "", "hanna", "xq%\rz"]
    (tmp_path / "t").write_bytes("\n".join(texts).replace("\r", "\n").encode())
    texts = [*texts[:-1], "xq%", "z"]
    bits = dict(zip(range(1, 8), map(float, shown(model, *texts)), strict=True))
    limit = sum(sorted(bits.values())[3:5]) / 2
    code, lines, error = run("score", tmp_path / "t", "--above", limit, "--on-unknown", "surprise")
    expected = [f"{n}\t{bits[n]:.4f}\t{texts[n - 1]}" for n in bits if bits[n] > limit]
    assert (code, lines, len(lines)) == (0, expected, 3)
    assert "unknown characters in 2 of 7 lines" in error  # of all lines, whatever is printed
    top = sorted(bits, key=lambda n: (-bits[n], n))
    lines = run("score", tmp_path / "t", "--top", 3, "--on-unknown", "surprise")[1]
    assert [int(line.split("\t")[0]) for line in lines] == top[:3]
    lines = run(
        "score",
        tmp_path / "t",
        "--top",
        2,
        "--above",
        bits[top[0]] - 1e-3,
        "--json",
        "--on-unknown",
        "surprise",
    )[1]
    assert {json.loads(line)["line"] for line in lines} <= {*top[:2]}
    assert run("score", "--line-number", stdin=b"anna\nbob\n")[1] == [
        f"{n}\t{x}" for n, x in enumerate(shown(model, "anna", "bob"), 1)
    ]
    lines = run("score", "--separator", "%", "--above", -1, stdin=b"jo\nann\n%\nbob\n")[1]
    assert [line.split("\t")[2] for line in lines] == [r"jo\nann", "bob"]


@pytest.mark.parametrize("alphabet", ["characters", "bytes"])
def test_lines_end_where_they_did_in_the_training(run, tmp_path, alphabet):
    """At a lone carriage return, unless it is a character of the model."""

    def saved(train, data, **options):
        (tmp_path / "t").write_bytes(data)
        model = train(
            tmp_path / "t",
            hidden_size=4,
            steps=2,
            preset="tutorial",
            alphabet=alphabet,
            progress=False,
            **options,
        )
        model.save(tmp_path / "m")
        return model

    def text(line):
        return line.encode() if alphabet == "bytes" else line

    records = saved(charrnn.train_file, b"anna\rbob\r\nhanna\r", records=True)
    expected = [f"{records.score(text(line)):.4f}" for line in ("anna", "bob", "hanna")]
    for data in (b"anna\rbob\rhanna\r", b"anna\r\nbob\r\nhanna\r\n", b"anna\nbob\nhanna"):
        assert run("score", stdin=data, of=tmp_path / "m")[1] == expected
    windows = saved(charrnn.train_file, b"anna\r\nbob\r\n" * 9)
    assert run("score", stdin=b"anna\r\nbob\r\n", of=tmp_path / "m")[1] == [
        f"{windows.score(text(line)):.4f}" for line in ("anna\r", "bob\r")
    ]
    if alphabet == "characters":
        old = saved(charrnn.train_file, b"anna\rbob\r" * 9)
        assert run("score", stdin=b"anna\rbob\r", of=tmp_path / "m")[1] == [
            f"{old.score(line):.4f}" for line in ("anna", "bob")
        ]


def test_a_table_for_a_model_of_bytes(run, tmp_path):
    model = plain.train_records([b"anna", b"\xff"] * 5, alphabet="bytes", hidden_size=4, steps=2)
    model.save(tmp_path / "m")
    options = ["--column", "name", "--format", "csv"]
    assert run("score", *options, stdin=b"name\nanna\n\xff\xfe\n", of=tmp_path / "m")[1] == [
        f"{model.score(x):.4f}" for x in (b"anna", b"\xff\xfe")
    ]
    assert (
        run("score", "--above", 0, stdin=b"\xff\n", of=tmp_path / "m")[1][0].split("\t")[0] == "1"
    )
    code, _, error = run("score", "--encoding", "cp1252", of=tmp_path / "m")
    assert code == 2
    assert "--encoding is for text, but this is a model of bytes" in error


def test_training_on_records_between_separators_in_another_encoding(run, tmp_path, monkeypatch):
    data, expected = "jo\nann\n%\nzoë\n".encode("utf-16"), ["jo\nann", "zoë"]
    twin = plain.train_records(expected * 9, hidden_size=4, steps=3)
    (tmp_path / "t").write_bytes("\n%\n".join(expected * 9).encode("utf-16"))
    options = [
        "--records",
        "--separator",
        "%",
        "--encoding",
        "utf-16",
        "-q",
        "--preset",
        "tutorial",
        "--hidden-size",
        4,
        "--steps",
        3,
    ]
    for source in (tmp_path / "t", "-"):
        monkeypatch.setattr(
            sys,
            "stdin",
            SimpleNamespace(buffer=io.BufferedReader(io.BytesIO((tmp_path / "t").read_bytes()))),
        )
        assert cli.main(["train", str(source), *map(str, options), "-o", str(tmp_path / "m")]) == 0
        assert charrnn.load(tmp_path / "m").score("zoë") == twin.score("zoë")
        code, lines, _ = run(
            "score", "--separator", "%", "--encoding", "utf-16", stdin=data, of=tmp_path / "m"
        )
        assert (code, lines) == (0, [f"{twin.score(text):.4f}" for text in expected])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--separator", "%"], "--separator needs --records"),
        (
            ["--bytes", "--encoding", "cp1252"],
            "--encoding is for characters, but this training reads bytes",
        ),
        (["--records", "--separator", r"a\nb"], "--separator must be the text of a line"),
        (["--encoding", "utf-99"], "--encoding must be the name of an encoding"),
    ],
)
@pytest.mark.parametrize("source", ["t", "-"])
def test_wrong_options_of_a_training_text(tmp_path, monkeypatch, capsys, options, message, source):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t").write_bytes(b"anna\nbob\n")
    monkeypatch.setattr(
        sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(b"anna\nbob\n")))
    )
    assert cli.main(["train", source, *options]) == 2
    assert message in capsys.readouterr().err
