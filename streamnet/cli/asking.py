"""Asking a saved model about files: what predict and evaluate share."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any
from typing import final

from numpy.typing import NDArray

from streamnet.errors import ConfigurationError
from streamnet.errors import SchemaError
from streamnet.modelfiles import Model
from streamnet.samples import Block
from streamnet.samples import DeadLetter
from streamnet.samples import Schema
from streamnet.sources import Columns
from streamnet.sources import open_files

__all__ = ("Rejected", "answers")


async def answers(
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
class Rejected:
    """Counts records that could not be read, and remembers the first.

    >>> rejected = Rejected()
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
