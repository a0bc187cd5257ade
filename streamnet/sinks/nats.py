"""A subject of NATS JetStream as a destination, written with nats-py.

Each message has an id of the run and the number of the record, by which the server recognizes
repetitions, and says behind which message of the stream it belongs, so that the server refuses
whatever is out of order. When the subject is opened, its last message says what it holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, final

import nats.errors
import nats.js.errors
from anyio import Event, move_on_after
from msgspec.json import decode
from nats.js.api import Header

from streamnet.errors import ConfigurationError, OutputError
from streamnet.settings.sinks import NatsSinkSettings
from streamnet.sinks.base import DeliveryError, Destination, End, Record
from streamnet.sources.brokers.nats import NatsConnection, is_refusal

WAIT_SECONDS = 0.2  # between checks of the connection
_STREAM = "stream"  # the only part, by sequence


@final
class NatsDestination(Destination):
    """The messages of a subject, which a stream stores."""

    def __init__(self, settings: NatsSinkSettings, *, keyed: bool = False) -> None:
        del keyed
        self._settings = settings
        self._subject = str(settings.subject)
        self._connection: NatsConnection | None = None
        self._stream = ""
        self._run = 0
        self._held = -1  # number of the last record of the run
        self._end = 0  # sequence of the last message of the stream

    @property
    def name(self) -> str:
        """The subject."""
        return self._subject

    def open(self, run: int, number: int, ends: Mapping[str, End]) -> int:
        """Connect, and find the last message."""
        self._run = run
        with self._explained():
            # It does not connect again by itself, which would leave out what was on its way.
            self._connection = NatsConnection(self._settings, reconnect=False)
            last = self._connection.call(self._find_last)
        end = ends.get(_STREAM, End(0, number - 1))
        self._held = end.held
        if last is not None and last.seq > end.place:
            self._held = self._read_number(last, known=bool(ends))
        return max(0, end.place - self._end)

    async def _find_last(self) -> Any:
        """The last message of the subject; None if there is none. Finds the stream and its end."""
        assert self._connection is not None
        manager = self._connection.client.jsm()
        try:
            self._stream = await manager.find_stream_name_by_subject(self._subject)
        except nats.js.errors.NotFoundError:
            raise ConfigurationError(
                f"subject is {self._subject!r}, but no stream stores it"
            ) from None
        # First the end: what is added meanwhile is refused, not overlooked.
        self._end = (await manager.stream_info(self._stream)).state.last_seq
        try:
            return await manager.get_last_msg(self._stream, self._subject)
        except nats.js.errors.NotFoundError:
            return None

    def _read_number(self, message: Any, *, known: bool) -> int:
        """The number of the last record; -1 before the first one of a run.

        With ``known``, the end of the stream was known, behind which nobody else may write.
        """
        run, _, number = (message.headers or {}).get(Header.MSG_ID, "").partition("-")
        if run == str(self._run):
            return int(number)
        if not known:
            return -1
        raise OutputError(
            f"subject {self._subject!r} has a message that is not of this run: a subject of its "
            "own is needed, to which nobody else writes"
        )

    def send(self, records: Sequence[Record]) -> None:
        """Publish messages, and wait for their acknowledgements."""
        assert self._connection is not None
        with self._explained():
            self._end = self._connection.call(self._publish, records)
        self._held = max(self._held, records[-1].number)

    async def _publish(self, records: Sequence[Record]) -> int:
        """Publish messages; returns the sequence of the last one."""
        assert self._connection is not None
        client, end = self._connection.client, self._end
        replies = _Replies()
        inbox = client.new_inbox()
        subscription = await client.subscribe(f"{inbox}.*", cb=replies.receive)
        for record in records:
            if record.number > self._held:
                headers = {
                    Header.MSG_ID: f"{self._run}-{record.number}",
                    Header.EXPECTED_LAST_SEQUENCE: str(end),
                }
                end += 1
                reply = f"{inbox}.{end}"
                await client.publish(self._subject, record.value, reply=reply, headers=headers)
        await replies.wait(end - self._end, client)
        await subscription.unsubscribe()
        return end

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say what the server's errors mean."""
        where = f"subject {self._subject!r} of {', '.join(self._settings.servers)}"
        try:
            yield
        except nats.errors.AuthorizationError as error:
            raise ConfigurationError(f"{where} can't be written to: {error}") from None
        except nats.errors.MaxPayloadError as error:
            raise OutputError(f"{where}: a record is too large: {error}") from None
        except (nats.errors.Error, TimeoutError, OSError) as error:
            why = str(error) or type(error).__name__
            if is_refusal(why):
                raise ConfigurationError(f"{where} can't be written to: {why}") from None
            raise DeliveryError(f"{', '.join(self._settings.servers)}: {why}") from error

    def export_ends(self) -> dict[str, End]:
        """Sequence of the last message of the stream."""
        return {_STREAM: End(self._end, self._held)}

    def close(self) -> None:
        """Disconnect."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


@final
class _Replies:
    """What the server says of messages.

    The futures of nats-py never end where the server refuses a message.
    """

    def __init__(self) -> None:
        self._count = 0
        self._changed = Event()
        self._refused = ""

    async def receive(self, message: Any) -> None:
        """Take a reply; each says at which sequence the message is."""
        found = decode(message.data) if message.data else {"error": {"description": "no stream"}}
        if "error" in found:
            self._refused = self._refused or found["error"]["description"]
        elif not message.subject.endswith(f".{found['seq']}"):
            self._refused = self._refused or f"a message was stored before, at {found['seq']}"
        self._count += 1
        self._changed.set()

    async def wait(self, count: int, client: Any) -> None:
        """Wait for so many replies."""
        while self._count < count and not self._refused:
            with move_on_after(WAIT_SECONDS):
                await self._changed.wait()
            self._changed = Event()
            if client.is_closed and self._count < count:
                raise ConnectionError("the connection was lost")
        if self._refused:
            raise ConnectionError(self._refused)
