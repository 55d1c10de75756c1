"""A network as a module of PyTorch; export.py makes and reads such modules."""

from typing import Any

import torch
from torch import Tensor, nn


class CharModule(nn.Module):
    """A recurrent network of PyTorch that reads ids as one-hot vectors, and an output layer.

    Parameters
    ----------
    rnn : nn.RNN, nn.GRU or nn.LSTM
        With as many inputs as there are symbols; batch_first=False.
    out : nn.Linear
        From its units to the logits of the symbols.
    dropout : float, default 0.0
        Before the output, in training; between layers it is rnn's own.
    """

    def __init__(self, rnn: Any, out: nn.Linear, dropout: float = 0.0) -> None:
        super().__init__()
        self.rnn, self.out, self.drop = rnn, out, nn.Dropout(dropout)

    def forward(self, ids: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Return the logits (T, B, V) of what follows each of ids (T, B), and the state after them.

        state is the state before them, zero if None. ids are of any integer type.
        """
        inputs = nn.functional.one_hot(ids.long(), self.rnn.input_size).to(self.out.weight.dtype)
        outputs, state = self.rnn(inputs, state)
        return self.out(self.drop(outputs)), state


def module_of(
    cell: str, units: int, n_layers: int, symbols: int, dropout: float, weights: dict[str, Tensor]
) -> CharModule:
    """Return a module of these sizes and weights, which are not copied."""
    between = dropout if n_layers > 1 else 0.0  # PyTorch warns of one that drops nothing
    kind = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[cell]
    with torch.device("meta"):  # initial weights would draw from PyTorch's own generator
        rnn = kind(symbols, units, n_layers, dropout=between)
        module = CharModule(rnn, nn.Linear(units, symbols), dropout)
    module.load_state_dict(weights, assign=True)
    return module
