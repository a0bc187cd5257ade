"""Growing."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy, deepcopy
from pickle import dumps, loads

import numpy as np
import pytest
from numpy.typing import NDArray

from streamnet.features.columns.number import FieldScalers
from streamnet.features.statistics import GrowingArray, NumberStatistics


def test_rows_are_kept_in_order() -> None:
    growing = GrowingArray((2,), np.int64)
    for i in range(100):
        growing.append((i, -i))
        growing.rows[-1, 1] += 1
    assert growing.rows.tolist() == [[i, 1 - i] for i in range(100)]
    assert growing.rows.flags.c_contiguous


@pytest.mark.parametrize("copied", [copy, deepcopy, lambda growing: loads(dumps(growing))])
@pytest.mark.parametrize("rows", [0, 1, 3, 4])
def test_a_copy_keeps_what_is_written_to_it_as_it_grows(
    copied: Callable[[GrowingArray], GrowingArray], rows: int
) -> None:
    growing = GrowingArray((2,), np.int64)
    for _ in range(rows):
        growing.append(1)
    other = copied(growing)
    other.rows[:] = 2
    for _ in range(3):
        other.append(2)
    assert other.rows.tolist() == [[2, 2]] * (rows + 3)
    assert other.rows.dtype == np.int64


def _measures() -> tuple[Callable[[int], None], Callable[[], list[NDArray[np.generic]]]]:
    measures = NumberStatistics(category_limit=64)
    return (
        lambda i: measures.append(category=True, origin=float(i)),
        lambda: [measures.moments, measures.tables],
    )


def _scales(
    scaling: str, *names: str
) -> tuple[Callable[[int], None], Callable[[], list[NDArray[np.generic]]]]:
    scales = FieldScalers(scaling=scaling, scalings={})
    return (
        lambda i: scales.append(str(i), statistic=i),
        lambda: [getattr(scales, name).rows for name in names],
    )


@pytest.mark.parametrize(
    ("append", "arrays"),
    [_measures(), _scales("minmax", "_extremes"), _scales("rank", "_summaries", "_used")],
    ids=["measures", "extremes", "summaries"],
)
def test_thousands_of_columns_are_hardly_ever_moved(
    append: Callable[[int], None], arrays: Callable[[], list[NDArray[np.generic]]]
) -> None:
    places = set()
    for i in range(1000):
        append(i)
        places.add(tuple(rows.__array_interface__["data"][0] for rows in arrays()))
    assert len(places) <= 11
    assert {len(rows) for rows in arrays()} == {1000}
