"""Columns of ids: whole numbers that are categories, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError
from streamnet.features.base import CODE_MASK, FIELD_BITS, FieldSlot, InputArrays, Transformer
from streamnet.features.columns.number import (
    destandardize,
    freeze_standardized,
    reconstruct_numbers,
)
from streamnet.features.frozen import FrozenIdentifiers, FrozenNumber, KnownRows
from streamnet.features.statistics import GOLDEN, MAX_INTEGER
from streamnet.samples import Block, Kind

_OFFSET = int(MAX_INTEGER) + 1  # makes codes of small ids positive
_FIRST_HASHED = 2 * _OFFSET  # code of the first large id
HASH_BITS = 36


@final
class IdentifierColumns(Transformer, kinds=[Kind.ID]):
    """Encodes each id as an active row, and as a standardized number; fractions are numbers only.

    There is no vocabulary: rows are limited by ``max_rows`` alone. Ids from 2,147,483,648 on are
    hashed to 36 bits.
    """

    dense_inputs = 1
    standardized = 1

    _plan: Sequence[tuple[int, int, int]] = ()  # source, key column, first key

    def append(self, slot: FieldSlot) -> None:
        """Add a column of ids."""
        self.statistics.append(category=False, origin=0.0)

    def plan(self, slots: Sequence[FieldSlot], sources: Mapping[str, int], first_key: int) -> int:
        """Plan a key column for each column; `NumberColumns` has another one for missing values."""
        own = [slot for slot in slots if slot.field.kind in self.kinds]
        self._plan = [
            (sources.get(slot.field.name, -1), first_key + i, slot.base)
            for i, slot in enumerate(own)
        ]
        return len(own)

    def transform(self, block: Block, arrays: InputArrays, learn: bool) -> int:
        """Write the key of each id; `NumberColumns` writes the standardized numbers."""
        del block, learn  # nothing is learned
        for source, key, base in self._plan:
            codes = _encode(arrays.numbers[:, source]) if source >= 0 else -1
            arrays.keys[:, key] = np.where(codes >= 0, base + codes, -1)
        return len(self._plan)

    def freeze(self, slot: FieldSlot, rows: KnownRows) -> FrozenNumber:
        """Return scale and rows of a column."""
        if rows.share is not None:
            raise ConfigurationError(
                f"column {slot.field.name!r} has more ids than there are rows (max_rows)"
            )
        own = slot.base >> FIELD_BITS
        codes = {k & CODE_MASK: rows.find(k) for k in rows.by_key if k >> FIELD_BITS == own}
        identifiers = FrozenIdentifiers(
            {code - _OFFSET: row for code, row in codes.items() if 0 < code < _FIRST_HASHED},
            {code - _FIRST_HASHED: row for code, row in codes.items() if code >= _FIRST_HASHED},
        )
        return replace(freeze_standardized(self.statistics, slot, rows), identifiers=identifiers)

    def decode_dense(self, slot: FieldSlot, dense: NDArray[Any]) -> NDArray[np.float64]:
        """Ids as numbers; NaN if none was ever learned."""
        return destandardize(self.statistics, slot, dense[:, 0].astype(np.float64))

    def decode_code(self, slot: FieldSlot, code: int) -> float | None:
        """Return the id of a code that is not hashed."""
        return float(code - _OFFSET) if code < _FIRST_HASHED else None

    def reconstruct(
        self,
        slot: FieldSlot,
        dense: NDArray[Any],
        active: NDArray[np.floating],
        codes: NDArray[np.int64],
    ) -> list[float | None]:
        """Return the likeliest ids; None for missing ones."""
        return reconstruct_numbers(self.decode_dense(slot, dense), active, codes)


def _encode(numbers: NDArray[np.float64]) -> NDArray[np.int64]:
    """Codes of ids, -1 for fractions and missing values.

    >>> _encode(np.array([-2147483647.0, 5.0, 0.5, np.nan])).tolist()
    [2, 2147483654, -1, -1]
    """
    whole = np.floor(numbers) == numbers
    codes = np.full(len(numbers), -1, np.int64)
    small = whole & (np.abs(numbers) < MAX_INTEGER)
    codes[small] = numbers[small].astype(np.int64) + _OFFSET
    large = whole & ~small & np.isfinite(numbers)
    bits = numbers[large].view(np.uint64) * GOLDEN
    codes[large] = _FIRST_HASHED + (bits >> np.uint64(64 - HASH_BITS)).astype(np.int64)
    return codes
