"""What PyInstaller does not see: compiled modules that are chosen at run time, what they share, a module imported when used, and files."""

import importlib.util
from pathlib import Path

from PyInstaller.utils.hooks import copy_metadata

import charrnn
from charrnn.network import dispatch

names = [
    "charrnn.datasets",
    "charrnn._cyutility",
    *(f"charrnn._core_{level}" for level in dispatch.LEVELS[1:]),
]
hiddenimports = [name for name in names if importlib.util.find_spec(name)]
datas = [
    (str(path), "charrnn/trace")
    for path in (Path(charrnn.__file__).parent / "trace").glob("page.[!p]*")
] + copy_metadata("charrnn-cython")  # charrnn.__version__ reads it
excludedimports = [
    "torch"
]  # only `to_torch` and `from_torch` import it: a program that calls them has it from its own import
