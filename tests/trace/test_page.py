"""The page of a trace: what is in it, and that a text can do nothing there. test_browser.py opens
it in one.
"""

import base64
import html
import json
import math
import re

import numpy as np
import pytest

import charrnn
import plain
from charrnn.trace import page
from charrnn.util.page import hash_of

HOSTILE = (
    "</script><script>alert(1)</script><!--<img src=x "
    "onerror=alert(2)>{{meta}}{{arrays}}&quot;\u2028\u2029\u202e\x00\x1b\t\r\n'\"`${1}\\"
)


@pytest.fixture(scope="module")
def model():
    return plain.train_text(HOSTILE * 30, hidden_size=12, steps=200)


def parts(written):
    """What lies in a page, by id: the data, and the script and style."""
    found = dict(
        re.findall(r'<script type="[a-z/]+" id="([a-z0-9-]+)">(.*?)</script>', written, re.DOTALL)
    )
    return json.loads(found.pop("meta")), {
        name: base64.b64decode(data) for name, data in found.items()
    }


def test_arrays_are_those_of_the_trace(model):
    trace = model.trace(HOSTILE * 2)
    meta, arrays = parts(trace.html(back=7))
    n = len(trace)
    assert (meta["n"], meta["top"], meta["back"], meta["id_bytes"]) == (n, 5, 7, 1)
    assert [unit["number"] for unit in meta["units"]] == [unit.number for unit in trace.units()]
    for i, unit in enumerate(trace.units()):
        states = np.frombuffer(arrays[f"unit-{i}"], np.uint8).astype(float)
        assert (states - 127) / 127 == pytest.approx(
            trace.states[0][:, unit.number], abs=0.5 / 127 + 1e-6
        )
    assert np.frombuffer(arrays["surprise"], "<f4") == pytest.approx(trace.surprise, rel=1e-6)
    ids = np.frombuffer(arrays["ids"], np.uint8)
    labels = [symbol[0] for symbol in meta["symbols"]]
    assert "".join(labels[i] for i in ids)[:11] == "</script><s"
    following = np.frombuffer(arrays["next"], np.uint8).reshape(n, 5)
    assert labels[following[0, 0]] == charrnn.trace.properties.shown(trace.likeliest(0)[0][0])[0]
    assert np.frombuffer(arrays["probs"], "<u2").reshape(n, 5) / 65535 == pytest.approx(
        trace.next_probs, abs=1e-5
    )
    shares = np.frombuffer(arrays["saliency"], np.int8).reshape(n, 7) / 127
    peaks = np.frombuffer(arrays["peaks"], "<f4")
    bits = trace.saliencies(0, n, 7) / math.log(2)
    assert shares * peaks[:, None] == pytest.approx(bits, abs=float(0.51 * peaks.max() / 127))


def test_gates_and_cells_of_each_layer_are_there_in_words_and_bytes():
    model = plain.train_text(HOSTILE * 5, cell="lstm", n_layers=2, hidden_size=6, steps=100)
    trace = model.trace(HOSTILE * 2)
    trace.network.weights.views()["bi2"][...] = 3  # so that cells go beyond 1
    trace = model.trace(HOSTILE * 2)
    assert abs(trace.parts[1]["c"]).max() > 1
    meta, arrays = parts(trace.html())
    assert [layer["parts"] for layer in meta["layers"]] == [list("hcifgo")] * 2
    assert "2 layers: lstm of 6 units · 45 symbols" in trace.html()
    assert [(name, words) for name, words, _ in meta["parts"]][3] == ("f", "forget gate f")
    wanted = [unit._asdict() for part in "hcifgo" for unit in trace.units(part=part)]
    assert [{name: unit[name] for name in wanted[0]} for unit in meta["units"]] == wanted
    for i, unit in enumerate(meta["units"]):
        values, step = (
            trace.parts[unit["layer"]][unit["part"]][:, unit["number"]],
            (unit["most"] - unit["least"]) / 254,
        )
        assert unit["least"] + step * np.frombuffer(arrays[f"unit-{i}"], np.uint8) == pytest.approx(
            values, abs=step * 0.501
        )
        expected = (
            (0, 1)
            if unit["part"] in "ifo"
            else (-1, 1)
            if unit["part"] in "hg"
            else (-unit["most"], max(1, abs(values).max()))
        )
        assert (unit["least"], unit["most"]) == expected


def test_of_layers_of_different_cells_each_has_its_own_parts():
    model = plain.train_text(HOSTILE * 5, cell="gru", hidden_size=5, steps=20)
    meta, _ = parts(model.trace(HOSTILE).html(parts=["u", "h"]))
    assert [words for _, words, _ in meta["parts"]] == ["state h", "update gate u"]
    assert len(meta["units"]) == 10
    network, vocabulary = (
        charrnn.network.Network(([("lstm", 4), ("rnn", 3), ("gru", 2)], 3), "float64"),
        charrnn.Vocabulary("abc"),
    )
    trace = charrnn.trace.Trace(
        network, vocabulary, "abca", np.zeros(network.workspace(1, 1).state.shape[1])
    )
    meta, _ = parts(trace.html(parts=("c", "q")))
    assert [layer["parts"] for layer in meta["layers"]] == [["c"], [], ["q"]]
    assert "lstm of 4 units, rnn of 3 units, gru of 2 units · 3 symbols" in trace.html()
    assert [(unit["layer"], unit["part"]) for unit in meta["units"]] == [(0, "c")] * 4 + [
        (2, "q")
    ] * 2
    assert parts(trace.html(parts=[]))[0]["units"] == []


def test_what_has_no_bounds_is_written_as_far_as_numbers_reach():
    network, vocabulary = (
        charrnn.network.Network(([("gru", 4)], 3), "float32"),
        charrnn.Vocabulary("abc"),
    )
    weights = network.weights.views()
    weights["Whn"][...], weights["bhn"][...], weights["bn"][...] = 3e38, 3e38, 1
    trace = charrnn.trace.Trace(
        network, vocabulary, "abca" * 5, np.zeros(network.workspace(1, 1).state.shape[1])
    )
    assert np.isinf(trace.parts[0]["q"]).any()
    meta, _ = parts(trace.html())
    (unit, *_) = [unit for unit in meta["units"] if unit["part"] == "q"]
    assert unit["most"] == pytest.approx(1e30)
    assert all(np.isfinite(unit["correlation"]) for unit in meta["units"])


def test_of_a_long_text_units_travel_whole(monkeypatch):
    model = plain.train_text(HOSTILE * 5, cell="lstm", n_layers=2, hidden_size=12, steps=100)
    trace = model.trace((HOSTILE * 4)[:200])
    monkeypatch.setattr(
        page.make, "__kwdefaults__", page.make.__kwdefaults__ | {"room": 200 * 12 * 3}
    )
    meta, _ = parts(trace.html())
    whole = {(unit["layer"], unit["number"]) for unit in meta["units"]}
    assert len(whole) == 2 * 3
    assert len(meta["units"]) == 2 * 3 * 6
    for layer in (0, 1):
        ranked = sorted(
            (unit for part in "hcifgo" for unit in trace.units(part=part)),
            key=lambda unit: -abs(unit.correlation),
        )
        best = list(dict.fromkeys(unit.number for unit in ranked if unit.layer == layer))[:3]
        assert {number for i, number in whole if i == layer} == set(best)
    assert len(parts(trace.html(parts=["h"]))[0]["units"]) == 24


def test_no_text_is_markup(model):
    written = model.trace(HOSTILE * 2).html(title=HOSTILE)
    assert written.count("<script") == written.count("</script>") == len(parts(written)[1]) + 2
    assert "alert(1)</script" not in written
    assert "<" not in re.search(r'id="meta">(.*)</script>\n', written)[1]
    title = re.search("<title>(.*)</title>", written)[1]
    assert html.unescape(title).startswith(HOSTILE[:60])
    assert title.endswith("[2028][2029][202E][00][1B]⇥   [0D]↵&#x27;&quot;`${1}\\")
    for char in "\u2028\u2029\u202e\x00\x1b":
        assert char not in written
    assert "{{" not in written.replace(title, "")


def test_a_policy_lets_the_pages_own_script_run_and_nothing_else(model):
    written = model.trace("<").html()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', written)[1]
    (script,) = re.findall(r"<script>(.*?)</script>", written, re.DOTALL)
    (style,) = re.findall(r"<style>(.*?)</style>", written, re.DOTALL)
    assert (
        policy == f"default-src 'none'; img-src data:; script-src {hash_of(script)}; style-src "
        f"{hash_of(style)}"
    )
    assert not re.search(r"https?://|\ssrc=|@import|url\(", written)


def test_a_lone_surrogate_in_a_title_is_written(model, tmp_path):
    model.trace("<").save_html(tmp_path / "page.html", title="a\ud800b")
    assert "<title>a[D800]b</title>" in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", ["", "<"])
def test_short_texts_have_a_page(model, text):
    trace = model.trace(text)
    meta, _ = parts(trace.html())
    assert meta["n"] == len(text)
    assert meta["back"] <= len(text)
    assert "<iframe" in trace._repr_html_()


def test_only_symbols_that_occur_are_written():
    chars = [chr(i) for i in range(0x4E00, 0x4E00 + 3000)]
    model = plain.train_text("".join(chars), hidden_size=4, steps=5, validation_fraction=0)
    meta, arrays = parts(model.trace("".join(chars[:400])).html())
    assert meta["id_bytes"] == 2
    assert len(meta["symbols"]) <= 400 + 5 * 400
    ids = np.frombuffer(arrays["ids"], "<u2")
    assert "".join(meta["symbols"][i][0] for i in ids) == "".join(chars[:400])


def test_the_end_of_a_record_is_shown():
    model = plain.train_records(["anna", "hanna"] * 20, hidden_size=8, steps=30)
    trace = model.trace("anna")
    meta, arrays = parts(trace.html())
    ids = np.frombuffer(arrays["ids"], np.uint8)
    assert (meta["n"], len(ids), len(arrays["saliency"])) == (4, 5, 5 * meta["back"])
    assert meta["symbols"][ids[4]] == ["∎", "the end of the record", "feed"]
    assert "1 bits" not in trace.html() or meta["n"] == 4


def test_units_and_saliency_of_a_long_text_are_fewer(model, monkeypatch):
    monkeypatch.setattr(page.make, "__kwdefaults__", page.make.__kwdefaults__ | {"room": 1000})
    monkeypatch.setattr(page, "_SALIENCY_BYTES", 1000)
    meta, _ = parts(model.trace((HOSTILE * 4)[:200]).html())
    assert (len(meta["units"]), meta["layers"][0]["units"], meta["back"]) == (5, 12, 5)
    meta, arrays = parts(model.trace((HOSTILE * 4)[:200]).html(units=7, back=0))
    assert (len(meta["units"]), meta["back"]) == (7, 0)
    assert "saliency" not in arrays


def test_a_value_is_the_nearest_byte_of_its_scale():
    assert page.quantised(np.array([-1.0, -0.5, 0, 1 / 254, 1]), -1.0, 1.0).tolist() == [
        0,
        64,
        127,
        128,
        254,
    ]
    assert page.quantised(np.array([-3.0, 0, 1.5, 3]), -3.0, 3.0).tolist() == [0, 127, 191, 254]
    assert page.quantised(np.array([0.0, 0.5, 0.75, 1]), 0.0, 1.0).tolist() == [0, 127, 191, 254]


def test_a_notebook_shows_the_beginning(model):
    shown = model.trace(HOSTILE * 40)._repr_html_()
    frame = html.unescape(re.search(r'srcdoc="([^"]*)"', shown)[1])
    assert 'sandbox="allow-scripts"' in shown
    assert parts(frame)[0]["n"] == 2000
    assert f"Trace: the first 2,000 of {40 * len(HOSTILE):,} characters" in frame
    assert len(shown) < 400_000
