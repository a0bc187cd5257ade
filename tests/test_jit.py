from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamnet.jit import exact


@exact
def add_up(values: NDArray[np.float64], total: float) -> float:
    for i in range(values.size):
        total += values[i] * values[i] / 3.0
    return total


def test_exact_arithmetic_is_that_of_python_to_the_bit() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        values = random.normal(size=1001) * 10.0 ** random.integers(-8, 8, 1001)
        expected = 0.0
        for x in values.tolist():
            expected += x * x / 3.0
        assert add_up(values, 0.0) == expected
        assert add_up(values[500:], add_up(values[:500], 0.0)) == expected
