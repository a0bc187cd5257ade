"""Samples and labels: what a model learns from."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import final

import anyio
import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request
from starlette.responses import Response

from streamnet.daemon.access import Scope
from streamnet.daemon.ahead import cut
from streamnet.daemon.ahead import reading_ahead
from streamnet.daemon.answers import Receipt as Taken
from streamnet.daemon.bodies import body_of
from streamnet.daemon.bodies import decoded
from streamnet.daemon.bodies import is_lines
from streamnet.daemon.bodies import lines_of
from streamnet.daemon.hosted import Hosted
from streamnet.daemon.keys import part_of
from streamnet.daemon.operations import Operation
from streamnet.daemon.operations import Parameter
from streamnet.daemon.operations import replied
from streamnet.daemon.problems import problem_of
from streamnet.daemon.problems import refusal
from streamnet.daemon.service import Service
from streamnet.daemon.shapes import LabelsReply
from streamnet.daemon.shapes import LabelsRequest
from streamnet.daemon.shapes import LearnRequest
from streamnet.daemon.shapes import Receipt
from streamnet.errors import BusyError
from streamnet.errors import StreamnetError

__all__ = ("OPERATIONS",)

_PART = 1 << 18  # bytes of lines that are taken with one key: where they are cut must not depend
# on how they came, or a stream that is sent again would be another one
_AHEAD = 8  # pieces of a stream that are read before the ones before them are taken
_LONGEST_KEY = 200
_VISIBLE = "[!-~]+"  # characters of a key
_PATIENCE = 30.0  # seconds that a stream waits for room before it is told to come again
_SOONEST = 0.02  # seconds between two tries
_Failure = HTTPException | StreamnetError | ClientDisconnect
_LEARN = msgspec.json.Decoder(LearnRequest)
_LABELS = msgspec.json.Decoder(LabelsRequest)
_ACK = Parameter(
    "ack",
    {"enum": ["durable", "queued"], "default": "durable"},
    "Whether the answer waits until it is safe on the disk, or only until it is taken.",
)
_KEY = Parameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": _LONGEST_KEY, "pattern": f"^{_VISIBLE}$"},
    "The same key again, with the same body, learns nothing twice.",
    "header",
)


async def _samples(request: Request, service: Service) -> Response:
    hosted, durable, key = service.model(request), _is_durable(request), _key_of(request)
    if is_lines(request):
        return await _stream(request, service, hosted, durable=durable, key=key)
    body = decoded(await body_of(request, service.limits), _LEARN)
    taken = await hosted.learn(body.rows(), key=key, durable=durable)
    return replied(Receipt(*taken), 200 if durable else 202)


async def _stream(
    request: Request, service: Service, hosted: Hosted, *, durable: bool, key: str | None
) -> Response:
    lines = lines_of(request, service.limits)
    taking = _Taking(hosted, key, durable=durable)
    failure = await _take_all(
        lines if key is None else cut(lines, _PART),
        taking,
        service.until_it_stops(),
        joined=key is None,
    )
    if isinstance(failure, ClientDisconnect):
        raise failure
    if failure is not None:
        return problem_of(failure, taking.receipt(), taking.way_on())
    return replied(taking.receipt(), 200 if durable else 202)


async def _take_all(
    parts: AsyncIterator[bytes],
    taking: _Taking,
    until: tuple[anyio.Event, HTTPException],
    *,
    joined: bool,
) -> _Failure | None:
    """Read ahead while the disk is waited for; what has come meanwhile is taken at once.

    Returns:
        What ended it early; what had been read before that is taken.
    """
    try:
        async with reading_ahead(parts, _AHEAD, until) as ahead:
            async for part in ahead:
                await taking.take(ahead.with_more(part) if joined else part)
    except (HTTPException, StreamnetError, ClientDisconnect) as error:
        return error
    return None


@final
class _Taking:
    """Takes the parts of a stream, and waits where there is no room: so its sender waits, too."""

    def __init__(self, hosted: Hosted, key: str | None, *, durable: bool) -> None:
        self._hosted = hosted
        self._key = key
        self._durable = durable
        self._parts = self._accepted = self._rejected = self._duplicates = 0
        self._lines = 0  # which may be blank
        self._first: int | None = None
        self._last: int | None = None

    async def take(self, part: bytes) -> None:
        key = None if self._key is None else part_of(self._key, self._parts)
        taken = await self._patiently(part, key)
        self._parts += 1
        self._lines += part.count(b"\n")
        self._accepted += taken.accepted
        self._rejected += taken.rejected
        self._duplicates += taken.duplicate
        self._first = taken.first if self._first is None else self._first
        self._last = self._last if taken.last is None else taken.last

    async def _patiently(self, part: bytes, key: str | None) -> Taken:
        deadline = anyio.current_time() + _PATIENCE
        while True:
            try:
                return await self._hosted.learn(part, key=key, durable=self._durable)
            except BusyError as error:
                if anyio.current_time() > deadline:
                    raise
                await anyio.sleep(min(max(error.retry_after, _SOONEST), 1.0))

    def receipt(self) -> Receipt:
        """Of all parts so far."""
        duplicate = 0 < self._duplicates == self._parts
        return Receipt(self._accepted, self._rejected, duplicate, self._first, self._last)

    def way_on(self) -> str:
        """How to go on behind the parts so far, in words."""
        if not self._lines:
            return ""
        taken = f"{self._accepted} samples before it were accepted"
        return f"; {taken}, go on at line {self._lines + 1}"


async def _labels(request: Request, service: Service) -> Response:
    hosted, durable = service.model(request), _is_durable(request)
    body = decoded(await body_of(request, service.limits), _LABELS)
    pairs = [(line.id, line.label) for line in body.labels]
    outcomes = await hosted.label(pairs, durable=durable)
    return replied(LabelsReply([outcome.value for outcome in outcomes]), 200 if durable else 202)


def _is_durable(request: Request) -> bool:
    ack = request.query_params.get("ack", "durable")
    if ack not in ("durable", "queued"):
        raise refusal(422, "ack must be durable or queued")
    return ack == "durable"


def _key_of(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not (len(key) <= _LONGEST_KEY and re.fullmatch(_VISIBLE, key)):
        rule = f"1 to {_LONGEST_KEY} visible characters of ASCII"
        raise refusal(422, f"Idempotency-Key must be {rule}")
    return key


OPERATIONS = (
    Operation(
        name="learn",
        method="POST",
        path="/v1/models/{name}/samples",
        scope=Scope.LEARN,
        endpoint=_samples,
        summary="Learn samples: one, many, or a stream of lines, read as fast as there is room",
        request=LearnRequest,
        reply=Receipt,
        lines="A sample a line, of any number.",
        parameters=(_ACK, _KEY),
        errors=(409, 507),
    ),
    Operation(
        name="label",
        method="POST",
        path="/v1/models/{name}/labels",
        scope=Scope.LEARN,
        endpoint=_labels,
        summary="Tell the truth for predictions that were made with an id",
        request=LabelsRequest,
        reply=LabelsReply,
        parameters=(_ACK,),
        errors=(409, 507),
    ),
)
