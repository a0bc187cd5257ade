"""The parts of a run: what each of its models predicts, and how the stream looks to it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Sized
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, final

import numpy as np
from anyio import create_memory_object_stream
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from msgspec.structs import replace

from streamnet.errors import ConfigurationError, DataError, SchemaError
from streamnet.pipeline.concurrency import put
from streamnet.pipeline.control_messages import Barrier, Glance
from streamnet.pipeline.reader import Reader, SplitBlock, count_records
from streamnet.samples import TIMES, Block, Schema, Task
from streamnet.settings.horizon import list_horizons
from streamnet.settings.sinks import place_part
from streamnet.sources.columns import make_missing_column_error
from streamnet.sources.roles import weigh

PathLike = TypeVar("PathLike", str, Path)

MAX_PARTS = 64
_UNSAFE = re.compile(r"[^\w.+-]")  # in a file name


@final
class Part(NamedTuple):
    """What one model of a run predicts: a target, at a horizon."""

    name: str = ""  # empty if the run has no other part
    target: str | None = None  # None: that of the source
    horizon: int | str | None = None
    slug: str = ""  # its name as part of a file name

    def place(self, path: PathLike) -> PathLike:
        """The path or URL of a file of this part.

        >>> Part("cnt+24", slug="cnt+24").place("s3://bucket/model.json")
        's3://bucket/model.cnt+24.json'
        """
        if not self.name:
            return path
        folder, slash, name = str(path).rpartition("/")
        file = Path(name)
        return type(path)(f"{folder}{slash}{file.stem}.{self.slug}{file.suffix}")

    def place_stream(self, url: str) -> str:
        """The URL of a stream or web address of this part.

        >>> part = Part("cnt+24", slug="cnt+24")
        >>> part.place_stream("kafka://host/answers?user=me")
        'kafka://host/answers.cnt+24?user=me'
        """
        return place_part(url, self.slug) if self.name else url


def list_parts(targets: Sequence[str] | None = None, horizon: object = None) -> list[Part]:
    """The parts of a run, one for each target and horizon.

    >>> [part.name for part in list_parts(("a", "b"), "1,24h")]
    ['a+1', 'a+24h', 'b+1', 'b+24h']
    >>> list_parts(("a",), 24)
    [Part(name='', target='a', horizon=24, slug='')]

    Raises:
        ConfigurationError: If a target or horizon is given twice, or there are too many.
    """
    names = tuple(targets or ())
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f"target has {name!r} twice, but each must be another column")
    pairs = [(t, h) for t in names or (None,) for h in list_horizons(horizon) or (None,)]
    if len(pairs) == 1:
        target, ahead = pairs[0]
        return [Part("", target, ahead)]
    if len(pairs) > MAX_PARTS:
        raise ConfigurationError(
            f"there are {len(pairs)} targets and horizons, but must be at most {MAX_PARTS}"
        )
    found: list[Part] = []
    for target, ahead in pairs:
        name = (target or "") + ("" if ahead is None else f"+{ahead}")
        slug = _UNSAFE.sub("_", name)
        if any(slug == other.slug for other in found):
            slug = f"{slug}-{len(found) + 1}"
        found.append(Part(name, target, ahead, slug))
    return found


def check_only_part(parts: Sized) -> None:
    """Check that a run whose classes or keys are to be changed has no other part."""
    if len(parts) > 1:
        raise ConfigurationError(
            "classes and keys can't be changed in a run of several targets or horizons"
        )


@final
class TargetView:
    """A stream with one of its targets, and without the others.

    When a sample is predicted, none of its targets is known. Their last known values are no inputs
    either: in comparisons on real streams these made predictions no better.

    Args:
        target: Name of the target; None for that of the source.
        targets: Names of all targets; empty if there is one.

    >>> from streamnet.samples import Field, Kind
    >>> schema = Schema((Field("x", Kind.NUMBER), Field("b", Kind.NUMBER)), "a", Task.REGRESSION)
    >>> view = TargetView("b", ("a", "b")).schema(schema)
    >>> view.numbers, view.target
    (('x',), 'b')
    """

    def __init__(self, target: str | None, targets: Sequence[str]) -> None:
        self._target, self._targets = target, targets
        self._seen: tuple[Schema, Schema] | None = None  # the last schema, and its view

    def schema(self, schema: Schema) -> Schema:
        """The schema of the stream as this part sees it.

        Raises:
            SchemaError: If a target is not a column of the source, or one of times.
        """
        if not self._targets:
            return schema
        if self._seen is None or self._seen[0] is not schema:
            view = self._find(schema)
            if self._seen is not None and self._seen[1] == view:
                view = self._seen[1]
            self._seen = schema, view
        return self._seen[1]

    def _find(self, schema: Schema) -> Schema:
        kinds = dict(schema.fields)
        names = [*kinds, str(schema.target)]
        for name in self._targets:
            if name not in names:
                raise make_missing_column_error("the source", name, "target", names)
        kept = tuple(field for field in schema.fields if field.name not in self._targets)
        if self._target == schema.target:
            return Schema(kept, schema.target, schema.task)
        if kinds[str(self._target)] in TIMES:
            raise SchemaError(f"target {self._target!r} has times, but must have numbers or labels")
        numeric = self._target in schema.numbers
        return Schema(kept, self._target, Task.REGRESSION if numeric else Task.CLASSIFICATION)

    def take(self, block: Block) -> Block:
        """A block as this part sees it."""
        if not self._targets:
            return block
        whole, view = block.schema, self.schema(block.schema)
        places = [whole.numbers.index(name) for name in view.numbers]
        words = dict(zip(whole.words, block.words, strict=True))
        target = block.target
        if view.target in words:
            target = words[view.target]
        elif view.target != whole.target:
            target = block.numbers[:, whole.numbers.index(str(view.target))]
        taken = replace(
            block,
            schema=view,
            numbers=np.ascontiguousarray(block.numbers[:, places]),
            words=tuple(words[name] for name in view.words),
            target=target,
        )
        return taken if block.weight is None else weigh(taken, block.weight)


@final
class PartFeed:
    """The reader as the stages of one part see it: counts what that part was given."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.records: int = reader.records  # good and rejected ones that the part was given

    @property
    def stopped(self) -> bool:
        """Whether reading was stopped."""
        return self._reader.stopped

    @property
    def broken(self) -> DataError | None:
        """Why reading failed."""
        return self._reader.broken

    def give_up(self, error: DataError, block: Block, used: Block) -> None:
        """Stop reading because of an error in ``block``; only its part ``used`` was used."""
        self._reader.fail(error)
        self.records -= count_records(block) - count_records(used)

    def uncount(self, block: Block) -> None:
        """Count a block that was given, but not used, as not given."""
        self.records -= count_records(block)


class Branch(NamedTuple):
    """Where a fork sends what it receives to one part."""

    view: TargetView
    feed: PartFeed
    send: MemoryObjectSendStream[Any]


def open_branch(
    view: TargetView, feed: PartFeed, capacity: int
) -> tuple[Branch, MemoryObjectReceiveStream[Any]]:
    """A branch, and where its first stage receives."""
    send, receive = create_memory_object_stream[Any](capacity)
    return Branch(view, feed, send), receive


async def fork(
    receive: MemoryObjectReceiveStream[Any],
    branches: Mapping[str, Branch],
    slugs: Mapping[str, str],
) -> None:
    """Send every block to all parts, each with its own target, and every barrier in copies.

    Args:
        receive: Where blocks, barriers and glances come from.
        branches: Where they go, by name of the part.
        slugs: Names of the parts in file names.
    """
    try:
        with receive:
            async for item in receive:
                if isinstance(item, Glance):
                    await put(branches[item.part].send, item)
                elif isinstance(item, Barrier):
                    for name, copy in item.split(slugs).items():
                        await put(branches[name].send, copy)
                else:
                    for branch in branches.values():
                        branch.feed.records += count_records(item.block)
                        block = branch.view.take(item.block)
                        await put(branch.send, SplitBlock(block, item.ends_round))
    finally:
        for branch in branches.values():
            branch.send.close()
