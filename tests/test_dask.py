"""A cluster of two processes searches and scores as one process does: by Dask alone, nothing of
ours between.
"""

import os
import warnings

import pytest

import charrnn
import plain

pytest.importorskip("sklearn")
pytest.importorskip("distributed")
pytest.importorskip("pandas")

import dask.bag
import dask.dataframe as dd
import joblib
import pandas as pd
from distributed import Client, LocalCluster
from sklearn.model_selection import GridSearchCV

from charrnn.sklearn import CharRNNClassifier

NAMES = charrnn.datasets.names()
X, Y = NAMES[:240], [name[-1] in "aeiouy" for name in NAMES[:240]]
MODEL = plain.train_records(NAMES, hidden_size=16, epochs=2)


@pytest.fixture(scope="module")
def client():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own files and sockets
        with (
            LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster) as client,
        ):
            yield client


def test_the_cluster_is_two_other_processes(client):
    assert len({*client.run(os.getpid).values(), os.getpid()}) == 3


def test_a_search_of_twelve_settings_gives_the_numbers_of_one_process(client):
    grid = {"hidden_size": [4, 8, 12], "batch_size": [1, 4], "learning_rate": [0.05, 0.2]}
    search = GridSearchCV(CharRNNClassifier(epochs=3, preset="tutorial"), grid, cv=2, n_jobs=1).fit(
        X, Y
    )
    with joblib.parallel_config(backend="dask"):
        spread = GridSearchCV(CharRNNClassifier(epochs=3, preset="tutorial"), grid, cv=2).fit(X, Y)
    for name, numbers in search.cv_results_.items():
        if "time" not in name:
            assert list(numbers) == list(spread.cv_results_[name]), name
    assert len(search.cv_results_["params"]) == 12
    assert len(set(search.cv_results_["mean_test_score"])) > 1
    assert spread.predict_log_proba(X).tobytes() == search.predict_log_proba(X).tobytes()


def test_models_of_classes_are_trained_on_the_cluster(client):
    here = CharRNNClassifier(hidden_size=8, epochs=3, preset="tutorial").fit(X, Y)
    with joblib.parallel_config(backend="dask"):
        there = CharRNNClassifier(hidden_size=8, epochs=3, preset="tutorial").fit(X, Y)
    assert there.predict_log_proba(X).tobytes() == here.predict_log_proba(X).tobytes()


def test_a_partitioned_column_is_scored_part_by_part(client):
    frame = pd.DataFrame({"name": NAMES}, index=range(100, 100 + len(NAMES)))
    bits = (
        dd.from_pandas(frame, npartitions=5)["name"]
        .map_partitions(MODEL.score_many, meta=("bits", "float64"))
        .compute()
    )
    assert bits.index.equals(frame.index)
    assert bits.tolist() == MODEL.score_many(NAMES).tolist()


def test_a_bag_is_scored_part_by_part(client):
    bits = dask.bag.from_sequence(NAMES, npartitions=5).map_partitions(MODEL.score_many).compute()
    assert bits == MODEL.score_many(NAMES).tolist()
