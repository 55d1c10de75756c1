import ctypes
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import types
import zipapp
from pathlib import Path

import numpy as np
import pytest

import charrnn
from charrnn import _core
from charrnn.network import Network
from charrnn.network import dispatch as _dispatch

ISA = "import charrnn; print(charrnn.isa)"


def test_each_available_variant_can_be_chosen(run_python):
    for level in _dispatch.available():
        assert run_python(ISA, variables={"CHARRNN_ISA": level}).stdout.strip() == level
        assert _dispatch.load(level).__name__ == (
            "charrnn._core" if level == "baseline" else f"charrnn._core_{level}"
        )


def test_the_best_is_chosen_by_default(run_python):
    assert (
        run_python(ISA, variables={"CHARRNN_ISA": ""}).stdout.strip() == _dispatch.available()[-1]
    )
    assert charrnn.isa in _dispatch.available()


def test_an_unknown_variant_is_an_import_error_that_names_the_choice(run_python):
    ran = run_python(ISA, variables={"CHARRNN_ISA": "v9"})
    assert ran.returncode != 0
    assert f"CHARRNN_ISA='v9': expected one of {', '.join(_dispatch.available())}" in ran.stderr
    with pytest.raises(ImportError, match="v4"):
        _dispatch.choose("v4", ["baseline", "v3"])
    assert _dispatch.choose("baseline", ["baseline", "v3"]) == "baseline"


@pytest.mark.skipif(
    not os.path.exists("/proc/cpuinfo") or platform.machine() != "x86_64",
    reason="reads the flags that Linux reports",
)
def test_cpu_level_agrees_with_the_operating_system():
    with open("/proc/cpuinfo") as file:
        flags = set(next(line for line in file if line.startswith("flags")).split())
    v3 = {"avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"} <= flags
    v4 = v3 and {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"} <= flags
    assert _core.cpu_level() == ("v4" if v4 else "v3" if v3 else "baseline")


@pytest.fixture
def copied(tmp_path):
    """The package, copied to a folder of its own."""
    package = Path(charrnn.__file__).parent
    return shutil.copytree(
        package, tmp_path / "place" / "charrnn", ignore=shutil.ignore_patterns("__pycache__", "*.c")
    )


@pytest.mark.skipif(
    _core.cpu_level() == "baseline" or sys.platform == "darwin", reason="no better kernels to miss"
)
def test_missing_kernels_are_told_once(run_python, copied):
    best = _core.cpu_level()
    for path in copied.glob(f"_core_{best}.*"):
        path.unlink()
    variables = {"PYTHONPATH": str(copied.parent), "CHARRNN_ISA": ""}
    program = (
        "import charrnn, charrnn.cli, importlib; importlib.import_module('charrnn'); "
        "print(charrnn.isa, charrnn.__file__)"
    )
    ran = run_python(program, variables=variables)
    isa, path = ran.stdout.split()
    assert Path(path).parent == copied
    assert isa == {"v3": "baseline", "v4": "v3"}[best]
    (warning,) = (line for line in ran.stderr.splitlines() if "Warning" in line)
    assert (
        f"RuntimeWarning: charrnn runs its {isa} kernels: the faster module charrnn._core_{best}, "
        f"for this processor, is missing" in warning
    )
    variables["CHARRNN_ISA"] = isa
    ran = run_python(program, flags=["-W", "error"], variables=variables)
    assert (ran.returncode, ran.stderr) == (0, "")  # who asks for it knows


def test_a_zip_file_says_why_it_does_not_work(python, copied):
    (copied.parent / "__main__.py").write_text("import charrnn", encoding="utf-8")
    zipapp.create_archive(copied.parent, copied.parents[1] / "app.pyz")
    shutil.rmtree(copied.parent)
    ran = subprocess.run(
        [python, copied.parents[1] / "app.pyz"], capture_output=True, text=True, timeout=600
    )
    assert (
        "ImportError: charrnn has compiled modules, which Python cannot import from a zip file (a "
        "zipapp, an egg): unpack it" in ran.stderr
    )


def test_the_hook_of_pyinstaller_names_what_is_compiled(monkeypatch):
    hooks = types.ModuleType("PyInstaller.utils.hooks")
    hooks.copy_metadata = lambda name: [(f"{name}.dist-info", f"{name}.dist-info")]
    for name in ("PyInstaller", "PyInstaller.utils"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, hooks.__name__, hooks)
    (entry,) = (
        one
        for one in importlib.metadata.distribution("charrnn-cython").entry_points
        if one.group == "pyinstaller40"
    )
    (folder,) = entry.load()()
    hook = {}
    exec((Path(folder) / "hook-charrnn.py").read_text(encoding="utf-8"), hook)
    package = Path(charrnn.__file__).parent
    compiled = {
        ".".join(["charrnn", *path.relative_to(package).parent.parts, path.name.partition(".")[0]])
        for path in package.rglob("*")
        if path.suffix in (".so", ".pyd")
    }
    seen = {"charrnn._core", "charrnn.network._types"}  # other modules import these
    assert compiled | {"charrnn.datasets"} == {*hook["hiddenimports"], *seen}
    kinds = (".css", ".html", ".js", ".txt")
    files = {path for path in package.rglob("*") if path.suffix in kinds}
    found = {package.parent / folder / Path(path).name for path, folder in hook["datas"]}
    assert files < found  # and the metadata
    assert {"page.html", "page.css", "page.js", "names.txt"} <= {path.name for path in files}


def of_c(name, result, *arguments):
    """A function of _core.pxd, for ctypes."""
    capsule = _core.__pyx_capi__[name]
    pythonapi = ctypes.pythonapi
    pythonapi.PyCapsule_GetName.restype, pythonapi.PyCapsule_GetName.argtypes = (
        ctypes.c_char_p,
        [ctypes.py_object],
    )
    pythonapi.PyCapsule_GetPointer.restype = ctypes.c_void_p
    pythonapi.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    address = pythonapi.PyCapsule_GetPointer(capsule, pythonapi.PyCapsule_GetName(capsule))
    return ctypes.PYFUNCTYPE(result, *arguments)(address)


def test_c_code_reads_with_all_units_in_a_workspace_that_was_trained_in():
    class Struct(ctypes.Structure):
        _fields_ = (
            ("V", ctypes.c_ssize_t),
            ("p", ctypes.POINTER(ctypes.c_float)),
            ("work", ctypes.c_void_p),
        )

    network = Network(([("lstm", 20)], 5), "float32")
    work, ids = network.workspace(4, 1, training=True), np.array([[1], [2], [3], [4]])
    network.train_steps(work, ids, ids, learning_rate=0.1, dropout=0.5)
    other = network.workspace(1, 1)
    other.state[...] = work.state
    network.feed(other, [[2]])
    struct = of_c("network", Struct, ctypes.py_object, ctypes.py_object)(network, work)
    of_c("step", None, ctypes.POINTER(Struct), ctypes.c_int)(struct, 2)
    np.testing.assert_array_equal(struct.p[:5], network.next_probs(other)[0].astype(np.float32))
