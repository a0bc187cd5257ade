"""Recursive least squares on lags of the target, a season apart: a linear forecast."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamnet.jit import exact

SEASONS = 3  # lags a season apart
LONG_SEASONS = 2
FEATURES = 4 + 2 * SEASONS + 2 * LONG_SEASONS
FIRST_SEASON = 4  # place of the change a season ago
SHARES = (0.6, 0.25, 0.15)  # initial weights of the changes one, two and three seasons ago
RETURN = 0.3  # initial fraction of the last unusual change that is expected to be undone
INTERCEPT = 0.1  # a constant feature
FORGETTING = 0.9998
VARIANCE = 0.005  # of the initial weights
MAX_VARIANCE = 1.0
ROBUST = 4.0  # mean absolute errors, to which errors are clipped
MEMORY = 50.0  # targets over which errors are averaged
MEAN_ERROR, LEARNED = range(2)


def start_regressions() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Weights, covariances and errors of two regressions that have learned nothing.

    They begin as an exponential smoothing of the changes of the last seasons, which need not be
    learned: short streams have no time for that.
    """
    weights = np.zeros((2, FEATURES))
    weights[:, 1] = -RETURN
    for k, share in enumerate(SHARES):
        weights[:, FIRST_SEASON + 2 * k] = share
        weights[:, FIRST_SEASON + 2 * k + 1] = RETURN * share
    covariances = np.stack([VARIANCE * np.eye(FEATURES)] * 2)
    return weights, covariances, np.zeros((2, 2))


@exact
def _value(past: NDArray[np.float64], index: int, latest: int) -> float:
    if index < 0 or index > latest or index <= latest - past.size:
        return np.nan
    return float(past[index % past.size])


@exact
def _difference(
    past: NDArray[np.float64], index: int, other: int, latest: int, otherwise: float
) -> float:
    """Difference of two targets, or another number if one is not known."""
    away = _value(past, index, latest) - _value(past, other, latest)
    return away if np.isfinite(away) else otherwise


@exact
def write_features(
    past: NDArray[np.float64],
    index: int,
    latest: int,
    season: int,
    long: int,
    mean: float,
    scale: float,
    features: NDArray[np.float64],
) -> None:
    """Write what the change from the latest target to that of ``index`` is predicted from.

    Args:
        past: Known targets by number, in a ring.
        index: Number of the target.
        latest: Number of the latest known target.
        season: Steps of the season, 0 for none.
        long: Steps of the long season.
        mean: Distance of the mean of all targets from the latest one, divided by ``scale``.
        scale: Their standard deviation.
        features: Written.
    """
    steps = index - latest
    features[0] = mean
    features[1] = _difference(past, latest, latest - 1, latest, 0.0) / (scale * steps)
    features[2] = _difference(past, latest - 1, latest - 2, latest, 0.0) / (scale * steps)
    features[3] = INTERCEPT
    at = FIRST_SEASON
    for part in range(2):
        period = season if part == 0 else long
        change = innovation = 0.0  # of the season before, where one is not known
        for k in range(SEASONS if part == 0 else LONG_SEASONS):
            if period > 0:
                away = (steps + period - 1) // period * period + k * period
                now = latest - away
                change = _difference(past, index - away, now, latest, change)
                innovation = _difference(past, now, now - 1, latest, innovation)
            features[at] = change / scale
            features[at + 1] = innovation / (scale * steps)
            at += 2


@exact
def predict_change(features: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """The predicted change, divided by the scale of the features."""
    total = 0.0
    for f in range(features.size):
        total += features[f] * weights[f]
    return total


@exact
def learn_forecast(
    change: float,
    features: NDArray[np.float64],
    weights: NDArray[np.float64],
    covariance: NDArray[np.float64],
    errors: NDArray[np.float64],
) -> None:
    """Learn a change by recursive least squares; large errors count less."""
    n = features.size
    error = change - predict_change(features, weights)
    errors[LEARNED] += 1.0
    errors[MEAN_ERROR] += (abs(error) - errors[MEAN_ERROR]) / min(errors[LEARNED], MEMORY)
    limit = ROBUST * errors[MEAN_ERROR]
    error = min(max(error, -limit), limit)
    gain = np.zeros(n)
    length = FORGETTING
    for a in range(n):
        for b in range(n):
            gain[a] += covariance[a, b] * features[b]
        length += gain[a] * features[a]
    largest = 0.0
    for a in range(n):
        weights[a] += error * gain[a] / length
        for b in range(a + 1):
            c = (covariance[a, b] - gain[a] * gain[b] / length) / FORGETTING
            covariance[a, b] = c
            covariance[b, a] = c
        largest = max(largest, covariance[a, a])
    if largest > MAX_VARIANCE:
        for a in range(n):
            for b in range(n):
                covariance[a, b] *= MAX_VARIANCE / largest
