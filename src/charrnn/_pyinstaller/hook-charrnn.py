"""Tell PyInstaller what charrnn needs: modules, files, and metadata; and what it does not need."""

import importlib.util
from pathlib import Path

from PyInstaller.utils.hooks import copy_metadata

import charrnn
from charrnn.network import dispatch

# Modules that charrnn imports by name.
names = [
    "charrnn.datasets",
    "charrnn.inference._codec",
    "charrnn._cyutility",
    *(f"charrnn._core_{level}" for level in dispatch.LEVELS[1:]),
]
hiddenimports = [name for name in names if importlib.util.find_spec(name)]
package = Path(charrnn.__file__).parent
files = [path for path in package.rglob("*") if path.suffix in (".css", ".html", ".js", ".txt")]
datas = [(str(path), str(path.parent.relative_to(package.parent))) for path in files]
datas += copy_metadata("charrnn-cython")  # charrnn.__version__ reads it
# Optional packages. A program that uses them through charrnn imports them itself.
excludedimports = ["charrnn_models", "huggingface_hub", "matplotlib", "mpi4py", "onnx", "pandas"]
excludedimports += ["pooch", "sklearn", "torch"]
