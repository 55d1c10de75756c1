"""Models as estimators of scikit-learn: a density, an outlier detector and a classifier of strings.

Their parameters are the options of `charrnn.train_records`, from the same table.
"""

import inspect
import math
import numbers
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias, Unpack, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

try:
    from joblib import Parallel, delayed
    from scipy.special import log_softmax
    from sklearn.utils import check_consistent_length, check_random_state, column_or_1d
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted
except ModuleNotFoundError as _error:
    if (_error.name or "").partition(".")[0] in ("joblib", "scipy", "sklearn"):
        _error.add_note("charrnn.sklearn needs scikit-learn: pip install 'charrnn-cython[sklearn]'")
    raise

from .create import train_new, train_records
from .data.dataset import Alphabet, Records, reads_bytes
from .data.vocabulary import AnyText, Vocabulary
from .inference.sampling import BatchControls
from .inference.scoring import OnUnknown
from .model import CharRNN
from .network.config import BY_PRESET, NewOptions
from .util.errors import (
    check_choice,
    check_integer,
    check_number,
    check_sequence,
    check_text,
    hint,
    is_missing,
)
from .util.options import Option, defaults, shows, table
from .util.seeding import permutation

if TYPE_CHECKING:  # scikit-learn has no types

    class BaseEstimator:
        """Has parameters."""

        def get_params(self, deep: bool = True) -> dict[str, Any]:
            """Return the parameters by name."""

        def set_params(self, **params: Any) -> Self:
            """Set parameters."""

        def __sklearn_tags__(self) -> Any: ...

        def __getattr__(self, name: str) -> Any: ...  # a parameter

    class ClassifierMixin:
        """Predicts classes."""

        def score(
            self, X: Iterable[AnyText], y: ArrayLike, sample_weight: ArrayLike | None = None
        ) -> float:
            """Return the accuracy."""

    class DensityMixin:
        """Has a density."""

    class OutlierMixin:
        """Tells outliers from others."""

        def fit_predict(self, X: Iterable[AnyText], y: Any = None) -> NDArray[np.int_]:
            """Fit, then predict the same strings."""

    class TransformerMixin:
        """Makes numbers of strings."""

        def fit_transform(self, X: Iterable[AnyText], y: Any = None) -> NDArray[np.float64]:
            """Fit, then transform the same strings."""

    class ClassNamePrefixFeaturesOutMixin:
        """Calls what it returns by the name of its class."""

else:
    from sklearn.base import (
        BaseEstimator,
        ClassifierMixin,
        ClassNamePrefixFeaturesOutMixin,
        DensityMixin,
        OutlierMixin,
        TransformerMixin,
    )

RandomState = int | np.random.RandomState | None  # as everywhere in scikit-learn
Missing: TypeAlias = Literal["error", "nan"]  # what to do about None, NaN and pandas.NA


class _Parameters(NewOptions, total=False):
    alphabet: Annotated[Alphabet, Option("characters")]
    missing: Annotated[Missing, Option("error")]
    random_state: Annotated[RandomState, Option(0)]


class DensityParameters(_Parameters, total=False):
    """The parameters of `CharRNNDensity`; random_state replaces seed."""

    remember: Annotated[bool, Option(False)]
    on_unknown: Annotated[OnUnknown, Option("surprise")]


class OutlierParameters(_Parameters, total=False):
    """The parameters of `CharRNNOutlierDetector`; random_state replaces seed."""

    on_unknown: Annotated[Literal["surprise", "skip"], Option("surprise")]
    contamination: Annotated[float, Option(0.01, above=0, maximum=0.5)]
    calibration_fraction: Annotated[float, Option(0.1, minimum=0, below=1)]
    total: Annotated[bool, Option(False)]


class ClassifierParameters(_Parameters, total=False):
    """The parameters of `CharRNNClassifier`; several models can't share one checkpoint."""

    on_unknown: Annotated[OnUnknown, Option("skip")]
    priors: Annotated[ArrayLike | None, Option(None)]
    n_jobs: Annotated[int | None, Option(None)]


_QUIET = {**BY_PRESET, "progress": False}  # estimators print nothing unless asked to


class _Estimator(BaseEstimator):
    """What all estimators share: parameters as attributes, and checked texts."""

    def _set(self, parameters: dict[str, Any]) -> None:
        """Make attributes of the parameters in the signature, given or not."""
        shown = inspect.signature(type(self)).parameters
        for name in parameters.keys() - shown.keys():
            meant = hint("random_state" if name == "seed" else name, shown)
            known = f"; the parameters are {', '.join(shown)}"
            raise TypeError(f"there is no parameter {name!r}{meant or known}")
        for name, parameter in shown.items():
            setattr(self, name, parameters.get(name, parameter.default))

    def _options(self) -> NewOptions:
        """Return the options of a training that aren't the default, which a preset may replace."""
        parameters = self.get_params(deep=False)
        default = {**defaults(NewOptions), **BY_PRESET}
        given: Any = {
            name: parameters[name]
            for name in default.keys() & parameters.keys()
            if np.ndim(parameters[name]) or parameters[name] != default[name]
        }
        options: NewOptions = given | {"seed": _seed(self.random_state)}
        return options

    def _texts(self, X: Any) -> list[AnyText]:
        """Return X as a list of str, or of bytes, None if missing; or raise an error."""
        of_bytes = reads_bytes(self.alphabet, None)
        passes = check_choice("missing", self.missing, get_args(Missing)) == "nan"
        if getattr(X, "ndim", 1) != 1:
            given = f"{type(X).__name__} of {X.ndim} dimensions"
            is_frame = hasattr(X, "columns")
            advice = "X[name] is one" if is_frame else "X.ravel() makes a row or column one"
            raise ValueError(f"X must be one column of texts, not {given}: {advice}")
        texts = check_sequence("X", X, "[text] is a sequence of one")
        if not texts:
            raise ValueError("X has 0 texts, and a minimum of 1 is required")
        for i, text in enumerate(texts):
            left_out = passes and is_missing(text)
            texts[i] = None if left_out else check_text(f"X[{i}]", text, of_bytes)
        return texts

    def _bits(
        self, model: CharRNN[Any], texts: list[AnyText], total: bool = True
    ) -> NDArray[np.float64]:
        """Return the bits of each text, its end included, or their mean; NaN if it is missing."""
        known = [text is not None for text in texts]
        bits = np.full(len(texts), np.nan)
        bits[known] = model.score_many(_present(texts), on_unknown=self.on_unknown, total=total)
        return bits

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.two_d_array = True, False
        return tags


class _Surprise(ClassNamePrefixFeaturesOutMixin, TransformerMixin, _Estimator):
    """An estimator with one model, which makes numbers of strings."""

    model_: CharRNN[Any]

    def _train(self, texts: list[AnyText], options: NewOptions, remember: bool = False) -> None:
        self.model_ = train_records(texts, alphabet=self.alphabet, remember=remember, **options)
        self._n_features_out = 1

    def _scored(self, X: Iterable[AnyText], total: bool = True) -> NDArray[np.float64]:
        check_is_fitted(self)
        return self._bits(self.model_, self._texts(X), total)


def _present(texts: list[AnyText]) -> list[AnyText]:
    return [text for text in texts if text is not None]


def _seed(random_state: Any) -> int:
    """Return an integer as it is, so that it means the same as elsewhere; else draw one."""
    if isinstance(random_state, numbers.Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


class CharRNNDensity(DensityMixin, _Surprise):
    """A probability for every string, like `sklearn.neighbors.KernelDensity` for points.

    Parameters
    ----------
    alphabet : {"characters", "bytes"}
        Whether X has str or bytes.
    remember : bool, default False
        Whether ``model_`` keeps an index of the strings, for ``model_.generate_many(novel=True)``.
    on_unknown : {"surprise", "skip", "error"}
        What to do about a character that no training string had: score it as the least likely
        character there, leave it out, or raise ValueError.
    missing : {"error", "nan"}
        What to do about None, NaN and pandas.NA in X: raise TypeError, or ignore them in a fit
        and return NaN for them.
    random_state : int, RandomState instance or None, default 0
        An int is the seed of `charrnn.train_records`; otherwise the seed is drawn from it, or from
        NumPy's global generator.
    **options
        All others are those of `charrnn.train_records`; progress is False by default.

    Attributes
    ----------
    model_ : CharRNN
        The model of records.
    longest_ : int
        Characters of the longest training string.

    Examples
    --------
    >>> from charrnn.sklearn import CharRNNDensity
    >>> density = CharRNNDensity(hidden_size=16, epochs=60).fit(["anna", "hanna", "susanna"] * 20)
    >>> density.score(["anna"]) > density.score(["anne"])
    True
    >>> density.sample(2, random_state=1, temperature=0).tolist()
    ['susanna', 'susanna']
    """

    longest_: int

    @shows(DensityParameters, _QUIET, without=("seed", "comm"))
    def __init__(self, **parameters: Unpack[DensityParameters]) -> None:
        self._set({**parameters})

    def fit(self, X: Iterable[AnyText], y: Any = None) -> Self:
        """Train a model on strings.

        Parameters
        ----------
        X : iterable of str
            A list, a tuple, a Series of pandas or Polars, or a one-dimensional array of strings or
            objects.
        y : ignored
        """
        texts = _present(self._texts(X))
        self._train(texts, self._options(), self.remember)
        self.longest_ = max(map(len, texts))
        return self

    def score_samples(self, X: Iterable[AnyText]) -> NDArray[np.float64]:
        """Return the logarithm of each string's probability, its end included: nats, (len(X),)."""
        return -self._scored(X) * math.log(2)

    def score(self, X: Iterable[AnyText], y: Any = None) -> float:
        """Return the sum of ``score_samples``, which a search over parameters maximizes.

        Missing strings don't count.
        """
        return float(np.nansum(self.score_samples(X)))

    def transform(self, X: Iterable[AnyText]) -> NDArray[np.float64]:
        """Return the bits of each string, its end included, as a column: float64 (len(X), 1)."""
        return self._scored(X)[:, None]

    @shows(BatchControls, without=("seed",))
    def sample(
        self,
        n_samples: int = 1,
        random_state: RandomState = None,
        *,
        max_length: int | None = None,
        **controls: Unpack[BatchControls[Any]],
    ) -> NDArray[np.object_]:
        """Draw strings.

        Parameters
        ----------
        n_samples : int
        random_state : int, RandomState instance or None
            An int is the seed of `charrnn.CharRNN.generate_many`.
        max_length : int, optional
            Where to cut a string that has not ended; by default twice the longest training string.
        **controls
            Those of `charrnn.CharRNN.generate`: temperature, top_p, ...

        Returns
        -------
        ndarray of object (n_samples,)
            Fewer if unique, novel or whole left out too many: controls of
            `charrnn.CharRNN.generate_many`.
        """
        check_is_fitted(self)
        n = check_integer("n_samples", n_samples, 0)
        length = 2 * self.longest_ if max_length is None else max_length
        controls = {"seed": _seed(random_state), **controls}
        found = self.model_.generate_many(n, length, **controls)
        texts = np.empty(len(found), object)
        texts[:] = found
        return texts


class CharRNNOutlierDetector(OutlierMixin, _Surprise):
    """Finds strings that surprise a model of the others, like `sklearn.ensemble.IsolationForest`.

    Parameters
    ----------
    alphabet : {"characters", "bytes"}
        Whether X has str or bytes.
    on_unknown : {"surprise", "skip"}
        What to do about a character that no training string had: score it as the least likely
        character there, or leave it out.
    missing : {"error", "nan"}
        What to do about None, NaN and pandas.NA in X: raise TypeError, or ignore them in a fit
        and return NaN for them; they are not outliers.
    contamination : float, default 0.01
        The share of strings like those of X to call outliers: above 0, at most 0.5. If X is clean,
        this is the rate of false alarms to expect.
    calibration_fraction : float, default 0.1
        The fraction of X, drawn at random, that the model is not trained on: its scores set the
        threshold. It should have more than 1 / contamination strings. With 0, the training strings
        set the threshold, so exactly the share contamination of them are outliers, and a larger
        share of new strings, which surprise the model more.
    total : bool, default False
        Whether to compare the bits of whole strings instead of bits per character.
    random_state : int, RandomState instance or None, default 0
        An int is the seed of `charrnn.train_records`; otherwise the seed is drawn from it, or from
        NumPy's global generator.
    **options
        All others are those of `charrnn.train_records`; progress is False by default.

    Attributes
    ----------
    model_ : CharRNN
        The model of records.
    offset_ : float
        The threshold: a string with a lower score is an outlier.

    Examples
    --------
    >>> from charrnn.sklearn import CharRNNOutlierDetector
    >>> names = ["anna", "hanna", "susanna", "johanna"] * 30
    >>> detector = CharRNNOutlierDetector(hidden_size=16, epochs=40).fit(names)
    >>> detector.predict(["anna", "qx#7"]).tolist()
    [1, -1]
    """

    offset_: float

    @shows(OutlierParameters, _QUIET, without=("seed", "comm"))
    def __init__(self, **parameters: Unpack[OutlierParameters]) -> None:
        self._set({**parameters})

    def fit(self, X: Iterable[AnyText], y: Any = None) -> Self:
        """Train a model on most of the strings; the scores of the others set the threshold.

        Parameters
        ----------
        X : iterable of str
            A list, a tuple, a Series of pandas or Polars, or a one-dimensional array of strings or
            objects. A few outliers among them do little harm.
        y : ignored
        """
        for name in ("on_unknown", "contamination", "calibration_fraction", "total"):
            table(OutlierParameters)[name].check(getattr(self, name))
        texts, options = _present(self._texts(X)), self._options()
        n, fraction = len(texts), self.calibration_fraction
        held_out = max(1, int(n * fraction)) if fraction else 0
        if held_out >= n > 0:
            what = "X has one sample, and a minimum of 2 is required"
            raise ValueError(f"{what} if calibration_fraction is not 0")
        order = permutation(n, options["seed"] or 0)
        self._train([texts[i] for i in order[held_out:]], options)
        judged = [texts[i] for i in order[:held_out]] or texts
        scores = -self._bits(self.model_, judged, self.total)
        self.offset_ = float(np.percentile(scores, 100 * self.contamination))
        return self

    def score_samples(self, X: Iterable[AnyText]) -> NDArray[np.float64]:
        """Return minus the bits per character of each string, low if surprising: (len(X),).

        With total=True, minus the bits of the whole string.
        """
        return -self._scored(X, self.total)

    def decision_function(self, X: Iterable[AnyText]) -> NDArray[np.float64]:
        """Return ``score_samples`` minus the threshold, negative for outliers: (len(X),)."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Iterable[AnyText]) -> NDArray[np.int_]:
        """Return -1 for outliers, 1 for others and for missing strings: (len(X),)."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def transform(self, X: Iterable[AnyText]) -> NDArray[np.float64]:
        """Return the opposite of ``score_samples``, in bits, as a column: float64 (len(X), 1)."""
        return -self.score_samples(X)[:, None]


class CharRNNClassifier(ClassifierMixin, _Estimator):
    """One model of strings for each class; predicts the most probable class of a string.

    Parameters
    ----------
    alphabet : {"characters", "bytes"}
        Whether X has str or bytes. All models know the characters of all classes.
    on_unknown : {"skip", "surprise", "error"}
        What to do about a character that no training string had: leave it out (no class knows it),
        score it as the least likely character of each class there, or raise ValueError.
    missing : {"error", "nan"}
        What to do about None, NaN and pandas.NA in X: raise TypeError, or leave them out in a fit,
        return NaN as their probabilities and predict the class with the largest prior.
    priors : array-like (n_classes,), optional
        The probability of each class before a string is seen, in the order of ``classes_``; by
        default its share of the training strings.
    n_jobs : int, optional
        Models to train at the same time, by joblib; None is 1 unless in a
        `joblib.parallel_config`, -1 all processors. The result is the same.
    random_state : int, RandomState instance or None, default 0
        An int is the seed of each model's `charrnn.train_records`; otherwise the seed is drawn
        from it, or from NumPy's global generator.
    **options
        All others are those of `charrnn.train_records` except checkpoint and resume, for each
        model; progress is False by default. A budget is for one model.

    Attributes
    ----------
    classes_ : ndarray (n_classes,)
    class_prior_ : ndarray (n_classes,)
        The probability of each class.
    models_ : list of CharRNN
        In the order of ``classes_``.

    Notes
    -----
    By Bayes' rule, log p(class | string) = log p(class) + log p(string | class) + constant.

    Examples
    --------
    >>> from charrnn.sklearn import CharRNNClassifier
    >>> names = ["anna", "hanna", "susanna", "bob", "jacob", "rob"] * 20
    >>> classes = ["f", "f", "f", "m", "m", "m"] * 20
    >>> classifier = CharRNNClassifier(hidden_size=16, epochs=40).fit(names, classes)
    >>> classifier.predict(["johanna", "robob"]).tolist()
    ['f', 'm']
    """

    classes_: NDArray[Any]
    class_prior_: NDArray[np.float64]
    models_: list[CharRNN[Any]]

    @shows(ClassifierParameters, _QUIET, without=("seed", "comm", "checkpoint", "resume"))
    def __init__(self, **parameters: Unpack[ClassifierParameters]) -> None:
        self._set({**parameters})

    def fit(self, X: Iterable[AnyText], y: ArrayLike) -> Self:
        """Train a model on the strings of each class.

        Parameters
        ----------
        X : iterable of str
            A list, a tuple, a Series of pandas or Polars, or a one-dimensional array of strings or
            objects.
        y : array-like (len(X),)
            Classes, numbers or strings.
        """
        texts, self.classes_, which = _check_classes(self._texts(X), y)
        self.class_prior_ = _check_priors(self.priors, np.bincount(which))
        if self.alphabet == "bytes":
            vocabulary = Vocabulary.all_bytes(True)
        else:
            vocabulary = Vocabulary.from_text("".join(texts), True)
        options = self._options()
        strings = [
            [texts[i] for i in np.flatnonzero(which == k)] for k in range(len(self.classes_))
        ]
        jobs = (
            delayed(_fit_class)(name, own, vocabulary, options)
            for name, own in zip(self.classes_, strings, strict=True)
        )
        self.models_ = list(Parallel(self.n_jobs)(jobs))
        return self

    def predict_joint_log_proba(self, X: Iterable[AnyText]) -> NDArray[np.float64]:
        """Return log p(class) + log p(string | class) in nats: float64 (len(X), n_classes)."""
        check_is_fitted(self)
        texts = self._texts(X)
        with np.errstate(divide="ignore"):  # a class may have the prior 0
            joint = np.log(self.class_prior_)
        bits = [self._bits(model, texts) for model in self.models_]
        return joint - np.stack(bits, axis=1) * math.log(2)

    def predict_log_proba(self, X: Iterable[AnyText]) -> NDArray[np.float64]:
        """Return the log-probability of each class for each string: float64 (len(X), n_classes)."""
        log_p: NDArray[np.float64] = log_softmax(self.predict_joint_log_proba(X), axis=1)
        return log_p

    def predict_proba(self, X: Iterable[AnyText]) -> NDArray[np.float64]:
        """Return the probability of each class for each string: float64 (len(X), n_classes)."""
        return np.exp(self.predict_log_proba(X))

    def predict(self, X: Iterable[AnyText]) -> NDArray[Any]:
        """Return the most probable class of each string: (len(X),)."""
        joint = self.predict_joint_log_proba(X)
        likelier = np.where(np.isnan(joint), self.class_prior_, joint)
        best: NDArray[Any] = self.classes_[likelier.argmax(axis=1)]
        return best


def _check_classes(
    texts: list[AnyText], y: Any
) -> tuple[list[AnyText], NDArray[Any], NDArray[np.intp]]:
    """Return the texts that are not missing, their classes, and the number of each text's."""
    if y is None:
        raise ValueError("CharRNNClassifier requires y to be passed, but the target y is None")
    check_classification_targets(y)
    y = column_or_1d(y, warn=True)
    check_consistent_length(texts, y)
    present = _present(texts)
    if not present:
        raise ValueError(f"X has {len(texts)} texts, and all are missing")
    return present, *np.unique(y[[text is not None for text in texts]], return_inverse=True)


def _check_priors(priors: Any, counts: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the probability of each class, by default its share; or raise ValueError."""
    if priors is None:
        shares: NDArray[np.float64] = counts / counts.sum()
        return shares
    given = np.array(
        [
            check_number(f"priors[{i}]", prior, minimum=0, maximum=1)
            for i, prior in enumerate(priors if np.ndim(priors) == 1 else [])
        ]
    )
    if len(given) != len(counts) or not math.isclose(given.sum(), 1):
        expected = f"{len(counts)} numbers that sum to 1, one per class"
        raise ValueError(f"priors must be {expected}, not {priors!r}")
    return given


def _fit_class(
    name: Any, strings: list[AnyText], vocabulary: Vocabulary, options: NewOptions
) -> CharRNN[Any]:
    """Return the model of one class, which knows the characters of all."""
    try:
        return train_new(Records.from_strings(strings, known=vocabulary), options)
    except Exception as error:
        error.add_note(f"This was the training of class {name}.")
        raise
