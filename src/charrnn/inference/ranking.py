"""How many guesses it takes to reach a string, from the most probable one down.

The most probable strings are enumerated, which gives the exact number for these. A string beyond
them gets an estimate: of n strings drawn from the model, each that is drawn with probability q
stands for 1 / (n q) strings. Dell'Amico and Filippone (2015), "Monte Carlo strength evaluation:
fast and reliable password checking".
"""

import math
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ..data.vocabulary import AnyText
from . import scoring
from .sampling import PrimedState, Sampling, texts
from .scoring import Encoded
from .search import Search

_EXACT, _FOLLOWED = 1 << 15, 1 << 18  # strings to enumerate, and most beginnings to follow then
_SAMPLES, _AT_ONCE = 20_000, 64
_CHARACTERS = 1 << 19  # of all samples: a model that hardly ends its strings draws fewer
_LONGEST = 1000  # characters of a string
_MOST_NATS = 345.0  # more than 1e149 guesses are not told apart: their squares are numbers
_SIGMAS = 1.96  # of an interval that has the right number in 95 of 100 cases
_UNSEEN = 3.0  # samples that may be missing of what none of them is, in as many


class Ranks(NamedTuple):
    """Guesses up to and including each string, float64 (n,), and bounds of 95 % intervals."""

    guesses: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


class RankTable(NamedTuple):
    """What ranks are looked up in, by log-probabilities.

    samples: how many strings were drawn. exact: infinity, then the log-probabilities of the most
    probable strings, falling. beyond: those of samples that are less probable, falling. sums
    (samples + 1,): of the strings that the first samples stand for; and squares: of the squares of
    that.
    """

    start: PrimedState
    shortest: int
    samples: int
    exact: NDArray[np.float64]
    beyond: NDArray[np.float64]
    sums: NDArray[np.float64]
    squares: NDArray[np.float64]

    @classmethod
    def build(cls, start: PrimedState, sampling: Sampling, seed: int) -> Self:
        """Enumerate and draw strings, which may be empty if sampling allows that."""
        exact, shortest, empty = _enumerated(start, sampling), sampling.min_length, 0.0
        drawn, characters = [], 0
        if start.vocabulary.rare:  # otherwise the others are drawn more often than the model says
            sampling = sampling.with_rare(start.vocabulary)
        for one in texts(start, sampling, _LONGEST, seed, _SAMPLES, _AT_ONCE, look_ahead=1):
            drawn.append(one)
            characters += len(one[0])
            if characters > _CHARACTERS:
                break
        log_p = _log_probs(start, [text for text, whole in drawn if whole])
        if shortest:  # then the others are drawn more often than the model says
            end = [len(start.vocabulary)]
            empty = math.exp(-start.network.next_nll(start.workspace(1, 1), end)[0])
        beyond = -np.sort(-log_p[(log_p < exact[-1]) & (log_p > -math.inf)])
        each = (1 - empty) * np.exp(np.minimum(-beyond, _MOST_NATS)) / len(drawn)
        sums, squares = np.cumsum(each), np.cumsum(each**2)
        sums, squares = np.append(0, sums), np.append(0, squares)
        return cls(start, shortest, len(drawn), exact, beyond, sums, squares)

    @np.errstate(over="ignore")  # of a string that is next to impossible
    def ranks(self, strings: list[AnyText]) -> Ranks:
        """Return the ranks of strings."""
        log_p = _log_probs(self.start, strings)
        log_p[[len(string) < self.shortest for string in strings]] = -math.inf
        before, more, spread = self.estimates(log_p)
        low, guesses = before + np.maximum(more - spread, 0), before + more
        # No more than 1 / p strings have a probability of p or more.
        most = np.exp(-log_p)
        high = np.minimum(
            guesses + spread + _UNSEEN / self.samples * most, np.maximum(guesses, most)
        )
        high = np.where(log_p >= self.exact[-1], guesses, high)
        for numbers in (guesses, low, high):
            numbers[log_p == -math.inf] = math.inf
        return Ranks(guesses, low, high)

    def estimates(self, log_p: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """Return how many strings are as probable: those enumerated, others, and their error."""
        # The infinity among the exact ones stands for the string itself.
        before = np.searchsorted(-self.exact, -log_p, "left").astype(np.float64)
        place = np.searchsorted(-self.beyond, -log_p, "left")
        more, squares = self.sums[place], self.squares[place]
        return before, more, _SIGMAS * np.sqrt(np.maximum(squares - more**2 / self.samples, 0))


def _enumerated(start: PrimedState, sampling: Sampling) -> NDArray[np.float64]:
    """Return infinity, and the log-probabilities of the most probable strings."""
    found, followed = [np.array([math.inf])], 0
    for band in Search(start, sampling, _LONGEST).bands(_EXACT, -math.inf):
        found += band.scores
        followed += band.followed
        if followed > _FOLLOWED:
            break
    return np.concatenate(found)


def _log_probs(start: PrimedState, strings: list[AnyText]) -> NDArray[np.float64]:
    """Return the log-probability of each string, minus infinity if the model cannot write it."""
    encoded = Encoded.from_texts(start.vocabulary, strings, "strings[{}]", "skip")
    log_p = -np.array(scoring.known_nll(start, encoded))
    log_p[np.array(encoded.unknown) > 0] = -math.inf
    rare = np.append(0, np.cumsum(encoded.ids == start.vocabulary.rare_id))
    ends = np.cumsum([0, *map(len, strings)])
    log_p[np.diff(rare[ends]) > 0] = -math.inf
    return log_p
