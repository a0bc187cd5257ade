"""A web address as a destination: records are posted in batches, with httpx.

A request is repeated until it is answered with 2xx, so after a crash or a lost answer records may
come again, in order; receivers recognize them by run and number.
"""

from __future__ import annotations

import hmac
import ssl
from collections.abc import Mapping, Sequence
from hashlib import sha256
from time import time
from typing import final

import httpx

from streamnet.errors import ConfigurationError, OutputError
from streamnet.settings.sinks import WebAddressSettings, WebhookSettings
from streamnet.sinks.base import DeliveryError, Destination, End, Record
from streamnet.sources.brokers.secrets import read_secret

RUN_HEADER, SIGNATURE_HEADER = "Streamnet-Run", "Streamnet-Signature"
_MAY_PASS = (408, 425, 429)  # and all from 500 on


def sign(secret: str, seconds: int, body: bytes) -> str:
    """The signature of a request: its time, and an HMAC-SHA256 of time and body.

    >>> sign("secret", 1700000000, b"{}")
    't=1700000000,v1=b8569b78799ff9e3cbff0fc2d63a33a2b57f3282abd07c37ae5e8e7d79a5f163'
    """
    code = hmac.new(secret.encode(), b"%d.%b" % (seconds, body), sha256).hexdigest()
    return f"t={seconds},v1={code}"


@final
class WebClient:
    """Posts to one address, with the token and the certificates of its settings.

    Raises:
        ConfigurationError: If a secret or the certificates can't be read.
    """

    def __init__(
        self, settings: WebAddressSettings, headers: Mapping[str, str] | None = None
    ) -> None:
        self.url: str = settings.url
        self.secret: str | None = read_secret("secret", settings.secret_file, settings.secret_env)
        token = read_secret("token", settings.token_file, settings.token_env)
        authorization = {} if token is None else {"Authorization": f"Bearer {token}"}
        try:
            trusted = ssl.create_default_context(cafile=settings.ca)
        except OSError as error:
            raise ConfigurationError(f"ca can't be read: {error}") from None
        try:
            httpx.URL(self.url)
        except httpx.InvalidURL as error:
            raise ConfigurationError(f"url is {self.url!r}, but: {error}") from None
        self._client = httpx.Client(
            timeout=settings.seconds, verify=trusted, headers={**(headers or {}), **authorization}
        )

    def post(self, body: bytes, headers: Mapping[str, str]) -> str | None:
        """Post a body; return the reply if it refuses the body for good.

        Raises:
            DeliveryError: If there is no reply, or one that may pass.
            ConfigurationError: If the address is not one.
        """
        try:
            reply = self._client.post(self.url, content=body, headers=headers)
        except httpx.UnsupportedProtocol as error:
            raise ConfigurationError(f"url is {self.url!r}, but: {error}") from None
        except httpx.TransportError as error:
            raise DeliveryError(str(error) or type(error).__name__) from error
        if reply.is_success:
            return None
        said = f"{reply.status_code} {reply.reason_phrase}"
        if reply.status_code in _MAY_PASS or reply.status_code >= 500:
            raise DeliveryError(f"it answers {said}")
        return said

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


@final
class WebhookDestination(Destination):
    """An address that takes batches of records as JSON: ``{"run": ..., "records": [...]}``."""

    def __init__(self, settings: WebhookSettings, *, keyed: bool = False) -> None:
        del keyed
        self._settings = settings
        WebClient(settings).close()  # raises what is wrong with the settings
        self._client: WebClient | None = None
        self._run = 0

    @property
    def name(self) -> str:
        """The address."""
        return self._settings.url

    def open(self, run: int, number: int, ends: Mapping[str, End]) -> int:
        """Make a client, which connects with the first request."""
        del number, ends
        self._run = run
        headers = {"Content-Type": "application/json", RUN_HEADER: str(run)}
        self._client = WebClient(self._settings, headers)
        return 0

    def send(self, records: Sequence[Record]) -> None:
        """Post records, in as many requests as needed."""
        for start in range(0, len(records), self._settings.batch):
            self._post(records[start : start + self._settings.batch])

    def _post(self, records: Sequence[Record]) -> None:
        client = self._client
        assert client is not None
        body = b'{"run":%d,"records":[%b]}' % (self._run, b",".join(r.value for r in records))
        headers = {"Idempotency-Key": f"{self._run}-{records[0].number}-{records[-1].number}"}
        if client.secret is not None:
            headers[SIGNATURE_HEADER] = sign(client.secret, int(time()), body)
        said = client.post(body, headers)
        if said is not None:
            raise OutputError(
                f"{self.name} answers {said} to records {records[0].number} to "
                f"{records[-1].number}, but must answer 2xx once it has them"
            )

    def close(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is not None:
            client.close()
