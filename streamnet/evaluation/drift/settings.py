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
    if value not in set(Direction):
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
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= value <= most:
        rule = f"a whole number from {least} to {most}"
        raise ConfigurationError(f"{detector}: {name} is {value!r}, but must be {rule}")
    return int(value)


def number(
    detector: str,
    name: str,
    value: float,
    *,
    above: float = -np.inf,
    below: float = np.inf,
    inclusive: bool = False,
) -> float:
    """A finite number between ``above`` and ``below``, or one of the two if ``inclusive``.

    Raises:
        ConfigurationError: if the value isn't one.
    """
    good = isinstance(value, Real) and not isinstance(value, bool) and bool(np.isfinite(value))
    if good:
        good = above <= value <= below if inclusive else above < value < below
    if not good:
        least, most = (">=", "<=") if inclusive else (">", "<")
        bounds = [f"{least} {above:g}"] if above > -np.inf else []
        bounds += [f"{most} {below:g}"] if below < np.inf else []
        rule = " and ".join(bounds) or "a finite number"
        raise ConfigurationError(f"{detector}: {name} is {value!r}, but must be {rule}")
    return float(value)


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
