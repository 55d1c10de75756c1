"""How text is drawn: the controls of `CharRNN.generate`, and what drives the compiled sampler."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Annotated, Any, Generic, Literal, NamedTuple, Self, TypedDict, Unpack, get_args

import numpy as np
from numpy.typing import NDArray

from ..data.record_index import RecordIndex
from ..data.vocabulary import AnyText, OnUnknown, TextT, Vocabulary
from ..network import Network, Real
from ..network._types import LOOK_BACK, Workspace
from ..network.config import DrawControls
from ..util.errors import check_choice, check_sequence, to_builtin
from ..util.options import Flag, Option, table
from ..util.seeding import make_random, random_seed

_STREAMS = 64  # texts that are written together; more is no faster
_CHARACTERS = 64  # drawn before the first search for stop texts
_BEAMS = 1 << 10  # whose states are set at a time, so that Ctrl-C need not wait
_NO_IDS, _ON_UNKNOWN = np.empty((0, 1), np.int32), get_args(OnUnknown)
# A stream draws ahead at most so many floating-point operations and characters: it takes half a
# millisecond, next to which a call into C costs little.
_OPERATIONS_AHEAD, _CHARACTERS_AHEAD = 10_000_000, 1024


class SearchControls(TypedDict, Generic[TextT], total=False):
    """Options of `CharRNN.beam_search` and all other functions that write text."""

    prime: Annotated[
        TextT | Literal[""],
        Option(""),
        Flag(
            "text to continue; - reads it from standard input, without a final line feed",
            metavar="TEXT",
        ),
    ]
    allowed: Annotated[
        TextT | None, Option(None), Flag("draw only these characters", metavar="CHARS")
    ]
    forbidden: Annotated[
        TextT | None, Option(None), Flag("never draw these characters", metavar="CHARS")
    ]
    min_length: Annotated[
        int | None,
        Option(None, minimum=0),
        Flag(
            "do not end before N characters (default: 0, or 1 if no record of the training was "
            "empty)",
            metavar="N",
        ),
    ]
    on_unknown: Annotated[
        OnUnknown,
        Option("error"),
        Flag("what to do about characters of the prime that the model does not know"),
    ]


class Controls(DrawControls, SearchControls[TextT], total=False):
    """Options of `CharRNN.generate`."""

    seed: Annotated[
        int | None,
        Option(None, minimum=0, maximum=2**64 - 1),
        Flag("random seed: the same seed writes the same text", metavar="N"),
    ]
    stop: Annotated[
        TextT | Sequence[TextT] | None,
        Option(None),
        Flag("end before this text; may be repeated", metavar="TEXT"),
    ]


class BatchControls(Controls[TextT], total=False):
    """Options of `CharRNN.generate_many`."""

    unique: Annotated[bool, Option(False), Flag("leave out texts that were written before")]
    novel: Annotated[
        bool,
        Option(False),
        Flag("leave out records that the model was trained on (train --remember)"),
    ]
    whole: Annotated[bool, Option(False), Flag("leave out texts that are cut off at --length")]


class Sampling(NamedTuple):
    """Checked controls: options of `Network.draw`, which symbols it may draw, where a text ends.

    `allowed` (V,) of int8 marks the symbols, `endless` those but the end of a record.
    """

    drawing: dict[str, Any]
    allowed: NDArray[np.int8]
    endless: NDArray[np.int8]
    min_length: int
    stop: tuple[AnyText, ...]

    @classmethod
    def from_options(cls, vocabulary: Vocabulary, **controls: Unpack[Controls[AnyText]]) -> Self:
        """Return checked controls, or raise TypeError or ValueError that names the wrong one."""
        options = table(BatchControls)
        checked = {name: options[name].check(value) for name, value in controls.items()}
        values = {name: value for name, value in checked.items() if value is not None}
        allowed = _check_allowed(vocabulary, values.get("allowed"), values.get("forbidden"))
        endless = allowed
        if vocabulary.records:
            endless = allowed.copy()
            endless[len(vocabulary) :] = 0
        stop = _check_stop(vocabulary, values.get("stop"))
        drawing = {name: values[name] for name in table(DrawControls) if name in values}
        return cls(drawing, allowed, endless, values.get("min_length", 0), stop)

    def with_rare(self, vocabulary: Vocabulary) -> Self:
        """Return the same controls, but that rare characters are drawn, too."""
        allowed, endless = self.allowed.copy(), self.endless.copy()
        allowed[vocabulary.rare_id] = endless[vocabulary.rare_id] = 1
        return self._replace(allowed=allowed, endless=endless)

    @property
    def longest_partial_stop(self) -> int:
        """How many characters at the end of a text may be the beginning of a stop text."""
        return max(map(len, self.stop)) - 1 if self.stop else 0

    def cut(self, text: AnyText, start: int) -> tuple[AnyText, bool]:
        """Return text up to a stop text from place start on, and whether there is one.

        It is the stop text that is complete first; of several, the longest.
        """
        if not self.stop:
            return text, False
        ends = [
            (place + len(word), place)
            for word in self.stop
            if (place := text.find(word, start)) >= 0
        ]
        return (text[: min(ends)[1]], True) if ends else (text, False)


def _check_stop(vocabulary: Vocabulary, stop: Any) -> tuple[AnyText, ...]:
    """Return the stop texts."""
    if stop is None:
        return ()
    texts = (
        [stop] if isinstance(stop, (str, bytes)) else check_sequence("stop", stop, ordered=False)
    )
    stops: tuple[AnyText, ...] = tuple(vocabulary.check("stop", text) for text in texts)
    if not all(stops):
        raise ValueError("stop must not have an empty text")
    return stops


def _check_allowed(
    vocabulary: Vocabulary, allowed: str | bytes | None, forbidden: str | bytes | None
) -> NDArray[np.int8]:
    """Return which symbols may be drawn, (V,) of int8.

    The end of a record always may, and what rare characters share never.
    """
    if allowed is None and forbidden is None and not vocabulary.rare:
        return _all_symbols(vocabulary.symbols)
    mask = np.ones(vocabulary.symbols, np.int8)
    if allowed is not None:
        mask[: len(vocabulary)] = 0
        mask[vocabulary.encode(allowed, name="allowed", on_unknown="skip")] = 1
    if forbidden is not None:
        mask[vocabulary.encode(forbidden, name="forbidden", on_unknown="skip")] = 0
    if vocabulary.rare:
        mask[vocabulary.rare_id] = 0
    if not mask[: len(vocabulary)].any():
        raise ValueError("allowed and forbidden leave no character of the model")
    return mask


@lru_cache(maxsize=8)
def _all_symbols(symbols: int) -> NDArray[np.int8]:
    mask = np.ones(symbols, np.int8)
    mask.flags.writeable = False
    return mask


def inputs(
    vocabulary: Vocabulary, text: str | bytes, name: str, on_unknown: OnUnknown
) -> NDArray[np.int32]:
    """Return what a network reads of text, (n, 1): of a model of records, a boundary comes first.

    An error calls the text name. "" is the empty text of any model.
    """
    ids = _NO_IDS
    if isinstance(text, str) and to_builtin(text) == "":
        check_choice("on_unknown", on_unknown, _ON_UNKNOWN)
    else:
        ids = vocabulary.encode(text, name=name, on_unknown=on_unknown)[:, None]
    if not vocabulary.records:
        return ids
    return np.concatenate([np.full((1, 1), len(vocabulary), np.int32), ids])


class PrimedState(NamedTuple):
    """A network that has read a text: its ids (n, 1), and the state (width,) after them.

    state is None before anything is read: zero.
    """

    network: Network
    vocabulary: Vocabulary
    ids: NDArray[np.int32]
    state: Real | None

    @classmethod
    def from_text(
        cls,
        network: Network,
        vocabulary: Vocabulary,
        text: str | bytes,
        name: str = "prime",
        on_unknown: OnUnknown = "error",
    ) -> Self:
        """Have a network read text from the zero state; an error calls the text name."""
        read, state = inputs(vocabulary, text, name, on_unknown), None
        if len(read):
            work = network.lend(1, 1)
            network.feed(work, read)
            state = work.state[0].copy()
            network.give_back(work)
        return cls(network, vocabulary, read[int(vocabulary.records) :], state)

    def workspace(self, T: int, B: int) -> Workspace:
        """Return a workspace whose B streams are in this state: the network lends it."""
        work = self.network.lend(T, B)
        if self.state is not None:
            for first in range(0, B, _BEAMS):
                work.state[first : first + _BEAMS] = self.state
        return work


class Writer:
    """Streams that write texts side by side, one for each generator state of random (B,)."""

    def __init__(self, start: PrimedState, sampling: Sampling, random: NDArray[np.uint64]) -> None:
        self.start: PrimedState = start
        self.sampling: Sampling = sampling
        self.random: NDArray[np.uint64] = random
        self.work: Workspace = start.workspace(1, len(random))
        self.past: NDArray[np.int32] | None = None
        if "no_repeat" in sampling.drawing:
            self.past = np.repeat(start.ids[-LOOK_BACK:], len(random), axis=1)
        self.written: int = 0
        self.texts: list[AnyText] = [start.vocabulary.empty] * len(random)
        self.done: list[bool] = [False] * len(random)

    def write(self, n: int) -> None:
        """Add up to n characters to each text that is not done, and note which are done then."""
        before, vocabulary, sampling = self.written, self.start.vocabulary, self.sampling
        for i, ids in enumerate(self.draw(n).T):
            if self.done[i]:
                continue
            record, old = _record(vocabulary, ids), self.texts[i]
            taken = before - len(old)  # characters of this text that `take` has taken
            first = max(0, sampling.min_length - taken, len(old) - sampling.longest_partial_stop)
            self.texts[i], stopped = sampling.cut(old + vocabulary.decode(record), first)
            self.done[i] = stopped or len(record) < len(ids)

    def take(self, kept: int) -> AnyText:
        """Remove and return the text of stream 0 except its last characters, which are kept."""
        text = self.texts[0]
        ready = max(0, len(text) - kept)
        self.texts[0] = text[ready:]
        return text[:ready]

    def draw(self, n: int) -> NDArray[np.int32]:
        """Return the next n > 0 ids of each stream, (n, B)."""
        early = max(0, self.sampling.min_length - self.written) * self.start.vocabulary.records
        early = min(n, early)
        self.written += n
        if not early:
            return self._draw_among(self.sampling.allowed, n)
        first = self._draw_among(self.sampling.endless, early)
        if early == n:
            return first
        return np.concatenate([first, self._draw_among(self.sampling.allowed, n - early)])

    def _draw_among(self, allowed: NDArray[np.int8], n: int) -> NDArray[np.int32]:
        ids = self.start.network.draw(
            self.work, n, self.random, allowed=allowed, past=self.past, **self.sampling.drawing
        )
        if self.past is not None:
            self.past = np.concatenate([self.past, ids])[-LOOK_BACK:]
        return ids


def texts(
    start: PrimedState,
    sampling: Sampling,
    length: int,
    seed: int | None,
    count: int,
    at_once: int = 1,
    look_ahead: int = 0,
) -> Iterator[tuple[AnyText, bool]]:
    """Yield texts number 0 to count - 1 of a seed, and whether each is whole.

    At most at_once texts of at most length characters are written side by side. An end is looked
    for among look_ahead symbols after that.
    """
    seed = random_seed() if seed is None else seed  # the same for all
    may_end = start.vocabulary.records or sampling.stop
    at_once = min(_STREAMS, max(1, at_once))
    for first in range(0, count, at_once):
        writer = Writer(start, sampling, make_random(seed, min(at_once, count - first), first))
        while writer.written < length + look_ahead and not all(writer.done):
            most = max(_CHARACTERS, writer.written) if may_end else length
            writer.write(min(most, length + look_ahead - writer.written))
        start.network.give_back(writer.work)
        for text, done in zip(writer.texts, writer.done, strict=True):
            yield text[:length], done and len(text) <= length


def chosen_texts(
    start: PrimedState,
    sampling: Sampling,
    length: int,
    seed: int | None,
    count: int,
    unique: bool,
    whole: bool,
    index: RecordIndex | None,
    prime: AnyText = "",
) -> Iterator[AnyText]:
    """Yield up to count texts of a seed: if unique different ones, if whole those that ended.

    Those in the index are left out. It gives up after a hundred times as many.
    """
    tries, differ = count, unique or index is not None  # at temperature 0 all texts are the same
    if sampling.drawing.get("temperature", 1) and (differ or whole):
        tries = 100 * count + 1000 if count else 0
    elif differ:
        tries = min(count, 1)
    # Half a record is neither new nor one of a kind.
    whole = whole or (start.vocabulary.records and differ)
    primed = prime or start.vocabulary.empty
    if start.vocabulary.rare:  # ids don't tell which of the rare ones a character is
        primed = "".join(char for char in primed if char in start.vocabulary)
    else:
        primed = start.vocabulary.decode(start.ids[:, 0])
    seen: set[AnyText] = set()
    look_ahead = max(start.vocabulary.records, *map(len, sampling.stop), 0) if whole else 0
    for text, ended in texts(start, sampling, length, seed, tries, count, look_ahead):
        if (
            (whole and not ended)
            or (unique and text in seen)
            or (index is not None and primed + text in index)
        ):
            continue
        if unique:
            seen.add(text)
        yield text
        count -= 1
        if not count:
            return


def stream(writer: Writer, length: float) -> Iterator[AnyText]:
    """Yield the characters of a writer of one text as soon as no stop text can take them back."""
    ahead = _OPERATIONS_AHEAD // writer.start.network.description.operations
    ahead = max(1, min(_CHARACTERS_AHEAD, ahead))
    while not writer.done[0] and writer.written < length:
        writer.write(int(min(ahead, length - writer.written)))
        ended = any(writer.done) or writer.written == length
        ready = writer.take(0 if ended else writer.sampling.longest_partial_stop)
        for place in range(len(ready)):
            yield ready[place : place + 1]


def _record(vocabulary: Vocabulary, ids: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return ids up to the first boundary of records."""
    if not vocabulary.records:
        return ids
    ends = np.flatnonzero(ids == len(vocabulary))
    return ids[: ends[0]] if len(ends) else ids
