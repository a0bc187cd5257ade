"""The operations of the daemon's HTTP API, in one table.

Each method of `Operations` declares one operation: its decorator gives the method, path, scope and
schemas, its signature the arguments of a client's call, and its docstring the summary. The daemon's
routes and OpenAPI document, both clients and the commands of ``streamnet client`` are derived from
this table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast
from uuid import uuid4

import msgspec

from streamnet.client import schemas
from streamnet.client.contents import (
    JSON,
    Content,
    LineStream,
    Request,
    SplitContent,
    encode_items,
    join_predictions,
    json_content,
)
from streamnet.client.operation import (
    NDJSON,
    Asynchronous,
    Blocking,
    Operation,
    Parameter,
    Scope,
    event_stream,
    operation,
)
from streamnet.errors import ConfigurationError
from streamnet.modelfiles.formats import FORMATS, SUFFIXES
from streamnet.reporting.outcomes import Confusion, Residuals
from streamnet.reporting.report import (
    Contender,
    FeatureDriftLine,
    History,
    Insight,
    KeyDetails,
    KeysReport,
    LeaderBoardRow,
    ShadowReport,
)

UPLOADS = {one.suffix.removeprefix("."): one.media_type for one in SUFFIXES.values()}
"""Media types of model files that can be loaded, by their suffix."""
DOWNLOADS = tuple(dict.fromkeys(one.media_type for one in FORMATS.values()))
"""Media types of all model files."""
MAX_KEY_LENGTH = 200
KEY_PATTERN = "[!-~]+"
MAX_EVENT_ID = 2**63 - 1
MAX_KEYS_LISTED = 1000
_ENCODER = msgspec.json.Encoder()


_ACK = Parameter(
    "ack",
    {"enum": ["durable", "queued"], "default": "durable"},
    "Whether to respond once the data is on the disk, or as soon as it is queued.",
)
_KEY = Parameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": MAX_KEY_LENGTH, "pattern": f"^{KEY_PATTERN}$"},
    "A repeated request with the same key and body is learned once.",
    "header",
)
_FORMAT = Parameter(
    "format",
    {"enum": list(FORMATS), "default": "safetensors"},
    "Format of the file; one that cannot represent the model is refused with the reasons (422).",
)
_ENTITY = Parameter(
    "key", {"type": "string"}, "The key: the text of its column, or those of several joined by |."
)
_EVENT_ID = {"type": "integer", "minimum": 0, "maximum": MAX_EVENT_ID}
_WRITE_ERRORS = (409, 507)
_MODEL = "/v1/models/{name}"


class Operations:
    """All operations, in the order in which the daemon matches paths: the busiest come first."""

    # ---------------------------------------------------------------------- samples

    @operation(
        "POST",
        f"{_MODEL}/predict",
        Scope.PREDICT,
        schemas.Predictions,
        request=schemas.PredictRequest,
        lines="One sample per line; the response has one line with the prediction for each.",
        media=(NDJSON,),
        errors=_WRITE_ERRORS,
    )
    def predict(
        self,
        name: str,
        samples: Sequence[Mapping[str, Any]],
        *,
        ids: Sequence[str | int] | None = None,
        explain: bool = False,
    ) -> SplitContent[schemas.Predictions]:
        """Predict samples; with IDs, predictions are kept until `label` brings their labels.

        Many samples are sent in several requests.

        Raises:
            ConfigurationError: If there are not as many IDs as samples.
        """
        if ids is not None and len(ids) != len(samples):
            rule = f"must have {len(samples)}, one for each sample"
            raise ConfigurationError(f"ids has {len(ids)}, but {rule}")
        texts, sizes = encode_items(samples)

        def build(part: slice) -> Content:
            part_ids = None if ids is None else ids[part]
            return json_content({"samples": texts[part], "ids": part_ids, "explain": explain})

        return SplitContent("sample", sizes, build, join_predictions)

    @operation(
        "POST",
        f"{_MODEL}/samples",
        Scope.LEARN,
        schemas.Receipt,
        request=schemas.LearnRequest,
        lines="One sample per line, any number of lines.",
        parameters=(_ACK, _KEY),
        errors=_WRITE_ERRORS,
    )
    def learn(
        self,
        name: str,
        samples: Sequence[Mapping[str, Any]],
        *,
        key: str | None = None,
        durable: bool = True,
    ) -> Content:
        """Learn samples, each with its label in the target column.

        Those without a label are used without supervision, for scales and the auto-encoder. All are
        sent under an idempotency key, by default a new one, so that retries are safe.
        """
        headers = {"Idempotency-Key": uuid4().hex if key is None else key}
        return json_content({"samples": samples}, headers, _ack(durable))

    @operation(
        "POST",
        f"{_MODEL}/labels",
        Scope.LEARN,
        schemas.LabelsReply,
        request=schemas.LabelsRequest,
        parameters=(_ACK,),
        errors=_WRITE_ERRORS,
    )
    def label(
        self,
        name: str,
        labels: Mapping[Any, Any] | Iterable[Sequence[Any]],
        *,
        durable: bool = True,
    ) -> SplitContent[schemas.LabelsReply]:
        """Send the labels of predictions that were made with an ID.

        Many labels are sent in several requests. An ID may occur more than once: its first label
        counts, as the outcomes show. In a list, a third value is the weight of the sample.
        """
        given = labels.items() if isinstance(labels, Mapping) else labels
        names = "id", "label", "weight"
        texts, sizes = encode_items([dict(zip(names, one, strict=False)) for one in given])
        return SplitContent(
            "label",
            sizes,
            lambda part: json_content({"labels": texts[part]}, params=_ack(durable)),
            lambda replies: schemas.LabelsReply(
                [one for reply in replies for one in reply.outcomes]
            ),
        )

    @operation(
        "POST",
        f"{_MODEL}/shadows/{{shadow}}/predictions",
        Scope.SHADOW,
        schemas.ShadowReply,
        request=schemas.ShadowRequest,
        lines="One prediction per line, as in a request of JSON.",
        parameters=(_ACK,),
        errors=_WRITE_ERRORS,
    )
    def shadow_predict(
        self,
        name: str,
        shadow: str,
        predictions: Mapping[Any, Any] | Iterable[Sequence[Any]],
        *,
        durable: bool = True,
    ) -> SplitContent[schemas.ShadowReply]:
        """Send predictions of another model, to be compared with what is served.

        They are by ID: labels, numbers, or the probabilities of labels as a mapping; in a list, a
        third value holds the probabilities. They count if they come before the label.
        """
        given = predictions.items() if isinstance(predictions, Mapping) else predictions
        texts, sizes = encode_items([_build_shadow_line(*one) for one in given])
        return SplitContent(
            "prediction",
            sizes,
            lambda part: json_content({"predictions": texts[part]}, params=_ack(durable)),
            lambda replies: schemas.ShadowReply(
                [one for reply in replies for one in reply.outcomes]
            ),
        )

    # ------------------------------------------------------------------- monitoring

    @operation("GET", "/healthz", None, schemas.Health)
    def healthz(self) -> None:
        """Check that the daemon responds."""

    @operation("GET", "/readyz", None, schemas.Health)
    def readyz(self) -> None:
        """Check that all models are restored and their disks accept samples."""

    @operation("GET", "/metrics", Scope.READ, bytes, media=("text/plain",))
    def metrics(self) -> None:
        """Return the metrics in Prometheus's text format."""

    # ----------------------------------------------------------------------- models

    @operation("GET", "/v1/models", Scope.READ, list[schemas.ModelLine])
    def models(self) -> None:
        """List all models."""

    @operation("GET", "/v1/overview", Scope.READ, list[schemas.Overview])
    def overview(self) -> None:
        """Return the status of all models, each with its score over time."""

    @operation("GET", "/v1/permissions", Scope.READ, schemas.Permissions)
    def permissions(self) -> None:
        """Return what the caller's token allows."""

    @operation(
        "POST",
        "/v1/models",
        Scope.ADMIN,
        schemas.Status,
        request=schemas.CreateRequest,
        status=201,
        errors=_WRITE_ERRORS,
        idempotent=False,
    )
    def create(self, name: str, settings: Mapping[str, Any] | None = None) -> Content:
        """Create a model from the tables of a run file."""
        return json_content({"name": name, "settings": dict(settings or {})})

    @operation(
        "PUT",
        f"{_MODEL}/model",
        Scope.ADMIN,
        schemas.Status,
        status=201,
        upload=tuple(UPLOADS.values()),
        parameters=(
            Parameter(
                "settings",
                {"type": "string", "contentMediaType": JSON, "default": "{}"},
                "Tables of a run file as JSON; target and task default to those of the file.",
            ),
        ),
        errors=_WRITE_ERRORS,
        idempotent=False,
    )
    def upload(
        self,
        name: str,
        file: bytes,
        suffix: str = "safetensors",
        settings: Mapping[str, Any] | None = None,
    ) -> Content:
        """Create a model that continues from a model file, in the format safetensors or json."""
        params = {"settings": _ENCODER.encode(dict(settings or {})).decode()}
        return Content(file, {"Content-Type": UPLOADS.get(suffix, suffix)}, params)

    @operation("GET", _MODEL, Scope.READ, schemas.Status)
    def status(self, name: str) -> None:
        """Return the status of a model."""

    @operation(
        "DELETE", _MODEL, Scope.ADMIN, type(None), status=204, errors=(409,), idempotent=False
    )
    def delete(self, name: str) -> None:
        """Delete a model and its state."""

    @operation("POST", f"{_MODEL}/pause", Scope.ADMIN, schemas.Status, errors=_WRITE_ERRORS)
    def pause(self, name: str) -> None:
        """Pause learning; samples are accepted until the queue is full."""

    @operation("POST", f"{_MODEL}/resume", Scope.ADMIN, schemas.Status, errors=_WRITE_ERRORS)
    def resume(self, name: str) -> None:
        """Resume learning, also after a failure."""

    @operation(
        "POST",
        f"{_MODEL}/reset",
        Scope.ADMIN,
        schemas.Status,
        errors=_WRITE_ERRORS,
        idempotent=False,
    )
    def reset(self, name: str) -> None:
        """Reset a model to its start; the old state is archived."""

    @operation("GET", f"{_MODEL}/champion", Scope.READ, schemas.Champion)
    def champion(self, name: str) -> None:
        """Return the model that predicts now, and the columns it reads."""

    @operation("GET", f"{_MODEL}/classes", Scope.READ, list[schemas.ClassLine])
    def classes(self, name: str) -> None:
        """List the classes in the order in which they appeared, also merged and retired ones."""

    @operation(
        "POST",
        f"{_MODEL}/classes/merge",
        Scope.ADMIN,
        schemas.ClassChangeReply,
        request=schemas.MergeRequest,
        errors=_WRITE_ERRORS,
    )
    def merge_class(self, name: str, label: Any, into: Any) -> Content:
        """Read a label as another one from now on, and add the probability of its class."""
        return json_content({"label": label, "into": into})

    @operation(
        "POST",
        f"{_MODEL}/classes/retire",
        Scope.ADMIN,
        schemas.ClassChangeReply,
        request=schemas.RetireRequest,
        errors=_WRITE_ERRORS,
    )
    def retire_class(self, name: str, label: Any) -> Content:
        """Give a class no probability from now on, and reject samples with its label."""
        return json_content({"label": label})

    @operation(
        "GET",
        f"{_MODEL}/keys",
        Scope.READ,
        KeysReport,
        parameters=(
            Parameter(
                "count",
                {"type": "integer", "minimum": 1, "maximum": MAX_KEYS_LISTED, "default": 20},
                "How many of the worst and of the best keys.",
            ),
        ),
    )
    def keys(self, name: str, count: int = 20) -> Content:
        """Return how many keys have models of their own, with the worst and the best of them."""
        return Content(params={"count": str(count)})

    @operation("GET", f"{_MODEL}/key", Scope.READ, KeyDetails, parameters=(_ENTITY,))
    def key(self, name: str, key: str) -> Content:
        """Return what is known about the model of a key."""
        return Content(params={"key": key})

    @operation(
        "DELETE",
        f"{_MODEL}/key",
        Scope.ADMIN,
        schemas.KeyRemovalReply,
        parameters=(_ENTITY,),
        errors=_WRITE_ERRORS,
        idempotent=False,
    )
    def forget_key(self, name: str, key: str) -> Content:
        """Delete the model of a key and its last targets; if it comes again, it is new."""
        return Content(params={"key": key})

    @operation(
        "GET",
        f"{_MODEL}/key/model",
        Scope.READ,
        bytes,
        media=DOWNLOADS,
        parameters=(_ENTITY, _FORMAT),
    )
    def download_key(self, name: str, key: str, to: str = "safetensors") -> Content:
        """Download the model for one key as a file, with the shared one and its last targets."""
        return Content(params={"key": key, "format": to})

    @operation("GET", f"{_MODEL}/leaders", Scope.READ, list[LeaderBoardRow])
    def leaders(self, name: str) -> None:
        """Return the leader board: all candidates, the best first."""

    @operation("GET", f"{_MODEL}/scores", Scope.READ, list[Contender])
    def scores(self, name: str) -> None:
        """Return all metrics of everything that could be served, of baselines and shadows."""

    @operation("GET", f"{_MODEL}/shadows", Scope.READ, list[ShadowReport])
    def shadows(self, name: str) -> None:
        """Return counts and metrics of the shadows, beside those of what was served."""

    @operation(
        "DELETE",
        f"{_MODEL}/shadows/{{shadow}}",
        Scope.ADMIN,
        type(None),
        status=204,
        errors=(422, *_WRITE_ERRORS),
        idempotent=False,
    )
    def remove_shadow(self, name: str, shadow: str) -> None:
        """Forget a shadow, its predictions and its scores."""

    @operation("GET", f"{_MODEL}/history", Scope.READ, History)
    def history(self, name: str) -> None:
        """Return the score over time beside the baselines, with champion changes and drifts."""

    @operation(
        "GET",
        f"{_MODEL}/confusion",
        Scope.READ,
        cast("type[Confusion | Residuals]", Confusion | Residuals),
    )
    def confusion(self, name: str) -> None:
        """Return the confusion matrix, or for regression a histogram of the residuals."""

    @operation("GET", f"{_MODEL}/features", Scope.READ, list[FeatureDriftLine])
    def features(self, name: str) -> None:
        """Return how far the recent values of each column are from those that came first."""

    @operation("GET", f"{_MODEL}/insight", Scope.READ, Insight)
    def insight(self, name: str) -> None:
        """Return which columns matter, the biggest recent errors, and the last sample."""

    @operation("GET", f"{_MODEL}/rejected", Scope.READ, schemas.Rejected)
    def rejected(self, name: str) -> None:
        """Return how many records were rejected, why, and the latest of them."""

    @operation("GET", f"{_MODEL}/dead-letters", Scope.READ, bytes, media=(NDJSON,))
    def dead_letters(self, name: str) -> None:
        """Download the stored rejected records as JSON lines."""

    @operation("GET", f"{_MODEL}/model", Scope.READ, bytes, media=DOWNLOADS, parameters=(_FORMAT,))
    def download(self, name: str, to: str = "safetensors") -> Content:
        """Download the model as a file, also as ONNX, C, or JSON of gopher-neural."""
        return Content(params={"format": to})

    @event_stream(
        f"{_MODEL}/events",
        parameters=(
            Parameter("Last-Event-ID", _EVENT_ID, "Start after this event.", "header"),
            Parameter("after", _EVENT_ID, "The same, for clients that can't set the header."),
        ),
    )
    def events(self, name: str, after: int | None = None) -> Content:
        """Stream events, from after the given event ID on, until the daemon stops."""
        return Content(headers={} if after is None else {"Last-Event-ID": str(after)})


class BlockingOperations(Operations, Blocking):
    """Operations whose calls return the response."""


class AsyncOperations(Operations, Asynchronous):
    """Operations whose calls are awaited."""


OPERATIONS: dict[str, Operation[..., Any, Any]] = {
    name: one for name, one in vars(Operations).items() if isinstance(one, Operation)
}
"""The operations by name."""


def build_line_request(
    name: str, lines: bytes | LineStream, *, key: str | None, durable: bool
) -> Request[schemas.Receipt]:
    """Build the request to learn a stream of JSON lines, which can't be repeated automatically."""
    headers = {"Content-Type": NDJSON} | ({} if key is None else {"Idempotency-Key": key})
    content = Content(lines, headers, _ack(durable))
    idempotent = isinstance(lines, bytes) and key is not None
    return OPERATIONS["learn"].call(name, ())._replace(content=content, idempotent=idempotent)


def _build_shadow_line(
    identity: Any, prediction: Any, probabilities: Mapping[str, float] | None = None
) -> dict[str, Any]:
    if isinstance(prediction, Mapping):
        prediction, probabilities = None, prediction
    return {"id": identity, "prediction": prediction, "probabilities": probabilities}


def _ack(durable: bool) -> dict[str, str]:
    return {} if durable else {"ack": "queued"}
