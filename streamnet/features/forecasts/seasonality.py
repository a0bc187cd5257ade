"""The season of a series of targets, found from its autocorrelation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamnet.jit import exact

SHORTEST = 2  # steps of the shortest season
SEASONS = 2.5  # seasons that must have been seen
CLIP = 3.0  # mean absolute changes, to which single changes are clipped
LEAST_CORRELATION = 0.15
SIGNIFICANT = 3.0  # standard errors of a correlation
LEAST_PROMINENCE = 0.15  # of a peak above the lowest correlation before it
NEARLY_BEST = 0.8  # fraction of the highest peak from which on a shorter season is preferred
MULTIPLES = 16  # of the season among which the long season is searched
STEPS = 4  # of a series that are correlated at once
NEARLY_AS_GOOD = 0.9  # fraction of the season's correlation that the long season must have


@exact
def changes(series: NDArray[np.float64]) -> NDArray[np.float64]:
    """Changes of a series from step to step, clipped and without their mean; 0 for unknown ones."""
    n = series.size
    changed = np.zeros(n)
    total = known = 0.0
    for i in range(1, n):
        if np.isfinite(series[i]) and np.isfinite(series[i - 1]):
            total += abs(series[i] - series[i - 1])
            known += 1.0
    limit = CLIP * total / max(known, 1.0)
    mean = 0.0
    for i in range(1, n):
        if np.isfinite(series[i]) and np.isfinite(series[i - 1]):
            changed[i] = min(max(series[i] - series[i - 1], -limit), limit)
            mean += changed[i] / max(known, 1.0)
    for i in range(1, n):
        if np.isfinite(series[i]) and np.isfinite(series[i - 1]):
            changed[i] -= mean
    return changed


@exact
def autocorrelation(series: NDArray[np.float64], lags: int) -> NDArray[np.float64]:
    """Autocorrelation of a series of mean 0 for lags 0 to ``lags``."""
    n = series.size
    sums = np.zeros(lags + 1)
    # Backwards, and zeros before the first one: so products of consecutive lags are vectorized.
    earlier = np.zeros(n + lags)
    earlier[:n] = series[::-1]
    whole = n // STEPS * STEPS
    for i in range(0, whole, STEPS):
        a, b, c, d = series[i], series[i + 1], series[i + 2], series[i + 3]
        at = n - 1 - i
        before_a, before_b = earlier[at:], earlier[at - 1 :]
        before_c, before_d = earlier[at - 2 :], earlier[at - 3 :]
        for lag in range(lags + 1):
            total = sums[lag] + a * before_a[lag]
            total += b * before_b[lag]
            total += c * before_c[lag]
            sums[lag] = total + d * before_d[lag]
    for i in range(whole, n):
        for lag in range(lags + 1):
            sums[lag] += series[i] * earlier[n - 1 - i + lag]
    total = sums[0]
    for lag in range(lags + 1):
        sums[lag] = sums[lag] / total * n / (n - lag) if total > 0.0 else 0.0
    return sums


@exact
def agreement(series: NDArray[np.float64], lags: int) -> NDArray[np.float64]:
    """Agreement of classes with those some steps before, beyond chance, for lags 0 to ``lags``."""
    n = series.size
    same = np.zeros(lags + 1)
    pairs = np.zeros(lags + 1)
    for i in range(n):
        if not np.isfinite(series[i]):
            continue
        for lag in range(min(lags, i) + 1):
            earlier = series[i - lag]
            pairs[lag] += np.isfinite(earlier)
            same[lag] += earlier == series[i]
    chance = 0.0
    counts = np.zeros(1)
    for i in range(n):
        if np.isfinite(series[i]):
            k = int(series[i])
            if k >= counts.size:
                more = np.zeros(k + 1)
                more[: counts.size] = counts
                counts = more
            counts[k] += 1.0
    for k in range(counts.size):
        chance += (counts[k] / max(pairs[0], 1.0)) ** 2
    for lag in range(lags + 1):
        match = same[lag] / max(pairs[lag], 1.0)
        same[lag] = (match - chance) / (1.0 - chance) if chance < 1.0 else 0.0
    return same


@exact
def find_peak(correlation: NDArray[np.float64], n: int) -> int:
    """The shortest lag with nearly the highest peak of a correlation of n steps; 0 for none."""
    best = 0.0
    for attempt in range(2):
        lowest = correlation[1] if correlation.size > 1 else 0.0
        highest = 0.0
        for lag in range(SHORTEST, correlation.size - 1):
            here = correlation[lag]
            lowest = min(lowest, correlation[lag - 1])
            peak = here > correlation[lag - 1] and here >= correlation[lag + 1]
            least = max(LEAST_CORRELATION, SIGNIFICANT / np.sqrt(n - lag))
            if not peak or here < least or here - lowest < LEAST_PROMINENCE:
                continue
            if attempt == 1 and here >= NEARLY_BEST * best:
                return lag
            highest = max(highest, here)
        if highest == 0.0:
            return 0
        best = highest
    return 0


@exact
def find_long(correlation: NDArray[np.float64], season: int) -> int:
    """The multiple of a season with the highest autocorrelation, if that is as good; else 0."""
    longest = 0
    highest = NEARLY_AS_GOOD * correlation[season]
    for k in range(2, MULTIPLES + 1):
        lag = k * season
        if lag < correlation.size and correlation[lag] > highest:
            longest, highest = lag, correlation[lag]
    return longest


@exact
def find_season(
    series: NDArray[np.float64], given: int, most: int, numeric: bool
) -> tuple[int, int]:
    """The season of a series, and a longer one, a multiple of it, that repeats as well.

    Args:
        series: Numbers or classes of consecutive steps, NaN for unknown ones.
        given: The season, or 0 to find it.
        most: Longest season.
        numeric: Whether they are numbers, whose changes are correlated, or classes.

    Returns:
        Two numbers of steps, 0 for none.
    """
    n = series.size
    lags = min(most, int(n / SEASONS))
    if lags <= SHORTEST:
        return given, 0
    if not numeric:
        correlation = agreement(series, lags)
    else:
        correlation = autocorrelation(changes(series), lags)
    season = given if given > 0 else find_peak(correlation, n)
    if season == 0 or season >= correlation.size:
        return season, 0
    return season, find_long(correlation, season)
