"""Many samples at once, in the shapes in which people have them."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from streamnet.errors import DataError
from streamnet.samples import Sample

__all__ = ("Samples", "listed", "rows_of")

Samples = Sequence[Sample] | ArrayLike
"""Many samples: dicts, a data frame, or a matrix whose columns are called f0, f1, ..."""


def rows_of(samples: Samples) -> Sequence[Sample]:
    """Dicts from dicts, a data frame (of polars or pandas), or a matrix."""
    if isinstance(samples, list | tuple) and (not samples or isinstance(samples[0], Mapping)):
        return samples
    if isinstance(samples, Mapping):
        raise DataError("X is one sample, but must be several: a list of dicts, or a matrix")
    frame: Any = samples
    if hasattr(frame, "to_dicts"):
        return list(frame.to_dicts())
    if hasattr(frame, "to_dict"):
        return list(frame.to_dict("records"))
    matrix = np.asarray(samples)
    if matrix.ndim != 2:
        raise DataError(f"X has {matrix.ndim} dimensions, but must have 2")
    names = [f"f{column}" for column in range(matrix.shape[1])]
    return [dict(zip(names, row, strict=True)) for row in matrix.tolist()]


def listed(targets: Any) -> list[Any]:
    """The targets as Python's own objects, wherever they have come from."""
    return list(targets.tolist() if hasattr(targets, "tolist") else targets)
