"""Rejections: counts rejected records, keeps them in a file, and ends a run that has too many."""

from __future__ import annotations

import os
from collections import Counter
from collections import deque
from pathlib import Path
from typing import Any
from typing import TextIO
from typing import final

import msgspec

from streamnet.errors import ConfigurationError
from streamnet.errors import TooManyRejectedError
from streamnet.learning.serving import Served
from streamnet.samples import DeadLetter

__all__ = ("Rejections",)


@final
class Rejections:
    """A sink for rejected records.

    Args:
        path: Dead-letter file, JSON lines: source, offset, line, reason, detail, raw. It is made at
            the first rejected record. None keeps nothing but counts.
        share: Share of the last ``window`` records that may be rejected.
        window: See ``share``; a run is not ended before so many records were read.

    Raises:
        ConfigurationError: If a value breaks its rule.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        share: float = 0.10,
        window: int = 1000,
    ) -> None:
        if not 0.0 <= share <= 1.0:
            raise ConfigurationError(f"max_rejected is {share}, but must be from 0 to 1")
        if window < 1:
            raise ConfigurationError(f"rejected_window is {window}, but must be >= 1")
        self.path = None if path is None else Path(path)
        self.share = share
        self.window = window
        self.total = 0
        self.reasons: Counter[str] = Counter()
        self.first: DeadLetter | None = None
        self._read = 0
        self._recent: deque[int] = deque()  # numbers of the rejected among the last records
        self._file: TextIO | None = None

    def __call__(self, served: Served) -> None:
        """Take a block's rejected records.

        Raises:
            TooManyRejectedError: If more than the share of the last records were rejected.
        """
        block = served.scored.encoded.block
        samples = len(block)
        if not block.rejected:
            self._read += samples
            return
        offsets = block.marks[:-1, 0]
        taken = 0
        for letter in block.rejected:
            before = int((offsets[taken:] < letter.offset).sum())
            taken += before
            self._read += before + 1
            self._take(letter)
        self._read += samples - taken
        self._flush()

    def _take(self, letter: DeadLetter) -> None:
        self.total += 1
        self.reasons[letter.reason] += 1
        self.first = self.first or letter
        self._write(letter)
        self._recent.append(self._read)
        while self._recent[0] <= self._read - self.window:
            self._recent.popleft()
        if self._read >= self.window and len(self._recent) > self.share * self.window:
            self._flush()
            raise TooManyRejectedError(self._message(letter))

    def _message(self, letter: DeadLetter) -> str:
        where = f", line {letter.line}" if letter.line else f", record at {letter.offset}"
        kept = f"; they are in {self.path}" if self.path else ""
        return (
            f"{letter.source}{where}: {len(self._recent)} of the last {self.window} records were "
            f"rejected, but at most {self.share:.0%} may be{kept}. The last one: {letter.detail}"
        )

    def _write(self, letter: DeadLetter) -> None:
        if self.path is None:
            return
        if self._file is None:
            self._file = self.path.open("w", encoding="utf-8", errors="backslashreplace")
        values = {name: getattr(letter, name) for name in letter.__dataclass_fields__}
        self._file.write(msgspec.json.encode(values).decode() + "\n")

    def _flush(self) -> None:
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Write out and close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def statistics(self) -> dict[str, Any]:
        """How many records were rejected, by reason."""
        return {"total": self.total, "reasons": dict(sorted(self.reasons.items()))}
