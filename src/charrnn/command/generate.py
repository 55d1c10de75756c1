"""The command `charrnn generate`."""

import argparse
import itertools
import sys
from typing import Any

from ..inference.sampling import BatchControls, SearchControls
from ..model import CharRNN
from ..util.errors import check_integer
from ..util.options import table
from ..util.progress import counted
from .arguments import ESCAPES, Arguments, add_model, add_options, add_unknown, check_needs, given
from .terminal import load_model, model_text, note, write_at_once

_SOON = 20  # characters of a text up to which the most probable ones are found soon


def add_parser(commands: Any) -> Any:
    """Add the command and its arguments; return its parser."""
    generate = commands.add_parser(
        "generate",
        usage="%(prog)s [options] model",
        help="write text with a model",
        description="Write text with a trained model, each character as soon as it is drawn. The "
        "prime is printed first.",
        epilog=ESCAPES,
        argument_default=argparse.SUPPRESS,
    )
    add_model(generate)
    add = generate.add_argument
    help = "characters to write (default: %(default)s)"
    add("-n", "--length", type=int, default=400, metavar="N", help=help)
    add("--count", type=int, metavar="N", help="texts to write, one per line (default: 1)")
    help = "write the N most probable texts instead of drawing, of at most --length characters"
    add("--n-best", type=int, metavar="N", help=help)
    help = "with --n-best: beam search of this width; faster, but may miss some"
    add("--width", type=int, metavar="N", help=help)
    add_options(generate, table(BatchControls).values())
    add_unknown(generate)
    return generate


def run(arguments: Arguments) -> None:
    """Write texts, or the most probable ones."""
    check_needs(arguments, {"width": "n_best"})
    model = load_model(arguments.model)
    options = _generate_options(model, arguments)
    prime = options["prime"]
    if "n_best" in arguments:
        _print_best(model, options, arguments)
        return
    end, count = model_text(model, "\n"), options.pop("count", 1)
    if count == 1 and options.keys().isdisjoint(("unique", "novel", "whole")):
        characters = model.stream(arguments.length, **options)
        write_at_once(itertools.chain([prime], characters, [end]))
        return
    texts = model._each(count, arguments.length, **options)
    written = write_at_once(prime + text + end for text in texts)
    if written < count:
        note(f"{written:,} of {counted(count, 'text')}: no others were found")


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
            note(f"there are many texts of {length} characters; --width N follows only N of them")
        found = model.likeliest(n, max_length=length, **options)
    end = model_text(model, "\n")
    written = write_at_once(options["prime"] + text + end for text, _ in found)
    if written < n:
        note(f"{written:,} of {counted(n, 'text')}: no others were found")


def _generate_options(model: CharRNN, arguments: Arguments) -> dict[str, Any]:
    """Return the given options of `CharRNN.generate_many`, texts as the model reads them."""
    options = {"prime": ""} | given(arguments, ("count", *table(BatchControls)))
    if options["prime"] == "-":
        options["prime"] = _read_prime(model)
    for name in ("prime", "allowed", "forbidden"):
        if name in options:
            options[name] = model_text(model, options[name])
    if "stop" in options:
        options["stop"] = [model_text(model, text) for text in options["stop"]]
    return options


def _read_prime(model: CharRNN) -> str:
    """Return standard input, for a model of characters without the newline that a shell adds."""
    prime = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    return prime if model.vocabulary.of_bytes else prime.removesuffix("\n").removesuffix("\r")
