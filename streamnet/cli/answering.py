"""Writing a model's answers, a row for each sample."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any
from typing import TextIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamnet.cli.asking import Rejected
from streamnet.cli.asking import answers
from streamnet.errors import StreamnetError
from streamnet.modelfiles import Model
from streamnet.samples import Block
from streamnet.samples import Task

__all__ = ("COLUMNS", "write_answers")

COLUMNS = ("source", "position", "answer", "probabilities")
Row = tuple[str, int, Any, Any]


async def write_answers(
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
    rejected = Rejected()
    begun = False
    async with aclosing(answers(model, files, options, labelled=False)) as blocks:
        async for block, outputs in blocks:
            if as_csv and not begun:
                writer.writerow(COLUMNS)
            begun = True
            rejected.update(block.rejected)
            rows = _rows(model, block, outputs)
            if as_csv:
                writer.writerows((*row[:3], _as_text(row[3])) for row in rows)
            else:
                file.writelines(
                    _as_text(dict(zip(COLUMNS, row, strict=True))) + "\n" for row in rows
                )
    return rejected.note


def _as_text(value: Any) -> str:
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
