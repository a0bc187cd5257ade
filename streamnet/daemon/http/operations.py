"""The operations of the API, from which routes and the OpenAPI document are derived.

An operation declares its scope, request and response. Routing, authorization, error responses,
latency metrics and the OpenAPI 3.1 document follow from it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from time import perf_counter
from typing import Any, NamedTuple, final
from weakref import WeakKeyDictionary

import anyio
import msgspec
from anyio import CapacityLimiter
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from streamnet.client.schemas import Problem
from streamnet.daemon.hosting.hosted_model import HostedModel
from streamnet.daemon.hosting.registry import Registry
from streamnet.daemon.http.access import Access, Limits, RateLimiter, Scope
from streamnet.daemon.http.bodies import NDJSON, must_close_connection, require_json
from streamnet.daemon.http.responses import (
    PROBLEM_MEDIA_TYPE,
    error_response,
    http_error,
    problem_response,
)
from streamnet.daemon.predictions import MicroBatcher, compute_interval
from streamnet.daemon.prometheus import Metrics
from streamnet.errors import StreamnetError
from streamnet.version import __version__

__all__ = (
    "Endpoint",
    "Operation",
    "Parameter",
    "Service",
    "build_document",
    "build_routes",
    "json_response",
)


_CachedInterval = tuple[
    tuple[int, int], tuple[float, float] | None
]  # life and generation, and its ends


@final
@dataclass(frozen=True, kw_only=True)
class Service:
    """What endpoints work with.

    Args:
        registry: The models.
        access: Who may do what.
        limits: How much of it.
        rates: Buckets of the clients, from which a wrong token draws too.
        metrics: Counters of the requests.
        stopping: Set when the daemon ends, upon which event streams end.
    """

    registry: Registry
    access: Access
    limits: Limits
    rates: RateLimiter
    metrics: Metrics
    stopping: anyio.Event
    # One thread for large work: it shares the interpreter with the loop, and two would share less.
    worker: CapacityLimiter = field(init=False, default_factory=lambda: CapacityLimiter(1))
    batches: anyio.Semaphore = field(init=False)
    _together: WeakKeyDictionary[HostedModel, MicroBatcher] = field(
        init=False, default_factory=WeakKeyDictionary
    )

    _intervals: WeakKeyDictionary[HostedModel, _CachedInterval] = field(
        init=False, default_factory=WeakKeyDictionary
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "batches", anyio.Semaphore(self.limits.batches))

    def model(self, request: Request) -> HostedModel:
        """The model that a path names.

        Raises:
            HTTPException: 404, if there is none of that name.
        """
        name = request.path_params["name"]
        hosted = self.registry.models.get(name)
        if hosted is None:
            raise http_error(404, "there is no model of that name")
        return hosted

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Hold one of the places for large bodies.

        Raises:
            HTTPException: 503, if all are taken.
        """
        try:
            self.batches.acquire_nowait()
        except anyio.WouldBlock as error:
            raise http_error(503, "too many batches are at work", retry_after="1") from error
        try:
            yield
        finally:
            self.batches.release()

    def together(self, hosted: HostedModel) -> MicroBatcher:
        """What joins the calls of a model."""
        joined = self._together.get(hosted)
        if joined is None:
            joined = self._together[hosted] = MicroBatcher(hosted.predict)
        return joined

    def build_stop_condition(self) -> tuple[anyio.Event, HTTPException]:
        """What ends the reading of a long body, and what is told then."""
        told = "the daemon stops: what came later is not taken"
        return self.stopping, http_error(503, told, connection="close")

    def interval(self, hosted: HostedModel, generation: int) -> tuple[float, float] | None:
        """What makes an interval of a model's numbers, reckoned once for each generation."""
        known, model = self._intervals.get(hosted), (hosted.lives, generation)
        if known is None or known[0] != model:  # after a reset, generations begin anew
            residuals = hosted.residuals()
            ends = None if residuals is None else compute_interval(residuals)
            known = self._intervals[hosted] = (model, ends)
        return known[1]

    def admit(self, request: Request, scope: Scope) -> None:
        """Let who has the scope pass.

        Raises:
            HTTPException: 401 without a token that is known, 403 without the scope.
        """
        if self.access.is_open:
            return
        sent = request.headers.get("authorization")
        authorization = None if sent is None else sent.encode("latin-1")
        if self.access.allows(authorization, scope):
            return
        if self.access.knows(authorization):
            raise http_error(403, f"the token has not the scope {scope}")
        client = "" if request.client is None else request.client.host
        self.rates.take(client, self.limits.guess * self.limits.rate)
        detail = "a token is needed, as Authorization: Bearer TOKEN"
        raise http_error(401, detail, www_authenticate="Bearer")


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


def json_response(value: Any, status: int = 200) -> Response:
    """A value as a JSON response."""
    return Response(_ENCODER.encode(value), status, media_type="application/json")


def build_routes(operations: Sequence[Operation], service: Service) -> list[Route]:
    """The routes of a table, in its order; those of one path are one route."""
    paths: dict[str, dict[str, ASGIApp]] = {}
    for line in operations:
        paths.setdefault(line.path, {})[line.method] = _OperationHandler(line, service)
    names = {line.path: line.name for line in reversed(operations)}
    return [
        Route(path, _MethodDispatcher(handlers), methods=[*handlers], name=names[path])
        for path, handlers in paths.items()
    ]


@final
class _MethodDispatcher:
    """What stands at one path: an operation for each method."""

    def __init__(self, handlers: dict[str, ASGIApp]) -> None:
        self._handlers = handlers
        if "GET" in handlers:  # the server leaves the body of its answer out
            handlers.setdefault("HEAD", handlers["GET"])

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        await self._handlers[scope["method"]](scope, receive, send)


@final
class _OperationHandler:
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
        if response.status_code >= 400 and must_close_connection(scope):
            response.headers["connection"] = "close"
        self._watch(response.status_code, perf_counter() - started)
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        try:
            if self._scope is not None:
                self._service.admit(request, self._scope)
            if self._is_json:
                require_json(request)
            return await self._endpoint(request, self._service)
        except (HTTPException, StreamnetError) as error:
            return error_response(error)
        except ClientDisconnect:
            raise
        except Exception:  # noqa: BLE001 - logged, and never told to who asked
            _LOG.exception("%s %s failed", request.method, request.url.path)
            return problem_response(500, "an error of the daemon itself; its log says more")


_JSON = "application/json"
_NAME_PARAMETER = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "Name of the model.",
    "schema": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,63}$"},
}
# What may come of every request: the guard in front of all operations sees to it.
_COMMON_ERRORS = (400, 403, 421, 429, 500, 503)
_BODY_ERRORS = (408, 413, 415, 422)


def build_document(operations: Sequence[Operation]) -> dict[str, Any]:
    """The document, as JSON can hold it."""
    schemas, components = _build_schemas(operations)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        line = _describe_operation(operation, schemas)
        paths.setdefault(operation.path, {})[operation.method.lower()] = line
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "streamnet",
            "version": __version__,
            "description": "Models that learn from streams and answer meanwhile.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _build_schemas(operations: Iterable[Operation]) -> tuple[dict[Any, Any], dict[str, Any]]:
    types: list[Any] = [Problem]
    shapes = (shape for line in operations for shape in (line.request, line.reply))
    types += [shape for shape in shapes if shape is not None]
    schemas, components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    for one in ("Learn", "Predict"):
        # One of the two is needed, which a type can't say.
        components[f"{one}Request"]["oneOf"] = [
            {"required": ["sample"], "properties": {"samples": {"type": "null"}}},
            {"required": ["samples"], "properties": {"sample": {"type": "null"}}},
        ]
    return dict(zip(types, schemas, strict=True)), components


def _describe_operation(line: Operation, schemas: dict[Any, Any]) -> dict[str, Any]:
    parameters = [_NAME_PARAMETER] if "{name}" in line.path else []
    parameters += [
        {"name": p.name, "in": p.where, "description": p.description, "schema": p.schema}
        for p in line.parameters
    ]
    described: dict[str, Any] = {
        "operationId": line.name,
        "summary": line.summary,
        "responses": _describe_responses(line, schemas),
    }
    if parameters:
        described["parameters"] = parameters
    if line.has_body:
        described["requestBody"] = {"required": True, "content": _describe_content(line, schemas)}
    if line.scope is not None:
        described["security"] = [{"token": []}]
        described["description"] = f"Needs a token of scope {line.scope}, where tokens are needed."
    return described


def _describe_content(line: Operation, schemas: dict[Any, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {media: {} for media in line.upload}
    if line.request is not None:
        content[_JSON] = {"schema": schemas[line.request]}
    if line.lines:
        content[NDJSON] = {"schema": {"type": "string", "description": line.lines}}
    return content


def _describe_responses(line: Operation, schemas: dict[Any, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {media: {} for media in line.media}
    if line.reply is not None:
        content[_JSON] = {"schema": schemas[line.reply]}
    statuses = [line.status]
    if any(parameter.name == "ack" for parameter in line.parameters):
        statuses.append(202)
    good = {str(status): _describe_response(status, content) for status in statuses}
    wrong = {*_COMMON_ERRORS, *line.errors}
    wrong |= {401} if line.scope is not None else set()
    wrong |= {404} if "{name}" in line.path and not line.upload else set()
    wrong |= set(_BODY_ERRORS) if line.has_body else set()
    wrong |= {422} if line.parameters else set()
    problem = {PROBLEM_MEDIA_TYPE: {"schema": schemas[Problem]}}
    bad = {str(status): _describe_response(status, problem) for status in sorted(wrong)}
    if line.name == "readyz":
        bad["503"]["content"] |= content
    return good | bad


def _describe_response(status: int, content: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if content:
        said["content"] = dict(content)
    if status in (429, 503):
        schema = {"type": "integer", "minimum": 1}
        said["headers"] = {"Retry-After": {"description": "Seconds to wait.", "schema": schema}}
    return said
