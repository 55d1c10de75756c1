"""The arguments of the commands: made from the table of options, or shared by several."""

import argparse
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn, TypeAlias, get_origin

from ..util.errors import likely
from ..util.options import Option

Arguments: TypeAlias = argparse.Namespace

# Exit codes; argparse, too, exits with 2 at a wrong command line.
OK, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130
ESCAPES = r"""Escapes in TEXT and CHARS: \n, \t, \r, \\, \xHH for a byte and \uHHHH for a
character, with hexadecimal digits. Write a TEXT that begins with - after =, as in --prime=-x."""
_FILES = ("file", "model", "MODEL", "FILE", "PAGE", "PICTURE")  # arguments that name a file
_ESCAPE = re.compile(rb"\\(?:([ntr\\])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4}))")


class Parser(argparse.ArgumentParser):
    """Answers a wrong command line with one line."""

    commands: Any = None

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and exit."""
        self.exit(WRONG_INPUT, f"{self.prog}: error: {message} ({self.prog} --help)\n")


class Command(Parser):
    """Takes options before, between and after file names, and knows what a wrong one may mean."""

    _inside = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse options and file names in any order."""
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


class PrintCompletion(argparse.Action):
    """Prints a script that completes the command in a shell."""

    def __call__(self, parser: Any, namespace: Any, shell: Any, flag: Any = None) -> None:
        """Print it, and exit."""
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


def add_options(
    command: argparse.ArgumentParser,
    options: Iterable[Option],
    begun: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Add the options that have a flag; return the groups that they are in.

    begun has groups that the command has already, by title.
    """
    groups: dict[str, Any] = {"": command, **(begun or {})}
    for option in options:
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
    types = {int: int, float: float}
    text = text_argument if option.flag.metavar in ("TEXT", "CHARS") else str
    found["type"] = next((types[one] for one in types if one in option.types), text)
    return found


def given(arguments: Arguments, names: Iterable[str]) -> dict[str, Any]:
    """Return the arguments with these names that are given."""
    return {name: value for name, value in vars(arguments).items() if name in {*names}}


def check_needs(arguments: Arguments, needs: Mapping[str, str]) -> None:
    """Raise ValueError if an argument is given without the one that it needs."""
    values, command = vars(arguments), arguments.command
    given = {name for name in values if values[name] != command.get_default(name)}
    flags = command.flags()
    for name, needed in needs.items():
        if name in given and needed not in given:
            raise ValueError(f"{flags[name]} needs {flags[needed]}")


def add_model(command: argparse.ArgumentParser) -> None:
    """Add the model file."""
    help = "a file that charrnn train saved, or with charrnn-models a name such as names or english"
    command.add_argument("model", help=help)


def add_context(command: argparse.ArgumentParser, help: str) -> None:
    """Add the text before what is read."""
    command.add_argument("--context", type=text_argument, default="", metavar="TEXT", help=help)


def add_unknown(command: argparse.ArgumentParser, choices: Any = None) -> None:
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


def text_argument(value: str) -> str:
    """Return an argument, in any locale, as the UTF-8 that was typed, and replace its escapes."""

    def replaced(escape: re.Match[bytes]) -> bytes:
        letter, byte, code = escape.groups()
        if letter:
            return {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"\\": b"\\"}[letter]
        if byte:
            return bytes([int(byte, 16)])
        return chr(int(code, 16)).encode("utf-8", "surrogatepass")

    return _ESCAPE.sub(replaced, os.fsencode(value)).decode("utf-8", "surrogateescape")


def split_names(value: str) -> list[str]:
    """Return the names in a list with commas."""
    return [name.strip() for name in value.split(",")]
