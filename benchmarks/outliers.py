"""How well detectors find unusual log lines and domains of malware, in public data.

    pip install scikit-learn
    git clone https://github.com/logpai/loghub
    git clone https://github.com/opendns/public-domain-lists
    git clone https://github.com/baderj/domain_generation_algorithms
    python benchmarks/outliers.py log loghub/HDFS/HDFS_2k.log_structured.csv
    python benchmarks/outliers.py domains public-domain-lists domain_generation_algorithms

A detector learns from what is usual and from nothing else: charrnn, and an isolation forest and a
one-class SVM on the TF-IDF of character n-grams. For domains, logistic regression on the same has
also seen half of the families. The operating point of each is the score that 1 % of other usual
strings exceed.
"""

import csv
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.svm import OneClassSVM

from charrnn.sklearn import CharRNNOutlierDetector

RARE = 10  # lines of a template that no detector learns from
SEEN = ["kraken", "necurs", "nymaim2", "qakbot", "simda", "tinba"]
NEW = [
    "banjori",
    "charbot",
    "chinad",
    "murofet",
    "newgoz",
    "pushdo",
    "qadars",
    "ramnit",
    "suppobox",
]


def tfidf(features):
    """Return a new vectorizer of character n-grams, hashed to so many features."""
    how = {"analyzer": "char", "ngram_range": (1, 4), "norm": None, "alternate_sign": False}
    hashed = HashingVectorizer(n_features=features, **how)
    return make_pipeline(hashed, TfidfTransformer(sublinear_tf=True))  # new n-grams count, too


def detectors(usual, features):
    """Return functions by name that score strings, the unusual ones higher."""

    model = CharRNNOutlierDetector(epochs=8).fit(usual).model_
    forest = make_pipeline(tfidf(features), IsolationForest(random_state=0)).fit(usual)
    svm = make_pipeline(tfidf(features), OneClassSVM(nu=0.01)).fit(usual)
    how = {"on_unknown": "surprise"}
    return {
        "charrnn, mean": lambda texts: model.score_many(texts, **how),
        "charrnn, total": lambda texts: model.score_many(texts, total=True, **how),
        "isolation forest": lambda texts: -forest.decision_function(texts),
        "one-class SVM": lambda texts: -svm.decision_function(texts),
    }


def table(scores, limits, usual, unusual):
    """Print a table of Markdown: ROC AUC, and found at the operating point, of each kind."""
    print("| | " + " | ".join(scores) + " |")
    print("|---" * (len(scores) + 1) + "|")
    values = {name: score(usual) for name, score in scores.items()}
    limit = {name: np.quantile(score(limits), 0.99) for name, score in scores.items()}
    cells = [f"{(values[name] > limit[name]).mean():.1%}" for name in scores]
    print(f"| false alarms among {len(usual):,} | {' | '.join(cells)} |")
    for kind, texts in unusual.items():
        cells = []
        for name, score in scores.items():
            found = score(texts)
            truth = [0] * len(usual) + [1] * len(texts)
            auc = roc_auc_score(truth, np.concatenate([values[name], found]))
            cells.append(f"{auc:.3f}, {(found > limit[name]).mean():.0%}")
        print(f"| {kind}: {len(texts):,} | {' | '.join(cells)} |", flush=True)


def planted(messages, rng):
    """Return changed messages by the kind of change."""

    def typo(message):
        place = rng.choice([i for i, char in enumerate(message) if char.isalpha()])
        letter = "abcdefghijklmnopqrstuvwxyz"[rng.integers(26)]
        return message[:place] + letter + message[place + 1 :]

    def swapped(message):
        words = message.split(" ")
        i, j = rng.choice(len(words), 2, replace=False)
        words[i], words[j] = words[j], words[i]
        return " ".join(words)

    def cut(message):
        return message[: rng.integers(5, max(6, len(message) - 5))]

    kinds = {"planted: two words swapped": swapped, "planted: cut off": cut, "planted: typo": typo}
    return {
        kind: [text for one in messages if (text := change(one)) != one]
        for kind, change in kinds.items()
    }


def log(path):
    """Compare detectors on the messages of a log, with 0 for each digit, in a random order."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = [
            (row["EventId"], re.sub(r"\d", "0", row["Content"])) for row in csv.DictReader(file)
        ]
    rng, times = np.random.default_rng(0), Counter(kind for kind, _ in rows)
    rare = [message for kind, message in rows if times[kind] <= RARE]
    messages = [message for kind, message in rows if times[kind] > RARE]
    messages = [messages[i] for i in rng.permutation(len(messages))]
    fit, limits, usual = messages[:800], messages[800:1200], messages[1200:]
    unusual = {"rare templates": rare, **planted(usual[:200], rng)}
    table(detectors(fit, 1 << 14), limits, usual, unusual)


def names(paths):
    """Return the distinct domains of lists without their last part."""
    words = [
        line.split() for path in paths for line in path.read_text(encoding="utf-8").splitlines()
    ]
    return sorted({word[0].lower().rsplit(".", 1)[0] for word in words if word and "." in word[0]})


def domains(lists, families):
    """Compare detectors on domains: popular ones, and those that programs of malware make."""
    rng = np.random.default_rng(0)
    popular = names([Path(lists, "opendns-top-domains.txt")])
    popular = [popular[i] for i in rng.permutation(len(popular))]
    train, limits, usual = popular[:5000], popular[5000:6000], popular[6000:8000]
    unusual = {}
    for family in SEEN + NEW:
        found = names(sorted(Path(families, family).rglob("*domains*.txt")))
        unusual[family] = [found[i] for i in rng.permutation(len(found))[:500]]
    learned = [name for family in SEEN for name in unusual[family][::2]]
    unusual |= {family: unusual[family][1::2] for family in SEEN}
    classifier = make_pipeline(tfidf(1 << 20), LogisticRegression(C=10))
    classifier.fit(train + learned, [0] * len(train) + [1] * len(learned))
    scores = detectors(train, 1 << 20) | {"TF-IDF and LR": classifier.decision_function}
    kinds = {f"{family}{' (seen by LR)' * (family in SEEN)}": unusual[family] for family in unusual}
    table(scores, limits, usual, kinds)


if __name__ == "__main__":
    {"log": log, "domains": domains}[sys.argv[1]](*sys.argv[2:])
