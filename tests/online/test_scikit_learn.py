"""The estimators in scikit-learn's own tools: copied, tuned, scored, and fitted anew."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.datasets import load_iris, make_classification, make_regression
from sklearn.metrics import accuracy_score, log_loss, r2_score
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from streamnet.errors import ConfigurationError, DataError, StateError
from streamnet.online import OnlineClassifier, OnlineRegressor
from streamnet.online.base import FIT_KEY
from streamnet.randomness import derive_key, permutation
from tests.online.estimators import FEW, flat

X, y = make_classification(600, 6, n_informative=4, n_classes=3, random_state=1)
NAMES = np.array(["c", "a", "b"])[y]
X_NUMBERS, NUMBERS = make_regression(600, 4, random_state=1)
FOLDS = KFold(3)


# ---------------------------------------------------------------------- tools


@pytest.mark.parametrize("scoring", [None, "neg_log_loss", "roc_auc_ovr", "f1_macro"])
def test_cross_validation_scores_each_fold_as_a_manual_loop_does(scoring: str | None) -> None:
    found = cross_val_score(OnlineClassifier(FEW), X, NAMES, scoring=scoring, cv=FOLDS)
    assert found.shape == (3,)
    # Better than by chance: of accuracy and of F1 a third, of the area half.
    chance = {None: 1 / 3, "neg_log_loss": -np.log(3), "roc_auc_ovr": 0.5, "f1_macro": 1 / 3}
    assert (found > chance[scoring]).all()
    if scoring == "neg_log_loss":
        train, test = next(FOLDS.split(X))
        estimator = OnlineClassifier(FEW).fit(X[train], NAMES[train])
        shares = estimator.predict_proba(X[test])
        assert found[0] == -log_loss(NAMES[test], shares, labels=["a", "b", "c"])


def test_folds_of_a_regressor_are_scored_in_other_processes_to_the_same_bits() -> None:
    alone, spread = (
        cross_val_score(OnlineRegressor(FEW), X_NUMBERS, NUMBERS, cv=FOLDS, n_jobs=jobs)
        for jobs in (None, 2)
    )
    assert alone.tolist() == spread.tolist()
    assert (alone > 0.5).all()


def test_a_search_tries_settings_and_keeps_the_best_fitted_on_all() -> None:
    search = GridSearchCV(OnlineClassifier(FEW), {"seed": [1, 2], "serve": ["champion"]}, cv=2)
    best = search.fit(X, y).best_estimator_
    assert best.get_params()["serve"] == "champion"
    assert best.get_params() == {**OnlineClassifier(FEW).get_params(), **search.best_params_}
    again = OnlineClassifier(FEW, **search.best_params_).fit(X, y)
    assert flat(again.export_state()) == flat(best.export_state())


def test_it_is_the_last_step_of_a_pipeline() -> None:
    steps = make_pipeline(StandardScaler(), OnlineClassifier(FEW)).fit(X, NAMES)
    assert steps.score(X, NAMES) == accuracy_score(NAMES, steps.predict(X)) > 0.6
    assert steps.classes_.tolist() == ["a", "b", "c"]


@pytest.mark.parametrize("kind", [OnlineClassifier, OnlineRegressor])
def test_an_estimator_that_rejected_all_samples_is_not_fitted(kind: type[Any]) -> None:
    estimator = kind(FEW)
    with pytest.raises(DataError, match="x"):
        estimator.learn_one({"x": [1]}, 1)
    with pytest.raises(ValueError, match="not fitted"):
        check_is_fitted(estimator)


@pytest.mark.parametrize("kind", [OnlineClassifier, OnlineRegressor])
def test_estimator_type_and_fitted_state_are_reported(kind: type[Any]) -> None:
    estimator = kind(FEW)
    assert (is_classifier(estimator), is_regressor(estimator)) == (
        kind is OnlineClassifier,
        kind is OnlineRegressor,
    )
    with pytest.raises(ValueError, match="not fitted"):
        check_is_fitted(estimator)
    estimator.learn_one({"x": 1.0}, 1)
    check_is_fitted(estimator)


# ------------------------------------------------------------------- settings


def test_a_clone_has_the_very_settings_and_has_learned_nothing() -> None:
    original = OnlineClassifier(list(FEW), seed=7, fading=0.99, kinds=None).fit(X, y)
    copied = clone(original)
    assert copied.get_params() == original.get_params()
    assert copied.classes_.tolist() == []
    assert repr(OnlineRegressor(seed=7, fading=0.99)) == "OnlineRegressor(seed=7, fading=0.99)"


def test_candidates_that_can_be_read_only_once_serve_every_fit() -> None:
    estimator = OnlineClassifier(iter(FEW))  # type: ignore[arg-type]
    first = flat(estimator.fit(X, y).export_state())
    assert flat(estimator.fit(X, y).export_state()) == first


def test_candidates_that_can_be_read_only_once_can_be_set() -> None:
    first = flat(OnlineClassifier(FEW).fit(X, y).export_state())
    before = OnlineClassifier().set_params(candidates=iter(FEW))
    behind = OnlineClassifier().partial_fit(X[:9], y[:9]).set_params(candidates=iter(FEW))
    for estimator in (before, behind):
        assert flat(estimator.fit(X, y).export_state()) == first
        assert flat(estimator.fit(X, y).export_state()) == first


def test_settings_change_before_the_first_sample_or_with_the_next_fit() -> None:
    changed = OnlineClassifier(FEW, seed=1).set_params(seed=2).partial_fit(X, y)
    other = OnlineClassifier(FEW, seed=2).partial_fit(X, y)
    assert flat(changed.export_state()) == flat(other.export_state())
    changed.set_params(seed=3)
    assert flat(changed.export_state()) == flat(other.export_state())
    for taken in (changed, pickle.loads(pickle.dumps(changed)), copy.deepcopy(changed)):
        assert taken.get_params()["seed"] == 3
        assert flat(taken.partial_fit(X[:9], y[:9]).export_state()) == flat(
            copy.deepcopy(other).partial_fit(X[:9], y[:9]).export_state()
        )
        fresh = OnlineClassifier(FEW, seed=3).fit(X, y)
        assert flat(taken.fit(X, y).export_state()) == flat(fresh.export_state())


def test_an_unknown_setting_changes_nothing() -> None:
    estimator = OnlineRegressor(FEW)
    with pytest.raises(ConfigurationError, match="sed is not a known setting"):
        estimator.set_params(sed=1)
    assert estimator.get_params() == OnlineRegressor(FEW).get_params()
    estimator.partial_fit(X_NUMBERS[:50], NUMBERS[:50])


@pytest.mark.parametrize("wrong", [{"fading": 2.0}, {"candidates": 16}])
def test_settings_that_break_a_rule_are_refused_by_fit_which_changes_nothing(
    wrong: dict[str, Any],
) -> None:
    estimator = OnlineRegressor(FEW).fit(X_NUMBERS[:50], NUMBERS[:50])
    before = flat(estimator.export_state())
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        estimator.set_params(**wrong).fit(X_NUMBERS, NUMBERS)
    assert flat(estimator.export_state()) == before


# ------------------------------------------------------------------ fit, score


def test_fit_resets_knows_all_labels_and_shuffles_by_the_seed() -> None:
    estimator = OnlineClassifier(FEW, seed=2).partial_fit(X[:100], ["z"] * 100)
    assert estimator.fit(X, NAMES) is estimator
    assert estimator.classes_.tolist() == ["a", "b", "c"]
    order = permutation(derive_key(2, FIT_KEY), len(X))
    told = OnlineClassifier(FEW, seed=2)
    told.partial_fit(X[order], NAMES[order], classes=["a", "b", "c"])
    assert flat(estimator.export_state()) == flat(told.export_state())


def test_samples_sorted_by_their_label_are_fitted_as_well_as_others() -> None:
    flowers, kinds = load_iris(return_X_y=True)
    assert (np.diff(kinds) >= 0).all()
    assert OnlineClassifier(seed=1).fit(flowers, kinds).score(flowers, kinds) > 0.9


def test_invalid_data_are_rejected_before_fit_resets_anything() -> None:
    estimator = OnlineClassifier(FEW).fit(X, y)
    before = flat(estimator.export_state())
    with pytest.raises(DataError, match="600 samples, but y has 599"):
        estimator.fit(X, y[1:])
    assert flat(estimator.export_state()) == before


def test_labels_of_several_types_are_fitted_in_their_own_order() -> None:
    labels = [1, "b", 2.5] * 200
    assert OnlineClassifier(FEW).fit(X, labels).classes_.tolist() == [1, "b", 2.5]


def test_labels_that_numpy_can_not_compare_are_fitted_in_their_own_order() -> None:
    labels = [2**2000, np.float64(1.5)] * 20
    assert OnlineClassifier(FEW).fit(X[:40], labels).classes_.tolist() == [2**2000, 1.5]


def test_a_missing_label_is_refused_with_its_sample() -> None:
    with pytest.raises(DataError, match="sample 2: the target is missing"):
        OnlineClassifier(FEW).fit(X[:3], ["a", "b", None])


def test_classes_are_known_before_their_samples_and_others_may_come() -> None:
    estimator = OnlineClassifier(FEW).partial_fit(X[:5], ["b"] * 5, classes=["d", "b"])
    assert estimator.predict_proba(X[:7]).shape == (7, 2)
    estimator.partial_fit(X[5:10], ["a"] * 5, classes=np.array(["b", "d"]))  # as it was before
    assert estimator.classes_.tolist() == ["d", "b", "a"]
    assert estimator.model().labels == ("d", "b", "a")
    again = pickle.loads(pickle.dumps(estimator))
    for learner in (estimator, again):
        learner.learn_one({f"f{column}": 0.0 for column in range(6)}, "d")
    assert flat(again.export_state()) == flat(estimator.export_state())


def test_new_classes_cannot_be_declared_once_samples_were_learned() -> None:
    estimator = OnlineClassifier(FEW).partial_fit(X, NAMES)
    before = flat(estimator.export_state())
    with pytest.raises(ConfigurationError, match="classes has 'new', but must have no new label"):
        estimator.partial_fit(X, NAMES, classes=["a", "new"])
    assert flat(estimator.export_state()) == before
    estimator.partial_fit(X, NAMES, classes=["a", "b", "c"])
    assert estimator.classes_.tolist() == ["c", "b", "a"]


def test_fit_continues_from_a_model_with_its_labels_first() -> None:
    start = OnlineClassifier(FEW).partial_fit(X, NAMES).model()
    estimator = OnlineClassifier(start=start)
    with pytest.raises(DataError, match="f0"):
        estimator.fit([{"f0": object()}], ["other"])
    assert estimator.predict_proba(X).shape == (600, 3)
    estimator.fit(X, ["other"] * 600)
    assert estimator.classes_.tolist() == ["c", "b", "a", "other"]
    assert set(estimator.predict(X)) == {"other"}


def test_an_interrupted_fit_leaves_no_wrong_predictions(monkeypatch: pytest.MonkeyPatch) -> None:
    estimator = OnlineClassifier(FEW).fit(X, NAMES)
    before = estimator.predict(X).tolist()
    with monkeypatch.context() as patch:
        patch.setattr("streamnet.online.base.RowReader", None)  # as a signal may break in
        with pytest.raises(TypeError):
            estimator.fit(X, y)
        assert estimator.predict(X).tolist() == before  # nothing has changed
        patch.undo()
        patch.setattr("streamnet.online.OnlineClassifier._note", None)
        with pytest.raises(TypeError):
            estimator.fit(X, y)
    with pytest.raises(StateError, match="was interrupted"):
        estimator.predict(X)
    assert estimator.fit(X, y).classes_.tolist() == [0, 1, 2]


def test_classes_that_are_numbers_are_the_labels_that_equal_them() -> None:
    estimator = OnlineClassifier(FEW).partial_fit(X, y.astype(float), classes=np.arange(3))
    assert estimator.classes_.tolist() == [0, 1, 2]
    assert estimator.classes_.dtype.kind == "i"
    assert estimator.score(X, y) == accuracy_score(y, estimator.predict(X))


@pytest.mark.parametrize(
    ("classes", "most", "message"),
    [
        (["a", None], 1000, r"classes\[1\] can't be a label: the target is missing"),
        (["a", ["b"]], 1000, r"classes\[1\] can't be a label: y has"),
        (["a", "b", "c"], 2, r"classes\[2\] can't be a label: .*all 2 classes"),
    ],
)
def test_classes_that_cannot_be_labels_are_rejected_and_none_is_known(
    classes: list[Any], most: int, message: str
) -> None:
    estimator = OnlineClassifier(FEW, encoder={"max_classes": most})
    with pytest.raises(ConfigurationError, match=message):
        estimator.partial_fit(X, NAMES, classes=classes)
    assert estimator.classes_.tolist() == []


def test_scores_are_those_of_scikit_learn() -> None:
    classifier = OnlineClassifier(FEW).partial_fit(X[:300], NAMES[:300])
    assert classifier.score(X, NAMES) == accuracy_score(NAMES, classifier.predict(X))
    assert classifier.score(X, ["never seen"] * 600) == 0.0
    regressor = OnlineRegressor(FEW).fit(X_NUMBERS, NUMBERS)
    expected = r2_score(NUMBERS, regressor.predict(X_NUMBERS))
    assert regressor.score(X_NUMBERS, NUMBERS) == pytest.approx(expected, rel=1e-12)
    assert regressor.score(X_NUMBERS, np.ones(600)) == 0.0
    constant = OnlineRegressor(FEW).fit(X_NUMBERS, np.zeros(600))
    exact = bool((constant.predict(X_NUMBERS) == 0.0).all())
    assert constant.score(X_NUMBERS, np.zeros(600)) == exact  # of equal targets


@pytest.mark.parametrize("kind", [OnlineClassifier, OnlineRegressor])
def test_no_samples_and_invalid_targets_cannot_be_scored(kind: type[Any]) -> None:
    estimator = kind(FEW).partial_fit([{"x": 1}], [1])
    with pytest.raises(DataError, match="X has no samples"):
        estimator.score([], [])
    with pytest.raises(DataError, match="sample 1: "):
        estimator.score([{"x": 1}, {"x": 2}], [1, object()])
