"""A Redis or Valkey stream as a destination, written with redis-py.

The id of an entry is made of the run and the number of the record, so the server itself refuses
what it holds already, and anything out of order. The stream can have no other writer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, final

import redis
from redis import exceptions

from streamnet.errors import OutputError
from streamnet.settings.sinks import RedisSinkSettings
from streamnet.sinks.base import DeliveryError, Destination, End, Record
from streamnet.sources.brokers.redis import connect, explain_errors, parse_id

VALUE = "data"  # field of an entry


@final
class RedisDestination(Destination):
    """The entries of a stream."""

    def __init__(self, settings: RedisSinkSettings, *, keyed: bool = False) -> None:
        del keyed
        self._settings = settings
        self._stream = str(settings.stream)
        self._client: redis.Redis | None = None
        self._run = 0
        self._held = -1  # number of the last record of the run

    @property
    def name(self) -> str:
        """The key of the stream."""
        return self._stream

    def open(self, run: int, number: int, ends: Mapping[str, End]) -> int:
        """Connect, and find the last entry."""
        del ends
        self._run, self._held = run, -1
        with self._explained():
            self._client = connect(self._settings)
            newest, last = self._find_newest(self._client)
        if newest > run:
            raise OutputError(
                f"stream {self._stream!r} has entry {newest}-{last}, but those of this run begin "
                f"with {run}: a stream of its own is needed, to which nobody else writes"
            )
        if newest == run:
            self._held = last
        return max(0, number - self._held - 1)

    def _find_newest(self, client: redis.Redis) -> tuple[int, int]:
        """The id of the last entry that there ever was."""
        try:
            found: Any = client.xinfo_stream(self._stream)
        except exceptions.ResponseError as error:
            if "no such key" in str(error):
                return 0, 0
            raise
        return parse_id(found["last-generated-id"].decode())

    def send(self, records: Sequence[Record]) -> None:
        """Add entries, all at once."""
        client = self._client
        assert client is not None
        with self._explained():
            with client.pipeline(transaction=False) as pipeline:
                for record in records:
                    if record.number > self._held:
                        name = f"{self._run}-{record.number}"
                        pipeline.xadd(self._stream, {VALUE: record.value}, id=name)
                replies = pipeline.execute(raise_on_error=False)
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
        self._held = max(self._held, records[-1].number)

    def _explained(self) -> AbstractContextManager[None]:
        """Other errors may pass, such as of a server that is out of memory."""
        return explain_errors(self._settings, "written to", DeliveryError, DeliveryError)

    def close(self) -> None:
        """Disconnect."""
        client, self._client = self._client, None
        if client is not None:
            client.close()
