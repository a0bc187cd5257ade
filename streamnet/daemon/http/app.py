"""The daemon as an ASGI application, to be served or mounted in another one."""

from __future__ import annotations

from collections.abc import Collection

import anyio
import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streamnet.daemon.hosting.registry import Registry
from streamnet.daemon.http.access import Access, Limits, RateLimiter
from streamnet.daemon.http.middleware import GuardMiddleware
from streamnet.daemon.http.operations import Service, build_document, build_routes
from streamnet.daemon.http.responses import handle_http_exception
from streamnet.daemon.http.routes import models, monitoring, predictions, samples
from streamnet.daemon.prometheus import Metrics

__all__ = ("OPERATIONS", "create_app")

# The first are found first, so those that are asked most often stand in front.
OPERATIONS = (
    *predictions.OPERATIONS,
    *samples.OPERATIONS,
    *monitoring.OPERATIONS,
    *models.OPERATIONS,
)


def create_app(
    registry: Registry,
    *,
    access: Access | None = None,
    limits: Limits | None = None,
    hosts: Collection[str] | None = None,
    origins: Collection[str] = (),
    stopping: anyio.Event | None = None,
    metrics: Metrics | None = None,
) -> Starlette:
    """The application.

    It runs no model: whoever made the registry does, in a task beside the one that serves.

    Args:
        registry: The models.
        access: Tokens; None lets everybody in.
        limits: How much one client, one request and all of them together may take.
        hosts: What the Host header may be, as in ``localhost:8000``. None lets all in, which is
            for an application that is mounted where somebody else looks after that.
        origins: What the Origin header of a browser may be, beside the host's own.
        stopping: Set it, and event streams end.
        metrics: Where requests are counted.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from starlette.applications import Starlette
    >>> from starlette.routing import Mount
    >>> app = create_app(Registry(Path(tempfile.mkdtemp())))
    >>> mine = Starlette(routes=[Mount("/models", app)])
    >>> app.url_path_for("model", name="wine")
    '/v1/models/wine'
    """
    limits = Limits() if limits is None else limits
    rates = RateLimiter(limits)
    service = Service(
        registry=registry,
        access=Access() if access is None else access,
        limits=limits,
        rates=rates,
        metrics=Metrics(lambda: registry.models) if metrics is None else metrics,
        stopping=anyio.Event() if stopping is None else stopping,
    )
    guard = Middleware(GuardMiddleware, hosts=hosts, origins=origins, limits=limits, rates=rates)
    return Starlette(
        routes=[
            *build_routes(OPERATIONS, service),
            *monitoring.ROUTES,
            Route("/openapi.json", _serve_document),
        ],
        middleware=[guard, Middleware(GZipMiddleware, minimum_size=1024, compresslevel=3)],
        exception_handlers={HTTPException: handle_http_exception},
    )


_DOCUMENT = build_document(OPERATIONS)


async def _serve_document(request: Request) -> Response:
    # Where it is mounted: the paths of the document would begin at the root of the host.
    servers = [{"url": request.scope.get("root_path") or "/"}]
    content = msgspec.json.encode(_DOCUMENT | {"servers": servers})
    return Response(content, media_type="application/json")
