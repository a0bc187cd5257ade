"""SampleLoss: what a single answer costs under a criterion, for a champion chosen sample by sample.

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

from typing import Any
from typing import final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError
from streamnet.samples import Task
from streamnet.selection.criteria import criterion as criterion_of

__all__ = ("SampleLoss",)

LARGEST = 1e300  # a squared error beyond it counts as this large: it must stay finite

DEFAULTS = {Task.CLASSIFICATION: "log_loss", Task.REGRESSION: "mae"}
WRONG = ("accuracy", "simple", "gopher.accuracy", "gopher.simple")
BALANCED = ("balanced_accuracy", "gopher.balanced_accuracy")
DISTANCES = ("distance", "gopher.distance")
BY_SAMPLE = {
    Task.CLASSIFICATION: ("log_loss", *WRONG, *BALANCED, *DISTANCES),
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
        name = DEFAULTS[task] if criterion is None else criterion_of(criterion).name
        if name not in BY_SAMPLE[task]:
            listed = ", ".join(sorted(BY_SAMPLE[task]))
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
                found = _distance(answers, truth, known)
            else:
                found = self._of_answers(_answered(answers, known), truth)
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
        if self.name in WRONG:
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


def _answered(answers: NDArray[Any], known: NDArray[np.int32]) -> NDArray[np.int64]:
    """The class that each candidate names, the first of equals; -1 where none is known."""
    classes = np.arange(answers.shape[2])
    shares = np.where(classes < known[:, None], answers, -np.inf)
    best = shares.argmax(axis=2) if answers.shape[2] else np.zeros(answers.shape[:2], np.int64)
    return np.where(known > 0, best, -1)


def _distance(
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
