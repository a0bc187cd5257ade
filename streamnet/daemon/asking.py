"""What a client asks of a daemon, as values: sent alike by the blocking and the async client."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import TypeVar
from urllib.parse import quote
from uuid import uuid4

import msgspec

from streamnet.daemon import shapes
from streamnet.daemon.joining import all_answers
from streamnet.daemon.joining import all_outcomes
from streamnet.daemon.requests import Ask
from streamnet.daemon.requests import Lines
from streamnet.daemon.requests import Parts
from streamnet.errors import ConfigurationError
from streamnet.errors import RefusedError

__all__ = (
    "FORMATS",
    "answer_of",
    "champion",
    "confusion",
    "create",
    "dead_letters",
    "delete",
    "download",
    "events",
    "history",
    "is_answered",
    "label",
    "leaders",
    "learn",
    "learn_lines",
    "models",
    "pause",
    "pause_before_next",
    "predict",
    "rejected",
    "reset",
    "resume",
    "status",
    "upload",
)

T = TypeVar("T")
_LATER = frozenset({429, 503})
_ENCODER = msgspec.json.Encoder()
_JSON = "application/json"
FORMATS = {"safetensors": "application/octet-stream", "json": _JSON}
"""Of model files: by the suffix, what a request says of it."""


def models() -> Ask[list[shapes.ModelLine]]:
    """All models."""
    return Ask("GET", "v1/models", list[shapes.ModelLine])


def create(name: str, settings: Mapping[str, Any] | None = None) -> Ask[shapes.Status]:
    """Make a model of what a run file's tables would say."""
    body = {"name": name, "settings": dict(settings or {})}
    return _sent("v1/models", shapes.Status, body, repeatable=False)


def upload(
    name: str,
    file: bytes,
    suffix: str = "safetensors",
    settings: Mapping[str, Any] | None = None,
) -> Ask[shapes.Status]:
    """Make a model that goes on with a model file, in the format safetensors or json."""
    headers = {"Content-Type": FORMATS.get(suffix, suffix)}
    params = {"settings": _ENCODER.encode(dict(settings or {})).decode()}
    path = _path(name, "model")
    return Ask("PUT", path, shapes.Status, file, headers, params, repeatable=False)


def delete(name: str) -> Ask[None]:
    """Delete a model and its state."""
    return Ask("DELETE", _path(name), type(None), repeatable=False)


def pause(name: str) -> Ask[shapes.Status]:
    """Let it learn no more for now."""
    return _changed(name, "pause")


def resume(name: str) -> Ask[shapes.Status]:
    """Let it learn on."""
    return _changed(name, "resume")


def reset(name: str) -> Ask[shapes.Status]:
    """Let it forget everything."""
    return _changed(name, "reset", repeatable=False)


def status(name: str) -> Ask[shapes.Status]:
    """Where it stands."""
    return _seen(name, "", shapes.Status)


def champion(name: str) -> Ask[shapes.Champion]:
    """What answers now."""
    return _seen(name, "champion", shapes.Champion)


def leaders(name: str) -> Ask[list[shapes.CandidateLine]]:
    """Its candidates, the best first."""
    return _seen(name, "leaders", list[shapes.CandidateLine])


def history(name: str) -> Ask[shapes.History]:
    """Its score over time."""
    return _seen(name, "history", shapes.History)


def confusion(name: str) -> Ask[shapes.Confusion | shapes.Residuals]:
    """Its confusion matrix, or a histogram of its residuals."""
    return _seen(name, "confusion", shapes.Confusion | shapes.Residuals)  # type: ignore[arg-type]


def rejected(name: str) -> Ask[shapes.Rejected]:
    """What it could not learn, and why."""
    return _seen(name, "rejected", shapes.Rejected)


def learn(
    name: str,
    samples: Sequence[Mapping[str, Any]],
    *,
    key: str | None = None,
    durable: bool = True,
) -> Ask[shapes.Receipt]:
    """Let it learn samples, whose label is in the column of the target.

    They go under a key, this or a new one, by which they may be sent again.
    """
    headers = {"Idempotency-Key": uuid4().hex if key is None else key}
    body = {"samples": samples}
    return _sent(_path(name, "samples"), shapes.Receipt, body, headers, _ack(durable))


def learn_lines(
    name: str, lines: bytes | Lines, *, key: str | None, durable: bool
) -> Ask[shapes.Receipt]:
    """A stream of lines to learn, which can't be sent again by itself."""
    headers = {"Content-Type": "application/x-ndjson"}
    if key is not None:
        headers["Idempotency-Key"] = key
    path, repeatable = _path(name, "samples"), isinstance(lines, bytes) and key is not None
    return Ask("POST", path, shapes.Receipt, lines, headers, _ack(durable), repeatable)


def predict(
    name: str,
    samples: Sequence[Mapping[str, Any]],
    *,
    ids: Sequence[str] | None = None,
    explain: bool = False,
) -> Parts[shapes.Answers]:
    """Answers; with ids they are remembered until `label`. Many samples go as several requests.

    Raises:
        ConfigurationError: If there are not as many ids as samples.
    """
    if ids is not None and len(ids) != len(samples):
        rule = f"must have {len(samples)}, one for each sample"
        raise ConfigurationError(f"ids has {len(ids)}, but {rule}")
    texts = _texts(samples)

    def asked(part: slice) -> Ask[shapes.Answers]:
        some = None if ids is None else ids[part]
        body = {"samples": texts[part], "ids": some, "explain": explain}
        return _sent(_path(name, "predict"), shapes.Answers, body)

    return Parts("sample", _sizes(texts), asked, all_answers)


def label(
    name: str, labels: Mapping[str, Any] | Iterable[tuple[str, Any]], *, durable: bool = True
) -> Parts[shapes.LabelsReply]:
    """Tell the truth for predictions, by their id. Many labels go as several requests.

    Pairs may name an id more than once: the first label of each counts, as the outcomes tell.
    """
    pairs = labels.items() if isinstance(labels, Mapping) else labels
    texts = _texts([{"id": identity, "label": label} for identity, label in pairs])

    def asked(part: slice) -> Ask[shapes.LabelsReply]:
        body = {"labels": texts[part]}
        return _sent(_path(name, "labels"), shapes.LabelsReply, body, {}, _ack(durable))

    return Parts("label", _sizes(texts), asked, all_outcomes)


def download(name: str, suffix: str = "safetensors") -> Ask[bytes]:
    """The model as a file, in the format safetensors or json."""
    return Ask("GET", _path(name, "model"), bytes, params={"format": suffix})


def dead_letters(name: str) -> Ask[bytes]:
    """All rejected records that are kept, as JSON lines."""
    return Ask("GET", _path(name, "dead-letters"), bytes)


def events(name: str, after: int | None) -> Ask[bytes]:
    """The stream of what happens."""
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    return Ask("GET", _path(name, "events"), bytes, None, headers)


def answer_of(
    ask: Ask[T], status: int, content: bytes, headers: Mapping[str, str] | None = None
) -> T:
    """The answer, by its type.

    Args:
        ask: The request.
        status: What came of it.
        content: Of the answer.
        headers: Likewise.

    Raises:
        RefusedError: If it is a problem, or not what was promised.
    """
    if not is_answered(status):
        raise _refused(status, content, headers or {})
    if ask.shape is bytes or ask.shape is type(None):
        return content if ask.shape is bytes else None  # type: ignore[return-value]
    try:
        return msgspec.json.decode(content, type=ask.shape)
    except msgspec.DecodeError as error:
        raise RefusedError(f"the answer is not what a daemon says: {error}", status) from error


def is_answered(status: int) -> bool:
    """Whether the daemon did what was asked; a redirect is no answer, since it is not followed."""
    return 200 <= status < 300


def pause_before_next(
    ask: Ask[Any], status: int, headers: Mapping[str, str], left: float
) -> float | None:
    """Seconds until the request may be sent again; None: it may not, or there is no time left.

    Args:
        ask: The request.
        status: What came of it; 0 if nobody knows.
        headers: Of the answer.
        left: Seconds that are left for it.
    """
    if status == 0:
        return 0.2 if ask.repeatable and left > 0.2 else None
    if status not in _LATER or (ask.content is not None and not isinstance(ask.content, bytes)):
        return None
    given = headers.get("retry-after", "1")
    wait = float(given) if given.isdecimal() else 1.0
    return wait if wait < left else None


def _seen(name: str, part: str, shape: type[T]) -> Ask[T]:
    return Ask("GET", _path(name, part), shape)


def _changed(name: str, verb: str, *, repeatable: bool = True) -> Ask[shapes.Status]:
    return Ask("POST", _path(name, verb), shapes.Status, repeatable=repeatable)


def _sent(
    path: str,
    shape: type[T],
    body: Any,
    headers: dict[str, str] | None = None,
    params: dict[str, str] | None = None,
    *,
    repeatable: bool = True,
) -> Ask[T]:
    headers = {"Content-Type": _JSON, **(headers or {})}
    content = _ENCODER.encode(body)
    return Ask("POST", path, shape, content, headers, params or {}, repeatable)


def _texts(values: Sequence[Any]) -> list[msgspec.Raw]:
    return [msgspec.Raw(_ENCODER.encode(value)) for value in values]


def _sizes(texts: Sequence[msgspec.Raw]) -> list[int]:
    return [len(memoryview(text)) for text in texts]


def _path(name: str, part: str = "") -> str:
    path = f"v1/models/{quote(name, safe='')}"
    return f"{path}/{part}" if part else path


def _ack(durable: bool) -> dict[str, str]:
    return {} if durable else {"ack": "queued"}


def _refused(status: int, content: bytes, headers: Mapping[str, str]) -> RefusedError:
    if 300 <= status < 400:
        to = headers.get("location", "an address that it doesn't name")
        rule = "but redirects are not followed: ask at the daemon's own address"
        return RefusedError(f"the answer is {status}, which leads to {to}, {rule}", status)
    try:
        problem = msgspec.json.decode(content, type=shapes.Problem)
    except msgspec.DecodeError:
        told = f"the answer is {status}, and no problem that a daemon would tell"
        return RefusedError(told, status)
    if (sample := problem.sample) is None:
        return RefusedError(problem.detail, status, problem.receipt)
    return RefusedError(
        problem.detail, status, problem.receipt, number=sample.number, detail=sample.detail
    )
