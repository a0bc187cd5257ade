"""Scales: mean and deviation of what was seen so far, for peers that don't scale by themselves.

They are worked out for all samples beforehand, and not timed; each uses what came before it only.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ("RunningScale", "running_standardized")


class RunningScale(NamedTuple):
    """Mean and deviation of each column over the rows up to each, itself included.

    What scikit-learn's StandardScaler holds after ``partial_fit`` row by row.
    """

    mean: NDArray[np.float64]  # (n,) or (n, columns)
    deviation: NDArray[np.float64]  # likewise; 1 as long as a column is constant

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Self:
        """The scale of rows."""
        count = np.arange(1, len(values) + 1).reshape(-1, *[1] * (values.ndim - 1))
        shifted = values - values[0]  # squares of large numbers lose nothing, constants are 0
        mean = shifted.cumsum(axis=0) / count
        variance = (shifted**2).cumsum(axis=0) / count - mean**2
        deviation = np.sqrt(np.maximum(variance, 0))
        floor = 1e-7 * np.abs(mean)  # below it, rounding alone
        return cls(mean + values[0], np.where(deviation > floor, deviation, 1.0))

    def scaled(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Each row by the scale that includes it."""
        return (values - self.mean) / self.deviation

    def restored(self, answers: ArrayLike) -> NDArray[np.float64]:
        """Scaled answers as numbers, by the scale before each: the truth is not known yet."""
        given = np.asarray(answers, np.float64)
        restored = np.zeros_like(given)
        restored[1:] = given[1:] * self.deviation[:-1] + self.mean[:-1]
        return restored


def running_standardized(inputs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each row less the running mean, over the running deviation; shape as given."""
    return RunningScale.of(inputs).scaled(inputs)
