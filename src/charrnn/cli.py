"""The `charrnn` command: train, generate, score, look, info."""

import argparse
import contextlib
import io
import itertools
import json
import math
import os
import re
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from . import __version__, isa
from .create import load, train_file, train_records, train_text
from .data.text import decode_text, read_bytes
from .data.vocabulary import AnyText
from .datasets import python_docs
from .history import History
from .inference.scoring import OnUnknown
from .model import CharRNN
from .network.config import BY_OPTIMIZER, PRESETS, Cell, Keep, Optimizer, Preset, ScheduleName
from .util.atomic_write import check_target
from .util.errors import CharRNNError, RankError, TrainingInterrupted, TrainingWarning, likely

Arguments: TypeAlias = argparse.Namespace

# Exit codes; 2 is also argparse's own for a wrong command line.
OK, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130
_ENDING = [
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
]  # Windows has but one
_SAMPLE_LENGTH = 300
_FLUSH = 0.02  # seconds between two looks of a reader at what is written
_ESCAPES = (
    r"escapes in TEXT: \n, \t, \r, \\, \xHH for a byte and \uHHHH for a character, of hexadecimal digits; a TEXT that begins with - "
    r"stands behind =, as in --prime=-x"
)
_EXAMPLES = """\
charrnn train input.txt -o model.safetensors
charrnn generate model.safetensors --prime "The " -n 200
charrnn score model.safetensors lines.txt

charrnn COMMAND --help tells more."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    _speak_utf8()
    arguments, unknown = _parser().parse_known_args(argv)
    if unknown:
        _refuse(arguments.command, unknown)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", TrainingWarning)
            arguments.run(arguments)
        sys.stdout.flush()
        for warning in caught:
            print(
                f"charrnn: warning: {_in_options(str(warning.message), arguments)}", file=sys.stderr
            )
        return (
            FAILED
            if any(issubclass(warning.category, TrainingWarning) for warning in caught)
            else OK
        )
    except BrokenPipeError:
        # The reader of our output has left, as `head` does. Python would complain once more while it closes stdout: give it another.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        return INTERRUPTED
    except RankError:  # which has said why
        return FAILED
    except (OSError, ValueError, TypeError, CharRNNError, MemoryError, ImportError) as error:
        print(f"charrnn: error: {_in_options(_explain(error), arguments)}", file=sys.stderr)
        return FAILED if isinstance(error, (ArithmeticError, MemoryError)) else WRONG_INPUT


def _refuse(command: argparse.ArgumentParser, unknown: list[str]) -> None:
    """End with the usage of a command that does not know these arguments."""
    known = {
        _name(option): option for action in command._actions for option in action.option_strings
    }
    meant = (
        likely(_name(unknown[0].partition("=")[0]), known) if unknown[0].startswith("-") else None
    )
    command.error(
        f"unrecognized arguments: {' '.join(unknown)}"
        + (f"; did you mean {known[meant]}?" if meant else "")
    )


def _name(option: str) -> str:
    return option.lstrip("-").replace("-", "_")


def _speak_utf8() -> None:
    """Read and write UTF-8 whatever the locale, with newlines as they are; where the host has closed a stream, nothing."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  as long as the process
    for stream in (sys.stdin, sys.stdout):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(
                encoding="utf-8", errors="surrogateescape", newline="\n"
            )  # names of files as they are


_ESCAPE = re.compile(rb"\\(?:([ntr\\])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4}))")


def _text_argument(value: str) -> str:
    """Return a command-line argument as the UTF-8 it was typed in, whatever the locale made of it, its escapes as what they stand for."""

    def meant(escape: re.Match[bytes]) -> bytes:
        letter, byte, code = escape.groups()
        if letter:
            return {b"n": b"\n", b"t": b"\t", b"r": b"\r"}.get(letter, letter)
        return (
            bytes([int(byte, 16)]) if byte else chr(int(code, 16)).encode("utf-8", "surrogatepass")
        )

    return _ESCAPE.sub(meant, os.fsencode(value)).decode("utf-8", "surrogateescape")


def _names(value: str) -> list[str]:
    """Return the names in a list with commas."""
    return [name.strip() for name in value.split(",")]


def _text(model: CharRNN, value: str | None) -> AnyText:
    """Return a UTF-8 argument as the kind of text that the model reads."""
    return (
        value.encode("utf-8", "surrogateescape")
        if model.vocabulary.of_bytes and value is not None
        else value
    )


def _print(text: str | bytes, end: str = "\n") -> None:
    """Print str or bytes."""
    sys.stdout.buffer.write(
        (text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape"))
        + end.encode()
    )


def _explain(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


# What the library calls a thing, where the command has another word for it than its name with hyphens.
_PHRASES = {
    r"train_records\(\.\.\., remember=True\)": "charrnn train --records --remember",
    "on_unknown='skip'": "--skip-unknown",
    r"alphabet='bytes'": "--bytes",
    "train_text goes on": "train without --records goes on",
    "train_records goes on": "train --records goes on",
    "train_file trains on": "charrnn train trains on",
    "lower shards": "lower --shards",
    "allowed and forbidden": "--allowed and --forbidden",
    r"(extend|novel|unique|whole|remember)=True": r"--\1",
    r"validation_fraction(=?)": r"--validation\1",
    r"n_threads(=?)": r"--threads\1",
    r"n_layers(=?)": r"--layers\1",
}


def _in_options(message: str, arguments: Arguments) -> str:
    """Return a message of the library in words of the command: hidden_size=0 as --hidden-size 0."""
    for phrase, words in _PHRASES.items():
        message = re.sub(rf"(?<![\w-]){phrase}", words, message)
    names = [name for name in vars(arguments) if name not in ("file", "model", "run", "command")]
    # A name that is an ordinary word, too, only where something is said of its value.
    options = "|".join(
        name if "_" in name else rf"{name}(?==|\[| must | is fixed)" for name in names
    )
    if options:
        message = re.sub(
            rf"(?<![\w-])({options})\b", lambda found: f"--{found[1].replace('_', '-')}", message
        )
    return re.sub(r"(?<![\w-])(--[a-z-]+)=", r"\1 ", message)


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Help that tells a default where there is one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return (
            action.help
            if action.nargs == 0 or action.default in (None, "")
            else super()._get_help_string(action)
        )


class _Command(argparse.ArgumentParser):
    """Takes options before, between and behind names of files: argparse by itself gives up one that may be left out at the first option."""

    mixes = True

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if not self.mixes or "--" in args:  # which argparse would lose
            return super().parse_known_args(args, namespace)
        self.mixes = False  # it comes back here
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self.mixes = True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="charrnn",
        description="Learn a text one character at a time, then write and score text.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=f"charrnn {__version__} ({isa} kernels)"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Command)

    _add_train(commands)
    _add_generate(commands)
    _add_score(commands)
    _add_look(commands)

    info = commands.add_parser(
        "info", help="describe a model file", description="Describe a model file."
    )
    info.add_argument("model", help="a file that charrnn train saved")
    info.set_defaults(run=_info, command=info)
    return parser


def _add_train(commands: Any) -> None:
    train = commands.add_parser(
        "train",
        help="train a model on a text file",
        description="Train a model on a UTF-8 text file, then print a sample and the loss. Ctrl-C ends it early and keeps the model. "
        "Progress goes to stderr: a bar on a terminal, elsewhere a line every few seconds.",
        formatter_class=_Help,
    )
    train.add_argument(
        "file",
        nargs="*",
        help="the text: files, directories, patterns in quotes, also of .gz, .xz, .bz2 and .zst, of any size; - for standard input; if "
        "left out, the documentation that comes with Python",
    )
    train.add_argument(
        "-o",
        "--output",
        metavar="MODEL",
        help="where to save the model, for example model.safetensors",
    )

    add = train.add_argument_group("what is in the text").add_argument
    add(
        "--records",
        action="store_true",
        help="each line is a record of its own (a name, a domain, a molecule ...)",
    )
    add(
        "--remember",
        action="store_true",
        help="keep an index of the records in the model, for generate --novel",
    )
    add("--bytes", action="store_true", help="read bytes, not characters: any file at all")
    add(
        "--cache", metavar="DIR", help="keep the ids of the text in a file there, for the next time"
    )

    add = train.add_argument_group("how long").add_argument
    add(
        "--epochs",
        type=int,
        metavar="N",
        help="end after N passes over the text (10 if no budget is given)",
    )
    add("--steps", type=int, metavar="N", help="end after N windows")
    add("--seconds", type=float, metavar="S", help="end after S seconds")
    add(
        "--validation",
        type=float,
        default=0.1,
        metavar="F",
        help="part of the text, at its end, to measure on and not to train on",
    )
    add(
        "--patience",
        type=int,
        metavar="N",
        help="end after N passes without a better validation loss",
    )
    help = (
        "which weights to keep: those of the pass with the best validation loss, or the last (best)"
    )
    add("--keep", choices=get_args(Keep), help=help)

    add = train.add_argument_group("the network").add_argument
    sizes = ", ".join(f"{name} of {PRESETS[name]['hidden_size']}" for name in get_args(Preset)[1:])
    add(
        "--preset",
        choices=get_args(Preset),
        help=f"a whole recipe, which other options change: the defaults, or LSTMs, {sizes} units",
    )
    add("--cell", choices=get_args(Cell), help="of what layers are made (rnn)")
    add("--hidden-size", type=int, metavar="H", help="units in a layer (100)")
    add("--layers", type=int, metavar="N", dest="n_layers", help="layers, one above the other (1)")
    add(
        "--dropout",
        type=float,
        metavar="P",
        help="part of the outputs of layers that is dropped in training (0)",
    )
    add("--seed", type=int, default=0, metavar="N", help="of the initial weights")

    add = train.add_argument_group("how it learns").add_argument
    add("--seq-length", type=int, metavar="T", help="characters in a training window (25)")
    add(
        "--batch-size",
        type=int,
        metavar="B",
        help="parallel streams of the text, or records a step (1)",
    )
    add(
        "--optimizer", choices=get_args(Optimizer), help="how weights follow the gradient (adagrad)"
    )
    rates = ", ".join(
        f"{values['learning_rate']:g} of {name}" for name, values in BY_OPTIMIZER.items()
    )
    add("--learning-rate", type=float, metavar="R", help=f"step of the optimizer ({rates})")
    add(
        "--weight-decay",
        type=float,
        metavar="X",
        help="weights shrink by R times X in each step (0)",
    )
    add(
        "--clip-value",
        type=float,
        metavar="X",
        help="clip each element of a gradient to X (5 of adagrad)",
    )
    add(
        "--clip-norm",
        type=float,
        metavar="X",
        help="clip the norm of the gradient of a character's loss to X (1, not of adagrad)",
    )
    add(
        "--schedule",
        choices=get_args(ScheduleName),
        help="how the learning rate falls over the budget (constant)",
    )
    add(
        "--warmup", type=int, metavar="N", help="steps over which the learning rate rises first (0)"
    )
    add(
        "--learning-rate-decay",
        type=float,
        default=1.0,
        metavar="F",
        help="multiply the learning rate by F after each pass",
    )
    add(
        "--threads",
        type=int,
        default=1,
        metavar="N",
        help="threads that share a step where --batch-size is above 1",
    )
    add(
        "--shards",
        type=int,
        metavar="N",
        help="cut a batch into N shards, which processes share (8 with --mpi)",
    )
    add(
        "--mpi",
        action="store_true",
        help="train together with others: mpiexec -n 4 charrnn train --mpi ...",
    )

    add = train.add_argument_group("go on").add_argument
    add("--start", metavar="MODEL", help="go on with this model instead of a new one")
    add(
        "--extend",
        action="store_true",
        help="with --start: add the characters that the model does not know",
    )
    add(
        "--checkpoint",
        metavar="FILE",
        help="write all that is needed to go on to FILE, now and then and at the end",
    )
    add(
        "--resume",
        metavar="FILE",
        help="go on where this checkpoint stands, with the same text and options",
    )

    add = train.add_argument_group("what is shown").add_argument
    add(
        "--plot",
        metavar="PICTURE",
        help="draw the losses to this file (.png, .svg, .pdf); needs matplotlib",
    )
    add(
        "--sample-every",
        type=int,
        metavar="N",
        help="print what the model writes after every N steps",
    )
    add(
        "--progress", action=argparse.BooleanOptionalAction, default=True, help="show how far it is"
    )
    add("-q", "--quiet", action="store_false", dest="progress", help="the same as --no-progress")
    train.set_defaults(run=_train, command=train)


def _add_controls(add: Callable[..., argparse.Action]) -> None:
    add(
        "--prime",
        type=_text_argument,
        default="",
        metavar="TEXT",
        help="text to continue; - reads it from standard input, less a line feed at its end",
    )
    add(
        "--temperature",
        type=float,
        default=1.0,
        metavar="X",
        help="below 1 safer, above 1 wilder, 0 always the most likely",
    )
    add("--top-k", type=int, metavar="K", help="draw among the K most likely characters")
    add(
        "--top-p",
        type=float,
        metavar="P",
        help="draw among the most likely that together have probability P",
    )
    add(
        "--min-p",
        type=float,
        metavar="P",
        help="draw among those at least P times as likely as the most likely",
    )
    add("--no-repeat", type=int, metavar="N", help="write no run of N characters twice")
    add("--allowed", type=_text_argument, metavar="CHARS", help="draw only these characters")
    add("--forbidden", type=_text_argument, metavar="CHARS", help="do not draw these")
    add("--min-length", type=int, default=0, metavar="N", help="do not end before N characters")
    add(
        "--stop",
        type=_text_argument,
        action="append",
        metavar="TEXT",
        help="end before this text; may be repeated",
    )
    _add_skip_unknown(add)


def _add_skip_unknown(add: Callable[..., argparse.Action]) -> None:
    help = "leave out characters that the model does not know"
    add(
        "--skip-unknown",
        action="store_const",
        const="skip",
        default="error",
        dest="on_unknown",
        help=help,
    )


def _add_generate(commands: Any) -> None:
    generate = commands.add_parser(
        "generate",
        help="write text with a model",
        description="Write text with a trained model, as it is drawn. The prime is printed first.",
        epilog=_ESCAPES,
        formatter_class=_Help,
    )
    add = generate.add_argument
    add("model", help="a file that charrnn train saved")
    add("-n", "--length", type=int, default=400, metavar="N", help="characters to write")
    add("--count", type=int, default=1, metavar="N", help="texts to write, a line feed after each")
    add("--unique", action="store_true", help="leave out texts that came before")
    add(
        "--novel",
        action="store_true",
        help="leave out records that the model was trained on (train --remember)",
    )
    add("--whole", action="store_true", help="leave out texts that are cut at --length")
    add(
        "--n-best",
        type=int,
        metavar="N",
        help="search the N most probable texts instead of drawing",
    )
    add("--seed", type=int, metavar="N", help="the same seed writes the same text")
    _add_controls(add)
    generate.set_defaults(run=_generate, command=generate)


def _add_score(commands: Any) -> None:
    score = commands.add_parser(
        "score",
        help="tell how much lines of text surprise a model",
        description="Print the surprise of each line in bits per character: low for text like the training text.",
        epilog=_ESCAPES,
        formatter_class=_Help,
    )
    add = score.add_argument
    add("model", help="a file that charrnn train saved")
    add("file", nargs="?", default="-", help="the lines, - for standard input")
    help = r"what comes before each line, read and not scored: \n for lines of a text, which do not stand at the beginning of a file"
    add("--context", type=_text_argument, default="", metavar="TEXT", help=help)
    add(
        "--per-char",
        action="store_true",
        help="the surprise of each character too, for records of the end, in bits",
    )
    add(
        "--json",
        action="store_true",
        help="a JSON object a line, with the text and how many of its characters are unknown",
    )
    choices = get_args(OnUnknown)
    help = "what to do about characters that the model does not know: let them cost as the least likely there, or leave them out"
    add("--on-unknown", choices=choices, default="error", help=help)
    add(
        "--skip-unknown",
        action="store_const",
        const="skip",
        dest="on_unknown",
        help="the same as --on-unknown skip",
    )
    score.set_defaults(run=_score, command=score)


def _add_look(commands: Any) -> None:
    look = commands.add_parser(
        "look",
        help="make a page that shows what a model does with a text",
        description="Write a page, for a browser, that shows what the units of a model hold, how a text surprises it, what it expects "
        "after each character, and what that rests on. The page needs no network.",
        epilog=_ESCAPES,
        formatter_class=_Help,
    )
    add = look.add_argument
    add("model", help="a file that charrnn train saved")
    add(
        "file",
        nargs="?",
        default="-",
        help="the text, of a model of records one record; - for standard input",
    )
    add("-o", "--output", metavar="PAGE", help="where to write the page (standard output)")
    add("--title", help="of the page (the name of the model's file)")
    add(
        "--units",
        type=int,
        metavar="N",
        help="show the N units of each layer that follow something best (all that a page has room for)",
    )
    add(
        "--parts",
        type=_names,
        metavar="NAMES",
        help="show these of the units: h the states, c cell states, i,f,g,o or n,r,u,q gates (all)",
    )
    add(
        "--back",
        type=int,
        metavar="N",
        help="how many characters before each to show the influence of (32)",
    )
    add(
        "--context",
        type=_text_argument,
        default="",
        metavar="TEXT",
        help="what comes before the text, read and not shown",
    )
    _add_skip_unknown(add)
    look.set_defaults(run=_look, command=look)


# A model's own, or those of the preset, or the default, if not given.
_IF_GIVEN = (
    "preset", "cell", "hidden_size", "n_layers", "dropout", "seq_length", "batch_size", "optimizer", "learning_rate", "weight_decay",
    "clip_value", "clip_norm", "schedule", "warmup",
)  # fmt: skip


def _train(arguments: Arguments) -> None:
    if not arguments.mpi:
        _train_alone(arguments, None)
        return
    from .training.mpi import Team, world

    with Team(world()) as team:
        if "-" in arguments.file:
            raise ValueError(
                "--mpi: standard input is there for one process only; give the name of a file"
            )
        _train_alone(arguments, team)


def _train_alone(arguments: Arguments, team: Any) -> None:
    """Train, as one of a team perhaps, of which rank 0 speaks and writes."""
    speaks = team is None or team.rank == 0
    if arguments.extend and arguments.start is None:
        raise ValueError("--extend needs --start")
    if arguments.remember and not arguments.records:
        raise ValueError("--remember needs --records")
    options = {
        name: getattr(arguments, name) for name in _IF_GIVEN if getattr(arguments, name) is not None
    }
    options |= {
        "learning_rate_decay": arguments.learning_rate_decay,
        "epochs": arguments.epochs,
        "steps": arguments.steps,
        "seconds": arguments.seconds,
        "validation_fraction": arguments.validation,
        "patience": arguments.patience,
        "keep": arguments.keep,
        "n_threads": arguments.threads,
        "seed": arguments.seed,
        "checkpoint": arguments.checkpoint,
        "resume": arguments.resume,
        "sample_every": arguments.sample_every,
        "shards": arguments.shards,
        "comm": team,
        "progress": arguments.progress and speaks,
    }
    _check_targets(arguments)
    if threading.current_thread() is threading.main_thread():  # which alone may
        for number in (
            _ENDING
        ):  # what a service is stopped with, or a closed terminal, ends a training as Ctrl-C does
            if signal.getsignal(number) is not signal.SIG_IGN:  # as of nohup
                signal.signal(number, signal.default_int_handler)
    try:
        model = _train_on(arguments, options)
    except (Exception, TrainingInterrupted) as error:
        learned = getattr(error, "model", None) if speaks else None  # what was learned until then
        if isinstance(error, TrainingInterrupted) and learned:
            _report(learned, arguments)
        elif arguments.output is not None and learned and learned.history.reports:
            learned.save(arguments.output)
        raise
    if speaks:
        _report(model, arguments)


def _check_targets(arguments: Arguments) -> None:
    """Raise what would keep the results from being written: better before a training than after it."""
    targets = {
        "-o": arguments.output,
        "--checkpoint": arguments.checkpoint,
        "--plot": arguments.plot,
    }
    targets = {name: path for name, path in targets.items() if path is not None}
    texts = [("the text", file) for file in arguments.file]
    if targets and texts and "-" not in arguments.file:
        from .data.sources import find  # here: few need it

        texts = [("the text", file) for file in find(arguments.file)]
    for name, path in targets.items():
        check_target(path)
        _check_other(
            name, path, texts + [(other, targets[other]) for other in targets if other != name]
        )
    if arguments.plot is not None:
        formats = History().plot().canvas.get_supported_filetypes()
        if os.path.splitext(arguments.plot)[1][1:].lower() not in formats:
            raise ValueError(
                f"--plot {arguments.plot} must end in one of .{', .'.join(sorted(formats))}"
            )


def _check_other(name: str, path: str, others: Iterable[tuple[str, str]]) -> None:
    """Raise ValueError if a file to write is also one of others."""
    target = os.path.realpath(path)
    for other, taken in others:
        if taken != "-" and os.path.realpath(taken) == target:
            raise ValueError(f"{name} {path} is also {other}, and would be overwritten")


def _train_on(arguments: Arguments, options: dict[str, Any]) -> CharRNN:
    start = None if arguments.start is None else load(arguments.start)
    of_bytes = arguments.bytes if start is None else start.vocabulary.of_bytes
    if arguments.bytes and not of_bytes:
        raise ValueError(f"--bytes: {arguments.start} is a model of characters")
    if start is not None:
        options["extend"] = arguments.extend
    else:
        options["alphabet"] = "bytes" if of_bytes else "characters"
    if arguments.file and "-" not in arguments.file:
        return _train_on_files(arguments, start, options)
    if arguments.cache is not None or len(arguments.file) > 1:
        raise ValueError(
            "- stands alone: standard input is read once, without other files and without --cache"
        )
    text = _read("-" if arguments.file else None, of_bytes, options["progress"])
    if arguments.records:
        train = train_records if start is None else start.train_records
        return train(_lines(text), remember=arguments.remember, **options)
    return (train_text if start is None else start.train_text)(text, **options)


def _train_on_files(
    arguments: Arguments, start: CharRNN | None, options: dict[str, Any]
) -> CharRNN:
    if start is None:
        return train_file(
            arguments.file,
            records=arguments.records,
            remember=arguments.remember,
            cache=arguments.cache,
            **options,
        )
    if start.vocabulary.records != arguments.records:
        kind, how = (
            ("records", "train --records")
            if start.vocabulary.records
            else ("text", "train without --records")
        )
        raise ValueError(f"{arguments.start} is a model of {kind}: {how} goes on with it")
    return start.train_file(
        arguments.file, remember=arguments.remember, cache=arguments.cache, **options
    )


def _read(path: str | None, of_bytes: bool, announced: bool) -> AnyText:
    """Return the text to train on, as bytes or str; announced tells whether to say what it is, where nobody has chosen it."""
    if path is None:
        text = python_docs()
        if announced:
            print(
                f"charrnn: no file is given: training on the documentation of Python, {len(text):,} characters",
                file=sys.stderr,
            )
        return text.encode() if of_bytes else text
    data = sys.stdin.buffer.read() if path == "-" else read_bytes(path)
    return data if of_bytes else decode_text(data, "standard input" if path == "-" else path)


def _lines(text: AnyText) -> list[AnyText]:
    """Return the lines of a text (str or bytes) that are not empty; they end with a line feed, a carriage return, or both."""
    feed: AnyText
    carriage: AnyText
    feed, carriage = (b"\n", b"\r") if isinstance(text, bytes) else ("\n", "\r")
    return [
        line
        for line in text.replace(carriage + feed, feed).replace(carriage, feed).split(feed)
        if line
    ]


def _report(model: CharRNN, arguments: Arguments) -> None:
    if arguments.output is not None:
        model.save(arguments.output)
    if arguments.plot is not None:
        model.history.plot().savefig(arguments.plot, dpi=150)
    for text in model.generate_many(
        8 if model.vocabulary.records else 1, _SAMPLE_LENGTH, seed=arguments.seed, temperature=0.7
    ):
        _print(text)
    sys.stdout.buffer.flush()
    print()
    history = model.history
    if history.reports:
        last = history.reports[-1]
        print(
            f"{last.step:,} steps, {last.characters:,} characters in {last.seconds:.1f} s; ended by {history.stop_reason}"
        )
    _print_losses(history)
    print(
        f"saved to {arguments.output}"
        if arguments.output is not None
        else "not saved (-o MODEL saves it)"
    )


def _print_losses(history: History) -> None:
    kept = history.kept
    if kept is None:
        return
    if history.kept_step is not None:
        print(
            f"kept           the weights after {kept.epoch:g} {'pass' if kept.epoch == 1 else 'passes'}"
        )
    print(f"training       {_figures(kept.nll)}")
    if kept.validation_nll is not None:
        print(f"validation     {_figures(kept.validation_nll)}")


def _figures(nll: float) -> str:
    return f"{nll / math.log(2):.3f} bits per character ({nll:.3f} nats)"


def _generate(arguments: Arguments) -> None:
    model = load(arguments.model)
    prime = _text(model, arguments.prime if arguments.prime != "-" else _read_prime(model))
    options = {
        "prime": prime,
        "allowed": _text(model, arguments.allowed),
        "forbidden": _text(model, arguments.forbidden),
        "min_length": arguments.min_length,
        "on_unknown": arguments.on_unknown,
    }
    if arguments.n_best is not None:
        _check_no_drawing(arguments)
        for text, _ in model.beam_search(arguments.length, n_best=arguments.n_best, **options):
            _print(prime + text)
        return
    options |= {
        name: getattr(arguments, name)
        for name in ("temperature", "top_k", "top_p", "min_p", "no_repeat", "seed")
    }
    options["stop"] = (
        None if arguments.stop is None else [_text(model, text) for text in arguments.stop]
    )
    chosen = {name: getattr(arguments, name) for name in ("unique", "novel", "whole")}
    if arguments.count == 1 and not any(chosen.values()):
        characters = model.stream(arguments.length, **options)
        _print_at_once(itertools.chain([prime], characters, [_text(model, "\n")]))
    else:
        _print_at_once(
            prime + text + _text(model, "\n")
            for text in model._each(arguments.count, arguments.length, **chosen, **options)
        )


def _print_at_once(texts: Iterable[AnyText]) -> None:
    """Print texts as they come, so that who reads them sees each at once."""
    seen = -math.inf
    for text in texts:
        _print(text, end="")
        if (now := time.monotonic()) >= seen + _FLUSH:
            sys.stdout.buffer.flush()
            seen = now


def _read_prime(model: CharRNN) -> str:
    """Return standard input, without the line feed that a shell puts at its end; for a model of bytes as it is."""
    prime = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    return prime if model.vocabulary.of_bytes else prime.removesuffix("\n").removesuffix("\r")


def _check_no_drawing(arguments: Arguments) -> None:
    """Raise if an option that only counts where characters are drawn is given beside --n-best."""
    given = {"count": arguments.count != 1, "temperature": arguments.temperature != 1} | {
        name: getattr(arguments, name) not in (None, False)
        for name in (
            "top_k",
            "top_p",
            "min_p",
            "no_repeat",
            "stop",
            "seed",
            "unique",
            "novel",
            "whole",
        )
    }
    for name in [name for name, is_given in given.items() if is_given]:
        raise ValueError(
            f"--{name.replace('_', '-')} has no part in a search for the most probable texts (--n-best)"
        )


def _score(arguments: Arguments) -> None:
    model = load(arguments.model)
    context = _text(model, arguments.context)
    number, unknown = 0, np.zeros(0, np.int64)
    with _opened(arguments.file) as file:
        for lines in _arriving_lines(file):
            try:
                texts = [_line_text(model, line, number + i) for i, line in enumerate(lines)]
                unknown = np.append(unknown, _score_lines(model, texts, context, arguments))
            except ValueError:
                for i, line in enumerate(
                    lines, number
                ):  # once more, to print what comes before the mistake, and its line
                    try:
                        _score_lines(model, [_line_text(model, line, i)], context, arguments)
                    except ValueError as error:
                        raise ValueError(f"line {i + 1}: {error}") from error
                raise
            number += len(lines)
    if unknown.any():
        done = "were left out" if arguments.on_unknown == "skip" else "cost as the least likely"
        print(
            f"charrnn: {unknown.sum():,} unknown characters in {(unknown > 0).sum():,} of {number:,} lines {done}",
            file=sys.stderr,
        )


def _opened(path: str) -> contextlib.AbstractContextManager[io.BufferedReader]:
    """Open a file to read bytes as they arrive; - is standard input."""
    if path != "-":
        return open(path, "rb")
    stdin = sys.stdin.buffer
    assert isinstance(stdin, io.BufferedReader)
    return contextlib.nullcontext(stdin)


def _arriving_lines(file: io.BufferedReader) -> Iterator[list[bytes]]:
    """Yield lists of whole lines (bytes) as they arrive: many at once from a file, one by one from a person."""
    pieces = [b""]
    while data := file.read1(1 << 20):
        first, *others = data.split(b"\n")
        pieces.append(first)
        if others:
            yield [b"".join(pieces), *others[:-1]]
            pieces = [others[-1]]
    if rest := b"".join(pieces):
        yield [rest]


def _line_text(model: CharRNN, line: bytes, number: int) -> AnyText:
    """Return line number number as the model reads text, without what marks the end of a line or the beginning of a file elsewhere."""
    if model.vocabulary.of_bytes:
        return line
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"not UTF-8 at byte {error.start}: convert the lines, or score them by a model of bytes (train --bytes)"
        ) from error
    if text.endswith("\r") and "\r" not in model.vocabulary:
        text = text[:-1]
    return text.removeprefix("\ufeff") if number == 0 else text


def _score_lines(
    model: CharRNN, texts: list[AnyText], context: AnyText, arguments: Arguments
) -> NDArray[np.int64]:
    """Print the scores of texts and return how many characters of each are unknown; a model of text has no score of an empty one."""
    options: dict[str, Any] = {"context": context, "on_unknown": arguments.on_unknown}
    scorable = np.array([len(text) > 0 or model.vocabulary.records for text in texts], np.bool_)
    scored = list(itertools.compress(texts, scorable))
    bits, unknown = np.full(len(texts), np.nan), np.zeros(len(texts), np.int64)
    if len(scored) == 1:  # an error then speaks of the text, not of a list
        bits[scorable], unknown[scorable] = model.score(scored[0], return_unknown=True, **options)
    else:
        bits[scorable], unknown[scorable] = model.score_many(scored, return_unknown=True, **options)
    for text, score, count in zip(texts, bits.tolist(), unknown.tolist(), strict=True):
        each = (
            (-model.log_probs(text, **options) / math.log(2)).tolist() if arguments.per_char else []
        )
        print(
            _score_as_json(text, score, count, each, arguments)
            if arguments.json
            else " ".join(f"{n:.4f}" for n in [score, *each])
        )
    sys.stdout.flush()
    return unknown


def _score_as_json(
    text: AnyText, score: float, unknown: int, each: list[float], arguments: Arguments
) -> str:
    shown = text.decode("utf-8", "backslashreplace") if isinstance(text, bytes) else text
    line = {
        "text": shown,
        "bits_per_character": None if math.isnan(score) else score,
        "unknown": unknown,
    }
    return json.dumps(
        line | ({"per_character": each} if arguments.per_char else {}), ensure_ascii=False
    )


def _look(arguments: Arguments) -> None:
    if arguments.output is None and sys.stdout.isatty():
        raise ValueError(
            "the page would go to the terminal: write > page.html behind the command, or -o page.html"
        )
    if arguments.output is not None:
        check_target(arguments.output)
        _check_other(
            "-o", arguments.output, [("the model", arguments.model), ("the text", arguments.file)]
        )
    model = load(arguments.model)
    text = _read(arguments.file, model.vocabulary.of_bytes, announced=False)
    if model.vocabulary.records:  # what a shell puts at the end of a line is no part of a record
        text = text.removesuffix(_text(model, "\n"))
        if (lines := len(_lines(text))) > 1:
            raise ValueError(
                f"this is a model of records, and the page is of one: the text has {lines} lines"
            )
    trace = model.trace(
        text, context=_text(model, arguments.context), on_unknown=arguments.on_unknown
    )
    title = os.fsencode(
        os.path.basename(arguments.model) if arguments.title is None else arguments.title
    )
    options = {name: getattr(arguments, name) for name in ("units", "back", "parts")}
    options["title"] = title.decode("utf-8", "surrogateescape")
    if arguments.output is not None:
        trace.save_html(arguments.output, **options)
    else:
        _print(trace.html(**options), end="")


def _info(arguments: Arguments) -> None:
    model = load(arguments.model)
    learner, network, history = model._state.learner, model.network, model.history
    print(
        f"network        {', '.join(f'{cell} of {units} units' for cell, units in network.description.layers)}"
    )
    print(
        f"kind           {'records' if model.vocabulary.records else 'text'} of {'bytes' if model.vocabulary.of_bytes else 'characters'}"
    )
    print(
        f"vocab_size     {network.description.vocab_size}{'' if model.vocabulary.of_bytes else f'  {model.vocabulary.chars!r}'}"
    )
    print(f"parameters     {network.description.n_parameters:,} of {network.dtype}")
    sizes = f"seq_length={learner.seq_length} batch_size={learner.batch_size} dropout={learner.dropout:g}"
    print(
        f"trained with   {sizes} optimizer={network.optimizer} learning_rate={learner.learning_rate:g}"
    )
    print(f"steps          {history.steps}, ended by {history.stop_reason}")
    _print_losses(history)
