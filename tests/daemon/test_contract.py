"""The OpenAPI document holds: what it promises is what comes, whatever is sent."""

from __future__ import annotations

import json
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis import Case
from schemathesis.checks import CHECKS
from starlette.testclient import TestClient

from streamnet.daemon.app import OPERATIONS
from streamnet.daemon.app import create_app
from streamnet.daemon.limits import Limits
from tests.daemon.standing_in import StandInRegistry

APP = create_app(StandInRegistry("wine"), limits=Limits(rate=1e9))  # type: ignore[arg-type]
# A stream of events has no end, and without tokens there is nobody to keep out.
SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", APP).exclude(operation_id="events")


def check(case: Case) -> None:
    if "name" in case.path_parameters and len(case.path_parameters["name"]) % 2:
        case.path_parameters["name"] = "wine"  # else nearly all of them would be unknown
    case.call_and_validate(excluded_checks=[CHECKS.get_one("ignored_auth")])


@SCHEMA.parametrize()
@hypothesis.settings(max_examples=8)
def test_the_interface_does_what_its_document_says(case: Case) -> None:
    check(case)


@pytest.mark.long
@SCHEMA.parametrize()
@hypothesis.settings(max_examples=500)
def test_the_interface_does_what_its_document_says_whatever_is_sent(case: Case) -> None:
    check(case)


def test_the_document_names_every_operation_and_its_errors() -> None:
    told = TestClient(APP).get("/openapi.json").json()
    described = {
        line["operationId"]: line for path in told["paths"].values() for line in path.values()
    }
    assert set(described) == {operation.name for operation in OPERATIONS}
    for operation in OPERATIONS:
        responses = described[operation.name]["responses"]
        assert str(operation.status) in responses
        assert ("401" in responses) == (operation.scope is not None)


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if "$ref" in value else set()
        return own.union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def test_every_shape_that_is_named_is_there() -> None:
    told = TestClient(APP).get("/openapi.json").json()
    there = {f"#/components/schemas/{name}" for name in told["components"]["schemas"]}
    assert references(told) <= there
    assert "NaN" not in json.dumps(told)
