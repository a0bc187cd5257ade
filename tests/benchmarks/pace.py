"""How fast the machine is at the moment, where other guests of it come and go."""

from __future__ import annotations

import os
import statistics
from time import perf_counter

__all__ = ("QUIET", "pace")

QUIET = 1.15  # times the quickest pace: slower is disturbed
LOOPS = 5
STEPS = 200_000


def pace() -> float:
    """Seconds that a fixed loop of plain Python takes, on the slowest processor of this process."""
    allowed = os.sched_getaffinity(0)
    paces = []
    try:
        for processor in allowed:
            os.sched_setaffinity(0, {processor})
            paces.append(statistics.median(_loop() for _ in range(LOOPS)))
    finally:
        os.sched_setaffinity(0, allowed)
    return max(paces)


def _loop() -> float:
    start = perf_counter()
    count = 0
    for step in range(STEPS):
        count += step
    return perf_counter() - start
