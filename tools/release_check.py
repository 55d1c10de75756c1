"""Test the wheel where wheel_check.py can't: newer Pythons, old processors, another architecture.

For Debian or Ubuntu, as root, with mmdebstrap and qemu-user-static. Emulated tests run thirty times
slower, so it takes about an hour. With names of stages on the command line, only those run.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from wheel_check import BIN, ROOT, build, environment, fresh, interpreters, run, try_wheel

FREE_THREADED = "python3.14t"
NEWER = {"3.14": "cp314", "3.15": "cp315"}  # in Debian's testing distribution; tags of wheels
# Newer releases expect bin and the like to be links.
MERGED = """cd "$1"
mkdir -p usr/bin usr/sbin usr/lib usr/lib64
for d in bin sbin lib lib64; do ln -s usr/$d $d; done
"""
PLUGIN = "no_processes"
FROZEN = """
import sys
import charrnn
options = {"cell": "lstm", "hidden_size": 16, "epochs": 20, "progress": False}
charrnn.train_text("to be, or not to be\\n" * 50, **options).save(sys.argv[1])
model = charrnn.load(sys.argv[1])
print(charrnn.isa, charrnn.__version__, len(model.generate(20)))
print(len(charrnn.datasets.names()) > 100, "</html>" in model.trace("to be").html())
"""
# These tests ask the operating system about the processor, or start processes.
UNEMULATED = ("network/test_dispatch.py", "test_cli.py", "test_examples.py")


def debian(folder, suite, packages, *options):
    """Unpack packages of a Debian suite, and what they need, into folder."""
    stale = '--aptopt=Acquire::Check-Valid-Until "false"'  # an outdated mirror will do
    run(
        "mmdebstrap",
        "--variant=extract",
        stale,
        f"--setup-hook={MERGED}",
        f"--include={','.join(packages)}",
        *options,
        suite,
        folder,
    )


def install(folder, tag, machine, *packages):
    """Put wheels for another Python or machine into a folder."""
    platforms = (
        f"manylinux_2_28_{machine}",
        f"manylinux_2_27_{machine}",
        f"manylinux_2_17_{machine}",
        f"linux_{machine}",
        "any",
    )
    wheels = [word for platform in platforms for word in ("--platform", platform)]
    abis = [word for abi in (tag, "abi3", "none") for word in ("--abi", abi)]
    target = (
        "--only-binary",
        ":all:",
        "--implementation",
        "cp",
        "--python-version",
        tag.removeprefix("cp"),
        *abis,
        *wheels,
    )
    run(
        BIN / "python",
        "-m",
        "pip",
        "install",
        "-q",
        "--target",
        folder,
        *target,
        *packages,
        "pytest",
        "hypothesis",
    )


def emulated_tests(emulator, folder, site):
    """Run the tests with an emulated Python, except those that start processes."""
    shutil.copytree(ROOT / "tests", folder / "tests")
    shutil.copy(ROOT / f"tools/{PLUGIN}.py", folder)
    left_out = [word for name in UNEMULATED for word in ("--ignore", f"tests/{name}")]
    path = {"PYTHONPATH": os.pathsep.join(map(str, (site, folder)))}
    run(
        *emulator,
        "-c",
        "import charrnn, platform; print(platform.machine(), charrnn.isa)",
        env=path,
    )
    run(
        *emulator,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        PLUGIN,
        *left_out,
        "tests",
        cwd=folder,
        env=path,
    )


def newer(folder, wheel):
    """Run the whole suite with each newer Python, in a Debian of its own."""
    debian(
        folder / "testing",
        "testing",
        [*(f"python{version}" for version in NEWER), "libstdc++6", "dash", "coreutils"],
    )
    shutil.copytree(ROOT / "tests", folder / "testing/root/tests")
    for version, tag in NEWER.items():
        install(folder / f"testing/opt/{version}", tag, "x86_64", wheel)
        command = (
            f"python{version}",
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "/root/tests",
        )
        run(
            "chroot",
            folder / "testing",
            *command,
            env={"PATH": "/usr/sbin:/usr/bin", "PYTHONPATH": f"/opt/{version}"},
        )


def free_threaded(folder, _):
    """Build and test the wheel of a free-threaded Python on PATH, also in four threads at once."""
    python = shutil.which(FREE_THREADED)
    if python is None:
        print(f"{FREE_THREADED}: not on this machine")
        return
    run(python, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    print(f"{wheel.name}: {wheel.stat().st_size:,} bytes")
    bin = fresh(
        python, folder / "environment", wheel, "safetensors>=0.9.0rc1", "pytest-run-parallel"
    )
    run(
        bin / "python",
        "-W",
        "error",
        "-c",
        "import charrnn, sys; assert not sys._is_gil_enabled()",
        env=environment(bin),
    )
    try_wheel(bin, folder / "away")
    threads = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--parallel-threads=4", "tests")
    run(bin / "python", *threads, cwd=folder / "away", env=environment(bin))


def old(folder, wheel):
    """Run the suite on old processors, which pick the variant that they can run."""
    install(folder / "site", f"cp{sys.version_info.major}{sys.version_info.minor}", "x86_64", wheel)
    for cpu, isa in {"Nehalem": "baseline", "Haswell": "v3"}.items():
        emulator = ("qemu-x86_64-static", "-cpu", cpu, sys.executable)
        program = f"import charrnn; print('{cpu}', charrnn.isa); assert charrnn.isa == '{isa}'"
        run(*emulator, "-c", program, env={"PYTHONPATH": str(folder / "site")})
        (folder / cpu).mkdir()
        emulated_tests(emulator, folder / cpu, folder / "site")


def aarch64(folder, _):
    """Cross-compile for arm64 and run the suite, SHA-256 hashes of weights included, emulated."""
    compiler = folder / "zigcc"
    compiler.write_text(
        f'#!/bin/sh\nexec {BIN / "python"} -m ziglang cc -target aarch64-linux-gnu.2.28 "$@"\n',
        encoding="utf-8",
    )
    compiler.chmod(0o755)
    cross = os.environ | {
        "CC": str(compiler),
        "LDSHARED": f"{compiler} -shared",
        "_PYTHON_HOST_PLATFORM": "linux-aarch64",
    }
    run(
        BIN / "python",
        "-m",
        "build",
        "-w",
        "-o",
        folder / "wheel",
        ROOT,
        env=cross,
        stdout=subprocess.DEVNULL,
    )
    (wheel,) = (folder / "wheel").glob("*.whl")
    debian(folder / "arm64", "bookworm", ["python3.11", "libstdc++6"], "--architectures=arm64")
    install(folder / "site", "cp311", "aarch64", wheel)
    emulated_tests(
        ("qemu-aarch64-static", "-L", folder / "arm64", folder / "arm64/usr/bin/python3.11"),
        folder,
        folder / "site",
    )


def frozen(folder, wheel):
    """Freeze a program with PyInstaller on each Python; it must use the best kernels, silently."""
    (folder / "app.py").write_text(FROZEN, encoding="utf-8")
    for version, python in interpreters():
        if version not in NEWER:  # PyInstaller comes later than a Python
            bin = fresh(python, folder / version, wheel, "pyinstaller")
            place = folder / f"frozen-{version}"
            place.mkdir()
            options = ("--onefile", "--log-level", "ERROR", "--distpath", place)
            options += ("--workpath", place / "work", "--specpath", place)
            everything = {**os.environ, **environment(bin), "PATH": os.environ["PATH"]}
            run(bin / "python", "-m", "PyInstaller", *options, folder / "app.py", env=everything)
            captured = {"capture_output": True, "text": True}
            ran = run(place / "app", place / "model", env={"HOME": str(place)}, **captured)
            program = "import charrnn; print(charrnn.isa, charrnn.__version__)"
            expected = run(bin / "python", "-c", program, env=environment(bin), **captured).stdout
            print(f"{version}: {ran.stdout.strip()}, {(place / 'app').stat().st_size:,} bytes")
            assert ran.stdout == f"{expected.strip()} 20\nTrue True\n"
            assert ran.stderr == ""


def reproducible(folder, _):
    """Build in two folders and compare the bytes."""
    hashes = set()
    for name in ("one", "two"):
        run("git", "clone", "-q", ROOT, folder / name)
        command = (
            BIN / "python",
            "-m",
            "build",
            "-w",
            "-o",
            folder / f"{name}-wheel",
            folder / name,
        )
        run(
            *command,
            env=os.environ | {"SOURCE_DATE_EPOCH": "1700000000"},
            stdout=subprocess.DEVNULL,
        )
        (wheel,) = (folder / f"{name}-wheel").glob("*.whl")
        hashes.add(hashlib.sha256(wheel.read_bytes()).hexdigest())
    print(*hashes)
    assert len(hashes) == 1


def identifiers(_, __):
    """Print what the wheels workflow would build."""
    for platform in ("linux", "macos", "windows", "pyodide"):
        run(BIN / "cibuildwheel", "--platform", platform, "--print-build-identifiers", ROOT)


STAGES = {
    stage.__name__: stage
    for stage in (identifiers, reproducible, frozen, newer, free_threaded, old, aarch64)
}


def main(names):
    """Run the named stages, or all."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _, wheel = build(folder)
        for name in names or STAGES:
            (folder / name).mkdir()
            STAGES[name](folder / name, wheel)


if __name__ == "__main__":
    main(sys.argv[1:])
