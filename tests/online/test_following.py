"""Callbacks of an estimator hear what those of a run of the same samples hear."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pickle import dumps, loads
from typing import Any

import anyio
import numpy as np
import pytest
from msgspec.structs import replace
from sklearn.base import clone

from streamnet.errors import ConfigurationError, DataError, StateError
from streamnet.learning.learner import ROUND
from streamnet.online import KeyedClassifier, OnlineClassifier, OnlineRegressor
from streamnet.pipeline import Callback, Champion, Pipeline, Result
from streamnet.reporting.report import Drift
from streamnet.sources import IterableSource
from tests.online.estimators import FEW, classifier, flat
from tests.pipeline.test_callbacks import Notes

SAMPLES = 5 * ROUND + 100
_DRAW = np.random.default_rng(0)
ROWS = [{"x": int(x)} for x in _DRAW.integers(0, 10, SAMPLES)]
NOISE = _DRAW.random(SAMPLES) < 0.5
LABELS = [bool(ROWS[i]["x"] > 4 if i < 2500 else NOISE[i]) for i in range(SAMPLES)]


@pytest.fixture(scope="module")
def heard_in_a_run() -> Notes:
    notes = Notes()
    rows = [{**row, "y": str(label)} for row, label in zip(ROWS, LABELS, strict=True)]
    source = IterableSource(rows, target="y")
    anyio.run(Pipeline(source, candidates=FEW, seed=3, callbacks=[notes]).run)
    return notes


def learn_in_blocks(estimator: OnlineClassifier) -> None:
    for start in range(0, SAMPLES, 700):
        estimator.partial_fit(ROWS[start : start + 700], LABELS[start : start + 700])


def learn_at_once(estimator: OnlineClassifier) -> None:
    estimator.partial_fit(ROWS, LABELS)


def learn_one_by_one(estimator: OnlineClassifier) -> None:
    for row, label in zip(ROWS, LABELS, strict=True):
        estimator.learn_one(row, label)


@pytest.mark.parametrize("learn", [learn_in_blocks, learn_at_once, learn_one_by_one])
def test_what_happens_is_told_as_in_a_run(
    learn: Callable[[OnlineClassifier], None], heard_in_a_run: Notes
) -> None:
    notes, estimator = Notes(), classifier(callbacks=None)
    estimator.set_params(callbacks=[notes])
    learn(estimator)
    assert notes.heard[0][0] == "start"
    assert notes.heard[0][1]["seed"] == 3
    assert notes.heard[0][1]["candidates"] == [one.as_dict() for one in FEW]
    happened = ("round", "improvement", "champion", "drift")
    assert [one for one in notes.heard if one[0] in happened] == [
        one for one in heard_in_a_run.heard if one[0] in happened
    ]
    for kind in happened:
        assert notes.of(kind), kind
    assert not notes.of("end")


def test_callbacks_change_nothing_and_are_no_part_of_the_state() -> None:
    notes = Notes()
    plain, followed = classifier(), classifier(callbacks=[notes])
    for estimator in (plain, followed):
        estimator.partial_fit(ROWS[:1500], LABELS[:1500])
    assert flat(plain.export_state()) == flat(followed.export_state())
    for copy in (deepcopy(followed), loads(dumps(followed))):
        assert copy.get_params()["callbacks"] is None
        assert flat(copy.export_state()) == flat(plain.export_state())
    heard = len(notes.heard)
    copy.partial_fit(ROWS[1500:2500], LABELS[1500:2500])
    assert len(notes.heard) == heard
    copy.set_params(callbacks=[again := Notes()])  # at once, although it has learned
    copy.partial_fit(ROWS[2500:3500], LABELS[2500:3500])
    assert again.heard[0][0] == "start"
    assert again.of("round")[0][0].learned == 3 * ROUND


def test_a_clone_has_callbacks_of_its_own() -> None:
    notes = Notes()
    first = classifier(callbacks=[notes])
    assert first.get_params()["callbacks"] == [notes]
    second = clone(first)
    (own,) = second.get_params()["callbacks"]
    assert own is not notes
    second.partial_fit(ROWS[:ROUND], LABELS[:ROUND])
    assert (len(own.of("round")), len(notes.of("round"))) == (1, 0)


def test_fit_is_a_run_with_an_end() -> None:
    notes = Notes()
    estimator = classifier(callbacks=[notes], missing=()).fit(ROWS[:1500], LABELS[:1500])
    assert notes.heard[-1] == ("end", None)
    result = notes.result
    assert isinstance(result, Result)
    assert result.report["served"]["accuracy"] == estimator.served["accuracy"]
    assert result.report["learned"] == 1500
    assert result.curve.equals(estimator.curve)
    assert result.model.predict(ROWS[:9]).tolist() == estimator.predict(ROWS[:9]).tolist()
    assert str(result.report["settings"]["seed"]) in result._repr_html_()
    estimator.partial_fit(ROWS[:1000], LABELS[:1000])  # begins anew, and has no end
    assert [name for name, _ in notes.heard].count("start") == 2
    assert notes.heard[-1] != ("end", None)
    assert [status.learned for status, _ in notes.of("round")] == [ROUND, 2 * ROUND]
    with pytest.raises(DataError, match="sample 7"):
        estimator.fit([{"x": "b" if i == 7 else 1.0} for i in range(9)], LABELS[:9])
    assert notes.of("error") == [DataError]


def test_a_champion_predicts_labels_of_their_type() -> None:
    champions: list[Champion] = []

    class Keep(Callback):
        def on_champion(self, champion: Champion) -> None:
            champions.append(champion)

    classifier(callbacks=[Keep()]).partial_fit(ROWS, LABELS)
    assert champions
    assert {type(y) for one in champions for y in one.model.predict(ROWS[:9]).tolist()} == {bool}


def test_an_error_of_a_callback_leaves_the_estimator_at_its_last_block() -> None:
    class Full(Callback):
        def on_round(self, status: Any, part: str) -> None:
            raise OSError("the disk is full")

        def on_drift(self, drift: Drift, part: str) -> None:
            raise AssertionError

    plain, estimator = classifier(), classifier(callbacks=[Full()])
    with pytest.raises(OSError, match="disk is full"):
        estimator.partial_fit(ROWS, LABELS)
    plain.partial_fit(ROWS[:ROUND], LABELS[:ROUND])
    assert flat(estimator.export_state()) == flat(plain.export_state())
    estimator.set_params(callbacks=None)
    for one in (estimator, plain):
        one.partial_fit(ROWS[ROUND:3000], LABELS[ROUND:3000])
    assert flat(estimator.export_state()) == flat(plain.export_state())


def test_a_callback_may_look_at_the_estimator() -> None:
    seen: list[tuple[int, float]] = []

    class Look(Callback):
        def on_round(self, status: Any, part: str) -> None:
            seen.append((status.learned, estimator.served["mae"]))

    estimator = OnlineRegressor(FEW, callbacks=[Look()])
    estimator.partial_fit(ROWS[: 2 * ROUND], [float(row["x"]) for row in ROWS[: 2 * ROUND]])
    assert [learned for learned, _ in seen] == [ROUND, 2 * ROUND]
    assert seen[1][1] == estimator.served["mae"]


def test_estimators_with_keys_tell_as_well() -> None:
    notes = Notes()
    estimator = KeyedClassifier(FEW, key="x", callbacks=iter([notes]))  # type: ignore[arg-type]
    estimator.partial_fit(ROWS[:ROUND], LABELS[:ROUND])
    (told,) = notes.of("round")
    assert replace(told[0], learned=0).served == estimator.served["accuracy"]


@pytest.mark.parametrize("wrong", [3, [print], "quiet"])
def test_what_is_no_callback_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"callbacks (is|has) .*streamnet.Callback"):
        OnlineClassifier(callbacks=wrong).predict_one({})


def test_a_broken_estimator_says_so_with_callbacks_too() -> None:
    estimator = classifier(callbacks=[Notes()])
    with pytest.raises(StateError):
        estimator.restore_state({})
    with pytest.raises(StateError, match="interrupted"):
        estimator.learn_one({"x": 1}, True)
