"""When how many samples had been scored, with their errors: finely of late, coarsely before."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from time import time
from typing import final

import msgspec

from streamnet.durability.files import DISK, FileSystem, write_durably

_LOG = logging.getLogger("streamnet.daemon")
# Seconds between points, and how far back they reach.
_LEVELS = ((15, 4_500), (300, 90_000), (3_600, 650_000), (86_400, 63_072_000))
_SAVE_SECONDS = 300.0
Row = tuple[float, int, list[float]]  # time since 1970, scored samples, sums of errors up to it


@final
class Timeline:
    """Sums of errors by the clock: every 15 s of the last hour, hourly for a week, daily for years.

    It is not part of checkpoints, whose bits must not depend on the clock, but of a file beside
    them, which is written every five minutes. Points beyond what is scored, as after a crash or a
    reset, are dropped.

    >>> clock = iter([0.0, 0.0, 20.0, 25.0]).__next__
    >>> timeline = Timeline(clock=clock)
    >>> for scored in (100, 200, 300):
    ...     timeline.record(scored, lambda: [0.25 * scored])
    >>> timeline.rows()
    [(0.0, 100, [25.0]), (20.0, 200, [50.0])]
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        files: FileSystem = DISK,
        clock: Callable[[], float] = time,
    ) -> None:
        self._path, self._files, self._clock = path, files, clock
        self._levels: list[deque[Row]] = [deque() for _ in _LEVELS]
        self._saved = clock()
        if path is not None:
            self._load(path)

    def _load(self, path: Path) -> None:
        """Continue what the file holds; without it, or if it is damaged, start anew."""
        try:
            rows = msgspec.json.decode(path.read_bytes(), type=list[list[Row]])
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError) as error:
            _LOG.warning("%s can't be read, and starts anew: %s", path, error)
            return
        for level, kept in zip(self._levels, rows, strict=False):
            level.extend(kept)

    def record(self, scored: int, sums: Callable[[], Iterable[float]]) -> None:
        """Add a point if one is due; the sums must be of at least these samples."""
        now = self._clock()
        for level in self._levels:
            while level and (level[-1][1] > scored or level[-1][0] > now):
                level.pop()
        if not scored or not self._is_due(now, scored):
            return
        row = (now, scored, [float(value) for value in sums()])
        for (step, reach), level in zip(_LEVELS, self._levels, strict=True):
            if not level or now - level[-1][0] >= step:
                level.append(row)
            while now - level[0][0] > reach:
                level.popleft()

    def _is_due(self, now: float, scored: int) -> bool:
        finest = self._levels[0]
        step = _LEVELS[0][0]
        return not finest or (now - finest[-1][0] >= step and scored > finest[-1][1])

    def rows(self) -> list[Row]:
        """All points in order, each finer level in place of the coarser ones that it covers."""
        found: list[Row] = []
        for level in reversed(self._levels):
            rows = list(level)
            if rows:
                found = found[: bisect_right(found, rows[0][0], key=lambda row: row[0])]
                found += [row for row in rows if not found or row[1] > found[-1][1]]
        return found

    @property
    def is_unsaved(self) -> bool:
        """Whether it is time to write the file."""
        return self._clock() - self._saved >= _SAVE_SECONDS

    def save(self) -> None:
        """Write the file, unless there is nothing to keep."""
        now = self._clock()
        if self._path is None or not self._levels[0]:
            return
        self._saved = now
        try:
            data = msgspec.json.encode([list(level) for level in self._levels])
            write_durably(self._path, data, files=self._files)
        except OSError as error:  # scores over time are no reason to stop learning
            _LOG.warning("%s can't be written: %s", self._path, error.strerror)
