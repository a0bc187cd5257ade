"""The known targets of a stream, and what they alone say about the next ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ModelFileError
from streamnet.features.forecasts.correction import CORRECTIONS, start_corrections, write_errors
from streamnet.features.forecasts.correction import FORGETTING as CORRECTION_FORGETTING
from streamnet.features.forecasts.regression import (
    FEATURES,
    FORGETTING,
    LEVELS,
    learn_change,
    look_up,
    predict_change,
    start_regressions,
    update_levels,
    write_features,
)
from streamnet.features.forecasts.seasonality import find_season
from streamnet.features.statistics import MAX_MAGNITUDE
from streamnet.jit import exact
from streamnet.settings.learning import MAX_SEASON

HISTORY = 8192  # targets kept
FIRST_SEARCH = 24  # known targets at the first search for a season
OFTEN = 64  # known targets up to which it is searched at each one

# Places in the counters: number of the latest known target, targets so far, their number at the
# next search, season, long season, and number of the target that the next sample predicts.
LATEST, KNOWN, NEXT_SEARCH, SEASON, LONG_SEASON, NEXT_INDEX = range(6)
COUNTERS = 6

NO_CHANGE, SEASONAL, SEASONAL_CHANGE, LINEAR, LOG_LINEAR, CORRECTED, LOG_CORRECTED = range(7)
FORECASTS = 7
CLASS_FORECASTS = 2
NUMBER_LAGS = 6
CLASS_LAGS = 3
# Targets themselves, their logarithms, and errors of the linear forecasts of both.
PLAIN, LOG, FIRST_ERROR = range(3)
RINGS = 4
MAX_DEVIATIONS = 10.0  # standard deviations from the mean, to which forecasts are clipped

# What is kept of a sample until its target is known: forecasts; base, scale, predicted change and
# features of each regression, whose base is NaN if nothing was predicted; features of corrections.
BASE, SCALE, CHANGE, FIRST_FEATURE = range(4)
FIRST_CORRECTION = FIRST_FEATURE + FEATURES
PART = FIRST_CORRECTION + CORRECTIONS
MEMORY = FORECASTS + 2 * PART

NO_NUMBERS = np.empty(0)
NO_ROWS = np.empty(0, np.int64)
NO_FLAGS = np.empty(0, np.bool_)
NO_FORECASTS = np.empty((0, 0))


class TargetRows(NamedTuple):
    """Which targets the rows of a block are about; all arrays are empty or have shape=(n,)."""

    target: NDArray[np.int64]  # number of the sample whose target is predicted or arrives
    late: NDArray[np.bool_] = NO_FLAGS  # rows of arriving targets; empty: none arrives late
    origin: NDArray[np.int64] = NO_ROWS  # row of ``memory`` with what is kept of the row's sample
    number: NDArray[np.int64] = NO_ROWS  # this and the next: targets known before the row
    own: NDArray[np.float64] = NO_NUMBERS
    memory: NDArray[np.float64] = NO_FORECASTS  # see `TargetHistory.prepare`


class Forecasts(NamedTuple):
    """What the known targets say about each row."""

    lags: NDArray[np.float64]  # shape=(n, lags), NaN for unknown ones
    numbers: NDArray[np.float64]  # shape=(n, FORECASTS), or (n, 2) of classes; NaN for none


@exact
def insert(past: NDArray[np.float64], counters: NDArray[np.int64], index: int, y: float) -> bool:
    """Keep a target; False if it was known already or is too old."""
    latest = counters[LATEST]
    if index <= latest - past.shape[1]:
        return False
    place = index % past.shape[1]
    if index <= latest:
        if np.isfinite(past[PLAIN, place]):
            return False
    else:
        for skipped in range(max(latest + 1, index - past.shape[1] + 1), index):
            past[:, skipped % past.shape[1]] = np.nan
        counters[LATEST] = index
    y = min(max(y, -MAX_MAGNITUDE), MAX_MAGNITUDE)
    past[PLAIN, place] = y
    past[LOG, place] = math.copysign(math.log1p(abs(y)), y)
    past[FIRST_ERROR:, place] = np.nan
    counters[KNOWN] += 1
    return True


@exact
def search_season(
    past: NDArray[np.float64], counters: NDArray[np.int64], given: int, numeric: bool
) -> None:
    """Search the season if enough targets came since the last time."""
    if counters[KNOWN] < counters[NEXT_SEARCH]:
        return
    away = counters[KNOWN] // 2 if counters[KNOWN] > OFTEN else 1
    counters[NEXT_SEARCH] = counters[KNOWN] + min(away, HISTORY)
    size = past.shape[1]
    latest = counters[LATEST]
    series = np.empty(min(latest + 1, size))
    for i in range(series.size):
        series[i] = past[PLAIN, (latest - series.size + 1 + i) % size]
    season, long = find_season(series, given, MAX_SEASON, numeric)
    counters[SEASON] = season
    counters[LONG_SEASON] = long


@exact
def insert_number(
    past: NDArray[np.float64],
    counters: NDArray[np.int64],
    levels: NDArray[np.float64],
    given: int,
    index: int,
    y: float,
) -> None:
    """Keep a target that is a number, unless it was known already or is too old."""
    if not insert(past, counters, index, y):
        return
    for m in range(2):
        z = past[m, index % past.shape[1]]
        update_levels(levels[m], counters[SEASON], counters[LONG_SEASON], z)
    search_season(past, counters, given, True)


@exact
def distance(steps: int, season: int) -> int:
    """The smallest multiple of a season that is at least ``steps``."""
    return (steps + season - 1) // season * season


@exact
def clip_near(y: float, center: float, spread: float) -> float:
    """Clip a forecast to 10 standard deviations from the mean."""
    reach = MAX_DEVIATIONS * spread
    return min(max(y, center - reach), center + reach)


@exact
def forecast_numbers(
    target: NDArray[np.float64],
    center: NDArray[np.float64],  # shape=(2, n), of the targets before each row
    spread: NDArray[np.float64],  # shape=(2, n)
    index: NDArray[np.int64],
    late: NDArray[np.bool_],
    origin: NDArray[np.int64],
    number: NDArray[np.int64],
    own: NDArray[np.float64],
    memory: NDArray[np.float64],
    given: int,
    past: NDArray[np.float64],
    counters: NDArray[np.int64],
    levels: NDArray[np.float64],
    weights: NDArray[np.float64],
    covariances: NDArray[np.float64],
    errors: NDArray[np.float64],
    correction_weights: NDArray[np.float64],
    correction_covariances: NDArray[np.float64],
    correction_errors: NDArray[np.float64],
    lags: NDArray[np.float64],
    numbers: NDArray[np.float64],
    learns: bool,
) -> None:
    """Write lags and forecasts of each row, and learn the targets in order."""
    size = past.shape[1]
    both = weights, correction_weights
    missed = np.empty(2)  # errors of the linear forecasts
    for i in range(index.size):
        arrives = late.size > 0 and late[i]
        if not arrives:
            if own.size > 0 and np.isfinite(own[i]):
                insert_number(past, counters, levels, given, number[i], own[i])
            kept = memory[i % memory.shape[0]]
            forecast_one(i, index[i], center, spread, past, counters, levels, both, kept, lags)
        else:
            kept = memory[origin[i] if origin.size > 0 else i]
        for f in range(FORECASTS):
            numbers[i, f] = kept[f]
        if not learns or not np.isfinite(target[i]):
            continue
        y = min(max(target[i], -MAX_MAGNITUDE), MAX_MAGNITUDE)
        for m in range(2):
            missed[m] = np.nan
            part = kept[FORECASTS + m * PART : FORECASTS + (m + 1) * PART]
            if not np.isfinite(part[BASE]):
                continue
            goal = y if m == PLAIN else math.copysign(math.log1p(abs(y)), y)
            change = (goal - part[BASE]) / part[SCALE]
            missed[m] = change - part[CHANGE]
            features = part[FIRST_FEATURE:FIRST_CORRECTION]
            error = change - predict_change(features, weights[m])
            learn_change(error, features, weights[m], covariances[m], errors[m], FORGETTING)
            features = part[FIRST_CORRECTION:]
            learn_change(
                missed[m] - predict_change(features, correction_weights[m]),
                features,
                correction_weights[m],
                correction_covariances[m],
                correction_errors[m],
                CORRECTION_FORGETTING,
            )
        insert_number(past, counters, levels, given, index[i], y)
        if index[i] > counters[LATEST] - size:
            for m in range(2):
                past[FIRST_ERROR + m, index[i] % size] = missed[m]


@exact
def forecast_one(
    i: int,
    index: int,
    center: NDArray[np.float64],
    spread: NDArray[np.float64],
    past: NDArray[np.float64],
    counters: NDArray[np.int64],
    levels: NDArray[np.float64],
    weights: tuple[NDArray[np.float64], NDArray[np.float64]],  # of regressions, and corrections
    kept: NDArray[np.float64],  # see `MEMORY`, written
    lags: NDArray[np.float64],
) -> None:
    """Write the forecasts of one row, and what is needed to learn from its target."""
    kept[:] = np.nan
    lags[i] = np.nan
    latest, season, long = counters[LATEST], counters[SEASON], counters[LONG_SEASON]
    if latest < 0 or index <= latest:
        return
    steps = index - latest
    for m in range(2):
        part = kept[FORECASTS + m * PART : FORECASTS + (m + 1) * PART]
        base, scale = look_up(past[m], latest, latest), spread[m, i]
        features, known = part[FIRST_FEATURE:FIRST_CORRECTION], past[m]
        mean = (center[m, i] - base) / scale
        write_features(known, index, latest, season, long, mean, scale, levels[m], features)
        corrections, errors = part[FIRST_CORRECTION:], past[FIRST_ERROR + m]
        write_errors(errors, index, latest, season, long, features, corrections)
        change = predict_change(features, weights[0][m])
        part[BASE], part[SCALE], part[CHANGE] = base, scale, change
        corrected = change + predict_change(corrections, weights[1][m])
        for f, predicted in ((LINEAR + m, change), (CORRECTED + m, corrected)):
            y = clip_near(base + scale * predicted, center[m, i], spread[m, i])
            if m == LOG:
                y = clip_near(math.copysign(math.expm1(abs(y)), y), center[0, i], spread[0, i])
            kept[f] = y
    now = look_up(past[PLAIN], latest, latest)
    kept[NO_CHANGE] = now
    kept[SEASONAL] = now
    kept[SEASONAL_CHANGE] = now
    if season > 0:
        away = distance(steps, season)
        before = look_up(past[PLAIN], index - away, latest)
        if np.isfinite(before):
            kept[SEASONAL] = before
            then = look_up(past[PLAIN], latest - away, latest)
            kept[SEASONAL_CHANGE] = now + before - then if np.isfinite(then) else before
        lags[i, 0] = before
        lags[i, 1] = look_up(past[PLAIN], index - away - season, latest)
        if long > 0:
            lags[i, 2] = look_up(past[PLAIN], index - distance(steps, long), latest)
    lags[i, 3] = kept[SEASONAL_CHANGE]
    lags[i, 4] = kept[LINEAR]
    lags[i, 5] = kept[LOG_LINEAR]


@exact
def forecast_classes(
    label: NDArray[np.int32],
    index: NDArray[np.int64],
    late: NDArray[np.bool_],
    origin: NDArray[np.int64],
    number: NDArray[np.int64],
    own: NDArray[np.float64],
    memory: NDArray[np.float64],
    given: int,
    past: NDArray[np.float64],
    counters: NDArray[np.int64],
    lags: NDArray[np.float64],
    numbers: NDArray[np.float64],
    learns: bool,
) -> None:
    """Write lags and forecasts of each row, and keep the classes in order."""
    for i in range(index.size):
        arrives = late.size > 0 and late[i]
        if not arrives:
            if own.size > 0 and own[i] >= 0 and insert(past, counters, number[i], own[i]):
                search_season(past, counters, given, False)
            forecast_class(i, index[i], past, counters, memory, lags)
        source = origin[i] if arrives and origin.size > 0 else i
        for f in range(CLASS_FORECASTS):
            numbers[i, f] = memory[source, f]
        if learns and label[i] >= 0 and insert(past, counters, index[i], np.float64(label[i])):
            search_season(past, counters, given, False)


@exact
def forecast_class(
    i: int,
    index: int,
    past: NDArray[np.float64],
    counters: NDArray[np.int64],
    memory: NDArray[np.float64],
    lags: NDArray[np.float64],
) -> None:
    """Write the forecasts of one row."""
    memory[i] = np.nan
    lags[i] = np.nan
    latest, season, long = counters[LATEST], counters[SEASON], counters[LONG_SEASON]
    if latest < 0 or index <= latest:
        return
    memory[i, NO_CHANGE] = memory[i, SEASONAL] = look_up(past[PLAIN], latest, latest)
    if season == 0:
        return
    away = distance(index - latest, season)
    lags[i, 0] = look_up(past[PLAIN], index - away, latest)
    lags[i, 1] = look_up(past[PLAIN], index - away - season, latest)
    if np.isfinite(lags[i, 0]):
        memory[i, SEASONAL] = lags[i, 0]
    if long > 0:
        lags[i, 2] = look_up(past[PLAIN], index - distance(index - latest, long), latest)


def forget_targets(state: Mapping[str, Any]) -> dict[str, Any]:
    """An exported state without the targets: another stream has its own, see `inherit`."""
    counters = np.array(state["counters"])
    counters[LATEST], counters[NEXT_INDEX] = -1, 0
    levels = np.zeros_like(state["levels"])
    return {**state, "past": np.empty((RINGS, 0)), "counters": counters, "levels": levels}


@final
class TargetHistory:
    """Keeps the last known targets by number, and forecasts the next ones from them.

    Forecasts of numbers are the last known target; that of a season ago, at the nearest multiple
    of the season that is known; the last one, changed as much as a season ago; two linear
    regressions, of targets and of their logarithms; and both of these, corrected by what their last
    errors say. Of classes they are the first two.

    Args:
        season: Steps of the season; 0 to find it from the autocorrelation of the known targets,
            which is done again each time their number has grown by half, and at the latest after
            8,192.
        numeric: Whether targets are numbers, or numbers of classes.

    >>> history = TargetHistory(season=3, numeric=False)
    >>> rows = TargetRows(np.arange(6))
    >>> history.classes(np.array([1, 0, 2, 1, 0, 2], np.int32), rows).numbers[:, 1].tolist()
    [nan, 1.0, 0.0, 1.0, 0.0, 2.0]
    """

    def __init__(self, *, season: int, numeric: bool) -> None:
        self._given, self._numeric = season, numeric
        self._past = np.full((RINGS, HISTORY), np.nan)
        self._counters = np.zeros(COUNTERS, np.int64)
        self._counters[LATEST] = -1
        self._counters[NEXT_SEARCH] = FIRST_SEARCH
        self._counters[SEASON] = season
        self._levels = np.zeros((2, LEVELS + 1))
        self._regressions = start_regressions()
        self._corrections = start_corrections()

    @property
    def season(self) -> int:
        """Steps of the season, 0 for none."""
        return int(self._counters[SEASON])

    @property
    def lags(self) -> int:
        """Number of lags."""
        return NUMBER_LAGS if self._numeric else CLASS_LAGS

    @property
    def forecasts(self) -> int:
        """Number of forecasts."""
        return FORECASTS if self._numeric else CLASS_FORECASTS

    def prepare(self, rows: int) -> NDArray[np.float64]:
        """Make room for what is kept of samples until their targets are known."""
        return np.full((rows, MEMORY if self._numeric else CLASS_FORECASTS), np.nan)

    def next_rows(self, n: int) -> TargetRows:
        """The next rows of a stream in which each sample is followed by its target."""
        first = int(self._counters[NEXT_INDEX])
        self._counters[NEXT_INDEX] += n
        return TargetRows(np.arange(first, first + n))

    def merge_classes(self, number: int, into: int) -> None:
        """Take earlier targets of a class for those of another."""
        own = self._past[PLAIN] == number
        self._past[PLAIN, own] = into
        self._past[LOG, own] = math.log1p(into)

    def expect(self, index: int) -> None:
        """Set the number of the target that the next sample predicts."""
        self._counters[NEXT_INDEX] = index

    def classes(
        self, label: NDArray[np.int32], rows: TargetRows, *, learns: bool = True
    ) -> Forecasts:
        """Forecast classes in order, learning each target after its row; -1 stands for none."""
        forecasts, rows = self._empty(rows)
        forecast_classes(label, *rows, self._given, self._past, self._counters, *forecasts, learns)
        return forecasts

    def numbers(
        self,
        target: NDArray[np.float64],
        center: NDArray[np.float64],
        spread: NDArray[np.float64],
        rows: TargetRows,
        *,
        learns: bool = True,
    ) -> Forecasts:
        """Forecast numbers in order, learning each target after its row; NaN stands for none.

        Args:
            target: shape=(n,).
            center: Means of targets and of their logarithms before each row, shape=(2, n).
            spread: Their standard deviations, shape=(2, n).
            rows: What the rows are.
            learns: Whether the targets are learned.
        """
        forecasts, rows = self._empty(rows)
        forecast_numbers(
            target,
            center,
            spread,
            *rows,
            self._given,
            self._past,
            self._counters,
            self._levels,
            *self._regressions,
            *self._corrections,
            *forecasts,
            learns,
        )
        return forecasts

    def build_next(self, scale: tuple[NDArray[np.float64], NDArray[np.float64]]) -> Forecasts:
        """Forecast the target of the next sample, learning nothing.

        Args:
            scale: Mean and standard deviation of the targets and of their logarithms, shape=(2, 1);
                not used for classes.
        """
        rows = TargetRows(self._counters[NEXT_INDEX:].copy())
        if self._numeric:
            return self.numbers(np.full(1, np.nan), *scale, rows, learns=False)
        return self.classes(np.full(1, -1, np.int32), rows, learns=False)

    def _empty(self, rows: TargetRows) -> tuple[Forecasts, TargetRows]:
        n = len(rows.target)
        if not rows.memory.size:
            # Where each number's row is followed by its target, the next row overwrites it.
            once = self._numeric and not rows.late.size
            rows = rows._replace(memory=self.prepare(1 if once else n))
        return Forecasts(np.full((n, self.lags), np.nan), np.empty((n, self.forecasts))), rows

    def inherit(self) -> None:
        """Prepare for another stream: what was learned stays, but no target is known."""
        self.restore_state(forget_targets(self.export_state()))

    def export_state(self) -> dict[str, NDArray[Any]]:
        """Export copies of all arrays."""
        past = self._past[:, : int(self._counters[LATEST]) + 1].copy()
        return {"past": past, **{name: own.copy() for name, own in self._arrays().items()}}

    def _arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays whose shape never changes, by name."""
        names = "weights", "covariances", "errors"
        return {
            "counters": self._counters,
            "levels": self._levels,
            **dict(zip(names, self._regressions, strict=True)),
            **{
                f"correction_{name}": array
                for name, array in zip(names, self._corrections, strict=True)
            },
        }

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Restore exported arrays.

        Raises:
            ModelFileError: If they do not fit.
        """
        past = np.array(state["past"], np.float64)
        self._past[:] = np.nan
        self._past[:, : past.shape[1]] = past
        for name, own in self._arrays().items():
            given = np.array(state[name], own.dtype)
            if given.shape != own.shape or not np.isfinite(given).all():
                raise ModelFileError(f"the encoder's target history: {name} is damaged")
            own[...] = given
        if not (self._counters[LATEST] >= -1 and 0 <= self._counters[LONG_SEASON] <= HISTORY):
            raise ModelFileError("the encoder's target history: counters are damaged")
