"""IterableSource: samples of any plain or asynchronous iterable."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from typing import final

from anyio import move_on_after
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
from streamnet.sources.columns import missing_target
from streamnet.sources.conversion import as_kept
from streamnet.sources.conversion import as_sample
from streamnet.sources.kinds import WHITESPACE
from streamnet.sources.kinds import task_of
from streamnet.sources.pump import Pump
from streamnet.sources.rows import RowReader
from streamnet.sources.stock import Stock
from streamnet.sources.threadpump import ThreadPump

__all__ = ("IterableSource",)

MOST_ITEMS = 1024  # of a block, and waiting
ITEMS_OF_HEAD = 1000
LOOK = 0.02  # seconds
QUIET_LOOKS = 10  # without anything new, after which the head of a live iterable is complete
LOOKS = 50  # after which it is complete even if it trickles on
FEW_ITEMS = 32  # converted at once: a worker thread would take longer

Item = Sample | tuple[Sample, Any]
Supply = Pump[Item] | ThreadPump[Item] | Stock[Item]


@final
class IterableSource(Source):
    """Samples of an iterable of dicts, or of pairs of a dict and a target.

    A plain iterable is iterated in a thread of its own, unless it is a list or tuple, an
    asynchronous one in a task of its own that is never cancelled before `aclose`; what has arrived
    is given at once. A feature gets its kind by the first value that is there, see `RowReader`.

    Where ``task`` is not given, an asynchronous iterable's first target tells it, and the targets
    of a plain one's first 1,000 samples. If it waits for them, it is those that are there once
    nothing more has come for 0.2 seconds, or one second after the first: what they tell may then
    depend on when they came, which ``task`` prevents.

    To resume, hand over an iterable that begins again with the first sample: those before the
    position are left out.

    Args:
        iterable: Where samples come from.
        target: Name of the target in the dicts, or for the target of pairs.
        task: What is predicted.
        kinds: Kinds of features whose first value would suggest another one.
        columns: All of these settings and more, in place of the three.
        name: What positions and rejected samples call this source.

    Raises:
        ConfigurationError: If it is no iterable, or a setting breaks its rule.

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
        self._plain = not isinstance(iterable, AsyncIterable)
        self._supply = _supply_of(iterable)
        self._reader = RowReader(columns, name=name)
        self._items: list[Item] = []  # taken, but not yet converted
        self._blocks: deque[Block] = deque()
        self._failure: Exception | None = None
        self._pairs: bool | None = None  # None: no item has told
        self._ended = False

    async def open(self, after: Position | None = None) -> Schema:
        """Look at the first items, if they are needed to tell the task."""
        self._supply.start()
        if self._plain or self._columns.task is None:
            await self._take()
            if not self._items and self._failure is None:
                raise DataError(f"{self._name} holds no samples")
        await self._begin()
        await self._tell_task()
        if after is not None:
            await self._skip(after)
        return self._reader.schema

    async def receive(self) -> Block | None:
        """The samples that have arrived; None at the end."""
        while not self._blocks:
            if not self._items:
                await self._take()
            if not self._items:
                self._end()
                return None
            if len(self._items) < FEW_ITEMS:
                self._convert_first(MOST_ITEMS)
            else:
                await to_thread.run_sync(self._convert_first, MOST_ITEMS)
        return self._blocks.popleft()

    def export_state(self, after: Position | None) -> dict[str, Any]:
        """The task, since the first samples need not be there as early when one goes on."""
        del after
        task = self._columns.task
        return {} if task is None else {"task": task.value}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Take over the task."""
        if self._columns.task is None and "task" in state:
            self._use(replace(self._columns, task=Task(state["task"])))

    async def aclose(self) -> None:
        """Let go of the iterable: of an asynchronous one, end its task.

        The thread of a plain one that is waiting can't be ended. It is left alone, and asks for
        nothing more.
        """
        self._ended = True
        self._items.clear()
        self._blocks.clear()
        await self._supply.aclose()

    async def _begin(self) -> None:
        """Tell from the first items whether they are pairs, and the task."""
        columns = self._columns
        if self._items:
            self._pairs = isinstance(self._items[0], tuple)
        if self._pairs and columns.target is None:
            columns = columns.with_target("target")
        if self._plain and columns.task is None and columns.target is not None:
            await self._wait_for_head()
            columns = replace(columns, task=self._told_task(columns.target))
        self._use(columns)

    def _use(self, columns: Columns) -> None:
        if columns is not self._columns:
            self._columns = columns
            self._reader = RowReader(columns, name=self._name)

    async def _wait_for_head(self) -> None:
        """Wait for the first 1,000 items, or for those that are there after a quiet moment.

        Time is counted in looks: after whatever stops the whole process for long, such as a
        compiler, an iterator that does not wait for anything is quiet for one look at most.
        """
        quiet = 0
        for _ in range(LOOKS):
            with move_on_after(LOOK):
                while len(self._items) < ITEMS_OF_HEAD and not self._ended:
                    await self._take()
                    quiet = 0
                return
            quiet += 1
            if quiet > QUIET_LOOKS:
                return

    def _told_task(self, target: str) -> Task | None:
        reading = self._columns.reading()
        values = [_target_of(item, target) for item in self._items[:ITEMS_OF_HEAD]]
        known = [value for value in values if not reading.is_missing(value)]
        if not known:
            return None
        return task_of(v.strip(WHITESPACE) if isinstance(v, str) else v for v in known)

    async def _tell_task(self) -> None:
        """Read samples until the first target has told the task, where nothing else did."""
        names: dict[str, None] = {}
        while self._columns.target is not None and self._reader.schema.task is None:
            if not self._items:
                await self._take()
            if not self._items:
                self._end()
                raise self._no_target(list(names), "")
            if self._reader.records >= ITEMS_OF_HEAD:
                raise self._no_target(list(names), f" in its first {ITEMS_OF_HEAD:,} samples")
            first: Any = self._items[0]
            if isinstance(first, Mapping):
                names.update((name, None) for name in first if isinstance(name, str))
            self._convert_first(1)

    def _no_target(self, names: list[str], where: str) -> DataError:
        """The error that says that no sample has the target, or else why the last one has none."""
        target = self._columns.target
        if target is not None and names and target not in names:
            return missing_target(self._name, target, where, names)
        letters = [letter for block in self._blocks for letter in block.rejected]
        why = letters[-1].detail if letters else f"the target {target!r} is missing"
        return DataError(f"{self._name} holds no sample with a target{where}: {why}")

    async def _skip(self, after: Position) -> None:
        """Read what is in front of a position, for the schema's sake, and forget it."""
        while (skipped := after.record - self._reader.records) > 0:
            if not self._items:
                await self._take()
            if not self._items:
                raise DataError(f"{self._name} ends before {after}: it is not the same any more")
            await to_thread.run_sync(self._convert_first, skipped)
        self._blocks = deque(b for b in self._blocks if b.marks[-1, 1] > after.record)

    async def _take(self) -> None:
        """Wait for items, and keep those that come."""
        if self._ended:
            return
        before = len(self._items)
        try:
            self._items += await self._supply.take()
        except Exception as error:  # noqa: BLE001 - raised again behind the items before it
            self._failure = error
        self._ended = len(self._items) == before

    def _end(self) -> None:
        self._ended = True
        if self._failure is not None:
            why = str(self._failure)
            if not isinstance(self._failure, DataError):
                why = f"{type(self._failure).__name__}: {why}"
            raise DataError(f"{self._name} broke off ({why})") from self._failure

    def _convert_first(self, most: int) -> None:
        """Convert the first items: until that is done they wait, or a cancelled call lost them."""
        items, self._items = self._items[:most], self._items[most:]
        samples: list[Any] = list(items)
        targets: list[Any] | None = None
        if self._pairs is None:
            self._pairs = isinstance(items[0], tuple)
        if self._pairs:
            samples = [i[0] if isinstance(i, tuple) and len(i) == 2 else i for i in items]
            name = self._columns.target
            targets = [_target_of(item, name) for item in items]
        self._blocks.extend(self._reader.blocks(samples, targets))


def _supply_of(iterable: Iterable[Item] | AsyncIterable[Item]) -> Supply:
    if isinstance(iterable, AsyncIterable):
        return Pump(iterable, MOST_ITEMS, _kept)
    if type(iterable) in (list, tuple):
        return Stock(iter(iterable), MOST_ITEMS)
    given: Any = iterable
    if not isinstance(given, Iterable):
        call = "; call it, to hand over what it gives" if callable(given) else ""
        raise ConfigurationError(
            f"iterable is of type {type(given).__name__}, but must be a plain or asynchronous "
            f"iterable of samples{call}"
        )
    return ThreadPump(map(_kept, iterable), MOST_ITEMS)


def _kept(item: Any) -> Any:
    """An item as it was given, though it waits: its dict may be filled anew meanwhile."""
    if isinstance(item, tuple) and len(item) == 2:
        return as_kept(item[0]), item[1]
    return as_kept(item)


def _target_of(item: Any, name: str | None) -> Any:
    if isinstance(item, tuple):
        return item[1] if len(item) == 2 else None
    sample = as_sample(item)
    return sample.get(name) if isinstance(sample, Mapping) else None
