"""The clients against a real server: operations, errors, and retries."""

from __future__ import annotations

import inspect
import pydoc
import re
import signal
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import anyio
import httpx
import pytest

from streamnet.client import AsyncClient, Client
from streamnet.client.clients import compute_retry_delay, parse_response
from streamnet.client.operations import OPERATIONS, build_line_request
from streamnet.client.schemas import LabelsReply, Predictions, Receipt
from streamnet.errors import ConfigurationError, RefusedError
from streamnet.modelfiles import json_format, safetensors_format
from streamnet.reporting.outcomes import Confusion
from tests.daemon.processes import Server, running
from tests.daemon.stand_ins import learned_model

SAMPLES = [{"x": 25, "y": 1, "shade": "red"}, {"x": 3, "y": 1, "shade": "red"}]


def call(name: str, *arguments: Any, **options: Any) -> Any:
    """The request of a call."""
    return OPERATIONS[name].call(*arguments, **options)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as server:
        yield server


def test_every_operation_is_a_method(server: Server) -> None:
    with Client(server.url) as client:
        assert [line.name for line in client.models()] == ["wine"]
        assert client.create("beer", {"source": {"target": "y"}}).name == "beer"
        assert client.pause("beer").state == "paused"
        assert client.resume("beer").state == "learning"
        assert client.learn("beer", SAMPLES) == Receipt(2, 0, False, 0, 1)
        assert client.learn_lines("beer", [b'{"x": 1}\n', b'{"x": 2}\n']).last == 3
        assert client.status("beer").learned == 4
        assert client.reset("beer").learned == 0
        reply = client.predict("beer", SAMPLES, ids=["a", "b"], explain=True)
        assert reply.predictions == learned_model().predict(SAMPLES).tolist()
        assert client.label("beer", {"a": "on", "c": "on"}).outcomes == ["joined", "early"]
        assert client.champion("beer").labels == ["off", "on"]
        posted = client.shadow_predict("beer", "rival", {"a": "on", "b": {"on": 0.75, "off": 0.25}})
        assert posted.outcomes == ["waiting", "waiting"]
        again = client.shadow_predict("beer", "rival", [("b", None, {"on": 1.0})], durable=False)
        assert again.outcomes == ["duplicate"]
        (shadow,) = client.shadows("beer")
        assert (shadow.shadow, shadow.predictions, shadow.overall.samples) == ("rival", 2, 3)
        assert client.scores("beer")[-1].shadow == shadow
        assert client.status("beer").shadows[0].sliding.served == 0.5
        client.remove_shadow("beer", "rival")
        assert client.leaders("beer")[0].champion
        assert client.scores("beer")[0].served
        assert client.insight("beer").importance[0].column == "x"
        assert [line.curve[-1] for line in client.overview()] == [0.9, 0.9]
        assert client.permissions().scopes == ["read", "predict", "learn", "shadow", "admin"]
        assert isinstance(client.confusion("beer"), Confusion)
        assert client.rejected("beer").total == 2
        assert client.download("beer", "json") == b"json"
        assert client.dead_letters("beer").count(b"\n") == 2
        file = json_format.encode(learned_model().document())
        assert client.upload("lamp", file, "json", {"source": {"target": "z"}}).name == "lamp"
        with pytest.raises(RefusedError, match="damaged"):
            client.upload("lump", file[1:], "json")
        client.delete("lamp")
        client.delete("beer")
        with pytest.raises(RefusedError, match="no model of that name") as caught:
            client.status("beer")
        assert caught.value.status == 404


def test_the_async_client_does_the_same(server: Server, backend: str) -> None:
    async def lines() -> AsyncIterator[bytes]:
        for number in range(3):
            yield b'{"x": %d}\n' % number

    async def main() -> None:
        async with AsyncClient(server.url, patience=0.0) as client:
            assert (await client.create("tea", {"source": {"target": "y"}})).name == "tea"
            assert [line.name for line in await client.models()] == ["tea", "wine"]
            assert (await client.pause("tea")).state == "paused"
            assert (await client.resume("tea")).state == "learning"
            assert (await client.learn("tea", SAMPLES, durable=False)).accepted == 2
            assert (await client.learn_lines("tea", lines())).last == 4
            assert (await client.status("tea")).learned == 5
            assert (await client.reset("tea")).learned == 0
            assert len((await client.predict("tea", SAMPLES, ids=["a", "b"])).predictions) == 2
            assert (await client.label("tea", {"a": "on"}, durable=False)).outcomes == ["joined"]
            assert (await client.champion("tea")).generation == 7
            assert len(await client.leaders("tea")) == 1
            assert isinstance(await client.confusion("tea"), Confusion)
            assert (await client.rejected("tea")).by_reason == {"target": 2}
            assert await client.download("tea") == b"safetensors"
            assert (await client.dead_letters("tea")).count(b"\n") == 2
            settings = {"source": {"target": "z"}}
            file = safetensors_format.encode(learned_model().document())
            assert (await client.upload("lamp", file, settings=settings)).name == "lamp"
            await client.delete("lamp")
            with pytest.raises(RefusedError, match="not learned anything"):
                await client.history("tea")
            await client.delete("tea")
            with pytest.raises(RefusedError, match="no model"):
                [event async for event in client.events("tea")]

    anyio.run(main, backend=backend)


def test_events_end_with_the_daemon() -> None:
    with running() as server, Client(server.url, patience=0.0) as client:
        events = client.events("wine", after=0)
        assert next(events).data == {"state": "learning"}
        assert server.end(signal.SIGTERM)[0] == 0
        assert list(events) == []
        unreached = f"the daemon at {server.url} can't be reached"
        with pytest.raises(RefusedError, match=unreached) as caught:
            client.models()
        assert caught.value.status == 0
        with pytest.raises(RefusedError, match=unreached):
            next(client.events("wine"))

        async def ask() -> None:
            async with AsyncClient(server.url, patience=0.3) as client:
                await client.models()

        with pytest.raises(RefusedError, match=unreached):
            anyio.run(ask)


def test_samples_and_labels_of_any_number_are_sent_in_parts(server: Server, backend: str) -> None:
    samples = [{"x": i % 30, "y": 1, "shade": "red", "note": "n" * 900} for i in range(3000)]
    ids = [str(number) for number in range(3000)]
    truths = dict.fromkeys(ids, "on")

    async def main() -> tuple[Predictions, LabelsReply]:
        async with AsyncClient(server.url) as client:
            reply = await client.predict("mead", samples, ids=ids)
            return reply, await client.label("mead", {**truths, "l" * 200: "n" * 90_000})

    with Client(server.url) as client:
        client.create("mead", {"source": {"target": "lit"}})
        told = client.predict("mead", samples)  # of 2.8 MB
        reply, labels = anyio.run(main, backend=backend)
        again = client.label("mead", truths)
        client.delete("mead")
    assert told.predictions == reply.predictions == learned_model().predict(samples).tolist()
    assert told.probabilities == learned_model().predict_proba(samples).tolist()
    assert (told.labels, told.generations) == (list(learned_model().labels), [7] * 3000)
    assert labels.outcomes == ["joined"] * 3000 + ["early"]
    assert again.outcomes == ["duplicate"] * 3000


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_prediction_sets_of_all_parts_are_joined(
    server: Server, backend: str, kind: type[Client | AsyncClient]
) -> None:
    samples = [{"x": i % 30, "y": 1, "shade": "red"} for i in range(2500)]

    async def ask() -> Predictions:
        async with AsyncClient(server.url) as client:
            return await client.predict("port", samples)

    with Client(server.url) as client:
        client.create("port", {"source": {"target": "lit"}, "evaluation": {"interval": 0.8}})
        asynchronous = kind is AsyncClient
        told = anyio.run(ask, backend=backend) if asynchronous else client.predict("port", samples)
        client.delete("port")
    assert told.sets is not None
    sets = [None if one is None else set(one) for one in told.sets]
    assert sets == learned_model(0.8).predict_set(samples)


def test_a_refused_item_is_reported_by_its_number(server: Server) -> None:
    samples: list[dict[str, object]] = [{"x": 1} for _ in range(2500)]
    samples[2003] = {"x": "many"}
    with Client(server.url) as client:
        with pytest.raises(RefusedError, match=r"^sample 2003: .*'x'") as caught:
            client.predict("wine", samples)
        assert (caught.value.status, caught.value.number) == (422, 2003)
        with pytest.raises(RefusedError, match=r"^label 1: .*length") as caught:
            client.label("wine", {"a": 1, "": 2, "b": 3})
        assert caught.value.number == 1
        with pytest.raises(RefusedError, match=r"^there is no model of that name"):
            client.predict("absent", samples)
        with pytest.raises(ConfigurationError, match="ids has 1, but must have 2500"):
            client.predict("wine", samples, ids=["a"])
        assert client.predict("wine", []).predictions == []


def test_a_refused_stream_reports_what_was_accepted(server: Server) -> None:
    lines = [b'{"x": 1}\n' * 20_000, b'{"x": "', b"y" * (1 << 20), b'"}\n']
    with Client(server.url) as client:
        client.create("ale", {"source": {"target": "y"}})
        with pytest.raises(RefusedError, match="resume at line 20001") as caught:
            client.learn_lines("ale", lines)
        client.delete("ale")
    assert (caught.value.status, caught.value.receipt) == (
        413,
        Receipt(20_000, 0, False, 0, 19_999),
    )


def test_errors_do_not_reveal_a_password_in_the_url() -> None:
    client = Client("http://me:secret@127.0.0.1:1/prefix", patience=0.0)
    with client, pytest.raises(RefusedError) as caught:
        client.models()
    assert "the daemon at http://127.0.0.1:1/prefix can't be reached" in str(caught.value)


def test_retries_reuse_the_idempotency_key(monkeypatch: pytest.MonkeyPatch) -> None:
    responses = iter([(0, ""), (429, "0"), (503, "soon"), (200, "")])
    keys = []

    def handler(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["idempotency-key"])
        status, wait = next(responses)
        if status == 0:
            raise httpx.ConnectError("no route")
        body = {"accepted": 1} if status == 200 else {"title": "", "status": 1, "detail": "wait"}
        return httpx.Response(status, json=body, headers={"retry-after": wait})

    pauses: list[float] = []
    monkeypatch.setattr("streamnet.client.clients.sleep", pauses.append)
    with Client("http://daemon.example/ml") as client:
        client._http._transport = httpx.MockTransport(handler)
        client._http._mounts = {}
        assert client.learn("wine", SAMPLES).accepted == 1
    assert pauses == [0.0, 0.2, 0.0, 1.0]
    assert len(set(keys)) == 1


@pytest.mark.parametrize(
    ("reason", "tries"),
    [
        (ssl.SSLCertVerificationError(1, "certificate verify failed"), 1),
        (ssl.SSLError(1, "wrong version number"), 1),
        (ssl.SSLEOFError(8, "the other side went away"), 2),
        (ConnectionRefusedError(111, "refused"), 2),
    ],
    ids=lambda value: type(value).__name__,
)
def test_permanent_failures_are_not_retried(
    monkeypatch: pytest.MonkeyPatch, reason: OSError, tries: int
) -> None:
    tried = []

    def handler(request: httpx.Request) -> httpx.Response:
        tried.append(request)
        if len(tried) == 2:
            return httpx.Response(200, json=[])
        raise httpx.ConnectError(str(reason)) from reason

    monkeypatch.setattr("streamnet.client.clients.sleep", lambda seconds: None)
    with Client("https://daemon.example") as client:
        client._http._transport = httpx.MockTransport(handler)
        client._http._mounts = {}
        if tries == 1:
            with pytest.raises(RefusedError, match=f"can't be reached: .*{reason.strerror}"):
                client.models()
        else:
            assert client.models() == []
    assert len(tried) == tries


@pytest.mark.parametrize(
    ("ask", "status", "headers", "left", "wait"),
    [
        (call("models"), 200, {}, 9.0, None),
        (call("models"), 429, {"retry-after": "3"}, 9.0, 3.0),
        (call("models"), 503, {"retry-after": "3"}, 2.0, None),
        (call("models"), 500, {}, 9.0, None),
        (call("models"), 0, {}, 9.0, 0.2),
        (call("models"), 0, {}, 0.1, None),
        (call("delete", "a"), 0, {}, 9.0, None),
        (call("reset", "a"), 0, {}, 9.0, None),
        (build_line_request("a", [], key=None, durable=True), 429, {}, 9.0, None),
        (build_line_request("a", b"", key="k", durable=True), 0, {}, 9.0, 0.2),
        (build_line_request("a", b"", key=None, durable=True), 0, {}, 9.0, None),
    ],
)
def test_only_safe_requests_are_retried(ask, status, headers, left, wait) -> None:
    outcome = httpx.Response(status, headers=headers) if status else httpx.ConnectError("no route")
    assert compute_retry_delay(ask, ask.content, outcome, left) == wait


def test_help_shows_arguments_return_type_and_summary() -> None:
    told = pydoc.render_doc(AsyncClient)
    assert "predict(self, name: 'str', samples: 'Sequence[Mapping[str, Any]]', *, ids:" in plain(
        told
    )
    assert "until `label`" in told
    with Client("http://daemon.example") as client:
        assert inspect.signature(client.learn).return_annotation is Receipt
        assert inspect.getdoc(client.status) == "Return the status of a model."


def plain(text: str) -> str:
    return re.sub(".\b", "", text)  # pydoc overstrikes bold text


def test_model_names_are_quoted_in_urls() -> None:
    assert call("delete", "../a?b").path == "v1/models/..%2Fa%3Fb"


@pytest.mark.parametrize("content", [b"<html>", b'{"accepted": "many"}'])
def test_a_response_of_another_server_is_an_error(content: bytes) -> None:
    ask = call("learn", "a", SAMPLES, key=None, durable=True)
    with pytest.raises(RefusedError, match="doesn't match the daemon's API"):
        parse_response(ask, httpx.Response(200, content=content))
    with pytest.raises(RefusedError, match="502"):
        parse_response(ask, httpx.Response(502, content=content))


def test_a_redirect_is_refused_by_each_call_of_both_clients(backend: str) -> None:
    """Such as a proxy's, whose page must not be mistaken for success or for a file."""
    to = "https://elsewhere.example/login"

    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(307, headers={"location": to}, content=b"<html>")

    calls: list[Callable[[Any], Any]] = [
        lambda client: client.delete("wine"),
        lambda client: client.download("wine"),
        lambda client: client.dead_letters("wine"),
        lambda client: client.status("wine"),
    ]
    told = f"the response is 307, a redirect to {to}, but redirects are not followed"
    refused = partial(pytest.raises, RefusedError, match=told)

    async def main() -> None:
        async with AsyncClient("http://daemon.example") as client:
            client._http._transport, client._http._mounts = httpx.MockTransport(handler), {}
            for call in calls:
                with refused():
                    await call(client)
            with refused():
                [event async for event in client.events("wine")]

    with Client("http://daemon.example") as client:
        client._http._transport, client._http._mounts = httpx.MockTransport(handler), {}
        for call in calls:
            with refused() as caught:
                call(client)
            assert caught.value.status == 307
        with refused():
            list(client.events("wine"))
    anyio.run(main, backend=backend)
