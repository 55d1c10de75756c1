"""Open README.md and every page of the site in a real browser: make site-check.

At 1,280 pixels no code block of a page, formula or table may scroll sideways; at 360 they may, but
nothing else may be wider than the page. Pictures must load, no link within the site may be dead,
and no page may use the network. axe-core may find nothing serious, in light or dark mode.
Screenshots go to build/site-check. It needs Playwright and Chromium, as page_check.py does.
"""

import functools
import shutil
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

from axe_playwright_python.sync_playwright import Axe
from markdown_it import MarkdownIt
from page_check import ROOT, find, install
from playwright.sync_api import sync_playwright

SITE, PICTURES = ROOT / "build" / "docs", ROOT / "build" / "site-check"
WIDTHS = (1280, 360)
SOURCES = {"contributing", "examples"}  # they show files whose lines have 100 columns
# README.md with the width and the font sizes of the sites that show it.
LOOK = """
body { font: 16px/1.5 sans-serif; max-width: 838px; margin: 0 auto; padding: 24px;
    overflow-wrap: break-word }
pre { background: #f6f8fa; padding: 16px; overflow-x: auto }
code { font: 13.6px monospace }
img { max-width: 100% }
table { display: block; overflow-x: auto }
td, th { padding: 6px 13px; border: 1px solid #ddd }
"""
WIDE = """() => [...document.querySelectorAll("pre, math, div.math, .table-wrapper, table")]
    .filter((block) => block.scrollWidth > block.clientWidth + 1
        && getComputedStyle(block).overflowX != "visible")
    .map((block) => block.tagName.toLowerCase() + ": "
        + block.innerText.trim().split("\\n")[0].slice(0, 60))"""
BEYOND = """() => [...document.querySelectorAll("article *, body > *")].filter((part) => {
    for (let around = part; !around.matches("html, .content"); around = around.parentElement)
        if (["auto", "scroll"].includes(getComputedStyle(around).overflowX)) return false
    return part.getBoundingClientRect().right > document.documentElement.clientWidth + 1
}).map((part) => part.tagName.toLowerCase() + ": " + part.innerText.trim().slice(0, 60))
    .slice(0, 3)"""
MISSING = """() => [...document.images]
    .filter((image) => image.complete && !image.naturalWidth).map((image) => image.src)"""


def pages():
    """Yield the name and the file of each page, and of README.md as HTML."""
    readme = ROOT / "build" / "README.html"
    body = (
        MarkdownIt("commonmark")
        .enable("table")
        .render((ROOT / "README.md").read_text(encoding="utf-8"))
    )
    for name in ("pre", "table"):  # as on the sites that show it
        body = body.replace(f"<{name}>", f"<{name} tabindex='0'>")
    base = f"<base href='{ROOT.as_uri()}/'>"
    readme.write_text(
        f"<!DOCTYPE html><html lang=en><meta charset=utf-8><title>charrnn</title>{base}"
        f"<style>{LOOK}</style>{body}",
        encoding="utf-8",
    )
    yield "README", readme
    for path in sorted(SITE.rglob("*.html")):
        if "_static" not in path.parts and "_modules" not in path.parts:
            yield str(path.relative_to(SITE).with_suffix("")).replace("/", "-"), path


class Page(HTMLParser):
    """The ids in an HTML file, and what it links to."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.links = set(), set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        """Collect what a tag has."""
        for name, value in attributes:
            if value and name in ("id", "name"):
                self.ids.add(value)
            elif value and name in ("href", "src"):
                self.links.add(value)


def dead_links(files):
    """Return the links within the site that lead to no file, or to no id in it."""
    parsed, dead = functools.cache(Page), []
    for path in files:
        for link in sorted(parsed(path).links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = path.parent / unquote(parts.path) if parts.path else path
            fragment = unquote(parts.fragment)
            if not target.exists():
                dead.append(f"{path.name} links to {link}, which does not exist")
            elif fragment and target.suffix == ".html" and fragment not in parsed(target).ids:
                dead.append(f"{path.name} links to {link}, which has no such id")
    return dead


def barriers(page):
    """Return what axe-core finds on a page that is serious or critical."""
    found = Axe().run(page).response["violations"]
    return [
        f"has a barrier, {one['id']}: {node['target']}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"][:3]
    ]


def look(page, name, path, width):
    """Open a page at a width, keep a screenshot, and return its faults."""
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(path.as_uri())
    page.screenshot(path=PICTURES / f"{name}-{width}.png", full_page=True)
    wrong = [f"requests {url}" for url in asked if not url.startswith(("file:", "data:"))]
    wrong += [f"lacks the picture {source}" for source in page.evaluate(MISSING)]
    wrong += [f"overflows with {part}" for part in page.evaluate(BEYOND)]
    if width == max(WIDTHS) and name not in SOURCES:
        wrong += [f"scrolls {block}" for block in page.evaluate(WIDE)]
    wrong += barriers(page)
    page.emulate_media(color_scheme="dark")
    wrong += [f"in the dark {one}" for one in barriers(page)]
    return [f"{name} at {width} pixels {fault}" for fault in wrong]


def main():
    """Open all pages; return the exit code."""
    if find() is None:
        install()
    if find() is None:
        print("site-check: SKIPPED. Chromium is not installed, and installing it failed.")
        return 0
    shutil.rmtree(PICTURES, ignore_errors=True)
    PICTURES.mkdir(parents=True)
    wrong, count = dead_links(sorted(SITE.resolve().rglob("*.html"))), 0
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
    folder = PICTURES.relative_to(ROOT)
    summary = f"{count} pages, {len(WIDTHS)} widths: {len(wrong)} faults; screenshots in {folder}"
    print(*wrong, summary, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
