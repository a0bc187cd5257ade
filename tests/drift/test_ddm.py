from __future__ import annotations

import numpy as np
import pytest
from river import drift

from streamnet.drift import DDM
from tests.drift.naive import NaiveDDM, positions
from tests.drift.streams import LOSSES, bits, delays, false_alarms, same_changes


def river_positions(values: np.ndarray) -> tuple[list[int], list[bool]]:
    theirs = drift.binary.DDM()
    found, warnings = [], []
    for i, x in enumerate(values):
        theirs.update(float(x))
        found += [i] if theirs.drift_detected else []
        warnings.append(theirs.warning_detected)
    return found, warnings


@pytest.mark.parametrize("name", LOSSES)
def test_changes_are_those_of_the_formula(name: str) -> None:
    values = LOSSES[name][:1500]
    detector = DDM()
    found, changes = positions(NaiveDDM(), values)
    assert detector.update(values).tolist() == found
    same_changes(detector, changes)


@pytest.mark.parametrize("name", LOSSES)
def test_changes_and_warnings_are_rivers(name: str) -> None:
    values = LOSSES[name]
    found, warnings = river_positions(values)
    assert DDM().update(values).tolist() == found
    detector = DDM()
    ours = []
    for x in values:
        detector.update([x])
        ours.append(detector.warning)
    assert ours == warnings


def test_before_the_first_error_river_takes_any_for_a_change() -> None:
    values = np.zeros(400)
    values[[100, 250]] = 1.0
    assert river_positions(values)[0] == positions(NaiveDDM(river=True), values)[0] == [100, 250]
    assert DDM().update(values).tolist() == positions(NaiveDDM(), values)[0] == []


def test_a_stream_that_goes_wrong_for_the_first_time_is_still_noticed() -> None:
    values = np.concatenate([np.zeros(1000), bits(0.3, 1000, 0)])
    found = DDM().update(values)
    assert 1000 <= found[0] < 1050


def test_a_warning_comes_before_the_change() -> None:
    values = np.concatenate([bits(0.1, 1000, 0), bits(0.4, 1000, 1)])
    found = int(DDM().update(values)[0])
    detector = DDM()
    detector.update(values[: found - 5])
    assert detector.warning
    detector.update(values[found - 5 : found + 1])
    assert not detector.warning


def test_levels_are_those_asked_for() -> None:
    values = np.concatenate([bits(0.1, 1000, 0), bits(0.4, 1000, 1)])
    early, late = DDM(drift_threshold=2.5), DDM(drift_threshold=6.0)
    assert early.update(values)[0] < DDM().update(values)[0] < late.update(values)[0]


def test_false_alarms_are_as_frequent_as_known_of_the_method() -> None:
    # Its deviations are those of one comparison, but it compares at every value.
    assert false_alarms(DDM, 0.5, 10_000) <= 0.5
    assert false_alarms(DDM, 0.2, 10_000) <= 1.0
    assert false_alarms(DDM, 0.01, 10_000) <= 3.0
    assert false_alarms(lambda: DDM(drift_threshold=6.0), 0.2, 10_000) <= 0.1


def test_an_abrupt_change_is_noticed_soon() -> None:
    assert np.median(delays(DDM, 0.2, 0.5)) <= 250
    assert np.isfinite(delays(DDM, 0.1, 0.3)).all()
    assert delays(DDM, 0.05, 0.95).max() <= 100


def test_values_are_shares_of_an_error() -> None:
    assert DDM().update(np.full(5000, 1e300)).size == 0
    values = np.concatenate([np.tile([-5.0, 0.4], 500), np.tile([0.4, 80.0], 500)])
    clipped = np.clip(values, 0.0, 1.0)
    found = DDM().update(values)
    assert found.size > 0
    assert found.tolist() == DDM().update(clipped).tolist()
