"""Open the pages of traces in a real browser: python tools/page_check.py, or make page-check. Pictures go to build/page-check.

It needs Playwright and a Chromium. Where none is there, apt-get may bring one; where it cannot, the check is left out, and says so.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def find():
    """Return the command of a Chromium, or None."""
    return next(
        filter(
            None,
            map(
                shutil.which,
                ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome"),
            ),
        ),
        None,
    )


def install():
    """Have apt-get bring Chromium, where that is possible without asking."""
    if shutil.which("apt-get") is None or not hasattr(os, "geteuid") or os.geteuid():
        return
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-qq"],
        [
            "apt-get",
            "install",
            "-y",
            "-qq",
            "--no-install-recommends",
            "chromium",
            "fonts-dejavu-core",
        ],
    ):
        print("$", *command, flush=True)
        if subprocess.run(command, env=environment, stdout=subprocess.DEVNULL).returncode:
            return


def main():
    """Find or install a Chromium, and run the tests that need it."""
    if find() is None:
        install()
    if find() is None:
        print("page-check: LEFT OUT. There is no Chromium here, and none could be installed.")
        return 0
    tests = [sys.executable, "-m", "pytest", "-q", "tests/trace/test_browser.py"]
    return subprocess.run(
        tests, cwd=ROOT, env=os.environ | {"CHARRNN_PICTURES": str(ROOT / "build" / "page-check")}
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
