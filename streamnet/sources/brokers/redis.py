"""A Redis or Valkey stream, read with redis-py."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from math import nan
from typing import Any, Unpack, final

import redis
from msgspec import json
from redis import exceptions

from streamnet.errors import ConfigurationError, ReadError, StreamnetError
from streamnet.settings.brokers import RedisSettings, RedisStreamSettings, split_address
from streamnet.settings.keywords import RedisKeywords
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
DEFAULT_PORT = 6379

EntryId = tuple[int, int]
Entry = tuple[bytes, list[bytes] | None]  # its id, and names and values of its fields in turn


def connect(settings: RedisStreamSettings) -> redis.Redis:
    """A client, of which several threads may make use.

    Raises:
        ConfigurationError: If a password can't be read.
    """
    host, port = split_address(settings.server, DEFAULT_PORT)
    secure = {
        "ssl": True,
        "ssl_ca_certs": settings.ca,
        "ssl_certfile": settings.certificate,
        "ssl_keyfile": settings.private_key,
    }
    return redis.Redis(
        host=host,
        port=port,
        db=settings.database,
        username=settings.user,
        password=read_secret("password", settings.password_file, settings.password_env),
        client_name="streamnet",
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=ANSWER_SECONDS,
        **(secure if settings.tls else {}),
    )


@contextmanager
def explain_errors(
    settings: RedisStreamSettings,
    action: str,
    failure: type[StreamnetError],
    refusal: type[StreamnetError],
) -> Iterator[None]:
    """Raise the errors of a client as what they mean.

    Args:
        settings: The stream.
        action: What can't be done with it, as a participle.
        failure: What is raised if the server can't be reached.
        refusal: What is raised if it answers with an error that is no refused login.
    """
    where = f"stream {settings.stream!r} of {settings.server}"
    try:
        yield
    except (exceptions.AuthenticationError, exceptions.NoPermissionError) as error:
        raise ConfigurationError(f"{where} can't be {action}: {error}") from None
    except (exceptions.ConnectionError, exceptions.TimeoutError) as error:
        raise make_failure(f"{where} can't be {action}: {error}", failure) from error
    except exceptions.ResponseError as error:
        if str(error).startswith("WRONGTYPE"):
            raise ConfigurationError(f"{where} is no stream: {error}") from None
        raise refusal(f"{where} can't be {action}: {error}") from error


def parse_id(text: str) -> EntryId:
    """The two numbers of the id of an entry.

    >>> parse_id("1700000000000-3")
    (1700000000000, 3)
    """
    first, _, second = text.partition("-")
    return int(first), int(second or 0)


class _Info:
    """What a server says of a stream."""

    def __init__(self, found: dict[str, Any]) -> None:
        first, last = found.get("first-entry"), found.get("last-entry")
        self.first = None if first is None else parse_id(first[0].decode())
        self.last = None if last is None else parse_id(last[0].decode())
        self.newest = parse_id(found["last-generated-id"].decode())
        # Before version 7 it is unknown how many entries there were.
        added = found.get("entries-added")
        self.added = None if added is None else int(added)
        self.gone = None if added is None else int(added) - int(found["length"])


@final
class RedisSubscription(Subscription):
    """The entries of a stream, by their ids. The place of an entry is its number in the stream.

    Reading begins with the entry that was read last: as long as it is there, nothing that follows
    it was trimmed.
    """

    def __init__(self, settings: RedisSettings, *, follow: bool) -> None:
        super().__init__(follow=follow)
        self._settings = settings
        self._stream = str(settings.stream)
        self._client: redis.Redis | None = None
        # That of an entry which holds nothing but a message.
        held = None if settings.headers else settings.value_field
        self._only_field = None if held is None else held.encode()
        self._end: EntryId | None = None  # the last entry when it was opened
        self._last: str | None = None  # id of the entry that was read last
        self._place = -1  # its place

    @property
    def name(self) -> str:
        """The key of the stream."""
        return self._stream

    def describe(self) -> dict[str, Any]:
        """The key of the stream."""
        return {"stream": self._stream}

    def open(self) -> None:
        """Connect, and find the last entry."""
        self._client = connect(self._settings)
        # As the server answers: a dict for each entry would take a third of the time of reading.
        self._client.set_response_callback("XRANGE", lambda found, **_: found)
        info = self._find_info()
        self._end = None if info is None else info.last
        if info is None and self.follow:
            logger.warning("stream %r does not exist yet", self._stream)

    def _find_info(self) -> _Info | None:
        """What the server says of the stream; None if it does not exist."""
        with self._explained():
            assert self._client is not None
            try:
                return _Info(self._client.xinfo_stream(self._stream))
            except exceptions.ResponseError as error:
                if "no such key" in str(error):
                    return None
                raise

    def start(self) -> None:
        """Read from the oldest entry on."""
        info = self._find_info()
        gone = 0 if info is None or info.gone is None else info.gone
        self._go_to(None, gone - 1)

    def resume(self, after: Bookmark) -> None:
        """Read the entries behind one, if it is the same or gone, and none that follows is gone."""
        last, place = str(after.id), after.place
        with self._explained():
            assert self._client is not None
            found = self._client.xrange(self._stream, min=last, max=last)
        if found:
            message = self._convert(found[0], place)
            if message.digest() != after.digest:
                raise GapError(
                    f"has another entry {last} than the one that was read: it was deleted and "
                    "created again"
                )
        else:
            self._check_behind(last, place, self._find_info())
        self._go_to(last, place)

    def _go_to(self, last: str | None, place: int) -> None:
        self._last, self._place = last, place
        self.caught_up = self._is_behind(last)

    def _is_behind(self, last: str | None) -> bool:
        """Whether all entries that were there when it was opened come before or at this one."""
        return self._end is None or (last is not None and parse_id(last) >= self._end)

    def _check_behind(self, last: str, place: int, info: _Info | None) -> None:
        """Check that no entry behind one that is gone is gone, too."""
        again = "it lost entries, or was deleted and created again"
        if info is None:
            raise GapError(f"does not exist any more, but was left at entry {last}")
        if info.newest < parse_id(last):
            newest = "-".join(map(str, info.newest))
            raise GapError(f"ends at entry {newest}, but was left at {last}: {again}")
        if info.first is not None and info.first < parse_id(last):
            return  # only that one was deleted
        if info.gone is None or info.gone > place + 1:
            lost = "entries" if info.gone is None else f"{info.gone - place - 1} entries"
            raise GapError(f"was trimmed: {lost} behind {last} are gone, before they were read")
        if info.gone < place + 1:
            raise GapError(f"begins behind entry {last}, but had fewer entries before it: {again}")

    def poll(self, seconds: float, most: int) -> list[Message] | None:
        """Return the entries that are there; None at the end."""
        if self.caught_up and not self.follow:
            return None
        with self._explained():
            found = self._read(most)
            if not found:
                assert self._client is not None
                milliseconds = max(1, int(seconds * 1000))
                since = {self._stream: self._last or "0-0"}
                self._client.xread(since, count=1, block=milliseconds)
                found = self._read(most)
        end = None if self.follow or not found else self._end
        if end is not None and parse_id(found[-1][0].decode()) > end:
            found = [e for e in found if parse_id(e[0].decode()) <= end]
        messages = [self._convert(e, self._place + i) for i, e in enumerate(found, start=1)]
        if messages:
            self._last, self._place = str(messages[-1].id), messages[-1].place
            self.caught_up = self.caught_up or self._is_behind(self._last)
        else:
            self.caught_up = True  # those that were there have been deleted
        return messages

    def _read(self, most: int) -> Sequence[Entry]:
        """The next entries; checks that none was lost."""
        assert self._client is not None
        if self._last is None:
            found: list[Entry] = self._client.xrange(self._stream, count=most)
            return found
        found = self._client.xrange(self._stream, min=self._last, count=most + 1)
        if found and found[0][0].decode() == self._last:
            return found[1:]
        # The last one is gone. Both at once, so that what is read is what is checked.
        with self._client.pipeline(transaction=True) as pipeline:
            pipeline.xrange(self._stream, min=f"({self._last}", count=most)
            pipeline.xinfo_stream(self._stream)
            found, info = pipeline.execute(raise_on_error=False)
        for one in (found, info):
            if isinstance(one, Exception) and "no such key" not in str(one):
                raise one
        known = None if isinstance(info, Exception) else _Info(info)
        self._check_behind(self._last, self._place, known)
        return found

    def count_waiting(self) -> int | None:
        """Entries that were added behind the last one."""
        info = self._find_info()
        if info is None:
            return 0
        return None if info.added is None else max(0, info.added - self._place - 1)

    def _convert(self, entry: Entry, place: int) -> Message:
        name, pairs = entry[0].decode(), entry[1] or []
        time = nan if self._settings.timestamp is None else parse_id(name)[0] / 1000
        if len(pairs) == 2 and pairs[0] == self._only_field:
            return Message(place, name, pairs[1], time=time)
        fields = dict(zip(pairs[::2], pairs[1::2], strict=True))
        held, key = self._settings.value_field, self._settings.key_field
        if held is None:
            return Message(place, name, _encode_fields(fields), time=time)
        value, found = fields.get(held.encode()), None if key is None else fields.get(key.encode())
        headers: Sequence[tuple[str, bytes | None]] = ()
        if self._settings.headers:
            headers = [(field.decode("utf-8", "replace"), text) for field, text in fields.items()]
        return Message(place, name, value, found, headers, time)

    def acknowledge(self, through: Bookmark) -> None:
        """Set the last entry of the group; create it if need be."""
        group, client = self._settings.group, self._client
        if group is None or client is None:
            return
        try:
            try:
                client.xgroup_setid(self._stream, group, str(through.id))
            except exceptions.ResponseError as error:
                if "NOGROUP" not in str(error):
                    raise
                client.xgroup_create(self._stream, group, str(through.id))
        except exceptions.RedisError as error:
            logger.warning("%s: the group can't be updated: %s", self._stream, error)

    def _explained(self) -> AbstractContextManager[None]:
        return explain_errors(self._settings, "read", ReadError, ConfigurationError)

    def close(self) -> None:
        """Disconnect."""
        client, self._client = self._client, None
        if client is not None:
            client.close()


def _encode_fields(fields: dict[bytes, bytes]) -> bytes:
    """The fields of an entry as a JSON object of texts; bytes that are no text are left as such."""
    try:
        return json.encode({name.decode(): text.decode() for name, text in fields.items()})
    except UnicodeDecodeError:
        return b" ".join(part for pair in fields.items() for part in pair)


class _Keywords(StreamKeywords, RedisKeywords, total=False):
    """Keyword arguments of `RedisSource`."""


@final
@with_stream_settings(RedisSettings)
class RedisSource(BrokerSource):
    """Samples of a Redis or Valkey stream, in its order.

    An entry is a sample whose values are its fields, or holds a message in its ``value_field``.
    Where reading resumes is part of checkpoints, never taken from a consumer group: each entry is
    learned exactly once. `DataError` is raised, or with ``on_gap="go_on"`` a rejected record is
    returned, where entries were trimmed before they were read, or the stream was created again.

    Raises:
        ConfigurationError: If a setting is invalid.
    """

    def __init__(self, *, follow: bool = False, **given: Unpack[_Keywords]) -> None:
        declared, shared = split_keywords(RedisSettings, given, "RedisSource")
        subscription = RedisSubscription(declared, follow=follow)
        typed = None if declared.value_field else False
        super().__init__(subscription, declared, typed=typed, **shared)
