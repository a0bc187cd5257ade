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
from streamnet.sources.columns import Columns, suggest_column
from streamnet.sources.rows import copy_sample, to_mapping

SamplesLike = Sequence[Sample] | ArrayLike
"""Many samples: dicts, a data frame, or a matrix whose columns are called f0, f1, ..."""

MAX_NAMES_SHOWN = 10  # names in a message
RAGGED = "X is neither a list of dicts nor a matrix, whose rows all have one length"
DEFAULT_PARSE_OPTIONS = Columns().parse_options()
# Of polars, pandas and pyarrow.
_ROW_METHODS = (("to_dicts",), ("to_dict", "records"), ("to_pylist",))


def to_rows(
    samples: SamplesLike, known: Sequence[Field] = (), *, final: bool = False
) -> Sequence[Sample]:
    """Convert dicts, a data frame (polars, pandas or pyarrow), its rows or a matrix to dicts.

    Masked values of a matrix are missing. The columns of a frame or a matrix have to match the
    ``known`` fields, without more columns in a matrix if those are ``final``; dicts may have any
    names, since each is a sample of its own.
    """
    if isinstance(to_mapping(samples), Mapping):
        raise DataError("X is one sample, but must be several: a list of dicts, or a matrix")
    frame: Any = to_array(samples)
    if _is_one_dimensional(frame):
        frame = frame if isinstance(frame, list | tuple) else list(map(copy_sample, frame))
        if not frame or isinstance(to_mapping(frame[0]), Mapping):
            row_by_row: Sequence[Sample] = frame
            return row_by_row
    fields = [field.name for field in known]
    for way, *orientation in _ROW_METHODS:
        if hasattr(frame, way):
            _check_names(frame)
            rows = _name_by_texts(list(getattr(frame, way)(*orientation)))
            _check_frame(rows, fields)
            return rows
    matrix = to_matrix(frame)
    names = [f"f{column}" for column in range(matrix.shape[1])]
    _check_matrix(matrix, names, fields, final=final)
    return [dict(zip(names, row, strict=True)) for row in _to_python(matrix)]


def to_array(values: Any) -> Any:
    """Collect a lazy frame of polars, or convert what numpy can make an array of."""
    if hasattr(values, "collect") and hasattr(values, "collect_schema"):
        return values.collect()
    known = hasattr(values, "shape") or hasattr(values, "to_pylist")
    if hasattr(values, "__array__") and not known:
        return np.asarray(values)
    return values


def to_one_or_more_rows(samples: Any, known: Sequence[Field]) -> Sequence[Sample]:
    """Like `to_rows` for final columns; a single sample (a dict or a row) becomes a list of one."""
    one = to_mapping(samples)
    if not isinstance(one, Mapping):
        return to_rows(samples, known, final=True)
    if one is not samples:  # a row, or a column whose names are row numbers
        _check_frame([one], [field.name for field in known])
    return [one]


def is_frame(samples: Any) -> bool:
    """Whether samples are a data frame (polars, pandas or pyarrow)."""
    is_row = getattr(samples, "ndim", None) == 1
    return not is_row and any(hasattr(samples, way) for way, *_ in _ROW_METHODS)


def is_matrix(samples: Any) -> bool:
    """Whether samples are an array or nested lists, whose columns have no names of their own."""
    if isinstance(samples, list | tuple):
        return bool(samples) and not isinstance(to_mapping(samples[0]), Mapping)
    return not is_frame(samples) and len(getattr(samples, "shape", ())) == 2


def to_target_list(targets: Any, name: str = "y") -> list[Any]:
    """Convert targets (a list, an array or a column of a data frame) to a list of Python values."""
    dimensions = len(getattr(targets, "shape", ()))
    if dimensions > 1:
        raise DataError(f"{name} has {dimensions} dimensions, but must have 1")
    try:
        if isinstance(targets, str | Mapping):  # whose items are not targets
            raise TypeError
        return list(_to_python(targets))
    except TypeError:
        rule = "must be several: one for each sample" if name == "y" else "must be several"
        raise DataError(f"{name} is {shortened(targets)}, but {rule}") from None


def _is_one_dimensional(samples: Any) -> bool:
    """Whether samples are a plain sequence, such as a list, a generator or a 1-D array."""
    if isinstance(samples, str | bytes) or any(hasattr(samples, way) for way, *_ in _ROW_METHODS):
        return False
    return isinstance(samples, Iterable) and len(getattr(samples, "shape", (0,))) == 1


def _check_names(frame: Any) -> None:
    """Refuse a frame with two columns of one name, since a dict can hold only one."""
    names = list(map(str, getattr(frame, "column_names", getattr(frame, "columns", ()))))
    if len(set(names)) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise SchemaError(f"X has two columns called {double!r}")


def _name_by_texts(rows: list[dict[Any, Any]]) -> list[dict[str, Any]]:
    """Rows of a frame whose columns may be called by numbers, as those of pandas are by default."""
    if not rows or all(isinstance(name, str) for name in rows[0]):
        return rows
    return [{str(name): value for name, value in row.items()} for row in rows]


def _check_frame(rows: Sequence[Sample], known: Sequence[str]) -> None:
    """Refuse a frame without known columns: it would be predicted like empty samples."""
    if known and rows and rows[0] and rows[0].keys().isdisjoint(known):
        raise SchemaError(
            f"X has the columns {_format_names(rows[0])}, but known are: {_format_names(known)}"
            f"{_suggest_columns(rows[0], known)}"
        )


def _check_matrix(
    matrix: NDArray[Any], names: Sequence[str], known: Sequence[str], *, final: bool
) -> None:
    """Refuse a matrix with too few or too many columns: some would be mistaken for others.

    A column whose values were all missing during learning is not known, but may be there.
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


def _suggest_columns(names: Iterable[Any], known: Sequence[str]) -> str:
    """A question after a column that may have been meant, if there is one."""
    found = (suggest_column(name, known) for name in names if isinstance(name, str))
    return next(filter(None, found), "")


def _format_names(names: Collection[Any]) -> str:
    """List names in a message, cut to a readable length."""
    shown = ", ".join(map(str, islice(names, MAX_NAMES_SHOWN)))
    return f"{shown}, ..." if len(names) > MAX_NAMES_SHOWN else shown


def to_matrix(samples: Any) -> NDArray[Any]:
    """Convert an array or nested lists to a matrix."""
    # Rows of Python values are kept as objects: numpy would convert all to texts if one is a text.
    # Arrays, including masked ones, are kept as they are.
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
        reshape = ". Reshape your data: X.reshape(1, -1) is one sample" if matrix.ndim == 1 else ""
        raise DataError(f"X has {matrix.ndim} dimensions, but must have 2{reshape}")
    if matrix.dtype.kind == "c":
        raise DataError("Complex data not supported: X has complex numbers")
    return matrix


def _to_python(values: Any) -> Any:
    """Convert values to Python objects, except numpy times, which may be finer than Python's."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        return np.ma.filled(values, np.datetime64("NaT", "s"))
    for way in ("tolist", "to_pylist"):  # the latter of pyarrow's columns
        if hasattr(values, way):
            return getattr(values, way)()
    return values
