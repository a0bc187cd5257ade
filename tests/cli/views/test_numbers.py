"""Figures for people: digits, time spans, curves."""

from __future__ import annotations

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamnet.cli.views.tables import (
    _ASCII_BARS,
    _BARS,
    estimate_remaining,
    format_count,
    format_duration,
    format_number,
    sparkline,
)

CURVES = st.lists(st.floats(-1e6, 1e6), max_size=40)


@given(CURVES)
def test_a_curve_has_a_bar_for_each_value_and_rises_where_they_do(values: list[float]) -> None:
    bars = [_BARS.index(bar) for bar in sparkline(values)]
    assert len(bars) == len(values)
    for one, bar in zip(values, bars, strict=True):
        for other, other_bar in zip(values, bars, strict=True):
            assert one <= other or bar >= other_bar
    if len(set(values)) > 1:
        assert bars[values.index(min(values))] == 0
        assert bars[values.index(max(values))] >= len(_BARS) - 2  # a rounding may cost one


def test_a_curve_shows_the_least_difference_there_is() -> None:
    assert sparkline((0.0, 5e-324)) == _BARS[0] + _BARS[-1]


@given(CURVES)
def test_a_plain_curve_is_the_same_in_ascii(values: list[float]) -> None:
    plain = sparkline(values, plain=True)
    assert plain.isascii()
    assert plain == sparkline(values).translate(str.maketrans(_BARS, _ASCII_BARS))


def test_a_curve_leaves_gaps_where_there_is_no_number() -> None:
    assert sparkline((0.0, nan, 1.0, inf)) == "▁ █ "
    assert sparkline((nan, inf)) == ""
    assert sparkline(()) == ""
    assert sparkline((2.0, 2.0, 2.0)) == "▄▄▄"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (61, "1 min 01 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (7265, "2 h 01 min"),
        (3_600_000, "1,000 h 00 min"),
        (inf, "-"),
        (nan, "-"),
    ],
)
def test_a_span_has_two_units_at_most(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_what_remains_goes_as_it_went() -> None:
    assert estimate_remaining(10.0, 0.25) == pytest.approx(30.0)
    assert estimate_remaining(10.0, 1.0) == 0.0
    assert estimate_remaining(10.0, 0.0) == inf


def test_what_remains_does_not_count_on_what_was_done_before() -> None:
    assert estimate_remaining(10.0, 0.75, 0.5) == pytest.approx(10.0)
    assert estimate_remaining(10.0, 0.5, 0.5) == inf
    assert estimate_remaining(10.0, 1.0, 1.0) == 0.0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (nan, "-"),
        (-inf, "-"),
        (0.0, "0.0000"),
        (-0.00004, "0.0000"),
        (-0.00006, "-0.0001"),
        (0.99999, "1.0000"),
        (12.345, "12.35"),
        (1234567.0, "1,234,567.00"),
        (2e12, "2.000e+12"),
    ],
)
def test_a_number_has_the_digits_it_takes(value: float | None, text: str) -> None:
    assert format_number(value) == text


def test_one_thing_is_not_many() -> None:
    assert format_count(0, "record") == "0 records"
    assert format_count(1, "record") == "1 record"
    assert format_count(2, "switch") == "2 switches"
