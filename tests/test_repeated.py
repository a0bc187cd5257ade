"""Small arrays are kept and shared; large ones are not held."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamnet.repeated import repeated


@pytest.mark.parametrize("shape", [0, 1, 1024, 1025, (3, 1), (1025, 1)])
@pytest.mark.parametrize(
    ("number", "dtype"), [(-1, np.int32), (1.0, np.float64), (np.nan, np.float64), (0, np.float32)]
)
def test_it_is_the_number_over_and_over(
    shape: int | tuple[int, int], number: float, dtype: Any
) -> None:
    array = repeated(number, shape, dtype)
    assert array.dtype == dtype
    assert array.tolist() == np.full(shape, number, dtype).tolist() or np.isnan(array).all()
    assert array.shape == np.empty(shape).shape
    assert array.flags.carray  # what kernels are compiled for


def test_only_small_ones_are_kept() -> None:
    assert repeated(7, 1024, np.int32) is repeated(7, 1024, np.int32)
    assert repeated(7, 1025, np.int32) is not repeated(7, 1025, np.int32)
    assert repeated(7, (1024, 1), np.int32) is repeated(7, (1024, 1), np.int32)
    assert repeated(7, (513, 2), np.int32) is not repeated(7, (513, 2), np.int32)
