from __future__ import annotations

import numpy as np
import pytest
from river import drift

from streamnet.drift import HDDMA, Direction
from tests.drift.naive import NaiveHDDMA, positions
from tests.drift.streams import LOSSES, bits, delays, drifting, false_alarms, same_changes


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("direction", ["up", "down"])
def test_changes_are_those_of_the_formula(name: str, direction: Direction) -> None:
    values = LOSSES[name][:1500]
    detector = HDDMA(direction=direction)
    found, changes = positions(NaiveHDDMA(up=direction == "up"), values)
    assert detector.update(values).tolist() == found
    same_changes(detector, changes)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("direction", ["up", "both"])
def test_changes_and_warnings_are_rivers(name: str, direction: Direction) -> None:
    theirs = drift.binary.HDDMA(
        drift_confidence=0.01, warning_confidence=0.1, two_sided_test=direction == "both"
    )
    ours = HDDMA(drift_confidence=0.01, warning_confidence=0.1, direction=direction)
    for i, x in enumerate(LOSSES[name]):
        theirs.update(float(x))
        assert ours.update([x]).size == theirs.drift_detected, i
        assert ours.warning == (theirs.warning_detected and not theirs.drift_detected), i


def test_an_interval_scales_the_bound() -> None:
    values = drifting(0)
    expected = HDDMA(direction="both")
    found = expected.update(values).tolist()
    assert len(found) > 2
    detector = HDDMA(direction="both", low=-3.0, high=5.0)
    assert detector.update(8.0 * values - 3.0).tolist() == found
    same_changes(detector, [[c.age, 8 * c.before - 3, 8 * c.after - 3] for c in expected.changes])
    assert HDDMA(direction="both").update(np.where(values > 0, 1e300, -7.0)).tolist() == found


def test_false_alarms_are_few() -> None:
    # The confidence is that of one comparison, but there is one at every value.
    assert false_alarms(HDDMA, 0.05, 10_000) <= 0.02
    assert false_alarms(HDDMA, 0.5, 10_000) <= 0.6
    assert false_alarms(lambda: HDDMA(drift_confidence=1e-5), 0.5, 10_000) <= 0.03


def test_an_abrupt_change_is_noticed_soon() -> None:
    assert np.median(delays(HDDMA, 0.2, 0.5)) <= 100
    assert delays(HDDMA, 0.1, 0.3).max() <= 400
    assert delays(HDDMA, 0.05, 0.95).max() <= 60


def test_one_change_is_noticed_a_few_times_at_most() -> None:
    for seed in range(100):
        detector = HDDMA()
        detector.update(bits(0.1, 2000, seed))
        assert detector.update(bits(0.3, 5000, seed + 1000)).size <= 4


def test_changes_say_how_large_they_were() -> None:
    detector = HDDMA()
    detector.update(np.concatenate([bits(0.1, 5000, 0), bits(0.6, 2000, 1)]))
    (change,) = detector.changes
    assert change.before == pytest.approx(0.1, abs=0.02)
    assert change.after == pytest.approx(0.6, abs=0.15)
    assert abs(change.position - change.age + 1 - 5000) <= 16
