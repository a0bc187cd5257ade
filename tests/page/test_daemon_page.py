"""The page as the daemon itself serves it, in a browser."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Page, expect

from tests.daemon.processes import Server, running

Opener = Callable[..., Page]
READS = "0123456789abcdef-reads"
DOES_ALL = "0123456789abcdef-does-all"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    tokens = tmp_path_factory.mktemp("daemon") / "tokens"
    tokens.write_text(f"{READS} read\n{DOES_ALL} admin\n")
    tokens.chmod(0o600)
    with running({"token_file": str(tokens)}) as server:
        yield server


def learn(server: Server, count: int) -> None:
    rows = [{"x": i, "y": 1, "shade": "red", "label": "on"} for i in range(count)]
    headers = {"Authorization": f"Bearer {DOES_ALL}", "Content-Type": "application/json"}
    body = json.dumps({"samples": rows}).encode()
    with urlopen(Request(f"{server.url}/v1/models/wine/samples", body, headers)) as response:
        assert response.status == 200


def enter(page: Page, token: str) -> None:
    page.locator("#token-value").fill(token)
    page.keyboard.press("Enter")
    expect(page.locator("#connection")).to_have_text("live")


def test_a_read_token_shows_the_model_but_cannot_predict(daemon: Server, visit: Opener) -> None:
    page = visit(daemon.url, refused=True)
    enter(page, READS)
    expect(page.locator("#leaders tr.champion")).to_contain_text("tanh 20")
    expect(page.locator("#curve")).to_contain_text("starts with the first samples")
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.locator("#prediction .notice")).not_to_be_empty()


def test_an_admin_token_follows_learning_and_predicts(daemon: Server, visit: Opener) -> None:
    page = visit(daemon.url, refused=True)
    enter(page, DOES_ALL)
    learn(daemon, 30)
    expect(page.locator("#tiles")).to_contain_text("30")
    expect(page.locator("#outcomes")).to_contain_text("83.3 %")
    page.get_by_label("x number").fill("25")
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.locator("#prediction strong")).to_have_text("on")
    expect(page.locator("#prediction")).to_contain_text("What influenced it")
    with page.expect_download() as download:
        page.get_by_role("button", name=".json").click()
    assert download.value.path().read_bytes() == b"json"
