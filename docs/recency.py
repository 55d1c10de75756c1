"""Measure how the held-out loss moves within a pass: python docs/recency.py TEXT_FILE.

docs/howto/recency.md has the figures for Tiny Shakespeare.
"""

import sys

import charrnn

text = charrnn.datasets.tiny_shakespeare(*sys.argv[1:2])
for batch_size in (1, 16):
    windows = -(-(int(len(text) * 0.9) - 1) // (25 * batch_size))  # per pass
    print(f"batch_size={batch_size}: {windows} steps a pass")
    for tenths in range(30, 51):
        model = charrnn.train_text(
            text,
            batch_size=batch_size,
            steps=round(windows * tenths / 10),
            keep="last",
            progress=False,
            preset="tutorial",
        )
        print(
            f"{tenths / 10:.1f} passes: {model.history.validation_losses[-1]:.3f} nats", flush=True
        )
