"""How many guesses reach passwords that a meter has not seen: charrnn, zxcvbn, and brute force.

    pip install zxcvbn
    python benchmarks/passwords.py

The passwords are the 30,000 most frequent ones that zxcvbn comes with (MIT). A model is trained
on a random 5,000 of them, each once, and zxcvbn gets these in place of its own list, with and
without its lists of words and names. Of the others, 1,000 are guessed. Numbers are estimates:
charrnn's by `model.rank`, zxcvbn's by its rules. Brute force tries strings of lower-case letters
and digits, or of printable characters, the short ones first.
"""

import random
import string

import numpy as np
from zxcvbn import matching, zxcvbn
from zxcvbn.frequency_lists import FREQUENCY_LISTS

import charrnn

LIMITS = 1e4, 1e6, 1e8, 1e10


def split(rng):
    """Return the passwords to learn from, in order of frequency, and those to guess."""
    known = FREQUENCY_LISTS["passwords"]
    order = rng.permutation(len(known))
    return [known[i] for i in sorted(order[:5000])], [known[i] for i in order[5000:6000]]


def brute_force(password):
    """Return the number of strings that are no longer, of the characters of this kind."""
    simple = set(password) <= {*string.ascii_lowercase, *string.digits}
    return float(sum((36 if simple else 95) ** n for n in range(1, len(password) + 1)))


def rules(passwords, lists):
    """Return the guesses that zxcvbn estimates with these lists of words."""
    matching.RANKED_DICTIONARIES.clear()
    matching.add_frequency_lists(lists)
    return np.array([float(zxcvbn(password)["guesses"]) for password in passwords])


def main():
    """Print the share of passwords that so many guesses reach, as a table of Markdown."""
    train, new = split(np.random.default_rng(0))
    random.Random(0).shuffle(shuffled := list(train))
    model = charrnn.train_records(shuffled, seed=0)
    guesses = {
        "charrnn": model.rank(new).guesses,
        "zxcvbn, the same 5,000 alone": rules(new, {"passwords": train}),
        "zxcvbn, and its words and names": rules(new, FREQUENCY_LISTS | {"passwords": train}),
        "brute force": np.array([brute_force(password) for password in new]),
    }
    print("| guesses | " + " | ".join(f"{limit:.0e}" for limit in LIMITS) + " | median |")
    print("|---" * (len(LIMITS) + 2) + "|")
    for name, numbers in guesses.items():
        shares = " | ".join(f"{(numbers <= limit).mean():.0%}" for limit in LIMITS)
        print(f"| {name} | {shares} | {np.median(numbers):.1e} |")


if __name__ == "__main__":
    main()
