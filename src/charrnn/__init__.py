"""A character-level recurrent neural network, from scratch, at the speed of the machine.

Learn a text, then write, score and rank text:

>>> import charrnn
>>> model = charrnn.train_text("hello hello hello hello ", hidden_size=8, epochs=200, progress=False)
>>> model.generate(5, prime="hello ", temperature=0)
'hello'
"""

from typing import TYPE_CHECKING

from .create import from_torch, load, train_file, train_records, train_text
from .data.vocabulary import Vocabulary
from .history import History, Progress
from .model import CharRNN
from .network.dispatch import isa
from .tutorial import RNN, DataReader
from .util.errors import (
    CharRNNError,
    DivergedError,
    ModelFormatError,
    RankError,
    TrainingInterrupted,
    TrainingWarning,
)

if TYPE_CHECKING:
    from . import datasets as datasets
else:

    def __getattr__(name: str) -> object:
        """Import charrnn.datasets when it is first asked for."""
        if name == "datasets":
            from importlib import import_module

            return import_module(".datasets", __name__)
        from .util.errors import hint

        meant = hint(name, __dir__()) if not name.startswith("_") else ""
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{meant}")

    def __dir__() -> list[str]:
        """Return what completion offers: what is for use."""
        return sorted([*__all__, "datasets", "__version__"])


__version__ = "0.1.0"

__all__ = [
    "RNN",
    "CharRNN",
    "CharRNNError",
    "DataReader",
    "DivergedError",
    "History",
    "ModelFormatError",
    "Progress",
    "RankError",
    "TrainingInterrupted",
    "TrainingWarning",
    "Vocabulary",
    "from_torch",
    "isa",
    "load",
    "train_file",
    "train_records",
    "train_text",
]
