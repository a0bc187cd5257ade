"""What endpoints share, and the routes built from the table of operations.

Routing, authorization, error responses and latency metrics follow from an operation's entry in
`streamnet.client.operations`; a route module adds the endpoint.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from time import perf_counter
from typing import TYPE_CHECKING, Any, final

import anyio
import msgspec
from anyio import CapacityLimiter
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from streamnet.client.operation import Operation, Scope
from streamnet.client.operations import OPERATIONS
from streamnet.daemon.hosting.hosted_model import HostedModel
from streamnet.daemon.hosting.registry import Registry
from streamnet.daemon.http.access import Access, Limits, RateLimiter
from streamnet.daemon.http.bodies import must_close_connection, require_json
from streamnet.daemon.http.grants import Grant
from streamnet.daemon.http.responses import error_response, http_error, internal_error_response
from streamnet.daemon.http.shared_responses import SharedResponses
from streamnet.daemon.prometheus import Metrics
from streamnet.daemon.replicas.replica_model import ReplicaModel, describe_refusal
from streamnet.daemon.replicas.replica_set import ReplicaSet
from streamnet.daemon.request_context import CURRENT_REQUEST, REQUEST_ID_HEADER, RequestContext
from streamnet.errors import StreamnetError

if TYPE_CHECKING:
    from streamnet.daemon.telemetry import Telemetry

_LOG = logging.getLogger("streamnet.daemon")
_AUDIT = logging.getLogger("streamnet.audit")
_AUDIT.propagate = False  # it goes to a file of its own, or nowhere
_AUDIT.addHandler(logging.NullHandler())
_AUDITED = ("download", "dead_letters")  # besides those of administrators: data leaves the daemon
_REFUSALS = (401, 403)
_ENCODER = msgspec.json.Encoder()


@final
@dataclass(frozen=True, kw_only=True)
class Service:
    """What endpoints work with."""

    served: Registry | ReplicaSet
    access: Access
    limits: Limits
    rates: RateLimiter  # invalid tokens draw from it as well
    metrics: Metrics
    stopping: anyio.Event  # set when the daemon stops; ends event streams
    telemetry: Telemetry | None = None
    shared: SharedResponses = field(init=False, default_factory=SharedResponses)
    # A single thread for large work: it competes with the event loop for the interpreter.
    worker: CapacityLimiter = field(init=False, default_factory=lambda: CapacityLimiter(1))
    batches: anyio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "batches", anyio.Semaphore(self.limits.batches))

    @property
    def registry(self) -> Registry:
        """The models that learn here; raises 409 in a read replica."""
        if isinstance(self.served, ReplicaSet):
            raise http_error(409, self.served.refusal)
        return self.served

    def find_model(self, request: Request) -> HostedModel | ReplicaModel:
        """The model named in the path, which predicts; raises 404 if there is none."""
        found = self.served.models.get(request.path_params["name"])
        if found is None:
            if isinstance(self.served, ReplicaSet) and not self.served.has_heard:
                place = self.served.settings.of
                raise http_error(503, f"{place} was not reached yet", retry_after="1")
            raise http_error(404, "there is no model of that name")
        return found

    def model(self, request: Request) -> HostedModel:
        """The same, which also learns; raises 409 in a read replica."""
        found = self.find_model(request)
        if isinstance(found, ReplicaModel):
            raise http_error(409, describe_refusal(found.settings))
        return found

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Hold one of the slots for large bodies; raises 503 if all are taken."""
        try:
            self.batches.acquire_nowait()
        except anyio.WouldBlock as error:
            message = "too many large requests are being processed"
            raise http_error(503, message, retry_after="1") from error
        try:
            yield
        finally:
            self.batches.release()

    def build_stop_condition(self) -> tuple[anyio.Event, HTTPException]:
        """Return the event that ends the reading of a long body, and the error to raise then."""
        message = "the daemon is stopping; the rest of the body was not read"
        return self.stopping, http_error(503, message, connection="close")

    def find_grant(self, request: Request) -> Grant:
        """What a request's token allows: all if access is open, nothing if it is unknown."""
        header = None if self.access.is_open else request.headers.get("authorization")
        return self.access.find(None if header is None else header.encode("latin-1"))

    async def authorize(self, request: Request, operation: Operation[..., Any, Any]) -> None:
        """Admit a request that has a token for the operation and the model.

        Raises:
            HTTPException: 401 if it has no known token, 403 if that lacks the scope or is for other
                models, 429 if it was used too often.
            NotReadyError: If the identity provider can't be reached.
        """
        header = None if self.access.is_open else request.headers.get("authorization")
        grant = await self.access.admit(None if header is None else header.encode("latin-1"))
        scope = operation.scope
        assert scope is not None
        if not grant.scopes:
            client = "" if request.client is None else request.client.host
            self.rates.take(client, self.limits.guess * self.limits.max_rate)
            message = "a token is required, as Authorization: Bearer TOKEN"
            raise http_error(401, message, www_authenticate="Bearer")
        if (context := CURRENT_REQUEST.get()) is not None:
            context.token_name = grant.name
        if scope not in grant.scopes:
            raise http_error(403, f"the token does not have the scope {scope}")
        name = request.path_params.get("name")
        if name is not None:
            check_model(grant, name)
        elif grant.models is not None and operation.name not in _OF_MANY_MODELS:
            raise http_error(403, "the token is for some models only, but this is about all")
        if wait := self.access.take(grant):
            message = f"the token allows {grant.rate:g} requests per second"
            raise http_error(429, message, retry_after=str(ceil(wait)))

    def visible_models(self, request: Request) -> list[HostedModel | ReplicaModel]:
        """The models that a request's token is for, by name."""
        grant = self.find_grant(request)
        models: Mapping[str, HostedModel | ReplicaModel] = self.served.models
        return [one for name, one in sorted(models.items()) if grant.allows(name)]


_OF_MANY_MODELS = ("models", "overview", "create", "permissions")
"""Operations without a model in their path that look at the token themselves."""


def check_model(grant: Grant, name: str) -> None:
    """Raise 403 if a token is not for a model, whether or not there is one of that name."""
    if not grant.allows(name):
        raise http_error(403, f"the token is not for the model {name}")


Endpoint = Callable[[Request, Service], Awaitable[Response]]


def json_response(value: Any, status: int = 200) -> Response:
    """Build a JSON response."""
    return Response(_ENCODER.encode(value), status, media_type="application/json")


def build_routes(endpoints: Mapping[str, Endpoint], service: Service) -> list[Route]:
    """Build the routes of all operations, in their order; operations of one path share a route."""
    paths: dict[str, dict[str, ASGIApp]] = {}
    names: dict[str, str] = {}
    for operation in OPERATIONS.values():
        handler = _OperationHandler(operation, endpoints[operation.name], service)
        paths.setdefault(operation.path, {})[operation.method] = handler
        names.setdefault(operation.path, operation.name)
    return [
        Route(path, _MethodDispatcher(handlers), methods=[*handlers], name=names[path])
        for path, handlers in paths.items()
    ]


@final
class _MethodDispatcher:
    """The operations of one path, by method."""

    def __init__(self, handlers: dict[str, ASGIApp]) -> None:
        self._handlers = handlers
        if "GET" in handlers:  # the server omits the body
            handlers.setdefault("HEAD", handlers["GET"])

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        await self._handlers[scope["method"]](scope, receive, send)


@final
class _OperationHandler:
    """An operation as an ASGI application."""

    def __init__(
        self, operation: Operation[..., Any, Any], endpoint: Endpoint, service: Service
    ) -> None:
        self._endpoint = endpoint
        self._name = operation.name
        self._operation = operation
        self._scope = operation.scope
        self._is_audited = operation.scope is Scope.ADMIN or operation.name in _AUDITED
        is_view = operation.method == "GET" and operation.scope is Scope.READ
        self._is_shared = is_view and not operation.media
        self._is_json = operation.request is not None and not operation.lines
        self._service = service
        self._observe = service.metrics.observer(operation.name)

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if self._service.telemetry is None:
            await self._handle(scope, receive, send)
            return
        with self._service.telemetry.trace(scope, self._name) as note:
            await self._handle(scope, receive, send, note)

    async def _handle(
        self,
        scope: AsgiScope,
        receive: Receive,
        send: Send,
        note: Callable[[int], None] = lambda _: None,
    ) -> None:
        started = perf_counter()
        request = Request(scope, receive)
        context = RequestContext(scope, self._name)
        CURRENT_REQUEST.set(context)  # of this task, which handles nothing else meanwhile
        try:
            response = await self._respond(request)
        except ClientDisconnect:
            return
        if self._scope is Scope.ADMIN:
            _LOG.info("%s: %d", self._name, response.status_code)
        if self._is_audited or response.status_code in _REFUSALS:
            extra = {"status": response.status_code}
            _AUDIT.info(
                self._name, extra=extra | dict.fromkeys(("token", "model")) | context.fields
            )
        if response.status_code >= 400 or self._scope is Scope.ADMIN:
            response.headers[REQUEST_ID_HEADER] = context.request_id
        if response.status_code >= 400 and must_close_connection(scope):
            response.headers["connection"] = "close"
        self._observe(response.status_code, perf_counter() - started)
        note(response.status_code)
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        try:
            if self._scope is not None:
                await self._service.authorize(request, self._operation)
            if self._is_json:
                require_json(request)
            if self._is_shared:
                respond = partial(self._endpoint, request, self._service)
                return await self._service.shared.respond(request, respond)
            response = await self._endpoint(request, self._service)
            if self._scope is Scope.ADMIN:
                self._service.shared.clear()
            return response
        except (HTTPException, StreamnetError) as error:
            return error_response(error)
        except ClientDisconnect:
            raise
        except Exception:  # noqa: BLE001 - logged, and never disclosed to the client
            _LOG.exception("%s %s failed", request.method, request.url.path)
            return internal_error_response()
