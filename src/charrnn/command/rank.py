"""The command `charrnn rank`."""

import sys
from typing import Any

from ..create import load
from ..inference.ranking import Ranks
from .arguments import Arguments, add_model
from .terminal import arriving_lines, as_json, line_text, open_input


def add_parser(commands: Any) -> Any:
    """Add the command and its arguments; return its parser."""
    rank = commands.add_parser(
        "rank",
        usage="%(prog)s [options] model [file]",
        help="print how many guesses it takes to reach lines",
        description="Print how many guesses reach each line if somebody tries the most probable "
        "records first; then the bounds of a 95 %% interval.",
    )
    add_model(rank)
    help = "the lines (default: -, standard input)"
    rank.add_argument("file", nargs="?", default="-", help=help)
    help = "print a JSON object per line, with its text; null is more than any number"
    rank.add_argument("--json", action="store_true", help=help)
    return rank


def run(arguments: Arguments) -> None:
    """Print the ranks of lines as they arrive."""
    model, number = load(arguments.model), 0
    with open_input(arguments.file) as file:
        for lines in arriving_lines(file):
            texts = [line_text(model, line, i) for i, line in enumerate(lines, number)]
            number += len(lines)
            for text, *numbers in zip(texts, *model.rank(texts), strict=True):
                ranks = dict(zip(Ranks._fields, map(float, numbers), strict=True))
                line = " ".join(f"{number:.6g}" for number in ranks.values())
                print(as_json({"text": text, **ranks}) if arguments.json else line)
            sys.stdout.flush()
