"""Samples and labels: what is accepted, what is refused, and how it is reported."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.testclient import TestClient

from streamnet.daemon.http.access import Limits
from streamnet.errors import BusyError, OutputError
from tests.conftest import Runner
from tests.daemon.app_client import SAMPLES, client, client_beside, is_problem, lines
from tests.daemon.asgi import Talk, lines_scope
from tests.daemon.hosted_models import hosting_all, learned, settings_of, until
from tests.daemon.stand_ins import StandIn, StandInRegistry


def test_one_sample_and_many_are_learned(http: TestClient, wine: StandIn) -> None:
    receipt = http.post("/v1/models/wine/samples", json={"sample": {"x": 1, "label": "on"}})
    assert receipt.status_code == 200
    assert receipt.json() == {
        "accepted": 1,
        "rejected": 0,
        "duplicate": False,
        "first": 0,
        "last": 0,
        "unlabeled": 0,
    }
    receipt = http.post("/v1/models/wine/samples", json={"samples": SAMPLES})
    assert receipt.json()["last"] == 30
    assert wine.taken[1:] == SAMPLES


def test_an_acknowledgement_waits_for_the_disk_unless_queued(
    http: TestClient, wine: StandIn
) -> None:
    body = {"sample": {"x": 1}}
    assert http.post("/v1/models/wine/samples", json=body).status_code == 200
    assert http.post("/v1/models/wine/samples?ack=queued", json=body).status_code == 202
    assert wine.durable == [True, False]
    assert is_problem(http.post("/v1/models/wine/samples?ack=now", json=body), 422, "ack")


@pytest.mark.parametrize("packed", [False, True])
def test_a_stream_of_lines_is_learned_as_it_arrives(
    http: TestClient, wine: StandIn, packed: bool
) -> None:
    text = lines(SAMPLES * 1000)
    headers = {"content-type": "application/x-ndjson"}
    if packed:
        text, headers["content-encoding"] = gzip.compress(text), "gzip"
    receipt = http.post("/v1/models/wine/samples", content=text, headers=headers).json()
    assert (receipt["accepted"], receipt["first"], receipt["last"]) == (30_000, 0, 29_999)
    assert [json.loads(line) for line in wine.taken[-30:]] == SAMPLES


def test_the_last_line_needs_no_newline(http: TestClient, wine: StandIn) -> None:
    headers = {"content-type": "application/x-ndjson"}
    http.post("/v1/models/wine/samples", content=b'{"x": 1}\n{"x": 2}', headers=headers)
    assert wine.taken == [b'{"x": 1}', b'{"x": 2}']


def test_the_same_key_learns_nothing_twice(http: TestClient, wine: StandIn) -> None:
    key = {"idempotency-key": "k-1"}
    first = http.post("/v1/models/wine/samples", json={"samples": SAMPLES}, headers=key)
    again = http.post("/v1/models/wine/samples", json={"samples": SAMPLES}, headers=key)
    assert again.json() == {**first.json(), "duplicate": True}
    assert len(wine.taken) == len(SAMPLES)


def test_a_stream_with_a_key_is_split_the_same_however_it_arrives(
    registry: StandInRegistry,
) -> None:
    text = lines(SAMPLES * 600)
    headers = {"content-type": "application/x-ndjson", "idempotency-key": "k"}
    receipts = []
    for size in (1000, 77_777, len(text)):
        pieces = (text[start : start + size] for start in range(0, len(text), size))
        reply = client(registry).post("/v1/models/wine/samples", content=pieces, headers=headers)
        receipts.append(reply.json())
    assert [receipt["duplicate"] for receipt in receipts] == [False, True, True]
    assert receipts[1]["accepted"] == len(registry.models["wine"].taken) == 18_000


def test_keys_of_stream_parts_differ_from_all_client_keys(http: TestClient, wine: StandIn) -> None:
    headers = {"content-type": "application/x-ndjson", "idempotency-key": "k"}
    http.post("/v1/models/wine/samples", content=lines(SAMPLES * 600), headers=headers)
    assert len(wine.receipts) > 1
    for key in wine.receipts:
        assert not re.fullmatch("[!-~]*", key), "the documented pattern"


def test_a_full_queue_returns_retry_after(http: TestClient, wine: StandIn) -> None:
    wine.errors = [BusyError("9 samples wait to be learned", 2.5)]
    refused = http.post("/v1/models/wine/samples", json={"samples": SAMPLES})
    assert is_problem(refused, 429, "9 samples wait")
    assert refused.headers["retry-after"] == "3"


def test_a_stream_waits_for_space_in_the_queue(http: TestClient, wine: StandIn) -> None:
    wine.errors = [BusyError("full", 0.01)] * 3
    headers = {"content-type": "application/x-ndjson"}
    receipt = http.post("/v1/models/wine/samples", content=lines(SAMPLES), headers=headers)
    assert receipt.json()["accepted"] == 30


def test_an_interrupted_stream_reports_what_was_accepted(registry: StandInRegistry) -> None:
    http = client(registry, limits=Limits(line=100))
    headers = {"content-type": "application/x-ndjson"}
    good = lines(SAMPLES)
    describe_resumption = "30 samples before it were accepted, resume at line 31"
    for text in ([good, b"x" * 101], [good + b"x" * 101 + b"\n" + good]):
        refused = http.post("/v1/models/wine/samples", content=iter(text), headers=headers)
        assert is_problem(refused, 413, f"line 31 is longer than 100 bytes; {describe_resumption}")
        assert refused.json()["receipt"]["accepted"] == 30


def test_lines_are_numbered_from_the_start_of_the_stream(registry: StandInRegistry) -> None:
    headers = {"content-type": "application/x-ndjson", "idempotency-key": "k"}
    text = b'{"x": 1}\n' * 40_000 + b"x" * ((1 << 20) + 1)
    pieces = (text[start : start + 50_000] for start in range(0, len(text), 50_000))
    refused = client(registry).post("/v1/models/wine/samples", content=pieces, headers=headers)
    taken = len(registry.models["wine"].taken)
    assert 0 < taken < 40_000  # parts with a key are accepted as a whole
    assert is_problem(refused, 413, "line 40001 is longer", f"resume at line {taken + 1}")


def test_a_line_of_the_maximum_length_is_learned(registry: StandInRegistry) -> None:
    http = client(registry, limits=Limits(line=100))
    headers = {"content-type": "application/x-ndjson"}
    text = iter([(b"x" * 100 + b"\n") * 3, b"x" * 99, b"x\n", b"x" * 100])
    assert http.post("/v1/models/wine/samples", content=text, headers=headers).json()["last"] == 4


def test_a_full_disk_returns_507(http: TestClient, wine: StandIn) -> None:
    wine.errors = [OutputError("no space left")]
    refused = http.post("/v1/models/wine/samples", json={"samples": SAMPLES})
    assert is_problem(refused, 507, "no space left")


def test_an_internal_error_is_logged_and_not_disclosed(
    http: TestClient, wine: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    wine.errors = [KeyError("a secret of the inside")]
    refused = http.post("/v1/models/wine/samples", json={"samples": SAMPLES})
    assert is_problem(refused, 500)
    assert "secret" not in refused.text
    assert "a secret of the inside" in caplog.text


def test_a_stream_ends_when_the_queue_stays_full(
    http: TestClient, wine: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamnet.daemon.http.routes.samples._MAX_WAIT_SECONDS", 0.0)
    wine.errors = [BusyError("full", 1.0)] * 9
    headers = {"content-type": "application/x-ndjson"}
    text = iter([lines(SAMPLES)] * 100)
    refused = http.post("/v1/models/wine/samples", content=text, headers=headers)
    assert is_problem(refused, 429, "full")
    assert refused.json()["receipt"]["accepted"] == 0


@pytest.mark.parametrize("part", ["samples", "predict"])
def test_a_stopping_daemon_ends_streams_and_reports_what_was_accepted(
    registry: StandInRegistry, part: str
) -> None:
    piece = {"type": "http.request", "body": b'{"x": 1}\n', "more_body": True}
    talk = Talk(piece, piece)  # and nothing more for now

    async def main() -> None:
        stopping = anyio.Event()
        app: Any = client(registry, stopping=stopping).app
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                scope = lines_scope(f"/v1/models/wine/{part}")
                group.start_soon(app, scope, talk.receive, talk.send)
                await anyio.sleep(0.5)  # until what arrived is accepted
                assert not talk.sent
                stopping.set()

    anyio.run(main)
    assert talk.status == 503
    told = json.loads(talk.sent[-1]["body"])
    assert "the daemon is stopping" in told["detail"]
    if part == "samples":
        assert told["receipt"]["accepted"] == 2


@pytest.mark.parametrize("late", [False, True], ids=["samples-first", "labels-first"])
def test_whole_numbers_are_the_same_classes_in_samples_and_in_late_labels(
    run: Runner, tmp_path: Path, late: bool
) -> None:
    """Whichever mentions a class first, and also as floats."""
    samples = [{"x": i % 2, "y": i % 2} for i in range(40)]

    async def main() -> None:
        async with hosting_all(tmp_path, spam=settings_of()) as models:
            spam = models.models["spam"]
            await spam.opened()
            async with client_beside(models) as http:

                async def sent(part: str, body: Any) -> Any:
                    reply = await http.post(f"/v1/models/spam/{part}", json=body)
                    assert reply.status_code == 200, reply.text
                    return reply.json()

                async def label(*pairs: tuple[str, Any]) -> Any:
                    told = [{"id": identity, "label": value} for identity, value in pairs]
                    return (await sent("labels", {"labels": told}))["outcomes"]

                # The model predicts only after it has learned something.
                first = [{"x": 2, "y": "other"}] * 40 if late else samples
                await sent("samples", {"samples": first})
                await spam.published()
                asked = [{"x": x} for x in (0, 1, 1)]
                await sent("predict", {"samples": asked, "ids": ["a", "b", "c"]})
                assert await label(("a", 0), ("b", 1)) == ["joined"] * 2
                assert await label(("b", 1), ("b", "1"), ("b", 0), ("b", 1.0)) == [
                    "duplicate",
                    "duplicate",
                    "contradictory",
                    "duplicate",
                ]
                floats = [{**sample, "y": float(sample["y"])} for sample in samples]
                await sent("samples", {"samples": [*samples[:20], *floats[20:]]})
                await learned(spam, 82)
                assert await label(("c", 10**30)) == ["joined"]
                await learned(spam, 83)
                await until(lambda: spam.status().scored == 83)
                known = set((await http.get("/v1/models/spam/confusion")).json()["labels"])
                assert known == {"0", "1", str(10**30)} | ({"other"} if late else set())

    run(main)


def test_a_number_out_of_range_is_refused(http: TestClient) -> None:
    body = b'{"labels": [{"id": "a", "label": %s}]}' % (b"9" * 5000)
    refused = http.post("/v1/models/wine/labels", content=body)
    assert is_problem(refused, 422, "out of range", "label")
