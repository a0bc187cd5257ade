"""Kernels that predict by boosted trees, and that write the values that these see."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from streamnet.jit import exact_inlined, exact_kernel

MAX_NUMBER = 1e300
CORRECTION = 0.2  # of the error of a number, by which its leaves are corrected


@exact_inlined
def _write_probabilities(score: NDArray[np.float64], found: NDArray[np.float64]) -> None:
    """Softmax of scores, or for a single score the logistic function."""
    if score.size == 1:
        found[0] = 1.0 / (1.0 + math.exp(-score[0]))
        return
    highest = score[0]
    for c in range(1, score.size):
        highest = max(highest, score[c])
    total = 0.0
    for c in range(score.size):
        found[c] = math.exp(score[c] - highest)
        total += found[c]
    for c in range(score.size):
        found[c] /= total


@exact_inlined
def _spread_labels(
    score: NDArray[np.float64],
    found: NDArray[np.float64],
    known: int,
    share: float,
    answers: NDArray[np.float64],
) -> None:
    """Write the probabilities of all labels; a new one has the ``share`` of one sample."""
    _write_probabilities(score, found)
    if score.size == 1:
        found[1] = found[0]
        found[0] = 1.0 - found[1]
    grown = max(score.size, 2)
    total = 0.0
    for c in range(answers.size):
        answers[c] = (found[c] if c < grown else share) if c < known else 0.0
        total += answers[c]
    for c in range(answers.size if total > 0.0 else 0):
        answers[c] /= total


@exact_inlined
def _find_leaf(
    values: NDArray[np.float64],
    first: int,
    last: int,
    rank: NDArray[np.float64],
    feature: NDArray[np.int32],
    threshold: NDArray[np.float64],
    left: NDArray[np.int32],
) -> int:
    """The leaf of a tree in which a sample ends; the last three are of this tree alone."""
    node = 0
    while feature[node] >= 0:
        j = feature[node]
        x = values[j]
        if first <= j < last:
            x = rank[int(x)] if x < rank.size else np.nan
        node = left[node] + (1 if x > threshold[node] else 0)
    return node


@exact_kernel
def predict_labels(
    values: NDArray[np.float64],  # shape=(n, columns), NaN for missing ones
    first: int,  # of the columns of categories,
    last: int,  # and the column after them
    rank: NDArray[np.float64],  # of each category; NaN for rare ones, which are missing
    feature: NDArray[np.int32],  # this and the next four as in Forest
    threshold: NDArray[np.float64],
    left: NDArray[np.int32],
    value: NDArray[np.float32],
    base: NDArray[np.float64],
    known: NDArray[np.int32],  # shape=(n,), labels known before each sample
    share: float,  # probability of a label that the trees do not know, before it is normalized
    answers: NDArray[np.float64],  # shape=(n, labels), written: probabilities
    score: NDArray[np.float64],  # shape=(outputs,), working memory
    found: NDArray[np.float64],  # shape=(at least 2 and outputs,), working memory
) -> None:
    """Predict the labels of samples."""
    for i in range(values.shape[0]):
        for c in range(base.size):
            score[c] = base[c]
        for tree in range(feature.shape[0]):
            nodes = feature[tree], threshold[tree], left[tree]
            node = _find_leaf(values[i], first, last, rank, *nodes)
            for c in range(base.size):
                score[c] += value[tree, node, c]
        _spread_labels(score, found, known[i], share, answers[i])


@exact_kernel
def predict_numbers(
    values: NDArray[np.float64],  # this and the next eight as in `predict_labels`
    first: int,
    last: int,
    rank: NDArray[np.float64],
    feature: NDArray[np.int32],
    threshold: NDArray[np.float64],
    left: NDArray[np.int32],
    value: NDArray[np.float32],
    base: NDArray[np.float64],
    corrected: NDArray[np.float32],  # as in Forest, changed by what is learned
    # Of each sample, shape=(n,): target, which is NaN if missing, weight and the targets' standard
    # deviation. Empty: nothing is learned.
    target: NDArray[np.float64],
    weight: NDArray[np.float64],
    spread: NDArray[np.float64],
    answers: NDArray[np.float64],  # shape=(2, n), written: by leaves as grown, and as corrected
    leaf: NDArray[np.int32],  # shape=(trees,), working memory
) -> None:
    """Predict numbers, each before the leaves of its sample are corrected by its error.

    Trees as inputs of a model that learns online (He et al. 2014, Practical lessons from predicting
    clicks on ads at Facebook), here by normalized least mean squares with bounded errors.
    """
    for i in range(values.shape[0]):
        grown, now = base[0], base[0]
        for tree in range(leaf.size):
            nodes = feature[tree], threshold[tree], left[tree]
            leaf[tree] = _find_leaf(values[i], first, last, rank, *nodes)
            grown += value[tree, leaf[tree], 0]
            now += corrected[tree, leaf[tree]]
        answers[0, i], answers[1, i] = grown, now
        if target.size == 0 or not math.isfinite(target[i]):
            continue
        error = min(max(target[i] - now, -spread[i]), spread[i])
        step = (1.0 - (1.0 - CORRECTION) ** weight[i]) / leaf.size * error
        for tree in range(leaf.size):
            corrected[tree, leaf[tree]] += np.float32(step)


@exact_inlined
def _clip(x: float) -> float:
    """A number of which halves can be added; NaN stays NaN."""
    return x if math.isnan(x) else min(max(x, -MAX_NUMBER), MAX_NUMBER)


@exact_kernel
def write_values(
    unscaled: NDArray[np.float64],  # this and the next four as in Inputs
    row: NDArray[np.int32],
    value: NDArray[np.floating],
    count: NDArray[np.int32],
    fields: NDArray[np.int32],
    lags: int,  # entries at a sample's end that are earlier targets
    center: NDArray[np.float64],  # shape=(n,), units of earlier targets; empty for labels
    spread: NDArray[np.float64],
    numbers: int,  # columns of numbers, then of categories, then of earlier targets
    categories: int,
    values: NDArray[np.float64],  # shape=(n, columns), written
    crowded: NDArray[np.uint8],  # shape=(categories,), set: columns of several entries
) -> None:
    """Write the columns of samples: numbers as they are, categories by their row, else NaN."""
    for i in range(count.size):
        for j in range(values.shape[1]):
            values[i, j] = np.nan
        for j in range(min(numbers, unscaled.shape[1])):
            values[i, j] = _clip(unscaled[i, j])
        own = max(count[i] - lags, 0)
        for e in range(own):
            field = fields[row[i, e]] if row[i, e] < fields.size else 0
            if field < categories:
                if values[i, numbers + field] == values[i, numbers + field]:
                    crowded[field] = 1
                values[i, numbers + field] = row[i, e]
        for e in range(count[i] - own if center.size > 0 else 0):
            j = numbers + categories + e
            if j < values.shape[1]:
                values[i, j] = _clip(center[i] + spread[i] * value[i, own + e])
