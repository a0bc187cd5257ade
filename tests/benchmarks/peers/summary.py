"""Summary: the runs of one peer on one stream as mean and spread over seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import mean
from typing import NamedTuple

from tests.benchmarks.peers.record import Record

__all__ = ("Figure", "Summary", "summaries")


class Figure(NamedTuple):
    """A mean, and half of the range from lowest to highest."""

    mean: float
    spread: float


class Summary(NamedTuple):
    """What a peer's runs on a stream gave."""

    peer: str
    runs: list[Record]  # that are done
    reason: str  # why there are none

    def figure(self, value: Callable[[Record], float]) -> Figure:
        """A value of the runs."""
        values = [value(run) for run in self.runs]
        return Figure(mean(values), (max(values) - min(values)) / 2)

    def measure(self, name: str) -> Figure:
        """A measure by name."""
        return self.figure(lambda run: run.measures[name])

    @property
    def main(self) -> str:
        """The measure that peers are ordered by."""
        return next(iter(self.runs[0].measures))


def summaries(runs: Sequence[Record]) -> list[Summary]:
    """Peers with the best first, and those that have failed last."""
    found = []
    for peer in dict.fromkeys(run.peer for run in runs):
        of = sorted((run for run in runs if run.peer == peer), key=lambda run: run.seed)
        bad = next((run for run in of if run.status != "done"), None)
        reason = f"{bad.status}: {bad.reason}" if bad else ""
        found.append(Summary(peer, [run for run in of if run.status == "done"], reason))
    return sorted(found, key=_order)


def _order(summary: Summary) -> tuple[int, float]:
    if not summary.runs:
        return 1, 0.0
    value = summary.measure(summary.main).mean
    return 0, value if summary.main == "mae" else -value
