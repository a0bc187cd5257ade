"""streamnet itself: the file is read, encoded and learned with defaults, all of it timed."""

from __future__ import annotations

from typing import Any

import anyio
import numpy as np
from numpy.typing import NDArray

from streamnet.learning.learner import Learner
from streamnet.learning.serving import Served
from streamnet.pipeline import Pipeline
from streamnet.pipeline.outputs import Sink
from streamnet.samples import Schema
from streamnet.sources import Columns, LimitedSource, open_files
from tests.benchmarks.peers.peer import (
    BOTH,
    NO_ANSWER,
    OWN_PACKAGE,
    Answers,
    Learn,
    Peer,
    Prepared,
    Scored,
)
from tests.benchmarks.peers.rows import Rows

__all__ = ("EFFORTS", "EFFORT_PEERS", "PEERS", "name_effort")

EFFORTS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


class _Answers:
    """A sink that keeps what was served, and how likely one of the labels was.

    Args:
        asked: The label; empty for numbers.
    """

    def __init__(self, asked: str) -> None:
        self.labels: list[str] = []
        self.blocks: list[NDArray[Any]] = []
        self.scores: list[NDArray[np.float64]] = []
        self._asked = asked

    def attach(self, learner: Learner, _: Schema) -> list[Sink]:
        self.labels = learner.encoder.labels
        return [self]

    def __call__(self, served: Served) -> None:
        answers = served.answers
        if answers.ndim == 2:
            # Labels are learned as they come: none is known at first.
            known = self._asked in self.labels
            place = self.labels.index(self._asked) if known else answers.shape[1]
            own = answers[:, place] if place < answers.shape[1] else np.zeros(len(answers))
            self.scores.append(own.copy())
            best = answers.argmax(axis=1)
            answers = np.where(best < served.predicted.encoded.known, best, NO_ANSWER)
        self.blocks.append(answers.copy())


def _learn(rows: Rows, seed: int, effort: float) -> Learn:
    columns = Columns(target=rows.stream.target, task=rows.stream.task)
    index = {label: i for i, label in enumerate(rows.labels)}

    def learn() -> Answers | Scored:
        kept = _Answers(rows.labels[rows.rarest] if rows.classification else "")
        source = LimitedSource(open_files([rows.path], columns=columns), len(rows.target))
        anyio.run(Pipeline(source, seed=seed, prepare=kept.attach, effort=effort).run)
        answers = np.concatenate(kept.blocks)
        if rows.classification:
            codes = np.array([*(index[label] for label in kept.labels), NO_ANSWER])
            # NO_ANSWER is -1: the last of them
            return Scored(codes[answers], np.concatenate(kept.scores))
        return list(answers)

    return learn


def name_effort(effort: float) -> str:
    """Name of streamnet with an effort.

    >>> name_effort(1.0), name_effort(0.25)
    ('streamnet', 'streamnet-0.25')
    """
    return OWN_PACKAGE if effort == 1.0 else f"{OWN_PACKAGE}-{effort:g}"


def _peer(effort: float) -> Peer:
    setting = "defaults" if effort == 1.0 else f"effort {effort:g}"

    def prepare(rows: Rows, seed: int) -> Prepared:
        return Prepared(_learn(rows, seed, effort), setting)

    return Peer(name_effort(effort), OWN_PACKAGE, BOTH, random=True, prepare=prepare)


PEERS = (_peer(1.0),)
EFFORT_PEERS = tuple(_peer(effort) for effort in EFFORTS if effort != 1.0)
