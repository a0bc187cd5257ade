"""What an operation of the daemon's HTTP API is, and how one is declared."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, wraps
from typing import Any, Concatenate, Generic, NamedTuple, ParamSpec, TypeVar, final, overload
from urllib.parse import quote

from streamnet.client import schemas
from streamnet.client.contents import Content, Request, SplitContent

P = ParamSpec("P")
T = TypeVar("T")
BlockingT = TypeVar("BlockingT")
AsyncT = TypeVar("AsyncT")

NDJSON, EVENT_STREAM = "application/x-ndjson", "text/event-stream"


class Scope(StrEnum):
    """What a token allows; ``admin`` includes all others."""

    READ = "read"
    PREDICT = "predict"
    LEARN = "learn"
    SHADOW = "shadow"  # to post predictions that are compared with what is served
    ADMIN = "admin"


class Parameter(NamedTuple):
    """A query parameter or request header of an operation."""

    name: str
    schema: dict[str, Any]  # JSON schema
    description: str
    where: str = "query"  # or "header"


class Blocking:
    """What has operations whose calls return the response."""


class Asynchronous:
    """What has operations whose calls are awaited."""


@final
@dataclass(frozen=True, eq=False)
class Operation(Generic[P, BlockingT, AsyncT]):
    """One operation of the API; as an attribute of a client, the method that calls it."""

    build: Callable[..., Content | SplitContent[Any] | None]  # from the arguments of a call
    method: str
    path: str  # with {name} for the name of a model, {shadow} for that of a shadow
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
        path = self.path.removeprefix("/")
        if "{" in path:
            given = inspect.signature(self.build).bind(None, *args, **kwargs).arguments
            for part in ("name", "shadow"):
                path = path.replace(f"{{{part}}}", quote(str(given.get(part, "")), safe=""))
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
    def __get__(self, client: Blocking, owner: type) -> Callable[P, BlockingT]: ...

    @overload
    def __get__(self, client: Asynchronous, owner: type) -> Callable[P, AsyncT]: ...

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
