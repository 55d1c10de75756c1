"""The network on text: generate, score, look inside, train further, save."""

import contextlib
import copy
import functools
import math
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import (
    IO,
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    Protocol,
    Self,
    TypedDict,
    Unpack,
    overload,
)

import numpy as np
from numpy.typing import NDArray

from .data import dataset
from .data.record_index import RecordIndex
from .data.vocabulary import AnyText, OnUnknown, TextT, Vocabulary
from .history import History
from .inference import adapting, sampling, scoring, search
from .inference.adapting import LiveModel
from .inference.ranking import Ranks, RankTable
from .inference.sampling import BatchControls, Controls, PrimedState, SearchControls
from .network import Network, config
from .network.counts import Mixture
from .network.learner import Learner, is_vanilla
from .storage import hub
from .storage import model_file as persistence
from .storage.model_file import ModelState
from .training import fit as training
from .training.fit import over_mpi
from .training.loop import trains_alone
from .training.mixture import add_counts
from .training.recipe import described_further, plans_further, with_further_recipe
from .tutorial import RNN
from .util.atomic_write import Paths, StrPath
from .util.errors import (
    DivergedError,
    Hinting,
    TrainingInterrupted,
    check_flags,
    check_integer,
    check_number,
    check_sequence,
)
from .util.options import AsBefore, check_names, shows, table
from .util.progress import check_progress, counted, note
from .util.seeding import make_random

if TYPE_CHECKING:
    from . import browser
    from .trace import Trace

_LONGEST = 2**31 - 1  # characters of a text
_MOST_WRITTEN, _MOST_WRITTEN_RECORDS = 1 << 18, 1 << 14  # to rehearse
_RECORDS_WRITTEN = 4  # for each new one
_LONGEST_WRITTEN = 1 << 12  # characters: pieces of a text are written side by side
_AS_BEFORE = dict.fromkeys(("optimizer", *config.SAVED_SETTINGS), AsBefore())
_FIXED = {"alphabet", *table(config.FileOptions)} - {
    *table(config.FurtherFileOptions)
}  # once a model is trained
_INTERRUPTED = (
    "training was interrupted after step {}; the attribute `model` of this exception has what was "
    "learned. At a prompt or in a notebook: import sys; model = sys.last_value.model"
)


class Column(Protocol):
    """A Series of pandas or Polars, for type checkers."""

    def to_frame(self) -> Any:
        """Return it as a data frame."""


class ScoreOptions(TypedDict, Generic[TextT], total=False):
    """Options of `CharRNN.score` and `CharRNN.score_many`, for type checkers."""

    context: TextT | Literal[""]
    on_unknown: scoring.OnUnknown
    adapt: bool
    total: bool
    end: bool


class CharRNN(Hinting, Generic[TextT]):
    """A trained network with the vocabulary of its text.

    `train_text`, `train_file`, `train_records` and `load` return one. To type checkers it is a
    ``CharRNN[str]`` or, if trained on bytes, a ``CharRNN[bytes]``. Only its own train methods
    change it, so several threads may use one model. It can be pickled and copied.

    Parameters
    ----------
    learner : RNN
        The network and its training settings.
    vocabulary : Vocabulary
        As many characters as the network has symbols.
    history : History
        Reports of the latest training.
    index : RecordIndex, optional
        The training records, if the model remembers them.

    Notes
    -----
    A text starts from the zero state: p(text) = p(x_1 | nothing) p(x_2 | x_1) ..., where every
    factor is a softmax over the vocabulary. A model of records (`train_records`) reads a boundary
    symbol first and predicts it last: p(record) = p(x_1 | boundary) ... p(boundary | x_1 ... x_n).
    """

    __slots__ = ("__weakref__", "_ranks", "_state")
    _state: ModelState  # a call reads it once: another thread may train the model meanwhile
    # For a state, its steps, and a seed: building a table takes a second.
    _ranks: tuple[ModelState, tuple[int, int], RankTable] | None

    def __init__(
        self,
        learner: Learner,
        vocabulary: Vocabulary,
        history: History,
        index: RecordIndex | None = None,
    ) -> None:
        symbols = learner.network.description.vocab_size
        if symbols != vocabulary.symbols:
            raise ValueError(
                f"the network has vocab_size={symbols}, the vocabulary {vocabulary.symbols} symbols"
            )
        self._state = ModelState(learner, vocabulary, history, index, empty_records=True)
        self._ranks = None

    @classmethod
    def _from_state(cls, state: ModelState) -> Self:
        model = cls.__new__(cls)
        model._state, model._ranks = state, None
        return model

    @property
    def rnn(self) -> RNN:
        """The tutorial's network, if the model has one: a single layer of the vanilla cell."""
        learner = self._state.learner
        description = learner.network.description
        if not is_vanilla(description.layers):
            raise AttributeError(
                f"this model is {description}; its engine is the attribute network"
            )
        return RNN.view(learner)

    @property
    def network(self) -> Network:
        """The network, which reads and writes ids."""
        return self._state.learner.network

    @property
    def vocabulary(self) -> Vocabulary:
        """Characters and their ids."""
        return self._state.vocabulary

    @property
    def history(self) -> History:
        """Reports of the latest training."""
        return self._state.history

    @property
    def index(self) -> RecordIndex | None:
        """The records that it was trained on, if it remembers them."""
        return self._state.index

    @shows(Controls)
    def generate(self, length: int, **controls: Unpack[Controls[TextT]]) -> TextT:
        """Generate a text.

        Parameters
        ----------
        length : int
            Characters to generate, 0 or more.
        prime : str
            Text to continue; the result does not repeat it.
        seed : int, optional
            The same seed gives the same text. None takes one from the operating system.
        temperature : float, default 1.0
            Below 1 is safer, above 1 wilder; 0 always takes the most likely character.
        top_k : int, optional
            Draw among this many most likely characters only, at least 1.
        top_p : float, optional
            Draw among the most likely characters that together have this probability, above 0, at
            most 1 (after top_k).
        min_p : float, optional
            Draw among the characters that are at least this fraction, 0 to 1, as likely as the most
            likely one (after top_p).
        no_repeat : int, optional
            Don't repeat a run of this many characters within 4,096 characters, including the
            prime, unless no other character is left. About 20 prevents loops at low temperatures.
        allowed, forbidden : str, optional
            Draw only these characters, or never these. Unknown characters are ignored.
        min_length : int, optional
            Ignore stop texts, and do not end a record, before this many characters. By default 0,
            but 1 for a record without a prime if no record of the training was empty.
        stop : str or sequence of str, optional
            End before the first of these texts. Without it, the text has the full length.
        on_unknown : {"error", "skip"}
            Whether a character of prime that the model does not know raises an error or is skipped.

        Returns
        -------
        str (bytes, like all texts of the model, if it was trained on bytes)
            length characters, or fewer if a stop text or the end of a record came.

        Raises
        ------
        ValueError, TypeError
            If an option is out of range or the model does not know a character of prime. The
            message names it and its place.

        Examples
        --------
        >>> import charrnn
        >>> model = charrnn.train_text("abcabcabc" * 20, epochs=60, hidden_size=8, progress=False)
        >>> model.generate(6, prime="ab", temperature=0)
        'cabcab'
        >>> model.generate(6, prime="ab", temperature=0, stop="b")
        'ca'
        """
        start, checked, length = _prepare_generation(self._state, length, controls, Controls)
        ((text, _),) = sampling.texts(start, checked, length, controls.get("seed"), 1)
        generated: TextT = text
        return generated

    @shows(BatchControls)
    def generate_many(
        self, count: int, length: int, **controls: Unpack[BatchControls[TextT]]
    ) -> list[TextT]:
        """Generate texts as a batch, each as `generate` would.

        Parameters
        ----------
        count : int
            Texts to generate, 0 or more.
        length, prime, controls
            See `generate`.
        unique : bool
            Whether to skip texts that came before, and records that length cuts off.
        novel : bool
            Whether to skip records (including the prime) that the model was trained on, and
            records that length cuts off. The model must remember its records
            (``train_records(..., remember=True)``).
        whole : bool
            Whether to skip texts that length cuts off: those without an end of the record or a
            stop text within length characters.
        seed : int, optional
            Text number i depends on the seed and i only, not on count; `generate` returns number 0.

        Returns
        -------
        list of str
            Fewer than count, with a warning, if unique, novel or whole skip too many: the search
            ends after 100 count + 1000 texts.

        Examples
        --------
        >>> import charrnn
        >>> model = charrnn.train_text("abcabcabc" * 20, epochs=60, hidden_size=8, progress=False)
        >>> model.generate_many(2, 4, prime="c", temperature=0)
        ['abca', 'abca']
        """
        found = list(self._each(count, length, **controls))
        if len(found) < count:
            what = f"{len(found):,} of {count:,} texts: no others were found"
            warnings.warn(what, stacklevel=2)
        return found

    def _each(
        self, count: int, length: int, **controls: Unpack[BatchControls[TextT]]
    ) -> Iterator[TextT]:
        """Yield the texts of `generate_many` as they are generated."""
        count = check_integer("count", count, 0)
        state = self._state
        start, checked, length = _prepare_generation(state, length, controls, BatchControls)
        unique, novel = controls.get("unique", False), controls.get("novel", False)
        whole = controls.get("whole", False)
        if novel and state.index is None:
            how = "train it with remember=True"
            raise ValueError(f"novel=True needs a model that remembers its records: {how}")
        index = state.index if novel else None
        seed = controls.get("seed")
        prime = controls.get("prime", "")
        yield from sampling.chosen_texts(
            start, checked, length, seed, count, unique, whole, index, prime
        )

    @shows(Controls)
    def stream(
        self, length: int | None = None, **controls: Unpack[Controls[TextT]]
    ) -> Iterator[TextT]:
        """Return an iterator over the characters that `generate` would return.

        It is endless if length is None. It draws characters about half a millisecond ahead,
        without the GIL, so that other threads of a service can run.

        Examples
        --------
        >>> import charrnn
        >>> model = charrnn.train_text("abcabcabc" * 20, epochs=60, hidden_size=8, progress=False)
        >>> list(model.stream(3, prime="ab", temperature=0))
        ['c', 'a', 'b']
        """
        most = _LONGEST if length is None else length
        start, checked, most = _prepare_generation(self._state, most, controls, Controls)
        writer = sampling.Writer(start, checked, make_random(controls.get("seed")))
        return sampling.stream(writer, math.inf if length is None else most)

    @shows(SearchControls)
    def beam_search(
        self,
        length: int,
        *,
        n_best: int = 1,
        width: int | None = None,
        **controls: Unpack[SearchControls[TextT]],
    ) -> list[tuple[TextT, float]]:
        """Search for probable texts fast; `likeliest` finds the most probable ones for certain.

        Parameters
        ----------
        length : int
            Characters of a text, 0 or more; a record may be shorter.
        n_best : int
            Texts to return, at least 1.
        width : int, optional
            Beginnings to follow in parallel, at least n_best; by default n_best or 16, whichever
            is more. The search keeps the most probable beginnings of each length, so it misses
            texts that begin improbably. A wider search finds more probable texts.
        prime, allowed, forbidden, min_length, on_unknown
            See `generate`.

        Returns
        -------
        list of (str, float)
            The most probable texts that the search found, and their log-probabilities in nats, the
            most probable first. Records are complete, with at most length characters. There are
            fewer than n_best if the search found no more.

        Examples
        --------
        >>> import charrnn
        >>> names = ["anna", "hanna", "susanna"] * 20
        >>> model = charrnn.train_records(names, hidden_size=16, epochs=60, progress=False)
        >>> sorted(text for text, log_p in model.beam_search(20, n_best=3))
        ['anna', 'hanna', 'susanna']
        """
        n_best = check_integer("n_best", n_best, 1)
        width = max(n_best, 16) if width is None else check_integer("width", width, n_best)
        start, checked, length = _prepare_generation(self._state, length, controls, SearchControls)
        return search.beam_search(start, checked, length, width, n_best)

    @shows(SearchControls)
    def likeliest(
        self,
        n: int | None = None,
        *,
        max_length: int | None = None,
        threshold: float | None = None,
        **controls: Unpack[SearchControls[TextT]],
    ) -> Iterator[tuple[TextT, float]]:
        """Return an iterator over the most probable texts, in exactly this order.

        Parameters
        ----------
        n : int, optional
            How many, at least 0. By default the iterator goes on as long as you ask.
        max_length : int, optional
            The most characters of a record. A model of text needs it: the exact length.
        threshold : float, optional
            Log-probability in nats, at most 0, below which to end.
        prime, allowed, forbidden, min_length, on_unknown
            See `generate`.

        Returns
        -------
        iterator of (str, float)
            Texts and their log-probabilities in nats, the most probable first: the sum of
            `log_probs`, the end of a record included. Equally probable texts come in the order of
            their characters' ids.

        Raises
        ------
        ValueError
            While you iterate: if texts of more than 4,096 characters are among the most probable,
            and max_length doesn't exclude them.

        Notes
        -----
        A search takes as long as it takes to read all beginnings of texts that are more probable
        than the last text. Of records these are few; of long texts, more than any computer reads:
        `beam_search` finds some of those. Memory doesn't grow with the search.

        Examples
        --------
        >>> import charrnn
        >>> names = ["anna", "anna", "hanna", "susanna"] * 20
        >>> model = charrnn.train_records(names, hidden_size=16, epochs=60, progress=False)
        >>> texts = model.likeliest()
        >>> next(texts)[0]
        'anna'
        >>> sorted(text for text, log_p in model.likeliest(3))
        ['anna', 'hanna', 'susanna']
        """
        n = None if n is None else check_integer("n", n, 0)
        floor = -math.inf
        if threshold is not None:
            floor = check_number("threshold", threshold, maximum=0, finite=False)
        state = self._state
        if max_length is None and not state.vocabulary.records:
            raise ValueError("a model of text needs max_length, the number of characters of a text")
        most = _LONGEST if max_length is None else max_length
        start, checked, most = _prepare_generation(
            state, most, controls, SearchControls, "max_length"
        )
        found = search.Search(start, checked, None if max_length is None else most)
        return found.texts(math.inf if n is None else n, floor)

    def rank(self, strings: Iterable[TextT], *, seed: int = 0) -> Ranks:
        """Return how many guesses reach each string if the most probable strings come first.

        This is the string's place in `likeliest`. The first few thousand strings get their exact
        place, others an estimate from up to 20,000 strings that the model draws.

        Parameters
        ----------
        strings : iterable of str
            Whole records.
        seed : int
            Random seed of the drawn strings. The model draws them once, in about a second, and
            keeps them until it changes.

        Returns
        -------
        Ranks
            Arrays ``guesses``, ``low`` and ``high`` (n,) of float64: the number, and the bounds of
            a 95 % interval. They are infinite for a string that the model never writes: one with a
            character that it does not know or that is rare (``min_char_count``), or an empty one if
            it writes none.

        Raises
        ------
        ValueError
            If this is a model of text, whose texts have no end.

        Examples
        --------
        >>> import charrnn
        >>> names = ["anna", "anna", "hanna", "susanna"] * 20
        >>> model = charrnn.train_records(names, hidden_size=16, epochs=60, progress=False)
        >>> guesses = model.rank(["anna", "nanna", "zoe"]).guesses.tolist()
        >>> guesses[0], guesses[1] > 3, guesses[2]
        (1.0, True, inf)
        """
        listed, state = check_sequence("strings", strings, "rank takes a list"), self._state
        seed = check_integer("seed", seed, 0, 2**64 - 1)
        if not state.vocabulary.records:
            raise ValueError("this is a model of text: only whole records have a rank")
        kept, of = self._ranks, (state.history.steps, seed)
        if kept is None or kept[0] is not state or kept[1] != of:
            start, checked, _ = _prepare_generation(state, 0, {}, SearchControls)
            kept = self._ranks = state, of, RankTable.build(start, checked, seed)
        return kept[2].ranks(listed)

    def log_probs(
        self,
        text: TextT,
        *,
        context: TextT | Literal[""] = "",
        on_unknown: scoring.OnUnknown = "error",
        adapt: bool = False,
    ) -> NDArray[np.float64]:
        """Return the log-probability, in nats, of each character given those before it.

        Parameters
        ----------
        text, context, on_unknown, adapt
            See `score`; text may be empty.

        Returns
        -------
        ndarray (len(text),) of float64
            A model of records adds one for the end of the record. Skipped characters have none.

        Raises
        ------
        ValueError
            If the model does not know a character of text.
        """
        check_flags(adapt=adapt)
        state, way = self._state, adapting if adapt else scoring
        encoded = scoring.Encoded.from_texts(state.vocabulary, [text], "text", on_unknown)
        start = _after_context(state, context, on_unknown)
        losses: NDArray[np.float64] = way.symbol_nll(start, encoded.ids, on_unknown)
        return -losses

    @overload
    def score(
        self,
        text: TextT,
        *,
        return_unknown: Literal[False] = ...,
        **options: Unpack[ScoreOptions[TextT]],
    ) -> float: ...

    @overload
    def score(
        self, text: TextT, *, return_unknown: Literal[True], **options: Unpack[ScoreOptions[TextT]]
    ) -> tuple[float, int]: ...

    def score(
        self,
        text: TextT,
        *,
        context: TextT | Literal[""] = "",
        on_unknown: scoring.OnUnknown = "error",
        return_unknown: bool = False,
        adapt: bool = False,
        total: bool = False,
        end: bool = True,
    ) -> float | tuple[float, int]:
        r"""Return the mean surprise in bits per character: low for text like the training text.

        Parameters
        ----------
        text : str
            Not empty, except for a model of records, whose scores include the end.
        context : str
            Text before it, which is read and not scored. Without it text is the beginning of a
            file or record. To score a line of a text, give the line before, or its line feed.
        on_unknown : {"error", "skip", "surprise"}
            What to do about a character that the model does not know: raise an error, skip it, or
            score it as the least likely character there. The model never reads it. If nothing is
            left of a text, its score is NaN.
        return_unknown : bool
            Whether to also return how many characters of text the model does not know.
        adapt : bool
            Whether a copy of the model learns the text as it reads it: it scores 20 characters,
            then learns them. A model with counts (``ngram``) counts each character after its
            score. Texts that repeat themselves, or differ from the training text, score lower.
            The model itself does not change.
        total : bool
            Whether to return the bits of the whole text rather than the mean.
        end : bool
            Whether the end of a record counts.

        Returns
        -------
        float, or (float, int) with return_unknown

        Raises
        ------
        ValueError
            If text is empty or has an unknown character. The message names it and its place.

        Examples
        --------
        >>> import charrnn
        >>> text = "to be, or not to be\n" * 50
        >>> model = charrnn.train_text(text, hidden_size=16, epochs=40, progress=False)
        >>> model.score("to be", context="\n") < model.score("to be")
        True
        >>> bits, unknown = model.score("to bé", on_unknown="surprise", return_unknown=True)
        >>> unknown, bits > model.score("to be")
        (1, True)
        """
        check_flags(return_unknown=return_unknown)
        how: Any = {"on_unknown": on_unknown, "adapt": adapt, "total": total, "end": end}
        (bits,), (unknown,) = _score(self._state, [text], "text", context, **how)
        return (bits, unknown) if return_unknown else bits

    @overload
    def score_many(
        self,
        texts: Iterable[TextT],
        *,
        return_unknown: Literal[False] = ...,
        **options: Unpack[ScoreOptions[TextT]],
    ) -> NDArray[np.float64]: ...

    @overload
    def score_many(
        self,
        texts: Iterable[TextT],
        *,
        return_unknown: Literal[True],
        **options: Unpack[ScoreOptions[TextT]],
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]: ...

    @overload
    def score_many(
        self, texts: Column, *, return_unknown: bool = ..., **options: Unpack[ScoreOptions[TextT]]
    ) -> Any: ...

    def score_many(
        self,
        texts: Iterable[TextT] | Column,
        *,
        context: TextT | Literal[""] = "",
        on_unknown: scoring.OnUnknown = "error",
        return_unknown: bool = False,
        adapt: bool = False,
        total: bool = False,
        end: bool = True,
    ) -> Any:
        """Return the `score` of each text, bit for bit, as one batch.

        Parameters
        ----------
        texts : iterable of str
            A list, an array, a Series of pandas or Polars ...
        context, on_unknown, return_unknown, total, end
            See `score`; the context is the same for all.
        adapt : bool
            Whether a copy of the model learns each text after scoring it, one after the other.
            Then their order matters, and the scores differ from those of `score`.

        Returns
        -------
        ndarray (len(texts),) of float64, or a pair of that and one of int64 with return_unknown
            For a Series of pandas or Polars, Series.
        """
        check_flags(return_unknown=return_unknown)
        listed = check_sequence("texts", texts, "score takes one")
        how: Any = {"on_unknown": on_unknown, "adapt": adapt, "total": total, "end": end}
        bits, unknown = _score(self._state, listed, "texts[{}]", context, **how)
        scores = _like(texts, np.array(bits))
        if not return_unknown:
            return scores
        return scores, _like(texts, np.array(unknown, np.int64))

    def score_words(
        self,
        text: TextT,
        *,
        context: TextT | Literal[""] = "",
        on_unknown: scoring.OnUnknown = "error",
    ) -> list[tuple[TextT, float]]:
        r"""Return the words of a text, separated by whitespace, and the bits of each.

        Parameters
        ----------
        text, context, on_unknown
            See `score`; text may be empty.

        Returns
        -------
        list of (str, float)
            The bits of a word include the whitespace after it, so that all words add up to the
            bits of the text. The last word also includes the end of a record, and the first one
            any whitespace before it.

        Examples
        --------
        >>> import charrnn
        >>> text = "to be, or not to be\n" * 50
        >>> model = charrnn.train_text(text, hidden_size=16, epochs=40, progress=False)
        >>> words = model.score_words("to be, or rotten to be")
        >>> max(words, key=lambda pair: pair[1])[0]
        'rotten'
        """
        state = self._state
        encoded = scoring.Encoded.from_texts(state.vocabulary, [text], "text", on_unknown)
        start = _after_context(state, context, on_unknown)
        losses = scoring.symbol_nll(start, encoded.ids, on_unknown)
        if on_unknown == "skip":  # what is skipped costs nothing
            losses = np.insert(losses, _places_before(encoded.ids), 0.0)
        text = state.vocabulary.check("text", text)
        return scoring.word_bits(text, losses) if len(losses) else []

    def next_probs(
        self, prefix: TextT | Literal[""], *, on_unknown: OnUnknown = "error"
    ) -> NDArray[np.float64]:
        """Return the probability of each symbol to follow prefix, float64 (V,).

        prefix may be empty. The last symbol of a model of records is the end of a record.
        """
        state = self._state  # of one moment: another thread may train the model
        network = state.learner.network
        read = sampling.inputs(state.vocabulary, prefix, "prefix", on_unknown)
        work = network.lend(1, 1)
        if len(read):
            network.feed(work, read)
        (p,) = network.next_probs(work)
        network.give_back(work)
        return np.asarray(p)

    def trace(
        self,
        text: TextT | Iterable[TextT],
        *,
        top: int = 5,
        context: TextT | Literal[""] = "",
        on_unknown: OnUnknown = "error",
    ) -> "Trace[TextT]":
        r"""Look inside: the state of each unit, the surprise and the prediction at each character.

        Parameters
        ----------
        text : str, or iterable of str for a model of records
            May be empty. Each of several records is read from the zero state; in the trace, the
            end of a record counts as a line feed.
        top : int, default 5
            How many of the likeliest next characters to keep.
        context : str
            Text before it, which is read and not traced; see `score`.
        on_unknown : {"error", "skip"}
            Whether a character that the model does not know raises an error or is skipped.

        Returns
        -------
        Trace
            It can draw itself (``plot``) and write a page (``save_html``), which notebooks show.

        Examples
        --------
        >>> import charrnn
        >>> text = "to be, or not to be\n" * 50
        >>> model = charrnn.train_text(text, hidden_size=16, epochs=40, progress=False)
        >>> trace = model.trace("to be, or")
        >>> trace.states[0].shape
        (9, 16)
        >>> trace.likeliest(4)[0][0]  # after "to be"
        ','
        """
        from .trace import Trace  # imported here to keep `import charrnn` fast

        start = _primed(self._state, context, "context", on_unknown)
        (state,) = start.workspace(1, 1).state
        return Trace(start.network, start.vocabulary, text, state, top=top, on_unknown=on_unknown)

    @over_mpi
    @trains_alone
    @shows(config.FurtherOptions, _AS_BEFORE)
    def train_text(
        self,
        text: TextT,
        *,
        rehearse: TextT | bool | None = None,
        **options: Unpack[config.FurtherOptions],
    ) -> Self:
        """Train the model further on another text, in place.

        Parameters
        ----------
        text : str
            At least two characters.
        rehearse : str or bool, optional
            Old text to train on together with the new one, so that the model does not forget it.
            If the old text is longer, a pass reads the new one up to 8 times. With True, the model
            writes the old text itself: as long as the new one, up to 262,144 characters. Counts
            of all of the old text (``ngram=``) recall it nearly word for word. Only new text is
            held out for validation, or added to the model's counts. By default True if "auto"
            plans the training.
        preset : {"auto", "tutorial", "small", "medium", "large"}, optional
            "auto" plans a training that forgets little of the old text: passes, rate, schedule,
            dropout, batch_size and what is held out follow from the amount of new text, and from
            the share of its characters that are new. It is the default unless you give
            learning_rate, optimizer, schedule, epochs, steps or seconds. The others replace the
            settings of the model.
        extend : bool
            Whether to add new characters to the vocabulary. Known characters keep their ids.
        **options
            Those of `charrnn.train_text` except cell, hidden_size, n_layers, dtype and alphabet.
            What neither they nor a preset set stays as before (optimizer, seq_length ...). The
            optimizer's state starts afresh.

        Returns
        -------
        CharRNN
            This model. If an exception ends the training, the model is that of the last complete
            step. If there was none, or the training diverged, it is unchanged.

        Raises
        ------
        ValueError
            If extend is false and the model does not know a character of text. The message names
            these characters.
        RuntimeError
            If another thread is training the model, or you call this from a callback of its
            training: one of the two would be lost.

        Examples
        --------
        >>> import charrnn
        >>> model = charrnn.train_text("to be " * 50, hidden_size=16, epochs=5, progress=False)
        >>> model = model.train_text("or not! " * 50, extend=True, epochs=5, progress=False)
        >>> model.vocabulary.chars
        ' beot!nr'
        """
        read, known = dataset.Text.from_text, config.FurtherOptions
        return self._train_further(read, text, rehearse, options, known, records=False)

    @over_mpi
    @trains_alone
    @shows(config.FurtherFileOptions, _AS_BEFORE)
    def train_file(
        self,
        path: Paths,
        *,
        rehearse: Paths | bool | None = None,
        **options: Unpack[config.FurtherFileOptions],
    ) -> Self:
        """Train the model further on files.

        Parameters
        ----------
        path, separator, encoding, cache
            See `charrnn.train_file`.
        rehearse : path or paths, or bool
            Files of old text, or records, to train on beside the new ones; see `train_text`.
        **options
            See `train_text`, or `train_records` for a model of records, which reads lines.
        """
        from .data.files import ReadOptions, read_files  # imported here to keep the import fast

        def read(path: Paths, **how: Any) -> dataset.Text | dataset.Records:
            how = {"extend": False, "remember": False, "records": self.vocabulary.records, **how}
            return read_files(path, ReadOptions.from_options(options, **how))

        return self._train_further(read, path, rehearse, options, config.FurtherFileOptions)

    @over_mpi
    @trains_alone
    @shows(config.FurtherRecordOptions, _AS_BEFORE)
    def train_records(
        self,
        strings: Iterable[TextT],
        *,
        rehearse: Iterable[TextT] | bool | None = None,
        **options: Unpack[config.FurtherRecordOptions],
    ) -> Self:
        """Train the model further on other records.

        Parameters
        ----------
        strings : iterable of str
            See `charrnn.train_records`.
        rehearse : iterable of str, or bool
            Old records to train on together with the new ones, in any order; see `train_text`.
            With True, the model writes four times as many as there are new ones, up to 16,384.
        extend, preset, **options
            See `train_text`.
        remember : bool
            Whether to raise an error if the model does not remember its records. A model that
            remembers its records always remembers the new ones, too.
        """
        read, known = dataset.Records.from_strings, config.FurtherRecordOptions
        return self._train_further(read, strings, rehearse, options, known, records=True)

    def adapting(self) -> LiveModel[TextT]:
        r"""Return a copy of the model that learns what it reads, for a ``with`` block.

        Returns
        -------
        LiveModel

        Examples
        --------
        >>> import charrnn
        >>> model = charrnn.train_text("to be, or not to be\n" * 50, hidden_size=16, progress=False)
        >>> with model.adapting() as live:
        ...     first = live.score("not to be, not to be, " * 10)
        ...     again = live.score("not to be, not to be, " * 10)
        ...     live.keep()  # without it, model stays as it was
        >>> again < first < 8
        True
        """
        return LiveModel(self)

    def adapt(self, text: TextT | Iterable[TextT]) -> Self:
        """Learn a text in one pass, as `score` with ``adapt=True`` does, and keep what was learned.

        To learn a text thoroughly, train the model further (`train_text`). A model with counts
        adds those of the text.

        Parameters
        ----------
        text : str, or for a model of records an iterable of str

        Returns
        -------
        CharRNN
            This model. Ctrl-C keeps what was learned so far.

        Raises
        ------
        ValueError
            If the model does not know a character of text.
        RuntimeError
            If another thread trains the model at the same time.
        """
        pieces: Iterable[Any] = [text]
        if self.vocabulary.records:
            pieces = check_sequence("text", text, "adapt([record]) learns one")
        with self.adapting() as live:
            try:
                for piece in pieces:
                    live.read(piece)
                live.begin()  # learns what is left of a window
            except KeyboardInterrupt:
                live.keep()
                raise
            live.keep()
        return self

    def _train_further(
        self,
        read: Callable[..., Any],
        given: Any,
        rehearse: Any,
        options: Mapping[str, Any],
        known: type,
        records: bool | None = None,
    ) -> Self:
        """Train from the state at the start of the call on what read makes of what is given.

        Reading may run the caller's code, which may train this model as well.
        """
        state = _state_to_train(self._state, options, known, records)
        how = {"extend": options.get("extend", False)}
        if state.index is not None:
            how["remember"] = True
        source = read(given, known=state.vocabulary, **how)
        encode = functools.partial(read, known=source.vocabulary)
        source.old = _rehearsed(state, source, rehearse, options, encode)
        chosen = with_further_recipe(options, state.learner, len(state.vocabulary), source)
        dtype, before = state.learner.network.dtype, state.learner.options()
        _, settings, run = config.split({**chosen, "dtype": dtype}, before)
        source = dataset.with_rare(source, run["min_char_count"], len(state.vocabulary))
        if chosen is not options and check_progress(run["progress"]):
            note(f"charrnn: {described_further({**settings, **run}, source)}")
        return self._train(_grown(state, source, settings), source, run)

    def _train(
        self, trained: ModelState, source: dataset.Text | dataset.Records, run: config.RunOptions
    ) -> Self:
        """Train a state and make it this model's; twice, if options say so."""
        options, before = training.resolve(run, trained.learner), self._state
        trained = replace(trained, run={name: options[name] for name in config.RUN_NAMES})
        if not options["refit"]:
            return self._fit(trained, source, options)
        first, second = training.refit_options(options)
        measured = replace(trained, learner=copy.deepcopy(trained.learner), history=History())
        measured = self._fit(measured, source, first)._state
        trained.history.estimate = measured.history.estimate
        try:
            return self._fit(trained, source, second, measured.mixture)
        except KeyboardInterrupt:
            self._state = measured  # is complete
            raise
        except BaseException:
            if self._state is measured:
                self._state = before
            raise

    def _fit(
        self,
        trained: ModelState,
        source: dataset.Text | dataset.Records,
        options: dict[str, Any],
        mixture: Mixture | None = None,
    ) -> Self:
        """Train a state, and make it this model's after a step, unless the training diverged."""
        try:
            model = CharRNN[Any]._from_state(trained)
            training.train(trained, source, model, options)
            self._state = add_counts(trained, source, options, mixture)  # others see it once mixed
        except DivergedError as error:
            error.model = self
            raise
        except BaseException as error:
            if trained.history.reports:
                self._state = trained  # whatever comes while its text is counted
                if isinstance(error, KeyboardInterrupt):
                    self._state = add_counts(trained, source, options, mixture)
            if not isinstance(error, KeyboardInterrupt):
                with contextlib.suppress(Exception):  # an exception may refuse attributes
                    error.model = self  # type: ignore[attr-defined]
                raise
            stopped = TrainingInterrupted(_INTERRUPTED.format(trained.history.steps))
            stopped.model = self
            raise stopped from error
        return self

    def save(self, target: StrPath | IO[bytes]) -> None:
        """Save the model as a `.safetensors` file; a crash leaves the old file or the new one.

        Parameters
        ----------
        target : path, or file open for writing in binary
            An open file (an `io.BytesIO`, a member of an archive) is written at its position and
            stays open.

        Examples
        --------
        >>> import charrnn, io
        >>> model = charrnn.train_text("to be " * 50, hidden_size=16, steps=20, progress=False)
        >>> file = io.BytesIO()
        >>> model.save(file)
        >>> charrnn.load(file.getvalue())
        CharRNN(cell='lstm', hidden_size=16, 5 characters, 20 steps)
        """
        persistence.save(target, self._state)

    @classmethod
    def from_pretrained(cls, source: StrPath, **options: Any) -> Self:
        """Load a model from a folder, or from a repository of the Hugging Face Hub.

        `charrnn.pretrained` has models that need no download.

        Parameters
        ----------
        source : path, or str
            A folder that contains model.safetensors, or the name of a repository that does, such
            as "user/names"; this needs huggingface_hub (``pip install charrnn-cython[hub]``).
        **options
            Those of ``huggingface_hub.hf_hub_download``: revision, token, local_files_only ...

        Examples
        --------
        >>> import charrnn, tempfile
        >>> model = charrnn.train_text("to be " * 50, hidden_size=16, steps=20, progress=False)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(f"{folder}/model.safetensors")
        ...     charrnn.CharRNN.from_pretrained(folder)
        CharRNN(cell='lstm', hidden_size=16, 5 characters, 20 steps)
        """
        return cls._from_state(replace(persistence.load(hub.fetch(source, options)), training=None))

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload the model to the Hugging Face Hub, as model.safetensors with a model card.

        Parameters
        ----------
        repo_id : str
            The repository, such as "user/names". It is created if it does not exist.
        **options
            Those of ``huggingface_hub.ModelHubMixin.push_to_hub``: commit_message, private, token,
            branch, create_pr ...

        Returns
        -------
        str
            The address of the commit.
        """
        return hub.push(self.save, repo_id, options)

    @property
    def mixture(self) -> Mixture | None:
        """The n-gram counts mixed with the network, and their weights.

        None without the option ``ngram``.
        """
        return self._state.mixture

    @property
    def recipe(self) -> dict[str, Any]:
        """The options of the latest training: what its preset chose and what was given.

        `charrnn.train_text` and the other train functions take them. Options that don't change
        results, such as n_threads, are left out.
        """
        learner, run = self._state.learner, self._state.run
        layers = learner.network.description.layers
        network = {"cell": layers[0][0], "hidden_size": layers[0][1], "n_layers": len(layers)}
        network["dtype"] = learner.network.dtype.name
        counts = self._state.mixture
        if run.get("ngram") is None:  # as before
            run = {**run, "ngram": 0 if counts is None else counts.counts.order}
        return {**network, **learner.options(), **run}

    def to_torch(self) -> Any:
        """Return the network, without counts, as a PyTorch module in evaluation mode.

        Returns
        -------
        torch.nn.Module
            Called with integers (T, B), and optionally a state, it returns the logits (T, B, V) of
            what follows each id, and the state after them. Its ``rnn`` is an nn.RNN, nn.GRU or
            nn.LSTM that reads one-hot vectors, its ``out`` an nn.Linear. It has the dropout of this
            model, for ``module.train()``. Its weights are a copy.

        Raises
        ------
        ModuleNotFoundError, ValueError
            If PyTorch is not installed, or layers differ in cell or size, which no module of
            PyTorch represents.
        """
        from .storage import export

        return export.to_torch(self._state.learner)

    def to_onnx(self, path: StrPath) -> None:
        """Write the network, without counts, to an ONNX file; a crash leaves the old or the new.

        Its weights are float32, rounded if the model is float64: onnxruntime has no recurrent
        layers in float64. Its inputs are ``ids``, int64 (T, B), and the state of each layer:
        ``h1`` (1, B, H), for an LSTM also ``c1``, then ``h2`` ..., all zero at the start of a text.
        Its outputs are ``logits`` (T, B, V) of what follows each id, and the state after them,
        ``h1_after`` ....
        The metadata has the ``vocabulary`` (a JSON string of the characters in the order of their
        ids), the ``rare`` characters that share the id of U+FFFD, ``alphabet`` and ``kind``
        ("records": the last id is the boundary between records).

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        ModuleNotFoundError, OSError
            If the library onnx is not installed, or the file cannot be written.
        ValueError
            If the weights need 2 GiB or more, the limit of such files, or float32 cannot hold one.
        """
        from .storage import export

        export.to_onnx(self._state.learner.network, self._state.vocabulary, path)

    def save_js(
        self,
        path: StrPath,
        *,
        weights: "browser.Weights" = "float32",
        page: "browser.Page" = "generator",
        title: str | None = None,
    ) -> "browser.Exported":
        """Write the model as one file of JavaScript, or as a web page; both work offline.

        The file needs no library and makes no requests. It scores, ranks records, generates, and
        gives the probabilities of the next character. A crash leaves the old file or the new one.

        Parameters
        ----------
        path : str or path-like
            Ends in .js, for a script that sets the global ``charrnn`` in a browser and that Node
            can `require`, or in .html, for a page.
        weights : {"float32", "float16", "int8"}
            Precision of the weights: float16 halves the file, int8 quarters it.
        page : {"generator", "meter"}
            What the page does: write text, or estimate how many guesses reach a string, which
            needs a model of records.
        title : str, optional
            Title of the page.

        Returns
        -------
        charrnn.browser.Exported
            The size of the file, its size after compression, and the bits per character that
            rounding the weights costs.

        Raises
        ------
        ValueError, OSError
            If an option is wrong, the weights are too large for the format, or the file cannot be
            written.

        Examples
        --------
        >>> import charrnn, os, tempfile
        >>> model = charrnn.train_text("to be " * 50, hidden_size=16, steps=20, progress=False)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     written = model.save_js(os.path.join(folder, "model.js"), weights="int8")
        >>> written.size < 100_000, written.cost < 0.01
        (True, True)
        """
        from . import browser

        return browser.save(self._state, path, weights, page, title)

    def __reduce__(self) -> Any:
        """Pickle as a model file, which is compact and checked when it is read."""
        return _from_file, (type(self), persistence.to_bytes(self._state))

    def __copy__(self) -> Self:
        return self._from_state(self._state)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self._from_state(copy.deepcopy(self._state, memo))

    def __repr__(self) -> str:
        state = self._state
        kind = "bytes" if state.vocabulary.of_bytes else counted(len(state.vocabulary), "character")
        kind = "records of " * state.vocabulary.records + kind
        layers = state.learner.network.description.layers
        size = f"hidden_size={layers[0].units}"
        if not is_vanilla(layers):
            depth = f", n_layers={len(layers)}" if len(layers) > 1 else ""
            size = f"cell={layers[0].cell!r}, {size}{depth}"
        return f"CharRNN({size}, {kind}, {counted(state.history.steps, 'step')})"


def _from_file(kind: type[CharRNN[Any]], content: bytes) -> CharRNN[Any]:
    return kind._from_state(persistence.load(content))


def _like(texts: Any, values: NDArray[Any]) -> Any:
    """Return values as a Series if texts are one, whose library then is imported already."""
    pandas, polars = sys.modules.get("pandas"), sys.modules.get("polars")
    if pandas is not None and isinstance(texts, pandas.Series):
        return pandas.Series(values, index=texts.index, name=texts.name)
    if polars is not None and isinstance(texts, polars.Series):
        return polars.Series(texts.name, values)
    return values


def _rehearsed(
    state: ModelState, source: Any, rehearse: Any, options: Any, read: Callable[[Any], Any]
) -> Any:
    """Return what to rehearse as ids, or None. read encodes what is given."""
    if rehearse is None:
        rehearse = plans_further(options)
    if isinstance(rehearse, bool):
        return _written(state, source, options) if rehearse else None
    return read(rehearse)


def _written(
    state: ModelState, source: dataset.Text | dataset.Records, options: Mapping[str, Any]
) -> dataset.Text | dataset.Records | None:
    """Return what a model writes to rehearse, or None if it writes nothing."""
    model, seed = CharRNN[Any]._from_state(_recalling(state)), options.get("seed", 0)
    if state.vocabulary.records:
        count = min(_RECORDS_WRITTEN * source.records, _MOST_WRITTEN_RECORDS)
        records = list(model._each(count, _LONGEST_WRITTEN, seed=seed, whole=True))
        known = source.vocabulary
        return dataset.Records.from_strings(records, known=known) if any(records) else None
    length = min(source.characters, _MOST_WRITTEN)
    pieces = -(-length // _LONGEST_WRITTEN)
    texts = model.generate_many(pieces, -(-length // pieces), seed=seed)
    return dataset.Text.from_text(state.vocabulary.empty.join(texts), known=source.vocabulary)


def _recalling(state: ModelState) -> ModelState:
    """Return a state that writes nearly the text that it was trained on, if its counts have all."""
    if state.mixture is None or not state.mixture.counts.whole:
        return state
    learner = Learner([("rnn", 1)], state.vocabulary.symbols)
    learner.network.mix(Mixture(state.mixture.counts.undiscounted(), 0.0, 1.0).table())
    return replace(state, learner=learner)


def _state_to_train(
    state: ModelState, options: Mapping[str, Any], known: type, records: bool | None = None
) -> ModelState:
    """Return state if training can continue from it: with known options, on records or not."""
    for name in sorted(options.keys() & _FIXED):
        raise TypeError(f"{name} is fixed for a model that is trained further")
    check_names(options, known)
    of_records, remember = state.vocabulary.records, options.get("remember", False)
    if records not in (None, of_records):
        kind, method = ("records", "train_records") if of_records else ("text", "train_text")
        raise ValueError(f"this is a model of {kind}: {method} trains it further")
    check_flags(remember=remember)
    if remember and not of_records:
        raise ValueError("this is a model of text, which has no records to remember")
    if remember and state.index is None:
        raise ValueError(
            "this model does not remember the records that it was trained on before, "
            "so it cannot tell new from old"
        )
    return state


def _grown(
    state: ModelState, source: dataset.Text | dataset.Records, settings: Mapping[str, Any]
) -> ModelState:
    """Return a state to train on a source, which knows all symbols of this one, and its own."""
    old, vocabulary = state.learner.network, source.vocabulary
    learner = Learner(old.description.layers, vocabulary.symbols, **settings)
    places = [*range(len(state.vocabulary))]
    places += [len(source.vocabulary)] * state.vocabulary.records
    learner.network.grow_from(old, places)
    index = state.index if source.index is None else source.index.union(state.index)
    mixture = state.mixture
    if mixture is not None:
        counts = mixture.counts.renumbered(np.array(places), vocabulary.symbols)
        mixture = mixture._replace(counts=counts)
    empty = state.empty_records or source.empty_records
    facts: Any = {"mixture": mixture, "empty_records": empty}
    return ModelState(learner, vocabulary, History(), index, **facts)


def _prepare_generation(
    state: ModelState, length: Any, controls: Any, known: type, name: str = "length"
) -> tuple[PrimedState, sampling.Sampling, int]:
    """Return the state after the prime, and the checked controls and length of texts.

    name is what errors call the length.
    """
    if isinstance(length, (str, bytes)):
        raise TypeError(
            f"{name} must be an integer, not {length!r:.80}: the text to continue is prime"
        )
    length = check_integer(name, length, 0, _LONGEST)
    check_names(controls, known, (name,))
    checked = sampling.Sampling.from_options(state.vocabulary, **controls)
    if checked.min_length > length:
        raise ValueError(f"min_length must be at most {name}={length}, not {checked.min_length}")
    prime, on_unknown = controls.get("prime", ""), controls.get("on_unknown", "error")
    start = _primed(state, prime, "prime", on_unknown)
    if controls.get("min_length") is None and not (state.empty_records or len(start.ids)):
        checked = checked._replace(min_length=int(state.vocabulary.records))
    return start, checked, length


def _score(
    state: ModelState,
    texts: list[AnyText],
    name: str,
    context: AnyText,
    *,
    on_unknown: scoring.OnUnknown,
    adapt: bool,
    total: bool,
    end: bool,
) -> tuple[list[float], list[int]]:
    """Return the score of each text, and the number of its unknown characters."""
    check_flags(adapt=adapt, total=total, end=end)
    encoded = scoring.Encoded.from_texts(state.vocabulary, texts, name, on_unknown)
    if not (state.vocabulary.records or all(encoded.known)):
        lengths = [sum(counts) for counts in zip(encoded.known, encoded.unknown, strict=True)]
        if not all(lengths):
            where = name.format(lengths.index(0))
            raise ValueError(f"{where} must have at least one character")
    start, way = _after_context(state, context, on_unknown), adapting if adapt else scoring
    sums, symbols = way.total_nll(start, encoded, on_unknown, end)
    return scoring.bits(sums, symbols, total), encoded.unknown


def _places_before(ids: NDArray[np.int32]) -> NDArray[np.intp]:
    """Return how many known characters are before each unknown one."""
    before: NDArray[np.intp] = np.cumsum(ids >= 0, dtype=np.intp)
    return before[ids < 0]


def _after_context(
    state: ModelState, context: AnyText, on_unknown: scoring.OnUnknown
) -> PrimedState:
    """Return the state after context, whose unknown characters are never read."""
    return _primed(state, context, "context", "skip" if on_unknown == "surprise" else on_unknown)


def _primed(state: ModelState, text: AnyText, name: str, on_unknown: OnUnknown) -> PrimedState:
    """Return the state after text."""
    return PrimedState.from_text(state.learner.network, state.vocabulary, text, name, on_unknown)
