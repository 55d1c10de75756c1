"""Break the kernels on purpose, one way at a time, and check that the tests notice: python tests/mutants.py [name ...].

Each mutant is a copy of the package whose kernel source has one text replaced, built for the baseline only, tested in a process of its own.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CORE, LINALG, DOORS, ELEMENTARY = "_core.pyx", "_linalg.pxi", "_doors.pxi", "_elementary.pxd"
MUTANTS = {  # name: (file, text, replacement)
    "no derivative of tanh": (CORE, "fma(-h[j], h[j], <real>1) * dh[j]", "dh[j]"),
    "derivative of tanh with plus": (CORE, "fma(-h[j], h[j], <real>1)", "fma(h[j], h[j], <real>1)"),
    "output bias gradient from the hidden layer": (CORE, "_sum_rows(&p[0, 0, 0], T * hs.shape[1], Vp, &dby[0])", "pass"),
    "hidden bias gradient missing": (CORE, "_sum_rows(&dz[0, 0, 0], T * hs.shape[1], Hp, &dbh[0])", "pass"),
    "last row of a sum missing": (LINALG, "    for i in range(rows):\n        for j in range(width):\n            out", "    for i in range(rows - 1):\n        for j in range(width):\n            out"),
    "dWhh from h_t, not h_(t-1)": (CORE, "T * B, &hs[0, 0, j0]", "T * B, &hs[1, 0, j0]"),
    "dWhy from h_(t-1), not h_t": (CORE, "T * B, &hs[1, 0, j0]", "T * B, &hs[0, 0, j0]"),
    "tanh' at the state after, not before": (CORE, "_tanh_backward(n, &hs[t, b0, 0], &dz", "_tanh_backward(n, &hs[t + 1, b0, 0], &dz"),
    "carried gradient dropped": (CORE, "_product(b1 - b0, _lanes(H), H, &dz[t, b0, 0]", "_product(b1 - b0, _lanes(H), 0, &dz[t, b0, 0]"),
    "carried gradient through Whh, not its transpose": (LINALG, "            AT[j * ldt + i] = A[i * lda + j]", "            AT[i * ldt + j] = A[i * lda + j] if rows == cols else A[0]"),
    "target not subtracted": (CORE, "        p[target] -= 1\n", "        pass\n"),
    "target added": (CORE, "p[target] -= 1", "p[target] += 1"),
    "loss summed over the streams, not averaged": (CORE, "<real>1 / <real>B)", "<real>1)"),
    "ignored targets counted": (CORE, "    if target == IGNORED:\n        scale = 0", "    if target == IGNORED:\n        pass"),
    "clip lets large gradients through": (CORE, "g = limit if g > limit else g", "g = g"),
    "clip lets large negative gradients through": (CORE, "return -limit if g < -limit else g", "return g"),
    "clip sign": (CORE, "return -limit if g < -limit else g", "return limit if g < -limit else g"),
    "eps outside the root": (CORE, "root(memory[i] + <real>1e-8)", "(root(memory[i]) + <real>1e-8)"),
    "memory not updated": (CORE, "memory[i] = fma(g, g, memory[i])", "pass"),
    "memory of the absolute gradient": (CORE, "memory[i] = fma(g, g, memory[i])", "memory[i] += magnitude(g)"),
    "ascent": (CORE, "parameter[i] -= rate", "parameter[i] += rate"),
    "no maximum in softmax": (CORE, "exp_nonpositive((x[i * LANES + j] - peak[0]) * scale)", "exp_nonpositive(x[i * LANES + j] * scale)"),
    "maximum of the first lanes only": (CORE, "    for i in range(1, n // LANES):", "    for i in range(1, 0):"),
    "sum of the first lane only": (CORE, "        total[0] += total[j]", "        pass"),
    "state not carried in training": (DOORS, "            _carry(hs, stop - start)\n        else:", "        else:"),
    "state not carried in evaluation": (DOORS, "nll[start:stop])\n            _carry(hs, stop - start)", "nll[start:stop])"),
    "state not carried in sampling": (DOORS, "            _carry(hs, 1)\n", "            pass\n"),
    "gradient of Wxh not cleared": (CORE, "                    dWxh[x, j] = 0", "                    pass"),
    "gradient of Wxh overwritten": (CORE, "dWxh[x, j] += dz", "dWxh[x, j] = dz"),
    "rows of Wxh updated once only": (CORE, "            used[v] = 0\n", "            pass\n"),
    "a diverged step is applied": (DOORS, "not losses[step] - losses[step] == 0 or not", "not"),
    "an unbounded gradient is applied": (CORE, "    return not bad\n", "    return True\n"),
    "hidden bias ignored": (CORE, "Wxh[inputs[t, b], j] + bh[j]", "Wxh[inputs[t, b], j]"),
    "last tile not moved inside": (LINALG, "row = min(i * rows, M - rows)", "row = min(i, (M - rows) // rows) * rows"),
    "threads share streams wrongly": ("rnn.py", "cuts = [B * i // n for i in range(n + 1)]", "cuts = [(B - 1) * i // n for i in range(n + 1)]"),
    "threads share weights wrongly": (CORE, "j1 = _share(H, part + 1, parts)\n", "j1 = _share(H, part + 1, parts) - (parts - 1)\n"),
    "generator not advanced": (ELEMENTARY, "    state[0] += 0x9E3779B97F4A7C15ULL\n", "    pass\n"),
    "padding may be drawn": (CORE, "<real>max(1e-28, min(1e30,", "<real>max(1e-40, min(1e30,"),
    "temperature multiplies": (CORE, "1 / max(controls.temperature, 1e-30)", "controls.temperature"),
    "subnormal tails kept": (ELEMENTARY, "<real>0 if x < <real>-40 else r", "<real>0 if x < <real>-87 else r"),
    "blocks of characters are not skipped": (CORE, "        rest -= block\n", "        pass\n"),
    "half of a block counts": (CORE, "total[j] = x[j] + x[j + 8]", "total[j] = x[j]"),
    "the last repetition is overlooked": (CORE, "range(max(0, t - LOOK_BACK), last):", "range(max(0, t - LOOK_BACK), last - 1):"),
    "a repetition of one less": (CORE, "for j in range(n - 1):\n            if ids", "for j in range(n - 2):\n            if ids"),
    "beams keep their own states": (DOORS, "hs[1, w, j] = hs[0, parents[t, w], j]", "hs[1, w, j] = hs[0, w, j]"),
    "ended texts go on": (CORE, "            if ended[w]:\n", "            if False:\n"),
    "scores of beams without their past": (CORE, "base = scores[w] - _softmax", "base = -_softmax"),
    "tanh saturates early": (ELEMENTARY, "<real>9.25 if a > <real>9.25", "<real>5 if a > <real>5"),
    # The tutorial's mistakes that lie outside the kernels.
    "symbols in the order of a set": ("vocabulary.py", "return \"\".join(map(chr, np.flatnonzero(seen)))", "return \"\".join(set(map(chr, np.flatnonzero(seen))))"),
    "symbols unsorted": ("reader.py", "enumerate(self.vocabulary.chars)}", "enumerate(set(self.data))}"),
    "the pointer wraps early": ("reader.py", "0 if end == self.data_size - 1 else end", "0 if end + self.seq_length + 1 >= self.data_size else end"),
    "the last window must be whole": ("reader.py", "self.windows: int = -(-self.length // seq_length)", "self.windows: int = self.length // seq_length"),
    "the locale's encoding": ("reader.py", 'data.decode("utf-8")', "data.decode(__import__('locale').getencoding())"),
    "newlines rewritten": ("reader.py", '.removeprefix("\\ufeff")', '.removeprefix("\\ufeff").replace("\\r\\n", "\\n")'),
    "backward over seq_length": ("rnn.py", "        T = len(xs)\n", "        T = self.seq_length\n"),
    "predict ignores the order of the prime": ("rnn.py", "for char in start])", "for char in sorted(start)])"),
    "nan ends training as a success": ("loop.py", "        if len(losses) < count:\n", "        if False:\n"),
    "no budget by default": ("loop.py", "            epochs = 10\n", "            epochs = 10**6\n"),
    "loss of an underflowed probability": ("rnn.py", "        if isinstance(ps, Predictions):\n", "        if False:\n"),
    "the host's generator is used": ("seeding.py", "seed = random_seed()", "seed = int(np.random.randint(2**31))"),
    # What surrounds the network.
    "the last weights are kept": ("training.py", "    rnn.network.weights.copy_from(best)\n    history", "    history"),
    "any epoch is the best": ("loop.py", "measured < self.at.best_nll)", "True)"),
    "patience from the start": ("loop.py", "at.epoch - at.best_epoch >= self.patience", "at.epoch > self.patience"),
    "no decay": ("loop.py", "self.rnn.learning_rate * _power(self.decay, at.epoch)", "self.rnn.learning_rate"),
    "the boundary does not move": ("model.py", "[len(source.vocabulary)] * self", "[len(self.vocabulary)] * self"),
    "new characters are likely": ("parameters.py", 'there["by"].min()', 'there["by"].max()'),
    "skipped characters count": ("scoring.py", "return ids[ids >= 0], known", "return ids[ids >= 0], lengths"),
    "unique counts nothing": ("model.py", "            seen.add(text)\n", "            pass\n"),
    "novel without the prime": ("model.py", "primed + text in known", "text in known"),
    "a stop text before min_length": ("sampling.py", "max(0, self.sampling.min_length - taken, ", "max(0, "),
    "stop texts across pieces": ("sampling.py", "len(old) - self.sampling.held)", "len(old))"),
    "best weights lost at Ctrl-C": ("training.py", "        _keep_best(rnn, history, position, best)\n        raise", "        raise"),
    "padding is copied with weights": ("parameters.py", "        for here, there in zip(self.views().values(), other.views().values(), strict=True):\n            here[...] = there", "        self.block[...] = other.block"),
    "metadata not hashed": ("persistence.py", ", np.frombuffer(json.dumps(words, sort_keys=True).encode(), np.uint8))", ")"),
    "batches of unlike length": ("scoring.py", "2 * ascending[start] + 16", "10**9"),
    "the best weights are not in the checkpoint": ("training.py", "known = best if position.best_nll is not None else None", "known = None"),
}  # fmt: skip
UNCHANGED = "nothing changed"
TESTS = [
    "tests/test_core.py",
    "tests/test_tutorial.py",
    "tests/test_reader.py",
    "tests/test_vocabulary.py",
    "tests/test_rnn.py",
    "tests/test_loop.py",
    "tests/test_sampling.py",
    "tests/test_scoring.py",
    "tests/test_model.py",
    "tests/test_training.py",
    "tests/test_checkpoint.py",
    "tests/test_persistence.py",
]


def killer(file, text, replacement, folder):
    """Return the first test that fails with text replaced in file, or None if all pass."""
    project = folder / "project"
    for part in ("src", "tests", "setup.py", "pyproject.toml"):
        source = ROOT / part
        ignore = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__")
        shutil.copytree(source, project / part, ignore=ignore) if source.is_dir() else shutil.copy(source, project / part)
    mutated = project / "src/charrnn" / file
    words = mutated.read_text(encoding="utf-8")
    if words.count(text) < 1:
        raise SystemExit(f"the text of this mutant is not in {file} any more: {text!r}")
    mutated.write_text(words.replace(text, replacement), encoding="utf-8")
    # _PYTHON_HOST_PLATFORM: a machine without variants; -O1: the tests need no speed here.
    build = os.environ | {"_PYTHON_HOST_PLATFORM": "linux-mutant", "CFLAGS": "-O1 -g0"}
    subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=project, env=build, check=True, capture_output=True)
    run = os.environ | {"PYTHONPATH": str(project / "src")}  # absolute: tests start processes in other folders
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *TESTS]
    try:
        ran = subprocess.run(command, cwd=project, env=run, capture_output=True, text=True, timeout=200)
    except subprocess.TimeoutExpired:
        return "no end"
    if ran.returncode == 0:
        return None
    return next((line.split()[1] for line in ran.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))), "no test: pytest itself")


def main(names):
    """Run the named mutants, or all; exit with their number that survived."""
    survivors = []
    for name in (UNCHANGED, *(names or MUTANTS)):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "project").mkdir()
            test = killer(*MUTANTS.get(name, (CORE, "", "")), Path(folder))
        print(f"{name}: {'SURVIVED' if test is None else f'killed by {test}'}", flush=True)
        if name == UNCHANGED and test is not None:
            raise SystemExit("the tests must pass where nothing is changed")
        if name != UNCHANGED and test is None:
            survivors.append(name)
    print(f"{len(names or MUTANTS) - len(survivors)} killed, {len(survivors)} survived")
    return len(survivors)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
