"""Find machine-made domain names: a model of names that people choose scores them as unlikely."""

import random
import string

import charrnn

rng = random.Random(0)
words = """
book shop garden photo music travel food home city news sport green blue river mountain coffee
bread house health school art design cloud data code game video radio bike car sea sun star light
stone wood paper market bank doctor law family kids pet cat dog jazz quick vox zen extra
""".split()


endings = [".com", ".org", ".net"]


def chosen():
    """A name made of words."""
    return "".join(rng.sample(words, rng.choice([1, 2, 2, 3]))) + rng.choice(endings)


def made_up():
    """A name made of random letters."""
    letters = rng.choices(string.ascii_lowercase, k=rng.randint(8, 16))
    return "".join(letters) + rng.choice(endings)


model = charrnn.train_records([chosen() for _ in range(4000)], seed=1)
domains = [chosen() for _ in range(10)] + [made_up() for _ in range(10)]
for score, domain in sorted(zip(model.score_many(domains), domains, strict=True), reverse=True):
    print(f"{score:5.2f} bits per symbol  {domain}")
