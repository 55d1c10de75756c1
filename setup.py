"""Build the extensions: one kernel source, compiled once per instruction set.

Everything else is in pyproject.toml.
"""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCE = Path("src/charrnn/_core.pyx")
GENERATED = Path("build/generated")
DEBUG = os.environ.get("CHARRNN_DEBUG") == "1"  # bounds checks on
QUICK = os.environ.get("CHARRNN_QUICK") == "1"  # compiles in half the time: tests/mutants.py
COVERAGE = os.environ.get("CHARRNN_COVERAGE") == "1"  # count executed lines: make coverage
# "1": AddressSanitizer and UBSan (make sanitize); "thread": ThreadSanitizer (tests/trust/races.py).
SANITIZERS = {"1": "address,undefined", "thread": "thread"}
SANITIZE = SANITIZERS.get(os.environ.get("CHARRNN_SANITIZE", ""), "")
# get_platform follows _PYTHON_HOST_PLATFORM when cross-compiling.
MACHINE = sysconfig.get_platform().rsplit("-", 1)[-1]
# The stable ABI of the oldest supported Python: one wheel for all later ones. Cython 3.3 has none
# for free-threaded builds, and Pyodide has one Python per release.
ABI3 = (
    sys.implementation.name == "cpython"
    and not sysconfig.get_config_var("Py_GIL_DISABLED")
    and "wasm" not in sysconfig.get_platform()
)
MACROS = [("Py_LIMITED_API", "0x030B0000")] if ABI3 else []
# Cython's own code (mostly memoryviews), compiled once instead of in each variant.
UTILITY = "charrnn._cyutility"

# No flag may let the compiler reorder or contract sums: every variant with FMA gives the same bits.
# A register tile is an inline function whose callers pass constant bounds. GCC would compile one
# shared copy, with variable bounds and sums in memory, a fifth slower at H = 512. Cython can force
# inlining only through the macro that it writes before every `cdef inline`.
INLINE = {"unix": "inline __attribute__((always_inline))", "msvc": "__forceinline"}
UNIX_FLAGS = ["-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
UNIX_FLAGS += ["-Wno-unused-function"]  # only the baseline exports step and score
# No unwind tables for debuggers: 3 % of the wheel.
UNIX_FLAGS += ["-g"] if DEBUG else ["-g0", "-fno-asynchronous-unwind-tables"]
MSVC_FLAGS = ["/O2", "/fp:precise"]
SMALL = {"unix": ["-Os"], "msvc": ["/O1"]}  # for all but the kernels: saves 60 kB of the wheel
# No symbol table: saves a seventh of the wheel.
STRIP = [] if DEBUG or sys.platform != "linux" else ["-s"]
ISA_FLAGS = {
    "v3": {"unix": ["-march=x86-64-v3"], "msvc": ["/arch:AVX2"]},
    # GCC and Clang prefer 256 bits unless told otherwise.
    "v4": {"unix": ["-march=x86-64-v4", "-mprefer-vector-width=512"], "msvc": ["/arch:AVX512"]},
}
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "initializedcheck": DEBUG,
    "wraparound": False,
    "cdivision": True,
    "binding": False,  # bound methods would not check their self: Parameters.views(5)
    "freethreading_compatible": True,
    "autotestdict": False,
}


class BuildExt(build_ext):
    """Adds the flags for the compiler in use and the extension's instruction set."""

    def build_extension(self, ext):
        """Compile one variant."""
        kind = "msvc" if self.compiler.compiler_type == "msvc" else "unix"
        common = MSVC_FLAGS if kind == "msvc" else UNIX_FLAGS
        isa = ext.name.rpartition("_core_")[2]
        ext.define_macros = [*ext.define_macros, ("CYTHON_INLINE", INLINE[kind])]
        special = ISA_FLAGS.get(isa, {}).get(kind, []) if "._core" in ext.name else SMALL[kind]
        ext.extra_compile_args = common + special
        ext.extra_link_args = [*STRIP]
        if SANITIZE:
            ext.extra_compile_args += [
                f"-fsanitize={SANITIZE}",
                "-fno-sanitize-recover=all",
                "-fno-omit-frame-pointer",
                "-O1",
                "-g",
            ]
            ext.extra_link_args = [f"-fsanitize={SANITIZE}"]
        if QUICK:
            ext.extra_compile_args += ["-O1"]
        if COVERAGE:
            ext.extra_compile_args += ["--coverage", "-O1"]
            ext.extra_link_args += ["--coverage"]
        super().build_extension(ext)


def variants():
    """Return the extensions: the baseline from the source itself, the others from copies of it."""
    sources = {
        "charrnn.network._types": SOURCE.parent / "network/_types.pyx",
        "charrnn.inference._codec": SOURCE.parent / "inference/_codec.pyx",
        "charrnn._core": SOURCE,
    }
    if MACHINE in ("x86_64", "amd64") and not sys.platform.startswith("darwin"):
        GENERATED.mkdir(parents=True, exist_ok=True)
        for isa in ISA_FLAGS:
            copy = GENERATED / f"_core_{isa}.pyx"
            if not copy.exists() or copy.read_bytes() != SOURCE.read_bytes():
                shutil.copy(SOURCE, copy)
            sources[f"charrnn._core_{isa}"] = copy
    sources[UTILITY] = "_cyutility.c"  # cythonize writes it, below build_dir
    return [
        Extension(
            name,
            [str(source)],
            include_dirs=["src/charrnn"],
            define_macros=MACROS,
            py_limited_api=ABI3,
        )
        for name, source in sources.items()
    ]


setup(
    ext_modules=cythonize(
        variants(),
        include_path=["src"],
        build_dir=str(GENERATED),
        compiler_directives=DIRECTIVES,
        nthreads=os.cpu_count(),
        shared_utility_qualified_name=UTILITY,
    ),
    cmdclass={"build_ext": BuildExt},
    options={
        "bdist_wheel": {"py_limited_api": "cp311"} if ABI3 else {},
        "build_ext": {"parallel": os.cpu_count()},
    },
)
