"""Many samples at once, in the shapes in which people have them."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from itertools import islice
from reprlib import repr as shortened
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from numpy.typing import NDArray

from streamnet.errors import DataError
from streamnet.errors import SchemaError
from streamnet.samples import Field
from streamnet.samples import Sample
from streamnet.sources.columns import Columns
from streamnet.sources.conversion import as_kept
from streamnet.sources.conversion import as_sample

__all__ = ("Samples", "listed", "one_or_more", "rows_and_targets", "rows_of")

Samples = Sequence[Sample] | ArrayLike
"""Many samples: dicts, a data frame, or a matrix whose columns are called f0, f1, ..."""

MOST = 10  # names in a message
RAGGED = "X is neither a list of dicts nor a matrix, whose rows all have one length"
READING = Columns().reading()
_WAYS = (("to_dicts",), ("to_dict", "records"), ("to_pylist",))  # of polars, pandas and pyarrow


def rows_of(
    samples: Samples, known: Sequence[Field] = (), *, final: bool = False
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
    if isinstance(as_sample(samples), Mapping):
        raise DataError("X is one sample, but must be several: a list of dicts, or a matrix")
    frame: Any = samples
    if _in_a_line(frame):
        frame = frame if isinstance(frame, list | tuple) else list(map(as_kept, frame))
        if not frame or isinstance(as_sample(frame[0]), Mapping):
            row_by_row: Sequence[Sample] = frame
            return row_by_row
    fields = [field.name for field in known]
    for way, *orientation in _WAYS:
        if hasattr(frame, way):
            _check_names(frame)
            rows = list(getattr(frame, way)(*orientation))
            _check_frame(rows, fields)
            return rows
    matrix = _matrix(frame)
    names = [f"f{column}" for column in range(matrix.shape[1])]
    _check_matrix(matrix, names, fields, final=final)
    return [dict(zip(names, row, strict=True)) for row in _plain(matrix)]


def one_or_more(samples: Any, known: Sequence[Field]) -> Sequence[Sample]:
    """Like `rows_of` for final columns, but one sample, a dict or a row, is a list of one.

    Raises:
        DataError: As `rows_of`, and so does SchemaError.
    """
    one = as_sample(samples)
    if not isinstance(one, Mapping):
        return rows_of(samples, known, final=True)
    if one is not samples:  # a row, unless it is a column, whose names are the rows' numbers
        _check_frame([one], [field.name for field in known])
    return [one]


def listed(targets: Any, name: str = "y") -> list[Any]:
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
        return list(_plain(targets))
    except TypeError:
        rule = "must be several: one for each sample" if name == "y" else "must be several"
        raise DataError(f"{name} is {shortened(targets)}, but {rule}") from None


def rows_and_targets(
    X: Samples, y: Sequence[Any] | ArrayLike
) -> tuple[Sequence[Sample], list[Any]]:
    """Samples as dicts, and a target for each.

    Raises:
        DataError: If they are not as many.
    """
    rows, targets = rows_of(X), listed(y)
    if len(rows) != len(targets):
        raise DataError(f"X has {len(rows)} samples, but y has {len(targets)}")
    return rows, targets


def _in_a_line(samples: Any) -> bool:
    """Whether samples come one after the other, as in a list, a deque, a generator, an array."""
    if isinstance(samples, str | bytes) or any(hasattr(samples, way) for way, *_ in _WAYS):
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
        raise SchemaError(f"X has the columns {_listed(rows[0])}, but known are: {_listed(known)}")


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
    strange = _plain(matrix[:, beyond:].ravel()) if final else ()
    if not wanted.issubset(names) or not all(map(READING.is_missing, strange)):
        raise SchemaError(
            f"X has {len(names)} columns without names ({_listed(names)}), but must have those "
            f"that are known: {_listed(known)}"
        )


def _listed(names: Collection[Any]) -> str:
    """Names as a message has room for them."""
    shown = ", ".join(map(str, islice(names, MOST)))
    return f"{shown}, ..." if len(names) > MOST else shown


def _matrix(samples: Any) -> NDArray[Any]:
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


def _plain(values: Any) -> Any:
    """Values as Python's own objects, but times of numpy, which may be finer than Python's."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        return np.ma.filled(values, np.datetime64("NaT", "s"))
    for way in ("tolist", "to_pylist"):  # the latter of pyarrow's columns
        if hasattr(values, way):
            return getattr(values, way)()
    return values
