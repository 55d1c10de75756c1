"""A text as a network reads it: what its units hold, what it expects, what a prediction rests on. Made by `CharRNN.trace`."""

import math
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..data.vocabulary import AnyText, OnUnknown, TextT, Vocabulary
from ..network import Network, Real
from ..network import dispatch as _dispatch
from ..network._types import IGNORED, checked_workspace
from ..util.atomic_write import StrPath, check_target, write_atomically
from ..util.errors import check_choice, check_integer
from . import properties as nameable

if TYPE_CHECKING:
    from ..plotting import TraceFigure

_NUMBERS = 1 << 22  # of logits that are kept at a time
_STREAMS, _UNITS = 64, 1 << 14  # windows that are led back together, at most, and their units
_IN_NOTEBOOK = 2000  # characters that a notebook shows


class Unit(NamedTuple):
    """A unit, and the property that it follows best; follows is "" and correlation 0 if there is none.

    layer and number count from 0: the unit's values are ``trace.parts[layer][part][:, number]``.
    """

    layer: int
    number: int
    follows: str
    correlation: float
    part: str = "h"


class Trace(Generic[TextT]):
    r"""What a network does with a text, character by character.

    Attributes
    ----------
    text : str, or bytes
        What was read: n characters, without those that were skipped.
    vocabulary : Vocabulary
    states : tuple of ndarray (n, H)
        For each layer the states of its units after each character: views, in the network's dtype.
    parts : tuple of dict
        For each layer the states and what made them, (n, H), by name: h; c and the gates i, f, g, o of an LSTM; n, r, u and q of a GRU.
    surprise : ndarray (n,) of float64
        How much each character surprises, given the ones before it, in bits. A model of records has one more at the end: that the
        record ends there.
    next_ids, next_probs : ndarray (n, top)
        The likeliest symbols after each character, the likeliest first, and their probabilities. `likeliest` gives them as text.
    network : network.Network
        Whose states these are. `saliency` works with the weights that it has then.

    Examples
    --------
    >>> import charrnn
    >>> model = charrnn.train_text("to be, or not to be\n" * 50, hidden_size=16, epochs=40, progress=False)
    >>> trace = model.trace("to be, or not to be")
    >>> len(trace), trace.states[0].shape
    (19, (19, 16))
    >>> bool((trace.surprise == -model.log_probs(trace.text) / np.log(2)).all())
    True
    """

    def __init__(
        self,
        network: Network,
        vocabulary: Vocabulary,
        text: TextT,
        state: Real,
        *,
        top: int = 5,
        on_unknown: OnUnknown = "error",
    ) -> None:
        self.network: Network = network
        self.vocabulary: Vocabulary = vocabulary
        self._ids: NDArray[np.int32] = vocabulary.encode(text, on_unknown=on_unknown)
        self.text: TextT = vocabulary.decode(self._ids)
        top = min(check_integer("top", top, 1), vocabulary.symbols)
        n, records = len(self._ids), int(vocabulary.records)
        targets = np.append(self._ids, len(vocabulary) if records else IGNORED).astype(np.int32)
        work = network.workspace(max(1, min(64, _NUMBERS // vocabulary.symbols)), 1)
        work.state[...] = self._start = state
        first = network.next_nll(work, targets[:1])
        with checked_workspace(work, network):
            rows, nll, ids, probs = _dispatch.core.trace(
                work, self._ids[:, None], targets[1:, None], top
            )
        self._rows: Real = rows[:, 0]  # (n, width)
        self.surprise: NDArray[np.float64] = np.concatenate([first, nll[:, 0]])[
            : n + records
        ] / math.log(2)
        self.next_ids: NDArray[np.int32] = ids[:, 0]
        self.next_probs: NDArray[np.float64] = probs[:, 0]

    @property
    def states(self) -> tuple[Real, ...]:
        """For each layer the states (n, H) of its units after each character."""
        return tuple(layer["h"] for layer in self.parts)

    @property
    def parts(self) -> tuple[dict[str, Real], ...]:
        """For each layer what there is of its units after each character, (n, H), by name."""
        description = self.network.description
        return tuple(
            {name: self._rows[:, start : start + layer.units] for name, start in starts.items()}
            for layer, starts in zip(description.layers, description.parts, strict=True)
        )

    @property
    def part_names(self) -> tuple[str, ...]:
        """The names in `parts`, each once, h first."""
        return tuple(dict.fromkeys(name for layer in self.parts for name in layer))

    def likeliest(self, position: int) -> list[tuple[TextT, float]]:
        """Return the likeliest characters after the one at a position, and their probabilities; an empty text is the end of a record.

        Parameters
        ----------
        position : int
            0 to n - 1.
        """
        position = check_integer("position", position, 0, len(self._ids) - 1)
        return [
            (
                self.vocabulary.decode([symbol])
                if symbol < len(self.vocabulary)
                else self.vocabulary.empty,
                p,
            )
            for symbol, p in zip(
                self.next_ids[position].tolist(), self.next_probs[position].tolist(), strict=True
            )
        ]

    def saliency(self, position: int, back: int | None = None) -> NDArray[np.float64]:
        r"""Return how much each earlier character moves the prediction of the character at a position, by gradient through time.

        Parameters
        ----------
        position : int
            Of the predicted character, 0 to n - 1; for a model of records n is the end of the record.
        back : int, optional
            How far to look back: at the so many characters before the position. None looks at all of them.

        Returns
        -------
        ndarray (min(position, back),) of float64
            In nats, for the characters text[position - len(result) : position]. Above 0: it has made the character at the position
            likelier. The context, and the boundary before a record, are not among them.

        Notes
        -----
        A character enters as a one-hot vector :math:`x_s`. Saliency is its gradient times itself,

        .. math:: \frac{\partial \log p(x_t \mid x_1 \ldots x_{t-1})}{\partial x_s} \cdot x_s
                  = \frac{\partial \log p}{\partial z_s} \cdot W_{xh}[x_s],

        where :math:`z_s` is what the first layer sums before its nonlinearity: by how much the log-probability changes if the
        character enters a little stronger, per unit of strength. What it would change if the character were another one is a
        different question. It is exact however small back is: that leaves out characters, not paths by which they act.

        Examples
        --------
        >>> import charrnn
        >>> model = charrnn.train_text("to be, or not to be\n" * 50, hidden_size=16, epochs=40, progress=False)
        >>> model.trace("to be, or not").saliency(9, back=4).shape  # of the space, by ", or"
        (4,)
        """
        position = check_integer("position", position, 0, len(self.surprise) - 1)
        back = position if back is None else min(position, check_integer("back", back, 0))
        values: NDArray[np.float64] = self.saliencies(position, position + 1, back)[0]
        return values

    def saliencies(self, start: int, stop: int, back: int) -> NDArray[np.float64]:
        """Return the `saliency` of the positions from start up to stop, float64 (stop - start, back); 0 before the text.

        The last column is of the character before each position.
        """
        stop = check_integer("stop", stop, 0, len(self.surprise))
        start = check_integer("start", start, 0, stop)
        back = check_integer("back", back, 0)
        found = np.zeros((stop - start, back))
        for positions, length in self._batches(start, min(stop, len(self.surprise)), back):
            found[positions - start, back - length :] = self._back(positions, length).T
        return found

    def _batches(self, start: int, stop: int, back: int) -> Iterator[tuple[NDArray[np.int64], int]]:
        """Yield positions and how far to look back from them, the same for all of a batch, whose number is a power of two.

        Then the mean that the gradient is of is exact, and so the numbers are the same in every batch.
        """
        description = self.network.description
        most = max(
            1,
            min(
                _STREAMS,
                _UNITS // len(description.units),
                _NUMBERS // (max(1, back) * description.vocab_size),
            ),
        )
        position = max(start, 1)
        while position < stop and back:
            length = min(position, back)
            left = stop - position if length == back else 1
            streams = 1 << (min(left, most).bit_length() - 1)
            yield np.arange(position, position + streams), length
            position += streams

    def _back(self, positions: NDArray[np.int64], length: int) -> NDArray[np.float64]:
        """Return the saliency of positions, (length, positions), of as many characters before each."""
        work = self.network.workspace(length, len(positions), training=True)
        first = positions - length  # of each window; the state before it
        before = np.where(first[:, None] > 0, self._rows[first - 1], self._start)
        work.state[...] = before[:, : work.state.shape[1]]  # counts have columns behind the units'
        inputs = self._ids[first + np.arange(length)[:, None]]
        targets = np.full(inputs.shape, IGNORED, np.int32)
        targets[-1] = np.append(self._ids, len(self.vocabulary))[positions]
        with checked_workspace(work, self.network):
            result: NDArray[np.float64] = _dispatch.core.saliency(work, inputs, targets)
        return result

    @cached_property
    def properties(self) -> dict[str, NDArray[np.float64]]:
        """Nameable properties of the text by name, each with its value at every character, float64 (n,)."""
        text: AnyText = self.text
        return nameable.properties(text.decode("latin-1") if isinstance(text, bytes) else text)

    def units(
        self, properties: Mapping[str, ArrayLike] | None = None, *, part: str = "h"
    ) -> list[Unit]:
        r"""Return all units, those first that follow a property best, by the absolute value of Pearson's correlation.

        Parameters
        ----------
        properties : mapping, optional
            What to look for instead of `properties`: for each name its value at every character, (n,) numbers.
        part : str, default "h"
            What of the units: their states, or another name in `parts`. Layers that have nothing of this name are left out.

        Notes
        -----
        Of so many units and properties some agree by chance where a text is short: look at some thousand characters.

        Examples
        --------
        >>> import charrnn
        >>> model = charrnn.train_text("to be, or not to be\n" * 50, hidden_size=16, epochs=40, progress=False)
        >>> trace = model.trace("to be, or not to be\n" * 20)
        >>> best = trace.units({"in the first half": np.arange(400) % 20 < 10})[0]
        >>> best.layer, best.follows
        (0, 'in the first half')
        """
        if properties is not None and not isinstance(properties, Mapping):
            raise TypeError(
                f"properties must be a mapping, {{name: a number for each character}}, not {type(properties).__name__}"
            )
        values = (
            self.properties
            if properties is None
            else {name: self._checked(name, value) for name, value in properties.items()}
        )
        part = check_choice("part", part, self.part_names)
        units = [
            unit
            for layer, parts in enumerate(self.parts)
            if part in parts
            for unit in _followers(layer, part, parts[part], values)
        ]
        return sorted(units, key=lambda unit: -_strength(unit.correlation))

    def _checked(self, name: str, value: ArrayLike) -> NDArray[np.float64]:
        array = np.asarray(value)
        if array.dtype.kind not in "fiub" or array.shape != (len(self._ids),):
            raise ValueError(
                f"properties[{name!r}] must be numbers of shape ({len(self._ids)},), not {array.dtype} of shape {array.shape}"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"properties[{name!r}] must be finite")
        return nameable.finite(array.astype(np.float64))

    def plot(
        self, start: int = 0, stop: int | None = None, *, units: int = 12, part: str = "h"
    ) -> "TraceFigure":
        """Draw a stretch of the text: how it surprises, character by character, and below the units that follow something, as a heat map.

        Parameters
        ----------
        start, stop : int
            Which characters: by default the first hundred.
        units : int, default 12
            How many units, the ones that come first in `units`; 0 draws the surprise alone.
        part : str, default "h"
            What of the units, as in `units`: states, or a cell or gate of this name.

        Returns
        -------
        matplotlib Figure
            As the last value of a notebook's cell it shows itself; ``show`` opens a window with it, ``savefig(path)`` writes it.

        Raises
        ------
        ModuleNotFoundError
            If matplotlib is not installed.
        """
        n = len(self._ids)
        if isinstance(start, (str, PathLike)):
            raise TypeError(
                f"start must be an integer, not {start!r:.80}: trace.plot().savefig(path) writes a picture"
            )
        start = check_integer("start", start, 0, n)
        stop = min(n, start + 100) if stop is None else check_integer("stop", stop, start, n)
        units = check_integer("units", units, 0)
        part = check_choice("part", part, self.part_names)
        try:
            from ..plotting import TraceFigure
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                'trace.plot needs matplotlib: pip install "charrnn-cython[plot]"', name=error.name
            ) from error
        return TraceFigure(self, start, stop, units, part)

    def html(
        self,
        *,
        title: str | None = None,
        units: int | None = None,
        back: int | None = None,
        parts: Iterable[str] | None = None,
    ) -> str:
        """Return the trace as one page that needs nothing else: no network, no library; see `save_html`."""
        from .page import make

        return make(self, title=title, units=units, back=back, parts=parts)

    def save_html(
        self,
        path: StrPath,
        *,
        title: str | None = None,
        units: int | None = None,
        back: int | None = None,
        parts: Iterable[str] | None = None,
    ) -> None:
        """Write the trace as one page that every browser opens, without network access.

        The text is coloured by a unit, by surprise, or by the saliency of a clicked character; the likely next characters show as the
        pointer, or the arrow keys, move over it; the units are listed by how well they follow something that has a name.

        Parameters
        ----------
        path : path
            A crash leaves the old file or the new one.
        title : str, optional
            Of the page.
        units : int, optional
            How many units of each layer to write, the ones that come first in `units` of any part: a byte a character for each part. By
            default all, if the text is not so long that they would take more than 12 MB, and those that fit, if it is.
        back : int, optional
            How many characters before each to write the saliency of: a byte a character each. By default 32, fewer for texts of more
            than 150,000 characters; 0 leaves it out.
        parts : iterable of str, optional
            What of the units to write, by names of the attribute `parts`, for example ``["h", "c"]``. By default all there is: fewer
            parts leave room for more units of a long text.

        Examples
        --------
        >>> import charrnn, os, tempfile
        >>> model = charrnn.train_text("to be " * 50, hidden_size=16, steps=20, progress=False)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "page.html")
        ...     model.trace("to be").save_html(path)
        ...     os.path.getsize(path) > 1000
        True
        """
        if not isinstance(path, (str, PathLike)):
            raise TypeError(
                f"path must be a str or path-like, not {type(path).__name__}: trace.html() returns the page"
            )
        check_target(path)
        write_atomically(
            path, [self.html(title=title, units=units, back=back, parts=parts).encode()]
        )

    def _repr_html_(self) -> str:
        from .page import frame

        return frame(self[:_IN_NOTEBOOK], len(self._ids))

    def __getitem__(self, part: slice) -> "Trace[TextT]":
        """Return the trace of a stretch of the text, of consecutive characters."""
        start, stop, step = (
            part.indices(len(self._ids)) if isinstance(cast(Any, part), slice) else (0, 0, 0)
        )
        if step != 1:
            raise TypeError(
                "a trace is cut by a slice of consecutive characters: trace[start:stop]"
            )
        stop = max(start, stop)
        cut: Trace[TextT] = object.__new__(type(self))
        cut.network, cut.vocabulary = self.network, self.vocabulary
        cut._ids, cut.text = self._ids[start:stop], self.vocabulary.decode(self._ids[start:stop])
        cut._rows, cut._start = (
            self._rows[start:stop],
            self._rows[start - 1] if start else self._start,
        )
        cut.surprise = self.surprise[start : stop if stop < len(self._ids) else None]
        cut.next_ids, cut.next_probs = self.next_ids[start:stop], self.next_probs[start:stop]
        return cut

    def __len__(self) -> int:
        return len(self._ids)

    def __repr__(self) -> str:
        units = sum(layer.units for layer in self.network.description.layers)
        mean: Any = f"{self.surprise.mean():.3f}" if len(self.surprise) else "no"
        return f"<trace of {len(self):,} characters, {units} units: {mean} bits per character>"


def _strength(correlation: Any) -> Any:
    """Return how strong a correlation is, without what rounding adds: of equal ones (of a property and its opposite) the first counts."""
    return np.abs(correlation).round(9)


def _followers(
    layer: int, part: str, values: Real, properties: Mapping[str, NDArray[np.float64]]
) -> Iterator[Unit]:
    """Yield the units of a layer, each with the property that its values, (n, H), follow best."""
    names = [*properties, ""]
    bounded = nameable.finite(values) if part == "q" else values
    found = np.pad(nameable.correlations(bounded, properties), [(0, 0), (0, 1)])
    for number, column in enumerate(_strength(found).argmax(axis=1)):
        correlation = float(found[number, column])
        yield Unit(layer, number, names[column] if correlation else "", correlation, part)
