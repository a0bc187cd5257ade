"""PipelineStatistics: where a run stands, in numbers."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ("PipelineStatistics",)


class PipelineStatistics(NamedTuple):
    """Where a run stands."""

    samples: int  # learned so far
    rejected: int
    seconds: float  # since the first sample could be learned
    startup: float  # seconds before that
    progress: float | None  # share of the source that was learned or rejected
    champion: str  # settings of the champion in words, empty before there is one
    switches: int
    waiting: tuple[int, ...]  # blocks waiting before each stage
    earlier: int = 0  # samples that the runs before this one learned
