"""Rules of the code base: imports go one way, importing is cheap, public names have types."""

import ast
import doctest
import importlib
import importlib.metadata
import json
import subprocess
import tomllib
from pathlib import Path

import pytest

import charrnn

PACKAGE = Path(charrnn.__file__).parent
ROOT = Path(__file__).parents[1]
# Each module may import those before it.
ORDER = [
    "util.errors",
    "util.options",
    "util.seeding",
    "util.signals",
    "util.hashing",
    "util.atomic_write",
    "util.tensor_file",
    "util.progress",
    "trace.properties",
    "plotting",
    "history",
    "network._types",
    "_core",
    "network.dispatch",
    "network",
    "network.config",
    "network.learner",
    "data.vocabulary",
    "data.text",
    "data.record_index",
    "data.batches",
    "data.dataset",
    "data.sources",
    "data.files",
    "storage.model_file",
    "training.schedule",
    "training.stepper",
    "training.loop",
    "training.mpi",
    "training.checkpoint",
    "training.fit",
    "tutorial",
    "storage.torch_module",
    "storage.export",
    "inference.sampling",
    "inference.scoring",
    "trace.page",
    "trace",
    "model",
    "create",
    "nameable",
    "sklearn",
    "datasets",
    "testing",
    "cli",
    "__main__",
]
COMPILED = ("network._types", "_core")


def imports(tree):
    """The nodes of a module, but for what only type checkers read."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield node
            yield from imports(node)


def path_of(module):
    """The source of a module of ORDER."""
    path = PACKAGE / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_name(f"{path.name}.py")


def imported(module, node):
    """The modules of ORDER that a statement `from ... import ...` imports."""
    folder = path_of(module).parent.relative_to(PACKAGE).parts
    base = ".".join([*folder[: len(folder) - node.level + 1], *filter(None, [node.module])])
    parts = [f"{base}.{alias.name}".strip(".") for alias in node.names]
    return {part if part in ORDER else base for part in parts} & {*ORDER}


def test_modules_import_only_what_comes_before_them():
    found = {".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__") for path in PACKAGE.rglob("*.py")}
    empty = {"__init__", "_pyinstaller", "_pyinstaller.hook-charrnn", "util", "data", "storage", "training", "inference"}
    assert found == {*ORDER} - {*COMPILED} | empty
    for place, module in enumerate(ORDER):
        if module in COMPILED:
            continue
        for node in imports(ast.parse(path_of(module).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                assert imported(module, node) <= set(ORDER[:place]), f"{module} imports {ast.unparse(node)}"


def attributes(node):
    """The public attributes of self that are set below a node, those with a type and the others."""
    typed, others = set(), set()
    for part in ast.walk(node):
        if isinstance(part, ast.AnnAssign):
            typed.add(ast.unparse(part.target).removeprefix("self."))
        for target in getattr(part, "targets", []):
            others |= {ast.unparse(name) for name in ast.walk(target) if isinstance(name, ast.Attribute)}
    return typed, {name.removeprefix("self.") for name in others if name.startswith("self.") and name.count(".") == 1}


def test_attributes_of_public_classes_have_types():
    for path in {*PACKAGE.rglob("[!_]*.py")} - {PACKAGE / "storage/torch_module.py"}:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                typed, others = attributes(node)
                assert not {name for name in others - typed if not name.startswith("_")}, f"{path.stem}.{node.name}"


@pytest.mark.parametrize("module", [name for name in ORDER if name not in (*COMPILED, "__main__")] + [""])
def test_docstring_examples(module):
    if module in ("plotting", "sklearn", "storage.torch_module"):
        pytest.importorskip({"plotting": "matplotlib", "storage.torch_module": "torch"}.get(module, module))
    results = doctest.testmod(importlib.import_module(f"charrnn.{module}".rstrip(".")))
    assert results.failed == 0


def test_import_disturbs_nothing_and_loads_nothing_heavy(python):
    program = """if True:
        import locale, os, random, signal, sys, threading, warnings
        import numpy as np
        def world():
            handlers = [signal.getsignal(s) for s in signal.valid_signals()]
            rng = np.random.get_state()[1].tolist(), random.getstate()
            host = locale.setlocale(locale.LC_ALL), list(warnings.filters), threading.active_count(), dict(os.environ), os.getcwd()
            return handlers, rng, host
        before = world()
        import charrnn
        assert world() == before
        assert sys.float_info.min * 0.5 > 0 and np.float32(1e-40) * np.float32(0.5) > 0, "subnormals are flushed"
        libraries = ("safetensors", "tqdm", "argparse", "matplotlib", "pydoc_data", "pooch", "sklearn", "pandas", "polars", "torch", "onnx")
        own = ("testing", "datasets", "sklearn", "trace", "trace.page", "plotting", "storage.export", "data.sources")
        for heavy in (*libraries, *(f"charrnn.{module}" for module in own)):
            assert heavy not in sys.modules, heavy
    """
    subprocess.run([python, "-W", "error", "-c", program], check=True, timeout=60)


def test_use_reaches_for_nothing_but_the_files_that_it_is_given(python, tmp_path):
    program = """if True:
        import os, sys, charrnn
        folder, seen = os.path.realpath(sys.argv[1]), []
        def audit(event, arguments):
            if event.split(".")[0] in ("socket", "subprocess", "urllib", "http", "ctypes", "pickle"):
                seen.append((event, arguments))
            elif event in ("os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.kill", "os.putenv", "os.chdir"):
                seen.append((event, arguments))
            elif event in ("os.remove", "os.rename", "os.chmod", "os.mkdir", "open"):
                path, mode, flags = arguments if event == "open" else (arguments[0], None, os.O_WRONLY)
                if flags & (os.O_WRONLY | os.O_RDWR) and os.path.dirname(os.path.realpath(path)) != folder:
                    seen.append((event, arguments))
        sys.dont_write_bytecode = True
        sys.addaudithook(audit)
        path = os.path.join(folder, "model")
        model = charrnn.train_text("to be or not " * 30, steps=30, batch_size=2, n_threads=2, checkpoint=path, progress=False)
        model.save(path)
        model = charrnn.load(path)
        model.train_text("to be", steps=2, progress=False)
        model.generate_many(3, 20), model.score_many(["to", "be"]), model.beam_search(5)
        assert not seen, seen
        os.mkdir(os.path.join(folder, "else"))
        open(os.path.join(folder, "else", "where"), "w").close()
        assert len(seen) == 1, "nothing is seen"
    """
    subprocess.run([python, "-c", program, tmp_path], check=True, timeout=60)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["else", "model"]


def test_the_version_is_said_once():
    if not (ROOT / "pyproject.toml").exists():
        pytest.skip("the tests were copied away from the project")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    release, _, unfinished = project["version"].partition(".dev")
    heading = f"## {release} (unreleased)" if unfinished else f"## {release}, "
    assert heading in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    installed = importlib.metadata.distribution(project["name"])
    assert installed.version == charrnn.__version__
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    if origin.get("url") == ROOT.as_uri():
        assert installed.version == project["version"], "install again: pip install -e ."


def test_no_flag_breaks_the_numerical_contract():
    setup = ROOT / "setup.py"
    if not setup.exists():
        pytest.skip("the tests were copied away from the project")
    words = setup.read_text(encoding="utf-8")
    for flag in ("fast-math", "Ofast", "associative-math", "fp:fast", "unsafe-math"):
        assert flag not in words
    assert "-ffp-contract=off" in words


@pytest.mark.skipif(not (PACKAGE / "kernels").exists(), reason="a wheel has no source of the kernels")
def test_each_mutant_changes_something_that_is_there():
    from mutants import MUTANTS

    for name, (file, text, replacement) in MUTANTS.items():
        assert text in (PACKAGE / file).read_text(encoding="utf-8"), f"{name}: the text is not in {file} any more"
        assert text != replacement
