"""Data frames, matrices and lists of dicts as rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from reprlib import repr as shortened
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamnet.errors import DataError, SchemaError
from streamnet.samples import Field, Sample
from streamnet.sources.columns import Columns
from streamnet.sources.rows import copy_sample, to_mapping

__all__ = ("SamplesLike", "to_one_or_more_rows", "to_rows", "to_rows_and_targets", "to_target_list")

SamplesLike = Sequence[Sample] | ArrayLike
"""Many samples: dicts, a data frame, or a matrix whose columns are called f0, f1, ..."""

MAX_NAMES_SHOWN = 10  # names in a message
RAGGED = "X is neither a list of dicts nor a matrix, whose rows all have one length"
DEFAULT_PARSE_OPTIONS = Columns().parse_options()
_ROW_METHODS = (
    ("to_dicts",),
    ("to_dict", "records"),
    ("to_pylist",),
)  # of polars, pandas and pyarrow


def to_rows(
    samples: SamplesLike, known: Sequence[Field] = (), *, final: bool = False
) -> Sequence[Sample]:
    """Dicts from dicts, a data frame (of polars, pandas or pyarrow), its rows, or a matrix.

    What a masked matrix hides is missing.

    Args:
        samples: What was given.
        known: Fields of whoever is only asked and learns none that are new, so that those of a
            frame or a matrix have to fit. Dicts may bring any, since each is a sample of its own.
        final: Whether no column can become known later, so that a matrix with more is a mistake.

    Raises:
        DataError: If it is none of them.
        SchemaError: If no column of a frame is known, or two have one name; if a matrix lacks one
            that is known, or has more, where the known ones are final.
    """
    if isinstance(to_mapping(samples), Mapping):
        raise DataError("X is one sample, but must be several: a list of dicts, or a matrix")
    frame: Any = samples
    if _is_one_dimensional(frame):
        frame = frame if isinstance(frame, list | tuple) else list(map(copy_sample, frame))
        if not frame or isinstance(to_mapping(frame[0]), Mapping):
            row_by_row: Sequence[Sample] = frame
            return row_by_row
    fields = [field.name for field in known]
    for way, *orientation in _ROW_METHODS:
        if hasattr(frame, way):
            _check_names(frame)
            rows = list(getattr(frame, way)(*orientation))
            _check_frame(rows, fields)
            return rows
    matrix = _to_matrix(frame)
    names = [f"f{column}" for column in range(matrix.shape[1])]
    _check_matrix(matrix, names, fields, final=final)
    return [dict(zip(names, row, strict=True)) for row in _to_python(matrix)]


def to_one_or_more_rows(samples: Any, known: Sequence[Field]) -> Sequence[Sample]:
    """Like `to_rows` for final columns, but one sample, a dict or a row, is a list of one.

    Raises:
        DataError: As `to_rows`, and so does SchemaError.
    """
    one = to_mapping(samples)
    if not isinstance(one, Mapping):
        return to_rows(samples, known, final=True)
    if one is not samples:  # a row, unless it is a column, whose names are the rows' numbers
        _check_frame([one], [field.name for field in known])
    return [one]


def to_target_list(targets: Any, name: str = "y") -> list[Any]:
    """The targets one by one, wherever they have come from.

    Args:
        targets: What was given.
        name: Of the argument, for messages.

    Raises:
        DataError: If it is one target, or a table.
    """
    dimensions = len(getattr(targets, "shape", ()))
    if dimensions > 1:
        raise DataError(f"{name} has {dimensions} dimensions, but must have 1")
    try:
        if isinstance(targets, str | Mapping):  # whose letters or names are no targets
            raise TypeError
        return list(_to_python(targets))
    except TypeError:
        rule = "must be several: one for each sample" if name == "y" else "must be several"
        raise DataError(f"{name} is {shortened(targets)}, but {rule}") from None


def to_rows_and_targets(
    X: SamplesLike, y: Sequence[Any] | ArrayLike
) -> tuple[Sequence[Sample], list[Any]]:
    """Samples as dicts, and a target for each.

    Raises:
        DataError: If they are not as many.
    """
    rows, targets = to_rows(X), to_target_list(y)
    if len(rows) != len(targets):
        raise DataError(f"X has {len(rows)} samples, but y has {len(targets)}")
    return rows, targets


def _is_one_dimensional(samples: Any) -> bool:
    """Whether samples come one after the other, as in a list, a deque, a generator, an array."""
    if isinstance(samples, str | bytes) or any(hasattr(samples, way) for way, *_ in _ROW_METHODS):
        return False
    return isinstance(samples, Iterable) and len(getattr(samples, "shape", (0,))) == 1


def _check_names(frame: Any) -> None:
    """Refuse a frame with two columns of one name, of which a dict has room for one."""
    names = list(getattr(frame, "column_names", getattr(frame, "columns", ())))
    if len(set(names)) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise SchemaError(f"X has two columns that are called {double!r}")


def _check_frame(rows: Sequence[Sample], known: Sequence[str]) -> None:
    """Refuse a frame whose columns are all strange: each answer would be that to no sample."""
    if known and rows and rows[0] and rows[0].keys().isdisjoint(known):
        raise SchemaError(
            f"X has the columns {_format_names(rows[0])}, but known are: {_format_names(known)}"
        )


def _check_matrix(
    matrix: NDArray[Any], names: Sequence[str], known: Sequence[str], *, final: bool
) -> None:
    """Refuse a matrix with a column too few or too many: others would be mistaken for it.

    One that was missing in all that was learned is not known, and may be there.
    """
    if not known:
        return
    wanted = set(known)
    beyond = max((place for place, name in enumerate(names, 1) if name in wanted), default=0)
    strange = _to_python(matrix[:, beyond:].ravel()) if final else ()
    if not wanted.issubset(names) or not all(map(DEFAULT_PARSE_OPTIONS.is_missing, strange)):
        raise SchemaError(
            f"X has {len(names)} columns without names ({_format_names(names)}), but must have the "
            f"known ones: {_format_names(known)}"
        )


def _format_names(names: Collection[Any]) -> str:
    """Names as a message has room for them."""
    shown = ", ".join(map(str, islice(names, MAX_NAMES_SHOWN)))
    return f"{shown}, ..." if len(names) > MAX_NAMES_SHOWN else shown


def _to_matrix(samples: Any) -> NDArray[Any]:
    # Of rows of Python's own values each one stays what it is: numpy would make them all texts
    # where one is. What is an array stays one, also a masked one.
    rows = isinstance(samples, list | tuple) and not any(hasattr(s, "dtype") for s in samples)
    try:
        matrix: NDArray[Any] = np.asanyarray(samples, object if rows else None)
    except ValueError:
        raise DataError(RAGGED) from None
    if rows and matrix.ndim == 1 and any(isinstance(row, list | tuple) for row in samples):
        raise DataError(RAGGED)
    if matrix.ndim == 0:
        raise DataError(
            f"X is of type {type(samples).__name__}, but must be a list of dicts, a data frame or "
            "a matrix"
        )
    if matrix.ndim != 2:
        raise DataError(f"X has {matrix.ndim} dimensions, but must have 2")
    return matrix


def _to_python(values: Any) -> Any:
    """Values as Python's own objects, but times of numpy, which may be finer than Python's."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        return np.ma.filled(values, np.datetime64("NaT", "s"))
    for way in ("tolist", "to_pylist"):  # the latter of pyarrow's columns
        if hasattr(values, way):
            return getattr(values, way)()
    return values
