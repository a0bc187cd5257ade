"""Blocking and async clients with one method per operation of the API.

Requests are retried until they succeed or ``patience`` is exhausted. Samples carry an idempotency
key, so a retry learns nothing twice.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterable, AsyncIterator, Generator, Iterable, Iterator, Mapping
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Self, TypeVar, final

import anyio
import httpx
import msgspec

from streamnet.client.operations import AsyncOperations, BlockingOperations, build_line_request
from streamnet.client.schemas import Event, Problem, Receipt, Request, SplitRequest
from streamnet.errors import RefusedError

T = TypeVar("T")
_RETRY_STATUSES = frozenset({429, 503})
_RETRY_SECONDS = 0.2  # after a connection failed
_EVENT_DECODER = msgspec.json.Decoder(Event)
_DATA_PREFIX = "data: "


@final
class Client(BlockingOperations):
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

    def __init__(
        self,
        url: str = "http://localhost:8000",
        *,
        token: str | None = None,
        timeout: float = 30.0,
        patience: float = 30.0,
        verify: ssl.SSLContext | str | bool = True,
    ) -> None:
        self._http = httpx.Client(**_build_options(url, token, timeout, verify))
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
        try:
            with self._http.stream(**_build_arguments(request)) as response:
                if not response.is_success:
                    response.read()
                    raise _build_error(response)
                for line in response.iter_lines():
                    if line.startswith(_DATA_PREFIX):
                        yield _EVENT_DECODER.decode(line.removeprefix(_DATA_PREFIX))
        except httpx.HTTPError as error:
            raise _build_connection_error(self._http, error) from error

    def _send(self, request: Request[T] | SplitRequest[T]) -> T:
        steps = _exchange(request, self._patience, self._http)
        outcome: _Outcome = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            if isinstance(step, float):
                sleep(step)
                outcome = None
                continue
            try:
                outcome = self._http.request(**step)
            except httpx.HTTPError as error:
                outcome = error


@final
class AsyncClient(AsyncOperations):
    """Client for asyncio and trio: the methods of `Client`, awaited.

    Args:
        url: As for `Client`.
        token: Bearer token.
        timeout: Seconds to wait for each step of a request.
        patience: Seconds during which a request is retried.
        verify: False or an SSL context.
    """

    def __init__(
        self,
        url: str = "http://localhost:8000",
        *,
        token: str | None = None,
        timeout: float = 30.0,
        patience: float = 30.0,
        verify: ssl.SSLContext | str | bool = True,
    ) -> None:
        self._http = httpx.AsyncClient(**_build_options(url, token, timeout, verify))
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
        try:
            async with self._http.stream(**_build_arguments(request)) as response:
                if not response.is_success:
                    await response.aread()
                    raise _build_error(response)
                async for line in response.aiter_lines():
                    if line.startswith(_DATA_PREFIX):
                        yield _EVENT_DECODER.decode(line.removeprefix(_DATA_PREFIX))
        except httpx.HTTPError as error:
            raise _build_connection_error(self._http, error) from error

    async def _send(self, request: Request[T] | SplitRequest[T]) -> T:
        steps = _exchange(request, self._patience, self._http)
        outcome: _Outcome = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            if isinstance(step, float):
                await anyio.sleep(step)
                outcome = None
                continue
            try:
                outcome = await self._http.request(**step)
            except httpx.HTTPError as error:
                outcome = error


def _build_options(url: str, token: str | None, timeout: float, verify: Any) -> dict[str, Any]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    base = url if url.endswith("/") else f"{url}/"
    return {"base_url": base, "headers": headers, "timeout": timeout, "verify": verify}


# ------------------------------------------------------------------------------ protocol

_Outcome = httpx.Response | httpx.HTTPError | None
# Yields arguments of a request, or seconds to sleep; is sent what came of it.
_Exchange = Generator[dict[str, Any] | float, _Outcome, T]


def _exchange(
    request: Request[T] | SplitRequest[T], patience: float, http: httpx.Client | httpx.AsyncClient
) -> _Exchange[T]:
    """Run a call without input and output, which differ between the two clients."""
    if not isinstance(request, SplitRequest):
        return (yield from _exchange_one(request, patience, http))
    requests = request.requests()
    part = next(requests)
    while True:
        try:
            response = yield from _exchange_one(part, patience, http)
        except RefusedError as error:
            part = requests.throw(error)
            continue
        try:
            part = requests.send(response)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def _exchange_one(
    request: Request[T], patience: float, http: httpx.Client | httpx.AsyncClient
) -> _Exchange[T]:
    deadline = monotonic() + patience
    while True:
        outcome = yield _build_arguments(request)
        assert outcome is not None
        status, headers = 0, httpx.Headers()
        if isinstance(outcome, httpx.Response):
            status, headers = outcome.status_code, outcome.headers
        delay = compute_retry_delay(request, status, headers, deadline - monotonic())
        if delay is not None and not _is_permanent(outcome):
            yield delay
        elif isinstance(outcome, httpx.HTTPError):
            raise _build_connection_error(http, outcome) from outcome
        else:
            return parse_response(request, outcome)


def _build_arguments(request: Request[Any]) -> dict[str, Any]:
    return {
        "method": request.method,
        "url": request.path,
        "params": request.params,
        "headers": request.headers,
        "content": request.content,
    }


def compute_retry_delay(
    request: Request[Any], status: int, headers: Mapping[str, str], left: float
) -> float | None:
    """Seconds until a request may be retried; None if it may not, or no time is left.

    Args:
        request: The request.
        status: Status of the response; 0 if there was none.
        headers: Headers of the response.
        left: Seconds left for retries.
    """
    if status == 0:
        return _RETRY_SECONDS if request.idempotent and left > _RETRY_SECONDS else None
    if status not in _RETRY_STATUSES or not isinstance(request.content, bytes | None):
        return None
    value = headers.get("retry-after", "1")
    delay = float(value) if value.isdecimal() else 1.0
    return delay if delay < left else None


def _is_permanent(error: httpx.Response | httpx.HTTPError) -> bool:
    """Whether the same request would fail again in the same way."""
    if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
        return True
    cause: Any = error if isinstance(error, httpx.HTTPError) else None
    while cause is not None:
        # An unknown certificate, or a server without TLS; not a connection that was closed.
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def parse_response(request: Request[T], response: httpx.Response) -> T:
    """Decode a response.

    Raises:
        RefusedError: If it is an error, or doesn't match the operation's schema.
    """
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


def _build_connection_error(
    http: httpx.Client | httpx.AsyncClient, error: httpx.HTTPError
) -> RefusedError:
    url = str(http.base_url.copy_with(userinfo=b"")).removesuffix("/")
    reason = str(error) or type(error).__name__
    return RefusedError(f"the daemon at {url} can't be reached: {reason}")
