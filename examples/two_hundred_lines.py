"""A character-level recurrent neural network in two hundred lines of NumPy, from text to samples.

    python examples/two_hundred_lines.py [TEXT_FILE]

This is what charrnn computes, without anything that makes it fast. Read it from top to bottom;
arrays have their shapes in comments: H is the number of hidden units, V the number of distinct
characters. A test compares its losses with charrnn's.
"""

import random
import sys
from pathlib import Path

import numpy as np

HIDDEN = 100  # H
WINDOW = 25  # T: how many characters back the gradient goes
RATE = 0.1  # how far Adagrad moves a weight
CLIP = 5.0  # no element of a gradient is larger


# --- Text to numbers -----------------------------------------------------------------------------


def vocabulary(text):
    """Return the distinct characters in order; a character's place is its id."""
    return "".join(sorted(set(text)))


def encode(text, chars):
    """Return the ids of a text."""
    ids = {char: i for i, char in enumerate(chars)}
    return [ids[char] for char in text]


def windows(ids, length):
    """Yield (inputs, targets) of one pass: the target of a character is the next character.

    The last window may be shorter, so that every character but the first is a target once.
    """
    for start in range(0, len(ids) - 1, length):
        end = min(start + length, len(ids) - 1)
        yield ids[start:end], ids[start + 1 : end + 1]


# --- The network ---------------------------------------------------------------------------------


def initialize(H, V, seed):
    """Return the weights: small random matrices, so that units differ, and zero biases."""
    rng = np.random.default_rng(seed)
    return {
        "U": 0.01 * rng.standard_normal((H, V)),  # from a character to the state
        "W": 0.01 * rng.standard_normal((H, H)),  # from the state to the next state
        "V": 0.01 * rng.standard_normal((V, H)),  # from the state to a score per character
        "b": np.zeros(H),  # bias of the state
        "c": np.zeros(V),  # bias of the scores
    }


def step(weights, h, x):
    """Read the character x in state h; return the new state and the next character's log p."""
    # U times a one-hot vector is a column of U.
    h = np.tanh(weights["U"][:, x] + weights["W"] @ h + weights["b"])  # (H,)
    scores = weights["V"] @ h + weights["c"]  # (V,)
    # Softmax turns scores into probabilities: p = exp(score) / sum of exp(scores). Subtracting the
    # largest score first changes nothing but keeps exp from overflowing.
    scores = scores - scores.max()
    return h, scores - np.log(np.exp(scores).sum())


def forward(weights, inputs, targets, h):
    """Read a window; return its loss and what the backward pass needs.

    The loss is -log p of each target, in nats, summed: how surprised the network is.
    """
    loss, states, ps = 0.0, [h], []  # states[t] is the state before character t
    for x, y in zip(inputs, targets, strict=True):
        h, log_p = step(weights, h, x)
        loss -= log_p[y]
        states.append(h)
        ps.append(np.exp(log_p))
    return loss, states, ps


def backward(weights, inputs, targets, states, ps):
    """Return the gradient: how the loss changes with each weight.

    This is the chain rule, from the last character of the window to the first. Each state acts on
    the loss in two ways, through its own prediction and through the next state, so its gradient is
    a sum of two terms, and the second one travels back through time.
    """
    gradient = {name: np.zeros_like(weight) for name, weight in weights.items()}
    from_next = np.zeros_like(states[0])  # (H,): nothing follows the last state of the window
    for t in reversed(range(len(inputs))):
        h, before = states[t + 1], states[t]
        # The loss -log p[y] as a function of the scores has the gradient p - onehot(y).
        dscores = ps[t].copy()  # (V,)
        dscores[targets[t]] -= 1
        gradient["V"] += np.outer(dscores, h)
        gradient["c"] += dscores
        # Into the state, then through tanh, whose slope is 1 - tanh squared.
        dh = weights["V"].T @ dscores + from_next  # (H,)
        dz = (1 - h * h) * dh  # (H,)
        gradient["U"][:, inputs[t]] += dz
        gradient["W"] += np.outer(dz, before)
        gradient["b"] += dz
        from_next = weights["W"].T @ dz
    return gradient


# --- Learning ------------------------------------------------------------------------------------


def clip(gradient, limit):
    """Cut every element to [-limit, limit], in place: gradients through time can explode."""
    for g in gradient.values():
        np.clip(g, -limit, limit, out=g)


def adagrad(weights, memory, gradient, rate):
    """Move each weight against its gradient, in place.

    The memory is the sum of all squared gradients so far. Dividing by its root lets weights that
    often get large gradients take small steps, and rarely used ones large steps.
    """
    for name, g in gradient.items():
        memory[name] += g * g
        weights[name] -= rate * g / np.sqrt(memory[name] + 1e-8)


def train(weights, ids, passes, length=WINDOW, rate=RATE):
    """Yield the loss per character of each window, after learning from it."""
    memory = {name: np.zeros_like(weight) for name, weight in weights.items()}
    for _ in range(passes):
        h = np.zeros(len(weights["b"]))  # each pass starts without a past
        for inputs, targets in windows(ids, length):
            loss, states, ps = forward(weights, inputs, targets, h)
            gradient = backward(weights, inputs, targets, states, ps)
            clip(gradient, CLIP)
            adagrad(weights, memory, gradient, rate)
            # The state goes on to the next window; the gradient doesn't. That is truncated
            # backpropagation through time.
            h = states[-1]
            yield loss / len(inputs)


# --- Writing -------------------------------------------------------------------------------------


def sample(weights, prime, count, seed, temperature=1.0):
    """Return the ids of a text that follows prime: draw a character, read it, draw the next.

    A temperature below 1 makes likely characters likelier.
    """
    rng = np.random.default_rng(seed)
    h, ids = np.zeros(len(weights["b"])), []
    for x in prime:
        h, log_p = step(weights, h, x)
    for _ in range(count):
        p = np.exp(log_p / temperature)
        ids.append(int(rng.choice(len(p), p=p / p.sum())))
        h, log_p = step(weights, h, ids[-1])
    return ids


# --- All of it -----------------------------------------------------------------------------------


def shuffled_names():
    """Return charrnn's list of first names, a line each, in random order."""
    import charrnn

    names = charrnn.datasets.names()
    random.Random(0).shuffle(names)  # in order, each name would give the next one away
    return "\n".join(names) + "\n"


def main(passes=8):
    """Train on a text, print the loss of each pass, and write a little."""
    text = Path(sys.argv[1]).read_text("utf-8") if len(sys.argv) > 1 else shuffled_names()
    chars = vocabulary(text)
    ids = encode(text, chars)
    weights = initialize(HIDDEN, len(chars), seed=0)
    print(f"{len(text):,} characters, {len(chars)} of them distinct")
    per_pass = len(list(windows(ids, WINDOW)))
    losses = []
    for loss in train(weights, ids, passes):
        losses.append(loss)
        if len(losses) % per_pass == 0:
            mean = np.mean(losses[-per_pass:])
            print(f"pass {len(losses) // per_pass}: {mean:.3f} nats per character")
    written = sample(weights, encode(text[-1:], chars), 120, seed=1, temperature=0.7)
    print("".join(chars[i] for i in written))


if __name__ == "__main__":
    main()
