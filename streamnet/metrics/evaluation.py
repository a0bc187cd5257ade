"""Evaluations of finished predictions: every metric of one classifier or one regressor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Any, Self, SupportsFloat, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamnet.errors import ConfigurationError
from streamnet.html_tables import render_confusion, render_properties
from streamnet.metrics.formulas import (
    ConfusionCounts,
    Errors,
    Sums,
    compute_metrics,
    format_number,
    nan_to_none,
    ratio,
)
from streamnet.metrics.per_class import compute_per_class
from streamnet.metrics.ranking import Ranks, compute_areas
from streamnet.samples import Task
from streamnet.validation import check_array, check_number

NO_ANSWER = -1  # class number of a missing prediction


@final
class Evaluation:
    """Predictions of a classifier compared with the truth, and all their metrics.

    A prediction is a label, or probabilities of which the largest counts (ties: the lowest class
    number). None and probabilities that are not finite are missing predictions, which count as
    wrong. A new label is a new class.

    Args:
        labels: Labels by class number.
        floor: Lower bound of probabilities in a log-loss, so that no sample costs more than
            ``-log(floor)``, 9.2 by default.

    Raises:
        ConfigurationError: If a label is there twice, some are texts and others not, or the floor
            is not between 0 and 1.

    >>> evaluation = Evaluation.of(list("RRMM"), list("RMMM"), labels=("R", "M"))
    >>> evaluation.measures()["accuracy"], evaluation.confusion.tolist()
    (0.75, [[1.0, 1.0, 0.0], [0.0, 2.0, 0.0]])
    >>> evaluation.per_class()["R"]["precision"], evaluation.per_class()["R"]["recall"]
    (1.0, 0.5)
    """

    def __init__(self, labels: Iterable[str] = (), *, floor: float = 1e-4) -> None:
        if not 0.0 < check_number("floor", floor) < 1.0:
            raise ConfigurationError(f"floor is {floor}, but must be > 0 and < 1")
        self._floor = floor
        self._numbers: dict[Any, int] = {}
        for given in labels:
            label = self._checked("label", given, given)
            if label in self._numbers:
                raise ConfigurationError(f"labels has {label!r} twice, but each must be there once")
            self._numbers[label] = len(self._numbers)
        self._truths: list[int] = []
        self._answers: list[int] = []
        self._probabilities: list[NDArray[np.float64]] = []
        self._weights: list[float] = []

    @classmethod
    def of(
        cls,
        truths: Sequence[str] | NDArray[Any],
        answers: Sequence[str | None] | NDArray[Any] | None = None,
        *,
        probabilities: ArrayLike | None = None,
        labels: Iterable[str] = (),
        floor: float = 1e-4,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Evaluate n samples.

        Args:
            truths: True labels, shape (n,).
            answers: Predicted labels, shape (n,), None for missing ones; if not given, taken from
                the probabilities.
            probabilities: Shape (n, C), columns in the order of ``labels``.
            labels: Labels by class number.
            floor: Lower bound of probabilities in a log-loss.
            sample_weight: How much each sample counts, >= 0, shape (n,); by default 1.

        Raises:
            ConfigurationError: If lengths differ, neither answers nor probabilities are given, or
                one of them is invalid, see `add`.
        """
        made = cls(labels, floor=floor)
        rows: Any = [None] * len(truths)
        if probabilities is not None:
            rows = check_array("probabilities", probabilities)
        given = [None] * len(truths) if answers is None else answers
        if answers is None and probabilities is None:
            raise ConfigurationError("answers is None, but must be given unless probabilities are")
        for name, values in (("answers", given), ("probabilities", rows)):
            if len(values) != len(truths):
                raise ConfigurationError(
                    f"{name} has length {len(values)}, but must have that of truths, {len(truths)}"
                )
        weights = _read_weights(sample_weight, len(truths))
        for truth, answer, row, weight in zip(truths, given, rows, weights, strict=True):
            made.add(truth, answer, probabilities=row, weight=weight)
        return made

    def add(
        self,
        truth: str,
        answer: str | None = None,
        *,
        probabilities: ArrayLike | None = None,
        weight: float = 1.0,
    ) -> None:
        """Add a sample.

        Args:
            truth: Its label.
            answer: Predicted label; if None, taken from the probabilities, or missing.
            probabilities: Shape (C,), of the classes known so far, by class number.
            weight: How much it counts in the metrics, >= 0; as numbers of samples, all are equal.

        Raises:
            ConfigurationError: If probabilities are of another shape or not from 0 to 1, or only
                some samples have them; if some labels are texts and others are not; if the weight
                is not a finite number >= 0.
        """
        weight = _check_weight(weight)
        if self._truths and (probabilities is None) == bool(self._probabilities):
            raise ConfigurationError("probabilities must be given for all samples or for none")
        given = [("truth", truth)] if answer is None else [("truth", truth), ("answer", answer)]
        labels = [self._checked(name, label, truth) for name, label in given]
        row, likeliest = (None, NO_ANSWER) if probabilities is None else self._read(probabilities)
        if row is not None:
            self._probabilities.append(row)
        found = [self._numbers.setdefault(label, len(self._numbers)) for label in labels]
        self._truths.append(found[0])
        self._answers.append(likeliest if answer is None else found[1])
        self._weights.append(weight)

    def _read(self, probabilities: ArrayLike) -> tuple[NDArray[np.float64], int]:
        row = check_array("probabilities", probabilities).copy()
        if row.ndim != 1 or len(row) > len(self._numbers):
            raise ConfigurationError(
                f"probabilities has shape {row.shape}, but there are {len(self._numbers)} classes"
            )
        if not row.size or not np.isfinite(row).all():
            return np.zeros(0), NO_ANSWER
        if row.min() < 0.0 or row.max() > 1.0 + 1e-6:
            raise ConfigurationError(
                f"probabilities has {row.min():g} to {row.max():g}, but must be from 0 to 1"
            )
        return row, int(row.argmax())

    def _checked(self, name: str, label: Any, first: Any) -> Any:
        """A label as a built-in type; it must be a text if the known labels, or the first, are."""
        label = label.item() if isinstance(label, np.generic) else label
        try:
            if label in self._numbers:
                return label
        except TypeError:
            raise ConfigurationError(
                f"{name} is {label!r}, but must be a label, which can be hashed"
            ) from None
        if label is None or label != label:  # NaN is unlike itself
            raise ConfigurationError(f"{name} is {label}, but must be a label")
        texts = isinstance(next(iter(self._numbers), first), str)
        if isinstance(label, str) is not texts:
            rule = "a text" if texts else "no text"
            raise ConfigurationError(f"{name} is {label!r}, but must be {rule}, as the others are")
        return label

    def __len__(self) -> int:
        return len(self._truths)

    def _repr_html_(self) -> str:
        scores = {name: format_number(value) for name, value in self.measures().items()}
        labels = [str(label) for label in self.labels]
        matrix = render_confusion(labels, self.confusion.tolist())
        return render_properties(type(self).__name__, scores) + matrix

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels by class number."""
        return tuple(self._numbers)

    @property
    def confusion(self) -> NDArray[np.float64]:
        """Weight of samples by truth (rows) and prediction (columns, last: missing).

        Numbers of samples if all weights are 1; shape (C, C + 1).
        """
        classes = len(self._numbers)
        table = np.zeros((classes, classes + 1))
        truths, answers = np.array(self._truths, np.int64), np.array(self._answers, np.int64)
        np.add.at(table, (truths, answers), self._weights)  # NO_ANSWER is the last column
        return table

    @property
    def correct(self) -> int:
        """Number of correct predictions."""
        return sum(t == a for t, a in zip(self._truths, self._answers, strict=True))

    @property
    def wrong(self) -> int:
        """Number of wrong or missing predictions."""
        return len(self) - self.correct

    def measures(self) -> dict[str, float]:
        """All metrics by name, NaN where undefined; see `METRICS` for their definitions.

        Metrics of probabilities are present if probabilities were given: ``distance`` is half the
        Brier score.
        """
        given: dict[str, Any] = {"counts": ConfusionCounts.of(self.confusion)}
        if self._probabilities:
            truth, table = np.array(self._truths), self.probabilities()
            weight = np.array(self._weights)
            given |= {"probabilities": (truth, table, weight)}
            given["sums"] = self._sums(truth, table, weight)
            given["ranks"] = Ranks.of(truth, table, weight)
        found = compute_metrics(Task.CLASSIFICATION, "batch", **given)
        return {name: float(value) for name, value in found.items()}

    def _sums(
        self, truth: NDArray[np.int64], table: NDArray[np.float64], weight: NDArray[np.float64]
    ) -> Sums:
        ideal = np.eye(table.shape[1])[truth]
        probability = table[np.arange(len(truth)), truth]
        last = np.append(NO_ANSWER, truth[:-1])
        sums = (
            weight.sum(),
            (weight * (np.array(self._answers) != truth)).sum(),
            (weight * (last != truth)).sum(),
            -(weight * np.log(np.maximum(probability, self._floor))).sum(),
            (weight * ((table - ideal) ** 2).sum(1)).sum(),
        )
        return Sums(*(np.array(value, np.float64) for value in sums))

    def probabilities(self) -> NDArray[np.float64]:
        """Shape (n, C), 0 for missing predictions and classes unknown so far; (0, C) if none."""
        table = np.zeros((len(self._probabilities), len(self._numbers)))
        for row, given in zip(table, self._probabilities, strict=True):
            row[: len(given)] = given
        return table

    def per_class(self) -> dict[str, dict[str, float]]:
        """Metrics of each class against all others, by label, counts first.

        With probabilities also the areas under the ROC and the precision-recall curve.
        """
        areas = None
        if self._probabilities:
            truth, weight = np.array(self._truths), np.array(self._weights)
            areas = compute_areas(Ranks.of(truth, self.probabilities(), weight))
        return compute_per_class(self.labels, self.confusion, areas)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain data for JSON; None where undefined."""
        return {
            "samples": len(self),
            "correct": self.correct,
            "wrong": self.wrong,
            "measures": nan_to_none(self.measures()),
            "labels": list(self.labels),
            "confusion": self.confusion.tolist(),
            "classes": {label: nan_to_none(one) for label, one in self.per_class().items()},
        }


QUANTILES = (0.1, 0.5, 0.9)


@final
class RegressionEvaluation:
    """Predictions of a regressor compared with the truth, and all their metrics.

    Predictions that are not finite count as `unanswered` and as wrong; other metrics leave them
    out.

    Args:
        threshold: Predictions within this distance of the truth are correct; None leaves open
            which are.
        quantiles: Quantiles whose pinball losses are computed, each between 0 and 1.

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
            threshold = check_number("threshold", threshold)
            if not (isfinite(threshold) and threshold > 0.0):
                raise ConfigurationError(f"threshold is {threshold}, but must be > 0")
        quantiles = check_array("quantiles", quantiles).tolist()
        if not isinstance(quantiles, list):
            raise ConfigurationError(f"quantiles is {quantiles}, but must be a list of numbers")
        for quantile in quantiles:
            if not 0.0 < quantile < 1.0:
                raise ConfigurationError(f"quantiles has {quantile}, but must be > 0 and < 1")
        self.threshold = threshold
        self._quantiles = tuple(quantiles)
        self._truths: list[float] = []
        self._answers: list[float] = []
        self._weights: list[float] = []

    @classmethod
    def of(
        cls,
        truths: ArrayLike,
        answers: ArrayLike,
        *,
        threshold: float | None = None,
        quantiles: Sequence[float] = QUANTILES,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Evaluate n samples.

        Args:
            truths: Finite numbers, shape (n,).
            answers: Predictions, shape (n,).
            threshold: See the class.
            quantiles: See the class.
            sample_weight: How much each sample counts, >= 0, shape (n,); by default 1.

        Raises:
            ConfigurationError: If the shapes differ, anything is no number, a truth is not finite,
                or a weight is not a finite number >= 0.
        """
        made = cls(threshold=threshold, quantiles=quantiles)
        y, a = check_array("truths", truths), check_array("answers", answers)
        if y.ndim != 1 or y.shape != a.shape:
            raise ConfigurationError(f"answers has shape {a.shape}, but must have (n,) = {y.shape}")
        weights = _read_weights(sample_weight, len(y))
        for truth, answer, weight in zip(y.tolist(), a.tolist(), weights, strict=True):
            made.add(truth, answer, weight=weight)
        return made

    def add(self, truth: float, answer: float, *, weight: float = 1.0) -> None:
        """Add a sample, which counts in the metrics by its weight.

        Raises:
            ConfigurationError: If the truth is not finite, or the weight no finite number >= 0.
        """
        weight = _check_weight(weight)
        if not isfinite(truth):
            raise ConfigurationError(f"truth is {truth}, but must be finite")
        self._truths.append(float(truth))
        self._answers.append(float(answer))
        self._weights.append(weight)

    def __len__(self) -> int:
        return len(self._truths)

    @property
    def truths(self) -> NDArray[np.float64]:
        """The truth, shape (n,)."""
        return np.array(self._truths, np.float64)

    @property
    def answers(self) -> NDArray[np.float64]:
        """The predictions, shape (n,)."""
        return np.array(self._answers, np.float64)

    @property
    def unanswered(self) -> int:
        """Number of predictions that are not finite."""
        return int((~np.isfinite(self.answers)).sum())

    @property
    def correct(self) -> int | None:
        """Number of predictions within the threshold of the truth; None without a threshold."""
        if self.threshold is None:
            return None
        away = np.abs(self.truths - self.answers)
        return int((away < self.threshold).sum())

    @property
    def wrong(self) -> int | None:
        """Number of all other predictions; None without a threshold."""
        return None if self.correct is None else len(self) - self.correct

    def _repr_html_(self) -> str:
        scores = {name: format_number(value) for name, value in self.measures().items()}
        return render_properties(type(self).__name__, scores)

    @np.errstate(over="ignore", invalid="ignore")
    def measures(self) -> dict[str, float]:
        """All metrics by name, NaN where undefined; see `METRICS` for their definitions.

        ``quantile_loss_0.9`` and the like are pinball losses, see `quantile_loss`;
        ``correct_ratio`` is present if there is a threshold.
        """
        known, weight = np.isfinite(self.answers), np.array(self._weights)
        y, a, w = self.truths[known], self.answers[known], weight[known]
        other = y != 0.0
        errors = Errors(
            np.array(np.count_nonzero(w)),
            _mean(np.abs(y - a), w),
            _mean((y - a) ** 2, w),
            _variance(y, w),
            _mean(np.abs((y - a)[other] / y[other]), w[other]),
        )
        found: dict[str, SupportsFloat] = compute_metrics(Task.REGRESSION, "batch", errors=errors)
        found |= {f"quantile_loss_{q:g}": self.quantile_loss(q) for q in self._quantiles}
        if self.threshold is not None:
            correct = np.abs(self.truths - self.answers) < self.threshold
            found["correct_ratio"] = ratio((weight * correct).sum(), weight.sum())
        return {name: float(value) for name, value in found.items()}

    def quantile_loss(self, quantile: float) -> float:
        """Pinball loss of predictions of this quantile q of the truth.

        The mean of ``q (y - a)`` where the prediction a is below the truth y, else of ``(1 - q) (a
        - y)``: for q = 0.5 half the mean absolute error. Koenker and Bassett, "Regression
        quantiles", Econometrica 46, 1978.
        """
        known = np.isfinite(self.answers)
        below, weight = (self.truths - self.answers)[known], np.array(self._weights)[known]
        return float(_mean(np.maximum(quantile * below, (quantile - 1.0) * below), weight))

    def as_dict(self) -> dict[str, Any]:
        """Everything but the predictions as plain data for JSON; None if undefined."""
        return {
            "samples": len(self),
            "unanswered": self.unanswered,
            "threshold": self.threshold,
            "correct": self.correct,
            "wrong": self.wrong,
            "measures": nan_to_none(self.measures()),
        }


def _check_weight(weight: float) -> float:
    weight = check_number("weight", weight)
    if not (isfinite(weight) and weight >= 0.0):
        raise ConfigurationError(f"weight is {weight}, but must be a finite number >= 0")
    return weight


def _read_weights(sample_weight: ArrayLike | None, samples: int) -> list[float]:
    if sample_weight is None:
        return [1.0] * samples
    weights = check_array("sample_weight", sample_weight)
    if weights.shape != (samples,):
        raise ConfigurationError(
            f"sample_weight has shape {weights.shape}, but must have ({samples},)"
        )
    found: list[float] = weights.tolist()
    return found


def _mean(values: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    return ratio((values * weight).sum(), weight.sum())


def _variance(truths: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Exactly 0 for constant truths; NaN if their variance underflows."""
    counted = truths[weight > 0.0]
    if counted.size and (counted == counted[0]).all():
        return np.array(0.0)
    variance = _mean((truths - _mean(truths, weight)) ** 2, weight)
    return np.where(variance > 0.0, variance, np.nan)
