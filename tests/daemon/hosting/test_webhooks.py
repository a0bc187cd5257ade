"""Webhooks: CloudEvents that a real server receives, signed, repeated, and kept over a kill."""

from __future__ import annotations

import errno
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import anyio
import httpx
import pytest

from streamnet.client.schemas import Event, TroubleKind
from streamnet.daemon.hosting import webhooks
from streamnet.daemon.hosting.events import EventLog
from streamnet.daemon.hosting.registry import Registry
from streamnet.daemon.hosting.webhooks import DurableQueue, Webhook, Webhooks, sign
from streamnet.daemon.prometheus import Metrics
from streamnet.errors import ConfigurationError
from streamnet.settings.daemon import WebhookEvent, WebhookSection, parse
from tests.conftest import Runner
from tests.daemon.hosted_models import rows, settings_of, until
from tests.daemon.processes import Server
from tests.durability.disks import Memory
from tests.web_servers import Receiver, serving

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def read_events(receiver: Receiver) -> list[dict[str, Any]]:
    return [json.loads(body) for _, body in receiver.requests]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with serving(Receiver()) as server:
        yield server


def section(url: str, **more: Any) -> WebhookSection:
    return WebhookSection(url=url, **more)


async def sent(hook: Webhook, count: int) -> None:
    """Run a webhook until so many events are delivered."""
    async with anyio.create_task_group() as group:
        group.start_soon(hook.run)
        await until(lambda: hook.counts.delivered >= count)
        group.cancel_scope.cancel()


def test_the_signature_is_that_of_the_specification() -> None:
    key = webhooks.decode_secret(SECRET)
    body = b'{"test": 2432232314}'
    expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == expected


def test_a_model_in_trouble_is_reported_with_its_recovery(
    run: Runner, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    settings = settings_of(alerts={"rejected": 0.1, "score": 1.0})
    hooks = {
        "ops": section(receiver.url, secret_env="HOOK_SECRET", events=("rejected", "score")),
        "other": section(receiver.url, models="eggs"),
    }

    async def main() -> str:
        registry = Registry(tmp_path, {"spam": settings}, webhooks=Webhooks(hooks, tmp_path))
        async with anyio.create_task_group() as group:
            await group.start(registry.run)
            hosted = registry.models["spam"]
            await hosted.opened()
            await hosted.learn(rows(400))
            await hosted.learn(b"[1]\n" * 300)
            await until(lambda: len(read_events(receiver)) >= 2)
            text = Metrics(lambda: registry.models, registry.webhooks).text()
            registry.stop()
        return text

    text = run(main)
    found = {event["type"]: event for event in read_events(receiver)}
    assert set(found) >= {"streamnet.score", "streamnet.rejected"}
    event = found["streamnet.score"]
    assert event["specversion"] == "1.0"
    assert (event["source"], event["subject"]) == ("/v1/models/spam", "spam")
    assert event["data"]["change"] == "began"
    assert event["data"]["message"].endswith("the bound is 100.0 %")
    assert "the limit is 10 %" in found["streamnet.rejected"]["data"]["message"]
    assert len({event["id"] for event in read_events(receiver)}) == len(read_events(receiver))
    for headers, body in receiver.requests:
        assert headers["content-type"] == "application/cloudevents+json"
        key, seconds = webhooks.decode_secret(SECRET), int(headers["webhook-timestamp"])
        signature = sign(key, headers["webhook-id"], seconds, body)
        assert headers["webhook-signature"] == signature
        assert headers["webhook-id"] == json.loads(body)["id"]
    assert 'streamnet_webhook_dropped_total{webhook="ops"} 0.0' in text
    assert 'streamnet_webhook_delivered_total{webhook="other"} 0.0' in text


def test_events_are_repeated_until_they_are_confirmed_in_order(
    run: Runner, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "_MIN_RETRY_SECONDS", 0.002)
    receiver.answers = [503, 404, 204, 429, 204]

    async def main() -> None:
        hook = Webhook("ops", section(receiver.url), tmp_path)
        log = EventLog()
        for number in range(2):
            log.add("drift", number=number)
        for event in log._kept:
            await hook.put(webhooks.build_cloud_event("spam", "drift", event))
        await sent(hook, 2)
        assert hook.counts == (0, 2, 3, 0)

    run(main)
    assert [event["data"]["number"] for event in read_events(receiver)] == [0, 1]
    assert not list(tmp_path.iterdir())


def event_at(seconds: float) -> bytes:
    return webhooks.build_cloud_event("spam", "drift", Event(int(seconds), "drift", seconds, {}))


def test_too_many_and_too_old_events_are_dropped_and_counted(
    run: Runner, tmp_path: Path, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        settings = section(receiver.url, max_queued=3, max_age=100.0)
        hook = Webhook("ops", settings, tmp_path, clock=lambda: 1000.0)
        for seconds in (899.0, 950.0, 890.0, 960.0):
            await hook.put(event_at(seconds))
        assert hook.counts.waiting == 3
        await sent(hook, 2)
        assert hook.counts == (0, 2, 0, 2)

    run(main)
    assert [event["id"] for event in read_events(receiver)] == ["spam-950", "spam-960"]
    assert "1 events dropped: more than 3 wait" in caplog.text
    assert "1 events dropped: not delivered within 100 seconds" in caplog.text


def test_a_full_disk_drops_events_and_ends_nothing(run: Runner) -> None:
    class Full(Memory):
        full = False

        def write(self, handle: int, data: bytes) -> int:
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(handle, data)

    async def main() -> None:
        files = Full()
        hook = Webhook("ops", section("http://127.0.0.1:9/"), Path("/hooks"), files=files)
        files.full = True
        await hook.put(event_at(1.0))
        files.full = False
        await hook.put(event_at(2.0))
        assert hook.counts[0::3] == (1, 1)
        assert DurableQueue(Path("/hooks"), most=9, files=files).read(0) == event_at(2.0)

    run(main)


RUN_FILE = """
serve = {{dir = "{folder}/models", port = 0}}
webhook.ops = {{url = "{url}", events = "target"}}
model.lamp.source.target = "label"
"""


def test_a_daemon_that_is_killed_with_events_queued_delivers_them_after_its_start(
    tmp_path: Path,
) -> None:
    with Receiver() as server:
        port, url = server.server_port, server.url
    path = tmp_path / "serve.toml"
    path.write_text(RUN_FILE.format(folder=tmp_path, url=url))
    command = [sys.executable, "-m", "streamnet", "serve", str(path)]
    queue = tmp_path / "models" / ".webhooks" / "ops"
    daemon = Server(command)
    body = b'{"x": 1}\n' * 200  # the target is missing
    assert (
        httpx.post(
            f"{daemon.url}/v1/models/lamp/samples",
            content=body,
            headers={"Content-Type": "application/x-ndjson"},
            timeout=60,
        ).status_code
        == 200
    )
    anyio.run(until, lambda: any(queue.iterdir()))
    daemon.end(signal.SIGKILL)
    with serving(Receiver(port)) as server:
        daemon = Server(command)
        anyio.run(until, lambda: server.requests)
        daemon.end(signal.SIGTERM)
    assert read_events(server)[0]["type"] == "streamnet.target"
    assert "has the target 'label'" in read_events(server)[0]["data"]["message"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('webhook.ops.url = "ftp://example.org"', "must begin with http:// or https://"),
        ('webhook.ops = {url = "http://h/", events = "rain"}', "must be 'champion', 'drift'"),
        ("webhook.ops.max_age = 5.0", "webhook.ops.url is not given, but must be"),
        ('webhook.Ops.url = "http://h/"', "webhook is 'Ops', but must be lower-case letters"),
        ('webhook.ops.url = "http://me:word@h/"', "url has a user or a password in it"),
        ("model.spam = {source.target = 'y', alerts.score = -1.0}", "must be >= 0"),
    ],
)
def test_wrong_settings_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse(text)


def test_each_trouble_can_be_sent() -> None:
    assert {*get_args(WebhookEvent)} == {"champion", "drift", *get_args(TroubleKind)}


def test_a_secret_is_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", "whsec_?not base64")
    with pytest.raises(ConfigurationError, match=r"webhook\.ops\.secret .*base64") as caught:
        Webhook("ops", section("http://h/", secret_env="HOOK_SECRET"), tmp_path)
    assert "not base64" not in str(caught.value)
