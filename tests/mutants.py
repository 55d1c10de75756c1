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
LINALG, DENSE, INPUT, CELL, SOFTMAX, OPTIMIZER = (f"_{room}.pxi" for room in ("linalg", "dense", "input", "rnn", "softmax", "optimizer"))
THREADS, STEPS, SAMPLING, DOORS, TRACE = (f"_{room}.pxi" for room in ("threads", "steps", "sampling", "doors", "trace"))
ELEMENTARY, NETWORK = "_elementary.pxd", "_network.pyx"
MUTANTS = {  # name: (file, text, replacement)
    "no derivative of tanh": (CELL, "dz[j] *= fma(-h[j], h[j], <real>1)", "pass"),
    "derivative of tanh with plus": (CELL, "fma(-h[j], h[j], <real>1)", "fma(h[j], h[j], <real>1)"),
    "output bias gradient missing": (STEPS, "&matrices[plan.Why], &matrices[plan.by], part", "&matrices[plan.Why], NULL, part"),
    "hidden bias gradient missing": (STEPS, "&matrices[layer.Whh], &matrices[layer.bh], part", "&matrices[layer.Whh], NULL, part"),
    "last row of a sum missing": (LINALG, "            for p in range(K):\n                if not", "            for p in range(K - 1):\n                if not"),
    "dWhh from h_t, not h_(t-1)": (STEPS, "part, parts, T, work.hs, 0, k, work.dz", "part, parts, T, work.hs, 1, k, work.dz"),
    "dWhy from h_(t-1), not h_t": (STEPS, "part, parts, T, work.hs, 1, k, work.p", "part, parts, T, work.hs, 0, k, work.p"),
    "tanh' at the state after, not before": (CELL, "&hs[t + 1, b, k], &dz", "&hs[t, b, k], &dz"),
    "carried gradient dropped": (CELL, "_lanes(H), H, dh +", "_lanes(H), 0, dh +"),
    "carried gradient through Whh, not its transpose": (LINALG, "    _shuffle(y, 16, x)\n", "    _shuffle(y, 16, x)\n    for i in range(rows):\n        _copy(16, A + i * lda, x + 16 * i)\n"),
    "target not subtracted": (SOFTMAX, "    p[target] -= 1\n", "    pass\n"),
    "target added": (SOFTMAX, "p[target] -= 1", "p[target] += 1"),
    "loss summed over the streams, not averaged": (STEPS, "1.0 / work.B)", "1.0)"),
    "ignored targets counted": (SOFTMAX, "    if target == IGNORED:    # p may be NaN\n        for i in range(n):\n            p[i] = 0\n        return\n", ""),
    "clip lets large gradients through": (OPTIMIZER, "g = limit if g > limit else g", "g = g"),
    "clip lets large negative gradients through": (OPTIMIZER, "return -limit if g < -limit else g", "return g"),
    "clip sign": (OPTIMIZER, "return -limit if g < -limit else g", "return limit if g < -limit else g"),
    "eps outside the root": (OPTIMIZER, "root(memory[i] + <real>1e-8)", "(root(memory[i]) + <real>1e-8)"),
    "memory not updated": (OPTIMIZER, "memory[i] = fma(g, g, memory[i])", "pass"),
    "memory of the absolute gradient": (OPTIMIZER, "memory[i] = fma(g, g, memory[i])", "memory[i] += magnitude(g)"),
    "ascent": (OPTIMIZER, "fma(-rate * g", "fma(rate * g"),
    "no maximum in softmax": (SOFTMAX, "exp_nonpositive((tail[j] - largest) * scale)", "exp_nonpositive(tail[j] * scale)"),
    "maximum of the last lanes only": (SOFTMAX, "    for i in range(n // LANES - 1):\n        for j in range(LANES):\n            peak", "    for i in range(0):\n        for j in range(LANES):\n            peak"),
    "sum of the first lane only": (SOFTMAX, "mass = _sum_lanes(total)", "mass = total[0]"),
    "state not carried in training": (STEPS, "        _carry(work, crew.rows)\n", "        pass\n"),
    "state not carried in evaluation": (DOORS, "            _carry(work, rows)\n", "            pass\n"),
    "state not carried in sampling": (SAMPLING, "        _carry(work, 1)\n", "        pass\n"),
    "gradient of Wxh not cleared": (INPUT, "                    gradient[row + j] = 0", "                    pass"),
    "gradient of Wxh overwritten": (INPUT, "gradient[row + j] += dz", "gradient[row + j] = dz"),
    "rows of Wxh updated once only": (STEPS, "                work.used[v] = 0\n", "                pass\n"),
    "a diverged step is applied": (STEPS, "if not losses[step] < 1e280:", "if False:"),
    "an unbounded gradient is applied": (OPTIMIZER, "    return not bad\n", "    return True\n"),
    "hidden bias ignored": (INPUT, "weights[row + j] + weights[bh.start + j]", "weights[row + j]"),
    "the last rows are left out": (LINALG, "        while i < M:\n            a = A", "        while i < M // rows * rows:\n            a = A"),
    "threads share streams wrongly": (THREADS, "b1 = work.B * (member.part + 1)", "b1 = (work.B - 1) * (member.part + 1)"),
    "threads share weights wrongly": (STEPS, "_share(W.rows, part + 1, parts)\n        if i", "_share(W.rows, part + 1, parts) - (parts - 1)\n        if i"),
    "generator not advanced": (ELEMENTARY, "    state[0] += 0x9E3779B97F4A7C15ULL\n", "    pass\n"),
    "padding counts": (SOFTMAX, "        tail[j] = tail[j] if j < in_tail else 0\n", ""),
    "temperature multiplies": (SAMPLING, "1 / max(controls.temperature, 1e-30)", "controls.temperature"),
    "subnormal tails kept": (ELEMENTARY, "<real>0 if x < <real>-40 else r", "<real>0 if x < <real>-87 else r"),
    "blocks of characters are not skipped": (SAMPLING, "        rest -= block\n", "        pass\n"),
    "half of a block counts": (SOFTMAX, "total[j] = x[j] + x[j + 8]", "total[j] = x[j]"),
    "the last repetition is overlooked": (SAMPLING, "range(max(0, t - LOOK_BACK), last):", "range(max(0, t - LOOK_BACK), last - 1):"),
    "a repetition of one less": (SAMPLING, "for j in range(n - 1):\n            if ids", "for j in range(n - 2):\n            if ids"),
    "beams keep their own states": (SAMPLING, "work.hs[0, parents[t, w], j]", "work.hs[0, w, j]"),
    "ended texts go on": (SAMPLING, "            if ended[w]:\n", "            if False:\n"),
    "scores of beams without their past": (SAMPLING, "base = scores[w] - _softmax", "base = -_softmax"),
    "a layer reads its own states": (STEPS, "plan.layers[i - 1].column, work.hs", "layer.column, work.hs"),
    "the layer below gets the output's gradient": (STEPS, "            W, above = plan.layers[i].Wxh", "            W, above = plan.Why"),
    "a workspace of another network is taken": (NETWORK, "network is not network:", "network is None:"),
    "a workspace is used by two at once": (NETWORK, "if not self.lock.acquire(blocking=False):", "if False:"),
    "no probabilities, no error": (DOORS, "    if nll != nll:\n", "    if False:\n"),
    "a setting is not checked later": ("network.py", "        if name in _CHECKS:\n", "        if name in _CHECKS and not hasattr(self, name):\n"),
    "two models in one call": ("model.py", "        start, checked = _begin(now, length, prime, controls)\n        ((text", "        start, checked = _begin(now, length, prime, controls)\n        now = self._now\n        ((text"),
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
    "the steps of an interrupted call are not counted": ("loop.py", "        self.settle()\n        if self.at.unreported", "        if self.at.unreported"),
    "no checkpoint after an exception": ("loop.py", "            self.report()\n        self.save_after(0)", "            self.report()"),
    "a long record begins anew in each window": ("reader.py", "bool(self.first[window] == 0)", "True"),
    "windows of long records beside whole ones": ("reader.py", "alike = whole if whole[0]", "alike = whole | True if whole[0]"),
    "the first input of a window is the boundary": ("reader.py", "before = (0 < t) & (t <= length)", "before = (self.first[window] < t) & (t <= length)"),
    "of stop texts the one that begins first": ("sampling.py", "min(ends)[1]", "min(place for _, place in ends)"),
    "nan ends training as a success": ("loop.py", "        if at.step < step + count:\n", "        if False:\n"),
    "no budget by default": ("loop.py", "            epochs = 10\n", "            epochs = 10**6\n"),
    "loss of an underflowed probability": ("rnn.py", "        if isinstance(ps, Predictions):\n", "        if False:\n"),
    "the host's generator is used": ("seeding.py", "seed = random_seed()", "seed = int(np.random.randint(2**31))"),
    # What surrounds the network.
    "the last weights are kept": ("training.py", "    network.weights.copy_from(best)\n    # Check", "    # Check"),
    "any epoch is the best": ("loop.py", "measured < self.at.best_nll)", "True)"),
    "patience from the start": ("loop.py", "at.epoch - at.best_epoch >= self.patience", "at.epoch > self.patience"),
    "no decay": ("loop.py", "learner.learning_rate * _power(self.decay, at.epoch)", "learner.learning_rate"),
    "the boundary does not move": ("model.py", "[len(source.vocabulary)] * now", "[len(now.vocabulary)] * now"),
    "new characters are likely": ("network.py", 'there["by"].min()', 'there["by"].max()'),
    "skipped characters count": ("scoring.py", "return cls(ids, lengths - unknown, unknown)", "return cls(ids, lengths, unknown)"),
    "unique counts nothing": ("model.py", "            seen.add(text)\n", "            pass\n"),
    "novel without the prime": ("model.py", "primed + text in known", "text in known"),
    "a stop text before min_length": ("sampling.py", "max(0, self.sampling.min_length - taken, ", "max(0, "),
    "stop texts across pieces": ("sampling.py", "len(old) - self.sampling.held)", "len(old))"),
    "best weights lost at Ctrl-C": ("training.py", "        _keep_best(network, history, position, best)\n        raise", "        raise"),
    "forbidden is next to impossible": (SAMPLING, "logits[v] if allowed[v] else -INFINITY", "logits[v] if allowed[v] else -1e30"),
    "metadata not hashed": ("persistence.py", ", np.frombuffer(json.dumps(words, sort_keys=True).encode(), np.uint8))", ")"),
    "batches of unlike length": ("scoring.py", "2 * ascending[start] + 16", "10**9"),
    "states of the character before": (TRACE, "&work.hs[1, 0, 0], rows", "&work.hs[0, 0, 0], rows"),
    "the likeliest again and again": (TRACE, "largest, <int>v, -1", "largest, <int>v, p[v]"),
    "the likeliest of the first lanes": (TRACE, "for m in range(1, _lanes(V) // LANES):", "for m in range(0):"),
    "saliency of a mean over streams": (TRACE, "-<double>B * _sum", "-<double>1 * _sum"),
    "saliency of the loss, not of the logarithm": (TRACE, "-<double>B * _sum", "<double>B * _sum"),
    "saliency of the first character": (TRACE, "inputs[t, b] * Wxh.ld", "inputs[0, b] * Wxh.ld"),
    "saliency of the last target alone": (STEPS, "                return t\n    return rows", "                return rows - 1\n    return rows"),
    "saliency from the zero state": ("trace.py", "np.where(first[:, None] > 0, ", "np.where(first[:, None] < 0, "),
    "the first predicted from nothing": ("trace.py", "np.concatenate([first, nll[:, 0]])", "np.concatenate([0 * first, nll[:, 0]])"),
    "quotes never closed by a paragraph": ("nameable.py", "fresh = feeds & _before(feeds)", "fresh = feeds & ~feeds"),
    "text not escaped": ("page.py", '.replace("<", "\\\\u003c")', ""),
    "title not escaped": ("page.py", '"title": html.escape(', '"title": str('),
    "the best weights are not in the checkpoint": ("training.py", "known = best if position.best_nll is not None else None", "known = None"),
}  # fmt: skip
UNCHANGED = "nothing changed"
TESTS = [
    "tests/test_core.py",
    "tests/test_network.py",
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
    "tests/test_trace.py",
    "tests/test_nameable.py",
    "tests/test_page.py",
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
    # An absolute path: tests start processes in other folders. The baseline by name, or its import warns that others are missing.
    run = os.environ | {"PYTHONPATH": str(project / "src"), "CHARRNN_ISA": "baseline"}
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
            test = killer(*MUTANTS.get(name, (LINALG, "", "")), Path(folder))
        print(f"{name}: {'SURVIVED' if test is None else f'killed by {test}'}", flush=True)
        if name == UNCHANGED and test is not None:
            raise SystemExit("the tests must pass where nothing is changed")
        if name != UNCHANGED and test is None:
            survivors.append(name)
    print(f"{len(names or MUTANTS) - len(survivors)} killed, {len(survivors)} survived")
    return len(survivors)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
