"""A password meter: how many guesses reach a password, for an attacker who knows people's habits.

The attacker tries strings from the most probable one down, as the model ranks them, or every
string of printable characters, the short ones first: whichever is there sooner. This model knows
a few made-up habits. A meter needs one of passwords that leaked, and even then a large number is
no promise: an attacker who knows more, about habits or about you, needs fewer guesses.
"""

import math
import random

import charrnn

rng = random.Random(0)
words = """
love dragon summer winter monkey sunshine shadow master football flower tiger happy princess star
secret angel
""".split()
endings = ["", "1", "12", "123", "1234", "!", "99", "2024", "2025", "007"]


def habit():
    word = rng.choice(words)
    return (word if rng.random() < 0.6 else word.capitalize()) + rng.choice(endings)


habits = [habit() for _ in range(1500)] + ["qwerty", "password", "letmein"] * 25
model = charrnn.train_records(habits, seed=1)
PRINTABLE = 95  # characters that a password may have


def all_up_to(length):
    """Return how many strings of printable characters are no longer."""
    return float(sum(PRINTABLE**n for n in range(1, length + 1)))


passwords = ["password", "dragon123", "Summer2025", "Angel99!", "angelflower", "nogard321"]
passwords += ["tsqnmvrw", "x7!Kq_zT"]
ranks = model.rank(passwords)
for password, *numbers in zip(passwords, *ranks, strict=True):
    most = all_up_to(len(password))
    guesses, low, high = (min(number, most) for number in numbers)
    about = f"{guesses:,.0f}" if guesses < 1e6 else f"{guesses:.1e}"
    interval = f" ({low:.0e} to {high:.0e})" if low < high else ""
    print(f"{password:12} {math.log2(guesses):4.1f} bits  guess number {about}{interval}")
