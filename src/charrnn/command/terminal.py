"""What the commands read and write."""

import contextlib
import io
import json
import math
import os
import sys
import time
from collections.abc import Iterable
from typing import Any, get_args

from ..create import Pretrained, load, pretrained
from ..data.text import check_encoding, decode_text, decoded
from ..data.vocabulary import AnyText
from ..history import History
from ..model import CharRNN
from ..util import progress
from ..util.atomic_write import check_target, write_atomically

_FLUSH = 0.02  # seconds of output that a reader waits for at most


def use_utf8() -> None:
    """Read and write UTF-8 in any locale, newlines as they are; open streams that are closed."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  open until we exit
    for stream in (sys.stdin, sys.stdout):
        if hasattr(stream, "reconfigure"):  # surrogateescape: names of files can be any bytes
            stream.reconfigure(encoding="utf-8", errors="surrogateescape", newline="\n")


def note(message: str) -> None:
    """Print a message on stderr."""
    progress.note(f"charrnn: {message}")


def model_text(model: CharRNN, value: str) -> AnyText:
    """Return a UTF-8 argument as str or bytes, whichever the model reads."""
    return value.encode("utf-8", "surrogateescape") if model.vocabulary.of_bytes else value


def load_model(source: str) -> CharRNN:
    """Load a model file, or one of charrnn-models by its name."""
    if source in get_args(Pretrained) and not os.path.exists(source):
        return pretrained(source)  # type: ignore[arg-type]
    return load(source)


def write(text: AnyText, end: str = "\n") -> None:
    """Print str or bytes."""
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    sys.stdout.buffer.write(data + end.encode())


def write_at_once(texts: Iterable[AnyText]) -> int:
    """Print texts as they come, so that a reader sees each at once; return their number."""
    flushed, n = -math.inf, 0
    for n, text in enumerate(texts, 1):  # noqa: B007  n is returned
        write(text, end="")
        if (now := time.monotonic()) >= flushed + _FLUSH:
            sys.stdout.buffer.flush()
            flushed = now
    return n


def open_input(path: str) -> contextlib.AbstractContextManager[io.BufferedReader]:
    """Open a file to read bytes as they arrive; - is standard input."""
    if path != "-":
        return open(path, "rb")
    stdin = sys.stdin.buffer
    assert isinstance(stdin, io.BufferedReader)
    return contextlib.nullcontext(stdin)


def read_input(path: str, of_bytes: bool, encoding: str | None = None) -> AnyText:
    """Return what is in a file, as bytes or str."""
    with open_input(path) as file:
        data = file.read()
    name = "standard input" if path == "-" else path
    if of_bytes:
        return data
    encoding = check_encoding(encoding)
    return "".join(decoded([data], encoding, name)) if encoding else decode_text(data, name)


def check_output(name: str, path: str, others: Iterable[tuple[str, str]]) -> None:
    """Raise OSError if a file can't be written, ValueError if it is also one of others."""
    check_target(path)
    target = os.path.realpath(path)
    for other, taken in others:
        if taken != "-" and os.path.realpath(taken) == target:
            raise ValueError(f"{name} {path} is also {other}, and would be overwritten")


def convert(how: Any, path: str, output: str, model: str | None) -> None:
    """Write what how makes of a file and a model to another file, whole, or to standard output."""
    if output != "-":
        check_output("output", output, [("the file to read", path), ("the model", model or "-")])
    loaded = None if model is None else load_model(model)
    with open_input(path) as file:
        if output != "-":
            write_atomically(output, how(file, loaded))
            return
        for part in how(file, loaded):
            sys.stdout.buffer.write(part)
            sys.stdout.buffer.flush()


def as_json(line: dict[str, Any]) -> str:
    """Return the JSON of a line: null for what is not finite."""

    def shown(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [shown(one) for one in value]
        if isinstance(value, bytes):
            return value.decode("utf-8", "backslashreplace")
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps({name: shown(value) for name, value in line.items()}, ensure_ascii=False)


def write_losses(history: History) -> None:
    """Print the losses of the weights that were kept."""
    kept = history.kept
    if kept is None:
        return
    if history.kept_step is not None:
        plural = "s" * (kept.epoch != 1)
        print(f"kept           the weights after {kept.epoch:g} epoch{plural}")
    print(f"training       {_loss(kept.nll)}")
    if kept.validation_nll is not None:
        print(f"validation     {_loss(kept.validation_nll)}")
    if history.estimate not in (None, kept.validation_nll):
        print(f"on new text    {_loss(history.estimate)}, about")


def _loss(nll: float) -> str:
    return f"{nll / math.log(2):.3f} bits per character ({nll:.3f} nats)"
