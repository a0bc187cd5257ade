"""The labels of a classifier: which come back, which are refused, what they are called."""

from __future__ import annotations

from copy import copy
from decimal import Decimal
from math import inf
from pathlib import Path
from pickle import dumps, loads
from typing import Any

import numpy as np
import pytest

from streamnet.errors import ConfigurationError, DataError, ModelFileError
from streamnet.modelfiles import Model
from streamnet.online import OnlineClassifier
from tests.online.estimators import FEW, classifier, flat


@pytest.mark.parametrize("labels", [(0, 1), (True, False), ("a", "b"), (-7, 2**70), (1.5, 2.5)])
def test_the_users_own_labels_come_back(labels: tuple[Any, Any]) -> None:
    estimator = classifier()
    for i in range(200):
        estimator.learn_one({"x": i % 2}, labels[i % 2])
    answer = estimator.predict_one({"x": 1})
    assert (answer, type(answer)) == (labels[1], type(labels[1]))
    assert estimator.classes_.tolist() == list(labels)
    assert [type(name) for name in estimator.predict_proba_one({"x": 0})] == [type(labels[0])] * 2
    assert estimator.model().labels == tuple(str(name).lower() for name in labels)


def test_labels_with_the_same_text_are_one_label_and_the_first_is_predicted() -> None:
    estimator = classifier()
    for one in (1, "1", np.int64(1), " 1 "):
        estimator.learn_one({"x": 0.0}, one)
    assert estimator.classes_.tolist() == [1]


@pytest.mark.parametrize("late", [{"delay": 20}, {"horizon": 2}, {"delay": 7, "serve": "champion"}])
def test_late_labels_are_the_users_own_once_they_are_known(late: dict[str, Any]) -> None:
    whole, single = classifier(**late), classifier(**late)
    targets = [(1, 0, 1.0, "x")[i % 4] for i in range(100)]
    rows = [{"x": float(str(y) == "0")} for y in targets]
    predicted = []
    for i, (row, y) in enumerate(zip(rows, targets, strict=True)):
        predicted.append(single.predict_one(row))
        assert (predicted[-1] is None) == (single.predict_proba_one(row) == {})
        if i == 10:  # while labels wait
            single = loads(dumps(single))
        single.learn_one(row, y)
    assert predicted[: late.get("delay", 2)] == [None] * late.get("delay", 2)
    whole.partial_fit(rows, targets)
    assert whole.classes_.tolist() == single.classes_.tolist()
    assert sorted(map(repr, single.classes_.tolist())) == ["'x'", "0", "1"]
    assert whole.served == single.served
    if "delay" in late:
        scored = 101 - late["delay"]  # whose labels are known before the next sample
        hits = sum(p == y for p, y in zip(predicted[:scored], targets[:scored], strict=True))
        assert single.served["accuracy"] == pytest.approx(hits / scored, abs=1.01 / scored)


def test_numpy_numbers_become_python_numbers() -> None:
    estimator = classifier()
    estimator.learn_one({"x": np.float32(0.5), "n": np.int16(3)}, np.int64(4))
    assert type(estimator.predict_one({"x": 0.5})) is int


def test_labels_of_several_types_are_kept_apart() -> None:
    estimator = classifier().partial_fit([{"x": 0.0}, {"x": 1.0}, {"x": 2.0}], [1, "b", 2.5])
    assert estimator.classes_.tolist() == [1, "b", 2.5]
    assert estimator.predict([{"x": 0.0}]).dtype == object


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("first", [1, 1.0, True, np.bool_(True)])
def test_labels_that_are_equal_are_one_label(first: Any, many: bool) -> None:
    """A column of whole numbers is one of floats in the next batch that lacked a value."""
    estimator, targets = classifier(), [first, 0, 1.0, np.float32(0.0), True, 1, np.int8(0), False]
    rows = [{"x": float(y)} for y in targets]
    if many:
        estimator.partial_fit(rows, targets)
    else:
        for row, target in zip(rows, targets, strict=True):
            estimator.learn_one(row, target)
    for learner in (estimator, copy(estimator).partial_fit(rows, targets[::-1])):
        assert learner.classes_.tolist() == [1, 0]
        assert sum(learner.predict_proba_one({"x": 1.0}).values()) == pytest.approx(1.0)
    assert type(estimator.classes_.tolist()[0]) is type(np.asarray(first).item())


@pytest.mark.parametrize(
    ("targets", "texts"),
    [
        (
            [
                *(np.float32(0.1), Decimal(1), True, np.longdouble(1)),
                *(1, np.float32(0.1), 1.0, 0.1),
            ],
            ("0.1", "1"),
        ),
        (["1", 1, 1.0, "1.0", True], ("1", "1.0")),
        (["1.0", 1, "1", 1.0], ("1.0", "1")),
        ([1.0, "1.0", "1", 1], ("1", "1.0")),
        (["true", 1, 1.0, "x", 0, False, "false"], ("true", "x", "0", "false")),
        ([" 2", 2.0, "2", "-", "1_0", 10], ("2", "-", "1_0", "10")),
    ],
)
def test_the_same_labels_are_equal_one_by_one_and_in_blocks(
    targets: list[Any], texts: tuple[str, ...]
) -> None:
    """What the user gave is not what the encoder calls it, nor always what comes back."""
    rows = [{"x": float(len(str(y)))} for y in targets]
    single, many = classifier(), classifier().partial_fit(rows, targets)
    for row, target in zip(rows, targets, strict=True):
        single = loads(dumps(single))
        single.learn_one(row, target)
    assert flat(single.export_state()) == flat(many.export_state())
    assert many.model().labels == texts


def test_labels_of_a_start_model_match_numbers_of_any_type() -> None:
    taught = classifier().partial_fit([{"x": 0.0}, {"x": 1.0}] * 20, [0, 1] * 20)
    estimator = OnlineClassifier(seed=1, start=taught.model())
    estimator.partial_fit([{"x": 0.0}, {"x": 1.0}, {"x": 1.0}], [0.0, 1.0, True])
    assert estimator.classes_.tolist() == [0, 1]


def test_a_new_label_may_appear_in_the_middle_of_a_block() -> None:
    estimator = classifier()
    estimator.partial_fit([{"x": i} for i in range(50)], ["a"] * 20 + ["b"] * 20 + ["c"] * 10)
    assert estimator.classes_.tolist() == ["a", "b", "c"]
    assert estimator.predict_proba([{"x": 1}]).shape == (1, 3)
    assert estimator.predict_proba([{"x": 1}]).sum() == pytest.approx(1.0)


def test_a_label_beyond_the_maximum_is_rejected() -> None:
    estimator = classifier(encoder={"max_classes": 2})
    estimator.partial_fit([{"x": 0}, {"x": 1}], ["a", "b"])
    with pytest.raises(DataError, match="max_classes"):
        estimator.learn_one({"x": 2}, "c")
    assert estimator.classes_.tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("labels", "good"), [("abcabb", 2), ("ababab", 6), ("aaabbc", 5), ("abc", 2), ("abbbbca", 5)]
)
def test_many_samples_are_learned_up_to_the_maximum_of_labels_as_one_by_one(
    labels: str, good: int
) -> None:
    many, single = (classifier(encoder={"max_classes": 2}) for _ in range(2))
    rows = [{"x": i} for i in range(len(labels))]
    for row, name in zip(rows[:good], labels, strict=False):
        single.learn_one(row, name)
    if good == len(labels):
        many.partial_fit(rows, list(labels))
    else:
        with pytest.raises(DataError, match=f"sample {good}: label 'c' is new"):
            many.partial_fit(rows, list(labels))
        with pytest.raises(DataError, match="label 'c' is new"):
            single.learn_one(rows[good], "c")
    assert flat(many.export_state()["learner"]) == flat(single.export_state()["learner"])


@pytest.mark.parametrize(("wrong", "message"), [(3, "sample 2: label"), (1, "sample 1: column")])
def test_the_first_of_an_extra_label_and_a_wrong_value_is_reported(
    wrong: int, message: str
) -> None:
    estimator = classifier(encoder={"max_classes": 2})
    rows: list[dict[str, Any]] = [{"x": i} for i in range(4)]
    rows[wrong] = {"x": "many"}
    with pytest.raises(DataError, match=message):
        estimator.partial_fit(rows, list("abca"))
    assert estimator.export_state()["learner"]["trainer"]["number"] == min(wrong, 2)


def test_a_label_with_a_lone_surrogate_is_learned_and_predicted() -> None:
    half, printed = "\ud83d", "\\ud83d"
    estimator = classifier()
    for i in range(200):
        estimator.learn_one({"x": i % 2}, (half, "b")[i % 2])
    assert estimator.classes_.tolist() == [half, "b"]
    assert estimator.predict_one({"x": 0}) == half
    assert estimator.model().labels == (printed, "b")
    in_a_block = classifier().partial_fit([{"x": 0}, {"x": 1}], ["b", half])
    assert in_a_block.classes_.tolist() == ["b", half]


@pytest.mark.parametrize("unit", ["D", "s", "us", "ns"])
def test_a_time_as_a_label_is_predicted_as_its_text(unit: str) -> None:
    days = np.array(["2024-01-01", "2024-06-02"], f"M8[{unit}]")
    many = classifier().partial_fit([{"x": 0}, {"x": 1}], days)
    single = classifier()
    for x, day in enumerate(days):
        single.learn_one({"x": x}, day)
    for estimator in (many, single):
        assert estimator.classes_.tolist() == list(estimator.model().labels) == list(map(str, days))


def test_large_integers_are_exact_labels() -> None:
    """No type of numpy holds 2**64 - 1 beside 5, but float64, in which two of them are equal."""
    labels = [2**64 - 1, 2**64 - 2, 5]
    rows = [{"x": i} for i in range(3)]
    classifier = OnlineClassifier(seed=1).partial_fit(rows * 100, labels * 100)
    assert classifier.predict(rows).tolist() == labels
    assert classifier.classes_.tolist() == labels
    nul = OnlineClassifier().partial_fit([{"x": 1}, {"x": 2}], ["a\0", "b"])
    assert nul.classes_.tolist() == ["a\0", "b"]


def test_a_balanced_criterion_moves_predictions_and_not_probabilities() -> None:
    rng = np.random.default_rng(2)
    rare = rng.random(1500) < 0.05
    X = rng.normal(size=(1500, 2)) + 1.2 * rare[:, None]
    y = np.where(rare, "rare", "usual")
    plain, balanced = (
        classifier(criterion=name, drift="none") for name in (None, "balanced_accuracy")
    )
    for estimator in (plain, balanced):
        estimator.partial_fit(X, y)
    probabilities = balanced.predict_proba(X)
    assert np.array_equal(probabilities, plain.predict_proba(X))
    counts = [int((y == name).sum()) + 1 for name in balanced.classes_]
    expected = balanced.classes_[(probabilities / counts).argmax(axis=1)].tolist()
    assert balanced.predict(X).tolist() == balanced.model().predict(X).tolist() == expected
    assert expected.count("rare") > 2 * plain.predict(X).tolist().count("rare")
    assert balanced.score(X, y) == np.mean(np.array(expected) == y)
    sample = {"f0": 1.2, "f1": 1.2}
    shares = balanced.predict_proba_one(sample)
    assert shares == plain.predict_proba_one(sample)
    odds = {label: share / (int((y == label).sum()) + 1) for label, share in shares.items()}
    assert balanced.predict_one(sample) == max(odds, key=odds.__getitem__)


def test_declared_classes_are_known_from_the_start_and_others_refused() -> None:
    estimator = classifier(encoder={"classes": ["up", "down"]})
    assert estimator.classes_.tolist() == ["up", "down"]
    with pytest.raises(DataError, match="label 'SIDEWAYS' is none of the declared classes"):
        estimator.learn_one({"x": 1.0}, "SIDEWAYS")
    estimator.learn_one({"x": 1.0}, "down")
    assert sorted(estimator.predict_proba_one({"x": 1.0})) == ["down", "up"]
    assert loads(dumps(estimator)).classes_.tolist() == ["up", "down"]
    assert estimator.model().labels == ("up", "down")
    X, y = [{"x": i % 2} for i in range(100)], ["up", "down"] * 50
    assert estimator.fit(X, y).classes_.tolist() == ["up", "down"]
    assert estimator.predict([{"x": 1}]).tolist() == ["down"]


def test_labels_that_look_like_missing_values_are_learned_if_told_so() -> None:
    names = ["None", "NA", "?"]
    rows = [{"x": float(i % 3)} for i in range(300)]
    labels = [names[i % 3] for i in range(300)]
    with pytest.raises(DataError, match="'None' stands for a missing value"):
        OnlineClassifier(FEW).fit(rows, labels)
    estimator = OnlineClassifier(FEW, missing=()).fit(rows, labels)
    assert sorted(estimator.classes_) == sorted(names)
    assert estimator.predict([{"x": 0.0}, {"x": 1.0}, {"x": 2.0}]).tolist() == names
    assert estimator.score(rows, labels) == 1.0
    assert loads(dumps(estimator)).score(rows, labels) == 1.0
    for gap in (None, float("nan"), ""):
        with pytest.raises(DataError, match="sample 0: the target is missing"):
            estimator.fit(rows[:1], [gap])
    chosen = OnlineClassifier(FEW, missing="none at all")
    chosen.partial_fit(rows[:4], ["None", "none at all", "NA", "?"])
    assert chosen.classes_.tolist() == ["None", "NA", "?"]
    with pytest.raises(ConfigurationError, match="missing is 3, but must be a list"):
        OnlineClassifier(FEW, missing=3).predict_one({})  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
@pytest.mark.parametrize(
    "labels", [[0, 1], [True, False], [1.5, "b", 3], ["1", "2"], [2**60, -7], ["?", "None"]]
)
def test_labels_keep_their_type_in_model_files_and_where_learning_goes_on(
    labels: list[Any], suffix: str, tmp_path: Path
) -> None:
    rows = [{"x": i % len(labels)} for i in range(60)]
    estimator = OnlineClassifier(FEW, seed=1, missing=())
    estimator.partial_fit(rows, [labels[i % len(labels)] for i in range(60)])
    estimator.model().save(tmp_path / f"m{suffix}")
    model = Model.load(tmp_path / f"m{suffix}")
    for sample in rows[: len(labels)]:
        (predicted,) = model.predict(sample).tolist()
        assert predicted == estimator.predict([sample])[0]
        assert type(predicted) is type(labels[labels.index(predicted)])
    assert list(map(type, model.classes)) == list(map(type, labels))
    assert model.labels == tuple(estimator._learner.encoder.labels)
    again = OnlineClassifier(start=model, missing=())
    again.learn_one(rows[0], labels[0])
    assert list(map(type, again.classes_.tolist())) == list(map(type, labels))


def test_a_model_file_with_too_few_typed_labels_is_damaged(tmp_path: Path) -> None:
    estimator = OnlineClassifier(FEW).fit(
        [{"x": i % 2} for i in range(20)], [i % 2 for i in range(20)]
    )
    document = estimator.model().document()
    with pytest.raises(ModelFileError, match="there are 1 classes, but 2 labels"):
        Model.from_document({**document, "classes": [0]})


def test_an_infinite_label_is_a_text_since_no_file_can_hold_it(tmp_path: Path) -> None:
    labels = [inf if i % 2 else 1 for i in range(20)]
    estimator = OnlineClassifier(FEW).partial_fit([{"x": i % 2} for i in range(20)], labels)
    estimator.model().save(tmp_path / "m.json")
    assert Model.load(tmp_path / "m.json").classes == (1, "inf")
