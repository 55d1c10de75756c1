"""What PyInstaller does not see: the compiled modules that are chosen at run time, and what they share."""

import importlib.util

from charrnn._dispatch import LEVELS

names = ["charrnn._cyutility", *(f"charrnn._core_{level}" for level in LEVELS[1:])]
hiddenimports = [name for name in names if importlib.util.find_spec(name)]
