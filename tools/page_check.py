"""Open pages that charrnn writes in a real browser: python tools/page_check.py, or make page-check.

Screenshots go to build/page-check. It needs Playwright and Chromium. If there is no Chromium, it
tries apt-get; if that fails, it says so and checks nothing.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = "tests/trace/test_browser.py", "tests/browser/test_pages.py"


def find():
    """Return the path of Chromium, or None."""
    names = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


def install():
    """Install Chromium by apt-get if we are root."""
    if shutil.which("apt-get") is None or not hasattr(os, "geteuid") or os.geteuid():
        return
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    packages = ["--no-install-recommends", "chromium", "fonts-dejavu-core"]
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", *packages],
    ):
        print("$", *command, flush=True)
        if subprocess.run(command, env=environment, stdout=subprocess.DEVNULL).returncode:
            return


def main():
    """Find or install a Chromium, and run the tests that need it."""
    if find() is None:
        install()
    if find() is None:
        print("page-check: SKIPPED. Chromium is not installed, and installing it failed.")
        return 0
    tests = [sys.executable, "-m", "pytest", "-q", *PAGES]
    return subprocess.run(
        tests, cwd=ROOT, env=os.environ | {"CHARRNN_PICTURES": str(ROOT / "build" / "page-check")}
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
