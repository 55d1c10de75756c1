"""The command `charrnn score`."""

import heapq
import itertools
import math
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple, get_args

import numpy as np

from ..data.vocabulary import AnyText
from ..inference import scoring
from ..inference.adapting import LiveModel
from ..model import CharRNN
from ..util.errors import check_integer, check_number
from ..util.progress import counted
from .arguments import ESCAPES, Arguments, add_context, add_model, add_unknown
from .rows import Row, add_rows, read_rows
from .terminal import as_json, load_model, model_text, note, open_input, write


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
    add_rows(score.add_argument)
    _add_selection(score.add_argument_group("selection options").add_argument)
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


def _add_selection(add: Any) -> None:
    help = "print only lines with more than BITS: line number, bits and text, between tabs"
    add("--above", type=float, metavar="BITS", help=help)
    help = "print only the N most surprising lines in the same way, the most surprising first"
    add("--top", type=int, metavar="N", help=help)
    add("--line-number", action="store_true", help="print the number of each line, too")


class Scored(NamedTuple):
    """A row with its bits, in all or per character, and what else is printed of it."""

    row: Row
    bits: float
    unknown: int
    more: dict[str, Any]


def run(arguments: Arguments) -> None:
    """Print the scores of lines as they arrive, or of those that are selected."""
    if arguments.adapt and arguments.by_word:
        raise ValueError("--by-word and --adapt exclude each other")
    if arguments.above is not None:
        check_number("--above", arguments.above)
    if arguments.top is not None:
        check_integer("--top", arguments.top, 1)
    model = load_model(arguments.model)
    counts = Counts()
    with open_input(arguments.file) as file:
        batches = counts.of(_scored(model, read_rows(file, model.vocabulary, arguments), arguments))
        _print(batches, arguments)
    if counts.unknown:
        done = "skipped" if arguments.on_unknown == "skip" else "scored as the least likely"
        where = f"{counts.affected:,} of {counted(counts.rows, 'line')}"
        note(f"{done}: {counted(counts.unknown, 'unknown character')} in {where}")


class Counts:
    """How many rows there are, how many unknown characters, and in how many rows."""

    rows, unknown, affected = 0, 0, 0

    def of(self, batches: Iterator[list[Scored]]) -> Iterator[list[Scored]]:
        """Count what is in batches and yield them."""
        for batch in batches:
            self.rows += len(batch)
            self.unknown += sum(one.unknown for one in batch)
            self.affected += sum(one.unknown > 0 for one in batch)
            yield batch


def _scored(
    model: CharRNN, batches: Iterator[list[Row]], arguments: Arguments
) -> Iterator[list[Scored]]:
    """Yield the scores of lists of rows."""
    live = model.adapting() if arguments.adapt else None
    for rows in batches:
        if live is None:
            try:
                yield _score(model, rows, arguments)
                continue
            except ValueError:
                pass  # one by one, to print the scores before the mistake, and its line
        # A live model learns each row before it scores the next.
        for row in rows:
            try:
                if live is None:
                    yield _score(model, [row], arguments)
                else:
                    yield [_learn(model, live, row, arguments)]
            except ValueError as error:
                raise ValueError(f"line {row.number}: {error}") from error


def _print(batches: Iterator[list[Scored]], arguments: Arguments) -> None:
    """Print what is selected of batches as it comes, or at the end the most surprising."""
    above = -math.inf if arguments.above is None else arguments.above
    if arguments.above is not None:
        batches = ([one for one in batch if one.bits > above] for batch in batches)
    if arguments.top is not None:
        known = (one for one in itertools.chain.from_iterable(batches) if one.bits == one.bits)
        top = heapq.nsmallest(arguments.top, known, key=lambda one: (-one.bits, one.row.number))
        batches = iter([top])
    for batch in batches:
        for one in batch:
            write(_shown(one, arguments))
        sys.stdout.flush()


def _shown(one: Scored, arguments: Arguments) -> AnyText:
    """Return the line that is printed of a row."""
    selected = arguments.above is not None or arguments.top is not None
    number = {"line": one.row.number} if selected or arguments.line_number else {}
    if arguments.json:
        name = "bits" if arguments.total else "bits_per_character"
        line = {"text": one.row.text, name: one.bits, "unknown": one.unknown}
        return as_json({**number, **line, **one.more})
    words = [bits for _, bits in one.more.get("by_word", [])]
    numbers = [one.bits, *one.more.get("per_character", []), *words]
    shown = "\t".join([*map(str, number.values()), " ".join(f"{x:.4f}" for x in numbers)])
    return f"{shown}\t{_on_one_line(one.row.text)}" if selected else shown


def _on_one_line(text: str | bytes) -> str:
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    return text.replace("\r", r"\r").replace("\n", r"\n")


def _score(model: CharRNN, rows: list[Row], arguments: Arguments) -> list[Scored]:
    """Return the scores of rows. A model of text has none for an empty one."""
    options = _options(model, arguments)
    how = options | {"total": arguments.total, "end": arguments.end}
    scorable = np.array([_is_scorable(model, row) for row in rows], np.bool_)
    bits, unknown = np.full(len(rows), np.nan), np.zeros(len(rows), np.int64)
    found = [row.text for row in itertools.compress(rows, scorable)]
    if len(found) == 1:  # an error then calls it text, not texts[0]
        bits[scorable], unknown[scorable] = model.score(found[0], return_unknown=True, **how)
    else:
        bits[scorable], unknown[scorable] = model.score_many(found, return_unknown=True, **how)
    return [
        Scored(row, score, n, _more(model, row.text, arguments, options))
        for row, score, n in zip(rows, bits.tolist(), unknown.tolist(), strict=True)
    ]


def _learn(model: CharRNN, live: LiveModel, row: Row, arguments: Arguments) -> Scored:
    """Return the score of a row, which is then learned."""
    options = _options(model, arguments)
    if not _is_scorable(model, row):
        return Scored(row, math.nan, 0, _more(model, row.text, arguments, options))
    live.begin(options["context"], on_unknown=options["on_unknown"])
    losses = -live.read(row.text, on_unknown=options["on_unknown"])
    of_text = losses[: len(losses) - (model.vocabulary.records and not arguments.end)]
    (bits,) = scoring.bits([scoring.total(of_text)], [len(of_text)], arguments.total)
    more = {"per_character": (losses / math.log(2)).tolist()} if arguments.per_char else {}
    return Scored(row, bits, int((model.vocabulary.lookup(row.text) < 0).sum()), more)


def _is_scorable(model: CharRNN, row: Row) -> bool:
    return row.text is not None and (len(row.text) > 0 or model.vocabulary.records)


def _options(model: CharRNN, arguments: Arguments) -> dict[str, Any]:
    context = model_text(model, arguments.context)
    return {"context": context, "on_unknown": arguments.on_unknown}


def _more(
    model: CharRNN, text: AnyText, arguments: Arguments, options: dict[str, Any]
) -> dict[str, Any]:
    """Return the bits of each character and word of a text, if asked for."""
    more: dict[str, Any] = {}
    if text is not None and arguments.per_char:
        more["per_character"] = (-model.log_probs(text, **options) / math.log(2)).tolist()
    if text is not None and arguments.by_word:
        more["by_word"] = model.score_words(text, **options)
    return more
