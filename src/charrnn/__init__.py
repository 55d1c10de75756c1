"""A character-level recurrent neural network, written from scratch in Cython.

Train it on a text, then generate, score, and rank text:

>>> import charrnn
>>> model = charrnn.train_text("hello " * 10, progress=False)
>>> model.generate(5, prime="hello ", temperature=0)
'hello'
"""

from typing import TYPE_CHECKING

from .create import from_torch, load, pretrained, train_file, train_records, train_text
from .data.vocabulary import Vocabulary
from .history import History, Progress
from .inference.codec import compress, decompress
from .model import CharRNN
from .network.dispatch import isa
from .tutorial import RNN, DataReader
from .util.errors import (
    CharRNNError,
    CodecError,
    DivergedError,
    ModelFormatError,
    RankError,
    TrainingInterrupted,
    TrainingWarning,
)

if TYPE_CHECKING:
    from . import datasets as datasets

    __version__: str
else:

    def __getattr__(name: str) -> object:
        """Compute on first use what would slow down the import: `datasets` and `__version__`."""
        if name == "datasets":
            from importlib import import_module

            return import_module(".datasets", __name__)
        if name == "__version__":
            return _installed_version()
        from .util.errors import hint

        meant = hint(name, __dir__()) if not name.startswith("_") else ""
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{meant}")

    def __dir__() -> list[str]:
        """Return the public names, for completion."""
        return sorted([*__all__, "datasets", "__version__"])

    def _installed_version() -> str:
        """Return the version that pip installed, and keep it."""
        from importlib.metadata import PackageNotFoundError, version

        global __version__
        try:
            __version__ = version("charrnn-cython")
        except PackageNotFoundError:  # the source was put on the path, not installed
            __version__ = "unknown"
        return __version__


__all__ = [
    "RNN",
    "CharRNN",
    "CharRNNError",
    "CodecError",
    "DataReader",
    "DivergedError",
    "History",
    "ModelFormatError",
    "Progress",
    "RankError",
    "TrainingInterrupted",
    "TrainingWarning",
    "Vocabulary",
    "compress",
    "decompress",
    "from_torch",
    "isa",
    "load",
    "pretrained",
    "train_file",
    "train_records",
    "train_text",
]
