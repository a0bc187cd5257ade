"""RejectionLimit: the record at which too many were rejected, however blocks are cut."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from typing import NamedTuple
from typing import final

import numpy as np
from msgspec.structs import replace

from streamnet.errors import ConfigurationError
from streamnet.errors import TooManyRejectedError
from streamnet.samples import Block
from streamnet.samples import DeadLetter

__all__ = ("RejectionLimit", "letter_of", "places_of", "values_of")


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
        places = places_of(block, refused)
        excess = self._excess(len(block) - len(refused), places, self._recent.copy())
        if excess is None:
            return block
        # The last record is a rejected one, or a sample if it fills the first window.
        records = excess.samples + excess.rejected
        own = [place + number for number, place in enumerate(_own_places(block))]
        rejected = bisect_left(own, records)
        return replace(block.part(0, records - rejected), rejected=block.rejected[:rejected])

    def count(
        self, block: Block, places: Sequence[int] | None = None
    ) -> TooManyRejectedError | None:
        """Take a block's records in; the error if too many were rejected.

        Args:
            block: All that was made of the records.
            places: How many of its samples come before each rejected one, if that is known better
                than the block tells, see `places_of`.
        """
        places = _own_places(block) if places is None else places
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
            "last": None if self._last is None else values_of(self._last),
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Go on as the limit did whose state this is."""
        self._read = state["read"]
        self._recent = deque(state["recent"].tolist())
        self._last = None if state["last"] is None else letter_of(state["last"])

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


def places_of(block: Block, refused: Sequence[int] = ()) -> Sequence[int]:
    """How many samples come before each rejected record of a block, once more were rejected.

    Args:
        block: Samples, and what was rejected by now.
        refused: The rows of the samples that will be rejected as well, ascending.

    >>> from streamnet.sources import Columns, RowReader
    >>> places_of(RowReader(Columns()).read([{"x": i} for i in range(4)]), [1, 3])
    [1, 2]
    """
    own = _own_places(block)
    refused = [row for row in refused if row < len(block)]
    if not refused:
        return own
    # A record that was rejected in front of a sample comes before it.
    places = sorted([*((place, False) for place in own), *((row, True) for row in refused)])
    return [place - bisect_left(refused, place) for place, _ in places]


def _own_places(block: Block) -> list[int]:
    places: list[int] = block.places().tolist() if block.rejected else []
    return places


def _check_share(share: float) -> None:
    if not 0.0 <= share <= 1.0:
        raise ConfigurationError(f"max_rejected is {share}, but must be from 0 to 1")


def values_of(letter: DeadLetter) -> list[Any]:
    """A rejected record as plain values, in the order of its fields."""
    return [getattr(letter, name) for name in letter.__dataclass_fields__]


def letter_of(values: list[Any]) -> DeadLetter:
    """The rejected record that `values_of` took apart."""
    return DeadLetter(*values)
