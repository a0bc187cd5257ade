from __future__ import annotations

import numpy as np
import pytest
from river import drift

from streamnet.drift import HDDMW
from tests.drift.naive import NaiveHDDMW, positions
from tests.drift.streams import LOSSES, bits, delays, drifting, false_alarms, same_changes


def river_positions(values: np.ndarray, **settings: float) -> list[int]:
    theirs = drift.binary.HDDMW(**settings)
    found = []
    for i, x in enumerate(values):
        theirs.update(float(x))
        found += [i] if theirs.drift_detected else []
    return found


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("weight", [0.05, 0.01, 0.3])
def test_changes_are_those_of_the_formula(name: str, weight: float) -> None:
    values = LOSSES[name][:1200]
    detector = HDDMW(weight=weight)
    found, changes = positions(NaiveHDDMW(weight), values)
    assert detector.update(values).tolist() == found
    same_changes(detector, changes)


@pytest.mark.parametrize("name", LOSSES)
def test_river_differs_from_the_paper_in_the_weight_of_the_first_value_only(name: str) -> None:
    values = LOSSES[name][:1200]
    assert positions(NaiveHDDMW(river=True), values)[0] == river_positions(values)


@pytest.mark.parametrize("name", LOSSES)
def test_once_that_weight_has_faded_changes_are_rivers(name: str) -> None:
    # A start of 10 ones keeps the cut point from the first values; its limit is lower afterwards.
    values = np.concatenate([np.ones(10), np.zeros(2000), LOSSES[name]])
    ours, theirs = HDDMW().update(values), river_positions(values)
    assert ours[:1].tolist() == theirs[:1]


def test_the_other_direction_is_that_of_the_negative_values() -> None:
    values = drifting(4)
    down = HDDMW(direction="down")
    up = HDDMW(direction="up", low=-1.0, high=0.0)
    found = down.update(values).tolist()
    assert found == up.update(-values).tolist()
    same_changes(down, [[c.age, -c.before, -c.after] for c in up.changes])
    assert found != []


def test_both_directions_are_noticed_as_by_river() -> None:
    values = np.concatenate([np.zeros(500), np.ones(500), np.zeros(500)])
    found = HDDMW(direction="both").update(values)
    assert (found // 500).tolist() == [1, 2]
    theirs = river_positions(values, two_sided_test=True)
    assert np.abs(found - theirs).max() <= 2
    assert HDDMW().update(values).tolist() == found[:1].tolist()


def test_a_warning_comes_before_the_change() -> None:
    values = np.concatenate([bits(0.1, 1000, 0), bits(0.5, 1000, 1)])
    detector = HDDMW(warning_confidence=0.1)
    warned = []
    for i, x in enumerate(values):
        changed = detector.update([x]).size
        warned += [i] if detector.warning else []
        if changed:
            assert not detector.warning
            break
    assert 1000 <= warned[-1] < i


def test_an_interval_scales_the_bound() -> None:
    values = drifting(0)
    found = HDDMW(direction="both").update(values).tolist()
    detector = HDDMW(direction="both", low=-3.0, high=5.0)
    assert detector.update(8.0 * values - 3.0).tolist() == found
    assert len(found) > 2


def test_false_alarms_are_as_frequent_as_known_of_the_method() -> None:
    # The confidence is that of one comparison, but averages of about 20 values are compared at
    # every value; rates near one half vary most.
    assert false_alarms(HDDMW, 0.05, 10_000) <= 0.02
    assert false_alarms(HDDMW, 0.2, 10_000) <= 1.0
    assert false_alarms(HDDMW, 0.5, 10_000) <= 10.0
    assert false_alarms(lambda: HDDMW(drift_confidence=1e-5), 0.5, 10_000) <= 0.8


def test_an_abrupt_change_is_noticed_soon() -> None:
    assert np.median(delays(HDDMW, 0.2, 0.5)) <= 50
    assert delays(HDDMW, 0.05, 0.95).max() <= 25


def test_the_newest_values_weigh_most() -> None:
    detector = HDDMW(weight=0.25)
    detector.update([0.0, 1.0, 0.0])
    assert detector.mean == pytest.approx(0.25 * 0.75)
