"""The command `charrnn rank`."""

import math
import sys
from typing import Any

from ..inference.ranking import Ranks
from .arguments import Arguments, add_model
from .rows import add_rows, read_rows
from .terminal import as_json, load_model, open_input


def add_parser(commands: Any) -> Any:
    """Add the command and its arguments; return its parser."""
    rank = commands.add_parser(
        "rank",
        usage="%(prog)s [options] model [file]",
        help="print how many guesses it takes to reach lines",
        description="Print how many guesses reach each line if an attacker tries the most probable "
        "records first; then the bounds of a 95 % interval.",
    )
    add_model(rank)
    add_rows(rank.add_argument)
    help = "print a JSON object per line, with its text; null is more than any number"
    rank.add_argument("--json", action="store_true", help=help)
    return rank


def run(arguments: Arguments) -> None:
    """Print the ranks of lines as they arrive."""
    model = load_model(arguments.model)
    with open_input(arguments.file) as file:
        for rows in read_rows(file, model.vocabulary, arguments):
            found = zip(
                *model.rank([row.text for row in rows if row.text is not None]), strict=True
            )
            for row in rows:
                numbers = [math.nan] * 3 if row.text is None else map(float, next(found))
                ranks = dict(zip(Ranks._fields, numbers, strict=True))
                line = " ".join(f"{number:.6g}" for number in ranks.values())
                print(as_json({"text": row.text, **ranks}) if arguments.json else line)
            sys.stdout.flush()
