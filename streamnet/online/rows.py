"""Many samples at once, in the shapes in which people have them."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from numpy.typing import NDArray

from streamnet.errors import DataError
from streamnet.samples import Sample
from streamnet.sources.conversion import as_sample

__all__ = ("Samples", "listed", "rows_of")

Samples = Sequence[Sample] | ArrayLike
"""Many samples: dicts, a data frame, or a matrix whose columns are called f0, f1, ..."""


def rows_of(samples: Samples) -> Sequence[Sample]:
    """Dicts from dicts, a data frame (of polars, pandas or pyarrow), its rows, or a matrix.

    What a masked matrix hides is missing.

    Raises:
        DataError: If it is none of them.
    """
    if isinstance(as_sample(samples), Mapping):
        raise DataError("X is one sample, but must be several: a list of dicts, or a matrix")
    if isinstance(samples, list | tuple) and (
        not samples or isinstance(as_sample(samples[0]), Mapping)
    ):
        return samples
    frame: Any = samples
    if hasattr(frame, "to_dicts"):
        return list(frame.to_dicts())
    if hasattr(frame, "to_dict"):
        return list(frame.to_dict("records"))
    if hasattr(frame, "to_pylist"):
        return list(frame.to_pylist())
    matrix = _matrix(samples)
    names = [f"f{column}" for column in range(matrix.shape[1])]
    return [dict(zip(names, row, strict=True)) for row in _plain(matrix)]


def listed(targets: Any) -> list[Any]:
    """The targets one by one, wherever they have come from.

    Raises:
        DataError: If it is one target, or a table.
    """
    dimensions = len(getattr(targets, "shape", ()))
    if dimensions > 1:
        raise DataError(f"y has {dimensions} dimensions, but must have 1")
    try:
        if isinstance(targets, str | Mapping):  # whose letters or names are no targets
            raise TypeError
        return list(_plain(targets))
    except TypeError:
        raise DataError(f"y is {targets!r}, but must be several: one for each sample") from None


def _matrix(samples: Any) -> NDArray[Any]:
    try:
        matrix: NDArray[Any] = np.asanyarray(samples)  # a masked one stays so
    except ValueError:
        raise DataError(
            "X is neither a list of dicts nor a matrix, whose rows all have one length"
        ) from None
    if matrix.ndim == 0:
        raise DataError(
            f"X is of type {type(samples).__name__}, but must be a list of dicts, a data frame or "
            "a matrix"
        )
    if matrix.ndim != 2:
        raise DataError(f"X has {matrix.ndim} dimensions, but must have 2")
    return matrix


def _plain(values: Any) -> Any:
    """Values as Python's own objects, but times of numpy, which may be finer than Python's."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        return np.ma.filled(values, np.datetime64("NaT"))
    return values.tolist() if hasattr(values, "tolist") else values
