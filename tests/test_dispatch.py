import os
import platform
import subprocess

import pytest

import charrnn
from charrnn import _core, _dispatch


def isa_of(python, wanted):
    environment = os.environ | {"CHARRNN_ISA": wanted}
    return subprocess.run([python, "-c", "import charrnn; print(charrnn.isa)"], env=environment, capture_output=True, text=True)


def test_each_available_variant_can_be_chosen(python):
    for level in _dispatch.available():
        assert isa_of(python, level).stdout.strip() == level
        assert _dispatch.load(level).__name__ == ("charrnn._core" if level == "baseline" else f"charrnn._core_{level}")


def test_the_best_is_chosen_by_default(python):
    assert isa_of(python, "").stdout.strip() == _dispatch.available()[-1]
    assert charrnn.isa in _dispatch.available()


def test_an_unknown_variant_is_an_import_error_that_names_the_choice(python):
    ran = isa_of(python, "v9")
    assert ran.returncode != 0
    assert f"CHARRNN_ISA='v9': expected one of {', '.join(_dispatch.available())}" in ran.stderr
    with pytest.raises(ImportError, match="v4"):
        _dispatch.choose("v4", ["baseline", "v3"])
    assert _dispatch.choose("", ["baseline", "v3"]) == "v3"


@pytest.mark.skipif(not os.path.exists("/proc/cpuinfo") or platform.machine() != "x86_64", reason="reads the flags that Linux reports")
def test_cpu_level_agrees_with_the_operating_system():
    with open("/proc/cpuinfo") as file:
        flags = set(next(line for line in file if line.startswith("flags")).split())
    v3 = {"avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"} <= flags
    v4 = v3 and {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"} <= flags
    assert _core.cpu_level() == ("v4" if v4 else "v3" if v3 else "baseline")
