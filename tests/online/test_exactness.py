"""Estimators give the same bits however they are fed, asked, and restored."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from streamnet.errors import StateError
from streamnet.online import OnlineClassifier
from streamnet.settings.keywords import EncoderKeywords
from tests.online.estimators import FEW, KINDS, Estimator, classifier, flat, label, samples


@pytest.mark.parametrize(("make", "target"), KINDS)
def test_one_by_one_and_in_blocks_give_the_same_bits(
    make: Callable[[], Estimator], target: Callable[[dict[str, Any]], Any]
) -> None:
    rows = samples(2300)
    targets = [target(row) for row in rows]
    one, many, mixed = make(), make(), make()
    for row, truth in zip(rows, targets, strict=True):
        one.learn_one(row, truth)
    many.partial_fit(rows, targets)
    for start, stop in ((0, 1), (1, 700), (700, 701), (701, 2300)):
        mixed.partial_fit(rows[start:stop], targets[start:stop])
    assert flat(one.export_state()) == flat(many.export_state()) == flat(mixed.export_state())
    asked = [[estimator.predict_one(row) for row in rows[:50]] for estimator in (one, many, mixed)]
    assert asked[0] == asked[1] == asked[2]
    assert one.predict(rows[:50]).tolist() == many.predict(rows[:50]).tolist()


def test_predicting_in_between_changes_nothing() -> None:
    asked, left_alone = classifier(), classifier()
    for row in samples(1100):
        asked.predict_one(row)
        asked.predict_one({"x": 9.0, "new": "feature", "colour": "unseen"})
        asked.learn_one(row, label(row))
        left_alone.learn_one(row, label(row))
        asked.predict_proba([row, row])
    assert flat(asked.export_state()) == flat(left_alone.export_state())


@pytest.mark.parametrize(("make", "target"), KINDS)
def test_a_state_exported_anywhere_continues_with_the_same_bits(
    make: Callable[[], Estimator], target: Callable[[dict[str, Any]], Any]
) -> None:
    rows = samples(2500)
    whole, first = make(), make()
    for row in rows[:1500]:
        whole.learn_one(row, target(row))
        first.learn_one(row, target(row))
    second = make()
    second.restore_state(first.export_state())
    for row in rows[1500:]:
        whole.learn_one(row, target(row))
        second.learn_one(row, target(row))
    assert flat(whole.export_state()) == flat(second.export_state())
    assert whole.predict(rows).tolist() == second.predict(rows).tolist()


@pytest.mark.parametrize(("make", "target"), KINDS)
def test_a_damaged_state_is_reported_and_leaves_nothing_half_restored(
    make: Callable[[], Estimator], target: Callable[[dict[str, Any]], Any]
) -> None:
    estimator = make()
    for row in samples(60):
        estimator.learn_one(row, target(row))
    state = estimator.export_state()
    learner = {name: part for name, part in state["learner"].items() if name != "serving"}
    for damaged in ({}, {**state, "learner": learner}, {**state, "reader": {}}):
        other = make()
        with pytest.raises(StateError, match="the estimator's state is damaged: KeyError"):
            other.restore_state(damaged)
        with pytest.raises(StateError, match="continue with an earlier copy"):
            other.predict_one(samples(1)[0])


def test_the_order_of_a_samples_features_does_not_matter() -> None:
    straight, turned = classifier(), classifier()
    first = samples(1)[0]
    for estimator in (straight, turned):
        estimator.learn_one(first, "yes")
    for row in samples(400, seed=1):
        straight.learn_one(row, label(row))
        turned.learn_one(dict(reversed(row.items())), label(row))
    assert flat(straight.export_state()) == flat(turned.export_state())


def test_the_same_seed_gives_the_same_and_another_one_does_not() -> None:
    rows = samples(300)
    shares = [
        OnlineClassifier(FEW, seed=seed)
        .partial_fit(rows, [label(r) for r in rows])
        .predict_proba(rows)
        for seed in (5, 5, 6)
    ]
    assert np.array_equal(shares[0], shares[1])
    assert not np.array_equal(shares[0], shares[2])


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
@pytest.mark.parametrize(("make", "target"), KINDS)
def test_a_copied_or_pickled_estimator_continues_with_the_same_bits(
    make: Callable[[], Estimator],
    target: Callable[[dict[str, Any]], Any],
    copied: Callable[[Estimator], Estimator],
) -> None:
    rows = samples(1500)
    one = make()
    one.partial_fit(rows[:1200], [target(row) for row in rows[:1200]])
    before = flat(one.export_state())
    other = copied(one)
    assert one.predict_one(rows[1200]) == other.predict_one(rows[1200])
    assert type(one.predict_one(rows[1200])) is type(other.predict_one(rows[1200]))
    one.partial_fit(rows[1200:], [target(row) for row in rows[1200:]])
    assert flat(other.export_state()) == before
    other.partial_fit(rows[1200:], [target(row) for row in rows[1200:]])
    assert flat(one.export_state()) == flat(other.export_state())


def test_arguments_may_be_iterators_or_changed_afterwards() -> None:
    rows = samples(50)
    targets = [label(row) for row in rows]
    few = FEW.copy()
    encoder: EncoderKeywords = {"max_classes": 7}
    listed = OnlineClassifier(few, encoder=encoder).partial_fit(rows, targets)
    iterated: Any = OnlineClassifier(iter(FEW), encoder={"max_classes": 7})  # type: ignore[arg-type]
    iterated.partial_fit(rows, targets)
    few.clear()
    encoder["max_classes"] = 8
    for estimator in (listed, iterated):
        other = pickle.loads(pickle.dumps(estimator))
        assert flat(other.export_state()) == flat(listed.export_state())
