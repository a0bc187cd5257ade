"""The OpenAPI document: the API behaves as documented, whatever is sent."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import hypothesis
import pytest
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st
from schemathesis import Case
from schemathesis.config import SchemathesisConfig
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import positive_data_acceptance
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient

from streamnet.client import Client
from streamnet.client.operation import NDJSON, Operation, Scope, operation
from streamnet.client.operations import OPERATIONS, Operations
from streamnet.client.schemas import NAME_PATTERN, Health
from streamnet.daemon.http.access import Limits
from streamnet.daemon.http.app import build_document, create_app
from streamnet.daemon.http.routes import ENDPOINTS
from streamnet.daemon.http.service import Service, json_response
from streamnet.settings.daemon import MODEL_NAME
from tests.daemon.stand_ins import StandIn, StandInRegistry


class Undying(StandInRegistry):
    """Recreates deleted models with a sample, so that there is always something to call."""

    async def delete(self, name: str) -> None:
        self.models[name] = Learned(name)


class Learned(StandIn):
    """Has always learned a sample, whatever it is sent."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.taken.append({})

    async def reset(self, *, keep_old: bool = True) -> None:
        self.taken[:] = [{}]


REGISTRY = Undying()
REGISTRY.models["wine"] = Learned("wine")
APP = create_app(REGISTRY, limits=Limits(max_rate=1e9))  # type: ignore[arg-type]


def promised(described: dict[str, Any]) -> list[str]:
    """The error statuses that the document lists for an operation."""
    return [status for status in described["responses"] if status.startswith("4")]


def expectations() -> SchemathesisConfig:
    """Invalid requests must be refused with one of the documented statuses."""
    paths = build_document()["paths"]
    lines = [described for path in paths.values() for described in path.values()]
    return SchemathesisConfig.from_dict(
        {
            "operations": [
                {
                    "include-operation-id": described["operationId"],
                    "checks": {
                        "negative_data_rejection": {"expected-statuses": promised(described)}
                    },
                }
                for described in lines
            ]
        }
    )


def interface() -> BaseSchema:
    """The operations to test: not the endless events; tokens and lines are tested elsewhere."""
    whole = schemathesis.openapi.from_asgi("/openapi.json", APP, config=expectations())
    schema = whole.exclude(operation_id="events")
    paths = schema.raw_schema["paths"]
    for path in [path for path in paths if "{shadow}" in path]:
        # There any value is text, which may be the name of a shadow, such as null.
        paths[path.replace("{shadow}", "rival")] = paths.pop(path)
    for methods in paths.values():
        for line in methods.values():
            parameters = line.get("parameters", [])
            line["parameters"] = [one for one in parameters if one["name"] != "shadow"]
            line.pop("security", None)
            line.get("requestBody", {"content": {}})["content"].pop(NDJSON, None)
            for parameter in line.get("parameters", ()):
                if parameter["in"] == "path":
                    parameter["schema"] = {"enum": ["wine"]}
    return schema


SCHEMA = interface()
# A schema can't say that there are as many ids as samples, or which settings fit together.
UNSAID: list[Any] = [positive_data_acceptance]


def quoted(case: Case) -> Case:
    """The case with its name quoted even if it is not text: a raw ``?`` would end the path."""
    name = case.path_parameters.get("name", "")
    if not isinstance(name, str):
        case.path_parameters["name"] = quote(str(name), safe="")
    return case


@SCHEMA.parametrize()
@hypothesis.settings(max_examples=8)
def test_the_api_matches_its_document(case: Case) -> None:
    quoted(case).call_and_validate(excluded_checks=UNSAID)


@pytest.mark.long
@pytest.mark.timeout(3600)
@SCHEMA.parametrize()
@hypothesis.settings(max_examples=500)
def test_the_api_matches_its_document_for_arbitrary_requests(case: Case) -> None:
    # Clients normalize such paths, which would then call another operation.
    hypothesis.assume(case.path_parameters.get("name") not in (".", ".."))
    quoted(case).call_and_validate(excluded_checks=UNSAID)


def test_the_document_names_every_operation_and_its_errors() -> None:
    told = TestClient(APP).get("/openapi.json").json()
    described = {
        line["operationId"]: line for path in told["paths"].values() for line in path.values()
    }
    assert set(described) == set(OPERATIONS)
    for line in OPERATIONS.values():
        responses = described[line.name]["responses"]
        assert str(line.status) in responses
        assert ("401" in responses) == (line.scope is not None)


@pytest.mark.parametrize(
    "line", [line for line in OPERATIONS.values() if line.has_body], ids=lambda o: o.name
)
def test_too_large_bodies_and_wrong_types_are_refused_as_documented(
    line: Operation[..., Any, Any],
) -> None:
    described = build_document()["paths"][line.path][line.method.lower()]
    assert {"400", "408", "413", "415", "422"} <= set(promised(described))
    small = TestClient(create_app(REGISTRY, limits=Limits(max_body=8, max_model=8)))  # type: ignore[arg-type]
    kind = {"content-type": "application/octet-stream" if line.upload else "application/json"}
    path = line.path.format(name="lamp" if line.upload else "wine", shadow="rival")
    too_large = small.request(line.method, path, content=b"[" * 99, headers=kind)
    assert (too_large.status_code, too_large.json()["status"]) == (413, 413)
    kinds = {"text/plain", NDJSON} - ({NDJSON} if line.lines else set())
    for other in kinds:
        refused = small.request(line.method, path, content=b"{}", headers={"content-type": other})
        assert refused.status_code == 415, refused.text


def test_operations_and_endpoints_correspond() -> None:
    assert set(ENDPOINTS) == set(OPERATIONS)


def test_a_declared_operation_gets_a_route_a_description_and_client_methods(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @operation("GET", "/v1/models/{name}/echo", Scope.READ, Health)
    def echo(self: object, name: str) -> None:
        """Return the health of a model."""

    async def endpoint(request: Request, service: Service) -> Response:
        return json_response(Health("ok" if service.model(request).name == "wine" else "starting"))

    monkeypatch.setitem(OPERATIONS, "echo", echo)
    monkeypatch.setattr(Operations, "echo", echo, raising=False)
    with pytest.raises(KeyError, match="echo"):
        create_app(REGISTRY)  # type: ignore[arg-type]
    monkeypatch.setitem(ENDPOINTS, "echo", endpoint)
    app = TestClient(create_app(REGISTRY))  # type: ignore[arg-type]
    assert app.get("/v1/models/absent/echo").status_code == 404
    response = app.get("/v1/models/wine/echo")
    assert response.json() == {"status": "ok"}
    described = build_document()["paths"]["/v1/models/{name}/echo"]["get"]
    assert described["summary"] == "Return the health of a model"
    with Client() as client:
        paths = []

        def handler(request: httpx.Request) -> httpx.Response:
            paths.append(request.url.path)
            return httpx.Response(200, content=response.content)

        client._http = httpx.Client(
            base_url="http://daemon/", transport=httpx.MockTransport(handler)
        )
        assert client.echo("wine") == Health("ok")  # type: ignore[attr-defined]
    assert paths == ["/v1/models/wine/echo"]


def test_names_of_models_follow_one_pattern() -> None:
    assert f"^{MODEL_NAME.pattern}$" == NAME_PATTERN


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if "$ref" in value else set()
        return own.union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def test_every_referenced_schema_exists() -> None:
    told = TestClient(APP).get("/openapi.json").json()
    there = {f"#/components/schemas/{name}" for name in told["components"]["schemas"]}
    assert references(told) <= there
    assert "NaN" not in json.dumps(told)


BODIES = {
    "samples": {"samples": [{"x": 1, "y": 2.5, "shade": "red", "label": "on"}]},
    "predict": {"samples": [{"x": 1, "y": None, "shade": "blue"}], "ids": ["a"], "explain": True},
    "labels": {"labels": [{"id": "a", "label": "on"}]},
    "": {"name": "beer", "settings": {"source": {"target": "y", "drop": ["a"]}}},
}
TYPES = ("application/json", "application/x-ndjson")
WORDS = st.sampled_from(
    [
        *(b"{", b"}", b"[", b'"', b"\\u0000", b"\xff", b"\n", b"null", b"1e999", b"NaN", b"-0"),
        *(b"\0", b'{"a":' * 500, b"9" * 400, b'"' + b"x" * 2000 + b'"', b"\xf4\x8f\xbf\xbf"),
    ]
)


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, bytes, dict[str, str]]:
    """A valid body with parts replaced, removed, repeated or compressed, and its path."""
    part = draw(st.sampled_from(list(BODIES)))
    body = bytearray(json.dumps(BODIES[part]).encode())
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(body)))
        end = start + draw(st.integers(0, 8))
        body[start:end] = draw(WORDS | st.binary(max_size=8))
    headers = {"content-type": draw(st.sampled_from(TYPES))}
    if draw(st.booleans()):
        body = bytearray(gzip.compress(bytes(body)))
        headers["content-encoding"] = "gzip"
        if draw(st.booleans()):
            body[draw(st.integers(0, len(body) - 1))] ^= draw(st.integers(1, 255))
    return f"/v1/models/wine/{part}" if part else "/v1/models", bytes(body), headers


@pytest.fixture(scope="module")
def daemon() -> Iterator[TestClient]:
    limits = Limits(max_rate=1e9, max_body=100_000)
    app = create_app(StandInRegistry("wine"), limits=limits)  # type: ignore[arg-type]
    with TestClient(app, raise_server_exceptions=False) as client:  # one event loop for all
        yield client


def send(daemon: TestClient, path: str, body: bytes, headers: dict[str, str]) -> None:
    response = daemon.post(path, content=body, headers=headers)
    assert response.status_code in (200, 201, 400, 409, 413, 415, 422), response.text
    if response.status_code >= 400:
        assert response.json()["status"] == response.status_code


@given(sent=mutated())
@settings(max_examples=200)
def test_a_mutated_body_is_accepted_or_refused(
    daemon: TestClient, sent: tuple[str, bytes, dict[str, str]]
) -> None:
    send(daemon, *sent)


@pytest.mark.long
@pytest.mark.timeout(3600)
@given(sent=mutated())
@settings(max_examples=100_000)
def test_a_hundred_thousand_mutated_bodies_are_accepted_or_refused(
    daemon: TestClient, sent: tuple[str, bytes, dict[str, str]]
) -> None:
    send(daemon, *sent)
