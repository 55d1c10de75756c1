"""Find unusual lines in a log, and see how well that goes.

A detector learns from a log in which nothing is wrong. The classifier beside it, logistic
regression on the TF-IDF of words and pairs of words, has also seen lines of two of the five
kinds of trouble. The log is made up here, of the messages of a server for remote logins. Real logs
have more kinds of messages, and more that is unusual and harmless.
"""

import random

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline

import charrnn
from charrnn.sklearn import CharRNNOutlierDetector

rng = random.Random(0)
people = charrnn.datasets.names()[::25]
usual = """
Accepted publickey for {user} from 10.0.{a}.{b} port {port} ssh2
session opened for user {user} by uid=0
session closed for user {user}
Received disconnect from 10.0.{a}.{b} port {port}: disconnected by user
Failed password for {user} from 10.0.{a}.{b} port {port} ssh2
Starting session: shell on pts/{a} for {user} from 10.0.{a}.{b} port {port}
""".strip().splitlines()
trouble = {
    "stranger": "Failed password for invalid user {odd} from 203.0.{b}.{a} port {port} ssh2",
    "crash": "fatal: privsep_preauth: child {port} died of signal 11",
    "elsewhere": "Accepted publickey for {user} from 198.51.{b}.{a} port {port} ssh2",
    "injection": "session opened for user {user};wget 10.9.{a}.{b}/x by uid=0",
    "guessing": usual[4],  # usual, but for the number: no line by itself tells
}


def line(message):
    return message.format(
        user=rng.choice(people),
        odd=rng.choice(["admin", "oracle", "test", "ubuntu", "postgres"]),
        a=rng.randint(1, 9),
        b=rng.randint(1, 254),
        port=rng.randint(30000, 65000),
    )


def log(n):
    return [line(rng.choices(usual, weights=[6, 6, 6, 5, 1, 4])[0]) for _ in range(n)]


train, new = log(1000), log(1000)
options = {"preset": "tutorial", "batch_size": 4, "epochs": 5}  # enough for a log like this
detector = CharRNNOutlierDetector(contamination=0.01, calibration_fraction=0.3, **options)
detector.fit(train)

seen = [line(trouble[kind]) for kind in ("stranger", "crash") for _ in range(100)]
classifier = make_pipeline(
    TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
    LogisticRegression(C=10, class_weight="balanced"),
).fit(train + seen, [0] * len(train) + [1] * len(seen))
limit = np.quantile(classifier.decision_function(log(1000)), 0.99)

scores = {
    "detector": lambda texts: -detector.decision_function(texts),
    "TF-IDF and LR": lambda texts: classifier.decision_function(texts) - limit,
}
for name, score in scores.items():
    print(f"{name:14} false alarms {(score(new) > 0).mean():.1%}")
    for kind, message in trouble.items():
        lines = [line(message) for _ in range(100)]
        auc = roc_auc_score([0] * len(new) + [1] * len(lines), score(new + lines))
        print(f"  {kind:12} ROC AUC {auc:.3f}, found {(score(lines) > 0).mean():4.0%}")
