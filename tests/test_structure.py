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
    "util.cores",
    "util.atomic_write",
    "util.tensor_file",
    "util.progress",
    "util.page",
    "trace.properties",
    "plotting",
    "history",
    "network._types",
    "_core",
    "network.dispatch",
    "network.counts",
    "network.config",
    "network",
    "network.learner",
    "data.vocabulary",
    "data.splitting",
    "data.text",
    "data.record_index",
    "data.batches",
    "data.dataset",
    "data.sources",
    "data.files",
    "storage.model_file",
    "storage.hub",
    "training.schedule",
    "training.stepper",
    "training.loop",
    "training.mpi",
    "training.advice",
    "training.checkpoint",
    "training.fit",
    "training.recipe",
    "training.mixture",
    "tutorial",
    "storage._torch_module",
    "storage.export",
    "inference.sampling",
    "inference.search",
    "inference.scoring",
    "inference.ranking",
    "inference.adapting",
    "inference.codec_tables",
    "inference._codec",
    "inference.codec",
    "browser.kernels",
    "browser",
    "trace.page",
    "trace",
    "model",
    "create",
    "nameable",
    "sklearn",
    "datasets",
    "testing",
    "command.arguments",
    "command.terminal",
    "command.rows",
    "command.train",
    "command.generate",
    "command.score",
    "command.rank",
    "command.look",
    "command.info",
    "command.compress",
    "command.decompress",
    "command.export",
    "cli",
    "__main__",
]
COMPILED = ("network._types", "_core", "inference._codec")
EMPTY = {"__init__", "_pyinstaller", "_pyinstaller.hook-charrnn", "_pyinstaller.hook-tqdm"}
EMPTY |= {"util", "data", "storage", "training", "inference", "command"}


def imports(tree):
    """The nodes of a module, except those that only type checkers read."""
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
    files = (path.relative_to(PACKAGE).with_suffix("").parts for path in PACKAGE.rglob("*.py"))
    found = {".".join(parts).removesuffix(".__init__") for parts in files}
    assert found == {*ORDER} - {*COMPILED} | EMPTY
    for place, module in enumerate(ORDER):
        if module in COMPILED:
            continue
        for node in imports(ast.parse(path_of(module).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                below = imported(module, node) <= set(ORDER[:place])
                assert below, f"{module} imports {ast.unparse(node)}"


def attributes(node):
    """The public attributes of self that are set below a node, those with a type and the others."""
    typed, others = set(), set()
    for part in ast.walk(node):
        if isinstance(part, ast.AnnAssign):
            typed.add(ast.unparse(part.target).removeprefix("self."))
        for target in getattr(part, "targets", []):
            names = (name for name in ast.walk(target) if isinstance(name, ast.Attribute))
            others |= {ast.unparse(name) for name in names}
    own = {name for name in others if name.startswith("self.") and name.count(".") == 1}
    return typed, {name.removeprefix("self.") for name in own}


def test_attributes_of_public_classes_have_types():
    for path in PACKAGE.rglob("[!_]*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                typed, others = attributes(node)
                untyped = {name for name in others - typed if not name.startswith("_")}
                assert not untyped, f"{path.stem}.{node.name}"


DOCUMENTED = [name for name in ORDER if name not in (*COMPILED, "__main__")] + [""]
NEEDS = {"plotting": "matplotlib", "sklearn": "sklearn", "storage._torch_module": "torch"}


@pytest.mark.parametrize("module", DOCUMENTED)
def test_docstring_examples(module):
    if module in NEEDS:
        pytest.importorskip(NEEDS[module])
    results = doctest.testmod(importlib.import_module(f"charrnn.{module}".rstrip(".")))
    assert results.failed == 0


def test_import_disturbs_nothing_and_loads_nothing_heavy(run_python):
    program = """if True:
        import locale, os, random, signal, sys, threading, warnings
        import numpy as np
        def world():
            handlers = [signal.getsignal(s) for s in signal.valid_signals()]
            rng = np.random.get_state()[1].tolist(), random.getstate()
            host = locale.setlocale(locale.LC_ALL), list(warnings.filters), threading.active_count()
            return handlers, rng, host, dict(os.environ), os.getcwd()
        before = world()
        import charrnn
        assert world() == before
        assert sys.float_info.min * 0.5 > 0, "subnormals are flushed"
        assert np.float32(1e-40) * np.float32(0.5) > 0, "subnormals are flushed"
        libraries = "safetensors tqdm argparse matplotlib pydoc_data pooch sklearn pandas polars "
        libraries += "torch onnx importlib.metadata"
        own = "testing datasets sklearn browser trace trace.page plotting storage.export "
        own += "data.sources"
        for heavy in (*libraries.split(), *(f"charrnn.{module}" for module in own.split())):
            assert heavy not in sys.modules, heavy
    """
    ran = run_python(program, flags=["-W", "error"])
    assert ran.returncode == 0, ran.stderr


def test_use_reaches_for_nothing_but_the_files_that_it_is_given(run_python, tmp_path):
    program = """if True:
        import os, sys, charrnn
        folder, seen = os.path.realpath(sys.argv[1]), []
        modules = ("socket", "subprocess", "urllib", "http", "ctypes", "pickle")
        calls = "system exec fork forkpty posix_spawn kill putenv chdir".split()
        def audit(event, arguments):
            if event.split(".")[0] in modules or event in [f"os.{call}" for call in calls]:
                seen.append((event, arguments))
            elif event in ("os.remove", "os.rename", "os.chmod", "os.mkdir", "open"):
                path, flags = arguments[0], arguments[2] if event == "open" else os.O_WRONLY
                writes = flags & (os.O_WRONLY | os.O_RDWR)
                if writes and os.path.dirname(os.path.realpath(path)) != folder:
                    seen.append((event, arguments))
        sys.dont_write_bytecode = True
        sys.addaudithook(audit)
        path = os.path.join(folder, "model")
        options = {"steps": 30, "batch_size": 2, "n_threads": 2, "progress": False}
        model = charrnn.train_text("to be or not " * 30, checkpoint=path, **options)
        model.save(path)
        model = charrnn.load(path)
        model.train_text("to be", steps=2, progress=False)
        model.generate_many(3, 20), model.score_many(["to", "be"]), model.beam_search(5)
        assert not seen, seen
        os.mkdir(os.path.join(folder, "else"))
        open(os.path.join(folder, "else", "where"), "w").close()
        assert len(seen) == 1, "nothing is seen"
    """
    ran = run_python(program, tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["else", "model"]


def test_no_signal_leaves_a_workspace_taken():
    """If a signal raises as a call returns from a `with`, Python 3.11 skips the block's end."""
    package = Path(charrnn.__file__).parent
    found = 0
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.With) and "checked_workspace" in ast.unparse(node.items[0]):
                found += 1
                inside = [one.lineno for one in ast.walk(node) if isinstance(one, ast.Return)]
                assert inside == [], path
    assert found > 3


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


def test_the_top_folder_is_small():
    if not (ROOT / ".git").exists():
        pytest.skip("the tests were copied away from the repository")
    git = ["git", "-C", ROOT, "ls-files"]
    listed = subprocess.run(git, capture_output=True, text=True, check=True).stdout
    entries = {path.partition("/")[0] for path in listed.splitlines()} | {".git"}
    assert len(entries) <= 22, sorted(entries)


def test_no_flag_breaks_the_numerical_contract():
    setup = ROOT / "setup.py"
    if not setup.exists():
        pytest.skip("the tests were copied away from the project")
    words = setup.read_text(encoding="utf-8")
    for flag in ("fast-math", "Ofast", "associative-math", "fp:fast", "unsafe-math"):
        assert flag not in words
    assert "-ffp-contract=off" in words


@pytest.mark.skipif(not (PACKAGE / "kernels").exists(), reason="a wheel has no kernel sources")
def test_each_mutant_changes_something_that_is_there():
    from mutants import MUTANTS

    for name, (file, text, replacement) in MUTANTS.items():
        source = (PACKAGE / file).read_text(encoding="utf-8")
        assert text in source, f"{name}: the text is no longer in {file}"
        assert text != replacement
