"""Blocking and async clients with one method per operation of the daemon.

Requests are retried until they are answered or ``patience`` is exhausted; samples carry an
idempotency key, so that nothing is learned twice.
"""

from __future__ import annotations

import inspect
import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from functools import wraps
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Generic, ParamSpec, Self, TypeVar, final, get_args, get_type_hints, overload

import anyio
import httpx
import msgspec

from streamnet.client import requests, schemas
from streamnet.client.requests import Request, SplitRequest
from streamnet.errors import RefusedError

__all__ = (
    "AsyncCalls",
    "AsyncClient",
    "BlockingCalls",
    "Client",
)


P = ParamSpec("P")
AnswerT = TypeVar("AnswerT")


@final
class _CallDescriptor(Generic[P, AnswerT]):
    """A method that sends what ``ask`` makes of its arguments, and returns what was promised.

    Type checkers and `help` see the arguments of ``ask`` and the answer that its `Request`
    promises.
    """

    def __init__(self, ask: Callable[P, Request[AnswerT] | SplitRequest[AnswerT]]) -> None:
        @wraps(ask)
        def method(client: Any, *args: P.args, **kwargs: P.kwargs) -> Any:
            return client._send(ask(*args, **kwargs))

        (answer,) = get_args(get_type_hints(ask)["return"])
        asked = inspect.signature(ask)
        client = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        method.__signature__ = asked.replace(  # type: ignore[attr-defined]
            parameters=[client, *asked.parameters.values()], return_annotation=answer
        )
        self._method: Any = method  # a function, which binds its client by itself

    @overload
    def __get__(self, client: None, owner: type) -> Callable[..., Any]: ...

    @overload
    def __get__(self, client: BlockingCalls, owner: type) -> Callable[P, AnswerT]: ...

    @overload
    def __get__(self, client: AsyncCalls, owner: type) -> Callable[P, Awaitable[AnswerT]]: ...

    def __get__(self, client: Any, owner: type) -> Any:
        return self._method.__get__(client, owner)


class _CallTable:
    """A line for each operation that is one answer to one request, or to several in its stead."""

    models = _CallDescriptor(requests.models)
    create = _CallDescriptor(requests.create)
    upload = _CallDescriptor(requests.upload)
    delete = _CallDescriptor(requests.delete)
    pause = _CallDescriptor(requests.pause)
    resume = _CallDescriptor(requests.resume)
    reset = _CallDescriptor(requests.reset)
    learn = _CallDescriptor(requests.learn)
    predict = _CallDescriptor(requests.predict)
    label = _CallDescriptor(requests.label)
    status = _CallDescriptor(requests.status)
    champion = _CallDescriptor(requests.champion)
    leaders = _CallDescriptor(requests.leaders)
    history = _CallDescriptor(requests.history)
    confusion = _CallDescriptor(requests.confusion)
    rejected = _CallDescriptor(requests.rejected)
    dead_letters = _CallDescriptor(requests.dead_letters)
    download = _CallDescriptor(requests.download)


class BlockingCalls(_CallTable, ABC):
    """A client whose calls return the answer."""

    @abstractmethod
    def _send_one(self, ask: Request[AnswerT]) -> AnswerT: ...

    def _send(self, ask: Request[AnswerT] | SplitRequest[AnswerT]) -> AnswerT:
        if not isinstance(ask, SplitRequest):
            return self._send_one(ask)
        asks = ask.asks()
        one = next(asks)
        while True:
            try:
                answer = self._send_one(one)
            except RefusedError as error:
                one = asks.throw(error)
                continue
            try:
                one = asks.send(answer)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]


class AsyncCalls(_CallTable, ABC):
    """A client whose calls are to be awaited."""

    @abstractmethod
    async def _send_one(self, ask: Request[AnswerT]) -> AnswerT: ...

    async def _send(self, ask: Request[AnswerT] | SplitRequest[AnswerT]) -> AnswerT:
        if not isinstance(ask, SplitRequest):
            return await self._send_one(ask)
        asks = ask.asks()
        one = next(asks)
        while True:
            try:
                answer = await self._send_one(one)
            except RefusedError as error:
                one = asks.throw(error)
                continue
            try:
                one = asks.send(answer)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]


T = TypeVar("T")
_EVENT_DECODER = msgspec.json.Decoder(schemas.Event)
_DATA_PREFIX = "data: "


def _options(url: str, token: str | None, timeout: float, verify: Any) -> dict[str, Any]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    base = url if url.endswith("/") else f"{url}/"
    return {"base_url": base, "headers": headers, "timeout": timeout, "verify": verify}


def _request(ask: Request[Any]) -> dict[str, Any]:
    return {"params": ask.params, "headers": ask.headers, "content": ask.content}


def _is_permanent(error: httpx.HTTPError | None) -> bool:
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


def _build_connection_error(
    http: httpx.Client | httpx.AsyncClient, error: httpx.HTTPError
) -> RefusedError:
    url = str(http.base_url.copy_with(userinfo=b"")).removesuffix("/")
    why = str(error) or type(error).__name__
    return RefusedError(f"the daemon at {url} can't be reached: {why}")


@final
class Client(BlockingCalls):
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
    ) -> schemas.Receipt:
        """Let it learn JSON lines, as fast as it is able to."""
        return self._send(requests.learn_lines(name, lines, key=key, durable=durable))

    def events(self, name: str, after: int | None = None) -> Iterator[schemas.Event]:
        """What happens, as it happens, until the daemon stops; ``after`` that event."""
        ask = requests.events(name, after)
        try:
            with self._http.stream(ask.method, ask.path, **_request(ask)) as response:
                if not requests.is_success(response.status_code):
                    content = response.read()
                    requests.parse_response(ask, response.status_code, content, response.headers)
                for line in response.iter_lines():
                    if line.startswith(_DATA_PREFIX):
                        yield _EVENT_DECODER.decode(line.removeprefix(_DATA_PREFIX))
        except httpx.HTTPError as error:
            raise _build_connection_error(self._http, error) from error

    def _send_one(self, ask: Request[T]) -> T:
        until = monotonic() + self._patience
        while True:
            status, headers, content, failure = 0, {}, b"", None
            try:
                response = self._http.request(ask.method, ask.path, **_request(ask))
                status, headers = response.status_code, dict(response.headers)
                content = response.content
            except httpx.HTTPError as error:
                failure = error
            wait = requests.compute_retry_delay(ask, status, headers, until - monotonic())
            if wait is not None and not _is_permanent(failure):
                sleep(wait)
            elif failure is not None:
                raise _build_connection_error(self._http, failure) from failure
            else:
                return requests.parse_response(ask, status, content, headers)


@final
class AsyncClient(AsyncCalls):
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
    ) -> schemas.Receipt:
        """Let it learn JSON lines, as fast as it is able to."""
        return await self._send(requests.learn_lines(name, lines, key=key, durable=durable))

    async def events(self, name: str, after: int | None = None) -> AsyncIterator[schemas.Event]:
        """What happens, as it happens, until the daemon stops; ``after`` that event."""
        ask = requests.events(name, after)
        try:
            async with self._http.stream(ask.method, ask.path, **_request(ask)) as response:
                if not requests.is_success(response.status_code):
                    content = await response.aread()
                    requests.parse_response(ask, response.status_code, content, response.headers)
                async for line in response.aiter_lines():
                    if line.startswith(_DATA_PREFIX):
                        yield _EVENT_DECODER.decode(line.removeprefix(_DATA_PREFIX))
        except httpx.HTTPError as error:
            raise _build_connection_error(self._http, error) from error

    async def _send_one(self, ask: Request[T]) -> T:
        until = monotonic() + self._patience
        while True:
            status, headers, content, failure = 0, {}, b"", None
            try:
                response = await self._http.request(ask.method, ask.path, **_request(ask))
                status, headers = response.status_code, dict(response.headers)
                content = response.content
            except httpx.HTTPError as error:
                failure = error
            wait = requests.compute_retry_delay(ask, status, headers, until - monotonic())
            if wait is not None and not _is_permanent(failure):
                await anyio.sleep(wait)
            elif failure is not None:
                raise _build_connection_error(self._http, failure) from failure
            else:
                return requests.parse_response(ask, status, content, headers)
