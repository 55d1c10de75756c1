"""The pages of traces in a real browser: colours are the trace's numbers, pointer and keys do what
they should, a text can do nothing.

make page-check runs these; they need Playwright and a Chromium. CHARRNN_PICTURES names a folder
for screenshots to look at.
"""

import http.server
import json
import math
import re
import threading

import numpy as np
import pytest

import charrnn
import plain
from charrnn.util.page import read
from chromium import keep_picture

SHAKESPEARE = """HAMLET:
To be, or not to be, that is the question:
Whether 'tis nobler in the mind to suffer
The slings and arrows of outrageous fortune,
Or to take arms against a sea of troubles
And by opposing end them. To die: to sleep;
No more; and by a sleep to say we end
The heart-ache and the thousand natural shocks
That flesh is heir to, 'tis a consummation
Devoutly to be wish'd.

JULIET:
O Romeo, Romeo! wherefore art thou Romeo?
Deny thy father and refuse thy name;
Or, if thou wilt not, be but sworn my love,
And I'll no longer be a Capulet.

ROMEO:
Shall I hear more, or shall I speak at this?

MACBETH:
To-morrow, and to-morrow, and to-morrow,
Creeps in this petty pace from day to day
To the last syllable of recorded time,
And all our yesterdays have lighted fools
The way to dusty death. Out, out, brief candle!
Life's but a walking shadow, a poor player
That struts and frets his hour upon the stage
And then is heard no more: it is a tale
Told by an idiot, full of sound and fury,
Signifying nothing.
"""
HOSTILE = (
    "</script><script>alert('script')</script><img src='https://example.org/x.png' "
    "onerror=\"alert('image')\">"
    "<svg onload=alert(1)><iframe src=javascript:alert(2)></iframe>]]><!--"
    "{{meta}}${alert(3)}\u2028\u2029\u202eesrever\u0000\u001b[31m\x7f\r\n\t\\u003c"
)
COLOURS = """(many) => [...document.querySelectorAll("#text span")].slice(0, many)
    .map((span) => getComputedStyle(span).backgroundColor)"""
STYLE = "".join(read(f"charrnn.{where}", "page.css") for where in ("util", "trace"))


@pytest.fixture(scope="module")
def trace():
    model = plain.train_text(SHAKESPEARE * 8, hidden_size=40, epochs=20)
    return model.trace(SHAKESPEARE)


@pytest.fixture(scope="module")
def layered():
    """Of a network with gates and two layers."""
    model = plain.train_text(SHAKESPEARE * 8, cell="lstm", n_layers=2, hidden_size=24, epochs=8)
    return model.trace(SHAKESPEARE)


def palette(name, dark):
    """A colour of the style, (3,)."""
    both = re.search(rf"--{name}: light-dark\((#\w+), (#\w+)\)", STYLE)
    return np.array(list(bytes.fromhex(both[2 if dark else 1][1:])), float)


def mixed(share, name, dark):
    paper = palette("paper", dark)
    return "rgb({}, {}, {})".format(
        *(math.floor(value + 0.5) for value in paper + (palette(name, dark) - paper) * share)
    )


def both_ways(q, dark=False):
    """The colour of a byte of -127 to 127."""
    return mixed(abs(q) / 127, "low" if q < 0 else "high", dark)


def choose(page, mode):
    page.locator(f'#modes [value="{mode}"]').check()


@pytest.mark.parametrize("dark", [False, True])
def test_colours_are_the_numbers_of_the_trace(visit, trace, dark):
    page = visit(trace.html(), dark=dark)
    best, *_, last = trace.units()
    for name, unit in ((None, best), (len(trace.units()) - 1, last)):
        if name is not None:
            page.locator(f"#pick-{name}").check()
        states = trace.states[0][:400, unit.number].astype(float)
        wanted = [both_ways(q, dark) for q in np.floor(127 * states + 0.5)]
        assert page.evaluate(COLOURS, 400) == wanted
    choose(page, "surprise")
    levels = np.floor(np.minimum(trace.surprise[:400].astype(np.float32) / 8, 1) * 255 + 0.5) / 255
    assert page.evaluate(COLOURS, 400) == [mixed(level, "hot", dark) for level in levels]
    assert len(set(page.evaluate(COLOURS, 400))) > 20


def values_of(trace, unit, many):
    """The bytes of -127 to 127 that the page should have of a unit, and its values."""
    values = trace.parts[unit.layer][unit.part][:, unit.number].astype(float)
    least, most = charrnn.trace.properties.scale(unit.part, values)
    return np.floor(254 * (values[:many] - least) / (most - least) + 0.5) - 127, values[:many]


def test_gates_and_cells_are_chosen_by_layer_and_name(visit, layered):
    page = visit(layered.html(title="Shakespeare"))
    layer, part = (
        page.get_by_role("combobox", name="Layer"),
        page.get_by_role("combobox", name="What of the units colors the text"),
    )
    assert layer.locator("option").all_inner_texts() == [
        "all layers",
        "layer 0, lstm",
        "layer 1, lstm",
    ]
    assert part.locator("option").all_inner_texts() == [
        "state h", "cell state c", "input gate i", "forget gate f", "candidate g", "output gate o"
    ]  # fmt: skip
    for chosen, name in ((1, "f"), (0, "c"), (0, "o"), (1, "h")):
        layer.select_option(str(chosen))
        part.select_option(name)
        units = [unit for unit in layered.units(part=name) if unit.layer == chosen]
        labels = page.locator("#units label").all_inner_texts()
        assert [int(re.search(r"unit (\d+)", label)[1]) for label in labels] == [
            unit.number for unit in units
        ]
        assert units[0].follows in labels[0]
        assert page.locator("summary").inner_text() == "24 units"
        for unit in (units[0], units[-1]):
            page.locator("#units label", has_text=re.compile(rf"unit {unit.number}\b")).click()
            wanted, values = values_of(layered, unit, 400)
            assert page.evaluate(COLOURS, 400) == [both_ways(q) for q in wanted]
            page.locator("#text span").nth(30).hover()
            shown = page.locator("#details span.chosen").inner_text()
            assert shown.split()[0] == name
            assert float(shown.split()[1].replace("−", "-")) == pytest.approx(
                values[30], abs=0.5 * abs(values).max() / 127 + 0.006
            )
            assert page.locator("#details span").count() == 6
    assert "layer 1, unit" in page.locator("#about").inner_text()
    layer.select_option("all")
    assert page.locator("#units label").count() == 48
    part.select_option("f")
    keep_picture(page, "gates")
    assert page.locator("#meaning").inner_text() == "How much of the cell before stays: 0 forgets."
    assert page.get_by_role("img", name="From 0, closed to 1, open").count() == 1
    assert (
        page.get_by_role(
            "radiogroup", name="Unit that colors the text, by its forget gate f"
        ).count()
        == 1
    )


def test_another_part_is_of_the_same_unit(visit, layered):
    page = visit(layered.html())
    unit = layered.units()[7]
    page.locator("#pick-7").check()
    page.locator("#part").select_option("i")
    wanted, _ = values_of(layered, unit._replace(part="i"), 200)
    assert page.evaluate(COLOURS, 200) == [both_ways(q) for q in wanted]
    assert page.locator("#units :checked").count() == 1
    assert (
        f"layer {unit.layer}, unit {unit.number}, input gate i"
        in page.locator("#about").inner_text()
    )
    page.locator("#layer").select_option(
        str(1 - unit.layer)
    )  # which does not have it: the best of that layer
    best = next(one for one in layered.units(part="i") if one.layer != unit.layer)
    assert page.evaluate(COLOURS, 200) == [both_ways(q) for q in values_of(layered, best, 200)[0]]
    page.locator("#filter").fill("no such unit")
    page.locator("#part").select_option("c")
    assert page.locator("#units label:visible").count() == 0
    page.locator("#filter").fill("")
    page.locator("#order").select_option("number")
    numbers = [
        int(re.search(r"unit (\d+)", label)[1])
        for label in page.locator("#units label").all_inner_texts()
    ]
    assert numbers == list(range(24))


def test_gates_are_reached_by_the_keyboard_and_heard(visit, layered):
    page = visit(layered.html())
    reached = []
    for _ in range(9):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "document.activeElement.id || document.activeElement.name || "
                "document.activeElement.tagName"
            )
        )
    assert reached == [
        "theme",
        "mode",
        "text",
        "SUMMARY",
        "layer",
        "part",
        "filter",
        "order",
        "pick-0",
    ]
    page.locator("#layer").focus()
    page.keyboard.press("ArrowDown")
    page.locator("#part").focus()
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    assert page.locator("#part").input_value() == "f"
    page.locator("#text").focus()
    page.keyboard.press("Control+Home")
    shown = page.locator("#details span.chosen").inner_text()
    assert (
        f"H, forget gate f {shown.removeprefix('f ')}. Expected next"
        in page.locator("#live").inner_text()
    )


def test_a_network_without_gates_has_nothing_to_choose(visit, trace):
    page = visit(trace.html())
    assert page.locator("#choice").is_hidden()
    page.locator("#text span").nth(3).hover()
    assert re.search(r"unit \d+: [+−]\d\.\d\d", page.locator("#details").inner_text())


def test_a_click_shows_what_the_prediction_rests_on(visit, trace):
    page = visit(trace.html(back=20))
    for i in (0, 1, 150):
        page.locator("#text span").nth(i).click()
        assert page.locator('#modes [value="saliency"]').is_checked()
        values = trace.saliency(i, 20)
        wanted = ["rgb(255, 254, 251)"] * 300
        for place, value in zip(range(i - len(values), i), values, strict=True):
            wanted[place] = both_ways(np.round(127 * value / np.abs(values).max()))
        assert page.evaluate(COLOURS, 300) == wanted
        assert page.locator("#text .cursor").count() == 1
    keep_picture(page, "saliency")
    bits = abs(values).max() / math.log(2)
    assert re.search(rf"up to ±{bits:.2g} bits", page.locator("#about").inner_text())


def test_hover_shows_what_is_expected_next(visit, trace):
    page = visit(trace.html())
    for i in (3, 200):
        page.locator("#text span").nth(i).hover()
        tip = page.locator("#tip")
        assert tip.is_visible()
        rows = tip.locator("tr").all_inner_texts()
        shown = {" ": "␣", "\n": "↵"}
        assert [row.split("\t")[0] for row in rows] == [
            shown.get(char, char) for char, _ in trace.likeliest(i)
        ]
        for row, (_, p) in zip(rows, trace.likeliest(i), strict=True):
            assert row.split("\t")[-1] == (
                "<1 %"
                if round(p, 5) < 0.01
                else f"{math.floor(100 * round(p * 65535) / 65535 + 0.5)} %"
            )
        came = [char == trace.text[i + 1] for char, _ in trace.likeliest(i)]
        assert [row.get_attribute("class") == "came" for row in tip.locator("tr").all()] == came
        assert f"{trace.surprise[i]:.2f} bits" in page.locator("#details").inner_text()
    keep_picture(page, "hover")
    page.mouse.move(2, 2)
    assert tip.is_hidden()


def test_the_keyboard_alone_reaches_everything(visit, trace):
    page = visit(trace.html())
    reached = []
    for _ in range(7):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "document.activeElement.id || document.activeElement.name || "
                "document.activeElement.tagName"
            )
        )
    assert reached == ["theme", "mode", "text", "SUMMARY", "filter", "order", "pick-0"]
    page.locator("#pick-0").focus()
    page.keyboard.press("ArrowDown")
    assert page.locator("#pick-1").is_checked()
    unit = trace.units()[1]
    assert page.evaluate(COLOURS, 5) == [
        both_ways(q) for q in np.floor(127 * trace.states[0][:5, unit.number].astype(float) + 0.5)
    ]
    page.locator("#text").focus()
    for key in ("Control+Home", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    assert page.locator("#text .cursor").inner_text() == trace.text[2]
    heard = page.locator("#live").inner_text()
    assert heard.startswith("M")
    assert f"{trace.states[0][2, unit.number]:+.2f}".replace("-", "−")[:4] in heard
    assert f"{trace.likeliest(2)[0][0]} " in heard
    page.keyboard.press("ArrowDown")
    assert page.locator("#details h2").inner_text().split("\n")[-1].endswith("line 2, column 3")
    page.keyboard.press("ArrowUp")
    assert "line 1, column 3" in page.locator("#details h2").inner_text()
    page.keyboard.press("End")
    assert page.locator("#text .cursor").inner_text().strip() == "↵"
    page.keyboard.press("Control+End")
    assert "line 31" in page.locator("#details h2").inner_text()
    page.keyboard.press("PageUp")
    page.keyboard.press("Home")
    assert "column 1" in page.locator("#details h2").inner_text()
    page.keyboard.press("Enter")
    assert page.locator('#modes [value="saliency"]').is_checked()
    assert page.locator("#tip").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()


def test_readers_of_the_screen_hear_names(visit, trace):
    page = visit(trace.html(title="Shakespeare"))
    assert page.get_by_role("heading", name="Shakespeare").count() == 1
    assert page.get_by_role("textbox", name="The text").count() == 1
    best = trace.units()[0]
    assert page.get_by_role("radio", name=re.compile(re.escape(best.follows))).count() >= 1
    for mode in ("unit", "surprise", "saliency"):
        assert page.get_by_role("radio", name=mode, exact=True).count() == 1
    assert page.get_by_role("img", name="From −1 to +1").count() == 1
    assert page.get_by_role("searchbox").count() == page.get_by_role("combobox").count() == 1
    assert page.locator("#live").get_attribute("aria-live") == "polite"
    unnamed = """[...document.querySelectorAll("input, select, button")].filter(
        (one) => !(one.labels?.length || one.getAttribute("aria-label"))).length"""
    assert page.evaluate(unnamed) == 0


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_no_serious_barrier(visit, trace, layered, dark):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    names = plain.train_records(["anna", "hanna"] * 9, steps=20)
    for content in (trace.html(), layered.html(), names.trace(["anna", "hanna"]).html()):
        page = visit(content, dark=dark)
        page.locator("#text span").nth(3).click()
        found = axe.run(page).response["violations"]
        assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []


def test_the_unit_that_was_chosen_colours_the_text_again(visit, trace):
    page = visit(trace.html())
    before = page.evaluate(COLOURS, 100)
    for leave in (
        lambda: choose(page, "surprise"),
        lambda: page.locator("#text span").nth(50).click(),
    ):
        leave()
        assert page.evaluate(COLOURS, 100) != before
        page.locator("#units label").first.click()
        assert page.evaluate(COLOURS, 100) == before
        assert page.locator('#modes [value="unit"]').is_checked()


def test_the_list_of_units_is_filtered_and_ordered(visit, trace):
    page = visit(trace.html())
    units = trace.units()
    assert page.locator("summary").inner_text() == "40 units"
    page.locator("#filter").fill("vowel")
    assert page.locator("#units label:visible").count() == sum(
        unit.follows == "vowel" for unit in units
    )
    page.locator("#filter").fill("")
    page.locator("#order").select_option("number")
    labels = page.locator("#units label").all_inner_texts()
    assert [int(re.search(r"unit (\d+)", label)[1]) for label in labels] == list(range(40))
    page.locator("#order").select_option("rank")
    first = page.locator("#units label").first.inner_text()
    assert units[0].follows in first
    assert f"{abs(units[0].correlation):.2f}" in first


def test_a_hostile_text_does_nothing(visit):
    model = plain.train_text(HOSTILE * 20, hidden_size=16, steps=300)
    page = visit(model.trace(HOSTILE * 3).html(title=HOSTILE))
    assert page.title().startswith(
        "</script><script>alert('script')</script><img src='https://example.org/x.png' onerror="
    )
    for i in (0, 40, len(HOSTILE) - 1):
        page.locator("#text span").nth(i).click()
    assert "</script><script>alert('script')</script>" in page.locator(
        "#text"
    ).inner_text().replace("\n", "")
    assert (
        page.evaluate(
            "document.querySelectorAll('#text img, #text svg, #text iframe, #text script').length"
        )
        == 0
    )
    assert (
        page.evaluate("document.scripts.length")
        == page.evaluate("document.querySelectorAll('script[id]').length") + 1
    )
    keep_picture(page, "hostile")
    assert (
        page.evaluate("getComputedStyle(document.querySelector('#text span')).direction") == "ltr"
    )


@pytest.fixture
def listener():
    """A server on this machine, and what it is asked for."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *arguments):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/picture.png", asked
        server.shutdown()


@pytest.mark.parametrize("policy", [True, False])
def test_what_a_text_could_bring_in_would_not_run(browser, tmp_path, trace, listener, policy):
    """Were there a way into the page: nothing runs, nothing is asked for. Without the policy both
    happen, so they would be seen.
    """
    address, asked = listener
    written = (
        trace[:50]
        .html()
        .replace(
            "</body>",
            f"<script>alert('in')</script><img src='{address}' onerror='alert(\"out\")'></body>",
        )
    )
    path = tmp_path / "page.html"
    path.write_text(
        written if policy else written.replace("Content-Security-Policy", "none"), encoding="utf-8"
    )
    seen = []
    page = browser.new_page()
    page.on("dialog", lambda dialog: (seen.append(dialog.message), dialog.dismiss()))
    page.goto(path.as_uri())
    page.wait_for_timeout(500)
    assert page.locator("#text span").count() == 50
    page.close()
    assert (seen, asked) == (([], []) if policy else (["in", "out"], ["/picture.png"]))


@pytest.mark.parametrize("text", ["", "T", "\n", "\n" * 500, "To " * 3000])
def test_texts_of_any_shape(visit, trace, text):
    model = plain.train_text(SHAKESPEARE, hidden_size=8, steps=20)
    page = visit(model.trace(text).html())
    if not text:
        assert page.locator("#text span").count() == 0
        return
    page.locator("#text").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowUp", "End", "Control+End", "PageUp", "Enter"):
        page.keyboard.press(key)
    assert page.locator("#text .cursor").count() == 1
    whole = (
        """[...document.querySelectorAll("#text div")].map((block) => block.textContent).join("")"""
    )
    assert page.evaluate(whole) == text.replace("\n", "↵\n")


def test_a_page_without_units_and_saliency_has_the_surprise(visit, layered):
    page = visit(layered.html(units=0, back=0))
    page.locator("#text").focus()
    for key in ("ArrowRight", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    page.locator("#text span").nth(30).click()
    assert page.locator("#text .cursor").count() == 1
    assert page.locator('#modes [value="surprise"]').is_checked()
    assert page.locator("#modes :disabled").count() == 2
    assert page.locator("#choice").is_hidden()
    assert page.locator("summary").inner_text() == "0 of 48 units"


def test_records_bytes_and_layers_have_pages(visit):
    records = plain.train_records(["anna", "hanna", "susanna"] * 20, hidden_size=8, epochs=20)
    page = visit(records.trace("susanna").html())
    page.locator("#text span").nth(7).click()
    assert page.locator("#text .cursor").inner_text().strip() == "∎"
    octets = plain.train_text(bytes(range(256)) * 20, alphabet="bytes", hidden_size=8, steps=50)
    page = visit(octets.trace(bytes(range(256)) * 2).html())
    assert "[FF]" in page.locator("#text").inner_text()


@pytest.fixture(scope="module")
def names():
    """Of several records."""
    names = charrnn.datasets.names()[:60]
    options = {"hidden_size": 24, "epochs": 5, "progress": False, "preset": "tutorial"}
    return charrnn.train_records(names * 3, **options).trace(names)


def test_each_record_is_on_a_line_of_its_own(visit, names):
    page = visit(names.html(title="Names"))
    keep_picture(page, "records")
    assert "60 records, 360 characters" in page.locator("header").inner_text()
    assert page.locator("#text").inner_text().split("\n")[:3] == ["aaron∎", "abel∎", "abigail∎"]
    page.locator("#text span").nth(len("aaron|abe")).hover()
    assert "line 2, column 4" in page.locator("#details").inner_text()
    page.locator("#text").focus()
    page.keyboard.press("Control+Home")
    page.keyboard.press("End")
    assert page.locator("#text .cursor").inner_text().strip() == "∎"
    page.locator("#text span").nth(len("aaron|")).click()  # rests on nothing in its record
    assert set(page.evaluate(COLOURS, 30)) == {both_ways(0)}
    page.locator("#text span").nth(len("aaron|ab")).click()
    colored = [i for i, color in enumerate(page.evaluate(COLOURS, 30)) if color != both_ways(0)]
    assert set(colored) <= {len("aaron|"), len("aaron|a")}
    assert colored


def test_a_character_is_chosen_at_first(visit, trace):
    page = visit(trace.html())
    chosen = 1 + int(trace.surprise[1:80].argmax())
    assert page.locator("#text span").nth(chosen).get_attribute("class") == "cursor"
    assert f"{trace.surprise[chosen]:.2f} bits" in page.locator("#details").inner_text()
    choose(page, "saliency")
    assert len(set(page.evaluate(COLOURS, chosen + 1))) > 1
    peak = np.abs(trace.saliency(chosen, 32)).max() / math.log(2)
    up_to = re.search(r"up to ±([\d.]+) bits", page.locator("#about").inner_text())[1]
    assert float(up_to) == pytest.approx(peak, rel=0.06)
    assert "nats" not in page.content().lower()


def test_the_text_has_a_language_and_a_direction_of_its_own(visit):
    text = "shalom\nשלום עולם\nshalom\n" * 4
    options = {"hidden_size": 8, "steps": 50, "progress": False, "preset": "tutorial"}
    page = visit(charrnn.train_text(text * 4, **options).trace(text).html(title="שלום"))
    for place in ("h1", "#text"):
        assert page.locator(place).get_attribute("lang") == ""
        assert page.locator(place).get_attribute("dir") == "auto"
    left = """(i) => {
        const box = document.querySelectorAll("#text span")[i].getBoundingClientRect();
        return box.left - document.getElementById("text").getBoundingClientRect().left;
    }"""
    assert page.evaluate(left, 0) < 50
    assert page.evaluate(left, len("shalom|")) > 200  # the first letter of a line that begins right
    assert page.evaluate(left, len("shalom|שלום עולם|")) < 50


VISIBLE = """([name, within]) => {
    const box = document.querySelector(name).getBoundingClientRect();
    const frame = document.querySelector(within).getBoundingClientRect();
    const seen = Math.min(box.bottom, frame.bottom, innerHeight) - Math.max(box.top, frame.top, 0);
    return seen / box.height;
}"""
UNCOVERED = """(name) => {
    const one = document.querySelector(name), box = one.getBoundingClientRect();
    const x = box.left + box.width / 2, y = box.top + box.height / 2;
    return one.contains(document.elementFromPoint(x, y));
}"""


@pytest.mark.parametrize("size", [(390, 844), (360, 640)])
@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_is_tapped(visit, layered, size, dark):
    page = visit(layered.html(title="Shakespeare"), dark=dark, size=size, phone=True)
    assert page.locator("#list").get_attribute("open") is None
    assert page.locator("#details").is_visible()
    page.locator("#text span").nth(50).tap()
    assert page.locator('#modes [value="saliency"]').is_checked()
    held = page.locator("#details span").all_inner_texts()
    assert [one.split()[0] for one in held] == list("hcifgo")
    keep_picture(page, f"tapped-{size[0]}-{dark}")
    page.locator("summary").tap()
    assert page.locator("#details").is_hidden()
    page.locator("#part").select_option("f")
    for shown in ("#layer", "#part", "#filter", "#units label"):
        assert page.evaluate(VISIBLE, [shown, "aside"]) > 0.99
        assert page.evaluate(UNCOVERED, shown)
    page.locator("#units label").nth(1).tap()
    assert "forget gate f" in page.locator("#about").inner_text()
    keep_picture(page, f"list-{size[0]}-{dark}")
    assert page.evaluate("document.getElementById('text').clientHeight") > 120
    page.locator("#text span").nth(20).tap()  # says what there is to say about it
    assert page.locator("#details").is_visible()
    assert page.locator("#list").get_attribute("open") is None
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]


@pytest.mark.parametrize("dark", [False, True])
def test_the_list_has_rows_in_a_low_window(visit, layered, dark):
    page = visit(layered.html(title="Shakespeare"), dark=dark, size=(1280, 560))
    keep_picture(page, f"low-{dark}")
    for i in (1, 2, 3):
        assert page.evaluate(VISIBLE, [f"#units label:nth-child({i})", "aside"]) > 0.99
        assert page.evaluate(UNCOVERED, f"#units label:nth-child({i})")
    last = page.locator("#units label").last
    last.click()
    assert page.locator("#units label:has(:checked)").inner_text() == last.inner_text()


def test_narrow_and_dark(visit, trace, layered):
    for name, shown, dark, size in (
        ("wide", trace, False, (1280, 800)),
        ("dark", trace, True, (1280, 800)),
        ("narrow", trace, False, (400, 800)),
        ("small", trace, True, (360, 640)),
        ("gates-dark", layered, True, (1280, 800)),
        ("gates-small", layered, False, (360, 640)),
    ):
        page = visit(shown.html(title="Shakespeare"), dark=dark, size=size)
        keep_picture(page, name)
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert page.evaluate("document.getElementById('text').clientHeight") > 200
        red = int(
            re.match(
                r"rgb\((\d+)", page.evaluate("getComputedStyle(document.body).backgroundColor")
            )[1]
        )
        assert (red < 60) == dark


def test_the_colours_can_be_chosen(visit, trace):
    page = visit(trace.html())
    choose(page, "surprise")
    before = page.evaluate(COLOURS, 50)
    page.locator("#theme").click()
    assert page.evaluate(COLOURS, 50) == before  # light
    page.locator("#theme").click()
    levels = np.floor(np.minimum(trace.surprise[:50].astype(np.float32) / 8, 1) * 255 + 0.5) / 255
    assert page.evaluate(COLOURS, 50) == [mixed(level, "hot", True) for level in levels]


@pytest.mark.parametrize("dark", [False, True])
def test_text_is_readable_on_every_colour(dark):
    """WCAG's contrast of text and of each end of a scale, at least 4.5."""

    def luminance(colour):
        linear = [
            value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
            for value in colour / 255
        ]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    ink = luminance(palette("ink", dark))
    for name in ("paper", "low", "high", "hot", "panel"):
        one = luminance(palette(name, dark))
        assert (max(ink, one) + 0.05) / (min(ink, one) + 0.05) >= 4.5, name


def test_a_notebook_shows_the_page(visit, trace):
    page = visit(
        "<!DOCTYPE html><body>"
        + trace._repr_html_()
        + "<script>performance.mark('painted')</script>",
        allowed=("srcdoc", "allow-scripts"),
    )
    frame = page.frame_locator("iframe")
    frame.locator("#text span").nth(30).click()
    assert frame.locator("#text .cursor").count() == 1


@pytest.mark.clock
@pytest.mark.parametrize(
    ("cell", "units", "written_units"), [("rnn", 100, 100), ("lstm", 32, 6 * 20)]
)
def test_a_hundred_thousand_characters_do_not_lag(visit, cell, units, written_units):
    rng = np.random.default_rng(0)
    lines = SHAKESPEARE.splitlines(keepends=True)
    text = "".join(lines[i] for i in rng.integers(0, len(lines), 4000))[:100_000]
    model = plain.train_text(SHAKESPEARE * 4, cell=cell, hidden_size=units, steps=200)
    written = model.trace(text).html()
    assert written.count('id="unit-') == written_units
    assert len(written) < 30e6
    painted, switched, chosen = [], [], []
    for _ in range(3):  # the machine may be busy with something else
        page = visit(written)
        painted.append(page.evaluate("performance.getEntriesByName('painted')[0].startTime"))
        switched += [
            page.evaluate(SPENT, f"document.getElementById('pick-{i}').click()")
            for i in range(1, 6)
        ]
        chosen += [
            page.evaluate(SPENT, CHOOSE.format(part)) for part in ("cfog" if cell == "lstm" else "")
        ]
    assert min(painted) < 2000
    assert np.median(switched) < 100
    assert np.median(chosen or [0]) < 100
    page.locator("#text").focus()
    page.keyboard.press("Control+End")
    page.wait_for_timeout(200)
    alive = page.evaluate("document.querySelectorAll('#text span').length")
    assert 100 < alive < 20_000
    medians = {
        f"{name}_ms": float(np.median(times))
        for name, times in (("switch", switched), ("part", chosen))
        if times
    }
    print(
        json.dumps(
            {
                "cell": cell,
                "bytes": len(written),
                "painted_ms": min(painted),
                **medians,
                "spans": alive,
            }
        )
    )


SPENT = """(doing) => new Promise((done) => {
    const start = performance.now();
    Function(doing)();
    requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
})"""
CHOOSE = """
    const select = document.getElementById("part");
    select.value = "{}";
    select.dispatchEvent(new Event("change", {{ bubbles: true }}));
"""
