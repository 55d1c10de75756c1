"""Guess the origin of names: charrnn's classifier against n-grams with logistic regression.

    pip install scikit-learn faker
    python benchmarks/classes.py [--jobs N]

The names are Faker's (MIT), from faker.providers.person, in languages with Latin letters. Each set
comes twice: as written, and without accents and capitals, which give much of the origin away.
"""

import argparse
import importlib
import time
import unicodedata

import faker
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline

from charrnn.sklearn import CharRNNClassifier

ORIGINS = {
    "first_names": (
        "az_AZ cs_CZ da_DK de_DE en_US es_ES fi_FI fr_BE ga_IE id_ID it_IT nl_NL ro_RO sv_SE tr_TR"
    ).split(),
    "last_names": (
        "de_DE en_US es_ES et_EE fi_FI fr_BE ga_IE hr_HR it_IT nl_NL sk_SK sv_SE zu_ZA"
    ).split(),
}
LIMIT = 500  # names per origin, drawn at random from longer lists


def words(origin, kind):
    """The names of an origin, each once, in order."""
    provider = importlib.import_module(f"faker.providers.person.{origin}").Provider
    lists = [getattr(provider, name, ()) for name in (kind, kind + "_male", kind + "_female")]
    return sorted({name for one in lists if not isinstance(one, property) for name in one})


def plain(name):
    """A name without accents and capitals."""
    return "".join(
        char
        for char in unicodedata.normalize("NFKD", name.lower())
        if not unicodedata.combining(char)
    )


def data(kind, fold):
    """Names and their origins."""
    X, y = [], []
    for origin in ORIGINS[kind]:
        names = words(origin, kind)
        names = np.random.default_rng(0).permutation(names)[:LIMIT].tolist()
        names = sorted({fold(name) for name in names})
        X, y = X + names, y + [origin] * len(names)
    return X, y


def contenders():
    """Classifiers by name."""
    ngrams = {"analyzer": "char", "ngram_range": (1, 4)}
    return {
        "charrnn": CharRNNClassifier(
            hidden_size=64, batch_size=4, epochs=30, patience=6, preset="tutorial"
        ),
        "n-grams 1-4, C=1 (default)": make_pipeline(
            TfidfVectorizer(**ngrams, lowercase=False), LogisticRegression(max_iter=2000)
        ),
        "n-grams 1-4, C=10": make_pipeline(
            TfidfVectorizer(**ngrams, lowercase=False), LogisticRegression(C=10, max_iter=2000)
        ),
    }


def main():
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    print(f"Faker {faker.VERSION}; accuracy, mean and deviation of 5 folds\n")
    print("| names | classifier | accuracy | s |\n|---|---|---|---|")
    for kind in ORIGINS:
        for style, fold in {"as written": str, "plain": plain}.items():
            X, y = data(kind, fold)
            name = f"{len(X):,} {kind.replace('_', ' ')} of {len(set(y))} origins, {style}"
            for contender, classifier in contenders().items():
                began = time.perf_counter()
                scores = cross_val_score(classifier, X, y, cv=folds, n_jobs=arguments.jobs)
                took = time.perf_counter() - began
                accuracy = f"{scores.mean():.3f} ± {scores.std():.3f}"
                print(f"| {name} | {contender} | {accuracy} | {took:.0f} |", flush=True)


if __name__ == "__main__":
    main()
