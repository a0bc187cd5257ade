"""Time columns: cyclic encodings of the time of day, the day of the week and the time of year."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from streamnet.features.base import FieldSlot, InputArrays, Transformer
from streamnet.features.columns.number import (
    destandardize,
    freeze_standardized,
    reconstruct_numbers,
)
from streamnet.features.frozen import FrozenCalendar, FrozenNumber, KnownRows
from streamnet.features.statistics import NumberStatistics, restore_array
from streamnet.jit import jit
from streamnet.samples import TIMES, Block
from streamnet.settings.encoder import EncoderSettings

CALENDAR_DENSE = 6  # sine and cosine of the time of day, the day of the week and the time of year
CALENDAR_KEYS = 3  # hour, weekday, month

# Columns of a plan of time fields: which column of a block goes where.
SOURCE, CLOCK, DENSE, KEY, BASE = range(5)

# Codes of a time field's keys: 1 to 24, 32 to 38 and 65 to 76.
HOUR, WEEKDAY, MONTH = 1, 32, 64

DAY = 86_400.0
MAX_SECONDS = 1e12  # seconds, some 30,000 years; later times are clipped
FIRST_MARCH = 719_468  # days from 0000-03-01 to 1970-01-01
ERA = 146_097  # days in 400 years


@jit
def _march_day(day: int) -> int:
    """Days since the last 1 March, so that a leap day is the last; ``day`` counts from 1970."""
    of_era = (day + FIRST_MARCH) % ERA
    year = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    return of_era - (365 * year + year // 4 - year // 100)


@jit
def _month(march_day: int) -> int:
    """Month (1 to 12) of a day counted from 1 March."""
    return ((5 * march_day + 2) // 153 + 2) % 12 + 1


@jit
def encode_calendar(
    values: NDArray[np.float64],
    plan: NDArray[np.int64],
    clocks: NDArray[np.int64],
    learn: bool,
    dense: NDArray[np.floating],
    keys: NDArray[np.int64],
) -> None:
    """Write each time's sines and cosines to ``dense`` and its rows' keys to ``keys``.

    Times are seconds since 1970 in UTC. ``clocks`` marks fields that ever had a time of day; others
    have neither an hour nor inputs for it. A missing time has zeros and no keys.
    """
    turn = 2.0 * np.pi
    for i in range(values.shape[0]):
        for c in range(plan.shape[0]):
            first = plan[c, DENSE]
            key = plan[c, KEY]
            base = plan[c, BASE]
            dense[i, first : first + CALENDAR_DENSE] = 0.0
            keys[i, key : key + CALENDAR_KEYS] = -1
            t = values[i, plan[c, SOURCE]] if plan[c, SOURCE] >= 0 else np.nan
            if not abs(t) < np.inf:
                continue
            t = min(max(t, -MAX_SECONDS), MAX_SECONDS)
            day = int(np.floor(t / DAY))
            of_day = t - day * DAY
            if of_day != 0.0 and learn:
                clocks[plan[c, CLOCK]] = 1
            weekday = (day + 3) % 7
            march_day = _march_day(day)
            in_day = of_day / DAY
            if clocks[plan[c, CLOCK]] == 1:
                dense[i, first] = np.sin(turn * in_day)
                dense[i, first + 1] = np.cos(turn * in_day)
                keys[i, key] = base + HOUR + min(int(of_day / 3600.0), 23)
            dense[i, first + 2] = np.sin(turn * (weekday + in_day) / 7.0)
            dense[i, first + 3] = np.cos(turn * (weekday + in_day) / 7.0)
            dense[i, first + 4] = np.sin(turn * (march_day + in_day) / 366.0)
            dense[i, first + 5] = np.cos(turn * (march_day + in_day) / 366.0)
            keys[i, key + 1] = base + WEEKDAY + weekday
            keys[i, key + 2] = base + MONTH + _month(march_day)


@final
class TimeColumns(Transformer, kinds=sorted(TIMES)):
    """Encodes times as standardized numbers, cyclic inputs, and rows of hour, weekday and month."""

    dense_inputs = 1 + CALENDAR_DENSE
    standardized = 1

    def __init__(self, settings: EncoderSettings, statistics: NumberStatistics) -> None:
        super().__init__(settings, statistics)
        self._clocks = np.zeros(0, np.int64)  # by column: 1 once it had a time of day
        self._plan = np.empty((0, 5), np.int64)

    def append(self, slot: FieldSlot) -> None:
        """Add a time column."""
        self.statistics.append(category=False, origin=np.nan)
        self._clocks = np.append(self._clocks, 0)

    def plan(self, slots: Sequence[FieldSlot], sources: Mapping[str, int], first_key: int) -> int:
        """Plan three key columns for each column."""
        own = [slot for slot in slots if slot.field.kind in self.kinds]
        rows = [
            (
                sources.get(slot.field.name, -1),
                slot.nth,
                slot.dense + 1,
                first_key + i * CALENDAR_KEYS,
                slot.base,
            )
            for i, slot in enumerate(own)
        ]
        self._plan = np.array(rows, np.int64).reshape(-1, 5)
        return CALENDAR_KEYS * len(rows)

    def transform(self, block: Block, arrays: InputArrays, learn: bool) -> int:
        """Write cyclic inputs and calendar keys; `NumberColumns` writes the standardized times."""
        encode_calendar(arrays.numbers, self._plan, self._clocks, learn, arrays.dense, arrays.keys)
        return len(block)

    def export_state(self) -> dict[str, Any]:
        """Export which columns ever had a time of day."""
        return {"clocks": self._clocks.copy()}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Restore which columns ever had a time of day."""
        misfit = "the encoder's clocks do not fit its time fields"
        self._clocks = restore_array(state["clocks"], np.int64, self._clocks.shape, misfit)

    def freeze(self, slot: FieldSlot, rows: KnownRows) -> FrozenNumber:
        """Return scale, cyclic inputs and rows of a column."""
        base = slot.base
        calendar = FrozenCalendar(
            bool(self._clocks[slot.nth]),
            tuple(rows.find(base + HOUR + i) for i in range(24)),
            tuple(rows.find(base + WEEKDAY + i) for i in range(7)),
            tuple(rows.find(base + MONTH + i) for i in range(1, 13)),
        )
        return replace(freeze_standardized(self.statistics, slot, rows), calendar=calendar)

    def decode_dense(self, slot: FieldSlot, dense: NDArray[Any]) -> NDArray[np.float64]:
        """Times in seconds; NaN if none was ever learned."""
        return destandardize(self.statistics, slot, dense[:, 0].astype(np.float64))

    def reconstruct(
        self,
        slot: FieldSlot,
        dense: NDArray[Any],
        active: NDArray[np.floating],
        codes: NDArray[np.int64],
    ) -> list[float | None]:
        """Times in seconds; None for those that are more likely missing."""
        return reconstruct_numbers(self.decode_dense(slot, dense), active, codes)
