from __future__ import annotations

from itertools import count
from threading import Event, Thread

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamnet.errors import ConfigurationError, ModelFileError
from streamnet.metrics import Curve
from tests.metrics.streams import same_bits

READS = 3000  # beside a thread that adds points

GAPS = st.lists(st.integers(1, 50), max_size=200)


def value(sample: int) -> tuple[float, float]:
    return (sample**0.5, -1.0 * sample)


def filled(samples: list[int], points: int) -> Curve:
    curve = Curve(points)
    for sample in samples:
        curve.add(sample, *value(sample))
    return curve


def first_of_each(samples: list[int], stride: int) -> list[int]:
    return [s for i, s in enumerate(samples) if i == 0 or s // stride != samples[i - 1] // stride]


@given(gaps=GAPS, points=st.integers(4, 40))
def test_a_curve_keeps_the_first_point_of_each_stride_and_the_last(
    gaps: list[int], points: int
) -> None:
    samples = np.cumsum(gaps, dtype=int).tolist()
    curve = filled(samples, points)
    stride = 1
    while len(expected := first_of_each(samples, stride)) >= points:
        stride *= 2
    expected = sorted({*expected, *samples[-1:]})
    assert curve.samples().tolist() == expected
    assert curve.values().tolist() == [list(value(sample)) for sample in expected]
    assert len(curve) == len(expected) <= points


@given(gaps=GAPS, at=st.integers(0, 200))
def test_a_restored_curve_continues_exactly(gaps: list[int], at: int) -> None:
    samples = np.cumsum(gaps, dtype=int).tolist()
    whole = filled(samples, 16)
    half = filled(samples[:at], 16)
    state = half.export_state()
    copy = Curve.restore_state(state)
    assert same_bits(copy.export_state(), state)
    for sample in samples[at:]:
        copy.add(sample, *value(sample))
    assert same_bits(copy.export_state(), whole.export_state())


def test_evenly_spaced_points_stay_evenly_spaced_and_many() -> None:
    curve = filled(list(range(0, 256 * 10_000, 256)), 512)
    gaps = set(np.diff(curve.samples()[:-1]).tolist())
    assert gaps == {256 * 32}
    assert 256 <= len(curve) <= 512


def test_a_sample_number_not_above_the_last_is_ignored() -> None:
    curve = filled([5, 9], 8)
    curve.add(9, 0.0, 0.0)
    curve.add(7, 0.0, 0.0)
    assert curve.samples().tolist() == [5, 9]
    assert curve.values()[1].tolist() == list(value(9))


def test_undefined_values_are_points_like_others() -> None:
    curve = Curve()
    curve.add(1, np.nan)
    assert len(curve) == 1
    assert np.isnan(curve.values()).all()


def test_an_empty_curve_has_no_points() -> None:
    assert Curve().samples().shape == (0,)
    assert Curve().values().shape == (0, 0)
    assert len(Curve.restore_state(Curve().export_state())) == 0


def test_the_number_of_values_may_not_change() -> None:
    with pytest.raises(ValueError, match="1 values, but 2 before"):
        filled([1], 8).add(2, 0.0)


def test_too_few_points_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="points is 3, but must be >= 4"):
        Curve(3)


@pytest.mark.parametrize(("name", "wrong"), [("kept", 5), ("kept", 0), ("stride", 0)])
def test_a_state_that_does_not_fit_is_refused(name: str, wrong: int) -> None:
    state = filled([1, 2, 3], 8).export_state()
    with pytest.raises(ModelFileError, match="curve: "):
        Curve.restore_state({**state, name: wrong})


def test_points_that_another_thread_adds_meanwhile_are_whole() -> None:
    curve, ended = Curve(64), Event()

    def add() -> None:
        for sample in count():
            if ended.is_set():
                break
            curve.add(sample, *value(sample))

    thread = Thread(target=add)
    thread.start()
    try:
        for _ in range(READS):
            samples, values = curve.points()
            assert values.tolist() == [list(value(sample)) for sample in samples.tolist()]
    finally:
        ended.set()
        thread.join()
