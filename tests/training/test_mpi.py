"""Training in shards: the same bits in one process, in threads, and in several processes over MPI, which end together whatever happens."""

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
from hypothesis import given
from hypothesis import strategies as st

import charrnn
from charrnn.data.batches import TextStream
from charrnn.history import Position
from charrnn.network.learner import Learner
from charrnn.training import mpi as parallel
from charrnn.training.stepper import Stepper

MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
try:
    import mpi4py
except ImportError:
    mpi4py = None
needs_mpi = pytest.mark.skipif(mpi4py is None or MPIEXEC is None, reason="needs mpi4py and mpiexec: pip install mpi4py mpich")

TEXT = "to be, or not to be, that is the question\n" * 30
NAMES = ["anna", "hanna", "susanna", "maximiliana", "bo", "", "x" * 150] * 6
OPTIONS = {"hidden_size": 12, "batch_size": 10, "seq_length": 9, "seed": 3, "progress": False}  # 10 streams are no multiple of 8 or 4
NETWORKS = {
    "vanilla": {},
    "GRU": {"cell": "gru", "n_layers": 2, "dropout": 0.3, "optimizer": "adam", "schedule": "cosine", "warmup": 5},
    "LSTM": {"cell": "lstm", "dtype": "float64", "optimizer": "sgd", "weight_decay": 0.1, "learning_rate_decay": 0.9},
    "RMSProp": {"optimizer": "rmsprop", "clip_norm": 0.01},
}


def train(source, **options):
    options = {**OPTIONS, **options}
    return charrnn.train_text(source, **options) if isinstance(source, str) else charrnn.train_records(source, **options)


def bits(model):
    figures = [(report.step, report.characters, report.nll, report.validation_nll) for report in model.history.reports]
    return model.network.weights.block.tobytes().hex(), figures, model.history.stop_reason


# -------------------------------------------------------------------------------------------------------------------- the tree


@given(st.integers(1, 40), st.data())
def test_any_ranks_make_the_same_tree(shards, data):
    ranks = data.draw(st.integers(1, shards))
    numbers = np.random.default_rng(0).standard_normal((shards, 3)).astype(np.float32) * 10.0 ** np.arange(shards)[:, None]
    bounds = [shards * rank // ranks for rank in range(ranks + 1)]
    found = {}
    for first, stop in pairwise(bounds):
        parts, slots = list(parallel.whole_parts(first, stop, 0, shards)), {}
        for i, part in enumerate(parts):
            for shard, slot in parallel.program(*part, i):
                assert first <= shard < stop or shard == -1
                assert slot < stop - first
                slots[slot] = slots[slot] + slots[slot + 1] if shard < 0 else numbers[shard].copy()
        found |= {part: slots[i] for i, part in enumerate(parts)}
    whole = parallel.total({(i, i + 1): row for i, row in enumerate(numbers)}, 0, shards)  # which are no longer what they were
    assert parallel.total(found, 0, shards).tobytes() == whole.tobytes()


@pytest.mark.parametrize("layers", [[("rnn", 5)], [("gru", 17), ("lstm", 3)]])
def test_rows_are_those_of_all_matrices(layers):
    network = charrnn.network.Network((layers, 7), "float32")
    starts = parallel.row_starts(network.description)
    assert starts[0] == 0
    assert starts[-1] == len(network.weights.block)
    for start, rows, _, ld, _ in network.description.tensors.values():
        for row in range(rows):  # gates lie side by side
            assert np.searchsorted(starts, start + row * ld, "right") - 1 == np.searchsorted(starts, start, "right") - 1 + row


# -------------------------------------------------------------------------------------------------------------------- one process


@pytest.mark.parametrize("source", [TEXT, NAMES], ids=["text", "records"])
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_one_shard_has_the_bits_of_no_shards(network, source):
    whole, shard = (train(source, epochs=2, shards=shards, **network) for shards in (None, 1))
    assert shard.network.weights.block.tobytes() == whole.network.weights.block.tobytes()
    assert shard.history.losses == pytest.approx(whole.history.losses, rel=1e-12)
    assert [report.characters for report in shard.history.reports] == [report.characters for report in whole.history.reports]


@pytest.mark.parametrize("layers", [[("rnn", 6)], [("gru", 5), ("lstm", 4)]])
@pytest.mark.parametrize("shards", [2, 3, 8])
def test_a_step_in_shards_is_the_step_of_the_batch(kernels, layers, shards):
    ids = np.random.default_rng(0).integers(0, 9, 500).astype(np.uint8)
    settings = {"seq_length": 7, "batch_size": 10, "learning_rate": 0.1, "clip_value": 0.02, "clip_norm": 0.05, "dropout": 0.4}
    learners = [Learner(layers, 9, dtype="float64", seed=1, initial_accumulator_value=0.01, weight_decay=0.1, **settings) for _ in range(2)]
    stream = TextStream(ids, 7, 10)
    for learner, kind in zip(learners, (Stepper, parallel.Shards), strict=True):
        hands = kind(learner, stream, 5, *([shards] if kind is parallel.Shards else []))
        hands.train(Position(), *stream.read(0, 3), np.full(3, 0.1), 7, False)
        assert len(hands.work.losses) == hands.work.steps == 3
    for here, there in zip(*(learner.network.weights.views().values() for learner in learners), strict=True):
        np.testing.assert_allclose(here, there, rtol=0, atol=1e-13)


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_any_number_of_threads_gives_the_same_bits(network):
    one, three = (train(TEXT, epochs=2, shards=4, n_threads=threads, **network) for threads in (1, 3))
    assert bits(one) == bits(three)


def test_shards_are_part_of_the_recipe(tmp_path):
    path = tmp_path / "checkpoint"
    whole = train(TEXT, steps=30, shards=4)
    assert bits(whole) != bits(train(TEXT, steps=30, shards=8))
    train(TEXT, steps=11, shards=4, checkpoint=path)
    assert train(TEXT, steps=30, shards=4, resume=path).network.weights.block.tobytes() == whole.network.weights.block.tobytes()
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
        ({"comm": 3}, TypeError if mpi4py else ImportError, "comm must be a communicator of mpi4py|needs mpi4py"),
    ],
)
def test_what_is_no_option_is_refused(options, kind, message):
    with pytest.raises(kind, match=message):
        train(TEXT, **options)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"learning_rate": 1e38, "clip_value": np.inf, "initial_accumulator_value": 0.0}, "update|loss|gradient"),
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
def test_a_timeout_leaves_a_whole_step(monkeypatch):
    def alarm(number, frame):
        raise TimeoutError("alarm")

    def update_and_alarm(*arguments, **options):
        found = shard_update(*arguments, **options)
        if options["step"] == 5:
            signal.raise_signal(signal.SIGALRM)
        return found

    core, (before, after) = parallel._dispatch.core, (signal.signal(signal.SIGALRM, alarm), signal.getsignal(signal.SIGALRM))
    shard_update = core.shard_update
    monkeypatch.setattr(core, "shard_update", update_and_alarm)
    try:
        with pytest.raises(TimeoutError, match="alarm") as caught:
            train(TEXT, epochs=50, shards=4)
        assert signal.getsignal(signal.SIGALRM) is after
    finally:
        signal.signal(signal.SIGALRM, before)
        monkeypatch.undo()
    model = caught.value.model
    assert model.history.steps == 6
    assert bits(model)[0] == bits(train(TEXT, steps=6, keep="last", shards=4))[0]


@pytest.mark.parametrize("optimizer", ["adagrad", "adam"])
def test_an_update_of_some_rows_changes_no_other(kernels, optimizer):
    network = charrnn.network.Network(([("gru", 4), ("rnn", 3)], 5), "float32", optimizer)
    for array in network.weights.views().values():
        array[...] = np.random.default_rng(0).standard_normal(array.shape)
    work, starts = network.workspace(5, 2, training=True), parallel.row_starts(network.description)
    ids, rows = np.arange(10, dtype=np.int32).reshape(5, 2) % 5, len(starts) - 1
    kernels.shard_gradients(work, ids, ids, (0, 1), 2, 1, np.zeros((1, 2), np.int32), None, dropout=0.0, masks=0, step=0, threads=1)
    kernels.shard_squares(work, None, 0, rows)
    seen = np.zeros(rows, bool)
    for first, stop in ((0, 2), (2, 7), (7, 7), (7, rows - 1), (rows - 1, rows)):
        before = network.weights.block.copy()
        kernels.shard_update(work, first, stop, rate=0.1, clip=1.0, scale=1.0, decay=0.0, step=0)
        changed = np.add.reduceat(network.weights.block != before, starts[:-1]) > 0
        assert not changed[:first].any()
        assert not changed[stop:].any()
        seen |= changed
    assert seen.all()


def test_doors_refuse_what_is_out_of_bounds(kernels):
    network = charrnn.network.Network(([("rnn", 4)], 5), "float32")
    work = network.workspace(3, 4, training=True)
    ids = np.zeros((3, 4), np.int32)
    more = {"dropout": 0.0, "masks": 0, "step": 0, "threads": 1}

    def run(numbers=(0, 1, 2, 3), streams=4, shards=2, program=((0, 0), (1, 1), (-1, 0)), kept=None):
        return kernels.shard_gradients(work, ids, ids, numbers, streams, shards, np.array(program, np.int32).reshape(-1, 2), kept, **more)

    size = len(network.weights.block)
    sums = np.zeros((2, size), np.float32)
    losses, bounded = run(kept=sums)
    assert losses.shape == (4,)
    assert bounded
    assert (sums[0] != sums[1]).any()
    for wrong in (
        {"numbers": (0, 1, 2)},
        {"numbers": (0, 1, 2, -1)},
        {"streams": 0},
        {"shards": 3},
        {"shards": 5},
        {"shards": 0},
        {"program": ((2, 0),)},
        {"program": ((0, -1),)},
        {"program": ((0, 2),)},
        {"program": ((-2, 0),)},
        {"kept": 0},
        {"kept": np.zeros((3, size))},
        {"kept": np.zeros((1, size + 1))},
    ):
        with pytest.raises((ValueError, IndexError)):
            run(**wrong)
    rows = len(parallel.row_starts(network.description)) - 1
    run()
    whole = kernels.shard_squares(work, None, 0, rows)
    kernels.repeat(work, "gradient", 1)  # of all streams, though a program has ended with no shard
    np.testing.assert_allclose(kernels.shard_squares(work, None, 0, rows), whole, rtol=1e-4)
    for first, stop in ((-1, 2), (3, 2), (0, rows + 1)):
        with pytest.raises(ValueError, match=r"(first|stop) must"):
            kernels.shard_squares(work, None, first, stop)
        with pytest.raises(ValueError, match=r"(first|stop) must"):
            kernels.shard_update(work, first, stop, rate=0.1, clip=1.0, scale=1.0, decay=0.0, step=0)
    with pytest.raises(ValueError, match="broadcast"):
        kernels.shard_squares(work, np.zeros(7, np.float32), 0, 2)
    for size in (0, 4):
        with pytest.raises(ValueError, match="rows must be"):
            kernels.shard_carry(work, size, [1.0])


# -------------------------------------------------------------------------------------------------------------------- processes

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
        text = PROGRAM.format(tests=[str(Path(__file__).parent), str(Path(__file__).parents[1])], folder=str(tmp_path), program=indented)
        command = [MPIEXEC, "-n", str(ranks), sys.executable, "-c", text]
        ran = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path)
        try:
            if meanwhile is not None:
                meanwhile(ran)
            output, _ = ran.communicate(timeout=60)
        finally:
            ran.kill()
        told = [tmp_path / f"{rank}.json" for rank in range(ranks)]
        return [[json.loads(line) for line in path.read_text().splitlines()] if path.exists() else [] for path in told], output

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
        patch.setattr(parallel, "_has_fma", lambda: rank != 1)
        train(source, **options)


def unreadable(rank, source, **options):
    """Train where rank 1 cannot read its text."""
    with pytest.MonkeyPatch.context() as patch:
        if rank == 1:
            patch.setattr(TextStream, "read", lambda *arguments: 1 / 0)
        train(source, **options)


def breaking(rank, source, **options):
    """Train where rank 1 has no memory for the fifth step."""
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
    ("train(TEXT, comm=comm, seed=rank // 2)", "ValueError RankError RankError", "rank 2 has seed 1, rank 0 0"),
    ("train(TEXT + 'x' * (rank == 1), comm=comm)", "ValueError RankError RankError", "rank 1 has a text of SHA-256"),
    ("without_fma(rank, TEXT, comm=comm)", "ValueError RankError RankError", "rank 1 has kernels with FMA False, rank 0 True"),
    ("train(TEXT, comm=comm, steps=-(rank == 1))", "RankError ValueError RankError", "rank 1: ValueError: steps must be"),
    ("train(TEXT, comm=comm, batch_size=2)", "ValueError RankError RankError", "shards=8 needs as many streams, not batch_size=2"),
    ("train(TEXT, comm=comm, shards=2)", "ValueError RankError RankError", "3 ranks need as many shards, not shards=2"),
    ("charrnn.train_file('missing', comm=comm)", "FileNotFoundError RankError RankError", "No such file"),
    ("train(TEXT, comm=comm, callback=lambda progress: 1 / 0)", "ZeroDivisionError RankError RankError", "rank 0: ZeroDivisionError"),
    ("train(TEXT, comm=comm, learning_rate=1e38, optimizer='sgd', clip_norm=1e9)", "DivergedError RankError RankError", "rank 0: Diverged"),
    ("unreadable(rank, TEXT, comm=comm)", "RankError ZeroDivisionError RankError", "rank 1: ZeroDivisionError"),
    ("breaking(rank, TEXT, comm=comm)", "RankError MemoryError RankError", "rank 1: MemoryError: nothing is left"),
    ("train(('abc' if rank else 'xyz') * 99, comm=comm)", "ValueError RankError RankError", "rank 1 has characters 'abc', rank 0 'xyz'"),
    ("train(TEXT, comm=comm, steps=5 + rank)", "ValueError RankError RankError", "rank 2 has steps 7, rank 0 5"),
    ("train(TEXT, comm=comm, seed=None)", "ValueError RankError RankError", "give all of them the same number"),
    ("train(TEXT, comm=comm, callback=mute)", "MuteError RankError RankError", "rank 0: MuteError"),
    ("train(TEXT, comm=comm, callback=lambda _: train(TEXT, comm=comm))", "ValueError RankError RankError", "comm is in use by another"),
    ("train(TEXT, comm=MPI.COMM_NULL)", "ValueError ValueError ValueError", "comm is MPI.COMM_NULL"),
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
    """The kernels; but there is no memory for the fifth step."""

    def __init__(self):
        self.core, self.left = parallel._dispatch.core, 4

    def __getattr__(self, name):
        if name == "shard_gradients":
            self.left -= 1
            if self.left < 0:
                raise MemoryError("nothing is left")
        return getattr(self.core, name)


def processes(parent):
    """The numbers of a process' children, and theirs."""
    found = subprocess.run(["ps", "-e", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    table = [line.split(maxsplit=2) for line in found.splitlines()]
    children = [(int(pid), words) for pid, ppid, words in table if int(ppid) == parent]
    return children + [below for pid, _ in children for below in processes(pid)]


def when_saved(tmp_path, action):
    """Return what waits for a checkpoint and then does something to the Python processes below mpiexec."""

    def meanwhile(ran):
        until = time.monotonic() + 30
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
        killed.extend([time.monotonic(), *ranks])

    mpi(3, LONG, when_saved(tmp_path, kill))
    assert time.monotonic() - killed[0] < 10
    assert not [pid for pid in killed[1:] if Path(f"/proc/{pid}").exists()]
    step = charrnn.storage.model_file.load(tmp_path / "checkpoint").training.position.step
    again = train(TEXT, steps=step + 5, keep="last", shards=8, resume=tmp_path / "checkpoint")
    assert bits(again)[0] == bits(train(TEXT, steps=step + 5, keep="last", shards=8))[0]


@needs_mpi
@pytest.mark.skipif(shutil.which("ps") is None, reason="needs ps")
@pytest.mark.parametrize("rank", [0, 2])
def test_ctrl_c_of_one_rank_ends_all_after_a_whole_step(mpi, tmp_path, rank):
    def interrupt(ranks):
        numbers = {json.loads((tmp_path / f"{i}.json").read_text().splitlines()[0])["pid"]: i for i in range(3)}
        os.kill(next(pid for pid in ranks if numbers[pid] == rank), signal.SIGINT)

    told, output = mpi(3, LONG, when_saved(tmp_path, interrupt))
    ends = [lines[-1] for lines in told]
    assert ends[0] == ends[1] == ends[2], output
    assert charrnn.storage.model_file.load(tmp_path / "checkpoint").training.position.step == ends[0]["steps"]
    assert ends[0]["bits"] == bits(train(TEXT, steps=ends[0]["steps"], keep="last", shards=8))[0]


@needs_mpi
def test_the_command(tmp_path, text_file):
    path = text_file(TEXT * 3)
    command = [sys.executable, "-m", "charrnn", "train", str(path), "--batch-size", "8", "--steps", "30", "--hidden-size", "9"]

    def run(*words):
        return subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, timeout=60)

    one = run(*command, "--shards", "8", "-o", "one")
    two = run(MPIEXEC, "-n", "2", *command, "--mpi", "-o", "two")
    assert one.returncode == two.returncode == 0, two.stderr
    assert one.stdout.split("30 steps")[0] == two.stdout.split("30 steps")[0]
    assert bits(charrnn.load(tmp_path / "one"))[0] == bits(charrnn.load(tmp_path / "two"))[0]
    wrong = run(MPIEXEC, "-n", "3", *command, "--mpi", "--shards", "2")
    assert wrong.returncode != 0
    assert wrong.stderr.count("charrnn: error: 3 ranks need as many shards, not --shards 2") == 1
    assert wrong.stderr.count("charrnn: error") == 1
    assert "--mpi: standard input is there for one process only" in run(*command[:4], "-", "--mpi").stderr


@needs_mpi
def test_files_with_a_cache_and_models_that_go_on(mpi, text_file):
    text_file(TEXT, "input")
    run = """
model = charrnn.train_file("input", steps=20, comm=comm, cache="cache", **OPTIONS)
model.train_text(TEXT[::-1], steps=20, comm=comm, progress=False)
tell(bits=bits(model)[0])
"""
    told, output = mpi(2, run)
    one = train(TEXT, steps=20, shards=8)
    one.train_text(TEXT[::-1], steps=20, shards=8, progress=False)
    assert [[line["bits"] for line in lines] for lines in told] == [[bits(one)[0]]] * 2, output
