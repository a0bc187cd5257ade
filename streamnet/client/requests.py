"""Requests of the HTTP API as values, shared by the blocking and the async client.

Large requests are split into parts that the daemon accepts, and their responses are joined again.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Generator, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import quote
from uuid import uuid4

import msgspec

from streamnet.client import schemas
from streamnet.client.schemas import Answers, LabelsReply
from streamnet.errors import ConfigurationError, RefusedError
from streamnet.modelfiles.formats import SUFFIXES

__all__ = (
    "LineStream",
    "Request",
    "SplitRequest",
    "champion",
    "compute_retry_delay",
    "confusion",
    "create",
    "dead_letters",
    "delete",
    "download",
    "events",
    "history",
    "is_success",
    "join_answers",
    "join_outcomes",
    "label",
    "leaders",
    "learn",
    "learn_lines",
    "models",
    "parse_response",
    "pause",
    "predict",
    "rejected",
    "reset",
    "resume",
    "status",
    "upload",
)


T = TypeVar("T")
LineStream = Iterable[bytes] | AsyncIterable[bytes]
_MAX_PART_BYTES = 1 << 18  # of a part: daemons take 1 MiB, unless they are told otherwise
_MAX_PART_ITEMS = 1000  # things of a part
_SPLIT_STATUSES = frozenset({413, 422})  # perhaps for one request alone


class Request(NamedTuple, Generic[T]):
    """A request, and the type of its answer."""

    method: str
    path: str
    shape: type[T]
    content: bytes | LineStream | None = None
    headers: dict[str, str] = {}  # noqa: RUF012 - nobody changes it
    params: dict[str, str] = {}  # noqa: RUF012 - likewise
    idempotent: bool = True  # whether it may be sent again if nobody knows what came of it


class SplitRequest(NamedTuple, Generic[T]):
    """A request for many things, any of which may be asked for without the others."""

    thing: str  # what each is called
    sizes: Sequence[int]  # bytes of each
    ask: Callable[[slice], Request[T]]  # asks for some of them
    joined: Callable[[Sequence[T]], T]  # all answers as one

    def asks(self) -> Generator[Request[T], T, T]:
        """Requests, one after the other: each is sent its answer, or thrown its RefusedError.

        What is too much for a daemon is asked for in smaller parts, down to a single thing: so the
        one that is wrong is found, too.

        Returns:
            All answers as one.

        Raises:
            RefusedError: If it is thrown, with the number of the thing that is refused.
        """
        answers: list[T] = []
        start, most = 0, _MAX_PART_ITEMS
        while start < len(self.sizes) or not answers:
            stop = self._stop(start, most)
            try:
                answers.append((yield self.ask(slice(start, stop))))
            except RefusedError as error:
                if error.status not in _SPLIT_STATUSES or start == stop:
                    raise
                if stop - start == 1:
                    raise self._numbered(error, start) from error
                most = (stop - start) // 2
            else:
                start = stop
        return self.joined(answers)

    def _stop(self, start: int, most: int) -> int:
        end, size = min(start + most, len(self.sizes)), 0
        for stop in range(start, end):
            size += self.sizes[stop]
            if size > _MAX_PART_BYTES and stop > start:
                return stop
        return end

    def _numbered(self, error: RefusedError, number: int) -> RefusedError:
        """What is said of the only thing of a part, by its number among all."""
        detail = str(error) if error.detail is None else error.detail
        told = f"{self.thing} {number}: {detail}"
        return RefusedError(told, error.status, number=number, detail=detail)


def join_answers(parts: Sequence[Answers]) -> Answers:
    """Answers of any number of parts, one or more; a later part may know more labels.

    >>> first = Answers(["a"], [1], ["a"], [[1.0]])
    >>> second = Answers(["b", None], [2, 2], ["b", "a"], [[0.75, 0.25], [None, None]])
    >>> join_answers([first, second]).labels
    ['a', 'b']
    >>> join_answers([first, second]).probabilities
    [[1.0, 0.0], [0.25, 0.75], [None, None]]
    """
    labels = list(dict.fromkeys(label for part in parts for label in part.labels or ()))
    joined = Answers(
        list(chain.from_iterable(part.answers for part in parts)),
        list(chain.from_iterable(part.generations for part in parts)),
    )
    if all(part.labels is not None for part in parts):
        joined.labels = labels
        joined.probabilities = [row for part in parts for row in _align_probabilities(part, labels)]
    if any(part.intervals is not None for part in parts):
        joined.intervals = [row for part in parts for row in _fill_intervals(part)]
    if all(part.explanations is not None for part in parts):
        joined.explanations = [row for part in parts for row in part.explanations or ()]
    return joined


def join_outcomes(parts: Sequence[LabelsReply]) -> LabelsReply:
    """Outcomes of any number of parts."""
    return LabelsReply([outcome for part in parts for outcome in part.outcomes])


def _align_probabilities(part: Answers, labels: list[str]) -> list[list[float | None]]:
    rows, known = part.probabilities or [], part.labels or []
    if known == labels:
        return rows
    # Of a label that a model did not know yet it gave nothing, if it gave an answer at all.
    return [
        [None] * len(labels)
        if None in row
        else [dict(zip(known, row, strict=True)).get(label, 0.0) for label in labels]
        for row in rows
    ]


def _fill_intervals(part: Answers) -> list[list[float | None]]:
    return part.intervals or [[None, None] for _ in part.answers]


AnswerT = TypeVar("AnswerT")
_RETRY_STATUSES = frozenset({429, 503})
_ENCODER = msgspec.json.Encoder()
_JSON = "application/json"


def models() -> Request[list[schemas.ModelLine]]:
    """All models."""
    return Request("GET", "v1/models", list[schemas.ModelLine])


def create(name: str, settings: Mapping[str, Any] | None = None) -> Request[schemas.Status]:
    """Make a model of what a run file's tables would say."""
    body = {"name": name, "settings": dict(settings or {})}
    return _post_json("v1/models", schemas.Status, body, idempotent=False)


def upload(
    name: str,
    file: bytes,
    suffix: str = "safetensors",
    settings: Mapping[str, Any] | None = None,
) -> Request[schemas.Status]:
    """Make a model that goes on with a model file, in the format safetensors or json."""
    headers = {"Content-Type": _get_media_type(suffix)}
    params = {"settings": _ENCODER.encode(dict(settings or {})).decode()}
    path = _path(name, "model")
    return Request("PUT", path, schemas.Status, file, headers, params, idempotent=False)


def _get_media_type(suffix: str) -> str:
    """Return the media type of a model file; the daemon refuses an unknown suffix."""
    one = SUFFIXES.get(f".{suffix}")
    return suffix if one is None else one.media_type


def delete(name: str) -> Request[None]:
    """Delete a model and its state."""
    return Request("DELETE", _path(name), type(None), idempotent=False)


def pause(name: str) -> Request[schemas.Status]:
    """Let it learn no more for now."""
    return _post(name, "pause")


def resume(name: str) -> Request[schemas.Status]:
    """Let it learn on."""
    return _post(name, "resume")


def reset(name: str) -> Request[schemas.Status]:
    """Let it forget everything."""
    return _post(name, "reset", idempotent=False)


def status(name: str) -> Request[schemas.Status]:
    """Where it stands."""
    return _get(name, "", schemas.Status)


def champion(name: str) -> Request[schemas.Champion]:
    """What answers now."""
    return _get(name, "champion", schemas.Champion)


def leaders(name: str) -> Request[list[schemas.CandidateLine]]:
    """Its candidates, the best first."""
    return _get(name, "leaders", list[schemas.CandidateLine])


def history(name: str) -> Request[schemas.History]:
    """Its score over time."""
    return _get(name, "history", schemas.History)


def confusion(name: str) -> Request[schemas.Confusion | schemas.Residuals]:
    """Its confusion matrix, or a histogram of its residuals."""
    return _get(name, "confusion", schemas.Confusion | schemas.Residuals)  # type: ignore[arg-type]


def rejected(name: str) -> Request[schemas.Rejected]:
    """What it could not learn, and why."""
    return _get(name, "rejected", schemas.Rejected)


def learn(
    name: str,
    samples: Sequence[Mapping[str, Any]],
    *,
    key: str | None = None,
    durable: bool = True,
) -> Request[schemas.Receipt]:
    """Let it learn samples, whose label is in the column of the target.

    They go under a key, this or a new one, by which they may be sent again.
    """
    headers = {"Idempotency-Key": uuid4().hex if key is None else key}
    body = {"samples": samples}
    return _post_json(_path(name, "samples"), schemas.Receipt, body, headers, _ack(durable))


def learn_lines(
    name: str, lines: bytes | LineStream, *, key: str | None, durable: bool
) -> Request[schemas.Receipt]:
    """A stream of lines to learn, which can't be sent again by itself."""
    headers = {"Content-Type": "application/x-ndjson"}
    if key is not None:
        headers["Idempotency-Key"] = key
    path, idempotent = _path(name, "samples"), isinstance(lines, bytes) and key is not None
    return Request("POST", path, schemas.Receipt, lines, headers, _ack(durable), idempotent)


def predict(
    name: str,
    samples: Sequence[Mapping[str, Any]],
    *,
    ids: Sequence[str] | None = None,
    explain: bool = False,
) -> SplitRequest[schemas.Answers]:
    """Answers; with ids they are remembered until `label`. Many samples go as several requests.

    Raises:
        ConfigurationError: If there are not as many ids as samples.
    """
    if ids is not None and len(ids) != len(samples):
        rule = f"must have {len(samples)}, one for each sample"
        raise ConfigurationError(f"ids has {len(ids)}, but {rule}")
    texts = _encode_items(samples)

    def asked(part: slice) -> Request[schemas.Answers]:
        some = None if ids is None else ids[part]
        body = {"samples": texts[part], "ids": some, "explain": explain}
        return _post_json(_path(name, "predict"), schemas.Answers, body)

    return SplitRequest("sample", _measure_items(texts), asked, join_answers)


def label(
    name: str, labels: Mapping[str, Any] | Iterable[tuple[str, Any]], *, durable: bool = True
) -> SplitRequest[schemas.LabelsReply]:
    """Tell the truth for predictions, by their id. Many labels go as several requests.

    Pairs may name an id more than once: the first label of each counts, as the outcomes tell.
    """
    pairs = labels.items() if isinstance(labels, Mapping) else labels
    texts = _encode_items([{"id": identity, "label": label} for identity, label in pairs])

    def asked(part: slice) -> Request[schemas.LabelsReply]:
        body = {"labels": texts[part]}
        return _post_json(_path(name, "labels"), schemas.LabelsReply, body, {}, _ack(durable))

    return SplitRequest("label", _measure_items(texts), asked, join_outcomes)


def download(name: str, suffix: str = "safetensors") -> Request[bytes]:
    """The model as a file, in the format safetensors or json."""
    return Request("GET", _path(name, "model"), bytes, params={"format": suffix})


def dead_letters(name: str) -> Request[bytes]:
    """All rejected records that are kept, as JSON lines."""
    return Request("GET", _path(name, "dead-letters"), bytes)


def events(name: str, after: int | None) -> Request[bytes]:
    """The stream of what happens."""
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    return Request("GET", _path(name, "events"), bytes, None, headers)


def parse_response(
    ask: Request[AnswerT], status: int, content: bytes, headers: Mapping[str, str] | None = None
) -> AnswerT:
    """The answer, by its type.

    Args:
        ask: The request.
        status: What came of it.
        content: Of the answer.
        headers: Likewise.

    Raises:
        RefusedError: If it is a problem, or not what was promised.
    """
    if not is_success(status):
        raise _build_error(status, content, headers or {})
    if ask.shape is bytes or ask.shape is type(None):
        return content if ask.shape is bytes else None  # type: ignore[return-value]
    try:
        return msgspec.json.decode(content, type=ask.shape)
    except msgspec.DecodeError as error:
        raise RefusedError(f"the answer is not what a daemon says: {error}", status) from error


def is_success(status: int) -> bool:
    """Whether the daemon did what was asked; a redirect is no answer, since it is not followed."""
    return 200 <= status < 300


def compute_retry_delay(
    ask: Request[Any], status: int, headers: Mapping[str, str], left: float
) -> float | None:
    """Seconds until the request may be sent again; None: it may not, or there is no time left.

    Args:
        ask: The request.
        status: What came of it; 0 if nobody knows.
        headers: Of the answer.
        left: Seconds that are left for it.
    """
    if status == 0:
        return 0.2 if ask.idempotent and left > 0.2 else None
    if status not in _RETRY_STATUSES or (
        ask.content is not None and not isinstance(ask.content, bytes)
    ):
        return None
    given = headers.get("retry-after", "1")
    wait = float(given) if given.isdecimal() else 1.0
    return wait if wait < left else None


def _get(name: str, part: str, shape: type[AnswerT]) -> Request[AnswerT]:
    return Request("GET", _path(name, part), shape)


def _post(name: str, verb: str, *, idempotent: bool = True) -> Request[schemas.Status]:
    return Request("POST", _path(name, verb), schemas.Status, idempotent=idempotent)


def _post_json(
    path: str,
    shape: type[AnswerT],
    body: Any,
    headers: dict[str, str] | None = None,
    params: dict[str, str] | None = None,
    *,
    idempotent: bool = True,
) -> Request[AnswerT]:
    headers = {"Content-Type": _JSON, **(headers or {})}
    content = _ENCODER.encode(body)
    return Request("POST", path, shape, content, headers, params or {}, idempotent)


def _encode_items(values: Sequence[Any]) -> list[msgspec.Raw]:
    return [msgspec.Raw(_ENCODER.encode(value)) for value in values]


def _measure_items(texts: Sequence[msgspec.Raw]) -> list[int]:
    return [len(memoryview(text)) for text in texts]


def _path(name: str, part: str = "") -> str:
    path = f"v1/models/{quote(name, safe='')}"
    return f"{path}/{part}" if part else path


def _ack(durable: bool) -> dict[str, str]:
    return {} if durable else {"ack": "queued"}


def _build_error(status: int, content: bytes, headers: Mapping[str, str]) -> RefusedError:
    if 300 <= status < 400:
        to = headers.get("location", "an address that it doesn't name")
        rule = "but redirects are not followed: ask at the daemon's own address"
        return RefusedError(f"the answer is {status}, which leads to {to}, {rule}", status)
    try:
        problem = msgspec.json.decode(content, type=schemas.Problem)
    except msgspec.DecodeError:
        told = f"the answer is {status}, and no problem that a daemon would tell"
        return RefusedError(told, status)
    if (sample := problem.sample) is None:
        return RefusedError(problem.detail, status, problem.receipt)
    return RefusedError(
        problem.detail, status, problem.receipt, number=sample.number, detail=sample.detail
    )
