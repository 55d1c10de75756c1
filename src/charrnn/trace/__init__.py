"""What a network does as it reads a text: states, expectations, saliency. See `CharRNN.trace`."""

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
from ..network._types import IGNORED, Workspace, checked_workspace
from ..util.atomic_write import StrPath, check_target, write_atomically
from ..util.errors import check_choice, check_integer, check_sequence, needing
from . import properties as nameable

if TYPE_CHECKING:
    from ..plotting import TraceFigure

_NUMBERS = 1 << 22  # of logits that are kept at a time
_STREAMS, _UNITS = 64, 1 << 14  # windows that are led back together, at most, and their units
_IN_NOTEBOOK = 2000  # characters that a notebook shows


class Unit(NamedTuple):
    """A unit, and the property that it follows best.

    If it follows none, follows is "" and correlation 0.
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
        The characters that were read, n of them, without skipped ones. Records are separated by
        line feeds.
    vocabulary : Vocabulary
    states : tuple of ndarray (n, H)
        For each layer, the states of its units after each character: views, in the network's dtype.
    parts : tuple of dict
        For each layer, the states, cells and gates (n, H) by name: h; c and the gates i, f, g, o of
        an LSTM; n, r, u and q of a GRU.
    surprise : ndarray (n,) of float64
        The surprise of each character, given those before it, in bits. A model of records adds one
        for the end of each record.
    next_ids, next_probs : ndarray (n, top)
        The likeliest symbols after each character, the likeliest first, and their probabilities.
        `likeliest` gives them as text.
    network : network.Network
        Whose states these are. `saliency` works with the weights that it has then.

    Examples
    --------
    >>> import charrnn
    >>> text = "to be, or not to be\n" * 50
    >>> model = charrnn.train_text(text, hidden_size=16, epochs=40, progress=False)
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
        text: TextT | Iterable[TextT],
        state: Real,
        *,
        top: int = 5,
        on_unknown: OnUnknown = "error",
    ) -> None:
        self.network: Network = network
        self.vocabulary: Vocabulary = vocabulary
        self._start: Real = state
        top = min(check_integer("top", top, 1), vocabulary.symbols)
        texts = _encoded(vocabulary, text, on_unknown)
        work = network.workspace(max(1, min(64, _NUMBERS // vocabulary.symbols)), 1)
        self.surprise: NDArray[np.float64]
        (symbols, self.surprise), *others = [self._read(work, ids, top) for ids in texts]
        if others:
            boundary = self._boundary(work, top)
            parts = [symbols, *(part for one, _ in others for part in (boundary, one))]
            symbols = _Symbols(*map(np.concatenate, zip(*parts, strict=True)))
            self.surprise = np.concatenate([self.surprise, *(bits for _, bits in others)])
        self._ids, self._rows, self.next_ids, self.next_probs = symbols
        line_feed: Any = b"\n" if vocabulary.of_bytes else "\n"
        self.text: TextT = line_feed.join(map(vocabulary.decode, texts))

    def _read(
        self, work: Workspace, ids: NDArray[np.int32], top: int
    ) -> "tuple[_Symbols, NDArray[np.float64]]":
        """Read a text from the start; return its symbols and their surprise, its end included."""
        n, records = len(ids), self.vocabulary.records
        targets = np.append(ids, len(self.vocabulary) if records else IGNORED).astype(np.int32)
        work.state[...] = self._start
        first = self.network.next_nll(work, targets[:1])
        with checked_workspace(work, self.network):
            rows, nll, next_ids, p = _dispatch.core.trace(
                work, ids[:, None], targets[1:, None], top
            )
        losses = np.concatenate([first, nll[:, 0]])[: n + records]
        losses[:n] += self.vocabulary.rare_nats(ids)
        bits = losses / math.log(2)
        return _Symbols(ids, rows[:, 0], next_ids[:, 0], p[:, 0]), bits

    def _boundary(self, work: Workspace, top: int) -> "_Symbols":
        """Return the start of a record, which separates it from the one before."""
        work.state[...] = self._start
        p = self.network.next_probs(work)
        likeliest = np.argsort(-p, axis=1, kind="stable")[:, :top].astype(np.int32)
        ids = np.array([len(self.vocabulary)], np.int32)
        return _Symbols(ids, work.state.copy(), likeliest, np.take_along_axis(p, likeliest, 1))

    @property
    def states(self) -> tuple[Real, ...]:
        """For each layer the states (n, H) of its units after each character."""
        return tuple(layer["h"] for layer in self.parts)

    @property
    def parts(self) -> tuple[dict[str, Real], ...]:
        """For each layer, the states, cells and gates after each character, (n, H), by name."""
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
        """Return the likeliest characters after the one at a position, and their probabilities.

        An empty text is the end of a record.

        Parameters
        ----------
        position : int
            0 to n - 1.
        """
        position = check_integer("position", position, 0, len(self._ids) - 1)
        ids, p = self.next_ids[position].tolist(), self.next_probs[position].tolist()
        characters = len(self.vocabulary)
        texts = [self.vocabulary.decode([ix] if ix < characters else []) for ix in ids]
        return list(zip(texts, p, strict=True))

    def saliency(self, position: int, back: int | None = None) -> NDArray[np.float64]:
        r"""Return how much each earlier character moves the prediction of the one at a position.

        Parameters
        ----------
        position : int
            Position of the predicted character, 0 to n - 1. In a model of records, n is the end of
            the (last) record.
        back : int, optional
            How many characters before the position to look at. By default, all of them: to the
            beginning of the text, or of the record.

        Returns
        -------
        ndarray (at most back,) of float64
            In nats, for the characters text[position - len(result) : position]. Above 0, it made
            the character at the position likelier. The context is not among them.

        Notes
        -----
        A character enters as a one-hot vector :math:`x_s`. Saliency is its gradient times itself,

        .. math:: \frac{\partial \log p(x_t \mid x_1 \ldots x_{t-1})}{\partial x_s} \cdot x_s
                  = \frac{\partial \log p}{\partial z_s} \cdot W_{xh}[x_s],

        where :math:`z_s` is the first layer's sum before its nonlinearity. It is the change of the
        log-probability, per unit of strength, if the character enters a little stronger. It
        doesn't say what another character would change. A small back leaves out characters, not
        the paths through which they act: the result is exact.

        Examples
        --------
        >>> import charrnn
        >>> text = "to be, or not to be\n" * 50
        >>> model = charrnn.train_text(text, hidden_size=16, epochs=40, progress=False)
        >>> model.trace("to be, or not").saliency(9, back=4).shape  # of the space, by ", or"
        (4,)
        """
        position = check_integer("position", position, 0, len(self.surprise) - 1)
        before = int(self._before(np.array([position]))[0])
        back = before if back is None else min(before, check_integer("back", back, 0))
        values: NDArray[np.float64] = self.saliencies(position, position + 1, back)[0]
        return values

    def saliencies(self, start: int, stop: int, back: int) -> NDArray[np.float64]:
        """Return the `saliency` of positions start to stop - 1, float64 (stop - start, back).

        The last column is the character before each position. A row starts with zeros if fewer
        than back characters come before its position.
        """
        stop = check_integer("stop", stop, 0, len(self.surprise))
        start = check_integer("start", start, 0, stop)
        back = check_integer("back", back, 0)
        found = np.zeros((stop - start, back))
        for positions, length in self._batches(np.arange(start, stop), back):
            found[positions - start, back - length :] = self._back(positions, length).T
        return found

    def _before(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many characters of the text, or of its record, are before each position."""
        boundaries = np.flatnonzero(self._ids == len(self.vocabulary))
        starts: NDArray[np.int64] = np.append(0, boundaries + 1)
        return np.subtract(positions, starts[np.searchsorted(boundaries, positions)])

    def _batches(
        self, positions: NDArray[np.int64], back: int
    ) -> Iterator[tuple[NDArray[np.int64], int]]:
        """Yield positions and how far to look back from them, the same for all of a batch.

        The size of a batch is a power of two. Then the mean that the gradient is of is exact, and
        the numbers are the same in every batch.
        """
        description = self.network.description
        units = _UNITS // len(description.units)
        most = min(_STREAMS, units, _NUMBERS // (max(1, back) * description.vocab_size))
        lengths = np.minimum(self._before(positions), back)
        for length in np.unique(lengths[lengths > 0]).tolist():
            left = positions[lengths == length]
            while len(left):
                streams = 1 << (max(1, min(len(left), most)).bit_length() - 1)
                yield left[:streams], length
                left = left[streams:]

    def _back(self, positions: NDArray[np.int64], length: int) -> NDArray[np.float64]:
        """Return the saliency, (length, positions), of length characters before each position."""
        work = self.network.workspace(length, len(positions), training=True)
        first = positions - length  # of each window; the state before it
        before = np.where(first[:, None] > 0, self._rows[first - 1], self._start)
        work.state[...] = before
        inputs = self._ids[first + np.arange(length)[:, None]]
        targets = np.full(inputs.shape, IGNORED, np.int32)
        targets[-1] = np.append(self._ids, len(self.vocabulary))[positions]
        with checked_workspace(work, self.network):
            result: NDArray[np.float64] = _dispatch.core.saliency(work, inputs, targets)
        return result

    @cached_property
    def properties(self) -> dict[str, NDArray[np.float64]]:
        """Properties of the text by name, each with its value at every character, float64 (n,)."""
        text: AnyText = self.text
        return nameable.properties(text.decode("latin-1") if isinstance(text, bytes) else text)

    def units(
        self, properties: Mapping[str, ArrayLike] | None = None, *, part: str = "h"
    ) -> list[Unit]:
        r"""Return all units, those that follow a property best first.

        They are ordered by the absolute value of Pearson's correlation.

        Parameters
        ----------
        properties : mapping, optional
            What to look for instead of `properties`: for each name its value at every character,
            (n,) numbers.
        part : str, default "h"
            Which part of the units: their states, or another name in `parts`. Layers without this
            part are left out.

        Notes
        -----
        Among many units and properties, some match a short text by chance. Look at a few thousand
        characters.

        Examples
        --------
        >>> import charrnn
        >>> text = "to be, or not to be\n" * 50
        >>> model = charrnn.train_text(text, hidden_size=16, epochs=40, progress=False)
        >>> trace = model.trace("to be, or not to be\n" * 20)
        >>> best = trace.units({"in the first half": np.arange(400) % 20 < 10})[0]
        >>> best.layer, best.follows
        (0, 'in the first half')
        """
        if properties is not None and not isinstance(properties, Mapping):
            raise TypeError(
                "properties must be a mapping, {name: a number for each character}, "
                f"not {type(properties).__name__}"
            )
        if properties is None:
            values = self.properties
        else:
            values = {name: self._checked(name, value) for name, value in properties.items()}
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
                f"properties[{name!r}] must be numbers of shape ({len(self._ids)},), "
                f"not {array.dtype} of shape {array.shape}"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"properties[{name!r}] must be finite")
        return nameable.finite(array.astype(np.float64))

    def plot(
        self, start: int = 0, stop: int | None = None, *, units: int = 12, part: str = "h"
    ) -> "TraceFigure":
        """Draw the surprise of each character of a stretch, and below a heat map of units.

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
            A notebook shows it. ``show`` opens a window with it, ``savefig(path)`` writes it.

        Raises
        ------
        ModuleNotFoundError
            If matplotlib is not installed.
        """
        n = len(self._ids)
        if isinstance(start, (str, PathLike)):
            raise TypeError(
                f"start must be an integer, not {start!r:.80}: "
                "trace.plot().savefig(path) writes a picture"
            )
        start = check_integer("start", start, 0, n)
        stop = min(n, start + 100) if stop is None else check_integer("stop", stop, start, n)
        units = check_integer("units", units, 0)
        part = check_choice("part", part, self.part_names)
        with needing('trace.plot needs matplotlib: pip install "charrnn-cython[plot]"'):
            from ..plotting import TraceFigure
        return TraceFigure(self, start, stop, units, part)

    def html(
        self,
        *,
        title: str | None = None,
        units: int | None = None,
        back: int | None = None,
        parts: Iterable[str] | None = None,
    ) -> str:
        """Return the trace as one page of HTML that works offline: see `save_html`."""
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
        """Write the trace as one page of HTML that works offline.

        The page colors the text by a unit, by surprise, or by the saliency of a clicked character.
        Point at a character, or move to it with the arrow keys, to see the likely next ones. Each
        record is on a line of its own. A list has the units that follow something best first.

        Parameters
        ----------
        path : path
            A crash leaves the old file or the new one.
        title : str, optional
            Of the page.
        units : int, optional
            How many units of each layer to write, those that come first in `units` of any part: a
            byte per character for each part. By default, as many as fit into 12 MB.
        back : int, optional
            How many characters before each one to write the saliency of: a byte per character
            each. By default 32, fewer for texts of more than 150,000 characters; 0 leaves it out.
        parts : iterable of str, optional
            What of the units to write, by names in `parts`, for example ``["h", "c"]``. By default
            everything. Fewer parts leave room for more units of a long text.

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
                f"path must be a str or path-like, not {type(path).__name__}: "
                "trace.html() returns the page"
            )
        check_target(path)
        page = self.html(title=title, units=units, back=back, parts=parts)
        write_atomically(path, [page.encode()])

    def _repr_html_(self) -> str:
        from .page import frame

        return frame(self[:_IN_NOTEBOOK], len(self._ids))

    def __getitem__(self, part: slice) -> "Trace[TextT]":
        """Return the trace of a stretch of the text, of consecutive characters."""
        if not isinstance(cast(Any, part), slice) or part.step not in (None, 1):
            what = "a trace is cut by a slice of consecutive characters"
            raise TypeError(f"{what}: trace[start:stop]")
        start, stop, _ = part.indices(len(self._ids))
        stop = max(start, stop)
        cut: Trace[TextT] = object.__new__(type(self))
        cut.network, cut.vocabulary = self.network, self.vocabulary
        cut._ids, cut.text = self._ids[start:stop], cast(Any, self.text)[start:stop]
        cut._rows = self._rows[start:stop]
        cut._start = self._rows[start - 1] if start else self._start
        cut.surprise = self.surprise[start : stop if stop < len(self._ids) else None]
        cut.next_ids, cut.next_probs = self.next_ids[start:stop], self.next_probs[start:stop]
        return cut

    def __len__(self) -> int:
        return len(self._ids)

    def __repr__(self) -> str:
        units = sum(layer.units for layer in self.network.description.layers)
        mean: Any = f"{self.surprise.mean():.3f}" if len(self.surprise) else "no"
        return f"<trace of {self.size}, {units} units: {mean} bits per character>"

    @property
    def size(self) -> str:
        """How much the network read, in words."""
        boundaries = int((self._ids == len(self.vocabulary)).sum())
        characters = f"{len(self._ids) - boundaries:,} characters"
        return f"{boundaries + 1:,} records, {characters}" if boundaries else characters


class _Symbols(NamedTuple):
    """Symbols that a network read, and what it has after each of them."""

    ids: NDArray[np.int32]  # (n,)
    rows: Real  # (n, width): all parts of all layers
    next_ids: NDArray[np.int32]  # (n, top), the likeliest first
    next_probs: NDArray[np.float64]  # (n, top)


def _encoded(vocabulary: Vocabulary, text: Any, on_unknown: OnUnknown) -> list[NDArray[np.int32]]:
    """Return the ids of a text, or of each of several records."""
    if isinstance(text, (str, bytes)) or not vocabulary.records:
        return [vocabulary.encode(text, on_unknown=on_unknown)]
    texts = check_sequence("text", text)
    if not texts:
        raise ValueError("text must have at least one record")
    return [
        vocabulary.encode(one, name=f"text[{i}]", on_unknown=on_unknown)
        for i, one in enumerate(texts)
    ]


def _strength(correlation: Any) -> Any:
    """Return how strong a correlation is, to nine decimals.

    Rounding errors then don't decide between a property and its opposite: the first one counts.
    """
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
