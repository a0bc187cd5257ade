"""The worst and best keys on the page."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.page.fake_daemon import HOSTILE, StandIn

Opener = Callable[..., Page]


def test_the_worst_and_best_keys_are_listed(visit: Opener, daemon: StandIn) -> None:
    key = {"samples": 40, "loss": 2.5, "shared_loss": 3.5, "recent_loss": None, "drifts": 1}
    model = daemon.models["traffic"]
    page = visit(daemon.page)
    expect(page.locator("#leaders tbody tr").first).to_be_visible()
    expect(page.locator("#keys-card")).to_be_hidden()
    model["keys"] = {
        "columns": ["device"],
        "count": 1200,
        "worst": [key | {"key": HOSTILE}],
        "best": [key | {"key": "d7", "loss": 0.25}],
    }
    model["status"]["keys"] = 1200
    page = visit(daemon.page)
    expect(page.locator("#keys-note")).to_contain_text("1,200 of device")
    rows = page.locator("#keys tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text(HOSTILE)
    expect(rows.last).to_contain_text("best")
    assert page.title() != "owned"
