"""The network on text: train, go on, generate, score, save."""

import contextlib
import copy
import math
import sys
from collections.abc import Iterable, Iterator
from typing import (
    IO,
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    Protocol,
    Self,
    TypeVar,
    Unpack,
    overload,
)

import numpy as np
from numpy.typing import NDArray

from .data import dataset
from .data.record_index import RecordIndex
from .data.vocabulary import AnyText, OnUnknown, TextT, Vocabulary
from .history import History
from .inference import sampling, scoring
from .inference.sampling import Controls, PrimedState, Sampling
from .network import Network
from .network.config import SAVED_SETTINGS, Options, split
from .network.learner import Learner, is_vanilla
from .storage import model_file as persistence
from .storage.model_file import ModelState
from .training import fit as training
from .training.fit import over_mpi
from .tutorial import RNN
from .util.atomic_write import Paths, StrPath
from .util.errors import (
    DivergedError,
    Hinting,
    TrainingInterrupted,
    check_flags,
    check_integer,
    check_sequence,
    to_builtin,
)
from .util.options import AsBefore, check_names, shows
from .util.seeding import make_random

_LONGEST = 2**31 - 1  # characters of a text
_AS_BEFORE = dict.fromkeys(("optimizer", *SAVED_SETTINGS), AsBefore())
_INTERRUPTED = (
    "training was interrupted after step {}; what was learned is in the attribute `model` of this exception. At a prompt or in a notebook: "
    "import sys; model = sys.last_value.model"
)


if TYPE_CHECKING:
    from .trace import Trace


class Column(Protocol):
    """A Series of pandas or Polars, to type checkers."""

    def to_frame(self) -> Any:
        """Return it as a data frame."""


class CharRNN(Hinting, Generic[TextT]):
    """A trained network together with the vocabulary it was trained on: text in, text out.

    To type checkers it is a ``CharRNN[str]`` or, if trained on bytes, a ``CharRNN[bytes]``.

    Made by `train_file`, `train_text`, `train_records` and `load`. Only its own train methods change it: several threads may use one
    model. It can be pickled and copied.

    Parameters
    ----------
    learner : RNN
        The network, and what it is trained with.
    vocabulary : Vocabulary
        As many characters as the network has symbols.
    history : History
        What the latest training did.
    index : novelty.RecordIndex, optional
        The records it was trained on, if it is to remember them.

    Notes
    -----
    A text starts from the zero state, so p(text) = p(x_1 | nothing) p(x_2 | x_1) ... with every factor a softmax over the vocabulary.
    A model of records (`train_records`) reads a boundary symbol first and predicts it last:
    p(record) = p(x_1 | boundary) ... p(boundary | boundary x_1 ... x_n).
    """

    __slots__ = ("__weakref__", "_state")
    _state: ModelState  # a call reads it once: another thread may train the model meanwhile

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
        self._state = ModelState(learner, vocabulary, history, index)

    @property
    def rnn(self) -> RNN:
        """The tutorial's network on numbers, where this model has one: a single layer of the vanilla cell."""
        learner = self._state.learner
        description = learner.network.description
        if not is_vanilla(description.layers):
            raise AttributeError(
                f"this model is {description}; its engine is the attribute network"
            )
        return RNN.view(learner)

    @property
    def network(self) -> Network:
        """The network as an engine."""
        return self._state.learner.network

    @property
    def vocabulary(self) -> Vocabulary:
        """Characters and their ids."""
        return self._state.vocabulary

    @property
    def history(self) -> History:
        """What the latest training did."""
        return self._state.history

    @property
    def index(self) -> RecordIndex | None:
        """The records it was trained on, if it remembers them."""
        return self._state.index

    @shows(Controls)
    def generate(
        self,
        length: int,
        *,
        prime: TextT | Literal[""] = "",
        seed: int | None = None,
        **controls: Unpack[Controls],
    ) -> TextT:
        """Write text.

        Parameters
        ----------
        length : int
            Characters to write, 0 or more.
        prime : str
            Text to continue; not repeated in the result.
        seed : int, optional
            The same seed gives the same text. None takes one from the operating system.
        temperature : float, default 1.0
            Below 1 safer, above 1 wilder; 0 always takes the most likely character.
        top_k : int, optional
            Draw among the so many most likely characters only, at least 1.
        top_p : float, optional
            Draw among the most likely characters that together have this probability, above 0, at most 1 (after top_k).
        min_p : float, optional
            Draw among the characters at least this share as likely as the most likely one, 0 to 1 (after top_p).
        no_repeat : int, optional
            Write no run of so many characters twice within 4,096 characters, the prime included, unless there is no other way.
            20 or so keeps a low temperature from going round in circles.
        allowed, forbidden : str, optional
            Characters to draw from, and not to draw; those that the model does not know are ignored.
        min_length : int, default 0
            Do not end before so many characters: a record does not end, a stop text does not count.
        stop : str or sequence of str, optional
            End before that of these texts which is complete first; if none comes, the text has the full length.
        on_unknown : {"error", "skip"}
            Whether a character of prime that the model does not know is an error or left out.

        Returns
        -------
        str (bytes if the model was trained on bytes, as all its texts are)
            Of length characters, or fewer if a stop text or the end of a record came.

        Raises
        ------
        ValueError, TypeError
            If an option is out of range, or prime has a character that the model does not know (the message says which and where).

        Examples
        --------
        >>> import charrnn
        >>> model = charrnn.train_text("abcabcabc" * 20, epochs=60, hidden_size=8, progress=False)
        >>> model.generate(6, prime="ab", temperature=0)
        'cabcab'
        >>> model.generate(6, prime="ab", temperature=0, stop="b")
        'ca'
        """
        start, checked, length = _prepare_generation(self._state, length, prime, controls)
        ((text, _),) = sampling.texts(start, checked, length, seed, 1)
        written: TextT = text
        return written

    @shows(Controls)
    def generate_many(
        self,
        count: int,
        length: int,
        *,
        unique: bool = False,
        novel: bool = False,
        whole: bool = False,
        prime: TextT | Literal[""] = "",
        seed: int | None = None,
        **controls: Unpack[Controls],
    ) -> list[TextT]:
        """Write count texts as a batch, each as `generate` would.

        Parameters
        ----------
        count : int
            Texts to write, 0 or more.
        length, prime, controls
            See `generate`.
        unique : bool
            Whether to leave out a text that was written before: what comes is the first count different ones, of records the whole ones.
        novel : bool
            Whether to leave out records (prime included) that the model was trained on; it must remember them
            (``train_records(..., remember=True)``), and those that are not whole.
        whole : bool
            Whether to leave out texts that are cut at length: those that come have ended by themselves, at the end of a record or before
            a stop text, and are shorter.
        seed : int, optional
            Text number i depends on the seed and on i only, whatever the count; number 0 is what `generate` writes.

        Returns
        -------
        list of str
            Fewer than count if unique, novel or whole left out too many: after 100 count + 1000 texts it gives up.

        Examples
        --------
        >>> import charrnn
        >>> model = charrnn.train_text("abcabcabc" * 20, epochs=60, hidden_size=8, progress=False)
        >>> model.generate_many(2, 4, prime="c", temperature=0)
        ['abca', 'abca']
        """
        return list(
            self._each(
                count,
                length,
                unique=unique,
                novel=novel,
                whole=whole,
                prime=prime,
                seed=seed,
                **controls,
            )
        )

    def _each(
        self,
        count: int,
        length: int,
        *,
        unique: bool,
        novel: bool,
        whole: bool,
        prime: AnyText,
        seed: int | None,
        **controls: Unpack[Controls],
    ) -> Iterator[TextT]:
        """Yield the texts of `generate_many` as they are written."""
        count = check_integer("count", count, 0)
        check_flags(unique=unique, novel=novel, whole=whole)
        state = self._state
        if novel and state.index is None:
            raise ValueError(
                "novel=True needs a model that remembers its records: train_records(..., remember=True)"
            )
        start, checked, length = _prepare_generation(state, length, prime, controls)
        whole = whole or (
            state.vocabulary.records and (unique or novel)
        )  # half a record is neither new nor one of a kind
        tries = count
        if count and (unique or novel or whole):  # at temperature 0 all are the same
            tries = (
                100 * count + 1000
                if checked.drawing["temperature"]
                else count
                if not unique and not novel
                else 1
            )
        known = state.index if novel and state.index is not None else ()
        primed = state.vocabulary.decode(start.ids[:, 0]) if novel else state.vocabulary.empty
        chosen = 0
        seen: set[AnyText] = set()
        for text, ended in sampling.texts(start, checked, length, seed, tries, count):
            if (whole and not ended) or (unique and text in seen) or primed + text in known:
                continue
            if unique:
                seen.add(text)
            yield text
            chosen += 1
            if chosen == count:
                break

    @shows(Controls)
    def stream(
        self,
        length: int | None = None,
        *,
        prime: TextT | Literal[""] = "",
        seed: int | None = None,
        **controls: Unpack[Controls],
    ) -> Iterator[TextT]:
        """Return an iterator of the characters that `generate` would write, one by one, without end if length is None.

        They are drawn half a millisecond ahead or so, without the GIL.

        Examples
        --------
        >>> import charrnn
        >>> model = charrnn.train_text("abcabcabc" * 20, epochs=60, hidden_size=8, progress=False)
        >>> list(model.stream(3, prime="ab", temperature=0))
        ['c', 'a', 'b']

        A service answers others meanwhile: a thread draws, and the loop sends what has come.

        >>> import asyncio, itertools
        >>> async def answer(send):
        ...     characters = model.stream(30, prime="ab", temperature=0)
        ...     while piece := await asyncio.to_thread(lambda: "".join(itertools.islice(characters, 20))):
        ...         await send(piece)
        >>> async def send(piece):
        ...     print(piece)
        >>> asyncio.run(answer(send))
        cabcabcabcabcabcabca
        bcabcabcab
        """
        most = _LONGEST if length is None else length
        start, checked, most = _prepare_generation(self._state, most, prime, controls)
        writer = sampling.Writer(start, checked, make_random(seed))
        return sampling.stream(writer, math.inf if length is None else most)

    def beam_search(
        self,
        length: int,
        *,
        n_best: int = 1,
        width: int | None = None,
        prime: TextT | Literal[""] = "",
        allowed: str | bytes | None = None,
        forbidden: str | bytes | None = None,
        min_length: int = 0,
        on_unknown: OnUnknown = "error",
    ) -> list[tuple[TextT, float]]:
        """Search the most probable texts.

        Parameters
        ----------
        length : int
            Characters of a text, 0 or more; a record may be shorter.
        n_best : int
            Texts to return, at least 1.
        width : int, optional
            Texts to follow side by side, at least n_best; by default that or 16. The wider the search, the more probable what it finds.
        prime, allowed, forbidden, min_length, on_unknown
            See `generate`.

        Returns
        -------
        list of (str, float)
            Texts and their log-probabilities in nats, the most probable first; fewer than n_best if there are not so many. The end of a
            record counts, where it comes before length: a record that is cut there has none.

        Examples
        --------
        >>> import charrnn
        >>> model = charrnn.train_records(["anna", "hanna", "susanna"] * 20, hidden_size=16, epochs=60, progress=False)
        >>> sorted(text for text, log_p in model.beam_search(20, n_best=3))
        ['anna', 'hanna', 'susanna']
        """
        n_best = check_integer("n_best", n_best, 1)
        width = max(n_best, 16) if width is None else check_integer("width", width, n_best)
        controls: Controls = {
            "allowed": allowed,
            "forbidden": forbidden,
            "min_length": min_length,
            "on_unknown": on_unknown,
        }
        start, checked, length = _prepare_generation(self._state, length, prime, controls)
        return sampling.beam_search(start, checked, length, width)[:n_best]

    def log_probs(
        self,
        text: TextT,
        *,
        context: TextT | Literal[""] = "",
        on_unknown: scoring.OnUnknown = "error",
    ) -> NDArray[np.float64]:
        """Return the natural logarithm of each character's probability given the ones before it, float64 (len(text),).

        A model of records has one more at the end, (len(text) + 1,): that the record ends there. Characters skipped have none.

        Parameters
        ----------
        text, context, on_unknown
            See `score`; text may be empty.

        Raises
        ------
        ValueError
            If text has a character that the model does not know.
        """
        state = self._state
        encoded = scoring.Encoded.from_texts(state.vocabulary, [text], "text", on_unknown)
        start = _after(state, context, on_unknown)
        return -scoring.symbol_nll(start, encoded.ids, on_unknown)

    @overload
    def score(
        self,
        text: TextT,
        *,
        context: TextT | Literal[""] = ...,
        on_unknown: scoring.OnUnknown = ...,
        return_unknown: Literal[False] = ...,
    ) -> float: ...

    @overload
    def score(
        self,
        text: TextT,
        *,
        context: TextT | Literal[""] = ...,
        on_unknown: scoring.OnUnknown = ...,
        return_unknown: Literal[True],
    ) -> tuple[float, int]: ...

    def score(
        self,
        text: TextT,
        *,
        context: TextT | Literal[""] = "",
        on_unknown: scoring.OnUnknown = "error",
        return_unknown: bool = False,
    ) -> float | tuple[float, int]:
        r"""Return the mean surprise of text in bits per character: low for text like the training text.

        Parameters
        ----------
        text : str
            Not empty, unless the model is one of records: their score includes the end.
        context : str
            What comes before text: it is read first and not scored. Without it text is the beginning of a file, or of a record; to
            score a line of a text, give the line before, or the line feed that ends it.
        on_unknown : {"error", "skip", "surprise"}
            What to do about a character that the model does not know: raise an error, leave it out, or count it as if it were the
            least likely character there. In no case is it read. A text of which nothing is left scores NaN.
        return_unknown : bool
            Whether to return also how many characters of text the model does not know.

        Returns
        -------
        float, or (float, int) with return_unknown

        Raises
        ------
        ValueError
            If text is empty or has a character that the model does not know (the message says which, and where).

        Examples
        --------
        >>> import charrnn
        >>> model = charrnn.train_text("to be, or not to be\n" * 50, hidden_size=16, epochs=40, progress=False)
        >>> model.score("to be", context="\n") < model.score("to be")
        True
        >>> bits, unknown = model.score("to bé", on_unknown="surprise", return_unknown=True)
        >>> unknown, bits > model.score("to be")
        (1, True)
        """
        check_flags(return_unknown=return_unknown)
        bits, unknown = self._score([text], "text", context, on_unknown)
        return (float(bits[0]), int(unknown[0])) if return_unknown else float(bits[0])

    @overload
    def score_many(
        self,
        texts: Iterable[TextT],
        *,
        context: TextT | Literal[""] = ...,
        on_unknown: scoring.OnUnknown = ...,
        return_unknown: Literal[False] = ...,
    ) -> NDArray[np.float64]: ...

    @overload
    def score_many(
        self,
        texts: Iterable[TextT],
        *,
        context: TextT | Literal[""] = ...,
        on_unknown: scoring.OnUnknown = ...,
        return_unknown: Literal[True],
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]: ...

    @overload
    def score_many(
        self,
        texts: Column,
        *,
        context: TextT | Literal[""] = ...,
        on_unknown: scoring.OnUnknown = ...,
        return_unknown: bool = ...,
    ) -> Any: ...

    def score_many(
        self,
        texts: Iterable[TextT] | Column,
        *,
        context: TextT | Literal[""] = "",
        on_unknown: scoring.OnUnknown = "error",
        return_unknown: bool = False,
    ) -> Any:
        """Return the `score` of each text, to the last bit, as one batch: float64 (len(texts),).

        Parameters
        ----------
        texts : iterable of str
            A list, an array, a Series of pandas or Polars ...
        context, on_unknown, return_unknown
            See `score`; the context is the same for all.

        Returns
        -------
        ndarray, or (ndarray, ndarray of int64) with return_unknown
            Of a Series a Series: what its library expects of a function of a column.
        """
        check_flags(return_unknown=return_unknown)
        bits, unknown = self._score(
            check_sequence("texts", texts, "score takes one"), "texts[{}]", context, on_unknown
        )
        return (_like(texts, bits), _like(texts, unknown)) if return_unknown else _like(texts, bits)

    def _score(
        self, texts: list[AnyText], name: str, context: AnyText, on_unknown: scoring.OnUnknown
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the bits of each text and its unknown characters."""
        state = self._state
        encoded = scoring.Encoded.from_texts(state.vocabulary, texts, name, on_unknown)
        lengths = encoded.known + encoded.unknown
        if not (state.vocabulary.records or lengths.all()):
            raise ValueError(f"{name.format(lengths.argmin())} must have at least one character")
        start = _after(state, context, on_unknown)
        return scoring.bits_per_symbol(start, encoded, on_unknown), encoded.unknown

    def next_probs(
        self, prefix: TextT | Literal[""], *, on_unknown: OnUnknown = "error"
    ) -> NDArray[np.float64]:
        """Return the probability of each symbol to follow prefix (which may be empty): float64 (V,), for records with the end, last."""
        state = self._state
        start = _primed(state, prefix, "prefix", on_unknown)
        (p,) = start.network.next_probs(start.workspace(1, 1))
        return np.asarray(p)

    def trace(
        self,
        text: TextT,
        *,
        top: int = 5,
        context: TextT | Literal[""] = "",
        on_unknown: OnUnknown = "error",
    ) -> "Trace[TextT]":
        r"""Look inside: what each unit holds after each character of text, how it surprises the model, and what is expected next.

        Parameters
        ----------
        text : str
            May be empty.
        top : int, default 5
            How many of the likeliest next characters to keep, at most as many as there are.
        context : str
            What comes before text, read and not traced; see `score`.
        on_unknown : {"error", "skip"}
            Whether a character that the model does not know is an error or left out.

        Returns
        -------
        Trace
            Which draws itself (``plot``), writes itself as a page (``save_html``), and shows itself in a notebook.

        Examples
        --------
        >>> import charrnn
        >>> model = charrnn.train_text("to be, or not to be\n" * 50, hidden_size=16, epochs=40, progress=False)
        >>> trace = model.trace("to be, or")
        >>> trace.states[0].shape
        (9, 16)
        >>> trace.likeliest(4)[0][0]  # after "to be"
        ','
        """
        from .trace import Trace  # here, as few ask for it: importing charrnn should cost little

        state = self._state
        start = _after(state, context, on_unknown)
        return Trace(
            state.learner.network,
            state.vocabulary,
            text,
            start.state,
            top=top,
            on_unknown=on_unknown,
        )

    @over_mpi
    @shows(Options, _AS_BEFORE)
    def train_text(self, text: TextT, *, extend: bool = False, **options: Unpack[Options]) -> Self:
        """Go on training with another text; the model changes in place.

        Parameters
        ----------
        text : str
            At least two characters.
        extend : bool
            Whether to add its characters to the vocabulary; those that were there keep their ids.
        **options
            Those of `charrnn.train_text` but cell, hidden_size, n_layers, dtype and alphabet. Settings of the network (seq_length,
            batch_size, dropout, optimizer, learning_rate ...) are by default as they were; of a preset all but the layers counts. What an
            optimiser remembers starts afresh.

        Returns
        -------
        CharRNN
            The model itself. If an exception ends the training, the model is as of the last whole step; if no step was done or the
            training diverged, as before.

        Raises
        ------
        ValueError
            If text has characters that the model does not know (the message names them) and extend is not true.

        Examples
        --------
        >>> import charrnn
        >>> model = charrnn.train_text("to be " * 50, hidden_size=16, epochs=5, progress=False)
        >>> model = model.train_text("or not to be! " * 50, extend=True, epochs=5, progress=False)
        >>> model.vocabulary.chars
        ' beot!nr'
        """
        _check_more(options)
        state = self._state
        if state.vocabulary.records:
            raise ValueError("this is a model of records: train_records goes on with it")
        return self._go_on(
            state, dataset.Text.of(text, known=state.vocabulary, extend=extend), options
        )

    @over_mpi
    @shows(Options, _AS_BEFORE)
    def train_file(
        self,
        path: Paths,
        *,
        extend: bool = False,
        remember: bool = False,
        cache: StrPath | None = None,
        **options: Unpack[Options],
    ) -> Self:
        """Go on training with files, as `train_text` does with their text, or `train_records` with their lines.

        path and cache are those of `charrnn.train_file`.
        """
        from .data.files import (  # here: importing charrnn should cost little
            record_files,
            text_files,
        )

        _check_more(options)
        state, progress = self._state, options.get("progress")
        vocabulary = state.vocabulary
        if vocabulary.records:
            remember = _remembers(state, remember)
            source = record_files(
                path,
                known=vocabulary,
                extend=extend,
                remember=remember,
                cache=cache,
                progress=progress,
            )
            return self._go_on(state, source, options)
        if remember:
            raise ValueError("this is a model of text, which has no records to remember")
        return self._go_on(
            state,
            text_files(path, known=vocabulary, extend=extend, cache=cache, progress=progress),
            options,
        )

    @over_mpi
    @shows(Options, _AS_BEFORE)
    def train_records(
        self,
        strings: Iterable[TextT],
        *,
        extend: bool = False,
        remember: bool = False,
        **options: Unpack[Options],
    ) -> Self:
        """Go on training with other records; parameters as in `train_text` and `charrnn.train_records`.

        A model that remembers its records remembers these, too; remember=True only makes sure that it does.
        """
        _check_more(options)
        state = self._state
        if not state.vocabulary.records:
            raise ValueError("this is a model of text: train_text goes on with it")
        source = dataset.Records.of(
            strings, known=state.vocabulary, extend=extend, remember=_remembers(state, remember)
        )
        return self._go_on(state, source, options)

    def _go_on(
        self, state: ModelState, source: dataset.Text | dataset.Records, options: Options
    ) -> Self:
        """Train from what this model was when the call began: to make a source runs code of the caller's, that may train it as well."""
        old = state.learner.network
        _, settings, run = split({**options, "dtype": old.dtype}, state.learner.options())
        learner = Learner(old.description.layers, source.vocabulary.symbols, **settings)
        places = (
            list(range(len(state.vocabulary))) + [len(source.vocabulary)] * state.vocabulary.records
        )
        learner.network.grow_from(old, places)
        index = state.index if source.index is None else source.index.union(state.index)
        return self._train(learner, source, index, History(), run)

    def _train(
        self,
        learner: Learner,
        source: dataset.Text | dataset.Records,
        index: RecordIndex | None,
        history: History,
        options: Any,
    ) -> Self:
        """Train a learner and make it this model's, if only by one step; but not where it diverged."""
        trained = ModelState(learner, source.vocabulary, history, index)
        try:
            training.train(
                learner,
                source,
                history,
                CharRNN[Any](learner, source.vocabulary, history, index),
                index=index,
                **options,
            )
            self._state = trained
        except DivergedError as error:
            error.model = self
            raise
        except BaseException as error:
            if history.reports:
                self._state = trained
            if not isinstance(error, KeyboardInterrupt):
                with contextlib.suppress(
                    Exception
                ):  # where it takes no attribute; what hours have made should not be lost with them
                    error.model = self  # type: ignore[attr-defined]
                raise
            stopped = TrainingInterrupted(_INTERRUPTED.format(history.steps))
            stopped.model = self
            raise stopped from error
        return self

    def save(self, target: StrPath | IO[bytes]) -> None:
        """Write the model to one `.safetensors` file; a crash leaves the old file or the new one.

        Parameters
        ----------
        target : path, or file open for writing in binary
            What is open (an `io.BytesIO`, a member of an archive) is written to where it stands, and left open.

        Examples
        --------
        >>> import charrnn, io
        >>> model = charrnn.train_text("to be " * 50, hidden_size=16, steps=20, progress=False)
        >>> file = io.BytesIO()
        >>> model.save(file)
        >>> charrnn.load(file.getvalue())
        CharRNN(hidden_size=16, 5 characters, 20 steps)
        """
        persistence.save(target, self._state)

    def to_torch(self) -> Any:
        """Return the network as a module of PyTorch, ready to evaluate.

        Returns
        -------
        torch.nn.Module
            Called with ids (T, B), and a state or nothing, it returns the logits (T, B, V) of what follows each, and the state after
            them. It has ``rnn``, an nn.RNN, nn.GRU or nn.LSTM that reads one-hot vectors, ``out``, an nn.Linear, and the dropout of this
            model, for training (``module.train()``). Its weights are a copy.

        Raises
        ------
        ModuleNotFoundError
            If PyTorch is not installed.
        ValueError
            If layers differ in their cell or size, which no module of PyTorch has.

        Examples
        --------
        >>> import charrnn, torch  # doctest: +SKIP
        >>> model = charrnn.train_text("to be " * 50, cell="gru", hidden_size=16, epochs=5, progress=False)  # doctest: +SKIP
        >>> module = model.to_torch()  # doctest: +SKIP
        >>> logits, state = module(torch.tensor(model.vocabulary.encode("to b"))[:, None].long())  # doctest: +SKIP
        >>> bool((logits[-1, 0].softmax(0) - torch.tensor(model.next_probs("to b"))).abs().max() < 1e-5)  # doctest: +SKIP
        True
        """
        from .storage import export as interop

        return interop.to_torch(self._state.learner)

    def to_onnx(self, path: StrPath) -> None:
        """Write the network to an ONNX file, for the runtimes that read such; a crash leaves the old file or the new one.

        Its inputs are ``ids``, int64 (T, B), and the state of each layer, ``h1`` (1, B, H), of an LSTM ``c1``, too, ``h2`` ..., zero at the
        start of a text; its outputs ``logits`` (T, B, V) of what follows each id, and ``h1_after`` ..., the state after them. The metadata
        has the ``vocabulary``, a JSON string of the characters in the order of their ids, ``alphabet`` and ``kind`` ("records": one id
        more is their boundary).

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        ModuleNotFoundError
            If the library onnx is not installed.
        OSError
            If the file cannot be written.
        ValueError
            If the weights have 2 GiB or more: such files hold less.

        Examples
        --------
        >>> import charrnn, onnxruntime  # doctest: +SKIP
        >>> model = charrnn.train_text("to be " * 50, hidden_size=16, epochs=5, progress=False)  # doctest: +SKIP
        >>> model.to_onnx("model.onnx")  # doctest: +SKIP
        >>> session = onnxruntime.InferenceSession("model.onnx")  # doctest: +SKIP
        >>> [part.name for part in session.get_inputs()]  # doctest: +SKIP
        ['ids', 'h1']
        """
        from .storage import export as interop

        state = self._state
        interop.to_onnx(state.learner.network, state.vocabulary, path)

    def __reduce__(self) -> Any:
        """Pickle as a model file: what is sent to other processes is as small, and checked as well."""
        return _from_file, (type(self), persistence.to_bytes(self._state))

    def __copy__(self) -> Self:
        return _holding(type(self), self._state)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return _holding(type(self), copy.deepcopy(self._state, memo))

    def __repr__(self) -> str:
        state = self._state
        kind = "bytes" if state.vocabulary.of_bytes else f"{len(state.vocabulary)} characters"
        layers = state.learner.network.description.layers
        size = f"hidden_size={layers[0].units}"
        if not is_vanilla(layers):
            size = f"cell={layers[0].cell!r}, {size}" + (
                f", n_layers={len(layers)}" if len(layers) > 1 else ""
            )
        return f"CharRNN({size}, {'records of ' * state.vocabulary.records}{kind}, {state.history.steps:,} steps)"


_Model = TypeVar("_Model", bound=CharRNN[Any])


def _holding(kind: type[_Model], state: ModelState) -> _Model:
    """Return a model of a class that is what `ModelState` holds."""
    model = kind.__new__(kind)
    model._state = state
    return model


def _from_file(kind: type[_Model], content: bytes) -> _Model:
    return _holding(kind, persistence.load(content))


def _like(texts: Any, values: NDArray[Any]) -> Any:
    """Return values as a Series if texts are one, otherwise as they are; what made a Series has been imported."""
    pandas, polars = sys.modules.get("pandas"), sys.modules.get("polars")
    if pandas is not None and isinstance(texts, pandas.Series):
        return pandas.Series(values, index=texts.index, name=texts.name)
    if polars is not None and isinstance(texts, polars.Series):
        return polars.Series(texts.name, values)
    return values


def _remembers(state: ModelState, wanted: bool) -> bool:
    """Return whether a model remembers its records; or raise ValueError if it is wanted and too late."""
    check_flags(remember=wanted)
    if wanted and state.index is None:
        raise ValueError(
            "this model does not remember the records that it was trained on before, so it cannot tell new from old"
        )
    return state.index is not None


def _check_more(options: Options) -> None:
    """Raise TypeError if a name is given that is no option of a training that goes on with a model."""
    for name in options.keys() & {
        "cell",
        "hidden_size",
        "n_layers",
        "dtype",
        "alphabet",
        "records",
    }:
        raise TypeError(f"{name} is fixed for a model that goes on training")
    check_names(options, Options, ("extend", "remember"))


def _prepare_generation(
    state: ModelState, length: Any, prime: str | bytes, controls: Controls
) -> tuple[PrimedState, Sampling, int]:
    """Return the state after prime, and the checked controls and length of texts."""
    options: dict[str, Any] = {**controls}
    on_unknown = options.pop("on_unknown", "error")
    if isinstance(length, (str, bytes)):
        raise TypeError(
            f"length must be an integer, not {length!r:.80}: the text to continue is prime"
        )
    length = check_integer("length", length, 0, _LONGEST)
    check_names(options, Controls, ("length", "prime", "seed", "unique", "novel", "whole"))
    checked = Sampling.from_options(state.vocabulary, **options)
    if checked.min_length > length:
        raise ValueError(f"min_length must be at most length={length}, not {checked.min_length}")
    return _primed(state, prime, "prime", on_unknown), checked, length


def _primed(state: ModelState, text: AnyText, name: str, on_unknown: OnUnknown) -> PrimedState:
    """Return the state after text, where "" (the default) is the empty text of any model."""
    empty = isinstance(text, str) and to_builtin(text) == ""
    text = state.vocabulary.empty if empty else text
    return PrimedState.from_text(state.learner.network, state.vocabulary, text, name, on_unknown)


def _after(state: ModelState, context: AnyText, on_unknown: Any) -> PrimedState:
    """Return the state after context, in which unknown characters are never read."""
    surprise = isinstance(on_unknown, str) and on_unknown == "surprise"
    return _primed(state, context, "context", "skip" if surprise else on_unknown)
