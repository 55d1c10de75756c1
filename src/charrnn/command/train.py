"""The command `charrnn train`."""

import argparse
import contextlib
import os
import signal
import sys
from typing import Any

from .. import create
from ..data.splitting import records
from ..data.vocabulary import AnyText
from ..datasets import python_docs
from ..history import History
from ..model import CharRNN
from ..network.config import FileOptions, FurtherOptions, NewOptions
from ..util.errors import TrainingInterrupted
from ..util.options import table
from ..util.progress import counted
from .arguments import Arguments, add_options, check_needs, given
from .terminal import check_output, load_model, note, read_input, write, write_losses

_SIGNALS = ("SIGTERM", "SIGHUP")  # they stop a service, or come when a terminal closes
_NEEDS = dict.fromkeys(("extend", "rehearse", "rehearse_own"), "start")
_NEEDS |= dict.fromkeys(("remember", "separator"), "records")
_SAMPLE_LENGTH = 300
_ENOUGH = 1 << 14  # bytes of a text that show whether it is a list


def add_parser(commands: Any) -> Any:
    """Add the command and its arguments; return its parser."""
    train = commands.add_parser(
        "train",
        usage="%(prog)s [options] [file ...]",
        help="train a model on a text",
        description="Train a model on UTF-8 text, then print a sample and the loss. Ctrl-C stops "
        "early and keeps the model. Progress goes to stderr: a bar on a terminal, otherwise a "
        "line every few seconds.",
    )
    train.add_argument(
        "file",
        nargs="*",
        help="the text: files of any size, directories, patterns in quotes; also .gz, .xz, .bz2 "
        "and .zst; - for standard input (default: Python's own documentation)",
    )
    help = "where to save the model, for example model.safetensors"
    train.add_argument("-o", "--output", metavar="MODEL", help=help)
    text = train.add_argument_group("text options")
    help = "read bytes instead of characters: any file will do"
    text.add_argument("--bytes", dest="alphabet", action="store_const", const="bytes", help=help)
    files = table(FileOptions)
    options = {"records": files["records"], **files, "extend": table(FurtherOptions)["extend"]}
    groups = add_options(train, options.values(), {"text": text})
    train.set_defaults(
        **{name: options[name].default for name in options.keys() - table(NewOptions)}
    )
    help = "train in several processes: mpiexec -n 4 charrnn train --mpi ..."
    groups["training"].add_argument("--mpi", action="store_true", help=help)
    add = groups["resume"].add_argument
    add("--start", metavar="MODEL", help="fine-tune this model (a file or a name)")
    help = "with --start: train on this old text, too, so that the model does not forget it"
    add("--rehearse", metavar="FILE", action="append", help=help)
    help = "with --start: the same, with text that the model writes (default: unless you set a "
    help += "preset, a budget, an optimizer, a rate or a schedule)"
    add("--rehearse-own", action=argparse.BooleanOptionalAction, help=help)
    add = groups["output"].add_argument
    help = "draw the losses to this file (.png, .svg, .pdf); needs matplotlib"
    add("--plot", metavar="PICTURE", help=help)
    add("-q", "--quiet", action="store_true", help="print no progress, sample or summary")
    return train


def run(arguments: Arguments) -> None:
    """Train, in one process or as one of several."""
    if not arguments.mpi:
        _train_in_process(arguments, None)
        return
    from ..training.mpi import Team, world

    with Team(world()) as team:
        if "-" in arguments.file:
            raise ValueError("--mpi: only one process has standard input; name a file instead")
        _train_in_process(arguments, team)


def _train_in_process(arguments: Arguments, team: Any) -> None:
    """Train alone or as one process of a team, in which rank 0 prints and writes."""
    first = team is None or team.rank == 0
    check_needs(arguments, _NEEDS)
    if arguments.rehearse and arguments.rehearse_own:
        raise ValueError("--rehearse-own and --rehearse exclude each other")
    _check_targets(arguments)
    quiet = arguments.records or arguments.quiet or not first
    if not quiet and any(map(_is_sorted_list, arguments.file)):
        note("the text is a sorted list: if each line is a string of its own, add --records")
    options = given(arguments, table(NewOptions)) | {"comm": team}
    options["progress"] = first and not arguments.quiet and options.get("progress", True)
    _interrupt_at_signals()
    try:
        model = _train_on(arguments, options)
    except (Exception, TrainingInterrupted) as error:
        learned = getattr(error, "model", None) if first else None
        if learned is not None and isinstance(error, TrainingInterrupted):
            _report(learned, arguments)
        elif learned is not None and learned.history.reports and arguments.output is not None:
            learned.save(arguments.output)
        raise
    if first:
        _report(model, arguments)


def _check_targets(arguments: Arguments) -> None:
    """Raise what would keep the results from being written: before training, not after it."""
    checkpoint = vars(arguments).get("checkpoint")
    targets = {"-o": arguments.output, "--checkpoint": checkpoint, "--plot": arguments.plot}
    targets = {name: path for name, path in targets.items() if path is not None}
    texts = arguments.file
    if targets and texts and "-" not in texts:
        from ..data.sources import find  # it is slow to import

        texts = find(texts)
    for name, path in targets.items():
        others = [(other, targets[other]) for other in targets if other != name]
        check_output(name, path, [("the text", text) for text in texts] + others)
    if arguments.plot is not None:
        formats = sorted(History().plot().canvas.get_supported_filetypes())
        if os.path.splitext(arguments.plot)[1][1:].lower() not in formats:
            raise ValueError(f"--plot {arguments.plot} must end in one of .{', .'.join(formats)}")


def _interrupt_at_signals() -> None:
    """Have a stopped service or a closed terminal end the training as Ctrl-C does."""
    for name in _SIGNALS:
        number = getattr(signal, name, None)  # Windows has only one
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # as by nohup
            with contextlib.suppress(ValueError):  # a thread can't set handlers
                signal.signal(number, signal.default_int_handler)


def _is_sorted_list(path: str) -> bool:
    """Tell whether a file begins with many short lines in alphabetical order."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        lines = file.read(_ENOUGH).splitlines()[:-1]
    return len(lines) >= 50 and max(map(len, lines)) < 64 and lines == sorted(lines)


def _train_on(arguments: Arguments, options: dict[str, Any]) -> CharRNN:
    """Train a new model, or the one that --start names, on the text of the arguments."""
    trainer: Any = create  # its train functions are also methods of a model
    of_bytes = arguments.alphabet == "bytes"
    if arguments.start is None:
        options["alphabet"] = arguments.alphabet or "characters"
    else:
        trainer = load_model(arguments.start)
        _check_kind(trainer, arguments)
        of_bytes = trainer.vocabulary.of_bytes
        options["extend"] = arguments.extend
        options["rehearse"] = arguments.rehearse or arguments.rehearse_own
    if of_bytes and arguments.encoding is not None:
        raise ValueError("--encoding is for characters, but this training reads bytes")
    if arguments.records:
        options["remember"] = arguments.remember
    if arguments.file and "-" not in arguments.file:
        if arguments.start is None:
            options["records"] = arguments.records
        train, source = trainer.train_file, arguments.file
        options |= {name: getattr(arguments, name) for name in ("separator", "encoding", "cache")}
    elif arguments.cache is not None or len(arguments.file) > 1:
        raise ValueError("standard input is read once: leave out other files and --cache")
    else:
        train = trainer.train_records if arguments.records else trainer.train_text
        if arguments.file:
            source = _read(["-"], arguments, of_bytes)
        else:
            source = _default_text(of_bytes, options["progress"])
            source = records([source]) if arguments.records else source
        if arguments.rehearse:  # the names of files are for train_file
            options["rehearse"] = _read(arguments.rehearse, arguments, of_bytes)
    model: CharRNN = train(source, **options)
    return model


def _read(paths: list[str], arguments: Arguments, of_bytes: bool) -> AnyText:
    """Return what is in files as one text, or as a list of records."""
    texts = [read_input(path, of_bytes, arguments.encoding) for path in paths]
    if arguments.records:
        return [one for text in texts for one in records([text], arguments.separator)]
    return texts[0][:0].join(texts)


def _check_kind(model: CharRNN, arguments: Arguments) -> None:
    """Raise ValueError if the options are for a model of another kind."""
    if arguments.alphabet == "bytes" and not model.vocabulary.of_bytes:
        raise ValueError(f"--bytes: {arguments.start} is a model of characters")
    if model.vocabulary.records != arguments.records:
        kind, advice = ("records", "add") if model.vocabulary.records else ("text", "leave out")
        raise ValueError(f"{arguments.start} is a model of {kind}: {advice} --records")


def _default_text(of_bytes: bool, announced: bool) -> AnyText:
    """Return the text to train on where none is named."""
    text = python_docs()
    if announced:
        note(f"no file given: training on Python's documentation, {len(text):,} characters")
    return text.encode() if of_bytes else text


def _report(model: CharRNN, arguments: Arguments) -> None:
    """Save what is to be saved; print a sample and a summary."""
    if arguments.output is not None:
        model.save(arguments.output)
    if arguments.plot is not None:
        model.history.plot().savefig(arguments.plot, dpi=150)
    if arguments.quiet:
        return
    count, seed = 8 if model.vocabulary.records else 1, vars(arguments).get("seed", 0)
    for text in model.generate_many(count, _SAMPLE_LENGTH, seed=seed, temperature=0.7):
        write(text)
    sys.stdout.buffer.flush()
    print()
    if model.history.reports:
        last = model.history.reports[-1]
        done = f"{counted(last.step, 'step')}, {counted(last.characters, 'character')}"
        print(f"{done} in {last.seconds:.1f} s; stop reason: {model.history.stop_reason}")
    write_losses(model.history)
    saved = arguments.output is not None
    print(f"saved to {arguments.output}" if saved else "not saved (-o MODEL saves it)")
