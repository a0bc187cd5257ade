"""Streams with and without changes, and detectors of every kind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from streamnet.drift import ADWIN, DDM, HDDMA, HDDMW, DriftDetector, PageHinkley

__all__ = (
    "DETECTORS",
    "LOSSES",
    "SEEDS",
    "bits",
    "delays",
    "drifting",
    "false_alarms",
    "losses",
    "same_changes",
)

SEEDS = range(100)

# Of every kind, the settings under which it sees changes in values from 0 to 1 soon.
DETECTORS: dict[str, Callable[[], DriftDetector]] = {
    "ADWIN": ADWIN,
    "ADWIN every value": lambda: ADWIN(clock=1, max_buckets=3, min_window_length=1, grace_period=1),
    "DDM": DDM,
    "HDDMA": HDDMA,
    "HDDMA both": lambda: HDDMA(direction="both"),
    "HDDMW": HDDMW,
    "HDDMW both": lambda: HDDMW(direction="both"),
    "PageHinkley": lambda: PageHinkley(delta=0.1, threshold=10.0),
    "PageHinkley both": lambda: PageHinkley(delta=0.1, threshold=10.0, direction="both"),
}


def bits(rate: float, samples: int, seed: int) -> NDArray[np.float64]:
    """Errors, as 1, at this rate."""
    return (np.random.default_rng(seed).random(samples) < rate).astype(float)


def drifting(seed: int) -> NDArray[np.float64]:
    """Errors whose rate rises and falls at once, and then rises bit by bit."""
    rates = np.concatenate([np.repeat([0.2, 0.6, 0.1, 0.4], 500), np.linspace(0.4, 0.9, 1000)])
    return (np.random.default_rng(seed).random(rates.size) < rates).astype(float)


def losses(seed: int) -> NDArray[np.float64]:
    """Skewed losses within 0 and 1 whose mean rises, falls and rises."""
    random = np.random.default_rng(seed)
    parts = [random.beta(1.0, b, 600) for b in (9.0, 1.5, 6.0, 0.7)]
    return np.concatenate(parts)


LOSSES: dict[str, NDArray[np.float64]] = {
    **{f"bits {seed}": drifting(seed) for seed in range(8)},
    **{f"losses {seed}": losses(seed) for seed in range(8)},
    "first few wrong": np.concatenate([np.ones(5), bits(0.1, 1000, 1), bits(0.5, 300, 2)]),
    "alternating": np.tile([0.0, 1.0], 1500),
    "one step": np.concatenate([np.full(700, 0.25), np.full(700, 0.75)]),
    "constant": np.full(1000, 0.25),
    "all wrong": np.ones(500),
}


def false_alarms(make: Callable[[], DriftDetector], rate: float, samples: int) -> float:
    """Changes noticed for each 10,000 errors of a rate that stays, over 100 seeds."""
    found = sum(make().update(bits(rate, samples, seed)).size for seed in SEEDS)
    return found / (len(SEEDS) * samples / 10_000)


def delays(
    make: Callable[[], DriftDetector], before: float, after: float, samples: int = 2000
) -> NDArray[np.float64]:
    """Values after an abrupt change of the error rate until it is noticed, for 100 seeds.

    What is noticed before the change is left out; inf where the change is missed.
    """
    found = np.full(len(SEEDS), np.inf)
    for seed in SEEDS:
        detector = make()
        detector.update(bits(before, samples, seed))
        positions = detector.update(bits(after, samples, 1000 + seed))
        if positions.size:
            found[seed] = positions[0]
    return found


def same_changes(detector: DriftDetector, expected: list[list[float]]) -> None:
    """Check age and means of what the last update noticed."""
    found = [change[1:] for change in detector.changes]
    np.testing.assert_allclose(
        np.reshape(found, (-1, 3)), np.reshape(expected, (-1, 3)), 1e-9, 1e-9
    )
