"""Routes for events, health checks, metrics and the dashboard.

The dashboard's files are public and not part of the API, so the OpenAPI document omits them.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streamnet.client.schemas import Health
from streamnet.daemon.http.access import Scope
from streamnet.daemon.http.operations import Operation, Parameter, Service, json_response
from streamnet.daemon.http.responses import EventStream, http_error, problem_response
from streamnet.daemon.prometheus import CONTENT_TYPE
from streamnet.page import load_assets

__all__ = (
    "OPERATIONS",
    "ROUTES",
)


_EVENT_ID_SCHEMA = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}


async def _events(request: Request, service: Service) -> Response:
    hosted = service.model(request)
    given = request.headers.get("last-event-id") or request.query_params.get("after")
    if given is not None and not (given.isascii() and given.isdecimal() and len(given) < 20):
        raise http_error(422, "the id of the last event must be a number")
    after = None if given is None else int(given)
    return EventStream(hosted.events.follow(after), service.stopping)


async def _health(_: Request, service: Service) -> Response:
    return json_response(Health("stopping" if service.stopping.is_set() else "ok"))


async def _readiness(_: Request, service: Service) -> Response:
    models = service.registry.models.values()
    if service.stopping.is_set():
        return json_response(Health("stopping"), 503)
    # Both pass by themselves. What waits for a person, such as a model that failed for another
    # reason, would keep the others from being asked for as long.
    if any(hosted.waits_for_disk for hosted in models):
        response = json_response(Health("refusing"), 503)
    elif any(hosted.state == "starting" for hosted in models):
        response = json_response(Health("starting"), 503)
    else:
        return json_response(Health("ok"))
    response.headers["retry-after"] = "1"
    return response


async def _metrics(_: Request, service: Service) -> Response:
    return Response(service.metrics.text(), headers={"content-type": CONTENT_TYPE})


OPERATIONS = (
    Operation(
        name="events",
        method="GET",
        path="/v1/models/{name}/events",
        scope=Scope.READ,
        endpoint=_events,
        summary="Live events: champions, drifts, checkpoints, rejected records, states",
        media=("text/event-stream",),
        parameters=(
            Parameter(
                "Last-Event-ID", _EVENT_ID_SCHEMA, "Tell what came behind this event.", "header"
            ),
            Parameter("after", _EVENT_ID_SCHEMA, "The same, for who can't send the header."),
        ),
    ),
    Operation(
        "healthz", "GET", "/healthz", None, _health, "Whether the daemon answers", reply=Health
    ),
    Operation(
        "readyz",
        "GET",
        "/readyz",
        None,
        _readiness,
        "Whether all models have been taken up again, and the disk takes their samples",
        reply=Health,
    ),
    Operation(
        "metrics",
        "GET",
        "/metrics",
        Scope.READ,
        _metrics,
        "Metrics for Prometheus",
        media=("text/plain",),
    ),
)


_NO_CACHE = {"cache-control": "no-cache"}  # ask again whether it has changed


async def _index(_: Request) -> Response:
    return _serve_file("index.html")


async def _asset(request: Request) -> Response:
    return _serve_file(request.path_params["file"])


def _serve_file(name: str) -> Response:
    asset = load_assets().get(name)
    if asset is None:
        return problem_response(404, "the page has no such file")
    return Response(asset.data, headers=_NO_CACHE, media_type=asset.media_type)


ROUTES = (Route("/", _index), Route("/page/{file}", _asset))
