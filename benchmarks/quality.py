"""How good `train_file` is with its defaults, over seeds: python benchmarks/quality.py TEXT_FILE [number of seeds].

For each seed: the loss on the held-out tenth with frozen weights, the state carried, and the loss of its worst stretch of 5,000
characters when each stretch starts from the zero state; in nats per character.
"""

import statistics
import sys

import charrnn

STRETCH = 5000


def main(path, seeds=10):
    losses = []
    for seed in range(int(seeds)):
        model = charrnn.train_file(path, seed=seed)
        with open(path, encoding="utf-8", newline="") as file:
            text = file.read()
        held_out = text[len(text) - len(text) // 10 :]
        stretches = [held_out[i : i + STRETCH] for i in range(0, len(held_out) - STRETCH + 1, STRETCH)]
        worst = max(-model.log_probs(stretch).mean() for stretch in stretches)
        losses.append(model.history.validation_losses[-1])
        print(f"seed {seed}: held-out loss {losses[-1]:.4f}, worst stretch {worst:.4f}", flush=True)
    print(f"median {statistics.median(losses):.4f}, worst {max(losses):.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
