"""When a checkpoint is due, by a clock that a test turns."""

from __future__ import annotations

from math import inf

import pytest

from streamnet.errors import ConfigurationError
from streamnet.pipeline.state import Cadence


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def made(every_samples: int | None, every_seconds: float | None) -> tuple[Cadence, Clock]:
    clock = Clock()
    cadence = Cadence(every_samples=every_samples, every_seconds=every_seconds, clock=clock)
    return cadence, clock


def test_by_samples_it_is_due_as_soon_as_there_are_enough() -> None:
    cadence, _ = made(100, None)
    assert [cadence.due(n, n) for n in (0, 99, 100)] == [False, False, True]
    cadence.cut(100, 100)
    cadence.done(failed=False)
    assert [cadence.due(n, n) for n in (101, 199, 200)] == [False, False, True]
    assert cadence.seconds_left(150) == inf


def test_by_seconds_it_is_due_only_if_something_is_new() -> None:
    cadence, clock = made(None, 10.0)
    assert cadence.seconds_left(1) == 10
    clock.now += 10
    assert cadence.seconds_left(0) == inf
    assert [cadence.due(n, n) for n in (0, 1)] == [False, True]
    cadence.cut(1, 1)
    cadence.done(failed=False)
    assert not cadence.due(2, 2)
    assert cadence.seconds_left(2) == 10


def test_rejected_records_are_new_to_the_clock_and_do_not_count_as_samples() -> None:
    cadence, clock = made(100, 10.0)
    cadence.resume_at(50, 80)
    assert cadence.seconds_left(80) == inf
    assert not cadence.due(50, 1000)
    assert cadence.seconds_left(1000) == 10
    clock.now += 10
    assert [cadence.due(50, n) for n in (80, 1000)] == [False, True]
    cadence.cut(50, 1000)
    cadence.done(failed=False)
    assert cadence.seconds_left(1000) == inf
    assert [cadence.due(n, 2000) for n in (149, 150)] == [False, True]


def test_one_that_is_asked_for_is_due_at_once_even_if_nothing_is_new() -> None:
    cadence, clock = made(None, 10.0)
    cadence.ask()
    assert cadence.due(0, 0)
    cadence.cut(0, 0)
    cadence.ask()
    assert not cadence.due(0, 0)
    cadence.done(failed=True)
    assert not cadence.due(0, 0)
    clock.now += 1
    assert cadence.due(0, 0)
    cadence.cut(0, 0)
    cadence.done(failed=False)
    assert cadence.seconds_left(0) == inf


def test_only_one_is_on_its_way() -> None:
    cadence, clock = made(1, 1.0)
    cadence.cut(5, 5)
    clock.now += 100
    assert not cadence.due(1000, 1000)
    assert 0 < cadence.seconds_left(1000) < 1
    cadence.done(failed=False)
    assert cadence.due(1000, 1000)


def test_after_a_failure_it_is_tried_again_later_and_later_whether_or_not_samples_come() -> None:
    cadence, clock = made(1, None)
    waits = []
    for _ in range(9):
        cadence.cut(7, 7)
        cadence.done(failed=True)
        assert not cadence.due(8, 8)
        waits.append(cadence.seconds_left(7))
        clock.now += waits[-1]
        assert cadence.due(7, 7)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    cadence.cut(7, 7)
    cadence.done(failed=False)
    assert (cadence.failures, cadence.due(7, 7), cadence.due(8, 8)) == (0, False, True)


def test_it_goes_on_from_a_state_that_is_durable_already() -> None:
    cadence, _ = made(100, None)
    cadence.resume_at(1000, 1000)
    assert [cadence.due(n, n) for n in (1000, 1099, 1100)] == [False, False, True]


@pytest.mark.parametrize(
    ("samples", "seconds", "message"),
    [(0, None, "every_samples is 0, but must be >= 1"), (None, 0.0, "every_seconds is 0.0, but")],
)
def test_distances_that_make_no_sense_are_refused(
    samples: int | None, seconds: float | None, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        made(samples, seconds)
