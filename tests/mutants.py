"""Break the kernels on purpose, one way at a time, and check that the tests notice: python
tests/mutants.py [--jobs N] [NAME ...].

A mutant is a copy of the package with one text replaced, built for the baseline only, and tested in
a process of its own.
"""

import argparse
import os
import queue
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
(
    LINALG,
    DENSE,
    INPUT,
    SOFTMAX,
    OPTIMIZER,
    DROPOUT,
    CELL,
    GRU,
    LSTM,
    STEPS,
    TRAIN,
    SAMPLING,
    DOORS,
    TRACE,
) = (
    f"kernels/{name}.pxi"
    for name in (
        *("matmul", "linear", "input", "softmax", "optimizers", "dropout", "rnn", "gru", "lstm"),
        *("forward_backward", "train_step", "sampling", "api", "saliency"),
    )
)
RECENT, ROUNDED = "kernels/recent.pxi", "kernels/bfloat16.pxi"
ELEMENTARY, NETWORK = "kernels/scalar.pxd", "network/_types.pyx"
MUTANTS = {  # name: (file, text, replacement)
    "no derivative of tanh": (CELL, "dz[j] *= fma(-h[j], h[j], <real>1)", "pass"),
    "derivative of tanh with plus": (CELL, "fma(-h[j], h[j], <real>1)", "fma(h[j], h[j], <real>1)"),
    "output bias gradient missing": (
        STEPS,
        "x, dy, zeros, dW, db, pack, call.check)",
        "x, dy, zeros, dW, NULL, pack, call.check)"),
    "hidden bias gradient missing": (
        STEPS, "dz, zeros, dW, db + others, pack, call", "dz, zeros, dW, NULL, pack, call"),
    "last row of a sum missing": (
        LINALG,
        "    _clear(N, sums)\n    for p in range(K):",
        "    _clear(N, sums)\n    for p in range(K - 1):"),
    "dWhh from h_t, not h_(t-1)": (
        STEPS, "h_before, dz, dW = &work.hs[0,", "h_before, dz, dW = &work.hs[1,"),
    "dWhy from h_(t-1), not h_t": (
        STEPS,
        "if call.dropout else &work.hs[1, b, last.column]",
        "if call.dropout else &work.hs[0, b, last.column]"),
    "tanh' at the state after, not before": (
        STEPS,
        "layer, &work.hs[t, b, column], &work.hs[t + 1, b, column],",
        "layer, &work.hs[t, b, column], &work.hs[t, b, column],"),
    "carried gradient dropped": (
        STEPS,
        "        if t < span.T - 1:\n            dz_next",
        "        if False:\n            dz_next"),
    "carried gradient through Whh, not its transpose": (
        LINALG,
        "        _copy(16, z + 16 * i, B + i * ldb)\n",
        "        _copy(16, A + i * lda, B + i * ldb)\n"),
    "target not subtracted": (SOFTMAX, "    p[target] -= 1\n", "    pass\n"),
    "target added": (SOFTMAX, "p[target] -= 1", "p[target] += 1"),
    "loss summed over the streams, not averaged": (STEPS, "1.0 / call.batch_size)", "1.0)"),
    "ignored targets counted": (
        SOFTMAX,
        "    if target == IGNORED:    # p may be NaN\n"
        "        for i in range(n):\n"
        "            p[i] = 0\n"
        "        return\n",
        ""),
    "clip lets large gradients through": (OPTIMIZER, "g = limit if g > limit else g", "g = g"),
    "clip lets large negative gradients through": (
        OPTIMIZER, "return -limit if g < -limit else g", "return g"),
    "clip sign": (
        OPTIMIZER, "return -limit if g < -limit else g", "return limit if g < -limit else g"),
    "eps outside the root": (
        OPTIMIZER,
        "inverse_root(accumulator[i] + <real>1e-8)",
        "(inverse_root(accumulator[i]) + <real>1e-8)"),
    "accumulator not updated": (OPTIMIZER, "accumulator[i] = fma(g, g, accumulator[i])", "pass"),
    "accumulator of the absolute gradient": (
        OPTIMIZER, "accumulator[i] = fma(g, g, accumulator[i])", "accumulator[i] += magnitude(g)"),
    "no pull": (OPTIMIZER, "w[i] = fma(pull, anchor[i] - w[i], w[i])", "pass"),
    "a pull away": (
        OPTIMIZER, "fma(pull, anchor[i] - w[i], w[i])", "fma(pull, w[i] - anchor[i], w[i])"),
    "a pull of the weights of characters in use only": (
        STEPS, "elif update.pull > 0 and j0 < j1:", "elif False:"),
    "no discount of recent counts": (RECENT, "(follower.count - DISCOUNT)", "follower.count"),
    "recent counts leave too little to shorter contexts": (
        RECENT, "share * DISCOUNT * context.followers", "share * DISCOUNT"),
    "what is not new counts in shorter contexts, too": (
        RECENT, "].count += 1\n            return", "].count += 1\n            continue"),
    "a mixture climbs": (RECENT, "w[i] -= MIXING_RATE", "w[i] += MIXING_RATE"),
    "one row of weights for all contexts": (
        RECENT, "            row = 3 * (k + 1)\n", "            row = 0\n"),
    "recent counts overflow": (
        RECENT,
        "if recent.n_contexts > RECENT_SLOTS // 4 * 3 or recent.n_followers > RECENT_SLOTS - "
        "16:",
        "if False:"),
    "a look ahead is read": (
        RECENT, "            recent.history[i] = recent.history[i + 1]\n", "            pass\n"),
    "ascent": (OPTIMIZER, "fma(-rate * g, inverse_root", "fma(rate * g, inverse_root"),
    "no maximum in softmax": (
        SOFTMAX,
        "exp_nonpositive((tail[j] - largest) * scale)",
        "exp_nonpositive(tail[j] * scale)"),
    "maximum of the last lanes only": (
        SOFTMAX,
        "    for i in range(vectors):\n        for j in range(LANES):\n            peak",
        "    for i in range(0):\n        for j in range(LANES):\n            peak"),
    "sum of the first lane only": (SOFTMAX, "(blocks + _sum_lanes(total))", "(blocks + total[0])"),
    "sum of the last block only": (SOFTMAX, "blocks += _sum_lanes(total)", "blocks = 0"),
    "blocks summed again": (
        SOFTMAX,
        "                total[j] = 0\n        for i",
        "                pass\n        for i"),
    "state not carried in training": (TRAIN, "        _carry(work, call.rows)\n", "        pass\n"),
    "state not carried in evaluation": (
        STEPS,
        "        total += _loss(work, call)\n        _carry(work, call.rows)\n",
        "        total += _loss(work, call)\n"),
    "state not carried in sampling": (
        STEPS,
        "    _states(work, call, &span)\n    _carry(work, 1)\n",
        "    _states(work, call, &span)\n"),
    "gradient of Wxh not cleared": (
        INPUT, "            dWxh[i * Wxh.ld + j] = 0", "            pass"),
    "gradient of Wxh overwritten": (INPUT, "row[j] += dz[r * ldz + j]", "row[j] = dz[r * ldz + j]"),
    "rows of Wxh updated once only": (
        STEPS,
        "        for b in range(work.B):\n            work.used[work.inputs[t, b]] = 1",
        "        for b in range(work.B if t == 0 else 0):\n"
        "            work.used[work.inputs[t, b]] = 1"),
    "a diverged step is applied": (TRAIN, "if not loss[0] < LARGEST_LOSS:", "if False:"),
    "an unbounded gradient is applied": (OPTIMIZER, "    return not bad\n", "    return True\n"),
    "hidden bias ignored": (INPUT, "sums[j] = row[j] + bias[j]", "sums[j] = row[j]"),
    "the last rows are left out": (
        LINALG,
        "        while i < size.M:\n            a = A",
        "        while i < size.M // rows * rows:\n            a = A"),
    "threads share streams wrongly": (
        TRAIN,
        "call.b1 = work.B * (worker.number + 1)",
        "call.b1 = (work.B - 1) * (worker.number + 1)"),
    "threads share weights wrongly": (
        STEPS,
        "            _update(work, update, W, j0 * W.ld, (j1 - j0) * W.ld)",
        "            _update(work, update, W, j0 * W.ld, (j1 - j0 - part.of + 1) * W.ld)"),
    "generator not advanced": (ELEMENTARY, "    state[0] += 0x9E3779B97F4A7C15ULL\n", "    pass\n"),
    "padding counts": (SOFTMAX, "        tail[j] = tail[j] if j < in_tail else 0\n", ""),
    "temperature multiplies": (SAMPLING, "1 / max(temperature, 1e-30)", "temperature"),
    "subnormal tails kept": (
        ELEMENTARY, "<real>0 if x < <real>-40 else r", "<real>0 if x < <real>-87 else r"),
    "blocks of characters are not skipped": (SAMPLING, "        rest -= block\n", "        pass\n"),
    "half of a block counts": (SOFTMAX, "total[j] = x[j] + x[j + 8]", "total[j] = x[j]"),
    "the last repetition is overlooked": (
        SAMPLING, "range(max(0, t - LOOK_BACK), last):", "range(max(0, t - LOOK_BACK), last - 1):"),
    "a repetition of one less": (
        SAMPLING,
        "for j in range(n - 1):\n            if ids",
        "for j in range(n - 2):\n            if ids"),
    "beams keep their own states": (SAMPLING, "&work.hs[0, parent, 0]", "&work.hs[0, w, 0]"),
    "ended texts go on": (SAMPLING, "            if search.ended[w]:\n", "            if False:\n"),
    "scores of beams without their past": (
        SAMPLING, "base = search.scores[w] - softmax", "base = -softmax"),
    "a layer reads its own states": (
        STEPS,
        "x, ldx = &work.hs[span.t0 + 1, 0, plan.layers[i - 1].column]",
        "x, ldx = &work.hs[span.t0 + 1, 0, layer.column]"),
    "the layer below gets the output's gradient": (
        STEPS,
        "else &work.dz[some.t0, 0, plan.layers[i + 1].sums]",
        "else &work.dz[some.t0, 0, plan.layers[i].sums]"),
    "a workspace of another network is taken": (
        NETWORK, "network is not network:", "network is None:"),
    "a workspace is used by two at once": (
        NETWORK, "if not self.lock.acquire(False):", "if False:"),
    "no probabilities, no error": (DOORS, "    if nll != nll:\n", "    if False:\n"),
    "a setting is not checked later": (
        "network/learner.py",
        "        if name in _SETTINGS:\n            largest",
        "        if name in _SETTINGS and name not in self.settings:\n            largest"),
    "two models in one call": (
        "model.py",
        "length, controls, Controls)\n        ((text",
        "length, controls, Controls)\n"
        "        start = start._replace(network=self.network)\n"
        "        ((text"),
    "tanh saturates early": (ELEMENTARY, "<real>9.25 if a > <real>9.25", "<real>5 if a > <real>5"),
    # Cells with gates.
    "reset before the product": (GRU, "tanh(fma(r[j], q[j], z[j]))", "tanh(r[j] * (q[j] + z[j]))"),
    "no reset": (GRU, "tanh(fma(r[j], q[j], z[j]))", "tanh(q[j] + z[j])"),
    "update gate the other way round": (
        GRU,
        "h[j] = fma(u[j], before[j] - z[j], z[j])",
        "h[j] = fma(u[j], z[j] - before[j], before[j])"),
    "update gate not squashed": (
        GRU,
        "    for j in range(2 * n):\n        r[j] = sigmoid(r[j])",
        "    for j in range(n):\n        r[j] = sigmoid(r[j])"),
    "GRU: n passes no derivative of tanh": (
        GRU, "dz[j] = fma(-z[j], z[j], <real>1) * fma", "dz[j] = fma"),
    "GRU: dn of u, not of 1 - u": (GRU, "fma(-u[j], dh[j], dh[j])", "u[j] * dh[j]"),
    "GRU: derivative of r with plus": (GRU, "fma(-r[j], r[j], r[j])", "fma(r[j], r[j], r[j])"),
    "GRU: dr without q": (GRU, "(q[j] * dz[j])", "dz[j]"),
    "GRU: du of the wrong sign": (
        GRU, "((before[j] - z[j]) * dh[j])", "((z[j] - before[j]) * dh[j])"),
    "GRU: dq without r": (GRU, "dz[3 * n + j] = r[j] * dz[j]", "dz[3 * n + j] = dz[j]"),
    "GRU: nothing goes straight to the state before": (GRU, "dh[j] *= u[j]", "dh[j] = 0"),
    "GRU: what went straight is lost": (GRU, "dh[j] += after[j]", "pass"),
    "GRU: no bias of q": (
        STEPS,
        "            _copy(others, bias + inputs",
        "            _copy(others, &work.zeros[0]"),
    "GRU: no gradient of bn": (
        STEPS, "        if others and part.number == 0:", "        if False:"),
    "LSTM: forget gate not squashed": (
        LSTM,
        "    for j in range(2 * n):\n        z[j] = sigmoid(z[j])",
        "    for j in range(n):\n        z[j] = sigmoid(z[j])"),
    "LSTM: g a sigmoid": (LSTM, "g[j] = tanh(g[j])", "g[j] = sigmoid(g[j])"),
    "LSTM: c forgets everything": (
        LSTM, "c[j] = fma(f[j], c_before[j], z[j] * g[j])", "c[j] = z[j] * g[j]"),
    "LSTM: c not squashed": (LSTM, "h[j] = o[j] * tanh(c[j])", "h[j] = o[j] * c[j]"),
    "LSTM: do without tanh": (LSTM, "(s * dh[j])", "dh[j]"),
    "LSTM: dc without 1 - tanh^2": (
        LSTM,
        "fma(o[j] * fma(-s, s, <real>1), dh[j], after[n + j])",
        "fma(o[j], dh[j], after[n + j])"),
    "LSTM: dc of h_t only": (LSTM, "dh[j], after[n + j])", "dh[j], <real>0)"),
    "LSTM: dc passed on unweighted": (LSTM, "dc[j] *= f[j]", "pass"),
    "LSTM: df of c_t": (LSTM, "(c_before[j] * dc[j])", "(c[j] * dc[j])"),
    "LSTM: di of f": (
        LSTM,
        "dz[j] = fma(-z[j], z[j], z[j]) * (g[j] * dc[j])",
        "dz[j] = fma(-f[j], f[j], f[j]) * (g[j] * dc[j])"),
    "LSTM: dg as of a sigmoid": (
        LSTM,
        "fma(-g[j], g[j], <real>1) * (z[j] * dc[j])",
        "fma(-g[j], g[j], g[j]) * (z[j] * dc[j])"),
    "forget gates begin open": (DOORS, "numbers[...] = 0", 'numbers[...] = name.startswith("bf")'),
    "initial matrices of all layers alike": (
        DOORS,
        'width = 1 / sqrt(len(numbers) if name == "Why" else numbers.shape[1])',
        "width = 0.05"),
    # Dropout.
    "masks not applied backward": (
        STEPS,
        "            if call.dropout:\n"
        "                _drop_outputs(work, call, i, &span, True)\n",
        ""),
    "masks not applied forward": (
        DROPOUT,
        "y[j] = x[j] * scale if bits >= limit else 0",
        "y[j] = x[j] * scale if bits >= limit or &x[0] != &y[0] else 0"),
    "what is kept is not scaled": (DROPOUT, "scale = <real>(1 / (1 - p))", "scale = 1"),
    "as many kept as dropped": (DROPOUT, "bits >= limit", "bits < limit"),
    "the same mask in each step": (DROPOUT, "splitmix64(&state) + step", "splitmix64(&state)"),
    "the same mask in each layer": (DROPOUT, " + (<unsigned long long>layer << 56)", ""),
    "the same mask in each stream": (
        DROPOUT,
        "(<unsigned long long>t << 28) + <unsigned long long>b",
        "(<unsigned long long>t << 28)"),
    "the same mask at each time": (
        DROPOUT, "(<unsigned long long>t << 28) + <unsigned long long>b", "<unsigned long long>b"),
    "Why learns from what was dropped": (
        STEPS,
        "    x = &work.dropped[0, b, last.output] if call.dropout else &work.hs[1, b, "
        "last.column]",
        "    ldx = ldz\n    x = &work.hs[1, b, last.column]"),
    # Shards.
    "mean over the streams that are here": (
        DOORS, "call.batch_size = check_size(", "batch_size = check_size("),
    "each shard is the first": (
        TRAIN,
        "call.shard, call.slot = low - call.first_shard, slot",
        "call.shard, call.slot = 0, slot"),
    "streams are numbered as they lie here": (
        STEPS, "number = b // here * call.n_shards + call.first_shard + b % here", "number = b"),
    "rows of characters not in use are what they were": (
        STEPS, "work.used[:] = call.n_shards > 1", "work.used[:] = 0"),
    "rows of another are updated, too": (
        STEPS, "max(0, call.row0 - row), min(W.rows, call.row1 - row)", "0, W.rows"),
    "the tree has another shape": (
        TRAIN, "while 2 * half < high - low:", "while 4 * half < high - low:"),
    "two parts of a tree in one slot": (
        TRAIN, "low + half, high, after)", "low + half, high, slot)"),
    "a sum of shards is not added": (TRAIN, "_run_tasks(&training.pool, ADD)", "pass"),
    "streams that a batch lacks have targets": (
        STEPS,
        "call.targets[i] if b < call.streams else IGNORED",
        "call.targets[i] if b < call.streams else 0"),
    # Optimisers.
    "Adam: no correction of the mean": (
        OPTIMIZER, "rate = update.rate / update.bias_1", "rate = update.rate"),
    "Adam: no correction of the square": (
        OPTIMIZER, "root_scale = 1 / sqrt(update.bias_2)", "root_scale = 1"),
    "Adam: correction late by a step": (TRAIN, "pool.call.step + 1)", "pool.call.step + 2)"),
    "Adam: betas exchanged": (
        OPTIMIZER, "fma(new_1, g, beta_1 * momentum[i])", "fma(new_2, g, beta_2 * momentum[i])"),
    "RMSProp sums": (
        OPTIMIZER, "fma(new * g, g, rho * accumulator[i])", "fma(new * g, g, accumulator[i])"),
    "RMSProp: eps inside the root": (
        OPTIMIZER, "(root(accumulator[i]) + <real>1e-8)", "root(accumulator[i] + <real>1e-8)"),
    "SGD climbs": (OPTIMIZER, "fma(-rate, _clip", "fma(rate, _clip"),
    "biases decay": (STEPS, "keep = 1 if W.bias else update.keep", "keep = update.keep"),
    "decay without the rate": (
        OPTIMIZER, "1 - rate * settings.weight_decay", "1 - settings.weight_decay"),
    "norm without the root": (STEPS, "    return sqrt(total)\n", "    return total\n"),
    "norm of the sum, not of a character": (
        TRAIN, "norm = _norm(work) / training.pool.call.rows", "norm = _norm(work)"),
    "norm of all rows of Wxh, old ones too": (
        STEPS, "if i != plan.layers[0].Wxh or work.used[j]:", "if True:"),
    "small gradients are made larger": (
        TRAIN, "largest / norm if norm > largest else 1", "largest / norm"),
    "clip before the norm": (
        OPTIMIZER, "g = _clip(gradient[i] * scale, clip)", "g = _clip(gradient[i], clip) * scale"),
    "old rows of Wxh count again": (
        STEPS, "            if not work.used[v] and all_rows:\n", "            if False:\n"),
    "momentum moves only what is in use": (
        STEPS, "update.optimizer >= RMSPROP or update.keep != 1", "update.keep != 1"),
    "memories become subnormal": (
        OPTIMIZER, "return 0 if magnitude(x) < <real>1e-30 else x", "return x"),
    "warm-up late by a step": (
        "training/schedule.py", "(np.asarray(steps) + 1) / max", "np.asarray(steps) / max"),
    "cosine the other way round": (
        "training/schedule.py", "(0.5 + 0.5 * _cosine", "(0.5 - 0.5 * _cosine"),
    "masks begin anew when training goes on": (
        "training/stepper.py", "self._train(at.step,", "self._train(0,"),
    # The tutorial's mistakes that lie outside the kernels.
    "symbols in the order of a set": (
        "data/vocabulary.py",
        'return "".join(map(chr, np.flatnonzero(seen)))',
        'return "".join(set(map(chr, np.flatnonzero(seen))))'),
    "symbols unsorted": (
        "tutorial.py", "dict(enumerate(self.vocabulary.chars))", "dict(enumerate(set(self.data)))"),
    "the pointer wraps early": (
        "tutorial.py",
        "0 if end == self.data_size - 1 else end",
        "0 if end + self.seq_length + 1 >= self.data_size else end"),
    "the last window must be whole": (
        "data/batches.py",
        "self.windows: int = -(-self.length // seq_length)",
        "self.windows: int = self.length // seq_length"),
    "the locale's encoding": (
        "data/text.py", 'data.decode("utf-8")', "data.decode(__import__('locale').getencoding())"),
    "newlines rewritten": (
        "data/text.py",
        '.removeprefix("\\ufeff")',
        '.removeprefix("\\ufeff").replace("\\r\\n", "\\n")'),
    "backward over seq_length": (
        "tutorial.py", "        T = len(xs)\n", "        T = self.seq_length\n"),
    "predict ignores the order of the prime": (
        "tutorial.py", "for char in start]\n", "for char in sorted(start)]\n"),
    "the steps of an interrupted call are not counted": (
        "training/loop.py",
        "        self._count_steps()\n        if self.position.unreported",
        "        if self.position.unreported"),
    "no checkpoint after an exception": (
        "training/loop.py", "        self._save_after(0.0)\n", "        pass\n"),
    "a long record begins anew in each window": (
        "data/batches.py", "bool(self._find(window, 1)[1][0] == 0)", "True"),
    "windows of long records beside whole ones": (
        "data/batches.py", "alike = whole if whole[0]", "alike = whole | True if whole[0]"),
    "the first input of a window is the boundary": (
        "data/batches.py", "(0 < at) & (at <= length)", "(first[0] < at) & (at <= length)"),
    "of stop texts the one that begins first": (
        "inference/sampling.py", "min(ends)[1]", "min(place for _, place in ends)"),
    "nan ends training as a success": (
        "training/loop.py", "        if at.step < before.step + count:\n", "        if False:\n"),
    "no budget by default": (
        "training/loop.py",
        '            limits["epochs"] = 10\n',
        '            limits["epochs"] = 10**6\n'),
    "loss of an underflowed probability": (
        "tutorial.py", "        if isinstance(ps, Predictions):\n", "        if False:\n"),
    "the host's generator is used": (
        "util/seeding.py", "seed = random_seed()", "seed = int(np.random.randint(2**31))"),
    # What surrounds the network.
    "the last weights are kept": (
        "training/loop.py", "            self.network.weights.copy_from(self.best)\n", ""),
    "any epoch is the best": ("training/loop.py", "measured < at.best_nll)", "True)"),
    "a measurement that was interrupted is left out": (
        "training/loop.py",
        "            self._measure_last_report()\n            self._note_best()\n",
        "            pass\n"),
    "a rate depends on the step with which C was begun": (
        "training/loop.py", "(at.window + i) / windows", "at.window / windows + i * (1 / windows)"),
    "patience from the start": (
        "training/loop.py",
        "at.epoch - at.best_epoch >= self.patience",
        "at.epoch > self.patience"),
    "no decay": ("training/schedule.py", "power(self.learning_rate_decay, epoch)", "1.0"),
    "the boundary does not move": (
        "model.py", "[len(source.vocabulary)] * state", "[len(state.vocabulary)] * state"),
    "new characters are likely": ("network/__init__.py", 'there["by"].min()', 'there["by"].max()'),
    "skipped characters count": (
        "inference/scoring.py",
        "(lengths - unknown).tolist(), unknown.tolist()",
        "lengths, unknown.tolist()"),
    "unique counts nothing": (
        "inference/sampling.py", "            seen.add(text)\n", "            pass\n"),
    "novel without the prime": ("inference/sampling.py", "primed + text in index", "text in index"),
    "a stop text before min_length": (
        "inference/sampling.py", "0, sampling.min_length - taken, ", "0, "),
    "stop texts across pieces": (
        "inference/sampling.py", "len(old) - sampling.longest_partial_stop", "len(old)"),
    "best weights lost at Ctrl-C": (
        "training/loop.py",
        "            self._keep_best()\n            raise",
        "            raise"),
    "after Ctrl-C weights that nobody has measured": (
        "training/loop.py",
        "        if latest is None or latest > at.best_nll:",
        "        if latest is not None and latest > at.best_nll:"),
    "forbidden is next to impossible": (
        SAMPLING, "logits[v] if allowed[v] else -INFINITY", "logits[v] if allowed[v] else -1e30"),
    "a checkpoint that a signal interrupts is lost": (
        "training/loop.py",
        "    except BaseException:\n        action()\n        raise",
        "    except BaseException:\n        raise"),
    "SHA-256 not compared": (
        "util/tensor_file.py",
        "if read_pieces(self.file, 32) != self.digest.digest():",
        "if False:"),
    "rounding chooses among equal properties": ("trace/__init__.py", ".round(9)", ""),
    "more may follow the tensors of a file": (
        "util/tensor_file.py", "if found != size:", "if found < size:"),
    "batches of unlike length": ("inference/scoring.py", "2 * sizes[first] + 16", "10**9"),
    "states of the character before": (
        TRACE, "&work.hs[1, 0, 0], call.rows", "&work.hs[0, 0, 0], call.rows"),
    "the likeliest again and again": (TRACE, "largest, <int>v, -1", "largest, <int>v, p[v]"),
    "the likeliest of the first lanes": (
        TRACE, "for m in range(1, _lanes(V) // LANES):", "for m in range(0):"),
    "saliency of a mean over streams": (TRACE, "-<double>work.B * _dot", "-<double>1 * _dot"),
    "saliency of the loss, not of the logarithm": (
        TRACE, "-<double>work.B * _dot", "<double>work.B * _dot"),
    "saliency of the first character": (TRACE, "inputs[t, b] * Wxh.ld", "inputs[0, b] * Wxh.ld"),
    "saliency of the last target alone": (
        STEPS,
        "                return t\n    return call.rows",
        "                return call.rows - 1\n    return call.rows"),
    "saliency from the zero state": (
        "trace/__init__.py", "np.where(first[:, None] > 0, ", "np.where(first[:, None] < 0, "),
    "the first predicted from nothing": (
        "trace/__init__.py",
        "np.concatenate([first, nll[:, 0]])",
        "np.concatenate([0 * first, nll[:, 0]])"),
    "quotes never closed by a paragraph": (
        "trace/properties.py", "fresh = feeds & _before(feeds)", "fresh = feeds & ~feeds"),
    "text not escaped": ("trace/page.py", '.replace("<", "\\\\u003c")', ""),
    "title not escaped": ("trace/page.py", '"title": html.escape(', '"title": str('),
    "the best weights are not in the checkpoint": (
        "training/checkpoint.py",
        "best = None if position.best_nll is None else self.best",
        "best = None"),
    "another budget of a schedule is resumed": (
        "training/fit.py", "    if schedule.follows_budget:\n", "    if False:\n"),
    "bfloat16 cuts off": (ROUNDED, "f.bits + 0x7FFF + ((f.bits >> 16) & 1)", "f.bits"),
    "states are not rounded": (ROUNDED, "        y[i] = _pair(x[i], 0)", "        y[i] = x[i]"),
    "every second row is not rounded": (
        ROUNDED, "        y[ld + j] = _pair(below[j], 0)", "        y[ld + j] = below[j]"),
    "the transposed copy is not rounded": (
        ROUNDED,
        "                    _round_rows(8, row, below, to",
        "                    _round_rows(8, row, NULL, to"),
    "a rounded bias learns half": (ROUNDED, "if sums != NULL and below != NULL:", "if False:"),
    "rounded rows beyond the first are left out": (
        ROUNDED,
        "        i += block.M\n\n\ncdef void _start_sums",
        "        i += size.M\n\n\ncdef void _start_sums"),
    "the best report is merged": (
        "history.py",
        "(waiting is best or report.validation_nll is None)",
        "report.validation_nll is None"),
    "two train one model": (
        "training/loop.py", "        if first is not own:", "        if False:"),
}  # fmt: skip
UNCHANGED = "nothing changed"
SECONDS = 400  # for the tests of one; with a loop that has no end they would take for ever
TESTS = [
    "tests/kernels/test_kernels.py",
    "tests/network/test_network.py",
    "tests/kernels/test_cells.py",
    "tests/kernels/test_optimizers.py",
    "tests/kernels/test_bfloat16.py",
    "tests/network/test_config.py",
    "tests/training/test_schedule.py",
    "tests/test_tutorial.py",
    "tests/data/test_batches.py",
    "tests/data/test_vocabulary.py",
    "tests/test_rnn.py",
    "tests/test_history.py",
    "tests/training/test_loop.py",
    "tests/inference/test_sampling.py",
    "tests/inference/test_scoring.py",
    "tests/test_model.py",
    "tests/training/test_fit.py",
    "tests/training/test_checkpoint.py",
    "tests/storage/test_model_file.py",
    "tests/trace/test_trace.py",
    "tests/training/test_mpi.py",
    "tests/trace/test_properties.py",
    "tests/trace/test_page.py",
]


# Whose tests are those of another name.
ROOMS = {
    GRU: "cells",
    LSTM: "cells",
    DROPOUT: "cells",
    OPTIMIZER: "optimizers",
    TRAIN: "mpi",
    DOORS: "network",
}


def copy_project(folder):
    """Make a folder a copy of what is to be mutated; return it."""
    for part in ("src", "tests", "setup.py", "pyproject.toml"):
        source = ROOT / part
        ignore = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__")
        shutil.copytree(source, folder / part, ignore=ignore) if source.is_dir() else shutil.copy(
            source, folder / part
        )
    return folder


def killer(project, file, text, replacement):
    """Return the first test that fails with text replaced in file, or None if all pass; the file is
    put right again.
    """
    mutated = project / "src/charrnn" / file
    words = mutated.read_text(encoding="utf-8")
    if words.count(text) < 1:
        raise SystemExit(f"the text of this mutant is not in {file} any more: {text!r}")
    mutated.write_text(words.replace(text, replacement), encoding="utf-8")
    build = os.environ | {
        "_PYTHON_HOST_PLATFORM": "linux-mutant",
        "CHARRNN_QUICK": "1",
    }  # a machine without variants; no speed is needed
    subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=project,
        env=build,
        check=True,
        capture_output=True,
    )
    # An absolute path: tests start processes in other folders. The baseline by name, or its import
    # warns that others are missing.
    run = os.environ | {"PYTHONPATH": str(project / "src"), "CHARRNN_ISA": "baseline"}
    room = ROOMS.get(mutated.name, mutated.stem.strip("_"))  # its own tests are the first
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "-m",
        "not clock",
        *sorted(TESTS, key=lambda test: room not in test),
    ]
    try:
        ran = subprocess.run(
            command, cwd=project, env=run, capture_output=True, text=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        return "no end"
    finally:
        mutated.write_text(words, encoding="utf-8")
    if ran.returncode == 0:
        return None
    return next(
        (
            line.split()[1]
            for line in ran.stdout.splitlines()
            if line.startswith(("FAILED", "ERROR"))
        ),
        "no test: pytest itself",
    )


def main():
    """Run the named mutants, or all; exit with their number that survived."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="of mutants (default: all)")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count(), help="how many at a time (default: %(default)s)"
    )
    arguments = parser.parse_args()
    names = arguments.names or list(MUTANTS)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(arguments.jobs) as pool:
        projects = queue.SimpleQueue()
        for job in range(arguments.jobs):
            (Path(folder) / str(job)).mkdir()
            projects.put(copy_project(Path(folder) / str(job)))

        def test(name):
            project = projects.get()
            test = killer(project, *MUTANTS.get(name, (LINALG, "", "")))
            projects.put(project)
            print(f"{name}: {'SURVIVED' if test is None else f'killed by {test}'}", flush=True)
            return test is not None

        if test(UNCHANGED):
            raise SystemExit("the tests must pass where nothing is changed")
        killed = sum(pool.map(test, names))
    print(f"{killed} killed, {len(names) - killed} survived")
    return len(names) - killed


if __name__ == "__main__":
    sys.exit(main())
