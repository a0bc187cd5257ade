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
from tests.benchmarks.peers.peer import BOTH, NO_ANSWER, Answers, Learn, Peer, Prepared
from tests.benchmarks.peers.rows import Rows

__all__ = ("PEERS",)


class _Answers:
    """A sink that keeps what was served."""

    def __init__(self) -> None:
        self.labels: list[str] = []
        self.blocks: list[NDArray[Any]] = []

    def attach(self, learner: Learner, _: Schema) -> list[Sink]:
        self.labels = learner.encoder.labels
        return [self]

    def __call__(self, served: Served) -> None:
        answers = served.answers
        if answers.ndim == 2:
            # Labels are learned as they come: none is known at first.
            best = answers.argmax(axis=1)
            answers = np.where(best < served.predicted.encoded.known, best, NO_ANSWER)
        self.blocks.append(answers.copy())


def _learn(rows: Rows, seed: int) -> Learn:
    columns = Columns(target=rows.stream.target, task=rows.stream.task)
    index = {label: i for i, label in enumerate(rows.labels)}

    def learn() -> Answers:
        kept = _Answers()
        source = LimitedSource(open_files([rows.path], columns=columns), len(rows.target))
        anyio.run(Pipeline(source, seed=seed, prepare=kept.attach).run)
        answers = np.concatenate(kept.blocks)
        if rows.classification:
            codes = np.array([*(index[label] for label in kept.labels), NO_ANSWER])
            answers = codes[answers]  # NO_ANSWER is -1: the last of them
        return list(answers)

    return learn


PEERS = (
    Peer(
        "streamnet",
        "streamnet",
        BOTH,
        random=True,
        prepare=lambda rows, seed: Prepared(_learn(rows, seed), "defaults"),
    ),
)
