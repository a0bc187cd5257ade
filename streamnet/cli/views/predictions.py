"""A saved model's predictions for files, written as CSV or JSON lines."""

from __future__ import annotations

import csv
import sys
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, TextIO, final

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError, SchemaError, StreamnetError
from streamnet.modelfiles import Model
from streamnet.samples import Block, DeadLetter, Schema, Task
from streamnet.sources import Columns, open_files

__all__ = (
    "COLUMNS",
    "RejectedRecords",
    "predict_files",
    "write_predictions",
)


async def predict_files(
    model: Model,
    files: tuple[str, ...],
    options: Mapping[str, Any],
    *,
    target: str | None = None,
    labelled: bool,
) -> AsyncGenerator[tuple[Block, NDArray[Any]], None]:
    """Each block of some files with the model's outputs; columns as the model learned them.

    Args:
        model: What is asked.
        files: Names, glob patterns, or ``-``.
        options: Values of `ReadingOptions`; None stands for a default.
        target: Column with the truth; None is the one that the model learned.
        labelled: Whether the truth must be there.

    Raises:
        ConfigurationError: If there are no files.
        DataError: If a file can't be read or lacks a column.
        SchemaError: If it has columns with names, but the model knows none.
    """
    if not files:
        raise ConfigurationError("no file is given, but there must be one with samples")
    given = {name: value for name, value in options.items() if value is not None}
    missing = {"missing": given.pop("missing")} if "missing" in given else {}
    schema = Schema(model.fields, target or model.about.get("target"), model.task)
    columns = Columns(schema=schema, target_optional=not labelled, **missing)
    async with aclosing(open_files(files, columns=columns, **given)) as source:
        await source.open()
        while (block := await source.receive()) is not None:
            if not model.fields and block.sparse is None:
                raise SchemaError(
                    f"{block.source} is no libSVM file, but the model knows no column by name, "
                    "only numbered ones"
                )
            yield block, model.outputs(block)


@final
class RejectedRecords:
    """Counts records that could not be read, and remembers the first.

    >>> rejected = RejectedRecords()
    >>> rejected.note is None
    True
    """

    def __init__(self) -> None:
        self.total = 0
        self.first: DeadLetter | None = None

    def update(self, letters: Sequence[DeadLetter]) -> None:
        """Take in the rejected records of a block."""
        self.total += len(letters)
        if self.first is None and letters:
            self.first = letters[0]

    @property
    def note(self) -> str | None:
        """A sentence about them; None if there were none."""
        first = self.first
        if first is None:
            return None
        if self.total == 1:
            return f"1 record was rejected: {first.place}: {first.detail}"
        return f"{self.total:,} records were rejected; the first, {first.place}: {first.detail}"


COLUMNS = ("source", "position", "answer", "probabilities")
Row = tuple[str, int, Any, Any]


async def write_predictions(
    model: Model, files: tuple[str, ...], output: Path | None, options: dict[str, Any]
) -> str | None:
    """Write a row for each sample; a note about rejected records, None if there were none.

    Raises:
        ConfigurationError: If there are no files.
        DataError: If a file can't be read.
        StreamnetError: If the output can't be written.
    """
    if output is None:
        return await _write(model, files, sys.stdout, options, as_csv=True)
    # What stands there already is replaced when all answers are written, and not before.
    part = output.with_name(f".{output.name}.part")
    try:
        with part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            note = await _write(model, files, file, options, as_csv=output.suffix == ".csv")
        part.replace(output)
    except OSError as error:
        raise StreamnetError(f"output {output} can't be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
    return note


async def _write(
    model: Model, files: tuple[str, ...], file: TextIO, options: dict[str, Any], *, as_csv: bool
) -> str | None:
    writer = csv.writer(file, lineterminator="\n")
    rejected = RejectedRecords()
    begun = False
    async with aclosing(predict_files(model, files, options, labelled=False)) as blocks:
        async for block, outputs in blocks:
            if as_csv and not begun:
                writer.writerow(COLUMNS)
            begun = True
            rejected.update(block.rejected)
            rows = _rows(model, block, outputs)
            if as_csv:
                writer.writerows((*row[:3], _encode_json(row[3])) for row in rows)
            else:
                file.writelines(
                    _encode_json(dict(zip(COLUMNS, row, strict=True))) + "\n" for row in rows
                )
    return rejected.note


def _encode_json(value: Any) -> str:
    return "" if value is None else msgspec.json.encode(value).decode()


def _rows(model: Model, block: Block, outputs: NDArray[np.float64]) -> Iterator[Row]:
    marks = block.marks[:-1]
    places = np.where(marks[:, 2] > 0, marks[:, 2], marks[:, 1]).tolist()
    for place, values in zip(places, outputs.tolist(), strict=True):
        if model.task is Task.REGRESSION:
            yield block.source, place, values[0], None
            continue
        best = max(range(len(values)), key=values.__getitem__, default=None)
        shares = zip(model.labels, values, strict=True)
        named = {name: float(f"{share:.6g}") for name, share in shares}
        yield block.source, place, None if best is None else model.labels[best], named
