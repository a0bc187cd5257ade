from __future__ import annotations

import numpy as np
import pytest
from river import drift

from streamnet.drift import Direction, PageHinkley
from tests.drift.naive import NaivePageHinkley, positions
from tests.drift.streams import LOSSES, bits, delays, drifting, false_alarms, same_changes

WARM_UP = 30


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("alpha", [1.0, 0.9999, 0.99])
@pytest.mark.parametrize("direction", ["up", "down"])
def test_changes_are_those_of_the_formula(name: str, alpha: float, direction: Direction) -> None:
    values = LOSSES[name]
    detector = PageHinkley(threshold=8.0, alpha=alpha, direction=direction)
    naive = NaivePageHinkley(0.005, 8.0, alpha, WARM_UP, up=direction == "up")
    found, changes = positions(naive, values[:1500])
    assert detector.update(values[:1500]).tolist() == found
    same_changes(detector, changes)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("direction", ["up", "down", "both"])
@pytest.mark.parametrize("threshold", [5.0, 50.0])
def test_changes_are_rivers(name: str, direction: Direction, threshold: float) -> None:
    values = LOSSES[name]
    theirs = drift.PageHinkley(
        min_instances=WARM_UP + 1, delta=0.01, threshold=threshold, alpha=0.999, mode=direction
    )
    found = []
    for i, x in enumerate(values):
        theirs.update(float(x))
        found += [i] if theirs.drift_detected else []
    ours = PageHinkley(delta=0.01, threshold=threshold, alpha=0.999, direction=direction)
    assert ours.update(values).tolist() == found


def test_only_what_goes_in_the_direction_is_a_change() -> None:
    values = np.repeat([0.5, 0.1, 0.5], 2000)
    noticed = {
        direction: (PageHinkley(direction=direction).update(values) // 2000).tolist()
        for direction in ("up", "down", "both")
    }
    assert noticed == {"up": [2], "down": [1], "both": [1, 2]}


def test_no_change_is_detected_in_the_warm_up() -> None:
    values = np.concatenate([np.zeros(10), np.full(90, 100.0)])
    assert PageHinkley(grace_period=40).update(values)[0] == 40
    assert PageHinkley(grace_period=0).update(values)[0] == 10


def test_units_of_the_values_are_those_of_the_settings() -> None:
    values = drifting(0)
    ours = PageHinkley(delta=8.0, threshold=8192.0)
    found = ours.update(1024.0 * values)
    assert found.tolist() == PageHinkley(delta=8.0 / 1024.0, threshold=8.0).update(values).tolist()
    assert found.size > 0


def test_false_alarms_are_as_rare_as_the_threshold_makes_them() -> None:
    # A sum that falls by delta a value rises by the threshold with probability of about
    # exp(-2 delta threshold / variance).
    assert false_alarms(PageHinkley, 0.01, 10_000) <= 0.01
    assert false_alarms(PageHinkley, 0.2, 10_000) <= 0.3
    assert false_alarms(PageHinkley, 0.5, 10_000) <= 1.0
    assert false_alarms(lambda: PageHinkley(delta=0.05), 0.5, 10_000) <= 0.01


def test_an_abrupt_change_is_noticed_soon() -> None:
    assert np.median(delays(PageHinkley, 0.2, 0.5)) <= 200
    assert delays(PageHinkley, 0.1, 0.3).max() <= 450
    assert delays(PageHinkley, 0.05, 0.95).max() <= 70


def test_one_change_is_noticed_once() -> None:
    for seed in range(100):
        detector = PageHinkley()
        detector.update(bits(0.1, 2000, seed))
        assert detector.update(bits(0.3, 5000, seed + 1000)).size <= 2


def test_changes_say_how_large_they_were() -> None:
    detector = PageHinkley()
    detector.update(np.concatenate([bits(0.1, 5000, 0), bits(0.6, 500, 1)]))
    (change,) = detector.changes
    assert change.before == pytest.approx(0.1, abs=0.02)
    assert change.after == pytest.approx(0.6, abs=0.15)
    assert abs(change.position - change.age + 1 - 5000) <= 16
