"""The kernels: everything that runs once per character.

Symbols, as in docs/math.md: T time steps, B streams, H hidden units of a layer, V characters; Hp
and Vp are H and V rounded up to a multiple of LANES, the leading dimension (ld) of every matrix, so
that no inner loop has a ragged tail. What lies in the padding never counts: sums run over H or V.

    z_t = x_t Wxh + bh + h_(t-1) Whh        h_t = tanh(z_t)
    logits_t = by + h_t Why                 p_t = softmax(logits_t)

(a vanilla layer; cells with gates have a z_t per gate).

One rule gives the same bits at every vector width: vectorize across outputs, never along a sum.
Each output element is one chain of fused multiply-adds in a fixed order; where a sum must run along
a row (softmax), it has LANES partial sums on every machine.

This file is the table of contents. Each file has forward and backward side by side. Its kernels are
`noexcept nogil`: they allocate nothing, raise nothing and trust their arguments. A `Matrix` says
where it lies in the block of weights. Kernels on streams take a `Span` of streams and time steps,
kernels on weights a `Part` of them, so that threads can share a step: they split outputs, never a
sum.
"""

cimport cython  # no-cython-lint

# What the kernels use.
from charrnn.kernels.scalar cimport (  # no-cython-lint
    FloatBits, bit_midpoint, exp_nonpositive, fma, inverse_root, log, magnitude, normal, real, root,
    sigmoid, splitmix64, tanh, uniform,
)
from charrnn.network._types cimport (  # no-cython-lint
    ADAGRAD, ADAM, GRU, IGNORED, LANES, LONGEST_CONTEXT, LOOK_BACK, LSTM, MANY_STREAMS,
    RECENT_SLOTS, RMSPROP, RNN, SGD, Follower, Recent, RecentContext,
    AnyWorkspace, LayerPlan, Matrix, Memory, NgramLevel, Ngrams, OwnedNetwork, Parameters, Plan,
    Workspace, Workspace32, Workspace64, _lanes, check_array, check_ids, check_size, new_memory,
)

from libc.limits cimport INT_MAX  # no-cython-lint
from libc.math cimport INFINITY, NAN, sqrt  # no-cython-lint
from libc.string cimport memcpy, memset  # no-cython-lint

import numpy as np  # no-cython-lint

from charrnn.util.errors import DivergedError, short_repr  # no-cython-lint

cdef object _empty = np.empty      # not a name of the module, which could be assigned

cdef extern from "_cpu.h":
    int charrnn_cpu_dots()
    int charrnn_cpu_level()
    int charrnn_first_cache()

include "charrnn/kernels/interrupt.pxi"         # Ctrl-C while C is at work
include "charrnn/kernels/matmul.pxi"            # products of matrices in register tiles
include "charrnn/kernels/bfloat16.pxi"          # products of rounded operands
include "charrnn/kernels/input.pxi"             # characters into the first layer
include "charrnn/kernels/linear.pxi"            # layers without recurrence
include "charrnn/kernels/rnn.pxi"               # the vanilla cell
include "charrnn/kernels/gru.pxi"               # the gated recurrent unit
include "charrnn/kernels/lstm.pxi"              # long short-term memory
include "charrnn/kernels/dropout.pxi"           # outputs that are dropped in training
include "charrnn/kernels/softmax.pxi"           # probabilities and loss
include "charrnn/kernels/optimizers.pxi"        # clipping, Adagrad, SGD, RMSProp, Adam
include "charrnn/kernels/ngrams.pxi"            # counts of n-grams, mixed with the network
include "charrnn/kernels/forward_backward.pxi"  # whole windows: they walk the layers
include "charrnn/kernels/recent.pxi"            # counts of what a model reads while it adapts
include "charrnn/kernels/train_step.pxi"        # steps of training, which threads and shards share
include "charrnn/kernels/sampling.pxi"          # drawing, filters, beam search
include "charrnn/kernels/api.pxi"               # what Python calls: checks, then releases the GIL
include "charrnn/kernels/saliency.pxi"          # what units are, and what a prediction rests on
include "charrnn/kernels/parts.pxi"             # parts of a step, for benchmarks
include "charrnn/kernels/capi.pxi"              # what other Cython code calls
