"""The page of a read replica."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.page.fake_daemon import StandIn

Opener = Callable[..., Page]


def test_a_read_replica_shows_how_old_its_model_is_and_asks_for_no_scores(
    visit: Opener, daemon: StandIn
) -> None:
    del daemon.models["bikes"]
    about = {"replica_of": "http://learner:8000", "replica_silence": 4.0, "model_age": 150.0}
    daemon.models["traffic"]["status"] |= {"state": "following", **about}
    page = visit(daemon.page)
    tiles = page.locator("#tiles")
    expect(tiles).to_contain_text("read replica of http://learner:8000")
    expect(tiles).to_contain_text("Model age")
    expect(page.locator("#state")).to_have_text("following")
    expect(page.locator("#controls")).not_to_contain_text("Pause")
    expect(page.locator("#controls-note")).to_contain_text("http://learner:8000")
    asked = {path.rpartition("/")[2] for path, _ in daemon.seen}
    assert not asked & {"history", "scores", "leaders", "rejected", "insight"}
