"""Membership in a Kafka consumer group, which assigns partitions of a topic to its members."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from math import ceil
from threading import Lock
from typing import Any, final

from confluent_kafka import OFFSET_END, Consumer, KafkaException, TopicPartition

from streamnet.settings.brokers import KafkaSettings
from streamnet.sources.brokers.kafka import (
    REFUSED,
    ClientErrors,
    build_client_options,
    connect,
    list_partitions,
    make_read_error,
)

logger: logging.Logger = logging.getLogger("streamnet.sources")

HEARTBEATS = 10  # in a session

OnPartitions = Callable[[list[int]], object]


@final
class Membership:
    """A member of a consumer group. It reads no messages: each partition has a source of its own.

    Partitions move one by one (KIP-429): those that stay with a member are not interrupted. One
    thread at a time calls it, but for `note`; in the same one ``on_assigned``, ``on_revoked`` and
    ``on_lost`` are called.

    Args:
        settings: The topic and the group.
        on_assigned: Called with partitions that are now those of this member.
        on_revoked: Called with partitions that it has to give up; others get them afterwards.
        on_lost: Called with partitions that others may have already, as after it was suspended.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        on_assigned: OnPartitions,
        on_revoked: OnPartitions,
        on_lost: OnPartitions,
    ) -> None:
        self._settings = settings
        self._on_assigned, self._on_revoked, self._on_lost = on_assigned, on_revoked, on_lost
        self._consumer: Consumer | None = None
        self._errors = ClientErrors()
        self._noted: dict[int, int] = {}  # offsets to be committed, by partition
        self._lock = Lock()  # of those

    @property
    def name(self) -> str:
        """Topic and group, for messages."""
        return f"{self._settings.topic} of group {self._settings.group}"

    def open(self) -> None:
        """Connect, and ask to become a member.

        Raises:
            ReadError: If the broker can't be reached.
            ConfigurationError: If there is no such topic, or the client may not read it.
        """
        self.close()
        milliseconds = ceil(1000 * self._settings.session_seconds)
        consumer = connect(
            build_client_options(self._settings, self._errors)
            | {
                "group.id": self._settings.group,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": milliseconds,
                "heartbeat.interval.ms": milliseconds // HEARTBEATS,
                "max.poll.interval.ms": milliseconds,
                "allow.auto.create.topics": False,
            }
        )
        try:
            list_partitions(consumer, self._errors, self._settings, self.name)
            consumer.subscribe(
                [self._settings.topic],
                on_assign=self._assign,
                on_revoke=self._revoke,
                on_lost=lambda _, places: self._on_lost(_list_numbers(places)),
            )
        except BaseException:
            consumer.close()
            raise
        self._consumer = consumer

    def _assign(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        for place in places:
            place.offset = OFFSET_END
        consumer.incremental_assign(places)
        consumer.pause(places)  # what is in them is none of its business
        self._on_assigned(_list_numbers(places))

    def _revoke(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._on_revoked(_list_numbers(places))
        self._commit(consumer)

    def poll(self, seconds: float) -> None:
        """Take part in the group, for so long at most.

        Raises:
            ConfigurationError: If the client may not read the topic or join the group.
            ReadError: If the client can't go on.
        """
        assert self._consumer is not None
        self._commit(self._consumer)
        found = self._consumer.poll(seconds)
        error = None if found is None else found.error()
        if error is None:
            return
        if error.fatal() or error.code() in REFUSED:
            raise make_read_error(self._settings, self.name, error)
        logger.warning("%s: %s", self.name, error.str())

    def note(self, partition: int, offset: int) -> None:
        """Note the offset that is to be read next, to be committed soon. Any thread may call it."""
        with self._lock:
            self._noted[partition] = offset

    def _commit(self, consumer: Consumer) -> None:
        """Commit what was noted, without waiting; the group refuses it of a member that it lost."""
        with self._lock:
            noted, self._noted = self._noted, {}
        topic = self._settings.topic
        places = [TopicPartition(topic, number, offset) for number, offset in noted.items()]
        if places:
            with suppress(KafkaException):  # it only shows others how far learning is
                consumer.commit(offsets=places, asynchronous=True)

    def close(self) -> None:
        """Give up all partitions and leave the group. Closing twice is allowed."""
        consumer = self._consumer
        if consumer is not None:
            consumer.close()
            self._consumer = None


def _list_numbers(places: list[Any]) -> list[int]:
    return sorted(place.partition for place in places)
