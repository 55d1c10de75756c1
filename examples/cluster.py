"""Search for good settings and score many strings on a Dask cluster, here of two processes."""

import dask.dataframe as dd
import joblib
import pandas as pd
from dask.distributed import Client, LocalCluster
from sklearn.model_selection import GridSearchCV, train_test_split

import charrnn
from charrnn.sklearn import CharRNNDensity

GRID = {
    "hidden_size": [16, 32],
    "learning_rate": [0.15, 0.3, 0.5],
    "batch_size": [1, 4],
}  # 12 settings


def main():
    names, rest = train_test_split(charrnn.datasets.names(), train_size=300, random_state=0)
    search = GridSearchCV(CharRNNDensity(preset="tutorial", epochs=30), GRID, cv=2)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster),
    ):
        with joblib.parallel_config(backend="dask"):
            search.fit(names)
        print("best of 12:", search.best_params_)
        model = search.best_estimator_.model_  # 20 kB, sent with each task

        frame = dd.from_pandas(pd.DataFrame({"name": rest}), npartitions=4)
        bits = frame["name"].map_partitions(
            model.score_many, on_unknown="surprise", meta=("name", "float64")
        )
        scored = frame.assign(bits=bits).nlargest(3, "bits").compute()
    print(scored.to_string(index=False, float_format="%.2f"))


if __name__ == "__main__":  # the cluster's processes import this file
    main()
