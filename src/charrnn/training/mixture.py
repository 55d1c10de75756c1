"""Counts of the text that a network was trained on, and how much to trust them beside it."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..data.batches import Stream, TextStream
from ..data.dataset import Records, Text
from ..network import Network, dispatch
from ..network._types import NgramTable
from ..network.counts import Counts, Mixture
from ..storage.model_file import ModelState
from .fit import held_out_options

# N-grams to keep of each text: one for each character, some four bytes, within these limits.
_FEWEST, _MOST = 1 << 20, 1 << 22
_PRIOR_WEIGHTS = (0.5, 0.5)  # of network and counts, where there is nothing to fit them on
_PRIOR, _NEWTON_STEPS, _CLOSE = 30.0, 12, 1e-3
# What is held out of a text may repeat the rest, and counts know that by heart. New text repeats
# less: whatever fits best, counts get no more than this, and the network no less.
_LEAST_WEIGHTS, _MOST_WEIGHTS = (0.25, 0.0), (2.0, 0.85)
_FITTED, _STREAMS = 1 << 15, 16  # symbols of the held-out part that are enough, in streams


def add_counts(
    state: ModelState,
    source: Text | Records,
    options: Mapping[str, Any],
    measured: Mixture | None = None,
) -> ModelState:
    """Return a trained state whose network is mixed with counts of its text, if options say so.

    A mixture that the state has already is of text before this: counts are added up. measured has
    the weights to use, if nothing is held out to fit them on.
    """
    before, order, vocabulary = state.mixture, options["ngram"], state.vocabulary
    if order is None:
        order = before.counts.order if before is not None else 0
    if order == 0:
        return replace(state, mixture=None)
    learner = state.learner
    stream, held_out = source.streams(learner, *held_out_options(options))
    boundary = len(vocabulary) if vocabulary.records else None

    def count(stream: Stream, order: int, most: int) -> Counts:
        ids, least = stream.sequences(), options["min_count"]
        return Counts.from_ids(
            ids, vocabulary.symbols, order, boundary=boundary, most=most, min_count=least
        )

    counts = count(stream, order, min(max(_FEWEST, stream.targets), _MOST))
    new_order, weights = counts.order, measured or before
    if before is not None:
        counts = before.counts.merged(counts)
    mixture = Mixture(counts, *(weights[1:] if weights is not None else ()))
    if held_out is not None:
        mixture, state.history.estimate = fit_mixture(learner.network, counts, held_out)
        mixture = mixture._replace(counts=counts.merged(count(held_out, new_order, _MOST)))
    learner.network.mix(mixture.table())
    return replace(state, mixture=mixture)


def fit_mixture(network: Network, counts: Counts, stream: Stream) -> tuple[Mixture, float]:
    """Return the best mixture for text that neither network nor counts have seen, and its loss.

    The loss is convex in the two weights: Newton's method, with a prior that counts as much as
    _PRIOR targets of unit curvature, finds its minimum between the limits. Sums run in a fixed
    order. The network is left as it was: without counts.
    """
    weights, levels = np.array(_PRIOR_WEIGHTS), counts.estimate()
    try:
        for _ in range(_NEWTON_STEPS):
            network.mix(NgramTable(counts.vocab_size, levels, *weights.tolist()))
            nll, gradient, hessian = _statistics(network, stream)
            gradient += _PRIOR * (weights - _PRIOR_WEIGHTS)
            (a, b), (_, d) = hessian + _PRIOR * np.eye(2)
            at_limit = np.where(gradient < 0, weights >= _MOST_WEIGHTS, weights <= _LEAST_WEIGHTS)
            if at_limit.any():  # the other one moves alone
                gradient[at_limit], b = 0.0, 0.0
            step = np.array([d * gradient[0] - b * gradient[1], a * gradient[1] - b * gradient[0]])
            better = np.clip(weights - step / (a * d - b * b), _LEAST_WEIGHTS, _MOST_WEIGHTS)
            if np.abs(better - weights).max() < _CLOSE:
                break
            weights = better
    finally:
        network.mix(None)
    network_weight, counts_weight = weights.tolist()
    return Mixture(counts, network_weight, counts_weight), nll


def _windows(stream: Stream) -> Iterator[tuple[Any, Any, bool]]:
    """Yield windows of a stream, enough to fit two weights, and whether each begins a sequence."""
    if isinstance(stream, TextStream):  # many streams are read in a fraction of the time
        stream = TextStream(stream.ids[:_FITTED], 256, _STREAMS)
    done = 0
    for window in range(stream.windows):
        inputs, targets = stream.read(window, 1)
        yield inputs, targets, stream.resets(window)
        done += int((targets >= 0).sum())
        if done >= _FITTED:
            return


def _statistics(network: Network, stream: Stream) -> tuple[float, Any, Any]:
    """Return the loss per target, and the derivatives of their sum by the mixture's weights."""
    loss, gradient, hessian, targets = 0.0, np.zeros(2), np.zeros((2, 2)), 0
    work = None
    for x, y, resets in _windows(stream):
        if work is None or work.B != x.shape[1]:
            work = network.workspace(network.rows(x.shape[1], 256), x.shape[1])
        if resets:
            work.state[...] = 0
        one = dispatch.core.mixture(work, x, y)
        loss, gradient, hessian = loss + one[0], gradient + one[1], hessian + one[2]
        targets += int((y >= 0).sum())
    return loss / max(1, targets), gradient, hessian
