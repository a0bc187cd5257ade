"""`IterableSource`: samples of any synchronous or asynchronous iterable.

Iterables are prefetched in a task, in a thread, or directly from a list.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import suppress
from contextvars import copy_context
from dataclasses import replace
from itertools import islice
from threading import Event as ThreadEvent
from threading import Thread
from typing import Any, Generic, TypeVar, final

import msgspec
import numpy as np
from anyio import (
    CancelScope,
    Event,
    RunFinishedError,
    current_time,
    from_thread,
    get_cancelled_exc_class,
    move_on_after,
    sleep,
    to_thread,
)
from anyio.lowlevel import EventLoopToken, current_token

from streamnet.errors import ConfigurationError, DataError
from streamnet.samples import Block, Kind, Position, Sample, Schema, Task
from streamnet.sources.base import Source
from streamnet.sources.columns import Columns, make_missing_target_error
from streamnet.sources.inference import WHITESPACE
from streamnet.sources.number_styles import infer_target
from streamnet.sources.roles import WeightColumn
from streamnet.sources.rows import RowReader, copy_sample, to_mapping

T = TypeVar("T")


@final
class AsyncPrefetcher(Generic[T]):
    """Iterates in a task of its own, so that waiting for items can be cancelled.

    The task does not belong to a task group, because a source may be opened by one task and closed
    by another. `aclose` ends it, or else the event loop does.
    """

    def __init__(self, iterable: AsyncIterable[T], most: int, keep: Callable[[T], T]) -> None:
        self._iterable = iterable
        self._most = most
        self._keep = keep
        self._items: deque[T] = deque()
        self._failure: Exception | None = None
        self._running = False
        self._ended = False

    def start(self) -> None:
        """Start iterating in the event loop of the caller."""
        self._scope = CancelScope()
        self._arrived = Event()
        self._room = Event()
        self._done = Event()
        self._running = True
        run = copy_context().run
        Thread(target=run, args=(self._host, current_token()), daemon=True).start()

    async def take(self) -> list[T]:
        """Take the prefetched items, at least one; none at the end, where a failure is raised."""
        while not self._items and not self._ended:
            self._arrived = Event()
            await self._arrived.wait()
        if not self._items and self._failure is not None:
            raise self._failure
        items = list(self._items)
        self._items.clear()
        self._room.set()
        return items

    async def aclose(self) -> None:
        """End the task."""
        if self._running:
            self._scope.cancel()
            await self._done.wait()
            self._running = False

    def _host(self, token: EventLoopToken) -> None:
        # The event loop may end first; then no task waits for items.
        with suppress(RunFinishedError, CancelledError):
            from_thread.run(self._run, token=token)

    async def _run(self) -> None:
        try:
            with self._scope:
                await self._iterate()
        except Exception as error:  # noqa: BLE001 - `take` raises it
            self._failure = error
        except BaseException as error:  # noqa: BLE001 - likewise
            # Our own scope would absorb its cancellation. So the iterable was cancelled from
            # outside or wants to exit, or the event loop ends, when no task waits for items.
            self._failure = DataError(f"{type(error).__name__} was raised in it")
            self._failure.__cause__ = error
        finally:
            self._ended = True
            self._arrived.set()
            self._done.set()

    async def _iterate(self) -> None:
        iterator = aiter(self._iterable)
        try:
            async for item in iterator:
                self._items.append(self._keep(item))
                self._arrived.set()
                if len(self._items) >= self._most:
                    self._room = Event()
                    await self._room.wait()
        finally:
            close: Any = getattr(iterator, "aclose", None)
            if close is not None:
                with CancelScope(shield=True):
                    await close()


CLOSE_SECONDS = 0.2  # in which an iterator that never waits yields its next item
GATHER_SECONDS = 0.01  # to wait for more items if they come faster than that


@final
class ThreadPrefetcher(Generic[T]):
    """Iterates in a thread of its own, so that waiting for items can be cancelled.

    An iterator that waits, for example for a queue, can't be interrupted. Its thread is abandoned
    then; as a daemon thread it does not keep the interpreter from exiting. No other thread uses the
    iterator.
    """

    def __init__(self, iterator: Iterator[T], most: int) -> None:
        self._iterator = iterator
        self._most = most
        self._items: deque[T] = deque()
        self._failure: BaseException | None = None
        self._taken = -math.inf  # when items were taken last, by the event loop's clock
        self._room = ThreadEvent()
        self._waiting: Event | None = None  # created by the task that waits, set by the thread
        self._running = False
        self._closed = False
        self._ended = False

    def start(self) -> None:
        """Start iterating, and notify the event loop of the caller of new items."""
        self._token = current_token()
        self._running = True
        Thread(target=copy_context().run, args=(self._run,), daemon=True).start()

    async def take(self) -> list[T]:
        """Take the prefetched items, at least one; none at the end, where a failure is raised."""
        if not self._items:
            await self._wait_until(lambda: bool(self._items) or self._ended or self._closed)
            if current_time() - self._taken < GATHER_SECONDS:
                await sleep(GATHER_SECONDS)
        self._taken = current_time()
        if not self._items and self._failure is not None:
            if isinstance(self._failure, get_cancelled_exc_class()):
                # Raised here, it would look as if the waiting task had been cancelled.
                name = type(self._failure).__name__
                raise DataError(f"{name} was raised in it") from self._failure
            raise self._failure
        # One by one, since the thread may append at the same time.
        items = [self._items.popleft() for _ in range(len(self._items))]
        self._room.set()
        return items

    async def aclose(self) -> None:
        """Stop iterating. An iterator that never waits is not running any more afterwards."""
        if self._running:
            self._running = False
            self._closed = True
            self._room.set()
            with move_on_after(CLOSE_SECONDS, shield=True):
                await self._wait_until(lambda: self._ended)

    async def _wait_until(self, ready: Callable[[], bool]) -> None:
        # The event is created before items are checked, while the thread adds items before it
        # checks the event: whichever comes second sees what the other one did.
        try:
            while not ready():
                event = self._waiting = Event()
                if not ready():
                    await event.wait()
        finally:
            self._waiting = None

    def _notify(self) -> None:
        waiting = self._waiting
        if waiting is not None and not waiting.is_set():
            with suppress(RunFinishedError):  # no task waits any more
                from_thread.run_sync(waiting.set, token=self._token)

    def _run(self) -> None:
        try:
            for item in self._iterator:
                self._items.append(item)
                self._notify()
                if len(self._items) >= self._most:
                    self._room.clear()
                    if len(self._items) >= self._most and not self._closed:
                        self._room.wait()
                if self._closed:
                    break
        except BaseException as error:  # noqa: BLE001 - `take` raises it
            self._failure = error
        self._ended = True
        self._notify()


@final
class ListPrefetcher(Generic[T]):
    """Takes the items of a list in batches; needs neither a task nor a thread."""

    def __init__(self, iterator: Iterator[T], most: int) -> None:
        self._iterator = iterator
        self._most = most

    def start(self) -> None:
        """Do nothing."""

    async def take(self) -> list[T]:
        """Take the next items, at most ``most``; none at the end."""
        return list(islice(self._iterator, self._most))

    async def aclose(self) -> None:
        """Do nothing."""


MAX_ITEMS = 1024  # in a block, and prefetched
HEAD_ITEMS = 1000
POLL_SECONDS = 0.02
QUIET_POLLS = 10  # without new items, after which the head of a live iterable is complete
MAX_POLLS = 50  # after which it is complete even if items keep coming
FEW_ITEMS = 32  # below it, items are converted directly: a worker thread would take longer

Item = Sample | tuple[Sample, Any]
Prefetcher = AsyncPrefetcher[Item] | ThreadPrefetcher[Item] | ListPrefetcher[Item]


@final
class IterableSource(Source):
    """Samples of an iterable of dicts, or of pairs of a dict and a target.

    A synchronous iterable is iterated in a thread of its own unless it is a list or tuple; an
    asynchronous one in a task of its own that is not cancelled before `aclose`. Samples are
    returned as soon as they arrive. Kinds are inferred from the first value of each feature, see
    `RowReader`.

    If ``task`` is None, it is inferred: from the first target of an asynchronous iterable, and from
    the first 1,000 targets of a synchronous one. If the latter pauses, only targets that arrive
    before a pause of 0.2 seconds, or within a second, are used; the task may then depend on timing
    unless it is given.

    To resume, pass an iterable that starts again with the first sample: those before the position
    are skipped.

    Args:
        iterable: Samples, as dicts or as pairs of a dict and a target.
        target: Name of the target in the dicts, or a name for the targets of pairs.
        task: What is predicted; None infers it.
        kinds: Kinds of features by name, in place of the inferred ones.
        weight: Name of the weight in the dicts; it is no feature, see `WeightedSource`.
        columns: All settings of columns, in place of the four above.
        name: Name of this source in positions and rejected records.

    Raises:
        ConfigurationError: If it is not an iterable, or a setting is invalid.

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
        weight: str | None = None,
        columns: Columns | None = None,
        name: str = "iterable",
    ) -> None:
        if columns is None:
            columns = Columns(target=target, task=task, kinds=kinds or {}, weight=weight)
        elif (target, task, kinds, weight) != (None, None, None, None):
            raise ConfigurationError(
                "columns is given, so target, task, kinds and weight must not be"
            )
        self._weight = None if columns.weight is None else WeightColumn(columns.weight)
        self._columns = columns
        self._name = name
        self._plain = not isinstance(iterable, AsyncIterable)
        self._prefetcher = _make_prefetcher(iterable)
        self._reader = RowReader(columns, name=name)
        self._items: list[Item] = []  # taken but not converted yet
        self._blocks: deque[Block] = deque()
        self._failure: Exception | None = None
        self._pairs: bool | None = None  # None before the first item
        self._ended = False

    async def open(self, after: Position | None = None) -> Schema:
        """Infer the task from the first items if it is not given."""
        self._prefetcher.start()
        if self._plain or self._columns.task is None:
            await self._take()
            if not self._items and self._failure is None:
                raise DataError(f"{self._name} holds no samples")
        await self._infer_from_head()
        await self._read_first_target()
        if after is not None:
            await self._skip(after)
        schema = self._reader.schema
        return schema if self._weight is None else self._weight.without(schema)

    async def receive(self) -> Block | None:
        """Receive the samples that have arrived; None at the end."""
        while not self._blocks:
            if not self._items:
                await self._take()
            if not self._items:
                self._end()
                return None
            if len(self._items) < FEW_ITEMS:
                self._convert_first(MAX_ITEMS)
            else:
                await to_thread.run_sync(self._convert_first, MAX_ITEMS)
        block = self._blocks.popleft()
        return block if self._weight is None else self._weight.take(block)

    def export_state(self, after: Position | None) -> dict[str, Any]:
        """Export what was inferred, since samples may arrive at other times when resuming."""
        del after
        task, thousands = self._columns.task, self._columns.thousands
        state = {} if task is None else {"task": task.value}
        return state if thousands is None else {**state, "thousands": thousands}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Restore what was inferred."""
        if self._columns.task is None and "task" in state:
            thousands = state.get("thousands", self._columns.thousands)
            columns = replace(self._columns, task=Task(state["task"]), thousands=thousands)
            self._use(columns)

    async def aclose(self) -> None:
        """Stop iterating. A thread whose iterator waits can't be ended and is abandoned."""
        self._ended = True
        self._items.clear()
        self._blocks.clear()
        await self._prefetcher.aclose()

    async def _infer_from_head(self) -> None:
        """Infer from the first items whether they are pairs, and the task."""
        columns = self._columns
        if self._items:
            self._pairs = isinstance(self._items[0], tuple)
        if self._pairs and columns.target is None:
            columns = columns.with_target("target")
        if self._plain and columns.task is None and columns.target is not None:
            await self._wait_for_head()
            columns = self._infer_task(columns)
        self._use(columns)

    def _use(self, columns: Columns) -> None:
        if columns is not self._columns:
            self._columns = columns
            self._reader = RowReader(columns, name=self._name)

    async def _wait_for_head(self) -> None:
        """Wait for the first 1,000 items, or those that arrive before a pause.

        Time is counted in polls: even if the whole process is blocked for long, for example by a
        compiler, an iterator that never waits is quiet for one poll at most.
        """
        quiet = 0
        for _ in range(MAX_POLLS):
            with move_on_after(POLL_SECONDS):
                while len(self._items) < HEAD_ITEMS and not self._ended:
                    await self._take()
                    quiet = 0
                return
            quiet += 1
            if quiet > QUIET_POLLS:
                return

    def _infer_task(self, columns: Columns) -> Columns:
        """The columns with the task, and the separator of thousands in the targets."""
        options, target = columns.parse_options(), str(columns.target)
        values = [_get_target(item, target) for item in self._items[:HEAD_ITEMS]]
        known = [value for value in values if not options.is_missing(value)]
        stripped = [v.strip(WHITESPACE) if isinstance(v, str) else v for v in known]
        thousands = columns.thousands
        task, style = infer_target(self._name, target, stripped, thousands=thousands)
        if style is not None and task is Task.REGRESSION:
            thousands = style.find_separator(filter(None, stripped))
        return replace(columns, task=task, thousands=thousands)

    async def _read_first_target(self) -> None:
        """Read samples up to the first target, which decides the task if nothing else did."""
        names: dict[str, None] = {}
        while self._columns.target is not None and self._reader.schema.task is None:
            if not self._items:
                await self._take()
            if not self._items:
                self._end()
                raise self._make_no_target_error(list(names), "")
            if self._reader.records >= HEAD_ITEMS:
                raise self._make_no_target_error(
                    list(names), f" in its first {HEAD_ITEMS:,} samples"
                )
            first: Any = self._items[0]
            if isinstance(first, Mapping):
                names.update((name, None) for name in first if isinstance(name, str))
            self._convert_first(1)
        self._blocks = deque(_with_task(block, self._reader.schema.task) for block in self._blocks)

    def _make_no_target_error(self, names: list[str], where: str) -> DataError:
        """The error for samples without a target, or else for the last invalid one."""
        target = self._columns.target
        if target is not None and names and target not in names:
            return make_missing_target_error(self._name, target, where, names)
        letters = [letter for block in self._blocks for letter in block.rejected]
        why = letters[-1].detail if letters else f"the target {target!r} is missing"
        return DataError(f"{self._name} holds no sample with a target{where}: {why}")

    async def _skip(self, after: Position) -> None:
        """Read and discard what precedes a position, to extend the schema."""
        while (skipped := after.record - self._reader.records) > 0:
            if not self._items:
                await self._take()
            if not self._items:
                raise DataError(f"{self._name} ends before {after}: it has changed")
            await to_thread.run_sync(self._convert_first, skipped)
        self._blocks = deque(b for b in self._blocks if b.marks[-1, 1] > after.record)

    async def _take(self) -> None:
        """Wait for items and keep them."""
        if self._ended:
            return
        before = len(self._items)
        try:
            self._items += await self._prefetcher.take()
        except Exception as error:  # noqa: BLE001 - raised again after the items before it
            self._failure = error
        self._ended = len(self._items) == before

    def _end(self) -> None:
        self._ended = True
        if self._failure is not None:
            why = str(self._failure)
            if not isinstance(self._failure, DataError):
                why = f"{type(self._failure).__name__}: {why}"
            raise DataError(f"{self._name} failed ({why})") from self._failure

    def _convert_first(self, most: int) -> None:
        """Convert the first items. They are removed here, so that a cancelled call loses none."""
        items, self._items = self._items[:most], self._items[most:]
        samples: list[Any] = list(items)
        targets: list[Any] | None = None
        if self._pairs is None:
            self._pairs = isinstance(items[0], tuple)
        if self._pairs:
            samples = [i[0] if isinstance(i, tuple) and len(i) == 2 else i for i in items]
            name = self._columns.target
            targets = [_get_target(item, name) for item in items]
        self._blocks.extend(self._reader.blocks(samples, targets))


def _make_prefetcher(iterable: Iterable[Item] | AsyncIterable[Item]) -> Prefetcher:
    if isinstance(iterable, AsyncIterable):
        return AsyncPrefetcher(iterable, MAX_ITEMS, _copy_item)
    if type(iterable) in (list, tuple):
        return ListPrefetcher(iter(iterable), MAX_ITEMS)
    given: Any = iterable
    if not isinstance(given, Iterable):
        call = "; call it and pass its result" if callable(given) else ""
        raise ConfigurationError(
            f"iterable is of type {type(given).__name__}, but must be a synchronous or "
            f"asynchronous iterable of samples{call}"
        )
    return ThreadPrefetcher(map(_copy_item, iterable), MAX_ITEMS)


def _with_task(block: Block, task: Task | None) -> Block:
    """A block that was read before the first target, which has decided the task."""
    if task is None or block.schema.task is not None or block.target is None:
        return block
    target = block.target.astype(np.float64) if task is Task.REGRESSION else block.target
    return msgspec.structs.replace(block, schema=replace(block.schema, task=task), target=target)


def _copy_item(item: Any) -> Any:
    """Copy an item, because its dict may be reused before it is converted."""
    if isinstance(item, tuple) and len(item) == 2:
        return copy_sample(item[0]), item[1]
    return copy_sample(item)


def _get_target(item: Any, name: str | None) -> Any:
    if isinstance(item, tuple):
        return item[1] if len(item) == 2 else None
    sample = to_mapping(item)
    return sample.get(name) if isinstance(sample, Mapping) else None
