"""The command `charrnn export`."""

import os
from typing import Any, get_args

from ..browser import ENDINGS, Page, Weights
from .arguments import Arguments, add_model, given
from .terminal import check_output, load_model, note


def add_parser(commands: Any) -> Any:
    """Add the command and its arguments; return its parser."""
    export = commands.add_parser(
        "export",
        usage="%(prog)s [options] model FILE",
        help="write a model as a web page, a script, or an ONNX file",
        description="Write a model as FILE: page.html, a web page that works offline; model.js, a "
        "script for browsers and Node; or model.onnx.",
    )
    add_model(export)
    export.add_argument("output", metavar="FILE", help="ends in .html, .js, or .onnx")
    help = "how precise the weights are in .html and .js (default: float32)"
    export.add_argument("--weights", choices=get_args(Weights), help=help)
    help = "what a page does: write text, or count guesses (default: generator)"
    export.add_argument("--page", choices=get_args(Page), help=help)
    export.add_argument("--title", help="title of the page")
    return export


def run(arguments: Arguments) -> None:
    """Write a model in another format."""
    output = arguments.output
    check_output("FILE", output, [("the model", arguments.model)])
    chosen = given(arguments, ("weights", "page", "title"))
    options = {name: value for name, value in chosen.items() if value is not None}
    ending = os.path.splitext(output)[1]
    if ending == ".onnx" and not options:
        load_model(arguments.model).to_onnx(output)
        return
    if ending not in ENDINGS:
        formats = f"{', '.join(ENDINGS)} or, without options, .onnx"
        raise ValueError(f"FILE must end in {formats}, not {output!r}")
    written = load_model(arguments.model).save_js(output, **options)
    note(f"{written.size:,} bytes, {written.compressed:,} compressed")
    if "weights" in options:
        cost = max(written.cost, 0.0)
        note(f"{options['weights']} costs {cost:.4f} bits per character of generated text")
