"""Base classes of the drift detectors.

`DriftDetector` keeps the histogram and the state; `RestartingDetector` starts afresh after each
change; `HDDM` holds what both Hoeffding-bound tests share.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Self, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamnet.drift.histogram import MAX_ROWS, find_split, insert_all, summarize
from streamnet.errors import ConfigurationError, ModelFileError
from streamnet.jit import exact
from streamnet.settings.drift import (
    direction_signs,
    parse_direction,
    validate_confidences,
    validate_interval,
)
from streamnet.validation import as_kernel_array

__all__ = (
    "CHANGE_SIGN",
    "COUNT",
    "HDDM",
    "MAX_MAGNITUDE",
    "MEAN",
    "WARNING",
    "Change",
    "DriftDetector",
    "RestartingDetector",
    "update_mean",
)


# running; WARNING is 0 or 1; TOWARDS the sign of a change just noticed, 0 if there is none
COUNT, MEAN, WARNING, CHANGE_SIGN = range(4)
MAX_MAGNITUDE = (
    1e140  # of a value, so that no sum of squares overflows: anything beyond counts as this
)


@exact
def update_mean(running: NDArray[np.float64], x: float) -> None:
    """Take a value into the count and the mean."""
    running[COUNT] += 1.0
    running[MEAN] += 1.0 / running[COUNT] * (x - running[MEAN])


BUCKETS_PER_ROW = 5  # of each size
MAX_MEAN = 2.0 * MAX_MAGNITUDE  # of a mean, which may be rounded upwards


class Change(NamedTuple):
    """A change of the mean."""

    position: int  # in the block of values, of the value at which it was noticed
    age: int  # values since it happened, that one included; may reach back before the block
    before: float  # mean of the values that were looked back on, up to where it happened
    after: float  # mean of those since


class DriftDetector(abc.ABC):
    """Watches the mean of a sequence of values, such as the losses of the champion.

    Values are looked at one by one: how they are cut into blocks changes no bit. Those that are not
    finite are skipped, and those beyond +-1e140 count as +-1e140. Memory is bounded.

    A subclass gives its settings to ``__init__`` and names the arrays that are its own.
    """

    _figures: ClassVar[int] = CHANGE_SIGN + 1  # length of the array "running"
    _own: ClassVar[Mapping[str, tuple[int, ...]]] = {}  # shapes of further arrays

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._changes: tuple[Change, ...] = ()
        self._arrays = self._fresh()

    @final
    def update(self, values: ArrayLike) -> NDArray[np.int64]:
        """Look at n values in order.

        Args:
            values: float64 (n,).

        Returns:
            int64 (k,): positions in ``values`` at which a change was noticed, in order. Where it
            happened is some way before: ``changes`` has an estimate.

        Raises:
            ValueError: if ``values`` is not one-dimensional.
        """
        values = as_kernel_array(values, np.float64)
        if values.ndim != 1:
            raise ValueError(f"values has shape {values.shape}, but must have one dimension")
        changes: list[Change] = []
        start = 0
        while start < values.size:
            start += self._look(values[start:])
            if self._arrays["running"][CHANGE_SIGN] != 0.0:
                changes.append(self._change(start - 1))
                self._forget()
        self._changes = tuple(changes)
        return np.array([change.position for change in changes], np.int64)

    @property
    @final
    def changes(self) -> tuple[Change, ...]:
        """What the last update noticed."""
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
        self._changes = ()

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
        arrays = {"running", "held", "means", "squares", *cls._own}
        settings = {key: value for key, value in state.items() if key not in arrays}
        del settings["detector"]
        try:
            self = cls(**settings)
        except (ConfigurationError, TypeError) as error:
            raise ModelFileError(f"{name}: settings are damaged: {error}") from error
        if absent := self._settings.keys() - settings.keys():
            raise ModelFileError(f"{name}: the state lacks {', '.join(sorted(absent))}")
        for key, own in self._arrays.items():
            _restore_array(f"{name}: {key}", own, state.get(key))
        if fault := _find_inconsistency(self._arrays) or self._fault():
            raise ModelFileError(f"{name}: {fault}")
        return self

    @abc.abstractmethod
    def _look(self, values: NDArray[np.float64]) -> int:
        """Look at values until a change is noticed, and set its sign; returns how many."""

    @abc.abstractmethod
    def _forget(self) -> None:
        """Go on after a change."""

    @abc.abstractmethod
    def _fault(self) -> str:
        """What arrays that were read contradict each other in; empty if they don't."""

    def _fresh(self) -> dict[str, NDArray[Any]]:
        row = self._settings.get("max_buckets", BUCKETS_PER_ROW) + 1
        return {
            "running": np.zeros(self._figures),
            "held": np.zeros(MAX_ROWS, np.int64),
            "means": np.zeros((MAX_ROWS, row)),
            "squares": np.zeros((MAX_ROWS, row)),
            **{name: np.zeros(shape) for name, shape in self._own.items()},
        }

    def _change(self, position: int) -> Change:
        held, means, squares = (self._arrays[name] for name in ("held", "means", "squares"))
        since = np.empty((3, means.size))
        buckets = summarize(held, means, squares, since)
        cut = find_split(since, buckets, self._arrays["running"][CHANGE_SIGN])
        width, mean = since[:2, 0]
        new, after = since[:2, cut]
        before = mean + (mean - after) * (new / (width - new))
        return Change(position, int(new), float(before), float(after))


def _restore_array(what: str, own: NDArray[Any], given: Any) -> None:
    try:
        array = np.asarray(given, np.float64)
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"{what} holds no numbers") from error
    if array.shape != own.shape:
        raise ModelFileError(f"{what} has shape {array.shape}, but must have {own.shape}")
    if not np.isfinite(array).all():
        raise ModelFileError(f"{what} is not finite")
    with np.errstate(invalid="ignore"):  # of a number too large for a whole one
        own[...] = array
    if not np.array_equal(own, array):
        raise ModelFileError(f"{what} has a fraction where whole numbers belong")


def _find_inconsistency(arrays: Mapping[str, NDArray[Any]]) -> str:
    count, mean, warning, towards = arrays["running"][: CHANGE_SIGN + 1]
    if abs(mean) > MAX_MEAN:
        return f"mean is {mean}"
    if warning not in (0.0, 1.0) or towards != 0.0:
        return f"warning is {warning}, and a change that was not ended {towards}"
    held = arrays["held"]
    if not ((held >= 0) & (held < arrays["means"].shape[1])).all():
        return "a row of buckets holds more than it has room for, or less than none"
    if (arrays["squares"] < 0.0).any() or (np.abs(arrays["means"]) > MAX_MEAN).any():
        return "a bucket is beyond what values can make"
    total = float((held * 2.0 ** np.arange(MAX_ROWS)).sum())
    if count != total:
        return f"the buckets hold {total:.0f} values, but count is {count}"
    news = count == 0.0 and any(array.any() for array in arrays.values())
    return "there are figures of no values" if news else ""


class RestartingDetector(DriftDetector):
    """Forgets all values at each change.

    Args:
        settings: By name.
        low: Values below count as this.
        high: Values above count as this.
    """

    def __init__(
        self, settings: dict[str, Any], *, low: float = -MAX_MAGNITUDE, high: float = MAX_MAGNITUDE
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
        insert_all(held, means, squares, values[:looked_at], self._low, self._high)
        return looked_at

    @final
    def _forget(self) -> None:
        for array in self._arrays.values():
            array[...] = 0


class HDDM(RestartingDetector):
    """Tells averages apart by more than chance allows, at two levels of confidence.

    Frías-Blanco, del Campo-Ávila, Ramos-Jiménez, Morales-Bueno, Ortiz-Díaz and Caballero-Mota,
    "Online and Non-Parametric Drift Detection Methods Based on Hoeffding's Bounds", IEEE
    Transactions on Knowledge and Data Engineering 27, 2015.

    Args:
        drift_confidence: Probability of a false alarm in one comparison.
        warning_confidence: The same of a warning.
        low: Values below count as this.
        high: Values above count as this.
        direction: "up", "down" or "both".
    """

    def __init__(
        self,
        *,
        drift_confidence: float = 0.001,
        warning_confidence: float = 0.005,
        low: float = 0.0,
        high: float = 1.0,
        direction: str = "up",
    ) -> None:
        name = type(self).__name__
        validate_confidences(name, drift_confidence, warning_confidence)
        low, high = validate_interval(name, low, high, MAX_MAGNITUDE)
        towards = parse_direction(name, direction)
        self._signs = direction_signs(towards)
        super().__init__(
            {
                "drift_confidence": float(drift_confidence),
                "warning_confidence": float(warning_confidence),
                "low": low,
                "high": high,
                "direction": str(towards),
            },
            low=low,
            high=high,
        )
