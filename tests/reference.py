"""The oracle: the network and its training step in NumPy, written for clarity, column by column as
the equations in docs/math.md read.

Everything is float64, or complex128 for complex-step derivatives, which need functions without
abs() and comparisons on the way
from a weight to the loss (Squire and Trapp, 1998).
"""

import hashlib
from dataclasses import dataclass, fields

import numpy as np

from charrnn.network import Network


@dataclass
class Weights:
    """Parameters, or a gradient, or Adagrad's memory, in the tutorial's letters and shapes."""

    U: np.ndarray  # (H, V)
    W: np.ndarray  # (H, H)
    V: np.ndarray  # (V, H)
    b: np.ndarray  # (H, 1)
    c: np.ndarray  # (V, 1)

    def __iter__(self):
        return iter(getattr(self, field.name) for field in fields(self))

    def map(self, function):
        return Weights(*(function(array) for array in self))

    @classmethod
    def of(cls, rnn):
        """The weights of a charrnn.RNN, in float64."""
        return cls(rnn.U, rnn.W, rnn.V, rnn.b, rnn.c).map(lambda array: np.array(array, np.float64))


def train_steps(rnn, work, inputs, targets, **options):
    """Train a charrnn.RNN's network on windows with its own settings; return the losses."""
    options = {
        "learning_rate": rnn.learning_rate,
        "clip_value": rnn.clip_value,
        "n_threads": rnn.n_threads,
    } | options
    return rnn.network.train_steps(work, inputs, targets, **options)


def training_workspace(rnn, T=None, B=None):
    """A workspace to train in, of a charrnn.RNN's own sizes if none are given."""
    return rnn.network.workspace(T or rnn.seq_length, B or rnn.batch_size, training=True)


def random_weights(H, V, rng, scale=0.5):
    """Weights of standard deviation scale; those that leave a hidden unit are smaller when there
    are many, lest the states be chaotic.
    """
    fan = min(1.0, 2.0 / np.sqrt(H))
    shapes = ((H, V, 1.0), (H, H, fan), (V, H, fan), (H, 1, 1.0), (V, 1, 1.0))
    return Weights(
        *(scale * factor * rng.standard_normal((rows, cols)) for rows, cols, factor in shapes)
    )


def randomize(rnn, rng, scale=0.5):
    """Give an RNN `random_weights`, and return them."""
    w = random_weights(rnn.hidden_size, rnn.vocab_size, rng, scale)
    rnn.U, rnn.W, rnn.V, rnn.b, rnn.c = w
    return w


def forward(w, inputs, h0):
    """States h[-1], h[0], ... (as a dict) and log-probabilities of the next character, one column a
    step.
    """
    h, log_p = {-1: h0}, {}
    for t, x in enumerate(inputs):
        h[t] = np.tanh(w.U[:, [x]] + w.W @ h[t - 1] + w.b)
        logits = w.V @ h[t] + w.c
        shifted = logits - logits.real.max()
        log_p[t] = shifted - np.log(np.exp(shifted).sum())
    return h, log_p


def loss(w, inputs, targets, h0):
    _, log_p = forward(w, inputs, h0)
    return -sum(log_p[t][y, 0] for t, y in enumerate(targets))


def gradient(w, inputs, targets, h0):
    """Backpropagation through time of `loss`, not clipped."""
    h, log_p = forward(w, inputs, h0)
    d = w.map(np.zeros_like)
    dh_next = np.zeros_like(h0)
    for t in reversed(range(len(inputs))):
        dy = np.exp(log_p[t])
        dy[targets[t]] -= 1
        d.V += dy @ h[t].T
        d.c += dy
        dz = (1 - h[t] ** 2) * (w.V.T @ dy + dh_next)
        d.U[:, [inputs[t]]] += dz
        d.W += dz @ h[t - 1].T
        d.b += dz
        dh_next = w.W.T @ dz
    return d


def adagrad(w, memory, d, learning_rate):
    for weight, mem, g in zip(w, memory, d, strict=True):
        mem += g * g
        weight -= learning_rate * g / np.sqrt(mem + 1e-8)


def train(w, memory, windows, h0, learning_rate, clip):
    """One clipped Adagrad step for each (inputs, targets), the state carried; returns losses and
    last state. Changes w and memory.
    """
    losses = []
    for inputs, targets in windows:
        losses.append(loss(w, inputs, targets, h0))
        d = gradient(w, inputs, targets, h0).map(lambda g: np.clip(g, -clip, clip))
        h, _ = forward(w, inputs, h0)
        h0 = h[len(inputs) - 1]
        adagrad(w, memory, d, learning_rate)
    return losses, h0


def central_differences(w, inputs, targets, h0, step=1e-3):
    """The gradient of `loss` by fourth-order central differences, in the longest float there is."""
    w, h0 = w.map(lambda array: array.astype(np.longdouble)), h0.astype(np.longdouble)
    result = w.map(np.zeros_like)
    for array, out in zip(w, result, strict=True):
        for place in np.ndindex(array.shape):
            kept = array[place]
            losses = []
            for steps in (-2, -1, 1, 2):
                array[place] = kept + steps * np.longdouble(step)
                losses.append(loss(w, inputs, targets, h0))
            array[place] = kept
            out[place] = (losses[0] - 8 * losses[1] + 8 * losses[2] - losses[3]) / (
                12 * np.longdouble(step)
            )
    return result.map(lambda array: array.astype(float))


def complex_step(w, inputs, targets, h0, step=1e-30):
    """The gradient of `loss` as the imaginary part of the loss at w + i step, exact to rounding."""
    result = w.map(np.zeros_like)
    complex_w = w.map(lambda array: array.astype(complex))
    for array, out in zip(complex_w, result, strict=True):
        for place in np.ndindex(array.shape):
            array[place] += 1j * step
            out[place] = loss(complex_w, inputs, targets, h0.astype(complex)).imag / step
            array[place] -= 1j * step
    return result


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def unit_forward(cell, w, x, h, c):
    """One time step of a layer: (h, c) after input x and (h, c) before, all with a row for each
    stream; w has the layer's arrays.
    """

    def z(gate):
        return x @ w["Wx" + gate] + w["b" + gate]

    if cell == "rnn":
        return np.tanh(z("h") + h @ w["Whh"]), c
    if cell == "gru":
        r, u = (sigmoid(z(gate) + h @ w["Wh" + gate]) for gate in "ru")
        n = np.tanh(z("n") + r * (h @ w["Whn"] + w["bhn"]))
        return (1 - u) * n + u * h, c
    i, f, o = (sigmoid(z(gate) + h @ w["Wh" + gate]) for gate in "ifo")
    c = f * c + i * np.tanh(z("g") + h @ w["Whg"])
    return o * np.tanh(c), c


def unit_backward(cell, w, x, h, c, dh, dc):
    """The gradient by x, h, c and the arrays w of `unit_forward`, from that by its results."""
    z = {gate: x @ w["Wx" + gate] + w["b" + gate] for gate in CELLS[cell]}
    if cell == "rnn":
        return *_through(
            w, x, h, {"h": (1 - np.tanh(z["h"] + h @ w["Whh"]) ** 2) * dh}
        ), np.zeros_like(h)
    if cell == "gru":
        r, u = (sigmoid(z[gate] + h @ w["Wh" + gate]) for gate in "ru")
        q = h @ w["Whn"] + w["bhn"]
        n = np.tanh(z["n"] + r * q)
        dzn = (1 - n**2) * (1 - u) * dh
        dz = {"r": r * (1 - r) * q * dzn, "u": u * (1 - u) * (h - n) * dh, "n": dzn}
        d, dx, dh_before = _through(w, x, h, dz, {"n": r * dzn})
        d["bhn"] = (r * dzn).sum(0)
        return d, dx, dh_before + u * dh, np.zeros_like(h)
    i, f, o = (sigmoid(z[gate] + h @ w["Wh" + gate]) for gate in "ifo")
    g = np.tanh(z["g"] + h @ w["Whg"])
    tanh_c = np.tanh(f * c + i * g)
    dc = dc + o * (1 - tanh_c**2) * dh
    dz = {
        "i": i * (1 - i) * g * dc,
        "f": f * (1 - f) * c * dc,
        "g": (1 - g**2) * i * dc,
        "o": o * (1 - o) * tanh_c * dh,
    }
    return *_through(w, x, h, dz), f * dc


def _through(w, x, h, dz, dq=None):
    """The gradient by the arrays, by x and by h, from that by the sums of each gate; dq has those
    of the part that h adds, if others.
    """
    dq = dz | (dq or {})
    d = {"Wx" + gate: x.T @ dz[gate] for gate in dz} | {"Wh" + gate: h.T @ dq[gate] for gate in dz}
    d |= {"b" + gate: dz[gate].sum(0) for gate in dz}
    return (
        d,
        sum(dz[gate] @ w["Wx" + gate].T for gate in dz),
        sum(dq[gate] @ w["Wh" + gate].T for gate in dz),
    )


CELLS = {"rnn": "h", "gru": "run", "lstm": "ifgo"}


class Stack:
    """A network of layers, row by row; arrays by the kernels' names, in float64 or complex128. A
    state has h, and c of an LSTM, by layer.

    masks (T, layers) of arrays (B, units) scale what each layer gives to what is above it; without
    them nothing is dropped.
    """

    def __init__(self, description, arrays):
        self.description, self.cells, self.arrays = description, description.layers, arrays

    def of_layer(self, i, arrays=None):
        """The arrays of a layer, without its number."""
        suffix, arrays = str(i + 1) if i else "", self.arrays if arrays is None else arrays
        gates = CELLS[self.cells[i].cell]
        names = [kind + gate for kind in ("Wx", "Wh", "b") for gate in gates] + (
            ["bhn"] if self.cells[i].cell == "gru" else []
        )
        return {name: arrays[name + suffix] for name in names}

    def split(self, state):
        """The pairs (h, c) of a state (B, state_size)."""
        parts, at = [], 0
        for cell, units in self.cells:
            h = state[:, at : at + units]
            at += units
            c = state[:, at : at + units] if cell == "lstm" else np.zeros_like(h)
            at += units if cell == "lstm" else 0
            parts.append((h, c))
        return parts

    def join(self, parts):
        pairs = zip(self.cells, parts, strict=True)
        return np.concatenate(
            [np.concatenate(pair, 1) if layer.cell == "lstm" else pair[0] for layer, pair in pairs],
            1,
        )

    def run(self, inputs, targets, state, masks=None, lengths=None):
        """Losses (T, B), 0 where a target is -1; and what `gradient` needs: inputs of layers,
        states and probabilities, step by step.

        lengths (T, B) are those of the one-hot vectors that are read, 1 if not given.
        """
        parts, losses, trace = self.split(state), [], []
        for t, (x_t, y_t) in enumerate(zip(inputs, targets, strict=True)):
            x, before, taken = np.eye(self.description.vocab_size)[x_t], parts, []
            x, parts = x if lengths is None else x * lengths[t][:, None], []
            for i, (cell, _) in enumerate(self.cells):
                taken.append(x)
                parts.append(unit_forward(cell, self.of_layer(i), x, *before[i]))
                x = parts[i][0] if masks is None else parts[i][0] * masks[t][i]
            logits = x @ self.arrays["Why"] + self.arrays["by"]
            shifted = logits - logits.real.max(axis=1, keepdims=True)
            log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
            losses.append(np.where(y_t >= 0, -log_p[np.arange(len(y_t)), y_t], 0))
            trace.append((taken, before, x, np.exp(log_p)))
        return np.array(losses), self.join(parts), trace

    def gradient(self, inputs, targets, state, masks=None):
        """Backpropagation through time of the loss (sum over T, mean over B), by the names of the
        arrays.
        """
        _, _, trace = self.run(inputs, targets, state, masks)
        d = {name: np.zeros_like(array) for name, array in self.arrays.items()}
        later = [(np.zeros_like(h), np.zeros_like(c)) for h, c in self.split(state)]
        for t in reversed(range(len(inputs))):
            taken, before, out, p = trace[t]
            dy = p * 1.0
            dy[np.arange(len(dy)), targets[t]] -= 1
            dy *= (targets[t] >= 0)[:, None] / len(dy)
            d["Why"] += out.T @ dy
            d["by"] += dy.sum(0)
            above = dy @ self.arrays["Why"].T
            for i in reversed(range(len(self.cells))):
                dh = later[i][0] + (above if masks is None else above * masks[t][i])
                found, above, *later[i] = unit_backward(
                    self.cells[i].cell, self.of_layer(i), taken[i], *before[i], dh, later[i][1]
                )
                for name, view in self.of_layer(i, d).items():
                    view += found[name]
        return d


def dropout_masks(description, T, B, p, seed, step):
    """The masks of a step for `Stack`: the kernels' own numbers, in NumPy."""
    word = 2**64 - 1

    def mixed(state):
        z = state = (state + 0x9E3779B97F4A7C15) & word
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & word
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & word
        return z ^ (z >> 31)

    def mask(layer, t, b, units):
        key = mixed(mixed(mixed(mixed(seed) + step) + (layer << 56)) + (t << 28) + b)
        bits = (np.arange(units, dtype=np.uint32) * np.uint32(0x9E3779B9)) ^ np.uint32(
            key & 0xFFFFFFFF
        )
        bits = (bits ^ (bits >> 16)) * np.uint32(0x85EBCA6B)
        bits = ((bits ^ (bits >> 13)) + np.uint32(key >> 32)) * np.uint32(0xC2B2AE35)
        return ((bits ^ (bits >> 16)) >= np.uint32(int(p * 2**32))) / (1 - p)

    sizes = [layer.units for layer in description.layers]
    return [
        [np.array([mask(i, t, b, units) for b in range(B)]) for i, units in enumerate(sizes)]
        for t in range(T)
    ]


def change(
    optimizer,
    arrays,
    memory,
    momentum,
    gradient,
    step,
    *,
    learning_rate,
    anchor,
    clip_value=np.inf,
    clip_norm=np.inf,
    weight_decay=0.0,
    pull=0.0,
    T=1,
):
    """One step (the first is 1) of an optimiser, in place; clip_norm is of the gradient by the loss
    of each of T characters.
    """
    rate, norm = learning_rate, np.sqrt(sum((g**2).sum() for g in gradient.values())) / T
    for name, w in arrays.items():
        g = np.clip(
            gradient[name] * min(1.0, clip_norm / norm if norm else 1.0), -clip_value, clip_value
        )
        v, m = memory[name], momentum[name]
        w += pull * (anchor[name] - w)
        if name.startswith("W"):
            w *= 1 - rate * weight_decay
        if optimizer == "adagrad":
            v += g**2
            w -= rate * g / np.sqrt(v + 1e-8)
        elif optimizer == "sgd":
            w -= rate * g
        elif optimizer == "rmsprop":
            v += (1 - 0.95) * (g**2 - v)
            w -= rate * g / (np.sqrt(v) + 1e-8)
        else:
            m += (1 - 0.9) * (g - m)
            v += (1 - 0.99) * (g**2 - v)
            w -= rate * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.99**step)) + 1e-8)


def saliency(stack, inputs, target, state, step=1e-4):
    """How log p(target | inputs) of a `Stack` changes with the length of each input's one-hot
    vector: fourth-order central differences.
    """
    stack = Stack(
        stack.description,
        {name: array.astype(np.longdouble) for name, array in stack.arrays.items()},
    )
    targets = np.full((len(inputs), 1), -1)
    targets[-1] = target
    result = np.zeros(len(inputs))
    for s in range(len(inputs)):
        losses = []
        for steps in (-2, -1, 1, 2):
            lengths = np.ones((len(inputs), 1), np.longdouble)
            lengths[s] += steps * np.longdouble(step)
            losses.append(
                stack.run(
                    np.reshape(inputs, (-1, 1)),
                    targets,
                    state.astype(np.longdouble),
                    lengths=lengths,
                )[0][-1, 0]
            )
        result[s] = -(losses[0] - 8 * losses[1] + 8 * losses[2] - losses[3]) / (12 * step)
    return result


def gradient_norms(w, inputs, target, h0):
    """The length of dL/dh_(T-k) for k = 0 to T - 1, L the loss of target after inputs: each by
    complex steps through what follows h.
    """
    h, _ = forward(w, inputs, h0)
    norms = []
    for k in range(len(inputs)):
        last = len(inputs) - 1 - k
        following, gradient = inputs[last + 1 :], []
        for i in range(len(h0)):
            moved = h[last].astype(complex)
            moved[i] += 1e-30j
            state = forward(w, following, moved)[0][len(following) - 1]
            logits = w.V @ state + w.c
            shifted = logits - logits.real.max()
            gradient.append((np.log(np.exp(shifted).sum()) - shifted[target, 0]).imag / 1e-30)
        norms.append(np.linalg.norm(gradient))
    return np.array(norms)


def digest(rnn):
    """SHA-256 of the weights, whatever their padding."""
    return hashlib.sha256(
        b"".join(
            np.ascontiguousarray(view).tobytes() for view in rnn.network.weights.views().values()
        )
    ).hexdigest()


def random_network(layers, V, seed=0, dtype="float64", optimizer="adagrad"):
    """A network whose weights, biases among them, are about as large as those of a trained one."""
    rng = np.random.default_rng(seed)
    network = Network((layers, V), dtype, optimizer)
    for view in network.weights.views().values():
        view[...] = rng.standard_normal(view.shape) / np.sqrt(len(view) if view.ndim > 1 else 4)
    return network


def oracle(network, dtype=np.float64):
    return Stack(
        network.description,
        {name: view.astype(dtype) for name, view in network.weights.views().items()},
    )


def distance(gradient, expected):
    """The largest norm of a difference, relative to the norm of all."""
    norm = np.sqrt(sum((array**2).sum() for array in expected.values()))
    return max(np.linalg.norm(gradient[name] - expected[name]) for name in expected) / max(
        norm, 1e-30
    )
