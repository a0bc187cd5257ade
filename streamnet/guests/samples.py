"""Samples as models of River are given them."""

from __future__ import annotations

from collections.abc import Collection
from itertools import repeat
from typing import Any

import numpy as np

from streamnet.samples import Block


def read_samples(block: Block, known: Collection[str] | None = None) -> list[dict[str, Any]]:
    """What was read of each sample, by name in the order of the schema, without missing values.

    Columns that are not ``known`` are left out; None means all are. Inputs of libSVM rows have
    their number as a name.

    >>> from streamnet.sources.columns import Columns
    >>> from streamnet.sources.rows import RowReader
    >>> rows = [{"x": 1, "color": "red"}, {"x": None, "color": "blue"}]
    >>> read_samples(RowReader(Columns()).read(rows))
    [{'x': 1.0, 'color': 'red'}, {'color': 'blue'}]
    """
    schema = block.schema
    columns = {name: block.numbers[:, i].tolist() for i, name in enumerate(schema.numbers)}
    columns |= {name: words.tolist() for name, words in zip(schema.words, block.words, strict=True)}
    names = [name for name, _ in schema.fields if known is None or name in known]
    if not names:
        samples: list[dict[str, Any]] = [{} for _ in range(len(block))]
    else:
        rows = zip(*(columns[name] for name in names), strict=True)
        samples = list(map(dict, map(zip, repeat(names), rows)))
        if np.isnan(block.numbers).any() or any(None in columns[name] for name in schema.words):
            # NaN is what does not equal itself.
            samples = [{n: v for n, v in x.items() if v is not None and v == v} for x in samples]
    if block.sparse is not None:
        index, value, count = block.sparse
        for sample, places, values, used in zip(
            samples, index.tolist(), value.tolist(), count.tolist(), strict=True
        ):
            sample.update(zip(map(str, places[:used]), values[:used], strict=True))
    return samples
