"""The estimators pass scikit-learn's own checks and run in its tools."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import skops.io
from scipy.sparse import coo_array, csc_matrix, csr_array
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification
from sklearn.ensemble import AdaBoostClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.inspection import permutation_importance
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from streamnet.errors import ConfigurationError, DataError, NotReadyError, SchemaError
from streamnet.online import AutoEncoder, OnlineClassifier, OnlineRegressor
from streamnet.settings.candidate import CandidateSettings
from streamnet.sources import sparse
from streamnet.sources.sparse import SparseSamples
from tests.online.estimators import FEW, flat
from tests.reporting.html_text import HtmlText

ONE = [CandidateSettings(hidden=(8,), learning_rate=0.02)]

# A sample of weight 2 is one step of twice the size, not two steps, as in scikit-learn's SGD, which
# fails these two and no others as well.
AS_SGD = dict.fromkeys(
    (
        "check_sample_weight_equivalence_on_dense_data",
        "check_sample_weight_equivalence_on_sparse_data",
    ),
    "samples are learned one after the other",
)


with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)  # estimators do not inherit from BaseEstimator
    every_check: Any = parametrize_with_checks(
        [OnlineClassifier(ONE), OnlineRegressor(ONE), AutoEncoder(2)],
        expected_failed_checks=lambda one: {} if isinstance(one, AutoEncoder) else AS_SGD,
    )


@every_check  # type: ignore[untyped-decorator]
@pytest.mark.filterwarnings("ignore")
def test_an_estimator_passes_a_check_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


# ----------------------------------------------------------------------- sparse matrices


def make_sparse(n: int = 400, width: int = 50, seed: int = 1) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    dense = rng.normal(size=(n, width)) * (rng.random((n, width)) < 0.1)
    return csr_array(dense), (dense[:, :5].sum(axis=1) > 0).astype(int)


@pytest.mark.parametrize("form", [csc_matrix, coo_array, lambda X: X.toarray(), None])
def test_any_sparse_matrix_is_learned_as_its_rows(form: Any) -> None:
    X, y = make_sparse()
    if form is None:  # columns in any order, some in two entries
        values, columns = np.split(X.data, X.indptr[1:-1]), np.split(X.indices, X.indptr[1:-1])
        twice = [np.concatenate([v[::-1] / 2, v[::-1] / 2]) for v in values]
        places = [np.concatenate([c[::-1], c[::-1]]) for c in columns]
        other = csr_array((np.concatenate(twice), np.concatenate(places), X.indptr * 2), X.shape)
    else:
        other = form(X)
    one = OnlineClassifier(FEW).partial_fit(X[:9], y[:9])
    two = copy.deepcopy(one)
    one.partial_fit(X[9:], y[9:])
    two.partial_fit(other.tocsr()[9:] if hasattr(other, "tocsr") else other[9:], y[9:])
    assert flat(one.export_state()) == flat(two.export_state())
    assert np.array_equal(one.predict_proba(X), two.predict_proba(X.toarray()))


def test_rows_of_a_sparse_matrix_are_those_of_scipy() -> None:
    X, _ = make_sparse()
    order = np.random.default_rng(2).permutation(X.shape[0])
    rows = SparseSamples(X).take(order)
    restored = np.zeros(X.shape)
    for i, n in enumerate(rows.count):
        restored[i, rows.index[i, :n]] = rows.value[i, :n]
    assert np.array_equal(restored, X.toarray()[order])


@pytest.mark.parametrize("make", [OnlineClassifier, AutoEncoder])
def test_how_a_sparse_matrix_is_cut_changes_no_bit(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = make_sparse(200)
    states = []
    for cells in (sparse.MAX_CELLS, 40):
        monkeypatch.setattr(sparse, "MAX_CELLS", cells)
        estimator = make(ONE if make is OnlineClassifier else 2).fit(X, y)
        answers = estimator.predict_proba(X) if make is OnlineClassifier else estimator.encode(X)
        states.append((flat(estimator.export_state()), answers.tolist()))
    assert states[0] == states[1]


def test_a_sparse_matrix_is_learned_well_and_refuses_what_is_not_finite() -> None:
    X, y = make_sparse(2000)
    estimator = OnlineClassifier(ONE).fit(X[:1500], y[:1500])
    assert estimator.score(X[1500:], y[1500:]) > 0.85
    assert pickle.loads(pickle.dumps(estimator)).n_features_in_ == 50
    X.data[7] = np.inf
    with pytest.raises(DataError, match=r"sample \d+: column \d+ has inf, which is not finite"):
        estimator.partial_fit(X, y)


def test_words_are_learned_in_a_pipeline() -> None:
    rng = np.random.default_rng(3)
    words = np.array(["good", "bad", "fine", "awful", "day", "night", "rain", "sun"])
    texts = [" ".join(rng.choice(words, 6)) for _ in range(600)]
    kind = [("good" in t) + ("fine" in t) > ("bad" in t) + ("awful" in t) for t in texts]
    steps = make_pipeline(TfidfVectorizer(), OnlineClassifier(ONE)).fit(texts[:500], kind[:500])
    assert steps.score(texts[500:], kind[500:]) > 0.85


# ---------------------------------------------------------------------------------- tools


def test_ensembles_calibration_and_importance_run() -> None:
    X, y = make_classification(
        300, 5, n_informative=2, n_redundant=0, shuffle=False, random_state=1
    )
    boosted = AdaBoostClassifier(OnlineClassifier(ONE), n_estimators=3, random_state=1).fit(X, y)
    assert boosted.score(X, y) > 0.7
    calibrated = CalibratedClassifierCV(OnlineClassifier(ONE), cv=2).fit(X, y)
    assert calibrated.score(X, y) > 0.7
    found = permutation_importance(calibrated, X, y, n_repeats=3, random_state=1)
    assert set(np.argsort(found.importances_mean)[-2:]) <= {0, 1, 2}


@pytest.mark.filterwarnings("ignore")  # of the libraries that they import
def test_shap_explains_predictions_of_a_data_frame() -> None:
    shap = pytest.importorskip("shap")
    draw = np.random.default_rng(1)
    X = pd.DataFrame(draw.normal(size=(300, 3)), columns=["a", "b", "c"])
    classifier = OnlineClassifier(ONE).fit(X, X["a"] > 0)
    regressor = OnlineRegressor(ONE).fit(X, 3.0 * X["a"])
    for model, place in ((classifier, (Ellipsis, 1)), (regressor, Ellipsis)):
        found = shap.Explainer(model, X[:50])(X[:20])
        outputs = model(X[:20])[place]
        assert np.allclose(found.base_values[place] + found.values[place].sum(1), outputs)
        assert np.abs(found.values[place]).mean(0).argmax() == 0


@pytest.mark.filterwarnings("ignore")
def test_mapie_makes_intervals_and_sets() -> None:
    pytest.importorskip("mapie")
    from mapie.classification import SplitConformalClassifier
    from mapie.regression import SplitConformalRegressor

    draw = np.random.default_rng(2)
    X = pd.DataFrame(draw.normal(size=(900, 2)), columns=["a", "b"])
    y = (2.0 * X["a"] + draw.normal(size=900)).to_numpy()
    parts = [slice(0, 300), slice(300, 600), slice(600, 900)]
    (X1, y1), (X2, y2), (X3, y3) = [(X[part], y[part]) for part in parts]
    numbers = SplitConformalRegressor(OnlineRegressor(ONE), 0.9, prefit=False)
    bounds = numbers.fit(X1, y1).conformalize(X2, y2).predict_interval(X3)[1][:, :, 0]
    assert 0.8 < np.mean((bounds[:, 0] <= y3) & (y3 <= bounds[:, 1])) < 0.97
    labels = SplitConformalClassifier(OnlineClassifier(ONE), 0.9, prefit=False)
    sets = labels.fit(X1, y1 > 0).conformalize(X2, y2 > 0).predict_set(X3)[1][:, :, 0]
    assert 0.8 < sets[np.arange(300), (y3 > 0).astype(int)].mean() < 0.97


def test_a_matrix_is_predicted_by_the_order_of_the_columns_with_scikit_learns_warning() -> None:
    X = pl.DataFrame({"b": [float(i % 3) for i in range(60)], "a": [1.0, 2.0] * 30})
    estimator = OnlineClassifier(ONE).fit(X, [i % 3 for i in range(60)])
    with pytest.warns(UserWarning, match="X does not have valid feature names, but OnlineClassif"):
        found = estimator.predict_proba(X.to_numpy())
    assert np.array_equal(found, estimator.predict_proba(X))
    with pytest.raises(SchemaError, match=r"3 columns without names \(f0, f1, f2\), but must have"):
        estimator.predict(np.ones((1, 3)))


def test_frames_may_be_lazy_and_columns_called_by_numbers() -> None:
    class Numbered:
        columns = (0, 1)

        def to_dict(self, orientation: str) -> list[dict[int, float]]:
            return [{0: float(i % 3), 1: 1.0} for i in range(60)]

    frame = pl.DataFrame({"0": [float(i % 3) for i in range(60)], "1": [1.0] * 60})
    y = [i % 3 for i in range(60)]
    given: list[Any] = [frame, frame.lazy(), Numbered()]
    states = [flat(OnlineClassifier(ONE).fit(X, y).export_state()) for X in given]
    assert states[0] == states[1] == states[2]
    assert OnlineClassifier(ONE).fit(frame, y).feature_names_in_.tolist() == ["0", "1"]


def test_codes_may_be_data_frames() -> None:
    X = np.random.default_rng(1).normal(size=(60, 3))
    coder = AutoEncoder(2).set_output(transform="polars")
    frame = pickle.loads(pickle.dumps(coder)).fit_transform(X)
    assert frame.columns == ["autoencoder0", "autoencoder1"]
    assert np.array_equal(frame.to_numpy(), coder.fit(X).encode(X))
    with pytest.raises(ConfigurationError, match="transform is 'arrow', but must be one of"):
        coder.set_output(transform="arrow")


def test_a_coder_that_was_loaded_is_fitted_anew_with_its_settings(tmp_path: Any) -> None:
    X = np.random.default_rng(1).normal(size=(60, 3))
    coder = AutoEncoder(3, seed=5, encoder={"clip": 4.0}).fit(X)
    coder.save(tmp_path / "coder.json")
    loaded = AutoEncoder.load(tmp_path / "coder.json")
    assert np.array_equal(loaded.fit(X[:40]).encode(X), coder.fit(X[:40]).encode(X))


# --------------------------------------------------------------------------------- errors


def test_what_was_not_fitted_says_so_to_both_libraries() -> None:
    for use in (
        OnlineClassifier(ONE).predict,
        OnlineRegressor(ONE).predict,
        AutoEncoder().transform,
    ):
        with pytest.raises(NotFittedError) as caught:
            use([{"x": 1}])
        assert isinstance(caught.value, NotReadyError)
        assert isinstance(pickle.loads(pickle.dumps(caught.value)), NotReadyError)


def test_matrices_have_one_width() -> None:
    estimator = OnlineRegressor(ONE).partial_fit(np.ones((3, 2)), [1.0, 2.0, 3.0])
    for wrong in (np.ones((3, 3)), csr_array(np.ones((3, 1))), [[1.0], [2.0], [3.0]]):
        with pytest.raises(SchemaError, match="features, but OnlineRegressor is expecting 2"):
            estimator.partial_fit(wrong, [1.0, 2.0, 3.0])
    assert not hasattr(estimator, "feature_names_in_")
    assert estimator.fit([{"a": 1}], [1]).feature_names_in_.tolist() == ["a"]


def test_labels_with_fractions_are_refused_by_fit_alone() -> None:
    X = np.ones((3, 2))
    with pytest.raises(DataError, match=r"Unknown label type: continuous. y has 0.5"):
        OnlineClassifier(ONE).fit(X, [0.5, 1.0, 0.5])
    assert OnlineClassifier(ONE).partial_fit(X, [0.5, 1.0, 0.5]).classes_.tolist() == [0.5, 1.0]


# ------------------------------------------------------------------------------ notebooks


def test_notebooks_show_settings_and_scores() -> None:
    estimator = OnlineClassifier(ONE, seed=3, encoder={"scalings": {"<b>&": "rank"}})
    fresh = HtmlText(estimator._repr_html_())
    assert fresh.texts[0] == "OnlineClassifier"
    assert {"candidates", "seed", "3", "encoder", "none yet"} <= set(fresh.texts)
    assert any("<b>&" in text for text in fresh.texts)
    estimator.partial_fit([{"<b>&": i % 2} for i in range(60)], [i % 2 for i in range(60)])
    shown = HtmlText(estimator._repr_html_()).texts
    assert shown[shown.index("samples") + 1] == "60"
    assert shown[shown.index("accuracy") + 1] == f"{estimator.served['accuracy']:.4g}"
    assert str(estimator.leader_board["candidate"][0]) == shown[shown.index("#0")][1:]
    coder = AutoEncoder(2).fit(np.ones((20, 3)))
    assert HtmlText(coder._repr_html_()).texts[-4:] == ["samples", "20", "features", "3"]


@pytest.mark.parametrize(
    "estimator", [OnlineClassifier(ONE, seed=2), OnlineRegressor(ONE), AutoEncoder(2)]
)
def test_skops_stores_an_estimator_by_its_type_and_plain_data(estimator: Any) -> None:
    X = np.random.default_rng(0).normal(size=(300, 3))
    fitted = copy.copy(estimator).fit(X, (X[:, 0] > 0).astype(int))
    stored = skops.io.dumps(fitted)
    kind = f"{type(estimator).__module__}.{type(estimator).__name__}"
    setting = "streamnet.settings.candidate.CandidateSettings"
    trusted = skops.io.get_untrusted_types(data=stored)
    assert set(trusted) <= {kind, setting}
    loaded = skops.io.loads(stored, trusted=trusted)
    assert pickle.dumps(loaded.export_state()) == pickle.dumps(fitted.export_state())
    assert loaded.get_params() == fitted.get_params()
