"""Tokens for some models, with a rate and a name of their own, and the log of their use."""

from __future__ import annotations

import json
import logging
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from streamnet.daemon.http.access import Access
from streamnet.daemon.logs import log_audit
from streamnet.errors import ConfigurationError
from streamnet.settings.daemon import ServeSection
from tests.daemon.app_client import client, is_problem
from tests.daemon.stand_ins import StandInRegistry

TOKENS = """
admin-admin-admin-admin admin name=root
wine-wine-wine-wine-wine read,predict,learn,admin name=vintner models=wine,port
slow-slow-slow-slow-slow read name=slow rate=2
"""
ROOT, VINTNER, SLOW, STRANGER = (
    {"authorization": f"Bearer {'-'.join([word] * count)}"}
    for word, count in (("admin", 4), ("wine", 5), ("slow", 5), ("other", 5))
)


def access_of(folder: Path, text: str) -> Access:
    path = folder / "tokens"
    path.write_text(text)
    path.chmod(0o600)
    return Access.read(path)


@pytest.fixture
def http(tmp_path: Path) -> TestClient:
    registry = StandInRegistry("wine", "beer")
    return client(registry, access=access_of(tmp_path, TOKENS))


def test_a_token_for_some_models_sees_and_changes_no_other(http: TestClient) -> None:
    calls: list[tuple[str, str, Any]] = [
        ("GET", "", None),
        ("GET", "/events", None),
        ("POST", "/samples", {"sample": {"x": 1, "y": 2}}),
        ("POST", "/predict", {"sample": {"x": 1}}),
        ("POST", "/pause", None),
        ("POST", "/reset", None),
        ("DELETE", "", None),
    ]
    for method, path, body in calls:
        told = http.request(method, f"/v1/models/beer{path}", json=body, headers=VINTNER)
        assert is_problem(told, 403, "the token is not for the model beer")
    # Nor does it learn which others there are.
    told = http.get("/v1/models/absent", headers=VINTNER)
    assert is_problem(told, 403, "the token is not for the model absent")
    for path in ("/v1/models", "/v1/overview"):
        assert [one["name"] for one in http.get(path, headers=VINTNER).json()] == ["wine"]
        assert len(http.get(path, headers=ROOT).json()) == 2
    assert is_problem(http.get("/metrics", headers=VINTNER), 403, "this is about all")
    settings = {"source": {"target": "y"}}
    for name, status in (("ale", 403), ("port", 201)):
        created = {"name": name, "settings": settings}
        assert http.post("/v1/models", json=created, headers=VINTNER).status_code == status
    assert http.get("/v1/models/wine", headers=VINTNER).status_code == 200
    assert http.get("/v1/permissions", headers=VINTNER).json()["scopes"][0] == "read"


def test_a_token_has_a_rate_of_its_own(http: TestClient) -> None:
    told = [http.get("/v1/models", headers=SLOW) for _ in range(5)]
    assert [one.status_code for one in told[:2]] == [200, 200]
    assert is_problem(told[-1], 429, "the token allows 2 requests per second")
    assert told[-1].headers["retry-after"] == "1"
    assert all(http.get("/v1/models", headers=ROOT).status_code == 200 for _ in range(5))


@pytest.fixture
def audited(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "audit.jsonl"
    log_audit(ServeSection(audit_file=str(path)))
    yield path
    log_audit(ServeSection())


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_audit_log_says_who_did_what_and_who_was_refused(
    audited: Path, http: TestClient
) -> None:
    http.post("/v1/models/wine/pause", headers=VINTNER | {"x-request-id": "first"})
    http.get("/v1/models/wine", headers=VINTNER)  # changes nothing, and nothing leaves
    http.get("/v1/models/wine/model", headers=ROOT)
    http.get("/v1/models/beer", headers=VINTNER)
    http.get("/v1/models/beer", headers=STRANGER)
    body = {"name": "port", "settings": {"source": {"target": "y"}}}
    http.post("/v1/models", json=body, headers=VINTNER)
    lines = lines_of(audited)
    assert [(one["message"], one["token"], one["model"], one["status"]) for one in lines[:3]] == [
        ("pause", "vintner", "wine", 200),
        ("download", "root", "wine", 200),
        ("status", "vintner", "beer", 403),
    ]
    assert (lines[3]["status"], lines[4]["model"]) == (401, "port")
    assert lines[0]["request_id"] == "first"
    assert {one["caller"] for one in lines} == {"testclient"}
    assert all(str(one["time"]).endswith("+00:00") for one in lines)
    text = audited.read_text()
    assert not any(word in text for word in ("wine-wine", "admin-admin", "other-other"))
    assert stat.S_IMODE(audited.stat().st_mode) == 0o600


def test_old_audit_files_go(tmp_path: Path, http: TestClient) -> None:
    path = tmp_path / "audit.jsonl"
    log_audit(ServeSection(audit_file=str(path), audit_bytes=1000, audit_files=2))
    try:
        for _ in range(30):
            http.post("/v1/models/wine/pause", headers=ROOT)
    finally:
        log_audit(ServeSection())
    files = sorted(tmp_path.glob("audit.jsonl*"))
    assert [file.name for file in files] == ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"]
    assert all(file.stat().st_size <= 1000 for file in files)


def test_an_audit_file_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"audit_file .*absent/log: No such file"):
        log_audit(ServeSection(audit_file=str(tmp_path / "absent" / "log")))
    assert not logging.getLogger("streamnet.audit").propagate


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("read color=red", "tokens:1: option is 'color=red', but must be name=NAME"),
        ("read models=Wine", "tokens:1: models has 'Wine', but that is no name"),
        ("read name=a rate=fast", "tokens:1: rate is 'fast', but must be a number > 0"),
        ("read rate=5", "tokens:1: rate is '5', but then name must be given, too"),
        ("models=wine", "tokens:1: the token has no scope"),
        ("read name=a\nfedcba9876543210 read name=a", "tokens:2: name is 'a', but that is another"),
        ("read name=a\n0123456789abcdef read", "tokens:2: an earlier line has the token with an"),
    ],
)
def test_wrong_options_of_tokens_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        access_of(tmp_path, f"0123456789abcdef {text}")
    assert "0123456789abcdef" not in str(caught.value)
