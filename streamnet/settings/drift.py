"""Validation of drift-detector settings."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from streamnet import validation
from streamnet.errors import ConfigurationError

__all__ = (
    "Direction",
    "direction_signs",
    "parse_direction",
    "validate_confidences",
    "validate_integer",
    "validate_interval",
    "validate_number",
)

MAX_INTEGER = 2**31  # of any whole number


class Direction(StrEnum):
    """Which changes of the mean count: of a loss, ``UP`` is a change for the worse."""

    UP = "up"
    DOWN = "down"
    BOTH = "both"


def parse_direction(detector: str, value: str) -> Direction:
    """The direction of that name.

    Raises:
        ConfigurationError: if there is none.
    """
    if value not in list(Direction):
        names = ", ".join(repr(str(name)) for name in Direction)
        raise ConfigurationError(f"{detector}: direction is {value!r}, but must be one of {names}")
    return Direction(value)


def direction_signs(towards: Direction) -> NDArray[np.float64]:
    """Float64 (2,): what makes a rise and a fall positive; 0 where it is not looked for.

    >>> direction_signs(Direction.BOTH).tolist()
    [1.0, -1.0]
    """
    return np.array([towards != Direction.DOWN, -(towards != Direction.UP)], np.float64)


def validate_integer(
    detector: str, name: str, value: int, *, least: int, most: int = MAX_INTEGER
) -> int:
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
    known = validation.check_integer(f"{detector}: {name}", value)
    if not least <= known <= most:
        raise ConfigurationError(
            f"{detector}: {name} is {known}, but must be a whole number from {least} to {most}"
        )
    return known


def validate_number(
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
    known = validation.check_number(f"{detector}: {name}", value)
    if not (above <= known <= below if inclusive else above < known < below):
        least, most = (">=", "<=") if inclusive else (">", "<")
        raise ConfigurationError(
            f"{detector}: {name} is {known!r}, but must be {least} {above:g} and {most} {below:g}"
        )
    return float(known)


def validate_confidences(detector: str, drift: float, warning: float) -> None:
    """Check two probabilities of a false alarm: a warning comes no later than a drift.

    Raises:
        ConfigurationError: if one is not within 0 and 1, or they are the wrong way round.
    """
    validate_number(detector, "drift_confidence", drift, above=0.0, below=1.0)
    validate_number(detector, "warning_confidence", warning, above=0.0, below=1.0)
    if warning < drift:
        raise ConfigurationError(
            f"{detector}: warning_confidence is {warning!r}, but must be >= drift_confidence, "
            f"which is {drift!r}"
        )


def validate_interval(
    detector: str, low: float, high: float, farthest: float
) -> tuple[float, float]:
    """The interval that values lie in.

    Raises:
        ConfigurationError: if its ends are not two finite numbers, the lower one first.
    """
    low = validate_number(detector, "low", low, above=-farthest, below=farthest, inclusive=True)
    high = validate_number(detector, "high", high, above=-farthest, below=farthest, inclusive=True)
    if not low < high:
        raise ConfigurationError(f"{detector}: high is {high!r}, but must be > low, {low!r}")
    return low, high
