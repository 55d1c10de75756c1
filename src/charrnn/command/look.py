"""The command `charrnn look`."""

import os
import sys
from typing import Any, get_args

from ..data.splitting import records
from ..data.vocabulary import OnUnknown
from .arguments import ESCAPES, Arguments, add_context, add_model, add_unknown, split_names
from .terminal import check_output, load_model, model_text, read_input, write


def add_parser(commands: Any) -> Any:
    """Add the command and its arguments; return its parser."""
    look = commands.add_parser(
        "look",
        usage="%(prog)s [options] model [file]",
        help="show what a model does with a text, as a web page",
        description="Write a web page that shows how a text surprises a model, what the model "
        "expects after each character, what its units do, and which earlier characters matter. "
        "The page works offline.",
        epilog=ESCAPES,
    )
    add_model(look)
    help = "the text, or records, one per line (default: -, standard input)"
    look.add_argument("file", nargs="?", default="-", help=help)
    add = look.add_argument
    add("-o", "--output", metavar="PAGE", help="where to write it (default: standard output)")
    add("--title", help="title of the page (default: the name of the model's file)")
    help = "show the N most interesting units of each layer (default: as many as fit)"
    add("--units", type=int, metavar="N", help=help)
    help = "which parts of units to show, such as h,c,i,f,g,o or h,n,r,u,q (default: all)"
    add("--parts", type=split_names, metavar="NAMES", help=help)
    help = "show the influence of the last N characters (default: 32)"
    add("--back", type=int, metavar="N", help=help)
    add_context(look, "text before the text, read but not shown")
    add_unknown(look, get_args(OnUnknown))
    return look


def run(arguments: Arguments) -> None:
    """Write a page that shows what a model does with a text."""
    if arguments.output is not None:
        texts = [("the model", arguments.model), ("the text", arguments.file)]
        check_output("-o", arguments.output, texts)
    elif sys.stdout.isatty():
        raise ValueError("the page would fill the terminal: add -o page.html or > page.html")
    model = load_model(arguments.model)
    text = read_input(arguments.file, model.vocabulary.of_bytes)
    if model.vocabulary.records:
        text = list(records([text])) or model.vocabulary.empty
    context = model_text(model, arguments.context)
    trace = model.trace(text, context=context, on_unknown=arguments.on_unknown)
    title = os.path.basename(arguments.model) if arguments.title is None else arguments.title
    options = {name: getattr(arguments, name) for name in ("units", "back", "parts")}
    options["title"] = os.fsencode(title).decode("utf-8", "surrogateescape")
    if arguments.output is not None:
        trace.save_html(arguments.output, **options)
    else:
        write(trace.html(**options), end="")
