"""The command `charrnn compress`."""

from typing import Any

from ..inference.codec import compress_file
from .arguments import Arguments
from .terminal import convert

ENDING = ".crn"  # of compressed files


def add_parser(commands: Any) -> Any:
    """Add the command and its arguments; return its parser."""
    compress = commands.add_parser(
        "compress",
        usage="%(prog)s [options] file",
        help="compress a file without loss",
        description="Compress a file, with or without a model, so that charrnn decompress gives "
        "the same bytes on any machine.",
    )
    add_files(compress, f"the file to compress; the output is file{ENDING}")
    return compress


def add_files(command: Any, help: str) -> None:
    """Add the arguments that compress and decompress share."""
    command.add_argument("file", help=f"{help} (-: from standard input to standard output)")
    help = "another file to write to; - is standard output"
    command.add_argument("-o", "--output", metavar="FILE", help=help)
    help = "a model of similar texts, for small files; decompress then needs it, too"
    command.add_argument("-m", "--model", metavar="MODEL", help=help)


def run(arguments: Arguments) -> None:
    """Compress a file."""
    output = arguments.output or ("-" if arguments.file == "-" else arguments.file + ENDING)
    convert(compress_file, arguments.file, output, arguments.model)
