"""For PyInstaller, which finds this by the entry point `pyinstaller40`: where the hook is."""

import os


def get_hook_dirs() -> list[str]:
    """Return the folder of the hook."""
    return [os.path.dirname(__file__)]
