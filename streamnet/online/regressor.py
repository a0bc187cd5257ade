"""OnlineRegressor: predicts numbers and learns sample by sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamnet.online.estimator import OnlineEstimator
from streamnet.samples import Block, Sample, Task
from streamnet.sources.frames import SamplesLike, to_rows_and_targets


@final
class OnlineRegressor(OnlineEstimator):
    """An online regressor: a population of neural networks that learns sample by sample.

    The target is standardized online, so it may have any range.

    >>> regressor = OnlineRegressor(seed=1)
    >>> for i in range(2000):
    ...     regressor.learn_one({"x": i % 10}, 3.0 * (i % 10))
    >>> abs(regressor.predict_one({"x": 4}) - 12.0) < 1.0
    True
    """

    _task = Task.REGRESSION

    def predict_one(self, x: Sample) -> float:
        """Predict the number of the next sample of the stream.

        Returns 0 before the first sample, and the mean if no network has a finite output.

        Args:
            x: Features by name.

        Raises:
            DataError: If a value cannot be read.
        """
        with self._lock:
            number = self._predict_next(x)
            return float(self._learner.encoder.scale[0] if number is None else number)

    def predict(self, X: SamplesLike) -> NDArray[np.float64]:
        """Predict the numbers of samples from anywhere, shape=(n,).

        Args:
            X: The samples.

        Raises:
            DataError: If a value cannot be read.
        """
        with self._lock:
            numbers = self._predict_many(X)
            return np.where(np.isnan(numbers), self._learner.encoder.scale[0], numbers)

    def score(self, X: SamplesLike, y: Sequence[Any] | ArrayLike) -> float:
        """Compute R², the coefficient of determination, of `predict`.

        If all targets are equal it is 1 for exact predictions, else 0, as in scikit-learn.

        Args:
            X: The samples.
            y: Their targets, shape=(n,).

        Raises:
            DataError: If a value cannot be read, or there are no samples.
        """
        rows, targets = to_rows_and_targets(X, y)
        truths, answers = self._targets(targets), self.predict(rows)
        squares = np.square(truths - truths.mean()).sum()
        errors = np.square(truths - answers).sum()
        return float(1.0 - errors / squares) if squares else float(errors == 0.0)

    def _expect_all(self, targets: Sequence[Any]) -> None:
        """Do nothing: numbers need not be known in advance."""

    def _named(self, targets: Sequence[Any]) -> Sequence[Any]:
        """Return the numbers unchanged."""
        return targets

    def _note(self, block: Block, targets: Sequence[Any], first: int) -> None:
        """Do nothing: numbers are not recorded."""
