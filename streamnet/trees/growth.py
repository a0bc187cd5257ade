"""How boosted trees are grown: histograms of gradients, splits, leaves.

Trees are grown leaf by leaf on binned values (Ke et al. 2017, LightGBM: a highly efficient gradient
boosting decision tree), with steps of second order (Chen and Guestrin 2016, XGBoost: a scalable
tree boosting system). A tree has an output for each label; its splits are found by random
projections of the gradients, so that their cost does not depend on the number of labels (Iosipoi
and Vakhrushev 2022, SketchBoost: fast gradient boosted decision tree for multioutput problems).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamnet.jit import exact_inlined, exact_kernel
from streamnet.networks.simd import vectors as simd
from streamnet.networks.simd.functions import exponential
from streamnet.networks.simd.vectors import EIGHT
from streamnet.randomness import mix_key
from streamnet.trees.forest import Forest, Size, new_forest

BINS = 32  # of a column: the first one for missing values
LEAST_SAMPLES = 20  # of a leaf
LEAST_HESSIAN = 1e-3
REGULARIZER = 1.0  # added to sums of hessians
SKETCH = 2  # projections of the gradients of more than one output
WIDTH = SKETCH + 2  # entries of a bin: projections, then hessian and number of samples
SPLIT = 3  # gain, column and last bin of a split
MAX_STEP = 4.0  # of a score
_KEY = 0x7EE5


@exact_inlined
def _differentiate(
    scores: NDArray[np.float64],
    target: NDArray[np.float64],
    weight: NDArray[np.float64],
    numeric: bool,
    outputs: int,
    gradient: NDArray[np.float64],
    hessian: NDArray[np.float64],
    powers: Any,
) -> None:
    """Write gradients and hessians of each sample's loss: absolute error, or log-loss."""
    for i in range(target.size):
        if numeric:
            error = scores[i, 0] - target[i]
            gradient[i, 0] = weight[i] * ((error > 0.0) * 1.0 - (error < 0.0) * 1.0)
            hessian[i, 0] = weight[i]
            continue
        if outputs == 1:
            p = 1.0 / (1.0 + math.exp(-scores[i, 0]))
            hessian[i, 0] = weight[i] * p * (1.0 - p)
            gradient[i, 0] = weight[i] * (p - target[i])
            continue
        total = _write_powers(scores[i, :outputs], powers)
        for c in range(outputs):
            p = powers[c] / total
            hessian[i, c] = weight[i] * p * (1.0 - p)
            gradient[i, c] = weight[i] * p
        gradient[i, int(target[i])] -= weight[i]


@exact_inlined
def _write_powers(score: NDArray[np.float64], powers: Any) -> float:
    """Write what probabilities are proportional to, and return the sum."""
    highest = score[0]
    for c in range(1, score.size):
        highest = max(highest, score[c])
    for c in range(score.size):
        powers[c] = score[c] - highest
    for c in range(0, score.size, EIGHT):
        simd.store(powers, c, exponential(simd.load_eight(powers, c)))
    total = 0.0
    for c in range(score.size):
        total += powers[c]
    return total


@exact_inlined
def _sketch(
    gradient: NDArray[np.float64],
    hessian: NDArray[np.float64],
    tree: int,
    outputs: int,
    entries: NDArray[np.float32],
    signs: NDArray[np.float32],
) -> None:
    """Write what a histogram adds up of each sample: gradients or projections, hessian, and 1."""
    for c in range(outputs):
        chosen = mix_key(np.uint64(_KEY + tree), np.uint64(c))
        for k in range(SKETCH):
            signs[c, k] = 1.0 if (chosen >> np.uint64(k)) & np.uint64(1) else -1.0
    if outputs == 1:
        signs[0, 0], signs[0, 1] = 1.0, 0.0
    for i in range(len(gradient)):
        first, second, total = np.float32(0.0), np.float32(0.0), 0.0
        for c in range(outputs):
            g = np.float32(gradient[i, c])
            first += signs[c, 0] * g
            second += signs[c, 1] * g
            total += hessian[i, c]
        entries[i, 0], entries[i, 1] = first, second
        entries[i, SKETCH], entries[i, SKETCH + 1] = total, 1.0


@exact_inlined
def _fill_histogram(
    bins: NDArray[np.uint8],
    entries: NDArray[np.float32],
    order: NDArray[np.int32],
    start: int,
    stop: int,
    histogram: NDArray[np.float32],
) -> None:
    """Add up the entries of the samples of a leaf by column and bin."""
    columns = bins.shape[1]
    for j in range(columns):
        for b in range(BINS):
            for k in range(WIDTH):
                histogram[j, b, k] = 0.0
    for s in range(start, stop):
        i = order[s]
        entry = simd.load_four(entries, WIDTH * i)
        for j in range(columns):
            at = WIDTH * (BINS * j + bins[i, j])
            simd.store(histogram, at, simd.add(simd.load_four(histogram, at), entry))


@exact_inlined
def _subtract_histogram(whole: NDArray[np.float32], part: NDArray[np.float32]) -> None:
    """What is left of a leaf's histogram without that of one child is the other's."""
    for j in range(whole.shape[0]):
        for b in range(BINS):
            for k in range(WIDTH):
                whole[j, b, k] -= part[j, b, k]


@exact_inlined
def _score(first: float, second: float, hessian: float) -> float:
    """How much a leaf with these sums of gradients and hessians lowers the loss, times two."""
    return (first * first + second * second) / (hessian + REGULARIZER)


@exact_inlined
def _scan_column(
    histogram: NDArray[np.float32],
    column: int,
    total: tuple[float, float, float, float],
    best: NDArray[np.float64],
) -> None:
    """Compare all splits of a column with the best one so far."""
    whole = _score(total[0], total[1], total[2])
    first, second, hessian, count = 0.0, 0.0, 0.0, 0.0
    for b in range(BINS - 1):
        if histogram[column, b, SKETCH + 1] == 0.0:
            continue
        first += histogram[column, b, 0]
        second += histogram[column, b, 1]
        hessian += histogram[column, b, SKETCH]
        count += histogram[column, b, SKETCH + 1]
        rest = total[2] - hessian
        if not (count >= LEAST_SAMPLES and hessian >= LEAST_HESSIAN):
            continue
        if not (total[3] - count >= LEAST_SAMPLES and rest >= LEAST_HESSIAN):
            break
        gain = _score(first, second, hessian)
        gain += _score(total[0] - first, total[1] - second, rest)
        gain -= whole
        if gain > best[0]:
            best[0], best[1], best[2] = gain, column, b


@exact_inlined
def _find_split(
    histogram: NDArray[np.float32], used: NDArray[np.uint8], best: NDArray[np.float64]
) -> None:
    """Write the gain of the best split of a leaf, its column and its last bin on the left side."""
    best[0], best[1], best[2] = 0.0, -1.0, -1.0
    first, second, hessian, count = 0.0, 0.0, 0.0, 0.0
    for b in range(BINS):
        first += histogram[0, b, 0]
        second += histogram[0, b, 1]
        hessian += histogram[0, b, SKETCH]
        count += histogram[0, b, SKETCH + 1]
    for j in range(histogram.shape[0] if count >= 2 * LEAST_SAMPLES else 0):
        if used[j] != 0:
            _scan_column(histogram, j, (first, second, hessian, count), best)


@exact_inlined
def _divide(
    bins: NDArray[np.uint8],
    column: int,
    last: int,
    order: NDArray[np.int32],
    spare: NDArray[np.int32],
    start: int,
    stop: int,
) -> int:
    """Put samples of the left side first, in their order; return where the right one starts."""
    middle, moved = start, 0
    for s in range(start, stop):
        i = order[s]
        # Both are written, and one counts: processors do not foresee which.
        order[middle], spare[moved] = i, i
        right = int(bins[i, column] > last)
        middle += 1 - right
        moved += right
    for s in range(moved):
        order[middle + s] = spare[s]
    return middle


@exact_inlined
def _find_median(
    values: NDArray[np.float64], weights: NDArray[np.float64], count: int, total: float
) -> float:
    """The weighted median, by quickselect (Hoare 1961); the first ``count`` are reordered."""
    low, high, below = 0, count - 1, 0.0
    while low < high:
        pivot: float = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                weights[i], weights[j] = weights[j], weights[i]
                i += 1
                j -= 1
        lower = below
        for k in range(low, j + 1):
            lower += weights[k]
        if 2.0 * lower >= total:
            high = j
            continue
        below = lower
        for k in range(j + 1, i):
            below += weights[k]
        if 2.0 * below >= total:
            return pivot
        low = i
    found: float = values[low]
    return found


@exact_inlined
def _sum_slopes(
    order: NDArray[np.int32],
    start: int,
    stop: int,
    gradient: NDArray[np.float64],
    hessian: NDArray[np.float64],
    residual: NDArray[np.float64],
    share: NDArray[np.float64],
) -> None:
    """Write the sums of gradients and hessians of a leaf's samples, these with the regularizer."""
    width = gradient.shape[1]
    if width == 1:
        slope, curvature = 0.0, REGULARIZER
        for s in range(start, stop):
            slope += gradient[order[s], 0]
            curvature += hessian[order[s], 0]
        residual[0], share[0] = slope, curvature
        return
    for c in range(0, width, EIGHT):
        slopes, curvatures = simd.splat_eight(0.0), simd.splat_eight(REGULARIZER)
        for s in range(start, stop):
            at = order[s] * width + c
            slopes = simd.add(slopes, simd.load_eight(gradient, at))
            curvatures = simd.add(curvatures, simd.load_eight(hessian, at))
        simd.store(residual, c, slopes)
        simd.store(share, c, curvatures)


@exact_inlined
def _set_leaf(
    order: NDArray[np.int32],
    start: int,
    stop: int,
    numeric: bool,
    learning_rate: float,
    target: NDArray[np.float64],
    gradient: NDArray[np.float64],
    hessian: NDArray[np.float64],
    scores: NDArray[np.float64],
    residual: NDArray[np.float64],
    share: NDArray[np.float64],
    value: NDArray[np.float32],
) -> None:
    """Write a leaf's outputs and add them to the scores of its samples.

    Of numbers it is the median of what is left of the targets (Friedman 2001, Greedy function
    approximation: a gradient boosting machine), of labels Newton's step.
    """
    if numeric:
        total = 0.0
        for s in range(start, stop):
            residual[s - start] = target[order[s]] - scores[order[s], 0]
            share[s - start] = hessian[order[s], 0]
            total += hessian[order[s], 0]
        step = _find_median(residual, share, stop - start, total)
        value[0] = np.float32(learning_rate * step)
    else:
        _sum_slopes(order, start, stop, gradient, hessian, residual, share)
        for c in range(value.size):
            step = min(max(-residual[c] / share[c], -MAX_STEP), MAX_STEP)
            value[c] = np.float32(learning_rate * step)
    width = scores.shape[1]
    if width == 1:
        for s in range(start, stop):
            scores[order[s], 0] += value[0]
        return
    for c in range(width):
        share[c] = value[c] if c < value.size else 0.0
    for c in range(0, width, EIGHT):
        steps = simd.load_eight(share, c)
        for s in range(start, stop):
            at = order[s] * width + c
            simd.store(scores, at, simd.add(simd.load_eight(scores, at), steps))


@exact_kernel
def grow(
    bins: NDArray[np.uint8],  # shape=(n, columns)
    used: NDArray[np.uint8],  # shape=(columns,): whether a column has more than one bin
    threshold: NDArray[np.float64],  # shape=(columns, BINS): largest value of each bin
    target: NDArray[np.float64],  # shape=(n,): numbers, or class numbers
    weight: NDArray[np.float64],  # shape=(n,)
    numeric: bool,
    learning_rate: float,
    # shape=(n, width), what the base alone predicts, changed; this and the next two have one column
    # for one output, and for more of them whole vectors of eight
    scores: NDArray[np.float64],
    forest_feature: NDArray[np.int32],  # this and the next three as in Forest, written
    forest_threshold: NDArray[np.float64],
    forest_left: NDArray[np.int32],
    forest_value: NDArray[np.float32],
    gradient: NDArray[np.float64],  # this and the rest are working memory
    hessian: NDArray[np.float64],
    entries: NDArray[np.float32],  # shape=(n, WIDTH)
    powers: NDArray[np.float64],  # shape=(outputs, in whole vectors of eight)
    signs: NDArray[np.float32],  # shape=(outputs, SKETCH)
    histograms: NDArray[np.float32],  # shape=(leaves, columns, BINS, WIDTH)
    order: NDArray[np.int32],  # shape=(n,): samples, those of a leaf together
    spare: NDArray[np.int32],
    residual: NDArray[np.float64],  # shape=(at least n and width,)
    share: NDArray[np.float64],  # likewise
    splits: NDArray[np.float64],  # shape=(leaves, SPLIT)
    leaves: NDArray[np.int64],  # shape=(leaves, 3): node, start and stop of each leaf
) -> None:
    """Grow all trees of a forest, each against the errors of those before it."""
    n, outputs = target.size, forest_value.shape[2]
    for tree in range(forest_feature.shape[0]):
        _differentiate(scores, target, weight, numeric, outputs, gradient, hessian, powers)
        _sketch(gradient, hessian, tree, outputs, entries, signs)
        for i in range(n):
            order[i] = i
        feature, left = forest_feature[tree], forest_left[tree]
        feature[0] = -1
        leaves[0, 0], leaves[0, 1], leaves[0, 2] = 0, 0, n
        _fill_histogram(bins, entries, order, 0, n, histograms[0])
        _find_split(histograms[0], used, splits[0])
        count, nodes = 1, 1
        while count < len(leaves):
            best = 0
            for leaf in range(1, count):
                if splits[leaf, 0] > splits[best, 0]:
                    best = leaf
            if not splits[best, 0] > 0.0:
                break
            node, start, stop = leaves[best, 0], leaves[best, 1], leaves[best, 2]
            column, last = int(splits[best, 1]), int(splits[best, 2])
            middle = _divide(bins, column, last, order, spare, start, stop)
            feature[node], left[node] = column, nodes
            forest_threshold[tree, node] = threshold[column, last]
            feature[nodes], feature[nodes + 1] = -1, -1
            # The histogram of the smaller child is computed, that of the other one follows.
            new, old = (count, best) if middle - start <= stop - middle else (best, count)
            leaves[new, 0], leaves[new, 1], leaves[new, 2] = nodes, start, middle
            leaves[old, 0], leaves[old, 1], leaves[old, 2] = nodes + 1, middle, stop
            if count + 1 < len(leaves):
                first, end = leaves[count, 1], leaves[count, 2]
                _fill_histogram(bins, entries, order, first, end, histograms[count])
                _subtract_histogram(histograms[best], histograms[count])
                _find_split(histograms[count], used, splits[count])
                _find_split(histograms[best], used, splits[best])
            count += 1
            nodes += 2
        for leaf in range(count):
            node, start, stop = leaves[leaf, 0], leaves[leaf, 1], leaves[leaf, 2]
            rule = order, start, stop, numeric, learning_rate
            samples = target, gradient, hessian, scores
            _set_leaf(*rule, *samples, residual, share, forest_value[tree, node])


def grow_forest(
    bins: NDArray[np.uint8],
    threshold: NDArray[np.float64],
    target: NDArray[np.float64],
    weight: NDArray[np.float64],
    base: NDArray[np.float64],
    size: Size,
    *,
    numeric: bool,
) -> Forest:
    """Grow a forest on binned samples, where ``base`` is predicted without it; see `grow`."""
    n, columns = bins.shape
    outputs, leaves = len(base), size.leaves
    forest = new_forest(size.trees, size.nodes, outputs, numeric=numeric)
    forest.base[:] = base
    used = (bins.min(axis=0) < bins.max(axis=0)).astype(np.uint8)
    width = 1 if outputs == 1 else -(-outputs // EIGHT) * EIGHT
    scratch: Any = (
        np.zeros((n, width)),
        np.zeros((n, width)),
        np.zeros((n, WIDTH), np.float32),
        np.zeros(-(-outputs // EIGHT) * EIGHT),
        np.zeros((outputs, SKETCH), np.float32),
        np.empty((leaves, columns, BINS, WIDTH), np.float32),
        np.empty(n, np.int32),
        np.empty(n, np.int32),
        np.empty(max(n, width)),
        np.empty(max(n, width)),
        np.empty((leaves, SPLIT)),
        np.empty((leaves, 3), np.int64),
    )
    scores = np.zeros((n, width))
    scores[:, :outputs] = forest.base
    trees: Any = forest[:4]
    rule = numeric, size.learning_rate
    grow(bins, used, threshold, target, weight, *rule, scores, *trees, *scratch)
    if numeric:
        forest.corrected[:] = forest.value[:, :, 0]
    return forest
