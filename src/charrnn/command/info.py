"""The command `charrnn info`."""

from typing import Any

from .arguments import Arguments, add_model
from .terminal import load_model, write_losses


def add_parser(commands: Any) -> Any:
    """Add the command and its arguments; return its parser."""
    text = "describe a model file"
    info = commands.add_parser("info", help=text, description=text.capitalize() + ".")
    add_model(info)
    return info


def run(arguments: Arguments) -> None:
    """Describe a model."""
    model = load_model(arguments.model)
    learner, network, vocabulary = model._state.learner, model.network, model.vocabulary
    layers = ", ".join(f"{cell} of {units} units" for cell, units in network.description.layers)
    unit = "bytes" if vocabulary.of_bytes else "characters"
    chars = "" if vocabulary.of_bytes else f"  {vocabulary.chars!r}"
    settings = {
        "seq_length": learner.seq_length,
        "batch_size": learner.batch_size,
        "dropout": f"{learner.dropout:g}",
        "optimizer": network.optimizer,
        "learning_rate": f"{learner.learning_rate:g}",
    }
    print(f"network        {layers}")
    print(f"kind           {'records' if vocabulary.records else 'text'} of {unit}")
    print(f"vocab_size     {network.description.vocab_size}{chars}")
    if vocabulary.rare:
        print(f"rare           {len(vocabulary.rare)} more characters share a symbol")
    print(f"parameters     {network.description.n_parameters:,} of {network.dtype}")
    print(f"trained with   {' '.join(f'{name}={value}' for name, value in settings.items())}")
    steps = f"{model.history.steps:,}; stop reason: {model.history.stop_reason}"
    print(f"steps          {steps}")
    write_losses(model.history)
