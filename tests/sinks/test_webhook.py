"""A web address as a destination: batches, repetitions, signatures, refusals."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from streamnet.errors import ConfigurationError, OutputError
from streamnet.settings.sinks import parse_sink_url
from streamnet.sinks.outbox import Outbox
from streamnet.sinks.webhook import WebhookDestination
from tests.web_servers import LOST, Receiver, serving


def read_numbers(receiver: Receiver) -> list[list[int]]:
    """The numbers of the records of each request."""
    bodies = [json.loads(body) for _, body in receiver.requests]
    return [[record["number"] for record in body["records"]] for body in bodies]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with serving(Receiver()) as server:
        yield server


def send(url: str, count: int) -> Outbox:
    settings: Any = parse_sink_url(url)
    outbox = Outbox("predictions", WebhookDestination(settings))
    outbox.begin()
    try:
        for number in range(count):
            outbox.put(b'{"number":%d}' % number)
        outbox.flush()
    finally:
        outbox.close()
    return outbox


def test_records_are_posted_in_batches(receiver: Receiver) -> None:
    outbox = send(f"{receiver.url}#batch=10", 95)
    batches = read_numbers(receiver)
    assert [number for batch in batches for number in batch] == list(range(95))
    assert max(map(len, batches)) == 10
    headers, body = receiver.requests[-1]
    run = outbox.export_state()["run"]
    assert json.loads(body)["run"] == run
    assert headers["Content-Type"] == "application/json"
    assert headers["Streamnet-Run"] == str(run)
    assert headers["Idempotency-Key"] == f"{run}-{batches[-1][0]}-94"
    assert "Authorization" not in headers
    assert "Streamnet-Signature" not in headers


def test_requests_that_may_succeed_later_are_repeated_in_order(receiver: Receiver) -> None:
    receiver.answers = [503, LOST, 429, 200, 500]
    send(f"{receiver.url}#batch=10", 50)
    numbers = [number for batch in read_numbers(receiver) for number in batch]
    # What was taken without an answer comes again.
    assert list(dict.fromkeys(numbers)) == list(range(50))
    assert len(numbers) > 50


def test_requests_are_signed_and_carry_a_token(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("between us\n")
    monkeypatch.setenv("HOOK_TOKEN", "t0ken")
    send(f"{receiver.url}#secret_file={tmp_path}/secret&token_env=HOOK_TOKEN", 1)
    ((headers, body),) = receiver.requests
    assert headers["Authorization"] == "Bearer t0ken"
    given = dict(part.split("=") for part in headers["Streamnet-Signature"].split(","))
    text = given["t"].encode() + b"." + body
    assert given["v1"] == hmac.new(b"between us", text, sha256).hexdigest()


def test_a_refusal_ends_the_run(receiver: Receiver) -> None:
    receiver.answers = [401]
    with pytest.raises(OutputError, match=r"answers 401 Unauthorized to records 0 to 0, but must"):
        send(receiver.url, 1)


def test_a_secret_that_is_missing_is_an_error_at_once() -> None:
    with pytest.raises(ConfigurationError, match=r"^secret_env is 'NO_SECRET', but that variable"):
        send("http://127.0.0.1:1/#secret_env=NO_SECRET", 0)
