"""Spare memory: large arrays in memory that was used before.

A state is copied at every checkpoint while learning stands still. Fresh memory has to be found and
zeroed by the operating system page by page, which takes longer than the copy itself, and much
longer on a virtual machine that hands back what it does not need.
"""

from __future__ import annotations

from math import prod
from threading import Lock
from typing import Any
from typing import final
from weakref import finalize

import numpy as np
from numpy.typing import DTypeLike
from numpy.typing import NDArray

__all__ = ("SPARE", "SpareMemory")

_LEAST = 1 << 17  # bytes: what is smaller mostly is used memory anyway
_MOST = 1 << 26  # bytes that are kept for nobody in particular


@final
class SpareMemory:
    """Blocks of memory that arrays lie in, each again once nobody has the last array or a view.

    Any number of threads may ask for arrays. The smallest spare block that is large enough is used;
    where none is, the largest makes room for a new one.

    Args:
        least: Bytes of an array from which on its memory is kept.
        most: Bytes that are kept while no array lies in them.

    >>> memory = SpareMemory(least=8)
    >>> first = memory.empty((2, 3), np.float64)
    >>> first[:] = 1
    >>> del first
    >>> memory.spare
    64
    >>> second = memory.empty((10,), np.float32)
    >>> second.shape, second.dtype, memory.spare
    ((10,), dtype('float32'), 0)
    """

    def __init__(self, *, least: int = _LEAST, most: int = _MOST) -> None:
        self._least = least
        self._most = most
        self._blocks: list[memoryview] = []  # their sizes are powers of 2
        self._lock = Lock()

    @property
    def spare(self) -> int:
        """Bytes that no array lies in."""
        return sum(map(len, self._blocks))

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array whose numbers are not set, as `numpy.empty` gives it."""
        count = prod(shape)
        size = count * np.dtype(dtype).itemsize
        if size < max(self._least, 1):
            return np.empty(shape, dtype)
        block = self._block(size)
        # All views of it, and theirs, have this array as their base, since the block is none.
        array = np.frombuffer(block, dtype, count)
        finalize(array, self._take_back, block).atexit = False
        return array.reshape(shape)

    def _block(self, size: int) -> memoryview:
        with self._lock:
            sizes = list(map(len, self._blocks))  # others may be put behind them meanwhile
            if sizes:
                fitting = [at for at in range(len(sizes)) if sizes[at] >= size]
                place = min(fitting or range(len(sizes)), key=lambda at: abs(sizes[at] - size))
                block = self._blocks.pop(place)
                if fitting:
                    return block
        # Twice as much as asked for at most: states grow, and a page that nobody touched is none.
        return np.empty(1 << (size - 1).bit_length(), np.uint8).data

    def _take_back(self, block: memoryview) -> None:
        # Without the lock, which the thread may hold in which the last view was found to be none.
        if self.spare + len(block) <= self._most:
            self._blocks.append(block)


SPARE = SpareMemory()
"""What all populations share, so that it is no more than states held at once need."""
