"""RestartingDetector: what the detectors share that begin anew after each change."""

from __future__ import annotations

import abc
from typing import Any
from typing import final

import numpy as np
from numpy.typing import NDArray

from streamnet.evaluation.drift.buckets import fill
from streamnet.evaluation.drift.detector import DriftDetector
from streamnet.evaluation.drift.running import LARGEST

__all__ = ("RestartingDetector",)


class RestartingDetector(DriftDetector):
    """Forgets all values at each change.

    Args:
        settings: By name.
        low: Values below count as this.
        high: Values above count as this.
    """

    def __init__(
        self, settings: dict[str, Any], *, low: float = -LARGEST, high: float = LARGEST
    ) -> None:
        super().__init__(settings)
        self._low, self._high = low, high

    @abc.abstractmethod
    def _first_change(self, values: NDArray[np.float64]) -> int:
        """Look at values until a change is noticed, and set its sign; returns how many."""

    @final
    def _look(self, values: NDArray[np.float64]) -> int:
        looked_at = self._first_change(values)
        held, means, squares = (self._arrays[name] for name in ("held", "means", "squares"))
        fill(held, means, squares, values[:looked_at], self._low, self._high)
        return looked_at

    @final
    def _forget(self) -> None:
        for array in self._arrays.values():
            array[...] = 0
