"""Bins of columns and ranks of categories."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from streamnet.trees.binning import bin_columns, rank_categories
from streamnet.trees.growth import BINS

NUMBERS = st.floats(-1e300, 1e300) | st.just(np.nan) | st.integers(-5, 5).map(float)


@given(column=arrays(np.float64, st.integers(1, 300), elements=NUMBERS))
def test_a_value_is_above_the_thresholds_of_all_bins_before_its_own(
    column: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> None:
    bins, threshold = bin_columns(column[:, np.newaxis])
    own, missing = bins[:, 0], np.isnan(column)
    assert (own[missing] == 0).all()
    assert (own[~missing] > 0).all()
    assert own.max() < BINS
    assert (column[~missing] <= threshold[0, own[~missing]]).all()
    assert (column[~missing] > threshold[0, own[~missing] - 1]).all()
    distinct = np.unique(column[~missing])
    if len(distinct) < BINS and len(distinct) > 1 and np.diff(distinct).min() > 1e-9:
        assert len(np.unique(own[~missing])) == len(distinct)


def test_many_values_are_divided_into_bins_of_about_as_many() -> None:
    values = np.random.default_rng(0).lognormal(size=(10_000, 1))
    counts = np.bincount(bin_columns(values)[0][:, 0], minlength=BINS)[1:]
    assert counts.min() > 0.8 * 10_000 / (BINS - 1)


def test_rare_categories_have_no_rank_and_the_rest_are_in_the_order_of_their_means() -> None:
    rows = np.repeat([0, 1, 2, 3, 4], [50, 40, 30, 2, 60]).astype(float)[:, np.newaxis]
    target = np.repeat([5.0, 1.0, 3.0, 9.0, 2.0], [50, 40, 30, 2, 60])
    rank = rank_categories(rows, target, np.ones(len(target)))
    np.testing.assert_array_equal(rank, [3.0, 0.0, 2.0, np.nan, 1.0])


def test_each_column_has_ranks_of_its_own() -> None:
    rows = np.array([[0.0, 2.0], [1.0, 3.0], [np.nan, 3.0]] * 5)
    rank = rank_categories(rows, np.array([1.0, 0.0, 0.0] * 5), np.ones(15))
    np.testing.assert_array_equal(rank, [1.0, 0.0, 1.0, 0.0])


def test_categories_of_the_largest_numbers_are_ranked_like_those_of_small_ones() -> None:
    draw = np.random.default_rng(4)
    rows = draw.integers(0, 6, (200, 1)).astype(float)
    target, weight = draw.normal(size=200), draw.random(200)
    huge = target / np.abs(target).max() * np.finfo(np.float64).max
    assert np.array_equal(
        rank_categories(rows, huge, weight), rank_categories(rows, target, weight)
    )
