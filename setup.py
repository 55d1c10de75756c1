"""The compiled extensions: one kernel source, built once for each instruction set. Everything else is in pyproject.toml."""

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
QUICK = os.environ.get("CHARRNN_QUICK") == "1"  # built in half the time: tests/mutants.py
COVERAGE = (
    os.environ.get("CHARRNN_COVERAGE") == "1"
)  # GCC counts how often each line of the kernels runs: make coverage
# AddressSanitizer and UBSan watch every access (make sanitize), or ThreadSanitizer what threads share (tests/trust/races.py).
SANITIZE = {"1": "address,undefined", "thread": "thread"}.get(
    os.environ.get("CHARRNN_SANITIZE", ""), ""
)
MACHINE = sysconfig.get_platform().rsplit("-", 1)[
    -1
]  # follows _PYTHON_HOST_PLATFORM when cross-compiling
# The stable ABI of the oldest supported Python: one wheel for all later ones. Free-threaded builds have no stable ABI in Cython 3.3;
# Pyodide has one Python a release.
ABI3 = (
    sys.implementation.name == "cpython"
    and not sysconfig.get_config_var("Py_GIL_DISABLED")
    and "wasm" not in sysconfig.get_platform()
)
MACROS = [("Py_LIMITED_API", "0x030B0000")] if ABI3 else []
UTILITY = (
    "charrnn._cyutility"  # Cython's own code (memoryviews, mostly), once instead of in each variant
)

# No flag that lets the compiler reorder sums or contract them: every variant with FMA gives the same bits.
# A register tile is one inline function that every call gives constant bounds. Left to itself GCC makes one copy for all of them, with
# bounds that vary and sums in memory: a fifth slower at H = 512. Cython's only word for it is the macro that stands before every
# `cdef inline`.
INLINE = {"unix": "inline __attribute__((always_inline))", "msvc": "__forceinline"}
UNIX_FLAGS = ["-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
UNIX_FLAGS += ["-Wno-unused-function"]  # only the baseline exports step and score
# No tables for debuggers to unwind by: 3 % of the wheel.
UNIX_FLAGS += ["-g"] if DEBUG else ["-g0", "-fno-asynchronous-unwind-tables"]
MSVC_FLAGS = ["/O2", "/fp:precise"]
SMALL = {"unix": ["-Os"], "msvc": ["/O1"]}  # of what is no kernel: 60 kB of the wheel
STRIP = (
    [] if DEBUG or sys.platform != "linux" else ["-s"]
)  # no symbol table: a seventh of the wheel
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
    "binding": False,  # else Cython's methods do not check what they are called on: Parameters.views(5)
    "freethreading_compatible": True,
    "autotestdict": False,
}


class BuildExt(build_ext):
    """build_ext that adds the flags of the compiler in use and of the extension's instruction set."""

    def build_extension(self, ext):
        """Compile one variant."""
        kind = "msvc" if self.compiler.compiler_type == "msvc" else "unix"
        common = MSVC_FLAGS if kind == "msvc" else UNIX_FLAGS
        isa = ext.name.rpartition("_core_")[2]
        ext.define_macros = [*ext.define_macros, ("CYTHON_INLINE", INLINE[kind])]
        ext.extra_compile_args = common + (
            ISA_FLAGS.get(isa, {}).get(kind, []) if "._core" in ext.name else SMALL[kind]
        )
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
