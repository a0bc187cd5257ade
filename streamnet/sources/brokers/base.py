"""What sources of all brokers have in common: one stream of messages, read in worker threads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from inspect import signature
from itertools import islice, takewhile
from math import inf
from operator import attrgetter
from time import monotonic
from typing import Any, NamedTuple, TypedDict, TypeVar, cast

import numpy as np
from anyio import CapacityLimiter, current_time, to_thread
from msgspec.structs import replace as replace_struct
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError, DataError, StreamnetError
from streamnet.samples import Block, KeyRemoval, Position, Schema, schema_from_dict, schema_to_dict
from streamnet.settings.brokers import MessageSettings
from streamnet.settings.fields import Declaration, build_settings, parse_arguments, with_settings
from streamnet.sources.base import (
    MAX_BLOCK_ROWS,
    OnGap,
    Reason,
    Rejection,
    Source,
    check_gap,
    make_empty_block,
    make_rejection_block,
)
from streamnet.sources.brokers.messages import SKIPPED, Message, MessageId, MessageReader
from streamnet.sources.columns import Columns, UnknownTaskError
from streamnet.sources.mappings import MappingConverter

COUNT_SECONDS = 1.0  # between counts of the messages that wait at the broker
POLL_SECONDS = 0.2  # longest time that a thread waits for messages: stopping takes no longer
QUIET_SECONDS = 0.2  # without new messages, after which the head of a live stream is complete
MAX_HEAD_SECONDS = 1.0  # after which it is complete even if messages keep coming
FIRST_ROWS = 1024  # of the first block, so that learning starts early
MIN_ROWS = 32
HEAD_GROWTH = 4  # of the head if the target has no value in it
MAX_HEAD_MESSAGES = 100_000  # from which columns are inferred at most


F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
S = TypeVar("S", bound=MessageSettings)


class Bookmark(NamedTuple):
    """The message that was used last, behind which reading resumes."""

    place: int
    id: MessageId
    digest: str
    stream: str  # what distinguishes it from a later one of the same name; "" if nothing does


class GapError(StreamnetError):
    """Raised by a subscription where messages were lost before they were read."""


class Subscription(ABC):
    """A stream of messages at a broker. One thread at a time calls it, but for `acknowledge`.

    Args:
        follow: Whether it never ends; otherwise it ends with the message that is the last one when
            it is opened.
    """

    caught_up: bool = False  # every message that was there when it was opened has been returned
    failure: str | None = None  # why the broker can't be reached now, while the client tries again

    def __init__(self, *, follow: bool) -> None:
        self.follow = follow

    @property
    @abstractmethod
    def name(self) -> str:
        """Name of the stream in positions and messages, whatever the address of the broker."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Names of the stream for rejected records, such as topic and partition."""

    @abstractmethod
    def open(self) -> None:
        """Connect, and find the stream and its end.

        Raises:
            ReadError: If the broker can't be reached.
            ConfigurationError: If there is no such stream, or the client may not read it.
        """

    def identify(self) -> str:
        """What distinguishes the stream from a later one of the same name; "" if nothing does."""
        return ""

    @abstractmethod
    def start(self) -> None:
        """Read from the oldest message on."""

    @abstractmethod
    def resume(self, after: Bookmark) -> None:
        """Read the messages behind a bookmark.

        Raises:
            GapError: If some of them are gone, or the stream is another one.
        """

    @abstractmethod
    def poll(self, seconds: float, most: int) -> list[Message] | None:
        """Return the messages that are there, at most ``most``; None at the end.

        Waits for the first one at most ``seconds``.

        Raises:
            GapError: If messages were lost, after those before them were returned.
            ReadError: If reading fails for a reason that may pass.
        """

    def count_waiting(self) -> int | None:
        """Number of the messages behind those that were returned; None if it is unknown.

        Called every second, like `poll`; while there is a failure, it may find that it has passed.
        """
        return None

    def acknowledge(self, through: Bookmark) -> None:
        """Acknowledge all up to a message, which a checkpoint holds. Any thread may call it."""
        del through

    @abstractmethod
    def close(self) -> None:
        """Disconnect. Closing twice is allowed."""


class BrokerSource(Source):
    """Samples of one stream of messages, in its order.

    Columns are inferred from the first 1,000 messages, or from those that arrive before a pause of
    0.2 seconds or within a second of the first one. Names that come later extend the schema.

    Messages are polled only when samples are needed, so that what can't be learned yet stays at the
    broker. To resume, the position and the state hold the id and a fingerprint of the last message.

    Args:
        subscription: The stream.
        settings: What its messages hold.
        columns: Which columns are used, and as what.
        target: Name of the target, if ``columns`` are not given.
        on_gap: Whether reading stops where messages were lost, or goes on.
        max_record_bytes: Largest message in bytes; longer ones are rejected.
        typed: Whether a text is never a number; by default the format says so.
    """

    def __init__(
        self,
        subscription: Subscription,
        settings: MessageSettings,
        *,
        columns: Columns | None = None,
        target: str | None = None,
        on_gap: OnGap = "stop",
        max_record_bytes: int = 1 << 20,
        typed: bool | None = None,
    ) -> None:
        if columns is not None and target is not None:
            raise ConfigurationError("columns is given, so target must not be")
        self._subscription = subscription
        self._reader = MessageReader(settings, max_record_bytes)
        self._columns = self._reader.add_kinds(columns or Columns(target=target))
        typed = self._reader.typed if typed is None else typed
        self._objects = MappingConverter(self._columns, typed=typed)
        self._on_gap = on_gap
        self._schema: Schema | None = None  # None until it was inferred or restored
        self._messages: deque[Message] = deque()  # polled, but not used yet
        self._waiting: int | None = None  # messages that were not polled yet
        self._counted = -inf  # when they were counted
        self._thread = CapacityLimiter(1)  # which leaves the threads of others free
        self._rows = FIRST_ROWS  # maximum of the next block
        self._record = 0  # of the next message
        self._before: Bookmark | None = None  # before the last block
        self._used: Sequence[Message] = ()  # of the last block
        self._gap: Rejection | None = None  # that was not returned yet
        self._ended = False
        self._closed = False
        self._restored: Mapping[str, Any] = {}

    @classmethod
    def list_streams(cls, settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """The streams that settings stand for, each with its settings: one by default.

        Raises:
            ReadError: If the broker can't be reached.
            ConfigurationError: If there is no such stream, or the client may not read it.
        """
        return {"": settings}

    async def open(self, after: Position | None = None) -> Schema:
        """Connect, and wait for the first messages unless the schema was restored."""
        if after is not None and after.source:
            name = self._subscription.name
            if not self._restored:
                raise DataError(f"{name} can't be resumed at {after.offset} without a state")
            self._record = after.record
            last = self._restored["last"]
            self._before = None if last is None else Bookmark(*last)
        await self._run(self._connect)
        if self._schema is None:
            self._schema = await self._infer_schema()
        return self._schema

    async def receive(self) -> Block | None:
        """The next samples available; None at the end."""
        while not self._closed:
            block = await self._run(self._next)
            if block is not None:
                return block
            if self._ended:
                return None
        return None

    def export_state(self, after: Position | None) -> dict[str, Any]:
        """The schema, and the last message before a position."""
        if self._schema is None:
            return dict(self._restored)
        state = {"schema": schema_to_dict(self._schema), **self._objects.export_state()}
        bookmark = self._find_bookmark(after) if after is not None and after.source else None
        return {**state, "last": None if bookmark is None else list(bookmark)}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Restore the schema, so that nothing is inferred again, and the last message."""
        if state:
            self._restored = state
            self._schema = schema_from_dict(state["schema"])
            self._objects.restore_state(state, self._schema)

    def commit(self, state: Mapping[str, Any]) -> None:
        """Acknowledge all before the position of a state, which a checkpoint holds."""
        if state.get("last") is not None:
            self._subscription.acknowledge(Bookmark(*state["last"]))

    async def aclose(self) -> None:
        """Disconnect."""
        self._closed = True
        self._messages.clear()
        await self._run(self._subscription.close)

    def lag(self) -> int | None:
        """Messages that were not returned yet, as of the last second."""
        return None if self._waiting is None else self._waiting + len(self._messages)

    @property
    def failure(self) -> str | None:
        """Why the broker can't be reached now, while its client tries again."""
        return self._subscription.failure

    async def _run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a function in a thread, one at a time."""
        return await to_thread.run_sync(function, *arguments, limiter=self._thread)

    # --------------------------------------------------------------------------- messages

    def _connect(self) -> None:
        self._subscription.open()
        if self._before is None:
            self._subscription.start()
            return
        try:
            self._subscription.resume(self._before)
        except GapError as gap:
            self._note_gap(gap)

    def _note_gap(self, gap: GapError) -> None:
        """Continue with the oldest message, unless a gap is an error."""
        detail = f"{self._subscription.name} {gap}"
        check_gap(detail, self._on_gap)
        self._gap = Rejection(Reason.GAP, detail)
        self._subscription.start()

    def _poll(self, seconds: float = POLL_SECONDS) -> bool:
        """Poll once; return whether there were new messages."""
        try:
            found = self._subscription.poll(seconds, MAX_BLOCK_ROWS)
        except GapError as gap:
            self._note_gap(gap)
            return False
        self._ended = found is None
        self._messages.extend(found or ())
        if monotonic() - self._counted >= COUNT_SECONDS:
            self._counted = monotonic()
            self._waiting = self._subscription.count_waiting()
        return bool(found)

    def _find_bookmark(self, after: Position) -> Bookmark | None:
        """The last message before a position, in the last block or before it."""
        used = self._used
        count = bisect_left(used, after.offset, key=attrgetter("place"))
        if not count:
            return self._before
        message = used[count - 1]
        stream = self._subscription.identify()
        return Bookmark(message.place, message.id, message.digest(), stream)

    # ------------------------------------------------------------------------------- head

    async def _infer_schema(self) -> Schema:
        """Infer the columns from the first messages; from more if the target has no value there."""
        head = _Head(self._messages, self._reader)
        wanted = self._columns.head
        while True:
            await self._wait_for_head(head, wanted + 1)
            if not head.samples:
                raise head.make_error(self._subscription.name)
            try:
                return await self._run(
                    self._objects.infer, self._subscription.name, head.samples[:wanted]
                )
            except UnknownTaskError:
                if len(head.samples) <= wanted:
                    raise
                wanted *= HEAD_GROWTH

    async def _wait_for_head(self, head: _Head, wanted: int) -> None:
        """Poll until there are so many samples, or the stream ends or pauses.

        What was there when the stream was opened is waited for, so that it is the same each time.
        """
        deadline = None  # set when the first sample is there, and what was there has come
        while len(head.samples) < wanted and head.count < MAX_HEAD_MESSAGES:
            if self._ended or self._gap is not None or self._closed:
                return
            if deadline is None and head.samples and self._subscription.caught_up:
                deadline = current_time() + MAX_HEAD_SECONDS
            left = POLL_SECONDS if deadline is None else deadline - current_time()
            new = left > 0 and await self._run(self._poll, min(left, QUIET_SECONDS))
            await self._run(head.read)
            if deadline is not None and not new:
                return

    # ----------------------------------------------------------------------------- blocks

    def _next(self) -> Block | None:
        """The next block; None if there is nothing yet, or at the end."""
        if not self._messages and not self._ended and self._gap is None:
            self._poll()
        if self._messages:
            return self._convert()
        return None if self._gap is None else self._take_gap()

    def _convert(self) -> Block:
        """Convert the first messages, up to the next one with a new name."""
        assert self._schema is not None
        read: list[tuple[Message, dict[str, Any] | Rejection]] = []
        for message in islice(self._messages, self._rows):
            found = self._reader.read(message)
            if isinstance(found, KeyRemoval):
                if read:
                    break  # it comes alone, next
                return self._remove_key(message, found)
            read.append((message, found))
        kept = [(m, found) for m, found in read if found is not SKIPPED]
        if not kept:
            messages = [m for m, _ in read]
            return self._use(messages, make_empty_block(self._schema, self._end(messages)))
        rows = self._objects.convert([found for _, found in kept])
        messages = [m for m, _ in kept]
        if rows.used < len(kept):
            behind, messages = messages[rows.used], messages[: rows.used]
            read = list(takewhile(lambda pair: pair[0] is not behind, read))
        used = [m for m, _ in read]
        marks = _make_marks(messages, self._end(used, len(messages)))
        block = rows.block(self._subscription.name, marks, lambda row: messages[row].value or b"")
        # Where blocks end early, decoding many messages ahead would be wasted.
        self._rows = min(MAX_BLOCK_ROWS, 2 * max(rows.used, MIN_ROWS))
        return self._use(used, self._describe_rejected(block, messages))

    def _remove_key(self, message: Message, change: KeyRemoval) -> Block:
        """A block of nothing but a key that is forgotten."""
        assert self._schema is not None
        block = make_empty_block(self._schema, self._end([message], 1))
        return self._use([message], replace_struct(block, change=change))

    def _end(self, messages: Sequence[Message], records: int = 0) -> Position:
        """The position behind messages that hold so many records."""
        name = self._subscription.name
        return Position(name, messages[-1].place + 1, self._record + records)

    def _describe_rejected(self, block: Block, messages: Sequence[Message]) -> Block:
        """Say of each rejected message where it is, and what its key is."""
        if not block.rejected:
            return block
        stream = self._subscription.describe()
        by_place = {message.place: message for message in messages}
        letters = (
            replace(letter, message=by_place[letter.offset].describe(stream))
            for letter in block.rejected
        )
        return replace_struct(block, rejected=tuple(letters))

    def _use(self, messages: Sequence[Message], block: Block) -> Block:
        """Count messages as used; all at once, so that none is lost in between."""
        if self._used:
            self._before = self._find_bookmark(self._end(self._used))
        self._used, self._schema, self._record = messages, block.schema, block.end.record
        for _ in messages:
            self._messages.popleft()
        return block

    def _take_gap(self) -> Block:
        """A block of nothing but the gap, behind which reading resumes with the oldest message."""
        assert self._gap is not None
        assert self._schema is not None
        name = self._subscription.name
        last = self._used[-1] if self._used else self._before
        place = 0 if last is None else last.place + 1
        mark = np.array((place, self._record, 0), np.int64)
        letter = replace(self._gap.letter(name, mark, ""), message=self._subscription.describe())
        self._record += 1
        block = make_rejection_block(self._schema, Position(name, place, self._record), letter)
        self._gap, self._before, self._used = None, None, ()
        return block


class StreamKeywords(TypedDict, total=False):
    """Keyword arguments of `BrokerSource` that the sources of all brokers take."""

    columns: Columns | None
    target: str | None
    on_gap: OnGap
    max_record_bytes: int


def with_stream_settings(settings: type[MessageSettings]) -> Callable[[F], F]:
    """Decorator of the source of a broker, which takes `StreamKeywords` and declared settings.

    Each stands by itself in its signature and its docstring.
    """
    parameters = signature(BrokerSource).parameters
    docs = parse_arguments(Subscription) | parse_arguments(BrokerSource)
    follow = Declaration("follow", "bool", False, docs["follow"])
    shared = [
        Declaration(name, parameters[name].annotation, parameters[name].default, docs[name])
        for name in StreamKeywords.__annotations__
    ]

    def decorate(owner: F) -> F:
        return with_settings(settings)(with_settings(more=[follow, *shared])(owner))

    return decorate


def split_keywords(cls: type[S], given: Mapping[str, Any], owner: str) -> tuple[S, StreamKeywords]:
    """The settings among the keyword arguments of a source, and the others."""
    names = StreamKeywords.__annotations__
    shared = {name: value for name, value in given.items() if name in names}
    rest = {name: value for name, value in given.items() if name not in names}
    return build_settings(cls, rest, owner), cast(StreamKeywords, shared)


class _Head:
    """The samples among the first messages."""

    def __init__(self, messages: deque[Message], reader: MessageReader) -> None:
        self.samples: list[dict[str, Any]] = []
        self.count = 0  # of messages
        self._messages = messages
        self._reader = reader
        self._first: tuple[Message, Rejection] | None = None  # that is rejected

    def read(self) -> None:
        """Read what was added to the messages."""
        for message in islice(self._messages, self.count, None):
            found = self._reader.read(message)
            if isinstance(found, dict):
                self.samples.append(found)
            elif self._first is None and isinstance(found, Rejection) and found is not SKIPPED:
                self._first = message, found
        self.count = len(self._messages)

    def make_error(self, name: str) -> DataError:
        """The error for a stream without a sample."""
        if self._first is None:
            return DataError(f"{name} holds no samples")
        message, found = self._first
        where = f"{name} has no sample in its first {self.count} messages"
        return DataError(f"{where}: message {message.id} is rejected: {found.detail}")


def _make_marks(messages: Sequence[Message], end: Position) -> NDArray[np.int64]:
    """Where each record starts, and where the last one ends, shape=(n + 1, 3)."""
    marks = np.zeros((len(messages) + 1, 3), np.int64)
    marks[:-1, 0] = [message.place for message in messages]
    marks[-1, 0] = end.offset
    marks[:, 1] = np.arange(end.record - len(messages), end.record + 1)
    return marks
