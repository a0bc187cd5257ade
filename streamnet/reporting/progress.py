"""Progress of a run: the leader board, served scores and running statistics."""

from __future__ import annotations

from math import nan
from typing import NamedTuple

import numpy as np

from streamnet.learning.contenders import BASELINES
from streamnet.learning.learner import Learner
from streamnet.samples import Task

__all__ = (
    "LeaderBoard",
    "LeaderBoardRow",
    "PipelineStatistics",
    "ServedScores",
    "build_leader_board",
    "build_served_scores",
)


class LeaderBoardRow(NamedTuple):
    """A candidate on the leader board."""

    candidate: int
    settings: str
    loss: float  # faded mean; inf before its first sample
    champion: bool
    quarantined: bool


class ServedScores(NamedTuple):
    """What the answers so far were worth, beside those of the baselines."""

    samples: int  # scored so far
    measure: str  # accuracy or mae
    served: float  # that measure of what was served so far; NaN before the first sample
    baselines: dict[str, float]  # the same of the baselines


class LeaderBoard(NamedTuple):
    """A moment of a run, read from the serving stage alone, which is never ahead of itself."""

    task: Task
    samples: int  # these four as in `ServedScores`
    measure: str
    served: float
    baselines: dict[str, float]
    rows: tuple[LeaderBoardRow, ...]  # the best first
    switches: tuple[tuple[int, str], ...]  # the last changes: number of the sample, new champion
    curve: tuple[float, ...]  # the measure over equal stretches of the stream


def build_served_scores(learner: Learner) -> ServedScores:
    """The scores of a learner, which may be learning meanwhile."""
    server = learner.server
    sums, samples = server.errors, server.scored  # in this order, so that no error is ahead
    accuracy = learner.task is Task.CLASSIFICATION
    errors = (sums / (samples or nan)).tolist()
    scores = [1.0 - error for error in errors] if accuracy else errors
    return ServedScores(
        samples=samples,
        measure="accuracy" if accuracy else "mae",
        served=scores[0],
        baselines=dict(zip(server.alternatives.names[BASELINES[0] :], scores[1:], strict=True)),
    )


def build_leader_board(learner: Learner, *, rows: int = 8, points: int = 60) -> LeaderBoard:
    """The board of a learner; it may be learning meanwhile."""
    return LeaderBoard(
        learner.task,
        *build_served_scores(learner),
        rows=_rows(learner)[:rows],
        switches=_switches(learner),
        curve=_curve(learner, points, accuracy=learner.task is Task.CLASSIFICATION),
    )


def _rows(learner: Learner) -> tuple[LeaderBoardRow, ...]:
    server = learner.server
    losses = server.selector.losses().tolist()
    rows = [
        LeaderBoardRow(
            member.serial,
            member.settings.describe(),
            losses[slot],
            slot == server.selector.champion,
            server.quarantined(slot),
        )
        for slot, member in enumerate(server.members)
    ]
    return tuple(sorted(rows, key=lambda row: (row.quarantined, row.loss, row.candidate)))


def _switches(learner: Learner) -> tuple[tuple[int, str], ...]:
    last = list(learner.server.changes)[-4:]
    return tuple((change.number, change.after.settings.describe()) for change in reversed(last))


def _curve(learner: Learner, points: int, *, accuracy: bool) -> tuple[float, ...]:
    curve = learner.server.curve
    numbers = np.concatenate(([0], curve.samples()))
    errors = np.concatenate(([0.0], curve.values()[:, 0] if len(numbers) > 1 else []))
    if len(numbers) != len(errors) or len(numbers) < 2:
        return ()
    edges = np.linspace(0, numbers[-1], min(points, len(numbers) - 1) + 1)
    steps = np.diff(np.interp(edges, numbers, errors)) / np.diff(edges)
    return tuple((1.0 - steps if accuracy else steps).tolist())


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
