"""IterableSource: samples of any plain or asynchronous iterable."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from typing import Any
from typing import final

from anyio import to_thread

from streamnet.errors import ConfigurationError
from streamnet.errors import DataError
from streamnet.samples import Block
from streamnet.samples import Kind
from streamnet.samples import Position
from streamnet.samples import Sample
from streamnet.samples import Schema
from streamnet.samples import Task
from streamnet.sources.base import Source
from streamnet.sources.columns import Columns
from streamnet.sources.kinds import WHITESPACE
from streamnet.sources.kinds import task_of
from streamnet.sources.pump import Pump
from streamnet.sources.rows import RowReader

__all__ = ("IterableSource",)

MOST_ITEMS = 1024  # of a block, and waiting
ITEMS_OF_HEAD = 1000
FEW_ITEMS = 32  # converted at once: a worker thread would take longer

Item = Sample | tuple[Sample, Any]


@final
class IterableSource(Source):
    """Samples of an iterable of dicts, or of pairs of a dict and a target.

    A plain iterable is iterated in a worker thread, an asynchronous one in a task of its own that
    is never cancelled before `aclose`; what has arrived is given at once. A feature gets its kind
    by the first value that is there, see `RowReader`. Where ``task`` is not given, a plain
    iterable's first 1,000 targets tell it, an asynchronous one's first.

    To resume, hand over an iterable that begins again with the first sample: those before the
    position are left out.

    Args:
        iterable: Where samples come from.
        target: Name of the target in the dicts, or for the target of pairs.
        task: What is predicted.
        kinds: Kinds of features whose first value would suggest another one.
        columns: All of these settings and more, in place of the three.
        name: What positions and rejected samples call this source.

    >>> import anyio
    >>> async def main():
    ...     source = IterableSource([({"age": 39, "job": "clerk"}, "low")])
    ...     schema = await source.open()
    ...     block = await source.receive()
    ...     return schema.task.value, block.numbers, block.target.tolist()
    >>> anyio.run(main)
    ('classification', array([[39.]]), ['low'])
    """

    def __init__(
        self,
        iterable: Iterable[Item] | AsyncIterable[Item],
        *,
        target: str | None = None,
        task: Task | None = None,
        kinds: Mapping[str, Kind] | None = None,
        columns: Columns | None = None,
        name: str = "iterable",
    ) -> None:
        if columns is None:
            columns = Columns(target=target, task=task, kinds=kinds or {})
        elif (target, task, kinds) != (None, None, None):
            raise ConfigurationError("columns is given, so target, task and kinds must not be")
        self._columns = columns
        self._name = name
        self._plain: Iterator[Item] | None = None
        self._pump: Pump[Item] | None = None
        if isinstance(iterable, AsyncIterable):
            self._pump = Pump(iterable, MOST_ITEMS)
        else:
            self._plain = iter(iterable)
        self._reader = RowReader(columns, name=name)
        self._items: list[Item] = []  # taken, but not yet converted
        self._blocks: deque[Block] = deque()
        self._failure: Exception | None = None
        self._pairs = False
        self._ended = False

    async def open(self, after: Position | None = None) -> Schema:
        """Look at the first items, if they are needed to tell the task."""
        if self._pump is not None:
            self._pump.start()
        if self._plain is not None or self._columns.task is None:
            await self._take(ITEMS_OF_HEAD)
            if not self._items and self._failure is None:
                raise DataError(f"{self._name} holds no samples")
        self._begin()
        await self._tell_task()
        if after is not None:
            await self._skip(after)
        return self._reader.schema

    async def receive(self) -> Block | None:
        """The samples that have arrived; None at the end."""
        while not self._blocks:
            if not self._items:
                await self._take(MOST_ITEMS)
            if not self._items:
                self._end()
                return None
            if len(self._items) < FEW_ITEMS:
                self._convert_first(MOST_ITEMS)
            else:
                await to_thread.run_sync(self._convert_first, MOST_ITEMS)
        return self._blocks.popleft()

    async def aclose(self) -> None:
        """Let go of the iterable; of an asynchronous one, end its task."""
        self._ended = True
        self._items.clear()
        self._blocks.clear()
        if self._pump is not None:
            await self._pump.aclose()

    async def _tell_task(self) -> None:
        """Read samples until the first target has told the task, where nothing else did."""
        while self._columns.target is not None and self._reader.schema.task is None:
            if not self._items:
                await self._take(MOST_ITEMS)
            if not self._items:
                self._end()
                raise DataError(f"{self._name} holds no sample with a target")
            self._convert_first(1)

    async def _skip(self, after: Position) -> None:
        """Read what is in front of a position, for the schema's sake, and forget it."""
        while (skipped := after.record - self._reader.records) > 0:
            if not self._items:
                await self._take(MOST_ITEMS)
            if not self._items:
                raise DataError(f"{self._name} ends before {after}: it is not the same any more")
            await to_thread.run_sync(self._convert_first, skipped)
        self._blocks = deque(b for b in self._blocks if b.marks[-1, 1] > after.record)

    async def _take(self, most: int) -> None:
        """Wait for items, and keep those that come."""
        if self._ended:
            return
        if self._plain is not None:
            await to_thread.run_sync(self._pull, self._plain, most)
        elif self._pump is not None:
            try:
                self._items += await self._pump.take()
            except Exception as error:  # noqa: BLE001 - whatever the iterable raised
                self._failure = error
        self._ended = not self._items

    def _pull(self, plain: Iterator[Item], most: int) -> None:
        try:
            for item in islice(plain, most):
                self._items.append(item)
        except Exception as error:  # noqa: BLE001 - raised again behind the items before it
            self._failure = error

    def _end(self) -> None:
        self._ended = True
        if self._failure is not None:
            why = f"{type(self._failure).__name__}: {self._failure}"
            raise DataError(f"{self._name} broke off ({why})") from self._failure

    def _begin(self) -> None:
        """Tell from the items that are there whether they are pairs, and the task."""
        columns = self._columns
        first = self._items[0] if self._items else None
        self._pairs = isinstance(first, tuple)
        if self._pairs and columns.target is None:
            columns = columns.with_target("target")
        if self._plain is not None and columns.task is None and columns.target is not None:
            columns = replace(columns, task=self._told_task(columns.target))
        if columns is not self._columns:
            self._columns = columns
            self._reader = RowReader(columns, name=self._name)

    def _told_task(self, target: str) -> Task | None:
        reading = self._columns.reading()
        values = [_target_of(item, target) for item in self._items]
        known = [value for value in values if not reading.is_missing(value)]
        if not known:
            return None
        return task_of(v.strip(WHITESPACE) if isinstance(v, str) else v for v in known)

    def _convert_first(self, most: int) -> None:
        """Convert the first items: until that is done they wait, or a cancelled call lost them."""
        items, self._items = self._items[:most], self._items[most:]
        samples: list[Any] = list(items)
        targets: list[Any] | None = None
        if self._pairs:
            samples = [i[0] if isinstance(i, tuple) and len(i) == 2 else i for i in items]
            name = self._columns.target
            targets = [_target_of(item, name) for item in items]
        self._blocks.extend(self._reader.blocks(samples, targets))


def _target_of(item: Any, name: str | None) -> Any:
    if isinstance(item, tuple):
        return item[1] if len(item) == 2 else None
    return item.get(name) if isinstance(item, Mapping) else None
