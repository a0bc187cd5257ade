"""Lagged targets: the last targets before each sample, as active rows of the first layer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ModelFileError
from streamnet.features.layout import FIELD_BITS, LAG_BASE, LagEntries
from streamnet.jit import jit

__all__ = ("TargetLags",)


@jit
def _shift_classes(
    label: NDArray[np.int32],
    last: NDArray[np.float64],
    missing: NDArray[np.int64],
    keys: NDArray[np.int64],
) -> None:
    lags = last.size
    for i in range(keys.shape[0]):
        for k in range(lags):
            keys[i, k] = missing[k] + (0 if np.isnan(last[k]) else 1 + np.int64(last[k]))
        if i < label.size and label[i] >= 0:
            for k in range(lags - 1, 0, -1):
                last[k] = last[k - 1]
            last[0] = label[i]


@jit
def _shift_numbers(
    target: NDArray[np.float64],
    center: NDArray[np.float64],
    spread: NDArray[np.float64],
    clip: float,
    last: NDArray[np.float64],
    missing: NDArray[np.int64],
    keys: NDArray[np.int64],
    values: NDArray[np.float64],
) -> None:
    lags = last.size
    for i in range(keys.shape[0]):
        for k in range(lags):
            keys[i, k] = missing[k]
            if not np.isnan(last[k]):
                keys[i, k] += 1
                values[i, k] = min(max((last[k] - center[i]) / spread[i], -clip), clip)
        if i < target.size and np.isfinite(target[i]):
            for k in range(lags - 1, 0, -1):
                last[k] = last[k - 1]
            last[0] = target[i]


@final
class TargetLags:
    """Remembers the last targets that were told; a sample without one changes nothing.

    Args:
        lags: how many.
        clip: bound of a number in standard units.

    >>> lags = TargetLags(lags=2, clip=8.0)
    >>> lagged = lags.classes(np.array([3, 1, -1], np.int32))
    >>> (lagged.keys - lagged.missing).tolist(), lags.last.tolist()
    ([[0, 0], [4, 0], [2, 4]], [1.0, 3.0])
    """

    def __init__(self, *, lags: int, clip: float) -> None:
        self.last = np.full(lags, np.nan)  # class numbers, or numbers; the latest first
        self._missing = LAG_BASE + (np.arange(lags, dtype=np.int64) << FIELD_BITS)
        self._clip = clip

    def __len__(self) -> int:
        return len(self.last)

    def classes(self, label: NDArray[np.int32]) -> LagEntries:
        """Lags of samples whose classes are ``label`` (-1: none), which is learned."""
        lagged = self._empty(len(label))
        _shift_classes(label, self.last, self._missing, lagged.keys)
        return lagged

    def numbers(
        self, target: NDArray[np.float64], center: NDArray[np.float64], spread: NDArray[np.float64]
    ) -> LagEntries:
        """Lags of samples whose targets are learned, in the units known before each."""
        lagged = self._empty(len(target))
        _shift_numbers(target, center, spread, self._clip, self.last, self._missing, *lagged[:2])
        return lagged

    def build_next(self, n: int, scale: tuple[float, float] | None) -> LagEntries:
        """Lags of n samples of which each might be the next; ``scale`` of numbers, else None."""
        lagged = self._empty(n)
        if scale is None:
            _shift_classes(np.empty(0, np.int32), self.last, self._missing, lagged.keys)
        else:
            center, spread = (np.full(n, number) for number in scale)
            none = np.empty(0)
            _shift_numbers(none, center, spread, self._clip, self.last, self._missing, *lagged[:2])
        return lagged

    def restore_state(self, last: Iterable[Any]) -> None:
        """Take over the last targets as a snapshot keeps them."""
        last = np.array(last, np.float64)
        if last.shape != self.last.shape or np.isinf(last).any():
            raise ModelFileError(f"the encoder's last targets are not {len(self)} numbers")
        self.last = last

    def _empty(self, n: int) -> LagEntries:
        lags = len(self.last)
        return LagEntries(np.empty((n, lags), np.int64), np.ones((n, lags)), self._missing)
