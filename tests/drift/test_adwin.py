from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from river import drift
from river._river_rust.drift import AdaptiveWindowing

from streamnet.drift import ADWIN
from tests.drift.naive import NaiveADWIN, positions
from tests.drift.streams import LOSSES, bits, delays, drifting, false_alarms, same_changes

SETTINGS = [
    {},
    {"delta": 0.1, "clock": 1, "max_buckets": 2, "min_window_length": 1, "grace_period": 1},
    {"clock": 7, "max_buckets": 1, "grace_period": 100},
    {"clock": 16, "span": 0.1},
]


def river_positions(detector: drift.ADWIN, values: NDArray[np.float64]) -> list[int]:
    found = []
    for i, x in enumerate(values):
        detector.update(float(x))
        found += [i] if detector.drift_detected else []
    return found


def window_positions(window: AdaptiveWindowing, values: NDArray[np.float64]) -> list[int]:
    return [i for i, x in enumerate(values) if window.update(float(x))]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("name", ["bits 0", "losses 0", "one step", "constant", "alternating"])
def test_changes_are_those_of_the_paper(name: str, settings: dict) -> None:
    values = LOSSES[name][:1200]
    detector = ADWIN(**settings)
    naive = NaiveADWIN(**settings)
    found, changes = positions(naive, values)
    assert detector.update(values).tolist() == found
    same_changes(detector, changes)
    assert detector.count == len(naive.buckets.values)
    assert detector.mean == pytest.approx(np.mean(naive.buckets.values), abs=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_changes_of_any_stream_are_those_of_the_paper(name: str) -> None:
    values = LOSSES[name]
    assert ADWIN().update(values).tolist() == positions(NaiveADWIN(), values)[0]


@pytest.mark.parametrize("name", LOSSES)
def test_river_notices_the_same_where_parts_of_one_value_are_allowed(name: str) -> None:
    values = LOSSES[name]
    theirs = AdaptiveWindowing(min_window_length=1)
    assert ADWIN(min_window_length=1).update(values).tolist() == window_positions(theirs, values)


@pytest.mark.parametrize("clock", [1, 5])
@pytest.mark.parametrize("max_buckets", [2, 9])
def test_river_notices_the_same_at_any_clock_and_size(clock: int, max_buckets: int) -> None:
    # River 0.26 fails with one bucket of each size.
    values = LOSSES["losses 1"]
    theirs = AdaptiveWindowing(
        delta=0.05, clock=clock, max_buckets=max_buckets, min_window_length=1, grace_period=50
    )
    settings = {"clock": clock, "max_buckets": max_buckets, "grace_period": 50}
    ours = ADWIN(delta=0.05, min_window_length=1, **settings)
    assert ours.update(values).tolist() == window_positions(theirs, values)
    assert ours.count == theirs.get_width()
    assert ours.mean == pytest.approx(theirs.get_total() / theirs.get_width(), abs=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_otherwise_river_differs_from_the_paper_in_counting_parts_as_shorter(name: str) -> None:
    values = LOSSES[name]
    expected = positions(NaiveADWIN(river=True), values)[0]
    assert window_positions(AdaptiveWindowing(), values) == expected


@pytest.mark.parametrize("seed", range(20))
def test_changes_are_noticed_about_when_river_notices_them(seed: int) -> None:
    values = np.concatenate([bits(0.1, 1000, seed), bits(0.5, 1000, seed + 100)])
    ours = ADWIN().update(values)
    theirs = window_positions(AdaptiveWindowing(), values)
    assert abs(ours[0] - theirs[0]) <= 64


def test_after_a_change_river_forgets_its_whole_window_and_the_paper_only_its_old_end() -> None:
    values = np.concatenate([np.zeros(500), np.ones(500)])
    theirs = drift.ADWIN()
    first = river_positions(theirs, values)[0]
    assert 500 < first < 532
    theirs = drift.ADWIN()
    river_positions(theirs, values[: first + 2])
    assert theirs.width == 1
    ours = ADWIN()
    ours.update(values[: first + 2])
    assert ours.count > 1
    assert 0.1 < ours.mean < 1.0


def test_reset_at_each_change_is_rivers_way_up_to_its_bounds() -> None:
    values = drifting(3)
    ours, found = ADWIN(), []
    for i, x in enumerate(values):
        if ours.update([x]).size:
            found.append(i)
            ours.reset()
    theirs = river_positions(drift.ADWIN(), values)
    assert len(found) == len(theirs)
    assert np.abs(np.subtract(found, theirs)).max() <= 64


def test_the_window_is_as_long_as_the_mean_stays_the_same() -> None:
    detector = ADWIN()
    detector.update(bits(0.2, 50_000, 0))
    assert detector.count == 50_000
    detector.update(bits(0.8, 5_000, 1))
    assert 4_500 <= detector.count <= 5_100
    assert detector.mean == pytest.approx(0.8, abs=0.03)


def test_changes_say_how_large_they_were() -> None:
    detector = ADWIN()
    positions_ = detector.update(np.concatenate([bits(0.1, 5000, 0), bits(0.6, 5000, 1)]))
    assert positions_.size > 0
    first = detector.changes[0]
    assert first.before == pytest.approx(0.1, abs=0.02)
    assert first.after == pytest.approx(0.6, abs=0.15)
    assert abs(first.position - first.age + 1 - 5000) <= 16


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2, 0.5])
@pytest.mark.parametrize("clock", [1, 32])
def test_false_alarms_are_fewer_than_one_in_100_000_values(rate: float, clock: int) -> None:
    assert false_alarms(lambda: ADWIN(clock=clock), rate, 10_000) <= 0.1


def test_an_abrupt_change_is_noticed_soon() -> None:
    assert np.median(delays(ADWIN, 0.2, 0.5)) <= 96
    assert delays(ADWIN, 0.1, 0.3).max() <= 320
    assert delays(ADWIN, 0.05, 0.95).max() <= 32
    assert delays(lambda: ADWIN(clock=1), 0.05, 0.95).max() <= 20


def test_one_change_is_noticed_in_a_few_steps_only() -> None:
    for seed in range(100):
        detector = ADWIN()
        detector.update(bits(0.1, 2000, seed))
        assert detector.update(bits(0.3, 20_000, seed + 1000)).size <= 9


def test_the_span_of_the_values_scales_all_bounds() -> None:
    values = drifting(1)
    expected = ADWIN().update(values).tolist()
    assert expected != []
    assert ADWIN(span=1024.0).update(1024.0 * values).tolist() == expected


def test_a_small_change_far_from_zero_is_not_lost_in_rounding() -> None:
    values = drifting(2)
    assert ADWIN().update(values + 2.0**30).tolist() == ADWIN().update(values).tolist()


def test_after_a_huge_value_has_left_the_window_small_changes_show_again() -> None:
    detector = ADWIN(clock=1)
    detector.update([1e300] * 50)
    assert detector.update(bits(0.2, 5000, 0)).size > 0
    assert detector.count <= 5000
    quiet = detector.update(bits(0.2, 5000, 1))
    assert quiet.size <= 1
    assert detector.update(bits(0.8, 1000, 2)).size > 0
    assert detector.mean == pytest.approx(0.8, abs=0.05)
