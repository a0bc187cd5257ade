"""Base classes of the drift detectors, their settings, and the histogram of recent values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, NamedTuple, Self, final, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamnet.errors import ConfigurationError, ModelFileError
from streamnet.jit import exact
from streamnet.validation import as_kernel_array, check_integer, check_number

MAX_ROWS = 40  # with one bucket a row already 10**12 values; beyond, the oldest are dropped

# Buckets of 2**row values each: the number of them in each row, shape=(MAX_ROWS,), their means and
# their sums of squares, both of shape=(MAX_ROWS, max_buckets + 1).
Histogram = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]


@exact
def _shift(means: NDArray[np.float64], squares: NDArray[np.float64], by: int) -> None:
    for j in range(means.size - by):
        means[j] = means[j + by]
        squares[j] = squares[j + by]
    means[means.size - by :] = 0.0
    squares[means.size - by :] = 0.0


@exact
def insert(histogram: Histogram, x: float) -> None:
    """Add a value; a row with more than ``max_buckets`` buckets merges its oldest two."""
    row_sizes, means, squares = histogram
    max_buckets = means.shape[1] - 1
    mean = x
    square = 0.0
    for r in range(MAX_ROWS):
        means[r, row_sizes[r]] = mean
        squares[r, row_sizes[r]] = square
        row_sizes[r] += 1
        if row_sizes[r] <= max_buckets:
            return
        difference = means[r, 1] - means[r, 0]
        mean = means[r, 0] + difference / 2.0
        square = squares[r, 0] + squares[r, 1] + difference * difference * 2.0**r / 2.0
        drop = 2 if r < MAX_ROWS - 1 else 1
        _shift(means[r], squares[r], drop)
        row_sizes[r] -= drop


@exact
def remove_oldest(histogram: Histogram, count: int) -> None:
    """Remove the ``count`` oldest buckets."""
    row_sizes, means, squares = histogram
    for r in range(MAX_ROWS - 1, -1, -1):
        drop = min(count, row_sizes[r])
        if drop > 0:
            _shift(means[r], squares[r], drop)
            row_sizes[r] -= drop
            count -= drop


@exact
def summarize(histogram: Histogram) -> NDArray[np.float64]:
    """Compute count, mean and sum of squares of every suffix of the buckets, the longest first.

    shape=(3, buckets)
    """
    row_sizes, means, squares = histogram
    buckets = row_sizes.sum()
    suffixes = np.empty((3, buckets))
    n = 0.0
    mean = 0.0
    square = 0.0
    at = buckets
    for r in range(MAX_ROWS):
        size = 2.0**r
        for j in range(row_sizes[r] - 1, -1, -1):
            at -= 1
            n += size
            difference = means[r, j] - mean
            mean += difference * (size / n)
            square += squares[r, j] + difference * difference * ((n - size) * (size / n))
            suffixes[0, at] = n
            suffixes[1, at] = mean
            suffixes[2, at] = square
    return suffixes


@exact
def find_split(suffixes: NDArray[np.float64], sign: float) -> int:
    """Find the least-squares split into an old and a new part: the first bucket of the new part.

    There must be at least two buckets. ``sign`` is 1 for a rise, -1 for a fall, 0 for either.
    """
    best = 1
    best_gain = -np.inf
    width, mean = suffixes[0, 0], suffixes[1, 0]
    for cut in range(1, suffixes.shape[1]):
        new = suffixes[0, cut]
        gain = (suffixes[1, cut] - mean) * math.sqrt(width / (width - new) * new)
        gain = abs(gain) if sign == 0.0 else sign * gain
        if gain > best_gain:
            best = cut
            best_gain = gain
    return best


Direction = Literal["up", "down", "both"]
"""The changes of the mean to detect: of a loss, "up" is a change for the worse."""
Signs = tuple[float, float]
SIGNS: dict[Any, Signs] = {"up": (1.0, 0.0), "down": (0.0, -1.0), "both": (1.0, -1.0)}
"""A direction as kernels take it, for a rise and a fall; 0 for the one that is not detected."""

# Places in the array "running": WARNING is 0 or 1, CHANGE_SIGN the sign of a new change or 0.
COUNT, MEAN, WARNING, CHANGE_SIGN = range(4)
MAX_MAGNITUDE = 1e140  # larger values are clipped, so that no sum of squares overflows
MAX_MEAN = 2.0 * MAX_MAGNITUDE  # rounding may push a mean beyond the largest value
BUCKETS_PER_ROW = 5
MAX_INTEGER = 2**31

DETECTORS: dict[str, type[DriftDetector]] = {}
"""Detectors by the name of their method."""


def number(default: float, *, above: float, below: float, inclusive: bool = False) -> Any:
    """Declare a float setting between ``above`` and ``below``."""
    return field(default=default, metadata={"bounds": (above, below, inclusive)})


def integer(default: int, *, least: int, most: int = MAX_INTEGER) -> Any:
    """Declare an integer setting from ``least`` to ``most``."""
    return field(default=default, metadata={"range": (least, most)})


def _check_setting(what: str, value: Any, metadata: Mapping[str, Any]) -> Any:
    if "range" in metadata:
        least, most = metadata["range"]
        value = check_integer(what, value)
        if not least <= value <= most:
            raise ConfigurationError(
                f"{what} is {value}, but must be a whole number from {least} to {most}"
            )
        return value
    if "bounds" in metadata:
        above, below, inclusive = metadata["bounds"]
        value = check_number(what, value)
        if not (above <= value <= below if inclusive else above < value < below):
            least, most = (">=", "<=") if inclusive else (">", "<")
            raise ConfigurationError(
                f"{what} is {value!r}, but must be {least} {above:g} and {most} {below:g}"
            )
        return float(value)
    if value not in get_args(Direction):
        names = ", ".join(map(repr, get_args(Direction)))
        raise ConfigurationError(f"{what} is {value!r}, but must be one of {names}")
    return str(value)


@exact
def update_mean(running: NDArray[np.float64], x: float) -> None:
    """Update count and mean with a value."""
    running[COUNT] += 1.0
    running[MEAN] += 1.0 / running[COUNT] * (x - running[MEAN])


class Change(NamedTuple):
    """A change of the mean."""

    position: int  # index in the block of the value at which the change was detected
    age: int  # values since the change, that one included; may reach back before the block
    before: float  # mean of the values in the window before the change
    after: float  # mean of the values since


@dataclass(eq=False, kw_only=True)
class DriftDetector:
    """Detects changes in the mean of a sequence of values, such as the losses of the champion.

    Values are processed one by one: results do not depend on how they are cut into blocks. Values
    that are not finite are skipped, and those beyond +-1e140 are clipped. Memory is bounded.

    A subclass names its method and its kernel, a function of the values, the settings in order (a
    direction as `SIGNS`), "running", the histogram and the further arrays. The kernel processes
    values up to the first change, whose sign it sets, and returns how many.

    Raises:
        ConfigurationError: If a setting is out of range.
    """

    method: ClassVar[str] = ""
    _kernel: ClassVar[Callable[..., int]]
    _running_size: ClassVar[int] = CHANGE_SIGN + 1
    _further_arrays: ClassVar[Mapping[str, tuple[int, ...]]] = {}  # shapes

    def __init_subclass__(cls, method: str = "", kernel: Callable[..., int] | None = None) -> None:
        super().__init_subclass__()
        if kernel is not None:
            cls.method, cls._kernel = method, staticmethod(kernel)
            DETECTORS[method] = cls

    @final
    def __post_init__(self) -> None:
        for setting in fields(self):
            what = f"{type(self).__name__}: {setting.name}"
            value = _check_setting(what, getattr(self, setting.name), setting.metadata)
            setattr(self, setting.name, value)
        self._check_settings()
        self.reset()

    @final
    def update(self, values: ArrayLike) -> NDArray[np.int64]:
        """Process n values in order.

        Args:
            values: float64 (n,).

        Returns:
            int64 (k,): positions in ``values`` at which changes were detected, in order. A change
            happened some way before: ``changes`` has an estimate.

        Raises:
            ValueError: If ``values`` is not one-dimensional.
        """
        values = as_kernel_array(values, np.float64)
        if values.ndim != 1:
            raise ValueError(f"values has shape {values.shape}, but must have one dimension")
        settings = (getattr(self, setting.name) for setting in fields(self))
        arguments = tuple(SIGNS.get(value, value) for value in settings), *self._kernel_arrays()
        changes: list[Change] = []
        start = 0
        while start < values.size:
            start += self._kernel(values[start:], *arguments)
            if self._arrays["running"][CHANGE_SIGN] != 0.0:
                changes.append(self._estimate_change(start - 1))
                self._forget()
        self.changes: tuple[Change, ...] = tuple(changes)
        return np.array([change.position for change in changes], np.int64)

    @property
    @final
    def warning(self) -> bool:
        """Whether a change seems near; always False for a method without warnings."""
        return bool(self._arrays["running"][WARNING])

    @property
    @final
    def count(self) -> int:
        """Number of values in the window: those since the last change."""
        return int(self._arrays["running"][COUNT])

    @property
    @final
    def mean(self) -> float:
        """Mean of the window; NaN if it is empty."""
        running = self._arrays["running"]
        return float(running[MEAN]) if running[COUNT] > 0.0 else float("nan")

    @final
    def reset(self) -> None:
        """Forget all values."""
        self.changes = ()
        width = getattr(self, "max_buckets", BUCKETS_PER_ROW) + 1
        self._arrays: dict[str, NDArray[Any]] = {
            "running": np.zeros(self._running_size),
            "row_sizes": np.zeros(MAX_ROWS, np.int64),
            "means": np.zeros((MAX_ROWS, width)),
            "squares": np.zeros((MAX_ROWS, width)),
            **{name: np.zeros(shape) for name, shape in self._further_arrays.items()},
        }

    @final
    def export_state(self) -> dict[str, Any]:
        """Export settings and copies of all arrays, from which `restore_state` resumes exactly."""
        settings = {setting.name: getattr(self, setting.name) for setting in fields(self)}
        arrays = {name: array.copy() for name, array in self._arrays.items()}
        return {"detector": self.method, **settings, **arrays}

    @classmethod
    @final
    def restore_state(cls, state: Mapping[str, Any]) -> Self:
        """Restore a detector from an exported state.

        Raises:
            ModelFileError: If the state is damaged, or of another detector.
        """
        name = cls.__name__
        if state.get("detector") != cls.method:
            raise ModelFileError(f"{name}: the state is of {state.get('detector')!r}")
        names = {setting.name for setting in fields(cls)}
        arrays = {"running", "row_sizes", "means", "squares", *cls._further_arrays}
        if wrong := state.keys() ^ {"detector", *names, *arrays}:
            raise ModelFileError(f"{name}: missing or unknown: {', '.join(sorted(wrong))}")
        try:
            self = cls(**{key: state[key] for key in names})
        except ConfigurationError as error:
            raise ModelFileError(f"{name}: settings are damaged: {error}") from error
        for key, own in self._arrays.items():
            _restore_array(f"{name}: {key}", own, state[key])
        if problem := _find_inconsistency(self._arrays) or self._find_inconsistency():
            raise ModelFileError(f"{name}: {problem}")
        return self

    def _kernel_arrays(self) -> tuple[Any, ...]:
        running, row_sizes, means, squares, *further = self._arrays.values()
        return running, (row_sizes, means, squares), *further

    def _check_settings(self) -> None:
        """Check rules that concern several settings."""

    def _forget(self) -> None:
        """Drop the values before a change, by default all values."""
        for array in self._arrays.values():
            array[...] = 0

    def _find_inconsistency(self) -> str:
        """Describe a contradiction among restored arrays; empty if there is none."""
        return ""

    @final
    def _estimate_change(self, position: int) -> Change:
        running, histogram, *_ = self._kernel_arrays()
        suffixes = summarize(histogram)
        cut = find_split(suffixes, running[CHANGE_SIGN])
        width, mean = suffixes[:2, 0]
        new, after = suffixes[:2, cut]
        before = mean + (mean - after) * (new / (width - new))
        return Change(position, int(new), float(before), float(after))


def _restore_array(what: str, own: NDArray[Any], saved: Any) -> None:
    try:
        array = np.asarray(saved, np.float64)
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"{what} holds no numbers") from error
    if array.shape != own.shape:
        raise ModelFileError(f"{what} has shape {array.shape}, but must have {own.shape}")
    if not np.isfinite(array).all():
        raise ModelFileError(f"{what} is not finite")
    with np.errstate(invalid="ignore"):  # numbers too large for an integer
        own[...] = array
    if not np.array_equal(own, array):
        raise ModelFileError(f"{what} has fractions, but must be whole numbers")


def _find_inconsistency(arrays: Mapping[str, NDArray[Any]]) -> str:
    count, mean, warning, sign = arrays["running"][: CHANGE_SIGN + 1]
    if abs(mean) > MAX_MEAN:
        return f"mean is {mean}"
    if warning not in (0.0, 1.0) or sign != 0.0:
        return f"warning is {warning}, and the sign of an unfinished change {sign}"
    row_sizes = arrays["row_sizes"]
    if not ((row_sizes >= 0) & (row_sizes < arrays["means"].shape[1])).all():
        return "the number of buckets in a row is out of range"
    if (arrays["squares"] < 0.0).any() or (np.abs(arrays["means"]) > MAX_MEAN).any():
        return "the mean or square of a bucket is out of range"
    total = float((row_sizes * 2.0 ** np.arange(MAX_ROWS)).sum())
    if count != total:
        return f"the buckets hold {total:.0f} values, but count is {count}"
    dirty = count == 0.0 and any(array.any() for array in arrays.values())
    return "count is 0, but some arrays are not" if dirty else ""
