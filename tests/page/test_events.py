"""Events on the page of a daemon, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.page.fake_daemon import StandIn

Opener = Callable[..., Page]


def test_events_are_described_and_routine_ones_shown_once(visit: Opener, daemon: StandIn) -> None:
    daemon.happen("state", state="failed", failure="the disk is full")
    daemon.happen("champion", number=1234, before=None, after="tanh 20, sgd 0.1")
    daemon.happen("drift", number=1300, since=1250, before=0.1, after=0.25)
    for samples in (1000, 2000, 3000):
        daemon.happen("checkpoint", generation=1, samples=samples)
    daemon.happen("rejected", reasons={"wrong_type": 2, "no_target": 1})
    daemon.happen("quarantine", count=1, number=4000)
    daemon.happen("from_the_future", colour="blue", shape={})
    daemon.happen("trouble", trouble="queue", change="ended", message="it was full")
    page = visit(daemon.page)
    expect(page.locator("#events .event")).to_have_count(8)
    assert page.locator("#events .what").all_inner_texts() == [
        "Trouble it was full (it has ended)",
        "from the future colour blue",
        "Quarantine of 1 candidate that diverged, up to sample 4,000",
        "Rejected wrong type 2, no target 1",
        "Checkpoint after 3,000 samples",
        "Drift loss rose from 0.1 to 0.25",
        "New champion tanh 20, sgd 0.1 from sample 1,234 on",
        "State failed: the disk is full",
    ]


def test_events_before_the_page_opened_are_no_gap(visit: Opener, daemon: StandIn) -> None:
    daemon.happen("gap", missed=None)
    daemon.happen("champion", text="the first")
    daemon.happen("gap", missed=7)
    page = visit(daemon.page)
    expect(page.locator("#events .event")).to_have_count(2)
    expect(page.locator("#events .event").first).to_contain_text("Events missed 7 of them")
    expect(page.locator("#events time").first).to_have_text(re.compile("^14 Nov 2023 "))
