"""Loading of files of numeric columns as vectors, through `streamnet.sources`."""

from __future__ import annotations

import os
from contextlib import aclosing
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from anyio.from_thread import start_blocking_portal
from msgspec.structs import replace
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError, DataError
from streamnet.samples import TIMES, Block, DeadLetter, Field, Kind, Schema, SparseRows, Task
from streamnet.sources import Columns, Reason, open_files
from streamnet.sources.storage.raw import STANDARD_INPUT

Header = Literal["auto", True, False]
Rejected = Literal["raise", "collect"]

MAX_INPUTS = 1 << 20  # of a vector from libSVM: a set is dense


class LoadedVectors(NamedTuple):
    """The content of a file."""

    schema: Schema  # of the vectors; all fields are numbers or times
    vectors: NDArray[np.float64]  # shape=(n, d)
    targets: list[Any]  # n labels or numbers
    rejected: tuple[DeadLetter, ...]


def read_vectors(
    path: str | os.PathLike[str],
    *,
    task: Task | None,
    target: str | None,
    header: Header,
    format: str | None,  # noqa: A002 - as in open_files
    rejected: Rejected,
    inputs: int | None,
    first_index: int | None,
) -> LoadedVectors:
    """Read a whole file; see `Set.load` for arguments and errors.

    It runs an event loop in a thread of its own, so it may be called while another loop runs.
    """
    if header not in ("auto", True, False):
        raise ConfigurationError(f"header is {header!r}, but must be 'auto', True or False")
    if rejected not in ("raise", "collect"):
        raise ConfigurationError(f"rejected is {rejected!r}, but must be 'raise' or 'collect'")
    if first_index not in (None, 0, 1):
        raise ConfigurationError(f"first_index is {first_index}, but must be 0 or 1")
    if inputs is not None and not 1 <= inputs <= MAX_INPUTS:
        raise ConfigurationError(f"inputs is {inputs}, but must be from 1 to {MAX_INPUTS}")
    if os.fspath(path) == STANDARD_INPUT or Path(path).is_fifo():
        raise ConfigurationError(
            f"path is {os.fspath(path)!r}, but must be a file: it is read twice"
        )
    given: dict[str, Any] = {"format": format, "header": None if header == "auto" else header}
    with start_blocking_portal() as portal:
        schema, blocks = portal.call(_read_blocks, os.fspath(path), task, target, given, rejected)
    letters = tuple(letter for block in blocks for letter in block.rejected)
    if not any(map(len, blocks)):
        why = ""
        if letters:
            why = f": all were rejected, the first at {letters[0].place}: {letters[0].detail}"
        raise DataError(f"{os.fspath(path)} holds no samples{why}")
    targets = [one for block in blocks if block.target is not None for one in block.target.tolist()]
    if schema.fields:
        return LoadedVectors(
            schema, np.concatenate([block.numbers for block in blocks]), targets, letters
        )
    sparse = [block.sparse for block in blocks if block.sparse is not None]
    fields, vectors = _to_dense(os.fspath(path), sparse, inputs, first_index)
    return LoadedVectors(Schema(fields, schema.target, schema.task), vectors, targets, letters)


async def _read_blocks(
    path: str, task: Task | None, target: str | None, given: dict[str, Any], rejected: Rejected
) -> tuple[Schema, list[Block]]:
    schema = _make_numeric_schema(path, await _infer_schema(path, target, given), target)
    # The task is inferred from the target's values if it is not given.
    columns = Columns(schema=schema, task=task, missing=(), labels_required=True)
    blocks = []
    async with aclosing(open_files([path], columns=columns, **given)) as source:
        schema = await source.open()
        while (block := await source.receive()) is not None:
            block = _reject_incomplete(block)
            if block.rejected and rejected == "raise":
                raise DataError(f"{block.rejected[0].place}: {block.rejected[0].detail}")
            blocks.append(block)
    return schema, blocks


async def _infer_schema(path: str, target: str | None, given: dict[str, Any]) -> Schema:
    """Infer the columns, before one of them becomes the target by default."""
    columns = Columns(target=target, missing=())
    async with aclosing(open_files([path], columns=columns, **given)) as source:
        return await source.open()


def _make_numeric_schema(path: str, schema: Schema, target: str | None) -> Schema:
    """Make all columns numbers, and the last one the target if none is named."""
    fields, name = schema.fields, schema.target
    if name is None and target is None:
        *front, last = fields
        fields, name = tuple(front), last.name
    if not fields and schema.fields:
        raise DataError(f"{path} has only the column {name!r}, but there must be inputs too")
    kinds = [f.kind if f.kind in TIMES else Kind.NUMBER for f in fields]
    return Schema(tuple(Field(f.name, kind) for f, kind in zip(fields, kinds, strict=True)), name)


def _reject_incomplete(block: Block) -> Block:
    """Reject samples that lack an input or the target."""
    gaps = np.isnan(block.numbers)
    bad = gaps.any(axis=1)
    if block.target is not None and block.target.dtype == object:
        bad |= np.array([not label for label in block.target.tolist()], np.bool_)
    if not bad.any():
        return block
    letters = []
    for row in np.flatnonzero(bad).tolist():
        missing = [
            name for name, gap in zip(block.schema.numbers, gaps[row], strict=True) if gap
        ] or [str(block.schema.target)]
        reason = Reason.NUMBER if gaps[row].any() else Reason.TARGET_MISSING
        offset, _, line = block.marks[row].tolist()
        detail = f"column {missing[0]!r} has no value"
        letters.append(DeadLetter(block.source, offset, line or None, str(reason), detail, ""))
    together = sorted((*block.rejected, *letters), key=lambda letter: letter.offset)
    good = block.take(np.flatnonzero(~bad))
    return replace(good, rejected=tuple(together))


def _to_dense(
    path: str, parts: list[SparseRows], inputs: int | None, first_index: int | None
) -> tuple[tuple[Field, ...], NDArray[np.float64]]:
    """Convert sparse rows to vectors; indices start at 1 unless one is 0."""
    used = [np.arange(part.index.shape[1]) < part.count[:, None] for part in parts]
    found = np.concatenate([part.index[u] for part, u in zip(parts, used, strict=True)])
    lowest, highest = int(found.min(initial=1)), int(found.max(initial=0))
    first = min(lowest, 1) if first_index is None else first_index
    width = max(1, highest + 1 - first) if inputs is None else inputs
    if lowest < first:
        raise DataError(f"{path} has the index {lowest}, but first_index is {first}")
    if highest + 1 - first > width or width > MAX_INPUTS:
        most = width if inputs is not None else MAX_INPUTS
        raise DataError(f"{path} has the index {highest}, but may have {most} inputs only")
    vectors = np.zeros((sum(len(part.count) for part in parts), width))
    start = 0
    for part, u in zip(parts, used, strict=True):
        rows = start + np.nonzero(u)[0]
        vectors[rows, part.index[u] - first] = part.value[u]
        start += len(part.count)
    return tuple(Field(f"f{first + i}", Kind.NUMBER) for i in range(width)), vectors
