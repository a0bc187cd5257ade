"""Evaluations of finished answers: every metric of one classifier or one regressor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Any, Self, SupportsFloat, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamnet.errors import ConfigurationError
from streamnet.metrics import per_class
from streamnet.metrics.formulas import (
    ConfusionCounts,
    Errors,
    Sums,
    compute_metrics,
    mean,
    nan_to_none,
)
from streamnet.samples import Task
from streamnet.validation import check_array, check_number

NO_ANSWER = -1  # number of the class where there is no answer


@final
class Evaluation:
    """The answers of a classifier beside the truth, and every measure of them.

    A sample has a truth and an answer, given as such or as probabilities, whose largest is the
    answer (ties: the lowest class number). Probabilities that are not finite, and an answer of
    None, are no answer, which is wrong. A label that is new is a new class.

    Args:
        labels: Labels by class number.
        floor: Least probability in a log-loss: less counts as this, so that no sample costs more
            than ``-log(floor)``, 9.2 by default.

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

    @classmethod
    def of(
        cls,
        truths: Sequence[str] | NDArray[Any],
        answers: Sequence[str | None] | NDArray[Any] | None = None,
        *,
        probabilities: ArrayLike | None = None,
        labels: Iterable[str] = (),
        floor: float = 1e-4,
    ) -> Self:
        """The evaluation of n samples.

        Args:
            truths: Labels, one a sample.
            answers: Labels, one a sample, None for none; otherwise the probabilities tell them.
            probabilities: Shape (n, C), columns in the order of ``labels``.
            labels: Labels by class number.
            floor: Least probability in a log-loss.

        Raises:
            ConfigurationError: If lengths differ, neither answers nor probabilities are given, or
                one of them is refused as by `add`.
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
        for truth, answer, row in zip(truths, given, rows, strict=True):
            made.add(truth, answer, probabilities=row)
        return made

    def add(
        self, truth: str, answer: str | None = None, *, probabilities: ArrayLike | None = None
    ) -> None:
        """Take in a sample.

        Args:
            truth: Its label.
            answer: The label that it was given, None for none; otherwise told by probabilities.
            probabilities: Shape (C,), of the classes that were known then, in their order.

        Raises:
            ConfigurationError: If probabilities are of another shape or not from 0 to 1, or only
                some samples have them; if truth or answer is a text and other labels are not, or
                the other way round.
        """
        if self._truths and (probabilities is None) == bool(self._probabilities):
            raise ConfigurationError("probabilities must be given for all samples or for none")
        given = [("truth", truth)] if answer is None else [("truth", truth), ("answer", answer)]
        labels = [self._checked(name, label, truth) for name, label in given]
        row, told = (None, NO_ANSWER) if probabilities is None else self._read(probabilities)
        if row is not None:
            self._probabilities.append(row)
        found = [self._numbers.setdefault(label, len(self._numbers)) for label in labels]
        self._truths.append(found[0])
        self._answers.append(told if answer is None else found[1])

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
        """A label as Python's own, of the kind that the known ones are of, or else the first."""
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

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels by class number."""
        return tuple(self._numbers)

    @property
    def confusion(self) -> NDArray[np.float64]:
        """Samples by truth (rows) and answer (columns, the last for none): shape (C, C + 1)."""
        classes = len(self._numbers)
        table = np.zeros((classes, classes + 1))
        truths, answers = np.array(self._truths, np.int64), np.array(self._answers, np.int64)
        np.add.at(table, (truths, answers), 1.0)  # NONE is the last column
        return table

    @property
    def correct(self) -> int:
        """Right answers."""
        return sum(t == a for t, a in zip(self._truths, self._answers, strict=True))

    @property
    def wrong(self) -> int:
        """Wrong answers, those that were not given included."""
        return len(self) - self.correct

    def measures(self) -> dict[str, float]:
        """Measures of all classes together, NaN where one is not defined.

        ``micro_f1`` counts all classes as one, so that it is the accuracy unless an answer is
        missing; ``weighted_f1`` weighs each class by its samples. Those of probabilities are there
        if probabilities were given: ``distance`` is the mean half squared error over all outputs,
        half the Brier score. What is under ``gopher.`` is explained in `evaluation.gopher`.
        """
        given: dict[str, Any] = {"counts": ConfusionCounts.of(self.confusion)}
        if self._probabilities:
            truth, table = np.array(self._truths), self.probabilities()
            given |= {"probabilities": (truth, table), "sums": self._sums(truth, table)}
        found = compute_metrics(Task.CLASSIFICATION, "batch", **given)
        return {name: float(value) for name, value in found.items()}

    def _sums(self, truth: NDArray[np.int64], table: NDArray[np.float64]) -> Sums:
        ideal = np.eye(table.shape[1])[truth]
        probability = table[np.arange(len(truth)), truth]
        last = np.append(NO_ANSWER, truth[:-1])
        sums = (
            len(self),
            self.wrong,
            (last != truth).sum(),
            -np.log(np.maximum(probability, self._floor)).sum(),
            ((table - ideal) ** 2).sum(1).sum(),
        )
        return Sums(*(np.array(value, np.float64) for value in sums))

    def probabilities(self) -> NDArray[np.float64]:
        """Shape (n, C), 0 where there was no answer or the class was not known; (0, C) if none."""
        table = np.zeros((len(self._probabilities), len(self._numbers)))
        for row, given in zip(table, self._probabilities, strict=True):
            row[: len(given)] = given
        return table

    def per_class(self) -> dict[str, dict[str, float]]:
        """By label all measures of `per_class.PER_CLASS`: that class against all others."""
        return compute_per_class(self.labels, self.confusion)

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain data for JSON; None for what is not defined."""
        return {
            "samples": len(self),
            "correct": self.correct,
            "wrong": self.wrong,
            "measures": nan_to_none(self.measures()),
            "labels": list(self.labels),
            "confusion": self.confusion.tolist(),
            "classes": self.per_class(),
        }


def compute_per_class(
    labels: Sequence[str], confusion: NDArray[np.float64]
) -> dict[str, dict[str, float]]:
    """By label every measure of `per_class.PER_CLASS`, of a confusion matrix (C, C + 1)."""
    counts = ConfusionCounts.of(confusion)
    columns = {name: measure(counts) for name, measure in per_class.PER_CLASS.items()}
    return {
        label: {name: float(values[number]) for name, values in columns.items()}
        for number, label in enumerate(labels)
    }


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
        y, a = check_array("truths", truths), check_array("answers", answers)
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
        other = y != 0.0
        errors = Errors(
            np.array(len(y)),
            _mean(np.abs(y - a)),
            _mean((y - a) ** 2),
            _variance(y),
            _mean(np.abs((y - a)[other] / y[other])),
        )
        found: dict[str, SupportsFloat] = compute_metrics(Task.REGRESSION, "batch", errors=errors)
        found |= {f"quantile_loss_{q:g}": self.quantile_loss(q) for q in self._quantiles}
        if self.correct is not None:
            found["correct_ratio"] = mean(self.correct, len(self))
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
            "measures": nan_to_none(self.measures()),
        }


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return mean(values.sum(), values.size)


def _variance(truths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Exactly 0 where they never change; NaN where they do, by so little that its square is 0."""
    if truths.size and (truths == truths[0]).all():
        return np.array(0.0)
    variance = _mean((truths - _mean(truths)) ** 2)
    return np.where(variance > 0.0, variance, np.nan)
