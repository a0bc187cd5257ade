"""Arrays of one number over and over, kept for the small sizes that come again and again."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from numpy.typing import NDArray

__all__ = ("repeated",)

_MOST = 1024  # numbers in an array that is kept, so that all of them take a megabyte or two


def repeated(number: float, shape: int | tuple[int, int], dtype: DTypeLike) -> NDArray[Any]:
    """The number over and over. Not to be changed: others may have been given it, too.

    >>> repeated(-1, 3, np.int32)
    array([-1, -1, -1], dtype=int32)
    """
    size = shape if isinstance(shape, int) else prod(shape)
    return _kept(number, shape, dtype) if size <= _MOST else _made(number, shape, dtype)


def _made(number: float, shape: int | tuple[int, int], dtype: DTypeLike) -> NDArray[Any]:
    return np.full(shape, number, dtype)


_kept: Callable[..., NDArray[Any]] = lru_cache(maxsize=256)(_made)
