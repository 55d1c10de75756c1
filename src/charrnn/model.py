"""The network on text: train, go on, generate, score, save."""

import contextlib
import math
from collections.abc import Iterable, Iterator
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from . import persistence, sampling, scoring, training
from .errors import DivergedError, TrainingInterrupted, check_integer, check_sequence
from .history import History
from .novelty import RecordIndex
from .reader import StrPath, read_bytes, read_text
from .rnn import RNN, NetworkOptions
from .sampling import Controls
from .seeding import make_random
from .training import Options
from .vocabulary import AnyText, Vocabulary

# What served ten seeds best on Tiny Shakespeare (benchmarks/quality.py).
DEFAULTS: dict[str, Any] = {"seq_length": 25, "learning_rate": 0.15, "initial_accumulator_value": 100.0}


class CharRNN:
    """A trained network together with the vocabulary it was trained on: text in, text out.

    Made by `train_file`, `train_text`, `train_records` and `load`. Only its own train methods change it: several threads may use one
    model. It can be pickled and copied.

    Parameters
    ----------
    rnn : RNN
    vocabulary : Vocabulary
        As many characters as rnn has symbols.
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

    def __init__(self, rnn: RNN, vocabulary: Vocabulary, history: History, index: RecordIndex | None = None) -> None:
        if rnn.vocab_size != vocabulary.symbols:
            raise ValueError(f"the network has vocab_size={rnn.vocab_size}, the vocabulary {vocabulary.symbols} symbols")
        self.rnn: RNN = rnn
        self.vocabulary: Vocabulary = vocabulary
        self.history: History = history
        self.index: RecordIndex | None = index

    def generate(self, length: int, *, prime: str | bytes = "", seed: int | None = None, **controls: Unpack[Controls]) -> AnyText:
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
            End before the first of these texts; if none comes, the text has the full length.
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
        start, checked = self._begin(length, prime, controls)
        (text,) = sampling.texts(self.rnn, self.vocabulary, checked, start, length, seed, 1, 1)
        return text

    def generate_many(
        self,
        count: int,
        length: int,
        *,
        unique: bool = False,
        novel: bool = False,
        prime: str | bytes = "",
        seed: int | None = None,
        **controls: Unpack[Controls],
    ) -> list[AnyText]:
        """Write count texts as a batch, each as `generate` would.

        Parameters
        ----------
        count : int
            Texts to write, 0 or more.
        length, prime, controls
            See `generate`.
        unique : bool
            Whether to leave out a text that was written before: what comes is the first count different ones.
        novel : bool
            Whether to leave out records (prime included) that the model was trained on; it must remember them
            (``train_records(..., remember=True)``).
        seed : int, optional
            Text number i depends on the seed and on i only, whatever the count; number 0 is what `generate` writes.

        Returns
        -------
        list of str
            Fewer than count if unique or novel left out too many: after 100 count + 1000 texts it gives up.

        Examples
        --------
        >>> import charrnn
        >>> model = charrnn.train_text("abcabcabc" * 20, epochs=60, hidden_size=8, progress=False)
        >>> model.generate_many(2, 4, prime="c", temperature=0)
        ['abca', 'abca']
        """
        count = check_integer("count", count, 0)
        if novel and self.index is None:
            raise ValueError("novel=True needs a model that remembers its records: train_records(..., remember=True)")
        start, checked = self._begin(length, prime, controls)
        tries = count
        if count and (unique or novel):  # at temperature 0 all are the same
            tries = 100 * count + 1000 if checked.temperature else 1
        known = self.index if novel and self.index is not None else ()
        primed = self.vocabulary.decode(start.ids[:, 0])
        chosen: list[AnyText] = []
        seen: set[AnyText] = set()
        for text in sampling.texts(self.rnn, self.vocabulary, checked, start, length, seed, tries, count):
            if (unique and text in seen) or primed + text in known:
                continue
            seen.add(text)
            chosen.append(text)
            if len(chosen) == count:
                break
        return chosen

    def stream(
        self, length: int | None = None, *, prime: str | bytes = "", seed: int | None = None, **controls: Unpack[Controls]
    ) -> Iterator[AnyText]:
        """Return an iterator of the characters that `generate` would write, one by one, without end if length is None.

        Examples
        --------
        >>> import charrnn
        >>> model = charrnn.train_text("abcabcabc" * 20, epochs=60, hidden_size=8, progress=False)
        >>> list(model.stream(3, prime="ab", temperature=0))
        ['c', 'a', 'b']
        """
        start, checked = self._begin(length, prime, controls)
        writer = sampling.Writer(self.rnn, self.vocabulary, checked, start, make_random(seed))
        return sampling.stream(writer, math.inf if length is None else length)

    def beam_search(
        self,
        length: int,
        *,
        n_best: int = 1,
        width: int | None = None,
        prime: str | bytes = "",
        allowed: str | bytes | None = None,
        forbidden: str | bytes | None = None,
        min_length: int = 0,
        on_unknown: str = "error",
    ) -> list[tuple[AnyText, float]]:
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
        controls: Controls = {"allowed": allowed, "forbidden": forbidden, "min_length": min_length, "on_unknown": on_unknown}
        start, checked = self._begin(length, prime, controls)
        return sampling.beam_search(self.rnn, self.vocabulary, checked, start, length, width)[:n_best]

    def _begin(self, length: int | None, prime: str | bytes, controls: Controls) -> tuple[sampling.Prime, sampling.Sampling]:
        """Return the state after prime and the checked controls of texts of a length."""
        options: dict[str, Any] = {**controls}
        on_unknown = options.pop("on_unknown", "error")
        if length is not None:
            check_integer("length", length, 0)
        for name in options.keys() - Controls.__annotations__.keys():
            raise TypeError(f"there is no option {name!r}; the options are length, prime, seed, {', '.join(Controls.__annotations__)}")
        checked = sampling.Sampling.check(self.vocabulary, **options)
        if length is not None and checked.min_length > length:
            raise ValueError(f"min_length must be at most length={length}, not {checked.min_length}")
        return sampling.Prime(self.rnn, self.vocabulary, self._prime(prime), on_unknown=on_unknown), checked

    def _prime(self, prime: AnyText) -> AnyText:
        """Return prime, where "" (the default) is the empty text of any model."""
        return self.vocabulary.empty if prime == "" else prime

    def log_probs(self, text: str | bytes, *, on_unknown: str = "error") -> NDArray[np.float64]:
        """Return the natural logarithm of each character's probability given the ones before it, float64 (len(text),).

        A model of records has one more at the end, (len(text) + 1,): that the record ends there. Characters skipped have none.

        Raises
        ------
        ValueError
            If text has a character that the model does not know.
        """
        ids = self.vocabulary.encode(text, on_unknown=on_unknown)
        return -scoring.nll(self.rnn, self.vocabulary, ids, np.array([0]), np.array([len(ids)]))[:, 0]

    def score(self, text: str | bytes, *, on_unknown: str = "error") -> float:
        """Return the mean surprise of text in bits per character: low for text like the training text.

        Parameters
        ----------
        text : str
            Not empty, unless the model is one of records: their score includes the end.
        on_unknown : {"error", "skip"}
            Whether a character that the model does not know is an error or left out; a text of which nothing is left scores NaN.

        Raises
        ------
        ValueError
            If text is empty or has a character that the model does not know.
        """
        return float(scoring.bits_per_symbol(self.rnn, self.vocabulary, [text], "text", on_unknown)[0])

    def score_many(self, texts: Iterable[str | bytes], *, on_unknown: str = "error") -> NDArray[np.float64]:
        """Return the `score` of each text, to the last bit, as one batch: float64 (len(texts),).

        Parameters
        ----------
        texts : iterable of str
        on_unknown : {"error", "skip"}
            See `score`.
        """
        return scoring.bits_per_symbol(self.rnn, self.vocabulary, check_sequence("texts", texts), "texts[{}]", on_unknown)

    def next_probs(self, prefix: str | bytes, *, on_unknown: str = "error") -> NDArray[np.float64]:
        """Return the probability of each symbol to follow prefix (which may be empty): float64 (V,), for records with the end, last."""
        work = self.rnn.workspace(1, 1)
        work.hs[0] = sampling.Prime(self.rnn, self.vocabulary, self._prime(prefix), "prefix", on_unknown).state
        (p,) = self.rnn.next_probs(work)
        return np.asarray(p)

    def train_text(self, text: str | bytes, *, extend: bool = False, **options: Unpack[Options]) -> "CharRNN":
        """Go on training with another text; the model changes in place.

        Parameters
        ----------
        text : str
            At least two characters.
        extend : bool
            Whether to add its characters to the vocabulary; those that were there keep their ids.
        **options
            Those of `charrnn.train_text` but hidden_size, dtype and alphabet. seq_length, batch_size, learning_rate, clip_value and
            initial_accumulator_value are by default as they were. Adagrad's memory starts afresh.

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
        if self.vocabulary.records:
            raise ValueError("this is a model of records: train_records goes on with it")
        return self._go_on(training.Text(text, known=self.vocabulary, extend=extend), options)

    def train_file(self, path: StrPath, *, extend: bool = False, **options: Unpack[Options]) -> "CharRNN":
        """Go on training with a file, as `train_text` does with its text."""
        return self.train_text(read_bytes(path) if self.vocabulary.of_bytes else read_text(path), extend=extend, **options)

    def train_records(
        self, strings: Iterable[str | bytes], *, extend: bool = False, remember: bool = False, **options: Unpack[Options]
    ) -> "CharRNN":
        """Go on training with other records; parameters as in `train_text` and `charrnn.train_records`.

        A model that remembers its records remembers these, too; remember=True only makes sure that it does.
        """
        if not self.vocabulary.records:
            raise ValueError("this is a model of text: train_text goes on with it")
        if remember and self.index is None:
            raise ValueError("this model does not remember the records that it was trained on before, so it cannot tell new from old")
        remember = self.index is not None
        return self._go_on(training.Records(strings, known=self.vocabulary, extend=extend, remember=remember), options)

    def _go_on(self, source: training.Text | training.Records, options: Options) -> "CharRNN":
        fixed = {"hidden_size": self.rnn.hidden_size, "dtype": self.rnn.dtype}
        for name in options.keys() & (fixed.keys() | {"alphabet"}):
            raise TypeError(f"{name} is fixed for a model that goes on training")
        network, rest = _split({**persistence.config(self.rnn), **options, **fixed})
        rnn = RNN(vocab_size=source.vocabulary.symbols, **network)
        places = list(range(len(self.vocabulary))) + [len(source.vocabulary)] * self.vocabulary.records
        rnn.params.grow_from(self.rnn.params, places)
        index = self.index if source.index is None else source.index.union(self.index)
        return self._train(rnn, source, index, History(), rest)

    def _train(
        self,
        rnn: RNN,
        source: training.Text | training.Records,
        index: RecordIndex | None,
        history: History,
        options: dict[str, Any],
    ) -> "CharRNN":
        """Train rnn and make it this model's, if only by one step; but not where it diverged."""
        try:
            training.train(rnn, source, history, index=index, **options)
        except DivergedError as error:
            error.model = self
            raise
        except BaseException as error:
            if history.reports or history.stop_reason is not None:
                self._become(rnn, source.vocabulary, history, index)
            if not isinstance(error, KeyboardInterrupt):
                with contextlib.suppress(AttributeError):  # what hours of training have made should not be lost with them
                    error.model = self  # type: ignore[attr-defined]
                raise
            stopped = TrainingInterrupted("training was interrupted; the `model` attribute of this exception has what was learned")
            stopped.model = self
            raise stopped from error
        self._become(rnn, source.vocabulary, history, index)
        return self

    def _become(self, rnn: RNN, vocabulary: Vocabulary, history: History, index: RecordIndex | None) -> None:
        self.rnn = rnn
        self.vocabulary = vocabulary
        self.history = history
        self.index = index

    def save(self, path: StrPath) -> None:
        """Write the model to one `.safetensors` file; a crash leaves the old file or the new one."""
        persistence.save(path, persistence.Saved(self.rnn, self.vocabulary, self.history, self.index))

    def __repr__(self) -> str:
        return f"CharRNN(hidden_size={self.rnn.hidden_size}, {len(self.vocabulary)} characters, {self.history.steps} steps)"


def train_text(text: str | bytes, *, alphabet: str = "characters", **options: Unpack[Options]) -> CharRNN:
    """Train a model on a text.

    Parameters
    ----------
    text : str
        At least two characters.
    alphabet : {"characters", "bytes"}
        Of what a text is made: Unicode code points, or bytes, of which any file consists. A model of bytes takes and gives bytes.
    hidden_size : int, default 100
        Units in the hidden layer.
    seq_length : int, default 25
        Characters in a training window.
    batch_size : int, default 1
        Parallel streams of the text.
    learning_rate : float, default 0.15
        Step of Adagrad; with the default of initial_accumulator_value what served ten seeds best on Tiny Shakespeare.
    clip_value : float, default 5.0
        Each element of a gradient is clipped to [-clip_value, clip_value].
    initial_accumulator_value : float, default 100.0
        Where Adagrad's memory starts.
    dtype : {"float32", "float64"}
        Of the weights and all that is computed.
    seed : int, default 0
        Of the initial weights and of the order of records; None takes one from the operating system. The same text, options and seed
        give the same model, bit for bit, on every processor with FMA.
    n_threads : int, default 1
        Threads that share a step where batch_size is above 1; any number gives the same bits.
    epochs, steps, seconds : optional
        Budgets: passes over the text, updates (windows of seq_length characters in batch_size streams), time (the last measurement
        of the held-out part comes on top). The first one reached ends the training; none given: 10 epochs.
    validation_fraction : float, default 0.1
        This part of the text, at its end, is not trained on but measured after each epoch; 0 switches it off.
    keep : {"best", "last"}, optional
        Which weights the model gets: those of the epoch with the lowest validation loss, or those of the last step. By default the
        best if something is held out.
    patience : int, optional
        End after so many epochs without a better validation loss, at least 1; if no budget is given, after 10 epochs all the same.
    learning_rate_decay : float, default 1.0
        The learning rate is multiplied by it after each epoch; above 0, at most 1.
    callback : callable, optional
        Called with a `Progress` a few times an epoch; returns True to stop.
    progress : bool, optional
        Whether to show a bar on stderr; by default if stderr is a terminal.
    checkpoint : path, optional
        Write all that is needed to go on to this file, at the end and before (a few times an epoch, at most once a second and at
        least every half minute); a crash leaves the last whole one.
        It is a model file, too: `load` reads it, with the weights of its last step.
    resume : path, optional
        Go on where this checkpoint stands, to a larger budget (all budgets count from the very start): the weights then are those of
        a training that was never interrupted, to the bit. The text and all options but budgets, patience, callback, progress and
        n_threads must be those of the checkpoint.

    Returns
    -------
    CharRNN

    Raises
    ------
    ValueError, TypeError
        If text is too short or an option is out of range.
    DivergedError
        If the loss is not finite; its ``model`` attribute is the model as of the last good step.
    TrainingInterrupted
        At Ctrl-C (it is a KeyboardInterrupt); its ``model`` attribute is the model, with the weights that `keep` says. Any other
        exception that ends a training (from your callback, from a full disk) has the model as of the last whole step there, too.

    Examples
    --------
    >>> import charrnn
    >>> model = charrnn.train_text("to be, or not to be " * 50, hidden_size=16, epochs=40, progress=False)
    >>> model.score("to be") < model.score("eb ot")
    True
    """
    return _new(training.Text(text, alphabet), options)


def train_file(path: StrPath, *, alphabet: str = "characters", **options: Unpack[Options]) -> CharRNN:
    """Train a model on a UTF-8 text file.

    Parameters
    ----------
    path : str or path-like
        A byte order mark is dropped; newlines are kept as they are. With alphabet="bytes" any file, as it is.
    alphabet, **options
        See `train_text`.

    Returns
    -------
    CharRNN

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not UTF-8 (the message gives the byte) or too short; and what `train_text` raises.
    """
    return train_text(read_bytes(path) if alphabet == "bytes" else read_text(path), alphabet=alphabet, **options)


def train_records(
    strings: Iterable[str | bytes], *, alphabet: str = "characters", remember: bool = False, **options: Unpack[Options]
) -> CharRNN:
    """Train a model on records: names, domains, molecules ..., each of which begins and ends by itself.

    Parameters
    ----------
    strings : iterable of str
        At least one that is not empty. Each is read from the zero state; its characters and its end are learned.
    remember : bool
        Whether the model keeps an index of the records, four bytes each, for ``generate_many(novel=True)``.
    alphabet, **options
        See `train_text`. batch_size is the number of records a step (of similar length); a step spans whole records, whatever
        seq_length is. The order is shuffled in each epoch, depending on seed. The held-out part is drawn at random, depending on seed.

    Returns
    -------
    CharRNN
        It writes whole records, which end where the model ends them; its scores include the end.

    Examples
    --------
    >>> import charrnn
    >>> model = charrnn.train_records(["anna", "hanna", "susanna"] * 20, hidden_size=16, epochs=60, progress=False)
    >>> model.generate(20, temperature=0, prime="su")
    'sanna'
    """
    return _new(training.Records(strings, alphabet, remember=remember), options)


def _new(source: training.Text | training.Records, options: Options) -> CharRNN:
    """Train a new model on a source."""
    network, rest = _split({"hidden_size": 100, **DEFAULTS, **options})
    rnn = RNN(vocab_size=source.vocabulary.symbols, **network)
    model = CharRNN(rnn, source.vocabulary, History(), source.index)
    return model._train(rnn, source, source.index, model.history, rest)


def _split(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options of the network and those of the training; the seed is for both."""
    for name in options.keys() - Options.__annotations__.keys():
        raise TypeError(f"there is no option {name!r}; the options are {', '.join(Options.__annotations__)}")
    options = {**options, "seed": options.get("seed", 0)}
    network = {name: value for name, value in options.items() if name in NetworkOptions.__annotations__}
    return network, {name: value for name, value in options.items() if name not in network or name == "seed"}


def load(path: StrPath) -> CharRNN:
    """Return the CharRNN that `CharRNN.save` wrote to path.

    Raises
    ------
    OSError
        If the file cannot be opened or read.
    ModelFormatError
        If it is not a charrnn model that this version reads. No code in a file is ever run.
    """
    saved = persistence.load(path)
    return CharRNN(saved.rnn, saved.vocabulary, saved.history, saved.index)
