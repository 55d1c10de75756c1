"""How characters are drawn: options of `CharRNN.generate`, checked, in the form that the compiled sampler takes."""

from dataclasses import dataclass

import numpy as np

from .errors import check_integer, check_number, check_text


@dataclass(frozen=True)
class Sampling:
    """Checked options: `allowed` (V,) of int8 says which characters may be drawn, the rest is as in `CharRNN.generate`."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    allowed: np.ndarray
    stop: tuple

    @classmethod
    def check(cls, vocabulary, *, temperature=1.0, top_k=None, top_p=None, min_p=None, allowed=None, forbidden=None, stop=None):
        """Return the options if they are valid for vocabulary, or raise TypeError or ValueError that names the wrong one."""
        mask = np.ones(vocabulary.symbols, np.int8)  # the end of a record is always allowed
        if allowed is not None:
            mask[: len(vocabulary)] = 0
            mask[_known(vocabulary, "allowed", allowed)] = 1
        if forbidden is not None:
            mask[_known(vocabulary, "forbidden", forbidden)] = 0
        if not mask[: len(vocabulary)].any():
            raise ValueError("allowed and forbidden leave no character of the model")
        stop = () if stop is None else (stop,) if isinstance(stop, str) else tuple(stop)
        for text in stop:
            if not check_text("stop", text):
                raise ValueError("stop must not have an empty text")
        return cls(
            temperature=check_number("temperature", temperature, minimum=0),
            top_k=vocabulary.symbols if top_k is None else min(check_integer("top_k", top_k, 1), vocabulary.symbols),
            top_p=1.0 if top_p is None else _check_share("top_p", top_p, above=0),
            min_p=0.0 if min_p is None else _check_share("min_p", min_p, minimum=0),
            allowed=mask,
            stop=stop,
        )

    def cut(self, text):
        """Return text up to the first stop text in it, and whether there is one."""
        places = [place for place in (text.find(word) for word in self.stop) if place >= 0]
        return (text[: min(places)], True) if places else (text, False)


def _known(vocabulary, name, chars):
    """Return the ids of those of chars that the model knows."""
    return [vocabulary.chars.index(char) for char in set(check_text(name, chars)) if char in vocabulary]


def _check_share(name, value, **bounds):
    number = check_number(name, value, **bounds)
    if number > 1:
        raise ValueError(f"{name} must be at most 1, not {value!r}")
    return number
