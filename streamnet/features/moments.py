"""Running moments of a number, which one wild value does not rule and a new scale does not outlive.

Moments are Welford's (1962), with three guards. A value farther from the mean than `WILD` standard
deviations enters as one that far away. The last `WINDOW` values have moments of their own: if
most of them were wild, or they are spread over less than a `SHRUNK` part of what is usual, the
number is on another scale now, and the window's moments take the place of the old ones. And from
`LONGEST` values on, earlier ones fade: the mean of months would not come to a new level for days.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ModelFileError
from streamnet.fading import faded
from streamnet.jit import jit

__all__ = (
    "COLUMNS",
    "COUNT",
    "LARGEST",
    "LONGEST",
    "MEAN",
    "ORIGIN",
    "SQUARES",
    "restored",
    "spread_of",
    "take_in",
)

# Columns of the moments: count, mean and squared deviations; the origin that values are told from;
# and the same three of the window, and how many of its values were wild.
COUNT, MEAN, SQUARES, ORIGIN, RECENT, RECENT_MEAN, RECENT_SQUARES, RECENT_WILD = range(8)
COLUMNS = 8

LARGEST = 1e100  # beyond it a value counts as this large, so that no square overflows
LONGEST = 1e6  # values that moments are of at most, as it were
TRUSTED = 10.0  # values from which on moments are trusted to tell wild values
WILD = 30.0
WINDOW = 64.0
SHRUNK = 1e-3


@jit
def spread_of(count: float, mean: float, squares: float) -> float:
    """Standard deviation, or 0 where there is none to speak of."""
    if count < 2:
        return 0.0
    deviation = float(np.sqrt(squares / count))
    if deviation <= 1e-150 or deviation <= 1e-13 * abs(mean):
        return 0.0
    return deviation


@jit
def take_in(moments: NDArray[np.float64], m: int, x: float) -> None:
    """Take a finite value, from -`LARGEST` to `LARGEST`, into row ``m`` of the moments."""
    count = moments[m, COUNT]
    delta = x - moments[m, MEAN]
    if count >= TRUSTED:
        farthest = WILD * np.sqrt(moments[m, SQUARES] / count)
        if abs(delta) > farthest:
            moments[m, RECENT_WILD] += 1.0
            if farthest > 0.0:
                delta = farthest if delta > 0.0 else -farthest
    if count >= LONGEST:
        moments[m, MEAN] = faded(moments[m, MEAN])
        moments[m, SQUARES] = faded(moments[m, SQUARES] * ((LONGEST - 1.0) / count))
        count = LONGEST - 1.0
    count += 1.0
    moments[m, COUNT] = count
    moments[m, MEAN] += delta / count
    moments[m, SQUARES] += delta * delta * (1.0 - 1.0 / count)

    recent = moments[m, RECENT] + 1.0
    moments[m, RECENT] = recent
    delta = x - moments[m, RECENT_MEAN]
    moments[m, RECENT_MEAN] += delta / recent
    moments[m, RECENT_SQUARES] += delta * delta * (1.0 - 1.0 / recent)
    if recent == WINDOW:
        _compare(moments, m)


@jit
def _compare(moments: NDArray[np.float64], m: int) -> None:
    """Begin another window, and go on with the moments of this one if the scale has changed."""
    recent = moments[m, RECENT_MEAN], moments[m, RECENT_SQUARES]
    spread = spread_of(WINDOW, recent[0], recent[1])
    usual = np.sqrt(moments[m, SQUARES] / moments[m, COUNT])
    if 2.0 * moments[m, RECENT_WILD] > WINDOW or 0.0 < spread < SHRUNK * usual:
        moments[m, COUNT] = WINDOW
        moments[m, MEAN] = recent[0]
        moments[m, SQUARES] = recent[1]
    for column in range(RECENT, COLUMNS):
        moments[m, column] = 0.0


def restored(moments: NDArray[np.float64], rows: int, what: str) -> NDArray[np.float64]:
    """Moments as a state keeps them; one of an earlier release ends before the window's columns.

    Raises:
        ModelFileError: If they are not those of ``rows`` numbers.
    """
    given = np.array(moments, np.float64)
    if given.shape == (rows, RECENT):
        given = np.hstack((given, np.zeros((rows, COLUMNS - RECENT))))
    if given.shape != (rows, COLUMNS):
        raise ModelFileError(f"the moments of {what} do not fit")
    return given
