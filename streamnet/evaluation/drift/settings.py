"""Rules that settings of drift detectors have in common."""

from __future__ import annotations

from enum import StrEnum
from numbers import Integral
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError

__all__ = (
    "Direction",
    "check_confidences",
    "direction_named",
    "interval",
    "number",
    "signs",
    "whole",
)

MOST = 2**31  # of any whole number


class Direction(StrEnum):
    """Which changes of the mean count: of a loss, ``UP`` is a change for the worse."""

    UP = "up"
    DOWN = "down"
    BOTH = "both"


def direction_named(detector: str, value: str) -> Direction:
    """The direction of that name.

    Raises:
        ConfigurationError: if there is none.
    """
    if value not in list(Direction):
        names = ", ".join(repr(str(name)) for name in Direction)
        raise ConfigurationError(f"{detector}: direction is {value!r}, but must be one of {names}")
    return Direction(value)


def signs(towards: Direction) -> NDArray[np.float64]:
    """Float64 (2,): what makes a rise and a fall positive; 0 where it is not looked for.

    >>> signs(Direction.BOTH).tolist()
    [1.0, -1.0]
    """
    return np.array([towards != Direction.DOWN, -(towards != Direction.UP)], np.float64)


def whole(detector: str, name: str, value: int, *, least: int, most: int = MOST) -> int:
    """A whole number from ``least`` to ``most``.

    Raises:
        ConfigurationError: if the value isn't one.
    """
    given: object = value  # whatever a caller or a file gave
    if isinstance(given, bool) or not isinstance(given, Integral) or not least <= value <= most:
        rule = f"a whole number from {least} to {most}"
        raise ConfigurationError(f"{detector}: {name} is {value!r}, but must be {rule}")
    return int(value)


def number(
    detector: str, name: str, value: float, *, above: float, below: float, inclusive: bool = False
) -> float:
    """A number between ``above`` and ``below``, or one of the two if ``inclusive``.

    Raises:
        ConfigurationError: if the value isn't one.
    """
    given: object = value  # whatever a caller or a file gave
    try:
        known = np.nan if isinstance(given, bool) or not isinstance(given, Real) else float(value)
    except OverflowError:
        known = np.inf
    if not (above <= known <= below if inclusive else above < known < below):
        least, most = (">=", "<=") if inclusive else (">", "<")
        raise ConfigurationError(
            f"{detector}: {name} is {value!r}, but must be {least} {above:g} and {most} {below:g}"
        )
    return known


def check_confidences(detector: str, drift: float, warning: float) -> None:
    """Check two probabilities of a false alarm: a warning comes no later than a drift.

    Raises:
        ConfigurationError: if one is not within 0 and 1, or they are the wrong way round.
    """
    number(detector, "drift_confidence", drift, above=0.0, below=1.0)
    number(detector, "warning_confidence", warning, above=0.0, below=1.0)
    if warning < drift:
        raise ConfigurationError(
            f"{detector}: warning_confidence is {warning!r}, but must be >= drift_confidence, "
            f"which is {drift!r}"
        )


def interval(detector: str, low: float, high: float, farthest: float) -> tuple[float, float]:
    """The interval that values lie in.

    Raises:
        ConfigurationError: if its ends are not two finite numbers, the lower one first.
    """
    low = number(detector, "low", low, above=-farthest, below=farthest, inclusive=True)
    high = number(detector, "high", high, above=-farthest, below=farthest, inclusive=True)
    if not low < high:
        raise ConfigurationError(f"{detector}: high is {high!r}, but must be > low, {low!r}")
    return low, high
