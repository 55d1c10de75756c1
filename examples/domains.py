"""Find machine-made domain names, and see how well that goes.

A detector learns from names that people chose, and from nothing else. The classifier beside it,
logistic regression on the TF-IDF of character n-grams, has also seen names by two of the four
programs. All names are made up here: of words and first names, or by small programs that work as
families of malware do. Real names are more varied; expect less of both.
"""

import random
import string

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline

import charrnn
from charrnn.sklearn import CharRNNOutlierDetector

rng = random.Random(0)
words = """
book shop garden photo music travel food home city news sport green blue river mountain coffee
bread house health school art design cloud data code game video radio bike car sea sun star light
stone wood paper market bank doctor law family kids pet cat dog jazz quick vox zen extra
""".split()
names = charrnn.datasets.names()
other_words = "above although begin certain during enough follow gentle however instead".split()


def chosen():
    first = rng.choice(names if rng.random() < 0.3 else words)
    return first + "".join(rng.sample(words, rng.choice([0, 1, 1, 2])))


def letters():
    return "".join(rng.choices(string.ascii_lowercase, k=rng.randint(8, 16)))


def hexadecimal():
    return "".join(rng.choices("0123456789abcdef", k=16))


def syllables():
    return "".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(5))


def two_words():
    return "".join(rng.sample(other_words, 2))


programs = [letters, hexadecimal, syllables, two_words]
train, new = ([chosen() for _ in range(n)] for n in (1500, 1000))
detector = CharRNNOutlierDetector(contamination=0.01).fit(train)

seen = [program() for program in programs[:2] for _ in range(750)]
classifier = make_pipeline(
    TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True),
    LogisticRegression(C=10),
).fit(train + seen, [0] * len(train) + [1] * len(seen))
limit = np.quantile(classifier.decision_function([chosen() for _ in range(1000)]), 0.99)

scores = {
    "detector": lambda texts: -detector.decision_function(texts),
    "TF-IDF and LR": lambda texts: classifier.decision_function(texts) - limit,
}
for name, score in scores.items():
    print(f"{name:14} false alarms {(score(new) > 0).mean():.1%}")
    for program in programs:
        made = [program() for _ in range(250)]
        auc = roc_auc_score([0] * len(new) + [1] * len(made), score(new + made))
        print(f"  {program.__name__:12} ROC AUC {auc:.3f}, found {(score(made) > 0).mean():4.0%}")
