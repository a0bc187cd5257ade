"""Watching: live events, health, metrics."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from streamnet.daemon.access import Scope
from streamnet.daemon.event_stream import EventStream
from streamnet.daemon.metrics import CONTENT_TYPE
from streamnet.daemon.operations import Operation
from streamnet.daemon.operations import Parameter
from streamnet.daemon.operations import replied
from streamnet.daemon.problems import refusal
from streamnet.daemon.service import Service
from streamnet.daemon.shapes import Health

__all__ = ("OPERATIONS",)

_NUMBER = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}


async def _events(request: Request, service: Service) -> Response:
    hosted = service.model(request)
    given = request.headers.get("last-event-id") or request.query_params.get("after")
    if given is not None and not (given.isascii() and given.isdecimal() and len(given) < 20):
        raise refusal(422, "the id of the last event must be a number")
    after = None if given is None else int(given)
    return EventStream(hosted.events.follow(after), service.stopping)


async def _alive(_: Request, service: Service) -> Response:
    return replied(Health("stopping" if service.stopping.is_set() else "ok"))


async def _ready(_: Request, service: Service) -> Response:
    models = service.registry.models.values()
    if service.stopping.is_set():
        return replied(Health("stopping"), 503)
    # Both pass by themselves. What waits for a person, such as a model that failed for another
    # reason, would keep the others from being asked for as long.
    if any(hosted.waits_for_disk for hosted in models):
        response = replied(Health("refusing"), 503)
    elif any(hosted.state == "starting" for hosted in models):
        response = replied(Health("starting"), 503)
    else:
        return replied(Health("ok"))
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
            Parameter("Last-Event-ID", _NUMBER, "Tell what came behind this event.", "header"),
            Parameter("after", _NUMBER, "The same, for who can't send the header."),
        ),
    ),
    Operation(
        "healthz", "GET", "/healthz", None, _alive, "Whether the daemon answers", reply=Health
    ),
    Operation(
        "readyz",
        "GET",
        "/readyz",
        None,
        _ready,
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
