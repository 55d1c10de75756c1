from ._dispatch import isa
from .reader import DataReader
from .rnn import RNN
