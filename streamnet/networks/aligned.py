"""Arrays that start at a cache line, so that no vector crosses two."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ("aligned_zeros",)

_ALIGNMENT = 64  # bytes


def aligned_zeros(size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Zeros whose first one starts at a cache line.

    >>> aligned_zeros(3, np.dtype(np.float32)).ctypes.data % 64
    0
    """
    raw = np.zeros(size + _ALIGNMENT // dtype.itemsize, dtype)
    skip = -raw.ctypes.data % _ALIGNMENT // dtype.itemsize
    return raw[skip : skip + size]
