"""The estimators are what scikit-learn expects, with every option of training as a parameter."""

import inspect
import pickle
import warnings

import numpy as np
import pytest

import charrnn
import plain
from charrnn.network.config import BY_PRESET, NewOptions
from charrnn.util.options import defaults
from charrnn.util.seeding import permutation
from plain import weights

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks
from sklearn.utils.validation import validate_data

from charrnn.sklearn import CharRNNClassifier, CharRNNDensity, CharRNNOutlierDetector

SMALL = {"hidden_size": 8, "epochs": 4, "batch_size": 4}
WOMEN, MEN = (
    ["anna", "hanna", "susanna", "maria", "marianna"],
    ["bob", "jacob", "rob", "robert", "jack"],
)
X, Y = (WOMEN + MEN) * 8, (["f"] * 5 + ["m"] * 5) * 8
KINDS = [CharRNNDensity, CharRNNOutlierDetector, CharRNNClassifier]


ASK = {
    CharRNNDensity: "score_samples",
    CharRNNOutlierDetector: "decision_function",
    CharRNNClassifier: "predict_log_proba",
}


def answer(estimator):
    """All that an estimator says of X."""
    return getattr(estimator, ASK[type(estimator)])(X)


# --------------------------------------------------------------------------------- what it computes


def test_a_density_is_the_model_of_the_records():
    density = CharRNNDensity(**SMALL, random_state=3, preset="tutorial").fit(X)
    model = plain.train_records(X, **SMALL, seed=3)
    assert weights(density.model_) == weights(model)
    nats = [model.log_probs(name).sum() for name in X]
    np.testing.assert_allclose(density.score_samples(X), nats, rtol=1e-12)
    assert density.score(X) == density.score_samples(X).sum()


def test_unknown_characters_cost_or_are_left_out():
    density = CharRNNDensity(**SMALL, preset="tutorial").fit(X)
    surprised, skipped = (
        density.score_samples(["an?na"]),
        density.set_params(on_unknown="skip").score_samples(["an?na"]),
    )
    assert surprised < skipped == density.score_samples(["anna"])
    with pytest.raises(ValueError, match=r"texts\[0\]\[2\] = '\?'"):
        density.set_params(on_unknown="error").score_samples(["an?na"])


def test_a_sample_is_what_the_model_writes():
    density = CharRNNDensity(**SMALL, preset="tutorial").fit(X)
    drawn = density.sample(3, random_state=5, top_k=4)
    assert drawn.dtype == object
    assert drawn.tolist() == density.model_.generate_many(3, 16, seed=5, top_k=4)
    assert [len(text) for text in density.sample(2, max_length=2, forbidden="", min_length=2)] == [
        2,
        2,
    ]
    assert density.score_samples(drawn).shape == (3,)
    with pytest.warns(UserWarning, match="of 50 texts: no others were found"):
        assert len(density.sample(50, 1, unique=True, temperature=0)) < 50
    assert density.sample(0).shape == (0,)
    for wrong, error in {-1: ValueError, "x": TypeError}.items():
        with pytest.raises(error, match="n_samples must be"):
            density.sample(wrong)


def test_a_classifier_is_bayes_rule_on_models_with_one_alphabet():
    classifier = CharRNNClassifier(**SMALL, preset="tutorial").fit(X, Y)
    women, men = classifier.models_
    assert women.vocabulary == men.vocabulary
    assert women.vocabulary.chars == "".join(sorted(set("".join(X))))
    joint = [np.log(0.5) + model.log_probs("rosanna").sum() for model in (women, men)]
    np.testing.assert_allclose(
        classifier.predict_joint_log_proba(["rosanna"])[0], joint, rtol=1e-12
    )
    np.testing.assert_allclose(
        classifier.predict_log_proba(["rosanna"])[0], joint - np.logaddexp(*joint), rtol=1e-9
    )
    np.testing.assert_allclose(classifier.predict_proba(X).sum(axis=1), 1)
    assert classifier.classes_.tolist() == ["f", "m"]
    assert classifier.predict(["anna", "bob"]).tolist() == ["f", "m"]


def test_priors():
    third = CharRNNClassifier(**SMALL, preset="tutorial").fit(WOMEN + MEN * 2, [0] * 5 + [1] * 10)
    np.testing.assert_allclose(third.class_prior_, [1 / 3, 2 / 3])
    sure = CharRNNClassifier(**SMALL, priors=(0, 1), preset="tutorial").fit(X, Y)
    assert sure.predict(X).tolist() == ["m"] * len(X)
    assert sure.predict_proba(["anna"]).tolist() == [[0, 1]]
    for wrong in ((0.5, 0.6), (1,), (0.2, 0.3, 0.5), 3):
        with pytest.raises(
            ValueError, match="priors must be 2 numbers that sum to 1, one per class, not"
        ):
            CharRNNClassifier(**SMALL, priors=wrong, preset="tutorial").fit(X, Y)
    with pytest.raises(ValueError, match=r"priors\[0\] must be a finite number at least 0"):
        CharRNNClassifier(**SMALL, priors=(-1, 2), preset="tutorial").fit(X, Y)


def test_models_side_by_side_are_the_same():
    one, two = (
        CharRNNClassifier(**SMALL, n_jobs=jobs, preset="tutorial").fit(X, Y) for jobs in (None, 2)
    )
    assert answer(one).tobytes() == answer(two).tobytes()


def test_texts_may_be_bytes():
    raw = [name.encode() for name in X]
    options = {**SMALL, "alphabet": "bytes"}
    assert CharRNNDensity(**options, preset="tutorial").fit(raw).sample(1, random_state=0)[0]
    assert CharRNNClassifier(**options, preset="tutorial").fit(raw, Y).predict(
        [b"anna", b"\xff bob"]
    ).shape == (2,)
    with pytest.raises(TypeError, match=r"X\[0\] must be bytes, not str"):
        CharRNNDensity(**options, preset="tutorial").fit(X)


# ----------------------------------------------------------------------------------------- outliers


def test_held_out_scores_set_the_threshold():
    """The model learns the strings by heart: their own scores would call most others outliers."""
    names = charrnn.datasets.names()[::4]
    train, new = names[::2], names[1::2]
    options = {
        "hidden_size": 32,
        "epochs": 60,
        "batch_size": 4,
        "validation_fraction": 0,
        "preset": "tutorial",
        "contamination": 0.1,
    }
    held_out = CharRNNOutlierDetector(**options, calibration_fraction=0.3).fit(train)
    own = CharRNNOutlierDetector(**options, calibration_fraction=0).fit(train)
    alarms = [(detector.predict(new) < 0).mean() for detector in (held_out, own)]
    assert alarms[0] < 0.13 < 0.17 < alarms[1]
    assert (own.predict(train) < 0).mean() == pytest.approx(0.1, abs=0.01)
    assert held_out.predict(["qx#7zz", "anna"]).tolist() == [-1, 1]


def test_a_detector_decides_by_bits():
    detector = CharRNNOutlierDetector(
        **SMALL, preset="tutorial", contamination=0.5, random_state=4
    ).fit(X)
    order = permutation(len(X), 4)
    model = plain.train_records([X[i] for i in order[8:]], **SMALL, seed=4)
    assert weights(detector.model_) == weights(model)
    assert detector.offset_ == np.median([-model.score(X[i]) for i in order[:8]])
    scores = [-model.score(text, on_unknown="surprise") for text in ["anna", "an?na", ""]]
    assert detector.score_samples(["anna", "an?na", ""]).tolist() == scores
    assert (detector.decision_function(X) == detector.score_samples(X) - detector.offset_).all()
    assert (detector.predict(X) == np.where(detector.decision_function(X) < 0, -1, 1)).all()
    total = detector.set_params(total=True).transform(["anna"])
    assert total.tolist() == [[model.score("anna", total=True)]]
    assert detector.set_params(on_unknown="skip").score_samples(
        ["an?na"]
    ) == detector.score_samples(["anna"])


def test_one_text_is_too_few_to_calibrate_with():
    with pytest.raises(
        ValueError,
        match="X has one sample, and a minimum of 2 is required if calibration_fraction is not 0",
    ):
        CharRNNOutlierDetector(**SMALL, preset="tutorial").fit(["anna"])
    one = CharRNNOutlierDetector(**SMALL, preset="tutorial", calibration_fraction=0).fit(["anna"])
    assert one.predict(["anna"]).tolist() == [1]
    assert CharRNNOutlierDetector(**SMALL, preset="tutorial").fit(["anna", "bob"]).predict(
        ["anna"]
    ).shape == (1,)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"contamination": 0}, "contamination must be a finite number above 0 and at most 0.5"),
        ({"contamination": 0.6}, "contamination must be"),
        (
            {"calibration_fraction": 1},
            "calibration_fraction must be a finite number at least 0 and below 1",
        ),
        ({"on_unknown": "error"}, "on_unknown must be 'surprise' or 'skip'"),
    ],
)
def test_a_detectors_own_parameters_are_checked(wrong, message):
    with pytest.raises(ValueError, match=message):
        CharRNNOutlierDetector(**SMALL, **wrong).fit(X)
    with pytest.raises(TypeError, match="total must be True or False"):
        CharRNNOutlierDetector(**SMALL, total="no").fit(X)


# ----------------------------------------------------------------------------------- missing values


HOLES = [None, "anna", float("nan"), "bob"]


@pytest.mark.parametrize("kind", KINDS)
def test_missing_values_pass_through(kind):
    column = [*X, None, float("nan")]
    full = kind(**SMALL, preset="tutorial").fit(X, Y)
    found = kind(**SMALL, preset="tutorial", missing="nan").fit(column, [*Y, "f", "m"])
    assert answer(found).tobytes() == answer(full).tobytes()
    expected, measured = getattr(full, ASK[kind])(["anna", "bob"]), getattr(found, ASK[kind])(HOLES)
    assert measured[1::2].tobytes() == expected.tobytes()
    assert np.isnan(measured[::2]).all()
    with pytest.raises(ValueError, match="missing must be 'error' or 'nan'"):
        kind(**SMALL, missing="skip").fit(X, Y)
    with pytest.raises(ValueError, match=r"all are missing|0 records"):
        found.fit([None, None], ["f", "m"])


def test_pandas_na_passes_through():
    pandas = pytest.importorskip("pandas")
    density = CharRNNDensity(**SMALL, preset="tutorial", missing="nan").fit(
        pandas.Series([*X, pandas.NA], dtype="string")
    )
    assert np.isnan(density.transform(pandas.Series([pandas.NA, "anna"], dtype="string")))[
        :, 0
    ].tolist() == [True, False]
    assert np.isnan(
        density.score_samples(pandas.Series([None, pandas.NaT, pandas.NA], dtype=object))
    ).all()


def test_what_is_said_of_missing_strings():
    options = {**SMALL, "preset": "tutorial", "missing": "nan"}
    density = CharRNNDensity(**options).fit(X)
    assert density.score(HOLES) == density.score(["anna", "bob"])
    assert CharRNNOutlierDetector(**options).fit(X).predict([None, "##"]).tolist() == [1, -1]
    classifier = CharRNNClassifier(**options, priors=[0.4, 0.6]).fit(X, Y)
    assert classifier.predict(HOLES).tolist() == ["m", "f", "m", "m"]
    assert np.isnan(classifier.predict_proba([None])).all()


@pytest.mark.parametrize("kind", [CharRNNDensity, CharRNNOutlierDetector])
def test_bits_are_a_column_for_a_column_transformer(kind):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"name": [*X, None], "age": range(len(X) + 1)})
    columns = ColumnTransformer(
        [("bits", kind(**SMALL, preset="tutorial", missing="nan"), "name")], remainder="passthrough"
    )
    found = columns.set_output(transform="pandas").fit_transform(table)
    assert list(found) == [f"bits__{kind.__name__.lower()}0", "remainder__age"]
    fitted = columns.named_transformers_["bits"]
    per_string = kind is CharRNNDensity
    assert found.iloc[0, 0] == fitted.model_.score(X[0], total=per_string)
    assert np.isnan(found.iloc[-1, 0])


# --------------------------------------------------------------------------------------- parameters


@pytest.mark.parametrize("kind", KINDS)
def test_every_option_of_training_is_a_parameter(kind):
    shown, options = (
        inspect.signature(kind.__init__).parameters,
        {**defaults(NewOptions), **BY_PRESET},
    )
    del options["seed"], options["comm"]  # an estimator has random_state, and trains in one process
    for name in ("checkpoint", "resume") if kind is CharRNNClassifier else ():
        del options[name]
    assert {name: shown[name].default for name in options} == options | {"progress": False}
    assert kind().get_params().keys() == shown.keys() - {"self"}
    assert all(one.kind is one.KEYWORD_ONLY for name, one in shown.items() if name != "self")


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_parameter_is_answered_with_the_likely_one(kind):
    for given, meant in {
        "seed": "random_state",
        "hiden_size": "hidden_size",
        "lr": "learning_rate",
    }.items():
        with pytest.raises(
            TypeError, match=f"there is no parameter '{given}'; did you mean {meant}"
        ):
            kind(**{given: 1})
    with pytest.raises(TypeError, match="there is no parameter 'zzz'; the parameters are"):
        kind(zzz=1)
    for name, value in {
        "hidden_size": 0,
        "alphabet": "letters",
        "preset": np.array(["small", "large"]),
    }.items():
        with pytest.raises(ValueError, match=f"{name} must be"):
            kind(**{name: value}).fit(X, Y)


@pytest.mark.parametrize("kind", KINDS)
def test_clone_pickle_and_repr(kind):
    estimator = kind(**SMALL, random_state=7)
    assert clone(estimator).get_params() == estimator.get_params()
    assert (
        repr(estimator) == f"{kind.__name__}(batch_size=4, epochs=4, hidden_size=8, random_state=7)"
    )
    fitted = estimator.fit(X, Y)
    again = pickle.loads(pickle.dumps(fitted))
    assert answer(again).tobytes() == answer(fitted).tobytes()
    assert not hasattr(clone(fitted), "classes_")


@pytest.mark.parametrize("kind", KINDS)
def test_random_state(kind):
    def fitted(random_state):
        return answer(kind(**SMALL, random_state=random_state).fit(X, Y)).tobytes()

    assert fitted(0) == fitted(np.int64(0)) != fitted(1)
    assert fitted(np.random.RandomState(5)) == fitted(np.random.RandomState(5)) != fitted(0)
    state = np.random.get_state()
    try:
        np.random.seed(3)
        first = fitted(None)
        np.random.seed(3)
        assert fitted(None) == first != fitted(None)
    finally:
        np.random.set_state(state)
    with pytest.raises(ValueError, match="'seven' cannot be used to seed"):
        fitted("seven")


# ------------------------------------------------------------------------------------ what X may be


def series(library):
    return pytest.importorskip(library).Series(X)


COLUMNS = {
    "tuple": lambda: tuple(X),
    "generator": lambda: (name for name in X),
    "array of str": lambda: np.array(X),
    "array of object": lambda: np.array(X, object),
    "pandas": lambda: series("pandas"),
    "pandas of object": lambda: series("pandas").astype(object),
    "polars": lambda: series("polars"),
}


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("kind", KINDS)
def test_any_column_of_texts_will_do(kind, column):
    expected = kind(**SMALL).fit(X, Y)
    found = kind(**SMALL).fit(
        COLUMNS[column](), np.array(Y) if column != "pandas" else series("pandas").str[:0] + Y
    )
    assert answer(found).tobytes() == answer(expected).tobytes()
    ask = getattr(found, ASK[kind])
    assert ask(COLUMNS[column]()).tobytes() == ask(X).tobytes()


WRONG = {
    "text": ("anna", TypeError, "X must be a sequence of str, not one"),
    "number": (3, TypeError, "X must be a sequence of texts, not int"),
    "numbers": ([1, 2], TypeError, r"X\[0\] must be a str, not int"),
    "missing": (["anna", None], TypeError, r"X\[1\] must be a str, not NoneType: a missing value"),
    "nan": (["anna", float("nan")], TypeError, r"X\[1\] must be a str, not float: a missing value"),
    "bytes": ([b"anna"], TypeError, r"X\[0\] must be a str, not bytes"),
    "matrix": (
        np.array([["anna"], ["bob"]]),
        ValueError,
        r"X must be one column .* 2 dimensions: X.ravel\(\)",
    ),
    "empty": ([], ValueError, "X has 0 texts, and a minimum of 1 is required"),
    "set": ({"anna"}, TypeError, "X must be a sequence of texts, not set"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_column_of_texts_is_refused(kind, wrong):
    given, error, message = WRONG[wrong]
    with pytest.raises(error, match=message):
        kind(**SMALL).fit(given, ["f"] * 2)
    fitted = kind(**SMALL).fit(X, Y)
    with pytest.raises(error, match=message):
        getattr(fitted, ASK[kind])(given)


def test_a_data_frame_is_refused():
    frame = pytest.importorskip("pandas").DataFrame({"name": X})
    with pytest.raises(ValueError, match=r"not DataFrame of 2 dimensions: X\[name\] is one"):
        CharRNNDensity(preset="tutorial").fit(frame)


def test_classes_are_checked():
    with pytest.raises(ValueError, match="requires y to be passed, but the target y is None"):
        CharRNNClassifier(preset="tutorial").fit(X, None)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        CharRNNClassifier(preset="tutorial").fit(X, Y[:-1])
    with pytest.raises(ValueError, match="Unknown label type"):
        CharRNNClassifier(preset="tutorial").fit(X, np.linspace(0, 1, len(X)))
    with pytest.raises(ValueError, match="no character in them") as empty:
        CharRNNClassifier(preset="tutorial").fit(["anna", ""], ["f", "m"])
    assert empty.value.__notes__ == ["This was the training of class m."]


# ----------------------------------------------------------------- what scikit-learn does with them


def test_a_search_finds_the_same_in_processes():
    grid = {"hidden_size": [2, 8], "learning_rate": [0.01, 0.3]}
    here, there = (
        GridSearchCV(CharRNNClassifier(**SMALL, preset="tutorial"), grid, cv=2, n_jobs=jobs).fit(
            X, Y
        )
        for jobs in (1, 2)
    )
    assert (
        here.cv_results_["mean_test_score"].tolist()
        == there.cv_results_["mean_test_score"].tolist()
    )
    assert here.best_params_ == there.best_params_
    assert answer(here.best_estimator_).tobytes() == answer(there.best_estimator_).tobytes()
    assert here.best_score_ > 0.9


def test_cross_validation_of_a_density_prefers_what_learns():
    idle, trained = (
        cross_val_score(
            CharRNNDensity(**{**SMALL, "epochs": epochs}, preset="tutorial"), X, cv=3
        ).mean()
        for epochs in (0, 8)
    )
    assert trained > idle + 10


def test_a_pipeline():
    pipeline = make_pipeline(
        FunctionTransformer(lambda texts: [text.lower() for text in texts]),
        CharRNNClassifier(**SMALL, preset="tutorial"),
    )
    assert pipeline.fit([name.upper() for name in X], Y).predict(["ANNA", "bob"]).tolist() == [
        "f",
        "m",
    ]
    assert pipeline.set_params(charrnnclassifier__hidden_size=3)[1].hidden_size == 3


# scikit-learn runs no check on an estimator that says its X is strings, so these have rows of
# numbers for X and make strings of them.


class Rows:
    """Rows of numbers as strings, a letter a number."""

    def fit(self, X, y=None):
        self._resets = True
        return super().fit(X, y)

    def _texts(self, X):
        X = validate_data(self, X, reset=self._resets)
        self._resets = False
        return ["".join(map(chr, row)) for row in np.clip(4 * X + 80, 40, 120).astype(int)]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.two_d_array = False, True
        return tags


class RowsDensity(Rows, CharRNNDensity):
    pass


class RowsClassifier(Rows, CharRNNClassifier):
    pass


class RowsOutlierDetector(Rows, CharRNNOutlierDetector):
    pass


# scikit-learn wants exactly the contamination's share of the training strings to be outliers: that
# holds if these set the threshold.
ESTIMATORS = [
    RowsDensity(**SMALL),
    RowsOutlierDetector(**SMALL, preset="tutorial", calibration_fraction=0),
    RowsClassifier(**{**SMALL, "epochs": 40}),
]


@parametrize_with_checks(ESTIMATORS)
def test_every_check_of_scikit_learn(estimator, check):
    """None is expected to fail; one that needs SCIPY_ARRAY_API=1 before SciPy is imported skips
    itself.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


@pytest.mark.parametrize("kind", KINDS)
def test_scikit_learn_checks_them_as_estimators_of_strings(kind):
    with pytest.warns(Warning, match="Can't test estimator"):
        found = check_estimator(kind(**SMALL))
    assert {one["status"] for one in found} == {"passed"}


def test_without_scikit_learn_the_error_says_what_to_install(run_python):
    program = "import sys; sys.modules['sklearn'] = None; import charrnn.sklearn"
    ran = run_python(program)
    assert "charrnn.sklearn needs scikit-learn: pip install 'charrnn-cython[sklearn]'" in ran.stderr


def test_a_text_is_as_long_as_it_is():
    class Text(str):
        __slots__ = ()

        def __len__(self):
            return 10**9

    density = CharRNNDensity(hidden_size=2, epochs=1, preset="tutorial").fit([Text("anna"), "bob"])
    assert density.longest_ == 4
    assert density.score([Text("anna")]) == density.score(["anna"])
