"""The command `charrnn score`."""

import itertools
import math
import sys
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from ..create import load
from ..data.vocabulary import AnyText
from ..inference import scoring
from ..inference.adapting import LiveModel, total
from ..model import CharRNN
from .arguments import ESCAPES, Arguments, add_context, add_model, add_unknown
from .terminal import arriving_lines, as_json, counted, line_text, model_text, note, open_input


def add_parser(commands: Any) -> Any:
    """Add the command and its arguments; return its parser."""
    score = commands.add_parser(
        "score",
        usage="%(prog)s [options] model [file]",
        help="print how surprising lines of text are",
        description="Print how surprising each line is, in bits per character: low for text like "
        "the training text.",
        epilog=ESCAPES,
    )
    add_model(score)
    help = "the lines (default: -, standard input)"
    score.add_argument("file", nargs="?", default="-", help=help)
    help = r"text before each line, read but not scored: \n if the model was trained on a text"
    add_context(score, help)
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
    add_unknown(score, get_args(scoring.OnUnknown))
    return score


def run(arguments: Arguments) -> None:
    """Print the scores of lines as they arrive."""
    model = load(arguments.model)
    number, unknown, affected = 0, 0, 0
    if arguments.adapt and arguments.by_word:
        raise ValueError("--by-word does not go with --adapt")
    live = model.adapting() if arguments.adapt else None
    with open_input(arguments.file) as file:
        arriving = arriving_lines(file)
        if live is not None:  # which learns each line before it scores the next
            arriving = ([line] for lines in arriving for line in lines)
        for lines in arriving:
            counts = _score_lines(model, live, lines, number, arguments)
            number += len(lines)
            unknown += int(counts.sum())
            affected += int((counts > 0).sum())
    if unknown:
        done = "skipped" if arguments.on_unknown == "skip" else "scored as the least likely"
        where = f"{affected:,} of {counted(number, 'line')}"
        note(f"{done}: {counted(unknown, 'unknown character')} in {where}")


def _score_lines(
    model: CharRNN, live: LiveModel | None, lines: list[bytes], first: int, arguments: Arguments
) -> NDArray[np.int64]:
    """Print the scores of lines, the first of which has this number; return unknown characters."""
    try:
        texts = [line_text(model, line, i) for i, line in enumerate(lines, first)]
        return _print_scores(model, live, texts, arguments)
    except ValueError:
        # Again one by one, to print the scores before the mistake and the number of its line.
        for i, line in enumerate(lines, first):
            try:
                _print_scores(model, live, [line_text(model, line, i)], arguments)
            except ValueError as error:
                raise ValueError(f"line {i + 1}: {error}") from error
        raise


def _print_scores(
    model: CharRNN, live: LiveModel | None, texts: list[AnyText], arguments: Arguments
) -> NDArray[np.int64]:
    """Print the scores of texts and return how many characters of each are unknown.

    A model of text has no score for an empty one.
    """
    context = model_text(model, arguments.context)
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
        print(as_json(line) if arguments.json else _as_numbers(line))
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
