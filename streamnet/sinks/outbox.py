"""The outbox: records wait here until a destination holds them, which a thread takes care of."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice
from threading import Condition, Thread
from time import monotonic, time_ns
from typing import Any, NamedTuple, final

from streamnet.errors import OutputError, StreamnetError
from streamnet.sinks.base import DeliveryError, Destination, End, Record

logger: logging.Logger = logging.getLogger("streamnet.sinks")

MAX_WAITING = 8192  # records
MAX_WAITING_BYTES = 16 << 20
MAX_BATCH = 1024  # records that are sent at once
MIN_RETRY_SECONDS, MAX_RETRY_SECONDS = 0.1, 5.0
STALLED_SECONDS = 2.0  # without progress, after which a checkpoint waits no longer
CLOSE_SECONDS = 2.0  # for the thread to end


class OutboxStatus(NamedTuple):
    """The condition of an outbox."""

    name: str  # of the output
    waiting: int  # records that the destination does not hold yet
    error: str  # why not; empty if nothing is wrong


@final
class Outbox:
    """Delivers the records of an output in order, each once where the destination can tell.

    `put` only queues. Whoever gives records waits by `wait_for_room` while too many are queued;
    what is queued is never dropped. After a failure the destination is opened again, says what it
    holds, and the rest follows.

    Args:
        name: Name of the output.
        destination: Where its records go.
    """

    def __init__(self, name: str, destination: Destination) -> None:
        self.name = name
        self.number = 0  # of the next record
        self._destination = destination
        self._run = 0
        self._ends: Mapping[str, End] = {}
        self._queue: deque[Record] = deque()
        self._bytes = 0  # in the queue
        self._delivered = 0  # records
        self._exported = 0  # records, by the last state
        self._progress = monotonic()  # when some were delivered last, or could have been
        self._is_open = False
        self._was_open = False
        self._closed = False
        self._error = ""
        self._failure: StreamnetError | None = None  # that ends the run
        self._changed = Condition()
        self._thread: Thread | None = None

    @property
    def where(self) -> str:
        """Name of the output and its destination, for messages."""
        return f"{self.name} {self._destination.name}"

    # ----------------------------------------------------------------------------- lifetime

    def begin(self) -> None:
        """Begin a new run.

        Raises:
            ConfigurationError: If the destination does not exist, or may not be written to.
        """
        self._start(time_ns() // 1_000_000, {})

    def export_state(self) -> dict[str, Any]:
        """What is needed to go on behind the records so far, once they are delivered."""
        with self._changed:
            self._exported = self.number
            return {
                "to": self._destination.name,
                "run": self._run,
                "number": self.number,
                "ends": {part: list(end) for part, end in self._ends.items()},
            }

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Go on from an exported state; what the destination holds already is not sent again.

        Another destination than before gets what follows.
        """
        self.number = self._delivered = state["number"]
        if state["to"] == self._destination.name:
            ends = {part: End(*end) for part, end in state["ends"].items()}
            self._start(state["run"], ends)
        else:
            self.begin()

    def _start(self, run: int, ends: Mapping[str, End]) -> None:
        self._run, self._ends = run, ends
        try:
            self._open()
        except DeliveryError as error:
            self._note(error)
            self._destination.close()
        self._thread = Thread(target=self._deliver, name=self.name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End delivery, whatever is queued. Closing twice is allowed."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._destination.interrupt()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)

    # ----------------------------------------------------------------------------- who gives

    def put(self, *values: bytes, key: bytes | None = None) -> None:
        """Queue the next records, which have the same key.

        Raises:
            StreamnetError: Why the destination refuses records.
        """
        with self._changed:
            self._check()
            if values and not self._queue:
                self._progress = monotonic()
                self._changed.notify_all()
            self._queue.extend(Record(n, value, key) for n, value in enumerate(values, self.number))
            self._bytes += sum(map(len, values))
            self.number += len(values)

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be put at the moment."""
        return len(self._queue) >= MAX_WAITING or self._bytes >= MAX_WAITING_BYTES

    def wait_for_room(self) -> None:
        """Wait while it is full.

        Raises:
            StreamnetError: Why the destination refuses records.
        """
        with self._changed:
            while self.is_full and not self._closed:
                self._check()
                self._changed.wait()

    def flush(self) -> None:
        """Wait until everything is delivered.

        Raises:
            StreamnetError: Why the destination refuses records.
        """
        with self._changed:
            while self._queue and not self._closed:
                self._check()
                self._changed.wait()
            self._check()

    def sync(self) -> None:
        """Wait until what was exported last is delivered, as long as there is progress.

        Raises:
            OSError: If there is none.
            StreamnetError: Why the destination refuses records.
        """
        with self._changed:
            while self._delivered < self._exported:
                self._check()
                left = self._progress + STALLED_SECONDS - monotonic()
                if left <= 0 or self._closed:
                    why = self._error or "it does not answer"
                    raise TimeoutError(f"{self.where} waits: {why}")
                self._changed.wait(left)
            self._check()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def status(self) -> OutboxStatus:
        """Its condition."""
        with self._changed:
            stalled = self._queue and monotonic() - self._progress > STALLED_SECONDS
            error = self._error or ("it does not answer" if stalled else "")
            return OutboxStatus(self.name, len(self._queue), error)

    # ---------------------------------------------------------------------------- the thread

    def _deliver(self) -> None:
        """Deliver records until the end."""
        wait = MIN_RETRY_SECONDS
        try:
            while (batch := self._next_batch()) is not None:
                try:
                    if not self._is_open:
                        self._open()
                    self._destination.send(batch)
                except DeliveryError as error:
                    self._note(error)
                    self._destination.close()
                    self._is_open = False
                    with self._changed:
                        self._changed.wait_for(lambda: self._closed, wait)
                    wait = min(2 * wait, MAX_RETRY_SECONDS)
                else:
                    self._remove(batch)
                    wait = MIN_RETRY_SECONDS
        except StreamnetError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - raised again in the thread that gives records
            failure = OutputError(f"{self.where}: {type(error).__name__}: {error}")
            failure.__cause__ = error
            self._fail(failure)
        finally:
            with suppress(StreamnetError):
                self._destination.close()

    def _open(self) -> None:
        lost = self._destination.open(self._run, self._delivered, self._ends)
        self._is_open = True
        if lost and self._was_open:
            raise OutputError(
                f"{self.where} has lost the last {lost:,} records that it had confirmed; the run "
                "sends them again when it resumes from its last checkpoint"
            )
        if lost:
            logger.warning(
                "%s has lost %s records that were sent before the checkpoint",
                self.where,
                f"{lost:,}",
            )
        self._was_open = True
        with self._changed:
            self._ends = self._destination.export_ends()

    def _next_batch(self) -> list[Record] | None:
        """The records to be sent next; None at the end."""
        with self._changed:
            while not self._queue and not self._closed:
                self._changed.wait()
            return None if self._closed else list(islice(self._queue, MAX_BATCH))

    def _remove(self, batch: list[Record]) -> None:
        """Remove records that are delivered."""
        with self._changed:
            for record in batch:
                self._queue.popleft()
                self._bytes -= len(record.value)
            self._delivered = batch[-1].number + 1
            self._progress = monotonic()
            self._ends = self._destination.export_ends()
            if self._error:
                logger.warning("%s: delivered again", self.where)
                self._error = ""
            self._changed.notify_all()

    def _note(self, error: DeliveryError) -> None:
        """Note why nothing can be delivered now."""
        with self._changed:
            if not self._error:
                logger.warning("%s waits: %s; trying again", self.where, error)
            self._error = str(error)

    def _fail(self, error: StreamnetError) -> None:
        with self._changed:
            self._failure = error
            self._changed.notify_all()
