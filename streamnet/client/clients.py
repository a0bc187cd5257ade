"""Blocking and async clients with one method per operation of the API.

Requests are retried until they succeed or ``patience`` is exhausted. Samples carry an idempotency
key, so a retry learns nothing twice.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterable, AsyncIterator, Generator, Iterable, Iterator
from time import monotonic, sleep
from typing import Any, ClassVar, Generic, Self, TypeVar, final

import anyio
import httpx
import msgspec

from streamnet.client.contents import Content, Request
from streamnet.client.operations import AsyncOperations, BlockingOperations, build_line_request
from streamnet.client.schemas import Event, Problem, Receipt
from streamnet.errors import RefusedError

T = TypeVar("T")
HttpT = TypeVar("HttpT", httpx.Client, httpx.AsyncClient)
_RETRY_STATUSES = frozenset({429, 503})
_RETRY_SECONDS = 0.2  # after a connection failed
_EVENT_DECODER = msgspec.json.Decoder(Event)
_DATA_PREFIX = "data: "


class _Connection(Generic[HttpT]):
    _http_type: ClassVar[Any]
    _http: HttpT

    def __init__(
        self,
        url: str = "http://localhost:8000",
        *,
        token: str | None = None,
        timeout: float = 30.0,
        patience: float = 30.0,
        verify: ssl.SSLContext | str | bool = True,
    ) -> None:
        self._http = self._http_type(
            base_url=url if url.endswith("/") else f"{url}/",
            headers={} if token is None else {"Authorization": f"Bearer {token}"},
            timeout=timeout,
            verify=verify,
        )
        self._patience = patience


@final
class Client(_Connection[httpx.Client], BlockingOperations):
    """Blocking client of a daemon; a context manager, or closed by `close`.

    Every method raises RefusedError if the daemon refuses the request or can't be reached.
    `predict` and `label` take any number of samples and labels and split them into requests; if one
    is refused, those before it have taken effect.

    Args:
        url: Address of the daemon, as in ``http://localhost:8000``, with its prefix if it has one.
        token: Bearer token.
        timeout: Seconds to wait for each step of a request.
        patience: Seconds during which a request is retried.
        verify: False or an SSL context, for a certificate of an unknown authority.
    """

    _http_type = httpx.Client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def learn_lines(
        self,
        name: str,
        lines: bytes | Iterable[bytes],
        *,
        key: str | None = None,
        durable: bool = True,
    ) -> Receipt:
        """Learn JSON lines as fast as the daemon takes them."""
        return self._send(build_line_request(name, lines, key=key, durable=durable))

    def _stream(self, request: Request[Event]) -> Iterator[Event]:
        arguments = _build_arguments(request, next(request.content.parts()))
        try:
            with self._http.stream(**arguments) as response:
                if not response.is_success:
                    response.read()
                    raise _build_error(response)
                for line in response.iter_lines():
                    if line.startswith(_DATA_PREFIX):
                        yield _EVENT_DECODER.decode(line.removeprefix(_DATA_PREFIX))
        except httpx.HTTPError as error:
            raise _build_connection_error(self._http.base_url, error) from error

    def _send(self, request: Request[T]) -> T:
        exchange = _Exchange(request, self._patience, self._http.base_url)
        for delay, arguments in exchange:
            sleep(delay)
            try:
                exchange.outcome = self._http.request(**arguments)
            except httpx.HTTPError as error:
                exchange.outcome = error
        return exchange.reply


@final
class AsyncClient(_Connection[httpx.AsyncClient], AsyncOperations):
    """Client for asyncio and trio: the methods of `Client`, awaited.

    Args:
        url: As for `Client`.
        token: Bearer token.
        timeout: Seconds to wait for each step of a request.
        patience: Seconds during which a request is retried.
        verify: False or an SSL context.
    """

    _http_type = httpx.AsyncClient

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def learn_lines(
        self,
        name: str,
        lines: bytes | AsyncIterable[bytes],
        *,
        key: str | None = None,
        durable: bool = True,
    ) -> Receipt:
        """Learn JSON lines as fast as the daemon takes them."""
        return await self._send(build_line_request(name, lines, key=key, durable=durable))

    async def _stream(self, request: Request[Event]) -> AsyncIterator[Event]:
        arguments = _build_arguments(request, next(request.content.parts()))
        try:
            async with self._http.stream(**arguments) as response:
                if not response.is_success:
                    await response.aread()
                    raise _build_error(response)
                async for line in response.aiter_lines():
                    if line.startswith(_DATA_PREFIX):
                        yield _EVENT_DECODER.decode(line.removeprefix(_DATA_PREFIX))
        except httpx.HTTPError as error:
            raise _build_connection_error(self._http.base_url, error) from error

    async def _send(self, request: Request[T]) -> T:
        exchange = _Exchange(request, self._patience, self._http.base_url)
        for delay, arguments in exchange:
            await anyio.sleep(delay)
            try:
                exchange.outcome = await self._http.request(**arguments)
            except httpx.HTTPError as error:
                exchange.outcome = error
        return exchange.reply


# ------------------------------------------------------------------------------ protocol


@final
class _Exchange(Generic[T]):
    """A call without input and output, which differ between the two clients.

    Iterating yields for each attempt the seconds to wait and the arguments of the request to send
    then; what came of it is stored in `outcome` before the next step. `reply` is set at the end.
    """

    outcome: httpx.Response | httpx.HTTPError
    reply: T

    def __init__(self, request: Request[T], patience: float, url: httpx.URL) -> None:
        self._request = request
        self._patience = patience
        self._url = url

    def __iter__(self) -> Iterator[tuple[float, dict[str, Any]]]:
        parts: Generator[Content, T, T] = self._request.content.parts()
        try:
            part = next(parts)
            while True:
                try:
                    reply = yield from self._attempt(part)
                except RefusedError as error:
                    part = parts.throw(error)
                else:
                    part = parts.send(reply)
        except StopIteration as end:
            self.reply = end.value

    def _attempt(self, part: Content) -> Generator[tuple[float, dict[str, Any]], None, T]:
        deadline = monotonic() + self._patience
        delay: float | None = 0.0
        while delay is not None:
            yield delay, _build_arguments(self._request, part)
            left = deadline - monotonic()
            delay = compute_retry_delay(self._request, part, self.outcome, left)
        if isinstance(self.outcome, httpx.HTTPError):
            raise _build_connection_error(self._url, self.outcome) from self.outcome
        return parse_response(self._request, self.outcome)


def _build_arguments(request: Request[Any], part: Content) -> dict[str, Any]:
    return {
        "method": request.method,
        "url": request.path,
        "content": part.body,
        "headers": part.headers,
        "params": part.params,
    }


def compute_retry_delay(
    request: Request[Any], part: Content, outcome: httpx.Response | httpx.HTTPError, left: float
) -> float | None:
    """Seconds until a part may be sent again; None if it may not, or no time is left.

    Args:
        request: The request.
        part: The part of its content that was sent.
        outcome: What came of it.
        left: Seconds left for retries.
    """
    if isinstance(outcome, httpx.HTTPError):
        may = request.idempotent and left > _RETRY_SECONDS and not _is_permanent(outcome)
        return _RETRY_SECONDS if may else None
    if outcome.status_code not in _RETRY_STATUSES or not isinstance(part.body, bytes | None):
        return None
    value = outcome.headers.get("retry-after", "1")
    delay = float(value) if value.isdecimal() else 1.0
    return delay if delay < left else None


def _is_permanent(error: httpx.HTTPError) -> bool:
    """Whether the same request would fail again in the same way."""
    if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
        return True
    cause: BaseException | None = error
    while cause is not None:
        # An unknown certificate, or a server without TLS; not a connection that was closed.
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def parse_response(request: Request[T], response: httpx.Response) -> T:
    """Decode a response; raises RefusedError if it is an error or doesn't match the schema."""
    if not response.is_success:
        raise _build_error(response)
    reply: Any = request.reply
    if reply is bytes or reply is type(None):
        return response.content if reply is bytes else None  # type: ignore[return-value]
    try:
        return msgspec.json.decode(response.content, type=request.reply)
    except msgspec.DecodeError as error:
        message = f"the response doesn't match the daemon's API: {error}"
        raise RefusedError(message, response.status_code) from error


def _build_error(response: httpx.Response) -> RefusedError:
    status = response.status_code
    if 300 <= status < 400:
        target = response.headers.get("location", "an unnamed address")
        rule = "but redirects are not followed: use the daemon's own address"
        return RefusedError(f"the response is {status}, a redirect to {target}, {rule}", status)
    try:
        problem = msgspec.json.decode(response.content, type=Problem)
    except msgspec.DecodeError:
        message = f"the response is {status}, without the problem details of a daemon"
        return RefusedError(message, status)
    if (sample := problem.sample) is None:
        return RefusedError(problem.detail, status, problem.receipt)
    return RefusedError(
        problem.detail, status, problem.receipt, number=sample.number, detail=sample.detail
    )


def _build_connection_error(url: httpx.URL, error: httpx.HTTPError) -> RefusedError:
    address = str(url.copy_with(userinfo=b"")).removesuffix("/")
    reason = str(error) or type(error).__name__
    return RefusedError(f"the daemon at {address} can't be reached: {reason}")
