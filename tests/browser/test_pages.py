"""The generator and the meter in Chromium: same bits, by keyboard, on a phone, in light and dark;
they ask the network for nothing.
"""

import re

import numpy as np
import pytest

import charrnn
import plain
from charrnn.inference import ranking
from charrnn.network import dispatch
from chromium import keep_picture

LOOKS = [(dark, size) for dark in (False, True) for size in ((390, 844), (1280, 900))]
FITS = "document.documentElement.scrollWidth <= innerWidth"
NAMED = """[...document.querySelectorAll("input, button")]
    .filter((e) => !(e.labels?.length || e.textContent.trim())).map((e) => e.id)"""
TARGETS = """[...document.querySelectorAll("input:not([type=checkbox]), button")]
    .map((e) => e.getBoundingClientRect().height)"""
PAINTED = "performance.getEntriesByType('paint')[0]?.startTime"
BITS = """(texts) => texts.map((text, number) =>
    [model.score(text, { exact: true, total: true }),
     model.generate({ exact: true, seed: 3, number, length: 20 })])"""


@pytest.fixture(scope="module")
def names():
    return plain.train_records(
        charrnn.datasets.names(), cell="lstm", hidden_size=24, ngram=3, epochs=2
    )


@pytest.fixture(scope="module")
def pages(names, tmp_path_factory):
    """The pages by name."""
    folder = tmp_path_factory.mktemp("pages")
    text = plain.train_text("to be, or not to be\n" * 90, hidden_size=20, epochs=20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_SAMPLES", 2000)
        names.save_js(folder / "meter.html", page="meter", title="How guessable is a name?")
        names.save_js(folder / "names.html", title="Names")
    text.save_js(folder / "text.html", weights="int8")
    return {path.stem: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def python_bits(model, texts):
    """What BITS gives for them."""
    drawn = model.generate_many(len(texts), 20, seed=3)
    return [list(both) for both in zip(model.score_many(texts, total=True), drawn, strict=True)]


@pytest.mark.skipif(dispatch.isa == "baseline", reason="without FMA Python's own bits are others")
@pytest.mark.parametrize("options", [{"cell": "rnn"}, {"cell": "gru", "ngram": 5}, None])
def test_chromium_has_the_bits_of_python(visit, pages, names, options, tmp_path):
    model, page = names, pages["names"]
    if options is not None:
        model = plain.train_records(charrnn.datasets.names(), hidden_size=32, epochs=2, **options)
        model.save_js(tmp_path / "page.html")
        page = (tmp_path / "page.html").read_text(encoding="utf-8")
    texts = model.generate_many(3400, 20, seed=1)
    assert visit(page).evaluate(BITS, texts) == python_bits(model, texts)


@pytest.mark.skipif(dispatch.isa == "baseline", reason="without FMA Python's own bits are others")
def test_a_page_that_may_not_compile_has_them_too(visit, pages, names):
    page = visit(pages["names"].replace(" 'wasm-unsafe-eval'", ""), allowed=["WebAssembly"])
    assert page.evaluate("model.fast.product.name") == "fastProduct"
    texts = names.generate_many(20, 20, seed=1)
    assert page.evaluate(BITS, texts) == python_bits(names, texts)


@pytest.mark.parametrize(("dark", "size"), LOOKS)
@pytest.mark.parametrize("name", ["meter", "names", "text"])
def test_pages_fit_and_everything_has_a_name(visit, pages, name, dark, size):
    page = visit(pages[name], dark=dark, size=size, phone=size[0] < 500)
    if name == "meter":
        page.locator("#text").fill("marianne")
    else:
        page.locator("#speed:not(:empty)").wait_for()
    keep_picture(page, f"{name}-{size[0]}-{'dark' if dark else 'light'}")
    assert page.evaluate(FITS)
    assert page.evaluate(NAMED) == []
    assert min(page.evaluate(TARGETS)) >= 44
    red = int(
        re.match(r"rgb\((\d+)", page.evaluate("getComputedStyle(document.body).backgroundColor"))[1]
    )
    assert (red < 60) == dark


def test_the_meter_by_keyboard(visit, pages, names):
    page = visit(pages["meter"])
    page.keyboard.press("Tab")
    page.keyboard.type("anna")
    guesses = [text for text, _ in names.likeliest(500)].index("anna") + 1
    assert page.locator("#guesses").inner_text() == f"{guesses:.0f} guesses."
    meter = page.get_by_role("meter", name="Strength")
    assert float(meter.get_attribute("aria-valuenow")) == pytest.approx(np.log10(guesses), abs=0.06)
    page.locator("#live:not(:empty)").wait_for(state="attached")
    assert page.get_by_role("status").inner_text() == f"{guesses:.0f} guesses."
    assert page.locator("#letters li").count() == 5
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert page.locator("#text").get_attribute("type") == "password"
    assert "a" not in page.locator("#letters b").first.inner_text()
    page.locator("#text").fill("An")
    assert page.locator("#guesses").inner_text() == "The model never guesses this."
    assert "it does not know “A”" in page.locator("#interval").inner_text().lower().replace(
        "“a”", "“A”"
    )


def test_the_generator_by_keyboard(visit, pages, names):
    page = visit(pages["names"])
    page.locator("#written[aria-busy=false]").wait_for()
    page.keyboard.press("Tab")
    page.keyboard.type("ma")
    page.keyboard.press("Enter")
    page.locator("#written[aria-busy=false] li:nth-child(20):not(:empty)").wait_for()
    page.locator("#speed:not(:empty)").wait_for()
    drawn = names.generate_many(20, 1000, prime="ma", seed=1, temperature=0.8)
    same = [
        one == "ma" + text
        for one, text in zip(page.locator("#written li").all_inner_texts(), drawn, strict=True)
    ]
    assert sum(same) >= 19  # fast arithmetic may draw another character, hardly ever
    probs = names.next_probs("ma")
    first = page.locator("#next tr").first.inner_text().split()
    best = (
        "end" if probs.argmax() == len(names.vocabulary) else names.vocabulary.chars[probs.argmax()]
    )
    assert first == [best, f"{100 * probs.max():.1f}", "%"]
    page.locator("#prime").fill("mÜ")
    assert page.get_by_role("alert").inner_text() == 'The model does not know "Ü", character 1.'
    assert page.locator("#prime").get_attribute("aria-invalid") == "true"


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_no_barrier(visit, pages, dark):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    for name in pages:
        page = visit(pages[name], dark=dark, size=(390, 844), phone=True)
        if name == "meter":
            page.locator("#text").fill("marianne")
        else:
            page.locator("#speed:not(:empty)").wait_for()
        assert [one["id"] for one in axe.run(page).response["violations"]] == [], name


@pytest.mark.clock
def test_pages_are_fast(visit, pages):
    page = visit(pages["text"])
    while (
        painted := page.evaluate(PAINTED)
    ) is None:  # Chromium records the paint some time after the page has loaded
        page.wait_for_timeout(20)
    speed = page.evaluate(
        "(() => { model.generate({ length: 20000 }); const t = performance.now(); "
        "model.generate({ length: 20000 }); "
        "return 2e7 / (performance.now() - t); })()"
    )
    page = visit(pages["meter"])
    rank = page.evaluate(
        "(() => { for (let i = 0; i < 500; i++) model.rank('marianne'); const t = "
        "performance.now(); "
        "for (let i = 0; i < 100; i++) model.rank('marianne'); return (performance.now() - t) / "
        "100; })()"
    )
    print({"painted_ms": painted, "characters_per_second": speed, "rank_ms": rank})
    assert painted < 2000
    assert speed > 5000
    assert rank < 10
