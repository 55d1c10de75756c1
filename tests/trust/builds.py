"""The build with bounds checks gives the bits of the one without, on every instruction set.

    python tests/trust/builds.py [--runs N]

Models are trained for N steps, drawn from and scored in the installed package and in a copy that
CHARRNN_DEBUG=1 compiles, in processes of their own.
"""

import hashlib
import os
import subprocess
import sys

from common import Findings, build, parser

TEXT = "to be, or not to be: that is the question: \u2603 " * 20
RECORDS = [TEXT[i : i + 3 + i % 11] for i in range(200)]
DEEP = {"cell": "lstm", "n_layers": 2, "optimizer": "adam", "dropout": 0.3, "weight_decay": 0.1}
GRU = {"cell": "gru", "optimizer": "rmsprop"}
MANY = {"top_k": 9, "top_p": 0.95, "min_p": 0.001, "no_repeat": 12, "temperature": 0.9}


def models(steps):
    """Yield models of all kinds."""
    import charrnn

    for dtype in ("float32", "float64"):
        for threads, batch_size in ((1, 1), (2, 5)):
            options = {"dtype": dtype, "n_threads": threads, "batch_size": batch_size}
            options |= {"hidden_size": 37, "progress": False}
            yield charrnn.train_text(TEXT, steps=steps // 3, **options, **DEEP, preset="tutorial")
            yield charrnn.train_text(TEXT, steps=steps // 3, **options, **GRU, preset="tutorial")
            yield charrnn.train_text(TEXT, steps=steps, **options, preset="tutorial")
            yield charrnn.train_records(
                RECORDS, steps=steps, remember=True, **options, preset="tutorial"
            )


def results(model):
    """Yield all that a model gives, as bytes."""
    new = {"unique": True, "novel": model.index is not None, "min_length": 3}
    yield model.network.weights.block.tobytes()
    yield repr(model.generate_many(20, 80, seed=3, **MANY)).encode()
    yield repr(model.generate_many(5, 40, seed=4, prime="to", forbidden="e", **new)).encode()
    yield repr(list(model.stream(30, seed=5, stop="be"))).encode()
    yield repr(model.beam_search(12, n_best=4)).encode()
    yield model.score_many(RECORDS[1:]).tobytes()
    yield model.log_probs(TEXT[:99]).tobytes()
    yield model.next_probs("to").tobytes()


def work(steps):
    """Print what is compared: the instruction set, and the SHA-256 of all results."""
    import charrnn

    found = hashlib.sha256()
    for model in models(steps):
        for result in results(model):
            found.update(result)
    print(charrnn.__file__, charrnn.isa, found.hexdigest())


def digest(name, path, level, runs):
    """Return the SHA-256 that a build gives on an instruction set."""
    variables = {"CHARRNN_ISA": level} | ({"PYTHONPATH": path} if path else {})
    command = [sys.executable, __file__, "--worker", "--runs", str(runs)]
    output = subprocess.check_output(command, env=os.environ | variables, text=True)
    file, isa, found = output.split()
    if isa != level or (path is not None and path not in file):
        sys.exit(f"{name}, {level}: ran {file}, {isa}")
    print(f"{name}, {level}: {found}", flush=True)
    return found


def main():
    arguments, findings = parser(__doc__, 300, worker=True).parse_args(), Findings()
    if arguments.worker:
        return work(arguments.runs)
    debug = str(build("debug", CHARRNN_DEBUG="1"))
    from charrnn.network import dispatch

    for level in dispatch.available():
        release = digest("release", None, level, arguments.runs)
        same = digest("debug", debug, level, arguments.runs) == release
        findings.expect(same, "other bits", level)
    levels = len(dispatch.available())
    findings.end(f"builds: {levels} instruction sets x 16 models of {arguments.runs} steps")


if __name__ == "__main__":
    main()
