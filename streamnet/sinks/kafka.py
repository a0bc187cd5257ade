"""A Kafka topic as a destination, written with confluent-kafka (librdkafka).

The number of a record is one of its headers. When the topic is opened, its end is read, which says
what it holds. Idempotent producers (KIP-98) see to it that what the client sends again by itself is
stored once and in order. That is enough as long as one process writes; with transactions, opening
the topic also ends those of earlier processes of the run, which can write nothing more (KIP-98).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from threading import Event
from time import monotonic
from typing import Any, final
from zlib import crc32

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from streamnet.errors import ConfigurationError, InUseError, OutputError, StreamnetError
from streamnet.settings.sinks import KafkaSinkSettings
from streamnet.sinks.base import DeliveryError, Destination, End, Record
from streamnet.sources.brokers.kafka import (
    REFUSED,
    REQUEST_SECONDS,
    ClientErrors,
    build_client_options,
)
from streamnet.sources.brokers.secrets import make_failure

POLL_SECONDS = 0.2
CREATION_SECONDS = 2.0  # for a topic to be created
SCAN_SECONDS = 60.0  # to read the end of a partition
TRANSACTION_MILLISECONDS = 10_000  # after which that of a killed process hides nothing any more
TAIL = 4096  # places that may follow the last record: ends of transactions, and what they undid
LINGER_MILLISECONDS = 1  # in which records are gathered into a batch
RUN, NUMBER = "streamnet-run", "streamnet-number"  # headers of records

_TOO_LARGE = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE)
_PERMANENT = (
    *REFUSED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.INVALID_CONFIG,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
)
_REPLACED = (KafkaError._FENCED, KafkaError.PRODUCER_FENCED)


@final
class KafkaDestination(Destination):
    """A partition of a topic, or all of them by the hash of the record's key.

    Args:
        settings: Where it is.
        keyed: Whether records have keys.
    """

    def __init__(self, settings: KafkaSinkSettings, *, keyed: bool = False) -> None:
        self._settings = settings
        self._topic = str(settings.topic)
        self._keyed = keyed
        self._errors = ClientErrors()
        self._options = build_client_options(settings, self._errors)
        self._producer: Producer | None = None
        self._ends: dict[int, End] = {}  # by partition
        self._run = 0
        self._failure: KafkaError | None = None
        self._interrupted = Event()

    @property
    def name(self) -> str:
        """Topic, and the partition if one is given."""
        given = self._settings.partition
        return self._topic if given is None else f"{self._topic}[{given}]"

    def open(self, run: int, number: int, ends: Mapping[str, End]) -> int:
        """Connect, and read the end of each partition."""
        del number
        self._run, self._failure = run, None
        known = {int(partition): end for partition, end in ends.items()}
        try:
            self._producer = producer = Producer(self._build_options())
            self._errors.call(producer, lambda seconds: producer.list_topics(timeout=seconds))
            if self._settings.transactions:
                producer.init_transactions(REQUEST_SECONDS)
            # How many there are stays as it was when the run began: keys keep their partitions.
            return self._find_ends(sorted(known) or self._list_partitions(producer), known)
        except KafkaException as error:
            raise self._make_error(error.args[0]) from error

    def _build_options(self) -> dict[str, Any]:
        options = self._options | {
            "enable.idempotence": True,
            "enable.gapless.guarantee": True,
            "linger.ms": LINGER_MILLISECONDS,
        }
        if not self._settings.transactions:
            return options | {"message.timeout.ms": 0}
        writer = f"streamnet-{self._run}-{self.name}"
        timeout = TRANSACTION_MILLISECONDS
        return options | {"transactional.id": writer, "transaction.timeout.ms": timeout}

    def _find_ends(self, partitions: Sequence[int], known: Mapping[int, End]) -> int:
        """Find the end of each partition and what it holds; returns how many records are lost."""
        # Open transactions of others hide what follows them from readers of committed records.
        places = self._connect_consumer("read_uncommitted")
        reader = places
        if self._settings.transactions:
            reader = self._connect_consumer("read_committed")
        try:
            lost, tail = 0, TAIL if self._settings.transactions else 1
            for partition in partitions:
                place = TopicPartition(self._topic, partition)
                low, high = places.get_watermark_offsets(place, timeout=REQUEST_SECONDS)
                end = known.get(partition, End(high - tail, -1))
                lost += max(0, end.place - high)
                found = self._find_held(reader, partition, max(low, end.place), high)
                self._ends[partition] = End(high, max(end.held, found))
            return lost
        finally:
            places.close()
            reader.close()

    def _connect_consumer(self, isolation: str) -> Consumer:
        return Consumer(
            self._options
            | {
                "group.id": "streamnet",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": isolation,
            }
        )

    def _list_partitions(self, producer: Producer) -> list[int]:
        """The partitions to write to. Brokers that create topics do so when they are asked."""
        deadline = monotonic() + CREATION_SECONDS
        while True:
            found = producer.list_topics(self._topic, timeout=REQUEST_SECONDS).topics[self._topic]
            if found.error is None:
                break
            if monotonic() > deadline or self._interrupted.wait(POLL_SECONDS):
                raise self._make_error(found.error)
        numbers, given = sorted(found.partitions), self._settings.partition
        if given is None and len(numbers) > 1 and not self._keyed:
            raise ConfigurationError(
                f"partition is not given, but topic {self._topic!r} has {len(numbers)}, from "
                f"{numbers[0]} to {numbers[-1]}, and records have no key to choose one by"
            )
        if given is not None and given not in numbers:
            rule = f"topic {self._topic!r} has only the partitions {', '.join(map(str, numbers))}"
            raise ConfigurationError(f"partition is {given}, but {rule}")
        return numbers if given is None else [given]

    def _find_held(self, consumer: Consumer, partition: int, start: int, high: int) -> int:
        """Number of the last record of the run behind an offset; -1 if there is none.

        It is the last of all, unless others write to the partition as well.
        """
        for first in sorted({max(start, high - 1), start}, reverse=True):
            if (held := self._scan(consumer, partition, first, high)) >= 0:
                return held
        return -1

    def _scan(self, consumer: Consumer, partition: int, start: int, high: int) -> int:
        held, deadline = -1, monotonic() + SCAN_SECONDS
        if start >= high:
            return held
        consumer.assign([TopicPartition(self._topic, partition, start)])
        while monotonic() < deadline and not self._interrupted.is_set():
            found = consumer.poll(POLL_SECONDS)
            if found is None:
                continue
            if found.error() is not None:
                if found.error().code() == KafkaError._PARTITION_EOF:
                    if found.offset() >= high:
                        return held
                    continue  # what follows an open transaction of another writer comes later
                raise self._make_error(found.error())
            held = max(held, self._read_number(found.headers()))
            if found.offset() >= high - 1:
                return held
        raise DeliveryError(f"its end, from offset {start} to {high}, can't be read")

    def _read_number(self, headers: Any) -> int:
        """The number of a record; -1 if it is not one of the run."""
        found = dict(headers or ())
        return int(found[NUMBER]) if found.get(RUN) == b"%d" % self._run else -1

    def send(self, records: Sequence[Record]) -> None:
        """Send records; the client tries again by itself while a broker is away."""
        producer = self._producer
        assert producer is not None
        run = b"%d" % self._run
        try:
            if self._settings.transactions:
                producer.begin_transaction()
            for record in records:
                partition = self._choose_partition(record.key)
                if record.number > self._ends[partition].held:
                    producer.produce(
                        self._topic,
                        record.value,
                        record.key,
                        partition,
                        partial(self._note_delivery, record.number),
                        headers=[(RUN, run), (NUMBER, b"%d" % record.number)],
                    )
            while producer.flush(POLL_SECONDS) and not self._interrupted.is_set():
                if self._failure is not None:
                    break
            if self._settings.transactions and self._failure is None and not len(producer):
                producer.commit_transaction(REQUEST_SECONDS)
        except KafkaException as error:
            self._failure = self._failure or error.args[0]
        except BufferError:
            raise DeliveryError("the client's queue is full") from None
        if self._failure is not None:
            raise self._make_error(self._failure)
        if len(producer):
            raise DeliveryError("it was interrupted")

    def _choose_partition(self, key: bytes | None) -> int:
        numbers = sorted(self._ends)
        return numbers[0 if len(numbers) == 1 else crc32(key or b"") % len(numbers)]

    def _note_delivery(self, number: int, error: KafkaError | None, message: Any) -> None:
        if error is not None:
            self._failure = self._failure or error
        else:
            self._ends[message.partition()] = End(message.offset() + 1, number)

    def _make_error(self, error: KafkaError) -> StreamnetError:
        if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
            return ConfigurationError(f"topic is {self._topic!r}, but there is no such topic")
        if error.code() in _PERMANENT:
            return ConfigurationError(f"topic is {self._topic!r}, but: {error.str()}")
        if error.code() in _TOO_LARGE:
            return OutputError(f"topic {self._topic}: a record is too large: {error.str()}")
        if error.code() in _REPLACED:
            return InUseError(
                f"topic {self._topic}: another process has taken over the run, so this one has "
                "stopped writing"
            )
        return make_failure(f"{', '.join(self._settings.servers)}: {error.str()}", DeliveryError)

    def export_ends(self) -> dict[str, End]:
        """Offset behind the last record of each partition, and its number."""
        return {str(partition): end for partition, end in self._ends.items()}

    def interrupt(self) -> None:
        """Let `send` end soon."""
        self._interrupted.set()

    def close(self) -> None:
        """Drop what was not delivered, and disconnect."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()
            if self._settings.transactions:
                with suppress(KafkaException):  # if there is none, or it has to time out
                    producer.abort_transaction(POLL_SECONDS)
            producer.flush(POLL_SECONDS)
