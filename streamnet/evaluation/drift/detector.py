"""DriftDetector: what all drift detectors answer to."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any
from typing import Self
from typing import final

import numpy as np
from numpy.typing import ArrayLike
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError
from streamnet.errors import ModelFileError
from streamnet.evaluation.columns import column
from streamnet.evaluation.drift.running import COUNT
from streamnet.evaluation.drift.running import LARGEST
from streamnet.evaluation.drift.running import MEAN
from streamnet.evaluation.drift.running import WARNING

__all__ = ("DriftDetector",)

LONGEST = 2.0**53  # of a count


class DriftDetector(abc.ABC):
    """Watches the mean of a sequence of values, such as the losses of the champion.

    Values are looked at one by one: how they are cut into blocks changes no bit. Those that are not
    finite are skipped, and those beyond +-1e140 count as +-1e140. Memory is bounded.

    A subclass gives its settings to ``__init__`` and names its arrays; "running" is one of them.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._arrays = self._fresh()
        self._changes = np.empty((0, 2))

    @final
    def update(self, values: ArrayLike) -> NDArray[np.int64]:
        """Look at n values in order.

        Args:
            values: float64 (n,).

        Returns:
            int64 (k,): positions in ``values`` at which a change was noticed, in order. Where it
            happened is some way before.

        Raises:
            ValueError: if ``values`` is not one-dimensional.
        """
        values = column(values, np.float64)
        if values.ndim != 1:
            raise ValueError(f"values has shape {values.shape}, but must have one dimension")
        positions = np.empty(values.size, np.int64)
        changes = np.empty((values.size, 2))
        found = self._detect(values, positions, changes)
        self._changes = changes[:found].copy()
        return positions[:found].copy()

    @property
    @final
    def changes(self) -> NDArray[np.float64]:
        """float64 (k, 2): the mean before and after each change of the last update."""
        return self._changes

    @property
    @final
    def warning(self) -> bool:
        """Whether a change seems near; always False for a method that gives no warning."""
        return bool(self._arrays["running"][WARNING])

    @property
    @final
    def count(self) -> int:
        """Values that the detector looks back on: those since the last change."""
        return int(self._arrays["running"][COUNT])

    @property
    @final
    def mean(self) -> float:
        """Mean of these values; NaN without any."""
        running = self._arrays["running"]
        return float(running[MEAN]) if running[COUNT] > 0.0 else float("nan")

    @final
    def reset(self) -> None:
        """Forget all values."""
        self._arrays = self._fresh()
        self._changes = np.empty((0, 2))

    @final
    def export_state(self) -> dict[str, Any]:
        """Settings and a copy of all arrays, from which ``restore_state`` goes on exactly."""
        arrays = {name: array.copy() for name, array in self._arrays.items()}
        return {"detector": type(self).__name__, **self._settings, **arrays}

    @classmethod
    @final
    def restore_state(cls, state: Mapping[str, Any]) -> Self:
        """A detector that goes on from where ``state`` was exported.

        Raises:
            ModelFileError: if it is the state of another detector, or damaged.
        """
        name = cls.__name__
        if state.get("detector") != name:
            raise ModelFileError(f"{name}: the state is of {state.get('detector')!r}")
        settings = {k: v for k, v in state.items() if k not in cls._array_names()}
        del settings["detector"]
        try:
            self = cls(**settings)
        except (ConfigurationError, TypeError) as error:
            raise ModelFileError(f"{name}: settings are damaged: {error}") from error
        for key, own in self._arrays.items():
            _fill(f"{name}: {key}", own, state.get(key))
        fault = _fault_of_running(self._arrays["running"]) or self._fault()
        if fault:
            raise ModelFileError(f"{name}: {fault}")
        return self

    @classmethod
    @abc.abstractmethod
    def _array_names(cls) -> tuple[str, ...]:
        """Names of all arrays."""

    @abc.abstractmethod
    def _fresh(self) -> dict[str, NDArray[Any]]:
        """All arrays before the first value."""

    @abc.abstractmethod
    def _detect(
        self,
        values: NDArray[np.float64],
        positions: NDArray[np.int64],
        changes: NDArray[np.float64],
    ) -> int:
        """Look at all values; fill in each change and return how many there were."""

    @abc.abstractmethod
    def _fault(self) -> str:
        """What arrays that were read contradict each other in; empty if they don't."""


def _fill(what: str, own: NDArray[Any], given: Any) -> None:
    try:
        array = np.asarray(given, np.float64)
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"{what} holds no numbers") from error
    if array.shape != own.shape:
        raise ModelFileError(f"{what} has shape {array.shape}, but must have {own.shape}")
    if not np.isfinite(array).all():
        raise ModelFileError(f"{what} is not finite")
    own[...] = array
    if not np.array_equal(own, array):
        raise ModelFileError(f"{what} has a fraction where whole numbers belong")


def _fault_of_running(running: NDArray[np.float64]) -> str:
    count, mean, warning = running[: WARNING + 1]
    if not (0.0 <= count <= LONGEST and count.is_integer()):
        return f"count is {count}"
    if abs(mean) > LARGEST:
        return f"mean is {mean}"
    return "" if warning in (0.0, 1.0) else f"warning is {warning}"
