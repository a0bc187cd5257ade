"""Routes for samples and labels to learn from."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import final

import anyio
import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from streamnet.client.schemas import LabelsReply, LabelsRequest, LearnRequest, Receipt
from streamnet.daemon.hosting.hosted_model import HostedModel
from streamnet.daemon.http.access import Scope
from streamnet.daemon.http.bodies import (
    decode_body,
    is_ndjson,
    prefetch,
    read_body,
    read_lines,
    split_lines,
)
from streamnet.daemon.http.operations import Operation, Parameter, Service, json_response
from streamnet.daemon.http.responses import error_response, http_error
from streamnet.daemon.journal.frames import build_part_key
from streamnet.daemon.predictions import Receipt as Taken
from streamnet.errors import BusyError, StreamnetError

__all__ = ("OPERATIONS",)

_PART_BYTES = (
    1 << 18
)  # bytes of lines that are taken with one key: where they are cut must not depend
# on how they came, or a stream that is sent again would be another one
_PREFETCHED_PIECES = 8  # pieces of a stream that are read before the ones before them are taken
_MAX_KEY_LENGTH = 200
_KEY_PATTERN = "[!-~]+"  # characters of a key
_MAX_WAIT_SECONDS = 30.0  # seconds that a stream waits for room before it is told to come again
_MIN_RETRY_DELAY = 0.02  # seconds between two tries
_Failure = HTTPException | StreamnetError | ClientDisconnect
_LEARN_DECODER = msgspec.json.Decoder(LearnRequest)
_LABELS_DECODER = msgspec.json.Decoder(LabelsRequest)
_ACK_PARAMETER = Parameter(
    "ack",
    {"enum": ["durable", "queued"], "default": "durable"},
    "Whether the answer waits until it is safe on the disk, or only until it is taken.",
)
_KEY_PARAMETER = Parameter(
    "Idempotency-Key",
    {
        "type": "string",
        "minLength": 1,
        "maxLength": _MAX_KEY_LENGTH,
        "pattern": f"^{_KEY_PATTERN}$",
    },
    "The same key again, with the same body, learns nothing twice.",
    "header",
)


async def _learn(request: Request, service: Service) -> Response:
    hosted, durable, key = service.model(request), _is_durable(request), _read_key(request)
    if is_ndjson(request):
        return await _learn_stream(request, service, hosted, durable=durable, key=key)
    body = decode_body(await read_body(request, service.limits), _LEARN_DECODER)
    taken = await hosted.learn(body.rows(), key=key, durable=durable)
    return json_response(Receipt(*taken), 200 if durable else 202)


async def _learn_stream(
    request: Request, service: Service, hosted: HostedModel, *, durable: bool, key: str | None
) -> Response:
    lines = read_lines(request, service.limits)
    taking = _StreamIntake(hosted, key, durable=durable)
    failure = await _take_pieces(
        lines if key is None else split_lines(lines, _PART_BYTES),
        taking,
        service.build_stop_condition(),
        joined=key is None,
    )
    if isinstance(failure, ClientDisconnect):
        raise failure
    if failure is not None:
        return error_response(failure, taking.receipt(), taking.describe_resumption())
    return json_response(taking.receipt(), 200 if durable else 202)


async def _take_pieces(
    parts: AsyncIterator[bytes],
    taking: _StreamIntake,
    until: tuple[anyio.Event, HTTPException],
    *,
    joined: bool,
) -> _Failure | None:
    """Read ahead while the disk is waited for; what has come meanwhile is taken at once.

    Returns:
        What ended it early; what had been read before that is taken.
    """
    try:
        async with prefetch(parts, _PREFETCHED_PIECES, until) as ahead:
            async for part in ahead:
                await taking.take(ahead.drain(part) if joined else part)
    except (HTTPException, StreamnetError, ClientDisconnect) as error:
        return error
    return None


@final
class _StreamIntake:
    """Takes the parts of a stream, and waits where there is no room: so its sender waits, too."""

    def __init__(self, hosted: HostedModel, key: str | None, *, durable: bool) -> None:
        self._hosted = hosted
        self._key = key
        self._durable = durable
        self._parts = self._accepted = self._rejected = self._duplicates = 0
        self._lines = 0  # which may be blank
        self._first: int | None = None
        self._last: int | None = None

    async def take(self, part: bytes) -> None:
        key = None if self._key is None else build_part_key(self._key, self._parts)
        taken = await self._take_with_retry(part, key)
        self._parts += 1
        self._lines += part.count(b"\n")
        self._accepted += taken.accepted
        self._rejected += taken.rejected
        self._duplicates += taken.duplicate
        self._first = taken.first if self._first is None else self._first
        self._last = self._last if taken.last is None else taken.last

    async def _take_with_retry(self, part: bytes, key: str | None) -> Taken:
        deadline = anyio.current_time() + _MAX_WAIT_SECONDS
        while True:
            try:
                return await self._hosted.learn(part, key=key, durable=self._durable)
            except BusyError as error:
                if anyio.current_time() > deadline:
                    raise
                await anyio.sleep(min(max(error.retry_after, _MIN_RETRY_DELAY), 1.0))

    def receipt(self) -> Receipt:
        """Of all parts so far."""
        duplicate = 0 < self._duplicates == self._parts
        return Receipt(self._accepted, self._rejected, duplicate, self._first, self._last)

    def describe_resumption(self) -> str:
        """How to go on behind the parts so far, in words."""
        if not self._lines:
            return ""
        taken = f"{self._accepted} samples before it were accepted"
        return f"; {taken}, go on at line {self._lines + 1}"


async def _label(request: Request, service: Service) -> Response:
    hosted, durable = service.model(request), _is_durable(request)
    body = decode_body(await read_body(request, service.limits), _LABELS_DECODER)
    pairs = [(line.id, line.label) for line in body.labels]
    outcomes = await hosted.label(pairs, durable=durable)
    return json_response(
        LabelsReply([outcome.value for outcome in outcomes]), 200 if durable else 202
    )


def _is_durable(request: Request) -> bool:
    ack = request.query_params.get("ack", "durable")
    if ack not in ("durable", "queued"):
        raise http_error(422, "ack must be durable or queued")
    return ack == "durable"


def _read_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not (len(key) <= _MAX_KEY_LENGTH and re.fullmatch(_KEY_PATTERN, key)):
        rule = f"1 to {_MAX_KEY_LENGTH} visible characters of ASCII"
        raise http_error(422, f"Idempotency-Key must be {rule}")
    return key


OPERATIONS = (
    Operation(
        name="learn",
        method="POST",
        path="/v1/models/{name}/samples",
        scope=Scope.LEARN,
        endpoint=_learn,
        summary="Learn samples: one, many, or a stream of lines, read as fast as there is room",
        request=LearnRequest,
        reply=Receipt,
        lines="A sample a line, of any number.",
        parameters=(_ACK_PARAMETER, _KEY_PARAMETER),
        errors=(409, 507),
    ),
    Operation(
        name="label",
        method="POST",
        path="/v1/models/{name}/labels",
        scope=Scope.LEARN,
        endpoint=_label,
        summary="Tell the truth for predictions that were made with an id",
        request=LabelsRequest,
        reply=LabelsReply,
        parameters=(_ACK_PARAMETER,),
        errors=(409, 507),
    ),
)
