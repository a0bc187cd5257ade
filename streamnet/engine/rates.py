"""Learning rates to try, counted without rounding errors."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from math import isfinite

from streamnet.errors import ConfigurationError

__all__ = ("MOST_RATES", "rates_of")

MOST_RATES = 10_000


def rates_of(learning_rate: float, decay: float) -> tuple[float, ...]:
    """``learning_rate``, ``learning_rate - decay``, and so on while above 0.

    Both count as the decimals that they are written as: a sum of floats would give a step too many
    or too few now and then.

    Args:
        learning_rate: The first rate.
        decay: From one rate to the next; 0 is one rate only.

    Raises:
        ConfigurationError: If a value breaks its rule.

    >>> rates_of(0.3, 0.1), rates_of(0.3, 0.0)
    ((0.3, 0.2, 0.1), (0.3,))
    >>> len(rates_of(0.4, 0.005)), len(rates_of(0.9, 0.001))
    (80, 900)
    """
    if not (isfinite(learning_rate) and learning_rate > 0):
        raise ConfigurationError(f"learning_rate is {learning_rate}, but must be > 0")
    if not (isfinite(decay) and decay >= 0):
        raise ConfigurationError(f"decay is {decay}, but must be >= 0")
    if decay == 0:
        return (float(learning_rate),)
    first, step = Fraction(str(float(learning_rate))), Fraction(str(float(decay)))
    count = ceil(first / step)
    if count > MOST_RATES:
        raise ConfigurationError(
            f"decay is {decay:g}, which makes {count:,} rates, but must make <= {MOST_RATES:,}"
        )
    return tuple(float(first - number * step) for number in range(count))
