"""The other programs, each doing the same work: one Adagrad step a window, element-wise clip, the state carried; and sampling.

Each `train_*(problem)` returns a function that runs a number of steps, each `sample_*` one that draws a number of characters.
"""

import contextlib
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Problem:
    """A workload: sizes, and ids (B, N) to train on, as many as fit whole windows, plus one."""

    H: int
    V: int
    T: int
    B: int
    ids: np.ndarray
    rate: float = 0.1
    clip: float = 5.0

    @property
    def windows(self):
        return (self.ids.shape[1] - 1) // self.T

    @property
    def flops(self):
        """Floating-point operations of the matrix products of one step: three products, each forward and twice backward, no one-hot."""
        return 6 * self.T * self.B * self.H * (self.H + self.V)


def problem(H, V, T, B, *, windows=40, text=None):
    """A workload on text (ids below V), or on random ids where there is no such text."""
    rng = np.random.default_rng(0)
    size = B * windows * T + 1
    source = text[:size] if text is not None else rng.zipf(1.3, size) % V
    if len(source) < size:
        source = np.resize(source, size)
    starts = np.arange(B)[:, None] * windows * T
    return Problem(H, V, T, B, np.ascontiguousarray(source[starts + np.arange(windows * T + 1)], dtype=np.int64))


def _initial(p, dtype):
    rng = np.random.default_rng(0)
    return [
        (0.01 * rng.standard_normal(shape)).astype(dtype) if 1 not in shape else np.zeros(shape, dtype)
        for shape in ((p.H, p.V), (p.H, p.H), (p.V, p.H), (p.H, 1), (p.V, 1))
    ]


# ------------------------------------------------------------------------------------------------------------------ NumPy


def train_numpy(p, dtype=np.float64):
    """The tutorial's program: one-hot columns, a loop over time forward and backward, one stream."""
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


# ------------------------------------------------------------------------------------------------------------------ charrnn


@contextlib.contextmanager
def variant(level):
    """Use the kernels of one instruction set."""
    from charrnn import _dispatch

    kept = _dispatch.core
    _dispatch.core = _dispatch.load(level)
    try:
        yield _dispatch.core
    finally:
        _dispatch.core = kept


def train_charrnn(p, level, n_threads=1):
    """`Network.train_steps`, as the training loop calls it: many windows a call."""
    from charrnn import RNN

    network = RNN(p.H, p.V, p.T, p.rate, seed=0).network
    work = network.workspace(p.T, p.B, training=True)
    inputs = np.ascontiguousarray(p.ids[:, :-1].T, dtype=np.int32)
    targets = np.ascontiguousarray(p.ids[:, 1:].T, dtype=np.int32)

    def run(steps):
        with variant(level):
            while steps > 0:
                count = min(steps, p.windows)
                network.train_steps(work, inputs[: count * p.T], targets[: count * p.T], rate=p.rate, clip=p.clip, threads=n_threads)
                steps -= count

    return run


# ------------------------------------------------------------------------------------------------------------------ PyTorch


def train_torch(p, threads=1):
    """nn.RNN on an embedding of size H (the rows of U), a linear output layer, torch's Adagrad and clip_grad_value_."""
    import torch

    torch.set_num_threads(threads)
    U, W, V, _, _ = (torch.from_numpy(weight) for weight in _initial(p, np.float32))
    rnn, out = torch.nn.RNN(p.V, p.H), torch.nn.Linear(p.H, p.V)
    with torch.no_grad():
        rnn.weight_ih_l0.copy_(U)
        rnn.weight_hh_l0.copy_(W)
        out.weight.copy_(V)
    parameters = [*rnn.parameters(), *out.parameters()]
    optimiser = torch.optim.Adagrad(parameters, lr=p.rate, eps=1e-8, foreach=True)
    eye = torch.eye(p.V)
    ids = torch.from_numpy(p.ids)
    state = {"h": torch.zeros(1, p.B, p.H), "k": 0}

    def run(steps):
        for _ in range(steps):
            k = state["k"]
            state["k"] = (k + 1) % p.windows
            x, y = ids[:, k * p.T : (k + 1) * p.T].T, ids[:, k * p.T + 1 : (k + 1) * p.T + 1].T
            hs, h = rnn(eye[x], state["h"])
            loss = torch.nn.functional.cross_entropy(out(hs).reshape(-1, p.V), y.reshape(-1), reduction="sum") / p.B
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_value_(parameters, p.clip)
            optimiser.step()
            state["h"] = h.detach()

    return run


# ------------------------------------------------------------------------------------------------------------------ JAX


def train_jax(p):
    """All steps under one jit: lax.scan over the window inside lax.fori_loop over the windows."""
    import jax
    import jax.numpy as jnp

    ids = jnp.asarray(p.ids, jnp.int32)

    def loss(weights, h, x, y):
        U, W, V, b, c = weights

        def cell(h, u):
            h = jnp.tanh(u + h @ W + b)
            return h, h

        h, hs = jax.lax.scan(cell, h, U[x])
        logits = hs @ V + c
        nll = jax.nn.logsumexp(logits, axis=-1) - jnp.take_along_axis(logits, y[..., None], -1)[..., 0]
        return nll.sum() / p.B, h

    def step(k, carry):
        weights, memory, h = carry
        start = (k % p.windows) * p.T
        x = jax.lax.dynamic_slice(ids, (0, start), (p.B, p.T)).T
        y = jax.lax.dynamic_slice(ids, (0, start + 1), (p.B, p.T)).T
        (_, h), grads = jax.value_and_grad(loss, has_aux=True)(weights, h, x, y)
        grads = [jnp.clip(g, -p.clip, p.clip) for g in grads]
        memory = [m + g * g for m, g in zip(memory, grads, strict=True)]
        weights = [w - p.rate * g / jnp.sqrt(m + 1e-8) for w, m, g in zip(weights, memory, grads, strict=True)]
        return weights, memory, h

    many = jax.jit(lambda carry, steps: jax.lax.fori_loop(0, steps, step, carry), donate_argnums=0)
    U, W, V, b, c = _initial(p, np.float32)
    weights = [jnp.asarray(w) for w in (U.T, W.T, V.T, b[:, 0], c[:, 0])]
    state = {"carry": (weights, [jnp.zeros_like(w) for w in weights], jnp.zeros((p.B, p.H)))}

    def run(steps):
        state["carry"] = many(state["carry"], steps)
        jax.block_until_ready(state["carry"])

    return run


def installed(*names):
    """Whether all modules of these names can be imported."""
    with contextlib.suppress(ImportError):
        for name in names:
            __import__(name)
        return True
    return False
