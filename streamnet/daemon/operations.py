"""Operations: what can be asked of a daemon, once as a table and once as routes.

The table says for each operation who may ask for it, what is sent and what comes back. Routing,
scopes, errors, latencies and the OpenAPI document follow from it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Sequence
from time import perf_counter
from typing import Any
from typing import NamedTuple
from typing import final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp
from starlette.types import Receive
from starlette.types import Scope as AsgiScope
from starlette.types import Send

from streamnet.daemon.access import Scope
from streamnet.daemon.bodies import check_json
from streamnet.daemon.bodies import ends_connection
from streamnet.daemon.problems import problem
from streamnet.daemon.problems import problem_of
from streamnet.daemon.service import Service
from streamnet.errors import StreamnetError

__all__ = ("Endpoint", "Operation", "Parameter", "replied", "routes_of")

Endpoint = Callable[[Request, Service], Awaitable[Response]]
_LOG = logging.getLogger("streamnet.daemon")
_ENCODER = msgspec.json.Encoder()


class Parameter(NamedTuple):
    """Something that is sent in the address or in a header."""

    name: str
    schema: dict[str, Any]  # JSON schema of its value
    description: str
    where: str = "query"  # or "header"


class Operation(NamedTuple):
    """A line of the table."""

    name: str  # as the OpenAPI document and the metrics call it
    method: str
    path: str
    scope: Scope | None  # None: everybody may
    endpoint: Endpoint
    summary: str
    reply: Any = None  # type of what comes back as JSON; None: nothing, or see `media`
    request: Any = None  # type of what is sent as JSON
    status: int = 200
    lines: str = ""  # what a body of lines is; empty: there is none
    upload: tuple[str, ...] = ()  # media types of a file that is sent
    media: tuple[str, ...] = ()  # what comes back that is no JSON
    parameters: tuple[Parameter, ...] = ()
    errors: tuple[int, ...] = ()  # beside those that every operation has

    @property
    def has_body(self) -> bool:
        """Whether something is sent in the body."""
        return self.request is not None or bool(self.upload)


def replied(value: Any, status: int = 200) -> Response:
    """A value as a JSON response."""
    return Response(_ENCODER.encode(value), status, media_type="application/json")


def routes_of(operations: Sequence[Operation], service: Service) -> list[Route]:
    """The routes of a table, in its order; those of one path are one route."""
    paths: dict[str, dict[str, ASGIApp]] = {}
    for line in operations:
        paths.setdefault(line.path, {})[line.method] = _Handler(line, service)
    names = {line.path: line.name for line in reversed(operations)}
    return [
        Route(path, _Resource(handlers), methods=[*handlers], name=names[path])
        for path, handlers in paths.items()
    ]


@final
class _Resource:
    """What stands at one path: an operation for each method."""

    def __init__(self, handlers: dict[str, ASGIApp]) -> None:
        self._handlers = handlers
        if "GET" in handlers:  # the server leaves the body of its answer out
            handlers.setdefault("HEAD", handlers["GET"])

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        await self._handlers[scope["method"]](scope, receive, send)


@final
class _Handler:
    """An operation as an ASGI application."""

    def __init__(self, operation: Operation, service: Service) -> None:
        self._endpoint = operation.endpoint
        self._scope = operation.scope
        self._is_json = operation.request is not None and not operation.lines
        self._service = service
        self._watch = service.metrics.watch(operation.name)

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        request = Request(scope, receive)
        try:
            response = await self._respond(request)
        except ClientDisconnect:
            return
        if response.status_code >= 400 and ends_connection(scope):
            response.headers["connection"] = "close"
        self._watch(response.status_code, perf_counter() - started)
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        try:
            if self._scope is not None:
                self._service.admit(request, self._scope)
            if self._is_json:
                check_json(request)
            return await self._endpoint(request, self._service)
        except (HTTPException, StreamnetError) as error:
            return problem_of(error)
        except ClientDisconnect:
            raise
        except Exception:  # noqa: BLE001 - logged, and never told to who asked
            _LOG.exception("%s %s failed", request.method, request.url.path)
            return problem(500, "an error of the daemon itself; its log says more")
