"""Responses: problem details for errors (RFC 9457) and server-sent events.

References:
    M. Nottingham, E. Wilde, S. Dalal. Problem Details for HTTP APIs. RFC 9457, 2023.
    HTML Living Standard, section 9.2: server-sent events.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from http import HTTPStatus
from math import ceil
from typing import final

import anyio
import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from streamnet.client.schemas import Event, Problem, Receipt, SampleProblem
from streamnet.errors import (
    BusyError,
    ClosedError,
    ConfigurationError,
    ConflictError,
    DataError,
    InUseError,
    ModelFileError,
    NoCandidateError,
    NotReadyError,
    OutputError,
    SampleError,
    StateError,
    StreamnetError,
)

PROBLEM_MEDIA_TYPE = "application/problem+json"
MODEL_AGE_HEADER = "streamnet-model-age"
"""Header with the seconds since the model of a read replica was published."""
_LOG = logging.getLogger("streamnet.daemon")
_STATUSES: dict[type[StreamnetError], int] = {
    BusyError: 429,
    ClosedError: 503,  # before its base class
    ConfigurationError: 422,
    ConflictError: 409,
    DataError: 422,
    InUseError: 409,  # before its base classes
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
    """Build an error response, with what was accepted before and the sample that caused it, if any.

    >>> problem_response(404, "there is no model of that name").body
    b'{"title":"Not Found","status":404,"detail":"there is no model of that name"}'
    """
    body = Problem(HTTPStatus(status).phrase, status, detail, receipt, sample)
    return Response(msgspec.json.encode(body), status, headers, PROBLEM_MEDIA_TYPE)


def internal_error_response() -> Response:
    """Build the response to an unexpected error, whose details are in the log alone."""
    return problem_response(500, "internal error; see the daemon's log")


def error_response(
    error: HTTPException | StreamnetError, receipt: Receipt | None = None, suffix: str = ""
) -> Response:
    """Build the response to an error, with what was accepted before it."""
    if isinstance(error, HTTPException):
        return problem_response(error.status_code, error.detail + suffix, error.headers, receipt)
    for kind, status in _STATUSES.items():
        if isinstance(error, kind):
            headers, sample = _build_retry_headers(error, status), None
            if isinstance(error, SampleError):
                sample = SampleProblem(error.number, error.detail)
            return problem_response(status, f"{error}{suffix}", headers, receipt, sample)
    _LOG.error("a request failed", exc_info=error)
    return internal_error_response()


def http_error(status: int, detail: str, **headers: str) -> HTTPException:
    """Build an exception to raise; underscores in names of headers stand for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HTTPException(status, detail, named)


async def handle_http_exception(_: Request, error: Exception) -> Response:
    """Respond to an unknown path or method, for Starlette."""
    assert isinstance(error, HTTPException)
    return error_response(error)


def _build_retry_headers(error: StreamnetError, status: int) -> dict[str, str] | None:
    if isinstance(error, BusyError):
        return {"retry-after": str(max(ceil(error.retry_after), 1))}
    return {"retry-after": "1"} if status == 503 else None


_HEARTBEAT_SECONDS = 15.0  # proxies close connections that are idle for a minute
_PREAMBLE = b"retry: 2000\n\n"  # milliseconds until a browser reconnects
_ENCODER = msgspec.json.Encoder()


@final
class EventStream(Response):
    """Server-sent events, until the client disconnects, the log closes or the daemon stops.

    Cancelling the wait for the next event must lose nothing. While there are no events, comments
    are sent every ``heartbeat`` seconds.
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
        self.background: None = None
        self.init_headers({"x-accel-buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events; none to HEAD."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        if scope["method"] != "HEAD":
            await self._follow(receive, send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _follow(self, receive: Receive, send: Send) -> None:
        async with anyio.create_task_group() as group:

            async def cancel_after(wait: Callable[[], Awaitable[None]]) -> None:
                await wait()
                group.cancel_scope.cancel()

            group.start_soon(cancel_after, self._stopping.wait)
            group.start_soon(cancel_after, partial(_wait_for_disconnect, receive))
            await self._write(send)
            group.cancel_scope.cancel()

    async def _write(self, send: Send) -> None:
        text = _PREAMBLE
        while True:
            await send({"type": "http.response.body", "body": text, "more_body": True})
            text = b": heartbeat\n\n"
            with anyio.move_on_after(self._heartbeat):
                try:
                    text = _format_event(await anext(self._events))
                except StopAsyncIteration:
                    return


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _format_event(event: Event) -> bytes:
    data = _ENCODER.encode(event)
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.id, event.kind.encode(), data)
