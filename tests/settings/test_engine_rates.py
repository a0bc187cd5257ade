from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamnet.errors import ConfigurationError
from streamnet.settings.engine import list_rates


@pytest.mark.parametrize(
    ("learning_rate", "decay", "steps"),
    [(0.4, 0.005, 80), (0.6, 0.005, 120), (0.9, 0.001, 900), (0.02, 0.001, 20), (0.3, 0.2, 2)],
)
def test_rates_are_counted_exactly(learning_rate: float, decay: float, steps: int) -> None:
    rates = list_rates(learning_rate, decay)
    assert len(rates) == steps
    assert rates[0] == learning_rate
    assert 0 < rates[-1] <= decay


@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 6))
def test_rates_are_what_decimal_arithmetic_gives(first: int, step: int, digits: int) -> None:
    scale = 10**digits
    rates = list_rates(first / scale, step / scale)
    wanted = [Fraction(value, scale) for value in range(first, 0, -step)]
    assert rates == tuple(float(value) for value in wanted)


def test_without_decay_there_is_a_single_rate() -> None:
    assert list_rates(0.4, 0.0) == (0.4,)


@pytest.mark.parametrize(
    ("learning_rate", "decay", "what"),
    [
        (0.4, -0.1, "decay is -0.1, but must be >= 0"),
        (0.4, float("nan"), "decay is nan"),
        (0.0, 0.1, "learning_rate is 0.0, but must be > 0"),
        (float("inf"), 0.1, "learning_rate is inf"),
        (1.0, 1e-9, "which makes 1,000,000,000 rates"),
    ],
)
def test_invalid_rates_are_rejected(learning_rate: float, decay: float, what: str) -> None:
    with pytest.raises(ConfigurationError, match=what):
        list_rates(learning_rate, decay)
