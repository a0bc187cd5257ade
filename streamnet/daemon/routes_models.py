"""Models: made, looked at, paused, begun anew, taken home, deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from collections.abc import Awaitable
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import msgspec
from anyio.to_thread import run_sync
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.responses import StreamingResponse

from streamnet.daemon.access import Scope
from streamnet.daemon.bodies import NDJSON
from streamnet.daemon.bodies import body_of
from streamnet.daemon.bodies import decoded
from streamnet.daemon.hosted import Hosted
from streamnet.daemon.operations import Endpoint
from streamnet.daemon.operations import Operation
from streamnet.daemon.operations import Parameter
from streamnet.daemon.operations import replied
from streamnet.daemon.problems import refusal
from streamnet.daemon.service import Service
from streamnet.daemon.shapes import CandidateLine
from streamnet.daemon.shapes import Champion
from streamnet.daemon.shapes import Confusion
from streamnet.daemon.shapes import CreateRequest
from streamnet.daemon.shapes import History
from streamnet.daemon.shapes import ModelLine
from streamnet.daemon.shapes import Rejected
from streamnet.daemon.shapes import Residuals
from streamnet.daemon.shapes import Status
from streamnet.daemon.uploading import model_of
from streamnet.daemon.uploading import settings_of
from streamnet.errors import ConflictError
from streamnet.settings_daemon import ModelSettings
from streamnet.settings_daemon import model_settings

__all__ = ("OPERATIONS",)

_ONE = "/v1/models/{name}"
_FORMATS = {"safetensors": "application/octet-stream", "json": "application/json"}
_PIECE = 1 << 18  # bytes of a file that are read at a time
_DEEPEST = 8  # tables within tables of a model's settings
_TABLES = msgspec.json.Decoder(dict[str, Any])
_CREATE = msgspec.json.Decoder(CreateRequest)


async def _list(_: Request, service: Service) -> Response:
    models = sorted(service.registry.models.items())
    return replied([_shaped(hosted.status(), ModelLine) for _, hosted in models])


async def _create(request: Request, service: Service) -> Response:
    body = decoded(await body_of(request, service.limits), _CREATE)
    _check_depth(body.settings)
    return _made(request, await service.registry.create(body.name, model_settings(body.settings)))


async def _upload(request: Request, service: Service) -> Response:
    name, registry = request.path_params["name"], service.registry
    suffix = _suffix_of(request)
    values = _tables_of(request)
    if name in registry.models:  # before its file is read
        raise ConflictError(f"there is a model {name} already")
    with service.batch():
        data = await body_of(request, service.limits, service.limits.model)
        settings = await run_sync(_settings_of, data, suffix, values, limiter=service.worker)
        hosted = await registry.create(name, settings, (suffix, data))
    return _made(request, hosted)


def _tables_of(request: Request) -> dict[str, Any]:
    """The settings that stand in the address, since the body is a file."""
    try:
        values = _TABLES.decode(request.query_params.get("settings", "{}"))
    except (msgspec.DecodeError, RecursionError) as error:
        raise refusal(422, f"settings is no JSON object: {error}") from error
    _check_depth(values)
    return values


def _suffix_of(request: Request) -> str:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    for suffix, media in _FORMATS.items():
        if media == kind:
            return f".{suffix}"
    raise refusal(415, f"Content-Type must be {' or '.join(_FORMATS.values())}")


def _settings_of(data: bytes, suffix: str, values: dict[str, Any]) -> ModelSettings:
    return settings_of(values, model_of(data, suffix))


def _made(request: Request, hosted: Hosted) -> Response:
    response = replied(_status(hosted), 201)
    response.headers["location"] = request.url_for("model", name=hosted.name).path
    return response


async def _look(request: Request, service: Service) -> Response:
    return replied(_status(service.model(request)))


async def _delete(request: Request, service: Service) -> Response:
    await service.registry.delete(service.model(request).name)
    return Response(status_code=204)


def _change(verb: Callable[[Hosted], Awaitable[None]]) -> Endpoint:
    async def change(request: Request, service: Service) -> Response:
        hosted = service.model(request)
        await verb(hosted)
        return replied(_status(hosted))

    return change


def _told(ask: Callable[[Hosted], Any], shape: Any) -> Endpoint:
    async def tell(request: Request, service: Service) -> Response:
        hosted = service.model(request)
        told = ask(hosted)
        if told is None:
            raise _nothing_yet(hosted)
        return replied(_shaped(told, shape))

    return tell


async def _confusion(request: Request, service: Service) -> Response:
    hosted = service.model(request)
    if (matrix := hosted.confusion()) is not None:
        return replied(_shaped(matrix, Confusion))
    if (histogram := hosted.residuals()) is not None:
        return replied(_shaped(histogram, Residuals))
    raise _nothing_yet(hosted)


def _nothing_yet(hosted: Hosted) -> HTTPException:
    what = "is being taken up" if hosted.state == "starting" else "has not learned anything yet"
    return refusal(503, f"the model {what}", retry_after="1")


async def _download(request: Request, service: Service) -> Response:
    hosted = service.model(request)
    suffix = request.query_params.get("format", "safetensors")
    if suffix not in _FORMATS:
        raise refusal(422, f"format must be {' or '.join(_FORMATS)}")
    data = await run_sync(hosted.model_bytes, f".{suffix}", limiter=service.worker)
    name = f'attachment; filename="{hosted.name}.{suffix}"'
    return Response(data, headers={"content-disposition": name}, media_type=_FORMATS[suffix])


async def _dead_letters(request: Request, service: Service) -> Response:
    pieces = _lines_in(service.model(request).dead_letters)
    return StreamingResponse(pieces, media_type=NDJSON)


async def _lines_in(path: Path) -> AsyncIterator[bytes]:
    """Whole lines of a file that may grow meanwhile: those that are there now."""
    try:
        file = await anyio.open_file(path, "rb")
    except FileNotFoundError:
        return
    async with file:
        left = (await anyio.Path(path).stat()).st_size
        rest = b""
        while left and (piece := await file.read(min(left, _PIECE))):
            left -= len(piece)
            whole, newline, rest = (rest + piece).rpartition(b"\n")
            yield whole + newline


def _status(hosted: Hosted) -> Status:
    status: Status = _shaped(hosted.status(), Status)
    return status


def _shaped(told: Any, shape: Any) -> Any:
    """What a model tells of itself, held against the shape that was promised."""
    return msgspec.convert(told, shape, from_attributes=True)


def _check_depth(settings: dict[str, Any]) -> None:
    if _is_deeper(settings, _DEEPEST):
        raise refusal(422, f"settings are nested too deeply, but may be {_DEEPEST} deep")


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether values lie in each other more than so many levels deep."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels == 0 or any(_is_deeper(part, levels - 1) for part in parts)


def _on_one(
    name: str, verb: str, rest: str, scope: Scope, endpoint: Endpoint, summary: str, **more: Any
) -> Operation:
    return Operation(name, verb, _ONE + rest, scope, endpoint, summary, **more)


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
    _on_one(
        "upload",
        "PUT",
        "/model",
        Scope.ADMIN,
        _upload,
        "Make a new model that goes on with a model file, and answers from the start",
        upload=tuple(_FORMATS.values()),
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
    _on_one("model", "GET", "", Scope.READ, _look, "Where a model stands", reply=Status),
    _on_one(
        "delete",
        "DELETE",
        "",
        Scope.ADMIN,
        _delete,
        "Delete a model and its state",
        status=204,
        errors=(409,),
    ),
    _on_one(
        "pause",
        "POST",
        "/pause",
        Scope.ADMIN,
        _change(lambda hosted: hosted.pause()),
        "Learn no more for now; samples are accepted until too many wait",
        reply=Status,
        errors=(409, 507),
    ),
    _on_one(
        "resume",
        "POST",
        "/resume",
        Scope.ADMIN,
        _change(lambda hosted: hosted.resume()),
        "Learn on",
        reply=Status,
        errors=(409, 507),
    ),
    _on_one(
        "reset",
        "POST",
        "/reset",
        Scope.ADMIN,
        _change(lambda hosted: hosted.reset()),
        "Forget everything and begin anew; the old state is moved aside",
        reply=Status,
        errors=(409, 507),
    ),
    _on_one(
        "champion",
        "GET",
        "/champion",
        Scope.READ,
        _told(lambda hosted: hosted.champion(), Champion),
        "The model that answers now, and the columns that it reads",
        reply=Champion,
    ),
    _on_one(
        "leaders",
        "GET",
        "/leaders",
        Scope.READ,
        _told(lambda hosted: hosted.leaders(), list[CandidateLine]),
        "All candidates, the best first",
        reply=list[CandidateLine],
    ),
    _on_one(
        "history",
        "GET",
        "/history",
        Scope.READ,
        _told(lambda hosted: hosted.history(), History),
        "The score over time beside the baselines, with changes of the champion and drifts",
        reply=History,
    ),
    _on_one(
        "confusion",
        "GET",
        "/confusion",
        Scope.READ,
        _confusion,
        "The confusion matrix of labels, or a histogram of the residuals of numbers",
        reply=Confusion | Residuals,
    ),
    _on_one(
        "rejected",
        "GET",
        "/rejected",
        Scope.READ,
        _told(lambda hosted: hosted.rejected(), Rejected),
        "How many records were rejected, why, and the last of them",
        reply=Rejected,
    ),
    _on_one(
        "dead_letters",
        "GET",
        "/dead-letters",
        Scope.READ,
        _dead_letters,
        "All rejected records that are kept, a line for each",
        media=(NDJSON,),
    ),
    _on_one(
        "download",
        "GET",
        "/model",
        Scope.READ,
        _download,
        "The model as a file, which streamnet.Model.load reads",
        media=tuple(_FORMATS.values()),
        parameters=(
            Parameter(
                "format",
                {"enum": list(_FORMATS), "default": "safetensors"},
                "Format of the file.",
            ),
        ),
    ),
)
