"""Metrics as functions of counts, sums and errors, and the registry of all of them.

Decorating a function with `metric` registers it in `METRICS`, from which evaluators, reports and
their displays are derived. Every function of counts or sums takes arrays with any leading axes (one
track or all of them at once) and returns an array of those axes. A metric of no samples is NaN;
other undefined values are described with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal, NamedTuple, TypeVar, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamnet.errors import ConfigurationError
from streamnet.samples import Task

Values = NDArray[np.float64]
Classes = NDArray[np.int64]
Inputs = Literal["counts", "sums", "ranks", "probabilities", "errors"]
Scope = Literal["all", "stream", "batch"]
Formula = TypeVar("Formula", bound=Callable[..., Any])

# A reference that leaves less than this fraction to chance leaves only rounding errors to measure.
NEGLIGIBLE = 1e-12
MIN_SQUARE = float(np.finfo(np.float64).tiny)  # smaller ones have lost digits
BINS = 15


class ConfusionCounts(NamedTuple):
    """Diagonal and margins of a confusion matrix.

    >>> confusion = np.array([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0]])  # last column: no prediction
    >>> ConfusionCounts.of(confusion).answers
    array([3., 3., 1.])
    """

    hits: Values  # shape=(..., C), correct predictions by class
    truths: Values  # shape=(..., C), samples by true class
    answers: Values  # shape=(..., C + 1), samples by predicted class; last: no prediction

    @classmethod
    def of(cls, confusion: Values) -> ConfusionCounts:
        """Count from matrices of shape (..., C, C + 1): rows truth, columns prediction."""
        hits = np.diagonal(confusion, axis1=-2, axis2=-1)
        return cls(hits, confusion.sum(-1), confusion.sum(-2))


class Sums(NamedTuple):
    """Weighted sums over scored samples of a classification, float64 (...) each."""

    weight: Values
    wrong: Values
    no_change_wrong: Values  # where repeating the last label is wrong
    log_loss: Values
    brier: Values


class Errors(NamedTuple):
    """Weighted means over scored samples of a regression, (...) each."""

    samples: NDArray[np.int64]
    absolute: Values  # mean absolute error
    square: Values  # mean squared error
    variance: Values  # of the truth; NaN or infinite where squares underflow or overflow
    relative: Values  # mean absolute error divided by the truth; NaN if every truth is 0


METRICS: dict[Task, dict[str, Metric]] = {task: {} for task in Task}
"""All metrics by task and name, in the order of reports."""


@final
@dataclass(kw_only=True)
class Metric:
    """A metric: what it is called, what it is computed from, and which values are better."""

    name: str
    inputs: Inputs
    function: Callable[..., Any]
    larger_is_better: bool = True
    title: str = ""  # for people; by default the name with blanks
    percentage: bool = False  # whether it is shown as one
    scope: Scope = "all"  # "stream": of evaluators only; "batch": of evaluations only
    summary: bool = False  # whether it is shown where there is little space

    def __post_init__(self) -> None:
        self.title = self.title or self.name.replace("_", " ")

    @property
    def task(self) -> Task:
        """The task that the metric is defined for."""
        return Task.REGRESSION if self.inputs == "errors" else Task.CLASSIFICATION

    @property
    def description(self) -> str:
        """The first sentence of the function's documentation."""
        return str(self.function.__doc__).partition("\n")[0]


def metric(name: str, inputs: Inputs, **options: Any) -> Callable[[Formula], Formula]:
    """Register a function as a metric.

    Args:
        name: Name in reports.
        inputs: What the function takes: "counts" `ConfusionCounts`, "sums" `Sums`, "errors"
            `Errors`, "ranks" `streamnet.metrics.ranking.Ranks`, "probabilities" class numbers
            (n,), probabilities (n, C) and weights (n,).
        options: The other fields of `Metric`.

    Raises:
        ConfigurationError: If there is already a metric of that name.
    """

    def register(function: Formula) -> Formula:
        made = Metric(name=name, inputs=inputs, function=function, **options)
        if METRICS[made.task].setdefault(name, made) is not made:
            raise ConfigurationError(f"metric {name!r} is already registered")
        return function

    return register


def compute_metrics(task: Task, scope: Scope, **given: Any) -> dict[str, Any]:
    """Compute all metrics of a task and a scope whose inputs are given, by name.

    >>> counts = ConfusionCounts.of(np.array([[3.0, 1.0, 0.0], [0.0, 2.0, 0.0]]))
    >>> round(float(compute_metrics(Task.CLASSIFICATION, "batch", counts=counts)["accuracy"]), 2)
    0.83
    """
    found = {}
    for name, one in METRICS[task].items():
        if one.inputs in given and one.scope in ("all", scope):
            inputs = given[one.inputs]
            found[name] = (
                one.function(*inputs) if one.inputs == "probabilities" else one.function(inputs)
            )
    return found


def ratio(
    above: ArrayLike, below: ArrayLike, *, otherwise: float = np.nan, least: ArrayLike = 0.0
) -> Values:
    """``above / below``, or ``otherwise`` where ``below`` is not more than ``least``."""
    above, below = np.asarray(above), np.asarray(below)
    result: Values = np.full(np.broadcast_shapes(above.shape, below.shape), otherwise)
    np.divide(above, below, out=result, where=below > least)
    return result


def _defined(weight: Values, value: Values) -> Values:
    return np.where(weight > 0, value, np.nan)


def nan_to_none(values: dict[str, float]) -> dict[str, float | None]:
    """Replace undefined metrics by None, as in JSON.

    >>> nan_to_none({"accuracy": 0.5, "kappa": float("nan")})
    {'accuracy': 0.5, 'kappa': None}
    """
    return {name: value if isfinite(value) else None for name, value in values.items()}


@metric("accuracy", "counts", percentage=True, summary=True)
def accuracy(counts: ConfusionCounts) -> Values:
    """Fraction of correct predictions: ``sum(hits) / n``."""
    return ratio(counts.hits.sum(-1), counts.truths.sum(-1))


@metric("balanced_accuracy", "counts", percentage=True, summary=True)
def balanced_accuracy(counts: ConfusionCounts) -> Values:
    """Mean recall ``hits[c] / truths[c]`` over the classes that occur as truth.

    Brodersen, Ong, Stephan and Buhmann, "The balanced accuracy and its posterior distribution",
    ICPR 2010; for several classes as in scikit-learn.
    """
    recall = ratio(counts.hits, counts.truths, otherwise=0.0)
    return ratio(recall.sum(-1), (counts.truths > 0).sum(-1))


@metric("macro_f1", "counts", title="macro F1", percentage=True)
def macro_f1(counts: ConfusionCounts) -> Values:
    """Mean of ``2 hits[c] / (truths[c] + answers[c])`` over classes that occur.

    van Rijsbergen, "Information Retrieval", 1979; the mean of the F1 of classes, not the F1 of
    mean precision and recall. Classes that are neither truth nor prediction are left out; a missing
    prediction lowers the recall of the truth.
    """
    either = counts.truths + counts.answers[..., :-1]
    return ratio(ratio(2.0 * counts.hits, either, otherwise=0.0).sum(-1), (either > 0).sum(-1))


@metric("micro_f1", "counts", title="micro F1", scope="batch", percentage=True)
def micro_f1(counts: ConfusionCounts) -> Values:
    """F1 of the pooled counts of all classes: ``2 sum(hits) / (sum(truths) + sum(answers))``.

    It equals the accuracy unless predictions are missing.
    """
    given = counts.truths.sum(-1) + counts.answers[..., :-1].sum(-1)
    return ratio(2.0 * counts.hits.sum(-1), given)


@metric("weighted_f1", "counts", title="weighted F1", scope="batch", percentage=True)
def weighted_f1(counts: ConfusionCounts) -> Values:
    """Mean of the F1 of classes as in `macro_f1`, each weighted by ``truths[c]``."""
    either = counts.truths + counts.answers[..., :-1]
    f1 = ratio(2.0 * counts.hits, either, otherwise=0.0)
    return ratio((f1 * counts.truths).sum(-1), counts.truths.sum(-1))


@metric("kappa", "counts", summary=True)
def cohen_kappa(counts: ConfusionCounts) -> Values:
    """Agreement beyond chance: ``(p0 - pe) / (1 - pe)``.

    p0 is the accuracy and ``pe = sum(truths[c] answers[c]) / n**2``. Cohen, "A coefficient of
    agreement for nominal scales", 1960. It is 0 where the formula gives 0 / 0: a single class,
    always predicted (scikit-learn: NaN).
    """
    n = counts.truths.sum(-1)
    by_chance = (counts.truths * counts.answers[..., :-1]).sum(-1)
    possible = n - ratio(by_chance, n)  # n (1 - pe)
    gained = counts.hits.sum(-1) - ratio(by_chance, n)  # n (p0 - pe)
    return _defined(n, ratio(gained, possible, otherwise=0.0, least=NEGLIGIBLE * n))


@metric("kappa_temporal", "sums", scope="stream")
def kappa_temporal(sums: Sums) -> Values:
    """Gain over repeating the last label: ``(p0 - p') / (1 - p') = 1 - wrong / no_change_wrong``.

    p0 is the accuracy and p' that of the no-change predictions of the same samples. Žliobaitė,
    Bifet, Read, Pfahringer and Holmes, "Evaluation methods and decision theory for classification
    of streaming data with temporal dependence", Machine Learning 98, 2015. Where no change is
    always right it is 0 for a track that is always right too, and NaN (unbounded) for any other.
    """
    perfect = np.where(sums.wrong > 0, np.nan, 0.0)
    value = 1.0 - ratio(sums.wrong, sums.no_change_wrong, otherwise=1.0)
    return _defined(sums.weight, np.where(sums.no_change_wrong > 0, value, perfect))


@metric("mcc", "counts", title="MCC")
def matthews_corrcoef(counts: ConfusionCounts) -> Values:
    """Correlation of truth and prediction (MCC), from -1 to 1.

    ``(n sum(hits) - sum(t a)) / sqrt((n**2 - sum(t**2)) (n**2 - sum(a**2)))`` with truths t and
    predictions a. Matthews, "Comparison of the predicted and observed secondary structure of T4
    phage lysozyme", 1975; for several classes Gorodkin, "Comparing two K-category assignments by a
    K-category correlation coefficient", 2004. It is 0 where truth or prediction is constant.
    """
    # In fractions instead of counts, so that one threshold of rounding errors fits any n.
    n = counts.truths.sum(-1)
    truths = ratio(counts.truths, n[..., None])
    answers = ratio(counts.answers, counts.answers.sum(-1)[..., None])
    covariance = accuracy(counts) - (truths * answers[..., :-1]).sum(-1)
    spread = 1.0 - (truths**2).sum(-1), 1.0 - (answers**2).sum(-1)
    varied = (spread[0] > NEGLIGIBLE) & (spread[1] > NEGLIGIBLE)
    scale = np.sqrt(np.where(varied, spread[0] * spread[1], 0.0))
    return _defined(n, ratio(covariance, scale, otherwise=0.0))


@metric("log_loss", "sums", larger_is_better=False, title="log-loss", summary=True)
def log_loss(sums: Sums) -> Values:
    """Mean of ``-log(probability of the truth)``, with probabilities clipped at the floor."""
    return ratio(sums.log_loss, sums.weight)


@metric("brier", "sums", larger_is_better=False, title="Brier")
def brier_score(sums: Sums) -> Values:
    """Mean over samples of the sum over classes of ``(p[c] - y[c])**2``, from 0 to 2.

    Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78,
    1950.
    """
    return ratio(sums.brier, sums.weight)


@metric("calibration_error", "probabilities", larger_is_better=False)
def expected_calibration_error(
    truth: Classes, probability: Values, weight: Values | None = None, *, bins: int = BINS
) -> float:
    """Expected calibration error: mean gap between confidence and accuracy, from 0 to 1.

    Samples, which count by their ``weight`` (None: all alike), are binned at equal width by their
    largest probability, the confidence; bin b holds those in ``(b / bins, (b + 1) / bins]``. The
    error is the mean over samples of ``|accuracy - mean confidence|`` of their bin. Naeini, Cooper
    and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015; 15
    bins as in Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML
    2017. NaN of no samples.

    Raises:
        ConfigurationError: If there is no bin.
    """
    if bins < 1:
        raise ConfigurationError(f"bins is {bins}, but must be >= 1")
    if not probability.size:
        return np.nan
    confidence = probability.max(1)
    right = probability.argmax(1) == truth
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    weight = np.ones(len(truth)) if weight is None else weight
    gap = np.bincount(place, weight * (right - confidence), bins)
    return float(ratio(np.abs(gap).sum(), weight.sum()))


@metric("distance", "sums", larger_is_better=False, scope="batch")
def half_squared_distance(sums: Sums) -> Values:
    """Half the Brier score: gopher-neural's distance."""
    return brier_score(sums) / 2.0


@metric("mae", "errors", larger_is_better=False, title="MAE", summary=True)
def mean_absolute_error(errors: Errors) -> Values:
    """Mean of ``|y - a|`` of truths y and predictions a."""
    return errors.absolute


@metric("rmse", "errors", larger_is_better=False, title="RMSE", summary=True)
def root_mean_squared_error(errors: Errors) -> Values:
    """``sqrt(mean((y - a)**2))`` of truths y and predictions a."""
    return np.sqrt(errors.square)


@metric("r2", "errors", title="R²", summary=True)
def r2_score(errors: Errors) -> Values:
    """Fraction of the variance of the truth that is explained: ``1 - mse / variance``.

    NaN for less than two samples; for a constant truth 1 if every prediction is exact, else 0 (all
    as in scikit-learn). NaN also where squares are too large or too small for float64: where one of
    the two means is not finite, or the variance is subnormal.
    """
    square, variance = errors.square, errors.variance
    constant = np.where(errors.absolute > 0, 0.0, 1.0)
    value = 1.0 - ratio(square, variance, otherwise=1.0)
    defined = np.isfinite(square) & ((variance == 0) | (variance >= MIN_SQUARE))
    defined &= np.isfinite(variance) & (errors.samples >= 2)
    return np.where(defined, np.where(variance > 0, value, constant), np.nan)


@metric("mape", "errors", larger_is_better=False, title="MAPE", percentage=True)
def mean_absolute_percentage_error(errors: Errors) -> Values:
    """Mean of ``|y - a| / |y|``, a fraction; samples whose truth is 0 are left out."""
    return errors.relative


@metric("distance", "errors", larger_is_better=False, scope="batch")
def half_squared_error(errors: Errors) -> Values:
    """Half the mean squared error: gopher-neural's distance."""
    return errors.square / 2.0


def format_number(value: float | None) -> str:
    """Format a metric with enough digits to compare it; a dash if it is undefined.

    >>> format_number(0.81234), format_number(-0.00001), format_number(1234.5), format_number(None)
    ('0.8123', '0.0000', '1,234.50', '-')
    """
    if value is None or not isfinite(value):
        return "-"
    if abs(value) >= 1e9:
        return f"{value:.3e}"
    if abs(value) >= 10:
        return f"{value:,.2f}"
    text = f"{value:.4f}"
    return text.removeprefix("-") if float(text) == 0.0 else text
