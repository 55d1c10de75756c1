"""Train models on a text, files or records; load them from files; convert them from PyTorch."""

import os
import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, Unpack, get_args, overload

from .data import dataset
from .data.dataset import Alphabet
from .data.vocabulary import Vocabulary
from .history import History
from .model import CharRNN
from .network.config import BY_PRESET, FileOptions, NewOptions, RecordOptions, split
from .network.learner import Learner
from .storage import model_file as persistence
from .storage.model_file import ModelSource, ModelState
from .training.fit import over_mpi
from .training.recipe import Amount, described, is_auto, least_count, with_recipe
from .util.atomic_write import Paths
from .util.errors import ModelFormatError, check_choice, check_flags, needing
from .util.options import check_names, shows, table
from .util.progress import check_progress, note

Pretrained: TypeAlias = Literal["english", "identifiers", "names", "python", "words"]

_LONGEST_NAME = 256  # characters of a file's name, roughly
_NO_MODELS = (
    "charrnn.pretrained needs the models: pip install charrnn-models, "
    "or in a clone: make models, then pip install ./models"
)


@overload
def train_text(
    text: str, *, alphabet: Literal["characters"] = ..., **options: Unpack[NewOptions]
) -> CharRNN[str]: ...


@overload
def train_text(
    text: bytes, *, alphabet: Literal["bytes"], **options: Unpack[NewOptions]
) -> CharRNN[bytes]: ...


@over_mpi
@shows(NewOptions, BY_PRESET)
def train_text(
    text: str | bytes, *, alphabet: Alphabet = "characters", **options: Unpack[NewOptions]
) -> CharRNN[Any]:
    """Train a model on a text.

    Parameters
    ----------
    text : str
        At least two characters.
    alphabet : {"characters", "bytes"}
        What a text consists of: Unicode characters, or bytes, as in any file. A model of bytes
        takes and returns bytes.
    preset : {"auto", "tutorial", "small", "medium", "large"}, default "auto"
        Sets the options that you don't give. "auto" fits them to the size and kind of text and to
        ``seconds``, by default half a minute on two cores for a megabyte. It chooses an LSTM
        trained with Adam, and n-gram counts. The progress shows the choice, and ``model.recipe``
        returns it. The other presets are fixed; the defaults below are those of "tutorial".
    cell : {"rnn", "gru", "lstm"}
        Type of recurrent cell: the tutorial's vanilla cell, gated recurrent units, or long
        short-term memory.
    hidden_size : int, default 100
        Units in a layer, 1 to 65,536.
    n_layers : int, default 1
        Stacked layers, 1 to 16.
    dropout : float, default 0.0
        Fraction, below 1, of each layer's outputs that training drops, between layers and before
        the output.
    seq_length : int, default 25
        Characters in a training window.
    batch_size : int, default 1
        Parallel streams of the text.
    optimizer : {"adagrad", "sgd", "rmsprop", "adam"}
        How gradients update the weights. The loss is summed over a window and averaged over the
        streams.
    learning_rate : float, optional
        Step size. By default 0.15 for Adagrad, 0.02 for SGD, 0.002 for RMSProp, 0.004 for Adam.
    weight_decay : float, default 0.0
        Each step shrinks matrices, not biases, by this times the learning rate, as AdamW does.
    clip_value : float, optional
        Clip each element of the gradient to [-clip_value, clip_value]. By default 5.0 for Adagrad
        and inf for the others.
    clip_norm : float, optional
        Before that, clip the norm of the gradient of the mean loss per character, as other
        libraries do. By default inf for Adagrad and 1.0 for the others.
    initial_accumulator_value : float, default 100.0
        Initial value of Adagrad's accumulator of squared gradients. Other optimizers refuse it.
    schedule : {"constant", "cosine", "linear"}
        How the learning rate falls over the budget: not at all, along half a cosine, or straight,
        both to 2 %. With a budget of seconds it follows the clock, so results vary.
    warmup : int, default 0
        Steps over which the learning rate first rises from near 0.
    learning_rate_decay : float, default 1.0
        Multiply the learning rate by this after each epoch; above 0, at most 1.
    dtype : {"float32", "float64"}
        Type of the weights and of all computation.
    precision : {"float32", "bfloat16"}
        Type to which a training step rounds the operands of its products. Sums, weights, the
        optimizer and predictions stay float32. With bfloat16, large networks train faster on
        processors with AVX512_BF16, and have the same bits on others.
    seed : int, default 0
        Random seed of weights, dropout and the order of records; None draws one from the
        operating system. The same text, options and seed give the same model, bit for bit, on
        every processor with FMA.
    n_threads : int, optional
        Threads that share a step if batch_size is above 1; any number gives the same bits. By
        default as many as this process has cores, or OMP_NUM_THREADS if that is less.
    epochs, steps, seconds : optional
        Budgets: passes over the text, updates, and time since the call, including the last
        validation. The first one used up ends the training; without any, 10 epochs.
    validation_fraction : float, default 0.1
        Fraction of the text, from its end, held out for validation: its first 262,144 characters
        are scored after each epoch. 0 holds out nothing.
    validation_pieces : int, default 1
        Hold out this many pieces, spread over the text, instead of its end, which may be unlike
        the rest.
    refit : bool, default False
        Train twice: first with a held-out part, to measure; then on the whole text. You get the
        second model; ``history.estimate`` and the weights of n-gram counts are from the first.
        After Ctrl-C you get the first model, because it has been measured. Each training takes
        the whole budget of epochs or steps. "auto" trains on a short text twice, unless you give
        epochs or steps, or too few seconds.
    keep : {"best", "last"}, optional
        Which weights the model gets: those after the epoch with the lowest validation loss, or
        those after the last step. By default the best if anything is held out.
    patience : int, optional
        Stop after this many epochs, at least 1, without a better validation loss. Without a
        budget 10 epochs are still the limit.
    callback : callable, optional
        Called a few times per epoch with a `Progress`, whose ``model`` is the current model.
        Return True to stop.
    sample_every : int, optional
        Print a sample after every so many steps: 200 characters, or 5 records.
    ngram : int, optional
        Count the runs of up to this many characters in the text, 1 to 16, and mix their predictions
        with the network's, except in training, gradients and exports. The counts are interpolated
        Kneser-Ney; two weights are fitted on the held-out part, which is counted afterwards. Rare
        long runs are dropped where the counts would take more than about 4 MB, or 4 bytes per
        character of a longer text. 0 counts nothing. By default none, or as before if the model
        trains further.
    min_count : int, default 1
        With ngram: drop runs of two characters or more that occur less often. At 2, the counts
        contain nothing that occurs only once.
    min_char_count : int, default 1
        Characters that occur less often share one symbol, which the model reads and scores, but
        never writes: each of them is as probable as the others. A large alphabet makes a network
        slow. "auto" does so where a few in a thousand characters are most of a large alphabet.
    shards : int, optional
        Split the streams of a batch into this many shards, at most batch_size, and sum their
        gradients in a fixed tree. With the same number of shards, one process and several give
        the same bits. By default 8 with comm; otherwise the batch stays whole.
    comm : mpi4py.MPI.Comm, optional
        Processes that train together, such as MPI.COMM_WORLD: at most as many as shards, each
        with the same call (``pip install charrnn-cython[mpi]``). All return the same model, whose
        bits do not depend on their number. Rank 0 shows progress, calls the callback and writes
        the checkpoint.
    progress : bool, optional
        Whether to show progress on stderr, by default True: a bar on a terminal or in a notebook,
        elsewhere a line every 5 seconds.
    checkpoint : path, optional
        Write the state of the training to this file, a few times per epoch (at most once a
        second, at least every half minute) and at the end. A crash leaves the last complete one.
        `load` reads it as a model with the weights of its last step.
    resume : path, optional
        Resume from this checkpoint, to a larger budget (budgets count from the very start). The
        weights are those of a training without interruption, bit for bit. The text and all
        options except budgets, patience, callback, progress, n_threads and comm must be the same:
        the budget, too, if ``schedule`` lets the learning rate fall over it.

    Returns
    -------
    CharRNN

    Raises
    ------
    ValueError, TypeError
        If the text is too short or an option is out of range.
    DivergedError
        If a loss, a gradient or a weight is not finite. The ``model`` of this and of any other
        exception that ends a training (from your callback, from a full disk) is the model after
        the last complete step.
    TrainingInterrupted
        After Ctrl-C; it is a KeyboardInterrupt. Its ``model`` has the weights that `keep` asks
        for, or those of the last step if none have been measured.
    RankError
        If another process of comm ended the training.

    Warns
    -----
    TrainingWarning
        If the model is hardly better, or worse, than equal chances for all characters; or if both
        losses end worse than they were after an early epoch.

    Examples
    --------
    >>> import charrnn
    >>> text = "to be, or not to be " * 50
    >>> model = charrnn.train_text(text, hidden_size=16, epochs=40, progress=False)
    >>> model.score("to be") < model.score("eb ot")
    True
    """
    check_names(options, NewOptions, ("alphabet",))
    source = dataset.Text.from_text(text, alphabet)
    if len(text) < _LONGEST_NAME and os.path.isfile(text):
        warnings.warn(
            f"{text!r} is the name of a file: train_file trains on what is in it", stacklevel=3
        )
    return train_new(source, options)


@overload
def train_file(
    path: Paths, *, alphabet: Literal["characters"] = ..., **options: Unpack[FileOptions]
) -> CharRNN[str]: ...


@overload
def train_file(
    path: Paths, *, alphabet: Literal["bytes"], **options: Unpack[FileOptions]
) -> CharRNN[bytes]: ...


@over_mpi
@shows(FileOptions, BY_PRESET)
def train_file(
    path: Paths, *, alphabet: Alphabet = "characters", **options: Unpack[FileOptions]
) -> CharRNN[Any]:
    r"""Train a model on UTF-8 text files, which may be larger than memory.

    Parameters
    ----------
    path : str or path-like, or an iterable of these
        A file, a directory (all files below it, sorted by name, except hidden ones) or a `glob`
        pattern, which may contain ``**``. Files are joined in this order. Those that end in .gz,
        .xz, .bz2 or .zst are decompressed while they are read; .zst needs Python 3.14 or ``pip
        install charrnn-cython[zstd]``. A byte order mark at the start of a file is dropped;
        newlines stay as they are. With alphabet="bytes" files stay exactly as they are.
    records : bool, default False
        Whether each line that is not empty is a record, as in `train_records`.
    separator : str, optional
        With records: a line with this text ends a record, which may have several lines; they have
        ``"\n"`` between them. ``""`` is a blank line. ``"\0"`` ends a record wherever it is.
    encoding : str, optional
        The encoding of the files; by default UTF-8.
    remember : bool, default False
        See `train_records`.
    cache : path, optional
        A directory, created if missing, that keeps the ids of the text in a file for the next
        training on files with the same names, sizes, modification times and SHA-256. charrnn
        never deletes it; you may, except while a training runs. By default ids of more than
        64 MiB are in a temporary file (see `tempfile.gettempdir`) that ends with the process.
    alphabet, **options
        See `train_text`.

    Returns
    -------
    CharRNN
        Bit for bit that of `train_text`, or `train_records`, with the content of the files.

    Raises
    ------
    OSError
        If a file cannot be read, or none is found.
    ValueError
        If a file is not UTF-8 (the message has the byte), ends early (a compressed one), or
        changes while it is read; if the text is too short; and what `train_text` raises.

    Notes
    -----
    Files are read twice: for their characters, then for their ids. With alphabet="bytes" training
    reads a single uncompressed file of more than 64 MiB in place. Memory does not grow with the
    files, except for 45 to 65 bytes per record.
    """
    check_names(options, FileOptions, ("alphabet",))
    from .data.files import ReadOptions, read_files  # imported here to keep `import charrnn` fast

    try:
        source = read_files(path, ReadOptions.from_options(options, alphabet=alphabet))
    except FileNotFoundError as error:
        if "\n" in str(path):
            what = "This looks like a text, not the name of a file"
            error.add_note(f"{what}: train_text trains on a text.")
        raise
    return train_new(source, options)


@overload
def train_records(
    strings: Iterable[str],
    *,
    alphabet: Literal["characters"] = ...,
    **options: Unpack[RecordOptions],
) -> CharRNN[str]: ...


@overload
def train_records(
    strings: Iterable[bytes], *, alphabet: Literal["bytes"], **options: Unpack[RecordOptions]
) -> CharRNN[bytes]: ...


@over_mpi
@shows(RecordOptions, BY_PRESET)
def train_records(
    strings: Iterable[str] | Iterable[bytes],
    *,
    alphabet: Alphabet = "characters",
    **options: Unpack[RecordOptions],
) -> CharRNN[Any]:
    """Train a model on records: independent strings, such as names, domains or molecules.

    Parameters
    ----------
    strings : iterable of str
        At least one that is not empty. The model reads each from the zero state, and learns its
        characters and its end.
    remember : bool
        Whether the model keeps an index of the records, four bytes each, for
        ``generate_many(novel=True)``.
    alphabet, **options
        See `train_text`. batch_size is the number of records per step, which have similar
        lengths. A step spans whole records of up to 128 characters (or seq_length, if that is
        more), and seq_length characters of longer ones. Each epoch shuffles the order, and the
        validation fraction is drawn at random; both depend on seed.

    Returns
    -------
    CharRNN
        It writes records and decides where they end; its scores include the end.

    Examples
    --------
    >>> import charrnn
    >>> names = ["anna", "hanna", "susanna"] * 20
    >>> model = charrnn.train_records(names, hidden_size=16, epochs=60, progress=False)
    >>> model.generate(20, temperature=0, prime="su")
    'sanna'
    """
    check_names(options, RecordOptions, ("alphabet",))
    remember = options.get("remember", False)
    check_flags(remember=remember)
    return train_new(dataset.Records.from_strings(strings, alphabet, remember=remember), options)


def train_new(source: dataset.Text | dataset.Records, options: NewOptions) -> CharRNN[Any]:
    """Train a new model on a source."""
    source, options = _without_rare(source, options)
    chosen = with_recipe(options, Amount.of(source))
    layers, settings, run = split(chosen)
    if chosen is not options and check_progress(run["progress"]):
        note(f"charrnn: {described(chosen)}")
    learner = Learner(layers, source.vocabulary.symbols, **settings)
    empty = source.empty_records
    new = ModelState(learner, source.vocabulary, History(), source.index, empty_records=empty)
    return CharRNN[Any]._from_state(new)._train(new, source, run)


def _without_rare(
    source: dataset.Text | dataset.Records, options: NewOptions
) -> tuple[dataset.Text | dataset.Records, NewOptions]:
    """Return a source whose rare characters share a symbol, and options that say how rare."""
    least = options.get("min_char_count")
    if least is None:
        least = least_count(source) if is_auto(options) else 1
    least = table(NewOptions)["min_char_count"].check(least)
    return dataset.with_rare(source, least), {**options, "min_char_count": least}


@overload
def load(source: ModelSource, *, alphabet: None = ...) -> CharRNN[str | Any]: ...


@overload
def load(source: ModelSource, *, alphabet: Literal["characters"]) -> CharRNN[str]: ...


@overload
def load(source: ModelSource, *, alphabet: Literal["bytes"]) -> CharRNN[bytes]: ...


def load(source: ModelSource, *, alphabet: Alphabet | None = None) -> CharRNN[Any]:
    """Load a model that `CharRNN.save` wrote.

    Parameters
    ----------
    source : path, bytes, or file open for reading in binary
        A file or its content. A file object is read from its position to its end.
    alphabet : {"characters", "bytes"}, optional
        The alphabet that the model must have, by default either. It tells type checkers whether
        the model writes str or bytes.

    Returns
    -------
    CharRNN

    Raises
    ------
    OSError
        If the file cannot be opened or read.
    ModelFormatError
        If it is not a charrnn model that this version reads, or has another alphabet. Loading
        never runs code from a file.
    """
    saved = persistence.load(source)
    model = CharRNN[Any]._from_state(replace(saved, training=None))
    found = "bytes" if model.vocabulary.of_bytes else "characters"
    if alphabet is not None and check_choice("alphabet", alphabet, get_args(Alphabet)) != found:
        raise ModelFormatError(f"this is a model of {found}, not of {alphabet}")
    return model


def pretrained(name: Pretrained) -> CharRNN[str]:
    """Return a small model to start from; ``pip install charrnn-models`` installs them.

    Parameters
    ----------
    name : {"english", "identifiers", "names", "python", "words"}
        "names", "words" and "identifiers" are models of records (`train_records`), the others of
        text. The file NAME.md beside each model has its data, license, loss and limits.

    Returns
    -------
    CharRNN
        Your own copy. Train it further on your text, with ``extend=True`` if that has new
        characters.

    Raises
    ------
    ModuleNotFoundError
        If charrnn-models is not installed.

    Examples
    --------
    >>> import charrnn
    >>> model = charrnn.pretrained("names")  # doctest: +SKIP
    >>> model.generate_many(4, 12, temperature=0.7, seed=1)  # doctest: +SKIP
    ['danielian', 'liff', 'kara', 'wilina']
    """
    check_choice("name", name, get_args(Pretrained))
    with needing(_NO_MODELS):
        import charrnn_models
    return load(Path(charrnn_models.__file__).with_name(f"{name}.safetensors"))


def from_torch(module: Any, vocabulary: Vocabulary) -> CharRNN[Any]:
    """Return a CharRNN with the weights of a PyTorch module.

    Parameters
    ----------
    module : torch.nn.Module, or a pair
        What `CharRNN.to_torch` returns, or any module whose attribute ``rnn`` is an nn.RNN, nn.GRU
        or nn.LSTM that reads one-hot vectors, and ``out`` an nn.Linear that returns logits; or a
        pair of these two. Layers must be unidirectional and without projections. The two biases
        of a sum are added.
    vocabulary : Vocabulary
        The characters in the order of their ids; with records=True the last id is the boundary
        between records.

    Returns
    -------
    CharRNN
        Float64 if the module is, otherwise float32. By default it trains further with the
        defaults of `train_text`.

    Raises
    ------
    ModuleNotFoundError
        If PyTorch is not installed.
    TypeError, ValueError
        If the module is not such a network or does not fit the vocabulary. The message names the
        argument or tensor.

    Examples
    --------
    >>> import charrnn, torch  # doctest: +SKIP
    >>> rnn, out = torch.nn.LSTM(5, 16, 2), torch.nn.Linear(16, 5)  # doctest: +SKIP
    >>> charrnn.from_torch((rnn, out), charrnn.Vocabulary(" beot"))  # doctest: +SKIP
    CharRNN(cell='lstm', hidden_size=16, n_layers=2, 5 characters, 0 steps)
    """
    from .storage import export

    return CharRNN[Any](export.from_torch(module, vocabulary), vocabulary, History())
