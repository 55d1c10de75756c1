"""The network on text: generate, score, save."""

import math

import numpy as np

from . import persistence
from .errors import check_integer, check_text
from .reader import IGNORED
from .sampling import Sampling
from .seeding import make_random

_STREAMS = 64  # texts that are generated or scored together; more is no faster
_LARGEST_BATCH = 1 << 20  # characters scored together
_PIECE = 64  # characters drawn between two looks for stop texts


class CharRNN:
    """A trained network together with the vocabulary it was trained on: text in, text out.

    Made by `train_file`, `train_text` and `load`. Its methods do not change it: several threads may use one model.

    Parameters
    ----------
    rnn : RNN
    vocabulary : Vocabulary
        As many characters as rnn has symbols.
    history : loop.History
        What training did.

    Notes
    -----
    A text starts from the zero state, so p(text) = p(x_1 | nothing) p(x_2 | x_1) ... with every factor a softmax over the vocabulary.
    A model of records (`train_records`) reads a boundary symbol first and predicts it last:
    p(record) = p(x_1 | boundary) ... p(boundary | boundary x_1 ... x_n).
    """

    def __init__(self, rnn, vocabulary, history):
        if rnn.vocab_size != vocabulary.symbols:
            raise ValueError(f"the network has vocab_size={rnn.vocab_size}, the vocabulary {vocabulary.symbols} symbols")
        self.rnn = rnn
        self.vocabulary = vocabulary
        self.history = history

    def generate(self, length, *, prime="", seed=None, **controls):
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
        allowed, forbidden : str, optional
            Characters to draw from, and not to draw; those that the model does not know are ignored.
        stop : str or sequence of str, optional
            End before the first of these texts; if none comes, the text has the full length.

        Returns
        -------
        str of length characters, or fewer if a stop text came

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
        return self.generate_many(1, length, prime=prime, seed=seed, **controls)[0]

    def generate_many(self, count, length, *, prime="", seed=None, **controls):
        """Write count texts as one batch, each as `generate` would.

        Parameters
        ----------
        count : int
            Texts to write, 0 or more.
        length, prime, controls
            See `generate`.
        seed : int, optional
            Text number i depends on the seed and on i only, whatever the count; number 0 is what `generate` writes.

        Returns
        -------
        list of str

        Examples
        --------
        >>> import charrnn
        >>> model = charrnn.train_text("abcabcabc" * 20, epochs=60, hidden_size=8, progress=False)
        >>> model.generate_many(2, 4, prime="c", temperature=0)
        ['abca', 'abca']
        """
        count, length = check_integer("count", count, 0), check_integer("length", length, 0)
        sampling = Sampling.check(self.vocabulary, **controls)
        primed, random = self._primed(prime), make_random(seed, count)
        texts = []
        for start in range(0, count, _STREAMS):
            states = random[start : start + _STREAMS]
            texts += self._write(primed, length, states, sampling)
        return texts

    def stream(self, length=None, *, prime="", seed=None, **controls):
        """Yield the characters that `generate` would write, one by one, without end if length is None.

        Examples
        --------
        >>> import charrnn
        >>> model = charrnn.train_text("abcabcabc" * 20, epochs=60, hidden_size=8, progress=False)
        >>> list(model.stream(3, prime="ab", temperature=0))
        ['c', 'a', 'b']
        """
        length = math.inf if length is None else check_integer("length", length, 0)
        sampling = Sampling.check(self.vocabulary, **controls)
        return self._stream(self._primed(prime), length, make_random(seed), sampling)

    def _stream(self, work, length, random, sampling):
        # The last characters are held back while they may be the beginning of a stop text.
        held = max(map(len, sampling.stop), default=1) - 1
        text, stopped = "", False
        while length > 0 and not stopped:
            record, ended = self._cut(self._draw(work, 1, random, sampling)[:, 0])
            length -= 1
            text, stopped = sampling.cut(text + self.vocabulary.decode(record))
            stopped = stopped or ended
            ready = len(text) if stopped or length == 0 else max(0, len(text) - held)
            yield from text[:ready]
            text = text[ready:]

    def _primed(self, prime):
        """Return a workspace of one stream whose state has been led from zero through prime."""
        work = self.rnn.workspace(1, 1)
        self._lead(work, prime, "prime")
        return work

    def _write(self, primed, length, random, sampling):
        """Return one text for each generator state: a piece at a time, if they may stop, until all have."""
        work = self.rnn.workspace(1, len(random))
        work.hs[0] = primed.hs[0]
        texts, stopped = [""] * len(random), [False] * len(random)
        while length > 0 and not all(stopped):
            piece = min(length, _PIECE) if sampling.stop or self.vocabulary.records else length
            length -= piece
            for i, ids in enumerate(self._draw(work, piece, random, sampling).T):
                if not stopped[i]:
                    record, ended = self._cut(ids)
                    texts[i], stopped[i] = sampling.cut(texts[i] + self.vocabulary.decode(record))
                    stopped[i] = stopped[i] or ended
        return texts

    def _cut(self, ids):
        """Return ids up to the first boundary of records, and whether there is one."""
        ends = np.flatnonzero(ids == len(self.vocabulary))
        return (ids[: ends[0]], True) if len(ends) else (ids, False)

    def _draw(self, work, n, random, sampling):
        options = {name: getattr(sampling, name) for name in ("temperature", "top_k", "top_p", "min_p", "allowed")}
        return self.rnn.draw(work, n, random, **options)

    def log_probs(self, text):
        """Return the natural logarithm of each character's probability given the ones before it, float64 (len(text),).

        A model of records has one more at the end, (len(text) + 1,): that the record ends there.

        Raises
        ------
        ValueError
            If text has a character that the model does not know.
        """
        ids = self.vocabulary.encode(text)
        if not len(ids) and not self.vocabulary.records:
            return np.empty(0)
        return -self._nll(ids, np.array([0]), np.array([len(ids)]))[:, 0]

    def score(self, text):
        """Return the mean surprise of text in bits per character: low for text like the training text.

        Raises
        ------
        ValueError
            If text is empty or has a character that the model does not know.
        """
        return float(self._score([check_text("text", text)], "text")[0])

    def score_many(self, texts):
        """Return the `score` of each text, to the last bit, as one batch: float64 (len(texts),).

        Parameters
        ----------
        texts : sequence of str
            None of them empty.
        """
        texts = list(texts)
        for i, text in enumerate(texts):
            check_text(f"texts[{i}]", text)
        return self._score(texts, "texts[{}]")

    def _score(self, texts, name):
        lengths = np.array([len(text) for text in texts], dtype=np.int64)
        if not self.vocabulary.records and not lengths.all():
            raise ValueError(f"{name.format(np.argmin(lengths))} must have at least one character")
        ids = self._encode_all(texts, name)
        ends = np.cumsum(lengths)
        sums = np.empty(len(texts))
        order = np.argsort(lengths, kind="stable")
        start = 0
        while start < len(texts):
            # Neighbours in the order have nearly the same length, so a batch ignores few targets; long texts go in smaller batches.
            batch = order[start : start + max(1, min(_STREAMS, _LARGEST_BATCH // max(1, lengths[order[start]])))]
            start += len(batch)
            # Row by row: the same sum whatever the batch, which a pairwise sum would not be.
            sums[batch] = np.cumsum(self._nll(ids, ends[batch] - lengths[batch], lengths[batch]), axis=0)[-1]
        return sums / (lengths + self.vocabulary.records) / math.log(2)

    def _encode_all(self, texts, name):
        """Encode texts as one, which is much faster; an unknown character is looked for again to name its text and place."""
        try:
            return self.vocabulary.encode("".join(texts))
        except ValueError:
            for i, text in enumerate(texts):
                self.vocabulary.encode(text, name=name.format(i))
            raise

    def _nll(self, ids, starts, lengths):
        """Return the loss of each character of the texts ids[start : start + length], in nats, a column a text; 0 after its end.

        For records, also of the end; row t is what follows t characters.
        """
        records = self.vocabulary.records
        boundary = len(self.vocabulary)
        rows = int(lengths.max()) + records
        t = np.arange(rows)[:, None]
        ids = np.append(ids, ids.dtype.type(0))  # a place to point at beyond the last text
        targets = np.where(t < lengths, ids[np.where(t < lengths, starts + t, 0)], IGNORED)
        if records:
            targets[np.broadcast_to(t == lengths, targets.shape)] = boundary
        work = self.rnn.workspace(min(64, rows), len(starts))
        if records:
            inputs = np.vstack([np.full(len(starts), boundary), np.maximum(targets[:-1], 0)])
            return self.rnn.evaluate(work, inputs, targets)
        first = self.rnn.next_nll(work, targets[0])  # of the zero state
        return np.vstack([first, self.rnn.evaluate(work, np.maximum(targets[:-1], 0), targets[1:])])

    def next_probs(self, prefix):
        """Return the probability of each character of the vocabulary to follow prefix (which may be empty), float64 (V,)."""
        work = self.rnn.workspace(1, 1)
        self._lead(work, prefix, "prefix")
        return self.rnn.next_probs(work)[0]

    def save(self, path):
        """Write the model to one `.safetensors` file; a crash leaves the old file or the new one."""
        persistence.save(path, self.rnn, self.vocabulary, self.history)

    def _lead(self, work, text, name):
        """Lead the state from zero through text, for records through the boundary before it."""
        ids = self.vocabulary.encode(text, name=name)
        if self.vocabulary.records:
            ids = np.insert(ids, 0, len(self.vocabulary))
        self.rnn.evaluate(work, ids[:, None], np.full((len(ids), 1), IGNORED, np.int32))

    def __repr__(self):
        return f"CharRNN(hidden_size={self.rnn.hidden_size}, {len(self.vocabulary)} characters, {self.history.steps} steps)"


def load(path):
    """Return the CharRNN that `CharRNN.save` wrote to path.

    Raises
    ------
    OSError
        If the file cannot be opened or read.
    ModelFormatError
        If it is not a charrnn model that this version reads. No code in a file is ever run.
    """
    rnn, vocabulary, history, _ = persistence.load(path)
    return CharRNN(rnn, vocabulary, history)
