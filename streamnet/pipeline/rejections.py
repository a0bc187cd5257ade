"""Rejections: counts rejected records and keeps them in a file."""

from __future__ import annotations

import logging
import os
from collections import Counter
from pathlib import Path
from typing import Any
from typing import final

import msgspec

from streamnet.durability.appending import AppendedFile
from streamnet.durability.files import DISK
from streamnet.durability.files import Files
from streamnet.errors import ConfigurationError
from streamnet.errors import DataError
from streamnet.learning.serving import Served
from streamnet.pipeline.limit import RejectionLimit
from streamnet.pipeline.limit import letter_of
from streamnet.pipeline.limit import values_of
from streamnet.pipeline.outputs import Output
from streamnet.samples import DeadLetter

__all__ = ("MOST_BYTES", "Rejections")

logger = logging.getLogger("streamnet.pipeline")

MOST_BYTES = 1 << 30


@final
class Rejections(Output):
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
        most_bytes: int = MOST_BYTES,
        files: Files = DISK,
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
        for letter in served.scored.encoded.block.rejected:
            self.total += 1
            self.reasons[letter.reason] += 1
            self.first = self.first or letter
            self._write(letter)
        if self._file is not None and self._file.is_open:
            self._file.settle(at_once=True)

    def _write(self, letter: DeadLetter) -> None:
        if self._file is None:
            return
        values = dict(zip(letter.__dataclass_fields__, values_of(letter), strict=True))
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

    def nothing_learned(self) -> DataError:
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
            "first": None if self.first is None else values_of(self.first),
            "not_kept": self.not_kept,
            "most_bytes": self._most_bytes,
            "path": self._name,
            **({"length": None} if file is None else file.export_state()),
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Go on with the counts and the file."""
        self.total = state["total"]
        self.reasons = Counter(state["reasons"])
        self.first = None if state["first"] is None else letter_of(state["first"])
        # States of the first releases had no such bound.
        self.not_kept = state.get("not_kept", 0)
        if state["length"] is None:
            # States of the first releases did not say which file it was.
            if self._file is not None and state.get("path", self._name) != self._name:
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
