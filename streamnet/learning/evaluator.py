"""Evaluator: every candidate's answers scored."""

from __future__ import annotations

from typing import Any
from typing import NamedTuple
from typing import final

import numpy as np
from numpy.typing import NDArray

from streamnet.evaluation import ClassificationEvaluator
from streamnet.evaluation import Horizon
from streamnet.evaluation import RegressionEvaluator
from streamnet.learning.answered import Answered
from streamnet.learning.answered import answered_of
from streamnet.learning.trainer import Scored
from streamnet.samples import Task

__all__ = ("Evaluator", "Judged", "Scores")


class Judged(NamedTuple):
    """A block with the loss of every candidate at every sample."""

    scored: Scored
    answered: Answered
    losses: NDArray[np.float64]  # shape=(n, candidates); inf where none was scored


@final
class Scores:
    """Measures of some tracks, for either task.

    Args:
        tracks: How many are scored at once.
        task: Classification or regression.
        window: Samples that the sliding measures look at.
        fading: Factor of all earlier samples in the fading measures.
        whole: Whether whole confusion matrices are kept.

    >>> sorted(Scores(1, task=Task.REGRESSION, window=100, fading=0.999).measures(0))
    ['mae', 'mape', 'r2', 'rmse']
    """

    def __init__(
        self, tracks: int, *, task: Task, window: int, fading: float, whole: bool = False
    ) -> None:
        self.task = task
        self.evaluator: ClassificationEvaluator | RegressionEvaluator = (
            ClassificationEvaluator(tracks, window=window, fading=fading, whole=whole)
            if task is Task.CLASSIFICATION
            else RegressionEvaluator(tracks, window=window, fading=fading)
        )

    def update(
        self, answered: Answered, answers: NDArray[Any], alive: NDArray[np.uint8] | None = None
    ) -> NDArray[np.float64]:
        """Score answers to these samples; the loss of each track at each, shape=(n, tracks)."""
        if isinstance(self.evaluator, ClassificationEvaluator):
            return self.evaluator.update(answers, answered.truth, answered.known, alive)
        return self.evaluator.update(answers, answered.truth, alive)

    def measures(self, track: int, horizon: Horizon = Horizon.OVERALL) -> dict[str, float]:
        """Every measure of a track by name."""
        return self.evaluator.measures(track, horizon)

    def table(self, horizon: Horizon = Horizon.OVERALL) -> dict[str, NDArray[np.float64]]:
        """Every measure by name, each for all tracks at once, shape=(tracks,)."""
        return self.evaluator.table(horizon)


@final
class Evaluator:
    """Scores candidates, sample by sample.

    Args:
        candidates: How many there are.
        task: Classification or regression.
        window: Samples that the sliding measures look at.
        fading: Factor of all earlier samples in the fading measures.

    >>> sorted(Evaluator(16, task=Task.REGRESSION).candidates.measures(15))
    ['mae', 'mape', 'r2', 'rmse']
    """

    def __init__(
        self, candidates: int, *, task: Task, window: int = 1000, fading: float = 0.999
    ) -> None:
        self.task = task
        self.candidates = Scores(candidates, task=task, window=window, fading=fading)

    def evaluate(self, scored: Scored) -> Judged:
        """Score a block; samples of a later epoch are passed through unscored."""
        for slot, _ in scored.joined:
            self.candidates.evaluator.reset(slot)
        answered = answered_of(scored, self.task)
        n = len(answered.truth)
        if n and scored.encoded.block.scored:
            return Judged(scored, answered, self.losses(answered))
        return Judged(scored, answered, np.full((n, len(answered.answers)), np.inf))

    def losses(self, answered: Answered) -> NDArray[np.float64]:
        """Score samples; the loss of each candidate at each, shape=(n, candidates)."""
        return self.candidates.update(answered, answered.answers, answered.alive)

    def export_state(self) -> dict[str, Any]:
        """Everything needed to go on, to the bit."""
        return {"candidates": self.candidates.evaluator.export_state()}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Go on as the evaluator did whose state this is."""
        kind = type(self.candidates.evaluator)
        self.candidates.evaluator = kind.restore_state(state["candidates"])
