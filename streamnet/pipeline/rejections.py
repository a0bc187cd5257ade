"""Rejected records: counted, kept as dead letters, and limited to a fraction of all records.

The limit applies at an exact record, however the stream is cut into blocks.
"""

from __future__ import annotations

import logging
import os
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, final

import msgspec
import numpy as np
from msgspec.structs import replace

from streamnet.durability.appended_file import AppendedFile
from streamnet.durability.files import DISK, FileSystem
from streamnet.errors import ConfigurationError, DataError, TooManyRejectedError
from streamnet.learning.serving import Served
from streamnet.pipeline.outputs import ResumableSink
from streamnet.samples import Block, DeadLetter


class _Excess(NamedTuple):
    """Counts of a block up to the record at which too many were rejected."""

    samples: int
    rejected: int
    recent: int  # rejected among the last `window` records


@final
class RejectionLimit:
    """Counts records and detects when too many of the last ones were rejected.

    Args:
        share: Maximum fraction of the last ``window`` records that may be rejected.
        window: Number of records; the limit applies once so many were read.
        kept: File of the rejected records, named in the error.

    Raises:
        ConfigurationError: If a value is out of range.

    >>> RejectionLimit(share=0.1, window=1000).share
    0.1
    """

    def __init__(self, *, share: float, window: int, kept: Path | None = None) -> None:
        _check_share(share)
        if window < 1:
            raise ConfigurationError(f"rejected_window is {window}, but must be >= 1")
        self.share: float = share
        self.window = window
        self._share = share  # from the next block on
        self._kept = kept
        self._read = 0
        self._recent: deque[int] = deque()  # numbers of the rejected among the last records
        self._last: DeadLetter | None = None

    def change(self, share: float) -> None:
        """Change the maximum fraction, from the next block on.

        Raises:
            ConfigurationError: If it is out of range.
        """
        _check_share(share)
        self._share = share

    def cut(self, block: Block, refused: Sequence[int] = ()) -> Block:
        """Cut a block at the record at which too many will have been rejected; counts nothing.

        Args:
            block: Samples, and records that are rejected already.
            refused: Rows of the samples that will be rejected as well, ascending.
        """
        self.share = self._share
        places = locate_rejected(block, refused)
        excess = self._excess(len(block) - len(refused), places, self._recent.copy())
        if excess is None:
            return block
        # The last record is a rejected one, or a sample if it fills the first window.
        records = excess.samples + excess.rejected
        own = [place + number for number, place in enumerate(_block_places(block))]
        rejected = bisect_left(own, records)
        return replace(block.part(0, records - rejected), rejected=block.rejected[:rejected])

    def count(
        self, block: Block, places: Sequence[int] | None = None
    ) -> TooManyRejectedError | None:
        """Count the records of a block; return an error if too many were rejected.

        Args:
            block: The final block.
            places: Number of samples before each rejected record, see `locate_rejected`; None is
                according to the block.
        """
        places = _block_places(block) if places is None else places
        excess = self._excess(len(block), places, self._recent)
        self._read += len(block) + len(block.rejected)
        if block.rejected:
            self._last = block.rejected[(excess.rejected if excess else 0) - 1]
        return None if excess is None else self._error(excess)

    def export_state(self) -> dict[str, Any]:
        """Everything needed to resume after the last counted block."""
        return {
            "read": self._read,
            "recent": np.array(self._recent, np.int64),
            "last": None if self._last is None else export_dead_letter(self._last),
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Resume from an exported state."""
        self._read = state["read"]
        self._recent = deque(state["recent"].tolist())
        self._last = None if state["last"] is None else restore_dead_letter(state["last"])

    def _excess(self, samples: int, places: Sequence[int], recent: deque[int]) -> _Excess | None:
        """Find the record; adds the block's rejected records to ``recent``."""
        most = self.share * self.window
        # The record of this block, counted from 1, with which the first window is full.
        full = self.window - self._read
        rejected = 0
        for place in places:
            record = place + rejected + 1
            if 0 < full < record and len(recent) > most:
                break
            rejected += 1
            recent.append(self._read + record)
            while recent[0] <= self._read + record - self.window:
                recent.popleft()
            if record >= full and len(recent) > most:
                return _Excess(place, rejected, len(recent))
        if 0 < full <= samples + rejected and len(recent) > most:
            return _Excess(full - rejected, rejected, len(recent))
        return None

    def _error(self, excess: _Excess) -> TooManyRejectedError:
        last = self._last
        assert last is not None
        kept = f"; they are in {self._kept}" if self._kept else ""
        return TooManyRejectedError(
            f"{last.place}: {excess.recent} of the last {self.window} records were "
            f"rejected, but at most {self.share:.0%} (max_rejected) may be{kept}. "
            f"The last one: {last.detail}"
        )


def locate_rejected(block: Block, refused: Sequence[int] = ()) -> Sequence[int]:
    """Number of samples before each rejected record of a block, once more are rejected.

    Args:
        block: Samples, and records that are rejected already.
        refused: Rows of the samples that will be rejected as well, ascending.

    >>> from streamnet.sources import Columns, RowReader
    >>> locate_rejected(RowReader(Columns()).read([{"x": i} for i in range(4)]), [1, 3])
    [1, 2]
    """
    own = _block_places(block)
    refused = [row for row in refused if row < len(block)]
    if not refused:
        return own
    # A record that was rejected in front of a sample comes before it.
    places = sorted([*((place, False) for place in own), *((row, True) for row in refused)])
    return [place - bisect_left(refused, place) for place, _ in places]


def _block_places(block: Block) -> list[int]:
    places: list[int] = block.places().tolist() if block.rejected else []
    return places


def _check_share(share: float) -> None:
    if not 0.0 <= share <= 1.0:
        raise ConfigurationError(f"max_rejected is {share}, but must be from 0 to 1")


def export_dead_letter(letter: DeadLetter) -> list[Any]:
    """A rejected record as plain values, in the order of its fields."""
    return [getattr(letter, name) for name in letter.__dataclass_fields__]


def restore_dead_letter(values: list[Any]) -> DeadLetter:
    """The rejected record that `export_dead_letter` returned."""
    return DeadLetter(*values)


logger: logging.Logger = logging.getLogger("streamnet.pipeline")

MAX_DEAD_LETTER_BYTES = 1 << 30


@final
class Rejections(ResumableSink):
    """A sink for rejected records, and the limit on their number.

    Args:
        path: Dead-letter file, JSON lines: source, offset, line, reason, detail, raw, and
            raw_base64 where it is not UTF-8, see `DeadLetter`. It is created at the first rejected
            record; that of a previous run is emptied at the start. None only counts.
        share: Maximum fraction of the last ``window`` records that may be rejected.
        window: Number of records; the limit applies once so many were read.
        most_bytes: Maximum size of the file; records beyond it are only counted.
        files: The file system.

    Raises:
        ConfigurationError: If a value is out of range, or the file can't be created.

    >>> Rejections(share=0.5).statistics()
    {'total': 0, 'reasons': {}, 'not_kept': 0}
    """

    name = "rejections"

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        share: float = 0.10,
        window: int = 1000,
        most_bytes: int = MAX_DEAD_LETTER_BYTES,
        files: FileSystem = DISK,
    ) -> None:
        if most_bytes < 0:
            raise ConfigurationError(f"most_bytes is {most_bytes}, but must be >= 0")
        self.path: Path | None = None if path is None else Path(path)
        self.limit: RejectionLimit = RejectionLimit(share=share, window=window, kept=self.path)
        self.total: int = 0
        self.reasons: Counter[str] = Counter()
        self.first: DeadLetter | None = None
        self.not_kept: int = 0  # records beyond the size limit of the file
        self._most_bytes = most_bytes
        self._bytes = 0  # of the file, including what is not written yet
        self._file: AppendedFile | None = None
        if self.path is not None:
            if files is DISK:  # of another file system the operating system knows nothing
                _check_writable(self.path)
            self._file = AppendedFile(self.path, "dead_letters", files=files)

    def begin(self) -> None:
        """Empty the file of a previous run; otherwise the first rejected record creates it.

        Raises:
            ConfigurationError: If that fails.
        """
        if self._file is not None and self._file.size():
            self._file.start()

    def __call__(self, served: Served) -> None:
        """Count and keep a block's rejected records.

        Raises:
            ConfigurationError: If the file can't be created.
            OutputError: If it can't be written, and too much waits already.
        """
        for letter in served.predicted.encoded.block.rejected:
            self.total += 1
            self.reasons[letter.reason] += 1
            self.first = self.first or letter
            self._write(letter)
        if self._file is not None and self._file.is_open:
            self._file.settle(at_once=True)

    def _write(self, letter: DeadLetter) -> None:
        if self._file is None:
            return
        values = dict(zip(letter.__dataclass_fields__, export_dead_letter(letter), strict=True))
        if letter.raw_base64 is None:
            del values["raw_base64"]
        line = msgspec.json.encode(values) + b"\n"
        # Once one does not fit, none is kept any more, so that what is kept has no gaps.
        if self.not_kept or self._bytes + len(line) > self._most_bytes:
            self._leave_out(letter)
            return
        if not self._file.is_open:
            self._file.start()
        self._file.text.write(line.decode())
        self._bytes += len(line)

    def _leave_out(self, letter: DeadLetter) -> None:
        if not self.not_kept:
            logger.warning(
                "%s has %s bytes, and may have %s: the record at %s of %s and those rejected after "
                "it are counted, not kept",
                self.path,
                f"{self._bytes:,}",
                f"{self._most_bytes:,}",
                f"line {letter.line}" if letter.line else f"offset {letter.offset}",
                letter.source,
            )
        self.not_kept += 1

    def nothing_learned_error(self) -> DataError:
        """The error of a source that was read to its end without a sample to learn."""
        first = self.first
        if first is None:
            return DataError("the source holds no samples")
        where = f"{first.source}, line {first.line}" if first.line else first.source
        return DataError(
            f"nothing could be learned: all {self.total} records were rejected. "
            f"The first one, {where}: {first.detail}"
        )

    @property
    def _name(self) -> str | None:
        return None if self.path is None else str(self.path)

    def export_state(self) -> dict[str, Any]:
        """Counts, and the length of the file."""
        file = self._file if self._file is not None and self._file.is_open else None
        return {
            "total": self.total,
            "reasons": dict(self.reasons),
            "first": None if self.first is None else export_dead_letter(self.first),
            "not_kept": self.not_kept,
            "most_bytes": self._most_bytes,
            "path": self._name,
            **({"length": None} if file is None else file.export_state()),
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Resume the counts and the file."""
        self.total = state["total"]
        self.reasons = Counter(state["reasons"])
        self.first = None if state["first"] is None else restore_dead_letter(state["first"])
        self.not_kept = state["not_kept"]
        if state["length"] is None:
            if self._file is not None and state["path"] != self._name:
                self._file.check_empty()
            self.begin()  # records that were rejected after the checkpoint will be again
        elif self._file is not None:
            self._file.restore_state(state)
            self._bytes = state["length"]

    def sync(self) -> None:
        """Sync to disk what was flushed."""
        if self._file is not None:
            self._file.sync()

    def close(self) -> None:
        """Flush and close the file.

        Raises:
            OutputError: If something can't be written.
        """
        if self._file is not None:
            self._file.close()

    def statistics(self) -> dict[str, Any]:
        """How many records were rejected, by reason."""
        reasons = dict(sorted(self.reasons.items()))
        return {"total": self.total, "reasons": reasons, "not_kept": self.not_kept}


def _check_writable(path: Path) -> None:
    """Find out before hours of learning, not at the first rejected record."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ConfigurationError(f"dead_letters is {str(path)!r}, but its folder does not exist")
    if path.is_dir():
        raise ConfigurationError(f"dead_letters is {str(path)!r}, but that is a folder")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise ConfigurationError(f"dead_letters is {str(path)!r}, but may not be written")
