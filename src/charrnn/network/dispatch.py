"""Choose the compiled variant of the kernels once, at import: the best this processor runs, or what CHARRNN_ISA asks for."""

import importlib.util
import os
import sys
import warnings
import zipimport
from collections.abc import Sequence
from types import ModuleType
from typing import Any

try:
    from .. import _core as _baseline  # type: ignore[attr-defined]
except ImportError as error:
    if isinstance(getattr(__spec__, "loader", None), zipimport.zipimporter):
        what = "charrnn has compiled modules, which Python cannot import from a zip file (a zipapp, an egg)"
        raise ImportError(
            f"{what}: unpack it, or let shiv or pex make the archive, which unpack it by themselves"
        ) from error
    raise

LEVELS: tuple[str, ...] = ("baseline", "v3", "v4")  # each includes the ones before it


def available() -> list[str]:
    """Return the levels that are built and that this processor runs, lowest first."""
    built = [level for level in LEVELS[1:] if importlib.util.find_spec(f"charrnn._core_{level}")]
    runnable = LEVELS[: LEVELS.index(_baseline.cpu_level()) + 1]
    return ["baseline", *(level for level in built if level in runnable)]


def load(level: str) -> ModuleType:
    """Return the kernel module of one level."""
    return _baseline if level == "baseline" else importlib.import_module(f"charrnn._core_{level}")


def choose(wanted: str, levels: Sequence[str]) -> str:
    """Return the wanted level, or the best of levels if none is wanted."""
    if wanted and wanted not in levels:
        raise ImportError(
            f"CHARRNN_ISA={wanted!r}: expected one of {', '.join(levels)} (what is built and runs on this processor)"
        )
    best = _baseline.cpu_level()
    if (
        not wanted and best not in levels and sys.platform != "darwin"
    ):  # where setup.py builds one only
        what = f"charrnn runs its {levels[-1]} kernels: the faster module charrnn._core_{best}, for this processor, is missing"
        warnings.warn(
            f"{what}; a program frozen by other tools than PyInstaller must be told to include it",
            RuntimeWarning,
            stacklevel=2,
        )
    return wanted or levels[-1]


isa: str = choose(os.environ.get("CHARRNN_ISA", ""), available())
core: Any = load(isa)  # its doors check what they are given
_baseline.use(core.addresses())  # what other Cython code imports from _core
