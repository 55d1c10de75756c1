"""A warning after a training that has taught little, and what to change."""

import math
import sys
import warnings

from ..history import History, Progress
from ..storage.model_file import ModelState
from ..util.errors import TrainingWarning


def warn_if_poor(state: ModelState) -> None:
    """Warn if a training has taught little, or worse than little from some epoch on."""
    uniform = math.log(state.learner.network.description.vocab_size)
    lower = f"lower learning_rate ({state.learner.learning_rate:g})"
    if (advice := _advice(state.history, uniform, lower)) is not None:
        warnings.warn(advice, TrainingWarning, stacklevel=_stacklevel())


def _advice(history: History, uniform: float, lower: str) -> str | None:
    """Return what to change, given the loss of equal chances for all symbols in nats."""
    if history.steps <= 1 or not uniform:
        return None
    last = history.reports[-1]
    if (best := _early_best(history)) is not None:
        has = "the model has" if history.kept is best else "keep='best' would have kept"
        return (
            f"the validation loss rose from pass {best.epoch + 1:g} on, from "
            f"{best.validation_nll:.3g} to {history.validation_losses[-1]:.3g} nats per character: "
            f"{lower}; {has} the weights after pass {best.epoch:g}"
        )
    found = (
        f"after {last.step} steps the loss is {last.nll:.3g} nats per character, "
        f"where equal chances for all give {uniform:.3g}: "
    )
    if last.nll > 1.1 * uniform:
        return f"{found}the training does not converge; {lower}"
    if last.nll > 0.85 * uniform and history.stop_reason == "epochs":
        more = "use more text or epochs, or a smaller batch_size or seq_length"
        return f"{found}so few characters or steps teach nothing; {more}"
    return None


def _early_best(history: History) -> Progress | None:
    """Return the best report, if it is in the first half and both losses are worse at the end.

    If the validation loss alone is worse, the model learns its text by heart: advice on the
    learning rate would be wrong.
    """
    measured = [report for report in history.reports if report.validation_nll is not None]
    losses = history.validation_losses
    if len(losses) < 3:
        return None
    place = losses.index(min(losses))
    best, last = measured[place], history.reports[-1]
    early = 2 * (place + 1) <= len(losses) and losses[-1] > 1.02 * losses[place]
    return best if early and last.nll > 0.97 * best.nll else None


def _stacklevel() -> int:
    """Return the level, for a warning by our caller, of the nearest caller outside the package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and f"{frame.f_globals['__name__']}.".startswith("charrnn."):
        frame, level = frame.f_back, level + 1
    return level
