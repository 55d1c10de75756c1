"""From text to a trained model: train_file, train_text, train_records."""

import hashlib

import numpy as np

from . import persistence
from .errors import DivergedError, ModelFormatError, TrainingInterrupted, check_number, check_text
from .loop import History, fit
from .model import CharRNN
from .reader import RecordStream, TextStream, read_text
from .rnn import RNN
from .seeding import permutation, random_seed
from .vocabulary import Vocabulary

# What served ten seeds best on Tiny Shakespeare (benchmarks/quality.py).
DEFAULT_LEARNING_RATE = 0.15
DEFAULT_ACCUMULATOR = 100.0


def train_text(text, **options):
    """Train a model on a text.

    Parameters
    ----------
    text : str
        At least two characters.
    hidden_size=100, seq_length=25, batch_size=1, learning_rate=0.15, clip_value=5.0, initial_accumulator_value=100.0,
    dtype="float32", seed=0, n_threads=1
        See `RNN`; learning_rate and initial_accumulator_value are what served ten seeds best on Tiny Shakespeare. The same text,
        options and seed give the same model, bit for bit, on every processor with FMA.
    epochs, steps, seconds : optional
        Budgets: passes over the text, updates (windows of seq_length characters in batch_size streams), time. The first one
        reached ends the training; none given: 10 epochs.
    validation_fraction : float, default 0.1
        This part of the text, at its end, is not trained on but measured after each epoch; 0 switches it off.
    callback : callable, optional
        Called with a `loop.Progress` a few times an epoch; returns True to stop.
    progress : bool, optional
        Whether to show a bar on stderr; by default if stderr is a terminal.
    checkpoint : path, optional
        Write all that is needed to go on to this file a few times an epoch and at the end; a crash leaves the last whole one.
        It is a model file, too: `load` reads it.
    resume : path, optional
        Go on where this checkpoint stands, to a larger budget (all budgets count from the very start): the weights then are those of
        a training that was never interrupted, to the bit. The text and all options but budgets, callback, progress and n_threads
        must be those of the checkpoint.

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
        At Ctrl-C (it is a KeyboardInterrupt); its ``model`` attribute is the model as of the last whole step.

    Examples
    --------
    >>> import charrnn
    >>> model = charrnn.train_text("to be, or not to be " * 50, hidden_size=16, epochs=40, progress=False)
    >>> model.score("to be") < model.score("eb ot")
    True
    """
    return _train(_Text(check_text("text", text)), **options)


def train_file(path, **options):
    """Train a model on a UTF-8 text file.

    Parameters
    ----------
    path : str or path-like
        A byte order mark is dropped; newlines are kept as they are.
    **options
        Those of `train_text`.

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
    return train_text(read_text(path), **options)


def train_records(strings, **options):
    """Train a model on records: names, domains, molecules ..., each of which begins and ends by itself.

    Parameters
    ----------
    strings : iterable of str
        At least one that is not empty. Each is read from the zero state; its characters and its end are learned.
    **options
        Those of `train_text`. batch_size is the number of records a step (of similar length); a step spans whole records, whatever
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
    return _train(_Records(strings), **options)


class _Text:
    """A text as ids, and its streams."""

    def __init__(self, text):
        if len(text) < 2:
            raise ValueError(f"text has {('no character', '1 character')[len(text)]}; training needs at least 2")
        self.vocabulary = Vocabulary.from_text(text)
        self.ids = self.vocabulary.encode(text, dtype=self.vocabulary.smallest_dtype)

    def sha256(self):
        return hashlib.sha256(self.ids).hexdigest()

    def streams(self, rnn, fraction, seed):
        """Return what to train on and what is held out: the end of the text, or None if that would leave less than two characters."""
        held_out = int(len(self.ids) * fraction)
        if held_out < 2 or len(self.ids) - held_out < 2:
            return TextStream(self.ids, rnn.seq_length, rnn.batch_size), None
        cut = len(self.ids) - held_out
        return TextStream(self.ids[:cut], rnn.seq_length, rnn.batch_size), TextStream(self.ids[cut:], 256)


class _Records:
    """Records as ids, and their streams."""

    def __init__(self, strings):
        if isinstance(strings, (str, bytes)):
            raise TypeError("strings must be a sequence of str, not one")
        strings = [check_text(f"strings[{i}]", string) for i, string in enumerate(strings)]
        if not any(strings):
            raise ValueError(f"strings has {len(strings)} records and no character in them; training needs at least 1")
        text = "".join(strings)
        self.vocabulary = Vocabulary.from_text(text, records=True)
        self.ids = self.vocabulary.encode(text, dtype=self.vocabulary.smallest_dtype)
        self.lengths = np.array([len(string) for string in strings], np.int64)

    def sha256(self):
        digest = hashlib.sha256(self.lengths.astype("<i8"))
        digest.update(self.ids)
        return digest.hexdigest()

    def streams(self, rnn, fraction, seed):
        """Return what to train on and what is held out: the last records of a shuffled order, or None if there would be none."""
        n, starts = len(self.lengths), np.cumsum(self.lengths) - self.lengths
        order = permutation(n, seed)

        def stream(chosen, batch_size):
            ids = np.concatenate([self.ids[starts[i] : starts[i] + self.lengths[i]] for i in chosen])
            return RecordStream(ids, self.lengths[chosen], len(self.vocabulary), batch_size, seed)

        held_out = int(n * fraction)
        train = stream(order[: n - held_out], rnn.batch_size)
        return train, stream(order[n - held_out :], 64) if held_out else None


def _train(
    source,
    *,
    hidden_size=100,
    seq_length=25,
    batch_size=1,
    learning_rate=DEFAULT_LEARNING_RATE,
    clip_value=5.0,
    initial_accumulator_value=DEFAULT_ACCUMULATOR,
    dtype="float32",
    seed=0,
    n_threads=1,
    epochs=None,
    steps=None,
    seconds=None,
    validation_fraction=0.1,
    callback=None,
    progress=None,
    checkpoint=None,
    resume=None,
):
    """Train on a _Text or _Records; the options are those of `train_text`."""
    fraction = check_number("validation_fraction", validation_fraction, minimum=0)
    if fraction >= 1:
        raise ValueError(f"validation_fraction must be below 1, not {validation_fraction!r}")
    rnn = RNN(
        hidden_size,
        source.vocabulary.symbols,
        seq_length,
        learning_rate,
        batch_size=batch_size,
        clip_value=clip_value,
        initial_accumulator_value=initial_accumulator_value,
        dtype=dtype,
        seed=seed,
        n_threads=n_threads,
    )
    seed = random_seed() if seed is None else int(seed)
    model, position, state = CharRNN(rnn, source.vocabulary, History()), None, None
    stream, validation = source.streams(rnn, fraction, seed)
    options = persistence.config(rnn) | {"dtype": rnn.dtype.name, "seed": seed, "validation_fraction": fraction}
    sha256 = source.sha256() if checkpoint is not None or resume is not None else None
    if resume is not None:
        model.history, position, state = _take_up(model, stream, options, sha256, resume)

    def save(position, state):
        training = persistence.Training(position, options, sha256, state)
        persistence.save(checkpoint, rnn, source.vocabulary, model.history, training)

    try:
        fit(
            rnn,
            stream,
            epochs=epochs,
            steps=steps,
            seconds=seconds,
            validation=validation,
            callback=callback,
            progress=progress,
            history=model.history,
            position=position,
            state=state,
            save=save if checkpoint is not None else None,
        )
    except DivergedError as error:
        error.model = model
        raise
    except KeyboardInterrupt as interrupt:
        stopped = TrainingInterrupted("training was interrupted; the `model` attribute of this exception has what was learned")
        stopped.model = model
        raise stopped from interrupt
    return model


def _take_up(model, stream, options, sha256, path):
    """Put the weights and Adagrad's memory of a checkpoint into model; return its history, position and hidden state."""
    saved, saved_vocabulary, history, training = persistence.load(path)
    if training is None:
        raise ValueError(f"{path} is a model, not a checkpoint: it does not say where training stood")
    differences = [
        f"{name} was {training.options.get(name)!r}, is {value!r}" for name, value in options.items() if training.options.get(name) != value
    ]
    if (training.text_sha256, saved_vocabulary) != (sha256, model.vocabulary):
        differences.insert(0, "the text is another")
    if differences:
        raise ValueError(f"{path} cannot be resumed: {'; '.join(differences)}")
    if training.position.window >= stream.windows:
        raise ModelFormatError(f"{path} is damaged: it stands at window {training.position.window} of {stream.windows}")
    model.rnn.params.copy_from(saved.params)
    model.rnn.memory.copy_from(saved.memory)
    return history, training.position, training.state
