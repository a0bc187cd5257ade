"""Arrays of one number over and over, kept for the small sizes that come again and again."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from functools import wraps
from typing import Any
from typing import TypeVar

import numpy as np
from numpy.typing import DTypeLike
from numpy.typing import NDArray

__all__ = ("few_kept", "repeated")

T = TypeVar("T")

_MOST = 1024  # samples for which arrays are kept, so that all of them take a megabyte or two


def few_kept(make: Callable[..., T]) -> Callable[..., T]:
    """Let ``make``, whose first argument is a number of samples, keep what it makes for few.

    What it makes is not to be changed: others may have been given it, too.

    >>> zeros = few_kept(np.zeros)
    >>> zeros(1024) is zeros(1024), zeros(1025) is zeros(1025)
    (True, False)
    """
    kept = lru_cache(maxsize=256)(make)

    @wraps(make)
    def made(count: int, *others: Any) -> T:
        return kept(count, *others) if count <= _MOST else make(count, *others)

    return made


@few_kept
def repeated(count: int, number: float, dtype: DTypeLike) -> NDArray[Any]:
    """The number so many times; see `few_kept`.

    >>> repeated(3, -1, np.int32)
    array([-1, -1, -1], dtype=int32)
    """
    return np.full(count, number, dtype)
