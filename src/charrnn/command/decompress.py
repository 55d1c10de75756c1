"""The command `charrnn decompress`."""

from typing import Any

from ..inference.codec import decompress_file
from .arguments import Arguments
from .compress import ENDING, add_files
from .terminal import convert


def add_parser(commands: Any) -> Any:
    """Add the command and its arguments; return its parser."""
    decompress = commands.add_parser(
        "decompress",
        usage="%(prog)s [options] file",
        help="restore what charrnn compress has compressed",
        description="Restore a file that charrnn compress has compressed. Nothing is written "
        "before it is checked.",
    )
    add_files(decompress, f"the file to decompress; the output is its name without {ENDING}")
    return decompress


def run(arguments: Arguments) -> None:
    """Decompress a file."""
    output = arguments.output or ("-" if arguments.file == "-" else _without_ending(arguments.file))
    convert(decompress_file, arguments.file, output, arguments.model)


def _without_ending(path: str) -> str:
    if not path.endswith(ENDING) or path == ENDING:
        raise ValueError(f"output must be given: {path} does not end with {ENDING}")
    return path.removesuffix(ENDING)
