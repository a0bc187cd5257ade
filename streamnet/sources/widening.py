"""Widening: blocks of an earlier schema as blocks of one that has grown since."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from streamnet.samples import Block
from streamnet.samples import Schema
from streamnet.samples import SparseRows

__all__ = ("joined", "widened")


def widened(block: Block, schema: Schema) -> Block:
    """``block`` with the fields that ``schema`` has more: missing values, all of them."""
    if block.schema == schema:
        return block if block.schema is schema else replace(block, schema=schema)
    rows = len(block)
    more = len(schema.numbers) - len(block.schema.numbers)
    numbers = np.hstack((block.numbers, np.full((rows, more), np.nan)))
    words = [np.full(rows, None, np.object_) for _ in schema.words[len(block.words) :]]
    return replace(block, schema=schema, numbers=numbers, words=(*block.words, *words))


def joined(blocks: Sequence[Block], schema: Schema) -> Block:
    """The samples of some blocks, at least one, as one block; it rejects nothing."""
    wide = [widened(block, schema) for block in blocks]
    last = wide[-1]
    target = None
    if last.target is not None:
        target = np.concatenate([block.target for block in wide if block.target is not None])
    return replace(
        last,
        numbers=np.concatenate([block.numbers for block in wide]),
        words=tuple(map(np.concatenate, zip(*(block.words for block in wide), strict=True))),
        target=target,
        marks=np.concatenate([*(block.marks[:-1] for block in wide), last.marks[-1:]]),
        sparse=_joined_rows([block.sparse for block in wide if block.sparse is not None]),
        rejected=(),
    )


def _joined_rows(rows: Sequence[SparseRows]) -> SparseRows | None:
    if not rows:
        return None
    width = max(part.index.shape[1] for part in rows)
    index = np.concatenate([_padded(part.index, width) for part in rows])
    value = np.concatenate([_padded(part.value, width) for part in rows])
    return SparseRows(index, value, np.concatenate([part.count for part in rows]))


def _padded(array: NDArray[np.generic], width: int) -> NDArray[np.generic]:
    return np.pad(array, ((0, 0), (0, width - array.shape[1])))
