"""A NATS JetStream stream, read with nats-py, whose event loop runs in a thread of its own."""

from __future__ import annotations

import logging
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from math import nan
from threading import Condition
from typing import Any, TypeVar, Unpack, final

import nats
import nats.errors
import nats.js.errors
from anyio import Event, fail_after, move_on_after, sleep
from anyio.from_thread import start_blocking_portal
from nats.js.api import ConsumerConfig, DeliverPolicy

from streamnet.errors import ConfigurationError, ReadError
from streamnet.settings.brokers import NatsServerSettings, NatsSettings
from streamnet.settings.keywords import NatsKeywords
from streamnet.sources.brokers.base import (
    Bookmark,
    BrokerSource,
    GapError,
    StreamKeywords,
    Subscription,
    split_keywords,
    with_stream_settings,
)
from streamnet.sources.brokers.messages import Message
from streamnet.sources.brokers.secrets import make_failure, read_secret

logger: logging.Logger = logging.getLogger("streamnet.sources")

ANSWER_SECONDS = 10.0  # for an answer of the server
RECONNECT_SECONDS = 0.5
CLOSE_SECONDS = 2.0  # for a connection to be closed
MAX_WAITING = 16_384  # messages that arrived and were not polled
_DELETIONS = ("DEL", "PURGE")  # operations of a key-value bucket that leave a tombstone

T = TypeVar("T")


async def connect(
    settings: NatsServerSettings,
    *,
    reconnect: bool = True,
    on_change: Callable[[str | None], None] = lambda _: None,
    on_closed: Callable[[], Awaitable[None]] | None = None,
) -> Any:
    """Connect a client.

    Args:
        settings: Where the servers are.
        reconnect: Whether it connects again by itself for as long as it is open.
        on_change: Called with the reason when the connection is lost, and with None when it is
            there again.
        on_closed: Called when the connection is closed for good.

    Raises:
        ConfigurationError: If a password can't be read.
        nats.errors.Error: If a server refuses the login.
        TimeoutError: If no server answers.
    """
    client, connected = nats.NATS(), False

    async def report(error: Exception) -> None:
        """Log what the client handles by itself, such as a server that is away."""
        if not connected and is_refusal(str(error)):
            raise error
        if str(error) and reconnect:
            logger.warning("nats: %s", error)

    async def lose() -> None:
        on_change(str(client.last_error or "disconnected"))

    async def find() -> None:
        on_change(None)

    options = _build_options(settings)
    if not reconnect:
        options |= {"allow_reconnect": False, "max_reconnect_attempts": 1}
    try:
        with fail_after(ANSWER_SECONDS):
            await client.connect(
                error_cb=report,
                disconnected_cb=lose,
                reconnected_cb=find,
                closed_cb=on_closed,
                **options,
            )
        connected = True
    except TimeoutError:
        raise TimeoutError(str(client.last_error or "")) from None
    finally:
        if not connected:
            await client.close()
    return client


def is_refusal(why: str) -> bool:
    """Whether a server says that the client may not do something."""
    return "authorization" in why.lower() or "permissions" in why.lower()


def _build_options(settings: NatsServerSettings) -> dict[str, Any]:
    given: dict[str, Any] = {
        "servers": [f"{'tls' if settings.tls else 'nats'}://{one}" for one in settings.servers],
        "name": "streamnet",
        "max_reconnect_attempts": -1,
        "reconnect_time_wait": RECONNECT_SECONDS,
        "connect_timeout": ANSWER_SECONDS,
        "user": settings.user,
        "password": read_secret("password", settings.password_file, settings.password_env),
        "token": read_secret("token", settings.token_file, settings.token_env),
        "user_credentials": settings.credentials_file,
        "nkeys_seed": settings.nkey_file,
    }
    if settings.tls:
        given["tls"] = _make_context(settings)
    return {name: value for name, value in given.items() if value is not None}


def _make_context(settings: NatsServerSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca)
        if settings.certificate is not None:
            context.load_cert_chain(settings.certificate, settings.private_key)
    except OSError as error:
        raise ConfigurationError(f"ca, certificate or private_key can't be read: {error}") from None
    return context


@final
class NatsConnection:
    """A client in an event loop and a thread of its own.

    Args:
        settings: Where the servers are.
        reconnect: Whether it connects again by itself for as long as it is open.
        on_change: See `connect`.
    """

    def __init__(
        self,
        settings: NatsServerSettings,
        *,
        reconnect: bool = True,
        on_change: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        self.client: Any = None
        self._closed = Event()
        self._host = start_blocking_portal("asyncio")
        self._portal = self._host.__enter__()
        try:
            self.client = self.call(
                partial(
                    connect,
                    settings,
                    reconnect=reconnect,
                    on_change=on_change,
                    on_closed=self._note_closed,
                )
            )
        except BaseException:
            self._host.__exit__(None, None, None)
            raise

    def call(self, function: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Call a function of the client in its thread.

        Raises:
            nats.errors.Error: If a server refuses something.
            OSError: If no server answers.
        """

        async def bounded() -> T:
            with fail_after(2 * ANSWER_SECONDS):
                return await function(*arguments)

        return self._portal.call(bounded)

    async def _note_closed(self) -> None:
        self._closed.set()

    async def _close(self) -> None:
        # Where the server is gone, the client is closing itself already, which takes a moment.
        await self.client.close()
        with move_on_after(CLOSE_SECONDS):
            await self._closed.wait()

    def close(self) -> None:
        """Disconnect, and end the thread."""
        try:
            self._portal.call(self._close)
        finally:
            self._host.__exit__(None, None, None)


@final
class NatsSubscription(Subscription):
    """The messages of a stream by their sequence numbers, from an ordered consumer."""

    def __init__(self, settings: NatsSettings, *, follow: bool) -> None:
        super().__init__(follow=follow)
        self._settings = settings
        self._stream = str(settings.stream)
        self._connection: NatsConnection | None = None
        self._consumer: Any = None
        self._created = ""
        self._end = 0  # sequence of the last message when it was opened
        self._last = 0  # sequence of the message that was returned last
        self._waiting = 0  # messages behind the one that arrived last
        self._reconnected = False  # since the consumer was started
        self._arrived: deque[Any] = deque()
        self._changed = Condition()

    @property
    def name(self) -> str:
        """Name of the stream."""
        return self._stream

    def describe(self) -> dict[str, Any]:
        """Name of the stream; the key of a message is its subject."""
        return {"stream": self._stream}

    def identify(self) -> str:
        """When the stream was created."""
        return self._created

    # --------------------------------------------------------------------------- connection

    @property
    def _client(self) -> Any:
        assert self._connection is not None
        return self._connection.client

    @property
    def _where(self) -> str:
        return f"stream {self._stream!r} of {', '.join(self._settings.servers)}"

    def _call(self, function: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Call a function of the client in its thread, and say what its errors mean."""
        with self._explained():
            assert self._connection is not None
            return self._connection.call(function, *arguments)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        where = self._where
        try:
            yield
        except nats.js.errors.NotFoundError as error:
            raise ConfigurationError(
                f"stream is {self._stream!r}, but there is no such stream: {error.description}"
            ) from None
        except (nats.errors.AuthorizationError, nats.js.errors.APIError) as error:
            raise ConfigurationError(f"{where} can't be read: {error}") from None
        except (nats.errors.Error, TimeoutError, OSError) as error:
            why = str(error) or type(error).__name__
            if is_refusal(why):
                raise ConfigurationError(f"{where} can't be read: {why}") from None
            raise make_failure(f"{where} can't be read: {why}", ReadError) from error

    def open(self) -> None:
        """Connect, and find the last message."""
        with self._explained():
            self._connection = NatsConnection(self._settings, on_change=self._note_connection)
        info = self._call(self._find_info)
        self._created = str(info.created)
        self._end = info.state.last_seq
        if self._settings.subject is not None and self._end:
            self._end = self._call(self._find_last_of_subject)

    def _note_connection(self, problem: str | None) -> None:
        self.failure = None if problem is None else f"{self._where} can't be read: {problem}"
        self._reconnected = problem is None

    async def _find_info(self) -> Any:
        return await self._client.jsm().stream_info(self._stream)

    async def _find_last_of_subject(self) -> int:
        try:
            subject = self._settings.subject
            found = await self._client.jsm().get_last_msg(self._stream, subject)
        except nats.js.errors.NotFoundError:
            return 0
        sequence: int = found.seq
        return sequence

    async def _find_message(self, sequence: int) -> Any:
        try:
            return await self._client.jsm().get_msg(self._stream, sequence)
        except nats.js.errors.NotFoundError:
            return None

    def start(self) -> None:
        """Read from the oldest message on."""
        self._subscribe(0)

    def resume(self, after: Bookmark) -> None:
        """Read the messages behind a sequence number, if the stream is still the same."""
        state = self._call(self._find_info).state
        if after.stream != self._created:
            raise GapError(
                f"was created on {self._created}, but on {after.stream} when it was read: it was "
                "deleted and created again"
            )
        if state.last_seq < after.place:
            raise GapError(
                f"ends at sequence {state.last_seq}, but was left at {after.place}: it lost "
                "messages"
            )
        self._check_first(after.place, state)
        found = self._call(self._find_message, after.place)
        if found is not None:
            value = _find_value(found.data or b"", found.headers)
            message = Message(after.place, after.place, value, _encode(found.subject))
            if message.digest() != after.digest:
                raise GapError(
                    f"has another message at sequence {after.place} than the one that was read"
                )
        self._subscribe(after.place)

    def _check_first(self, last: int, state: Any) -> None:
        """Check that no message behind one was deleted, but for single ones."""
        if state.first_seq > last + 1:
            raise GapError(
                f"begins at sequence {state.first_seq}, but {last + 1} comes next: the messages in "
                "between were deleted before they were read"
            )

    def _subscribe(self, last: int) -> None:
        """Start a consumer behind a sequence number."""
        self._reconnected = False
        if self._consumer is not None:
            self._call(self._consumer.unsubscribe)
        with self._changed:
            self._arrived.clear()
        self._last = last
        self.caught_up = last >= self._end
        self._consumer = self._call(self._consume, last)

    async def _consume(self, last: int) -> Any:
        return await self._client.jetstream().subscribe(
            self._settings.subject or ">",
            stream=self._stream,
            cb=self._receive,
            ordered_consumer=True,
            config=ConsumerConfig(
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=last + 1
            ),
        )

    async def _receive(self, message: Any) -> None:
        """Take a message in the thread of the client; wait while there are too many.

        While it waits, the client does not answer the flow control of the server, which then stops
        sending: at most 32 MB are on their way, less than the client's own limit, above which it
        would drop messages.
        """
        with self._changed:
            self._arrived.append(message)
            self._waiting = message.metadata.num_pending
            self._changed.notify()
        while len(self._arrived) >= MAX_WAITING:  # noqa: ASYNC110 - another thread makes room
            await sleep(0.005)

    # -------------------------------------------------------------------------------- reading

    def poll(self, seconds: float, most: int) -> list[Message] | None:
        """Return the messages that are there; None at the end."""
        if self.caught_up and not self.follow:
            return None
        if self._reconnected:
            # The server may have forgotten the consumer; the client would notice in 10 seconds.
            self._subscribe(self._last)
        with self._changed:
            if not self._arrived:
                self._changed.wait(seconds)
            count = min(most, len(self._arrived))
            found = [_convert(self._arrived.popleft()) for _ in range(count)]
        # What an earlier consumer had sent already is there twice after a reconnection.
        found = [message for message in found if message.place > self._last]
        messages, gap = self._check_order(found)
        if messages:
            self._last = messages[-1].place
        elif gap is not None:
            raise gap
        elif not self.caught_up and not self.follow and not found:
            self.caught_up = self._is_exhausted()
        self.caught_up = self.caught_up or self._last >= self._end
        return messages if self.follow else [m for m in messages if m.place <= self._end]

    def _check_order(self, found: list[Message]) -> tuple[list[Message], GapError | None]:
        """The messages before the first ones that were lost; the others are received again."""
        last, places = self._last, [message.place for message in found]
        jump = next(
            (i for i, p in enumerate(places) if p != (places[i - 1] if i else last) + 1), None
        )
        if jump is None:
            return found, None
        before = places[jump - 1] if jump else last
        state = self._call(self._find_info).state
        # Before the first message was read, the oldest one is as good as any.
        if not before or state.first_seq <= before + 1:
            return found, None
        if not jump:
            try:
                self._check_first(before, state)
            except GapError as gap:
                return [], gap
        self._subscribe(before)
        self._last = last
        return found[:jump], None

    def count_waiting(self) -> int | None:
        """Messages that arrived, and those that the server had behind the last one of them."""
        with self._changed:
            return self._waiting + len(self._arrived)

    def _is_exhausted(self) -> bool:
        """Whether no message is left, as where the last ones were deleted meanwhile."""
        pending: int = self._call(self._consumer.consumer_info).num_pending
        return pending == 0 and not self._arrived

    def close(self) -> None:
        """Disconnect, and end the thread of the client."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _encode(subject: str | None) -> bytes | None:
    return None if subject is None else subject.encode()


def _find_value(data: bytes, headers: Mapping[str, str] | None) -> bytes | None:
    """The value of a message; None for a key of a bucket that was deleted."""
    return None if headers and headers.get("KV-Operation") in _DELETIONS else data


def _convert(message: Any) -> Message:
    about, headers = message.metadata, message.headers or {}
    sequence = about.sequence.stream
    value = _find_value(message.data, headers)
    time = nan if about.timestamp is None else about.timestamp.timestamp()
    pairs = [(name, text.encode()) for name, text in headers.items()]
    return Message(sequence, sequence, value, _encode(message.subject), pairs, time)


class _Keywords(StreamKeywords, NatsKeywords, total=False):
    """Keyword arguments of `NatsSource`."""


@final
@with_stream_settings(NatsSettings)
class NatsSource(BrokerSource):
    """Samples of a NATS JetStream stream, in its order. The key of a message is its subject.

    Where reading resumes is part of checkpoints: each message is learned exactly once. `DataError`
    is raised, or with ``on_gap="go_on"`` a rejected record is returned, where messages were deleted
    before they were read, or the stream was created again.

    Raises:
        ConfigurationError: If a setting is invalid.
    """

    def __init__(self, *, follow: bool = False, **given: Unpack[_Keywords]) -> None:
        declared, shared = split_keywords(NatsSettings, given, "NatsSource")
        subscription = NatsSubscription(declared, follow=follow)
        super().__init__(subscription, declared, **shared)
