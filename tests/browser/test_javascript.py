"""Models as JavaScript: in exact mode Node has Python's bits, otherwise nearly; what rounded
weights cost; damaged input.
"""

import copy
import functools
import gzip
import json
import math
import re
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import charrnn
from charrnn import browser
from charrnn.browser import kernels
from charrnn.inference import ranking
from charrnn.network import dispatch
from charrnn.network._types import CELLS
from charrnn.util import page

NODE = shutil.which("node")
node = pytest.mark.skipif(NODE is None, reason="there is no Node here")
same_bits = pytest.mark.skipif(
    dispatch.isa == "baseline", reason="without FMA Python's own bits are others"
)
NAMES = charrnn.datasets.names()[:300]
TEXT = "to be, or not to be: that is the <question>\n" * 9 + 'é "quoted" \\ 💡 \u2028' * 3
TINY = {"steps": 60, "preset": "tutorial", "progress": False}
CASES = {
    "rnn of text": lambda: charrnn.train_text(TEXT, hidden_size=21, **TINY),
    "gru of text, two layers": lambda: charrnn.train_text(
        TEXT, cell="gru", n_layers=2, hidden_size=13, **TINY
    ),
    "lstm of records, counts": lambda: charrnn.train_records(
        NAMES, cell="lstm", hidden_size=18, ngram=4, **TINY
    ),
    "three layers of records": lambda: charrnn.train_records(
        NAMES, n_layers=3, hidden_size=16, **TINY
    ),
    "rare characters": lambda: charrnn.train_records(
        [*NAMES, *(f"an{c}" for c in "ßΩ☃é")], min_char_count=2, **TINY
    ),
    "bytes": lambda: charrnn.train_text(TEXT.encode(), alphabet="bytes", hidden_size=8, **TINY),
    "600 symbols": lambda: charrnn.train_text(
        "".join(map(chr, range(600, 1200))), hidden_size=4, **TINY
    ),
}
WEIGHTS = [(case, "float32", "compiled") for case in CASES]
WEIGHTS += [
    ("lstm of records, counts", "int8", "script"),
    ("gru of text, two layers", "int8", "compiled"),
]
WEIGHTS += [
    ("gru of text, two layers", "float16", "script"),
    ("three layers of records", "float32", "script"),
]


@functools.cache
def trained(case):
    return CASES[case]()


@pytest.fixture(autouse=True)
def small_tables(monkeypatch):
    for name, value in {
        "_SAMPLES": 500,
        "_EXACT": 300,
        "_FOLLOWED": 1 << 12,
        "_CHARACTERS": 1 << 13,
    }.items():
        monkeypatch.setattr(ranking, name, value)
    monkeypatch.setattr(browser, "_CHARACTERS", 2000)


def run(program, *arguments, stdin=None):
    """What a program prints as JSON; numbers that are not finite are strings."""
    print_ = (
        "const print = (value) => console.log(JSON.stringify(value, (_, v) => typeof v === "
        '"number" && !isFinite(v) ? `${v}` : v));'
    )
    command = [NODE, "-e", print_ + program, *map(str, arguments)]
    ran = subprocess.run(
        command, input=json.dumps(stdin), capture_output=True, timeout=120, encoding="utf-8"
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    return json.loads(ran.stdout)


def exported(model, path, weights="float32"):
    """Write a model, and return it with the weights that the file has."""
    model.save_js(path, weights=weights)
    found = copy.deepcopy(model)
    found.network.weights.block[...] = browser.exported_network(model._state, weights).weights.block
    return found


USE = """
// As where a page may not compile.
if (process.argv[2] === "script") globalThis.WebAssembly = undefined;
const model = require(process.argv[1]);
const { texts, prefix } = JSON.parse(require("fs").readFileSync(0, "utf8"));
const drawn = { exact: true, seed: 5, length: 30, temperature: 0.8, topK: 12, topP: 0.9 };
print({
  exact: texts.map((text) => model.score(text, { exact: true, total: true })),
  mean: texts.map((text) => model.score(text, { exact: true })),
  fast: texts.map((text) => model.score(text, { total: true })),
  next: [...model.nextProbs(prefix, { exact: true })],
  drawn: [0, 1, 2, 3].map((number) => model.generate({ ...drawn, number })),
  free: [0, 1].map((number) =>
    model.generate({ exact: true, seed: 2n ** 60n, number, prime: prefix, length: 20 })),
  best: model.generate({ exact: true, temperature: 0, length: 9 }),
  ranks: model.ranks ? texts.map((text) => Object.values(model.rank(text))) : [],
});
"""


@node
@same_bits
@pytest.mark.parametrize(("case", "weights", "how"), WEIGHTS)
def test_node_has_the_bits_of_python(case, weights, how, tmp_path):
    model = exported(trained(case), tmp_path / "model.js", weights)
    of_bytes = model.vocabulary.of_bytes
    shown = (lambda text: text.decode("utf-8", "replace")) if of_bytes else str
    texts = [
        text
        for text in model.generate_many(60 if len(model.vocabulary) < 99 else 6, 12, seed=1)
        if text
    ]
    texts = ["to be", "né"] if of_bytes else texts + texts[:1] * 2
    python = [text.encode() if of_bytes else text for text in texts]
    prefix = texts[0][:2]
    found = run(USE, tmp_path / "model.js", how, stdin={"texts": texts, "prefix": prefix})
    assert found["exact"] == model.score_many(python, total=True).tolist()
    assert found["mean"] == model.score_many(python).tolist()
    assert found["fast"] == pytest.approx(found["exact"], rel=1e-4)
    start = prefix.encode() if of_bytes else prefix
    assert np.array_equal(np.float32(found["next"]), model.next_probs(start))
    drawn = {"seed": 5, "temperature": 0.8, "top_k": 12, "top_p": 0.9}
    assert found["drawn"] == [shown(text) for text in model.generate_many(4, 30, **drawn)]
    assert found["free"] == [
        shown(text) for text in model.generate_many(2, 20, seed=2**60, prime=start)
    ]
    assert found["best"] == shown(model.generate(9, temperature=0))
    if model.vocabulary.records:
        ranks = model.rank(python)
        guesses, low, high = np.array(found["ranks"], float).T
        top = (ranks.low == ranks.high) & (ranks.guesses <= 256)
        assert (guesses[top] == ranks.guesses[top]).all()
        assert top.any()
        assert np.median(np.abs(guesses / ranks.guesses - 1)) < 0.03
        assert guesses == pytest.approx(ranks.guesses, rel=0.5)
        assert (low <= guesses).all()
        assert (guesses <= high).all()
        assert np.median(np.abs(high / ranks.high - 1)) < 0.05


ARITHMETIC = """
const source = require("fs").readFileSync(process.argv[1], "utf8");
const inside = source.replace(
  /return CharRNN;\\n/, "return { fma, fmaDouble, fromHalf, numbers };\\n");
const { fma, fmaDouble, fromHalf, numbers } = new Function(`${inside}; return CharRNN;`)();
const { singles, doubles, digits } = JSON.parse(require("fs").readFileSync(0, "utf8"));
print({
  singles: singles.map((abc) => fma(...abc)), doubles: doubles.map((abc) => fmaDouble(...abc)),
  halves: Array.from({ length: 0x7c00 }, (_, i) => fromHalf(i)),
  negative: fromHalf(0xbc00), numbers: numbers(digits),
});
"""


def nearest(exact, dtype):
    """The number of a type that is nearest to a fraction; of two the even one."""
    first = dtype(float(exact))
    around = [np.nextafter(first, dtype(-np.inf)), first, np.nextafter(first, dtype(np.inf))]
    integer = f"u{first.itemsize}"
    return float(
        min(around, key=lambda x: (abs(Fraction(float(x)) - exact), int(x.view(integer)) & 1))
    )


@node
def test_fused_multiply_adds_round_once(tmp_path):
    """Also where the sum in double is halfway between two float32, and among subnormal numbers."""
    rng = np.random.default_rng(0)
    singles = []
    for scale in (1, 1e-3, 1e4, 1e-38, 1e-41):
        a, b = rng.normal(size=(2, 200)).astype(np.float32)
        c = (rng.normal(size=200) * scale).astype(np.float32)
        singles += np.stack([a * np.float32(min(1, scale * 1e3)), b, c], 1).tolist()
    ulp = 2.0**-23
    for odd in range(1, 40, 2):  # 1 + odd ulp, and a product of about half an ulp
        for off in (0, 2.0**-23, -(2.0**-23), 2.0**-12):
            singles.append([ulp / 2, float(np.float32(1 + off)), 1 + odd * ulp])
            singles.append([-ulp / 2, float(np.float32(1 + off)), 1 + odd * ulp])
    tiny = 2.0**-149
    singles += [
        [tiny * 3, 0.5, 0.0],
        [tiny * 3, 0.5, 2.0**-126],
        [2.0**-100, 2.0**-50 * (1 + ulp), tiny],
        [2.0**-60, 2.0**-100, tiny * 5],
    ]
    doubles = rng.normal(size=(300, 3)) * 10.0 ** rng.integers(-9, 9, (300, 3))
    doubles[::3, 2] = (
        -doubles[::3, 0] * doubles[::3, 1]
    )  # what is left is the rounding of the product
    some = [0, 90, 91, 92, 8000, 91**3, 1_114_111, 5]
    stdin = {"singles": singles, "doubles": doubles.tolist(), "digits": browser.digits(some)}
    (tmp_path / "runtime.js").write_text(
        page.read("charrnn.browser", "runtime.js"), encoding="utf-8"
    )
    found = run(ARITHMETIC, tmp_path / "runtime.js", stdin=stdin)
    exact = [[Fraction(x) for x in abc] for abc in singles]
    assert found["singles"] == [nearest(a * b + c, np.float32) for a, b, c in exact]
    exact = [[Fraction(x) for x in abc] for abc in doubles.tolist()]
    assert found["doubles"] == [nearest(a * b + c, np.float64) for a, b, c in exact]
    assert found["halves"] == np.arange(0x7C00, dtype="<u2").view("<f2").astype(float).tolist()
    assert found["negative"] == -1
    assert found["numbers"] == some


def test_it_has_every_cell():
    runtime = Path(browser.__file__).with_name("runtime.js").read_text(encoding="utf-8")
    assert re.findall(r"^  (\w+): \{ sums:", runtime, re.MULTILINE) == [*CELLS]


@node
@same_bits
def test_unknown_characters(tmp_path):
    model = exported(trained("lstm of records, counts"), tmp_path / "model.js")
    program = """
        const model = require(process.argv[1]);
        const all = (onUnknown) => ({ exact: true, total: true, onUnknown });
        let message;
        try { model.score("anÜa"); } catch (error) { message = `${error.name}: ${error.message}`; }
        print([message, model.score("anÜÖa", all("skip")),
            model.score("ÜanÜÖa", all("surprise")), model.rank("Üa").low, model.rank("").low]);
    """
    message, skip, surprise, unknown, empty = run(program, tmp_path / "model.js")
    assert message == 'RangeError: the model does not know "Ü", character 2'
    assert skip == model.score("anÜÖa", total=True, on_unknown="skip")
    assert surprise == model.score("ÜanÜÖa", total=True, on_unknown="surprise")
    assert unknown == empty == "Infinity"


@node
@same_bits
def test_rare_characters(tmp_path):
    model = exported(trained("rare characters"), tmp_path / "model.js")
    program = """
        const model = require(process.argv[1]);
        const how = { exact: true, total: true, onUnknown: "surprise" };
        const texts = ["anΩ", "☃naéß", "Ü☃"];
        print([texts.map((text) => model.score(text, how)), model.losses("anΩ", how).losses,
            model.generate({ exact: true, prime: "Ω", seed: 1, length: 12 }),
            model.rank("anΩ").guesses]);
    """
    scores, losses, written, guesses = run(program, tmp_path / "model.js")
    texts = ["anΩ", "☃naéß", "Ü☃"]
    assert scores == model.score_many(texts, total=True, on_unknown="surprise").tolist()
    assert losses == (-model.log_probs("anΩ")).tolist()
    assert written == model.generate(12, prime="Ω", seed=1)
    assert guesses == "Infinity"


@node
@same_bits
def test_context_and_end(tmp_path):
    model = exported(trained("lstm of records, counts"), tmp_path / "model.js")
    program = """
        const model = require(process.argv[1]);
        print([
            model.score("na", { exact: true, context: "an", end: false }),
            model.losses("anna", { exact: true }).losses]);
    """
    score, losses = run(program, tmp_path / "model.js")
    assert score == model.score("na", context="an", end=False)
    assert losses == (-model.log_probs("anna")).tolist()


def test_rounding_costs_little_and_says_how_much(tmp_path):
    model = copy.deepcopy(trained("lstm of records, counts"))
    files = {
        weights: model.save_js(tmp_path / f"{weights}.js", weights=weights)
        for weights in ("float32", "float16", "int8")
    }
    assert files["float32"].cost == 0
    assert abs(files["float16"].cost) < 1e-3
    assert abs(files["int8"].cost) < 0.05
    assert files["int8"].size < files["float16"].size < files["float32"].size
    for weights, written in files.items():
        assert written.compressed < written.size == (tmp_path / f"{weights}.js").stat().st_size
    rough = copy.deepcopy(model)
    rough.network.weights.views()["by"][3] += 5
    assert browser._cost(model._state, rough.network) > 0.01


def test_the_runtime_is_small():
    compiled = [kernels.module(fused).hex() for fused in (True, False)]
    assert len(gzip.compress(browser._script(json.dumps({"kernels": compiled})).encode())) < 10_000


def test_a_page_allows_only_its_own_script_and_no_requests(tmp_path):
    model = charrnn.train_text(TEXT + "</script><!--", hidden_size=5, **TINY)
    model.save_js(tmp_path / "page.html", title="</title><script>alert(1)</script>")
    written = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in written
    data = written.partition('<script type="application/json" id="model">')[2].partition(
        "</script>"
    )[0]
    assert json.loads(data)["chars"] == model.vocabulary.chars
    assert "<" not in data
    script = written.partition("<script>")[2].partition("</script>")[0]
    assert (
        f"default-src 'none'; img-src data:; script-src {page.hash_of(script)} "
        f"'wasm-unsafe-eval'; style-src" in written
    )
    assert written.count("<script") == 2
    assert "src=" not in written


def test_wrong_exports(tmp_path):
    model = copy.deepcopy(trained("rnn of text"))
    with pytest.raises(ValueError, match=r"path must end in \.html or \.js, not .*model\.txt"):
        model.save_js(tmp_path / "model.txt")
    with pytest.raises(ValueError, match="weights must be 'float32', 'float16' or 'int8'"):
        model.save_js(tmp_path / "model.js", weights="int4")
    with pytest.raises(ValueError, match="page must be 'generator': a model of text"):
        model.save_js(tmp_path / "page.html", page="meter")
    model.network.weights.views()["by"][0] = math.inf
    with pytest.raises(ValueError, match="not finite, or too large for float32: no file"):
        model.save_js(tmp_path / "model.js")
    assert list(tmp_path.iterdir()) == []


@node
@same_bits
def test_weights_beyond_the_others(tmp_path):
    """One is too large for float16; int8 has it, in many steps, and others become 0."""
    model = copy.deepcopy(trained("rnn of text"))
    views = model.network.weights.views()
    views["Whh"][:, 3] = views["Why"][...] = 0
    model.save_js(tmp_path / "model.js", weights="int8")
    views["Whh"][0, 0] = -1e6
    with pytest.raises(ValueError, match="too large for float16"):
        model.save_js(tmp_path / "model.js", weights="float16")
    found = exported(model, tmp_path / "model.js", "int8")
    weights = found.network.weights.views()["Whh"]
    assert weights[0, 0] == pytest.approx(-1e6, rel=0.01)
    assert np.count_nonzero(weights) == 1
    program = "print(require(process.argv[1]).score('to be', { exact: true }))"
    assert run(program, tmp_path / "model.js") == found.score("to be")


STOP = """
const model = require(process.argv[1]);
print(JSON.parse(require("fs").readFileSync(0, "utf8")).map((controls) => {
  const each = [0, 1, 2, 3].map((number) =>
    model.generate({ ...controls, exact: true, seed: 5, length: 30, number }));
  return each.concat([...model.stream({ ...controls, exact: true, seed: 5, length: 30 })].join(""));
}));
"""


@node
@same_bits
@pytest.mark.parametrize("case", ["lstm of records, counts", "rnn of text"])
def test_what_may_be_written_and_where_it_stops(case, tmp_path):
    model = exported(trained(case), tmp_path / "model.js")
    of_python = [
        {"stop": "e"},
        {"stop": ["an", "a", "not"], "min_length": 4},
        {"stop": ["e t", "e", "Ü"], "prime": "t"},
        {"allowed": "abetoÜ", "stop": ["ab", "toe"]},
        {"forbidden": "aeio ", "temperature": 0},
        {"allowed": "abt", "forbidden": "bÜ"},
    ]
    names = {"min_length": "minLength"}
    of_script = [{names.get(name, name): value for name, value in one.items()} for one in of_python]
    found = run(STOP, tmp_path / "model.js", stdin=of_script)
    for controls, texts in zip(of_python, found, strict=True):
        wanted = model.generate_many(4, 30, seed=5, **controls)
        assert texts == [*wanted, wanted[0]], controls


@node
def test_nothing_may_be_written(tmp_path):
    trained("rnn of text").save_js(tmp_path / "model.js")
    program = """
        const model = require(process.argv[1]);
        const wrong = [{ allowed: "" }, { allowed: "t", forbidden: "t" }, { stop: ["t", ""] }];
        print(wrong.map((controls) => {
          try { return model.generate(controls); }
          catch (error) { return `${error.name}: ${error.message}`; }
        }));
    """
    nothing = "RangeError: allowed and forbidden leave no character of the model"
    assert run(program, tmp_path / "model.js") == [
        nothing,
        nothing,
        "RangeError: stop must not have an empty text",
    ]
