"""Small talk for a game, streamed to the screen character by character."""

import random
import sys
import time

import charrnn

rng = random.Random(0)
who = ["BAKER", "SMITH", "GUARD", "WITCH"]
what = [
    "the bread",
    "the old sword",
    "the north gate",
    "the moon",
    "a wolf",
    "the king",
    "my brother",
]
where = ["by the river", "in the tavern", "behind the mill", "under the bridge"]
lines = [
    lambda: f"I saw {rng.choice(what)} {rng.choice(where)}.",
    lambda: f"Have you heard of {rng.choice(what)}?",
    lambda: f"Leave {rng.choice(what)} alone, stranger.",
    lambda: f"They say {rng.choice(what)} is {rng.choice(where)} at night.",
]
script = "".join(f"{rng.choice(who)}: {rng.choice(lines)()}\n" for _ in range(3000))

model = charrnn.train_text(script, hidden_size=128, epochs=4, seed=1)
delay = 0.02 if sys.stdout.isatty() else 0
for seed, name in enumerate(who):
    print(f"{name}:", end="")
    for char in model.stream(90, prime=f"\n{name}:", temperature=0.7, stop="\n", seed=seed):
        print(char, end="", flush=True)
        time.sleep(delay)
    print()
