"""The compiled variant of the kernels, chosen at import: the best one, or that of CHARRNN_ISA."""

import importlib.util
import os
import platform
import sys
import warnings
import zipimport
from collections.abc import Sequence
from types import ModuleType
from typing import Any

try:
    from .. import _core as _baseline  # type: ignore[attr-defined]
except ImportError as _error:
    if isinstance(getattr(__spec__, "loader", None), zipimport.zipimporter):
        raise ImportError(
            "charrnn has compiled modules, which Python cannot import from a zip file (a zipapp, "
            "an egg): unpack it, or make the archive with shiv or pex, which unpack it"
        ) from _error
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
            f"CHARRNN_ISA={wanted!r}: expected one of {', '.join(levels)} "
            "(what is built and runs on this processor)"
        )
    best = _baseline.cpu_level()
    # On macOS, setup.py builds one only.
    if not wanted and best not in levels and sys.platform != "darwin":
        warnings.warn(
            f"charrnn runs its {levels[-1]} kernels: the faster module charrnn._core_{best}, for "
            "this processor, is missing; a program frozen by other tools than PyInstaller must be "
            "told to include it",
            RuntimeWarning,
            stacklevel=2,
        )
    return wanted or levels[-1]


def has_fma() -> bool:
    """Whether the kernels have the bits that all with FMA have."""
    return isa != "baseline" or platform.machine().lower() in ("aarch64", "arm64")


isa: str = choose(os.environ.get("CHARRNN_ISA", ""), available())
core: Any = load(isa)  # its functions check their arguments
_baseline.use(core.addresses())  # what other Cython code imports from _core
