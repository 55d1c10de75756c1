"""The `charrnn` command: train, generate, score, info."""

import argparse
import io
import json
import math
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from . import __version__, isa
from .create import load, train_records, train_text
from .errors import CharRNNError, TrainingInterrupted, TrainingWarning
from .files import check_target
from .history import History
from .model import CharRNN
from .reader import decode_text, read_bytes
from .training import DEFAULTS
from .vocabulary import AnyText

Arguments: TypeAlias = argparse.Namespace

# Exit codes; 2 is also argparse's own for a wrong command line.
OK, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130
_SAMPLE_LENGTH = 300


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    _speak_utf8()
    arguments = _parser().parse_args(argv)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", TrainingWarning)
            arguments.run(arguments)
        sys.stdout.flush()
        for warning in caught:
            print(f"charrnn: warning: {warning.message}", file=sys.stderr)
        return FAILED if any(issubclass(warning.category, TrainingWarning) for warning in caught) else OK
    except BrokenPipeError:
        # The reader of our output has left, as `head` does. Python would complain once more while it closes stdout: give it another.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        return INTERRUPTED
    except (OSError, ValueError, TypeError, CharRNNError, MemoryError, ImportError) as error:
        print(f"charrnn: error: {_explain(error)}", file=sys.stderr)
        return FAILED if isinstance(error, (ArithmeticError, MemoryError)) else WRONG_INPUT


def _speak_utf8() -> None:
    """Read and write UTF-8 whatever the locale, with newlines as they are; where the host has closed a stream, nothing."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  as long as the process
    for stream in (sys.stdin, sys.stdout):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", newline="\n")


def _utf8_argument(value: str) -> str:
    """Return a command-line argument as the UTF-8 it was typed in, whatever the locale made of it."""
    return os.fsencode(value).decode("utf-8", "surrogateescape")


def _text(model: CharRNN, value: str | None) -> AnyText:
    """Return a UTF-8 argument as the kind of text that the model reads."""
    return value.encode("utf-8", "surrogateescape") if model.vocabulary.of_bytes and value is not None else value


def _print(text: str | bytes, end: str = "\n") -> None:
    """Print str or bytes."""
    sys.stdout.buffer.write((text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")) + end.encode())


def _explain(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Help that tells a default where there is one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False, "") else super()._get_help_string(action)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="charrnn",
        description="Learn a text one character at a time, then write and score text.",
        epilog="charrnn COMMAND --help tells more.",
    )
    parser.add_argument("--version", action="version", version=f"charrnn {__version__} ({isa} kernels)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    _add_train(commands)
    _add_generate(commands)
    _add_score(commands)

    info = commands.add_parser("info", help="describe a model file", description="Describe a model file.")
    info.add_argument("model", help="a file that charrnn train saved")
    info.set_defaults(run=_info)
    return parser


def _add_train(commands: Any) -> None:
    train = commands.add_parser(
        "train",
        help="train a model on a text file",
        description="Train a model on a UTF-8 text file, then print a sample and the loss. Ctrl-C ends it early and keeps the model.",
        formatter_class=_Help,
    )
    add = train.add_argument
    add("file", nargs="?", help="the text, - for standard input; if left out, the documentation that comes with Python")
    add("-o", "--output", metavar="MODEL", help="where to save the model, for example model.safetensors")
    add("--records", action="store_true", help="each line is a record of its own (a name, a domain, a molecule ...)")
    add("--remember", action="store_true", help="keep an index of the records in the model, for generate --novel")
    add("--bytes", action="store_true", help="read bytes, not characters: any file at all")
    add("--start", metavar="MODEL", help="go on with this model instead of a new one")
    add("--extend", action="store_true", help="with --start: add the characters that the model does not know")
    add("--hidden-size", type=int, metavar="H", help="units in the hidden layer (100)")
    add("--seq-length", type=int, metavar="T", help="characters in a training window (25)")
    add("--batch-size", type=int, metavar="B", help="parallel streams of the text, or records a step (1)")
    add("--learning-rate", type=float, metavar="R", help=f"step of Adagrad ({DEFAULTS['learning_rate']})")
    add("--learning-rate-decay", type=float, default=1.0, metavar="F", help="multiply the learning rate by F after each pass")
    add("--epochs", type=int, metavar="N", help="end after N passes over the text (10 if no budget is given)")
    add("--steps", type=int, metavar="N", help="end after N windows")
    add("--seconds", type=float, metavar="S", help="end after S seconds")
    add("--validation", type=float, default=0.1, metavar="F", help="part of the text, at its end, to measure on and not to train on")
    add("--patience", type=int, metavar="N", help="end after N passes without a better validation loss")
    add(
        "--keep",
        choices=("best", "last"),
        help="which weights to keep: those of the pass with the best validation loss, or the last (best)",
    )
    add("--threads", type=int, default=1, metavar="N", help="threads that share a step where --batch-size is above 1")
    add("--seed", type=int, default=0, metavar="N", help="of the initial weights")
    add("--checkpoint", metavar="FILE", help="write all that is needed to go on to FILE, now and then and at the end")
    add("--resume", metavar="FILE", help="go on where this checkpoint stands, with the same text and options")
    add("--plot", metavar="PICTURE", help="draw the losses to this file (.png, .svg, .pdf); needs matplotlib")
    add("-q", "--quiet", action="store_true", help="no progress bar")
    train.set_defaults(run=_train)


def _add_controls(add: Callable[..., argparse.Action]) -> None:
    add(
        "--prime",
        type=_utf8_argument,
        default="",
        metavar="TEXT",
        help="text to continue; - reads it from standard input, less a line feed at its end",
    )
    add("--temperature", type=float, default=1.0, metavar="X", help="below 1 safer, above 1 wilder, 0 always the most likely")
    add("--top-k", type=int, metavar="K", help="draw among the K most likely characters")
    add("--top-p", type=float, metavar="P", help="draw among the most likely that together have probability P")
    add("--min-p", type=float, metavar="P", help="draw among those at least P times as likely as the most likely")
    add("--no-repeat", type=int, metavar="N", help="write no run of N characters twice")
    add("--allowed", type=_utf8_argument, metavar="CHARS", help="draw only these characters")
    add("--forbidden", type=_utf8_argument, metavar="CHARS", help="do not draw these")
    add("--min-length", type=int, default=0, metavar="N", help="do not end before N characters")
    add("--stop", type=_utf8_argument, action="append", metavar="TEXT", help="end before this text; may be repeated")
    add("--skip-unknown", action="store_true", help="leave out characters of the prime that the model does not know")


def _add_generate(commands: Any) -> None:
    generate = commands.add_parser(
        "generate",
        help="write text with a model",
        description="Write text with a trained model. The prime is printed first.",
        formatter_class=_Help,
    )
    add = generate.add_argument
    add("model", help="a file that charrnn train saved")
    add("-n", "--length", type=int, default=400, metavar="N", help="characters to write")
    add("--count", type=int, default=1, metavar="N", help="texts to write, a line feed after each")
    add("--unique", action="store_true", help="leave out texts that came before")
    add("--novel", action="store_true", help="leave out records that the model was trained on (train --remember)")
    add("--whole", action="store_true", help="leave out texts that are cut at --length")
    add("--n-best", type=int, metavar="N", help="search the N most probable texts instead of drawing")
    add("--seed", type=int, metavar="N", help="the same seed writes the same text")
    _add_controls(add)
    generate.set_defaults(run=_generate)


def _add_score(commands: Any) -> None:
    score = commands.add_parser(
        "score",
        help="tell how much lines of text surprise a model",
        description="Read lines from standard input; print each one's surprise in bits per character: low for text like the training text.",
    )
    score.add_argument("model", help="a file that charrnn train saved")
    score.add_argument("--per-char", action="store_true", help="the surprise of each character too, for records of the end, in bits")
    score.add_argument("--json", action="store_true", help="a JSON object a line, with the text")
    score.add_argument("--skip-unknown", action="store_true", help="leave out characters that the model does not know")
    score.set_defaults(run=_score)


_NETWORK = ("hidden_size", "seq_length", "batch_size", "learning_rate")  # a model's own, or the default, if not given


def _train(arguments: Arguments) -> None:
    if arguments.extend and arguments.start is None:
        raise ValueError("--extend needs --start")
    if arguments.remember and not arguments.records:
        raise ValueError("--remember needs --records")
    options = {name: getattr(arguments, name) for name in _NETWORK if getattr(arguments, name) is not None}
    options |= {
        "learning_rate_decay": arguments.learning_rate_decay,
        "epochs": arguments.epochs,
        "steps": arguments.steps,
        "seconds": arguments.seconds,
        "validation_fraction": arguments.validation,
        "patience": arguments.patience,
        "keep": arguments.keep,
        "n_threads": arguments.threads,
        "seed": arguments.seed,
        "checkpoint": arguments.checkpoint,
        "resume": arguments.resume,
        "progress": False if arguments.quiet else None,
    }
    _check_targets(arguments)
    if threading.current_thread() is threading.main_thread():  # which alone may
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # what a service is stopped with ends a training as Ctrl-C does
    try:
        model = _train_on(arguments, options)
    except (Exception, TrainingInterrupted) as error:
        learned = getattr(error, "model", None)  # what was learned until then
        if isinstance(error, TrainingInterrupted) and learned:
            _report(learned, arguments)
        elif arguments.output is not None and learned and learned.history.reports:
            learned.save(arguments.output)
        raise
    _report(model, arguments)


def _check_targets(arguments: Arguments) -> None:
    """Raise what would keep the results from being written: better before a training than after it."""
    targets = {"-o": arguments.output, "--checkpoint": arguments.checkpoint, "--plot": arguments.plot}
    targets = {name: path for name, path in targets.items() if path is not None}
    for name, path in targets.items():
        check_target(path)
        others = {"the text": arguments.file} | {other: targets[other] for other in targets if other != name}
        for other, taken in others.items():
            if taken not in (None, "-") and os.path.realpath(taken) == os.path.realpath(path):
                raise ValueError(f"{name} {path} is also {other}, and would be overwritten")
    if arguments.plot is not None:
        figure: Any = History().plot().figure  # or matplotlib is missing
        formats = figure.canvas.get_supported_filetypes()
        if os.path.splitext(arguments.plot)[1][1:].lower() not in formats:
            raise ValueError(f"--plot {arguments.plot} must end in one of .{', .'.join(sorted(formats))}")


def _train_on(arguments: Arguments, options: dict[str, Any]) -> CharRNN:
    start = None if arguments.start is None else load(arguments.start)
    of_bytes = arguments.bytes if start is None else start.vocabulary.of_bytes
    if arguments.bytes and not of_bytes:
        raise ValueError(f"--bytes: {arguments.start} is a model of characters")
    text = _read(arguments.file, of_bytes)
    if start is not None:
        options["extend"] = arguments.extend
    else:
        options["alphabet"] = "bytes" if of_bytes else "characters"
    if arguments.records:
        train = train_records if start is None else start.train_records
        return train(_lines(text), remember=arguments.remember, **options)
    return (train_text if start is None else start.train_text)(text, **options)


def _read(path: str | None, of_bytes: bool) -> AnyText:
    """Return the text to train on, as bytes or str."""
    if path is None:
        text = _python_documentation()
        return text.encode() if of_bytes else text
    data = sys.stdin.buffer.read() if path == "-" else read_bytes(path)
    return data if of_bytes else decode_text(data, "standard input" if path == "-" else path)


def _lines(text: AnyText) -> list[AnyText]:
    """Return the lines of a text (str or bytes) that are not empty; they end with a line feed, a carriage return, or both."""
    feed: AnyText
    carriage: AnyText
    feed, carriage = (b"\n", b"\r") if isinstance(text, bytes) else ("\n", "\r")
    return [line for line in text.replace(carriage + feed, feed).replace(carriage, feed).split(feed) if line]


def _python_documentation() -> str:
    from pydoc_data.topics import topics

    return "\n\n".join(topics.values())


def _report(model: CharRNN, arguments: Arguments) -> None:
    if arguments.output is not None:
        model.save(arguments.output)
    if arguments.plot is not None and model.history.reports:
        figure: Any = model.history.plot().figure
        figure.savefig(arguments.plot, dpi=150)
    for text in model.generate_many(8 if model.vocabulary.records else 1, _SAMPLE_LENGTH, seed=arguments.seed, temperature=0.7):
        _print(text)
    sys.stdout.buffer.flush()
    print()
    history = model.history
    if history.reports:
        last = history.reports[-1]
        print(f"{last.step:,} steps, {last.characters:,} characters in {last.seconds:.1f} s; ended by {history.stop_reason}")
    _print_losses(history)
    print(f"saved to {arguments.output}" if arguments.output is not None else "not saved (-o MODEL saves it)")


def _print_losses(history: History) -> None:
    kept = history.kept
    if kept is None:
        return
    if history.kept_step is not None:
        print(f"kept           the weights after {kept.epoch:g} passes")
    print(f"training       {_figures(kept.nll)}")
    if kept.validation_nll is not None:
        print(f"validation     {_figures(kept.validation_nll)}")


def _figures(nll: float) -> str:
    return f"{nll / math.log(2):.3f} bits per character ({nll:.3f} nats)"


def _generate(arguments: Arguments) -> None:
    model = load(arguments.model)
    prime = _text(model, arguments.prime if arguments.prime != "-" else _read_prime(model))
    options = {
        "prime": prime,
        "allowed": _text(model, arguments.allowed),
        "forbidden": _text(model, arguments.forbidden),
        "min_length": arguments.min_length,
        "on_unknown": "skip" if arguments.skip_unknown else "error",
    }
    if arguments.n_best is not None:
        _check_no_drawing(arguments)
        texts = [text for text, _ in model.beam_search(arguments.length, n_best=arguments.n_best, **options)]
    else:
        options |= {name: getattr(arguments, name) for name in ("temperature", "top_k", "top_p", "min_p", "no_repeat", "seed")}
        options |= {"unique": arguments.unique, "novel": arguments.novel, "whole": arguments.whole}
        stop = None if arguments.stop is None else [_text(model, text) for text in arguments.stop]
        texts = model.generate_many(arguments.count, arguments.length, stop=stop, **options)
    for text in texts:
        _print(prime + text)


def _read_prime(model: CharRNN) -> str:
    """Return standard input, without the line feed that a shell puts at its end; for a model of bytes as it is."""
    prime = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    return prime if model.vocabulary.of_bytes else prime.removesuffix("\n").removesuffix("\r")


def _check_no_drawing(arguments: Arguments) -> None:
    """Raise if an option that only counts where characters are drawn is given beside --n-best."""
    given = {"count": arguments.count != 1, "temperature": arguments.temperature != 1} | {
        name: getattr(arguments, name) not in (None, False)
        for name in ("top_k", "top_p", "min_p", "no_repeat", "stop", "seed", "unique", "novel", "whole")
    }
    for name in [name for name, is_given in given.items() if is_given]:
        raise ValueError(f"--{name.replace('_', '-')} has no part in a search for the most probable texts (--n-best)")


def _score(arguments: Arguments) -> None:
    model = load(arguments.model)
    number = 0
    for lines in _arriving_lines():
        try:
            texts = [_line_text(model, line, number + i) for i, line in enumerate(lines)]
            _score_lines(model, texts, arguments)
        except ValueError:
            for i, line in enumerate(lines, number):  # once more, to print what comes before the mistake, and its line
                try:
                    _score_lines(model, [_line_text(model, line, i)], arguments)
                except ValueError as error:
                    raise ValueError(f"line {i + 1}: {error}") from error
            raise
        number += len(lines)


def _arriving_lines() -> Iterator[list[bytes]]:
    """Yield lists of whole lines (bytes) from standard input as they arrive: many at once from a file, one by one from a person."""
    pieces, stdin = [b""], sys.stdin.buffer
    assert isinstance(stdin, io.BufferedReader)
    while data := stdin.read1(1 << 20):
        first, *others = data.split(b"\n")
        pieces.append(first)
        if others:
            yield [b"".join(pieces), *others[:-1]]
            pieces = [others[-1]]
    if rest := b"".join(pieces):
        yield [rest]


def _line_text(model: CharRNN, line: bytes, number: int) -> AnyText:
    """Return line number number as the model reads text, without what marks the end of a line or the beginning of a file elsewhere."""
    if model.vocabulary.of_bytes:
        return line
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from error
    if text.endswith("\r") and "\r" not in model.vocabulary:
        text = text[:-1]
    return text.removeprefix("\ufeff") if number == 0 else text


def _score_lines(model: CharRNN, texts: list[AnyText], arguments: Arguments) -> None:
    """Print the scores of texts; a model of text has none for an empty one."""
    on_unknown = "skip" if arguments.skip_unknown else "error"
    scored = [text for text in texts if len(text) or model.vocabulary.records]
    if len(scored) == 1:  # an error then speaks of the text, not of a list
        scores = iter([model.score(scored[0], on_unknown=on_unknown)])
    else:
        scores = iter(model.score_many(scored, on_unknown=on_unknown).tolist())
    for text in texts:
        score = next(scores) if len(text) or model.vocabulary.records else math.nan
        _print_score(model, text, score, on_unknown, arguments)
    sys.stdout.flush()


def _print_score(model: CharRNN, text: AnyText, score: float, on_unknown: str, arguments: Arguments) -> None:
    bits = (-model.log_probs(text, on_unknown=on_unknown) / math.log(2)).tolist() if arguments.per_char else []
    if not arguments.json:
        print(" ".join(f"{number:.4f}" for number in [score, *bits]))
        return
    shown = text.decode("utf-8", "backslashreplace") if isinstance(text, bytes) else text
    line = {"text": shown, "bits_per_character": None if math.isnan(score) else score}
    print(json.dumps(line | ({"per_character": bits} if arguments.per_char else {}), ensure_ascii=False))


def _info(arguments: Arguments) -> None:
    model = load(arguments.model)
    rnn, history = model.rnn, model.history
    print(f"hidden_size    {rnn.hidden_size}")
    print(f"kind           {'records' if model.vocabulary.records else 'text'} of {'bytes' if model.vocabulary.of_bytes else 'characters'}")
    print(f"vocab_size     {rnn.vocab_size}{'' if model.vocabulary.of_bytes else f'  {model.vocabulary.chars!r}'}")
    print(f"parameters     {model.network.description.n_parameters:,} of {rnn.dtype}")
    print(f"trained with   seq_length={rnn.seq_length} batch_size={rnn.batch_size} learning_rate={rnn.learning_rate:g}")
    print(f"steps          {history.steps}, ended by {history.stop_reason}")
    _print_losses(history)
