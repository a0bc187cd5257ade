"""What holds for every detector."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamnet.drift import DDM, HDDMA, DriftDetector
from streamnet.errors import ModelFileError
from tests.drift.streams import DETECTORS, bits, drifting, losses
from tests.metrics.streams import same_bits

HOSTILE = [math.nan, math.inf, -math.inf, 1e308, -1e308, 1e140, 5e-324, -0.0, 7.5]
every = pytest.mark.parametrize("name", DETECTORS)


def hostile(seed: int, share: float) -> NDArray[np.float64]:
    """A stream with changes, some of whose values are what no loss should be."""
    random = np.random.default_rng(seed)
    values = (drifting if seed % 2 else losses)(seed)[: random.integers(1, 2500)]
    return np.where(random.random(values.size) < share, random.choice(HOSTILE, values.size), values)


def in_parts(
    detector: DriftDetector, values: NDArray[np.float64], cuts: list[int]
) -> list[tuple[float, ...]]:
    """All changes, with positions in the whole stream."""
    found: list[tuple[float, ...]] = []
    for start, stop in pairwise([0, *sorted(cuts), values.size]):
        positions = detector.update(values[start:stop])
        assert positions.tolist() == [change.position for change in detector.changes]
        found += [(start + change.position, *change[1:]) for change in detector.changes]
    return found


def cuts_of(data: st.DataObject, size: int) -> list[int]:
    return data.draw(st.lists(st.integers(0, size), max_size=8))


@every
@settings(max_examples=25)
@given(data=st.data(), seed=st.integers(0, 1000), share=st.sampled_from([0.0, 0.02, 0.5]))
def test_cuts_into_blocks_change_no_bit(
    name: str, data: st.DataObject, seed: int, share: float
) -> None:
    values = hostile(seed, share)
    whole, parts = DETECTORS[name](), DETECTORS[name]()
    expected = in_parts(whole, values, [])
    assert in_parts(parts, values, cuts_of(data, values.size)) == expected
    assert same_bits(parts.export_state(), whole.export_state())


@every
@settings(max_examples=25)
@given(data=st.data(), seed=st.integers(0, 1000), share=st.sampled_from([0.0, 0.02, 0.5]))
def test_a_restored_detector_continues_to_the_bit(
    name: str, data: st.DataObject, seed: int, share: float
) -> None:
    values = hostile(seed, share)
    at = data.draw(st.integers(0, values.size))
    detector = DETECTORS[name]()
    detector.update(values[:at])
    state = json.loads(json.dumps(detector.export_state(), default=lambda array: array.tolist()))
    restored = type(detector).restore_state(state)
    assert (restored.count, restored.warning) == (detector.count, detector.warning)
    assert in_parts(restored, values[at:], []) == in_parts(detector, values[at:], [])
    assert same_bits(restored.export_state(), detector.export_state())


@every
def test_a_state_is_a_copy(name: str) -> None:
    detector = DETECTORS[name]()
    detector.update(drifting(0)[:700])
    state = detector.export_state()
    restored = type(detector).restore_state(state)
    restored.update(drifting(1))
    assert same_bits(detector.export_state(), state)


@every
def test_values_that_are_not_finite_are_skipped(name: str) -> None:
    values = drifting(0)
    with_gaps = np.repeat(values, 2)
    with_gaps[1::2] = np.resize([math.nan, math.inf, -math.inf], values.size)
    plain, gaps = DETECTORS[name](), DETECTORS[name]()
    assert (2 * plain.update(values)).tolist() == gaps.update(with_gaps).tolist()
    assert plain.changes != ()
    assert same_bits(plain.export_state(), gaps.export_state())


@every
def test_a_change_is_detected_where_there_is_one(name: str) -> None:
    detector = DETECTORS[name]()
    detector.update(bits(0.1, 1000, 3))
    positions = detector.update(bits(0.7, 1000, 4))
    assert positions.dtype == np.int64
    first = detector.changes[0]
    assert first.position == positions[0] < 150
    assert first.before == pytest.approx(0.1, abs=0.05)
    assert first.after == pytest.approx(0.7, abs=0.2)
    assert abs(first.position - first.age + 1) <= 16


@every
def test_reset_makes_a_detector_as_new(name: str) -> None:
    detector = DETECTORS[name]()
    detector.update(drifting(0))
    detector.reset()
    assert detector.changes == ()
    assert detector.count == 0
    assert math.isnan(detector.mean)
    assert same_bits(detector.export_state(), DETECTORS[name]().export_state())


@every
@pytest.mark.parametrize("value", [0.0, 0.1, 1.0, -3.7, 1e308, -1e308, 5e-324, 1e-310, 1e140])
def test_a_constant_never_changes(name: str, value: float) -> None:
    detector = DETECTORS[name]()
    assert detector.update(np.full(20_000, value)).size == 0
    assert not detector.warning
    assert math.isfinite(detector.mean)


@every
def test_the_largest_values_leave_all_figures_finite(name: str) -> None:
    values = np.random.default_rng(0).choice([1e308, -1e308, 1.0, 5e-324, 0.0], 20_000)
    detector = DETECTORS[name]()
    detector.update(values)
    assert all(map(math.isfinite, np.ravel(detector.changes)))
    assert math.isfinite(detector.mean)
    type(detector).restore_state(detector.export_state())  # which checks it


@every
def test_extreme_values_cause_few_changes(name: str) -> None:
    steady = np.random.default_rng(1).choice([1e308, -1e308, 1.0, 0.0], 20_000)
    if name.startswith("PageHinkley"):
        steady = np.clip(steady, 0.0, 1.0)  # its threshold has the units of the values
    assert DETECTORS[name]().update(steady).size <= 40


@every
def test_memory_is_bounded(name: str) -> None:
    def size(detector: DriftDetector) -> int:
        state = detector.export_state().values()
        return sum(part.nbytes for part in state if isinstance(part, np.ndarray))

    detector = DETECTORS[name]()
    before = size(detector)
    detector.update(bits(0.3, 300_000, 0))
    assert size(detector) == before <= 10_000


@every
def test_no_change_is_detected_without_values(name: str) -> None:
    detector = DETECTORS[name]()
    assert detector.update([]).tolist() == []
    assert detector.update([math.nan] * 10).tolist() == []
    assert detector.count == 0


@every
def test_values_in_two_dimensions_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"values has shape \(2, 1\)"):
        DETECTORS[name]().update([[1.0], [2.0]])


@every
def test_count_and_mean_are_those_of_the_window(name: str) -> None:
    values = bits(0.3, 500, 8)
    detector = DETECTORS[name]()
    positions = detector.update(values)
    assert positions.size == 0
    assert detector.count == 500
    if "HDDMW" not in name:  # whose mean is weighted
        assert detector.mean == pytest.approx(values.mean(), abs=1e-12)


def damaged(state: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Ways to damage a state, by what is wrong."""
    count = state["running"][0]
    running = state["running"]
    return {
        "another detector": state | {"detector": "Other"},
        "no detector": {k: v for k, v in state.items() if k != "detector"},
        "no array": {k: v for k, v in state.items() if k != "running"},
        "unknown setting": state | {"colour": "red"},
        "bad setting": state | dict.fromkeys(list(state)[1:2], "x"),
        "shape": state | {"means": state["means"][:-1]},
        "words": state | {"running": ["a"] * running.size},
        "ragged": state | {"squares": [[1.0], [1.0, 2.0]]},
        "not finite": state | {"running": np.where(np.arange(running.size) == 1, np.nan, running)},
        "count": state | {"running": [count + 1, *running[1:]]},
        "mean": state | {"running": [count, 1e200, *running[2:]]},
        "warning": state | {"running": [*running[:2], 0.5, *running[3:]]},
        "a change not ended": state | {"running": [*running[:3], 1.0, *running[4:]]},
        "a row too full": state | {"row_sizes": np.where(state["row_sizes"] > 0, 101, 0)},
        "less than none": state | {"row_sizes": -state["row_sizes"]},
        "far too many": state | {"row_sizes": np.where(state["row_sizes"] > 0, 1e300, 0.0)},
        "figures of no values": state
        | {"row_sizes": state["row_sizes"] * 0, "running": [0.0, *running[1:]]},
        "half a bucket": state | {"row_sizes": state["row_sizes"] / 2 + 0.25},
        "negative squares": state | {"squares": state["squares"] - 1.0},
        "bucket": state | {"means": state["means"] + 1e200},
    }


@every
def test_a_damaged_state_is_refused(name: str) -> None:
    detector = DETECTORS[name]()
    detector.update(bits(0.3, 500, 8))
    state = detector.export_state()
    type(detector).restore_state(state)
    for wrong, bad in damaged(state).items():
        with pytest.raises(ModelFileError) as caught:
            type(detector).restore_state(bad)
        assert "\n" not in str(caught.value), wrong
    for key in set(state) - {"detector"}:
        with pytest.raises(ModelFileError):
            type(detector).restore_state({k: v for k, v in state.items() if k != key})


@pytest.mark.parametrize(
    ("name", "array", "place", "value"),
    [
        ("ADWIN", "running", 4, 32.0),
        ("ADWIN", "running", 4, -1.0),
        ("ADWIN", "running", 5, 2.0),
        ("DDM", "running", 1, 1.5),
        ("DDM", "lowest", 0, -0.1),
        ("DDM", "lowest", 1, 1.1),
        ("HDDMA", "sides", (0, 0), 501.0),
        ("HDDMA", "sides", (0, 0), -1.0),
        ("HDDMW", "running", 4, 1.1),
        ("HDDMW", "sides", (0, 2), -0.1),
        ("HDDMW", "sides", (0, 3), 501.0),
        ("PageHinkley", "sides", (0, 1), 1e9),
    ],
)
def test_figures_that_contradict_each_other_are_refused(
    name: str, array: str, place: Any, value: float
) -> None:
    detector = DETECTORS[name]()
    detector.update(bits(0.3, 500, 8))
    state = detector.export_state()
    state[array][place] = value
    with pytest.raises(ModelFileError, match=f"^{name}: "):
        type(detector).restore_state(state)


def test_the_state_of_one_detector_is_not_that_of_another() -> None:
    with pytest.raises(ModelFileError, match="DDM: the state is of 'hddm_a'"):
        DDM.restore_state(HDDMA().export_state())
