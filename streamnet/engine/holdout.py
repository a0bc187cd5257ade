"""HoldoutEvaluator: what all candidates answer to the held-out samples, counted at each epoch."""

from __future__ import annotations

from typing import NamedTuple
from typing import final

import numpy as np
from numpy.typing import NDArray

from streamnet.learning.answered import answers_of
from streamnet.learning.answered import numbers_of
from streamnet.learning.trainer import Scored
from streamnet.pipeline.parts import Stateless
from streamnet.samples import Task
from streamnet.selection.criteria import Tally

__all__ = ("Graded", "HoldoutEvaluator")

FLOOR = 1e-4  # least probability in a logarithm


class Graded(NamedTuple):
    """A block, and how the candidates did in the epoch that it ends."""

    scored: Scored
    tally: Tally | None  # None inside of an epoch, and where nothing is held out


@final
class HoldoutEvaluator(Stateless):
    """Counts what K candidates answer to the held-out samples of an epoch.

    A candidate without a finite answer misses that sample by an infinite distance.

    Args:
        task: Classification or regression.
        classes: How many labels there are, of numbers 0.
        threshold: Numbers closer than this to the truth are correct.
    """

    def __init__(self, task: Task, classes: int, *, threshold: float) -> None:
        self._task = task
        self._classes = classes
        self._threshold = threshold
        self._tallies: list[Tally] = []

    def evaluate(self, scored: Scored) -> Graded:
        """Take in a block; the epoch's tally with its last held-out one."""
        if scored.encoded.block.learned:
            return Graded(scored, None)
        self._tallies.append(self._tally(scored))
        if not scored.ends_round:
            return Graded(scored, None)
        tallies, self._tallies = self._tallies, []
        return Graded(
            scored, Tally(*(np.sum(parts, axis=0) for parts in zip(*tallies, strict=True)))
        )

    def _tally(self, scored: Scored) -> Tally:
        alive = scored.answers.alive != 0
        samples = np.full(len(alive), float(alive.shape[1]))
        if self._task is Task.REGRESSION:
            return _of_numbers(scored, alive, samples, self._threshold)
        return _of_labels(scored, alive, samples, self._classes)


def _of_numbers(
    scored: Scored, alive: NDArray[np.bool_], samples: NDArray[np.float64], threshold: float
) -> Tally:
    answers = np.where(alive, answers_of(scored, Task.REGRESSION), np.inf)
    error = np.abs(answers - numbers_of(scored.encoded))
    with np.errstate(over="ignore"):  # infinity says what it is
        squared = (error**2).sum(axis=1)
    return Tally(
        confusion=np.zeros((len(alive), 0, 1)),
        samples=samples,
        correct=(error < threshold).sum(axis=1).astype(np.float64),
        distance=squared / 2.0,
        log_loss=np.zeros(len(alive)),
        absolute=error.sum(axis=1),
        squared=squared,
    )


def _of_labels(
    scored: Scored, alive: NDArray[np.bool_], samples: NDArray[np.float64], classes: int
) -> Tally:
    truth, known = scored.encoded.label, int(scored.encoded.known[0])
    said = np.where(alive[:, :, None], scored.answers.outputs[:, :, :known], 0.0)
    shares = said.astype(np.float64)
    answer = np.where(alive, shares.argmax(axis=2), classes)
    candidates = np.arange(len(alive))[:, None]
    cells = (candidates * classes + truth) * (classes + 1) + answer
    confusion = np.bincount(cells.ravel(), minlength=len(alive) * classes * (classes + 1))
    sure = shares[:, np.arange(len(truth)), np.minimum(truth, known - 1)]
    sure = np.where(truth < known, sure, 0.0)  # nobody can name a label that training lacked
    distance = ((shares**2).sum(axis=2) - 2.0 * sure + 1.0) / 2.0
    return Tally(
        confusion=confusion.reshape(len(alive), classes, classes + 1).astype(np.float64),
        samples=samples,
        correct=(answer == truth).sum(axis=1).astype(np.float64),
        distance=np.where(alive, distance, np.inf).sum(axis=1),
        log_loss=np.where(alive, -np.log(np.maximum(sure, FLOOR)), np.inf).sum(axis=1),
        absolute=np.zeros(len(alive)),
        squared=np.zeros(len(alive)),
    )
