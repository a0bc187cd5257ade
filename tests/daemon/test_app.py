"""The application: every operation, its errors as problems, and who may ask for it."""

from __future__ import annotations

import gzip
import json
import re
from typing import Any

import anyio
import pytest
from starlette.testclient import TestClient

from streamnet.daemon.access import Access
from streamnet.daemon.access import Scope
from streamnet.daemon.app import OPERATIONS
from streamnet.daemon.app import create_app
from streamnet.daemon.limits import Limits
from streamnet.errors import BusyError
from streamnet.errors import NotReadyError
from streamnet.errors import OutputError
from tests.daemon.standing_in import StandIn
from tests.daemon.standing_in import StandInRegistry
from tests.daemon.standing_in import learned_model

TOKENS = {scope: f"{scope}-" + "x" * 20 for scope in Scope}
SAMPLES = [{"x": i, "y": 1, "shade": "red"} for i in range(30)]


def client(registry: Any, **options: Any) -> TestClient:
    return TestClient(create_app(registry, **options), raise_server_exceptions=False)


@pytest.fixture
def registry() -> StandInRegistry:
    return StandInRegistry("wine")


@pytest.fixture
def wine(registry: StandInRegistry) -> StandIn:
    return registry.models["wine"]


@pytest.fixture
def http(registry: StandInRegistry) -> TestClient:
    return client(registry)


def lines(samples: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(sample).encode() + b"\n" for sample in samples)


def is_problem(response: Any, status: int, *phrases: str) -> bool:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    told = response.json()
    assert told["status"] == status
    assert all(phrase in told["detail"] for phrase in phrases), told
    return True


# --------------------------------------------------------------------------------- learning


def test_one_sample_and_many_are_learned(http: TestClient, wine: StandIn) -> None:
    receipt = http.post("/v1/models/wine/samples", json={"sample": {"x": 1, "label": "on"}})
    assert receipt.status_code == 200
    assert receipt.json() == {
        "accepted": 1,
        "rejected": 0,
        "duplicate": False,
        "first": 0,
        "last": 0,
    }
    receipt = http.post("/v1/models/wine/samples", json={"samples": SAMPLES})
    assert receipt.json()["last"] == 30
    assert wine.taken[1:] == SAMPLES


def test_an_acknowledgement_waits_for_the_disk_unless_it_need_not(
    http: TestClient, wine: StandIn
) -> None:
    body = {"sample": {"x": 1}}
    assert http.post("/v1/models/wine/samples", json=body).status_code == 200
    assert http.post("/v1/models/wine/samples?ack=queued", json=body).status_code == 202
    assert wine.durable == [True, False]
    assert is_problem(http.post("/v1/models/wine/samples?ack=now", json=body), 422, "ack")


@pytest.mark.parametrize("packed", [False, True])
def test_a_stream_of_lines_is_learned_as_it_comes(
    http: TestClient, wine: StandIn, packed: bool
) -> None:
    text = lines(SAMPLES * 1000)
    headers = {"content-type": "application/x-ndjson"}
    if packed:
        text, headers["content-encoding"] = gzip.compress(text), "gzip"
    receipt = http.post("/v1/models/wine/samples", content=text, headers=headers).json()
    assert (receipt["accepted"], receipt["first"], receipt["last"]) == (30_000, 0, 29_999)
    assert [json.loads(line) for line in wine.taken[-30:]] == SAMPLES


def test_a_last_line_needs_no_end(http: TestClient, wine: StandIn) -> None:
    headers = {"content-type": "application/x-ndjson"}
    http.post("/v1/models/wine/samples", content=b'{"x": 1}\n{"x": 2}', headers=headers)
    assert wine.taken == [b'{"x": 1}', b'{"x": 2}']


def test_the_same_key_learns_nothing_twice(http: TestClient, wine: StandIn) -> None:
    key = {"idempotency-key": "k-1"}
    first = http.post("/v1/models/wine/samples", json={"samples": SAMPLES}, headers=key)
    again = http.post("/v1/models/wine/samples", json={"samples": SAMPLES}, headers=key)
    assert again.json() == {**first.json(), "duplicate": True}
    assert len(wine.taken) == len(SAMPLES)


def test_a_stream_with_a_key_is_cut_alike_however_it_comes(registry: StandInRegistry) -> None:
    text = lines(SAMPLES * 600)
    headers = {"content-type": "application/x-ndjson", "idempotency-key": "k"}
    receipts = []
    for size in (1000, 77_777, len(text)):
        pieces = (text[start : start + size] for start in range(0, len(text), size))
        reply = client(registry).post("/v1/models/wine/samples", content=pieces, headers=headers)
        receipts.append(reply.json())
    assert [receipt["duplicate"] for receipt in receipts] == [False, True, True]
    assert receipts[1]["accepted"] == len(registry.models["wine"].taken) == 18_000


def test_who_is_too_fast_is_told_when_to_come_again(http: TestClient, wine: StandIn) -> None:
    wine.errors = [BusyError("9 samples wait to be learned", 2.5)]
    refused = http.post("/v1/models/wine/samples", json={"samples": SAMPLES})
    assert is_problem(refused, 429, "9 samples wait")
    assert refused.headers["retry-after"] == "3"


def test_a_stream_waits_for_room(http: TestClient, wine: StandIn) -> None:
    wine.errors = [BusyError("full", 0.01)] * 3
    headers = {"content-type": "application/x-ndjson"}
    receipt = http.post("/v1/models/wine/samples", content=lines(SAMPLES), headers=headers)
    assert receipt.json()["accepted"] == 30


def test_a_stream_that_breaks_tells_what_was_accepted(registry: StandInRegistry) -> None:
    http = client(registry, limits=Limits(line=100))
    headers = {"content-type": "application/x-ndjson"}
    text = iter([lines(SAMPLES), b"x" * 101])
    refused = http.post("/v1/models/wine/samples", content=text, headers=headers)
    assert is_problem(refused, 413, "longer than 100")
    assert refused.json()["receipt"]["accepted"] == 30


def test_a_full_disk_is_told(http: TestClient, wine: StandIn) -> None:
    wine.errors = [OutputError("no space left")]
    refused = http.post("/v1/models/wine/samples", json={"samples": SAMPLES})
    assert is_problem(refused, 507, "no space left")


def test_an_error_of_ours_is_logged_and_not_told(
    http: TestClient, wine: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    wine.errors = [KeyError("a secret of the inside")]
    refused = http.post("/v1/models/wine/samples", json={"samples": SAMPLES})
    assert is_problem(refused, 500)
    assert "secret" not in refused.text
    assert "a secret of the inside" in caplog.text


# --------------------------------------------------------------------------------- predicting


def test_answers_are_those_of_the_model(http: TestClient) -> None:
    told = http.post("/v1/models/wine/predict", json={"samples": SAMPLES}).json()
    model = learned_model()
    assert told["answers"] == model.predict(SAMPLES).tolist()
    assert told["labels"] == list(model.labels)
    assert told["probabilities"] == model.predict_proba(SAMPLES).tolist()
    assert told["generations"] == [7] * 30


def test_many_lines_are_answered_in_their_order(http: TestClient) -> None:
    samples = SAMPLES * 400
    headers = {"content-type": "application/x-ndjson"}
    reply = http.post("/v1/models/wine/predict", content=lines(samples), headers=headers)
    told = [json.loads(line) for line in reply.text.splitlines()]
    assert [line["answer"] for line in told] == learned_model().predict(samples).tolist()
    highest = learned_model().predict_proba(samples).max(axis=1).tolist()
    assert [line["probability"] for line in told] == highest


def test_a_wrong_line_is_named(http: TestClient) -> None:
    headers = {"content-type": "application/x-ndjson"}
    refused = http.post("/v1/models/wine/predict", content=b'{"x": 1}\n[1]\n', headers=headers)
    assert is_problem(refused, 422, "line")


def test_an_answer_with_an_id_waits_for_its_label(http: TestClient, wine: StandIn) -> None:
    body = {"sample": SAMPLES[25], "id": "a"}
    first = http.post("/v1/models/wine/predict", json=body).json()
    again = http.post("/v1/models/wine/predict", json={"samples": [SAMPLES[0]], "ids": ["a"]})
    assert first["answers"] == again.json()["answers"] == ["on"]
    labels = [{"id": "a", "label": "on"}, {"id": "a", "label": "off"}, {"id": "b", "label": 1}]
    told = http.post("/v1/models/wine/labels", json={"labels": labels})
    assert told.json() == {"outcomes": ["joined", "contradictory", "unknown"]}


def test_what_moved_an_answer_is_explained(http: TestClient) -> None:
    body = {"sample": SAMPLES[25], "explain": True}
    (told,) = http.post("/v1/models/wine/predict", json=body).json()["explanations"]
    model = learned_model()
    on = model.labels.index("on")
    (before,) = model.predict_proba(SAMPLES[25])
    (without,) = model.predict_proba({"y": 1, "shade": "red"})
    assert told["x"] == pytest.approx(before[on] - without[on], abs=1e-9)
    assert max(told, key=told.__getitem__) == "x"


def test_an_explanation_of_too_much_is_refused(http: TestClient) -> None:
    body = {"samples": SAMPLES * 300, "explain": True}
    assert is_problem(http.post("/v1/models/wine/predict", json=body), 422, "27000")


def test_no_answer_comes_before_there_is_a_model(
    http: TestClient, wine: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_ready(_: Any) -> None:
        raise NotReadyError("no model yet")

    monkeypatch.setattr(wine, "predict", not_ready)
    refused = http.post("/v1/models/wine/predict", json={"samples": SAMPLES})
    assert is_problem(refused, 503, "no model yet")
    assert refused.headers["retry-after"] == "1"


# --------------------------------------------------------------------------------- bad bodies


@pytest.mark.parametrize(
    ("body", "status", "phrase"),
    [
        (b"", 400, "JSON"),
        (b"{", 400, "JSON"),
        (b"[]", 422, "object"),
        (b"{}", 422, "exactly one of sample and samples"),
        (b'{"sample": {}, "samples": []}', 422, "exactly one"),
        (b'{"samples": [3]}', 422, "$.samples[0]"),
        (b'{"sample": {}, "extra": 1}', 422, "extra"),
        (b'{"sample": {}, "ids": ["a"]}', 422, "ids"),
        (b'{"samples": [{}], "id": "a"}', 422, "id"),
        (b'{"samples": [{}], "ids": ["a", "b"]}', 422, "one for each"),
        (b'{"sample": ' + b'{"a":' * 100_000, 400, "nested too deeply"),
        (b'{"sample": {"a": "\xff"}}', 400, "JSON"),
        (b'{"sample": {"a": 1e999}}', 422, "range"),
    ],
)
def test_a_body_that_is_wrong_is_told_what_is(
    http: TestClient, body: bytes, status: int, phrase: str
) -> None:
    headers = {"content-type": "application/json"}
    refused = http.post("/v1/models/wine/predict", content=body, headers=headers)
    assert is_problem(refused, status, phrase)


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"content-type": "text/html"}, b"{}", 415),
        ({"content-encoding": "br"}, b"{}", 415),
        ({"content-encoding": "gzip"}, b"no gzip", 400),
        ({"content-encoding": "gzip"}, gzip.compress(b"{}" * 100)[:-9], 400),
        ({"content-encoding": "gzip"}, gzip.compress(b" " * 100_000_000), 413),
        ({}, b" " * 1001, 413),
        ({"idempotency-key": "a b"}, b"{}", 422),
    ],
    ids=["type", "encoding", "no gzip", "half a gzip", "gzip bomb", "large", "key"],
)
def test_a_body_within_no_limits_is_refused(
    registry: StandInRegistry, headers: dict[str, str], body: bytes, status: int
) -> None:
    http = client(registry, limits=Limits(body=1000))
    refused = http.post("/v1/models/wine/samples", content=body, headers=headers)
    assert is_problem(refused, status)


def test_a_body_of_two_gzip_members_is_one(http: TestClient, wine: StandIn) -> None:
    text = gzip.compress(b'{"sample"') + gzip.compress(b': {"x": 1}}')
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    assert http.post("/v1/models/wine/samples", content=text, headers=headers).is_success
    assert wine.taken == [{"x": 1}]


def test_only_so_many_batches_are_at_work(registry: StandInRegistry) -> None:
    http = client(registry, limits=Limits(lines=1000))
    headers = {"content-type": "application/x-ndjson"}
    refused = http.post("/v1/models/wine/predict", content=lines(SAMPLES * 5), headers=headers)
    assert is_problem(refused, 413, "1000")


# --------------------------------------------------------------------------------- models


def test_models_are_made_listed_changed_and_deleted(
    http: TestClient, registry: StandInRegistry
) -> None:
    body = {"name": "beer", "settings": {"source": {"target": "label"}}}
    made = http.post("/v1/models", json=body)
    assert (made.status_code, made.headers["location"]) == (201, "/v1/models/beer")
    assert registry.settings["beer"].source.target == "label"
    assert [line["name"] for line in http.get("/v1/models").json()] == ["beer", "wine"]
    assert http.post("/v1/models/beer/pause").json()["state"] == "paused"
    assert http.post("/v1/models/beer/resume").json()["state"] == "learning"
    assert http.post("/v1/models/beer/reset").json()["samples"] == 0
    assert is_problem(http.post("/v1/models", json=body), 409, "beer")
    assert http.delete("/v1/models/beer").status_code == 204
    assert is_problem(http.get("/v1/models/beer"), 404)


@pytest.mark.parametrize("name", ["", "UP", "../x", "a/b", "-x", "x" * 65])
def test_a_name_of_a_model_is_no_path(http: TestClient, name: str) -> None:
    assert is_problem(http.post("/v1/models", json={"name": name}), 422, "name")


def test_settings_that_are_wrong_are_named(http: TestClient) -> None:
    body = {"name": "beer", "settings": {"source": {"targt": "y"}, "run": {"seed": -1}}}
    assert is_problem(http.post("/v1/models", json=body), 422, "source.targt", "run.seed")


def test_settings_are_not_nested_deeply(http: TestClient) -> None:
    deep: Any = {}
    for _ in range(20):
        deep = {"a": [deep]}
    body = {"name": "deep", "settings": deep}
    assert is_problem(http.post("/v1/models", json=body), 422, "nested")


@pytest.mark.parametrize("part", ["", "/champion", "/leaders", "/confusion", "/rejected"])
def test_what_a_model_tells_comes_in_its_shape(http: TestClient, part: str) -> None:
    assert http.get(f"/v1/models/wine{part}").status_code == 200


def test_what_is_not_known_yet_is_told_so(http: TestClient) -> None:
    assert is_problem(http.get("/v1/models/wine/history"), 503, "not learned")


def test_a_model_is_taken_home_in_each_format(http: TestClient) -> None:
    for suffix in ("safetensors", "json"):
        reply = http.get(f"/v1/models/wine/model?format={suffix}")
        assert reply.content == f".{suffix}".encode()
        assert f'filename="wine.{suffix}"' in reply.headers["content-disposition"]
    assert is_problem(http.get("/v1/models/wine/model?format=pickle"), 422, "format")


# --------------------------------------------------------------------------------- watching


def test_health_and_metrics_are_told(http: TestClient, wine: StandIn) -> None:
    assert http.get("/healthz").json() == http.get("/readyz").json() == {"status": "ok"}
    wine.state = "starting"
    assert http.get("/readyz").status_code == 503
    text = http.get("/metrics").text
    assert 'streamnet_accepted_total{model="wine"} 0.0' in text
    assert 'streamnet_state{model="wine",state="starting"} 1.0' in text
    assert 'streamnet_request_seconds_count{operation="readyz"} 2.0' in text
    assert 'streamnet_baseline{baseline="no_change",model="wine"} NaN' in text


def test_readiness_ends_with_the_daemon(registry: StandInRegistry) -> None:
    stopping = anyio.Event()
    http = client(registry, stopping=stopping)
    stopping.set()
    assert http.get("/readyz").json() == http.get("/readyz").json() == {"status": "stopping"}
    assert http.get("/healthz").status_code == 200


def test_events_are_told_from_the_last_one_on_that_was_read(
    http: TestClient, wine: StandIn
) -> None:
    for number in range(3):
        wine.events.add("champion", number=number)
    wine.events.close()
    text = http.get("/v1/models/wine/events", headers={"last-event-id": "2"}).text
    told = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    assert [(event["id"], event["data"]) for event in told] == [
        (3, {"number": 1}),
        (4, {"number": 2}),
    ]
    assert is_problem(http.get("/v1/models/wine/events?after=x"), 422)


# --------------------------------------------------------------------------------- strangers


def test_each_operation_asks_for_its_scope(registry: StandInRegistry) -> None:
    access = Access({token: {scope} for scope, token in TOKENS.items()})
    http = client(registry, access=access, limits=Limits(rate=1e6))
    for line in OPERATIONS:
        path = line.path.format(name="absent")
        assert http.request(line.method, path).status_code == (401 if line.scope else 200), line
        for scope, token in TOKENS.items():
            headers = {"authorization": f"Bearer {token}"}
            status = http.request(line.method, path, headers=headers).status_code
            allowed = line.scope in (None, scope) or scope is Scope.ADMIN
            assert (status not in (401, 403)) == allowed, (line.name, scope, status)


def test_who_guesses_tokens_is_slowed_down(registry: StandInRegistry) -> None:
    access = Access({TOKENS[Scope.READ]: {Scope.READ}})
    http = client(registry, access=access, limits=Limits(rate=10.0, guess=4.0))
    headers = {"authorization": "Bearer guessed"}
    statuses = [http.get("/v1/models", headers=headers).status_code for _ in range(5)]
    assert statuses == [401, 401, 429, 429, 429]
    assert http.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "LOCALHOST:8000"}, 200),
        ({"host": "evil.example:8000"}, 421),
        ({"host": "localhost:8000.evil.example"}, 421),
        ({"host": ""}, 421),
        ({"origin": "http://localhost:8000"}, 200),
        ({"origin": "https://friend.example"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "https://localhost:8000"}, 403),
        ({"origin": "null"}, 403),
    ],
)
def test_a_page_of_others_is_kept_out(
    registry: StandInRegistry, headers: dict[str, str], status: int
) -> None:
    app = create_app(registry, hosts={"localhost:8000"}, origins={"https://friend.example"})  # type: ignore[arg-type]
    http = TestClient(app, base_url="http://localhost:8000")
    assert http.get("/v1/models", headers=headers).status_code == status


def test_every_answer_tells_browsers_to_be_careful(http: TestClient) -> None:
    for path in ("/v1/models", "/v1/models/absent", "/nothing", "/healthz"):
        headers = http.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


def test_what_is_not_there_is_a_problem_too(http: TestClient) -> None:
    assert is_problem(http.get("/nothing"), 404)
    refused = http.put("/v1/models")
    assert is_problem(refused, 405)
    assert set(refused.headers["allow"].split(", ")) >= {"GET"}


def test_the_page_is_shown_to_everybody(registry: StandInRegistry) -> None:
    http = client(registry, access=Access({TOKENS[Scope.READ]: {Scope.READ}}))
    page = http.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for file in re.findall(r"(?:src|href)=\"(page/[^\"]+)", page.text):
        assert http.get(f"/{file}").status_code == 200
    assert is_problem(http.get("/page/absent.js"), 404)
    assert is_problem(http.get("/page/..%2fassets.py"), 404)


def test_only_so_many_requests_are_inside(registry: StandInRegistry) -> None:
    http = client(registry, limits=Limits(rate=2.0))
    statuses = [http.get("/v1/models").status_code for _ in range(3)]
    assert statuses == [200, 200, 429]


def test_the_application_can_be_mounted(registry: StandInRegistry) -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    outer = Starlette(routes=[Mount("/ml", create_app(registry))])  # type: ignore[arg-type]
    http = TestClient(outer)
    assert http.get("/ml/v1/models/wine").json()["name"] == "wine"
    body = {"name": "beer", "settings": {"source": {"target": "y"}}}
    assert http.post("/ml/v1/models", json=body).headers["location"] == "/ml/v1/models/beer"
