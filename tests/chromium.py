"""Chromium for tests of pages; they need Playwright, too. CHARRNN_PICTURES names a folder for
screenshots to look at.
"""

import os
import shutil
import threading
from pathlib import Path

import pytest

CHROMIUM = next(
    filter(
        None,
        map(
            shutil.which, ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
        ),
    ),
    None,
)

# As root it has no sandbox, and it should look for nothing in the network.
FLAGS = """--no-sandbox --disable-gpu --disable-quic --no-first-run
--disable-background-networking --disable-component-update
--disable-sync --force-color-profile=srgb""".split()


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here")
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("Playwright wants the main thread")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser, tmp_path):
    """Open a page of HTML; what it does that it should not (dialogs, requests, errors) fails the
    test at its end.
    """
    contexts, wrong = [], []

    def open_(content, *, dark=False, size=(1280, 800), allowed=(), phone=False):
        path = tmp_path / f"page-{len(contexts)}.html"
        path.write_bytes(content.encode())
        context = browser.new_context(
            color_scheme="dark" if dark else "light",
            viewport={"width": size[0], "height": size[1]},
            has_touch=phone,
            is_mobile=phone,
        )
        contexts.append(context)
        context.set_default_timeout(
            120_000
        )  # where much else runs, Chromium may take half a minute to open even an empty page
        page = context.new_page()

        def note(what):
            if not any(word in what for word in allowed):
                wrong.append(what)

        page.on("dialog", lambda dialog: (note(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("pageerror", lambda error: note(f"error {error}"))
        page.on("console", lambda message: note(f"console {message.text}"))
        page.on(
            "request",
            lambda request: (
                None if request.url == path.as_uri() else note(f"request {request.url:.100}")
            ),
        )
        page.goto(path.as_uri())
        while not page.evaluate(
            "performance.getEntriesByName('painted').length"
        ):  # the policy of pages forbids wait_for_function
            page.wait_for_timeout(20)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert wrong == []


def keep_picture(page, name):
    if folder := os.environ.get("CHARRNN_PICTURES"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png")
