"""Routes for samples and labels to learn from."""

from __future__ import annotations

import re
from typing import final

import anyio
import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from streamnet.client.operations import KEY_PATTERN, MAX_KEY_LENGTH
from streamnet.client.schemas import LabelsReply, LabelsRequest, LearnRequest, Receipt
from streamnet.daemon.hosting.hosted_model import HostedModel
from streamnet.daemon.http.bodies import (
    decode_body,
    is_ndjson,
    prefetch,
    read_body,
    read_lines,
    split_lines,
)
from streamnet.daemon.http.responses import error_response, http_error
from streamnet.daemon.http.service import Endpoint, Service, json_response
from streamnet.daemon.journal.delayed_labels import SentLabel
from streamnet.daemon.journal.frames import build_part_key
from streamnet.errors import BusyError, StreamnetError

# Bytes of a stream that share a key. Where a stream is cut must not depend on how it arrived, or a
# retry would be a different stream.
_PART_BYTES = 1 << 18
_PREFETCHED_PIECES = 8
_MAX_WAIT_SECONDS = 30.0  # that a stream waits for space in the queue before it is refused
_MIN_RETRY_DELAY = 0.02  # seconds
_LEARN_DECODER = msgspec.json.Decoder(LearnRequest)
_LABELS_DECODER = msgspec.json.Decoder(LabelsRequest)


async def _learn(request: Request, service: Service) -> Response:
    hosted, durable, key = service.model(request), is_durable(request), _read_key(request)
    if is_ndjson(request):
        return await _learn_stream(request, service, hosted, durable=durable, key=key)
    body = decode_body(await read_body(request, service.limits), _LEARN_DECODER)
    receipt = await hosted.learn(body.rows(), key=key, durable=durable)
    return json_response(receipt, 200 if durable else 202)


async def _learn_stream(
    request: Request, service: Service, hosted: HostedModel, *, durable: bool, key: str | None
) -> Response:
    lines = read_lines(request, service.limits)
    parts = lines if key is None else split_lines(lines, _PART_BYTES)
    intake = _StreamIntake(hosted, key, durable=durable)
    try:
        # Pieces are read ahead while the disk is busy.
        async with prefetch(parts, _PREFETCHED_PIECES, service.build_stop_condition()) as ahead:
            async for part in ahead:
                await intake.take(ahead.drain(part) if key is None else part)
    except (HTTPException, StreamnetError) as error:
        return error_response(error, intake.receipt, intake.describe_resumption())
    return json_response(intake.receipt, 200 if durable else 202)


@final
class _StreamIntake:
    """Takes a stream's parts; while the queue is full it waits, and the sender with it."""

    def __init__(self, hosted: HostedModel, key: str | None, *, durable: bool) -> None:
        self._hosted = hosted
        self._key = key
        self._durable = durable
        self._parts = self._duplicates = 0
        self._lines = 0  # including blank ones
        self.receipt = Receipt(0)  # of all parts so far

    async def take(self, part: bytes) -> None:
        key = None if self._key is None else build_part_key(self._key, self._parts)
        receipt = await self._take_with_retry(part, key)
        self._parts += 1
        self._lines += part.count(b"\n")
        self._duplicates += receipt.duplicate
        total = self.receipt
        total.accepted += receipt.accepted
        total.rejected += receipt.rejected
        total.duplicate = self._duplicates == self._parts
        total.first = receipt.first if total.first is None else total.first
        total.last = total.last if receipt.last is None else receipt.last

    async def _take_with_retry(self, part: bytes, key: str | None) -> Receipt:
        deadline = anyio.current_time() + _MAX_WAIT_SECONDS
        while True:
            try:
                return await self._hosted.learn(part, key=key, durable=self._durable)
            except BusyError as error:
                if anyio.current_time() > deadline:
                    raise
                await anyio.sleep(min(max(error.retry_after, _MIN_RETRY_DELAY), 1.0))

    def describe_resumption(self) -> str:
        """Where to resume after the parts so far, in words."""
        if not self._lines:
            return ""
        accepted = f"{self.receipt.accepted} samples before it were accepted"
        return f"; {accepted}, resume at line {self._lines + 1}"


async def _label(request: Request, service: Service) -> Response:
    hosted, durable = service.model(request), is_durable(request)
    body = decode_body(await read_body(request, service.limits), _LABELS_DECODER)
    labels = [SentLabel(str(line.id), line.label, line.weight) for line in body.labels]
    outcomes = await hosted.label(labels, durable=durable)
    return json_response(LabelsReply(outcomes), 200 if durable else 202)


def is_durable(request: Request) -> bool:
    """Whether to respond once the data is on the disk; raises 422 if ``ack`` is unknown."""
    ack = request.query_params.get("ack", "durable")
    if ack not in ("durable", "queued"):
        raise http_error(422, "ack must be durable or queued")
    return ack == "durable"


def _read_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not (len(key) <= MAX_KEY_LENGTH and re.fullmatch(KEY_PATTERN, key)):
        rule = f"1 to {MAX_KEY_LENGTH} visible ASCII characters"
        raise http_error(422, f"Idempotency-Key must be {rule}")
    return key


ENDPOINTS: dict[str, Endpoint] = {"learn": _learn, "label": _label}
