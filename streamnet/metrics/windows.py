"""Windows over scored samples, and the base class of the evaluators of streams.

Index 0 of an array of both horizons is overall, 1 is fading; the sliding window is kept in rings.
"""

from __future__ import annotations

import abc
import math
from enum import StrEnum
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError, ModelFileError
from streamnet.metrics.formulas import Values, compute_metrics
from streamnet.samples import Task
from streamnet.validation import check_integer, check_number

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
    """Check the settings that evaluators share.

    Raises:
        ConfigurationError: If a setting is out of range.
    """
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


SEEN, PLACE = range(2)  # of "places": number of scored samples, and next place in the rings


class StreamEvaluator(abc.ABC):
    """Scores many tracks on the same samples, each predicted before it was learned.

    Args:
        tracks: Number of tracks.
        window: Scored samples of a track in the sliding window.
        fading: Factor applied to the weight of all earlier samples at every scored sample.

    Raises:
        ConfigurationError: If a setting is out of range.
    """

    task: ClassVar[Task]
    _arrays: ClassVar[tuple[str, ...]]  # attributes that are exported, by their names there

    def __init__(self, tracks: int, *, window: int = 1000, fading: float = 0.999) -> None:
        validate_windows(tracks, window, fading)
        self._tracks = int(tracks)
        self._window = int(window)
        self._fading = float(fading)
        self._places = np.zeros((tracks, 2), np.int64)
        self._ones = np.ones((tracks, 1), np.uint8)

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
    def scored(self, track: int) -> int:
        """Samples scored for a track since it was created or reset."""
        return int(self._places[range(self._tracks)[track], SEEN])

    @final
    def reset(self, track: int) -> None:
        """Forget all scores of a track, whose candidate was replaced."""
        self._reset(range(self._tracks)[track])

    @final
    def _all_ones(self, samples: int) -> NDArray[np.uint8]:
        """Flags (tracks, samples) that are all 1."""
        if self._ones.shape[1] != samples:
            self._ones = np.ones((self._tracks, samples), np.uint8)
        return self._ones

    @final
    def _export(self) -> dict[str, Any]:
        return {
            "tracks": self._tracks,
            "window": self._window,
            "fading": self._fading,
            **{name: getattr(self, f"_{name}").copy() for name in self._arrays},
        }

    @final
    def _restore(self, state: dict[str, Any]) -> None:
        for name in self._arrays:
            own = getattr(self, f"_{name}")
            if np.shape(state[name]) != own.shape:
                raise ModelFileError(f"evaluator: {name} has shape {np.shape(state[name])}")
            own[...] = state[name]
        if (self._places < 0).any() or (self._places[:, PLACE] >= self._window).any():
            raise ModelFileError(f"evaluator: places lie beyond the window of {self._window}")

    @abc.abstractmethod
    def _inputs(self, tracks: slice, horizon: Horizon) -> dict[str, Any]:
        """Collect what metrics are computed from, by the name of the input."""

    @abc.abstractmethod
    def _reset(self, k: int) -> None:
        """Forget all scores of track ``k``."""
