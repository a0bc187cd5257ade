"""The season of a series, found from its autocorrelation."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from streamnet.features.forecasts.seasonality import (
    agreement,
    autocorrelation,
    changes,
    find_season,
)

MOST = 200


def daily(n: int, season: int, noise: float = 0.3, seed: int = 1) -> np.ndarray:
    """A random pattern that repeats, and noise."""
    rng = np.random.default_rng(seed)
    return np.tile(rng.normal(size=season), n // season + 1)[:n] + noise * rng.normal(size=n)


@pytest.mark.parametrize("season", [2, 5, 12, 24, 60])
def test_a_pattern_that_repeats_is_found(season: int) -> None:
    assert find_season(daily(900, season), 0, MOST, True)[0] == season


@pytest.mark.parametrize("season", [3, 7, 24])
def test_a_trend_and_gaps_do_not_hide_the_season(season: int) -> None:
    series = daily(900, season) + 0.05 * np.arange(900.0)
    series[np.random.default_rng(2).random(900) < 0.1] = np.nan
    assert find_season(series, 0, MOST, True)[0] == season


def test_noise_and_a_random_walk_have_no_season() -> None:
    noise = np.random.default_rng(3).normal(size=2000)
    assert find_season(noise, 0, MOST, True) == (0, 0)
    assert find_season(np.cumsum(noise), 0, MOST, True) == (0, 0)
    assert find_season(np.zeros(2000), 0, MOST, True) == (0, 0)


def test_a_week_of_days_is_the_long_season() -> None:
    week = np.repeat([1.0, 1.1, 1.0, 1.2, 1.1, 0.8, 0.7], 24)
    day = 2.0 + np.sin(np.arange(168) * 2.0 * np.pi / 24.0)
    assert find_season(np.tile(week * day, 10), 0, 400, True) == (24, 168)


def test_the_season_of_classes_is_found() -> None:
    rng = np.random.default_rng(4)
    classes = np.tile([0.0, 0.0, 1.0, 2.0, 1.0, 0.0, 2.0], 200)
    classes[rng.random(classes.size) < 0.2] = rng.integers(0, 3)
    assert find_season(classes, 0, MOST, False)[0] == 7
    assert find_season(rng.integers(0, 3, 1400).astype(float), 0, MOST, False) == (0, 0)


def test_a_given_season_is_kept() -> None:
    assert find_season(daily(900, 24), 7, MOST, True)[0] == 7
    assert find_season(np.empty(0), 7, MOST, True) == (7, 0)


def test_the_autocorrelation_is_that_of_numpy() -> None:
    series = np.random.default_rng(5).normal(size=300)
    series -= series.mean()
    found = autocorrelation(series, 40)
    expected = [series[lag:] @ series[: 300 - lag] / (300 - lag) for lag in range(41)]
    assert_allclose(found, np.array(expected) * 300 / (series @ series), rtol=1e-9)


def test_agreement_is_corrected_for_chance() -> None:
    assert_allclose(agreement(np.array([0.0, 1.0] * 500), 2), [1.0, -1.0, 1.0])
    assert_allclose(agreement(np.zeros(10), 2), [0.0, 0.0, 0.0])


def test_large_changes_are_clipped() -> None:
    assert np.abs(changes(np.array([*range(100), 1e9, *range(100)], float))).max() < 1e8
