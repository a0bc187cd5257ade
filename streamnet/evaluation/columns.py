"""Arguments brought into the one layout and type that the kernels are compiled for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from numpy.typing import DTypeLike
from numpy.typing import NDArray

__all__ = ("column", "flags")


def column(values: ArrayLike, dtype: DTypeLike) -> NDArray[Any]:
    """``values`` as a C-ordered, writable array of ``dtype``; copied only where it is not one.

    Anything else would make numba compile a kernel once more. What the type can't hold becomes
    infinite, without a warning: what stands for an answer that nobody gave may be any number.
    """
    if type(values) is np.ndarray and values.dtype == dtype and values.flags.carray:
        return values
    with np.errstate(over="ignore", invalid="ignore"):
        array = np.ascontiguousarray(values, dtype)
    return array if array.flags.writeable else array.copy()


def flags(values: ArrayLike | None, default: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``values`` as 0 or 1 in the shape of ``default``, which stands for None.

    Raises:
        ValueError: if ``values`` can't be broadcast to that shape.
    """
    if values is None:
        return default
    array = column(values, np.uint8)
    if array.shape != default.shape:
        array = np.ascontiguousarray(np.broadcast_to(array, default.shape))
    return array
