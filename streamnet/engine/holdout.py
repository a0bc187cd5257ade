"""Holdout evaluation after each epoch, and the best epoch of each candidate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from streamnet.learning.evaluator import decode_predictions, get_target_numbers
from streamnet.learning.trainer import Predicted
from streamnet.networks.population import Population
from streamnet.samples import Task
from streamnet.selection.criteria import Criterion, Tally
from streamnet.selection.decisions import Decision

__all__ = (
    "BestEpochs",
    "EpochOutcome",
    "FixedEpochs",
    "HoldoutEvaluator",
    "HoldoutScored",
    "Improvement",
    "SavedWeights",
)


FLOOR = 1e-4  # least probability in a logarithm


class HoldoutScored(NamedTuple):
    """A block, and how the candidates did in the epoch that it ends."""

    predicted: Predicted
    tally: Tally | None  # None inside of an epoch, and where nothing is held out


class Stateless:
    """A part of a run without checkpoints."""

    def export_state(self) -> dict[str, Any]:
        """Nothing."""
        return {}


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

    def evaluate(self, predicted: Predicted) -> HoldoutScored:
        """Take in a block; the epoch's tally with its last held-out one."""
        if predicted.encoded.block.learned:
            return HoldoutScored(predicted, None)
        self._tallies.append(self._tally(predicted))
        if not predicted.ends_round:
            return HoldoutScored(predicted, None)
        tallies, self._tallies = self._tallies, []
        return HoldoutScored(
            predicted, Tally(*(np.sum(parts, axis=0) for parts in zip(*tallies, strict=True)))
        )

    def _tally(self, predicted: Predicted) -> Tally:
        alive = predicted.answers.alive != 0
        samples = np.full(len(alive), float(alive.shape[1]))
        if self._task is Task.REGRESSION:
            return _tally_numbers(predicted, alive, samples, self._threshold)
        return _tally_labels(predicted, alive, samples, self._classes)


def _tally_numbers(
    predicted: Predicted, alive: NDArray[np.bool_], samples: NDArray[np.float64], threshold: float
) -> Tally:
    answers = np.where(alive, decode_predictions(predicted, Task.REGRESSION), np.inf)
    error = np.abs(answers - get_target_numbers(predicted.encoded))
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


def _tally_labels(
    predicted: Predicted, alive: NDArray[np.bool_], samples: NDArray[np.float64], classes: int
) -> Tally:
    truth, known = predicted.encoded.label, int(predicted.encoded.known[0])
    said = np.where(alive[:, :, None], predicted.answers.outputs[:, :, :known], 0.0)
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


class Improvement(NamedTuple):
    """A candidate that did better on the held-out samples than any before it."""

    epoch: int  # after which it did, from 1 on
    candidate: int
    value: float  # of the criterion


class EpochOutcome(NamedTuple):
    """What became of a block."""

    predicted: Predicted
    decision: Decision | None


@final
class SavedWeights:
    """Weights of candidates as they were at some epoch, each at its own.

    Training is further on when an epoch has been judged, so weights come as copies.
    """

    def __init__(self, population: Population) -> None:
        self._population = population
        self._weights: NDArray[np.floating[Any]] | None = None

    def keep(self, slots: NDArray[np.intp], weights: NDArray[np.floating[Any]]) -> None:
        """Keep the weights of some candidates, of a copy of all."""
        if self._weights is None:
            self._weights = np.zeros_like(weights)
        for slot in slots.tolist():
            own, _ = self._population.layout.places(slot)
            self._weights[own] = weights[own]

    def restore_weights(self) -> None:
        """Give the candidates the weights that were kept; training must have ended."""
        if self._weights is not None:
            self._population.weights[:] = self._weights


@final
class BestEpochs(Stateless):
    """Notes each candidate's best epoch by a criterion; the older of equals stays.

    A candidate that had no finite answer to a sample is never ranked again.

    Args:
        population: The candidates.
        criterion: What is better.
        heard: Called with each improvement.
    """

    def __init__(
        self,
        population: Population,
        criterion: Criterion,
        heard: Callable[[Improvement], None] = lambda _: None,
    ) -> None:
        count = len(population.members)
        self.shelf = SavedWeights(population)
        self.epoch = 0  # how many were judged
        self.values = np.full(count, np.nan)  # of the criterion at each candidate's best epoch
        self.epochs = np.zeros(count, np.int64)  # and that epoch, from 1 on
        self.history: list[Improvement] = []
        self._criterion = criterion
        self._heard = heard

    def serve(self, graded: HoldoutScored) -> EpochOutcome:
        """Compare the candidates if the block ends an epoch."""
        if not graded.predicted.ends_round:
            return EpochOutcome(graded.predicted, None)
        assert graded.tally is not None
        assert graded.predicted.weights is not None
        self.epoch += 1
        values = np.where(
            np.isfinite(graded.tally.distance), self._criterion.values(graded.tally), np.nan
        )
        best = self._criterion.best(self.values)
        before = self.values[best] if best >= 0 else np.nan
        improved = self._improved(values)
        self.values[improved] = values[improved]
        self.epochs[improved] = self.epoch
        self.shelf.keep(improved, graded.predicted.weights)
        leader = self._criterion.best(values)
        if leader >= 0 and self._criterion.better(values[leader], before):
            self.history.append(Improvement(self.epoch, leader, float(values[leader])))
            self._heard(self.history[-1])
        return EpochOutcome(graded.predicted, Decision(self.epoch - 1))

    def ranking(self) -> list[int]:
        """Slots of all candidates that were ever ranked, the best first."""
        order = np.lexsort((self.epochs, self._losses(self.values)))
        return [slot for slot in order.tolist() if np.isfinite(self.values[slot])]

    def _losses(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Smaller is better; infinite where there is no value."""
        signed = -values if self._criterion.larger_is_better else values
        return np.where(np.isfinite(signed), signed, np.inf)

    def _improved(self, values: NDArray[np.float64]) -> NDArray[np.intp]:
        return np.flatnonzero(self._losses(values) < self._losses(self.values))


@final
class FixedEpochs(Stateless):
    """Lets each candidate finish at an epoch of its own: keeps its weights of that moment.

    Args:
        population: The candidates.
        epochs: The epoch of each, from 1 on.
    """

    def __init__(self, population: Population, epochs: Sequence[int]) -> None:
        self.shelf = SavedWeights(population)
        self.epoch = 0
        self._epochs = np.array(epochs)

    def serve(self, graded: HoldoutScored) -> EpochOutcome:
        """Keep the weights of those whose epoch has not gone by."""
        if not graded.predicted.ends_round:
            return EpochOutcome(graded.predicted, None)
        assert graded.predicted.weights is not None
        self.epoch += 1
        # Who has not finished yet is kept as well: there may be fewer epochs than were wanted.
        self.shelf.keep(np.flatnonzero(self._epochs >= self.epoch), graded.predicted.weights)
        return EpochOutcome(graded.predicted, Decision(self.epoch - 1))
