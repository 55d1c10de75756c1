"""The oracle: the network and its training step in NumPy, written for clarity, column by column as the equations in docs/math.md read.

Everything is float64, or complex128 for complex-step derivatives, which need functions without abs() and comparisons on the way
from a weight to the loss (Squire and Trapp, 1998).
"""

from dataclasses import dataclass, fields

import numpy as np


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
    options = {"rate": rnn.learning_rate, "clip": rnn.clip_value, "threads": rnn.n_threads} | options
    return rnn.network.train_steps(work, inputs, targets, **options)


def training_workspace(rnn, T=None, B=None):
    """A workspace to train in, of a charrnn.RNN's own sizes if none are given."""
    return rnn.network.workspace(T or rnn.seq_length, B or rnn.batch_size, training=True)


def random_weights(H, V, rng, scale=0.5):
    """Weights of standard deviation scale; those that leave a hidden unit are smaller when there are many, lest the states be chaotic."""
    fan = min(1.0, 2.0 / np.sqrt(H))
    shapes = ((H, V, 1.0), (H, H, fan), (V, H, fan), (H, 1, 1.0), (V, 1, 1.0))
    return Weights(*(scale * factor * rng.standard_normal((rows, cols)) for rows, cols, factor in shapes))


def forward(w, inputs, h0):
    """States h[-1], h[0], ... (as a dict) and log-probabilities of the next character, one column a step."""
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
    """One clipped Adagrad step for each (inputs, targets), the state carried; returns losses and last state. Changes w and memory."""
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
            out[place] = (losses[0] - 8 * losses[1] + 8 * losses[2] - losses[3]) / (12 * np.longdouble(step))
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


def stacked_forward(arrays, layers, inputs, targets, h0):
    """Losses (T, B) and last states (B, units of all layers) of a network of layers, its arrays by the kernels' names, row by row."""
    cuts = np.cumsum(layers)[:-1]
    h = [np.array(part) for part in np.split(h0, cuts, axis=1)]
    losses = []
    for x_t, y_t in zip(inputs, targets, strict=True):
        x = np.eye(len(arrays["Wxh"]))[x_t]
        for i in range(len(layers)):
            number = str(i + 1) if i else ""
            h[i] = np.tanh(x @ arrays["Wxh" + number] + h[i] @ arrays["Whh" + number] + arrays["bh" + number])
            x = h[i]
        logits = x @ arrays["Why"] + arrays["by"]
        shifted = logits - logits.real.max(axis=1, keepdims=True)
        losses.append(np.log(np.exp(shifted).sum(axis=1)) - np.take_along_axis(shifted, y_t[:, None], 1)[:, 0])
    return np.array(losses), np.concatenate(h, axis=1)


def strengthened_log_p(arrays, layers, inputs, strengths, target, h0):
    """log p(target | inputs) of a network of layers, each input's one-hot vector times its strength; arrays by the kernels' names."""
    h = np.split(h0, np.cumsum(layers)[:-1])
    for x_t, strength in zip(inputs, strengths, strict=True):
        x = strength * np.eye(len(arrays["Wxh"]), dtype=h0.dtype)[x_t]
        for i in range(len(layers)):
            number = str(i + 1) if i else ""
            h[i] = np.tanh(x @ arrays["Wxh" + number] + h[i] @ arrays["Whh" + number] + arrays["bh" + number])
            x = h[i]
    logits = x @ arrays["Why"] + arrays["by"]
    shifted = logits - logits.max()
    return shifted[target] - np.log(np.exp(shifted).sum())


def saliency(arrays, layers, inputs, target, h0, step=1e-4):
    """How log p(target) changes with the strength of each input, by fourth-order central differences in the longest float there is."""
    arrays, h0 = {name: array.astype(np.longdouble) for name, array in arrays.items()}, h0.astype(np.longdouble)
    result = np.zeros(len(inputs))
    for s in range(len(inputs)):
        found = []
        for steps in (-2, -1, 1, 2):
            strengths = np.ones(len(inputs), np.longdouble)
            strengths[s] += steps * np.longdouble(step)
            found.append(strengthened_log_p(arrays, layers, inputs, strengths, target, h0))
        result[s] = (found[0] - 8 * found[1] + 8 * found[2] - found[3]) / (12 * step)
    return result


def gradient_norms(w, inputs, target, h0):
    """The length of dL/dh_(T-k) for k = 0 to T - 1, L the loss of target after inputs: each by complex steps through what follows h."""
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
