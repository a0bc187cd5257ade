"""Corrections of linear forecasts, learned from their last errors.

The errors are the moving-average part of an ARMA model, with weights by recursive extended least
squares (Ljung and Söderström, "Theory and practice of recursive identification", 1983). They are
learned with a shorter memory than the forecasts themselves, and so follow recent changes. Weights
vary through the season, as harmonics: mornings and evenings need other ones.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from streamnet.features.forecasts.regression import (
    FIRST_LONG_SEASON,
    FIRST_SEASON,
    FIRST_STEP,
    INTERCEPT,
    clip_features,
    look_up,
)
from streamnet.jit import exact

ERRORS = 7  # features whose weights vary through the season; others are the intercept and two more
HARMONICS = 2  # of the season
CORRECTIONS = 3 + ERRORS + 2 * HARMONICS * (1 + ERRORS)
FORGETTING = 0.998
VARIANCE = 0.001  # of the initial weights


def start_corrections() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Weights, covariances and mean errors of corrections that are 0."""
    covariances = np.stack([VARIANCE * np.eye(CORRECTIONS)] * 2)
    return np.zeros((2, CORRECTIONS)), covariances, np.zeros((2, 2))


@exact
def _error(errors: NDArray[np.float64], index: int, latest: int) -> float:
    """The error of a forecast, 0 if it is not known."""
    error = look_up(errors, index, latest)
    return error if np.isfinite(error) else 0.0


@exact
def write_errors(
    errors: NDArray[np.float64],
    index: int,
    latest: int,
    season: int,
    long: int,
    features: NDArray[np.float64],
    corrections: NDArray[np.float64],
) -> None:
    """Write what the error of a forecast is predicted from.

    Args:
        errors: Errors of earlier forecasts by number of the target, in a ring.
        index: Number of the target.
        latest: Number of the latest known target.
        season: Steps of the season, 0 for none.
        long: Steps of the long season.
        features: What the forecast is made from, see `write_features`.
        corrections: Written.
    """
    steps = index - latest
    corrections[:] = 0.0
    corrections[0] = INTERCEPT
    corrections[1] = _error(errors, latest, latest)
    corrections[2] = features[0]
    corrections[3] = features[FIRST_STEP]
    corrections[4] = features[FIRST_SEASON]
    corrections[5] = features[FIRST_LONG_SEASON]
    first = 1 + ERRORS
    corrections[first] = _error(errors, latest - 1, latest)
    if long > 0:
        corrections[6] = _error(errors, index - (steps + long - 1) // long * long, latest)
    if season > 0:
        away = (steps + season - 1) // season * season
        corrections[7] = _error(errors, index - away, latest)
        corrections[first + 1] = _error(errors, index - away - season, latest)
    clip_features(corrections[: first + 2])
    if season > 0:
        _write_harmonics(index % season / season, first, corrections)


@exact
def _write_harmonics(phase: float, first: int, corrections: NDArray[np.float64]) -> None:
    """Write the first features times each harmonic of the season at a phase from 0 to 1."""
    angle = 2.0 * math.pi * phase
    cosine, sine = math.cos(angle), math.sin(angle)
    x, y = 1.0, 0.0
    at = first + 2
    for _ in range(HARMONICS):
        x, y = x * cosine - y * sine, x * sine + y * cosine
        for k in range(first):
            corrections[at] = x * corrections[k]
            corrections[at + first] = y * corrections[k]
            at += 1
        at += first
