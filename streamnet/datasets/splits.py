"""Stratified splits and k-fold cross-validation with exact part sizes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from fractions import Fraction
from math import isfinite, lcm
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamnet.errors import ConfigurationError, DataError
from streamnet.randomness import derive_key, permutation
from streamnet.samples import Task
from streamnet.validation import check_integer, check_seed

Indices = NDArray[np.int64]

MAX_QUANTILES = 32
SALT = 0x53504C4954  # separates these random numbers from others of the same seed


def split(
    target: ArrayLike,
    shares: Sequence[float],
    *,
    task: Task | str,
    seed: int = 0,
    ordered: bool = False,
) -> tuple[Indices, ...]:
    """Split n samples into stratified parts of exact sizes.

    Strata are classes, or for regression quantiles of the target (at most 32, each large enough for
    a sample of the smallest part). Sizes of parts are exact: ``n * share`` rounded by largest
    remainder, where ties favor earlier parts; shares are taken as the decimals that they are
    written as. The number of samples of a stratum in a part differs from ``size of the stratum *
    share`` by at most 1. Rounding both margins of such a table is known as controlled rounding
    (Bacharach, "Matrix rounding problems", Management Science 12, 1966).

    Args:
        target: Labels or numbers, shape=(n,).
        shares: Fraction of each part, greater than 0; their sum is 1.
        task: Whether the target has labels or numbers.
        seed: Seed of the random numbers; the same seed gives the same parts on every machine.
        ordered: Whether to keep the order of a stream: the earliest samples of each stratum go to
            the first part and the latest to the last one, without randomness.

    Returns:
        The indices of the samples of each part, int64: ascending if ``ordered``, else shuffled.

    Raises:
        ConfigurationError: If a setting is invalid, or a part would be empty.
        DataError: If a target is missing, or is not a number for a regression.

    >>> training, test = split(["a", "b"] * 5, (0.8, 0.2), task="classification")
    >>> len(training), sorted((test % 2).tolist())
    (8, [0, 1])
    >>> [part.tolist() for part in split([3.0, 1.0, 2.0, 4.0], (0.5, 0.5), task="regression",
    ...     ordered=True)]
    [[0, 1], [2, 3]]
    """
    return _split(target, _to_integer_weights(shares), task, check_seed(seed), ordered)


def kfold(
    target: ArrayLike, folds: int, *, task: Task | str, seed: int = 0, ordered: bool = False
) -> tuple[tuple[Indices, Indices], ...]:
    """Split samples into stratified folds for cross-validation; each is held out once.

    Args:
        target: Labels or numbers, shape=(n,).
        folds: Number of folds, from 2 to n.
        task: Whether the target has labels or numbers.
        seed: Seed of the random numbers.
        ordered: As in `split`; the indices of each pair are ascending then.

    Returns:
        For each fold, the indices of the training samples and of the held-out samples.

    Raises:
        ConfigurationError: If a setting is invalid.
        DataError: If a target is missing, or is not a number for a regression.

    >>> [held_out.tolist() for _, held_out in kfold("abab", 2, task="classification", ordered=True)]
    Traceback (most recent call last):
        ...
    streamnet.errors.ConfigurationError: target has shape (), but must have one axis
    >>> pairs = kfold(list("abab"), 2, task="classification", ordered=True)
    >>> [(training.tolist(), held_out.tolist()) for training, held_out in pairs]
    [([2, 3], [0, 1]), ([0, 1], [2, 3])]
    """
    folds = check_integer("folds", folds)
    if folds < 2:
        raise ConfigurationError(f"folds is {folds}, but must be >= 2")
    seed = check_seed(seed)
    parts = _split(target, [1] * folds, task, seed, ordered)
    pairs = []
    for number, held_out in enumerate(parts):
        training = np.concatenate([*parts[:number], *parts[number + 1 :]])
        if ordered:
            training.sort()
        else:
            training = training[permutation(derive_key(seed, SALT, number), len(training))]
        pairs.append((training, held_out))
    return tuple(pairs)


def _to_integer_weights(shares: Any) -> list[int]:
    """Convert fractions to integers with the same ratios."""
    if isinstance(shares, str) or not isinstance(shares, Collection):
        raise ConfigurationError(f"shares is {shares!r}, but must be numbers, one for each part")
    if len(shares) < 2:
        raise ConfigurationError(f"shares is {tuple(shares)}, but must have two parts or more")
    for share in shares:
        if isinstance(share, str | None) or not (isfinite(share) and share > 0):
            raise ConfigurationError(f"shares has {share!r}, but each must be > 0 and < 1")
    # As written: 0.57 of 100 samples are 57, though the float is slightly smaller.
    exact = [Fraction(str(float(share))) for share in shares]
    if abs(float(sum(exact)) - 1.0) > 1e-9:
        raise ConfigurationError(
            f"shares is {tuple(shares)}, whose sum is {float(sum(exact)):g}, but must be 1"
        )
    common = lcm(*(share.denominator for share in exact))
    return [int(share * common) for share in exact]


def _split(
    target: ArrayLike, weights: Sequence[int], task: Task | str, seed: int, ordered: bool
) -> tuple[Indices, ...]:
    values = _check_target(target, Task(task))
    n = len(values)
    sizes = _round_sizes(n, weights)
    if min(sizes) == 0:
        raise ConfigurationError(
            f"shares leave part {sizes.index(0) + 1} of {len(weights)} without a sample: "
            f"there are only {n}"
        )
    order = np.arange(n) if ordered else permutation(derive_key(seed, SALT), n)
    quantiles = min(MAX_QUANTILES, max(1, n * min(weights) // sum(weights)))
    stratum = (
        _number_classes(values)
        if task == Task.CLASSIFICATION
        else _number_quantiles(values, quantiles)
    )
    return _deal(stratum[order], order, _round_table(np.bincount(stratum).tolist(), weights))


def _check_target(target: ArrayLike, task: Task) -> NDArray[np.object_] | NDArray[np.float64]:
    values = np.asarray(target)
    if values.ndim != 1:
        raise ConfigurationError(f"target has shape {values.shape}, but must have one axis")
    if task is Task.REGRESSION:
        try:
            numbers = values.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"target must be numbers for a regression: {error}") from error
        for at in np.flatnonzero(~np.isfinite(numbers))[:1].tolist():
            raise DataError(f"target {at} is {numbers[at]}, but must be finite")
        return numbers
    for at, label in enumerate(values.tolist()):
        if label is None or label != label:  # NaN is not equal to itself
            raise DataError(f"target {at} is {label}, but must be a label")
    return values.astype(np.object_)


def _number_classes(labels: NDArray[np.object_] | NDArray[np.float64]) -> NDArray[np.int64]:
    numbers: dict[object, int] = {}
    found = [numbers.setdefault(label, len(numbers)) for label in labels.tolist()]
    return np.array(found, np.int64)


def _number_quantiles(
    numbers: NDArray[np.float64] | NDArray[np.object_], quantiles: int
) -> NDArray[np.int64]:
    stratum = np.empty(len(numbers), np.int64)
    stratum[np.argsort(numbers, kind="stable")] = (
        np.arange(len(numbers)) * quantiles // len(numbers)
    )
    return stratum


def _round_sizes(count: int, weights: Sequence[int]) -> list[int]:
    """Divide ``count`` in the ratio of the weights, by largest remainder."""
    whole = sum(weights)
    sizes = [count * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda p: -(count * weights[p] % whole))
    for part in by_remainder[: count - sum(sizes)]:
        sizes[part] += 1
    return sizes


def _round_table(counts: Sequence[int], weights: Sequence[int]) -> list[list[int]]:
    """Number of samples of each stratum in each part: exact sums, each within 1 of its share.

    The remainder of a stratum after rounding down goes, one each, to the parts that lack most.
    Processing the strata with the largest remainder first is the construction by Gale and Ryser of
    a 0-1 matrix with given sums.
    """
    whole = sum(weights)
    table = [[count * weight // whole for weight in weights] for count in counts]
    sizes = _round_sizes(sum(counts), weights)
    lacking = [
        size - sum(column) for size, column in zip(sizes, zip(*table, strict=True), strict=True)
    ]
    left = [count - sum(row) for count, row in zip(counts, table, strict=True)]
    for stratum in sorted(range(len(counts)), key=lambda s: -left[s]):

        def urgency(part: int, count: int = counts[stratum]) -> tuple[int, int]:
            return -lacking[part], -(count * weights[part] % whole)

        for part in sorted(range(len(weights)), key=urgency)[: left[stratum]]:
            table[stratum][part] += 1
            lacking[part] -= 1
    return table


def _deal(
    stratum: NDArray[np.int64], order: NDArray[np.intp], table: Iterable[Sequence[int]]
) -> tuple[Indices, ...]:
    """Assign the samples of each stratum to the parts, in ``order`` and with the given counts."""
    part = np.empty(len(order), np.int64)
    parts = 0
    for number, row in enumerate(table):
        part[stratum == number] = np.repeat(np.arange(len(row)), row)
        parts = len(row)
    return tuple(order[part == number].astype(np.int64) for number in range(parts))
