"""Training in shards: the same bits in one process, in threads, and in several processes over MPI,
which end together whatever happens.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import charrnn
import plain
from charrnn.data.batches import TextStream
from charrnn.history import Position
from charrnn.network import dispatch as _dispatch
from charrnn.network.learner import Learner
from charrnn.training import mpi as parallel
from charrnn.training.stepper import Stepper, streams_in
from charrnn.util.errors import RankError
from charrnn.util.seeding import make_random

MPIEXEC = shutil.which(
    "mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
)
try:
    import mpi4py
except ImportError:
    mpi4py = None
needs_mpi = pytest.mark.skipif(
    mpi4py is None or MPIEXEC is None, reason="needs mpi4py and mpiexec: pip install mpi4py mpich"
)

TEXT = "to be, or not to be, that is the question\n" * 30
NAMES = ["anna", "hanna", "susanna", "maximiliana", "bo", "", "x" * 150] * 6
OPTIONS = {
    "hidden_size": 12,
    "batch_size": 10,
    "seq_length": 9,
    "seed": 3,
    "progress": False,
}  # 10 streams are no multiple of 8 or 4
NETWORKS = {
    "vanilla": {},
    "GRU": {
        "cell": "gru",
        "n_layers": 2,
        "dropout": 0.3,
        "optimizer": "adam",
        "schedule": "cosine",
        "warmup": 5,
    },
    "LSTM": {
        "cell": "lstm",
        "dtype": "float64",
        "optimizer": "sgd",
        "weight_decay": 0.1,
        "learning_rate_decay": 0.9,
    },
    "RMSProp": {"optimizer": "rmsprop", "clip_norm": 0.01},
    "bfloat16": {"cell": "lstm", "precision": "bfloat16"},
}


def train(source, **options):
    options = {**OPTIONS, **options}
    return (
        plain.train_text(source, **options)
        if isinstance(source, str)
        else plain.train_records(source, **options)
    )


def bits(model):
    figures = [
        (report.step, report.characters, report.nll, report.validation_nll)
        for report in model.history.reports
    ]
    return model.network.weights.block.tobytes().hex(), figures, model.history.stop_reason


# ----------------------------------------------------------------------------------------- the tree


class Part:
    """The exchange of one of several ranks that keeps what is summed there, and then ends the
    call.
    """

    def __init__(self, shards, batch_size, rows):
        self.shards, self.batch_size, self.weight_rows, self.window_rows = (
            shards,
            batch_size,
            (0, 0),
            [rows],
        )

    def losses(self, losses, bounded):
        self.loss = losses.sum()
        return self.loss, bounded

    def sums(self, sums):
        self.found = sums.copy()
        raise RankError("this is all")


def sums_of(network, first, stop, shards, batch_size, ids):
    """The sums of the whole parts of the tree over some shards, and the loss of their streams."""
    streams = streams_in(range(first, stop), shards, batch_size)
    work, exchange = (
        network.workspace(len(ids) - 1, len(streams), training=True),
        Part((first, stop), batch_size, len(ids) - 1),
    )
    here = ids[:, streams[streams < batch_size]]
    with pytest.raises(RankError, match="this is all"):
        network.train_steps(
            work,
            here[:-1],
            here[1:],
            learning_rate=0.1,
            dropout=0.5,
            shards=shards,
            exchange=exchange,
        )
    return exchange


@given(st.integers(1, 40), st.integers(-9, 7), st.data())
@example(shards=4, more=-1, data=None)  # each rank has a shard, the last one no stream
def test_any_ranks_make_the_same_tree(shards, more, data):
    network = charrnn.network.Network(([("rnn", 3)], 5), "float32")
    batch_size = max(1, shards + more)
    _dispatch.core.initialize(network, 1.0, make_random(shards))
    ids = np.random.default_rng(0).integers(0, 5, (4, batch_size))
    ranks = shards if data is None else data.draw(st.integers(1, shards))
    found, loss = {}, 0.0
    for first, stop in pairwise(shards * rank // ranks for rank in range(ranks + 1)):
        part = sums_of(network, first, stop, shards, batch_size, ids)
        found |= dict(zip(parallel.whole_parts(first, stop, 0, shards), part.found, strict=False))
        loss += part.loss
    whole = sums_of(network, 0, shards, shards, batch_size, ids)
    assert parallel.total(found, 0, shards).tobytes() == whole.found[0].tobytes()
    assert whole.found[0].any()
    assert loss == pytest.approx(whole.loss)


@pytest.mark.parametrize("layers", [[("rnn", 5)], [("gru", 17), ("lstm", 3)]])
def test_rows_are_those_of_all_matrices(layers):
    network = charrnn.network.Network((layers, 7), "float32")
    starts = parallel.row_starts(network.description)
    assert starts[0] == 0
    assert starts[-1] == len(network.weights.block)
    for start, rows, _, ld, _ in network.description.tensors.values():
        for row in range(rows):  # gates lie side by side
            assert (
                np.searchsorted(starts, start + row * ld, "right") - 1
                == np.searchsorted(starts, start, "right") - 1 + row
            )


# -------------------------------------------------------------------------------------- one process


@pytest.mark.parametrize("source", [TEXT, NAMES], ids=["text", "records"])
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_one_shard_has_the_bits_of_no_shards(network, source):
    whole, shard = (train(source, epochs=2, shards=shards, **network) for shards in (None, 1))
    assert shard.network.weights.block.tobytes() == whole.network.weights.block.tobytes()
    assert shard.history.losses == pytest.approx(whole.history.losses, rel=1e-12)
    assert [report.characters for report in shard.history.reports] == [
        report.characters for report in whole.history.reports
    ]


@pytest.mark.parametrize("layers", [[("rnn", 6)], [("gru", 5), ("lstm", 4)]])
@pytest.mark.parametrize("shards", [2, 3, 8])
def test_a_step_in_shards_is_the_step_of_the_batch(kernels, layers, shards):
    ids = np.random.default_rng(0).integers(0, 9, 500).astype(np.uint8)
    settings = {
        "seq_length": 7,
        "batch_size": 10,
        "learning_rate": 0.1,
        "clip_value": 0.02,
        "clip_norm": 0.05,
        "dropout": 0.4,
    }
    learners = [
        Learner(
            layers,
            9,
            dtype="float64",
            seed=1,
            initial_accumulator_value=0.01,
            weight_decay=0.1,
            **settings,
        )
        for _ in range(2)
    ]
    stream = TextStream(ids, 7, 10)
    for learner, number in zip(learners, (1, shards), strict=True):
        stepper = Stepper(learner, stream, 5, number)
        stepper.train(Position(), *stream.read(0, 3), np.full(3, 0.1), 7, False)
        assert len(stepper.work.losses) == stepper.work.steps == 3
    for here, there in zip(
        *(learner.network.weights.views().values() for learner in learners), strict=True
    ):
        np.testing.assert_allclose(here, there, rtol=0, atol=1e-13)


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_any_number_of_threads_gives_the_same_bits(network):
    one, three = (
        train(TEXT, epochs=2, shards=4, n_threads=threads, **network) for threads in (1, 3)
    )
    assert bits(one) == bits(three)


def test_shards_are_part_of_the_recipe(tmp_path):
    path = tmp_path / "checkpoint"
    whole = train(TEXT, steps=30, shards=4)
    assert bits(whole) != bits(train(TEXT, steps=30, shards=8))
    train(TEXT, steps=11, shards=4, checkpoint=path)
    assert (
        train(TEXT, steps=30, shards=4, resume=path).network.weights.block.tobytes()
        == whole.network.weights.block.tobytes()
    )
    with pytest.raises(ValueError, match="shards was 4, is 2"):
        train(TEXT, steps=30, shards=2, resume=path)
    with pytest.raises(ValueError, match="shards was 4, is None"):
        train(TEXT, steps=30, resume=path)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"shards": 0}, ValueError, "shards must be from 1"),
        ({"shards": 2.5}, TypeError, "shards must be an integer"),
        ({"shards": 11}, ValueError, "shards=11 needs as many streams, not batch_size=10"),
        (
            {"comm": 3},
            TypeError if mpi4py else ImportError,
            "comm must be a communicator of mpi4py|needs mpi4py",
        ),
    ],
)
def test_what_is_no_option_is_refused(options, kind, message):
    with pytest.raises(kind, match=message):
        train(TEXT, **options)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (
            {"learning_rate": 1e38, "clip_value": np.inf, "initial_accumulator_value": 0.0},
            "update|loss|gradient",
        ),
        ({"learning_rate": 3e38, "optimizer": "sgd", "clip_norm": np.inf}, "update of the weights"),
    ],
)
def test_a_step_that_diverges_is_not_applied(options, what):
    with pytest.raises(charrnn.DivergedError, match=what) as caught:
        train(TEXT, shards=4, **options)
    assert caught.value.model is None or np.isfinite(caught.value.model.network.weights.block).all()


def test_ctrl_c_leaves_a_whole_step():
    def stop(progress):
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(charrnn.TrainingInterrupted) as caught:
        train(TEXT, epochs=50, shards=4, callback=stop)
    model = caught.value.model
    assert bits(model)[0] == bits(train(TEXT, steps=model.history.steps, keep="last", shards=4))[0]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")
def test_a_timeout_leaves_a_whole_step():
    def alarm(number, frame):
        raise TimeoutError("alarm")

    def start(progress):
        if progress.epoch <= 1:  # the clock starts anew at each report of the first pass
            signal.setitimer(signal.ITIMER_REAL, 0.3)

    before, after = signal.signal(signal.SIGALRM, alarm), signal.getsignal(signal.SIGALRM)
    try:
        with pytest.raises(TimeoutError, match="alarm") as caught:
            train(TEXT, epochs=10**6, shards=4, keep="last", callback=start)
        assert signal.getsignal(signal.SIGALRM) is after
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    model = caught.value.model
    assert bits(model)[0] == bits(train(TEXT, steps=model.history.steps, keep="last", shards=4))[0]


class Alone:
    """The exchange of the only rank, which owns some rows of the weights."""

    def __init__(self, rows, B, T, **wrong):
        self.weight_rows, self.batch_size, self.shards, self.window_rows = rows, B, (0, 2), [T]
        vars(self).update(wrong)

    def losses(self, losses, bounded):
        return float(losses.sum()), bounded

    def sums(self, sums):
        assert sums.ndim == 2

    def squares(self, squares):
        self.squared = squares.copy()

    def all(self, fine):
        return fine

    def weights(self):
        pass


@pytest.mark.parametrize("optimizer", ["adagrad", "adam"])
def test_an_update_of_some_rows_changes_no_other(kernels, optimizer):
    network = charrnn.network.Network(([("gru", 4), ("rnn", 3)], 5), "float32", optimizer)
    for array in network.weights.views().values():
        array[...] = np.random.default_rng(0).standard_normal(array.shape)
    work, starts = network.workspace(5, 2, training=True), parallel.row_starts(network.description)
    ids, rows = np.arange(10, dtype=np.int32).reshape(5, 2) % 5, len(starts) - 1
    seen = np.zeros(rows, bool)
    for first, stop in ((0, 2), (2, 7), (7, 7), (7, rows - 1), (rows - 1, rows)):
        before, exchange = network.weights.block.copy(), Alone((first, stop), 2, 5)
        network.train_steps(
            work, ids, ids, learning_rate=0.1, clip_norm=9.0, shards=2, exchange=exchange
        )
        changed = np.add.reduceat(network.weights.block != before, starts[:-1]) > 0
        assert not changed[:first].any()
        assert not changed[stop:].any()
        assert (exchange.squared[first:stop] > 0).all()
        seen |= changed
    assert seen.all()


@pytest.mark.parametrize(
    ("wrong", "kind", "message"),
    [
        ({"shards": (0, 3)}, ValueError, "stop must be"),
        ({"shards": (2, 2)}, ValueError, "first must be"),
        ({"shards": (-1, 2)}, ValueError, "first must be"),
        ({"weight_rows": (3, 2)}, ValueError, "first must be"),
        ({"weight_rows": (0, 100)}, ValueError, "stop must be"),
        ({"batch_size": 0}, ValueError, "batch_size must be"),
        ({"window_rows": [4]}, IndexError, "window_rows"),
        ({"window_rows": [0]}, IndexError, "window_rows"),
        ({"window_rows": [1, 1]}, ValueError, "window_rows must be"),
        ({"losses": 3}, TypeError, "not callable"),
        ({"losses": lambda losses, bounded: "x"}, ValueError, "unpack"),
    ],
)
def test_an_exchange_is_checked(kernels, wrong, kind, message):
    network = charrnn.network.Network(([("rnn", 4)], 5), "float32")
    work, ids, before = (
        network.workspace(3, 4, training=True),
        np.zeros((3, 4), np.int32),
        network.weights.block.copy(),
    )
    with pytest.raises(kind, match=message):
        network.train_steps(
            work, ids, ids, learning_rate=0.1, shards=2, exchange=Alone((0, 5), 4, 3, **wrong)
        )
    assert (network.weights.block == before).all()


def test_shards_are_checked(kernels):
    network = charrnn.network.Network(([("rnn", 4)], 5), "float32")
    work, ids = network.workspace(3, 4, training=True), np.zeros((3, 4), np.int32)
    for shards, message in (
        (0, "shards must be"),
        (3, "3 shards do not divide 4 streams"),
        (2.5, "shards must be"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            network.train_steps(work, ids, ids, learning_rate=0.1, shards=shards)
    for streams in (0, 5):
        with pytest.raises(ValueError, match="the number of streams must be"):
            network.train_steps(
                work,
                np.zeros((3, streams), int),
                np.zeros((3, streams), int),
                learning_rate=0.1,
                shards=2,
            )


# ---------------------------------------------------------------------------------------- processes

PROGRAM = """if True:
    import json, os, signal, sys, time
    sys.path[:0] = {tests!r}
    from mpi4py import MPI
    import charrnn
    from test_mpi import *
    comm = MPI.COMM_WORLD
    rank, folder = comm.rank, {folder!r}
    def tell(**words):
        with open(f"{{folder}}/{{rank}}.json", "a") as file:
            file.write(json.dumps(words) + "\\n")
    {program}
"""


@pytest.fixture
def mpi(tmp_path):
    """Run a program on so many ranks; return what each told, line by line, and what was printed."""

    def run(ranks, program, meanwhile=None):
        for old in tmp_path.glob("*.json"):
            old.unlink()
        indented = program.strip().replace("\n", "\n    ")
        text = PROGRAM.format(
            tests=[str(Path(__file__).parent), str(Path(__file__).parents[1])],
            folder=str(tmp_path),
            program=indented,
        )
        command = [MPIEXEC, "-n", str(ranks), sys.executable, "-c", text]
        ran = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path
        )
        try:
            if meanwhile is not None:
                meanwhile(ran)
            output, _ = ran.communicate(timeout=600)
        finally:
            ran.kill()
        told = [tmp_path / f"{rank}.json" for rank in range(ranks)]
        return [
            [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
            for path in told
        ], output

    return run


@needs_mpi
@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_any_number_of_ranks_gives_the_bits_of_one(mpi, ranks):
    told, output = mpi(
        ranks,
        """
for source in (TEXT, NAMES):
    for network in NETWORKS.values():
        tell(bits=bits(train(source, epochs=1, comm=comm, n_threads=1 + rank % 2, **network)))
""",
    )
    expected = [
        json.loads(json.dumps(bits(train(source, epochs=1, shards=8, **network))))
        for source in (TEXT, NAMES)
        for network in NETWORKS.values()
    ]
    for lines in told:
        assert [line["bits"] for line in lines] == expected, output


@needs_mpi
def test_a_checkpoint_of_some_ranks_resumes_on_others(mpi, tmp_path):
    options = {**NETWORKS["GRU"], "schedule": "constant", "steps": 40}
    expected = json.loads(json.dumps(bits(train(TEXT, shards=8, **options))[0]))
    run = "tell(bits=bits(train(TEXT, comm=comm, {more}, **{options}))[0])"
    mpi(4, run.format(more="checkpoint='checkpoint'", options={**options, "steps": 13}))
    assert bits(train(TEXT, shards=8, resume=tmp_path / "checkpoint", **options))[0] == expected
    for ranks in (2, 8):
        told, output = mpi(ranks, run.format(more="resume='checkpoint'", options=options))
        assert [[line["bits"] for line in lines] for lines in told] == [[expected]] * ranks, output


def without_fma(rank, source, **options):
    """Train where rank 1 has other kernels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel._dispatch, "has_fma", lambda: rank != 1)
        train(source, **options)


def unreadable(rank, source, **options):
    """Train where rank 1 cannot read its text."""
    with pytest.MonkeyPatch.context() as patch:
        if rank == 1:
            patch.setattr(TextStream, "read", lambda *arguments: 1 / 0)
        train(source, **options)


def breaking(rank, source, **options):
    """Train where rank 1 has no memory for the fifth call."""
    with pytest.MonkeyPatch.context() as patch:
        if rank == 1:
            patch.setattr(parallel._dispatch, "core", Broken())
        train(source, **options)


class MuteError(Exception):
    """An error that cannot say what it is."""

    def __str__(self):
        raise RuntimeError


def mute(progress):
    raise MuteError


ENDS = [  # a program, what it raises on three ranks, and what one of them says
    (
        "train(TEXT, comm=comm, seed=rank // 2)",
        "ValueError RankError RankError",
        "rank 2 has seed 1, rank 0 0",
    ),
    (
        "train(TEXT + 'x' * (rank == 1), comm=comm)",
        "ValueError RankError RankError",
        "rank 1 has a text of SHA-256",
    ),
    (
        "without_fma(rank, TEXT, comm=comm)",
        "ValueError RankError RankError",
        "rank 1 has kernels with FMA False, rank 0 True",
    ),
    (
        "train(TEXT, comm=comm, steps=-(rank == 1))",
        "RankError ValueError RankError",
        "rank 1: ValueError: steps must be",
    ),
    (
        "train(TEXT, comm=comm, batch_size=2)",
        "ValueError RankError RankError",
        "3 ranks need as many shards, not shards=2",
    ),
    (
        "train(TEXT, comm=comm, shards=2)",
        "ValueError RankError RankError",
        "3 ranks need as many shards, not shards=2",
    ),
    (
        "charrnn.train_file('missing', comm=comm)",
        "FileNotFoundError RankError RankError",
        "No such file",
    ),
    (
        "train(TEXT, comm=comm, callback=lambda progress: 1 / 0)",
        "ZeroDivisionError RankError RankError",
        "rank 0: ZeroDivisionError",
    ),
    (
        "train(TEXT, comm=comm, learning_rate=1e38, optimizer='sgd', clip_norm=1e9)",
        "DivergedError RankError RankError",
        "rank 0: Diverged",
    ),
    (
        "unreadable(rank, TEXT, comm=comm)",
        "RankError ZeroDivisionError RankError",
        "rank 1: ZeroDivisionError",
    ),
    (
        "breaking(rank, TEXT, comm=comm)",
        "RankError MemoryError RankError",
        "rank 1: MemoryError: nothing is left",
    ),
    (
        "train(('abc' if rank else 'xyz') * 99, comm=comm)",
        "ValueError RankError RankError",
        "rank 1 has characters 'abc', rank 0 'xyz'",
    ),
    (
        "train(TEXT, comm=comm, steps=5 + rank)",
        "ValueError RankError RankError",
        "rank 2 has steps 7, rank 0 5",
    ),
    (
        "train(TEXT, comm=comm, seed=None)",
        "ValueError RankError RankError",
        "give all of them the same number",
    ),
    ("train(TEXT, comm=comm, callback=mute)", "MuteError RankError RankError", "rank 0: MuteError"),
    (
        "train(TEXT, comm=comm, callback=lambda _: train(TEXT, comm=comm))",
        "ValueError RankError RankError",
        "comm is in use by another",
    ),
    (
        "train(TEXT, comm=MPI.COMM_NULL)",
        "ValueError ValueError ValueError",
        "comm is MPI.COMM_NULL",
    ),
]


@needs_mpi
def test_what_one_rank_raises_ends_all(mpi):
    told, output = mpi(
        3,
        """
for program, *_ in ENDS:
    try:
        exec(program)
    except Exception as error:
        tell(kind=type(error).__name__, words=parallel._words(error))
""",
    )
    assert [len(lines) for lines in told] == [len(ENDS)] * 3, output
    for (program, kinds, message), *lines in zip(ENDS, *told, strict=True):
        assert " ".join(line["kind"] for line in lines) == kinds, program
        assert any(message in line["words"] for line in lines), (program, lines)


@needs_mpi
def test_trainings_that_fail_leave_no_communicators(mpi):
    told, output = mpi(
        2,
        """
for i in range(2100):  # MPICH has 2,048
    try:
        train(TEXT, comm=comm, steps=-1)
    except (ValueError, charrnn.RankError):
        pass
tell(bits=bits(train(TEXT, comm=comm, steps=2))[0])
""",
    )
    assert told[0] == told[1] != [], output


@needs_mpi
def test_ctrl_c_while_one_waits_for_the_others_ends_all(mpi):
    told, output = mpi(
        2,
        """
meet = parallel.Team.meet
def late(*arguments):
    if rank == 0:
        time.sleep(0.5)
    else:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
    return meet(*arguments)
signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
parallel.Team.meet = late
try:
    train(TEXT, comm=comm, epochs=10**6)
except KeyboardInterrupt:
    tell(ended=True)
""",
    )
    assert told == [[{"ended": True}]] * 2, output


class Broken:
    """The kernels; but there is no memory for the fifth call."""

    def __init__(self):
        self.core, self.left = parallel._dispatch.core, 4

    def __getattr__(self, name):
        if name == "train_steps":
            self.left -= 1
            if self.left < 0:
                raise MemoryError("nothing is left")
        return getattr(self.core, name)


def processes(parent):
    """The numbers of a process' children, and theirs."""
    found = subprocess.run(
        ["ps", "-e", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    ).stdout
    table = [line.split(maxsplit=2) for line in found.splitlines()]
    children = [(int(pid), words) for pid, ppid, words in table if int(ppid) == parent]
    return children + [below for pid, _ in children for below in processes(pid)]


def when_saved(tmp_path, action):
    """Return what waits for a checkpoint and then does something to the Python processes below
    mpiexec.
    """

    def meanwhile(ran):
        until = time.monotonic() + 600
        while not (tmp_path / "checkpoint").exists() and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(random.random() / 4)
        action([pid for pid, words in processes(ran.pid) if words.startswith(sys.executable)])

    return meanwhile


LONG = """
tell(pid=os.getpid())
try:
    train(TEXT, comm=comm, epochs=10**6, keep="last", checkpoint="checkpoint")
except KeyboardInterrupt as error:
    tell(steps=error.model.history.steps, bits=bits(error.model)[0])
"""


@needs_mpi
@pytest.mark.skipif(shutil.which("ps") is None, reason="needs ps")
def test_kill_9_of_a_rank_ends_all_and_leaves_the_checkpoint(mpi, tmp_path):
    killed = []

    def kill(ranks):
        assert len(ranks) == 3
        os.kill(random.choice(ranks), signal.SIGKILL)
        killed.extend(ranks)

    mpi(3, LONG, when_saved(tmp_path, kill))
    until = time.monotonic() + 600  # mpiexec may end before those that it has killed
    while any(Path(f"/proc/{pid}").exists() for pid in killed) and time.monotonic() < until:
        time.sleep(0.02)
    assert not [pid for pid in killed if Path(f"/proc/{pid}").exists()]
    step = charrnn.storage.model_file.load(tmp_path / "checkpoint").training.position.step
    again = train(TEXT, steps=step + 5, keep="last", shards=8, resume=tmp_path / "checkpoint")
    assert bits(again)[0] == bits(train(TEXT, steps=step + 5, keep="last", shards=8))[0]


@needs_mpi
@pytest.mark.skipif(shutil.which("ps") is None, reason="needs ps")
@pytest.mark.parametrize("rank", [0, 2])
def test_ctrl_c_of_one_rank_ends_all_after_a_whole_step(mpi, tmp_path, rank):
    def interrupt(ranks):
        numbers = {
            json.loads((tmp_path / f"{i}.json").read_text().splitlines()[0])["pid"]: i
            for i in range(3)
        }
        os.kill(next(pid for pid in ranks if numbers[pid] == rank), signal.SIGINT)

    told, output = mpi(3, LONG, when_saved(tmp_path, interrupt))
    ends = [lines[-1] for lines in told]
    assert ends[0] == ends[1] == ends[2], output
    assert (
        charrnn.storage.model_file.load(tmp_path / "checkpoint").training.position.step
        == ends[0]["steps"]
    )
    assert ends[0]["bits"] == bits(train(TEXT, steps=ends[0]["steps"], keep="last", shards=8))[0]


@needs_mpi
def test_the_command(tmp_path, text_file):
    path = text_file(TEXT * 3)
    command = [
        sys.executable,
        "-m",
        "charrnn",
        "train",
        str(path),
        "--preset",
        "tutorial",
        "--batch-size",
        "8",
        "--steps",
        "30",
        "--hidden-size",
        "9",
    ]

    def run(*words):
        return subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, timeout=600)

    one = run(*command, "--shards", "8", "-o", "one")
    two = run(MPIEXEC, "-n", "2", *command, "--mpi", "-o", "two")
    assert one.returncode == two.returncode == 0, two.stderr
    assert one.stdout.split("30 steps")[0] == two.stdout.split("30 steps")[0]
    assert bits(charrnn.load(tmp_path / "one"))[0] == bits(charrnn.load(tmp_path / "two"))[0]
    wrong = run(MPIEXEC, "-n", "3", *command, "--mpi", "--shards", "2")
    assert wrong.returncode != 0
    assert wrong.stderr.count("charrnn: error: 3 ranks need as many shards, not shards=2") == 1
    assert wrong.stderr.count("charrnn: error") == 1
    assert "--mpi: only one process has standard input" in run(*command[:4], "-", "--mpi").stderr


@needs_mpi
def test_files_with_a_cache_and_models_that_go_on(mpi, text_file):
    text_file(TEXT, "input")
    run = """
more = {"cache": "cache", "preset": "tutorial", **OPTIONS}
model = charrnn.train_file("input", steps=20, comm=comm, **more)
model.train_text(TEXT[::-1], steps=20, comm=comm, progress=False)
tell(bits=bits(model)[0])
"""
    told, output = mpi(2, run)
    one = train(TEXT, steps=20, shards=8)
    one.train_text(TEXT[::-1], steps=20, shards=8, progress=False)
    assert [[line["bits"] for line in lines] for lines in told] == [[bits(one)[0]]] * 2, output
