"""A password meter: how many bits a password surprises a model of people's habits."""

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


model = charrnn.train_records(
    [habit() for _ in range(3000)] + ["qwerty", "password", "letmein"] * 50, seed=1
)
PRINTABLE = 95  # characters that a random password may contain


def strength(password):
    """Return the bits of a password for an attacker who tries habits and random characters."""
    known = set(model.vocabulary.chars)
    rest = "".join(char for char in password if char in known)
    unknown = len(password) - len(rest)
    habit = model.score(rest) * (len(rest) + 1) + unknown * math.log2(PRINTABLE)
    return min(habit, len(password) * math.log2(PRINTABLE))


for password in [
    "dragon123",
    "Summer2025",
    "password",
    "angelflower",
    "nogard321",
    "tsqnmvrw",
    "x7!Kq_zT",
]:
    bits = strength(password)
    print(f"{password:12} {bits:5.1f} bits  {'#' * round(bits / 3)}")
