"""The network on text: generate, score, save."""

import math

import numpy as np

from . import persistence
from .errors import check_integer, check_number, check_text
from .reader import IGNORED
from .rnn import make_random


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

    def generate(self, length, *, prime="", temperature=1.0, seed=None):
        """Write text.

        Parameters
        ----------
        length : int
            Characters to write, 0 or more.
        prime : str
            Text to continue; not repeated in the result.
        temperature : float, default 1.0
            Below 1 safer, above 1 wilder; 0 always takes the most likely character.
        seed : int, optional
            The same seed gives the same text. None takes one from the operating system.

        Returns
        -------
        str of length characters

        Raises
        ------
        ValueError
            If length or temperature is negative, or prime has a character that the model does not know (the message says which and where).

        Examples
        --------
        >>> import charrnn
        >>> model = charrnn.train_text("abcabcabc" * 20, epochs=60, hidden_size=8, progress=False)
        >>> model.generate(6, prime="ab", temperature=0)
        'cabcab'
        """
        length = check_integer("length", length, 0)
        temperature = check_number("temperature", temperature, minimum=0)
        work = self.rnn.workspace(1, 1)
        self._lead(work, self.vocabulary.encode(prime, name="prime"))
        return self.vocabulary.decode(self.rnn.draw(work, length, temperature=temperature, random=make_random(seed))[:, 0])

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
        if not check_text("text", text):
            raise ValueError("text must have at least one character")
        return float(-self.log_probs(text).mean() / math.log(2))

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
    return CharRNN(*persistence.load(path))
