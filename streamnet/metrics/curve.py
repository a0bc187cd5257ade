"""Curve: the history of a few values, thinned to a bounded number of points."""

from __future__ import annotations

from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError, ModelFileError


@final
class Curve:
    """Values by sample number, at most ``points`` of them over any length of stream.

    Of every ``stride`` sample numbers (0 to stride - 1, and so on) the first point is kept. Each
    time the curve is full the stride doubles, so what is kept depends on the points added alone.
    The last point added is always there.

    Args:
        points: largest number of points, at least 4.

    Raises:
        ConfigurationError: if a setting has a value that its rule does not allow.

    >>> curve = Curve(points=4)
    >>> for sample in range(0, 1000, 100):
    ...     curve.add(sample, sample / 1000)
    >>> curve.samples().tolist()
    [0, 600, 900]
    """

    def __init__(self, points: int = 512) -> None:
        if points < 4:
            raise ConfigurationError(f"points is {points}, but must be >= 4")
        self._points = int(points)
        self._stride = 1
        self._kept: list[tuple[int, tuple[float, ...]]] = []
        self._last: tuple[int, tuple[float, ...]] | None = None

    def __len__(self) -> int:
        return len(self._all())

    def add(self, sample: int, *values: float) -> None:
        """Add a point; one whose sample number is not above the last one is ignored.

        Raises:
            ValueError: if there are more or fewer values than in the points before.
        """
        if self._last is not None:
            if len(values) != len(self._last[1]):
                raise ValueError(f"{len(values)} values, but {len(self._last[1])} before")
            if sample <= self._last[0]:
                return
        self._last = int(sample), tuple(map(float, values))
        if self._kept and sample // self._stride == self._kept[-1][0] // self._stride:
            return
        self._kept.append(self._last)
        while len(self._kept) >= self._points:
            self._thin()

    def samples(self) -> NDArray[np.int64]:
        """Sample numbers of the points, ascending: int64 (m,)."""
        return np.array([sample for sample, _ in self._all()], np.int64)

    def values(self) -> NDArray[np.float64]:
        """Values of the points: float64 (m, number of values)."""
        width = 0 if self._last is None else len(self._last[1])
        values = [values for _, values in self._all()]
        return np.array(values, np.float64).reshape(len(values), width)

    def export_state(self) -> dict[str, Any]:
        """All points and the stride, from which ``restore_state`` goes on exactly."""
        return {
            "points": self._points,
            "stride": self._stride,
            "kept": len(self._kept),
            "samples": self.samples(),
            "values": self.values(),
        }

    @classmethod
    def restore_state(cls, state: dict[str, Any]) -> Self:
        """A curve that goes on from where ``state`` was exported.

        Raises:
            ModelFileError: if the parts of the state do not fit together.
        """
        self = cls(state["points"])
        samples = [int(sample) for sample in state["samples"]]
        values = [tuple(float(value) for value in row) for row in state["values"]]
        kept = state["kept"]
        if len(values) != len(samples) or not 0 <= len(samples) - kept <= 1 or state["stride"] < 1:
            raise ModelFileError(f"curve: {kept} points kept of {len(samples)}, {len(values)}")
        everything = list(zip(samples, values, strict=True))
        self._stride = state["stride"]
        self._kept = everything[:kept]
        self._last = everything[-1] if everything else None
        return self

    def _all(self) -> list[tuple[int, tuple[float, ...]]]:
        if self._last is None or self._last[0] == self._kept[-1][0]:
            return self._kept
        return [*self._kept, self._last]

    def _thin(self) -> None:
        """Double the stride and keep the first point of each."""
        self._stride *= 2
        kept = self._kept[:1]
        for point in self._kept[1:]:
            if point[0] // self._stride != kept[-1][0] // self._stride:
                kept.append(point)
        self._kept = kept
