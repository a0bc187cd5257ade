"""Peer: a learner that takes part, as a name and a way to prepare it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from shutil import which
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamnet.samples import Task
from tests.benchmarks.peers.rows import Rows

__all__ = (
    "BASELINES",
    "BOTH",
    "NO_ANSWER",
    "NUMBERS",
    "OWN_PACKAGE",
    "WORDS",
    "Answers",
    "Learn",
    "Peer",
    "Prepared",
    "Scored",
)

BASELINES = ("no-change", "majority-or-mean")  # names of those that learn nothing
NO_ANSWER = -1  # of a classifier that has not seen a label yet
OWN_PACKAGE = "streamnet"  # may be a checkout that is not installed
WORDS = (Task.CLASSIFICATION,)
NUMBERS = (Task.REGRESSION,)
BOTH = (Task.CLASSIFICATION, Task.REGRESSION)

Answers = (
    Sequence[Any] | NDArray[Any]
)  # one a sample, made before it was learned: index of a label, or a number


class Scored(NamedTuple):
    """Answers of a classifier that also tells how likely the rarest label was."""

    answers: Answers
    scores: Sequence[float] | NDArray[np.float64]  # of the rarest label, one a sample; any scale


Learn = Callable[[], Answers | Scored]  # test, then train, sample by sample; only this is timed


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
    command: str = ""  # that must be there, too

    @property
    def missing(self) -> str:
        """What is not installed of all that it needs; empty if nothing is."""
        if self.package and self.package != OWN_PACKAGE:
            try:
                distribution(self.package)
            except PackageNotFoundError:
                return f"pip install {self.package}"
        if self.command and which(self.command) is None:
            return f"the command {self.command}"
        return ""
