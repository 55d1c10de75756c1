"""The network on text: generate, score, save."""

import math

import numpy as np

from . import persistence
from .errors import check_integer, check_text
from .reader import IGNORED
from .rnn import make_random
from .sampling import Sampling

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
    """

    def __init__(self, rnn, vocabulary, history):
        if rnn.vocab_size != len(vocabulary):
            raise ValueError(f"the network has vocab_size={rnn.vocab_size}, the vocabulary {len(vocabulary)} characters")
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
            text += self.vocabulary.decode(self._draw(work, 1, random, sampling)[:, 0])
            length -= 1
            text, stopped = sampling.cut(text)
            ready = len(text) if stopped or length == 0 else max(0, len(text) - held)
            yield from text[:ready]
            text = text[ready:]

    def _primed(self, prime):
        """Return a workspace of one stream whose state has been led from zero through prime."""
        work = self.rnn.workspace(1, 1)
        self._lead(work, self.vocabulary.encode(prime, name="prime"))
        return work

    def _write(self, primed, length, random, sampling):
        """Return one text for each generator state: a piece at a time, if they may stop, until all have."""
        work = self.rnn.workspace(1, len(random))
        work.hs[0] = primed.hs[0]
        texts, stopped = [""] * len(random), [False] * len(random)
        while length > 0 and not all(stopped):
            piece = min(length, _PIECE) if sampling.stop else length
            length -= piece
            for i, ids in enumerate(self._draw(work, piece, random, sampling).T):
                if not stopped[i]:
                    texts[i], stopped[i] = sampling.cut(texts[i] + self.vocabulary.decode(ids))
        return texts

    def _draw(self, work, n, random, sampling):
        options = {name: getattr(sampling, name) for name in ("temperature", "top_k", "top_p", "min_p", "allowed")}
        return self.rnn.draw(work, n, random, **options)

    def log_probs(self, text):
        """Return the natural logarithm of each character's probability given the ones before it, float64 (len(text),).

        Raises
        ------
        ValueError
            If text has a character that the model does not know.
        """
        ids = self.vocabulary.encode(text)
        if not len(ids):
            return np.empty(0)
        work = self.rnn.workspace(min(64, len(ids)), 1)
        first = self.rnn.next_nll(work, ids[:1])
        rest = self.rnn.evaluate(work, ids[:-1, None], ids[1:, None])
        return -np.concatenate([first, rest[:, 0]])

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
        if not lengths.all():
            raise ValueError(f"{name.format(np.argmin(lengths))} must have at least one character")
        ids = self._encode_all(texts, name)
        ends = np.cumsum(lengths)
        sums = np.empty(len(texts))
        order = np.argsort(lengths, kind="stable")
        start = 0
        while start < len(texts):
            # Neighbours in the order have nearly the same length, so a batch ignores few targets; long texts go in smaller batches.
            batch = order[start : start + max(1, min(_STREAMS, _LARGEST_BATCH // lengths[order[start]]))]
            start += len(batch)
            sums[batch] = self._nll(ids, ends[batch] - lengths[batch], lengths[batch])
        return sums / lengths / math.log(2)

    def _encode_all(self, texts, name):
        """Encode texts as one, which is much faster; an unknown character is looked for again to name its text and place."""
        try:
            return self.vocabulary.encode("".join(texts))
        except ValueError:
            for i, text in enumerate(texts):
                self.vocabulary.encode(text, name=name.format(i))
            raise

    def _nll(self, ids, starts, lengths):
        """Return the loss in nats, summed over its characters in their order, of each of the texts ids[start : start + length]."""
        work = self.rnn.workspace(min(64, max(1, lengths.max() - 1)), len(starts))
        first = self.rnn.next_nll(work, ids[starts])
        where = np.arange(1, lengths.max())[:, None]
        exists = where < lengths
        targets = np.where(exists, ids[np.where(exists, starts + where, 0)], IGNORED)
        inputs = ids[np.where(exists, starts + where - 1, 0)]
        return np.cumsum(np.vstack([first, self.rnn.evaluate(work, inputs, targets)]), axis=0)[-1]

    def next_probs(self, prefix):
        """Return the probability of each character of the vocabulary to follow prefix (which may be empty), float64 (V,)."""
        work = self.rnn.workspace(1, 1)
        self._lead(work, self.vocabulary.encode(prefix, name="prefix"))
        return self.rnn.next_probs(work)[0]

    def save(self, path):
        """Write the model to one `.safetensors` file; a crash leaves the old file or the new one."""
        persistence.save(path, self.rnn, self.vocabulary, self.history)

    def _lead(self, work, ids):
        """Lead the state from zero through ids."""
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
