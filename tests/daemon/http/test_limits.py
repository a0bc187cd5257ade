"""Limits have to be above 0; a client's bucket is that of no other, and fills up with time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamnet.daemon.http.access import Limits, RateLimiter
from streamnet.errors import ConfigurationError


@pytest.mark.parametrize(("name", "value"), [("body", 0), ("rate", -1.0), ("line", float("nan"))])
def test_a_limit_that_is_none_is_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} is {value}, but must be > 0"):
        Limits(**{name: value})  # type: ignore[arg-type]


@given(
    rate=st.integers(1, 20),
    steps=st.lists(st.floats(0, 3, allow_nan=False), min_size=1, max_size=60),
)
def test_a_client_gets_no_more_than_its_rate(rate: int, steps: list[float]) -> None:
    now = 0.0
    rates = RateLimiter(rate, clock=lambda: now)
    taken = 0
    for step in steps:
        now += step
        taken += rates.take("a") == 0.0
        assert taken <= rate + rate * now + 1e-6


@given(cost=st.floats(1, 50))
def test_who_is_told_to_wait_gets_through_after_it(cost: float) -> None:
    now = wait = 0.0
    rates = RateLimiter(10, clock=lambda: now)
    for _ in range(200):
        if wait := rates.take("a", cost):
            break
    now += wait + 1e-9
    assert rates.take("a") == 0.0


def test_nobody_waits_much_longer_than_a_second_also_after_the_rate_was_lowered() -> None:
    limits = Limits(rate=1000.0)
    rates = RateLimiter(limits, clock=lambda: 0.0)
    assert rates.take("a", 5000.0) == 0.0
    limits.rate = 10.0
    assert rates.take("a") == 1.1


def test_one_client_is_no_other_and_the_oldest_is_forgotten() -> None:
    rates = RateLimiter(1, most=2, clock=lambda: 0.0)
    assert [rates.take(client) > 0 for client in "abab"] == [False, False, True, True]
    assert rates.take("c") == 0.0
    assert rates.take("b") > 0
    assert rates.take("a") == 0.0  # it was the least recently seen
