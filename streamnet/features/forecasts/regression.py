"""Recursive least squares on changes of the target, a season apart: a linear forecast."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamnet.jit import exact

STEP_CHANGES = 3  # the last changes from step to step
SEASONS = 3  # seasons back, of the season and of the long one
SEASON_FEATURES = 4
LEVELS = 3  # exponential means
FIRST_STEP, FIRST_LEVEL = 2, 2 + STEP_CHANGES
FIRST_SEASON = FIRST_LEVEL + LEVELS  # place of the change a season ago
FIRST_LONG_SEASON = FIRST_SEASON + SEASONS * SEASON_FEATURES
FEATURES = FIRST_LONG_SEASON + SEASONS * SEASON_FEATURES
MEMORIES = (24, 168)  # targets over which levels are averaged, if there are no seasons
LONGEST = 4  # times the second memory is the third one
SHARES = (0.6, 0.25, 0.15)  # initial weights of the changes one, two and three seasons ago
RETURN = 0.3  # initial fraction of the last unusual change that is expected to be undone
INTERCEPT = 0.1  # a constant feature
FORGETTING = 0.9998
VARIANCE = 0.005  # of the initial weights
MAX_VARIANCE = 1.0
ROBUST = 4.0  # mean absolute errors, to which errors are clipped
LARGEST = 10.0  # standard deviations, to which features are clipped: larger ones end all precision
MEMORY = 50.0  # targets over which errors are averaged
MEAN_ERROR, LEARNED = range(2)
COUNT = LEVELS  # place of the number of targets after the levels


def start_regressions() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Weights, covariances and errors of two regressions that have learned nothing.

    They begin as an exponential smoothing of the changes of the last seasons, which need not be
    learned: short streams have no time for that.
    """
    weights = np.zeros((2, FEATURES))
    weights[:, FIRST_STEP] = -RETURN
    for k, share in enumerate(SHARES):
        weights[:, FIRST_SEASON + SEASON_FEATURES * k] = share
        weights[:, FIRST_SEASON + SEASON_FEATURES * k + 1] = RETURN * share
    covariances = np.stack([VARIANCE * np.eye(FEATURES)] * 2)
    return weights, covariances, np.zeros((2, 2))


@exact
def update_levels(levels: NDArray[np.float64], season: int, long: int, y: float) -> None:
    """Update exponential means over about a season, a long season and four long seasons."""
    levels[COUNT] += 1.0
    memory = season if season > 0 else MEMORIES[0]
    for k in range(LEVELS):
        levels[k] += (y - levels[k]) * max(1.0 / memory, 1.0 / levels[COUNT])
        if k == 0:
            memory = long if long > 0 else (7 * season if season > 0 else MEMORIES[1])
        else:
            memory *= LONGEST


@exact
def look_up(past: NDArray[np.float64], index: int, latest: int) -> float:
    """The target of a sample, NaN if it is not known or no longer kept."""
    if index < 0 or index > latest or index <= latest - past.size:
        return np.nan
    return float(past[index % past.size])


@exact
def _difference(
    past: NDArray[np.float64], index: int, other: int, latest: int, otherwise: float
) -> float:
    """Difference of two targets, or another number if one is not known."""
    away = look_up(past, index, latest) - look_up(past, other, latest)
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
    levels: NDArray[np.float64],
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
        levels: Exponential means of the targets, see `update_levels`.
        features: Written.
    """
    steps = index - latest
    features[0] = mean
    features[1] = INTERCEPT
    for k in range(STEP_CHANGES):
        change = _difference(past, latest - k, latest - k - 1, latest, 0.0)
        features[FIRST_STEP + k] = change / (scale * steps)
    now = look_up(past, latest, latest)
    for k in range(LEVELS):
        features[FIRST_LEVEL + k] = (levels[k] - now) / (scale * steps)
    for part in range(2):
        period = season if part == 0 else long
        first = FIRST_SEASON if part == 0 else FIRST_LONG_SEASON
        features[first : first + SEASONS * SEASON_FEATURES] = 0.0
        if period > 0:
            away = (steps + period - 1) // period * period
            _write_seasons(past, index, latest, away, period, scale, features[first:])
    clip_features(features)


@exact
def clip_features(features: NDArray[np.float64]) -> None:
    """Clip features to 10 standard deviations."""
    for f in range(features.size):
        features[f] = min(max(features[f], -LARGEST), LARGEST)


@exact
def _write_seasons(
    past: NDArray[np.float64],
    index: int,
    latest: int,
    away: int,
    period: int,
    scale: float,
    features: NDArray[np.float64],
) -> None:
    """Write the changes of earlier seasons: to the target, and of one step before and after.

    Where one is not known, it is that of the season after.
    """
    steps = index - latest
    change = innovation = following = next_one = 0.0
    for k in range(SEASONS):
        then, now = index - away - k * period, latest - away - k * period
        change = _difference(past, then, now, latest, change)
        innovation = _difference(past, now, now - 1, latest, innovation)
        following = _difference(past, then + 1, then, latest, following)
        next_one = _difference(past, then + 2, then + 1, latest, next_one)
        at = k * SEASON_FEATURES
        features[at] = change / scale
        features[at + 1] = innovation / (scale * steps)
        features[at + 2] = following / (scale * steps)
        features[at + 3] = next_one / (scale * steps)


@exact
def predict_change(features: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """The predicted change, divided by the scale of the features."""
    total = 0.0
    for f in range(features.size):
        total += features[f] * weights[f]
    return total


@exact
def learn_change(
    error: float,
    features: NDArray[np.float64],
    weights: NDArray[np.float64],
    covariance: NDArray[np.float64],
    errors: NDArray[np.float64],
    forgetting: float,
) -> None:
    """Learn from an error by recursive least squares; large errors count less.

    Features that have always been 0 cost no time, and their variances stay as they are.
    """
    n = features.size
    errors[LEARNED] += 1.0
    errors[MEAN_ERROR] += (abs(error) - errors[MEAN_ERROR]) / min(errors[LEARNED], MEMORY)
    limit = ROBUST * errors[MEAN_ERROR]
    error = min(max(error, -limit), limit)
    gain = np.zeros(n)
    length = forgetting
    for b in range(n):
        feature = features[b]
        if feature != 0.0:
            row = covariance[b]  # and column: it is symmetric
            for a in range(n):
                gain[a] += row[a] * feature
    for a in range(n):
        length += gain[a] * features[a]
    # Products of scaled gains are symmetric to the last bit; what is not would grow.
    scaled = gain / np.sqrt(length)
    largest, growth = 0.0, 1.0 / forgetting
    for a in range(n):
        if gain[a] == 0.0:
            continue
        weights[a] += error * gain[a] / length
        row = covariance[a]
        for b in range(n):
            row[b] = (row[b] - scaled[a] * scaled[b]) * growth
        largest = max(largest, row[a])
    if largest > MAX_VARIANCE:
        shrinkage = MAX_VARIANCE / largest
        for a in range(n):
            if gain[a] != 0.0:
                row = covariance[a]
                for b in range(n):
                    row[b] *= shrinkage
