"""Routes for predictions: small requests inline, large ones in slices in a worker thread."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from itertools import islice
from typing import Any, final

import msgspec
import numpy as np
from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from streamnet.client.schemas import AnswerLine, Answers, PredictRequest
from streamnet.daemon.hosting.hosted_model import HostedModel
from streamnet.daemon.http.access import Scope
from streamnet.daemon.http.bodies import (
    NDJSON,
    decode_block,
    decode_body,
    is_ndjson,
    prefetch,
    read_body,
    read_lines,
    split_lines,
)
from streamnet.daemon.http.operations import Operation, Service, json_response
from streamnet.daemon.http.responses import http_error
from streamnet.daemon.predictions import Answer, Predictions, explanations
from streamnet.errors import SampleError
from streamnet.samples import Block, Sample

__all__ = ("OPERATIONS",)

_MAX_INLINE_SAMPLES = (
    32  # samples of a request that are answered in the event loop: a thread takes longer
)
_SLICE_BYTES = 1 << 17  # bytes of lines that a thread answers before it lets others pass
_PREFETCHED_SLICES = 2  # slices that are read while one is answered
_MAX_OCCLUSIONS = 20_000  # samples that explaining a request may ask the model for
_MAX_PROBABILITIES = 1 << 20  # shares of labels, for all samples that are answered at a time
_DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_PREDICT_DECODER = msgspec.json.Decoder(PredictRequest)
_SAMPLE_DECODER = msgspec.json.Decoder(dict[str, Any])
_ENCODER = msgspec.json.Encoder()


async def _predict(request: Request, service: Service) -> Response:
    hosted = service.model(request)
    if is_ndjson(request):
        return await _predict_lines(request, service, hosted)
    body = decode_body(await read_body(request, service.limits), _PREDICT_DECODER)
    samples, ids = body.rows(), body.identities()
    if len(samples) > _count_rows_at_once(hosted):
        rule = f"{len(samples)} samples need more than {_MAX_PROBABILITIES} shares of labels"
        raise http_error(422, f"{rule}: send them as lines, or fewer at a time")
    if body.explain:
        _check_explainable(samples)
    if len(samples) <= _MAX_INLINE_SAMPLES:
        said = await service.together(hosted).predict(samples)
    else:
        said = await run_sync(hosted.predict, samples, limiter=service.worker)
    answers = _build_answers(said)
    if ids is not None:
        kept = await hosted.remember(ids, samples, said)
        answers = _build_remembered(kept, said)
    if said.shares is None:
        answers.intervals = _build_intervals(answers, service.interval(hosted, said.generation))
    if body.explain:
        answers.explanations = await _explain(service, hosted, samples, said)
    return json_response(answers)


def _build_answers(said: Predictions) -> Answers:
    count = len(said.values)
    return Answers(
        answers=said.values.tolist(),  # NaN is written as null
        generations=[said.generation] * count,
        labels=None if said.shares is None else list(said.labels),
        probabilities=None if said.shares is None else said.shares.tolist(),
    )


def _build_intervals(
    answers: Answers, ends: tuple[float, float] | None
) -> list[list[float | None]] | None:
    if ends is None:
        return None
    low, high = ends
    return [
        [answer + low, answer + high] if isinstance(answer, float) else [None, None]
        for answer in answers.answers
    ]


def _build_remembered(kept: Sequence[Answer], said: Predictions) -> Answers:
    """Answers as they are kept, which may be those of another time and of fewer labels."""
    answers = Answers([answer.value for answer in kept], [answer.generation for answer in kept])
    if said.shares is not None:
        labels = list(said.labels)
        labels += sorted({name for a in kept for name in a.shares or ()} - set(labels))
        answers.labels = labels
        answers.probabilities = [
            [None if a.shares is None else a.shares.get(name, 0.0) for name in labels] for a in kept
        ]
    return answers


def _check_explainable(samples: Sequence[Sample]) -> None:
    covered = sum(map(len, samples))
    if covered > _MAX_OCCLUSIONS:
        rule = f"explain needs {covered} answers, but may need <= {_MAX_OCCLUSIONS}"
        raise http_error(422, f"{rule}: send fewer samples at a time")


async def _explain(
    service: Service, hosted: HostedModel, samples: Sequence[Sample], said: Predictions
) -> list[dict[str, float]]:
    predict = partial(hosted.predict, counts=False)
    return await run_sync(explanations, predict, samples, said, limiter=service.worker)


async def _predict_lines(request: Request, service: Service, hosted: HostedModel) -> Response:
    with ExitStack() as place:
        place.enter_context(service.batch())
        answers = await _answer_slices(request, service, hosted)
        return _SlotResponse(answers, place.pop_all())


async def _answer_slices(request: Request, service: Service, hosted: HostedModel) -> bytes:
    parts: list[bytes] = []
    before = size = 0
    lines = read_lines(request, service.limits, service.limits.lines)
    async with prefetch(
        split_lines(lines, _SLICE_BYTES), _PREFETCHED_SLICES, service.build_stop_condition()
    ) as ahead:
        async for part in ahead:
            work = partial(_answer_slice, hosted, part, before)
            text = await run_sync(work, limiter=service.worker)
            parts.append(text)
            before += part.count(b"\n")
            size += len(text)
            if size > service.limits.lines:  # an answer may be longer than its line
                many = f"the answers to {before} lines have more than {service.limits.lines} bytes"
                raise http_error(413, f"{many}: send fewer at a time", connection="close")
    return b"".join(parts)


@final
class _SlotResponse(Response):
    """Answers that keep their place among the large bodies until they are sent."""

    def __init__(self, answers: bytes, place: ExitStack) -> None:
        super().__init__(answers, media_type=NDJSON)
        self._place = place

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        with self._place:
            await super().__call__(scope, receive, send)


def _answer_slice(hosted: HostedModel, lines: bytes, before: int) -> bytes:
    """Answers to some lines, behind so many others."""
    samples = decode_block(lines, hosted.fields) or _decode_samples(lines, before)
    count, rows = len(samples), _count_rows_at_once(hosted)
    texts = []
    for at in range(0, count, rows):
        try:
            texts.append(_encode_answers(hosted, _slice(samples, at, min(at + rows, count))))
        except SampleError as error:
            line = before + _find_line(lines, at + error.number)
            raise http_error(422, f"line {line}: {error.detail}") from error
    return b"".join(texts)


def _find_line(lines: bytes, number: int) -> int:
    """On which line a sample stands, from 1: blank ones hold none."""
    places = (place for place, line in enumerate(lines.split(b"\n"), 1) if line.strip())
    return next(islice(places, number, None), lines.count(b"\n"))


def _count_rows_at_once(hosted: HostedModel) -> int:
    """Samples whose shares of all labels may be held at a time."""
    return max(1, _MAX_PROBABILITIES // max(1, len(hosted.known_labels)))


def _slice(samples: Block | Sequence[Sample], start: int, stop: int) -> Block | Sequence[Sample]:
    return samples.part(start, stop) if isinstance(samples, Block) else samples[start:stop]


def _encode_answers(hosted: HostedModel, samples: Block | Sequence[Sample]) -> bytes:
    said = hosted.predict(samples)
    values = said.values.tolist()
    if said.shares is None:
        answers = [AnswerLine(value) for value in values]
    else:
        highest = np.max(said.shares, axis=1, initial=0.0).tolist()
        answers = list(map(AnswerLine, values, highest))
    return _ENCODER.encode_lines(answers)


def _decode_samples(lines: bytes, before: int) -> list[dict[str, Any]]:
    try:
        return _SAMPLE_DECODER.decode_lines(lines)
    except _DECODE_ERRORS:
        return _decode_line_by_line(lines, before)  # which finds the line


def _decode_line_by_line(lines: bytes, before: int) -> list[dict[str, Any]]:
    samples = []
    for place, line in enumerate(lines.split(b"\n"), before + 1):
        try:
            samples += _SAMPLE_DECODER.decode_lines(line)
        except _DECODE_ERRORS as error:
            raise http_error(422, f"line {place} is no sample: {error}") from error
    return samples


OPERATIONS = (
    Operation(
        name="predict",
        method="POST",
        path="/v1/models/{name}/predict",
        scope=Scope.PREDICT,
        endpoint=_predict,
        summary="Answer samples at once; with an id, an answer is remembered until its label comes",
        request=PredictRequest,
        reply=Answers,
        lines="A sample a line; a line comes back for each, with its answer and probability.",
        media=(NDJSON,),
        errors=(409, 507),
    ),
)
