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
from streamnet.features.encoded import Encoded
from streamnet.learning.trainer import Scored
from streamnet.samples import Task

__all__ = ("Evaluator", "Judged", "Scores", "answers_of", "numbers_of")


class Judged(NamedTuple):
    """A block with the loss of every candidate at every sample."""

    scored: Scored
    answers: NDArray[Any]  # shares (candidates, n, outputs), or numbers (candidates, n)
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
        self, scored: Scored, answers: NDArray[Any], alive: NDArray[np.uint8] | None = None
    ) -> NDArray[np.float64]:
        """Score a block's answers; the loss of each track at each sample, shape=(n, tracks)."""
        encoded = scored.encoded
        if isinstance(self.evaluator, ClassificationEvaluator):
            return self.evaluator.update(answers, encoded.label, encoded.known, alive)
        return self.evaluator.update(answers, numbers_of(encoded), alive)

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
        answers = answers_of(scored, self.task)
        encoded = scored.encoded
        n = len(encoded.block)
        if not n or not encoded.block.scored:
            return Judged(scored, answers, np.full((n, len(answers)), np.inf))
        losses = self.candidates.update(scored, answers, scored.answers.alive)
        return Judged(scored, answers, losses)

    def export_state(self) -> dict[str, Any]:
        """Everything needed to go on, to the bit."""
        return {"candidates": self.candidates.evaluator.export_state()}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Go on as the evaluator did whose state this is."""
        kind = type(self.candidates.evaluator)
        self.candidates.evaluator = kind.restore_state(state["candidates"])


def answers_of(scored: Scored, task: Task) -> NDArray[Any]:
    """Candidates' answers as a user understands them: shares, or numbers in the target's units.

    What stands for a candidate that gave no answer means nothing.
    """
    outputs = scored.answers.outputs
    if task is Task.CLASSIFICATION:
        return outputs
    return scored.encoded.units.numbers(outputs[:, :, 0], scored.answers.logarithmic)


def numbers_of(encoded: Encoded) -> NDArray[np.float64]:
    """The numbers to predict, NaN where there is none; shape=(n,)."""
    target = encoded.block.target
    return np.full(len(encoded.block), np.nan) if target is None else target
