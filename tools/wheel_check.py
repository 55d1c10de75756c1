"""Build the distributions as a release does, then use the wheel as its users do.

It builds the sdist, the wheel from that sdist, and the repaired wheel in dist/, and checks both.
Then it makes a fresh environment without a compiler for each CPython on this machine and runs the
examples there, copied out of the source tree; with the oldest and the newest, all the tests.
"""

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
PYTHONS = ("3.11", "3.12", "3.13", "3.14", "3.15")
LARGEST = 1_110_000  # bytes of a wheel, most of them the three variants of the kernels
SLOWEST_IMPORT = 30  # milliseconds beyond NumPy's own
INSTALLED = """
import shutil, charrnn
print(charrnn.isa, charrnn.__version__, charrnn.__file__)
assert "site-packages" in charrnn.__file__
assert not (shutil.which("cc") or shutil.which("gcc"))
"""


def run(*command, **options):
    """Print a command and run it; a failure ends the check."""
    print(
        "$", *(Path(word).name if isinstance(word, Path) else word for word in command), flush=True
    )
    return subprocess.run(command, check=True, **options)


def build(folder):
    """Build the sdist, and the wheel from it; return the sdist and the repaired wheel."""
    run(BIN / "python", "-m", "build", "--outdir", folder, ROOT, stdout=subprocess.DEVNULL)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    # The kernels are chosen at run time, so the wheel may contain any instructions.
    run(
        BIN / "auditwheel",
        "repair",
        "--disable-isa-ext-check",
        "-w",
        folder / "repaired",
        wheel,
        env=environment(BIN),
    )
    (wheel,) = (folder / "repaired").glob("*.whl")
    print(f"{wheel.name}: {wheel.stat().st_size:,} bytes")
    assert wheel.stat().st_size <= LARGEST
    return sdist, wheel


def check_metadata(sdist, wheel):
    """Run the checkers that need no installation."""
    run(BIN / "abi3audit", "--strict", "--report", wheel)
    run(BIN / "twine", "check", "--strict", sdist, wheel)
    run(BIN / "check-wheel-contents", wheel)
    run(BIN / "validate-pyproject", ROOT / "pyproject.toml")
    run(BIN / "check-sdist", cwd=ROOT)


def environment(bin):
    """Return an environment whose PATH is one folder: no compiler."""
    return {
        "PATH": str(bin),
        "HOME": os.environ.get("HOME", ""),
        **{k: v for k, v in os.environ.items() if k.startswith("PIP_")},
    }


def interpreters():
    """Yield the CPythons of PYTHONS that this machine has, on PATH or from pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for version in PYTHONS:
        for python in [
            shutil.which(f"python{version}"),
            *sorted(pyenv.glob(f"{version}.*/bin/python3")),
        ]:
            # pyenv's shims on PATH fail unless their Python is activated.
            if python and subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:
                yield version, python
                break
        else:
            print(f"Python {version}: not on this machine")


def fresh(python, folder, wheel, *more):
    """Install the wheel, the tests' packages, and more in a new environment; return its bin."""
    run(python, "-m", "venv", folder)
    bin = folder / "bin"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = [wheel, *project["dependency-groups"]["test"], *more]
    pip = (bin / "python", "-m", "pip", "install", "-q", "--only-binary", ":all:")
    run(*pip, *packages, env=environment(bin))
    return bin


def try_wheel(bin, folder, whole):
    """Run the examples from copies in folder, and, if whole, the tests."""
    for part in ("tests", "examples"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    run(bin / "python", "-c", INSTALLED, cwd=folder, env=environment(bin))
    # The options of pyproject.toml, which is not in this folder.
    quiet = ("-W", "ignore::charrnn.TrainingWarning")
    pytest = (bin / "python", "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", *quiet)
    if whole:
        tests = ("tests", "--ignore", "tests/test_examples.py")
        several = ("-n", "auto", "--maxprocesses", "8", "--dist", "worksteal")
        run(*pytest, *several, *tests, "-m", "not clock", cwd=folder, env=environment(bin))
        run(*pytest, *tests, "-m", "clock", cwd=folder, env=environment(bin))
    # Each example has a test that stops it after 30 seconds.
    examples = ("tests/test_examples.py", "--durations=0", "--durations-min=0.1")
    run(*pytest, *examples, cwd=folder, env=environment(bin))


def check_cimport(bin, folder):
    """Build examples/cimport against the installed wheel, with a compiler this time, and run it."""
    pip = (bin / "python", "-m", "pip", "install", "-q")
    run(*pip, "setuptools>=77.0.3", "Cython>=3.3.1", env=environment(bin))
    run(*pip, "--no-build-isolation", folder / "examples/cimport")
    for isa in ("baseline", ""):  # "" is the best one here
        isolated = environment(bin) | {"CHARRNN_ISA": isa}
        run(bin / "python", "compare.py", cwd=folder / "examples/cimport", env=isolated)


def check_types(bin):
    """Compare the stubs with the installed modules; fail unless the whole public API has types."""
    tools = ("mypy", "types-tqdm", "matplotlib", "pandas", "scikit-learn", "basedpyright")
    run(bin / "python", "-m", "pip", "install", "-q", *tools, env=environment(bin))
    stubtest = (bin / "python", "-m", "mypy.stubtest", "charrnn.network._types")
    verify = (bin / "basedpyright", "--verifytypes", "charrnn", "--ignoreexternal")
    for command in (stubtest, verify):
        run(*command, cwd=bin, env=environment(bin))


def check_import(bin):
    """Print the CPU time of an import beyond NumPy's, median of 11; no limit, machines differ."""

    def seconds(module):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([bin / "python", "-c", f"import {module}"], check=True, env=environment(bin))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    extra = 1000 * statistics.median(-seconds("numpy") + seconds("charrnn") for _ in range(11))
    print(f"import charrnn: {extra:.1f} ms beyond import numpy ({SLOWEST_IMPORT} wanted)")


def main():
    """Build, check, try."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sdist, wheel = build(folder)
        check_metadata(sdist, wheel)
        found = list(interpreters())
        bins = [fresh(python, folder / version, wheel) for version, python in found]
        check_types(fresh(found[-1][1], folder / "types", wheel))
        for (version, _), bin in zip(found, bins, strict=True):
            check_import(bin)
            try_wheel(bin, folder / f"away-{version}", whole=bin in (bins[0], bins[-1]))
        check_cimport(bin, folder / f"away-{version}")
        (ROOT / "dist").mkdir(exist_ok=True)
        for path in (sdist, wheel):
            shutil.copy(path, ROOT / "dist")


if __name__ == "__main__":
    main()
