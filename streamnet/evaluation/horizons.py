"""Horizons: how far back a measure looks, and the weights by which the past fades."""

from __future__ import annotations

import math
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from streamnet.checked import real
from streamnet.checked import whole
from streamnet.errors import ConfigurationError

__all__ = ("Horizon", "check_horizons", "growing_weights")

MOST_REMEMBERED = 1 << 25  # scored samples of all tracks together, which take a gigabyte
LONGEST_PERIOD = 1024
LARGEST_WEIGHT = 1e12


class Horizon(StrEnum):
    """How far back a measure looks.

    ``OVERALL`` weighs all scored samples of a track alike, ``SLIDING`` only its last ``window``
    ones, and ``FADING`` gives the newest sample weight 1 and every older one ``fading`` times the
    weight of the sample after it.

    >>> Horizon("fading") is Horizon.FADING
    True
    """

    OVERALL = "overall"
    SLIDING = "sliding"
    FADING = "fading"


def check_horizons(tracks: int, window: int, fading: float) -> None:
    """Check the settings that all evaluators share.

    Raises:
        ConfigurationError: if one of them has a value that its rule does not allow.
    """
    if tracks < 1:
        raise ConfigurationError(f"tracks is {tracks}, but must be >= 1")
    if whole("window", window) < 1:
        raise ConfigurationError(f"window is {window}, but must be >= 1")
    if window * tracks > MOST_REMEMBERED:
        most = MOST_REMEMBERED // tracks
        raise ConfigurationError(f"window is {window}, but must be <= {most} of {tracks} tracks")
    if not 0.01 <= real("fading", fading) <= 1.0:
        raise ConfigurationError(f"fading is {fading}, but must be >= 0.01 and <= 1")


def growing_weights(fading: float) -> NDArray[np.float64]:
    """Weights ``fading ** -j`` for j = 0 up to the length of a period.

    Instead of shrinking all sums at every sample, each sample weighs more than the one before it,
    and all sums are divided by the last of these weights once a period, before it would be used.
    """
    shrink = -math.log(fading)
    limit = math.log(LARGEST_WEIGHT)
    period = LONGEST_PERIOD if shrink * LONGEST_PERIOD <= limit else int(limit / shrink)
    return np.array([fading**-j for j in range(period + 1)])
