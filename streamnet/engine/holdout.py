"""Holdout evaluation after each epoch, and the best epoch of each candidate."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from streamnet.learning.evaluator import decode_predictions, get_target_numbers
from streamnet.learning.trainer import Predicted
from streamnet.networks.population import Population
from streamnet.samples import Task
from streamnet.selection.champion import Decision
from streamnet.selection.criteria import Criterion, Tally

MIN_PROBABILITY = 1e-4  # in logarithms


class HoldoutScored(NamedTuple):
    """A block, with the candidates' holdout tally if it ends an epoch."""

    predicted: Predicted
    tally: Tally | None  # None within an epoch, and without holdout data


@final
class HoldoutEvaluator:
    """Tallies the candidates' predictions for the holdout samples of an epoch.

    Samples count by their weights. A candidate without a finite prediction misses the sample by an
    infinite distance; predicted numbers closer than ``threshold`` to the target are correct.
    """

    def __init__(self, task: Task, classes: int, *, threshold: float) -> None:
        self._task = task
        self._classes = classes
        self._threshold = threshold
        self._tallies: list[Tally] = []

    def evaluate(self, predicted: Predicted) -> HoldoutScored:
        """Tally a block; return the epoch's tally with its last holdout block."""
        if predicted.encoded.block.learned:
            return HoldoutScored(predicted, None)
        self._tallies.append(self._tally(predicted))
        if not predicted.ends_round:
            return HoldoutScored(predicted, None)
        tallies, self._tallies = self._tallies, []
        total = Tally(*(np.sum(parts, axis=0) for parts in zip(*tallies, strict=True)))
        return HoldoutScored(predicted, total)

    def export_state(self) -> dict[str, Any]:
        """Nothing: there are no checkpoints."""
        return {}

    def _tally(self, predicted: Predicted) -> Tally:
        alive, weight = predicted.answers.alive != 0, predicted.encoded.weight
        mass = float(alive.shape[1]) if weight is None else weight.sum()
        samples = np.full(len(alive), mass)
        if self._task is Task.REGRESSION:
            return _tally_numbers(predicted, alive, samples, self._threshold)
        return _tally_labels(predicted, alive, samples, self._classes)


def _sum(values: NDArray[Any], weight: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Sums over samples, shape=(candidates, n), by their weights; without them each counts as 1."""
    weighted = values if weight is None else values * weight
    sums: NDArray[np.float64] = weighted.sum(axis=1).astype(np.float64)
    return sums


def _tally_numbers(
    predicted: Predicted, alive: NDArray[np.bool_], samples: NDArray[np.float64], threshold: float
) -> Tally:
    answers = np.where(alive, decode_predictions(predicted, Task.REGRESSION), np.inf)
    error = np.abs(answers - get_target_numbers(predicted.encoded))
    weight = predicted.encoded.weight
    with np.errstate(over="ignore"):  # infinite is the right result
        squared = _sum(error**2, weight)
    return Tally(
        confusion=np.zeros((len(alive), 0, 1)),
        samples=samples,
        correct=_sum(error < threshold, weight),
        distance=squared / 2.0,
        log_loss=np.zeros(len(alive)),
        absolute=_sum(error, weight),
        squared=squared,
    )


def _tally_labels(
    predicted: Predicted, alive: NDArray[np.bool_], samples: NDArray[np.float64], classes: int
) -> Tally:
    truth, known = predicted.encoded.label, int(predicted.encoded.known[0])
    outputs = np.where(alive[:, :, None], predicted.answers.outputs[:, :, :known], 0.0)
    probabilities = outputs.astype(np.float64)
    answer = np.where(alive, probabilities.argmax(axis=2), classes)
    candidates = np.arange(len(alive))[:, None]
    cells = (candidates * classes + truth) * (classes + 1) + answer
    weight = predicted.encoded.weight
    repeated = None if weight is None else np.tile(weight, len(alive))
    cells_at_all = len(alive) * classes * (classes + 1)
    confusion = np.bincount(cells.ravel(), repeated, cells_at_all)
    of_truth = probabilities[:, np.arange(len(truth)), np.minimum(truth, known - 1)]
    of_truth[:, truth >= known] = 0.0  # labels absent from training cannot be predicted
    distance = ((probabilities**2).sum(axis=2) - 2.0 * of_truth + 1.0) / 2.0
    log_loss = -np.log(np.maximum(of_truth, MIN_PROBABILITY))
    return Tally(
        confusion=confusion.reshape(len(alive), classes, classes + 1).astype(np.float64),
        samples=samples,
        correct=_sum(answer == truth, weight),
        distance=_sum(np.where(alive, distance, np.inf), weight),
        log_loss=_sum(np.where(alive, log_loss, np.inf), weight),
        absolute=np.zeros(len(alive)),
        squared=np.zeros(len(alive)),
    )


class Improvement(NamedTuple):
    """A candidate with a better holdout score than any before it."""

    epoch: int  # counted from 1
    candidate: int
    value: float  # of the criterion


class EpochOutcome(NamedTuple):
    """A processed block, with a decision if it ends an epoch."""

    predicted: Predicted
    decision: Decision | None


class EpochTracker(abc.ABC):
    """Saves the candidates' weights, each from an epoch of its own."""

    def __init__(self, population: Population) -> None:
        self.epoch: int = 0  # epochs scored
        self._population = population
        self._weights: NDArray[np.floating[Any]] | None = None

    @abc.abstractmethod
    def select(self, tally: Tally | None) -> NDArray[np.intp]:
        """Select the candidates whose weights in the current epoch are saved."""

    def serve(self, scored: HoldoutScored) -> EpochOutcome:
        """Save weights if the block ends an epoch."""
        # Training is further on by now, so the weights of this epoch are a copy.
        predicted, weights = scored.predicted, scored.predicted.weights
        if not predicted.ends_round:
            return EpochOutcome(predicted, None)
        assert weights is not None
        self.epoch += 1
        if self._weights is None:
            self._weights = np.zeros_like(weights)
        for slot in self.select(scored.tally).tolist():
            own, _ = self._population.layout.places(slot)
            self._weights[own] = weights[own]
        return EpochOutcome(predicted, Decision(self.epoch - 1))

    def restore_weights(self) -> None:
        """Restore the saved weights; training must have ended."""
        if self._weights is not None:
            self._population.weights[:] = self._weights

    def export_state(self) -> dict[str, Any]:
        """Nothing: there are no checkpoints."""
        return {}


@final
class BestEpochs(EpochTracker):
    """Tracks each candidate's best epoch by a criterion; on a tie the earlier one is kept.

    A candidate without a finite prediction for a sample is never ranked again.
    """

    def __init__(
        self,
        population: Population,
        criterion: Criterion,
        on_improvement: Callable[[Improvement], None] | None = None,
    ) -> None:
        super().__init__(population)
        count = len(population.members)
        # Each candidate's best value of the criterion, and its epoch, counted from 1.
        self.values: NDArray[np.float64] = np.full(count, np.nan)
        self.epochs: NDArray[np.int64] = np.zeros(count, np.int64)
        self.history: list[Improvement] = []
        self._criterion = criterion
        self._on_improvement = on_improvement

    def select(self, tally: Tally | None) -> NDArray[np.intp]:
        """Select the candidates that are better than in all epochs before."""
        assert tally is not None
        values = np.where(np.isfinite(tally.distance), self._criterion.values(tally), np.nan)
        best = self._criterion.best(self.values)
        before = self.values[best] if best >= 0 else np.nan
        improved = np.flatnonzero(self._losses(values) < self._losses(self.values))
        self.values[improved] = values[improved]
        self.epochs[improved] = self.epoch
        leader = self._criterion.best(values)
        if leader >= 0 and self._criterion.better(values[leader], before):
            self.history.append(Improvement(self.epoch, leader, float(values[leader])))
            if self._on_improvement is not None:
                self._on_improvement(self.history[-1])
        return improved

    def ranking(self) -> list[int]:
        """Return the slots of all ranked candidates, the best first."""
        order = np.lexsort((self.epochs, self._losses(self.values)))
        return [slot for slot in order.tolist() if np.isfinite(self.values[slot])]

    def _losses(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert values so that smaller is better; infinite if undefined."""
        signed = -values if self._criterion.larger_is_better else values
        return np.where(np.isfinite(signed), signed, np.inf)


@final
class FixedEpochs(EpochTracker):
    """Saves each candidate's weights at a given epoch, counted from 1."""

    def __init__(self, population: Population, epochs: Sequence[int]) -> None:
        super().__init__(population)
        self._epochs = np.array(epochs)

    def select(self, tally: Tally | None) -> NDArray[np.intp]:
        """Select the candidates whose epoch has not passed: training may be stopped before it."""
        del tally
        return np.flatnonzero(self._epochs >= self.epoch)
