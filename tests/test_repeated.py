"""Small arrays are kept and shared; large ones are not held."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamnet.repeated import repeated


@pytest.mark.parametrize("n", [0, 1, 1024, 1025])
@pytest.mark.parametrize(
    ("number", "dtype"), [(-1, np.int32), (1.0, np.float64), (np.nan, np.float64), (0, np.float32)]
)
def test_it_is_the_number_over_and_over(n: int, number: float, dtype: Any) -> None:
    array = repeated(number, n, dtype)
    assert (array.shape, array.dtype) == ((n,), dtype)
    assert np.array_equal(array, [number] * n, equal_nan=dtype is np.float64)
    assert array.flags.carray  # what kernels are compiled for


def test_only_small_ones_are_kept() -> None:
    assert repeated(7, 1024, np.int32) is repeated(7, 1024, np.int32)
    assert repeated(7, 1025, np.int32) is not repeated(7, 1025, np.int32)
