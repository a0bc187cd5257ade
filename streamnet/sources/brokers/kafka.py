"""A partition of a Kafka topic, read with confluent-kafka (librdkafka)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from math import inf, nan
from threading import Lock
from time import monotonic, time
from typing import Any, TypeVar, Unpack, final

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka import Message as KafkaMessage

from streamnet.errors import ConfigurationError, ReadError, StreamnetError
from streamnet.settings.brokers import KafkaSettings, KafkaTopicSettings
from streamnet.settings.fields import build_settings
from streamnet.settings.keywords import KafkaKeywords
from streamnet.sources.brokers.base import (
    POLL_SECONDS,
    Bookmark,
    BrokerSource,
    GapError,
    StreamKeywords,
    Subscription,
    split_keywords,
    with_stream_settings,
)
from streamnet.sources.brokers.messages import Message
from streamnet.sources.brokers.secrets import is_untrusted, make_failure, read_secret

logger: logging.Logger = logging.getLogger("streamnet.sources")

REQUEST_SECONDS = 10.0  # for an answer of the broker
LOGIN_SECONDS = 0.5  # after which it is seen whether the login was refused
TOKEN_SECONDS = 300.0  # after which a token is read again
QUEUED_KILOBYTES = 16_384  # that the client fetches ahead
FOUND_SECONDS = 5.0  # to read a message again
QUIET_LOG_SECONDS = 60.0  # between two equal warnings

_CRITICAL = 2  # level of the log of the client, which reports all else to `ClientErrors`, too
_NO_SUCH_TOPIC = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)
REFUSED = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError._AUTHENTICATION,
)

T = TypeVar("T")


@final
class ClientErrors:
    """What a client reports besides the answers to its calls, while it tries again by itself.

    It is logged, once a minute. That a login is refused, or a server not trusted, is kept.

    Args:
        on_down: Called with what was said when no broker could be reached.
    """

    def __init__(self, on_down: Callable[[str], None] = lambda _: None) -> None:
        self.refusal: KafkaError | None = None
        self._on_down = on_down
        self._logged: dict[int, float] = {}  # when, by code

    def __call__(self, error: KafkaError) -> None:
        """Note an error, and log it."""
        now, code = monotonic(), error.code()
        if code == KafkaError._ALL_BROKERS_DOWN:
            self._on_down(error.str())
        if code in REFUSED or is_untrusted(error.str()):
            self.refusal = error
        if now - self._logged.get(code, -inf) >= QUIET_LOG_SECONDS:
            self._logged[code] = now
            logger.warning("kafka: %s", error.str())

    def call(self, client: Consumer | Producer, function: Callable[[float], T]) -> T:
        """Call a function of a client that connects, with the seconds that it may take.

        Raises:
            KafkaException: If there is no answer; at once if it is since the login is refused.
        """
        deadline = monotonic() + REQUEST_SECONDS
        self.refusal = None
        while True:
            try:
                return function(LOGIN_SECONDS)
            except KafkaException:
                client.poll(0)  # which reports errors
                if self.refusal is not None:
                    raise KafkaException(self.refusal) from None
                if monotonic() > deadline:
                    raise


def build_client_options(settings: KafkaTopicSettings, errors: ClientErrors) -> dict[str, Any]:
    """The options with which any client, consumer or producer, connects and logs in.

    Args:
        settings: Where the brokers are.
        errors: Gets what the client handles by itself, such as a broker that is away.

    Raises:
        ConfigurationError: If a password or token can't be read.
    """
    mechanism = settings.mechanism or (None if settings.user is None else "PLAIN")
    protocol = ("SASL_" if mechanism else "") + ("SSL" if settings.tls else "PLAINTEXT")
    given: dict[str, Any] = {
        "bootstrap.servers": ",".join(settings.servers),
        "security.protocol": protocol,
        "ssl.ca.location": settings.ca,
        "ssl.certificate.location": settings.certificate,
        "ssl.key.location": settings.private_key,
        "sasl.mechanism": mechanism,
        "sasl.username": settings.user,
        "sasl.password": read_secret("password", settings.password_file, settings.password_env),
        "client.id": "streamnet",
        "logger": logger,
        "log_level": _CRITICAL,
        "error_cb": errors,
    }
    if mechanism == "OAUTHBEARER":

        def read_token(_: str) -> tuple[str, float]:
            token = read_secret("token", settings.token_file, settings.token_env)
            return str(token), time() + TOKEN_SECONDS

        read_token("")  # to refuse a missing one now
        given["oauth_cb"] = read_token
    return {name: value for name, value in given.items() if value is not None}


def connect(options: dict[str, Any]) -> Consumer:
    """A consumer with these options.

    Raises:
        ConfigurationError: If the client refuses one, such as a file that can't be read.
    """
    try:
        return Consumer(options)
    except KafkaException as error:
        raise ConfigurationError(f"kafka: {error.args[0].str()}") from error


def list_partitions(
    consumer: Consumer, errors: ClientErrors, settings: KafkaTopicSettings, name: str
) -> list[int]:
    """The numbers of all partitions of the topic; ``name`` is what is read, for messages.

    Raises:
        ReadError: If the broker can't be reached.
        ConfigurationError: If there is no such topic, or the client may not read it.
    """
    topic = str(settings.topic)
    try:
        found = errors.call(consumer, partial(consumer.list_topics, topic)).topics[topic]
    except KafkaException as error:
        raise make_read_error(settings, name, error.args[0]) from error
    if found.error is not None:
        raise make_read_error(settings, name, found.error)
    return sorted(found.partitions)


def make_read_error(settings: KafkaTopicSettings, name: str, error: KafkaError) -> StreamnetError:
    """What an error of the client means for reading a topic; ``name`` is what is read."""
    if error.code() in _NO_SUCH_TOPIC:
        return ConfigurationError(f"topic is {settings.topic!r}, but there is no such topic")
    if error.code() in REFUSED:
        return ConfigurationError(f"topic is {settings.topic!r}, but: {error.str()}")
    return make_failure(
        f"{name} can't be read from {', '.join(settings.servers)}: {error.str()}", ReadError
    )


@final
class KafkaSubscription(Subscription):
    """A partition, read from offsets of our own; the group only shows how far learning is."""

    def __init__(self, settings: KafkaSettings, *, follow: bool) -> None:
        super().__init__(follow=follow)
        self._settings = settings
        self._partition = settings.partition or 0
        self._consumer: Consumer | None = None
        self._errors = ClientErrors(self._note_failure)
        self._lock = Lock()  # between reading and acknowledging
        self._end = 0  # offset behind the last message when it was opened
        self._next = 0  # offset of the next message
        self._failure: KafkaError | None = None  # that follows the messages returned last

    @property
    def name(self) -> str:
        """Topic and partition."""
        return f"{self._settings.topic}[{self._partition}]"

    def describe(self) -> dict[str, Any]:
        """Topic and partition."""
        return {"topic": self._settings.topic, "partition": self._partition}

    def open(self) -> None:
        """Connect, choose the partition and find its end."""
        self._consumer = self._connect()
        self._partition = self._choose_partition(self._consumer)
        self._end = self._find_offsets()[1]

    def find_partitions(self) -> list[int]:
        """The numbers of all partitions of the topic."""
        consumer = self._connect()
        try:
            return list_partitions(consumer, self._errors, self._settings, self.name)
        finally:
            consumer.close()

    def _connect(self) -> Consumer:
        options = build_client_options(self._settings, self._errors) | {
            "group.id": self._settings.group or "streamnet",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "queued.max.messages.kbytes": QUEUED_KILOBYTES,
            "fetch.queue.backoff.ms": 10,  # once so much is queued
            "allow.auto.create.topics": False,
        }
        return connect(options)

    def _note_failure(self, why: str) -> None:
        self.failure = f"{self.name} can't be read: {why}"

    def _choose_partition(self, consumer: Consumer) -> int:
        """The partition that is given, or the only one."""
        topic, given = str(self._settings.topic), self._settings.partition
        numbers = list_partitions(consumer, self._errors, self._settings, self.name)
        if given is None and len(numbers) > 1:
            raise ConfigurationError(
                f"partition is not given, but topic {topic!r} has {len(numbers)}: one stream is "
                f"one partition, from {numbers[0]} to {numbers[-1]}"
            )
        if given is not None and given not in numbers:
            rule = f"topic {topic!r} has only the partitions {', '.join(map(str, numbers))}"
            raise ConfigurationError(f"partition is {given}, but {rule}")
        return numbers[0] if given is None else given

    def _find_offsets(self) -> tuple[int, int]:
        """Offset of the oldest message, and that behind the newest."""
        assert self._consumer is not None
        place = TopicPartition(self._settings.topic, self._partition)
        try:
            low, high = self._consumer.get_watermark_offsets(place, timeout=REQUEST_SECONDS)
        except KafkaException as error:
            raise self._make_error(error.args[0]) from error
        return low, high

    def start(self) -> None:
        """Read from the oldest message on."""
        self._seek(self._find_offsets()[0])

    def resume(self, after: Bookmark) -> None:
        """Read the messages behind an offset, if it still holds the same message."""
        low, high = self._find_offsets()
        offset = after.place
        if offset >= high:
            raise GapError(
                f"ends at offset {high}, but was left at {offset + 1}: it lost messages, or was "
                "deleted and created again"
            )
        if offset + 1 < low:
            raise GapError(
                f"begins at offset {low}, but was left at {offset + 1}: the messages in between "
                "were deleted before they were read"
            )
        if offset >= low:
            self._seek(offset)
            last = self._read_again(offset)
            if last is not None and last.digest() != after.digest:
                raise GapError(
                    f"has another message at offset {offset} than the one that was read there: it "
                    "was deleted and created again"
                )
        self._seek(offset + 1)

    def _read_again(self, offset: int) -> Message | None:
        """The message at an offset; None if it is gone, as from a compacted topic."""
        assert self._consumer is not None
        end = monotonic() + FOUND_SECONDS
        while monotonic() < end:
            found = self._consumer.poll(POLL_SECONDS)
            if found is None:
                continue
            if found.error() is None:
                message = _convert(found)
                return message if message.place == offset else None
            if found.error().code() == KafkaError._PARTITION_EOF:
                return None
            raise self._make_error(found.error())
        raise ReadError(f"{self.name} did not return the message at offset {offset}")

    def _seek(self, offset: int) -> None:
        assert self._consumer is not None
        self._next = offset
        self.caught_up = offset >= self._end
        self._failure = None
        self._consumer.assign([TopicPartition(self._settings.topic, self._partition, offset)])

    def poll(self, seconds: float, most: int) -> list[Message] | None:
        """Return the messages that are there; None at the end."""
        consumer = self._consumer
        assert consumer is not None
        if self.caught_up and not self.follow:
            return None
        if self._failure is not None:
            self._raise(self._failure)
        first = consumer.poll(seconds)
        if first is None:
            return []
        if first.error() is None:
            self.failure = None
        # `consume` would wait for all of them if it had time to.
        found = [first, *consumer.consume(most - 1, 0)]
        messages = []
        for one in found:
            error = one.error()
            if error is None:
                messages.append(_convert(one))
                self._next = one.offset() + 1
            elif error.code() == KafkaError._PARTITION_EOF:
                self._next = max(self._next, one.offset())
            else:
                self._failure = error
                break
        if not messages and self._failure is not None:
            self._raise(self._failure)
        self.caught_up = self._next >= self._end
        if self.caught_up and not self.follow:
            return [m for m in messages if m.place < self._end]
        return messages

    def count_waiting(self) -> int | None:
        """Messages between the next one and the end, as of the last answer of the broker."""
        consumer = self._consumer
        assert consumer is not None
        place = TopicPartition(self._settings.topic, self._partition)
        try:
            if self.failure is not None:  # the client does not say when it is back
                consumer.get_watermark_offsets(place, timeout=POLL_SECONDS)
                self.failure = None
            _, high = consumer.get_watermark_offsets(place, cached=True)
        except KafkaException:
            return None
        return None if high < 0 else max(0, high - self._next)

    def _raise(self, error: KafkaError) -> None:
        """Raise an error of the client as a gap, or as what it is."""
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            low, high = self._find_offsets()
            raise GapError(
                f"has offsets from {low} to {high - 1}, but offset {self._next} comes next: "
                "messages were deleted before they were read, or it was created again"
            )
        raise self._make_error(error)

    def _make_error(self, error: KafkaError) -> StreamnetError:
        return make_read_error(self._settings, self.name, error)

    def acknowledge(self, through: Bookmark) -> None:
        """Commit the offset behind a message, without waiting."""
        if self._settings.group is None:
            return
        place = TopicPartition(self._settings.topic, self._partition, through.place + 1)
        with self._lock:
            if self._consumer is None:
                return
            try:
                self._consumer.commit(offsets=[place], asynchronous=True)
            except KafkaException as error:
                logger.warning("%s: the group can't be updated: %s", self.name, error.args[0].str())

    def close(self) -> None:
        """Disconnect."""
        with self._lock:
            consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()


def _convert(message: KafkaMessage) -> Message:
    offset, (_, milliseconds) = message.offset(), message.timestamp()
    time = milliseconds / 1000 if milliseconds >= 0 else nan
    headers = message.headers() or ()
    return Message(offset, offset, message.value(), message.key(), headers, time)


class _Keywords(StreamKeywords, KafkaKeywords, total=False):
    """Keyword arguments of `KafkaSource`."""


@final
@with_stream_settings(KafkaSettings)
class KafkaSource(BrokerSource):
    """Samples of a partition of a Kafka topic, in its order.

    Where reading resumes is part of checkpoints, never taken from the consumer group: each message
    is learned exactly once. `DataError` is raised, or with ``on_gap="go_on"`` a rejected record is
    returned, where messages were deleted before they were read, or the topic was created again.

    Raises:
        ConfigurationError: If a setting is invalid.
    """

    @classmethod
    def list_streams(cls, settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """The partitions of the topic by their numbers: that which is given, or all."""
        declared = build_settings(KafkaSettings, settings, cls.__name__)
        given = declared.partition
        if given is not None:
            return {str(given): settings}
        numbers = KafkaSubscription(declared, follow=True).find_partitions()
        return {str(number): {**settings, "partition": number} for number in numbers}

    def __init__(self, *, follow: bool = False, **given: Unpack[_Keywords]) -> None:
        declared, shared = split_keywords(KafkaSettings, given, "KafkaSource")
        if declared.subscribe:
            raise ConfigurationError(
                "subscribe is true, but only streamnet run can be a member of a group"
            )
        subscription = KafkaSubscription(declared, follow=follow)
        super().__init__(subscription, declared, **shared)
