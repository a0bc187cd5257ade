"""Rules that settings of drift detectors have in common."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from streamnet import checked
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

    Args:
        detector: Whose setting it is.
        name: Of the setting.
        value: What was given.
        least: The smallest that it may be.
        most: The largest.

    Raises:
        ConfigurationError: if the value isn't one.
    """
    known = checked.whole(f"{detector}: {name}", value)
    if not least <= known <= most:
        raise ConfigurationError(
            f"{detector}: {name} is {known}, but must be a whole number from {least} to {most}"
        )
    return known


def number(
    detector: str, name: str, value: float, *, above: float, below: float, inclusive: bool = False
) -> float:
    """A number between ``above`` and ``below``, or one of the two if ``inclusive``.

    Args:
        detector: Whose setting it is.
        name: Of the setting.
        value: What was given.
        above: The lower end.
        below: The upper end.
        inclusive: Whether it may be an end.

    Raises:
        ConfigurationError: if the value isn't one.
    """
    known = checked.real(f"{detector}: {name}", value)
    if not (above <= known <= below if inclusive else above < known < below):
        least, most = (">=", "<=") if inclusive else (">", "<")
        raise ConfigurationError(
            f"{detector}: {name} is {known!r}, but must be {least} {above:g} and {most} {below:g}"
        )
    return float(known)


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
