"""Every example runs in its own process."""

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import charrnn
from test_documents import AWAY, HAS_FMA

EXAMPLES = Path(__file__).parents[1] / "examples"
GALLERY = EXAMPLES.parent / "docs" / "examples.md"


def run(name):
    command = [sys.executable, EXAMPLES / name]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    # A slow machine shows progress.
    assert all(line.startswith("charrnn: ") for line in ran.stderr.splitlines()), ran.stderr
    if HAS_FMA and GALLERY.exists():
        compare(name, ran.stdout)
    return ran.stdout


def compare(name, printed):
    """Raise if docs/examples.md shows another output; CHARRNN_REWRITE=1 writes this one there."""
    page = GALLERY.read_text(encoding="utf-8")
    code = rf"^```{{literalinclude}} \.\./examples/{name}\n(?:.*\n)*?```\n\n"
    block = code + r"```text\n((?:.*\n)*?)```$"
    shown = re.search(block, page, re.MULTILINE)
    if "CHARRNN_REWRITE" in os.environ:
        page = page[: shown.start(1)] + printed + page[shown.end(1) :]
        GALLERY.write_text(page, encoding="utf-8")
    else:
        assert shown[1] == printed


pytestmark = pytest.mark.skipif(not EXAMPLES.exists(), reason=AWAY)


def test_every_example_has_a_test():
    words = Path(__file__).read_text(encoding="utf-8")
    assert all(f'run("{path.name}"' in words for path in EXAMPLES.glob("*.py"))


def test_names():
    names = run("names.py").split()
    assert len(names) == 10
    assert all(name.istitle() and name.isalpha() for name in names)


def test_passwords():
    bits = {line.split()[0]: float(line.split()[1]) for line in run("passwords.py").splitlines()}
    assert bits["password"] == 0  # the most probable one
    assert bits["dragon123"] < 10 < bits["Angel99!"] < bits["angelflower"] < bits["nogard321"]
    most = {
        word: round(math.log2(sum(95**n for n in range(len(word) + 1)) - 1), 1) for word in bits
    }
    assert all(bits[word] <= most[word] for word in bits)  # tsqnmvrw had 113.8 bits once
    assert bits["x7!Kq_zT"] == most["x7!Kq_zT"] == 52.6


def judged(printed):
    """By method: the share of false alarms, and by kind the area under the ROC curve and the share
    found.
    """
    methods = {}
    table = re.compile(r"^(\w.*?) +false alarms ([\d.]+)%\n((?:  .*\n)+)", re.MULTILINE)
    for name, alarms, rows in table.findall(printed):
        found = re.findall(r"(\w+) +ROC AUC ([\d.]+), found +(\d+)%", rows)
        methods[name] = (
            float(alarms),
            {kind: (float(auc), int(share)) for kind, auc, share in found},
        )
    assert list(methods) == ["detector", "TF-IDF and LR"]
    return methods.values()


def test_domains():
    pytest.importorskip("sklearn")
    (alarms, found), (_, baseline) = judged(run("domains.py"))
    assert alarms < 3
    assert list(found) == ["letters", "hexadecimal", "syllables", "two_words"]
    assert min(auc for auc, _ in found.values()) > 0.98
    assert min(share for _, share in found.values()) > 80
    assert all(found[unseen] > baseline[unseen] for unseen in ("syllables", "two_words"))
    assert baseline["letters"][0] > 0.99  # fair where it has seen the family


def test_logs():
    pytest.importorskip("sklearn")
    (alarms, found), (_, baseline) = judged(run("logs.py"))
    assert alarms < 3
    assert all(found[kind] > (0.99, 95) for kind in ("stranger", "crash", "injection"))
    assert found["elsewhere"] > (0.97, 40)  # how many depends on the threshold
    assert found["guessing"][1] < 20  # a limit that the example states
    assert baseline["stranger"] > (0.99, 95)
    assert baseline["injection"][1] < 50


def test_molecules():
    share = run("molecules.py").splitlines()[-1]
    assert float(share.split("%")[0]) > 60


def test_dialogue():
    lines = run("dialogue.py").splitlines()
    assert [line.split(":")[0] for line in lines] == ["BAKER", "SMITH", "GUARD", "WITCH"]
    assert all(len(line) > 10 for line in lines)


def test_two_hundred_lines():
    lines = run("two_hundred_lines.py").splitlines()
    losses = [float(line.split()[2]) for line in lines if line.startswith("pass ")]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 2.4
    assert len("\n".join(lines[9:])) == 120


def test_two_hundred_lines_compute_what_the_library_computes(monkeypatch, tmp_path):
    """In float64: every loss, the trained weights, and the probabilities that sampling uses."""
    monkeypatch.syspath_prepend(EXAMPLES)
    import two_hundred_lines as plain

    text = plain.shuffled_names()[:2000]
    (tmp_path / "names.txt").write_text(text, encoding="utf-8", newline="\n")
    chars = plain.vocabulary(text)
    ids = plain.encode(text, chars)
    weights = plain.initialize(20, len(chars), seed=0)
    with charrnn.DataReader(tmp_path / "names.txt", 25) as reader:
        by_step, by_call = (new_rnn(weights, len(chars)) for _ in range(2))
        expected = list(library_losses(by_step, reader, steps=160))
        by_call.train(reader, epochs=2, threshold=0, callback=None)
    losses = list(plain.train(weights, ids, passes=2))
    assert losses == pytest.approx(expected, abs=1e-6)
    for rnn in (by_step, by_call):
        for name in "UWVbc":
            matrix = getattr(rnn, name).reshape(weights[name].shape)
            assert matrix == pytest.approx(weights[name], abs=1e-6)
    h, log_p = plain.step(weights, np.zeros(20), ids[0])
    _, hs, ps = by_step.forward(ids[:1], np.zeros((20, 1)))
    assert h == pytest.approx(hs[0][:, 0], abs=1e-6)
    assert np.exp(log_p) == pytest.approx(ps[0][:, 0], abs=1e-6)


def new_rnn(weights, n_chars):
    """A network of the library with these weights."""
    rnn = charrnn.RNN(20, n_chars, 25, 0.1, dtype="float64", seed=0)
    for name in "UWVbc":
        array = getattr(rnn, name)
        array[...] = weights[name].reshape(array.shape)
    return rnn


def library_losses(rnn, reader, steps):
    """The loss per character of each step, by the tutorial's methods."""
    for _ in range(steps):
        if reader.just_started():
            h = np.zeros((20, 1))
        inputs, targets = reader.next_batch()
        xs, hs, ps = rnn.forward(inputs, h)
        rnn.update_model(*rnn.backward(xs, hs, ps, targets))
        h = hs[len(inputs) - 1]
        yield rnn.loss(ps, targets) / len(inputs)


def test_cluster():
    pytest.importorskip("sklearn")
    pytest.importorskip("distributed")
    best, *table = run("cluster.py").splitlines()  # it starts processes
    assert best.startswith("best of 12: {'batch_size': ")
    bits = [float(line.split()[1]) for line in table[1:]]
    assert len(bits) == 3
    assert bits == sorted(bits, reverse=True)
    assert min(bits) > 4
