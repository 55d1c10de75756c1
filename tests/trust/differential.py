"""Train random configurations: what must not change a result doesn't.

    python tests/trust/differential.py [--runs N] [--seed N]

Each of N configurations has a network, options and a text or records of its own. It is trained,
and then again in other ways, which must give the same bits: interrupted by a callback, by an
exception or by a budget and resumed; with other numbers of threads; on each variant of the
kernels; from files, plain, compressed, several or cached; with few steps in a call of C. A model
that was saved, pickled or copied is trained further like the original, on characters that it does
not know. Then the checks of `charrnn.testing` compare what the model writes and scores in a batch,
one by one, and as a stream.

Hypothesis draws the configurations. It shrinks one that fails and prints it as a test.
"""

import bz2
import contextlib
import copy
import dataclasses
import gzip
import lzma
import math
import pickle
import sys
import tempfile
import warnings
from pathlib import Path
from unittest import mock

import hypothesis
from common import Findings, parser
from hypothesis import strategies as st

import calls
import charrnn
from charrnn import testing
from charrnn.network import dispatch
from charrnn.training import loop

NEVER = 1e9  # seconds
COMPRESS = {"gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress}
CHECKS = (
    "probabilities_sum_to_one",
    "log_probs_are_those_of_next_probs",
    "scores_do_not_depend_on_the_batch",
    "a_trace_agrees_with_log_probs_and_next_probs",
    "texts_do_not_depend_on_the_batch",
    "a_saved_model_is_the_same",
)

OPTIONS = st.fixed_dictionaries(
    {"hidden_size": st.integers(1, 20), "learning_rate": st.sampled_from([0.01, 0.1, 0.001])},
    optional={
        "cell": st.sampled_from(["gru", "lstm"]),
        "n_layers": st.integers(2, 3),
        "dtype": st.just("float64"),
        "alphabet": st.just("bytes"),
        "optimizer": st.sampled_from(["sgd", "rmsprop", "adam"]),
        "dropout": st.sampled_from([0.1, 0.5]),
        "seq_length": st.integers(1, 40),
        "batch_size": st.integers(2, 9),
        "weight_decay": st.just(0.1),
        "clip_value": st.sampled_from([0.1, 10.0]),
        "clip_norm": st.sampled_from([0.1, 10.0]),
        "schedule": st.sampled_from(["cosine", "linear"]),
        "warmup": st.integers(1, 5),
        "learning_rate_decay": st.just(0.5),
        "seed": st.integers(1, 9),
        "validation_fraction": st.sampled_from([0, 0.3]),
        "keep": st.sampled_from(["best", "last"]),
        "patience": st.integers(1, 3),
        "ngram": st.integers(1, 5),
        "min_count": st.integers(2, 3),
        "shards": st.integers(1, 4),
    },
)


def possible(options):
    """Return options without those that others exclude."""
    if "shards" in options:
        options = {**options, "shards": min(options["shards"], options.get("batch_size", 1))}
    if options.get("validation_fraction") == 0:
        options = {name: one for name, one in options.items() if name not in ("keep", "patience")}
    return options


CONFIGURATIONS = st.fixed_dictionaries(
    {
        "options": OPTIONS.map(possible),
        "budget": st.one_of(
            st.fixed_dictionaries({"steps": st.integers(1, 40)}),
            st.fixed_dictionaries({"epochs": st.integers(1, 4)}),
        ),
        "records": st.booleans(),
        "length": st.integers(20, 600),  # of the text, in characters
        "stop": st.integers(1, 20),  # at which report, or step, a training is interrupted
    }
)


class StopError(Exception):
    """What a callback raises."""


class Case:
    """A configuration: its training, and the same training in other ways."""

    def __init__(self, folder, options, budget, records, length, stop):
        self.folder, self.budget, self.stop = folder, budget, stop
        self.records = records
        self.options = {**options, **budget, "progress": False, "preset": "tutorial"}
        self.text = calls.text(length)
        if options.get("alphabet") == "bytes":
            self.text = self.text.encode()
        self.data = self.text.split() if records else self.text

    def train(self, **more):
        by = charrnn.train_records if self.records else charrnn.train_text
        return by(self.data, **{**self.options, **more})

    # Each of these yields models that must be the same as the one that `train` returns.

    def by_callback(self):
        """Stopped by a callback, and resumed."""
        path, reports = self.folder / "callback", iter(range(1, self.stop))
        self.train(checkpoint=path, callback=lambda _: next(reports, None) is None)
        yield self.train(checkpoint=path, resume=path)

    def by_exception(self):
        """Ended by an exception in a callback, and resumed from the latest checkpoint."""
        path, reports = self.folder / "exception", iter(range(1, self.stop))

        def end(_):
            if next(reports, None) is None:
                raise StopError

        with contextlib.suppress(StopError):
            self.train(checkpoint=path, callback=end)
        yield self.train(resume=path)

    def by_budget(self):
        """Ended by a smaller budget, and resumed, which a falling learning rate forbids."""
        path = self.folder / "budget"
        # At its end each training measures the held-out loss, so there is one more to choose from.
        last = {"keep": "last", "patience": None}
        self.train(**last, steps=min(self.stop, self.budget.get("steps", 40)), checkpoint=path)
        if self.options.get("schedule", "constant") == "constant":
            one, other = (training(self.train(**last, **more)) for more in ({"resume": path}, {}))
            for of_both in (one, other):
                del of_both["reports"]
            compare("by_budget", one, other)
        yield from ()

    def by_threads(self):
        for n_threads in (2, 3):
            yield self.train(n_threads=n_threads)

    def by_variants(self):
        for name in dispatch.available():
            if name != "baseline":  # which may have no FMA
                with mock.patch.object(dispatch, "core", dispatch.load(name)):
                    yield self.train()

    def by_small_calls(self):
        """One step in a call of C."""
        with mock.patch.multiple(loop, _CALL_SECONDS=NEVER, _CALL_CHARACTERS=1):
            yield self.train()

    def by_files(self):
        """From files: plain, compressed, several, and twice with a cache."""
        text, middle = self.text.encode() if isinstance(self.text, str) else self.text, 10
        if self.records:
            lines = [one.encode() if isinstance(one, str) else one for one in self.data]
            text, middle = b"\n".join(lines), len(lines[0]) + 1
        options = {**self.options, "records": True} if self.records else self.options
        files = {f"text.{ending}": compress(text) for ending, compress in COMPRESS.items()}
        files |= {"plain": text, "part-1": text[:middle], "part-2": text[middle:]}
        paths = {name: self.folder / name for name in files}
        for name, content in files.items():
            paths[name].write_bytes(content)
        for name in ("plain", *(f"text.{ending}" for ending in COMPRESS)):
            yield charrnn.train_file(paths[name], **options)
        for _ in range(2):
            yield charrnn.train_file(paths["plain"], cache=self.folder / "cache", **options)
        yield charrnn.train_file([paths["part-1"], paths["part-2"]], **options)


def training(model):
    """Return all that a training gives, to compare: weights, memory, history, counts."""
    network, history = model.network, model.history
    blocks = [None if one is None else one.block for one in (network.weights, network.memory, network.momentum)]
    reports = [dataclasses.asdict(one) | {"seconds": None, "model": None} for one in history.reports]
    text = model.vocabulary.decode(range(len(model.vocabulary)))
    return {
        "weights and memory": calls.digest(blocks),
        "reports": calls.digest(list(map(repr, reports))),
        "end": (history.steps, history.kept_step, history.stop_reason),
        "scores": calls.digest(model.log_probs(text)),
        "text": model.generate(30, seed=1),
    }


def compare(way, found, expected):
    """Raise AssertionError if two results differ, with the way in which the first was found."""
    for what, value in expected.items():
        assert found[what] == value, f"{way} gives other {what}: {found[what]}, not {value}"


def further(model):
    """Train a model further, on characters that it does not know."""
    more = "Not ye‽ " * 9
    options = {"steps": 5, "seq_length": 5, "progress": False, "preset": None}
    of_bytes, records = model.vocabulary.of_bytes, model.vocabulary.records
    data = more.encode() if of_bytes else more
    if records:
        return model.train_records(data.split(), extend=not of_bytes, **options)
    return model.train_text(data, extend=not of_bytes, **options)


def check(**configuration):
    """Train a configuration in each way; raise AssertionError where two give other bits."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        case = Case(folder, **configuration)
        try:
            model = case.train()
        except (ValueError, charrnn.DivergedError):  # options that exclude each other, huge rates
            hypothesis.reject()
        expected = training(model)
        ways = [name for name in vars(Case) if name.startswith("by_")]
        for way in ways:
            for again in getattr(case, way)():
                compare(way, training(again), expected)
        for one in testing.checks(model):
            if one.name in CHECKS:
                one()
        total = float(model.next_probs(model.vocabulary.empty).sum())
        assert math.isclose(total, 1, abs_tol=1e-6), f"probabilities sum to {total}"
        model.save(folder / "model")
        copies = {
            "loaded": charrnn.load(folder / "model"),
            "pickled": pickle.loads(pickle.dumps(model)),
            "copied": copy.deepcopy(model),
        }
        expected = training(further(copy.copy(model)))
        for way, one in copies.items():
            compare(f"{way} and trained further, it", training(further(one)), expected)


def main():
    arguments = parser(__doc__, 20)
    arguments.add_argument("--seed", type=int, default=0, help="of the configurations (0)")
    arguments, findings = arguments.parse_args(), Findings()
    warnings.simplefilter("ignore", charrnn.TrainingWarning)  # trainings are short here
    latest, runs, rejected = {}, 0, 0

    @hypothesis.seed(arguments.seed)
    @hypothesis.settings(
        max_examples=arguments.runs,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(CONFIGURATIONS)
    def run(configuration):
        nonlocal latest, runs, rejected
        latest = configuration
        runs += 1
        try:
            check(**configuration)
        except hypothesis.errors.UnsatisfiedAssumption:
            rejected += 1
            raise

    with mock.patch.multiple(loop, _SAVE_AT_REPORTS=0, _SAVE_BETWEEN_REPORTS=0):
        try:
            run()
        except Exception as error:  # the last run was of the smallest configuration that fails
            findings.add(type(error).__name__, f"{error}\n\n{as_test(latest)}")
    findings.end(f"differential: {runs - rejected} configurations, {rejected} that cannot train")


def as_test(configuration):
    """Return a test of one configuration."""
    words = ",\n        ".join(f"{name}={value!r}" for name, value in configuration.items())
    return f"def test_a_configuration():\n    differential.check(\n        {words},\n    )\n"


if __name__ == "__main__":
    sys.exit(main())
