"""Routes for shadows: models of others, whose predictions are compared with what is served."""

from __future__ import annotations

import re

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from streamnet.client.schemas import NAME_PATTERN, ShadowLine, ShadowReply, ShadowRequest
from streamnet.daemon.http.bodies import decode_body, is_ndjson, read_body
from streamnet.daemon.http.responses import http_error
from streamnet.daemon.http.routes.samples import is_durable
from streamnet.daemon.http.service import Endpoint, Service, json_response
from streamnet.daemon.journal.shadows import ShadowPrediction

_REQUEST_DECODER = msgspec.json.Decoder(ShadowRequest)
_LINE_DECODER = msgspec.json.Decoder(ShadowLine)


async def _shadow_predict(request: Request, service: Service) -> Response:
    hosted, shadow, durable = service.model(request), _read_name(request), is_durable(request)
    if is_ndjson(request):
        with service.batch():
            body = await read_body(request, service.limits, service.limits.lines)
            lines = _decode_lines(body)
    else:
        body = await read_body(request, service.limits)
        lines = decode_body(body, _REQUEST_DECODER).predictions
    given = [ShadowPrediction(str(one.id), one.prediction, one.probabilities) for one in lines]
    outcomes = await hosted.shadow_predict(shadow, given, durable=durable)
    return json_response(ShadowReply(outcomes), 200 if durable else 202)


def _read_name(request: Request) -> str:
    name: str = request.path_params["shadow"]
    if not re.fullmatch(NAME_PATTERN, name):
        raise http_error(422, f"the shadow's name is {name!r}, but must match {NAME_PATTERN}")
    return name


def _decode_lines(body: bytes) -> list[ShadowLine]:
    lines = []
    for number, line in enumerate(body.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            lines.append(_LINE_DECODER.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise http_error(422, f"line {number} is not a prediction: {error}") from error
    return lines


async def _shadows(request: Request, service: Service) -> Response:
    return json_response(service.model(request).shadows())


async def _remove_shadow(request: Request, service: Service) -> Response:
    name = _read_name(request)
    if not await service.model(request).remove_shadow(name):
        raise http_error(404, f"there is no shadow {name!r}")
    return Response(status_code=204)


ENDPOINTS: dict[str, Endpoint] = {
    "shadow_predict": _shadow_predict,
    "shadows": _shadows,
    "remove_shadow": _remove_shadow,
}
