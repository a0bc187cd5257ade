"""Horizons of a score: overall, sliding window, fading, and the curve over the whole stream."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, ClassVar, Self, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamnet.errors import ConfigurationError, ModelFileError
from streamnet.jit import exact_inlined
from streamnet.metrics.formulas import METRICS, Values, compute_metrics
from streamnet.samples import NO_WEIGHTS, Task, cache_small
from streamnet.validation import as_kernel_array, check_integer, check_number

MAX_WINDOW_SAMPLES = 1 << 25  # scored samples of all tracks, a gigabyte
LONGEST_PERIOD = 1024
LARGEST_WEIGHT = 1e12


class Horizon(StrEnum):
    """The samples that a metric is computed over.

    ``OVERALL``: all scored samples of a track with equal weights. ``SLIDING``: the last ``window``
    of them. ``FADING``: all, the newest with weight 1 and every older one with ``fading`` times the
    weight of the next.

    >>> Horizon("fading") is Horizon.FADING
    True
    """

    OVERALL = "overall"
    SLIDING = "sliding"
    FADING = "fading"


def validate_windows(tracks: int, window: int, fading: float) -> None:
    """Check the settings that evaluators share."""
    if tracks < 1:
        raise ConfigurationError(f"tracks is {tracks}, but must be >= 1")
    if check_integer("window", window) < 1:
        raise ConfigurationError(f"window is {window}, but must be >= 1")
    if window * tracks > MAX_WINDOW_SAMPLES:
        most = MAX_WINDOW_SAMPLES // tracks
        raise ConfigurationError(f"window is {window}, but must be <= {most} of {tracks} tracks")
    if not 0.01 <= check_number("fading", fading) <= 1.0:
        raise ConfigurationError(f"fading is {fading}, but must be >= 0.01 and <= 1")


def growing_weights(fading: float) -> NDArray[np.float64]:
    """Compute the weights ``fading ** -j`` for j = 0 up to the length of a period.

    Instead of all sums shrinking at every sample, each sample weighs more than the previous one,
    and all sums are divided by the last of these weights once a period, before it would be used.
    """
    shrink = -math.log(fading)
    limit = math.log(LARGEST_WEIGHT)
    period = LONGEST_PERIOD if shrink * LONGEST_PERIOD <= limit else int(limit / shrink)
    return np.array([fading**-j for j in range(period + 1)])


@cache_small
def all_ones(samples: int, tracks: int) -> NDArray[np.uint8]:
    """Flags (tracks, samples) that are all 1, not to be modified."""
    return np.ones((tracks, samples), np.uint8)


@exact_inlined
def get_weight(importance: NDArray[np.float64], i: int) -> float:
    """The weight of sample ``i``: 1 if there are no weights."""
    return importance[i] if importance.size > 0 else 1.0


@exact_inlined
def keep_weight(shares: NDArray[np.float64], place: int, k: int, weight: float) -> None:
    """Keep the weight of a sample in the window of track ``k``, unless all weights are 1."""
    if shares.size > 0:
        shares[place, k] = weight


def as_weights(weight: ArrayLike | None, samples: int) -> NDArray[np.float64]:
    """Weights as kernels take them: empty if all are 1.

    Raises:
        ValueError: If there is not one for each sample.
    """
    if weight is None:
        return NO_WEIGHTS
    array: NDArray[np.float64] = as_kernel_array(weight, np.float64)
    if array.shape != (samples,):
        raise ValueError(f"weight {array.shape} does not fit {samples} samples")
    return array


SEEN, PLACE = range(2)  # of "places": number of scored samples, and next place in the rings


class StreamEvaluator(abc.ABC):
    """Scores many tracks on the same samples, each predicted before it was learned.

    A track is a candidate, what was served, or a baseline.

    Args:
        tracks: Number of tracks.
        window: Scored samples of a track in the sliding window.
        fading: Factor applied to the weight of all earlier samples at every scored sample, also at
            those for which the track was not available.

    Raises:
        ConfigurationError: If a setting is out of range.
    """

    task: ClassVar[Task]
    _settings: ClassVar[tuple[str, ...]] = ("window", "fading")
    _arrays: ClassVar[tuple[str, ...]]  # attributes that are exported, like the settings

    def __init__(self, tracks: int, *, window: int = 1000, fading: float = 0.999) -> None:
        validate_windows(tracks, window, fading)
        self._tracks = int(tracks)
        self._window = int(window)
        self._fading = float(fading)
        self._places = np.zeros((tracks, 2), np.int64)
        # Weights of the samples in the sliding window; empty as long as all are 1.
        self._shares = np.empty((0, tracks))

    @final
    def measures(self, track: int, horizon: Horizon | str = Horizon.OVERALL) -> dict[str, float]:
        """Compute all metrics of a track, by name; NaN where one is undefined.

        Log-losses are means of the losses returned by ``update``, hence clipped at the floor.

        Raises:
            IndexError: If there is no such track.
            ValueError: If there is no such horizon.
        """
        k = range(self._tracks)[track]
        inputs = self._inputs(slice(k, k + 1), Horizon(horizon))
        return {
            name: float(value[0])
            for name, value in compute_metrics(self.task, "stream", **inputs).items()
        }

    @final
    def table(self, horizon: Horizon | str = Horizon.OVERALL) -> dict[str, Values]:
        """Compute all metrics of all tracks: by name, float64 (K,)."""
        return compute_metrics(self.task, "stream", **self._inputs(slice(None), Horizon(horizon)))

    @final
    def values(self, name: str, horizon: Horizon | str = Horizon.OVERALL) -> Values:
        """Compute one metric of all tracks, float64 (K,); KeyError if there is none of that name.

        It must be a metric of the counts, sums or errors that the evaluator keeps.
        """
        metric = METRICS[self.task][name]
        inputs = self._inputs(slice(None), Horizon(horizon))[metric.inputs]
        found: Values = metric.function(inputs)
        return found

    @final
    def scored(self, track: int, horizon: Horizon | str = Horizon.OVERALL) -> int:
        """Samples scored for a track since it was created or reset, as far as they are in reach."""
        seen = int(self._places[range(self._tracks)[track], SEEN])
        return min(seen, self._window) if Horizon(horizon) is Horizon.SLIDING else seen

    @final
    def reset(self, track: int) -> None:
        """Forget all scores of a track, whose candidate was replaced."""
        self._reset(range(self._tracks)[track])

    def _read_weights(self, weight: ArrayLike | None, samples: int) -> NDArray[np.float64]:
        """Weights as kernels take them; from the first ones on, those in the window are kept."""
        weights = as_weights(weight, samples)
        if weights.size and not self._shares.size:
            self._shares = np.ones((self._window, self._tracks))
        return weights

    def export_state(self) -> dict[str, Any]:
        """Export settings and copies of all arrays, from which `restore_state` resumes exactly."""
        settings = {name: getattr(self, f"_{name}") for name in ("tracks", *self._settings)}
        arrays = {name: getattr(self, f"_{name}").copy() for name in self._arrays}
        if self._shares.size:
            arrays["shares"] = self._shares.copy()
        return settings | arrays

    @classmethod
    def restore_state(cls, state: dict[str, Any]) -> Self:
        """Restore an evaluator from its state; `ModelFileError` if that does not fit."""
        self = cls(state["tracks"], **{name: state[name] for name in cls._settings})
        names = self._arrays
        if "shares" in state:
            self._shares = np.ones((self._window, self._tracks))
            names = (*names, "shares")
        for name in names:
            own = getattr(self, f"_{name}")
            if np.shape(state[name]) != own.shape:
                raise ModelFileError(f"evaluator: {name} has shape {np.shape(state[name])}")
            own[...] = state[name]
        if (self._places < 0).any() or (self._places[:, PLACE] >= self._window).any():
            raise ModelFileError(f"evaluator: places lie beyond the window of {self._window}")
        return self

    @abc.abstractmethod
    def _inputs(self, tracks: slice, horizon: Horizon) -> dict[str, Any]:
        """Collect what metrics are computed from, by the name of the input."""

    @abc.abstractmethod
    def _reset(self, k: int) -> None:
        """Forget all scores of track ``k``."""


# Axis of the tracks in the arrays of exported states; the others have none.
_TRACK_AXES = {"places": 0} | dict.fromkeys(
    ("sums", "cells", "costs", "confusion", "means", "pairs", "shares"), 1
)


def split_tracks(state: Mapping[str, Any], tracks: slice) -> dict[str, Any]:
    """The part of an evaluator's exported state that belongs to consecutive tracks."""
    part = {**state, "tracks": tracks.stop - tracks.start}
    for name in part.keys() & _TRACK_AXES.keys():
        part[name] = part[name][(slice(None),) * _TRACK_AXES[name] + (tracks,)]
    return part


def join_tracks(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The exported state of an evaluator of all tracks, whose parts these are.

    >>> from streamnet.metrics import RegressionEvaluator
    >>> state = RegressionEvaluator(3).export_state()
    >>> joined = join_tracks([split_tracks(state, slice(0, 1)), split_tracks(state, slice(1, 3))])
    >>> joined["tracks"], joined["means"].shape
    (3, (2, 3, 7))
    """
    joined = {**states[0], "tracks": sum(state["tracks"] for state in states)}
    for name in joined.keys() & _TRACK_AXES.keys():
        joined[name] = np.concatenate([state[name] for state in states], axis=_TRACK_AXES[name])
    return joined


@final
class Curve:
    """Values by sample number, at most ``points`` of them over any length of stream.

    Of every ``stride`` sample numbers (0 to stride - 1, and so on) the first point is kept. Each
    time the curve is full the stride doubles, so what is kept depends on the points added alone.
    The last point added is always there.

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
        self._rows: list[tuple[float, ...]] = []  # sample number and values
        self._kept = 0  # rows; a last one that is not kept gives way to the next

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, sample: int, *values: float) -> None:
        """Add a point; one whose sample number is not above the last one is ignored.

        Raises:
            ValueError: If there are more or fewer values than in the points before.
        """
        if self._rows:
            last, *before = self._rows[-1]
            if len(values) != len(before):
                raise ValueError(f"{len(values)} values, but {len(before)} before")
            if sample <= last:
                return
        del self._rows[self._kept :]
        self._rows.append((int(sample), *map(float, values)))
        if self._kept and sample // self._stride == self._rows[-2][0] // self._stride:
            return
        self._kept += 1
        while self._kept >= self._points:
            self._stride *= 2
            first: dict[float, tuple[float, ...]] = {}
            for row in self._rows:
                first.setdefault(row[0] // self._stride, row)
            newest = self._rows[-1]
            self._rows = list(first.values())
            self._kept = len(self._rows)
            if self._rows[-1] != newest:
                self._rows.append(newest)

    def points(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Sample numbers of the points, ascending, and their values: int64 (m,), float64 (m, k).

        Another thread may add points meanwhile.
        """
        rows = self._rows.copy()
        width = len(rows[0]) - 1 if rows else 0
        values = np.array([row[1:] for row in rows], np.float64).reshape(len(rows), width)
        return np.array([row[0] for row in rows], np.int64), values

    def samples(self) -> NDArray[np.int64]:
        """Sample numbers of the points, ascending: int64 (m,)."""
        return self.points()[0]

    def values(self) -> NDArray[np.float64]:
        """Values of the points: float64 (m, number of values)."""
        return self.points()[1]

    def export_state(self) -> dict[str, Any]:
        """Export all points and the stride, from which `restore_state` resumes exactly."""
        return {
            "points": self._points,
            "stride": self._stride,
            "kept": self._kept,
            "samples": self.samples(),
            "values": self.values(),
        }

    @classmethod
    def restore_state(cls, state: dict[str, Any]) -> Self:
        """Restore a curve from its state; `ModelFileError` if that does not fit."""
        self = cls(state["points"])
        samples, values, kept = state["samples"], state["values"], state["kept"]
        if len(values) != len(samples) or not 0 <= len(samples) - kept <= 1 or state["stride"] < 1:
            raise ModelFileError(f"curve: {kept} points kept of {len(samples)}, {len(values)}")
        self._stride, self._kept = state["stride"], kept
        self._rows = [
            (int(sample), *map(float, row)) for sample, row in zip(samples, values, strict=True)
        ]
        return self
