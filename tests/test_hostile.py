"""Whatever Python does to the objects of this package, it gets a result or an exception: never a crash, never another's memory.

The machine below does to networks, workspaces, models and their arrays all that Python allows, in a long row. What it finds are crashes,
most of them only where the extensions were compiled with AddressSanitizer, and results that cannot be right.
"""

import contextlib
import copy
import gc
import inspect
import math
import os
import pickle
import subprocess
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from charrnn import RNN, CharRNN, DataReader, History, Vocabulary, _dispatch, _network
from charrnn.network import Network
from charrnn.novelty import RecordIndex
from charrnn.seeding import make_random

STEPS = int(os.environ.get("CHARRNN_HOSTILE_STEPS", "2000"))
CORES = [_dispatch.load(level) for level in _dispatch.available()]
LETTERS = "abcdefghijklmnopqrst"
KEPT = 12  # objects of a kind that the machine holds on to


def trained_weights():
    """The weights of a small network after three steps: the same bits whatever happened before."""
    rnn = RNN(5, 6, 4, 0.1, seed=1)
    work = rnn.network.workspace(4, 2, training=True)
    ids = np.arange(24).reshape(12, 2) % 6
    rnn.network.train_steps(work, ids, (ids * 5 + 1) % 6, rate=0.1, clip=5.0)
    return rnn.network.weights.block.tobytes()


SANE = trained_weights()

# ------------------------------------------------------------------------------------------------------------- hostile values


class Trap:
    """An object that does something whenever it is asked what it is, and then answers or raises."""

    def __init__(self, action, answer):
        self.action, self.answer = action, answer

    def _spring(self):
        action, self.action = self.action, lambda: None  # once: an action may well ask the same trap
        action()
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    def __array__(self, dtype=None, copy=None):  # answers the array itself, even if it was asked for a copy
        return np.asarray(self._spring())

    def __index__(self):
        return self._number(int)

    def __int__(self):
        return self._number(int)

    def __float__(self):
        return self._number(float)

    def _number(self, kind):
        answer = self._spring()
        return kind(answer if isinstance(answer, (int, float)) else 1)

    def __len__(self):
        return self._number(int)

    def __iter__(self):
        return iter(self._spring())

    def __getitem__(self, key):
        return self._spring()[key]

    def __bool__(self):
        self._spring()
        return False  # whatever the number is

    def __eq__(self, other):
        self._spring()
        return True

    __hash__ = object.__hash__

    def __lt__(self, other):
        return bool(self._spring())

    __gt__ = __le__ = __ge__ = __lt__

    def __fspath__(self):
        raise OSError


class Text(str):
    """A text that claims to be equal to everything."""

    __slots__ = ()

    def __eq__(self, other):
        return True

    __hash__ = str.__hash__


SCALARS = [None, -1, 0, 1, 2, 3, 2**31, 2**70, -(2**70), "x", "", b"x", "abc", "float32", Text("rnn"), True, 0.5, -0.0, 1e300, 1e-300]
SCALARS += [math.nan, math.inf, -math.inf, (), [], {}, [[]], object(), int, np.int64(2), np.float32(3), np.array(1), 1j, Ellipsis]
DTYPES = ["i1", "u1", "i4", "u4", "i8", "u8", ">i4", ">f8", "f2", "f4", "f8", "c8", "?", "O", "U1", "M8[s]", "i4,f4"]
EXTREMES = [0.0, -0.0, 1e30, -1e31, 3e38, -3e38, 1e-45, math.inf, -math.inf, math.nan, 1.5]

# What is called with what: the places of arguments are filled by name, most often with what belongs there.
NETWORK_METHODS = ["workspace", "train_steps", "evaluate", "feed", "draw", "search", "next_probs", "next_nll", "grow_from"]
RNN_METHODS = ["forward", "softmax", "loss", "backward", "update_model", "sample", "predict", "train"]
MODEL_METHODS = ["generate", "generate_many", "stream", "beam_search", "log_probs", "score", "score_many", "next_probs"]
MODEL_METHODS += ["train_text", "train_records"]
DOORS = ["init_normal", "evaluate", "following", "window", "softmax", "backward", "update", "train_steps", "sample", "search"]
ARGUMENTS = {
    **dict.fromkeys(["init_normal", "following", "softmax", "window", "update", "backward", "evaluate", "train_steps", "sample", "search"]),
    "init_normal": ["work", "scale", "random"],
    "evaluate": ["work", "inputs", "targets"],
    "following": ["work", "row"],
    "window": ["work", "inputs"],
    "softmax": ["work", "logits"],
    "backward": ["work", "inputs", "targets", "states", "probabilities"],
    "update": ["work", "parameters", "rate"],
    "train_steps": ["work", "inputs", "targets", "length", "=rate", "=clip", "=reset", "=threads"],
    "sample": ["work", "n", "random", "allowed", "past", "=temperature", "=top_p", "=min_p", "=top_k", "=no_repeat"],
    "search": ["work", "n", "scores", "ended", "allowed", "boundary"],
}
SIGNATURES = {
    **{("core", name): arguments for name, arguments in ARGUMENTS.items()},
    ("network", "workspace"): ["T", "B", "?training"],
    ("network", "train_steps"): ["work", "inputs", "targets", "=rate", "=clip", "?length", "?reset", "?threads"],
    ("network", "evaluate"): ["work", "inputs", "targets"],
    ("network", "feed"): ["work", "inputs"],
    ("network", "draw"): [
        *["work", "n", "random", "?temperature", "?top_k", "?top_p", "?min_p", "?no_repeat", "?allowed", "?past"],
    ],
    ("network", "search"): ["work", "n", "scores", "ended", "allowed", "boundary"],
    ("network", "next_probs"): ["work"],
    ("network", "next_nll"): ["work", "row"],
    ("network", "grow_from"): ["network", "places"],
    ("rnn", "forward"): ["ids", "state"],
    ("rnn", "softmax"): ["column"],
    ("rnn", "loss"): ["by_step", "ids"],
    ("rnn", "backward"): ["by_step", "by_step", "by_step", "ids"],
    ("rnn", "update_model"): ["array"] * 5,
    ("rnn", "sample"): ["state", "symbol", "n"],
    ("rnn", "predict"): ["reader", "text", "n"],
    ("rnn", "train"): ["reader", "=steps", "=callback"],
    ("model", "generate"): ["n", "?prime", "?seed", "?controls"],
    ("model", "generate_many"): ["count", "n", "?prime", "?seed", "?unique", "?novel", "?controls"],
    ("model", "stream"): ["n", "?prime", "?seed", "?controls"],
    ("model", "beam_search"): ["n", "?n_best", "?width", "?prime", "?text_allowed", "?min_length"],
    ("model", "log_probs"): ["text"],
    ("model", "score"): ["text"],
    ("model", "score_many"): ["texts"],
    ("model", "next_probs"): ["text"],
    ("model", "train_text"): ["text", "=steps", "=progress"],
    ("model", "train_records"): ["texts", "=steps", "=progress"],
}
