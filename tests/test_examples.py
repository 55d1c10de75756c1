"""Every example runs in a process of its own, in under 30 seconds unless it starts others, and prints what it should."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name, timeout=30):
    ran = subprocess.run([sys.executable, EXAMPLES / name], capture_output=True, text=True, timeout=timeout, check=True)
    assert all(line.startswith("charrnn: ") for line in ran.stderr.splitlines()), ran.stderr  # progress, where the machine is slow
    return ran.stdout


pytestmark = pytest.mark.skipif(not EXAMPLES.exists(), reason="the tests were copied away from the project")


def test_every_example_has_a_test():
    words = Path(__file__).read_text(encoding="utf-8")
    assert all(f'run("{path.name}"' in words for path in EXAMPLES.glob("*.py"))


def test_names():
    names = run("names.py").split()
    assert len(names) == 10
    assert all(name.istitle() and name.isalpha() for name in names)


def test_passwords():
    bits = {line.split()[0]: float(line.split()[1]) for line in run("passwords.py").splitlines()}
    assert bits["dragon123"] < 20 < bits["x7!Kq_zT"]
    assert bits["dragon123"] < bits["nogard321"]


def test_domains():
    lines = run("domains.py").splitlines()
    scores = [float(line.split()[0]) for line in lines]
    assert scores == sorted(scores, reverse=True)
    assert scores[9] > 2 * scores[10]  # the ten made up by a program stand apart


def test_molecules():
    share = run("molecules.py").splitlines()[-1]
    assert float(share.split("%")[0]) > 60


def test_dialogue():
    lines = run("dialogue.py").splitlines()
    assert [line.split(":")[0] for line in lines] == ["BAKER", "SMITH", "GUARD", "WITCH"]
    assert all(len(line) > 10 for line in lines)


def test_cluster():
    pytest.importorskip("sklearn")
    pytest.importorskip("distributed")
    best, *table = run("cluster.py", timeout=120).splitlines()  # it starts processes
    assert best.startswith("best of 12: {'batch_size': ")
    bits = [float(line.split()[1]) for line in table[1:]]
    assert len(bits) == 3
    assert bits == sorted(bits, reverse=True)
    assert min(bits) > 4
