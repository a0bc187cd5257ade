"""Clients of a daemon, blocking and async: one method for each of its operations.

What may be sent again is, until it is answered or ``patience`` has run out: samples carry a key, by
which the daemon learns nothing twice.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterable
from collections.abc import AsyncIterator
from collections.abc import Iterable
from collections.abc import Iterator
from time import monotonic
from time import sleep
from types import TracebackType
from typing import Any
from typing import Self
from typing import TypeVar
from typing import final

import anyio
import httpx
import msgspec

from streamnet.daemon import asking
from streamnet.daemon import shapes
from streamnet.daemon.calls import Awaiting
from streamnet.daemon.calls import Blocking
from streamnet.daemon.requests import Ask
from streamnet.errors import RefusedError

__all__ = ("AsyncClient", "Client")

T = TypeVar("T")
_EVENT = msgspec.json.Decoder(shapes.Event)
_DATA = "data: "


def _options(url: str, token: str | None, timeout: float, verify: Any) -> dict[str, Any]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    base = url if url.endswith("/") else f"{url}/"
    return {"base_url": base, "headers": headers, "timeout": timeout, "verify": verify}


def _request(ask: Ask[Any]) -> dict[str, Any]:
    return {"params": ask.params, "headers": ask.headers, "content": ask.content}


def _is_final(error: httpx.HTTPError | None) -> bool:
    """Whether the same request would fail again in the same way."""
    if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
        return True
    cause: BaseException | None = error
    while cause is not None:
        # A certificate that is not known, or no TLS on the other side; not a connection that ended.
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _unreached(http: httpx.Client | httpx.AsyncClient, error: httpx.HTTPError) -> RefusedError:
    url = str(http.base_url.copy_with(userinfo=b"")).removesuffix("/")
    why = str(error) or type(error).__name__
    return RefusedError(f"the daemon at {url} can't be reached: {why}")


@final
class Client(Blocking):
    """A blocking client; it is a context manager, or is closed by `close`.

    Args:
        url: Where the daemon is, as in ``http://localhost:8000``, any prefix included.
        token: What it asks for.
        timeout: Seconds to wait for each step of a request.
        patience: Seconds in which a request is sent again.
        verify: False, or an SSL context, for TLS with a certificate that is not known.

    Every method raises RefusedError if the daemon refuses, or can't be reached. `predict` and
    `label` take any number of samples and labels, which go as several requests; those before one
    that is refused are in force.
    """

    def __init__(
        self,
        url: str = "http://localhost:8000",
        *,
        token: str | None = None,
        timeout: float = 30.0,
        patience: float = 30.0,
        verify: Any = True,
    ) -> None:
        self._http = httpx.Client(**_options(url, token, timeout, verify))
        self._patience = patience

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def learn_lines(
        self,
        name: str,
        lines: bytes | Iterable[bytes],
        *,
        key: str | None = None,
        durable: bool = True,
    ) -> shapes.Receipt:
        """Let it learn JSON lines, as fast as it is able to."""
        return self._send(asking.learn_lines(name, lines, key=key, durable=durable))

    def events(self, name: str, after: int | None = None) -> Iterator[shapes.Event]:
        """What happens, as it happens, until the daemon stops; ``after`` that event."""
        ask = asking.events(name, after)
        try:
            with self._http.stream(ask.method, ask.path, **_request(ask)) as response:
                if not asking.is_answered(response.status_code):
                    content = response.read()
                    asking.answer_of(ask, response.status_code, content, response.headers)
                for line in response.iter_lines():
                    if line.startswith(_DATA):
                        yield _EVENT.decode(line.removeprefix(_DATA))
        except httpx.HTTPError as error:
            raise _unreached(self._http, error) from error

    def _send_one(self, ask: Ask[T]) -> T:
        until = monotonic() + self._patience
        while True:
            status, headers, content, failure = 0, {}, b"", None
            try:
                response = self._http.request(ask.method, ask.path, **_request(ask))
                status, headers = response.status_code, dict(response.headers)
                content = response.content
            except httpx.HTTPError as error:
                failure = error
            wait = asking.pause_before_next(ask, status, headers, until - monotonic())
            if wait is not None and not _is_final(failure):
                sleep(wait)
            elif failure is not None:
                raise _unreached(self._http, failure) from failure
            else:
                return asking.answer_of(ask, status, content, headers)


@final
class AsyncClient(Awaiting):
    """The same for asyncio and trio: its methods are those of `Client`, to be awaited.

    Args:
        url: See `Client`, as for the others.
        token: What the daemon asks for.
        timeout: Seconds to wait for each step of a request.
        patience: Seconds in which a request is sent again.
        verify: False, or an SSL context.
    """

    def __init__(
        self,
        url: str = "http://localhost:8000",
        *,
        token: str | None = None,
        timeout: float = 30.0,
        patience: float = 30.0,
        verify: Any = True,
    ) -> None:
        self._http = httpx.AsyncClient(**_options(url, token, timeout, verify))
        self._patience = patience

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def learn_lines(
        self,
        name: str,
        lines: bytes | AsyncIterable[bytes],
        *,
        key: str | None = None,
        durable: bool = True,
    ) -> shapes.Receipt:
        """Let it learn JSON lines, as fast as it is able to."""
        return await self._send(asking.learn_lines(name, lines, key=key, durable=durable))

    async def events(self, name: str, after: int | None = None) -> AsyncIterator[shapes.Event]:
        """What happens, as it happens, until the daemon stops; ``after`` that event."""
        ask = asking.events(name, after)
        try:
            async with self._http.stream(ask.method, ask.path, **_request(ask)) as response:
                if not asking.is_answered(response.status_code):
                    content = await response.aread()
                    asking.answer_of(ask, response.status_code, content, response.headers)
                async for line in response.aiter_lines():
                    if line.startswith(_DATA):
                        yield _EVENT.decode(line.removeprefix(_DATA))
        except httpx.HTTPError as error:
            raise _unreached(self._http, error) from error

    async def _send_one(self, ask: Ask[T]) -> T:
        until = monotonic() + self._patience
        while True:
            status, headers, content, failure = 0, {}, b"", None
            try:
                response = await self._http.request(ask.method, ask.path, **_request(ask))
                status, headers = response.status_code, dict(response.headers)
                content = response.content
            except httpx.HTTPError as error:
                failure = error
            wait = asking.pause_before_next(ask, status, headers, until - monotonic())
            if wait is not None and not _is_final(failure):
                await anyio.sleep(wait)
            elif failure is not None:
                raise _unreached(self._http, failure) from failure
            else:
                return asking.answer_of(ask, status, content, headers)
