"""Array memory: cache-line alignment, and reuse of large blocks.

State is copied at every checkpoint while learning pauses. Fresh pages must be found and zeroed by
the operating system, which takes longer than the copy itself, so freed blocks are reused.
"""

from __future__ import annotations

from math import prod
from threading import Lock
from typing import Any, final
from weakref import finalize

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = (
    "SPARE_MEMORY",
    "SpareMemory",
    "aligned_zeros",
)


_ALIGNMENT = 64  # bytes


def aligned_zeros(size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Zeros whose first one starts at a cache line.

    >>> aligned_zeros(3, np.dtype(np.float32)).ctypes.data % 64
    0
    """
    raw = np.zeros(size + _ALIGNMENT // dtype.itemsize, dtype)
    skip = -raw.ctypes.data % _ALIGNMENT // dtype.itemsize
    return raw[skip : skip + size]


_MIN_BYTES = 1 << 17  # bytes: what is smaller mostly is used memory anyway
_MAX_BYTES = 1 << 26  # bytes that are kept for nobody in particular


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

    def __init__(self, *, least: int = _MIN_BYTES, most: int = _MAX_BYTES) -> None:
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
        finalize(array, self._reclaim, block).atexit = False
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

    def _reclaim(self, block: memoryview) -> None:
        # Without the lock, which the thread may hold in which the last view was found to be none.
        if self.spare + len(block) <= self._most:
            self._blocks.append(block)


SPARE_MEMORY = SpareMemory()
"""What all populations share, so that it is no more than states held at once need."""
