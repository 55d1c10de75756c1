"""Train random configurations: what must not change a result doesn't.

    python tests/trust/differential.py [--runs N] [--seed N]

Each of N configurations has a network, options and a text or records of its own. It is trained,
and then again in other ways, which must give the same bits: interrupted by a callback, an
exception, Ctrl-C, an alarm or a budget and resumed; with other numbers of threads and of ranks; on
each variant of the kernels; from files, plain, compressed, several, cached or larger than memory;
with few steps in a call of C. A model that was saved, pickled or copied is trained further like the
original, on characters that it does not know, with old text or without, in one go or in two.

Then what the model writes and scores is compared: in a batch, one by one, and as a stream; as it
learns what it reads, in one piece or in several; the most probable texts with all texts; what is
compressed with it comes back.

Each configuration goes through every third of these ways and checks. Hypothesis draws it, shrinks
one that fails, and prints it as a test.
"""

import bz2
import contextlib
import copy
import functools
import gzip
import itertools
import lzma
import math
import operator
import pickle
import signal
import sys
import tempfile
import warnings
from pathlib import Path
from unittest import mock

import hypothesis
import numpy as np
import ranks
from common import Findings, parser
from hypothesis import strategies as st

import calls
import charrnn
from charrnn import testing
from charrnn.data import files
from charrnn.inference import ranking
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
        "preset": st.just("auto"),
        "dtype": st.just("float64"),
        "precision": st.just("bfloat16"),
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
        "validation_pieces": st.integers(2, 5),
        "refit": st.booleans(),
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
    excluded = set()
    if options.get("validation_fraction") == 0 or options.get("refit"):
        excluded |= {"keep", "patience"}
    if options.get("dtype") == "float64":
        excluded.add("precision")
    return {name: one for name, one in options.items() if name not in excluded}


CONFIGURATIONS = st.fixed_dictionaries(
    {
        "options": OPTIONS.map(possible),
        "budget": st.one_of(
            st.fixed_dictionaries({"steps": st.integers(1, 40)}),
            st.fixed_dictionaries({"epochs": st.integers(1, 4)}),
        ),
        "records": st.booleans(),
        "length": st.integers(20, 400),  # of the text, in characters
        "stop": st.integers(1, 20),  # at which report, step or millisecond it is interrupted
        "rehearse": st.sampled_from([None, True, "old text, to be kept"]),
        "part": st.integers(0, 2),  # which of the ways and checks
    }
)


SETTINGS = hypothesis.settings(
    deadline=None,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
    report_multiple_bugs=False,
)


def often_saved():
    """Return a context in which trainings write a checkpoint whenever they can."""
    return mock.patch.multiple(loop, _SAVE_AT_REPORTS=0, _SAVE_BETWEEN_REPORTS=0)


class StopError(Exception):
    """What a callback, or an alarm, raises."""


def interrupted(number, seconds, call):
    """Call something; after so many seconds a signal comes, whose exception ends it."""

    def end(*_):
        if number == signal.SIGINT:
            signal.raise_signal(number)
        raise StopError

    before = signal.signal(signal.SIGALRM, end)
    try:
        with contextlib.suppress(StopError, KeyboardInterrupt):
            try:
                signal.setitimer(signal.ITIMER_REAL, seconds)
                call()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, before)


class Case:
    """A configuration: its training, and the same training in other ways."""

    def __init__(self, folder, options, budget, records, length, stop):
        self.folder, self.budget, self.stop = folder, budget, stop
        self.records = records
        self.options = {"preset": "tutorial", **options, **budget, "progress": False}
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

    def by_signal(self):
        """Ended by a signal at any moment, and resumed, if there was a checkpoint."""
        for number in (signal.SIGINT, signal.SIGALRM):
            path = self.folder / number.name
            train = functools.partial(self.train, checkpoint=path)
            interrupted(number, self.stop * 2e-3, train)
            if path.exists():  # the history then has a report of the step that was interrupted
                one, other = training(self.train(resume=path)), training(self.train())
                steps = [report[0] for report in other["reports"]]
                one["reports"] = [report for report in one["reports"] if report[0] in steps]
                del one["losses"], other["losses"]
                compare(f"by_signal {number.name}", one, other)
        yield from ()

    def by_budget(self):
        """Ended by a smaller budget, and resumed, which a falling learning rate forbids."""
        if self.options["preset"] == "auto":  # what it chooses depends on the budget
            return
        path = self.folder / "budget"
        # At its end each training measures the held-out loss, so there is one more to choose from.
        last = {"keep": "last", "patience": None}
        self.train(**last, steps=min(self.stop, self.budget.get("steps", 40)), checkpoint=path)
        if self.options.get("schedule", "constant") == "constant":
            one, other = (training(self.train(**last, **more)) for more in ({"resume": path}, {}))
            for of_both in (one, other):
                del of_both["reports"], of_both["losses"]
            compare("by_budget", one, other)
        yield from ()

    def by_threads(self):
        for n_threads in (2, 3):
            yield self.train(n_threads=n_threads)

    def by_ranks(self):
        """Over MPI; and begun so, and ended in one process."""
        shards = self.options.get("shards") or min(4, self.options.get("batch_size", 1))
        size, path = min(shards, 4 if self.stop % 2 else 2), self.folder / "ranks"
        reports = iter(range(1, self.stop))

        def stop(_):
            return next(reports, None) is None

        if size > 1:
            alone = training(self.train(shards=shards))
            weights = {
                name: alone[name] for name in ("weights", "losses", "reports", "end", "scores")
            }
            for model in ranks.train(size, lambda comm: self.train(comm=comm, shards=shards)):
                compare("by_ranks", training(model), weights)
            more = {"shards": shards, "checkpoint": path, "callback": stop}
            ranks.train(size, lambda comm: self.train(comm=comm, **more))
            resumed = self.train(shards=shards, resume=path)
            compare("by_ranks and resumed alone, it", training(resumed), alone)
        yield from ()

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
        """From files: plain, compressed, several, twice with a cache, and larger than memory."""
        text, middle = self.text.encode() if isinstance(self.text, str) else self.text, 10
        if self.records:
            lines = [one.encode() if isinstance(one, str) else one for one in self.data]
            text, middle = b"\n".join(lines), len(lines[0]) + 1
        options = {**self.options, "records": True} if self.records else self.options
        contents = {f"text.{ending}": compress(text) for ending, compress in COMPRESS.items()}
        contents |= {"plain": text, "part-1": text[:middle], "part-2": text[middle:]}
        paths = {name: self.folder / name for name in contents}
        for name, content in contents.items():
            paths[name].write_bytes(content)
        ending = [*COMPRESS][self.stop % len(COMPRESS)]
        parts = [paths["part-1"], paths["part-2"]]
        for source in (paths["plain"], paths[f"text.{ending}"], parts):
            yield charrnn.train_file(source, **options)
        with mock.patch.object(files, "_IN_MEMORY", 1):
            for more in ({}, {"cache": self.folder / "cache"}, {"cache": self.folder / "cache"}):
                yield charrnn.train_file(paths["plain"], **more, **options)


def training(model):
    """Return all that a training gives, to compare: weights, memory, history, counts."""
    network, history = model.network, model.history
    kept = [None if one is None else one.block for one in (network.memory, network.momentum)]
    facts = operator.attrgetter("step", "epoch", "characters", "smooth_loss", "validation_nll")
    text = model.vocabulary.decode(range(len(model.vocabulary)))
    return {
        "weights": calls.digest(network.weights.block),
        "memory": calls.digest(kept),
        "reports": [*map(facts, history.reports)],
        "losses": history.losses,
        "end": (history.steps, history.kept_step, history.stop_reason, history.estimate),
        "scores": calls.digest(model.log_probs(text)),
        "text": model.generate(30, seed=1),
    }


def compare(way, found, expected):
    """Raise AssertionError if two results differ, with the way in which the first was found."""
    for what, value in expected.items():
        assert found[what] == value, f"{way} gives other {what}: {found[what]}, not {value}"


def further(model, rehearse=None, **more):
    """Train a model further, on characters that it does not know."""
    vocabulary, new, old = model.vocabulary, "Not ye\u203d " * 9, rehearse
    options = {"steps": 5, "seq_length": 5, "progress": False, "preset": None, **more}
    if vocabulary.of_bytes:
        new, old = (one.encode() if isinstance(one, str) else one for one in (new, old))
    elif isinstance(old, str):
        old = "".join(one for one in old if one in vocabulary)
    if old not in (None, True) and len(old) < 2:
        old = None
    if vocabulary.records:
        new, old = new.split(), [old, old[:3]] if old not in (None, True) else old
    options |= {"extend": not vocabulary.of_bytes, "rehearse": old or False}
    by = model.train_records if vocabulary.records else model.train_text
    return by(new, **options)


# What holds for every model. Each of these raises AssertionError where it doesn't.


def words_of(model):
    """Return some texts that a model knows."""
    size, decode = len(model.vocabulary), model.vocabulary.decode
    return [decode([place * place % size for place in range(length)]) for length in (50, 3, 21)]


def probabilities_sum_to_one(model):
    for prefix in (model.vocabulary.empty, *words_of(model)):
        total = float(model.next_probs(prefix).sum())
        assert math.isclose(total, 1, abs_tol=1e-6), f"probabilities sum to {total}"


def scores_are_means_of_log_probs(model):
    for word in words_of(model):
        for adapt in (False, True):
            mean = -model.log_probs(word, adapt=adapt).mean() / math.log(2)
            score = model.score(word, adapt=adapt)
            assert math.isclose(score, mean, rel_tol=1e-9), f"a score is {score}, the mean {mean}"


def a_stream_is_what_generate_returns(model):
    options = {"seed": 1, "prime": words_of(model)[1], "temperature": 0.8, "top_p": 0.99}
    pieces, text = list(model.stream(40, **options)), model.generate(40, **options)
    assert model.vocabulary.empty.join(pieces) == text, f"{pieces} streamed, not {text!r}"


def adapting_does_not_depend_on_pieces(model):
    """One by one and in pieces is as at once; what is not kept, or interrupted, is forgotten."""
    words, before = words_of(model), calls.digest(model)
    expected = [one.tobytes() for one in map(adaptive(model), words)]
    with model.adapting() as live:
        for word, log_p in zip(words, expected, strict=True):
            interrupted(signal.SIGINT, 1e-4, functools.partial(live.read, word))
            live.rollback()
            parts = [word] if model.vocabulary.records else [word[:7], word[7:30], word[30:]]
            found = np.concatenate([live.read(part) for part in parts])
            assert found.tobytes() == log_p, "a live model reads other log-probabilities"
            live.rollback()
        scores = []
        for word in words:
            live.begin()
            scores.append(live.score(word))
    at_once = model.score_many(words, adapt=True).tolist()
    assert scores == at_once, f"one by one adaptive scores are {scores}, at once {at_once}"
    assert calls.digest(model) == before, "adapting has changed the model"


def adaptive(model):
    return lambda word: model.log_probs(word, adapt=True)


def likeliest_is_an_enumeration(model):
    vocabulary, records = model.vocabulary, model.vocabulary.records
    letters = vocabulary.decode(range(min(3, len(vocabulary))))
    ids, lengths = range(len(letters)), range(4) if records else (3,)
    texts = [vocabulary.decode(one) for n in lengths for one in itertools.product(ids, repeat=n)]
    log_p = {text: float(model.log_probs(text).sum()) for text in texts}
    controls = {"allowed": letters, "min_length": 0 if records else None}
    found = list(model.likeliest(max_length=3, **controls))
    assert {text for text, _ in found} == {*texts}, f"{found} are not all texts of {letters!r}"
    for (one, p), (two, _) in itertools.pairwise([*found, found[-1]]):
        assert close(p, log_p[one]), f"{one!r} has {p}, not {log_p[one]}"
        assert log_p[one] > log_p[two] - 1e-3, f"{one!r} comes before {two!r}"
    searched = model.beam_search(3, n_best=9, width=64, **controls)
    for (one, p), (two, q) in zip(searched, found, strict=False):
        assert close(p, q), f"beam_search finds {one!r} at {p}, likeliest {two!r} at {q}"


def close(one, other):
    return math.isclose(one, other, rel_tol=1e-3, abs_tol=1e-3)


def ranks_follow_probabilities(model):
    if not model.vocabulary.records:
        return
    texts = sorted({*model.generate_many(20, 30, seed=0), *words_of(model)})
    with mock.patch.multiple(ranking, _EXACT=64, _SAMPLES=200, _CHARACTERS=4000):
        found = model.rank(texts)
    log_p = np.array([model.log_probs(text).sum() for text in texts])
    guesses = found.guesses[np.argsort(-log_p)]
    falls = guesses[1:] < guesses[:-1] * (1 - 1e-3)
    assert not falls.any(), f"{texts} have log-probabilities {log_p}, but ranks {found.guesses}"
    assert (found.low <= found.guesses).all(), f"{found}"
    assert (found.guesses <= found.high).all(), f"{found}"


def what_is_compressed_comes_back(model):
    if not dispatch.has_fma():
        return
    data = b"\xff" + "".join(map(str, words_of(model))).encode()
    for name in dispatch.available():
        if name != "baseline":
            with mock.patch.object(dispatch, "core", dispatch.load(name)):
                code = charrnn.compress(data, model)
            assert charrnn.decompress(code, model) == data, f"{data} is not what comes back"


INVARIANTS = (
    probabilities_sum_to_one,
    scores_are_means_of_log_probs,
    a_stream_is_what_generate_returns,
    adapting_does_not_depend_on_pieces,
    likeliest_is_an_enumeration,
    ranks_follow_probabilities,
    what_is_compressed_comes_back,
)


def copies_train_on(model, folder, rehearse):
    """What was saved, pickled, copied, or interrupted trains on as the model does."""
    model.save(folder / "model")
    copies = {
        "loaded": charrnn.load(folder / "model"),
        "pickled": pickle.loads(pickle.dumps(model)),
        "copied": copy.deepcopy(model),
    }
    path, again = folder / "further", copy.deepcopy(model)
    further(copy.deepcopy(model), rehearse, checkpoint=path, callback=lambda _: True)
    expected = training(further(copy.copy(model), rehearse))
    for way, one in copies.items():
        compare(f"{way} and trained further, it", training(further(one, rehearse)), expected)
    resumed = further(again, rehearse, resume=path)
    compare("trained further and resumed, it", training(resumed), expected)


def check(part=0, rehearse=None, **configuration):
    """Train a configuration in some ways; raise AssertionError where two give other bits."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        case = Case(folder, **configuration)
        try:
            model = case.train()
        except (ValueError, charrnn.DivergedError):  # options that exclude each other, huge rates
            hypothesis.reject()
        expected = training(model)
        ways = [name for name in vars(Case) if name.startswith("by_")]
        for way in ways[part::3]:
            for again in getattr(case, way)():
                compare(way, training(again), expected)
        checks = [one for one in testing.checks(model) if one.name in CHECKS]
        checks += [functools.partial(invariant, model) for invariant in INVARIANTS]
        checks.append(lambda: copies_train_on(model, folder, rehearse))
        for one in checks[part::3]:
            one()


def main():
    arguments = parser(__doc__, 20)
    arguments.add_argument("--seed", type=int, default=0, help="of the configurations (0)")
    arguments, findings = arguments.parse_args(), Findings()
    sys.unraisablehook = lambda _: None  # what an alarm raises in a callback of gc is lost
    warnings.simplefilter("ignore", charrnn.TrainingWarning)  # trainings are short here
    latest, runs, rejected = {}, 0, 0

    @hypothesis.seed(arguments.seed)
    @hypothesis.settings(SETTINGS, max_examples=arguments.runs)
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

    with often_saved():
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
