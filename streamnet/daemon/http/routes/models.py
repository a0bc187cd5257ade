"""Routes that create, inspect, pause, reset, download and delete models."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import msgspec
from anyio.to_thread import run_sync
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from streamnet.client.schemas import (
    CandidateLine,
    Champion,
    Confusion,
    CreateRequest,
    History,
    ModelLine,
    Rejected,
    Residuals,
    Status,
)
from streamnet.daemon.hosting.hosted_model import HostedModel
from streamnet.daemon.hosting.warm_start import build_settings, decode_model
from streamnet.daemon.http.access import Scope
from streamnet.daemon.http.bodies import NDJSON, decode_body, read_body
from streamnet.daemon.http.operations import Endpoint, Operation, Parameter, Service, json_response
from streamnet.daemon.http.responses import http_error
from streamnet.errors import ConflictError
from streamnet.modelfiles.formats import SUFFIXES
from streamnet.settings.daemon import ModelSettings, parse_model

__all__ = ("OPERATIONS",)

_MODEL_PATH = "/v1/models/{name}"
_MEDIA_TYPES = {one.suffix.removeprefix("."): one.media_type for one in SUFFIXES.values()}
_CHUNK_BYTES = 1 << 18  # bytes of a file that are read at a time
_MAX_DEPTH = 8  # tables within tables of a model's settings
_TABLES_DECODER = msgspec.json.Decoder(dict[str, Any])
_CREATE_DECODER = msgspec.json.Decoder(CreateRequest)


async def _list(_: Request, service: Service) -> Response:
    models = sorted(service.registry.models.items())
    return json_response([_convert(hosted.status(), ModelLine) for _, hosted in models])


async def _create(request: Request, service: Service) -> Response:
    body = decode_body(await read_body(request, service.limits), _CREATE_DECODER)
    _check_depth(body.settings)
    return _build_created(
        request, await service.registry.create(body.name, parse_model(body.settings))
    )


async def _upload(request: Request, service: Service) -> Response:
    name, registry = request.path_params["name"], service.registry
    suffix = _read_suffix(request)
    values = _parse_settings(request)
    if name in registry.models:  # before its file is read
        raise ConflictError(f"there is a model {name} already")
    with service.batch():
        data = await read_body(request, service.limits, service.limits.model)
        settings = await run_sync(_build_settings, data, suffix, values, limiter=service.worker)
        hosted = await registry.create(name, settings, (suffix, data))
    return _build_created(request, hosted)


def _parse_settings(request: Request) -> dict[str, Any]:
    """The settings that stand in the address, since the body is a file."""
    try:
        values = _TABLES_DECODER.decode(request.query_params.get("settings", "{}"))
    except (msgspec.DecodeError, RecursionError) as error:
        raise http_error(422, f"settings is no JSON object: {error}") from error
    _check_depth(values)
    return values


def _read_suffix(request: Request) -> str:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    for suffix, media in _MEDIA_TYPES.items():
        if media == kind:
            return f".{suffix}"
    raise http_error(415, f"Content-Type must be {' or '.join(_MEDIA_TYPES.values())}")


def _build_settings(data: bytes, suffix: str, values: dict[str, Any]) -> ModelSettings:
    return build_settings(values, decode_model(data, suffix))


def _build_created(request: Request, hosted: HostedModel) -> Response:
    response = json_response(_build_status(hosted), 201)
    response.headers["location"] = request.url_for("model", name=hosted.name).path
    return response


async def _show(request: Request, service: Service) -> Response:
    return json_response(_build_status(service.model(request)))


async def _delete(request: Request, service: Service) -> Response:
    await service.registry.delete(service.model(request).name)
    return Response(status_code=204)


def _build_action(verb: Callable[[HostedModel], Awaitable[None]]) -> Endpoint:
    async def change(request: Request, service: Service) -> Response:
        hosted = service.model(request)
        await verb(hosted)
        return json_response(_build_status(hosted))

    return change


def _build_view(ask: Callable[[HostedModel], Any], shape: Any) -> Endpoint:
    async def tell(request: Request, service: Service) -> Response:
        hosted = service.model(request)
        told = ask(hosted)
        if told is None:
            raise _build_not_ready(hosted)
        return json_response(_convert(told, shape))

    return tell


async def _confusion(request: Request, service: Service) -> Response:
    hosted = service.model(request)
    if (matrix := hosted.confusion()) is not None:
        return json_response(_convert(matrix, Confusion))
    if (histogram := hosted.residuals()) is not None:
        return json_response(_convert(histogram, Residuals))
    raise _build_not_ready(hosted)


def _build_not_ready(hosted: HostedModel) -> HTTPException:
    what = "is being taken up" if hosted.state == "starting" else "has not learned anything yet"
    return http_error(503, f"the model {what}", retry_after="1")


async def _download(request: Request, service: Service) -> Response:
    hosted = service.model(request)
    suffix = request.query_params.get("format", "safetensors")
    if suffix not in _MEDIA_TYPES:
        raise http_error(422, f"format must be {' or '.join(_MEDIA_TYPES)}")
    data = await run_sync(hosted.model_bytes, f".{suffix}", limiter=service.worker)
    name = f'attachment; filename="{hosted.name}.{suffix}"'
    return Response(data, headers={"content-disposition": name}, media_type=_MEDIA_TYPES[suffix])


async def _dead_letters(request: Request, service: Service) -> Response:
    pieces = _read_whole_lines(service.model(request).dead_letters)
    return StreamingResponse(pieces, media_type=NDJSON)


async def _read_whole_lines(path: Path) -> AsyncIterator[bytes]:
    """Whole lines of a file that may grow meanwhile: those that are there now."""
    try:
        file = await anyio.open_file(path, "rb")
    except FileNotFoundError:
        return
    async with file:
        left = (await anyio.Path(path).stat()).st_size
        rest = b""
        while left and (piece := await file.read(min(left, _CHUNK_BYTES))):
            left -= len(piece)
            whole, newline, rest = (rest + piece).rpartition(b"\n")
            yield whole + newline


def _build_status(hosted: HostedModel) -> Status:
    status: Status = _convert(hosted.status(), Status)
    return status


def _convert(told: Any, shape: Any) -> Any:
    """What a model tells of itself, held against the shape that was promised."""
    return msgspec.convert(told, shape, from_attributes=True)


def _check_depth(settings: dict[str, Any]) -> None:
    if _is_deeper(settings, _MAX_DEPTH):
        raise http_error(422, f"settings are nested too deeply, but may be {_MAX_DEPTH} deep")


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether values lie in each other more than so many levels deep."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels == 0 or any(_is_deeper(part, levels - 1) for part in parts)


def _model_operation(
    name: str, verb: str, rest: str, scope: Scope, endpoint: Endpoint, summary: str, **more: Any
) -> Operation:
    return Operation(name, verb, _MODEL_PATH + rest, scope, endpoint, summary, **more)


OPERATIONS = (
    Operation(
        "models", "GET", "/v1/models", Scope.READ, _list, "All models", reply=list[ModelLine]
    ),
    Operation(
        name="create",
        method="POST",
        path="/v1/models",
        scope=Scope.ADMIN,
        endpoint=_create,
        summary="Make a new model, which waits for its first samples",
        request=CreateRequest,
        reply=Status,
        status=201,
        errors=(409, 507),
    ),
    _model_operation(
        "upload",
        "PUT",
        "/model",
        Scope.ADMIN,
        _upload,
        "Make a new model that goes on with a model file, and answers from the start",
        upload=tuple(_MEDIA_TYPES.values()),
        reply=Status,
        status=201,
        parameters=(
            Parameter(
                "settings",
                {"type": "string", "contentMediaType": "application/json", "default": "{}"},
                "What a run file's tables would say, as JSON; target and task default to the "
                "file's.",
            ),
        ),
        errors=(409, 507),
    ),
    _model_operation("model", "GET", "", Scope.READ, _show, "Where a model stands", reply=Status),
    _model_operation(
        "delete",
        "DELETE",
        "",
        Scope.ADMIN,
        _delete,
        "Delete a model and its state",
        status=204,
        errors=(409,),
    ),
    _model_operation(
        "pause",
        "POST",
        "/pause",
        Scope.ADMIN,
        _build_action(lambda hosted: hosted.pause()),
        "Learn no more for now; samples are accepted until too many wait",
        reply=Status,
        errors=(409, 507),
    ),
    _model_operation(
        "resume",
        "POST",
        "/resume",
        Scope.ADMIN,
        _build_action(lambda hosted: hosted.resume()),
        "Learn on",
        reply=Status,
        errors=(409, 507),
    ),
    _model_operation(
        "reset",
        "POST",
        "/reset",
        Scope.ADMIN,
        _build_action(lambda hosted: hosted.reset()),
        "Forget everything and begin anew; the old state is moved aside",
        reply=Status,
        errors=(409, 507),
    ),
    _model_operation(
        "champion",
        "GET",
        "/champion",
        Scope.READ,
        _build_view(lambda hosted: hosted.champion(), Champion),
        "The model that answers now, and the columns that it reads",
        reply=Champion,
    ),
    _model_operation(
        "leaders",
        "GET",
        "/leaders",
        Scope.READ,
        _build_view(lambda hosted: hosted.leaders(), list[CandidateLine]),
        "All candidates, the best first",
        reply=list[CandidateLine],
    ),
    _model_operation(
        "history",
        "GET",
        "/history",
        Scope.READ,
        _build_view(lambda hosted: hosted.history(), History),
        "The score over time beside the baselines, with changes of the champion and drifts",
        reply=History,
    ),
    _model_operation(
        "confusion",
        "GET",
        "/confusion",
        Scope.READ,
        _confusion,
        "The confusion matrix of labels, or a histogram of the residuals of numbers",
        reply=Confusion | Residuals,
    ),
    _model_operation(
        "rejected",
        "GET",
        "/rejected",
        Scope.READ,
        _build_view(lambda hosted: hosted.rejected(), Rejected),
        "How many records were rejected, why, and the last of them",
        reply=Rejected,
    ),
    _model_operation(
        "dead_letters",
        "GET",
        "/dead-letters",
        Scope.READ,
        _dead_letters,
        "All rejected records that are kept, a line for each",
        media=(NDJSON,),
    ),
    _model_operation(
        "download",
        "GET",
        "/model",
        Scope.READ,
        _download,
        "The model as a file, which streamnet.Model.load reads",
        media=tuple(_MEDIA_TYPES.values()),
        parameters=(
            Parameter(
                "format",
                {"enum": list(_MEDIA_TYPES), "default": "safetensors"},
                "Format of the file.",
            ),
        ),
    ),
)
