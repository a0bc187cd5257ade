"""Log records name the request that they belong to: its ID, caller, operation and model."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from io import StringIO
from typing import Any

import anyio
import httpx2
import pytest

from streamnet.client.operation import Scope
from streamnet.daemon.http.access import Access
from streamnet.daemon.logs import log_as_json
from tests.conftest import Runner
from tests.daemon.app_client import TOKENS, client, client_beside
from tests.daemon.hosted_models import hosting_all
from tests.daemon.stand_ins import StandIn, StandInRegistry

ADMIN = {"authorization": f"Bearer {TOKENS[Scope.ADMIN]}"}


@pytest.fixture
def logged() -> Iterator[StringIO]:
    """What is logged as lines of JSON."""
    out, names = StringIO(), ("streamnet", "uvicorn")
    before = [(logging.getLogger(name), vars(logging.getLogger(name)).copy()) for name in names]
    log_as_json(out=out)
    yield out
    for logger, state in before:
        logger.handlers, logger.propagate = state["handlers"], state["propagate"]
        logger.setLevel(state["level"])


def lines_of(out: StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_what_an_operator_does_is_logged_with_caller_model_and_request_id(
    registry: StandInRegistry, logged: StringIO
) -> None:
    access = Access({token: {scope} for scope, token in TOKENS.items()})
    http = client(registry, access=access)
    for action in ("pause", "resume", "reset"):
        told = http.post(f"/v1/models/wine/{action}", headers=ADMIN | {"x-request-id": action})
        assert told.headers["x-request-id"] == action
    http.delete("/v1/models/wine", headers=ADMIN)
    http.get("/v1/models", headers=ADMIN)  # nothing is changed
    lines = lines_of(logged)
    assert [line["operation"] for line in lines] == ["pause", "resume", "reset", "delete"]
    assert [line["request_id"] for line in lines[:3]] == ["pause", "resume", "reset"]
    assert len(lines[3]["request_id"]) == 32
    assert {line["model"] for line in lines} == {"wine"}
    assert {line["caller"] for line in lines} == {"testclient"}
    assert len({line["token"] for line in lines}) == 1
    assert TOKENS[Scope.ADMIN] not in logged.getvalue()


def test_an_internal_error_has_an_id_in_the_response_and_in_the_log(
    registry: StandInRegistry, wine: StandIn, logged: StringIO
) -> None:
    wine.errors.append(RuntimeError("broken"))
    told = client(registry).post("/v1/models/wine/samples", json={"sample": {"x": 1}})
    assert told.status_code == 500
    (line,) = lines_of(logged)
    assert (line["level"], line["request_id"]) == ("error", told.headers["x-request-id"])
    assert "broken" in line["traceback"]


def test_an_id_that_could_forge_a_line_or_header_is_replaced(http: Any) -> None:
    told = http.post("/v1/models/none/samples", headers={"x-request-id": "a b"}, json={})
    assert told.status_code == 404
    assert len(told.headers["x-request-id"]) == 32


def test_records_of_a_model_do_not_name_the_request_that_created_it(
    run: Runner, tmp_path: Any, logged: StringIO
) -> None:
    async def main() -> None:
        async with hosting_all(tmp_path) as models, client_beside(models) as http:
            body = {"name": "spam", "settings": {"source": {"target": "y"}}}
            told: httpx2.Response = await http.post("/v1/models", json=body)
            assert told.status_code == 201
            await models.models["spam"].opened()
            with anyio.fail_after(60):
                while '"state":"learning"' not in logged.getvalue():  # noqa: ASYNC110
                    await anyio.sleep(0.01)

    run(main)
    own = [line for line in lines_of(logged) if "state" in line]
    assert {line["model"] for line in own} == {"spam"}
    assert not any("request_id" in line for line in own)
