"""Routes for predictions: small requests inline, large ones in slices in a worker thread."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial
from itertools import islice
from math import isfinite
from typing import Any, final

import msgspec
from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from streamnet.client import schemas
from streamnet.client.operation import NDJSON
from streamnet.daemon.hosting.hosted_model import HostedModel
from streamnet.daemon.http.bodies import (
    decode_block,
    decode_body,
    is_ndjson,
    prefetch,
    read_body,
    read_lines,
    split_lines,
)
from streamnet.daemon.http.responses import MODEL_AGE_HEADER, http_error
from streamnet.daemon.http.service import Endpoint, Service, json_response
from streamnet.daemon.predictions import Predictions, explain_by_occlusion, predict_nothing
from streamnet.daemon.replicas.replica_model import ReplicaModel
from streamnet.errors import SampleError
from streamnet.explanations import MAX_OCCLUSIONS
from streamnet.samples import Block, Prediction, Sample

PredictingModel = HostedModel | ReplicaModel
_MAX_INLINE_SAMPLES = 32  # predicted in the event loop: a thread takes longer
_SLICE_BYTES = 1 << 17  # of lines that a thread predicts before others have their turn
_PREFETCHED_SLICES = 2
_MAX_OCCLUSIONS = 20_000  # predictions needed to explain one request
_MAX_PROBABILITIES = 1 << 20  # samples times labels predicted at a time
_DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_PREDICT_DECODER = msgspec.json.Decoder(schemas.PredictRequest)
_SAMPLE_DECODER = msgspec.json.Decoder(dict[str, Any])
_ENCODER = msgspec.json.Encoder()


async def _predict(request: Request, service: Service) -> Response:
    hosted = service.find_model(request)
    if is_ndjson(request):
        return await _predict_lines(request, service, hosted)
    body = decode_body(await read_body(request, service.limits), _PREDICT_DECODER)
    samples, ids = body.rows(), body.identities()
    keeper = None if ids is None else service.model(request)
    if ids is not None and keeper is not None and keeper.has_learned_nothing:
        return json_response(await _remember_only(keeper, ids, samples))
    if len(samples) > _count_rows_at_once(hosted):
        rule = f"{len(samples)} samples need more than {_MAX_PROBABILITIES} probabilities"
        raise http_error(422, f"{rule}: send them as lines, or fewer at a time")
    if body.explain and (occlusions := _count_occlusions(samples)) > _MAX_OCCLUSIONS:
        rule = f"explain needs {occlusions} predictions, but must need <= {_MAX_OCCLUSIONS}"
        raise http_error(422, f"{rule}: send fewer samples at a time")
    warning = hosted.check_columns(samples)
    if len(samples) <= _MAX_INLINE_SAMPLES:
        predictions = await hosted.microbatcher.predict(samples)
    else:
        predictions = await run_sync(hosted.predict, samples, limiter=service.worker)
    if ids is None or keeper is None:
        response, intervals = _build_response(predictions), predictions.list_intervals()
    else:
        kept = await keeper.remember(ids, samples, predictions)
        response = _build_remembered(kept, predictions)
        intervals = [one.interval for one in kept]
    _add_intervals(response, hosted, predictions, intervals)
    if body.explain:
        work = partial(explain_by_occlusion, samples, predictions)
        response.explanations = await run_sync(work, limiter=service.worker)
    if warning is not None:
        response.warnings = [warning]
    if isinstance(hosted, ReplicaModel) and hosted.age is not None:
        response.age = round(hosted.age, 3)
    return _add_age(json_response(response), hosted)


def _count_occlusions(samples: Sequence[Sample]) -> int:
    return sum(min(len(sample), MAX_OCCLUSIONS) for sample in samples)


def _add_intervals(
    response: schemas.Predictions,
    hosted: PredictingModel,
    predictions: Predictions,
    intervals: list[list[Any] | None],
) -> None:
    if predictions.probabilities is None:
        offsets = None  # of a replica: recent errors are known to who learns
        if not isinstance(hosted, ReplicaModel):
            offsets = hosted.interval(predictions.generation)
        response.intervals = _build_intervals(response.predictions, intervals, offsets)
    elif any(one is not None for one in intervals):
        response.sets = intervals


def _add_age(response: Response, hosted: PredictingModel) -> Response:
    """Say how old the model of a read replica is."""
    if isinstance(hosted, ReplicaModel) and hosted.age is not None:
        response.headers[MODEL_AGE_HEADER] = f"{hosted.age:.3f}"
    return response


async def _remember_only(
    hosted: HostedModel, ids: Sequence[str], samples: Sequence[dict[str, Any]]
) -> schemas.Predictions:
    """Remember samples before there is a model, so that it can learn them from their labels."""
    nothing = predict_nothing(len(samples))
    return _build_remembered(await hosted.remember(ids, samples, nothing), nothing)


def _build_response(predictions: Predictions) -> schemas.Predictions:
    count, probabilities = len(predictions.values), predictions.probabilities
    return schemas.Predictions(
        predictions=predictions.values.tolist(),  # NaN is encoded as null
        generations=[predictions.generation] * count,
        labels=None if probabilities is None else list(predictions.labels),
        probabilities=None if probabilities is None else probabilities.tolist(),
    )


def _build_intervals(
    values: Sequence[Any], learned: Sequence[list[Any] | None], offsets: tuple[float, float] | None
) -> list[list[float | None]] | None:
    """Lower and upper bounds of numbers: those that were learned, else those by offsets."""
    if any(bounds is not None for bounds in learned):
        return [bounds or [None, None] for bounds in learned]
    if offsets is None:
        return None
    low, high = offsets
    return [
        [value + low, value + high] if isinstance(value, float) and isfinite(value) else [None] * 2
        for value in values
    ]


def _build_remembered(kept: Sequence[Prediction], predictions: Predictions) -> schemas.Predictions:
    """Predictions as they were remembered, perhaps at another time and with fewer labels."""
    response = schemas.Predictions([one.value for one in kept], [one.generation for one in kept])
    if not all(response.generations):
        response.by = ["model" if generation else "nothing" for generation in response.generations]
    if predictions.probabilities is not None:
        labels = list(predictions.labels)
        labels += sorted({name for one in kept for name in one.probabilities or ()} - set(labels))
        response.labels = labels
        response.probabilities = [
            [
                None if one.probabilities is None else one.probabilities.get(name, 0.0)
                for name in labels
            ]
            for one in kept
        ]
    return response


# --------------------------------------------------------------------------------- lines


async def _predict_lines(request: Request, service: Service, hosted: PredictingModel) -> Response:
    with ExitStack() as slot:
        slot.enter_context(service.batch())
        lines = await _predict_slices(request, service, hosted)
        return _add_age(_SlotResponse(lines, slot.pop_all()), hosted)


async def _predict_slices(request: Request, service: Service, hosted: PredictingModel) -> bytes:
    parts: list[bytes] = []
    before = size = 0
    lines = read_lines(request, service.limits, service.limits.lines)
    async with prefetch(
        split_lines(lines, _SLICE_BYTES), _PREFETCHED_SLICES, service.build_stop_condition()
    ) as prefetcher:
        async for part in prefetcher:
            work = partial(_predict_slice, hosted, part, before)
            text = await run_sync(work, limiter=service.worker)
            parts.append(text)
            before += part.count(b"\n")
            size += len(text)
            if size > service.limits.lines:  # a prediction may be longer than its line
                rule = f"the response to {before} lines exceeds {service.limits.lines} bytes"
                raise http_error(413, f"{rule}: send fewer at a time", connection="close")
    return b"".join(parts)


@final
class _SlotResponse(Response):
    """A response that holds a slot for large bodies until it is sent."""

    def __init__(self, content: bytes, slot: ExitStack) -> None:
        super().__init__(content, media_type=NDJSON)
        self._slot = slot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._slot:
            await super().__call__(scope, receive, send)


def _predict_slice(hosted: PredictingModel, lines: bytes, before: int) -> bytes:
    """Predict some lines, which ``before`` others precede."""
    fields = hosted.served_model().fields
    block = decode_block(lines, fields, hosted.expected_columns)
    samples = _decode_samples(lines, before) if block is None else block
    count, rows = len(samples), _count_rows_at_once(hosted)
    texts = []
    for start in range(0, count, rows):
        try:
            stop = min(start + rows, count)
            if isinstance(samples, Block):
                part: Block | list[dict[str, Any]] = samples.part(start, stop)
            else:
                part = samples[start:stop]
                hosted.check_columns(part)
            texts.append(_encode_predictions(hosted.predict(part)))
        except SampleError as error:
            line = before + _find_line(lines, start + error.number)
            raise http_error(422, f"line {line}: {error.detail}") from error
    return b"".join(texts)


def _find_line(lines: bytes, number: int) -> int:
    """Line number of a sample, from 1; blank lines hold none."""
    numbers = (place for place, line in enumerate(lines.split(b"\n"), 1) if line.strip())
    return next(islice(numbers, number, None), lines.count(b"\n"))


def _count_rows_at_once(hosted: PredictingModel) -> int:
    """Number of samples whose probabilities may be held at a time."""
    return max(1, _MAX_PROBABILITIES // max(1, len(hosted.served_model().labels)))


def _encode_predictions(predictions: Predictions) -> bytes:
    values, build = predictions.values.tolist(), schemas.PredictionLine
    if predictions.probabilities is None:
        columns = [values]
    else:
        columns = [values, predictions.chances()]
    if predictions.intervals is None:
        return _ENCODER.encode_lines(list(map(build, *columns)))
    name = "interval" if predictions.probabilities is None else "set"
    rows = zip(*columns, predictions.list_intervals(), strict=True)
    return _ENCODER.encode_lines([build(*row[:-1], **{name: row[-1]}) for row in rows])


def _decode_samples(lines: bytes, before: int) -> list[dict[str, Any]]:
    with suppress(*_DECODE_ERRORS):
        return _SAMPLE_DECODER.decode_lines(lines)
    samples = []  # one by one, to find the wrong line
    for number, line in enumerate(lines.split(b"\n"), before + 1):
        try:
            samples += _SAMPLE_DECODER.decode_lines(line)
        except _DECODE_ERRORS as error:
            raise http_error(422, f"line {number} is not a sample: {error}") from error
    return samples


ENDPOINTS: dict[str, Endpoint] = {"predict": _predict}
