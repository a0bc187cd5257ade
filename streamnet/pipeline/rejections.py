"""Rejections: counts rejected records, keeps them as dead letters, and limits their share.

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

__all__ = (
    "MAX_DEAD_LETTER_BYTES",
    "RejectionLimit",
    "Rejections",
    "export_dead_letter",
    "locate_rejected",
    "restore_dead_letter",
)


class _Excess(NamedTuple):
    """What a block holds up to the record at which too many were rejected."""

    samples: int
    rejected: int
    recent: int  # rejected among the last `window` records


@final
class RejectionLimit:
    """Counts records, and tells when more than a share of the last ones were rejected.

    Args:
        share: Share of the last ``window`` records that may be rejected.
        window: See ``share``; nothing is told before so many records were read.
        kept: File that holds the rejected records, to be named in the error.

    Raises:
        ConfigurationError: If a value breaks its rule.

    >>> RejectionLimit(share=0.1, window=1000).share
    0.1
    """

    def __init__(self, *, share: float, window: int, kept: Path | None = None) -> None:
        _check_share(share)
        if window < 1:
            raise ConfigurationError(f"rejected_window is {window}, but must be >= 1")
        self.share = share
        self.window = window
        self._share = share  # from the next block on
        self._kept = kept
        self._read = 0
        self._recent: deque[int] = deque()  # numbers of the rejected among the last records
        self._last: DeadLetter | None = None

    def change(self, share: float) -> None:
        """Allow another share from the next block on.

        Raises:
            ConfigurationError: If it breaks its rule.
        """
        _check_share(share)
        self._share = share

    def cut(self, block: Block, refused: Sequence[int] = ()) -> Block:
        """The block, up to the record at which too many will have been rejected; counts nothing.

        Args:
            block: Samples, and what was rejected by now.
            refused: The rows of the samples that will be rejected as well, ascending.
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
        """Take a block's records in; the error if too many were rejected.

        Args:
            block: All that was made of the records.
            places: How many of its samples come before each rejected one, if that is known better
                than the block tells, see `locate_rejected`.
        """
        places = _block_places(block) if places is None else places
        excess = self._excess(len(block), places, self._recent)
        self._read += len(block) + len(block.rejected)
        if block.rejected:
            self._last = block.rejected[(excess.rejected if excess else 0) - 1]
        return None if excess is None else self._error(excess)

    def export_state(self) -> dict[str, Any]:
        """What is needed to go on after the last block that was counted."""
        return {
            "read": self._read,
            "recent": np.array(self._recent, np.int64),
            "last": None if self._last is None else export_dead_letter(self._last),
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Go on as the limit did whose state this is."""
        self._read = state["read"]
        self._recent = deque(state["recent"].tolist())
        self._last = None if state["last"] is None else restore_dead_letter(state["last"])

    def _excess(self, samples: int, places: Sequence[int], recent: deque[int]) -> _Excess | None:
        """Find the record, adding the block's rejected ones to ``recent`` on the way."""
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
    """How many samples come before each rejected record of a block, once more were rejected.

    Args:
        block: Samples, and what was rejected by now.
        refused: The rows of the samples that will be rejected as well, ascending.

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
    """The rejected record that `export_dead_letter` took apart."""
    return DeadLetter(*values)


logger = logging.getLogger("streamnet.pipeline")

MAX_DEAD_LETTER_BYTES = 1 << 30


@final
class Rejections(ResumableSink):
    """A sink for rejected records, and the limit of how many there may be.

    Args:
        path: Dead-letter file, JSON lines: source, offset, line, reason, detail, raw, and where it
            is not UTF-8 raw_base64, see `DeadLetter`. It is made at the first rejected record; one
            that an earlier run left is emptied at the start. None keeps nothing but counts.
        share: Share of the last ``window`` records that may be rejected.
        window: See ``share``; a run is not ended before so many records were read.
        most_bytes: Size that the file may grow to; records beyond it are counted alone.
        files: The file system.

    Raises:
        ConfigurationError: If a value breaks its rule, or the file could not be made.

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
        self.path = None if path is None else Path(path)
        self.limit = RejectionLimit(share=share, window=window, kept=self.path)
        self.total = 0
        self.reasons: Counter[str] = Counter()
        self.first: DeadLetter | None = None
        self.not_kept = 0  # records for which the file had no room
        self._most_bytes = most_bytes
        self._bytes = 0  # of the file, and of what waits to be written to it
        self._file: AppendedFile | None = None
        if self.path is not None:
            if files is DISK:  # of another file system the operating system knows nothing
                _check_writable(self.path)
            self._file = AppendedFile(self.path, "dead_letters", files=files)

    def begin(self) -> None:
        """Empty what an earlier run left; otherwise the first rejected record makes the file.

        Raises:
            ConfigurationError: If that fails.
        """
        if self._file is not None and self._file.size():
            self._file.start()

    def __call__(self, served: Served) -> None:
        """Take a block's rejected records.

        Raises:
            ConfigurationError: If the file can't be made.
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
        # Once one has no room none has, so that what is kept has no gaps.
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
        """Why a source that was read to its end gave nothing to learn."""
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
        """Counts, and how much of the file is written."""
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
        """Go on with the counts and the file."""
        self.total = state["total"]
        self.reasons = Counter(state["reasons"])
        self.first = None if state["first"] is None else restore_dead_letter(state["first"])
        self.not_kept = state["not_kept"]
        if state["length"] is None:
            if self._file is not None and state["path"] != self._name:
                self._file.check_empty()
            self.begin()  # records that were rejected behind the cut will be again
        elif self._file is not None:
            self._file.restore_state(state)
            self._bytes = state["length"]

    def sync(self) -> None:
        """Put on the disk what was written out."""
        if self._file is not None:
            self._file.sync()

    def close(self) -> None:
        """Write out and close the file.

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
