"""Webhooks: events of the models, posted to web addresses as CloudEvents, each at least once.

Events wait in a folder, one file each, until an address has confirmed them, so they survive the
process. A request is signed as Standard Webhooks describe (https://www.standardwebhooks.com).
"""

from __future__ import annotations

import binascii
import hmac
import logging
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from threading import Lock
from time import time
from typing import Any, NamedTuple, final

from anyio import Event as Signal
from anyio import sleep, to_thread
from msgspec import json

from streamnet.client.schemas import Event
from streamnet.daemon.hosting.events import EventLog
from streamnet.durability.files import DISK, FileSystem, remove_partial_files, write_durably
from streamnet.errors import ConfigurationError
from streamnet.pipeline.concurrency import run_abandonable
from streamnet.settings.daemon import WebhookEvent, WebhookSection
from streamnet.sinks.base import DeliveryError
from streamnet.sinks.webhook import WebClient

_LOG = logging.getLogger("streamnet.daemon")

WEBHOOKS_FOLDER = ".webhooks"  # in that of the models; not a valid name of one
_TYPE_PREFIX = "streamnet."
_SUFFIX = ".json"
_MIN_RETRY_SECONDS, _MAX_RETRY_SECONDS = 1.0, 300.0
_SECRET_PREFIX = "whsec_"  # noqa: S105 - of all secrets in base64


def sign(secret: bytes, event: str, seconds: int, body: bytes) -> str:
    """The signature of a request: an HMAC-SHA256 of ID, time and body, in base64.

    >>> sign(b"secret", "msg_1", 1700000000, b"{}")
    'v1,A5oIrJxXPB/PkULSoVu0e4khvPiqpF9vljmhkSKg0FI='
    """
    code = hmac.new(secret, b"%b.%d.%b" % (event.encode(), seconds, body), sha256).digest()
    return f"v1,{b64encode(code).decode()}"


def decode_secret(secret: str) -> bytes:
    """The key that a secret stands for: base64 after ``whsec_``, else the text itself.

    Raises:
        ConfigurationError: If it is not base64; the message does not hold it.

    >>> decode_secret("whsec_c2VjcmV0"), decode_secret("secret")
    (b'secret', b'secret')
    """
    if not secret.startswith(_SECRET_PREFIX):
        return secret.encode()
    try:
        return b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    except binascii.Error:
        raise ConfigurationError(
            f"secret begins with {_SECRET_PREFIX}, but must be base64 after it"
        ) from None


def classify(event: Event) -> WebhookEvent | None:
    """What an event is called in the settings of webhooks; None if none is sent.

    A failure is a trouble as well, and sent as such.

    >>> classify(Event(1, "trouble", 0.0, {"trouble": "disk", "change": "began"}))
    'disk'
    """
    if event.kind == "trouble":
        kind: WebhookEvent = event.data["trouble"]
        return kind
    if event.kind == "champion":
        return "champion"
    return "drift" if event.kind == "drift" else None


def build_cloud_event(model: str, kind: str, event: Event) -> bytes:
    """An event of a model as a CloudEvent 1.0 in JSON.

    >>> json.decode(build_cloud_event("spam", "drift", Event(7, "drift", 0.0, {})))["type"]
    'streamnet.drift'
    """
    return json.encode(
        {
            "specversion": "1.0",
            "id": f"{model}-{event.id}",
            "source": f"/v1/models/{model}",
            "type": f"{_TYPE_PREFIX}{kind}",
            "subject": model,
            "time": datetime.fromtimestamp(event.time, UTC).isoformat().replace("+00:00", "Z"),
            "datacontenttype": "application/json",
            "data": event.data,
        }
    )


@final
class DurableQueue:
    """Texts in order, each in a file of its own, so that they survive the process.

    >>> import tempfile
    >>> queue = DurableQueue(Path(tempfile.mkdtemp()), most=2)
    >>> [queue.put(text) for text in (b"a", b"b", b"c")]
    [0, 0, 1]
    >>> [queue.read(number) for number in queue.numbers]
    [b'b', b'c']
    """

    def __init__(self, folder: Path, *, most: int, files: FileSystem = DISK) -> None:
        self.folder = folder
        self.most = most
        self._files = files
        files.make_dir(folder)
        remove_partial_files(folder, files=files)
        names = (name.removesuffix(_SUFFIX) for name in files.names(folder))
        self.numbers: deque[int] = deque(sorted(int(name) for name in names if name.isdecimal()))
        self._next = self.numbers[-1] + 1 if self.numbers else 0
        self._lock = Lock()

    def put(self, text: bytes) -> int:
        """Add a text; return how many of the oldest were dropped since there is no room.

        Raises:
            OSError: If it can't be written.
        """
        with self._lock:
            write_durably(self._path(self._next), text, files=self._files)
            self.numbers.append(self._next)
            self._next += 1
            dropped = max(0, len(self.numbers) - self.most)
            for _ in range(dropped):
                self._remove(self.numbers[0])
        return dropped

    def read(self, number: int) -> bytes:
        """Read a text by its number."""
        return self._files.read(self._path(number))

    def remove(self, number: int) -> None:
        """Remove a text; one that is gone already is fine."""
        with self._lock:
            if number in self.numbers:
                self._remove(number)

    def _remove(self, number: int) -> None:
        self.numbers.remove(number)
        with suppress(FileNotFoundError):
            self._files.unlink(self._path(number))

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:012d}{_SUFFIX}"


class WebhookCounts(NamedTuple):
    """What became of the events of a webhook."""

    waiting: int
    delivered: int  # since the start of the process, as the following
    failures: int  # attempts
    dropped: int  # events: too many, too old, or not written


@final
class Webhook:
    """Posts events to an address until it confirms them, in order.

    Args:
        name: Its name in the run file.
        settings: Its settings.
        folder: Where events wait.
        files: The file system.
        clock: The time in seconds since 1970.

    Raises:
        ConfigurationError: If a secret can't be read, or the folder can't be written.
    """

    def __init__(
        self,
        name: str,
        settings: WebhookSection,
        folder: Path,
        *,
        files: FileSystem = DISK,
        clock: Callable[[], float] = time,
    ) -> None:
        self.name = name
        self.settings = settings
        self._clock = clock
        try:
            self._client = WebClient(settings, {"Content-Type": "application/cloudevents+json"})
            secret = self._client.secret
            self._key = None if secret is None else decode_secret(secret)
        except ConfigurationError as error:
            raise ConfigurationError(f"webhook.{name}.{error}") from None
        try:
            self._queue = DurableQueue(folder, most=settings.max_queued, files=files)
        except OSError as error:
            raise ConfigurationError(f"webhook.{name}: {folder}: {error.strerror}") from error
        self._delivered = self._failures = self._dropped = 0
        self._arrived = Signal()
        self._is_failing = False

    @property
    def counts(self) -> WebhookCounts:
        """What became of its events."""
        waiting = len(self._queue.numbers)
        return WebhookCounts(waiting, self._delivered, self._failures, self._dropped)

    def takes(self, model: str, kind: str) -> bool:
        """Whether it takes events of a kind of a model."""
        is_meant = not self.settings.models or model in self.settings.models
        return is_meant and kind in self.settings.events

    async def put(self, text: bytes) -> None:
        """Queue an event; it is on the disk once this returns."""
        try:
            dropped = await to_thread.run_sync(self._queue.put, text)
        except OSError as error:
            self._drop(1, f"{self._queue.folder}: {error.strerror}")
            return
        if dropped:
            self._drop(dropped, f"more than {self.settings.max_queued:,} wait")
        self._arrived.set()

    def _drop(self, count: int, why: str) -> None:
        self._dropped += count
        _LOG.warning("webhook %s: %d events dropped: %s", self.name, count, why)

    async def run(self) -> None:
        """Deliver what is queued until cancelled."""
        try:
            await self._deliver_all()
        finally:
            self._client.close()

    async def _deliver_all(self) -> None:
        wait = _MIN_RETRY_SECONDS
        while True:
            self._arrived = Signal()
            if not self._queue.numbers:
                await self._arrived.wait()
                continue
            try:
                await self._deliver(self._queue.numbers[0])
            except (DeliveryError, OSError) as error:
                self._failures += 1
                if not self._is_failing:
                    _LOG.warning("webhook %s waits: %s; trying again", self.name, error)
                self._is_failing = True
                await sleep(wait)  # further events wait behind it
                wait = min(2 * wait, _MAX_RETRY_SECONDS)
                continue
            if self._is_failing:
                _LOG.warning("webhook %s: delivered again", self.name)
            self._is_failing, wait = False, _MIN_RETRY_SECONDS

    async def _deliver(self, number: int) -> None:
        try:
            body = await to_thread.run_sync(self._queue.read, number)
        except FileNotFoundError:  # dropped meanwhile, or removed by hand
            self._queue.remove(number)
            return
        event = json.decode(body)
        age = self._clock() - datetime.fromisoformat(event["time"]).timestamp()
        if age > self.settings.max_age:
            self._drop(1, f"not delivered within {self.settings.max_age:,.0f} seconds")
        else:
            post = partial(self._client.post, body, self._sign(event, body))
            if (said := await run_abandonable(post)) is not None:
                raise DeliveryError(f"it answers {said}")
        await to_thread.run_sync(self._queue.remove, number)
        self._delivered += age <= self.settings.max_age

    def _sign(self, event: Mapping[str, Any], body: bytes) -> dict[str, str]:
        seconds = int(self._clock())
        headers = {"webhook-id": event["id"], "webhook-timestamp": str(seconds)}
        if self._key is not None:
            headers["webhook-signature"] = sign(self._key, event["id"], seconds, body)
        return headers


@final
class Webhooks:
    """All webhooks of a daemon.

    >>> import tempfile
    >>> Webhooks({}, Path(tempfile.mkdtemp())).hooks
    []
    """

    def __init__(
        self, settings: Mapping[str, WebhookSection], folder: Path, *, files: FileSystem = DISK
    ) -> None:
        self.hooks: list[Webhook] = [
            Webhook(name, section, folder / WEBHOOKS_FOLDER / name, files=files)
            for name, section in settings.items()
        ]

    async def follow(self, model: str, events: EventLog) -> None:
        """Queue the events of a model until its log is closed."""
        if not self.hooks:
            return
        async for event in events.follow():
            kind = classify(event)
            if kind is None:
                continue
            text = build_cloud_event(model, kind, event)
            for hook in self.hooks:
                if hook.takes(model, kind):
                    await hook.put(text)
