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
from streamnet.sources.inference import WHITESPACE, infer_task
from streamnet.sources.rows import RowReader, copy_sample, to_mapping

__all__ = (
    "AsyncPrefetcher",
    "IterableSource",
    "ListPrefetcher",
    "ThreadPrefetcher",
)


T = TypeVar("T")


@final
class AsyncPrefetcher(Generic[T]):
    """Iterates in a task of its own, so that whoever waits for items can be cancelled.

    The task is no child of the one that starts it, since a source may be opened by one task and
    closed by another, which no task group could bear: `aclose` ends it, or else the event loop.
    At most ``most`` items are kept, each as ``keep`` returns it; the iterable then has to wait.

    >>> import anyio
    >>> async def letters():
    ...     yield "a"
    ...     yield "b"
    >>> async def main():
    ...     pump = AsyncPrefetcher(letters(), 10, str.upper)
    ...     pump.start()
    ...     found = await pump.take()
    ...     await pump.aclose()
    ...     return found
    >>> anyio.run(main)
    ['A', 'B']
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
        """Begin to iterate, in the event loop of the caller."""
        self._scope = CancelScope()
        self._arrived = Event()
        self._room = Event()
        self._done = Event()
        self._running = True
        run = copy_context().run
        Thread(target=run, args=(self._host, current_token()), daemon=True).start()

    async def take(self) -> list[T]:
        """The items that are there, at least one; none at the end.

        Raises:
            Exception: what the iterable raised, once all items before it were taken.
        """
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
        # The loop may be gone first; then nobody waits for items any more.
        with suppress(RunFinishedError, CancelledError):
            from_thread.run(self._run, token=token)

    async def _run(self) -> None:
        try:
            with self._scope:
                await self._iterate()
        except Exception as error:  # noqa: BLE001 - `take` raises it
            self._failure = error
        except BaseException as error:  # noqa: BLE001 - likewise
            # Not by us, whose scope keeps that to itself: the iterable was cancelled from outside,
            # wants to exit, or the event loop ends, and nobody is there to be told.
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


PATIENCE = 0.2  # seconds in which an iterator that does not wait for anything gives its next item
GATHER_SECONDS = 0.01  # seconds in which more is waited for where items come faster than that

ThreadItem = TypeVar("ThreadItem")


@final
class ThreadPrefetcher(Generic[ThreadItem]):
    """Iterates in a thread of its own, so that whoever waits for items can be cancelled.

    An iterator that waits, as for a queue, can't be interrupted: its thread is left alone then. It
    is a daemon, for whose end the interpreter does not wait. No other thread touches the iterator.
    At most ``most`` items are kept; the iterator then is not asked for more.

    >>> import anyio
    >>> async def main():
    ...     pump = ThreadPrefetcher(iter("ab"), 10)
    ...     pump.start()
    ...     found = await pump.take()
    ...     while more := await pump.take():
    ...         found += more
    ...     await pump.aclose()
    ...     return found
    >>> anyio.run(main)
    ['a', 'b']
    """

    def __init__(self, iterator: Iterator[ThreadItem], most: int) -> None:
        self._iterator = iterator
        self._most = most
        self._items: deque[ThreadItem] = deque()
        self._failure: BaseException | None = None
        self._taken = -math.inf  # when items were taken last, by the event loop's clock
        self._room = ThreadEvent()
        self._waiting: Event | None = None  # set by who waits, looked at by the thread
        self._running = False
        self._closed = False
        self._ended = False

    def start(self) -> None:
        """Begin to iterate, and tell the event loop of the caller what comes."""
        self._token = current_token()
        self._running = True
        Thread(target=copy_context().run, args=(self._run,), daemon=True).start()

    async def take(self) -> list[ThreadItem]:
        """The items that are there, at least one; none at the end.

        Raises:
            BaseException: what the iterator raised, once all items before it were taken.
        """
        if not self._items:
            await self._wait_until(lambda: bool(self._items) or self._ended or self._closed)
            if current_time() - self._taken < GATHER_SECONDS:
                await sleep(GATHER_SECONDS)
        self._taken = current_time()
        if not self._items and self._failure is not None:
            if isinstance(self._failure, get_cancelled_exc_class()):
                # Raised here it would end the task that asks, as if somebody had cancelled it.
                name = type(self._failure).__name__
                raise DataError(f"{name} was raised in it") from self._failure
            raise self._failure
        # One after the other, since the thread may append meanwhile.
        items = [self._items.popleft() for _ in range(len(self._items))]
        self._room.set()
        return items

    async def aclose(self) -> None:
        """Iterate no more; an iterator that does not wait is at rest then."""
        if self._running:
            self._running = False
            self._closed = True
            self._room.set()
            with move_on_after(PATIENCE, shield=True):
                await self._wait_until(lambda: self._ended)

    async def _wait_until(self, ready: Callable[[], bool]) -> None:
        # Told first and looked at then, while the thread does it the other way round: whichever
        # comes second sees what the other one did.
        try:
            while not ready():
                told = self._waiting = Event()
                if not ready():
                    await told.wait()
        finally:
            self._waiting = None

    def _tell(self) -> None:
        waiting = self._waiting
        if waiting is not None and not waiting.is_set():
            with suppress(RunFinishedError):  # nobody waits any more
                from_thread.run_sync(waiting.set, token=self._token)

    def _run(self) -> None:
        try:
            for item in self._iterator:
                self._items.append(item)
                self._tell()
                if len(self._items) >= self._most:
                    self._wait_for_room()
                if self._closed:
                    break
        except BaseException as error:  # noqa: BLE001 - `take` raises it
            self._failure = error
        self._ended = True
        self._tell()

    def _wait_for_room(self) -> None:
        self._room.clear()
        if len(self._items) >= self._most and not self._closed:
            self._room.wait()


ListItem = TypeVar("ListItem")


@final
class ListPrefetcher(Generic[ListItem]):
    """Gives the items of a list like a pump, but needs neither a task nor a thread for it.

    >>> import anyio
    >>> anyio.run(ListPrefetcher(iter("abc"), 2).take)
    ['a', 'b']
    """

    def __init__(self, iterator: Iterator[ListItem], most: int) -> None:
        self._iterator = iterator
        self._most = most

    def start(self) -> None:
        """Nothing has to begin."""

    async def take(self) -> list[ListItem]:
        """The next items, at most ``most``; none at the end."""
        return list(islice(self._iterator, self._most))

    async def aclose(self) -> None:
        """Nothing has to end."""


MAX_ITEMS = 1024  # of a block, and waiting
HEAD_ITEMS = 1000
POLL_SECONDS = 0.02  # seconds
QUIET_POLLS = 10  # without anything new, after which the head of a live iterable is complete
MAX_POLLS = 50  # after which it is complete even if it trickles on
FEW_ITEMS = 32  # converted at once: a worker thread would take longer

Item = Sample | tuple[Sample, Any]
Prefetcher = AsyncPrefetcher[Item] | ThreadPrefetcher[Item] | ListPrefetcher[Item]


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
        self._supply = _make_prefetcher(iterable)
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
                self._convert_first(MAX_ITEMS)
            else:
                await to_thread.run_sync(self._convert_first, MAX_ITEMS)
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
        for _ in range(MAX_POLLS):
            with move_on_after(POLL_SECONDS):
                while len(self._items) < HEAD_ITEMS and not self._ended:
                    await self._take()
                    quiet = 0
                return
            quiet += 1
            if quiet > QUIET_POLLS:
                return

    def _told_task(self, target: str) -> Task | None:
        options = self._columns.parse_options()
        values = [_get_target(item, target) for item in self._items[:HEAD_ITEMS]]
        known = [value for value in values if not options.is_missing(value)]
        if not known:
            return None
        return infer_task(v.strip(WHITESPACE) if isinstance(v, str) else v for v in known)

    async def _tell_task(self) -> None:
        """Read samples until the first target has told the task, where nothing else did."""
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

    def _make_no_target_error(self, names: list[str], where: str) -> DataError:
        """The error that says that no sample has the target, or else why the last one has none."""
        target = self._columns.target
        if target is not None and names and target not in names:
            return make_missing_target_error(self._name, target, where, names)
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
            targets = [_get_target(item, name) for item in items]
        self._blocks.extend(self._reader.blocks(samples, targets))


def _make_prefetcher(iterable: Iterable[Item] | AsyncIterable[Item]) -> Prefetcher:
    if isinstance(iterable, AsyncIterable):
        return AsyncPrefetcher(iterable, MAX_ITEMS, _copy_item)
    if type(iterable) in (list, tuple):
        return ListPrefetcher(iter(iterable), MAX_ITEMS)
    given: Any = iterable
    if not isinstance(given, Iterable):
        call = "; call it, to hand over what it gives" if callable(given) else ""
        raise ConfigurationError(
            f"iterable is of type {type(given).__name__}, but must be a plain or asynchronous "
            f"iterable of samples{call}"
        )
    return ThreadPrefetcher(map(_copy_item, iterable), MAX_ITEMS)


def _copy_item(item: Any) -> Any:
    """An item as it was given, though it waits: its dict may be filled anew meanwhile."""
    if isinstance(item, tuple) and len(item) == 2:
        return copy_sample(item[0]), item[1]
    return copy_sample(item)


def _get_target(item: Any, name: str | None) -> Any:
    if isinstance(item, tuple):
        return item[1] if len(item) == 2 else None
    sample = to_mapping(item)
    return sample.get(name) if isinstance(sample, Mapping) else None
