"""The `charrnn` command: train, generate, score, info."""

import argparse
import errno
import os
import sys

from . import __version__, isa
from .errors import CharRNNError, TrainingInterrupted
from .model import load
from .reader import read_text
from .training import DEFAULT_LEARNING_RATE, train_records, train_text

# Exit codes; 2 is also argparse's own for a wrong command line.
OK, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130
_SAMPLE_LENGTH = 300


def main(argv=None):
    """Run the command line; return the exit code."""
    _speak_utf8()
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
        sys.stdout.flush()
        return OK
    except BrokenPipeError:
        # The reader of our output has left, as `head` does. Python would complain once more while it closes stdout: give it another.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        return INTERRUPTED
    except (OSError, ValueError, TypeError, CharRNNError, MemoryError) as error:
        print(f"charrnn: error: {_explain(error)}", file=sys.stderr)
        return FAILED if isinstance(error, (ArithmeticError, MemoryError)) else WRONG_INPUT


def _speak_utf8():
    """Read and write UTF-8 whatever the locale, with newlines as they are."""
    for stream in (sys.stdin, sys.stdout):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", newline="\n")


def _utf8_argument(value):
    """Return a command-line argument as the UTF-8 it was typed in, whatever the locale made of it."""
    return os.fsencode(value).decode("utf-8")


def _explain(error):
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Help that tells a default where there is one."""

    def _get_help_string(self, action):
        return action.help if action.default in (None, False, "") else super()._get_help_string(action)


def _parser():
    parser = argparse.ArgumentParser(
        prog="charrnn",
        description="Learn a text one character at a time, then write and score text.",
        epilog="charrnn COMMAND --help tells more.",
    )
    parser.add_argument("--version", action="version", version=f"charrnn {__version__} ({isa} kernels)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = commands.add_parser(
        "train",
        help="train a model on a text file",
        description="Train a model on a UTF-8 text file, then print a sample and the loss. Ctrl-C ends it early and keeps the model.",
        formatter_class=_Help,
    )
    train.add_argument("file", nargs="?", help="the text; if left out, the documentation that comes with Python")
    train.add_argument("--records", action="store_true", help="each line is a record of its own (a name, a domain, a molecule ...)")
    train.add_argument("-o", "--output", metavar="MODEL", help="where to save the model, for example model.safetensors")
    train.add_argument("--hidden-size", type=int, default=100, metavar="H", help="units in the hidden layer")
    train.add_argument("--seq-length", type=int, default=25, metavar="T", help="characters in a training window")
    train.add_argument("--batch-size", type=int, default=1, metavar="B", help="parallel streams of the text")
    train.add_argument("--learning-rate", type=float, default=DEFAULT_LEARNING_RATE, metavar="R", help="step of Adagrad")
    train.add_argument("--epochs", type=int, metavar="N", help="end after N passes over the text (10 if no budget is given)")
    train.add_argument("--steps", type=int, metavar="N", help="end after N windows")
    train.add_argument("--seconds", type=float, metavar="S", help="end after S seconds")
    train.add_argument(
        "--validation", type=float, default=0.1, metavar="F", help="part of the text, at its end, to measure on and not to train on"
    )
    train.add_argument("--seed", type=int, default=0, metavar="N", help="of the initial weights")
    train.add_argument("--checkpoint", metavar="FILE", help="write all that is needed to go on to FILE a few times an epoch")
    train.add_argument("--resume", metavar="FILE", help="go on where this checkpoint stands, with the same text and options")
    train.add_argument("-q", "--quiet", action="store_true", help="no progress bar")
    train.set_defaults(run=_train)

    generate = commands.add_parser(
        "generate",
        help="write text with a model",
        description="Write text with a trained model. The prime is printed first.",
        formatter_class=_Help,
    )
    generate.add_argument("model", help="a file that charrnn train saved")
    generate.add_argument("--prime", type=_utf8_argument, default="", metavar="TEXT", help="text to continue")
    generate.add_argument("-n", "--length", type=int, default=400, metavar="N", help="characters to write")
    generate.add_argument(
        "--temperature", type=float, default=1.0, metavar="X", help="below 1 safer, above 1 wilder, 0 always the most likely"
    )
    generate.add_argument("--count", type=int, default=1, metavar="N", help="texts to write, a line feed after each")
    generate.add_argument("--top-k", type=int, metavar="K", help="draw among the K most likely characters")
    generate.add_argument("--top-p", type=float, metavar="P", help="draw among the most likely that together have probability P")
    generate.add_argument("--min-p", type=float, metavar="P", help="draw among those at least P times as likely as the most likely")
    generate.add_argument("--stop", type=_utf8_argument, action="append", metavar="TEXT", help="end before this text; may be repeated")
    generate.add_argument("--seed", type=int, metavar="N", help="the same seed writes the same text")
    generate.set_defaults(run=_generate)

    score = commands.add_parser(
        "score",
        help="tell how much lines of text surprise a model",
        description="Read lines from standard input; print each one's surprise in bits per character: low for text like the training text.",
    )
    score.add_argument("model", help="a file that charrnn train saved")
    score.set_defaults(run=_score)

    info = commands.add_parser("info", help="describe a model file", description="Describe a model file.")
    info.add_argument("model", help="a file that charrnn train saved")
    info.set_defaults(run=_info)
    return parser


def _train(arguments):
    options = {
        "hidden_size": arguments.hidden_size,
        "seq_length": arguments.seq_length,
        "batch_size": arguments.batch_size,
        "learning_rate": arguments.learning_rate,
        "epochs": arguments.epochs,
        "steps": arguments.steps,
        "seconds": arguments.seconds,
        "validation_fraction": arguments.validation,
        "seed": arguments.seed,
        "checkpoint": arguments.checkpoint,
        "resume": arguments.resume,
        "progress": False if arguments.quiet else None,
    }
    for path in (arguments.output, arguments.checkpoint):
        if path is not None:
            _check_writable(path)
    try:
        model = _train_on(arguments.file, arguments.records, options)
    except TrainingInterrupted as interrupt:
        _report(interrupt.model, arguments)
        raise
    _report(model, arguments)


def _train_on(path, records, options):
    text = _python_documentation() if path is None else read_text(path)
    if not records:
        return train_text(text, **options)
    lines = (line.removesuffix("\r") for line in text.split("\n"))
    return train_records([line for line in lines if line], **options)


def _check_writable(path):
    """Raise what would keep a model from being saved to path: better before training than after."""
    folder = os.path.dirname(os.path.realpath(path))
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    if not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


def _python_documentation():
    from pydoc_data.topics import topics

    return "\n\n".join(topics.values())


def _report(model, arguments):
    if arguments.output is not None:
        model.save(arguments.output)
    print("\n".join(model.generate_many(8 if model.vocabulary.records else 1, _SAMPLE_LENGTH, seed=arguments.seed, temperature=0.7)))
    print()
    history = model.history
    if history.reports:
        last = history.reports[-1]
        print(
            f"{last.step} steps in {last.seconds:.1f} s, {last.characters / last.seconds:,.0f} characters/s; ended by {history.stop_reason}"
        )
        print(f"training    {_figures(last.nll)}")
    if history.validation_losses:
        print(f"validation  {_figures(history.validation_losses[-1])}")
    print(f"saved to {arguments.output}" if arguments.output is not None else "not saved (-o MODEL saves it)")


def _figures(nll):
    return f"{nll / 0.6931471805599453:.3f} bits per character ({nll:.3f} nats)"


def _generate(arguments):
    model = load(arguments.model)
    texts = model.generate_many(
        arguments.count,
        arguments.length,
        prime=arguments.prime,
        seed=arguments.seed,
        temperature=arguments.temperature,
        top_k=arguments.top_k,
        top_p=arguments.top_p,
        min_p=arguments.min_p,
        stop=arguments.stop,
    )
    for text in texts:
        print(arguments.prime + text)


def _score(arguments):
    model = load(arguments.model)
    for number, line in enumerate(sys.stdin, 1):
        text = line.removesuffix("\n")
        try:
            print(f"{model.score(text):.4f}")
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error


def _info(arguments):
    model = load(arguments.model)
    rnn, history = model.rnn, model.history
    parameters = sum(view.size for view in rnn.params.views().values())
    print(f"hidden_size    {rnn.hidden_size}")
    print(f"vocab_size     {rnn.vocab_size}  {model.vocabulary.chars!r}")
    print(f"parameters     {parameters:,} of {rnn.dtype}")
    print(f"trained with   seq_length={rnn.seq_length} batch_size={rnn.batch_size} learning_rate={rnn.learning_rate:g}")
    print(f"steps          {history.steps}, ended by {history.stop_reason}")
    if history.losses:
        print(f"training       {_figures(history.losses[-1])}")
    if history.validation_losses:
        print(f"validation     {_figures(history.validation_losses[-1])}")
