"""Routes for events, health checks, metrics and the dashboard.

The dashboard's files are public and not part of the API, so the OpenAPI document omits them.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streamnet.client.operation import Scope
from streamnet.client.operations import MAX_EVENT_ID
from streamnet.client.schemas import Health, Permissions
from streamnet.daemon.http.responses import EventStream, http_error, problem_response
from streamnet.daemon.http.service import Endpoint, Service, json_response
from streamnet.daemon.prometheus import CONTENT_TYPE
from streamnet.page import load_assets


async def _events(request: Request, service: Service) -> Response:
    hosted = service.find_model(request)
    value = request.headers.get("last-event-id") or request.query_params.get("after")
    if value is None:
        after = None
    elif value.isascii() and value.isdecimal() and len(value) <= len(str(MAX_EVENT_ID)):
        after = int(value)
    else:
        raise http_error(422, "the ID of the last event must be a number")
    return EventStream(hosted.events.follow(after), service.stopping)


async def _healthz(_: Request, service: Service) -> Response:
    return json_response(Health("stopping" if service.stopping.is_set() else "ok"))


async def _readyz(_: Request, service: Service) -> Response:
    if service.stopping.is_set():
        return json_response(Health("stopping"), 503)
    health = service.served.report_health()
    if health.status == "ok":
        return json_response(health)
    response = json_response(health, 503)
    response.headers["retry-after"] = "1"
    return response


async def _permissions(request: Request, service: Service) -> Response:
    scopes = service.find_grant(request).scopes
    return json_response(Permissions([scope for scope in Scope if scope in scopes]))


async def _metrics(_: Request, service: Service) -> Response:
    return Response(await service.metrics.scrape(), headers={"content-type": CONTENT_TYPE})


ENDPOINTS: dict[str, Endpoint] = {
    "events": _events,
    "healthz": _healthz,
    "readyz": _readyz,
    "permissions": _permissions,
    "metrics": _metrics,
}


# ----------------------------------------------------------------------------- dashboard

_NO_CACHE = {"cache-control": "no-cache"}  # revalidate on each use


async def _serve_file(request: Request) -> Response:
    asset = load_assets().get(request.path_params.get("file", "index.html"))
    if asset is None:
        return problem_response(404, "the dashboard has no such file")
    return Response(asset.data, headers=_NO_CACHE, media_type=asset.media_type)


ROUTES = (Route("/", _serve_file), Route("/page/{file}", _serve_file))
