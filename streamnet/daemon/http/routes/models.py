"""Routes that create, inspect, pause, reset, download and delete models."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import anyio
import msgspec
from anyio.lowlevel import checkpoint
from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from streamnet.client.operation import NDJSON
from streamnet.client.operations import MAX_KEYS_LISTED, UPLOADS
from streamnet.client.schemas import CreateRequest, MergeRequest, ModelLine, RetireRequest
from streamnet.daemon.hosting.hosted_model import HostedModel
from streamnet.daemon.hosting.model_run import build_settings, decode_model
from streamnet.daemon.http.bodies import decode_body, read_body
from streamnet.daemon.http.responses import http_error
from streamnet.daemon.http.service import Endpoint, Service, check_model, json_response
from streamnet.daemon.replicas.replica_model import ReplicaModel
from streamnet.daemon.request_context import CURRENT_REQUEST
from streamnet.errors import ConflictError
from streamnet.modelfiles.formats import FORMATS, ModelFormat, get_format
from streamnet.settings.daemon import parse_model

T = TypeVar("T")
M = TypeVar("M", HostedModel, HostedModel | ReplicaModel)

_CHUNK_BYTES = 1 << 18
_MAX_DEPTH = 8  # of tables within tables
_TABLES_DECODER = msgspec.json.Decoder(dict[str, Any])
_CREATE_DECODER = msgspec.json.Decoder(CreateRequest)
_MERGE_DECODER = msgspec.json.Decoder(MergeRequest)
_RETIRE_DECODER = msgspec.json.Decoder(RetireRequest)


async def _models(request: Request, service: Service) -> Response:
    lines = []
    for hosted in service.visible_models(request):
        lines.append(msgspec.convert(hosted.status(), ModelLine, from_attributes=True))
        await checkpoint()  # of hundreds of models, it takes longer than a prediction may wait
    return json_response(lines)


async def _overview(request: Request, service: Service) -> Response:
    lines = []
    for hosted in service.visible_models(request):
        lines.append(hosted.overview())
        await checkpoint()
    return json_response(lines)


async def _create(request: Request, service: Service) -> Response:
    body = decode_body(await read_body(request, service.limits), _CREATE_DECODER)
    if (context := CURRENT_REQUEST.get()) is not None:
        context.model = body.name
    check_model(service.find_grant(request), body.name)
    _check_depth(body.settings)
    hosted = await service.registry.create(body.name, parse_model(body.settings))
    return _created_response(request, hosted)


async def _upload(request: Request, service: Service) -> Response:
    name, registry = request.path_params["name"], service.registry
    suffix = _read_suffix(request)
    tables = _read_settings(request)
    if name in registry.models:  # before the file is read
        raise ConflictError(f"model {name} already exists")
    with service.batch():
        data = await read_body(request, service.limits, service.limits.max_model)
        settings = await run_sync(
            lambda: build_settings(tables, decode_model(data, suffix)), limiter=service.worker
        )
        hosted = await registry.create(name, settings, (suffix, data))
    return _created_response(request, hosted)


def _read_settings(request: Request) -> dict[str, Any]:
    """Read the settings from the query, since the body is the file."""
    try:
        tables = _TABLES_DECODER.decode(request.query_params.get("settings", "{}"))
    except (msgspec.DecodeError, RecursionError) as error:
        raise http_error(422, f"settings is not a JSON object: {error}") from error
    _check_depth(tables)
    return tables


def _read_suffix(request: Request) -> str:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    for suffix, media in UPLOADS.items():
        if media == media_type:
            return f".{suffix}"
    raise http_error(415, f"Content-Type must be {' or '.join(UPLOADS.values())}")


def _check_depth(settings: dict[str, Any]) -> None:
    if _is_deeper(settings, _MAX_DEPTH):
        raise http_error(422, f"settings are nested too deeply; the limit is {_MAX_DEPTH} levels")


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether a value is nested more than ``levels`` deep."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels == 0 or any(_is_deeper(part, levels - 1) for part in parts)


def _created_response(request: Request, hosted: HostedModel) -> Response:
    response = json_response(hosted.status(), 201)
    response.headers["location"] = request.url_for("status", name=hosted.name).path
    return response


async def _status(request: Request, service: Service) -> Response:
    return json_response(service.find_model(request).status())


async def _champion(request: Request, service: Service) -> Response:
    return _show(service.find_model(request), lambda model: model.champion())


async def _delete(request: Request, service: Service) -> Response:
    await service.registry.delete(service.model(request).name)
    return Response(status_code=204)


async def _merge_class(request: Request, service: Service) -> Response:
    hosted = service.model(request)
    body = decode_body(await read_body(request, service.limits), _MERGE_DECODER)
    return json_response(await hosted.change_classes(body.label, body.into))


async def _retire_class(request: Request, service: Service) -> Response:
    hosted = service.model(request)
    body = decode_body(await read_body(request, service.limits), _RETIRE_DECODER)
    return json_response(await hosted.change_classes(body.label))


def _build_action(act: Callable[[HostedModel], Awaitable[None]]) -> Endpoint:
    """Build an endpoint that changes a model and returns its status."""

    async def change(request: Request, service: Service) -> Response:
        hosted = service.model(request)
        await act(hosted)
        return json_response(hosted.status())

    return change


def _build_view(view: Callable[[HostedModel], Any]) -> Endpoint:
    """Build an endpoint that returns a view of a model, or 503 while there is none."""

    async def show(request: Request, service: Service) -> Response:
        return _show(service.model(request), view)

    return show


def _show(model: M, view: Callable[[M], Any]) -> Response:
    value = view(model)
    if value is None:
        is_starting = model.state == "starting"
        reason = "is being restored" if is_starting else "has not learned anything yet"
        raise http_error(503, f"the model {reason}", retry_after="1")
    return json_response(value)


async def _insight(request: Request, service: Service) -> Response:
    hosted = service.model(request)
    if not hosted.is_insight_due:
        return json_response(hosted.insight())
    return json_response(await run_sync(hosted.insight, limiter=service.worker))


async def _download(request: Request, service: Service) -> Response:
    hosted, kind = service.find_model(request), _read_format(request)
    data = await run_sync(hosted.encode_model, kind.name, limiter=service.worker)
    return _file_response(data, hosted.name, kind)


def _read_format(request: Request) -> ModelFormat:
    return get_format(request.query_params.get("format", next(iter(FORMATS))))


def _file_response(data: bytes, name: str, kind: ModelFormat) -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}{kind.suffix}"'}
    return Response(data, headers=headers, media_type=kind.media_type)


async def _keys(request: Request, service: Service) -> Response:
    text = request.query_params.get("count", "20")
    count = int(text) if text.isascii() and text.isdigit() else 0
    if not 1 <= count <= MAX_KEYS_LISTED:
        raise http_error(422, f"count is {text!r}, but must be from 1 to {MAX_KEYS_LISTED}")
    found = await run_sync(service.model(request).keys.rank, count, limiter=service.worker)
    return json_response(found)


async def _key(request: Request, service: Service) -> Response:
    hosted, key = service.model(request), _read_entity(request)
    found = await run_sync(hosted.keys.describe, key, limiter=service.worker)
    return json_response(_check_known(found, key))


async def _forget_key(request: Request, service: Service) -> Response:
    key = _read_entity(request)
    return json_response(_check_known(await service.model(request).keys.forget(key), key))


async def _download_key(request: Request, service: Service) -> Response:
    hosted, key, kind = service.model(request), _read_entity(request), _read_format(request)
    data = await run_sync(hosted.keys.encode, key, kind.name, limiter=service.worker)
    return _file_response(_check_known(data, key), f"{hosted.name}-key", kind)


def _read_entity(request: Request) -> str:
    key = request.query_params.get("key")
    if key is None:
        raise http_error(422, "key is not given, but must name a key")
    return key


def _check_known(found: T | None, key: str) -> T:
    if found is None:
        raise http_error(404, f"there is no key {key!r}")
    return found


async def _dead_letters(request: Request, service: Service) -> Response:
    chunks = _read_whole_lines(service.model(request).dead_letters)
    return StreamingResponse(chunks, media_type=NDJSON)


async def _read_whole_lines(path: Path) -> AsyncIterator[bytes]:
    """Read the whole lines that a file holds now, though it may grow meanwhile."""
    try:
        file = await anyio.open_file(path, "rb")
    except FileNotFoundError:
        return
    async with file:
        left = (await anyio.Path(path).stat()).st_size
        rest = b""
        while left and (chunk := await file.read(min(left, _CHUNK_BYTES))):
            left -= len(chunk)
            whole, newline, rest = (rest + chunk).rpartition(b"\n")
            yield whole + newline


ENDPOINTS: dict[str, Endpoint] = {
    "models": _models,
    "overview": _overview,
    "create": _create,
    "upload": _upload,
    "status": _status,
    "delete": _delete,
    "pause": _build_action(lambda hosted: hosted.pause()),
    "resume": _build_action(lambda hosted: hosted.resume()),
    "reset": _build_action(lambda hosted: hosted.reset()),
    "champion": _champion,
    "classes": _build_view(lambda hosted: hosted.classes()),
    "merge_class": _merge_class,
    "retire_class": _retire_class,
    "keys": _keys,
    "key": _key,
    "forget_key": _forget_key,
    "download_key": _download_key,
    "leaders": _build_view(lambda hosted: hosted.leaders()),
    "scores": _build_view(lambda hosted: hosted.scores()),
    "history": _build_view(lambda hosted: hosted.history()),
    "confusion": _build_view(lambda hosted: hosted.outcomes()),
    "insight": _insight,
    "features": _build_view(lambda hosted: hosted.features()),
    "rejected": _build_view(lambda hosted: hosted.rejected()),
    "dead_letters": _dead_letters,
    "download": _download,
}
