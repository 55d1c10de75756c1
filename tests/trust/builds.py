"""The build with bounds checks gives the bits of the one without, whatever the instructions: python tests/trust/builds.py [--runs N].

Models are trained, drawn from and scored in the installed package and in a copy that CHARRNN_DEBUG=1 compiles, in processes of their own.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import time

import copies

TEXT = "to be, or not to be: that is the question: \u2603 " * 20
RECORDS = [TEXT[i : i + 3 + i % 11] for i in range(200)]


def work(steps):
    """Print what is compared: the instruction set, and the SHA-256 of all that is trained, drawn and scored."""
    import charrnn

    found = hashlib.sha256()
    for dtype in ("float32", "float64"):
        for threads, batch_size in ((1, 1), (2, 5)):
            options = {"dtype": dtype, "n_threads": threads, "batch_size": batch_size, "hidden_size": 37, "progress": False}
            deep = {"cell": "lstm", "n_layers": 2, "optimizer": "adam", "dropout": 0.3, "weight_decay": 0.1}
            for model in (
                charrnn.train_text(TEXT, steps=steps // 3, **options, **deep),
                charrnn.train_text(TEXT, steps=steps // 3, cell="gru", optimizer="rmsprop", **options),
                charrnn.train_text(TEXT, steps=steps, **options),
                charrnn.train_records(RECORDS, steps=steps, remember=True, **options),
            ):
                found.update(b"".join(view.tobytes() for view in model.network.weights.views().values()))
                texts = model.generate_many(20, 80, seed=3, top_k=9, top_p=0.95, min_p=0.001, no_repeat=12, temperature=0.9)
                texts += model.generate_many(
                    5, 40, seed=4, unique=True, novel=model.index is not None, prime="to", forbidden="e", min_length=3
                )
                found.update(repr([texts, list(model.stream(30, seed=5, stop="be")), model.beam_search(12, n_best=4)]).encode())
                found.update(
                    model.score_many(RECORDS[1:]).tobytes() + model.log_probs(TEXT[:99]).tobytes() + model.next_probs("to").tobytes()
                )
    print(charrnn.__file__, charrnn.isa, found.hexdigest())


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=300, help="steps of each training")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return work(arguments.runs)
    started, checked = time.perf_counter(), copies.build("debug", CHARRNN_DEBUG="1")
    import charrnn  # as it is installed

    command, found = [sys.executable, __file__, "--worker", "--runs", str(arguments.runs)], {}
    for level in charrnn.network.dispatch.available():
        for name, path in (("release", ""), ("debug", str(checked))):
            environment = os.environ | {"CHARRNN_ISA": level} | ({"PYTHONPATH": path} if path else {})
            file, isa, digest = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.split()
            if isa != level or (str(checked) in file) != bool(path):
                sys.exit(f"{name}, {level}: ran {file}, {isa}")
            print(f"{name}, {level}: {digest}")
            found[name, level] = digest
    differing = [level for level in charrnn.network.dispatch.available() if found["release", level] != found["debug", level]]
    took = time.perf_counter() - started
    print(f"{len(found)} builds x 8 models of {arguments.runs} steps in {took:.0f} s: {len(differing)} instruction sets differ")
    sys.exit(bool(differing))


if __name__ == "__main__":
    main()
