"""Baselines: predictions that need no learning, which every track should beat."""

from __future__ import annotations

import math
from typing import Any, Self, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamnet.errors import ModelFileError
from streamnet.jit import exact
from streamnet.validation import as_kernel_array

__all__ = ("ClassificationBaselines", "RegressionBaselines")

MAJORITY, LAST = range(2)  # memory of classes, -1: none yet
COUNT, MEAN, LAST_NUMBER = range(3)  # memory of numbers
LARGEST = 1e300  # beyond it the distance of a truth to the mean could overflow


@exact
def _repeat_classes(
    truth: NDArray[np.int32],
    answers: NDArray[np.float32],
    counts: NDArray[np.int64],
    memory: NDArray[np.int64],
) -> None:
    for i in range(truth.size):
        for b in range(2):
            if 0 <= memory[b] < answers.shape[2]:
                answers[b, i, memory[b]] = 1.0
        y = truth[i]
        if y < 0:
            continue
        counts[y] += 1
        memory[LAST] = y
        most = memory[MAJORITY]
        if most < 0 or counts[y] > counts[most] or (counts[y] == counts[most] and y < most):
            memory[MAJORITY] = y


@exact
def _repeat_numbers(
    truth: NDArray[np.float64], answers: NDArray[np.float64], memory: NDArray[np.float64]
) -> None:
    for i in range(truth.size):
        answers[0, i] = memory[MEAN]
        answers[1, i] = memory[LAST_NUMBER]
        y = truth[i]
        if math.isfinite(y):
            memory[COUNT] += 1.0
            near = min(max(y, -LARGEST), LARGEST)
            memory[MEAN] += (near - memory[MEAN]) / memory[COUNT]
            memory[LAST_NUMBER] = y


@final
class ClassificationBaselines:
    """Always the most frequent class so far (ties: the lowest number), and always the last one.

    >>> ClassificationBaselines().answers([1, 0, 0], [0, 2, 2])[:, :, 1]
    array([[0., 1., 0.],
           [0., 1., 0.]], dtype=float32)
    """

    names = ("majority", "no_change")

    def __init__(self) -> None:
        self._counts = np.zeros(2, np.int64)
        self._memory = np.array([-1, -1])

    def answers(
        self, truth: ArrayLike, known: ArrayLike, width: int | None = None
    ) -> NDArray[np.float32]:
        """Answer n samples in order, each before its truth is looked at.

        Args:
            truth: int32 (n,), class numbers; -1 where there is no truth.
            known: int32 (n,), number of classes known before each sample.
            width: classes that the answers have room for; None: the power of two, at least 2, that
                holds all classes of this call and all before it.

        Returns:
            float32 (2, n, width): one-hot, or all 0 before the first truth.
        """
        truth = as_kernel_array(truth, np.int32)
        # One sample at a time the two searches would take longer than all else.
        largest = int(truth[0]) if truth.size == 1 else int(truth.max(initial=-1))
        self._grow(1 + largest)
        if width is None:
            width = max(len(self._counts), _capacity(int(np.max(known, initial=0))))
        answers = np.zeros((2, truth.size, width), np.float32)
        _repeat_classes(truth, answers, self._counts, self._memory)
        return answers

    def export_state(self) -> dict[str, Any]:
        """A copy of all arrays, from which ``restore_state`` goes on exactly."""
        return {"counts": self._counts.copy(), "memory": self._memory.copy()}

    @classmethod
    def restore_state(cls, state: dict[str, Any]) -> Self:
        """Baselines that go on from where ``state`` was exported.

        Raises:
            ModelFileError: if the parts of the state do not fit together.
        """
        self = cls()
        self._counts = np.array(state["counts"], np.int64)
        self._memory = np.array(state["memory"], np.int64)
        if self._memory.shape != (2,) or not (self._memory < len(self._counts)).all():
            raise ModelFileError(f"baselines: memory is {self._memory.tolist()}")
        return self

    def _grow(self, classes: int) -> None:
        if classes > len(self._counts):
            counts = np.zeros(_capacity(classes), np.int64)
            counts[: len(self._counts)] = self._counts
            self._counts = counts


@final
class RegressionBaselines:
    """Always the mean so far, and always the last number; both 0 before the first truth.

    >>> RegressionBaselines().answers([1.0, 3.0, 5.0])
    array([[0., 1., 2.],
           [0., 1., 3.]])
    """

    names = ("mean", "no_change")

    def __init__(self) -> None:
        self._memory = np.zeros(3)

    def answers(self, truth: ArrayLike) -> NDArray[np.float64]:
        """Answer n samples in order, each before its truth is looked at.

        Args:
            truth: float64 (n,); one that is not finite teaches nothing. Truths beyond +-1e300 enter
                the mean as +-1e300.

        Returns:
            float64 (2, n).
        """
        truth = as_kernel_array(truth, np.float64)
        answers = np.empty((2, truth.size))
        _repeat_numbers(truth, answers, self._memory)
        return answers

    def export_state(self) -> dict[str, Any]:
        """A copy of all arrays, from which ``restore_state`` goes on exactly."""
        return {"memory": self._memory.copy()}

    @classmethod
    def restore_state(cls, state: dict[str, Any]) -> Self:
        """Baselines that go on from where ``state`` was exported.

        Raises:
            ModelFileError: if the parts of the state do not fit together.
        """
        self = cls()
        if np.shape(state["memory"]) != (3,):
            raise ModelFileError(f"baselines: memory has shape {np.shape(state['memory'])}")
        self._memory[:] = state["memory"]
        return self


def _capacity(classes: int) -> int:
    """The power of two, at least 2, that holds ``classes``."""
    return 1 << max(classes - 1, 1).bit_length()
