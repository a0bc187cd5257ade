"""Selection criteria, and the per-sample losses by which a champion is chosen online.

All are computed from a `Tally` of many candidates at once. Those under ``gopher.`` follow
gopher-neural's own formulas, for comparison with it:

================= ======================================== ===================================
criterion         here                                     ``gopher.``
================= ======================================== ===================================
accuracy          right / n                                mean over classes of (TP + TN) / n,
                                                           which is 1 - 2 wrong / (n C)
balanced_accuracy mean recall over classes that occur      mean over all classes of
                                                           (recall + specificity) / 2
f1, f_measure     mean of 2 TP / (2 TP + FP + FN) over     the same over all classes, 0 for
                  classes that are truth or prediction     one that is neither
simple            right / n; for numbers the fraction of   the same
                  predictions within a threshold
distance          mean over samples of half the squared    the same
                  error, summed over outputs
kappa             agreement beyond chance                  -
log_loss          mean of -log(max(probability of the      -
                  truth, 1e-4))
mse, mae          mean squared and mean absolute error     -
================= ======================================== ===================================

In gopher-neural accuracy, balanced accuracy and F-measure of a regression are always 0, so that the
first network wins; here they are rejected.

A stream has no last sample at which to compute a criterion. But if a criterion is a mean over
samples, so is its loss, and the candidate with the lower faded mean loss is the better one:

=================================== ============================================================
criterion                           loss of a sample
=================================== ============================================================
log_loss                            ``-log(probability of the truth)``, floored: the default for
                                    labels
accuracy, simple, gopher.simple,    1 if the prediction is wrong, else 0; gopher.accuracy differs,
gopher.accuracy                     but ranks candidates in the same order
balanced_accuracy                   ``n / (C n[y])`` if wrong: truth y, n[y] samples of it
gopher.balanced_accuracy            ``n / (2 C) (1 / n[y] + 1 / (n - n[a]))`` if wrong: prediction a
distance, gopher.distance           half squared error, summed over outputs
mae                                 absolute error: the default for numbers
mse                                 squared error
=================================== ============================================================

The n count the samples so far, including this one, and C their classes. F1 and kappa are not means
over samples, since the value of a prediction depends on all others. They are rejected, and so is
the fraction of numbers within a threshold, which depends on the target.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamnet.errors import ConfigurationError
from streamnet.metrics import METRICS
from streamnet.metrics.classification import move_counts
from streamnet.metrics.formulas import ConfusionCounts, ratio
from streamnet.samples import Task
from streamnet.settings.learning import check_criterion

Values = NDArray[np.float64]


class Tally(NamedTuple):
    """Counts and sums of K candidates over the same samples, all float64."""

    confusion: Values  # shape=(K, C, C + 1): rows truth, columns prediction; numbers: C = 0
    samples: Values  # shape=(K,)
    correct: Values  # shape=(K,), correct labels, or numbers within the threshold
    distance: Values  # shape=(K,), half squared errors, summed over outputs
    log_loss: Values  # shape=(K,), summed
    absolute: Values  # shape=(K,), summed absolute errors of numbers
    squared: Values  # shape=(K,), summed squared errors of numbers


@final
@dataclass(frozen=True)
class Criterion:
    """A number by which candidates are compared."""

    name: str
    larger_is_better: bool
    values: Callable[[Tally], Values]  # float64 (K,), NaN for candidates without samples
    losses: Mapping[Task, Loss]  # by task for which it is a mean over samples

    def best(self, values: ArrayLike) -> int:
        """Index of the best of ``values`` (K,), the first of equals; -1 if none is finite."""
        merits = np.asarray(values, np.float64) * (1.0 if self.larger_is_better else -1.0)
        merits = np.where(np.isfinite(merits), merits, -np.inf)
        return int(merits.argmax()) if np.isfinite(merits).any() else -1

    def better(self, value: float, than: float) -> bool:
        """Whether ``value`` is strictly better, so that the older of equals stays.

        Finite values are better than others; others are never better.
        """
        return self.best((than, value)) == 1


def find_criterion(name: str, task: Task | str | None = None) -> Criterion:
    """Find a criterion as in the table of this module; ``f_measure`` is another name of ``f1``.

    Raises:
        ConfigurationError: If there is no such criterion, or it is not defined for the task.
    """
    return CRITERIA[check_criterion(name, task)]


Loss = Literal["evaluator", "wrong", "balanced", "gopher_balanced", "distance", "squared", "halved"]
"""How a criterion that is a mean over samples scores one; "evaluator" is the evaluator's loss."""


def _criterion(
    name: str, source: str, labels: Loss | None = None, numbers: Loss | None = None
) -> Criterion:
    """A criterion that is the mean of a part of the tally, or else a metric of the confusion."""
    by_task = {Task.CLASSIFICATION: labels, Task.REGRESSION: numbers}
    losses = {task: loss for task, loss in by_task.items() if loss is not None}
    if source in Tally._fields:

        def compute_mean(tally: Tally) -> Values:
            return ratio(getattr(tally, source), tally.samples)

        return Criterion(name, source == "correct", compute_mean, losses)
    metric = METRICS[Task.CLASSIFICATION][source]

    def compute_metric(tally: Tally) -> Values:
        values: Values = metric.function(ConfusionCounts.of(tally.confusion))
        return values

    return Criterion(name, metric.larger_is_better, compute_metric, losses)


_ALL = (
    _criterion("accuracy", "accuracy", "wrong"),
    _criterion("balanced_accuracy", "balanced_accuracy", "balanced"),
    _criterion("f1", "macro_f1"),
    _criterion("simple", "correct", "wrong"),
    _criterion("distance", "distance", "distance", "halved"),
    _criterion("log_loss", "log_loss", "evaluator"),
    _criterion("kappa", "kappa"),
    _criterion("mse", "squared", None, "squared"),
    _criterion("mae", "absolute", None, "evaluator"),
    _criterion("gopher.accuracy", "gopher.accuracy", "wrong"),
    _criterion("gopher.balanced_accuracy", "gopher.balanced_accuracy", "gopher_balanced"),
    _criterion("gopher.f_measure", "gopher.f_measure"),
    _criterion("gopher.simple", "correct", "wrong"),
    _criterion("gopher.distance", "distance", "distance", "halved"),
)
CRITERIA: dict[str, Criterion] = {criterion.name: criterion for criterion in _ALL}
"""All criteria by name."""

MAX_SQUARE = 1e300  # larger squared errors are clipped, since they must be finite


@final
class SampleLoss:
    """Per-sample losses by which a champion is chosen.

    Args:
        task: What is predicted.
        criterion: Name of the criterion; None for the default of the task, whose losses are those
            of the evaluator.

    Raises:
        ConfigurationError: If there is no such criterion, or it is not a mean over samples.

    >>> loss = SampleLoss(Task.CLASSIFICATION, "accuracy")
    >>> answers = np.array([[[0.6, 0.4], [0.6, 0.4]]], np.float32)
    >>> scored = -np.log(np.array([[0.6], [0.4]]))
    >>> loss.update(answers, np.array([0, 1]), np.array([2, 2]), scored).tolist()
    [[0.0], [1.0]]
    """

    def __init__(self, task: Task, criterion: str | None = None) -> None:
        losses = {name: one.losses[task] for name, one in CRITERIA.items() if task in one.losses}
        default = next(name for name, loss in losses.items() if loss == "evaluator")
        name = default if criterion is None else find_criterion(criterion).name
        if name not in losses:
            listed = ", ".join(sorted(losses))
            raise ConfigurationError(
                f"criterion is {name!r}, but the champion of a {task} must be chosen by one of "
                f"{listed}"
            )
        self.name = name
        self._loss = losses[name]
        self._counts = np.zeros(0, np.int64)  # samples by class

    @property
    def balanced(self) -> bool:
        """Whether a rare class counts as much as a frequent one."""
        return self._loss in ("balanced", "gopher_balanced")

    def update(
        self,
        answers: NDArray[Any],
        truth: NDArray[Any],
        known: NDArray[np.int32],
        losses: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Score n samples in order, shape=(n, K); results do not depend on cuts into blocks.

        Args:
            answers: Probabilities (K, n, C), or numbers (K, n).
            truth: Class numbers (n,), -1 for none; or numbers (n,), NaN for none.
            known: Number of classes known before each sample, shape (n,); for labels only.
            losses: Losses of the evaluator, shape (n, K); those that are not finite stay so.
        """
        if self._loss == "evaluator":
            return losses
        # Predictions of unavailable candidates may be anything.
        with np.errstate(over="ignore", invalid="ignore"):
            if self._loss in ("squared", "halved"):
                squared = np.minimum((truth - answers) ** 2, MAX_SQUARE).T
                found = squared if self._loss == "squared" else squared / 2.0
            elif self._loss == "distance":
                found = _half_squared_distance(answers, truth, known)
            else:
                found = self._score_classes(_predicted_classes(answers, known), truth)
        return np.where(np.isfinite(losses), found, losses)

    def export_state(self) -> dict[str, Any]:
        """Export everything needed to resume exactly."""
        return {"counts": self._counts.copy()}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Restore an exported state."""
        self._counts = np.array(state["counts"], np.int64)

    def move_class(self, number: int, into: int) -> None:
        """Count earlier samples of a class as those of another, or no more at -1."""
        if number >= len(self._counts):
            return
        if into >= len(self._counts):
            added = np.zeros(into + 1 - len(self._counts), np.int64)
            self._counts = np.append(self._counts, added)
        move_counts(self._counts, number, into)

    def _score_classes(
        self, predicted: NDArray[np.int64], truth: NDArray[np.int32]
    ) -> NDArray[np.float64]:
        wrong: NDArray[np.float64] = (predicted != truth).T.astype(np.float64)
        if self._loss == "wrong":
            return wrong
        counts = self._count(truth)
        rows = np.arange(len(truth))
        n, classes = counts.sum(1), (counts > 0).sum(1)
        # Without a truth the result is meaningless, and not used.
        own = np.maximum(counts[rows, truth], 1)
        if self._loss == "balanced":
            wrong *= (n / (np.maximum(classes, 1) * own))[:, None]
            return wrong
        # A class without samples yet may be predicted, if labels were known from the start.
        of_predicted = counts[rows, np.minimum(predicted, counts.shape[1] - 1)].T
        others = np.maximum(n[:, None] - of_predicted, 1)
        missed = np.where(predicted.T >= 0, 1.0 / others, 0.0)
        scale = n / (2.0 * np.maximum(classes, 1))
        wrong *= scale[:, None] * (1.0 / own[:, None] + missed)
        return wrong

    def _count(self, truth: NDArray[np.int32]) -> NDArray[np.int64]:
        """Count each class up to each sample: (n, classes + 1), the last column empty."""
        classes = max(len(self._counts), int(truth.max(initial=-1)) + 1)
        table = np.zeros((len(truth), classes + 1), np.int64)
        there = np.flatnonzero(truth >= 0)
        table[there, truth[there]] = 1
        table[:, : len(self._counts)] += self._counts * (np.arange(len(truth)) == 0)[:, None]
        counts: NDArray[np.int64] = np.cumsum(table, axis=0)
        if len(truth):
            self._counts = counts[-1, :-1].copy()
        return counts


def _predicted_classes(answers: NDArray[Any], known: NDArray[np.int32]) -> NDArray[np.int64]:
    """Most probable class of each candidate, the first of equals; -1 if none is known."""
    classes = np.arange(answers.shape[2])
    probabilities = np.where(classes < known[:, None], answers, -np.inf)
    best = (
        probabilities.argmax(axis=2) if answers.shape[2] else np.zeros(answers.shape[:2], np.int64)
    )
    return np.where(known > 0, best, -1)


def _half_squared_distance(
    answers: NDArray[Any], truth: NDArray[np.int32], known: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Half the squared distance from the one-hot truth, which may be a new class."""
    classes = np.arange(answers.shape[2])
    probabilities = np.where(classes < known[:, None], answers, 0.0).astype(np.float64)
    inside = (truth >= 0) & (truth < known)
    own = probabilities[:, np.arange(len(truth)), np.where(inside, truth, 0)] * inside
    squares: NDArray[np.float64] = (probabilities**2).sum(axis=2)
    halves: NDArray[np.float64] = 0.5 * (squares - 2.0 * own + 1.0)
    return halves.T
