"""Counts of the text that a network was trained on, and how much to trust them beside it."""

import operator
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

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
_PRIOR, _MEASURED, _CLOSE = 30.0, 16, 1e-3
_LIMITS = (0.0, 0.0), (2.0, 2.0)  # least and most
# What is held out of a text may repeat the rest, and counts know that by heart. What follows the
# text repeats less: whatever fits best, counts get no more than this, and the network no less.
# Records are held out at random, so they are like new ones.
_LIMITS_OF_TEXT = (0.25, 0.0), (2.0, 0.85)
_HEAVIEST = 8  # times that new counts may weigh beside many old ones
_FITTED, _STREAMS = 1 << 15, 16  # symbols of the held-out part that are enough, in streams


def add_counts(
    state: ModelState,
    source: Text | Records,
    options: Mapping[str, Any],
    measured: Mixture | None = None,
) -> ModelState:
    """Return a trained state whose network is mixed with counts of its text, if options say so.

    A mixture that the state has already is of text before this: counts are added up. measured is
    the mixture of a first training on the same source. It has the weights to use, and if there was
    text before, all counts.
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

    if before is not None and measured is not None:
        mixture = measured  # has all counts
    else:
        counts = count(stream, order, min(max(_FEWEST, stream.targets), _MOST))
        if held_out is None:
            weights = measured or before
            mixture = Mixture(_with(before, counts), *(weights[1:] if weights is not None else ()))
        else:
            fits = [
                (*fit_mixture(learner.network, _with(before, counts, times), held_out), times)
                for times in _times(before, counts)
            ]
            mixture, state.history.estimate, times = min(fits, key=operator.itemgetter(1))
            rest = count(held_out, counts.order, _MOST).weighted(times)
            mixture = mixture._replace(counts=mixture.counts.merged(rest))
    learner.network.mix(mixture.table())
    return replace(state, mixture=mixture)


def _times(before: Mixture | None, counts: Counts) -> set[int]:
    """Return how much new counts may weigh beside those before: as much together, at most."""
    return {1} if before is None else {1, max(1, min(len(before.counts) // len(counts), _HEAVIEST))}


def _with(before: Mixture | None, counts: Counts, times: int = 1) -> Counts:
    """Return counts with those before."""
    return counts if before is None else before.counts.merged(counts.weighted(times))


class _Fit(NamedTuple):
    """Weights of a mixture, their loss per target, and what to minimize with its derivatives."""

    weights: Any
    nll: float
    total: float  # the loss of all targets, and that of the prior
    gradient: Any
    hessian: Any


def fit_mixture(network: Network, counts: Counts, stream: Stream) -> tuple[Mixture, float]:
    """Return the best mixture for text that neither network nor counts have seen, and its loss.

    The loss is convex in the two weights: Newton's method, with a prior that counts as much as
    _PRIOR targets of unit curvature, finds its minimum between the limits. Sums run in a fixed
    order. The network is left as it was: without counts.
    """
    levels, of_text = counts.estimate(), isinstance(stream, TextStream)
    limits = _LIMITS_OF_TEXT if of_text else _LIMITS

    def measure(weights: Any) -> _Fit:
        network.mix(NgramTable(counts.vocab_size, levels, *weights.tolist()))
        loss, targets, gradient, hessian = _statistics(network, stream)
        off = weights - _PRIOR_WEIGHTS
        total = loss + 0.5 * _PRIOR * float(off[0] * off[0] + off[1] * off[1])
        gradient, hessian = gradient + _PRIOR * off, hessian + _PRIOR * np.eye(2)
        return _Fit(weights, loss / max(1, targets), total, gradient, hessian)

    try:
        best = measure(np.array(_PRIOR_WEIGHTS))
        step = _newton_step(best, limits)
        for _ in range(_MEASURED):
            weights = np.clip(best.weights - step, *limits)
            if np.abs(weights - best.weights).max() < _CLOSE:
                break
            found = measure(weights)
            if found.total < best.total:
                best = found
                step = _newton_step(best, limits)
            else:
                step /= 4  # too far: where the loss bends less, Newton's step is too long
    finally:
        network.mix(None)
    return Mixture(counts, *best.weights.tolist()), best.nll


def _newton_step(fit: _Fit, limits: tuple[Any, Any]) -> Any:
    """Return what to subtract from the weights, whose change stops at the limits."""
    (a, b), (_, d) = fit.hessian
    g, (least, most) = fit.gradient.copy(), limits
    at_limit = np.where(g < 0, fit.weights >= most, fit.weights <= least)
    if at_limit.any():  # the other one moves alone
        g[at_limit], b = 0.0, 0.0
    return np.array([d * g[0] - b * g[1], a * g[1] - b * g[0]]) / (a * d - b * b)


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


def _statistics(network: Network, stream: Stream) -> tuple[float, int, Any, Any]:
    """Return the loss of all targets, how many they are, and its derivatives by the weights."""
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
    return loss, targets, gradient, hessian
