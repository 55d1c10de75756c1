"""The programs that charrnn is compared with, all doing the same work.

A step reads one window, carries the state, clips element-wise, and updates by Adagrad. Each
`train_*(problem)` returns a function that runs n steps, each `sample_*(problem)` one that draws n
characters.
"""

import contextlib
import functools
from dataclasses import dataclass

import numpy as np

GATES = {"rnn": 1, "gru": 3, "lstm": 4}


@dataclass(frozen=True)
class Problem:
    """A workload: sizes, and ids (B, N) to train on, as many as fit whole windows, plus one."""

    H: int
    V: int
    T: int
    B: int
    ids: np.ndarray
    cell: str = "rnn"
    layers: int = 1
    rate: float = 0.1
    clip: float = 5.0

    @property
    def windows(self):
        return (self.ids.shape[1] - 1) // self.T

    @property
    def flops(self):
        """Floating-point operations of a step's products: one forward, two backward, no one-hot."""
        # Each layer above the first also reads the one below.
        recurrent = GATES[self.cell] * (2 * self.layers - 1) * self.H * self.H
        return 6 * self.T * self.B * (recurrent + self.H * self.V)

    def __str__(self):
        network = (
            ""
            if (self.cell, self.layers) == ("rnn", 1)
            else f"{self.cell}, {self.layers} layer{'s' * (self.layers > 1)}, "
        )
        return f"{network}H={self.H} V={self.V} T={self.T} B={self.B}"


def problem(H, V, T, B, *, cell="rnn", layers=1, windows=40, text=None):
    """A workload on text (ids below V), or on random ids where there is no such text."""
    rng = np.random.default_rng(0)
    size = B * windows * T + 1
    source = text[:size] if text is not None else rng.zipf(1.3, size) % V
    if len(source) < size:
        source = np.resize(source, size)
    starts = np.arange(B)[:, None] * windows * T
    return Problem(
        H,
        V,
        T,
        B,
        np.ascontiguousarray(source[starts + np.arange(windows * T + 1)], dtype=np.int64),
        cell,
        layers,
    )


def _initial(p, dtype):
    rng = np.random.default_rng(0)
    return [
        (0.01 * rng.standard_normal(shape)).astype(dtype)
        if 1 not in shape
        else np.zeros(shape, dtype)
        for shape in ((p.H, p.V), (p.H, p.H), (p.V, p.H), (p.H, 1), (p.V, 1))
    ]


# --- NumPy ---


def train_numpy(p, dtype=np.float64):
    """The tutorial's program: one-hot columns, loops over time forward and backward, one stream."""
    U, W, V, b, c = weights = _initial(p, dtype)
    memory = [np.zeros_like(weight) for weight in weights]
    state = {"h": np.zeros((p.H, 1), dtype), "k": 0}

    def step():
        k = state["k"]
        state["k"] = (k + 1) % p.windows
        x, y = p.ids[0, k * p.T : (k + 1) * p.T], p.ids[0, k * p.T + 1 : (k + 1) * p.T + 1]
        xs, hs, ps = {}, {-1: state["h"]}, {}
        loss = 0
        for t in range(p.T):
            xs[t] = np.zeros((p.V, 1), dtype)
            xs[t][x[t]] = 1
            hs[t] = np.tanh(U @ xs[t] + W @ hs[t - 1] + b)
            o = V @ hs[t] + c
            e = np.exp(o - o.max())
            ps[t] = e / e.sum()
            loss -= np.log(ps[t][y[t], 0])
        grads = [np.zeros_like(weight) for weight in weights]
        dU, dW, dV, db, dc = grads
        carried = np.zeros_like(state["h"])
        for t in reversed(range(p.T)):
            do = ps[t].copy()
            do[y[t]] -= 1
            dV += do @ hs[t].T
            dc += do
            dz = (1 - hs[t] * hs[t]) * (V.T @ do + carried)
            db += dz
            dU += dz @ xs[t].T
            dW += dz @ hs[t - 1].T
            carried = W.T @ dz
        for weight, mem, g in zip(weights, memory, grads, strict=True):
            np.clip(g, -p.clip, p.clip, out=g)
            mem += g * g
            weight -= p.rate * g / np.sqrt(mem + 1e-8)
        state["h"] = hs[p.T - 1]
        return loss

    return lambda steps: [step() for _ in range(steps)]


def sample_numpy(p, dtype=np.float64):
    """The tutorial's `sample`, with numpy's generator."""
    U, W, V, b, c = _initial(p, dtype)
    rng = np.random.default_rng(0)

    def draw(count):
        h, x = np.zeros((p.H, 1), dtype), np.zeros((p.V, 1), dtype)
        for _ in range(count):
            h = np.tanh(U @ x + W @ h + b)
            y = V @ h + c
            e = np.exp(y) / np.exp(y).sum()
            ix = rng.choice(p.V, p=e.ravel() / e.sum())
            x = np.zeros((p.V, 1), dtype)
            x[ix] = 1

    return draw


# --- charrnn ---


@contextlib.contextmanager
def variant(level):
    """Use the kernels of one instruction set."""
    from charrnn.network import dispatch as _dispatch

    kept = _dispatch.core
    _dispatch.core = _dispatch.load(level)
    try:
        yield _dispatch.core
    finally:
        _dispatch.core = kept


def train_charrnn(p, level, n_threads=1, precision="float32"):
    """`Network.train_steps`, as the training loop calls it: many windows a call."""
    from charrnn.network.learner import Learner

    network = Learner(
        [(p.cell, p.H)] * p.layers, p.V, initial_accumulator_value=0.0, seed=0
    ).network
    work = network.workspace(p.T, p.B, training=True)
    inputs = np.ascontiguousarray(p.ids[:, :-1].T, dtype=np.int32)
    targets = np.ascontiguousarray(p.ids[:, 1:].T, dtype=np.int32)

    def run(steps):
        with variant(level):
            while steps > 0:
                count = min(steps, p.windows)
                network.train_steps(
                    work,
                    inputs[: count * p.T],
                    targets[: count * p.T],
                    learning_rate=p.rate,
                    clip_value=p.clip,
                    n_threads=n_threads,
                    precision=precision,
                )
                steps -= count

    return run


# --- PyTorch ---


def train_torch(p, threads=1, mkldnn=True, autocast=False):
    """PyTorch's layers on one-hot vectors, a linear output, its Adagrad and clip_grad_value_.

    With mkldnn, PyTorch's default, oneDNN runs the layers that it supports. With autocast, the
    products of the forward and backward passes are in bfloat16.
    """
    import torch

    torch.set_num_threads(threads)
    torch.backends.mkldnn.enabled = mkldnn
    torch.manual_seed(0)
    kind = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[p.cell]
    rnn, out = kind(p.V, p.H, p.layers), torch.nn.Linear(p.H, p.V)
    parameters = [*rnn.parameters(), *out.parameters()]
    optimiser = torch.optim.Adagrad(parameters, lr=p.rate, eps=1e-8, foreach=True)
    eye = torch.eye(p.V)
    ids = torch.from_numpy(p.ids)
    state = {"h": None, "k": 0}

    def run(steps):
        for _ in range(steps):
            k = state["k"]
            state["k"] = (k + 1) % p.windows
            x, y = ids[:, k * p.T : (k + 1) * p.T].T, ids[:, k * p.T + 1 : (k + 1) * p.T + 1].T
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                hs, h = rnn(eye[x], state["h"])
                logits = out(hs).reshape(-1, p.V).float()
            nll = torch.nn.functional.cross_entropy(logits, y.reshape(-1), reduction="sum")
            loss = nll / p.B
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_value_(parameters, p.clip)
            optimiser.step()
            state["h"] = tuple(part.detach() for part in h) if p.cell == "lstm" else h.detach()

    return run


# --- JAX ---


def train_jax(p, unroll=1):
    """All steps under one jit: lax.scan over the window inside lax.fori_loop over the windows."""
    import jax
    import jax.numpy as jnp

    ids = jnp.asarray(p.ids, jnp.int32)
    cell = functools.partial({"rnn": _jax_rnn, "gru": _jax_gru, "lstm": _jax_lstm}[p.cell], jax)

    def loss(weights, state, x, y):
        *layers, (V, c) = weights
        after = []
        for i, ((U, W, b, q), before) in enumerate(zip(layers, state, strict=True)):
            sums = (U[x] if i == 0 else x @ U) + b  # the first layer looks its rows up
            last, x = jax.lax.scan(
                lambda carry, u, W=W, q=q: cell(carry, u, W, q), before, sums, unroll=unroll
            )
            after.append(last)
        logits = x @ V + c
        nll = (
            jax.nn.logsumexp(logits, axis=-1)
            - jnp.take_along_axis(logits, y[..., None], -1)[..., 0]
        )
        return nll.sum() / p.B, after

    def step(k, carry):
        weights, memory, state = carry
        start = (k % p.windows) * p.T
        x = jax.lax.dynamic_slice(ids, (0, start), (p.B, p.T)).T
        y = jax.lax.dynamic_slice(ids, (0, start + 1), (p.B, p.T)).T
        (_, state), grads = jax.value_and_grad(loss, has_aux=True)(weights, state, x, y)
        grads = jax.tree.map(lambda g: jnp.clip(g, -p.clip, p.clip), grads)
        memory = jax.tree.map(lambda m, g: m + g * g, memory, grads)
        weights = jax.tree.map(
            lambda w, m, g: w - p.rate * g / jnp.sqrt(m + 1e-8), weights, memory, grads
        )
        return weights, memory, state

    many = jax.jit(lambda carry, steps: jax.lax.fori_loop(0, steps, step, carry), donate_argnums=0)
    weights = jax.tree.map(jnp.asarray, _jax_weights(p))
    zeros = [jnp.zeros((p.B, p.H)) for _ in range(p.layers)]
    state = [(h, jnp.zeros_like(h)) for h in zeros] if p.cell == "lstm" else zeros
    state = {"carry": (weights, jax.tree.map(jnp.zeros_like, weights), state)}

    def run(steps):
        state["carry"] = many(state["carry"], steps)
        jax.block_until_ready(state["carry"])

    return run


def _jax_weights(p):
    """Return per layer (inputs, gates H), (H, gates H), (gates H,), (H,); then the output layer.

    Only a GRU reads the last bias of a layer.
    """
    rng = np.random.default_rng(0)
    bound, G = p.H**-0.5, GATES[p.cell] * p.H

    def uniform(*shape):
        return rng.uniform(-bound, bound, shape).astype(np.float32)

    layers = [
        (uniform(inputs, G), uniform(p.H, G), np.zeros(G, np.float32), np.zeros(p.H, np.float32))
        for inputs in [p.V] + [p.H] * (p.layers - 1)
    ]
    return [*layers, (uniform(p.H, p.V), np.zeros(p.V, np.float32))]


# Cells as lax.scan takes them: (carried state, input's part of the sums) -> (state, output).


def _jax_rnn(jax, h, u, W, q):
    h = jax.numpy.tanh(u + h @ W)
    return h, h


def _jax_gru(jax, h, u, W, q):
    sums, H = h @ W, len(q)
    r, z = jax.numpy.split(jax.nn.sigmoid(u[:, : 2 * H] + sums[:, : 2 * H]), 2, axis=1)
    n = jax.numpy.tanh(u[:, 2 * H :] + r * (sums[:, 2 * H :] + q))
    h = n + z * (h - n)
    return h, h


def _jax_lstm(jax, carry, u, W, q):
    h, c = carry
    i, f, o, g = jax.numpy.split(u + h @ W, 4, axis=1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jax.numpy.tanh(g)
    h = jax.nn.sigmoid(o) * jax.numpy.tanh(c)
    return (h, c), h


def installed(*names):
    """Whether all modules of these names can be imported."""
    with contextlib.suppress(ImportError):
        for name in names:
            __import__(name)
        return True
    return False
