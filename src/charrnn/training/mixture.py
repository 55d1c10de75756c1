"""Counts of the text that a network was trained on, and how much to trust them beside it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..data.batches import Stream
from ..data.dataset import Records, Text
from ..network import Network, dispatch
from ..network._types import NgramTable
from ..network.counts import Counts, Mixture
from ..storage.model_file import ModelState

_FEWEST, _MOST = 1 << 12, 1 << 22  # n-grams, whatever the text's length
_PRIOR_WEIGHTS = (0.5, 0.5)  # of network and counts, where there is nothing to fit them on
_PRIOR, _NEWTON_STEPS = 30.0, 12


def add_counts(state: ModelState, source: Text | Records, options: Mapping[str, Any]) -> ModelState:
    """Return a trained state whose network is mixed with counts of its text, if options say so.

    A mixture that the state has already is of text before this: counts are added up.
    """
    before, order, vocabulary = state.mixture, options["ngram"], state.vocabulary
    if order is None:
        order = before.counts.order if before is not None else 0
    if order == 0:
        return replace(state, mixture=None)
    learner, boundary = state.learner, len(vocabulary) if vocabulary.records else None
    streams = source.streams(learner, options["validation_fraction"], options["seed"])
    counts, held_out = (
        None
        if stream is None
        else Counts.from_ids(
            stream.sequences(),
            vocabulary.symbols,
            order,
            boundary=boundary,
            most=_most(stream.targets, vocabulary.symbols),
            min_count=options["min_count"],
        )
        for stream in streams
    )
    assert counts is not None
    if before is not None:
        counts = before.counts.merged(counts)
    mixture = before._replace(counts=counts) if before is not None else Mixture(counts)
    if held_out is not None and streams[1] is not None:
        fitted = fit_mixture(learner.network, counts, streams[1])
        mixture = fitted._replace(counts=counts.merged(held_out))
    learner.network.mix(mixture.table())
    return replace(state, mixture=mixture)


def _most(targets: int, symbols: int) -> int:
    """Return how many n-grams a text of so many symbols may have: some 4 bytes each symbol."""
    wanted = targets * 3 // 2 if symbols < 256 else targets
    return min(max(_FEWEST, wanted), _MOST)


def fit_mixture(network: Network, counts: Counts, stream: Stream) -> Mixture:
    """Return the mixture with the lowest loss on text that neither network nor counts have seen.

    The loss is convex in the two weights: Newton's method, with a prior that counts as much as
    _PRIOR targets of unit curvature, finds its minimum. Sums run in a fixed order.
    """
    weights, levels = np.array(_PRIOR_WEIGHTS), counts.estimate()
    for _ in range(_NEWTON_STEPS):
        network.mix(NgramTable(counts.vocab_size, levels, *weights.tolist()))
        _, gradient, hessian = _statistics(network, stream)
        gradient += _PRIOR * (weights - _PRIOR_WEIGHTS)
        (a, b), (_, d) = hessian + _PRIOR * np.eye(2)
        step = np.array([d * gradient[0] - b * gradient[1], a * gradient[1] - b * gradient[0]])
        weights = np.clip(weights - step / (a * d - b * b), 0.0, 2.0)
    network.mix(NgramTable(counts.vocab_size, levels, *weights.tolist()))
    loss, _, _ = _statistics(network, stream)
    network_weight, counts_weight = weights.tolist()
    return Mixture(counts, network_weight, counts_weight, loss / stream.targets)


def _statistics(network: Network, stream: Stream) -> tuple[float, Any, Any]:
    """Return the loss of a stream, and its derivatives by the weights of the mixture."""
    T = network.rows(stream.batch_size, min(stream.seq_length, 256))
    work = network.workspace(T, stream.batch_size)
    loss, gradient, hessian = 0.0, np.zeros(2), np.zeros((2, 2))
    for window in range(stream.windows):
        if stream.resets(window):
            work.state[...] = 0
        one = dispatch.core.mixture(work, *stream.read(window, 1))
        loss, gradient, hessian = loss + one[0], gradient + one[1], hessian + one[2]
    return loss, gradient, hessian
