"""A slow, obvious encoder of one sample after the other, to compare the real one with."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from streamnet.samples import Kind

__all__ = ("NaiveEncoder", "scaled", "standard")

MARCH = (3, 1)


def standard(values: list[float], clip: float = 8.0) -> float:
    """The last of the values in standard units of all of them."""
    spread = float(np.std(values))
    if len(values) < 2 or len(set(values)) == 1 or spread <= 1e-13 * abs(np.mean(values)):
        return 0.0
    return float(np.clip((values[-1] - np.mean(values)) / spread, -clip, clip))


def scaled(scaling: str, values: list[float]) -> float:
    """The last of a few distinct values, scaled by all of them."""
    x, least, greatest = values[-1], min(values), max(values)
    if scaling == "none":
        return x
    if least == greatest:
        return 0.0
    if scaling == "standard":
        return standard(values)
    if scaling == "minmax":
        return 2 * (x - least) / (greatest - least) - 1
    if scaling == "rank":
        below = sum(v < x for v in values) + sum(v == x for v in values) / 2
        return 2 * below / len(values) - 1
    lower, middle, upper = (float(q) for q in np.quantile(values, [0.25, 0.5, 0.75]))
    unit = (upper - lower) / 1.3489795003921634
    if upper == lower:
        unit = math.sqrt(sum((v - middle) ** 2 for v in values) / len(values))
    return max(-8.0, min(8.0, (x - middle) / unit))


class NaiveEncoder:
    """Keeps every value it ever saw; no limits but that of numbers that act as categories."""

    def __init__(self, *, category_limit: int = 64) -> None:
        self.limit = category_limit
        self.past: dict[str, list[float]] = {}
        self.rows: dict[Any, int] = {}

    def encode(
        self, columns: dict[tuple[str, Kind], Any], sparse: dict[int, float] | None = None
    ) -> tuple[list[float], list[tuple[int, float]]]:
        """Dense inputs and active rows of one sample, a value by name and kind."""
        dense: list[float] = []
        keys: dict[Kind, list[Any]] = {kind: [] for kind in Kind}
        calendar: list[Any] = []
        for (name, kind), value in columns.items():
            if value is None or value != value:
                # The missing key of a time stands among those of the numbers.
                group = Kind.NUMBER if kind is Kind.TIME else kind
                keys[group].append((name, "missing"))
                dense += [0.0] * {Kind.NUMBER: 1, Kind.TIME: 7}.get(kind, 0)
            elif kind is Kind.CATEGORY:
                keys[kind].append((name, value))
            else:
                past = self.past.setdefault(name, [])
                past.append(value)
                dense.append(standard([v - past[0] for v in past] if kind is Kind.TIME else past))
                if kind is Kind.NUMBER:
                    keys[kind] += self.few(name, past)
                else:
                    angles, places = self.calendar(name, past)
                    dense += angles
                    calendar += places
        order = [*keys[Kind.NUMBER], *calendar, *keys[Kind.CATEGORY]]
        entries = [(self.rows.setdefault(key, len(self.rows)), 1.0) for key in order]
        for index, number in (sparse or {}).items():
            past = self.past.setdefault(f"index {index}", [])
            past.append(number)
            scaled = number / math.sqrt(sum(v * v for v in past) / len(past))
            row = self.rows.setdefault(index, len(self.rows))
            entries.append((row, max(-8.0, min(8.0, scaled))))
        return dense, entries

    def few(self, name: str, past: list[float]) -> list[Any]:
        """The key of the last value, as long as there are few, and of fractions each came often."""
        distinct = len(set(past))
        whole = all(v == int(v) and abs(v) < 2**31 for v in past)
        limit = self.limit if whole else min(self.limit, 12)
        few = 3 <= distinct <= limit
        if distinct > 64:
            few &= distinct <= 0.05 * (max(past) - min(past))
        if distinct > 64 or not whole:
            few &= len(past) >= 2 * distinct
        return [(name, past[-1])] if few else []

    def calendar(self, name: str, past: list[float]) -> tuple[list[float], list[Any]]:
        """Angles and keys of the last moment."""
        now = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=past[-1])
        of_day = (past[-1] % 86400.0) / 86400.0
        clock = any(v % 86400.0 != 0.0 for v in past)
        year = now.year - ((now.month, now.day) < MARCH)
        days = (now.date() - datetime(year, 3, 1, tzinfo=UTC).date()).days
        turns = [of_day, (now.weekday() + of_day) / 7, (days + of_day) / 366]
        angles = [f(2 * math.pi * turn) for turn in turns for f in (math.sin, math.cos)]
        keys = [(name, "weekday", now.weekday()), (name, "month", now.month)]
        if clock:
            return angles, [(name, "hour", int(of_day * 24 + 1e-9)), *keys]
        return [0.0, 0.0, *angles[2:]], keys
