"""Predictions: few at once, many in slices that let others pass, with an id, explained."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from itertools import islice
from typing import Any
from typing import final

import msgspec
import numpy as np
from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive
from starlette.types import Scope as AsgiScope
from starlette.types import Send

from streamnet.daemon.access import Scope
from streamnet.daemon.ahead import cut
from streamnet.daemon.ahead import reading_ahead
from streamnet.daemon.answers import Answer
from streamnet.daemon.answers import Predictions
from streamnet.daemon.bodies import NDJSON
from streamnet.daemon.bodies import body_of
from streamnet.daemon.bodies import decoded
from streamnet.daemon.bodies import is_lines
from streamnet.daemon.bodies import lines_of
from streamnet.daemon.explaining import explanations
from streamnet.daemon.hosted import Hosted
from streamnet.daemon.line_blocks import block_of
from streamnet.daemon.operations import Operation
from streamnet.daemon.operations import replied
from streamnet.daemon.problems import refusal
from streamnet.daemon.service import Service
from streamnet.daemon.shapes import AnswerLine
from streamnet.daemon.shapes import Answers
from streamnet.daemon.shapes import PredictRequest
from streamnet.errors import SampleError
from streamnet.samples import Block
from streamnet.samples import Sample

__all__ = ("OPERATIONS",)

_FEW = 32  # samples of a request that are answered in the event loop: a thread takes longer
_SLICE = 1 << 17  # bytes of lines that a thread answers before it lets others pass
_AHEAD = 2  # slices that are read while one is answered
_MOST_COVERED = 20_000  # samples that explaining a request may ask the model for
_MOST_SHARES = 1 << 20  # shares of labels, for all samples that are answered at a time
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_PREDICT = msgspec.json.Decoder(PredictRequest)
_SAMPLES = msgspec.json.Decoder(dict[str, Any])
_ENCODER = msgspec.json.Encoder()


async def _predict(request: Request, service: Service) -> Response:
    hosted = service.model(request)
    if is_lines(request):
        return await _predict_lines(request, service, hosted)
    body = decoded(await body_of(request, service.limits), _PREDICT)
    samples, ids = body.rows(), body.identities()
    if len(samples) > _rows_at_once(hosted):
        rule = f"{len(samples)} samples need more than {_MOST_SHARES} shares of labels"
        raise refusal(422, f"{rule}: send them as lines, or fewer at a time")
    if body.explain:
        _check_explainable(samples)
    if len(samples) <= _FEW:
        said = await service.together(hosted).predict(samples)
    else:
        said = await run_sync(hosted.predict, samples, limiter=service.worker)
    answers = _answers(said)
    if ids is not None:
        kept = await hosted.remember(ids, samples, said)
        answers = _remembered(kept, said)
    if said.shares is None:
        answers.intervals = _intervals(answers, service.interval(hosted, said.generation))
    if body.explain:
        answers.explanations = await _explained(service, hosted, samples, said)
    return replied(answers)


def _answers(said: Predictions) -> Answers:
    count = len(said.values)
    return Answers(
        answers=said.values.tolist(),  # NaN is written as null
        generations=[said.generation] * count,
        labels=None if said.shares is None else list(said.labels),
        probabilities=None if said.shares is None else said.shares.tolist(),
    )


def _intervals(
    answers: Answers, ends: tuple[float, float] | None
) -> list[list[float | None]] | None:
    if ends is None:
        return None
    low, high = ends
    return [
        [answer + low, answer + high] if isinstance(answer, float) else [None, None]
        for answer in answers.answers
    ]


def _remembered(kept: Sequence[Answer], said: Predictions) -> Answers:
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
    if covered > _MOST_COVERED:
        rule = f"explain needs {covered} answers, but may need <= {_MOST_COVERED}"
        raise refusal(422, f"{rule}: send fewer samples at a time")


async def _explained(
    service: Service, hosted: Hosted, samples: Sequence[Sample], said: Predictions
) -> list[dict[str, float]]:
    predict = partial(hosted.predict, counts=False)
    return await run_sync(explanations, predict, samples, said, limiter=service.worker)


async def _predict_lines(request: Request, service: Service, hosted: Hosted) -> Response:
    with ExitStack() as place:
        place.enter_context(service.batch())
        answers = await _all_answers(request, service, hosted)
        return _Placed(answers, place.pop_all())


async def _all_answers(request: Request, service: Service, hosted: Hosted) -> bytes:
    parts: list[bytes] = []
    before = size = 0
    lines = lines_of(request, service.limits, service.limits.lines)
    async with reading_ahead(cut(lines, _SLICE), _AHEAD, service.until_it_stops()) as ahead:
        async for part in ahead:
            work = partial(_answer_lines, hosted, part, before)
            text = await run_sync(work, limiter=service.worker)
            parts.append(text)
            before += part.count(b"\n")
            size += len(text)
            if size > service.limits.lines:  # an answer may be longer than its line
                many = f"the answers to {before} lines have more than {service.limits.lines} bytes"
                raise refusal(413, f"{many}: send fewer at a time", connection="close")
    return b"".join(parts)


@final
class _Placed(Response):
    """Answers that keep their place among the large bodies until they are sent."""

    def __init__(self, answers: bytes, place: ExitStack) -> None:
        super().__init__(answers, media_type=NDJSON)
        self._place = place

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        with self._place:
            await super().__call__(scope, receive, send)


def _answer_lines(hosted: Hosted, lines: bytes, before: int) -> bytes:
    """Answers to some lines, behind so many others."""
    samples = block_of(lines, hosted.fields) or _samples_of(lines, before)
    count, rows = len(samples), _rows_at_once(hosted)
    texts = []
    for at in range(0, count, rows):
        try:
            texts.append(_answered(hosted, _part(samples, at, min(at + rows, count))))
        except SampleError as error:
            line = before + _line_of(lines, at + error.number)
            raise refusal(422, f"line {line}: {error.detail}") from error
    return b"".join(texts)


def _line_of(lines: bytes, number: int) -> int:
    """On which line a sample stands, from 1: blank ones hold none."""
    places = (place for place, line in enumerate(lines.split(b"\n"), 1) if line.strip())
    return next(islice(places, number, None), lines.count(b"\n"))


def _rows_at_once(hosted: Hosted) -> int:
    """Samples whose shares of all labels may be held at a time."""
    return max(1, _MOST_SHARES // max(1, len(hosted.known_labels)))


def _part(samples: Block | Sequence[Sample], start: int, stop: int) -> Block | Sequence[Sample]:
    return samples.part(start, stop) if isinstance(samples, Block) else samples[start:stop]


def _answered(hosted: Hosted, samples: Block | Sequence[Sample]) -> bytes:
    said = hosted.predict(samples)
    values = said.values.tolist()
    if said.shares is None:
        answers = [AnswerLine(value) for value in values]
    else:
        highest = np.max(said.shares, axis=1, initial=0.0).tolist()
        answers = list(map(AnswerLine, values, highest))
    return _ENCODER.encode_lines(answers)


def _samples_of(lines: bytes, before: int) -> list[dict[str, Any]]:
    try:
        return _SAMPLES.decode_lines(lines)
    except _UNREADABLE:
        return _one_by_one(lines, before)  # which finds the line


def _one_by_one(lines: bytes, before: int) -> list[dict[str, Any]]:
    samples = []
    for place, line in enumerate(lines.split(b"\n"), before + 1):
        try:
            samples += _SAMPLES.decode_lines(line)
        except _UNREADABLE as error:
            raise refusal(422, f"line {place} is no sample: {error}") from error
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
