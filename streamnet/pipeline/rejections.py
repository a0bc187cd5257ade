"""Rejections: counts rejected records and keeps them in a file."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any
from typing import TextIO
from typing import final

import msgspec

from streamnet.errors import ConfigurationError
from streamnet.learning.serving import Served
from streamnet.pipeline.limit import RejectionLimit
from streamnet.samples import DeadLetter

__all__ = ("Rejections",)


@final
class Rejections:
    """A sink for rejected records, and the limit of how many there may be.

    Args:
        path: Dead-letter file, JSON lines: source, offset, line, reason, detail, raw. It is made at
            the first rejected record. None keeps nothing but counts.
        share: Share of the last ``window`` records that may be rejected.
        window: See ``share``; a run is not ended before so many records were read.

    Raises:
        ConfigurationError: If a value breaks its rule, or the file could not be made.

    >>> Rejections(share=0.5).statistics()
    {'total': 0, 'reasons': {}}
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        share: float = 0.10,
        window: int = 1000,
    ) -> None:
        self.path = None if path is None else Path(path)
        self.limit = RejectionLimit(share=share, window=window, kept=self.path)
        self.total = 0
        self.reasons: Counter[str] = Counter()
        self.first: DeadLetter | None = None
        self._file: TextIO | None = None
        if self.path is not None:
            _check_writable(self.path)

    def __call__(self, served: Served) -> None:
        """Take a block's rejected records.

        Raises:
            ConfigurationError: If the file can't be made.
        """
        for letter in served.scored.encoded.block.rejected:
            self.total += 1
            self.reasons[letter.reason] += 1
            self.first = self.first or letter
            self._write(letter)
        if self._file is not None:
            self._file.flush()

    def _write(self, letter: DeadLetter) -> None:
        if self.path is None:
            return
        if self._file is None:
            try:
                self._file = self.path.open("w", encoding="utf-8", errors="backslashreplace")
            except OSError as error:
                raise ConfigurationError(f"dead_letters {self.path}: {error.strerror}") from error
        values = {name: getattr(letter, name) for name in letter.__dataclass_fields__}
        self._file.write(msgspec.json.encode(values).decode() + "\n")

    def close(self) -> None:
        """Write out and close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def statistics(self) -> dict[str, Any]:
        """How many records were rejected, by reason."""
        return {"total": self.total, "reasons": dict(sorted(self.reasons.items()))}


def _check_writable(path: Path) -> None:
    """Find out before hours of learning, not at the first rejected record."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ConfigurationError(f"dead_letters is {str(path)!r}, but its folder does not exist")
    if path.is_dir():
        raise ConfigurationError(f"dead_letters is {str(path)!r}, but that is a folder")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise ConfigurationError(f"dead_letters is {str(path)!r}, but may not be written")
