"""Selection criteria, and the per-sample losses by which a champion is chosen online.

All are computed from a `Tally` of many candidates at once. Those under ``gopher.`` are the ones of
gopher-neural as it computes them, for those who want to compare; the others are the usual ones:

================= ======================================== ===================================
criterion         here                                     ``gopher.``
================= ======================================== ===================================
accuracy          right / n                                mean over classes of (TP + TN) / n,
                                                           which is 1 - 2 wrong / (n C)
balanced_accuracy mean recall over classes that occur      mean over all classes of
                                                           (recall + specificity) / 2
f1, f_measure     mean of 2 TP / (2 TP + FP + FN) over     the same over all classes, 0 for
                  classes that are truth or answer         one that is neither
simple            right / n; for numbers the share of      the same
                  answers less than a threshold away
distance          mean over samples of half the squared    the same
                  error, summed over outputs
kappa             agreement beyond chance                  -
log_loss          mean of -log(max(probability of the      -
                  truth, 1e-4))
mse, mae          mean squared and mean absolute error     -
================= ======================================== ===================================

In gopher-neural accuracy, balanced accuracy and F-measure of a regression are always 0, so that the
first network wins; here they are refused.

On a stream there is no last sample at which a criterion could be computed. But where it is a mean
over samples, so is its loss, and the candidate with the lower faded mean loss is the better one:

=================================== ============================================================
criterion                           loss of a sample
=================================== ============================================================
log_loss                            ``-log(probability of the truth)``, floored: the default for
                                    labels
accuracy, simple, gopher.simple,    1 if the answer is wrong, else 0; gopher.accuracy is another
gopher.accuracy                     number, but puts candidates into the same order
balanced_accuracy                   ``n / (C n[y])`` if wrong: truth y, n[y] samples of it
gopher.balanced_accuracy            ``n / (2 C) (1 / n[y] + 1 / (n - n[a]))`` if wrong: answer a
distance, gopher.distance           half squared error, summed over outputs
mae                                 absolute error: the default for numbers
mse                                 squared error
=================================== ============================================================

The n are those of the samples so far, this one included, and C the classes among them. F1 and kappa
are no means over samples: what an answer is worth in them depends on all others. They are refused,
and so is the share of numbers within a threshold, which depends on what is predicted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamnet.errors import ConfigurationError
from streamnet.metrics import formulas, per_class
from streamnet.metrics.formulas import ConfusionCounts
from streamnet.samples import Task
from streamnet.settings.learning import check_criterion

__all__ = (
    "CRITERIA",
    "Criterion",
    "SampleLoss",
    "Tally",
    "find_criterion",
)


Values = NDArray[np.float64]


class Tally(NamedTuple):
    """What K candidates did on the same samples, as counts and sums, all float64."""

    confusion: Values  # shape=(K, C, C + 1): rows truth, columns answer, last none; numbers: C = 0
    samples: Values  # shape=(K,)
    correct: Values  # shape=(K,), right labels, or numbers within the threshold
    distance: Values  # shape=(K,), half squared errors, summed over outputs
    log_loss: Values  # shape=(K,), summed
    absolute: Values  # shape=(K,), summed absolute errors of numbers
    squared: Values  # shape=(K,), summed squared errors of numbers


@final
@dataclass(frozen=True)
class Criterion:
    """A number by which candidates are compared.

    >>> correct = np.array([6.0, 8.0, 8.0])
    >>> zeros = np.zeros(3)
    >>> tally = Tally(np.zeros((3, 0, 1)), np.full(3, 10.0), correct, *[zeros] * 4)
    >>> simple = find_criterion("simple")
    >>> simple.values(tally), simple.best(simple.values(tally))
    (array([0.6, 0.8, 0.8]), 1)
    """

    name: str
    larger_is_better: bool
    values: Callable[[Tally], Values]  # float64 (K,), NaN for candidates without samples

    def best(self, values: ArrayLike) -> int:
        """The number of the best of ``values`` (K,), the first of equals; -1 if none is finite."""
        numbers = np.asarray(values, np.float64)
        finite = np.isfinite(numbers)
        if not finite.any():
            return -1
        worst = -np.inf if self.larger_is_better else np.inf
        numbers = np.where(finite, numbers, worst)
        return int(numbers.argmax() if self.larger_is_better else numbers.argmin())

    def better(self, value: float, than: float) -> bool:
        """Whether ``value`` replaces ``than``: strictly better, so that the older of equals stays.

        Nothing that is not finite is better than anything; anything finite is better than that.
        """
        return self.best((than, value)) == 1


def find_criterion(name: str, task: Task | str | None = None) -> Criterion:
    """The criterion of a name in `CRITERIA`.

    Args:
        name: As in the table of this module; ``f_measure`` is another name of ``f1``.
        task: What it is to judge, if that is known.

    Raises:
        ConfigurationError: If there is none of that name, or it is not for that task.

    >>> find_criterion("accuracy", "regression")
    Traceback (most recent call last):
        ...
    streamnet.errors.ConfigurationError: criterion is 'accuracy', but for a regression must be one
    of distance, gopher.distance, gopher.simple, mae, mse, simple
    """
    return CRITERIA[check_criterion(name, task)]


def _from_confusion(measure: Callable[[ConfusionCounts], Values]) -> Callable[[Tally], Values]:
    return lambda tally: measure(ConfusionCounts.of(tally.confusion))


def _from_mean(part: str) -> Callable[[Tally], Values]:
    return lambda tally: formulas.mean(getattr(tally, part), tally.samples)


def _named(criteria: Collection[Criterion]) -> dict[str, Criterion]:
    return {one.name: one for one in criteria}


CRITERIA = _named(
    (
        Criterion("accuracy", True, _from_confusion(formulas.accuracy)),
        Criterion("balanced_accuracy", True, _from_confusion(formulas.balanced_accuracy)),
        Criterion("f1", True, _from_confusion(formulas.macro_f1)),
        Criterion("simple", True, _from_mean("correct")),
        Criterion("distance", False, _from_mean("distance")),
        Criterion("log_loss", False, _from_mean("log_loss")),
        Criterion("kappa", True, _from_confusion(formulas.cohen_kappa)),
        Criterion("mse", False, _from_mean("squared")),
        Criterion("mae", False, _from_mean("absolute")),
        Criterion("gopher.accuracy", True, _from_confusion(per_class.gopher_accuracy)),
        Criterion(
            "gopher.balanced_accuracy", True, _from_confusion(per_class.gopher_balanced_accuracy)
        ),
        Criterion("gopher.f_measure", True, _from_confusion(per_class.gopher_f_measure)),
        Criterion("gopher.simple", True, _from_mean("correct")),
        Criterion("gopher.distance", False, _from_mean("distance")),
    )
)
"""All criteria by name."""


LARGEST = 1e300  # a squared error beyond it counts as this large: it must stay finite

DEFAULTS = {Task.CLASSIFICATION: "log_loss", Task.REGRESSION: "mae"}
ZERO_ONE = ("accuracy", "simple", "gopher.accuracy", "gopher.simple")
BALANCED = ("balanced_accuracy", "gopher.balanced_accuracy")
DISTANCES = ("distance", "gopher.distance")
DECOMPOSABLE = {
    Task.CLASSIFICATION: ("log_loss", *ZERO_ONE, *BALANCED, *DISTANCES),
    Task.REGRESSION: ("mae", "mse", *DISTANCES),
}


@final
class SampleLoss:
    """The losses by which a champion is chosen.

    Args:
        task: What is answered.
        criterion: Its name; None is the default of the task.

    Raises:
        ConfigurationError: If there is no such criterion, or it is no mean over samples.

    >>> loss = SampleLoss(Task.CLASSIFICATION, "accuracy")
    >>> answers = np.array([[[0.6, 0.4], [0.6, 0.4]]], np.float32)
    >>> scored = -np.log(np.array([[0.6], [0.4]]))
    >>> loss.update(answers, np.array([0, 1]), np.array([2, 2]), scored).tolist()
    [[0.0], [1.0]]
    """

    def __init__(self, task: Task, criterion: str | None = None) -> None:
        name = DEFAULTS[task] if criterion is None else find_criterion(criterion).name
        if name not in DECOMPOSABLE[task]:
            listed = ", ".join(sorted(DECOMPOSABLE[task]))
            raise ConfigurationError(
                f"criterion is {name!r}, but the champion of a {task} must be chosen by one of "
                f"{listed}"
            )
        self.name = name
        self._task = task
        self._counts = np.zeros(0, np.int64)  # samples by class

    @property
    def balanced(self) -> bool:
        """Whether a rare class counts as much as a frequent one."""
        return self.name in BALANCED

    def update(
        self,
        answers: NDArray[Any],
        truth: NDArray[Any],
        known: NDArray[np.int32],
        losses: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """The losses of n samples, taken in order; how they are cut into blocks changes nothing.

        Args:
            answers: Shares (K, n, C), or numbers (K, n).
            truth: Class numbers (n,), -1 for none; or numbers (n,), NaN for none.
            known: Classes known before each sample, shape (n,); of labels only.
            losses: Shape (n, K), as an evaluator scored them: not finite where there is nothing to
                score, which stays so.

        Returns:
            Shape (n, K).
        """
        if self.name == DEFAULTS[self._task]:
            return losses
        # What stands for a candidate that gave no answer may be anything.
        with np.errstate(over="ignore", invalid="ignore"):
            if self._task is Task.REGRESSION:
                squared = np.minimum((truth - answers) ** 2, LARGEST).T
                found = squared if self.name == "mse" else squared / 2.0
            elif self.name in DISTANCES:
                found = _half_squared_distance(answers, truth, known)
            else:
                found = self._of_answers(_predicted_classes(answers, known), truth)
        return np.where(np.isfinite(losses), found, losses)

    def export_state(self) -> dict[str, Any]:
        """Everything needed to go on, to the bit."""
        return {"counts": self._counts.copy()}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Go on as the one did whose state this is."""
        self._counts = np.array(state["counts"], np.int64)

    def _of_answers(
        self, answered: NDArray[np.int64], truth: NDArray[np.int32]
    ) -> NDArray[np.float64]:
        wrong: NDArray[np.float64] = (answered != truth).T.astype(np.float64)
        if self.name in ZERO_ONE:
            return wrong
        counts = self._count(truth)
        rows = np.arange(len(truth))
        n, classes = counts.sum(1), (counts > 0).sum(1)
        # Where there is no truth all of this means nothing, and is not looked at.
        own = np.maximum(counts[rows, truth], 1)
        if self.name == "balanced_accuracy":
            wrong *= (n / (np.maximum(classes, 1) * own))[:, None]
            return wrong
        # What nobody had yet may be answered all the same, where labels were known from the start.
        of_answer = counts[rows, np.minimum(answered, counts.shape[1] - 1)].T
        others = np.maximum(n[:, None] - of_answer, 1)
        missed = np.where(answered.T >= 0, 1.0 / others, 0.0)
        scale = n / (2.0 * np.maximum(classes, 1))
        wrong *= scale[:, None] * (1.0 / own[:, None] + missed)
        return wrong

    def _count(self, truth: NDArray[np.int32]) -> NDArray[np.int64]:
        """Samples of each class up to each of these, shape (n, classes + 1), the last one empty."""
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
    """The class that each candidate names, the first of equals; -1 where none is known."""
    classes = np.arange(answers.shape[2])
    shares = np.where(classes < known[:, None], answers, -np.inf)
    best = shares.argmax(axis=2) if answers.shape[2] else np.zeros(answers.shape[:2], np.int64)
    return np.where(known > 0, best, -1)


def _half_squared_distance(
    answers: NDArray[Any], truth: NDArray[np.int32], known: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Half the squared distance from the one-hot truth, which may be a class not known yet."""
    classes = np.arange(answers.shape[2])
    shares = np.where(classes < known[:, None], answers, 0.0).astype(np.float64)
    inside = (truth >= 0) & (truth < known)
    own = shares[:, np.arange(len(truth)), np.where(inside, truth, 0)] * inside
    squares: NDArray[np.float64] = (shares**2).sum(axis=2)
    halves: NDArray[np.float64] = 0.5 * (squares - 2.0 * own + 1.0)
    return halves.T
