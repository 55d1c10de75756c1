"""From text to a trained model: train_file, train_text."""

import hashlib

from . import persistence
from .errors import DivergedError, ModelFormatError, TrainingInterrupted, check_number, check_text
from .loop import History, fit
from .model import CharRNN
from .reader import TextStream, read_text
from .rnn import RNN
from .vocabulary import Vocabulary


def train_text(
    text,
    *,
    hidden_size=100,
    seq_length=25,
    batch_size=1,
    learning_rate=0.15,
    clip_value=5.0,
    initial_accumulator_value=100.0,
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
    """Train a model on a text.

    Parameters
    ----------
    text : str
        At least two characters.
    hidden_size, seq_length, batch_size, learning_rate, clip_value, initial_accumulator_value, dtype, seed, n_threads
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
    fraction = check_number("validation_fraction", validation_fraction, minimum=0)
    if fraction >= 1:
        raise ValueError(f"validation_fraction must be below 1, not {validation_fraction!r}")
    if len(check_text("text", text)) < 2:
        raise ValueError(f"text has {('no character', '1 character')[len(text)]}; training needs at least 2")
    vocabulary = Vocabulary.from_text(text)
    ids = vocabulary.encode(text, dtype=vocabulary.smallest_dtype)
    held_out = int(len(ids) * fraction)
    if held_out < 2 or len(ids) - held_out < 2:
        held_out = 0
    train_ids, validation_ids = ids[: len(ids) - held_out], ids[len(ids) - held_out :]

    rnn = RNN(
        hidden_size,
        len(vocabulary),
        seq_length,
        learning_rate,
        batch_size=batch_size,
        clip_value=clip_value,
        initial_accumulator_value=initial_accumulator_value,
        dtype=dtype,
        seed=seed,
        n_threads=n_threads,
    )
    model, position, state = CharRNN(rnn, vocabulary, History()), None, None
    options = persistence.config(rnn) | {
        "dtype": rnn.dtype.name,
        "seed": None if seed is None else int(seed),
        "validation_fraction": fraction,
    }
    text_sha256 = hashlib.sha256(ids).hexdigest()
    stream = TextStream(train_ids, rnn.seq_length, rnn.batch_size)
    if resume is not None:
        model.history, position, state = _take_up(rnn, vocabulary, stream, options, text_sha256, resume)

    def save(position, state):
        training = persistence.Training(position, options, text_sha256, state)
        persistence.save(checkpoint, rnn, vocabulary, model.history, training)

    try:
        fit(
            rnn,
            stream,
            epochs=epochs,
            steps=steps,
            seconds=seconds,
            validation_ids=validation_ids if held_out else None,
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


def _take_up(rnn, vocabulary, stream, options, text_sha256, path):
    """Put the weights and Adagrad's memory of a checkpoint into rnn; return its history, position and hidden state."""
    saved, saved_vocabulary, history, training = persistence.load(path)
    if training is None:
        raise ValueError(f"{path} is a model, not a checkpoint: it does not say where training stood")
    differences = [
        f"{name} was {training.options.get(name)!r}, is {value!r}" for name, value in options.items() if training.options.get(name) != value
    ]
    if (training.text_sha256, saved_vocabulary) != (text_sha256, vocabulary):
        differences.insert(0, "the text is another")
    if differences:
        raise ValueError(f"{path} cannot be resumed: {'; '.join(differences)}")
    if training.position.window >= stream.windows:
        raise ModelFormatError(f"{path} is damaged: it stands at window {training.position.window} of {stream.windows}")
    rnn.params.copy_from(saved.params)
    rnn.memory.copy_from(saved.memory)
    return history, training.position, training.state


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
