"""Open README.md and every page of the site in a real browser: python tools/site_check.py, or make site-check.

At 1,280 pixels no block of code, formula or table may scroll sideways; at 360 they may, but nothing else is wider than the page. Pictures
must load, and nothing may be asked of the network. Screenshots to look at go to build/site-check. It needs Playwright and a Chromium, as
page_check.py does.
"""

import shutil
import sys

from markdown_it import MarkdownIt
from page_check import ROOT, find, install
from playwright.sync_api import sync_playwright

SITE, PICTURES = ROOT / "build" / "docs", ROOT / "build" / "site-check"
WIDTHS = (1280, 360)
# As wide, with letters as large, as where people read a README.
LOOK = """body { font: 16px/1.5 sans-serif; max-width: 838px; margin: 0 auto; padding: 24px; overflow-wrap: break-word }
pre { background: #f6f8fa; padding: 16px; overflow-x: auto } code { font: 13.6px monospace } img { max-width: 100% }
table { display: block; overflow-x: auto } td, th { padding: 6px 13px; border: 1px solid #ddd }"""
WIDE = """() => [...document.querySelectorAll("pre, math, div.math, .table-wrapper, table")]
    .filter((block) => block.scrollWidth > block.clientWidth + 1 && getComputedStyle(block).overflowX != "visible")
    .map((block) => block.tagName.toLowerCase() + ": " + block.innerText.trim().split("\\n")[0].slice(0, 60))"""
BEYOND = """() => [...document.querySelectorAll("article *, body > *")].filter((part) => {
    for (let around = part; !around.matches("html, .content"); around = around.parentElement)
        if (["auto", "scroll"].includes(getComputedStyle(around).overflowX)) return false
    return part.getBoundingClientRect().right > document.documentElement.clientWidth + 1
}).map((part) => part.tagName.toLowerCase() + ": " + part.innerText.trim().slice(0, 60)).slice(0, 3)"""
MISSING = "() => [...document.images].filter((one) => one.complete && !one.naturalWidth).map((one) => one.src)"


def pages():
    """Yield what to open: the name of each page, and its file; README.md is made a page."""
    readme = ROOT / "build" / "README.html"
    body = (
        MarkdownIt("commonmark")
        .enable("table")
        .render((ROOT / "README.md").read_text(encoding="utf-8"))
    )
    base = f"<base href='{ROOT.as_uri()}/'>"
    readme.write_text(
        f"<!DOCTYPE html><html lang=en><meta charset=utf-8>{base}<style>{LOOK}</style>{body}",
        encoding="utf-8",
    )
    yield "README", readme
    for path in sorted(SITE.rglob("*.html")):
        if "_static" not in path.parts and "_modules" not in path.parts:
            yield str(path.relative_to(SITE).with_suffix("")).replace("/", "-"), path


def look(page, name, path, width):
    """Open a page at a width, keep a screenshot, and return what is wrong."""
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(path.as_uri())
    page.screenshot(path=PICTURES / f"{name}-{width}.png", full_page=True)
    wrong = [f"asks for {url}" for url in asked if not url.startswith(("file:", "data:"))]
    wrong += [f"has no picture {source}" for source in page.evaluate(MISSING)]
    wrong += [f"has beyond its edge {part}" for part in page.evaluate(BEYOND)]
    wrong += [f"scrolls {block}" for block in page.evaluate(WIDE)] if width == max(WIDTHS) else []
    return [f"{name} at {width} pixels {what}" for what in wrong]


def main():
    """Look at all pages; return the exit code."""
    if find() is None:
        install()
    if find() is None:
        print("site-check: LEFT OUT. There is no Chromium here, and none could be installed.")
        return 0
    shutil.rmtree(PICTURES, ignore_errors=True)
    PICTURES.mkdir(parents=True)
    wrong, count = [], 0
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=find(),
            args=["--no-sandbox", "--disable-gpu", "--force-color-profile=srgb"],
        )
        for name, path in pages():
            count += 1
            for width in WIDTHS:
                page = browser.new_page()
                wrong += look(page, name, path, width)
                page.close()
        browser.close()
    print(
        *wrong,
        f"{count} pages, {len(WIDTHS)} widths: {len(wrong)} faults; screenshots in {PICTURES.relative_to(ROOT)}",
        sep="\n",
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
