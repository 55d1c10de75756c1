# What Python calls. Part of _core.pyx.

from charrnn._elementary cimport normal

# `params`, `memory` and `grads` are rnn.Parameters, `work` is a rnn.Workspace. hs picks the dtype; inputs and targets are (T, B).


def init_normal(real[:, ::1] out, Py_ssize_t width, double scale, unsigned long long[::1] random):
    """Fill out[:, :width] with normal numbers of standard deviation scale, row by row."""
    cdef Py_ssize_t i, j
    with nogil:
        for i in range(out.shape[0]):
            for j in range(width):
                out[i, j] = <real>(scale * normal(&random[0]))


def cell_forward(real[:, :, ::1] hs, params, work, const int[:, ::1] inputs):
    """States hs[1:] of one window from hs[0]."""
    cdef real[:, ::1] Wxh = params.Wxh, Whh = params.Whh
    cdef real[::1] bh = params.bh
    cdef real[:, :, ::1] z = work.dh
    with nogil:
        _cell_forward(0, hs.shape[1], inputs, Wxh, Whh, bh, hs, z)


def output_forward(real[:, :, ::1] hs, params, real[:, :, ::1] logits, Py_ssize_t first, Py_ssize_t vocab_size):
    """Logits of the states from hs[first] on, as many as logits has rows."""
    cdef real[:, ::1] Why = params.Why
    cdef real[::1] by = params.by
    with nogil:
        _output_forward(0, hs.shape[1], vocab_size, hs, Why, by, first, logits.shape[0], logits)


def softmax(real[:, :, ::1] logits, const int[:, ::1] targets, double[:, ::1] nll, Py_ssize_t vocab_size):
    """Turn padded rows of logits (T, B, Vp) into probabilities, in place; nll (T, B) gets the loss of each target."""
    cdef Py_ssize_t t, b
    with nogil:
        for t in range(logits.shape[0]):
            for b in range(logits.shape[1]):
                nll[t, b] = _softmax(_lanes(vocab_size), &logits[t, b, 0], targets[t, b])


def evaluate(real[:, :, ::1] hs, params, work, const int[:, ::1] inputs, const int[:, ::1] targets, double[:, ::1] nll):
    """Run windows of work's length over all of inputs, carrying the state in hs[0]; nll (N, B) gets the loss of each target."""
    cdef real[:, ::1] Wxh = params.Wxh, Whh = params.Whh, Why = params.Why
    cdef real[::1] bh = params.bh, by = params.by
    cdef real[:, :, ::1] z = work.dh, p = work.p
    cdef Py_ssize_t T = z.shape[0], N = inputs.shape[0], window, start, stop
    with nogil:
        for window in range((N + T - 1) // T):
            start, stop = window * T, min((window + 1) * T, N)
            _forward(0, hs.shape[1], inputs[start:stop], targets[start:stop], Wxh, Whh, Why, bh, by, hs, z, p, nll[start:stop])
            _carry(hs, stop - start)


def transpose(real[:, :, ::1] hs, params, work):
    """Make the transposed copies in work fit params; hs only tells the dtype."""
    cdef real[:, ::1] Whh = params.Whh, Why = params.Why, WhhT = work.WhhT, WhyT = work.WhyT
    with nogil:
        _transpose(&Whh[0, 0], Whh.shape[1], Whh.shape[0], Whh.shape[0], &WhhT[0, 0], WhhT.shape[1])
        _transpose(&Why[0, 0], Why.shape[1], Why.shape[0], WhyT.shape[0], &WhyT[0, 0], WhyT.shape[1])


def backward(real[:, :, ::1] hs, params, work, grads, const int[:, ::1] inputs, const int[:, ::1] targets):
    """Gradient of one window (not clipped) into grads, from the hs and p in work; p is used up."""
    cdef real[:, ::1] WhhT = work.WhhT, WhyT = work.WhyT, dWxh = grads.Wxh, dWhh = grads.Whh, dWhy = grads.Why
    cdef real[::1] dbh = grads.bh, dby = grads.by, zeros = work.zeros
    cdef real[:, :, ::1] dh = work.dh, dz = work.dz, p = work.p
    cdef signed char[::1] used = work.used
    cdef Py_ssize_t T = inputs.shape[0], B = inputs.shape[1], H = WhhT.shape[0], V = WhyT.shape[0]
    transpose(hs, params, work)
    with nogil:
        _backward(0, B, targets, WhhT, WhyT, hs, p, dh, dz, zeros)
        _recurrent_gradient(0, H, T, hs, dz, zeros, dWhh)
        _output_gradient(0, H, T, V, hs, p, zeros, dWhy)
        _input_gradient(0, V, inputs, dz, dWxh, used)
        _sum_rows(&dz[0, 0, 0], T * B, dz.shape[2], &dbh[0])
        _sum_rows(&p[0, 0, 0], T * B, p.shape[2], &dby[0])
        used[:] = 0


def adagrad(real[::1] parameter, real[::1] memory, const real[::1] gradient, *, double rate, double clip):
    """Clip the gradient and apply one Adagrad update, element by element."""
    with nogil:
        _adagrad(parameter.shape[0], &parameter[0], &memory[0], &gradient[0], <real>rate, <real>clip)


def streams_step(real[:, :, ::1] hs, params, work, const int[:, ::1] inputs, const int[:, ::1] targets, Py_ssize_t b0, Py_ssize_t b1):
    """First half of a training step, for the streams from b0 to b1 of one window; return whether its gradient is bounded."""
    cdef real[:, ::1] Wxh = params.Wxh, Whh = params.Whh, Why = params.Why, WhhT = work.WhhT, WhyT = work.WhyT
    cdef real[::1] bh = params.bh, by = params.by, zeros = work.zeros
    cdef real[:, :, ::1] dh = work.dh, dz = work.dz, p = work.p
    cdef double[:, ::1] nll = work.nll
    cdef bint bounded
    with nogil:
        _forward(b0, b1, inputs, targets, Wxh, Whh, Why, bh, by, hs, dh, p, nll)
        bounded = _backward(b0, b1, targets, WhhT, WhyT, hs, p, dh, dz, zeros)
    return bounded


def weights_step(real[:, :, ::1] hs, params, memory, work, const int[:, ::1] inputs, int part, int parts, *, double rate, double clip):
    """Second half of a training step, for one of several parts of the weights, once all streams have done the first."""
    cdef real[:, ::1] Wxh = params.Wxh, Whh = params.Whh, Why = params.Why, WhhT = work.WhhT, WhyT = work.WhyT
    cdef real[:, ::1] mWxh = memory.Wxh, mWhh = memory.Whh, mWhy = memory.Why
    cdef real[:, ::1] dWxh = work.grads.Wxh, dWhh = work.grads.Whh, dWhy = work.grads.Why
    cdef real[::1] bh = params.bh, by = params.by, mbh = memory.bh, mby = memory.by, dbh = work.grads.bh, dby = work.grads.by
    cdef real[::1] zeros = work.zeros
    cdef real[:, :, ::1] dz = work.dz, p = work.p
    cdef signed char[::1] used = work.used
    cdef real r = <real>rate, c = <real>clip
    with nogil:
        _learn(
            part, parts, inputs, Wxh.shape[0], hs, p, dz, zeros, used, Wxh, Whh, Why, bh, by, mWxh, mWhh, mWhy, mbh, mby,
            dWxh, dWhh, dWhy, dbh, dby, WhhT, WhyT, r, c,
        )


def used_rows(const int[:, ::1] targets):
    """How many rows of a window a training step needs."""
    return _used_rows(targets)


def total(double[:, ::1] nll, Py_ssize_t T):
    """The sum of the first T rows of nll, in their order."""
    return _total(nll, T)


def train_steps(
    real[:, :, ::1] hs, params, memory, work, const int[:, ::1] inputs, const int[:, ::1] targets, double[::1] losses,
    *, double rate, double clip, bint reset,
):
    """Train on windows of work's length over all of inputs, carrying the state in hs[0]; losses gets each window's sum over T and B.

    With reset, each window begins with the zero state.

    Return the number of steps done. Fewer than len(losses) means that the next step diverged: its update was not applied.
    """
    cdef real[:, ::1] Wxh = params.Wxh, Whh = params.Whh, Why = params.Why, WhhT = work.WhhT, WhyT = work.WhyT
    cdef real[:, ::1] mWxh = memory.Wxh, mWhh = memory.Whh, mWhy = memory.Why
    cdef real[:, ::1] dWxh = work.grads.Wxh, dWhh = work.grads.Whh, dWhy = work.grads.Why
    cdef real[::1] bh = params.bh, by = params.by, mbh = memory.bh, mby = memory.by, dbh = work.grads.bh, dby = work.grads.by
    cdef real[::1] zeros = work.zeros
    cdef real[:, :, ::1] dh = work.dh, dz = work.dz, p = work.p
    cdef double[:, ::1] nll = work.nll
    cdef signed char[::1] used = work.used
    cdef real r = <real>rate, c = <real>clip
    cdef Py_ssize_t T = dh.shape[0], N = inputs.shape[0], B = hs.shape[1], step, start, stop, i
    cdef const int[:, ::1] x, y
    transpose(hs, params, work)
    with nogil:
        for step in range(losses.shape[0]):
            start, stop = step * T, min((step + 1) * T, N)
            stop = start + _used_rows(targets[start:stop])
            x, y = inputs[start:stop], targets[start:stop]
            if reset:
                for i in range(B * hs.shape[2]):
                    (&hs[0, 0, 0])[i] = 0
            _forward(0, B, x, y, Wxh, Whh, Why, bh, by, hs, dh, p, nll)
            losses[step] = _total(nll, stop - start)
            if not losses[step] - losses[step] == 0 or not _backward(0, B, y, WhhT, WhyT, hs, p, dh, dz, zeros):
                break
            _learn(
                0, 1, x, Wxh.shape[0], hs, p, dz, zeros, used, Wxh, Whh, Why, bh, by, mWxh, mWhh, mWhy, mbh, mby,
                dWxh, dWhh, dWhy, dbh, dby, WhhT, WhyT, r, c,
            )
            _carry(hs, stop - start)
        else:
            step = losses.shape[0]
    return step


def sample(
    real[:, :, ::1] hs, params, work, int[:, ::1] ids, Py_ssize_t first, unsigned long long[::1] random,
    const signed char[::1] allowed, signed char[::1] left, *,
    double temperature, Py_ssize_t top_k, double top_p, double min_p, Py_ssize_t no_repeat,
):
    """Draw the rows of ids (n, B) from number first on, one after the other, feeding each back.

    The states hs[0] are those before row first; they move on. random holds one generator state a stream; the rows before first only
    count for no_repeat. left (V,) is scratch.
    """
    cdef real[:, ::1] Wxh = params.Wxh, Whh = params.Whh, Why = params.Why
    cdef real[::1] bh = params.bh, by = params.by
    cdef real[:, :, ::1] z = work.dh, p = work.p
    cdef Controls controls = Controls(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, no_repeat=no_repeat)
    cdef Py_ssize_t t, b, V = Wxh.shape[0], B = ids.shape[1]
    cdef bint restricted = not all(allowed)
    with nogil:
        for t in range(first, ids.shape[0]):
            _output_forward(0, B, V, hs, Why, by, 0, 1, p)
            for b in range(B):
                if no_repeat and _exclude_repeats(ids, t, b, no_repeat, V, &allowed[0], &left[0]):
                    _restrict(V, &left[0], &p[0, b, 0])
                elif restricted:
                    _restrict(V, &allowed[0], &p[0, b, 0])
                ids[t, b] = _pick(V, &p[0, b, 0], &controls, &random[b])
            _cell_forward(0, B, ids[t:t + 1], Wxh, Whh, bh, hs, z)
            _carry(hs, 1)


def search(
    real[:, :, ::1] hs, params, work, int[:, ::1] ids, int[:, ::1] parents, double[::1] scores, signed char[::1] ended,
    const signed char[::1] allowed, int boundary,
):
    """Extend W texts by n characters, keeping the W most probable at each: ids (n, W), and parents (n, W): which text each extends.

    hs[0], scores and ended belong to the texts and move on. work has two time steps. boundary ends a text; -1 if nothing does.
    """
    cdef real[:, ::1] Wxh = params.Wxh, Whh = params.Whh, Why = params.Why
    cdef real[::1] bh = params.bh, by = params.by
    cdef real[:, :, ::1] z = work.dh, p = work.p
    cdef double[::1] new_scores = scores.copy()
    cdef signed char[::1] new_ended = ended.copy()
    cdef Py_ssize_t t, w, j, V = Wxh.shape[0], W = ids.shape[1]
    with nogil:
        for t in range(ids.shape[0]):
            _output_forward(0, W, V, hs, Why, by, 0, 1, p)
            _extend(W, V, boundary, &allowed[0], p, &ended[0], &scores[0], &ids[t, 0], &parents[t, 0], &new_scores[0])
            for w in range(W):
                new_ended[w] = ended[parents[t, w]] or ids[t, w] == boundary
                for j in range(hs.shape[2]):
                    hs[1, w, j] = hs[0, parents[t, w], j]
            _carry(hs, 1)
            scores[:], ended[:] = new_scores, new_ended
            _cell_forward(0, W, ids[t:t + 1], Wxh, Whh, bh, hs, z)
            _carry(hs, 1)


def fma_chains(Py_ssize_t n):
    """Run n times as many independent multiply-adds as fill the registers; return how many operations that was: the peak of this core."""
    cdef float acc[CHAINS]
    cdef float total = 0
    cdef Py_ssize_t _i, j
    with nogil:
        for j in range(CHAINS):
            acc[j] = <float>j
        for _i in range(n):
            for j in range(CHAINS):
                acc[j] = fma[float](acc[j], <float>0.5, <float>1)
        for j in range(CHAINS):
            total += acc[j]
    return 2 * n * CHAINS if total > 0 else 0


def cpu_level():
    """The highest of "baseline", "v3" (AVX2, FMA), "v4" (AVX-512) that this processor and its operating system run."""
    return ("baseline", "v3", "v4")[charrnn_cpu_level()]
