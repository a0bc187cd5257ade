from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamnet.errors import ModelFileError
from streamnet.features import Encoder
from streamnet.features.inputs import (
    DECISION_INTERVAL,
    MAX_COMPARED,
    MIN_CORRELATION,
    DuplicateFilter,
)
from streamnet.samples import Kind, Task
from tests.features.blocks import Columns, block_of


def learned(dense: NDArray[np.floating]) -> DuplicateFilter:
    duplicates = DuplicateFilter()
    duplicates.drop(dense.copy(), learn=True)
    duplicates.settle()
    return duplicates


def naive(dense: NDArray[np.floating]) -> list[int]:
    """Inputs that are constant, or correlate with an earlier one that is kept."""
    kept: list[int] = []
    for j in range(dense.shape[1]):
        column = dense[:, j]
        if np.ptp(column) > 0.0 and not any(
            abs(np.corrcoef(dense[:, i], column)[0, 1]) > MIN_CORRELATION for i in kept
        ):
            kept.append(j)
    return [j for j in range(dense.shape[1]) if j not in kept]


@settings(max_examples=40)
@given(st.integers(0, 1000), st.lists(st.sampled_from([0.0, 0.01, 0.03, 0.06, 0.1]), min_size=3))
def test_inputs_are_dropped_by_the_correlations_of_all_samples(
    seed: int, noises: list[float]
) -> None:
    rng = np.random.default_rng(seed)
    bases = rng.normal(size=(100, 2))
    columns = [
        bases[:, i % 2] * (-3.0 if i % 3 else 5.0) + noise * rng.normal(size=100) + 7.0
        for i, noise in enumerate(noises[:12])
    ]
    dense = np.stack([*columns, np.full(100, 4.0)], axis=1)
    assert learned(dense).dropped == naive(dense)


def test_a_dropped_input_returns_when_it_no_longer_correlates() -> None:
    rng = np.random.default_rng(1)
    first = rng.normal(size=4 * DECISION_INTERVAL)
    second = 2.0 * first
    second[2 * DECISION_INTERVAL :] = rng.normal(size=2 * DECISION_INTERVAL)
    dense = np.stack((first, second), axis=1)
    got = dense.copy()
    DuplicateFilter().drop(got, learn=True)
    assert got[:, 0].tolist() == first.tolist()
    zeroed = (got[:, 1] == 0.0).tolist()
    assert zeroed == [
        DECISION_INTERVAL - 1 <= i < 3 * DECISION_INTERVAL - 1 for i in range(4 * DECISION_INTERVAL)
    ]
    assert got[3 * DECISION_INTERVAL :, 1].tolist() == second[3 * DECISION_INTERVAL :].tolist()


def test_the_cuts_of_the_stream_do_not_show_when_inputs_are_dropped() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=2500)
    dense = np.stack((x, -x, rng.normal(size=2500), x + 0.001), axis=1)
    whole, parts = dense.copy(), dense.copy()
    one, other = DuplicateFilter(), DuplicateFilter()
    one.drop(whole, learn=True)
    for start in range(0, 2500, 77):
        other.drop(parts[start : start + 77], learn=True)
    assert whole.tobytes() == parts.tobytes()
    assert one.dropped == other.dropped == [1, 3]
    for name, value in one.export_state().items():
        assert value.tobytes() == other.export_state()[name].tobytes()


def test_few_samples_drop_nothing() -> None:
    x = np.arange(31.0)
    assert learned(np.stack((x, x), axis=1)).dropped == []
    x = np.arange(32.0)
    assert learned(np.stack((x, x), axis=1)).dropped == [1]


def test_inputs_beyond_the_first_are_not_compared() -> None:
    x = np.random.default_rng(3).normal(size=(50, MAX_COMPARED + 1))
    x[:, MAX_COMPARED] = x[:, 0]
    assert learned(x).dropped == []
    x[:, MAX_COMPARED - 1] = x[:, 0]
    assert learned(x).dropped == [MAX_COMPARED - 1]


def test_huge_numbers_do_not_make_duplicates() -> None:
    x = np.array([1e300, -1e300, 1.0, 2.0] * 10)
    y = np.array([1.0, 3.0, 2.0, -1.0] * 10)
    assert learned(np.stack((x, y), axis=1)).dropped == []


def test_inputs_that_appear_later_are_compared_from_there_on() -> None:
    rng = np.random.default_rng(5)
    duplicates = DuplicateFilter()
    x = rng.normal(size=3000)
    duplicates.drop(x[:100, None].copy(), learn=True)
    duplicates.drop(np.stack((x, x), axis=1)[100:], learn=True)
    assert duplicates.dropped == []  # for what it was not there it says less
    duplicates.drop(np.stack((rng.normal(size=9000),) * 2, axis=1), learn=True)
    duplicates.drop(np.stack((rng.normal(size=99000),) * 2, axis=1), learn=True)
    assert duplicates.dropped == [1]


def test_columns_in_other_units_are_dropped_from_a_data_set() -> None:
    rng = np.random.default_rng(6)
    celsius = rng.normal(size=400)
    columns: Columns = {
        ("celsius", Kind.NUMBER): celsius,
        ("job", Kind.CATEGORY): ["a"] * 400,
        ("constant", Kind.NUMBER): [3.5] * 400,
        ("fahrenheit", Kind.NUMBER): 1.8 * celsius + 32.0,
        ("other", Kind.NUMBER): rng.normal(size=400),
    }
    block = block_of(columns)
    encoder = Encoder(task=Task.CLASSIFICATION, duplicates="drop").fit([block])
    dense = encoder.transform(block).dense
    assert (np.abs(dense).max(axis=0) > 0).tolist() == [True, False, False, True]
    kept = Encoder(task=Task.CLASSIFICATION).fit([block]).transform(block).dense
    assert encoder.statistics().dropped == ["constant", "fahrenheit"]
    assert dense[:, [0, 3]].tolist() == kept[:, [0, 3]].tolist()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("compared_means", np.zeros(3)),
        ("compared_products", np.zeros((2, 3))),
        ("dropped", np.zeros(MAX_COMPARED + 1, np.int64)),
    ],
)
def test_comparisons_that_do_not_fit_are_refused(name: str, value: NDArray[np.generic]) -> None:
    duplicates = learned(np.arange(80.0).reshape(40, 2))
    with pytest.raises(ModelFileError, match="comparisons do not fit"):
        DuplicateFilter().restore_state(duplicates.export_state() | {name: value})


def test_old_duplicates_return_soon_after_they_differ() -> None:
    rng = np.random.default_rng(6)
    duplicates = DuplicateFilter()
    x = rng.normal(size=(1000 * DECISION_INTERVAL, 1))
    for _ in range(4):
        duplicates.drop(np.hstack((x, x)), learn=True)
    assert duplicates.dropped == [1]
    duplicates.drop(rng.normal(size=(2 * DECISION_INTERVAL, 2)), learn=True)
    assert duplicates.dropped == []
