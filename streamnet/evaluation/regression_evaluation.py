"""RegressionEvaluation: all that can be said about the finished answers of one regressor."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any
from typing import Self
from typing import SupportsFloat
from typing import final

import numpy as np
from numpy.typing import ArrayLike
from numpy.typing import NDArray

from streamnet.checked import numbers
from streamnet.checked import real
from streamnet.errors import ConfigurationError
from streamnet.evaluation import measures

__all__ = ("RegressionEvaluation",)

QUANTILES = (0.1, 0.5, 0.9)


@final
class RegressionEvaluation:
    """The answers of a regressor beside the truth, and every measure of them.

    Answers that are not finite are counted as `unanswered` and as wrong; no other measure can take
    them in.

    Args:
        threshold: Answers less than this away from the truth are correct; None: nothing is said
            about that.
        quantiles: Whose pinball losses are told, each between 0 and 1.

    Raises:
        ConfigurationError: If a setting breaks its rule.

    >>> evaluation = RegressionEvaluation.of([1.0, 2.0, 4.0], [1.0, 2.5, 3.0], threshold=0.6)
    >>> evaluation.correct, evaluation.wrong, evaluation.measures()["mae"]
    (2, 1, 0.5)
    """

    def __init__(
        self, *, threshold: float | None = None, quantiles: Sequence[float] = QUANTILES
    ) -> None:
        if threshold is not None:
            threshold = real("threshold", threshold)
            if not (isfinite(threshold) and threshold > 0.0):
                raise ConfigurationError(f"threshold is {threshold}, but must be > 0")
        quantiles = numbers("quantiles", quantiles).tolist()
        if not isinstance(quantiles, list):
            raise ConfigurationError(f"quantiles is {quantiles}, but must be a list of numbers")
        for quantile in quantiles:
            if not 0.0 < quantile < 1.0:
                raise ConfigurationError(f"quantiles has {quantile}, but must be > 0 and < 1")
        self.threshold = threshold
        self._quantiles = tuple(quantiles)
        self._truths: list[float] = []
        self._answers: list[float] = []

    @classmethod
    def of(
        cls,
        truths: ArrayLike,
        answers: ArrayLike,
        *,
        threshold: float | None = None,
        quantiles: Sequence[float] = QUANTILES,
    ) -> Self:
        """The evaluation of n samples.

        Args:
            truths: Finite numbers, shape (n,).
            answers: Numbers, shape (n,).
            threshold: As for the class.
            quantiles: As for the class.

        Raises:
            ConfigurationError: If the shapes differ, anything is no number, or a truth not finite.
        """
        made = cls(threshold=threshold, quantiles=quantiles)
        y, a = numbers("truths", truths), numbers("answers", answers)
        if y.ndim != 1 or y.shape != a.shape:
            raise ConfigurationError(f"answers has shape {a.shape}, but must have (n,) = {y.shape}")
        for truth, answer in zip(y.tolist(), a.tolist(), strict=True):
            made.add(truth, answer)
        return made

    def add(self, truth: float, answer: float) -> None:
        """Take in a sample.

        Raises:
            ConfigurationError: If the truth is not finite.
        """
        if not isfinite(truth):
            raise ConfigurationError(f"truth is {truth}, but must be finite")
        self._truths.append(float(truth))
        self._answers.append(float(answer))

    def __len__(self) -> int:
        return len(self._truths)

    @property
    def truths(self) -> NDArray[np.float64]:
        """Shape (n,)."""
        return np.array(self._truths, np.float64)

    @property
    def answers(self) -> NDArray[np.float64]:
        """Shape (n,)."""
        return np.array(self._answers, np.float64)

    @property
    def unanswered(self) -> int:
        """Answers that are not finite."""
        return int((~np.isfinite(self.answers)).sum())

    @property
    def correct(self) -> int | None:
        """Answers less than the threshold away from the truth; None without a threshold."""
        if self.threshold is None:
            return None
        away = np.abs(self.truths - self.answers)
        return int((away < self.threshold).sum())

    @property
    def wrong(self) -> int | None:
        """All others; None without a threshold."""
        return None if self.correct is None else len(self) - self.correct

    @np.errstate(over="ignore", invalid="ignore")
    def measures(self) -> dict[str, float]:
        """All measures by name, NaN where one is not defined.

        ``mape`` is a fraction and leaves samples out whose truth is 0; ``distance`` is the mean
        half squared error; ``correct_ratio`` is there if there is a threshold. For what
        ``quantile_loss_0.9`` and its like are, see `quantile_loss`; for where ``r2`` is not
        defined, `measures.r_squared`.
        """
        known = np.isfinite(self.answers)
        y, a = self.truths[known], self.answers[known]
        absolute, square = _mean(np.abs(y - a)), _mean((y - a) ** 2)
        other = y != 0.0
        found: dict[str, SupportsFloat] = {
            "mae": absolute,
            "rmse": measures.root_mean_square(square),
            "r2": measures.r_squared(square, _variance(y), absolute, np.array(len(y))),
            "mape": _mean(np.abs((y - a)[other] / y[other])),
            **{f"quantile_loss_{q:g}": self.quantile_loss(q) for q in self._quantiles},
            "distance": square / 2.0,
        }
        if self.correct is not None:
            found["correct_ratio"] = measures.mean(np.array(self.correct), np.array(len(self)))
        return {name: float(value) for name, value in found.items()}

    def quantile_loss(self, quantile: float) -> float:
        """The pinball loss of answers that are meant to be this quantile q of the truth.

        The mean of ``q (y - a)`` where the answer a is below the truth y, else of ``(1 - q) (a -
        y)``: for q = 0.5 half the mean absolute error. Koenker and Bassett, "Regression quantiles",
        Econometrica 46, 1978.
        """
        known = np.isfinite(self.answers)
        below = (self.truths - self.answers)[known]
        return float(_mean(np.maximum(quantile * below, (quantile - 1.0) * below)))

    def as_dict(self) -> dict[str, Any]:
        """All of it but the answers as plain data for JSON; None for what is not defined."""
        return {
            "samples": len(self),
            "unanswered": self.unanswered,
            "threshold": self.threshold,
            "correct": self.correct,
            "wrong": self.wrong,
            "measures": measures.for_json(self.measures()),
        }


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return measures.mean(values.sum(), np.array(values.size))


def _variance(truths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Exactly 0 where they never change; NaN where they do, by so little that its square is 0."""
    if truths.size and (truths == truths[0]).all():
        return np.array(0.0)
    variance = _mean((truths - _mean(truths)) ** 2)
    return np.where(variance > 0.0, variance, np.nan)
