"""The page of a trace: what is in it, and that a text can do nothing there. test_browser.py opens it in one."""

import base64
import html
import json
import re

import numpy as np
import pytest

import charrnn
from charrnn import page

HOSTILE = (
    "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>{{meta}}{{arrays}}&quot;\u2028\u2029\u202e\x00\x1b\t\r\n'\"`${1}\\"
)


@pytest.fixture(scope="module")
def model():
    return charrnn.train_text(HOSTILE * 30, hidden_size=12, steps=200, progress=False)


def parts(written):
    """What lies in a page, by id: the data, and the script and style."""
    found = dict(re.findall(r'<script type="[a-z/]+" id="([a-z0-9-]+)">(.*?)</script>', written, re.DOTALL))
    return json.loads(found.pop("meta")), {name: base64.b64decode(data) for name, data in found.items()}


def test_arrays_are_those_of_the_trace(model):
    trace = model.trace(HOSTILE * 2)
    meta, arrays = parts(trace.html(back=7))
    n = len(trace)
    assert (meta["n"], meta["top"], meta["back"], meta["id_bytes"]) == (n, 5, 7, 1)
    assert [unit["number"] for unit in meta["units"]] == [unit.number for unit in trace.units()]
    for i, unit in enumerate(trace.units()):
        states = np.frombuffer(arrays[f"unit-{i}"], np.uint8).astype(float)
        assert (states - 127) / 127 == pytest.approx(trace.states[0][:, unit.number], abs=0.5 / 127 + 1e-6)
    assert np.frombuffer(arrays["surprise"], "<f4") == pytest.approx(trace.surprise, rel=1e-6)
    ids = np.frombuffer(arrays["ids"], np.uint8)
    labels = [symbol[0] for symbol in meta["symbols"]]
    assert "".join(labels[i] for i in ids)[:11] == "</script><s"
    following = np.frombuffer(arrays["next"], np.uint8).reshape(n, 5)
    assert labels[following[0, 0]] == charrnn.nameable.shown(trace.likeliest(0)[0][0])[0]
    assert np.frombuffer(arrays["probs"], "<u2").reshape(n, 5) / 65535 == pytest.approx(trace.next_probs, abs=1e-5)
    shares = np.frombuffer(arrays["saliency"], np.int8).reshape(n, 7) / 127
    peaks = np.frombuffer(arrays["peaks"], "<f4")
    assert shares * peaks[:, None] == pytest.approx(trace.saliencies(0, n, 7), abs=float(0.51 * peaks.max() / 127))


def test_no_text_is_markup(model):
    written = model.trace(HOSTILE * 2).html(title=HOSTILE)
    assert written.count("<script") == written.count("</script>") == len(parts(written)[1]) + 2
    assert "alert(1)</script" not in written
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
    assert policy == f"default-src 'none'; img-src data:; script-src {page._hash(script)}; style-src {page._hash(style)}"
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
    model = charrnn.train_text("".join(chars), hidden_size=4, steps=5, progress=False, validation_fraction=0)
    meta, arrays = parts(model.trace("".join(chars[:400])).html())
    assert meta["id_bytes"] == 2
    assert len(meta["symbols"]) <= 400 + 5 * 400
    ids = np.frombuffer(arrays["ids"], "<u2")
    assert "".join(meta["symbols"][i][0] for i in ids) == "".join(chars[:400])


def test_the_end_of_a_record_is_shown():
    model = charrnn.train_records(["anna", "hanna"] * 20, hidden_size=8, steps=30, progress=False)
    trace = model.trace("anna")
    meta, arrays = parts(trace.html())
    ids = np.frombuffer(arrays["ids"], np.uint8)
    assert (meta["n"], len(ids), len(arrays["saliency"])) == (4, 5, 5 * meta["back"])
    assert meta["symbols"][ids[4]] == ["∎", "the end of the record", "special"]
    assert "1 bits" not in trace.html() or meta["n"] == 4


def test_units_and_saliency_of_a_long_text_are_fewer(model, monkeypatch):
    monkeypatch.setattr(page, "_STATE_BYTES", 1000)
    monkeypatch.setattr(page, "_SALIENCY_BYTES", 1000)
    meta, _ = parts(model.trace((HOSTILE * 4)[:200]).html())
    assert (len(meta["units"]), meta["all_units"], meta["back"]) == (5, 12, 5)
    meta, arrays = parts(model.trace((HOSTILE * 4)[:200]).html(units=7, back=0))
    assert (len(meta["units"]), meta["back"]) == (7, 0)
    assert "saliency" not in arrays


def test_states_beyond_1_have_a_scale_of_their_own():
    assert page.quantised(np.array([-1.0, -0.5, 0, 1 / 254, 1]), 1.0).tolist() == [0, 64, 127, 128, 254]
    assert page.quantised(np.array([-3.0, 0, 1.5, 3]), 3.0).tolist() == [0, 127, 191, 254]


def test_a_notebook_shows_the_beginning(model):
    shown = model.trace(HOSTILE * 40)._repr_html_()
    frame = html.unescape(re.search(r'srcdoc="([^"]*)"', shown)[1])
    assert 'sandbox="allow-scripts"' in shown
    assert parts(frame)[0]["n"] == 2000
    assert f"Trace: the first 2,000 of {40 * len(HOSTILE):,} characters" in frame
    assert len(shown) < 400_000
