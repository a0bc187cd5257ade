"""Blocks made of plain columns, and their inputs as plain lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamnet.features import Encoded
from streamnet.samples import NUMERIC, Block, Field, Inputs, Kind, Schema, SparseRows, Task

__all__ = ("Columns", "active", "block_of", "cut", "flat", "sparse_of")

Column = Sequence[Any] | NDArray[Any]
Columns = Mapping[tuple[str, Kind], Column]


def block_of(
    columns: Columns,
    target: Column | None = None,
    *,
    task: Task = Task.CLASSIFICATION,
    sparse: SparseRows | None = None,
    schema: Schema | None = None,
) -> Block:
    """A block with the given columns by name and kind."""
    n = len(next(iter(columns.values()))) if columns else 0
    n = n if sparse is None else len(sparse.count)
    schema = schema or Schema(tuple(Field(*key) for key in columns), "y", task)
    numbers = np.empty((n, len(schema.numbers)), np.float64)
    words: list[Any] = []
    for (_, kind), column in columns.items():
        if kind in NUMERIC:
            numbers[:, len(schema.numbers) and _place(schema.numbers, columns, column)] = column
        else:
            words.append(np.array([*column, None], object)[:-1])
    dtype = object if task is Task.CLASSIFICATION else np.float64
    y = None if target is None else np.array([*target, None], object)[:-1].astype(dtype)
    marks = np.array([(10 * i, i, i + 1) for i in range(n + 1)], np.int64)
    return Block(schema, "a.csv", numbers, tuple(words), y, marks, sparse)


def _place(names: tuple[str, ...], columns: Columns, column: Column) -> int:
    return names.index(next(name for (name, _), values in columns.items() if values is column))


def sparse_of(samples: Sequence[dict[int, float]]) -> SparseRows:
    """Samples as non-zero numbers by index."""
    width = max((len(sample) for sample in samples), default=0)
    index = np.full((len(samples), width), -1, np.int64)
    value = np.full((len(samples), width), np.nan)
    for i, sample in enumerate(samples):
        index[i, : len(sample)] = list(sample)
        value[i, : len(sample)] = list(sample.values())
    return SparseRows(index, value, np.array([len(sample) for sample in samples], np.int32))


def cut(block: Block, sizes: Sequence[int]) -> list[Block]:
    """The block in pieces of the given sizes, the last of which takes the rest."""
    ends = [0, *np.minimum(np.cumsum(sizes), len(block)).tolist(), len(block)]
    return [block.part(start, stop) for start, stop in pairwise(ends)]


def active(inputs: Inputs) -> list[list[tuple[int, float]]]:
    """The active rows of each sample with their values."""
    return [
        list(zip(row[:count].tolist(), value[:count].tolist(), strict=True))
        for row, value, count in zip(inputs.row, inputs.value, inputs.count.tolist(), strict=True)
    ]


def flat(encoded: Sequence[Encoded]) -> list[Any]:
    """All outputs of consecutive blocks as lists, sample by sample, to the bit."""
    samples: list[Any] = []
    for part in encoded:
        dense = [row.tobytes() for row in part.inputs.dense]
        targets = [array.tolist() for array in (part.label, part.known) if len(array)]
        targets += [array.tobytes() for array in (part.goal, part.center, part.spread)]
        samples += [
            (d, a, [t[i] if isinstance(t, list) else t[8 * i : 8 * i + 8] for t in targets])
            for i, (d, a) in enumerate(zip(dense, active(part.inputs), strict=True))
        ]
    return samples
