"""Lines of plain numbers as a block, column by column: no dict is made of each line.

That is twice as fast as the way by dicts, which everything else goes, and comes to the same.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec
import numpy as np

from streamnet.samples import Block
from streamnet.samples import Field
from streamnet.samples import Kind
from streamnet.samples import Schema

__all__ = ("block_of",)


def block_of(lines: bytes, fields: tuple[Field, ...]) -> Block | None:
    r"""The samples of these lines with these columns; None if they can't go the short way.

    Args:
        lines: A JSON object a line.
        fields: What a model reads; other names in the lines are left out, unread.

    >>> block = block_of(b'{"x": 1}\n{"y": "a", "x": null}\n', (Field("x", Kind.NUMBER),))
    >>> block.numbers.tolist()
    [[1.0], [nan]]
    """
    if not fields or any(kind is not Kind.NUMBER for _, kind in fields):
        return None
    try:
        rows = _decoder(fields).decode_lines(lines)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # the way by dicts says what is wrong, or can read it after all
    columns = [[getattr(row, name) for row in rows] for name in _names(len(fields))]
    numbers = np.array(columns, np.float64).reshape(len(fields), len(rows)).T  # None becomes NaN
    marks = np.repeat(np.arange(len(rows) + 1)[:, None], 3, axis=1)
    schema = Schema(fields, None, None)
    return Block(schema, "samples", np.ascontiguousarray(numbers), (), None, marks)


@lru_cache(maxsize=64)
def _decoder(fields: tuple[Field, ...]) -> msgspec.json.Decoder[Any]:
    names = _names(len(fields))
    row = msgspec.defstruct(
        "Row",
        [(name, float | None, None) for name in names],
        rename=dict(zip(names, (name for name, _ in fields), strict=True)),
        gc=False,
    )
    return msgspec.json.Decoder(row)


@lru_cache(maxsize=64)
def _names(count: int) -> tuple[str, ...]:
    return tuple(f"column_{number}" for number in range(count))
