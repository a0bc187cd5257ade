"""What was served against the truth: confusion matrices, and histograms of residuals."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray


class ClassCounts(Struct, frozen=True):
    """How often a class was true, predicted, and both; precision and recall follow from it."""

    label: str
    truths: int
    predictions: int
    hits: int
    # By the name of the metric: areas under the curves of its probability.
    areas: dict[str, float | None] = {}


class ConfusedPair(Struct, frozen=True):
    """How often one label was predicted in place of another."""

    truth: str
    prediction: str
    count: int


class CalibrationPoint(Struct, frozen=True):
    """How often what was predicted with some probability was true."""

    predicted: float  # mean probability
    observed: float  # fraction that was true
    samples: int  # probabilities


class Confusion(Struct, frozen=True, tag="confusion", tag_field="kind"):
    """Counts of samples by true label (row) and predicted label (column)."""

    labels: list[str]
    matrix: list[list[int]]
    classes: list[ClassCounts] = []  # the most frequent first, however many labels there are
    confused: list[ConfusedPair] = []  # the most frequent first
    calibration: list[CalibrationPoint] = []  # by probability, of all classes together


class Residuals(Struct, frozen=True, tag="residuals", tag_field="kind"):
    """A histogram of the last samples: ``counts[i]`` is of ``edges[i]`` to ``edges[i + 1]``."""

    edges: list[float]
    counts: list[int]
    pairs: list[list[float]] = []  # truth and prediction of some of them


MAX_LABELS = 30  # of a matrix
MAX_CLASSES = 1000  # whose counts are listed
MAX_CONFUSED = 20  # pairs
MAX_PAIRS = 300  # of truth and prediction
OTHERS = "(others)"
HISTOGRAM_BINS = 25
MAX_RESIDUAL = 1e308  # larger residuals are clipped to it


def build_confusion_matrix(
    counts: NDArray[np.float64],
    labels: list[str],
    areas: Mapping[str, NDArray[np.float64]] | None = None,
) -> Confusion:
    """Count samples by true label (row) and predicted label (column).

    With more than 30 labels, the 29 most frequent ones keep their order and the rest are counted
    together as the last one. Samples without a prediction, the last column of ``counts``,
    shape=(labels, labels + 1), are in no column. ``areas`` are metrics of the first labels.
    Weighted counts are rounded.

    >>> found = build_confusion_matrix(np.array([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0]]), ["a", "b"])
    >>> found.labels, found.matrix, found.confused
    (['a', 'b'], [[3, 1], [0, 2]], [ConfusedPair(truth='a', prediction='b', count=1)])
    >>> found.classes[0]
    ClassCounts(label='a', truths=4, predictions=3, hits=3, areas={})
    """
    square = counts[:, :-1]
    names = list(labels[: len(square)])
    classes = _count_classes(counts, names, areas or {})
    confused = _find_confused(square, names)
    if len(square) > MAX_LABELS:
        # A stable sort, so that of equally frequent labels the earlier ones are kept.
        order = np.argsort(-counts.sum(axis=1), kind="stable")[: MAX_LABELS - 1]
        kept = np.sort(order)
        groups = np.full(len(square), len(kept))
        groups[kept] = np.arange(len(kept))
        folded = np.zeros((len(kept) + 1, len(kept) + 1))
        np.add.at(folded, (groups[:, None], groups[None, :]), square)
        square, names = folded, [*(names[i] for i in kept), OTHERS]
    return Confusion(names, _round(square).tolist(), classes, confused)


def _count_classes(
    counts: NDArray[np.float64], names: list[str], areas: Mapping[str, NDArray[np.float64]]
) -> list[ClassCounts]:
    """The most frequent classes, with the areas of those that have them."""
    columns = counts.sum(axis=1), counts.sum(axis=0)[: len(names)], counts.diagonal()
    rows = _round(np.stack(columns, axis=1)).tolist()
    found = []
    for number in np.argsort(-counts.sum(axis=1), kind="stable")[:MAX_CLASSES].tolist():
        truths, predictions, hits = rows[number]
        own = {
            name: _finite_or_none(float(values[number]))
            for name, values in areas.items()
            if number < len(values)
        }
        found.append(ClassCounts(names[number], truths, predictions, hits, own))
    return found


def _find_confused(square: NDArray[np.float64], names: list[str]) -> list[ConfusedPair]:
    """The most frequent mistakes; of equally frequent ones those of earlier labels first."""
    wrong = np.where(np.eye(len(square), dtype=bool), 0.0, square).ravel()
    most = np.argsort(-wrong, kind="stable")[:MAX_CONFUSED]
    pairs = [(*divmod(place, len(names)), wrong[place]) for place in most.tolist()]
    return [
        ConfusedPair(names[truth], names[prediction], round(count))
        for truth, prediction, count in pairs
        if round(count) > 0
    ]


def _round(counts: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.rint(counts).astype(np.int64)


def _finite_or_none(value: float) -> float | None:
    return value if isfinite(value) else None


def build_residual_histogram(pairs: NDArray[np.float64]) -> Residuals:
    """Histogram of the residuals (prediction minus true value) in 25 bins of equal width.

    The edges are symmetric about 0 and span 98 % of the residuals; the outermost bins count
    everything beyond them. ``pairs`` are finite true values and predictions, shape=(n, 2).

    >>> pairs = np.array([[1.0, 0.0], [2.0, 2.0], [3.0, 3.0], [0.0, 1.0]])
    >>> histogram = build_residual_histogram(pairs)
    >>> histogram.counts[12], sum(histogram.counts), len(histogram.edges)
    (2, 4, 26)
    """
    if not len(pairs):
        return Residuals([], [])
    with np.errstate(over="ignore"):
        residuals = np.clip(pairs[:, 1] - pairs[:, 0], -MAX_RESIDUAL, MAX_RESIDUAL)
    reach = float(np.quantile(np.abs(residuals), 0.98)) or float(np.abs(residuals).max()) or 1.0
    edges = reach * np.linspace(-1.0, 1.0, HISTOGRAM_BINS + 1)
    counts, _ = np.histogram(np.clip(residuals, -reach, reach), edges)
    every = -(-len(pairs) // MAX_PAIRS)
    return Residuals(edges.tolist(), counts.tolist(), pairs[::every].tolist())
