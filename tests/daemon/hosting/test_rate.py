"""A rate is that of late, however often it is looked at."""

from __future__ import annotations

import pytest

from streamnet.daemon.hosting.events import Rate


def test_steady_growth_is_told_right_from_the_first_look_on() -> None:
    for steps in (1, 7, 100):
        clock = iter([0.0, *(number / steps for number in range(1, steps + 1))]).__next__
        rate = Rate(clock=clock)
        for number in range(1, steps + 1):
            rate.look(600 * number // steps)
        assert rate.value == pytest.approx(600, rel=0.01)


def test_what_is_left_out_counts_neither_as_growth_nor_as_time() -> None:
    rate = Rate(clock=iter([0.0, 1.0, 100.0, 101.0]).__next__)
    rate.look(50)
    rate.begin(7000)
    rate.look(7050)
    assert rate.value == pytest.approx(50)
