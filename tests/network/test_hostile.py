"""Whatever Python does to the objects of this package, it gets a result or an exception: never a
crash, never memory that is another's.

The machine below does to networks, workspaces, models and their arrays all that Python allows, in a
long row. What it finds are crashes,
most of them only where the extensions were compiled with AddressSanitizer, and results that cannot
be right.
"""

import contextlib
import copy
import gc
import inspect
import itertools
import math
import os
import pickle
import random
import warnings
from concurrent.futures import ThreadPoolExecutor

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

import charrnn
import plain
from charrnn import RNN, CharRNN, DataReader, History, Vocabulary
from charrnn.data.record_index import RecordIndex
from charrnn.inference import ranking
from charrnn.network import Network
from charrnn.network import _types as _network
from charrnn.network import dispatch as _dispatch
from charrnn.network.learner import Learner
from charrnn.util.seeding import make_random

STEPS = int(os.environ.get("CHARRNN_HOSTILE_STEPS", "2000"))
CORES = [_dispatch.load(level) for level in _dispatch.available()]
LETTERS = "abcdefghijklmnopqrst"
KEPT = 8  # objects of a kind that the machine holds on to


@pytest.fixture(autouse=True, scope="module")
def small_rank_tables():
    """Ranks of a network that hardly ends its strings take seconds, and minutes under
    sanitizers.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, number in {
            "_EXACT": 64,
            "_FOLLOWED": 256,
            "_SAMPLES": 50,
            "_CHARACTERS": 2000,
        }.items():
            patch.setattr(ranking, name, number)
        yield


def trained_weights():
    """The weights of a small network after three steps: the same bits whatever happened before."""
    rnn = RNN(5, 6, 4, 0.1, seed=1)
    work = rnn.network.workspace(4, 2, training=True)
    ids = np.arange(24).reshape(12, 2) % 6
    rnn.network.train_steps(work, ids, (ids * 5 + 1) % 6, learning_rate=0.1, clip_value=5.0)
    return rnn.network.weights.block.tobytes()


SANE = trained_weights()


class Trap:
    """An object that does something when it is asked what it is, and then answers or raises."""

    def __init__(self, action, answer):
        self.action, self.answer = action, answer

    def spring(self):
        action, self.action = (
            self.action,
            lambda: None,
        )  # once: an action may well ask the same trap
        action()
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    def number(self):
        answer = self.spring()
        return answer if isinstance(answer, (int, float)) else 1

    def __array__(self, dtype=None, copy=None):  # the array itself, even if asked for a copy
        return np.asarray(self.spring())

    def __index__(self):
        return int(self.number())

    def __float__(self):
        return float(self.number())

    def __len__(self):
        return int(self.number())

    def __iter__(self):
        return iter(self.spring())

    def __getitem__(self, key):
        return self.spring()[key]

    def __bool__(self):
        self.spring()
        return False  # whatever the number is

    def __eq__(self, other):
        self.spring()
        return True

    __hash__ = object.__hash__

    def __lt__(self, other):
        self.spring()
        return False

    __gt__ = __le__ = __ge__ = __lt__


class Text(str):
    """A text that claims to be equal to every other."""

    __slots__ = ()

    def __eq__(self, other):
        return True

    __hash__ = str.__hash__


class Subclass(Network):
    """With a dict, so that a network can be part of a cycle."""


SCALARS = [
    None,
    -1,
    0,
    1,
    2,
    3,
    2**31,
    2**70,
    -(2**70),
    "x",
    "",
    b"x",
    "abc",
    "float32",
    Text("rnn"),
    True,
    0.5,
    -0.0,
    1e300,
    1e-300,
]
SCALARS += [
    math.nan,
    math.inf,
    -math.inf,
    (),
    [],
    {},
    [[]],
    object(),
    int,
    np.int64(2),
    np.float32(3),
    np.array(1),
    1j,
    ...,
]
DTYPES = [
    "i1",
    "u1",
    "i4",
    "u4",
    "i8",
    "u8",
    ">i4",
    ">f8",
    "f2",
    "f4",
    "f8",
    "c8",
    "?",
    "O",
    "U1",
    "M8[s]",
    "i4,f4",
]
EXTREMES = [0.0, -0.0, 1e30, -1e31, 3e38, -3e38, 1e-45, math.inf, -math.inf, math.nan, 1.5]

# What is called with what: places are filled by name, most often with what belongs there. "=" is by
# keyword, "?" by keyword and optional.
DRAW = "work few random ?temperature ?top_p ?min_p ?top_k ?no_repeat ?allowed ?past"
DOORS = {
    "initialize": "network scale random",
    "evaluate": "work inputs targets",
    "next_probs": "work",
    "next_nll": "work row",
    "next_log_probs": "work",
    "score_texts": "work run lengths boundary reset",
    "window": "work inputs",
    "softmax": "work logits",
    "backward": "work inputs targets states probabilities",
    "update": "work parameters rate",
    "gradient": "work inputs targets settings",
    "train_steps": "work inputs targets length rates settings =reset =few:n_threads =few:shards "
    "=exchange =parameters:anchor =reset:each",
    "sample": "work n random allowed past controls",
    "search": "work n scores ended allowed boundary",
    "trace": "work inputs targets few",
    "saliency": "work inputs targets",
    "repeat": "work part few",
    "use": "scale",
    "addresses": "",
    "cpu_level": "",
    "fma_chains": "few",
}
NETWORK = {
    "workspace": "T B ?training",
    "train_steps": "work inputs targets =rate:learning_rate ?clip_value ?clip_norm ?weight_decay "
    "?dropout ?dropout_seed ?first_step "
    "?precision ?length ?reset ?few:n_threads ?few:shards ?exchange ?parameters:anchor ?reset:each",
    "gradient": "work inputs targets ?dropout ?dropout_seed ?step ?precision",
    "copy_from": "network",
    "evaluate": "work inputs targets",
    "feed": "work inputs",
    "draw": DRAW,
    "search": "work few scores ended allowed boundary",
    "next_probs": "work",
    "next_log_probs": "work",
    "next_nll": "work row",
    "score": "work run lengths ?boundary:end ?reset:each",
    "grow_from": "network places",
}
LESSON = {
    "forward": "ids state",
    "softmax": "column",
    "loss": "xs ids",
    "backward": "xs hs xs ids",
    "update_model": "dU dW dV db dc",
    "sample": "state symbol n",
    "gradient_norms": "ids symbol state",
    "predict": "reader text n",
    "train": "reader =few:steps =callback ?threshold",
}
CONTROLS = (
    "?prime ?seed ?temperature ?top_k ?top_p ?min_p ?no_repeat ?letters:allowed "
    "?letters:forbidden ?few:min_length ?stop"
)
MODEL = {
    "generate": "n " + CONTROLS,
    "generate_many": "few n ?unique ?novel " + CONTROLS,
    "stream": "n " + CONTROLS,
    "beam_search": "n ?few:n_best ?width ?prime ?letters:allowed ?few:min_length",
    "likeliest": "few =few:max_length =few:threshold ?prime ?letters:allowed ?few:min_length",
    "rank": "texts ?seed",
    "score_words": "text",
    "log_probs": "text",
    "score": "text",
    "score_many": "texts",
    "next_probs": "text",
    "trace": "text ?few:top",
    "train_text": "text =few:steps =callback ?extend",
    "train_records": "texts =few:steps =callback ?extend",
}
WORKSPACE = {
    "get_state": "",
    "set_state": "array",
    "__enter__": "",
    "__exit__": "",
    "__reduce__": "",
    "__init__": "network T B",
}
PARAMETERS = {
    "views": "",
    "copy_from": "parameters",
    "__setstate__": "array",
    "__reduce__": "",
    "__init__": "scale scale",
}
CLASSES = {
    _network.Description: "scale T",
    _network.Parameters: "description dtype",
    _network.Workspace: "network T B ?training",
    _network.Workspace32: "network T B ?training",
    _network.Workspace64: "network T B ?training",
    _network.OwnedNetwork: "description dtype ?optimizer",
    _network.check_ids: "text inputs scale V shape",
    _network.check_array: "text inputs dtype shape",
    _network.checked_workspace: "work network",
    _network.take_spare: "network",
    _network.look_up: "text run",
    Subclass: "description dtype ?optimizer",
}


class Exchange:
    """What has nobody to exchange anything with, or fails, or does something to what it is
    given.
    """

    def __init__(self, random, windows, T, B, disturb):
        self.random, self.disturb = random, disturb
        first = random.randint(0, 3)
        self.shards, self.weight_rows = (
            (first, first + random.randint(1, 3)),
            (random.randint(0, 3), random.randint(0, 9)),
        )
        self.batch_size, self.window_rows = (
            B + random.randint(0, 3),
            np.full(windows, random.randint(1, T)),
        )

    def answer(self, *answers):
        what = self.random.randrange(20)
        if what == 0:
            raise RuntimeError("an exchange fails")
        if what == 1:
            self.disturb()
        return (
            self.random.choice([None, "x", ()])
            if what == 2
            else answers
            if len(answers) > 1
            else answers[0]
        )

    def losses(self, losses, bounded):
        return self.answer(float(np.sum(losses)), bounded)

    def sums(self, sums):
        sums[...] = self.random.choice(EXTREMES) if self.random.random() < 0.1 else sums
        self.answer(None)

    def squares(self, squares):
        self.sums(squares)

    def all(self, fine):
        return self.answer(fine)

    def weights(self):
        self.answer(None)


class Hostile(RuleBasedStateMachine):
    """Each rule gets a number, from which it draws all that it does."""

    def __init__(self):
        super().__init__()
        self.random, self.done, self.rows = random.Random(0), 0, 0
        gc.collect()
        # what Hypothesis has noted so far: to look through it again and again would take most of
        # the time
        gc.freeze()
        self.quiet = warnings.catch_warnings()
        self.quiet.__enter__()
        warnings.simplefilter("ignore")
        self.networks, self.rnns, self.models, self.works, self.parameters, self.arrays = (
            [],
            [],
            [],
            [],
            [],
            [],
        )
        self.answers = []  # arrays that traps have answered, and may write into later
        self.fixed = {}  # by id of a network or workspace: what must not change
        for dtype in ("float32", "float64"):
            self.begin(dtype)

    def teardown(self):
        self.quiet.__exit__(None, None, None)
        for kept in (
            self.networks,
            self.rnns,
            self.models,
            self.works,
            self.parameters,
            self.arrays,
            self.answers,
            self.fixed,
        ):
            kept.clear()  # or what is frozen next would never be let go
        for core in CORES:
            core.use(_dispatch.core.addresses())
        assert trained_weights() == SANE

    def seed(self, number):
        """Begin a rule; the same number does not do the same again."""
        self.done += 1
        self.random.seed(number * 1000 + self.done)

    # -------------------------------------------------------------------------------------- objects

    def keep(self, kind, thing):
        """Hold on to a thing, and perhaps let another go."""
        kind.append(thing)
        if len(kind) > KEPT:
            kind.pop(self.random.randrange(len(kind)))

    def begin(self, dtype):
        """Make one of each kind of object."""
        chosen = self.random
        records, H, letters = (
            chosen.random() < 0.5,
            chosen.choice([1, 2, 7, 15, 16, 17, 20]),
            LETTERS[: chosen.choice([1, 2, 5, 15, 16, 17, 20])],
        )
        vocabulary = Vocabulary(letters, records)
        rnn = RNN(
            H,
            vocabulary.symbols,
            3,
            0.1,
            batch_size=chosen.randint(1, 4),
            dtype=dtype,
            seed=chosen.randrange(99),
        )
        self.keep(self.rnns, rnn)
        self.keep(
            self.models,
            CharRNN(
                rnn,
                vocabulary,
                History(),
                RecordIndex.from_records(["a", "ab"]) if records else None,
            ),
        )
        layers = [
            (chosen.choice(_network.CELLS), chosen.randint(1, 20))
            for _ in range(chosen.randint(1, 3))
        ]
        optimizer = chosen.choice(_network.OPTIMIZERS)
        settings = {
            "seq_length": 3,
            "batch_size": 2,
            "learning_rate": 0.1,
            "clip_value": 5.0,
            "initial_accumulator_value": 1.0,
        }
        other = Learner(
            layers,
            vocabulary.symbols,
            dtype=dtype,
            optimizer=optimizer,
            seed=1,
            dropout=0.3,
            clip_norm=1.0,
            **settings,
        )
        self.keep(
            self.models,
            CharRNN(
                other,
                vocabulary,
                History(),
                RecordIndex.from_records(["a", "ab"]) if records else None,
            ),
        )
        own = chosen.choice([Network, Subclass])((layers, chosen.randint(1, 20)), dtype, optimizer)
        for network in (rnn.network, other.network, own):
            self.keep(self.networks, network)
            self.keep(
                self.parameters,
                chosen.choice(
                    [network.weights, network.memory, network.momentum or network.weights]
                ),
            )
            self.add_work(network)

    def add_work(self, network):
        work = network.workspace(
            self.random.randint(1, 8),
            self.random.randint(1, 8),
            training=self.random.random() < 0.6,
        )
        self.keep(self.works, work)
        return work

    def facts(self, thing):
        """What stays as it is for as long as a thing lives."""
        if isinstance(thing, _network.Workspace):
            return (
                thing.T,
                thing.B,
                thing.training,
                thing.state.shape,
                thing.state.dtype,
                id(thing.network),
            )
        description = thing.description
        shapes = [view.shape for view in thing.weights.views().values()]
        return (
            id(description),
            description.layers,
            description.vocab_size,
            description.n_parameters,
            thing.dtype,
            shapes,
            thing.weights.block.shape,
        )

    @invariant()
    def sizes_are_fixed(self):
        for thing in [*self.networks, *self.works]:
            known, facts = self.fixed.setdefault(id(thing), (thing, self.facts(thing)))
            assert self.facts(known) == facts
        alive = {id(thing) for thing in [*self.networks, *self.works]}
        self.fixed = {key: value for key, value in self.fixed.items() if key in alive}
        for rnn in self.rnns:
            assert rnn.U.shape == (rnn.hidden_size, rnn.vocab_size)
            assert rnn.mV.shape == (rnn.vocab_size, rnn.hidden_size)

    # ------------------------------------------------------------------------------------ arguments

    def right(self, name, network, work):
        """A value that may stand in the place of this name."""
        chosen, fresh = self.random, np.random.default_rng(self.random.randrange(2**32))
        V, T, B = network.description.vocab_size, work.T, work.B
        units = network.description.state_size
        N, H = [0, 1, T, T + 1, 12][self.rows], network.description.layers[0].units
        gradients = {"dU": (H, V), "dW": (H, H), "dV": (V, H), "db": (H, 1), "dc": (V, 1)}
        makers = {
            "work": lambda: work,
            "network": lambda: network,
            "description": lambda: chosen.choice(
                [network.description, ([("rnn", chosen.randint(1, 9))], chosen.randint(1, 9))]
            ),
            "parameters": lambda: chosen.choice(
                [
                    network.weights,
                    network.memory,
                    _network.Parameters(network.description, network.dtype),
                ]
            ),
            "inputs": lambda: fresh.integers(0, V, (N, B)),
            "targets": lambda: fresh.integers(-1, V, (N, B)),
            "row": lambda: fresh.integers(-1, V, B),
            "run": lambda: fresh.integers(0, V, 3 * B).astype(np.int32),
            "lengths": lambda: [chosen.randint(0, 3) for _ in range(B)],
            "random": lambda: make_random(chosen.randrange(99), B),
            "logits": lambda: fresh.standard_normal((chosen.randint(0, T), B, V)),
            "states": lambda: fresh.standard_normal((min(N, T) + 1, B, units)),
            "probabilities": lambda: fresh.random((min(N, T), B, V)),
            "allowed": lambda: (np.arange(V) % 3 == 0).astype(np.int8),
            "past": lambda: fresh.integers(0, V, (chosen.randint(0, 9), B)).astype(np.int32),
            "scores": lambda: np.where(np.arange(B) > 0, -np.inf, 0.0),
            "ended": lambda: np.zeros(B, np.int8),
            "boundary": lambda: chosen.choice([-1, V - 1]),
            "places": lambda: list(range(V)),
            "ids": lambda: fresh.integers(0, V, 3).tolist(),
            "state": lambda: fresh.uniform(-1, 1, (H, 1)),
            "column": lambda: fresh.standard_normal((V, 1)),
            "xs": lambda: {t: np.zeros((V, 1)) for t in range(3)},
            "hs": lambda: {t: fresh.uniform(-1, 1, (H, 1)) for t in range(-1, 3)},
            **{
                name: lambda shape=shape: fresh.standard_normal(shape)
                for name, shape in gradients.items()
            },
            "reader": self.make_reader,
            "shape": lambda: (None, B),
            "callback": lambda: None,
            "seed": lambda: chosen.choice([None, 3]),
            "symbol": lambda: V - 1,
            "letters": lambda: "abxyz",
            "prime": lambda: "a",
            "stop": lambda: chosen.choice(["a", ["ab", "b"]]),
            "text": lambda: chosen.choice(["", "a", "aa" * 15]),
            "texts": lambda: ["a", "aaa", ""],
            "dtype": lambda: chosen.choice(["float32", "float64", "i4"]),
            "optimizer": lambda: chosen.choice([*_network.OPTIMIZERS, "newton"]),
            "settings": lambda: (
                CORES[0].SETTINGS
                | {
                    "clip_norm": 0.5,
                    "weight_decay": 0.5,
                    "dropout": 0.5,
                    "precision": chosen.choice([0, 1, 2]),
                }
            ),
            "precision": lambda: chosen.choice(["float32", "bfloat16"]),
            "controls": lambda: {
                "temperature": 1.0,
                "top_p": 0.9,
                "min_p": 0.1,
                "top_k": chosen.randint(1, 20),
                "no_repeat": 2,
            },
            "exchange": lambda: chosen.choice(
                [None, Exchange(chosen, -(-N // T), T, B, self.disturb)]
            ),
            "part": lambda: chosen.choice(CORES[0].PARTS),
            "rates": lambda: np.full(-(-N // T), 0.1),
            "dropout": lambda: chosen.choice([0.0, 0.5]),
            "array": lambda: chosen.choice(self.arrays) if self.arrays else np.zeros(3),
        }
        numbers = {
            "dropout_seed": 9,
            "first_step": 9,
            "step": 9,
            "n": 30,
            "few": 8,
            "T": 8,
            "B": 8,
            "width": 8,
            "V": 20,
            "top_k": 20,
            "no_repeat": 5,
        }
        if name in makers:
            return makers[name]()
        if name in numbers:
            return chosen.randint(1, numbers[name])
        if name == "length":
            return chosen.randint(1, T)
        return chosen.choice([0.1, 0.5, 1])  # rates, probabilities, and what is true

    def make_reader(self):
        """A reader of five characters; of this very file, as it needs one."""
        reader = DataReader(__file__, 4)
        reader.data, reader.ids, reader.vocab_size = (
            "abcde" * 9,
            reader.ids[:45] % 5,
            self.random.choice([1, 5]),
        )
        return reader

    def hostile(self, name, right, small=False):
        """A value that should not stand in the place of this name; small if it must not be a large
        integer.
        """
        chosen = self.random
        kind = chosen.randrange(8)
        if kind < 2:
            scalar = chosen.choice(SCALARS)
            return 3 if small and isinstance(scalar, int) and scalar > 30 else scalar
        if kind == 2:
            return self.hostile_array(right)
        if kind == 3:
            return chosen.choice(
                chosen.choice(
                    [
                        self.networks,
                        self.works,
                        self.parameters,
                        self.models,
                        self.rnns,
                        self.arrays or [None],
                    ]
                )
            )
        if kind == 4:
            return np.random.default_rng(0).choice(
                EXTREMES, np.shape(right) if isinstance(right, np.ndarray) else ()
            )
        answer = chosen.choice([right, right, right, 2, -1, ValueError("trap")])
        if isinstance(
            answer, np.ndarray
        ):  # of a type that needs no conversion, so that it may be used as it is
            answer = (
                answer.astype(np.int32)
                if name in ("inputs", "targets", "row", "past", "ids")
                else answer
            )
            self.keep(self.answers, answer)
        return Trap(
            chosen.choice(
                [self.write, self.write, self.disturb, self.disturb, self.drop, self.look_around]
            ),
            answer,
        )

    def hostile_array(self, right):
        """An array like the right one, but of another shape, dtype or layout."""
        chosen = self.random
        array = np.array(right if isinstance(right, np.ndarray) else np.zeros((2, 2)))
        with contextlib.suppress(Exception):
            kind = chosen.randrange(8)
            if kind == 0:
                return array.astype(chosen.choice(DTYPES))
            if kind == 1:
                array.flags.writeable = False
            if kind == 2:
                return np.asfortranarray(array)
            if kind == 3:
                return np.repeat(array, 2, axis=-1)[..., ::2]
            if kind == 4:
                return array[..., :0]
            if kind == 5:
                return np.broadcast_to(array.ravel()[0], array.shape)
            if kind == 6:
                return array[..., None]
            array[...] = chosen.choice([-2, 2**30, 21, 127])
        return array

    def arguments(self, places, network, work, threat=0.15, small=False):
        given, named, self.rows = (
            [],
            {},
            self.random.randrange(5),
        )  # inputs and targets have as many rows
        for place in places.split():
            if place[0] == "?" and self.random.random() < 0.6:
                continue
            what, _, name = place.lstrip("=?").partition(":")
            value = self.right(what, network, work)
            if self.random.random() < threat:
                value = self.hostile(what, value, small=small or what == "few")
            if place[0] in "=?":
                named[name or what] = value
            else:
                given.append(value)
        if {"steps", "callback"} <= named.keys() and "epochs" not in named:
            named["epochs"] = 1
        return given, named

    # ---------------------------------------------------------------------------------------- calls

    def attempt(self, call, *given, **named):
        """What a call returns, or None if it raises, as it may: but an error of the interpreter
        itself.
        """
        try:
            found = call(*given, **named)
            if inspect.isgenerator(found) or hasattr(found, "__next__"):
                found = list(itertools.islice(found, 30))
            return found
        except SystemError:
            raise
        except Exception:
            return None

    def plan(self):
        """A call, its arguments, and the network that it is of."""
        chosen = self.random
        work = chosen.choice(self.works)
        network, owner = work.network, None
        kind = chosen.choice(
            [
                "door",
                "door",
                "network",
                "network",
                "lesson",
                "model",
                "workspace",
                "parameters",
                "class",
            ]
        )
        if kind in ("lesson", "model"):
            owner = chosen.choice(self.rnns if kind == "lesson" else self.models)
            network = owner.network
            work = network.workspace(chosen.randint(1, 8), chosen.randint(1, 8), training=True)
        elif chosen.random() < 0.1:
            network = chosen.choice(self.networks)
        table = {
            "door": DOORS,
            "network": NETWORK,
            "lesson": LESSON,
            "model": MODEL,
            "workspace": WORKSPACE,
            "parameters": PARAMETERS,
        }
        if kind == "class":
            call = chosen.choice(list(CLASSES))
            places = CLASSES[call]
        else:
            name = chosen.choice(list(table[kind]))
            places = table[kind][name]
            owners = {
                "door": chosen.choice(CORES),
                "network": network,
                "workspace": work,
                "parameters": chosen.choice(self.parameters),
            }
            call = getattr(owners.get(kind, owner), name)
        given, named = self.arguments(places, network, work, threat=chosen.choice([0, 0.1, 0.4]))
        return call, given, named, network

    def check(self, call, found, network, given):
        """What must hold of a result, if only one thread was at work."""
        name, V = getattr(call, "__name__", ""), network.description.vocab_size
        if name in ("draw", "sample") and isinstance(found, (np.ndarray, list)):
            assert np.size(found) == 0 or (
                np.min(found) >= 0
                and np.max(found)
                < max(item.description.vocab_size for item in [network, *self.networks])
            )
        rows = found[0] if name == "next_probs" and isinstance(found, tuple) else found
        if name in ("next_probs", "softmax") and isinstance(rows, np.ndarray) and rows.size:
            axis = 0 if rows.shape[-1] == 1 and V > 1 else -1
            np.testing.assert_allclose(rows.sum(axis=axis), 1, atol=1e-5)
        if name in ("generate",) and isinstance(found, str):
            assert set(found) <= set(LETTERS)

    def keep_result(self, found):
        if isinstance(found, _network.Workspace):
            self.attempt(lambda: found.state)
            if type(found) is not _network.Workspace:  # which no door takes
                self.keep(self.works, found)
        if isinstance(found, _network.Parameters) and found.dtype.kind == "f":
            self.keep(self.parameters, found)
        if isinstance(found, np.ndarray):
            self.keep(self.arrays, found)

    # ----------------------------------------------------------------------------- what a trap does

    def write(self):
        """Write what is no id, or no probability, into an array that was answered before, or take
        its memory away.
        """
        for array in self.answers:
            with contextlib.suppress(Exception):
                array[...] = self.random.choice([10**9, -(10**9), -2, 77])
                if self.random.random() < 0.2:
                    array.resize(self.random.choice([0, 1, 10**5]), refcheck=False)

    def disturb(self):
        """Use a workspace, perhaps the one that is being used."""
        work = self.random.choice(self.works)
        given, named = self.arguments(DOORS["evaluate"], work.network, work, threat=0)
        self.attempt(CORES[-1].evaluate, *given, **named)
        given, named = self.arguments(DOORS["train_steps"], work.network, work, threat=0)
        self.attempt(CORES[-1].train_steps, *given, **named)

    def drop(self):
        for kind in (self.works, self.networks, self.rnns, self.models, self.parameters):
            if len(kind) > 2:
                kind.pop(self.random.randrange(len(kind)))
        gc.collect(0)

    def look_around(self):
        """Find what is not yet whole: a workspace that is being made asks its arguments for their
        values.
        """
        for thing in gc.get_referrers(*self.networks[-2:]):
            if isinstance(thing, _network.Workspace):
                self.attempt(lambda thing=thing: thing.state)
                self.attempt(thing.get_state)
                self.attempt(CORES[-1].following, thing, np.zeros(thing.B, np.int32))

    # ---------------------------------------------------------------------------------------- rules

    NUMBERS = st.integers(0, 2**32 - 1)

    @rule(number=NUMBERS)
    def make_others(self, number):
        self.seed(number)
        self.begin(self.random.choice(["float32", "float64"]))

    @rule(number=NUMBERS)
    def call(self, number):
        self.seed(number)
        for _ in range(12):
            call, given, named, network = self.plan()
            found = self.attempt(call, *given, **named)
            if found is not None:
                self.check(call, found, network, given)
                self.keep_result(found)

    @rule(number=NUMBERS)
    def call_two_at_once(self, number):
        self.seed(number)
        plans = [self.plan(), self.plan()]
        with ThreadPoolExecutor(2) as pool:
            for future in [
                pool.submit(self.attempt, call, *given, **named) for call, given, named, _ in plans
            ]:
                future.result(timeout=600)

    @rule(number=NUMBERS)
    def set_or_delete_attributes(self, number):
        self.seed(number)
        thing = self.random.choice(
            [
                *self.networks,
                *self.rnns,
                *self.works,
                *self.parameters,
                *(item.description for item in self.networks),
            ]
        )
        for name in self.random.sample(dir(thing), 10):
            if name in ("__class__", "__dict__"):
                continue
            value = self.hostile("", self.attempt(getattr, thing, name))
            self.attempt(setattr, thing, name, value)
            if self.random.random() < 0.2:
                self.attempt(delattr, thing, name)

    @rule(number=NUMBERS)
    def change_what_the_parts_of_a_model_are(self, number):
        """Past all checks, and so of a model of its own, of which only one thing is asked: not to
        crash.
        """
        self.seed(number)
        kept = self.rnns, self.models
        self.rnns, self.models = [], []
        networks, works = list(self.networks), list(self.works)
        self.begin("float32")
        (rnn,), (model, _) = self.rnns, self.models
        for thing in self.random.sample(
            [rnn, model, model._state, model.vocabulary, model.history, model.index], 2
        ):
            names = [name for name in dir(thing) if not name.startswith("__")]
            for name in self.random.sample(sorted(names), min(2, len(names))):
                value = self.hostile("", self.attempt(getattr, thing, name), small=True)
                self.attempt(object.__setattr__, thing, name, value)
        for method, places in self.random.sample([*MODEL.items()], 4):
            given, named = self.arguments(places, networks[0], works[0], threat=0)
            self.attempt(getattr(model, method), *given, **named)
        for method, places in self.random.sample([*LESSON.items()], 2):
            given, named = self.arguments(places, networks[0], works[0], threat=0)
            self.attempt(
                lambda method=method, given=given, named=named: getattr(rnn, method)(
                    *given, **named
                )
            )
        self.networks, self.works = networks, works
        self.rnns, self.models = kept

    @rule(number=NUMBERS)
    def take_views(self, number):
        self.seed(number)
        rnn, parameters, work = (
            self.random.choice(self.rnns),
            self.random.choice(self.parameters),
            self.random.choice(self.works),
        )
        for array in (
            rnn.U,
            rnn.mc,
            rnn.V[::2],
            parameters.block,
            self.random.choice(list(parameters.views().values())),
            work.state,
        ):
            self.keep(self.arrays, array)
            base = array.base
            if base is not None:
                self.keep(self.arrays, self.attempt(np.asarray, base))
                self.attempt(lambda base=base: memoryview(base).release())
                self.attempt(setattr, array, "base", None)
                self.attempt(getattr(base, "__init__", None), (3,), np.dtype("f4"))
        self.attempt(
            lambda: _network.Memory(
                self.random.choice([(), (1,), (0, 3), (-1, 2), (2**70,), (2,) * 20]), np.dtype("f4")
            )
        )

    @rule(number=NUMBERS)
    def maltreat_arrays(self, number):
        self.seed(number)
        for array in [*self.arrays, *self.answers]:
            value = self.random.choice(EXTREMES)
            self.attempt(
                lambda array=array: array.resize(
                    (self.random.choice([0, 1, 10**4]),), refcheck=False
                )
            )
            self.attempt(lambda array=array: array.setflags(write=self.random.random() < 0.7))
            self.attempt(
                lambda array=array: (
                    setattr(array, "dtype", self.random.choice(DTYPES))
                    if self.random.random() < 0.1
                    else None
                )
            )
            self.attempt(
                lambda array=array: setattr(
                    array, "shape", self.random.choice([(-1,), (1, -1), (2, -1)])
                )
            )
            self.attempt(
                lambda array=array: (
                    setattr(array, "strides", (0,) * array.ndim)
                    if self.random.random() < 0.1
                    else None
                )
            )
            if self.random.random() < 0.3:
                self.attempt(lambda array=array, value=value: array.__setitem__(..., value))
            elif array.size:
                self.attempt(
                    lambda array=array, value=value: array.__setitem__(
                        (self.random.randrange(len(array)),), value
                    )
                )

    @rule(number=NUMBERS)
    def copy_and_pickle(self, number):
        self.seed(number)
        kind = self.random.choice(
            [self.networks, self.parameters, self.models, self.rnns, self.works]
        )
        thing = self.random.choice(kind)
        way = self.random.choice(
            [copy.copy, copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))]
        )
        found = self.attempt(way, thing)
        if found is not None and (kind is not self.rnns or self.attempt(lambda: found.U.shape)):
            self.keep(kind, found)
        state = self.random.choice(
            [*SCALARS, (np.zeros(3), np.zeros(3)), (thing, thing), np.zeros(1)]
        )
        self.attempt(lambda: thing.__setstate__(state))
        self.attempt(lambda: type(thing).__new__(type(thing)))
        self.attempt(
            lambda: type(thing).__init__(
                thing, *self.random.choices(SCALARS, k=self.random.randint(0, 4))
            )
        )

    @rule(number=NUMBERS)
    def let_go(self, number):
        """Drop what views and workspaces are of, and see that they are there still."""
        self.seed(number)
        self.drop()
        cyclic = Subclass(([("rnn", 3)], 4), "float32")
        cyclic.work = cyclic.workspace(2, 2, training=True)
        cyclic.view = cyclic.work.state
        self.keep(self.arrays, cyclic.weights.block)
        del cyclic
        gc.collect(self.random.choice([0, 0, 0, 2]))
        for array in self.arrays:
            self.attempt(array.sum)

    @rule(number=NUMBERS)
    def mend_weights(self, number):
        """So that not everything diverges."""
        self.seed(number)
        for network in self.networks:
            network.weights.block[...] = np.random.default_rng(number).standard_normal(
                network.weights.block.shape
            )
            network.memory.block[...] = 1


def test_nothing_that_python_can_do_breaks_an_object():
    try:
        run_state_machine_as_test(
            Hostile,
            settings=settings(
                max_examples=math.ceil(STEPS / 50),
                stateful_step_count=50,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                database=None,
                derandomize=True,
                phases=[Phase.generate],  # to shrink takes long, and a crash ends it all the same
            ),
        )
    finally:
        gc.unfreeze()


class LongStr(str):
    __slots__ = ("says",)

    def __len__(self):
        return self.says


class LongBytes(bytes):
    def __len__(self):
        return self.says


@pytest.mark.parametrize("says", [1, 3, 50])
@pytest.mark.parametrize("records", [False, True])
@pytest.mark.parametrize("alphabet", ["characters", "bytes"])
def test_a_text_is_as_long_as_it_is_whatever_it_says(says, records, alphabet):
    """Arrays are made by its length: scores were those of other texts, and ids were of memory that
    nobody had written.
    """
    kind = LongStr if alphabet == "characters" else LongBytes

    def lying(text):
        text = kind(text)
        text.says = says
        return text

    def results(text, more):
        train = charrnn.train_records if records else charrnn.train_text
        trained = train(
            [text, more] * 9 if records else text,
            alphabet=alphabet,
            hidden_size=2,
            steps=3,
            validation_fraction=0,
        )
        vocabulary = model.vocabulary
        known = [
            vocabulary.lookup(text),
            vocabulary.encode(text),
            model.log_probs(text),
            model.next_probs(text),
        ]
        scores = (
            model.score(text),
            model.score(more, context=text),
            *model.score_many([text, more, text]),
        )
        written = (
            model.generate(9, prime=text, seed=0),
            model.generate(9, seed=0, stop=[text, more]),
        )
        return [
            *(array.tolist() for array in known),
            scores,
            written,
            trained.vocabulary,
            trained.network.weights.block.tobytes(),
        ]

    texts = ("to be", "or not") if alphabet == "characters" else (b"to be", b"or not")
    model = plain.train_records(texts, alphabet=alphabet, hidden_size=4, steps=5)
    if not records:
        model = plain.train_text(texts[0] + texts[1], alphabet=alphabet, hidden_size=4, steps=5)
    assert results(*map(lying, texts)) == results(*texts)


BEGINNING = """if True:
    import gc, numpy as np
    from charrnn.network import dispatch as _dispatch
    from charrnn.network import _types as _network
    from charrnn.network import Network
    core, network = _dispatch.core, Network(([("rnn", 3)], 5), "float32")
    class Answer:
        def __init__(self, array, action=lambda: None): self.array, self.action = array, action
        def __array__(self, dtype=None, copy=None): self.action(); return self.array
    zeros = np.zeros((4, 1), np.int32)
"""
CRASHES = {
    "a number that is 2 and false": """
    class Two:
        def __index__(self): return 2
        def __bool__(self): return False
        def __gt__(self, other): return False
    large = Network(([("rnn", 3)], 100_000), "float32")
    for _ in range(20):
        large.draw(large.workspace(1, 1), 3, np.ones(1, np.uint64), no_repeat=Two())
    """,
    "ids that change after they were checked": """
    def change(): zeros[...] = 10**9
    network.evaluate(network.workspace(4, 1), zeros, zeros)
    core.evaluate(network.workspace(4, 1), Answer(zeros), Answer(zeros.copy(), change))
    """,
    "no rows": """
    large, none = Network(([("rnn", 20)], 5), "float32"), np.empty((0, 8), int)
    large.weights.block[...] = 1
    ids = np.zeros((8, 8), int)
    work = large.workspace(8, 8, training=True)
    core.backward(work, ids, ids, np.full((9, 8, 20), 0.5), np.full((8, 8, 5), 0.2))
    for _ in range(300):
        work = large.workspace(1, 8, training=True)
        core.backward(work, none, none, np.zeros((1, 8, 20)), np.zeros((0, 8, 5)))
    """,
    "many dimensions": """
    [_network.Memory((1,) * 20, np.dtype("f4")) for _ in range(100)]
    """,
    "a workspace that is being made": """
    class One:
        def __index__(self):
            for work in gc.get_referrers(network):
                if isinstance(work, _network.Workspace):
                    try:
                        core.following(work, np.empty(0, int))
                    except ValueError:
                        pass
                    work.state
            return 1
    network.workspace(One(), 1)
    """,
}


@pytest.mark.parametrize("name", CRASHES)
def test_what_crashed_raises_or_works(run_python, name):
    end = run_python(BEGINNING + CRASHES[name])
    assert end.returncode in (0, 1), end.stderr[-300:]  # 1: an exception, or a sanitizer's report
    assert "Sanitizer" not in end.stderr
