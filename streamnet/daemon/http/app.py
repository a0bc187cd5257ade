"""The daemon as an ASGI application, and the OpenAPI document of its operations."""

from __future__ import annotations

from collections.abc import Collection
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streamnet.client.contents import JSON
from streamnet.client.operation import NDJSON, Operation
from streamnet.client.operations import OPERATIONS
from streamnet.client.schemas import NAME_PATTERN, Problem
from streamnet.daemon.hosting.registry import Registry
from streamnet.daemon.http.access import Access, Limits, RateLimiter
from streamnet.daemon.http.middleware import GuardMiddleware
from streamnet.daemon.http.responses import PROBLEM_MEDIA_TYPE, handle_http_exception
from streamnet.daemon.http.routes import ENDPOINTS, monitoring
from streamnet.daemon.http.service import Service, build_routes, json_response
from streamnet.daemon.prometheus import Metrics
from streamnet.daemon.replicas.replica_set import ReplicaSet
from streamnet.version import __version__

if TYPE_CHECKING:
    from streamnet.daemon.telemetry import Telemetry


def create_app(
    registry: Registry | ReplicaSet,
    *,
    access: Access | None = None,
    limits: Limits | None = None,
    hosts: Collection[str] | None = None,
    origins: Collection[str] = (),
    stopping: anyio.Event | None = None,
    metrics: Metrics | None = None,
    telemetry: Telemetry | None = None,
) -> Starlette:
    """Create the application, to be served or mounted in another one.

    It doesn't run the models: the caller runs the registry in a task beside the server.

    Args:
        registry: The models, or those that a read replica follows.
        access: Tokens; None grants everything to everyone.
        limits: Limits of requests.
        hosts: Allowed Host headers in lower case, as in ``localhost:8000``; without the port if it
            is the scheme's default. Networks, as in ``10.0.0.0/8``, stand for the addresses in
            them. ``*`` or None allows all, for an application that is mounted in one that checks
            them.
        origins: Allowed Origin headers besides the host's own.
        stopping: Set it to end event streams.
        metrics: Request counters.
        telemetry: Traces requests.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from starlette.applications import Starlette
    >>> from starlette.routing import Mount
    >>> app = create_app(Registry(Path(tempfile.mkdtemp())))
    >>> parent = Starlette(routes=[Mount("/models", app)])
    >>> app.url_path_for("status", name="wine")
    '/v1/models/wine'
    """
    limits = Limits() if limits is None else limits
    rates = RateLimiter(limits)
    service = Service(
        served=registry,
        access=Access() if access is None else access,
        limits=limits,
        rates=rates,
        metrics=Metrics(lambda: registry.models, registry.webhooks) if metrics is None else metrics,
        stopping=anyio.Event() if stopping is None else stopping,
        telemetry=telemetry,
    )
    document = build_document()

    async def serve_document(request: Request) -> Response:
        # The document's paths are relative to where the application is mounted.
        servers = [{"url": request.scope.get("root_path") or "/"}]
        return json_response(document | {"servers": servers})

    guard = Middleware(GuardMiddleware, hosts=hosts, origins=origins, limits=limits, rates=rates)
    return Starlette(
        routes=[
            *build_routes(ENDPOINTS, service),
            *monitoring.ROUTES,
            Route("/openapi.json", serve_document),
        ],
        middleware=[guard, Middleware(GZipMiddleware, minimum_size=1024, compresslevel=3)],
        exception_handlers={HTTPException: handle_http_exception},
    )


# ------------------------------------------------------------------------------- OpenAPI

_Operation = Operation[..., Any, Any]
_NAME_PARAMETER = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "Name of the model.",
    "schema": {"type": "string", "pattern": NAME_PATTERN},
}
_SHADOW_PARAMETER = _NAME_PARAMETER | {"name": "shadow", "description": "Name of the shadow."}
# Every request can fail with these, mostly in the middleware.
_COMMON_ERRORS = (400, 403, 421, 429, 500, 503)
_REPLICA_ERROR = 409  # what a read replica can't do
_BODY_ERRORS = (408, 413, 415, 422)


def build_document() -> dict[str, Any]:
    """Build the OpenAPI 3.1 document."""
    schemas, components = _build_schemas()
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS.values():
        described = _describe_operation(operation, schemas)
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "streamnet",
            "version": __version__,
            "description": "Models that learn from streams and predict at the same time.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _get_json_reply(operation: _Operation) -> Any:
    """The type of a JSON response; None if there is none."""
    has_json = operation.reply not in (bytes, type(None)) and not operation.is_stream
    return operation.reply if has_json else None


def _build_schemas() -> tuple[dict[Any, Any], dict[str, Any]]:
    types: list[Any] = [Problem]
    for operation in OPERATIONS.values():
        both = (operation.request, _get_json_reply(operation))
        types += [schema for schema in both if schema is not None]
    schemas, components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    for name in ("LearnRequest", "PredictRequest"):
        # Exactly one of the two is required, which a type can't express.
        components[name]["oneOf"] = [
            {"required": ["sample"], "properties": {"samples": {"type": "null"}}},
            {"required": ["samples"], "properties": {"sample": {"type": "null"}}},
        ]
    return dict(zip(types, schemas, strict=True)), components


def _describe_operation(operation: _Operation, schemas: dict[Any, Any]) -> dict[str, Any]:
    parameters = [_NAME_PARAMETER] if operation.has_name else []
    parameters += [_SHADOW_PARAMETER] if "{shadow}" in operation.path else []
    parameters += [
        {"name": p.name, "in": p.where, "description": p.description, "schema": p.schema}
        for p in operation.parameters
    ]
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "responses": _describe_responses(operation, schemas),
    }
    if parameters:
        described["parameters"] = parameters
    if operation.has_body:
        content = _describe_content(operation, schemas)
        described["requestBody"] = {"required": True, "content": content}
    if operation.scope is not None:
        described["security"] = [{"token": []}]
        described["description"] = f"Requires a token of scope {operation.scope}, if any is set."
    return described


def _describe_content(operation: _Operation, schemas: dict[Any, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {media: {} for media in operation.upload}
    if operation.request is not None:
        content[JSON] = {"schema": schemas[operation.request]}
    if operation.lines:
        content[NDJSON] = {"schema": {"type": "string", "description": operation.lines}}
    return content


def _describe_responses(operation: _Operation, schemas: dict[Any, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {media: {} for media in operation.media}
    if (reply := _get_json_reply(operation)) is not None:
        content[JSON] = {"schema": schemas[reply]}
    statuses = [operation.status]
    if any(parameter.name == "ack" for parameter in operation.parameters):
        statuses.append(202)
    responses = {str(status): _describe_response(status, content) for status in statuses}
    errors = {*_COMMON_ERRORS, *operation.errors}
    errors |= {401} if operation.scope is not None else set()
    errors |= {_REPLICA_ERROR} if operation.scope is not None else set()
    errors |= {404} if operation.has_name and not operation.upload else set()
    errors |= set(_BODY_ERRORS) if operation.has_body else set()
    errors |= {422} if operation.parameters else set()
    problem = {PROBLEM_MEDIA_TYPE: {"schema": schemas[Problem]}}
    problems = {str(status): _describe_response(status, problem) for status in sorted(errors)}
    if operation.name == "readyz":
        problems["503"]["content"] |= content
    return responses | problems


def _describe_response(status: int, content: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if content:
        described["content"] = dict(content)
    if status in (429, 503):
        schema = {"type": "integer", "minimum": 1}
        retry_after = {"description": "Seconds to wait.", "schema": schema}
        described["headers"] = {"Retry-After": retry_after}
    return described
