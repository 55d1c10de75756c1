"""The `charrnn` command: train, generate, score, rank, look, info, export, compress, decompress."""

import argparse
import os
import sys
import warnings
from collections.abc import Mapping, Sequence

from . import __version__, isa
from .command import compress, decompress, export, generate, info, look, rank, score, train
from .command.arguments import (
    FAILED,
    INTERRUPTED,
    OK,
    WRONG_INPUT,
    Command,
    Parser,
    PrintCompletion,
)
from .command.terminal import note, use_utf8
from .util.errors import CharRNNError, RankError, TrainingWarning

_COMMANDS = train, generate, score, rank, look, info, export, compress, decompress
_EXAMPLES = """\
charrnn train input.txt -o model.safetensors
charrnn generate model.safetensors --prime "The " -n 200
charrnn score model.safetensors lines.txt

charrnn COMMAND --help lists the options of a command."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    use_utf8()
    arguments = _parser().parse_args(argv)
    flags = arguments.command.flags()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", TrainingWarning)
            arguments.run(arguments)
        sys.stdout.flush()
        for warning in caught:
            note(f"warning: {_with_flag(str(warning.message), flags)}")
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
        note(f"error: {_with_flag(_describe(error), flags)}")
        return FAILED if isinstance(error, (ArithmeticError, MemoryError)) else WRONG_INPUT


def _describe(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


def _with_flag(message: str, flags: Mapping[str, str]) -> str:
    """Return a message with the flag of the argument of which it says what it must be."""
    name, must, rest = message.partition(" must ")
    return f"{flags.get(name, name)}{must}{rest}"


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="charrnn",
        description="Train a character-level RNN on text; write and score text with it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    version = f"charrnn {__version__} ({isa} kernels)"
    parser.add_argument("--version", action="version", version=version)
    help = "print a script that completes commands, options and files in this shell; needs shtab"
    shells = ("bash", "zsh", "fish")
    parser.add_argument("--completion", choices=shells, action=PrintCompletion, help=help)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Command)
    parser.commands = commands
    for module in _COMMANDS:
        command = module.add_parser(commands)
        command.set_defaults(run=module.run, command=command)
    return parser
