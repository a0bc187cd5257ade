"""How fast the machine is at the moment, where other guests of it come and go."""

from __future__ import annotations

import statistics
from time import perf_counter

__all__ = ("QUIET", "pace")

QUIET = 1.15  # times the quickest pace: slower is disturbed
LOOPS = 5
STEPS = 200_000


def pace() -> float:
    """Seconds that a fixed loop of plain Python takes, the median of a few."""
    times = []
    for _ in range(LOOPS):
        start = perf_counter()
        count = 0
        for step in range(STEPS):
            count += step
        times.append(perf_counter() - start)
    return statistics.median(times)
