"""How long single calls take: a score, probabilities, a short text. A minute.

    python benchmarks/latency.py

The vanilla network of the tutorial (H=100, V=62), and an LSTM of as many units, are hardly trained:
that changes no time. A time is the best of several rounds, in seconds of the processor.
"""

import time

import charrnn
from charrnn.network import dispatch

CALLS, ROUNDS = 500, 15
WORD = "to be or"
TEXT = "".join(map(chr, range(33, 94))) + " to be, or not to be: that is the question" * 30


def microseconds(call):
    """Return the least time of a call."""
    times = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(CALLS):
            call()
        times.append((time.process_time() - began) / CALLS * 1e6)
    return min(times)


def main():
    """Print a table."""
    print(f"Microseconds, kernels {dispatch.isa}, {len(WORD)} characters\n")
    print("| call | rnn | lstm |\n|---|---|---|")
    models = [
        charrnn.train_text(
            TEXT, cell=cell, hidden_size=100, steps=2, progress=False, preset="tutorial"
        )
        for cell in ("rnn", "lstm")
    ]
    calls = {
        "score(word)": lambda model: model.score(WORD),
        "score(word, context=word)": lambda model: model.score(WORD, context=WORD),
        "score_many of 64, each": lambda model: model.score_many([WORD] * 64),
        'next_probs("")': lambda model: model.next_probs(""),
        "next_probs(word)": lambda model: model.next_probs(WORD),
        "generate(8, seed=1)": lambda model: model.generate(8, seed=1),
    }
    for name, call in calls.items():
        times = [microseconds(lambda call=call, model=model: call(model)) for model in models]
        times = [found / (64 if "64" in name else 1) for found in times]
        print(f"| `{name}` | {' | '.join(f'{found:.1f}' for found in times)} |", flush=True)


if __name__ == "__main__":
    main()
