"""Responses: problem details for errors (RFC 9457) and server-sent events.

References:
    M. Nottingham, E. Wilde, S. Dalal. Problem Details for HTTP APIs. RFC 9457, 2023.
    HTML Living Standard, section 9.2: server-sent events.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from http import HTTPStatus
from math import ceil
from typing import Any, final

import anyio
import msgspec
from anyio.abc import TaskGroup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from streamnet.client.schemas import Problem, Receipt, SampleProblem
from streamnet.daemon.hosting.events import Event
from streamnet.errors import (
    BusyError,
    ClosedError,
    ConfigurationError,
    ConflictError,
    DataError,
    ModelFileError,
    NoCandidateError,
    NotReadyError,
    OutputError,
    SampleError,
    StateError,
    StreamnetError,
)

__all__ = (
    "CLIENT_LEFT",
    "ENDS_WITH_CLIENT",
    "PROBLEM_MEDIA_TYPE",
    "EventStream",
    "error_response",
    "handle_http_exception",
    "http_error",
    "problem_response",
)


PROBLEM_MEDIA_TYPE = "application/problem+json"
_LOG = logging.getLogger("streamnet.daemon")
_STATUSES: dict[type[StreamnetError], int] = {
    BusyError: 429,
    ClosedError: 503,  # before what it is a kind of
    ConfigurationError: 422,
    ConflictError: 409,
    DataError: 422,
    ModelFileError: 422,
    NoCandidateError: 503,
    NotReadyError: 503,
    OutputError: 507,
    StateError: 409,
}


def problem_response(
    status: int,
    detail: str,
    headers: Mapping[str, str] | None = None,
    receipt: Receipt | None = None,
    sample: SampleProblem | None = None,
) -> Response:
    """An error as a response.

    Args:
        status: That of HTTP.
        detail: What is told.
        headers: Of the response.
        receipt: What was accepted before it.
        sample: Which sample it is about, where it is about one.

    >>> problem_response(404, "there is no model of that name").body
    b'{"title":"Not Found","status":404,"detail":"there is no model of that name"}'
    """
    body = Problem(HTTPStatus(status).phrase, status, detail, receipt, sample)
    return Response(msgspec.json.encode(body), status, headers, PROBLEM_MEDIA_TYPE)


def error_response(
    error: HTTPException | StreamnetError, receipt: Receipt | None = None, more: str = ""
) -> Response:
    """A refusal, or one of our errors, as a response.

    Args:
        error: What is told.
        receipt: What was accepted before it.
        more: What is told behind the error.
    """
    if isinstance(error, HTTPException):
        return problem_response(error.status_code, error.detail + more, error.headers, receipt)
    for kind, status in _STATUSES.items():
        if isinstance(error, kind):
            headers, sample = _build_retry_headers(error, status), _describe_sample(error)
            return problem_response(status, f"{error}{more}", headers, receipt, sample)
    _LOG.error("a request failed", exc_info=error)
    return problem_response(500, "an error of the daemon itself; its log says more")


def http_error(status: int, detail: str, **headers: str) -> HTTPException:
    """An error to raise; underscores in the names of headers stand for dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HTTPException(status, detail, named)


async def handle_http_exception(_: Request, error: Exception) -> Response:
    """The problem of a path or a method that nobody answers to, for Starlette."""
    assert isinstance(error, HTTPException)
    return error_response(error)


def _describe_sample(error: StreamnetError) -> SampleProblem | None:
    if isinstance(error, SampleError):
        return SampleProblem(error.number, error.detail)
    return None


def _build_retry_headers(error: StreamnetError, status: int) -> dict[str, str] | None:
    if isinstance(error, BusyError):
        return {"retry-after": str(max(ceil(error.retry_after), 1))}
    return {"retry-after": "1"} if status == 503 else None


ENDS_WITH_CLIENT = "streamnet.ends_with_reader"
"""True in the scope of a request whose answer goes on until its reader leaves."""
CLIENT_LEFT = "streamnet.reader_left"
"""True in the scope of a request whose reader left before that was known."""

_HEARTBEAT_SECONDS = 15.0  # seconds: proxies close connections on which nothing comes for a minute
_PREAMBLE = b"retry: 2000\n\n"  # milliseconds until a browser tries again
_ENCODER = msgspec.json.Encoder()


@final
class EventStream(Response):
    """Events as a response that ends when the reader leaves, the log ends, or the daemon stops.

    Args:
        events: What to tell; whoever waits for its next one may be cancelled, and loses nothing.
        stopping: Set when the daemon stops.
        heartbeat: Seconds between two comments while nothing happens.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncIterator[Event],
        stopping: anyio.Event,
        heartbeat: float = _HEARTBEAT_SECONDS,
    ) -> None:
        self._events = events
        self._stopping = stopping
        self._heartbeat = heartbeat
        self.status_code = 200
        self.background = None
        self.init_headers({"x-accel-buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write until one of the three ends; to HEAD, nothing."""
        scope[ENDS_WITH_CLIENT] = True
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        if scope["method"] != "HEAD" and not scope.get(CLIENT_LEFT, False):
            await self._follow(receive, send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _follow(self, receive: Receive, send: Send) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self._end_with, group, self._stopping.wait)
            group.start_soon(self._end_with, group, _wait_for_disconnect, receive)
            await self._write(send)
            group.cancel_scope.cancel()

    async def _end_with(
        self, group: TaskGroup, wait: Callable[..., Awaitable[Any]], *arguments: Any
    ) -> None:
        await wait(*arguments)
        group.cancel_scope.cancel()

    async def _write(self, send: Send) -> None:
        text = _PREAMBLE
        while True:
            await send({"type": "http.response.body", "body": text, "more_body": True})
            text = b": nothing happens\n\n"
            with anyio.move_on_after(self._heartbeat):
                try:
                    text = _format_event(await anext(self._events))
                except StopAsyncIteration:
                    return


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _format_event(event: Event) -> bytes:
    data = _ENCODER.encode(event._asdict())
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.id, event.kind.encode(), data)
