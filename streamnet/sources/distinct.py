"""Distinct: which texts of a column are equal, so that each is looked at but once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamnet.jit import kernel

__all__ = ("MOST", "distinct")

MOST = 1024  # different texts that are told apart
SLOTS = 4 * MOST  # a power of two
START, PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)  # of FNV-1a


def distinct(
    data: bytes, span: NDArray[np.int64]
) -> tuple[NDArray[np.intp], NDArray[np.intp]] | None:
    """Number equal texts alike, in the order in which they first come.

    Args:
        data: All texts.
        span: shape=(n, 2), where each begins and ends.

    Returns:
        The row of each different text, and the number of each row's, shape=(n,); None if more than
        `MOST` are different.

    >>> first, number = distinct(b"on,off,on", np.array([[0, 2], [3, 6], [7, 9]]))
    >>> first.tolist(), number.tolist()
    ([0, 1], [0, 1, 0])
    """
    first, number = np.empty(MOST, np.intp), np.empty(len(span), np.intp)
    count = _number(np.frombuffer(data, np.uint8), span, np.zeros(SLOTS, np.intp), first, number)
    return None if count < 0 else (first[:count], number)


@kernel
def _number(
    data: NDArray[np.uint8],
    span: NDArray[np.int64],
    slots: NDArray[np.intp],  # shape=(SLOTS,): one more than a text's number, in the next free slot
    first: NDArray[np.intp],  # shape=(MOST,), written
    number: NDArray[np.intp],  # shape=(n,), written
) -> int:
    """How many different texts there are; -1 if there are more than `MOST`."""
    count = 0
    for row in range(span.shape[0]):
        code = START
        for at in range(span[row, 0], span[row, 1]):
            code = (code ^ np.uint64(data[at])) * PRIME
        slot = np.intp(code >> np.uint64(32)) % SLOTS
        while slots[slot] > 0 and not _equal(data, span, first[slots[slot] - 1], row):
            slot = (slot + 1) % SLOTS
        if slots[slot] == 0:
            if count == MOST:
                return -1
            first[count] = row
            count += 1
            slots[slot] = count
        number[row] = slots[slot] - 1
    return count


@kernel
def _equal(data: NDArray[np.uint8], span: NDArray[np.int64], row: int, other: int) -> bool:
    size = span[row, 1] - span[row, 0]
    if span[other, 1] - span[other, 0] != size:
        return False
    at = 0
    while at < size and data[span[row, 0] + at] == data[span[other, 0] + at]:
        at += 1
    return bool(at == size)
