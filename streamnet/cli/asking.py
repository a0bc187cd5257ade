"""Asking a saved model about files: what predict and evaluate share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from streamnet.modelfiles import Model
from streamnet.samples import Block
from streamnet.samples import DeadLetter
from streamnet.samples import Schema
from streamnet.sources import Columns
from streamnet.sources import open_files

__all__ = ("answers", "rejected_note")


async def answers(
    model: Model, files: tuple[str, ...], *, target: str | None, labelled: bool, **options: Any
) -> AsyncIterator[tuple[Block, NDArray[Any]]]:
    """Each block of some files with the model's outputs.

    Columns are understood as the model learned them.

    Args:
        model: What is asked.
        files: Names, glob patterns, or ``-``.
        target: Column with the truth; None is the one that the model learned.
        labelled: Whether the truth must be there.
        options: More settings of `open_files`; None stands for its default.
    """
    schema = Schema(model.fields, target or model.about.get("target"), model.task)
    columns = Columns(schema=schema, target_optional=not labelled)
    given = {name: value for name, value in options.items() if value is not None}
    source = open_files(files, columns=columns, **given)
    try:
        await source.open()
        while (block := await source.receive()) is not None:
            yield block, model.outputs(block)
    finally:
        await source.aclose()


def rejected_note(letters: Sequence[DeadLetter]) -> str | None:
    """A sentence about records that could not be read; None if there were none."""
    if not letters:
        return None
    first = letters[0]
    where = f"line {first.line}" if first.line else f"record at {first.offset}"
    return (
        f"{len(letters):,} records were rejected; the first, {first.source}, {where}: "
        f"{first.detail}"
    )
