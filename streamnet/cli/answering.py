"""Writing a model's answers, a row for each sample."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from typing import TextIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamnet.cli.asking import answers
from streamnet.cli.asking import rejected_note
from streamnet.errors import ConfigurationError
from streamnet.modelfiles import Model
from streamnet.samples import Block
from streamnet.samples import Task

__all__ = ("write_answers",)

COLUMNS = ("source", "position", "answer", "probabilities")


async def write_answers(
    model: Model, files: tuple[str, ...], output: Path | None, options: dict[str, Any]
) -> str | None:
    """Write a row for each sample; a note about rejected records, None if there were none.

    Raises:
        ConfigurationError: If there are no files, or the output has another suffix.
        DataError: If a file can't be read.
    """
    if not files:
        raise ConfigurationError("no file is given to predict")
    if output is not None and output.suffix not in (".csv", ".jsonl"):
        raise ConfigurationError(f"output is {str(output)!r}, but must end in .csv or .jsonl")
    if output is None:
        return await _write(model, files, sys.stdout, options, as_csv=True)
    try:
        with output.open("w", encoding="utf-8", newline="") as file:
            return await _write(model, files, file, options, as_csv=output.suffix == ".csv")
    except OSError as error:
        raise ConfigurationError(f"output {output}: {error.strerror}") from error


async def _write(
    model: Model, files: tuple[str, ...], file: TextIO, options: dict[str, Any], *, as_csv: bool
) -> str | None:
    writer = csv.writer(file, lineterminator="\n")
    if as_csv:
        writer.writerow(COLUMNS)
    rejected = []
    async for block, outputs in answers(model, files, target=None, labelled=False, **options):
        rejected += block.rejected
        for row in _rows(model, block, outputs):
            if as_csv:
                shares = row[3] and msgspec.json.encode(row[3]).decode()
                writer.writerow((*row[:3], shares))
            else:
                file.write(
                    msgspec.json.encode(dict(zip(COLUMNS, row, strict=True))).decode() + "\n"
                )
    return rejected_note(rejected)


def _rows(model: Model, block: Block, outputs: NDArray[np.float64]) -> Iterator[tuple[Any, ...]]:
    marks = block.marks[:-1]
    places = np.where(marks[:, 2] > 0, marks[:, 2], marks[:, 1]).tolist()
    for place, values in zip(places, outputs.tolist(), strict=True):
        if model.task is Task.REGRESSION:
            yield block.source, place, values[0], None
            continue
        shares = {
            name: float(f"{share:.6g}") for name, share in zip(model.labels, values, strict=True)
        }
        yield block.source, place, max(shares, key=lambda name: shares[name], default=None), shares
