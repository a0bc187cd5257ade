"""Small arrays are kept and shared; large ones are not held."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamnet.samples import constant_column


@pytest.mark.parametrize("count", [0, 1, 1024, 1025])
@pytest.mark.parametrize(
    ("number", "dtype"), [(-1, np.int32), (1.0, np.float64), (np.nan, np.float64), (0, np.float32)]
)
def test_it_is_the_number_over_and_over(count: int, number: float, dtype: Any) -> None:
    array = constant_column(count, number, dtype)
    assert array.dtype == dtype
    assert array.tolist() == [number] * count or np.isnan(array).all()
    assert array.shape == (count,)
    assert array.flags.carray  # what kernels are compiled for


def test_only_small_ones_are_kept() -> None:
    assert constant_column(1024, 7, np.int32) is constant_column(1024, 7, np.int32)
    assert constant_column(1025, 7, np.int32) is not constant_column(1025, 7, np.int32)
