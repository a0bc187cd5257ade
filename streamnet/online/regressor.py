"""OnlineRegressor: predicts numbers and learns sample by sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamnet.online.estimator import OnlineEstimator
from streamnet.samples import Block, Sample, Task
from streamnet.sources.frames import SamplesLike, to_rows_and_targets

__all__ = ("OnlineRegressor",)


@final
class OnlineRegressor(OnlineEstimator):
    """A population of networks that predicts a number and learns sample by sample.

    The target is standardized online: any range will do.

    >>> regressor = OnlineRegressor(seed=1)
    >>> for i in range(2000):
    ...     regressor.learn_one({"x": i % 10}, 3.0 * (i % 10))
    >>> abs(regressor.predict_one({"x": 4}) - 12.0) < 1.0
    True
    """

    _task = Task.REGRESSION

    def predict_one(self, x: Sample) -> float:
        """The number for the next sample of the stream.

        Before the first sample it is 0, and the mean if no network is fit to answer.

        Raises:
            DataError: If a value can't be read.
        """
        with self._lock:
            number = self._one(x)
            return float(self._learner.encoder.scale[0] if number is None else number)

    def predict(self, X: SamplesLike) -> NDArray[np.float64]:
        """The number for each of some samples that may come from anywhere, shape=(n,).

        Raises:
            DataError: If a value can't be read.
        """
        with self._lock:
            numbers = self._many(X)
            return np.where(np.isnan(numbers), self._learner.encoder.scale[0], numbers)

    def score(self, X: SamplesLike, y: Sequence[Any] | ArrayLike) -> float:
        """R² of `predict`: 1 less the squared errors' share of the targets' squared deviations.

        Of equal targets it is 1 if they were predicted exactly, else 0, as in scikit-learn.

        Raises:
            DataError: If a value can't be read, or there are no samples.
        """
        rows, targets = to_rows_and_targets(X, y)
        truths, answers = self._targets(targets), self.predict(rows)
        squares = np.square(truths - truths.mean()).sum()
        errors = np.square(truths - answers).sum()
        return float(1.0 - errors / squares) if squares else float(errors == 0.0)

    def _expect_all(self, targets: Sequence[Any]) -> None:
        """Nothing: numbers need not be known before."""

    def _named(self, targets: Sequence[Any]) -> Sequence[Any]:
        """As they are: numbers have no names."""
        return targets

    def _note(self, block: Block, targets: Sequence[Any], first: int) -> None:
        """Nothing: numbers have no names."""
