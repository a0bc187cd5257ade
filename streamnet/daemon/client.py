"""Clients of a daemon, blocking and async: one method for each of its operations.

What may be sent again is, until it is answered or ``patience`` has run out: samples carry a key, by
which the daemon learns nothing twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterable
from collections.abc import AsyncIterator
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from time import monotonic
from time import sleep
from types import TracebackType
from typing import Any
from typing import Self
from typing import TypeVar
from typing import final

import anyio
import httpx
import msgspec

from streamnet.daemon import asking
from streamnet.daemon import shapes
from streamnet.daemon.asking import Ask
from streamnet.errors import RefusedError

__all__ = ("AsyncClient", "Client")

T = TypeVar("T")
Samples = Sequence[Mapping[str, Any]]
ConfusionOrResiduals = shapes.Confusion | shapes.Residuals
_EVENT = msgspec.json.Decoder(shapes.Event)
_DATA = "data: "


def _options(url: str, token: str | None, timeout: float, verify: Any) -> dict[str, Any]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    base = url if url.endswith("/") else f"{url}/"
    return {"base_url": base, "headers": headers, "timeout": timeout, "verify": verify}


def _request(ask: Ask[Any]) -> dict[str, Any]:
    return {"params": ask.params, "headers": ask.headers, "content": ask.content}


def _unreached(error: httpx.HTTPError) -> RefusedError:
    return RefusedError(f"the daemon can't be reached: {str(error) or type(error).__name__}")


@final
class Client:
    """A blocking client; it is a context manager, or is closed by `close`.

    Args:
        url: Where the daemon is, as in ``http://localhost:8000``, any prefix included.
        token: What it asks for.
        timeout: Seconds to wait for each step of a request.
        patience: Seconds in which a request is sent again.
        verify: False, or an SSL context, for TLS with a certificate that is not known.

    Every method raises RefusedError if the daemon refuses, or can't be reached.
    """

    def __init__(
        self,
        url: str = "http://localhost:8000",
        *,
        token: str | None = None,
        timeout: float = 30.0,
        patience: float = 30.0,
        verify: Any = True,
    ) -> None:
        self._http = httpx.Client(**_options(url, token, timeout, verify))
        self._patience = patience

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def models(self) -> list[shapes.ModelLine]:
        """All models."""
        return self._send(asking.models())

    def create(self, name: str, settings: Mapping[str, Any] | None = None) -> shapes.Status:
        """Make a model of what a run file's tables would say."""
        return self._send(asking.create(name, settings or {}))

    def upload(
        self,
        name: str,
        file: bytes,
        suffix: str = "safetensors",
        settings: Mapping[str, Any] | None = None,
    ) -> shapes.Status:
        """Make a model that goes on with a model file, in the format safetensors or json."""
        return self._send(asking.upload(name, file, suffix, settings or {}))

    def delete(self, name: str) -> None:
        """Delete a model and its state."""
        self._send(asking.delete(name))

    def pause(self, name: str) -> shapes.Status:
        """Let it learn no more for now."""
        return self._send(asking.change(name, "pause"))

    def resume(self, name: str) -> shapes.Status:
        """Let it learn on."""
        return self._send(asking.change(name, "resume"))

    def reset(self, name: str) -> shapes.Status:
        """Let it forget everything."""
        return self._send(asking.change(name, "reset"))

    def learn(
        self, name: str, samples: Samples, *, key: str | None = None, durable: bool = True
    ) -> shapes.Receipt:
        """Let it learn samples, whose label is in the column of the target."""
        return self._send(asking.learn(name, samples, key=key, durable=durable))

    def learn_lines(
        self,
        name: str,
        lines: bytes | Iterable[bytes],
        *,
        key: str | None = None,
        durable: bool = True,
    ) -> shapes.Receipt:
        """Let it learn JSON lines, as fast as it is able to."""
        return self._send(asking.learn_lines(name, lines, key=key, durable=durable))

    def predict(
        self,
        name: str,
        samples: Samples,
        *,
        ids: Sequence[str] | None = None,
        explain: bool = False,
    ) -> shapes.Answers:
        """Answers; with ids they are remembered until `label`."""
        return self._send(asking.predict(name, samples, ids=ids, explain=explain))

    def label(
        self, name: str, labels: Mapping[str, Any], *, durable: bool = True
    ) -> shapes.LabelsReply:
        """Tell the truth for predictions, by their id."""
        return self._send(asking.label(name, labels, durable=durable))

    def status(self, name: str) -> shapes.Status:
        """Where it stands."""
        return self._send(asking.look(name, "", shapes.Status))

    def champion(self, name: str) -> shapes.Champion:
        """What answers now."""
        return self._send(asking.look(name, "champion", shapes.Champion))

    def leaders(self, name: str) -> list[shapes.CandidateLine]:
        """Its candidates, the best first."""
        return self._send(asking.look(name, "leaders", list[shapes.CandidateLine]))

    def history(self, name: str) -> shapes.History:
        """Its score over time."""
        return self._send(asking.look(name, "history", shapes.History))

    def confusion(self, name: str) -> ConfusionOrResiduals:
        """Its confusion matrix, or a histogram of its residuals."""
        return self._send(asking.look(name, "confusion", ConfusionOrResiduals))  # type: ignore[arg-type]

    def rejected(self, name: str) -> shapes.Rejected:
        """What it could not learn, and why."""
        return self._send(asking.look(name, "rejected", shapes.Rejected))

    def dead_letters(self, name: str) -> bytes:
        """All rejected records that are kept, as JSON lines."""
        return self._send(asking.dead_letters(name))

    def download(self, name: str, suffix: str = "safetensors") -> bytes:
        """The model as a file, in the format safetensors or json."""
        return self._send(asking.download(name, suffix))

    def events(self, name: str, after: int | None = None) -> Iterator[shapes.Event]:
        """What happens, as it happens, until the daemon stops; ``after`` that event."""
        ask = asking.events(name, after)
        try:
            with self._http.stream(ask.method, ask.path, **_request(ask)) as response:
                if response.is_error:
                    asking.answer_of(ask, response.status_code, response.read())
                for line in response.iter_lines():
                    if line.startswith(_DATA):
                        yield _EVENT.decode(line.removeprefix(_DATA))
        except httpx.HTTPError as error:
            raise _unreached(error) from error

    def _send(self, ask: Ask[T]) -> T:
        until = monotonic() + self._patience
        while True:
            status, headers, content, failure = 0, {}, b"", None
            try:
                response = self._http.request(ask.method, ask.path, **_request(ask))
                status, headers = response.status_code, dict(response.headers)
                content = response.content
            except httpx.HTTPError as error:
                failure = error
            wait = asking.pause_before_next(ask, status, headers, until - monotonic())
            if wait is not None:
                sleep(wait)
            elif failure is not None:
                raise _unreached(failure) from failure
            else:
                return asking.answer_of(ask, status, content)


@final
class AsyncClient:
    """The same for asyncio and trio: its methods are those of `Client`, to be awaited.

    Args:
        url: See `Client`, as for the others.
        token: What the daemon asks for.
        timeout: Seconds to wait for each step of a request.
        patience: Seconds in which a request is sent again.
        verify: False, or an SSL context.
    """

    def __init__(
        self,
        url: str = "http://localhost:8000",
        *,
        token: str | None = None,
        timeout: float = 30.0,
        patience: float = 30.0,
        verify: Any = True,
    ) -> None:
        self._http = httpx.AsyncClient(**_options(url, token, timeout, verify))
        self._patience = patience

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def models(self) -> list[shapes.ModelLine]:
        """All models."""
        return await self._send(asking.models())

    async def create(self, name: str, settings: Mapping[str, Any] | None = None) -> shapes.Status:
        """Make a model of what a run file's tables would say."""
        return await self._send(asking.create(name, settings or {}))

    async def upload(
        self,
        name: str,
        file: bytes,
        suffix: str = "safetensors",
        settings: Mapping[str, Any] | None = None,
    ) -> shapes.Status:
        """Make a model that goes on with a model file, in the format safetensors or json."""
        return await self._send(asking.upload(name, file, suffix, settings or {}))

    async def delete(self, name: str) -> None:
        """Delete a model and its state."""
        await self._send(asking.delete(name))

    async def pause(self, name: str) -> shapes.Status:
        """Let it learn no more for now."""
        return await self._send(asking.change(name, "pause"))

    async def resume(self, name: str) -> shapes.Status:
        """Let it learn on."""
        return await self._send(asking.change(name, "resume"))

    async def reset(self, name: str) -> shapes.Status:
        """Let it forget everything."""
        return await self._send(asking.change(name, "reset"))

    async def learn(
        self, name: str, samples: Samples, *, key: str | None = None, durable: bool = True
    ) -> shapes.Receipt:
        """Let it learn samples, whose label is in the column of the target."""
        return await self._send(asking.learn(name, samples, key=key, durable=durable))

    async def learn_lines(
        self,
        name: str,
        lines: bytes | AsyncIterable[bytes],
        *,
        key: str | None = None,
        durable: bool = True,
    ) -> shapes.Receipt:
        """Let it learn JSON lines, as fast as it is able to."""
        return await self._send(asking.learn_lines(name, lines, key=key, durable=durable))

    async def predict(
        self,
        name: str,
        samples: Samples,
        *,
        ids: Sequence[str] | None = None,
        explain: bool = False,
    ) -> shapes.Answers:
        """Answers; with ids they are remembered until `label`."""
        return await self._send(asking.predict(name, samples, ids=ids, explain=explain))

    async def label(
        self, name: str, labels: Mapping[str, Any], *, durable: bool = True
    ) -> shapes.LabelsReply:
        """Tell the truth for predictions, by their id."""
        return await self._send(asking.label(name, labels, durable=durable))

    async def status(self, name: str) -> shapes.Status:
        """Where it stands."""
        return await self._send(asking.look(name, "", shapes.Status))

    async def champion(self, name: str) -> shapes.Champion:
        """What answers now."""
        return await self._send(asking.look(name, "champion", shapes.Champion))

    async def leaders(self, name: str) -> list[shapes.CandidateLine]:
        """Its candidates, the best first."""
        return await self._send(asking.look(name, "leaders", list[shapes.CandidateLine]))

    async def history(self, name: str) -> shapes.History:
        """Its score over time."""
        return await self._send(asking.look(name, "history", shapes.History))

    async def confusion(self, name: str) -> ConfusionOrResiduals:
        """Its confusion matrix, or a histogram of its residuals."""
        return await self._send(asking.look(name, "confusion", ConfusionOrResiduals))  # type: ignore[arg-type]

    async def rejected(self, name: str) -> shapes.Rejected:
        """What it could not learn, and why."""
        return await self._send(asking.look(name, "rejected", shapes.Rejected))

    async def dead_letters(self, name: str) -> bytes:
        """All rejected records that are kept, as JSON lines."""
        return await self._send(asking.dead_letters(name))

    async def download(self, name: str, suffix: str = "safetensors") -> bytes:
        """The model as a file, in the format safetensors or json."""
        return await self._send(asking.download(name, suffix))

    async def events(self, name: str, after: int | None = None) -> AsyncIterator[shapes.Event]:
        """What happens, as it happens, until the daemon stops; ``after`` that event."""
        ask = asking.events(name, after)
        try:
            async with self._http.stream(ask.method, ask.path, **_request(ask)) as response:
                if response.is_error:
                    asking.answer_of(ask, response.status_code, await response.aread())
                async for line in response.aiter_lines():
                    if line.startswith(_DATA):
                        yield _EVENT.decode(line.removeprefix(_DATA))
        except httpx.HTTPError as error:
            raise _unreached(error) from error

    async def _send(self, ask: Ask[T]) -> T:
        until = monotonic() + self._patience
        while True:
            status, headers, content, failure = 0, {}, b"", None
            try:
                response = await self._http.request(ask.method, ask.path, **_request(ask))
                status, headers = response.status_code, dict(response.headers)
                content = response.content
            except httpx.HTTPError as error:
                failure = error
            wait = asking.pause_before_next(ask, status, headers, until - monotonic())
            if wait is not None:
                await anyio.sleep(wait)
            elif failure is not None:
                raise _unreached(failure) from failure
            else:
                return asking.answer_of(ask, status, content)
