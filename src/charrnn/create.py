"""How a model comes to be: trained on a text, a file or records, or loaded."""

import os
import warnings
from collections.abc import Iterable
from typing import Any, Literal, Unpack, get_args, overload

from .data import dataset
from .data.dataset import Alphabet
from .data.vocabulary import Vocabulary
from .history import History
from .model import CharRNN
from .network.config import NewOptions, split
from .network.learner import Learner
from .storage import model_file as persistence
from .storage.model_file import ModelSource
from .training.fit import over_mpi
from .util.atomic_write import Paths, StrPath
from .util.errors import ModelFormatError, check_choice, check_flags
from .util.options import check_names, shows

_LONGEST_NAME = 256  # of a file, more or less


@overload
def train_text(
    text: str, *, alphabet: Literal["characters"] = ..., **options: Unpack[NewOptions]
) -> CharRNN[str]: ...


@overload
def train_text(
    text: bytes, *, alphabet: Literal["bytes"], **options: Unpack[NewOptions]
) -> CharRNN[bytes]: ...


@over_mpi
@shows(NewOptions)
def train_text(
    text: str | bytes, *, alphabet: Alphabet = "characters", **options: Unpack[NewOptions]
) -> CharRNN[Any]:
    """Train a model on a text.

    Parameters
    ----------
    text : str
        At least two characters.
    alphabet : {"characters", "bytes"}
        Of what a text is made: Unicode code points, or bytes, of which any file consists. A model of bytes takes and gives bytes.
    preset : {"tutorial", "small", "medium", "large"}, optional
        A whole recipe: other options change it.
    cell : {"rnn", "gru", "lstm"}
        Of what layers are made: the tutorial's vanilla cell, gated recurrent units, long short-term memory.
    hidden_size : int, default 100
        Units in a layer, 1 to 65,536.
    n_layers : int, default 1
        Layers, one above the other, 1 to 16.
    dropout : float, default 0.0
        The part, below 1, of the outputs of each layer that is dropped in training: between layers and before the output.
    seq_length : int, default 25
        Characters in a training window.
    batch_size : int, default 1
        Parallel streams of the text.
    optimizer : {"adagrad", "sgd", "rmsprop", "adam"}
        How weights follow the gradient of the loss, the sum over a window and the mean over streams.
    learning_rate : float, optional
        Its step: 0.15 of Adagrad (with the default of initial_accumulator_value what served ten seeds best on Tiny Shakespeare), 0.02 of
        SGD, 0.002 of RMSProp, 0.004 of Adam.
    weight_decay : float, default 0.0
        In each step matrices, not biases, shrink by this times the learning rate (decoupled, as in AdamW).
    clip_value : float, optional
        Each element of a gradient is clipped to [-clip_value, clip_value]: 5.0 of Adagrad, inf of the others.
    clip_norm : float, optional
        Before that, the norm of the gradient of the loss of a character (the mean over the window, as other programs have it) is clipped
        to this: inf of Adagrad, 1.0 of the others.
    initial_accumulator_value : float, default 100.0
        Where Adagrad's memory starts; other optimisers take none.
    schedule : {"constant", "cosine", "linear"}
        How the learning rate falls over the budget: along half a cosine or straight, to 2 % of itself. With a budget of seconds it follows
        the clock, and so do the bits of the model.
    warmup : int, default 0
        Steps over which the learning rate rises from near 0 first.
    dtype : {"float32", "float64"}
        Of the weights and all that is computed.
    seed : int, default 0
        Of the initial weights and of the order of records; None takes one from the operating system. The same text, options and seed
        give the same model, bit for bit, on every processor with FMA.
    n_threads : int, default 1
        Threads that share a step where batch_size is above 1; any number gives the same bits.
    epochs, steps, seconds : optional
        Budgets: passes over the text, updates (windows of seq_length characters in batch_size streams), time since the
        call, the last measurement of the held-out part included. The first one reached ends the training; none given: 10 epochs.
    validation_fraction : float, default 0.1
        This part of the text, at its end, is not trained on; its first 262,144 characters are measured after each epoch. 0 switches
        it off.
    keep : {"best", "last"}, optional
        Which weights the model gets: those of the epoch with the lowest validation loss, or those of the last step. By default the
        best if something is held out.
    patience : int, optional
        End after so many epochs without a better validation loss, at least 1; if no budget is given, after 10 epochs all the same.
    learning_rate_decay : float, default 1.0
        The learning rate is multiplied by it after each epoch; above 0, at most 1.
    callback : callable, optional
        Called with a `Progress` a few times an epoch, whose ``model`` is the model as it is then; returns True to stop.
    sample_every : int, optional
        Print what the model writes after so many steps, again and again: 200 characters, or 5 records.
    shards : int, optional
        Cut the streams of a batch into so many shards, at most batch_size, and sum their gradients in a fixed tree: what several processes
        do, with the same bits in one. By default 8 with comm, and without it the batch is one.
    comm : mpi4py.MPI.Comm, optional
        The processes that train together, each calling this with the same arguments, as MPI.COMM_WORLD (``pip install
        charrnn-cython[mpi]``); at most as many as shards. All return the same model; rank 0 shows progress, calls back and writes the
        checkpoint. Any number gives the same bits.
    progress : bool, optional
        Whether to show on stderr how far it is, by default yes: a bar on a terminal or in a notebook, elsewhere a line every 5 seconds.
    checkpoint : path, optional
        Write all that is needed to go on to this file, at the end and before (a few times an epoch, at most once a second and at
        least every half minute); a crash leaves the last whole one.
        It is a model file, too: `load` reads it, with the weights of its last step.
    resume : path, optional
        Go on where this checkpoint stands, to a larger budget (all budgets count from the very start): the weights then are those of
        a training that was never interrupted, to the bit. The text and all options but budgets, patience, callback, progress,
        n_threads and comm must be those of the checkpoint.

    Returns
    -------
    CharRNN

    Raises
    ------
    ValueError, TypeError
        If text is too short or an option is out of range.
    DivergedError
        If a loss, a gradient or a weight is not finite; its ``model`` attribute is the model as of the last good step.
    TrainingInterrupted
        At Ctrl-C (it is a KeyboardInterrupt); its ``model`` attribute is the model, with the weights that ``keep`` says. Any other
        exception that ends a training (from your callback, from a full disk) has the model as of the last whole step there, too.
    RankError
        With comm, if another process has ended the training.

    Warns
    -----
    TrainingWarning
        If the model is hardly better than equal chances for all characters, or worse.

    Examples
    --------
    >>> import charrnn
    >>> model = charrnn.train_text("to be, or not to be " * 50, hidden_size=16, epochs=40, progress=False)
    >>> model.score("to be") < model.score("eb ot")
    True
    """
    check_names(options, NewOptions, ("alphabet",))
    source = dataset.Text.of(text, alphabet)
    if len(text) < _LONGEST_NAME and os.path.isfile(text):
        warnings.warn(
            f"{text!r} is the name of a file: train_file trains on what is in it", stacklevel=3
        )
    return train_new(source, options)


@overload
def train_file(
    path: Paths,
    *,
    alphabet: Literal["characters"] = ...,
    records: bool = ...,
    remember: bool = ...,
    cache: StrPath | None = ...,
    **options: Unpack[NewOptions],
) -> CharRNN[str]: ...


@overload
def train_file(
    path: Paths,
    *,
    alphabet: Literal["bytes"],
    records: bool = ...,
    remember: bool = ...,
    cache: StrPath | None = ...,
    **options: Unpack[NewOptions],
) -> CharRNN[bytes]: ...


@over_mpi
@shows(NewOptions)
def train_file(
    path: Paths,
    *,
    alphabet: Alphabet = "characters",
    records: bool = False,
    remember: bool = False,
    cache: StrPath | None = None,
    **options: Unpack[NewOptions],
) -> CharRNN[Any]:
    """Train a model on UTF-8 text files, which need not fit memory.

    Parameters
    ----------
    path : str or path-like, or several
        A file; a directory: the files in it and below, in order of name, but for hidden ones; a pattern as of `glob`, ``**`` included;
        or an iterable of such. What is in them is read one after the other. Files that end in .gz, .xz, .bz2 or .zst are decompressed as
        they are read (.zst by Python 3.14, or by ``pip install charrnn-cython[zstd]``). A byte order mark at the beginning of a file is
        dropped; newlines are kept as they are. With alphabet="bytes" any files, as they are.
    records : bool, default False
        Whether each line that is not empty is a record, as of `train_records`.
    remember : bool, default False
        See `train_records`.
    cache : path, optional
        A directory, made if there is none, in which to keep the ids of the text in a file for the next time. It is used again for files
        of the same names, sizes, times of change and SHA-256, is never removed, and may be at any time but during a training. By default
        ids of more than 64 MiB are in a temporary file (see `tempfile.gettempdir`) that is gone when the process is.
    alphabet, **options
        See `train_text`.

    Returns
    -------
    CharRNN
        The bits of `train_text`, or of `train_records`, with what is in the files.

    Raises
    ------
    OSError
        If a file cannot be read, or there is none.
    ValueError
        If a file is not UTF-8 (the message gives the byte), is not whole (of those compressed), or changes while it is read; if the text
        is too short; and what `train_text` raises.

    Notes
    -----
    Files are read twice, for their characters, then for their ids; a single file of more than 64 MiB with alphabet="bytes" that is not
    compressed is not, but read where it lies by the training itself. Memory does not depend on their size; of records, each takes 45 to
    65 bytes.
    """
    check_names(options, NewOptions, ("alphabet", "records", "remember", "cache"))
    check_records(records, remember)
    from .data.files import record_files, text_files  # here: importing charrnn should cost little

    progress = options.get("progress")
    source: dataset.Text | dataset.Records
    try:
        if records:
            source = record_files(path, alphabet, remember=remember, cache=cache, progress=progress)
        else:
            source = text_files(path, alphabet, cache=cache, progress=progress)
    except FileNotFoundError as error:
        if "\n" in str(path):
            error.add_note(
                "This looks like a text, not the name of a file: train_text trains on a text."
            )
        raise
    return train_new(source, options)


def check_records(records: bool, remember: bool) -> None:
    """Raise ValueError where a text is to be remembered, TypeError for what is neither true nor false."""
    check_flags(records=records, remember=remember)
    if remember and not records:
        raise ValueError("remember=True needs records=True: a text has no records to remember")


@overload
def train_records(
    strings: Iterable[str],
    *,
    alphabet: Literal["characters"] = ...,
    remember: bool = ...,
    **options: Unpack[NewOptions],
) -> CharRNN[str]: ...


@overload
def train_records(
    strings: Iterable[bytes],
    *,
    alphabet: Literal["bytes"],
    remember: bool = ...,
    **options: Unpack[NewOptions],
) -> CharRNN[bytes]: ...


@over_mpi
@shows(NewOptions)
def train_records(
    strings: Iterable[str] | Iterable[bytes],
    *,
    alphabet: Alphabet = "characters",
    remember: bool = False,
    **options: Unpack[NewOptions],
) -> CharRNN[Any]:
    """Train a model on records: names, domains, molecules ..., each of which begins and ends by itself.

    Parameters
    ----------
    strings : iterable of str
        At least one that is not empty. Each is read from the zero state; its characters and its end are learned.
    remember : bool
        Whether the model keeps an index of the records, four bytes each, for ``generate_many(novel=True)``.
    alphabet, **options
        See `train_text`. batch_size is the number of records a step (of similar length); a step spans whole records where they have
        fewer than 128 characters (or seq_length, if that is more), and seq_length characters of longer ones. The order is shuffled in
        each epoch, depending on seed. The held-out part is drawn at random, depending on seed.

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
    check_names(options, NewOptions, ("alphabet", "remember"))
    check_flags(remember=remember)
    return train_new(dataset.Records.of(strings, alphabet, remember=remember), options)


def train_new(source: dataset.Text | dataset.Records, options: NewOptions) -> CharRNN[Any]:
    """Train a new model on a source."""
    layers, settings, run = split(options)
    learner = Learner(layers, source.vocabulary.symbols, **settings)
    model = CharRNN[Any](learner, source.vocabulary, History(), source.index)
    return model._train(learner, source, source.index, model.history, run)


@overload
def load(source: ModelSource, *, alphabet: None = ...) -> CharRNN[str | Any]: ...


@overload
def load(source: ModelSource, *, alphabet: Literal["characters"]) -> CharRNN[str]: ...


@overload
def load(source: ModelSource, *, alphabet: Literal["bytes"]) -> CharRNN[bytes]: ...


def load(source: ModelSource, *, alphabet: Alphabet | None = None) -> CharRNN[Any]:
    """Return the CharRNN that `CharRNN.save` wrote.

    Parameters
    ----------
    source : path, bytes, or file open for reading in binary
        The file, or its content: that gives the same model under the same checks. A file object is read from where it stands to its end.
    alphabet : {"characters", "bytes"}, optional
        Of what its texts must be made; by default either will do. Type checkers then know whether it writes str or bytes.

    Raises
    ------
    OSError
        If the file cannot be opened or read.
    ModelFormatError
        If it is not a charrnn model that this version reads, or one of another alphabet. No code in a file is ever run.
    """
    saved = persistence.load(source)
    model = CharRNN[Any](saved.learner, saved.vocabulary, saved.history, saved.index)
    found = "bytes" if saved.vocabulary.of_bytes else "characters"
    if alphabet is not None and check_choice("alphabet", alphabet, get_args(Alphabet)) != found:
        raise ModelFormatError(f"this is a model of {found}, not of {alphabet}")
    return model


def from_torch(module: Any, vocabulary: Vocabulary) -> CharRNN[Any]:
    """Return a CharRNN with the weights of a module of PyTorch.

    Parameters
    ----------
    module : torch.nn.Module, or a pair
        Its attributes ``rnn``, an nn.RNN, nn.GRU or nn.LSTM that reads one-hot vectors, and ``out``, an nn.Linear to logits, or these two:
        what `CharRNN.to_torch` returns, or what you trained. Layers go one way, without projections; the two biases of a sum are added.
    vocabulary : Vocabulary
        A character for each id, in their order; with records=True the last id is the boundary of records.

    Returns
    -------
    CharRNN
        In float64 if the module is, otherwise in float32; it goes on training with the defaults of `train_text`, or what you give.

    Raises
    ------
    ModuleNotFoundError
        If PyTorch is not installed.
    TypeError, ValueError
        If module is no such network, or does not fit the vocabulary: the message names the argument or the tensor.

    Examples
    --------
    >>> import charrnn, torch  # doctest: +SKIP
    >>> rnn, out = torch.nn.LSTM(5, 16, 2), torch.nn.Linear(16, 5)  # doctest: +SKIP
    >>> charrnn.from_torch((rnn, out), charrnn.Vocabulary(" beot"))  # doctest: +SKIP
    CharRNN(cell='lstm', hidden_size=16, n_layers=2, 5 characters, 0 steps)
    """
    from .storage import export as interop

    return CharRNN[Any](interop.from_torch(module, vocabulary), vocabulary, History())
