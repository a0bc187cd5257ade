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

_ALIGNMENT = 64  # bytes


def aligned_zeros(size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Zeros that start at a cache line.

    >>> aligned_zeros(3, np.dtype(np.float32)).ctypes.data % 64
    0
    """
    raw = np.zeros(size + _ALIGNMENT // dtype.itemsize, dtype)
    skip = -raw.ctypes.data % _ALIGNMENT // dtype.itemsize
    return raw[skip : skip + size]


_MIN_BYTES = 1 << 17  # bytes of the smallest block that is kept
_MAX_BYTES = 1 << 26  # bytes of all blocks that are kept


@final
class SpareMemory:
    """A pool of memory blocks; a block is reused once its array and all views of it are gone.

    Thread-safe. The smallest spare block that is large enough is used; if none is, the largest one
    is freed and replaced.

    Args:
        least: Size in bytes of the smallest array whose memory is kept.
        most: Largest total size in bytes of spare blocks.

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
        """Total size in bytes of the spare blocks."""
        return sum(map(len, self._blocks))

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An uninitialized array, like that of `numpy.empty`."""
        count = prod(shape)
        size = count * np.dtype(dtype).itemsize
        if size < max(self._least, 1):
            return np.empty(shape, dtype)
        block = self._block(size)
        # The block is no array, so this array is the base of all views of it.
        array = np.frombuffer(block, dtype, count)
        finalize(array, self._reclaim, block).atexit = False
        return array.reshape(shape)

    def _block(self, size: int) -> memoryview:
        with self._lock:
            sizes = list(map(len, self._blocks))  # `_reclaim` may append meanwhile
            if sizes:
                fitting = [at for at in range(len(sizes)) if sizes[at] >= size]
                place = min(fitting or range(len(sizes)), key=lambda at: abs(sizes[at] - size))
                block = self._blocks.pop(place)
                if fitting:
                    return block
        # Up to twice the size: states grow, and untouched pages take no memory.
        return np.empty(1 << (size - 1).bit_length(), np.uint8).data

    def _reclaim(self, block: memoryview) -> None:
        # No lock: a finalizer may run in the very thread that holds it.
        if self.spare + len(block) <= self._most:
            self._blocks.append(block)


SPARE_MEMORY = SpareMemory()
"""Shared by all populations, so that it is no larger than the states in use at a time."""
