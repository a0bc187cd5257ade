"""Splits are stratified partitions of exact sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp
from sklearn.model_selection import StratifiedKFold

from streamnet.datasets import kfold, split
from streamnet.errors import ConfigurationError, DataError
from streamnet.samples import Task

LABELS = Task.CLASSIFICATION
NUMBERS = Task.REGRESSION

labels = st.lists(st.sampled_from("aaaabbc"), min_size=2, max_size=90)
hundredths = st.lists(st.integers(1, 60), min_size=1, max_size=4).map(
    lambda cuts: [*cuts, 100 - sum(cuts)]
)
shares = hundredths.filter(lambda cuts: cuts[-1] > 0).map(lambda cuts: [cut / 100 for cut in cuts])
seeds = st.integers(0, 2**63)


def exact(share: float) -> Fraction:
    return Fraction(str(share))


def has_room(count: int, given_shares: list[float]) -> bool:
    return all(count * exact(share) >= 1 for share in given_shares)


@settings(deadline=None, max_examples=150)
@given(labels, shares, seeds, st.booleans())
def test_parts_are_a_partition_of_exact_sizes(
    target: list[str], given_shares: list[float], seed: int, ordered: bool
) -> None:
    assume(has_room(len(target), given_shares))
    parts = split(target, given_shares, task=LABELS, seed=seed, ordered=ordered)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(target)))
    assert all(part.dtype == np.int64 for part in parts)
    counts = Counter(target)
    for part, share in zip(parts, map(exact, given_shares), strict=True):
        assert abs(len(part) - len(target) * share) < 1
        found = Counter(target[i] for i in part)
        for label, count in counts.items():
            assert abs(found[label] - count * share) <= 1


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=90), shares, seeds, st.booleans())
def test_parts_of_numbers_have_their_share_of_the_lower_half(
    target: list[float], given_shares: list[float], seed: int, ordered: bool
) -> None:
    assume(has_room(len(target), given_shares))
    parts = split(target, given_shares, task="regression", seed=seed, ordered=ordered)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(target)))
    strata = min(32, max(1, int(len(target) * min(map(exact, given_shares)))))
    lower = set(np.argsort(target, kind="stable")[: -(-len(target) // strata)].tolist())
    for part, share in zip(parts, map(exact, given_shares), strict=True):
        assert abs(len(part) - len(target) * share) < 1
        if ordered:  # without chance equal numbers stand in the order of the stream
            assert abs(len(lower & set(part.tolist())) - len(lower) * share) <= 1


@settings(deadline=None, max_examples=50)
@given(labels, seeds)
def test_the_seed_alone_decides(target: list[str], seed: int) -> None:
    first = split(target, (0.5, 0.5), task=LABELS, seed=seed)
    again = split(np.array(target, object), (0.5, 0.5), task="classification", seed=seed)
    assert [part.tolist() for part in first] == [part.tolist() for part in again]


def test_the_indices_of_a_seed_never_change() -> None:
    parts = split(["a", "b", "a", "b", "b", "a", "b", "a"], (0.5, 0.25, 0.25), task=LABELS, seed=3)
    assert [part.tolist() for part in parts] == [[2, 6, 1, 7], [0, 3], [5, 4]]


def test_the_seed_may_be_a_number_of_numpy_and_is_checked() -> None:
    target = list("abababab")
    makers: list[Callable[..., Any]] = [
        partial(split, target, (0.5, 0.5)),
        partial(kfold, target, 2),
    ]
    for made in makers:
        plain = made(task="classification", seed=3)
        assert np.array_equal(plain, made(task="classification", seed=np.int64(3)))
        with pytest.raises(ConfigurationError, match="seed is -1, but must be a whole number"):
            made(task="classification", seed=-1)
        with pytest.raises(ConfigurationError, match="seed is 'a', but must be a whole number"):
            made(task="classification", seed="a", ordered=True)


def test_another_seed_gives_other_parts_and_shuffles() -> None:
    target = ["a", "b"] * 50
    parts = [split(target, (0.5, 0.5), task=LABELS, seed=seed)[0].tolist() for seed in range(4)]
    assert len({tuple(sorted(part)) for part in parts}) == 4
    assert all(part != sorted(part) for part in parts)


def test_the_last_of_each_class_are_held_out_where_order_counts() -> None:
    target = list("aaaabbbbaaaabbbb")
    training, test = split(target, (0.75, 0.25), task=LABELS, ordered=True)
    assert test.tolist() == [10, 11, 14, 15]
    assert training.tolist() == sorted(training.tolist())


@pytest.mark.parametrize(("share", "size"), [(0.7, 70), (0.57, 57), (0.29, 29), (0.01, 1)])
def test_a_share_is_neither_a_percent_too_big_nor_cut_by_rounding(share: float, size: int) -> None:
    first, _ = split([0.5] * 100, (share, round(1 - share, 2)), task=NUMBERS)
    assert len(first) == size


def test_thirds_are_taken_as_thirds() -> None:
    parts = split(list("ab") * 30, (1 / 3, 1 / 3, 1 / 3), task=LABELS)
    assert [len(part) for part in parts] == [20, 20, 20]


def test_halves_share_a_class_of_two() -> None:
    target = ["common"] * 98 + ["rare"] * 2
    for part in split(target, (0.5, 0.5), task=LABELS):
        assert sum(i >= 98 for i in part) == 1


def test_parts_of_numbers_are_distributed_alike() -> None:
    target = np.random.default_rng(0).gamma(2.0, size=1000)
    training, test = split(target, (0.8, 0.2), task=NUMBERS)
    assert ks_2samp(target[training], target[test]).statistic < 0.05


@settings(deadline=None, max_examples=60)
@given(labels, st.integers(2, 5), seeds, st.booleans())
def test_each_sample_is_held_out_by_one_fold_and_trained_by_the_others(
    target: list[str], folds: int, seed: int, ordered: bool
) -> None:
    assume(len(target) >= folds)
    pairs = kfold(target, folds, task=LABELS, seed=seed, ordered=ordered)
    everything = list(range(len(target)))
    assert sorted(np.concatenate([held for _, held in pairs]).tolist()) == everything
    for training, held in pairs:
        assert sorted([*training.tolist(), *held.tolist()]) == everything
        assert not ordered or training.tolist() == sorted(training.tolist())


def test_folds_have_the_class_counts_of_scikit_learn() -> None:
    target = np.array(list("aaabb") * 20)
    ours = [sorted(Counter(target[held]).items()) for _, held in kfold(target, 5, task=LABELS)]
    theirs = [
        sorted(Counter(target[held]).items())
        for _, held in StratifiedKFold(5).split(target, target)
    ]
    assert ours == theirs


@pytest.mark.parametrize(
    ("given_shares", "message"),
    [
        ((1.0,), "must have two parts"),
        ((0.7, 0.2), "whose sum is 0.9, but must be 1"),
        ((1.0, 0.0), "shares has 0.0, but each must be > 0"),
        ((1.2, -0.2), "shares has -0.2"),
        ((float("nan"), 0.5), "shares has nan"),
        (("a", "b"), "shares has 'a', but each must be > 0"),
        ("ab", "shares is 'ab', but must be numbers, one for each part"),
        (0.5, "shares is 0.5, but must be numbers"),
        ((0.99, 0.01), "leave part 2 of 2 without a sample: there are only 10"),
    ],
)
def test_invalid_shares_or_an_empty_part_are_refused(given_shares: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        split(["a"] * 10, given_shares, task=LABELS)


def test_an_empty_target_can_not_be_split() -> None:
    with pytest.raises(ConfigurationError, match="there are only 0"):
        split([], (0.5, 0.5), task=LABELS)


@pytest.mark.parametrize("folds", [1, 0, 4, "a", 2.5, None])
def test_the_number_of_folds_is_checked(folds: Any) -> None:
    with pytest.raises(ConfigurationError):
        kfold(["a", "b", "a"], folds, task=LABELS)


@pytest.mark.parametrize(
    ("target", "task", "message"),
    [
        ([1.0, float("nan")], NUMBERS, "target 1 is nan, but must be finite"),
        (["a", None], LABELS, "target 1 is None, but must be a label"),
        ([float("nan"), 1.0], LABELS, "target 0 is nan, but must be a label"),
        (["a", 1.0], NUMBERS, "target must be numbers for a regression"),
    ],
)
def test_a_missing_target_is_refused(target: list[object], task: Task, message: str) -> None:
    with pytest.raises(DataError, match=message):
        split(np.array(target, object), (0.5, 0.5), task=task)
