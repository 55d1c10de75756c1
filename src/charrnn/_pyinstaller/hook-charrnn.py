"""What PyInstaller does not see: compiled modules that are chosen at run time, what they share, a module imported when used, and files."""

import importlib.util
from pathlib import Path

from charrnn import _dispatch

names = ["charrnn.datasets", "charrnn._cyutility", *(f"charrnn._core_{level}" for level in _dispatch.LEVELS[1:])]
hiddenimports = [name for name in names if importlib.util.find_spec(name)]
datas = [(str(path), "charrnn") for path in Path(_dispatch.__file__).parent.glob("page.[!p]*")]
excludedimports = ["torch"]  # only `to_torch` and `from_torch` import it: a program that calls them has it from its own import
