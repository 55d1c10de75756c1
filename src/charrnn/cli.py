"""The `charrnn` command: train, generate, score, rank, look, info."""

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
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeAlias, get_args, get_origin

import numpy as np
from numpy.typing import NDArray

from . import __version__, create, isa
from .create import load
from .data.text import decode_text
from .data.vocabulary import AnyText, OnUnknown
from .datasets import python_docs
from .history import History
from .inference import scoring
from .inference.adapting import LiveModel, total
from .inference.ranking import Ranks
from .inference.sampling import BatchControls, SearchControls
from .model import CharRNN
from .network.config import NewOptions
from .util.atomic_write import check_target
from .util.errors import (
    CharRNNError,
    RankError,
    TrainingInterrupted,
    TrainingWarning,
    check_integer,
    likely,
)
from .util.options import Option, table

Arguments: TypeAlias = argparse.Namespace

# Exit codes; argparse, too, exits with 2 at a wrong command line.
OK, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130
_SIGNALS = ("SIGTERM", "SIGHUP")  # they stop a service, or come when a terminal closes
_SAMPLE_LENGTH = 300
_SOON = 20  # characters of a text up to which the most probable ones are found soon
_FLUSH = 0.02  # seconds of output that a reader waits for at most
_ESCAPES = r"""Escapes in TEXT and CHARS: \n, \t, \r, \\, \xHH for a byte and \uHHHH for a
character, with hexadecimal digits. Write a TEXT that begins with - after =, as in --prime=-x."""
_FILES = ("file", "model", "MODEL", "FILE", "PAGE", "PICTURE")  # arguments that name a file
_EXAMPLES = """\
charrnn train input.txt -o model.safetensors
charrnn generate model.safetensors --prime "The " -n 200
charrnn score model.safetensors lines.txt

charrnn COMMAND --help lists the options of a command."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    _use_utf8()
    arguments = _parser().parse_args(argv)
    flags = arguments.command.flags()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", TrainingWarning)
            arguments.run(arguments)
        sys.stdout.flush()
        for warning in caught:
            _note(f"warning: {_with_flag(str(warning.message), flags)}")
        useless = any(issubclass(warning.category, TrainingWarning) for warning in caught)
        return FAILED if useless else OK
    except BrokenPipeError:
        # The program that reads our output has ended, like `head`. Python would complain again
        # when it closes stdout, so give it another one.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        return INTERRUPTED
    except RankError:  # its process has printed why
        return FAILED
    except (OSError, ValueError, TypeError, CharRNNError, MemoryError, ImportError) as error:
        _note(f"error: {_with_flag(_describe(error), flags)}")
        return FAILED if isinstance(error, (ArithmeticError, MemoryError)) else WRONG_INPUT


def _note(message: str) -> None:
    print(f"charrnn: {message}", file=sys.stderr)


def _describe(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


def _with_flag(message: str, flags: Mapping[str, str]) -> str:
    """Return a message with the flag of the argument of which it says what it must be."""
    name, must, rest = message.partition(" must ")
    return f"{flags.get(name, name)}{must}{rest}"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'s' * (n != 1)}"


# ------------------------------------------------------------------------------------------------
# The command line


class _Parser(argparse.ArgumentParser):
    """Answers a wrong command line with one line."""

    commands: Any = None

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_INPUT, f"{self.prog}: error: {message} ({self.prog} --help)\n")


class _Command(_Parser):
    """Takes options before, between and after file names, and knows what a wrong one may mean."""

    _inside = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._inside:  # argparse parses in two passes, through this method
            return super().parse_known_args(args, namespace)
        # argparse would lose a -- between options and file names.
        mixed = super().parse_known_args if "--" in args else self.parse_known_intermixed_args
        self._inside = True
        try:
            found, unknown = mixed(args, namespace)
        finally:
            self._inside = False
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._suggestion(unknown[0])}")
        return found, unknown

    def _suggestion(self, unknown: str) -> str:
        words = self.flags() | {
            _name(string): string for action in self._actions for string in action.option_strings
        }
        meant = unknown[0] == "-" and likely(_name(unknown.partition("=")[0]), words)
        return f"; did you mean {words[meant]}?" if meant else ""

    def flags(self) -> dict[str, str]:
        """Return the long option of each argument that has one, by the argument's name."""
        return {
            action.dest: next(one for one in action.option_strings if one[:2] == "--")
            for action in reversed(self._actions)  # an abbreviation comes after what it abbreviates
            if action.option_strings
        }


class _PrintCompletion(argparse.Action):
    """Prints a script that completes the command in a shell."""

    def __call__(self, parser: Any, namespace: Any, shell: Any, flag: Any = None) -> None:
        try:
            import shtab
        except ModuleNotFoundError:
            parser.error(f'{flag} needs shtab: pip install "charrnn-cython[completion]"')
        for command in parser.commands.choices.values():
            for action in command._actions:
                if (action.metavar or action.dest) in _FILES:
                    action.complete = shtab.FILE
        print(shtab.complete(parser, shell))
        parser.exit()


def _name(flag: str) -> str:
    return flag.lstrip("-").replace("-", "_")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="charrnn",
        description="Train a character-level RNN on text; write and score text with it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    version = f"charrnn {__version__} ({isa} kernels)"
    parser.add_argument("--version", action="version", version=version)
    help = "print a script that completes commands, options and files in this shell; needs shtab"
    shells = ("bash", "zsh", "fish")
    parser.add_argument("--completion", choices=shells, action=_PrintCompletion, help=help)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Command)
    parser.commands = commands
    for run, add in {
        _train: _add_train,
        _generate: _add_generate,
        _score: _add_score,
        _rank: _add_rank,
        _look: _add_look,
        _info: _add_info,
    }.items():
        command = add(commands)
        command.set_defaults(run=run, command=command)
    return parser


def _add_options(command: argparse.ArgumentParser, options: type) -> dict[str, Any]:
    """Add the options of a table that have a flag; return the groups that they are in."""
    groups: dict[str, Any] = {"": command}
    for option in table(options).values():
        if option.flag is not None:
            title = option.flag.group
            if title not in groups:
                groups[title] = command.add_argument_group(f"{title} options")
            groups[title].add_argument(option.flag.name, **_argument(option, option.flag.help))
    return groups


def _argument(option: Option, help: str) -> dict[str, Any]:
    """Return what argparse needs to know of an option, which has no value unless it is given."""
    assert option.flag is not None
    if option.default not in (None, "") and bool not in option.types and "(default:" not in help:
        default = option.default
        help += f" (default: {f'{default:g}' if isinstance(default, float) else default})"
    found: dict[str, Any] = {"dest": option.name, "help": help, "default": argparse.SUPPRESS}
    if bool in option.types:
        switch = "store_true" if option.default is False else argparse.BooleanOptionalAction
        return found | {"action": switch}
    found |= {"metavar": option.flag.metavar, "choices": option.choices or None}
    several = any(get_origin(one) is Sequence for one in option.types)
    found["action"] = "append" if several else "store"
    types = {bytes: _text_argument, int: int, float: float}
    found["type"] = next((types[one] for one in types if one in option.types), str)
    return found


def _given(arguments: Arguments, names: Iterable[str]) -> dict[str, Any]:
    """Return the arguments with these names that are given."""
    return {name: value for name, value in vars(arguments).items() if name in {*names}}


def _add_train(commands: Any) -> Any:
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
    _add_text(train.add_argument_group("text options").add_argument)
    groups = _add_options(train, NewOptions)
    help = "train in several processes: mpiexec -n 4 charrnn train --mpi ..."
    groups["training"].add_argument("--mpi", action="store_true", help=help)
    add = groups["resume"].add_argument
    add("--start", metavar="MODEL", help="fine-tune this model instead of training a new one")
    help = "with --start: add the characters that the model lacks"
    add("--extend", action="store_true", help=help)
    help = "with --start: train on this old text, too, so that the model does not forget it"
    add("--rehearse", metavar="FILE", action="append", help=help)
    help = "with --start: the same with what the model writes itself"
    add("--rehearse-own", action="store_true", help=help)
    add = groups["output"].add_argument
    help = "draw the losses to this file (.png, .svg, .pdf); needs matplotlib"
    add("--plot", metavar="PICTURE", help=help)
    add("-q", "--quiet", action="store_true", help="print no progress, sample or summary")
    return train


def _add_text(add: Callable[..., argparse.Action]) -> None:
    help = "each line is a record of its own (a name, a domain, a molecule ...)"
    add("--records", action="store_true", help=help)
    help = "keep an index of the records in the model, for generate --novel"
    add("--remember", action="store_true", help=help)
    help = "read bytes instead of characters: any file will do"
    add("--bytes", dest="alphabet", action="store_const", const="bytes", help=help)
    add("--cache", metavar="DIR", help="keep the ids of the text in DIR, to start faster next time")


def _add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", help="a file that charrnn train saved")


def _add_context(command: argparse.ArgumentParser, help: str) -> None:
    command.add_argument("--context", type=_text_argument, default="", metavar="TEXT", help=help)


def _add_unknown(command: argparse.ArgumentParser, choices: Any = None) -> None:
    """Add what to do about unknown characters; without choices only the short form."""
    if choices:
        help = "what to do about characters that the model does not know (default: %(default)s)"
        command.add_argument("--on-unknown", choices=choices, default=choices[0], help=help)
    command.add_argument(
        "--skip-unknown",
        action="store_const",
        const="skip",
        default=argparse.SUPPRESS,
        dest="on_unknown",
        help="the same as --on-unknown skip",
    )


def _add_generate(commands: Any) -> Any:
    generate = commands.add_parser(
        "generate",
        usage="%(prog)s [options] model",
        help="write text with a model",
        description="Write text with a trained model, each character as soon as it is drawn. The "
        "prime is printed first.",
        epilog=_ESCAPES,
        argument_default=argparse.SUPPRESS,
    )
    _add_model(generate)
    add = generate.add_argument
    help = "characters to write (default: %(default)s)"
    add("-n", "--length", type=int, default=400, metavar="N", help=help)
    add("--count", type=int, metavar="N", help="texts to write, one per line (default: 1)")
    help = "write the N most probable texts instead of drawing, of at most --length characters"
    add("--n-best", type=int, metavar="N", help=help)
    help = "with --n-best: search with a beam of so many, fast; may miss some"
    add("--width", type=int, metavar="N", help=help)
    _add_options(generate, BatchControls)
    _add_unknown(generate)
    return generate


def _add_score(commands: Any) -> Any:
    score = commands.add_parser(
        "score",
        usage="%(prog)s [options] model [file]",
        help="print how surprising lines of text are",
        description="Print how surprising each line is, in bits per character: low for text like "
        "the training text.",
        epilog=_ESCAPES,
    )
    _add_model(score)
    help = "the lines (default: -, standard input)"
    score.add_argument("file", nargs="?", default="-", help=help)
    help = r"text before each line, read but not scored: \n if the model was trained on a text"
    _add_context(score, help)
    help = "print the bits of each character, too, and of the end of a record"
    score.add_argument("--per-char", action="store_true", help=help)
    help = "print the bits of each word, too, with the whitespace after it"
    score.add_argument("--by-word", action="store_true", help=help)
    help = "print the bits of the whole line instead of the mean"
    score.add_argument("--total", action="store_true", help=help)
    help = "leave out the end of a record"
    score.add_argument("--no-end", dest="end", action="store_false", help=help)
    help = "print a JSON object per line, with its text and number of unknown characters"
    score.add_argument("--json", action="store_true", help=help)
    help = "learn each line after its score; the model file stays as it is"
    score.add_argument("--adapt", action="store_true", help=help)
    _add_unknown(score, get_args(scoring.OnUnknown))
    return score


def _add_rank(commands: Any) -> Any:
    rank = commands.add_parser(
        "rank",
        usage="%(prog)s [options] model [file]",
        help="print how many guesses it takes to reach lines",
        description="Print how many guesses reach each line if somebody tries the most probable "
        "records first; then the bounds of a 95 %% interval.",
    )
    _add_model(rank)
    help = "the lines (default: -, standard input)"
    rank.add_argument("file", nargs="?", default="-", help=help)
    help = "print a JSON object per line, with its text; null is more than any number"
    rank.add_argument("--json", action="store_true", help=help)
    return rank


def _add_look(commands: Any) -> Any:
    look = commands.add_parser(
        "look",
        usage="%(prog)s [options] model [file]",
        help="show what a model does with a text, as a web page",
        description="Write a web page that shows how a text surprises a model, what the model "
        "expects after each character, what its units do, and which earlier characters matter. "
        "The page works offline.",
        epilog=_ESCAPES,
    )
    _add_model(look)
    help = "the text, or records, one a line (default: -, standard input)"
    look.add_argument("file", nargs="?", default="-", help=help)
    add = look.add_argument
    add("-o", "--output", metavar="PAGE", help="where to write it (default: standard output)")
    add("--title", help="title of the page (default: the name of the model's file)")
    help = "show the N most telling units of each layer (default: as many as fit)"
    add("--units", type=int, metavar="N", help=help)
    help = "which parts of units to show, such as h,c,i,f,g,o or h,n,r,u,q (default: all)"
    add("--parts", type=_split, metavar="NAMES", help=help)
    help = "how many earlier characters to show the influence of (default: 32)"
    add("--back", type=int, metavar="N", help=help)
    _add_context(look, "text before the text, read but not shown")
    _add_unknown(look, get_args(OnUnknown))
    return look


def _add_info(commands: Any) -> Any:
    text = "describe a model file"
    info = commands.add_parser("info", help=text, description=text.capitalize() + ".")
    _add_model(info)
    return info


# ------------------------------------------------------------------------------------------------
# Text in and out


def _use_utf8() -> None:
    """Read and write UTF-8 in any locale, newlines as they are; open streams that are closed."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  open until we exit
    for stream in (sys.stdin, sys.stdout):
        if hasattr(stream, "reconfigure"):  # surrogateescape: names of files can be any bytes
            stream.reconfigure(encoding="utf-8", errors="surrogateescape", newline="\n")


_ESCAPE = re.compile(rb"\\(?:([ntr\\])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4}))")


def _text_argument(value: str) -> str:
    """Return an argument, in any locale, as the UTF-8 that was typed, and replace its escapes."""

    def replaced(escape: re.Match[bytes]) -> bytes:
        letter, byte, code = escape.groups()
        if letter:
            return {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"\\": b"\\"}[letter]
        if byte:
            return bytes([int(byte, 16)])
        return chr(int(code, 16)).encode("utf-8", "surrogatepass")

    return _ESCAPE.sub(replaced, os.fsencode(value)).decode("utf-8", "surrogateescape")


def _split(value: str) -> list[str]:
    """Return the names in a list with commas."""
    return [name.strip() for name in value.split(",")]


def _model_text(model: CharRNN, value: str) -> AnyText:
    """Return a UTF-8 argument as str or bytes, whichever the model reads."""
    return value.encode("utf-8", "surrogateescape") if model.vocabulary.of_bytes else value


def _print(text: AnyText, end: str = "\n") -> None:
    """Print str or bytes."""
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    sys.stdout.buffer.write(data + end.encode())


def _lines(text: AnyText) -> list[AnyText]:
    r"""Return the lines of a text that are not empty; they end with \n, \r or \r\n."""
    end: AnyText = b"\r\n?|\n" if isinstance(text, bytes) else "\r\n?|\n"
    return [line for line in re.split(end, text) if line]


def _open(path: str) -> contextlib.AbstractContextManager[io.BufferedReader]:
    """Open a file to read bytes as they arrive; - is standard input."""
    if path != "-":
        return open(path, "rb")
    stdin = sys.stdin.buffer
    assert isinstance(stdin, io.BufferedReader)
    return contextlib.nullcontext(stdin)


def _read(path: str, of_bytes: bool) -> AnyText:
    """Return what is in a file, as bytes or str."""
    with _open(path) as file:
        data = file.read()
    return data if of_bytes else decode_text(data, "standard input" if path == "-" else path)


def _check_target(name: str, path: str, others: Iterable[tuple[str, str]]) -> None:
    """Raise OSError if a file can't be written, ValueError if it is also one of others."""
    check_target(path)
    target = os.path.realpath(path)
    for other, taken in others:
        if taken != "-" and os.path.realpath(taken) == target:
            raise ValueError(f"{name} {path} is also {other}, and would be overwritten")


# ------------------------------------------------------------------------------------------------
# charrnn train


def _train(arguments: Arguments) -> None:
    if not arguments.mpi:
        _train_in_process(arguments, None)
        return
    from .training.mpi import Team, world

    with Team(world()) as team:
        if "-" in arguments.file:
            raise ValueError("--mpi: only one process has standard input; name a file instead")
        _train_in_process(arguments, team)


def _train_in_process(arguments: Arguments, team: Any) -> None:
    """Train alone or as one process of a team, in which rank 0 prints and writes."""
    first = team is None or team.rank == 0
    if arguments.extend and arguments.start is None:
        raise ValueError("--extend needs --start")
    if (arguments.rehearse or arguments.rehearse_own) and arguments.start is None:
        raise ValueError("--rehearse and --rehearse-own need --start")
    if arguments.rehearse and arguments.rehearse_own:
        raise ValueError("--rehearse-own goes without --rehearse")
    if arguments.remember and not arguments.records:
        raise ValueError("--remember needs --records")
    _check_targets(arguments)
    options = _given(arguments, table(NewOptions)) | {"comm": team}
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
        from .data.sources import find  # it is slow to import

        texts = find(texts)
    for name, path in targets.items():
        others = [(other, targets[other]) for other in targets if other != name]
        _check_target(name, path, [("the text", text) for text in texts] + others)
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


def _train_on(arguments: Arguments, options: dict[str, Any]) -> CharRNN:
    """Train a new model, or the one that --start names, on the text of the arguments."""
    trainer: Any = create  # its train functions are also methods of a model
    of_bytes = arguments.alphabet == "bytes"
    if arguments.start is None:
        options["alphabet"] = arguments.alphabet or "characters"
    else:
        trainer = load(arguments.start)
        _check_kind(trainer, arguments)
        of_bytes = trainer.vocabulary.of_bytes
        options["extend"] = arguments.extend
        if arguments.rehearse or arguments.rehearse_own:
            options["rehearse"] = arguments.rehearse or True
    if arguments.records:
        options["remember"] = arguments.remember
    if arguments.file and "-" not in arguments.file:
        if arguments.start is None:
            options["records"] = arguments.records
        train, source = trainer.train_file, arguments.file
        options["cache"] = arguments.cache
    elif arguments.cache is not None or len(arguments.file) > 1:
        raise ValueError("standard input is read once: - goes without other files and --cache")
    else:
        shown = options["progress"]
        source = _read("-", of_bytes) if arguments.file else _default_text(of_bytes, shown)
        train, old = trainer.train_text, arguments.rehearse
        if arguments.records:
            train, source = trainer.train_records, _lines(source)
        if old:  # the names of files are for train_file
            texts = [_read(path, of_bytes) for path in old]
            joined = texts[0][:0].join(texts)
            options["rehearse"] = _lines(joined) if arguments.records else joined
    model: CharRNN = train(source, **options)
    return model


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
        _note(f"no file given: training on Python's documentation, {len(text):,} characters")
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
        _print(text)
    sys.stdout.buffer.flush()
    print()
    if model.history.reports:
        last = model.history.reports[-1]
        done = f"{_count(last.step, 'step')}, {_count(last.characters, 'character')}"
        print(f"{done} in {last.seconds:.1f} s; stop reason: {model.history.stop_reason}")
    _print_losses(model.history)
    saved = arguments.output is not None
    print(f"saved to {arguments.output}" if saved else "not saved (-o MODEL saves it)")


def _print_losses(history: History) -> None:
    kept = history.kept
    if kept is None:
        return
    if history.kept_step is not None:
        plural = "s" * (kept.epoch != 1)
        print(f"kept           the weights after {kept.epoch:g} epoch{plural}")
    print(f"training       {_loss(kept.nll)}")
    if kept.validation_nll is not None:
        print(f"validation     {_loss(kept.validation_nll)}")
    if history.estimate not in (None, kept.validation_nll):
        print(f"on new text    {_loss(history.estimate)}, about")


def _loss(nll: float) -> str:
    return f"{nll / math.log(2):.3f} bits per character ({nll:.3f} nats)"


# ------------------------------------------------------------------------------------------------
# charrnn generate


def _generate(arguments: Arguments) -> None:
    model = load(arguments.model)
    options = _generate_options(model, arguments)
    prime = options["prime"]
    if "n_best" in arguments:
        _print_best(model, options, arguments)
        return
    if "width" in arguments:
        raise ValueError("--width needs --n-best")
    end, count = _model_text(model, "\n"), options.pop("count", 1)
    if count == 1 and options.keys().isdisjoint(("unique", "novel", "whole")):
        characters = model.stream(arguments.length, **options)
        _print_at_once(itertools.chain([prime], characters, [end]))
        return
    texts = model._each(count, arguments.length, **options)
    written = _print_at_once(prime + text + end for text in texts)
    if written < count:
        _note(f"{written:,} of {_count(count, 'text')}: no others were found")


def _print_best(model: CharRNN, options: dict[str, Any], arguments: Arguments) -> None:
    """Print the most probable texts, or those that a beam search finds."""
    for name in options.keys() - table(SearchControls).keys():
        flag = name.replace("_", "-")
        raise ValueError(f"--{flag} does not apply to a search for the best texts (--n-best)")
    n, length = check_integer("n_best", arguments.n_best, 1), arguments.length
    if "width" in arguments:
        found = iter(model.beam_search(length, n_best=n, width=arguments.width, **options))
    else:
        if length > _SOON and not model.vocabulary.records:
            _note(f"texts of {length} characters are many; --width N follows N of them")
        found = model.likeliest(n, max_length=length, **options)
    end = _model_text(model, "\n")
    written = _print_at_once(options["prime"] + text + end for text, _ in found)
    if written < n:
        _note(f"{written:,} of {_count(n, 'text')}: no others were found")


def _generate_options(model: CharRNN, arguments: Arguments) -> dict[str, Any]:
    """Return the given options of `CharRNN.generate_many`, texts as the model reads them."""
    options = {"prime": ""} | _given(arguments, ("count", *table(BatchControls)))
    if options["prime"] == "-":
        options["prime"] = _read_prime(model)
    for name in ("prime", "allowed", "forbidden"):
        if name in options:
            options[name] = _model_text(model, options[name])
    if "stop" in options:
        options["stop"] = [_model_text(model, text) for text in options["stop"]]
    return options


def _print_at_once(texts: Iterable[AnyText]) -> int:
    """Print texts as they come, so that a reader sees each at once; return their number."""
    flushed, n = -math.inf, 0
    for n, text in enumerate(texts, 1):  # noqa: B007  n is returned
        _print(text, end="")
        if (now := time.monotonic()) >= flushed + _FLUSH:
            sys.stdout.buffer.flush()
            flushed = now
    return n


def _read_prime(model: CharRNN) -> str:
    """Return standard input, for a model of characters without the newline that a shell adds."""
    prime = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    return prime if model.vocabulary.of_bytes else prime.removesuffix("\n").removesuffix("\r")


# ------------------------------------------------------------------------------------------------
# charrnn score


def _score(arguments: Arguments) -> None:
    model = load(arguments.model)
    number, unknown, affected = 0, 0, 0
    if arguments.adapt and arguments.by_word:
        raise ValueError("--by-word does not go with --adapt")
    live = model.adapting() if arguments.adapt else None
    with _open(arguments.file) as file:
        arriving = _arriving_lines(file)
        if live is not None:  # which learns each line before it scores the next
            arriving = ([line] for lines in arriving for line in lines)
        for lines in arriving:
            counts = _score_lines(model, live, lines, number, arguments)
            number += len(lines)
            unknown += int(counts.sum())
            affected += int((counts > 0).sum())
    if unknown:
        done = "skipped" if arguments.on_unknown == "skip" else "scored as the least likely"
        where = f"{affected:,} of {_count(number, 'line')}"
        _note(f"{done}: {_count(unknown, 'unknown character')} in {where}")


def _arriving_lines(file: io.BufferedReader) -> Iterator[list[bytes]]:
    """Yield lists of whole lines as they arrive: many from a file, one at a time from a person."""
    pieces = [b""]
    while data := file.read1(1 << 20):
        first, *others = data.split(b"\n")
        pieces.append(first)
        if others:
            yield [b"".join(pieces), *others[:-1]]
            pieces = [others[-1]]
    if rest := b"".join(pieces):
        yield [rest]


def _score_lines(
    model: CharRNN, live: LiveModel | None, lines: list[bytes], first: int, arguments: Arguments
) -> NDArray[np.int64]:
    """Print the scores of lines, the first of which has this number; return unknown characters."""
    try:
        texts = [_line_text(model, line, i) for i, line in enumerate(lines, first)]
        return _print_scores(model, live, texts, arguments)
    except ValueError:
        # Again one by one, to print the scores before the mistake and the number of its line.
        for i, line in enumerate(lines, first):
            try:
                _print_scores(model, live, [_line_text(model, line, i)], arguments)
            except ValueError as error:
                raise ValueError(f"line {i + 1}: {error}") from error
        raise


def _line_text(model: CharRNN, line: bytes, i: int) -> AnyText:
    """Return line i as the model reads text, without the carriage return and mark of Windows."""
    if model.vocabulary.of_bytes:
        return line
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        advice = "convert the lines, or score them by a model of bytes (train --bytes)"
        raise ValueError(f"not UTF-8 at byte {error.start}: {advice}") from error
    if text.endswith("\r") and "\r" not in model.vocabulary:
        text = text[:-1]
    return text.removeprefix("\ufeff") if i == 0 else text


def _print_scores(
    model: CharRNN, live: LiveModel | None, texts: list[AnyText], arguments: Arguments
) -> NDArray[np.int64]:
    """Print the scores of texts and return how many characters of each are unknown.

    A model of text has no score for an empty one.
    """
    context = _model_text(model, arguments.context)
    options: dict[str, Any] = {"context": context, "on_unknown": arguments.on_unknown}
    scorable = np.array([len(text) > 0 or model.vocabulary.records for text in texts], np.bool_)
    bits, unknown = np.full(len(texts), np.nan), np.zeros(len(texts), np.int64)
    found = list(itertools.compress(texts, scorable))
    nats: dict[AnyText, NDArray[np.float64]] = {}
    how = options | {"total": arguments.total, "end": arguments.end}
    if live is not None:
        nats = {text: _line_nll(live, text, **options) for text in found}
        left_out = model.vocabulary.records and not arguments.end
        counted = [nats[text][: len(nats[text]) - left_out] for text in found]
        sums, symbols = np.array(list(map(total, counted))), np.array(list(map(len, counted)))
        bits[scorable] = scoring.bits(sums, symbols, arguments.total)
        unknown[scorable] = [(model.vocabulary.lookup(text) < 0).sum() for text in found]
    elif len(found) == 1:  # an error then calls it text, not texts[0]
        bits[scorable], unknown[scorable] = model.score(found[0], return_unknown=True, **how)
    else:
        bits[scorable], unknown[scorable] = model.score_many(found, return_unknown=True, **how)
    name = "bits" if arguments.total else "bits_per_character"
    for text, score, n in zip(texts, bits.tolist(), unknown.tolist(), strict=True):
        line: dict[str, Any] = {"text": text, name: score, "unknown": n}
        if arguments.per_char:
            losses = nats[text] if text in nats else -model.log_probs(text, **options)
            line["per_character"] = (losses / math.log(2)).tolist()
        if arguments.by_word:
            line["by_word"] = model.score_words(text, **options)
        print(_as_json(line) if arguments.json else _as_numbers(line))
    sys.stdout.flush()
    return unknown


def _line_nll(
    live: LiveModel, text: AnyText, context: AnyText, on_unknown: scoring.OnUnknown
) -> NDArray[np.float64]:
    """Return the loss of each character of a text, which is then learned."""
    live.begin(context, on_unknown=on_unknown)
    return -live.read(text, on_unknown=on_unknown)


def _as_numbers(line: dict[str, Any]) -> str:
    first = line["bits"] if "bits" in line else line["bits_per_character"]
    words = [bits for _, bits in line.get("by_word", [])]
    return " ".join(f"{number:.4f}" for number in [first, *line.get("per_character", []), *words])


def _as_json(line: dict[str, Any]) -> str:
    def shown(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [shown(one) for one in value]
        if isinstance(value, bytes):
            return value.decode("utf-8", "backslashreplace")
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps({name: shown(value) for name, value in line.items()}, ensure_ascii=False)


# ------------------------------------------------------------------------------------------------
# charrnn rank


def _rank(arguments: Arguments) -> None:
    model, number = load(arguments.model), 0
    with _open(arguments.file) as file:
        for lines in _arriving_lines(file):
            texts = [_line_text(model, line, i) for i, line in enumerate(lines, number)]
            number += len(lines)
            for text, *numbers in zip(texts, *model.rank(texts), strict=True):
                ranks = dict(zip(Ranks._fields, map(float, numbers), strict=True))
                line = " ".join(f"{number:.6g}" for number in ranks.values())
                print(_as_json({"text": text, **ranks}) if arguments.json else line)
            sys.stdout.flush()


# ------------------------------------------------------------------------------------------------
# charrnn look, charrnn info


def _look(arguments: Arguments) -> None:
    if arguments.output is not None:
        texts = [("the model", arguments.model), ("the text", arguments.file)]
        _check_target("-o", arguments.output, texts)
    elif sys.stdout.isatty():
        raise ValueError("the page would fill the terminal: add -o page.html or > page.html")
    model = load(arguments.model)
    text = _read(arguments.file, model.vocabulary.of_bytes)
    if model.vocabulary.records:
        text = _lines(text) or model.vocabulary.empty
    context = _model_text(model, arguments.context)
    trace = model.trace(text, context=context, on_unknown=arguments.on_unknown)
    title = os.path.basename(arguments.model) if arguments.title is None else arguments.title
    options = {name: getattr(arguments, name) for name in ("units", "back", "parts")}
    options["title"] = os.fsencode(title).decode("utf-8", "surrogateescape")
    if arguments.output is not None:
        trace.save_html(arguments.output, **options)
    else:
        _print(trace.html(**options), end="")


def _info(arguments: Arguments) -> None:
    model = load(arguments.model)
    learner, network, vocabulary = model._state.learner, model.network, model.vocabulary
    layers = ", ".join(f"{cell} of {units} units" for cell, units in network.description.layers)
    unit = "bytes" if vocabulary.of_bytes else "characters"
    chars = "" if vocabulary.of_bytes else f"  {vocabulary.chars!r}"
    settings = {
        "seq_length": learner.seq_length,
        "batch_size": learner.batch_size,
        "dropout": f"{learner.dropout:g}",
        "optimizer": network.optimizer,
        "learning_rate": f"{learner.learning_rate:g}",
    }
    print(f"network        {layers}")
    print(f"kind           {'records' if vocabulary.records else 'text'} of {unit}")
    print(f"vocab_size     {network.description.vocab_size}{chars}")
    print(f"parameters     {network.description.n_parameters:,} of {network.dtype}")
    print(f"trained with   {' '.join(f'{name}={value}' for name, value in settings.items())}")
    steps = f"{model.history.steps:,}; stop reason: {model.history.stop_reason}"
    print(f"steps          {steps}")
    _print_losses(model.history)
