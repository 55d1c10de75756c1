"""What PyInstaller does not see: compiled modules that are chosen at run time, what they share, and a module that is imported when used."""

import importlib.util

from charrnn._dispatch import LEVELS

names = ["charrnn.datasets", "charrnn._cyutility", *(f"charrnn._core_{level}" for level in LEVELS[1:])]
hiddenimports = [name for name in names if importlib.util.find_spec(name)]
