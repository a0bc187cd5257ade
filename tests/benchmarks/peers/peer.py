"""Peer: a learner that takes part, as a name and a way to prepare it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from streamnet.samples import Task
from tests.benchmarks.peers.rows import Rows

__all__ = (
    "BASELINES",
    "BOTH",
    "NO_ANSWER",
    "NUMBERS",
    "WORDS",
    "Answers",
    "Learn",
    "Peer",
    "Prepared",
)

BASELINES = ("no-change", "majority-or-mean")  # names of those that learn nothing
NO_ANSWER = -1  # of a classifier that has not seen a label yet
WORDS = (Task.CLASSIFICATION,)
NUMBERS = (Task.REGRESSION,)
BOTH = (Task.CLASSIFICATION, Task.REGRESSION)

Answers = Sequence[Any]  # one a sample, made before it was learned: index of a label, or a number
Learn = Callable[[], Answers]  # test, then train, sample by sample; only this is timed


class Prepared(NamedTuple):
    """A learner with its samples before it."""

    learn: Learn
    setting: str  # in words; of one that was tuned, what was chosen


class Peer(NamedTuple):
    """A learner that takes part.

    Its package is imported by ``prepare`` only, so that one that is absent stops no other.
    """

    name: str
    package: str  # as pip knows it; empty for the baselines
    tasks: tuple[Task, ...]
    random: bool  # whether seeds make a difference
    prepare: Callable[[Rows, int], Prepared]  # of the samples and a seed
