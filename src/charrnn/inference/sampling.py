"""How text is drawn: the options of `CharRNN.generate`, checked, and what drives the compiled sampler with them."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, NamedTuple, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from ..data.vocabulary import AnyText, OnUnknown, Vocabulary
from ..network import Network, Real
from ..network._types import LOOK_BACK, Workspace
from ..network.config import defaults
from ..util.errors import check_integer, check_number, check_sequence
from ..util.seeding import make_random, random_seed

_STREAMS = 64  # texts that are written together; more is no faster
_PIECE = 64  # characters drawn between two looks for stop texts
_FILLED = 1 << 10  # states of beams set at a time: Ctrl-C waits for no more
# Floating-point operations, and characters, of what a stream draws ahead: half a millisecond, beside which calling C costs little.
_BURST, _LARGEST_BURST = 10_000_000, 1024


class Controls(TypedDict, total=False):
    """The options of `CharRNN.generate` but length, prime and seed."""

    temperature: Annotated[float, 1.0]
    top_k: Annotated[int | None, None]
    top_p: Annotated[float | None, None]
    min_p: Annotated[float | None, None]
    no_repeat: Annotated[int | None, None]
    allowed: Annotated[str | bytes | None, None]
    forbidden: Annotated[str | bytes | None, None]
    min_length: Annotated[int, 0]
    stop: Annotated[str | bytes | Sequence[str | bytes] | None, None]
    on_unknown: Annotated[OnUnknown, "error"]


_DEFAULTS = defaults(Controls)


class Sampling(NamedTuple):
    """Checked options: `allowed` (V,) of int8 says which symbols may be drawn, `endless` without the end of a record; see `generate`."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    no_repeat: int
    allowed: NDArray[np.int8]
    endless: NDArray[np.int8]
    min_length: int
    stop: tuple[AnyText, ...]

    @classmethod
    def check(cls, vocabulary: Vocabulary, **controls: Unpack[Controls]) -> "Sampling":
        """Return the options if they are valid for vocabulary, or raise TypeError or ValueError that names the wrong one."""
        given: Any = {**_DEFAULTS, **controls}
        stop, top_k, top_p, min_p, no_repeat = (
            given[name] for name in ("stop", "top_k", "top_p", "min_p", "no_repeat")
        )
        stop = (
            ()
            if stop is None
            else (stop,)
            if isinstance(stop, (str, bytes))
            else tuple(check_sequence("stop", stop, ordered=False))
        )
        stop = tuple(vocabulary.check("stop", text) for text in stop)
        if not all(stop):
            raise ValueError("stop must not have an empty text")
        mask = _check_allowed(vocabulary, given["allowed"], given["forbidden"])
        return cls(
            temperature=check_number("temperature", given["temperature"], minimum=0),
            top_k=vocabulary.symbols
            if top_k is None
            else min(check_integer("top_k", top_k, 1), vocabulary.symbols),
            top_p=1.0 if top_p is None else check_number("top_p", top_p, above=0, maximum=1),
            min_p=0.0 if min_p is None else check_number("min_p", min_p, minimum=0, maximum=1),
            no_repeat=0
            if no_repeat is None
            else check_integer("no_repeat", no_repeat, 1, LOOK_BACK),
            allowed=mask,
            endless=np.where(np.arange(vocabulary.symbols) < len(vocabulary), mask, np.int8(0)),
            min_length=check_integer("min_length", given["min_length"], 0),
            stop=stop,
        )

    @property
    def held(self) -> int:
        """How many characters at the end of a text may be the beginning of a stop text."""
        return max(map(len, self.stop), default=1) - 1

    def cut(self, text: AnyText, start: int) -> tuple[AnyText, bool]:
        """Return text up to the stop text that is complete first (the longest of those) from place start on, and whether there is one."""
        ends = [
            (place + len(word), place)
            for word in self.stop
            if (place := text.find(word, start)) >= 0
        ]
        return (text[: min(ends)[1]], True) if ends else (text, False)


def _check_allowed(
    vocabulary: Vocabulary, allowed: str | bytes | None, forbidden: str | bytes | None
) -> NDArray[np.int8]:
    """Return which symbols the options allow, (V,) of int8; the end of a record is always among them."""
    mask = np.ones(vocabulary.symbols, np.int8)
    if allowed is not None:
        mask[: len(vocabulary)] = 0
        mask[vocabulary.encode(allowed, name="allowed", on_unknown="skip")] = 1
    if forbidden is not None:
        mask[vocabulary.encode(forbidden, name="forbidden", on_unknown="skip")] = 0
    if not mask[: len(vocabulary)].any():
        raise ValueError("allowed and forbidden leave no character of the model")
    return mask


class Prime:
    """The ids that all texts begin with, and the state (width,) that they lead to from zero."""

    def __init__(
        self,
        network: Network,
        vocabulary: Vocabulary,
        text: str | bytes,
        name: str = "prime",
        on_unknown: OnUnknown = "error",
    ) -> None:
        ids = vocabulary.encode(text, name=name, on_unknown=on_unknown)
        self.ids: NDArray[np.int32] = ids[:, None]
        read = np.insert(ids, 0, len(vocabulary)) if vocabulary.records else ids
        work = network.workspace(1, 1)
        network.feed(work, read[:, None])
        self.state: Real = work.state[0]


class Writer:
    """Streams that write texts side by side, one for each generator state in random."""

    def __init__(
        self,
        network: Network,
        vocabulary: Vocabulary,
        sampling: Sampling,
        prime: Prime,
        random: NDArray[np.uint64],
    ) -> None:
        self.network: Network = network
        self.vocabulary: Vocabulary = vocabulary
        self.sampling: Sampling = sampling
        self.random: NDArray[np.uint64] = random
        self.work: Workspace = network.workspace(1, len(random))
        self.work.state[...] = prime.state
        past = prime.ids[-LOOK_BACK:]
        self.past: NDArray[np.int32] | None = (
            np.repeat(past, len(random), axis=1) if sampling.no_repeat else None
        )
        self.written: int = 0
        self.texts: list[AnyText] = [vocabulary.empty] * len(random)
        self.done: list[bool] = [False] * len(random)

    def write(self, n: int) -> None:
        """Write up to n characters more in each stream that is not done: into texts, and done where a text ends there."""
        before = self.written
        for i, ids in enumerate(self._draw(n).T):
            if self.done[i]:
                continue
            record, old = _record(self.vocabulary, ids), self.texts[i]
            taken = before - len(old)  # characters of this text that `take` has taken
            start = max(0, self.sampling.min_length - taken, len(old) - self.sampling.held)
            self.texts[i], stopped = self.sampling.cut(old + self.vocabulary.decode(record), start)
            self.done[i] = stopped or len(record) < len(ids)

    def take(self, kept: int) -> AnyText:
        """Return the text of stream 0 but for the last characters, which are kept."""
        text = self.texts[0]
        ready = max(0, len(text) - kept)
        self.texts[0] = text[ready:]
        return text[:ready]

    def _draw(self, n: int) -> NDArray[np.int32]:
        """Return the next n ids in each stream, (n, B)."""
        early = (
            min(n, max(0, self.sampling.min_length - self.written))
            if self.vocabulary.records
            else 0
        )
        self.written += n
        if not early:
            return self._draw_among(self.sampling.allowed, n)
        return np.concatenate(
            [
                self._draw_among(self.sampling.endless, early),
                self._draw_among(self.sampling.allowed, n - early),
            ]
        )

    def _draw_among(self, allowed: NDArray[np.int8], n: int) -> NDArray[np.int32]:
        controls = {
            name: getattr(self.sampling, name)
            for name in ("temperature", "top_k", "top_p", "min_p", "no_repeat")
        }
        ids = self.network.draw(
            self.work, n, self.random, allowed=allowed, past=self.past, **controls
        )
        if self.past is not None:
            self.past = np.concatenate([self.past, ids])[-LOOK_BACK:]
        return ids


def texts(
    network: Network,
    vocabulary: Vocabulary,
    sampling: Sampling,
    prime: Prime,
    length: int,
    seed: int | None,
    count: int,
    at_once: int,
) -> Iterator[tuple[AnyText, bool]]:
    """Yield the texts number 0 to count - 1 of a seed, of at most length characters each, at most at_once written side by side.

    With each comes whether it has ended by itself, not by its length.
    """
    seed = random_seed() if seed is None else seed  # one for all
    may_end = vocabulary.records or sampling.stop
    at_once = min(_STREAMS, max(1, at_once))
    for first in range(0, count, at_once):
        writer = Writer(
            network,
            vocabulary,
            sampling,
            prime,
            make_random(seed, min(at_once, count - first), first),
        )
        while writer.written < length and not all(writer.done):
            writer.write(
                min(max(_PIECE, writer.written) if may_end else length, length - writer.written)
            )
        yield from zip(writer.texts, writer.done, strict=True)


def stream(writer: Writer, length: float) -> Iterator[AnyText]:
    """Yield the characters of the text of a writer of one stream one by one, as soon as they are known to be part of it."""
    at_once = max(1, min(_LARGEST_BURST, _BURST // writer.network.description.operations))
    while not writer.done[0] and writer.written < length:
        writer.write(int(min(at_once, length - writer.written)))
        ready = writer.take(
            0 if any(writer.done) or writer.written == length else writer.sampling.held
        )
        for place in range(len(ready)):
            yield ready[place : place + 1]


def beam_search(
    network: Network,
    vocabulary: Vocabulary,
    sampling: Sampling,
    prime: Prime,
    length: int,
    width: int,
) -> list[tuple[AnyText, float]]:
    """Return at most width texts of length characters, or records of fewer, and their log-probabilities in nats, the best first."""
    boundary = len(vocabulary) if vocabulary.records else -1
    work = network.workspace(2, width)
    for first in range(0, width, _FILLED):
        work.state[first : first + _FILLED] = prime.state
    scores, ended = np.full(width, -np.inf), np.zeros(width, np.int8)
    scores[0] = 0
    *early, scores, ended = network.search(
        work, sampling.min_length, scores, ended, sampling.endless, boundary
    )
    *later, scores, ended = network.search(
        work, length - sampling.min_length, scores, ended, sampling.allowed, boundary
    )
    ids, parents = (np.concatenate(both) for both in zip(early, later, strict=True))
    paths, place = np.empty_like(ids), np.arange(width)
    for t in range(length - 1, -1, -1):
        paths[t], place = ids[t, place], parents[t, place]
    return [
        (vocabulary.decode(_record(vocabulary, path)), float(score))
        for path, score in zip(paths.T, scores, strict=True)
        if score > -np.inf
    ]


def _record(vocabulary: Vocabulary, ids: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return ids up to the first boundary of records."""
    ends = np.flatnonzero(ids == len(vocabulary))
    return ids[: ends[0]] if len(ends) else ids
