"""The operations of the daemon's HTTP API, in one table.

Each method of `Operations` declares one operation: its decorator gives the method, path, scope and
schemas, its signature the arguments of a client's call, and its docstring the summary. The daemon's
routes and OpenAPI document, both clients and the commands of ``streamnet client`` are derived from
this table.
"""

from __future__ import annotations

import inspect
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, wraps
from typing import Any, Concatenate, Generic, NamedTuple, ParamSpec, TypeVar, cast, final, overload
from urllib.parse import quote
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
from streamnet.errors import ConfigurationError
from streamnet.modelfiles.formats import SUFFIXES
from streamnet.reporting.outcomes import Confusion, Residuals
from streamnet.reporting.report import (
    Contender,
    FeatureDriftLine,
    History,
    Insight,
    KeyDetails,
    KeysReport,
    LeaderBoardRow,
)

P = ParamSpec("P")
T = TypeVar("T")
BlockingT = TypeVar("BlockingT")
AsyncT = TypeVar("AsyncT")

NDJSON, EVENT_STREAM = "application/x-ndjson", "text/event-stream"
FORMATS = {one.suffix.removeprefix("."): one.media_type for one in SUFFIXES.values()}
"""Media types of model files by their suffix."""
MAX_KEY_LENGTH = 200
KEY_PATTERN = "[!-~]+"
MAX_EVENT_ID = 2**63 - 1
MAX_KEYS_LISTED = 1000
_ENCODER = msgspec.json.Encoder()


class Scope(StrEnum):
    """What a token allows; ``admin`` includes all others."""

    READ = "read"
    PREDICT = "predict"
    LEARN = "learn"
    ADMIN = "admin"


class Parameter(NamedTuple):
    """A query parameter or request header of an operation."""

    name: str
    schema: dict[str, Any]  # JSON schema
    description: str
    where: str = "query"  # or "header"


@final
@dataclass(frozen=True, eq=False)
class Operation(Generic[P, BlockingT, AsyncT]):
    """One operation of the API; as an attribute of a client, the method that calls it."""

    build: Callable[..., Content | SplitContent[Any] | None]  # from the arguments of a call
    method: str
    path: str  # with {name} for the name of a model
    scope: Scope | None  # that a token needs; None needs no token
    reply: Any  # type of the JSON response; bytes for another media type, NoneType for none
    request: Any = None  # type of the JSON body
    status: int = 200  # of success
    lines: str = ""  # what a body of JSON lines holds; empty if there can't be one
    upload: tuple[str, ...] = ()  # media types of an uploaded file
    media: tuple[str, ...] = ()  # media types of a response that isn't JSON
    parameters: tuple[Parameter, ...] = ()
    errors: tuple[int, ...] = ()  # statuses besides those that every operation can return
    idempotent: bool = True  # whether a request may be repeated when its outcome is unknown

    @property
    def name(self) -> str:
        """Operation ID of the OpenAPI document, label in metrics, method of the clients."""
        return self.build.__name__

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return (self.build.__doc__ or "").partition("\n")[0].removesuffix(".")

    @property
    def has_body(self) -> bool:
        """Whether a request has a body."""
        return self.request is not None or bool(self.upload)

    @property
    def is_stream(self) -> bool:
        """Whether the response is a stream of server-sent events."""
        return EVENT_STREAM in self.media

    @property
    def takes_only_name(self) -> bool:
        """Whether a call has no arguments but the model's name."""
        return [*inspect.signature(self.build).parameters] == ["self", "name"][: 1 + self.has_name]

    @property
    def has_name(self) -> bool:
        """Whether the path holds the name of a model."""
        return "{name}" in self.path

    def call(self, *args: Any, **kwargs: Any) -> Request[Any]:
        """Build the request of a call with these arguments.

        Raises:
            ConfigurationError: If arguments contradict each other.
        """
        content = self.build(None, *args, **kwargs) or Content()
        name = (args[0] if args else kwargs["name"]) if self.has_name else ""
        path = self.path.replace("{name}", quote(name, safe="")).removeprefix("/")
        return Request(self.method, path, self.reply, content, self.idempotent)

    @cached_property
    def _method(self) -> Any:
        @wraps(self.build)
        def method(client: Any, *args: Any, **kwargs: Any) -> Any:
            send = client._stream if self.is_stream else client._send
            return send(self.call(*args, **kwargs))

        signature = inspect.signature(self.build)
        method.__signature__ = signature.replace(return_annotation=self.reply)  # type: ignore[attr-defined]
        return method

    @overload
    def __get__(self, client: None, owner: type) -> Callable[..., Any]: ...

    @overload
    def __get__(self, client: BlockingOperations, owner: type) -> Callable[P, BlockingT]: ...

    @overload
    def __get__(self, client: AsyncOperations, owner: type) -> Callable[P, AsyncT]: ...

    def __get__(self, client: Any, owner: type) -> Any:
        return self._method.__get__(client, owner)


_Build = Callable[Concatenate[Any, P], Content | SplitContent[T] | None]


def operation(
    method: str, path: str, scope: Scope | None, reply: type[T], **options: Any
) -> Callable[[_Build[P, T]], Operation[P, T, Awaitable[T]]]:
    """Declare an operation; see `Operation` for the arguments."""
    return lambda build: Operation(build, method, path, scope, reply, **options)


def event_stream(
    path: str, parameters: tuple[Parameter, ...]
) -> Callable[
    [Callable[Concatenate[Any, P], Content]],
    Operation[P, Iterator[schemas.Event], AsyncIterator[schemas.Event]],
]:
    """Declare an operation whose response is a stream of events."""
    return lambda build: Operation(
        build, "GET", path, Scope.READ, schemas.Event, media=(EVENT_STREAM,), parameters=parameters
    )


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
    "format", {"enum": list(FORMATS), "default": "safetensors"}, "Format of the file."
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
        upload=tuple(FORMATS.values()),
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
        return Content(file, {"Content-Type": FORMATS.get(suffix, suffix)}, params)

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
        media=tuple(FORMATS.values()),
        parameters=(_ENTITY, _FORMAT),
    )
    def download_key(self, name: str, key: str, suffix: str = "safetensors") -> Content:
        """Download the model for one key as a file, with the shared one and its last targets."""
        return Content(params={"key": key, "format": suffix})

    @operation("GET", f"{_MODEL}/leaders", Scope.READ, list[LeaderBoardRow])
    def leaders(self, name: str) -> None:
        """Return the leader board: all candidates, the best first."""

    @operation("GET", f"{_MODEL}/scores", Scope.READ, list[Contender])
    def scores(self, name: str) -> None:
        """Return all metrics of everything that could be served, and of the baselines."""

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

    @operation(
        "GET",
        f"{_MODEL}/model",
        Scope.READ,
        bytes,
        media=tuple(FORMATS.values()),
        parameters=(_FORMAT,),
    )
    def download(self, name: str, suffix: str = "safetensors") -> Content:
        """Download the model as a file that `streamnet.Model.load` reads."""
        return Content(params={"format": suffix})

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


class BlockingOperations(Operations):
    """Operations whose calls return the response."""


class AsyncOperations(Operations):
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


def _ack(durable: bool) -> dict[str, str]:
    return {} if durable else {"ack": "queued"}
